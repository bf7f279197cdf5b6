//! Reclaim: what lives in a mostly dead segment is written again, so that the segment can go.

use std::sync::Arc;

use super::Store;
use super::commit::Copied;
use super::log::Run;
use super::lookup::{Lookup, SegmentRef, Source, Wanted, read_frames};
use super::read::Slots;
use crate::disk::Disk;
use crate::format::frame::Frame;
use crate::mutant::{self, Mutant};
use crate::types::{LogId, ReadError};

/// Segments of less than a quarter of the nominal size that are left alone, whatever lives in them.
const SMALL_SEGMENTS_MAX: usize = 8;

/// Reads live entries of one segment; run it on any thread, then finish it. Dropping it loses nothing but the turn.
pub struct Reclaim<D: Disk> {
    lookup: Arc<Lookup>,
    segment: SegmentRef<D::File>,
    runs: Vec<(LogId, Run)>,
    read: Vec<Result<Vec<Frame>, ReadError>>,
}

/// What a reclaim staged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReclaimReport {
    /// Segment that was read.
    pub segment: u64,
    /// Entries staged again.
    pub copied_entries: u64,
    /// Frame bytes staged again.
    pub copied_bytes: u64,
    /// Entries that died since the job began.
    pub dead_entries: u64,
}

impl<D: Disk> Reclaim<D> {
    /// Reads and checks the entries.
    pub fn run(&mut self) {
        self.read = self.runs.iter().map(|(log, run)| self.read_run(*log, run)).collect();
    }

    fn read_run(&self, log: LogId, run: &Run) -> Result<Vec<Frame>, ReadError> {
        let corrupt =
            || ReadError::Corrupt { log, index: run.first_index, segment: run.segment, position: 0 };
        let slots = Slots::Packed(self.lookup.fetch(log, run, &self.segment)?);
        let wanted = (run.first_index..run.end_index()).map(|index| {
            let slot = slots.at(index).ok_or_else(corrupt)?;
            let (sequence, position, body_len) = (slot.sequence, slot.position, slot.body_len);
            Ok(Wanted { segment: 0, index, sequence, position, body_len })
        });
        let wanted = wanted.collect::<Result<Vec<_>, ReadError>>()?;
        read_frames(&self.lookup, log, std::slice::from_ref(&self.segment), &wanted, Source::Any)
    }
}

impl<D: Disk> Store<D> {
    /// Chooses a segment worth copying forward; `None` when there is none, or while one is under way.
    pub fn begin_reclaim(&mut self) -> Option<Reclaim<D>> {
        if self.reclaiming || self.failed {
            return None;
        }
        let id = self.reclaim_candidate()?;
        let segment = self.segments.get(&id)?.reference()?;
        let mut runs = Vec::new();
        let mut bytes = 0;
        for (log, run) in
            self.logs.iter().flat_map(|(log, state)| state.runs.iter().map(move |run| (log, run)))
        {
            if run.segment == id && (runs.is_empty() || bytes + run.bytes <= self.config.reclaim_job_bytes) {
                bytes += run.bytes;
                runs.push((*log, run.clone()));
            }
        }
        self.reclaiming = true;
        Some(Reclaim { lookup: self.lookup.clone(), segment, runs, read: Vec::new() })
    }

    /// Stages what the job read and still lives, under its old write sequence. The segment goes once the copies are durable.
    ///
    /// # Errors
    /// When entries could not be read: their log is corrupt here, and the segment stays. What could be read is staged.
    pub fn finish_reclaim(&mut self, job: Reclaim<D>) -> Result<ReclaimReport, ReadError> {
        let id = job.segment.home.segment;
        let mut report = ReclaimReport { segment: id, ..ReclaimReport::default() };
        let mut failure = None;
        for ((log, run), read) in job.runs.iter().zip(job.read) {
            match read {
                Ok(frames) => self.stage_copies(*log, run, frames, &mut report),
                Err(error) => failure = Some(error),
            }
        }
        self.reclaiming = !self.copies.is_empty();
        self.copied_bytes += report.copied_bytes;
        match failure {
            None => Ok(report),
            Some(error) => {
                if let Some(segment) = self.segments.get_mut(&id) {
                    segment.stuck = true;
                }
                Err(error)
            }
        }
    }

    fn stage_copies(&mut self, log: LogId, run: &Run, frames: Vec<Frame>, report: &mut ReclaimReport) {
        let key = run.key(log);
        let state = self.logs.get(&log);
        let live = state.and_then(|state| {
            state.runs.iter().find(|live| live.key(log) == key && live.segment == run.segment)
        });
        let mut copied = Vec::new();
        for mut frame in frames {
            let index = frame.header.index;
            if !live.is_some_and(|live| (live.first_index..live.end_index()).contains(&index)) {
                report.dead_entries += 1;
                continue;
            }
            if mutant::active(Mutant::CopiedFrameNew) {
                frame.header.sequence = self.next_sequence;
                self.next_sequence += 1;
            }
            report.copied_entries += 1;
            report.copied_bytes += u64::from(frame.len());
            copied.push(frame);
        }
        if !copied.is_empty() {
            self.copies.push(Copied { log, from: key, frames: copied, rewritten: false });
        }
    }

    fn reclaim_candidate(&self) -> Option<u64> {
        let base = self.segments.iter().rev().find(|(_, segment)| segment.durable_head)?.0;
        let percent = u64::from(self.config.reclaim_live_percent);
        let sealed = || {
            self.segments
                .range(..base)
                .filter(|(_, segment)| segment.sealed && !segment.stuck && segment.live_bytes > 0)
        };
        let sparse = sealed()
            .filter(|(_, segment)| segment.live_bytes * 100 <= segment.disk_bytes * percent)
            .min_by_key(|(_, segment)| segment.live_bytes * 1000 / segment.disk_bytes.max(1));
        if let Some((id, _)) = sparse {
            return Some(*id);
        }
        let small =
            || sealed().filter(|(_, segment)| segment.disk_bytes < u64::from(self.config.segment_bytes / 4));
        (small().count() > SMALL_SEGMENTS_MAX).then(|| small().next().map(|(id, _)| *id))?
    }
}
