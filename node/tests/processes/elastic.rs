//! Nodes that come, are emptied, are called dead and are taken out.

use serde_json::Value;

use crate::rig::{Ended, Kafka, Process, Rig, until};

const PARTITIONS: i32 = 8;

pub(crate) fn number(node: &Process) -> u64 {
    node.json("/v1/nodes")["node_id"].as_u64().expect("a number")
}

/// What a node says of the node of that number.
pub(crate) fn told(by: &Process, id: u64) -> Value {
    let nodes = by.json("/v1/nodes")["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().find(|node| node["node_id"] == id).unwrap_or_default()
}

/// No replica is on its way, and none should be.
pub(crate) fn is_settled(by: &Process) -> bool {
    let balance = by.json("/v1/balance");
    balance["waiting"] == 0 && balance["moving"].as_array().is_some_and(Vec::is_empty)
}

#[test]
fn a_node_that_joins_takes_its_share_and_gives_it_back_before_it_is_removed() {
    let rig = Rig::new();
    let mut nodes = rig.three_with(&["--leader-return-ms", "100"]);
    nodes.iter_mut().for_each(Process::ready);
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", PARTITIONS, 3);
    for partition in 0..PARTITIONS {
        assert_eq!(client.produce("t", partition, b"one"), Ok(0));
    }
    let join = nodes[0].mesh_address();
    let mut fourth = rig.node("d").args(&["--join", &join, "--leader-return-ms", "100"]).start();
    fourth.ready();
    let id = number(&fourth);
    // Of 24 partitions with three replicas each.
    until("the new node has its share", || {
        told(&nodes[0], id)["replicas"] == 18 && is_settled(&nodes[0]) && told(&nodes[0], id)["leads"] == 6
    });
    for partition in 0..PARTITIONS {
        assert_eq!(client.fetch("t", partition, 0), [b"one".to_vec()]);
        assert_eq!(client.produce("t", partition, b"two"), Ok(1));
    }

    let path = |state: &str| format!("/v1/nodes?node={id}&state={state}");
    assert_eq!(nodes[0].post(&path("removed")).0, 409, "it is in use");
    assert_eq!(nodes[0].post("/v1/nodes?node=77&state=draining").0, 404);
    assert_eq!(nodes[0].get("/v1/nodes?node=1&state=draining").0, 200, "a GET decides nothing");
    assert_eq!(nodes[1].post(&path("decommissioning")).0, 200);
    until("the node is empty", || told(&nodes[0], id)["replicas"] == 0 && is_settled(&nodes[0]));
    let held = |node: &Process| {
        let metrics = node.get("/metrics").1;
        metrics.lines().any(|line| line.starts_with("rafka_replicas ") && !line.ends_with(" 0"))
    };
    until("it holds no data", || !held(&fourth));
    for partition in 0..PARTITIONS {
        assert_eq!(client.fetch("t", partition, 0), [b"one".to_vec(), b"two".to_vec()]);
    }
    assert_eq!(nodes[2].post(&path("removed")).0, 200);
    assert!(matches!(fourth.wait(), Ended::Code(code) if code != 0));
    fourth.says("was removed from the");
    fourth.start_again();
    assert!(matches!(fourth.wait(), Ended::Code(code) if code != 0), "it stays out");
    assert_eq!(told(&nodes[1], id), Value::Null);
}

#[test]
fn replicas_of_a_node_that_stays_away_are_made_anew_and_it_comes_back() {
    let rig = Rig::new();
    let quick = ["--dead-after-ms", "1500"];
    let mut nodes = rig.three_with(&quick);
    nodes.iter_mut().for_each(Process::ready);
    let join = nodes[0].mesh_address();
    let mut fourth = rig.node("d").args(&["--join", &join]).args(&quick).start();
    fourth.ready();
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", PARTITIONS, 3);
    for partition in 0..PARTITIONS {
        assert_eq!(client.produce("t", partition, b"one"), Ok(0));
    }
    until("all is in place", || is_settled(&nodes[0]));
    let id = number(&nodes[2]);
    nodes[2].kill();
    until("it is called dead", || told(&nodes[0], id)["state"] == "dead");
    until("the others hold all", || told(&nodes[0], id)["replicas"] == 0 && is_settled(&nodes[0]));
    for partition in 0..PARTITIONS {
        assert_eq!(client.fetch("t", partition, 0), [b"one".to_vec()]);
    }
    nodes[2].start_again();
    nodes[2].ready();
    until("it is taken in again", || {
        let back = told(&nodes[0], id);
        back["state"] == "active" && back["replicas"] == 18 && is_settled(&nodes[0])
    });
    for partition in 0..PARTITIONS {
        assert_eq!(client.produce("t", partition, b"two"), Ok(1));
    }
}
