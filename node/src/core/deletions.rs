//! DeleteRecords: the log starts later because a client says so.
//!
//! Like retention it is a log-start entry, proposed by the leader and carried out by every replica when it commits, so a failover
//! never brings records back. Unlike retention it may name an offset inside of a batch: the batch stays, and what lies before the
//! offset is not served any more.
//!
//! ```text
//! offset at or below the log start   answered at once: it is so already
//! offset above the high watermark    OFFSET_OUT_OF_RANGE, once leadership is confirmed
//! otherwise                          a log-start entry, answered when it is committed here
//! losing leadership                  NOT_LEADER_OR_FOLLOWER to all who wait: the outcome is unknown to them
//! ```

use std::collections::BTreeMap;

use mesh::raft::{EntryKind, Index, LogStart, Proposal, Term, Time};
use storage::{Disk, LogId};

use super::after_ms;
use super::drive::encode_log_start;
use super::error::ErrorCode;
use super::node::{Call, Node, Timer};
use super::partition::{Waiter, start_to_raft};
use super::request::{DeleteRecordsPartition, DeleteRecordsResult, RequestId, Response};
use super::shards::Confirming;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Shorter time-outs count as this: Kafka's leader deletes at once what it alone holds, and clients that want no wait send 0.
const WAIT_MS_MIN: u32 = 1_000;

/// A DeleteRecords in progress.
pub(crate) struct DeletionCall {
    parts: Vec<DeleteRecordsPartition>,
    results: Vec<DeleteRecordsResult>,
    open: Vec<bool>,
    pub(crate) deadline: Time,
}

impl<D: Disk> Node<D> {
    pub(crate) fn delete_records(
        &mut self,
        id: RequestId,
        timeout_ms: u32,
        parts: Vec<DeleteRecordsPartition>,
    ) {
        let deadline = after_ms(self.now.mono, u64::from(timeout_ms.max(WAIT_MS_MIN)));
        let undecided = |part: &DeleteRecordsPartition| DeleteRecordsResult {
            topic: part.topic.clone(),
            partition: part.partition,
            low_watermark: -1,
            error: ErrorCode::RequestTimedOut,
        };
        let results = parts.iter().map(undecided).collect();
        let count = parts.len();
        self.calls
            .insert(id, Call::Deletion(DeletionCall { parts, results, open: vec![true; count], deadline }));
        self.set_timer(deadline, Timer::Call(id));
        for part in 0..count {
            let waiter = Waiter { call: id, part };
            self.delete_part(waiter, false);
        }
        self.finish_deletion(id);
    }

    /// Looks at one part: decides it, proposes it, or has leadership confirmed first.
    fn delete_part(&mut self, waiter: Waiter, confirmed: bool) {
        let Some(Call::Deletion(call)) = self.calls.get(&waiter.call) else { return };
        let wanted = &call.parts[waiter.part];
        let log = match self.led(&wanted.topic, wanted.partition) {
            Ok(log) => log,
            Err(error) => return self.decide_deletion(waiter, error, -1),
        };
        if self.holds_groups(log) {
            return self.decide_deletion(waiter, ErrorCode::InvalidTopic, -1);
        }
        let replica = self.partitions.get(&log).and_then(|partition| partition.replica.as_ref());
        // Until an entry of its term commits a new leader does not know what it may delete.
        let Some(high_watermark) = replica.and_then(|replica| replica.high_watermark()) else {
            return self.decide_deletion(waiter, ErrorCode::NotLeaderOrFollower, -1);
        };
        let offset = if wanted.offset == HIGH_WATERMARK { high_watermark } else { wanted.offset };
        match offset {
            ..0 => self.decide_deletion(waiter, ErrorCode::OffsetOutOfRange, -1),
            _ if offset <= self.log_start_offset(log) => {
                self.decide_deletion(waiter, ErrorCode::None, self.log_start_offset(log));
            }
            // A leader that was replaced without knowing has a high watermark of the past.
            _ if offset > high_watermark && !confirmed => {
                self.confirm(log, Confirming::Deletion(waiter));
            }
            _ if offset > high_watermark => self.decide_deletion(waiter, ErrorCode::OffsetOutOfRange, -1),
            _ => self.propose_deletion(log, waiter, offset),
        }
    }

    pub(crate) fn deletion_confirmed(&mut self, waiter: Waiter, leads: bool) {
        if leads {
            self.delete_part(waiter, true);
        } else {
            self.decide_deletion(waiter, ErrorCode::NotLeaderOrFollower, -1);
        }
        self.finish_deletion(waiter.call);
    }

    fn propose_deletion(&mut self, log: LogId, waiter: Waiter, offset: i64) {
        let Some(start) = self.start_for(log, offset) else {
            return self.decide_deletion(waiter, ErrorCode::KafkaStorageError, -1);
        };
        let payload = encode_log_start(start, offset).into();
        let proposal = Proposal { kind: EntryKind::LogStart, record_count: 0, timestamp_ms: -1, payload };
        // Registered before the proposal: a lone voter with a quick disk may commit it within the same step.
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let Some(index) = partition.replica.as_ref().map(|replica| replica.last_index()) else { return };
        let index = Index(index.0 + 1);
        partition.on_start.entry(index).or_default().push(waiter);
        if self.propose(log, proposal).is_err() {
            if let Some(waiting) = self.partitions.get_mut(&log).and_then(|p| p.on_start.get_mut(&index)) {
                waiting.retain(|other| other.call != waiter.call || other.part != waiter.part);
            }
            self.decide_deletion(waiter, ErrorCode::NotLeaderOrFollower, -1);
        }
    }

    /// The log start at the last entry that goes when records begin at `offset`: the batch that holds it stays.
    fn start_for(&self, log: LogId, offset: i64) -> Option<LogStart> {
        let partition = self.partitions.get(&log)?;
        let current = start_to_raft(self.workers.log(log)?.start);
        let holder = self.workers.of(log).index_at(log, offset);
        let index = holder.map_or(partition.applied.0, |holder| (holder - 1).min(partition.applied.0));
        if index <= current.index.0 {
            return Some(current);
        }
        let (term, next_offset) =
            (self.workers.of(log).term_at(log, index)?, self.workers.of(log).end_offset(log, index)?);
        Some(LogStart { index: Index(index), term: Term(term), next_offset })
    }

    /// The first offset that clients may read.
    pub(crate) fn log_start_offset(&self, log: LogId) -> i64 {
        let stored = self.workers.log(log).map_or(0, |state| state.start.next_offset);
        self.partitions.get(&log).map_or(stored, |partition| partition.state.first_offset().max(stored))
    }

    /// A log start was committed and carried out: who waited for it, or for an earlier one, hears so.
    pub(crate) fn answer_started(&mut self, log: LogId, upto: Index) {
        let low = self.log_start_offset(log);
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let later = partition.on_start.split_off(&upto.next());
        for waiter in std::mem::replace(&mut partition.on_start, later).into_values().flatten() {
            self.decide_deletion(waiter, ErrorCode::None, low);
            self.finish_deletion(waiter.call);
        }
    }

    /// Leadership is lost: whoever waits must ask again; the log start may still be committed.
    pub(crate) fn fail_deletions(&mut self, waiting: BTreeMap<Index, Vec<Waiter>>) {
        for waiter in waiting.into_values().flatten() {
            self.decide_deletion(waiter, ErrorCode::NotLeaderOrFollower, -1);
            self.finish_deletion(waiter.call);
        }
    }

    fn decide_deletion(&mut self, waiter: Waiter, error: ErrorCode, low_watermark: i64) {
        let Some(Call::Deletion(call)) = self.calls.get_mut(&waiter.call) else { return };
        if std::mem::replace(&mut call.open[waiter.part], false) {
            let result = &mut call.results[waiter.part];
            (result.error, result.low_watermark) = (error, low_watermark);
        }
    }

    /// Answers a call once all its parts are decided.
    fn finish_deletion(&mut self, id: RequestId) {
        if matches!(self.calls.get(&id), Some(Call::Deletion(call)) if call.open.iter().all(|open| !open)) {
            self.deletion_due(id);
        }
    }

    /// The time of a call is over: what is open is answered as timed out.
    pub(crate) fn deletion_due(&mut self, id: RequestId) {
        if let Some(Call::Deletion(call)) = self.calls.remove(&id) {
            self.timers.remove(&(call.deadline, Timer::Call(id)));
            self.respond(id, Response::DeleteRecords { partitions: call.results });
        }
    }
}
