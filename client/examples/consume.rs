//! Reads a topic from its beginning to where it ends now, by assignment, without a consumer group.
//!
//! `cargo run --release -p client --example consume -- 127.0.0.1:9092 greetings`

use rafka::Mesh;
use rafka::rdkafka::Message;
use rafka::reader::Start;
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mesh = Mesh::at(arguments.next().ok_or("which mesh? HOST:PORT[,..]")?);
    let topic = arguments.next().ok_or("which topic?")?;

    let mut reader = mesh.reader(&topic, Start::Earliest)?;
    let mut records = 0;
    // To follow the topic, go on for ever instead.
    while !reader.caught_up() {
        // A leader that moves is no error: records are late then, and none is missing.
        let Some(record) = reader.poll(Duration::from_millis(100))? else { continue };
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"null")).into_owned();
        let (partition, offset) = (record.partition(), record.offset());
        println!("{partition}/{offset} {} = {}", text(record.key()), text(record.payload()));
        records += 1;
    }
    println!("{records} records from {} partitions", reader.spans().len());
    Ok(())
}
