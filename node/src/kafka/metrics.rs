//! Counters of the Kafka layer: atomics that connections add to and the HTTP port reads.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::serve::Api;

const APIS: usize = Api::ALL.len();
/// Upper bounds of the latency buckets, in microseconds and inclusive; one more bucket holds what is slower.
const BUCKETS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Counters since the process started. Shared by all listeners.
#[derive(Debug, Default)]
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
    by_api: [ApiMetrics; APIS],
}

#[derive(Debug, Default)]
struct ApiMetrics {
    requests: AtomicU64,
    errors: AtomicU64,
    latency_us: AtomicU64,
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
}

impl Metrics {
    /// A request was decoded.
    pub fn requested(&self, api: Api) {
        self.of(api).requests.fetch_add(1, Relaxed);
    }

    /// A request was answered, with so many error codes in its response, so long after its frame was read.
    pub fn answered(&self, api: Api, errors: u64, took: Duration) {
        let of = self.of(api);
        of.errors.fetch_add(errors, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        of.latency_us.fetch_add(micros, Relaxed);
        of.buckets[BUCKETS_US.partition_point(|bound| *bound < micros)].fetch_add(1, Relaxed);
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

    /// Appends everything in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        let mut line = |name: &str, kind: &str, value: &AtomicU64| {
            let _infallible =
                writeln!(out, "# TYPE rafka_kafka_{name} {kind}\nrafka_kafka_{name} {}", value.load(Relaxed));
        };
        line("connections", "gauge", &self.connections);
        line("connections_total", "counter", &self.connections_total);
        line("connections_refused_total", "counter", &self.connections_refused_total);
        line("received_bytes_total", "counter", &self.received_bytes_total);
        line("sent_bytes_total", "counter", &self.sent_bytes_total);
        self.render_counter(out, "requests_total", |of| &of.requests);
        self.render_counter(out, "errors_total", |of| &of.errors);
        let _infallible = writeln!(out, "# TYPE rafka_kafka_request_seconds histogram");
        for api in Api::ALL {
            self.render_histogram(out, api);
        }
    }

    fn render_counter(&self, out: &mut String, name: &str, value: impl Fn(&ApiMetrics) -> &AtomicU64) {
        let _infallible = writeln!(out, "# TYPE rafka_kafka_{name} counter");
        for api in Api::ALL {
            let value = value(self.of(api)).load(Relaxed);
            let _infallible = writeln!(out, "rafka_kafka_{name}{{api=\"{}\"}} {value}", api.name());
        }
    }

    fn render_histogram(&self, out: &mut String, api: Api) {
        let of = self.of(api);
        let name = api.name();
        let mut count = 0;
        for (place, bucket) in of.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            let bound = BUCKETS_US.get(place).map_or("+Inf".to_owned(), |bound| seconds(*bound));
            let _infallible =
                writeln!(out, "rafka_kafka_request_seconds_bucket{{api=\"{name}\",le=\"{bound}\"}} {count}");
        }
        let sum = seconds(of.latency_us.load(Relaxed));
        let _infallible = writeln!(
            out,
            "rafka_kafka_request_seconds_sum{{api=\"{name}\"}} {sum}\nrafka_kafka_request_seconds_count{{api=\"{name}\"}} {count}"
        );
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_its_own_place() {
        let places: Vec<usize> = Api::ALL.iter().map(|api| *api as usize).collect();
        assert_eq!(places, (0..APIS).collect::<Vec<_>>());
    }

    #[test]
    fn the_text_has_cumulative_buckets() {
        let metrics = Metrics::default();
        metrics.requested(Api::Fetch);
        metrics.answered(Api::Fetch, 2, Duration::from_micros(500));
        metrics.answered(Api::Fetch, 0, Duration::from_secs(60));
        let mut text = String::new();
        metrics.render(&mut text);
        for line in [
            "rafka_kafka_requests_total{api=\"Fetch\"} 1",
            "rafka_kafka_errors_total{api=\"Fetch\"} 2",
            "rafka_kafka_request_seconds_bucket{api=\"Fetch\",le=\"0.000500\"} 1",
            "rafka_kafka_request_seconds_bucket{api=\"Fetch\",le=\"10.000000\"} 1",
            "rafka_kafka_request_seconds_bucket{api=\"Fetch\",le=\"+Inf\"} 2",
            "rafka_kafka_request_seconds_sum{api=\"Fetch\"} 60.000500",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
    }
}
