//! Counters of the Kafka layer: atomics that connections add to and the HTTP port reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::serve::Api;
use crate::exposition::{Durations, Exposition};

const APIS: usize = Api::ALL.len();
const CLOSED: [&str; 13] = [
    "client",
    "stopping",
    "idle",
    "silent",
    "stalled",
    "crowded",
    "unread",
    "frame_size",
    "request",
    "response",
    "socket",
    "too_many",
    "too_many_of_address",
];

/// Why a connection was closed, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// By the client.
    Client,
    /// The node stops.
    Stopping,
    /// It was silent for too long.
    Idle,
    /// It was silent from the beginning.
    Silent,
    /// The client stopped in the middle of a frame.
    Stalled,
    /// The memory for requests was full for too long.
    Crowded,
    /// The memory for responses was full, and it did not read.
    Unread,
    /// A frame of a length that is not allowed.
    FrameSize,
    /// A request that cannot be answered.
    Request,
    /// The node had no answer, or could not say it.
    Response,
    /// The socket failed.
    Socket,
    /// There were too many.
    TooMany,
    /// There were too many of its address.
    TooManyOfAddress,
}

/// Counters since the process started. Shared by all listeners.
#[derive(Debug)]
pub struct Metrics {
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections ever accepted.
    pub connections_total: AtomicU64,
    /// Connections closed by this node because of what the client sent or did not read.
    pub connections_refused_total: AtomicU64,
    /// Bytes of request frames, length prefixes included.
    pub received_bytes_total: AtomicU64,
    /// Bytes of response frames, length prefixes included.
    pub sent_bytes_total: AtomicU64,
    closed: [AtomicU64; CLOSED.len()],
    by_api: [ApiMetrics; APIS],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: AtomicU64::default(),
            connections_total: AtomicU64::default(),
            connections_refused_total: AtomicU64::default(),
            received_bytes_total: AtomicU64::default(),
            sent_bytes_total: AtomicU64::default(),
            closed: Default::default(),
            by_api: std::array::from_fn(|_| ApiMetrics::default()),
        }
    }
}

#[derive(Debug, Default)]
struct ApiMetrics {
    requests: AtomicU64,
    errors: AtomicU64,
    in_flight: AtomicU64,
    latency: Durations,
}

/// A request that was read; until it is dropped it is in flight.
#[derive(Debug)]
pub struct Flight {
    metrics: Arc<Metrics>,
    api: Api,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.metrics.of(self.api).in_flight.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// A request was decoded.
    pub fn requested(self: &Arc<Metrics>, api: Api) -> Flight {
        self.of(api).requests.fetch_add(1, Relaxed);
        self.of(api).in_flight.fetch_add(1, Relaxed);
        Flight { metrics: Arc::clone(self), api }
    }

    /// A request was answered, with so many error codes in its response, so long after its frame was read.
    pub fn answered(&self, api: Api, errors: u64, took: Duration) {
        let of = self.of(api);
        of.errors.fetch_add(errors, Relaxed);
        of.latency.took(took);
    }

    /// A connection was closed.
    pub fn closed(&self, why: Closed) {
        self.closed[why as usize].fetch_add(1, Relaxed);
    }

    /// Requests of one API.
    pub fn requests(&self, api: Api) -> u64 {
        self.of(api).requests.load(Relaxed)
    }

    /// Error codes in responses of one API.
    pub fn errors(&self, api: Api) -> u64 {
        self.of(api).errors.load(Relaxed)
    }

    fn of(&self, api: Api) -> &ApiMetrics {
        // The enum's discriminants are 0.. in the order of `Api::ALL`.
        &self.by_api[api as usize]
    }

    /// Appends everything.
    pub fn render(&self, out: &mut Exposition) {
        let value = |counter: &AtomicU64| counter.load(Relaxed);
        out.gauge("rafka_kafka_connections", "Kafka clients that are connected.")
            .is(value(&self.connections));
        for (name, help, counter) in [
            ("rafka_kafka_connections_total", "Kafka clients that ever connected.", &self.connections_total),
            (
                "rafka_kafka_connections_refused_total",
                "Connections closed by this node for what the client sent or did not read.",
                &self.connections_refused_total,
            ),
            ("rafka_kafka_received_bytes_total", "Bytes of requests.", &self.received_bytes_total),
            ("rafka_kafka_sent_bytes_total", "Bytes of responses.", &self.sent_bytes_total),
        ] {
            out.counter(name, help).is(value(counter));
        }
        let mut closed =
            out.counter("rafka_kafka_connections_closed_total", "Connections that ended, by reason.");
        for (reason, counter) in CLOSED.iter().zip(&self.closed) {
            closed.of("reason", reason, value(counter));
        }
        self.render_apis(out);
    }

    fn render_apis(&self, out: &mut Exposition) {
        let value = |counter: &AtomicU64| counter.load(Relaxed);
        let mut requests = out.counter("rafka_kafka_requests_total", "Requests that were read, by API.");
        for api in Api::ALL {
            requests.of("api", api.name(), self.requests(api));
        }
        let mut errors = out.counter("rafka_kafka_errors_total", "Error codes in responses, by API.");
        for api in Api::ALL {
            errors.of("api", api.name(), self.errors(api));
        }
        let mut waiting = out.gauge(
            "rafka_kafka_requests_in_flight",
            "Requests that were read and are not answered, by API; a Fetch may wait for records.",
        );
        for api in Api::ALL {
            waiting.of("api", api.name(), value(&self.of(api).in_flight));
        }
        let mut latency =
            out.histogram("rafka_kafka_request_seconds", "From a request's frame to its response's, by API.");
        for api in Api::ALL {
            latency.durations(&format!("api=\"{}\"", api.name()), &self.of(api).latency);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_and_each_reason_has_its_own_place() {
        let places: Vec<usize> = Api::ALL.iter().map(|api| *api as usize).collect();
        assert_eq!(places, (0..APIS).collect::<Vec<_>>());
        assert_eq!(Closed::TooManyOfAddress as usize + 1, CLOSED.len());
    }

    #[test]
    fn what_is_counted_is_said() {
        let metrics = Arc::new(Metrics::default());
        drop(metrics.requested(Api::Fetch));
        let _flight = metrics.requested(Api::Fetch);
        metrics.answered(Api::Fetch, 2, Duration::from_micros(500));
        metrics.closed(Closed::Idle);
        let mut out = Exposition::default();
        metrics.render(&mut out);
        let text = out.finish();
        for line in [
            "rafka_kafka_requests_total{api=\"Fetch\"} 2",
            "rafka_kafka_errors_total{api=\"Fetch\"} 2",
            "rafka_kafka_requests_in_flight{api=\"Fetch\"} 1",
            "rafka_kafka_request_seconds_bucket{api=\"Fetch\",le=\"0.0005\"} 1",
            "rafka_kafka_request_seconds_count{api=\"Fetch\"} 1",
            "rafka_kafka_connections_closed_total{reason=\"idle\"} 1",
            "rafka_kafka_connections_closed_total{reason=\"client\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
    }
}
