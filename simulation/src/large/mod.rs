//! A mesh of many nodes and many partitions: does it form, grow, shrink and restart, and what does that cost each node?
//!
//! The nodes are the real ones, stepped in virtual time on one thread as everywhere in the simulator. What is left out is what the
//! seeds are for: faults of disks, networks and clocks, clients, and the checkers that follow every step. Each phase ends when the mesh
//! is as it should be ([`judge`]), and fails when it is not within a stated virtual time.
//!
//! In reading order: this file (the phases), `mesh` (machines and links), `judge`, `traffic`.

mod judge;
mod mesh;
mod traffic;

use std::fmt;

use ::mesh::raft::NodeId;
use node::core::error::ErrorCode;
use node::core::metadata::NodeState;
use node::core::request::{CreateTopic, Decision, Request, RequestId, Response};
use node::core::{NodeConfig, ScrubConfig};

use crate::queue::{MS, Micros, SECOND};

use judge::Spread;
use mesh::{Mesh, id_of};
use traffic::{Class, Count};

/// How large.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Nodes before one joins.
    pub nodes: usize,
    /// Partitions of all topics, with three replicas each.
    pub partitions: usize,
    /// Of latencies, ties and identities.
    pub seed: u64,
}

/// What one phase came to.
#[derive(Clone, Debug)]
pub struct Row {
    /// What happened.
    pub name: &'static str,
    /// Virtual seconds until the mesh was as it should be; for a phase that only watches, how long it did.
    pub took: f64,
    /// Virtual seconds within which it has to be.
    pub within: u64,
    /// What was not as it should be then.
    pub failure: Option<String>,
    /// Steps of nodes.
    pub steps: u64,
    /// More that is worth knowing.
    pub notes: Vec<String>,
    nodes: usize,
    seconds: f64,
    heartbeats: Count,
    raft: Count,
    metadata: Count,
    leaders: Count,
    orders: Count,
    busiest: Count,
}

/// Nodes that found the mesh; the others join.
const FOUNDERS: usize = 3;

/// Machines that ask to join at a time.
const JOINS_AT_ONCE: usize = 25;

/// Topics under creation at a time.
const TOPICS_AT_ONCE: usize = 4;

/// Between two looks whether all is well, which take long where there is much to look at.
fn look(size: Size) -> Micros {
    if size.partitions <= 20_000 { 500 * MS } else { 2 * SECOND }
}

/// A dead node's replicas are made anew after so long.
const DEAD_AFTER_MS: u64 = 10_000;

/// The mesh with the rows told as they come.
struct Course<'a> {
    mesh: Mesh,
    size: Size,
    tell: &'a mut dyn FnMut(&Row),
    begun: Micros,
    steps: u64,
    failed: bool,
}

/// Runs all phases; `tell` hears of each as it ends. Says whether all of them converged.
pub fn run(size: Size, tell: &mut dyn FnMut(&Row)) -> bool {
    let config = NodeConfig {
        dead_after_ms: DEAD_AFTER_MS,
        scrub: ScrubConfig { bytes_per_second: 0, ..ScrubConfig::default() },
        ..NodeConfig::default()
    };
    let mesh = Mesh::new(size.seed, FOUNDERS, size.nodes + 1, config);
    let mut course = Course { mesh, size, tell, begun: 0, steps: 0, failed: false };
    course.form();
    course.create();
    course.idle();
    course.join();
    course.decommission();
    course.death();
    course.restart_a_third();
    course.restart_all();
    !course.failed
}

impl Course<'_> {
    /// Three nodes found the mesh, all others join it.
    fn form(&mut self) {
        (0..FOUNDERS).for_each(|at| self.mesh.start_after(at, at as u64 * 10 * MS));
        self.mesh.run_until(3 * SECOND);
        let mut next = FOUNDERS;
        while next < self.size.nodes {
            let batch: Vec<usize> = (next..self.size.nodes).take(JOINS_AT_ONCE).collect();
            next += batch.len();
            self.admit(&batch);
        }
        self.settle("formation", 120, 0, |_| Vec::new());
    }

    /// Machines ask the first node to be entered into the registry, and start once they are.
    fn admit(&mut self, batch: &[usize]) {
        let asked: Vec<(usize, RequestId)> = batch
            .iter()
            .map(|at| {
                let registration = self.mesh.registration(*at, None);
                (*at, self.mesh.ask(0, Request::RegisterNode { registration, gives_up: false }))
            })
            .collect();
        for (at, id) in asked {
            let node = loop {
                match self.mesh.responses.remove(&id) {
                    Some(Response::RegisterNode { error: ErrorCode::None, node, .. }) => break NodeId(node),
                    Some(other) => panic!("machine {at} is not admitted: {other:?}"),
                    None => self.mesh.run_until(self.mesh.now + 10 * MS),
                }
            };
            assert_eq!(node, id_of(at), "machines join in order");
            self.mesh.admit(at, 0);
            self.mesh.start_after(at, 0);
        }
    }

    fn topics(&self) -> (usize, usize) {
        let each = (self.size.partitions / 200).clamp(10, 1000).min(self.size.partitions);
        (self.size.partitions / each, each)
    }

    /// All topics are created, a few at a time.
    fn create(&mut self) {
        let (topics, each) = self.topics();
        let mut under_way: Vec<RequestId> = Vec::new();
        let mut next = 0;
        let begun = self.mesh.now;
        while next < topics || !under_way.is_empty() {
            while next < topics && under_way.len() < TOPICS_AT_ONCE {
                let topic = CreateTopic {
                    name: format!("topic-{next}"),
                    partitions: i32::try_from(each).expect("bounded"),
                    replication_factor: 3,
                    assignment: Vec::new(),
                    configs: Vec::new(),
                };
                let request =
                    Request::CreateTopics { topics: vec![topic], validate_only: false, timeout_ms: 60_000 };
                under_way.push(self.mesh.ask(0, request));
                next += 1;
            }
            self.mesh.run_until(self.mesh.now + 20 * MS);
            under_way.retain(|id| match self.mesh.responses.remove(id) {
                None => true,
                Some(Response::CreateTopics { topics }) => {
                    let refused = topics.iter().find(|topic| topic.error != ErrorCode::None);
                    assert!(refused.is_none(), "a topic is not created: {refused:?}");
                    false
                }
                Some(other) => panic!("a strange answer: {other:?}"),
            });
        }
        let asked = (self.mesh.now - begun) as f64 / SECOND as f64;
        self.settle("creation", 300, topics * each, |course| {
            let mut notes =
                vec![format!("{topics} topics of {each} partitions, the last answered after {asked:.1} s")];
            notes.extend(course.evenness());
            notes.push(course.weight());
            notes
        });
    }

    fn evenness(&self) -> Option<String> {
        let Spread { replicas, leaders, peers_most, peers_mean, zones_violated } = judge::spread(&self.mesh);
        Some(format!(
            "max/mean {replicas:.3} for replicas, {leaders:.3} for leaders; peers of a node: {peers_mean:.1}, at most \
             {peers_most}; {zones_violated} partitions with two replicas in a zone"
        ))
    }

    /// Bytes of metadata per node.
    fn weight(&self) -> String {
        let Some((_, node)) = self.mesh.running().next() else { return String::new() };
        let kept = node.view().encode().len();
        let nodes = self.mesh.running().count() as u64;
        format!(
            "metadata per node: {:.2} MB as kept on disk; data directory {:.2} MB per node",
            kept as f64 / 1e6,
            self.mesh.disk_bytes() as f64 / 1e6 / nodes as f64
        )
    }

    /// Nothing happens.
    fn idle(&mut self) {
        let (seconds, partitions) = (10, self.partitions());
        self.begin();
        self.mesh.run_until(self.mesh.now + seconds * SECOND);
        let failure = judge::unfinished(&self.mesh, partitions);
        self.end("idle", seconds as f64, 0, failure, Vec::new());
    }

    fn partitions(&self) -> usize {
        let (topics, each) = self.topics();
        topics * each
    }

    /// One node joins, and gets its share.
    fn join(&mut self) {
        self.begin();
        let joiner = self.size.nodes;
        self.admit(&[joiner]);
        let before = judge::held(&self.mesh, joiner);
        let fair = self.partitions() * 3 / (self.size.nodes + 1);
        self.settle("join", 600, self.partitions(), |course| {
            let got = judge::held(&course.mesh, joiner) - before;
            let mut notes = vec![format!("the new node holds {got} replicas, its fair share is {fair}")];
            notes.extend(course.evenness());
            notes
        });
    }

    /// A node is decommissioned: its replicas go elsewhere.
    fn decommission(&mut self) {
        let leaver = self.size.nodes / 2;
        let held = judge::held(&self.mesh, leaver);
        self.begin();
        let node = id_of(leaver).0;
        let decision = Decision::NodeState { node, state: NodeState::Decommissioning };
        self.mesh.ask(0, Request::Decide(decision));
        self.settle("decommission", 600, self.partitions(), |course| {
            let left = judge::held(&course.mesh, leaver);
            vec![format!("it held {held} replicas, and holds {left}")]
        });
        self.mesh.kill(leaver, true);
    }

    /// A node dies for good: its replicas are rebuilt.
    fn death(&mut self) {
        let dead = self.size.nodes / 2 + 1;
        let held = judge::held(&self.mesh, dead);
        self.begin();
        self.mesh.kill(dead, true);
        self.settle("death", 600, self.partitions(), |course| {
            let left = judge::held(&course.mesh, dead);
            let mut notes = vec![format!("it held {held} replicas, and holds {left}")];
            notes.extend(course.evenness());
            notes
        });
    }

    /// A third of the nodes is killed at once and starts again.
    fn restart_a_third(&mut self) {
        self.begin();
        let some: Vec<usize> = self.mesh.running().map(|(at, _)| at).filter(|at| at % 3 == 1).collect();
        for &at in &some {
            self.mesh.kill(at, false);
            self.mesh.start_after(at, 2 * SECOND + at as u64 % 1000 * MS);
        }
        self.settle("a third restarts", 120, self.partitions(), |_| vec![format!("{} nodes", some.len())]);
    }

    /// All nodes are killed within two seconds and start again.
    fn restart_all(&mut self) {
        self.begin();
        let all: Vec<usize> = self.mesh.running().map(|(at, _)| at).collect();
        for (turn, &at) in all.iter().enumerate() {
            self.mesh.kill(at, false);
            self.mesh.start_after(at, 2 * SECOND);
            if turn % 16 == 15 {
                let pause = 2 * SECOND * 16 / all.len() as u64;
                self.mesh.run_until(self.mesh.now + pause);
            }
        }
        self.settle("all restart", 180, self.partitions(), |course| vec![course.weight()]);
    }

    fn begin(&mut self) {
        self.begun = self.mesh.now;
        self.steps = self.mesh.steps;
        self.mesh.traffic = traffic::Traffic::default();
    }

    /// Goes on until all is well, or for too long.
    fn settle(
        &mut self,
        name: &'static str,
        within: u64,
        partitions: usize,
        notes: impl FnOnce(&Self) -> Vec<String>,
    ) {
        let mut led_after = None;
        let failure = loop {
            self.mesh.run_until(self.mesh.now + look(self.size));
            let passed = self.mesh.now - self.begun;
            if led_after.is_none() && judge::leaderless(&self.mesh) == 0 {
                led_after = Some(passed);
            }
            let failure = judge::unfinished(&self.mesh, partitions);
            if failure.is_none() || passed > within * SECOND {
                break failure;
            }
        };
        let took = (self.mesh.now - self.begun) as f64 / SECOND as f64;
        let mut said = notes(self);
        if let Some(led_after) = led_after {
            said.push(format!("every partition is led after {:.1} s", led_after as f64 / SECOND as f64));
        }
        let unknown = judge::unknown_leaders(&self.mesh);
        said.push(format!("leaders that 16 of the nodes do not know: {unknown}"));
        said.push(format!("{} leaders were put into the directory", self.mesh.traffic.published));
        self.end(name, took, within, failure, said);
        self.begin();
    }

    fn end(
        &mut self,
        name: &'static str,
        took: f64,
        within: u64,
        failure: Option<String>,
        notes: Vec<String>,
    ) {
        let traffic = &self.mesh.traffic;
        let row = Row {
            name,
            took,
            within,
            failure,
            notes,
            steps: self.mesh.steps - self.steps,
            nodes: self.mesh.running().count(),
            seconds: (self.mesh.now - self.begun) as f64 / SECOND as f64,
            heartbeats: traffic.of(Class::Heartbeat),
            raft: traffic.of(Class::Raft),
            metadata: traffic.of(Class::Metadata),
            leaders: traffic.of(Class::Leaders),
            orders: traffic.of(Class::Orders),
            busiest: traffic.busiest(),
        };
        self.failed |= row.failure.is_some();
        (self.tell)(&row);
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, took, within, .. } = self;
        let bound = if *within > 0 { format!(" of {within}") } else { String::new() };
        let verdict = if self.failure.is_some() { "FAILED" } else { "ok" };
        writeln!(f, "{name:<18} {took:>7.1} virtual s{bound:<8} {verdict}, {} steps", self.steps)?;
        if let Some(why) = &self.failure {
            writeln!(f, "    {why}")?;
        }
        let per_second = self.nodes as f64 * self.seconds.max(0.001);
        let classes = [
            ("heartbeats", self.heartbeats),
            ("replica sets", self.raft),
            ("metadata", self.metadata),
            ("leaders", self.leaders),
            ("orders", self.orders),
        ];
        for (what, count) in classes {
            let (messages, bytes) = (count.messages as f64 / per_second, count.bytes as f64 / per_second);
            let all = count.bytes as f64 / self.nodes.max(1) as f64;
            writeln!(
                f,
                "    {what:<13} {messages:>9.2} messages {:>10.2} KB per node and second, {:>9.1} KB per node in all",
                bytes / 1e3,
                all / 1e3
            )?;
        }
        let busiest = self.busiest.bytes as f64 / self.seconds.max(0.001) / 1e3;
        writeln!(f, "    the busiest node sent {busiest:.1} KB per second")?;
        self.notes.iter().try_for_each(|note| writeln!(f, "    {note}"))
    }
}
