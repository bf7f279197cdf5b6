//! Which peer of the transport is which node: the committed registry, turned around.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::PeerId;
use mesh::raft::NodeId;

use crate::core::metadata::endpoint::{Endpoint, endpoints};
use crate::core::metadata::{NodeInfo, View};
use crate::core::request::Broker;
use crate::kafka::listeners::Brokers;

/// The nodes of a view.
#[derive(Debug, Default)]
pub(super) struct Registry {
    peers: BTreeMap<NodeId, PeerId>,
    nodes: BTreeMap<PeerId, NodeId>,
    addresses: BTreeMap<PeerId, String>,
    former: BTreeSet<PeerId>,
}

impl Registry {
    /// Of a view; nodes whose peer id does not decode are passed over.
    pub(super) fn of(view: &View) -> Registry {
        let mut registry = Registry::default();
        for info in view.nodes() {
            let Ok(peer) = PeerId::from_bytes(&info.peer_id) else { continue };
            registry.peers.insert(info.node, peer);
            registry.nodes.insert(peer, info.node);
            registry.addresses.insert(peer, info.mesh.clone());
            registry.former.extend(info.former.iter().filter_map(|bytes| PeerId::from_bytes(bytes).ok()));
        }
        registry
    }

    /// The peer that a node is.
    pub(super) fn peer(&self, node: NodeId) -> Option<PeerId> {
        self.peers.get(&node).copied()
    }

    /// The node that a peer is.
    pub(super) fn node(&self, peer: &PeerId) -> Option<NodeId> {
        self.nodes.get(peer).copied()
    }

    /// How many nodes there are beside one of them.
    pub(super) fn others(&self) -> usize {
        self.peers.len().saturating_sub(1)
    }

    /// Whether this identity had a number that went over to another one.
    pub(super) fn is_former(&self, peer: &PeerId) -> bool {
        self.former.contains(peer)
    }

    /// All that had.
    pub(super) fn former(&self) -> Vec<PeerId> {
        self.former.iter().copied().collect()
    }

    /// Whom the transport may keep connected, and where they are.
    pub(super) fn allowed(&self) -> Vec<(PeerId, Vec<String>)> {
        self.addresses.iter().map(|(peer, address)| (*peer, vec![address.clone()])).collect()
    }
}

/// The nodes of a view as Kafka clients reach them, by listener.
pub(super) fn brokers(view: &View) -> Brokers {
    let of = |info: &NodeInfo| {
        let (node, zone, kafka) = (info.node.0, info.zone.clone(), info.kafka.clone());
        let ends: Vec<(String, Broker)> = endpoints(&kafka)
            .map(|end| {
                let rack = (!zone.is_empty()).then(|| zone.clone());
                (end.listener.to_owned(), Broker { node, host: end.host.to_owned(), port: end.port, rack })
            })
            .collect();
        ends
    };
    Brokers::new(view.nodes().flat_map(of))
}

/// A registered node's first listener for Kafka clients as `host:port`; empty while it has none.
pub(super) fn first_kafka(info: &NodeInfo) -> String {
    endpoints(&info.kafka).next().map(|end| shown(&end)).unwrap_or_default()
}

/// `host:port`, a host of IPv6 in brackets.
pub(super) fn shown(end: &Endpoint<'_>) -> String {
    match end.host.contains(':') {
        true => format!("[{}]:{}", end.host, end.port),
        false => format!("{}:{}", end.host, end.port),
    }
}
