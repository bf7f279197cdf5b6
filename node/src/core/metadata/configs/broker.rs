//! What a node says of itself in DescribeConfigs, and what is set for all nodes.

use super::topic::{self, TOPIC};
use super::{Configs, Defaults, Kind, Layers};
use crate::core::request::{ConfigEntry, ConfigSource, ConfigSynonym};

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

/// A key that follows from the node's flags and cannot be altered over Kafka.
pub(super) struct Key {
    pub(super) name: &'static str,
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

/// Every such key, by name.
pub(super) const KEYS: &[Key] = &[
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
    set("log.dirs", Kind::Text, "Where the node's data is."),
    set("node.id", Kind::Int, "The node's committed id."),
    set("num.partitions", Kind::Int, "Partitions of a topic that does not say."),
    fixed("process.roles", Kind::List, "Every node is a broker; there is no controller."),
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
        "log.dirs" => settings.data_dir.clone(),
        "num.partitions" => defaults.partitions.to_string(),
        "process.roles" => "broker".into(),
        _ => return None,
    })
}

/// What DescribeConfigs says of a node: what is set for it and for all nodes is in `layers`. `keys` is `None` for all; unknown ones are
/// left out.
pub fn describe_broker(
    settings: &BrokerSettings,
    layers: &Layers<'_>,
    keys: Option<&[String]>,
) -> Vec<ConfigEntry> {
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key == name));
    let own = KEYS.iter().filter(|key| wanted(key.name)).map(|key| {
        let value = value(key.name, settings, layers.defaults);
        let source = if key.is_default { ConfigSource::Default } else { ConfigSource::Static };
        let synonym = value.clone().map(|value| ConfigSynonym { name: key.name.to_owned(), value, source });
        ConfigEntry {
            name: key.name.to_owned(),
            value,
            source,
            read_only: true,
            kind: key.kind as i8,
            documentation: key.documentation.to_owned(),
            synonyms: synonym.into_iter().collect(),
        }
    });
    let of_topics = TOPIC.iter().filter(|key| !key.broker.is_empty() && wanted(key.broker));
    let of_topics = of_topics.map(|key| of_topics_entry(key, layers.synonyms_of_node(key)));
    let mut entries: Vec<ConfigEntry> = own.chain(of_topics).collect();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    entries
}

fn of_topics_entry(key: &topic::Key, synonyms: Vec<ConfigSynonym>) -> ConfigEntry {
    let entry = topic::entry(key, key.broker, synonyms);
    ConfigEntry { documentation: format!("Default of a topic's {}.", key.name), ..entry }
}

/// What DescribeConfigs says of all nodes together: only what is set for them.
pub fn describe_cluster(cluster: &Configs, keys: Option<&[String]>) -> Vec<ConfigEntry> {
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key == name));
    let set = cluster.iter().filter(|(name, _)| wanted(name));
    let entry = |(name, value): (&String, &String)| {
        let source = ConfigSource::Cluster;
        let synonym = ConfigSynonym { name: name.clone(), value: value.clone(), source };
        Some(of_topics_entry(topic::of_node(name)?, vec![synonym]))
    };
    set.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::metadata::configs::tests::{NOTHING, pairs};

    #[test]
    fn every_key_has_a_value() {
        let settings = BrokerSettings { zone: "z".into(), ..BrokerSettings::default() };
        let cluster = pairs(&[("message.max.bytes", "5")]);
        let defaults = Defaults::default();
        let layers = Layers { topic: &NOTHING, node: &NOTHING, cluster: &cluster, defaults: &defaults };
        let all = describe_broker(&settings, &layers, None);
        assert!(all.is_sorted_by(|a, b| a.name < b.name));
        for entry in &all {
            assert!(entry.value.is_some(), "{}", entry.name);
        }
        let asked = ["node.id".to_owned(), "no.such.key".to_owned(), "message.max.bytes".to_owned()];
        let entries = describe_broker(&settings, &layers, Some(&asked));
        let [bytes, node] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((bytes.value.as_deref(), bytes.source), (Some("5"), ConfigSource::Cluster));
        assert_eq!((bytes.read_only, node.read_only), (false, true));
        let set = describe_cluster(&cluster, None);
        assert_eq!((set.len(), &*set[0].name), (1, "message.max.bytes"));
    }
}
