//! quickcheck over scenarios: small ones, fresh in every run, and a failing one shrinks to the command that replays it.

use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};
use simulation::case::Case;
use simulation::{Telling, run_case};

/// Cases per run: a few seconds.
const CASES: u64 = 12;

fn holds(case: Case) -> TestResult {
    match run_case(&case, Telling::Silent).failure {
        None => TestResult::passed(),
        Some(failure) => TestResult::error(format!(
            "{}: {}\nreplay: cargo run --release -p simulation -- {case}",
            failure.check, failure.what
        )),
    }
}

#[test]
fn small_scenarios_hold_every_invariant() {
    QuickCheck::new().tests(CASES).quickcheck(holds as fn(Case) -> TestResult);
}

#[test]
fn a_case_replays_from_its_own_words() {
    for seed in 0..3 {
        let case = Case::arbitrary(&mut Gen::from_size_and_seed(10, seed));
        let (spelled, brief) = (case.spelled_out(), case.brief());
        let digest = |case: &Case| run_case(case, Telling::Silent).digest;
        assert_eq!(digest(&spelled), digest(&brief), "{case}");
    }
}

/// A bug that shows under many faults is shown by few of them.
#[cfg(feature = "mutants")]
#[test]
fn a_mutant_that_many_faults_catch_is_caught_by_few() {
    use simulation::mutation;
    use simulation::shrink::{Limits, shrink};

    let bug = mutation::named("OneMajorityInJoint");
    let trial = |case: &Case| mutation::with(bug, || run_case(case, Telling::Silent));
    let failing = (1..200).map(|seed| (Case::of(seed, 2), trial(&Case::of(seed, 2))));
    let (case, outcome) = failing.into_iter().find(|(_, outcome)| outcome.failure.is_some()).unwrap();
    let failure = outcome.failure.unwrap();
    let shrunk = shrink(&case, &failure, outcome.stats.virtual_us, Limits { tries: 150, jobs: 2 }, trial);
    let (before, after) = shrunk.faults;
    println!("{before} faults to {after}: {}", shrunk.case);
    assert!(after * 2 < before, "{before} faults to {after}: {}", shrunk.case);
    assert_eq!(trial(&shrunk.case).failure.map(|failure| failure.check), Some(failure.check));
}
