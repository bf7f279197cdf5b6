//! What becomes of a connection.
//!
//! | from | when | to |
//! |---|---|---|
//! | setting up | handshake done, peer has no live connection | live, `Connected` is reported |
//! | setting up | handshake done, peer has a live one of the same session | the better of both is live, the other drains |
//! | setting up | handshake done, peer has a live one of another session | challenger |
//! | setting up | handshake failed or refused | closed |
//! | challenger | the live one ended: the peer was restarted | live |
//! | challenger | the live one answered two more pings: a second node with that identity | refused |
//! | live | closed for whatever reason | `Disconnected` is reported at once |
//! | live | in a large mesh, unused for a while here or at the peer | `Parted` is reported, draining |
//! | draining | peer closed its side of all streams, or a few seconds passed | closed |
//!
//! Both ends call the same of two connections the better one: that of the dialer with the lower peer id, and
//! of one dialer's the newer.

use super::actor::{Actor, Command, Outgoing};
use super::frame::Kind;
use super::handshake::{
    FEATURE_LEVEL, HandshakeError, Hello, Identity, PROTOCOL_VERSIONS, Side, accept, introduce, linger,
    shake, short,
};
use super::link::{self, Link, Owner, Readers};
use super::streams::Opened;
use super::swarm::named;
use super::{Event, StreamClass};
use bytes::Bytes;
use libp2p::PeerId;
use libp2p::kad::KBucketKey;
use libp2p::swarm::{ConnectionId, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// From the connection's start to its last stream.
const SET_UP_PATIENCE: Duration = Duration::from_secs(5);
/// How long a replaced connection may take to empty itself.
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);
/// Pings of the live connection, begun after the challenger came, that prove the old session to be alive.
const PROVING_PINGS: u8 = 2;
/// Streams that may wait for the task that sets a connection up.
const STREAMS_WAITING_MAX: usize = 8;
/// Reasons remembered so that each is reported once.
const REASONS_MAX: usize = 1024;

struct Running {
    hello: Hello,
    attempt: u64,
    link: Option<Arc<Link>>,
    readers: Option<Readers>,
}

enum Stage {
    SettingUp(mpsc::Sender<Stream>),
    Challenger { running: Running, pings: u8 },
    Live(Running),
    Draining,
}

struct Connection {
    peer: PeerId,
    dialer: bool,
    attempt: u64,
    stage: Stage,
    stopped: CancellationToken,
    /// When it was last found that it was used, and the count of frames then.
    used: (Instant, u64),
}

/// All connections, and which of a peer's is live.
#[derive(Default)]
pub(super) struct Connections {
    all: BTreeMap<ConnectionId, Connection>,
    live: BTreeMap<PeerId, ConnectionId>,
    pub(super) registry: BTreeMap<PeerId, Vec<String>>,
    removed: BTreeSet<PeerId>,
    outlived: BTreeSet<PeerId>,
    reasons: BTreeMap<PeerId, String>,
    attempts: u64,
    session: Option<u64>,
}

impl Connections {
    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.live.contains_key(peer)
    }

    pub(super) fn connected(&self) -> Vec<PeerId> {
        self.live.keys().copied().collect()
    }

    pub(super) fn peer_of(&self, connection: ConnectionId) -> Option<PeerId> {
        self.all.get(&connection).map(|connection| connection.peer)
    }

    /// The live ones and since when nothing used them. `used` are peers with which Kademlia spoke since the last look.
    pub(super) fn idle(&mut self, used: &BTreeSet<PeerId>, now: Instant) -> Vec<(ConnectionId, Instant)> {
        let mut idle = Vec::new();
        for (id, connection) in &mut self.all {
            let Stage::Live(running) = &connection.stage else { continue };
            let uses = running.link.as_ref().map_or(0, |link| link.uses());
            if uses != connection.used.1 || used.contains(&connection.peer) {
                connection.used = (now, uses);
            }
            idle.push((*id, connection.used.0));
        }
        idle
    }

    /// Takes a live connection out of use; its link, for last words.
    pub(super) fn take_live(&mut self, id: ConnectionId) -> Option<(PeerId, Option<Arc<Link>>)> {
        let connection = self.all.get_mut(&id)?;
        let peer = connection.peer;
        if self.live.get(&peer) != Some(&id) {
            return None;
        }
        self.live.remove(&peer);
        let link = match std::mem::replace(&mut connection.stage, Stage::Draining) {
            Stage::Live(running) => running.link,
            _ => None,
        };
        Some((peer, link))
    }

    /// Lets go of every queue, so that the writers end once these are empty.
    pub(super) fn drop_links(&mut self) {
        for connection in self.all.values_mut() {
            if let Stage::Live(running) | Stage::Challenger { running, .. } = &mut connection.stage {
                running.link = None;
            }
        }
    }

    /// One number per life of this transport, drawn with the system's randomness by way of a throw-away key.
    fn session(&mut self) -> u64 {
        *self.session.get_or_insert_with(|| {
            let drawn = libp2p::identity::Keypair::generate_ed25519().public().encode_protobuf();
            let digest = blake3::hash(&drawn);
            let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        })
    }
}

impl Actor {
    pub(super) fn on_established(&mut self, peer: PeerId, id: ConnectionId, dialer: bool) {
        let (streams, opened) = mpsc::channel(STREAMS_WAITING_MAX);
        self.connections.attempts += 1;
        let attempt = self.connections.attempts;
        let stopped = self.stopped.child_token();
        let own = Hello {
            versions: PROTOCOL_VERSIONS,
            feature_level: FEATURE_LEVEL,
            session: self.connections.session(),
            attempt,
            lanes: self.config.replication_lanes.clamp(1, 4),
            cluster: self.cluster,
            advertised: self.advertised.clone(),
        };
        let stage = Stage::SettingUp(streams);
        let used = (Instant::now(), 0);
        let connection = Connection { peer, dialer, attempt, stage, stopped: stopped.clone(), used };
        self.connections.all.insert(id, connection);
        self.reach.reached(&peer);
        let (secret, local, commands) =
            (self.config.secret, *self.swarm.local_peer_id(), self.commands.clone());
        tokio::spawn(async move {
            let side = if dialer { Side::Dialer } else { Side::Listener };
            let identity = Identity { secret: &secret, own: local, peer, side };
            let task = timeout(SET_UP_PATIENCE, set_up(id, &identity, &own, opened, &commands));
            let result = tokio::select! {
                result = task => result.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())),
                () = stopped.cancelled() => return,
            };
            let _ = commands.send(Command::SetUp(id, result)).await;
        });
        if dialer {
            self.swarm.behaviour_mut().streams.open(peer, id);
        }
    }

    pub(super) fn on_stream(&mut self, opened: Opened) {
        let stage = self.connections.all.get(&opened.connection).map(|connection| &connection.stage);
        // A stream that nobody waits for is dropped, which resets it.
        let Some(Stage::SettingUp(streams)) = stage else { return };
        if opened.stream.is_none_or(|stream| streams.try_send(stream).is_err()) {
            self.swarm.close_connection(opened.connection);
        }
    }

    pub(super) fn on_set_up(
        &mut self,
        id: ConnectionId,
        result: Result<(Hello, link::Streams), HandshakeError>,
    ) {
        let Some(connection) = self.connections.all.get_mut(&id) else { return };
        let peer = connection.peer;
        let (hello, streams) = match result {
            Ok(done) => done,
            Err(error) => {
                if let HandshakeError::RefusedByPeer(_) = &error {
                    self.targets.refused(id);
                    self.report_refusal(peer, error.to_string());
                } else {
                    tracing::debug!(%peer, %error, "a connection could not be set up");
                }
                self.swarm.close_connection(id);
                return;
            }
        };
        let owner = Owner {
            peer,
            connection: id,
            commands: self.commands.clone(),
            stopped: connection.stopped.clone(),
        };
        let attempt = if connection.dialer { connection.attempt } else { hello.attempt };
        let (link, readers) = link::start(&owner, streams, self.config.in_flight_bytes_max, &self.tasks);
        let running = Running { hello, attempt, link: Some(Arc::new(link)), readers: Some(readers) };
        // The handshake judged by the cluster that this node belonged to when it began.
        let reason =
            self.other_cluster(peer, &running.hello).or_else(|| self.objection(peer, id, &running.hello));
        if let Some(reason) = reason {
            return self.refuse(id, running.link, reason);
        }
        match self.connections.live.get(&peer).copied() {
            None => self.promote(id, running),
            Some(live) if self.same_session(live, &running) => {
                if self.is_better(id, running.attempt, live) {
                    self.replace(live, id, running);
                } else {
                    self.drain(id, running.readers);
                }
            }
            Some(_) => self.set_stage(id, Stage::Challenger { running, pings: 0 }),
        }
    }

    fn set_stage(&mut self, id: ConnectionId, stage: Stage) {
        if let Some(connection) = self.connections.all.get_mut(&id) {
            connection.stage = stage;
        }
    }

    /// Why a peer that holds the secret is not let in all the same.
    fn objection(&self, peer: PeerId, id: ConnectionId, hello: &Hello) -> Option<String> {
        if self.connections.outlived.contains(&peer) {
            return Some(format!(
                "the number of the node {peer} lives in another data directory since: this one was taken for lost and its \
                 replicas were made anew. Nothing in it was changed, and the mesh does not need it: keep it as long as \
                 you wish, do not start it"
            ));
        }
        if self.connections.removed.contains(&peer) {
            return Some(format!(
                "the node {peer} was removed from the cluster's registry: start it with an empty \
                 --data-dir and --join to come back"
            ));
        }
        let dialed = self.targets.of(id).and_then(|address| Some((address, self.targets.expected(address)?)));
        let taken = self.connections.registry.iter().find(|(_, known)| known.contains(&hello.advertised));
        let known = taken.map(|(known, _)| (hello.advertised.as_str(), *known)).or(dialed);
        // While nobody has the address it may be the same node with an empty disk: the registry decides that.
        let (address, known) =
            known.filter(|(_, known)| *known != peer && self.connections.is_connected(known))?;
        Some(format!(
            "the cluster knows {address} as the address of node {known}, which is connected, and {peer} says that it is its \
             own: give each node an address of its own with --advertise-mesh"
        ))
    }

    fn same_session(&self, live: ConnectionId, new: &Running) -> bool {
        match self.connections.all.get(&live).map(|connection| &connection.stage) {
            Some(Stage::Live(old)) => old.hello.session == new.hello.session,
            _ => false,
        }
    }

    fn is_better(&self, new: ConnectionId, attempt: u64, live: ConnectionId) -> bool {
        let (Some(new), Some(live)) = (self.connections.all.get(&new), self.connections.all.get(&live))
        else {
            return false;
        };
        if new.dialer == live.dialer {
            return matches!(&live.stage, Stage::Live(running) if attempt > running.attempt);
        }
        let local_is_lower = *self.swarm.local_peer_id() < new.peer;
        new.dialer == local_is_lower
    }

    fn owner(&self, id: ConnectionId) -> Option<Owner> {
        let connection = self.connections.all.get(&id)?;
        Some(Owner {
            peer: connection.peer,
            connection: id,
            commands: self.commands.clone(),
            stopped: connection.stopped.clone(),
        })
    }

    fn start_readers(&mut self, id: ConnectionId, readers: Option<Readers>, event: Option<Event>) {
        let readers = readers.zip(self.owner(id));
        self.outbox.push_back(Outgoing { event, readers });
    }

    fn promote(&mut self, id: ConnectionId, mut running: Running) {
        let Some(peer) = self.connections.peer_of(id) else { return };
        let address = running.hello.advertised.clone();
        tracing::info!(%peer, address, feature_level = running.hello.feature_level, "connected to a peer");
        self.connections.live.insert(peer, id);
        self.swarm.behaviour_mut().directory.prefer(peer, id);
        self.connections.reasons.remove(&peer);
        self.targets.succeeded(id, peer);
        self.shared.set_link(peer, running.link.clone());
        // One that the registry names has its place in the table, or finds it full. To put it in once more, now that it is connected,
        // would have Kademlia dial another one that it might replace, and that one's table do the same.
        if !self.connections.registry.contains_key(&peer) {
            self.route(&peer, &address);
        }
        let readers = running.readers.take();
        self.start_readers(id, readers, Some(Event::Connected { peer, address }));
        self.set_stage(id, Stage::Live(running));
    }

    /// `new` takes over from `old` without a gap: what was queued on `old` still leaves on it.
    fn replace(&mut self, old: ConnectionId, new: ConnectionId, mut running: Running) {
        let Some(peer) = self.connections.peer_of(new) else { return };
        self.connections.live.insert(peer, new);
        self.swarm.behaviour_mut().directory.prefer(peer, new);
        self.targets.succeeded(new, peer);
        self.shared.set_link(peer, running.link.clone());
        let readers = running.readers.take();
        self.start_readers(new, readers, None);
        self.set_stage(new, Stage::Live(running));
        self.drain(old, None);
    }

    /// Takes the link of `id` away, so that its writers end, and still reads what the peer had under way.
    pub(super) fn drain(&mut self, id: ConnectionId, readers: Option<Readers>) {
        self.set_stage(id, Stage::Draining);
        if readers.is_some() {
            self.start_readers(id, readers, None);
        }
        self.close_later(id);
    }

    fn close_later(&self, id: ConnectionId) {
        let Some(owner) = self.owner(id) else { return };
        tokio::spawn(async move {
            tokio::select! {
                () = sleep(DRAIN_PATIENCE) => {
                    let _ = owner.commands.send(Command::Close(id)).await;
                }
                () = owner.stopped.cancelled() => {}
            }
        });
    }

    /// Tells the peer why, and closes once it hung up.
    fn refuse(&mut self, id: ConnectionId, link: Option<Arc<Link>>, reason: String) {
        if let Some(link) = link {
            link.send(StreamClass::Control, 0, Kind::Refused, Bytes::from(reason.clone()));
        }
        self.targets.refused(id);
        if let Some(peer) = self.connections.peer_of(id) {
            self.report_refusal(peer, reason);
        }
        self.drain(id, None);
    }

    /// Reports and logs a reason unless it is the one that was reported last for this peer.
    pub(super) fn report_refusal(&mut self, peer: PeerId, reason: String) {
        let reasons = &mut self.connections.reasons;
        if reasons.get(&peer) == Some(&reason) {
            return;
        }
        if reasons.len() >= REASONS_MAX {
            reasons.clear();
        }
        reasons.insert(peer, reason.clone());
        tracing::warn!(%peer, reason, "a connection of the mesh was refused");
        self.outbox.push_back(Outgoing { event: Some(Event::Refused { peer, reason }), readers: None });
    }

    pub(super) fn on_closed(&mut self, id: ConnectionId, cause: Option<String>) {
        let now = Instant::now();
        let alive = self.connections.peer_of(id).filter(|peer| self.connections.is_connected(peer));
        if let Some(address) = self.targets.of(id).map(String::from) {
            let expected = |peer: &PeerId| self.targets.expected(&address).is_none_or(|known| known == *peer);
            match alive.filter(expected) {
                // The other of two that were dialed at the same time lives, or this one did until now.
                Some(peer) => self.targets.parted(id, peer, now),
                None => self.dial_failed(&address, now),
            }
        }
        self.swarm.behaviour_mut().directory.unprefer(id);
        let Some(connection) = self.connections.all.remove(&id) else { return };
        connection.stopped.cancel();
        let peer = connection.peer;
        if self.connections.live.get(&peer) != Some(&id) {
            return;
        }
        self.connections.live.remove(&peer);
        self.shared.set_link(peer, None);
        tracing::info!(%peer, cause, "disconnected from a peer");
        self.outbox.push_back(Outgoing { event: Some(Event::Disconnected { peer }), readers: None });
        self.targets.lost(&peer, now);
        self.promote_newest(peer);
    }

    /// The place of the live connection is free: for the newest that waits for it.
    pub(super) fn promote_newest(&mut self, peer: PeerId) {
        let waits =
            |other: &Connection| other.peer == peer && matches!(other.stage, Stage::Challenger { .. });
        let challenger = self.connections.all.iter().rev().find(|(_, other)| waits(other));
        if let Some(challenger) = challenger.map(|(id, _)| *id) {
            self.promote_challenger(challenger);
        }
    }

    fn promote_challenger(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.all.get_mut(&id) else { return };
        if let Stage::Challenger { running, .. } = std::mem::replace(&mut connection.stage, Stage::Draining) {
            self.promote(id, running);
        }
    }

    pub(super) fn on_ping(&mut self, id: ConnectionId, answered: bool) {
        let Some(peer) = self.connections.peer_of(id) else { return };
        if !answered {
            tracing::info!(%peer, "a peer does not answer pings");
            self.swarm.close_connection(id);
            return;
        }
        if self.connections.live.get(&peer) != Some(&id) {
            return;
        }
        let mut refused = Vec::new();
        for (id, connection) in self.connections.all.iter_mut().filter(|(_, other)| other.peer == peer) {
            if let Stage::Challenger { running, pings } = &mut connection.stage {
                *pings += 1;
                if *pings >= PROVING_PINGS {
                    refused.push((*id, running.link.take(), running.hello.advertised.clone()));
                }
            }
        }
        for (id, link, advertised) in refused {
            let reason = format!(
                "the node at {advertised} has the identity {peer} of another node that is running: a data \
                 directory was copied. Stop one of the two and give it an empty --data-dir"
            );
            self.refuse(id, link, reason);
        }
    }

    /// Takes a registry in. `formerly` are peers of registries in between, which were never taken in, `outlived` those whose
    /// numbers others have now.
    pub(super) fn on_registry(
        &mut self,
        registry: BTreeMap<PeerId, Vec<String>>,
        mut formerly: BTreeSet<PeerId>,
        outlived: BTreeSet<PeerId>,
        now: Instant,
    ) {
        let local = *self.swarm.local_peer_id();
        self.connections.outlived = outlived;
        formerly.extend(self.connections.registry.keys());
        let gone: Vec<PeerId> = formerly.into_iter().filter(|peer| !registry.contains_key(peer)).collect();
        self.connections.removed.extend(gone.iter().filter(|peer| **peer != local));
        self.connections.removed.retain(|peer| !registry.contains_key(peer));
        let mut others = registry.clone();
        others.remove(&local);
        self.targets.register(&others, now);
        self.shared.reach_on_demand(match self.targets.is_full_mesh() {
            true => BTreeSet::new(),
            false => others.keys().copied().collect(),
        });
        let before = std::mem::replace(&mut self.connections.registry, registry);
        for peer in gone {
            self.swarm.behaviour_mut().directory.kad.remove_peer(&peer);
        }
        self.route_registry(&before, &others);
        self.refuse_live(|actor, peer, id, hello| actor.objection(peer, id, hello));
    }

    /// The registry names everyone, so Kademlia's table needs no connection to learn of anybody. Its buckets hold twenty peers each:
    /// the closest to this node come first, so that each node prefers others.
    fn route_registry(
        &mut self,
        before: &BTreeMap<PeerId, Vec<String>>,
        now: &BTreeMap<PeerId, Vec<String>>,
    ) {
        let own = KBucketKey::from(*self.swarm.local_peer_id());
        let mut all: Vec<_> = now.iter().collect();
        all.sort_by_cached_key(|(peer, _)| own.distance(&KBucketKey::from(**peer)));
        for (peer, addresses) in all {
            if before.get(peer).is_some_and(|before| before != addresses) {
                self.swarm.behaviour_mut().directory.kad.remove_peer(peer);
            }
            addresses.iter().for_each(|address| self.route(peer, address));
        }
    }

    fn route(&mut self, peer: &PeerId, address: &str) {
        if let Some(address) = named(address) {
            self.swarm.behaviour_mut().directory.kad.add_address(peer, address);
        }
    }

    pub(super) fn refuse_other_clusters(&mut self) {
        self.refuse_live(|actor, peer, _, hello| actor.other_cluster(peer, hello));
    }

    fn other_cluster(&self, peer: PeerId, hello: &Hello) -> Option<String> {
        let (ours, theirs) = (self.cluster?, hello.cluster?);
        (ours != theirs).then(|| {
            format!(
                "the node {peer} at {} belongs to cluster {}, this one to cluster {}; two clusters never merge",
                hello.advertised,
                short(&theirs),
                short(&ours)
            )
        })
    }

    fn refuse_live(&mut self, why: impl Fn(&Actor, PeerId, ConnectionId, &Hello) -> Option<String>) {
        let mut refused = Vec::new();
        for (id, connection) in &self.connections.all {
            if let Stage::Live(running) = &connection.stage
                && let Some(reason) = why(self, connection.peer, *id, &running.hello)
            {
                refused.push((*id, connection.peer, running.link.clone(), reason));
            }
        }
        for (id, peer, link, reason) in refused {
            self.connections.live.remove(&peer);
            self.shared.set_link(peer, None);
            self.outbox.push_back(Outgoing { event: Some(Event::Disconnected { peer }), readers: None });
            self.refuse(id, link, reason);
        }
    }
}

/// The whole of setting a connection up, on a task of its own: handshake on the first stream, then the other
/// streams.
async fn set_up(
    id: ConnectionId,
    identity: &Identity<'_>,
    own: &Hello,
    mut opened: mpsc::Receiver<Stream>,
    commands: &mpsc::Sender<Command>,
) -> Result<(Hello, link::Streams), HandshakeError> {
    let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
    let mut control = opened.recv().await.ok_or_else(gone)?;
    let peer = match shake(&mut control, identity, own).await {
        Err(HandshakeError::Refused(reason)) => {
            let _ = commands.send(Command::Refused(id, reason)).await;
            linger(&mut control).await;
            return Err(gone().into());
        }
        result => result?,
    };
    let lanes = own.lanes.min(peer.lanes).clamp(1, 4);
    let mut wanted = vec![(StreamClass::Rpc, 0)];
    wanted.extend((0..lanes).map(|lane| (StreamClass::Replication, lane)));
    let mut streams = vec![(StreamClass::Control, 0, control)];
    for (class, lane) in wanted {
        if identity.side == Side::Dialer {
            let _ = commands.send(Command::Open(id)).await;
        }
        let mut stream = opened.recv().await.ok_or_else(gone)?;
        match identity.side {
            Side::Dialer => introduce(&mut stream, class, lane).await?,
            Side::Listener if accept(&mut stream).await? == (class, lane) => {}
            Side::Listener => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
        streams.push((class, lane, stream));
    }
    Ok((peer, streams))
}
