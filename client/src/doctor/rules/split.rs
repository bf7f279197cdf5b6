//! Nodes that answer us and do not hear each other.

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, nodes};
use std::collections::BTreeSet;

const ADVICE: &str = "Look at the network and firewalls between their mesh addresses (nc -vz HOST PORT from each to the other); \
                      rafka nodes shows who hears whom.";

/// Parts that do not hear each other at all, then pairs within a part.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    let parts = parts(facts);
    if parts.len() > 1 {
        let words: Vec<String> = parts.iter().map(|part| nodes(part)).collect();
        let what = format!("the mesh is split: {} do not hear each other", words.join(" | "));
        out.push(Finding::critical("split", what, ADVICE).of(parts.concat()).since(since(facts, &parts)));
    }
    for part in &parts {
        for (at, a) in part.iter().enumerate() {
            for b in &part[at + 1..] {
                out.extend(pair(facts, *a, *b));
            }
        }
    }
}

fn pair(facts: &Facts, a: i64, b: i64) -> Option<Finding> {
    let hears = |from: i64, to: i64| facts.hears(from).contains(&to);
    let address = |id: i64| facts.nodes.get(&id).map(|node| node.mesh.clone()).unwrap_or_default();
    let finding = match (hears(a, b), hears(b, a)) {
        (true, true) => return None,
        (false, false) => Finding::critical(
            "split",
            format!(
                "node {a} ({}) and node {b} ({}) do not hear each other, and both answer here",
                address(a),
                address(b)
            ),
            ADVICE,
        ),
        (first_hears, _) => {
            let (from, to) = if first_hears { (a, b) } else { (b, a) };
            Finding::critical(
                "split_one_way",
                format!("node {from} hears node {to} ({}), and is not heard by it", address(to)),
                ADVICE,
            )
        }
    };
    Some(finding.of([a, b]).since(since(facts, &[vec![a], vec![b]])))
}

/// Since when some connection from one part to another is gone.
fn since(facts: &Facts, parts: &[Vec<i64>]) -> Option<u64> {
    let part_of = |id: i64| parts.iter().position(|part| part.contains(&id));
    let of = |id: i64| {
        facts.said_of(id).filter(move |(from, _)| part_of(*from).is_some() && part_of(*from) != part_of(id))
    };
    parts.iter().flatten().flat_map(|id| of(*id)).filter_map(|(_, node)| node.left_ms_ago).max()
}

/// Nodes that answer, put together with all that they hear or are heard by.
fn parts(facts: &Facts) -> Vec<Vec<i64>> {
    let mut left: BTreeSet<i64> = facts.full().map(|(id, _)| id).collect();
    let mut parts = Vec::new();
    while let Some(first) = left.pop_first() {
        let (mut part, mut new) = (vec![first], vec![first]);
        while let Some(from) = new.pop() {
            let near = |to: &i64| facts.hears(from).contains(to) || facts.hears(*to).contains(&from);
            let found: Vec<i64> = left.iter().copied().filter(near).collect();
            found.iter().for_each(|id| _ = left.remove(id));
            part.extend(&found);
            new.extend(found);
        }
        part.sort_unstable();
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use crate::doctor::facts::Silence;
    use crate::doctor::fixtures::{healthy, only};

    #[test]
    fn a_pair_that_is_deaf_to_each_other_is_named() {
        let mut facts = healthy(3);
        facts.deafen(1, 2);
        facts.deafen(2, 1);
        facts.word(1, 2).left_ms_ago = Some(5_000);
        let found = only(&facts, "split");
        assert_eq!((found.nodes.as_slice(), found.since_ms), ([1, 2].as_slice(), Some(5_000)));
    }

    #[test]
    fn one_way_is_told_with_its_direction() {
        let mut facts = healthy(3);
        facts.deafen(3, 1);
        assert!(
            only(&facts, "split_one_way")
                .what
                .contains("node 1 hears node 3 (host-3:9192), and is not heard")
        );
    }

    #[test]
    fn parts_are_told_as_a_whole() {
        let mut facts = healthy(5);
        for (a, b) in [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)] {
            facts.deafen(a, b);
            facts.deafen(b, a);
        }
        let found = only(&facts, "split");
        assert!(found.what.contains("nodes 1 and 2 | nodes 3, 4 and 5"), "{}", found.what);
    }

    #[test]
    fn a_node_that_is_down_splits_nothing() {
        let mut facts = healthy(2);
        facts.lose(2, Silence::Refused);
        only(&facts, "node_down");
    }
}
