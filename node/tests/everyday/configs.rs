//! Configs that are altered while the mesh runs.

use node::core::error::ErrorCode;
use node::core::metadata::configs::{Edit, Operation};
use node::core::request::*;

use crate::steps::{Mesh, batch, produce, produced};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// About when these nodes run.
const TIME: i64 = 1_700_000_000_000;

fn set(key: &str, value: &str) -> Edit {
    Edit { key: key.into(), operation: Operation::Set(value.into()) }
}

fn unset(key: &str) -> Edit {
    Edit { key: key.into(), operation: Operation::Delete }
}

impl Mesh {
    fn alter(&mut self, node: i32, kind: i8, name: &str, edits: &[Edit]) -> (ErrorCode, String) {
        let name = name.to_owned();
        let resource = AlterResource { resource_type: kind, name, replace: false, edits: edits.to_vec() };
        self.altered(node, resource, false)
    }

    fn altered(&mut self, node: i32, resource: AlterResource, validate_only: bool) -> (ErrorCode, String) {
        let request = Request::AlterConfigs { resources: vec![resource], validate_only };
        let Response::AlterConfigs { mut resources } = self.ask(node, request) else {
            panic!("another answer")
        };
        let AlterResult { error, message, .. } = resources.remove(0);
        (error, message.unwrap_or_default())
    }

    fn config(&mut self, node: i32, resource: ConfigResource, key: &str) -> Option<(String, ConfigSource)> {
        let request = Request::DescribeConfigs { resources: vec![resource] };
        let Response::DescribeConfigs { mut resources } = self.ask(node, request) else {
            panic!("another answer")
        };
        assert_eq!(resources[0].error, ErrorCode::None, "{resources:?}");
        let entry = resources.remove(0).entries.into_iter().find(|entry| entry.name == key)?;
        Some((entry.value?, entry.source))
    }

    fn of_topic(&mut self, node: i32, key: &str) -> (String, ConfigSource) {
        let resource = ConfigResource::Topic { name: "t".into(), keys: None };
        self.config(node, resource, key).expect("a topic has all keys")
    }

    fn written(&mut self, batch: Batch) -> ProduceResult {
        let leader = self.leader("t", 0);
        let Response::Produce { mut partitions } = self.ask(leader, produce("t", batch)) else {
            panic!("another answer")
        };
        partitions.remove(0)
    }
}

#[test]
fn who_is_told_that_a_config_is_altered_sees_it_and_soon_all_nodes_do() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    for node in 1..=3 {
        let value = (1_000 * node).to_string();
        let done = mesh.alter(node, TOPIC, "t", &[set("retention.ms", &value)]);
        assert_eq!(done.0, ErrorCode::None, "{}", done.1);
        assert_eq!(mesh.of_topic(node, "retention.ms"), (value.clone(), ConfigSource::Topic));
        mesh.run(100);
        for other in 1..=3 {
            assert_eq!(mesh.of_topic(other, "retention.ms").0, value);
        }
        let default = (3_000 * node).to_string();
        let done = mesh.alter(node, BROKER, "", &[set("log.retention.bytes", &default)]);
        assert_eq!(done.0, ErrorCode::None, "{}", done.1);
        assert_eq!(mesh.of_topic(node, "retention.bytes"), (default, ConfigSource::Cluster));
    }
    assert_eq!(mesh.alter(1, BROKER, "2", &[set("log.retention.bytes", "5")]).0, ErrorCode::None);
    mesh.run(100);
    assert_eq!(mesh.of_topic(2, "retention.bytes"), ("5".into(), ConfigSource::Node));
    assert_eq!(mesh.of_topic(1, "retention.bytes"), ("9000".into(), ConfigSource::Cluster));
    for node in 1..=3 {
        mesh.kill(node);
        mesh.start(node);
        mesh.run(3_000);
    }
    assert_eq!(mesh.of_topic(2, "retention.bytes"), ("5".into(), ConfigSource::Node), "a restart keeps it");
    assert_eq!(mesh.alter(3, BROKER, "2", &[unset("log.retention.bytes")]).0, ErrorCode::None);
    assert_eq!(mesh.alter(3, TOPIC, "t", &[unset("retention.ms")]).0, ErrorCode::None);
    mesh.run(100);
    assert_eq!(mesh.of_topic(2, "retention.bytes"), ("9000".into(), ConfigSource::Cluster));
    assert_eq!(mesh.of_topic(2, "retention.ms"), ("604800000".into(), ConfigSource::Default));
    let cluster = ConfigResource::Broker { name: String::new(), keys: None };
    assert!(mesh.config(1, cluster.clone(), "log.retention.bytes").is_some());
    assert_eq!(mesh.config(1, cluster, "log.retention.ms"), None, "only what is set");
}

#[test]
fn refusals_change_nothing_and_say_what_may_be() {
    let mut mesh = Mesh::new(1);
    mesh.create("t", 1);
    let good = set("retention.ms", "1000");
    for (kind, name, edit, error, word) in [
        (TOPIC, "t", set("retention.ms", "-5"), ErrorCode::InvalidConfig, "between -1"),
        (TOPIC, "t", set("no.such", "1"), ErrorCode::InvalidConfig, "no.such"),
        (TOPIC, "u", set("flush.ms", "1"), ErrorCode::UnknownTopicOrPartition, "does not exist"),
        (BROKER, "x", set("log.retention.ms", "1"), ErrorCode::InvalidRequest, "integer"),
        (BROKER, "7", set("log.retention.ms", "1"), ErrorCode::BrokerIdNotRegistered, "no node 7"),
        (BROKER, "1", set("node.id", "2"), ErrorCode::InvalidRequest, "flags"),
    ] {
        let first = set(if kind == TOPIC { "retention.bytes" } else { "log.retention.bytes" }, "5");
        let (found, message) = mesh.alter(1, kind, name, &[first, edit]);
        assert_eq!(found, error, "{message}");
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(mesh.of_topic(1, "retention.bytes").1, ConfigSource::Default);
    let edits = vec![good.clone()];
    let resource = AlterResource { resource_type: TOPIC, name: "t".into(), replace: false, edits };
    assert_eq!(mesh.altered(1, resource, true).0, ErrorCode::None);
    assert_eq!(mesh.of_topic(1, "retention.ms").1, ConfigSource::Default, "only checked");
    let whole =
        |edits: Vec<Edit>| AlterResource { resource_type: TOPIC, name: "t".into(), replace: true, edits };
    assert_eq!(mesh.altered(1, whole(vec![good]), false).0, ErrorCode::None);
    assert_eq!(mesh.altered(1, whole(vec![set("flush.ms", "4")]), false).0, ErrorCode::None);
    assert_eq!(mesh.of_topic(1, "retention.ms").1, ConfigSource::Default, "not named any more");
    assert_eq!(mesh.of_topic(1, "flush.ms").0, "4");
}

#[test]
fn altered_configs_are_in_force_at_the_next_batch() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    let leader = mesh.leader("t", 0);
    let other = leader % 3 + 1;
    let long = || batch(0, &[TIME; 30]);
    assert_eq!(mesh.produce("t", long()), 0);
    assert_eq!(mesh.alter(other, TOPIC, "t", &[set("max.message.bytes", "100")]).0, ErrorCode::None);
    mesh.run(100);
    assert_eq!(mesh.written(long()).error, ErrorCode::MessageTooLarge);
    assert_eq!(mesh.alter(other, TOPIC, "t", &[unset("max.message.bytes")]).0, ErrorCode::None);

    let near = [set("message.timestamp.before.max.ms", "60000"), set("message.timestamp.after.max.ms", "0")];
    assert_eq!(mesh.alter(other, TOPIC, "t", &near).0, ErrorCode::None);
    mesh.run(100);
    for (time, error) in [
        (TIME - 600_000, ErrorCode::InvalidTimestamp),
        (TIME + 600_000, ErrorCode::InvalidTimestamp),
        (TIME, ErrorCode::None),
    ] {
        let result = mesh.written(batch(0, &[time]));
        assert_eq!(result.error, error, "{:?}", result.message);
        assert_eq!(result.log_append_time_ms, -1);
    }

    let by_leader = [set("log.message.timestamp.type", "LogAppendTime")];
    assert_eq!(mesh.alter(other, BROKER, "", &by_leader).0, ErrorCode::None);
    mesh.run(100);
    let result = mesh.written(batch(2, &[5, 1, 9]));
    assert_eq!(result.error, ErrorCode::None, "what producers say does not matter");
    assert!(result.log_append_time_ms >= TIME);
    let read = mesh.fetch("t", result.base_offset, -1);
    let stored = &read.batches[0].bytes;
    assert_eq!(stored[22], 2 | 8, "the codec stays");
    assert_eq!(stored[35..43], result.log_append_time_ms.to_be_bytes());
    assert_eq!(stored[17..21], crc32c(&stored[21..]).to_be_bytes());
    let found = mesh.offset("t", result.log_append_time_ms);
    assert_eq!((found.offset, found.timestamp), (result.base_offset, result.log_append_time_ms));

    assert_eq!(mesh.alter(other, TOPIC, "t", &[set("min.insync.replicas", "3")]).0, ErrorCode::None);
    mesh.run(100);
    mesh.kill(other);
    mesh.run(5_000);
    assert_eq!(produced(mesh.ask(leader, produce("t", batch(0, &[1])))).0, ErrorCode::NotEnoughReplicas);
}

/// CRC32C by its polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (!(crc & 1)).wrapping_add(1)))
    };
    !bytes.iter().fold(!0, step)
}
