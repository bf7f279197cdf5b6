//! One Raft step of one replica, and carrying out what it wants: writes, messages, commits, changes of role.

use std::sync::Arc;

use mesh::raft::{self, Effects, EntryKind, Index, Input, Message, ReplicaId, Role, WriteBatch};
use storage::{Disk, LogId, Sequence, Write, WriteError};

use super::Effect;
use super::message::{LeaderInfo, PeerMessage, Stream};
use super::metadata::lifecycle::Standing;
use super::node::{Node, Reading};
use super::partition::{Applied, LogView, Pending, start_to_raft, start_to_stored, to_stored};
use crate::mutant::{self, Mutant};

impl<D: Disk> Node<D> {
    /// Steps the replica of `log` and performs the effects.
    pub(crate) fn drive(&mut self, log: LogId, input: Input) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let Some(replica) = partition.replica.as_mut() else { return };
        let view = LogView {
            store: self.workers.of(log),
            log,
            loaded: &partition.loaded,
            loading: partition.loading,
            state: &partition.state,
            applied: partition.applied,
            wanted: None.into(),
        };
        let was_quiet = replica.is_quiet();
        let effects = replica.step(self.now.mono, input, &view);
        let goes_quiet = replica.is_quiet() && !was_quiet;
        if partition.standing == Standing::Learner && replica.is_voter() {
            partition.standing = Standing::Member;
        }
        if let Some(job) = view.wanted.into_inner() {
            partition.loading = true;
            let token = self.token();
            self.reads.insert(token, Reading::Replica(log));
            self.out.push(Effect::Read { token, job });
        }
        self.perform(log, effects);
        if goes_quiet {
            self.went_quiet(log);
        }
        self.retime(log);
    }

    /// Proposes and says where the entries went, or why they were refused.
    pub(crate) fn propose(
        &mut self,
        log: LogId,
        proposal: raft::Proposal,
    ) -> Result<(Index, i64), Option<raft::ProposeError>> {
        let Some(replica) = self.partitions.get(&log).and_then(|p| p.replica.as_ref()) else {
            return Err(None);
        };
        let (index, offset) = (Index(replica.last_index().0 + 1), replica.next_offset());
        self.last_rejection = None;
        self.drive(log, Input::Propose(vec![proposal]));
        match self.last_rejection.take() {
            Some(rejection) => Err(Some(rejection)),
            None => Ok((index, offset)),
        }
    }

    fn perform(&mut self, log: LogId, effects: Effects) {
        let Effects { write, mut send, commit, rejected, role, reads, rebuilds, .. } = effects;
        if let Some(write) = write
            && let Err(error) = self.persist(log, write)
        {
            return self.write_refused(log, &error);
        }
        self.last_rejection = rejected;
        let Some(partition) = self.partitions.get(&log) else { return };
        let key = partition.key;
        send.retain(|envelope| partition.may_say(&envelope.message));
        for mut envelope in send {
            self.vouch(&mut envelope.message);
            let stream = stream_of(&envelope.message);
            let message =
                PeerMessage::Raft { key, from: envelope.from, to: envelope.to, message: envelope.message };
            self.out.push(Effect::Send { to: envelope.to.node, stream, message });
        }
        if !rebuilds.is_empty() {
            self.rebuilding(log, rebuilds);
        }
        if role.is_some() {
            self.role_changed(log);
        }
        match commit {
            Some(commit) => self.apply(log, commit),
            None => self.answer_committed(log),
        }
        for (context, answer) in reads {
            self.read_confirmed(context, answer.ok());
        }
    }

    /// Stages a write batch. The order within it is part of the format: a hard state names membership entries before they
    /// are written, and a restart drops those that did not make it.
    fn persist(&mut self, log: LogId, batch: WriteBatch) -> Result<(), WriteError> {
        let WriteBatch { id, hard_state, truncate_from, append, reset } = batch;
        let mut last = Sequence(0);
        if let Some(reset) = reset {
            let Some(partition) = self.partitions.get_mut(&log) else { return Ok(()) };
            let state = hard_state.as_ref().expect("a reset comes with its hard state");
            last = self.workers.write(Write::Reset {
                log,
                epoch: partition.id.epoch.0,
                meta: super::lifecycle::log_meta::encode(partition.key, partition.id),
                hard_state: state.encode().into(),
                start: start_to_stored(reset.start),
                checkpoint: (reset.checkpoint.0.0, reset.checkpoint.1.clone()),
                keep_suffix: reset.keep_suffix,
            })?;
            self.reload_state(log);
        } else if let Some(state) = hard_state {
            last = self.workers.write(Write::HardState { log, state: state.encode().into() })?;
        }
        let Some(partition) = self.partitions.get_mut(&log) else { return Ok(()) };
        if let Some(from) = truncate_from {
            partition.truncated(from);
            last = self.workers.write(Write::Truncate { log, from: from.0 })?;
        }
        if !append.is_empty() {
            let entries = append.iter().cloned().map(to_stored).collect();
            last = self.workers.write(Write::Append { log, entries })?;
            partition.appended(&append);
        }
        self.workers.note(log, last, id);
        Ok(())
    }

    /// A reset replaced the log: applied state is what came with it, and what of the log was kept.
    fn reload_state(&mut self, log: LogId) {
        let Some(mut partition) = self.partitions.remove(&log) else { return };
        partition.loaded.clear();
        if let Err(error) = self.load_state(&mut partition) {
            self.fail(format!("the state that a leader sent does not load: {error}"));
        }
        self.partitions.insert(log, partition);
        // A shard's view may lag behind what came.
        self.merge_own_shard(log);
    }

    /// A write was refused. The Raft replica believes otherwise, so it is built anew from what the store holds; a
    /// latched store ends the node.
    fn write_refused(&mut self, log: LogId, error: &WriteError) {
        if self.workers.failed() {
            return self.fail(format!("the segment log failed: {error}"));
        }
        tracing::warn!(%error, log = log.0, "a write was refused; the replica starts again from its log");
        let Some(mut partition) = self.partitions.remove(&log) else { return };
        self.fail_waiters(&mut partition);
        self.workers.forget(log);
        if let Err(error) = self.load(&mut partition) {
            self.partitions.insert(log, partition);
            return self.fail(format!("a replica could not be loaded again: {error}"));
        }
        self.partitions.insert(log, partition);
        self.fail_reads(log);
        self.role_changed(log);
    }

    /// Carries committed entries into the applied state and answers those who waited for them.
    fn apply(&mut self, log: LogId, commit: Index) {
        loop {
            let Some(partition) = self.partitions.get_mut(&log) else { return };
            let Some(next) = partition.pending.pop_front_if(|first| first.index <= commit) else { break };
            match next.kind {
                EntryKind::Command => self.apply_command(log, &next),
                EntryKind::LogStart => self.apply_log_start(log, &next),
                _ => {}
            }
        }
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        if let Applied::Topic(topic) = &mut partition.state {
            topic.producers.commit(commit);
        }
        partition.applied = partition.applied.max(commit);
        self.checkpoint_if_due(log);
        self.after_apply(log);
        self.groups_committed(log);
        self.answer_committed(log);
        self.wake_fetches(log);
    }

    fn checkpoint_if_due(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get(&log) else { return };
        let entries = partition.applied.0 - partition.checkpointed.0;
        let much = partition.unsaved_bytes >= self.config.checkpoint_bytes && entries > 0;
        if entries >= self.config.checkpoint_entries || much {
            self.checkpoint(log);
        }
    }

    /// Writes the applied state, so that a restart reads the log only from here on.
    pub(crate) fn checkpoint(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let early = self.workers.log(log).filter(|_| mutant::active(Mutant::CheckpointMovedEarly));
        let index = early.map_or(partition.applied.0, |state| state.last_index);
        let write = Write::Checkpoint { log, index, state: partition.state.encode() };
        match self.workers.write(write) {
            Ok(_) => (partition.checkpointed, partition.unsaved_bytes) = (partition.applied, 0),
            Err(error) => tracing::warn!(%error, log = log.0, "a checkpoint was refused"),
        }
    }

    /// A committed log start: everything up to it goes, on every replica.
    fn apply_log_start(&mut self, log: LogId, entry: &Pending) {
        let Some((start, first_offset)) = decode_log_start(&entry.payload) else { return };
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        partition.applied = partition.applied.max(Index(entry.index.0 - 1));
        if let Applied::Topic(topic) = &mut partition.state {
            topic.producers.commit(partition.applied);
            topic.first_offset = topic.first_offset.max(first_offset);
        }
        partition.trimming = None;
        let current = self.workers.log(log).map(|state| start_to_raft(state.start));
        let trims = current.is_some_and(|current| current.index < start.index);
        if trims && start.index <= partition.applied {
            self.trim(log, start);
        }
        self.answer_started(log, entry.index);
    }

    /// Everything up to `start` goes on this replica.
    pub(crate) fn trim(&mut self, log: LogId, start: raft::LogStart) {
        if self.partitions.get(&log).is_some_and(|partition| partition.checkpointed < start.index) {
            self.checkpoint(log);
        }
        match self.workers.write(Write::Trim { log, start: start_to_stored(start) }) {
            Ok(_) => self.drive(log, Input::SetLogStart(start)),
            Err(error) => tracing::warn!(%error, log = log.0, "a trim was refused; retention tries again"),
        }
    }

    /// Sees whether this node began or ceased to lead, and tells those concerned.
    pub(crate) fn role_changed(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let key = partition.key;
        let term = partition
            .replica
            .as_ref()
            .filter(|replica| replica.role() == Role::Leader)
            .map(raft::Replica::term);
        let before = std::mem::replace(&mut partition.led, term);
        if before.is_some() && before != term {
            let mut waiting =
                std::mem::take(&mut self.partitions.get_mut(&log).expect("found above").on_commit);
            let on_sync = std::mem::take(&mut self.partitions.get_mut(&log).expect("found above").on_sync);
            for (index, waiters) in on_sync {
                waiting.entry(index).or_default().extend(waiters);
            }
            let on_start = std::mem::take(&mut self.partitions.get_mut(&log).expect("found above").on_start);
            let parked = std::mem::take(&mut self.partitions.get_mut(&log).expect("found above").parked);
            self.fail_produces(log, waiting);
            self.fail_deletions(on_start);
            self.fail_parked(parked);
            self.shard_led(log, false);
            self.groups_deposed(log);
        }
        if let Some(term) = term
            && before != Some(term)
        {
            self.unsettled.insert(key);
            self.shard_led(log, true);
            self.groups_led(log);
        }
        self.announce(log);
        if let Some(replica) = self.partitions.get(&log).and_then(|partition| partition.replica.as_ref())
            && let Some(leader) = replica.leader()
        {
            let term = replica.term();
            let info = LeaderInfo { key, term, leader: leader.node, in_sync: Vec::new(), traffic: 0 };
            self.learn_leader(info.into());
        }
        self.wake_fetches(log);
    }

    /// Tells every node and the directory that this node leads a partition.
    pub(crate) fn announce(&mut self, log: LogId) {
        let Some(info) = self.leader_info(log) else { return };
        self.out.push(Effect::Publish(info.clone()));
        let info = Arc::new(info);
        if self.is_large() {
            self.gather_lead(log);
        } else {
            for to in self.peers() {
                let message = PeerMessage::Leaders(vec![info.clone()]);
                self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
            }
        }
        self.learn_leader(info);
    }

    /// What this node says about a partition that it leads.
    pub(crate) fn leader_info(&self, log: LogId) -> Option<LeaderInfo> {
        let partition = self.partitions.get(&log)?;
        let replica = partition.replica.as_ref().filter(|replica| replica.role() == Role::Leader)?;
        let in_sync = replica.in_sync().iter().map(|id: &ReplicaId| id.node).collect();
        let (term, traffic) = (replica.term(), partition.traffic.kib_per_second());
        Some(LeaderInfo { key: partition.key, term, leader: self.identity.node, in_sync, traffic })
    }

    /// Merges a hint about a leader: the newer term wins, a leader's own word over hearsay.
    pub(crate) fn learn_leader(&mut self, info: Arc<LeaderInfo>) {
        let known = self.leaders.get(&info.key).map(|known| (known.term, known.leader));
        let moved = known.is_none_or(|known| known < (info.term, info.leader));
        let shard = info.key.as_shard().filter(|_| moved);
        match self.leaders.get(&info.key) {
            Some(known) if known.term > info.term => {}
            Some(known) if known.term == info.term && info.in_sync.is_empty() => {}
            Some(_) | None => self.leaders.insert(info),
        }
        if let Some(shard) = shard {
            self.resend_to(shard);
            if !self.heard.contains(&shard) {
                self.poll_shard(shard);
            }
        }
        self.topics_moved();
    }
}

fn stream_of(message: &Message) -> Stream {
    match message {
        Message::Append { entries, .. } if !entries.is_empty() => Stream::Replication,
        Message::Reset { .. } => Stream::Replication,
        _ => Stream::Control,
    }
}

/// Payload of a log-start entry.
///
/// | bytes | what |
/// |---|---|
/// | 1 | version: 2 when the first offset that clients may read lies inside of a batch, else 1 |
/// | 8, 4, 8 | index, term, next offset; little-endian |
/// | 8 | in version 2: that first offset |
pub(crate) fn encode_log_start(start: raft::LogStart, first_offset: i64) -> Vec<u8> {
    let inside = first_offset > start.next_offset;
    let mut out = vec![if inside { 2 } else { 1 }];
    out.extend(start.index.0.to_le_bytes());
    out.extend(start.term.0.to_le_bytes());
    out.extend(start.next_offset.to_le_bytes());
    if inside {
        out.extend(first_offset.to_le_bytes());
    }
    out
}

/// The log start, and the first offset that clients may read.
fn decode_log_start(bytes: &[u8]) -> Option<(raft::LogStart, i64)> {
    let (version, rest) = bytes.split_first()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let (term, rest) = rest.split_first_chunk::<4>()?;
    let (next_offset, rest) = rest.split_first_chunk::<8>()?;
    let start = raft::LogStart {
        index: Index(u64::from_le_bytes(*index)),
        term: raft::Term(u32::from_le_bytes(*term)),
        next_offset: i64::from_le_bytes(*next_offset),
    };
    match version {
        1 => Some((start, start.next_offset)),
        2 => Some((start, i64::from_le_bytes(*rest.first_chunk::<8>()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn log_starts_survive_their_bytes(index: u64, term: u32, next_offset: i64, first_offset: i64) -> bool {
            let start = raft::LogStart { index: Index(index), term: raft::Term(term), next_offset };
            let bytes = encode_log_start(start, first_offset);
            let short = (0..bytes.len()).all(|end| decode_log_start(&bytes[..end]).is_none());
            short && decode_log_start(&bytes) == Some((start, first_offset.max(next_offset)))
        }

        fn hostile_log_starts_never_panic(bytes: Vec<u8>) -> bool {
            let _ = decode_log_start(&bytes);
            true
        }
    }
}
