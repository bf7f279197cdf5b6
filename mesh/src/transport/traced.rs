//! Kademlia, observed: which peer each query asked, what each answered, and whom it wants to ask but cannot reach.
//!
//! libp2p reports a query's result and its counts, not its hops. Requests and answers do pass through the
//! behaviour, though, as messages to and from its connection handlers, and each names its query. So the traces of
//! queries that run at the same time are kept apart exactly.
//!
//! Kademlia's own dials are not passed on: who is dialed, and when, is decided in `targets`. [`Traced::fail`]
//! tells Kademlia of a peer that will not be reached; one that is reached is asked by itself.

use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::kad::{self, QueryId, QueryInfo};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, DialError, DialFailure, FromSwarm, NetworkBehaviour, NotifyHandler,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Observations kept for a reader that does not come.
const SEEN_MAX: usize = 4096;

pub(super) type Kademlia = kad::Behaviour<kad::store::MemoryStore>;
type ToHandler = THandlerInEvent<Kademlia>;
type FromHandler = THandlerOutEvent<Kademlia>;

/// What went by.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// A query asked a connected peer for a value.
    Asked(QueryId, PeerId),
    /// It answered; with the peers that it named.
    Answered { query: QueryId, peer: PeerId, value: bool, closer: Vec<PeerId> },
    /// It will not answer.
    Failed(QueryId, PeerId),
}

/// What Kademlia has to say.
#[derive(Debug)]
pub(super) enum Said {
    /// Its own events.
    Kad(Box<kad::Event>),
    /// Some query wants to ask a peer that is not connected.
    Wanted(PeerId),
}

/// Kademlia with an observer.
pub(super) struct Traced {
    pub(super) kad: Kademlia,
    seen: VecDeque<(Instant, Seen)>,
    used: BTreeSet<PeerId>,
    preferred: BTreeMap<PeerId, ConnectionId>,
}

impl Traced {
    pub(super) fn new(kad: Kademlia) -> Traced {
        Traced { kad, seen: VecDeque::new(), used: BTreeSet::new(), preferred: BTreeMap::new() }
    }

    /// From now on `peer` is asked on this connection; any other may be about to end.
    pub(super) fn prefer(&mut self, peer: PeerId, connection: ConnectionId) {
        self.preferred.insert(peer, connection);
    }

    /// The connection ended.
    pub(super) fn unprefer(&mut self, connection: ConnectionId) {
        self.preferred.retain(|_, preferred| *preferred != connection);
    }

    /// What went by since the last call, oldest first.
    pub(super) fn take_seen(&mut self) -> VecDeque<(Instant, Seen)> {
        std::mem::take(&mut self.seen)
    }

    /// Peers that said something, or were told something, since the last call.
    pub(super) fn take_used(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.used)
    }

    /// Every query goes on without `peer`.
    pub(super) fn fail(&mut self, peer: PeerId) {
        let failure = DialFailure {
            peer_id: Some(peer),
            error: &DialError::Aborted,
            connection_id: ConnectionId::new_unchecked(0),
        };
        self.pass_failure(peer, FromSwarm::DialFailure(failure));
    }

    /// Passes an event on that makes queries give up on `peer`, and notes which ones did: those whose count of failures rose.
    fn pass_failure(&mut self, peer: PeerId, event: FromSwarm<'_>) {
        let failures = |kad: &Kademlia| -> Vec<(QueryId, u32)> {
            kad.iter_queries().map(|query| (query.id(), query.stats().num_failures())).collect()
        };
        let before = failures(&self.kad);
        self.kad.on_swarm_event(event);
        let now = failures(&self.kad);
        for failed in now.into_iter().filter(|counted| !before.contains(counted)) {
            self.saw(Seen::Failed(failed.0, peer));
        }
    }

    /// Whether a lookup or a publication runs. Kademlia also walks its table for its own sake when it fills, and dials to see
    /// whether a full bucket has dead entries; the registry does better, and in a large mesh that would connect everyone.
    fn asks_for_somebody(&self) -> bool {
        self.kad.iter_queries().any(|query| !matches!(query.info(), QueryInfo::Bootstrap { .. }))
    }

    fn saw(&mut self, seen: Seen) {
        if self.seen.len() < SEEN_MAX {
            self.seen.push_back((Instant::now(), seen));
        }
    }

    fn heard(&mut self, peer: PeerId, event: &FromHandler) {
        self.used.insert(peer);
        match event {
            FromHandler::GetRecordRes { record, closer_peers, query_id } => {
                let closer = closer_peers.iter().map(|closer| closer.node_id).collect();
                self.saw(Seen::Answered { query: *query_id, peer, value: record.is_some(), closer });
            }
            FromHandler::QueryError { query_id, .. } => self.saw(Seen::Failed(*query_id, peer)),
            _ => {}
        }
    }

    fn told(&mut self, peer: PeerId, event: &ToHandler) {
        self.used.insert(peer);
        if let ToHandler::GetRecord { query_id, .. } = event {
            self.saw(Seen::Asked(*query_id, peer));
        }
    }
}

impl NetworkBehaviour for Traced {
    type ConnectionHandler = <Kademlia as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Said;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.kad.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.kad.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_outbound_connection(id, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.pass_failure(closed.peer_id, event);
                // Kademlia takes the peer for reachable, and would wait for what was asked on this one.
                if closed.remaining_established > 0 {
                    self.fail(closed.peer_id);
                }
            }
            event => self.kad.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.heard(peer, &event);
        self.kad.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            match self.kad.poll(cx) {
                Poll::Ready(ToSwarm::Dial { opts }) => {
                    let Some(peer) = opts.get_peer_id() else { continue };
                    if self.asks_for_somebody() {
                        return Poll::Ready(ToSwarm::GenerateEvent(Said::Wanted(peer)));
                    }
                    self.fail(peer);
                }
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, event, handler }) => {
                    self.told(peer_id, &event);
                    let handler = match (handler, self.preferred.get(&peer_id)) {
                        (NotifyHandler::Any, Some(preferred)) => NotifyHandler::One(*preferred),
                        (handler, _) => handler,
                    };
                    return Poll::Ready(ToSwarm::NotifyHandler { peer_id, event, handler });
                }
                polled => return polled.map(|event| event.map_out(|event| Said::Kad(Box::new(event)))),
            }
        }
    }
}
