//! What a shard's replica sends to nodes so that their views follow: all that changed since a version, or
//! everything.
//!
//! | field | bytes |
//! |---|---|
//! | format | u8, 1 |
//! | shard | u8 |
//! | from | u64, 0 for everything |
//! | version | u64 |
//! | cluster id | text, only meaningful from shard 0 |
//! | changes | u32 count, each a tag u8 and its body |
//!
//! Tags: 1 topic, 2 topic deleted (id 16 bytes), 3 descriptor, 4 active node, 5 node and its state u8,
//! 6 balancing paused bool, 7 configs of a node (i32, -1 for all nodes; list of text pairs: all that is set), 8 all
//! quotas, as in the shard's snapshot, 9 descriptor with the list of triples that are planned and the list of those that begin
//! alone (one at most), 10 node, its state u8 and a list of its former peer ids, 11 recovery as in command 18.

use mesh::raft::NodeId;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bytes::{Reader, Writer};
use super::command::Recovery;
use super::configs::Configs;
use super::descriptor::{DecodeError, Descriptor, NodeInfo, NodeState, SHARDS, ShardId, Topic};
use super::quotas::Quotas;
use crate::core::request::TopicId;

const FORMAT: u8 = 1;

/// One changed thing, as it is now. It is shared, not copied: every view of a process may hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A topic was created, or changed.
    Topic(Arc<Topic>),
    /// A topic was deleted, and its descriptors with it.
    TopicDeleted(TopicId),
    /// A descriptor is new, or changed.
    Descriptor(Arc<Descriptor>),
    /// A node registered, or changed.
    Node(Arc<NodeInfo>),
    /// Whether replicas are not moved for balance.
    Paused(bool),
    /// What is set for a node, or for all of them.
    Configs {
        /// Which node; -1 for all.
        node: NodeId,
        /// All that is set.
        set: Configs,
    },
    /// All quotas.
    Quotas(Quotas),
    /// A partition went on from one survivor of a lost majority.
    Recovered(Recovery),
}

/// What changed in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardUpdate {
    /// Which shard.
    pub shard: ShardId,
    /// Everything that changed after this version is in `changes`; 0 means that `changes` is everything there
    /// is.
    pub from: u64,
    /// The version these changes lead to: the index of the last command applied.
    pub version: u64,
    /// Shard 0 tells the cluster's id; empty from others.
    pub cluster_id: String,
    /// In no particular order but this: a topic comes before its descriptors.
    pub changes: Vec<Change>,
}

impl ShardUpdate {
    /// For other nodes, and for the copy on disk.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.0
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(FORMAT);
        w.u8(self.shard.0);
        w.u64(self.from);
        w.u64(self.version);
        w.text(&self.cluster_id);
        w.count(self.changes.len());
        for change in &self.changes {
            match change {
                Change::Topic(topic) => {
                    w.u8(1);
                    topic.write(w);
                }
                Change::TopicDeleted(id) => {
                    w.u8(2);
                    w.raw(&id.0);
                }
                Change::Descriptor(descriptor)
                    if descriptor.planned.is_empty() && descriptor.alone.is_none() =>
                {
                    w.u8(3);
                    descriptor.write(w);
                }
                Change::Descriptor(descriptor) => {
                    w.u8(9);
                    descriptor.write(w);
                    w.replicas(&descriptor.planned);
                    w.replicas(descriptor.alone.as_slice());
                }
                Change::Recovered(recovery) => {
                    w.u8(11);
                    recovery.write(w);
                }
                Change::Node(node) if !node.former.is_empty() => {
                    w.u8(10);
                    node.write(w);
                    w.u8(node.state.byte());
                    node.write_former(w);
                }
                Change::Node(node) if node.is_active() => {
                    w.u8(4);
                    node.write(w);
                }
                Change::Paused(paused) => {
                    w.u8(6);
                    w.bool(*paused);
                }
                Change::Quotas(quotas) => {
                    w.u8(8);
                    quotas.write(w);
                }
                Change::Configs { node, set } => {
                    w.u8(7);
                    w.node(*node);
                    w.texts(set);
                }
                Change::Node(node) => {
                    w.u8(5);
                    node.write(w);
                    w.u8(node.state.byte());
                }
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// Whatever the bytes are, an error and never a panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let update = Self::read(&mut r)?;
        r.end()?;
        Ok(update)
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let format = r.u8()?;
        if format != FORMAT {
            return Err(DecodeError::Unknown(format));
        }
        let shard = r.u8()?;
        if shard >= SHARDS {
            return Err(DecodeError::Invalid);
        }
        let (from, version, cluster_id) = (r.u64()?, r.u64()?, r.text()?);
        let changes = r.list(1, |r| match r.u8()? {
            1 => Ok(Change::Topic(Topic::read(r)?.into())),
            2 => Ok(Change::TopicDeleted(TopicId(r.array()?))),
            3 => Ok(Change::Descriptor(Descriptor::read(r)?.into())),
            4 => Ok(Change::Node(NodeInfo::read(r)?.into())),
            5 => {
                let node = NodeInfo::read(r)?;
                Ok(Change::Node(NodeInfo { state: NodeState::of_byte(r.u8()?)?, ..node }.into()))
            }
            6 => Ok(Change::Paused(r.bool()?)),
            7 => Ok(Change::Configs { node: r.node()?, set: r.texts()? }),
            8 => Ok(Change::Quotas(Quotas::read(r)?)),
            9 => {
                let descriptor = Descriptor::read(r)?;
                let (planned, alone) = (r.replicas()?, r.replicas()?);
                let alone = alone.first().copied();
                Ok(Change::Descriptor(Descriptor { planned, alone, ..descriptor }.into()))
            }
            10 => {
                let node = NodeInfo::read(r)?;
                let state = NodeState::of_byte(r.u8()?)?;
                Ok(Change::Node(NodeInfo { state, former: NodeInfo::read_former(r)?, ..node }.into()))
            }
            11 => Ok(Change::Recovered(Recovery::read(r)?)),
            tag => Err(DecodeError::Unknown(tag)),
        })?;
        Ok(Self { shard: ShardId(shard), from, version, cluster_id, changes })
    }
}

/// A [`ShardUpdate`] on its way between nodes: the bytes that travel, and with them, as long as they do not leave the process, what
/// they say. So it is encoded once for all who get it, and what one process sends to itself or holds twice is held once.
#[derive(Clone, Debug)]
pub struct EncodedUpdate {
    bytes: Bytes,
    update: Option<Arc<ShardUpdate>>,
}

impl EncodedUpdate {
    /// Encodes it.
    pub fn of(update: ShardUpdate) -> Self {
        Self { bytes: update.encode().into(), update: Some(Arc::new(update)) }
    }

    /// How many bytes travel.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes alone, as another process gets them.
    pub fn bare(&self) -> Self {
        Self { bytes: self.bytes.clone(), update: None }
    }

    /// What it says.
    ///
    /// # Errors
    ///
    /// Whatever the bytes are, an error and never a panic.
    pub fn decode(&self) -> Result<Arc<ShardUpdate>, DecodeError> {
        match &self.update {
            Some(update) => Ok(update.clone()),
            None => ShardUpdate::decode(&self.bytes).map(Arc::new),
        }
    }
}

impl From<Bytes> for EncodedUpdate {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, update: None }
    }
}

impl From<Vec<u8>> for EncodedUpdate {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl PartialEq for EncodedUpdate {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Serialize for EncodedUpdate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EncodedUpdate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bytes::deserialize(deserializer).map(Self::from)
    }
}
