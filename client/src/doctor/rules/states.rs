//! What was decided about nodes, who is not let in, and rot that nobody could do without.

use std::collections::{BTreeMap, BTreeSet};

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, count};
use crate::http::Node;

/// How a node begins to tell of one that may be admitted later.
const WAITS: &str = "a node waits to be admitted";

/// Each node that is not simply active, each process at the door, each node that keeps rot.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    for id in facts.nodes.keys() {
        // The others agree, or will: the first that tells is enough.
        let told = facts.full().flat_map(|(_, said)| &said.nodes.nodes).find(|node| node.node_id == *id);
        out.extend(told.and_then(|node| decided(facts, node)));
    }
    let mut away: BTreeMap<&str, &str> = BTreeMap::new();
    for one in facts.full().flat_map(|(_, said)| &said.nodes.turned_away) {
        away.entry(&one.peer_id).or_insert(&one.reason);
    }
    // One process may come under several identities, and is told once.
    let reasons: BTreeSet<&str> = away.into_values().collect();
    out.extend(reasons.into_iter().map(at_the_door));
    for (id, node) in facts.workers().filter(|(_, node)| node.scrub.kept > 0) {
        let what = format!(
            "{} cannot read back what {} of it stored, and keeps it, for too few others are in sync",
            facts.name(id),
            replicas(node.scrub.kept)
        );
        let advice = "Bring the other replicas back (see the other findings): once a majority is in sync without it, it is made anew by \
                      itself. Look at its disk (dmesg, smartctl -a).";
        out.push(Finding::warning("rot_kept", what, advice).of([id]));
    }
}

fn replicas(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "replica")
}

fn decided(facts: &Facts, node: &Node) -> Option<Finding> {
    let (id, name, held) = (node.node_id, facts.name(node.node_id), replicas(node.replicas));
    let finding = match (node.state.as_str(), node.replicas) {
        ("draining", _) => Finding::note(
            "node_draining",
            format!("{name} is drained: it keeps {held}, gets none, and leads nothing that others can lead"),
            format!("Work on it; then rafka nodes activate {id}."),
        ),
        ("decommissioning", 0) => Finding::note(
            "node_decommissioning",
            format!("{name} is decommissioned and empty"),
            format!("Stop it, then rafka nodes forget {id}."),
        ),
        ("decommissioning", _) => Finding::note(
            "node_decommissioning",
            format!("{name} is decommissioned; {held} of it still to be moved to other nodes"),
            format!(
                "It goes on by itself (rafka rebalance status); rafka nodes activate {id} takes it back."
            ),
        ),
        ("dead", 0) => Finding::warning(
            "node_dead",
            format!("{name} is called dead; all that it held is made anew elsewhere"),
            format!(
                "Start it again, put another machine in its place (--replace {id}), or rafka nodes forget {id}."
            ),
        ),
        ("dead", _) => Finding::warning(
            "node_dead",
            format!("{name} is called dead; {held} of it still to be made anew elsewhere"),
            format!(
                "Replicas need as many other nodes as they are. Start it again, or put another machine in its place \
                 (--replace {id})."
            ),
        ),
        _ => return None,
    };
    Some(finding.of([id]).since(facts.left_ms(id).filter(|_| node.state == "dead")))
}

fn at_the_door(reason: &str) -> Finding {
    if let Some(rest) = reason.strip_prefix(WAITS) {
        return Finding::warning(
            "waits_to_join",
            format!("a process with an empty data directory waits to be admitted{rest}"),
            "It asks again by itself. What it waits for is said above; docs/operations.md has a section on nodes that are replaced.",
        );
    }
    Finding::warning(
        "turned_away",
        format!("a process that holds the mesh's secret is not let in: {reason}"),
        "Stop that process. If it is to be a node, give it an empty data directory and an address of its own.",
    )
}

#[cfg(test)]
mod tests {
    use super::WAITS;
    use crate::doctor::finding::Severity;
    use crate::doctor::fixtures::{among, healthy, only};
    use crate::doctor::rules::diagnose;
    use crate::http::TurnedAway;

    #[test]
    fn what_was_decided_about_a_node_is_told_with_what_comes_next() {
        for (state, replicas, kind, words) in [
            ("draining", 5, "node_draining", "rafka nodes activate 2"),
            ("decommissioning", 5, "node_decommissioning", "rafka rebalance status"),
            ("decommissioning", 0, "node_decommissioning", "rafka nodes forget 2"),
            ("dead", 5, "node_dead", "--replace 2"),
            ("dead", 0, "node_dead", "rafka nodes forget 2"),
        ] {
            let mut facts = healthy(3);
            for from in 1..=3 {
                let word = facts.word(from, 2);
                (word.state, word.replicas) = (state.to_owned(), replicas);
            }
            let found = among(&facts, kind);
            assert!(found.advice.contains(words) && found.nodes == [2], "{found:?}");
            assert_eq!(diagnose(&facts).iter().filter(|one| one.kind == kind).count(), 1, "told once");
        }
    }

    #[test]
    fn who_is_not_let_in_is_told_once_and_who_waits_apart() {
        let mut facts = healthy(3);
        for id in [1, 2] {
            let reason = "its number lives elsewhere".to_owned();
            facts.said(id).nodes.turned_away =
                vec![TurnedAway { peer_id: "old".to_owned(), reason, ..TurnedAway::default() }];
        }
        assert!(only(&facts, "turned_away").what.ends_with("its number lives elsewhere"));
        for id in [1, 2] {
            let reason = format!("{WAITS} at h:1: node 3 may hold the only copy");
            facts.said(id).nodes.turned_away[0].reason = reason;
        }
        let found = only(&facts, "waits_to_join");
        assert!(found.what.contains("h:1: node 3 may hold the only copy"), "{}", found.what);
    }

    #[test]
    fn rot_that_is_kept_is_told() {
        let mut facts = healthy(3);
        facts.worker(2).scrub.kept = 1;
        let found = only(&facts, "rot_kept");
        assert_eq!((found.nodes.as_slice(), found.severity), ([2].as_slice(), Severity::Warning));
    }
}
