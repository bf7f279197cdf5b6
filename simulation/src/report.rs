//! What a person reads.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::coverage;
use crate::mutation::{Bug, Row};
use crate::run::{Failure, Outcome};
use crate::shrink::Shrunk;
use crate::world::Stats;

/// A run of this many seeds is long: what never happened in it is a hole in the swarm, and the run fails.
pub const LONG_RUN_SEEDS: u64 = 2000;

/// Totals over many seeds.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Seeds run.
    pub seeds: u64,
    /// Sums of their counts.
    pub stats: Stats,
    /// How often each situation occurred, and in how many seeds.
    pub situations: BTreeMap<&'static str, (u64, u64)>,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Seeds that failed, with the invariant.
    pub failed: Vec<(u64, String)>,
    digests: blake3::Hasher,
}

impl Totals {
    /// Adds a seed.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        let (sum, one) = (&mut self.stats, &outcome.stats);
        sum.operations += one.operations;
        sum.acknowledged += one.acknowledged;
        sum.elections += one.elections;
        sum.faults += one.faults;
        sum.steps += one.steps;
        sum.virtual_us += one.virtual_us;
        for (name, times) in &outcome.situations {
            let total = self.situations.entry(name).or_default();
            *total = (total.0 + times, total.1 + 1);
        }
        for (kind, times) in &outcome.faults {
            *self.faults.entry(kind.clone()).or_default() += times;
        }
        self.digests.update(outcome.digest.as_bytes());
        if let Some(failure) = &outcome.failure {
            self.failed.push((outcome.seed, failure.check.clone()));
        }
    }

    /// The situations that never occurred.
    pub fn never(&self) -> Vec<&'static str> {
        coverage::situations().into_iter().filter(|name| !self.situations.contains_key(name)).collect()
    }

    /// Whether the run was long enough for every situation, and yet missed one.
    pub fn has_hole(&self) -> bool {
        self.seeds >= LONG_RUN_SEEDS && !self.never().is_empty()
    }

    /// The table of situations, those that never occurred last.
    pub fn coverage(&self) -> String {
        let mut text = format!("{:<72} {:>9} {:>6}\n", "situation", "times", "seeds");
        for name in coverage::situations() {
            if let Some((times, seeds)) = self.situations.get(name) {
                text.push_str(&format!("{name:<72} {times:>9} {seeds:>6}\n"));
            }
        }
        let never = self.never();
        for name in &never {
            text.push_str(&format!("{name:<72}     NEVER\n"));
        }
        if self.has_hole() {
            text.push_str(&format!(
                "FAILED: {} of these never happened in {} seeds\n",
                never.len(),
                self.seeds
            ));
        }
        text
    }

    /// The totals in a few lines; `wall_seconds` is what they took on `jobs` cores.
    pub fn text(&self, wall_seconds: f64, jobs: usize) -> String {
        let stats = &self.stats;
        let seconds = (stats.virtual_us as f64 / 1e6).max(1e-9);
        let speed = seconds / 3600.0 / (wall_seconds / 60.0).max(1e-9) / jobs as f64;
        let digest = self.digests.finalize().to_hex();
        let mut text = format!(
            "faults drawn: {}\n\
             SUMMARY: {} seeds, {} failed, {:.1} virtual hours, {} operations, {} acknowledged records, {} elections, {} faults\n\
             {:.1} operations per virtual second, {:.1} faults per virtual minute\n\
             {speed:.1} virtual hours per wall minute and core ({jobs} cores, {wall_seconds:.0} s)\n\
             digest of all traces {}\n",
            kinds(&self.faults),
            self.seeds,
            self.failed.len(),
            seconds / 3600.0,
            stats.operations,
            stats.acknowledged,
            stats.elections,
            stats.faults,
            stats.operations as f64 / seconds,
            stats.faults as f64 / (seconds / 60.0),
            &digest[..32],
        );
        match self.failed.as_slice() {
            [] => text.push_str("all clean\n"),
            failed => {
                text.push_str(&format!("{} FAILED:\n", failed.len()));
                for (seed, check) in failed.iter().take(20) {
                    text.push_str(&format!("  seed {seed}: {check}\n"));
                }
            }
        }
        text
    }
}

/// Faults by kind, the most frequent first.
fn kinds(faults: &BTreeMap<String, u64>) -> String {
    let mut kinds: Vec<(&String, &u64)> = faults.iter().collect();
    kinds.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    kinds.iter().map(|(kind, times)| format!("{kind} {times}")).collect::<Vec<_>>().join(", ")
}

/// One seed.
pub fn seed(outcome: &Outcome) -> String {
    let stats = &outcome.stats;
    format!(
        "seed {}: {}\nfaults drawn: {}\n\
         {:.1} virtual minutes, {} operations, {} acknowledged records, {} elections, {} faults, {} steps\n\
         trace digest {}\n",
        outcome.seed,
        outcome.scenario,
        kinds(&outcome.faults),
        stats.virtual_us as f64 / 60e6,
        stats.operations,
        stats.acknowledged,
        stats.elections,
        stats.faults,
        stats.steps,
        outcome.digest
    )
}

/// The situations of one seed, in one line.
pub fn situations(outcome: &Outcome) -> String {
    let seen =
        coverage::situations().into_iter().filter_map(|name| Some((name, outcome.situations.get(name)?)));
    let seen: Vec<String> = seen.map(|(name, times)| format!("{name} ({times})")).collect();
    format!("came through: {}\n", seen.join(", "))
}

/// The command that replays a case.
pub fn command(case: &Case, bug: Option<Bug>) -> String {
    let (features, mutant) = match bug {
        Some(bug) => (" --features mutants", format!(" --mutant {}", bug.name)),
        None => ("", String::new()),
    };
    format!("cargo run --release -p simulation{features} -- {case}{mutant}")
}

/// A failure: the last events, the facts that contradict each other, the command that replays it.
pub fn failure(case: &Case, bug: Option<Bug>, failure: &Failure) -> String {
    let mut text = String::new();
    for line in &failure.recent {
        text.push_str(line);
        text.push('\n');
    }
    let command = command(case, bug);
    text.push_str(&format!(
        "\nVIOLATED: {}\n  {}\nreplay: {command} --trace\nmake it small: {command} --shrink\n",
        failure.check, failure.what
    ));
    text
}

/// A case that was made small.
pub fn shrunk(shrunk: &Shrunk, bug: Option<Bug>) -> String {
    let (before, after) = shrunk.faults;
    let (tries, check, what) = (shrunk.tries, &shrunk.failure.check, &shrunk.failure.what);
    let mut text = format!("SHRUNK from {before} faults to {after} in {tries} runs: {check}\n  {what}\n");
    for line in shrunk.case.told() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&format!("replay: {} --trace\n", command(&shrunk.case, bug)));
    text
}

/// A line of the mutation table.
pub fn row(name: &str, row: &Row) -> String {
    let by: Vec<String> = row.by.iter().map(|(check, count)| format!("{check} ({count})")).collect();
    let unclean = if row.unclean.is_empty() { String::new() } else { format!(" UNCLEAN {:?}", row.unclean) };
    format!("| {name} | {} | {} | {:?} | {} |{unclean}", row.run, row.caught, row.first, by.join(", "))
}

/// The head of the mutation table.
pub fn table_head() -> &'static str {
    "| mutant | seeds run | caught | first seeds | by |\n|---|---|---|---|---|"
}
