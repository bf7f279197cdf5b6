//! Nodes whose number of workers changes.

use std::fs;
use std::path::Path;

use crate::rig::{Ended, Kafka, Process, Rig, until};

const PARTITIONS: i32 = 6;

fn recorded(data: &Path) -> String {
    fs::read_to_string(data.join("workers")).expect("readable").trim().to_owned()
}

fn replicas_led(node: &Process) -> String {
    let metrics = node.get("/metrics").1;
    let led = metrics.lines().find_map(|line| line.strip_prefix("rafka_replica_leads "));
    led.expect("the metric is there").to_owned()
}

#[test]
fn logs_stay_with_the_worker_that_wrote_them() {
    let rig = Rig::new();
    let data = rig.node("a").path().to_owned();
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for (round, workers) in ["1", "3", "2", "1", "3"].into_iter().enumerate() {
        let mut node = rig.node("a").args(&["--workers", workers]).start();
        node.ready();
        let mut client = Kafka::connect(&node);
        if round < 2 {
            // Those of the second round are spread over three workers.
            client.create_topic(&format!("t{round}"), PARTITIONS, 1);
        }
        expected.push(vec![u8::try_from(round).expect("few")]);
        for topic in 0..=round.min(1) {
            for partition in 0..PARTITIONS {
                let (name, values) = (format!("t{topic}"), &expected[topic..]);
                let offset = i64::try_from(values.len() - 1).expect("few");
                assert_eq!(client.produce(&name, partition, &expected[round]), Ok(offset));
                assert_eq!(client.fetch(&name, partition, 0), values);
            }
        }
        match round {
            0 => assert_eq!((recorded(&data).as_str(), data.join("worker-1").exists()), ("1", false)),
            _ => assert_eq!((recorded(&data).as_str(), data.join("worker-2").is_dir()), ("3", true)),
        }
        match round {
            2 => node.kill(),
            _ => assert_eq!(node.stop(), Ended::Code(0)),
        }
        assert!(rig.node("a").verify());
    }

    let mut node = rig.node("a").start();
    node.ready();
    Kafka::connect(&node).delete_topic("t1");
    until("the data of the topic is gone", || replicas_led(&node) == (16 + PARTITIONS).to_string());
    assert_eq!(node.stop(), Ended::Code(0));
    let mut node = rig.node("a").start();
    node.ready();
    assert_eq!((recorded(&data).as_str(), data.join("worker-1").exists()), ("1", false));
    assert_eq!(Kafka::connect(&node).fetch("t0", 0, 0), expected);
    assert_eq!(node.stop(), Ended::Code(0));
}

#[test]
fn a_worker_whose_log_is_gone_is_rebuilt_from_the_others() {
    let rig = Rig::new();
    let mut nodes = rig.three_with(&["--workers", "2"]);
    nodes.iter_mut().for_each(|node| node.ready());
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", PARTITIONS, 3);
    for partition in 0..PARTITIONS {
        assert_eq!(client.produce("t", partition, b"one"), Ok(0));
    }
    assert_eq!(nodes[2].stop(), Ended::Code(0));
    let data = rig.node("s3").path().to_owned();
    fs::remove_dir_all(data.join("worker-1")).expect("it was there");
    assert!(!rig.node("s3").verify(), "a worker's log is missing");
    nodes[2].start_again();
    nodes[2].ready();
    let mut client = Kafka::connect(&nodes[0]);
    for partition in 0..PARTITIONS {
        assert_eq!(client.produce("t", partition, b"two"), Ok(1));
    }
    until("every replica is in sync again", || {
        let partitions = nodes[2].json("/v1/partitions?topic=t");
        let all = partitions["partitions"].as_array().cloned().unwrap_or_default();
        let in_sync = |partition: &serde_json::Value| partition["in_sync"].as_array().map_or(0, Vec::len);
        all.len() == 6 && all.iter().all(|partition| in_sync(partition) == 3)
    });
    assert_eq!(nodes[0].stop(), Ended::Code(0));
    assert_eq!(nodes[1].stop(), Ended::Code(0));
    assert_eq!(nodes[2].stop(), Ended::Code(0));
}
