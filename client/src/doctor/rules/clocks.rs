//! Clocks that differ.

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, time};

/// As far as nodes warn of themselves.
const FAR_MS: u64 = 2_000;

/// A clock that differs from most others is the wrong one; of two nobody can tell.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    let pairs = pairs(facts);
    let wrong: Vec<(i64, i64)> = match facts.nodes.len() {
        0..=2 => Vec::new(),
        _ => facts.nodes.keys().filter_map(|id| Some((*id, off(&pairs, *id)?))).collect(),
    };
    for (id, ms) in &wrong {
        let what = format!(
            "the clock of {} is {} {} those of most others: retention by time and lookups by time go wrong there",
            facts.name(*id),
            time(ms.unsigned_abs()),
            if *ms > 0 { "ahead of" } else { "behind" }
        );
        let advice = "Check the time service of its machine: timedatectl, chronyc tracking.";
        out.push(Finding::warning("clock_off", what, advice).of([*id]));
    }
    let told = |id: i64| wrong.iter().any(|(other, _)| *other == id);
    let mut left: Vec<(i64, i64, i64)> = pairs
        .into_iter()
        .filter(|(a, b, ms)| ms.unsigned_abs() >= FAR_MS && !told(*a) && !told(*b))
        .map(|(a, b, ms)| if a < b { (a, b, ms) } else { (b, a, -ms) })
        .collect();
    left.sort_unstable();
    left.dedup_by_key(|(a, b, _)| (*a, *b));
    for (a, b, ms) in left {
        let (ahead, behind) = if ms > 0 { (b, a) } else { (a, b) };
        let what = format!(
            "the clock of node {ahead} is {} ahead of that of node {behind}: retention by time and lookups by time go wrong on one of them",
            time(ms.unsigned_abs())
        );
        let advice = "Check the time service of both machines: timedatectl, chronyc tracking.";
        out.push(Finding::warning("clocks_differ", what, advice).of([a, b]));
    }
}

/// Who says of whom that its clock is so far ahead.
fn pairs(facts: &Facts) -> Vec<(i64, i64, i64)> {
    let of = |(from, said): (i64, &crate::doctor::facts::Said)| {
        let told: Vec<_> = said
            .nodes
            .nodes
            .iter()
            .filter_map(|node| Some((from, node.node_id, node.clock_offset_ms?)))
            .collect();
        told
    };
    facts.full().flat_map(of).collect()
}

/// How far one is ahead of more than half of the others that were compared with it.
fn off(pairs: &[(i64, i64, i64)], id: i64) -> Option<i64> {
    let ahead = pairs.iter().filter_map(|(from, of, ms)| match (*from == id, *of == id) {
        (false, true) => Some(*ms),
        (true, false) => Some(-*ms),
        _ => None,
    });
    let mut ahead: Vec<i64> = ahead.collect();
    ahead.sort_by_key(|ms| ms.unsigned_abs());
    // The lower middle: half of them is not enough.
    let middle = *ahead.get(ahead.len().checked_sub(1)? / 2)?;
    (middle.unsigned_abs() >= FAR_MS).then_some(middle)
}

#[cfg(test)]
mod tests {
    use crate::doctor::fixtures::{healthy, only};

    fn set(facts: &mut crate::doctor::facts::Facts, id: i64, count: i64, ms: i64) {
        for other in (1..=count).filter(|other| *other != id) {
            facts.word(other, id).clock_offset_ms = Some(ms);
            facts.word(id, other).clock_offset_ms = Some(-ms);
        }
    }

    #[test]
    fn the_clock_that_most_others_contradict_is_the_wrong_one() {
        let mut facts = healthy(3);
        set(&mut facts, 2, 3, -37_500);
        let found = only(&facts, "clock_off");
        assert_eq!(found.nodes, [2]);
        assert!(found.what.contains("37.5 s behind"), "{}", found.what);
        set(&mut facts, 2, 3, 1_999);
        assert_eq!(super::super::diagnose(&facts), []);
    }

    #[test]
    fn of_two_clocks_none_is_blamed() {
        let mut facts = healthy(2);
        set(&mut facts, 2, 2, 60_000);
        let found = only(&facts, "clocks_differ");
        assert_eq!(found.nodes, [1, 2]);
        assert!(found.what.contains("node 2 is 60.0 s ahead of that of node 1"), "{}", found.what);
    }
}
