//! One seed, one trace: in two runs of a process, and in two processes.

use std::process::Command;

use simulation::{Options, run};

#[test]
fn the_same_seed_gives_the_same_trace_in_one_process() {
    for seed in [3, 4] {
        let (first, second) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!(first.digest, second.digest, "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_two_processes() {
    let told = || {
        let command =
            Command::new(env!("CARGO_BIN_EXE_simulation")).args(["--seed", "11", "--trace"]).output();
        let output = command.expect("the simulator starts");
        assert!(output.status.success(), "seed 11 fails: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let (first, second) = (told(), told());
    assert!(first.len() > 1_000_000, "a trace tells what happened");
    assert!(first == second, "two processes told different traces");
}

#[test]
fn different_seeds_give_different_traces() {
    assert_ne!(run(5, Options::default()).digest, run(6, Options::default()).digest);
}
