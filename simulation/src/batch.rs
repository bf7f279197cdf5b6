//! Record batches of the workload: Kafka's format v2 with real CRCs, and values that tell who wrote them.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8, 8..12, 12..16, 16 | base offset, length after this field, leader epoch, magic 2 |
//! | 17..21 | CRC32C of 21.. |
//! | 21..23, 23..27, 27..35, 35..43 | attributes, last offset delta, base timestamp, max timestamp |
//! | 43..51, 51..53, 53..57, 57..61 | producer id, epoch, base sequence, number of records |
//! | 61.. | records: varint length, attributes, timestamp delta, offset delta, null key, value, no headers |
//!
//! A value is the client (4 bytes), its running record number (8 bytes) and padding.

use bytes::Bytes;
use node::core::request::{Batch, ProducerStamp};

/// Names one batch of the workload for ever: the client and the number of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchId {
    /// Which client.
    pub(crate) client: u32,
    /// Its running number of the first record.
    pub(crate) record: u64,
}

/// Builds a batch of `count` records with values of `value_bytes` (at least 12).
pub(crate) fn build(
    id: BatchId,
    stamp: Option<ProducerStamp>,
    count: u32,
    value_bytes: usize,
    time_ms: i64,
) -> Batch {
    let mut out = vec![0; 61];
    for delta in 0..count {
        push_record(&mut out, id, delta, value_bytes.max(12));
    }
    let length = i32::try_from(out.len() - 12).expect("the workload's batches are small");
    let count_signed = i32::try_from(count).expect("the workload's batches are small");
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    out[16] = 2;
    out[23..27].copy_from_slice(&(count_signed - 1).to_be_bytes());
    out[27..35].copy_from_slice(&time_ms.to_be_bytes());
    out[35..43].copy_from_slice(&time_ms.to_be_bytes());
    let (producer, epoch, sequence) = stamp.map_or((-1, -1, -1), |s| (s.id, s.epoch, s.base_sequence));
    out[43..51].copy_from_slice(&producer.to_be_bytes());
    out[51..53].copy_from_slice(&epoch.to_be_bytes());
    out[53..57].copy_from_slice(&sequence.to_be_bytes());
    out[57..61].copy_from_slice(&count_signed.to_be_bytes());
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch { bytes: Bytes::from(out), record_count: count, producer: stamp, max_timestamp_ms: time_ms }
}

/// What a stored batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Who wrote it.
    pub(crate) id: BatchId,
    /// Idempotent producer, or `None`.
    pub(crate) stamp: Option<ProducerStamp>,
    /// Number of records.
    pub(crate) count: u32,
    /// Digest of what its client made: a topic with LogAppendTime has the leader set one attribute and the largest timestamp, and no more.
    pub(crate) made: u32,
}

/// Reads a stored batch; `Err` says why these are not the workload's bytes.
pub(crate) fn read(bytes: &[u8]) -> Result<Seen, &'static str> {
    let (Some(&crc), Some(body)) = (bytes.get(17..21).and_then(|b| b.first_chunk::<4>()), bytes.get(21..))
    else {
        return Err("shorter than a batch header");
    };
    let crc = u32::from_be_bytes(crc);
    if crc != crc32c::crc32c(body) {
        return Err("its CRC does not hold");
    }
    let stamp = ProducerStamp {
        id: i64::from_be_bytes(field(bytes, 43)?),
        epoch: i16::from_be_bytes(field(bytes, 51)?),
        base_sequence: i32::from_be_bytes(field(bytes, 53)?),
    };
    let count = u32::from_be_bytes(field(bytes, 57)?);
    let value = first_value(bytes)?;
    let id = BatchId {
        client: u32::from_be_bytes(field(bytes, value)?),
        record: u64::from_be_bytes(field(bytes, value + 4)?),
    };
    Ok(Seen { id, stamp: (stamp.id >= 0).then_some(stamp), count, made: made(body) })
}

/// Digest of what follows the CRC, as it was before a leader set the time of the append. All records of a batch here have one timestamp.
fn made(body: &[u8]) -> u32 {
    const LOG_APPEND_TIME: u8 = 8;
    let mut body = body.to_vec();
    if body[1] & LOG_APPEND_TIME != 0 {
        body[1] &= !LOG_APPEND_TIME;
        body.copy_within(6..14, 14);
    }
    crc32c::crc32c(&body)
}

/// Number of records of a batch, whoever made it.
pub(crate) fn count(bytes: &[u8]) -> u32 {
    field(bytes, 57).map_or(1, u32::from_be_bytes)
}

/// Digest of what a broker must not change: all but base offset, length and leader epoch.
pub(crate) fn digest(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes.get(16..).unwrap_or_default())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], &'static str> {
    bytes.get(at..).and_then(|b| b.first_chunk::<N>()).copied().ok_or("shorter than its records")
}

fn push_record(out: &mut Vec<u8>, id: BatchId, delta: u32, value_bytes: usize) {
    let mut body = Vec::with_capacity(value_bytes + 12);
    body.push(0);
    push_varint(&mut body, 0);
    push_varint(&mut body, i64::from(delta));
    push_varint(&mut body, -1);
    push_varint(&mut body, value_bytes as i64);
    body.extend(id.client.to_be_bytes());
    body.extend((id.record + u64::from(delta)).to_be_bytes());
    body.resize(body.len() + value_bytes - 12, b'.');
    push_varint(&mut body, 0);
    push_varint(out, body.len() as i64);
    out.extend(body);
}

/// Kafka's zigzag varint.
fn push_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push((zigzag & 0x7f) as u8);
}

/// Where the first record's value starts.
fn first_value(bytes: &[u8]) -> Result<usize, &'static str> {
    let mut at = skip_varint(bytes, 61)? + 1;
    for _ in 0..4 {
        at = skip_varint(bytes, at)?;
    }
    Ok(at)
}

fn skip_varint(bytes: &[u8], mut at: usize) -> Result<usize, &'static str> {
    while *bytes.get(at).ok_or("shorter than its records")? >= 0x80 {
        at += 1;
    }
    Ok(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_tells_who_wrote_it() {
        let id = BatchId { client: 3, record: 1 << 40 };
        let stamp = Some(ProducerStamp { id: 9, epoch: 2, base_sequence: 77 });
        let batch = build(id, stamp, 3, 400, 1000);
        let seen = read(&batch.bytes).unwrap();
        assert_eq!((seen.id, seen.stamp, seen.count), (id, stamp, 3));
        assert_eq!(read(&build(id, None, 1, 0, 0).bytes).unwrap().stamp, None);
    }

    #[test]
    fn damage_is_seen() {
        let batch = build(BatchId { client: 1, record: 5 }, None, 1, 20, 0);
        let mut bytes = batch.bytes.to_vec();
        bytes[70] ^= 1;
        assert!(read(&bytes).is_err());
        assert!(read(&bytes[..30]).is_err());
        assert_ne!(digest(&bytes), digest(&batch.bytes));
    }

    #[test]
    fn what_the_broker_patches_does_not_count() {
        let batch = build(BatchId { client: 1, record: 5 }, None, 1, 20, 0);
        let mut bytes = batch.bytes.to_vec();
        bytes[..8].copy_from_slice(&77_i64.to_be_bytes());
        bytes[12..16].copy_from_slice(&3_i32.to_be_bytes());
        assert_eq!(digest(&bytes), digest(&batch.bytes));
        assert_eq!(read(&bytes), read(&batch.bytes));
    }
}
