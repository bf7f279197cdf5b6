//! What a replica must remember beside its log, as bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 4 | term |
//! | 1 | 1 when a vote follows, else 0 |
//! | 16 | the vote's triple, if any |
//! | 6 (or 14) + 16 n | the membership at the log start |
//! | 4 | number of memberships above the log start |
//! | each: 8, 4, 6 (or 14) + 16 n | index, term, membership |
//!
//! All integers are big endian.

use super::membership::{Membership, encode_triple, take, take_triple, take_u32, take_u64};
use super::types::{Index, ReplicaId, Term};

const VERSION: u8 = 1;

/// What a replica must remember beside its log. It is written before the entries that it describes, so that it may name
/// memberships whose entries never reached the disk or were truncated since; a restart keeps those that the log holds
/// under the same index and term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this replica has seen.
    pub term: Term,
    /// The candidate that it voted for in that term.
    pub vote: Option<ReplicaId>,
    /// The membership in force at the log start; empty in a learner that has heard nothing yet.
    pub start_membership: Membership,
    /// The membership entries above the log start, oldest first.
    pub memberships: Vec<(Index, Term, Membership)>,
}

impl HardState {
    /// Its bytes, see the module.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.term.0.to_be_bytes());
        bytes.push(u8::from(self.vote.is_some()));
        if let Some(vote) = self.vote {
            encode_triple(vote, &mut bytes);
        }
        self.start_membership.encode_into(&mut bytes);
        let count =
            u32::try_from(self.memberships.len()).expect("fewer than 2^32 memberships fit into memory");
        bytes.extend_from_slice(&count.to_be_bytes());
        for (index, term, membership) in &self.memberships {
            bytes.extend_from_slice(&index.0.to_be_bytes());
            bytes.extend_from_slice(&term.0.to_be_bytes());
            membership.encode_into(&mut bytes);
        }
        bytes
    }

    /// The hard state of [`HardState::encode`]d bytes, `None` when they are not exactly one of a known version.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<HardState> {
        let bytes = &mut bytes;
        if take::<1>(bytes)? != [VERSION] {
            return None;
        }
        let term = take_term(bytes)?;
        let vote = match take::<1>(bytes)? {
            [0] => None,
            [1] => Some(take_triple(bytes)?),
            _ => return None,
        };
        let start_membership = Membership::decode_from(bytes)?;
        let mut memberships = Vec::new();
        for _ in 0..take_u32(bytes)? {
            memberships.push((Index(take_u64(bytes)?), take_term(bytes)?, Membership::decode_from(bytes)?));
        }
        bytes.is_empty().then_some(HardState { term, vote, start_membership, memberships })
    }
}

fn take_term(bytes: &mut &[u8]) -> Option<Term> {
    take_u32(bytes).map(Term).filter(|term| *term <= Term::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quickcheck::quickcheck;

    use super::*;
    use crate::raft::{Incarnation, NodeId, ReplicaEpoch};

    fn id(node: u8) -> ReplicaId {
        ReplicaId { node: NodeId(i32::from(node)), incarnation: Incarnation(7), epoch: ReplicaEpoch(3) }
    }

    /// As of something where somebody learns.
    fn membership(voters: &BTreeSet<u8>, outgoing: &BTreeSet<u8>, learners: &BTreeSet<u8>) -> Membership {
        let ids = |set: &BTreeSet<u8>| set.iter().take(9).map(|node| id(*node)).collect::<BTreeSet<_>>();
        let (voters, outgoing) = (ids(voters), ids(outgoing));
        let as_of = learners.len() as u64;
        let learners =
            ids(learners).into_iter().filter(|id| !voters.contains(id) && !outgoing.contains(id)).collect();
        Membership { voters, outgoing, learners, as_of }
    }

    quickcheck! {
        fn a_hard_state_survives_its_bytes(
            vote: Option<u8>, sets: Vec<(BTreeSet<u8>, BTreeSet<u8>, BTreeSet<u8>)>, cut: usize
        ) -> bool {
            let all: Vec<Membership> = sets.iter().map(|(a, b, c)| membership(a, b, c)).collect();
            let memberships = all.into_iter().zip(5..).map(|(m, at)| (Index(at), Term(2), m)).collect();
            let start_membership = membership(&BTreeSet::from([1, 2, 3]), &BTreeSet::new(), &BTreeSet::new());
            let state = HardState { term: Term(9), vote: vote.map(id), start_membership, memberships };
            let bytes = state.encode();
            let torn = HardState::decode(&bytes[..cut % bytes.len()]);
            HardState::decode(&bytes) == Some(state) && torn.is_none()
        }

        fn no_bytes_panic(bytes: Vec<u8>) -> bool {
            let mut versioned = vec![VERSION];
            versioned.extend_from_slice(&bytes);
            HardState::decode(&versioned).is_none_or(|state| state.encode().len() == versioned.len())
                && Membership::decode(&bytes).is_none_or(|membership| membership.encode().len() == bytes.len())
        }
    }
}
