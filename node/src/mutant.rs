//! Deliberate bugs of this crate, for the simulator's mutation suite. Without the feature `mutants` none can be chosen.

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A replica that should hold a log of a created partition starts voting from an empty one.
    EmptyReplicaVotes,
    /// A wiped data directory keeps its incarnation (applied by whoever opens the node).
    WipedDiskKeepsIdentity,
    /// A duplicate batch is acknowledged before the original commits.
    DuplicateAckedEarly,
    /// Truncation leaves the truncated batches in the producer state.
    ProducerStateNotRolledBack,
    /// A replica whose promises may be lost votes and acknowledges until it is replaced.
    SuspectReplicaVotes,
    /// A replica is deleted as soon as its node believes that nobody wants it.
    DataDeletedUnconfirmed,
    /// A node follows a descriptor that is older than its replica.
    EpochCheckLost,
    /// A checkpoint names the last entry of the log, not the last one that is in it.
    CheckpointMovedEarly,
    /// Retention moves a leader's log start at once, by itself.
    LogStartWithoutCommit,
    /// The failure detector does not watch nodes whose replicas are being added.
    NewcomerNotWatched,
    /// Retention takes entries that are not committed too.
    RetentionPastHighWatermark,
}

#[cfg(feature = "mutants")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Chooses the bug of this thread.
#[cfg(feature = "mutants")]
pub fn set(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Whether the bug is in force on this thread.
#[cfg(feature = "mutants")]
pub fn active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Whether the bug is in force: never, in this build.
#[cfg(not(feature = "mutants"))]
#[inline]
pub const fn active(_mutant: Mutant) -> bool {
    false
}
