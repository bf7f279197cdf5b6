//! The metadata as it was committed: the shards' own state machines, fed entry by entry. A triple that a descriptor ever named does not
//! come back once it left, and the epochs of those that come rise: what they promised would be forgotten otherwise.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{Incarnation, Index, NodeId, ReplicaEpoch, ReplicaId};
use node::core::metadata::{Change, Descriptor, Founding, NodeState, PartitionKey, Shard, ShardId, View};
use node::core::request::{TopicId, TopicRef};

use super::{Verdict, violated};

const ONCE: &str = "a replica epoch is given once";

/// What the shards say, every (partition, triple) they ever named, and every topic that ever was.
pub(crate) struct Descriptors {
    shards: BTreeMap<ShardId, Shard>,
    named: BTreeSet<(PartitionKey, ReplicaId)>,
    /// The highest replica epoch that was given to a replica of each partition, and whom its descriptor names now.
    latest: BTreeMap<PartitionKey, (ReplicaEpoch, BTreeSet<ReplicaId>)>,
    topics: BTreeMap<TopicId, String>,
    /// Every life that the registry ever gave a node, the present one last.
    lives: BTreeMap<NodeId, Vec<Incarnation>>,
}

impl Descriptors {
    /// Begins where the founders began.
    pub(super) fn new(founding: &Founding) -> Self {
        let shards = ShardId::all().map(|id| (id, Shard::founded(id, founding))).collect();
        let (named, latest, topics, lives) =
            (BTreeSet::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut descriptors = Self { shards, named, latest, topics, lives };
        for descriptor in founding.shards() {
            _ = descriptors.name(&descriptor);
        }
        descriptors
    }

    fn name(&mut self, descriptor: &Descriptor) -> Verdict {
        let key = descriptor.key;
        let triples: BTreeSet<ReplicaId> = descriptor.named().collect();
        self.named.extend(triples.iter().map(|triple| (key, *triple)));
        let highest = triples.iter().map(|triple| triple.epoch).max().unwrap_or_default();
        let Some((before, known)) = self.latest.get_mut(&key) else {
            self.latest.insert(key, (highest, triples));
            return Ok(());
        };
        let again = triples.difference(known).find(|triple| triple.epoch <= *before).copied();
        let verdict = match again {
            Some(again) => violated(
                ONCE,
                format!(
                    "{key:?}: replica {again} comes to {known:?}, where epoch {} was given already",
                    before.0
                ),
            ),
            None => Ok(()),
        };
        (*before, *known) = (highest.max(*before), triples);
        verdict
    }

    /// A command was committed.
    pub(super) fn apply(&mut self, shard: ShardId, index: Index, command: &[u8]) -> Verdict {
        let Some(shard) = self.shards.get_mut(&shard) else { return Ok(()) };
        let before = shard.version();
        let _ = shard.apply(index.0, command);
        for change in shard.update_since(before).changes {
            match change {
                Change::Descriptor(descriptor) => self.name(&descriptor)?,
                Change::Topic(topic) => _ = self.topics.insert(topic.id, topic.name.clone()),
                Change::Node(info) => {
                    let lives = self.lives.entry(info.node).or_default();
                    if lives.last() != Some(&info.incarnation) {
                        lives.push(info.incarnation);
                    }
                }
                Change::TopicDeleted(_)
                | Change::Paused(_)
                | Change::Recovered(_)
                | Change::Configs { .. }
                | Change::Quotas(_) => {}
            }
        }
        Ok(())
    }

    /// The life of a node's data directory by the registry.
    pub(crate) fn life_of(&self, node: NodeId) -> Option<Incarnation> {
        let mut nodes = self.shards.get(&ShardId(0))?.nodes();
        nodes.find(|info| info.node == node).map(|info| info.incarnation)
    }

    /// What the registry says of a node.
    pub(crate) fn state_of(&self, node: NodeId) -> Option<NodeState> {
        let mut nodes = self.shards.get(&ShardId(0))?.nodes();
        nodes.find(|info| info.node == node).map(|info| info.state)
    }

    /// A node whose present life was over once.
    pub(super) fn revived(&self) -> Option<NodeId> {
        let again = |(_, lives): &(&NodeId, &Vec<Incarnation>)| {
            lives.split_last().is_some_and(|(present, past)| past.contains(present))
        };
        self.lives.iter().find(again).map(|(node, _)| *node)
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
