//! Batches of topics that want something of every record: packed another way (`compression.type`), or no older or newer than they
//! may be (`message.timestamp.before.max.ms`, `message.timestamp.after.max.ms`).
//!
//! Both need the records unpacked, so it is done by the task that reads from the client and not by the node's thread. Bounded: one batch
//! is unpacked up to [`UNPACKED_BYTES_MAX`] bytes, and a node does so many at a time as it has permits for. Base offset, producer, sequence
//! and number of records stay, so idempotence does not see it. Batches of other topics are not touched.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;

use super::unpack::{Stream, whole};
use crate::core::batch::append_time;
use crate::core::error::ErrorCode;
use crate::core::metadata::configs::{Compression, TopicConfig};
use crate::core::metadata::quotas::Quotas;
use crate::core::request::{Batch, TopicId, TopicRef};
use crate::kafka::ClientContext;

/// What the records of one batch may take when they are unpacked.
pub(super) const UNPACKED_BYTES_MAX: u64 = 64 << 20;
/// Uncompressed bytes of one block of snappy-java.
const SNAPPY_BLOCK_BYTES: usize = 32 << 10;
/// Beginning of its framing: magic, version 1, compatible with 1.
const XERIAL_HEADER: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const LENGTH: usize = 8;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const BASE_TIMESTAMP: usize = 27;
const RECORDS: usize = 61;
const CODEC_MASK: u8 = 0b111;
const NO_TIMESTAMP: i64 = -1;

/// What a topic wants of every record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    compression: Option<Compression>,
    /// Milliseconds of the past and of the future that timestamps may be in.
    window: Option<(i64, i64)>,
}

impl Rule {
    /// The rule of a topic, if it has one.
    pub fn of(config: &TopicConfig) -> Option<Rule> {
        let window = (config.timestamp_before_max_ms, config.timestamp_after_max_ms);
        let window = Some(window).filter(|window| !config.log_append_time && *window != (i64::MAX, i64::MAX));
        let rule = Rule { compression: config.compression, window };
        (rule.compression.is_some() || rule.window.is_some()).then_some(rule)
    }
}

/// The topics that have one, and who has a quota.
#[derive(Debug)]
pub struct Rules {
    wall_ms: fn() -> i64,
    by_id: BTreeMap<TopicId, Rule>,
    ids: BTreeMap<String, TopicId>,
    quotas: Quotas,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(|| 0)
    }
}

impl Rules {
    /// No topic has one yet. `wall_ms` reads the clock that timestamps are compared with.
    pub fn new(wall_ms: fn() -> i64) -> Self {
        Self { wall_ms, by_id: BTreeMap::new(), ids: BTreeMap::new(), quotas: Quotas::default() }
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        (self.wall_ms)()
    }

    /// Adds a topic's.
    pub fn add(&mut self, id: TopicId, name: String, rule: Rule) {
        self.by_id.insert(id, rule);
        self.ids.insert(name, id);
    }

    /// The quotas that clients have.
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// Whether a client has a quota.
    pub fn limits(&self, client: &ClientContext) -> bool {
        !self.quotas.is_empty() && self.quotas.limits_any(client.user(), &client.client_id)
    }

    /// Whether no topic has any.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The rule of a topic as a client names it.
    pub fn find(&self, topic: &TopicRef) -> Option<&Rule> {
        let id = match topic {
            TopicRef::Name(name) => self.ids.get(name)?,
            TopicRef::Id(id) => id,
        };
        self.by_id.get(id)
    }
}

/// The batch as its topic wants it. `now_ms` is the time of the leader's clock, in milliseconds since 1970.
///
/// # Errors
/// When a record is too far from that time, the records cannot be unpacked within [`UNPACKED_BYTES_MAX`], or they are not as many as the
/// header says; with the words for the client.
pub fn prepare(batch: Batch, rule: &Rule, now_ms: i64) -> Result<Batch, (ErrorCode, String)> {
    let codec = batch.bytes.get(ATTRIBUTES + 1).map_or(0, |attributes| attributes & CODEC_MASK);
    let to = rule.compression.filter(|to| to.codec() != codec);
    if (to.is_none() && rule.window.is_none()) || append_time(&batch.bytes).is_some() {
        return Ok(batch);
    }
    let records = whole(&batch.bytes, UNPACKED_BYTES_MAX).ok_or_else(|| {
        let text = format!(
            "the records cannot be unpacked, or take more than {} MiB then: send smaller batches, or see the topic's compression.type",
            UNPACKED_BYTES_MAX >> 20
        );
        (ErrorCode::CorruptMessage, text)
    })?;
    check(&batch, &records, rule.window, now_ms)?;
    let Some(to) = to else { return Ok(batch) };
    let bytes = packed(&batch.bytes, &records, to).map_err(|error| {
        let text = format!("the records could not be packed anew: {error}");
        (ErrorCode::UnknownServerError, text)
    })?;
    Ok(Batch { bytes, ..batch })
}

/// Looks at each record's length and timestamp.
fn check(
    batch: &Batch,
    records: &[u8],
    window: Option<(i64, i64)>,
    now_ms: i64,
) -> Result<(), (ErrorCode, String)> {
    let base = batch.bytes.get(BASE_TIMESTAMP..).and_then(|rest| rest.first_chunk::<8>());
    let base = base.map_or(NO_TIMESTAMP, |base| i64::from_be_bytes(*base));
    let mut left = UNPACKED_BYTES_MAX;
    let mut stream = Stream::new(records, &mut left);
    for number in 0..batch.record_count {
        let delta = stream.timestamp_delta().ok().and_then(|delta| base.checked_add(delta));
        let Some(timestamp) = delta else {
            let text = format!(
                "record {number} of {} cannot be read once the batch is unpacked",
                batch.record_count
            );
            return Err((ErrorCode::InvalidRecord, text));
        };
        let Some((before, after)) = window else { continue };
        let (earliest, latest) = (now_ms.saturating_sub(before), now_ms.saturating_add(after));
        if timestamp != NO_TIMESTAMP && !(earliest..=latest).contains(&timestamp) {
            let text = format!(
                "Timestamp {timestamp} of record {number} is out of range. The timestamp should be within [{earliest}, {latest}]: see \
                 the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms"
            );
            return Err((ErrorCode::InvalidTimestamp, text));
        }
    }
    Ok(())
}

impl Compression {
    /// Its number in a batch's attributes.
    fn codec(self) -> u8 {
        match self {
            Self::Uncompressed => 0,
            Self::Gzip(_) => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

/// The header of `batch` before these records, packed.
fn packed(batch: &[u8], records: &[u8], to: Compression) -> Result<Bytes, std::io::Error> {
    let header = batch.get(..RECORDS).ok_or(std::io::ErrorKind::InvalidData)?;
    let mut out = header.to_vec();
    match to {
        Compression::Uncompressed => out.extend_from_slice(records),
        Compression::Gzip(level) => {
            let level = u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(&mut out, level);
            encoder.write_all(records)?;
            encoder.finish()?;
        }
        Compression::Snappy => {
            out.extend_from_slice(XERIAL_HEADER);
            for block in records.chunks(SNAPPY_BLOCK_BYTES) {
                let packed = snap::raw::Encoder::new().compress_vec(block).map_err(std::io::Error::other)?;
                let length = u32::try_from(packed.len()).map_err(std::io::Error::other)?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&packed);
            }
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(&mut out);
            encoder.write_all(records)?;
            encoder.finish().map_err(std::io::Error::other)?;
        }
        Compression::Zstd => {
            ruzstd::encoding::compress(records, &mut out, ruzstd::encoding::CompressionLevel::Fastest);
        }
    }
    let length = i32::try_from(out.len() - LENGTH - 4).map_err(std::io::Error::other)?;
    out[LENGTH..LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    out[ATTRIBUTES + 1] = (out[ATTRIBUTES + 1] & !CODEC_MASK) | to.codec();
    let crc = crc32c::crc32c(&out[ATTRIBUTES..]);
    out[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::batch;
    use crate::kafka::unpack::tests::{packed_records, zigzag};

    const ALL: [Compression; 5] = [
        Compression::Uncompressed,
        Compression::Gzip(-1),
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// Records at base, base + 10, .., packed by `codec`.
    fn sent(codec: u8, count: u32, value_bytes: usize) -> Batch {
        let bytes = packed_records(codec, count, value_bytes);
        batch::check(Some(bytes.into()), 9, 1 << 30).expect("sound")
    }

    fn rule(compression: Option<Compression>, window: Option<(i64, i64)>) -> Rule {
        Rule { compression, window }
    }

    #[test]
    fn every_codec_becomes_every_other_with_the_same_records() {
        for count in [1, 500] {
            let plain = whole(&sent(0, count, 200).bytes, UNPACKED_BYTES_MAX).expect("not packed");
            for (codec, to) in (0..5).flat_map(|codec| ALL.map(|to| (codec, to))) {
                let batch = sent(codec, count, 200);
                let (before, stamp) = (batch.bytes.clone(), batch.producer);
                let done = prepare(batch, &rule(Some(to), None), 0).expect("packed");
                assert_eq!(done.bytes == before, to.codec() == codec, "{codec} {to:?}");
                let again = batch::check(Some(done.bytes.clone()), 9, 1 << 30).expect("a sound batch");
                assert_eq!((again.record_count, again.producer), (count, stamp));
                assert_eq!(done.bytes[ATTRIBUTES + 1] & CODEC_MASK, to.codec());
                assert_eq!(
                    whole(&done.bytes, UNPACKED_BYTES_MAX).as_deref(),
                    Some(&plain[..]),
                    "{codec} {to:?}"
                );
                if count > 1 && to != Compression::Uncompressed {
                    assert!(done.bytes.len() < plain.len() / 2, "{to:?} takes {}", done.bytes.len());
                }
            }
        }
    }

    #[test]
    fn gzip_has_levels() {
        let at = |level| {
            let done = prepare(sent(0, 500, 200), &rule(Some(Compression::Gzip(level)), None), 0);
            done.expect("packed").bytes.len()
        };
        assert!(at(9) <= at(1) && at(1) < at(0));
    }

    #[test]
    fn a_record_in_the_middle_of_a_packed_batch_is_not_overlooked() {
        // 1000, 1010, 1020.
        for codec in 0..5 {
            let checked = |before, after, now| {
                prepare(sent(codec, 3, 10), &rule(None, Some((before, after))), now)
                    .map_err(|(error, _)| error)
            };
            assert!(checked(10, 10, 1_010).is_ok());
            assert_eq!(checked(9, 10, 1_010).unwrap_err(), ErrorCode::InvalidTimestamp);
            assert_eq!(checked(10, 9, 1_010).unwrap_err(), ErrorCode::InvalidTimestamp);
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_refused() {
        let to = rule(Some(Compression::Uncompressed), None);
        for codec in 1..5 {
            let mut batch = sent(codec, 40, 50);
            let mut bytes = batch.bytes.to_vec();
            bytes.truncate(RECORDS + 8);
            batch.bytes = bytes.into();
            assert!(prepare(batch, &to, 0).is_err(), "{codec}");
        }
        // More records than there are.
        let mut batch = sent(1, 40, 50);
        batch.record_count = 41;
        assert_eq!(prepare(batch, &to, 0).unwrap_err().0, ErrorCode::InvalidRecord);
        // Little that becomes much.
        let mut record = vec![0];
        zigzag(0, &mut record);
        zigzag(0, &mut record);
        zigzag(-1, &mut record);
        let value = vec![7; 70 << 20];
        zigzag(value.len() as i64, &mut record);
        record.extend(value);
        zigzag(0, &mut record);
        let mut body = Vec::new();
        zigzag(record.len() as i64, &mut body);
        body.extend(record);
        let header = sent(0, 1, 0).bytes;
        for to in [Compression::Gzip(-1), Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let bytes = packed(&header, &body, to).expect("packed");
            let bomb = batch::check(Some(bytes), 9, 1 << 30).expect("sound outside");
            let rule = rule(Some(Compression::Uncompressed), None);
            assert_eq!(prepare(bomb, &rule, 0).unwrap_err().0, ErrorCode::CorruptMessage, "{to:?}");
        }
    }

    #[test]
    fn only_topics_with_a_rule_are_touched() {
        let mut rules = Rules::default();
        assert!(rules.is_empty());
        rules.add(TopicId([1; 16]), "t".to_owned(), rule(Some(Compression::Lz4), None));
        assert!(rules.find(&TopicRef::Name("t".to_owned())).is_some());
        assert!(rules.find(&TopicRef::Id(TopicId([1; 16]))).is_some());
        assert!(rules.find(&TopicRef::Name("u".to_owned())).is_none());
    }

    quickcheck::quickcheck! {
        fn hostile_batches_are_no_panic(bytes: Vec<u8>, codec: u8, to: u8, count: u8) -> bool {
            let mut hostile = sent(0, 1, 0).bytes[..RECORDS].to_vec();
            hostile[ATTRIBUTES + 1] = codec % 8;
            hostile.extend(bytes);
            let record_count = u32::from(count);
            let batch =
                Batch { bytes: hostile.into(), record_count, producer: None, max_timestamp_ms: 0 };
            let _refused = prepare(batch, &rule(Some(ALL[usize::from(to) % 5]), Some((5, 5))), 1_000);
            true
        }
    }
}
