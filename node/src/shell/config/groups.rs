//! The settings of consumer groups.

use super::{ConfigError, Raw, narrow, within, wrong};
use crate::core::groups::GroupConfig;
use crate::core::metadata::descriptor::TOPIC_PARTITIONS_MAX;

const DAY_MS: u64 = 86_400_000;

pub(super) fn check(raw: &Raw) -> Result<GroupConfig, ConfigError> {
    let offsets_partitions = match raw.offsets_partitions.unwrap_or(50) {
        given @ 1..=TOPIC_PARTITIONS_MAX => given,
        given => {
            return Err(wrong("offsets-partitions", given, format!("it is 1 to {TOPIC_PARTITIONS_MAX}")));
        }
    };
    let number =
        |key, given: Option<u64>, default, low, high| within(key, given.unwrap_or(default), low, high);
    let session_timeout_min_ms =
        number("group-min-session-timeout-ms", raw.group_min_session_timeout_ms, 6_000, 1, DAY_MS)?;
    let max = raw.group_max_session_timeout_ms;
    let session_timeout_max_ms =
        number("group-max-session-timeout-ms", max, 1_800_000, session_timeout_min_ms, DAY_MS)?;
    let delay = raw.group_initial_rebalance_delay_ms;
    let minutes = number("offsets-retention-minutes", raw.offsets_retention_minutes, 10_080, 1, 1 << 31)?;
    let check_ms = raw.offsets_retention_check_ms;
    let text = number("offset-metadata-max-bytes", raw.offset_metadata_max_bytes, 4_096, 0, 32_767)?;
    let size = number("group-max-size", raw.group_max_size, 10_000, 1, 1_000_000)?;
    Ok(GroupConfig {
        offsets_partitions,
        initial_rebalance_delay_ms: narrow(number(
            "group-initial-rebalance-delay-ms",
            delay,
            3_000,
            0,
            DAY_MS,
        )?),
        session_timeout_min_ms: narrow(session_timeout_min_ms),
        session_timeout_max_ms: narrow(session_timeout_max_ms),
        members_max: narrow(size) as usize,
        metadata_bytes_max: narrow(text) as usize,
        retention_ms: i64::try_from(minutes.saturating_mul(60_000)).unwrap_or(i64::MAX),
        retention_check_ms: number("offsets-retention-check-ms", check_ms, 600_000, 10, DAY_MS)?,
    })
}
