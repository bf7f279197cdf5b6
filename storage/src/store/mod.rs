//! The store: many logs in one segment log.
//!
//! `write` stages, `commit` makes durable, `recovery` opens, `read` and `lookups` answer, `reclaim` copies forward, `rewrite` compacts.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::format::control::Listed;
use crate::format::frame::{Frame, Home};
use crate::index::SegmentIndex;
use crate::types::{LogId, LogState, Sequence, Stats};

mod cache;
mod commit;
mod control;
mod log;
mod lookup;
mod lookups;
mod read;
mod reclaim;
mod recovery;
mod resolve;
mod rewrite;
pub(crate) mod scan;
pub(crate) mod survey;
mod write;

pub use commit::Commit;
pub use read::{Read, ReadJob};
pub use reclaim::{Reclaim, ReclaimReport};
pub use rewrite::{Fate, Rewrite, Turn};

use cache::EntryCache;
use commit::{Copied, Flight, Staged};
use control::Used;
use log::Log;
use lookup::{Lookup, SegmentRef};

/// One segment file.
struct Segment<F> {
    home: Home,
    /// `None` while its creating commit is under way.
    file: Option<F>,
    /// Position after the last frame that counts.
    end: u32,
    /// Position of the footer, 0 for none.
    footer: u32,
    digest: [u8; 16],
    /// Lowest write sequence of its entries.
    min_sequence: u64,
    /// Frame bytes of live entries.
    live_bytes: u64,
    /// Last write that took a live entry away.
    freed_at: u64,
    disk_bytes: u64,
    /// Runs of a segment without a footer.
    pinned: Option<Bytes>,
    sealed: bool,
    durable_head: bool,
    /// Reclaim could not read it.
    stuck: bool,
}

impl<F: Clone> Segment<F> {
    fn new(home: Home, file: Option<F>) -> Self {
        Self {
            home,
            file,
            end: 0,
            footer: 0,
            digest: [0; 16],
            min_sequence: u64::MAX,
            live_bytes: 0,
            freed_at: 0,
            disk_bytes: 0,
            pinned: None,
            sealed: false,
            durable_head: false,
            stuck: false,
        }
    }

    fn reference(&self) -> Option<SegmentRef<F>> {
        Some(SegmentRef { home: self.home, file: self.file.clone()?, pinned: self.pinned.clone() })
    }

    fn listed(&self) -> Listed {
        Listed {
            id: self.home.segment,
            end: self.end,
            footer: self.footer,
            min_sequence: self.min_sequence,
            digest: self.digest,
        }
    }
}

/// Many logs in one segment log on one disk. The owner stages writes, runs commits (on any thread), and reads.
pub struct Store<D: Disk> {
    disk: D,
    _lock: D::Lock,
    config: StoreConfig,
    index: Box<dyn SegmentIndex>,
    lookup: Arc<Lookup>,
    cache: EntryCache,
    logs: BTreeMap<LogId, Log>,
    used: Used,
    segments: BTreeMap<u64, Segment<D::File>>,
    active: u64,
    active_end: u32,
    /// Position after the active segment's snapshot.
    head_end: u32,
    /// Snapshot that opens the next segment; present once the active one is full.
    pending_head: Option<Vec<Frame>>,
    boot: u32,
    round: u64,
    next_sequence: u64,
    synced: Sequence,
    staged: Vec<Staged>,
    staged_first: u64,
    staged_bytes: u64,
    copies: Vec<Copied>,
    /// A reclaim job is out, or its copies are not durable yet.
    reclaiming: bool,
    /// The active segment is to be sealed, full or not.
    roll: bool,
    flight: Option<Flight>,
    failed: bool,
    free_bytes: u64,
    commits: u64,
    written_bytes: u64,
    copied_bytes: u64,
    reads_memory: Cell<u64>,
    reads_disk: Cell<u64>,
}

impl<D: Disk> Store<D> {
    /// All logs in order.
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        self.logs.keys().copied()
    }

    /// State of a log; staged writes count at once.
    #[must_use]
    pub fn log(&self, log: LogId) -> Option<LogState<'_>> {
        let state = self.logs.get(&log)?;
        let control = &state.control;
        Some(LogState {
            epoch: control.epoch,
            meta: &control.meta,
            hard_state: &control.hard_state,
            start: control.start,
            last_index: control.last_index,
            next_offset: control.next_offset,
            synced_index: state.synced_index,
            checkpoint: control.checkpoint.as_ref().map(|(index, state)| (*index, state)),
            suspect: control.suspect,
            term_starts: &control.term_starts,
            bytes: state.bytes,
        })
    }

    /// Up to where everything is synced, inclusive.
    #[must_use]
    pub fn synced(&self) -> Sequence {
        self.synced
    }

    /// The last write staged, synced or not.
    #[must_use]
    pub fn staged(&self) -> Sequence {
        Sequence(self.next_sequence - 1)
    }

    /// Whether a write or sync failed: nothing is taken any more until the directory is opened again.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Whether a commit is under way.
    #[must_use]
    pub fn committing(&self) -> bool {
        self.flight.is_some()
    }

    /// How often the directory has been opened, from 1.
    #[must_use]
    pub fn boot(&self) -> u64 {
        u64::from(self.boot)
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            disk_bytes: self.segments.values().map(|segment| segment.disk_bytes).sum(),
            live_bytes: self.segments.values().map(|segment| segment.live_bytes).sum(),
            segments: self.segments.len() as u64,
            staged_bytes: self.staged_bytes,
            reads_memory: self.reads_memory.get(),
            reads_disk: self.reads_disk.get(),
            read_bytes: self.lookup.read_bytes(),
            commits: self.commits,
            written_bytes: self.written_bytes,
            copied_bytes: self.copied_bytes,
            free_bytes: self.free_bytes,
        }
    }

    fn count_read(&self, memory: bool) {
        let counter = if memory { &self.reads_memory } else { &self.reads_disk };
        counter.set(counter.get() + 1);
    }
}
