//! What a node knows of all shards, merged from their updates. It may be old, and it is never wrong about the
//! past: versions of a shard only rise.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::NodeId;

use super::bytes::{Reader, Writer};
use super::command::Recovery;
use super::descriptor::{
    DecodeError, Descriptor, Founding, METADATA_TOPIC, NodeInfo, NodeState, PartitionKey, SHARDS, ShardId,
    Topic,
};
use super::shard::{RECOVERIES_MAX, Shard};
use super::update::{Change, ShardUpdate};
use crate::core::request::{TopicId, TopicRef};

const FORMAT: u8 = 1;

/// What an update did to a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The view had all of it.
    Current,
    /// These things changed, came or went.
    Changed {
        /// Partitions whose descriptor is another one now, or gone.
        partitions: BTreeSet<PartitionKey>,
        /// Topics that are another now, or gone.
        topics: BTreeSet<TopicId>,
        /// Whether a node changed.
        nodes: bool,
    },
    /// The update begins after what the view has: ask again from the view's version.
    Gap,
}

/// Topics, descriptors and nodes as last known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    cluster_id: String,
    versions: BTreeMap<ShardId, u64>,
    topics: BTreeMap<TopicId, Topic>,
    names: BTreeMap<String, TopicId>,
    descriptors: BTreeMap<PartitionKey, Descriptor>,
    by_node: BTreeMap<NodeId, BTreeSet<PartitionKey>>,
    nodes: BTreeMap<NodeId, NodeInfo>,
    paused: bool,
    /// By shard, oldest first.
    recoveries: BTreeMap<ShardId, Vec<Recovery>>,
}

impl View {
    /// What a founder knows before any shard spoke: the founders and where the shards are.
    pub fn founded(founding: &Founding) -> Self {
        let mut view = Self::default();
        view.merge(Shard::founded(ShardId(0), founding).update_since(0));
        view
    }

    /// Takes what a replica of a shard sent.
    pub fn merge(&mut self, update: ShardUpdate) -> Merge {
        let known = self.versions.get(&update.shard).copied();
        if known.is_some_and(|known| update.version <= known) {
            return Merge::Current;
        }
        if update.from != 0 && known.is_none_or(|known| known < update.from) {
            return Merge::Gap;
        }
        let mut touched = Touched::default();
        if update.from == 0 {
            self.drop_missing(&update, &mut touched);
        }
        if update.shard == ShardId(0) {
            self.cluster_id = update.cluster_id;
        }
        for change in update.changes {
            self.take(change, &mut touched);
        }
        self.versions.insert(update.shard, update.version);
        let Touched { partitions, topics, nodes } = touched;
        Merge::Changed { partitions, topics, nodes }
    }

    /// With a full update, what it does not mention is gone. Nodes are never removed.
    fn drop_missing(&mut self, update: &ShardUpdate, touched: &mut Touched) {
        let mut kept = BTreeSet::new();
        for change in &update.changes {
            if let Change::Topic(topic) = change {
                kept.insert(topic.id);
            }
        }
        let gone: Vec<TopicId> = self
            .topics
            .keys()
            .copied()
            .filter(|id| ShardId::of_topic(*id) == update.shard && !kept.contains(id))
            .collect();
        for id in gone {
            self.drop_topic(id, touched);
        }
    }

    fn take(&mut self, change: Change, touched: &mut Touched) {
        match change {
            Change::Topic(topic) => {
                if self.topics.get(&topic.id) != Some(&topic) {
                    touched.topics.insert(topic.id);
                    self.names.insert(topic.name.clone(), topic.id);
                    self.topics.insert(topic.id, topic);
                }
            }
            Change::TopicDeleted(id) => self.drop_topic(id, touched),
            Change::Descriptor(descriptor) => {
                let key = descriptor.key;
                if self.descriptors.get(&key) != Some(&descriptor) {
                    touched.partitions.insert(key);
                    self.drop_descriptor(key);
                    for replica in &descriptor.replicas {
                        self.by_node.entry(replica.node).or_default().insert(key);
                    }
                    self.descriptors.insert(key, descriptor);
                }
            }
            Change::Paused(paused) => self.paused = paused,
            Change::Recovered(recovery) => {
                let known = self.recoveries.entry(recovery.key.home()).or_default();
                if !known.contains(&recovery) {
                    known.push(recovery);
                    known.drain(..known.len().saturating_sub(RECOVERIES_MAX));
                }
            }
            Change::Node(node) => {
                if self.nodes.get(&node.node) != Some(&node) {
                    touched.nodes = true;
                    self.nodes.insert(node.node, node);
                }
            }
        }
    }

    fn drop_topic(&mut self, id: TopicId, touched: &mut Touched) {
        let Some(topic) = self.topics.remove(&id) else { return };
        touched.topics.insert(id);
        // The name may be a successor's by now.
        if self.names.get(&topic.name) == Some(&id) {
            self.names.remove(&topic.name);
        }
        for key in topic.keys() {
            if self.drop_descriptor(key) {
                touched.partitions.insert(key);
            }
        }
    }

    fn drop_descriptor(&mut self, key: PartitionKey) -> bool {
        let Some(descriptor) = self.descriptors.remove(&key) else { return false };
        for replica in &descriptor.replicas {
            if let Some(keys) = self.by_node.get_mut(&replica.node) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.by_node.remove(&replica.node);
                }
            }
        }
        true
    }

    /// The cluster's id; empty until shard 0 is known.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The version of a shard that this view has, to ask for what came after; 0 asks for everything.
    pub fn version(&self, shard: ShardId) -> u64 {
        self.versions.get(&shard).copied().unwrap_or(0)
    }

    /// Whether anything of that shard is known.
    pub fn knows(&self, shard: ShardId) -> bool {
        self.versions.contains_key(&shard)
    }

    /// Whether all shards are known.
    pub fn knows_all(&self) -> bool {
        self.versions.len() == usize::from(SHARDS)
    }

    /// A topic by id.
    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// A topic by name.
    pub fn topic_named(&self, name: &str) -> Option<&Topic> {
        self.topic(*self.names.get(name)?)
    }

    /// A topic as a client names it.
    pub fn topic_ref(&self, topic: &TopicRef) -> Option<&Topic> {
        match topic {
            TopicRef::Name(name) => self.topic_named(name),
            TopicRef::Id(id) => self.topic(*id),
        }
    }

    /// All topics of users, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// A partition's desired replicas.
    pub fn descriptor(&self, key: PartitionKey) -> Option<&Descriptor> {
        self.descriptors.get(&key)
    }

    /// Where a metadata shard is.
    pub fn shard(&self, shard: ShardId) -> Option<&Descriptor> {
        self.descriptor(PartitionKey::of_shard(shard))
    }

    /// The descriptors of a topic's partitions in order.
    pub fn partitions(&self, topic: TopicId) -> impl Iterator<Item = &Descriptor> {
        let first = PartitionKey { topic, partition: i32::MIN };
        let last = PartitionKey { topic, partition: i32::MAX };
        self.descriptors.range(first..=last).map(|(_, descriptor)| descriptor)
    }

    /// All partitions, shards included, that want a replica on `node`.
    pub fn desired_on(&self, node: NodeId) -> impl Iterator<Item = &Descriptor> {
        let keys = self.by_node.get(&node).into_iter().flatten();
        keys.filter_map(|key| self.descriptors.get(key))
    }

    /// The nodes that share a partition with `node`, without it.
    pub fn peers_of(&self, node: NodeId) -> BTreeSet<NodeId> {
        let replicas = self.desired_on(node).flat_map(|descriptor| &descriptor.replicas);
        replicas.map(|replica| replica.node).filter(|&peer| peer != node).collect()
    }

    /// A node that was ever registered.
    pub fn node(&self, node: NodeId) -> Option<&NodeInfo> {
        self.nodes.get(&node)
    }

    /// The nodes of the mesh by id, also those that are away.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|node| node.state != NodeState::Removed)
    }

    /// All desired replicas of all partitions, shards included.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors.values()
    }

    /// Whether replicas shall not be moved for balance.
    pub fn balancing_paused(&self) -> bool {
        self.paused
    }

    /// The recoveries from lost majorities that are remembered, by shard and oldest first.
    pub fn recoveries(&self) -> impl Iterator<Item = &Recovery> {
        self.recoveries.values().flatten()
    }

    /// How many replicas of users' partitions each node is desired to hold.
    pub fn replica_counts(&self) -> BTreeMap<NodeId, usize> {
        let users =
            |keys: &BTreeSet<PartitionKey>| keys.iter().filter(|key| key.topic != METADATA_TOPIC).count();
        self.by_node.iter().map(|(&node, keys)| (node, users(keys))).collect()
    }

    /// One shard as a full update, to tell a node that knows less.
    pub fn update_of(&self, shard: ShardId) -> Option<ShardUpdate> {
        let version = *self.versions.get(&shard)?;
        let mut changes = Vec::new();
        let mut cluster_id = String::new();
        if shard == ShardId(0) {
            cluster_id.clone_from(&self.cluster_id);
            changes.push(Change::Paused(self.paused));
            changes.extend(self.nodes.values().cloned().map(Change::Node));
        }
        let topics = self.topics.values().filter(|topic| ShardId::of_topic(topic.id) == shard);
        changes.extend(topics.cloned().map(Change::Topic));
        let descriptors = self.descriptors.values().filter(|descriptor| descriptor.key.home() == shard);
        changes.extend(descriptors.cloned().map(Change::Descriptor));
        let recoveries = self.recoveries.get(&shard).into_iter().flatten();
        changes.extend(recoveries.cloned().map(Change::Recovered));
        Some(ShardUpdate { shard, from: 0, version, cluster_id, changes })
    }

    /// The copy that a node keeps on disk: format u8 = 1, and a list of full updates.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(FORMAT);
        w.count(self.versions.len());
        for update in self.versions.keys().filter_map(|&shard| self.update_of(shard)) {
            update.write(&mut w);
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
        let updates = r.list(2, ShardUpdate::read)?;
        r.end()?;
        let mut view = Self::default();
        for update in updates {
            view.merge(update);
        }
        Ok(view)
    }
}

#[derive(Default)]
struct Touched {
    partitions: BTreeSet<PartitionKey>,
    topics: BTreeSet<TopicId>,
    nodes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::metadata::descriptor::first_replica;
    use crate::core::metadata::{Command, Founder};
    use mesh::raft::Incarnation;

    fn founding() -> Founding {
        let founder = |node: i32| Founder {
            node: NodeId(node),
            incarnation: Incarnation(1),
            peer_id: vec![node.to_be_bytes()[3]],
            mesh: format!("n{node}:1"),
            zone: String::new(),
        };
        Founding { cluster_id: "c".into(), founders: (1..=4).map(founder).collect() }
    }

    #[test]
    fn founders_know_each_other_and_the_shards() {
        let view = View::founded(&founding());
        assert_eq!(view.cluster_id(), "c");
        assert_eq!(view.nodes().count(), 4);
        assert!(ShardId::all().all(|shard| view.shard(shard).is_some()));
        assert!(view.knows(ShardId(0)) && !view.knows_all());
        assert_eq!(view.topics().count(), 0, "shards are no topic of users");
        let held: usize = (1..=4).map(|node| view.desired_on(NodeId(node)).count()).sum();
        assert_eq!(held, 48);
        assert!(!view.peers_of(NodeId(1)).contains(&NodeId(1)));
    }

    #[test]
    fn topics_are_found_by_name_and_id_and_by_node() {
        let mut view = View::founded(&founding());
        let shard = ShardId::of_name("t");
        let id = super::super::descriptor::topic_id("t", [9; 16]);
        let mut state = Shard::founded(shard, &founding());
        let on = |node| vec![first_replica(NodeId(node), Incarnation(1))];
        let (name, configs) = ("t".to_owned(), BTreeMap::new());
        let partitions = (0..12).map(|partition| on(1 + partition % 2)).collect();
        state.apply(1, &Command::CreateTopic { name, id, partitions, configs }.encode());
        let Merge::Changed { partitions, topics, nodes } = view.merge(state.update_since(0)) else {
            panic!("news")
        };
        assert_eq!((partitions.len(), topics.len()), (12, 1));
        assert!(!nodes);
        assert_eq!(view.topic_named("t").map(|topic| topic.id), Some(id));
        assert_eq!(view.topic_ref(&TopicRef::Id(id)), view.topic_ref(&TopicRef::Name("t".into())));
        let numbers: Vec<i32> = view.partitions(id).map(|descriptor| descriptor.key.partition).collect();
        assert_eq!(numbers, (0..12).collect::<Vec<_>>());
        assert_eq!(view.replica_counts()[&NodeId(1)], 6);
        state.apply(2, &Command::DeleteTopic { id }.encode());
        view.merge(state.update_since(1));
        assert_eq!(view.topic_named("t"), None);
        assert_eq!(view.partitions(id).count(), 0);
        assert_eq!(view.replica_counts()[&NodeId(1)], 0);
    }
}
