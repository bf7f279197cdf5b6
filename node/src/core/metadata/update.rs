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
//! 6 balancing paused bool, 17 node, its state u8 and a list of its former peer ids, 18 descriptor and
//! the triple that begins alone, 19 recovery as in command 18.

use super::bytes::{Reader, Writer};
use super::command::Recovery;
use super::descriptor::{DecodeError, Descriptor, NodeInfo, NodeState, SHARDS, ShardId, Topic};
use crate::core::request::TopicId;

const FORMAT: u8 = 1;

/// One changed thing, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A topic was created, or changed.
    Topic(Topic),
    /// A topic was deleted, and its descriptors with it.
    TopicDeleted(TopicId),
    /// A descriptor is new, or changed.
    Descriptor(Descriptor),
    /// A node registered, or changed.
    Node(NodeInfo),
    /// Whether replicas are not moved for balance.
    Paused(bool),
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
                Change::Descriptor(descriptor) => {
                    w.u8(if descriptor.alone.is_some() { 18 } else { 3 });
                    descriptor.write(w);
                    descriptor.alone.into_iter().for_each(|replica| w.replica(replica));
                }
                Change::Recovered(recovery) => {
                    w.u8(19);
                    recovery.write(w);
                }
                Change::Node(node) if !node.former.is_empty() => {
                    w.u8(17);
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
            1 => Ok(Change::Topic(Topic::read(r)?)),
            2 => Ok(Change::TopicDeleted(TopicId(r.array()?))),
            3 => Ok(Change::Descriptor(Descriptor::read(r)?)),
            4 => Ok(Change::Node(NodeInfo::read(r)?)),
            5 => {
                let node = NodeInfo::read(r)?;
                Ok(Change::Node(NodeInfo { state: NodeState::of_byte(r.u8()?)?, ..node }))
            }
            6 => Ok(Change::Paused(r.bool()?)),
            18 => {
                let descriptor = Descriptor::read(r)?;
                Ok(Change::Descriptor(Descriptor { alone: Some(r.replica()?), ..descriptor }))
            }
            19 => Ok(Change::Recovered(Recovery::read(r)?)),
            17 => {
                let node = NodeInfo::read(r)?;
                let state = NodeState::of_byte(r.u8()?)?;
                Ok(Change::Node(NodeInfo { state, former: NodeInfo::read_former(r)?, ..node }))
            }
            tag => Err(DecodeError::Unknown(tag)),
        })?;
        Ok(Self { shard: ShardId(shard), from, version, cluster_id, changes })
    }
}
