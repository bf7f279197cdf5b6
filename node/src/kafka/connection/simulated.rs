//! Clients on simulated streams, all drawn from a seed: requests cut into chunks anywhere, streams cut in the middle of a
//! frame, flipped bits, clients that read slowly or never, and a node that answers late and out of order.
//!
//! Time is virtual and nothing is drawn but from the seed, so that a failing seed fails again.

mod client;
mod node;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::task::JoinHandle;

use super::*;
use client::Client;
use node::{Bounds, Node};
use plan::{Draw, Manner, Plan};

const SEEDS: u64 = 500;
/// Longer than any of [`Limits`]' timeouts, so that whoever waits for this connection is let go.
const PATIENCE: Duration = Duration::from_secs(700);
/// No run takes longer.
const RUN: Duration = Duration::from_secs(4 * 3600);

/// What the run has seen.
#[derive(Default)]
struct Seen {
    transcript: Vec<String>,
    /// The first thing that must not be.
    wrong: Option<String>,
    /// Connections that were served to their end.
    ended: BTreeSet<u16>,
    /// Connections on which the node itself gave up or refused a request.
    spoiled: BTreeSet<u16>,
}

#[derive(Clone)]
struct World {
    seen: Arc<Mutex<Seen>>,
    began: Instant,
}

impl World {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, connection: u16, what: &str) {
        let at = self.began.elapsed().as_millis();
        self.seen().transcript.push(format!("{at} ms, connection {connection}: {what}"));
    }

    fn wrong(&self, connection: u16, what: String) {
        self.tell(connection, &what);
        self.seen().wrong.get_or_insert(format!("connection {connection}: {what}"));
    }
}

/// One seed: its transcript, or what was wrong.
async fn run(seed: u64) -> Result<Vec<String>, String> {
    let mut draw = Draw::of(seed, 0);
    let bounds = Bounds {
        connection_requests: draw.pick(&[2, 3, 5, 64]),
        connection_bytes: draw.pick(&[100, 600, 1 << 20]),
        node_calls: draw.pick(&[1, 4, 64]),
        node_bytes: draw.pick(&[200, 1_000, 1 << 30]),
    };
    let (handle, inbox) = NodeHandle::new(bounds.node_calls, bounds.node_bytes, 1 << 30);
    let limits = Limits {
        request_bytes_max: 10_000,
        connection_requests_max: bounds.connection_requests,
        connection_bytes_max: bounds.connection_bytes,
        ..Limits::default()
    };
    let shared = super::tests::shared(handle, limits);
    let world = World { seen: Arc::default(), began: Instant::now() };
    let plans: Vec<Plan> =
        (0..1 + draw.below(5)).map(|n| plan::plan(&mut draw, u32::try_from(n).unwrap() + 1)).collect();
    let node = Node {
        draw: Draw::of(seed, 2),
        bounds,
        world: world.clone(),
        held: Vec::new(),
        order: 0,
        garbage: (1..)
            .zip(&plans)
            .filter(|(_, plan)| plan.manner == Manner::Garbage)
            .map(|(n, _)| n)
            .collect(),
        frames: plans.iter().flat_map(plan::tagged).collect(),
    };
    let node = tokio::spawn(node.run(inbox));
    let stops = draw.percent(15).then(|| draw.millis(5_000));
    let mut running = Vec::new();
    for (connection, plan) in (1_u16..).zip(plans) {
        running.push(connect(connection, plan, &mut draw, &world, &shared));
    }
    if let Some(after) = stops {
        sleep(after).await;
        shared.stop.cancel();
    }
    timeout(RUN, judge(running, &world, stops.is_some()))
        .await
        .map_err(|_elapsed| "it hangs".to_owned())??;
    let given_back = shared.handle.reserve(0, bounds.node_bytes);
    if timeout(Duration::ZERO, given_back).await.is_err() {
        return Err("bytes are held by nobody".into());
    }
    if shared.metrics.connections.load(Relaxed) != 0 {
        return Err("connections are counted that are closed".into());
    }
    drop(shared);
    let left = node.await.map_err(|error| error.to_string())?;
    if left.iter().any(|held| !held.call.reply.is_closed()) {
        return Err("calls are left at the node that nobody cancelled".into());
    }
    let mut seen = world.seen();
    match seen.wrong.take() {
        Some(wrong) => Err(wrong),
        None => Ok(std::mem::take(&mut seen.transcript)),
    }
}

struct Running {
    connection: u16,
    manner: Manner,
    expected: usize,
    client: JoinHandle<usize>,
    served: JoinHandle<End>,
}

fn connect(connection: u16, plan: Plan, draw: &mut Draw, world: &World, shared: &Shared) -> Running {
    let (stream, served) = tokio::io::duplex(draw.pick(&[1, 7, 64, 4096]));
    let (manner, expected) = (plan.manner, plan.expected.len());
    world.tell(connection, &format!("opens: {manner:?}, {} bytes, {expected} responses", plan.stream.len()));
    let client = Client { plan, draw: Draw(draw.next()), world: world.clone(), connection };
    let (ends, shared) = (world.clone(), shared.clone());
    let served = tokio::spawn(async move {
        let address = SocketAddr::from(([127, 0, 0, 1], connection));
        let end = serve_connection(served, address, &shared).await;
        ends.seen().ended.insert(connection);
        ends.tell(connection, &format!("ends: {end}"));
        end
    });
    Running { connection, manner, expected, client: tokio::spawn(client.run(stream)), served }
}

/// Waits for every connection, and looks at how it ended.
async fn judge(running: Vec<Running>, world: &World, stops: bool) -> Result<(), String> {
    for Running { connection, manner, expected, client, served } in running {
        let got = client.await.map_err(|error| format!("connection {connection}: {error}"))?;
        let end = served.await.map_err(|error| format!("connection {connection}: {error}"))?;
        if stops || world.seen().spoiled.contains(&connection) {
            continue;
        }
        let right = match manner {
            Manner::Reads | Manner::Slow => got == expected && matches!(end, End::Closed),
            Manner::Deaf => matches!(end, End::Stalled | End::Idle | End::Closed),
            Manner::Cuts(_) => matches!(end, End::Closed | End::Socket(_)),
            Manner::Flips => true,
            Manner::Garbage => matches!(end, End::Request(_) | End::FrameSize { .. }),
        };
        if !right {
            return Err(format!(
                "connection {connection}: {manner:?}, {got} of {expected} responses, ends: {end}"
            ));
        }
    }
    Ok(())
}

fn outcome(seed: u64) -> Result<Vec<String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(run(seed))
}

#[test]
fn clients_on_simulated_streams() {
    let mut lines = Vec::new();
    for seed in 0..SEEDS {
        match outcome(seed) {
            Ok(transcript) => lines.extend(transcript),
            Err(wrong) => panic!("seed {seed}: {wrong}"),
        }
    }
    // What the seeds are there for did happen.
    for what in
        ["gets response", "a call was cancelled", "Cuts", "Flips", "stopped in the middle", "is not served"]
    {
        let times = lines.iter().filter(|line| line.contains(what)).count();
        assert!(times >= 10, "only {times} times: {what}");
    }
}

#[test]
fn the_same_seed_gives_the_same_transcript() {
    for seed in 0..SEEDS / 10 {
        assert_eq!(outcome(seed).unwrap(), outcome(seed).unwrap(), "seed {seed}");
    }
}
