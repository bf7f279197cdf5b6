//! What the core reads of a v2 record batch in place, and the batches that it writes itself (KIP-98 layout, big-endian; the table is in
//! [`kafka::batch`](crate::kafka::batch)).

use bytes::Bytes;

use super::request::ProducerStamp;

const LENGTH_COUNTS_FROM: usize = 12;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const LOG_APPEND_TIME: i16 = 1 << 3;
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

/// The time that all records of a batch have because its leader gave it to them.
pub(crate) fn append_time(batch: &[u8]) -> Option<i64> {
    let attributes = i16::from_be_bytes(*batch.get(ATTRIBUTES..)?.first_chunk()?);
    let max_timestamp = i64::from_be_bytes(*batch.get(MAX_TIMESTAMP..)?.first_chunk()?);
    (attributes & LOG_APPEND_TIME != 0).then_some(max_timestamp)
}

/// The first record at or after a time that is not below `least` in its batch: its offset there and its timestamp. `None`
/// when there is none, and for a compressed batch.
pub(crate) fn first_record_at(batch: &[u8], timestamp_ms: i64, least: i64) -> Option<(i64, i64)> {
    let base = i64::from_be_bytes(batch.get(BASE_TIMESTAMP..BASE_TIMESTAMP + 8)?.try_into().ok()?);
    if let Some(appended) = append_time(batch) {
        let last = i64::from(i32::from_be_bytes(*batch.get(LAST_OFFSET_DELTA..)?.first_chunk()?));
        let least = least.max(0);
        return (appended >= timestamp_ms && least <= last).then_some((least, appended));
    }
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

/// A batch of records with a key and a value or none, uncompressed, all of one time. Base offset and leader epoch are written into the copy
/// that leaves for a consumer.
pub(crate) fn encode_records<'a>(
    timestamp_ms: i64,
    records: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> (Bytes, u32) {
    let mut batch = vec![0; RECORDS];
    let mut count = 0_u32;
    let mut record = Vec::new();
    for (key, value) in records {
        record.clear();
        // Attributes, and no distance to the batch's timestamp.
        record.extend([0, 0]);
        put_varint(&mut record, i64::from(count));
        put_varint(&mut record, length(key.len()));
        record.extend(key);
        put_varint(&mut record, value.map_or(-1, |value| length(value.len())));
        record.extend(value.unwrap_or_default());
        // No headers.
        record.push(0);
        put_varint(&mut batch, length(record.len()));
        batch.append(&mut record);
        count += 1;
    }
    let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &[2]);
    put(LAST_OFFSET_DELTA, &count.saturating_sub(1).to_be_bytes());
    put(BASE_TIMESTAMP, &timestamp_ms.to_be_bytes());
    put(BASE_TIMESTAMP + 8, &timestamp_ms.to_be_bytes());
    put(PRODUCER_ID, &[0xff; 14]);
    put(RECORDS - 4, &count.to_be_bytes());
    let bytes =
        u32::try_from(batch.len() - LENGTH_COUNTS_FROM).expect("an append is below the bound of an entry");
    batch[8..LENGTH_COUNTS_FROM].copy_from_slice(&bytes.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    (batch.into(), count)
}

/// A record's key and value.
pub(crate) type KeyValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Keys and values of an uncompressed batch, up to where it is no sound one.
pub(crate) fn records(batch: &[u8]) -> impl Iterator<Item = KeyValue<'_>> {
    let mut rest = if is_compressed(batch) { &[] } else { batch.get(RECORDS..).unwrap_or_default() };
    std::iter::from_fn(move || {
        let size = usize::try_from(varint(&mut rest)?).ok()?;
        let (record, next) = rest.split_at_checked(size)?;
        rest = next;
        let mut fields = record.get(1..)?;
        let (_timestamp, _offset) = (varint(&mut fields)?, varint(&mut fields)?);
        Some((bytes(&mut fields)?, bytes(&mut fields)?))
    })
}

/// A byte string after its length, -1 for none; `None` when there are not that many.
#[expect(clippy::option_option, reason = "the outer one says whether the bytes are sound")]
fn bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(size) = usize::try_from(varint(rest)?) else { return Some(None) };
    let (bytes, tail) = rest.split_at_checked(size)?;
    *rest = tail;
    Some(Some(bytes))
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("an append is below the bound of an entry")
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f).to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
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
        for codec in [0, 1] {
            let mut appended = batch(8 | codec);
            appended[LAST_OFFSET_DELTA + 3] = 2;
            appended[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&7_000_i64.to_be_bytes());
            assert_eq!(first_record_at(&appended, 7_000, 1), Some((1, 7_000)));
            assert_eq!(first_record_at(&appended, 7_001, 0), None);
            assert_eq!(first_record_at(&appended, 0, 3), None);
        }
    }

    #[test]
    fn batches_of_the_core_pass_the_checks_of_clients() {
        let long = vec![7; 300];
        let written = [(&b"k1"[..], Some(&b"v"[..])), (b"k2", None), (&long, Some(&long))];
        let (batch, count) = encode_records(77, written.into_iter());
        let checked = crate::kafka::batch::check(Some(batch.clone()), 9, batch.len()).unwrap();
        assert_eq!(
            (checked.record_count, checked.max_timestamp_ms, checked.producer, count),
            (3, 77, None, 3)
        );
        let read: Vec<_> = records(&batch).collect();
        assert_eq!(read, written.map(|(key, value)| (Some(key), value)).to_vec());
        assert_eq!(first_record_at(&batch, 0, 2), Some((2, 77)));
        assert_eq!(producer_stamp(&batch), None);
    }

    quickcheck::quickcheck! {
        fn hostile_batches_are_no_panic(bytes: Vec<u8>, at: i64) -> bool {
            let mut hostile = batch(0);
            hostile.truncate(RECORDS);
            hostile.extend(bytes);
            let _ = records(&hostile).count();
            first_record_at(&hostile, at, 0).is_none_or(|(_, timestamp)| timestamp >= at)
        }
    }
}
