//! Produce: judge each batch, propose it, and answer when it is as durable as the client asked.
//!
//! ```text
//! acks=all  answered at commit                     acks=1  answered at the leader's own sync
//! duplicate answered at the original's commit, whatever the acks (or at once when that is past)
//! no room   waits in order, see [`super::parked`]
//! losing leadership answers NOT_LEADER_OR_FOLLOWER to all who wait: the outcome is unknown to them
//! ```

use std::collections::BTreeMap;

use mesh::raft::{EntryKind, Index, Proposal, ProposeError, Role, Time};
use storage::{Disk, LogId};

use super::after_ms;
use super::error::ErrorCode;
use super::node::{Call, Node, Timer};
use super::parked::TOO_MUCH_WAITS;
use super::partition::{Applied, Partition, Waiter};
use super::producers::Verdict;
use super::request::{Acks, LeaderHint, ProducePartition, ProduceResult, RequestId, Response, TopicRef};
use super::shards::Confirming;
use super::stamp;
use crate::mutant::{self, Mutant};

/// A produce request in progress.
pub(crate) struct ProduceCall {
    pub(crate) results: Vec<ProduceResult>,
    /// Parts that are not decided yet.
    pub(crate) open: Vec<bool>,
    pub(crate) deadline: Time,
}

impl<D: Disk> Node<D> {
    pub(crate) fn produce(
        &mut self,
        id: RequestId,
        acks: Acks,
        timeout_ms: u32,
        parts: Vec<ProducePartition>,
    ) {
        let deadline = after_ms(self.now.mono, u64::from(timeout_ms));
        let results = parts.iter().map(|part| undecided(&part.topic, part.partition)).collect();
        let open = vec![true; parts.len()];
        self.calls.insert(id, Call::Produce(ProduceCall { results, open, deadline }));
        for (part, batch) in parts.into_iter().enumerate() {
            let waiter = Waiter { call: id, part };
            if let Err((error, message)) = self.admit(waiter, acks, batch) {
                self.decide(waiter, error, -1, message);
            }
        }
        // A lone voter may have committed within the step already.
        if self.calls.contains_key(&id) {
            self.set_timer(deadline, Timer::Call(id));
        }
    }

    /// Proposes a batch to a partition that is led here.
    pub(crate) fn produce_part(
        &mut self,
        log: LogId,
        waiter: Waiter,
        acks: Acks,
        part: ProducePartition,
    ) -> Result<(), (ErrorCode, Option<String>)> {
        let partition = self.partitions.get(&log).ok_or((ErrorCode::NotLeaderOrFollower, None))?;
        let limits = self.topic_config(partition.key.topic);
        if part.batch.bytes.len() > limits.max_message_bytes as usize {
            let text = format!(
                "the batch has {} bytes, max.message.bytes of the topic is {}",
                part.batch.bytes.len(),
                limits.max_message_bytes
            );
            return Err((ErrorCode::MessageTooLarge, Some(text)));
        }
        self.enough_replicas(partition, acks, limits.min_insync_replicas as usize)?;
        if let (Some(stamp), Applied::Topic(topic)) = (part.batch.producer, &partition.state) {
            match topic.producers.check(stamp, part.batch.record_count) {
                Verdict::New => {}
                Verdict::Refused(error) => {
                    self.confirm(log, Confirming::Refusal { waiter, error });
                    return Ok(());
                }
                Verdict::Duplicate { index, base_offset } => {
                    self.duplicate(log, waiter, index, base_offset);
                    return Ok(());
                }
            }
        }
        let now_ms = self.now.wall_ms;
        let (timestamp_ms, payload) = if limits.log_append_time {
            self.note_append_time(waiter, now_ms);
            (now_ms, stamp::append_time(&part.batch.bytes, now_ms))
        } else {
            let refused = |message| (ErrorCode::InvalidTimestamp, Some(message));
            stamp::check(&part.batch, &limits, now_ms).map_err(refused)?;
            (part.batch.max_timestamp_ms, part.batch.bytes)
        };
        let record_count = part.batch.record_count;
        let proposal = Proposal { kind: EntryKind::Records, record_count, timestamp_ms, payload };
        self.propose_batch(log, waiter, acks, proposal)
    }

    fn propose_batch(
        &mut self,
        log: LogId,
        waiter: Waiter,
        acks: Acks,
        proposal: Proposal,
    ) -> Result<(), (ErrorCode, Option<String>)> {
        if !self.workers.accepts_records(log) {
            let text = "the disk of this node is full: free space or lower retention".to_string();
            return Err((ErrorCode::KafkaStorageError, Some(text)));
        }
        let Some((index, offset)) = self.partitions.get(&log).and_then(Partition::next) else {
            return Err((ErrorCode::NotLeaderOrFollower, None));
        };
        self.note_offset(waiter, offset);
        // Registered before the proposal: a lone voter with a quick disk may decide it within the same step.
        if let Some(partition) = self.partitions.get_mut(&log) {
            match acks {
                Acks::All => partition.on_commit.entry(index).or_default().push(waiter),
                Acks::Leader => partition.on_sync.entry(index).or_default().push(waiter),
                Acks::None => {}
            }
        }
        let bytes = proposal.payload.len();
        let proposed = self.propose(log, proposal);
        if let Some(partition) = self.partitions.get_mut(&log).filter(|_| proposed.is_ok()) {
            partition.traffic.count(bytes);
        }
        match proposed {
            Ok(_) if acks == Acks::None => self.decide(waiter, ErrorCode::None, offset, None),
            Ok(_) => {}
            Err(rejection) => {
                if let Some(partition) = self.partitions.get_mut(&log) {
                    partition.forget(index, waiter);
                }
                return Err(match rejection {
                    Some(ProposeError::Overloaded) => {
                        (ErrorCode::NotEnoughReplicas, Some(TOO_MUCH_WAITS.into()))
                    }
                    _ => (ErrorCode::NotLeaderOrFollower, None),
                });
            }
        }
        Ok(())
    }

    /// A refusal is said only by a leader that was one after the question came: to a client that follows the newer one, an
    /// older leader's refusal would look like a lost batch.
    pub(crate) fn refusal_confirmed(&mut self, waiter: Waiter, error: ErrorCode, leads: bool) {
        let error = if leads { error } else { ErrorCode::NotLeaderOrFollower };
        self.decide(waiter, error, -1, None);
    }

    /// The batch is in the log already: the client learns of the original's fate, nothing is written.
    fn duplicate(&mut self, log: LogId, waiter: Waiter, index: Index, base_offset: i64) {
        self.note_offset(waiter, base_offset);
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        if mutant::active(Mutant::DuplicateAckedEarly) {
            return self.decide(waiter, ErrorCode::None, base_offset, None);
        }
        partition.on_commit.entry(index).or_default().push(waiter);
        self.answer_committed(log);
    }

    /// The local log of a partition that this node leads and may serve, or the error Kafka has for it.
    pub(crate) fn led(&self, topic: &TopicRef, partition: i32) -> Result<LogId, ErrorCode> {
        let key = self.key_of(topic, partition)?;
        let Some(found) = self.by_key.get(&key).and_then(|log| self.partitions.get(log)) else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        // Above the ceiling the shard has to be told first, or a topic of the same name could not start above this term.
        let ceiling = self.view.topic(key.topic).map_or(u32::MAX, |topic| topic.term_ceiling);
        let in_bounds = found.replica.as_ref().is_some_and(|replica| replica.term().0 <= ceiling);
        let serving = found.may_serve() && in_bounds;
        if serving && !self.stopped { Ok(found.log) } else { Err(ErrorCode::NotLeaderOrFollower) }
    }

    /// Up to where the log is committed and synced by min.insync.replicas, which may ask for more than a majority; `None` when
    /// nobody waits for it.
    fn held_by_enough(&self, partition: &Partition) -> Option<Index> {
        let waiting = partition.on_commit.first_key_value().map(|(first, _)| *first)?;
        let replica = partition.replica.as_ref().filter(|_| waiting <= partition.applied)?;
        let voters = replica.membership().voters.len();
        let needed = (self.topic_config(partition.key.topic).min_insync_replicas as usize).min(voters);
        if needed <= voters / 2 + 1 {
            return Some(partition.applied);
        }
        let others = replica.progress();
        let others = others.iter().filter(|peer| peer.voter).map(|peer| peer.matched);
        let mut held: Vec<Index> = others.chain([replica.synced_index()]).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        held.get(needed - 1).map(|held| (*held).min(partition.applied))
    }

    fn enough_replicas(
        &self,
        partition: &Partition,
        acks: Acks,
        min_insync_replicas: usize,
    ) -> Result<(), (ErrorCode, Option<String>)> {
        let Some(replica) = partition.replica.as_ref() else {
            return Err((ErrorCode::NotLeaderOrFollower, None));
        };
        let needed = min_insync_replicas.min(replica.membership().voters.len());
        if acks == Acks::All && needed > 1 && replica.in_sync().len() < needed {
            let text = format!("{} replicas are in sync, {needed} are needed", replica.in_sync().len());
            return Err((ErrorCode::NotEnoughReplicas, Some(text)));
        }
        Ok(())
    }

    /// The leader synced its log up to `synced_index`: acks=1 are answered.
    pub(crate) fn answer_synced(&mut self, log: LogId) {
        let Some(synced) = self.workers.log(log).map(|state| Index(state.synced_index)) else {
            return;
        };
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let later = partition.on_sync.split_off(&Index(synced.0 + 1));
        for waiter in std::mem::replace(&mut partition.on_sync, later).into_values().flatten() {
            self.succeed(waiter);
        }
    }

    /// The commit index rose, or one more replica has what is committed: acks=all are answered.
    pub(crate) fn answer_committed(&mut self, log: LogId) {
        let Some(upto) = self.partitions.get(&log).and_then(|partition| self.held_by_enough(partition))
        else {
            return;
        };
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let later = partition.on_commit.split_off(&upto.next());
        for waiter in std::mem::replace(&mut partition.on_commit, later).into_values().flatten() {
            self.succeed(waiter);
        }
    }

    /// Leadership is lost: whoever waits gets an error and must ask again; the batch may still commit.
    pub(crate) fn fail_produces(&mut self, _log: LogId, waiting: BTreeMap<Index, Vec<Waiter>>) {
        for waiter in waiting.into_values().flatten() {
            self.decide(waiter, ErrorCode::NotLeaderOrFollower, -1, None);
        }
    }

    pub(crate) fn fail_waiters(&mut self, partition: &mut Partition) {
        let waiting = std::mem::take(&mut partition.on_commit);
        self.fail_produces(partition.log, waiting);
        let waiting = std::mem::take(&mut partition.on_sync);
        self.fail_produces(partition.log, waiting);
        let waiting = std::mem::take(&mut partition.on_start);
        self.fail_deletions(waiting);
        let parked = std::mem::take(&mut partition.parked);
        self.fail_parked(parked);
        self.groups_deposed(partition.log);
    }

    pub(crate) fn produce_due(&mut self, id: RequestId) {
        let Some(Call::Produce(call)) = self.calls.get(&id) else { return };
        let open: Vec<usize> = (0..call.open.len()).filter(|part| call.open[*part]).collect();
        for part in open {
            self.decide(Waiter { call: id, part }, ErrorCode::RequestTimedOut, -1, None);
        }
    }

    fn note_offset(&mut self, waiter: Waiter, base_offset: i64) {
        if let Some(Call::Produce(call)) = self.calls.get_mut(&waiter.call) {
            call.results[waiter.part].base_offset = base_offset;
        }
    }

    fn note_append_time(&mut self, waiter: Waiter, at_ms: i64) {
        if let Some(Call::Produce(call)) = self.calls.get_mut(&waiter.call) {
            call.results[waiter.part].log_append_time_ms = at_ms;
        }
    }

    fn succeed(&mut self, waiter: Waiter) {
        let Some(Call::Produce(call)) = self.calls.get(&waiter.call) else { return };
        let base_offset = call.results[waiter.part].base_offset;
        self.decide(waiter, ErrorCode::None, base_offset, None);
    }

    /// Decides one part of a call; the last one answers it.
    pub(crate) fn decide(
        &mut self,
        waiter: Waiter,
        error: ErrorCode,
        base_offset: i64,
        message: Option<String>,
    ) {
        let Some(Call::Produce(call)) = self.calls.get(&waiter.call) else { return };
        if !call.open[waiter.part] {
            return;
        }
        let (topic, partition) =
            (call.results[waiter.part].topic.clone(), call.results[waiter.part].partition);
        let leader =
            if error == ErrorCode::NotLeaderOrFollower { self.hint(&topic, partition) } else { None };
        let log_start_offset = if error == ErrorCode::None { self.log_start(&topic, partition) } else { -1 };
        let Some(Call::Produce(call)) = self.calls.get_mut(&waiter.call) else { return };
        call.open[waiter.part] = false;
        let stamped = call.results[waiter.part].log_append_time_ms;
        let log_append_time_ms = if error == ErrorCode::None { stamped } else { -1 };
        call.results[waiter.part] = ProduceResult {
            topic,
            partition,
            error,
            base_offset,
            log_append_time_ms,
            log_start_offset,
            leader,
            message,
        };
        if call.open.iter().any(|open| *open) {
            return;
        }
        if let Some(Call::Produce(call)) = self.calls.remove(&waiter.call) {
            self.timers.remove(&(call.deadline, Timer::Call(waiter.call)));
            self.respond(waiter.call, Response::Produce { partitions: call.results });
        }
    }

    /// Who leads a partition as far as this node knows (KIP-951); never this node itself.
    pub(crate) fn hint(&self, topic: &TopicRef, partition: i32) -> Option<LeaderHint> {
        let known = self.leaders.get(&self.key_of(topic, partition).ok()?)?;
        let leader_epoch = i32::try_from(known.term.0).ok()?;
        (known.leader != self.identity.node).then_some(LeaderHint { node: known.leader.0, leader_epoch })
    }

    fn log_start(&self, topic: &TopicRef, partition: i32) -> i64 {
        let log = self.key_of(topic, partition).ok().and_then(|key| self.by_key.get(&key));
        log.map_or(-1, |log| self.log_start_offset(*log))
    }
}

impl Partition {
    /// Where the next proposal goes, when this node leads.
    fn next(&self) -> Option<(Index, i64)> {
        let replica = self.replica.as_ref().filter(|replica| replica.role() == Role::Leader)?;
        Some((Index(replica.last_index().0 + 1), replica.next_offset()))
    }

    fn forget(&mut self, index: Index, waiter: Waiter) {
        for waiting in [&mut self.on_commit, &mut self.on_sync] {
            if let Some(waiters) = waiting.get_mut(&index) {
                waiters.retain(|other| other.call != waiter.call || other.part != waiter.part);
            }
        }
    }
}

fn undecided(topic: &TopicRef, partition: i32) -> ProduceResult {
    ProduceResult {
        topic: topic.clone(),
        partition,
        error: ErrorCode::RequestTimedOut,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        leader: None,
        message: None,
    }
}
