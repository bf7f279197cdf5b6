//! The everyday requests beyond writing and reading, at the node core: deletion of records, more partitions, preferred leaders,
//! offsets by time, epochs; and a client that writes faster than its batches are replicated.

#[path = "everyday/configs.rs"]
mod configs;
#[path = "everyday/followers.rs"]
mod followers;
mod founders;
#[path = "everyday/quotas.rs"]
mod quotas;
#[path = "everyday/reassign.rs"]
mod reassign;
#[path = "everyday/recovery.rs"]
mod recovery;
#[path = "everyday/returns.rs"]
mod returns;
#[path = "everyday/scrub.rs"]
mod scrub;
mod steps;

use node::core::error::ErrorCode;
use node::core::request::*;
use steps::{Mesh, batch, produce, produced};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

#[test]
fn deleted_records_are_gone_also_inside_of_a_batch_and_after_a_failover() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    for base in [0, 10, 20] {
        assert_eq!(mesh.produce("t", batch(0, &[1_000 + base; 10])), base);
    }
    let leader = mesh.leader("t", 0);
    assert_eq!(mesh.delete(leader, "t", 31), (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(mesh.delete(leader, "t", -2), (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(mesh.delete(leader, "t", 0), (ErrorCode::None, 0));
    assert_eq!(mesh.delete(leader, "t", 14), (ErrorCode::None, 14));
    assert_eq!(mesh.delete(leader, "t", 12), (ErrorCode::None, 14), "it never goes back");
    let other = leader % 3 + 1;
    assert_eq!(mesh.delete(other, "t", 14).0, ErrorCode::NotLeaderOrFollower);
    assert_eq!(mesh.offset("t", EARLIEST).offset, 14);
    assert_eq!(mesh.fetch("t", 13, -1).error, ErrorCode::OffsetOutOfRange);
    let read = mesh.fetch("t", 14, -1);
    assert_eq!((read.error, read.log_start_offset, read.batches[0].base_offset), (ErrorCode::None, 14, 10));

    mesh.kill(leader);
    let next = mesh.leader("t", 0);
    assert_ne!(next, leader);
    assert_eq!(mesh.offset("t", EARLIEST).offset, 14);
    assert_eq!(mesh.fetch("t", 13, -1).error, ErrorCode::OffsetOutOfRange);
    mesh.start(leader);
    mesh.run(5_000);

    let next = mesh.leader("t", 0);
    assert_eq!(mesh.delete(next, "t", -1), (ErrorCode::None, 30));
    assert_eq!((mesh.offset("t", EARLIEST).offset, mesh.offset("t", LATEST).offset), (30, 30));
    assert_eq!(mesh.produce("t", batch(0, &[2_000])), 30);
    assert_eq!(mesh.fetch("t", 30, -1).batches.len(), 1);
}

/// A client that asks a node which is cut off learns where the others are: it may reach them, and forgets whom it is not told of.
#[test]
fn a_node_that_hears_few_others_lists_all_of_them() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    let listed = |mesh: &mut Mesh| -> Vec<i32> {
        let request = Request::Metadata { topics: MetadataTopics::All, allow_auto_create: false };
        let Response::Metadata(metadata) = mesh.ask(1, request) else { panic!("another answer") };
        metadata.brokers.iter().map(|broker| broker.node).collect()
    };
    mesh.kill(2);
    mesh.run(5_000);
    assert_eq!(listed(&mut mesh), [1, 3]);
    mesh.kill(3);
    mesh.run(5_000);
    assert_eq!(listed(&mut mesh), [1, 2, 3]);
}

#[test]
fn a_restart_keeps_what_was_deleted() {
    let mut mesh = Mesh::new(1);
    mesh.create("t", 1);
    mesh.produce("t", batch(0, &[1_000; 10]));
    assert_eq!(mesh.delete(1, "t", 4), (ErrorCode::None, 4));
    for _ in 0..2 {
        mesh.kill(1);
        mesh.start(1);
        assert_eq!(mesh.leader("t", 0), 1);
        mesh.run(1_000);
        assert_eq!(mesh.offset("t", EARLIEST).offset, 4);
    }
    assert_eq!(mesh.delete(1, "t", -1), (ErrorCode::None, 10));
    mesh.kill(1);
    mesh.start(1);
    mesh.run(1_000);
    assert_eq!(mesh.offset("t", EARLIEST).offset, 10);
}

#[test]
fn offsets_by_time_are_exact_and_begin_at_the_log_start() {
    let mut mesh = Mesh::new(1);
    mesh.create("t", 1);
    mesh.produce("t", batch(0, &[1_000, 1_010, 1_020]));
    mesh.produce("t", batch(0, &[1_500, 1_400, 1_300]));
    mesh.produce("t", batch(3, &[1_200, 1_210, 1_220]));
    mesh.produce("t", batch(0, &[1_100, 1_600, 1_600]));
    let at = |mesh: &mut Mesh, timestamp| {
        let found = mesh.offset("t", timestamp);
        (found.offset, found.timestamp, found.search.is_some())
    };
    assert_eq!(at(&mut mesh, 0), (0, 1_000, false));
    assert_eq!(at(&mut mesh, 1_005), (1, 1_010, false));
    assert_eq!(at(&mut mesh, 1_025), (3, 1_500, false));
    assert_eq!(at(&mut mesh, 1_501), (10, 1_600, false));
    assert_eq!(at(&mut mesh, 1_601), (-1, -1, false));
    assert_eq!(at(&mut mesh, MAX_TIMESTAMP), (10, 1_600, false));
    assert_eq!(mesh.delete(1, "t", 1), (ErrorCode::None, 1));
    assert_eq!(at(&mut mesh, 0), (1, 1_010, false), "not below the log start");
    assert_eq!(mesh.delete(1, "t", 4), (ErrorCode::None, 4));
    assert_eq!(at(&mut mesh, 1_450), (10, 1_600, false), "the first batch has it only below the log start");
    assert_eq!(mesh.delete(1, "t", 7), (ErrorCode::None, 7));
    let found = mesh.offset("t", 1_205);
    let search = found.search.expect("the batch is packed");
    assert_eq!(
        (search.at_ms, search.from, search.batches.len()),
        (1_205, 7, 2),
        "it may lie in the next one"
    );
    assert_eq!((found.offset, search.batches[0].base_offset, search.batches[1].base_offset), (7, 6, 9));
}

#[test]
fn epochs_end_where_the_next_begins_and_a_reader_that_diverged_is_told() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    mesh.produce("t", batch(0, &[1_000; 5]));
    let first = mesh.fetch("t", 0, -1).batches[0].leader_epoch;
    let leader = mesh.leader("t", 0);
    mesh.kill(leader);
    mesh.produce("t", batch(0, &[1_000; 5]));
    let second = mesh.fetch("t", 5, -1).batches[0].leader_epoch;
    assert!(second > first);
    let leader = mesh.leader("t", 0);
    let mut end = |leader_epoch: i32| {
        let topic = TopicRef::Name("t".into());
        let part = EpochPartition { topic, partition: 0, current_leader_epoch: -1, leader_epoch };
        let Response::OffsetForLeaderEpoch { partitions } =
            mesh.ask(leader, Request::OffsetForLeaderEpoch { partitions: vec![part] })
        else {
            panic!("another answer")
        };
        (partitions[0].error, partitions[0].leader_epoch, partitions[0].end_offset)
    };
    assert_eq!(end(first), (ErrorCode::None, first, 5));
    assert_eq!(end(second), (ErrorCode::None, second, 10));
    assert_eq!(end(second + 1), (ErrorCode::None, -1, -1));
    assert_eq!(end(-1), (ErrorCode::None, -1, -1));
    assert_eq!(mesh.fetch("t", 5, first).diverging, None);
    assert_eq!(mesh.fetch("t", 10, second).diverging, None);
    let diverged = mesh.fetch("t", 7, first);
    assert_eq!((diverged.error, diverged.diverging), (ErrorCode::None, Some((first, 5))));
    assert!(diverged.batches.is_empty());
}

#[test]
fn a_topic_grows_and_the_new_partitions_are_led() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    mesh.produce("t", batch(0, &[1_000; 5]));
    let grow = |mesh: &mut Mesh, count, assignment, validate_only| {
        let topic = GrowTopic { name: "t".into(), count, assignment };
        let request = Request::CreatePartitions { topics: vec![topic], validate_only, timeout_ms: 30_000 };
        let Response::CreatePartitions { topics } = mesh.ask(2, request) else { panic!("another answer") };
        topics[0].error
    };
    assert_eq!(grow(&mut mesh, 4, None, true), ErrorCode::None);
    assert_eq!(mesh.topic(2, "t").partitions.len(), 1, "only asked");
    assert_eq!(grow(&mut mesh, 4, None, false), ErrorCode::None);
    let led = |part: &PartitionMetadata| part.error == ErrorCode::None && part.leader > 0;
    assert!(mesh.topic(2, "t").partitions.iter().all(led), "answered when all are led");
    assert_eq!(grow(&mut mesh, 4, None, false), ErrorCode::InvalidPartitions);
    assert_eq!(grow(&mut mesh, 5, Some(vec![vec![2, 3, 1]]), false), ErrorCode::None);
    let partitions = mesh.topic(2, "t").partitions;
    assert_eq!((partitions.len(), &partitions[4].replicas), (5, &vec![2, 3, 1]));
    assert_eq!(mesh.fetch("t", 0, -1).high_watermark, 5, "the old partition is as it was");
}

#[test]
fn leadership_goes_back_to_the_preferred_replica() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 3);
    let preferred = mesh.topic(1, "t").partitions[0].replicas[0];
    let elect = |mesh: &mut Mesh, node, election, named: Option<i32>| {
        let one = |partition| vec![ElectPartition { topic: "t".into(), partition }];
        let request = Request::ElectLeaders { election, partitions: named.map(one), timeout_ms: 10_000 };
        let Response::ElectLeaders { partitions } = mesh.ask(node, request) else { panic!("another answer") };
        partitions.iter().map(|part| (part.partition, part.error)).collect::<Vec<_>>()
    };
    let other = preferred % 3 + 1;
    let preferred_election = ElectionType::Preferred;
    assert_eq!(mesh.leader("t", 0), preferred);
    let already = elect(&mut mesh, other, preferred_election, Some(0));
    assert_eq!(already, [(0, ErrorCode::ElectionNotNeeded)]);
    assert_eq!(elect(&mut mesh, other, preferred_election, None), [], "nothing to do is not told");
    let none = elect(&mut mesh, other, preferred_election, Some(9));
    assert_eq!(none, [(9, ErrorCode::UnknownTopicOrPartition)]);

    mesh.kill(preferred);
    assert_ne!(mesh.leader("t", 0), preferred);
    mesh.run(10_000);
    let down = elect(&mut mesh, other, preferred_election, Some(0));
    assert_eq!(down, [(0, ErrorCode::PreferredLeaderNotAvailable)]);
    let led = elect(&mut mesh, other, ElectionType::Unclean, Some(0));
    assert_eq!(led, [(0, ErrorCode::ElectionNotNeeded)]);

    mesh.start(preferred);
    mesh.run(10_000);
    assert_ne!(mesh.leader("t", 0), preferred, "it does not come back by itself");
    assert_eq!(elect(&mut mesh, other, preferred_election, Some(0)), [(0, ErrorCode::None)]);
    assert_eq!(mesh.leader("t", 0), preferred);
    mesh.produce("t", batch(0, &[1_000]));

    (1..=3).filter(|node| *node != preferred).for_each(|node| mesh.kill(node));
    mesh.run(10_000);
    let alone = elect(&mut mesh, preferred, ElectionType::Unclean, Some(0));
    assert_eq!(alone, [(0, ErrorCode::EligibleLeadersNotAvailable)], "what it said of itself is over");
    let open = elect(&mut mesh, preferred, preferred_election, Some(0));
    assert_eq!(open, [(0, ErrorCode::RequestTimedOut)]);
}

#[test]
fn the_data_directory_is_described() {
    let mut mesh = Mesh::new(1);
    mesh.create("t", 2);
    mesh.produce("t", batch(0, &[1_000; 100]));
    let mut describe = |partitions| {
        let Response::DescribeLogDirs(dir) = mesh.ask(1, Request::DescribeLogDirs { partitions }) else {
            panic!("another answer")
        };
        dir.replicas.into_iter().map(|r| (r.topic, r.partition, r.bytes > 500, r.lag)).collect::<Vec<_>>()
    };
    let all = [("t".to_owned(), 0, true, 0), ("t".to_owned(), 1, false, 0)];
    assert_eq!(describe(None), all);
    assert_eq!(describe(Some([("t".to_owned(), [1, 7].into())].into())), all[1..]);
    assert_eq!(describe(Some([("u".to_owned(), [1].into())].into())), []);
}

/// A batch of a million bytes, of which the leader may have 16 under way.
fn large() -> Batch {
    let mut batch = batch(0, &[1_000]);
    let mut bytes = batch.bytes.to_vec();
    bytes.resize(1_000_000, 0);
    batch.bytes = bytes.into();
    batch
}

#[test]
fn batches_that_come_faster_than_they_are_replicated_wait_in_order() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    let leader = mesh.leader("t", 0);
    let sent: Vec<RequestId> = (0..60).map(|_| mesh.send(leader, produce("t", large()))).collect();
    for (offset, id) in (0..).zip(sent) {
        assert_eq!(produced(mesh.answer("a batch", id)), (ErrorCode::None, offset));
    }
    let sent: Vec<RequestId> = (0..90).map(|_| mesh.send(leader, produce("t", large()))).collect();
    let answers: Vec<ErrorCode> = sent.into_iter().map(|id| produced(mesh.answer("a batch", id)).0).collect();
    let refused = answers.iter().filter(|error| **error == ErrorCode::NotEnoughReplicas).count();
    assert_eq!(refused, 90 - 16 - 67, "what may wait is bounded");
    assert!(answers[..83].iter().all(|error| *error == ErrorCode::None));
    assert_eq!(mesh.offset("t", LATEST).offset, 60 + 83);
}

#[test]
fn a_batch_whose_client_was_told_of_the_time_out_while_it_waited_is_not_written() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    let leader = mesh.leader("t", 0);
    let others: Vec<i32> = (1..=3).filter(|node| *node != leader).collect();
    others.iter().for_each(|node| mesh.kill(*node));
    let sent: Vec<RequestId> = (0..40).map(|_| mesh.send(leader, produce("t", large()))).collect();
    for id in sent {
        let error = produced(mesh.answer("a batch", id)).0;
        assert!(matches!(error, ErrorCode::RequestTimedOut | ErrorCode::NotLeaderOrFollower), "{error:?}");
    }
    others.iter().for_each(|node| mesh.start(*node));
    mesh.run(10_000);
    let stored = mesh.offset("t", LATEST).offset;
    assert!(stored <= 16, "{stored} batches, of which 16 were under way");
    assert_eq!(mesh.produce("t", batch(0, &[2_000])), stored);
}
