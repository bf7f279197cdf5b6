//! Where nodes send clients to.

use crate::doctor::facts::{Facts, KafkaSaid, NodeFacts};
use crate::doctor::finding::{Finding, nodes};
use std::collections::BTreeMap;

const ADVICE: &str = "Set --advertise-kafka of that node to an address that clients can reach; for clients in several networks give it \
                      several --listeners.";

/// Of nodes that are up: the others are told as such.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    for node in facts.nodes.values() {
        let Some(said) = node.said() else { continue };
        let limits = said.state.as_ref().map(|state| &state.limits);
        // A node that takes no more clients says so itself.
        let crowded = limits.is_some_and(|limits| limits.connections >= limits.connections_max);
        match &node.kafka_said {
            Err(reason) if !crowded => out.push(unreachable(node, reason)),
            Ok(said) if said.cluster_id != facts.cluster_id => out.push(elsewhere(node, said)),
            _ => out.extend(loopback(facts, node)),
        }
    }
    let mut by_address: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for node in facts.nodes.values().filter(|node| !node.kafka.is_empty()) {
        by_address.entry(&node.kafka).or_default().push(node.id);
    }
    for (address, ids) in by_address.into_iter().filter(|(_, ids)| ids.len() > 1) {
        let what = format!("{} all send clients to {address}: requests go to the wrong one", nodes(&ids));
        out.push(Finding::critical("advertised_twice", what, ADVICE).of(ids));
    }
}

fn unreachable(node: &NodeFacts, reason: &str) -> Finding {
    let what = format!(
        "node {} is up, and sends clients to {}, where nobody answers from here ({reason})",
        node.id, node.kafka
    );
    Finding::critical("advertised_unreachable", what, ADVICE).of([node.id])
}

fn elsewhere(node: &NodeFacts, said: &KafkaSaid) -> Finding {
    let what = format!(
        "node {} sends clients to {}, where cluster {} answers, which is another one",
        node.id, node.kafka, said.cluster_id
    );
    Finding::critical("advertised_elsewhere", what, ADVICE).of([node.id])
}

/// Reached from here, for here is where it runs; other machines go wrong.
fn loopback(facts: &Facts, node: &NodeFacts) -> Option<Finding> {
    let away = |one: &NodeFacts| !one.mesh.is_empty() && !is_loopback(&one.mesh);
    (is_loopback(&node.kafka) && facts.nodes.values().any(away)).then(|| {
        let what = format!(
            "node {} sends clients to {}, which on another machine is that machine itself",
            node.id, node.kafka
        );
        Finding::warning("advertised_loopback", what, ADVICE).of([node.id])
    })
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;
    use crate::doctor::fixtures::{healthy, only};

    #[test]
    fn an_address_at_which_nobody_answers_is_told_with_the_reason() {
        let mut facts = healthy(3);
        facts.nodes.get_mut(&2).unwrap().kafka_said = Err("Connection refused".to_owned());
        let found = only(&facts, "advertised_unreachable");
        assert!(found.what.contains("node 2 is up, and sends clients to host-2:9092") && found.nodes == [2]);
    }

    #[test]
    fn another_cluster_or_the_same_address_twice_is_told() {
        let mut facts = healthy(3);
        facts.nodes.get_mut(&2).unwrap().kafka_said.as_mut().unwrap().cluster_id = "c2".to_owned();
        assert_eq!(only(&facts, "advertised_elsewhere").nodes, [2]);
        let mut facts = healthy(3);
        facts.nodes.get_mut(&2).unwrap().kafka = "host-1:9092".to_owned();
        assert_eq!(only(&facts, "advertised_twice").nodes, [1, 2]);
    }

    #[test]
    fn loopback_is_wrong_as_soon_as_the_mesh_has_other_machines() {
        let mut facts = healthy(2);
        facts.nodes.get_mut(&1).unwrap().kafka = "127.0.0.1:9092".to_owned();
        assert_eq!(only(&facts, "advertised_loopback").nodes, [1]);
        facts.nodes.values_mut().for_each(|node| node.mesh = "127.0.0.1:9192".to_owned());
        assert_eq!(super::super::diagnose(&facts), []);
        for (address, is) in
            [("[::1]:1", true), ("localhost:1", true), ("0.0.0.0:1", true), ("10.0.0.1:1", false)]
        {
            assert_eq!(is_loopback(address), is, "{address}");
        }
    }
}
