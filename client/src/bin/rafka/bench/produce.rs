//! `rafka bench produce`.

use super::histogram::Histogram;
use super::live::{Goal, Live};
use super::payload::{Fill, Payload};
use super::report::Report;
use super::tally::Tally;
use crate::clock;
use crate::error::CliError;
use crate::produce::{Acks, Compression, batching};
use crate::settings::Settings;
use crate::stop::Stop;
use clap::Args;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Arguments of `rafka bench produce`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka topic create bench --partitions 16
  rafka bench produce bench                            ten seconds, as fast as it goes
  rafka bench produce bench --rate 5000 --size 200     latency at a load that the mesh can bear
  rafka bench produce bench --records 1000000 --connections 4 --json
  rafka bench produce bench -X linger.ms=50 -X batch.size=262144

Without --rate the latency is that of full queues. A record's time begins when it was due by --rate, or when it was handed
to the client, and ends with its acknowledgement. MB are 1,000,000 bytes of keys and values.")]
pub(crate) struct ProduceArgs {
    /// The topic; it must exist
    topic: String,
    /// Measure for so many seconds
    #[arg(long, short, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Write so many records, however long it takes
    #[arg(long, short = 'n', conflicts_with_all = ["seconds", "warm_up"], value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Seconds of the same load before, which are not counted
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    warm_up: u64,
    /// Bytes of a record's value
    #[arg(long, default_value_t = 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=104_857_600))]
    size: u32,
    /// Records a second, all connections together; as fast as it goes if not given
    #[arg(long, short, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// So many different keys in turns; without it, records have none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// What values hold
    #[arg(long, value_enum, default_value = "random")]
    fill: Fill,
    /// Clients that send, each with connections of its own
    #[arg(long, short, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// When a record counts as acknowledged [default: all]
    #[arg(long, value_enum)]
    acks: Option<Acks>,
    /// Compress record batches
    #[arg(long, short = 'z', value_enum)]
    compression: Option<Compression>,
}

/// Waits for the acknowledgements of what was sent, longer than librdkafka itself does.
const DRAIN: Duration = Duration::from_secs(130);

/// Sends, watches, tells.
pub(crate) fn run(settings: &Settings, args: &ProduceArgs) -> Result<(), CliError> {
    super::partitions(settings, &args.topic)?;
    let acks = Acks::of(settings, args.acks)?;
    let senders = Senders::start(settings, args, acks)?;
    let goal = args.records.map_or(Goal::Time(Duration::from_secs(args.seconds)), Goal::Records);
    let mut live = Live::start(settings, goal);
    let stop = Stop::listen();
    let seconds = senders.watch(args, &mut live, &stop);
    senders.drain(&stop);
    live.finish();
    let total = senders.total();
    let report = Report {
        kind: "produce",
        topic: &args.topic,
        records: total.records,
        bytes: total.bytes,
        seconds,
        latencies: vec![("acknowledged", total.latency.summary())],
        errors: total.errors,
        samples: live.samples(),
        run: json!({
            "size": args.size, "rate": args.rate, "keys": args.keys, "connections": args.connections,
            "acks": acks.name(), "compression": args.compression.map(Compression::name)
        }),
    };
    report.print(settings)?;
    if stop.requested() {
        return Err(CliError::Interrupted(
            "interrupted; the figures are those of the time until then".to_owned(),
        ));
    }
    report.verdict()
}

struct Senders {
    producers: Vec<Arc<ThreadedProducer<Tally>>>,
    end: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Total {
    records: u64,
    bytes: u64,
    latency: Histogram,
    errors: BTreeMap<String, u64>,
}

impl Senders {
    fn start(settings: &Settings, args: &ProduceArgs, acks: Acks) -> Result<Senders, CliError> {
        let connections = u64::from(args.connections);
        let size = usize::try_from(args.size).unwrap_or(usize::MAX);
        let payload = Arc::new(Payload::new(args.fill, size));
        let end = Arc::new(AtomicBool::new(false));
        let epoch = clock::now();
        let mut senders = Senders { producers: Vec::new(), end: end.clone(), threads: Vec::new() };
        for _ in 0..connections {
            let producer = producer(settings, args, acks, Tally::new(settings, epoch))?;
            senders.producers.push(Arc::new(producer));
        }
        for (at, producer) in senders.producers.iter().enumerate() {
            let at = at as u64;
            // The remainder of a division goes to the first ones.
            let share = |all: u64| all / connections + u64::from(at < all % connections);
            let work = Work {
                producer: producer.clone(),
                payload: payload.clone(),
                end: end.clone(),
                topic: args.topic.clone(),
                records: args.records.map(share),
                pace: args.rate.map(|rate| (rate, connections, at)),
                keys: args.keys,
                step: (at, connections),
            };
            senders.threads.push(clock::spawn(move || work.run()));
        }
        Ok(senders)
    }

    fn sum(&self) -> (u64, u64) {
        let each = self.producers.iter().map(|producer| {
            let counts = producer.context().counts();
            (counts.records, counts.bytes)
        });
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// The median and the 99th percentile since the last time.
    fn recent(&self) -> Option<(u64, u64)> {
        let mut recent = Histogram::default();
        for producer in &self.producers {
            recent.add(&std::mem::take(&mut producer.context().counts().recent));
        }
        (recent.count() > 0).then(|| (recent.at(500), recent.at(990)))
    }

    /// Until the run is over; gives the seconds that were measured.
    fn watch(&self, args: &ProduceArgs, live: &mut Live, stop: &Stop) -> f64 {
        let mut began = clock::now();
        let warm_up = Duration::from_secs(if args.records.is_some() { 0 } else { args.warm_up });
        let time = Duration::from_secs(args.seconds);
        let mut warm = warm_up.is_zero();
        while !stop.requested() {
            clock::pause(Duration::from_millis(50));
            if !warm && began.elapsed() < warm_up {
                live.warming();
                continue;
            }
            if !warm {
                self.producers.iter().for_each(|producer| producer.context().restart());
                live.restart();
                (began, warm) = (clock::now(), true);
            }
            let (records, bytes) = self.sum();
            live.show(records, bytes, || self.recent());
            let sent = self.threads.iter().all(std::thread::JoinHandle::is_finished);
            let all_sent = sent && self.producers.iter().all(|producer| producer.in_flight_count() == 0);
            if all_sent || (args.records.is_none() && began.elapsed() >= time) {
                break;
            }
        }
        self.end.store(true, Ordering::Relaxed);
        self.producers.iter().for_each(|producer| producer.context().counts().closed = true);
        began.elapsed().as_secs_f64()
    }

    /// Waits for what is under way, so that its errors are known.
    fn drain(&self, stop: &Stop) {
        let began = clock::now();
        let under_way = || self.producers.iter().any(|producer| producer.in_flight_count() > 0);
        while under_way() && began.elapsed() < DRAIN {
            if stop.requested() {
                for producer in &self.producers {
                    producer.context().counts().given_up = true;
                    producer.purge(PurgeConfig::default().queue().inflight());
                }
                return;
            }
            clock::pause(Duration::from_millis(20));
        }
    }

    fn total(&self) -> Total {
        let mut total = Total::default();
        for producer in &self.producers {
            let counts = producer.context().counts();
            total.records += counts.records;
            total.bytes += counts.bytes;
            total.latency.add(&counts.latency);
            for (reason, count) in &counts.errors {
                *total.errors.entry(reason.clone()).or_default() += count;
            }
        }
        total
    }
}

fn producer(
    settings: &Settings,
    args: &ProduceArgs,
    acks: Acks,
    tally: Tally,
) -> Result<ThreadedProducer<Tally>, CliError> {
    let bytes_max = (u64::from(args.size) + 4096).max(1_000_000).to_string();
    let sizes = [
        ("message.max.bytes", bytes_max.as_str()),
        ("queue.buffering.max.messages", "100000"),
        ("queue.buffering.max.kbytes", "65536"),
    ];
    batching(settings, (acks, None), args.compression, &sizes, tally)
}

/// One sending thread.
struct Work {
    producer: Arc<ThreadedProducer<Tally>>,
    payload: Arc<Payload>,
    end: Arc<AtomicBool>,
    topic: String,
    records: Option<u64>,
    /// Records a second of all, how many threads there are, and which one this is.
    pace: Option<(u64, u64, u64)>,
    keys: Option<u64>,
    /// The first record's number, and how far the next one is.
    step: (u64, u64),
}

/// When record `n` of a thread is due, in microseconds since its start: the threads take turns.
fn due((rate, threads, at): (u64, u64, u64), n: u64) -> u64 {
    let place = u128::from(n) * u128::from(threads) + u128::from(at);
    u64::try_from(place * 1_000_000 / u128::from(rate)).unwrap_or(u64::MAX)
}

impl Work {
    fn run(&self) {
        let tally = self.producer.context();
        let start = tally.now();
        let mut n = 0;
        while !self.end.load(Ordering::Relaxed) && self.records.is_none_or(|records| n < records) {
            let mut began = tally.now();
            if let Some(pace) = self.pace {
                let due = start.saturating_add(due(pace, n));
                if due > began.saturating_add(500) {
                    clock::pause(Duration::from_micros((due - began).min(50_000)));
                    continue;
                }
                began = began.min(due);
            }
            let number = self.step.0 + n * self.step.1;
            let key = self.keys.map(|keys| format!("key-{}", number % keys));
            self.send(key.as_deref(), number, began);
            n += 1;
        }
    }

    fn send(&self, key: Option<&str>, number: u64, due: u64) {
        let due = usize::try_from(due).unwrap_or(usize::MAX);
        let mut record = BaseRecord::<str, [u8], usize>::with_opaque_to(&self.topic, due)
            .payload(self.payload.record(number));
        record.key = key;
        loop {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    if self.end.load(Ordering::Relaxed) {
                        return;
                    }
                    clock::pause(Duration::from_millis(1));
                    record = back;
                }
                Err((error, _)) => return self.producer.context().refused(&error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::due;

    #[test]
    fn threads_take_turns_at_the_asked_rate() {
        let mut all: Vec<u64> = (0..3).flat_map(|at| (0..100).map(move |n| due((1000, 3, at), n))).collect();
        all.sort_unstable();
        assert_eq!(all, (0..300).map(|n| n * 1000).collect::<Vec<u64>>());
    }
}
