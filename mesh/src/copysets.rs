//! Which nodes of a large mesh share partitions: so few that a node's heartbeats do not grow with the mesh, and that of all ways to lose
//! three nodes at once few lose a partition (Cidon et al. 2013, "Copysets", whose *scatter width* is the bound here; zones as in
//! Cidon et al. 2015, "Tiered Replication").
//!
//! The copysets are drawn from [`RINGS`] rings, in each of which the nodes stand in another order, by a hash of ring and node. Every node
//! heads one set per ring: itself and the next ones that stand in zones with the fewest nodes of the set so far. No node is in more than
//! twice its share of the sets that others head. So there are a few sets per node, with the members that placement needs.
//!
//! They follow from the nodes alone, and a node that comes or goes changes only sets near its places in the rings: each of these
//! changes by one node, the one that came or went. That is why the random permutations of the paper are not used, which would all be
//! cut anew.
//!
//! A mesh of fewer than [`NODES_MIN`] nodes has none: there every node may share with every other.

use std::collections::{BTreeMap, BTreeSet};

use crate::placement::PlacementNode;
use crate::raft::NodeId;

/// From so many nodes on there are copysets.
pub const NODES_MIN: usize = 40;

/// Orders in which nodes stand.
pub const RINGS: u32 = 3;

/// The most peers of a node with `replication_factor`, as long as zones are of about the same size: the others of the sets that it heads
/// and of those that it is in.
pub fn peers_max(replication_factor: usize) -> usize {
    let others = replication_factor.saturating_sub(1);
    RINGS as usize * others * (1 + others * 2)
}

/// The copysets of a mesh for one replication factor.
#[derive(Clone, Debug)]
pub struct Copysets {
    sets: Vec<Vec<NodeId>>,
    /// Positions of the sets that a node is in.
    of_node: BTreeMap<NodeId, Vec<usize>>,
    peers: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Copysets {
    /// Those of nodes with a weight. `None` when everybody may share with everybody: in a small mesh, and without replicas.
    pub fn new(nodes: &[PlacementNode], replication_factor: usize) -> Option<Self> {
        let nodes: Vec<&PlacementNode> = nodes.iter().filter(|node| node.weight > 0).collect();
        if nodes.len() < NODES_MIN || replication_factor < 2 {
            return None;
        }
        let mut sets = Vec::with_capacity(nodes.len() * RINGS as usize);
        for ring in 0..RINGS {
            let mut order: Vec<(u64, &PlacementNode)> =
                nodes.iter().map(|node| (place_in(ring, node.node), *node)).collect();
            order.sort_by_key(|(place, node)| (*place, node.node));
            let order: Vec<&PlacementNode> = order.into_iter().map(|(_, node)| node).collect();
            sets.extend(Ring::new(order, replication_factor).sets());
        }
        let mut of_node: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        let mut peers: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
        for (at, set) in sets.iter().enumerate() {
            for &node in set {
                of_node.entry(node).or_default().push(at);
                peers.entry(node).or_default().extend(set.iter().filter(|other| **other != node));
            }
        }
        Some(Self { sets, of_node, peers })
    }

    /// All sets; the first of each heads it.
    pub fn sets(&self) -> &[Vec<NodeId>] {
        &self.sets
    }

    /// The sets that a node is in.
    pub fn of(&self, node: NodeId) -> impl Iterator<Item = (usize, &[NodeId])> {
        let positions = self.of_node.get(&node).into_iter().flatten();
        positions.filter_map(|&at| Some((at, self.sets.get(at)?.as_slice())))
    }

    /// The nodes that are in a set with this one.
    pub fn peers(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        self.peers.get(&node).into_iter().flatten().copied()
    }

    /// Whether two nodes are in a set together.
    pub fn may_share(&self, one: NodeId, other: NodeId) -> bool {
        self.peers.get(&one).is_some_and(|peers| peers.contains(&other))
    }
}

/// Where a node stands in a ring.
fn place_in(ring: u32, node: NodeId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"copysets");
    hasher.update(&ring.to_be_bytes());
    hasher.update(&node.0.to_be_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// The sets of one ring, made one after the other.
struct Ring<'a> {
    order: Vec<&'a PlacementNode>,
    size: usize,
    /// How many sets of others a node of each zone may be in.
    most: BTreeMap<&'a str, usize>,
    /// In how many it is.
    taken: Vec<usize>,
    /// How many nodes each zone has.
    zones: BTreeMap<&'a str, usize>,
}

impl<'a> Ring<'a> {
    fn new(order: Vec<&'a PlacementNode>, size: usize) -> Self {
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        for node in &order {
            *zones.entry(node.zone.as_str()).or_default() += 1;
        }
        let places = order.len() * (size - 1);
        let count = zones.len();
        // Each zone has the same share of the places, and as many again are free for choice: with half as many a join began 33 of 330 sets
        // anew, with this many 16. Rounded to the nearest, so that zones of about the same size have the same bound.
        let bound = |nodes: usize| (places * 4 + count * nodes) / (2 * count * nodes);
        let most = zones.iter().map(|(zone, nodes)| (*zone, bound(*nodes).max(1))).collect();
        let taken = vec![0; order.len()];
        Self { order, size, most, taken, zones }
    }

    fn sets(mut self) -> Vec<Vec<NodeId>> {
        (0..self.order.len()).map(|head| self.set_of(head)).collect()
    }

    fn set_of(&mut self, head: usize) -> Vec<NodeId> {
        let mut set = vec![head];
        while set.len() < self.size.min(self.order.len()) {
            let next = self.next(&set, true).or_else(|| self.next(&set, false));
            let Some(next) = next else { break };
            self.taken[next] += 1;
            set.push(next);
        }
        set.into_iter().map(|at| self.order[at].node).collect()
    }

    /// The next node clockwise that may join a set, with or without regard to how many others it is in.
    fn next(&self, set: &[usize], bounded: bool) -> Option<usize> {
        let in_zone = |zone: &str| set.iter().filter(|at| self.order[**at].zone == zone).count();
        let open =
            self.zones.iter().map(|(zone, nodes)| (in_zone(zone), *nodes)).filter(|(in_it, all)| in_it < all);
        let fewest = open.map(|(in_it, _)| in_it).min()?;
        let all = self.order.len();
        (1..all).map(|step| (set[0] + step) % all).find(|at| {
            let zone = self.order[*at].zone.as_str();
            let room = !bounded || self.most.get(zone).is_some_and(|most| self.taken[*at] < *most);
            room && !set.contains(at) && in_zone(zone) == fewest
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::tests::nodes;

    fn as_sets(copysets: &Copysets) -> BTreeSet<BTreeSet<NodeId>> {
        copysets.sets().iter().map(|set| set.iter().copied().collect()).collect()
    }

    #[test]
    fn a_small_mesh_has_none() {
        let small = i32::try_from(NODES_MIN).expect("small") - 1;
        assert!(Copysets::new(&nodes(small, 3), 3).is_none());
        assert!(Copysets::new(&nodes(100, 3), 1).is_none());
    }

    #[test]
    fn peers_are_few_and_zones_apart() {
        for (count, zones) in [(40, 1), (41, 3), (100, 3), (1000, 3), (999, 1), (300, 7), (200, 2)] {
            let nodes = nodes(count, zones);
            let copysets = Copysets::new(&nodes, 3).expect("large");
            let most = nodes.iter().map(|n| copysets.peers(n.node).count()).max().expect("nodes");
            let mean =
                nodes.iter().map(|n| copysets.peers(n.node).count()).sum::<usize>() as f64 / f64::from(count);
            println!("{count} nodes in {zones} zones: {mean:.1} peers, at most {most}");
            assert!(most <= peers_max(3), "{count} nodes in {zones} zones: {most} peers");
            let zone_of = |node: &NodeId| &nodes.iter().find(|n| n.node == *node).expect("known").zone;
            for set in copysets.sets() {
                let apart: BTreeSet<&String> = set.iter().map(zone_of).collect();
                assert_eq!(apart.len(), 3.min(usize::try_from(zones).expect("small")), "{set:?}");
                assert_eq!(set.iter().collect::<BTreeSet<_>>().len(), 3);
            }
        }
        assert_eq!(peers_max(3), 30);
    }

    #[test]
    fn a_node_that_comes_changes_few_sets_and_each_by_itself() {
        for zones in [1, 3] {
            let (mut lost, mut far) = (0, 0);
            for count in 100..130 {
                let (before, after) = (nodes(count, zones), nodes(count + 1, zones));
                let before = as_sets(&Copysets::new(&before, 3).expect("large"));
                let after = as_sets(&Copysets::new(&after, 3).expect("large"));
                lost += before.difference(&after).count();
                let came = NodeId(count + 1);
                far += after.difference(&before).filter(|set| !set.contains(&came)).count();
            }
            let (lost, far) = (lost as f64 / 30.0, far as f64 / 30.0);
            println!("{zones} zones: a join ends {lost:.1} sets, and begins {far:.1} without the new node");
            assert!(lost < 33.0, "a join ends {lost} sets of some 330");
            assert!(far < 25.0, "{far}");
        }
    }

    quickcheck::quickcheck! {
        fn every_node_heads_a_set_in_each_ring(count: u8, zones: u8, factor: u8) -> bool {
            let count = 40 + i32::from(count);
            let factor = 2 + usize::from(factor % 4);
            let nodes = nodes(count, 1 + i32::from(zones % 9));
            let Some(copysets) = Copysets::new(&nodes, factor) else { return false };
            nodes.iter().all(|node| {
                let heads = copysets.of(node.node).filter(|(_, set)| set[0] == node.node).count();
                heads == RINGS as usize && copysets.of(node.node).all(|(_, set)| set.len() == factor)
            })
        }
    }
}
