//! rskafka; what a client program does is told in ../../README.md. It has no partitioner and no producer over partitions: here each
//! partition has a task that writes one record at a time, chosen by the key.
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use rskafka::client::consumer::{StartOffset, StreamConsumerBuilder};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

type Failure = Box<dyn std::error::Error>;

fn about() -> String {
    let lock = include_str!("../Cargo.lock");
    let version =
        lock.split("name = \"rskafka\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    format!(r#""client": "rskafka", "version": "{}""#, version.unwrap_or("?"))
}

async fn write(client: PartitionClient, mut queue: mpsc::UnboundedReceiver<(u32, Record)>) -> (u32, u32) {
    let (mut acknowledged, mut failed) = (0, 0);
    while let Some((n, record)) = queue.recv().await {
        match client.produce(vec![record], Compression::default()).await {
            Ok(offsets) => {
                acknowledged += 1;
                println!("ack {n} {} {}", client.partition(), offsets[0]);
            }
            Err(error) => {
                failed += 1;
                println!("failed {n} {error}");
            }
        }
    }
    (acknowledged, failed)
}

async fn produce(client: &Client, topic: &str, partitions: u32, numbers: [u32; 3]) -> Result<(), Failure> {
    let [producer_number, count, rate] = numbers;
    let (mut queues, mut tasks) = (Vec::new(), Vec::new());
    for p in 0..partitions {
        let (sender, receiver) = mpsc::unbounded_channel();
        queues.push(sender);
        let partition = client.partition_client(topic, p.try_into()?, UnknownTopicHandling::Retry).await?;
        tasks.push(tokio::spawn(write(partition, receiver)));
    }
    let begin = Instant::now();
    for n in 0..count {
        sleep_until(begin + Duration::from_secs(1) * n / rate).await;
        let key = (n % 24).to_string();
        let value = format!("{producer_number}:{key}:{n}:{}", "x".repeat(100));
        let (key, value) = (Some(key.into_bytes()), Some(value.into_bytes()));
        let record = Record { key, value, headers: BTreeMap::new(), timestamp: chrono::Utc::now() };
        queues[(n % 24 % partitions) as usize].send((n, record))?;
    }
    drop(queues);
    let (mut acknowledged, mut failed) = (0, 0);
    for task in tasks {
        let (good, bad) = task.await?;
        acknowledged += good;
        failed += bad;
    }
    println!(r#"{{{}, "sent": {count}, "acknowledged": {acknowledged}, "failed": {failed}}}"#, about());
    Ok(())
}

async fn consume(client: &Client, topic: &str, partitions: u32, count: usize) -> Result<(), Failure> {
    let mut streams = Vec::new();
    for p in 0..partitions {
        let partition = client.partition_client(topic, p.try_into()?, UnknownTopicHandling::Retry).await?;
        let stream = StreamConsumerBuilder::new(Arc::new(partition), StartOffset::Earliest).build();
        streams.push(stream.map(move |found| (p, found)));
    }
    let (mut all, mut seen, mut consumed) = (select_all(streams), HashSet::new(), 0);
    while seen.len() < count {
        match all.next().await.ok_or("the streams have ended")? {
            (_, Err(error)) => println!("error {error}"),
            (p, Ok((found, _))) => {
                let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default());
                let (key, value) = (text(found.record.key)?, text(found.record.value)?);
                println!("record {p} {} {key} {value}", found.offset);
                seen.insert(value);
                consumed += 1;
            }
        }
    }
    println!(r#"{{{}, "consumed": {consumed}}}"#, about());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |i: usize| arguments[i].parse::<u32>();
    let client = ClientBuilder::new(arguments[2].split(',').map(str::to_owned).collect()).build().await?;
    match arguments[1].as_str() {
        "produce" => produce(&client, &arguments[3], number(4)?, [number(5)?, number(6)?, number(7)?]).await,
        _ => consume(&client, &arguments[3], number(4)?, arguments[5].parse()?).await,
    }
}
