//! The log's index, opened only once the store holds the directory's lock: what sled cannot open it deletes, and that must
//! not be the index of another process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use storage::index::sled::SledIndex;
use storage::{RunKey, RunSource, SegmentIndex};

const DIRECTORY: &str = "index";

/// Opens sled at its first use, which is after the store took the lock.
pub(super) struct LazyIndex {
    path: PathBuf,
    opened: OnceLock<SledIndex>,
}

impl LazyIndex {
    /// In a directory of the data directory.
    pub(super) fn new(data_dir: &Path) -> LazyIndex {
        LazyIndex { path: data_dir.join(DIRECTORY), opened: OnceLock::new() }
    }

    fn sled(&mut self) -> &mut SledIndex {
        self.opened.get_or_init(|| SledIndex::open(&self.path));
        self.opened.get_mut().expect("initialized on the line above")
    }
}

impl SegmentIndex for LazyIndex {
    fn load(&mut self, segment: u64) -> Option<Vec<Bytes>> {
        self.sled().load(segment)
    }

    fn insert(&mut self, segment: u64, runs: Vec<(RunKey, Bytes)>) {
        self.sled().insert(segment, runs);
    }

    fn remove(&mut self, segment: u64) {
        self.sled().remove(segment);
    }

    fn retain(&mut self, segments: &BTreeSet<u64>) {
        self.sled().retain(segments);
    }

    fn reader(&self) -> Arc<dyn RunSource> {
        self.opened.get_or_init(|| SledIndex::open(&self.path)).reader()
    }
}
