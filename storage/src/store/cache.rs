//! Recent entries in memory, shared with whoever reads them.

use moka::sync::Cache;

use crate::types::{Entry, LogId};

/// Bookkeeping that an entry weighs besides its payload.
const OVERHEAD: usize = 160;

/// A cache of entries, weighed in bytes. The generation makes what a truncation removed unreachable.
pub(crate) struct EntryCache(Option<Cache<(u32, u32, u64), Entry>>);

impl EntryCache {
    /// A cache of this weight, none for 0.
    pub(crate) fn new(bytes: u64) -> Self {
        Self((bytes > 0).then(|| {
            Cache::builder()
                .max_capacity(bytes)
                .weigher(|_, entry: &Entry| u32::try_from(entry.payload.len() + OVERHEAD).unwrap_or(u32::MAX))
                .build()
        }))
    }

    pub(crate) fn insert(&self, log: LogId, generation: u32, entry: Entry) {
        if let Some(cache) = &self.0 {
            cache.insert((log.0, generation, entry.index), entry);
        }
    }

    /// The entry is not what is stored any more.
    pub(crate) fn remove(&self, log: LogId, generation: u32, index: u64) {
        if let Some(cache) = &self.0 {
            cache.invalidate(&(log.0, generation, index));
        }
    }

    pub(crate) fn get(&self, log: LogId, generation: u32, index: u64) -> Option<Entry> {
        self.0.as_ref()?.get(&(log.0, generation, index))
    }
}
