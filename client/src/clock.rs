//! The only place that reads a clock or starts a thread.

use std::thread::JoinHandle;
use std::time::Instant;

/// Monotonic now.
#[expect(clippy::disallowed_methods, reason = "a command-line shell: timeouts and rates need a clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Runs `work` on a thread of its own.
#[expect(clippy::disallowed_methods, reason = "a command-line shell: blocking reads need their own thread")]
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(work)
}

/// Waits for about `time`; it may be over sooner.
pub(crate) fn pause(time: std::time::Duration) {
    std::thread::park_timeout(time);
}
