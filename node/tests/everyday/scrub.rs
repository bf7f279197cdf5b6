//! Rot under running nodes, and the scrubber that comes by it.

use mesh::raft::{Index, ReplicaEpoch, Role};
use node::core::metadata::PartitionKey;
use node::core::{ReplicaView, Standing};
use storage::{Disk, DiskFile};

use crate::steps::{Mesh, batch};

const BATCHES: i64 = 10;
/// About when these nodes run, or retention would take what is rotten.
const TIME: i64 = 1_700_000_000_000;
const VICTIM: i64 = TIME + 77_777;
/// Several rounds of a mesh that holds little, and time to make a replica anew.
const ROUNDS_MS: u64 = 30_000;

/// A mesh with a topic of one partition; the batch of offset 4 tells that time.
fn filled(nodes: i32) -> Mesh {
    let mut mesh = Mesh::new(nodes);
    mesh.create("t", 1);
    for offset in 0..BATCHES {
        let time = if offset == 4 { VICTIM } else { TIME + offset };
        assert_eq!(mesh.produce("t", batch(0, &[time])), offset);
    }
    mesh.run(1_000);
    mesh
}

/// A bit of that batch is another one on the node's disk.
fn rot(mesh: &Mesh, node: i32) {
    let disk = mesh.disk(node);
    let hit = disk.list().expect("no fault").into_iter().any(|name| {
        let file = disk.open(&name).expect("there");
        let len = usize::try_from(file.len().expect("no fault")).expect("small");
        let bytes = file.read_at(0, len).expect("whole");
        let at = bytes.windows(8).position(|window| window == VICTIM.to_be_bytes());
        at.is_some_and(|at| disk.flip_bit(&name, at as u64, 3))
    });
    assert!(hit, "the batch is on the disk");
}

fn replica<'a>(mesh: &'a Mesh, node: i32) -> ReplicaView<'a> {
    let node = mesh.node(node);
    let topic = node.view().topic_named("t").expect("known").id;
    node.replica(PartitionKey { topic, partition: 0 }).expect("here")
}

/// Whether it is a member under a new name that holds all there is.
fn is_made_anew(mesh: &Mesh, node: i32, before: ReplicaEpoch, last: Index) -> bool {
    let replica = replica(mesh, node);
    replica.standing == Standing::Member && replica.id.epoch > before && replica.synced >= last
}

#[test]
fn a_rotten_replica_is_made_anew_whoever_it_is() {
    for leads in [false, true] {
        let mut mesh = filled(3);
        let leader = mesh.leader("t", 0);
        let victim = if leads { leader } else { leader % 3 + 1 };
        let (before, last) = (replica(&mesh, victim).id.epoch, replica(&mesh, leader).last);
        rot(&mesh, victim);
        mesh.run(ROUNDS_MS);
        let figures = mesh.node(victim).scrub_figures();
        assert_eq!((figures.rot, figures.kept), (1, 0), "{figures:?}");
        assert!(is_made_anew(&mesh, victim, before, last), "{:?}", replica(&mesh, victim));
        let whole = mesh.node(victim % 3 + 1).scrub_figures();
        assert!(whole.rot == 0 && whole.rounds > 1, "{whole:?}");
        let read = mesh.fetch("t", 0, -1);
        assert_eq!(i64::try_from(read.batches.len()), Ok(BATCHES), "{read:?}");
    }
}

#[test]
fn a_rotten_replica_is_kept_until_the_others_can_do_without() {
    let mut mesh = filled(3);
    let leader = mesh.leader("t", 0);
    let (victim, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let (before, last) = (replica(&mesh, victim).id.epoch, replica(&mesh, leader).last);
    mesh.kill(other);
    mesh.run(3_000);
    rot(&mesh, victim);
    mesh.run(ROUNDS_MS);
    let figures = mesh.node(victim).scrub_figures();
    assert_eq!((figures.rot, figures.kept), (1, 1), "{figures:?} {:?}", replica(&mesh, victim));
    assert_eq!(replica(&mesh, victim).role, Some(Role::Follower));
    assert_eq!(mesh.produce("t", batch(0, &[TIME])), BATCHES, "it still counts");
    mesh.start(other);
    mesh.run(ROUNDS_MS);
    assert_eq!(mesh.node(victim).scrub_figures().kept, 0);
    assert!(is_made_anew(&mesh, victim, before, last), "{:?}", replica(&mesh, victim));
}

#[test]
fn a_lone_replica_keeps_what_can_be_read() {
    let mut mesh = filled(1);
    rot(&mesh, 1);
    mesh.run(ROUNDS_MS);
    let figures = mesh.node(1).scrub_figures();
    assert_eq!((figures.rot, figures.kept), (1, 1), "{figures:?} {:?}", replica(&mesh, 1));
    assert!(figures.rounds > 1, "the rest is read all the same: {figures:?}");
    assert_eq!(replica(&mesh, 1).role, Some(Role::Leader));
    assert_eq!(mesh.produce("t", batch(0, &[TIME])), BATCHES);
}
