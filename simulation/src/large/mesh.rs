//! The machines of a large mesh, their links, and the virtual time that they share. Nothing fails here but whole processes.

use std::collections::{BTreeMap, BTreeSet};

use mesh::life::Life;
use mesh::raft::{Incarnation, NodeId, Time};
use node::core::message::PeerMessage;
use node::core::metadata::{Founder, Founding, Registration, View};
use node::core::request::{Request, RequestId, Response};
use node::core::{Client, Effect, Identity, Input, Node, NodeConfig, Now, Setup};
use storage::fake::FakeDisk;
use storage::index::memory::MemoryIndex;
use storage::{Commit, ReadJob, Reclaim, Store, StoreConfig};

use super::traffic::Traffic;
use crate::network::{Fate, LinkProfile, Network};
use crate::queue::{MS, Micros, Queue};
use crate::random::Random;

/// Milliseconds since 1970 when the world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Bytes of each disk.
const CAPACITY: u64 = 1 << 34;

/// Typical time of a write and its sync.
const COMMIT: Micros = 2 * MS;

/// Typical time of a read.
const READ: Micros = MS;

/// A connection that closes with its process is noticed within this time.
const NOTICE_MAX: Micros = 20 * MS;

enum Event {
    Message { from: usize, to: usize, process: u64, bytes: u64, message: Box<(Life, PeerMessage)> },
    Tick { at: usize, process: u64, due: Micros },
    Committed { at: usize, process: u64 },
    ReadDone { at: usize, process: u64, token: u64, job: Box<ReadJob<FakeDisk>> },
    ReclaimDone { at: usize, process: u64, job: Box<Reclaim<FakeDisk>> },
    Connected { at: usize, process: u64, peer: usize },
    Disconnected { at: usize, process: u64, peer: usize },
    Request { at: usize, id: RequestId, request: Request },
    Start(usize),
}

/// One machine: its disk, and at most one process.
pub(super) struct Machine {
    pub(super) node: Option<Box<Node<FakeDisk>>>,
    disk: FakeDisk,
    index: MemoryIndex,
    commit: Option<Commit<FakeDisk>>,
    /// Counts processes: events of an earlier one are void.
    process: u64,
    tick: Option<Micros>,
    incarnation: Incarnation,
    /// The copy of the metadata that the shell keeps.
    kept: Option<View>,
    view_changed: bool,
    /// It never starts again.
    gone: bool,
    mono_base: u64,
}

/// All of them.
pub(super) struct Mesh {
    pub(super) now: Micros,
    pub(super) machines: Vec<Machine>,
    pub(super) traffic: Traffic,
    pub(super) responses: BTreeMap<RequestId, Response>,
    /// Steps of nodes.
    pub(super) steps: u64,
    config: NodeConfig,
    founding: Founding,
    queue: Queue<Event>,
    network: Network<()>,
    chance: Random,
    next_request: u64,
    /// When the last request arrives.
    asked: Micros,
}

impl Mesh {
    /// Room for `most` machines, of which the first `founders` found the mesh.
    pub(super) fn new(seed: u64, founders: usize, most: usize, config: NodeConfig) -> Self {
        let mut chance = Random::of(seed, "large");
        let machines: Vec<Machine> = (0..most).map(|_| Machine::new(&mut chance)).collect();
        let founder = |at: usize| Founder {
            node: id_of(at),
            incarnation: machines[at].incarnation,
            peer_id: peer_id(at),
            mesh: address(at, 9192),
            zone: zone(at),
        };
        let founders = (0..founders).map(founder).collect();
        let founding = Founding { cluster_id: format!("large-{seed}"), founders };
        Self {
            now: 0,
            machines,
            traffic: Traffic::default(),
            responses: BTreeMap::new(),
            steps: 0,
            config,
            founding,
            queue: Queue::new(Random::of(seed, "ties")),
            network: Network::new(most, LinkProfile::healthy(), Random::of(seed, "network")),
            chance,
            next_request: 0,
            asked: 0,
        }
    }

    /// The machines that run, with their nodes.
    pub(super) fn running(&self) -> impl Iterator<Item = (usize, &Node<FakeDisk>)> {
        self.machines.iter().enumerate().filter_map(|(at, machine)| Some((at, machine.node.as_deref()?)))
    }

    /// The node of a machine that runs.
    pub(super) fn node(&self, at: usize) -> Option<&Node<FakeDisk>> {
        self.machines[at].node.as_deref()
    }

    /// Bytes that the disks hold.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.machines.iter().filter(|machine| machine.node.is_some()).map(|m| m.disk.used_bytes()).sum()
    }

    /// Starts a machine after so long.
    pub(super) fn start_after(&mut self, at: usize, wait: Micros) {
        self.queue.push(self.now + wait, Event::Start(at));
    }

    /// What a machine says of itself that wants to join.
    pub(super) fn registration(&self, at: usize, node: Option<NodeId>) -> Registration {
        Registration {
            node,
            incarnation: self.machines[at].incarnation,
            peer_id: peer_id(at),
            kafka: address(at, 9092),
            mesh: address(at, 9192),
            http: address(at, 9292),
            zone: zone(at),
            weight: 1,
        }
    }

    /// A machine was admitted by another, which tells it what it knows of the mesh.
    pub(super) fn admit(&mut self, at: usize, through: usize) {
        self.machines[at].kept = self.node(through).map(|node| node.view().clone());
    }

    /// Asks a node; the answer will be among the responses.
    pub(super) fn ask(&mut self, at: usize, request: Request) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        // In the order of asking, as over one connection.
        self.asked = (self.now + MS).max(self.asked + 1);
        self.queue.push(self.asked, Event::Request { at, id, request });
        id
    }

    /// The process ends without a word; with `for_good` it never comes back.
    pub(super) fn kill(&mut self, at: usize, for_good: bool) {
        let machine = &mut self.machines[at];
        machine.gone |= for_good;
        let Some(node) = machine.node.take() else { return };
        if machine.view_changed {
            machine.kept = Some(node.view().clone());
        }
        machine.view_changed = false;
        machine.process += 1;
        machine.commit = None;
        machine.tick = None;
        machine.disk = machine.disk.kill();
        for peer in self.linked(at) {
            let process = self.machines[peer].process;
            let wait = self.chance.below(NOTICE_MAX);
            self.queue.push(self.now + wait, Event::Disconnected { at: peer, process, peer: at });
        }
    }

    /// The running machines that keep a connection with this one: in a mesh of any size, those that share partitions.
    fn linked(&self, at: usize) -> Vec<usize> {
        let running = |other: &usize| *other != at && self.machines[*other].node.is_some();
        (0..self.machines.len()).filter(running).collect()
    }

    fn start(&mut self, at: usize) {
        if self.machines[at].node.is_some() || self.machines[at].gone {
            return;
        }
        let effects = self.open(at);
        self.perform(at, effects);
        self.schedule_tick(at);
        for peer in self.linked(at) {
            let wait = self.chance.below(NOTICE_MAX);
            let process = self.machines[peer].process;
            self.queue.push(self.now + wait, Event::Connected { at: peer, process, peer: at });
            let process = self.machines[at].process;
            self.queue.push(self.now + wait, Event::Connected { at, process, peer });
        }
    }

    fn open(&mut self, at: usize) -> Vec<Effect<FakeDisk>> {
        let registration = self.registration(at, Some(id_of(at)));
        let now = self.clocks(at);
        let machine = &mut self.machines[at];
        let store = StoreConfig {
            segment_bytes: 1 << 20,
            preallocate: false,
            reserve_bytes: 0,
            cache_bytes: 0,
            run_cache_bytes: 4096,
            ..StoreConfig::default()
        };
        let index = Box::new(machine.index.clone());
        let opened = Store::open_noting_damage(machine.disk.clone(), store, index, || Ok(()));
        let opened = opened.expect("only processes fail here");
        let setup = Setup {
            identity: Identity { node: id_of(at), incarnation: machine.incarnation },
            registration,
            founding: self.founding.clone(),
            view: machine.kept.clone(),
            seed: self.chance.next(),
        };
        let (node, effects) =
            Node::open(setup, self.config.clone(), vec![opened], now).expect("only processes fail here");
        let machine = &mut self.machines[at];
        machine.node = Some(Box::new(node));
        machine.process += 1;
        effects
    }

    fn clocks(&self, at: usize) -> Now {
        let mono = Time(self.machines[at].mono_base + self.now);
        Now { mono, wall_ms: EPOCH_MS + (self.now / 1000).cast_signed(), behind: false }
    }

    /// Lets time pass until `until`.
    pub(super) fn run_until(&mut self, until: Micros) {
        while let Some((at, event)) = self.queue.pop_before(until) {
            self.now = at;
            self.happen(event);
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Message { from, to, process, bytes, message } => {
                self.network.done(from, to, bytes);
                if self.machines[to].process == process {
                    let (life, message) = *message;
                    self.step(to, Input::Message { from: id_of(from), life, message });
                }
            }
            Event::Tick { at, process, due } => {
                let machine = &mut self.machines[at];
                if machine.process == process && machine.tick == Some(due) {
                    machine.tick = None;
                    self.step(at, Input::Tick);
                }
            }
            Event::Committed { at, process } => {
                if self.machines[at].process == process
                    && let Some(mut commit) = self.machines[at].commit.take()
                {
                    commit.write();
                    commit.sync();
                    self.step(at, Input::Committed { worker: 0, commit });
                }
            }
            Event::ReadDone { at, process, token, job } => {
                if self.machines[at].process == process {
                    let result = job.run();
                    self.step(at, Input::Read { token, result });
                }
            }
            Event::ReclaimDone { at, process, mut job } => {
                if self.machines[at].process == process {
                    job.run();
                    self.step(at, Input::Reclaimed { worker: 0, job: *job });
                }
            }
            Event::Connected { at, process, peer } => {
                if self.machines[at].process == process && self.machines[peer].node.is_some() {
                    self.step(at, Input::Connected(id_of(peer)));
                }
            }
            Event::Disconnected { at, process, peer } => {
                if self.machines[at].process == process {
                    self.step(at, Input::Disconnected(id_of(peer)));
                }
            }
            Event::Request { at, id, request } => {
                self.step(at, Input::Request { id, client: Client::default(), request })
            }
            Event::Start(at) => self.start(at),
        }
    }

    fn step(&mut self, at: usize, input: Input<FakeDisk>) {
        let now = self.clocks(at);
        let Some(node) = self.machines[at].node.as_mut() else { return };
        self.steps += 1;
        let effects = node.step(now, input);
        self.perform(at, effects);
        self.schedule_tick(at);
    }

    fn perform(&mut self, at: usize, effects: Vec<Effect<FakeDisk>>) {
        let process = self.machines[at].process;
        for effect in effects {
            match effect {
                Effect::Send { to, message, .. } => self.send(at, to, message),
                Effect::Respond { id, response, .. } => _ = self.responses.insert(id, response),
                Effect::Commit { commit, .. } => {
                    self.machines[at].commit = Some(commit);
                    let due = self.now + self.chance.tailed(COMMIT);
                    self.queue.push(due, Event::Committed { at, process });
                }
                Effect::Read { token, job } => {
                    let due = self.now + self.chance.tailed(READ);
                    self.queue.push(due, Event::ReadDone { at, process, token, job: Box::new(job) });
                }
                Effect::Reclaim { job, .. } => {
                    let due = self.now + self.chance.tailed(READ * 8);
                    self.queue.push(due, Event::ReclaimDone { at, process, job: Box::new(job) });
                }
                Effect::Publish(_) => self.traffic.published += 1,
                Effect::RegistryChanged => self.machines[at].view_changed = true,
                Effect::Failed(_) | Effect::Stopped => return self.kill(at, true),
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: PeerMessage) {
        let bytes = self.traffic.count(from, &message);
        let Some(to) = place_of(to).filter(|to| *to != from && *to < self.machines.len()) else { return };
        let Some(node) = self.machines[from].node.as_ref() else { return };
        if self.machines[to].node.is_none() {
            return;
        }
        let message = Box::new((node.life(), message));
        let process = self.machines[to].process;
        if let Fate::Arrives(at, _) = self.network.send(self.now, from, to, bytes) {
            self.queue.push(at, Event::Message { from, to, process, bytes, message });
        }
    }

    fn schedule_tick(&mut self, at: usize) {
        let now = self.now;
        let machine = &mut self.machines[at];
        let Some(deadline) = machine.node.as_ref().and_then(|node| node.next_deadline()) else { return };
        let due = deadline.0.saturating_sub(machine.mono_base).max(now + 1);
        if machine.tick.is_none_or(|queued| due < queued) {
            machine.tick = Some(due);
            let process = machine.process;
            self.queue.push(due, Event::Tick { at, process, due });
        }
    }

    /// The nodes of machines that run.
    pub(super) fn up(&self) -> BTreeSet<NodeId> {
        self.running().map(|(at, _)| id_of(at)).collect()
    }
}

impl Machine {
    fn new(chance: &mut Random) -> Self {
        Self {
            node: None,
            disk: FakeDisk::new(CAPACITY),
            index: MemoryIndex::new(),
            commit: None,
            process: 0,
            tick: None,
            incarnation: Incarnation(chance.within(1, 1 << 40)),
            kept: None,
            view_changed: false,
            gone: false,
            mono_base: chance.within(1, 1 << 40),
        }
    }
}

/// The number of a machine's node. Machines join in order, so that it is the one that shard 0 gives it.
pub(super) fn id_of(at: usize) -> NodeId {
    NodeId(i32::try_from(at + 1).expect("few machines"))
}

/// The machine of a node.
pub(super) fn place_of(node: NodeId) -> Option<usize> {
    usize::try_from(node.0).ok()?.checked_sub(1)
}

fn peer_id(at: usize) -> Vec<u8> {
    format!("peer-{}", at + 1).into_bytes()
}

fn address(at: usize, port: u16) -> String {
    format!("host-{}:{port}", at + 1)
}

/// Three zones of equal size.
fn zone(at: usize) -> String {
    format!("zone-{}", at % 3)
}
