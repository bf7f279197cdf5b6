//! The store on real files with sled beside it: sled missing, whole or full of rubbish costs time, never data.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use storage::disk::file::FileDisk;
use storage::index::sled::SledIndex;
use storage::{Entry, LogId, Read, ReadFrom, Recovered, Store, StoreConfig, Write};

const LOGS: u32 = 5;
const ENTRIES: u64 = 300;

fn open(root: &Path) -> (Store<FileDisk>, Recovered) {
    let config =
        StoreConfig { segment_bytes: 64 << 10, reserve_bytes: 0, cache_bytes: 0, ..StoreConfig::default() };
    let index = SledIndex::open(&root.join("index"));
    Store::open(FileDisk::new(root).expect("a directory"), config, Box::new(index)).expect("opens")
}

fn commit(store: &mut Store<FileDisk>) {
    while let Some(mut commit) = store.begin_commit() {
        commit.run();
        store.finish_commit(commit).expect("the disk works");
    }
}

fn entry(log: u32, index: u64) -> Entry {
    Entry {
        term: 1,
        index,
        base_offset: index.cast_signed() - 1,
        record_count: 1,
        kind: 0,
        timestamp_ms: -1,
        payload: Bytes::from(format!("{log} {index} ").repeat(60)),
    }
}

fn check(store: &Store<FileDisk>) {
    for log in 1..=LOGS {
        for index in (1..=ENTRIES).step_by(7) {
            let entries = match store.read(LogId(log), ReadFrom::Index(index), 1).expect("inside") {
                Read::Ready(entries) => entries,
                Read::Disk(job) => job.run().expect("whole"),
            };
            assert_eq!(entries, [entry(log, index)]);
        }
    }
}

#[test]
fn the_index_is_only_a_mirror() {
    let root = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(root.path());
    for log in 1..=LOGS {
        store.write(Write::Create { log: LogId(log), epoch: 1, meta: Bytes::new() }).expect("new");
    }
    for index in 1..=ENTRIES {
        for log in 1..=LOGS {
            store.write(Write::Append { log: LogId(log), entries: vec![entry(log, index)] }).expect("room");
        }
        if index % 10 == 0 {
            commit(&mut store);
        }
    }
    commit(&mut store);
    check(&store);
    drop(store);

    let (store, recovered) = open(root.path());
    assert!(recovered.segments_from_index > 3 && recovered.segments_scanned == 0, "{recovered:?}");
    check(&store);
    drop(store);

    fs::remove_dir_all(root.path().join("index")).expect("there");
    let (store, recovered) = open(root.path());
    assert!(recovered.segments_from_index == 0 && recovered.segments_from_footer > 3, "{recovered:?}");
    check(&store);
    drop(store);

    let (store, recovered) = open(root.path());
    assert!(recovered.segments_from_index > 3, "built anew: {recovered:?}");
    drop(store);

    for file in fs::read_dir(root.path().join("index")).expect("there") {
        let path = file.expect("there").path();
        if path.is_file() {
            let len = fs::metadata(&path).expect("there").len();
            fs::write(&path, vec![0xa5; usize::try_from(len).expect("small")]).expect("room");
        }
    }
    let (store, recovered) = open(root.path());
    assert!(!recovered.suspect && recovered.segments_from_index == 0, "{recovered:?}");
    check(&store);
}
