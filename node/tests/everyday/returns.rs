//! A node that was called dead and comes back with its data directory.

use mesh::raft::NodeId;
use node::core::metadata::{NodeState, PartitionKey};

use crate::steps::{Mesh, batch};

/// Longer than a node may be away before it is called dead, and its replicas are made anew.
const AWAY_MS: u64 = 330_000;

fn state(mesh: &Mesh, by: i32, node: i32) -> Option<NodeState> {
    mesh.node(by).view().node(NodeId(node)).map(|info| info.state)
}

#[test]
fn a_node_that_was_called_dead_keeps_what_it_has_until_the_shards_say_what_becomes_of_it() {
    let mut mesh = Mesh::new(4);
    mesh.create_with("t", 4, 3);
    for offset in 0..5 {
        assert_eq!(mesh.produce("t", batch(0, &[offset + 1])), offset);
    }
    mesh.run(1_000);
    let topic = mesh.topic(1, "t");
    let (key, leader) = (PartitionKey { topic: topic.topic_id, partition: 0 }, topic.partitions[0].leader);
    let gone = topic.partitions[0].replicas.iter().copied().find(|node| *node != leader).expect("three");
    let others: Vec<i32> = (1..=4).filter(|node| *node != gone).collect();
    let held = mesh.node(gone).replicas().count();
    assert!(held > 4);
    mesh.kill(gone);
    assert_eq!(mesh.produce("t", batch(0, &[6])), 5);
    mesh.run(AWAY_MS);
    assert_eq!(state(&mesh, others[0], gone), Some(NodeState::Dead));
    let named = |mesh: &Mesh| mesh.node(others[0]).view().desired_on(NodeId(gone)).count();
    assert_eq!(named(&mesh), 0, "all is made anew elsewhere");

    // Nobody can say whether what it holds is wanted: no shard has a majority.
    mesh.kill(others[1]);
    mesh.kill(others[2]);
    mesh.start(gone);
    mesh.run(20_000);
    assert_eq!(mesh.node(gone).replicas().count(), held, "nothing is deleted unasked");

    mesh.start(others[1]);
    mesh.start(others[2]);
    mesh.until("it is taken in again", |mesh| state(mesh, others[0], gone) == Some(NodeState::Active));
    mesh.until("it has what it should have, under new triples, and nothing else", |mesh| {
        let view = mesh.node(others[0]).view();
        let wanted = view.desired_on(NodeId(gone)).count();
        let mut here = mesh.node(gone).replicas();
        let right = here.all(|replica| {
            let desired = view.descriptor(replica.key).and_then(|one| one.replica_on(NodeId(gone)));
            desired == Some(replica.id) && replica.id.epoch.0 > 1
        });
        wanted > 0 && right && mesh.node(gone).replicas().count() == wanted
    });
    let read = mesh.fetch("t", 0, -1);
    assert_eq!(read.high_watermark, 6);
    let replica = mesh.node(gone).replica(key);
    assert!(replica.is_none_or(|replica| replica.id.epoch.0 > 1));
}
