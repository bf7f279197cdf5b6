//! Metadata: which topics, replicas and nodes there are, as deterministic state machines of 16 replicated
//! shards.
//!
//! A topic belongs to shard `blake3(name) mod 16`; its id says the same in its last four bits, so that a
//! partition finds its shard without its topic's name. A shard is an ordinary partition (of the reserved
//! topic [`METADATA_TOPIC`]) whose entries of kind `Command` hold encoded [`Command`]s. Shard 0 also holds
//! the node registry and the descriptors of all shards.
//!
//! Reading order and interface:
//!
//! - [`descriptor`]: [`PartitionKey`], [`ShardId`], [`Descriptor`], [`Topic`], [`NodeInfo`], [`Founding`].
//! - [`endpoint`]: the listeners of a node in one text.
//! - [`command`]: [`Command`] with `encode`/`decode`; byte table there.
//! - [`shard`]: [`Shard`]: `founded(shard, &founding)`, `apply(index, &payload) -> Outcome`, `version()`,
//!   `snapshot()`, `restore(&bytes)`, `update_since(version)`, `confirms_removal(key, triple)`.
//! - [`update`]: [`ShardUpdate`] (from a shard's replica to any node) with `encode`/`decode`; [`EncodedUpdate`] on its way.
//! - [`view`]: [`View`]: what a node knows of all shards: `merge(update) -> Merge`, lookups by name, id, key,
//!   node.
//! - [`configs`]: topic and broker configs: validation, typed [`configs::TopicConfig`], DescribeConfigs
//!   answers.
//! - [`plan`]: [`plan::plan_topic`]: a client's CreateTopic to a command, or the error that Kafka users know.
//! - [`quotas`]: who may write and read how much.
//! - [`reassign`]: where an operator wants the replicas of a partition to be.
//! - [`balancing`]: what the leader of shard 0 moves next, and whom it calls dead.
//! - [`stranded`]: which partitions would be without a majority if a node's life were given up.
//! - [`lifecycle`]: [`lifecycle::decide`] for a node, [`lifecycle::Repairs`] for a shard's leader,
//!   [`lifecycle::next_change`] and [`lifecycle::replaced`] for a partition's leader.
//!
//! How a command travels: a node plans it and sends it to the shard's leader, which proposes the bytes; when
//! the entry is committed every replica calls `apply`, and the leader answers with the [`Outcome`]. Every
//! command is checked at that point, in the log's order, and a refused one changes nothing. Commands may be
//! repeated when an answer was lost: what is already so is answered as done.

pub mod balancing;
pub mod command;
pub mod configs;
pub mod descriptor;
pub mod endpoint;
pub mod growth;
pub mod lifecycle;
pub mod plan;
pub mod quotas;
pub mod reassign;
pub mod shard;
pub mod stranded;
pub mod update;
pub mod view;

mod bytes;

pub use command::{Command, RECOVERY_TEXT_MAX, Recovery, Registration, TakeOver};
pub use descriptor::{
    DecodeError, Descriptor, FIRST_REPLICA_EPOCH, Founder, Founding, METADATA_TOPIC, METADATA_TOPIC_NAME,
    MovingNodes, NodeInfo, NodeState, PartitionKey, SHARDS, ShardId, Topic,
};
pub use endpoint::endpoints;
pub use shard::{Outcome, Shard};
pub use update::{Change, EncodedUpdate, ShardUpdate};
pub use view::{Merge, View};
