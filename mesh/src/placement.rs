//! Where replicas go: zone-aware weighted rendezvous hashing with blake3.
//!
//! Every node gets a cost per key, drawn from `blake3(key, node)`; the cheapest nodes hold the key. A node
//! that joins takes only what it is now cheapest for, one that leaves gives away only what it held. Costs are
//! exponential variates divided by the node's weight (Efraimidis and Spirakis 2006; "weighted rendezvous
//! hashing"), computed in integers, so that every machine gets the same answer.
//!
//! Zones come first: no zone holds a second replica while another zone has none. Then, within one topic, no
//! node takes more than its share while another has room, and leaders are spread in the same way.
//!
//! In a large mesh only nodes of one [copyset](crate::copysets) share a partition: [`place_topic_within`].
//!
//! Whoever computes an assignment writes it into the entry that commits it; nobody recomputes it, so these
//! rules may change without moving anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::copysets::Copysets;
use crate::raft::NodeId;

/// A node that may hold replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementNode {
    /// Its committed id.
    pub node: NodeId,
    /// Failure domain; nodes without one share the empty zone.
    pub zone: String,
    /// Relative capacity. A node of weight 0 gets nothing.
    pub weight: u32,
}

/// The nodes for `key` in order of preference; the first is the preferred leader. Fewer than
/// `replication_factor` when there are fewer nodes with a weight.
pub fn place(key: &[u8], nodes: &[PlacementNode], replication_factor: usize) -> Vec<NodeId> {
    pick(key, nodes, replication_factor, &Load::default())
}

/// The replicas of each partition `0..partitions` of one topic, preferred leader first.
///
/// Beyond [`place`], replicas are bounded per node by its share of the topic (rounded up), and leaders are
/// spread over the replicas: six partitions on three equal nodes lead two each.
pub fn place_topic(
    topic: &[u8],
    partitions: u32,
    nodes: &[PlacementNode],
    replication_factor: usize,
) -> Vec<Vec<NodeId>> {
    let weights: BTreeMap<NodeId, u64> =
        nodes.iter().filter(|n| n.weight > 0).map(|n| (n.node, u64::from(n.weight))).collect();
    let total: u64 = weights.values().sum();
    if total == 0 {
        return vec![Vec::new(); partitions as usize];
    }
    let copies = u64::from(partitions) * replication_factor.min(weights.len()) as u64;
    let mut load = Load {
        bound: weights.iter().map(|(&node, &weight)| (node, (copies * weight).div_ceil(total))).collect(),
        held: BTreeMap::new(),
    };
    let mut placed = Vec::with_capacity(partitions as usize);
    let mut key = topic.to_vec();
    for partition in 0..partitions {
        key.truncate(topic.len());
        key.extend_from_slice(&partition.to_be_bytes());
        let replicas = pick(&key, nodes, replication_factor, &load);
        for &node in &replicas {
            *load.held.entry(node).or_default() += 1;
        }
        placed.push(replicas);
    }
    level(&mut placed, nodes, &mut load);
    spread_leaders(&mut placed, &weights);
    placed
}

/// What nodes hold and lead already, of all topics.
#[derive(Clone, Debug, Default)]
pub struct Burden {
    /// Replicas.
    pub held: BTreeMap<NodeId, u64>,
    /// Partitions that they are preferred to lead.
    pub led: BTreeMap<NodeId, u64>,
}

impl Burden {
    /// A partition more, preferred leader first.
    pub fn add(&mut self, replicas: &[NodeId]) {
        for &node in replicas {
            *self.held.entry(node).or_default() += 1;
        }
        if let Some(&leader) = replicas.first() {
            *self.led.entry(leader).or_default() += 1;
        }
    }
}

/// The replicas of each partition `0..partitions` of one topic in a large mesh, preferred leader first. Each is one of the copysets of
/// these nodes.
///
/// Each partition goes to a copyset of the node that holds least of all topics for its weight: of these the one that holds fewest of the
/// topic, then the one that holds least. Its node with the fewest leaderships is preferred.
pub fn place_topic_within(
    topic: &[u8],
    partitions: u32,
    nodes: &[PlacementNode],
    copysets: &Copysets,
    mut burden: Burden,
) -> Vec<Vec<NodeId>> {
    let by_node: BTreeMap<NodeId, &PlacementNode> =
        nodes.iter().filter(|node| node.weight > 0).map(|node| (node.node, node)).collect();
    let share = |counts: &BTreeMap<NodeId, u64>, node: NodeId| {
        let weight = by_node.get(&node).map_or(1, |node| u64::from(node.weight));
        (counts.get(&node).copied().unwrap_or(0) << 32) / weight
    };
    let mut waiting: BTreeSet<(u64, u128, NodeId)> =
        by_node.values().map(|node| (share(&burden.held, node.node), cost(topic, node), node.node)).collect();
    let ties: BTreeMap<NodeId, u128> = waiting.iter().map(|&(_, tie, node)| (node, tie)).collect();
    let mut of_topic: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut placed = Vec::with_capacity(partitions as usize);
    let mut key = topic.to_vec();
    for partition in 0..partitions {
        let Some(&(_, _, neediest)) = waiting.first() else { break };
        key.truncate(topic.len());
        key.extend_from_slice(&partition.to_be_bytes());
        let rank = |(at, set): &(usize, &[NodeId])| {
            let most = set.iter().map(|node| of_topic.get(node).copied().unwrap_or(0)).max();
            let all = set.iter().map(|node| share(&burden.held, *node)).fold(0, u64::saturating_add);
            (most, all, *at)
        };
        let Some((_, set)) = copysets.of(neediest).min_by_key(rank) else { break };
        let mut replicas = set.to_vec();
        let costs = |node: &NodeId| by_node.get(node).map_or(u128::MAX, |node| cost(&key, node));
        replicas.sort_by_cached_key(|node| (share(&burden.led, *node), costs(node)));
        for &node in &replicas {
            let tie = ties.get(&node).copied().unwrap_or(0);
            let before = share(&burden.held, node);
            if waiting.remove(&(before, tie, node)) {
                let more = burden.held.get(&node).copied().unwrap_or(0) + 1;
                waiting.insert((share(&[(node, more)].into(), node), tie, node));
            }
            *of_topic.entry(node).or_default() += 1;
        }
        burden.add(&replicas);
        placed.push(replicas);
    }
    placed
}

/// What nodes already hold of a topic, and how much each should at most.
#[derive(Default)]
struct Load {
    bound: BTreeMap<NodeId, u64>,
    held: BTreeMap<NodeId, u64>,
}

impl Load {
    fn is_full(&self, node: NodeId) -> bool {
        self.bound.get(&node).is_some_and(|&bound| self.held(node) >= bound)
    }

    fn is_over(&self, node: NodeId) -> bool {
        self.bound.get(&node).is_some_and(|&bound| self.held(node) > bound)
    }

    fn held(&self, node: NodeId) -> u64 {
        self.held.get(&node).copied().unwrap_or(0)
    }
}

/// The cheapest nodes one by one, each from a zone with the fewest picks so far, full nodes last within that.
fn pick(key: &[u8], nodes: &[PlacementNode], replication_factor: usize, load: &Load) -> Vec<NodeId> {
    let mut candidates: Vec<(u128, &PlacementNode)> =
        nodes.iter().filter(|n| n.weight > 0).map(|n| (cost(key, n), n)).collect();
    let mut per_zone: BTreeMap<&str, usize> = BTreeMap::new();
    let mut picked = Vec::with_capacity(replication_factor.min(candidates.len()));
    while picked.len() < replication_factor {
        let best = candidates.iter().enumerate().min_by_key(|(_, (cost, n))| {
            (per_zone.get(n.zone.as_str()).copied().unwrap_or(0), load.is_full(n.node), *cost, n.node)
        });
        let Some((at, _)) = best else { break };
        let (_, node) = candidates.swap_remove(at);
        *per_zone.entry(node.zone.as_str()).or_default() += 1;
        picked.push(node.node);
    }
    picked
}

/// Takes replicas from nodes above their bound to nodes below theirs. The last partitions had no other choice
/// than full nodes when the same nodes were cheap for the first ones. Zones stay as well spread as they are.
fn level(placed: &mut [Vec<NodeId>], nodes: &[PlacementNode], load: &mut Load) {
    let zones: BTreeMap<NodeId, &str> = nodes.iter().map(|n| (n.node, n.zone.as_str())).collect();
    let room: Vec<NodeId> = load.bound.keys().copied().filter(|&node| !load.is_full(node)).collect();
    for node in room {
        for replicas in placed.iter_mut() {
            if load.is_full(node) {
                break;
            }
            if replicas.contains(&node) {
                continue;
            }
            let in_zone = |zone: &str| replicas.iter().filter(|r| zones.get(r) == Some(&zone)).count();
            let mine = zones.get(&node).copied().unwrap_or("");
            let over = replicas.iter().position(|&other| {
                let theirs = zones.get(&other).copied().unwrap_or("");
                load.is_over(other) && (theirs == mine || in_zone(mine) < in_zone(theirs))
            });
            if let Some(at) = over {
                load.held.entry(replicas[at]).and_modify(|held| *held -= 1);
                *load.held.entry(node).or_default() += 1;
                replicas[at] = node;
            }
        }
    }
}

/// Moves one replica of each partition to the front so that each node leads its share of what it holds.
///
/// First greedily, the replica with the fewest led so far, in order of preference; then leaderships move from
/// a node to a co-replica that leads at least two fewer, until none does. Each such move lowers the sum of
/// squares, so it ends.
fn spread_leaders(placed: &mut [Vec<NodeId>], weights: &BTreeMap<NodeId, u64>) {
    let mut led: BTreeMap<NodeId, u64> = BTreeMap::new();
    let burden = |led: &BTreeMap<NodeId, u64>, node: NodeId, more: u64| {
        let count = led.get(&node).copied().unwrap_or(0) + more;
        u128::from(count) * (1 << 64) / u128::from(weights.get(&node).copied().unwrap_or(1))
    };
    for replicas in placed.iter_mut() {
        let best = (0..replicas.len()).min_by_key(|&at| (burden(&led, replicas[at], 0), at));
        let Some(best) = best else { continue };
        replicas[..=best].rotate_right(1);
        *led.entry(replicas[0]).or_default() += 1;
    }
    let mut moved = true;
    while moved {
        moved = false;
        for replicas in placed.iter_mut() {
            let Some(&leader) = replicas.first() else { continue };
            let best = (1..replicas.len()).min_by_key(|&at| (burden(&led, replicas[at], 1), at));
            let Some(best) = best else { continue };
            if burden(&led, replicas[best], 1) < burden(&led, leader, 0) {
                *led.entry(leader).or_default() -= 1;
                replicas[..=best].rotate_right(1);
                *led.entry(replicas[0]).or_default() += 1;
                moved = true;
            }
        }
    }
}

/// `-log2(u) / weight` for a uniform `u` of (0, 1], in 2^-64 units: the smallest wins with probability by
/// weight.
pub(crate) fn cost(key: &[u8], node: &PlacementNode) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(&node.node.0.to_be_bytes());
    let hash = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    let drawn = u64::from_be_bytes(first).max(1);
    (u128::from(negative_log2(drawn)) << 32) / u128::from(node.weight.max(1))
}

/// `64 - log2(x)` for `x >= 1` in units of 2^-32, by repeated squaring: exact to the last bit on every
/// machine.
fn negative_log2(x: u64) -> u64 {
    let whole = 63 - u64::from(x.leading_zeros());
    // The mantissa of x in [1, 2), with 63 bits after the point.
    let mut mantissa = u128::from(x << x.leading_zeros());
    let mut fraction = 0u64;
    for _ in 0..32 {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            fraction |= 1;
        }
    }
    (64 << 32) - ((whole << 32) | fraction)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn nodes(count: i32, zones: i32) -> Vec<PlacementNode> {
        (1..=count)
            .map(|n| PlacementNode { node: NodeId(n), zone: format!("z{}", n % zones), weight: 100 })
            .collect()
    }

    fn place_all(nodes: &[PlacementNode]) -> Vec<Vec<NodeId>> {
        (0..10_000u32).map(|p| place(&p.to_be_bytes(), nodes, 3)).collect()
    }

    fn counts(placed: &[Vec<NodeId>]) -> BTreeMap<NodeId, usize> {
        let mut counts = BTreeMap::new();
        for node in placed.iter().flatten() {
            *counts.entry(*node).or_default() += 1;
        }
        counts
    }

    fn moved(before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> f64 {
        let new: usize =
            before.iter().zip(after).map(|(b, a)| a.iter().filter(|node| !b.contains(node)).count()).sum();
        new as f64 / (before.len() * 3) as f64
    }

    #[test]
    fn ten_thousand_partitions_on_twelve_nodes() {
        let twelve = nodes(12, 3);
        let placed = place_all(&twelve);
        let most = counts(&placed).into_values().max().expect("placed") as f64;
        let ratio = most / 2500.0;
        let mut thirteen = twelve.clone();
        thirteen.push(PlacementNode { node: NodeId(13), zone: "z1".into(), weight: 100 });
        let joined = moved(&placed, &place_all(&thirteen));
        let left = moved(&placed, &place_all(&twelve[..11]));
        println!("max/mean {ratio:.3}, a join moves {joined:.4}, a leave {left:.4}");
        assert!(ratio < 1.06, "max/mean {ratio}");
        assert!(joined < 0.08, "a join moves {joined}");
        assert!(left < 0.095, "a leave moves {left}");
    }

    #[test]
    fn no_zone_holds_two_while_another_holds_none() {
        let zone: BTreeMap<NodeId, String> = nodes(12, 4).into_iter().map(|n| (n.node, n.zone)).collect();
        for replicas in place_all(&nodes(12, 4)) {
            let zones: BTreeSet<&String> = replicas.iter().map(|n| &zone[n]).collect();
            assert_eq!(zones.len(), 3);
        }
        for replicas in place_topic(b"t", 500, &nodes(12, 4), 3) {
            let zones: BTreeSet<&String> = replicas.iter().map(|n| &zone[n]).collect();
            assert_eq!(zones.len(), 3);
        }
        // Two zones and three replicas: two and one, never three and none.
        let zone: BTreeMap<NodeId, String> = nodes(12, 2).into_iter().map(|n| (n.node, n.zone)).collect();
        for replicas in place_all(&nodes(12, 2)) {
            let zones: BTreeSet<&String> = replicas.iter().map(|n| &zone[n]).collect();
            assert_eq!(zones.len(), 2);
        }
    }

    #[test]
    fn weight_is_share() {
        let mut uneven = nodes(6, 1);
        uneven[0].weight = 300;
        let placed: Vec<_> = (0..20_000u32).map(|p| place(&p.to_be_bytes(), &uneven, 1)).collect();
        let heavy = counts(&placed)[&NodeId(1)] as f64 / 20_000.0;
        assert!((heavy - 3.0 / 8.0).abs() < 0.012, "a node of 3/8 of the weight holds {heavy}");
        uneven[1].weight = 0;
        assert!(place_all(&uneven).iter().flatten().all(|&n| n != NodeId(2)));
    }

    #[test]
    fn leaders_of_one_topic_are_spread() {
        for (partitions, count, rf) in [(6, 3, 3), (6, 3, 1), (6, 3, 2), (12, 3, 3), (64, 12, 3), (7, 5, 3)] {
            for topic in 0..50u8 {
                let placed = place_topic(&[topic], partitions, &nodes(count, 1), rf);
                let mut led: BTreeMap<NodeId, u32> = (1..=count).map(|n| (NodeId(n), 0)).collect();
                for replicas in &placed {
                    assert_eq!(replicas.len(), rf);
                    assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), rf, "one node twice");
                    *led.get_mut(&replicas[0]).expect("a known node") += 1;
                }
                let most = *led.values().max().expect("nodes");
                let even = partitions.div_ceil(u32::try_from(count).expect("small"));
                let slack = u32::from(rf != 1 && count > 3);
                assert!(most <= even + slack, "{partitions} on {count} RF {rf}: {led:?}");
                let held = counts(&placed).into_values().max().expect("placed");
                let share = (partitions as usize * rf).div_ceil(usize::try_from(count).expect("small"));
                assert!(held <= share + 1, "a node holds {held}, its share is {share}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_partitions_on_a_thousand_nodes_are_even() {
        for zones in [1, 3] {
            let thousand = nodes(1000, zones);
            let copysets = Copysets::new(&thousand, 3).expect("large");
            let (mut burden, mut peers) = (Burden::default(), BTreeMap::<NodeId, BTreeSet<NodeId>>::new());
            for topic in 0..200u8 {
                let placed = place_topic_within(&[topic], 500, &thousand, &copysets, burden.clone());
                let most = counts(&placed).into_values().max().expect("placed");
                assert!(most <= 5, "a node holds {most} of 500 partitions, its share is 1.5");
                for replicas in &placed {
                    burden.add(replicas);
                    replicas.iter().for_each(|node| peers.entry(*node).or_default().extend(replicas));
                }
            }
            let held = *burden.held.values().max().expect("placed") as f64 / 300.0;
            let led = *burden.led.values().max().expect("placed") as f64 / 100.0;
            let most = peers.values().map(|peers| peers.len() - 1).max().expect("placed");
            println!(
                "{zones} zones: max/mean {held:.3} of replicas, {led:.3} of leaders, at most {most} peers"
            );
            assert!(held < 1.1 && led < 1.1, "{held} {led}");
            assert!(most <= crate::copysets::peers_max(3), "{most} peers");
        }
    }

    #[test]
    fn few_nodes_and_none() {
        assert_eq!(place(b"k", &nodes(2, 2), 3).len(), 2);
        assert!(place(b"k", &[], 3).is_empty());
        assert_eq!(place_topic(b"k", 2, &[], 3), vec![Vec::new(), Vec::new()]);
    }

    #[test]
    fn logarithm_is_exact_at_powers_of_two() {
        assert_eq!(negative_log2(1), 64 << 32);
        assert_eq!(negative_log2(1 << 63), 1 << 32);
        let third = negative_log2(u64::MAX / 3) as f64 / (1u64 << 32) as f64;
        assert!((third - 3f64.log2()).abs() < 1e-8);
    }
}
