//! Numbers that go over from a lost data directory to another one.

use std::fs;
use std::path::PathBuf;

use crate::elastic::{is_settled, number, told};
use crate::rig::{Ended, Kafka, Process, Rig, until};

const PARTITIONS: i32 = 6;
const QUICK: [&str; 4] = ["--replace-after-ms", "1000", "--leader-return-ms", "100"];

/// Takes the data directory of a node that is down away, and says where it is.
fn put_aside(node: &Process, name: &str) -> PathBuf {
    let aside = node.data().with_file_name(name);
    fs::rename(node.data(), &aside).expect("moved");
    aside
}

fn three(rig: &Rig) -> Vec<Process> {
    let mut nodes = rig.three_with(&QUICK);
    nodes.iter_mut().for_each(Process::ready);
    nodes
}

/// Every replica is where it was, on whoever has the number now.
fn whole(by: &Process, id: u64, replicas: i64) {
    until("its replicas are made anew", || {
        let node = told(by, id);
        node["up"] == true && node["state"] == "active" && node["replicas"] == replicas && is_settled(by)
    });
}

#[test]
fn a_founder_with_an_empty_disk_has_its_number_again_and_its_old_disk_is_refused() {
    let rig = Rig::new();
    let mut nodes = three(&rig);
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", PARTITIONS, 3);
    for partition in 0..PARTITIONS {
        assert_eq!(client.produce("t", partition, b"one"), Ok(0));
    }
    let id = number(&nodes[2]);
    let held = told(&nodes[0], id)["replicas"].as_i64().expect("a number");
    let peer = told(&nodes[0], id)["peer_id"].clone();
    nodes[2].kill();
    let lost = put_aside(&nodes[2], "lost");
    nodes[2].start_again();
    nodes[2].ready();
    assert_eq!(number(&nodes[2]), id);
    assert_ne!(told(&nodes[0], id)["peer_id"], peer, "another identity");
    whole(&nodes[0], id, held);
    for partition in 0..PARTITIONS {
        assert_eq!(client.fetch("t", partition, 0), [b"one".to_vec()]);
        assert_eq!(client.produce("t", partition, b"two"), Ok(1));
    }

    // The disk was only unmounted.
    assert_eq!(nodes[2].stop(), Ended::Code(0));
    let present = put_aside(&nodes[2], "present");
    fs::rename(&lost, nodes[2].data()).expect("moved back");
    nodes[2].start_again();
    assert_eq!(nodes[2].wait(), Ended::Code(1));
    nodes[2].says("lives in another data directory since");
    nodes[2].says("Nothing in it was changed");
    assert!(rig.node("s3").verify(), "the old directory is whole");
    assert!(nodes[2].data().join("founding").exists() && nodes[2].data().join("identity").exists());
    fs::remove_dir_all(nodes[2].data()).expect("removed");
    fs::rename(&present, nodes[2].data()).expect("moved back");
    nodes[2].start_again();
    nodes[2].ready();
    assert_eq!(number(&nodes[2]), id);
    whole(&nodes[0], id, held);
    for partition in 0..PARTITIONS {
        assert_eq!(client.fetch("t", partition, 0), [b"one".to_vec(), b"two".to_vec()]);
    }
}

#[test]
fn another_machine_takes_a_number_over_once_its_node_is_gone() {
    let rig = Rig::new();
    let mut nodes = three(&rig);
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", PARTITIONS, 3);
    let id = number(&nodes[2]);
    let held = told(&nodes[0], id)["replicas"].as_i64().expect("a number");
    let (join, wanted) = (nodes[0].mesh_address(), id.to_string());
    let mut other = rig.node("d").args(&["--join", &join, "--replace", &wanted]).args(&QUICK).start();
    other.says("is up with its own data directory");
    nodes[2].kill();
    other.ready();
    assert_eq!(number(&other), id);
    whole(&nodes[0], id, held);
    assert_eq!(told(&nodes[0], id)["mesh"], other.mesh_address());
    for partition in 0..PARTITIONS {
        assert_eq!(client.produce("t", partition, b"one"), Ok(0));
    }
    nodes[2].start_again();
    assert_eq!(nodes[2].wait(), Ended::Code(1));
    nodes[2].says("lives in another data directory since");
}

#[test]
fn the_only_copy_is_given_up_by_an_operator_and_nobody_else() {
    let rig = Rig::new();
    let mut nodes = three(&rig);
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("single", PARTITIONS, 1);
    let id = number(&nodes[2]);
    nodes[2].kill();
    let lost = put_aside(&nodes[2], "lost");
    nodes[2].start_again();
    nodes[2].says("may hold the only copy");
    nodes[2].says("single-");
    nodes[2].says("--give-up-majority");
    // Its disk is found: nothing was given up.
    nodes[2].kill();
    fs::remove_dir_all(nodes[2].data()).expect("removed");
    fs::rename(&lost, nodes[2].data()).expect("moved back");
    nodes[2].start_again();
    nodes[2].ready();
    until("all is led", || {
        (0..PARTITIONS).all(|partition| client.produce("single", partition, b"x").is_ok())
    });
    // And lost for good.
    let (mesh, wanted, join) = (nodes[2].mesh_address(), id.to_string(), nodes[0].mesh_address());
    nodes[2].kill();
    fs::remove_dir_all(nodes[2].data()).expect("removed");
    let given_up = ["--replace", &wanted, "--give-up-majority"];
    let setup = rig.node("s3").args(&["--listen-mesh", &mesh, "--join", &join]);
    let mut again = setup.args(&given_up).args(&QUICK).start();
    again.ready();
    assert_eq!(number(&again), id);
}
