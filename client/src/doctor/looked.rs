//! How much of a mesh was seen.

use super::facts::Facts;
use super::finding::count;
use std::fmt;

/// What was looked at, in numbers. Written out it is a sentence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookedAt {
    /// Nodes that anybody knows of.
    pub nodes: usize,
    /// Nodes that answered in full over HTTP.
    pub answered: usize,
    /// Topics, as the node that knows most of them says.
    pub topics: u64,
    /// Partitions, metadata shards among them, as the node that knows most of them says.
    pub partitions: u64,
    /// Replicas on the nodes that answered, those of metadata shards among them.
    pub replicas: u64,
    /// Advertised Kafka addresses that answered.
    pub addresses: usize,
}

impl From<&Facts> for LookedAt {
    fn from(facts: &Facts) -> LookedAt {
        LookedAt {
            nodes: facts.nodes.len(),
            answered: facts.full().count(),
            topics: facts.workers().map(|(_, node)| node.topics).max().unwrap_or(0),
            partitions: facts.workers().map(|(_, node)| node.partitions).max().unwrap_or(0),
            replicas: facts.workers().map(|(_, node)| node.replicas).sum(),
            addresses: facts.nodes.values().filter(|node| node.kafka_said.is_ok()).count(),
        }
    }
}

impl fmt::Display for LookedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} answered, with {} of {} partitions (metadata shards among them) of {}; Kafka answered at {}",
            self.answered,
            count(self.nodes, "node"),
            count(usize::try_from(self.replicas).unwrap_or(usize::MAX), "replica"),
            self.partitions,
            count(usize::try_from(self.topics).unwrap_or(usize::MAX), "topic"),
            count(self.addresses, "advertised address").replace("addresss", "addresses"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::LookedAt;
    use crate::doctor::fixtures::healthy;

    #[test]
    fn what_was_looked_at_is_told_in_numbers() {
        assert_eq!(
            LookedAt::from(&healthy(3)).to_string(),
            "3 of 3 nodes answered, with 84 replicas of 28 partitions (metadata shards among them) of 2 topics; Kafka answered at \
             3 advertised addresses"
        );
    }
}
