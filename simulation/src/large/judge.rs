//! Whether a large mesh is as it should be, and how evenly it is.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{NodeId, Role};
use node::core::metadata::balancing::next_orders;
use node::core::metadata::{METADATA_TOPIC, NodeState, PartitionKey, ShardId, View};

use super::mesh::{Mesh, id_of};

/// How replicas and leaders lie.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    /// Most replicas on one active node, by their mean.
    pub(super) replicas: f64,
    /// Most leaders on one active node, by their mean.
    pub(super) leaders: f64,
    /// Most peers that one node shares partitions of users with.
    pub(super) peers_most: usize,
    /// And their mean.
    pub(super) peers_mean: f64,
    /// Partitions with two replicas in one zone.
    pub(super) zones_violated: usize,
}

/// The view of a running node that knows most of shard 0, and with it a judgement of all.
fn reference(mesh: &Mesh) -> Option<&View> {
    let version = |view: &View| ShardId::all().map(|shard| view.version(shard)).sum::<u64>();
    mesh.running().map(|(_, node)| node.view()).max_by_key(|view| version(view))
}

/// What is not yet as it should be; cheap questions first.
pub(super) fn unfinished(mesh: &Mesh, partitions: usize) -> Option<String> {
    let view = reference(mesh)?;
    let shards = usize::from(node::core::metadata::SHARDS);
    let known = view.descriptors().count();
    if known != partitions + shards {
        return Some(format!("{known} descriptors of {}", partitions + shards));
    }
    if let Some(behind) = behind(mesh, view) {
        return Some(behind);
    }
    let unready = |at: &&node::core::metadata::Descriptor| at.creating || !at.leaving.is_empty();
    let changing = view.descriptors().filter(unready).count();
    if changing > 0 {
        return Some(format!("{changing} partitions are created or moved"));
    }
    if let Some(why) = led(mesh, view) {
        return Some(why);
    }
    let orders = next_orders(view, &mesh.up(), usize::MAX);
    if let Some((shard, order)) = orders.first() {
        return Some(format!("{} orders are left, as of shard {}: {order:?}", orders.len(), shard.0));
    }
    let differs = |(at, node): (usize, &node::core::Node<_>)| (node.view() != view).then_some(at);
    mesh.running().find_map(differs).map(|at| format!("the view of node {} differs", at + 1))
}

/// Nodes whose versions are behind.
fn behind(mesh: &Mesh, view: &View) -> Option<String> {
    let versions = |view: &View| ShardId::all().map(|shard| view.version(shard)).collect::<Vec<u64>>();
    let newest = versions(view);
    let behind = mesh.running().filter(|(_, node)| versions(node.view()) != newest).count();
    (behind > 0).then(|| format!("{behind} nodes have an older view"))
}

/// One leader of each partition, where the descriptor prefers it; its membership as desired, and every replica whole.
fn led(mesh: &Mesh, view: &View) -> Option<String> {
    let mut leaders: BTreeMap<PartitionKey, (NodeId, u64)> = BTreeMap::new();
    let mut commits: BTreeMap<PartitionKey, Vec<(NodeId, u64)>> = BTreeMap::new();
    let mut twice = 0;
    for (at, node) in mesh.running() {
        for replica in node.replicas() {
            commits.entry(replica.key).or_default().push((id_of(at), replica.commit.0));
            if replica.role == Some(Role::Leader) {
                twice += usize::from(leaders.insert(replica.key, (id_of(at), replica.last.0)).is_some());
            }
        }
    }
    if twice > 0 {
        return Some(format!("{twice} partitions have two leaders"));
    }
    let (mut leaderless, mut misled, mut incomplete) = (0, 0, 0);
    for descriptor in view.descriptors() {
        let Some((leader, last)) = leaders.get(&descriptor.key) else {
            leaderless += 1;
            continue;
        };
        let first = descriptor.replicas.first().map(|id| id.node);
        misled += usize::from(first != Some(*leader));
        let here = commits.get(&descriptor.key).map(Vec::as_slice).unwrap_or_default();
        let whole = |node: NodeId| here.iter().any(|(at, commit)| *at == node && commit == last);
        let all = descriptor.replicas.iter().all(|id| whole(id.node));
        incomplete += usize::from(!all || here.len() != descriptor.replicas.len());
    }
    (leaderless + misled + incomplete > 0).then(|| {
        format!("{leaderless} partitions are not led, {misled} not by the preferred replica, {incomplete} not whole")
    })
}

/// Partitions without a leader that runs.
pub(super) fn leaderless(mesh: &Mesh) -> usize {
    let Some(view) = reference(mesh) else { return 0 };
    let leads = |(_, node): (usize, &node::core::Node<_>)| -> Vec<PartitionKey> {
        let leads = node.replicas().filter(|replica| replica.role == Some(Role::Leader));
        leads.map(|replica| replica.key).collect()
    };
    let led: BTreeSet<PartitionKey> = mesh.running().flat_map(leads).collect();
    view.descriptors().filter(|descriptor| !led.contains(&descriptor.key)).count()
}

/// Of some of the nodes: how many leaders they do not know, or take for another.
pub(super) fn unknown_leaders(mesh: &Mesh) -> usize {
    let mut leaders: BTreeMap<PartitionKey, NodeId> = BTreeMap::new();
    for (at, node) in mesh.running() {
        let led = node.replicas().filter(|replica| replica.role == Some(Role::Leader));
        leaders.extend(led.map(|replica| (replica.key, id_of(at))));
    }
    let some = mesh.running().step_by(1 + mesh.machines.len() / 16);
    let wrong = |(_, node): (usize, &node::core::Node<_>)| {
        let knows = |key, leader| node.leader(key).is_some_and(|info| info.leader == leader);
        leaders.iter().filter(|(key, leader)| !knows(**key, **leader)).count()
    };
    some.map(wrong).sum()
}

/// How many replicas of users a node is desired to hold.
pub(super) fn held(mesh: &Mesh, at: usize) -> usize {
    let users = |key: PartitionKey| key.topic != METADATA_TOPIC;
    let Some(view) = reference(mesh) else { return 0 };
    view.descriptors().filter(|d| users(d.key) && d.replica_on(id_of(at)).is_some()).count()
}

/// How even it all is.
pub(super) fn spread(mesh: &Mesh) -> Spread {
    let Some(view) = reference(mesh) else { return Spread::default() };
    let active: BTreeMap<NodeId, &str> = view
        .nodes()
        .filter(|info| info.state == NodeState::Active)
        .map(|info| (info.node, info.zone.as_str()))
        .collect();
    let mut held: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut led: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut peers: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    let mut zones_violated = 0;
    for descriptor in view.descriptors().filter(|descriptor| descriptor.key.topic != METADATA_TOPIC) {
        let nodes: Vec<NodeId> = descriptor.replicas.iter().map(|id| id.node).collect();
        if let Some(first) = nodes.first() {
            *led.entry(*first).or_default() += 1;
        }
        for &node in &nodes {
            *held.entry(node).or_default() += 1;
            peers.entry(node).or_default().extend(nodes.iter().filter(|other| **other != node));
        }
        let zones: BTreeSet<&str> = nodes.iter().filter_map(|node| active.get(node).copied()).collect();
        zones_violated += usize::from(zones.len() < nodes.len());
    }
    let ratio = |counts: &BTreeMap<NodeId, usize>| {
        let most = counts.values().copied().max().unwrap_or(0) as f64;
        let all = counts.values().sum::<usize>() as f64;
        most * active.len() as f64 / all.max(1.0)
    };
    let peer_counts: Vec<usize> = peers.values().map(BTreeSet::len).collect();
    Spread {
        replicas: ratio(&held),
        leaders: ratio(&led),
        peers_most: peer_counts.iter().copied().max().unwrap_or(0),
        peers_mean: peer_counts.iter().sum::<usize>() as f64 / peer_counts.len().max(1) as f64,
        zones_violated,
    }
}
