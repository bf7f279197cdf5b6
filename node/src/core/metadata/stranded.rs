//! What would be left without a majority if the present life of a node were given up. Pure: from a view to partitions.
//!
//! A view has the desired replicas and not the memberships, so the worst that fits is assumed: every triple that is desired or leaving
//! may be a voter, and one whose node is down or has another life is gone. A membership has about as many voters as there are desired
//! replicas, so a majority is there in any case while the nodes with a triple that is gone are fewer than half of those.

use std::collections::BTreeSet;

use mesh::raft::{NodeId, ReplicaId};

use super::descriptor::{Descriptor, PartitionKey};
use super::view::View;

/// The partitions that would be without a majority, or that nobody else leads. `live` are the nodes that are up, `led` says whether
/// another node leads a partition. What is only being created has promised nothing and is passed over, but for shards.
pub fn stranded(
    view: &View,
    node: NodeId,
    live: &BTreeSet<NodeId>,
    led: impl Fn(PartitionKey) -> bool,
) -> Vec<PartitionKey> {
    let others: BTreeSet<NodeId> = live.iter().copied().filter(|other| *other != node).collect();
    let held = |descriptor: &&Descriptor| {
        let mut replicas = descriptor.replicas.iter().chain(&descriptor.leaving);
        let begun = !descriptor.creating || descriptor.key.as_shard().is_some();
        begun && replicas.any(|replica| replica.node == node)
    };
    let left = |descriptor: &&Descriptor| has_majority(view, descriptor, &others) && led(descriptor.key);
    view.descriptors().filter(held).filter(|one| !left(one)).map(|descriptor| descriptor.key).collect()
}

/// Whether a partition has a majority of its voters in any case while these nodes are up.
pub fn has_majority(view: &View, descriptor: &Descriptor, live: &BTreeSet<NodeId>) -> bool {
    let is_gone = |replica: &&ReplicaId| {
        let life = view.node(replica.node).map(|info| info.incarnation);
        !live.contains(&replica.node) || life != Some(replica.incarnation)
    };
    let replicas = descriptor.replicas.iter().chain(&descriptor.leaving);
    let gone: BTreeSet<NodeId> = replicas.filter(is_gone).map(|replica| replica.node).collect();
    gone.len() * 2 < descriptor.replicas.len()
}

#[cfg(test)]
mod tests {
    use mesh::raft::ReplicaEpoch;

    use super::*;
    use crate::core::metadata::shard::tests::founding;
    use crate::core::metadata::{Command, METADATA_TOPIC, Shard, ShardId};

    /// Shards with three replicas each on nodes 1 to `nodes`; the first replica on node 2 is under way to node 4.
    fn view(nodes: i32, moving: bool) -> View {
        let mut shard = Shard::founded(ShardId(0), &founding(nodes));
        let created = Command::MarkCreated { topic: METADATA_TOPIC, partitions: (0..16).collect() };
        shard.apply(1, &created.encode());
        if moving {
            let key = PartitionKey::of_shard(ShardId(0));
            let old = shard.descriptor(key).and_then(|d| d.replica_on(NodeId(2))).expect("three of three");
            let new = ReplicaId { epoch: ReplicaEpoch(2), ..old };
            shard.apply(2, &Command::ReplaceReplica { key, old, new }.encode());
        }
        let mut view = View::default();
        view.merge(shard.update_since(0));
        view
    }

    fn nodes(nodes: &[i32]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn one_of_three_may_go_while_the_others_are_there() {
        let calm = view(3, false);
        assert!(stranded(&calm, NodeId(3), &nodes(&[1, 2]), |_| true).is_empty());
        assert_eq!(stranded(&calm, NodeId(3), &nodes(&[1]), |_| true).len(), 16, "another is down");
        assert_eq!(stranded(&calm, NodeId(3), &nodes(&[1, 2]), |_| false).len(), 16, "nobody leads them");
        assert_eq!(stranded(&view(1, false), NodeId(1), &nodes(&[]), |_| true).len(), 16, "the only replica");
        assert_eq!(stranded(&view(2, false), NodeId(1), &nodes(&[2]), |_| true).len(), 16, "one of two");
    }

    #[test]
    fn what_is_leaving_may_still_be_a_voter() {
        // Node 2 has both triples; the first counts while its life goes on.
        let moving = view(3, true);
        assert!(stranded(&moving, NodeId(3), &nodes(&[1, 2]), |_| true).is_empty());
        let keys = stranded(&moving, NodeId(2), &nodes(&[1]), |_| true);
        assert!(keys.contains(&PartitionKey::of_shard(ShardId(0))));
    }
}
