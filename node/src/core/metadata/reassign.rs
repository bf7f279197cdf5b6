//! From a client's AlterPartitionReassignments to the command that plans the replicas, or to the error that Kafka users know.

use std::collections::BTreeSet;

use mesh::raft::{NodeId, ReplicaEpoch, ReplicaId};

use super::bytes::all_distinct;
use super::command::Command;
use super::descriptor::{Descriptor, PartitionKey};
use super::plan::Refusal;
use super::shard::REPLICAS_MAX;
use super::view::View;
use crate::core::error::ErrorCode;
use crate::core::request::Reassignment;

/// Checks a reassignment, or the cancellation of one, and says what is to be committed. The shard checks again what may have changed by then.
///
/// # Errors
///
/// [`Refusal`], with Kafka's error code.
pub fn plan_reassignment(
    request: &Reassignment,
    may_change_factor: bool,
    view: &View,
) -> Result<Command, Refusal> {
    let unknown = || {
        Refusal::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    };
    let topic = view.topic_named(&request.topic).ok_or_else(unknown)?;
    let key = PartitionKey { topic: topic.id, partition: request.partition };
    let descriptor = view.descriptor(key).ok_or_else(unknown)?;
    let Some(nodes) = &request.replicas else {
        if descriptor.planned.is_empty() {
            let error = ErrorCode::NoReassignmentInProgress;
            return Err(Refusal::new(error, error.text()));
        }
        return Ok(Command::CancelPlan { key, epoch: descriptor.epoch });
    };
    let nodes: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
    check_nodes(&nodes, descriptor, view)?;
    let factor = descriptor.replicas.len();
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    if !may_change_factor && nodes.len() != factor {
        return refuse(format!("The replication factor is changed from {factor} to {}", nodes.len()));
    }
    if factor == 1 && nodes.len() == 2 {
        return refuse(
            "From 1 replica a partition goes to 3 or more: with 2 it would stop while either is down."
                .to_owned(),
        );
    }
    Ok(Command::PlanReplicas { key, replicas: triples(&nodes, descriptor, view) })
}

/// Gives each partition of a topic so many replicas: new ones where there is most room, and those go that are where there is least. What
/// is on its way already is counted as if it were there.
///
/// # Errors
///
/// [`Refusal`], with Kafka's error code.
pub fn plan_factor(
    name: &str,
    factor: i32,
    view: &View,
    live: &BTreeSet<NodeId>,
) -> Result<Vec<Reassignment>, Refusal> {
    let unknown =
        || Refusal::new(ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicOrPartition.text());
    let topic = view.topic_named(name).ok_or_else(unknown)?;
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    let most = view.nodes().filter(|info| info.is_active() && live.contains(&info.node)).count();
    let wanted = match usize::try_from(factor) {
        Ok(wanted) if (1..=REPLICAS_MAX).contains(&wanted) => wanted,
        _ => return refuse(format!("A partition has 1 to {REPLICAS_MAX} replicas, not {factor}.")),
    };
    let descriptors: Vec<&Descriptor> = view.descriptors().collect();
    let mut balance = super::balancing::balance_of(view, &descriptors, Some(live));
    let mut reassignments = Vec::new();
    for (at, descriptor) in descriptors.iter().enumerate().filter(|(_, d)| d.key.topic == topic.id) {
        let now = descriptor.moving_nodes().target;
        if now.len() == wanted {
            continue;
        }
        if (descriptor.replicas.len(), wanted) == (1, 2) {
            return refuse(format!(
                "Partition {} has 1 replica and goes to 3 or more: with 2 it would stop while either is down.",
                descriptor.key.partition
            ));
        }
        let Some(nodes) = balance.resize(at, wanted) else {
            return refuse(format!(
                "{wanted} replicas need as many nodes that are up and active: there are {most}."
            ));
        };
        let replicas = Some(nodes.into_iter().map(|node| node.0).collect());
        reassignments.push(Reassignment {
            topic: name.to_owned(),
            partition: descriptor.key.partition,
            replicas,
        });
    }
    Ok(reassignments)
}

fn check_nodes(nodes: &[NodeId], descriptor: &Descriptor, view: &View) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if nodes.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".to_owned());
    }
    if let Some(negative) = nodes.iter().find(|node| node.0 < 0) {
        return refuse(format!(
            "The manual partition assignment includes the negative broker {}.",
            negative.0
        ));
    }
    if !all_distinct(nodes) {
        return refuse("The manual partition assignment includes a broker more than once.".to_owned());
    }
    if nodes.len() > REPLICAS_MAX {
        return refuse(format!("A partition has at most {REPLICAS_MAX} replicas."));
    }
    let has = |node: &NodeId| descriptor.wanted_on(*node).is_some();
    for node in nodes {
        match view.node(*node) {
            Some(info) if info.is_active() || has(node) => {}
            Some(info) => {
                let state = info.state.name();
                return refuse(format!(
                    "The manual partition assignment includes broker {}, which is {state}: it gets no replicas.",
                    node.0
                ));
            }
            None => {
                return refuse(format!(
                    "The manual partition assignment includes broker {}, but no such broker is registered.",
                    node.0
                ));
            }
        }
    }
    let stays = |node: &&NodeId| !has(node) && descriptor.leaving.iter().any(|old| old.node == **node);
    if let Some(node) = nodes.iter().find(stays) {
        let message = format!("The replica on broker {} has not left yet; try again.", node.0);
        return Err(Refusal::new(ErrorCode::ReassignmentInProgress, message));
    }
    if descriptor.creating {
        let error = ErrorCode::ReassignmentInProgress;
        return Err(Refusal::new(error, "The partition is being created; try again."));
    }
    Ok(())
}

/// The replicas on these nodes: those that are there or on their way, and new ones under the next epochs.
pub(super) fn triples(nodes: &[NodeId], descriptor: &Descriptor, view: &View) -> Vec<ReplicaId> {
    let mut next = descriptor.next_replica_epoch();
    let mut replicas = Vec::with_capacity(nodes.len());
    for &node in nodes {
        if let Some(known) = descriptor.wanted_on(node) {
            replicas.push(known);
        } else if let Some(info) = view.node(node) {
            replicas.push(ReplicaId { node, incarnation: info.incarnation, epoch: next });
            next = ReplicaEpoch(next.0.saturating_add(1));
        }
    }
    replicas
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mesh::raft::Incarnation;

    use super::*;
    use crate::core::metadata::ShardId;
    use crate::core::metadata::descriptor::{NodeState, first_replica, topic_id};
    use crate::core::metadata::shard::tests::founding;
    use crate::core::metadata::shard::{Outcome, Shard};

    /// A topic `t` of two partitions on the nodes 1, 2 and 3 of five, of which 5 is decommissioned; and `one`, of one replica.
    struct World {
        shard: Shard,
        view: View,
        index: u64,
    }

    impl World {
        fn new() -> Self {
            let mut registry = Shard::founded(ShardId(0), &founding(5));
            let (node, incarnation, state) = (NodeId(5), Incarnation(500), NodeState::Decommissioning);
            registry.apply(1, &Command::SetNodeState { node, incarnation, state }.encode());
            let mut view = View::default();
            view.merge(registry.update_since(0));
            let mut world =
                Self { shard: Shard::founded(ShardId::of_name("t"), &founding(5)), view, index: 0 };
            let on =
                |node: i32| first_replica(NodeId(node), Incarnation(u64::from(node.unsigned_abs()) * 100));
            let (name, id, configs) = ("t".to_owned(), topic_id("t", [9; 16]), BTreeMap::new());
            let partitions = vec![vec![on(1), on(2), on(3)], vec![on(1)]];
            world.ask(&Command::CreateTopic { name, id, partitions, configs });
            world.ask(&Command::MarkCreated { topic: id, partitions: vec![0, 1] });
            world
        }

        fn ask(&mut self, command: &Command) {
            self.index += 1;
            assert_eq!(self.shard.apply(self.index, &command.encode()), Outcome::Done, "{command:?}");
            self.view.merge(self.shard.update_since(self.view.version(self.shard.id())));
        }

        fn plan(
            &self,
            partition: i32,
            replicas: Option<&[i32]>,
            may_change: bool,
        ) -> Result<Command, Refusal> {
            let replicas = replicas.map(<[i32]>::to_vec);
            plan_reassignment(
                &Reassignment { topic: "t".into(), partition, replicas },
                may_change,
                &self.view,
            )
        }

        fn error(&self, partition: i32, replicas: Option<&[i32]>) -> ErrorCode {
            self.plan(partition, replicas, true).unwrap_err().error
        }
    }

    #[test]
    fn refusals_are_kafkas() {
        use ErrorCode::{
            InvalidReplicaAssignment, InvalidReplicationFactor, NoReassignmentInProgress,
            UnknownTopicOrPartition,
        };
        let world = World::new();
        assert_eq!(world.error(9, Some(&[1])), UnknownTopicOrPartition);
        for wrong in [&[][..], &[1, 1], &[1, -2], &[1, 9], &[1, 2, 5]] {
            assert_eq!(world.error(0, Some(wrong)), InvalidReplicaAssignment, "{wrong:?}");
        }
        assert_eq!(world.error(0, None), NoReassignmentInProgress);
        assert_eq!(world.error(1, Some(&[1, 2])), InvalidReplicationFactor, "one never becomes two");
        assert_eq!(world.plan(0, Some(&[1, 2]), false).unwrap_err().error, InvalidReplicationFactor);
        assert!(world.plan(0, Some(&[1, 2]), true).is_ok() && world.plan(1, Some(&[4]), true).is_ok());
        let topic = Reassignment { topic: "u".into(), partition: 0, replicas: Some(vec![1]) };
        assert_eq!(plan_reassignment(&topic, true, &world.view).unwrap_err().error, UnknownTopicOrPartition);
    }

    #[test]
    fn a_replication_factor_goes_up_and_down_but_not_from_one_to_two() {
        let mut world = World::new();
        let live: BTreeSet<NodeId> = (1..=4).map(NodeId).collect();
        let plan = |world: &World, factor| plan_factor("t", factor, &world.view, &live);
        assert_eq!(
            plan(&world, 2).unwrap_err().error,
            ErrorCode::InvalidReplicationFactor,
            "partition 1 has one"
        );
        assert_eq!(
            plan(&world, 5).unwrap_err().error,
            ErrorCode::InvalidReplicationFactor,
            "four are active"
        );
        for wrong in [0, -1, 16] {
            assert_eq!(plan(&world, wrong).unwrap_err().error, ErrorCode::InvalidReplicationFactor);
        }
        assert_eq!(
            plan_factor("u", 3, &world.view, &live).unwrap_err().error,
            ErrorCode::UnknownTopicOrPartition
        );
        let up = plan(&world, 4).expect("four nodes");
        assert_eq!(up.iter().map(|one| one.replicas.as_ref().unwrap().len()).collect::<Vec<_>>(), [4, 4]);
        for one in &up {
            let command = plan_reassignment(one, true, &world.view).expect("good");
            world.ask(&command);
        }
        assert_eq!(plan(&world, 4).expect("under way"), []);
        let down = plan(&world, 3).expect("fewer");
        assert_eq!(down.len(), 2);
        assert!(
            down.iter().all(|one| one.replicas.as_ref().unwrap()[0] == 1),
            "the preferred leader stays: {down:?}"
        );
    }

    #[test]
    fn a_reassignment_is_planned_changed_and_cancelled() {
        let mut world = World::new();
        let key = world.view.topic_named("t").map(|topic| PartitionKey { topic: topic.id, partition: 0 });
        let of = |world: &World| world.view.descriptor(key.unwrap()).unwrap().moving_nodes();
        let first = world.plan(0, Some(&[4, 1, 2]), true).expect("good");
        world.ask(&first);
        let moving = of(&world);
        assert_eq!((moving.coming, moving.leaving, moving.all), (vec![4], vec![3], vec![4, 1, 2, 3]));
        // Another target: who is on the way already keeps its triple.
        let second = world.plan(0, Some(&[3, 4, 1]), true).expect("good");
        let Command::PlanReplicas { replicas, .. } = &second else { panic!("{second:?}") };
        assert_eq!(replicas[1].epoch, ReplicaEpoch(2));
        world.ask(&second);
        assert_eq!((of(&world).coming, of(&world).leaving), (vec![4], vec![2]));
        let cancel = world.plan(0, None, true).expect("in progress");
        world.ask(&cancel);
        let after = of(&world);
        assert_eq!((after.target, after.coming, after.leaving), (vec![1, 2, 3], vec![], vec![4]));
        assert_eq!(world.error(0, None), ErrorCode::NoReassignmentInProgress);
        // Node 4 comes again, under another epoch, but not before it left.
        assert_eq!(world.error(0, Some(&[4, 1, 2])), ErrorCode::ReassignmentInProgress);
        let old = world.view.descriptor(key.unwrap()).unwrap().leaving[0];
        world.ask(&Command::FinishReplacement { key: key.unwrap(), old });
        let again = world.plan(0, Some(&[4, 1, 2]), true).expect("good");
        let Command::PlanReplicas { replicas, .. } = &again else { panic!("{again:?}") };
        assert_eq!(replicas[0].epoch, ReplicaEpoch(3));
    }
}
