//! Replicas and leaders that go elsewhere, and what is decided about nodes.

use std::collections::BTreeMap;

use mesh::raft::{EntryKind, NodeId};
use node::core::metadata::{Command, NodeState, PartitionKey, TakeOver};

use super::{Fact, Scene, Situation, Tally, Watch};

const PLANNED: Situation = Situation("replicas planned on other nodes");
const SHARD_PLANNED: Situation = Situation("metadata shard's replicas planned on other nodes");
const MOVED: Situation = Situation("plan of replicas carried out");
const SHARD_MOVED: Situation = Situation("plan of a metadata shard's replicas carried out");
const CANCELLED: Situation = Situation("plan of replicas cancelled");
const REORDERED: Situation = Situation("another replica of a partition preferred");
const MORE: Situation = Situation("more replicas of a partition planned");
const FEWER: Situation = Situation("fewer replicas of a partition planned");
const DRAINED: Situation = Situation("node drained");
const DECOMMISSIONED: Situation = Situation("node decommissioned");
const DEAD: Situation = Situation("node called dead");
const BACK: Situation = Situation("node that was called dead comes back");
const TOOK_OVER: Situation = Situation("empty directory takes the number of the lost one over");
const OUTLIVED: Situation = Situation("directory whose number another one has is refused");
const ELSEWHERE: Situation = Situation("number goes over to a machine with another address");
const PAUSED: Situation = Situation("balancing paused");

/// Watches what the shards commit.
#[derive(Default)]
pub(super) struct Moves {
    states: BTreeMap<NodeId, NodeState>,
    /// How many replicas a partition was given last.
    replicas: BTreeMap<PartitionKey, usize>,
    addresses: BTreeMap<NodeId, String>,
}

impl Moves {
    fn command(&mut self, command: &Command, tally: &mut Tally) {
        match command {
            Command::CreateTopic { id, partitions, .. } => {
                for (partition, replicas) in (0..).zip(partitions) {
                    self.replicas.insert(PartitionKey { topic: *id, partition }, replicas.len());
                }
            }
            Command::PlanReplicas { key, replicas } => {
                tally.count(if is_shard(*key) { SHARD_PLANNED } else { PLANNED });
                let before = self.replicas.insert(*key, replicas.len()).unwrap_or(replicas.len());
                tally.count_if(replicas.len() > before, MORE);
                tally.count_if(replicas.len() < before, FEWER);
            }
            Command::CarryOutPlan { key, .. } => {
                tally.count(if is_shard(*key) { SHARD_MOVED } else { MOVED })
            }
            Command::CancelPlan { .. } => tally.count(CANCELLED),
            Command::Reassign { .. } => tally.count(REORDERED),
            Command::PauseBalancing(true) => tally.count(PAUSED),
            Command::SetNodeState { node, state, .. } => {
                let new = self.states.insert(*node, *state) != Some(*state);
                tally.count_if(new && *state == NodeState::Draining, DRAINED);
                tally.count_if(new && *state == NodeState::Decommissioning, DECOMMISSIONED);
                tally.count_if(new && *state == NodeState::Dead, DEAD);
            }
            Command::TakeOver(TakeOver { registration, .. }) => {
                let Some(node) = registration.node else { return };
                self.states.remove(&node);
                let before = self.addresses.insert(node, registration.mesh.clone());
                tally.count_if(before.is_some_and(|before| before != registration.mesh), ELSEWHERE);
            }
            Command::RegisterNode(registration) => {
                let known = registration.node.map(|node| (node, registration.mesh.clone()));
                self.addresses.extend(known);
                if let Some(node) = registration.node
                    && self.states.get(&node) == Some(&NodeState::Dead)
                {
                    self.states.remove(&node);
                    tally.count(BACK);
                }
            }
            _ => {}
        }
    }
}

fn is_shard(key: PartitionKey) -> bool {
    key.as_shard().is_some()
}

impl Watch for Moves {
    fn situations(&self) -> &'static [Situation] {
        &[
            PLANNED,
            SHARD_PLANNED,
            MOVED,
            SHARD_MOVED,
            CANCELLED,
            MORE,
            FEWER,
            REORDERED,
            DRAINED,
            DECOMMISSIONED,
            DEAD,
            BACK,
            TOOK_OVER,
            ELSEWHERE,
            OUTLIVED,
            PAUSED,
        ]
    }

    fn see(&mut self, _scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        tally.count_if(matches!(fact, Fact::TookOver), TOOK_OVER);
        tally.count_if(matches!(fact, Fact::Outlived), OUTLIVED);
        if let Fact::Committed { key, entry } = fact
            && is_shard(*key)
            && entry.kind == EntryKind::Command.to_u8()
            && let Ok(command) = Command::decode(&entry.payload)
        {
            self.command(&command, tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::raft::Incarnation;
    use node::core::metadata::ShardId;

    use super::super::doctored::seen;
    use super::*;

    #[test]
    fn a_decision_that_is_repeated_counts_once() {
        let dead =
            Command::SetNodeState { node: NodeId(2), incarnation: Incarnation(1), state: NodeState::Dead };
        let entry = storage::Entry {
            index: 1,
            term: 1,
            base_offset: 0,
            record_count: 0,
            kind: EntryKind::Command.to_u8(),
            timestamp_ms: -1,
            payload: dead.encode().into(),
        };
        let fact = || Fact::Committed { key: PartitionKey::of_shard(ShardId(0)), entry: &entry };
        assert_eq!(seen(&[fact(), fact()]).get(DEAD.0), Some(&1));
    }
}
