//! The commands that move replicas and decide about nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::raft::{Incarnation, NodeId, ReplicaEpoch, ReplicaId};

use super::super::bytes::all_distinct;
use super::super::descriptor::{Descriptor, METADATA_TOPIC, NodeInfo, NodeState, PartitionKey, ShardId};
use super::{LEAVING_MAX, Outcome, REPLICAS_MAX, Shard, refused};
use crate::core::error::ErrorCode;
use crate::mutant::{self, Mutant};

impl Shard {
    /// Whether replicas shall not be moved for balance; only shard 0 knows.
    pub fn balancing_paused(&self) -> bool {
        self.paused.value
    }

    pub(super) fn pause(&mut self, paused: bool) -> Outcome {
        if self.id != ShardId(0) {
            return refused(ErrorCode::InvalidRequest, "balancing is paused in shard 0");
        }
        if self.paused.value != paused {
            self.paused = super::Versioned { changed: self.version, value: paused };
        }
        Outcome::Done
    }

    pub(super) fn set_state(&mut self, node: NodeId, incarnation: Incarnation, state: NodeState) -> Outcome {
        let Some(mut info) = self.nodes.get(&node).map(|known| NodeInfo::clone(&known.value)) else {
            return refused(ErrorCode::BrokerIdNotRegistered, format!("there is no node {}", node.0));
        };
        if info.state == state {
            return Outcome::Done;
        }
        let id = node.0;
        if info.incarnation != incarnation {
            let message = format!("node {id} began another life since");
            return refused(ErrorCode::InvalidRequest, message);
        }
        let refusal = match (info.state, state) {
            (NodeState::Removed, _) => Some(format!("node {id} was removed, and that is final")),
            (NodeState::Active | NodeState::Draining, NodeState::Removed) => Some(format!(
                "node {id} is {}: decommission it first, or wait until it is found dead",
                info.state.name()
            )),
            (NodeState::Decommissioning, NodeState::Dead) => {
                Some(format!("node {id} is being decommissioned: its replicas move already"))
            }
            (NodeState::Dead, NodeState::Draining) => Some(format!("node {id} is dead")),
            _ => None,
        };
        if let Some(message) = refusal {
            return refused(ErrorCode::InvalidRequest, message);
        }
        info.state = state;
        self.put_node(info);
        Outcome::Done
    }

    pub(super) fn reassign(&mut self, key: PartitionKey, replicas: Vec<ReplicaId>) -> Outcome {
        let lives: BTreeMap<NodeId, Incarnation> =
            self.nodes.values().map(|node| (node.value.node, node.value.incarnation)).collect();
        let Some(versioned) = self.descriptors.get_mut(&key) else { return self.unknown_partition() };
        let descriptor = &versioned.value;
        if descriptor.replicas == replicas && descriptor.planned.is_empty() {
            return Outcome::Done;
        }
        if !descriptor.planned.is_empty() {
            return refused(ErrorCode::ReassignmentInProgress, "replicas of the partition are on their way");
        }
        if let Err(outcome) = may_reassign(descriptor, &replicas, &lives) {
            return outcome;
        }
        Arc::make_mut(&mut versioned.value).assign(replicas);
        versioned.changed = self.version;
        Outcome::Done
    }

    pub(super) fn plan_replicas(&mut self, key: PartitionKey, replicas: Vec<ReplicaId>) -> Outcome {
        let lives: BTreeMap<NodeId, Incarnation> =
            self.nodes.values().map(|node| (node.value.node, node.value.incarnation)).collect();
        let Some(versioned) = self.descriptors.get_mut(&key) else { return self.unknown_partition() };
        if versioned.value.aim() == replicas {
            return Outcome::Done;
        }
        if let Err(outcome) = may_reassign(&versioned.value, &replicas, &lives) {
            return outcome;
        }
        let descriptor = Arc::make_mut(&mut versioned.value);
        if replicas.iter().all(|replica| descriptor.replicas.contains(replica)) {
            descriptor.assign(replicas);
        } else {
            descriptor.plan(replicas);
        }
        versioned.changed = self.version;
        Outcome::Done
    }

    pub(super) fn carry_out(&mut self, key: PartitionKey, epoch: u64) -> Outcome {
        let Some(versioned) = self.descriptors.get_mut(&key) else { return self.unknown_partition() };
        let descriptor = &versioned.value;
        if descriptor.epoch != epoch || descriptor.planned.is_empty() {
            return refused(ErrorCode::InvalidRequest, "the partition has another descriptor by now");
        }
        let planned = descriptor.planned.clone();
        Arc::make_mut(&mut versioned.value).assign(planned);
        versioned.changed = self.version;
        Outcome::Done
    }

    pub(super) fn cancel_plan(&mut self, key: PartitionKey, epoch: u64) -> Outcome {
        let Some(versioned) = self.descriptors.get_mut(&key) else { return self.unknown_partition() };
        let descriptor = &versioned.value;
        if descriptor.planned.is_empty() {
            let error = ErrorCode::NoReassignmentInProgress;
            return refused(error, error.text());
        }
        if descriptor.epoch != epoch {
            return refused(
                ErrorCode::InvalidRequest,
                "the partition has another descriptor by now; try again",
            );
        }
        Arc::make_mut(&mut versioned.value).plan(Vec::new());
        versioned.changed = self.version;
        Outcome::Done
    }
}

/// Whether a partition may have these replicas next.
fn may_reassign(
    descriptor: &Descriptor,
    replicas: &[ReplicaId],
    lives: &BTreeMap<NodeId, Incarnation>,
) -> Result<(), Outcome> {
    let invalid = |message: &str| Err(refused(ErrorCode::InvalidReplicaAssignment, message));
    let nodes: Vec<NodeId> = replicas.iter().map(|replica| replica.node).collect();
    if nodes.is_empty() || nodes.len() > REPLICAS_MAX || !all_distinct(&nodes) {
        return invalid("a partition has 1 to 15 replicas, each on another node");
    }
    if descriptor.creating {
        return Err(refused(ErrorCode::InvalidRequest, "the partition is being created"));
    }
    if descriptor.replicas.len() == 1 && replicas.len() == 2 {
        let message =
            "from 1 replica a partition goes to 3 or more: with 2 it would stop while either is down";
        return Err(refused(ErrorCode::InvalidReplicationFactor, message));
    }
    let gone = descriptor.wanted().filter(|replica| !replicas.contains(replica)).count();
    if descriptor.leaving.len() + gone > LEAVING_MAX {
        return Err(refused(
            ErrorCode::ThrottlingQuotaExceeded,
            "too many replacements of this partition are unfinished",
        ));
    }
    let mut next = descriptor.next_replica_epoch();
    let has = |replica: &&ReplicaId| descriptor.wanted().any(|wanted| wanted == **replica);
    for replica in replicas.iter().filter(|replica| !has(replica)) {
        let expected = replica.epoch == next || mutant::active(Mutant::StaleOrderTaken);
        if !expected || next.0 == u32::MAX {
            return Err(refused(
                ErrorCode::InvalidRequest,
                "a replica epoch is not the partition's next one",
            ));
        }
        if descriptor.wanted_on(replica.node).is_some() {
            return invalid("the node already has a replica");
        }
        // Its log may still count under the triple that leaves, and would begin anew under another.
        if descriptor.leaving.iter().any(|old| old.node == replica.node) {
            return Err(refused(
                ErrorCode::ReassignmentInProgress,
                "a replica on that node has not left yet",
            ));
        }
        if descriptor.key.topic == METADATA_TOPIC && lives.get(&replica.node) != Some(&replica.incarnation) {
            return invalid("the node is not registered in this incarnation");
        }
        next = ReplicaEpoch(next.0 + 1);
    }
    Ok(())
}
