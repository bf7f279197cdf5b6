//! Processes that die at bad moments, and what they find when they come back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Life, Scene, Situation, Tally, Watch};

const RECLAIMING: Situation = Situation("dies while a reclaim job is under way");
const COMMITTING: Situation = Situation("machine loses power while a commit is under way");
const ROLLING: Situation = Situation("dies in a commit that opens a segment");
const ROLLED: Situation = Situation("commit that opens a segment");
const STARTING: Situation = Situation("dies before the first commit after its start");
const ALL_DARK: Situation = Situation("all nodes lose power at once, and one leads again");
const TORN: Situation = Situation("torn tail cut at a start");
const ROT: Situation = Situation("rot found at a start: all its replicas are suspect");
const FORGOTTEN: Situation = Situation("start without an index: segments read or scanned");
const FAILED: Situation = Situation("failed sync ends a node");
const STOPPED: Situation = Situation("graceful stop done");

/// Fewer nodes than this are no mesh that could lose power as a whole.
const MESH_MIN: usize = 3;

/// Watches crashes.
#[derive(Default)]
pub(super) struct Crashes {
    reclaiming: BTreeSet<usize>,
    /// Commits under way by host and worker: the newest segment when it began.
    committing: BTreeMap<(usize, usize), Option<String>>,
    /// Hosts that did not commit since their start.
    fresh: BTreeSet<usize>,
    /// All machines lost power, and nothing leads yet.
    dark: bool,
}

impl Crashes {
    fn down(
        &mut self,
        scene: &Scene,
        host: usize,
        power: bool,
        newest: &[Option<String>],
        tally: &mut Tally,
    ) {
        tally.count_if(self.reclaiming.remove(&host), RECLAIMING);
        for (worker, newest) in newest.iter().enumerate() {
            let Some(began) = self.committing.remove(&(host, worker)) else { continue };
            tally.count_if(power, COMMITTING);
            tally.count_if(began != *newest, ROLLING);
        }
        tally.count_if(self.fresh.remove(&host), STARTING);
        let is_dark = |at: usize, life: Life| life == Life::Dark || (at == host && power);
        let born = scene.lives.iter().enumerate().filter(|(_, life)| **life != Life::Unborn);
        let (all, dark) =
            born.fold((0, 0), |(all, dark), (at, life)| (all + 1, dark + usize::from(is_dark(at, *life))));
        self.dark |= all >= MESH_MIN && all == dark;
    }

    fn up(&mut self, host: usize, recovered: &[storage::Recovered], tally: &mut Tally) {
        self.fresh.insert(host);
        self.committing.retain(|(of, _), _| *of != host);
        tally.count_if(recovered.iter().any(|one| one.cut_bytes > 0), TORN);
        tally.count_if(recovered.iter().any(|one| one.suspect), ROT);
        let forgotten = |one: &storage::Recovered| {
            one.segments_from_footer + one.segments_scanned > 0 && one.segments_from_index == 0
        };
        tally.count_if(recovered.iter().any(forgotten), FORGOTTEN);
    }
}

impl Watch for Crashes {
    fn situations(&self) -> &'static [Situation] {
        &[RECLAIMING, COMMITTING, ROLLING, ROLLED, STARTING, ALL_DARK, TORN, ROT, FORGOTTEN, FAILED, STOPPED]
    }

    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Down { host, power, newest_segments } => {
                self.down(scene, *host, *power, newest_segments, tally)
            }
            Fact::Up { host, recovered, .. } => self.up(*host, recovered, tally),
            Fact::ReclaimBegins { host } => _ = self.reclaiming.insert(*host),
            Fact::ReclaimEnds { host } => _ = self.reclaiming.remove(host),
            Fact::CommitBegins { host, worker, newest_segment } => {
                self.committing.insert((*host, *worker), newest_segment.clone());
            }
            Fact::CommitEnds { host, worker, newest_segment } => {
                self.fresh.remove(host);
                let began = self.committing.remove(&(*host, *worker));
                tally.count_if(began.is_some_and(|began| began != *newest_segment), ROLLED);
            }
            Fact::Replica { key, fact } if self.dark && key.as_shard().is_none() && fact.became_leader() => {
                self.dark = false;
                tally.count(ALL_DARK);
            }
            Fact::Failed => tally.count(FAILED),
            Fact::Stopped => tally.count(STOPPED),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::Recovered;

    use super::super::WorkerCounts;
    use super::super::doctored::{KEY, after, seen};
    use super::*;

    fn up(host: usize, recovered: &Recovered) -> Fact<'_> {
        Fact::Up { host, recovered: std::slice::from_ref(recovered), workers: WorkerCounts::default() }
    }

    fn down(host: usize, power: bool) -> Fact<'static> {
        Fact::Down { host, power, newest_segments: vec![Some("2".into())] }
    }

    #[test]
    fn all_nodes_are_dark_only_when_the_last_one_is() {
        let (nothing, leader) = (Recovered::default(), after(None, 1, 5, true, 9));
        let leads = || Fact::Replica { key: KEY, fact: &leader };
        let begin = || vec![up(0, &nothing), up(1, &nothing), up(2, &nothing)];
        let mut facts = begin();
        facts.extend([down(0, true), down(1, true), down(2, true), up(1, &nothing), leads(), leads()]);
        assert_eq!(seen(&facts).get(ALL_DARK.0), Some(&1));
        let mut facts = begin();
        facts.extend([down(0, true), down(1, true), down(2, false), up(1, &nothing), leads()]);
        assert_eq!(seen(&facts).get(ALL_DARK.0), None);
    }

    #[test]
    fn a_segment_that_is_new_at_the_end_of_a_commit_was_opened_by_it() {
        let begins = || Fact::CommitBegins { host: 0, worker: 0, newest_segment: Some("1".into()) };
        let ends =
            |newest: &str| Fact::CommitEnds { host: 0, worker: 0, newest_segment: Some(newest.into()) };
        assert_eq!(seen(&[begins(), ends("2")]).get(ROLLED.0), Some(&1));
        assert_eq!(seen(&[begins(), ends("1")]).get(ROLLED.0), None);
        assert_eq!(seen(&[begins(), down(0, false)]).get(ROLLING.0), Some(&1));
    }
}
