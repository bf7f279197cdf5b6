//! A data directory with bytes changed: five of input are one change, file, position and value. Whatever opens must work on.

#![no_main]

use std::sync::OnceLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use storage::fake::FakeDisk;
use storage::index::memory::MemoryIndex;
use storage::{Disk, DiskFile, Entry, LogId, Read, ReadFrom, Store, StoreConfig, Write};

fn config() -> StoreConfig {
    let small = StoreConfig { segment_bytes: 4 << 10, cache_bytes: 0, reserve_bytes: 0, ..StoreConfig::default() };
    StoreConfig { preallocate: false, ..small }
}

fn open(disk: &FakeDisk) -> Option<Store<FakeDisk>> {
    Store::open(disk.clone(), config(), Box::new(MemoryIndex::default())).ok().map(|(store, _)| store)
}

fn commit(store: &mut Store<FakeDisk>) {
    while let Some(mut commit) = store.begin_commit() {
        commit.run();
        store.finish_commit(commit).expect("this disk works");
    }
}

fn append(store: &mut Store<FakeDisk>, log: LogId) {
    let Some(state) = store.log(log) else { return };
    let (index, base_offset) = (state.last_index + 1, state.next_offset);
    let payload = Bytes::from(vec![b'x'; 100]);
    let entry = Entry { term: 7, index, base_offset, record_count: 1, kind: 0, timestamp_ms: 5, payload };
    _ = store.write(Write::Append { log, entries: vec![entry] });
}

fn image() -> FakeDisk {
    let disk = FakeDisk::default();
    let mut store = open(&disk).expect("an empty directory");
    for log in (1..=4).map(LogId) {
        store.write(Write::Create { log, epoch: 1, meta: Bytes::from_static(b"meta") }).expect("new");
        store.write(Write::HardState { log, state: Bytes::from_static(b"state") }).expect("there");
    }
    for round in 0..60 {
        (1..=4).map(LogId).for_each(|log| append(&mut store, log));
        if round == 30 {
            store.write(Write::Truncate { log: LogId(2), from: 20 }).expect("there");
            store.write(Write::Checkpoint { log: LogId(3), index: 9, state: Bytes::from_static(b"c") }).expect("there");
        }
        commit(&mut store);
    }
    drop(store);
    disk.kill()
}

fn read_all(store: &Store<FakeDisk>) {
    for log in store.logs() {
        let mut next = store.log(log).map_or(1, |state| state.start.index + 1);
        while let Ok(read) = store.read(log, ReadFrom::Index(next), 1 << 16) {
            let entries = match read {
                Read::Ready(entries) => Ok(entries),
                Read::Disk(job) => job.run(),
            };
            let Some(last) = entries.ok().and_then(|entries| entries.last().map(|entry| entry.index)) else { break };
            assert!(last >= next, "reading goes on");
            next = last + 1;
        }
    }
}

fuzz_target!(|input: &[u8]| {
    static IMAGE: OnceLock<FakeDisk> = OnceLock::new();
    let disk = IMAGE.get_or_init(image).fork();
    let files = disk.list().expect("this disk works");
    for change in input.chunks_exact(5).take(64) {
        let name = &files[usize::from(change[0]) % files.len()];
        let file = disk.open(name).expect("listed");
        let position = u64::from(u16::from_be_bytes([change[1], change[2]])) % file.len().expect("there").max(1);
        let bytes = if change[3] < 128 { vec![change[4]] } else { vec![change[4]; usize::from(change[3] - 127)] };
        file.write_at(position, &bytes).expect("room");
        file.sync().expect("this disk works");
    }
    for _ in 0..2 {
        let Some(mut store) = open(&disk) else { return };
        read_all(&store);
        store.logs().collect::<Vec<_>>().into_iter().for_each(|log| append(&mut store, log));
        commit(&mut store);
        read_all(&store);
    }
});
