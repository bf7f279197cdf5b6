//! Writes ten records with keys, all under way at the same time, and tells where each one is.
//!
//! `cargo run --release -p client --example produce -- 127.0.0.1:9092 greetings`

use futures::future::join_all;
use rafka::Mesh;
use rafka::rdkafka::producer::FutureRecord;
use rafka::rdkafka::util::Timeout;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mesh = Mesh::at(arguments.next().ok_or("which mesh? HOST:PORT[,..]")?);
    let topic = arguments.next().ok_or("which topic?")?;

    let producer = mesh.producer()?;
    let records = (0..10).map(|number| (format!("key-{number}"), format!("hello {number}")));
    let written = join_all(records.map(|(key, value)| {
        let (producer, topic) = (producer.clone(), topic.clone());
        async move {
            let record = FutureRecord::to(&topic).key(&key).payload(&value);
            // Whoever is acknowledged is on the disks of a majority; an error says whether the record may be there too.
            let place = producer.send(record, Timeout::Never).await.map_err(rafka::Error::from)?;
            Ok::<_, rafka::Error>(format!("{key}: partition {}, offset {}", place.partition, place.offset))
        }
    }))
    .await;

    let mut lost = 0;
    for record in written {
        match record {
            Ok(place) => println!("{place}"),
            Err(error) => {
                eprintln!("{error}");
                lost += 1;
            }
        }
    }
    println!("{} of 10 acknowledged", 10 - lost);
    if lost == 0 { Ok(()) } else { Err("not all were acknowledged".into()) }
}
