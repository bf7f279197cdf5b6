//! `rafka produce`: each line a record, each record accounted for.
//!
//! A reader thread hands blocks of input over; this thread cuts them into lines and gives them to librdkafka, waiting
//! while too much is in flight; librdkafka's thread brings delivery reports into the [`ledger`].

mod input;
mod ledger;
mod progress;

use crate::clock;
use crate::error::CliError;
use crate::output::{self, Waiting};
use crate::settings::Settings;
use crate::stop::Stop;
use clap::{Args, ValueEnum};
use input::{Lines, Source};
use ledger::Ledger;
use progress::Progress;
use rafka::kafka;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// Arguments of `rafka produce`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct ProduceArgs {
    /// The topic
    topic: String,
    /// Read lines from this file instead of standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Split each line at the first SEPARATOR into key and value; a line without it gets no key
    #[arg(long, short, value_name = "SEPARATOR", value_parser = parse_separator)]
    key_separator: Option<String>,
    /// A key or value that equals TEXT becomes null (a null value deletes the key in a compacted topic)
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// A header for every record; may be repeated
    #[arg(long, short = 'H', value_name = "KEY=VALUE", value_parser = parse_header)]
    header: Vec<(String, String)>,
    /// Send all to this partition; else the key decides (as Java clients do), and records without key are spread
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Send to all partitions in turns, record by record, whatever the keys are
    #[arg(long, conflicts_with = "partition")]
    round_robin: bool,
    /// When a record counts as acknowledged: 0 once sent, 1 once the leader has it, all once it cannot get lost
    /// [default: all]
    #[arg(long, value_enum)]
    acks: Option<Acks>,
    /// Let the broker drop repeats, so that a retry writes nothing twice; true unless --acks is 0 or 1
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    idempotent: Option<bool>,
    /// Compress record batches
    #[arg(long, short = 'z', value_enum)]
    compression: Option<Compression>,
    /// Write one JSON line per record to FILE, in the order of the answers: its line, partition and offset, or its error
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

const HELP: &str = "\
Examples:
  rafka produce logs --file app.log
  tail -F app.log | rafka produce logs
  echo 'user-7:{\"name\":\"Ada\"}' | rafka produce users --key-separator :
  echo 'user-7:' | rafka produce users --key-separator : --null ''     a tombstone
  rafka produce logs --file app.log --compression zstd --report acks.jsonl

A record counts as acknowledged when the broker says so. Records are repeated for 120 s, so a lost leader costs time
only. --report lines: {\"line\":1,\"offset\":41,\"partition\":0}, or
{\"error\":\"..\",\"line\":2,\"outcome\":\"unknown\",\"partition\":0}; outcome \"failed\" means surely not written, \"unknown\" that
nobody answered. Ctrl-C stops reading and waits for what is under way; a second one gives that up.";

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acks {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[value(name = "all", alias = "-1")]
    All,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Acks {
    /// As librdkafka writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Acks::None => "0",
            Acks::Leader => "1",
            Acks::All => "all",
        }
    }

    /// The flag, else the property, else all.
    pub(crate) fn of(settings: &Settings, flag: Option<Acks>) -> Result<Acks, CliError> {
        let property = settings.property(&["acks", "request.required.acks"]);
        match (flag, property) {
            (Some(flag), _) => Ok(flag),
            (None, None | Some("all" | "-1")) => Ok(Acks::All),
            (None, Some("1")) => Ok(Acks::Leader),
            (None, Some("0")) => Ok(Acks::None),
            (None, Some(other)) => {
                Err(CliError::Usage(format!("the property acks={other} is not taken: it is 0, 1 or all")))
            }
        }
    }
}

impl Compression {
    /// As librdkafka writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Idempotence needs every in-sync replica's acknowledgement (KIP-98).
pub(crate) fn idempotence(acks: Acks, asked: Option<bool>) -> Result<bool, CliError> {
    match (acks, asked) {
        (Acks::All, asked) => Ok(asked.unwrap_or(true)),
        (_, Some(true)) => Err(CliError::Usage(
            "--idempotent needs --acks all: a leader alone cannot tell a repeat from a new record after it was lost"
                .to_owned(),
        )),
        (_, _) => Ok(false),
    }
}

/// Largest record taken from the input, in bytes; the broker's own limit (max.message.bytes) is usually far lower and
/// answered per record.
const RECORD_BYTES_MAX: usize = 100 << 20;

/// Starts a producer that writes in batches. `sizes` are defaults as well: a profile may change them.
pub(crate) fn batching<C: ProducerContext + 'static>(
    settings: &Settings,
    (acks, idempotent): (Acks, Option<bool>),
    compression: Option<Compression>,
    sizes: &[(&str, &str)],
    context: C,
) -> Result<ThreadedProducer<C>, CliError> {
    let property = settings.property(&["enable.idempotence"]).map(|value| value == "true");
    let idempotent = idempotence(acks, idempotent.or(property.filter(|_| acks == Acks::All)))?;
    let mut fixed =
        vec![("acks", acks.name()), ("enable.idempotence", if idempotent { "true" } else { "false" })];
    fixed.extend(compression.map(|codec| ("compression.type", codec.name())));
    let defaults = [&kafka::PRODUCER_DEFAULTS, sizes].concat();
    let made = kafka::config(&settings.mesh(), &defaults, &fixed).create_with_context(context);
    Ok(made.map_err(|error| kafka::cannot_start(&error))?)
}

/// Reads, sends, waits, tells.
pub(crate) fn run(settings: &Settings, args: &ProduceArgs) -> Result<(), CliError> {
    kafka::check_topic_name(&args.topic)?;
    let acks = Acks::of(settings, args.acks)?;
    idempotence(acks, args.idempotent)?;
    let source = Source::open(args.file.as_deref())?;
    let ledger = Ledger::new(settings, args.report.as_deref())?;
    let bytes_max = (RECORD_BYTES_MAX + 4096).to_string();
    let sizes = [
        ("batch.num.messages", "50000"),
        ("message.max.bytes", bytes_max.as_str()),
        // The ledger holds back earlier; these only keep librdkafka from doing so.
        ("queue.buffering.max.messages", "1000000"),
        ("queue.buffering.max.kbytes", "1048576"),
    ];
    let producer = batching(settings, (acks, args.idempotent), args.compression, &sizes, ledger)?;
    let partitions;
    {
        let _waiting = Waiting::new(settings, format!("asking for topic \"{}\"", args.topic));
        partitions = await_topic(settings, args, &producer)?;
    }
    let stop = Stop::listen();
    let mut session = Session {
        args,
        turns: args.round_robin.then_some(partitions),
        headers: headers(&args.header),
        producer,
        progress: Progress::start(settings, source.bytes),
        stop,
        lines: 0,
        input_bytes: 0,
    };
    let began = clock::now();
    let read = session.send_all(source);
    session.await_deliveries();
    session.progress.finish();
    let ledger = session.producer.context();
    ledger.print_summary(settings, &args.topic, began.elapsed())?;
    if acks == Acks::None {
        output::note("with --acks 0 no broker confirms anything: \"acknowledged\" here means sent");
    }
    ledger.close_report()?;
    read?;
    if session.stop.requested() {
        return Err(CliError::Interrupted(format!(
            "interrupted after line {}; later lines were not sent",
            session.lines
        )));
    }
    ledger.verdict(&args.topic)
}

/// Waits until the topic exists and gives its number of partitions, asking as a producer does, which lets a broker that creates topics by itself do so.
fn await_topic(
    settings: &Settings,
    args: &ProduceArgs,
    producer: &ThreadedProducer<Ledger>,
) -> Result<usize, CliError> {
    let (mesh, began) = (settings.mesh(), clock::now());
    loop {
        let listener = producer.context().listener();
        let metadata = kafka::reach(&mesh, producer.client(), listener, Some(&args.topic), || {})?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        let code = metadata.topics().first().and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
        match args.partition {
            Some(partition)
                if count > 0 && usize::try_from(partition).is_ok_and(|partition| partition >= count) =>
            {
                return Err(CliError::Missing(format!(
                    "topic \"{}\" has no partition {partition}: it has {count}, numbered from 0",
                    args.topic
                )));
            }
            _ if count > 0 => return Ok(count),
            _ => {}
        }
        let passing = matches!(
            code,
            None | Some(RDKafkaErrorCode::LeaderNotAvailable | RDKafkaErrorCode::UnknownTopicOrPartition)
        );
        // A broker that creates topics by itself says "unknown" once or twice, then has it.
        let patience = settings.wait().min(Duration::from_secs(3));
        if !passing || began.elapsed() >= patience {
            let missing = matches!(code, None | Some(RDKafkaErrorCode::UnknownTopicOrPartition));
            let code = code.map_or_else(|| "it has no partitions".to_owned(), kafka::describe);
            let text = format!(
                "topic \"{}\" cannot be written to at {}: {code}.\nIf it does not exist: rafka topic create {}",
                args.topic, settings.bootstrap, args.topic
            );
            return Err(if missing { CliError::Missing(text) } else { CliError::Failed(text) });
        }
        producer.context().wait(Duration::from_millis(100));
    }
}

struct Session<'a> {
    args: &'a ProduceArgs,
    /// The number of partitions that take turns.
    turns: Option<usize>,
    headers: Option<OwnedHeaders>,
    producer: ThreadedProducer<Ledger>,
    progress: Progress,
    stop: Stop,
    lines: usize,
    input_bytes: u64,
}

impl Session<'_> {
    /// Sends until the input ends, the user stops, or nothing can be sent any more.
    fn send_all(&mut self, source: Source) -> Result<(), CliError> {
        let name = source.name.clone();
        let mut lines = Lines::new(RECORD_BYTES_MAX);
        let blocks = source.read();
        loop {
            match blocks.recv_timeout(Duration::from_millis(100)) {
                Ok(Ok(block)) => {
                    self.input_bytes += block.len() as u64;
                    lines.feed(&block, |line| self.send(line)).map_err(|error| {
                        CliError::Failed(format!("{name}, line {}: {error}", self.lines + 1))
                    })?;
                }
                Ok(Err(error)) => return Err(CliError::Failed(format!("cannot read {name}: {error}"))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    lines.finish(|line| self.send(line));
                    return Ok(());
                }
            }
            self.progress.show(self.producer.context(), self.input_bytes);
            if self.stop.requested() {
                return Ok(());
            }
            if let Some((_, text)) = self.producer.client().fatal_error() {
                return Err(CliError::Failed(format!(
                    "the producer cannot go on after line {}: {text}.\nThe records counted as not acknowledged can be sent \
                     again; --verbose shows what led here.",
                    self.lines
                )));
            }
        }
    }

    /// Hands one line to librdkafka, first waiting for room. What it refuses is accounted for at once.
    fn send(&mut self, line: &[u8]) {
        if self.stop.requested() {
            return;
        }
        self.lines += 1;
        let (key, value) = split(line, self.args.key_separator.as_deref(), self.args.null.as_deref());
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let ledger = self.producer.context();
        while !ledger.admit(bytes) {
            ledger.wait(Duration::from_millis(100));
            self.progress.show(ledger, self.input_bytes);
            if self.stop.insisted() {
                self.lines -= 1;
                return;
            }
        }
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.args.topic, self.lines);
        let turn = self.turns.and_then(|count| i32::try_from((self.lines - 1) % count.max(1)).ok());
        record.partition = self.args.partition.or(turn);
        record.key = key;
        record.payload = value;
        record.headers = self.headers.clone();
        let mut sent = self.producer.send(record);
        while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) = sent {
            ledger.wait(Duration::from_millis(10));
            sent = self.producer.send(record);
        }
        if let Err((error, _)) = sent {
            ledger.refused(self.lines, bytes, self.args.partition.or(turn), &error);
        }
    }

    /// Waits until every record is answered for; librdkafka itself gives each up after 120 s.
    fn await_deliveries(&mut self) {
        while self.producer.context().in_flight() > 0 {
            drop(self.producer.flush(Duration::from_millis(100)));
            self.progress.show(self.producer.context(), self.input_bytes);
            if self.stop.insisted() {
                self.producer.purge(PurgeConfig::default().queue().inflight());
                drop(self.producer.flush(Duration::from_secs(2)));
                return;
            }
        }
    }
}

/// Key and value of a line. Without separator in the line there is no key, and the whole line is the value.
fn split<'a>(
    line: &'a [u8],
    separator: Option<&str>,
    null: Option<&str>,
) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let present = |bytes: &'a [u8]| (null.map(str::as_bytes) != Some(bytes)).then_some(bytes);
    let separator = separator.map(str::as_bytes).filter(|separator| !separator.is_empty());
    let at = separator.and_then(|wanted| line.windows(wanted.len()).position(|window| window == wanted));
    match (separator, at) {
        (Some(separator), Some(at)) => (present(&line[..at]), present(&line[at + separator.len()..])),
        _ => (None, present(line)),
    }
}

fn headers(headers: &[(String, String)]) -> Option<OwnedHeaders> {
    let insert =
        |all: OwnedHeaders, (key, value): &(String, String)| all.insert(Header { key, value: Some(value) });
    (!headers.is_empty()).then(|| headers.iter().fold(OwnedHeaders::new(), insert))
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("\"{text}\" is not KEY=VALUE")),
    }
}

/// `\t` is hard to type in a shell, so it is understood, here as in `consume`.
pub(crate) fn parse_separator(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a separator has at least one character".to_owned()),
        text => Ok(text.replace("\\t", "\t")),
    }
}

/// A file named on the command line cannot be read or created.
fn cannot(what: &str, path: &std::path::Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Acks, idempotence, parse_separator, split};

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let text = |(key, value): (Option<&[u8]>, Option<&[u8]>)| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (key.map(text), value.map(text))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(text(split(b"a:b:c", Some(":"), None)), (some("a"), some("b:c")));
        assert_eq!(text(split(b"a::b", Some("::"), None)), (some("a"), some("b")));
        assert_eq!(text(split(b":", Some(":"), None)), (some(""), some("")));
        assert_eq!(text(split(b"abc", Some(":"), None)), (None, some("abc")));
        assert_eq!(text(split(b"a:b", None, None)), (None, some("a:b")));
        assert_eq!(text(split(b"", Some("::"), None)), (None, some("")));
    }

    #[test]
    fn the_null_text_stands_for_null() {
        assert_eq!(split(b"k:", Some(":"), Some("")), (Some(&b"k"[..]), None));
        assert_eq!(split(b"NULL:NULL", Some(":"), Some("NULL")), (None, None));
        assert_eq!(split(b"NULL", None, Some("NULL")), (None, None));
        assert_eq!(split(b"NULLS", None, Some("NULL")), (None, Some(&b"NULLS"[..])));
    }

    #[test]
    fn idempotence_follows_acks_unless_asked_otherwise() {
        assert!(idempotence(Acks::All, None).unwrap());
        assert!(!idempotence(Acks::All, Some(false)).unwrap());
        assert!(!idempotence(Acks::Leader, None).unwrap());
        assert!(idempotence(Acks::None, Some(true)).is_err());
    }

    #[test]
    fn a_separator_may_be_a_tab() {
        assert_eq!(parse_separator("\\t").unwrap(), "\t");
        assert!(parse_separator("").is_err());
    }
}
