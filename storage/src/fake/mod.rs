//! A faulty disk in memory, for tests and the simulator.
//!
//! It tells the page cache from the medium. A *kill* keeps the cache; a *power cut* keeps of all unsynced sectors, names and
//! lengths what the caller chooses; one after the other combines them. After either, handles of the dead process fail.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::disk::{Disk, DiskFile};

mod inode;

use inode::Inode;
pub use inode::PAGE;

type Shared = Arc<Mutex<Inode>>;

/// Something a power cut may keep or lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced<'a> {
    /// A page of a file. The answer's bits choose its eight sectors, the lowest bit the first.
    Page {
        /// File name.
        file: &'a str,
        /// Number of the page.
        page: u32,
    },
    /// A file was cut shorter; not 0 keeps that.
    Length {
        /// File name.
        file: &'a str,
    },
    /// A name was created, removed or renamed; not 0 keeps that.
    Name {
        /// The name; for a rename the new one.
        name: &'a str,
    },
}

/// What the disk did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Syncs of files.
    pub syncs: u64,
}

enum NameOperation {
    Create(String, Shared),
    Remove(String),
    Rename(String, String),
}

struct State {
    names: BTreeMap<String, Shared>,
    durable: BTreeMap<String, Shared>,
    operations: Vec<NameOperation>,
    capacity: u64,
    generation: u64,
    lock: Option<Arc<AtomicBool>>,
    failing_syncs: u32,
    failing_writes: u32,
    misdirect: Option<i64>,
    counters: Counters,
}

/// A faulty disk. Clones are handles of the same process on the same disk.
#[derive(Clone)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
    generation: u64,
}

/// A file of a [`FakeDisk`].
#[derive(Clone)]
pub struct FakeFile {
    disk: FakeDisk,
    inode: Shared,
}

/// Held while a process uses the disk.
pub struct FakeLock(Arc<AtomicBool>);

impl Drop for FakeLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for FakeDisk {
    fn default() -> Self {
        Self::new(u64::MAX / 2)
    }
}

impl FakeDisk {
    /// An empty disk that holds `capacity` bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::empty(capacity))), generation: 0 }
    }

    /// The process dies: handles fail, the lock is free, the page cache stays. Returns a handle for the next process.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = guard(&self.state);
        state.generation += 1;
        state.lock = None;
        Self { state: self.state.clone(), generation: state.generation }
    }

    /// The power fails: of everything unsynced only what `keep` chooses stays. Returns a handle for the next process.
    #[must_use]
    pub fn power_cut(&self, mut keep: impl FnMut(Unsynced<'_>) -> u8) -> Self {
        let mut state = guard(&self.state);
        let mut names = std::mem::take(&mut state.durable);
        for operation in std::mem::take(&mut state.operations) {
            operation.apply(&mut names, &mut keep);
        }
        for (file, inode) in &names {
            guard(inode).cut(&mut |page| match page {
                Some(page) => keep(Unsynced::Page { file, page }),
                None => keep(Unsynced::Length { file }),
            });
        }
        state.durable.clone_from(&names);
        state.names = names;
        drop(state);
        self.kill()
    }

    /// A power cut drawn from a seed: now and then everything or nothing, else any subset, with torn pages.
    #[must_use]
    pub fn power_cut_seeded(&self, seed: u64) -> Self {
        let mut random = seed;
        let style = splitmix(&mut random) % 8;
        self.power_cut(|_| match style {
            0 => 0,
            1 => 0xff,
            _ => match splitmix(&mut random).to_le_bytes() {
                [0..=99, ..] => 0,
                [100..=199, ..] => 0xff,
                [_, mask, ..] => mask,
            },
        })
    }

    /// A copy of the disk as the running process sees it, unsynced state included, without its lock or its armed faults.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = guard(&self.state);
        let mut copies: BTreeMap<usize, Shared> = BTreeMap::new();
        let mut copy = |inode: &Shared| {
            let key = Arc::as_ptr(inode) as usize;
            copies.entry(key).or_insert_with(|| Arc::new(Mutex::new(guard(inode).clone()))).clone()
        };
        let names = state.names.iter().map(|(name, inode)| (name.clone(), copy(inode))).collect();
        let durable = state.durable.iter().map(|(name, inode)| (name.clone(), copy(inode))).collect();
        let operations = state
            .operations
            .iter()
            .map(|operation| match operation {
                NameOperation::Create(name, inode) => NameOperation::Create(name.clone(), copy(inode)),
                NameOperation::Remove(name) => NameOperation::Remove(name.clone()),
                NameOperation::Rename(from, to) => NameOperation::Rename(from.clone(), to.clone()),
            })
            .collect();
        let forked = Self::new(state.capacity);
        *guard(&forked.state) = State { names, durable, operations, ..State::empty(state.capacity) };
        forked
    }

    /// Replaces the content of this disk by that of `old`: an old copy of a data directory is restored.
    pub fn restore(&self, old: &Self) {
        let copy = old.fork();
        let mut from = guard(&copy.state);
        let mut state = guard(&self.state);
        state.names = std::mem::take(&mut from.names);
        state.durable = std::mem::take(&mut from.durable);
        state.operations = std::mem::take(&mut from.operations);
    }

    /// Everything is gone, durably.
    pub fn wipe(&self) {
        let mut state = guard(&self.state);
        state.names.clear();
        state.durable.clear();
        state.operations.clear();
    }

    /// Changes the size of the disk.
    pub fn set_capacity(&self, bytes: u64) {
        guard(&self.state).capacity = bytes;
    }

    /// Bytes in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        guard(&self.state).used()
    }

    /// The next `count` syncs of files fail; their pages then read back clean although the medium never got them.
    pub fn fail_syncs(&self, count: u32) {
        guard(&self.state).failing_syncs = count;
    }

    /// The next `count` writes fail before anything is written.
    pub fn fail_writes(&self, count: u32) {
        guard(&self.state).failing_writes = count;
    }

    /// The next write lands `by` bytes off in its file.
    pub fn misdirect_next_write(&self, by: i64) {
        guard(&self.state).misdirect = Some(by);
    }

    /// Flips a bit of a file on the medium and in the cache; whether there was a written byte.
    pub fn flip_bit(&self, file: &str, position: u64, bit: u8) -> bool {
        let inode = guard(&self.state).names.get(file).cloned();
        inode.is_some_and(|inode| {
            usize::try_from(position).is_ok_and(|position| guard(&inode).flip(position, bit))
        })
    }

    /// Pages that a power cut could lose.
    #[must_use]
    pub fn unsynced_pages(&self) -> usize {
        guard(&self.state).names.values().map(|inode| guard(inode).unsynced_pages()).sum()
    }

    /// What the disk did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        guard(&self.state).counters
    }

    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = guard(&self.state);
        if state.generation == self.generation {
            Ok(state)
        } else {
            Err(io::Error::other("the process of this handle is dead"))
        }
    }

    fn file(&self, inode: Shared) -> FakeFile {
        FakeFile { disk: self.clone(), inode }
    }
}

impl NameOperation {
    fn apply(self, names: &mut BTreeMap<String, Shared>, keep: &mut impl FnMut(Unsynced<'_>) -> u8) {
        let name = match &self {
            Self::Create(name, _) | Self::Remove(name) | Self::Rename(_, name) => name,
        };
        if keep(Unsynced::Name { name }) == 0 {
            return;
        }
        match self {
            Self::Create(name, inode) => {
                names.insert(name, inode);
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
        }
    }
}

impl State {
    fn empty(capacity: u64) -> Self {
        Self {
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            operations: Vec::new(),
            capacity,
            generation: 0,
            lock: None,
            failing_syncs: 0,
            failing_writes: 0,
            misdirect: None,
            counters: Counters::default(),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| guard(inode).len() as u64).sum()
    }
}

impl Disk for FakeDisk {
    type File = FakeFile;
    type Lock = FakeLock;

    fn lock(&self) -> io::Result<Option<FakeLock>> {
        let mut state = self.state()?;
        if state.lock.as_ref().is_some_and(|held| held.load(Ordering::Relaxed)) {
            return Ok(None);
        }
        let held = Arc::new(AtomicBool::new(true));
        state.lock = Some(held.clone());
        Ok(Some(FakeLock(held)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state()?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<FakeFile> {
        let mut state = self.state()?;
        if state.used().saturating_add(bytes) > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut inode = Inode::default();
        inode.set_len(usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?);
        let inode = Arc::new(Mutex::new(inode));
        state.names.insert(name.to_owned(), inode.clone());
        state.operations.push(NameOperation::Create(name.to_owned(), inode.clone()));
        Ok(self.file(inode))
    }

    fn open(&self, name: &str) -> io::Result<FakeFile> {
        let inode = self.state()?.names.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.operations.push(NameOperation::Remove(name.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.operations.push(NameOperation::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state()?;
        state.operations.clear();
        state.durable = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl DiskFile for FakeFile {
    fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.disk.state()?.counters.read_bytes += len as u64;
        let position = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        guard(&self.inode).read(position, len).map(Bytes::from)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state()?;
        if state.failing_writes > 0 {
            state.failing_writes -= 1;
            return Err(io::Error::other("write failed"));
        }
        let position = match state.misdirect.take() {
            Some(by) => position.saturating_add_signed(by),
            None => position,
        };
        let position = usize::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        let len = guard(&self.inode).len();
        let grows = (position + bytes.len()).saturating_sub(len);
        if grows > 0 && state.used().saturating_add(grows as u64) > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.counters.written_bytes += bytes.len() as u64;
        guard(&self.inode).write(position, bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state()?;
        state.counters.syncs += 1;
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            guard(&self.inode).fail_sync();
            return Err(io::Error::other("sync failed"));
        }
        guard(&self.inode).sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let _state = self.disk.state()?;
        Ok(guard(&self.inode).len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let _state = self.disk.state()?;
        guard(&self.inode).set_len(usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?);
        Ok(())
    }
}

/// The next number of a small deterministic generator (splitmix64).
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_small, replace_small};

    fn disk_with(name: &str, bytes: &[u8]) -> (FakeDisk, FakeFile) {
        let disk = FakeDisk::default();
        let file = disk.create(name, 0).expect("room");
        file.write_at(0, bytes).expect("room");
        file.sync().expect("no fault");
        disk.sync_directory().expect("no fault");
        (disk, file)
    }

    fn content(disk: &FakeDisk, name: &str) -> Bytes {
        read_small(disk, name).expect("no fault").expect("there")
    }

    #[test]
    fn a_kill_keeps_the_cache_and_a_cut_does_not() {
        let (disk, file) = disk_with("a", &[1; 10_000]);
        file.write_at(5000, &[2; 6000]).expect("room");
        let next = disk.kill();
        assert!(file.read_at(0, 1).is_err(), "the handle died with its process");
        assert_eq!(content(&next, "a").len(), 11_000);
        let after = next.fork().power_cut(|_| 0);
        assert_eq!(content(&after, "a"), vec![1; 10_000]);
        let torn =
            next.power_cut(|unsynced| u8::from(unsynced == Unsynced::Page { file: "a", page: 1 }) << 7);
        let mut expected = vec![1; 10_000];
        expected[8192 - 512..8192].fill(2);
        assert_eq!(content(&torn, "a"), expected);
    }

    #[test]
    fn a_failed_sync_reads_back_clean_and_is_gone_after_a_cut() {
        let (disk, file) = disk_with("a", b"old");
        file.write_at(0, b"new").expect("room");
        disk.fail_syncs(1);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        assert_eq!(content(&disk, "a"), "new");
        assert_eq!(content(&disk.power_cut(|_| 0xff), "a"), "old");
    }

    #[test]
    fn names_are_lost_until_the_directory_is_synced() {
        let (disk, _) = disk_with("a", b"old");
        disk.create("b", 0).expect("room").sync().expect("no fault");
        disk.remove("a").expect("there");
        assert_eq!(disk.fork().power_cut(|_| 0).list().expect("no fault"), ["a"]);
        let some = disk.fork().power_cut(|unsynced| u8::from(unsynced == Unsynced::Name { name: "b" }));
        assert_eq!(some.list().expect("no fault"), ["a", "b"]);
        replace_small(&disk, "c", b"whole").expect("room");
        assert_eq!(disk.power_cut(|_| 0).list().expect("no fault"), ["b", "c"]);
    }

    #[test]
    fn a_full_disk_refuses_and_serves() {
        let disk = FakeDisk::new(1000);
        let file = disk.create("a", 600).expect("room");
        assert_eq!(disk.create("b", 600).err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        file.write_at(0, &[1; 600]).expect("reserved");
        assert!(file.write_at(600, &[1; 600]).is_err());
        assert_eq!(disk.free_bytes().expect("no fault"), 400);
        disk.set_capacity(5000);
        file.write_at(600, &[1; 600]).expect("room");
    }

    #[test]
    fn rot_and_misdirection() {
        let (disk, file) = disk_with("a", &[0; 100]);
        assert!(disk.flip_bit("a", 7, 3));
        assert_eq!(content(&disk, "a")[7], 8);
        disk.misdirect_next_write(50);
        file.write_at(0, b"x").expect("room");
        assert_eq!((content(&disk, "a")[0], content(&disk, "a")[50]), (0, b'x'));
    }

    #[test]
    fn the_lock_dies_with_its_process() {
        let disk = FakeDisk::default();
        let held = disk.lock().expect("no fault");
        assert!(held.is_some() && disk.lock().expect("no fault").is_none());
        let next = disk.kill();
        let again = next.lock().expect("no fault");
        drop(held);
        assert!(again.is_some() && next.lock().expect("no fault").is_none());
    }
}
