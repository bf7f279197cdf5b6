//! Idempotent producers of one partition (KIP-98): which sequence comes next, and which batch was seen before.
//!
//! Two tables: `applied` holds what committed entries say, `tail` what the whole log says, uncommitted entries
//! included, because a batch that is only proposed must already count as seen. Truncation rebuilds the tail of the producers it
//! touches from `applied` and what is left above it.
//!
//! ```text
//! check(stamp):  unknown producer  -> sequence 0 is new, anything else UNKNOWN_PRODUCER_ID (the client bumps its epoch, KIP-360)
//!                older epoch       -> INVALID_PRODUCER_EPOCH
//!                newer epoch       -> sequence 0 is new, anything else OUT_OF_ORDER_SEQUENCE_NUMBER
//!                same epoch        -> next sequence is new; one of the last five is a duplicate; else out of order
//! ```

use std::collections::{BTreeMap, VecDeque};

use mesh::raft::Index;

use super::error::ErrorCode;
use super::request::ProducerStamp;
use crate::mutant::{self, Mutant};

/// Batches remembered per producer: what a client may have in flight (KIP-98).
const BATCHES: usize = 5;

/// Producers remembered per partition; past it the one that wrote longest ago is forgotten. The rule depends on
/// the log alone, so replicas agree.
const PRODUCERS_MAX: usize = 20_000;

/// What the producer state says of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append it.
    New,
    /// It is in the log already, at this entry.
    Duplicate {
        /// Of the original.
        index: Index,
        /// Of the original.
        base_offset: i64,
    },
    /// Refuse it.
    Refused(ErrorCode),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    base_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    index: Index,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    seen: VecDeque<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    id: i64,
    epoch: i16,
    seen: Seen,
}

/// Producer state of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    applied: BTreeMap<i64, Producer>,
    tail: BTreeMap<i64, Producer>,
    pending: VecDeque<Pending>,
}

impl Producers {
    /// Judges a batch against the whole log, uncommitted entries included.
    pub(crate) fn check(&self, stamp: ProducerStamp, record_count: u32) -> Verdict {
        let Some(producer) = self.tail.get(&stamp.id) else {
            return first(stamp, ErrorCode::UnknownProducerId);
        };
        if stamp.epoch < producer.epoch {
            return Verdict::Refused(ErrorCode::InvalidProducerEpoch);
        }
        if stamp.epoch > producer.epoch {
            return first(stamp, ErrorCode::OutOfOrderSequenceNumber);
        }
        let last_sequence = advance(stamp.base_sequence, record_count - 1);
        let same =
            |seen: &&Seen| seen.base_sequence == stamp.base_sequence && seen.last_sequence == last_sequence;
        if let Some(seen) = producer.seen.iter().rev().find(same) {
            return Verdict::Duplicate { index: seen.index, base_offset: seen.base_offset };
        }
        match producer.seen.back() {
            Some(newest) if stamp.base_sequence == advance(newest.last_sequence, 1) => Verdict::New,
            None if stamp.base_sequence == 0 => Verdict::New,
            _ => Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber),
        }
    }

    /// Takes note of a batch that was appended at `index`.
    pub(crate) fn append(&mut self, index: Index, stamp: ProducerStamp, record_count: u32, base_offset: i64) {
        let last_sequence = advance(stamp.base_sequence, record_count.saturating_sub(1));
        let seen = Seen { base_sequence: stamp.base_sequence, last_sequence, base_offset, index };
        let pending = Pending { id: stamp.id, epoch: stamp.epoch, seen };
        take(&mut self.tail, pending);
        self.pending.push_back(pending);
    }

    /// Entries from `from` on left the log.
    pub(crate) fn truncate(&mut self, from: Index) {
        let mut touched = Vec::new();
        while let Some(last) = self.pending.back().copied().filter(|last| last.seen.index >= from) {
            self.pending.pop_back();
            touched.push(last.id);
        }
        if mutant::active(Mutant::ProducerStateNotRolledBack) {
            return;
        }
        for id in touched {
            self.rebuild(id);
        }
    }

    /// Entries up to `index` are committed.
    pub(crate) fn commit(&mut self, index: Index) {
        while let Some(first) = self.pending.front().copied().filter(|first| first.seen.index <= index) {
            self.pending.pop_front();
            take(&mut self.applied, first);
        }
        while self.applied.len() > PRODUCERS_MAX {
            let newest = |producer: &Producer| producer.seen.back().map(|seen| seen.index);
            let Some(oldest) = self.applied.iter().min_by_key(|(_, p)| newest(p)).map(|(id, _)| *id) else {
                break;
            };
            self.applied.remove(&oldest);
            self.rebuild(oldest);
        }
    }

    fn rebuild(&mut self, id: i64) {
        match self.applied.get(&id) {
            Some(producer) => self.tail.insert(id, producer.clone()),
            None => self.tail.remove(&id),
        };
        for pending in self.pending.iter().filter(|pending| pending.id == id) {
            take(&mut self.tail, *pending);
        }
    }

    /// The committed state as bytes, for a checkpoint.
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 1 | version, 1 |
    /// | 4 | number of producers; for each: |
    /// | 8, 2, 1 | id, epoch, number of batches; for each, oldest first: |
    /// | 4, 4, 8, 8 | base sequence, last sequence, base offset, index |
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + self.applied.len() * 60);
        out.push(1);
        out.extend(u32::try_from(self.applied.len()).expect("bounded by PRODUCERS_MAX").to_le_bytes());
        for (id, producer) in &self.applied {
            out.extend(id.to_le_bytes());
            out.extend(producer.epoch.to_le_bytes());
            out.push(u8::try_from(producer.seen.len()).expect("at most five"));
            for seen in &producer.seen {
                out.extend(seen.base_sequence.to_le_bytes());
                out.extend(seen.last_sequence.to_le_bytes());
                out.extend(seen.base_offset.to_le_bytes());
                out.extend(seen.index.0.to_le_bytes());
            }
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` when the bytes are not that.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if u8::from_le_bytes(array(&mut rest)?) != 1 {
            return None;
        }
        let mut applied = BTreeMap::new();
        for _ in 0..u32::from_le_bytes(array(&mut rest)?) {
            let id = i64::from_le_bytes(array(&mut rest)?);
            let epoch = i16::from_le_bytes(array(&mut rest)?);
            let mut seen = VecDeque::new();
            for _ in 0..u8::from_le_bytes(array(&mut rest)?) {
                seen.push_back(Seen {
                    base_sequence: i32::from_le_bytes(array(&mut rest)?),
                    last_sequence: i32::from_le_bytes(array(&mut rest)?),
                    base_offset: i64::from_le_bytes(array(&mut rest)?),
                    index: Index(u64::from_le_bytes(array(&mut rest)?)),
                });
            }
            applied.insert(id, Producer { epoch, seen });
        }
        rest.is_empty().then(|| Self { tail: applied.clone(), applied, pending: VecDeque::new() })
    }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn first(stamp: ProducerStamp, otherwise: ErrorCode) -> Verdict {
    if stamp.base_sequence == 0 { Verdict::New } else { Verdict::Refused(otherwise) }
}

fn take(table: &mut BTreeMap<i64, Producer>, pending: Pending) {
    let producer = table
        .entry(pending.id)
        .or_insert(Producer { epoch: pending.epoch, seen: VecDeque::with_capacity(BATCHES) });
    if producer.epoch != pending.epoch {
        producer.epoch = pending.epoch;
        producer.seen.clear();
    }
    if producer.seen.len() == BATCHES {
        producer.seen.pop_front();
    }
    producer.seen.push_back(pending.seen);
}

/// Sequences wrap from `i32::MAX` to 0.
fn advance(sequence: i32, by: u32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    i32::try_from(sum & i64::from(i32::MAX)).expect("masked to 31 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(id: i64, epoch: i16, base_sequence: i32) -> ProducerStamp {
        ProducerStamp { id, epoch, base_sequence }
    }

    #[test]
    fn duplicates_are_found_among_the_last_five_only() {
        let mut producers = Producers::default();
        for n in 0..6 {
            assert_eq!(producers.check(stamp(7, 0, n * 10), 10), Verdict::New);
            producers.append(Index(1 + n as u64), stamp(7, 0, n * 10), 10, i64::from(n) * 10);
        }
        let second = Verdict::Duplicate { index: Index(2), base_offset: 10 };
        assert_eq!(producers.check(stamp(7, 0, 10), 10), second);
        let too_old = Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(producers.check(stamp(7, 0, 0), 10), too_old);
        assert_eq!(producers.check(stamp(7, 0, 70), 10), too_old);
    }

    #[test]
    fn first_sequence_must_be_zero_and_old_epochs_are_fenced() {
        let mut producers = Producers::default();
        assert_eq!(producers.check(stamp(1, 0, 5), 1), Verdict::Refused(ErrorCode::UnknownProducerId));
        producers.append(Index(1), stamp(1, 3, 0), 1, 0);
        assert_eq!(producers.check(stamp(1, 2, 0), 1), Verdict::Refused(ErrorCode::InvalidProducerEpoch));
        assert_eq!(producers.check(stamp(1, 4, 1), 1), Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber));
        assert_eq!(producers.check(stamp(1, 4, 0), 1), Verdict::New);
    }

    #[test]
    fn truncation_rolls_back_to_what_is_left() {
        let mut producers = Producers::default();
        producers.append(Index(1), stamp(1, 0, 0), 2, 0);
        producers.commit(Index(1));
        producers.append(Index(2), stamp(1, 0, 2), 2, 2);
        producers.append(Index(3), stamp(1, 1, 0), 2, 4);
        producers.truncate(Index(3));
        assert_eq!(producers.check(stamp(1, 0, 4), 1), Verdict::New);
        producers.truncate(Index(2));
        assert_eq!(producers.check(stamp(1, 0, 2), 2), Verdict::New);
    }

    #[test]
    fn sequences_wrap() {
        let mut producers = Producers::default();
        producers.append(Index(1), stamp(1, 0, i32::MAX - 1), 3, 0);
        assert_eq!(producers.check(stamp(1, 0, 1), 1), Verdict::New);
    }

    quickcheck::quickcheck! {
        fn checkpoint_round_trips(batches: Vec<(i8, u8)>) -> bool {
            let mut producers = Producers::default();
            for (n, (id, count)) in (0_i32..).zip(&batches) {
                let index = Index(u64::from(n.unsigned_abs()) + 1);
                producers.append(index, stamp((*id).into(), 0, n), u32::from(*count) + 1, n.into());
                producers.commit(index);
            }
            Producers::decode(&producers.encode()).is_some_and(|back| back.applied == producers.applied && back.tail == producers.tail)
        }

        fn hostile_checkpoints_are_refused_not_fatal(bytes: Vec<u8>) -> bool {
            let _ = Producers::decode(&bytes);
            true
        }
    }
}
