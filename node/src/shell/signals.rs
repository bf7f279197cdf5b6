//! SIGTERM and SIGINT. SIGHUP is `reload`'s.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::notify::Notifier;

/// Exit code when a second signal came.
const EXIT_SIGNAL: i32 = 130;

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process.
pub(super) fn stop_on_signal(notifier: Notifier) -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                tracing::warn!("a second signal: stopping at once");
                std::process::exit(EXIT_SIGNAL);
            }
            tracing::info!("stopping: leadership is handed over first; a second signal stops at once");
            notifier.stopping();
            token.cancel();
        }
    });
    Ok(stop)
}
