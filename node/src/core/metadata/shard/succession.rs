//! A node's number goes over from one data directory to another, and the one that had it is fenced for good.

use std::sync::Arc;

use mesh::raft::NodeId;

use super::super::command::TakeOver;
use super::super::descriptor::{NodeInfo, NodeState};
use super::{Outcome, Shard, refused};
use crate::core::error::ErrorCode;

/// Identities of one number that are remembered.
const FORMER_MAX: usize = 256;

/// What the process of an outlived directory is told.
pub fn outlived(node: NodeId) -> String {
    format!(
        "node {0} lives in another data directory since: this one was taken for lost and its replicas were made anew. Nothing in it \
         was changed, and the mesh does not need it. Keep it as long as you wish, do not start it; to add this machine as \
         another node give it an empty --data-dir and an address of its own",
        node.0
    )
}

impl Shard {
    /// Whether the old life may be given up is judged by the leader of shard 0, which knows who is up; this is what holds in any case.
    pub(super) fn take_over(&mut self, wish: TakeOver) -> Outcome {
        let TakeOver { follows, registration, .. } = wish;
        if let Err(outcome) = self.may_register(&registration) {
            return outcome;
        }
        let Some(node) = registration.node else {
            return refused(ErrorCode::InvalidRequest, "a take-over names a node");
        };
        let known = self.nodes.get(&node).map(|known| known.value.clone());
        let Some(info) = known.filter(|info| info.state != NodeState::Removed) else {
            let message = format!("there is no node {} to take over", node.0);
            return refused(ErrorCode::BrokerIdNotRegistered, message);
        };
        if info.peer_id == registration.peer_id && info.incarnation == registration.incarnation {
            return Outcome::Registered { node };
        }
        if info.incarnation != follows {
            return refused(ErrorCode::NotController, format!("node {} began another life since", node.0));
        }
        let others = || self.nodes.values().map(|other| &other.value).filter(|other| other.node != node);
        if let Some(other) = others().find(|other| other.peer_id == registration.peer_id) {
            let message = format!("this data directory is that of node {}", other.node.0);
            return refused(ErrorCode::PolicyViolation, message);
        }
        let at_address =
            |other: &&Arc<NodeInfo>| other.state != NodeState::Removed && other.mesh == registration.mesh;
        if let Some(other) = others().find(at_address) {
            let message =
                format!("the address {} belongs to node {}: use another", registration.mesh, other.node.0);
            return refused(ErrorCode::PolicyViolation, message);
        }
        if info.is_outlived(&registration.peer_id, registration.incarnation) {
            return refused(ErrorCode::PolicyViolation, outlived(node));
        }
        if info.former.len() >= FORMER_MAX {
            let message = format!(
                "node {0} was replaced {FORMER_MAX} times: remove it (rafka nodes forget {0}) and join as a new one",
                node.0
            );
            return refused(ErrorCode::PolicyViolation, message);
        }
        self.put_node(follow(Arc::unwrap_or_clone(info), registration));
        Outcome::Registered { node }
    }
}

fn follow(mut info: NodeInfo, registration: super::Registration) -> NodeInfo {
    info.retired.insert(info.incarnation);
    if info.peer_id != registration.peer_id {
        info.former.insert(std::mem::replace(&mut info.peer_id, registration.peer_id));
    }
    info.incarnation = registration.incarnation;
    if info.state == NodeState::Dead {
        info.state = NodeState::Active;
    }
    info.kafka = registration.kafka;
    info.mesh = registration.mesh;
    info.http = registration.http;
    info.zone = registration.zone;
    info.weight = registration.weight;
    info
}
