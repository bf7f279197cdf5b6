//! What a person may set: flags, environment, TOML file and defaults become one checked [`Config`].
//!
//! A value is taken from the first that has it: the flag, `RAFKA_<FLAG>`, the file of `--config`, the default. All four use
//! the same names: `--listen-kafka`, `RAFKA_LISTEN_KAFKA`, `listen-kafka = ".."`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::Args;
use mesh::founding::Replaced;
use serde::{Deserialize, Serialize};

use super::data_dir::WORKERS_MAX;
use super::listeners::{self, Given, KafkaListener};
use super::otlp::Endpoint;
use crate::core::groups::GroupConfig;
use crate::core::metadata::descriptor::TOPIC_PARTITIONS_MAX;

mod groups;

/// What `--help` ends with.
pub(super) const EXAMPLES: &str = "\
One node on this machine, for a first try:
  rafka-node --data-dir ./data

Three nodes that found a mesh together; the same --seeds on each, one of them its own mesh address:
  rafka-node --data-dir ./data --listen-kafka 10.0.0.1:9092 --listen-mesh 10.0.0.1:9192 --listen-http 10.0.0.1:9292 \\
             --seeds 10.0.0.1:9192,10.0.0.2:9192,10.0.0.3:9192 --token-file /etc/rafka/token

A fourth one joins at any member:
  rafka-node --data-dir ./data --listen-mesh 10.0.0.4:9192 --join 10.0.0.1:9192 --token-file /etc/rafka/token

Every flag is also an environment variable (--listen-kafka: RAFKA_LISTEN_KAFKA) and a key of the --config file
(listen-kafka = \"10.0.0.1:9092\"). A flag goes before the environment, that before the file, that before the default.

SIGTERM and SIGINT hand all leadership over and stop with exit code 0; a second one stops at once.
SIGHUP reads the --config file again: the log level changes at once, the log names what takes a restart.
Exit codes: 0 stopped, 1 refused to start, 2 wrong usage, 69 a name without an address, 70 a defect, 75 the disk failed.";

/// Flags, environment and file as they are written, before anything is checked.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Raw {
    /// Directory of this node's data; made when it is not there
    #[arg(long, env = "RAFKA_DATA_DIR", value_name = "DIR", help_heading = "Data")]
    pub data_dir: Option<PathBuf>,
    /// Bytes of a segment file, 65536 to 1073741824 [default: 67108864]
    #[arg(long, env = "RAFKA_SEGMENT_BYTES", value_name = "BYTES", help_heading = "Data")]
    pub segment_bytes: Option<u64>,
    /// Memory for recently written batches [default: 33554432]
    #[arg(long, env = "RAFKA_CACHE_BYTES", value_name = "BYTES", help_heading = "Data")]
    pub cache_bytes: Option<u64>,
    /// Free disk space below which produce requests are refused [default: 268435456]
    #[arg(long, env = "RAFKA_RESERVE_BYTES", value_name = "BYTES", help_heading = "Data")]
    pub reserve_bytes: Option<u64>,
    /// Segment logs to spread new partitions over, 1 to 64, each synced by a thread of its own; with fewer than before, those that
    /// hold partitions stay until they are empty [default: 1]
    #[arg(long, env = "RAFKA_WORKERS", value_name = "N", help_heading = "Data")]
    pub workers: Option<u64>,
    /// How often retention is looked at [default: 30000]
    #[arg(long, env = "RAFKA_RETENTION_CHECK_MS", value_name = "MS", help_heading = "Data")]
    pub retention_check_ms: Option<u64>,
    /// How fast stored records are read back to find rot, behind clients; 0 reads nothing back [default: 2]
    #[arg(long, env = "RAFKA_SCRUB_MIB_S", value_name = "MIB", help_heading = "Data")]
    pub scrub_mib_s: Option<u64>,
    /// All of them are read again at most so often; it takes longer where there is more than the rate allows [default: 86400000]
    #[arg(long, env = "RAFKA_SCRUB_EVERY_MS", value_name = "MS", help_heading = "Data")]
    pub scrub_every_ms: Option<u64>,
    /// How fast this node sends replicas what they lack that are made anew, moved or far behind, in all; 0 for no limit [default: 32]
    #[arg(long, env = "RAFKA_REBUILD_MIB_S", value_name = "MIB", help_heading = "Data")]
    pub rebuild_mib_s: Option<u64>,

    /// Where to listen for Kafka clients; port 0 takes any [default: 127.0.0.1:9092]
    #[arg(long, env = "RAFKA_LISTEN_KAFKA", value_name = "HOST:PORT", help_heading = "Addresses")]
    pub listen_kafka: Option<String>,
    /// Where to listen for other nodes [default: 127.0.0.1:9192]
    #[arg(long, env = "RAFKA_LISTEN_MESH", value_name = "HOST:PORT", help_heading = "Addresses")]
    pub listen_mesh: Option<String>,
    /// Where to listen for people and monitoring [default: 127.0.0.1:9292]
    #[arg(long, env = "RAFKA_LISTEN_HTTP", value_name = "HOST:PORT", help_heading = "Addresses")]
    pub listen_http: Option<String>,
    /// What clients are told to connect to [default: the address of --listen-kafka]
    #[arg(long, env = "RAFKA_ADVERTISE_KAFKA", value_name = "HOST:PORT", help_heading = "Addresses")]
    pub advertise_kafka: Option<String>,
    /// What other nodes are told to connect to [default: the address of --listen-mesh]
    #[arg(long, env = "RAFKA_ADVERTISE_MESH", value_name = "HOST:PORT", help_heading = "Addresses")]
    pub advertise_mesh: Option<String>,
    /// Several named listeners for Kafka clients, in place of --listen-kafka
    #[arg(long, env = "RAFKA_LISTENERS", value_name = "NAME://HOST:PORT,..", help_heading = "Addresses")]
    pub listeners: Option<String>,
    /// What the clients of each are told to connect to [default: where it listens]
    #[arg(
        long,
        env = "RAFKA_ADVERTISED_LISTENERS",
        value_name = "NAME://HOST:PORT,..",
        help_heading = "Addresses"
    )]
    #[serde(alias = "advertised.listeners")]
    pub advertised_listeners: Option<String>,

    /// Mesh addresses of the nodes that found the mesh together, this one among them
    #[arg(long, env = "RAFKA_SEEDS", value_name = "A,B,C", help_heading = "Mesh")]
    pub seeds: Option<String>,
    /// Mesh address of a member: join its mesh, never found one
    #[arg(long, env = "RAFKA_JOIN", value_name = "HOST:PORT", help_heading = "Mesh")]
    pub join: Option<String>,
    /// Number of a node whose data directory is lost: take it over, on this machine or another; its old directory is refused from then on
    #[arg(long, env = "RAFKA_REPLACE", value_name = "N", help_heading = "Mesh")]
    pub replace: Option<i32>,
    /// With --replace: also where no majority of a partition's replicas would be left; what only the lost directory held is gone then
    #[arg(
        long, env = "RAFKA_GIVE_UP_MAJORITY", value_name = "true|false", help_heading = "Mesh", num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub give_up_majority: Option<bool>,
    /// File with the mesh's secret, the same on each node; make one with: head -c 32 /dev/urandom | base64
    #[arg(long, env = "RAFKA_TOKEN_FILE", value_name = "FILE", help_heading = "Mesh")]
    pub token_file: Option<PathBuf>,
    /// Failure domain (Kafka's rack): replicas of a partition are spread over zones
    #[arg(long, env = "RAFKA_ZONE", value_name = "NAME", help_heading = "Mesh")]
    pub zone: Option<String>,
    /// Capacity relative to other nodes, 1 to 1000 [default: 1]
    #[arg(long, env = "RAFKA_WEIGHT", value_name = "N", help_heading = "Mesh")]
    pub weight: Option<u32>,
    /// How long a node may be away before its replicas are made anew on other nodes [default: 300000]
    #[arg(long, env = "RAFKA_DEAD_AFTER_MS", value_name = "MS", help_heading = "Mesh")]
    pub dead_after_ms: Option<u64>,
    /// How long a node must have been silent before another data directory may take its number over [default: 5000]
    #[arg(long, env = "RAFKA_REPLACE_AFTER_MS", value_name = "MS", help_heading = "Mesh")]
    pub replace_after_ms: Option<u64>,
    /// Replicas of the whole mesh that may be on the move at a time [default: 32]
    #[arg(long, env = "RAFKA_MOVES_AT_ONCE", value_name = "N", help_heading = "Mesh")]
    pub moves_at_once: Option<u64>,
    /// How long a preferred leader must have been in sync before it leads again [default: 30000]
    #[arg(long, env = "RAFKA_LEADER_RETURN_MS", value_name = "MS", help_heading = "Mesh")]
    pub leader_return_ms: Option<u64>,

    /// Whether asking for an unknown topic creates it [default: true]
    #[arg(long, env = "RAFKA_AUTO_CREATE_TOPICS", value_name = "true|false", help_heading = "Topics")]
    pub auto_create_topics: Option<bool>,
    /// Partitions of a topic that does not say [default: 1]
    #[arg(long, env = "RAFKA_DEFAULT_PARTITIONS", value_name = "N", help_heading = "Topics")]
    pub default_partitions: Option<i32>,
    /// Replicas of a topic that does not say; fewer when the mesh has fewer nodes [default: 3]
    #[arg(long, env = "RAFKA_DEFAULT_REPLICATION_FACTOR", value_name = "N", help_heading = "Topics")]
    pub default_replication_factor: Option<i16>,

    /// Partitions of __consumer_offsets, when it is created [default: 50]
    #[arg(long, env = "RAFKA_OFFSETS_PARTITIONS", value_name = "N", help_heading = "Groups")]
    #[serde(alias = "offsets.topic.num.partitions")]
    pub offsets_partitions: Option<i32>,
    /// How long offsets outlive the last member of their group [default: 10080]
    #[arg(long, env = "RAFKA_OFFSETS_RETENTION_MINUTES", value_name = "MINUTES", help_heading = "Groups")]
    #[serde(alias = "offsets.retention.minutes")]
    pub offsets_retention_minutes: Option<u64>,
    /// How often offsets that expired are looked for [default: 600000]
    #[arg(long, env = "RAFKA_OFFSETS_RETENTION_CHECK_MS", value_name = "MS", help_heading = "Groups")]
    #[serde(alias = "offsets.retention.check.interval.ms")]
    pub offsets_retention_check_ms: Option<u64>,
    /// Bytes of the text that a client commits with an offset [default: 4096]
    #[arg(long, env = "RAFKA_OFFSET_METADATA_MAX_BYTES", value_name = "BYTES", help_heading = "Groups")]
    #[serde(alias = "offset.metadata.max.bytes")]
    pub offset_metadata_max_bytes: Option<u64>,
    /// How long the first member of a group waits for others [default: 3000]
    #[arg(long, env = "RAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", value_name = "MS", help_heading = "Groups")]
    #[serde(alias = "group.initial.rebalance.delay.ms")]
    pub group_initial_rebalance_delay_ms: Option<u64>,
    /// Shortest session timeout of a member [default: 6000]
    #[arg(long, env = "RAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", value_name = "MS", help_heading = "Groups")]
    #[serde(alias = "group.min.session.timeout.ms")]
    pub group_min_session_timeout_ms: Option<u64>,
    /// Longest session timeout of a member [default: 1800000]
    #[arg(long, env = "RAFKA_GROUP_MAX_SESSION_TIMEOUT_MS", value_name = "MS", help_heading = "Groups")]
    #[serde(alias = "group.max.session.timeout.ms")]
    pub group_max_session_timeout_ms: Option<u64>,
    /// Members of one group [default: 10000]
    #[arg(long, env = "RAFKA_GROUP_MAX_SIZE", value_name = "N", help_heading = "Groups")]
    #[serde(alias = "group.max.size")]
    pub group_max_size: Option<u64>,

    /// Kafka clients that may be connected [default: 10000]
    #[arg(long, env = "RAFKA_MAX_CONNECTIONS", value_name = "N", help_heading = "Limits")]
    pub max_connections: Option<u32>,
    /// Of these, clients of one address, or of one /64 of IPv6 [default: nine tenths of them]
    #[arg(long, env = "RAFKA_MAX_CONNECTIONS_PER_IP", value_name = "N", help_heading = "Limits")]
    pub max_connections_per_ip: Option<u32>,
    /// Bytes of one request of a Kafka client [default: 104857600]
    #[arg(long, env = "RAFKA_SOCKET_REQUEST_MAX_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub socket_request_max_bytes: Option<u32>,
    /// Bytes of all requests in work [default: 268435456]
    #[arg(long, env = "RAFKA_QUEUED_MAX_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub queued_max_bytes: Option<u32>,
    /// Bytes of all responses that clients have not read yet; near it fetches are cut short and clients that do not read are closed
    /// [default: 268435456]
    #[arg(long, env = "RAFKA_RESPONSES_MAX_BYTES", value_name = "BYTES", help_heading = "Limits")]
    pub responses_max_bytes: Option<u32>,

    /// TOML file with any of these keys, without the dashes in front
    #[arg(long, env = "RAFKA_CONFIG", value_name = "FILE", help_heading = "Process")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// How log lines on standard error look [default: text]
    #[arg(long, env = "RAFKA_LOG_FORMAT", value_name = "text|json", help_heading = "Process")]
    pub log_format: Option<String>,
    /// error, warn, info, debug or trace; or per module, as in info,mesh=debug [default: info]
    #[arg(long, env = "RAFKA_LOG_LEVEL", value_name = "LEVEL", help_heading = "Process")]
    pub log_level: Option<String>,
    /// Collector of OpenTelemetry that gets a span of each request, as http://HOST:4318 (OTLP, JSON over HTTP) [default: none]
    #[arg(long, env = "RAFKA_OTLP_ENDPOINT", value_name = "URL", help_heading = "Process")]
    pub otlp_endpoint: Option<String>,
    /// Of so many requests one is traced [default: 1]
    #[arg(long, env = "RAFKA_OTLP_SAMPLE", value_name = "N", help_heading = "Process")]
    pub otlp_sample: Option<u64>,

    /// Between two heartbeats of nodes and of leaders [default: 200]
    #[arg(long, env = "RAFKA_HEARTBEAT_MS", value_name = "MS", help_heading = "Advanced")]
    pub heartbeat_ms: Option<u64>,
    /// Silence after which a node is suspected; at least three heartbeats [default: 1200]
    #[arg(long, env = "RAFKA_SUSPECT_MS", value_name = "MS", help_heading = "Advanced")]
    pub suspect_ms: Option<u64>,
    /// Shortest election timeout, the longest is twice that; at least three heartbeats [default: 1000]
    #[arg(long, env = "RAFKA_ELECTION_MS", value_name = "MS", help_heading = "Advanced")]
    pub election_ms: Option<u64>,
    /// How long a graceful stop waits for leadership to move [default: 3000]
    #[arg(long, env = "RAFKA_STOP_MS", value_name = "MS", help_heading = "Advanced")]
    pub stop_ms: Option<u64>,
    /// Added to this machine's clock, for drills of a clock that is wrong [default: 0]
    #[arg(
        long,
        env = "RAFKA_CLOCK_OFFSET_MS",
        value_name = "MS",
        help_heading = "Advanced",
        allow_negative_numbers = true
    )]
    pub clock_offset_ms: Option<i64>,
}

macro_rules! first_of {
    ($flags:ident, $file:ident: $($field:ident),* $(,)?) => {
        Raw { config: $flags.config, $($field: $flags.$field.or($file.$field)),* }
    };
}

impl Raw {
    /// What this has, and for the rest what `file` has.
    fn or(self, file: Raw) -> Raw {
        let flags = self;
        first_of!(flags, file: data_dir, segment_bytes, cache_bytes, reserve_bytes, workers, retention_check_ms, scrub_mib_s, scrub_every_ms, rebuild_mib_s,
            listen_kafka, listen_mesh, listen_http, advertise_kafka, advertise_mesh, listeners,
            advertised_listeners, seeds, join, replace, give_up_majority, token_file, zone, weight, dead_after_ms, replace_after_ms, moves_at_once, leader_return_ms,
            auto_create_topics, default_partitions, default_replication_factor, offsets_partitions, offsets_retention_minutes,
            offsets_retention_check_ms, offset_metadata_max_bytes, group_initial_rebalance_delay_ms, group_min_session_timeout_ms,
            group_max_session_timeout_ms, group_max_size, max_connections,
            max_connections_per_ip, socket_request_max_bytes, queued_max_bytes, responses_max_bytes, log_format, log_level, otlp_endpoint, otlp_sample, heartbeat_ms, suspect_ms, election_ms, stop_ms,
            clock_offset_ms)
    }
}

/// How a node comes to a mesh when its data directory is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It founds one of its own.
    Alone,
    /// It founds one together with the other addresses of this list, or joins when there is one already.
    Seeds(Vec<String>),
    /// It joins at this address.
    Join(String),
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What the system is asked for; the first that it gives is taken. Never empty.
    pub addresses: Vec<SocketAddr>,
    /// The host as it was written: others may know it by name only.
    pub host: String,
}

impl Listen {
    /// `host:port` as others may write it, with the port that the listener got.
    pub fn with_port(&self, port: u16) -> String {
        format!("{}:{port}", self.host)
    }

    /// Whether it stands for every address of this machine.
    pub fn is_unspecified(&self) -> bool {
        self.addresses.iter().any(|address| address.ip().is_unspecified())
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|address| address.ip().is_loopback())
    }

    /// The port that was asked for.
    pub fn port(&self) -> u16 {
        self.addresses.first().map_or(0, SocketAddr::port)
    }
}

/// Everything a node is told, checked.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the flag of its name")]
pub struct Config {
    pub data_dir: PathBuf,
    pub segment_bytes: u32,
    pub cache_bytes: u64,
    pub reserve_bytes: u64,
    pub workers: usize,
    pub retention_check_ms: u64,
    pub scrub_mib_s: u64,
    pub scrub_every_ms: u64,
    pub rebuild_mib_s: u64,
    /// Where Kafka clients are served; never empty.
    pub listeners: Vec<KafkaListener>,
    pub listen_mesh: Listen,
    pub listen_http: Listen,
    pub advertise_mesh: Option<String>,
    pub entry: Entry,
    pub replaces: Option<Replaced>,
    /// The mesh's secret, 32 bytes made of what is in `--token-file`.
    pub secret: Option<[u8; 32]>,
    pub zone: String,
    pub weight: u32,
    pub dead_after_ms: u64,
    pub replace_after_ms: u64,
    pub moves_at_once: usize,
    pub leader_return_ms: u64,
    pub auto_create_topics: bool,
    pub default_partitions: i32,
    pub default_replication_factor: i16,
    pub groups: GroupConfig,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    pub socket_request_max_bytes: u32,
    pub queued_max_bytes: u32,
    pub responses_max_bytes: u32,
    pub log_format: LogFormat,
    pub log_level: String,
    pub otlp_endpoint: Option<Endpoint>,
    pub otlp_sample: u64,
    pub heartbeat_ms: u64,
    pub suspect_ms: u64,
    pub election_ms: u64,
    pub stop_ms: u64,
    pub clock_offset_ms: i64,
    /// As it was written, by the names of the flags: what a reload is compared with.
    pub given: serde_json::Map<String, serde_json::Value>,
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value is not allowed.
    #[error("--{key} (RAFKA_{}): {value:?} is not allowed; {allowed}", key.to_uppercase().replace('-', "_"))]
    Value {
        /// The flag's name.
        key: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: String,
    },
    /// A host has no address, perhaps for a moment.
    #[error(
        "--{key}: the host {host:?} has no address: {error}; check its name and this machine's name service"
    )]
    Unresolved {
        /// The flag that names it.
        key: &'static str,
        /// As written.
        host: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Something needed was not given, or two things exclude each other.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read.
    #[error("--{key}: cannot read {}: {error}", path.display())]
    File {
        /// The flag that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file of `--config` is not right; the error names line and key.
    #[error("--config: {} is not right: {error}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: toml::de::Error,
    },
}

pub(super) fn wrong(key: &'static str, value: impl ToString, allowed: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: value.to_string(), allowed: allowed.into() }
}

impl Config {
    /// Adds the file that `--config` names to `flags` (which hold the environment already), and checks everything.
    ///
    /// # Errors
    /// The first thing that is wrong, with its name, its value and what is allowed.
    pub fn load(flags: Raw) -> Result<Config, ConfigError> {
        let file = match &flags.config {
            None => Raw::default(),
            Some(path) => {
                let text = read(path, "config")?;
                toml::from_str(&text).map_err(|error| ConfigError::Toml { path: path.clone(), error })?
            }
        };
        Config::check(flags.or(file)).and_then(reachable)
    }

    fn check(raw: Raw) -> Result<Config, ConfigError> {
        let given = given(&raw);
        let groups = groups::check(&raw)?;
        let data_dir = raw.data_dir.ok_or_else(|| {
            ConfigError::Usage(
                "--data-dir is missing: name a directory for this node's data, for example --data-dir ./data"
                    .into(),
            )
        })?;
        let heartbeat_ms = within("heartbeat-ms", raw.heartbeat_ms.unwrap_or(200), 10, 10_000)?;
        let at_least_three = |key, value: u64| {
            let (low, high) = (3 * heartbeat_ms, 600_000);
            within(key, value, low, high)
        };
        let max_connections = connections("max-connections", raw.max_connections, 10_000)?;
        Ok(Config {
            data_dir,
            segment_bytes: narrow(within(
                "segment-bytes",
                raw.segment_bytes.unwrap_or(64 << 20),
                64 << 10,
                1 << 30,
            )?),
            cache_bytes: within("cache-bytes", raw.cache_bytes.unwrap_or(32 << 20), 0, 1 << 40)?,
            reserve_bytes: within("reserve-bytes", raw.reserve_bytes.unwrap_or(256 << 20), 0, 1 << 50)?,
            workers: narrow(within("workers", raw.workers.unwrap_or(1), 1, WORKERS_MAX)?) as usize,
            retention_check_ms: within(
                "retention-check-ms",
                raw.retention_check_ms.unwrap_or(30_000),
                10,
                86_400_000,
            )?,
            scrub_mib_s: within("scrub-mib-s", raw.scrub_mib_s.unwrap_or(2), 0, 100_000)?,
            scrub_every_ms: within(
                "scrub-every-ms",
                raw.scrub_every_ms.unwrap_or(86_400_000),
                100,
                31_536_000_000,
            )?,
            rebuild_mib_s: within("rebuild-mib-s", raw.rebuild_mib_s.unwrap_or(32), 0, 100_000)?,
            listeners: listeners::parse(Given {
                listen_kafka: raw.listen_kafka,
                advertise_kafka: raw.advertise_kafka,
                listeners: raw.listeners,
                advertised_listeners: raw.advertised_listeners,
            })?,
            listen_mesh: socket("listen-mesh", raw.listen_mesh, "127.0.0.1:9192")?,
            listen_http: socket("listen-http", raw.listen_http, "127.0.0.1:9292")?,
            advertise_mesh: advertised("advertise-mesh", raw.advertise_mesh)?,
            replaces: replaces(raw.replace, raw.give_up_majority, raw.join.is_some() || raw.seeds.is_some())?,
            entry: entry(raw.seeds, raw.join)?,
            secret: raw.token_file.as_deref().map(secret).transpose()?,
            zone: zone(raw.zone)?,
            weight: narrow(within("weight", u64::from(raw.weight.unwrap_or(1)), 1, 1000)?),
            dead_after_ms: within("dead-after-ms", raw.dead_after_ms.unwrap_or(300_000), 1_000, 86_400_000)?,
            replace_after_ms: within(
                "replace-after-ms",
                raw.replace_after_ms.unwrap_or(5_000),
                0,
                86_400_000,
            )?,
            moves_at_once: narrow(within("moves-at-once", raw.moves_at_once.unwrap_or(32), 1, 10_000)?)
                as usize,
            leader_return_ms: within(
                "leader-return-ms",
                raw.leader_return_ms.unwrap_or(30_000),
                0,
                86_400_000,
            )?,
            auto_create_topics: raw.auto_create_topics.unwrap_or(true),
            default_partitions: match raw.default_partitions.unwrap_or(1) {
                given @ 1..=TOPIC_PARTITIONS_MAX => given,
                given => {
                    return Err(wrong(
                        "default-partitions",
                        given,
                        format!("it is 1 to {TOPIC_PARTITIONS_MAX}"),
                    ));
                }
            },
            default_replication_factor: match raw.default_replication_factor.unwrap_or(3) {
                given @ 1..=15 => given,
                given => return Err(wrong("default-replication-factor", given, "it is 1 to 15")),
            },
            groups,
            max_connections,
            max_connections_per_ip: connections(
                "max-connections-per-ip",
                raw.max_connections_per_ip,
                max_connections - max_connections / 10,
            )?,
            socket_request_max_bytes: bytes(
                "socket-request-max-bytes",
                raw.socket_request_max_bytes,
                100 << 20,
            )?,
            queued_max_bytes: bytes("queued-max-bytes", raw.queued_max_bytes, 256 << 20)?,
            responses_max_bytes: bytes("responses-max-bytes", raw.responses_max_bytes, 256 << 20)?,
            log_format: match raw.log_format.as_deref() {
                None | Some("text") => LogFormat::Text,
                Some("json") => LogFormat::Json,
                Some(other) => return Err(wrong("log-format", other, "it is text or json")),
            },
            log_level: log_level(raw.log_level)?,
            otlp_endpoint: raw.otlp_endpoint.map(|text| collector(&text)).transpose()?,
            otlp_sample: within("otlp-sample", raw.otlp_sample.unwrap_or(1), 1, u64::MAX)?,
            heartbeat_ms,
            suspect_ms: at_least_three(
                "suspect-ms",
                raw.suspect_ms.unwrap_or(heartbeat_ms.saturating_mul(6)),
            )?,
            election_ms: at_least_three(
                "election-ms",
                raw.election_ms.unwrap_or(heartbeat_ms.saturating_mul(5)),
            )?,
            stop_ms: within("stop-ms", raw.stop_ms.unwrap_or(3_000), 0, 600_000)?,
            clock_offset_ms: raw.clock_offset_ms.unwrap_or(0),
            given,
        })
    }
}

fn read(path: &Path, key: &'static str) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::File { key, path: path.to_owned(), error })
}

fn within(key: &'static str, given: u64, low: u64, high: u64) -> Result<u64, ConfigError> {
    if (low..=high).contains(&given) {
        Ok(given)
    } else {
        Err(wrong(key, given, format!("it is {low} to {high}")))
    }
}

/// Of a number that `within` bounded below 2^32.
fn narrow(bounded: u64) -> u32 {
    u32::try_from(bounded).unwrap_or(u32::MAX)
}

fn connections(key: &'static str, given: Option<u32>, default: usize) -> Result<usize, ConfigError> {
    match given {
        Some(given) => within(key, u64::from(given), 1, 1_000_000).map(|count| narrow(count) as usize),
        None => Ok(default),
    }
}

fn bytes(key: &'static str, given: Option<u32>, default: u32) -> Result<u32, ConfigError> {
    within(key, u64::from(given.unwrap_or(default)), 64 << 10, 1 << 30).map(narrow)
}

/// What was given, by the names of the flags.
fn given(raw: &Raw) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(raw) {
        Ok(serde_json::Value::Object(fields)) => fields,
        // Paths that are no text cannot be written down; they are told apart by nobody.
        _ => serde_json::Map::new(),
    }
}

/// An address to listen on. A host that is left out stands for every address of this machine.
pub(super) fn socket(key: &'static str, given: Option<String>, default: &str) -> Result<Listen, ConfigError> {
    const FORM: &str = "write HOST:PORT with an address of this machine, for example 127.0.0.1:9092, [::1]:9092 or 0.0.0.0:9092";
    let text = given.unwrap_or_else(|| default.to_owned());
    let text = text.trim();
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong(key, text, FORM))?;
    let port: u16 = port.parse().map_err(|_no_number| wrong(key, text, FORM))?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Err(wrong(key, text, format!("{FORM}; an address of IPv6 goes in brackets")));
    }
    let addresses: Vec<SocketAddr> = match host {
        // Both families where the system has both.
        "" => vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()],
        _ => match text.to_socket_addrs() {
            Ok(found) => found.collect(),
            Err(error) => return Err(ConfigError::Unresolved { key, host: host.to_owned(), error }),
        },
    };
    if addresses.is_empty() {
        return Err(wrong(key, text, FORM));
    }
    Ok(Listen { addresses, host: host.to_owned() })
}

/// Nobody can connect to "any address of this machine".
fn reachable(config: Config) -> Result<Config, ConfigError> {
    if config.listen_mesh.is_unspecified() && config.advertise_mesh.is_none() {
        return Err(ConfigError::Usage(
            "--listen-mesh listens on every address of this machine: say with --advertise-mesh HOST:PORT which one nodes use"
                .into(),
        ));
    }
    let own = config.advertise_mesh.clone().unwrap_or(own_mesh(&config.listen_mesh));
    if config.entry == Entry::Join(own) {
        return Err(ConfigError::Usage(
            "--join names this node's own address: name a member of the mesh that is to be joined".into(),
        ));
    }
    Ok(config)
}

fn advertised(key: &'static str, given: Option<String>) -> Result<Option<String>, ConfigError> {
    given.map(|text| address(key, &text)).transpose()
}

/// What other nodes are told when nothing else was said.
pub(super) fn own_mesh(listen: &Listen) -> String {
    canonical(&listen.with_port(listen.port()))
}

/// One spelling for one address: `--seeds` and the address that a node advertises are compared as texts.
fn canonical(text: &str) -> String {
    match text.parse::<SocketAddr>() {
        Ok(address) => address.to_string(),
        Err(_a_name) => text.to_ascii_lowercase(),
    }
}

/// `host:port` as others are to write it; the host may be a name that only they can resolve.
pub(super) fn address(key: &'static str, text: &str) -> Result<String, ConfigError> {
    let text = text.trim();
    let right = text.rsplit_once(':').is_some_and(|(host, port)| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let six = inner.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
        let name =
            host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        let host = six || (name && !host.is_empty() && host.len() <= 255);
        host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if right {
        Ok(canonical(text))
    } else {
        Err(wrong(
            key,
            text,
            "write HOST:PORT, for example node-1.example:9192, 10.0.0.1:9192 or [fd00::1]:9192",
        ))
    }
}

/// `asks` says whether there is anybody to ask for the number.
fn replaces(
    replace: Option<i32>,
    give_up_majority: Option<bool>,
    asks: bool,
) -> Result<Option<Replaced>, ConfigError> {
    let gives_up = give_up_majority.unwrap_or(false);
    match replace {
        Some(node_id) if node_id < 1 => Err(wrong("replace", node_id, "it is the number of a node, 1 or more")),
        Some(_) if !asks => Err(ConfigError::Usage(
            "--replace needs --join HOST:PORT: a member of the mesh says whether the number may be taken over".into(),
        )),
        None if gives_up => Err(ConfigError::Usage(
            "--give-up-majority goes with --replace N, the number of the node whose data is lost".into(),
        )),
        given => Ok(given.map(|node_id| Replaced { node_id, gives_up })),
    }
}

fn entry(seeds: Option<String>, join: Option<String>) -> Result<Entry, ConfigError> {
    match (seeds, join) {
        (None, None) => Ok(Entry::Alone),
        (Some(_), Some(_)) => Err(ConfigError::Usage(
            "--seeds and --join exclude each other: --seeds founds a mesh with the other seeds, --join enters one that is there"
                .into(),
        )),
        (None, Some(join)) => address("join", &join).map(Entry::Join),
        (Some(seeds), None) => {
            let list: Result<Vec<String>, ConfigError> = seeds
                .split(',')
                .filter(|text| !text.trim().is_empty())
                .map(|text| address("seeds", text))
                .collect();
            let mut list = list?;
            list.sort();
            list.dedup();
            if list.is_empty() {
                Err(wrong("seeds", seeds, "write HOST:PORT,HOST:PORT,.."))
            } else {
                Ok(Entry::Seeds(list))
            }
        }
    }
}

/// At least so many bytes make a secret.
const TOKEN_BYTES_MIN: usize = 16;

fn secret(path: &Path) -> Result<[u8; 32], ConfigError> {
    let text = read(path, "token-file")?;
    let token = text.trim();
    if token.len() < TOKEN_BYTES_MIN {
        let allowed = format!(
            "the file must hold at least {TOKEN_BYTES_MIN} characters; make one with: head -c 32 /dev/urandom | base64"
        );
        return Err(wrong("token-file", path.display(), allowed));
    }
    Ok(blake3::derive_key("rafka mesh secret 1", token.as_bytes()))
}

fn zone(given: Option<String>) -> Result<String, ConfigError> {
    let zone = given.unwrap_or_default();
    let right = zone.len() <= 200 && zone.chars().all(|c| c.is_ascii_graphic());
    if right { Ok(zone) } else { Err(wrong("zone", zone, "it is at most 200 visible ASCII characters")) }
}

fn collector(text: &str) -> Result<Endpoint, ConfigError> {
    Endpoint::parse(text).ok_or_else(|| {
        wrong(
            "otlp-endpoint",
            text,
            "write http://HOST:PORT, for example http://127.0.0.1:4318; there is no TLS",
        )
    })
}

fn log_level(given: Option<String>) -> Result<String, ConfigError> {
    let level = given.unwrap_or_else(|| "info".to_owned());
    let known = |level: &str| matches!(level, "off" | "error" | "warn" | "info" | "debug" | "trace");
    let right = level.split(',').all(|part| known(part.rsplit_once('=').map_or(part, |(_, level)| level)));
    if right {
        Ok(level)
    } else {
        Err(wrong(
            "log-level",
            level,
            "it is error, warn, info, debug or trace, or per module as in info,mesh=debug",
        ))
    }
}

#[cfg(test)]
mod tests;
