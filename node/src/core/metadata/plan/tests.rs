use mesh::raft::Incarnation;

use super::*;
use crate::core::metadata::descriptor::{Founder, Founding};
use crate::core::metadata::shard::{Outcome, Shard};

fn view(nodes: i32) -> View {
    let founder = |node: i32| Founder {
        node: NodeId(node),
        incarnation: Incarnation(7),
        peer_id: vec![node.to_be_bytes()[3]],
        mesh: format!("n{node}:1"),
        zone: String::new(),
    };
    View::founded(&Founding { cluster_id: "c".into(), founders: (1..=nodes).map(founder).collect() })
}

fn request(name: &str, partitions: i32, replication_factor: i16) -> CreateTopic {
    let (assignment, configs) = (Vec::new(), Vec::new());
    CreateTopic { name: name.into(), partitions, replication_factor, assignment, configs }
}

fn plan(request: &CreateTopic, nodes: i32, live: &[i32]) -> Result<Plan, Refusal> {
    let live = live.iter().copied().map(NodeId).collect();
    plan_topic(request, &view(nodes), &live, &Defaults::default(), [3; 16])
}

fn error(request: &CreateTopic, nodes: i32, live: &[i32]) -> Refusal {
    plan(request, nodes, live).expect_err("it must be refused")
}

#[test]
fn a_good_request_is_placed_and_the_shard_takes_it() {
    let plan = plan(&request("orders", 6, 3), 3, &[1, 2, 3]).expect("good");
    assert_eq!((plan.result.partitions, plan.result.replication_factor), (6, 3));
    assert_eq!(plan.warning, None);
    let Command::CreateTopic { partitions, .. } = &plan.command else { panic!("{:?}", plan.command) };
    for node in 1..=3 {
        let led = partitions.iter().filter(|replicas| replicas[0].node == NodeId(node)).count();
        assert_eq!(led, 2, "six partitions on three nodes");
    }
    let mut shard = Shard::founded(plan.shard, &Founding { cluster_id: "c".into(), founders: Vec::new() });
    assert_eq!(shard.apply(1, &plan.command.encode()), Outcome::Done);
    assert!(shard.topic(plan.result.topic_id).is_some());
}

#[test]
fn names_are_kafkas() {
    let long = "x".repeat(250);
    for name in
        ["", ".", "..", "a b", "a/b", "ä", "a\0", "__rafka_metadata", "__consumer_offsets", long.as_str()]
    {
        assert_eq!(error(&request(name, 1, 1), 3, &[1, 2, 3]).error, ErrorCode::InvalidTopic, "{name:?}");
    }
    for name in ["a", "A.b_c-9", "...", "__mine", &long[..249]] {
        assert!(plan(&request(name, 1, 1), 3, &[1, 2, 3]).is_ok(), "{name:?}");
    }
}

#[test]
fn existing_and_colliding_names() {
    let mut view = view(1);
    let live = [NodeId(1)].into();
    let plan = |name: &str, view: &View| {
        plan_topic(&request(name, 1, 1), view, &live, &Defaults::default(), [1; 16])
    };
    let first = plan("a.b", &view).expect("good");
    let mut shard = Shard::founded(first.shard, &Founding { cluster_id: "c".into(), founders: Vec::new() });
    shard.apply(1, &first.command.encode());
    view.merge(shard.update_since(0));
    assert_eq!(plan("a.b", &view).expect_err("exists").error, ErrorCode::TopicAlreadyExists);
    let collision = plan("a_b", &view).expect_err("collides");
    assert_eq!(collision.error, ErrorCode::InvalidTopic);
    assert!(collision.message.contains("collides with existing topic: a.b"));
    assert!(plan("ab", &view).is_ok() && plan("a.c", &view).is_ok());
}

#[test]
fn numbers_out_of_bounds() {
    for partitions in [0, -2, 10_001, i32::MIN, i32::MAX] {
        assert_eq!(error(&request("t", partitions, 1), 3, &[1, 2, 3]).error, ErrorCode::InvalidPartitions);
    }
    for factor in [0, -2, 4, 16, i16::MAX] {
        let refusal = error(&request("t", 1, factor), 3, &[1, 2, 3]);
        assert_eq!(refusal.error, ErrorCode::InvalidReplicationFactor, "{factor}");
    }
    let refusal = error(&request("t", 1, 3), 3, &[1, 2]);
    assert!(refusal.message.contains("only 2 of 3"), "{}", refusal.message);
}

#[test]
fn the_default_factor_follows_the_mesh_and_not_its_failures() {
    let factor = |nodes, live: &[i32]| {
        plan(&request("t", -1, -1), nodes, live).map(|plan| plan.result.replication_factor)
    };
    assert_eq!(factor(1, &[1]), Ok(1));
    assert_eq!(factor(2, &[1, 2]), Ok(2));
    assert_eq!(factor(5, &[1, 2, 3, 4, 5]), Ok(3));
    assert_eq!(factor(3, &[1, 2]), Ok(3), "the third is named and comes later");
    assert!(factor(3, &[1]).is_err(), "no majority could create it");
    assert!(factor(3, &[]).is_err());
    let plan = plan(&request("t", 9, -1), 3, &[2, 3]).expect("a majority is live");
    let Command::CreateTopic { partitions, .. } = &plan.command else { panic!("{:?}", plan.command) };
    assert!(partitions.iter().all(|replicas| replicas[0].node != NodeId(1)), "a dead node is not preferred");
}

#[test]
fn two_replicas_warn() {
    let plan = plan(&request("t", 1, 2), 3, &[1, 2, 3]).expect("allowed");
    assert!(plan.warning.expect("a warning").contains("2 replicas"));
}

#[test]
fn manual_assignments_are_checked() {
    let assigned = |assignment: &[(i32, &[i32])]| CreateTopic {
        assignment: assignment.iter().map(|(p, nodes)| (*p, nodes.to_vec())).collect(),
        ..request("t", -1, -1)
    };
    let good = plan(&assigned(&[(1, &[3, 1]), (0, &[2, 3])]), 3, &[1, 2, 3]).expect("good");
    let Command::CreateTopic { partitions, .. } = &good.command else { panic!("{:?}", good.command) };
    let nodes: Vec<Vec<i32>> = partitions.iter().map(|r| r.iter().map(|r| r.node.0).collect()).collect();
    assert_eq!(nodes, [[2, 3], [3, 1]]);
    let bad: [&[(i32, &[i32])]; 7] = [
        &[(0, &[])],
        &[(0, &[1, 1])],
        &[(0, &[9])],
        &[(1, &[1])],
        &[(0, &[1]), (0, &[2])],
        &[(0, &[1]), (1, &[2, 3])],
        &[(0, &[1]), (-1, &[2])],
    ];
    for assignment in bad {
        let refusal = error(&assigned(assignment), 3, &[1, 2, 3]);
        assert_eq!(refusal.error, ErrorCode::InvalidReplicaAssignment, "{assignment:?}");
    }
    let both = CreateTopic { partitions: 1, ..assigned(&[(0, &[1])]) };
    assert_eq!(error(&both, 3, &[1, 2, 3]).error, ErrorCode::InvalidRequest);
}

#[test]
fn configs_are_checked_and_described() {
    let with = |key: &str, value: &str| CreateTopic {
        configs: vec![(key.into(), Some(value.into()))],
        ..request("t", 1, 1)
    };
    let refusal = error(&with("retention.msec", "1"), 1, &[1]);
    assert_eq!(refusal.error, ErrorCode::InvalidConfig);
    assert!(refusal.message.contains("retention.msec"));
    let plan = plan(&with("retention.ms", "1000"), 1, &[1]).expect("good");
    let shown = plan.result.configs.iter().find(|entry| entry.name == "retention.ms").expect("described");
    assert_eq!(
        (shown.value.as_deref(), shown.source),
        (Some("1000"), crate::core::request::ConfigSource::Topic)
    );
}
