//! Fetch from followers: who is sent where, what a follower serves, and what it does not know.

use node::core::error::ErrorCode;
use node::core::request::*;

use crate::steps::{Mesh, batch};

/// About when these nodes run.
const TIME: i64 = 1_700_000_000_000;

impl Mesh {
    fn fetch_at(&mut self, node: i32, offset: i64, rack: &str) -> FetchResult {
        let topic = TopicRef::Name("t".into());
        let (leader_epoch, last_epoch, max_bytes) = (-1, -1, 1 << 20);
        let part = FetchPartition { topic, partition: 0, offset, leader_epoch, last_epoch, max_bytes };
        let (partitions, rack) = (vec![part], rack.to_owned());
        let request = Request::Fetch { max_wait_ms: 0, min_bytes: 0, max_bytes, partitions, rack };
        let Response::Fetch { mut partitions } = self.ask(node, request) else { panic!("another answer") };
        partitions.remove(0)
    }
}

#[test]
fn a_consumer_is_sent_to_the_replica_in_its_zone_and_reads_there_what_is_committed() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    for base in [0, 10, 20] {
        assert_eq!(mesh.produce("t", batch(0, &[TIME; 10])), base);
    }
    mesh.run(1_000);
    let leader = mesh.leader("t", 0);
    let follower = leader % 3 + 1;
    let zone = |node: i32| format!("zone-{node}");
    let at_leader = |mesh: &mut Mesh, rack: &str| {
        let result = mesh.fetch_at(leader, 0, rack);
        (result.error, result.preferred_read_replica, result.batches.len())
    };
    assert_eq!(at_leader(&mut mesh, &zone(follower)), (ErrorCode::None, Some(follower), 0));
    assert_eq!(at_leader(&mut mesh, &zone(leader)), (ErrorCode::None, None, 3), "it is near itself");
    assert_eq!(at_leader(&mut mesh, ""), (ErrorCode::None, None, 3));
    assert_eq!(at_leader(&mut mesh, "elsewhere"), (ErrorCode::None, None, 3));
    let read = mesh.fetch_at(follower, 0, &zone(follower));
    assert_eq!((read.error, read.batches.len(), read.high_watermark), (ErrorCode::None, 3, 30));
    let end = mesh.fetch_at(follower, 30, &zone(follower));
    assert_eq!((end.error, end.batches.len()), (ErrorCode::None, 0));
    // What it may not have yet does not reset a consumer.
    assert_eq!(mesh.fetch_at(follower, 31, &zone(follower)).error, ErrorCode::OffsetNotAvailable);
    assert_eq!(mesh.fetch_at(follower, 0, "").error, ErrorCode::NotLeaderOrFollower);
    assert_eq!(mesh.delete(leader, "t", 10), (ErrorCode::None, 10));
    mesh.run(1_000);
    assert_eq!(mesh.fetch_at(follower, 9, &zone(follower)).error, ErrorCode::OffsetOutOfRange);
    assert_eq!(mesh.fetch_at(follower, 10, &zone(follower)).batches.len(), 2);
}

#[test]
fn a_replica_without_a_leader_or_behind_is_not_asked() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    mesh.produce("t", batch(0, &[TIME; 10]));
    mesh.run(1_000);
    let leader = mesh.leader("t", 0);
    let (near, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let rack = format!("zone-{near}");
    mesh.kill(near);
    mesh.run(5_000);
    assert_eq!(mesh.fetch_at(leader, 0, &rack).batches.len(), 1, "the leader serves it itself");
    mesh.start(near);
    mesh.run(5_000);
    assert_eq!(mesh.fetch_at(leader, 0, &rack).preferred_read_replica, Some(near));
    mesh.kill(leader);
    mesh.kill(third);
    mesh.run(5_000);
    assert_eq!(mesh.fetch_at(near, 0, &rack).error, ErrorCode::NotLeaderOrFollower);
}
