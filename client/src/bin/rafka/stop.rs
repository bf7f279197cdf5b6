//! Ctrl-C and SIGTERM: the first asks the command to finish what it began, the second to give up waiting, and the
//! third ends the process on the spot.

use crate::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// How often the user asked to stop. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicU32>);

impl Stop {
    /// Starts to listen for both signals. Should that fail, the system's default stays: the signal ends the process.
    pub(crate) fn listen() -> Stop {
        let stop = Stop::default();
        let count = stop.0.clone();
        clock::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(count_signals(&count));
            }
        });
        stop
    }

    /// Asked at least once: take no new work.
    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 1
    }

    /// Asked at least twice: stop waiting too.
    pub(crate) fn insisted(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 2
    }
}

async fn count_signals(count: &AtomicU32) {
    let Ok(mut interrupt) = signal(SignalKind::interrupt()) else { return };
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if count.fetch_add(1, Ordering::Relaxed) >= 2 {
            std::process::exit(130);
        }
    }
}
