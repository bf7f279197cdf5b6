//! What a node knows of all shards, merged from their updates. It may be old, and it is never wrong about the
//! past: versions of a shard only rise.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use mesh::raft::NodeId;

use super::bytes::{Reader, Writer};
use super::command::{ALL_NODES, Recovery};
use super::configs::Configs;
use super::descriptor::{
    DecodeError, Descriptor, Founding, METADATA_TOPIC, NodeInfo, NodeState, PartitionKey, SHARDS, ShardId,
    TOPIC_PARTITIONS_MAX, Topic,
};
use super::quotas::Quotas;
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
        /// Partitions whose descriptor is another one now, or gone: of those that concern the node whose view it is.
        partitions: BTreeSet<PartitionKey>,
        /// Topics that are another now, or gone.
        topics: BTreeSet<TopicId>,
        /// Whether a node changed.
        nodes: bool,
        /// Whether what is set for topics or nodes changed.
        configs: bool,
    },
    /// The update begins after what the view has: ask again from the view's version.
    Gap,
}

/// Topics, descriptors and nodes as last known.
///
/// What is in it is shared with whoever told it, and with every copy: a partition costs a view one pointer besides its descriptor,
/// so that a copy is cheap and a process may hold a thousand views of a hundred thousand partitions.
#[derive(Clone, Debug, Default)]
pub struct View {
    cluster_id: String,
    versions: BTreeMap<ShardId, u64>,
    topics: BTreeMap<TopicId, Arc<Topic>>,
    names: BTreeMap<String, TopicId>,
    /// By topic and number of the partition; without holes at the end.
    descriptors: BTreeMap<TopicId, Vec<Option<Arc<Descriptor>>>>,
    nodes: BTreeMap<NodeId, Arc<NodeInfo>>,
    paused: bool,
    /// Whose view it is, and the partitions that want a replica there.
    owner: Option<(NodeId, BTreeSet<PartitionKey>)>,
    configs: BTreeMap<NodeId, Configs>,
    quotas: Quotas,
    /// By shard, oldest first.
    recoveries: BTreeMap<ShardId, Vec<Recovery>>,
}

static NOTHING_SET: Configs = Configs::new();

/// What is known, whoever knows it.
impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        let known = |view: &Self| (view.cluster_id.clone(), view.paused);
        known(self) == known(other)
            && self.versions == other.versions
            && self.topics == other.topics
            && self.names == other.names
            && self.descriptors == other.descriptors
            && self.nodes == other.nodes
            && self.configs == other.configs
            && self.quotas == other.quotas
            && self.recoveries == other.recoveries
    }
}

impl Eq for View {}

impl View {
    /// What a founder knows before any shard spoke: the founders and where the shards are.
    pub fn founded(founding: &Founding) -> Self {
        let mut view = Self::default();
        view.merge(Shard::founded(ShardId(0), founding).update_since(0));
        view
    }

    /// From now on it is the view of this node: changes of what others hold are not told, and what is here is found quickly.
    pub fn belongs_to(&mut self, node: NodeId) {
        let mine = self.desired_on(node).map(|descriptor| descriptor.key).collect();
        self.owner = Some((node, mine));
    }

    /// Takes what a replica of a shard sent.
    pub fn merge(&mut self, update: ShardUpdate) -> Merge {
        self.merge_shared(&update, |_| false)
    }

    /// Takes what a replica of a shard sent, and keeps what is in it without copying. Partitions that `concerns` names are told in
    /// any case when they change.
    pub fn merge_shared(&mut self, update: &ShardUpdate, concerns: impl Fn(PartitionKey) -> bool) -> Merge {
        let known = self.versions.get(&update.shard).copied();
        if known.is_some_and(|known| update.version <= known) {
            return Merge::Current;
        }
        if update.from != 0 && known.is_none_or(|known| known < update.from) {
            return Merge::Gap;
        }
        let mut touched = Touched {
            partitions: BTreeSet::new(),
            topics: BTreeSet::new(),
            nodes: false,
            configs: false,
            concerns,
        };
        if update.from == 0 {
            self.drop_missing(update, &mut touched);
        }
        if update.shard == ShardId(0) {
            self.cluster_id.clone_from(&update.cluster_id);
        }
        for change in &update.changes {
            self.take(change, &mut touched);
        }
        self.versions.insert(update.shard, update.version);
        let Touched { partitions, topics, nodes, configs, .. } = touched;
        Merge::Changed { partitions, topics, nodes, configs }
    }

    /// With a full update, what it does not mention is gone. Nodes are never removed.
    fn drop_missing(&mut self, update: &ShardUpdate, touched: &mut Touched<impl Fn(PartitionKey) -> bool>) {
        let (mut kept, mut partitions, mut set) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for change in &update.changes {
            match change {
                Change::Topic(topic) => _ = kept.insert(topic.id),
                Change::Descriptor(descriptor) => _ = partitions.insert(descriptor.key),
                Change::Configs { node, .. } => _ = set.insert(*node),
                _ => {}
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
        // What follows may be missing only where a lost majority told of it.
        let homes =
            self.descriptors.iter_mut().filter(|(topic, _)| ShardId::of_topic(**topic) == update.shard);
        let mut gone = Vec::new();
        for (_, of_topic) in homes {
            let lacks = |one: &mut Arc<Descriptor>| !partitions.contains(&one.key);
            gone.extend(of_topic.iter_mut().filter_map(|slot| slot.take_if(lacks)));
            of_topic.truncate(of_topic.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        }
        for descriptor in gone {
            self.changed(descriptor.key, Some(&descriptor), None, touched);
        }
        if update.shard == ShardId(0) {
            let before = self.configs.len();
            self.configs.retain(|node, _| set.contains(node));
            touched.configs |= self.configs.len() != before;
        }
        self.recoveries.remove(&update.shard);
    }

    fn take(&mut self, change: &Change, touched: &mut Touched<impl Fn(PartitionKey) -> bool>) {
        match change {
            Change::Topic(topic) => {
                let known = self.topics.get(&topic.id);
                if known != Some(topic) {
                    touched.configs |= match known {
                        Some(known) => known.configs != topic.configs,
                        None => !topic.configs.is_empty() || self.configs.values().any(|set| !set.is_empty()),
                    };
                    touched.topics.insert(topic.id);
                    self.names.insert(topic.name.clone(), topic.id);
                    self.topics.insert(topic.id, topic.clone());
                }
            }
            Change::TopicDeleted(id) => self.drop_topic(*id, touched),
            Change::Descriptor(descriptor) => self.take_descriptor(descriptor, touched),
            Change::Paused(paused) => self.paused = *paused,
            Change::Quotas(quotas) => {
                touched.configs |= self.quotas != *quotas;
                self.quotas = quotas.clone();
            }
            Change::Configs { node, set } => {
                touched.configs |= self.configs_of(*node) != set;
                self.configs.insert(*node, set.clone());
            }
            Change::Recovered(recovery) => {
                let known = self.recoveries.entry(recovery.key.home()).or_default();
                if !known.contains(recovery) {
                    known.push(recovery.clone());
                    known.drain(..known.len().saturating_sub(RECOVERIES_MAX));
                }
            }
            Change::Node(node) => {
                if self.nodes.get(&node.node) != Some(node) {
                    touched.nodes = true;
                    self.nodes.insert(node.node, node.clone());
                }
            }
        }
    }

    fn take_descriptor(
        &mut self,
        descriptor: &Arc<Descriptor>,
        touched: &mut Touched<impl Fn(PartitionKey) -> bool>,
    ) {
        let key = descriptor.key;
        // The decoder lets no other pass.
        let Some(number) = number_of(key) else { return };
        let of_topic = self.descriptors.entry(key.topic).or_default();
        if of_topic.len() <= number {
            of_topic.resize(number + 1, None);
        }
        let before = of_topic[number].replace(descriptor.clone());
        if before.as_ref() != Some(descriptor) {
            self.changed(key, before.as_deref(), Some(descriptor), touched);
        }
    }

    /// A descriptor came, changed or went: whom it concerns.
    fn changed(
        &mut self,
        key: PartitionKey,
        before: Option<&Descriptor>,
        now: Option<&Descriptor>,
        touched: &mut Touched<impl Fn(PartitionKey) -> bool>,
    ) {
        let Some((owner, mine)) = &mut self.owner else {
            touched.partitions.insert(key);
            return;
        };
        let wanted = now.is_some_and(|now| now.wanted_on(*owner).is_some());
        match wanted {
            true => mine.insert(key),
            false => mine.remove(&key),
        };
        let named = |descriptor: &Descriptor| descriptor.names_node(*owner);
        if before.is_some_and(named) || now.is_some_and(named) || (touched.concerns)(key) {
            touched.partitions.insert(key);
        }
    }

    fn drop_topic(&mut self, id: TopicId, touched: &mut Touched<impl Fn(PartitionKey) -> bool>) {
        let Some(topic) = self.topics.remove(&id) else { return };
        touched.topics.insert(id);
        // The name may be a successor's by now.
        if self.names.get(&topic.name) == Some(&id) {
            self.names.remove(&topic.name);
        }
        for descriptor in self.descriptors.remove(&id).into_iter().flatten().flatten() {
            self.changed(descriptor.key, Some(&descriptor), None, touched);
        }
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
        self.topics.get(&id).map(|topic| &**topic)
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
        self.names.values().filter_map(|id| self.topic(*id))
    }

    /// A partition's desired replicas.
    pub fn descriptor(&self, key: PartitionKey) -> Option<&Descriptor> {
        self.descriptors.get(&key.topic)?.get(number_of(key)?)?.as_deref()
    }

    /// Where a metadata shard is.
    pub fn shard(&self, shard: ShardId) -> Option<&Descriptor> {
        self.descriptor(PartitionKey::of_shard(shard))
    }

    /// The descriptors of a topic's partitions in order.
    pub fn partitions(&self, topic: TopicId) -> impl Iterator<Item = &Descriptor> {
        self.descriptors.get(&topic).into_iter().flatten().flatten().map(|descriptor| &**descriptor)
    }

    /// All partitions, shards included, that want a replica on `node`, or plan one there. Found at once for the node whose view it is; for
    /// any other everything is looked at.
    pub fn desired_on(&self, node: NodeId) -> Box<dyn Iterator<Item = &Descriptor> + '_> {
        match &self.owner {
            Some((owner, mine)) if *owner == node => {
                Box::new(mine.iter().filter_map(|key| self.descriptor(*key)))
            }
            _ => Box::new(self.descriptors().filter(move |descriptor| descriptor.wanted_on(node).is_some())),
        }
    }

    /// The partitions, shards included, that want a replica on the node whose view it is, from `after` on and without it.
    pub fn mine_after(&self, after: Option<PartitionKey>) -> impl Iterator<Item = PartitionKey> + '_ {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mine = self.owner.iter().flat_map(move |(_, mine)| mine.range((from, Bound::Unbounded)));
        mine.copied()
    }

    /// The nodes that share a partition with `node`, without it.
    pub fn peers_of(&self, node: NodeId) -> BTreeSet<NodeId> {
        let replicas = self.desired_on(node).flat_map(Descriptor::wanted);
        replicas.map(|replica| replica.node).filter(|&peer| peer != node).collect()
    }

    /// A node that was ever registered.
    pub fn node(&self, node: NodeId) -> Option<&NodeInfo> {
        self.nodes.get(&node).map(|info| &**info)
    }

    /// The nodes of the mesh by id, also those that are away.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().map(|info| &**info).filter(|node| node.state != NodeState::Removed)
    }

    /// How many nodes were ever registered.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// All desired replicas of all partitions, shards included.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors.values().flatten().flatten().map(|descriptor| &**descriptor)
    }

    /// Whether replicas shall not be moved for balance.
    pub fn balancing_paused(&self) -> bool {
        self.paused
    }

    /// All quotas.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// The recoveries from lost majorities that are remembered, by shard and oldest first.
    pub fn recoveries(&self) -> impl Iterator<Item = &Recovery> {
        self.recoveries.values().flatten()
    }

    fn configs_of(&self, node: NodeId) -> &Configs {
        self.configs.get(&node).unwrap_or(&NOTHING_SET)
    }

    /// What is set for one node, under the names of a node's keys.
    pub fn node_configs(&self, node: NodeId) -> &Configs {
        self.configs_of(node)
    }

    /// What is set for all nodes, under the same names.
    pub fn cluster_configs(&self) -> &Configs {
        self.configs_of(ALL_NODES)
    }

    /// How many replicas of users' partitions each node is desired to hold.
    pub fn replica_counts(&self) -> BTreeMap<NodeId, usize> {
        let mut counts = BTreeMap::new();
        for descriptor in self.descriptors() {
            for replica in &descriptor.replicas {
                *counts.entry(replica.node).or_default() +=
                    usize::from(descriptor.key.topic != METADATA_TOPIC);
            }
        }
        counts
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
            changes.push(Change::Quotas(self.quotas.clone()));
            let configs = self.configs.iter();
            changes.extend(configs.map(|(&node, set)| Change::Configs { node, set: set.clone() }));
        }
        let topics = self.topics.values().filter(|topic| ShardId::of_topic(topic.id) == shard);
        changes.extend(topics.cloned().map(Change::Topic));
        let homes = self.descriptors.iter().filter(|(topic, _)| ShardId::of_topic(**topic) == shard);
        let descriptors = homes.flat_map(|(_, of_topic)| of_topic).flatten();
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

/// What an update touched, and which partitions are told although the owner's replicas are not among them.
struct Touched<F> {
    partitions: BTreeSet<PartitionKey>,
    topics: BTreeSet<TopicId>,
    nodes: bool,
    configs: bool,
    concerns: F,
}

/// Where a partition is in its topic's list.
fn number_of(key: PartitionKey) -> Option<usize> {
    usize::try_from(key.partition).ok().filter(|_| key.partition < TOPIC_PARTITIONS_MAX)
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
        let Merge::Changed { partitions, topics, nodes, .. } = view.merge(state.update_since(0)) else {
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
