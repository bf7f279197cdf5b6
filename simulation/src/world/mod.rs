//! The world of one seed: machines, links, clients and the virtual time that they share.
//!
//! Reading order: this file (the event loop), [`host`], `effects` (what a node wants done), `clients` (connections),
//! `observe` (facts for the checkers), `faults`, `directory` (hints that lie), `healing` (the end).

mod clients;
mod directory;
mod effects;
mod faults;
mod healing;
mod host;
mod observe;

use std::collections::{BTreeMap, BTreeSet};

use mesh::life::Life;
use mesh::raft::NodeId;
use node::core::Input;
use node::core::message::{LeaderInfo, PeerMessage};
use node::core::metadata::Founding;
use node::core::request::{RequestId, Response};
use storage::fake::FakeDisk;
use storage::{ReadJob, Reclaim};

use crate::case::LeftOut;
use crate::checks::{self, Check, Ledger, Verdict, Violation};
use crate::coverage::{Counts, Coverage, Fact};
use crate::fault::Fault;
use crate::network::Network;
use crate::queue::{MS, Micros, Queue, SECOND};
use crate::random::Random;
use crate::scenario::{CALM, Scenario};
use crate::trace::{Telling, Trace};

use clients::{Client, Pending};
use faults::Ambush;
use healing::Phase;
use host::{Host, Process};

/// What happens at a moment.
pub(crate) enum Event {
    /// For one process of `to` if it came over a connection, as those end with the process; hints come to whoever is there.
    Message {
        from: usize,
        to: usize,
        process: Option<u64>,
        bytes: u64,
        message: Box<(Life, PeerMessage)>,
    },
    Tick {
        host: usize,
        life: u64,
        at: Micros,
    },
    DiskWrite {
        host: usize,
        life: u64,
        worker: usize,
    },
    DiskSync {
        host: usize,
        life: u64,
        worker: usize,
    },
    ReadDone {
        host: usize,
        life: u64,
        token: u64,
        job: Box<ReadJob<FakeDisk>>,
    },
    ReclaimDone {
        host: usize,
        life: u64,
        worker: usize,
        job: Box<Reclaim<FakeDisk>>,
    },
    Connected {
        host: usize,
        life: u64,
        peer: usize,
    },
    Disconnected {
        host: usize,
        life: u64,
        peer: usize,
    },
    Begin(usize),
    Undo(Undo),
    Wake {
        client: usize,
        at: Micros,
    },
    Request(RequestId),
    Cancel {
        host: usize,
        life: u64,
        id: RequestId,
    },
    Respond {
        id: RequestId,
        response: Box<Response>,
    },
    Broken {
        client: usize,
        id: RequestId,
    },
    Timeout(RequestId),
    Lie,
    Watch,
}

/// The end of a fault.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    Start(usize),
    Resume { host: usize, life: u64 },
    Mend(Vec<(usize, usize)>),
    Release(Vec<(usize, usize)>),
    Calm,
    Room(usize),
    LetClients(usize),
    Cut(usize, Micros),
    CheckDoom { host: usize, life: u64 },
}

/// Counts for people.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Client requests.
    pub operations: u64,
    /// Records in acknowledged batches.
    pub acknowledged: u64,
    /// Times that a replica began to lead.
    pub elections: u64,
    /// Faults that took place.
    pub faults: u64,
    /// Steps of nodes.
    pub steps: u64,
    /// Virtual microseconds.
    pub virtual_us: u64,
}

/// What a clogged link keeps: for which process, how many bytes, and the message.
type Held = (u64, u64, Box<(Life, PeerMessage)>);

/// The world.
pub(crate) struct World {
    seed: u64,
    scenario: Scenario,
    /// Why the mesh was not well at the last look.
    unsettled_for: String,
    founding: Founding,
    now: Micros,
    queue: Queue<Event>,
    hosts: Vec<Host>,
    network: Network<Held>,
    clients: Vec<Client>,
    pending: BTreeMap<RequestId, Pending>,
    next_request: u64,
    /// Latest delivery per client and host, there and back: connections keep order.
    connections: Vec<(Micros, Micros)>,
    /// Connections that a quota silenced, by client and host.
    muted: BTreeSet<(usize, usize)>,
    ledger: Ledger,
    checks: Vec<Box<dyn Check>>,
    left_out: LeftOut,
    coverage: Coverage,
    trace: Trace,
    chance: Random,
    fault_chance: Random,
    worker_chance: Random,
    phase: Phase,
    /// The host that is damaged, until everything is whole again.
    damaged: Option<usize>,
    /// The host whose disk may hold damage that nobody has read yet.
    rotten: Option<usize>,
    /// The host on which an old copy of the data directory was put back, until it is told so.
    restored: Option<usize>,
    /// The host on which a directory was put back whose number another one has, until it is refused.
    outlived: Option<usize>,
    ambush: Option<Ambush>,
    /// The last node that was called dead, and when.
    last_dead: Option<(NodeId, Micros)>,
    /// A shard is without a leader until then: what needs it is asked for all the more.
    hasty_until: Micros,
    /// What nodes said of leaders, to be said again.
    hints: Vec<LeaderInfo>,
    hint_chance: Random,
    stats: Stats,
}

impl World {
    /// The world of a seed, before anything happened.
    pub(crate) fn new(seed: u64, scenario: Scenario, left_out: LeftOut, telling: Telling) -> Self {
        let mut chance = Random::of(seed, "hosts");
        let mut hosts: Vec<Host> = scenario
            .clocks
            .iter()
            .enumerate()
            .map(|(at, clock)| Host::new(at, *clock, scenario.zones, &mut chance))
            .collect();
        let founders = hosts.iter_mut().take(scenario.hosts).map(Host::found).collect();
        let founding = Founding { cluster_id: format!("simulated-{seed}"), founders };
        let clients = Client::of(&scenario, seed).into_iter().enumerate();
        let clients: Vec<Client> =
            clients.filter(|(at, _)| !left_out.clients.contains(at)).map(|(_, client)| client).collect();
        let trace = Trace::new(hosts.len(), telling);
        let coverage = Coverage::new(hosts.len(), scenario.node.raft);
        Self {
            seed,
            unsettled_for: String::new(),
            founding: founding.clone(),
            now: 0,
            queue: Queue::new(Random::of(seed, "ties")),
            network: Network::new(hosts.len(), scenario.network, Random::of(seed, "network")),
            connections: vec![(0, 0); clients.len() * hosts.len()],
            muted: BTreeSet::new(),
            hosts,
            clients,
            pending: BTreeMap::new(),
            next_request: 0,
            ledger: Ledger::new(&founding),
            checks: checks::all(),
            left_out,
            coverage,
            trace,
            chance: Random::of(seed, "latencies"),
            fault_chance: Random::of(seed, "targets"),
            worker_chance: Random::of(seed, "workers"),
            phase: Phase::Faults,
            damaged: None,
            rotten: None,
            restored: None,
            outlived: None,
            ambush: None,
            last_dead: None,
            hasty_until: 0,
            hints: Vec::new(),
            hint_chance: Random::of(seed, "hints"),
            stats: Stats::default(),
            scenario,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Verdict {
        for host in 0..self.scenario.hosts {
            let at = self.chance.below(500 * MS);
            self.queue.push(at, Event::Undo(Undo::Start(host)));
        }
        for client in 0..self.clients.len() {
            self.wake_when_due(client);
        }
        for (n, planned) in self.scenario.faults.iter().enumerate() {
            self.queue.push(planned.at, Event::Begin(n));
        }
        if self.scenario.directory.is_some() {
            self.queue.push(CALM, Event::Lie);
        }
        self.queue.push(SECOND, Event::Watch);
        while self.phase != Phase::Done {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.happen(event)?;
        }
        self.stats.virtual_us = self.now;
        Ok(())
    }

    /// Counts so far.
    pub(crate) fn stats(&self) -> Stats {
        Stats { virtual_us: self.now, ..self.stats }
    }

    /// The situations so far.
    pub(crate) fn situations(&self) -> Counts {
        self.coverage.counts()
    }

    /// The trace so far.
    pub(crate) fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    fn happen(&mut self, event: Event) -> Verdict {
        if let Some(host) = self.holds(&event) {
            self.hosts[host].deferred.push_back(event);
            return Ok(());
        }
        if let Event::Request(id) = event
            && let Some(at) = self.behind_backlog(id)
        {
            self.queue.push(at, event);
            return Ok(());
        }
        match event {
            Event::Message { from, to, process, bytes, message } => {
                self.network.done(from, to, bytes);
                if process.is_some_and(|process| !self.is_life(to, process)) {
                    return Ok(());
                }
                if self.network.is_cut(from, to) && self.chance.percent(70) {
                    return Ok(());
                }
                // What is said to a number goes to who has it by the registry of the sender.
                if self.outlived == Some(to) && !self.is_heard(to, from) {
                    return Ok(());
                }
                if !self.is_heard(from, to) {
                    return self.refused_by(from, to);
                }
                let from = self.hosts[from].id();
                let (life, message) = *message;
                self.step(to, Input::Message { from, life, message })
            }
            Event::Tick { host, life, at } => {
                if self.is_life(host, life) && self.hosts[host].tick == Some(at) {
                    self.hosts[host].tick = None;
                    return self.step(host, Input::Tick);
                }
                Ok(())
            }
            Event::DiskWrite { host, life, worker } => {
                self.disk_write(host, life, worker);
                Ok(())
            }
            Event::DiskSync { host, life, worker } => self.disk_sync(host, life, worker),
            Event::ReadDone { host, life, token, job } => {
                if !self.is_life(host, life) {
                    return Ok(());
                }
                let result = job.run();
                self.step(host, Input::Read { token, result })
            }
            Event::ReclaimDone { host, life, worker, mut job } => {
                if !self.is_life(host, life) {
                    return Ok(());
                }
                job.run();
                self.coverage.see(self.now, &Fact::ReclaimEnds { host });
                self.step(host, Input::Reclaimed { worker, job: *job })
            }
            Event::Connected { host, life, peer } => {
                self.hint(host, life, Input::Connected(self.hosts[peer].id()))
            }
            Event::Disconnected { host, life, peer } => {
                self.hint(host, life, Input::Disconnected(self.hosts[peer].id()))
            }
            Event::Begin(n) => self.begin(n),
            Event::Undo(undo) => self.undo(undo),
            Event::Wake { client, at } => self.wake(client, at),
            Event::Request(id) => self.request_arrives(id),
            Event::Cancel { host, life, id } => self.hint(host, life, Input::Cancel(id)),
            Event::Respond { id, response } => self.response_arrives(id, *response),
            Event::Broken { client, id } => self.connection_broke(client, id),
            Event::Timeout(id) => {
                self.timed_out(id);
                Ok(())
            }
            Event::Lie => self.lie(),
            Event::Watch => self.watch(),
        }
    }

    /// The paused host that must see this event later.
    fn holds(&self, event: &Event) -> Option<usize> {
        let host = match event {
            Event::Message { to, .. } => *to,
            Event::Tick { host, .. }
            | Event::DiskWrite { host, .. }
            | Event::DiskSync { host, .. }
            | Event::ReadDone { host, .. }
            | Event::ReclaimDone { host, .. }
            | Event::Connected { host, .. }
            | Event::Disconnected { host, .. }
            | Event::Cancel { host, .. } => *host,
            Event::Request(id) => self.pending.get(id)?.host,
            _ => return None,
        };
        matches!(self.hosts[host].process, Process::Paused(_)).then_some(host)
    }

    /// When a request may be given to a process that still works through what came while it was paused: connections keep order.
    fn behind_backlog(&mut self, id: RequestId) -> Option<Micros> {
        let Some(host) = self.pending.get(&id).map(|pending| pending.host) else {
            self.hosts.iter_mut().for_each(|host| _ = host.backlog.0.remove(&id));
            return None;
        };
        let (waiting, until) = &mut self.hosts[host].backlog;
        if waiting.is_empty() || waiting.remove(&id) {
            return None;
        }
        waiting.insert(id);
        *until = (*until).max(self.now) + 1;
        Some(*until)
    }

    fn is_life(&self, host: usize, life: u64) -> bool {
        self.hosts[host].life == life
    }

    fn hint(&mut self, host: usize, life: u64, input: Input<FakeDisk>) -> Verdict {
        if self.is_life(host, life) { self.step(host, input) } else { Ok(()) }
    }

    fn host_of(&self, node: NodeId) -> Option<usize> {
        crate::client::host_of(node.0).filter(|host| *host < self.hosts.len())
    }

    fn fault(&self, n: usize) -> Fault {
        self.scenario.faults[n].fault
    }

    fn tell(&mut self, host: Option<usize>, text: impl FnOnce() -> String) {
        self.trace.tell(self.now, host, text);
    }
}

/// How many clients a scenario has.
pub(crate) fn clients(scenario: &Scenario) -> usize {
    Client::of(scenario, 0).len()
}

/// A violation of the world's own.
fn broken(check: &'static str, what: String) -> Verdict {
    Err(Violation { check, what })
}
