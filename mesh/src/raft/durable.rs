//! What the disk has, of what it was given.

use std::collections::VecDeque;

use super::types::{Index, WriteId};

/// Writes on their way to the disk, and how far the log is durable.
#[derive(Debug, Default)]
pub(super) struct Durable {
    given: WriteId,
    synced: WriteId,
    /// The write of the newest hard state.
    hard_state: WriteId,
    /// Of each write on its way, the last index that is durable with it.
    pending: VecDeque<(WriteId, Index)>,
    index: Index,
}

impl Durable {
    /// A log that was read from the disk is durable as a whole. One that is read back while writes are on their way is durable
    /// from the first write number on, which its owner confirms when they arrived; until then nothing of it is.
    pub(super) fn restore(start: Index, last: Index, unsynced: bool) -> Durable {
        let mut durable = Durable { index: if unsynced { start } else { last }, ..Durable::default() };
        if unsynced {
            durable.write(last, true);
        }
        durable
    }

    /// The number that the write of this step gets.
    pub(super) fn next_write(&self) -> WriteId {
        WriteId(self.given.0 + 1)
    }

    /// Entries up to here are durable.
    pub(super) fn index(&self) -> Index {
        self.index
    }

    /// Whether the newest hard state is durable.
    pub(super) fn has_hard_state(&self) -> bool {
        self.hard_state <= self.synced
    }

    /// A write goes to the disk; the log ends at `last` with it.
    pub(super) fn write(&mut self, last: Index, hard_state: bool) -> WriteId {
        self.given = self.next_write();
        if hard_state {
            self.hard_state = self.given;
        }
        self.pending.push_back((self.given, last));
        self.given
    }

    /// Entries from `from` on are not there any more, durable or not.
    pub(super) fn truncate(&mut self, from: Index) {
        let kept = from.prev();
        self.index = self.index.min(kept);
        for (_, last) in &mut self.pending {
            *last = kept.min(*last);
        }
    }

    /// The disk has every write up to `id`. Whether there is such a write.
    pub(super) fn sync(&mut self, id: WriteId) -> bool {
        while let Some((_, last)) = self.pending.pop_front_if(|(at, _)| *at <= id) {
            self.index = self.index.max(last);
        }
        if self.pending.is_empty() && self.pending.capacity() > 8 {
            self.pending = VecDeque::new();
        }
        self.synced = self.synced.max(id.min(self.given));
        id <= self.given
    }
}
