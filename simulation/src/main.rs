//! The command line of the simulator.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use simulation::mutation::{self, Search};
use simulation::report::{self, Totals};
use simulation::{Options, Telling, jobs, run};

/// Catches of a mutant that suffice.
const ENOUGH: u64 = 3;

/// Whole nodes in virtual time under faults. A failing seed prints the command that replays it.
#[derive(Debug, Parser)]
#[command(name = "simulation", version)]
struct Arguments {
    /// Run this one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Print every event of it.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run this many seeds [default: 200, with --mutants at most 2000 for each].
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them; drawn from the clock and printed when left out (1 for mutants).
    #[arg(long)]
    from: Option<u64>,
    /// Virtual minutes with faults per seed.
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// Threads; each seed runs on one.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Run the mutation suite (needs `--features mutants`): seeds per mutant until it was caught three times.
    #[arg(long)]
    mutants: bool,
    /// Only mutants whose name contains this.
    #[arg(long, requires = "mutants")]
    mutant: Option<String>,
    /// Do not stop at three catches: run all seeds with every mutant.
    #[arg(long, requires = "mutants")]
    full: bool,
    /// Be quick: seeds that are known to catch each mutant first, and one catch is enough.
    #[arg(long, requires = "mutants")]
    pinned: bool,
}

#[expect(clippy::disallowed_methods, reason = "a shell: speed is told in wall time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a shell: a fresh batch of seeds each time")]
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * 10_000
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options { minutes: arguments.minutes.max(1), telling: Telling::Silent };
    let passed = if let Some(seed) = arguments.seed {
        one(seed, options, arguments.trace)
    } else if arguments.mutants {
        mutants(&arguments, options)
    } else {
        many(&arguments, options)
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, options: Options, trace: bool) -> bool {
    let telling = if trace { Telling::Print } else { Telling::Silent };
    let outcome = run(seed, Options { telling, ..options });
    print!("{}", report::seed(&outcome));
    match &outcome.failure {
        None => println!("every invariant held"),
        Some(failure) if trace => print!("{}", report::failure(seed, options.minutes, failure)),
        Some(_) => explain(seed, options),
    }
    outcome.failure.is_none()
}

/// Runs a failing seed again, keeping the last events of each node.
fn explain(seed: u64, options: Options) {
    let outcome = run(seed, Options { telling: Telling::Keep, ..options });
    if let Some(failure) = &outcome.failure {
        print!("{}", report::failure(seed, options.minutes, failure));
    }
}

fn many(arguments: &Arguments, options: Options) -> bool {
    let from = arguments.from.unwrap_or_else(fresh_seed);
    let seeds = arguments.seeds.unwrap_or(200);
    println!("seeds {from}..{} with {} virtual minutes of faults each", from + seeds, options.minutes);
    let begun = now();
    let mut totals = Totals::default();
    let seeds = (from..from + seeds).collect();
    jobs::in_order(
        seeds,
        arguments.jobs,
        |seed| run(seed, options),
        |outcome| {
            totals.add(&outcome);
            if let Some(failure) = &outcome.failure {
                println!("seed {} FAILED: {}: {}", outcome.seed, failure.check, failure.what);
            }
            ControlFlow::Continue(())
        },
    );
    let wall = begun.elapsed().as_secs_f64();
    if let Some((seed, _)) = totals.failed.first() {
        explain(*seed, options);
    }
    print!("{}", totals.coverage());
    print!("{}", totals.text(wall, arguments.jobs));
    totals.failed.is_empty() && !totals.has_hole()
}

fn mutants(arguments: &Arguments, options: Options) -> bool {
    let mut bugs = mutation::bugs();
    if let Some(part) = &arguments.mutant {
        bugs.retain(|bug| bug.name.contains(part.as_str()));
    }
    if bugs.is_empty() {
        eprintln!(
            "no mutants in this build: cargo run --release -p simulation --features mutants -- --mutants"
        );
        return false;
    }
    println!("{}", report::table_head());
    let (all, mut passed) = (bugs.len(), 0);
    for bug in bugs {
        let enough = if arguments.full { u64::MAX } else { ENOUGH };
        let (from, seeds) = (arguments.from.unwrap_or(1), arguments.seeds.unwrap_or(2000));
        let search = Search { from, seeds, enough, jobs: arguments.jobs };
        let row = if arguments.pinned {
            mutation::pinned(bug, search, options)
        } else {
            mutation::search(bug, search, options)
        };
        println!("{}", report::row(bug.name, &row));
        let wanted = if arguments.pinned { 1 } else { ENOUGH };
        passed += usize::from(row.caught >= wanted && row.unclean.is_empty());
    }
    println!("SUMMARY: {passed} of {all} mutants caught");
    passed == all
}
