//! What scrubbers come by.

use super::{Fact, Scene, Situation, Tally, Watch};

const ROUND: Situation = Situation("scrubber read every stored replica of a node");
const ROT: Situation = Situation("scrubber found rot");
const KEPT: Situation = Situation("rotten replica kept until the others can do without");
const LET_GO: Situation = Situation("rotten replica that was kept is given up");

/// Watches scrubbers.
pub(super) struct Scrub;

impl Watch for Scrub {
    fn situations(&self) -> &'static [Situation] {
        &[ROUND, ROT, KEPT, LET_GO]
    }

    fn see(&mut self, _scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        let Fact::Scrubbed { before, after } = fact else { return };
        tally.count_if(after.rounds > before.rounds, ROUND);
        tally.count_if(after.rot > before.rot, ROT);
        tally.count_if(after.kept > before.kept, KEPT);
        tally.count_if(after.kept < before.kept, LET_GO);
    }
}

#[cfg(test)]
mod tests {
    use node::core::ScrubFigures;

    use super::super::doctored::seen;
    use super::*;

    #[test]
    fn what_a_scrubber_did_is_the_difference() {
        let before = ScrubFigures { rounds: 3, kept: 1, ..ScrubFigures::default() };
        let counts = |after| {
            let counts = seen(&[Fact::Scrubbed { before, after }]);
            counts.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(counts(ScrubFigures { bytes: 9, ..before }), Vec::<&str>::new());
        assert_eq!(counts(ScrubFigures { rounds: 4, ..before }), [ROUND.0]);
        assert_eq!(counts(ScrubFigures { rot: 1, kept: 2, ..before }), [KEPT.0, ROT.0]);
        assert_eq!(counts(ScrubFigures { kept: 0, ..before }), [LET_GO.0]);
    }
}
