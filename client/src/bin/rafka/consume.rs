//! `rafka consume`: partitions assigned by hand, positions given by hand, no consumer group.
//!
//! The end at which reading stops is each partition's high watermark when the command started, so that it stops on a
//! topic that is being written to as well; Kafka's end-of-partition event covers offsets that hold no record.

use crate::clock;
use crate::error::CliError;
use crate::field::json_bytes;
use crate::format::{Format, RecordView};
use crate::output;
use crate::produce::parse_separator;
use crate::settings::Settings;
use crate::stop::Stop;
use clap::Args;
use rafka::kafka::{self, Listener};
use rafka::reader::{self, STALL, Span, Start};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Timestamp, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

mod progress;
use progress::Progress;

/// Arguments of `rafka consume`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct ConsumeArgs {
    /// The topic
    topic: String,
    /// Read this partition only; may be repeated; all if not given
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Where to begin: earliest, latest, an offset, or -N for the last N of each partition
    #[arg(long, default_value = "earliest", value_name = "WHERE", allow_hyphen_values = true, value_parser = parse_start)]
    from: Start,
    /// Stop after N records
    #[arg(long, short = 'n', value_name = "N")]
    max: Option<u64>,
    /// Go on and wait for new records; without it, stop where each partition ended at the start
    #[arg(long, short)]
    follow: bool,
    /// plain (the value), json, or a format string
    #[arg(long, default_value = "plain", value_parser = parse_style)]
    format: Style,
    /// With the plain format: print the key and SEPARATOR before the value
    #[arg(long, short, value_name = "SEPARATOR", value_parser = parse_separator)]
    key_separator: Option<String>,
    /// What to print for a null key, value or header value; JSON has a null of its own
    #[arg(long, value_name = "TEXT", default_value = "NULL")]
    null: String,
}

const HELP: &str = "\
Examples:
  rafka consume orders                                 all there is, then stop
  rafka consume orders --from latest --follow          what comes from now on
  rafka consume orders --partition 2 --from 1000 --max 10
  rafka consume orders --from -5 --format '%p/%o %k = %v\\n'
  rafka consume orders --json | jq .value

Format strings: %t topic  %p partition  %o offset  %T timestamp in ms (-1: none)  %k key  %v or %s value
  %K and %S length of key and value in bytes (-1: null)  %h headers as a=1,b=2  %% percent  \\n \\r \\t \\0 \\\\ \\xHH
JSON, one object a line: a key, value or header value is null, a string if its bytes are UTF-8, or else
  {\"base64\": \"..\"}.
Order holds within a partition; partitions arrive interleaved.";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Style {
    Plain,
    Json,
    Format(Format),
}

/// Reads and prints.
pub(crate) fn run(settings: &Settings, args: &ConsumeArgs) -> Result<(), CliError> {
    let mesh = settings.mesh();
    let consumer = kafka::consumer(&mesh)?;
    let metadata = kafka::existing_topic(&mesh, &consumer, &args.topic)?;
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let spans = spans(settings, args, &consumer, &partitions(args, count)?)?;
    reader::assign(&consumer, &args.topic, &spans)?;
    let stop = Stop::listen();
    let style = if settings.json { Style::Json } else { args.format.clone() };
    let out = BufWriter::with_capacity(64 << 10, io::stdout());
    let progress = Progress::start(settings, &spans);
    let mut session = Session { args, consumer, spans, style, out, progress, records: 0, bytes: 0 };
    let began = clock::now();
    let ended = session.read(&stop);
    session.progress.finish();
    session.out.flush()?;
    let seconds = began.elapsed().as_secs_f64().max(0.001);
    output::note(&format!(
        "topic \"{}\": {} record(s) from {} partition(s), {} in {seconds:.2} s{}",
        args.topic,
        session.records,
        session.spans.len(),
        output::bytes(session.bytes as f64),
        if stop.requested() { ", interrupted" } else { "" }
    ));
    ended
}

fn partitions(args: &ConsumeArgs, count: usize) -> Result<Vec<i32>, CliError> {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    if args.partition.is_empty() {
        return Ok((0..count).collect());
    }
    match args.partition.iter().find(|partition| **partition >= count) {
        None => Ok(args.partition.clone()),
        Some(partition) => Err(CliError::Missing(format!(
            "topic \"{}\" has no partition {partition}: it has {count}, numbered from 0",
            args.topic
        ))),
    }
}

fn spans(
    settings: &Settings,
    args: &ConsumeArgs,
    consumer: &BaseConsumer<Listener>,
    partitions: &[i32],
) -> Result<BTreeMap<i32, Span>, CliError> {
    let mesh = settings.mesh();
    let mut spans = BTreeMap::new();
    for partition in partitions {
        let (low, high) = kafka::watermarks(&mesh, consumer, &args.topic, *partition)?;
        let span = Span::new(args.from, (low, high), args.follow);
        if let Start::At(offset) = args.from
            && span.next != offset
        {
            output::note(&format!(
                "partition {partition} holds offsets {low} to {high} (exclusive), not {offset}; begins at {}",
                span.next
            ));
        }
        spans.insert(*partition, span);
    }
    Ok(spans)
}

struct Session<'a> {
    args: &'a ConsumeArgs,
    consumer: BaseConsumer<Listener>,
    spans: BTreeMap<i32, Span>,
    style: Style,
    out: BufWriter<io::Stdout>,
    progress: Progress,
    records: u64,
    bytes: u64,
}

impl Session<'_> {
    /// Reads to the end, to `--max`, or until stopped.
    fn read(&mut self, stop: &Stop) -> Result<(), CliError> {
        let mut moved = clock::now();
        let mut open = self.spans.values().filter(|span| !span.done()).count();
        while open > 0 && self.args.max.is_none_or(|max| self.records < max) {
            if stop.requested() {
                return if self.args.follow {
                    Ok(())
                } else {
                    Err(CliError::Interrupted(format!(
                        "interrupted; {open} partition(s) were not read to their end"
                    )))
                };
            }
            // While records wait they are only buffered; the buffer is written out before waiting for more.
            let wait = if self.out.buffer().is_empty() { Duration::from_millis(100) } else { Duration::ZERO };
            let consumer = &self.consumer;
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    moved = clock::now();
                    let Some(span) = self.spans.get_mut(&message.partition()).filter(|span| !span.done())
                    else {
                        continue;
                    };
                    if message.offset() < span.next {
                        continue;
                    }
                    let past = span.end.is_some_and(|end| message.offset() >= end);
                    span.next = message.offset().saturating_add(1);
                    if span.done() {
                        open -= 1;
                        pause(consumer, &self.args.topic, message.partition());
                    }
                    if !past {
                        self.records += 1;
                        self.bytes += length(&message);
                        write(&mut self.out, &self.style, self.args, &message)?;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(span) = self.spans.get_mut(&partition).filter(|span| !span.done())
                        && let Some(end) = span.end
                    {
                        span.next = end;
                        open -= 1;
                    }
                }
                Some(Err(error)) => self.judge(&error)?,
                None => self.out.flush()?,
            }
            self.progress.show(self.records, self.bytes, &self.spans);
            self.check_stall(moved, open)?;
        }
        Ok(())
    }

    /// Most errors pass by themselves once the leader moved; these do not.
    fn judge(&self, error: &KafkaError) -> Result<(), CliError> {
        let topic = &self.args.topic;
        match reader::lasting(error) {
            Some(why) => Err(CliError::Failed(format!("topic \"{topic}\": {}: {why}", kafka::reason(error)))),
            None => Ok(()),
        }
    }

    fn check_stall(&self, moved: Instant, open: usize) -> Result<(), CliError> {
        if self.args.follow || moved.elapsed() < STALL {
            return Ok(());
        }
        let stuck: Vec<i32> =
            self.spans.iter().filter(|(_, span)| !span.done()).map(|(partition, _)| *partition).collect();
        Err(CliError::Failed(format!(
            "topic \"{}\": nothing arrived for {} s and {open} partition(s) are not read to their end: {}{}.\nrafka topic \
             describe {} shows their leaders.",
            self.args.topic,
            STALL.as_secs(),
            output::ids(&stuck),
            self.consumer.context().trouble().map(|text| format!(" ({text})")).unwrap_or_default(),
            self.args.topic
        )))
    }
}

/// Keeps a finished partition from taking bandwidth. Should it fail, its records are ignored as they come.
fn pause(consumer: &BaseConsumer<Listener>, topic: &str, partition: i32) {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    drop(consumer.pause(&list));
}

fn length(message: &BorrowedMessage<'_>) -> u64 {
    let bytes = message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len);
    bytes as u64
}

fn write(
    out: &mut impl Write,
    style: &Style,
    args: &ConsumeArgs,
    message: &BorrowedMessage<'_>,
) -> io::Result<()> {
    match style {
        Style::Plain => {
            if let Some(separator) = &args.key_separator {
                out.write_all(message.key().unwrap_or(args.null.as_bytes()))?;
                out.write_all(separator.as_bytes())?;
            }
            out.write_all(message.payload().unwrap_or(args.null.as_bytes()))?;
            out.write_all(b"\n")
        }
        Style::Json => writeln!(out, "{}", record_json(message)),
        Style::Format(format) => format.write(out, &view(message), &args.null),
    }
}

fn view<'a>(message: &'a BorrowedMessage<'_>) -> RecordView<'a> {
    let headers =
        message.headers().map(|headers| headers.iter().map(|header| (header.key, header.value)).collect());
    RecordView {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: headers.unwrap_or_default(),
    }
}

/// Headers are a list: Kafka keeps their order and lets a key come twice.
fn record_json(message: &BorrowedMessage<'_>) -> Value {
    let view = view(message);
    let headers = view.headers.iter().map(|(key, value)| json!({ "key": key, "value": json_bytes(*value) }));
    let kind = match message.timestamp() {
        Timestamp::NotAvailable => Value::Null,
        Timestamp::CreateTime(_) => Value::from("create"),
        Timestamp::LogAppendTime(_) => Value::from("append"),
    };
    json!({
        "topic": view.topic, "partition": view.partition, "offset": view.offset, "timestamp": view.timestamp_ms,
        "timestamp_type": kind, "key": json_bytes(view.key), "value": json_bytes(view.value),
        "headers": headers.collect::<Vec<_>>()
    })
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" | "beginning" => return Ok(Start::Earliest),
        "latest" | "end" => return Ok(Start::Latest),
        _ => {}
    }
    match text.parse::<i64>() {
        Ok(count) if count < 0 && count > i64::MIN => Ok(Start::Tail(-count)),
        Ok(offset) if offset >= 0 => Ok(Start::At(offset)),
        _ => {
            Err("write earliest, latest, an offset from 0, or -N for the last N of each partition".to_owned())
        }
    }
}

fn parse_style(text: &str) -> Result<Style, String> {
    match text {
        "plain" => Ok(Style::Plain),
        "json" => Ok(Style::Json),
        text if !text.contains('%') => {
            Err("write plain, json, or a format string with at least one placeholder such as %v".to_owned())
        }
        text => Format::parse(text).map(Style::Format),
    }
}

#[cfg(test)]
mod tests {
    use super::{Start, Style, parse_start, parse_style};

    #[test]
    fn a_start_is_a_word_or_a_number() {
        assert_eq!(parse_start("earliest").unwrap(), Start::Earliest);
        assert_eq!(parse_start("latest").unwrap(), Start::Latest);
        assert_eq!(parse_start("0").unwrap(), Start::At(0));
        assert_eq!(parse_start("-5").unwrap(), Start::Tail(5));
        for wrong in ["", "first", "1.5", "99999999999999999999", "-9223372036854775808"] {
            assert!(parse_start(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_format_needs_a_placeholder() {
        assert_eq!(parse_style("plain").unwrap(), Style::Plain);
        assert!(matches!(parse_style(r"%v\n").unwrap(), Style::Format(_)));
        assert!(parse_style("jsonl").is_err());
        assert!(parse_style("%q").is_err());
    }
}
