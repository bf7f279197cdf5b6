//! Partitions and metadata shards that nobody leads.

use crate::doctor::facts::{Facts, Lacking};
use crate::doctor::finding::{Finding, count, list, named, nodes, ordered};
use std::collections::{BTreeMap, BTreeSet};

/// One finding for all partitions on the same nodes, one for their shards.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    let mut groups: BTreeMap<(bool, Vec<i64>), Vec<String>> = BTreeMap::new();
    for partition in leaderless(facts) {
        let mut replicas = partition.replicas.clone();
        replicas.sort_unstable();
        let names = groups.entry((partition.shard().is_some(), replicas)).or_default();
        names.push(
            partition.shard().map_or_else(|| partition.partition.clone(), |shard| format!("shard/{shard}")),
        );
    }
    for ((of_shards, replicas), names) in groups {
        out.push(finding(facts, of_shards, &replicas, ordered(names)));
    }
}

/// Those that all nodes list as such: one that is cut off knows of no leader either.
fn leaderless(facts: &Facts) -> Vec<&Lacking> {
    let mut by_name: BTreeMap<&str, &Lacking> = BTreeMap::new();
    let (mut in_all, mut first): (BTreeSet<&str>, bool) = (BTreeSet::new(), true);
    for (_, node) in facts.workers() {
        let listed = node.listed.iter().filter(|partition| partition.leader.is_none());
        let here: BTreeMap<&str, &Lacking> =
            listed.map(|partition| (partition.partition.as_str(), partition)).collect();
        // A list that was cut short says nothing of those beyond.
        if node.lacking > node.listed.len() as u64 && !first {
            continue;
        }
        let names = here.keys().copied();
        in_all = if first { names.collect() } else { names.filter(|name| in_all.contains(name)).collect() };
        by_name.extend(here);
        first = false;
    }
    in_all.into_iter().filter_map(|name| by_name.get(name).copied()).collect()
}

fn finding(facts: &Facts, of_shards: bool, replicas: &[i64], names: Vec<String>) -> Finding {
    let away: Vec<i64> = replicas.iter().copied().filter(|id| !facts.answers(*id)).collect();
    let needed = replicas.len() / 2 + 1;
    let (kind, noun) = match of_shards {
        true => ("shard_leaderless", "metadata shard"),
        false => ("partition_leaderless", "partition"),
    };
    let verb = if names.len() == 1 { "has" } else { "have" };
    let lost = match of_shards {
        true => "their topics cannot be created, deleted or repaired",
        false => "nothing can be written or read there",
    };
    let why = match away.as_slice() {
        [] => format!("all their replicas ({}) answer here", list(replicas)),
        away => format!("of their replicas ({}) those on {} do not answer", list(replicas), nodes(away)),
    };
    let what = format!("{} {verb} no leader, {lost}: {}; {why}", count(names.len(), noun), named(&names));
    let advice = match away.as_slice() {
        [] => "Leaders should be there within seconds: if not, look at other findings here and at the logs for elections.".to_owned(),
        away => format!("Bring {} back: {needed} of {} must be up.", nodes(away), replicas.len()),
    };
    let since = away.iter().filter_map(|id| facts.left_ms(*id)).min();
    Finding::critical(kind, what, advice).of(replicas.iter().copied()).at(names).since(since)
}

#[cfg(test)]
mod tests {
    use crate::doctor::facts::Silence;
    use crate::doctor::fixtures::{among, healthy, lacking, only};

    #[test]
    fn a_partition_that_nobody_leads_is_named_with_who_is_missing() {
        let mut facts = healthy(3);
        facts.lose(2, Silence::Refused);
        facts.lose(3, Silence::Refused);
        facts.list(1, lacking("orders/4", None, None));
        facts.list(1, lacking("__rafka_metadata/7", None, None));
        let found = among(&facts, "partition_leaderless");
        assert_eq!(
            (found.partitions.as_slice(), found.since_ms),
            (["orders/4".to_owned()].as_slice(), Some(12_000))
        );
        assert!(
            found.advice.contains("nodes 2 and 3") && found.advice.contains("2 of 3"),
            "{}",
            found.advice
        );
        assert_eq!(among(&facts, "shard_leaderless").partitions, ["shard/7"]);
    }

    #[test]
    fn what_only_one_node_does_not_know_has_a_leader() {
        let mut facts = healthy(3);
        facts.list(1, lacking("orders/4", None, None));
        assert_eq!(super::super::diagnose(&facts), []);
    }

    #[test]
    fn a_list_that_was_cut_short_does_not_vouch_for_the_rest() {
        let mut facts = healthy(3);
        for node in 1..=3 {
            facts.list(node, lacking("orders/4", None, None));
        }
        facts.worker(3).listed.clear();
        assert_eq!(only(&facts, "partition_leaderless").partitions, ["orders/4"]);
    }
}
