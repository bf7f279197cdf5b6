//! The store against a model: random writes, commits, kills, power cuts, an index that forgets and lies, reclaim.

mod common;

use common::{Model, Random, config, read_all};
use quickcheck::{QuickCheck, quickcheck};
use storage::fake::FakeDisk;
use storage::index::memory::MemoryIndex;
use storage::{Store, StoreConfig};

struct Run {
    disk: FakeDisk,
    config: StoreConfig,
    index: MemoryIndex,
    model: Model,
    random: Random,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut config = config(&mut random);
        config.cache_bytes = random.below(2) * 10_000;
        let (disk, index) = (FakeDisk::default(), MemoryIndex::new());
        Self { disk, config, index, model: Model::default(), random }
    }

    fn open(&mut self) -> Store<FakeDisk> {
        let (store, recovered) =
            Store::open(self.disk.clone(), self.config.clone(), Box::new(self.index.clone())).expect("opens");
        assert!(!recovered.suspect);
        let found = self.model.settled(read_all(&store));
        let known = self.model.states.iter().any(|state| self.model.settled(state.clone()) == found);
        assert!(known, "recovered something that was never there");
        let next = self.model.next_log();
        self.model = Model::of(&store);
        self.model.set_next_log(next);
        store
    }

    fn crash(&mut self) {
        let seed = self.random.next();
        self.disk = match self.random.below(3) {
            0 => self.disk.kill(),
            1 => self.disk.power_cut_seeded(seed),
            _ => self.disk.kill().power_cut_seeded(seed),
        };
        match self.random.below(4) {
            0 => self.index.forget(),
            1 => self.index.forget_runs(|key| key.first_sequence % 3 == 0),
            2 => self.index.corrupt_runs(|key| key.first_sequence % 5 == 0),
            _ => {}
        }
    }

    fn life(&mut self) {
        let mut store = self.open();
        for _ in 0..1 + self.random.below(20) {
            self.model.stage(&mut store, &mut self.random, 10);
            if let Some(mut commit) = store.begin_commit() {
                self.model.began();
                // What is staged while a commit is under way is readable and belongs to the next one.
                self.model.stage_more(&mut store, &mut self.random, 3);
                self.model.check(&store);
                commit.write();
                if self.random.below(30) == 0 {
                    break;
                }
                commit.sync();
                if self.random.below(30) == 0 {
                    break;
                }
                store.finish_commit(commit).expect("no fault");
                self.model.committed();
            }
            self.model.reclaim(&mut store, &mut self.random);
            self.model.rewrite(&mut store, &mut self.random);
            if self.random.below(4) == 0 {
                self.model.check(&store);
            }
            let key = self.random.below(40);
            self.index.forget_runs(|run| run.first_sequence % 40 == key);
        }
    }
}

#[test]
fn survives_many_lives() {
    fn property(seed: u64) -> bool {
        let mut run = Run::new(seed);
        for _ in 0..5 {
            run.life();
            run.crash();
        }
        run.open();
        true
    }
    QuickCheck::new().tests(150).quickcheck(property as fn(u64) -> bool);
}

quickcheck! {
    /// A long life with much churn: disk space follows what lives.
    fn space_is_given_back(seed: u64) -> bool {
        let mut run = Run::new(seed);
        run.config.preallocate = false;
        run.config.segment_bytes = 4096;
        let mut store = run.open();
        for _ in 0..60 {
            run.model.stage(&mut store, &mut run.random, 12);
            run.model.reclaim(&mut store, &mut run.random);
            run.model.rewrite(&mut store, &mut run.random);
            while let Some(mut commit) = store.begin_commit() {
                run.model.began();
                commit.run();
                store.finish_commit(commit).expect("no fault");
                run.model.committed();
            }
        }
        for _ in 0..500 {
            let Some(mut job) = store.begin_reclaim() else { break };
            job.run();
            store.finish_reclaim(job).expect("no fault");
            while let Some(mut commit) = store.begin_commit() {
                commit.run();
                store.finish_commit(commit).expect("no fault");
            }
        }
        run.model.check(&store);
        let stats = store.stats();
        let snapshots: u64 = stats.segments * 2500;
        assert_eq!(stats.disk_bytes, run.disk.used_bytes());
        let bound = stats.live_bytes * 100 / 60 + snapshots + 60_000;
        assert!(stats.disk_bytes <= bound, "{stats:?}");
        true
    }
}
