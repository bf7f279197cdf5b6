//! Which peer of the transport is which node: the committed registry, turned around.

use std::collections::BTreeMap;

use libp2p::PeerId;
use mesh::raft::NodeId;

use crate::core::metadata::View;
use crate::core::request::Broker;

/// The nodes of a view.
#[derive(Debug, Default)]
pub(super) struct Registry {
    peers: BTreeMap<NodeId, PeerId>,
    nodes: BTreeMap<PeerId, NodeId>,
    addresses: BTreeMap<PeerId, String>,
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

    /// Whom the transport may keep connected, and where they are.
    pub(super) fn allowed(&self) -> Vec<(PeerId, Vec<String>)> {
        self.addresses.iter().map(|(peer, address)| (*peer, vec![address.clone()])).collect()
    }
}

/// The nodes of a view as Kafka clients reach them.
pub(super) fn brokers(view: &View) -> Vec<Broker> {
    let of = |info: &crate::core::metadata::NodeInfo| {
        let (host, port) = split(&info.kafka)?;
        let rack = (!info.zone.is_empty()).then(|| info.zone.clone());
        Some(Broker { node: info.node.0, host, port, rack })
    };
    view.nodes().filter_map(of).collect()
}

/// `host:port` in its parts, the host without brackets.
pub(super) fn split(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_parts() {
        assert_eq!(split("[::1]:9092"), Some(("::1".into(), 9092)));
        assert_eq!(split("node-1:1"), Some(("node-1".into(), 1)));
        assert_eq!(split("node-1"), None);
    }
}
