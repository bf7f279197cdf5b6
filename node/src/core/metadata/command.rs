//! The commands in a shard's log.
//!
//! They live as long as the log, so they have a byte table of their own. All numbers are big-endian; `text`
//! and `blob` are a u32 length and that many bytes, a list is a u32 count and its elements, a triple is `node
//! i32, incarnation u64, epoch u32`, a key is `topic id 16 bytes, partition i32`.
//!
//! | byte | field |
//! |---|---|
//! | 0 | format, 1 |
//! | 1 | tag |
//! | 2.. | body by tag |
//!
//! | tag | command | body |
//! |---|---|---|
//! | 1 | register node | known bool, node i32 (0 if not), incarnation u64, peer id blob, 4 texts, weight u32 |
//! | 2 | create topic | name text, id 16 bytes, list of lists of triples, configs: list of text pairs, keys rising |
//! | 3 | delete topic | id 16 bytes |
//! | 4 | mark created | id 16 bytes, list of i32 |
//! | 5 | replace replica | key, old triple, new triple |
//! | 6 | finish replacement | key, old triple |
//! | 7 | allocate producer ids | node i32, count u32 |
//! | 8 | raise term ceiling | id 16 bytes, term u32 |
//! | 9 | abandon topic | id 16 bytes |
//! | 10 | add partitions | id 16 bytes, from i32, list of lists of triples |
//! | 11 | set node state | node i32, incarnation u64, state u8 |
//! | 12 | reassign | key, list of triples |
//! | 13 | pause balancing | paused bool |
//! | 14 | plan replicas | key, list of triples |
//! | 15 | carry out plan | key, descriptor epoch u64 |
//! | 16 | cancel plan | key, descriptor epoch u64 |
//! | 17 | take over | followed life u64, giving up bool, then the body of 1 with a known node |
//! | 18 | recover | key, old triple, new triple, by text, why text, found text, at i64 in ms since 1970 |
//! | 19 | begin an era | replica epoch u32 |
//! | 23 | alter a topic's configs | id 16 bytes, replace bool, list of edits |
//! | 24 | alter configs of nodes | node i32 (-1 for all), replace bool, list of edits |
//! | 25 | alter a quota | entity as in [`quotas`](super::quotas), list of limit u8, set bool, rate f64 bits |
//!
//! An edit is `key text, operation u8 (Kafka's: 0 set, 1 delete, 2 append, 3 subtract), value text (empty with delete)`.
//! The texts of a registration are its Kafka, mesh and HTTP addresses and its zone.

use std::collections::BTreeMap;

use mesh::raft::{Incarnation, NodeId, ReplicaEpoch, ReplicaId};

use super::bytes::{Reader, Writer};
use super::configs::Edit;
use super::descriptor::{DecodeError, NodeState, PartitionKey};
use super::quotas::{Entity, Limit, Rate, read_changes, write_changes};
use crate::core::request::TopicId;

const FORMAT: u8 = 1;
/// Stands for all nodes together.
pub(super) const ALL_NODES: NodeId = NodeId(-1);

/// A change that somebody asks a shard to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Shard 0: a node started, or wants to join.
    RegisterNode(Registration),
    /// A topic with its placed replicas.
    CreateTopic {
        /// Checked when planned.
        name: String,
        /// Made by [`topic_id`](super::descriptor::topic_id).
        id: TopicId,
        /// For each partition its replicas, preferred leader first, all of the first replica epoch.
        partitions: Vec<Vec<ReplicaId>>,
        /// Checked when planned.
        configs: BTreeMap<String, String>,
    },
    /// The topic and its data shall go.
    DeleteTopic {
        /// By id, so that a repeated command cannot hit a successor of the same name.
        id: TopicId,
    },
    /// Enough replicas of these partitions synced their create frames: from now on an empty log is a lost
    /// one.
    MarkCreated {
        /// Their topic, or [`METADATA_TOPIC`](super::METADATA_TOPIC) for shards.
        topic: TopicId,
        /// Their numbers.
        partitions: Vec<i32>,
    },
    /// A replica is lost, suspect or moves: another triple shall take its place.
    ReplaceReplica {
        /// Of which partition.
        key: PartitionKey,
        /// Who goes.
        old: ReplicaId,
        /// Who comes, under the partition's next replica epoch.
        new: ReplicaId,
    },
    /// The partition's actual membership no longer holds a replaced triple.
    FinishReplacement {
        /// Of which partition.
        key: PartitionKey,
        /// Who is gone.
        old: ReplicaId,
    },
    /// Producer ids for a node to hand out.
    AllocateProducerIds {
        /// Who asks.
        node: NodeId,
        /// How many, 1 to [`PRODUCER_IDS_MAX`](super::shard::PRODUCER_IDS_MAX).
        count: u32,
    },
    /// A leader of the topic has this term.
    RaiseTermCeiling {
        /// Which topic.
        topic: TopicId,
        /// Its leader's term.
        term: u32,
    },
    /// The topic can never be created, for most founding voters of a partition have lost their lives; it goes, if none of its
    /// partitions was created.
    AbandonTopic {
        /// Which topic.
        topic: TopicId,
    },
    /// The topic has more partitions, numbered from where it ends now.
    AddPartitions {
        /// Which topic.
        topic: TopicId,
        /// How many it has without them: a repeated command adds nothing.
        from: i32,
        /// For each new partition its replicas, as in [`Command::CreateTopic`].
        partitions: Vec<Vec<ReplicaId>>,
    },
    /// Shard 0: what is decided about a node.
    SetNodeState {
        /// Which node.
        node: NodeId,
        /// Its life as the decision was made; one that began since is not meant.
        incarnation: Incarnation,
        /// The decision.
        state: NodeState,
    },
    /// The partition shall have these replicas, preferred leader first. Those that it does not have yet are on nodes without one and
    /// carry its next replica epochs in turn.
    Reassign {
        /// Which partition.
        key: PartitionKey,
        /// All of its replicas.
        replicas: Vec<ReplicaId>,
    },
    /// Shard 0: replicas are moved for balance no more, or again.
    PauseBalancing(bool),
    /// The partition shall come to have these replicas, preferred leader first: those that it does not have yet learn first, and only then
    /// the others leave. Those that neither it nor its plan has are on nodes without one and carry its next replica epochs in turn.
    PlanReplicas {
        /// Which partition.
        key: PartitionKey,
        /// All of its replicas.
        replicas: Vec<ReplicaId>,
    },
    /// The newcomers of the plan have the log: what is planned is desired.
    CarryOutPlan {
        /// Which partition.
        key: PartitionKey,
        /// Of the descriptor that was looked at: of another one nothing is said.
        epoch: u64,
    },
    /// Nothing is planned any more; the newcomers go.
    CancelPlan {
        /// Which partition.
        key: PartitionKey,
        /// As in [`Command::CarryOutPlan`].
        epoch: u64,
    },
    /// What is set for a topic changes.
    AlterTopicConfigs {
        /// Which topic.
        topic: TopicId,
        /// What is not named is as if nobody had said anything.
        replace: bool,
        /// Checked when planned.
        edits: Vec<Edit>,
    },
    /// Shard 0: what is set for one node or for all of them changes.
    AlterNodeConfigs {
        /// Which node; `None` for all.
        node: Option<NodeId>,
        /// As in [`Command::AlterTopicConfigs`].
        replace: bool,
        /// Checked when planned.
        edits: Vec<Edit>,
    },
    /// Shard 0: limits of a quota are set, or taken back.
    AlterQuota {
        /// Whose.
        entity: Entity,
        /// Each limit with its new rate.
        changes: Vec<(Limit, Option<Rate>)>,
    },
    /// An operator gives up the lost majority of a partition.
    Recover(Recovery),
    /// This very shard goes on from a survivor of a lost majority, under that replica epoch: what it says from now on is newer than
    /// anything that the lost majority may have said at the same indexes.
    BeginEra(ReplicaEpoch),
    /// Shard 0: the number of a registered node goes over to another data directory.
    TakeOver(TakeOver),
}

/// A partition goes on from one survivor of a lost majority: the command, and the record of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Which partition.
    pub key: PartitionKey,
    /// The survivor.
    pub old: ReplicaId,
    /// As what it begins anew: the same node and life, under an epoch above every one that was given out.
    pub new: ReplicaId,
    /// Who decided.
    pub by: String,
    /// Why.
    pub why: String,
    /// What the replicas held that answered, for people.
    pub found: String,
    /// When, in milliseconds since 1970 by the clock of the node that was asked.
    pub at_ms: i64,
}

/// Longest text of a recovery, in bytes.
pub const RECOVERY_TEXT_MAX: usize = 2048;

impl Recovery {
    pub(super) fn write(&self, w: &mut Writer) {
        self.key.write(w);
        w.replica(self.old);
        w.replica(self.new);
        for text in [&self.by, &self.why, &self.found] {
            w.text(text);
        }
        w.u64(self.at_ms.cast_unsigned());
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: PartitionKey::read(r)?,
            old: r.replica()?,
            new: r.replica()?,
            by: r.text()?,
            why: r.text()?,
            found: r.text()?,
            at_ms: r.u64()?.cast_signed(),
        })
    }
}

/// Another data directory wants a node's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeOver {
    /// The life that it follows: one that began since is not meant.
    pub follows: Incarnation,
    /// An operator gives up what no majority is left of.
    pub gives_up: bool,
    /// Who comes. Its node is the number.
    pub registration: Registration,
}

/// What a node says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The id it has; `None` when it joins.
    pub node: Option<NodeId>,
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// libp2p's identity in its binary form, authenticated by the connection it came over.
    pub peer_id: Vec<u8>,
    /// `host:port` for Kafka clients.
    pub kafka: String,
    /// `host:port` for nodes.
    pub mesh: String,
    /// `host:port` of its HTTP port.
    pub http: String,
    /// Failure domain; may be empty.
    pub zone: String,
    /// Relative capacity, at least 1.
    pub weight: u32,
}

impl Command {
    /// The partition that it is about, if it is about one.
    pub fn partition(&self) -> Option<PartitionKey> {
        match self {
            Self::ReplaceReplica { key, .. }
            | Self::FinishReplacement { key, .. }
            | Self::Reassign { key, .. }
            | Self::PlanReplicas { key, .. }
            | Self::CarryOutPlan { key, .. }
            | Self::CancelPlan { key, .. } => Some(*key),
            _ => None,
        }
    }

    /// The payload of the log entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(FORMAT);
        match self {
            Self::RegisterNode(node) => {
                w.u8(1);
                node.write(&mut w);
            }
            Self::CreateTopic { name, id, partitions, configs } => {
                w.u8(2);
                w.text(name);
                w.raw(&id.0);
                w.count(partitions.len());
                for replicas in partitions {
                    w.replicas(replicas);
                }
                w.texts(configs);
            }
            Self::DeleteTopic { id } => {
                w.u8(3);
                w.raw(&id.0);
            }
            Self::MarkCreated { topic, partitions } => {
                w.u8(4);
                w.raw(&topic.0);
                w.count(partitions.len());
                for &partition in partitions {
                    w.i32(partition);
                }
            }
            Self::ReplaceReplica { key, old, new } => {
                w.u8(5);
                key.write(&mut w);
                w.replica(*old);
                w.replica(*new);
            }
            Self::FinishReplacement { key, old } => {
                w.u8(6);
                key.write(&mut w);
                w.replica(*old);
            }
            Self::AllocateProducerIds { node, count } => {
                w.u8(7);
                w.node(*node);
                w.u32(*count);
            }
            Self::RaiseTermCeiling { topic, term } => {
                w.u8(8);
                w.raw(&topic.0);
                w.u32(*term);
            }
            Self::AbandonTopic { topic } => {
                w.u8(9);
                w.raw(&topic.0);
            }
            Self::SetNodeState { node, incarnation, state } => {
                w.u8(11);
                w.node(*node);
                w.u64(incarnation.0);
                w.u8(state.byte());
            }
            Self::Reassign { key, replicas } => {
                w.u8(12);
                key.write(&mut w);
                w.replicas(replicas);
            }
            Self::PauseBalancing(paused) => {
                w.u8(13);
                w.bool(*paused);
            }
            Self::PlanReplicas { key, replicas } => {
                w.u8(14);
                key.write(&mut w);
                w.replicas(replicas);
            }
            Self::CarryOutPlan { key, epoch } => {
                w.u8(15);
                key.write(&mut w);
                w.u64(*epoch);
            }
            Self::CancelPlan { key, epoch } => {
                w.u8(16);
                key.write(&mut w);
                w.u64(*epoch);
            }
            Self::AlterTopicConfigs { topic, replace, edits } => {
                w.u8(23);
                w.raw(&topic.0);
                write_edits(&mut w, *replace, edits);
            }
            Self::AlterNodeConfigs { node, replace, edits } => {
                w.u8(24);
                w.node(node.unwrap_or(ALL_NODES));
                write_edits(&mut w, *replace, edits);
            }
            Self::AlterQuota { entity, changes } => {
                w.u8(25);
                entity.write(&mut w);
                write_changes(&mut w, changes);
            }
            Self::BeginEra(epoch) => {
                w.u8(19);
                w.u32(epoch.0);
            }
            Self::Recover(recovery) => {
                w.u8(18);
                recovery.write(&mut w);
            }
            Self::TakeOver(TakeOver { follows, gives_up, registration }) => {
                w.u8(17);
                w.u64(follows.0);
                w.bool(*gives_up);
                registration.write(&mut w);
            }
            Self::AddPartitions { topic, from, partitions } => {
                w.u8(10);
                w.raw(&topic.0);
                w.i32(*from);
                w.count(partitions.len());
                for replicas in partitions {
                    w.replicas(replicas);
                }
            }
        }
        w.0
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// Whatever the bytes are, an error and never a panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8()?;
        if format != FORMAT {
            return Err(DecodeError::Unknown(format));
        }
        let tag = r.u8()?;
        let command = Self::read(tag, &mut r)?;
        r.end()?;
        Ok(command)
    }

    /// Whether these bytes would be a [`Command::TakeOver`], without reading them.
    pub fn is_take_over(bytes: &[u8]) -> bool {
        bytes.get(1) == Some(&17)
    }

    /// Whether these bytes would be a [`Command::SetNodeState`].
    pub fn is_node_state(bytes: &[u8]) -> bool {
        bytes.get(1) == Some(&11)
    }

    /// Whether these bytes would be a [`Command::Recover`].
    pub fn is_recovery(bytes: &[u8]) -> bool {
        bytes.get(1) == Some(&18)
    }

    fn read(tag: u8, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match tag {
            1 => Self::RegisterNode(Registration::read(r)?),
            2 => Self::CreateTopic {
                name: r.text()?,
                id: TopicId(r.array()?),
                partitions: r.list(4, Reader::replicas)?,
                configs: r.texts()?,
            },
            3 => Self::DeleteTopic { id: TopicId(r.array()?) },
            4 => Self::MarkCreated { topic: TopicId(r.array()?), partitions: r.list(4, Reader::i32)? },
            5 => Self::ReplaceReplica { key: PartitionKey::read(r)?, old: r.replica()?, new: r.replica()? },
            6 => Self::FinishReplacement { key: PartitionKey::read(r)?, old: r.replica()? },
            7 => Self::AllocateProducerIds { node: r.node()?, count: r.u32()? },
            8 => Self::RaiseTermCeiling { topic: TopicId(r.array()?), term: r.u32()? },
            9 => Self::AbandonTopic { topic: TopicId(r.array()?) },
            11 => Self::SetNodeState {
                node: r.node()?,
                incarnation: Incarnation(r.u64()?),
                state: NodeState::of_byte(r.u8()?)?,
            },
            12 => Self::Reassign { key: PartitionKey::read(r)?, replicas: r.replicas()? },
            13 => Self::PauseBalancing(r.bool()?),
            14 => Self::PlanReplicas { key: PartitionKey::read(r)?, replicas: r.replicas()? },
            15 => Self::CarryOutPlan { key: PartitionKey::read(r)?, epoch: r.u64()? },
            16 => Self::CancelPlan { key: PartitionKey::read(r)?, epoch: r.u64()? },
            18 => Self::Recover(Recovery::read(r)?),
            19 => Self::BeginEra(ReplicaEpoch(r.u32()?)),
            17 => Self::TakeOver(TakeOver {
                follows: Incarnation(r.u64()?),
                gives_up: r.bool()?,
                registration: Registration::read(r)?,
            }),
            10 => Self::AddPartitions {
                topic: TopicId(r.array()?),
                from: r.i32()?,
                partitions: r.list(4, Reader::replicas)?,
            },
            23 => Self::AlterTopicConfigs {
                topic: TopicId(r.array()?),
                replace: r.bool()?,
                edits: r.list(9, Edit::read)?,
            },
            24 => Self::AlterNodeConfigs {
                node: Some(r.node()?).filter(|node| *node != ALL_NODES),
                replace: r.bool()?,
                edits: r.list(9, Edit::read)?,
            },
            25 => Self::AlterQuota { entity: Entity::read(r)?, changes: read_changes(r)? },
            tag => return Err(DecodeError::Unknown(tag)),
        })
    }
}

fn write_edits(w: &mut Writer, replace: bool, edits: &[Edit]) {
    w.bool(replace);
    w.count(edits.len());
    edits.iter().for_each(|edit| edit.write(w));
}

impl Registration {
    fn write(&self, w: &mut Writer) {
        w.bool(self.node.is_some());
        w.node(self.node.unwrap_or(NodeId(0)));
        w.u64(self.incarnation.0);
        w.blob(&self.peer_id);
        for text in [&self.kafka, &self.mesh, &self.http, &self.zone] {
            w.text(text);
        }
        w.u32(self.weight);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let known = r.bool()?;
        let node = r.node()?;
        if !known && node != NodeId(0) {
            return Err(DecodeError::Invalid);
        }
        Ok(Self {
            node: known.then_some(node),
            incarnation: Incarnation(r.u64()?),
            peer_id: r.blob()?.to_vec(),
            kafka: r.text()?,
            mesh: r.text()?,
            http: r.text()?,
            zone: r.text()?,
            weight: r.u32()?,
        })
    }
}
