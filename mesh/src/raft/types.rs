//! Identities, positions and time: newtypes, so that they are never mixed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reading of a monotonic clock in microseconds. Only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// This time plus `us` microseconds, stopping at the end of the clock.
    #[must_use]
    pub const fn after(self, us: u64) -> Time {
        Time(self.0.saturating_add(us))
    }

    /// Microseconds since `earlier`, 0 when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A node's committed number, which is Kafka's broker id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub i32);

/// One life of a data directory: an emptied directory draws a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// How many times a replica of this partition was replaced on its node, as the metadata shard counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaEpoch(pub u32);

/// The identity of a voter or learner. Quorums are counted over these triples; a replica that lost its promises
/// comes back under another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId {
    /// The node that holds the replica.
    pub node: NodeId,
    /// The life of that node's data directory.
    pub incarnation: Incarnation,
    /// The replacement count of the replica on that node.
    pub epoch: ReplicaEpoch,
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node.0, self.incarnation.0, self.epoch.0)
    }
}

/// A Raft term, at most [`Term::MAX`], because it is Kafka's leader epoch, an `i32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub u32);

impl Term {
    /// The last term there can be.
    pub const MAX: Term = Term(i32::MAX.cast_unsigned());

    /// The next term, `None` after [`Term::MAX`].
    #[must_use]
    pub fn next(self) -> Option<Term> {
        (self < Term::MAX).then(|| Term(self.0 + 1))
    }

    /// Kafka's leader epoch of this term.
    ///
    /// # Errors
    /// When the term is above [`Term::MAX`].
    pub fn leader_epoch(self) -> Result<i32, std::num::TryFromIntError> {
        i32::try_from(self.0)
    }
}

/// A position in the Raft log, from 1; 0 stands before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Index(pub u64);

impl Index {
    /// The index after this one, stopping at `u64::MAX`, which no entry has.
    #[must_use]
    pub const fn next(self) -> Index {
        Index(self.0.saturating_add(1))
    }

    /// The index before this one, 0 for 0.
    #[must_use]
    pub const fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

/// The number of one [`WriteBatch`](super::WriteBatch) of a replica, from 1, rising by 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriteId(pub u64);

impl WriteId {
    /// What was on its way to the disk when a replica was restored, see [`Restored::unsynced`](super::Restored::unsynced).
    pub const RESTORED: WriteId = WriteId(1);
}
