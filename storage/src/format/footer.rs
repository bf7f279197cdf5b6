//! Footers: every entry frame of a segment, as runs.

use bytes::Bytes;

use super::frame::frame_len;
use super::{Put, VERSION, i64_at, u32_at, u64_at};
use crate::index::RunKey;
use crate::types::LogId;

/// Most entries of one run.
pub(crate) const RUN_ENTRIES_MAX: usize = 512;
const HEAD_LEN: usize = 64;
const SLOT_LEN: usize = 32;
/// Length of a trailer.
pub(crate) const TRAILER_LEN: usize = 64;
const TRAILER_MAGIC: &[u8; 8] = b"RAFKAFTR";

/// Where one entry lies and what lookups ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) position: u32,
    pub(crate) body_len: u32,
    pub(crate) offset: i64,
    pub(crate) record_count: u32,
    pub(crate) term: u32,
    pub(crate) timestamp_ms: i64,
    pub(crate) sequence: u64,
}

impl Slot {
    /// Bytes of the frame in its segment.
    pub(crate) fn frame_len(&self) -> u32 {
        frame_len(self.body_len)
    }

    /// Whether it has records by count and none by content: compaction took them.
    pub(crate) fn is_emptied(&self) -> bool {
        self.record_count > 0 && self.body_len == 0
    }

    /// Offset after the last record.
    pub(crate) fn end_offset(&self) -> i64 {
        self.offset.saturating_add(i64::from(self.record_count))
    }
}

/// A run under construction: entries of one log in one segment, indexes dense, write sequences rising.
#[derive(Clone, Debug)]
pub(crate) struct OpenRun {
    pub(crate) first_index: u64,
    pub(crate) slots: Vec<Slot>,
    /// Takes no more: reclaim copies stay by themselves.
    pub(crate) closed: bool,
}

impl OpenRun {
    /// Whether an entry may follow in this run.
    pub(crate) fn takes(&self, index: u64, slot: &Slot) -> bool {
        let (Some(first), Some(last)) = (self.slots.first(), self.slots.last()) else { return false };
        let narrow = u32::try_from(slot.offset.saturating_sub(first.offset)).is_ok()
            && u32::try_from(slot.sequence.saturating_sub(first.sequence)).is_ok();
        !self.closed
            && self.slots.len() < RUN_ENTRIES_MAX
            && index == self.first_index + self.slots.len() as u64
            && slot.sequence > last.sequence
            && slot.offset >= last.offset
            && narrow
    }

    /// The run's bytes.
    pub(crate) fn pack(&self, log: LogId, out: &mut Vec<u8>) {
        let start = out.len();
        let (Some(first), Some(last)) = (self.slots.first(), self.slots.last()) else { return };
        out.put_u32(log.0);
        out.put_count(self.slots.len());
        out.put_u64(self.first_index);
        out.put_i64(first.offset);
        out.put_i64(last.end_offset());
        out.put_u64(first.sequence);
        out.put_i64(self.slots.iter().map(|slot| slot.timestamp_ms).max().unwrap_or(-1));
        out.put_u64(self.slots.iter().map(|slot| u64::from(slot.frame_len())).sum());
        out.put_u32(0);
        out.put_u32(0);
        for slot in &self.slots {
            out.put_u32(slot.position);
            out.put_u32(slot.body_len);
            out.put_u32(u32::try_from(slot.offset - first.offset).expect("checked by takes"));
            out.put_u32(slot.record_count);
            out.put_i64(slot.timestamp_ms);
            out.put_u32(u32::try_from(slot.sequence - first.sequence).expect("checked by takes"));
            out.put_u32(slot.term);
        }
        let crc = run_crc(&out[start..]);
        out[start + 56..start + 60].copy_from_slice(&crc.to_le_bytes());
    }
}

fn run_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..56]), &bytes[60..])
}

/// A finished run, read in place.
#[derive(Clone, Debug)]
pub(crate) struct PackedRun(Bytes);

impl PackedRun {
    /// Length of a run of `entries`.
    pub(crate) fn len_of(entries: u32) -> usize {
        HEAD_LEN + SLOT_LEN * usize::try_from(entries).unwrap_or(usize::MAX / 64)
    }

    /// Takes the run at the front of `bytes`, `None` if it is not whole.
    pub(crate) fn take(bytes: &mut Bytes) -> Option<Self> {
        let head = bytes.get(..HEAD_LEN)?;
        let count = u32_at(head, 4);
        if count == 0 || usize::try_from(count).ok()? > RUN_ENTRIES_MAX || bytes.len() < Self::len_of(count) {
            return None;
        }
        let run = bytes.split_to(Self::len_of(count));
        (run_crc(&run) == u32_at(&run, 56)).then_some(Self(run))
    }

    /// The run that is all of `bytes`.
    pub(crate) fn whole(mut bytes: Bytes) -> Option<Self> {
        let run = Self::take(&mut bytes)?;
        bytes.is_empty().then_some(run)
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(crate) fn log(&self) -> LogId {
        LogId(u32_at(&self.0, 0))
    }

    pub(crate) fn count(&self) -> u32 {
        u32_at(&self.0, 4)
    }

    pub(crate) fn first_index(&self) -> u64 {
        u64_at(&self.0, 8)
    }

    pub(crate) fn first_offset(&self) -> i64 {
        i64_at(&self.0, 16)
    }

    pub(crate) fn first_sequence(&self) -> u64 {
        u64_at(&self.0, 32)
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.slot(self.count() - 1).map_or(0, |slot| slot.sequence)
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        i64_at(&self.0, 40)
    }

    pub(crate) fn frame_bytes(&self) -> u64 {
        u64_at(&self.0, 48)
    }

    pub(crate) fn key(&self, segment: u64) -> RunKey {
        RunKey {
            log: self.log(),
            first_offset: self.first_offset(),
            first_index: self.first_index(),
            segment,
            first_sequence: self.first_sequence(),
        }
    }

    /// The entry at `ordinal` from the run's first, `None` beyond the last.
    pub(crate) fn slot(&self, ordinal: u32) -> Option<Slot> {
        let at = Self::len_of(ordinal);
        let bytes = self.0.get(at..at + SLOT_LEN)?;
        Some(Slot {
            position: u32_at(bytes, 0),
            body_len: u32_at(bytes, 4),
            offset: self.first_offset().saturating_add(i64::from(u32_at(bytes, 8))),
            record_count: u32_at(bytes, 12),
            timestamp_ms: i64_at(bytes, 16),
            sequence: self.first_sequence().saturating_add(u64::from(u32_at(bytes, 24))),
            term: u32_at(bytes, 28),
        })
    }
}

/// Digest of all runs of a footer.
pub(crate) fn digest<'a>(runs: impl Iterator<Item = &'a Bytes>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for run in runs {
        hasher.update(run);
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

/// The end of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) segment: u64,
    pub(crate) position: u32,
    pub(crate) runs: u32,
    pub(crate) digest: [u8; 16],
    pub(crate) min_sequence: u64,
}

impl Trailer {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(TRAILER_MAGIC);
        out.put_u32(VERSION);
        out.put_u32(0);
        out.put_u64(self.segment);
        out.put_u32(self.position);
        out.put_u32(self.runs);
        out.extend_from_slice(&self.digest);
        out.put_u64(self.min_sequence);
        out.put_u64(0);
        let crc = trailer_crc(&out[start..]);
        out[start + 12..start + 16].copy_from_slice(&crc.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..TRAILER_LEN)?;
        if &bytes[..8] != TRAILER_MAGIC
            || u32_at(bytes, 8) != VERSION
            || trailer_crc(bytes) != u32_at(bytes, 12)
        {
            return None;
        }
        Some(Self {
            segment: u64_at(bytes, 16),
            position: u32_at(bytes, 24),
            runs: u32_at(bytes, 28),
            digest: bytes[32..48].try_into().ok()?,
            min_sequence: u64_at(bytes, 48),
        })
    }
}

fn trailer_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..TRAILER_LEN])
}

/// Splits the runs of a footer, `None` unless all of `bytes` is runs.
pub(crate) fn split_runs(mut bytes: Bytes) -> Option<Vec<PackedRun>> {
    let mut runs = Vec::new();
    while !bytes.is_empty() {
        runs.push(PackedRun::take(&mut bytes)?);
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_trailers_survive() {
        let slot = |n: u32| Slot {
            position: 64 + n * 100,
            body_len: 10,
            offset: 100 + i64::from(n) * 2,
            record_count: 2,
            term: 3,
            timestamp_ms: 50 - i64::from(n),
            sequence: 7 + u64::from(n),
        };
        let mut run = OpenRun { first_index: 9, slots: vec![slot(0)], closed: false };
        assert!(run.takes(10, &slot(1)));
        assert!(!run.takes(11, &slot(1)));
        run.slots.push(slot(1));
        let mut out = Vec::new();
        run.pack(LogId(4), &mut out);
        run.pack(LogId(5), &mut out);
        let runs = split_runs(out.clone().into()).expect("whole");
        assert_eq!(runs.len(), 2);
        assert_eq!((runs[0].log(), runs[1].log(), runs[0].count()), (LogId(4), LogId(5), 2));
        assert_eq!((runs[0].first_index(), runs[0].first_offset()), (9, 100));
        assert_eq!((runs[0].last_sequence(), runs[0].max_timestamp(), runs[0].frame_bytes()), (8, 50, 208));
        assert_eq!(runs[0].slot(1), Some(slot(1)));
        assert_eq!(runs[0].slot(2), None);
        for at in 0..out.len() / 2 {
            let mut changed = out[..out.len() / 2].to_vec();
            changed[at] ^= 16;
            assert!(PackedRun::whole(changed.into()).is_none(), "byte {at}");
        }
        let trailer = Trailer { segment: 1, position: 2, runs: 3, digest: [4; 16], min_sequence: 5 };
        let mut out = Vec::new();
        trailer.encode(&mut out);
        assert_eq!((out.len(), Trailer::decode(&out)), (TRAILER_LEN, Some(trailer)));
    }
}
