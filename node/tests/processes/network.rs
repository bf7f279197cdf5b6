//! Several listeners, addresses of IPv6, names, and clocks that differ.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Ended, Kafka, Process, Rig, free_port, until};

/// Kafka's LISTENER_NOT_FOUND.
const LISTENER_NOT_FOUND: i16 = 72;

fn listeners(rig: &Rig, outside: [bool; 3]) -> Vec<Process> {
    let seeds: Vec<String> = (0..3).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let list = seeds.join(",");
    let start = |place: usize| {
        let node = rig.node(&format!("n{place}")).args(&["--listen-mesh", &seeds[place], "--seeds", &list]);
        let told = format!("OUTSIDE://node-{place}.example:19094");
        match outside[place] {
            true => node.args(&[
                "--listeners",
                "INSIDE://127.0.0.1:0,OUTSIDE://127.0.0.1:0",
                "--advertised-listeners",
                &told,
            ]),
            false => node.args(&["--listeners", "INSIDE://127.0.0.1:0"]),
        }
        .start()
    };
    (0..3).map(start).collect()
}

#[test]
fn each_connection_is_told_the_addresses_of_its_listener() {
    let rig = Rig::new();
    let mut nodes = listeners(&rig, [true, true, false]);
    nodes.iter_mut().for_each(|node| node.ready());
    let inside = format!("127.0.0.1:{}", nodes[0].listener("INSIDE"));
    assert_eq!(inside, nodes[0].kafka_address(), "the first listener is the one of ports.json");
    let mut client = Kafka::at(inside);
    client.create_topic("t", 6, 3);
    let mut told: Vec<String> = client.brokers().into_iter().map(|(_, address)| address).collect();
    let mut expected: Vec<String> = nodes.iter().map(|node| node.kafka_address()).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    for partition in 0..6 {
        assert_eq!(client.produce("t", partition, b"x"), Ok(0));
    }

    let alone = nodes[2].json("/v1/nodes")["node_id"].as_i64().expect("an id");
    let mut outside = Kafka::at(format!("127.0.0.1:{}", nodes[0].listener("OUTSIDE")));
    let told: Vec<String> = outside.brokers().into_iter().map(|(_, address)| address).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.contains(&"node-0.example:19094".to_owned())
            && told.contains(&"node-1.example:19094".to_owned())
    );
    // What the third node leads is led by nobody whom a client from outside can reach.
    let (within, without) = (client.leaders("t"), outside.leaders("t"));
    assert!(within.iter().all(|(leader, error)| *leader > 0 && *error == 0), "{within:?}");
    let hidden = |(leader, _): &(i32, i16)| i64::from(*leader) == alone;
    let expected: Vec<(i32, i16)> =
        within.iter().map(|one| if hidden(one) { (-1, LISTENER_NOT_FOUND) } else { *one }).collect();
    assert_eq!(without, expected);
    let listed = nodes[1].json("/v1/nodes");
    let listeners = listed["nodes"].as_array().expect("a list").iter();
    let outside: Vec<_> = listeners.filter(|node| node["listeners"]["OUTSIDE"].is_string()).collect();
    assert_eq!(outside.len(), 2, "{listed}");
    for node in &mut nodes {
        assert_eq!(node.stop(), Ended::Code(0));
    }
}

#[test]
fn the_limit_on_clients_is_one_for_all_listeners() {
    let rig = Rig::new();
    let arguments = ["--listeners", "A://127.0.0.1:0,B://127.0.0.1:0", "--max-connections", "2"];
    let mut node = rig.node("a").args(&arguments).start();
    node.ready();
    let at = |name: &str| TcpStream::connect(("127.0.0.1", node.listener(name))).expect("it listens");
    let open = |count: u64| {
        let line = format!("rafka_kafka_connections {count}");
        until(&line, || node.get("/metrics").1.lines().any(|found| found == line));
    };
    let (first, second) = (at("A"), at("B"));
    open(2);
    let mut third = at("B");
    third.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let closed = match third.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    assert!(closed, "at once");
    drop(first);
    open(1);
    assert_eq!(Kafka::connect(&node).brokers().len(), 1);
    drop(second);
    assert!(node.log().contains("too many connections"), "{}", node.log());
    assert_eq!(node.stop(), Ended::Code(0));
}

#[test]
fn a_mesh_of_addresses_of_both_families_and_of_names() {
    if TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("not shown: this machine has no IPv6");
    }
    let rig = Rig::new();
    let ports = [free_port(), free_port(), free_port()];
    // The same addresses in other spellings than the nodes' own.
    let list = format!("[0:0::1]:{},LocalHost:{},127.0.0.1:{}", ports[0], ports[1], ports[2]);
    let (six, any) = (format!("[::1]:{}", ports[0]), format!(":{}", ports[2]));
    let (named, told) = (format!("localhost:{}", ports[1]), format!("127.0.0.1:{}", ports[2]));
    let arguments: [&[&str]; 3] = [
        &["--listen-mesh", &six, "--listen-kafka", "[::1]:0"],
        &["--listen-mesh", &named, "--listen-kafka", "localhost:0"],
        &["--listen-mesh", &any, "--advertise-mesh", &told],
    ];
    let start = |(place, arguments): (usize, &&[&str])| {
        rig.node(&format!("n{place}")).args(arguments).args(&["--seeds", &list]).start()
    };
    let mut nodes: Vec<Process> = arguments.iter().enumerate().map(start).collect();
    nodes.iter_mut().for_each(|node| node.ready());
    let six = format!("[::1]:{}", nodes[0].listener("PLAINTEXT"));
    let mut client = Kafka::at(six.clone());
    client.create_topic("t", 6, 3);
    for partition in 0..6 {
        assert_eq!(client.produce("t", partition, b"x"), Ok(0));
    }
    let told: Vec<String> = client.brokers().into_iter().map(|(_, address)| address).collect();
    assert!(told.contains(&six), "{told:?}");
    assert!(told.contains(&format!("localhost:{}", nodes[1].listener("PLAINTEXT"))), "{told:?}");
    for node in &mut nodes {
        assert_eq!(node.stop(), Ended::Code(0));
    }
}

#[test]
fn a_clock_far_off_is_told_by_both_sides() {
    let rig = Rig::new();
    let mut first = rig.node("a").start();
    first.ready();
    let mut second =
        rig.node("b").args(&["--join", &first.mesh_address(), "--clock-offset-ms", "-60000"]).start();
    second.ready();
    first.says("behind this one's");
    second.says("ahead of this one's");
    assert!(first.log().contains("timedatectl"), "{}", first.log());
    until("the offset is seen over HTTP", || {
        let nodes = first.json("/v1/nodes");
        let offset = nodes["nodes"][1]["clock_offset_ms"].as_i64();
        offset.is_some_and(|ms| (-120_000..=-59_000).contains(&ms))
    });
    assert_eq!(second.stop(), Ended::Code(0));
    assert_eq!(first.stop(), Ended::Code(0));
}

#[test]
fn a_node_tells_its_state_and_who_came_and_went() {
    let rig = Rig::new();
    let mut first = rig.node("a").args(&["--reserve-bytes", "4096"]).start();
    first.ready();
    let mut second = rig.node("b").args(&["--join", &first.mesh_address()]).start();
    second.ready();
    let state = first.json("/v1/state");
    assert_eq!(state["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&state["disk"]["reserve_bytes"], &state["disk"]["full_ms"]), (&4096.into(), &Value::Null));
    assert_eq!(state["disk"]["damaged_at_start"], false);
    assert_eq!((&state["node"]["boot"], &state["node"]["unready"]), (&1.into(), &Value::Null));
    assert_eq!((&state["node"]["lacking"], &state["node"]["partitions"]), (&0.into(), &16.into()));
    assert!(state["limits"]["open_files"].as_u64().is_some_and(|open| open > 3), "{state}");
    let word = |node: &Process| node.json("/v1/nodes")["nodes"][1].clone();
    assert_eq!(word(&first)["arrivals_ms_ago"].as_array().map(Vec::len), Some(1));
    assert_eq!(word(&first)["left_ms_ago"], Value::Null);
    assert_eq!(second.stop(), Ended::Code(0));
    until("the one that left is told", || word(&first)["left_ms_ago"].as_u64().is_some());
    assert_eq!(first.stop(), Ended::Code(0));
}
