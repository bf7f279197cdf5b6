//! `rafka-node storage inspect|verify` on the directory of a node that is stopped.

use std::fs;
use std::io::{Seek, SeekFrom, Write};

use serde_json::Value;

use crate::rig::{Ended, Kafka, Rig, Setup};

fn filled(rig: &Rig) -> Setup {
    let mut node = rig.node("a").args(&["--segment-bytes", "65536"]).start();
    node.ready();
    let mut client = Kafka::connect(&node);
    client.create_topic("orders", 2, 1);
    for offset in 0..20 {
        assert_eq!(client.produce("orders", 1, &[b'x'; 10_000]), Ok(offset));
    }
    assert_eq!(node.stop(), Ended::Code(0));
    rig.node("a")
}

fn log<'a>(report: &'a Value, partition: &str) -> &'a Value {
    let logs = report["logs"].as_array().expect("a list");
    logs.iter()
        .find(|log| log["partition"] == partition)
        .unwrap_or_else(|| panic!("{partition} in {report:#}"))
}

#[test]
fn a_stopped_node_is_looked_at_and_damage_is_named() {
    let rig = Rig::new();
    let setup = filled(&rig);
    let (code, text, _) = setup.offline(&["inspect"]);
    assert_eq!(code, 0);
    assert!(text.contains("orders/1  log") && text.contains("__rafka_metadata/15"), "{text}");
    let (code, text, _) = setup.offline(&["inspect", "--json"]);
    assert_eq!(code, 0);
    let report: Value = serde_json::from_str(&text).expect("an object");
    let orders = log(&report, "orders/1");
    assert_eq!((&orders["next_offset"], &orders["node_id"]), (&20.into(), &1.into()));
    assert_eq!((&orders["missing_from"], &report["problems"]), (&Value::Null, &Value::Array(Vec::new())));
    let ranges = orders["ranges"].as_array().expect("a list");
    assert!(ranges.len() > 2, "{orders:#}");
    let terms = orders["terms"].as_array().expect("a list");
    assert_eq!(terms[0]["first_offset"], 0);
    assert_eq!(setup.offline(&["verify"]).0, 0);

    // One byte of a record in the first segment that holds any.
    let range = &ranges[0];
    let file = setup.path().join(range["segment"].as_str().expect("a name"));
    let bytes = fs::read(&file).expect("readable");
    let at = bytes.windows(100).position(|window| window == [b'x'; 100]).expect("a record") + 50;
    let mut segment = fs::OpenOptions::new().write(true).open(&file).expect("opens");
    segment.seek(SeekFrom::Start(at as u64)).expect("inside");
    segment.write_all(b"y").expect("written");
    let (code, text, summary) = setup.offline(&["verify"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(range["segment"].as_str().expect("a name")), "{text}");
    assert!(text.contains("orders/1") && text.contains("are missing"), "{text}");
    assert!(summary.contains("problems") && !summary.contains(" 0 problems"), "{summary}");

    fs::write(setup.path().join("incarnation"), "?").expect("written");
    let (code, text, _) = setup.offline(&["verify", "--json"]);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&text).expect("an object");
    let problems = report["problems"].as_array().expect("a list");
    assert!(
        problems.iter().any(|problem| problem.as_str().is_some_and(|text| text.starts_with("incarnation")))
    );
    assert!(log(&report, "orders/1")["missing_from"]["offset"].is_i64(), "{report:#}");
}

#[test]
fn what_is_no_data_directory_is_not_touched() {
    let rig = Rig::new();
    let setup = rig.node("empty");
    fs::create_dir(setup.path()).expect("made");
    let (code, _, said) = setup.offline(&["verify"]);
    assert_eq!(code, 1);
    assert!(said.contains("is no data directory"), "{said}");
    assert_eq!(fs::read_dir(setup.path()).expect("a directory").count(), 0);
    let mut node = rig.node("a").start();
    node.ready();
    let (code, _, said) = rig.node("a").offline(&["inspect"]);
    assert_eq!(code, 1);
    assert!(said.contains("stop it first"), "{said}");
}
