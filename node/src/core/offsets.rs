//! ListOffsets and OffsetForLeaderEpoch: questions about where a partition's offsets begin and end.

use storage::{Disk, LogId, Read, ReadFrom};

use super::batch::first_record_at;
use super::error::ErrorCode;
use super::fetch::check_epoch;
use super::node::Node;
use super::request::{EpochPartition, EpochResult, ListOffsetsPartition, ListOffsetsResult};

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
        let state = self.store.log(log).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let found = match part.timestamp {
            LATEST => Some((-1, high_watermark)),
            EARLIEST | EARLIEST_LOCAL => Some((-1, state.start.next_offset)),
            MAX_TIMESTAMP => self.store.max_timestamp(log).filter(|(_, offset)| *offset < high_watermark),
            at if at >= 0 => self.first_at(log, at).filter(|(_, offset)| *offset < high_watermark),
            _ => return Err(ErrorCode::UnsupportedVersion),
        };
        let Some((timestamp, offset)) = found else { return Ok(()) };
        (result.timestamp, result.offset) = (timestamp, offset);
        result.leader_epoch = epoch_of(state.term_starts, offset);
        Ok(())
    }

    /// The first record at or after a time. The one batch that holds it is read at once: such questions are rare.
    fn first_at(&self, log: LogId, at: i64) -> Option<(i64, i64)> {
        let (index, base_offset) = self.store.first_at_or_after(log, at)?;
        let entries = match self.store.read(log, ReadFrom::Index(index), 1) {
            Ok(Read::Ready(entries)) => entries,
            Ok(Read::Disk(job)) => job.run().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let found = entries.first().and_then(|entry| first_record_at(&entry.payload, at));
        Some(found.map_or((at, base_offset), |(delta, timestamp)| (timestamp, base_offset + delta)))
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
        let state = self.store.log(log).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let known = state.term_starts.partition_point(|(term, ..)| *term <= asked);
        let Some((term, ..)) = known.checked_sub(1).and_then(|at| state.term_starts.get(at)) else {
            return Ok(());
        };
        result.leader_epoch = i32::try_from(*term).unwrap_or(-1);
        result.end_offset = match state.term_starts.get(known) {
            Some((_, _, first_offset)) => *first_offset,
            None if asked > replica.term().0 => -1,
            None => replica.high_watermark().ok_or(ErrorCode::OffsetNotAvailable)?,
        };
        Ok(())
    }
}

fn epoch_of(term_starts: &[(u32, u64, i64)], offset: i64) -> i32 {
    let after = term_starts.partition_point(|(_, _, first_offset)| *first_offset <= offset);
    let term = after.checked_sub(1).and_then(|at| term_starts.get(at)).map(|(term, ..)| *term);
    term.and_then(|term| i32::try_from(term).ok()).unwrap_or(-1)
}
