//! Deliberate bugs, which the simulator must catch. Without the feature `mutants` none is ever active.

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Open neither writes again nor syncs the tail that it kept.
    PromiseFromUnsyncedTail,
    /// A reclaim copy gets a fresh write sequence.
    CopiedFrameNew,
    /// The end of a commit counts as synced what was staged while it ran.
    SyncedMovedEarly,
}

#[cfg(feature = "mutants")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Chooses the bug of this thread.
#[cfg(feature = "mutants")]
pub fn set(mutant: Option<Mutant>) {
    ACTIVE.with(|active| active.set(mutant));
}

/// Whether a bug is active on this thread.
#[cfg(feature = "mutants")]
#[must_use]
pub fn active(mutant: Mutant) -> bool {
    ACTIVE.with(|active| active.get() == Some(mutant))
}

/// Whether a bug is active: never, in this build.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn active(_: Mutant) -> bool {
    false
}
