//! Staging: a write is checked, changes the state in memory, and waits for the next commit.

use bytes::Bytes;

use super::Store;
use super::commit::{Staged, slot_of};
use super::log::{Freed, Log};
use crate::disk::Disk;
use crate::format::control::{Control, Gap, encode_reset};
use crate::format::frame::{Frame, FrameHeader, kind};
use crate::types::{Entry, LogId, LogStart, Sequence, Write, WriteError};

/// Most bytes staged at a time, so that positions in a segment fit u32.
const STAGED_MAX: u64 = 1 << 30;
/// Largest body of one frame.
const BODY_MAX: usize = 512 << 20;

impl<D: Disk> Store<D> {
    /// Stages a write: visible to readers at once, durable with the commit that takes it. Returns its write sequence.
    ///
    /// # Errors
    /// [`WriteError::Full`] (appends only), [`WriteError::Failed`], [`WriteError::Invalid`]; then nothing changed.
    pub fn write(&mut self, write: Write) -> Result<Sequence, WriteError> {
        if self.failed {
            return Err(WriteError::Failed);
        }
        if self.staged_bytes > STAGED_MAX {
            return Err(invalid(write.log(), "too much is staged, commit first"));
        }
        match write {
            Write::Create { log, epoch, meta } => self.create(log, epoch, meta)?,
            Write::HardState { log, state } => self.hard_state(log, state)?,
            Write::Append { log, entries } => self.append(log, entries)?,
            Write::Truncate { log, from } => self.truncate(log, from)?,
            Write::Trim { log, start } => self.trim(log, start)?,
            Write::Checkpoint { log, index, state } => self.checkpoint(log, index, state)?,
            Write::Suspect { log } => self.suspect(log)?,
            Write::Delete { log } => self.delete(log)?,
            reset @ Write::Reset { .. } => self.reset(reset)?,
        }
        Ok(self.staged())
    }

    fn existing(&mut self, log: LogId) -> Result<&mut Log, WriteError> {
        self.logs.get_mut(&log).ok_or_else(|| invalid(log, "no such log"))
    }

    fn stage(&mut self, header: FrameHeader, body: Bytes) {
        let log = self.logs.get(&LogId(header.log));
        let header = FrameHeader {
            sequence: self.next_sequence,
            epoch: log.map_or(header.epoch, |log| log.control.epoch),
            ..header
        };
        let generation = log.map_or(0, |log| log.generation);
        let frame = Frame::new(header, body);
        self.next_sequence += 1;
        self.staged_bytes += u64::from(frame.len());
        self.staged.push(Staged { frame, generation });
    }

    /// Segments lost these bytes by the write of that sequence.
    pub(crate) fn free(&mut self, freed: Vec<Freed>, by: u64) {
        for freed in freed {
            if let Some(segment) = self.segments.get_mut(&freed.segment) {
                segment.live_bytes -= freed.bytes;
                segment.freed_at = segment.freed_at.max(by);
            }
        }
    }

    fn create(&mut self, log: LogId, epoch: u32, meta: Bytes) -> Result<(), WriteError> {
        check_body(log, meta.len())?;
        if self.used.contains(log.0) {
            return Err(invalid(log, "this log id was used before"));
        }
        self.used.insert(log.0);
        let control = Control { epoch, meta: meta.clone(), ..Control::default() };
        self.logs.insert(log, Log::new(control));
        self.stage(FrameHeader { kind: kind::CREATE, log: log.0, ..FrameHeader::default() }, meta);
        Ok(())
    }

    fn hard_state(&mut self, log: LogId, state: Bytes) -> Result<(), WriteError> {
        check_body(log, state.len())?;
        self.existing(log)?.control.hard_state = state.clone();
        self.stage(FrameHeader { kind: kind::HARD_STATE, log: log.0, ..FrameHeader::default() }, state);
        Ok(())
    }

    fn checkpoint(&mut self, log: LogId, index: u64, state: Bytes) -> Result<(), WriteError> {
        check_body(log, state.len())?;
        self.existing(log)?.control.checkpoint = Some((index, state.clone()));
        self.stage(
            FrameHeader { kind: kind::CHECKPOINT, log: log.0, index, ..FrameHeader::default() },
            state,
        );
        Ok(())
    }

    fn suspect(&mut self, log: LogId) -> Result<(), WriteError> {
        self.existing(log)?.control.suspect = true;
        self.stage(FrameHeader { kind: kind::SUSPECT, log: log.0, ..FrameHeader::default() }, Bytes::new());
        Ok(())
    }

    fn append(&mut self, log: LogId, entries: Vec<Entry>) -> Result<(), WriteError> {
        let state = self.existing(log)?;
        let (mut index, mut offset) = (state.control.last_index, state.control.next_offset);
        for entry in &entries {
            check_body(log, entry.payload.len())?;
            if entry.index != index + 1 || entry.base_offset != offset {
                return Err(invalid(log, "entries must follow the log's end"));
            }
            index = entry.index;
            offset = offset
                .checked_add(i64::from(entry.record_count))
                .ok_or_else(|| invalid(log, "offsets are exhausted"))?;
        }
        // What has no records is small and keeps the group going (no-ops, memberships, log starts that free space).
        if entries.iter().any(|entry| entry.record_count > 0) && self.is_full() {
            return Err(WriteError::Full);
        }
        for entry in entries {
            let header = FrameHeader {
                kind: kind::ENTRY,
                log: log.0,
                entry_kind: entry.kind,
                term: entry.term,
                index: entry.index,
                base_offset: entry.base_offset,
                timestamp_ms: entry.timestamp_ms,
                record_count: entry.record_count,
                ..FrameHeader::default()
            };
            self.stage(header, entry.payload);
            let (Some(staged), Some(state)) = (self.staged.last(), self.logs.get_mut(&log)) else { continue };
            let slot = slot_of(&staged.frame.header, 0);
            state.bytes += u64::from(slot.frame_len());
            state.control.append(&staged.frame.header);
            state.staged.push_back(slot);
        }
        Ok(())
    }

    fn truncate(&mut self, log: LogId, from: u64) -> Result<(), WriteError> {
        let control = &self.existing(log)?.control;
        let (start, last) = (control.start.index, control.last_index);
        if from <= start {
            return Err(invalid(log, "a truncation must stay above the log start"));
        }
        if from > last {
            return Ok(());
        }
        // Within a gap nothing is known of single entries: all of it goes, and whoever fills it begins where it begins.
        let from = control.gap_at(from).map_or(from, |gap| gap.first);
        let next_offset = self.end_offset(log, from - 1);
        let next_offset = next_offset.ok_or_else(|| invalid(log, "the details of the log cannot be read"))?;
        let header = FrameHeader {
            kind: kind::TRUNCATE,
            log: log.0,
            index: from,
            base_offset: next_offset,
            ..FrameHeader::default()
        };
        self.stage(header, Bytes::new());
        let sequence = self.next_sequence - 1;
        let mut freed = Vec::new();
        let state = self.existing(log)?;
        state.cut_end(from, next_offset, &mut freed);
        state.control.truncate(from, next_offset, sequence);
        self.free(freed, self.next_sequence - 1);
        Ok(())
    }

    fn trim(&mut self, log: LogId, start: LogStart) -> Result<(), WriteError> {
        let control = &self.existing(log)?.control;
        if start.index > control.last_index {
            return Err(invalid(log, "the log start cannot be beyond the log end"));
        }
        if start.index == control.last_index && start.next_offset != control.next_offset {
            return Err(invalid(log, "the start of an emptied log must be at its end offset"));
        }
        if start.index <= control.start.index {
            return Ok(());
        }
        let header = FrameHeader { kind: kind::TRIM, log: log.0, ..start_header(start) };
        self.stage(header, Bytes::new());
        let mut freed = Vec::new();
        let state = self.existing(log)?;
        state.cut_front(start.index, start.next_offset, &mut freed);
        state.control.trim(start);
        self.free(freed, self.next_sequence - 1);
        Ok(())
    }

    /// Entries that are placed are gone, and count as there.
    pub(crate) fn gap(&mut self, log: LogId, gap: Gap) -> Result<(), WriteError> {
        let header = FrameHeader {
            kind: kind::GAP,
            log: log.0,
            entry_kind: gap.kind,
            index: gap.first,
            base_offset: gap.first_offset,
            ..FrameHeader::default()
        };
        let mut freed = Vec::new();
        let state = self.existing(log)?;
        state.cut_middle((gap.first, gap.first_offset), (gap.end, gap.next_offset), &mut freed);
        state.control.gap(gap);
        self.stage(header, gap.body());
        self.free(freed, self.next_sequence - 1);
        Ok(())
    }

    fn reset(&mut self, write: Write) -> Result<(), WriteError> {
        let Write::Reset { log, epoch, meta, hard_state, start, checkpoint, keep_suffix } = write else {
            return Ok(());
        };
        check_body(log, meta.len() + hard_state.len() + checkpoint.1.len())?;
        let control = &self.existing(log)?.control;
        if keep_suffix && (control.term_at(start.index) != Some(start.term)) {
            return Err(invalid(log, "only a log that holds the new start can keep what follows it"));
        }
        let body = encode_reset(&checkpoint, &meta, &hard_state);
        let header = FrameHeader {
            kind: kind::RESET,
            log: log.0,
            entry_kind: u8::from(keep_suffix),
            epoch,
            ..start_header(start)
        };
        let mut freed = Vec::new();
        let sequence = self.next_sequence;
        let state = self.existing(log)?;
        state.control.epoch = epoch;
        if keep_suffix {
            if start.index > state.control.start.index {
                state.cut_front(start.index, start.next_offset, &mut freed);
            }
            state.control.trim(start);
        } else {
            state.cut_end(0, start.next_offset, &mut freed);
            state.control.clear(start, sequence);
        }
        state.control.meta = meta;
        state.control.hard_state = hard_state;
        state.control.checkpoint = Some(checkpoint);
        state.control.suspect = false;
        self.stage(header, body);
        self.free(freed, self.next_sequence - 1);
        Ok(())
    }

    fn delete(&mut self, log: LogId) -> Result<(), WriteError> {
        let state = self.existing(log)?;
        let mut freed = Vec::new();
        state.cut_end(0, 0, &mut freed);
        self.stage(FrameHeader { kind: kind::DELETE, log: log.0, ..FrameHeader::default() }, Bytes::new());
        self.logs.remove(&log);
        self.free(freed, self.next_sequence - 1);
        Ok(())
    }

    /// Whether appends of records are taken: not while only the reserve is left.
    pub fn accepts_records(&mut self) -> bool {
        !self.failed && !self.is_full()
    }

    /// Whether only the reserve is left. Asks the disk again when it seems so.
    fn is_full(&mut self) -> bool {
        let needed = self.config.reserve_bytes.saturating_add(self.staged_bytes);
        if self.free_bytes < needed
            && let Ok(free) = self.disk.free_bytes()
        {
            self.free_bytes = free;
        }
        self.free_bytes < needed
    }
}

fn start_header(start: LogStart) -> FrameHeader {
    FrameHeader {
        index: start.index,
        term: start.term,
        base_offset: start.next_offset,
        ..FrameHeader::default()
    }
}

fn invalid(log: LogId, reason: &'static str) -> WriteError {
    WriteError::Invalid { log, reason }
}

fn check_body(log: LogId, len: usize) -> Result<(), WriteError> {
    if len > BODY_MAX { Err(invalid(log, "larger than a frame can be")) } else { Ok(()) }
}
