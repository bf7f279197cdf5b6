//! A partition goes on from one survivor of a lost majority, at an operator's word.

use std::sync::Arc;

use mesh::raft::{Incarnation, NodeId, ReplicaEpoch, ReplicaId};

use super::super::command::{RECOVERY_TEXT_MAX, Recovery};
use super::super::descriptor::METADATA_TOPIC;
use super::{Outcome, Shard, Versioned, refused};
use crate::core::error::ErrorCode;

/// Recoveries of one shard's partitions that are remembered.
pub const RECOVERIES_MAX: usize = 256;

impl Shard {
    /// What was recovered, oldest first.
    pub fn recoveries(&self) -> impl Iterator<Item = &Recovery> {
        self.recoveries.iter().map(|recovery| &recovery.value)
    }

    /// Whether the majority is lost is judged by the leader of this shard, which knows who is up; this is what holds in any case.
    pub(super) fn recover(&mut self, recovery: Recovery) -> Outcome {
        let Recovery { key, old, new, .. } = recovery;
        if [&recovery.by, &recovery.why, &recovery.found].iter().any(|text| text.len() > RECOVERY_TEXT_MAX) {
            return refused(ErrorCode::InvalidRequest, "a text of the recovery is too long");
        }
        let registered = |node: NodeId, before: Incarnation| {
            let known = self.nodes.get(&node).map(|node| node.value.incarnation);
            known.filter(|_| key.topic == METADATA_TOPIC).unwrap_or(before)
        };
        let Some(descriptor) = self.descriptors.get(&key).map(|descriptor| &descriptor.value) else {
            return self.unknown_partition();
        };
        if descriptor.alone == Some(new) {
            return Outcome::Done;
        }
        if !descriptor.names(old) {
            return refused(
                ErrorCode::InvalidRequest,
                "the survivor is none of the partition's replicas (any more)",
            );
        }
        if descriptor.creating && key.topic != METADATA_TOPIC {
            let message =
                "the partition is not created yet, so nothing was acknowledged in it: delete its topic";
            return refused(ErrorCode::InvalidRequest, message);
        }
        let others: Vec<ReplicaId> =
            descriptor.replicas.iter().copied().filter(|replica| replica.node != new.node).collect();
        let room = u32::MAX - u32::try_from(others.len()).unwrap_or(u32::MAX);
        let next = new.epoch >= descriptor.next_replica_epoch() && new.epoch.0 < room;
        if (new.node, new.incarnation) != (old.node, old.incarnation) || !next {
            return refused(ErrorCode::InvalidRequest, "the replica epoch was given out since; look again");
        }
        let mut replicas = vec![new];
        for (other, nth) in others.iter().zip(1..) {
            let incarnation = registered(other.node, other.incarnation);
            let epoch = ReplicaEpoch(new.epoch.0 + nth);
            replicas.push(ReplicaId { node: other.node, incarnation, epoch });
        }
        let Some(versioned) = self.descriptors.get_mut(&key) else { return self.unknown_partition() };
        // Who left before is in no membership that goes on.
        let descriptor = Arc::make_mut(&mut versioned.value);
        descriptor.leaving.clear();
        descriptor.creating = false;
        descriptor.assign(replicas);
        descriptor.alone = Some(new);
        versioned.changed = self.version;
        if self.recoveries.len() >= RECOVERIES_MAX {
            self.recoveries.pop_front();
        }
        self.recoveries.push_back(Versioned { changed: self.version, value: recovery });
        Outcome::Done
    }
}
