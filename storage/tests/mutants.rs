//! The deliberate bugs of this crate are caught by its own tests too, and only they are.
#![cfg(feature = "mutants")]

mod common;

use common::{Model, Random, config, open};
use storage::fake::FakeDisk;
use storage::mutant::{self, Mutant};

/// Lives of a store that end in a kill, a start that promises, and a power cut. Whether something promised was lost.
fn loses(mutant: Option<Mutant>, seed: u64) -> bool {
    let mut random = Random(seed);
    let mut config = config(&mut random);
    config.segment_bytes = 4096;
    let disk = FakeDisk::default();
    mutant::set(mutant);
    let (mut store, _) = open(&disk, &config);
    let mut model = Model::default();
    for _ in 0..12 {
        model.stage(&mut store, &mut random, 12);
        let Some(mut commit) = store.begin_commit() else { continue };
        commit.write();
        if random.below(12) == 0 {
            break;
        }
        commit.sync();
        store.finish_commit(commit).expect("no fault");
        model.committed();
        model.reclaim(&mut store, &mut random);
    }
    let next = disk.kill();
    let (found, recovered) = open(&next, &config);
    let mut lost = recovered.suspect || !model.states.contains(&common::read_all(&found));
    let promised = common::read_all(&found);
    let (found, recovered) = open(&next.kill().power_cut(|_| 0), &config);
    lost |= recovered.suspect || common::read_all(&found) != promised;
    mutant::set(None);
    lost
}

#[test]
fn each_mutant_is_harmful_and_the_right_code_is_not() {
    assert_eq!((0..300).filter(|seed| loses(None, *seed)).count(), 0);
    for mutant in [Mutant::PromiseFromUnsyncedTail, Mutant::CopiedFrameNew] {
        let caught = (0..300).filter(|seed| loses(Some(mutant), *seed)).count();
        assert!(caught >= 10, "{mutant:?} was caught by {caught} seeds of 300");
        println!("{mutant:?}: {caught} of 300 seeds");
    }
}
