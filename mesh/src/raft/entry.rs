//! What the log is made of.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::{Index, Term};

/// What an entry's payload is. Only `Noop` and `Membership` mean something to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum EntryKind {
    /// The first entry of a leader's term; no payload, no offsets.
    Noop = 0,
    /// A [`Membership`](super::Membership) in its byte table; no offsets.
    Membership = 1,
    /// A record batch, opaque.
    Records = 2,
    /// The owner's decision about a new log start, opaque.
    LogStart = 3,
    /// A command of a metadata shard, opaque.
    Command = 4,
}

impl EntryKind {
    /// The number on disk.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        self as u8
    }

    /// The kind of a number on disk, `None` when unknown.
    #[must_use]
    pub const fn from_u8(kind: u8) -> Option<EntryKind> {
        Some(match kind {
            0 => EntryKind::Noop,
            1 => EntryKind::Membership,
            2 => EntryKind::Records,
            3 => EntryKind::LogStart,
            4 => EntryKind::Command,
            _ => return None,
        })
    }
}

/// One entry. Cloning it shares the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its position.
    pub index: Index,
    /// The Kafka offset of its first record, or of the next record when it has none.
    pub base_offset: i64,
    /// The offset span: base offsets of neighbouring entries differ by it.
    pub record_count: u32,
    /// What the payload is.
    pub kind: EntryKind,
    /// The largest record timestamp, -1 when none.
    pub timestamp_ms: i64,
    /// The content.
    pub payload: Bytes,
}

/// What an entry weighs in windows beside its payload, in bytes.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 64;

impl Entry {
    /// The offset after the last record, `None` when it does not fit.
    #[must_use]
    pub fn end_offset(&self) -> Option<i64> {
        self.base_offset.checked_add(i64::from(self.record_count))
    }

    /// Its weight in windows, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.payload.len().saturating_add(ENTRY_OVERHEAD_BYTES)
    }
}

/// The point before the first entry that is kept. All zero in a log that was never trimmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStart {
    /// Everything up to here, inclusive, is gone.
    pub index: Index,
    /// The term of the entry at `index`.
    pub term: Term,
    /// The offset of the first record after `index`.
    pub next_offset: i64,
}

/// Content that its leader shall append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// `Records`, `LogStart` or `Command`; the others are the core's own and refused.
    pub kind: EntryKind,
    /// The offset span.
    pub record_count: u32,
    /// The largest record timestamp, -1 when none.
    pub timestamp_ms: i64,
    /// The content.
    pub payload: Bytes,
}
