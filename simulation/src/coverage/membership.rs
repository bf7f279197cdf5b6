//! Changes of who votes.

use node::core::message::PeerMessage;

use super::{Fact, Scene, Situation, Tally, Watch, logs};
use crate::checks::ReplicaFact;

const JOINT: Situation = Situation("joint consensus entered");
const LEFT: Situation = Situation("joint consensus left");
const ROLLED_BACK: Situation = Situation("joint consensus rolled back by a truncation");
const KILLED: Situation = Situation("leader dies while joint");
const LEARNER: Situation = Situation("learner added");
const REPLACED: Situation = Situation("message for a replaced triple arrives");

/// Watches memberships.
pub(super) struct Memberships;

fn replica(fact: &ReplicaFact, tally: &mut Tally) {
    let Some(before) = fact.before.as_ref().filter(|before| before.id == fact.id) else { return };
    let (was, is) = (&before.membership, &fact.membership);
    if was == is {
        return;
    }
    if logs::truncated(before, fact) {
        tally.count_if(was.is_joint() && !is.is_joint(), ROLLED_BACK);
    } else if fact.leads {
        tally.count_if(!was.is_joint() && is.is_joint(), JOINT);
        tally.count_if(was.is_joint() && !is.is_joint(), LEFT);
        tally.count_if(is.learners.iter().any(|id| !was.contains(*id)), LEARNER);
    }
}

impl Watch for Memberships {
    fn situations(&self) -> &'static [Situation] {
        &[JOINT, LEFT, ROLLED_BACK, KILLED, LEARNER, REPLACED]
    }

    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Replica { fact, .. } => replica(fact, tally),
            Fact::Down { host, .. } => {
                let on_it = scene.replicas.iter().filter(|((_, at), _)| at == host);
                on_it.filter(|(_, shown)| shown.leads && shown.joint).for_each(|_| tally.count(KILLED));
            }
            Fact::Heard { host, message: PeerMessage::Raft { key, to, .. } } => {
                let shown = scene.replicas.get(&(*key, *host));
                tally.count_if(shown.is_some_and(|shown| shown.id != *to), REPLACED);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh::raft::{Index, Membership};

    use super::super::doctored::{KEY, after, seen};
    use super::*;
    use crate::checks::doctored::id;

    fn joint() -> Arc<Membership> {
        let (new, old) = (Membership::of([id(1), id(2), id(4)]), Membership::of([id(1), id(2), id(3)]));
        Arc::new(Membership { outgoing: old.voters, ..new })
    }

    #[test]
    fn a_truncated_joint_membership_is_rolled_back_not_left() {
        let mut before = after(None, 1, 5, true, 9);
        before.membership = joint();
        let left = after(Some(&before), 1, 5, true, 10);
        let counts = seen(&[Fact::Replica { key: KEY, fact: &left }]);
        assert_eq!((counts.get(LEFT.0), counts.get(ROLLED_BACK.0)), (Some(&1), None));
        let mut back = after(Some(&before), 1, 6, false, 8);
        back.last = Index(8);
        let counts = seen(&[Fact::Replica { key: KEY, fact: &back }]);
        assert_eq!((counts.get(LEFT.0), counts.get(ROLLED_BACK.0)), (None, Some(&1)));
    }

    #[test]
    fn a_leader_that_dies_while_joint_is_seen() {
        let mut leader = after(None, 1, 5, true, 9);
        leader.membership = joint();
        let down = |host| Fact::Down { host, power: false, newest_segments: vec![None] };
        let replica = || Fact::Replica { key: KEY, fact: &leader };
        assert_eq!(seen(&[replica(), down(1)]).get(KILLED.0), Some(&1));
        assert_eq!(seen(&[replica(), down(2)]).get(KILLED.0), None);
    }
}
