//! A replica of which its own node says that its promises may be lost promises nothing under that name any more, and one that its node
//! takes to be suspect or removed takes part in nothing.

use std::collections::BTreeSet;

use mesh::raft::{Index, Message, ReplicaId};
use node::core::Standing;
use node::core::message::PeerMessage;
use node::core::metadata::PartitionKey;
use node::core::metadata::lifecycle::Report;

use super::{Check, Ledger, ReplicaFact, Verdict, violated};

const NAME: &str = "a suspect replica is silent";

/// The triples that their nodes called suspect or lost. A report is repeated in each life of a process.
#[derive(Default)]
pub(super) struct Silence {
    suspect: BTreeSet<(PartitionKey, ReplicaId)>,
    /// Those that do something although their nodes take them to be suspect or removed.
    apart: BTreeSet<(PartitionKey, ReplicaId)>,
}

impl Check for Silence {
    fn replica(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        // What was said before a crash may not be on the disk, and then nothing was lost.
        let name = (ledger.key(fact.group), fact.id);
        if fact.before.is_none() {
            self.suspect.remove(&name);
            self.apart.remove(&name);
        }
        if matches!(fact.standing, Standing::Suspect | Standing::Removed) {
            self.apart.insert(name);
        }
        Ok(())
    }

    fn message(&mut self, _ledger: &Ledger, _host: usize, message: &PeerMessage) -> Verdict {
        match message {
            PeerMessage::Report { reports, .. } => {
                for report in reports {
                    if let Report::Suspect { key, replica, .. } | Report::Lost { key, replica, .. } = report {
                        self.suspect.insert((*key, *replica));
                    }
                }
                Ok(())
            }
            PeerMessage::Raft { key, from, message, .. } if self.suspect.contains(&(*key, *from)) => {
                match message {
                    Message::VoteReply { granted: true, .. }
                    | Message::Vote { .. }
                    | Message::Append { .. }
                    | Message::AppendReply { reject: None, matched: Index(1..), .. }
                    | Message::HeartbeatReply { matched: Index(1..), .. } => violated(
                        NAME,
                        format!(
                            "{key:?}: replica {from} was called suspect by its node, and says {message:?}"
                        ),
                    ),
                    _ => Ok(()),
                }
            }
            PeerMessage::Raft { key, from, message, .. } if self.apart.contains(&(*key, *from)) => {
                violated(NAME, format!("{key:?}: replica {from} takes no part, and says {message:?}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::raft::{Incarnation, Term};
    use node::core::metadata::ShardId;

    use super::super::doctored::{fact, founding, id};
    use super::*;

    #[test]
    fn a_suspect_that_votes_is_found_until_it_starts_anew() {
        let key = PartitionKey::of_shard(ShardId(3));
        let mut ledger = Ledger::new(&founding());
        let group = ledger.group(key);
        let mut check = Silence::default();
        let message = Message::VoteReply { term: Term(3), granted: true };
        let vote = PeerMessage::Raft { key, from: id(1), to: id(2), message };
        let report = Report::Suspect { key, replica: id(1), incarnation: Incarnation(9) };
        assert!(check.message(&ledger, 1, &vote).is_ok());
        check.message(&ledger, 1, &PeerMessage::Report { shard: 3, reports: vec![report] }).unwrap();
        assert_eq!(check.message(&ledger, 1, &vote).unwrap_err().check, NAME);
        check.replica(&ledger, &fact(group, 1, 1, false, 0, 0)).unwrap();
        assert!(check.message(&ledger, 1, &vote).is_ok());
    }
}
