//! What the core knows of the log without asking: its ends, the runs of terms, and the entries it holds in memory.

use std::collections::VecDeque;

use super::effects::Log;
use super::entry::{Entry, LogStart};
use super::types::{Index, Term};

/// The log as the core sees it, staged writes included.
#[derive(Debug)]
pub(super) struct LogView {
    start: LogStart,
    /// Each term's first index. The first run may begin at or below the start; none begins after the last index.
    runs: Vec<(Term, Index)>,
    last: Index,
    next_offset: i64,
    /// The newest entries, dense up to `last`: everything appended since the restart that is not committed, and what
    /// followers still need, within a bound.
    window: VecDeque<Entry>,
    window_bytes: usize,
}

impl LogView {
    /// The view of a restored log. `term_starts` are sorted by index; those below the start may be left out.
    pub(super) fn restore(
        start: LogStart,
        last: Index,
        next_offset: i64,
        term_starts: &[(Term, Index)],
    ) -> LogView {
        assert!(start.index <= last, "a log ends before its start");
        let mut runs: Vec<(Term, Index)> = term_starts.to_vec();
        runs.retain(|(_, first)| *first <= last);
        let covered = runs.first().is_some_and(|(_, first)| *first <= start.index.next());
        if last > start.index && !covered {
            runs.insert(0, (start.term, start.index.next()));
        }
        let mut view = LogView { start, runs, last, next_offset, window: VecDeque::new(), window_bytes: 0 };
        view.drop_runs_below_start();
        view
    }

    pub(super) fn start(&self) -> LogStart {
        self.start
    }

    pub(super) fn last(&self) -> Index {
        self.last
    }

    pub(super) fn last_term(&self) -> Term {
        self.term_at(self.last).unwrap_or_default()
    }

    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The first index in memory, one above the last when there is none.
    pub(super) fn window_first(&self) -> Index {
        self.window.front().map_or(self.last.next(), |entry| entry.index)
    }

    /// The term of the entry at `index`, of the start too; `None` outside.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|(_, first)| *first <= index);
        self.runs.get(after.checked_sub(1)?).map(|(term, _)| *term)
    }

    /// The largest index up to `index` whose term is at most `term`, the start when there is none.
    pub(super) fn last_at_most(&self, index: Index, term: Term) -> Index {
        let mut upper = index.min(self.last);
        for (run_term, first) in self.runs.iter().rev().filter(|(_, first)| *first <= index) {
            if *run_term <= term || upper <= self.start.index {
                break;
            }
            upper = first.prev();
        }
        upper.max(self.start.index)
    }

    /// The offset after the entry at `index`; the owner is asked for what is not in memory.
    pub(super) fn end_offset(&self, index: Index, log: &dyn Log) -> Option<i64> {
        if index == self.last {
            return Some(self.next_offset);
        }
        if index == self.start.index {
            return Some(self.start.next_offset);
        }
        match self.in_window(index.next()) {
            Some(following) => Some(following.base_offset),
            None => log.end_offset(index),
        }
    }

    fn in_window(&self, index: Index) -> Option<&Entry> {
        let at = usize::try_from(index.0.checked_sub(self.window.front()?.index.0)?).ok()?;
        self.window.get(at)
    }

    /// Entries from `first` on out of memory: at least one, then while they fit into `bytes_max`. `None` when
    /// memory does not hold `first`.
    pub(super) fn recent(&self, first: Index, bytes_max: usize) -> Option<Vec<Entry>> {
        let at = usize::try_from(first.0.checked_sub(self.window.front()?.index.0)?).ok()?;
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let alone = bytes == 0;
            bytes += entry.weight();
            alone || bytes <= bytes_max
        };
        let entries: Vec<Entry> =
            self.window.range(at.min(self.window.len())..).take_while(fits).cloned().collect();
        (!entries.is_empty()).then_some(entries)
    }

    /// Appends the next entry; the caller checked it.
    pub(super) fn append(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last.next(), "an append leaves a hole");
        assert_eq!(entry.base_offset, self.next_offset, "an append leaves a hole in the offsets");
        if self.last_term() != entry.term || self.runs.is_empty() {
            self.runs.push((entry.term, entry.index));
        }
        self.last = entry.index;
        self.next_offset = entry.end_offset().expect("the caller checked the end offset");
        self.window_bytes += entry.weight();
        self.window.push_back(entry);
    }

    /// Removes `from` and everything above; `next_offset` is where the entry before it ends.
    pub(super) fn truncate(&mut self, from: Index, next_offset: i64) {
        assert!(from > self.start.index, "a truncation below the log start");
        while self.window.back().is_some_and(|entry| entry.index >= from) {
            self.window_bytes -= self.window.pop_back().map_or(0, |entry| entry.weight());
        }
        self.runs.retain(|(_, first)| *first < from);
        self.last = self.last.min(from.prev());
        self.next_offset = next_offset;
    }

    /// The bytes in memory of the entries in `after..=until`.
    pub(super) fn bytes_between(&self, after: Index, until: Index) -> usize {
        let skip = after.next().0.saturating_sub(self.window_first().0);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.window.len());
        self.window.range(skip..).take_while(|entry| entry.index <= until).map(Entry::weight).sum()
    }

    /// Forgets entries in memory up to `until`, and gives the memory back when none is left.
    pub(super) fn forget(&mut self, until: Index) {
        while self.window.front().is_some_and(|entry| entry.index <= until) {
            self.window_bytes -= self.window.pop_front().map_or(0, |entry| entry.weight());
        }
        if self.window.is_empty() && self.window.capacity() > 4 {
            self.window = VecDeque::new();
        }
    }

    /// Forgets the oldest entries in memory up to `until` while memory holds more than `bytes_max`.
    pub(super) fn forget_above(&mut self, bytes_max: usize, until: Index) {
        while self.window_bytes > bytes_max && self.window.front().is_some_and(|entry| entry.index <= until) {
            self.window_bytes -= self.window.pop_front().map_or(0, |entry| entry.weight());
        }
    }

    /// Moves the start up within the log.
    pub(super) fn trim(&mut self, start: LogStart) {
        assert!(start.index <= self.last, "a log start above the log's end");
        self.start = start;
        self.forget(start.index);
        self.drop_runs_below_start();
    }

    /// Starts from elsewhere; nothing that was held counts.
    pub(super) fn reset(&mut self, start: LogStart) {
        *self = LogView::restore(start, start.index, start.next_offset, &[]);
    }

    fn drop_runs_below_start(&mut self) {
        let below = self.runs.partition_point(|(_, first)| *first <= self.start.index.next());
        let dead = if self.last > self.start.index { below.saturating_sub(1) } else { self.runs.len() };
        self.runs.drain(..dead);
    }
}
