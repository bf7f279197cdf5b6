//! What replicas that are rebuilt come by.

use super::{Fact, Scene, Situation, Tally, Watch};

const SENT: Situation = Situation("entries sent to a replica that is rebuilt");
const WAITS: Situation = Situation("replica that is rebuilt waits for its turn");
const SEVERAL: Situation = Situation("several replicas wait to be rebuilt at once");
const WHOLE: Situation = Situation("rebuilt replica is whole");

/// Watches rebuilds.
pub(super) struct Rebuilds;

impl Watch for Rebuilds {
    fn situations(&self) -> &'static [Situation] {
        &[SENT, WAITS, SEVERAL, WHOLE]
    }

    fn see(&mut self, _scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        let Fact::Rebuilt { before, after } = fact else { return };
        tally.count_if(after.bytes > before.bytes, SENT);
        tally.count_if(after.waiting > before.waiting, WAITS);
        tally.count_if(after.waiting > before.waiting && after.waiting > 1, SEVERAL);
        tally.count_if(after.finished > before.finished, WHOLE);
    }
}

#[cfg(test)]
mod tests {
    use node::core::RebuildFigures;

    use super::super::doctored::seen;
    use super::*;

    #[test]
    fn what_became_of_rebuilds_is_the_difference() {
        let before = RebuildFigures { bytes: 5, waiting: 1, ..RebuildFigures::default() };
        let counts = |after| {
            let counts = seen(&[Fact::Rebuilt { before, after }]);
            counts.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(counts(RebuildFigures { under_way: 1, ..before }), Vec::<&str>::new());
        assert_eq!(counts(RebuildFigures { bytes: 9, waiting: 0, ..before }), [SENT.0]);
        let mut both = [WAITS.0, SEVERAL.0];
        both.sort_unstable();
        assert_eq!(counts(RebuildFigures { waiting: 2, ..before }), both);
        assert_eq!(counts(RebuildFigures { finished: 1, ..before }), [WHOLE.0]);
    }
}
