//! Finding the details of a run: cache, index, segment, in this order. Shared with jobs on other threads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::log::{Place, Run};
use crate::disk::DiskFile;
use crate::format::footer::PackedRun;
use crate::format::frame::{FRAME_LEN, Frame, Home, decode_frame};
use crate::index::{RunKey, RunSource};
use crate::types::{LogId, ReadError};

/// What a reader needs of a segment.
#[derive(Clone)]
pub(crate) struct SegmentRef<F> {
    pub(crate) home: Home,
    pub(crate) file: F,
    pub(crate) pinned: Option<Bytes>,
}

#[derive(Default)]
struct RunCache {
    runs: BTreeMap<RunKey, PackedRun>,
    order: VecDeque<RunKey>,
    bytes: usize,
}

/// Finds details of runs.
pub(crate) struct Lookup {
    cache: Mutex<RunCache>,
    cache_bytes: usize,
    source: Arc<dyn RunSource>,
    read_bytes: AtomicU64,
}

impl Lookup {
    pub(crate) fn new(source: Arc<dyn RunSource>, cache_bytes: usize) -> Self {
        Self { cache: Mutex::default(), cache_bytes, source, read_bytes: AtomicU64::new(0) }
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Remembers a run; the oldest ones make room.
    pub(crate) fn remember(&self, key: RunKey, run: PackedRun) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.bytes += run.bytes().len();
        if let Some(old) = cache.runs.insert(key, run) {
            cache.bytes -= old.bytes().len();
        } else {
            cache.order.push_back(key);
        }
        while cache.bytes > self.cache_bytes {
            let Some(oldest) = cache.order.pop_front() else { break };
            if let Some(gone) = cache.runs.remove(&oldest) {
                cache.bytes -= gone.bytes().len();
            }
        }
    }

    /// The details if they are in memory.
    pub(crate) fn cached(&self, key: &RunKey) -> Option<PackedRun> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).runs.get(key).cloned()
    }

    /// The details of a run that is not open, remembered for the next one who asks. May read the disk.
    pub(crate) fn fetch<F: DiskFile>(
        &self,
        log: LogId,
        run: &Run,
        segment: &SegmentRef<F>,
    ) -> Result<PackedRun, ReadError> {
        let key = run.key(log);
        if let Some(found) = self.cached(&key) {
            return Ok(found);
        }
        let found = self.find(log, run, segment)?;
        self.remember(key, found.clone());
        Ok(found)
    }

    /// The same, from the index or the segment, and not remembered.
    pub(crate) fn find<F: DiskFile>(
        &self,
        log: LogId,
        run: &Run,
        segment: &SegmentRef<F>,
    ) -> Result<PackedRun, ReadError> {
        let key = run.key(log);
        let whole = |bytes: Bytes| PackedRun::whole(bytes).filter(|packed| packed.key(run.segment) == key);
        let from_index =
            self.source.get(&key).and_then(whole).filter(|packed| packed.count() == run.packed_count);
        let found = match (from_index, run.place) {
            (Some(found), _) => Some(found),
            (None, Place::Footer(position)) => {
                match self.read(&segment.file, position, PackedRun::len_of(run.packed_count), Source::Any) {
                    Ok(bytes) => whole(bytes),
                    Err(ReadError::Corrupt { .. }) => None,
                    Err(error) => return Err(error),
                }
            }
            (None, Place::Pinned(at)) => segment
                .pinned
                .as_ref()
                .and_then(|pinned| pinned.get(at..at + PackedRun::len_of(run.packed_count)))
                .and_then(|bytes| whole(Bytes::copy_from_slice(bytes))),
            (None, Place::Open(_)) => None,
        };
        let position = match run.place {
            Place::Footer(position) => position,
            _ => 0,
        };
        let corrupt = ReadError::Corrupt { log, index: run.first_index, segment: run.segment, position };
        found.ok_or(corrupt)
    }

    /// Reads from a segment and counts the bytes.
    pub(crate) fn read<F: DiskFile>(
        &self,
        file: &F,
        position: u32,
        len: usize,
        source: Source,
    ) -> Result<Bytes, ReadError> {
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        let read = match source {
            Source::Any => file.read_at(u64::from(position), len),
            Source::Medium => file.read_medium_at(u64::from(position), len),
        };
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                ReadError::Corrupt { log: LogId(u32::MAX), index: 0, segment: 0, position }
            }
            _ => ReadError::Io(error),
        })
    }
}

/// Where bytes are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Wherever they are: the system may have them in memory.
    Any,
    /// The disk itself, and no cache keeps them.
    Medium,
}

/// An entry frame that is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) segment: usize,
    pub(crate) index: u64,
    pub(crate) sequence: u64,
    pub(crate) position: u32,
    pub(crate) body_len: u32,
}

impl Wanted {
    fn end(&self) -> u64 {
        u64::from(self.position) + FRAME_LEN as u64 + u64::from(self.body_len)
    }
}

/// Bytes read between wanted frames at most, in parts of the wanted ones: an eighth.
const WASTE_SHIFT: u32 = 3;
/// Largest single read.
const EXTENT_MAX: u64 = 4 << 20;

/// Reads frames exactly, near neighbours together, and checks each one.
pub(crate) fn read_frames<F: DiskFile>(
    lookup: &Lookup,
    log: LogId,
    segments: &[SegmentRef<F>],
    wanted: &[Wanted],
    source: Source,
) -> Result<Vec<Frame>, ReadError> {
    let mut frames = Vec::with_capacity(wanted.len());
    let mut rest = wanted;
    while let Some(first) = rest.first() {
        let count = neighbours(rest);
        let (together, after) = rest.split_at(count);
        let end = together.last().map_or(0, Wanted::end);
        let corrupt = |wanted: &Wanted| ReadError::Corrupt {
            log,
            index: wanted.index,
            segment: segments[wanted.segment].home.segment,
            position: wanted.position,
        };
        let len = usize::try_from(end - u64::from(first.position)).map_err(|_| corrupt(first))?;
        let read = lookup.read(&segments[first.segment].file, first.position, len, source);
        let bytes = read.map_err(|error| match error {
            ReadError::Corrupt { .. } => corrupt(first),
            other => other,
        })?;
        for wanted in together {
            let at = usize::try_from(wanted.position - first.position).map_err(|_| corrupt(wanted))?;
            let end = at + FRAME_LEN + usize::try_from(wanted.body_len).map_err(|_| corrupt(wanted))?;
            let frame = decode_frame(&bytes.slice(at..end), segments[wanted.segment].home, wanted.position)
                .filter(|frame| {
                    let header = &frame.header;
                    header.log == log.0 && header.index == wanted.index && header.sequence == wanted.sequence
                })
                .ok_or_else(|| corrupt(wanted))?;
            frames.push(frame);
        }
        rest = after;
    }
    Ok(frames)
}

/// How many of the first frames are read together: gaps stay small against what is wanted.
fn neighbours(wanted: &[Wanted]) -> usize {
    let first = &wanted[0];
    let mut useful = first.end() - u64::from(first.position);
    let mut count = 1;
    for pair in wanted.windows(2) {
        let (before, next) = (&pair[0], &pair[1]);
        if next.segment != before.segment || u64::from(next.position) < before.end() {
            break;
        }
        useful += next.end() - u64::from(next.position);
        let extent = next.end() - u64::from(first.position);
        if extent - useful > useful >> WASTE_SHIFT || extent > EXTENT_MAX {
            break;
        }
        count += 1;
    }
    count
}
