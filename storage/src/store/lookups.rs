//! Offsets, indexes, timestamps, and what retention may remove.
//!
//! All answer at once. Details of the active segment and recently used ones are in memory; others cost one small read.

use super::Store;
use super::log::{Log, Place, Run};
use super::read::{Slots, holder};
use crate::disk::Disk;
use crate::format::footer::Slot;
use crate::types::{LogId, LogStart, ReadError};

impl<D: Disk> Store<D> {
    /// Offset after the entry at `index`, `start.next_offset` at the log start; `None` outside the log or when its details
    /// cannot be read.
    #[must_use]
    pub fn end_offset(&self, log: LogId, index: u64) -> Option<i64> {
        let state = self.logs.get(&log)?;
        let control = &state.control;
        if index == control.start.index {
            return Some(control.start.next_offset);
        }
        if index == control.last_index {
            return Some(control.next_offset);
        }
        if let Some(gap) = control.gap_at(index) {
            let (offset, span) = gap.span(index);
            return Some(offset.saturating_add(i64::from(span)));
        }
        self.slot_at(log, state, index).map(|slot| slot.end_offset())
    }

    /// Frame bytes of the entries above `index`; an estimate where that lies inside of a run. 0 for an unknown log.
    #[must_use]
    pub fn bytes_after(&self, log: LogId, index: u64) -> u64 {
        let Some(state) = self.logs.get(&log) else { return 0 };
        let of_run = |run: &Run| {
            let above = run.end_index().saturating_sub(index.saturating_add(1).max(run.first_index));
            run.bytes / u64::from(run.count.max(1)) * above
        };
        let first = state.runs.partition_point(|run| run.end_index() <= index.saturating_add(1));
        let stored: u64 = state.runs[first..].iter().map(of_run).sum();
        let skip = index.saturating_add(1).saturating_sub(state.staged_first());
        let staged = state.staged.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX));
        stored + staged.map(|slot| u64::from(slot.frame_len())).sum::<u64>()
    }

    /// Term of the entry at `index`, or of the log start; `None` outside the log.
    #[must_use]
    pub fn term_at(&self, log: LogId, index: u64) -> Option<u32> {
        self.logs.get(&log)?.control.term_at(index)
    }

    /// Index of the entry that holds `offset`; `None` outside the log or when its details cannot be read.
    #[must_use]
    pub fn index_at(&self, log: LogId, offset: i64) -> Option<u64> {
        let state = self.logs.get(&log)?;
        if offset < state.control.start.next_offset || offset >= state.control.next_offset {
            return None;
        }
        if state.staged.front().is_some_and(|first| first.offset <= offset) {
            let after = state.staged.partition_point(|slot| slot.end_offset() <= offset);
            return Some(state.staged_first() + after as u64);
        }
        let run = state.runs.get(state.runs.partition_point(|run| run.next_offset <= offset))?;
        holder(&self.slots(log, state, run).ok()?, run, offset)
    }

    /// The first entry above index `after` with a timestamp of at least `timestamp_ms`: index and base offset.
    #[must_use]
    pub fn first_at_or_after(&self, log: LogId, after: u64, timestamp_ms: i64) -> Option<(u64, i64)> {
        let state = self.logs.get(&log)?;
        let possible = |run: &&Run| run.max_timestamp >= timestamp_ms && run.end_index() > after + 1;
        for run in state.runs.iter().filter(possible) {
            let slots = self.slots(log, state, run).ok()?;
            let found = (run.first_index.max(after + 1)..run.end_index())
                .filter_map(|index| Some((index, slots.at(index)?)))
                .find(|(_, slot)| slot.timestamp_ms >= timestamp_ms);
            if let Some((index, slot)) = found {
                return Some((index, slot.offset));
            }
        }
        let first = state.staged_first();
        let skip = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut staged = state.staged.iter().enumerate().skip(skip);
        let (ordinal, _) = staged.find(|(_, slot)| slot.timestamp_ms >= timestamp_ms)?;
        Some((state.staged_first() + ordinal as u64, state.staged.get(ordinal)?.offset))
    }

    /// The largest timestamp and the base offset of the first entry that has it; `None` when no entry has one.
    #[must_use]
    pub fn max_timestamp(&self, log: LogId) -> Option<(i64, i64)> {
        let state = self.logs.get(&log)?;
        let mut best: Option<(i64, i64)> = None;
        let better =
            |best: &Option<(i64, i64)>, timestamp: i64| timestamp > best.map_or(-1, |(found, _)| found);
        let mut runs: Vec<&Run> = state.runs.iter().collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.max_timestamp));
        for run in runs {
            if !better(&best, run.max_timestamp) && best.is_none_or(|(found, _)| run.max_timestamp < found) {
                break;
            }
            let slots = self.slots(log, state, run).ok()?;
            for slot in (run.first_index..run.end_index()).filter_map(|index| slots.at(index)) {
                let earlier =
                    best.is_some_and(|(found, offset)| slot.timestamp_ms == found && slot.offset < offset);
                if better(&best, slot.timestamp_ms) || earlier {
                    best = Some((slot.timestamp_ms, slot.offset));
                }
            }
        }
        for slot in &state.staged {
            if better(&best, slot.timestamp_ms) {
                best = Some((slot.timestamp_ms, slot.offset));
            }
        }
        best
    }

    /// The log start that retention asks for: entries go from the front while they are older than `older_than_ms` (all of them:
    /// the first newer one ends it), or while at least `bytes_max` bytes remain; never beyond index `at_most`. Entries without a time, which
    /// hold no records, go with those after them: alone they are not worth another entry that says where the log starts, which would be one
    /// of them again. `None` when nothing is to go.
    #[must_use]
    pub fn retention_point(
        &self,
        log: LogId,
        bytes_max: Option<u64>,
        older_than_ms: Option<i64>,
        at_most: u64,
    ) -> Option<LogStart> {
        let state = self.logs.get(&log)?;
        let mut excess = bytes_max.map_or(0, |max| state.bytes.saturating_sub(max));
        let timeless = |timestamp: i64| timestamp < 0;
        let old =
            |timestamp: i64| timeless(timestamp) || older_than_ms.is_some_and(|bound| timestamp < bound);
        let mut point = None;
        for run in &state.runs {
            let whole = run.end_index() <= at_most.saturating_add(1);
            if whole && (old(run.max_timestamp) || run.bytes <= excess) {
                excess = excess.saturating_sub(run.bytes);
                if !timeless(run.max_timestamp) {
                    point = Some(run.end_index() - 1);
                }
                continue;
            }
            let slots = self.slots(log, state, run).ok()?;
            let mut all = true;
            for index in run.first_index..run.end_index() {
                let slot = slots.at(index)?;
                let bytes = u64::from(slot.frame_len());
                if index > at_most || !(old(slot.timestamp_ms) || bytes <= excess) {
                    all = false;
                    break;
                }
                excess = excess.saturating_sub(bytes);
                if !timeless(slot.timestamp_ms) {
                    point = Some(index);
                }
            }
            if !all {
                break;
            }
        }
        let index = point?;
        Some(LogStart {
            index,
            term: state.control.term_at(index)?,
            next_offset: self.end_offset(log, index)?,
        })
    }

    pub(crate) fn slot_at(&self, log: LogId, state: &Log, index: u64) -> Option<Slot> {
        if let Some(slot) = state.staged_at(index) {
            return Some(*slot);
        }
        let run = state.run_at(index)?;
        self.slots(log, state, run).ok()?.at(index)
    }

    /// Details of a run; may read the disk.
    pub(crate) fn slots<'a>(&self, log: LogId, state: &'a Log, run: &Run) -> Result<Slots<'a>, ReadError> {
        let corrupt =
            || ReadError::Corrupt { log, index: run.first_index, segment: run.segment, position: 0 };
        match run.place {
            Place::Open(ordinal) => state.open.get(ordinal).map(Slots::Open).ok_or_else(corrupt),
            _ => {
                let segment = self.segments.get(&run.segment).and_then(|segment| segment.reference());
                self.lookup.fetch(log, run, &segment.ok_or_else(corrupt)?).map(Slots::Packed)
            }
        }
    }
}
