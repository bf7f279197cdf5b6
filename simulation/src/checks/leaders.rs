//! One leader per term, and a new leader holds everything committed in earlier terms (Raft §5.4).

use std::collections::BTreeMap;

use mesh::raft::{ReplicaId, Term};

use super::{Check, Group, Ledger, ReplicaFact, Verdict, violated};

const ONE: &str = "one leader per term";
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
}

#[cfg(test)]
mod tests {
    use super::super::doctored::{batch, fact, ledger, records};
    use super::*;

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
