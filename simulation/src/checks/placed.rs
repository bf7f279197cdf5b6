//! A replica exists only where the founding record or a committed descriptor put it.

use super::{Check, Ledger, ReplicaFact, Verdict, violated};

const NAME: &str = "replicas are where descriptors put them";

/// Asks the shards' state machines, fed with what was committed.
pub(super) struct Placed;

impl Check for Placed {
    fn replica(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        let same = fact.before.as_ref().is_some_and(|before| before.id == fact.id);
        if same || ledger.descriptors.named(ledger.key(fact.group), fact.id) {
            return Ok(());
        }
        let (name, host, id) = (ledger.name(fact.group), fact.host + 1, fact.id);
        violated(
            NAME,
            format!("{name}: node {host} has replica {id}, which no committed descriptor ever named"),
        )
    }
}

#[cfg(test)]
mod tests {
    use node::core::metadata::{PartitionKey, ShardId};

    use super::super::doctored::{fact, founding};
    use super::*;

    #[test]
    fn an_unnamed_replica_is_found() {
        let mut ledger = Ledger::new(&founding());
        let group = ledger.group(PartitionKey::of_shard(ShardId(3)));
        assert!(Placed.replica(&ledger, &fact(group, 2, 1, false, 0, 0)).is_ok());
        assert_eq!(Placed.replica(&ledger, &fact(group, 4, 1, false, 0, 0)).unwrap_err().check, NAME);
    }
}
