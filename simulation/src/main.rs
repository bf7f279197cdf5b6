//! The command line of the simulator.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use simulation::case::{Case, Kept, Number, Oddity, parse_list};
use simulation::large::Size;
use simulation::mutation::{self, Bug, Search};
use simulation::report::{self, Totals};
use simulation::shrink::{Limits, shrink};
use simulation::{Failure, Kind, Options, Outcome, Telling, jobs, run, run_case};

/// How often a batch says how far it is, in seeds.
const PROGRESS: u64 = 500;

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
    /// A named scenario; a wrong name is answered with all of them and what they are for.
    #[arg(long, default_value = "mixed")]
    scenario: Kind,
    /// Virtual minutes with faults per seed.
    #[arg(long, default_value_t = 2)]
    minutes: u64,
    /// Begin no more seeds after so many wall minutes.
    #[arg(long)]
    within: Option<u64>,
    /// Threads; each seed runs on one.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Run the mutation suite (needs `--features mutants`): seeds per mutant until it was caught three times.
    #[arg(long)]
    mutants: bool,
    /// With --mutants: only those whose name contains this. With --seed: run it with this one.
    #[arg(long)]
    mutant: Option<String>,
    /// Do not stop at three catches: run all seeds with every mutant.
    #[arg(long, requires = "mutants")]
    full: bool,
    /// Be quick: seeds that are known to catch each mutant first, and one catch is enough.
    #[arg(long, requires = "mutants")]
    pinned: bool,
    /// Find the seeds to be known anew, and write them into the source (simulation/src/pins.txt).
    #[arg(long, requires = "mutants", conflicts_with_all = ["pinned", "full"])]
    repin: bool,
    /// Make the failing seed, or the first one of a batch, small: fewer faults, clients and topics, a shorter run.
    #[arg(long)]
    shrink: bool,
    /// Runs that this may take.
    #[arg(long, default_value_t = 400)]
    tries: usize,
    /// Many nodes and many partitions instead of a seed: formation, a join, leaves, restarts, and what they cost each node.
    #[arg(long)]
    large: bool,
    /// With --large: nodes.
    #[arg(long, requires = "large", default_value_t = 1000)]
    nodes: usize,
    /// With --large: partitions of all topics, three replicas each.
    #[arg(long, requires = "large", default_value_t = 100_000)]
    partitions: usize,
    #[command(flatten)]
    parts: Parts,
}

/// What is left of a seed: the words that --shrink prints.
#[derive(Debug, clap::Args)]
struct Parts {
    /// Another draw of latencies and ties.
    #[arg(long, requires = "seed", default_value_t = 0)]
    salt: u64,
    /// Faults stop after so many virtual seconds.
    #[arg(long, requires = "seed")]
    seconds: Option<u64>,
    /// Only these faults of its list, `3,7:250` with a time in milliseconds, or `none`.
    #[arg(long, requires = "seed")]
    faults: Option<String>,
    /// Only these clients beside the administrator.
    #[arg(long, requires = "seed")]
    clients: Option<String>,
    /// Only these topics.
    #[arg(long, requires = "seed")]
    topics: Option<String>,
    /// These parts as usual: network, disk, clocks, raft, store, index, churn, partitions.
    #[arg(long, requires = "seed")]
    plain: Option<String>,
}

impl Parts {
    fn case(&self, seed: u64, options: Options) -> Result<Case, String> {
        Ok(Case {
            salt: self.salt,
            seconds: self.seconds,
            faults: self.faults.as_deref().map(parse_list::<Kept>).transpose()?,
            clients: self.clients.as_deref().map(parse_list::<Number>).transpose()?,
            topics: self.topics.as_deref().map(parse_list::<Number>).transpose()?,
            plain: self.plain.as_deref().map(parse_list::<Oddity>).transpose()?.unwrap_or_default(),
            ..options.case(seed)
        })
    }
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
    let minutes = arguments.minutes.max(1);
    let options = Options { kind: arguments.scenario, minutes, telling: Telling::Silent };
    let passed = if arguments.large {
        large(&arguments)
    } else if let Some(seed) = arguments.seed {
        match arguments.parts.case(seed, options) {
            Ok(case) => one(&case, &arguments),
            Err(what) => {
                eprintln!("{what}");
                false
            }
        }
    } else if arguments.mutants {
        mutants(&arguments, options)
    } else {
        many(&arguments, options)
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Megabytes that this process holds now, and held at most; 0 where the system does not say.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) / 1000
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn large(arguments: &Arguments) -> bool {
    let size = Size {
        nodes: arguments.nodes.max(6),
        partitions: arguments.partitions,
        seed: arguments.seed.unwrap_or(1),
    };
    println!("{} nodes, {} partitions with 3 replicas, seed {}", size.nodes, size.partitions, size.seed);
    let begun = now();
    let passed = simulation::large::run(size, &mut |row| {
        let (held, most) = memory();
        let wall = begun.elapsed().as_secs_f64();
        println!(
            "{row}    {wall:.1} s of wall time so far; the simulator holds {held} MB, at most {most} MB"
        );
    });
    println!("RESULT large: {}", if passed { "every phase converged" } else { "FAILED" });
    passed
}

fn one(case: &Case, arguments: &Arguments) -> bool {
    let bug = arguments.mutant.as_deref().and_then(mutation::named);
    if let (Some(name), None) = (&arguments.mutant, bug) {
        eprintln!("no mutant {name} in this build; it needs --features mutants and the whole name");
        return false;
    }
    let telling = if arguments.trace { Telling::Print } else { Telling::Silent };
    let outcome = mutation::with(bug, || run_case(case, telling));
    print!("{}{}", report::seed(&outcome), report::situations(&outcome));
    match &outcome.failure {
        None => println!("every invariant held"),
        Some(failure) if arguments.trace => print!("{}", report::failure(case, bug, failure)),
        Some(_) => explain(case, bug),
    }
    if let Some(failure) = outcome.failure.as_ref().filter(|_| arguments.shrink) {
        make_small(case, bug, &outcome, failure, arguments);
    }
    outcome.failure.is_none()
}

/// Runs a failing case again, keeping the last events of each node.
fn explain(case: &Case, bug: Option<Bug>) {
    let outcome = mutation::with(bug, || run_case(case, Telling::Keep));
    if let Some(failure) = &outcome.failure {
        print!("{}", report::failure(case, bug, failure));
    }
}

fn make_small(case: &Case, bug: Option<Bug>, outcome: &Outcome, failure: &Failure, arguments: &Arguments) {
    let limits = Limits { tries: arguments.tries, jobs: arguments.jobs };
    let trial = |case: &Case| mutation::with(bug, || run_case(case, Telling::Silent));
    let shrunk = shrink(case, failure, outcome.stats.virtual_us, limits, trial);
    print!("{}", report::shrunk(&shrunk, bug));
}

fn many(arguments: &Arguments, options: Options) -> bool {
    let from = arguments.from.unwrap_or_else(fresh_seed);
    let seeds = arguments.seeds.unwrap_or(200);
    let (scenario, minutes, until) = (options.kind.name, options.minutes, from + seeds);
    println!("seeds {from}..{until} of scenario {scenario} with {minutes} virtual minutes of faults each");
    let begun = now();
    let mut totals = Totals::default();
    let late = || arguments.within.is_some_and(|within| begun.elapsed().as_secs() >= within * 60);
    jobs::in_order(
        (from..until).collect(),
        arguments.jobs,
        |seed| run(seed, options),
        |outcome| {
            totals.add(&outcome);
            if let Some(failure) = &outcome.failure {
                println!("seed {} FAILED: {}: {}", outcome.seed, failure.check, failure.what);
            }
            if totals.seeds % PROGRESS == 0 {
                let (done, failed, took) = (totals.seeds, totals.failed.len(), begun.elapsed().as_secs());
                eprintln!("{done} seeds run, {failed} failed, {took} s");
            }
            if late() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    let wall = begun.elapsed().as_secs_f64();
    if let Some((seed, _)) = totals.failed.first() {
        let case = options.case(*seed);
        explain(&case, None);
        let outcome = run_case(&case, Telling::Silent);
        if let Some(failure) = outcome.failure.as_ref().filter(|_| arguments.shrink) {
            make_small(&case, None, &outcome, failure, arguments);
        }
    }
    print!("{}", totals.coverage());
    print!("{}", totals.text(wall, arguments.jobs));
    totals.failed.is_empty() && !totals.has_hole()
}

fn mutants(arguments: &Arguments, options: Options) -> bool {
    let mut bugs = mutation::bugs();
    if let Some(part) = &arguments.mutant {
        bugs.extend(mutation::unproven());
        bugs.retain(|bug| bug.name.contains(part.as_str()));
    }
    if bugs.is_empty() {
        eprintln!(
            "no mutants in this build: cargo run --release -p simulation --features mutants -- --mutants"
        );
        return false;
    }
    println!("{}", report::table_head());
    let (all, mut passed, mut pins) = (bugs.len(), 0, Vec::new());
    for bug in bugs {
        let enough = if arguments.full { u64::MAX } else { ENOUGH };
        let (from, seeds) = (arguments.from.unwrap_or(1), arguments.seeds.unwrap_or(2000));
        let search = Search { from, seeds, enough, jobs: arguments.jobs };
        let row = match (arguments.pinned, arguments.repin) {
            (true, _) => mutation::pinned(bug, search, options),
            (_, true) => mutation::repinned(bug, search, options),
            _ => mutation::search(bug, search, options),
        };
        println!("{}", report::row(bug.name, &row));
        pins.push((bug.name, row.first.clone()));
        if arguments.repin
            && let Err(error) = mutation::write_pins(&pins)
        {
            eprintln!("the seeds could not be written: {error}");
            return false;
        }
        let wanted = if arguments.pinned { 1 } else { ENOUGH };
        passed += usize::from(row.caught >= wanted && row.unclean.is_empty());
    }
    println!("SUMMARY: {passed} of {all} mutants caught");
    passed == all
}
