//! Nodes that have another number of workers than before.

use super::{Fact, Scene, Situation, Tally, Watch};

const MORE: Situation = Situation("start with more workers than before");
const KEPT: Situation = Situation("start with fewer workers: those that hold logs stay");
const GONE: Situation = Situation("worker that is not wanted any more is empty and goes");
const ROT_BESIDE: Situation = Situation("rot in one worker's log: the others' replicas are suspect too");

/// How many workers a node has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerCounts {
    /// Had when it last ran.
    pub(crate) before: usize,
    /// Has since its start.
    pub(crate) now: usize,
    /// Shall give new logs to.
    pub(crate) wanted: usize,
}

/// Watches workers.
#[derive(Default)]
pub(super) struct Workers;

impl Watch for Workers {
    fn situations(&self) -> &'static [Situation] {
        &[MORE, KEPT, GONE, ROT_BESIDE]
    }

    fn see(&mut self, _scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        let Fact::Up { recovered, workers, .. } = fact else { return };
        let WorkerCounts { before, now, wanted } = *workers;
        tally.count_if(now > before, MORE);
        tally.count_if(now > wanted, KEPT);
        tally.count_if(now < before, GONE);
        let whole = |one: &&storage::Recovered| !one.suspect && !one.logs.is_empty();
        let rot = recovered.iter().any(|one| one.suspect);
        tally.count_if(rot && recovered.iter().any(|one| whole(&one)), ROT_BESIDE);
    }
}

#[cfg(test)]
mod tests {
    use storage::{LogId, Recovered};

    use super::super::doctored::seen;
    use super::*;

    #[test]
    fn starts_are_told_by_their_counts() {
        let whole = Recovered { logs: vec![LogId(1)], ..Recovered::default() };
        let rotten = Recovered { suspect: true, ..whole.clone() };
        let up = |recovered, before, now, wanted| {
            let workers = WorkerCounts { before, now, wanted };
            seen(&[Fact::Up { host: 0, recovered, workers }])
        };
        let both = [rotten, whole];
        assert_eq!(up(&both[1..], 1, 1, 1).values().sum::<u64>(), 0);
        assert_eq!(up(&both[1..], 1, 2, 2).get(MORE.0), Some(&1));
        assert_eq!(up(&both[1..], 2, 2, 1).get(KEPT.0), Some(&1));
        assert_eq!(up(&both[1..], 2, 1, 1).get(GONE.0), Some(&1));
        assert_eq!(up(&both[..1], 1, 1, 1).get(ROT_BESIDE.0), None);
        assert_eq!(up(&both, 2, 2, 2).get(ROT_BESIDE.0), Some(&1));
    }
}
