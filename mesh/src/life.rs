//! Which process of a node speaks, and which one is outlived: how an old copy of a data directory is told by the others.
//!
//! A data directory has an incarnation, drawn when it was made, and a boot number that each start raises and syncs before
//! anything is promised. So of one incarnation a lower boot number is the past: a message that comes late, or a process on an
//! old copy of the directory, whose promises are lost. The same boot number of another process says the same: the directory
//! was put back to before that boot. A copy of the newest boot itself cannot be told.
//!
//! What others were heard of is kept in memory: who restarted since knows nothing before it hears of them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mutant::{self, Mutant};
use crate::raft::{Incarnation, NodeId};

/// One process of a node; comes with every message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Life {
    /// The life of its data directory.
    pub incarnation: Incarnation,
    /// How often that directory was opened.
    pub boot: u64,
    /// Drawn by the process.
    pub session: u64,
}

impl Life {
    /// Whether `other` shows that this process runs on an old copy of its data directory.
    #[must_use]
    pub fn is_outlived_by(&self, other: Life) -> bool {
        other.incarnation == self.incarnation && other.boot >= self.boot && other != *self
    }
}

/// The newest process of each life of each node, as heard. Incarnations among each other have no order here: replica
/// triples and the registry tell those.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    newest: BTreeMap<(NodeId, Incarnation), Life>,
}

impl Lives {
    /// A message of `life` came from `node`. Returns the process that outlived it: then it must be dropped.
    pub fn hear(&mut self, node: NodeId, life: Life) -> Option<Life> {
        let newest = self.newest.entry((node, life.incarnation)).or_insert(life);
        if life.is_outlived_by(*newest) && !mutant::active(Mutant::BootNumberIgnored) {
            return Some(*newest);
        }
        *newest = life;
        None
    }

    /// The newest process heard of.
    #[must_use]
    pub fn newest(&self, node: NodeId, incarnation: Incarnation) -> Option<Life> {
        self.newest.get(&(node, incarnation)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(3);

    fn life(incarnation: u64, boot: u64, session: u64) -> Life {
        Life { incarnation: Incarnation(incarnation), boot, session }
    }

    #[test]
    fn a_restarted_peer_is_heard_and_its_past_is_not() {
        let mut lives = Lives::default();
        assert_eq!(lives.hear(NODE, life(9, 3, 30)), None);
        assert_eq!(lives.hear(NODE, life(9, 3, 30)), None, "the same process goes on");
        assert_eq!(lives.hear(NODE, life(9, 4, 40)), None);
        assert_eq!(lives.hear(NODE, life(9, 3, 30)), Some(life(9, 4, 40)), "late");
        assert_eq!(lives.hear(NODE, life(9, 4, 40)), None);
        assert_eq!(lives.hear(NodeId(4), life(9, 1, 1)), None, "another node");
        assert_eq!(lives.newest(NODE, Incarnation(9)), Some(life(9, 4, 40)));
    }

    #[test]
    fn an_old_copy_is_told_up_to_the_boot_that_was_heard() {
        let mut lives = Lives::default();
        let newest = life(9, 7, 70);
        lives.hear(NODE, newest);
        for (boot, old) in [(4, true), (7, true), (8, false)] {
            let copy = life(9, boot, 71);
            assert_eq!(lives.clone().hear(NODE, copy).is_some(), old, "boot {boot}");
            assert_eq!(copy.is_outlived_by(newest), old, "boot {boot}");
        }
        assert!(!newest.is_outlived_by(newest) && !newest.is_outlived_by(life(9, 6, 1)));
    }

    #[test]
    fn an_emptied_directory_counts_from_one_again() {
        let mut lives = Lives::default();
        lives.hear(NODE, life(9, 7, 70));
        assert_eq!(lives.hear(NODE, life(10, 1, 71)), None);
        assert!(!life(10, 1, 71).is_outlived_by(life(9, 7, 70)));
    }
}
