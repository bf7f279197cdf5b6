//! The `rdkafka` crate (librdkafka in Rust); what a client program does is told in ../../README.md.
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

type Failure = Box<dyn std::error::Error>;

#[derive(Default)]
struct Told {
    acknowledged: AtomicU32,
    failed: AtomicU32,
}

impl ClientContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, n: usize) {
        match result {
            Ok(m) => {
                self.acknowledged.fetch_add(1, Relaxed);
                println!("ack {n} {} {}", m.partition(), m.offset());
            }
            Err((error, _)) => {
                self.failed.fetch_add(1, Relaxed);
                println!("failed {n} {error}");
            }
        }
    }
}

fn about() -> String {
    let lock = include_str!("../Cargo.lock");
    let version =
        lock.split("name = \"rdkafka\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    let library = rdkafka::util::get_rdkafka_version().1;
    format!(r#""client": "rdkafka", "version": "{} (librdkafka {library})""#, version.unwrap_or("?"))
}

fn produce(
    config: &ClientConfig,
    topic: &str,
    producer_number: u32,
    count: u32,
    rate: u32,
) -> Result<(), Failure> {
    let producer: ThreadedProducer<Told> = config.create_with_context(Told::default())?;
    let begin = Instant::now();
    for n in 0..count {
        sleep((begin + Duration::from_secs(1) * n / rate).saturating_duration_since(Instant::now()));
        let key = (n % 24).to_string();
        let value = format!("{producer_number}:{key}:{n}:{}", "x".repeat(100));
        let record = BaseRecord::with_opaque_to(topic, n as usize).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(1000))?;
    let told = producer.context();
    let (acknowledged, failed) = (told.acknowledged.load(Relaxed), told.failed.load(Relaxed));
    println!(r#"{{{}, "sent": {count}, "acknowledged": {acknowledged}, "failed": {failed}}}"#, about());
    Ok(())
}

fn consume(config: &mut ClientConfig, topic: &str, partitions: i32, count: usize) -> Result<(), Failure> {
    // librdkafka insists on a group's name, which nothing uses here, and would commit to it.
    let consumer: BaseConsumer =
        config.set("group.id", "unused").set("enable.auto.commit", "false").create()?;
    let mut all = TopicPartitionList::new();
    all.add_partition_range(topic, 0, partitions - 1);
    all.set_all_offsets(Offset::Beginning)?;
    consumer.assign(&all)?;
    let (mut seen, mut consumed) = (HashSet::new(), 0);
    while seen.len() < count {
        match consumer.poll(Duration::from_secs(1)) {
            None => {}
            Some(Err(error)) => println!("error {error}"),
            Some(Ok(m)) => {
                let (key, value) =
                    (m.key_view::<str>().ok_or("no key")??, m.payload_view::<str>().ok_or("no value")??);
                println!("record {} {} {key} {value}", m.partition(), m.offset());
                seen.insert(value.to_owned());
                consumed += 1;
            }
        }
    }
    println!(r#"{{{}, "consumed": {consumed}}}"#, about());
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |i: usize| arguments[i].parse::<u32>();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &arguments[2]);
    match arguments[1].as_str() {
        "produce" => produce(&config, &arguments[3], number(5)?, number(6)?, number(7)?),
        _ => consume(&mut config, &arguments[3], arguments[4].parse()?, arguments[5].parse()?),
    }
}
