//! Real processes on free ports of loopback: founding, joining, stopping, killing, and what is refused. Clients speak Kafka
//! through the codec's client side; everything waits by polling with a deadline.

#[path = "processes/elastic.rs"]
mod elastic;
#[path = "processes/network.rs"]
mod network;
#[path = "processes/offline.rs"]
mod offline;
#[path = "processes/recovery.rs"]
mod recovery;
#[path = "processes/refused.rs"]
mod refused;
mod rig;
#[path = "processes/scrub.rs"]
mod scrub;
#[path = "processes/signals.rs"]
mod signals;
#[path = "processes/spans.rs"]
mod spans;
#[path = "processes/succession.rs"]
mod succession;
#[path = "processes/workers.rs"]
mod workers;

use rig::{Ended, Kafka, Rig};

#[test]
fn a_lone_node_keeps_its_records_over_a_stop_and_a_kill() {
    let rig = Rig::new();
    let mut node = rig.node("a").start();
    node.ready();
    let mut client = Kafka::connect(&node);
    client.create_topic("t", 2, 1);
    assert_eq!(client.produce("t", 0, b"one"), Ok(0));
    let cluster = node.json("/v1/nodes")["cluster_id"].clone();
    assert_eq!(cluster.as_str(), Some(client.cluster_id().as_str()));
    assert_eq!(node.stop(), Ended::Code(0));
    let mut node = rig.node("a").start();
    node.ready();
    let mut client = Kafka::connect(&node);
    assert_eq!(client.produce("t", 0, b"two"), Ok(1));
    assert!(!rig.node("a").verify(), "a node runs there");
    node.kill();
    assert!(rig.node("a").verify(), "a torn tail is no damage");
    let mut node = rig.node("a").start();
    node.ready();
    let mut client = Kafka::connect(&node);
    assert_eq!(client.fetch("t", 0, 0), [b"one".to_vec(), b"two".to_vec()]);
    let nodes = node.json("/v1/nodes");
    assert_eq!((&nodes["cluster_id"], &nodes["nodes"][0]["boot"]), (&cluster, &3.into()));
    assert_eq!(node.stop(), Ended::Code(0));
}

#[test]
fn three_seeds_found_a_mesh_a_fourth_joins_and_one_killed_loses_nothing() {
    let rig = Rig::new();
    let mut nodes = rig.three();
    nodes.iter_mut().for_each(|node| node.ready());
    let cluster = nodes[0].json("/v1/nodes")["cluster_id"].clone();
    assert!(nodes.iter().all(|node| node.json("/v1/nodes")["cluster_id"] == cluster));
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", 3, 3);
    for partition in 0..3 {
        assert_eq!(client.produce("t", partition, b"before"), Ok(0));
    }

    let join = nodes[1].mesh_address();
    let mut fourth = rig.node("d").args(&["--join", &join]).start();
    fourth.ready();
    assert_eq!(fourth.json("/v1/nodes")["cluster_id"], cluster);
    assert_eq!(fourth.json("/v1/nodes")["node_id"], 4);
    rig::until("every node knows the fourth", || {
        nodes.iter().all(|node| node.json("/v1/nodes")["nodes"].as_array().is_some_and(|all| all.len() == 4))
    });

    // Whoever leads partition 0 dies; the others go on, and it comes back with all of its data.
    let leader = client.leader("t", 0);
    let victim = nodes.iter().position(|node| node.kafka_address() == leader).expect("a replica leads");
    nodes[victim].kill();
    let survivor = &nodes[(victim + 1) % 3];
    let mut client = Kafka::connect(survivor);
    for partition in 0..3 {
        assert_eq!(client.produce("t", partition, b"without it"), Ok(1));
    }
    nodes[victim].start_again();
    nodes[victim].ready();
    for partition in 0..3 {
        assert_eq!(client.fetch("t", partition, 0), [b"before".to_vec(), b"without it".to_vec()]);
    }
    rig::until("it is in sync again", || {
        let partitions = nodes[victim].json("/v1/partitions?topic=t");
        let all = partitions["partitions"].as_array().cloned().unwrap_or_default();
        all.len() == 3
            && all
                .iter()
                .all(|partition| partition["in_sync"].as_array().is_some_and(|in_sync| in_sync.len() == 3))
    });
    for node in &mut nodes {
        assert_eq!(node.stop(), Ended::Code(0));
    }
    assert_eq!(fourth.stop(), Ended::Code(0));
}

#[test]
fn a_graceful_stop_hands_leadership_over_first() {
    let rig = Rig::new();
    let mut nodes = rig.three();
    nodes.iter_mut().for_each(|node| node.ready());
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", 6, 3);
    for partition in 0..6 {
        assert_eq!(client.produce("t", partition, b"x"), Ok(0));
    }
    assert_eq!(nodes[2].stop(), Ended::Code(0));
    let gone = nodes[2].kafka_address();
    // No election timeout passes: the leaders were there before the node went.
    let mut client = Kafka::connect(&nodes[0]);
    for partition in 0..6 {
        assert_ne!(client.leader("t", partition), gone);
        assert_eq!(client.produce("t", partition, b"y"), Ok(1));
    }
}

#[test]
fn what_must_not_start_is_refused_by_name() {
    let rig = Rig::new();
    let mut node = rig.node("a").start();
    node.ready();

    let (ended, log) = rig.node("a").start_beside().end();
    assert_eq!(ended, Ended::Code(1), "{log}");
    assert!(log.contains("another rafka-node runs on this data directory"), "{log}");

    let (ended, log) = rig.node("b").args(&["--listen-kafka", &node.kafka_address()]).start().end();
    assert_eq!(ended, Ended::Code(1), "{log}");
    assert!(log.contains("--listen-kafka: cannot listen on"), "{log}");

    let (ended, log) = rig.node("b").args(&["--listen-mesh", &node.mesh_address()]).start().end();
    assert_eq!(ended, Ended::Code(1), "{log}");
    assert!(log.contains("--listen-mesh: cannot listen") && log.contains("in use"), "{log}");

    let token = rig.file("token", "a secret of some length");
    let (ended, log) =
        rig.node("c").args(&["--join", &node.mesh_address(), "--token-file", &token]).start().end();
    assert_eq!(ended, Ended::Code(1), "{log}");
    assert!(log.contains("--token-file"), "{log}");

    // A directory of another cluster.
    let mut other = rig.node("d").start();
    other.ready();
    other.stop();
    let (ended, log) = rig.node("d").args(&["--join", &node.mesh_address()]).start().end();
    assert_eq!(ended, Ended::Code(1), "{log}");
    assert!(log.contains("two clusters never merge"), "{log}");

    for (arguments, words) in [
        (&["--default-partitions", "0"][..], "--default-partitions"),
        (&["--seeds", "a:1", "--join", "b:1"], "exclude each other"),
        (&["--no-such-flag"], "unexpected argument"),
    ] {
        let (ended, log) = rig.node("e").args(arguments).start().end();
        assert_eq!(ended, Ended::Code(2), "{log}");
        assert!(log.contains(words), "{log}");
    }
    node.ready();
    assert_eq!(node.stop(), Ended::Code(0));
}

#[test]
fn a_node_that_waits_for_its_seeds_says_so_and_stops_when_told() {
    let rig = Rig::new();
    let own = format!("127.0.0.1:{}", rig::free_port());
    let absent = format!("127.0.0.1:{}", rig::free_port());
    let mut node =
        rig.node("a").args(&["--listen-mesh", &own, "--seeds", &format!("{own},{absent}")]).start();
    rig::until("it says whom it waits for", || node.get("/readyz").1.contains(&absent));
    assert_eq!(node.get("/readyz").0, 503);
    assert_eq!(node.get("/healthz").0, 200);
    assert_eq!(node.stop(), Ended::Code(0));
}

#[test]
fn the_http_port_answers_what_it_should_and_survives_what_it_should_not() {
    let rig = Rig::new();
    let mut node = rig.node("a").start();
    node.ready();
    let mut client = Kafka::connect(&node);
    client.create_topic("t", 1, 1);
    assert_eq!(client.produce("t", 0, b"x"), Ok(0));
    let metrics = node.get("/metrics").1;
    for name in [
        "rafka_kafka_requests_total{api=\"Produce\"} 1",
        "rafka_replica_leads 17",
        "rafka_storage_commits_total",
    ] {
        assert!(metrics.contains(name), "{name} is missing from\n{metrics}");
    }
    let partitions = node.json("/v1/partitions?topic=t");
    assert_eq!(partitions["partitions"][0]["high_watermark"], 1);
    let lookup = node.json("/v1/lookup?key=partition/t/0");
    assert_eq!(lookup["value"]["leader"], 1);
    for (path, status) in [
        ("/v1/partitions?topic=no", 404),
        ("/v1/lookup?key=x", 400),
        ("/x", 404),
        ("/v1/lookup?key=partition/no/0", 404),
    ] {
        assert_eq!(node.get(path).0, status, "{path}");
    }
    node.raw_http(b"\x00\xff\x00\r\n\r\n");
    node.raw_http(&[b'x'; 100_000]);
    assert_eq!(node.get("/readyz").0, 200);
    assert_eq!(node.stop(), Ended::Code(0));
}
