//! The one place where the node's process reads the time.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use mesh::raft::Time;
use tokio::time::Instant;

use crate::core::Now;

/// What [`set_offset`] set.
static OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// Both clocks of the node. Copies read the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: Instant,
}

impl Clock {
    /// A monotonic clock that begins now.
    pub(super) fn start() -> Clock {
        Clock { began: Instant::now() }
    }

    /// The time for a step.
    pub(super) fn now(&self) -> Now {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { mono: Time(micros), wall_ms: wall_ms(), behind: false }
    }

    /// When that time of the core is.
    pub(super) fn at(&self, time: Time) -> Instant {
        // A far deadline is as good as none, and an Instant has an end.
        self.began + Duration::from_micros(time.0.min(u64::MAX >> 12))
    }
}

/// Nanoseconds since 1970, for spans; 0 while the system's clock is before that.
pub(super) fn wall_ns() -> u64 {
    u64::try_from(since_1970().as_nanos()).unwrap_or(u64::MAX)
}

fn since_1970() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "the shell reads the clock and hands it to the core")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since 1970; 0 while the system's clock is before that.
pub(super) fn wall_ms() -> i64 {
    let ms = i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX);
    ms.saturating_add(OFFSET_MS.load(Relaxed)).max(0)
}

/// A drill: from now on the clock reads wrong by that much.
pub(super) fn set_offset(ms: i64) {
    OFFSET_MS.store(ms, Relaxed);
    if ms != 0 {
        tracing::warn!(clock_offset_ms = ms, "this node's clock is wrong on purpose (--clock-offset-ms)");
    }
}
