//! Kafka's config keys: which exist, what they may be, what they are when nobody set them, and what they mean
//! here.
//!
//! A key is either in force, or known and harmless (taken and shown, with no effect here), or known and only
//! possible at its default, because anything else would promise what is not done. Unknown keys are refused.

use std::collections::BTreeMap;

use crate::core::request::ConfigEntry;

mod broker;

pub use broker::{BrokerSettings, describe_broker};

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
}

impl TopicConfig {
    /// Of what was set for a topic, over the defaults. Values were checked when they were set.
    pub fn new(set: &BTreeMap<String, String>, defaults: &Defaults) -> Self {
        let long =
            |key: &str, default: i64| set.get(key).and_then(|value| value.parse().ok()).unwrap_or(default);
        let retention_ms: i64 = long("retention.ms", 604_800_000);
        let max_message_bytes = long("max.message.bytes", i64::from(defaults.max_message_bytes));
        Self {
            retention_ms: (retention_ms >= 0).then_some(retention_ms),
            retention_bytes: u64::try_from(long("retention.bytes", -1)).ok(),
            max_message_bytes: u32::try_from(max_message_bytes).unwrap_or(defaults.max_message_bytes),
            min_insync_replicas: u32::try_from(long("min.insync.replicas", 1)).unwrap_or(1),
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

/// Which values a key takes.
#[derive(Clone, Copy, Debug)]
enum Allowed {
    /// Whole numbers of this range.
    Range(i64, i64),
    /// Only the default, for this reason.
    Default(&'static str),
    /// `true` or `false`; without effect here.
    Flag,
}

struct Key {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    allowed: Allowed,
    documentation: &'static str,
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    allowed: Allowed,
    documentation: &'static str,
) -> Key {
    Key { name, kind, default, allowed, documentation }
}

const COMPACT: &str = "compaction is not there yet";
const TIERED: &str = "remote storage is not there";
const INT_MAX: i64 = i32::MAX as i64;
const NO_EFFECT: &str =
    "Taken for compatibility; has no effect, because every acknowledgement waits for a sync anyway.";
const SHARED_SEGMENTS: &str =
    "Taken for compatibility; has no effect, because all partitions of a worker share segments.";

/// Every topic config, by name.
const TOPIC: &[Key] = &[
    key(
        "cleanup.policy",
        Kind::List,
        "delete",
        Allowed::Default("only 'delete' is there; compaction is not yet"),
        "What happens to old records: they are deleted by retention.",
    ),
    key(
        "compression.type",
        Kind::Text,
        "producer",
        Allowed::Default("batches are kept as producers compressed them"),
        "Record batches stay as the producer compressed them.",
    ),
    key(
        "delete.retention.ms",
        Kind::Long,
        "86400000",
        Allowed::Default(COMPACT),
        "How long compaction keeps tombstones.",
    ),
    key("file.delete.delay.ms", Kind::Long, "60000", Allowed::Range(0, i64::MAX), SHARED_SEGMENTS),
    key("flush.messages", Kind::Long, "9223372036854775807", Allowed::Range(1, i64::MAX), NO_EFFECT),
    key("flush.ms", Kind::Long, "9223372036854775807", Allowed::Range(0, i64::MAX), NO_EFFECT),
    key("index.interval.bytes", Kind::Int, "4096", Allowed::Range(0, INT_MAX), SHARED_SEGMENTS),
    key(
        "max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        Allowed::Default(COMPACT),
        "How long a record may stay uncompacted.",
    ),
    key(
        "max.message.bytes",
        Kind::Int,
        "1048588",
        Allowed::Range(0, 64 << 20),
        "Largest record batch in bytes, as it comes from the producer; at most 64 MiB.",
    ),
    key(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "9223372036854775807",
        Allowed::Default("timestamps are taken as producers set them"),
        "How far a record's timestamp may be in the future.",
    ),
    key(
        "message.timestamp.before.max.ms",
        Kind::Long,
        "9223372036854775807",
        Allowed::Default("timestamps are taken as producers set them"),
        "How far a record's timestamp may be in the past.",
    ),
    key(
        "message.timestamp.type",
        Kind::Text,
        "CreateTime",
        Allowed::Default("LogAppendTime is not there yet"),
        "Records keep the timestamps that producers set.",
    ),
    key(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        Allowed::Default(COMPACT),
        "When compaction begins.",
    ),
    key(
        "min.compaction.lag.ms",
        Kind::Long,
        "0",
        Allowed::Default(COMPACT),
        "How long a record stays uncompacted at least.",
    ),
    key(
        "min.insync.replicas",
        Kind::Int,
        "1",
        Allowed::Range(1, INT_MAX),
        "Voters that must be in sync for acks=all; a majority is always needed, whatever this says.",
    ),
    key("preallocate", Kind::Boolean, "false", Allowed::Flag, SHARED_SEGMENTS),
    key(
        "remote.storage.enable",
        Kind::Boolean,
        "false",
        Allowed::Default(TIERED),
        "Whether old records move elsewhere.",
    ),
    key(
        "retention.bytes",
        Kind::Long,
        "-1",
        Allowed::Range(-1, i64::MAX),
        "Bytes of a partition above which its oldest records are deleted; -1 for no bound.",
    ),
    key(
        "retention.ms",
        Kind::Long,
        "604800000",
        Allowed::Range(-1, i64::MAX),
        "Milliseconds after which records are deleted; -1 keeps them.",
    ),
    key("segment.bytes", Kind::Int, "1073741824", Allowed::Range(14, INT_MAX), SHARED_SEGMENTS),
    key("segment.index.bytes", Kind::Int, "10485760", Allowed::Range(4, INT_MAX), SHARED_SEGMENTS),
    key("segment.jitter.ms", Kind::Long, "0", Allowed::Range(0, i64::MAX), SHARED_SEGMENTS),
    key("segment.ms", Kind::Long, "604800000", Allowed::Range(1, i64::MAX), SHARED_SEGMENTS),
    key(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        Allowed::Default("only a replica that has every committed record may lead"),
        "Never: only a replica that has every committed record is elected.",
    ),
];

/// Checks what a client wants to set for a topic and returns what to store: only what differs from nothing
/// said.
///
/// # Errors
///
/// One sentence that names the key and what it may be.
pub fn check_topic(configs: &[(String, Option<String>)]) -> Result<BTreeMap<String, String>, String> {
    let mut set = BTreeMap::new();
    for (name, value) in configs {
        let Some(key) = find(name) else { return Err(format!("Unknown topic config name: {name}")) };
        let Some(value) = value else {
            return Err(format!("Null value not supported for topic configs: {name}"));
        };
        let value = value.trim();
        check(key, value)?;
        if set.insert(name.clone(), value.to_owned()).is_some() {
            return Err(format!("The config {name} is given twice"));
        }
    }
    Ok(set)
}

/// Which values a topic's key takes, in words; `None` of an unknown key.
pub fn allowed(name: &str) -> Option<String> {
    Some(match find(name)?.allowed {
        Allowed::Range(low, i64::MAX) => format!("{low} or more"),
        Allowed::Range(low, high) => format!("{low} to {high}"),
        Allowed::Default(why) => format!("the default only: {why}"),
        Allowed::Flag => "true or false".to_owned(),
    })
}

fn find(name: &str) -> Option<&'static Key> {
    TOPIC.iter().find(|key| key.name == name)
}

fn check(key: &Key, value: &str) -> Result<(), String> {
    let invalid = |why: String| Err(format!("Invalid value {value} for configuration {}: {why}", key.name));
    match key.allowed {
        Allowed::Range(low, high) => match value.parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(()),
            Ok(_) => invalid(format!("Value must be between {low} and {high}")),
            Err(_) => invalid("Not a whole number".into()),
        },
        Allowed::Default(why) if value != key.default => {
            invalid(format!("Only {} is supported: {why}", key.default))
        }
        Allowed::Flag if !matches!(value, "true" | "false") => invalid("Must be true or false".into()),
        Allowed::Default(_) | Allowed::Flag => Ok(()),
    }
}

/// What DescribeConfigs says of a topic. `keys` is `None` for all; unknown ones are left out, as Kafka does.
pub fn describe_topic(
    set: &BTreeMap<String, String>,
    defaults: &Defaults,
    keys: Option<&[String]>,
) -> Vec<ConfigEntry> {
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key == name));
    TOPIC.iter().filter(|key| wanted(key.name)).map(|key| entry(key, set, defaults)).collect()
}

fn entry(key: &Key, set: &BTreeMap<String, String>, defaults: &Defaults) -> ConfigEntry {
    let default = match key.name {
        "max.message.bytes" => defaults.max_message_bytes.to_string(),
        _ => key.default.to_owned(),
    };
    let given = set.get(key.name);
    ConfigEntry {
        name: key.name.to_owned(),
        value: Some(given.cloned().unwrap_or(default)),
        is_default: given.is_none(),
        kind: key.kind as i8,
        documentation: key.documentation.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, value: &str) -> Result<BTreeMap<String, String>, String> {
        check_topic(&[(name.to_owned(), Some(value.to_owned()))])
    }

    #[test]
    fn every_default_is_allowed_and_names_are_sorted() {
        assert!(TOPIC.is_sorted_by(|a, b| a.name < b.name));
        for key in TOPIC {
            check(key, key.default).expect(key.name);
            assert!(!key.documentation.is_empty());
        }
    }

    #[test]
    fn refusals_name_the_key() {
        for (name, value) in [
            ("retention.ms", "-2"),
            ("retention.ms", "soon"),
            ("retention.ms", ""),
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("unclean.leader.election.enable", "true"),
            ("message.timestamp.type", "LogAppendTime"),
            ("compression.type", "zstd"),
            ("min.insync.replicas", "0"),
            ("max.message.bytes", "999999999999"),
            ("preallocate", "yes"),
            ("no.such.key", "1"),
        ] {
            let error = check_one(name, value).expect_err(name);
            assert!(error.contains(name), "{error}");
        }
        let null = check_topic(&[("retention.ms".into(), None)]).expect_err("null");
        assert!(null.contains("retention.ms"));
        let twice =
            [("flush.ms".to_owned(), Some("1".to_owned())), ("flush.ms".to_owned(), Some("2".to_owned()))];
        assert!(check_topic(&twice).is_err());
    }

    #[test]
    fn what_is_set_is_in_force() {
        let defaults = Defaults::default();
        let set = check_topic(&[
            ("retention.ms".into(), Some(" 1000 ".into())),
            ("retention.bytes".into(), Some("5".into())),
            ("max.message.bytes".into(), Some("5000000".into())),
            ("min.insync.replicas".into(), Some("2".into())),
        ])
        .expect("allowed");
        let config = TopicConfig::new(&set, &defaults);
        assert_eq!(config.retention_ms, Some(1000));
        assert_eq!(config.retention_bytes, Some(5));
        assert_eq!(config.max_message_bytes, 5_000_000);
        assert_eq!(config.min_insync_replicas, 2);
        let none = TopicConfig::new(&BTreeMap::new(), &defaults);
        assert_eq!(none.retention_ms, Some(604_800_000));
        assert_eq!(none.retention_bytes, None);
        let keep = check_one("retention.ms", "-1").expect("allowed");
        assert_eq!(TopicConfig::new(&keep, &defaults).retention_ms, None);
    }

    #[test]
    fn descriptions_tell_set_from_default() {
        let set = check_one("retention.ms", "1000").expect("allowed");
        let entries = describe_topic(&set, &Defaults::default(), None);
        assert_eq!(entries.len(), TOPIC.len());
        let asked = ["retention.ms".to_owned(), "no.such.key".to_owned()];
        let entries = describe_topic(&set, &Defaults::default(), Some(&asked));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].value.as_deref(), Some("1000"));
        assert!(!entries[0].is_default);
    }
}
