//! A replica's disk in memory: what is staged, what is durable, and what a crash leaves.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use mesh::raft::{
    Entry, EntryKind, HardState, Index, Log, LogRead, LogStart, Membership, Restored, Term, WriteBatch,
    WriteId,
};

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// The content of a disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) hard_state: Vec<u8>,
    pub(crate) start: LogStart,
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) memberships: BTreeSet<u64>,
    pub(crate) checkpoint: (Index, Bytes),
}

/// One frame, atomic on the disk.
#[derive(Clone, Debug)]
enum Frame {
    HardState(Vec<u8>),
    Truncate(Index),
    Append(Entry),
    Reset { hard_state: Vec<u8>, start: LogStart, checkpoint: (Index, Bytes), keep_suffix: bool },
    Trim(LogStart, (Index, Bytes)),
}

impl Image {
    pub(crate) fn last(&self) -> Index {
        self.entries.keys().next_back().map_or(self.start.index, |index| Index(*index))
    }

    pub(crate) fn next_offset(&self) -> i64 {
        self.entries.values().next_back().map_or(self.start.next_offset, |entry| entry.end_offset().unwrap())
    }

    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        self.entries.get(&index.0).map(|entry| entry.term)
    }

    /// The membership in force, as the log itself tells it.
    pub(crate) fn membership(&self) -> Membership {
        let mut newest =
            self.memberships.range(self.start.index.0 + 1..=self.last().0.max(self.start.index.0 + 1));
        match newest.next_back() {
            Some(index) => Membership::decode(&self.entries[index].payload).unwrap(),
            None => {
                // A crash may keep a trim and lose the hard state that followed it.
                let state = self.hard_state();
                let below = state.memberships.into_iter().filter(|(index, _, _)| *index <= self.start.index);
                below.last().map_or(state.start_membership, |(_, _, membership)| membership)
            }
        }
    }

    pub(crate) fn hard_state(&self) -> HardState {
        if self.hard_state.is_empty() {
            return HardState::default();
        }
        HardState::decode(&self.hard_state).expect("a hard state decodes")
    }

    pub(crate) fn restored(&self) -> Restored {
        let mut term_starts: Vec<(Term, Index)> = Vec::new();
        for entry in self.entries.values() {
            if term_starts.last().is_none_or(|(term, _)| *term != entry.term) {
                term_starts.push((entry.term, entry.index));
            }
        }
        Restored {
            hard_state: self.hard_state(),
            start: self.start,
            last_index: self.last(),
            next_offset: self.next_offset(),
            term_starts,
            unsynced: false,
        }
    }

    fn apply(&mut self, frame: &Frame) {
        match frame {
            Frame::HardState(state) => self.hard_state.clone_from(state),
            Frame::Truncate(from) => {
                assert!(*from > self.start.index, "truncates below the start");
                self.entries.split_off(&from.0);
                self.memberships.split_off(&from.0);
            }
            Frame::Append(entry) => {
                assert_eq!(entry.index, self.last().next(), "a hole in the log");
                assert_eq!(entry.base_offset, self.next_offset(), "a hole in the offsets");
                if entry.kind == EntryKind::Membership {
                    self.memberships.insert(entry.index.0);
                }
                self.entries.insert(entry.index.0, entry.clone());
            }
            Frame::Reset { hard_state, start, checkpoint, keep_suffix } => {
                if *keep_suffix {
                    assert_eq!(
                        self.term_at(start.index),
                        Some(start.term),
                        "keeps a suffix that does not join"
                    );
                    self.entries = self.entries.split_off(&(start.index.0 + 1));
                } else {
                    self.entries.clear();
                    self.memberships.clear();
                }
                self.hard_state.clone_from(hard_state);
                (self.start, self.checkpoint) = (*start, checkpoint.clone());
            }
            Frame::Trim(start, checkpoint) => {
                assert_eq!(self.term_at(start.index), Some(start.term), "trims to what is not there");
                self.entries = self.entries.split_off(&(start.index.0 + 1));
                (self.start, self.checkpoint) = (*start, checkpoint.clone());
            }
        }
    }
}

/// A disk: the staged view, and what is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) staged: Image,
    pub(crate) durable: Image,
    /// Frames on their way, each with the last write that is durable with it.
    pending: VecDeque<(WriteId, Frame)>,
    /// One read in so many must wait for the disk, 0 for none.
    pub(crate) loading_one_in: u64,
    rng: Cell<u64>,
    pub(crate) asked_to_load: Cell<bool>,
}

impl Disk {
    pub(crate) fn new(image: Image) -> Disk {
        Disk { staged: image.clone(), durable: image, ..Disk::default() }
    }

    fn stage(&mut self, id: WriteId, frame: Frame) {
        self.staged.apply(&frame);
        self.pending.push_back((id, frame));
    }

    pub(crate) fn write(&mut self, batch: &WriteBatch) {
        let id = batch.id;
        let state = batch.hard_state.as_ref().map(HardState::encode);
        if let Some(reset) = &batch.reset {
            let hard_state = state.expect("a reset has a hard state");
            assert!(batch.truncate_from.is_none() && batch.append.is_empty());
            let (start, checkpoint, keep_suffix) = (reset.start, reset.checkpoint.clone(), reset.keep_suffix);
            return self.stage(id, Frame::Reset { hard_state, start, checkpoint, keep_suffix });
        }
        if let Some(state) = state {
            self.stage(id, Frame::HardState(state));
        }
        if let Some(from) = batch.truncate_from {
            self.stage(id, Frame::Truncate(from));
        }
        for entry in &batch.append {
            self.stage(id, Frame::Append(entry.clone()));
        }
    }

    pub(crate) fn trim(&mut self, start: LogStart, checkpoint: (Index, Bytes)) {
        let id = self.pending.back().map_or(WriteId(0), |(id, _)| *id);
        self.stage(id, Frame::Trim(start, checkpoint));
    }

    /// Everything up to `id` becomes durable.
    pub(crate) fn sync(&mut self, id: WriteId) {
        while let Some((_, frame)) = self.pending.pop_front_if(|(at, _)| *at <= id) {
            self.durable.apply(&frame);
        }
    }

    /// Only a prefix of `kept` of the frames on their way survives.
    pub(crate) fn crash(&mut self, kept: usize) {
        for (_, frame) in self.pending.drain(..).take(kept) {
            self.durable.apply(&frame);
        }
        self.staged = self.durable.clone();
    }

    /// What a replica that is built anew within the process begins with: what is staged, synced or not.
    pub(crate) fn rebuilt(&mut self) -> Restored {
        self.pending.iter_mut().for_each(|(id, _)| *id = WriteId::RESTORED);
        Restored { unsynced: !self.pending.is_empty(), ..self.staged.restored() }
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }
}

impl Log for Disk {
    fn entries(&self, first: Index, bytes_max: usize) -> LogRead {
        if first <= self.staged.start.index {
            return LogRead::Gone;
        }
        let mut rng = Rng(self.rng.get());
        let waits = self.loading_one_in > 0 && rng.below(self.loading_one_in) == 0;
        self.rng.set(rng.0);
        if waits {
            self.asked_to_load.set(true);
            return LogRead::Loading;
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let alone = bytes == 0;
            bytes += entry.weight();
            alone || bytes <= bytes_max
        };
        LogRead::Ready(
            self.staged.entries.range(first.0..).map(|(_, entry)| entry).take_while(fits).cloned().collect(),
        )
    }

    fn end_offset(&self, index: Index) -> Option<i64> {
        if index == self.staged.start.index {
            return Some(self.staged.start.next_offset);
        }
        self.staged.entries.get(&index.0).and_then(Entry::end_offset)
    }

    fn checkpoint(&self) -> (Index, Bytes) {
        let (index, state) = self.staged.checkpoint.clone();
        (index.max(self.staged.start.index), state)
    }
}
