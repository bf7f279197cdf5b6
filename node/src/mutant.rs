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
    /// A replica whose promises may be lost votes until it is replaced.
    SuspectReplicaVotes,
    /// A replica whose promises may be lost acknowledges entries until it is replaced.
    SuspectReplicaAcknowledges,
    /// A replica whose promises may be lost serves clients until it is replaced.
    SuspectReplicaServes,
    /// A partition is served before its shard committed that it is created.
    CreatingReplicaServes,
    /// A learner serves clients.
    LearnerServes,
    /// A replica that nobody wants any more votes and acknowledges until it is deleted.
    RemovedReplicaVotes,
    /// A replica that nobody wants any more serves clients until it is deleted.
    RemovedReplicaServes,
    /// A replica is called created before its create frame is synced.
    CreatedBeforeSync,
    /// A replica begins by its node's own view of the shard.
    BegunUnconfirmed,
    /// Rot in a data directory does not end its life (applied by whoever opens the node).
    RotKeepsLife,
    /// A leader changes its membership before it heard the partition's shard.
    ChangesUnheard,
    /// A descriptor that is older than the membership, or does not know a member, changes it.
    OldDescriptorMoves,
    /// A leader tells the shard who left before it knows what is committed.
    LeftToldEarly,
    /// A shard takes an order whatever replica epoch it names.
    StaleOrderTaken,
    /// Nodes are called dead however many are away.
    DeadInMasses,
    /// A node does not hear that a leader on another one ceased.
    FalteredUnheard,
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
    /// A member of an older generation may do what one of the present generation may.
    GroupFencingSkipped,
    /// A committed offset is acknowledged before it is in a committed entry.
    OffsetAckedEarly,
    /// A coordinator answers before it has read its partition.
    CoordinatorServesUnloaded,
    /// A data directory whose number went over to another one is heard and served like any other.
    OutlivedNotFenced,
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
