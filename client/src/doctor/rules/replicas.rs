//! Partitions with a leader and too few replicas beside it.

use crate::doctor::facts::{Facts, Lacking};
use crate::doctor::finding::{Finding, count, list, named, nodes, ordered};
use std::collections::BTreeMap;

/// What the leaders say: too few for acks=all, missing because a node is, behind though it is there.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    let mut refused: BTreeMap<Vec<i64>, Vec<&Lacking>> = BTreeMap::new();
    let mut missing: BTreeMap<i64, Vec<&Lacking>> = BTreeMap::new();
    let mut behind: BTreeMap<i64, Vec<&Lacking>> = BTreeMap::new();
    for (leader, partition) in led(facts) {
        let in_sync = partition.in_sync.as_ref().map_or(0, Vec::len);
        let wanted = partition.min_in_sync.unwrap_or(1).min(partition.replicas.len());
        if in_sync < wanted {
            let mut away = partition.missing();
            away.sort_unstable();
            refused.entry(away).or_default().push(partition);
        }
        for id in partition.missing() {
            let there = facts.answers(id) && facts.hears(leader).contains(&id);
            if there { &mut behind } else { &mut missing }.entry(id).or_default().push(partition);
        }
    }
    out.extend(refused.into_iter().map(|(away, partitions)| too_few(facts, &away, &partitions)));
    out.extend(missing.into_iter().map(|(id, partitions)| without(facts, id, &partitions)));
    out.extend(behind.into_iter().map(|(id, partitions)| lagging(facts, id, &partitions)));
}

/// Partitions whose leader counts its replicas, each from its leader.
fn led(facts: &Facts) -> impl Iterator<Item = (i64, &Lacking)> {
    facts.workers().flat_map(|(id, node)| {
        node.listed
            .iter()
            .filter(move |one| one.leader == Some(id) && one.in_sync.is_some())
            .map(move |one| (id, one))
    })
}

fn names(partitions: &[&Lacking]) -> Vec<String> {
    let shown =
        |one: &&Lacking| one.shard().map_or_else(|| one.partition.clone(), |shard| format!("shard/{shard}"));
    ordered(partitions.iter().map(shown).collect())
}

fn too_few(facts: &Facts, away: &[i64], partitions: &[&Lacking]) -> Finding {
    let names = names(partitions);
    let first = partitions.first();
    let (in_sync, wanted) = first.map_or((0, 0), |one| {
        (one.in_sync.as_ref().map_or(0, Vec::len), one.min_in_sync.unwrap_or(0).min(one.replicas.len()))
    });
    let what = format!(
        "writes with acks=all are refused on {}: {}; {in_sync} in sync, min.insync.replicas asks for {wanted}, {} missing",
        count(names.len(), "partition"),
        named(&names),
        nodes(away),
    );
    let advice =
        format!("Bring {} back, or lower min.insync.replicas of the topic for the time being.", nodes(away));
    Finding::critical("below_min_insync", what, advice)
        .of(away.iter().copied())
        .at(names)
        .since(away.iter().filter_map(|id| facts.left_ms(*id)).max())
}

fn without(facts: &Facts, id: i64, partitions: &[&Lacking]) -> Finding {
    let names = names(partitions);
    let edge = partitions.iter().filter(|one| {
        let in_sync = one.in_sync.as_ref().map_or(0, Vec::len);
        one.replicas.len() > 1 && in_sync <= one.replicas.len() / 2 + 1
    });
    let last = match edge.count() {
        0 => String::new(),
        edge => format!("; {edge} of them stop when one more replica does"),
    };
    let what = format!(
        "{} without the replica on {}, which its leaders do not hear: {}{last}",
        count(names.len(), "partition"),
        facts.name(id),
        named(&names)
    );
    Finding::warning("under_replicated", what, format!("Bring node {id} back before another is restarted."))
        .of([id])
        .at(names)
        .since(facts.left_ms(id))
}

fn lagging(facts: &Facts, id: i64, partitions: &[&Lacking]) -> Finding {
    let names = names(partitions);
    let lag = |one: &&Lacking| {
        let end = facts.log_ends.get(&(one.partition.clone(), id))?;
        let records = one.log_end?.saturating_sub(*end);
        Some((records, one.partition.clone(), *end, one.log_end?))
    };
    let lags: Vec<_> = partitions.iter().filter_map(lag).collect();
    let all: i64 = lags.iter().map(|(records, ..)| records.max(&0)).sum();
    let most = match lags.iter().max() {
        Some((records, partition, end, leader_end)) if *records > 0 => {
            format!("; {all} records in all, most on {partition}: offset {end} of {leader_end}")
        }
        _ => String::new(),
    };
    let what = format!(
        "{} {} behind on {}, which is up: {}{most}",
        count(names.len(), "replica"),
        if names.len() == 1 { "is" } else { "are" },
        facts.name(id),
        named(&names)
    );
    let leaders: Vec<i64> = partitions
        .iter()
        .filter_map(|one| one.leader)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    Finding::warning(
        "replica_behind",
        what,
        format!(
            "It copies what it missed: run rafka doctor again and compare. If it stays, look at the network from node {} to node {id} \
             and at the disk of node {id}.",
            list(&leaders)
        ),
    )
    .of([id])
    .at(names)
}

#[cfg(test)]
mod tests {
    use crate::doctor::facts::{Lacking, Silence};
    use crate::doctor::finding::Severity;
    use crate::doctor::fixtures::{among, healthy, lacking, only};

    #[test]
    fn replicas_of_a_lost_node_are_missing() {
        let mut facts = healthy(3);
        facts.lose(3, Silence::Refused);
        facts.list(1, lacking("orders/4", Some(1), Some(&[1, 2])));
        facts.list(2, lacking("__rafka_metadata/0", Some(2), Some(&[1, 2])));
        let found = among(&facts, "under_replicated");
        assert_eq!((found.nodes.as_slice(), found.partitions.len()), ([3].as_slice(), 2));
        assert!(
            found.what.contains("2 of them stop") && found.severity == Severity::Warning,
            "{}",
            found.what
        );
    }

    #[test]
    fn fewer_than_the_topic_asks_for_is_critical() {
        let mut facts = healthy(3);
        facts.lose(3, Silence::Refused);
        facts.list(1, Lacking { min_in_sync: Some(3), ..lacking("orders/4", Some(1), Some(&[1, 2])) });
        let found = among(&facts, "below_min_insync");
        assert!(
            found.what.contains("2 in sync, min.insync.replicas asks for 3, node 3 missing"),
            "{}",
            found.what
        );
        assert_eq!(found.partitions, ["orders/4"]);
    }

    #[test]
    fn a_replica_of_a_node_that_is_up_is_behind_by_so_many_records() {
        let mut facts = healthy(3);
        facts.list(1, lacking("orders/4", Some(1), Some(&[1, 2])));
        facts.log_ends.insert(("orders/4".to_owned(), 3), 250);
        let found = only(&facts, "replica_behind");
        assert!(
            found.what.contains("750 records in all, most on orders/4: offset 250 of 1000"),
            "{}",
            found.what
        );
        assert_eq!(found.nodes, [3]);
        facts.log_ends.clear();
        assert!(!only(&facts, "replica_behind").what.contains("records in all"));
    }

    #[test]
    fn another_nodes_opinion_of_a_leader_does_not_count() {
        let mut facts = healthy(3);
        facts.list(2, lacking("orders/4", Some(1), None));
        assert_eq!(super::super::diagnose(&facts), []);
    }
}
