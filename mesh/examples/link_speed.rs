//! Prints how fast one transport hands 64 KiB frames to another over loopback, against a plain TCP connection
//! in the same process: `cargo run --release -p mesh --example link_speed`.

use bytes::Bytes;
use libp2p::identity::Keypair;
use mesh::transport::{Event, StreamClass, Transport, TransportConfig};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;

const FRAME_BYTES: usize = 64 << 10;
const TOTAL_BYTES: usize = 1 << 30;
const FRAMES: usize = TOTAL_BYTES / FRAME_BYTES;

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn report(name: &str, wall: Duration, cpu: Duration) -> f64 {
    let rate = TOTAL_BYTES as f64 / wall.as_secs_f64() / 1e6;
    let per_gb = cpu.as_secs_f64() / (TOTAL_BYTES as f64 / 1e9);
    println!("{name:<28} {rate:>8.0} MB/s  {per_gb:>6.2} CPU-s per GB");
    rate
}

async fn start() -> (Transport, Receiver<Event>) {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = TransportConfig::new(Keypair::generate_ed25519(), listen, [1; 32]);
    Transport::start(config).await.expect("loopback can be listened on")
}

#[expect(clippy::disallowed_methods, reason = "a measurement")]
async fn mesh() -> (Duration, Duration) {
    let (a, mut from_a) = start().await;
    let (b, mut from_b) = start().await;
    a.dial(b.advertised().into());
    while !matches!(from_a.recv().await, Some(Event::Connected { .. })) {}
    let (began, cpu_before) = (Instant::now(), cpu());
    let to = b.local_peer();
    let sender = tokio::spawn(async move {
        let frame = Bytes::from(vec![7; FRAME_BYTES]);
        let mut sent = 0;
        while sent < FRAMES {
            if a.send(to, StreamClass::Replication, frame.clone()) {
                sent += 1;
            } else {
                tokio::task::yield_now().await;
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        }
        (a, from_a)
    });
    let mut received = 0;
    while received < FRAMES {
        if let Some(Event::Frame { .. }) = from_b.recv().await {
            received += 1;
        }
    }
    let figures = (began.elapsed(), cpu() - cpu_before);
    let _ = sender.await;
    figures
}

#[expect(clippy::disallowed_methods, reason = "a measurement")]
async fn tcp() -> std::io::Result<(Duration, Duration)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut client = TcpStream::connect(listener.local_addr()?).await?;
    let (mut server, _) = listener.accept().await?;
    let (began, cpu_before) = (Instant::now(), cpu());
    tokio::spawn(async move {
        let frame = vec![7; FRAME_BYTES];
        for _ in 0..FRAMES {
            if client.write_all(&frame).await.is_err() {
                return;
            }
        }
    });
    for _ in 0..FRAMES {
        let mut frame = vec![0; FRAME_BYTES];
        server.read_exact(&mut frame).await?;
    }
    Ok((began.elapsed(), cpu() - cpu_before))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (wall, used) = tcp().await?;
    let plain = report("plain TCP", wall, used);
    let (wall, used) = mesh().await;
    let rate = report("mesh, replication stream", wall, used);
    println!("ratio to plain TCP {:.2}", rate / plain);
    Ok(())
}
