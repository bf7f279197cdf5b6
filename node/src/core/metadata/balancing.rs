//! What the leader of shard 0 does for the mesh as a whole: calls nodes dead that stay away, moves replicas off nodes that shall not hold
//! any, then spreads replicas and preferred leaders evenly. Pure: from a view to commands.
//!
//! Nothing here is trusted: a command names the next replica epoch of its partition, so one that was planned from an old view does
//! nothing, and two leaders of shard 0 that do not know of each other do no harm. While shard 0 has no leader nothing is moved.

use std::collections::{BTreeMap, BTreeSet};

use mesh::balance::{Balance, Move, Placed};
use mesh::raft::{Incarnation, NodeId, ReplicaEpoch, ReplicaId, Time};

use super::command::Command;
use super::descriptor::{Descriptor, NodeInfo, NodeState, PartitionKey, ShardId};
use super::view::View;
use crate::core::request::TopicId;
use crate::mutant::{self, Mutant};

/// Replicas of each metadata shard, as soon as there are so many nodes.
const METADATA_REPLICAS: usize = 3;

/// Most preferred leaders that change at once; that costs a few bytes each.
const LEADS_AT_ONCE: usize = 64;

/// Most pairs of preferred leaders that are exchanged for traffic at one look.
const EXCHANGES_AT_ONCE: usize = 4;

/// A command and the shard that it is for.
pub type Order = (ShardId, Command);

/// The next moves. `live` are the nodes that are up, `most` how many moves may be under way at a time.
///
/// Nodes that shall not hold replicas are emptied first. Replicas move for evenness only while every active node is up, or
/// one that restarts would cost the mesh a copy of all it has.
pub fn next_orders(view: &View, live: &BTreeSet<NodeId>, most: usize) -> Vec<Order> {
    let descriptors: Vec<&Descriptor> = view.descriptors().collect();
    let under_way = descriptors.iter().filter(|descriptor| descriptor.is_moving()).count();
    let room = most.saturating_sub(under_way);
    // An operator who moves much does not keep the mesh from making whole again what a dead node had.
    let keeps = |id: &ReplicaId| view.node(id.node).is_some_and(|info| info.state.keeps());
    let urgent = |d: &&&Descriptor| d.is_moving() && d.replicas.iter().chain(&d.leaving).any(|id| !keeps(id));
    let urgent_room = most.saturating_sub(descriptors.iter().filter(urgent).count());
    let active: Vec<&NodeInfo> = view.nodes().filter(|info| info.is_active()).collect();
    let all_up = active.iter().all(|info| live.contains(&info.node));
    let leaves: BTreeSet<NodeId> = descriptors
        .iter()
        .flat_map(|descriptor| &descriptor.replicas)
        .map(|replica| replica.node)
        .filter(|&node| !view.node(node).is_some_and(|info| info.state.keeps()))
        .collect();
    let balance = |only_live: bool| balance_of(view, &descriptors, only_live.then_some(live));
    let hopeless = hopeless(view, &descriptors);
    if !hopeless.is_empty() {
        return hopeless;
    }
    let mut moves = if leaves.is_empty() { Vec::new() } else { balance(true).evict(&leaves, urgent_room) };
    let narrow = too_narrow(&descriptors, active.len());
    let widened = if narrow.is_empty() { Vec::new() } else { balance(true).widen(&narrow, room) };
    if !widened.is_empty() {
        let wider = |(at, nodes): (usize, Vec<NodeId>)| widen(view, descriptors[at], &nodes);
        return widened.into_iter().filter_map(wider).collect();
    }
    if moves.is_empty() && all_up && !view.balancing_paused() {
        moves = balance(false).level(room);
    }
    let moved: BTreeSet<usize> = moves.iter().map(|one| one.partition).collect();
    let leads = balance(false).lead(LEADS_AT_ONCE);
    // While balancing is paused leaders go only from where they shall not be.
    let forced = |at: usize| {
        let first = descriptors[at].replicas.first();
        first.is_some_and(|first| !active.iter().any(|info| info.node == first.node))
    };
    let wanted = |at: usize| !moved.contains(&at) && (!view.balancing_paused() || forced(at));
    let leads = leads.into_iter().filter(|(at, _)| wanted(*at));
    let led = leads.filter_map(|(at, nodes)| reorder(descriptors[at], &nodes));
    let moves = moves.into_iter().filter_map(|one| replace(view, descriptors[one.partition], one));
    moves.chain(led).collect()
}

/// All partitions as they shall be, on the nodes that may get replicas: those that are active, and up if `live` is given.
pub(super) fn balance_of(
    view: &View,
    descriptors: &[&Descriptor],
    live: Option<&BTreeSet<NodeId>>,
) -> Balance {
    let nodes =
        view.nodes().filter(|info| info.is_active() && live.is_none_or(|live| live.contains(&info.node)));
    let zones = view.nodes().map(|info| (info.node, info.zone.clone())).collect();
    Balance::new(placed(descriptors), nodes.map(NodeInfo::placement).collect(), zones)
}

/// Preferred leaders that two nodes exchange, because one of them has much more traffic (any unit, by partition) than the others. Nothing
/// while balancing is paused, and nothing of partitions that are `resting`.
pub fn traffic_orders(
    view: &View,
    live: &BTreeSet<NodeId>,
    traffic: impl Fn(PartitionKey) -> u64,
    resting: impl Fn(PartitionKey) -> bool,
) -> Vec<Order> {
    if view.balancing_paused() {
        return Vec::new();
    }
    let descriptors: Vec<&Descriptor> =
        view.descriptors().filter(|descriptor| !resting(descriptor.key)).collect();
    let traffic: Vec<u64> = descriptors.iter().map(|descriptor| traffic(descriptor.key)).collect();
    let exchanged = balance_of(view, &descriptors, Some(live)).exchange_leads(&traffic, EXCHANGES_AT_ONCE);
    exchanged.into_iter().filter_map(|(at, nodes)| reorder(descriptors[at], &nodes)).collect()
}

/// The metadata shards of a mesh that was founded by fewer nodes than it has by now, and how many replicas they should have.
fn too_narrow(descriptors: &[&Descriptor], nodes: usize) -> BTreeMap<usize, usize> {
    let wanted = nodes.min(METADATA_REPLICAS);
    let is_narrow = |descriptor: &Descriptor| {
        let now = descriptor.replicas.len();
        descriptor.key.as_shard().is_some() && now < wanted && (now, wanted) != (1, 2)
    };
    let all = descriptors.iter().enumerate();
    all.filter(|(_, descriptor)| is_narrow(descriptor)).map(|(at, _)| (at, wanted)).collect()
}

fn widen(view: &View, descriptor: &Descriptor, nodes: &[NodeId]) -> Option<Order> {
    let mut next = descriptor.next_replica_epoch();
    let mut replicas = descriptor.replicas.clone();
    for &node in nodes.iter().skip(replicas.len()) {
        replicas.push(newcomer(view, node, next)?);
        next = ReplicaEpoch(next.0.checked_add(1)?);
    }
    let key = descriptor.key;
    Some((key.home(), Command::PlanReplicas { key, replicas }))
}

fn placed(descriptors: &[&Descriptor]) -> Vec<Placed> {
    let mut topics: BTreeMap<TopicId, usize> = BTreeMap::new();
    let place = |descriptor: &&Descriptor| {
        let PartitionKey { topic, partition } = descriptor.key;
        let next = topics.len();
        Placed {
            key: [&topic.0[..], &partition.to_be_bytes()].concat(),
            topic: *topics.entry(topic).or_insert(next),
            nodes: descriptor.aim().iter().map(|replica| replica.node).collect(),
            free: !descriptor.creating && !descriptor.is_moving(),
        }
    };
    descriptors.iter().map(place).collect()
}

fn replace(view: &View, descriptor: &Descriptor, Move { from, to, .. }: Move) -> Option<Order> {
    let old = descriptor.replica_on(from)?;
    let new = newcomer(view, to, descriptor.next_replica_epoch())?;
    let mut replicas = descriptor.replicas.clone();
    replicas.iter_mut().filter(|replica| **replica == old).for_each(|replica| *replica = new);
    let key = descriptor.key;
    Some((key.home(), Command::PlanReplicas { key, replicas }))
}

/// Plans of which a newcomer will not come, for its node shall not hold replicas any more: they are given up, so that another can be made.
fn hopeless(view: &View, descriptors: &[&Descriptor]) -> Vec<Order> {
    let stays = |node: NodeId| view.node(node).is_some_and(|info| info.state.keeps());
    let lost = |descriptor: &&&Descriptor| descriptor.newcomers().any(|replica| !stays(replica.node));
    let give_up = |descriptor: &&Descriptor| {
        let key = descriptor.key;
        (key.home(), Command::CancelPlan { key, epoch: descriptor.epoch })
    };
    descriptors.iter().filter(lost).map(give_up).collect()
}

fn newcomer(view: &View, node: NodeId, epoch: ReplicaEpoch) -> Option<ReplicaId> {
    Some(ReplicaId { node, incarnation: view.node(node)?.incarnation, epoch })
}

fn reorder(descriptor: &Descriptor, nodes: &[NodeId]) -> Option<Order> {
    let replicas: Option<Vec<ReplicaId>> = nodes.iter().map(|&node| descriptor.replica_on(node)).collect();
    let key = descriptor.key;
    Some((key.home(), Command::Reassign { key, replicas: replicas? }))
}

/// Which nodes the leader of shard 0 has not heard, and since when. The silence of a life says nothing of one that followed it.
#[derive(Debug, Default)]
pub struct Absences {
    since: BTreeMap<(NodeId, Incarnation), Time>,
}

impl Absences {
    /// Looks at who is up; returns whom to call dead: those that were away for `grace_us`, and nobody as long as more than a third of
    /// the nodes that are not dead yet is away, for then it is more likely the network, or this node.
    pub fn look(&mut self, now: Time, view: &View, live: &BTreeSet<NodeId>, grace_us: u64) -> Vec<Order> {
        let expected: Vec<&NodeInfo> = view.nodes().filter(|info| info.state != NodeState::Dead).collect();
        let away: BTreeSet<(NodeId, Incarnation)> =
            expected.iter().filter(|info| !live.contains(&info.node)).map(|info| life(info)).collect();
        self.since.retain(|life, _| away.contains(life));
        for &life in &away {
            self.since.entry(life).or_insert(now);
        }
        if away.len() * 3 > expected.len() && !mutant::active(Mutant::DeadInMasses) {
            return Vec::new();
        }
        let is_due = |info: &&&NodeInfo| {
            info.state.keeps() && self.since(info).is_some_and(|since| now >= since.after(grace_us))
        };
        let dead = |info: &&NodeInfo| Command::SetNodeState {
            node: info.node,
            incarnation: info.incarnation,
            state: NodeState::Dead,
        };
        expected.iter().filter(is_due).map(|info| (ShardId(0), dead(info))).collect()
    }

    /// Since when the present life of a node is away.
    pub fn since(&self, info: &NodeInfo) -> Option<Time> {
        self.since.get(&life(info)).copied()
    }
}

fn life(info: &NodeInfo) -> (NodeId, Incarnation) {
    (info.node, info.incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::metadata::Shard;
    use crate::core::metadata::shard::tests::founding;
    use crate::core::metadata::update::{Change, ShardUpdate};

    /// What is known after these states of nodes were decided.
    fn view(nodes: i32, states: &[(i32, NodeState)]) -> View {
        let mut shard = Shard::founded(ShardId(0), &founding(nodes));
        let created =
            Command::MarkCreated { topic: super::super::METADATA_TOPIC, partitions: (0..16).collect() };
        shard.apply(1, &created.encode());
        for (index, &(node, state)) in (2..).zip(states) {
            let incarnation = Incarnation(u64::from(node.unsigned_abs()) * 100);
            shard.apply(index, &Command::SetNodeState { node: NodeId(node), incarnation, state }.encode());
        }
        let mut view = View::default();
        view.merge(shard.update_since(0));
        view
    }

    fn all(nodes: i32) -> BTreeSet<NodeId> {
        (1..=nodes).map(NodeId).collect()
    }

    fn moves(view: &View, orders: &[Order]) -> Vec<(NodeId, NodeId)> {
        let of = |order: &Order| match &order.1 {
            Command::PlanReplicas { key, replicas } => {
                let before = view.descriptor(*key)?;
                let old = before.replicas.iter().find(|replica| !replicas.contains(replica))?;
                let new = replicas.iter().find(|replica| !before.replicas.contains(replica))?;
                Some((old.node, new.node))
            }
            _ => None,
        };
        orders.iter().filter_map(of).collect()
    }

    #[test]
    fn a_node_that_shall_go_is_emptied_a_few_at_a_time() {
        let view = view(4, &[(3, NodeState::Decommissioning)]);
        let held = view.desired_on(NodeId(3)).count();
        let orders = next_orders(&view, &all(4), 5);
        assert_eq!(moves(&view, &orders).len(), 5);
        assert!(moves(&view, &orders).iter().all(|(from, to)| from.0 == 3 && to.0 != 3), "{orders:?}");
        assert_eq!(moves(&view, &next_orders(&view, &all(4), 100)).len(), held);
        let alone: BTreeSet<NodeId> = [NodeId(3)].into();
        assert!(moves(&view, &next_orders(&view, &alone, 100)).is_empty(), "who could take it is away");
    }

    #[test]
    fn shards_that_one_node_founded_get_replicas_once_there_are_three() {
        let mut founded = Shard::founded(ShardId(0), &founding(1));
        let created =
            Command::MarkCreated { topic: super::super::METADATA_TOPIC, partitions: (0..16).collect() };
        founded.apply(1, &created.encode());
        let orders = |shard: &Shard, nodes: i32| {
            let mut view = View::default();
            view.merge(shard.update_since(0));
            next_orders(&view, &all(nodes), 100)
        };
        let mut index = 1;
        for node in 2..=3 {
            let wider = |(_, order): &Order| matches!(order, Command::PlanReplicas { replicas, .. } if replicas.len() > 1);
            assert!(!orders(&founded, node - 1).iter().any(wider), "two would be worse than one");
            index += 1;
            let Some(first) = founded.nodes().next().cloned() else { panic!("it has a node") };
            let registration = super::super::Registration {
                node: None,
                incarnation: Incarnation(u64::from(node.unsigned_abs()) * 100),
                peer_id: vec![u8::try_from(node).unwrap(); 4],
                kafka: format!("k{node}:1"),
                mesh: format!("m{node}:1"),
                http: format!("h{node}:1"),
                zone: first.zone.clone(),
                weight: 1,
            };
            founded.apply(index, &Command::RegisterNode(registration).encode());
        }
        let orders_now = orders(&founded, 3);
        assert_eq!(orders_now.len(), 16, "{orders_now:?}");
        for (_, order) in &orders_now {
            index += 1;
            founded.apply(index, &order.encode());
        }
        assert!(founded.descriptors().all(|d| (d.replicas.len(), d.planned.len()) == (1, 3)));
        assert_eq!(orders(&founded, 3), [], "while the newcomers learn");
        carry_out_all(&mut founded, &mut index);
        assert!(founded.descriptors().all(|descriptor| descriptor.replicas.len() == 3));
        let moves_more = |(_, order): &Order| matches!(order, Command::PlanReplicas { .. });
        assert!(!orders(&founded, 3).iter().any(moves_more));
    }

    fn carry_out_all(shard: &mut Shard, index: &mut u64) {
        let planned: Vec<(PartitionKey, u64)> =
            shard.descriptors().filter(|d| !d.planned.is_empty()).map(|d| (d.key, d.epoch)).collect();
        for (key, epoch) in planned {
            *index += 1;
            shard.apply(*index, &Command::CarryOutPlan { key, epoch }.encode());
        }
    }

    #[test]
    fn a_plan_whose_newcomer_will_not_come_is_given_up_and_another_made() {
        let mut shard = Shard::founded(ShardId(0), &founding(5));
        let created =
            Command::MarkCreated { topic: super::super::METADATA_TOPIC, partitions: (0..16).collect() };
        shard.apply(1, &created.encode());
        let state = |node: i32, state| Command::SetNodeState {
            node: NodeId(node),
            incarnation: Incarnation(u64::from(node.unsigned_abs()) * 100),
            state,
        };
        let mut index = 2;
        let mut ask = |shard: &mut Shard, command: &Command| {
            index += 1;
            shard.apply(index, &command.encode())
        };
        let orders = |shard: &Shard, live: &BTreeSet<NodeId>| {
            let mut view = View::default();
            view.merge(shard.update_since(0));
            next_orders(&view, live, 1)
        };
        ask(&mut shard, &state(3, NodeState::Decommissioning));
        let first = orders(&shard, &all(5));
        let Some((_, Command::PlanReplicas { key, .. })) = first.first() else { panic!("{first:?}") };
        let key = *key;
        ask(&mut shard, &first[0].1);
        let target = shard.descriptor(key).unwrap().newcomers().next().unwrap().node;
        let plans = |(_, order): &Order| matches!(order, Command::PlanReplicas { .. });
        assert!(!orders(&shard, &all(5)).iter().any(plans), "one at a time");
        ask(&mut shard, &state(target.0, NodeState::Dead));
        let live: BTreeSet<NodeId> = all(5).into_iter().filter(|node| *node != target).collect();
        let given_up = orders(&shard, &live);
        assert!(matches!(given_up[..], [(_, Command::CancelPlan { .. })]), "{given_up:?}");
        ask(&mut shard, &given_up[0].1);
        let descriptor = shard.descriptor(key).unwrap();
        assert!(descriptor.planned.is_empty() && descriptor.leaving.len() == 1, "{descriptor:?}");
        let old = descriptor.leaving[0];
        ask(&mut shard, &Command::FinishReplacement { key, old });
        let again = orders(&shard, &live);
        let to = |(_, order): &Order| match order {
            Command::PlanReplicas { replicas, .. } => replicas.iter().any(|replica| replica.node == target),
            _ => false,
        };
        assert!(again.iter().any(plans) && !again.iter().any(to), "{again:?}");
    }

    #[test]
    fn with_as_many_nodes_as_replicas_nothing_moves() {
        let view = view(3, &[(3, NodeState::Dead)]);
        assert!(moves(&view, &next_orders(&view, &all(3), 100)).is_empty());
    }

    #[test]
    fn a_drained_node_keeps_its_replicas_and_is_not_preferred() {
        let view = view(3, &[(2, NodeState::Draining)]);
        let orders = next_orders(&view, &all(3), 100);
        assert!(moves(&view, &orders).is_empty());
        let led = view.descriptors().filter(|descriptor| descriptor.replicas[0].node == NodeId(2)).count();
        assert!(led > 0 && orders.len() == led, "{orders:?}");
    }

    #[test]
    fn a_node_is_dead_after_the_grace_time_unless_many_are_away() {
        let (view, second) = (view(5, &[]), 1_000_000);
        let mut absences = Absences::default();
        let up: BTreeSet<NodeId> = [1, 2, 3, 4].map(NodeId).into();
        let mut look = |at: u64, live: &BTreeSet<NodeId>| {
            absences.look(Time(at * second), &view, live, 10 * second).len()
        };
        assert_eq!((look(1, &up), look(10, &up), look(11, &up)), (0, 0, 1));
        let few: BTreeSet<NodeId> = [1, 2, 3].map(NodeId).into();
        assert_eq!((look(12, &few), look(60, &few)), (0, 0), "two of five are more than a third");
        assert_eq!((look(61, &all(5)), look(62, &up), look(72, &up)), (0, 0, 1), "it was back meanwhile");
    }

    #[test]
    fn a_life_that_follows_another_one_has_the_whole_grace_time_to_come() {
        let (before, second) = (view(5, &[]), 1_000_000);
        let (mut absences, up) = (Absences::default(), all(4));
        let mut look = |at: u64, view: &View| absences.look(Time(at * second), view, &up, 10 * second).len();
        let mut info = before.node(NodeId(5)).cloned().expect("one of five");
        info.incarnation = Incarnation(7);
        let changes = vec![Change::Node(info.into())];
        let (shard, from) = (ShardId(0), before.version(ShardId(0)));
        let cluster_id = before.cluster_id().to_owned();
        let mut after = before.clone();
        after.merge(ShardUpdate { shard, from, version: from + 1, cluster_id, changes });
        assert_eq!((look(1, &before), look(10, &before)), (0, 0));
        assert_eq!((look(11, &after), look(20, &after), look(21, &after)), (0, 0, 1));
    }
}
