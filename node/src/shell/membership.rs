//! How a node comes to its mesh, and what it says to others about that afterwards: pumps [`mesh::founding`].
//!
//! Until the node is part of a mesh, [`Mesh::establish`] takes the transport's events; from then on [`Mesh::run`] does, and
//! passes on what is for the node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use libp2p::PeerId;
use mesh::founding::{
    Effect, Founder, FoundingError, FoundingRecord, Input, JoinAnswer, JoinRequest, Outcome, Recorded,
    Replaced, Seed,
};
use mesh::raft::{Incarnation, NodeId};
use mesh::transport::{Event, StreamClass, Transport};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::wall_ms;
use super::config::Entry;
use super::data_dir::{DataDir, DataDirError};
use super::metrics::Metrics;
use super::skew::{self, Clocks};
use super::wire::{self, Frame};
use super::worker::{PeerEvent, WorkerHandle};
use crate::core::error::ErrorCode;
use crate::core::metadata::{self, Registration, View};
use crate::core::request::{Request, Response};
use crate::kafka::{ClientContext, NodeHandle};

/// How often the founding says everything again.
const TICK: Duration = Duration::from_millis(200);
/// How often a request to join is repeated.
const JOIN_AGAIN: Duration = Duration::from_secs(1);
/// How often a person is told what is waited for.
const TELL: Duration = Duration::from_secs(5);
/// How long a node that is refused goes on to look for one that takes it.
const REFUSED: Duration = Duration::from_secs(5);
/// A connection that lasts so long will not be refused any more.
const KEPT: Duration = Duration::from_secs(30);
/// Requests to join that are worked on at the same time.
const JOINS_MAX: usize = 8;
/// How long a member waits to see the newcomer in its own copy of the registry.
const SEEN: Duration = Duration::from_secs(2);
/// How `/v1/nodes` begins to tell of one that may be admitted later.
const WAITS: &str = "a node waits to be admitted";
/// The begin of a refusal that the other side spoke.
const BY_PEER: &str = "the peer refused this node";

/// Why a node does not come to a mesh.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The founding cannot go on.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Nobody takes this node.
    #[error("this node is refused by the mesh, which has or knows already what it claims to be: {0}")]
    Refused(String),
    /// A member said no.
    #[error("the mesh does not admit this node: {0}")]
    NotAdmitted(String),
    /// It was told to stop first.
    #[error("stopped before it was part of a mesh")]
    Stopped,
    /// A defect.
    #[error("the mesh transport ended by itself")]
    TransportEnded,
}

/// A node's place in its mesh.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its committed id.
    pub(super) node: NodeId,
    /// What the mesh began with.
    pub(super) record: FoundingRecord,
    /// What this node knew of topics and nodes.
    pub(super) view: Option<Bytes>,
}

/// The founding record as the core takes it. Zones are left out: founders may have heard different ones of each other,
/// and every founder must derive the same shards; nodes register their zones as soon as shard 0 is led.
pub(super) fn founding_of(record: &FoundingRecord) -> metadata::Founding {
    let founders = record.nodes.iter().map(|node| metadata::Founder {
        node: NodeId(node.node_id),
        incarnation: Incarnation(node.incarnation),
        peer_id: node.peer_id.clone(),
        mesh: node.addresses.mesh.clone(),
        zone: String::new(),
    });
    metadata::Founding { cluster_id: cluster_id(record), founders: founders.collect() }
}

/// The cluster's id as people and Kafka clients see it: the first 16 bytes in hexadecimal.
pub(super) fn cluster_id(record: &FoundingRecord) -> String {
    record.cluster_id.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The transport's owner.
pub(super) struct Mesh {
    transport: Transport,
    events: mpsc::Receiver<Event>,
    directory: DataDir,
    own: Seed,
    entry: Entry,
    /// The number that an operator wants for it, while it has none.
    replaces: Option<Replaced>,
    founder: Founder,
    /// How many founded the mesh; 0 while that is not known.
    members: usize,
    /// What the founder wanted before anybody listened.
    begun: Vec<Effect>,
    connected: BTreeMap<PeerId, Connected>,
    refusals: Refusals,
    metrics: Arc<Metrics>,
    clocks: Arc<Clocks>,
}

/// A peer that is there.
#[derive(Clone, Debug)]
struct Connected {
    address: String,
    since: Instant,
}

/// Who would not have this node, and whether anyone has it.
#[derive(Debug, Default)]
struct Refusals {
    by: BTreeSet<PeerId>,
    first: Option<(Instant, String)>,
    /// Someone kept a connection: whoever refuses from now on is the one that is wrong.
    taken: bool,
}

impl Refusals {
    fn heard(&mut self, peer: PeerId, local: PeerId, reason: &str) {
        if peer == local || reason.starts_with(BY_PEER) {
            self.by.insert(peer);
            self.first.get_or_insert_with(|| (Instant::now(), reason.to_owned()));
        }
    }

    /// The reason to end with, once nobody took this node for long enough.
    fn verdict(&mut self, connected: &BTreeMap<PeerId, Connected>) -> Option<String> {
        let good =
            || connected.iter().filter(|(peer, _)| !self.by.contains(peer)).map(|(_, at)| at.since.elapsed());
        self.taken |= good().any(|age| age >= KEPT);
        let (since, reason) = self.first.as_ref()?;
        (!self.taken && good().next().is_none() && since.elapsed() >= REFUSED).then(|| reason.clone())
    }
}

enum Step {
    Nothing,
    Outcome(Outcome),
    Joined(JoinAnswer),
}

impl Mesh {
    /// Begins where the data directory left off.
    pub(super) fn new(
        transport: Transport,
        events: mpsc::Receiver<Event>,
        directory: DataDir,
        own: Seed,
        (entry, replaces): (Entry, Option<Replaced>),
        metrics: Arc<Metrics>,
        clocks: Arc<Clocks>,
    ) -> Result<Mesh, MembershipError> {
        let recorded = directory.founding()?;
        let seeds = match &entry {
            Entry::Alone => Vec::new(),
            Entry::Seeds(seeds) => seeds.clone(),
            Entry::Join(address) => vec![address.clone()],
        };
        let (founder, begun) = Founder::new(own.clone(), &seeds, recorded.as_deref())?;
        let (connected, refusals) = (BTreeMap::new(), Refusals::default());
        for address in seeds.iter().filter(|address| **address != own.addresses.mesh) {
            transport.dial(address.clone());
        }
        for address in founder.addresses() {
            transport.dial(address.to_owned());
        }
        Ok(Mesh {
            transport,
            events,
            directory,
            own,
            entry,
            replaces,
            founder,
            members: 0,
            begun,
            connected,
            refusals,
            metrics,
            clocks,
        })
    }

    /// Founds or joins, or goes on as before. `told` hears what is waited for.
    pub(super) async fn establish(
        &mut self,
        told: &watch::Sender<String>,
        stop: &CancellationToken,
    ) -> Result<Member, MembershipError> {
        let begun = std::mem::take(&mut self.begun);
        let mut step = self.perform(begun).await?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tell_at = Instant::now() + TICK;
        loop {
            match step {
                Step::Outcome(Outcome::Founded(record)) => return self.founded(record, told, stop).await,
                Step::Outcome(Outcome::Join { address }) => return self.join(address, told, stop).await,
                Step::Nothing | Step::Joined(_) => {}
            }
            step = tokio::select! {
                event = self.events.recv() => self.hear(event).await?,
                _ = tick.tick() => {
                    if Instant::now() >= tell_at {
                        tell_at = Instant::now() + TELL;
                        self.tell(told);
                    }
                    self.check_refusals()?;
                    let effects = self.founder.step(Input::Tick);
                    self.perform(effects).await?
                }
                () = stop.cancelled() => return Err(MembershipError::Stopped),
            };
        }
    }

    fn tell(&self, told: &watch::Sender<String>) {
        let missing: Vec<&str> = self.founder.missing().collect();
        let text = match (&self.entry, missing.is_empty()) {
            (Entry::Join(address), _) => format!("waiting for the member at {address}"),
            (_, false) => format!("waiting for seeds {}", missing.join(" ")),
            (_, true) => "agreeing with the other seeds".to_owned(),
        };
        tracing::info!("{text}");
        told.send_replace(text);
    }

    /// The mesh is founded: this node is one of the founders, or joined before.
    async fn founded(
        &mut self,
        record: FoundingRecord,
        told: &watch::Sender<String>,
        stop: &CancellationToken,
    ) -> Result<Member, MembershipError> {
        self.members = record.nodes.len();
        self.transport.set_cluster(record.cluster_id);
        let view = self.directory.view()?;
        if let Some(founder) = record.node_of(&self.own.peer_id) {
            return Ok(Member { node: NodeId(founder.node_id), record, view });
        }
        let known = view.as_deref().and_then(|bytes| View::decode(bytes).ok());
        let me = known.and_then(|view| {
            view.nodes().find(|info| info.peer_id == self.own.peer_id).map(|info| info.node)
        });
        if let Some(node) = me {
            return Ok(Member { node, record, view });
        }
        // It joined, and the copy of the registry is lost: asking again gives the same id.
        for node in &record.nodes {
            self.transport.dial(node.addresses.mesh.clone());
        }
        let address = record.nodes.first().map(|node| node.addresses.mesh.clone()).unwrap_or_default();
        self.join(address, told, stop).await
    }

    /// Asks a member to be admitted, again and again, until it is or is refused.
    async fn join(
        &mut self,
        mut address: String,
        told: &watch::Sender<String>,
        stop: &CancellationToken,
    ) -> Result<Member, MembershipError> {
        tracing::info!(address, "joining a mesh");
        self.transport.dial(address.clone());
        let mut waits_for = format!("waiting for the mesh at {address} to admit this node");
        let mut again = interval(JOIN_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                event = self.events.recv() => self.hear(event).await?,
                _ = again.tick() => {
                    told.send_replace(waits_for.clone());
                    self.check_refusals()?;
                    self.ask(&address);
                    Step::Nothing
                }
                () = stop.cancelled() => return Err(MembershipError::Stopped),
            };
            match step {
                Step::Joined(JoinAnswer::Accepted { node_id, record, registry }) => {
                    return self.joined(NodeId(node_id), record, registry);
                }
                Step::Joined(JoinAnswer::Refused { reason }) => {
                    return Err(MembershipError::NotAdmitted(reason));
                }
                Step::Joined(JoinAnswer::Wait { reason }) => {
                    if waits_for != reason {
                        tracing::warn!(reason, "not admitted yet; asking again");
                        waits_for = reason;
                    }
                }
                Step::Joined(JoinAnswer::Redirect { address: other }) => {
                    self.transport.dial(other.clone());
                    address = other;
                }
                Step::Nothing | Step::Outcome(_) => {}
            }
        }
    }

    fn ask(&self, address: &str) {
        let at = self
            .connected
            .iter()
            .find(|(_, known)| known.address == address)
            .or(self.connected.iter().next());
        let Some((peer, _)) = at else {
            return tracing::info!(address, "waiting for a member to connect to");
        };
        let Seed { peer_id, incarnation, addresses, zone } = self.own.clone();
        let request = JoinRequest { peer_id, incarnation, addresses, zone, replaces: self.replaces };
        self.transport.send(*peer, StreamClass::Rpc, wire::join(&request));
    }

    /// The registry first: with the founding record alone this node would have to ask for its id again.
    fn joined(
        &mut self,
        node: NodeId,
        record: FoundingRecord,
        registry: Bytes,
    ) -> Result<Member, MembershipError> {
        let recorded = Recorded { by: self.own.peer_id.clone(), founded: true, record: record.clone() };
        let bytes = recorded.encode();
        self.directory.set_view(&registry)?;
        self.directory.set_founding(&bytes)?;
        // From now on this node can tell others about the founding.
        let seeds = [self.own.addresses.mesh.clone()];
        (self.founder, _) = Founder::new(self.own.clone(), &seeds, Some(&bytes))?;
        self.members = record.nodes.len() + 1;
        self.transport.set_cluster(record.cluster_id);
        tracing::info!(node_id = node.0, cluster_id = cluster_id(&record), "admitted to the mesh");
        Ok(Member { node, record, view: Some(registry) })
    }

    /// A node that looks for nobody is not asked either: a stranger's refusal is no word about it.
    fn check_refusals(&mut self) -> Result<(), MembershipError> {
        if self.entry == Entry::Alone && self.members <= 1 {
            return Ok(());
        }
        self.refusals.verdict(&self.connected).map_or(Ok(()), |reason| Err(MembershipError::Refused(reason)))
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Connected { peer, address } => {
                self.metrics.connects.fetch_add(1, Relaxed);
                self.metrics.visits.came(*peer);
                let connected = Connected { address: address.clone(), since: Instant::now() };
                self.connected.insert(*peer, connected);
            }
            Event::Disconnected { peer } => {
                self.metrics.disconnects.fetch_add(1, Relaxed);
                self.metrics.visits.left(*peer);
                self.connected.remove(peer);
                self.clocks.forget(peer);
            }
            Event::Parted { peer } => _ = self.connected.remove(peer),
            Event::Frame { class, frame, .. } => {
                let counters = self.metrics.stream(wire::stream(*class));
                counters.received.fetch_add(1, Relaxed);
                counters.received_bytes.fetch_add(frame.len() as u64, Relaxed);
            }
            Event::Refused { peer, reason } => {
                self.metrics.refusals.fetch_add(1, Relaxed);
                if !reason.starts_with(BY_PEER) && *peer != self.transport.local_peer() {
                    self.metrics.visits.turned_away(*peer, reason);
                }
                self.refusals.heard(*peer, self.transport.local_peer(), reason);
            }
        }
    }

    fn tell_time(&self, me: NodeId) {
        for peer in self.connected.keys() {
            self.transport.send(*peer, StreamClass::Control, wire::clock(wall_ms(), me));
        }
    }

    fn compare(&self, peer: PeerId, theirs: i64) {
        if let Some(connected) = self.connected.get(&peer) {
            skew::tell(self.clocks.heard(peer, theirs, wall_ms()), &connected.address);
        }
    }

    fn decode(&self, peer: PeerId, frame: &[u8]) -> Option<Frame> {
        wire::decode(frame)
            .inspect_err(|error| {
                self.metrics.undecodable.fetch_add(1, Relaxed);
                tracing::warn!(%peer, %error, "a frame of a peer cannot be read; it is passed over");
            })
            .ok()
    }

    /// While there is no node: only founding and joining is listened to.
    async fn hear(&mut self, event: Option<Event>) -> Result<Step, MembershipError> {
        let event = event.ok_or(MembershipError::TransportEnded)?;
        self.note(&event);
        let input = match event {
            Event::Connected { peer, .. } => Input::Connected { peer_id: peer.to_bytes() },
            Event::Disconnected { peer } | Event::Parted { peer } => {
                Input::Disconnected { peer_id: peer.to_bytes() }
            }
            Event::Refused { .. } => return Ok(Step::Nothing),
            Event::Frame { peer, frame, .. } => match self.decode(peer, &frame) {
                Some(Frame::Founding(message)) => Input::Message { from: peer.to_bytes(), message },
                Some(Frame::Joined(answer)) => return Ok(Step::Joined(answer)),
                Some(Frame::Node(..) | Frame::Join(_) | Frame::Clock(..)) | None => return Ok(Step::Nothing),
            },
        };
        let effects = self.founder.step(input);
        self.perform(effects).await
    }

    /// Performs effects until none is left; a record is synced before the next is looked at.
    async fn perform(&mut self, effects: Vec<Effect>) -> Result<Step, MembershipError> {
        let mut step = Step::Nothing;
        let mut left: std::collections::VecDeque<Effect> = effects.into();
        while let Some(effect) = left.pop_front() {
            match effect {
                Effect::Record(bytes) => {
                    self.directory.set_founding(&bytes)?;
                    left.extend(self.founder.step(Input::Recorded));
                }
                Effect::Send { to, message } => {
                    if let Ok(peer) = PeerId::from_bytes(&to) {
                        self.transport.send(peer, StreamClass::Control, wire::founding(&message));
                    }
                }
                Effect::Outcome(outcome) => step = Step::Outcome(outcome),
                Effect::Failed(error) => return Err(error.into()),
            }
        }
        Ok(step)
    }

    /// Pumps events to the node until told to stop. Ends with an error when the mesh will not have this node.
    pub(super) async fn run(
        mut self,
        me: NodeId,
        worker: WorkerHandle,
        record: FoundingRecord,
        calls: NodeHandle,
        stop: CancellationToken,
    ) -> Result<(), MembershipError> {
        let joins = TaskTracker::new();
        let places = Arc::new(Semaphore::new(JOINS_MAX));
        for peer in self.connected.keys() {
            worker.tell(PeerEvent::Connected(*peer)).await;
        }
        let mut check = interval(REFUSED / 5);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut clock = interval(skew::EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event.ok_or(MembershipError::TransportEnded)?,
                _ = check.tick() => {
                    self.check_refusals()?;
                    continue;
                }
                _ = clock.tick() => {
                    self.tell_time(me);
                    continue;
                }
                () = stop.cancelled() => break,
            };
            self.note(&event);
            let goes_on = match event {
                Event::Connected { peer, .. } => {
                    let effects = self.founder.step(Input::Connected { peer_id: peer.to_bytes() });
                    self.perform(effects).await?;
                    self.transport.send(peer, StreamClass::Control, wire::clock(wall_ms(), me));
                    worker.tell(PeerEvent::Connected(peer)).await
                }
                Event::Disconnected { peer } => {
                    self.founder.step(Input::Disconnected { peer_id: peer.to_bytes() });
                    worker.tell(PeerEvent::Disconnected(peer)).await
                }
                Event::Parted { peer } => {
                    self.founder.step(Input::Disconnected { peer_id: peer.to_bytes() });
                    worker.tell(PeerEvent::Parted(peer)).await
                }
                Event::Refused { .. } => true,
                Event::Frame { peer, frame, .. } => match self.decode(peer, &frame) {
                    Some(Frame::Node(life, messages)) => {
                        worker.tell(PeerEvent::Messages(peer, life, messages)).await
                    }
                    Some(Frame::Founding(message)) => {
                        let effects = self.founder.step(Input::Message { from: peer.to_bytes(), message });
                        self.perform(effects).await?;
                        true
                    }
                    Some(Frame::Join(request)) if request.peer_id == peer.to_bytes() => {
                        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                            let admission = Admission {
                                transport: self.transport.clone(),
                                worker: worker.clone(),
                                calls: calls.clone(),
                                record: record.clone(),
                                metrics: Arc::clone(&self.metrics),
                            };
                            joins.spawn(async move {
                                admission.answer(peer, request).await;
                                drop(place);
                            });
                        }
                        true
                    }
                    Some(Frame::Clock(theirs, node)) => {
                        self.compare(peer, theirs);
                        match node {
                            Some(node) => worker.tell(PeerEvent::Introduced(peer, node)).await,
                            None => true,
                        }
                    }
                    Some(Frame::Join(_) | Frame::Joined(_)) | None => true,
                },
            };
            if !goes_on {
                break;
            }
        }
        joins.close();
        joins.wait().await;
        Ok(())
    }
}

/// What a member needs to admit a newcomer.
struct Admission {
    transport: Transport,
    worker: WorkerHandle,
    calls: NodeHandle,
    record: FoundingRecord,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// Without a verdict of shard 0 nothing is answered, and the newcomer asks again.
    async fn answer(&self, peer: PeerId, request: JoinRequest) {
        let who = request.addresses.mesh.clone();
        let Some(answer) = self.verdict(request).await else {
            return tracing::warn!(%peer, mesh = who, "a node asks to join and shard 0 does not answer; it will ask again");
        };
        match &answer {
            JoinAnswer::Accepted { node_id, .. } => {
                tracing::info!(%peer, mesh = who, node_id, "a node joins the mesh")
            }
            JoinAnswer::Refused { reason } => {
                self.metrics.visits.turned_away(peer, reason);
                tracing::warn!(%peer, mesh = who, reason, "a node is not admitted")
            }
            JoinAnswer::Wait { reason } => {
                self.metrics.visits.turned_away(peer, &format!("{WAITS} at {who}: {reason}"));
                tracing::warn!(%peer, mesh = who, reason, "a node waits to be admitted")
            }
            JoinAnswer::Redirect { .. } => {}
        }
        self.transport.send(peer, StreamClass::Rpc, wire::joined(&answer));
    }

    async fn verdict(&self, request: JoinRequest) -> Option<JoinAnswer> {
        let peer_id = request.peer_id.clone();
        let registration = Registration {
            node: request.replaces.map(|replaced| NodeId(replaced.node_id)),
            incarnation: Incarnation(request.incarnation),
            peer_id: request.peer_id,
            kafka: request.addresses.kafka,
            mesh: request.addresses.mesh,
            http: request.addresses.http,
            zone: request.zone,
            weight: 1,
        };
        let client = ClientContext {
            listener: Arc::from("mesh"),
            address: self.transport.listening(),
            client_id: Arc::from("join"),
            principal: Arc::from("User:mesh"),
        };
        let gives_up = request.replaces.is_some_and(|replaced| replaced.gives_up);
        let request = Request::RegisterNode { registration, gives_up };
        let answer = self.calls.send(request, client).await.ok()?.await.ok()?;
        let Some(Response::RegisterNode { error, message, node }) = answer.response else { return None };
        match error {
            ErrorCode::None => {
                let registry = self.registry_with(peer_id).await?;
                Some(JoinAnswer::Accepted { node_id: node, record: self.record.clone(), registry })
            }
            // The old life is there, or some of what it held would be lost: that may pass.
            ErrorCode::NotController | ErrorCode::NotEnoughReplicas => {
                message.map(|reason| JoinAnswer::Wait { reason })
            }
            ErrorCode::RequestTimedOut | ErrorCode::LeaderNotAvailable => None,
            error => {
                let reason = message.unwrap_or_else(|| error.text().to_owned());
                Some(JoinAnswer::Refused { reason })
            }
        }
    }

    /// This node's copy of the registry, once it holds the newcomer; as it is when that takes long.
    async fn registry_with(&self, peer_id: Vec<u8>) -> Option<Bytes> {
        let until = Instant::now() + SEEN;
        loop {
            let wanted = peer_id.clone();
            let last = Instant::now() >= until;
            let look = move |node: &super::ShellNode| {
                let there = node.view().nodes().any(|info| info.peer_id == wanted);
                (there || last).then(|| node.view().encode())
            };
            if let Some(bytes) = self.worker.inspect(look).await.ok()? {
                return Some(bytes.into());
            }
            sleep(TICK / 4).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_nobody_takes_ends_and_one_that_is_taken_does_not() {
        let (local, other, third) = (PeerId::random(), PeerId::random(), PeerId::random());
        let mut refusals = Refusals::default();
        let mut connected = BTreeMap::new();
        refusals.heard(other, local, "this one refused a stranger");
        assert_eq!(refusals.verdict(&connected), None);
        refusals.heard(other, local, &format!("{BY_PEER}: copied"));
        let at = |address: &str| Connected { address: address.into(), since: Instant::now() };
        connected.insert(other, at("a:1"));
        tokio::time::advance(REFUSED).await;
        assert!(refusals.verdict(&connected).is_some_and(|reason| reason.ends_with("copied")));
        connected.insert(third, at("b:1"));
        assert_eq!(refusals.verdict(&connected), None);
        tokio::time::advance(KEPT).await;
        assert_eq!(refusals.verdict(&connected), None);
        connected.clear();
        assert_eq!(refusals.verdict(&connected), None, "it was taken once");
    }
}
