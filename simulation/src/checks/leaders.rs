//! One leader per term, and a new leader holds everything committed in earlier terms (Raft §5.4). Nobody else answers clients.

use std::collections::BTreeMap;

use mesh::raft::{ReplicaId, Term};

use super::{Bounds, Check, Group, Ledger, ReplicaFact, Verdict, violated};

const ONE: &str = "one leader per term";
const SERVES: &str = "only a leader serves";
const COMPLETE: &str = "a leader holds what earlier terms committed";

/// Who led which term.
#[derive(Default)]
pub(super) struct Leaders {
    of: BTreeMap<(Group, Term), ReplicaId>,
}

impl Check for Leaders {
    fn replica(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        if !fact.became_leader() {
            return Ok(());
        }
        let first = *self.of.entry((fact.group, fact.term)).or_insert(fact.id);
        let name = || ledger.name(fact.group);
        if first != fact.id {
            return violated(ONE, format!("{}: {} leads, but so did replica {first}", name(), fact.name()));
        }
        let must = ledger.committed_before(fact.group, fact.term);
        if must <= fact.start.index {
            return Ok(());
        }
        let committed = ledger.entry(fact.group, must).map(|entry| entry.term);
        if fact.term_at(must) == committed {
            return Ok(());
        }
        violated(
            COMPLETE,
            format!(
                "{}: {} leads with a log up to {} (start {}), where entry {} is of term {:?}; committed is {:?}",
                name(),
                fact.name(),
                fact.last.0,
                fact.start.index.0,
                must.0,
                fact.term_at(must),
                committed,
            ),
        )
    }

    fn bounds(&mut self, ledger: &Ledger, fact: &Bounds) -> Verdict {
        let leader = self.of.get(&(fact.group, fact.term));
        let deleted = ledger.descriptors.of(ledger.key(fact.group)).is_none();
        let leads = leader.is_some_and(|leader| usize::try_from(leader.node.0) == Ok(fact.host + 1));
        // An answer about deleted records may wait for that of another partition.
        if deleted || leads || fact.high_watermark.is_none() {
            return Ok(());
        }
        let (name, host, term) = (ledger.name(fact.group), fact.host + 1, fact.term.0);
        violated(SERVES, format!("{name}: node {host} answers a client in term {term}, led by {leader:?}"))
    }
}

#[cfg(test)]
mod tests {
    use node::core::metadata::{PartitionKey, ShardId};

    use super::super::doctored::{batch, fact, ledger, records};
    use super::*;

    #[test]
    fn only_the_leader_of_a_term_serves() {
        let mut ledger = ledger().0;
        let group = ledger.group(PartitionKey::of_shard(ShardId(2)));
        let mut leaders = Leaders::default();
        leaders.replica(&ledger, &fact(group, 2, 4, true, 0, 0)).unwrap();
        let mut answers = |host, term| {
            let (high_watermark, log_start, refused) = (Some(0), Some(0), None);
            leaders.bounds(
                &ledger,
                &Bounds { host, group, term: Term(term), high_watermark, log_start, refused },
            )
        };
        assert!(answers(1, 4).is_ok());
        assert_eq!(answers(0, 4).unwrap_err().check, SERVES);
        assert_eq!(answers(1, 5).unwrap_err().check, SERVES);
    }

    #[test]
    fn two_leaders_of_a_term_are_found() {
        let (ledger, group) = ledger();
        let mut leaders = Leaders::default();
        assert!(leaders.replica(&ledger, &fact(group, 1, 4, true, 0, 0)).is_ok());
        assert!(leaders.replica(&ledger, &fact(group, 2, 5, true, 0, 0)).is_ok());
        assert!(leaders.replica(&ledger, &fact(group, 3, 5, false, 0, 0)).is_ok());
        assert_eq!(leaders.replica(&ledger, &fact(group, 3, 5, true, 0, 0)).unwrap_err().check, ONE);
    }

    #[test]
    fn a_leader_without_committed_entries_is_found() {
        let (mut ledger, group) = ledger();
        let old = fact(group, 1, 4, true, 1, 1);
        assert!(ledger.show(&old, &records(1, 4, 0, &batch(0, 0, 1))).is_ok());
        ledger.shown(&old);
        let mut leaders = Leaders::default();
        assert!(
            leaders.replica(&ledger, &fact(group, 2, 3, true, 0, 0)).is_ok(),
            "an older term owes nothing"
        );
        assert_eq!(leaders.replica(&ledger, &fact(group, 2, 5, true, 0, 0)).unwrap_err().check, COMPLETE);
    }
}
