//! With which nodes this one shares a partition, by what is desired and by what is: a descriptor's replicas and those that leave it,
//! and the members of the replica set itself, joint and learning ones included. These nodes hear each other directly.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::NodeId;

use super::metadata::PartitionKey;

/// Who shares what, kept as partitions change so that a mesh of ten thousand is not looked through at each change.
#[derive(Debug, Default)]
pub(crate) struct Company {
    of: BTreeMap<PartitionKey, Box<[NodeId]>>,
    /// Partitions shared with each node.
    shared: BTreeMap<NodeId, u32>,
    changed: bool,
    /// How often nodes came or went.
    changes: u64,
}

impl Company {
    /// The nodes that a partition is shared with, without this one; none when it is neither here nor should be.
    pub(crate) fn note(&mut self, key: PartitionKey, mut nodes: Vec<NodeId>) {
        nodes.sort_unstable();
        nodes.dedup();
        let before = match nodes.is_empty() {
            true => self.of.remove(&key),
            false if self.of.get(&key).is_some_and(|known| **known == *nodes) => return,
            false => self.of.insert(key, nodes.clone().into()),
        };
        for node in nodes {
            let count = self.shared.entry(node).or_insert(0);
            *count += 1;
            self.changed |= *count == 1;
        }
        for node in before.iter().flatten() {
            if let Some(count) = self.shared.get_mut(node) {
                *count -= 1;
                if *count == 0 {
                    self.shared.remove(node);
                    self.changed = true;
                }
            }
        }
    }

    /// Whether nodes came or went since this was asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        self.changes += u64::from(self.changed);
        std::mem::take(&mut self.changed)
    }

    /// How often that was so.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The nodes that something is shared with.
    pub(crate) fn nodes(&self) -> BTreeSet<NodeId> {
        self.shared.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::request::TopicId;

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic: TopicId([1; 16]), partition }
    }

    fn nodes(of: &[i32]) -> Vec<NodeId> {
        of.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_node_is_company_as_long_as_anything_is_shared() {
        let mut company = Company::default();
        company.note(key(0), nodes(&[3, 2, 3]));
        company.note(key(1), nodes(&[2, 4]));
        assert!(company.take_changed());
        assert_eq!(company.nodes(), nodes(&[2, 3, 4]).into_iter().collect());
        company.note(key(1), nodes(&[2]));
        assert!(company.take_changed(), "4 is gone");
        company.note(key(1), nodes(&[2]));
        company.note(key(1), Vec::new());
        assert!(!company.take_changed(), "2 is shared by another");
        company.note(key(0), Vec::new());
        assert!(company.take_changed() && company.nodes().is_empty());
    }
}
