//! What the shell counts: the disk's threads, the worker's loop, elections, and what goes to and comes from other nodes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use super::recent::{Since, Slowest, Visits};
use crate::core::message::Stream;
use crate::exposition::{Durations, Exposition, seconds};

const STREAMS: [&str; 3] = ["control", "rpc", "replication"];

/// Counters since the process started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Commits: write and sync.
    pub commits: Durations,
    /// Of these, the syncs.
    pub syncs: Durations,
    /// Reads of the disk.
    pub reads: Durations,
    /// Reads for reclaim.
    pub reclaims: Durations,
    /// Steps of the node.
    pub steps: AtomicU64,
    /// Times that the worker had something to do.
    pub rounds: AtomicU64,
    /// Microseconds that it took.
    pub busy_us: AtomicU64,
    /// Requests of clients that the node works on now.
    pub calls: AtomicU64,
    /// Disk jobs that wait for a thread now.
    pub disk_jobs: AtomicU64,
    /// What the replicas of this node went through.
    pub elections: Elections,
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
    /// Free bytes of the disk when last asked.
    pub disk_free_bytes: AtomicU64,
    /// Below so many free bytes no records are taken.
    pub reserve_bytes: AtomicU64,
    /// Clients that may be connected.
    pub connections_max: AtomicU64,
    /// Hints put into the directory.
    pub hints: AtomicU64,
    /// Hints that wait to be put there.
    pub hints_waiting: AtomicU64,
    /// People and programs that are asking over HTTP now.
    pub http_connections: AtomicU64,
    /// Whether the log was found damaged when this process opened it.
    pub damaged_at_start: AtomicBool,
    /// A commit is under way.
    pub(super) committing: Since,
    /// The slowest commits.
    pub(super) commit_slowest: Slowest,
    /// The disk has less than its reserve.
    pub(super) disk_full: Since,
    /// Comings and goings of other nodes.
    pub(super) visits: Visits,
}

/// Changes of roles and terms, over all replicas of this node.
#[derive(Debug, Default)]
pub struct Elections {
    /// A replica stood for election.
    pub stood: AtomicU64,
    /// It became the leader.
    pub won: AtomicU64,
    /// It was the leader and is not any more.
    pub lost: AtomicU64,
    /// It came to a higher term.
    pub terms: AtomicU64,
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

impl Metrics {
    /// Notes that the worker had something to do since then until now, which is returned.
    pub fn busy_since(&self, since: Instant) -> Instant {
        let now = Instant::now();
        let busy = now.duration_since(since).as_micros();
        self.busy_us.fetch_add(u64::try_from(busy).unwrap_or(u64::MAX), Relaxed);
        now
    }

    /// The counters of a stream.
    pub fn stream(&self, stream: Stream) -> &MeshMetrics {
        &self.mesh[stream as usize]
    }

    /// Appends everything.
    pub fn render(&self, out: &mut Exposition) {
        self.render_disk(out);
        self.render_worker(out);
        self.render_mesh(out);
    }

    fn render_disk(&self, out: &mut Exposition) {
        for (name, help, durations) in [
            (
                "rafka_storage_commit_seconds",
                "Commits: one write and one sync for all that waited.",
                &self.commits,
            ),
            ("rafka_storage_sync_seconds", "Of each commit, the sync (fdatasync).", &self.syncs),
            ("rafka_storage_read_seconds", "Reads that went to the disk.", &self.reads),
            (
                "rafka_storage_reclaim_seconds",
                "Reads of live entries out of segments that are to go.",
                &self.reclaims,
            ),
        ] {
            out.histogram(name, help).durations("", durations);
        }
        for (name, help, value) in [
            ("rafka_storage_free_bytes", "Free bytes of the disk.", &self.disk_free_bytes),
            (
                "rafka_storage_reserve_bytes",
                "Below so many free bytes no records are taken.",
                &self.reserve_bytes,
            ),
        ] {
            out.gauge(name, help).is(value.load(Relaxed));
        }
    }

    fn render_worker(&self, out: &mut Exposition) {
        let Elections { stood, won, lost, terms } = &self.elections;
        for (name, help, value) in [
            ("rafka_worker_steps_total", "Inputs that the node took.", &self.steps),
            ("rafka_worker_rounds_total", "Times that the worker had something to do.", &self.rounds),
            ("rafka_election_stood_total", "Times that a replica of this node stood for election.", stood),
            ("rafka_election_won_total", "Times that a replica of this node became the leader.", won),
            ("rafka_election_lost_total", "Times that a leader of this node stopped being one.", lost),
            ("rafka_election_terms_total", "Times that a replica of this node came to a higher term.", terms),
        ] {
            out.counter(name, help).is(value.load(Relaxed));
        }
        let busy = seconds(self.busy_us.load(Relaxed));
        out.counter(
            "rafka_worker_busy_seconds_total",
            "Time that the worker did not wait; one second per second is all.",
        )
        .is(busy);
        out.gauge(
            "rafka_worker_calls",
            "Requests of clients that the node works on, waiting fetches among them.",
        )
        .is(self.calls.load(Relaxed));
        out.gauge("rafka_kafka_connections_limit", "Clients that may be connected.")
            .is(self.connections_max.load(Relaxed));
        out.gauge("rafka_http_connections", "Connections to the HTTP port.")
            .is(self.http_connections.load(Relaxed));
    }

    fn render_mesh(&self, out: &mut Exposition) {
        for (name, help, value) in [
            (
                "rafka_mesh_undecodable_frames_total",
                "Frames of other nodes that could not be read.",
                &self.undecodable,
            ),
            ("rafka_mesh_stranger_frames_total", "Frames of nodes that are not registered.", &self.strangers),
            ("rafka_mesh_connects_total", "Times that another node connected.", &self.connects),
            (
                "rafka_mesh_disconnects_total",
                "Times that the last connection with a node ended.",
                &self.disconnects,
            ),
            ("rafka_mesh_refusals_total", "Connections that this or the other node refused.", &self.refusals),
            ("rafka_mesh_hints_published_total", "Hints put into the directory.", &self.hints),
        ] {
            out.counter(name, help).is(value.load(Relaxed));
        }
        let of: [(&str, &str, CounterOf); 5] = [
            ("rafka_mesh_sent_frames_total", "Frames sent to other nodes.", |of| &of.sent),
            ("rafka_mesh_sent_bytes_total", "Bytes sent to other nodes.", |of| &of.sent_bytes),
            (
                "rafka_mesh_dropped_frames_total",
                "Frames that were not sent: no connection, or too much waits.",
                |of| &of.dropped,
            ),
            ("rafka_mesh_received_frames_total", "Frames of other nodes.", |of| &of.received),
            ("rafka_mesh_received_bytes_total", "Bytes of other nodes.", |of| &of.received_bytes),
        ];
        for (name, help, value) in of {
            let mut family = out.counter(name, help);
            for (stream, metrics) in STREAMS.iter().zip(&self.mesh) {
                family.of("stream", stream, value(metrics).load(Relaxed));
            }
        }
    }
}

/// Bytes that wait to be sent to other nodes.
pub(super) fn unsent(out: &mut Exposition, bytes: [usize; 3], peers: usize) {
    let mut family =
        out.gauge("rafka_mesh_unsent_bytes", "Bytes that wait to be sent, to all nodes together, by stream.");
    for (stream, bytes) in STREAMS.iter().zip(bytes) {
        family.of("stream", stream, bytes);
    }
    out.gauge("rafka_mesh_connected_peers", "Nodes that this one is connected with.").is(peers);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_figure_has_a_kind_and_words() {
        let metrics = Metrics::default();
        metrics.commits.took(Duration::from_micros(251));
        metrics.stream(Stream::Replication).sent.fetch_add(3, Relaxed);
        let mut out = Exposition::default();
        metrics.render(&mut out);
        unsent(&mut out, [1, 2, 3], 2);
        let text = out.finish();
        assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("rafka_")), "{text}");
        let lines = |begin: &str| text.lines().filter(|line| line.starts_with(begin)).count();
        assert_eq!(lines("# HELP"), lines("# TYPE"));
        for line in [
            "rafka_storage_commit_seconds_bucket{le=\"0.0005\"} 1",
            "rafka_storage_commit_seconds_count 1",
            "rafka_mesh_sent_frames_total{stream=\"replication\"} 3",
            "rafka_mesh_unsent_bytes{stream=\"rpc\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
    }
}
