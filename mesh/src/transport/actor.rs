//! The task that owns the swarm: pumps commands, wishes, swarm events and dial times. What becomes of a
//! connection is in `connections`.

use super::connections::Connections;
use super::directory::Directory;
use super::handshake::{HandshakeError, Hello};
use super::reach::Reach;
use super::swarm::{Behaviour, BehaviourEvent, multiaddr};
use super::targets::Targets;
use super::traced::Said;
use super::{Event, Lookup, Shared, TransportConfig, link};
use bytes::Bytes;
use futures::StreamExt;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Commands that may wait; whoever sends one waits for room.
const COMMANDS_MAX: usize = 1024;
/// How long a stop waits for queued frames to leave.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What handles and tasks tell the actor.
pub(super) enum Command {
    Publish {
        key: [u8; 32],
        hint: Bytes,
        started: oneshot::Sender<()>,
    },
    Settle(oneshot::Sender<()>),
    Lookup {
        key: [u8; 32],
        answer: oneshot::Sender<Lookup>,
    },
    Stop(oneshot::Sender<()>),
    /// A handshake needs one more stream.
    Open(ConnectionId),
    SetUp(ConnectionId, Result<(Hello, link::Streams), HandshakeError>),
    Close(ConnectionId),
    /// A handshake ended by our refusal; the peer was told and may still be reading.
    Refused(ConnectionId, String),
    RefusedByPeer(ConnectionId, String),
    Resolved(String, io::Result<Vec<SocketAddr>>),
    /// The peer gives an idle connection up.
    Parting(ConnectionId),
}

/// An event on its way to the owner, and the readers that may start once it was taken in.
pub(super) struct Outgoing {
    pub(super) event: Option<Event>,
    pub(super) readers: Option<(link::Readers, link::Owner)>,
}

/// The state of the task.
pub(super) struct Actor {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) config: Arc<TransportConfig>,
    pub(super) advertised: String,
    listening: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Sender<Command>,
    received: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) outbox: VecDeque<Outgoing>,
    pub(super) targets: Targets,
    pub(super) connections: Connections,
    pub(super) directory: Directory,
    pub(super) reach: Reach,
    pub(super) cluster: Option<[u8; 32]>,
    pub(super) stopped: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Actor {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        config: TransportConfig,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
        listening: SocketAddr,
        advertised: &str,
    ) -> (Actor, mpsc::Sender<Command>) {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let mut targets = Targets::default();
        targets.is_self(advertised);
        targets.is_self(&listening.to_string());
        let actor = Actor {
            swarm,
            cluster: config.cluster,
            config: Arc::new(config),
            advertised: advertised.into(),
            listening,
            shared,
            commands: commands.clone(),
            received,
            events,
            outbox: VecDeque::new(),
            targets,
            connections: Connections::default(),
            directory: Directory::default(),
            reach: Reach::default(),
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        (actor, commands)
    }

    /// Runs until stopped, or until the owner dropped the receiver of events.
    pub(super) async fn run(mut self) {
        let _ends_with_us = self.stopped.clone().drop_guard();
        loop {
            let now = Instant::now();
            let next_dial = self.dial_due(now);
            let next_late = self.reach.next_due();
            let sweep_at = self.reach.sweep_at;
            let sends = !self.outbox.is_empty();
            let (shared, events) = (self.shared.clone(), self.events.clone());
            tokio::select! {
                permit = events.reserve(), if sends => {
                    let Ok(permit) = permit else { return };
                    let Some(Outgoing { event, readers }) = self.outbox.pop_front() else { continue };
                    match event {
                        Some(event) => permit.send(event),
                        None => drop(permit),
                    }
                    if let Some((readers, owner)) = readers {
                        readers.start(&owner, &self.events);
                    }
                }
                () = events.closed() => return,
                command = self.received.recv() => match command {
                    Some(Command::Stop(done)) => {
                        self.stop().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.on_command(command),
                    None => return,
                },
                () = shared.changed.notified() => self.on_wishes(),
                event = self.swarm.select_next_some() => self.on_swarm(event),
                () = sleep_until(next_dial.unwrap_or(now)), if next_dial.is_some() => {}
                () = sleep_until(next_late.unwrap_or(now)), if next_late.is_some() => {
                    self.give_up_wanted(Instant::now());
                }
                () = sleep_until(sweep_at) => self.sweep_idle(Instant::now()),
            }
        }
    }

    /// Lets the writers finish and hangs up.
    async fn stop(&mut self) {
        for peer in self.connections.connected() {
            self.shared.set_link(peer, None);
        }
        self.connections.drop_links();
        self.tasks.close();
        let tasks = self.tasks.clone();
        let finished = async {
            let swarm = &mut self.swarm;
            tokio::select! {
                () = tasks.wait() => {}
                () = async { loop { swarm.select_next_some().await; } } => {}
            }
        };
        let _ = timeout(STOP_PATIENCE, finished).await;
        let closing = async {
            let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
            for peer in peers {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        let _ = timeout(STOP_PATIENCE, closing).await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Publish { key, hint, started } => self.publish(key, hint, started),
            Command::Settle(settled) => self.settle(settled),
            Command::Lookup { key, answer } => self.lookup(key, answer),
            Command::Stop(_) => {}
            Command::Open(connection) => {
                if let Some(peer) = self.connections.peer_of(connection) {
                    self.swarm.behaviour_mut().streams.open(peer, connection);
                }
            }
            Command::SetUp(connection, result) => self.on_set_up(connection, result),
            Command::Close(connection) => {
                self.swarm.close_connection(connection);
            }
            Command::Refused(connection, reason) => {
                if let Some(peer) = self.connections.peer_of(connection) {
                    self.targets.refused(connection);
                    self.report_refusal(peer, reason);
                }
            }
            Command::RefusedByPeer(connection, reason) => {
                if let Some(peer) = self.connections.peer_of(connection) {
                    self.targets.refused(connection);
                    self.report_refusal(peer, format!("the peer refused this node: {reason}"));
                }
                self.swarm.close_connection(connection);
            }
            Command::Resolved(address, result) => self.on_resolved(address, result),
            Command::Parting(connection) => self.part(connection, false),
        }
    }

    fn on_wishes(&mut self) {
        let wishes = self.shared.take_wishes();
        let now = Instant::now();
        for address in wishes.dial {
            self.targets.ask(address, now);
        }
        if let Some(peers) = wishes.allow {
            self.on_registry(peers.into_iter().collect(), wishes.formerly, wishes.outlived, now);
        }
        for peer in wishes.reach {
            self.targets.want(&peer, now);
        }
        if let Some(cluster) = wishes.cluster {
            self.cluster = Some(cluster);
            self.refuse_other_clusters();
        }
    }

    /// Dials what is due and says when the next is.
    fn dial_due(&mut self, now: Instant) -> Option<Instant> {
        let (due, next) = self.targets.take_due(now, |peer| self.connections.is_connected(peer));
        for address in due {
            resolve(address, self.commands.clone(), Command::Resolved);
        }
        next
    }

    /// A dial came to nothing, or its connection ended.
    pub(super) fn dial_failed(&mut self, address: &str, now: Instant) {
        self.targets.failed(address, now);
        if let Some(peer) = self.targets.peer_at(address).filter(|peer| !self.swarm.is_connected(peer)) {
            self.unreached(&peer);
        }
    }

    fn on_resolved(&mut self, address: String, result: io::Result<Vec<SocketAddr>>) {
        let now = Instant::now();
        let found = result.unwrap_or_else(|error| {
            tracing::debug!(address, %error, "an address of the mesh cannot be resolved");
            Vec::new()
        });
        let choice = found.get(self.targets.failures(&address) % found.len().max(1));
        let Some(choice) = choice else { return self.dial_failed(&address, now) };
        let dial = DialOpts::unknown_peer_id().address(multiaddr(*choice)).allocate_new_port().build();
        let connection = dial.connection_id();
        self.swarm.behaviour_mut().streams.expect_dial(connection);
        self.targets.dialing(&address, connection);
        if let Err(error) = self.swarm.dial(dial) {
            tracing::debug!(address, %error, "an address of the mesh cannot be dialed");
            self.dial_failed(&address, now);
        }
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, endpoint.is_dialer());
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                self.on_closed(connection_id, cause.map(|cause| cause.to_string()));
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, &error);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Streams(opened)) => self.on_stream(opened),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => {
                self.on_ping(event.connection, event.result.is_ok());
            }
            SwarmEvent::Behaviour(BehaviourEvent::Directory(Said::Kad(event))) => self.on_directory(*event),
            SwarmEvent::Behaviour(BehaviourEvent::Directory(Said::Wanted(peer))) => self.on_wanted(peer),
            _ => {}
        }
        self.trace_lookups();
    }

    fn on_dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let Some(address) = self.targets.of(connection).map(String::from) else { return };
        tracing::debug!(address, %error, "a dial failed");
        match error {
            DialError::LocalPeerId { address: reached } if self.is_own(reached) => {
                self.targets.is_self(&address)
            }
            DialError::LocalPeerId { .. } => {
                self.targets.refused(connection);
                self.dial_failed(&address, Instant::now());
                let reason = format!(
                    "the node at {address} has the same identity as this node at {}: a data directory was \
                     copied. Stop one of the two and give it an empty --data-dir. (If {address} is this \
                     very node under another name, use its --advertise-mesh address in --seeds and \
                     --join)",
                    self.advertised
                );
                self.report_refusal(*self.swarm.local_peer_id(), reason);
            }
            _ => self.dial_failed(&address, Instant::now()),
        }
    }

    /// Whether a dialed address leads to this process's listener, as far as can be told.
    fn is_own(&self, reached: &Multiaddr) -> bool {
        let own = self.listening;
        let plain: Multiaddr = reached.iter().take(2).collect();
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        plain == multiaddr(own)
            || (own.ip().is_unspecified()
                && loopback.iter().any(|ip| plain == multiaddr(SocketAddr::new(*ip, own.port()))))
    }
}

/// Resolves `host:port` on a task of its own and reports.
fn resolve(
    address: String,
    commands: mpsc::Sender<Command>,
    report: fn(String, io::Result<Vec<SocketAddr>>) -> Command,
) {
    tokio::spawn(async move {
        let found = tokio::net::lookup_host(&address).await.map(Iterator::collect);
        let _ = commands.send(report(address, found)).await;
    });
}
