//! A majority that is lost, and an operator who gives it up.

use std::fs;

use serde_json::Value;

use crate::elastic::{is_settled, number, told};
use crate::rig::{Ended, Kafka, Process, Rig, until};

const PARTITIONS: i32 = 3;
const QUICK: [&str; 4] = ["--replace-after-ms", "1000", "--leader-return-ms", "100"];

fn path(key: &str) -> String {
    format!("/v1/replica?key={key}")
}

/// What an operator does: look, then decide.
fn recover(survivor: &Process, key: &str) {
    let mut here = Value::Null;
    until("nobody leads it, and nobody could", || {
        let told = survivor.json(&path(key));
        here = told["here"]["replica"].clone();
        told["needs_none"].is_null() && told["leader"].is_null()
    });
    let triple = here.as_str().expect("it has a replica").to_owned();
    let wrong = survivor.post(&format!("/v1/recover?key={key}&survivor=1.2.3&why=x")).0;
    assert_eq!(wrong, 409, "that is none of its replicas");
    let wish = format!("/v1/recover?key={key}&survivor={triple}&why=burnt&found=a+test");
    let mut answer = (0, String::new());
    until("it is decided", || {
        answer = survivor.post(&wish);
        answer.0 == 200 || answer.0 == 409
    });
    assert_eq!(answer.0, 200, "{key}: {}", answer.1);
    let me = number(survivor);
    until("it leads", || survivor.json(&path(key))["leader"] == me);
}

fn keys() -> Vec<String> {
    let shards = (0..16).map(|shard| format!("shard/{shard}"));
    shards.chain((0..PARTITIONS).map(|partition| format!("partition/t/{partition}"))).collect()
}

#[test]
fn one_survivor_of_three_goes_on_and_the_mesh_is_whole_again() {
    let rig = Rig::new();
    let mut nodes = rig.three_with(&QUICK);
    nodes.iter_mut().for_each(Process::ready);
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", PARTITIONS, 3);
    for partition in 0..PARTITIONS {
        assert_eq!(client.produce("t", partition, b"one"), Ok(0));
    }
    let led = nodes[0].json(&path("shard/0"));
    assert!(led["needs_none"].as_str().is_some_and(|reason| reason.contains("is led by node")), "{led}");
    let triple = led["here"]["replica"].as_str().expect("a triple").to_owned();
    let refused = nodes[0].post(&format!("/v1/recover?key=shard/0&survivor={triple}&why=x"));
    assert_eq!(refused.0, 409, "{}", refused.1);
    // Nothing is shown as lost that the survivor does not have.
    until("the survivor has all", || {
        (0..PARTITIONS).all(|n| nodes[0].json(&path(&format!("partition/t/{n}")))["here"]["log_end"] == 1)
    });
    let ids: Vec<u64> = nodes.iter().map(number).collect();
    let meshes: Vec<String> = nodes.iter().map(Process::mesh_address).collect();
    nodes[1].kill();
    nodes[2].kill();
    keys().iter().for_each(|key| recover(&nodes[0], key));
    for partition in 0..PARTITIONS {
        assert_eq!(client.fetch("t", partition, 0), [b"one".to_vec()]);
        assert_eq!(client.produce("t", partition, b"two"), Ok(1));
    }
    let all = nodes[0].json("/v1/recoveries")["recoveries"].as_array().cloned().unwrap_or_default();
    assert_eq!(all.len(), keys().len());
    assert!(all.iter().all(|one| one["by"] == "test" && one["why"] == "burnt"), "{all:?}");

    // One of the lost comes back as it was: it is fenced, and made anew from the survivor.
    nodes[1].start_again();
    nodes[1].ready();
    // The other's disk is gone.
    let lost = nodes[2].data().with_file_name("lost");
    fs::rename(nodes[2].data(), &lost).expect("moved");
    let (join, wanted) = (nodes[0].mesh_address(), ids[2].to_string());
    let setup = rig.node("s3").args(&["--listen-mesh", &meshes[2], "--join", &join]);
    let mut again = setup.args(&["--replace", &wanted, "--give-up-majority"]).args(&QUICK).start();
    again.ready();
    assert_eq!(number(&again), ids[2]);
    until("three replicas of everything", || {
        [1, 2].iter().all(|&at| told(&nodes[0], ids[at])["replicas"] == 16 + PARTITIONS)
            && is_settled(&nodes[0])
    });
    until("all are in sync", || nodes[0].json("/v1/state")["node"]["lacking"] == 0);
    for partition in 0..PARTITIONS {
        assert_eq!(client.fetch("t", partition, 0), [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(client.produce("t", partition, b"three"), Ok(2));
    }
    // And nobody goes back to what was: without the survivor the mesh goes on.
    assert_eq!(nodes[0].stop(), Ended::Code(0));
    let mut other = Kafka::connect(&nodes[1]);
    until("the others lead", || (0..PARTITIONS).all(|n| other.fetch("t", n, 0).len() == 3));
}
