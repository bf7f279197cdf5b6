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
    /// The scenario in which it is searched for, if it is too rare for the general one.
    pub scenario: Option<&'static str>,
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

/// Seeds that are known to catch a bug, for a quick check: a line for each bug, its name and the first of general seeds that did. A change of
/// the code under test shifts what happens in a seed, so one of them is enough, and when none is left a search goes on; `--repin` writes
/// them anew.
const PINS: &str = include_str!("pins.txt");

/// Where those are in the source.
const PINS_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pins.txt");

/// How many seeds of each bug are pinned.
const PINNED: usize = 3;

/// The pinned seeds of a bug.
fn pins(name: &str) -> Vec<u64> {
    let line = PINS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_default().split(' ').filter_map(|seed| seed.parse().ok()).collect()
}

#[cfg(feature = "mutants")]
macro_rules! bugs {
    ($($which:ident: $krate:ident $name:ident $(in $scenario:literal)?,)*) => {
        vec![$(Bug {
            name: stringify!($name),
            scenario: [$($scenario)?].first().copied(),
            which: Which::$which($krate::mutant::Mutant::$name),
        },)*]
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
        Node: node GroupFencingSkipped in "groups",
        Node: node OffsetAckedEarly in "groups",
        Mesh: mesh QuietBehind,
        Mesh: mesh QuietThroughLoss,
        Node: node CreatingReplicaServes,
        Node: node SuspectReplicaAcknowledges,
        Node: node RemovedReplicaVotes,
        Mesh: mesh LearnerVotes,
        Mesh: mesh MembershipNotPersisted,
        Mesh: mesh ChangeBeforeCommit,
        Mesh: mesh TripleIgnored,
        Mesh: mesh SwimRevivesOldBoot,
        Node: node NewcomerNotWatched,
        Node: node StaleOrderTaken,
    }
}

/// Bugs that no three general seeds are known to catch yet: they are run when they are asked for by name.
#[cfg(feature = "mutants")]
pub fn unproven() -> Vec<Bug> {
    bugs! {
        Mesh: mesh LaggardLeftBehind,
        Node: node EmptyReplicaVotes,
        Node: node FalteredUnheard,
        Node: node CreatedBeforeSync,
        Node: node SuspectReplicaServes,
        Node: node LearnerServes,
        Node: node RemovedReplicaServes,
        Node: node BegunUnconfirmed,
        Node: node RotKeepsLife,
        Mesh: mesh ReadUnconfirmed,
        Mesh: mesh OneToTwo,
        Node: node ChangesUnheard,
        Node: node OldDescriptorMoves,
        Node: node LeftToldEarly,
        Node: node DeadInMasses,
        Node: node CoordinatorServesUnloaded,
        Node: node OutlivedNotFenced,
    }
}

/// Bugs that this build can have and that nothing is known of: none.
#[cfg(not(feature = "mutants"))]
pub fn unproven() -> Vec<Bug> {
    Vec::new()
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
    bugs().into_iter().chain(unproven()).find(|bug| bug.name == name)
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
    let own = bug.scenario.and_then(|name| name.parse().ok());
    let options = Options { kind: own.unwrap_or(options.kind), ..options };
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
    let row = over(bug, pins(bug.name), 1, beyond.jobs, options);
    if row.caught > 0 { row } else { search(bug, Search { enough: 1, ..beyond }, options) }
}

/// Finds the seeds to be pinned: those that are, as far as they still catch the bug, and the first others that do.
pub fn repinned(bug: Bug, beyond: Search, options: Options) -> Row {
    let mut row = over(bug, pins(bug.name), PINNED as u64, beyond.jobs, options);
    if row.first.len() < PINNED {
        let missing = PINNED - row.first.len();
        let known = row.first.clone();
        let seeds = (beyond.from..beyond.from + beyond.seeds).filter(|seed| !known.contains(seed)).collect();
        let more = over(bug, seeds, missing as u64, beyond.jobs, options);
        row.run += more.run;
        row.caught += more.caught;
        row.first.extend(more.first);
        row.unclean.extend(more.unclean);
        more.by.into_iter().for_each(|(check, times)| *row.by.entry(check).or_default() += times);
    }
    row
}

/// Writes the pins of these bugs into the source; those of the others stay.
///
/// # Errors
/// When the source cannot be written.
pub fn write_pins(found: &[(&str, Vec<u64>)]) -> std::io::Result<()> {
    let line = |name: &str, seeds: &[u64]| {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        format!("{name} {}\n", seeds.join(" "))
    };
    let lines = bugs().into_iter().map(|bug| {
        let new = found.iter().find(|(name, seeds)| *name == bug.name && !seeds.is_empty());
        line(bug.name, &new.map_or_else(|| pins(bug.name), |(_, seeds)| seeds.clone()))
    });
    std::fs::write(PINS_FILE, lines.collect::<String>())
}
