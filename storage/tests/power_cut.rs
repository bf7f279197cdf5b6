//! Power cuts at every sync point: what was promised is there afterwards, and what is there was written.

mod common;

use common::{Model, Random, config, open};
use storage::fake::FakeDisk;

/// Sync points of one workload, and the subsets of unsynced pages tried at each: nothing, everything, random ones.
const SYNC_POINTS: usize = 240;
const SUBSETS: u64 = 18;

fn cut(disk: &FakeDisk, subset: u64, seed: u64) -> FakeDisk {
    match subset {
        0 => disk.power_cut(|_| 0),
        1 => disk.power_cut(|_| 0xff),
        _ => {
            let mut random = Random(seed ^ subset << 32);
            disk.power_cut(|_| match random.below(3) {
                0 => 0,
                1 => 0xff,
                _ => random.next().to_le_bytes()[0],
            })
        }
    }
}

#[test]
fn power_cut() {
    let mut points = 0;
    for seed in 1.. {
        if points >= SYNC_POINTS {
            break;
        }
        let mut random = Random(seed);
        let disk = FakeDisk::default();
        let config = config(&mut random);
        let (mut store, recovered) = open(&disk, &config);
        assert_eq!(recovered.boot, 1);
        let mut model = Model::default();
        for _ in 0..24 {
            model.stage(&mut store, &mut random, 12);
            let Some(mut commit) = store.begin_commit() else { continue };
            commit.write();
            points += 1;
            for subset in 0..SUBSETS {
                let after = cut(&disk.fork(), subset, seed * 1000 + points as u64);
                model.check_recovery(&after, &config, &format!("seed {seed} point {points} subset {subset}"));
                // The process dies, starts, promises again what it found, and then the power fails.
                let killed = disk.fork().kill();
                let (found, _) = open(&killed, &config);
                let promised = Model::of(&found);
                let killed = killed.kill();
                let after = cut(&killed, subset, seed * 3000 + points as u64);
                promised.check_recovery(
                    &after,
                    &config,
                    &format!("seed {seed} kill at {points} subset {subset}"),
                );
            }
            commit.sync();
            store.finish_commit(commit).expect("no fault");
            model.committed();
            model.check(&store);
            model.reclaim(&mut store, &mut random);
            model.rewrite(&mut store, &mut random);
        }
    }
    assert!(points >= 200);
}
