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
