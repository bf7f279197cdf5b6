//! ElectLeaders: leadership back to the preferred replicas.
//!
//! Any node takes the request and asks each partition's leader to hand over, again with each look until that worked or the time
//! is over. What it knows of leaders are hints; the leader itself refuses a successor that is no voter. There is no unclean
//! election here: a replica without all that was acknowledged never leads.

use mesh::raft::{Input, NodeId, ReplicaId, Time};
use storage::Disk;

use super::error::ErrorCode;
use super::message::{PeerMessage, Stream};
use super::metadata::PartitionKey;
use super::node::{Call, Node, Timer};
use super::request::{ElectPartition, ElectResult, ElectionType, RequestId, Response};
use super::{Effect, after_ms};

const NO_UNCLEAN: &str = "there is no unclean election: the partition comes back with its replicas";

/// An ElectLeaders in progress.
pub(crate) struct ElectionCall {
    pub(crate) deadline: Time,
    /// Each with the successor that is waited for, as long as it is.
    parts: Vec<(ElectResult, Option<(PartitionKey, ReplicaId)>)>,
}

impl<D: Disk> Node<D> {
    /// `wanted` is `None` for all partitions of all topics; the answer then leaves out those where nothing was to do.
    pub(crate) fn elect_leaders(
        &mut self,
        id: RequestId,
        election: ElectionType,
        wanted: Option<Vec<ElectPartition>>,
        timeout_ms: u32,
    ) {
        let deadline = after_ms(self.now.mono, u64::from(timeout_ms));
        let all = wanted.is_none();
        let wanted = wanted.unwrap_or_else(|| self.every_partition());
        let mut parts: Vec<_> = wanted.into_iter().map(|part| self.plan_election(election, part)).collect();
        if all {
            parts.retain(|(result, _)| result.error != ErrorCode::ElectionNotNeeded);
        }
        self.calls.insert(id, Call::Election(ElectionCall { deadline, parts }));
        self.set_timer(deadline, Timer::Call(id));
        self.creations.insert(id);
        self.urge_elections();
        self.finish_election(id);
    }

    fn every_partition(&self) -> Vec<ElectPartition> {
        let named = |topic: &super::metadata::Topic| {
            let name = topic.name.clone();
            (0..topic.partitions).map(move |partition| ElectPartition { topic: name.clone(), partition })
        };
        self.view.topics().flat_map(named).collect()
    }

    fn plan_election(
        &self,
        election: ElectionType,
        part: ElectPartition,
    ) -> (ElectResult, Option<(PartitionKey, ReplicaId)>) {
        let ElectPartition { topic, partition } = part;
        let (error, message, open) = match self.successor(election, &topic, partition) {
            Ok(open) => (ErrorCode::RequestTimedOut, None, Some(open)),
            Err((error, message)) => (error, Some(message), None),
        };
        (ElectResult { topic, partition, error, message }, open)
    }

    /// Who shall lead, or why nobody is elected.
    fn successor(
        &self,
        election: ElectionType,
        topic: &str,
        partition: i32,
    ) -> Result<(PartitionKey, ReplicaId), (ErrorCode, String)> {
        let refuse = |error: ErrorCode| (error, error.text().to_string());
        let key =
            self.key_of(&super::request::TopicRef::Name(topic.to_string()), partition).map_err(|error| {
                refuse(if error == ErrorCode::LeaderNotAvailable {
                    ErrorCode::RequestTimedOut
                } else {
                    error
                })
            })?;
        let descriptor = self.view.descriptor(key);
        let preferred = descriptor.and_then(|d| d.replicas.first().copied());
        let preferred = preferred.ok_or_else(|| refuse(ErrorCode::UnknownTopicOrPartition))?;
        let live = |node: NodeId| self.is_live(node);
        let leader = self.leader_up(key);
        match (election, leader) {
            (ElectionType::Unclean, Some(_)) => Err(refuse(ErrorCode::ElectionNotNeeded)),
            (ElectionType::Unclean, None) => {
                Err((ErrorCode::EligibleLeadersNotAvailable, NO_UNCLEAN.to_string()))
            }
            (ElectionType::Preferred, Some(info)) if info.leader == preferred.node => {
                Err(refuse(ErrorCode::ElectionNotNeeded))
            }
            (ElectionType::Preferred, _) if !live(preferred.node) => {
                Err(refuse(ErrorCode::PreferredLeaderNotAvailable))
            }
            (ElectionType::Preferred, _) => Ok((key, preferred)),
        }
    }

    /// Asks the leaders of what is waited for to hand over.
    pub(crate) fn urge_elections(&mut self) {
        let open = |call: &Call| match call {
            Call::Election(call) => call.parts.iter().filter_map(|(_, open)| *open).collect(),
            _ => Vec::new(),
        };
        let wanted: Vec<(PartitionKey, ReplicaId)> =
            self.creations.iter().filter_map(|id| self.calls.get(id)).flat_map(open).collect();
        for (key, to) in wanted {
            if let Some(leader) = self.leader_of(key) {
                let message = PeerMessage::HandOver { key, to };
                self.out.push(Effect::Send { to: leader, stream: Stream::Rpc, message });
            } else {
                self.hand_over_to(key, to);
            }
        }
    }

    /// Somebody wants another replica to lead: done only as the leader, and only for the replica that the descriptor prefers.
    pub(crate) fn hand_over_to(&mut self, key: PartitionKey, to: ReplicaId) {
        let preferred = self.view.descriptor(key).and_then(|d| d.replicas.first().copied());
        let Some(log) = self.by_key.get(&key).copied() else { return };
        let in_sync = self.partitions.get(&log).filter(|partition| partition.leads()).and_then(|partition| {
            partition.replica.as_ref().map(|replica| replica.in_sync().contains(&to) && partition.id != to)
        });
        if preferred == Some(to) && in_sync == Some(true) {
            self.drive(log, Input::Transfer(to));
        }
    }

    /// Leaders moved, or the time is over: answers a call of which nothing is open.
    pub(crate) fn finish_election(&mut self, id: RequestId) {
        let mut call = match self.calls.remove(&id) {
            Some(Call::Election(call)) => call,
            other => return other.into_iter().for_each(|other| _ = self.calls.insert(id, other)),
        };
        let over = self.now.mono >= call.deadline;
        for (result, open) in &mut call.parts {
            let leads = |(key, to): (PartitionKey, ReplicaId)| {
                self.leader_up(key).is_some_and(|info| info.leader == to.node)
            };
            if open.is_some_and(leads) {
                (result.error, *open) = (ErrorCode::None, None);
            } else if let Some((key, to)) = *open
                && over
                && self.leaders.get(&key).is_some_and(|info| !info.in_sync.contains(&to.node))
            {
                result.error = ErrorCode::PreferredLeaderNotAvailable;
            }
        }
        if call.parts.iter().any(|(_, open)| open.is_some()) && !over {
            self.calls.insert(id, Call::Election(call));
            return;
        }
        self.creations.remove(&id);
        self.timers.remove(&(call.deadline, Timer::Call(id)));
        let partitions = call.parts.into_iter().map(|(result, _)| result).collect();
        self.respond(id, Response::ElectLeaders { partitions });
    }
}
