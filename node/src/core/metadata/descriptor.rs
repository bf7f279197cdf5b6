//! What the shards hold: topics, the desired replicas of each partition, and nodes.

use std::collections::{BTreeMap, BTreeSet};

use mesh::placement::{self, PlacementNode};
use mesh::raft::{Incarnation, NodeId, ReplicaEpoch, ReplicaId};
use serde::{Deserialize, Serialize};

use super::bytes::{Reader, Writer};
use crate::core::request::TopicId;
use crate::mutant::{self, Mutant};

/// Number of metadata shards, fixed when the cluster is founded.
pub const SHARDS: u8 = 16;

/// Most partitions of one topic.
pub const TOPIC_PARTITIONS_MAX: i32 = 10_000;

/// Highest term; leader epochs have 31 bits.
pub(super) const TERM_MAX: u32 = mesh::raft::Term::MAX.0;

/// The reserved topic whose partitions are the metadata shards.
pub const METADATA_TOPIC: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Name of [`METADATA_TOPIC`]; clients do not see it.
pub const METADATA_TOPIC_NAME: &str = "__rafka_metadata";

/// Epoch of the replicas a partition is founded with. Higher ones are replacements.
pub const FIRST_REPLICA_EPOCH: ReplicaEpoch = ReplicaEpoch(1);

/// Why stored bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("the bytes end too early")]
    Short,
    /// They go on after the end.
    #[error("there are bytes after the end")]
    Trailing,
    /// A format or tag of a later release.
    #[error("format or tag {0} is not known to this release")]
    Unknown(u8),
    /// A field has a value it cannot have.
    #[error("a field has a value it cannot have")]
    Invalid,
}

/// One of the 16 metadata shards, `0..SHARDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u8);

impl ShardId {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// The shard of a topic name: `blake3(name) mod 16`, the hash read as one big-endian number.
    pub fn of_name(name: &str) -> Self {
        let hash = blake3::hash(name.as_bytes());
        Self(hash.as_bytes()[31] % SHARDS)
    }

    /// The shard of a topic id, which carries it in its last four bits; shard 0 for the shards' own topic.
    pub fn of_topic(topic: TopicId) -> Self {
        if topic == METADATA_TOPIC { Self(0) } else { Self(topic.0[15] % SHARDS) }
    }
}

/// Names a partition: of a user's topic, or a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionKey {
    /// Id of its topic.
    pub topic: TopicId,
    /// Its number in the topic, from 0.
    pub partition: i32,
}

impl PartitionKey {
    /// The partition that is a metadata shard.
    pub fn of_shard(shard: ShardId) -> Self {
        Self { topic: METADATA_TOPIC, partition: i32::from(shard.0) }
    }

    /// The shard that this partition is, if it is one.
    pub fn as_shard(&self) -> Option<ShardId> {
        let number = u8::try_from(self.partition).ok()?;
        (self.topic == METADATA_TOPIC && number < SHARDS).then_some(ShardId(number))
    }

    /// The shard that holds this partition's descriptor.
    pub fn home(&self) -> ShardId {
        ShardId::of_topic(self.topic)
    }

    pub(super) fn write(self, w: &mut Writer) {
        w.raw(&self.topic.0);
        w.i32(self.partition);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { topic: TopicId(r.array()?), partition: r.i32()? })
    }
}

/// Makes a topic id from 16 random bytes: a version 4 UUID with the shard of `name` in its last four bits.
pub fn topic_id(name: &str, random: [u8; 16]) -> TopicId {
    let mut id = random;
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    id[15] = (id[15] & 0xf0) | ShardId::of_name(name).0;
    TopicId(id)
}

/// A topic as its shard holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, never reused.
    pub id: TopicId,
    /// Number of partitions, numbered from 0.
    pub partitions: i32,
    /// Configs that differ from the defaults, by Kafka's key names.
    pub configs: BTreeMap<String, String>,
    /// Its replica sets begin with this term, so that leader epochs are above those of a deleted topic of
    /// this name.
    pub term_floor: u32,
    /// A leader whose term is above this has it raised (and committed) before it serves clients.
    pub term_ceiling: u32,
}

impl Topic {
    /// The keys of its partitions.
    pub fn keys(&self) -> impl Iterator<Item = PartitionKey> + use<> {
        let topic = self.id;
        (0..self.partitions).map(move |partition| PartitionKey { topic, partition })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.text(&self.name);
        w.raw(&self.id.0);
        w.i32(self.partitions);
        w.texts(&self.configs);
        w.u32(self.term_floor);
        w.u32(self.term_ceiling);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let topic = Self {
            name: r.text()?,
            id: TopicId(r.array()?),
            partitions: r.i32()?,
            configs: r.texts()?,
            term_floor: r.u32()?,
            term_ceiling: r.u32()?,
        };
        let possible =
            (1..=TOPIC_PARTITIONS_MAX).contains(&topic.partitions) && topic.term_ceiling <= TERM_MAX;
        if possible { Ok(topic) } else { Err(DecodeError::Invalid) }
    }
}

/// The desired replicas of one partition. The actual membership is in the partition's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Which partition.
    pub key: PartitionKey,
    /// Rises by one with each change of this descriptor.
    pub epoch: u64,
    /// Who should be voters, preferred leader first.
    pub replicas: Vec<ReplicaId>,
    /// What `replicas` shall be once those of it that are not among them have the log: until then these learn, and nobody leaves. Empty
    /// when nothing is planned.
    pub planned: Vec<ReplicaId>,
    /// Nothing was acknowledged to any client yet: empty logs may vote.
    pub creating: bool,
    /// Replaced triples that may still be in the actual membership; their data is kept until they are not.
    pub leaving: Vec<ReplicaId>,
    /// The highest replaced replica epoch per node. A triple of that node at or below it never comes back.
    pub fenced: BTreeMap<NodeId, ReplicaEpoch>,
    /// The term that its replica set begins with, see [`Topic::term_floor`].
    pub term_floor: u32,
    /// Its majority was lost: this triple begins anew, alone, with all that its log holds.
    pub alone: Option<ReplicaId>,
}

impl Descriptor {
    /// A new partition.
    pub fn founded(key: PartitionKey, replicas: Vec<ReplicaId>, term_floor: u32) -> Self {
        let (planned, leaving, fenced) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { key, epoch: 1, replicas, planned, creating: true, leaving, fenced, term_floor, alone: None }
    }

    /// The desired voters as a set.
    pub fn voters(&self) -> BTreeSet<ReplicaId> {
        self.replicas.iter().copied().collect()
    }

    /// The desired replica on a node.
    pub fn replica_on(&self, node: NodeId) -> Option<ReplicaId> {
        self.replicas.iter().copied().find(|replica| replica.node == node)
    }

    /// The planned replicas that are not desired yet: they shall learn.
    pub fn newcomers(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.planned.iter().copied().filter(|replica| !self.replicas.contains(replica))
    }

    /// Every replica that is desired, or shall learn so that it will be.
    pub fn wanted(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.replicas.iter().copied().chain(self.newcomers())
    }

    /// The replica that a node should have, as a voter or a newcomer.
    pub fn wanted_on(&self, node: NodeId) -> Option<ReplicaId> {
        self.wanted().find(|replica| replica.node == node)
    }

    /// What it shall have in the end.
    pub fn aim(&self) -> &[ReplicaId] {
        if self.planned.is_empty() { &self.replicas } else { &self.planned }
    }

    /// Whether replicas are on their way: some come, or some have not left yet.
    pub fn is_moving(&self) -> bool {
        !self.planned.is_empty() || !self.leaving.is_empty()
    }

    /// The same by nodes, as people and Kafka's tools see it.
    pub fn moving_nodes(&self) -> MovingNodes {
        let target: Vec<i32> = self.aim().iter().map(|replica| replica.node.0).collect();
        let coming = self.newcomers().map(|replica| replica.node.0).collect();
        let mut leaving: Vec<i32> = self.replicas.iter().chain(&self.leaving).map(|id| id.node.0).collect();
        leaving.retain(|node| !target.contains(node));
        leaving.sort_unstable();
        leaving.dedup();
        let all = target.iter().chain(&leaving).copied().collect();
        MovingNodes { target, coming, leaving, all }
    }

    /// Every triple that is desired or planned, or may still be in the actual membership.
    pub fn named(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.wanted().chain(self.leaving.iter().copied())
    }

    /// Whether a triple is one of these.
    pub fn names(&self, replica: ReplicaId) -> bool {
        self.named().any(|named| named == replica)
    }

    /// Whether a node has a replica of these.
    pub fn names_node(&self, node: NodeId) -> bool {
        self.named().any(|named| named.node == node)
    }

    /// From now on these are desired. Those that are not any more are fenced, and leave.
    pub(super) fn assign(&mut self, replicas: Vec<ReplicaId>) {
        let before: Vec<ReplicaId> = self.wanted().collect();
        (self.replicas, self.planned) = (replicas, Vec::new());
        self.dismiss(before);
    }

    /// These are planned from now on, or nothing is. Newcomers of an earlier plan that are not of this one are fenced, and leave.
    pub(super) fn plan(&mut self, planned: Vec<ReplicaId>) {
        let before: Vec<ReplicaId> = self.wanted().collect();
        self.planned = planned;
        self.dismiss(before);
    }

    /// A triple takes another's place, among the replicas and in the plan.
    pub(super) fn replace(&mut self, old: ReplicaId, new: ReplicaId) {
        let before: Vec<ReplicaId> = self.wanted().collect();
        let named = self.replicas.iter_mut().chain(&mut self.planned);
        named.filter(|id| **id == old).for_each(|id| *id = new);
        self.dismiss(before);
    }

    fn dismiss(&mut self, before: Vec<ReplicaId>) {
        let wanted: Vec<ReplicaId> = self.wanted().collect();
        for old in before.into_iter().filter(|old| !wanted.contains(old)) {
            self.leaving.push(old);
            let fence = self.fenced.entry(old.node).or_insert(old.epoch);
            *fence = (*fence).max(old.epoch);
        }
        self.alone = self.alone.filter(|alone| self.replicas.contains(alone));
        self.epoch += 1;
    }

    /// The epoch for the next replacement: above every one ever given out for this partition.
    pub fn next_replica_epoch(&self) -> ReplicaEpoch {
        let named =
            self.replicas.iter().chain(&self.planned).chain(&self.leaving).map(|replica| replica.epoch.0);
        let fenced = self.fenced.values().map(|epoch| epoch.0);
        ReplicaEpoch(named.chain(fenced).max().unwrap_or(0).saturating_add(1))
    }

    /// Everything but what is planned and who begins alone, as the first format had it.
    pub(super) fn write(&self, w: &mut Writer) {
        self.key.write(w);
        w.u64(self.epoch);
        w.replicas(&self.replicas);
        w.bool(self.creating);
        w.replicas(&self.leaving);
        w.count(self.fenced.len());
        for (&node, &epoch) in &self.fenced {
            w.node(node);
            w.u32(epoch.0);
        }
        w.u32(self.term_floor);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = PartitionKey::read(r)?;
        let epoch = r.u64()?;
        let replicas = r.replicas()?;
        let creating = r.bool()?;
        let leaving = r.replicas()?;
        let fenced = r.list(8, |r| Ok((r.node()?, ReplicaEpoch(r.u32()?))))?;
        if !fenced.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(DecodeError::Invalid);
        }
        if !(0..TOPIC_PARTITIONS_MAX).contains(&key.partition) {
            return Err(DecodeError::Invalid);
        }
        let fenced = fenced.into_iter().collect();
        let (planned, alone) = (Vec::new(), None);
        Ok(Self { key, epoch, replicas, planned, creating, leaving, fenced, term_floor: r.u32()?, alone })
    }
}

/// Where a partition's replicas are and shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingNodes {
    /// The nodes that shall have one, preferred leader first.
    pub target: Vec<i32>,
    /// Those of them that do not have it yet.
    pub coming: Vec<i32>,
    /// Those that shall not have it and may still, by rising number.
    pub leaving: Vec<i32>,
    /// All of these: the target, then who leaves.
    pub all: Vec<i32>,
}

/// What the mesh has decided about a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeState {
    /// It holds replicas and leads.
    #[default]
    Active,
    /// It keeps its replicas, gets no new ones, and leads nothing that others can lead.
    Draining,
    /// The same, and its replicas move to other nodes.
    Decommissioning,
    /// It was away for so long that its replicas are made anew elsewhere. When it comes back it is active again.
    Dead,
    /// It is out of the mesh for good: neither its number nor its identity comes back.
    Removed,
}

impl NodeState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Draining, Self::Decommissioning, Self::Dead, Self::Removed];

    /// As people read and write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Decommissioning => "decommissioning",
            Self::Dead => "dead",
            Self::Removed => "removed",
        }
    }

    /// Whether its replicas may stay where they are.
    pub fn keeps(self) -> bool {
        matches!(self, Self::Active | Self::Draining)
    }

    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Draining => 1,
            Self::Decommissioning => 2,
            Self::Dead => 3,
            Self::Removed => 4,
        }
    }

    pub(super) fn of_byte(byte: u8) -> Result<Self, DecodeError> {
        Self::ALL.into_iter().find(|state| state.byte() == byte).ok_or(DecodeError::Unknown(byte))
    }
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its committed id; Kafka's broker id.
    pub node: NodeId,
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// libp2p's identity in its binary form.
    pub peer_id: Vec<u8>,
    /// `host:port` for Kafka clients; empty until the node registered itself.
    pub kafka: String,
    /// `host:port` for nodes.
    pub mesh: String,
    /// `host:port` of its HTTP port; empty until the node registered itself.
    pub http: String,
    /// Failure domain, Kafka's rack; may be empty.
    pub zone: String,
    /// Relative capacity for placement.
    pub weight: u32,
    /// Earlier lives of this node. None of them may come back.
    pub retired: BTreeSet<Incarnation>,
    /// What the mesh has decided about it.
    pub state: NodeState,
    /// Identities that had its number before this one, in libp2p's binary form. None of them may come back.
    pub former: BTreeSet<Vec<u8>>,
}

impl NodeInfo {
    /// Whether new replicas may be placed on it, and it should lead.
    pub fn is_active(&self) -> bool {
        self.state == NodeState::Active
    }

    /// What placement wants to know.
    pub fn placement(&self) -> PlacementNode {
        PlacementNode { node: self.node, zone: self.zone.clone(), weight: self.weight }
    }

    /// Whether this identity had its number before another one did.
    pub fn is_outlived_peer(&self, peer_id: &[u8]) -> bool {
        self.former.contains(peer_id) && !mutant::active(Mutant::OutlivedNotFenced)
    }

    /// Whether this is a life of it that another one followed.
    pub fn is_outlived(&self, peer_id: &[u8], incarnation: Incarnation) -> bool {
        self.is_outlived_peer(peer_id)
            || (self.retired.contains(&incarnation) && !mutant::active(Mutant::OutlivedNotFenced))
    }

    pub(super) fn write_former(&self, w: &mut Writer) {
        w.count(self.former.len());
        self.former.iter().for_each(|peer_id| w.blob(peer_id));
    }

    pub(super) fn read_former(r: &mut Reader<'_>) -> Result<BTreeSet<Vec<u8>>, DecodeError> {
        let former = r.list(4, |r| Ok(r.blob()?.to_vec()))?;
        if !former.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::Invalid);
        }
        Ok(former.into_iter().collect())
    }

    /// Everything but its state and its former identities, as the first format had it.
    pub(super) fn write(&self, w: &mut Writer) {
        w.node(self.node);
        w.u64(self.incarnation.0);
        w.blob(&self.peer_id);
        for text in [&self.kafka, &self.mesh, &self.http, &self.zone] {
            w.text(text);
        }
        w.u32(self.weight);
        w.count(self.retired.len());
        for incarnation in &self.retired {
            w.u64(incarnation.0);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut info = Self {
            node: r.node()?,
            incarnation: Incarnation(r.u64()?),
            peer_id: r.blob()?.to_vec(),
            kafka: r.text()?,
            mesh: r.text()?,
            http: r.text()?,
            zone: r.text()?,
            weight: r.u32()?,
            retired: BTreeSet::new(),
            state: NodeState::Active,
            former: BTreeSet::new(),
        };
        let retired = r.list(8, |r| Ok(Incarnation(r.u64()?)))?;
        if !retired.is_sorted_by(|a, b| a < b) {
            return Err(DecodeError::Invalid);
        }
        info.retired = retired.into_iter().collect();
        Ok(info)
    }
}

/// One of those who founded the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Its id, by rank of peer id.
    pub node: NodeId,
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// libp2p's identity in its binary form.
    pub peer_id: Vec<u8>,
    /// `host:port` for nodes.
    pub mesh: String,
    /// Failure domain; may be empty.
    pub zone: String,
}

/// What the founders agreed on. Every shard begins from it, the same on each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Hash of the founding set, as text.
    pub cluster_id: String,
    /// All founders, by rising node id.
    pub founders: Vec<Founder>,
}

impl Founding {
    /// The first descriptor of each shard: up to three of the founders, led in turns.
    pub fn shards(&self) -> Vec<Descriptor> {
        let nodes: Vec<PlacementNode> = self
            .founders
            .iter()
            .map(|f| PlacementNode { node: f.node, zone: f.zone.clone(), weight: 1 })
            .collect();
        let triples: BTreeMap<NodeId, ReplicaId> =
            self.founders.iter().map(|f| (f.node, first_replica(f.node, f.incarnation))).collect();
        let placed = placement::place_topic(METADATA_TOPIC_NAME.as_bytes(), u32::from(SHARDS), &nodes, 3);
        ShardId::all()
            .zip(placed)
            .map(|(shard, nodes)| {
                let replicas = nodes.iter().filter_map(|node| triples.get(node).copied()).collect();
                Descriptor::founded(PartitionKey::of_shard(shard), replicas, 0)
            })
            .collect()
    }
}

/// The triple of a replica that founds its partition.
pub fn first_replica(node: NodeId, incarnation: Incarnation) -> ReplicaId {
    ReplicaId { node, incarnation, epoch: FIRST_REPLICA_EPOCH }
}
