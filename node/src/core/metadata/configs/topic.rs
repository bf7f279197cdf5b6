//! The keys of a topic, each with the name that it has as a key of nodes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Configs, Defaults, Kind, Layers};
use crate::core::request::{ConfigEntry, ConfigSource, ConfigSynonym};

/// Which values a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// Whole numbers of this range.
    Range(i64, i64),
    /// Only the default, for this reason.
    Default(&'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`; without effect here.
    Flag,
    /// `true` or `false`, and it stays `false`.
    Never,
}

pub(super) struct Key {
    pub(super) name: &'static str,
    /// What sets it for all topics of a node, or of all nodes; empty when nothing does.
    pub(super) broker: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) allowed: Allowed,
    pub(super) documentation: &'static str,
}

const fn key(
    name: &'static str,
    broker: &'static str,
    kind: Kind,
    default: &'static str,
    allowed: Allowed,
    documentation: &'static str,
) -> Key {
    Key { name, broker, kind, default, allowed, documentation }
}

const COMPACT: &str = "compaction is not there yet";
const TIERED: &str = "remote storage is not there";
const INT_MAX: i64 = i32::MAX as i64;
const NO_EFFECT: &str =
    "Taken for compatibility; has no effect, because every acknowledgement waits for a sync anyway.";
const SHARED_SEGMENTS: &str =
    "Taken for compatibility; has no effect, because all partitions of a worker share segments.";
const SEGMENT: &str = "Taken for compatibility; has no effect: all partitions of a worker share segments of 64 MiB, and retention \
                       deletes single batches, whatever segment they are in.";
const ONE_LEVEL: &str =
    "Taken for compatibility; has no effect, because this codec is written at one level here.";

/// Every topic config, by name.
pub(super) const TOPIC: &[Key] = &[
    key(
        "cleanup.policy",
        "log.cleanup.policy",
        Kind::List,
        "delete",
        Allowed::Default("compaction is not there yet, so old records are deleted by retention"),
        "What happens to old records: they are deleted by retention.",
    ),
    key(
        "compression.gzip.level",
        "compression.gzip.level",
        Kind::Int,
        "-1",
        Allowed::Range(-1, 9),
        "Level of gzip when compression.type is gzip: 1 is fast, 9 is small, -1 stands for 6.",
    ),
    key("compression.lz4.level", "compression.lz4.level", Kind::Int, "9", Allowed::Range(1, 17), ONE_LEVEL),
    key(
        "compression.type",
        "compression.type",
        Kind::Text,
        "producer",
        Allowed::OneOf(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        "How record batches are kept: as their producers packed them, or packed anew by the leader that takes them.",
    ),
    key(
        "compression.zstd.level",
        "compression.zstd.level",
        Kind::Int,
        "3",
        Allowed::Range(-131_072, 22),
        ONE_LEVEL,
    ),
    key(
        "delete.retention.ms",
        "log.cleaner.delete.retention.ms",
        Kind::Long,
        "86400000",
        Allowed::Default(COMPACT),
        "How long compaction keeps tombstones.",
    ),
    key(
        "file.delete.delay.ms",
        "log.segment.delete.delay.ms",
        Kind::Long,
        "60000",
        Allowed::Range(0, i64::MAX),
        SHARED_SEGMENTS,
    ),
    key(
        "flush.messages",
        "log.flush.interval.messages",
        Kind::Long,
        "9223372036854775807",
        Allowed::Range(1, i64::MAX),
        NO_EFFECT,
    ),
    key(
        "flush.ms",
        "log.flush.interval.ms",
        Kind::Long,
        "9223372036854775807",
        Allowed::Range(0, i64::MAX),
        NO_EFFECT,
    ),
    key(
        "index.interval.bytes",
        "log.index.interval.bytes",
        Kind::Int,
        "4096",
        Allowed::Range(0, INT_MAX),
        SHARED_SEGMENTS,
    ),
    key(
        "max.compaction.lag.ms",
        "log.cleaner.max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        Allowed::Default(COMPACT),
        "How long a record may stay uncompacted.",
    ),
    key(
        "max.message.bytes",
        "message.max.bytes",
        Kind::Int,
        "1048588",
        Allowed::Range(0, 64 << 20),
        "Largest record batch in bytes, as it comes from the producer and as it is kept; at most 64 MiB.",
    ),
    key(
        "message.timestamp.after.max.ms",
        "log.message.timestamp.after.max.ms",
        Kind::Long,
        "9223372036854775807",
        Allowed::Range(0, i64::MAX),
        "How far a record's timestamp may be in the future, by the leader's clock, when message.timestamp.type is CreateTime.",
    ),
    key(
        "message.timestamp.before.max.ms",
        "log.message.timestamp.before.max.ms",
        Kind::Long,
        "9223372036854775807",
        Allowed::Range(0, i64::MAX),
        "How far a record's timestamp may be in the past, by the leader's clock, when message.timestamp.type is CreateTime.",
    ),
    key(
        "message.timestamp.type",
        "log.message.timestamp.type",
        Kind::Text,
        "CreateTime",
        Allowed::OneOf(&["CreateTime", "LogAppendTime"]),
        "Whether records keep the timestamps that producers set, or get the time at which the leader appends them.",
    ),
    key(
        "min.cleanable.dirty.ratio",
        "log.cleaner.min.cleanable.ratio",
        Kind::Double,
        "0.5",
        Allowed::Default(COMPACT),
        "When compaction begins.",
    ),
    key(
        "min.compaction.lag.ms",
        "log.cleaner.min.compaction.lag.ms",
        Kind::Long,
        "0",
        Allowed::Default(COMPACT),
        "How long a record stays uncompacted at least.",
    ),
    key(
        "min.insync.replicas",
        "min.insync.replicas",
        Kind::Int,
        "1",
        Allowed::Range(1, INT_MAX),
        "Voters that must be in sync for acks=all; a majority is always needed, whatever this says.",
    ),
    key("preallocate", "log.preallocate", Kind::Boolean, "false", Allowed::Flag, SHARED_SEGMENTS),
    key(
        "remote.storage.enable",
        "",
        Kind::Boolean,
        "false",
        Allowed::Default(TIERED),
        "Whether old records move elsewhere.",
    ),
    key(
        "retention.bytes",
        "log.retention.bytes",
        Kind::Long,
        "-1",
        Allowed::Range(-1, i64::MAX),
        "Bytes of a partition above which its oldest records are deleted; -1 for no bound.",
    ),
    key(
        "retention.ms",
        "log.retention.ms",
        Kind::Long,
        "604800000",
        Allowed::Range(-1, i64::MAX),
        "Milliseconds after which records are deleted; -1 keeps them.",
    ),
    key("segment.bytes", "log.segment.bytes", Kind::Int, "1073741824", Allowed::Range(14, INT_MAX), SEGMENT),
    key(
        "segment.index.bytes",
        "log.index.size.max.bytes",
        Kind::Int,
        "10485760",
        Allowed::Range(4, INT_MAX),
        SHARED_SEGMENTS,
    ),
    key("segment.jitter.ms", "log.roll.jitter.ms", Kind::Long, "0", Allowed::Range(0, i64::MAX), SEGMENT),
    key("segment.ms", "log.roll.ms", Kind::Long, "604800000", Allowed::Range(1, i64::MAX), SEGMENT),
    key(
        "unclean.leader.election.enable",
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        Allowed::Never,
        "Always false, also after it was set to true: only a replica that has every committed record is elected.",
    ),
];

/// Checks what a client wants to set for a topic and returns what to store: only what differs from nothing
/// said.
///
/// # Errors
///
/// One sentence that names the key and what it may be.
pub fn check_topic(configs: &[(String, Option<String>)]) -> Result<Configs, String> {
    let mut set = BTreeMap::new();
    for (name, value) in configs {
        let Some(key) = find(name) else { return Err(unknown(name)) };
        let Some(value) = value else {
            return Err(format!("Null value not supported for topic configs: {name}"));
        };
        if set.insert(name.clone(), checked(key, key.name, value)?).is_some() {
            return Err(format!("The config {name} is given twice"));
        }
    }
    Ok(set)
}

pub(super) fn unknown(name: &str) -> String {
    format!("Unknown topic config name: {name}")
}

/// Which values a topic's key takes, in words; `None` of an unknown key.
pub fn allowed(name: &str) -> Option<String> {
    Some(words(find(name)?))
}

/// The same of a node's key that can be altered; `None` of one that cannot.
pub fn allowed_of_node(name: &str) -> Option<String> {
    Some(words(of_node(name)?))
}

fn words(key: &Key) -> String {
    match key.allowed {
        Allowed::Range(low, i64::MAX) => format!("{low} or more"),
        Allowed::Range(low, high) => format!("{low} to {high}"),
        Allowed::Default(why) => format!("the default only: {why}"),
        Allowed::OneOf(words) => words.join(", "),
        Allowed::Flag => "true or false".to_owned(),
        Allowed::Never => "true or false, and it stays false".to_owned(),
    }
}

/// The key of a topic.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    TOPIC.binary_search_by(|key| key.name.cmp(name)).ok().map(|at| &TOPIC[at])
}

/// The topics' key that a node's key is the default of.
pub(super) fn of_node(name: &str) -> Option<&'static Key> {
    TOPIC.iter().find(|key| !name.is_empty() && key.broker == name)
}

/// The value to store for a key that the client calls `name`.
pub(super) fn checked(key: &Key, name: &str, value: &str) -> Result<String, String> {
    let value = value.trim();
    let invalid = |why: String| Err(format!("Invalid value {value} for configuration {name}: {why}"));
    let lower = value.to_ascii_lowercase();
    match key.allowed {
        Allowed::Range(low, high) => match value.parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(number.to_string()),
            Ok(_) => invalid(format!("Value must be between {low} and {high}")),
            Err(_) => invalid("Not a whole number".into()),
        },
        Allowed::Default(why) if value != key.default => {
            invalid(format!("Only {} is supported: {why}", key.default))
        }
        Allowed::Default(_) => Ok(value.to_owned()),
        Allowed::OneOf(words) if !words.contains(&value) => {
            invalid(format!("String must be one of: {}", words.join(", ")))
        }
        Allowed::OneOf(_) => Ok(value.to_owned()),
        Allowed::Flag | Allowed::Never if !matches!(&*lower, "true" | "false") => {
            invalid("Must be true or false".into())
        }
        Allowed::Flag => Ok(lower),
        Allowed::Never => Ok("false".to_owned()),
    }
}

impl Layers<'_> {
    /// The value in force of a topic's key; empty of an unknown one.
    pub(super) fn value(&self, name: &str) -> Cow<'_, str> {
        let Some(key) = find(name) else { return Cow::Borrowed("") };
        let set = self.topic.get(key.name);
        let set = set.or_else(|| self.node.get(key.broker)).or_else(|| self.cluster.get(key.broker));
        match set {
            Some(value) => Cow::Borrowed(value),
            None => by_flag(key, self.defaults).map_or(Cow::Borrowed(key.default), Cow::Owned),
        }
    }

    /// Every value that a topic's key has anywhere, the one in force first.
    fn synonyms(&self, key: &Key) -> Vec<ConfigSynonym> {
        let synonym = |name: &str, value: &str, source| ConfigSynonym {
            name: name.to_owned(),
            value: value.to_owned(),
            source,
        };
        let of_topic = self.topic.get(key.name).map(|value| synonym(key.name, value, ConfigSource::Topic));
        of_topic.into_iter().chain(self.synonyms_of_node(key)).collect()
    }

    /// Without what is set for a topic.
    pub(super) fn synonyms_of_node(&self, key: &Key) -> Vec<ConfigSynonym> {
        let name = if key.broker.is_empty() { key.name } else { key.broker };
        let synonym =
            |value: &str, source| ConfigSynonym { name: name.to_owned(), value: value.to_owned(), source };
        let set = |configs: &Configs, source| configs.get(key.broker).map(|value| synonym(value, source));
        let mut all: Vec<ConfigSynonym> = Vec::new();
        all.extend(set(self.node, ConfigSource::Node));
        all.extend(set(self.cluster, ConfigSource::Cluster));
        let flag = by_flag(key, self.defaults).filter(|value| value != key.default);
        all.extend(flag.map(|value| synonym(&value, ConfigSource::Static)));
        all.push(synonym(key.default, ConfigSource::Default));
        all
    }
}

/// What a node's flag says of a key.
fn by_flag(key: &Key, defaults: &Defaults) -> Option<String> {
    (key.name == "max.message.bytes").then(|| defaults.max_message_bytes.to_string())
}

/// What DescribeConfigs says of a topic. `keys` is `None` for all; unknown ones are left out, as Kafka does.
pub fn describe_topic(layers: &Layers<'_>, keys: Option<&[String]>) -> Vec<ConfigEntry> {
    let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key == name));
    let wanted = TOPIC.iter().filter(|key| wanted(key.name));
    wanted.map(|key| entry(key, key.name, layers.synonyms(key))).collect()
}

/// A key with the value that comes first.
pub(super) fn entry(key: &Key, name: &str, synonyms: Vec<ConfigSynonym>) -> ConfigEntry {
    let first = synonyms.first();
    ConfigEntry {
        name: name.to_owned(),
        value: first.map(|first| first.value.clone()),
        source: first.map_or(ConfigSource::Default, |first| first.source),
        read_only: false,
        kind: key.kind as i8,
        documentation: key.documentation.to_owned(),
        synonyms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::metadata::configs::tests::{NOTHING, pairs};

    fn check_one(name: &str, value: &str) -> Result<Configs, String> {
        check_topic(&[(name.to_owned(), Some(value.to_owned()))])
    }

    #[test]
    fn every_default_is_allowed_and_names_are_sorted() {
        assert!(TOPIC.is_sorted_by(|a, b| a.name < b.name));
        for key in TOPIC {
            checked(key, key.name, key.default).expect(key.name);
            assert!(!key.documentation.is_empty());
            assert_eq!(find(key.name).map(|found| found.name), Some(key.name));
            let of_node = of_node(key.broker).map(|found| found.name);
            assert_eq!(of_node, (!key.broker.is_empty()).then_some(key.name), "{}", key.broker);
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
            ("unclean.leader.election.enable", "perhaps"),
            ("message.timestamp.type", "logappendtime"),
            ("message.timestamp.before.max.ms", "-1"),
            ("compression.type", "brotli"),
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
    fn an_unclean_election_is_taken_and_stays_off() {
        let set = check_one("unclean.leader.election.enable", " TRUE").expect("taken");
        assert_eq!(set, pairs(&[("unclean.leader.election.enable", "false")]));
    }

    #[test]
    fn descriptions_name_all_places_where_a_value_is_set() {
        let defaults = Defaults { max_message_bytes: 77, ..Defaults::default() };
        let (topic, cluster) = (pairs(&[("retention.ms", "1000")]), pairs(&[("log.retention.ms", "2000")]));
        let layers = Layers { topic: &topic, node: &NOTHING, cluster: &cluster, defaults: &defaults };
        assert_eq!(describe_topic(&layers, None).len(), TOPIC.len());
        let asked = ["retention.ms".to_owned(), "no.such.key".to_owned(), "max.message.bytes".to_owned()];
        let entries = describe_topic(&layers, Some(&asked));
        let [bytes, retention] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((retention.value.as_deref(), retention.source), (Some("1000"), ConfigSource::Topic));
        let places: Vec<_> =
            retention.synonyms.iter().map(|one| (&*one.name, &*one.value, one.source)).collect();
        let wanted = [
            ("retention.ms", "1000", ConfigSource::Topic),
            ("log.retention.ms", "2000", ConfigSource::Cluster),
            ("log.retention.ms", "604800000", ConfigSource::Default),
        ];
        assert_eq!(places, wanted);
        assert_eq!((bytes.value.as_deref(), bytes.source), (Some("77"), ConfigSource::Static));
    }
}
