//! Single faults: failed sync, full disk, lock, versions, rot, misdirected writes, missing files.

#![expect(clippy::cast_possible_truncation, reason = "numbers are small here")]

mod common;

use bytes::Bytes;
use common::{Logs, Random, read_all};
use storage::fake::{FakeDisk, Unsynced};
use storage::index::memory::MemoryIndex;
use storage::{
    Disk, DiskFile, Entry, LogId, LogStart, OpenError, Read, ReadError, ReadFrom, Recovered, Store,
    StoreConfig, Write, WriteError,
};

const LOG: LogId = LogId(7);

fn config() -> StoreConfig {
    StoreConfig { segment_bytes: 16 << 10, reserve_bytes: 40 << 10, cache_bytes: 0, ..StoreConfig::default() }
}

fn open(disk: &FakeDisk) -> Result<(Store<FakeDisk>, Recovered), OpenError> {
    Store::open(disk.clone(), config(), Box::new(MemoryIndex::new()))
}

fn commit(store: &mut Store<FakeDisk>) {
    while let Some(mut commit) = store.begin_commit() {
        commit.run();
        store.finish_commit(commit).expect("no fault");
    }
}

fn entry(store: &Store<FakeDisk>, len: usize) -> Entry {
    let state = store.log(LOG).expect("created");
    let (index, base_offset) = (state.last_index + 1, state.next_offset);
    let payload = Bytes::from(vec![(index % 250) as u8 + 1; len]);
    Entry { term: 1, index, base_offset, record_count: 1, kind: 0, timestamp_ms: index as i64, payload }
}

fn append(store: &mut Store<FakeDisk>, len: usize) -> Result<(), WriteError> {
    let entries = vec![entry(store, len)];
    store.write(Write::Append { log: LOG, entries }).map(drop)
}

/// A store with `rounds` rounds of one entry of 500 bytes.
fn filled(disk: &FakeDisk, rounds: usize) -> Store<FakeDisk> {
    let (mut store, _) = open(disk).expect("opens");
    store.write(Write::Create { log: LOG, epoch: 1, meta: Bytes::new() }).expect("new");
    commit(&mut store);
    for _ in 0..rounds {
        append(&mut store, 500).expect("room");
        commit(&mut store);
    }
    store
}

fn only_segment(disk: &FakeDisk) -> String {
    disk.list().expect("no fault").into_iter().rfind(|name| name.ends_with(".segment")).expect("one")
}

/// Position of the payload of the entry at `index`: its bytes tell it.
fn payload_position(disk: &FakeDisk, file: &str, index: u64) -> u64 {
    let file = disk.open(file).expect("there");
    let bytes = file.read_at(0, file.len().expect("no fault") as usize).expect("whole");
    let pattern = [(index % 250) as u8 + 1; 64];
    bytes.windows(64).rposition(|window| window == pattern).expect("stored") as u64
}

#[test]
fn a_directory_is_opened_once() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk).expect("opens");
    assert!(matches!(open(&disk), Err(OpenError::Locked)));
    drop(store);
    let (_, recovered) = open(&disk).expect("opens");
    assert_eq!(recovered.boot, 2);
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let disk = FakeDisk::default();
    drop(filled(&disk, 3));
    let name = only_segment(&disk);
    let file = disk.open(&name).expect("there");
    let mut header = file.read_at(0, 64).expect("whole").to_vec();
    header[8] = 9;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..64]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    file.write_at(0, &header).expect("room");
    let Err(error) = open(&disk) else { panic!("opened a newer version") };
    assert!(error.to_string().contains(&name) && error.to_string().contains("version 9"), "{error}");
}

#[test]
fn a_failed_sync_latches_and_the_tail_is_written_again() {
    let disk = FakeDisk::default();
    let mut store = filled(&disk, 5);
    append(&mut store, 500).expect("room");
    let mut failing = store.begin_commit().expect("staged");
    disk.fail_syncs(1);
    failing.run();
    assert!(store.finish_commit(failing).is_err());
    assert!(store.failed());
    assert_eq!(append(&mut store, 1), Err(WriteError::Failed));
    assert!(store.begin_commit().is_none());
    assert_eq!(store.log(LOG).expect("there").synced_index, 5);
    assert_eq!(read_all(&store)[&LOG].entries.len(), 6, "reads go on");
    // The pages read back clean although the medium never got them: they must be written again.
    let disk = disk.kill();
    let (store, recovered) = open(&disk).expect("opens");
    assert!(!recovered.suspect);
    let promised = read_all(&store);
    assert_eq!(promised[&LOG].entries.len(), 6);
    let disk = disk.kill().power_cut(|_| 0);
    let (store, recovered) = open(&disk).expect("opens");
    assert!(!recovered.suspect);
    assert_eq!(read_all(&store), promised);
}

#[test]
fn a_failed_sync_of_open_promises_nothing() {
    let disk = FakeDisk::default();
    drop(filled(&disk, 5));
    disk.fail_syncs(1);
    assert!(matches!(open(&disk), Err(OpenError::Io(_))));
    let disk = disk.kill();
    let (store, _) = open(&disk).expect("opens");
    let promised = read_all(&store);
    let (store, recovered) = open(&disk.kill().power_cut(|_| 0)).expect("opens");
    assert!(!recovered.suspect);
    assert_eq!(read_all(&store), promised);
}

#[test]
fn a_full_disk_refuses_appends_serves_and_recovers() {
    let disk = FakeDisk::new(200 << 10);
    let mut store = filled(&disk, 3);
    let mut refused = None;
    for _ in 0..1000 {
        if let Err(error) = append(&mut store, 500) {
            refused = Some(error);
            break;
        }
        commit(&mut store);
    }
    assert_eq!(refused, Some(WriteError::Full));
    let last = store.log(LOG).expect("there").last_index;
    assert_eq!(read_all(&store)[&LOG].entries.len() as u64, last);
    store
        .write(Write::HardState { log: LOG, state: Bytes::from_static(b"vote") })
        .expect("the reserve is for this");
    commit(&mut store);
    let start = LogStart {
        index: last - 10,
        term: 1,
        next_offset: store.end_offset(LOG, last - 10).expect("inside"),
    };
    store.write(Write::Trim { log: LOG, start }).expect("the reserve is for this");
    commit(&mut store);
    append(&mut store, 500).expect("trimming gave space back");
    commit(&mut store);
    disk.set_capacity(disk.used_bytes());
    store
        .write(Write::HardState { log: LOG, state: Bytes::from_static(b"seen") })
        .expect("the reserve is for this");
    commit(&mut store);
    assert_eq!(append(&mut store, 500), Err(WriteError::Full));
    assert!(!store.failed());
    disk.set_capacity(10 << 20);
    append(&mut store, 500).expect("space returned");
    commit(&mut store);
}

#[test]
fn a_start_without_room_is_refused_and_loses_nothing() {
    let disk = FakeDisk::default();
    let store = filled(&disk, 5);
    let before = read_all(&store);
    let disk = disk.kill();
    disk.set_capacity(disk.used_bytes());
    assert!(matches!(open(&disk), Err(OpenError::Full)));
    disk.set_capacity(10 << 20);
    let (store, recovered) = open(&disk.kill()).expect("opens");
    assert!(!recovered.suspect);
    assert_eq!(read_all(&store), before);
}

#[test]
fn a_torn_tail_is_cut() {
    let disk = FakeDisk::default();
    let mut store = filled(&disk, 5);
    let before = read_all(&store);
    append(&mut store, 9000).expect("room");
    let mut torn = store.begin_commit().expect("staged");
    torn.write();
    let disk = disk.power_cut(|unsynced| {
        u8::from(matches!(unsynced, Unsynced::Page { page, .. } if page % 2 == 0)) * 0xff
    });
    let (store, recovered) = open(&disk).expect("opens");
    assert!(!recovered.suspect);
    assert!(recovered.cut_bytes > 0);
    assert_eq!(read_all(&store), before);
}

#[test]
fn rot_below_a_synced_round_makes_all_suspect_for_good() {
    for victim in 1..=9 {
        let disk = FakeDisk::default();
        let store = filled(&disk, 10);
        let before = read_all(&store);
        let file = only_segment(&disk);
        let disk = disk.kill();
        assert!(disk.flip_bit(&file, payload_position(&disk, &file, victim), 2));
        let (store, recovered) = open(&disk).expect("opens");
        assert!(recovered.suspect, "entry {victim}");
        assert!(store.log(LOG).expect("there").suspect);
        assert_eq!(read_all(&store)[&LOG].entries[..], before[&LOG].entries[..victim as usize - 1]);
        // Synced before open returned: the next start knows without seeing the rot.
        let (store, _) = open(&disk.power_cut(|_| 0)).expect("opens");
        assert!(store.log(LOG).expect("there").suspect);
    }
}

#[test]
fn the_medium_is_read_whatever_memory_says() {
    let disk = FakeDisk::default();
    let cached = StoreConfig { cache_bytes: 1 << 40, ..config() };
    let (mut store, _) = Store::open(disk.clone(), cached, Box::new(MemoryIndex::new())).expect("opens");
    store.write(Write::Create { log: LOG, epoch: 1, meta: Bytes::new() }).expect("new");
    for _ in 0..40 {
        append(&mut store, 500).expect("room");
        commit(&mut store);
    }
    append(&mut store, 500).expect("room");
    let medium = |index| store.read_medium(LOG, index, 1).expect("there");
    assert!(medium(41).is_none(), "it is not synced");
    assert!(medium(40).expect("synced").run().is_ok_and(|entries| entries.len() == 1));
    // In a sealed segment and in the one that is written.
    let files: Vec<_> =
        disk.list().expect("no fault").into_iter().filter(|name| name.ends_with(".segment")).collect();
    assert!(files.len() > 1, "{files:?}");
    for (file, index) in [(&files[0], 5), (&files[files.len() - 1], 40)] {
        assert!(disk.flip_bit(file, payload_position(&disk, file, index), 2));
        let in_memory = store.read(LOG, ReadFrom::Index(index), 1).expect("there");
        assert!(matches!(in_memory, Read::Ready(_)), "entry {index}");
        let job = medium(index).expect("synced");
        assert!(job.is_patient());
        let read = job.run();
        assert!(matches!(read, Err(ReadError::Corrupt { index: at, .. }) if at == index), "{read:?}");
    }
}

#[test]
fn damage_is_noted_before_it_is_forgotten() {
    let disk = FakeDisk::default();
    drop(filled(&disk, 10));
    let file = only_segment(&disk);
    let opened = |disk: &FakeDisk, note: &mut dyn FnMut() -> std::io::Result<()>| {
        Store::open_noting_damage(disk.clone(), config(), Box::new(MemoryIndex::new()), note)
    };
    let disk = disk.kill();
    assert!(disk.flip_bit(&file, payload_position(&disk, &file, 5), 2));
    // What could not be noted is found again, also after a power cut.
    assert!(opened(&disk, &mut || Err(std::io::Error::other("no"))).is_err());
    let disk = disk.power_cut(|_| 0xff);
    let mut noted = 0;
    let note = &mut || {
        noted += 1;
        Ok(())
    };
    assert!(opened(&disk, note).expect("opens").1.suspect);
    let mut unwanted = || panic!("the damage is known");
    assert!(!opened(&disk.kill(), &mut unwanted).expect("opens").1.suspect);
    assert_eq!(noted, 1);
}

#[test]
fn rot_is_told_once_and_not_to_the_replicas_that_were_reset() {
    let disk = FakeDisk::default();
    drop(filled(&disk, 10));
    let file = only_segment(&disk);
    assert!(disk.flip_bit(&file, payload_position(&disk, &file, 5), 2));
    let (mut store, recovered) = open(&disk).expect("opens");
    assert!(recovered.suspect);
    let start = store.log(LOG).expect("there").start;
    let empty = Bytes::new;
    let reset = Write::Reset {
        log: LOG,
        epoch: 2,
        meta: empty(),
        hard_state: empty(),
        start,
        checkpoint: (0, empty()),
        keep_suffix: true,
    };
    store.write(reset).expect("valid");
    commit(&mut store);
    for _ in 0..3 {
        drop(store);
        // Without an index the damaged segment is scanned again each time.
        let recovered;
        (store, recovered) = open(&disk).expect("opens");
        assert!(!recovered.suspect && !store.log(LOG).expect("there").suspect);
        assert_eq!(store.log(LOG).expect("there").last_index, 4);
    }
}

#[test]
fn rot_in_the_last_round_is_cut_as_documented() {
    let disk = FakeDisk::default();
    drop(filled(&disk, 10));
    let file = only_segment(&disk);
    assert!(disk.flip_bit(&file, payload_position(&disk, &file, 10), 2));
    let (store, recovered) = open(&disk).expect("opens");
    assert!(!recovered.suspect);
    assert_eq!(store.log(LOG).expect("there").last_index, 9);
}

#[test]
fn rot_in_a_snapshot_makes_all_suspect() {
    let disk = FakeDisk::default();
    drop(filled(&disk, 10));
    let file = only_segment(&disk);
    assert!(disk.flip_bit(&file, 64 + 100, 2));
    let (_, recovered) = open(&disk).expect("opens");
    assert!(recovered.suspect);
}

#[test]
fn a_misdirected_write_is_no_frame() {
    let disk = FakeDisk::default();
    let mut store = filled(&disk, 10);
    let before: Logs = read_all(&store);
    append(&mut store, 500).expect("room");
    let mut lost = store.begin_commit().expect("staged");
    disk.misdirect_next_write(-4096);
    lost.run();
    store.finish_commit(lost).expect("the disk said so");
    append(&mut store, 500).expect("room");
    commit(&mut store);
    let (store, recovered) = open(&disk.kill()).expect("opens");
    assert!(recovered.suspect);
    let entries = &read_all(&store)[&LOG].entries;
    assert_eq!(entries[..], before[&LOG].entries[..entries.len()]);
}

#[test]
fn a_missing_segment_makes_all_suspect() {
    let disk = FakeDisk::default();
    drop(filled(&disk, 100));
    let first =
        disk.list().expect("no fault").into_iter().find(|name| name.ends_with(".segment")).expect("one");
    disk.remove(&first).expect("there");
    let (_, recovered) = open(&disk).expect("opens");
    assert!(recovered.suspect);
}

#[test]
fn rot_in_a_sealed_segment_is_found_when_read_and_stops_reclaim() {
    let disk = FakeDisk::default();
    let mut store = filled(&disk, 100);
    let first =
        disk.list().expect("no fault").into_iter().find(|name| name.ends_with(".segment")).expect("one");
    let bytes = disk.open(&first).expect("there").read_at(0, 4096).expect("whole");
    let at = bytes.windows(64).position(|window| window == [3; 64]).expect("entry 3");
    assert!(disk.flip_bit(&first, at as u64, 0));
    let mut corrupt = 0;
    for index in 1..=10 {
        if let Ok(Read::Disk(job)) = store.read(LOG, ReadFrom::Index(index), 1)
            && let Err(ReadError::Corrupt { log: LOG, .. }) = job.run()
        {
            corrupt += 1;
        }
    }
    assert_eq!(corrupt, 1);
    let start = LogStart { index: 1, term: 1, next_offset: 1 };
    store.write(Write::Trim { log: LOG, start }).expect("valid");
    commit(&mut store);
    let mut failed = 0;
    while let Some(mut job) = store.begin_reclaim() {
        job.run();
        failed += u32::from(store.finish_reclaim(job).is_err());
        commit(&mut store);
    }
    assert!(failed <= 1);
}

#[test]
fn invalid_writes_are_refused_and_change_nothing() {
    let disk = FakeDisk::default();
    let mut store = filled(&disk, 3);
    let before = read_all(&store);
    let mut gap = entry(&store, 1);
    gap.index += 1;
    let mut offset = entry(&store, 1);
    offset.base_offset += 1;
    let start = LogStart { index: 9, term: 1, next_offset: 9 };
    for write in [
        Write::Create { log: LOG, epoch: 1, meta: Bytes::new() },
        Write::Append { log: LogId(8), entries: Vec::new() },
        Write::Append { log: LOG, entries: vec![gap] },
        Write::Append { log: LOG, entries: vec![offset] },
        Write::Truncate { log: LOG, from: 0 },
        Write::Trim { log: LOG, start },
        Write::Reset {
            log: LOG,
            epoch: 2,
            meta: Bytes::new(),
            hard_state: Bytes::new(),
            start,
            checkpoint: (9, Bytes::new()),
            keep_suffix: true,
        },
    ] {
        assert!(matches!(store.write(write), Err(WriteError::Invalid { .. })));
    }
    assert_eq!(read_all(&store), before);
    store.write(Write::Delete { log: LOG }).expect("there");
    commit(&mut store);
    let (mut store, _) = open(&disk.kill()).expect("opens");
    let again = store.write(Write::Create { log: LOG, epoch: 1, meta: Bytes::new() });
    assert!(matches!(again, Err(WriteError::Invalid { .. })), "ids are never used twice");
}

#[test]
fn retention_by_time_and_size() {
    let disk = FakeDisk::default();
    let store = filled(&disk, 100);
    let bytes = store.log(LOG).expect("there").bytes;
    let each = bytes / 100;
    let index = |point: Option<LogStart>| point.map(|point| point.index);
    assert_eq!(store.retention_point(LOG, None, None, 100), None);
    assert_eq!(index(store.retention_point(LOG, None, Some(41), 100)), Some(40));
    assert_eq!(index(store.retention_point(LOG, None, Some(41), 30)), Some(30));
    assert_eq!(index(store.retention_point(LOG, Some(each * 25), None, 100)), Some(75));
    assert_eq!(index(store.retention_point(LOG, Some(each * 25 + 1), None, 100)), Some(74));
    assert_eq!(index(store.retention_point(LOG, Some(each * 25), Some(81), 100)), Some(80));
    let all = store.retention_point(LOG, Some(0), None, u64::MAX);
    assert_eq!(all, Some(LogStart { index: 100, term: 1, next_offset: 100 }));
}

#[test]
fn entries_without_records_go_with_those_after_them() {
    let disk = FakeDisk::default();
    let (mut store, _) = open(&disk).expect("opens");
    store.write(Write::Create { log: LOG, epoch: 1, meta: Bytes::new() }).expect("new");
    let mut append = |timestamp_ms: i64| {
        let entry = entry(&store, 10);
        let record_count = u32::from(timestamp_ms >= 0);
        let entries = vec![Entry { record_count, timestamp_ms, ..entry }];
        store.write(Write::Append { log: LOG, entries }).expect("fits");
        commit(&mut store);
        store.retention_point(LOG, None, Some(100), u64::MAX).map(|start| start.index)
    };
    assert_eq!([append(-1), append(-1)], [None, None], "nobody's time is over");
    assert_eq!([append(1), append(200)], [Some(3), Some(3)]);
}

#[test]
fn the_walk_of_inspect_finds_what_is_wrong() {
    let disk = FakeDisk::default();
    drop(filled(&disk, 100));
    let reports = storage::inspect::inspect(&disk).expect("no fault");
    assert!(reports.len() > 2);
    assert!(reports.iter().all(|report| report.problems.is_empty() && report.snapshot));
    assert_eq!(reports.iter().map(|report| report.entries).sum::<u64>(), 100);
    assert!(reports[0].footer);
    let mut random = Random(1);
    for _ in 0..20 {
        let damaged = disk.fork();
        let position = random.below(reports[0].file_bytes - 64);
        damaged.flip_bit(&reports[0].file, position, 1);
        let found = storage::inspect::inspect(&damaged).expect("no fault");
        let whole = found[0].problems.is_empty() && found[0].frames == reports[0].frames && found[0].footer;
        assert!(!whole || found[0] == reports[0], "position {position}");
    }
}

#[test]
fn a_survey_finds_every_log_and_what_is_missing() {
    let disk = FakeDisk::default();
    let store = filled(&disk, 100);
    let terms = store.log(LOG).expect("there").term_starts.to_vec();
    drop(store);
    let survey = storage::inspect::survey(&disk).expect("no fault");
    assert_eq!((survey.problems.as_slice(), survey.logs.len()), (&[][..], 1));
    let log = &survey.logs[0];
    assert_eq!((log.log, log.last_index, log.next_offset, log.missing_from), (LOG, 100, 100, None));
    assert_eq!(log.terms, terms);
    assert!(log.ranges.len() > 2, "{:?}", log.ranges);
    assert!(log.ranges.windows(2).all(|two| two[0].last_index + 1 == two[1].first_index));
    assert_eq!((log.ranges[0].first_index, log.ranges.last().expect("many").last_index), (1, 100));

    let reports = storage::inspect::inspect(&disk).expect("no fault");
    let damaged = disk.fork();
    damaged.flip_bit(&reports[0].file, payload_position(&disk, &reports[0].file, 5), 1);
    let survey = storage::inspect::survey(&damaged).expect("no fault");
    assert!(survey.problems.iter().any(|problem| problem.contains(&reports[0].file)), "{survey:?}");
    assert_eq!(survey.logs[0].missing_from, Some((5, 4)));

    let gone = disk.fork();
    storage::Disk::remove(&gone, &reports[0].file).expect("removed");
    let survey = storage::inspect::survey(&gone).expect("no fault");
    assert!(survey.problems.iter().any(|problem| problem.contains("is missing")), "{survey:?}");
    assert_eq!(survey.logs[0].missing_from, Some((1, 0)));
}

#[test]
fn a_survey_has_nothing_to_say_of_a_directory_that_reclaim_went_through() {
    let disk = FakeDisk::default();
    let mut store = filled(&disk, 1);
    let other = LogId(8);
    store.write(Write::Create { log: other, epoch: 1, meta: Bytes::new() }).expect("new");
    for n in 1..=300 {
        append(&mut store, 500).expect("room");
        if n % 10 == 0 {
            let kept = Entry { index: n / 10, base_offset: n as i64 / 10 - 1, ..entry(&store, 100) };
            store.write(Write::Append { log: other, entries: vec![kept] }).expect("room");
        }
        commit(&mut store);
    }
    let before = disk.list().expect("no fault").len();
    let start = LogStart { index: 290, term: 1, next_offset: 290 };
    store.write(Write::Trim { log: LOG, start }).expect("valid");
    commit(&mut store);
    let mut copied = 0;
    while let Some(mut job) = store.begin_reclaim() {
        job.run();
        copied += store.finish_reclaim(job).expect("no fault").copied_bytes;
        commit(&mut store);
    }
    assert!(copied > 0 && disk.list().expect("no fault").len() < before, "nothing was reclaimed");
    drop(store);
    let survey = storage::inspect::survey(&disk).expect("no fault");
    assert_eq!((survey.problems.as_slice(), survey.logs.len()), (&[][..], 2));
    assert!(survey.logs.iter().all(|log| log.missing_from.is_none()), "{survey:?}");
}
