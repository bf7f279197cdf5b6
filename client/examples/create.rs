//! Creates a topic, and looks up which node leads each of its partitions.
//!
//! `cargo run --release -p client --example create -- 127.0.0.1:9092 greetings [HTTP_HOST:PORT]`

use rafka::http::Key;
use rafka::{Mesh, NewTopic};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut mesh = Mesh::at(arguments.next().ok_or("which mesh? HOST:PORT[,..]")?);
    let name = arguments.next().ok_or("which topic?")?;
    if let Some(http) = arguments.next() {
        mesh = mesh.http(http);
    }

    let new = NewTopic::named(&name).partitions(3).config("retention.ms", "86400000");
    match mesh.create_topic(&new) {
        Ok(topic) => println!("created {name} with {} partitions", topic.partitions.len()),
        // Somebody else was quicker, or this is the second run.
        Err(error) if error.is_known_topic() => println!("there is a topic {name} already"),
        Err(error) => return Err(error.into()),
    }

    for partition in mesh.describe_topic(&name)?.partitions {
        let number = u32::try_from(partition.partition)?;
        let found = mesh.lookup(Key::Partition(&name, number))?;
        let leader = found.leader().ok_or("it has no leader at the moment")?;
        println!("{}: led by node {leader}, replicas {:?}", found.key, partition.replicas);
    }
    Ok(())
}
