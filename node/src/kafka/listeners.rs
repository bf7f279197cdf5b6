//! The nodes as the clients of one listener reach them: an answer names the addresses of the listener that its connection
//! came by, and no other. Pure conversion.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::error::ErrorCode;
use crate::core::request::{Broker, MetadataResult, Response, TopicMetadata};

/// First version of Metadata whose clients know LISTENER_NOT_FOUND (KIP-103).
const LISTENER_NOT_FOUND_SINCE: i16 = 6;

/// The nodes, by the name of the listener.
#[derive(Clone, Debug, Default)]
pub struct Brokers(BTreeMap<String, Arc<[Broker]>>);

impl Brokers {
    /// Of every node's listeners.
    pub fn new(all: impl IntoIterator<Item = (String, Broker)>) -> Brokers {
        let mut by_listener: BTreeMap<String, Vec<Broker>> = BTreeMap::new();
        for (listener, broker) in all {
            by_listener.entry(listener).or_default().push(broker);
        }
        Brokers(by_listener.into_iter().map(|(listener, brokers)| (listener, brokers.into())).collect())
    }

    /// The nodes that have a listener of that name.
    pub fn of(&self, listener: &str) -> Arc<[Broker]> {
        self.0.get(listener).cloned().unwrap_or_default()
    }

    /// Whether nobody said yet which nodes there are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Puts the addresses of one listener into the answer to a Metadata or DescribeCluster request of `version`. A node without
/// such a listener is left out, and what it leads has, for this client, no leader that it could reach.
pub fn localize(response: &mut Response, brokers: &[Broker], version: i16) {
    let Response::Metadata(result) = response else { return };
    let missing = replace(result, brokers);
    if missing.is_empty() {
        return;
    }
    let known = version >= LISTENER_NOT_FOUND_SINCE;
    let error = if known { ErrorCode::ListenerNotFound } else { ErrorCode::LeaderNotAvailable };
    if missing.contains(&result.controller) {
        result.controller = -1;
    }
    result.topics.iter_mut().for_each(|topic| hide_leaders(topic, &missing, error));
}

/// The nodes that have no address here; they are gone from the answer.
fn replace(result: &mut MetadataResult, brokers: &[Broker]) -> Vec<i32> {
    let mut missing = Vec::new();
    result.brokers.retain_mut(|broker| match brokers.iter().find(|here| here.node == broker.node) {
        Some(here) => {
            (broker.host, broker.port) = (here.host.clone(), here.port);
            true
        }
        None => {
            missing.push(broker.node);
            false
        }
    });
    missing
}

fn hide_leaders(topic: &mut TopicMetadata, missing: &[i32], error: ErrorCode) {
    for partition in topic.partitions.iter_mut().filter(|partition| missing.contains(&partition.leader)) {
        partition.leader = -1;
        partition.error = error;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::request::{PartitionMetadata, TopicId};

    fn broker(node: i32, host: &str, port: u16) -> Broker {
        Broker { node, host: host.into(), port, rack: Some("z".into()) }
    }

    fn answer() -> Response {
        let partition = |partition, leader| PartitionMetadata {
            error: ErrorCode::None,
            partition,
            leader,
            leader_epoch: 3,
            replicas: vec![1, 2],
            in_sync: vec![1, 2],
            offline: Vec::new(),
        };
        let topic = TopicMetadata {
            error: ErrorCode::None,
            name: Some("t".into()),
            topic_id: TopicId::default(),
            internal: false,
            partitions: vec![partition(0, 1), partition(1, 2)],
        };
        let brokers = vec![broker(1, "inside-1", 1), broker(2, "inside-2", 2)];
        Response::Metadata(MetadataResult {
            cluster_id: "c".into(),
            controller: 2,
            brokers,
            topics: vec![topic],
        })
    }

    fn localized(brokers: &[Broker], version: i16) -> MetadataResult {
        let mut response = answer();
        localize(&mut response, brokers, version);
        match response {
            Response::Metadata(result) => result,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_addresses_are_those_of_the_listener() {
        let brokers = Brokers::new([
            ("IN".into(), broker(1, "inside-1", 1)),
            ("OUT".into(), broker(1, "outside-1", 91)),
            ("OUT".into(), broker(2, "outside-2", 92)),
        ]);
        let result = localized(&brokers.of("OUT"), 9);
        let at: Vec<_> = result.brokers.iter().map(|b| (b.node, b.host.as_str(), b.port)).collect();
        assert_eq!(at, [(1, "outside-1", 91), (2, "outside-2", 92)]);
        assert!(result.brokers.iter().all(|broker| broker.rack.as_deref() == Some("z")));
        assert_eq!((result.controller, result.topics[0].partitions[1].leader), (2, 2));
        assert!(brokers.of("NO").is_empty());
    }

    #[test]
    fn a_node_without_the_listener_is_left_out_and_leads_nothing() {
        let here = [broker(1, "outside-1", 91)];
        for (version, error) in [(5, ErrorCode::LeaderNotAvailable), (6, ErrorCode::ListenerNotFound)] {
            let result = localized(&here, version);
            assert_eq!((result.brokers.len(), result.controller), (1, -1));
            let partitions = &result.topics[0].partitions;
            assert_eq!((partitions[0].leader, partitions[0].error), (1, ErrorCode::None));
            assert_eq!((partitions[1].leader, partitions[1].error), (-1, error));
        }
    }
}
