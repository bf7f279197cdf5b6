//! Timestamps of a batch that the leader takes (KIP-32, KIP-937): checked against its clock, or replaced by it.
//!
//! Only the header is looked at: its two timestamps are those of the first and of the newest record. Of a topic with
//! `message.timestamp.before.max.ms` the Kafka layer looks at the records between them, too, which may be packed.

use bytes::{Bytes, BytesMut};

use super::metadata::configs::TopicConfig;
use super::request::Batch;

const CRC: usize = 17;
const SUMMED: usize = 21;
const ATTRIBUTES: usize = 21;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const RECORDS: usize = 61;
const LOG_APPEND_TIME: u8 = 1 << 3;
const NO_TIMESTAMP: i64 = -1;

/// Checks a batch of a topic whose records keep their timestamps.
///
/// # Errors
/// What is too far from the clock, in Kafka's words.
pub(crate) fn check(batch: &Batch, config: &TopicConfig, now_ms: i64) -> Result<(), String> {
    let base = batch.bytes.get(BASE_TIMESTAMP..).and_then(|rest| rest.first_chunk::<8>());
    let base = base.map_or(NO_TIMESTAMP, |base| i64::from_be_bytes(*base));
    check_one(base, config, now_ms)?;
    check_one(batch.max_timestamp_ms, config, now_ms)
}

fn check_one(timestamp: i64, config: &TopicConfig, now_ms: i64) -> Result<(), String> {
    let earliest = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let latest = now_ms.saturating_add(config.timestamp_after_max_ms);
    if timestamp == NO_TIMESTAMP || (earliest..=latest).contains(&timestamp) {
        return Ok(());
    }
    Err(format!(
        "Timestamp {timestamp} of a record is out of range. The timestamp should be within [{earliest}, {latest}]: see the topic's \
         message.timestamp.before.max.ms and message.timestamp.after.max.ms"
    ))
}

/// The same batch whose records have all the time `now_ms`. A batch too short to have a header stays as it is.
pub(crate) fn append_time(batch: &Bytes, now_ms: i64) -> Bytes {
    if batch.len() < RECORDS {
        return batch.clone();
    }
    let mut stamped = BytesMut::from(&batch[..]);
    stamped[ATTRIBUTES + 1] |= LOG_APPEND_TIME;
    stamped[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&now_ms.to_be_bytes());
    let crc = crc32c::crc32c(&stamped[SUMMED..]);
    stamped[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    stamped.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::metadata::configs::{Configs, Defaults, Layers};

    fn config(before: i64, after: i64) -> TopicConfig {
        let (nothing, defaults) = (Configs::new(), Defaults::default());
        let layers = Layers { topic: &nothing, node: &nothing, cluster: &nothing, defaults: &defaults };
        TopicConfig {
            timestamp_before_max_ms: before,
            timestamp_after_max_ms: after,
            ..TopicConfig::new(&layers)
        }
    }

    fn batch(base: i64, max_timestamp_ms: i64) -> Batch {
        let mut bytes = vec![0; RECORDS + 5];
        bytes[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].copy_from_slice(&base.to_be_bytes());
        bytes[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&max_timestamp_ms.to_be_bytes());
        Batch { bytes: bytes.into(), record_count: 1, producer: None, max_timestamp_ms }
    }

    #[test]
    fn bounds_are_inclusive_and_no_timestamp_is_no_time() {
        let narrow = config(10, 20);
        for (base, max, good) in [
            (990, 1_020, true),
            (989, 1_000, false),
            (1_000, 1_021, false),
            (-1, -1, true),
            (-1, 1_021, false),
        ] {
            assert_eq!(check(&batch(base, max), &narrow, 1_000).is_ok(), good, "{base} {max}");
        }
        assert!(check(&batch(0, i64::MAX), &config(i64::MAX, i64::MAX), 1_000).is_ok());
    }

    #[test]
    fn an_append_time_is_summed() {
        let stamped = append_time(&batch(5, 6).bytes, 77);
        assert_eq!(stamped[ATTRIBUTES + 1], LOG_APPEND_TIME);
        assert_eq!(stamped[MAX_TIMESTAMP..MAX_TIMESTAMP + 8], 77_i64.to_be_bytes());
        assert_eq!(stamped[CRC..CRC + 4], crc32c::crc32c(&stamped[SUMMED..]).to_be_bytes());
        assert_eq!(append_time(&Bytes::from_static(b"short"), 1), "short");
    }
}
