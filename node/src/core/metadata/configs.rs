//! Kafka's config keys: which exist, what they may be, what they are when nobody set them, and what they mean
//! here.
//!
//! A key is either in force, or known and harmless (taken and shown, with no effect here), or known and only
//! possible at its default, because anything else would promise what is not done. Unknown keys are refused.
//!
//! A value may be set in several places; the nearest wins ([`Layers`]): for the topic, for the node that leads, for all
//! nodes, by the node's own flags. A topic's key has another name where it is a node's ([`topic::Key::broker`]).

use std::collections::BTreeMap;

mod alter;
mod broker;
mod topic;

pub use alter::{Edit, Operation, apply, plan_broker, plan_topic_configs};
pub use broker::{BrokerSettings, describe_broker, describe_cluster};
pub use topic::{allowed, allowed_of_node, check_topic, describe_topic};

/// What is set in one place, by Kafka's key names.
pub type Configs = BTreeMap<String, String>;

/// Values of this mesh where Kafka's own default does not rule. The same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// `num.partitions`: of a topic that does not say.
    pub partitions: i32,
    /// `default.replication.factor`: of a topic that does not say; less when there are fewer nodes.
    pub replication_factor: i16,
    /// `message.max.bytes`: largest record batch of a topic that does not say.
    pub max_message_bytes: u32,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { partitions: 1, replication_factor: 3, max_message_bytes: 1_048_588, auto_create_topics: true }
    }
}

/// Where values are set, the nearest first.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// For one topic, under the topic's key names.
    pub topic: &'a Configs,
    /// For one node, under the names of a node's keys.
    pub node: &'a Configs,
    /// For all nodes, under the same names.
    pub cluster: &'a Configs,
    /// By the node's flags.
    pub defaults: &'a Defaults,
}

/// How a topic's batches are to be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Uncompressed,
    /// At this level of 1 to 9, or -1 for the usual one.
    Gzip(i32),
    /// Snappy in the framing of snappy-java.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// zstd.
    Zstd,
}

/// A topic's configs in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Records older than this many milliseconds may go; `None` keeps them.
    pub retention_ms: Option<i64>,
    /// A partition above this many bytes loses its oldest records; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// Largest record batch in bytes.
    pub max_message_bytes: u32,
    /// Voters that must be in sync for a produce with acks=all.
    pub min_insync_replicas: u32,
    /// Records get the time at which the leader appends them, instead of the one that their producer set.
    pub log_append_time: bool,
    /// How far a producer's timestamp may be in the past, in milliseconds.
    pub timestamp_before_max_ms: i64,
    /// How far it may be in the future, in milliseconds.
    pub timestamp_after_max_ms: i64,
    /// How batches are packed; `None` leaves that to producers.
    pub compression: Option<Compression>,
}

impl TopicConfig {
    /// Of what is set. Values were checked when they were set; one that this release does not understand counts as the
    /// default.
    pub fn new(layers: &Layers<'_>) -> Self {
        let long = |key: &str, default: i64| layers.value(key).parse().unwrap_or(default);
        // What is only compacted keeps the newest record of each key, whatever its age and whatever nodes say of retention (seed 7020).
        let deletes = layers.value("cleanup.policy").split(',').any(|policy| policy.trim() == "delete");
        let retention_ms = long("retention.ms", -1);
        let default = layers.defaults.max_message_bytes;
        let max_message_bytes = u32::try_from(long("max.message.bytes", default.into())).unwrap_or(default);
        Self {
            retention_ms: (deletes && retention_ms >= 0).then_some(retention_ms),
            retention_bytes: u64::try_from(long("retention.bytes", -1)).ok().filter(|_| deletes),
            max_message_bytes,
            min_insync_replicas: u32::try_from(long("min.insync.replicas", 1)).unwrap_or(1),
            log_append_time: layers.value("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: long("message.timestamp.before.max.ms", i64::MAX),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms", i64::MAX),
            compression: match &*layers.value("compression.type") {
                "uncompressed" => Some(Compression::Uncompressed),
                "gzip" => {
                    Some(Compression::Gzip(i32::try_from(long("compression.gzip.level", -1)).unwrap_or(-1)))
                }
                "snappy" => Some(Compression::Snappy),
                "lz4" => Some(Compression::Lz4),
                "zstd" => Some(Compression::Zstd),
                _ => None,
            },
        }
    }
}

/// Kafka's types of configs, by their number in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) static NOTHING: Configs = Configs::new();

    pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Configs {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_nearest_value_is_in_force() {
        let defaults = Defaults { max_message_bytes: 7, ..Defaults::default() };
        let (topic, node, cluster) = (
            pairs(&[("retention.ms", "1000"), ("retention.bytes", "5")]),
            pairs(&[("log.retention.bytes", "6"), ("min.insync.replicas", "2")]),
            pairs(&[
                ("min.insync.replicas", "3"),
                ("log.message.timestamp.type", "LogAppendTime"),
                ("log.message.timestamp.after.max.ms", "9"),
                ("compression.type", "gzip"),
                ("compression.gzip.level", "4"),
            ]),
        );
        let config =
            TopicConfig::new(&Layers { topic: &topic, node: &node, cluster: &cluster, defaults: &defaults });
        let wanted = TopicConfig {
            retention_ms: Some(1000),
            retention_bytes: Some(5),
            max_message_bytes: 7,
            min_insync_replicas: 2,
            log_append_time: true,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 9,
            compression: Some(Compression::Gzip(4)),
        };
        assert_eq!(config, wanted);
        let defaults = Defaults::default();
        let layers = Layers { topic: &NOTHING, node: &NOTHING, cluster: &NOTHING, defaults: &defaults };
        let none = TopicConfig::new(&layers);
        assert_eq!((none.retention_ms, none.retention_bytes), (Some(604_800_000), None));
        assert_eq!((none.log_append_time, none.compression), (false, None));
        let keep = pairs(&[("retention.ms", "-1")]);
        assert_eq!(TopicConfig::new(&Layers { topic: &keep, ..layers }).retention_ms, None);
        let compacted =
            pairs(&[("cleanup.policy", "compact"), ("retention.ms", "5"), ("retention.bytes", "5")]);
        let compacted = TopicConfig::new(&Layers { topic: &compacted, ..layers });
        assert_eq!((compacted.retention_ms, compacted.retention_bytes), (None, None));
    }
}
