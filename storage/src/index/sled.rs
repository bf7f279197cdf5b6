//! The index on sled 0.34.7, on a thread of its own, for sled may hang on a full disk or a sick one.
//!
//! Requests that find it busy for too long go without an answer, and so does everything after a panic of sled: then the
//! footers are read. What cannot be opened is deleted; the store fills it again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;

use super::{RunKey, RunSource, SegmentIndex};
use crate::types::LogId;

/// Requests that may wait.
const QUEUE: usize = 64;
/// How long a lookup of one run waits for sled before the footer is read.
const LOOKUP_WAIT: Duration = Duration::from_millis(100);
/// How long open and close wait.
const OPEN_WAIT: Duration = Duration::from_secs(5);
const CACHE_BYTES: u64 = 8 << 20;
const KEY_LEN: usize = 36;

enum Request {
    Load(u64, SyncSender<Option<Vec<Bytes>>>),
    Get(RunKey, SyncSender<Option<Bytes>>),
    Insert(u64, Vec<(RunKey, Bytes)>),
    Remove(u64),
    Retain(BTreeSet<u64>),
    Close(SyncSender<()>),
}

/// The index of one data directory.
pub struct SledIndex {
    reader: Reader,
}

#[derive(Clone)]
struct Reader {
    requests: SyncSender<Request>,
    /// The last request was not answered in time, and none was since.
    stuck: Arc<AtomicBool>,
}

impl SledIndex {
    /// Opens the index in `directory`, on a new thread. Never fails: without sled every answer is "unknown".
    #[must_use]
    pub fn open(directory: &Path) -> Self {
        let (requests, inbox) = sync_channel(QUEUE);
        let stuck = Arc::new(AtomicBool::new(false));
        let (directory, seen) = (directory.to_owned(), stuck.clone());
        let body = move || serve(&directory, &inbox, &seen);
        let spawned = std::thread::Builder::new().name("rafka-index".to_owned()).spawn(body);
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for the index, footers are read instead");
        }
        Self { reader: Reader { requests, stuck } }
    }
}

impl Drop for SledIndex {
    fn drop(&mut self) {
        let (done, closed) = sync_channel(1);
        if self.reader.requests.try_send(Request::Close(done)).is_ok() {
            let _ = closed.recv_timeout(OPEN_WAIT);
        }
    }
}

impl Reader {
    fn send(&self, request: Request) {
        // A full queue means that sled is behind: what is dropped here is read from footers.
        let _ = self.requests.try_send(request);
    }

    fn ask<T>(&self, wait: Duration, request: impl FnOnce(SyncSender<Option<T>>) -> Request) -> Option<T> {
        if self.stuck.load(Ordering::Relaxed) {
            return None;
        }
        let (answer, answered) = sync_channel(1);
        self.requests.try_send(request(answer)).ok()?;
        match answered.recv_timeout(wait) {
            Ok(found) => found,
            Err(_) => {
                self.stuck.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

impl SegmentIndex for SledIndex {
    fn load(&mut self, segment: u64) -> Option<Vec<Bytes>> {
        self.reader.ask(OPEN_WAIT, |answer| Request::Load(segment, answer))
    }

    fn insert(&mut self, segment: u64, runs: Vec<(RunKey, Bytes)>) {
        self.reader.send(Request::Insert(segment, runs));
    }

    fn remove(&mut self, segment: u64) {
        self.reader.send(Request::Remove(segment));
    }

    fn retain(&mut self, segments: &BTreeSet<u64>) {
        self.reader.send(Request::Retain(segments.clone()));
    }

    fn reader(&self) -> Arc<dyn RunSource> {
        Arc::new(self.reader.clone())
    }
}

impl RunSource for Reader {
    fn get(&self, key: &RunKey) -> Option<Bytes> {
        self.ask(LOOKUP_WAIT, |answer| Request::Get(*key, answer))
    }
}

/// The two trees: run key to run, segment to its keys in footer order.
struct Trees {
    db: sled::Db,
    runs: sled::Tree,
    segments: sled::Tree,
}

fn serve(directory: &Path, inbox: &Receiver<Request>, stuck: &AtomicBool) {
    let trees = open_or_rebuild(directory);
    while let Ok(request) = inbox.recv() {
        if let Request::Close(done) = request {
            drop(trees);
            let _ = done.send(());
            return;
        }
        if let Some(trees) = &trees
            && let Err(error) = trees.answer(request)
        {
            tracing::warn!(%error, "the index failed, footers are read instead");
        }
        stuck.store(false, Ordering::Relaxed);
    }
}

/// A note beside the directory while it is being opened: if it is found, the last try never ended, and the index goes.
fn note_of(directory: &Path) -> PathBuf {
    directory.with_extension("opening")
}

fn open_or_rebuild(directory: &Path) -> Option<Trees> {
    let note = note_of(directory);
    if note.exists() {
        let _ = std::fs::remove_dir_all(directory);
    }
    let _ = std::fs::write(&note, b"");
    let opened = Trees::open(directory).or_else(|error| {
        tracing::warn!(%error, "the index cannot be opened and is built anew");
        let _ = std::fs::remove_dir_all(directory);
        Trees::open(directory)
    });
    let _ = std::fs::remove_file(&note);
    opened.map_err(|error| tracing::warn!(%error, "there is no index, footers are read instead")).ok()
}

impl Trees {
    fn open(directory: &Path) -> sled::Result<Self> {
        let db =
            sled::Config::new().path(directory).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
        Ok(Self { runs: db.open_tree("runs")?, segments: db.open_tree("segments")?, db })
    }

    fn answer(&self, request: Request) -> sled::Result<()> {
        match request {
            Request::Load(segment, answer) => {
                let _ = answer.send(self.load(segment)?);
            }
            Request::Get(key, answer) => {
                let _ = answer.send(self.runs.get(encode(&key))?.map(|run| Bytes::copy_from_slice(&run)));
            }
            Request::Insert(segment, runs) => {
                let mut keys = Vec::with_capacity(runs.len() * KEY_LEN);
                for (key, run) in &runs {
                    let key = encode(key);
                    keys.extend_from_slice(&key);
                    self.runs.insert(key, run.as_ref())?;
                }
                self.segments.insert(segment.to_be_bytes(), keys)?;
                self.db.flush()?;
            }
            Request::Remove(segment) => self.remove(segment)?,
            Request::Retain(segments) => {
                for known in self.segments.iter().keys() {
                    let segment = known?.as_ref().try_into().map_or(0, u64::from_be_bytes);
                    if !segments.contains(&segment) {
                        self.remove(segment)?;
                    }
                }
            }
            Request::Close(_) => {}
        }
        Ok(())
    }

    fn load(&self, segment: u64) -> sled::Result<Option<Vec<Bytes>>> {
        let Some(keys) = self.segments.get(segment.to_be_bytes())? else { return Ok(None) };
        let mut runs = Vec::with_capacity(keys.len() / KEY_LEN);
        for key in keys.chunks(KEY_LEN) {
            let Some(run) = self.runs.get(key)? else { return Ok(None) };
            runs.push(Bytes::copy_from_slice(&run));
        }
        Ok(Some(runs))
    }

    fn remove(&self, segment: u64) -> sled::Result<()> {
        let Some(keys) = self.segments.remove(segment.to_be_bytes())? else { return Ok(()) };
        keys.chunks(KEY_LEN).try_for_each(|key| self.runs.remove(key).map(drop))
    }
}

/// Big-endian with the sign flipped where there is one, so that order of bytes is order of keys.
fn encode(key: &RunKey) -> [u8; KEY_LEN] {
    let LogId(log) = key.log;
    let mut out = [0; KEY_LEN];
    out[..4].copy_from_slice(&log.to_be_bytes());
    out[4..12].copy_from_slice(&(key.first_offset.cast_unsigned() ^ 1 << 63).to_be_bytes());
    out[12..20].copy_from_slice(&key.first_index.to_be_bytes());
    out[20..28].copy_from_slice(&key.segment.to_be_bytes());
    out[28..].copy_from_slice(&key.first_sequence.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(log: u32, offset: i64, segment: u64) -> RunKey {
        RunKey { log: LogId(log), first_offset: offset, first_index: 1, segment, first_sequence: 5 }
    }

    #[test]
    fn keys_keep_their_order() {
        let keys = [key(1, -5, 9), key(1, 0, 2), key(1, 7, 1), key(2, -9, 0)];
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1] && encode(&pair[0]) < encode(&pair[1])));
    }

    #[test]
    fn it_remembers_over_a_restart_and_survives_rubbish() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("index");
        let runs =
            vec![(key(1, 0, 3), Bytes::from_static(b"one")), (key(2, 0, 3), Bytes::from_static(b"two"))];
        let mut index = SledIndex::open(&directory);
        index.insert(3, runs.clone());
        index.insert(4, vec![(key(1, 9, 4), Bytes::from_static(b"three"))]);
        assert_eq!(index.load(3), Some(runs.iter().map(|(_, run)| run.clone()).collect()));
        drop(index);
        let mut index = SledIndex::open(&directory);
        assert_eq!(index.reader().get(&key(2, 0, 3)).as_deref(), Some(&b"two"[..]));
        index.retain(&BTreeSet::from([4]));
        assert_eq!(index.load(3), None);
        assert_eq!(index.reader().get(&key(2, 0, 3)), None);
        drop(index);
        // An open that never ended: the index is built anew.
        std::fs::write(note_of(&directory), b"").expect("room");
        let mut index = SledIndex::open(&directory);
        assert_eq!(index.load(4), None);
        drop(index);
        std::fs::remove_dir_all(&directory).expect("there");
        std::fs::write(&directory, b"a file where a directory should be").expect("room");
        let mut index = SledIndex::open(&directory);
        index.insert(3, runs);
        assert_eq!(index.load(3), None, "no sled, no answer, no failure");
    }
}
