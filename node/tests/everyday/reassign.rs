//! Replicas that an operator moves, as Kafka's tools do, and another number of them.

use node::core::error::ErrorCode;
use node::core::request::*;

use crate::steps::{Mesh, batch};

const BATCHES: i64 = 10;

/// Four nodes, a topic of one partition on three of them, and balancing paused.
fn mesh() -> Mesh {
    let mut mesh = Mesh::new(4);
    let Response::Decided { error, .. } = mesh.ask(1, Request::Decide(Decision::PauseBalancing(true))) else {
        panic!("another answer")
    };
    assert_eq!(error, ErrorCode::None);
    let (partitions, replication_factor, configs) = (-1, -1, Vec::new());
    let assignment = vec![(0, vec![1, 2, 3])];
    let topic = CreateTopic { name: "t".into(), partitions, replication_factor, assignment, configs };
    let request = Request::CreateTopics { topics: vec![topic], validate_only: false, timeout_ms: 30_000 };
    let Response::CreateTopics { topics } = mesh.ask(1, request) else { panic!("another answer") };
    assert_eq!(topics[0].error, ErrorCode::None, "{topics:?}");
    for offset in 0..BATCHES {
        assert_eq!(mesh.produce("t", batch(0, &[1_700_000_000_000 + offset])), offset);
    }
    mesh
}

fn reassign(mesh: &mut Mesh, node: i32, replicas: Option<&[i32]>) -> ErrorCode {
    let replicas = replicas.map(<[i32]>::to_vec);
    let partitions = vec![Reassignment { topic: "t".into(), partition: 0, replicas }];
    let request = Request::AlterReassignments { partitions, may_change_factor: true, timeout_ms: 10_000 };
    let Response::AlterReassignments { partitions } = mesh.ask(node, request) else {
        panic!("another answer")
    };
    partitions[0].error
}

fn change_factor(mesh: &mut Mesh, node: i32, factor: i32) -> ErrorCode {
    let request = Request::ChangeFactor { topic: "t".into(), factor, timeout_ms: 10_000 };
    let Response::AlterReassignments { partitions } = mesh.ask(node, request) else {
        panic!("another answer")
    };
    partitions.first().map_or(ErrorCode::None, |part| part.error)
}

/// What moves, as that node tells Kafka's tools: adding and removing replicas of each partition.
fn moving(mesh: &mut Mesh, node: i32) -> Vec<(Vec<i32>, Vec<i32>)> {
    let Response::ListReassignments { error, partitions } =
        mesh.ask(node, Request::ListReassignments { partitions: None })
    else {
        panic!("another answer")
    };
    assert_eq!(error, ErrorCode::None);
    partitions.into_iter().map(|part| (part.adding, part.removing)).collect()
}

fn replicas(mesh: &mut Mesh, node: i32) -> Vec<i32> {
    mesh.topic(node, "t").partitions[0].replicas.clone()
}

/// Nothing moves, so many replicas are in sync, and all that was written is there.
fn settled(mesh: &mut Mesh, wanted: usize) {
    mesh.until("nothing moves", |mesh| moving(mesh, 1).is_empty());
    mesh.until("all are in sync", |mesh| {
        let part = mesh.topic(1, "t").partitions.remove(0);
        (part.replicas.len(), part.in_sync.len()) == (wanted, wanted)
    });
    let read: Vec<i64> =
        (0..BATCHES).map(|offset| mesh.fetch("t", offset, -1).batches[0].base_offset).collect();
    assert_eq!(read, (0..BATCHES).collect::<Vec<_>>());
}

#[test]
fn replicas_go_where_an_operator_wants_them() {
    let mut mesh = mesh();
    assert_eq!(reassign(&mut mesh, 2, Some(&[4, 1, 9])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(reassign(&mut mesh, 2, None), ErrorCode::NoReassignmentInProgress);
    assert_eq!(reassign(&mut mesh, 2, Some(&[4, 1, 2])), ErrorCode::None);
    settled(&mut mesh, 3);
    assert_eq!(replicas(&mut mesh, 3), [4, 1, 2]);
    mesh.run(2_000);
    let topic = mesh.node(3).view().topic_named("t").expect("known").id;
    let key = node::core::metadata::PartitionKey { topic, partition: 0 };
    assert!(mesh.node(3).replica(key).is_none(), "the data is gone where it is not wanted");
}

#[test]
fn a_reassignment_that_cannot_be_carried_out_is_cancelled_and_nobody_left() {
    let mut mesh = mesh();
    mesh.kill(4);
    assert_eq!(reassign(&mut mesh, 1, Some(&[4, 1, 2])), ErrorCode::None);
    mesh.run(5_000);
    assert_eq!(moving(&mut mesh, 2), [(vec![4], vec![3])]);
    assert_eq!(replicas(&mut mesh, 2), [4, 1, 2, 3], "all of them, as Kafka tells");
    assert_eq!(mesh.produce("t", batch(0, &[1_700_000_000_100])), BATCHES, "the three go on");
    assert_eq!(reassign(&mut mesh, 3, None), ErrorCode::None);
    settled(&mut mesh, 3);
    assert_eq!(replicas(&mut mesh, 2), [1, 2, 3]);
    assert_eq!(reassign(&mut mesh, 3, None), ErrorCode::NoReassignmentInProgress);
    // It comes back, and is not wanted there.
    mesh.start(4);
    mesh.run(5_000);
    assert_eq!(reassign(&mut mesh, 1, Some(&[1, 2, 4])), ErrorCode::None);
    settled(&mut mesh, 3);
    assert_eq!(replicas(&mut mesh, 2), [1, 2, 4]);
}

#[test]
fn a_topic_gets_another_number_of_replicas_but_never_two_from_one() {
    let mut mesh = mesh();
    assert_eq!(change_factor(&mut mesh, 2, 5), ErrorCode::InvalidReplicationFactor);
    assert_eq!(change_factor(&mut mesh, 2, 4), ErrorCode::None);
    settled(&mut mesh, 4);
    assert_eq!(change_factor(&mut mesh, 3, 1), ErrorCode::None);
    settled(&mut mesh, 1);
    assert_eq!(replicas(&mut mesh, 2), [1], "the preferred leader stays");
    assert_eq!(change_factor(&mut mesh, 3, 2), ErrorCode::InvalidReplicationFactor);
    assert_eq!(change_factor(&mut mesh, 3, 3), ErrorCode::None);
    settled(&mut mesh, 3);
}
