//! `rafka bench latency`: each record carries the time at which it was due; a consumer in the same process reads it.

use super::histogram::Histogram;
use super::live::{Goal, Live};
use super::payload::{Fill, Payload};
use super::report::Report;
use super::tally::{Tally, micros};
use crate::clock;
use crate::error::CliError;
use crate::produce::Acks;
use crate::settings::Settings;
use crate::stop::Stop;
use clap::Args;
use rafka::kafka::{self, Listener};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Arguments of `rafka bench latency`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka bench latency bench                            100 records a second for ten seconds
  rafka bench latency bench --rate 1000 --size 1024 --seconds 60 --json

\"acknowledged\" is the time until the producer has the answer, \"end to end\" the time until a consumer of this process has
the record. Records go to all partitions in turns and are sent at once (linger.ms=0). A record that was due while the sender
waited counts from when it was due.")]
pub(crate) struct LatencyArgs {
    /// The topic; it must exist
    topic: String,
    /// Measure for so many seconds
    #[arg(long, short, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds of the same load before, which are not counted
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    warm_up: u64,
    /// Records a second
    #[arg(long, short, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// Bytes of a record's value
    #[arg(long, default_value_t = 100, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    size: u32,
    /// When a record counts as acknowledged [default: all]
    #[arg(long, value_enum)]
    acks: Option<Acks>,
}

/// How long the last records may take.
const DRAIN: Duration = Duration::from_secs(30);

/// What arrived.
#[derive(Default)]
struct Arrived {
    records: u64,
    latency: Histogram,
    recent: Histogram,
}

struct Shared {
    /// Marks the records of this run: others may write to the topic too.
    run: u64,
    epoch: Instant,
    /// Records that were due before, in microseconds since the epoch, are the warm-up.
    warm: u64,
    arrived: Mutex<Arrived>,
    end: AtomicBool,
}

impl Shared {
    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self, due: u64) -> bool {
        due >= self.warm
    }

    /// A record as the consumer has it.
    fn take(&self, value: &[u8], now: u64) {
        let Some((run, due)) = mark_of(value).filter(|(run, _)| *run == self.run) else { return };
        debug_assert_eq!(run, self.run);
        if self.counts(due) {
            let mut arrived = self.arrived();
            let latency = now.saturating_sub(due);
            arrived.records += 1;
            arrived.latency.record(latency);
            arrived.recent.record(latency);
        }
    }
}

/// The run and the time at which the record was due, in its first 16 bytes.
fn mark_of(value: &[u8]) -> Option<(u64, u64)> {
    let (run, rest) = value.split_first_chunk::<8>()?;
    let (due, _) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*run), u64::from_be_bytes(*due)))
}

/// Sends, reads, tells.
pub(crate) fn run(settings: &Settings, args: &LatencyArgs) -> Result<(), CliError> {
    let partitions = super::partitions(settings, &args.topic)?;
    let acks = Acks::of(settings, args.acks)?;
    let consumer = reader(settings, args, partitions)?;
    let epoch = clock::now();
    let producer = producer(settings, acks, Tally::new(settings, epoch))?;
    let shared = Arc::new(Shared {
        run: RandomState::new().build_hasher().finish(),
        epoch,
        warm: args.warm_up * 1_000_000,
        arrived: Mutex::default(),
        end: AtomicBool::new(false),
    });
    let reading = shared.clone();
    let thread = clock::spawn(move || read(&consumer, &reading));
    let mut live = Live::start(settings, Goal::Time(Duration::from_secs(args.seconds)));
    let stop = Stop::listen();
    let sent = send(args, partitions, &producer, &shared, &mut live, &stop);
    drain(&producer, &shared, sent, &stop);
    shared.end.store(true, Ordering::Relaxed);
    live.finish();
    drop(thread.join());
    report(settings, args, acks, &producer, &shared, &live, sent)?;
    if stop.requested() {
        return Err(CliError::Interrupted(
            "interrupted; the figures are those of the time until then".to_owned(),
        ));
    }
    Ok(())
}

fn report(
    settings: &Settings,
    args: &LatencyArgs,
    acks: Acks,
    producer: &ThreadedProducer<Tally>,
    shared: &Shared,
    live: &Live,
    sent: u64,
) -> Result<(), CliError> {
    let counts = producer.context().counts();
    let arrived = shared.arrived();
    let mut errors = counts.errors.clone();
    let lost: u64 = errors.values().sum();
    let missing = sent.saturating_sub(arrived.records).saturating_sub(lost);
    if missing > 0 {
        errors.insert(format!("sent, and not read after {} s", DRAIN.as_secs()), missing);
    }
    let report = Report {
        kind: "latency",
        topic: &args.topic,
        records: arrived.records,
        bytes: arrived.records * u64::from(args.size),
        seconds: sent as f64 / args.rate as f64,
        latencies: vec![
            ("acknowledged", counts.latency.summary()),
            ("end to end", arrived.latency.summary()),
        ],
        errors,
        samples: live.samples(),
        run: json!({ "size": args.size, "rate": args.rate, "acks": acks.name() }),
    };
    report.print(settings)?;
    report.verdict()
}

fn producer(settings: &Settings, acks: Acks, tally: Tally) -> Result<ThreadedProducer<Tally>, CliError> {
    let defaults = [("linger.ms", "0"), ("request.timeout.ms", "8000"), ("delivery.timeout.ms", "25000")];
    let idempotent = if acks == Acks::All { "true" } else { "false" };
    let fixed = [("acks", acks.name()), ("enable.idempotence", idempotent)];
    let made = kafka::config(&settings.mesh(), &defaults, &fixed).create_with_context(tally);
    Ok(made.map_err(|error| kafka::cannot_start(&error))?)
}

/// A consumer that stands at the end of each partition.
fn reader(settings: &Settings, args: &LatencyArgs, count: i32) -> Result<BaseConsumer<Listener>, CliError> {
    let mesh = settings.mesh();
    let consumer = kafka::consumer(&mesh)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..count {
        let (_, high) = kafka::watermarks(&mesh, &consumer, &args.topic, partition)?;
        assignment
            .add_partition_offset(&args.topic, partition, Offset::Offset(high))
            .map_err(|error| kafka::cannot_start(&error))?;
    }
    consumer.assign(&assignment).map_err(|error| kafka::cannot_start(&error))?;
    Ok(consumer)
}

fn read(consumer: &BaseConsumer<Listener>, shared: &Shared) {
    while !shared.end.load(Ordering::Relaxed) {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            shared.take(message.payload().unwrap_or_default(), micros(shared.epoch));
        }
    }
}

/// Sends until the time is over; gives how many count.
fn send(
    args: &LatencyArgs,
    partitions: i32,
    producer: &ThreadedProducer<Tally>,
    shared: &Shared,
    live: &mut Live,
    stop: &Stop,
) -> u64 {
    let payload = Payload::new(Fill::Random, usize::try_from(args.size).unwrap_or(usize::MAX));
    let until = shared.warm + args.seconds * 1_000_000;
    let (mut n, mut sent, mut warm) = (0_u64, 0, shared.warm == 0);
    while !stop.requested() {
        let due = n * 1_000_000 / args.rate;
        if due >= until {
            break;
        }
        let now = micros(shared.epoch);
        if !warm && now >= shared.warm {
            producer.context().restart();
            live.restart();
            warm = true;
        }
        if due > now {
            show(args, shared, live, warm);
            clock::pause(Duration::from_micros((due - now).min(50_000)));
            continue;
        }
        let mut value = payload.record(n).to_vec();
        value[..8].copy_from_slice(&shared.run.to_be_bytes());
        value[8..16].copy_from_slice(&due.to_be_bytes());
        let due_opaque = usize::try_from(due).unwrap_or(usize::MAX);
        let partition = i32::try_from(n % u64::from(partitions.unsigned_abs().max(1))).unwrap_or(0);
        let record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&args.topic, due_opaque)
            .payload(&value)
            .partition(partition);
        if let Err((error, _)) = producer.send(record) {
            producer.context().refused(&error);
        }
        sent += u64::from(shared.counts(due));
        n += 1;
    }
    sent
}

fn show(args: &LatencyArgs, shared: &Shared, live: &mut Live, warm: bool) {
    if !warm {
        return live.warming();
    }
    let records = shared.arrived().records;
    live.show(records, records * u64::from(args.size), || {
        let recent = std::mem::take(&mut shared.arrived().recent);
        (recent.count() > 0).then(|| (recent.at(500), recent.at(990)))
    });
}

/// Waits for the answers and for the last records to arrive.
fn drain(producer: &ThreadedProducer<Tally>, shared: &Shared, sent: u64, stop: &Stop) {
    let began = clock::now();
    let lost = || producer.context().counts().errors.values().sum::<u64>();
    while began.elapsed() < DRAIN && !stop.requested() {
        if producer.in_flight_count() == 0 && shared.arrived().records + lost() >= sent {
            return;
        }
        clock::pause(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrived, Shared, mark_of};
    use crate::clock;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn only_records_of_this_run_after_the_warm_up_count() {
        let value = |run: u64, due: u64| [run.to_be_bytes(), due.to_be_bytes(), [0; 8]].concat();
        let shared = Shared {
            run: 7,
            epoch: clock::now(),
            warm: 1000,
            arrived: Mutex::new(Arrived::default()),
            end: AtomicBool::new(false),
        };
        for (run, due) in [(7, 999), (8, 2000), (7, 1000), (7, 2000)] {
            shared.take(&value(run, due), 3000);
        }
        shared.take(b"a line of somebody else", 3000);
        shared.take(b"short", 3000);
        assert_eq!(shared.arrived().records, 2);
        assert_eq!(shared.arrived().latency.at(1000), 2000);
        assert_eq!(mark_of(&value(1, 2)), Some((1, 2)));
    }
}
