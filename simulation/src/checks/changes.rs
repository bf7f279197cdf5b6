//! A leader changes who votes by one step at a time: a learner more or fewer, or into a joint membership of the old voters and the new,
//! and out of it; each only once the last change is committed, and with it an entry of its own term (Raft dissertation 4.1, 4.3). From
//! one voter it never goes to two, for then the loss of either would stop the partition.

use std::collections::BTreeMap;

use mesh::raft::{Index, Membership, ReplicaId, Term};

use super::{Check, Group, Ledger, ReplicaFact, Verdict, violated};

const NAME: &str = "memberships change step by step";

/// The last change of each leader: its index is no lower.
#[derive(Default)]
pub(super) struct Changes {
    last: BTreeMap<(Group, ReplicaId), (Term, Index)>,
}

/// What is wrong with a step from one membership to the next.
fn fault(was: &Membership, is: &Membership) -> Option<&'static str> {
    let learners = was.learners.symmetric_difference(&is.learners).count();
    match (was.is_joint(), is.is_joint()) {
        (true, true) => Some("a joint membership is left before it changes"),
        (true, false) if was.voters != is.voters => Some("what is left of a joint membership are its voters"),
        (false, true) if is.outgoing != was.voters => Some("the voters of before are the outgoing ones"),
        (false, true) if was.voters.len() == 1 && is.voters.len() == 2 => {
            Some("one voter is not followed by two")
        }
        (false, true) if !is.voters.iter().all(|id| was.contains(*id)) => {
            Some("a voter was a learner before")
        }
        (false, false) if was.voters != is.voters => Some("voters change by joint consensus"),
        (false, false) if learners != 1 => Some("learners come and go one by one"),
        _ => None,
    }
}

impl Check for Changes {
    fn replica(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        let Some(before) = fact.before.as_ref().filter(|before| before.id == fact.id) else { return Ok(()) };
        let led = before.leads && before.term == fact.term;
        if !fact.leads || !led || fact.membership == before.membership {
            return Ok(());
        }
        let (was, is) = (&before.membership, &fact.membership);
        let first =
            fact.terms.last().filter(|(term, _)| *term == fact.term).map_or(Index(0), |(_, first)| *first);
        let change = (fact.term, before.last.next());
        let last = self.last.insert((fact.group, fact.id), change).filter(|(term, _)| *term == fact.term);
        let must = last.map_or(first, |(_, index)| index.max(first));
        let why = match fault(was, is) {
            None if before.commit < must && fact.commit < must => {
                "the last change, or the term, is not committed"
            }
            None => return Ok(()),
            Some(why) => why,
        };
        let (name, leader, commit) = (ledger.name(fact.group), fact.name(), fact.commit.0);
        violated(NAME, format!("{name}: {leader} with commit {commit} goes from {was:?} to {is:?}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::doctored::{fact, id, ledger};
    use super::*;

    fn change(was: &Membership, is: &Membership, commit: u64) -> Verdict {
        let (ledger, group) = ledger();
        let mut before = fact(group, 1, 1, true, commit, 5);
        before.membership = Arc::new(was.clone());
        let mut after = fact(group, 1, 1, true, commit, 6);
        after.membership = Arc::new(is.clone());
        after.before = Some(Arc::new(before));
        Changes::default().replica(&ledger, &after)
    }

    #[test]
    fn a_learner_comes_and_is_made_a_voter() {
        let old = Membership::of([1, 2, 3].map(id));
        let with = Membership { learners: [id(4)].into(), ..old.clone() };
        let joint =
            Membership { voters: [1, 2, 4].map(id).into(), outgoing: old.voters.clone(), ..old.clone() };
        let left = Membership::of([1, 2, 4].map(id));
        for (was, is) in [(&old, &with), (&with, &joint), (&joint, &left)] {
            assert!(change(was, is, 5).is_ok());
            assert!(change(was, is, 0).is_err(), "nothing of its term is committed");
        }
        for (was, is) in [(&old, &joint), (&old, &left), (&joint, &old), (&joint, &with)] {
            assert_eq!(change(was, is, 5).unwrap_err().check, NAME);
        }
    }

    #[test]
    fn one_voter_is_followed_by_three() {
        let one = Membership { learners: [id(2), id(3)].into(), ..Membership::of([id(1)]) };
        let joint = |voters: &[i32], learners: &[i32]| Membership {
            voters: voters.iter().copied().map(id).collect(),
            outgoing: one.voters.clone(),
            learners: learners.iter().copied().map(id).collect(),
            as_of: 0,
        };
        assert!(change(&one, &joint(&[1, 2, 3], &[]), 5).is_ok());
        assert!(change(&one, &joint(&[1, 2], &[3]), 5).is_err());
    }
}
