//! One seed from beginning to end.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::checks::Violation;
use crate::coverage::Counts;
use crate::scenario::Scenario;
use crate::trace::Telling;
use crate::world::{Stats, World};

/// How to run seeds.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Virtual minutes with faults, at least 2.
    pub minutes: u64,
    /// What to do with text.
    pub telling: Telling,
}

impl Default for Options {
    fn default() -> Self {
        Self { minutes: 2, telling: Telling::Silent }
    }
}

/// What a failing seed showed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The invariant.
    pub check: String,
    /// The facts that contradict each other.
    pub what: String,
    /// The last events of each node, with [`Telling::Keep`].
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
    /// Digest of the whole trace.
    pub digest: String,
    /// `None` when everything held.
    pub failure: Option<Failure>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of nodes are violations: they are kept here instead of being printed.
fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
            let text = info.payload_as_str().unwrap_or("a panic without words");
            PANIC.set(Some(format!("{text} ({place})")));
        }));
    });
}

/// Runs one seed on this thread.
pub fn run(seed: u64, options: Options) -> Outcome {
    catch_panics();
    let scenario = Scenario::draw(seed, options.minutes.max(1));
    let summary = scenario.summary();
    let mut world = World::new(seed, scenario, options.telling);
    let verdict = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(verdict) => verdict,
        Err(_) => {
            let what = PANIC.take().unwrap_or_default();
            Err(Violation { check: "a node does not panic", what })
        }
    };
    let (stats, situations) = (world.stats(), world.situations());
    let failure = verdict.err().map(|violation| Failure {
        check: violation.check.to_owned(),
        what: violation.what,
        recent: world.trace().recent(),
    });
    Outcome { seed, scenario: summary, stats, situations, digest: world.trace().digest(), failure }
}
