//! A lost majority that an operator gives up, and that comes back.

use node::core::error::ErrorCode;
use node::core::metadata::{PartitionKey, ShardId};
use node::core::request::*;

use crate::steps::{Mesh, batch};

/// More than the elections that a mesh holds in an hour.
const TERMS: u32 = 1 << 16;

fn ask(mesh: &mut Mesh, node: i32, key: PartitionKey) -> (ErrorCode, String) {
    let here = mesh.node(node).replica(key).map(|here| here.id);
    let survivor = here.expect("the survivor has it");
    let text = || "test".to_owned();
    let wish = Recover { key, survivor, by: text(), why: text(), found: text() };
    match mesh.ask(node, Request::Recover(wish)) {
        Response::Decided { error, message } => (error, message.unwrap_or_default()),
        other => panic!("another answer: {other:?}"),
    }
}

fn recover(mesh: &mut Mesh, node: i32, key: PartitionKey) {
    mesh.until("the majority counts as lost", |mesh| mesh.node(node).needs_none(key).is_none());
    assert_eq!(ask(mesh, node, key), (ErrorCode::None, String::new()), "{key:?}");
    mesh.until("the survivor leads", |mesh| {
        mesh.node(node).leader_up(key).is_some_and(|info| info.leader.0 == node)
    });
}

#[test]
fn a_majority_that_was_given_up_comes_back_and_has_no_say() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    assert_eq!(mesh.produce("t", batch(0, &[1])), 0);
    mesh.run(1_000);
    let topic = mesh.topic(1, "t").topic_id;
    let key = PartitionKey { topic, partition: 0 };
    let (error, message) = ask(&mut mesh, 1, key);
    assert!(error == ErrorCode::InvalidRequest && message.contains("is led by node"), "{message}");

    // What the others acknowledge while the survivor is down it never had.
    mesh.kill(1);
    for offset in 1..4 {
        assert_eq!(mesh.produce("t", batch(0, &[offset + 1])), offset);
    }
    mesh.run(1_000);
    mesh.kill(2);
    mesh.kill(3);
    mesh.start(1);
    mesh.run(2_000);
    let shards: Vec<PartitionKey> = ShardId::all().map(PartitionKey::of_shard).collect();
    shards.iter().for_each(|shard| recover(&mut mesh, 1, *shard));
    recover(&mut mesh, 1, key);
    assert_eq!(mesh.node(1).view().recoveries().count(), 17);
    let (error, message) = ask(&mut mesh, 1, key);
    assert!(error == ErrorCode::InvalidRequest && message.contains("is led by node 1"), "{message}");

    // Another history begins where the survivor's log ended.
    // It is served once its shard raised the ceiling of the topic's terms.
    mesh.run(1_000);
    assert_eq!(mesh.produce("t", batch(0, &[77])), 1);
    let here = mesh.node(1).replica(key).expect("it leads");
    assert!(here.term.0 > TERMS, "no term of the lost majority is used again: {}", here.term.0);
    assert!(here.id.epoch.0 > 1);

    // The others hold three records at those offsets, and as many elections as they like among themselves.
    mesh.start(2);
    mesh.start(3);
    mesh.until("three replicas of the new history", |mesh| {
        (2..=3).all(|node| {
            let Some(replica) = mesh.node(node).replica(key) else { return false };
            let same = mesh.node(1).replica(key).is_some_and(|leader| leader.commit == replica.commit);
            replica.id.epoch.0 > 1
                && same
                && replica.membership.is_some_and(|members| members.voters.len() == 3)
        })
    });
    for shard in &shards {
        mesh.until("three replicas of the shards", |mesh| {
            let replica = mesh.node(1).replica(*shard);
            replica.is_none_or(|one| one.membership.is_some_and(|members| members.voters.len() == 3))
        });
    }
    mesh.run(2_000);
    for node in 1..=3 {
        assert_eq!(mesh.node(node).view().recoveries().count(), 17, "node {node} knows what was done");
    }
    mesh.kill(1);
    let read = mesh.fetch("t", 0, -1);
    let offsets: Vec<i64> = read.batches.iter().map(|batch| batch.base_offset).collect();
    assert_eq!((read.error, read.high_watermark, offsets), (ErrorCode::None, 2, vec![0, 1]));
    assert_eq!(mesh.produce("t", batch(0, &[78])), 2);
}

#[test]
fn a_survivor_that_goes_on_alone_does_so_after_each_restart() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    assert_eq!(mesh.produce("t", batch(0, &[1])), 0);
    mesh.run(1_000);
    let topic = mesh.topic(1, "t").topic_id;
    let key = PartitionKey { topic, partition: 0 };
    mesh.kill(2);
    mesh.kill(3);
    ShardId::all().map(PartitionKey::of_shard).for_each(|shard| recover(&mut mesh, 1, shard));
    recover(&mut mesh, 1, key);
    // Again and again, the survivor is what it was.
    for offset in 1..4 {
        mesh.kill(1);
        mesh.start(1);
        assert_eq!(mesh.produce("t", batch(0, &[1])), offset);
    }
}
