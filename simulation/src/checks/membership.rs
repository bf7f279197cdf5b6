//! The membership in force is a function of the log: whoever holds a log that ends in the same (index, term) has the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::raft::{Index, Membership, ReplicaId, Term};

use super::{Check, Group, Ledger, ReplicaFact, Verdict, violated};

const NAME: &str = "membership follows the log";

/// The membership at each end of a log that was seen, and by whom.
#[derive(Default)]
pub(super) struct MembershipOfLog {
    at: BTreeMap<(Group, Index, Term), (Arc<Membership>, ReplicaId)>,
}

impl Check for MembershipOfLog {
    fn replica(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        let Some(term) = fact.term_at(fact.last) else { return Ok(()) };
        if fact.last == Index(0) {
            return Ok(());
        }
        let entry = self.at.entry((fact.group, fact.last, term));
        let (known, by) = entry.or_insert_with(|| (Arc::clone(&fact.membership), fact.id));
        if Arc::ptr_eq(known, &fact.membership) || **known == *fact.membership {
            return Ok(());
        }
        violated(
            NAME,
            format!(
                "{}: with a log up to entry {} of term {}, replica {by} has {known:?}, but {} has {:?}",
                ledger.name(fact.group),
                fact.last.0,
                term.0,
                fact.name(),
                fact.membership
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::{fact, id, ledger};
    use super::*;

    #[test]
    fn another_membership_at_the_same_entry_is_found() {
        let (ledger, group) = ledger();
        let mut check = MembershipOfLog::default();
        assert!(check.replica(&ledger, &fact(group, 1, 1, true, 0, 5)).is_ok());
        assert!(check.replica(&ledger, &fact(group, 2, 1, false, 0, 5)).is_ok());
        let mut other = fact(group, 3, 1, false, 0, 5);
        other.membership = Arc::new(Membership::of([id(1), id(2)]));
        assert_eq!(check.replica(&ledger, &other).unwrap_err().check, NAME);
        other.last = Index(6);
        assert!(check.replica(&ledger, &other).is_ok());
    }
}
