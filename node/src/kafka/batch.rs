//! A record batch of magic 2, read in place.
//!
//! | byte | field | |
//! |---|---|---|
//! | 0 | base offset, i64 | written into the copy that leaves for a consumer |
//! | 8 | length of what follows, i32 | |
//! | 12 | leader epoch, i32 | written into that copy too |
//! | 16 | magic, i8 | 2 |
//! | 17 | CRC32C of byte 21 to the end, u32 | |
//! | 21 | attributes, i16 | bits 0-2 codec, 3 log append time, 4 transactional, 5 control |
//! | 23 | last offset delta, i32 | |
//! | 27 | base timestamp, i64 | |
//! | 35 | largest timestamp, i64 | |
//! | 43 | producer id, i64 | -1 without one |
//! | 51 | producer epoch, i16 | |
//! | 53 | base sequence, i32 | |
//! | 57 | number of records, i32 | |
//! | 61 | records | opaque, compressed or not |
//!
//! Big endian throughout. Neither base offset nor leader epoch is covered by the CRC, so a stored batch is never touched.

use bytes::Bytes;

use crate::core::error::ErrorCode;
use crate::core::request::{Batch, ProducerStamp};

/// Bytes of a batch's header; the records follow.
pub const HEADER_BYTES: usize = 61;
/// Bytes before those that the length field counts.
const PREFIX_BYTES: usize = 12;
/// Length, attributes, deltas of time and offset, key, value and header count: one byte each at least.
const RECORD_BYTES_MIN: usize = 7;
const CRC_FROM: usize = 21;
const CODEC_MASK: i16 = 0b111;
const CODEC_ZSTD: i16 = 4;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Why a batch is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// No bytes at all.
    #[error("a partition of a produce request carries exactly one record batch; this one carries none")]
    Missing,
    /// More than one batch.
    #[error("a partition of a produce request carries exactly one record batch; this one carries more")]
    SeveralBatches,
    /// The bytes end before the batch does, or the length is impossible.
    #[error("the record batch is cut short or its length is impossible")]
    Length,
    /// Message formats of Kafka before 0.11.
    #[error("message format {0} is not served; only record batches of magic 2 are")]
    OldFormat(i8),
    /// Not a format at all.
    #[error("the record batch has the unknown magic {0}")]
    Magic(i8),
    /// The bytes are not those that the client summed.
    #[error("the record batch fails its CRC")]
    Crc,
    /// Above the limit.
    #[error("the record batch of {bytes} bytes is larger than max.message.bytes ({bytes_max})")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The number of records contradicts the last offset delta or the bytes.
    #[error("the record batch says {records} records and a last offset delta of {last_offset_delta}")]
    Count {
        /// Number of records in the header.
        records: i32,
        /// Last offset delta in the header.
        last_offset_delta: i32,
    },
    /// Control batches are written by coordinators only.
    #[error("clients may not write control batches")]
    Control,
    /// Transactions.
    #[error("transactions are not served yet: the record batch is transactional")]
    Transactional,
    /// Compression that Kafka has no word for, or one that this version of the request cannot carry.
    #[error(
        "compression codec {0} is unknown, or not allowed in this version of the request (zstd needs Produce 7)"
    )]
    Codec(i16),
    /// Set by brokers, not by clients.
    #[error("clients may not set the timestamp type to LogAppendTime")]
    LogAppendTime,
    /// A producer id without epoch or sequence.
    #[error("the record batch has producer id {id} with epoch {epoch} and base sequence {base_sequence}")]
    Producer {
        /// Producer id.
        id: i64,
        /// Producer epoch.
        epoch: i16,
        /// Base sequence.
        base_sequence: i32,
    },
}

impl BatchError {
    /// What the client is told.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Length | Self::Magic(_) | Self::Crc => ErrorCode::CorruptMessage,
            Self::OldFormat(_) => ErrorCode::UnsupportedForMessageFormat,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Codec(_) => ErrorCode::UnsupportedCompressionType,
            Self::Missing
            | Self::SeveralBatches
            | Self::Count { .. }
            | Self::Control
            | Self::Transactional
            | Self::LogAppendTime
            | Self::Producer { .. } => ErrorCode::InvalidRecord,
        }
    }
}

/// Checks the records of one partition of a Produce request of `version` and keeps them, uncopied, as one batch.
///
/// # Errors
/// [`BatchError`] when it is not exactly one sound batch of at most `bytes_max` bytes.
pub fn check(records: Option<Bytes>, version: i16, bytes_max: usize) -> Result<Batch, BatchError> {
    let bytes = records.filter(|bytes| !bytes.is_empty()).ok_or(BatchError::Missing)?;
    let header = frame(&bytes)?;
    if bytes.len() > bytes_max {
        return Err(BatchError::TooLarge { bytes: bytes.len(), bytes_max });
    }
    let attributes = i16::from_be_bytes(at(header, 21));
    if u32::from_be_bytes(at(header, 17)) != crc32c::crc32c(&bytes[CRC_FROM..]) {
        return Err(BatchError::Crc);
    }
    check_attributes(attributes, version)?;
    let record_count = check_count(header, attributes, bytes.len() - HEADER_BYTES)?;
    let producer = producer(header)?;
    let max_timestamp_ms = i64::from_be_bytes(at(header, 35));
    Ok(Batch { bytes, record_count, producer, max_timestamp_ms })
}

/// The header, once length and magic say that `bytes` are one batch of magic 2.
fn frame(bytes: &[u8]) -> Result<&[u8; HEADER_BYTES], BatchError> {
    // Magic lies at the same byte in all formats.
    let magic = i8::from_be_bytes([*bytes.get(16).ok_or(BatchError::Length)?]);
    match magic {
        2 => {}
        0 | 1 => return Err(BatchError::OldFormat(magic)),
        _ => return Err(BatchError::Magic(magic)),
    }
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(BatchError::Length)?;
    let length =
        usize::try_from(i32::from_be_bytes(at(header, 8))).map_err(|_negative| BatchError::Length)?;
    let end = length.checked_add(PREFIX_BYTES).ok_or(BatchError::Length)?;
    if end < HEADER_BYTES || end > bytes.len() {
        return Err(BatchError::Length);
    }
    if end < bytes.len() { Err(BatchError::SeveralBatches) } else { Ok(header) }
}

fn check_attributes(attributes: i16, version: i16) -> Result<(), BatchError> {
    let codec = attributes & CODEC_MASK;
    if codec > CODEC_ZSTD || (codec == CODEC_ZSTD && version < 7) {
        return Err(BatchError::Codec(codec));
    }
    if attributes & CONTROL != 0 {
        return Err(BatchError::Control);
    }
    if attributes & TRANSACTIONAL != 0 {
        return Err(BatchError::Transactional);
    }
    if attributes & LOG_APPEND_TIME != 0 { Err(BatchError::LogAppendTime) } else { Ok(()) }
}

fn check_count(header: &[u8; HEADER_BYTES], attributes: i16, body_bytes: usize) -> Result<u32, BatchError> {
    let records = i32::from_be_bytes(at(header, 57));
    let last_offset_delta = i32::from_be_bytes(at(header, 23));
    let error = BatchError::Count { records, last_offset_delta };
    let count = u32::try_from(records).map_err(|_negative| error)?;
    let fits = attributes & CODEC_MASK != 0
        || usize::try_from(count).is_ok_and(|count| count <= body_bytes / RECORD_BYTES_MIN);
    if count == 0 || i64::from(records) != i64::from(last_offset_delta) + 1 || !fits {
        Err(error)
    } else {
        Ok(count)
    }
}

fn producer(header: &[u8; HEADER_BYTES]) -> Result<Option<ProducerStamp>, BatchError> {
    let id = i64::from_be_bytes(at(header, 43));
    let epoch = i16::from_be_bytes(at(header, 51));
    let base_sequence = i32::from_be_bytes(at(header, 53));
    match id {
        -1 => Ok(None),
        0.. if epoch >= 0 && base_sequence >= 0 => Ok(Some(ProducerStamp { id, epoch, base_sequence })),
        _ => Err(BatchError::Producer { id, epoch, base_sequence }),
    }
}

/// Writes base offset and leader epoch into a consumer's copy of a stored batch. What is too short to be one is left.
pub fn patch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    if let Some(header) = batch.first_chunk_mut::<HEADER_BYTES>() {
        header[..8].copy_from_slice(&base_offset.to_be_bytes());
        header[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    }
}

fn at<const N: usize>(header: &[u8; HEADER_BYTES], from: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[from..from + N]);
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sound batch of `records` records whose values hold `value_bytes` bytes each; base offset and epoch are nonsense,
    /// as clients may write them.
    pub(crate) fn sound(records: i32, value_bytes: usize) -> Vec<u8> {
        let body = vec![7; usize::try_from(records).unwrap() * (RECORD_BYTES_MIN + value_bytes)];
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend(77_i64.to_be_bytes());
        out.extend(i32::try_from(HEADER_BYTES - PREFIX_BYTES + body.len()).unwrap().to_be_bytes());
        out.extend(9_i32.to_be_bytes());
        out.push(2);
        out.extend([0; 4]);
        out.extend(0_i16.to_be_bytes());
        out.extend((records - 1).to_be_bytes());
        out.extend(1_000_i64.to_be_bytes());
        out.extend(1_005_i64.to_be_bytes());
        out.extend((-1_i64).to_be_bytes());
        out.extend((-1_i16).to_be_bytes());
        out.extend((-1_i32).to_be_bytes());
        out.extend(records.to_be_bytes());
        out.extend(body);
        with(out, 0, &[])
    }

    /// The batch with `bytes` at `place`, summed anew.
    pub(crate) fn with(mut batch: Vec<u8>, place: usize, bytes: &[u8]) -> Vec<u8> {
        batch[place..place + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    fn check_bytes(bytes: Vec<u8>) -> Result<Batch, BatchError> {
        check(Some(Bytes::from(bytes)), 9, 1 << 20)
    }

    #[test]
    fn a_sound_batch_is_kept_as_it_is() {
        let sent = Bytes::from(sound(3, 10));
        let batch = check(Some(sent.clone()), 3, sent.len()).unwrap();
        assert_eq!((batch.record_count, batch.max_timestamp_ms, batch.producer), (3, 1_005, None));
        assert_eq!(batch.bytes.as_ptr(), sent.as_ptr(), "the records were copied");
        let idempotent = [5_i64.to_be_bytes().as_slice(), &[0, 1], &[0, 0, 0, 9]].concat();
        let batch = check_bytes(with(sound(1, 0), 43, &idempotent)).unwrap();
        assert_eq!(batch.producer, Some(ProducerStamp { id: 5, epoch: 1, base_sequence: 9 }));
    }

    #[test]
    fn every_codec_of_kafka_passes_and_no_other() {
        for codec in 0..8_u8 {
            let checked = check(Some(Bytes::from(with(sound(1, 0), 21, &[0, codec]))), 7, 1 << 20);
            assert_eq!(checked.is_ok(), codec <= 4, "codec {codec}");
        }
        let zstd = Bytes::from(with(sound(1, 0), 21, &[0, 4]));
        assert_eq!(check(Some(zstd), 6, 1 << 20).unwrap_err(), BatchError::Codec(4));
    }

    #[test]
    fn each_fault_has_its_error() {
        use ErrorCode::{CorruptMessage, InvalidRecord, MessageTooLarge, UnsupportedForMessageFormat};
        let batch = || sound(2, 4);
        let mut flipped = batch();
        *flipped.last_mut().unwrap() ^= 1;
        let mut short = batch();
        short.pop();
        let faults = [
            (Vec::new(), InvalidRecord),
            (vec![0; 16], CorruptMessage),
            (short, CorruptMessage),
            (flipped, CorruptMessage),
            ([batch(), batch()].concat(), InvalidRecord),
            (with(batch(), 8, &[0xff; 4]), CorruptMessage),
            (with(batch(), 8, &[0, 0, 0, 10]), CorruptMessage),
            (with(batch(), 16, &[1]), UnsupportedForMessageFormat),
            (with(batch(), 16, &[3]), CorruptMessage),
            (with(batch(), 21, &[0, 1 << 3]), InvalidRecord),
            (with(batch(), 21, &[0, 1 << 4]), InvalidRecord),
            (with(batch(), 21, &[0, 1 << 5]), InvalidRecord),
            (with(batch(), 57, &[0, 0, 0, 3]), InvalidRecord),
            (with(batch(), 57, &[0xff; 4]), InvalidRecord),
            (with(with(batch(), 57, &[0, 0, 0, 0]), 23, &[0xff; 4]), InvalidRecord),
            (with(with(batch(), 57, &[0, 0, 1, 0]), 23, &[0, 0, 0, 255]), InvalidRecord),
            (with(batch(), 43, &[0; 8]), InvalidRecord),
            (with(batch(), 43, &[0x80; 8]), InvalidRecord),
            (sound(1, 1 << 20), MessageTooLarge),
        ];
        for (place, (bytes, code)) in faults.into_iter().enumerate() {
            assert_eq!(check_bytes(bytes).unwrap_err().code(), code, "fault {place}");
        }
        assert_eq!(check(None, 9, 100).unwrap_err(), BatchError::Missing);
    }

    #[test]
    fn patching_touches_nothing_that_is_summed() {
        let mut batch = sound(2, 4);
        let before = batch.clone();
        patch(&mut batch, 123_456, 7);
        assert_eq!(batch[..8], 123_456_i64.to_be_bytes());
        assert_eq!(batch[12..16], 7_i32.to_be_bytes());
        assert_eq!((&batch[8..12], &batch[16..]), (&before[8..12], &before[16..]));
        assert!(check_bytes(batch).is_ok());
        let mut short = [0; 20];
        patch(&mut short, -1, -1);
        assert_eq!(short, [0; 20]);
    }

    #[test]
    fn no_bytes_panic() {
        fn any(bytes: Vec<u8>, place: usize, value: u8) -> bool {
            let _refused = check_bytes(bytes);
            let mut batch = sound(2, 4);
            let place = place % batch.len();
            let was = batch[place];
            batch[place] = value;
            let free = place < 8 || (12..16).contains(&place) || was == value;
            check_bytes(batch).is_ok() == free
        }
        quickcheck::quickcheck(any as fn(Vec<u8>, usize, u8) -> bool);
    }
}
