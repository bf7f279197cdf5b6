//! Watches a mesh: its nodes, and what is wrong with it, until somebody interrupts it or so many looks are over.
//!
//! `cargo run --release -p client --example doctor -- 127.0.0.1:9092 [LOOKS [HTTP_HOST:PORT]]`

use rafka::{Mesh, doctor};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut mesh = Mesh::at(arguments.next().ok_or("which mesh? HOST:PORT[,..]")?);
    let looks: usize = arguments.next().map_or(Ok(usize::MAX), |text| text.parse())?;
    if let Some(http) = arguments.next() {
        mesh = mesh.http(http);
    }

    for look in 0..looks {
        if look > 0 {
            std::thread::park_timeout(std::time::Duration::from_secs(5));
        }
        match mesh.nodes() {
            Ok(seen) => {
                for node in &seen.nodes {
                    let state = if node.up { "up" } else { "down" };
                    println!("node {} at {}: {state}, leads {}", node.node_id, node.kafka, node.leads);
                }
            }
            // Another node may know more: the doctor asks them all.
            Err(error) => println!("{error}"),
        }
        let diagnosis = doctor::examine(&mesh);
        for finding in &diagnosis.findings {
            let age = finding.age().map(|age| format!(", for {age}")).unwrap_or_default();
            println!("{}: {}{age}. {}", finding.severity, finding.what, finding.advice);
        }
        let verdict = if diagnosis.is_healthy() { "healthy" } else { "not healthy" };
        println!("{verdict}: {}", diagnosis.looked_at);
    }
    Ok(())
}
