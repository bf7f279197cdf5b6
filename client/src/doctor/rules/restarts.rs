//! Nodes that come and go, and one that came from the past.

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, time};

/// What is older is history.
const LATELY_MS: u64 = 300_000;
/// A restart and a broken connection or two are nothing to speak of.
const OFTEN: usize = 4;

/// Told by the others: who loops has no time to say so.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    for id in facts.nodes.keys().copied() {
        out.extend(old_copy(facts, id));
        out.extend(comes_and_goes(facts, id));
    }
}

fn old_copy(facts: &Facts, id: i64) -> Option<Finding> {
    let ago = facts.said_of(id).filter_map(|(_, node)| node.old_copy_ms_ago).min()?;
    // The right directory was started since.
    let since_then = facts.states().any(|(node, state)| node == id && state.uptime_ms < ago);
    if ago >= LATELY_MS || since_then {
        return None;
    }
    let what = format!(
        "{} was started from an old copy of its data directory and refused, {} ago: the others know a later boot of it",
        facts.name(id),
        time(ago)
    );
    let advice = "Start the directory that went on, if there is one. If it is lost, do not use the copy: empty a directory and join as a new \
                  node. Each start of a copy makes it harder to tell, so switch off what restarts it.";
    Some(Finding::critical("old_copy", what, advice).of([id]).since(Some(ago)))
}

fn comes_and_goes(facts: &Facts, id: i64) -> Option<Finding> {
    let lately = |arrivals: &[u64]| arrivals.iter().filter(|ms| **ms < LATELY_MS).count();
    let seen = facts.said_of(id).max_by_key(|(_, node)| lately(&node.arrivals_ms_ago));
    let (from, node) = seen.filter(|(_, node)| lately(&node.arrivals_ms_ago) >= OFTEN)?;
    let times = lately(&node.arrivals_ms_ago);
    let first = node.arrivals_ms_ago.iter().copied().filter(|ms| *ms < LATELY_MS).max().unwrap_or(0);
    let (why, advice) = match facts.states().find(|(other, _)| *other == id) {
        Some((_, state)) if state.uptime_ms > first => (
            format!("its process has been there for {}, so its connections break", time(state.uptime_ms)),
            "Look at the network between the two, and at the CPU and the log of that node.",
        ),
        Some((_, state)) => (
            format!(
                "its process started {} ago, boot {}",
                time(state.uptime_ms),
                state.node.as_ref().map_or(0, |node| node.boot)
            ),
            RESTARTS,
        ),
        None => ("it does not answer now".to_owned(), RESTARTS),
    };
    let what =
        format!("{} came {times} times within {}, as node {from} saw it: {why}", facts.name(id), time(first));
    Some(Finding::warning("comes_and_goes", what, advice).of([id]).since(Some(first)))
}

const RESTARTS: &str = "Its log says why it ends each time; exit code 1 is a refusal that no restart mends, 70 a defect, 75 its disk. \
                        Stop what restarts it until that is clear.";

#[cfg(test)]
mod tests {
    use super::super::diagnose;
    use crate::doctor::facts::Silence;
    use crate::doctor::fixtures::{among, healthy, only};

    #[test]
    fn a_node_that_comes_again_and_again_is_named() {
        let mut facts = healthy(3);
        facts.word(1, 3).arrivals_ms_ago = vec![2_000, 20_000, 40_000, 60_000, 3_600_000];
        facts.state(3).uptime_ms = 2_500;
        let found = only(&facts, "comes_and_goes");
        assert!(
            found.what.contains(
                "came 4 times within 60.0 s, as node 1 saw it: its process started 2.5 s ago, boot 1"
            )
        );
        facts.state(3).uptime_ms = 999_000;
        assert!(only(&facts, "comes_and_goes").what.contains("connections break"));
        facts.word(1, 3).arrivals_ms_ago = vec![2_000, 20_000, 40_000, 600_000, 3_600_000];
        assert_eq!(diagnose(&facts), []);
    }

    #[test]
    fn an_old_copy_is_told_until_the_right_directory_is_back() {
        let mut facts = healthy(3);
        facts.lose(3, Silence::Refused);
        facts.word(2, 3).old_copy_ms_ago = Some(9_000);
        assert_eq!(among(&facts, "old_copy").since_ms, Some(9_000));
        let mut facts = healthy(3);
        facts.word(2, 3).old_copy_ms_ago = Some(9_000);
        assert_eq!(only(&facts, "old_copy").nodes, [3], "two processes say to be the same node");
        facts.state(3).uptime_ms = 4_000;
        assert_eq!(diagnose(&facts), []);
    }
}
