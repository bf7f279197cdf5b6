//! The rebuildable index: a mirror of the footers, so that open and lookups need not read them.
//!
//! Nothing is promised from it. It may forget, refuse or lie: what it returns is checked against digests and CRCs, and
//! the footers hold the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::LogId;

pub mod memory;
pub mod sled;

/// Names one run of a footer. The order of fields is the order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    /// The log.
    pub log: LogId,
    /// First base offset of the run.
    pub first_offset: i64,
    /// First index of the run.
    pub first_index: u64,
    /// Segment id.
    pub segment: u64,
    /// First write sequence of the run.
    pub first_sequence: u64,
}

/// An index over sealed segments.
pub trait SegmentIndex: Send {
    /// All runs of a segment in footer order, `None` if unknown.
    fn load(&mut self, segment: u64) -> Option<Vec<Bytes>>;
    /// Remembers the runs of a segment. Never blocks; may be dropped.
    fn insert(&mut self, segment: u64, runs: Vec<(RunKey, Bytes)>);
    /// Forgets a segment.
    fn remove(&mut self, segment: u64);
    /// Forgets all segments but these.
    fn retain(&mut self, segments: &BTreeSet<u64>);
    /// A handle for lookups from any thread.
    fn reader(&self) -> Arc<dyn RunSource>;
}

/// Looks up single runs.
pub trait RunSource: Send + Sync {
    /// The bytes of a run, `None` if unknown or busy.
    fn get(&self, key: &RunKey) -> Option<Bytes>;
}
