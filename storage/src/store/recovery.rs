//! Opening a directory. The rules are numbered in `ARCHITECTURE.md`, "Recovery"; the steps here follow them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::cache::EntryCache;
use super::commit::{slot_of, snapshot_frames};
use super::control::{Used, replay};
use super::log::{Log, Place};
use super::lookup::Lookup;
use super::resolve::{Candidate, resolve};
use super::scan::{Found, Scan};
use super::{Segment, Store};
use crate::config::StoreConfig;
use crate::disk::{Disk, DiskFile};
use crate::format::VERSION;
use crate::format::control::{Control, Listed, Manifest};
use crate::format::footer::{OpenRun, PackedRun, TRAILER_LEN, digest, split_runs};
use crate::format::frame::{Frame, Home, Stamp, encode_frame, frame_len, kind};
use crate::format::segment::{self, HEADER_LEN, HeaderError, SegmentHeader};
use crate::index::SegmentIndex;
use crate::mutant::{self, Mutant};
use crate::types::{LogId, OpenError, Recovered, Sequence};

/// A segment file as found.
pub(super) struct OnDisk<F> {
    pub(super) id: u64,
    pub(super) file: F,
    pub(super) header: Option<SegmentHeader>,
    pub(super) len: u64,
}

/// A segment whose frames count, besides those of the manifest.
pub(super) struct Scanned<F> {
    pub(super) on_disk: OnDisk<F>,
    home: Home,
    pub(super) scan: Scan,
    /// Frames of the snapshot, 0 when it is not whole.
    head: usize,
}

/// What the frames say, before entries are resolved.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) logs: BTreeMap<LogId, Control>,
    used: Used,
    pub(super) manifest: Manifest,
    next_sequence: u64,
}

impl<D: Disk> Store<D> {
    /// Opens a directory: takes the lock, recovers, and syncs what was kept before it returns.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing that was durable is lost by an error.
    pub fn open(
        disk: D,
        config: StoreConfig,
        index: Box<dyn SegmentIndex>,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_noting_damage(disk, config, index, || Ok(()))
    }

    /// As [`open`](Self::open). When damage is found, `note` runs before anything is written: a crash after it finds the damage
    /// again, so what it makes durable is never missing once the damage is told no more.
    ///
    /// # Errors
    /// See [`OpenError`]; an error of `note` is passed on.
    pub fn open_noting_damage(
        disk: D,
        config: StoreConfig,
        index: Box<dyn SegmentIndex>,
        note: impl FnOnce() -> io::Result<()>,
    ) -> Result<(Self, Recovered), OpenError> {
        let Some(lock) = disk.lock()? else { return Err(OpenError::Locked) };
        let found = list(&disk)?;
        let boot =
            found.iter().filter_map(|found| found.header).map(|header| header.boot).max().unwrap_or(0) + 1;
        let fresh = found.iter().map(|found| found.id).max().unwrap_or(0) + 1;
        let mut report = Recovered { boot: u64::from(boot), ..Recovered::default() };
        let (mut scanned, older) = choose(found, config.salt, &mut report)?;
        for segment in &mut scanned {
            report.suspect |= segment.scan.rot().is_some();
        }
        if let Some(last) = scanned.last_mut() {
            report.cut_bytes += last.scan.cut_tail();
        }
        let replayed = replay_all(&scanned);
        let lookup = Arc::new(Lookup::new(index.reader(), config.run_cache_bytes));
        let cache = EntryCache::new(config.cache_bytes);
        let free_bytes = disk.free_bytes()?;
        let mut store = Self {
            disk,
            _lock: lock,
            index,
            lookup,
            cache,
            logs: replayed.logs.into_iter().map(|(id, control)| (id, Log::new(control))).collect(),
            used: replayed.used,
            segments: BTreeMap::new(),
            active: fresh,
            active_end: HEADER_LEN,
            head_end: HEADER_LEN,
            pending_head: None,
            boot,
            round: max_round(&scanned),
            next_sequence: replayed.next_sequence,
            synced: Sequence(replayed.next_sequence - 1),
            staged: Vec::new(),
            staged_first: replayed.next_sequence,
            staged_bytes: 0,
            copies: Vec::new(),
            reclaiming: false,
            roll: false,
            flight: None,
            failed: false,
            free_bytes,
            commits: 0,
            written_bytes: 0,
            copied_bytes: 0,
            reads_memory: std::cell::Cell::new(0),
            reads_disk: std::cell::Cell::new(0),
            config,
        };
        let mut candidates = Vec::new();
        let garbage = store.take_listed(older, &replayed.manifest, &mut candidates, &mut report);
        let (tail, emptied) = store.take_scanned(scanned, &mut candidates);
        report.rewritten_entries = tail.len() as u64;
        store.start_fresh(tail, candidates, &mut report, note)?;
        store.clean(garbage.into_iter().chain(emptied));
        report.logs = store.logs.keys().copied().collect();
        Ok((store, report))
    }

    /// Segments of the manifest: their runs, from wherever they can be had. Returns the files that count no more.
    fn take_listed(
        &mut self,
        found: Vec<OnDisk<D::File>>,
        manifest: &Manifest,
        candidates: &mut Vec<Candidate>,
        report: &mut Recovered,
    ) -> Vec<u64> {
        let mut garbage = Vec::new();
        let mut keep = BTreeSet::new();
        for on_disk in found {
            let listed = manifest.segments.iter().find(|listed| listed.id == on_disk.id);
            let (Some(listed), Some(header)) = (listed, on_disk.header) else {
                // A listed segment without a header is missing: its entries will be holes if they were needed.
                garbage.push(on_disk.id);
                continue;
            };
            keep.insert(on_disk.id);
            let home = Home { segment: listed.id, salt: header.salt };
            let runs = self.load_runs(&on_disk, *listed, home, report);
            let mut segment = Segment::new(home, Some(on_disk.file));
            segment.end = listed.end;
            segment.footer = listed.footer;
            segment.digest = listed.digest;
            segment.min_sequence = listed.min_sequence;
            segment.disk_bytes = on_disk.len;
            segment.sealed = true;
            segment.durable_head = true;
            add_candidates(&mut segment, runs, candidates);
            self.segments.insert(listed.id, segment);
        }
        self.index.retain(&keep);
        garbage
    }

    fn load_runs(
        &mut self,
        on_disk: &OnDisk<D::File>,
        listed: Listed,
        home: Home,
        report: &mut Recovered,
    ) -> Vec<PackedRun> {
        let matches = |runs: &Vec<Bytes>| digest(runs.iter()) == listed.digest;
        if let Some(runs) = self.index.load(listed.id).filter(matches) {
            report.segments_from_index += 1;
            return runs.into_iter().filter_map(PackedRun::whole).collect();
        }
        self.index.remove(listed.id);
        let runs = match read_footer(on_disk, listed) {
            Some(runs) => {
                report.segments_from_footer += 1;
                runs
            }
            None => {
                report.segments_scanned += 1;
                let bytes = on_disk
                    .file
                    .read_at(0, usize::try_from(on_disk.len.min(u64::from(listed.end))).unwrap_or(0));
                let scan = bytes.map(|bytes| Scan::new(&bytes, home)).unwrap_or_default();
                let runs = pack(scan.frames.iter());
                // Rot that an earlier opening found is not in the digest any more: it was told then, and must not make the
                // replicas that were replaced since suspect again.
                let known = digest(runs.iter().map(PackedRun::bytes)) == listed.digest;
                report.suspect |= !known && (!scan.bad.is_empty() || scan.end() != listed.end);
                runs
            }
        };
        if self.free_bytes >= self.config.reserve_bytes {
            self.index.insert(
                listed.id,
                runs.iter().map(|run| (run.key(listed.id), run.bytes().clone())).collect(),
            );
        }
        runs
    }

    /// Segments that were scanned: entries of their rounds but the last stay where they are. Returns the entries of the last
    /// round and the segments that hold nothing else.
    fn take_scanned(
        &mut self,
        scanned: Vec<Scanned<D::File>>,
        candidates: &mut Vec<Candidate>,
    ) -> (Vec<Frame>, Vec<u64>) {
        let last_round = max_round(&scanned);
        let unsynced_kept = mutant::active(Mutant::PromiseFromUnsyncedTail);
        let mut tail = Vec::new();
        let mut emptied = Vec::new();
        for Scanned { on_disk, home, scan, .. } in scanned {
            let (last, kept): (Vec<Found>, Vec<Found>) = scan
                .frames
                .into_iter()
                .partition(|found| found.frame.header.round == last_round && !unsynced_kept);
            tail.extend(last.into_iter().map(|found| found.frame).filter(|frame| self.may_live(frame)));
            let runs = pack(kept.iter());
            if runs.is_empty() {
                emptied.push(on_disk.id);
                continue;
            }
            let mut segment = Segment::new(home, Some(on_disk.file));
            segment.end = kept.last().map_or(HEADER_LEN, |found| found.position + found.frame.len());
            segment.digest = digest(runs.iter().map(PackedRun::bytes));
            segment.min_sequence = runs.iter().map(PackedRun::first_sequence).min().unwrap_or(u64::MAX);
            segment.disk_bytes = on_disk.len;
            segment.sealed = true;
            segment.durable_head = true;
            let mirrored = runs.iter().map(|run| (run.key(on_disk.id), run.bytes().clone())).collect();
            add_candidates(&mut segment, runs, candidates);
            self.segments.insert(on_disk.id, segment);
            if self.free_bytes >= self.config.reserve_bytes {
                self.index.insert(on_disk.id, mirrored);
            }
        }
        (tail, emptied)
    }

    fn may_live(&self, frame: &Frame) -> bool {
        let header = &frame.header;
        header.kind == kind::ENTRY
            && self.logs.get(&LogId(header.log)).is_some_and(|log| {
                let control = &log.control;
                header.index > control.start.index
                    && header.index <= control.last_index
                    && control.gap_at(header.index).is_none()
                    && !control.kills(header.index, header.sequence)
            })
    }

    /// Writes the fresh segment: state, and the entries of the last round again. Nothing is promised before it is synced.
    fn start_fresh(
        &mut self,
        tail: Vec<Frame>,
        mut candidates: Vec<Candidate>,
        report: &mut Recovered,
        note: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), OpenError> {
        self.round += 1;
        let home = self.home();
        let manifest = Manifest {
            used: self.used.0.clone(),
            segments: self.segments.values().map(Segment::listed).collect(),
        };
        let begin = frame_len(u32::try_from(manifest.encode().len()).unwrap_or(u32::MAX));
        let opened = place_tail(&tail, HEADER_LEN + begin);
        for (log, runs) in &opened {
            for (place, run) in runs.iter().enumerate() {
                let mut bytes = Vec::new();
                run.pack(*log, &mut bytes);
                let packed = PackedRun::whole(bytes.into());
                candidates.extend(packed.map(|packed| Candidate {
                    segment: self.active,
                    place: Place::Open(place),
                    packed,
                }));
            }
        }
        let mut fresh = Segment::new(home, None);
        fresh.durable_head = true;
        fresh.min_sequence = tail.iter().map(|frame| frame.header.sequence).min().unwrap_or(u64::MAX);
        self.segments.insert(self.active, fresh);
        self.settle_logs(opened, candidates, report);
        let min_sequence =
            self.segments.values().map(|segment| segment.min_sequence).min().unwrap_or(u64::MAX);
        for log in self.logs.values_mut() {
            log.control.suspect |= report.suspect;
            log.control.prune(min_sequence);
        }
        if report.suspect {
            note()?;
        }
        let controls = self.logs.iter().map(|(id, log)| (*id, &log.control));
        let frames = snapshot_frames(&manifest, self.next_sequence, &tail, controls);
        let file = self.write_fresh(&frames, home).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => OpenError::Full,
            _ => OpenError::Io(error),
        })?;
        if let Some(segment) = self.segments.get_mut(&self.active) {
            segment.disk_bytes = file.len()?;
            segment.file = Some(file);
        }
        Ok(())
    }

    fn write_fresh(&mut self, frames: &[Frame], home: Home) -> io::Result<D::File> {
        let header = SegmentHeader {
            id: home.segment,
            salt: home.salt,
            boot: self.boot,
            key_id: 0,
            round: self.round,
            next_sequence: self.next_sequence,
        };
        let mut buffer = header.encode();
        let stamp = Stamp { home, round: self.round, round_start: HEADER_LEN, boot: self.boot };
        for frame in frames {
            encode_frame(frame, stamp, self.active_end, &mut buffer);
            self.active_end += frame.len();
        }
        self.head_end = self.active_end;
        let reserve = if self.config.preallocate { u64::from(self.config.segment_bytes) } else { 0 };
        let file = self.disk.create(&segment::name(self.active), reserve)?;
        file.write_at(0, &buffer)?;
        file.sync()?;
        self.disk.sync_directory()?;
        Ok(file)
    }

    /// Gives each log its live runs. A hole shows that something synced is gone.
    fn settle_logs(
        &mut self,
        mut opened: BTreeMap<LogId, Vec<OpenRun>>,
        candidates: Vec<Candidate>,
        report: &mut Recovered,
    ) {
        let mut by_log: BTreeMap<LogId, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            by_log.entry(candidate.packed.log()).or_default().push(candidate);
        }
        for (id, log) in &mut self.logs {
            let resolved = resolve(&log.control, by_log.remove(id).unwrap_or_default());
            if let Some((index, offset)) = resolved.hole {
                report.suspect = true;
                log.control.truncate(index, offset, self.next_sequence);
                log.control.next_offset = offset;
            }
            log.open = opened.remove(id).unwrap_or_default();
            for open in &mut log.open {
                open.closed = true;
            }
            log.runs = resolved.runs;
            log.bytes = log.runs.iter().map(|run| run.bytes).sum();
            log.synced_index = log.control.last_index;
            for run in &log.runs {
                if let Some(segment) = self.segments.get_mut(&run.segment) {
                    segment.live_bytes += run.bytes;
                }
            }
        }
        self.next_sequence += 1;
        self.staged_first = self.next_sequence;
        self.synced = Sequence(self.next_sequence - 1);
    }

    /// Removes what counts no more and gives back reserved space; the fresh segment is durable.
    fn clean(&mut self, garbage: impl Iterator<Item = u64>) {
        for id in garbage {
            if let Err(error) = self.disk.remove(&segment::name(id)) {
                tracing::warn!(segment = id, %error, "a segment that counts no more could not be removed");
            }
        }
        for segment in self.segments.values_mut().filter(|segment| segment.sealed && segment.footer == 0) {
            let shrunk = segment.file.as_ref().map(|file| file.set_len(u64::from(segment.end)));
            if segment.disk_bytes > u64::from(segment.end) && matches!(shrunk, Some(Ok(()))) {
                segment.disk_bytes = u64::from(segment.end);
            }
        }
    }
}

/// All segment files, in order.
pub(super) fn list<D: Disk>(disk: &D) -> Result<Vec<OnDisk<D::File>>, OpenError> {
    let mut found = Vec::new();
    for name in disk.list()? {
        let Some(id) = segment::id_of(&name) else { continue };
        let file = disk.open(&name)?;
        let len = file.len()?;
        let bytes = file.read_at(0, usize::try_from(len.min(u64::from(HEADER_LEN))).unwrap_or(0))?;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) if header.key_id != 0 => {
                return Err(OpenError::UnknownKey { file: name, key: header.key_id });
            }
            Ok(header) => Some(header).filter(|header| header.id == id),
            Err(HeaderError::Newer(version)) => {
                return Err(OpenError::NewerFormat { file: name, version, known: VERSION });
            }
            Err(HeaderError::Bad) => None,
        };
        found.push(OnDisk { id, file, header, len });
    }
    found.sort_by_key(|found| found.id);
    Ok(found)
}

/// Base and what counts after it, in order, and everything older. Newer ones that were being created go to the older, where no
/// manifest lists them.
#[expect(clippy::type_complexity, reason = "two lists of the same files, named by the caller")]
pub(super) fn choose<F: DiskFile>(
    mut found: Vec<OnDisk<F>>,
    salt: u64,
    report: &mut Recovered,
) -> Result<(Vec<Scanned<F>>, Vec<OnDisk<F>>), OpenError> {
    let mut scanned: Vec<Scanned<F>> = Vec::new();
    let mut discarded = Vec::new();
    let mut newer: Option<SegmentHeader> = None;
    while let Some(on_disk) = found.pop() {
        let home = Home { segment: on_disk.id, salt: on_disk.header.map_or(salt, |header| header.salt) };
        let len = usize::try_from(on_disk.len).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let bytes = on_disk.file.read_at(0, len)?;
        let scan = Scan::new(&bytes, home);
        // The next segment of the same boot was written after every round of this one was synced.
        let followed = newer.zip(on_disk.header).is_some_and(|(newer, header)| newer.boot == header.boot);
        let header = on_disk.header;
        let torn = scan.bad.len() > 1 || scan.rubbish > 0;
        match scan.head().filter(|_| header.is_some()) {
            Some(head) => {
                report.suspect |= followed && torn;
                scanned.push(Scanned { on_disk, home, scan, head });
                break;
            }
            None if scan.rot().is_some() || !scanned.is_empty() || (followed && !scan.frames.is_empty()) => {
                report.suspect = true;
                scanned.push(Scanned { on_disk, home, scan, head: 0 });
            }
            None => discarded.push(on_disk),
        }
        newer = header.or(newer);
    }
    scanned.reverse();
    found.extend(discarded);
    Ok((scanned, found))
}

fn max_round<F>(scanned: &[Scanned<F>]) -> u64 {
    let frames = scanned.iter().flat_map(|scanned| &scanned.scan.frames);
    frames.map(|found| found.frame.header.round).max().unwrap_or(0)
}

/// Rebuilds the control state: base's snapshot, then every later frame.
pub(super) fn replay_all<F>(scanned: &[Scanned<F>]) -> Replayed {
    let mut replayed = Replayed { next_sequence: 1, ..Replayed::default() };
    let mut lost = Lost::default();
    for segment in scanned {
        let (head, rest) = segment.scan.frames.split_at(segment.head);
        for found in head {
            replay_head(&mut replayed, &found.frame);
        }
        for found in rest {
            let sequence = found.frame.header.sequence;
            // An older sequence is a copy: where it lies matters, that it is written again does not.
            if found.frame.header.kind < kind::SNAPSHOT_BEGIN && sequence >= replayed.next_sequence {
                replayed.next_sequence = sequence + 1;
                replay(&mut replayed.logs, &mut replayed.used, &found.frame);
                lost.see(&segment.scan, found);
            }
        }
    }
    for (log, index) in lost.unproven {
        if let Some(control) = replayed.logs.get_mut(&log) {
            control.cut(index, replayed.next_sequence);
        }
    }
    replayed
}

/// Frames that rot took. One of them may have cut a log off, or replaced what it ended with: what was appended afterwards does not join
/// what is there from before, though the indexes fit (seed 17).
#[derive(Default)]
struct Lost {
    some: bool,
    /// Logs that began anew since.
    anew: BTreeSet<LogId>,
    /// From where on a log cannot be trusted.
    unproven: BTreeMap<LogId, u64>,
}

impl Lost {
    fn see(&mut self, scan: &Scan, found: &Found) {
        self.some |= scan.bad.first().is_some_and(|bad| *bad < found.position);
        let header = &found.frame.header;
        let log = LogId(header.log);
        if !self.some {
            return;
        }
        match header.kind {
            kind::CREATE => _ = self.anew.insert(log),
            kind::RESET if header.entry_kind != 1 => {
                self.anew.insert(log);
                self.unproven.remove(&log);
            }
            kind::ENTRY if !self.anew.contains(&log) => {
                let from = self.unproven.entry(log).or_insert(header.index);
                *from = (*from).min(header.index);
            }
            _ => {}
        }
    }
}

fn replay_head(replayed: &mut Replayed, frame: &Frame) {
    match frame.header.kind {
        kind::SNAPSHOT_BEGIN => {
            replayed.next_sequence = replayed.next_sequence.max(frame.header.sequence);
            if let Some(manifest) = Manifest::decode(frame.body.clone()) {
                replayed.used = Used(manifest.used.clone());
                replayed.manifest = manifest;
            }
        }
        kind::SNAPSHOT_LOG => {
            if let Some(control) = Control::decode(frame.header.epoch, frame.body.clone()) {
                replayed.logs.insert(LogId(frame.header.log), control);
            }
        }
        _ => {}
    }
}

/// Runs of the entry frames, in order of log.
pub(super) fn pack<'a>(frames: impl Iterator<Item = &'a Found>) -> Vec<PackedRun> {
    let mut open: BTreeMap<LogId, Vec<OpenRun>> = BTreeMap::new();
    for Found { position, frame } in frames {
        place(&mut open, frame, *position);
    }
    let mut bytes = Vec::new();
    for (log, runs) in &open {
        for run in runs {
            run.pack(*log, &mut bytes);
        }
    }
    split_runs(bytes.into()).unwrap_or_default()
}

fn place(open: &mut BTreeMap<LogId, Vec<OpenRun>>, frame: &Frame, position: u32) {
    if frame.header.kind != kind::ENTRY {
        return;
    }
    let slot = slot_of(&frame.header, position);
    let runs = open.entry(LogId(frame.header.log)).or_default();
    match runs.last_mut() {
        Some(run) if run.takes(frame.header.index, &slot) => run.slots.push(slot),
        _ => runs.push(OpenRun { first_index: frame.header.index, slots: vec![slot], closed: false }),
    }
}

fn place_tail(tail: &[Frame], mut position: u32) -> BTreeMap<LogId, Vec<OpenRun>> {
    let mut open = BTreeMap::new();
    for frame in tail {
        place(&mut open, frame, position);
        position += frame.len();
    }
    open
}

fn read_footer<F: DiskFile>(on_disk: &OnDisk<F>, listed: Listed) -> Option<Vec<PackedRun>> {
    if listed.footer == 0 {
        return None;
    }
    let end = on_disk.len.checked_sub(TRAILER_LEN as u64)?;
    let len = usize::try_from(end.checked_sub(u64::from(listed.footer))?).ok()?;
    let bytes = on_disk.file.read_at(u64::from(listed.footer), len).ok()?;
    (digest(std::iter::once(&bytes)) == listed.digest).then(|| split_runs(bytes))?
}

/// Makes the runs of a sealed segment known, and keeps their bytes if the segment has no footer.
fn add_candidates<F>(segment: &mut Segment<F>, runs: Vec<PackedRun>, candidates: &mut Vec<Candidate>) {
    let mut at = 0;
    let mut pinned = Vec::new();
    let footer = segment.footer;
    for packed in runs {
        let place = match u32::try_from(at) {
            Ok(at) if footer > 0 => Place::Footer(footer + at),
            _ => Place::Pinned(at),
        };
        at += packed.bytes().len();
        if footer == 0 {
            pinned.extend_from_slice(packed.bytes());
        }
        candidates.push(Candidate { segment: segment.home.segment, place, packed });
    }
    if footer == 0 {
        segment.pinned = Some(pinned.into());
    }
}
