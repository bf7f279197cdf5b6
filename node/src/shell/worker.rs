//! The thread that owns the node: takes what came in, steps it, and performs the effects.
//!
//! ```text
//! Kafka tasks --calls--> |        |--Respond--> the task that waits
//! mesh task ----peers--> | worker |--Send-----> transport (never waits: a full stream drops)
//! disk threads --done--> |        |--Commit, Read, Reclaim--> disk threads
//! HTTP ------commands--> |        |--Publish--> publisher
//! ```
//!
//! It never waits for a disk or a socket. Ended disk jobs go first, for they release what others wait for; then
//! messages of nodes, then clients.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use libp2p::PeerId;
use mesh::life::Life;
use mesh::raft::NodeId;
use mesh::transport::{FULL_MESH_OTHERS_MAX, Transport};
use storage::disk::file::FileDisk;
use storage::{Entry, ReadError, ReadJob};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::advice;
use super::clock::{Clock, wall_ms};
use super::disk::{Aside, DONE_MAX, DiskThreads, Done};
use super::elections::Roles;
use super::http::CONNECTIONS_MAX;
use super::metrics::Metrics;
use super::publisher::{Hints, Keyed, Ledger, WAITING_MAX, hint_of, hints_of};
use super::registry::{Registry, brokers};
use super::wire;
use crate::core::message::{PeerMessage, Stream};
use crate::core::request::{Request, RequestId, Response};
use crate::core::{Client, Effect, Input, Node, Now, OLD_COPY, REFUSED};
use crate::exposition::Exposition;
use crate::kafka::repack::{Rule, Rules};
use crate::kafka::{Call, ClientContext, Inbox, NodeHandle, Reply};

/// Inputs taken of each queue before the others get their turn.
const BATCH: usize = 256;
/// In a long round what there is to say leaves this often: 256 frames of messages can take most of a second.
const SPEAK_EVERY: Duration = Duration::from_millis(10);
/// Messages of nodes that wait for the worker.
const PEERS_MAX: usize = 1024;
/// Messages to one node that go as one frame; most have less than a hundred bytes.
const TOGETHER_MAX: usize = 512;
/// Commands that wait for the worker.
const COMMANDS_MAX: usize = 64;
/// How often calls are looked through for clients that went away.
const SWEEP: Duration = Duration::from_millis(500);
/// How often what this node told the directory is compared with what is so.
const HINTS_LOOK: Duration = Duration::from_secs(5);
/// After a peer connected: others may connect in the same moment.
const HINTS_LOOK_SOON: Duration = Duration::from_secs(1);
/// How long an inspection may wait for its turn.
const INSPECTION: Duration = Duration::from_secs(2);
/// Exit code when the mesh will not have this node.
const EXIT_REFUSED: i32 = 1;
/// Exit code when the disk failed (EX_TEMPFAIL of sysexits.h).
const EXIT_DISK: i32 = 75;

/// What the mesh has for the node.
#[derive(Debug)]
pub(super) enum PeerEvent {
    /// A peer is there.
    Connected(PeerId),
    /// It is gone.
    Disconnected(PeerId),
    /// Nothing was said for a while and the connection was given up; a message makes another one.
    Parted(PeerId),
    /// It says which node it is; believed where the registry knows neither.
    Introduced(PeerId, NodeId),
    /// It said something.
    Messages(PeerId, Life, Vec<PeerMessage>),
}

type Inspection = Box<dyn FnOnce(&Node<FileDisk>) + Send>;

enum Command {
    Inspect(Inspection),
    Stop,
    End,
}

/// The worker does not answer: it ended, or it is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker does not answer")]
pub(super) struct NoAnswer;

/// What others hold of the worker; cheap to clone.
#[derive(Clone)]
pub(super) struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    peers: mpsc::Sender<PeerEvent>,
    done: mpsc::WeakSender<Done>,
    aside: Aside,
    calls: NodeHandle,
    stopped: CancellationToken,
}

impl WorkerHandle {
    /// Puts a request to the node as a client would; nothing when it is stopping.
    pub(super) async fn ask(&self, request: Request, client: ClientContext) -> Option<Response> {
        self.calls.send(request, client).await.ok()?.await.ok()?.response.take()
    }

    /// What waits in front of the worker and beside it, and what may.
    pub(super) fn render_queues(&self, metrics: &Metrics, out: &mut Exposition) {
        fn waits<T>(queue: &mpsc::Sender<T>) -> (u64, u64) {
            let max = queue.max_capacity();
            ((max - queue.capacity()) as u64, max as u64)
        }
        let load = self.calls.load();
        let done = self.done.upgrade().map_or((0, DONE_MAX as u64), |done| waits(&done));
        let queues = [
            ("calls", (load.calls as u64, load.calls_max as u64)),
            ("peers", waits(&self.peers)),
            ("commands", waits(&self.commands)),
            ("disk_done", done),
            ("disk_jobs", (metrics.disk_jobs.load(Relaxed), load.calls_max as u64)),
            ("hints", (metrics.hints_waiting.load(Relaxed), WAITING_MAX as u64)),
            ("http", (metrics.http_connections.load(Relaxed), CONNECTIONS_MAX as u64)),
        ];
        let mut family = out.gauge("rafka_queue_length", "What waits, by queue.");
        for (name, (length, _)) in queues {
            family.of("queue", name, length);
        }
        let mut family = out.gauge("rafka_queue_limit", "What may wait, by queue.");
        for (name, (_, limit)) in queues {
            family.of("queue", name, limit);
        }
        out.gauge("rafka_node_queued_bytes", "Bytes of requests that are read or worked on.").is(load.bytes);
        out.gauge("rafka_node_queued_bytes_limit", "As many may be (--queued-max-bytes).").is(load.bytes_max);
        out.gauge("rafka_node_unread_bytes", "Bytes of responses that clients have not read.")
            .is(load.unread.0);
        out.gauge("rafka_node_unread_bytes_limit", "As many may be (--responses-max-bytes).")
            .is(load.unread.1);
    }

    /// Requests of clients that are being read or worked on.
    pub(super) fn load(&self) -> crate::kafka::handle::Load {
        self.calls.load()
    }

    /// Looks at the node between two steps. Bounded: the look must be short, and waits at most two seconds for its turn.
    ///
    /// # Errors
    /// When the worker does not get to it.
    pub(super) async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Node<FileDisk>) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let look: Inspection = Box::new(move |node| {
            let _gone = answer.send(look(node));
        });
        let asked = async {
            self.commands.send(Command::Inspect(look)).await.map_err(|_ended| NoAnswer)?;
            answered.await.map_err(|_ended| NoAnswer)
        };
        timeout(INSPECTION, asked).await.unwrap_or(Err(NoAnswer))
    }

    /// Runs a read of the node's log that the node knows nothing of, behind all that it reads itself.
    ///
    /// # Errors
    /// When the threads that read are gone.
    pub(super) async fn read_aside(
        &self,
        job: ReadJob<FileDisk>,
    ) -> Result<Result<Vec<Entry>, ReadError>, NoAnswer> {
        self.aside.read(job).await.ok_or(NoAnswer)
    }

    /// Tells what the mesh has. Waits for room; false once the worker ended.
    pub(super) async fn tell(&self, event: PeerEvent) -> bool {
        self.peers.send(event).await.is_ok()
    }

    /// Begins a graceful stop; [`WorkerHandle::stopped`] says when it is done.
    pub(super) async fn stop(&self) {
        let _ended = self.commands.send(Command::Stop).await;
    }

    /// Cancelled once leadership is handed over and everything is synced.
    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// Ends the thread.
    pub(super) async fn end(&self) {
        let _ended = self.commands.send(Command::End).await;
    }
}

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) node: Node<FileDisk>,
    pub(super) effects: Vec<Effect<FileDisk>>,
    pub(super) clock: Clock,
    pub(super) inbox: Inbox,
    /// The other end of the inbox, to see how full it is.
    pub(super) calls: NodeHandle,
    pub(super) transport: Transport,
    pub(super) hints: Arc<Hints>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) directory: super::data_dir::DataDir,
}

/// Starts the thread. `runtime` only lends its timers.
///
/// # Errors
/// When the system has no more threads.
pub(super) fn start(parts: Parts, runtime: Handle) -> io::Result<(WorkerHandle, JoinHandle<()>)> {
    let (commands, to_do) = mpsc::channel(COMMANDS_MAX);
    let (peers, heard) = mpsc::channel(PEERS_MAX);
    let (done, ended) = mpsc::channel(DONE_MAX);
    let weak = done.downgrade();
    let disk =
        DiskThreads::start(parts.directory, parts.node.workers().count(), done, Arc::clone(&parts.metrics))?;
    let stopped = CancellationToken::new();
    let aside = disk.aside();
    let handle =
        WorkerHandle { commands, peers, done: weak, aside, calls: parts.calls, stopped: stopped.clone() };
    let now = Instant::now();
    let worker = Worker {
        node: parts.node,
        clock: parts.clock,
        inbox: parts.inbox,
        ended,
        heard,
        to_do,
        transport: parts.transport,
        hints: parts.hints,
        metrics: parts.metrics,
        disk,
        stopped,
        registry: Registry::default(),
        introduced: BTreeMap::new(),
        roles: Roles::default(),
        behind: false,
        outgoing: BTreeMap::new(),
        connected: BTreeSet::new(),
        pending: BTreeMap::new(),
        next_request: 0,
        sweep_at: now + SWEEP,
        told: Ledger::default(),
        hints_look_at: now + HINTS_LOOK_SOON,
        view_dirty: true,
        registry_dirty: true,
        rules: 0,
    };
    let thread = Builder::new().name("worker".into()).spawn(move || {
        runtime.block_on(worker.run(parts.effects));
    })?;
    Ok((handle, thread))
}

struct Worker {
    node: Node<FileDisk>,
    clock: Clock,
    inbox: Inbox,
    ended: mpsc::Receiver<Done>,
    heard: mpsc::Receiver<PeerEvent>,
    to_do: mpsc::Receiver<Command>,
    transport: Transport,
    hints: Arc<Hints>,
    metrics: Arc<Metrics>,
    disk: DiskThreads,
    stopped: CancellationToken,
    registry: Registry,
    /// What connected peers say that they are.
    introduced: BTreeMap<PeerId, NodeId>,
    roles: Roles,
    /// Messages wait that came in before what is stepped now.
    behind: bool,
    /// What this round has to say on the control stream.
    outgoing: BTreeMap<NodeId, Vec<PeerMessage>>,
    connected: BTreeSet<PeerId>,
    pending: BTreeMap<u64, Reply>,
    next_request: u64,
    sweep_at: Instant,
    /// What the directory was told.
    told: Ledger,
    hints_look_at: Instant,
    /// The copy on disk is older than the node's view.
    view_dirty: bool,
    /// The transport and the clients have not been told of the newest registry.
    registry_dirty: bool,
    /// The version of configs that the connections were told of.
    rules: u64,
}

/// What came in during one round.
#[derive(Default)]
struct Round {
    done: Vec<Done>,
    commands: Vec<Command>,
    peers: Vec<PeerEvent>,
    calls: Vec<Call>,
}

impl Worker {
    async fn run(mut self, opening: Vec<Effect<FileDisk>>) {
        self.registry_dirty = false;
        self.registry_changed();
        self.perform(opening);
        self.speak();
        let mut round = Round::default();
        let mut calls_open = true;
        loop {
            self.wait(&mut round, &mut calls_open).await;
            if !self.work(&mut round) {
                break;
            }
        }
        self.inbox.calls.close();
        self.pending.clear();
        let _older = self.disk.keep_view(self.node.view().encode());
        self.disk.stop();
    }

    /// Waits until something came in or is due, then takes what else is there, up to a bound for each queue.
    async fn wait(&mut self, round: &mut Round, calls_open: &mut bool) {
        let due = self.node.next_deadline().map(|at| self.clock.at(at));
        let due = due.unwrap_or(self.sweep_at).min(self.sweep_at).min(self.hints_look_at);
        tokio::select! {
            biased;
            _ = self.ended.recv_many(&mut round.done, BATCH) => {}
            _ = self.to_do.recv_many(&mut round.commands, BATCH) => {}
            _ = self.heard.recv_many(&mut round.peers, BATCH) => {}
            taken = self.inbox.calls.recv_many(&mut round.calls, BATCH), if *calls_open => *calls_open = taken > 0,
            () = sleep_until(due) => {}
        }
        fill(&mut self.ended, &mut round.done);
        fill(&mut self.to_do, &mut round.commands);
        fill(&mut self.heard, &mut round.peers);
        fill(&mut self.inbox.calls, &mut round.calls);
    }

    /// One round; false when the thread shall end.
    fn work(&mut self, round: &mut Round) -> bool {
        self.metrics.rounds.fetch_add(1, Relaxed);
        let mut since = Instant::now();
        self.behind = !round.peers.is_empty();
        for done in round.done.drain(..) {
            let input = match done {
                Done::Committed(worker, commit) => Input::Committed { worker, commit },
                Done::Read(token, result) => Input::Read { token, result },
                Done::Reclaimed(worker, job) => Input::Reclaimed { worker, job },
            };
            self.step(input);
        }
        for event in round.peers.drain(..) {
            self.peer(event);
            if since.elapsed() >= SPEAK_EVERY {
                self.speak();
                since = self.metrics.busy_since(since);
            }
        }
        self.behind = !self.heard.is_empty();
        for call in round.calls.drain(..) {
            self.call(call);
        }
        let mut goes_on = true;
        for command in round.commands.drain(..) {
            match command {
                Command::Inspect(look) => look(&self.node),
                Command::Stop => self.step(Input::Stop),
                Command::End => goes_on = false,
            }
        }
        if self.node.next_deadline().is_some_and(|due| due <= self.clock.now().mono) {
            self.step(Input::Tick);
        }
        self.chores();
        self.speak();
        self.metrics.busy_since(since);
        goes_on
    }

    fn step(&mut self, input: Input<FileDisk>) {
        self.metrics.steps.fetch_add(1, Relaxed);
        let effects = self.node.step(Now { behind: self.behind, ..self.clock.now() }, input);
        self.tell_rules();
        self.roles.observe(&self.node, &self.metrics.elections);
        self.perform(effects);
    }

    /// What topics want of their batches, before anybody hears that it was set.
    fn tell_rules(&mut self) {
        let version = self.node.configs_version();
        if self.rules == version {
            return;
        }
        self.rules = version;
        let mut rules = Rules::new(wall_ms).with_quotas(self.node.quotas().clone());
        for (topic, config) in self.node.topic_configs() {
            if let Some(rule) = Rule::of(&config) {
                rules.add(topic.id, topic.name.clone(), rule);
            }
        }
        self.inbox.rules.send_replace(Arc::new(rules));
    }

    fn peer(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Connected(peer) => {
                self.connected.insert(peer);
                // The newcomer's part of the directory is empty. In a large mesh enough others have theirs, and connecting says little.
                if self.registry.others() <= FULL_MESH_OTHERS_MAX {
                    self.told.forget();
                    self.hints_look_at = self.hints_look_at.min(Instant::now() + HINTS_LOOK_SOON);
                }
                if let Some(node) = self.registry.node(&peer) {
                    self.step(Input::Connected(node));
                }
            }
            PeerEvent::Disconnected(peer) => {
                self.connected.remove(&peer);
                self.introduced.remove(&peer);
                if let Some(node) = self.registry.node(&peer) {
                    self.step(Input::Disconnected(node));
                }
            }
            PeerEvent::Parted(peer) => {
                self.connected.remove(&peer);
                self.introduced.remove(&peer);
            }
            PeerEvent::Introduced(peer, node) => _ = self.introduced.insert(peer, node),
            PeerEvent::Messages(peer, life, messages) => match self.node_of(&peer) {
                Some(from) => {
                    for message in messages {
                        self.step(Input::Message { from, life, message });
                    }
                }
                None => _ = self.metrics.strangers.fetch_add(1, Relaxed),
            },
        }
    }

    /// The node that a peer is. This copy of the registry may be older than the peer, and newer ones may be out of reach without it: a
    /// replica set here may count on a node that joined since, or on one whose number went over to another data directory since. So a
    /// claim to a number is believed while who has it here is not connected, but never that of an identity that had it before.
    fn node_of(&self, peer: &PeerId) -> Option<NodeId> {
        let vacant = |node: &NodeId| {
            let holder = self.registry.peer(*node);
            holder.is_none_or(|holder| !self.connected.contains(&holder))
        };
        let claimed = || self.introduced.get(peer).copied().filter(vacant);
        match self.registry.is_former(peer) {
            true => None,
            false => self.registry.node(peer).or_else(claimed),
        }
    }

    fn peer_of(&self, node: NodeId) -> Option<PeerId> {
        let claims = |peer: &&PeerId| self.node_of(peer) == Some(node);
        let registered = self.registry.peer(node);
        let connected = registered.filter(|peer| self.connected.contains(peer));
        connected.or_else(|| self.introduced.keys().find(claims).copied()).or(registered)
    }

    fn call(&mut self, call: Call) {
        self.next_request += 1;
        self.pending.insert(self.next_request, call.reply);
        let ClientContext { principal, client_id, .. } = call.client;
        let client = Client { principal, client_id };
        let began = self.node.measures(&client).then(Instant::now);
        let id = RequestId(self.next_request);
        self.step(Input::Request { id, client: client.clone(), request: call.request });
        if let Some(began) = began {
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.node.spent(&client, us);
        }
    }

    /// What is due, and what many inputs of one round need but once.
    fn chores(&mut self) {
        if self.registry_dirty {
            self.registry_dirty = false;
            self.registry_changed();
        }
        let now = Instant::now();
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP;
            let gone: Vec<u64> =
                self.pending.iter().filter(|(_, reply)| reply.is_closed()).map(|(id, _)| *id).collect();
            for id in gone {
                self.pending.remove(&id);
                self.step(Input::Cancel(RequestId(id)));
            }
            if self.view_dirty {
                self.view_dirty = self.disk.keep_view(self.node.view().encode()).is_err();
            }
        }
        if now >= self.hints_look_at {
            self.hints_look_at = now + HINTS_LOOK;
            self.hints.put(self.told.due(hints_of(&self.node), now));
        }
        self.metrics.calls.store(self.pending.len() as u64, Relaxed);
    }

    fn registry_changed(&mut self) {
        let before = std::mem::replace(&mut self.registry, Registry::of(self.node.view()));
        self.transport.allow(self.registry.allowed(), self.registry.former());
        self.inbox.brokers.send_replace(brokers(self.node.view()).into());
        let is_new = |peer: &&PeerId| before.node(peer).is_none();
        let known: Vec<NodeId> =
            self.connected.iter().filter(is_new).filter_map(|peer| self.registry.node(peer)).collect();
        for node in known {
            self.step(Input::Connected(node));
        }
    }

    fn perform(&mut self, effects: Vec<Effect<FileDisk>>) {
        for effect in effects {
            match effect {
                Effect::Respond { id, response, throttle_ms } => {
                    if let Some(reply) = self.pending.remove(&id.0) {
                        // The client may have gone away meanwhile.
                        let _gone = reply.send_throttled(response, throttle_ms);
                    }
                }
                Effect::Send { to, stream: Stream::Control, message } => {
                    self.outgoing.entry(to).or_default().push(message);
                }
                Effect::Send { to, stream, message } => self.send(to, stream, &message),
                Effect::Commit { worker, commit } => self.disk.commit(worker, commit),
                Effect::Read { token, job } => self.disk.read(token, job),
                Effect::Reclaim { worker, job } => self.disk.reclaim(worker, job),
                Effect::Publish(info) => {
                    let hint: Vec<Keyed> = hint_of(&self.node, &info).into_iter().collect();
                    hint.iter().for_each(|keyed| self.told.note(keyed, Instant::now()));
                    self.hints.put(hint);
                }
                Effect::Failed(reason) => fail(&reason),
                Effect::RegistryChanged => (self.registry_dirty, self.view_dirty) = (true, true),
                Effect::Stopped => self.stopped.cancel(),
            }
        }
    }

    /// Sends what a round had to say on the control stream, to each node together: the heartbeats of its many replica sets are one frame.
    fn speak(&mut self) {
        for (to, messages) in std::mem::take(&mut self.outgoing) {
            for together in messages.chunks(TOGETHER_MAX) {
                if let [message] = together {
                    self.send(to, Stream::Control, message);
                    continue;
                }
                together.iter().for_each(|message| self.note_outlived(to, message));
                self.send_frame(to, Stream::Control, 0, wire::encode_round(self.node.life(), together));
            }
        }
    }

    fn send(&self, to: NodeId, stream: Stream, message: &PeerMessage) {
        self.note_outlived(to, message);
        self.send_frame(to, stream, lane_key(message), wire::encode(self.node.life(), message));
    }

    fn note_outlived(&self, to: NodeId, message: &PeerMessage) {
        if matches!(message, PeerMessage::Outlived(_))
            && let Some(peer) = self.peer_of(to)
        {
            self.metrics.visits.outlived(peer);
        }
    }

    fn send_frame(&self, to: NodeId, stream: Stream, lane: u64, frame: Option<bytes::Bytes>) {
        let counters = self.metrics.stream(stream);
        let dropped = || _ = counters.dropped.fetch_add(1, Relaxed);
        // One that is not connected is connected by this in a large mesh, and in a small one at any moment.
        let Some(peer) = self.peer_of(to) else { return dropped() };
        let Some(frame) = frame else {
            tracing::error!(node = to.0, "a message is longer than a frame may be and was dropped");
            return dropped();
        };
        let bytes = frame.len() as u64;
        if self.transport.send_keyed(peer, wire::class(stream), lane, frame) {
            counters.sent.fetch_add(1, Relaxed);
            counters.sent_bytes.fetch_add(bytes, Relaxed);
        } else {
            dropped();
        }
    }
}

/// Messages of one partition keep their order; different ones may take different lanes.
fn lane_key(message: &PeerMessage) -> u64 {
    match message {
        PeerMessage::Raft { key, .. } => {
            let [.., a, b, c, d] = key.topic.0;
            u64::from(u32::from_le_bytes([a, b, c, d]) ^ key.partition.cast_unsigned())
        }
        _ => 0,
    }
}

fn fill<T>(queue: &mut mpsc::Receiver<T>, into: &mut Vec<T>) {
    while into.len() < BATCH {
        let Ok(one) = queue.try_recv() else { break };
        into.push(one);
    }
}

/// Nothing can be promised any more.
fn fail(reason: &str) -> ! {
    if reason.starts_with(REFUSED) || reason.starts_with(OLD_COPY) {
        tracing::error!(reason, "this node stops");
        std::process::exit(EXIT_REFUSED);
    }
    tracing::error!(
        reason,
        "this node stops: its disk failed. Nothing acknowledged is lost while the other replicas are there. {} If the disk is \
         gone, give the node an empty --data-dir and --join",
        advice::failed(reason)
    );
    std::process::exit(EXIT_DISK);
}
