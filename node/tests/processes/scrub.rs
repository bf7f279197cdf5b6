//! Bytes that rot under a running node: `rafka verify` names them, the scrubber finds them, and the replica is made anew.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::rig::{Kafka, Process, Rig, until};

/// So many records of that size fill several of the smallest segments.
const RECORDS: i64 = 24;
const BYTES: usize = 10_000;
const VICTIM: i64 = 3;

/// The command line, as cargo makes it beside the node.
fn rafka() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let built = test.parent().and_then(Path::parent).expect("it is in deps, there").to_owned();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "client", "--bin", "rafka", "--target-dir"]);
    cargo.arg(built.parent().expect("it has one"));
    if built.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs").success());
    built.join("rafka")
}

/// What it says of the topic: exit code, the replicas of the only partition, and all of it.
fn verified(rafka: &Path, node: &Process) -> (i32, Vec<Value>, String) {
    let mut command = Command::new(rafka);
    command.args([
        "verify",
        "t",
        "--json",
        "--http",
        &node.http_address(),
        "--bootstrap",
        &node.kafka_address(),
    ]);
    let Output { status, stdout, stderr } = command.env_clear().output().expect("it runs");
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    let answer: Value = serde_json::from_slice(&stdout).unwrap_or_default();
    let replicas = answer["partitions"][0]["replicas"].as_array().cloned().unwrap_or_default();
    (status.code().unwrap_or(-1), replicas, text)
}

fn is_well(rafka: &Path, node: &Process) -> bool {
    let (code, replicas, _) = verified(rafka, node);
    code == 0 && replicas.len() == 3
}

/// Where that record is, in a segment that is not written any more: the file, its bytes, and the middle of the record.
fn stored(data: &Path, offset: i64) -> (PathBuf, Vec<u8>, usize) {
    let mut segments: Vec<PathBuf> = fs::read_dir(data)
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    segments.sort();
    segments.pop();
    let pattern = [letter(offset); 100];
    let found = segments.into_iter().find_map(|path| {
        let bytes = fs::read(&path).expect("readable");
        let at = bytes.windows(pattern.len()).position(|window| window == pattern)?;
        Some((path, bytes, at + 50))
    });
    found.expect("the record is in a closed segment")
}

fn write(path: &Path, at: usize, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("opens");
    file.seek(SeekFrom::Start(at as u64)).expect("inside");
    file.write_all(bytes).expect("written");
}

/// A byte of that record becomes another one.
fn rot(data: &Path, offset: i64) {
    let (path, _, at) = stored(data, offset);
    write(&path, at, b"?");
}

/// The same, with the checksums of what is there then: as if it had been written so. For the bytes see ARCHITECTURE.md.
fn forge(data: &Path, offset: i64) {
    const HEADER: usize = 88;
    let (path, mut bytes, at) = stored(data, offset);
    bytes[at] = b'?';
    let frame = (0..at).rev().find(|at| at % 8 == 0 && bytes[*at..].starts_with(b"RKF1")).expect("a frame");
    let len = u32::from_le_bytes(bytes[frame + 12..frame + 16].try_into().expect("four bytes"));
    let body = frame + HEADER..frame + HEADER + usize::try_from(len).expect("64 bits");
    let crc = crc32c::crc32c(&bytes[body]);
    bytes[frame + 8..frame + 12].copy_from_slice(&crc.to_le_bytes());
    let position = u32::try_from(frame).expect("segments are small");
    let place = [&bytes[16..32], &position.to_le_bytes(), &bytes[frame + 8..frame + HEADER]].concat();
    bytes[frame + 4..frame + 8].copy_from_slice(&crc32c::crc32c(&place).to_le_bytes());
    write(&path, frame, &bytes[frame..=at]);
}

fn letter(offset: i64) -> u8 {
    b'A' + u8::try_from(offset).expect("few")
}

fn number(node: &Process) -> u64 {
    node.json("/v1/nodes")["node_id"].as_u64().expect("a number")
}

/// Three nodes with a topic that fills several segments; the place of one that follows.
fn filled(rig: &Rig, arguments: &[&str]) -> (Vec<Process>, usize) {
    let mut nodes = rig.three_with(&[&["--segment-bytes", "65536"], arguments].concat());
    nodes.iter_mut().for_each(Process::ready);
    let mut client = Kafka::connect(&nodes[0]);
    client.create_topic("t", 1, 3);
    for offset in 0..RECORDS {
        assert_eq!(client.produce("t", 0, &[letter(offset); BYTES]), Ok(offset));
    }
    let leader = client.leader("t", 0);
    let follower = nodes.iter().position(|node| node.kafka_address() != leader).expect("two of three follow");
    (nodes, follower)
}

#[test]
fn a_byte_that_rots_is_named_by_rafka_verify_and_nothing_else_changes() {
    let (rig, rafka) = (Rig::new(), rafka());
    let (nodes, follower) = filled(&rig, &["--scrub-mib-s", "0"]);
    until("all are the same", || is_well(&rafka, &nodes[0]));
    rot(nodes[follower].data(), VICTIM);
    let id = number(&nodes[follower]);
    for asked in &nodes {
        let (code, replicas, text) = verified(&rafka, asked);
        assert_eq!(code, 8, "{text}");
        let wrong: Vec<&Value> = replicas.iter().filter(|replica| replica["verdict"] != "same").collect();
        assert_eq!(wrong.len(), 1, "{text}");
        assert_eq!((&wrong[0]["node_id"], &wrong[0]["verdict"]), (&id.into(), &"damaged".into()), "{text}");
        let place = (&wrong[0]["offset"], &wrong[0]["next_offset"]);
        assert_eq!(place, (&VICTIM.into(), &(VICTIM + 1).into()), "{text}");
    }
    let state = nodes[follower].json("/v1/state");
    assert_eq!((&state["node"]["scrub"]["rot"], &state["node"]["scrub"]["bytes"]), (&0.into(), &0.into()));
}

#[test]
fn a_replica_that_holds_something_else_is_named_by_rafka_verify() {
    let (rig, rafka) = (Rig::new(), rafka());
    let (nodes, follower) = filled(&rig, &["--scrub-mib-s", "0"]);
    until("all are the same", || is_well(&rafka, &nodes[0]));
    forge(nodes[follower].data(), VICTIM + 5);
    forge(nodes[follower].data(), VICTIM);
    let (code, replicas, text) = verified(&rafka, &nodes[0]);
    assert_eq!(code, 8, "{text}");
    let wrong: Vec<&Value> = replicas.iter().filter(|replica| replica["verdict"] != "same").collect();
    assert_eq!(wrong.len(), 1, "{text}");
    let named = (&wrong[0]["node_id"], &wrong[0]["verdict"], &wrong[0]["offset"], &wrong[0]["next_offset"]);
    let id = number(&nodes[follower]);
    assert_eq!(named, (&id.into(), &"differs".into(), &VICTIM.into(), &(VICTIM + 1).into()), "{text}");
}

#[test]
fn a_byte_that_rots_is_found_by_the_scrubber_and_the_replica_is_made_anew() {
    let (rig, rafka) = (Rig::new(), rafka());
    let (nodes, follower) = filled(&rig, &["--scrub-every-ms", "100", "--scrub-mib-s", "64"]);
    let victim = &nodes[follower];
    let scrub = |what: &str| victim.json("/v1/state")["node"]["scrub"][what].as_u64().unwrap_or(0);
    until("a round without rot", || scrub("rounds") > 0);
    until("all are the same", || is_well(&rafka, &nodes[0]));
    assert_eq!(scrub("rot"), 0);
    rot(victim.data(), VICTIM);
    until("it is found", || scrub("rot") > 0);
    victim.says("the scrubber found a stored log damaged");
    until("all are the same again", || is_well(&rafka, &nodes[0]));
    let mut client = Kafka::connect(victim);
    assert_eq!(client.produce("t", 0, b"more"), Ok(RECORDS));
    let (rot, rounds) = (scrub("rot"), scrub("rounds"));
    until("a whole round after that", || scrub("rounds") > rounds + 1);
    assert_eq!((scrub("rot"), scrub("kept")), (rot, 0));
    let (metrics, line) = (victim.get("/metrics").1, format!("rafka_scrub_rot_total {rot}"));
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}
