//! Reads: from memory at once, else a job for another thread.

use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::log::{Log, Place, Run};
use super::lookup::{Lookup, SegmentRef, Source, Wanted, read_frames};
use crate::disk::Disk;
use crate::format::control::{Control, Gap};
use crate::format::footer::{OpenRun, PackedRun, Slot};
use crate::format::frame::Frame;
use crate::types::{Entry, LogId, ReadError, ReadFrom};

/// Answer to a read.
pub enum Read<D: Disk> {
    /// The entries, from memory.
    Ready(Vec<Entry>),
    /// Must be run, on any thread.
    Disk(ReadJob<D>),
}

/// A read that needs the disk. Dropping it cancels it.
pub struct ReadJob<D: Disk> {
    lookup: Arc<Lookup>,
    log: LogId,
    from: ReadFrom,
    /// Last index to read, inclusive.
    last: u64,
    bytes_max: usize,
    source: Source,
    patient: bool,
    parts: Vec<Part<D>>,
}

/// What an entry without content weighs in a read.
const STAND_IN_BYTES: usize = 64;

struct Part<D: Disk> {
    run: Run,
    segment: SegmentRef<D::File>,
    /// Details of an open run, from the run's first live entry.
    slots: Option<Vec<Slot>>,
}

/// Details of a run, wherever they are.
pub(crate) enum Slots<'a> {
    Open(&'a OpenRun),
    Packed(PackedRun),
}

impl Slots<'_> {
    /// The entry at `index`.
    pub(crate) fn at(&self, index: u64) -> Option<Slot> {
        match self {
            Self::Open(run) => {
                run.slots.get(usize::try_from(index.checked_sub(run.first_index)?).ok()?).copied()
            }
            Self::Packed(run) => run.slot(u32::try_from(index.checked_sub(run.first_index())?).ok()?),
        }
    }
}

impl<D: Disk> ReadJob<D> {
    /// Whether it should go behind others: it reads the medium to see what is there, or was [called so](Self::patient).
    #[must_use]
    pub fn is_patient(&self) -> bool {
        self.patient || self.source == Source::Medium
    }

    /// The same read for somebody who can wait.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// Reads. Every frame is checked for log, index, write sequence and CRC.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] or [`ReadError::Io`].
    pub fn run(self) -> Result<Vec<Entry>, ReadError> {
        let wanted = self.wanted()?;
        Ok(self.frames(&wanted)?.into_iter().map(entry_of).collect())
    }

    /// The frames of these entries.
    pub(super) fn frames(&self, wanted: &[Wanted]) -> Result<Vec<Frame>, ReadError> {
        let segments: Vec<_> = self.parts.iter().map(|part| part.segment.clone()).collect();
        read_frames(&self.lookup, self.log, &segments, wanted, self.source)
    }

    /// Reads no further than that index; the last one that is read now, `None` when there is none.
    pub(super) fn limit_to(&mut self, last: u64) -> Option<u64> {
        self.last = self.last.min(last);
        self.parts.retain(|part| part.run.first_index <= self.last);
        self.parts.last().map(|part| part.run.end_index().saturating_sub(1).min(self.last))
    }

    /// Reads no further than the first runs that are so; the last index of these, `None` when the first is not so.
    pub(super) fn limit_while(&mut self, so: impl Fn(&Run) -> bool) -> Option<u64> {
        self.parts.truncate(self.parts.iter().take_while(|part| so(&part.run)).count());
        self.parts.last().map(|part| part.run.end_index().saturating_sub(1))
    }

    /// The run of a wanted entry.
    pub(super) fn run_of(&self, wanted: &Wanted) -> &Run {
        &self.parts[wanted.segment].run
    }

    /// Where the entries to be read are.
    pub(super) fn wanted(&self) -> Result<Vec<Wanted>, ReadError> {
        let passes = self.source == Source::Medium || matches!(self.from, ReadFrom::Offset(_));
        let mut wanted = Vec::new();
        let mut total = 0;
        'parts: for (number, part) in self.parts.iter().enumerate() {
            let packed = match part.slots {
                Some(_) => None,
                None if self.source == Source::Medium => {
                    Some(self.lookup.find(self.log, &part.run, &part.segment)?)
                }
                None => Some(self.lookup.fetch(self.log, &part.run, &part.segment)?),
            };
            for index in part.run.first_index..part.run.end_index().min(self.last + 1) {
                let slot = match (&part.slots, &packed) {
                    (Some(slots), _) => slots
                        .get(usize::try_from(index - part.run.first_index).unwrap_or(usize::MAX))
                        .copied(),
                    (None, Some(packed)) => Slots::Packed(packed.clone()).at(index),
                    (None, None) => None,
                };
                let Some(slot) = slot else { return Err(self.corrupt(part, index)) };
                let before = match self.from {
                    ReadFrom::Index(from) => index < from,
                    ReadFrom::Offset(from) => slot.end_offset() <= from,
                };
                if before || (passes && slot.is_emptied()) {
                    continue;
                }
                total += usize::try_from(slot.body_len).unwrap_or(usize::MAX);
                if total > self.bytes_max && !wanted.is_empty() {
                    break 'parts;
                }
                wanted.push(Wanted {
                    segment: number,
                    index,
                    sequence: slot.sequence,
                    position: slot.position,
                    body_len: slot.body_len,
                });
            }
        }
        Ok(wanted)
    }

    fn corrupt(&self, part: &Part<D>, index: u64) -> ReadError {
        ReadError::Corrupt { log: self.log, index, segment: part.run.segment, position: 0 }
    }
}

/// The entry of an entry frame.
pub(crate) fn entry_of(frame: Frame) -> Entry {
    let header = frame.header;
    Entry {
        term: header.term,
        index: header.index,
        base_offset: header.base_offset,
        record_count: header.record_count,
        kind: header.entry_kind,
        timestamp_ms: header.timestamp_ms,
        payload: frame.body,
    }
}

impl<D: Disk> Store<D> {
    /// Reads entries from `from` on, up to `bytes_max` bytes of payload but at least one entry. An offset inside a batch
    /// gives the whole batch. Where compaction took entries a read by index gives entries without content in their place, and one by offset goes
    /// on behind them: it may find nothing. What is staged, in a commit or recent comes at once; the rest is a job.
    ///
    /// # Errors
    /// [`ReadError::UnknownLog`], [`ReadError::BelowStart`], [`ReadError::BeyondEnd`].
    pub fn read(&self, log: LogId, from: ReadFrom, bytes_max: usize) -> Result<Read<D>, ReadError> {
        let state = self.logs.get(&log).ok_or(ReadError::UnknownLog(log))?;
        let control = &state.control;
        let (below, beyond) = match from {
            ReadFrom::Index(index) => (index <= control.start.index, index > control.last_index),
            ReadFrom::Offset(offset) => (offset < control.start.next_offset, offset >= control.next_offset),
        };
        if below || beyond {
            return Err(if below { ReadError::BelowStart } else { ReadError::BeyondEnd });
        }
        let index = match from {
            ReadFrom::Index(index) => {
                if let Some(gap) = control.gap_at(index) {
                    return Ok(Read::Ready(stand_ins(control, gap, index, bytes_max)));
                }
                Some(index)
            }
            ReadFrom::Offset(offset) => self.index_in_memory(log, state, offset),
        };
        if let Some(index) = index {
            let passes = matches!(from, ReadFrom::Offset(_));
            let entries = self.entries_in_memory(log, state, index, bytes_max, passes);
            if !entries.is_empty() {
                self.count_read(true);
                return Ok(Read::Ready(entries));
            }
        }
        self.count_read(false);
        Ok(Read::Disk(self.read_job(log, state, from, bytes_max, Source::Any)))
    }

    /// As [`read`](Self::read), of what is synced and from the medium alone: to see whether what was written is still there. No cache
    /// answers, and none keeps what is read. `None` when nothing from `index` on is synced yet.
    ///
    /// # Errors
    /// [`ReadError::UnknownLog`], [`ReadError::BelowStart`].
    pub fn read_medium(
        &self,
        log: LogId,
        index: u64,
        bytes_max: usize,
    ) -> Result<Option<ReadJob<D>>, ReadError> {
        let state = self.logs.get(&log).ok_or(ReadError::UnknownLog(log))?;
        if index <= state.control.start.index {
            return Err(ReadError::BelowStart);
        }
        let from = ReadFrom::Index(index);
        let job = || self.read_job(log, state, from, bytes_max, Source::Medium);
        Ok((index <= state.synced_index).then(job))
    }

    fn entries_in_memory(
        &self,
        log: LogId,
        state: &Log,
        from: u64,
        bytes_max: usize,
        passes: bool,
    ) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut total, mut next) = (0, from);
        while next <= state.control.last_index {
            let index = next;
            if let Some(gap) = state.control.gap_at(index).filter(|_| passes) {
                next = gap.end;
                continue;
            }
            let Some(entry) = self.entry_in_memory(log, state, index) else { break };
            next += 1;
            if passes && entry.is_emptied() {
                continue;
            }
            total += entry.payload.len();
            if total > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        entries
    }

    fn entry_in_memory(&self, log: LogId, state: &Log, index: u64) -> Option<Entry> {
        if index <= state.synced_index {
            return self.cache.get(log, state.generation, index);
        }
        let sequence = match state.staged_at(index) {
            Some(slot) => slot.sequence,
            None => self.slots_in_memory(log, state, state.run_at(index)?)?.at(index)?.sequence,
        };
        self.unsynced_frame(sequence).map(|frame| entry_of(frame.clone()))
    }

    pub(super) fn read_job(
        &self,
        log: LogId,
        state: &Log,
        from: ReadFrom,
        bytes_max: usize,
        source: Source,
    ) -> ReadJob<D> {
        let after = match from {
            ReadFrom::Index(index) => state.runs.partition_point(|run| run.end_index() <= index),
            ReadFrom::Offset(offset) => state.runs.partition_point(|run| run.next_offset <= offset),
        };
        let mut parts: Vec<Part<D>> = Vec::new();
        let mut bytes = 0;
        for (number, run) in state.runs[after..].iter().enumerate() {
            let follows = parts.last().is_none_or(|part| part.run.end_index() == run.first_index);
            if !follows && matches!(from, ReadFrom::Index(_)) && source == Source::Any {
                break;
            }
            let Some(segment) = self.segments.get(&run.segment).and_then(|segment| segment.reference())
            else {
                break;
            };
            let slots = match run.place {
                Place::Open(ordinal) => state.open.get(ordinal).map(|open| {
                    let skip = usize::try_from(run.first_index - open.first_index).unwrap_or(usize::MAX);
                    open.slots.iter().skip(skip).take(run.count as usize).copied().collect()
                }),
                _ => None,
            };
            parts.push(Part { run: run.clone(), segment, slots });
            // The first run may be read from its last entry on only, so it does not count.
            if number > 0 {
                bytes += run.bytes;
            }
            if bytes > bytes_max as u64 {
                break;
            }
        }
        let (lookup, last) = (self.lookup.clone(), state.synced_index);
        ReadJob { lookup, log, from, last, bytes_max, source, patient: false, parts }
    }

    /// Details of a run if no disk is needed.
    pub(crate) fn slots_in_memory<'a>(&self, log: LogId, state: &'a Log, run: &Run) -> Option<Slots<'a>> {
        match run.place {
            Place::Open(ordinal) => state.open.get(ordinal).map(Slots::Open),
            _ => self.lookup.cached(&run.key(log)).map(Slots::Packed),
        }
    }

    fn index_in_memory(&self, log: LogId, state: &Log, offset: i64) -> Option<u64> {
        if let Some(first) = state.staged.front().filter(|first| first.offset <= offset) {
            let after = state.staged.partition_point(|slot| slot.end_offset() <= offset);
            debug_assert!(first.offset <= offset);
            return Some(state.staged_first() + after as u64);
        }
        let run = &state.runs[state.runs.partition_point(|run| run.next_offset <= offset)..];
        let run = run.first()?;
        let slots = self.slots_in_memory(log, state, run)?;
        holder(&slots, run, offset)
    }
}

/// The entries without content that stand for those of a gap from `from` on.
fn stand_ins(control: &Control, gap: &Gap, from: u64, bytes_max: usize) -> Vec<Entry> {
    let count = u64::try_from(bytes_max / STAND_IN_BYTES).unwrap_or(u64::MAX).max(1);
    let stand_in = |index| {
        let (base_offset, record_count) = gap.span(index);
        let term = control.term_at(index)?;
        let (kind, timestamp_ms, payload) = (gap.kind, -1, Bytes::new());
        Some(Entry { term, index, base_offset, record_count, kind, timestamp_ms, payload })
    };
    (from..gap.end.min(from.saturating_add(count))).map_while(stand_in).collect()
}

/// The entry of a run that holds `offset`.
pub(crate) fn holder(slots: &Slots<'_>, run: &Run, offset: i64) -> Option<u64> {
    let (mut low, mut high) = (run.first_index, run.end_index());
    while low < high {
        let middle = low + (high - low) / 2;
        if slots.at(middle)?.end_offset() <= offset {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    (low < run.end_index()).then_some(low)
}
