//! Who comes to lead, and who does not.

use std::collections::BTreeMap;

use mesh::raft::{Index, Message, ReplicaId, Term};
use node::core::message::PeerMessage;
use node::core::metadata::PartitionKey;

use super::{Fact, Life, Scene, Situation, Tally, Watch};
use crate::checks::ReplicaFact;

const TORN_VOTE: Situation = Situation("vote by a replica that lost its tail in a crash");
const TORN_LEADER: Situation = Situation("leader that lost its tail in a crash");
const SPLIT_VOTE: Situation = Situation("split vote: two candidates in a term and no leader");
const PRE_VOTE_REFUSED: Situation = Situation("pre-vote refused");
const VOTE_REFUSED: Situation = Situation("vote refused");
const STEPPED_DOWN: Situation = Situation("leader steps down in its own term: no majority heard");
const HANDED_OVER: Situation = Situation("leader asks another to take over");
const HANDED_OVER_SPLIT: Situation = Situation("leader asks another to take over during a split");
const TOOK_OVER: Situation = Situation("leader that was asked to take over");
const TWO_LEADERS: Situation = Situation("new leader while an older one runs and believes it leads");
const PAUSED_DEPOSED: Situation = Situation("new leader while an older one is paused");
const JOINT_ELECTION: Situation = Situation("leader elected by both majorities of a joint membership");

/// The newest term that somebody asked votes for.
#[derive(Default)]
struct Campaign {
    term: Term,
    candidates: Vec<ReplicaId>,
    by_transfer: Option<ReplicaId>,
    led: bool,
}

/// Watches elections.
#[derive(Default)]
pub(super) struct Elections {
    campaigns: BTreeMap<PartitionKey, Campaign>,
    /// Replicas that came back with less than they had, and how much that was.
    torn: BTreeMap<(PartitionKey, usize), Index>,
}

impl Elections {
    fn replica(&mut self, scene: &Scene, key: PartitionKey, fact: &ReplicaFact, tally: &mut Tally) {
        let place = (key, fact.host);
        if fact.before.is_none() {
            let held = scene.held.get(&place).filter(|held| held.id == fact.id && held.last > fact.last);
            match held {
                Some(held) => _ = self.torn.insert(place, held.last),
                None => _ = self.torn.remove(&place),
            }
        } else if self.torn.get(&place).is_some_and(|last| fact.last >= *last) {
            self.torn.remove(&place);
        }
        if fact.became_leader() {
            self.leads(scene, key, fact, tally);
        }
        let deposed = fact.before.as_ref().is_some_and(|before| {
            before.leads && !fact.leads && before.term == fact.term && before.id == fact.id
        });
        tally.count_if(deposed, STEPPED_DOWN);
    }

    fn leads(&mut self, scene: &Scene, key: PartitionKey, fact: &ReplicaFact, tally: &mut Tally) {
        tally.count_if(self.torn.contains_key(&(key, fact.host)), TORN_LEADER);
        tally.count_if(fact.membership.is_joint(), JOINT_ELECTION);
        for (host, other) in scene.of(key) {
            if host == fact.host || !other.leads || other.term >= fact.term {
                continue;
            }
            tally.count_if(scene.lives[host] == Life::Running, TWO_LEADERS);
            tally.count_if(scene.lives[host] == Life::Paused, PAUSED_DEPOSED);
        }
        let campaign = self.campaigns.entry(key).or_default();
        if campaign.term == fact.term {
            campaign.led = true;
            tally.count_if(campaign.by_transfer == Some(fact.id), TOOK_OVER);
        }
    }

    fn votes_asked(
        &mut self,
        key: PartitionKey,
        from: ReplicaId,
        term: Term,
        transfer: bool,
        tally: &mut Tally,
    ) {
        let campaign = self.campaigns.entry(key).or_default();
        if term > campaign.term {
            tally.count_if(campaign.candidates.len() > 1 && !campaign.led, SPLIT_VOTE);
            *campaign = Campaign { term, ..Campaign::default() };
        }
        if term == campaign.term && !campaign.candidates.contains(&from) {
            campaign.candidates.push(from);
        }
        if term == campaign.term && transfer {
            campaign.by_transfer = Some(from);
        }
    }
}

impl Watch for Elections {
    fn situations(&self) -> &'static [Situation] {
        &[
            TORN_VOTE,
            TORN_LEADER,
            SPLIT_VOTE,
            PRE_VOTE_REFUSED,
            VOTE_REFUSED,
            STEPPED_DOWN,
            HANDED_OVER,
            HANDED_OVER_SPLIT,
            TOOK_OVER,
            TWO_LEADERS,
            PAUSED_DEPOSED,
            JOINT_ELECTION,
        ]
    }

    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Replica { key, fact } => self.replica(scene, *key, fact, tally),
            Fact::Sent { host, message: PeerMessage::Raft { key, from, message, .. }, split, .. } => {
                match message {
                    Message::Vote { term, transfer, .. } => {
                        self.votes_asked(*key, *from, *term, *transfer, tally)
                    }
                    Message::VoteReply { granted: true, .. } => {
                        tally.count_if(self.torn.contains_key(&(*key, *host)), TORN_VOTE);
                    }
                    Message::VoteReply { granted: false, .. } => tally.count(VOTE_REFUSED),
                    Message::PreVoteReply { granted: false, .. } => tally.count(PRE_VOTE_REFUSED),
                    Message::TimeoutNow { .. } => {
                        tally.count(HANDED_OVER);
                        tally.count_if(*split, HANDED_OVER_SPLIT);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use node::core::message::PeerMessage;

    use super::super::doctored::{KEY, after, seen};
    use super::*;
    use crate::checks::doctored::id;

    fn asks(node: i32, term: u32) -> PeerMessage {
        let last = (Index(0), Term(0));
        let message = Message::Vote { term: Term(term), last, receiver_is_voter: true, transfer: false };
        PeerMessage::Raft { key: KEY, from: id(node), to: id(3), message }
    }

    fn sent(host: usize, message: &PeerMessage) -> Fact<'_> {
        Fact::Sent { host, message, split: false }
    }

    #[test]
    fn a_term_with_two_candidates_and_no_leader_is_a_split_vote() {
        let (one, two, next) = (asks(1, 5), asks(2, 5), asks(1, 6));
        let counts = seen(&[sent(1, &one), sent(2, &two), sent(1, &next)]);
        assert_eq!(counts.get(SPLIT_VOTE.0), Some(&1));
        let leader = after(None, 1, 5, true, 3);
        let led = Fact::Replica { key: KEY, fact: &leader };
        let counts = seen(&[sent(1, &one), sent(2, &two), led, sent(1, &next)]);
        assert_eq!(counts.get(SPLIT_VOTE.0), None);
    }

    #[test]
    fn a_replica_that_came_back_shorter_has_a_torn_tail_until_it_is_as_long_again() {
        let grant = Message::VoteReply { term: Term(6), granted: true };
        let grant = PeerMessage::Raft { key: KEY, from: id(1), to: id(2), message: grant };
        let (before, short) = (after(None, 1, 5, false, 9), after(None, 1, 5, false, 7));
        let whole = after(Some(&short), 1, 5, false, 9);
        let replica = |fact| Fact::Replica { key: KEY, fact };
        let down = || Fact::Down { host: 1, power: true, newest_segments: vec![None] };
        let counts = seen(&[replica(&before), down(), replica(&short), sent(1, &grant)]);
        assert_eq!(counts.get(TORN_VOTE.0), Some(&1));
        let counts = seen(&[replica(&before), down(), replica(&short), replica(&whole), sent(1, &grant)]);
        assert_eq!(counts.get(TORN_VOTE.0), None);
    }

    #[test]
    fn a_paused_leader_is_deposed_by_a_newer_one() {
        let (old, new) = (after(None, 1, 5, true, 9), after(None, 2, 6, true, 9));
        let replica = |fact| Fact::Replica { key: KEY, fact };
        let counts = seen(&[replica(&old), Fact::Paused { host: 1 }, replica(&new)]);
        assert_eq!((counts.get(PAUSED_DEPOSED.0), counts.get(TWO_LEADERS.0)), (Some(&1), None));
    }
}
