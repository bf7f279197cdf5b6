//! Who votes, who learns, and what a majority is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::types::{Incarnation, Index, NodeId, ReplicaEpoch, ReplicaId};
use crate::mutant::{self, Mutant};

/// The most triples that one membership may name.
pub const MEMBERS_MAX: usize = 64;

/// In the first count of its bytes: what it is as of follows.
const AS_OF: u16 = 1 << 15;

/// The members of a replica set. While `outgoing` is not empty it is joint: every decision needs a majority of
/// `voters` and one of `outgoing` (Raft dissertation 4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The voters, of the new set while joint.
    pub voters: BTreeSet<ReplicaId>,
    /// The voters of the old set while joint, else empty.
    pub outgoing: BTreeSet<ReplicaId>,
    /// Replicas that receive the log and do not count. Disjoint from both sets of voters.
    pub learners: BTreeSet<ReplicaId>,
    /// The owner's number of the decision that it follows, 0 for none; no change goes back behind it.
    pub as_of: u64,
}

impl Membership {
    /// A membership of these voters and nobody else.
    pub fn of(voters: impl IntoIterator<Item = ReplicaId>) -> Membership {
        Membership { voters: voters.into_iter().collect(), ..Membership::default() }
    }

    /// Whether two sets of voters decide together.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether `id` votes, in either set.
    #[must_use]
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether `id` votes or learns.
    #[must_use]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Every voter once, then every learner.
    pub fn members(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.all_voters().chain(self.learners.iter().copied())
    }

    /// Every voter of both sets once.
    pub fn all_voters(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.voters.union(&self.outgoing).copied()
    }

    /// Whether a log may hold it: voters there are, learners are not voters, and the size is bounded.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.voters.is_empty() && self.is_consistent()
    }

    fn is_consistent(&self) -> bool {
        self.members().count() <= MEMBERS_MAX && self.learners.iter().all(|id| !self.is_voter(*id))
    }

    /// Whether each set of voters has its majority, `count` telling how many of a set agree.
    pub fn has_quorum(&self, count: impl Fn(&BTreeSet<ReplicaId>) -> usize) -> bool {
        let majority = |set: &BTreeSet<ReplicaId>| count(set) > set.len() / 2;
        majority(&self.voters)
            && (!self.is_joint() || mutant::active(Mutant::OneMajorityInJoint) || majority(&self.outgoing))
    }

    /// The highest index that a majority of each set of voters has reached.
    pub fn quorum_index(&self, reached: impl Fn(ReplicaId) -> Index) -> Index {
        let learners = mutant::active(Mutant::LearnerCounts).then_some(&self.learners);
        let majority = |set: &BTreeSet<ReplicaId>| {
            let counted = || set.iter().chain(learners.into_iter().flatten()).map(|id| reached(*id));
            let carried = |index: &Index| counted().filter(|other| other >= index).count() > set.len() / 2;
            counted().filter(carried).max().unwrap_or_default()
        };
        let incoming = majority(&self.voters);
        if !self.is_joint() || mutant::active(Mutant::OneMajorityInJoint) {
            return incoming;
        }
        incoming.min(majority(&self.outgoing))
    }

    /// Its bytes: `u16` voters, `u16` outgoing, `u16` learners, then the triples in that order, each `i32` node,
    /// `u64` incarnation, `u32` epoch; big endian. Where the highest bit of the first number is set, `u64` as-of follows the three.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(6 + 16 * self.members().count());
        self.encode_into(&mut bytes);
        bytes
    }

    pub(super) fn encode_into(&self, bytes: &mut Vec<u8>) {
        let mut flag = if self.as_of > 0 { AS_OF } else { 0 };
        for set in [&self.voters, &self.outgoing, &self.learners] {
            let count = u16::try_from(set.len()).expect("a membership holds at most MEMBERS_MAX triples");
            bytes.extend_from_slice(&(count | flag).to_be_bytes());
            flag = 0;
        }
        if self.as_of > 0 {
            bytes.extend_from_slice(&self.as_of.to_be_bytes());
        }
        for id in [&self.voters, &self.outgoing, &self.learners].into_iter().flatten() {
            encode_triple(*id, bytes);
        }
    }

    /// The membership of [`Membership::encode`]d bytes, `None` when they are not exactly one.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Membership> {
        let membership = Membership::decode_from(&mut bytes)?;
        bytes.is_empty().then_some(membership)
    }

    pub(super) fn decode_from(bytes: &mut &[u8]) -> Option<Membership> {
        let first = take_u16(bytes)?;
        let counts = [first & !AS_OF, take_u16(bytes)?, take_u16(bytes)?];
        let as_of = if first & AS_OF == 0 { 0 } else { take_u64(bytes)? };
        if first & AS_OF != 0 && as_of == 0 {
            return None;
        }
        let mut sets: [BTreeSet<ReplicaId>; 3] = Default::default();
        for (set, count) in sets.iter_mut().zip(counts) {
            for _ in 0..count {
                if !set.insert(take_triple(bytes)?) {
                    return None;
                }
            }
        }
        let [voters, outgoing, learners] = sets;
        Some(Membership { voters, outgoing, learners, as_of }).filter(Membership::is_consistent)
    }
}

pub(super) fn encode_triple(id: ReplicaId, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&id.node.0.to_be_bytes());
    bytes.extend_from_slice(&id.incarnation.0.to_be_bytes());
    bytes.extend_from_slice(&id.epoch.0.to_be_bytes());
}

pub(super) fn take_triple(bytes: &mut &[u8]) -> Option<ReplicaId> {
    Some(ReplicaId {
        node: NodeId(take_u32(bytes)?.cast_signed()),
        incarnation: Incarnation(take_u64(bytes)?),
        epoch: ReplicaEpoch(take_u32(bytes)?),
    })
}

pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes).map(u16::from_be_bytes)
}

pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_be_bytes)
}

pub(super) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_be_bytes)
}
