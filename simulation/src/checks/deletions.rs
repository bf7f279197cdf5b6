//! Data goes only after its shard committed that nobody needs it.

use super::{Check, Ledger, ReplicaFact, Verdict, violated};

const NAME: &str = "data goes only when no descriptor names it";

/// Asks the shards' state machines, fed with what was committed: nobody can know more than they say.
pub(super) struct Deletions;

impl Check for Deletions {
    fn deleted(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        let descriptor = ledger.descriptors.of(ledger.key(fact.group));
        if !descriptor.is_some_and(|descriptor| descriptor.names(fact.id)) {
            return Ok(());
        }
        violated(
            NAME,
            format!(
                "{}: node {} deleted {} with a log up to {}, but the committed descriptor is {descriptor:?}",
                ledger.name(fact.group),
                fact.host + 1,
                fact.name(),
                fact.last.0
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use node::core::metadata::{PartitionKey, ShardId};

    use super::super::doctored::{fact, founding};
    use super::*;

    #[test]
    fn only_what_is_named_must_stay() {
        let mut ledger = Ledger::new(&founding());
        let group = ledger.group(PartitionKey::of_shard(ShardId(3)));
        assert_eq!(Deletions.deleted(&ledger, &fact(group, 2, 1, false, 0, 0)).unwrap_err().check, NAME);
        assert!(Deletions.deleted(&ledger, &fact(group, 4, 1, false, 0, 0)).is_ok());
    }
}
