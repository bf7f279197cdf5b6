//! A node exchanges heartbeats with every node that holds a member of a replica of its own, and what SWIM tells it of another node's
//! processes never goes back.

use super::{Check, Known, Ledger, ReplicaFact, Verdict, violated};

const WATCHED: &str = "who shares a partition is heard directly";
const FORWARD: &str = "SWIM revives no earlier process";

/// Needs no memory.
pub(super) struct Hearing;

impl Check for Hearing {
    fn replica(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        match fact.unwatched {
            None => Ok(()),
            Some(node) => violated(
                WATCHED,
                format!("{}: node {} does not watch node {}", ledger.name(fact.group), fact.host + 1, node.0),
            ),
        }
    }

    fn known(&mut self, fact: &Known) -> Verdict {
        match fact.before {
            Some(before) if (fact.now.boot, fact.now.renewal) < (before.boot, before.renewal) => {
                violated(FORWARD, format!("node {} knew {before:?}, and now {:?}", fact.host + 1, fact.now))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::raft::{Incarnation, NodeId};
    use mesh::swim::SwimId;

    use super::super::doctored::{fact, ledger};
    use super::*;

    #[test]
    fn a_member_that_is_not_watched_is_found() {
        let (ledger, group) = ledger();
        let mut shown = fact(group, 1, 1, true, 0, 0);
        assert!(Hearing.replica(&ledger, &shown).is_ok());
        shown.unwatched = Some(NodeId(3));
        assert_eq!(Hearing.replica(&ledger, &shown).unwrap_err().check, WATCHED);
    }

    #[test]
    fn an_earlier_process_that_comes_back_is_found() {
        let id = |boot, renewal| SwimId { node: NodeId(2), incarnation: Incarnation(9), boot, renewal };
        let judge = |before, now| Hearing.known(&Known { host: 1, before, now });
        assert!(judge(None, id(3, 1)).is_ok());
        assert!(judge(Some(id(3, 1)), id(4, 0)).is_ok());
        assert_eq!(judge(Some(id(4, 0)), id(3, 2)).unwrap_err().check, FORWARD);
    }
}
