//! ListOffsets and OffsetForLeaderEpoch: questions about where a partition's offsets begin and end.

use storage::{Disk, LogId, Read, ReadFrom};

use super::batch::{first_record_at, is_compressed};
use super::error::ErrorCode;
use super::fetch::check_epoch;
use super::node::Node;
use super::request::{
    EpochPartition, EpochResult, ListOffsetsPartition, ListOffsetsResult, Search, StoredBatch,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;

impl<D: Disk> Node<D> {
    pub(crate) fn list_offsets(&self, part: ListOffsetsPartition) -> ListOffsetsResult {
        let mut result = ListOffsetsResult {
            topic: part.topic.clone(),
            partition: part.partition,
            error: ErrorCode::None,
            timestamp: -1,
            offset: -1,
            leader_epoch: -1,
            search: None,
        };
        if let Err(error) = self.find_offset(&part, &mut result) {
            result.error = error;
        }
        result
    }

    fn find_offset(
        &self,
        part: &ListOffsetsPartition,
        result: &mut ListOffsetsResult,
    ) -> Result<(), ErrorCode> {
        let log = self.led(&part.topic, part.partition)?;
        let replica = self.partitions.get(&log).and_then(|partition| partition.replica.as_ref());
        let replica = replica.ok_or(ErrorCode::NotLeaderOrFollower)?;
        check_epoch(part.leader_epoch, replica.term().0)?;
        // KIP-207: a client that is told too small a value here would reset to it.
        let high_watermark = replica.high_watermark().ok_or(ErrorCode::OffsetNotAvailable)?;
        let state = self.workers.log(log).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let found = match part.timestamp {
            LATEST => Some((-1, high_watermark, None)),
            EARLIEST | EARLIEST_LOCAL => Some((-1, self.log_start_offset(log), None)),
            MAX_TIMESTAMP => self.newest(log, high_watermark),
            at if at >= 0 => self.first_at(log, 0, at, high_watermark),
            _ => return Err(ErrorCode::UnsupportedVersion),
        };
        let Some((timestamp, offset, search)) = found else { return Ok(()) };
        (result.timestamp, result.offset, result.search) = (timestamp, offset, search);
        result.leader_epoch = epoch_of(state.term_starts, offset);
        Ok(())
    }

    /// The first record that has the log's largest timestamp.
    fn newest(&self, log: LogId, high_watermark: i64) -> Option<Found> {
        let (at, base_offset) = self.workers.of(log).max_timestamp(log)?;
        let index = self.workers.of(log).index_at(log, base_offset)?;
        self.first_at(log, index.saturating_sub(1), at, high_watermark)
    }

    /// The first record at or after a time in the entries above index `after`. The one batch that holds it is read at once:
    /// such questions are rare. A compressed one is left to whoever may unpack it.
    fn first_at(&self, log: LogId, mut after: u64, at: i64, high_watermark: i64) -> Option<Found> {
        let from = self.log_start_offset(log);
        let mut candidates: Vec<(i64, Option<StoredBatch>)> = Vec::new();
        // The first batch may have its only such record below the log start, but no batch after it.
        while candidates.len() < 2 {
            let Some((index, base_offset)) = self.workers.of(log).first_at_or_after(log, after, at) else {
                break;
            };
            if base_offset >= high_watermark {
                break;
            }
            let entry = self.entry_at(log, index);
            let least = (from - base_offset).max(0);
            let packed = entry.as_ref().is_some_and(|entry| is_compressed(&entry.payload));
            let found = entry.as_ref().and_then(|entry| first_record_at(&entry.payload, at, least));
            if let Some((delta, timestamp)) = found.filter(|_| candidates.iter().all(|(_, b)| b.is_none())) {
                return Some((timestamp, base_offset + delta, None));
            }
            let batch = entry.filter(|_| packed || found.is_some()).map(|entry| StoredBatch {
                base_offset,
                leader_epoch: i32::try_from(entry.term).unwrap_or(-1),
                bytes: entry.payload,
            });
            candidates.push((base_offset, batch));
            if base_offset >= from && (packed || found.is_some()) {
                break;
            }
            after = index;
        }
        let (first, _) = candidates.first()?;
        let offset = (*first).max(from);
        let batches: Vec<StoredBatch> = candidates.into_iter().filter_map(|(_, batch)| batch).collect();
        let search = (!batches.is_empty()).then_some(Search { at_ms: at, from, batches });
        Some((at, offset, search))
    }

    fn entry_at(&self, log: LogId, index: u64) -> Option<storage::Entry> {
        let entries = match self.workers.of(log).read(log, ReadFrom::Index(index), 1) {
            Ok(Read::Ready(entries)) => entries,
            Ok(Read::Disk(job)) => job.run().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        entries.into_iter().next()
    }

    pub(crate) fn epoch_end(&self, part: EpochPartition) -> EpochResult {
        let mut result = EpochResult {
            topic: part.topic.clone(),
            partition: part.partition,
            error: ErrorCode::None,
            leader_epoch: -1,
            end_offset: -1,
        };
        if let Err(error) = self.find_epoch_end(&part, &mut result) {
            result.error = error;
        }
        result
    }

    /// The largest epoch at or below the asked one, and where the next one starts (KIP-101).
    fn find_epoch_end(&self, part: &EpochPartition, result: &mut EpochResult) -> Result<(), ErrorCode> {
        let log = self.led(&part.topic, part.partition)?;
        let replica = self.partitions.get(&log).and_then(|partition| partition.replica.as_ref());
        let replica = replica.ok_or(ErrorCode::NotLeaderOrFollower)?;
        check_epoch(part.current_leader_epoch, replica.term().0)?;
        let Ok(asked) = u32::try_from(part.leader_epoch) else { return Ok(()) };
        if let Some((epoch, end_offset)) = self.epoch_end_of(log, asked)? {
            (result.leader_epoch, result.end_offset) = (epoch, end_offset);
        }
        Ok(())
    }

    /// The largest epoch of a log led here at or below `asked`, and where the next one starts. Below all that the log has it is
    /// the asked one itself, ending where the log's first begins; `None` above all of them.
    pub(crate) fn epoch_end_of(&self, log: LogId, asked: u32) -> Result<Option<(i32, i64)>, ErrorCode> {
        let replica = self.partitions.get(&log).and_then(|partition| partition.replica.as_ref());
        let replica = replica.ok_or(ErrorCode::NotLeaderOrFollower)?;
        let state = self.workers.log(log).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let known = state.term_starts.partition_point(|(term, ..)| *term <= asked);
        let floor = known.checked_sub(1).and_then(|at| state.term_starts.get(at)).map(|(term, ..)| *term);
        let epoch = |term: u32| i32::try_from(term).unwrap_or(-1);
        match (floor, state.term_starts.get(known)) {
            (floor, Some((_, _, end_offset))) => Ok(Some((epoch(floor.unwrap_or(asked)), *end_offset))),
            (Some(newest), None) if newest == asked => {
                let end_offset = replica.high_watermark().ok_or(ErrorCode::OffsetNotAvailable)?;
                Ok(Some((epoch(newest), end_offset)))
            }
            (_, None) => Ok(None),
        }
    }
}

/// Timestamp and offset of a record, and where it is to be searched if that is not known yet.
type Found = (i64, i64, Option<Search>);

fn epoch_of(term_starts: &[(u32, u64, i64)], offset: i64) -> i32 {
    let after = term_starts.partition_point(|(_, _, first_offset)| *first_offset <= offset);
    let term = after.checked_sub(1).and_then(|at| term_starts.get(at)).map(|(term, ..)| *term);
    term.and_then(|term| i32::try_from(term).ok()).unwrap_or(-1)
}
