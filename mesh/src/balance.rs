//! What is next to make the replicas of a mesh evenly spread: away from nodes that shall not hold any, onto those that hold too few, and
//! the preferred leaderships alike.
//!
//! [`Balance`] looks at what is desired now, and proposes single moves, best first; each is entered at once, so that the next
//! builds on it. It moves nothing that does not make the most and the least loaded node more alike: a node that joins gets what
//! is above the mean of the others and no more. Repeated until there is nothing to propose it ends, for each move lowers the sum of
//! the squares of the loads. In a large mesh a replica goes only to a node that may share partitions with those that stay
//! ([`copysets`](crate::copysets)), and a difference of a sixteenth of the mean is even enough. Zones come first, as in [`placement`](crate::placement).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::copysets::Copysets;
use crate::placement::{PlacementNode, cost};
use crate::raft::NodeId;

/// A partition as it is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Names it, beginning with its topic.
    pub key: Vec<u8>,
    /// Which topic; a topic's replicas are spread as well.
    pub topic: usize,
    /// Its nodes, preferred leader first.
    pub nodes: Vec<NodeId>,
    /// Whether it may change now: not while it is created, or a move of it is under way.
    pub free: bool,
}

/// A replica goes from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Position in the list.
    pub partition: usize,
    /// Who has it.
    pub from: NodeId,
    /// Who gets it.
    pub to: NodeId,
}

/// Loads are compared as count per weight.
type Share = (u64, u64);

/// In a large mesh loads that differ by less than one part of so many are even.
const EVEN_PARTS: u64 = 16;

fn less(a: Share, b: Share) -> bool {
    u128::from(a.0) * u128::from(b.1) < u128::from(b.0) * u128::from(a.1)
}

fn order(a: &Share, b: &Share) -> Ordering {
    (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1)))
}

/// The desired replicas of all partitions, with what each node holds of them.
pub struct Balance {
    partitions: Vec<Placed>,
    /// Who may get replicas.
    nodes: BTreeMap<NodeId, PlacementNode>,
    held: BTreeMap<NodeId, u64>,
    led: BTreeMap<NodeId, u64>,
    of_topic: BTreeMap<(usize, NodeId), u64>,
    zones: BTreeMap<NodeId, String>,
    /// The partitions of each node, by position.
    of_node: BTreeMap<NodeId, BTreeSet<usize>>,
    /// Of a large mesh, by replication factor.
    copysets: BTreeMap<usize, Copysets>,
}

impl Balance {
    /// `nodes` are those that may get replicas and lead; `zones` says where all others are too.
    pub fn new(partitions: Vec<Placed>, nodes: Vec<PlacementNode>, zones: BTreeMap<NodeId, String>) -> Self {
        let nodes = nodes.into_iter().filter(|node| node.weight > 0).map(|node| (node.node, node)).collect();
        let (held, led, of_topic, of_node) = Default::default();
        let all: Vec<PlacementNode> = BTreeMap::values(&nodes).cloned().collect();
        let factors: BTreeSet<usize> = partitions.iter().map(|placed| placed.nodes.len()).collect();
        let copysets = factors.into_iter().filter_map(|factor| Some((factor, Copysets::new(&all, factor)?)));
        let copysets = copysets.collect();
        let mut balance =
            Self { partitions: Vec::new(), nodes, held, led, of_topic, zones, of_node, copysets };
        for (at, placed) in partitions.into_iter().enumerate() {
            if let Some(&leader) = placed.nodes.first() {
                *balance.led.entry(leader).or_default() += 1;
            }
            for &node in &placed.nodes {
                balance.enter(at, placed.topic, node);
            }
            balance.partitions.push(placed);
        }
        balance
    }

    fn enter(&mut self, at: usize, topic: usize, node: NodeId) {
        self.of_node.entry(node).or_default().insert(at);
        *self.held.entry(node).or_default() += 1;
        *self.of_topic.entry((topic, node)).or_default() += 1;
    }

    fn leave(&mut self, at: usize, topic: usize, node: NodeId) {
        self.of_node.entry(node).or_default().remove(&at);
        *self.held.entry(node).or_default() -= 1;
        *self.of_topic.entry((topic, node)).or_default() -= 1;
    }

    /// Replicas on nodes that `leaves` names go elsewhere: partitions with the fewest others first. One without a node that could take it stays.
    pub fn evict(&mut self, leaves: &BTreeSet<NodeId>, most: usize) -> Vec<Move> {
        let stays = |placed: &Placed| placed.nodes.iter().filter(|node| !leaves.contains(node)).count();
        let concerned = |placed: &Placed| placed.free && stays(placed) < placed.nodes.len();
        let mut waiting: Vec<(usize, usize)> = self
            .partitions
            .iter()
            .enumerate()
            .filter(|(_, placed)| concerned(placed))
            .map(|(at, placed)| (stays(placed), at))
            .collect();
        waiting.sort_unstable();
        let mut moves = Vec::new();
        for (_, at) in waiting {
            if moves.len() >= most {
                break;
            }
            let placed = &self.partitions[at];
            let Some(&from) = placed.nodes.iter().find(|node| leaves.contains(node)) else { continue };
            let Some(to) = self.heir(placed, Some(from)) else { continue };
            moves.push(self.shift(at, from, to));
        }
        moves
    }

    /// Partitions that have fewer replicas than they should get them: those of `narrow`, with how many they shall have. All or none, for
    /// two in place of one would be worse. Each with all its nodes then.
    pub fn widen(&mut self, narrow: &BTreeMap<usize, usize>, most: usize) -> Vec<(usize, Vec<NodeId>)> {
        let mut widened = Vec::new();
        for (&at, &wanted) in narrow {
            if widened.len() >= most || !self.partitions[at].free {
                continue;
            }
            let mut placed = self.partitions[at].clone();
            while placed.nodes.len() < wanted
                && let Some(to) = self.heir(&placed, None)
            {
                placed.nodes.push(to);
            }
            if placed.nodes.len() < wanted {
                continue;
            }
            placed.free = false;
            let before = self.partitions[at].nodes.len();
            placed.nodes[before..].iter().for_each(|node| self.enter(at, placed.topic, *node));
            widened.push((at, placed.nodes.clone()));
            self.partitions[at] = placed;
        }
        widened
    }

    /// A partition gets as many replicas as that: more on the nodes that take them best, or fewer, without those on the nodes that hold
    /// most. The preferred leader stays. Its nodes then; `None` when there are not enough.
    pub fn resize(&mut self, at: usize, wanted: usize) -> Option<Vec<NodeId>> {
        let mut placed = self.partitions.get(at)?.clone();
        while placed.nodes.len() < wanted {
            let to = self.heir(&placed, None)?;
            placed.nodes.push(to);
            self.enter(at, placed.topic, to);
        }
        while placed.nodes.len() > wanted.max(1) {
            let from = self.spare(&placed)?;
            placed.nodes.retain(|node| *node != from);
            self.leave(at, placed.topic, from);
        }
        let nodes = placed.nodes.clone();
        self.partitions[at] = placed;
        Some(nodes)
    }

    /// Who can be done without best: one of a crowded zone, then one that holds much; never the first.
    fn spare(&self, placed: &Placed) -> Option<NodeId> {
        let rank = |node: &NodeId| {
            let known = self.nodes.get(node);
            let zone = self.zones.get(node).map_or("", String::as_str);
            let weight = known.map_or(1, |known| u64::from(known.weight));
            let share = |count: u64| count * (1 << 32) / weight;
            let of_topic = self.of_topic.get(&(placed.topic, *node)).copied().unwrap_or(0);
            let held = self.held.get(node).copied().unwrap_or(0);
            (known.is_none(), self.crowd(placed, zone, None), share(of_topic), share(held), *node)
        };
        placed.nodes.iter().skip(1).copied().max_by_key(rank)
    }

    /// Who takes a replica best, in place of one or beside them all.
    fn heir(&self, placed: &Placed, from: Option<NodeId>) -> Option<NodeId> {
        let free = self.nodes.values().filter(|node| !placed.nodes.contains(&node.node));
        let weights: u64 = self.nodes.values().map(|node| u64::from(node.weight)).sum();
        let all: u64 = self.nodes.keys().filter_map(|node| self.held.get(node)).sum();
        let even = (all + all / EVEN_PARTS, weights.max(1));
        let rank = |node: &PlacementNode| {
            let of_topic = self.of_topic.get(&(placed.topic, node.node)).copied().unwrap_or(0);
            let share = |count: u64| count * (1 << 32) / u64::from(node.weight);
            let held = self.held.get(&node.node).copied().unwrap_or(0);
            let crowd = self.crowd(placed, &node.zone, from);
            let loads = match self.copysets.is_empty() {
                true => (share(of_topic), share(held)),
                false => (share(held), share(of_topic)),
            };
            // The copysets of a node that goes often have one heir: what is too much for it goes to strangers.
            let full = !self.copysets.is_empty() && less(even, self.share(&self.held, node, 1));
            let strangers = self.strangers(placed, node.node, from);
            (crowd, full, strangers, loads, cost(&placed.key, node), node.node)
        };
        free.min_by_key(|node| rank(node)).map(|node| node.node)
    }

    /// With how many of those that stay a node should not share partitions.
    fn strangers(&self, placed: &Placed, node: NodeId, from: Option<NodeId>) -> usize {
        let Some(copysets) = self.copysets.get(&placed.nodes.len()) else { return 0 };
        let stay = placed.nodes.iter().filter(|other| Some(**other) != from);
        stay.filter(|other| !copysets.may_share(node, **other)).count()
    }

    /// How many replicas a zone has, without the one that goes.
    fn crowd(&self, placed: &Placed, zone: &str, from: Option<NodeId>) -> usize {
        let there =
            |node: &&NodeId| Some(**node) != from && self.zones.get(node).is_some_and(|at| at == zone);
        placed.nodes.iter().filter(there).count()
    }

    fn shift(&mut self, at: usize, from: NodeId, to: NodeId) -> Move {
        let placed = &mut self.partitions[at];
        let topic = placed.topic;
        placed.free = false;
        if placed.nodes.first() == Some(&from) {
            *self.led.entry(from).or_default() -= 1;
            *self.led.entry(to).or_default() += 1;
        }
        placed.nodes.iter_mut().filter(|node| **node == from).for_each(|node| *node = to);
        self.leave(at, topic, from);
        self.enter(at, topic, to);
        Move { partition: at, from, to }
    }

    fn share(&self, counts: &BTreeMap<NodeId, u64>, node: &PlacementNode, more: u64) -> Share {
        (counts.get(&node.node).copied().unwrap_or(0) + more, u64::from(node.weight))
    }

    /// Replicas go from nodes that hold too many to those that hold too few.
    pub fn level(&mut self, most: usize) -> Vec<Move> {
        if !self.copysets.is_empty() {
            return self.level_within(most);
        }
        let mut moves = Vec::new();
        while moves.len() < most {
            let Some((at, from, to)) = self.unevenness() else { break };
            moves.push(self.shift(at, from, to));
        }
        moves
    }

    /// The best move for evenness, if there is one.
    fn unevenness(&self) -> Option<(usize, NodeId, NodeId)> {
        let mut by_load: Vec<&PlacementNode> = self.nodes.values().collect();
        by_load.sort_by(|a, b| {
            let (a_share, b_share) = (self.share(&self.held, a, 0), self.share(&self.held, b, 0));
            if less(a_share, b_share) { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
                .then(a.node.cmp(&b.node))
        });
        for to in &by_load {
            for from in by_load.iter().rev() {
                if !less(self.share(&self.held, to, 1), self.share(&self.held, from, 0)) {
                    break;
                }
                if let Some(at) = self.cheapest(from, to) {
                    return Some((at, from.node, to.node));
                }
            }
        }
        None
    }

    /// Of the partitions that could give a replica from one node to another, the one that the other is cheapest for.
    fn cheapest(&self, from: &PlacementNode, to: &PlacementNode) -> Option<usize> {
        let fits = |placed: &Placed| {
            let of_topic = |node: &PlacementNode, more| {
                let count = self.of_topic.get(&(placed.topic, node.node)).copied().unwrap_or(0);
                (count + more, u64::from(node.weight))
            };
            placed.free
                && placed.nodes.contains(&from.node)
                && !placed.nodes.contains(&to.node)
                && !less(of_topic(from, 0), of_topic(to, 1))
                && self.crowd(placed, &to.zone, Some(from.node))
                    <= self.crowd(placed, &from.zone, Some(from.node))
        };
        let of_node = self.of_node.get(&from.node).into_iter().flatten();
        let fitting = of_node.map(|&at| (at, &self.partitions[at])).filter(|(_, placed)| fits(placed));
        fitting.min_by_key(|(at, placed)| (cost(&placed.key, to), *at)).map(|(at, _)| at)
    }

    /// How much more a node may hold or lead than another in a large mesh, of these counts.
    fn slack(&self, counts: &BTreeMap<NodeId, u64>) -> u64 {
        counts.values().sum::<u64>() / (self.nodes.len() as u64).max(1) / EVEN_PARTS
    }

    /// The same in a large mesh: nodes that hold least are filled one after the other, from those of the nodes with partitions that
    /// they may share.
    fn level_within(&mut self, most: usize) -> Vec<Move> {
        let slack = self.slack(&self.held);
        let mut moves = Vec::new();
        let mut full: BTreeSet<NodeId> = BTreeSet::new();
        while moves.len() < most {
            let heaviest = self.nodes.values().map(|node| self.share(&self.held, node, 0)).max_by(order);
            let open = self.nodes.values().filter(|node| !full.contains(&node.node));
            let lightest = open.min_by(|a, b| {
                order(&self.share(&self.held, a, 0), &self.share(&self.held, b, 0)).then(a.node.cmp(&b.node))
            });
            let (Some(heaviest), Some(to)) = (heaviest, lightest) else { break };
            if !less(self.share(&self.held, to, 1 + slack), heaviest) {
                break;
            }
            match self.donor(to, slack) {
                Some((at, from)) => {
                    let to = to.node;
                    moves.push(self.shift(at, from, to));
                }
                None => _ = full.insert(to.node),
            }
        }
        moves
    }

    /// The partition and the node that gives it to another: the one that holds most of those that can. A set of nodes that is no copyset,
    /// from when the mesh was small, may come closer to one.
    fn donor(&self, to: &PlacementNode, slack: u64) -> Option<(usize, NodeId)> {
        let then = self.share(&self.held, to, 1 + slack);
        let peers = self.copysets.values().flat_map(|copysets| copysets.peers(to.node));
        let near: BTreeSet<usize> =
            peers.flat_map(|peer| self.of_node.get(&peer).into_iter().flatten().copied()).collect();
        let mut best: Option<(usize, Share, u128, usize, NodeId)> = None;
        for at in near {
            let placed = &self.partitions[at];
            if !placed.free || placed.nodes.contains(&to.node) {
                continue;
            }
            for &from in &placed.nodes {
                let Some(node) = self.nodes.get(&from) else { continue };
                let now = self.share(&self.held, node, 0);
                let crowd = |zone: &str| self.crowd(placed, zone, Some(from));
                if !less(then, now) || crowd(&to.zone) > crowd(&node.zone) {
                    continue;
                }
                let strangers = |node| self.strangers(placed, node, Some(from));
                let far = strangers(to.node);
                if far > 0 && far >= strangers(from) {
                    continue;
                }
                let tie = cost(&placed.key, to);
                let better = best.as_ref().is_none_or(|(least, most, cheapest, ..)| {
                    far.cmp(least).then(order(most, &now)).then(tie.cmp(cheapest)).is_lt()
                });
                if better {
                    best = Some((far, now, tie, at, from));
                }
            }
        }
        best.map(|(.., at, from)| (at, from))
    }

    /// The partitions that another of their nodes should lead, which is put to the front: off the nodes that shall not lead, then so that
    /// each leads its share.
    pub fn lead(&mut self, most: usize) -> Vec<(usize, Vec<NodeId>)> {
        if !self.copysets.is_empty() {
            return self.lead_within(most);
        }
        let mut changed = BTreeSet::new();
        while changed.len() < most {
            let Some((at, position)) = self.misled() else { break };
            let placed = &mut self.partitions[at];
            *self.led.entry(placed.nodes[0]).or_default() -= 1;
            placed.nodes[..=position].rotate_right(1);
            *self.led.entry(placed.nodes[0]).or_default() += 1;
            changed.insert(at);
        }
        changed.into_iter().map(|at| (at, self.partitions[at].nodes.clone())).collect()
    }

    /// The same in a large mesh, in one pass over all partitions.
    fn lead_within(&mut self, most: usize) -> Vec<(usize, Vec<NodeId>)> {
        let slack = self.slack(&self.led);
        let mut changed = Vec::new();
        for at in 0..self.partitions.len() {
            let placed = &self.partitions[at];
            let Some(leader) = placed.nodes.first().filter(|_| placed.free && changed.len() < most) else {
                continue;
            };
            let now = self.nodes.get(leader).map(|node| self.share(&self.led, node, 0));
            let able = placed.nodes.iter().enumerate().skip(1);
            let able = able.filter_map(|(position, node)| Some((position, self.nodes.get(node)?)));
            let best = able.map(|(position, node)| (position, node, self.share(&self.led, node, 1 + slack)));
            let Some((position, node, then)) = best.min_by(|a, b| order(&a.2, &b.2).then(a.0.cmp(&b.0)))
            else {
                continue;
            };
            if now.is_some_and(|now| !less(then, now)) {
                continue;
            }
            let (before, after) = (*leader, node.node);
            *self.led.entry(before).or_default() -= 1;
            *self.led.entry(after).or_default() += 1;
            let placed = &mut self.partitions[at];
            placed.nodes[..=position].rotate_right(1);
            changed.push((at, placed.nodes.clone()));
        }
        changed
    }

    /// Of `traffic`, which is each partition's, one node may lead much more than the others: then it exchanges partitions with quieter
    /// ones that it shares them with, at most so many pairs. Each node leads as many partitions as before. Nothing is exchanged unless the
    /// busiest node has a quarter more than the mean, and each exchange brings the busier of the two down by a tenth of the mean.
    pub fn exchange_leads(&mut self, traffic: &[u64], pairs: usize) -> Vec<(usize, Vec<NodeId>)> {
        let mut changed = BTreeSet::new();
        for _ in 0..pairs {
            let Some([busy, quiet]) = self.exchange(traffic, &changed) else { break };
            let leaders = [busy, quiet].map(|at| self.partitions[at].nodes[0]);
            for (at, leader) in [(busy, leaders[1]), (quiet, leaders[0])] {
                let nodes = &mut self.partitions[at].nodes;
                if let Some(position) = nodes.iter().position(|node| *node == leader) {
                    nodes[..=position].rotate_right(1);
                }
                changed.insert(at);
            }
        }
        changed.into_iter().map(|at| (at, self.partitions[at].nodes.clone())).collect()
    }

    /// The best exchange with the busiest node: its partition, and the one that it gets for it.
    fn exchange(&self, traffic: &[u64], changed: &BTreeSet<usize>) -> Option<[usize; 2]> {
        let of = |at: usize| traffic.get(at).copied().unwrap_or(0);
        let mut led: BTreeMap<NodeId, (u64, Vec<usize>)> =
            self.nodes.keys().map(|node| (*node, Default::default())).collect();
        for (at, placed) in self.partitions.iter().enumerate() {
            let Some(leader) = placed.nodes.first().and_then(|node| led.get_mut(node)) else { continue };
            leader.0 = leader.0.saturating_add(of(at));
            if placed.free && !changed.contains(&at) {
                leader.1.push(at);
            }
        }
        // Per weight, in thousandths.
        let share = |node: &NodeId, traffic: u64| {
            u128::from(traffic) * 1_000 / u128::from(self.nodes.get(node).map_or(1, |node| node.weight))
        };
        let weights: u128 = self.nodes.values().map(|node| u128::from(node.weight)).sum();
        let mean = led.values().map(|(sum, _)| u128::from(*sum)).sum::<u128>() * 1_000 / weights.max(1);
        let (busiest, (sum, candidates)) = led.iter().max_by_key(|(node, (sum, _))| share(node, *sum))?;
        if share(busiest, *sum) * 4 <= mean * 5 {
            return None;
        }
        let has = |at: usize, node: &NodeId| self.partitions[at].nodes.contains(node);
        let mut best: Option<(u128, [usize; 2])> = None;
        for (node, (others, own)) in led.iter().filter(|(node, _)| *node != busiest) {
            let Some(&quiet) = own.iter().filter(|at| has(**at, busiest)).min_by_key(|at| of(**at)) else {
                continue;
            };
            for &busy in candidates.iter().filter(|at| has(**at, node) && of(**at) > of(quiet)) {
                let moved = of(busy) - of(quiet);
                let then = share(busiest, sum - moved).max(share(node, others.saturating_add(moved)));
                let gain = share(busiest, *sum).saturating_sub(then);
                if gain * 10 >= mean && best.is_none_or(|(known, _)| gain > known) {
                    best = Some((gain, [busy, quiet]));
                }
            }
        }
        best.map(|(_, pair)| pair)
    }

    fn misled(&self) -> Option<(usize, usize)> {
        let free = self.partitions.iter().enumerate().filter(|(_, placed)| placed.free);
        let mut best: Option<(bool, Share, usize, usize)> = None;
        for (at, placed) in free {
            let Some(leader) = placed.nodes.first() else { continue };
            let now = self.nodes.get(leader).map(|node| self.share(&self.led, node, 0));
            for (position, node) in placed.nodes.iter().enumerate().skip(1) {
                let Some(able) = self.nodes.get(node) else { continue };
                let then = self.share(&self.led, able, 1);
                let forced = now.is_none();
                if !forced && !now.is_some_and(|now| less(then, now)) {
                    continue;
                }
                let better = best.is_none_or(|(was_forced, share, ..)| match (forced, was_forced) {
                    (true, false) => true,
                    (false, true) => false,
                    _ => less(then, share),
                });
                if better {
                    best = Some((forced, then, at, position));
                }
            }
        }
        best.map(|(_, _, at, position)| (at, position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::tests::nodes;
    use crate::placement::{Burden, place_topic, place_topic_within};

    fn zones(nodes: &[PlacementNode]) -> BTreeMap<NodeId, String> {
        nodes.iter().map(|node| (node.node, node.zone.clone())).collect()
    }

    /// So many topics of so many partitions on those nodes.
    fn placed(topics: usize, partitions: u32, nodes: &[PlacementNode]) -> Vec<Placed> {
        let of_topic = |topic: usize| {
            let name = topic.to_be_bytes().to_vec();
            let spread = place_topic(&name, partitions, nodes, 3);
            (0..partitions).zip(spread).map(move |(partition, nodes)| {
                let key = [name.clone(), partition.to_be_bytes().to_vec()].concat();
                Placed { key, topic, nodes, free: true }
            })
        };
        (0..topics).flat_map(of_topic).collect()
    }

    fn counts(partitions: &[Placed], of: impl Fn(&Placed) -> Vec<NodeId>) -> BTreeMap<NodeId, usize> {
        let mut counts = BTreeMap::new();
        partitions.iter().flat_map(of).for_each(|node| *counts.entry(node).or_default() += 1);
        counts
    }

    /// All moves there are, a few at a time as in a mesh; what is desired then.
    fn settled(
        mut partitions: Vec<Placed>,
        nodes: &[PlacementNode],
        zones: &BTreeMap<NodeId, String>,
        leaves: &BTreeSet<NodeId>,
    ) -> (Vec<Placed>, usize) {
        let mut moved = 0;
        for _ in 0..10_000 {
            let mut balance = Balance::new(partitions.clone(), nodes.to_vec(), zones.clone());
            let mut moves = balance.evict(leaves, 7);
            if moves.is_empty() {
                moves = balance.level(7);
            }
            let led = balance.lead(100);
            if moves.is_empty() && led.is_empty() {
                return (partitions, moved);
            }
            moved += moves.len();
            partitions = balance.partitions;
            partitions.iter_mut().for_each(|placed| placed.free = true);
        }
        panic!("it does not end");
    }

    #[test]
    fn a_thousand_partitions_on_six_nodes_are_even() {
        for (topics, partitions) in [(1, 1000), (1000, 1), (10, 100)] {
            let six = nodes(6, 1);
            let (after, _) = settled(placed(topics, partitions, &six), &six, &zones(&six), &BTreeSet::new());
            let held = counts(&after, |placed| placed.nodes.clone());
            let led = counts(&after, |placed| placed.nodes[..1].to_vec());
            let most = |counts: &BTreeMap<NodeId, usize>| *counts.values().max().unwrap() as f64;
            assert!(most(&held) / 500.0 < 1.01, "{topics} topics: {held:?}");
            assert!(most(&led) / (1000.0 / 6.0) < 1.02, "{topics} topics: {led:?}");
        }
    }

    /// So many partitions, each on a copyset of these nodes.
    fn placed_within(partitions: u32, nodes: &[PlacementNode]) -> Vec<Placed> {
        let copysets = Copysets::new(nodes, 3).expect("large");
        let spread = place_topic_within(b"t", partitions, nodes, &copysets, Burden::default());
        let key = |at: u32| [&b"t"[..], &at.to_be_bytes()].concat();
        (0..partitions)
            .zip(spread)
            .map(|(at, nodes)| Placed { key: key(at), topic: 0, nodes, free: true })
            .collect()
    }

    fn peers_most(partitions: &[Placed]) -> usize {
        let mut peers: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for placed in partitions {
            placed.nodes.iter().for_each(|node| peers.entry(*node).or_default().extend(&placed.nodes));
        }
        peers.values().map(|peers| peers.len() - 1).max().unwrap_or(0)
    }

    #[test]
    fn in_a_large_mesh_a_join_and_a_leave_move_a_share_and_keep_to_few_peers() {
        for zones_count in [1, 3] {
            let (before, after) = (nodes(90, zones_count), nodes(91, zones_count));
            let none = BTreeSet::new();
            let (placed, moved) = settled(placed_within(9000, &before), &before, &zones(&before), &none);
            assert_eq!(moved, 0, "what was placed evenly stays");
            let (joined, moved) = settled(placed, &after, &zones(&after), &none);
            let (fair, got) = (9000 * 3 / 91, counts(&joined, |placed| placed.nodes.clone())[&NodeId(91)]);
            let few = peers_most(&joined);
            println!(
                "{zones_count} zones: a join moves {moved}, the new one gets {got}, fair is {fair}, peers {few}"
            );
            assert!(
                moved <= fair + fair * 3 / 10 && got >= fair * 8 / 10,
                "{moved} moved, {got} got, fair {fair}"
            );
            assert!(few <= crate::copysets::peers_max(3) + 6, "{few} peers");
            let leaver = NodeId(45);
            let held = counts(&joined, |placed| placed.nodes.clone())[&leaver];
            let rest: Vec<_> = after.iter().filter(|node| node.node != leaver).cloned().collect();
            let (left, moved) = settled(joined, &rest, &zones(&after), &[leaver].into());
            println!("{zones_count} zones: a leave moves {moved} of {held}, peers {}", peers_most(&left));
            assert!(moved <= held + held * 3 / 10, "{moved} moved, it held {held}");
            assert!(peers_most(&left) <= crate::copysets::peers_max(3) + 6);
            let now = counts(&left, |placed| placed.nodes.clone());
            let most = *now.values().max().expect("nodes") as f64 / 300.0;
            assert!(!now.contains_key(&leaver) && most < 1.1, "max/mean {most}");
            let zones = zones(&after);
            let apart =
                |placed: &Placed| placed.nodes.iter().map(|node| &zones[node]).collect::<BTreeSet<_>>().len();
            assert!(left.iter().all(|placed| apart(placed) == usize::try_from(zones_count).expect("small")));
        }
    }

    /// The most loaded node against the mean, of replicas and of leaders.
    fn unevenness(partitions: &[Placed], nodes: usize) -> (f64, f64) {
        let of = |counts: BTreeMap<NodeId, usize>| {
            let (most, all) = (counts.values().max().copied().unwrap_or(0), counts.values().sum::<usize>());
            most as f64 * nodes as f64 / all as f64
        };
        (of(counts(partitions, |p| p.nodes.clone())), of(counts(partitions, |p| p.nodes[..1].to_vec())))
    }

    #[test]
    fn a_thousand_partitions_are_even_as_they_are_placed_and_after_every_join_and_leave() {
        let even = |partitions: &[Placed], nodes: usize, what: &str| {
            let (held, led) = unevenness(partitions, nodes);
            assert!(held < 1.1 && led < 1.1, "{what}: replicas {held:.3}, leaders {led:.3} of the mean");
        };
        for (topics, partitions) in [(1, 1000), (10, 100), (100, 10)] {
            let what = |when: &str| format!("{topics} topics, {when}");
            let six = nodes(6, 1);
            let before = placed(topics, partitions, &six);
            even(&before, 6, &what("as placed"));
            let seven = nodes(7, 1);
            let (joined, moved) = settled(before, &seven, &zones(&seven), &BTreeSet::new());
            even(&joined, 7, &what("after a join"));
            assert!(moved * 10 <= 3000 * 13 / 7, "{}: {moved} moved", what("a join"));
            let (left, moved) = settled(joined, &six, &zones(&seven), &BTreeSet::from([NodeId(7)]));
            even(&left, 6, &what("after a leave"));
            assert!(moved * 10 <= 3000 * 13 / 7, "{}: {moved} moved", what("a leave"));
            let five = nodes(5, 1);
            let (left, _) = settled(left, &five, &zones(&six), &BTreeSet::from([NodeId(6)]));
            even(&left, 5, &what("after another"));
        }
    }

    #[test]
    fn a_join_moves_its_fair_share() {
        for (topics, partitions) in [(1, 60), (60, 1), (12, 12), (1, 1000)] {
            let (five, six) = (nodes(5, 1), nodes(6, 1));
            let none = BTreeSet::new();
            let (before, _) = settled(placed(topics, partitions, &five), &five, &zones(&five), &none);
            let (after, moved) = settled(before.clone(), &six, &zones(&six), &none);
            let fair = before.len() * 3 / 6;
            assert!(moved <= fair + fair * 3 / 10, "{topics} topics: {moved} moved, fair is {fair}");
            let got = counts(&after, |placed| placed.nodes.clone())[&NodeId(6)];
            assert!(got + 3 >= fair, "{topics} topics: the new one holds {got}, fair is {fair}");
        }
    }

    #[test]
    fn leaders_are_exchanged_for_traffic_and_each_leads_as_many_as_before() {
        let four = nodes(4, 1);
        let mut partitions = placed(1, 40, &four);
        let leads = |partitions: &[Placed]| counts(partitions, |placed| placed.nodes[..1].to_vec());
        let before = leads(&partitions);
        // All that is busy is led by node 1.
        let busy: Vec<bool> = partitions.iter().map(|placed| placed.nodes[0] == NodeId(1)).collect();
        let traffic: Vec<u64> = busy.iter().map(|busy| if *busy { 1_000 } else { 10 }).collect();
        let load = |partitions: &[Placed]| {
            let mut load: BTreeMap<NodeId, u64> = BTreeMap::new();
            partitions
                .iter()
                .zip(&traffic)
                .for_each(|(p, bytes)| *load.entry(p.nodes[0]).or_default() += bytes);
            load
        };
        let mut rounds = 0;
        loop {
            let mut balance = Balance::new(partitions.clone(), four.clone(), zones(&four));
            if balance.exchange_leads(&traffic, 2).is_empty() {
                break;
            }
            partitions = balance.partitions;
            rounds += 1;
            assert!(rounds < 20, "it does not end");
        }
        assert_eq!(leads(&partitions), before);
        let (most, mean) = (*load(&partitions).values().max().unwrap(), traffic.iter().sum::<u64>() / 4);
        assert!(most <= mean * 3 / 2, "{:?}, the mean is {mean}", load(&partitions));
        // What is left counts as even: the count of leaders is not touched by it, and nothing is exchanged back.
        let mut balance = Balance::new(partitions, four.clone(), zones(&four));
        assert!(balance.lead(100).is_empty() && balance.exchange_leads(&traffic, 2).is_empty());
    }

    #[test]
    fn little_differences_of_traffic_move_no_leader() {
        let four = nodes(4, 1);
        let partitions = placed(1, 40, &four);
        let uneven = |one: u64| -> Vec<u64> {
            partitions.iter().map(|placed| if placed.nodes[0] == NodeId(1) { one } else { 100 }).collect()
        };
        let mut balance = Balance::new(partitions.clone(), four.clone(), zones(&four));
        assert!(balance.exchange_leads(&uneven(125), 4).is_empty(), "a sixth more than the mean");
        assert!(balance.exchange_leads(&vec![0; 40], 4).is_empty());
        // One partition that is all the traffic there is helps nobody elsewhere.
        let mut lone = vec![0; 40];
        lone[7] = 1_000_000;
        assert!(balance.exchange_leads(&lone, 4).is_empty());
        assert!(!balance.exchange_leads(&uneven(1_000), 4).is_empty());
    }

    #[test]
    fn a_changed_number_of_replicas_is_spread_evenly_and_keeps_the_preferred_leader() {
        let six = nodes(6, 3);
        let before = placed(1, 60, &six);
        let mut balance = Balance::new(before.clone(), six.clone(), zones(&six));
        for wanted in [5, 2, 4, 1] {
            for (at, placed) in before.iter().enumerate() {
                let nodes = balance.resize(at, wanted).unwrap();
                assert_eq!((nodes.len(), nodes[0]), (wanted, placed.nodes[0]));
            }
            let held = counts(&balance.partitions, |placed| placed.nodes.clone());
            // Zones go before counts.
            let (least, most) = (held.values().min().unwrap(), held.values().max().unwrap());
            assert!((most - least) * 5 <= wanted * 10, "{wanted} replicas: {held:?}");
        }
        assert_eq!(balance.resize(0, 7), None);
    }

    #[test]
    fn what_is_narrow_is_widened_evenly_or_not_at_all() {
        let four = nodes(4, 1);
        let alone = |at: u8| Placed { key: vec![at], topic: 0, nodes: vec![NodeId(1)], free: true };
        let partitions: Vec<Placed> = (0..16).map(alone).collect();
        let narrow: BTreeMap<usize, usize> = (0..16).map(|at| (at, 3)).collect();
        let mut balance = Balance::new(partitions.clone(), four.clone(), zones(&four));
        let widened = balance.widen(&narrow, 100);
        assert!(widened.len() == 16 && widened.iter().all(|(_, nodes)| nodes.len() == 3 && nodes[0].0 == 1));
        let held = widened.iter().flat_map(|(_, nodes)| &nodes[1..]).filter(|node| node.0 == 2).count();
        assert!((10..=11).contains(&held), "{held} of 32 on one of three");
        assert!(balance.widen(&narrow, 100).is_empty(), "they are under way");
        let two = nodes(2, 1);
        assert!(Balance::new(partitions, two.clone(), zones(&two)).widen(&narrow, 100).is_empty());
    }

    #[test]
    fn a_node_that_leaves_is_emptied_and_zones_stay_apart() {
        let six = nodes(6, 3);
        let (before, _) = settled(placed(20, 6, &six), &six, &zones(&six), &BTreeSet::new());
        let five: Vec<_> = six.iter().filter(|node| node.node != NodeId(4)).cloned().collect();
        let (after, moved) = settled(before, &five, &zones(&six), &[NodeId(4)].into());
        let held = counts(&after, |placed| placed.nodes.clone());
        assert!(!held.contains_key(&NodeId(4)), "{held:?}");
        assert!((60..=80).contains(&moved), "{moved}");
        let zones = zones(&six);
        for placed in after {
            let apart: BTreeSet<_> = placed.nodes.iter().map(|node| &zones[node]).collect();
            assert_eq!((placed.nodes.len(), apart.len()), (3, 3));
        }
    }

    #[test]
    fn who_shall_not_lead_does_not_and_nobody_is_there_to_take_over() {
        let three = nodes(3, 1);
        let two: Vec<_> = three[..2].to_vec();
        let (after, moved) = settled(placed(1, 6, &three), &two, &zones(&three), &[NodeId(3)].into());
        assert_eq!(moved, 0, "three replicas need three nodes");
        let led = counts(&after, |placed| placed.nodes[..1].to_vec());
        assert_eq!(led, [(NodeId(1), 3), (NodeId(2), 3)].into());
    }

    #[test]
    fn weights_are_shares() {
        let mut three = nodes(4, 1);
        three[0].weight = 200;
        let mut partitions = placed(1, 100, &nodes(4, 1));
        partitions.iter_mut().for_each(|placed| placed.nodes.truncate(1));
        let (after, _) = settled(partitions, &three, &zones(&three), &BTreeSet::new());
        let held = counts(&after, |placed| placed.nodes.clone());
        assert_eq!(held[&NodeId(1)], 40, "{held:?}");
    }
}
