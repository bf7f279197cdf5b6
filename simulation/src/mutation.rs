//! The mutation suite: the checks can fail. Each deliberate bug is searched for by general seeds, chosen by nobody, with
//! checkers that know nothing of it; the same seeds are clean without it.
//!
//! The build for it is made by the feature `mutants`; without it there is nothing to choose.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::jobs;
use crate::run::{Options, run};

/// A deliberate bug of one of the crates.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// Its name in the table.
    pub name: &'static str,
    #[cfg(feature = "mutants")]
    which: Which,
}

#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug)]
enum Which {
    Storage(storage::mutant::Mutant),
    Mesh(mesh::mutant::Mutant),
    Node(node::mutant::Mutant),
}

/// Seeds that are known to catch a bug, for a quick check. They are the first of general seeds that did. A change of the
/// code under test shifts what happens in a seed, so one of them is enough, and when none is left a search goes on.
const PINNED: &[(&str, &[u64])] = &[
    ("AckBeforeSync", &[1, 2, 3]),
    ("PromiseFromUnsyncedTail", &[6, 29, 31]),
    ("StaleAppendTruncates", &[3, 10, 13]),
    ("CommitOldTerm", &[233, 103, 162]),
    ("VoteNotPersisted", &[232, 436, 67]),
    ("EmptyReplicaVotes", &[621, 12, 157]),
    ("WipedDiskKeepsIdentity", &[1, 4, 7]),
    ("OneMajorityInJoint", &[1, 2, 17]),
    ("MembershipNotRolledBack", &[25, 347, 615]),
    ("DuplicateAckedEarly", &[1, 2, 3]),
    ("ProducerStateNotRolledBack", &[40, 53, 87]),
    ("CopiedFrameNew", &[2, 3, 4]),
    ("LearnerCounts", &[1, 2, 4]),
    ("AppendAckCountedTwice", &[1, 2, 4]),
    ("SuspectReplicaVotes", &[17, 25, 28]),
    ("BootNumberIgnored", &[2, 4, 27]),
    ("DataDeletedUnconfirmed", &[2, 3, 4]),
    ("EpochCheckLost", &[335, 354, 1487]),
    ("CheckpointMovedEarly", &[16, 2, 3]),
    ("SyncedMovedEarly", &[1, 2, 3]),
    ("RetentionPastHighWatermark", &[1, 3, 6]),
    ("LogStartWithoutCommit", &[3, 6, 14]),
    ("QuietBehind", &[14, 20, 22]),
    ("QuietThroughLoss", &[1, 4, 7]),
    ("LaggardLeftBehind", &[261, 168, 216]),
];

#[cfg(feature = "mutants")]
macro_rules! bugs {
    ($($which:ident: $krate:ident $name:ident,)*) => {
        vec![$(Bug { name: stringify!($name), which: Which::$which($krate::mutant::Mutant::$name) },)*]
    };
}

/// Every bug that this build can have. Two more of the Raft core (`DuplicateAckCountedTwice`, `VoteForStaleLog`) are too rare for
/// whole nodes and are caught by its own random test.
#[cfg(feature = "mutants")]
pub fn bugs() -> Vec<Bug> {
    bugs! {
        Mesh: mesh AckBeforeSync,
        Storage: storage PromiseFromUnsyncedTail,
        Mesh: mesh StaleAppendTruncates,
        Mesh: mesh CommitOldTerm,
        Mesh: mesh VoteNotPersisted,
        Node: node EmptyReplicaVotes,
        Node: node WipedDiskKeepsIdentity,
        Mesh: mesh OneMajorityInJoint,
        Mesh: mesh MembershipNotRolledBack,
        Node: node DuplicateAckedEarly,
        Node: node ProducerStateNotRolledBack,
        Storage: storage CopiedFrameNew,
        Mesh: mesh LearnerCounts,
        Mesh: mesh AppendAckCountedTwice,
        Node: node SuspectReplicaVotes,
        Mesh: mesh BootNumberIgnored,
        Node: node DataDeletedUnconfirmed,
        Node: node EpochCheckLost,
        Node: node CheckpointMovedEarly,
        Storage: storage SyncedMovedEarly,
        Node: node RetentionPastHighWatermark,
        Node: node LogStartWithoutCommit,
        Mesh: mesh QuietBehind,
        Mesh: mesh QuietThroughLoss,
        Mesh: mesh LaggardLeftBehind,
    }
}

/// Every bug that this build can have: none.
#[cfg(not(feature = "mutants"))]
pub fn bugs() -> Vec<Bug> {
    Vec::new()
}

/// Chooses the bug of this thread.
#[cfg(feature = "mutants")]
fn choose(bug: Option<Bug>) {
    storage::mutant::set(None);
    mesh::mutant::set(None);
    node::mutant::set(None);
    match bug.map(|bug| bug.which) {
        Some(Which::Storage(mutant)) => storage::mutant::set(Some(mutant)),
        Some(Which::Mesh(mutant)) => mesh::mutant::set(Some(mutant)),
        Some(Which::Node(mutant)) => node::mutant::set(Some(mutant)),
        None => {}
    }
}

#[cfg(not(feature = "mutants"))]
fn choose(_bug: Option<Bug>) {}

/// The bug of this name.
pub fn named(name: &str) -> Option<Bug> {
    bugs().into_iter().find(|bug| bug.name == name)
}

/// Does something with a bug, or without one, on this thread.
pub fn with<T>(bug: Option<Bug>, work: impl FnOnce() -> T) -> T {
    choose(bug);
    let done = work();
    choose(None);
    done
}

/// How a bug fared.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Seeds run with it.
    pub run: u64,
    /// Seeds that caught it.
    pub caught: u64,
    /// The first of those.
    pub first: Vec<u64>,
    /// How often each checker caught it.
    pub by: BTreeMap<String, u64>,
    /// Seeds that fail without the bug too, so that their catch proves nothing.
    pub unclean: Vec<u64>,
}

/// How far to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// First seed.
    pub from: u64,
    /// How many at most.
    pub seeds: u64,
    /// Stop after this many catches.
    pub enough: u64,
    /// Threads.
    pub jobs: usize,
}

/// Searches general seeds for one bug.
pub fn search(bug: Bug, search: Search, options: Options) -> Row {
    let seeds = (search.from..search.from + search.seeds).collect();
    over(bug, seeds, search.enough, search.jobs, options)
}

fn over(bug: Bug, seeds: Vec<u64>, enough: u64, jobs: usize, options: Options) -> Row {
    let mut row = Row::default();
    let trial = move |seed| {
        choose(Some(bug));
        let outcome = run(seed, options);
        choose(None);
        let unclean = outcome.failure.is_some() && run(seed, options).failure.is_some();
        (outcome, unclean)
    };
    jobs::in_order(seeds, jobs, trial, |(outcome, unclean)| {
        row.run += 1;
        if let Some(failure) = outcome.failure {
            if unclean {
                row.unclean.push(outcome.seed);
            } else {
                row.caught += 1;
                row.first.push(outcome.seed);
                row.first.truncate(5);
                *row.by.entry(failure.check).or_default() += 1;
            }
        }
        if row.caught >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    row
}

/// Runs the pinned seeds of one bug until one catches it (and is clean without it), then `search`es if none did.
pub fn pinned(bug: Bug, beyond: Search, options: Options) -> Row {
    let seeds = PINNED.iter().find(|(name, _)| *name == bug.name).map_or(&[][..], |(_, seeds)| *seeds);
    let row = over(bug, seeds.to_vec(), 1, beyond.jobs, options);
    if row.caught > 0 { row } else { search(bug, Search { enough: 1, ..beyond }, options) }
}
