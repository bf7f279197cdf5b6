//! Compaction of a log: entries are written again with less in them, or go, and all others keep their index and offsets.
//!
//! What an entry says beside its content stays: index, term, offsets and the write sequence, so that recovery orders it where the
//! original was. Until the new copy is durable the old one is there, and of two with one write sequence recovery takes the one in the newer
//! segment: so only what lies in a sealed one is written again, and the active one is sealed for that when it must. Long stretches of entries that go become a *gap*, a few bytes in the state of the log; single ones stay as entries without content.

use bytes::Bytes;

use super::Store;
use super::commit::{Copied, Flight};
use super::log::Run;
use super::lookup::{Source, Wanted};
use super::read::{ReadJob, entry_of};
use crate::disk::Disk;
use crate::format::control::Gap;
use crate::format::frame::Frame;
use crate::types::{Entry, LogId, ReadError, ReadFrom, WriteError};

/// Fewer entries in a row are no gap: the state of a log, gaps and all, is in each segment's snapshot.
const GAP_ENTRIES_MIN: usize = 8;
/// Gaps of one log at most, for the same reason.
const GAPS_MAX: usize = 65_536;

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Stays,
    /// It has this content from now on.
    Becomes {
        /// The new content.
        payload: Bytes,
        /// Its largest record timestamp, -1 when there is none.
        timestamp_ms: i64,
    },
    /// It goes. Its offsets and its index stay taken.
    Goes,
}

/// Whether a log can be compacted now.
pub enum Turn<D: Disk> {
    /// Run this, then finish it.
    Begins(Rewrite<D>),
    /// Once the next commit is done: a reclaim or another rewrite is under way, or a segment must be sealed first.
    Later,
    /// Nothing there has content.
    Nothing,
}

/// Entries of a log that may be written again; read and judge them on any thread, then finish it. Dropping it loses nothing but the turn.
pub struct Rewrite<D: Disk> {
    log: LogId,
    /// The last index that is looked at.
    last: u64,
    job: ReadJob<D>,
    judged: Result<Vec<(Wanted, Frame, Fate)>, ReadError>,
}

impl<D: Disk> Rewrite<D> {
    /// The last index that was looked at, inclusive.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Reads the entries and has each judged.
    pub fn run(&mut self, mut judge: impl FnMut(&Entry) -> Fate) {
        self.judged = self.job.wanted().and_then(|wanted| {
            let frames = self.job.frames(&wanted)?;
            let judged = wanted.into_iter().zip(frames).map(|(wanted, frame)| {
                let entry = entry_of(frame.clone());
                let fate = if entry.is_emptied() { Fate::Goes } else { judge(&entry) };
                (wanted, frame, fate)
            });
            Ok(judged.collect())
        });
        if let Some((last, ..)) = self.judged.iter().flatten().last() {
            self.last = last.index;
        }
    }
}

impl<D: Disk> Store<D> {
    /// A job for entries from index `from` to `upto`, inclusive, as far as they are synced and some `bytes_max` bytes reach.
    pub fn begin_rewrite(&mut self, log: LogId, from: u64, upto: u64, bytes_max: usize) -> Turn<D> {
        if self.is_rewriting() || self.failed {
            return Turn::Later;
        }
        let Some(state) = self.logs.get(&log) else { return Turn::Nothing };
        let from = state.control.gap_at(from).map_or(from, |gap| gap.end).max(state.control.start.index + 1);
        let mut job = self.read_job(log, state, ReadFrom::Index(from), bytes_max, Source::Any);
        let Some(last) = job.limit_to(upto).filter(|last| from <= *last) else { return Turn::Nothing };
        let sealed = |run: &Run| self.segments.get(&run.segment).is_some_and(|segment| segment.sealed);
        let Some(sealed) = job.limit_while(sealed) else {
            self.roll = !self.flight.as_ref().is_some_and(Flight::seals);
            return Turn::Later;
        };
        self.reclaiming = true;
        Turn::Begins(Rewrite { log, last: last.min(sealed), job, judged: Ok(Vec::new()) })
    }

    /// Whether copies of entries are under way: read, or written and not durable yet; or a segment is to be sealed for them.
    #[must_use]
    pub fn is_rewriting(&self) -> bool {
        self.reclaiming || self.roll
    }

    /// Stages what the job found. It is done once the next commit is.
    ///
    /// # Errors
    /// When entries could not be read: their log is corrupt here, and nothing was staged.
    pub fn finish_rewrite(&mut self, rewrite: Rewrite<D>) -> Result<(), ReadError> {
        self.reclaiming = false;
        let Rewrite { log, job, judged, .. } = rewrite;
        let judged = judged?;
        for of_run in judged.chunk_by(|a, b| a.0.segment == b.0.segment) {
            if of_run.iter().any(|(_, frame, fate)| news(frame, fate)) {
                // A log that was latched or deleted meanwhile loses its turn.
                let _turn_lost = self.rewrite_run(log, job.run_of(&of_run[0].0), of_run);
            }
        }
        self.reclaiming = !self.copies.is_empty();
        Ok(())
    }

    /// All of a run that stays is written again, so that it stays one run but for the gaps.
    fn rewrite_run(
        &mut self,
        log: LogId,
        run: &Run,
        judged: &[(Wanted, Frame, Fate)],
    ) -> Result<(), WriteError> {
        for part in judged.chunk_by(|a, b| (a.2 == Fate::Goes) == (b.2 == Fate::Goes)) {
            if part[0].2 == Fate::Goes && self.make_gap(log, run, part)? {
                continue;
            }
            let frames: Vec<Frame> = part.iter().map(|(_, frame, fate)| changed(frame, fate)).collect();
            self.copied_bytes += frames.iter().map(|frame| u64::from(frame.len())).sum::<u64>();
            self.copies.push(Copied { log, from: run.key(log), frames, rewritten: true });
        }
        Ok(())
    }

    /// Makes a gap of entries that go, unless they are too few, or not there any more.
    fn make_gap(
        &mut self,
        log: LogId,
        run: &Run,
        going: &[(Wanted, Frame, Fate)],
    ) -> Result<bool, WriteError> {
        let (Some((_, first, _)), Some((_, last, _)), Some(state)) =
            (going.first(), going.last(), self.logs.get(&log))
        else {
            return Ok(false);
        };
        let (first, last) = (first.header, last.header);
        let key = run.key(log);
        let whole = state
            .run_at(first.index)
            .is_some_and(|live| live.key(log) == key && last.index < live.end_index());
        let touches = |index| state.control.gap_at(index).is_some();
        let joins = touches(first.index.saturating_sub(1)) || touches(last.index + 1);
        let long = going.len() >= GAP_ENTRIES_MIN && state.control.gaps.len() < GAPS_MAX;
        if !whole || !(joins || long) {
            return Ok(false);
        }
        let next_offset = last.base_offset.saturating_add(i64::from(last.record_count));
        self.gap(
            log,
            Gap {
                first: first.index,
                end: last.index + 1,
                first_offset: first.base_offset,
                next_offset,
                kind: first.entry_kind,
            },
        )?;
        Ok(true)
    }
}

/// Whether the entry is not that already.
fn news(frame: &Frame, fate: &Fate) -> bool {
    match fate {
        Fate::Stays => false,
        Fate::Becomes { .. } => true,
        Fate::Goes => !frame.body.is_empty(),
    }
}

fn changed(frame: &Frame, fate: &Fate) -> Frame {
    let mut header = frame.header;
    match fate {
        Fate::Stays => frame.clone(),
        Fate::Becomes { payload, timestamp_ms } => {
            header.timestamp_ms = *timestamp_ms;
            Frame::new(header, payload.clone())
        }
        Fate::Goes => {
            header.timestamp_ms = -1;
            Frame::new(header, Bytes::new())
        }
    }
}
