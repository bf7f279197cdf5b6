//! Log lines on standard error, and the level that can change while the node runs.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::config::{Config, LogFormat};

/// Changes the level of the running process.
#[derive(Clone)]
pub(super) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Takes a checked `--log-level`. False when the log is gone.
    pub(super) fn set(&self, level: &str) -> bool {
        self.0.reload(filter(level)).is_ok()
    }
}

/// Starts the log of the process; once.
pub(super) fn start(config: &Config) -> Level {
    let (filter, handle) = reload::Layer::new(filter(&config.log_level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Level(handle)
}

/// libp2p's own words are for its developers, unless a person asks for them.
fn filter(level: &str) -> EnvFilter {
    match level.contains('=') {
        true => EnvFilter::new(level),
        false => EnvFilter::new(format!("{level},libp2p_swarm=warn,libp2p_kad=error,yamux=error")),
    }
}
