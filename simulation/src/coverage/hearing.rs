//! How nodes come to know of each other: by heartbeats of their own, or through SWIM alone.

use super::{Fact, Life, Scene, Situation, Tally, Watch};

const DEATH_BY_SWIM: Situation = Situation("node's death known only through SWIM");
const WRONG_BY_SWIM: Situation = Situation("node that lives called down by SWIM");
const REFUTED: Situation = Situation("suspicion refuted");
const RENEWED: Situation = Situation("node called down comes back under a new name");
const SHARES: Situation = Situation("node comes to share a partition that was known through SWIM");
const PARTS: Situation = Situation("node shares no partition any more");

/// Watches both detectors.
pub(super) struct Hearing;

impl Watch for Hearing {
    fn situations(&self) -> &'static [Situation] {
        &[DEATH_BY_SWIM, WRONG_BY_SWIM, REFUTED, RENEWED, SHARES, PARTS]
    }

    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Hearing { of, before, now } => {
                let lost = before.live && !now.live;
                let gone = matches!(scene.lives[*of], Life::Killed | Life::Dark);
                tally.count_if(lost && gone && !now.watched, DEATH_BY_SWIM);
                tally.count_if(lost && !gone, WRONG_BY_SWIM);
                tally.count_if(before.live && !before.watched && now.watched, SHARES);
                tally.count_if(before.watched && !now.watched, PARTS);
            }
            Fact::Refuted { before, after } => {
                tally.count_if(after.refuted > before.refuted, REFUTED);
                tally.count_if(after.renewed > before.renewed, RENEWED);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::seen;
    use super::super::{Heard, WorkerCounts};
    use super::*;

    #[test]
    fn who_dies_unwatched_is_known_through_swim_and_who_is_watched_later_shares() {
        let (nothing, live, both) =
            (Heard::default(), Heard { watched: false, live: true }, Heard { watched: true, live: true });
        let up = Fact::Up { host: 2, recovered: &[], workers: WorkerCounts { before: 1, now: 1, wanted: 1 } };
        let down = Fact::Down { host: 2, power: false, newest_segments: Vec::new() };
        let counts = seen(&[
            up,
            Fact::Hearing { of: 2, before: nothing, now: live },
            Fact::Hearing { of: 2, before: live, now: both },
            Fact::Hearing { of: 2, before: both, now: live },
            down,
            Fact::Hearing { of: 2, before: live, now: nothing },
        ]);
        for situation in [SHARES, PARTS, DEATH_BY_SWIM] {
            assert_eq!(counts.get(situation.0), Some(&1), "{situation:?}");
        }
        assert_eq!(counts.get(WRONG_BY_SWIM.0), None);
    }
}
