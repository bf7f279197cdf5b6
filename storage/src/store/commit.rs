//! Group commit: one write and one sync for everything staged so far.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::log::{Freed, Log, Place, Run};
use super::read::entry_of;
use super::{Segment, Store};
use crate::disk::{Disk, DiskFile};
use crate::format::control::{Listed, Manifest};
use crate::format::footer::Slot;
use crate::format::footer::{PackedRun, TRAILER_LEN, Trailer, digest, split_runs};
use crate::format::frame::{Frame, FrameHeader, Home, Stamp, encode_frame, kind};
use crate::format::segment::{self, HEADER_LEN, SegmentHeader};
use crate::index::RunKey;
use crate::mutant::{self, Mutant};
use crate::types::{CommitError, LogId, Sequence};

/// A staged frame.
#[derive(Clone)]
pub(crate) struct Staged {
    pub(crate) frame: Frame,
    /// Of the log when it was staged.
    pub(crate) generation: u32,
}

/// Entries that reclaim or compaction writes again, under the write sequences that they have.
#[derive(Clone)]
pub(crate) struct Copied {
    pub(crate) log: LogId,
    /// Key of the run they come from.
    pub(crate) from: RunKey,
    pub(crate) frames: Vec<Frame>,
    /// They may say less than before, and be a part of the run.
    pub(crate) rewritten: bool,
}

/// The commit under way.
pub(crate) struct Flight {
    pub(crate) last: u64,
    pub(crate) staged: Arc<Vec<Staged>>,
    copies: Arc<Vec<Copied>>,
    /// For each copied run the place in `open` of its log; `None` when the log is gone.
    copy_places: Vec<Option<usize>>,
    segment: u64,
    seal: Option<Seal>,
    unlinked: Vec<u64>,
}

impl Flight {
    /// Whether the segment is sealed by it.
    pub(crate) fn seals(&self) -> bool {
        self.seal.is_some()
    }
}

/// A segment that the commit under way fills.
struct Seal {
    position: u32,
    digest: [u8; 16],
    runs: Bytes,
    /// Position of the runs of each log's `open`, in order.
    places: Vec<(LogId, Vec<u32>)>,
    file_len: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Written,
    Synced,
}

/// Everything that was staged at one time, on its way to the disk. May move to another thread.
pub struct Commit<D: Disk> {
    disk: D,
    file: Option<D::File>,
    create: Option<(String, u64, Vec<u8>)>,
    stamp: Stamp,
    position: u32,
    head: Vec<Frame>,
    copies: Arc<Vec<Copied>>,
    staged: Arc<Vec<Staged>>,
    footer: Option<Bytes>,
    bytes: usize,
    unlink: Vec<String>,
    stage: Stage,
    error: Option<io::Error>,
    free_bytes: Option<u64>,
}

impl<D: Disk> Commit<D> {
    /// Writes. An error is kept for [`Store::finish_commit`].
    pub fn write(&mut self) {
        if self.stage == Stage::New && self.error.is_none() {
            self.stage = Stage::Written;
            if let Err(error) = self.try_write() {
                self.error = Some(error);
            }
        }
    }

    /// Syncs, then removes files that are free. An error is kept for [`Store::finish_commit`].
    pub fn sync(&mut self) {
        if self.stage == Stage::Written && self.error.is_none() {
            self.stage = Stage::Synced;
            if let Err(error) = self.try_sync() {
                self.error = Some(error);
            }
        }
    }

    /// Writes and syncs.
    pub fn run(&mut self) {
        self.write();
        self.sync();
    }

    /// Bytes that it writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn try_write(&mut self) -> io::Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        let mut buffer = Vec::with_capacity(self.bytes);
        let mut start = self.position;
        if let Some((name, reserve, header)) = &self.create {
            self.file = Some(self.disk.create(name, *reserve)?);
            buffer.extend_from_slice(header);
            start = 0;
        }
        let copies = self.copies.iter().flat_map(|copied| &copied.frames);
        let staged = self.staged.iter().map(|staged| &staged.frame);
        let mut position = self.position;
        for frame in self.head.iter().chain(copies).chain(staged) {
            encode_frame(frame, self.stamp, position, &mut buffer);
            position += frame.len();
        }
        if let Some(footer) = &self.footer {
            buffer.extend_from_slice(footer);
        }
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_at(u64::from(start), &buffer)?;
        if self.footer.is_some() {
            file.set_len(u64::from(start) + buffer.len() as u64)?;
        }
        Ok(())
    }

    fn try_sync(&mut self) -> io::Result<()> {
        if self.bytes > 0 {
            let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
            file.sync()?;
            if self.create.is_some() {
                self.disk.sync_directory()?;
            }
        }
        for name in &self.unlink {
            if let Err(error) = self.disk.remove(name) {
                tracing::warn!(name, %error, "a free segment could not be removed, the next start removes it");
            }
        }
        self.free_bytes = self.disk.free_bytes().ok();
        Ok(())
    }
}

impl<D: Disk> Store<D> {
    /// Takes everything staged so far. `None` when there is nothing to do, while a commit is under way, and after a failure.
    pub fn begin_commit(&mut self) -> Option<Commit<D>> {
        if self.failed || self.flight.is_some() {
            return None;
        }
        let unlinked = self.free_segments();
        if self.staged.is_empty() && self.copies.is_empty() && unlinked.is_empty() && !self.roll {
            return None;
        }
        let nothing = self.staged.is_empty() && self.copies.is_empty() && !self.roll;
        let head = if nothing { None } else { self.pending_head.take() };
        let create = head.is_some().then(|| self.start_segment());
        if !nothing {
            self.round += 1;
        }
        let start = self.active_end;
        let round_start = if create.is_some() { HEADER_LEN } else { start };
        let stamp = Stamp { home: self.home(), round: self.round, round_start, boot: self.boot };
        let head = head.unwrap_or_default();
        let mut position = head.iter().fold(start, |position, frame| position + frame.len());
        if create.is_some() {
            self.head_end = position;
        }
        let staged = Arc::new(std::mem::take(&mut self.staged));
        let copies = Arc::new(std::mem::take(&mut self.copies));
        let copy_places = self.place_copies(&copies, &mut position);
        self.place_staged(&staged, &mut position);
        self.staged_first = self.next_sequence;
        self.staged_bytes = 0;
        self.active_end = position;
        let mut bytes = (position - start) as usize + create.as_ref().map_or(0, |(.., header)| header.len());
        let mut footer = None;
        // A snapshot larger than a nominal segment must not make every commit roll.
        let full = self.roll || position >= self.config.segment_bytes.max(self.head_end.saturating_mul(2));
        self.roll = false;
        let seal = (!nothing && full).then(|| {
            let (seal, encoded) = self.seal(position);
            bytes += encoded.len();
            footer = Some(encoded);
            seal
        });
        let names = unlinked.iter().map(|id| segment::name(*id)).collect();
        let reserve = if self.config.preallocate { u64::from(self.config.segment_bytes) } else { 0 };
        let commit = Commit {
            disk: self.disk.clone(),
            file: self.segments.get(&self.active).and_then(|segment| segment.file.clone()),
            create: create.map(|(name, header)| (name, reserve, header)),
            stamp,
            position: start,
            head,
            copies: copies.clone(),
            staged: staged.clone(),
            footer,
            bytes: if nothing { 0 } else { bytes },
            unlink: names,
            stage: Stage::New,
            error: None,
            free_bytes: None,
        };
        self.flight = Some(Flight {
            last: self.next_sequence - 1,
            staged,
            copies,
            copy_places,
            segment: self.active,
            seal,
            unlinked,
        });
        Some(commit)
    }

    /// Ends a commit: what it held is durable now, and only now may be promised. Returns up to where everything is synced.
    ///
    /// # Errors
    /// When its write or sync failed or was never run; the store is latched from then on.
    pub fn finish_commit(&mut self, mut commit: Commit<D>) -> Result<Sequence, CommitError> {
        let error = match commit.error.take() {
            None if commit.stage != Stage::Synced => Some(io::Error::other("the commit was not run")),
            other => other,
        };
        if let Some(error) = error {
            self.failed = true;
            return Err(CommitError(error));
        }
        let Some(flight) = self.flight.take() else {
            self.failed = true;
            return Err(CommitError(io::Error::other("no commit is under way")));
        };
        let reserved = if self.config.preallocate { u64::from(self.config.segment_bytes) } else { 0 };
        if let (Some(segment), Some(file)) = (self.segments.get_mut(&flight.segment), commit.file.take()) {
            segment.file = Some(file);
            segment.durable_head = true;
            if !segment.sealed {
                segment.disk_bytes = reserved.max(u64::from(self.active_end));
            }
        }
        let early = mutant::active(Mutant::SyncedMovedEarly);
        self.synced = Sequence(if early { self.next_sequence - 1 } else { flight.last });
        self.commits += 1;
        self.written_bytes += commit.bytes as u64;
        if let Some(free) = commit.free_bytes {
            self.free_bytes = free;
        }
        for id in &flight.unlinked {
            self.segments.remove(id);
            self.index.remove(*id);
        }
        self.settle(&flight);
        self.relocate(&flight);
        if let Some(seal) = flight.seal {
            self.finish_seal(flight.segment, seal);
        }
        Ok(self.synced)
    }

    /// Logs learn what is synced; entries go to the cache.
    fn settle(&mut self, flight: &Flight) {
        for staged in flight.staged.iter() {
            let id = LogId(staged.frame.header.log);
            let Some(log) = self.logs.get_mut(&id) else { continue };
            log.synced_index = log.control.last_index - log.staged.len() as u64;
            if staged.frame.header.kind == kind::ENTRY && staged.generation == log.generation {
                self.cache.insert(id, log.generation, entry_of(staged.frame.clone()));
            }
        }
    }

    /// The frame of a write sequence that is staged or in the commit under way.
    pub(crate) fn unsynced_frame(&self, sequence: u64) -> Option<&Frame> {
        let frames =
            if sequence >= self.staged_first { &self.staged } else { self.flight.as_ref()?.staged.as_ref() };
        let at = frames.binary_search_by_key(&sequence, |staged| staged.frame.header.sequence).ok()?;
        frames.get(at).map(|staged| &staged.frame)
    }

    pub(crate) fn home(&self) -> Home {
        Home { segment: self.active, salt: self.config.salt }
    }

    /// Makes a fresh segment the active one; its file is made by the commit.
    fn start_segment(&mut self) -> (String, Vec<u8>) {
        self.active += 1;
        self.active_end = HEADER_LEN;
        let header = SegmentHeader {
            id: self.active,
            salt: self.config.salt,
            boot: self.boot,
            key_id: 0,
            round: self.round + 1,
            next_sequence: self.next_sequence,
        };
        self.segments.insert(self.active, Segment::new(self.home(), None));
        (segment::name(self.active), header.encode())
    }

    fn place_copies(&mut self, copies: &[Copied], position: &mut u32) -> Vec<Option<usize>> {
        let mut places = Vec::with_capacity(copies.len());
        for copied in copies {
            let mut place = None;
            for (number, frame) in copied.frames.iter().enumerate() {
                let slot = slot_of(&frame.header, *position);
                *position += frame.len();
                self.saw_sequence(slot.sequence);
                if let Some(log) = self.logs.get_mut(&copied.log) {
                    if number == 0 {
                        log.close_last();
                    }
                    log.place(self.active, frame.header.index, slot, false);
                    place = Some(log.open.len() - 1);
                }
            }
            if let Some(log) = self.logs.get_mut(&copied.log) {
                log.close_last();
            }
            places.push(place);
        }
        places
    }

    fn place_staged(&mut self, staged: &[Staged], position: &mut u32) {
        for Staged { frame, .. } in staged {
            if frame.header.kind == kind::ENTRY {
                let slot = slot_of(&frame.header, *position);
                self.saw_sequence(slot.sequence);
                let log = self.logs.get_mut(&LogId(frame.header.log));
                let live = log.and_then(|log| log.place(self.active, frame.header.index, slot, false));
                if let (Some(live), Some(segment)) = (live, self.segments.get_mut(&self.active)) {
                    segment.live_bytes += live;
                }
            }
            *position += frame.len();
        }
    }

    fn saw_sequence(&mut self, sequence: u64) {
        if let Some(segment) = self.segments.get_mut(&self.active) {
            segment.min_sequence = segment.min_sequence.min(sequence);
        }
    }

    /// Builds the footer of the active segment and the snapshot that opens the next one.
    fn seal(&mut self, end: u32) -> (Seal, Bytes) {
        let mut encoded = Vec::new();
        let mut places = Vec::new();
        for (id, log) in self.logs.iter().filter(|(_, log)| !log.open.is_empty()) {
            let positions = log.open.iter().map(|open| {
                let position =
                    end + u32::try_from(encoded.len()).expect("a footer is smaller than its segment");
                open.pack(*id, &mut encoded);
                position
            });
            places.push((*id, positions.collect()));
        }
        let runs = Bytes::copy_from_slice(&encoded);
        let count = places.iter().map(|(_, positions): &(LogId, Vec<u32>)| positions.len()).sum::<usize>();
        let digest = digest(std::iter::once(&runs));
        let min_sequence = self.segments.get(&self.active).map_or(0, |segment| segment.min_sequence);
        let trailer = Trailer {
            segment: self.active,
            position: end,
            runs: u32::try_from(count).unwrap_or(u32::MAX),
            digest,
            min_sequence,
        };
        trailer.encode(&mut encoded);
        if let Some(segment) = self.segments.get_mut(&self.active) {
            segment.end = end;
            segment.footer = end;
            segment.digest = digest;
        }
        self.pending_head = Some(self.snapshot());
        let file_len = u64::from(end) + encoded.len() as u64;
        debug_assert_eq!(encoded.len(), runs.len() + TRAILER_LEN);
        (Seal { position: end, digest, runs, places, file_len }, encoded.into())
    }

    /// State after everything staged so far, as the frames that open a segment.
    fn snapshot(&mut self) -> Vec<Frame> {
        let listed: Vec<Listed> = self.segments.values().map(Segment::listed).collect();
        let min_sequence = listed.iter().map(|listed| listed.min_sequence).min().unwrap_or(u64::MAX);
        for log in self.logs.values_mut() {
            log.control.prune(min_sequence);
        }
        let manifest = Manifest { used: self.used.0.clone(), segments: listed };
        let controls = self.logs.iter().map(|(id, log)| (*id, &log.control));
        snapshot_frames(&manifest, self.next_sequence, &[], controls)
    }

    /// Copies are durable: runs move to where they lie now.
    fn relocate(&mut self, flight: &Flight) {
        for (copied, place) in flight.copies.iter().zip(&flight.copy_places) {
            let (Some(place), Some(log)) = (*place, self.logs.get_mut(&copied.log)) else { continue };
            if copied.rewritten {
                let (freed, placed) = log.replace(&copied.from, flight.segment, place);
                let generation = log.generation;
                copied
                    .frames
                    .iter()
                    .for_each(|frame| self.cache.remove(copied.log, generation, frame.header.index));
                self.free(freed, flight.last);
                if let Some(segment) = self.segments.get_mut(&flight.segment) {
                    segment.live_bytes += placed;
                }
                continue;
            }
            let Some((old, new)) = log.relocate(&copied.from, flight.segment, place) else { continue };
            log.bytes = log.bytes - old + new;
            if let Some(segment) = self.segments.get_mut(&copied.from.segment) {
                segment.live_bytes -= old;
                segment.freed_at = segment.freed_at.max(flight.last);
            }
            if let Some(segment) = self.segments.get_mut(&flight.segment) {
                segment.live_bytes += new;
            }
        }
        if !flight.copies.is_empty() {
            self.reclaiming = false;
        }
    }

    /// The footer is durable: details leave memory.
    fn finish_seal(&mut self, id: u64, seal: Seal) {
        for (log, positions) in &seal.places {
            if let Some(log) = self.logs.get_mut(log) {
                log.seal(id, positions);
            }
        }
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.sealed = true;
        segment.disk_bytes = seal.file_len;
        debug_assert_eq!((segment.footer, segment.digest), (seal.position, seal.digest));
        let runs: Vec<(RunKey, Bytes)> = split_runs(seal.runs)
            .unwrap_or_default()
            .into_iter()
            .map(|run: PackedRun| {
                self.lookup.remember(run.key(id), run.clone());
                (run.key(id), run.bytes().clone())
            })
            .collect();
        if self.free_bytes >= self.config.reserve_bytes {
            self.index.insert(id, runs);
        }
    }

    /// Segments without live entries whose release is synced, oldest first. Never the one that recovery starts from.
    fn free_segments(&self) -> Vec<u64> {
        let Some(base) = self.segments.iter().rev().find(|(_, segment)| segment.durable_head) else {
            return Vec::new();
        };
        self.segments
            .range(..base.0)
            .filter(|(_, segment)| {
                segment.sealed && segment.live_bytes == 0 && segment.freed_at <= self.synced.0
            })
            .map(|(id, _)| *id)
            .collect()
    }
}

impl Log {
    fn close_last(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.closed = true;
        }
    }

    /// Moves the run of `from` to `open[place]` of `segment`; returns its bytes before and after.
    fn relocate(&mut self, from: &RunKey, segment: u64, place: usize) -> Option<(u64, u64)> {
        let id = from.log;
        let run = self.runs.iter_mut().find(|run| run.key(id) == *from)?;
        let open = self.open.get(place)?;
        let first = run.first_index.max(open.first_index);
        let end = run.end_index().min(open.first_index + open.slots.len() as u64);
        if first != run.first_index || end != run.end_index() {
            return None;
        }
        let skip = usize::try_from(first - open.first_index).ok()?;
        let slots = open.slots.get(skip..skip + run.count as usize)?;
        let (head, whole) = (slots.first()?, open.slots.first()?);
        let moved = Run {
            segment,
            bytes: slots.iter().map(|slot| u64::from(slot.frame_len())).sum(),
            max_timestamp: slots.iter().map(|slot| slot.timestamp_ms).max()?,
            first_offset: head.offset,
            key_index: open.first_index,
            key_offset: whole.offset,
            key_sequence: whole.sequence,
            packed_count: 0,
            place: Place::Open(place),
            ..run.clone()
        };
        let bytes = (run.bytes, moved.bytes);
        *run = moved;
        Some(bytes)
    }

    /// The entries of `open[place]` that are still live in the run of `from` lie in that segment now: what they gave up, and the bytes they
    /// take.
    fn replace(&mut self, from: &RunKey, segment: u64, place: usize) -> (Vec<Freed>, u64) {
        let (mut freed, mut placed) = (Vec::new(), 0);
        let Some(open) = self.open.get(place).cloned() else { return (freed, placed) };
        let end = open.first_index + open.slots.len() as u64;
        let live = self.runs.iter().filter(|run| run.key(from.log) == *from);
        let live = live.map(|run| (run.first_index.max(open.first_index), run.end_index().min(end)));
        for (first, end) in live.filter(|(first, end)| first < end).collect::<Vec<_>>() {
            let at = |index: u64| usize::try_from(index - open.first_index).unwrap_or(usize::MAX);
            let Some(slots) = open.slots.get(at(first)..at(end)).filter(|slots| !slots.is_empty()) else {
                continue;
            };
            let (head, tail) = (slots[0], slots[slots.len() - 1]);
            self.cut_middle((first, head.offset), (end, tail.end_offset()), &mut freed);
            let mut run = Run::of_last(&open, segment, place, first, &head);
            run.count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
            run.next_offset = tail.end_offset();
            run.max_timestamp = slots.iter().map(|slot| slot.timestamp_ms).max().unwrap_or(-1);
            run.bytes = slots.iter().map(|slot| u64::from(slot.frame_len())).sum();
            (self.bytes, placed) = (self.bytes + run.bytes, placed + run.bytes);
            let at = self.runs.partition_point(|other| other.first_index < first);
            self.runs.insert(at, run);
        }
        (freed, placed)
    }

    fn seal(&mut self, segment: u64, positions: &[u32]) {
        for run in self.runs.iter_mut().filter(|run| run.segment == segment) {
            if let Place::Open(place) = run.place
                && let (Some(position), Some(open)) = (positions.get(place), self.open.get(place))
            {
                run.place = Place::Footer(*position);
                run.packed_count = u32::try_from(open.slots.len()).unwrap_or(u32::MAX);
            }
        }
        self.open = Vec::new();
    }
}

/// Where the entry of a frame lies and what lookups ask of it.
pub(crate) fn slot_of(header: &FrameHeader, position: u32) -> Slot {
    Slot {
        position,
        body_len: header.body_len,
        offset: header.base_offset,
        record_count: header.record_count,
        term: header.term,
        timestamp_ms: header.timestamp_ms,
        sequence: header.sequence,
    }
}

/// The frames of a snapshot; `entries` are written again inside it.
pub(crate) fn snapshot_frames<'a>(
    manifest: &Manifest,
    next_sequence: u64,
    entries: &[Frame],
    controls: impl Iterator<Item = (LogId, &'a crate::format::control::Control)>,
) -> Vec<Frame> {
    let begin = FrameHeader { kind: kind::SNAPSHOT_BEGIN, sequence: next_sequence, ..FrameHeader::default() };
    let mut frames = vec![Frame::new(begin, manifest.encode())];
    frames.extend_from_slice(entries);
    let mut count = 0;
    for (log, control) in controls {
        count += 1;
        let header = FrameHeader {
            kind: kind::SNAPSHOT_LOG,
            log: log.0,
            epoch: control.epoch,
            ..FrameHeader::default()
        };
        frames.push(Frame::new(header, control.encode()));
    }
    let end = FrameHeader { kind: kind::SNAPSHOT_END, index: count, ..FrameHeader::default() };
    frames.push(Frame::new(end, Bytes::new()));
    frames
}
