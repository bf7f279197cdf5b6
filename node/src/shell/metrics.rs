//! What the shell counts: commits, the worker's loop, and what goes to and comes from other nodes.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::core::message::Stream;

/// Upper bounds of the buckets of a commit's duration, in microseconds and inclusive.
const BUCKETS_US: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];
const STREAMS: [&str; 3] = ["control", "rpc", "replication"];

/// Counters since the process started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Durations of commits: write and sync.
    pub commits: Histogram,
    /// Steps of the node.
    pub steps: AtomicU64,
    /// Times that the worker had something to do.
    pub rounds: AtomicU64,
    /// Requests of clients that the node works on now.
    pub calls: AtomicU64,
    /// Disk jobs that wait for a thread now.
    pub disk_jobs: AtomicU64,
    /// To and from other nodes, by stream.
    pub mesh: [MeshMetrics; 3],
    /// Frames of other nodes that could not be read.
    pub undecodable: AtomicU64,
    /// Frames of nodes that are not in the registry.
    pub strangers: AtomicU64,
    /// Times that a peer connected.
    pub connects: AtomicU64,
    /// Times that the last connection with a peer ended.
    pub disconnects: AtomicU64,
    /// Connections that were refused, by either side.
    pub refusals: AtomicU64,
    /// Hints put into the directory.
    pub hints: AtomicU64,
}

/// One stream class.
#[derive(Debug, Default)]
pub struct MeshMetrics {
    /// Frames handed to the transport.
    pub sent: AtomicU64,
    /// Their bytes.
    pub sent_bytes: AtomicU64,
    /// Frames that were not sent: no connection, or too much waits already.
    pub dropped: AtomicU64,
    /// Frames read.
    pub received: AtomicU64,
    /// Their bytes.
    pub received_bytes: AtomicU64,
}

type CounterOf = fn(&MeshMetrics) -> &AtomicU64;

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn took(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros, Relaxed);
        self.buckets[BUCKETS_US.partition_point(|bound| *bound < micros)].fetch_add(1, Relaxed);
    }

    fn render(&self, name: &str, out: &mut String) {
        let _infallible = writeln!(out, "# TYPE {name} histogram");
        let mut count = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            let bound = BUCKETS_US.get(place).map_or("+Inf".to_owned(), |bound| seconds(*bound));
            let _infallible = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let sum = seconds(self.sum_us.load(Relaxed));
        let _infallible = writeln!(out, "{name}_sum {sum}\n{name}_count {count}");
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Appends one figure in Prometheus' text format.
pub(super) fn figure(out: &mut String, name: &str, kind: &str, value: impl std::fmt::Display) {
    let _infallible = writeln!(out, "# TYPE rafka_{name} {kind}\nrafka_{name} {value}");
}

impl Metrics {
    /// The counters of a stream.
    pub fn stream(&self, stream: Stream) -> &MeshMetrics {
        &self.mesh[stream as usize]
    }

    /// Appends everything in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        self.commits.render("rafka_storage_commit_seconds", out);
        for (name, kind, value) in [
            ("worker_steps_total", "counter", &self.steps),
            ("worker_rounds_total", "counter", &self.rounds),
            ("worker_calls", "gauge", &self.calls),
            ("worker_disk_jobs", "gauge", &self.disk_jobs),
            ("mesh_undecodable_frames_total", "counter", &self.undecodable),
            ("mesh_stranger_frames_total", "counter", &self.strangers),
            ("mesh_connects_total", "counter", &self.connects),
            ("mesh_disconnects_total", "counter", &self.disconnects),
            ("mesh_refusals_total", "counter", &self.refusals),
            ("mesh_hints_published_total", "counter", &self.hints),
        ] {
            figure(out, name, kind, value.load(Relaxed));
        }
        let of: [(&str, CounterOf); 5] = [
            ("mesh_sent_frames_total", |of| &of.sent),
            ("mesh_sent_bytes_total", |of| &of.sent_bytes),
            ("mesh_dropped_frames_total", |of| &of.dropped),
            ("mesh_received_frames_total", |of| &of.received),
            ("mesh_received_bytes_total", |of| &of.received_bytes),
        ];
        for (name, value) in of {
            let _infallible = writeln!(out, "# TYPE rafka_{name} counter");
            for (stream, metrics) in STREAMS.iter().zip(&self.mesh) {
                let value = value(metrics).load(Relaxed);
                let _infallible = writeln!(out, "rafka_{name}{{stream=\"{stream}\"}} {value}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_type_or_a_figure_of_ours() {
        let metrics = Metrics::default();
        metrics.commits.took(Duration::from_micros(251));
        metrics.stream(Stream::Replication).sent.fetch_add(3, Relaxed);
        let mut text = String::new();
        metrics.render(&mut text);
        assert!(
            text.lines().all(|line| line.starts_with("# TYPE rafka_") || line.starts_with("rafka_")),
            "{text}"
        );
        for line in [
            "rafka_storage_commit_seconds_bucket{le=\"0.000250\"} 0",
            "rafka_storage_commit_seconds_bucket{le=\"0.000500\"} 1",
            "rafka_storage_commit_seconds_bucket{le=\"+Inf\"} 1",
            "rafka_storage_commit_seconds_count 1",
            "rafka_mesh_sent_frames_total{stream=\"replication\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
    }
}
