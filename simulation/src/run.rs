//! One seed from beginning to end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::case::Case;
use crate::checks::Violation;
use crate::coverage::Counts;
use crate::scenario::Kind;
use crate::trace::Telling;
use crate::world::{Stats, World};

/// How to run seeds.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The named scenario.
    pub kind: Kind,
    /// Virtual minutes with faults, at least 2.
    pub minutes: u64,
    /// What to do with text.
    pub telling: Telling,
}

impl Options {
    /// All of a seed in this scenario.
    pub fn case(&self, seed: u64) -> Case {
        Case { kind: self.kind, ..Case::of(seed, self.minutes) }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { kind: Kind::default(), minutes: 2, telling: Telling::Silent }
    }
}

/// What a failing seed showed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The invariant.
    pub check: String,
    /// The facts that contradict each other.
    pub what: String,
    /// The last events of the nodes that the facts name, or of all, with [`Telling::Keep`].
    pub recent: Vec<String>,
}

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// What it drew, for people.
    pub scenario: String,
    /// Counts.
    pub stats: Stats,
    /// The situations that it came through.
    pub situations: Counts,
    /// The faults of its list that could begin, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Digest of the whole trace.
    pub digest: String,
    /// `None` when everything held.
    pub failure: Option<Failure>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static STEPPING: Cell<bool> = const { Cell::new(false) };
}

/// Panics of nodes are violations: they are kept here instead of being printed. All others are printed as ever.
fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !STEPPING.get() {
                return others(info);
            }
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
            let text = info.payload_as_str().unwrap_or("a panic without words");
            PANIC.set(Some(format!("{text} ({place})")));
        }));
    });
}

/// Runs one seed on this thread.
pub fn run(seed: u64, options: Options) -> Outcome {
    run_case(&options.case(seed), options.telling)
}

/// Runs what is left of a seed on this thread.
pub fn run_case(case: &Case, telling: Telling) -> Outcome {
    catch_panics();
    let (scenario, left_out) = case.scenario();
    let (summary, hosts) = (scenario.summary(), scenario.clocks.len());
    let mut faults = BTreeMap::new();
    for (n, planned) in scenario.faults.iter().enumerate() {
        if planned.at < scenario.duration && !left_out.faults.contains(&n) {
            *faults.entry(planned.fault.kind()).or_default() += 1;
        }
    }
    let mut world = World::new(case.world_seed(), scenario, left_out, telling);
    STEPPING.set(true);
    let verdict = catch_unwind(AssertUnwindSafe(|| world.run()));
    STEPPING.set(false);
    let verdict = verdict.unwrap_or_else(|_| {
        let what = PANIC.take().unwrap_or_default();
        Err(Violation { check: "a node does not panic", what })
    });
    let (stats, situations) = (world.stats(), world.situations());
    let failure = verdict.err().map(|violation| Failure {
        check: violation.check.to_owned(),
        recent: world.trace().recent(&involved(&violation.what, hosts)),
        what: violation.what,
    });
    let digest = world.trace().digest();
    Outcome { seed: case.seed, scenario: summary, stats, situations, faults, digest, failure }
}

/// The hosts that a text names, as `node 3` or as the replica `3.incarnation.epoch`; all when it names none.
fn involved(what: &str, hosts: usize) -> BTreeSet<usize> {
    let words: Vec<&str> = what.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').collect();
    let number = |word: &str| word.parse::<usize>().ok();
    let nodes = words
        .windows(2)
        .filter(|pair| pair[0] == "node")
        .filter_map(|pair| number(pair[1].trim_matches('.')));
    let is_triple = |word: &&&str| word.trim_matches('.').matches('.').count() == 2;
    let triples = words.iter().filter(is_triple).filter_map(|word| number(word.split('.').next()?));
    let named: BTreeSet<usize> =
        nodes.chain(triples).filter(|number| (1..=hosts).contains(number)).map(|number| number - 1).collect();
    if named.is_empty() { (0..hosts).collect() } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_that_a_violation_names_are_involved() {
        let named = |what| involved(what, 3).into_iter().collect::<Vec<_>>();
        assert_eq!(named("shard 2: replica 3.1099.1 in term 4 and node 1."), [0, 2]);
        assert_eq!(named("offset 7.5 is gone"), [0, 1, 2]);
        assert_eq!(named("node 9 is not one of them"), [0, 1, 2]);
    }
}
