//! What a client may ask of a node, and what it gets: Kafka's requests without their encoding.
//!
//! The Kafka layer decodes, bounds and checks frames, then hands these values to [`Node::step`](super::Node::step);
//! each request is answered by exactly one response with the same [`RequestId`], unless it is cancelled.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesh::raft::ReplicaId;
use serde::{Deserialize, Serialize};

use super::error::ErrorCode;
use super::groups::api::{GroupRequest, GroupResponse};
use super::metadata::configs::Edit;
use super::metadata::quotas::{Entity, Limit};
use super::metadata::{NodeState, PartitionKey, Registration};

/// Ties a response to its request; unique within one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Kafka's topic id (KIP-516), 16 bytes as in a UUID. Never reused, also when a name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub [u8; 16]);

/// How a client names a topic: by name up to Fetch 12 and Produce 12, by id above.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By name.
    Name(String),
    /// By id; the empty id is a protocol error and is refused by the Kafka layer.
    Id(TopicId),
}

/// A request of a client. `Vec`s keep the client's order and so do the responses.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own, see the protocol guide")]
pub enum Request {
    Produce {
        acks: Acks,
        timeout_ms: u32,
        partitions: Vec<ProducePartition>,
    },
    Fetch {
        max_wait_ms: u32,
        min_bytes: u32,
        max_bytes: u32,
        partitions: Vec<FetchPartition>,
        /// The zone that the client says it is in; empty when it does not say.
        rack: String,
    },
    ListOffsets {
        partitions: Vec<ListOffsetsPartition>,
    },
    OffsetForLeaderEpoch {
        partitions: Vec<EpochPartition>,
    },
    /// `producer_id`/`producer_epoch` are -1 for a new producer; otherwise KIP-360: same id with the epoch bumped.
    InitProducerId {
        producer_id: i64,
        producer_epoch: i16,
    },
    Metadata {
        topics: MetadataTopics,
        allow_auto_create: bool,
    },
    CreateTopics {
        topics: Vec<CreateTopic>,
        validate_only: bool,
        timeout_ms: u32,
    },
    DeleteTopics {
        topics: Vec<TopicRef>,
        timeout_ms: u32,
    },
    DescribeConfigs {
        resources: Vec<ConfigResource>,
    },
    AlterConfigs {
        resources: Vec<AlterResource>,
        validate_only: bool,
    },
    DescribeQuotas(QuotaFilter),
    AlterQuotas {
        entries: Vec<AlterQuota>,
        validate_only: bool,
    },
    CreatePartitions {
        topics: Vec<GrowTopic>,
        validate_only: bool,
        timeout_ms: u32,
    },
    DeleteRecords {
        timeout_ms: u32,
        partitions: Vec<DeleteRecordsPartition>,
    },
    /// `partitions` is `None` for all of them.
    ElectLeaders {
        election: ElectionType,
        partitions: Option<Vec<ElectPartition>>,
        timeout_ms: u32,
    },
    AlterReassignments {
        partitions: Vec<Reassignment>,
        /// Whether a partition may have another number of replicas than now.
        may_change_factor: bool,
        timeout_ms: u32,
    },
    /// `partitions` is `None` for all that move.
    ListReassignments {
        partitions: Option<BTreeMap<String, BTreeSet<i32>>>,
    },
    /// `partitions` is `None` for all that are on this node.
    DescribeLogDirs {
        partitions: Option<BTreeMap<String, BTreeSet<i32>>>,
    },
    /// About consumer groups.
    Group(GroupRequest),
    /// Not Kafka's: a node asks a member to enter it into the registry, under the number of a node that is there if the registration
    /// names one, or has the mesh address of one.
    RegisterNode {
        /// Who it is.
        registration: Registration,
        /// With the number it follows a life whose data may be nowhere else: an operator says that it is lost.
        gives_up: bool,
    },
    /// Not Kafka's: a topic shall have so many replicas of each partition. Answered as a reassignment of those that have another number.
    ChangeFactor {
        topic: String,
        factor: i32,
        timeout_ms: u32,
    },
    /// Not Kafka's: what an operator decides about the mesh.
    Decide(Decision),
    /// Not Kafka's: an operator gives up the lost majority of a partition.
    Recover(Recover),
}

/// From which survivor a partition shall go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recover {
    /// Which partition, a metadata shard maybe.
    pub key: PartitionKey,
    /// The triple of the survivor as it is now.
    pub survivor: ReplicaId,
    /// Who decides.
    pub by: String,
    /// Why.
    pub why: String,
    /// What the replicas hold that answered, for people.
    pub found: String,
}

/// What an operator may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// What becomes of a node.
    NodeState {
        /// Which.
        node: i32,
        /// The decision.
        state: NodeState,
    },
    /// Whether replicas are moved for balance.
    PauseBalancing(bool),
}

/// When a produce request is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Never answered; an error closes the connection.
    None,
    /// Synced on the leader.
    Leader,
    /// Committed: synced on a majority of the voters.
    All,
}

/// One record batch for one partition. The Kafka layer checked magic 2, CRC, length, counts against
/// the last offset delta, and that it is no control batch.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ProducePartition {
    pub topic: TopicRef,
    pub partition: i32,
    pub batch: Batch,
}

/// A checked record batch as the client sent it (base offset and leader epoch are whatever it wrote).
#[derive(Clone, Debug)]
pub struct Batch {
    /// The whole batch, from base offset on.
    pub bytes: Bytes,
    /// Number of records = last offset delta + 1; at least 1.
    pub record_count: u32,
    /// Idempotent producer, or `None`.
    pub producer: Option<ProducerStamp>,
    /// Largest timestamp of the batch's header.
    pub max_timestamp_ms: i64,
}

/// Producer id, epoch and first sequence of a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ProducerStamp {
    pub id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
}

/// One partition of a Fetch.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct FetchPartition {
    pub topic: TopicRef,
    pub partition: i32,
    pub offset: i64,
    /// Leader epoch the client knows, -1 when it does not (KIP-320).
    pub leader_epoch: i32,
    /// Leader epoch of the record before `offset` as the client read it, -1 when it does not say (KIP-595).
    pub last_epoch: i32,
    pub max_bytes: u32,
}

/// One partition of a ListOffsets. `timestamp`: -1 latest, -2 earliest, -3 max timestamp, -4 earliest local,
/// otherwise the first offset with a timestamp at or after it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ListOffsetsPartition {
    pub topic: TopicRef,
    pub partition: i32,
    pub leader_epoch: i32,
    pub timestamp: i64,
}

/// One partition of an OffsetForLeaderEpoch.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct EpochPartition {
    pub topic: TopicRef,
    pub partition: i32,
    pub current_leader_epoch: i32,
    pub leader_epoch: i32,
}

/// Which topics a Metadata request asks for.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "obvious")]
pub enum MetadataTopics {
    All,
    Some(Vec<TopicRef>),
}

/// A topic to create. `partitions` and `replication_factor` are -1 for the broker's defaults;
/// `assignment` (partition, nodes) overrides both.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct CreateTopic {
    pub name: String,
    pub partitions: i32,
    pub replication_factor: i16,
    pub assignment: Vec<(i32, Vec<i32>)>,
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that shall have more partitions: `count` in all. `assignment` gives the nodes of each new one, `None` leaves
/// that to placement.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct GrowTopic {
    pub name: String,
    pub count: i32,
    pub assignment: Option<Vec<Vec<i32>>>,
}

/// One partition of a DeleteRecords. Records below `offset` go; -1 stands for the high watermark.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct DeleteRecordsPartition {
    pub topic: TopicRef,
    pub partition: i32,
    pub offset: i64,
}

/// Who shall be elected (KIP-460).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The first of the replicas, if it is in sync.
    Preferred,
    /// Whoever is up. Never done here.
    Unclean,
}

/// One partition of an ElectLeaders.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "obvious")]
pub struct ElectPartition {
    pub topic: String,
    pub partition: i32,
}

/// What DescribeConfigs asks about. `keys` is `None` for all.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "obvious")]
pub enum ConfigResource {
    Topic {
        name: String,
        keys: Option<Vec<String>>,
    },
    /// A broker by its id as text; other than the asked node is refused. Without a name: what is set for all brokers.
    Broker {
        name: String,
        keys: Option<Vec<String>>,
    },
}

/// Whose configs are altered, and how.
#[derive(Clone, Debug)]
pub struct AlterResource {
    /// Kafka's resource type: 2 topic, 4 broker.
    pub resource_type: i8,
    /// A topic's name, or a broker's id as text; empty for all brokers.
    pub name: String,
    /// What is not named is as if nobody had said anything (AlterConfigs, not IncrementalAlterConfigs).
    pub replace: bool,
    /// The changes, not checked yet.
    pub edits: Vec<Edit>,
}

/// Which quotas are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaFilter {
    /// Of which users; `None` does not ask.
    pub user: Option<QuotaMatch>,
    /// Of which client ids.
    pub client_id: Option<QuotaMatch>,
    /// Not those that name more than what is asked.
    pub strict: bool,
}

/// Which of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaMatch {
    /// The one of this name.
    Named(String),
    /// The default.
    Default,
    /// All.
    Any,
}

/// A quota that is to be altered.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterQuota {
    /// The entity as the client wrote it: types and names, none for a default.
    pub named: Vec<(String, Option<String>)>,
    /// The same.
    pub entity: Entity,
    /// Kafka's keys with their values; `None` takes one back. Not checked yet.
    pub changes: Vec<(String, Option<f64>)>,
}

/// The answer to a [`Request`], variant by variant.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub enum Response {
    Produce {
        partitions: Vec<ProduceResult>,
    },
    Fetch {
        partitions: Vec<FetchResult>,
    },
    ListOffsets {
        partitions: Vec<ListOffsetsResult>,
    },
    OffsetForLeaderEpoch {
        partitions: Vec<EpochResult>,
    },
    InitProducerId {
        error: ErrorCode,
        producer_id: i64,
        producer_epoch: i16,
    },
    Metadata(MetadataResult),
    CreateTopics {
        topics: Vec<CreateTopicResult>,
    },
    DeleteTopics {
        topics: Vec<DeleteTopicResult>,
    },
    DescribeConfigs {
        resources: Vec<ConfigResult>,
    },
    AlterConfigs {
        resources: Vec<AlterResult>,
    },
    DescribeQuotas {
        entries: Vec<QuotaEntry>,
    },
    AlterQuotas {
        entries: Vec<AlterQuotaResult>,
    },
    CreatePartitions {
        topics: Vec<GrowResult>,
    },
    DeleteRecords {
        partitions: Vec<DeleteRecordsResult>,
    },
    ElectLeaders {
        partitions: Vec<ElectResult>,
    },
    AlterReassignments {
        partitions: Vec<ReassignResult>,
    },
    ListReassignments {
        error: ErrorCode,
        partitions: Vec<OngoingReassignment>,
    },
    DescribeLogDirs(LogDir),
    /// About consumer groups.
    Group(GroupResponse),
    /// `node` is -1 on error.
    RegisterNode {
        error: ErrorCode,
        message: Option<String>,
        node: i32,
    },
    /// Whether a decision is made.
    Decided {
        error: ErrorCode,
        message: Option<String>,
    },
}

/// Where the replicas of a partition shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The nodes, preferred leader first; `None` cancels what is in progress.
    pub replicas: Option<Vec<i32>>,
}

/// Whether a reassignment is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ReassignResult {
    pub topic: String,
    pub partition: i32,
    pub error: ErrorCode,
    /// For people, when there is an error.
    pub message: Option<String>,
}

/// A partition whose replicas are on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct OngoingReassignment {
    pub topic: String,
    pub partition: i32,
    /// Those that shall be, then those that leave.
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

/// One partition of a produce response.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ProduceResult {
    pub topic: TopicRef,
    pub partition: i32,
    pub error: ErrorCode,
    /// -1 on error.
    pub base_offset: i64,
    /// When the leader appended it, of a topic whose records get that time; else -1.
    pub log_append_time_ms: i64,
    /// -1 on error.
    pub log_start_offset: i64,
    /// With NOT_LEADER_OR_FOLLOWER: who leads as far as this node knows (KIP-951).
    pub leader: Option<LeaderHint>,
    /// For people, when there is an error.
    pub message: Option<String>,
}

/// Who leads a partition, as a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "obvious")]
pub struct LeaderHint {
    pub node: i32,
    pub leader_epoch: i32,
}

/// A stored batch on its way to a consumer; the receiver writes `base_offset` and `leader_epoch` into its copy.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "obvious")]
pub struct StoredBatch {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub bytes: Bytes,
}

/// One partition of a fetch response.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct FetchResult {
    pub topic: TopicRef,
    pub topic_id: TopicId,
    pub partition: i32,
    pub error: ErrorCode,
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub batches: Vec<StoredBatch>,
    /// The client read what is not in this log: the newest epoch that it shares, and where that ends (KIP-595). Without an error.
    pub diverging: Option<(i32, i64)>,
    /// A replica nearer to the client, which it shall ask from now on (KIP-392). Without an error or batches.
    pub preferred_read_replica: Option<i32>,
    pub leader: Option<LeaderHint>,
}

/// One partition of a ListOffsets response.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ListOffsetsResult {
    pub topic: TopicRef,
    pub partition: i32,
    pub error: ErrorCode,
    pub timestamp: i64,
    pub offset: i64,
    pub leader_epoch: i32,
    /// Where the record is when it lies in a compressed batch; until somebody unpacked that, `timestamp` and `offset` are
    /// no later than the record's.
    pub search: Option<Search>,
}

/// The first record at or after a time, in one of these batches.
#[derive(Clone, Debug)]
pub struct Search {
    /// Its timestamp is at least this, in milliseconds.
    pub at_ms: i64,
    /// Its offset is at least this: the log start.
    pub from: i64,
    /// Where to look, in this order.
    pub batches: Vec<StoredBatch>,
}

/// One partition of an OffsetForLeaderEpoch response.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct EpochResult {
    pub topic: TopicRef,
    pub partition: i32,
    pub error: ErrorCode,
    pub leader_epoch: i32,
    pub end_offset: i64,
}

/// A Metadata answer.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct MetadataResult {
    pub cluster_id: String,
    /// The node asked: there is no controller, and every node serves admin requests.
    pub controller: i32,
    pub brokers: Vec<Broker>,
    pub topics: Vec<TopicMetadata>,
}

/// A live node as clients see it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "obvious")]
pub struct Broker {
    pub node: i32,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

/// A topic as clients see it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct TopicMetadata {
    pub error: ErrorCode,
    pub name: Option<String>,
    pub topic_id: TopicId,
    pub internal: bool,
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition as clients see it. `leader` is -1 and `error` LEADER_NOT_AVAILABLE while unknown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct PartitionMetadata {
    pub error: ErrorCode,
    pub partition: i32,
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
    pub offline: Vec<i32>,
}

/// The outcome of one topic's creation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct CreateTopicResult {
    pub name: String,
    pub topic_id: TopicId,
    pub error: ErrorCode,
    pub message: Option<String>,
    pub partitions: i32,
    pub replication_factor: i16,
    pub configs: Vec<ConfigEntry>,
}

/// The outcome of one topic's deletion.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct DeleteTopicResult {
    pub name: Option<String>,
    pub topic_id: TopicId,
    pub error: ErrorCode,
    pub message: Option<String>,
}

/// The outcome of one topic's growth.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct GrowResult {
    pub name: String,
    pub error: ErrorCode,
    pub message: Option<String>,
}

/// One partition of a DeleteRecords response.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct DeleteRecordsResult {
    pub topic: TopicRef,
    pub partition: i32,
    /// The log start offset, -1 on error.
    pub low_watermark: i64,
    pub error: ErrorCode,
}

/// One partition of an ElectLeaders response.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ElectResult {
    pub topic: String,
    pub partition: i32,
    pub error: ErrorCode,
    pub message: Option<String>,
}

/// The one data directory of this node.
#[derive(Clone, Debug, Default)]
pub struct LogDir {
    /// Its path.
    pub path: String,
    /// Bytes that can still be written, -1 when not known.
    pub usable_bytes: i64,
    /// Replicas on this node, by topic and partition.
    pub replicas: Vec<LogDirReplica>,
}

/// One replica as DescribeLogDirs tells it.
#[derive(Clone, Debug)]
pub struct LogDirReplica {
    /// Name of its topic.
    pub topic: String,
    /// Its number in the topic.
    pub partition: i32,
    /// Bytes of its entries on disk.
    pub bytes: i64,
    /// How far its log end is from the high watermark, in offsets.
    pub lag: i64,
}

/// One resource of a DescribeConfigs response.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ConfigResult {
    pub error: ErrorCode,
    pub message: Option<String>,
    /// Kafka's resource type: 2 topic, 4 broker.
    pub resource_type: i8,
    pub name: String,
    pub entries: Vec<ConfigEntry>,
}

/// One resource of an answer to AlterConfigs.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct AlterResult {
    pub error: ErrorCode,
    pub message: Option<String>,
    pub resource_type: i8,
    pub name: String,
}

/// One entry of an answer to AlterClientQuotas.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct AlterQuotaResult {
    pub error: ErrorCode,
    pub message: Option<String>,
    pub named: Vec<(String, Option<String>)>,
}

/// One quota.
#[derive(Clone, Debug)]
pub struct QuotaEntry {
    /// Whose.
    pub entity: Entity,
    /// Its limits.
    pub limits: Vec<(Limit, f64)>,
}

/// Where a config's value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigSource {
    /// For the topic.
    Topic,
    /// For one node.
    Node,
    /// For all nodes.
    Cluster,
    /// By the node's flags.
    Static,
    /// Nowhere.
    Default,
}

impl ConfigSource {
    /// Kafka's number of it.
    pub const fn code(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::Node => 2,
            Self::Cluster => 3,
            Self::Static => 4,
            Self::Default => 5,
        }
    }

    /// A word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Node => "node",
            Self::Cluster => "cluster",
            Self::Static => "flag",
            Self::Default => "default",
        }
    }
}

/// One value of a config, and where it is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "obvious")]
pub struct ConfigSynonym {
    pub name: String,
    pub value: String,
    pub source: ConfigSource,
}

/// One config key with its value and where it comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigEntry {
    /// Kafka's name of the key.
    pub name: String,
    /// Its value as text.
    pub value: Option<String>,
    /// Where it is set.
    pub source: ConfigSource,
    /// It cannot be altered over Kafka.
    pub read_only: bool,
    /// Kafka's config type (1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list).
    pub kind: i8,
    /// One sentence for people.
    pub documentation: String,
    /// All values that it has anywhere, the one in force first.
    pub synonyms: Vec<ConfigSynonym>,
}
