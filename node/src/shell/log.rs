//! Log lines on standard error, and the level that can change while the node runs.

use tokio::sync::mpsc;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::config::{Config, LogFormat};
use super::otlp::{Dropped, Ended, Exporter};
use crate::kafka::REQUESTS;

/// Changes the level of the running process.
#[derive(Clone)]
pub(super) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Takes a checked `--log-level`. False when the log is gone.
    pub(super) fn set(&self, level: &str) -> bool {
        self.0.reload(filter(level)).is_ok()
    }
}

/// What a started log leaves to the node.
pub(super) struct Log {
    /// To change it.
    pub(super) level: Level,
    /// Spans on their way to the collector, where there is one.
    pub(super) spans: Option<mpsc::Receiver<Ended>>,
    /// Those that it did not get.
    pub(super) dropped: Dropped,
}

/// Starts the log of the process; once. `seed` makes the ids of traces.
pub(super) fn start(config: &Config, seed: u64) -> Log {
    let (filter, handle) = reload::Layer::new(filter(&config.log_level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let dropped = Dropped::default();
    let exporter = config.otlp_endpoint.as_ref().map(|_| {
        let (exporter, spans) = Exporter::new(seed, config.otlp_sample, Dropped::clone(&dropped));
        let requests = filter_fn(|metadata| metadata.is_span() && metadata.target() == REQUESTS);
        (exporter.with_filter(requests), spans)
    });
    let (exporter, spans) = exporter.unzip();
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(exporter).init();
    Log { level: Level(handle), spans, dropped }
}

/// libp2p's own words are for its developers, unless a person asks for them.
fn filter(level: &str) -> EnvFilter {
    match level.contains('=') {
        true => EnvFilter::new(level),
        false => EnvFilter::new(format!("{level},libp2p_swarm=warn,libp2p_kad=error,yamux=error")),
    }
}
