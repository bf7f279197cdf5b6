//! AlterPartitionReassignments and ListPartitionReassignments: an operator says where the replicas of a partition shall be.
//!
//! Any node plans it and asks the partition's shard; what follows is the same as for a move of the mesh's own. It is answered when the
//! plan is committed, long before it is carried out.

use std::collections::{BTreeMap, BTreeSet};

use storage::Disk;

use super::after_ms;
use super::error::ErrorCode;
use super::metadata::plan::Refusal;
use super::metadata::reassign::{plan_factor, plan_reassignment};
use super::metadata::{Command, Descriptor};
use super::node::Node;
use super::request::{OngoingReassignment, ReassignResult, Reassignment, RequestId, Response};

impl<D: Disk> Node<D> {
    pub(crate) fn alter_reassignments(
        &mut self,
        id: RequestId,
        partitions: Vec<Reassignment>,
        may_change_factor: bool,
        timeout_ms: u32,
    ) {
        let deadline = after_ms(self.now.mono, u64::from(timeout_ms));
        let mut parts = Vec::with_capacity(partitions.len());
        let mut commands = Vec::new();
        for (at, wanted) in partitions.into_iter().enumerate() {
            let plan = self.plan_one(&wanted, may_change_factor);
            let Reassignment { topic, partition, .. } = wanted;
            let (error, message) = match &plan {
                Ok(_) => (ErrorCode::None, None),
                Err(refusal) => (refusal.error, Some(refusal.message.clone())),
            };
            parts.push((ReassignResult { topic, partition, error, message }, plan.is_ok()));
            let command = plan.ok().and_then(|command| Some((at, command.partition()?.home(), command)));
            commands.extend(command);
        }
        self.begin_reassignment(id, deadline, parts, commands);
    }

    /// A topic shall have another number of replicas.
    pub(crate) fn change_factor(&mut self, id: RequestId, topic: &str, factor: i32, timeout_ms: u32) {
        match self.may_plan(topic).and_then(|()| plan_factor(topic, factor, &self.view, &self.up())) {
            Ok(partitions) => self.alter_reassignments(id, partitions, true, timeout_ms),
            Err(Refusal { error, message }) => {
                let result =
                    ReassignResult { topic: topic.to_owned(), partition: -1, error, message: Some(message) };
                self.respond(id, Response::AlterReassignments { partitions: vec![result] });
            }
        }
    }

    fn plan_one(&self, wanted: &Reassignment, may_change_factor: bool) -> Result<Command, Refusal> {
        self.may_plan(&wanted.topic)?;
        plan_reassignment(wanted, may_change_factor, &self.view)
    }

    /// Whether this node knows enough to plan where replicas of a topic shall be.
    fn may_plan(&self, topic: &str) -> Result<(), Refusal> {
        let unheard =
            self.view.topic_named(topic).is_none() && self.absent(topic) == ErrorCode::LeaderNotAvailable;
        match unheard {
            true => Err(Refusal::new(ErrorCode::NotController, ErrorCode::NotController.text())),
            false => self.knows_lives(),
        }
    }

    /// What moves, of all partitions or of those that are asked for. Replicas that are made anew on their own node are no reassignment.
    pub(crate) fn list_reassignments(&self, wanted: Option<BTreeMap<String, BTreeSet<i32>>>) -> Response {
        if self.shards_unheard() > 0 {
            return Response::ListReassignments { error: ErrorCode::NotController, partitions: Vec::new() };
        }
        let asked = |name: &str, partition: i32| {
            let of_topic = |wanted: &BTreeMap<String, BTreeSet<i32>>| {
                wanted.get(name).is_some_and(|partitions| partitions.contains(&partition))
            };
            wanted.as_ref().is_none_or(of_topic)
        };
        let ongoing = |name: &str, descriptor: &Descriptor| {
            let nodes = descriptor.moving_nodes();
            let partition = descriptor.key.partition;
            let moves = !nodes.coming.is_empty() || !nodes.leaving.is_empty();
            (moves && asked(name, partition)).then(|| OngoingReassignment {
                topic: name.to_owned(),
                partition,
                replicas: nodes.all,
                adding: nodes.coming,
                removing: nodes.leaving,
            })
        };
        let of_topic = |topic: &super::metadata::Topic| {
            let moving = self.view.partitions(topic.id).filter(|descriptor| descriptor.is_moving());
            moving.filter_map(|descriptor| ongoing(&topic.name, descriptor)).collect::<Vec<_>>()
        };
        let partitions = self.view.topics().flat_map(of_topic).collect();
        Response::ListReassignments { error: ErrorCode::None, partitions }
    }
}
