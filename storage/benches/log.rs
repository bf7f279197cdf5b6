//! Ratios of the segment log to a raw file written beside it in the same run.
//!
//! `cargo bench -p storage`, directory by `RAFKA_BENCH_DIR` (default: the target directory, on a real disk). Exits with 1 when a
//! ratio exceeds its bound.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use storage::disk::file::FileDisk;
use storage::index::memory::MemoryIndex;
use storage::index::sled::SledIndex;
use storage::{Entry, LogId, Read, ReadFrom, Store, StoreConfig, Write};

const MIB: usize = 1 << 20;
const BATCH: usize = 16 << 10;
const APPEND_MIB: usize = 192;
const ROUNDS: usize = 3;

struct Table {
    failed: bool,
}

impl Table {
    fn row(&mut self, name: &str, ratio: f64, bound: f64, detail: &str) {
        let verdict = if ratio <= bound { "ok" } else { "TOO HIGH" };
        self.failed |= ratio > bound;
        println!("{name:<52} {ratio:>6.2} (bound {bound:.2}) {verdict:<8} {detail}");
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = body();
    (value, start.elapsed())
}

fn payload(len: usize) -> Bytes {
    let mut state = 1u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&storage::fake::splitmix(&mut state).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

fn open(root: &Path, config: StoreConfig, sled: bool) -> (Store<FileDisk>, FileDisk) {
    let disk = FileDisk::new(root).expect("a directory");
    let index: Box<dyn storage::SegmentIndex> =
        if sled { Box::new(SledIndex::open(&root.join("index"))) } else { Box::new(MemoryIndex::new()) };
    let (store, _) = Store::open(disk.clone(), config, index).expect("opens");
    (store, disk)
}

fn create(store: &mut Store<FileDisk>, logs: u32) {
    for log in 1..=logs {
        store
            .write(Write::Create { log: LogId(log), epoch: 1, meta: Bytes::from_static(&[1; 64]) })
            .expect("new");
    }
    commit(store);
}

fn commit(store: &mut Store<FileDisk>) {
    while let Some(mut commit) = store.begin_commit() {
        commit.run();
        store.finish_commit(commit).expect("the disk works");
    }
}

fn append(store: &mut Store<FileDisk>, log: LogId, payload: &Bytes) {
    let state = store.log(log).expect("created");
    let entry = Entry {
        term: 1,
        index: state.last_index + 1,
        base_offset: state.next_offset,
        record_count: 10,
        kind: 0,
        timestamp_ms: 1,
        payload: payload.clone(),
    };
    store.write(Write::Append { log, entries: vec![entry] }).expect("room");
}

fn raw_append(root: &Path, payload: &Bytes) -> Duration {
    let path = root.join("raw");
    let mut file = File::create(&path).expect("room");
    let mut chunk = Vec::new();
    while chunk.len() < MIB {
        chunk.extend_from_slice(payload);
    }
    let (_, time) = timed(|| {
        for _ in 0..APPEND_MIB {
            file.write_all(&chunk).expect("room");
            file.sync_data().expect("the disk works");
        }
    });
    fs::remove_file(path).expect("there");
    time
}

fn store_append(root: &Path, logs: u32, payload: &Bytes) -> Duration {
    let root = root.join(format!("append-{logs}"));
    let (mut store, _) = open(&root, StoreConfig::default(), true);
    create(&mut store, logs);
    let mut next = 0;
    let (_, time) = timed(|| {
        for _ in 0..APPEND_MIB {
            for _ in 0..MIB / BATCH {
                append(&mut store, LogId(1 + next % logs), payload);
                next += 1;
            }
            commit(&mut store);
        }
    });
    drop(store);
    fs::remove_dir_all(root).expect("there");
    time
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn appends(root: &Path, table: &mut Table) {
    let payload = payload(BATCH);
    let (mut raw, mut few, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(raw_append(root, &payload));
        few.push(store_append(root, 64, &payload));
        many.push(store_append(root, 400, &payload));
    }
    let (raw, few, many) = (median(raw), median(few), median(many));
    let speed =
        |time: f64| format!("{:.0} MiB/s against {:.0}", APPEND_MIB as f64 / time, APPEND_MIB as f64 / raw);
    table.row("append, 16 KiB over 64 logs, time against raw", few / raw, 1.5, &speed(few));
    table.row("append, 16 KiB over 400 logs, time against raw", many / raw, 2.0, &speed(many));
}

fn read_log(store: &Store<FileDisk>, log: LogId, bytes_max: usize) -> usize {
    let last = store.log(log).expect("created").last_index;
    let (mut index, mut bytes) = (1, 0);
    while index <= last {
        let entries = match store.read(log, ReadFrom::Index(index), bytes_max).expect("inside") {
            Read::Ready(entries) => entries,
            Read::Disk(job) => job.run().expect("whole"),
        };
        bytes += entries.iter().map(|entry| entry.payload.len()).sum::<usize>();
        index = entries.last().expect("at least one").index + 1;
    }
    bytes
}

/// Reads one log's batches from a raw file that holds the same batches in the same order, into buffers that are handed on.
fn raw_read(file: &File, log: u64) -> usize {
    for mib in 0..4 {
        let mut batches = Vec::new();
        for batch in 0..64 {
            let mut buffer = vec![0; BATCH];
            let at = ((mib * 64 + batch) * 64 + log) * BATCH as u64;
            file.read_exact_at(&mut buffer, at).expect("inside");
            batches.push(buffer);
        }
        std::hint::black_box(batches);
    }
    4 * MIB
}

/// Seconds per MiB over 64 parts, each at its best of five passes over all of them: other load on the machine hits long runs
/// harder than short ones, and the passes keep the processor's caches out of it.
fn best(mut read: impl FnMut(u32) -> usize) -> f64 {
    let mut times = vec![f64::MAX; 64];
    let mut bytes = 0;
    for _ in 0..5 {
        bytes = 0;
        for (part, best) in (1..).zip(&mut times) {
            let (read, time) = timed(|| read(part));
            bytes += read;
            *best = best.min(time.as_secs_f64());
        }
    }
    times.iter().sum::<f64>() / (bytes as f64 / MIB as f64)
}

fn scans(root: &Path, table: &mut Table) {
    let root = root.join("scan");
    let (mut store, _) = open(&root, StoreConfig { cache_bytes: 0, ..StoreConfig::default() }, true);
    create(&mut store, 64);
    let payload = payload(BATCH);
    for _ in 0..256 {
        (1..=64).for_each(|log| append(&mut store, LogId(log), &payload));
        commit(&mut store);
    }
    let raw_path = root.join("raw");
    fs::write(&raw_path, vec![7; 256 * MIB]).expect("room");
    let raw_file = File::open(&raw_path).expect("there");
    let raw = best(|part| raw_read(&raw_file, u64::from(part) - 1));
    let ours = best(|part| read_log(&store, LogId(part), MIB));
    let detail = format!("{:.0} MiB/s against {:.0}", 1.0 / ours, 1.0 / raw);
    table.row("warm scan of 64 logs, time per byte against raw", ours / raw, 2.0, &detail);
    drop(store);
    fs::remove_dir_all(root).expect("there");
}

fn catch_up(root: &Path, table: &mut Table) {
    let payload = payload(1 << 10);
    for (name, sled) in [("with the index", true), ("without", false)] {
        let root = root.join("catch-up");
        let config = StoreConfig { cache_bytes: 0, ..StoreConfig::default() };
        let (mut store, disk) = open(&root, config.clone(), sled);
        create(&mut store, 1000);
        for _ in 0..200 {
            (1..=1000).for_each(|log| append(&mut store, LogId(log), &payload));
            commit(&mut store);
        }
        drop((store, disk));
        let (store, disk) = open(&root, config, sled);
        let before = disk.read_bytes();
        let delivered = read_log(&store, LogId(500), MIB);
        let asked = disk.read_bytes() - before;
        let detail = format!("{asked} bytes asked for {delivered} delivered");
        let row = format!("cold catch-up, one of 1,000 logs, {name}");
        table.row(&row, asked as f64 / delivered as f64, 2.0, &detail);
        drop(store);
        fs::remove_dir_all(root).expect("there");
    }
}

fn reclaim(store: &mut Store<FileDisk>) {
    while let Some(mut job) = store.begin_reclaim() {
        job.run();
        store.finish_reclaim(job).expect("whole");
        commit(store);
    }
    commit(store);
}

/// Bytes that the file system gave to segments.
fn disk_bytes(root: &Path) -> u64 {
    let files = fs::read_dir(root).expect("there").map(|entry| entry.expect("there"));
    let segments = files.filter(|file| file.file_name().to_string_lossy().ends_with(".segment"));
    segments.map(|file| file.metadata().expect("there").blocks() * 512).sum()
}

fn space(root: &Path, table: &mut Table, name: &str, slow: Option<u32>, bound: f64) {
    let root = root.join("space");
    let config = StoreConfig { cache_bytes: 0, ..StoreConfig::default() };
    let (mut store, _) = open(&root, config, true);
    create(&mut store, 64);
    let payload = payload(BATCH);
    let kept = 1024 * MIB as u64 / 64;
    for round in 0..1792 {
        (1..=64).for_each(|log| append(&mut store, LogId(log), &payload));
        commit(&mut store);
        if round % 64 == 63 {
            for log in (1..=64).filter(|log| Some(*log) != slow).map(LogId) {
                let last = store.log(log).expect("created").last_index;
                if let Some(start) = store.retention_point(log, Some(kept), None, last) {
                    store.write(Write::Trim { log, start }).expect("valid");
                }
            }
            commit(&mut store);
            reclaim(&mut store);
        }
    }
    let live: u64 = (1..=64).map(|log| store.log(LogId(log)).expect("created").bytes).sum();
    let (disk, stats) = (disk_bytes(&root), store.stats());
    let detail = format!(
        "{} MiB on disk, {} live, write amplification {:.3}",
        disk / MIB as u64,
        live / MIB as u64,
        stats.written_bytes as f64 / (stats.written_bytes - stats.copied_bytes) as f64
    );
    table.row(name, disk as f64 / live as f64, bound, &detail);
    drop(store);
    fs::remove_dir_all(root).expect("there");
}

fn main() {
    let target = std::env::var_os("RAFKA_BENCH_DIR").or_else(|| std::env::var_os("CARGO_TARGET_DIR"));
    let target = target
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")), PathBuf::from);
    let root = target.join(format!("bench-storage-{}", std::process::id()));
    fs::create_dir_all(&root).expect("a directory");
    let mut table = Table { failed: false };
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || name.contains(&only);
    if wanted("append") {
        appends(&root, &mut table);
    }
    if wanted("scan") {
        scans(&root, &mut table);
    }
    if wanted("catch") {
        catch_up(&root, &mut table);
    }
    if wanted("space") {
        space(&root, &mut table, "disk bytes per live byte, uniform retention", None, 1.15);
        space(&root, &mut table, "the same, one log kept whole among trimmed ones", Some(1), 1.5);
    }
    fs::remove_dir_all(&root).expect("there");
    std::process::exit(i32::from(table.failed));
}
