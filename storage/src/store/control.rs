//! How writes change a log's control state: the same code stages them and replays them.

use std::collections::BTreeMap;

use crate::format::Input;
use crate::format::control::{Control, Cut, Gap, decode_reset};
use crate::format::frame::{Frame, FrameHeader, kind};
use crate::types::{LogId, LogStart};

impl Control {
    /// An entry at the end. One whose index exists already replaces it and all after it: a later write wins.
    pub(crate) fn append(&mut self, header: &FrameHeader) {
        if header.index <= self.last_index {
            self.truncate(header.index, header.base_offset, header.sequence);
        }
        if self.term_starts.last().is_none_or(|(term, ..)| *term != header.term) {
            self.term_starts.push((header.term, header.index, header.base_offset));
        }
        self.last_index = header.index;
        self.next_offset = header.base_offset.saturating_add(i64::from(header.record_count));
    }

    /// Entries at or above `from` are gone; the one before ended at `next_offset`.
    pub(crate) fn truncate(&mut self, from: u64, next_offset: i64, sequence: u64) {
        if from > self.last_index || from <= self.start.index {
            return;
        }
        self.cut(from, sequence);
        while self.term_starts.last().is_some_and(|(_, index, _)| *index >= from) {
            self.term_starts.pop();
        }
        while self.gaps.last().is_some_and(|gap| gap.end > from) {
            self.gaps.pop();
        }
        self.last_index = from - 1;
        self.next_offset = next_offset;
    }

    /// The entries of a gap are gone, and count as there. It joins what it touches.
    pub(crate) fn gap(&mut self, mut gap: Gap) {
        let touches = |other: &Gap, gap: &Gap| other.first <= gap.end && gap.first <= other.end;
        let from = self.gaps.partition_point(|other| other.end < gap.first);
        let mut to = from;
        while let Some(other) = self.gaps.get(to).filter(|other| touches(other, &gap)) {
            if other.first < gap.first {
                (gap.first, gap.first_offset) = (other.first, other.first_offset);
            }
            if other.end > gap.end {
                (gap.end, gap.next_offset) = (other.end, other.next_offset);
            }
            to += 1;
        }
        self.gaps.splice(from..to, [gap]);
    }

    /// The gap that holds `index`.
    pub(crate) fn gap_at(&self, index: u64) -> Option<&Gap> {
        let after = self.gaps.partition_point(|gap| gap.first <= index);
        self.gaps.get(after.checked_sub(1)?).filter(|gap| index < gap.end)
    }

    /// Whether a gap holds any of `first..end`.
    pub(crate) fn has_gap(&self, first: u64, end: u64) -> bool {
        let after = self.gaps.partition_point(|gap| gap.end <= first);
        self.gaps.get(after).is_some_and(|gap| gap.first < end)
    }

    /// Entries at or above `from` with a lower write sequence are dead. Where the log is longer that leaves a hole, which recovery
    /// closes.
    pub(crate) fn cut(&mut self, from: u64, sequence: u64) {
        while self.cuts.last().is_some_and(|cut| cut.from >= from) {
            self.cuts.pop();
        }
        self.cuts.push(Cut { from, sequence });
    }

    /// Entries up to `start.index` are gone. A start at or below the present one changes nothing.
    pub(crate) fn trim(&mut self, start: LogStart) {
        if start.index <= self.start.index {
            return;
        }
        self.start = start;
        if self.last_index <= start.index {
            self.last_index = start.index;
            self.next_offset = start.next_offset;
            self.term_starts.clear();
        }
        let gone =
            self.term_starts.partition_point(|(_, index, _)| *index <= start.index + 1).saturating_sub(1);
        self.term_starts.drain(..gone);
        let gone = self.cuts.partition_point(|cut| cut.from <= start.index + 1).saturating_sub(1);
        self.cuts.drain(..gone);
        self.gaps.drain(..self.gaps.partition_point(|gap| gap.end <= start.index + 1));
        if let Some(gap) = self.gaps.first_mut().filter(|gap| gap.first <= start.index) {
            (gap.first, gap.first_offset) = (start.index + 1, start.next_offset);
        }
    }

    /// Forgets all entries; `start` is the new beginning.
    pub(crate) fn clear(&mut self, start: LogStart, sequence: u64) {
        self.start = start;
        self.last_index = start.index;
        self.next_offset = start.next_offset;
        self.term_starts.clear();
        self.gaps.clear();
        self.cuts = vec![Cut { from: 0, sequence }];
    }

    /// Whether a truncation killed the entry.
    pub(crate) fn kills(&self, index: u64, sequence: u64) -> bool {
        let above = self.cuts.partition_point(|cut| cut.from <= index);
        above > 0 && self.cuts[above - 1].sequence > sequence
    }

    /// Drops cuts that can kill nothing, for no stored frame is older than they are.
    pub(crate) fn prune(&mut self, min_sequence: u64) {
        self.cuts.retain(|cut| cut.sequence > min_sequence);
    }

    /// Term of an entry that exists, or of the log start.
    pub(crate) fn term_at(&self, index: u64) -> Option<u32> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last_index {
            return None;
        }
        let after = self.term_starts.partition_point(|(_, first, _)| *first <= index);
        self.term_starts.get(after.checked_sub(1)?).map(|(term, ..)| *term)
    }
}

fn start_of(header: &FrameHeader) -> LogStart {
    LogStart { index: header.index, term: header.term, next_offset: header.base_offset }
}

/// Replays one frame onto the logs. Frames of unknown logs and of unknown kinds change nothing.
pub(crate) fn replay(logs: &mut BTreeMap<LogId, Control>, used: &mut Used, frame: &Frame) {
    let header = &frame.header;
    let log = LogId(header.log);
    match header.kind {
        kind::CREATE => {
            let meta = bytes::Bytes::copy_from_slice(&frame.body);
            logs.insert(log, Control { epoch: header.epoch, meta, ..Control::default() });
            used.insert(log.0);
        }
        kind::DELETE => {
            logs.remove(&log);
        }
        _ => {
            if let Some(control) = logs.get_mut(&log) {
                replay_on(control, frame);
            }
        }
    }
}

fn replay_on(control: &mut Control, frame: &Frame) {
    let header = &frame.header;
    match header.kind {
        kind::ENTRY => control.append(header),
        kind::HARD_STATE => control.hard_state = bytes::Bytes::copy_from_slice(&frame.body),
        kind::TRUNCATE => control.truncate(header.index, header.base_offset, header.sequence),
        kind::TRIM => control.trim(start_of(header)),
        kind::CHECKPOINT => {
            control.checkpoint = Some((header.index, bytes::Bytes::copy_from_slice(&frame.body)));
        }
        kind::SUSPECT => control.suspect = true,
        kind::RESET => replay_reset(control, frame),
        kind::GAP => {
            let gap = Gap::decode(header.index, header.base_offset, &mut Input(frame.body.clone()));
            gap.into_iter().for_each(|gap| control.gap(gap));
        }
        _ => {}
    }
}

fn replay_reset(control: &mut Control, frame: &Frame) {
    let Some((checkpoint, meta, hard_state)) = decode_reset(frame.body.clone()) else { return };
    let header = &frame.header;
    if header.entry_kind == 1 {
        control.trim(start_of(header));
    } else {
        control.clear(start_of(header), header.sequence);
    }
    control.epoch = header.epoch;
    control.meta = meta;
    control.hard_state = hard_state;
    control.checkpoint = Some(checkpoint);
    control.suspect = false;
}

/// Ids that were ever used, as inclusive ranges in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used(pub(crate) Vec<(u32, u32)>);

impl Used {
    pub(crate) fn contains(&self, id: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= id);
        after > 0 && self.0[after - 1].1 >= id
    }

    pub(crate) fn insert(&mut self, id: u32) {
        if self.contains(id) {
            return;
        }
        let at = self.0.partition_point(|(first, _)| *first <= id);
        let joins_before = at > 0 && self.0[at - 1].1.checked_add(1) == Some(id);
        let joins_after = self.0.get(at).is_some_and(|(first, _)| id.checked_add(1) == Some(*first));
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = id,
            (false, true) => self.0[at].0 = id,
            (false, false) => self.0.insert(at, (id, id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quickcheck::quickcheck;

    use super::*;

    quickcheck! {
        fn used_is_a_set(ids: Vec<u8>) -> bool {
            let mut used = Used::default();
            let mut set = BTreeSet::new();
            for id in ids {
                used.insert(u32::from(id));
                set.insert(u32::from(id));
            }
            (0..300).all(|id| used.contains(id) == set.contains(&id))
                && used.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0)
        }
    }

    #[test]
    fn cuts_rise_and_kill_what_is_older() {
        let mut control = Control { last_index: 20, ..Control::default() };
        control.truncate(10, 0, 100);
        control.last_index = 20;
        control.truncate(15, 0, 200);
        assert_eq!(control.cuts, [Cut { from: 10, sequence: 100 }, Cut { from: 15, sequence: 200 }]);
        assert!(
            !control.kills(9, 1)
                && control.kills(10, 99)
                && !control.kills(10, 101)
                && control.kills(15, 199)
        );
        control.last_index = 20;
        control.truncate(5, 0, 300);
        assert_eq!(control.cuts, [Cut { from: 5, sequence: 300 }]);
        control.prune(300);
        assert!(control.cuts.is_empty());
    }

    #[test]
    fn terms_follow_truncation_and_trim() {
        let mut control = Control::default();
        for (index, term) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3)] {
            let header = FrameHeader {
                index,
                term,
                base_offset: 10 * index.cast_signed(),
                record_count: 10,
                ..FrameHeader::default()
            };
            control.append(&header);
        }
        assert_eq!(control.term_starts, [(1, 1, 10), (2, 3, 30), (3, 4, 40)]);
        assert_eq!((control.term_at(2), control.term_at(5), control.term_at(6)), (Some(1), Some(3), None));
        control.truncate(4, 40, 9);
        assert_eq!((control.last_index, control.next_offset, control.term_at(3)), (3, 40, Some(2)));
        control.trim(LogStart { index: 2, term: 1, next_offset: 30 });
        assert_eq!(control.term_starts, [(2, 3, 30)]);
        control.trim(LogStart { index: 3, term: 2, next_offset: 40 });
        assert!(control.term_starts.is_empty());
        assert_eq!(control.term_at(3), Some(2));
    }
}
