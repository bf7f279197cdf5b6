//! Nothing is answered of a partition before its shard committed that it is created: until then a replica that lost everything may
//! begin again, empty.

use super::{Acknowledged, Bounds, Check, Group, Ledger, Verdict, violated};

const NAME: &str = "nothing is served before it is created";

/// Asks the shards' state machines, fed with what was committed: nobody can know more than they say.
pub(super) struct Created;

impl Created {
    fn judge(ledger: &Ledger, group: Group, host: usize) -> Verdict {
        match ledger.descriptors.of(ledger.key(group)) {
            Some(descriptor) if descriptor.creating => {
                violated(NAME, format!("{}: node {} answers a client", ledger.name(group), host + 1))
            }
            _ => Ok(()),
        }
    }
}

impl Check for Created {
    fn acknowledged(&mut self, ledger: &Ledger, fact: &Acknowledged) -> Verdict {
        let places = ledger.places(fact.batch).iter().filter(|place| place.base_offset == fact.base_offset);
        places.map(|place| place.group).try_for_each(|group| Self::judge(ledger, group, fact.host))
    }

    fn bounds(&mut self, ledger: &Ledger, fact: &Bounds) -> Verdict {
        Self::judge(ledger, fact.group, fact.host)
    }
}

#[cfg(test)]
mod tests {
    use mesh::raft::Term;
    use node::core::metadata::{PartitionKey, ShardId};

    use super::super::doctored::ledger;
    use super::*;

    #[test]
    fn an_answer_before_the_creation_is_found() {
        let (mut ledger, topic) = ledger();
        let shard = ledger.group(PartitionKey::of_shard(ShardId(3)));
        let bounds = |group| Bounds {
            host: 0,
            group,
            term: Term(1),
            high_watermark: Some(0),
            log_start: None,
            refused: None,
        };
        assert!(Created.bounds(&ledger, &bounds(topic)).is_ok(), "of no descriptor nothing is known");
        assert_eq!(Created.bounds(&ledger, &bounds(shard)).unwrap_err().check, NAME);
    }
}
