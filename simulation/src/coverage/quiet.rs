//! Replica sets that go quiet, and what wakes them.

use std::collections::BTreeMap;

use node::core::message::PeerMessage;

use super::{Fact, Life, Scene, Situation, Tally, Watch};

const QUIET: Situation = Situation("replica set goes quiet");
const QUIET_WITHOUT_ONE: Situation = Situation("replica set goes quiet while a node is gone");
const LEADER_WAKES: Situation = Situation("quiet leader wakes");
const FOLLOWER_ALONE: Situation = Situation("quiet follower wakes while its leader stays quiet");
const TAKES_OVER: Situation = Situation("quiet follower comes to lead");
const LEADER_LOST: Situation = Situation("node goes that leads a quiet replica set");
const FALTERED: Situation = Situation("node admits that a leader of it ceased");

/// Watches quiescence.
#[derive(Default)]
pub(super) struct Quiet {
    /// How often each host admitted it.
    faltered: BTreeMap<usize, u64>,
}

impl Watch for Quiet {
    fn situations(&self) -> &'static [Situation] {
        &[QUIET, QUIET_WITHOUT_ONE, LEADER_WAKES, FOLLOWER_ALONE, TAKES_OVER, LEADER_LOST, FALTERED]
    }

    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Replica { key, fact } => {
                let Some(before) = fact.before.as_ref().filter(|before| before.id == fact.id) else { return };
                let quiet_leader = |(_, shown): (usize, &super::Shown)| {
                    shown.leads && shown.quiet && shown.term == fact.term
                };
                if fact.leads && fact.quiet && !before.quiet && fact.membership.voters.len() > 1 {
                    tally.count(QUIET);
                    let gone = |life: &Life| matches!(life, Life::Killed | Life::Dark | Life::Paused);
                    tally.count_if(scene.lives.iter().any(gone), QUIET_WITHOUT_ONE);
                }
                tally.count_if(fact.leads && before.quiet && before.leads && !fact.quiet, LEADER_WAKES);
                let woke = before.quiet && !fact.quiet && !before.leads;
                tally.count_if(woke && scene.of(*key).any(quiet_leader), FOLLOWER_ALONE);
                let quiet_at = scene.of(*key).any(|(host, shown)| host != fact.host && shown.quiet);
                tally.count_if(fact.became_leader() && quiet_at, TAKES_OVER);
            }
            Fact::Down { host, .. } => {
                let led =
                    scene.replicas.iter().any(|((_, at), shown)| at == host && shown.leads && shown.quiet);
                tally.count_if(led, LEADER_LOST);
            }
            Fact::Sent { host, message: PeerMessage::Heartbeat(heartbeat), .. } => {
                let before = self.faltered.insert(*host, heartbeat.faltered).unwrap_or_default();
                tally.count_if(heartbeat.faltered > before, FALTERED);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::{KEY, after, seen};
    use super::*;
    use crate::checks::ReplicaFact;

    #[test]
    fn a_replica_set_goes_quiet_and_its_leader_wakes() {
        let quiet = |fact: ReplicaFact| ReplicaFact { quiet: true, ..fact };
        let awake = after(None, 1, 1, true, 3);
        let asleep = quiet(after(Some(&awake), 1, 1, true, 3));
        let mut woken = after(None, 1, 1, true, 4);
        woken.before = Some(std::sync::Arc::new(quiet(after(None, 1, 1, true, 3))));
        let facts = [&awake, &asleep, &woken].map(|fact| Fact::Replica { key: KEY, fact });
        let counts = seen(&facts);
        assert_eq!(counts.get(QUIET.0), Some(&1));
        assert_eq!(counts.get(LEADER_WAKES.0), Some(&1));
    }
}
