//! What goes in and comes out: identifiers, entries, writes, states and errors.

use bytes::Bytes;

/// Local number of a log in one data directory, chosen by the caller and never used twice there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

/// Write sequence: total order of all writes staged in one data directory. Zero is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Raft term.
    pub term: u32,
    /// Raft index, from 1.
    pub index: u64,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset span; 0 for entries without records.
    pub record_count: u32,
    /// Opaque to storage.
    pub kind: u8,
    /// Largest record timestamp in milliseconds, -1 when there is none.
    pub timestamp_ms: i64,
    /// Opaque bytes.
    pub payload: Bytes,
}

impl Entry {
    /// Whether it has records by count and none by content: compaction took them.
    #[must_use]
    pub fn is_emptied(&self) -> bool {
        self.record_count > 0 && self.payload.is_empty()
    }
}

/// Where a log starts: everything with an index up to and including `index` is gone. All zero at creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStart {
    /// Last index that is gone.
    pub index: u64,
    /// Term of the entry at `index`.
    pub term: u32,
    /// Offset of the first record that may exist: the log start offset.
    pub next_offset: i64,
}

/// Where a term begins in a log.
pub type TermStart = (u32, u64, i64);

/// A change of a log, staged by [`crate::Store::write`].
#[derive(Clone, Debug)]
pub enum Write {
    /// A new, empty log.
    Create {
        /// Never used before in this directory.
        log: LogId,
        /// Replica epoch.
        epoch: u32,
        /// Opaque, returned by open.
        meta: Bytes,
    },
    /// Replaces the opaque hard state (term, vote, membership).
    HardState {
        /// The log.
        log: LogId,
        /// The new state.
        state: Bytes,
    },
    /// Adds entries at the end: first index = last index + 1, first base offset = next offset, dense.
    Append {
        /// The log.
        log: LogId,
        /// The entries, in order.
        entries: Vec<Entry>,
    },
    /// Removes all entries with an index of at least `from`.
    Truncate {
        /// The log.
        log: LogId,
        /// First index removed; above the log start.
        from: u64,
    },
    /// Removes a prefix.
    Trim {
        /// The log.
        log: LogId,
        /// The new start; its index is at most the last index. A start below the present one changes nothing.
        start: LogStart,
    },
    /// Replaces the opaque applied state.
    Checkpoint {
        /// The log.
        log: LogId,
        /// Index up to which `state` is applied.
        index: u64,
        /// The state.
        state: Bytes,
    },
    /// Marks the log as suspect until the next reset.
    Suspect {
        /// The log.
        log: LogId,
    },
    /// Starts the log anew in one atomic frame, under a new epoch.
    Reset {
        /// The log.
        log: LogId,
        /// New replica epoch.
        epoch: u32,
        /// New meta.
        meta: Bytes,
        /// New hard state.
        hard_state: Bytes,
        /// New start.
        start: LogStart,
        /// New checkpoint: index and opaque state.
        checkpoint: (u64, Bytes),
        /// Keep the entries above `start.index`. Only legal if the log holds `start.index` with `start.term`.
        keep_suffix: bool,
    },
    /// Removes the log for good.
    Delete {
        /// The log.
        log: LogId,
    },
}

impl Write {
    /// The log that is written.
    #[must_use]
    pub fn log(&self) -> LogId {
        match self {
            Self::Create { log, .. }
            | Self::HardState { log, .. }
            | Self::Append { log, .. }
            | Self::Truncate { log, .. }
            | Self::Trim { log, .. }
            | Self::Checkpoint { log, .. }
            | Self::Suspect { log }
            | Self::Reset { log, .. }
            | Self::Delete { log } => *log,
        }
    }
}

/// What open found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// All logs, in order.
    pub logs: Vec<LogId>,
    /// How often this directory has been opened, from 1.
    pub boot: u64,
    /// Rot was found below a round that had been synced: promises of every log here may be lost. The mark is already durable
    /// in each log when open returns.
    pub suspect: bool,
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// Entries of the last round that were written again.
    pub rewritten_entries: u64,
    /// Segments whose runs came from the index.
    pub segments_from_index: u64,
    /// Segments whose runs came from a footer.
    pub segments_from_footer: u64,
    /// Segments that had to be scanned.
    pub segments_scanned: u64,
}

/// State of one log; staged writes count at once.
#[derive(Clone, Copy, Debug)]
pub struct LogState<'a> {
    /// Replica epoch.
    pub epoch: u32,
    /// Opaque meta of create or reset.
    pub meta: &'a Bytes,
    /// Opaque hard state, empty before the first.
    pub hard_state: &'a Bytes,
    /// Log start.
    pub start: LogStart,
    /// Last index, inclusive; `start.index` when the log is empty.
    pub last_index: u64,
    /// Offset of the next record.
    pub next_offset: i64,
    /// Last index that is synced, inclusive.
    pub synced_index: u64,
    /// Applied index and opaque state.
    pub checkpoint: Option<(u64, &'a Bytes)>,
    /// Sticky mark.
    pub suspect: bool,
    /// Where each term in the log begins: term, first index, first offset.
    pub term_starts: &'a [TermStart],
    /// Bytes of its entries on disk, with frame headers. An estimate after a trim inside a sealed segment.
    pub bytes: u64,
}

/// Where a read starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At this index.
    Index(u64),
    /// At the entry that holds this offset.
    Offset(i64),
}

/// Figures of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all segment files, preallocated ones included.
    pub disk_bytes: u64,
    /// Bytes of live entries with their frame headers.
    pub live_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes staged and not yet in a commit.
    pub staged_bytes: u64,
    /// Reads answered from memory.
    pub reads_memory: u64,
    /// Reads that became disk jobs.
    pub reads_disk: u64,
    /// Bytes that reads asked of the disk.
    pub read_bytes: u64,
    /// Commits finished.
    pub commits: u64,
    /// Bytes written by commits.
    pub written_bytes: u64,
    /// Bytes that reclaim copied.
    pub copied_bytes: u64,
    /// Free bytes of the disk when last asked.
    pub free_bytes: u64,
}

impl Stats {
    /// Both together; of the free bytes, the fewer.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            disk_bytes: self.disk_bytes + other.disk_bytes,
            live_bytes: self.live_bytes + other.live_bytes,
            segments: self.segments + other.segments,
            staged_bytes: self.staged_bytes + other.staged_bytes,
            reads_memory: self.reads_memory + other.reads_memory,
            reads_disk: self.reads_disk + other.reads_disk,
            read_bytes: self.read_bytes + other.read_bytes,
            commits: self.commits + other.commits,
            written_bytes: self.written_bytes + other.written_bytes,
            copied_bytes: self.copied_bytes + other.copied_bytes,
            free_bytes: self.free_bytes.min(other.free_bytes),
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the directory.
    #[error("the data directory is in use by another process")]
    Locked,
    /// A file was written by a newer release.
    #[error("{file} has format version {version}, this release knows up to {known}: run the newer release")]
    NewerFormat {
        /// File name.
        file: String,
        /// Its version.
        version: u32,
        /// The newest version known here.
        known: u32,
    },
    /// A segment is encrypted with a key that this release cannot hold.
    #[error("{file} is encrypted with key {key}, and no key is configured")]
    UnknownKey {
        /// File name.
        file: String,
        /// Key id.
        key: u64,
    },
    /// The disk is full: recovery needs room for one fresh segment.
    #[error("the disk is full, recovery needs room for a fresh segment: free some space and start again")]
    Full,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Why a write was not staged.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// Only the reserve is left on the disk; appends are refused until space returns.
    #[error("the disk is full up to its reserve")]
    Full,
    /// A write or sync failed before; the store must be opened again.
    #[error("an earlier write or sync failed, the log takes nothing more until it is opened again")]
    Failed,
    /// The write does not fit the log's state.
    #[error("invalid write to log {log:?}: {reason}", log = .log.0)]
    Invalid {
        /// The log.
        log: LogId,
        /// What is wrong.
        reason: &'static str,
    },
}

/// A commit failed; the store is latched.
#[derive(Debug, thiserror::Error)]
#[error("a write or sync of the log failed, the log is latched: {0}")]
pub struct CommitError(#[from] pub std::io::Error);

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such log.
    #[error("unknown log {}", .0.0)]
    UnknownLog(LogId),
    /// Below the log start.
    #[error("below the log start")]
    BelowStart,
    /// At or beyond the log end.
    #[error("beyond the log end")]
    BeyondEnd,
    /// The bytes on disk are not what was written.
    #[error("log {} is corrupt at index {index}, segment {segment:016x} position {position}", .log.0)]
    Corrupt {
        /// The log.
        log: LogId,
        /// The index that was to be read.
        index: u64,
        /// Segment id.
        segment: u64,
        /// Position in the segment.
        position: u32,
    },
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(#[from] std::io::Error),
}
