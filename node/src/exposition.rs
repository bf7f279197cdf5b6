//! Prometheus' text format: what the HTTP port says at `/metrics`. Every figure has a name that begins with `rafka_` (or
//! `process_`, whose names are common to all programs), a kind and words for people.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets of durations, in microseconds and inclusive; one more bucket holds what is slower.
const BUCKETS_US: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// The text under construction.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// What the samples of one name have in common was said; now each of them.
#[derive(Debug)]
pub struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
}

impl Exposition {
    fn family<'a>(&'a mut self, name: &'a str, kind: &str, help: &str) -> Family<'a> {
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out: &mut self.0, name }
    }

    /// A figure that rises and falls. `help` has no line breaks and no backslashes.
    pub fn gauge<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "gauge", help)
    }

    /// A figure that only rises while the process lives; its name ends with `_total`.
    pub fn counter<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "counter", help)
    }

    /// Durations; its name ends with `_seconds`.
    pub fn histogram<'a>(&'a mut self, name: &'a str, help: &str) -> Family<'a> {
        self.family(name, "histogram", help)
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }

    /// Appends what another one says.
    pub fn append(&mut self, other: Exposition) {
        self.0.push_str(&other.0);
    }
}

impl Family<'_> {
    /// The one sample of this name.
    pub fn is(&mut self, value: impl Display) {
        let _infallible = writeln!(self.out, "{} {value}", self.name);
    }

    /// The sample of a label's value, which holds no quotes, backslashes or line breaks.
    pub fn of(&mut self, label: &str, of: impl Display, value: impl Display) -> &mut Self {
        let _infallible = writeln!(self.out, "{}{{{label}=\"{of}\"}} {value}", self.name);
        self
    }

    /// All samples of a histogram. `label` is empty or `name="value"`.
    pub fn durations(&mut self, label: &str, durations: &Durations) -> &mut Self {
        let (name, mut count) = (self.name, 0);
        let comma = if label.is_empty() { "" } else { "," };
        for (place, bucket) in durations.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            let bound = BUCKETS_US.get(place).map_or("+Inf".to_owned(), |bound| seconds(*bound));
            let _infallible = writeln!(self.out, "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {count}");
        }
        let label = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let sum = seconds(durations.sum_us.load(Relaxed));
        let _infallible = writeln!(self.out, "{name}_sum{label} {sum}\n{name}_count{label} {count}");
        self
    }
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Durations {
    /// Counts one.
    pub fn took(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros, Relaxed);
        self.buckets[BUCKETS_US.partition_point(|bound| *bound < micros)].fetch_add(1, Relaxed);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }
}

/// Microseconds as seconds, without zeros at the end.
pub fn seconds(micros: u64) -> String {
    let whole = micros / 1_000_000;
    match micros % 1_000_000 {
        0 => whole.to_string(),
        part => format!("{whole}.{part:06}").trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_labels_are_where_they_belong() {
        let durations = Durations::default();
        for micros in [500, 501, 60_000_000] {
            durations.took(Duration::from_micros(micros));
        }
        let mut out = Exposition::default();
        out.histogram("rafka_a_seconds", "Words.").durations("api=\"X\"", &durations);
        out.histogram("rafka_b_seconds", "Words.").durations("", &durations);
        out.gauge("rafka_c", "Words.").of("x", 1, 2).of("x", "y", 3);
        out.counter("rafka_d_total", "Words.").is(7);
        let text = out.finish();
        for line in [
            "# HELP rafka_a_seconds Words.",
            "# TYPE rafka_a_seconds histogram",
            "rafka_a_seconds_bucket{api=\"X\",le=\"0.00025\"} 0",
            "rafka_a_seconds_bucket{api=\"X\",le=\"0.0005\"} 1",
            "rafka_a_seconds_bucket{api=\"X\",le=\"0.001\"} 2",
            "rafka_a_seconds_bucket{api=\"X\",le=\"10\"} 2",
            "rafka_a_seconds_bucket{api=\"X\",le=\"+Inf\"} 3",
            "rafka_a_seconds_sum{api=\"X\"} 60.001001",
            "rafka_a_seconds_count{api=\"X\"} 3",
            "rafka_b_seconds_bucket{le=\"+Inf\"} 3",
            "rafka_b_seconds_count 3",
            "rafka_c{x=\"1\"} 2",
            "rafka_c{x=\"y\"} 3",
            "# TYPE rafka_d_total counter",
            "rafka_d_total 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert_eq!(durations.count(), 3);
    }
}
