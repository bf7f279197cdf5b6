//! Makes a failing case small: quickcheck's smaller cases of it, one after the other, as long as the same invariant is violated.

use std::ops::ControlFlow;

use quickcheck::Arbitrary;

use crate::case::Case;
use crate::jobs;
use crate::run::{Failure, Outcome};

/// How many other draws of latencies a smaller case gets before it counts as one that does not fail: whatever is left out shifts
/// every latency after it, and a race that needs luck would hide.
const SALTS: u64 = 2;

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Runs at most.
    pub tries: usize,
    /// Threads.
    pub jobs: usize,
}

/// A small case that fails as the large one did.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The case.
    pub case: Case,
    /// What it shows.
    pub failure: Failure,
    /// Faults before and after.
    pub faults: (usize, usize),
    /// Runs that it took.
    pub tries: usize,
}

/// Shrinks a case that failed with `failure` at `at_us` of virtual time; `trial` runs one.
pub fn shrink(
    case: &Case,
    failure: &Failure,
    at_us: u64,
    limits: Limits,
    trial: impl Fn(&Case) -> Outcome + Sync,
) -> Shrunk {
    let before = case.spelled_out();
    let mut search = Search { case: before.clone(), failure: failure.clone(), tries: 0, limits, trial };
    // What begins after the failure cannot matter.
    search.first_failing(&[before.until(at_us)]);
    while search.tries < limits.tries {
        let smaller: Vec<Case> = search.case.shrink().flat_map(with_salts).collect();
        if !search.first_failing(&smaller) {
            break;
        }
    }
    let faults = (before.told().len(), search.case.told().len());
    Shrunk { case: search.case.brief(), failure: search.failure, faults, tries: search.tries }
}

fn with_salts(case: Case) -> impl Iterator<Item = Case> {
    let others = (1..=SALTS).map(move |n| case.salt + n);
    std::iter::once(case.salt).chain(others).map(move |salt| Case { salt, ..case.clone() })
}

struct Search<T> {
    case: Case,
    failure: Failure,
    tries: usize,
    limits: Limits,
    trial: T,
}

impl<T: Fn(&Case) -> Outcome + Sync> Search<T> {
    /// Goes on with the first of these cases that fails in the same way; false when none does, or no tries are left.
    fn first_failing(&mut self, cases: &[Case]) -> bool {
        let left = self.limits.tries.saturating_sub(self.tries).min(cases.len());
        let places = (0..left as u64).collect();
        let (trial, check) = (&self.trial, self.failure.check.clone());
        let at = |place: u64| usize::try_from(place).ok().and_then(|place| cases.get(place));
        let mut found = None;
        let mut tries = 0;
        jobs::in_order(
            places,
            self.limits.jobs,
            |place| at(place).map(|case| (case.clone(), trial(case))),
            |result| {
                tries += 1;
                match result {
                    Some((case, Outcome { failure: Some(failure), .. })) if failure.check == check => {
                        found = Some((case, failure));
                        ControlFlow::Break(())
                    }
                    _ => ControlFlow::Continue(()),
                }
            },
        );
        self.tries += tries;
        let smaller = found.is_some();
        if let Some((case, failure)) = found {
            (self.case, self.failure) = (case, failure);
        }
        smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Kept, Number};
    use crate::world::Stats;

    fn outcome(case: &Case, check: Option<&str>) -> Outcome {
        let failure =
            check.map(|check| Failure { check: check.into(), what: String::new(), recent: Vec::new() });
        Outcome {
            seed: case.seed,
            scenario: String::new(),
            stats: Stats::default(),
            situations: Default::default(),
            faults: Default::default(),
            digest: String::new(),
            failure,
        }
    }

    #[test]
    fn what_matters_stays_and_the_rest_goes() {
        let large = |case: &Case| {
            case.faults.as_ref().is_some_and(|faults| faults.len() > 10)
                && case.clients.as_ref().is_some_and(|clients| clients.contains(&Number(2)))
        };
        let case =
            (1..).map(|seed| Case::of(seed, 2).spelled_out()).find(large).expect("many seeds are large");
        let needed = [3, 7];
        let trial = |case: &Case| {
            let has = |number: &usize| case.faults.iter().flatten().any(|kept| kept.number == *number);
            let needs_client = case.clients.iter().flatten().any(|client| *client == Number(2));
            let check = match needed.iter().all(has) && needs_client {
                true => Some("the invariant"),
                // Another failure is no reason to keep a smaller case.
                false => Some("something else"),
            };
            outcome(case, check)
        };
        let failure = outcome(&case, Some("the invariant")).failure.unwrap();
        let shrunk = shrink(&case, &failure, 120_000_000, Limits { tries: 2000, jobs: 2 }, trial);
        let spelled = shrunk.case.spelled_out();
        let numbers: Vec<usize> = spelled.faults.iter().flatten().map(|kept: &Kept| kept.number).collect();
        assert_eq!(numbers, needed);
        assert_eq!(spelled.clients, Some(vec![Number(2)]));
        assert_eq!(spelled.topics.map(|topics| topics.len()), Some(1));
        assert!(shrunk.faults.1 <= 2 && shrunk.faults.0 > 5, "{:?}", shrunk.faults);
    }

    #[test]
    fn tries_are_bounded() {
        let case = Case::of(1, 2);
        let failure = outcome(&case, Some("the invariant")).failure.unwrap();
        let fails = |case: &Case| outcome(case, Some("the invariant"));
        let shrunk = shrink(&case, &failure, 0, Limits { tries: 5, jobs: 1 }, fails);
        assert!(shrunk.tries <= 5, "{}", shrunk.tries);
    }
}
