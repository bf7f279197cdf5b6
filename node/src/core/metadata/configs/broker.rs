//! What a node says of itself in DescribeConfigs.

use super::{Defaults, Kind};
use crate::core::request::ConfigEntry;

/// A node's own settings.
#[derive(Clone, Debug, Default)]
pub struct BrokerSettings {
    /// The node's id.
    pub node: i32,
    /// Where it listens for Kafka clients, `NAME://host:port` with commas between.
    pub listen: String,
    /// What it tells clients, in the same form.
    pub advertised: String,
    /// Its zone; may be empty.
    pub zone: String,
    /// Where its data is.
    pub data_dir: String,
}

struct Key {
    name: &'static str,
    kind: Kind,
    is_default: bool,
    documentation: &'static str,
}

const fn set(name: &'static str, kind: Kind, documentation: &'static str) -> Key {
    Key { name, kind, is_default: false, documentation }
}

const fn fixed(name: &'static str, kind: Kind, documentation: &'static str) -> Key {
    Key { name, kind, is_default: true, documentation }
}

/// Every key of a node, by name.
const KEYS: &[Key] = &[
    set("advertised.listeners", Kind::Text, "Addresses for clients, by listener."),
    set("auto.create.topics.enable", Kind::Boolean, "Whether asking for an unknown topic creates it."),
    set("broker.id", Kind::Int, "The node's committed id."),
    set("broker.rack", Kind::Text, "The node's zone."),
    set(
        "default.replication.factor",
        Kind::Int,
        "Replicas of a topic that does not say; never more than nodes.",
    ),
    set("listeners", Kind::Text, "Where the node listens for clients."),
    fixed("log.cleanup.policy", Kind::List, "Old records are deleted by retention."),
    set("log.dirs", Kind::Text, "Where the node's data is."),
    fixed("log.message.timestamp.type", Kind::Text, "Records keep the timestamps that producers set."),
    fixed("log.retention.bytes", Kind::Long, "Default of retention.bytes."),
    fixed("log.retention.ms", Kind::Long, "Default of retention.ms."),
    fixed("log.segment.bytes", Kind::Int, "Size of the segments that all partitions share."),
    set("message.max.bytes", Kind::Int, "Default of max.message.bytes."),
    fixed("min.insync.replicas", Kind::Int, "Default of min.insync.replicas."),
    set("node.id", Kind::Int, "The node's committed id."),
    set("num.partitions", Kind::Int, "Partitions of a topic that does not say."),
    fixed("process.roles", Kind::List, "Every node is a broker; there is no controller."),
    fixed("unclean.leader.election.enable", Kind::Boolean, "Never."),
];

fn value(name: &str, settings: &BrokerSettings, defaults: &Defaults) -> Option<String> {
    Some(match name {
        "advertised.listeners" => settings.advertised.clone(),
        "auto.create.topics.enable" => defaults.auto_create_topics.to_string(),
        "broker.id" | "node.id" => settings.node.to_string(),
        "broker.rack" if settings.zone.is_empty() => return None,
        "broker.rack" => settings.zone.clone(),
        "default.replication.factor" => defaults.replication_factor.to_string(),
        "listeners" => settings.listen.clone(),
        "log.cleanup.policy" => "delete".into(),
        "log.dirs" => settings.data_dir.clone(),
        "log.message.timestamp.type" => "CreateTime".into(),
        "log.retention.bytes" => "-1".into(),
        "log.retention.ms" => "604800000".into(),
        "log.segment.bytes" => "67108864".into(),
        "message.max.bytes" => defaults.max_message_bytes.to_string(),
        "min.insync.replicas" => "1".into(),
        "num.partitions" => defaults.partitions.to_string(),
        "process.roles" => "broker".into(),
        "unclean.leader.election.enable" => "false".into(),
        _ => return None,
    })
}

/// What DescribeConfigs says of a node. `keys` is `None` for all; unknown ones are left out.
pub fn describe_broker(
    settings: &BrokerSettings,
    defaults: &Defaults,
    keys: Option<&[String]>,
) -> Vec<ConfigEntry> {
    let wanted = |key: &&Key| keys.is_none_or(|keys| keys.iter().any(|name| name == key.name));
    let entry = |key: &Key| ConfigEntry {
        name: key.name.to_owned(),
        value: value(key.name, settings, defaults),
        is_default: key.is_default,
        kind: key.kind as i8,
        documentation: key.documentation.to_owned(),
    };
    KEYS.iter().filter(wanted).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_value() {
        let settings = BrokerSettings { zone: "z".into(), ..BrokerSettings::default() };
        assert!(KEYS.is_sorted_by(|a, b| a.name < b.name));
        for entry in describe_broker(&settings, &Defaults::default(), None) {
            assert!(entry.value.is_some(), "{}", entry.name);
        }
        let asked = ["node.id".to_owned(), "no.such.key".to_owned()];
        assert_eq!(describe_broker(&settings, &Defaults::default(), Some(&asked)).len(), 1);
    }
}
