//! A run's outcome: a table for eyes, rows for pipes, an object for `--json`.

use super::histogram::Summary;
use crate::error::CliError;
use crate::output::{self, Cell, Look, Table};
use crate::settings::Settings;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What was measured.
pub(super) struct Report<'a> {
    /// produce, consume or latency.
    pub(super) kind: &'static str,
    pub(super) topic: &'a str,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    /// Named, in the order of the table.
    pub(super) latencies: Vec<(&'static str, Option<Summary>)>,
    /// Reasons, and how many records each cost.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) samples: Value,
    /// What the run was told to do.
    pub(super) run: Value,
}

impl Report<'_> {
    /// Prints it.
    pub(super) fn print(&self, settings: &Settings) -> Result<(), CliError> {
        if settings.json { output::json(&self.json()) } else { self.table().print(settings.paint) }
    }

    /// An error when any record was lost to one.
    pub(super) fn verdict(&self) -> Result<(), CliError> {
        let Some((reason, _)) = self.errors.iter().max_by_key(|(_, count)| **count) else { return Ok(()) };
        let all: u64 = self.errors.values().sum();
        Err(CliError::Failed(format!(
            "topic \"{}\": {all} record(s) did not arrive, most of them because of: {reason}.\nrafka topic describe {} shows \
             the leaders, rafka nodes who is up.",
            self.topic, self.topic
        )))
    }

    fn rates(&self) -> (f64, f64) {
        let seconds = self.seconds.max(0.001);
        (self.records as f64 / seconds, self.bytes as f64 / seconds)
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["MEASURED", "VALUE", "UNIT"]);
        let mut row = |name: &str, value: String, unit: &str, look: Look| {
            table.row(vec![name.into(), Cell::new(look, value), unit.into()]);
        };
        let (records, bytes) = self.rates();
        row("records", self.records.to_string(), "records", Look::Plain);
        row("time", format!("{:.2}", self.seconds), "s", Look::Plain);
        row("rate", format!("{records:.0}"), "records/s", Look::Heading);
        row("throughput", format!("{:.2}", bytes / 1e6), "MB/s", Look::Heading);
        for (name, summary) in &self.latencies {
            for (of, ms) in summary.iter().flat_map(percentiles) {
                let look = if of == "p99" { Look::Heading } else { Look::Plain };
                row(&format!("{name} {of}"), format!("{ms:.3}"), "ms", look);
            }
        }
        for (reason, count) in &self.errors {
            row(&format!("error: {reason}"), count.to_string(), "records", Look::Bad);
        }
        table
    }

    fn json(&self) -> Value {
        let (records, bytes) = self.rates();
        let latencies: Map<String, Value> = self
            .latencies
            .iter()
            .map(|(name, summary)| {
                let fields: Option<Map<String, Value>> = summary.as_ref().map(|summary| {
                    percentiles(summary).into_iter().map(|(of, ms)| (of.to_owned(), ms.into())).collect()
                });
                (name.replace(' ', "_"), fields.map_or(Value::Null, Value::Object))
            })
            .collect();
        let errors: Vec<Value> =
            self.errors.iter().map(|(reason, count)| json!({ "error": reason, "records": count })).collect();
        json!({
            "bench": self.kind, "topic": self.topic, "records": self.records, "bytes": self.bytes,
            "seconds": self.seconds, "records_per_second": records, "bytes_per_second": bytes,
            "latency_ms": latencies, "errors": errors, "samples": self.samples, "run": self.run
        })
    }
}

fn percentiles(summary: &Summary) -> [(&'static str, f64); 7] {
    [
        ("min", summary.min),
        ("mean", summary.mean),
        ("p50", summary.p50),
        ("p90", summary.p90),
        ("p99", summary.p99),
        ("p99.9", summary.p999),
        ("max", summary.max),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Histogram;
    use super::Report;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn the_object_has_rates_and_percentiles_and_the_verdict_counts_errors() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|ms| histogram.record(ms * 1000));
        let mut report = Report {
            kind: "latency",
            topic: "t",
            records: 100,
            bytes: 10_000,
            seconds: 2.0,
            latencies: vec![("end to end", histogram.summary()), ("acknowledged", None)],
            errors: BTreeMap::new(),
            samples: json!([]),
            run: json!({}),
        };
        let object = report.json();
        assert_eq!(
            (&object["records_per_second"], &object["bytes_per_second"]),
            (&50.0.into(), &5000.0.into())
        );
        assert_eq!(object["latency_ms"]["end_to_end"]["max"], json!(100.0));
        assert!(object["latency_ms"]["acknowledged"].is_null());
        assert!(report.verdict().is_ok());
        report.errors.insert("gone".into(), 3);
        let error = report.verdict().unwrap_err().to_string();
        assert!(error.contains("3 record(s)") && error.contains("gone"), "{error}");
    }
}
