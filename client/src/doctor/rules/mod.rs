//! From what was seen to what is wrong: one file per idea, each a pure function.

mod advertised;
mod clocks;
mod clusters;
mod damage;
mod disk;
mod leaders;
mod limits;
mod reach;
mod replicas;
mod restarts;
mod split;
mod states;
mod versions;

use super::facts::Facts;
use super::finding::Finding;

/// What [`Finding::kind`] may be, and what it means; `rafka doctor --help` and `docs/troubleshooting.md` tell them too.
pub const KINDS: [(&str, &str); 44] = [
    ("nobody_answers", "no address that was named answers"),
    ("node_down", "no process listens at a node's address, and no other node hears it"),
    ("node_hung", "a node takes connections and says nothing, and no other node hears it"),
    ("node_unreachable", "a node's host does not answer, and no other node hears it"),
    ("node_stuck", "the process answers, the thread that owns its replicas does not"),
    ("node_not_ready", "a node runs and does not serve yet, for the reason that it says"),
    ("http_unreachable", "others hear a node, its HTTP port does not answer"),
    ("http_stranger", "somebody else answers at a node's HTTP address"),
    ("clusters_mixed", "the addresses that were named belong to several clusters"),
    ("bootstrap_silent", "an address of --bootstrap does not answer"),
    ("advertised_unreachable", "a node is up, and nobody answers where it sends clients to"),
    ("advertised_elsewhere", "where a node sends clients to another cluster answers"),
    ("advertised_twice", "two nodes send clients to the same address"),
    ("advertised_loopback", "a node sends clients to their own machine"),
    ("split", "nodes that answer do not hear each other"),
    ("split_one_way", "one node hears another and is not heard by it"),
    ("partition_leaderless", "partitions without a leader: nothing is written or read"),
    ("shard_leaderless", "metadata shards without a leader: their topics cannot be created or repaired"),
    ("below_min_insync", "fewer replicas in sync than min.insync.replicas: acks=all is refused"),
    ("under_replicated", "replicas are missing because their node is"),
    ("replica_behind", "a node is up, and its replicas lag behind their leaders"),
    ("replica_rebuilt", "a replica is made anew from others"),
    ("damage_found", "a node found its log damaged when it started"),
    ("disk_full", "less space than the reserve: nothing is produced"),
    ("disk_filling", "less space than twice the reserve"),
    ("disk_failed", "a write or a sync failed"),
    ("disk_stuck", "a commit does not end"),
    ("disk_slow", "commits take long"),
    ("clock_off", "a node's clock differs from those of the others"),
    ("clocks_differ", "two clocks differ, and it cannot be told which is wrong"),
    ("old_copy", "a node was started from an old copy of its data directory, and refused"),
    ("comes_and_goes", "a node connects again and again"),
    ("open_files", "a node has nearly as many files open as it may"),
    ("open_files_low", "a node may open fewer files than its clients can take"),
    ("connections", "a node has nearly as many clients as it may"),
    ("request_memory", "requests hold nearly all the memory that they may"),
    ("requests_wait", "nearly as many requests wait for a node as may"),
    ("node_draining", "a node is drained: it leads nothing that others can lead"),
    ("node_decommissioning", "a node is decommissioned: it is being emptied, or is empty"),
    ("node_dead", "a node is called dead: its replicas are made anew elsewhere"),
    ("turned_away", "a process tries to come in with a data directory that the mesh does not take"),
    ("waits_to_join", "a process with an empty data directory waits to be a node"),
    ("rot_kept", "stored data cannot be read back, and stays because too few other replicas are in sync"),
    ("versions", "nodes run different releases"),
];

/// All findings, the worst first.
pub(crate) fn diagnose(facts: &Facts) -> Vec<Finding> {
    let rules: [fn(&Facts, &mut Vec<Finding>); 13] = [
        reach::find,
        split::find,
        leaders::find,
        replicas::find,
        disk::find,
        damage::find,
        states::find,
        restarts::find,
        clusters::find,
        advertised::find,
        clocks::find,
        limits::find,
        versions::find,
    ];
    let mut found = Vec::new();
    for rule in rules {
        rule(facts, &mut found);
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

#[cfg(test)]
mod tests {
    use super::{KINDS, diagnose};
    use crate::doctor::fixtures::healthy;

    #[test]
    fn nothing_is_wrong_with_a_healthy_mesh() {
        for nodes in [1, 2, 3, 7] {
            assert_eq!(diagnose(&healthy(nodes)), [], "{nodes} nodes");
        }
    }

    #[test]
    fn the_documentation_tells_each_kind() {
        let page = include_str!("../../../../docs/troubleshooting.md");
        for (kind, means) in KINDS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{kind}` |")));
            assert!(
                row.is_some_and(|row| row.contains(means)),
                "docs/troubleshooting.md and {kind}: {means}"
            );
        }
    }

    #[test]
    fn each_kind_is_told_once() {
        let mut kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), KINDS.len());
    }
}
