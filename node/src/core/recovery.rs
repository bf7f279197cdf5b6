//! A partition that lost its majority goes on from one survivor, because an operator said so; nothing here does that by itself.
//!
//! The steps and why they are safe are in `ARCHITECTURE.md`, "A majority that is lost".

use bytes::Bytes;
use mesh::raft::{self, EntryKind, HardState, Index, Membership, NodeId, ReplicaEpoch, ReplicaId, Term};
use storage::{Disk, Write};

use super::error::ErrorCode;
use super::lifecycle::log_meta;
use super::metadata::lifecycle::Standing;
use super::metadata::stranded::has_majority;
use super::metadata::{Command, Outcome, PartitionKey, Recovery, ShardId};
use super::node::Node;
use super::partition::{Applied, Partition};
use super::request::{Recover, RequestId, Response};
use super::shards::Purpose;

/// How far the term of a partition that is recovered rises: a lost majority that holds elections among itself, one each 0.3 s, needs
/// five hours to use so many.
const TERMS: u32 = 1 << 16;

/// By how much the epoch of a recovered shard 0 is above the highest that its survivor knows: nobody is left to ask for those that
/// were given out since.
const EPOCHS: u32 = 1_000;

impl<D: Disk> Node<D> {
    /// An operator's word, to the survivor: nobody knows better whether it follows a leader. The partition's shard decides, but of shard 0.
    pub(crate) fn recover(&mut self, id: RequestId, wish: Recover) {
        let Recover { key, survivor, by, why, found } = wish;
        let name = self.name_of(key);
        let refuse = |node: &mut Self, error: ErrorCode, message: String| {
            node.respond(id, Response::Decided { error, message: Some(message) });
        };
        let Some(descriptor) = self.view.descriptor(key).cloned() else {
            return refuse(self, ErrorCode::UnknownTopicOrPartition, format!("{name} is not known here"));
        };
        let shard_0 = key == PartitionKey::of_shard(ShardId(0));
        let here = self.by_key.get(&key).and_then(|log| self.partitions.get(log)).map(|one| one.id);
        // It began alone before, and the record of that was lost with the process or the leadership.
        let begun = here.filter(|id| shard_0 && id.node == survivor.node && !descriptor.names(*id));
        if let Some(message) = self.needs_none(key).filter(|_| begun.is_none()) {
            return refuse(self, ErrorCode::InvalidRequest, message);
        }
        let triples = || descriptor.replicas.iter().chain(&descriptor.leaving);
        let Some(&old) = triples().find(|replica| **replica == survivor) else {
            let message = format!("{survivor} is none of the replicas of {name} (any more)");
            return refuse(self, ErrorCode::InvalidRequest, message);
        };
        let ahead = if shard_0 { EPOCHS } else { 0 };
        let epoch = ReplicaEpoch(descriptor.next_replica_epoch().0.saturating_add(ahead));
        let new = begun.unwrap_or(ReplicaId { epoch, ..old });
        let recovery = Recovery { key, old, new, by, why, found, at_ms: self.now.wall_ms };
        tracing::warn!(partition = name, ?recovery, "an operator gives up the lost majority of a partition");
        if begun.is_none() && here != Some(old) {
            let message = format!("this node is not the survivor {old}: ask node {}", old.node.0);
            return refuse(self, ErrorCode::InvalidRequest, message);
        }
        if shard_0 && begun.is_none() {
            self.begin_alone(key, new);
        }
        self.ask_decided(id, key.home(), &Command::Recover(recovery), Purpose::Decision(id));
    }

    /// Why a partition is not to be recovered, if so.
    pub fn needs_none(&self, key: PartitionKey) -> Option<String> {
        let led = self.led_by(key).map(|leader| self.is_led(key, leader));
        led.or_else(|| self.has_quorum(key))
    }

    fn is_led(&self, key: PartitionKey, leader: NodeId) -> String {
        format!("{} is led by node {}: nothing is to be recovered", self.name_of(key), leader.0)
    }

    fn has_quorum(&self, key: PartitionKey) -> Option<String> {
        let name = self.name_of(key);
        let descriptor = self.view.descriptor(key)?;
        has_majority(&self.view, descriptor, &self.up()).then(|| {
            format!("a majority of the replicas of {name} is up: they elect a leader by themselves; if not, the logs of their nodes say why")
        })
    }

    /// Who leads a partition, as far as a decision may rest on that. A voter here knows it itself. What is only told of a node counts for
    /// the life that it was told of: whoever has the number since leads nothing by that.
    pub fn led_by(&self, key: PartitionKey) -> Option<NodeId> {
        let here = self.by_key.get(&key).and_then(|log| self.partitions.get(log));
        let votes = |one: &&Partition| matches!(one.standing, Standing::Member | Standing::Creating);
        if let Some(replica) = here.filter(votes).and_then(|partition| partition.replica.as_ref()) {
            return replica.leader().map(|leader| leader.node).filter(|node| self.is_live(*node));
        }
        let node = self.leader_up(key)?.leader;
        let life = self.view.node(node).map(|info| info.incarnation);
        let descriptor = self.view.descriptor(key);
        let triples = descriptor.into_iter().flat_map(|one| one.replicas.iter().chain(&one.leaving));
        let mut lives = triples.filter(|id| id.node == node).map(|id| id.incarnation).peekable();
        (lives.peek().is_none() || lives.any(|one| Some(one) == life)).then_some(node)
    }

    /// As the leader of a partition's shard: whether it may be recovered now. That the survivor itself leads, it would have said.
    pub(crate) fn may_recover(&self, command: &[u8]) -> Result<(), Outcome> {
        if !Command::is_recovery(command) {
            return Ok(());
        }
        let Ok(Command::Recover(recovery)) = Command::decode(command) else { return Ok(()) };
        let key = recovery.key;
        let done = self.view.descriptor(key).is_some_and(|descriptor| descriptor.alone == Some(recovery.new));
        // Shard 0 commits its own after the fact.
        if done || key == PartitionKey::of_shard(ShardId(0)) {
            return Ok(());
        }
        let other = self.led_by(key).filter(|leader| *leader != recovery.old.node);
        match other.map(|leader| self.is_led(key, leader)).or_else(|| self.has_quorum(key)) {
            Some(message) => Err(Outcome::Refused { error: ErrorCode::InvalidRequest, message }),
            None => Ok(()),
        }
    }

    /// The replica goes on under its new triple with everything that it holds, as the only voter. Called again after a crash that kept
    /// the reset frame without the membership.
    pub(crate) fn begin_alone(&mut self, key: PartitionKey, id: ReplicaId) {
        let Some(log) = self.by_key.get(&key).copied() else { return };
        self.silence(log);
        let Some(state) = self.workers.log(log) else { return };
        let Some(mut hard_state) = HardState::decode(state.hard_state) else {
            return self.fail(format!("the hard state of {key:?} cannot be read"));
        };
        let last_term = state.term_starts.last().map_or(0, |(term, ..)| *term);
        let ceiling = self.view.topic(key.topic).map_or(0, |topic| topic.term_ceiling);
        let above = hard_state.term.0.max(last_term).max(ceiling);
        let Some(term) = above.checked_add(TERMS).map(Term).filter(|term| *term < Term::MAX) else {
            return tracing::error!(?key, "the terms of this partition are used up; it cannot be recovered");
        };
        let (start, index) = (state.start, Index(state.last_index + 1));
        let (membership, offset) = (Membership::of([id]), state.next_offset);
        let entry = |nth: u64, kind: EntryKind, payload: Vec<u8>| storage::Entry {
            term: term.0,
            index: index.0 + nth,
            base_offset: offset,
            record_count: 0,
            kind: kind.to_u8(),
            timestamp_ms: -1,
            payload: payload.into(),
        };
        let mut entries = vec![entry(0, EntryKind::Membership, membership.encode())];
        if key.as_shard().is_some() {
            entries.push(entry(1, EntryKind::Command, Command::BeginEra(id.epoch).encode()));
        }
        (hard_state.term, hard_state.vote) = (term, None);
        hard_state.memberships.push((index, term, membership));
        let checkpoint = match state.checkpoint {
            Some((at, bytes)) => (at, bytes.clone()),
            None => match Applied::decode(key, None, &self.founding) {
                Some(empty) => (start.index, empty.encode()),
                None => return,
            },
        };
        let (meta, hard_state) = (log_meta::encode(key, id), Bytes::from(hard_state.encode()));
        let reset =
            Write::Reset { log, epoch: id.epoch.0, meta, hard_state, start, checkpoint, keep_suffix: true };
        let written = self.workers.write(reset);
        match written.and_then(|_| self.workers.write(Write::Append { log, entries })) {
            Ok(sequence) => _ = self.creating.insert(log, sequence),
            Err(error) => {
                return tracing::warn!(%error, ?key, "a partition could not be recovered; tried again");
            }
        }
        tracing::warn!(replica = %id, term = term.0, last = index.0, partition = self.name_of(key), "this replica goes on alone");
        let mut partition = Partition::new(key, log, id, Standing::Member);
        if let Err(error) = self.load(&mut partition) {
            return self.fail(format!("a replica that shall go on alone does not load: {error}"));
        }
        self.partitions.insert(log, partition);
        self.unsettled.insert(key);
        self.retime(log);
        self.drive(log, raft::Input::Campaign);
    }
}
