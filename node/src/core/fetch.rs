//! Fetch: read up to the high watermark, or wait for it to rise.
//!
//! A fetch first looks whether it can be answered; if not it is put on the waiting lists of its partitions and looks again
//! whenever one of them moves. Batches that are not in memory are read off the stepping thread.

use mesh::raft::{EntryKind, Time};
use storage::{Disk, LogId, Read, ReadError, ReadFrom};

use super::error::ErrorCode;
use super::node::{Call, Node, Reading, Timer};
use super::request::{
    FetchPartition, FetchResult, LeaderHint, RequestId, Response, StoredBatch, TopicId, TopicRef,
};
use super::shards::Confirming;
use super::{Effect, after_ms};

/// A fetch in progress.
pub(crate) struct FetchCall {
    /// Where the client is; empty when it does not say.
    rack: String,
    parts: Vec<FetchPartition>,
    min_bytes: u32,
    max_bytes: u32,
    pub(crate) deadline: Time,
    /// Leadership was confirmed since the request came, so that "beyond the end" is true.
    confirmed: bool,
    /// Filled while disk reads are under way.
    results: Vec<FetchResult>,
    reading: usize,
}

enum Look {
    /// Decided without data: an error, or nothing to read at `high_watermark`.
    Nothing(FetchResult),
    Ready(FetchResult, usize),
    Disk(FetchResult),
}

impl<D: Disk> Node<D> {
    pub(crate) fn fetch(
        &mut self,
        id: RequestId,
        max_wait_ms: u32,
        min_bytes: u32,
        max_bytes: u32,
        parts: Vec<FetchPartition>,
        rack: String,
    ) {
        let deadline = after_ms(self.now.mono, u64::from(max_wait_ms));
        let max_bytes = max_bytes.min(self.config.fetch_bytes_max);
        let confirmed = false;
        let call = FetchCall {
            parts,
            rack,
            min_bytes,
            max_bytes,
            deadline,
            confirmed,
            results: Vec::new(),
            reading: 0,
        };
        self.try_fetch(id, call);
    }

    /// Answers a fetch, starts its disk reads, or lets it wait.
    fn try_fetch(&mut self, id: RequestId, mut call: FetchCall) {
        let mut room = call.max_bytes as usize;
        let (mut gathered, mut hurry) = (0, self.now.mono >= call.deadline || call.parts.is_empty());
        let mut doubtful = None;
        let parts = std::mem::take(&mut call.parts);
        let mut results = Vec::with_capacity(parts.len());
        for (part, wanted) in parts.iter().enumerate() {
            let limit = (wanted.max_bytes as usize).min(room);
            let first = gathered == 0 && call.reading == 0;
            match self.look(id, part, wanted, &call.rack, limit, first) {
                // A leader that was replaced without knowing would make a consumer reset that is ahead of it.
                Look::Nothing(mut result) if self.beyond_end(wanted, &result) && !call.confirmed => {
                    result.error = ErrorCode::None;
                    doubtful = doubtful.or(self.led(&wanted.topic, wanted.partition).ok());
                    results.push(result);
                }
                Look::Nothing(result) => {
                    hurry |= result.error != ErrorCode::None
                        || result.diverging.is_some()
                        || result.preferred_read_replica.is_some();
                    results.push(result);
                }
                Look::Ready(result, bytes) => {
                    gathered += bytes;
                    room = room.saturating_sub(bytes);
                    results.push(result);
                }
                Look::Disk(result) => {
                    call.reading += 1;
                    room = room.saturating_sub(limit);
                    results.push(result);
                }
            }
        }
        call.parts = parts;
        call.results = results;
        if call.reading > 0 {
            self.calls.insert(id, Call::Fetch(call));
        } else if hurry || gathered >= call.min_bytes as usize {
            self.respond(id, Response::Fetch { partitions: call.results });
        } else {
            self.watch(id, &call);
            self.calls.insert(id, Call::Fetch(call));
            if let Some(log) = doubtful {
                self.confirm(log, Confirming::Fetch(id));
            }
        }
    }

    fn beyond_end(&self, wanted: &FetchPartition, result: &FetchResult) -> bool {
        result.error == ErrorCode::OffsetOutOfRange && wanted.offset > result.high_watermark
    }

    /// Leadership is confirmed, or lost: either way the fetch can be answered now.
    pub(crate) fn fetch_confirmed(&mut self, id: RequestId, leads: bool) {
        if let Some(Call::Fetch(call)) = self.calls.get_mut(&id) {
            call.confirmed = leads;
            self.fetch_due(id);
        }
    }

    fn look(
        &mut self,
        id: RequestId,
        part: usize,
        wanted: &FetchPartition,
        rack: &str,
        limit: usize,
        first: bool,
    ) -> Look {
        let mut result = empty(wanted);
        let (log, high_watermark) = match self.readable_from(rack, wanted, &mut result) {
            Ok(found) => found,
            Err(error) => {
                result.error = error;
                result.leader = self.fetch_hint(error, &wanted.topic, wanted.partition);
                return Look::Nothing(result);
            }
        };
        if result.diverging.is_none() {
            result.preferred_read_replica = self.nearer(log, rack, wanted.offset);
        }
        let elsewhere = result.preferred_read_replica.is_some();
        if elsewhere || wanted.offset >= high_watermark || (limit == 0 && !first) {
            return Look::Nothing(result);
        }
        match self.workers.of(log).read(log, ReadFrom::Offset(wanted.offset), limit.max(1)) {
            Ok(Read::Ready(entries)) => {
                let bytes = fill(&mut result, entries, limit, first);
                self.read_by_client(log, bytes);
                if bytes == 0 { Look::Nothing(result) } else { Look::Ready(result, bytes) }
            }
            Ok(Read::Disk(job)) => {
                let token = self.token();
                self.reads.insert(token, Reading::Fetch { call: id, part });
                self.out.push(Effect::Read { token, job });
                Look::Disk(result)
            }
            Err(error) => {
                result.error = read_error(&error);
                Look::Nothing(result)
            }
        }
    }

    /// Whether a partition may be read here from that offset; fills in what every answer carries.
    pub(crate) fn readable(
        &self,
        wanted: &FetchPartition,
        result: &mut FetchResult,
    ) -> Result<(LogId, i64), ErrorCode> {
        let log = self.led(&wanted.topic, wanted.partition)?;
        let partition = self.partitions.get(&log).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let replica = partition.replica.as_ref().ok_or(ErrorCode::NotLeaderOrFollower)?;
        result.topic_id = partition.key.topic;
        check_epoch(wanted.leader_epoch, replica.term().0)?;
        let state = self.workers.log(log).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let high_watermark = replica.high_watermark();
        let log_start_offset = self.log_start_offset(log);
        // Until an entry of its term commits a new leader may not have applied the last log start either.
        if high_watermark.is_some() {
            result.log_start_offset = log_start_offset;
        }
        if let Ok(last_epoch) = u32::try_from(wanted.last_epoch) {
            result.diverging = self.divergence(log, last_epoch, wanted.offset)?;
            if result.diverging.is_some() {
                result.high_watermark = high_watermark.unwrap_or(-1);
                return Ok((log, wanted.offset));
            }
        }
        if wanted.offset < log_start_offset || wanted.offset > state.next_offset {
            result.high_watermark = high_watermark.unwrap_or(-1);
            return Err(ErrorCode::OffsetOutOfRange);
        }
        // A new leader does not know its high watermark until an entry of its term commits; the fetch waits for that.
        // -1 until then: any other value would tell the client that it has reached the end.
        result.high_watermark = high_watermark.unwrap_or(-1);
        Ok((log, high_watermark.unwrap_or(wanted.offset)))
    }

    /// Where the reader's history leaves this log's, given the epoch of the last record that it read (KIP-595).
    fn divergence(&self, log: LogId, last_epoch: u32, offset: i64) -> Result<Option<(i32, i64)>, ErrorCode> {
        match self.epoch_end_of(log, last_epoch) {
            Ok(None) | Err(ErrorCode::OffsetNotAvailable) => Ok(None),
            Ok(Some((epoch, end_offset))) => {
                let same = i64::from(epoch) >= i64::from(last_epoch) && end_offset >= offset;
                Ok((!same).then_some((epoch, end_offset)))
            }
            Err(error) => Err(error),
        }
    }

    /// Whom a client should ask instead (KIP-951): with an old epoch that may be this node itself.
    fn fetch_hint(&self, error: ErrorCode, topic: &TopicRef, partition: i32) -> Option<LeaderHint> {
        match error {
            ErrorCode::NotLeaderOrFollower => self.hint(topic, partition),
            ErrorCode::FencedLeaderEpoch => {
                let known = self.leaders.get(&self.key_of(topic, partition).ok()?)?;
                Some(LeaderHint { node: known.leader.0, leader_epoch: known.term.leader_epoch().ok()? })
            }
            _ => None,
        }
    }

    pub(crate) fn read_done(&mut self, token: u64, result: Result<Vec<storage::Entry>, ReadError>) {
        match self.reads.remove(&token) {
            Some(Reading::Replica(log)) => self.replica_loaded(log, result),
            Some(Reading::Fetch { call, part }) => self.fetch_loaded(call, part, result),
            Some(Reading::Groups(log)) => self.groups_read(log, token, result),
            Some(Reading::Scrub) => self.scrubbed(result),
            None => {}
        }
    }

    fn replica_loaded(&mut self, log: LogId, result: Result<Vec<storage::Entry>, ReadError>) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        partition.loading = false;
        match result {
            Ok(entries) => {
                partition.loaded = entries.into_iter().filter_map(super::partition::to_raft).collect();
            }
            Err(error) => {
                tracing::error!(%error, log = log.0, "a replica cannot be read for a follower");
                if let ReadError::Corrupt { index, .. } = error {
                    self.rotten(log, index);
                }
                return;
            }
        }
        self.drive(log, mesh::raft::Input::Loaded);
        if let Some(partition) = self.partitions.get_mut(&log) {
            partition.loaded = Vec::new();
        }
    }

    fn fetch_loaded(&mut self, id: RequestId, part: usize, loaded: Result<Vec<storage::Entry>, ReadError>) {
        let Some(Call::Fetch(call)) = self.calls.get_mut(&id) else { return };
        call.reading -= 1;
        let limit = call.parts[part].max_bytes as usize;
        let mut rotten = None;
        let mut read = 0;
        let asked = (call.parts[part].topic.clone(), call.parts[part].partition);
        match loaded {
            Ok(entries) => read = fill(&mut call.results[part], entries, limit, true),
            // Truncated or trimmed since: the client asks again and learns why.
            Err(ReadError::Corrupt { log, index, .. }) => {
                call.results[part].error = ErrorCode::KafkaStorageError;
                rotten = Some((log, index));
            }
            Err(ReadError::Io(_)) => call.results[part].error = ErrorCode::KafkaStorageError,
            Err(_) => {}
        }
        let answered = call.reading == 0;
        if let Ok(log) = self.led(&asked.0, asked.1) {
            self.read_by_client(log, read);
        }
        if answered && let Some(Call::Fetch(mut call)) = self.calls.remove(&id) {
            let rack = std::mem::take(&mut call.rack);
            call.results.iter_mut().for_each(|result| self.refresh(&rack, result));
            self.respond(id, Response::Fetch { partitions: call.results });
        }
        if let Some((log, index)) = rotten.filter(|(log, _)| self.partitions.contains_key(log)) {
            self.rotten(log, index);
        }
    }

    fn read_by_client(&mut self, log: LogId, bytes: usize) {
        if let Some(partition) = self.partitions.get_mut(&log) {
            partition.traffic.count(bytes);
        }
    }

    /// While the disk was read the watermarks may have moved, and other answers have said so: an answer never says less than
    /// one before it.
    fn refresh(&self, rack: &str, result: &mut FetchResult) {
        let served = self.led(&result.topic, result.partition);
        let near = !rack.is_empty();
        let followed = || self.followed(&result.topic, result.partition).filter(|_| near);
        let log = match served.or_else(|error| followed().ok_or(error)) {
            Ok(log) => log,
            // Leadership or the topic is gone: what was read says nothing any more.
            Err(error) => {
                (result.error, result.high_watermark, result.log_start_offset) = (error, -1, -1);
                result.leader = self.fetch_hint(error, &result.topic, result.partition);
                return result.batches.clear();
            }
        };
        let replica = self.partitions.get(&log).and_then(|partition| partition.replica.as_ref());
        if let Some(high_watermark) = replica.and_then(|replica| replica.high_watermark()) {
            result.log_start_offset = result.log_start_offset.max(self.log_start_offset(log));
            result.high_watermark = result.high_watermark.max(high_watermark);
        }
    }

    fn watch(&mut self, id: RequestId, call: &FetchCall) {
        for wanted in &call.parts {
            let served = self.led(&wanted.topic, wanted.partition).ok();
            let served = served.or_else(|| self.followed(&wanted.topic, wanted.partition));
            if let Some(log) = served
                && let Some(partition) = self.partitions.get_mut(&log)
            {
                partition.fetches.insert(id);
            }
        }
        self.set_timer(call.deadline, Timer::Call(id));
    }

    pub(crate) fn unwatch(&mut self, id: RequestId, call: &FetchCall) {
        self.timers.remove(&(call.deadline, Timer::Call(id)));
        for wanted in &call.parts {
            let key = self.key_of(&wanted.topic, wanted.partition);
            if let Some(log) = key.ok().and_then(|key| self.by_key.get(&key))
                && let Some(partition) = self.partitions.get_mut(log)
            {
                partition.fetches.remove(&id);
            }
        }
    }

    /// A partition moved: those who wait for it look again.
    pub(crate) fn wake_fetches(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        for id in std::mem::take(&mut partition.fetches) {
            self.fetch_due(id);
        }
    }

    pub(crate) fn fetch_due(&mut self, id: RequestId) {
        match self.calls.remove(&id) {
            Some(Call::Fetch(call)) if call.reading > 0 => _ = self.calls.insert(id, Call::Fetch(call)),
            Some(Call::Fetch(call)) => {
                self.unwatch(id, &call);
                self.try_fetch(id, call);
            }
            Some(other) => _ = self.calls.insert(id, other),
            None => {}
        }
    }
}

/// A client's leader epoch against the leader's (KIP-320); -1 asks for no check.
pub(crate) fn check_epoch(client: i32, term: u32) -> Result<(), ErrorCode> {
    match u32::try_from(client) {
        Err(_) => Ok(()),
        Ok(epoch) if epoch < term => Err(ErrorCode::FencedLeaderEpoch),
        Ok(epoch) if epoch > term => Err(ErrorCode::UnknownLeaderEpoch),
        Ok(_) => Ok(()),
    }
}

/// Puts committed record batches into a result: up to `limit` bytes, but at least one batch when `first`.
fn fill(result: &mut FetchResult, entries: Vec<storage::Entry>, limit: usize, first: bool) -> usize {
    let mut bytes = 0;
    for entry in entries {
        let end = entry.base_offset + i64::from(entry.record_count);
        if entry.kind != EntryKind::Records.to_u8() {
            continue;
        }
        let fits = bytes + entry.payload.len() <= limit || (first && bytes == 0);
        if end > result.high_watermark || !fits {
            break;
        }
        bytes += entry.payload.len();
        let leader_epoch = i32::try_from(entry.term).unwrap_or(-1);
        result.batches.push(StoredBatch {
            base_offset: entry.base_offset,
            leader_epoch,
            bytes: entry.payload,
        });
    }
    bytes
}

fn read_error(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::BelowStart | ReadError::BeyondEnd => ErrorCode::OffsetOutOfRange,
        ReadError::UnknownLog(_) => ErrorCode::NotLeaderOrFollower,
        ReadError::Corrupt { .. } | ReadError::Io(_) => ErrorCode::KafkaStorageError,
    }
}

pub(crate) fn empty(wanted: &FetchPartition) -> FetchResult {
    let topic_id = match &wanted.topic {
        TopicRef::Id(id) => *id,
        TopicRef::Name(_) => TopicId::default(),
    };
    FetchResult {
        topic: wanted.topic.clone(),
        topic_id,
        partition: wanted.partition,
        error: ErrorCode::None,
        high_watermark: -1,
        log_start_offset: -1,
        batches: Vec::new(),
        diverging: None,
        preferred_read_replica: None,
        leader: None,
    }
}
