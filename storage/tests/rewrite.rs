//! Compaction of a log in the store: what goes, what stays, and what readers see of it, before and after a power cut.

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use common::{open, read_all};
use storage::fake::FakeDisk;
use storage::{Entry, Fate, LogId, Read, ReadFrom, Store, StoreConfig, Turn, Write};

const LOG: LogId = LogId(1);

fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range
        .map(|index| Entry {
            term: u32::try_from(index / 40).expect("small"),
            index,
            base_offset: (index - 1).cast_signed() * 3,
            record_count: 3,
            kind: 2,
            timestamp_ms: index.cast_signed(),
            payload: Bytes::from(vec![7; 200]),
        })
        .collect()
}

fn commit(store: &mut Store<FakeDisk>) {
    while let Some(mut commit) = store.begin_commit() {
        commit.run();
        store.finish_commit(commit).expect("no fault");
    }
}

fn written(disk: &FakeDisk, config: &StoreConfig) -> Store<FakeDisk> {
    let (mut store, _) = open(disk, config);
    store.write(Write::Create { log: LOG, epoch: 1, meta: Bytes::new() }).expect("new");
    for range in [1..=60, 61..=120, 121..=200] {
        store.write(Write::Append { log: LOG, entries: entries(range) }).expect("follows");
        commit(&mut store);
    }
    store
}

/// Judges all entries from 1 to `upto`; how many were looked at.
fn compact(store: &mut Store<FakeDisk>, upto: u64, judge: impl Fn(&Entry) -> Fate) -> usize {
    let (mut next, mut looked) = (1, 0);
    while next <= upto {
        match store.begin_rewrite(LOG, next, upto, 5_000) {
            Turn::Begins(mut job) => {
                job.run(|entry| {
                    looked += 1;
                    judge(entry)
                });
                next = job.last() + 1;
                store.finish_rewrite(job).expect("no fault");
            }
            Turn::Later => assert!(store.is_rewriting(), "nothing to wait for"),
            Turn::Nothing => break,
        }
        commit(store);
    }
    looked
}

fn by_offset(store: &Store<FakeDisk>, offset: i64) -> Vec<Entry> {
    match store.read(LOG, ReadFrom::Offset(offset), 1 << 20).expect("inside") {
        Read::Ready(entries) => entries,
        Read::Disk(job) => job.run().expect("whole"),
    }
}

/// Every entry but each tenth goes, and each twentieth says less.
fn tenth(entry: &Entry) -> Fate {
    match entry.index {
        index if index % 20 == 0 => Fate::Becomes { payload: entry.payload.slice(..9), timestamp_ms: 5 },
        index if index % 10 == 0 => Fate::Stays,
        _ => Fate::Goes,
    }
}

#[test]
fn what_goes_gives_its_bytes_back_and_keeps_its_place() {
    let (disk, config) =
        (FakeDisk::default(), StoreConfig { segment_bytes: 8 << 10, ..StoreConfig::default() });
    let mut store = written(&disk, &config);
    let before = store.log(LOG).expect("there").bytes;
    assert_eq!(compact(&mut store, 150, tenth), 150);
    let state = store.log(LOG).expect("there");
    assert_eq!((state.last_index, state.next_offset, state.start.next_offset), (200, 600, 0));
    assert!(state.bytes * 5 < before * 2, "{} of {before}", state.bytes);
    let check = |store: &Store<FakeDisk>| {
        // Whoever reads by offset meets what is left only, from the middle of what went too.
        let indexes = |offset| by_offset(store, offset).iter().map(|entry| entry.index).collect::<Vec<_>>();
        let left: Vec<u64> = (1..=15).map(|tenth| tenth * 10).chain(151..=200).collect();
        assert_eq!(indexes(0), left);
        assert_eq!(indexes(100 * 3 + 4), left[10..]);
        assert_eq!(by_offset(store, 0)[1].payload.len(), 9);
        // By index nothing is missing, and the offsets are dense.
        let all = &read_all(store)[&LOG].entries;
        assert_eq!(all.len(), 200);
        assert!(
            all.windows(2)
                .all(|two| two[0].base_offset + i64::from(two[0].record_count) == two[1].base_offset)
        );
        assert!(all.iter().all(|entry| entry.term == u32::try_from(entry.index / 40).expect("small")));
        assert_eq!(store.index_at(LOG, 4), Some(10));
        assert_eq!(store.end_offset(LOG, 9), Some(27));
        assert_eq!(store.first_at_or_after(LOG, 0, 25), Some((30, 87)));
    };
    check(&store);
    drop(store);
    let (store, recovered) = open(&disk.power_cut_seeded(3), &config);
    assert!(!recovered.suspect);
    check(&store);
}

#[test]
fn compacting_again_finds_nothing_to_do_and_joins_gaps() {
    let (disk, config) =
        (FakeDisk::default(), StoreConfig { segment_bytes: 8 << 10, ..StoreConfig::default() });
    let mut store = written(&disk, &config);
    compact(&mut store, 150, tenth);
    let copied = store.stats().copied_bytes;
    compact(&mut store, 150, |_| Fate::Stays);
    assert_eq!(store.stats().copied_bytes, copied, "what stays is left alone");
    assert_eq!(compact(&mut store, 150, |_| Fate::Goes), 15);
    assert_eq!(compact(&mut store, 150, |_| Fate::Goes), 0, "one gap, and nothing in it");
    assert_eq!(by_offset(&store, 0)[0].index, 151);
}

#[test]
fn space_comes_back_and_a_trim_into_a_gap_holds() {
    let config = StoreConfig {
        segment_bytes: 8 << 10,
        reserve_bytes: 0,
        preallocate: false,
        reclaim_live_percent: 80,
        ..StoreConfig::default()
    };
    let disk = FakeDisk::default();
    let mut store = written(&disk, &config);
    let before = disk.used_bytes();
    compact(&mut store, 180, |entry| if entry.index > 170 { Fate::Stays } else { Fate::Goes });
    for _ in 0..50 {
        let Some(mut job) = store.begin_reclaim() else { break };
        job.run();
        store.finish_reclaim(job).expect("no fault");
        commit(&mut store);
    }
    let now = disk.used_bytes();
    assert!(now * 2 < before, "{now} of {before}");
    let start = storage::LogStart { index: 100, term: 2, next_offset: 300 };
    store.write(Write::Trim { log: LOG, start }).expect("inside");
    commit(&mut store);
    drop(store);
    let (store, _) = open(&disk.kill(), &config);
    let entries = &read_all(&store)[&LOG].entries;
    assert_eq!((entries[0].index, entries[0].base_offset, entries.len()), (101, 300, 100));
    let with_content: BTreeSet<u64> = by_offset(&store, 300).iter().map(|entry| entry.index).collect();
    assert_eq!(with_content, (171..=200).collect());
}
