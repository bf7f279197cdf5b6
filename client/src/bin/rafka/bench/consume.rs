//! `rafka bench consume`.

use super::live::{Goal, Live};
use super::report::Report;
use crate::clock;
use crate::error::CliError;
use crate::settings::Settings;
use crate::stop::Stop;
use clap::Args;
use rafka::kafka::{self, Listener};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Arguments of `rafka bench consume`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka bench consume bench                            all there is, once
  rafka bench consume bench --records 1000000 --connections 4
  rafka bench consume bench --seconds 60 --json

Each partition is read from its first offset to where it ended at the start. MB are 1,000,000 bytes of keys and values.")]
pub(crate) struct ConsumeArgs {
    /// The topic; it must exist
    topic: String,
    /// Stop after so many records
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Stop after so many seconds
    #[arg(long, short, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Clients that read, each its share of the partitions
    #[arg(long, short, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
}

/// Nothing for so long: the run is over, and has failed.
const STALL: Duration = Duration::from_secs(60);

/// What the threads count.
#[derive(Default)]
struct Counts {
    records: AtomicU64,
    bytes: AtomicU64,
    end: AtomicBool,
}

/// Reads, watches, tells.
pub(crate) fn run(settings: &Settings, args: &ConsumeArgs) -> Result<(), CliError> {
    let count = super::partitions(settings, &args.topic)?;
    let stop = Stop::listen();
    let counts = Arc::new(Counts::default());
    let spans = spans(settings, args, count)?;
    let wanted: u64 = spans.values().map(|(low, high)| u64::try_from(high - low).unwrap_or(0)).sum();
    if wanted == 0 {
        return Err(CliError::Failed(format!(
            "topic \"{}\" holds no records.\nWrite some: rafka bench produce {}",
            args.topic, args.topic
        )));
    }
    let wanted = args.records.map_or(wanted, |records| records.min(wanted));
    let mut live = Live::start(settings, Goal::Records(wanted));
    let began = clock::now();
    let threads = start(settings, args, &spans, &counts)?;
    let stalled = watch(args, &counts, &threads, wanted, &mut live, &stop);
    let seconds = began.elapsed().as_secs_f64();
    counts.end.store(true, Ordering::Relaxed);
    live.finish();
    let mut errors = BTreeMap::new();
    for thread in threads {
        if let Ok(Some(reason)) = thread.join() {
            *errors.entry(reason).or_insert(0) += 1;
        }
    }
    let records = counts.records.load(Ordering::Relaxed);
    if stalled {
        errors.insert(format!("nothing arrived for {} s", STALL.as_secs()), wanted.saturating_sub(records));
    }
    let report = Report {
        kind: "consume",
        topic: &args.topic,
        records,
        bytes: counts.bytes.load(Ordering::Relaxed),
        seconds,
        latencies: Vec::new(),
        errors,
        samples: live.samples(),
        run: json!({ "connections": args.connections, "partitions": count }),
    };
    report.print(settings)?;
    if stop.requested() {
        return Err(CliError::Interrupted(
            "interrupted; the figures are those of the time until then".to_owned(),
        ));
    }
    report.verdict()
}

/// First offset and end of each partition.
fn spans(settings: &Settings, args: &ConsumeArgs, count: i32) -> Result<BTreeMap<i32, (i64, i64)>, CliError> {
    let mesh = settings.mesh();
    let observer = kafka::observer(&mesh)?;
    let span = |partition| Ok((partition, kafka::watermarks(&mesh, &observer, &args.topic, partition)?));
    (0..count).map(span).collect()
}

type Thread = JoinHandle<Option<String>>;

fn start(
    settings: &Settings,
    args: &ConsumeArgs,
    spans: &BTreeMap<i32, (i64, i64)>,
    counts: &Arc<Counts>,
) -> Result<Vec<Thread>, CliError> {
    let connections = usize::from(args.connections);
    let full: Vec<(i32, (i64, i64))> = spans
        .iter()
        .filter(|(_, (low, high))| low < high)
        .map(|(partition, span)| (*partition, *span))
        .collect();
    let mut threads = Vec::new();
    for at in 0..connections.min(full.len()) {
        let own: BTreeMap<i32, i64> = full
            .iter()
            .skip(at)
            .step_by(connections)
            .map(|(partition, (_, high))| (*partition, *high))
            .collect();
        let consumer = kafka::consumer(&settings.mesh())?;
        let mut assignment = TopicPartitionList::new();
        for partition in own.keys() {
            let low = spans.get(partition).map_or(0, |(low, _)| *low);
            assignment
                .add_partition_offset(&args.topic, *partition, Offset::Offset(low))
                .map_err(|error| kafka::cannot_start(&error))?;
        }
        consumer.assign(&assignment).map_err(|error| kafka::cannot_start(&error))?;
        let counts = counts.clone();
        threads.push(clock::spawn(move || read(&consumer, own, &counts)));
    }
    Ok(threads)
}

/// Reads until each partition is at its end, or until told to stop; gives the error that ended it.
fn read(consumer: &BaseConsumer<Listener>, mut open: BTreeMap<i32, i64>, counts: &Counts) -> Option<String> {
    while !open.is_empty() && !counts.end.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                let Some(end) = open.get(&message.partition()).copied() else { continue };
                if message.offset() >= end {
                    open.remove(&message.partition());
                    continue;
                }
                let bytes = message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len);
                counts.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                counts.records.fetch_add(1, Ordering::Relaxed);
                if message.offset() + 1 >= end {
                    open.remove(&message.partition());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Some(kafka::reason(&error)),
            // Whatever else is wrong passes once the leader moved, or shows as a stall.
            Some(Err(_)) | None => {}
        }
    }
    None
}

/// Until the run is over; true when that is because nothing came any more.
fn watch(
    args: &ConsumeArgs,
    counts: &Counts,
    threads: &[Thread],
    wanted: u64,
    live: &mut Live,
    stop: &Stop,
) -> bool {
    let (began, mut moved, mut seen) = (clock::now(), clock::now(), 0);
    let time = args.seconds.map(Duration::from_secs);
    loop {
        clock::pause(Duration::from_millis(20));
        let records = counts.records.load(Ordering::Relaxed);
        live.show(records, counts.bytes.load(Ordering::Relaxed), || None);
        if records != seen {
            (moved, seen) = (clock::now(), records);
        }
        let over = records >= wanted || time.is_some_and(|time| began.elapsed() >= time);
        if over || stop.requested() || threads.iter().all(JoinHandle::is_finished) {
            return false;
        }
        if moved.elapsed() >= STALL {
            return true;
        }
    }
}
