//! The mesh's wires: authenticated connections to peers, frames on a few long-lived streams for each of them,
//! and the Kademlia directory. Everything here is a shell: it moves bytes and reports what happened, and
//! decides nothing about partitions.
//!
//! In reading order: [`Transport`] (this file), `actor` (the task that owns the swarm), `targets` (whom to
//! dial and when), `handshake`, `connections`, `reach` (connections on demand), `link` and `frame` (streams once they are up), `socket`
//! (which breaks off in silence), `streams` and `traced` (libp2p behaviours), `directory`, `lookups`.
//!
//! - Frames of one lane of one class arrive in order while one connection lasts, and may be lost with it; a
//!   frame that was sent while two connections are merged into one may arrive after a later one.
//! - A connection's end is reported at once: it is the hint that makes failover quick. One of which nothing came for
//!   some seconds ends by itself, without TCP's patience, and is dialed again at a short pause.
//! - No frame is delivered, and none is sent, before both sides proved that they hold the cluster secret.
//! - Only this module dials. Kademlia says whom it wants to ask; who is not reached soon is done without.
//! - Kademlia's table is fed by the committed registry and by the handshake, which names each peer's advertised address. It is what
//!   libp2p's identify does elsewhere, but a peer without the secret never enters the table.

mod actor;
mod connections;
mod directory;
mod frame;
mod handshake;
mod link;
mod lookups;
mod reach;
mod socket;
mod streams;
mod swarm;
mod targets;
mod traced;

pub use frame::FRAME_BYTES_MAX;
pub use handshake::{FEATURE_LEVEL, PROTOCOL_VERSIONS};
pub use reach::FULL_MESH_OTHERS_MAX;

use crate::directory::Hint;
use actor::{Actor, Command};
use bytes::Bytes;
use frame::Kind;
use libp2p::{PeerId, identity::Keypair};
use link::Link;
use reach::Held;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};

/// Which of a peer's streams a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamClass {
    /// Heartbeats, votes, founding: small, never behind bulk.
    Control,
    /// Metadata, joining, forwarding.
    Rpc,
    /// Appends.
    Replication,
}

impl StreamClass {
    fn index(self) -> usize {
        usize::from(self.byte())
    }

    fn byte(self) -> u8 {
        match self {
            StreamClass::Control => 0,
            StreamClass::Rpc => 1,
            StreamClass::Replication => 2,
        }
    }

    fn of(byte: u8) -> Option<StreamClass> {
        [StreamClass::Control, StreamClass::Rpc, StreamClass::Replication].get(usize::from(byte)).copied()
    }
}

/// How a transport is set up.
#[derive(Clone)]
pub struct TransportConfig {
    /// Who this node is. Kept in its data directory.
    pub identity: Keypair,
    /// Where to listen; port 0 takes any, see [`Transport::listening`].
    pub listen: SocketAddr,
    /// `host:port` at which others reach this node. A port of 0, or an empty text, takes the listener's.
    pub advertised: String,
    /// The cluster secret, from the file of `--token-file`.
    pub secret: [u8; 32],
    /// The cluster that this node belongs to, once it is known; see [`Transport::set_cluster`].
    pub cluster: Option<[u8; 32]>,
    /// Replication streams per peer, 1 to 4; the lower figure of the two peers counts.
    pub replication_lanes: u8,
    /// Unsent bytes that a peer's control, rpc and replication streams may each hold.
    pub in_flight_bytes_max: [usize; 3],
    /// Connections in all, those that are still being set up included.
    pub connections_max: u32,
    /// Events that may wait for the owner; readers stop when there are more.
    pub events_max: usize,
    /// In a large mesh: a connection that was not used for this long is given up.
    pub idle_max: Duration,
}

impl TransportConfig {
    /// A configuration with the usual limits and a free port on loopback.
    #[must_use]
    pub fn new(identity: Keypair, listen: SocketAddr, secret: [u8; 32]) -> TransportConfig {
        TransportConfig {
            identity,
            listen,
            advertised: String::new(),
            secret,
            cluster: None,
            replication_lanes: 1,
            in_flight_bytes_max: [8 << 20, 32 << 20, 64 << 20],
            connections_max: 1024,
            events_max: 512,
            idle_max: Duration::from_secs(30),
        }
    }
}

/// What happened. Every `Frame` of a peer comes after its `Connected`; one that was already read may follow
/// `Disconnected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer proved itself and takes frames.
    Connected {
        /// Who it is.
        peer: PeerId,
        /// `host:port` at which it says that it can be reached.
        address: String,
    },
    /// The last connection with the peer ended.
    Disconnected {
        /// Who it was.
        peer: PeerId,
    },
    /// In a large mesh: the connection with the peer was not used for a while and was given up. Says nothing about the peer;
    /// the next frame for it connects again.
    Parted {
        /// Who it is.
        peer: PeerId,
    },
    /// A frame, whole.
    Frame {
        /// Who sent it.
        peer: PeerId,
        /// On which stream.
        class: StreamClass,
        /// Its body.
        frame: Bytes,
    },
    /// One side would not have the other. Repeated only when the reason changes; dialing goes on.
    Refused {
        /// The other side; this node's own id when another node holds the same identity.
        peer: PeerId,
        /// What happened and what to do, for a person.
        reason: String,
    },
}

/// What one peer answered to a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopResult {
    /// Peers that are closer to the key.
    Closer,
    /// A value (and closer peers).
    Value,
    /// Nothing in time, or it could not be reached.
    Timeout,
    /// It was not waited for: the others had said enough.
    Unawaited,
}

/// One peer that a lookup asked, in the order of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who was asked.
    pub peer: PeerId,
    /// 1 for a peer of the asking node's own table; one more than that of the answer which first named the peer.
    pub round: u32,
    /// How long the answer took.
    pub took: Duration,
    /// What it was.
    pub result: HopResult,
}

/// What a lookup found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The newest hint that a known node signed and that has not expired.
    pub value: Option<Hint>,
    /// Whether `value` is as new as this node's own store held before it asked anyone.
    pub local: bool,
    /// Who was asked.
    pub hops: Vec<Hop>,
}

impl Lookup {
    /// How long the chain of answers that name closer peers was; 0 when nobody was asked.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.hops.iter().map(|hop| hop.round).max().unwrap_or(0)
    }
}

/// Why a transport did not start.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The address cannot be listened on.
    #[error("cannot listen for the mesh on {address}: {reason}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// libp2p could not be set up.
    #[error("cannot set up the mesh transport: {0}")]
    Setup(String),
}

/// What the owner wants, kept as state so that a wish is never lost to a full queue.
#[derive(Default)]
struct Wishes {
    dial: BTreeSet<String>,
    allow: Option<Vec<(PeerId, Vec<String>)>>,
    /// Peers of registries that were replaced before the actor saw them.
    formerly: BTreeSet<PeerId>,
    outlived: BTreeSet<PeerId>,
    cluster: Option<[u8; 32]>,
    /// Peers that frames wait for.
    reach: BTreeSet<PeerId>,
}

/// What handles and the actor share.
struct Shared {
    links: RwLock<BTreeMap<PeerId, Arc<Link>>>,
    wishes: Mutex<Wishes>,
    changed: Notify,
    held: Held,
    /// Peers that a frame connects with; empty in a small mesh, where everyone is connected already.
    on_demand: RwLock<BTreeSet<PeerId>>,
}

impl Shared {
    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    fn take_wishes(&self) -> Wishes {
        std::mem::take(&mut *self.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn link(&self, peer: &PeerId) -> Option<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(peer).cloned()
    }

    fn set_link(&self, peer: PeerId, link: Option<Arc<Link>>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let Some(link) = link else {
            links.remove(&peer);
            return;
        };
        links.insert(peer, link.clone());
        drop(links);
        self.held.release(&peer, |class, lane, frame| {
            link.send(class, lane, Kind::Message, frame);
        });
    }

    fn reach_on_demand(&self, peers: BTreeSet<PeerId>) {
        *self.on_demand.write().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    /// Keeps a frame for a peer that is not connected, and has it dialed.
    fn hold(&self, to: PeerId, class: StreamClass, lane: usize, frame: Bytes) -> bool {
        if !self.on_demand.read().unwrap_or_else(PoisonError::into_inner).contains(&to) {
            return false;
        }
        let kept = self.held.keep(to, class, lane, frame);
        match self.link(&to) {
            // It was connected in between, perhaps after its frames were handed over.
            Some(link) => self.held.release(&to, |class, lane, frame| {
                link.send(class, lane, Kind::Message, frame);
            }),
            None => self.wish(|wishes| {
                wishes.reach.insert(to);
            }),
        }
        kept
    }
}

/// A handle on the transport. Clones are the same transport; it ends with [`Transport::stop`], or when the
/// receiver of its events is dropped.
#[derive(Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    local: PeerId,
    listening: SocketAddr,
    advertised: Arc<str>,
    identity: Keypair,
}

impl Transport {
    /// Listens and starts. Events must be taken without pause: readers wait for room.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start(
        config: TransportConfig,
    ) -> Result<(Transport, mpsc::Receiver<Event>), TransportError> {
        let (mut swarm, local) = swarm::build(&config)?;
        let listening = swarm::listen(&mut swarm, config.listen).await?;
        let advertised: Arc<str> = match config.advertised.rsplit_once(':') {
            _ if config.advertised.is_empty() => listening.to_string(),
            Some((host, "0")) => format!("{host}:{}", listening.port()),
            _ => config.advertised.clone(),
        }
        .into();
        let shared = Arc::new(Shared {
            links: RwLock::default(),
            wishes: Mutex::default(),
            changed: Notify::new(),
            held: Held::default(),
            on_demand: RwLock::default(),
        });
        let (events, receiver) = mpsc::channel(config.events_max.max(1));
        let identity = config.identity.clone();
        let (actor, commands) = Actor::new(swarm, config, shared.clone(), events, listening, &advertised);
        tokio::spawn(actor.run());
        Ok((Transport { shared, commands, local, listening, advertised, identity }, receiver))
    }

    /// Who this node is.
    #[must_use]
    pub fn local_peer(&self) -> PeerId {
        self.local
    }

    /// Where this node listens, with the port that it got.
    #[must_use]
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// `host:port` at which others are told to reach this node.
    #[must_use]
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Keeps trying to reach `host:port`, and again whenever the connection is lost. Who answers is learned
    /// there. This node's own address is passed over.
    pub fn dial(&self, address: String) {
        self.shared.wish(|wishes| {
            wishes.dial.insert(address);
        });
    }

    /// The committed registry: who belongs to the cluster, and where each is reached. All of them are dialed; of more than
    /// [`FULL_MESH_OTHERS_MAX`] each when there is something to say to it, and kept connected while there is.
    /// A peer that was in an earlier list and is not in this one is disconnected and refused from then on, and so
    /// is one of `outlived`, whose numbers went over to others of the list. One that advertises the address of a peer of the
    /// list is refused while that one is connected. Others that hold the secret may connect: they may want to join.
    pub fn allow(&self, peers: Vec<(PeerId, Vec<String>)>, outlived: Vec<PeerId>) {
        self.shared.wish(|wishes| {
            let before = wishes.allow.replace(peers).unwrap_or_default();
            wishes.formerly.extend(before.into_iter().map(|(peer, _)| peer));
            wishes.outlived = outlived.into_iter().collect();
        });
    }

    /// The cluster that this node belongs to, once founded or joined: peers of another are refused from then
    /// on.
    pub fn set_cluster(&self, cluster: [u8; 32]) {
        self.shared.wish(|wishes| wishes.cluster = Some(cluster));
    }

    /// Queues a frame for a peer on the first lane of a class; one that is connected on demand is dialed. False when the peer is
    /// not connected otherwise, the frame is longer than [`FRAME_BYTES_MAX`], or the class already holds its bound of unsent bytes: the
    /// frame is then dropped. True promises nothing either: a frame may be lost with its connection.
    pub fn send(&self, to: PeerId, class: StreamClass, frame: Bytes) -> bool {
        self.send_keyed(to, class, 0, frame)
    }

    /// As [`Transport::send`], on the lane that `key` falls to: frames of one key keep their order.
    pub fn send_keyed(&self, to: PeerId, class: StreamClass, key: u64, frame: Bytes) -> bool {
        let lane = usize::try_from(key & 0xffff).expect("16 bits fit");
        match self.shared.link(&to) {
            Some(link) => link.send(class, lane, Kind::Message, frame),
            None => self.shared.hold(to, class, lane, frame),
        }
    }

    /// Bytes that wait to be sent to all peers together, and peers that take frames: for monitoring. The order of
    /// classes is control, rpc, replication.
    #[must_use]
    pub fn unsent_bytes(&self) -> ([usize; 3], usize) {
        let links = self.shared.links.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = [0; 3];
        for link in links.values() {
            all.iter_mut().zip(link.unsent_bytes()).for_each(|(sum, bytes)| *sum += bytes);
        }
        (all, links.len())
    }

    /// Puts a signed hint ([`Hint::sign`]) into the directory, here and at the peers closest to its key,
    /// unless a newer one is known here. Returns once it is under way; a few are at a time. A hint that this node would not
    /// accept is dropped.
    pub async fn publish(&self, key: [u8; 32], hint: Bytes) {
        let (started, under_way) = oneshot::channel();
        let _ = self.commands.send(Command::Publish { key, hint, started }).await;
        let _ = under_way.await;
    }

    /// Returns once no publication is under way: everyone who was to be told was, or did not answer in time.
    pub async fn settled(&self) {
        let (settled, nothing_left) = oneshot::channel();
        let _ = self.commands.send(Command::Settle(settled)).await;
        let _ = nothing_left.await;
    }

    /// Signs and publishes.
    pub async fn publish_hint(&self, key: [u8; 32], hint: &Hint) {
        match hint.sign(&key, &self.identity) {
            Some(signed) => self.publish(key, signed).await,
            None => tracing::error!("a hint could not be signed"),
        }
    }

    /// Asks the directory, peer by peer. Bounded by the query timeout of a few seconds; several lookups run at a time,
    /// more wait.
    pub async fn lookup(&self, key: [u8; 32]) -> Lookup {
        let (answer, found) = oneshot::channel();
        let _ = self.commands.send(Command::Lookup { key, answer }).await;
        found.await.unwrap_or_default()
    }

    /// Sends what is queued, closes all connections and ends. Bounded to about a second.
    pub async fn stop(self) {
        let (stopped, done) = oneshot::channel();
        if self.commands.send(Command::Stop(stopped)).await.is_ok() {
            let _ = done.await;
        }
    }
}
