//! Kademlia, observed: which peer a lookup asked, and what each answered.
//!
//! libp2p reports a query's result and its counts, not its hops. Requests and answers do pass through the
//! behaviour, though, as messages to and from its connection handlers. Their types cannot be named outside of
//! libp2p-kad, so they are told apart by the name that `Debug` prints; a test in `tests/transport.rs` fails
//! should a new version print another. Only the trace depends on it, never the lookup.

use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};
use libp2p::{Multiaddr, PeerId, kad};
use std::collections::VecDeque;
use std::fmt::{self, Debug, Write};
use std::task::{Context, Poll};

/// How much of a message is printed to tell what it is.
const PREFIX_BYTES: usize = 40;
/// Messages kept for a reader that does not come.
const SEEN_MAX: usize = 4096;

/// What went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Asked(PeerId),
    AnsweredValue(PeerId),
    AnsweredCloser(PeerId),
    Failed(PeerId),
}

/// Kademlia with an observer.
pub(super) struct Traced {
    pub(super) kad: kad::Behaviour<kad::store::MemoryStore>,
    seen: VecDeque<Seen>,
}

impl Traced {
    pub(super) fn new(kad: kad::Behaviour<kad::store::MemoryStore>) -> Traced {
        Traced { kad, seen: VecDeque::new() }
    }

    /// What went by since the last call, oldest first.
    pub(super) fn take_seen(&mut self) -> VecDeque<Seen> {
        std::mem::take(&mut self.seen)
    }

    fn saw(&mut self, seen: Seen) {
        if self.seen.len() < SEEN_MAX {
            self.seen.push_back(seen);
        }
    }
}

/// Keeps the first bytes of what is written and then ends the printing.
struct Prefix(String);

impl Write for Prefix {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() < PREFIX_BYTES { Ok(()) } else { Err(fmt::Error) }
    }
}

fn prefix(message: &impl Debug) -> String {
    let mut prefix = Prefix(String::new());
    let _ = write!(prefix, "{message:?}");
    prefix.0
}

impl NetworkBehaviour for Traced {
    type ConnectionHandler = <kad::Behaviour<kad::store::MemoryStore> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = kad::Event;

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
        if let FromSwarm::DialFailure(failure) = &event
            && let Some(peer) = failure.peer_id
        {
            self.saw(Seen::Failed(peer));
        }
        self.kad.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        let name = prefix(&event);
        if name.starts_with("GetRecordRes { record: Some") {
            self.saw(Seen::AnsweredValue(peer));
        } else if name.starts_with("GetRecordRes") {
            self.saw(Seen::AnsweredCloser(peer));
        } else if name.starts_with("QueryError") {
            self.saw(Seen::Failed(peer));
        }
        self.kad.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let polled = self.kad.poll(cx);
        match &polled {
            Poll::Ready(ToSwarm::NotifyHandler { peer_id, event, .. })
                if prefix(event).starts_with("GetRecord {") =>
            {
                self.saw(Seen::Asked(*peer_id));
            }
            // A peer that is not connected: the dial is denied, and the query goes on without it.
            Poll::Ready(ToSwarm::Dial { opts }) => {
                if let Some(peer) = opts.get_peer_id() {
                    self.saw(Seen::Asked(peer));
                }
            }
            _ => {}
        }
        polled
    }
}
