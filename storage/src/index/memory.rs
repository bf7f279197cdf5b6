//! An index in memory that forgets when told to: what the simulator uses in place of sled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{RunKey, RunSource, SegmentIndex};

#[derive(Default)]
struct State {
    runs: BTreeMap<RunKey, Bytes>,
    segments: BTreeMap<u64, Vec<RunKey>>,
}

/// Clones share their content, so that one can outlive a store and be given to the next.
#[derive(Clone, Default)]
pub struct MemoryIndex(Arc<Mutex<State>>);

impl MemoryIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything.
    pub fn forget(&self) {
        *self.state() = State::default();
    }

    /// Forgets the runs that `forgotten` names, and nothing says so afterwards.
    pub fn forget_runs(&self, mut forgotten: impl FnMut(&RunKey) -> bool) {
        self.state().runs.retain(|key, _| !forgotten(key));
    }

    /// Changes the bytes of the runs that `lies` names, and nothing says so afterwards.
    pub fn corrupt_runs(&self, mut lies: impl FnMut(&RunKey) -> bool) {
        for (key, bytes) in &mut self.state().runs {
            if lies(key) {
                let mut changed = bytes.to_vec();
                if let Some(byte) = changed.last_mut() {
                    *byte ^= 1;
                }
                *bytes = changed.into();
            }
        }
    }

    /// How many segments it knows.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.state().segments.len()
    }
}

impl SegmentIndex for MemoryIndex {
    fn load(&mut self, segment: u64) -> Option<Vec<Bytes>> {
        let state = self.state();
        state.segments.get(&segment)?.iter().map(|key| state.runs.get(key).cloned()).collect()
    }

    fn insert(&mut self, segment: u64, runs: Vec<(RunKey, Bytes)>) {
        let mut state = self.state();
        state.segments.insert(segment, runs.iter().map(|(key, _)| *key).collect());
        state.runs.extend(runs);
    }

    fn remove(&mut self, segment: u64) {
        let mut state = self.state();
        for key in state.segments.remove(&segment).unwrap_or_default() {
            state.runs.remove(&key);
        }
    }

    fn retain(&mut self, segments: &BTreeSet<u64>) {
        let mut state = self.state();
        state.segments.retain(|segment, _| segments.contains(segment));
        state.runs.retain(|key, _| segments.contains(&key.segment));
    }

    fn reader(&self) -> Arc<dyn RunSource> {
        Arc::new(self.clone())
    }
}

impl RunSource for MemoryIndex {
    fn get(&self, key: &RunKey) -> Option<Bytes> {
        self.state().runs.get(key).cloned()
    }
}
