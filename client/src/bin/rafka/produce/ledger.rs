//! The account of every record: in flight, acknowledged, failed, or unknown.

use super::cannot;
use crate::error::CliError;
use crate::output;
use crate::settings::Settings;
use rafka::kafka::{self, Listener};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of keys and values that may wait for their acknowledgement.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// Records that may wait for their acknowledgement; each costs some hundred bytes beside its own.
const IN_FLIGHT_RECORDS_MAX: u64 = 400_000;

/// Shared by the sending thread and librdkafka's.
pub(super) struct Ledger {
    listener: Listener,
    accounts: Mutex<Accounts>,
    changed: Condvar,
}

#[derive(Default)]
struct Accounts {
    in_flight: u64,
    in_flight_bytes: usize,
    acknowledged: u64,
    acknowledged_bytes: u64,
    failed: u64,
    unknown: u64,
    partitions: BTreeMap<i32, Acknowledged>,
    errors: BTreeMap<(String, &'static str), Lost>,
    report: Option<(PathBuf, BufWriter<File>)>,
    report_error: Option<io::Error>,
}

#[derive(Default)]
struct Acknowledged {
    records: u64,
    /// Lowest and highest offset told; a broker that answers "already written" need not tell one.
    offsets: Option<(i64, i64)>,
}

#[derive(Default)]
struct Lost {
    records: u64,
    first_line: usize,
}

impl Ledger {
    /// An empty account; creates the report file.
    pub(super) fn new(settings: &Settings, report: Option<&Path>) -> Result<Ledger, CliError> {
        let mut accounts = Accounts::default();
        if let Some(path) = report {
            let file = File::create(path).map_err(|error| cannot("create", path, &error))?;
            accounts.report = Some((path.to_owned(), BufWriter::with_capacity(256 << 10, file)));
        }
        Ok(Ledger {
            listener: Listener::new(&settings.mesh()),
            accounts: Mutex::new(accounts),
            changed: Condvar::new(),
        })
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// A panic elsewhere while the lock was held cannot leave these counters half changed in a way that matters.
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record of `bytes`, those of its key and value, into flight, if there is room. One record always fits.
    pub(super) fn admit(&self, bytes: usize) -> bool {
        let mut accounts = self.accounts();
        let full = accounts.in_flight_bytes + bytes > IN_FLIGHT_BYTES_MAX
            || accounts.in_flight >= IN_FLIGHT_RECORDS_MAX;
        if full && accounts.in_flight > 0 {
            return false;
        }
        accounts.in_flight += 1;
        accounts.in_flight_bytes += bytes;
        true
    }

    /// Waits until something changes, at most `time`.
    pub(super) fn wait(&self, time: Duration) {
        drop(self.changed.wait_timeout(self.accounts(), time));
    }

    /// Records without an answer.
    pub(super) fn in_flight(&self) -> u64 {
        self.accounts().in_flight
    }

    /// Records acknowledged and their bytes, for the progress bar.
    pub(super) fn acknowledged(&self) -> (u64, u64) {
        let accounts = self.accounts();
        (accounts.acknowledged, accounts.acknowledged_bytes)
    }

    /// librdkafka did not take the record.
    pub(super) fn refused(&self, line: usize, bytes: usize, partition: Option<i32>, error: &KafkaError) {
        let mut accounts = self.accounts();
        accounts.leave(bytes);
        accounts.lose(line, partition, error);
        self.changed.notify_all();
    }

    /// Writes out the report.
    pub(super) fn close_report(&self) -> Result<(), CliError> {
        let mut accounts = self.accounts();
        let error = accounts.report_error.take();
        let Some((path, mut report)) = accounts.report.take() else { return Ok(()) };
        match error.map_or_else(|| report.flush(), Err) {
            Ok(()) => Ok(()),
            Err(error) => Err(CliError::Failed(format!(
                "the report {} is incomplete: {error}. The records themselves were sent.",
                path.display()
            ))),
        }
    }

    /// Prints how many records arrived, where, and what became of the others.
    pub(super) fn print_summary(
        &self,
        settings: &Settings,
        topic: &str,
        elapsed: Duration,
    ) -> Result<(), CliError> {
        let accounts = self.accounts();
        if settings.json {
            return output::json(&accounts.summary_json(topic, elapsed));
        }
        output::line(&accounts.summary(topic, elapsed))
    }

    /// An error unless every record was acknowledged.
    pub(super) fn verdict(&self, topic: &str) -> Result<(), CliError> {
        let accounts = self.accounts();
        let unanswered = accounts.unknown + accounts.in_flight;
        if accounts.failed + unanswered == 0 {
            return Ok(());
        }
        let text = format!(
            "of topic \"{topic}\", {} record(s) were not written and {unanswered} may or may not have been{}.\n--report FILE \
             tells which; rafka topic describe {topic} shows the leaders.",
            accounts.failed,
            self.listener.trouble().map(|text| format!(" ({text})")).unwrap_or_default()
        );
        Err(if unanswered > 0 { CliError::Unknown(text) } else { CliError::Failed(text) })
    }
}

impl Accounts {
    fn leave(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(bytes);
    }

    fn acknowledge(&mut self, line: usize, bytes: usize, partition: i32, offset: i64) {
        self.acknowledged += 1;
        self.acknowledged_bytes += bytes as u64;
        let at = self.partitions.entry(partition).or_default();
        at.records += 1;
        let offset = (offset >= 0).then_some(offset);
        if let Some(offset) = offset {
            let (low, high) = at.offsets.unwrap_or((offset, offset));
            at.offsets = Some((low.min(offset), high.max(offset)));
        }
        if self.report.is_some() {
            self.write_report(&json!({ "line": line, "partition": partition, "offset": offset }));
        }
    }

    fn lose(&mut self, line: usize, partition: Option<i32>, error: &KafkaError) {
        let outcome = outcome(error);
        match outcome {
            "unknown" => self.unknown += 1,
            _ => self.failed += 1,
        }
        let reason = kafka::reason(error);
        if self.report.is_some() {
            let partition = partition.filter(|partition| *partition >= 0);
            self.write_report(
                &json!({ "line": line, "partition": partition, "error": reason, "outcome": outcome }),
            );
        }
        let lost = self.errors.entry((reason, outcome)).or_default();
        lost.records += 1;
        lost.first_line = if lost.records == 1 { line } else { lost.first_line.min(line) };
    }

    fn write_report(&mut self, entry: &Value) {
        let Some((_, report)) = &mut self.report else { return };
        if let Err(error) = writeln!(report, "{entry}") {
            self.report_error.get_or_insert(error);
        }
    }

    fn summary(&self, topic: &str, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64().max(0.001);
        let mut text = format!(
            "topic \"{topic}\": {} acknowledged, {} failed, {} unknown, in {seconds:.2} s ({:.0} records/s, {}/s)",
            self.acknowledged,
            self.failed,
            self.unknown + self.in_flight,
            self.acknowledged as f64 / seconds,
            output::bytes(self.acknowledged_bytes as f64 / seconds)
        );
        for (partition, at) in &self.partitions {
            let offsets =
                at.offsets.map_or_else(String::new, |(low, high)| format!(", offsets {low} to {high}"));
            text.push_str(&format!("\n  partition {partition}: {}{offsets}", at.records));
        }
        for ((reason, outcome), lost) in &self.errors {
            text.push_str(&format!(
                "\n  {outcome}: {}, first line {}: {reason}",
                lost.records, lost.first_line
            ));
        }
        text
    }

    fn summary_json(&self, topic: &str, elapsed: Duration) -> Value {
        let partitions = self.partitions.iter().map(|(partition, at)| {
            let (first, last) = at.offsets.map_or((None, None), |(low, high)| (Some(low), Some(high)));
            json!({ "partition": partition, "records": at.records, "first_offset": first, "last_offset": last })
        });
        let errors = self.errors.iter().map(|((reason, outcome), lost)| {
            json!({ "error": reason, "outcome": outcome, "records": lost.records, "first_line": lost.first_line })
        });
        json!({
            "topic": topic, "acknowledged": self.acknowledged, "failed": self.failed,
            "unknown": self.unknown + self.in_flight, "bytes": self.acknowledged_bytes,
            "seconds": elapsed.as_secs_f64(), "partitions": partitions.collect::<Vec<_>>(),
            "errors": errors.collect::<Vec<_>>()
        })
    }
}

/// Whether a record that got this answer may have been written all the same: `unknown` when it may. A record purged from
/// the queue is unknown too: it may wait there for its second try, after a first one whose answer was lost.
fn outcome(error: &KafkaError) -> &'static str {
    if kafka::never_written(error) { "failed" } else { "unknown" }
}

impl ClientContext for Ledger {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.listener.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ProducerContext for Ledger {
    /// The record's line, from 1.
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, line: usize) {
        let mut accounts = self.accounts();
        let message = match delivery {
            Ok(message) | Err((_, message)) => message,
        };
        let bytes = message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len);
        accounts.leave(bytes);
        match delivery {
            Ok(_) => accounts.acknowledge(line, bytes, message.partition(), message.offset()),
            Err((error, _)) => accounts.lose(line, Some(message.partition()), error),
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::outcome;
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};

    #[test]
    fn only_what_surely_was_not_written_counts_as_failed() {
        let outcome = |code| outcome(&KafkaError::MessageProduction(code));
        for code in [RDKafkaErrorCode::MessageSizeTooLarge, RDKafkaErrorCode::UnknownTopicOrPartition] {
            assert_eq!(outcome(code), "failed", "{code:?}");
        }
        for code in [
            RDKafkaErrorCode::MessageTimedOut,
            RDKafkaErrorCode::PurgeQueue,
            RDKafkaErrorCode::PurgeInflight,
            RDKafkaErrorCode::NotEnoughReplicasAfterAppend,
            RDKafkaErrorCode::Fatal,
        ] {
            assert_eq!(outcome(code), "unknown", "{code:?}");
        }
    }
}
