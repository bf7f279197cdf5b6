//! What nodes say to each other. Encoded with bincode between nodes of neighbouring versions only; nothing of it is stored.

use std::sync::Arc;

use bytes::Bytes;
use mesh::life::Life;
use mesh::liveness::Heartbeat;
use mesh::raft::{Message, NodeId, ReplicaId, Term};
use serde::{Deserialize, Serialize};

use super::metadata::lifecycle::Report;
use super::metadata::{EncodedUpdate, Outcome, PartitionKey};

/// The stream a message travels on, by urgency: control is never behind bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Heartbeats, votes, everything small that elections wait for.
    Control,
    /// Metadata and forwarding.
    Rpc,
    /// Appends.
    Replication,
}

/// One message from node to node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// A Raft message of one replica to another.
    Raft {
        /// The replica set.
        key: PartitionKey,
        /// The sender's triple.
        from: ReplicaId,
        /// The receiver's triple; any other replica drops it.
        to: ReplicaId,
        /// What it says.
        message: Message,
    },
    /// Node-level liveness.
    Heartbeat(Heartbeat),
    /// Who leads what, as far as the sender leads it itself.
    Leaders(#[serde(with = "shared")] Vec<Arc<LeaderInfo>>),
    /// "This is what I know of your shard": asks its leader for what is newer.
    ShardPoll {
        /// Shard number.
        shard: u32,
        /// Version the sender holds, 0 for none.
        version: u64,
    },
    /// What changed in a shard.
    ShardUpdate(EncodedUpdate),
    /// A command for a metadata shard, sent to the node believed to lead it.
    Forward {
        /// Chosen by the sender.
        correlation: u64,
        /// Shard number.
        shard: u32,
        /// An encoded shard command.
        command: Bytes,
    },
    /// The answer to a `Forward`.
    Forwarded {
        /// Of the `Forward`.
        correlation: u64,
        /// What became of it.
        reply: ForwardReply,
    },
    /// What a node says of replicas to the leader of their home shard, until it acts.
    Report {
        /// Shard number.
        shard: u32,
        /// Each true at the time of sending.
        reports: Vec<Report>,
    },
    /// "Do you want these? If so I begin those that I lack, if not I delete those that I have."
    AskFate {
        /// Their home shard.
        shard: u32,
        /// Replicas of the sender.
        replicas: Vec<(PartitionKey, ReplicaId)>,
    },
    /// The answer, said only by a shard's leader after a linearizable read.
    Fate {
        /// The descriptors want these.
        wanted: Vec<(PartitionKey, ReplicaId)>,
        /// Nobody needs these, now or ever.
        unwanted: Vec<(PartitionKey, ReplicaId)>,
    },
    /// "You speak as one of the past: this process of your data directory came after you."
    Outlived(Life),
    /// "Let this replica lead instead of you": a wish of a client, refused unless the descriptor prefers it.
    HandOver {
        /// The partition.
        key: PartitionKey,
        /// Who shall lead.
        to: ReplicaId,
    },
    /// A message of [`mesh::swim`], whose bytes it checks itself.
    Swim(Bytes),
    /// News for the receiver, which passes them on to these. See [`gossip`](super::gossip) for this and what follows.
    PassOn {
        /// What is new.
        news: News,
        /// Who shall have it too.
        to: Vec<NodeId>,
    },
    /// What the sender knows.
    Notes {
        /// The version of each shard.
        versions: Vec<u64>,
        /// A sum over the leaders of each shard's partitions, and how many of them it knows.
        leaders: Vec<(u64, u32)>,
    },
    /// Some of these versions are newer than those of the receiver.
    Known {
        /// The version of each shard.
        versions: Vec<u64>,
    },
    /// The sums over a shard's leaders differ: here is one for each of 64 buckets of them.
    LeaderBuckets {
        /// Shard number.
        shard: u32,
        /// A sum for each bucket.
        buckets: Vec<u64>,
    },
    /// What the sender knows of the buckets that differ: asks for what is newer.
    LeadersOf {
        /// Shard number.
        shard: u32,
        /// A bit for each bucket.
        buckets: u64,
        /// All that the sender knows of them.
        #[serde(with = "shared")]
        known: Vec<Arc<LeaderInfo>>,
    },
    /// A process that was not told of a shard by its leader asks it for what is newer than this, or for the word that nothing is.
    ShardAsk {
        /// Shard number.
        shard: u32,
        /// Version the sender holds, 0 for none.
        version: u64,
    },
    /// That word.
    ShardCurrent {
        /// Shard number.
        shard: u32,
        /// The newest version.
        version: u64,
    },
}

/// What is passed on from node to node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// Who leads what, by the leaders' own word.
    Leaders(#[serde(with = "shared")] Vec<Arc<LeaderInfo>>),
    /// What changed in a shard.
    Shard(EncodedUpdate),
}

/// Shared values as if each were the message's own.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        all: &[Arc<T>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(all.iter().map(|one| &**one))
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Arc<T>>, D::Error> {
        Ok(Vec::<T>::deserialize(deserializer)?.into_iter().map(Arc::new).collect())
    }
}

/// Differences of traffic below that many KiB per second are no news.
const TRAFFIC_KIB_S_MIN: u32 = 256;

/// Who leads a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderInfo {
    /// The partition.
    pub key: PartitionKey,
    /// The leader's term: newer wins.
    pub term: Term,
    /// The leader.
    pub leader: NodeId,
    /// Voters that are live and caught up.
    pub in_sync: Vec<NodeId>,
    /// What clients write and read there, in KiB per second, smoothed; 0 from others than the leader.
    pub traffic: u32,
}

impl LeaderInfo {
    /// Whether it is worth telling everybody of a large mesh who knows that: a little more or less traffic is not.
    pub(crate) fn is_news_after(&self, known: &LeaderInfo) -> bool {
        let most = self.traffic.max(known.traffic);
        let rest = |info: &LeaderInfo| (info.key, info.term, info.leader);
        rest(self) != rest(known)
            || self.in_sync != known.in_sync
            || self.traffic.abs_diff(known.traffic) > TRAFFIC_KIB_S_MIN.max(most / 4)
    }
}

/// The outcome of a forwarded command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardReply {
    /// It was applied, with this outcome.
    Applied(Outcome),
    /// This node does not lead the shard; nothing was proposed.
    NotLeader(Option<NodeId>),
    /// Leadership was lost while it waited: it may or may not be applied later.
    Unknown,
}
