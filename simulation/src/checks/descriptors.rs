//! The metadata as it was committed: the shards' own state machines, fed entry by entry.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{Incarnation, Index, NodeId, ReplicaId};
use node::core::metadata::{Change, Descriptor, Founding, PartitionKey, Shard, ShardId, View};
use node::core::request::{TopicId, TopicRef};

/// What the shards say, every (partition, triple) they ever named, and every topic that ever was.
pub(crate) struct Descriptors {
    shards: BTreeMap<ShardId, Shard>,
    named: BTreeSet<(PartitionKey, ReplicaId)>,
    topics: BTreeMap<TopicId, String>,
}

impl Descriptors {
    /// Begins where the founders began.
    pub(super) fn new(founding: &Founding) -> Self {
        let shards = ShardId::all().map(|id| (id, Shard::founded(id, founding))).collect();
        let mut descriptors = Self { shards, named: BTreeSet::new(), topics: BTreeMap::new() };
        for descriptor in founding.shards() {
            descriptors.name(&descriptor);
        }
        descriptors
    }

    fn name(&mut self, descriptor: &Descriptor) {
        let triples = descriptor.replicas.iter().chain(&descriptor.leaving);
        self.named.extend(triples.map(|triple| (descriptor.key, *triple)));
    }

    /// A command was committed.
    pub(super) fn apply(&mut self, shard: ShardId, index: Index, command: &[u8]) {
        let Some(shard) = self.shards.get_mut(&shard) else { return };
        let before = shard.version();
        let _ = shard.apply(index.0, command);
        for change in shard.update_since(before).changes {
            match change {
                Change::Descriptor(descriptor) => self.name(&descriptor),
                Change::Topic(topic) => _ = self.topics.insert(topic.id, topic.name),
                Change::TopicDeleted(_) | Change::Node(_) | Change::Paused(_) => {}
            }
        }
    }

    /// The life of a node's data directory by the registry.
    pub(crate) fn life_of(&self, node: NodeId) -> Option<Incarnation> {
        let mut nodes = self.shards.get(&ShardId(0))?.nodes();
        nodes.find(|info| info.node == node).map(|info| info.incarnation)
    }

    /// What a node would know that heard of everything.
    pub(crate) fn view(&self) -> View {
        let mut view = View::default();
        for shard in self.shards.values() {
            view.merge(shard.update_since(0));
        }
        view
    }

    /// Whether a descriptor ever named this triple.
    pub(crate) fn named(&self, key: PartitionKey, id: ReplicaId) -> bool {
        self.named.contains(&(key, id))
    }

    /// The name of a topic that is or was.
    pub(crate) fn topic_name(&self, id: TopicId) -> Option<&str> {
        self.topics.get(&id).map(String::as_str)
    }

    /// Whether what a client calls a topic is one.
    pub(crate) fn knows(&self, topic: &TopicRef) -> bool {
        self.all().any(|descriptor| match topic {
            TopicRef::Id(id) => descriptor.key.topic == *id,
            TopicRef::Name(name) => self.topic_name(descriptor.key.topic) == Some(name),
        })
    }

    /// Every descriptor in force.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Descriptor> + '_ {
        self.shards.values().flat_map(Shard::descriptors)
    }

    /// The descriptor of a partition, if it exists.
    pub(crate) fn of(&self, key: PartitionKey) -> Option<&Descriptor> {
        self.shards.get(&key.home())?.descriptor(key)
    }
}
