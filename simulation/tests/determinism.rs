//! One seed, one trace: in two runs of a process, and in two processes. The seeds are fresh in every run and printed, for what is
//! not a function of the seed may show in one of a thousand.

use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use simulation::{Options, run};

/// A seed that no earlier run of the tests had.
#[expect(clippy::disallowed_methods, reason = "a test that wants other seeds each time")]
fn fresh_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() * 1000
}

fn start(arguments: &[String]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulation"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("the simulator starts")
}

/// What two processes say that run side by side.
fn told_twice(arguments: &[&str]) -> [Vec<u8>; 2] {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let children = [start(&arguments), start(&arguments)];
    children.map(|child| child.wait_with_output().expect("the simulator ends").stdout)
}

#[test]
fn the_same_seed_gives_the_same_trace_in_one_process() {
    for seed in [3, 4] {
        let (first, second) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.situations, second.situations, "seed {seed}");
    }
}

/// A seed that fails is told as well as one that does not: here only the bytes count.
#[test]
fn the_same_seed_gives_the_same_bytes_in_two_processes() {
    let first = fresh_seed();
    println!("seeds {first}..{}", first + 3);
    for seed in first..first + 3 {
        let seed = seed.to_string();
        let [one, other] = told_twice(&["--seed", &seed, "--minutes", "1", "--trace"]);
        assert!(one.len() > 100_000, "the trace of seed {seed} tells little: {} bytes", one.len());
        assert!(one == other, "two processes told different traces of seed {seed}");
    }
}

#[test]
fn a_batch_has_one_digest_in_two_processes() {
    let from = (fresh_seed() + 500).to_string();
    println!("20 seeds from {from}");
    let arguments = ["--seeds", "20", "--from", &from, "--minutes", "1", "--jobs", "1"];
    let digest = |told: Vec<u8>| {
        let text = String::from_utf8(told).unwrap();
        let line = text.lines().find(|line| line.starts_with("digest of all traces")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no digest in {text}"))
    };
    let [one, other] = told_twice(&arguments).map(digest);
    assert_eq!(one, other, "seeds from {from}");
}

#[test]
fn different_seeds_give_different_traces() {
    assert_ne!(run(5, Options::default()).digest, run(6, Options::default()).digest);
}
