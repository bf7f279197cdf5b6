//! What is in memory of one log: control state, runs of entries, staged entries.

use std::collections::VecDeque;

use crate::format::control::Control;
use crate::format::footer::{OpenRun, PackedRun, Slot};
use crate::index::RunKey;
use crate::types::LogId;

/// Where the details of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In memory, at this place of [`Log::open`]: the segment is active.
    Open(usize),
    /// In the footer, at this position of the segment.
    Footer(u32),
    /// In memory of the segment, at this place: it has no footer.
    Pinned(usize),
}

/// Live entries of a log with dense indexes, a slice of one run of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) segment: u64,
    pub(crate) first_index: u64,
    pub(crate) count: u32,
    pub(crate) first_offset: i64,
    pub(crate) next_offset: i64,
    /// At least the largest of the live ones.
    pub(crate) max_timestamp: i64,
    /// Frame bytes of the live ones; an estimate once the slice is shorter than the run.
    pub(crate) bytes: u64,
    /// First entry of the whole run.
    pub(crate) key_index: u64,
    pub(crate) key_offset: i64,
    pub(crate) key_sequence: u64,
    /// Entries of the whole run; unknown while it is open.
    pub(crate) packed_count: u32,
    pub(crate) place: Place,
}

impl Run {
    /// Index after the last live entry.
    pub(crate) fn end_index(&self) -> u64 {
        self.first_index + u64::from(self.count)
    }

    pub(crate) fn key(&self, log: LogId) -> RunKey {
        RunKey {
            log,
            first_offset: self.key_offset,
            first_index: self.key_index,
            segment: self.segment,
            first_sequence: self.key_sequence,
        }
    }

    /// A run of one entry that was just placed as the last one of an open run.
    pub(crate) fn of_last(open: &OpenRun, segment: u64, ordinal: usize, index: u64, slot: &Slot) -> Self {
        let first = open.slots.first().unwrap_or(slot);
        Self {
            segment,
            first_index: index,
            count: 1,
            first_offset: slot.offset,
            next_offset: slot.end_offset(),
            max_timestamp: slot.timestamp_ms,
            bytes: u64::from(slot.frame_len()),
            key_index: open.first_index,
            key_offset: first.offset,
            key_sequence: first.sequence,
            packed_count: 0,
            place: Place::Open(ordinal),
        }
    }

    /// The slice `[first, first + count)` of a packed run.
    pub(crate) fn slice(
        packed: &PackedRun,
        segment: u64,
        place: Place,
        first: u64,
        count: u32,
    ) -> Option<Self> {
        let skip = u32::try_from(first.checked_sub(packed.first_index())?).ok()?;
        let whole = skip == 0 && count == packed.count();
        let slots = (skip..skip.checked_add(count)?).map(|ordinal| packed.slot(ordinal));
        let (bytes, max_timestamp) = if whole {
            (packed.frame_bytes(), packed.max_timestamp())
        } else {
            slots.flatten().fold((0, i64::MIN), |(bytes, newest), slot| {
                (bytes + u64::from(slot.frame_len()), newest.max(slot.timestamp_ms))
            })
        };
        Some(Self {
            segment,
            first_index: first,
            count,
            first_offset: packed.slot(skip)?.offset,
            next_offset: packed.slot(skip.checked_add(count)?.checked_sub(1)?)?.end_offset(),
            max_timestamp,
            bytes,
            key_index: packed.first_index(),
            key_offset: packed.first_offset(),
            key_sequence: packed.first_sequence(),
            packed_count: packed.count(),
            place,
        })
    }

    /// What of the run lies below `first`, and from `end` on.
    fn without(mut self, first: (u64, i64), end: (u64, i64)) -> (Option<Self>, Option<Self>) {
        let entries = |from: u64, to: u64| u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        let mut right = self.clone();
        right.first_index = self.first_index.max(end.0);
        right.count = entries(right.first_index, self.end_index());
        right.bytes = self.bytes / u64::from(self.count.max(1)) * u64::from(right.count);
        if right.first_index == end.0 {
            right.first_offset = end.1;
        }
        let below = entries(self.first_index, first.0.min(self.end_index()));
        if first.0 < self.end_index() {
            self.next_offset = first.1;
        }
        self.shrink(below);
        (Some(self).filter(|run| run.count > 0), Some(right).filter(|run| run.count > 0))
    }

    /// Keeps `count` entries; returns the bytes given up.
    fn shrink(&mut self, count: u32) -> u64 {
        let kept = self.bytes / u64::from(self.count.max(1)) * u64::from(count);
        let given = self.bytes - kept;
        self.bytes = kept;
        self.count = count;
        given
    }
}

/// A log in memory.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) control: Control,
    pub(crate) synced_index: u64,
    /// Raised by whatever kills entries at the end, so that cached ones are not found again.
    pub(crate) generation: u32,
    /// Frame bytes of all live entries.
    pub(crate) bytes: u64,
    /// Placed entries in index order.
    pub(crate) runs: Vec<Run>,
    /// Details of entries in the active segment, dead ones included.
    pub(crate) open: Vec<OpenRun>,
    /// Live entries that have no place yet: the end of the log.
    pub(crate) staged: VecDeque<Slot>,
}

/// Bytes that a segment lost.
pub(crate) struct Freed {
    pub(crate) segment: u64,
    pub(crate) bytes: u64,
}

impl Log {
    pub(crate) fn new(control: Control) -> Self {
        Self { control, ..Self::default() }
    }

    /// Index of the first staged entry, or of the next one.
    pub(crate) fn staged_first(&self) -> u64 {
        self.control.last_index + 1 - self.staged.len() as u64
    }

    /// The staged entry at `index`.
    pub(crate) fn staged_at(&self, index: u64) -> Option<&Slot> {
        let ordinal = index.checked_sub(self.staged_first())?;
        self.staged.get(usize::try_from(ordinal).ok()?)
    }

    /// The run that holds `index`.
    pub(crate) fn run_at(&self, index: u64) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.first_index <= index);
        let run = self.runs.get(after.checked_sub(1)?)?;
        (index < run.end_index()).then_some(run)
    }

    /// Gives an entry its place. It becomes readable there if it is still the oldest staged one.
    pub(crate) fn place(&mut self, segment: u64, index: u64, slot: Slot, closed: bool) -> Option<u64> {
        let ordinal = match self.open.last_mut() {
            Some(run) if run.takes(index, &slot) => {
                run.slots.push(slot);
                self.open.len() - 1
            }
            _ => {
                self.open.push(OpenRun { first_index: index, slots: vec![slot], closed });
                self.open.len() - 1
            }
        };
        if self.staged.front().is_none_or(|staged| staged.sequence != slot.sequence) {
            return None;
        }
        self.staged.pop_front();
        let open = &self.open[ordinal];
        match self.runs.last_mut() {
            Some(run) if run.place == Place::Open(ordinal) && run.end_index() == index => {
                run.count += 1;
                run.next_offset = slot.end_offset();
                run.max_timestamp = run.max_timestamp.max(slot.timestamp_ms);
                run.bytes += u64::from(slot.frame_len());
            }
            _ => self.runs.push(Run::of_last(open, segment, ordinal, index, &slot)),
        }
        Some(u64::from(slot.frame_len()))
    }

    /// Removes entries at and above `from` from runs and staged ones; the one before ends at `next_offset`. To be called
    /// before the control state changes.
    pub(crate) fn cut_end(&mut self, from: u64, next_offset: i64, freed: &mut Vec<Freed>) {
        let staged_first = self.staged_first();
        let kept = usize::try_from(from.saturating_sub(staged_first)).unwrap_or(usize::MAX);
        while self.staged.len() > kept {
            let gone = self.staged.pop_back().map_or(0, |slot| slot.frame_len());
            self.bytes -= u64::from(gone);
        }
        while let Some(run) = self.runs.last_mut().filter(|run| run.end_index() > from) {
            let keep = u32::try_from(from.saturating_sub(run.first_index)).unwrap_or(u32::MAX);
            let bytes = run.shrink(keep);
            freed.push(Freed { segment: run.segment, bytes });
            self.bytes -= bytes;
            run.next_offset = next_offset;
            if keep == 0 {
                self.runs.pop();
            }
        }
        self.synced_index = self.synced_index.min(from.saturating_sub(1));
        self.generation = self.generation.wrapping_add(1);
    }

    /// Removes the placed entries from one index to another, exclusive, each given with its offset.
    pub(crate) fn cut_middle(&mut self, first: (u64, i64), end: (u64, i64), freed: &mut Vec<Freed>) {
        let from = self.runs.partition_point(|run| run.end_index() <= first.0);
        let to = self.runs.partition_point(|run| run.first_index < end.0);
        let mut kept = Vec::new();
        for run in &self.runs[from..to] {
            let (left, right) = run.clone().without(first, end);
            let bytes = run.bytes - left.iter().chain(&right).map(|run| run.bytes).sum::<u64>();
            self.bytes -= bytes;
            freed.push(Freed { segment: run.segment, bytes });
            kept.extend(left.into_iter().chain(right));
        }
        self.runs.splice(from..to, kept);
    }

    /// Removes entries up to and including `index`; the next one starts at `next_offset`. To be called before the control
    /// state changes.
    pub(crate) fn cut_front(&mut self, index: u64, next_offset: i64, freed: &mut Vec<Freed>) {
        let gone = self.runs.partition_point(|run| run.end_index() <= index + 1);
        for run in self.runs.drain(..gone) {
            freed.push(Freed { segment: run.segment, bytes: run.bytes });
            self.bytes -= run.bytes;
        }
        if let Some(run) = self.runs.first_mut().filter(|run| run.first_index <= index) {
            let keep = u32::try_from(run.end_index() - index - 1).unwrap_or(u32::MAX);
            let bytes = run.shrink(keep);
            run.first_index = index + 1;
            run.first_offset = next_offset;
            freed.push(Freed { segment: run.segment, bytes });
            self.bytes -= bytes;
        }
        let staged_first = self.staged_first();
        for _ in staged_first..=index {
            let gone = self.staged.pop_front().map_or(0, |slot| slot.frame_len());
            self.bytes -= u64::from(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_log_is_small() {
        let bytes = std::mem::size_of::<Log>()
            + std::mem::size_of::<Run>()
            + std::mem::size_of::<crate::types::TermStart>();
        assert!(bytes < 600, "{bytes} bytes");
    }
}
