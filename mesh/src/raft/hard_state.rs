//! What a replica must remember beside its log, as bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 4 | term |
//! | 1 | 1 when a vote follows, else 0 |
//! | 16 | the vote's triple, if any |
//! | 6 + 16 n | the membership at the log start |
//! | 4 | number of memberships above the log start |
//! | each: 8, 4, 6 + 16 n | index, term, membership |
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
        let count = u32::try_from(self.memberships.len()).expect("fewer than 2^32 memberships fit into memory");
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
