//! What the core reads of a v2 record batch in place (KIP-98 layout, big-endian).

use bytes::Bytes;

use super::request::ProducerStamp;

const ATTRIBUTES: usize = 21;
const BASE_TIMESTAMP: usize = 27;
const RECORDS: usize = 61;
const CODEC_MASK: i16 = 0b111;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;

/// The producer stamp of a stored batch; `None` for a batch without an idempotent producer.
pub(crate) fn producer_stamp(batch: &Bytes) -> Option<ProducerStamp> {
    let id = i64::from_be_bytes(field(batch, PRODUCER_ID)?);
    let epoch = i16::from_be_bytes(field(batch, PRODUCER_EPOCH)?);
    let base_sequence = i32::from_be_bytes(field(batch, BASE_SEQUENCE)?);
    (id >= 0 && epoch >= 0 && base_sequence >= 0).then_some(ProducerStamp { id, epoch, base_sequence })
}

fn field<const N: usize>(batch: &Bytes, at: usize) -> Option<[u8; N]> {
    batch.get(at..at + N)?.try_into().ok()
}

/// Whether the records of a batch are packed.
pub(crate) fn is_compressed(batch: &[u8]) -> bool {
    let attributes = batch.get(ATTRIBUTES..).and_then(|rest| rest.first_chunk::<2>());
    attributes.is_some_and(|attributes| i16::from_be_bytes(*attributes) & CODEC_MASK != 0)
}

/// The first record at or after a time that is not below `least` in its batch: its offset there and its timestamp. `None`
/// when there is none, and for a compressed batch.
pub(crate) fn first_record_at(batch: &[u8], timestamp_ms: i64, least: i64) -> Option<(i64, i64)> {
    let base = i64::from_be_bytes(batch.get(BASE_TIMESTAMP..BASE_TIMESTAMP + 8)?.try_into().ok()?);
    if is_compressed(batch) {
        return None;
    }
    let mut rest = batch.get(RECORDS..)?;
    while !rest.is_empty() {
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let (record, next) = rest.split_at_checked(length)?;
        let mut fields = record.get(1..)?;
        let timestamp = base.checked_add(varint(&mut fields)?)?;
        let delta = varint(&mut fields)?;
        if timestamp >= timestamp_ms && delta >= least {
            return Some((delta, timestamp));
        }
        rest = next;
    }
    None
}

/// A zigzag varint of at most ten bytes.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three records at base, base + 10 and base + 300 milliseconds.
    fn batch(attributes: u8) -> Vec<u8> {
        let mut batch = vec![0; RECORDS];
        batch[ATTRIBUTES + 1] = attributes;
        batch[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].copy_from_slice(&1_000_i64.to_be_bytes());
        for (timestamp, offset) in [(vec![0], 0), (vec![20], 2), (vec![0xd8, 0x04], 4)] {
            let mut record = vec![0];
            record.extend(timestamp);
            record.extend([offset, 1, 1, 0]);
            batch.push(u8::try_from(record.len() * 2).unwrap());
            batch.extend(record);
        }
        batch
    }

    #[test]
    fn records_are_found_by_time() {
        assert_eq!(first_record_at(&batch(0), 0, 0), Some((0, 1_000)));
        assert_eq!(first_record_at(&batch(0), 0, 1), Some((1, 1_010)));
        assert_eq!(first_record_at(&batch(0), 1_001, 0), Some((1, 1_010)));
        assert_eq!(first_record_at(&batch(0), 1_300, 0), Some((2, 1_300)));
        assert_eq!(first_record_at(&batch(0), 1_301, 0), None);
        assert_eq!(first_record_at(&batch(0), 0, 3), None);
        assert_eq!(first_record_at(&batch(1), 0, 0), None, "compressed");
    }

    quickcheck::quickcheck! {
        fn hostile_batches_are_no_panic(bytes: Vec<u8>, at: i64) -> bool {
            let mut hostile = batch(0);
            hostile.truncate(RECORDS);
            hostile.extend(bytes);
            first_record_at(&hostile, at, 0).is_none_or(|(_, timestamp)| timestamp >= at)
        }
    }
}
