//! From a client's CreatePartitions to the command that adds them, or to the error that Kafka users know.

use std::collections::BTreeSet;

use mesh::raft::{NodeId, ReplicaId};

use super::bytes::all_distinct;
use super::command::Command;
use super::descriptor::{PartitionKey, TOPIC_PARTITIONS_MAX, Topic, first_replica};
use super::plan::{Candidates, Refusal};
use super::view::View;
use crate::core::error::ErrorCode;
use crate::core::request::GrowTopic;

/// Checks a growth and places the new replicas: as many of each new partition as partition 0 shall have. `live` are the nodes that
/// are up now. The shard checks again what may have changed by then.
///
/// # Errors
///
/// [`Refusal`], with Kafka's error code.
pub fn plan_growth(request: &GrowTopic, view: &View, live: &BTreeSet<NodeId>) -> Result<Command, Refusal> {
    let Some(topic) = view.topic_named(&request.name) else {
        let error = ErrorCode::UnknownTopicOrPartition;
        return Err(Refusal::new(error, error.text()));
    };
    let from = topic.partitions;
    let added = check_count(request.count, topic)?;
    let first = view.descriptor(PartitionKey { topic: topic.id, partition: 0 });
    let factor = first.map_or(1, |descriptor| descriptor.aim().len());
    let nodes = match &request.assignment {
        Some(assignment) => check_assignment(assignment, added, factor, view)?,
        None => place(topic, added, factor, view, live)?,
    };
    let replicas = |nodes: &Vec<NodeId>| -> Vec<ReplicaId> {
        let known = nodes.iter().filter_map(|&node| view.node(node));
        known.map(|info| first_replica(info.node, info.incarnation)).collect()
    };
    let partitions = nodes.iter().map(replicas).collect();
    Ok(Command::AddPartitions { topic: topic.id, from, partitions })
}

fn check_count(count: i32, topic: &Topic) -> Result<usize, Refusal> {
    let (name, now) = (&topic.name, topic.partitions);
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    match count {
        _ if count == now => refuse(format!("Topic already has {now} partition(s).")),
        _ if count < now => refuse(format!(
            "The topic {name} currently has {now} partition(s); {count} would not be an increase."
        )),
        _ if count > TOPIC_PARTITIONS_MAX => {
            refuse(format!("A topic has at most {TOPIC_PARTITIONS_MAX} partitions, not {count}."))
        }
        _ => Ok(usize::try_from(count - now).unwrap_or(0)),
    }
}

fn check_assignment(
    assignment: &[Vec<i32>],
    added: usize,
    factor: usize,
    view: &View,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if assignment.len() != added {
        return refuse(format!(
            "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
            assignment.len()
        ));
    }
    let lists: Vec<Vec<NodeId>> =
        assignment.iter().map(|nodes| nodes.iter().copied().map(NodeId).collect()).collect();
    for nodes in &lists {
        if nodes.is_empty() || !all_distinct(nodes) {
            return refuse("The manual partition assignment is empty, or names a broker twice.".into());
        }
        if let Some(unknown) = nodes.iter().find(|node| view.node(**node).is_none()) {
            return refuse(format!(
                "The manual partition assignment includes broker {}, but no such broker is registered.",
                unknown.0
            ));
        }
        if nodes.len() != factor {
            return refuse(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent \
                 with previous partitions, which have {factor} replica(s).",
                nodes.len()
            ));
        }
    }
    Ok(lists)
}

/// Places all partitions of the grown topic and takes those that are new, so that leaders and replicas of the whole are spread.
fn place(
    topic: &Topic,
    added: usize,
    factor: usize,
    view: &View,
    live: &BTreeSet<NodeId>,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let candidates = Candidates::new(view, live);
    let Candidates { all, up, .. } = &candidates;
    if all.len() < factor || up.len() < factor / 2 + 1 {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {factor} time(s): only {} of {} node(s) are up.",
                up.len(),
                all.len()
            ),
        ));
    }
    let total = u32::try_from(topic.partitions).unwrap_or(0) + u32::try_from(added).unwrap_or(0);
    let mut placed = candidates.place(view, topic.id, total, factor, live);
    Ok(placed.split_off(placed.len().saturating_sub(added)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mesh::raft::Incarnation;

    use super::*;
    use crate::core::metadata::descriptor::{Founder, Founding, topic_id};
    use crate::core::metadata::shard::{Outcome, Shard};
    use crate::core::metadata::{ShardId, View};

    fn founding() -> Founding {
        let founder = |node: i32| Founder {
            node: NodeId(node),
            incarnation: Incarnation(7),
            peer_id: vec![node.to_be_bytes()[3]],
            mesh: format!("n{node}:1"),
            zone: String::new(),
        };
        Founding { cluster_id: "c".into(), founders: (1..=3).map(founder).collect() }
    }

    /// A topic of three partitions with three replicas each, in its shard and in a view.
    fn grown_up() -> (Shard, View) {
        let mut shard = Shard::founded(ShardId::of_name("t"), &founding());
        let all: Vec<_> = (1..=3).map(|node| first_replica(NodeId(node), Incarnation(7))).collect();
        let (name, id) = ("t".to_owned(), topic_id("t", [9; 16]));
        let command = Command::CreateTopic { name, id, partitions: vec![all; 3], configs: BTreeMap::new() };
        assert_eq!(shard.apply(1, &command.encode()), Outcome::Done);
        let mut view = View::founded(&founding());
        view.merge(shard.update_since(0));
        (shard, view)
    }

    fn plan(count: i32, assignment: Option<Vec<Vec<i32>>>) -> Result<Command, Refusal> {
        let live = (1..=3).map(NodeId).collect();
        plan_growth(&GrowTopic { name: "t".into(), count, assignment }, &grown_up().1, &live)
    }

    #[test]
    fn new_partitions_are_placed_and_the_shard_takes_them() {
        let (mut shard, mut view) = grown_up();
        let command = plan(6, None).expect("good");
        let Command::AddPartitions { topic, from: 3, partitions } = &command else { panic!("{command:?}") };
        for node in 1..=3 {
            let led = partitions.iter().filter(|replicas| replicas[0].node == NodeId(node)).count();
            assert_eq!((led, partitions.len()), (1, 3), "three new partitions on three nodes");
        }
        assert_eq!(shard.apply(2, &command.encode()), Outcome::Done);
        assert_eq!(shard.apply(3, &command.encode()), Outcome::Done, "repeated");
        view.merge(shard.update_since(1));
        assert_eq!(view.topic(*topic).map(|topic| topic.partitions), Some(6));
        assert_eq!(view.partitions(*topic).count(), 6);
        assert!(view.partitions(*topic).all(|descriptor| descriptor.creating));
        let other = Command::AddPartitions { topic: *topic, from: 4, partitions: partitions.clone() };
        let Outcome::Refused { error, .. } = shard.apply(4, &other.encode()) else { panic!("grown from 4") };
        assert_eq!(error, ErrorCode::InvalidPartitions);
        assert_eq!(shard.apply(5, &Command::DeleteTopic { id: *topic }.encode()), Outcome::Done);
        assert_eq!(shard.descriptors().filter(|d| d.key.topic == *topic).count(), 0);
        view.merge(shard.update_since(3));
        assert_eq!(view.partitions(*topic).count(), 0);
        let Outcome::Refused { error, .. } = shard.apply(6, &command.encode()) else { panic!("deleted") };
        assert_eq!(error, ErrorCode::UnknownTopicOrPartition);
    }

    #[test]
    fn assignments_are_taken_as_they_are() {
        let command = plan(4, Some(vec![vec![3, 1, 2]])).expect("good");
        let Command::AddPartitions { partitions, .. } = command else { panic!("{command:?}") };
        let nodes: Vec<i32> = partitions[0].iter().map(|replica| replica.node.0).collect();
        assert_eq!(nodes, [3, 1, 2]);
    }

    #[test]
    fn refusals_are_kafkas() {
        use ErrorCode::{InvalidPartitions, InvalidReplicaAssignment, UnknownTopicOrPartition};
        let cases = [
            (3, None, InvalidPartitions),
            (2, None, InvalidPartitions),
            (-1, None, InvalidPartitions),
            (10_001, None, InvalidPartitions),
            (5, Some(vec![vec![1, 2, 3]]), InvalidReplicaAssignment),
            (4, Some(vec![vec![1, 2]]), InvalidReplicaAssignment),
            (4, Some(vec![vec![1, 2, 2]]), InvalidReplicaAssignment),
            (4, Some(vec![vec![1, 2, 9]]), InvalidReplicaAssignment),
            (4, Some(vec![vec![]]), InvalidReplicaAssignment),
        ];
        for (count, assignment, error) in cases {
            assert_eq!(plan(count, assignment.clone()).unwrap_err().error, error, "{count} {assignment:?}");
        }
        let live = (1..=3).map(NodeId).collect();
        let nameless = GrowTopic { name: "u".into(), count: 4, assignment: None };
        assert_eq!(plan_growth(&nameless, &grown_up().1, &live).unwrap_err().error, UnknownTopicOrPartition);
        let alone = BTreeSet::from([NodeId(1)]);
        let more = GrowTopic { name: "t".into(), count: 4, assignment: None };
        let refused = plan_growth(&more, &grown_up().1, &alone).unwrap_err();
        assert_eq!(refused.error, ErrorCode::InvalidReplicationFactor);
    }
}
