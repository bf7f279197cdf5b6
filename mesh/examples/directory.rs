//! The Kademlia directory of the product's own transports, over loopback, at several sizes:
//! `cargo run --release -p mesh --example directory -- [--nodes 10,50] [--lookups 400]`.
//!
//! For each size a mesh is opened twice. Every node publishes three hints; then random nodes look random keys up: with everybody
//! there, with a fifth of the nodes gone (their sockets close), and with a fifth hung (their sockets stay open, the kernel goes
//! on taking connections, and nobody answers, as after SIGSTOP). After a failure the survivors publish newer hints for what the
//! lost nodes led, and the lookups must find these.
//!
//! Judged: each lookup returns the newest hint, and ends within 2 + ceil(log2(n/20)) rounds. Exits with 1 if one does not.

use libp2p::PeerId;
use libp2p::identity::Keypair;
use mesh::directory::{Hint, partition_key};
use mesh::transport::{Event, FULL_MESH_OTHERS_MAX, HopResult, Lookup, Transport, TransportConfig};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

const SECRET: [u8; 32] = [7; 32];
const CLUSTER: [u8; 32] = [9; 32];
const KEYS_EACH: usize = 3;
/// Lookups under way at a time, all nodes together.
const AT_A_TIME: usize = 16;
/// Nodes that publish at a time.
const PUBLISH_AT_A_TIME: usize = 8;
/// One of so many nodes is lost.
const LOST: usize = 5;

/// A node, and the task that takes its events.
struct Node {
    transport: Transport,
    live: Arc<AtomicUsize>,
    events: AbortHandle,
}

async fn start() -> Node {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = TransportConfig::new(Keypair::generate_ed25519(), listen, SECRET);
    config.cluster = Some(CLUSTER);
    let (transport, mut events) = Transport::start(config).await.expect("loopback can be listened on");
    let live = Arc::new(AtomicUsize::new(0));
    let count = live.clone();
    let task = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                Event::Connected { .. } => _ = count.fetch_add(1, Ordering::Relaxed),
                Event::Disconnected { .. } | Event::Parted { .. } => {
                    _ = count.fetch_sub(1, Ordering::Relaxed)
                }
                Event::Frame { .. } | Event::Refused { .. } => {}
            }
        }
    });
    Node { transport, live, events: task.abort_handle() }
}

/// One mesh. Its last fifth lives on a runtime of one thread, which can be made to stand still.
struct Mesh {
    nodes: Vec<Node>,
    /// Who leads each key, and in which term.
    led: Vec<(usize, u32)>,
    frail: Runtime,
    release: Option<mpsc::Sender<()>>,
}

fn key(at: usize) -> [u8; 32] {
    partition_key(&[at.to_le_bytes()[0]; 16], i32::try_from(at).expect("few keys"))
}

impl Mesh {
    async fn open(size: usize) -> Mesh {
        let frail = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let mut nodes = Vec::new();
        for at in 0..size {
            let node = match at < size - size / LOST {
                true => tokio::spawn(start()),
                false => frail.spawn(start()),
            };
            nodes.push(node.await.expect("it starts"));
        }
        let registry: Vec<(PeerId, Vec<String>)> = nodes
            .iter()
            .map(|node| (node.transport.local_peer(), vec![node.transport.advertised().to_owned()]))
            .collect();
        nodes.iter().for_each(|node| node.transport.allow(registry.clone(), Vec::new()));
        // A small mesh is full; in a large one there is nothing to wait for.
        let others = if size - 1 > FULL_MESH_OTHERS_MAX { 0 } else { size - 1 };
        while nodes.iter().any(|node| node.live.load(Ordering::Relaxed) < others) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let led = (0..size * KEYS_EACH).map(|at| (at % size, 1)).collect();
        Mesh { nodes, led, frail, release: None }
    }

    /// The nodes that are not lost.
    fn sound(&self) -> usize {
        self.nodes.len() - self.nodes.len() / LOST
    }

    fn hint(&self, at: usize) -> Hint {
        let (leader, term) = self.led[at];
        let addresses = vec![self.nodes[leader].transport.advertised().to_owned()];
        let leader = i32::try_from(leader).expect("few nodes");
        Hint { epoch: 1, term, leader, expires_ms: u64::MAX, replicas: vec![leader], addresses }
    }

    /// Each leader publishes those of `keys` that it leads; a few leaders at a time, for all of them share this machine's cores.
    async fn publish(&self, keys: impl Iterator<Item = usize>) {
        let mut tasks = JoinSet::new();
        let mut by_leader = vec![Vec::new(); self.nodes.len()];
        keys.for_each(|at| by_leader[self.led[at].0].push((key(at), self.hint(at))));
        for (leader, hints) in by_leader.into_iter().enumerate().filter(|(_, hints)| !hints.is_empty()) {
            if tasks.len() >= PUBLISH_AT_A_TIME {
                tasks.join_next().await;
            }
            let transport = self.nodes[leader].transport.clone();
            tasks.spawn(async move {
                for (key, hint) in hints {
                    transport.publish_hint(key, &hint).await;
                }
                transport.settled().await;
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// The lost fifth's sockets close.
    fn lose(&self) {
        self.nodes[self.sound()..].iter().for_each(|node| node.events.abort());
    }

    /// The lost fifth stands still.
    fn hang(&mut self) {
        let (release, released) = mpsc::channel();
        self.frail.spawn(async move {
            let _ended = released.recv();
        });
        self.release = Some(release);
    }

    /// The survivors lead what the lost fifth led.
    fn fail_over(&mut self) -> Vec<usize> {
        let sound = self.sound();
        let moved: Vec<usize> = (0..self.led.len()).filter(|at| self.led[*at].0 >= sound).collect();
        moved.iter().for_each(|at| self.led[*at] = ((self.led[*at].0 + at) % sound, 2));
        moved
    }

    fn close(mut self) -> (usize, usize) {
        let mut live: Vec<usize> =
            self.nodes[..self.sound()].iter().map(|node| node.live.load(Ordering::Relaxed)).collect();
        live.sort_unstable();
        self.release = None;
        self.nodes.iter().for_each(|node| node.events.abort());
        self.frail.shutdown_background();
        (live[live.len() / 2], live[live.len() - 1])
    }
}

/// A row of figures: median, p99, max.
fn spread<T: Copy + Ord>(mut all: Vec<T>) -> [T; 3] {
    all.sort_unstable();
    [all[all.len() / 2], all[all.len() * 99 / 100], all[all.len() - 1]]
}

/// Draws numbers; the same ones in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

fn rounds_max(size: usize) -> u32 {
    let mut rounds = 2;
    let mut reach = 20;
    while reach < size {
        (rounds, reach) = (rounds + 1, reach * 2);
    }
    rounds
}

/// Looks up and prints a row; whether all was well.
async fn look(mesh: &Mesh, what: &str, lookups: usize, keys: &[usize], draw: &mut Draw) -> bool {
    let began = Instant::now();
    let results: Arc<Mutex<Vec<(Lookup, Duration, bool)>>> = Arc::default();
    let mut tasks = JoinSet::new();
    for _ in 0..lookups {
        if tasks.len() >= AT_A_TIME {
            tasks.join_next().await;
        }
        let (at, by) = (keys[draw.below(keys.len())], draw.below(mesh.sound()));
        let (transport, wanted, results) = (mesh.nodes[by].transport.clone(), mesh.hint(at), results.clone());
        tasks.spawn(async move {
            let began = Instant::now();
            let found = transport.lookup(key(at)).await;
            let right = found.value.as_ref() == Some(&wanted);
            results.lock().expect("nobody panics").push((found, began.elapsed(), right));
        });
    }
    while tasks.join_next().await.is_some() {}
    let took = began.elapsed();
    let results = std::mem::take(&mut *results.lock().expect("nobody panics"));
    let [rounds, hops, ms] = [
        spread(results.iter().map(|(found, ..)| u128::from(found.rounds())).collect()),
        spread(results.iter().map(|(found, ..)| found.hops.len() as u128).collect()),
        spread(results.iter().map(|(_, took, _)| took.as_millis()).collect()),
    ];
    let silent: BTreeSet<PeerId> = results
        .iter()
        .flat_map(|(found, ..)| found.hops.iter())
        .filter(|hop| hop.result == HopResult::Timeout)
        .map(|hop| hop.peer)
        .collect();
    let wrong = results.iter().filter(|(.., right)| !right).count();
    let bound = rounds_max(mesh.nodes.len());
    let none = results.iter().filter(|(found, ..)| found.value.is_none()).count();
    let late = results.iter().filter(|(found, ..)| found.rounds() > bound).count();
    let column = |[median, p99, max]: [u128; 3]| format!("{median:>5}{p99:>6}{max:>6}");
    println!(
        "  {what:<34}{:>7}  {}  {}  {}  {:>7.1} s   {}",
        results.len(),
        column(rounds),
        column(hops),
        column(ms),
        took.as_secs_f64(),
        if wrong + late == 0 { "ok" } else { "WRONG" }
    );
    if !silent.is_empty() {
        println!("  {:<34}{} peers did not answer somebody", "", silent.len());
    }
    if wrong > 0 {
        println!("  WRONG: {wrong} lookups did not return the newest hint, {none} of them none");
    }
    if late > 0 {
        println!("  WRONG: {late} lookups took more than {bound} rounds");
    }
    wrong + late == 0
}

async fn measure(size: usize, lookups: usize) -> bool {
    println!(
        "{size} nodes, {} lost, {} keys; at most {} rounds",
        size / LOST,
        size * KEYS_EACH,
        rounds_max(size)
    );
    println!(
        "  {:<34}{:>7}  {:<17}  {:<17}  {:<17}",
        "", "lookups", "rounds: med p99 max", "peers: med p99 max", "ms: med p99 max"
    );
    let mut draw = Draw(u64::try_from(size).expect("few"));
    let mut well = true;
    for (loss, hang) in [("gone", false), ("hung", true)] {
        let began = Instant::now();
        let mut mesh = Mesh::open(size).await;
        let all: Vec<usize> = (0..mesh.led.len()).collect();
        mesh.publish(0..mesh.led.len()).await;
        println!("  opened and published in {:.1} s", began.elapsed().as_secs_f64());
        if !hang {
            well &= look(&mesh, "everybody there", lookups, &all, &mut draw).await;
        }
        if hang {
            mesh.hang()
        } else {
            mesh.lose()
        }
        well &= look(&mesh, &format!("a fifth {loss}"), lookups, &all, &mut draw).await;
        let moved = mesh.fail_over();
        let began = Instant::now();
        mesh.publish(moved.iter().copied()).await;
        println!("  {} published anew by others in {:.1} s", moved.len(), began.elapsed().as_secs_f64());
        let what = format!("a fifth {loss}, what they led");
        well &= look(&mesh, &what, lookups / 4, &moved, &mut draw).await;
        well &= look(&mesh, &format!("a fifth {loss}, all"), lookups, &all, &mut draw).await;
        let (median, max) = mesh.close();
        println!("  connections of a node: median {median}, at most {max}");
    }
    println!("RESULT directory, {size} nodes: {}", if well { "passed" } else { "FAILED" });
    well
}

fn argument(name: &str, otherwise: &str) -> String {
    let given: Vec<String> = std::env::args().collect();
    let at = given.iter().position(|argument| argument == name);
    at.and_then(|at| given.get(at + 1)).map_or_else(|| otherwise.to_owned(), Clone::clone)
}

fn main() -> ExitCode {
    let sizes: Result<Vec<usize>, _> =
        argument("--nodes", "10,50,100,200").split(',').map(str::parse).collect();
    let (Ok(sizes), Ok(lookups)) = (sizes, argument("--lookups", "400").parse::<usize>()) else {
        eprintln!("directory: --nodes takes numbers with commas between, --lookups a number");
        return ExitCode::from(2);
    };
    if sizes.iter().any(|size| *size < LOST) || lookups < 4 {
        eprintln!("directory: at least {LOST} nodes and 4 lookups");
        return ExitCode::from(2);
    }
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut well = true;
    for size in sizes {
        well &= runtime.block_on(measure(size, lookups));
    }
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
