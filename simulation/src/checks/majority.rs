//! What a leader calls committed is synced on a majority of the voters, of both sets while joint, and no replica without it
//! could be elected: the second does not follow from the first (Raft, figure 8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh::raft::{Index, LogStart, Membership, ReplicaId, Term};

use super::{Check, Group, Ledger, ReplicaFact, Verdict, term_at, violated};

const NAME: &str = "committed is synced on a majority";
const SAFE: &str = "nobody without a committed entry could be elected";

struct Held {
    start: LogStart,
    synced: Index,
    terms: Arc<[(Term, Index)]>,
}

/// What each replica had on its disk when last seen. A triple that was wiped or replaced stays as it was: damage is the
/// atlas's affair, and the leader could not know.
#[derive(Default)]
pub(super) struct Majority {
    held: BTreeMap<(Group, ReplicaId), Held>,
}

impl Majority {
    fn holds(&self, fact: &ReplicaFact, id: ReplicaId, term: Term) -> bool {
        let Some(held) = self.held.get(&(fact.group, id)) else { return false };
        fact.commit <= held.start.index
            || term_at(&held.terms, held.start, held.synced, fact.commit) == Some(term)
    }

    fn decided(&self, fact: &ReplicaFact, membership: &Membership, term: Term) -> bool {
        let most = |voters: &BTreeSet<ReplicaId>| {
            voters.iter().filter(|id| self.holds(fact, **id, term)).count() > voters.len() / 2
        };
        most(&membership.voters) && (membership.outgoing.is_empty() || most(&membership.outgoing))
    }

    /// Term and index of the last entry that a replica has synced: what votes are given by.
    fn end(&self, group: Group, id: ReplicaId) -> (Term, Index) {
        let held = self.held.get(&(group, id));
        let end =
            |held: &Held| Some((term_at(&held.terms, held.start, held.synced, held.synced)?, held.synced));
        held.and_then(end).unwrap_or_default()
    }

    /// A voter without the entry for whom enough others could vote, by how up to date their logs are.
    fn electable(&self, fact: &ReplicaFact, term: Term) -> Option<ReplicaId> {
        let membership = &fact.membership;
        let wins = |candidate: &ReplicaId| {
            let end = self.end(fact.group, *candidate);
            let most = |voters: &BTreeSet<ReplicaId>| {
                voters.iter().filter(|id| self.end(fact.group, **id) <= end).count() > voters.len() / 2
            };
            most(&membership.voters) && (membership.outgoing.is_empty() || most(&membership.outgoing))
        };
        membership.all_voters().filter(|id| !self.holds(fact, *id, term)).find(wins)
    }
}

impl Majority {
    fn is_safe(&self, ledger: &Ledger, fact: &ReplicaFact, term: Term) -> Verdict {
        let Some(candidate) = self.electable(fact, term) else { return Ok(()) };
        let ends = fact.membership.all_voters().map(|id| {
            let (term, last) = self.end(fact.group, id);
            format!("{id} ends with entry {} of term {}", last.0, term.0)
        });
        violated(
            SAFE,
            format!(
                "{}: {} committed entry {} of term {}, but {candidate} could be elected without it: {:?}",
                ledger.name(fact.group),
                fact.name(),
                fact.commit.0,
                term.0,
                ends.collect::<Vec<_>>()
            ),
        )
    }
}

impl Check for Majority {
    fn replica(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        let held = Held { start: fact.start, synced: fact.synced, terms: Arc::clone(&fact.terms) };
        self.held.insert((fact.group, fact.id), held);
        let Some(before) = fact.before.as_ref().filter(|before| before.id == fact.id) else { return Ok(()) };
        if !fact.leads || fact.commit <= before.commit {
            return Ok(());
        }
        let Some(term) = fact.term_at(fact.commit) else { return Ok(()) };
        // A step may commit under one membership and append the next.
        if self.decided(fact, &fact.membership, term) || self.decided(fact, &before.membership, term) {
            return self.is_safe(ledger, fact, term);
        }
        let told = |set: &BTreeSet<ReplicaId>| -> Vec<String> {
            let of = |id: &ReplicaId| match self.held.get(&(fact.group, *id)) {
                Some(held) => format!("{id} synced up to {}", held.synced.0),
                None => format!("{id} never seen"),
            };
            set.iter().map(of).collect()
        };
        violated(
            NAME,
            format!(
                "{}: {} committed entry {} of term {}; voters: {:?}, outgoing: {:?}",
                ledger.name(fact.group),
                fact.name(),
                fact.commit.0,
                term.0,
                told(&fact.membership.voters),
                told(&fact.membership.outgoing)
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::{fact, ledger};
    use super::*;

    fn commit_with(synced_elsewhere: u64) -> Verdict {
        let (ledger, group) = ledger();
        let mut majority = Majority::default();
        let mut follower = fact(group, 2, 1, false, 0, 5);
        follower.synced = Index(synced_elsewhere);
        majority.replica(&ledger, &follower).unwrap();
        let before = Arc::new(fact(group, 1, 1, true, 0, 5));
        let mut leader = fact(group, 1, 1, true, 5, 5);
        leader.before = Some(before);
        majority.replica(&ledger, &leader)
    }

    #[test]
    fn a_majority_is_asked_for() {
        assert!(commit_with(5).is_ok());
        assert_eq!(commit_with(4).unwrap_err().check, NAME);
    }

    #[test]
    fn figure_8_is_found() {
        let (ledger, group) = ledger();
        let mut majority = Majority::default();
        // The third has an entry of term 3 that nobody else has; the first leads term 4 and has not sent an entry of it yet.
        let mut rival = fact(group, 3, 3, false, 0, 2);
        rival.terms = Arc::from([(Term(1), Index(1)), (Term(3), Index(2))]);
        majority.replica(&ledger, &rival).unwrap();
        let terms: Arc<[_]> = Arc::from([(Term(1), Index(1)), (Term(2), Index(2)), (Term(4), Index(3))]);
        let mut commit = |synced: u64| {
            let mut follower = fact(group, 2, 4, false, 0, synced);
            follower.terms = Arc::clone(&terms);
            majority.replica(&ledger, &follower).unwrap();
            let mut leader = fact(group, 1, 4, true, synced, 3);
            leader.terms = Arc::clone(&terms);
            leader.before = Some(Arc::new(fact(group, 1, 4, true, 0, 3)));
            majority.replica(&ledger, &leader)
        };
        assert_eq!(commit(2).unwrap_err().check, SAFE);
        assert!(commit(3).is_ok());
    }

    #[test]
    fn joint_needs_both() {
        let (ledger, group) = ledger();
        let mut majority = Majority::default();
        majority.replica(&ledger, &fact(group, 2, 1, false, 0, 5)).unwrap();
        let mut before = fact(group, 1, 1, true, 0, 5);
        let ids = |nodes: [i32; 3]| nodes.map(super::super::doctored::id).into_iter().collect();
        let joint = Membership { voters: ids([1, 2, 3]), outgoing: ids([3, 4, 5]), ..Membership::default() };
        before.membership = Arc::new(joint.clone());
        let mut leader = fact(group, 1, 1, true, 5, 5);
        leader.membership = Arc::new(joint);
        leader.before = Some(Arc::new(before));
        assert_eq!(majority.replica(&ledger, &leader).unwrap_err().check, NAME);
    }
}
