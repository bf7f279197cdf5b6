//! One metadata shard: a deterministic state machine over the commands of its log.
//!
//! Replicas that applied the same commands have equal bytes in [`Shard::snapshot`]. Nothing in here asks the
//! time, draws a number or depends on the order of a hash map.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use mesh::raft::{NodeId, ReplicaId};
use serde::{Deserialize, Serialize};

use super::bytes::all_distinct;
use super::command::{ALL_NODES, Command, Recovery, Registration};
use super::configs::{Configs, Edit, apply};
use super::descriptor::{
    Descriptor, FIRST_REPLICA_EPOCH, Founding, METADATA_TOPIC, NodeInfo, NodeState, PartitionKey, ShardId,
    TERM_MAX, TOPIC_PARTITIONS_MAX, Topic,
};
use super::quotas::{Entity, Limit, QUOTAS_MAX, Quotas, Rate};
use super::update::{Change, ShardUpdate};
use crate::core::error::ErrorCode;
use crate::core::request::TopicId;
use crate::mutant::{self, Mutant};

mod placing;
mod recovery;
mod snapshot;
mod succession;

pub use recovery::RECOVERIES_MAX;
pub use succession::outlived;

/// Most partitions of all topics of one shard.
pub const SHARD_PARTITIONS_MAX: usize = 100_000;
/// Most replicas of one partition.
pub const REPLICAS_MAX: usize = 15;
/// Most nodes of a mesh.
pub const NODES_MAX: usize = 1024;
/// Most producer ids handed out by one command.
pub const PRODUCER_IDS_MAX: u32 = 100_000;
/// How far a topic's ceiling is above the highest term its leaders reported.
pub const TERM_SLACK: u32 = 1024;

/// Deletions remembered for updates; a view that is further behind gets everything.
const DELETED_MAX: usize = 1024;
/// Deleted names whose term floor is remembered one by one.
const FLOORS_MAX: usize = 10_000;
/// Replaced triples per partition that may wait for their end.
const LEAVING_MAX: usize = 16;
/// Longest address, zone or peer id of a node, in bytes.
const NODE_TEXT_MAX: usize = 512;

/// What the leader of a shard answers to whoever sent a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done, or was already so.
    Done,
    /// The node has this id.
    Registered {
        /// Its id.
        node: NodeId,
    },
    /// Producer ids `first..first + count` are the asker's.
    ProducerIds {
        /// The lowest of them.
        first: i64,
        /// How many.
        count: u32,
    },
    /// Nothing changed.
    Refused {
        /// For programs.
        error: ErrorCode,
        /// For people.
        message: String,
    },
}

fn refused(error: ErrorCode, message: impl Into<String>) -> Outcome {
    Outcome::Refused { error, message: message.into() }
}

/// A thing and the version at which it last changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Versioned<T> {
    changed: u64,
    value: T,
}

/// The state of one shard on one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    id: ShardId,
    version: u64,
    /// The replica epoch under which the shard last went on from one survivor; 0 if it never did.
    era: u32,
    cluster_id: String,
    topics: BTreeMap<TopicId, Versioned<Arc<Topic>>>,
    /// Follows from `topics`.
    names: BTreeMap<String, TopicId>,
    descriptors: BTreeMap<PartitionKey, Versioned<Arc<Descriptor>>>,
    nodes: BTreeMap<NodeId, Versioned<Arc<NodeInfo>>>,
    next_node: i32,
    /// The latest deletions, oldest first, with their versions.
    deleted: VecDeque<(u64, TopicId)>,
    /// Deletions up to this version may be missing from `deleted`.
    deleted_from: u64,
    floors: BTreeMap<String, u32>,
    /// Floor of every deleted name that is not in `floors`.
    floor_of_rest: u32,
    next_producer: u64,
    /// Replicas are not moved for balance.
    paused: Versioned<bool>,
    /// What is set for a node, or for [`ALL_NODES`]. Nothing is taken out, so that views hear of what is not set any more.
    configs: BTreeMap<NodeId, Versioned<Configs>>,
    quotas: Versioned<Quotas>,
    /// The latest recoveries of its partitions from lost majorities, oldest first.
    recoveries: VecDeque<Versioned<Recovery>>,
}

impl Shard {
    /// The state before the first command.
    pub fn founded(id: ShardId, founding: &Founding) -> Self {
        let mut shard = Self::empty(id);
        if id == ShardId(0) {
            shard.cluster_id.clone_from(&founding.cluster_id);
            for founder in &founding.founders {
                let info = NodeInfo {
                    node: founder.node,
                    incarnation: founder.incarnation,
                    peer_id: founder.peer_id.clone(),
                    kafka: String::new(),
                    mesh: founder.mesh.clone(),
                    http: String::new(),
                    zone: founder.zone.clone(),
                    weight: 1,
                    retired: BTreeSet::new(),
                    state: NodeState::Active,
                    former: BTreeSet::new(),
                };
                shard.next_node = shard.next_node.max(info.node.0.saturating_add(1));
                shard.nodes.insert(info.node, Versioned { changed: 0, value: info.into() });
            }
            for descriptor in founding.shards() {
                shard.descriptors.insert(descriptor.key, Versioned { changed: 0, value: descriptor.into() });
            }
        }
        shard
    }

    fn empty(id: ShardId) -> Self {
        Self {
            id,
            version: 0,
            era: 0,
            cluster_id: String::new(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            descriptors: BTreeMap::new(),
            nodes: BTreeMap::new(),
            next_node: 1,
            deleted: VecDeque::new(),
            deleted_from: 0,
            floors: BTreeMap::new(),
            floor_of_rest: 0,
            next_producer: 0,
            paused: Versioned { changed: 0, value: false },
            configs: BTreeMap::new(),
            quotas: Versioned::default(),
            recoveries: VecDeque::new(),
        }
    }

    /// Which shard it is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Of the last command applied, 0 before the first: its index, plus 2^32 for each replica epoch of the survivor from which the shard last
    /// went on. So a view that a lost majority told of more commands is older all the same.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A topic by id.
    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id).map(|topic| &*topic.value)
    }

    /// A topic by name.
    pub fn topic_named(&self, name: &str) -> Option<&Topic> {
        self.topic(*self.names.get(name)?)
    }

    /// A partition's desired replicas.
    pub fn descriptor(&self, key: PartitionKey) -> Option<&Descriptor> {
        self.descriptors.get(&key).map(|descriptor| &*descriptor.value)
    }

    /// All descriptors, by key.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors.values().map(|descriptor| &*descriptor.value)
    }

    /// The registered nodes; only shard 0 has any.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().map(|node| &*node.value)
    }

    /// Whether a node may delete the data of this triple. Ask the shard's leader, as of a linearizable read:
    /// an old replica may not know the partition yet.
    pub fn confirms_removal(&self, key: PartitionKey, replica: ReplicaId) -> bool {
        key.home() == self.id && self.descriptor(key).is_none_or(|descriptor| !descriptor.names(replica))
    }

    /// Applies the command of the committed entry at `index`. Entries come once each and in order.
    pub fn apply(&mut self, index: u64, payload: &[u8]) -> Outcome {
        let command = Command::decode(payload);
        if let Ok(Command::BeginEra(epoch)) = &command {
            self.era = self.era.max(epoch.0);
        }
        let version = (u64::from(self.era) << 32) + index;
        assert!(version > self.version, "shard {} applies {version} after {}", self.id.0, self.version);
        self.version = version;
        match command {
            Ok(command) => self.perform(command),
            // Equal on every replica of this release; a later release announces new commands by its feature
            // level.
            Err(error) => {
                refused(ErrorCode::UnknownServerError, format!("undecodable metadata command: {error}"))
            }
        }
    }

    fn perform(&mut self, command: Command) -> Outcome {
        match command {
            Command::RegisterNode(registration) => self.register(registration),
            Command::CreateTopic { name, id, partitions, configs } => {
                match self.may_create(&name, id, &partitions) {
                    Ok(floor) => self.create(name, id, partitions, configs, floor),
                    Err(outcome) => outcome,
                }
            }
            Command::DeleteTopic { id } => self.delete(id),
            Command::MarkCreated { topic, partitions } => self.mark_created(topic, &partitions),
            Command::ReplaceReplica { key, old, new } => self.replace(key, old, new),
            Command::FinishReplacement { key, old } => self.finish(key, old),
            Command::AllocateProducerIds { count, .. } => self.allocate(count),
            Command::RaiseTermCeiling { topic, term } => self.raise_ceiling(topic, term),
            Command::AbandonTopic { topic } => self.abandon(topic),
            Command::AddPartitions { topic, from, partitions } => self.grow(topic, from, partitions),
            Command::SetNodeState { node, incarnation, state } => self.set_state(node, incarnation, state),
            Command::Reassign { key, replicas } => self.reassign(key, replicas),
            Command::PauseBalancing(paused) => self.pause(paused),
            Command::PlanReplicas { key, replicas } => self.plan_replicas(key, replicas),
            Command::CarryOutPlan { key, epoch } => self.carry_out(key, epoch),
            Command::CancelPlan { key, epoch } => self.cancel_plan(key, epoch),
            Command::AlterTopicConfigs { topic, replace, edits } => self.alter_topic(topic, replace, &edits),
            Command::AlterNodeConfigs { node, replace, edits } => self.alter_node(node, replace, &edits),
            Command::AlterQuota { entity, changes } => self.alter_quota(entity, &changes),
            Command::Recover(recovery) => self.recover(recovery),
            Command::BeginEra(_) => Outcome::Done,
            Command::TakeOver(wish) => self.take_over(wish),
        }
    }

    fn register(&mut self, registration: Registration) -> Outcome {
        if let Err(outcome) = self.may_register(&registration) {
            return outcome;
        }
        let comes_back = |node: &NodeInfo| {
            mutant::active(Mutant::OutlivedNotFenced) && node.former.contains(&registration.peer_id)
        };
        let known = self
            .nodes
            .values()
            .find(|node| node.value.peer_id == registration.peer_id || comes_back(&node.value));
        match known.map(|node| node.value.clone()) {
            Some(info) => self.register_known(Arc::unwrap_or_clone(info), registration),
            None => self.register_new(registration),
        }
    }

    /// What any registration must be: well-formed, and not of an identity whose number went over to another.
    fn may_register(&self, registration: &Registration) -> Result<(), Outcome> {
        let texts = [&registration.kafka, &registration.mesh, &registration.http, &registration.zone];
        if self.id != ShardId(0) {
            return Err(refused(ErrorCode::InvalidRequest, "nodes register with shard 0"));
        }
        if registration.peer_id.is_empty()
            || registration.peer_id.len() > NODE_TEXT_MAX
            || registration.weight == 0
            || texts.iter().any(|text| text.len() > NODE_TEXT_MAX)
        {
            let message = "a field of the registration is empty or too long";
            return Err(refused(ErrorCode::InvalidRequest, message));
        }
        let outlived = self.nodes.values().find(|node| node.value.is_outlived_peer(&registration.peer_id));
        match outlived {
            Some(node) => Err(refused(ErrorCode::PolicyViolation, succession::outlived(node.value.node))),
            None => Ok(()),
        }
    }

    fn register_known(&mut self, mut info: NodeInfo, registration: Registration) -> Outcome {
        let node = info.node;
        if registration.node.is_some_and(|claimed| claimed != node) {
            let message = format!("this identity is registered as node {}", node.0);
            return refused(ErrorCode::InvalidRequest, message);
        }
        if info.state == NodeState::Removed {
            let message = format!(
                "node {} was removed from the mesh for good; to come back as a new node start with an empty directory",
                node.0
            );
            return refused(ErrorCode::PolicyViolation, message);
        }
        if info.is_outlived(&registration.peer_id, registration.incarnation) {
            let message = format!(
                "node {} has lived in a newer data directory since; this one is an old copy: do not start it",
                node.0
            );
            return refused(ErrorCode::PolicyViolation, message);
        }
        if info.incarnation != registration.incarnation {
            info.retired.insert(info.incarnation);
            info.incarnation = registration.incarnation;
        }
        if info.state == NodeState::Dead {
            info.state = NodeState::Active;
        }
        info.peer_id = registration.peer_id;
        info.kafka = registration.kafka;
        info.mesh = registration.mesh;
        info.http = registration.http;
        info.zone = registration.zone;
        info.weight = registration.weight;
        self.put_node(info);
        Outcome::Registered { node }
    }

    fn register_new(&mut self, registration: Registration) -> Outcome {
        if let Some(claimed) = registration.node {
            let message = if self.nodes.contains_key(&claimed) {
                format!("node {} is registered with another identity", claimed.0)
            } else {
                format!(
                    "node {} is not of this cluster; is this the data directory of another one?",
                    claimed.0
                )
            };
            return refused(ErrorCode::InvalidRequest, message);
        }
        let present = |node: &&Versioned<Arc<NodeInfo>>| node.value.state != NodeState::Removed;
        let owner = self.nodes.values().filter(present).find(|node| node.value.mesh == registration.mesh);
        if let Some(owner) = owner {
            // Who takes up the question of such a machine asks for the number of its address: this one did not know of that node yet.
            let message = format!(
                "the address {} belongs to node {}, of which the member that was asked does not know yet",
                registration.mesh, owner.value.node.0
            );
            return refused(ErrorCode::NotController, message);
        }
        if self.nodes.len() >= NODES_MAX || self.next_node == i32::MAX {
            return refused(ErrorCode::PolicyViolation, format!("a mesh has at most {NODES_MAX} nodes"));
        }
        let node = NodeId(self.next_node);
        self.next_node += 1;
        self.put_node(NodeInfo {
            node,
            incarnation: registration.incarnation,
            peer_id: registration.peer_id,
            kafka: registration.kafka,
            mesh: registration.mesh,
            http: registration.http,
            zone: registration.zone,
            weight: registration.weight,
            retired: BTreeSet::new(),
            state: NodeState::Active,
            former: BTreeSet::new(),
        });
        Outcome::Registered { node }
    }

    fn put_node(&mut self, info: NodeInfo) {
        if self.nodes.get(&info.node).is_none_or(|before| *before.value != info) {
            self.nodes.insert(info.node, Versioned { changed: self.version, value: info.into() });
        }
    }

    /// The term floor of the new topic, or why it may not be.
    fn may_create(&self, name: &str, id: TopicId, partitions: &[Vec<ReplicaId>]) -> Result<u32, Outcome> {
        if let Some(&existing) = self.names.get(name) {
            if existing == id {
                return Err(Outcome::Done);
            }
            return Err(refused(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
        }
        let known = self.topics.contains_key(&id) || self.deleted.iter().any(|(_, deleted)| *deleted == id);
        if known
            || id == METADATA_TOPIC
            || ShardId::of_topic(id) != self.id
            || ShardId::of_name(name) != self.id
        {
            let message = format!("topic '{name}' with this id does not belong to shard {}", self.id.0);
            return Err(refused(ErrorCode::InvalidRequest, message));
        }
        if name.is_empty() || name.len() > 249 {
            return Err(refused(ErrorCode::InvalidTopic, "a topic name has 1 to 249 bytes"));
        }
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        if !(1..=TOPIC_PARTITIONS_MAX).contains(&count) {
            let message = format!("a topic has 1 to {TOPIC_PARTITIONS_MAX} partitions");
            return Err(refused(ErrorCode::InvalidPartitions, message));
        }
        self.may_hold(partitions)?;
        let floor = self.floors.get(name).copied().unwrap_or(self.floor_of_rest);
        if floor > TERM_MAX - TERM_SLACK {
            let message = format!("the leader epochs of the name '{name}' are used up; choose another name");
            return Err(refused(ErrorCode::PolicyViolation, message));
        }
        Ok(floor)
    }

    fn create(
        &mut self,
        name: String,
        id: TopicId,
        partitions: Vec<Vec<ReplicaId>>,
        configs: BTreeMap<String, String>,
        term_floor: u32,
    ) -> Outcome {
        let changed = self.version;
        let count = i32::try_from(partitions.len()).expect("may_create bounds the partitions");
        for (partition, replicas) in (0..count).zip(partitions) {
            let key = PartitionKey { topic: id, partition };
            let value = Descriptor::founded(key, replicas, term_floor).into();
            self.descriptors.insert(key, Versioned { changed, value });
        }
        self.floors.remove(&name);
        self.names.insert(name.clone(), id);
        let term_ceiling = term_floor + TERM_SLACK;
        let value = Topic { name, id, partitions: count, configs, term_floor, term_ceiling };
        self.topics.insert(id, Versioned { changed, value: value.into() });
        Outcome::Done
    }

    /// Whether there is room for these partitions, and their replicas can be founded.
    fn may_hold(&self, partitions: &[Vec<ReplicaId>]) -> Result<(), Outcome> {
        if self.descriptors.len() + partitions.len() > SHARD_PARTITIONS_MAX {
            let message =
                format!("the topics of one metadata shard have at most {SHARD_PARTITIONS_MAX} partitions");
            return Err(refused(ErrorCode::PolicyViolation, message));
        }
        for replicas in partitions {
            let nodes: Vec<NodeId> = replicas.iter().map(|replica| replica.node).collect();
            let first = replicas.iter().all(|replica| replica.epoch == FIRST_REPLICA_EPOCH);
            if nodes.is_empty() || nodes.len() > REPLICAS_MAX || !all_distinct(&nodes) || !first {
                return Err(refused(
                    ErrorCode::InvalidReplicaAssignment,
                    "a partition's replicas are not valid",
                ));
            }
        }
        Ok(())
    }

    fn grow(&mut self, id: TopicId, from: i32, partitions: Vec<Vec<ReplicaId>>) -> Outcome {
        let Some(topic) = self.topic(id) else {
            let error = ErrorCode::UnknownTopicOrPartition;
            return refused(error, error.text());
        };
        let (now, term_floor) = (topic.partitions, topic.term_floor);
        let added = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let total = from.saturating_add(added);
        if added > 0 && total == now {
            return Outcome::Done;
        }
        if from != now || added == 0 || total > TOPIC_PARTITIONS_MAX {
            let message = format!("the topic has {now} partition(s); it cannot grow from {from} to {total}");
            return refused(ErrorCode::InvalidPartitions, message);
        }
        if let Err(outcome) = self.may_hold(&partitions) {
            return outcome;
        }
        let changed = self.version;
        for (partition, replicas) in (from..total).zip(partitions) {
            let key = PartitionKey { topic: id, partition };
            let value = Descriptor::founded(key, replicas, term_floor).into();
            self.descriptors.insert(key, Versioned { changed, value });
        }
        if let Some(topic) = self.topics.get_mut(&id) {
            Arc::make_mut(&mut topic.value).partitions = total;
            topic.changed = changed;
        }
        Outcome::Done
    }

    fn alter_topic(&mut self, id: TopicId, replace: bool, edits: &[Edit]) -> Outcome {
        let Some(topic) = self.topics.get_mut(&id) else {
            let error = ErrorCode::UnknownTopicOrPartition;
            return refused(error, error.text());
        };
        apply(&mut Arc::make_mut(&mut topic.value).configs, replace, edits);
        topic.changed = self.version;
        Outcome::Done
    }

    fn alter_node(&mut self, node: Option<NodeId>, replace: bool, edits: &[Edit]) -> Outcome {
        if self.id != ShardId(0) {
            return refused(ErrorCode::InvalidRequest, "configs of nodes are kept by shard 0");
        }
        if let Some(unknown) = node.filter(|node| !self.nodes.contains_key(node)) {
            return refused(ErrorCode::BrokerIdNotRegistered, format!("there is no node {}", unknown.0));
        }
        let set = self.configs.entry(node.unwrap_or(ALL_NODES)).or_default();
        apply(&mut set.value, replace, edits);
        set.changed = self.version;
        Outcome::Done
    }

    fn alter_quota(&mut self, entity: Entity, changes: &[(Limit, Option<Rate>)]) -> Outcome {
        if self.id != ShardId(0) || !entity.is_valid() {
            return refused(
                ErrorCode::InvalidRequest,
                "quotas are kept by shard 0, for users and client ids",
            );
        }
        self.quotas.changed = self.version;
        if self.quotas.value.alter(entity, changes) {
            return Outcome::Done;
        }
        refused(ErrorCode::PolicyViolation, format!("there are at most {QUOTAS_MAX} entities with a quota"))
    }

    /// Deletes a topic of which nothing was ever served.
    fn abandon(&mut self, id: TopicId) -> Outcome {
        let created = |key| self.descriptor(key).is_some_and(|descriptor| !descriptor.creating);
        match self.topics.get(&id) {
            Some(topic) if topic.value.keys().any(created) => {
                refused(ErrorCode::InvalidRequest, "a partition of the topic is created")
            }
            _ => self.delete(id),
        }
    }

    fn delete(&mut self, id: TopicId) -> Outcome {
        let Some(topic) = self.topics.remove(&id) else {
            if self.deleted.iter().any(|(_, deleted)| *deleted == id) {
                return Outcome::Done;
            }
            return refused(ErrorCode::UnknownTopicId, ErrorCode::UnknownTopicId.text());
        };
        for key in topic.value.keys() {
            self.descriptors.remove(&key);
        }
        self.names.remove(&topic.value.name);
        self.floors.insert(topic.value.name.clone(), topic.value.term_ceiling);
        if self.floors.len() > FLOORS_MAX {
            let highest = self.floors.values().copied().max().unwrap_or(0);
            self.floor_of_rest = self.floor_of_rest.max(highest);
            self.floors.clear();
        }
        self.deleted.push_back((self.version, id));
        if self.deleted.len() > DELETED_MAX
            && let Some((version, _)) = self.deleted.pop_front()
        {
            self.deleted_from = version;
        }
        Outcome::Done
    }

    fn mark_created(&mut self, topic: TopicId, partitions: &[i32]) -> Outcome {
        let mut known = false;
        for &partition in partitions {
            if let Some(descriptor) = self.descriptors.get_mut(&PartitionKey { topic, partition }) {
                known = true;
                if descriptor.value.creating {
                    let value = Arc::make_mut(&mut descriptor.value);
                    value.creating = false;
                    value.epoch += 1;
                    descriptor.changed = self.version;
                }
            }
        }
        if known { Outcome::Done } else { self.unknown_partition() }
    }

    fn replace(&mut self, key: PartitionKey, old: ReplicaId, new: ReplicaId) -> Outcome {
        let known = self.nodes.get(&new.node).map(|node| node.value.incarnation);
        let Some(versioned) = self.descriptors.get_mut(&key) else { return self.unknown_partition() };
        let descriptor = &versioned.value;
        let wants = |id: ReplicaId| descriptor.wanted().any(|wanted| wanted == id);
        if wants(new) && !wants(old) {
            return Outcome::Done;
        }
        if !wants(old) {
            return refused(
                ErrorCode::InvalidRequest,
                "the replica to replace is not one of the partition's",
            );
        }
        if descriptor.creating {
            return refused(ErrorCode::InvalidRequest, "the partition is being created");
        }
        let next = new.epoch == descriptor.next_replica_epoch() || mutant::active(Mutant::StaleOrderTaken);
        if !next || new.epoch.0 == u32::MAX {
            return refused(ErrorCode::InvalidRequest, "the replica epoch is not the partition's next one");
        }
        if new.node != old.node && descriptor.wanted_on(new.node).is_some() {
            return refused(ErrorCode::InvalidReplicaAssignment, "the node already has a replica");
        }
        if key.topic == METADATA_TOPIC && known != Some(new.incarnation) {
            return refused(
                ErrorCode::InvalidReplicaAssignment,
                "the node is not registered in this incarnation",
            );
        }
        if descriptor.leaving.len() >= LEAVING_MAX {
            return refused(
                ErrorCode::ThrottlingQuotaExceeded,
                "too many replacements of this partition are unfinished",
            );
        }
        Arc::make_mut(&mut versioned.value).replace(old, new);
        versioned.changed = self.version;
        Outcome::Done
    }

    fn finish(&mut self, key: PartitionKey, old: ReplicaId) -> Outcome {
        let Some(descriptor) = self.descriptors.get_mut(&key) else { return self.unknown_partition() };
        if descriptor.value.leaving.contains(&old) {
            let value = Arc::make_mut(&mut descriptor.value);
            value.leaving.retain(|&replica| replica != old);
            value.epoch += 1;
            descriptor.changed = self.version;
        }
        Outcome::Done
    }

    fn allocate(&mut self, count: u32) -> Outcome {
        let end = self.next_producer + u64::from(count);
        if count == 0 || count > PRODUCER_IDS_MAX || end > 1 << 48 {
            return refused(ErrorCode::InvalidRequest, "a node takes 1 to 100,000 producer ids at once");
        }
        let first = i64::from(self.id.0) << 48 | self.next_producer.cast_signed();
        self.next_producer = end;
        Outcome::ProducerIds { first, count }
    }

    fn raise_ceiling(&mut self, id: TopicId, term: u32) -> Outcome {
        let Some(topic) = self.topics.get_mut(&id) else {
            return refused(ErrorCode::UnknownTopicId, ErrorCode::UnknownTopicId.text());
        };
        if term > TERM_MAX {
            return refused(ErrorCode::InvalidRequest, "a term has 31 bits");
        }
        let ceiling = term.saturating_add(TERM_SLACK).min(TERM_MAX);
        if ceiling > topic.value.term_ceiling
            && term > topic.value.term_ceiling.saturating_sub(TERM_SLACK / 2)
        {
            Arc::make_mut(&mut topic.value).term_ceiling = ceiling;
            topic.changed = self.version;
        }
        Outcome::Done
    }

    fn unknown_partition(&self) -> Outcome {
        refused(ErrorCode::UnknownTopicOrPartition, format!("shard {} has no such partition", self.id.0))
    }

    /// What a view at version `from` lacks; everything when `from` is 0, too long ago or of an earlier era: such a view may have been told
    /// by a lost majority what is nowhere any more.
    pub fn update_since(&self, from: u64) -> ShardUpdate {
        let is_known =
            (self.deleted_from..=self.version).contains(&from) && from >> 32 == u64::from(self.era);
        let from = if is_known { from } else { 0 };
        let fresh = |changed: u64| from == 0 || changed > from;
        let mut changes = Vec::new();
        if self.id == ShardId(0) && fresh(self.paused.changed) {
            changes.push(Change::Paused(self.paused.value));
        }
        if self.id == ShardId(0) && fresh(self.quotas.changed) {
            changes.push(Change::Quotas(self.quotas.value.clone()));
        }
        let configs = self.configs.iter().filter(|(_, set)| fresh(set.changed));
        changes.extend(configs.map(|(&node, set)| Change::Configs { node, set: set.value.clone() }));
        if from != 0 {
            let deleted = self.deleted.iter().filter(|(version, _)| fresh(*version));
            changes.extend(deleted.map(|(_, id)| Change::TopicDeleted(*id)));
        }
        let nodes = self.nodes.values().filter(|node| fresh(node.changed));
        changes.extend(nodes.map(|node| Change::Node(node.value.clone())));
        let topics = self.topics.values().filter(|topic| fresh(topic.changed));
        changes.extend(topics.map(|topic| Change::Topic(topic.value.clone())));
        let descriptors = self.descriptors.values().filter(|descriptor| fresh(descriptor.changed));
        changes.extend(descriptors.map(|descriptor| Change::Descriptor(descriptor.value.clone())));
        let recoveries = self.recoveries.iter().filter(|recovery| fresh(recovery.changed));
        changes.extend(recoveries.map(|recovery| Change::Recovered(recovery.value.clone())));
        ShardUpdate {
            shard: self.id,
            from,
            version: self.version,
            cluster_id: self.cluster_id.clone(),
            changes,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
