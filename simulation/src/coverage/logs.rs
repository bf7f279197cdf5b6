//! What becomes of entries on their way.

use mesh::raft::Message;
use node::core::message::PeerMessage;

use super::{Fact, Scene, Situation, Tally, Watch};
use crate::checks::ReplicaFact;

const OLDER_TERM: Situation = Situation("entry of an older term committed by a newer leader");
const TRUNCATED: Situation = Situation("entries that only a minority had are truncated");
const TRUNCATED_SYNCED: Situation = Situation("synced entries are truncated");
const TRUNCATED_MEMBERSHIP: Situation = Situation("a membership entry is truncated");
const BEHIND: Situation = Situation("replica starts anew above the end of its log");
const LEARNER_BEHIND: Situation = Situation("learner caught up by a reset");
const LARGE: Situation = Situation("entry larger than the window sent to a follower");
const FROM_DISK: Situation = Situation("follower served from the leader's disk");
const TRIMMED: Situation = Situation("log start moves up");

/// Watches logs.
pub(super) struct Logs;

/// Whether entries that were there are not there any more, other than by a trim.
pub(super) fn truncated(before: &ReplicaFact, fact: &ReplicaFact) -> bool {
    lost(before, fact, before.last)
}

fn lost(before: &ReplicaFact, fact: &ReplicaFact, index: mesh::raft::Index) -> bool {
    before.id == fact.id && index > fact.start.index && fact.term_at(index) != before.term_at(index)
}

fn replica(fact: &ReplicaFact, tally: &mut Tally) {
    let Some(before) = fact.before.as_ref().filter(|before| before.id == fact.id) else { return };
    if truncated(before, fact) {
        tally.count(TRUNCATED);
        tally.count_if(lost(before, fact, before.synced), TRUNCATED_SYNCED);
        tally.count_if(before.membership != fact.membership, TRUNCATED_MEMBERSHIP);
    }
    if fact.start.index > before.last {
        tally.count(BEHIND);
        tally.count_if(fact.membership.learners.contains(&fact.id), LEARNER_BEHIND);
    } else {
        tally.count_if(fact.start.index > before.start.index, TRIMMED);
    }
    if fact.leads && fact.commit > before.commit {
        let first = fact.term_at(before.commit.next());
        tally.count_if(first.is_some_and(|term| term < fact.term), OLDER_TERM);
    }
}

impl Watch for Logs {
    fn situations(&self) -> &'static [Situation] {
        &[
            OLDER_TERM,
            TRUNCATED,
            TRUNCATED_SYNCED,
            TRUNCATED_MEMBERSHIP,
            BEHIND,
            LEARNER_BEHIND,
            LARGE,
            FROM_DISK,
            TRIMMED,
        ]
    }

    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Replica { fact, .. } => replica(fact, tally),
            Fact::Sent {
                message: PeerMessage::Raft { message: Message::Append { entries, .. }, .. },
                ..
            } => {
                let large = |entry: &mesh::raft::Entry| entry.weight() > scene.raft.inflight_bytes_max;
                tally.count_if(entries.iter().any(large), LARGE);
            }
            Fact::ServedFromDisk => tally.count(FROM_DISK),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::{KEY, after, seen};
    use super::*;
    use crate::checks::ReplicaFact;

    fn counts(before: &ReplicaFact, change: impl FnOnce(&mut ReplicaFact)) -> super::super::Counts {
        let mut fact = after(Some(before), 1, 5, false, before.last.0);
        change(&mut fact);
        seen(&[Fact::Replica { key: KEY, fact: &fact }])
    }

    #[test]
    fn a_shorter_log_of_the_same_replica_was_truncated() {
        let before = after(None, 1, 5, false, 9);
        let shorter = counts(&before, |fact| fact.last = mesh::raft::Index(7));
        assert_eq!((shorter.get(TRUNCATED.0), shorter.get(TRUNCATED_SYNCED.0)), (Some(&1), Some(&1)));
        assert!(counts(&before, |fact| fact.last = mesh::raft::Index(12)).is_empty());
    }

    #[test]
    fn a_trim_is_no_truncation_and_a_start_above_the_end_is_a_reset() {
        let before = after(None, 1, 5, false, 9);
        let start = |index| mesh::raft::LogStart {
            index: mesh::raft::Index(index),
            term: mesh::raft::Term(5),
            next_offset: 0,
        };
        let trimmed = counts(&before, |fact| fact.start = start(4));
        assert_eq!(trimmed.into_iter().collect::<Vec<_>>(), [(TRIMMED.0, 1)]);
        let reset = counts(&before, |fact| (fact.start, fact.last) = (start(20), mesh::raft::Index(20)));
        assert_eq!(reset.into_iter().collect::<Vec<_>>(), [(BEHIND.0, 1)]);
    }
}
