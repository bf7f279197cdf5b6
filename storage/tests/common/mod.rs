//! A store of lists in memory, to compare with.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
#![allow(clippy::cast_possible_truncation, reason = "drawn numbers are small")]

use std::collections::BTreeMap;

use bytes::Bytes;
use storage::fake::{FakeDisk, splitmix};
use storage::index::memory::MemoryIndex;
use storage::{Entry, Fate, LogId, LogStart, Read, ReadFrom, Recovered, Store, StoreConfig, Turn, Write};

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        splitmix(&mut self.0)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub fn config(random: &mut Random) -> StoreConfig {
    StoreConfig {
        segment_bytes: 4096 << random.below(3),
        preallocate: random.below(2) == 0,
        reserve_bytes: 0,
        cache_bytes: 0,
        run_cache_bytes: 4096,
        reclaim_live_percent: 80,
        reclaim_job_bytes: 1 << (8 + random.below(8)),
        salt: random.next(),
    }
}

pub fn open(disk: &FakeDisk, config: &StoreConfig) -> (Store<FakeDisk>, Recovered) {
    Store::open(disk.clone(), config.clone(), Box::new(MemoryIndex::new())).expect("opens")
}

/// A log as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelLog {
    pub epoch: u32,
    pub meta: Bytes,
    pub hard_state: Bytes,
    pub start: LogStart,
    pub checkpoint: Option<(u64, Bytes)>,
    pub suspect: bool,
    pub entries: Vec<Entry>,
}

impl ModelLog {
    pub fn last_index(&self) -> u64 {
        self.start.index + self.entries.len() as u64
    }

    pub fn next_offset(&self) -> i64 {
        self.entries
            .last()
            .map_or(self.start.next_offset, |last| last.base_offset + i64::from(last.record_count))
    }

    fn term(&self) -> u32 {
        self.entries.last().map_or(self.start.term, |last| last.term)
    }

    fn start_at(&self, index: u64) -> LogStart {
        let entry = &self.entries[(index - self.start.index - 1) as usize];
        LogStart { index, term: entry.term, next_offset: entry.base_offset + i64::from(entry.record_count) }
    }
}

pub type Logs = BTreeMap<LogId, ModelLog>;

/// States after each write since the last durable one: a crash leaves one of them.
pub struct Model {
    pub states: Vec<Logs>,
    in_commit: usize,
    next_log: u32,
    /// What compaction made of entries; a crash may leave either.
    became: BTreeMap<(LogId, u64), Vec<(Entry, Entry)>>,
}

impl Default for Model {
    fn default() -> Self {
        Self { states: vec![Logs::new()], in_commit: 0, next_log: 1, became: BTreeMap::new() }
    }
}

impl Model {
    /// What a store holds.
    pub fn of(store: &Store<FakeDisk>) -> Self {
        Self { states: vec![read_all(store)], ..Self::default() }
    }

    pub fn now(&self) -> &Logs {
        self.states.last().expect("never empty")
    }

    /// Stages random writes.
    pub fn stage(&mut self, store: &mut Store<FakeDisk>, random: &mut Random, writes_max: u64) {
        self.stage_more(store, random, writes_max);
        self.began();
    }

    /// Stages random writes while a commit is under way.
    pub fn stage_more(&mut self, store: &mut Store<FakeDisk>, random: &mut Random, writes_max: u64) {
        for _ in 0..1 + random.below(writes_max) {
            let Some((write, changed)) = self.draw(random) else { continue };
            match write {
                // An append is one frame per entry: each prefix may survive.
                Write::Append { log, entries } => {
                    for count in 1..=entries.len() {
                        let mut logs = self.now().clone();
                        let state = logs.get_mut(&log).expect("drawn from these");
                        state.entries.push(entries[count - 1].clone());
                        self.states.push(logs);
                    }
                    store.write(Write::Append { log, entries }).expect("valid");
                }
                other => {
                    self.states.push(changed);
                    store.write(other).expect("valid");
                }
            }
        }
    }

    /// A commit takes everything staged so far.
    pub fn began(&mut self) {
        self.in_commit = self.states.len();
    }

    /// The first log id never drawn.
    pub fn next_log(&self) -> u32 {
        self.next_log
    }

    /// Never draw lower log ids.
    pub fn set_next_log(&mut self, next: u32) {
        self.next_log = next;
    }

    /// What the commit under way holds is durable.
    pub fn committed(&mut self) {
        self.states.drain(..self.in_commit - 1);
        self.in_commit = self.states.len();
    }

    fn draw(&mut self, random: &mut Random) -> Option<(Write, Logs)> {
        let mut logs = self.now().clone();
        let ids: Vec<LogId> = logs.keys().copied().collect();
        if ids.len() < 2 || (ids.len() < 5 && random.below(20) == 0) {
            let log = LogId(self.next_log);
            self.next_log += 1;
            let meta = bytes_of(random, 20);
            logs.insert(log, ModelLog { epoch: 1, meta: meta.clone(), ..ModelLog::default() });
            return Some((Write::Create { log, epoch: 1, meta }, logs));
        }
        let log = ids[random.below(ids.len() as u64) as usize];
        let state = logs.get_mut(&log).expect("drawn from these");
        let write = match random.below(24) {
            0..=12 => {
                let entries = new_entries(state, random);
                Write::Append { log, entries }
            }
            13..=14 => {
                state.hard_state = bytes_of(random, 30);
                Write::HardState { log, state: state.hard_state.clone() }
            }
            15..=16 if !state.entries.is_empty() => {
                let from = state.start.index + 1 + random.below(state.entries.len() as u64);
                // Only what is committed is compacted, and that is never truncated.
                let compacted = |((of, index), _): (&(LogId, u64), _)| *of == log && *index >= from;
                let emptied =
                    state.entries.iter().any(|entry| entry.index >= from && entry.payload.is_empty());
                if emptied || self.became.iter().any(compacted) {
                    return None;
                }
                state.entries.truncate((from - state.start.index - 1) as usize);
                Write::Truncate { log, from }
            }
            17..=19 if !state.entries.is_empty() => {
                let start = state.start_at(state.start.index + 1 + random.below(state.entries.len() as u64));
                state.entries.drain(..(start.index - state.start.index) as usize);
                state.start = start;
                Write::Trim { log, start }
            }
            20 => {
                let state_bytes = bytes_of(random, 40);
                state.checkpoint = Some((state.last_index(), state_bytes.clone()));
                Write::Checkpoint { log, index: state.last_index(), state: state_bytes }
            }
            21 => {
                state.suspect = true;
                Write::Suspect { log }
            }
            22 => draw_reset(log, state, random),
            23 if random.below(4) == 0 => {
                logs.remove(&log);
                Write::Delete { log }
            }
            _ => return None,
        };
        Some((write, logs))
    }

    /// Copies a sparse segment forward, with writes between reading and staging.
    pub fn reclaim(&mut self, store: &mut Store<FakeDisk>, random: &mut Random) {
        if let Some(mut job) = store.begin_reclaim() {
            job.run();
            self.stage(store, random, 4);
            store.finish_reclaim(job).expect("no fault");
        }
    }

    /// Compacts some of a log, with writes between reading and staging.
    pub fn rewrite(&mut self, store: &mut Store<FakeDisk>, random: &mut Random) {
        let ids: Vec<LogId> = store.logs().collect();
        let Some(log) = ids.get(random.below(ids.len().max(1) as u64) as usize).copied() else { return };
        let state = store.log(log).expect("listed");
        let (first, synced) = (state.start.index + 1, state.synced_index);
        if synced < first {
            return;
        }
        let from = first + random.below(synced + 1 - first);
        let upto = from + random.below(synced + 1 - from);
        let Turn::Begins(mut job) = store.begin_rewrite(log, from, upto, 1 << (8 + random.below(8))) else {
            return;
        };
        let goes = [5, 30, 95][random.below(3) as usize];
        let mut fates = Vec::new();
        job.run(|entry| {
            assert!((from..=upto).contains(&entry.index));
            let drawn = random.below(100);
            let fate = match drawn {
                _ if entry.record_count == 0 => Fate::Stays,
                _ if drawn < goes => Fate::Goes,
                _ if drawn < 70 => Fate::Stays,
                _ => {
                    let payload = entry.payload.slice(..entry.payload.len().div_ceil(2));
                    Fate::Becomes { payload, timestamp_ms: entry.timestamp_ms }
                }
            };
            fates.push((entry.clone(), fate.clone()));
            fate
        });
        for (entry, fate) in fates {
            let after = match fate {
                Fate::Stays => continue,
                Fate::Becomes { payload, .. } => Entry { payload, ..entry.clone() },
                Fate::Goes => emptied(&entry),
            };
            self.became.entry((log, entry.index)).or_default().push((entry, after));
        }
        self.stage(store, random, 4);
        store.finish_rewrite(job).expect("no fault");
    }

    /// With every entry as compaction leaves it in the end.
    pub fn settled(&self, mut logs: Logs) -> Logs {
        for (id, log) in &mut logs {
            for entry in &mut log.entries {
                for (before, after) in self.became.get(&(*id, entry.index)).into_iter().flatten() {
                    if entry == before {
                        *entry = after.clone();
                    }
                }
                if entry.payload.is_empty() {
                    *entry = emptied(entry);
                }
            }
        }
        logs
    }

    /// The store shows the present state.
    pub fn check(&self, store: &Store<FakeDisk>) {
        let now = self.settled(self.now().clone());
        let found = read_all(store);
        check_lookups(store, &found);
        assert!(self.settled(found) == now, "the store holds something else");
    }

    /// After a crash the disk holds one of the states, and goes on from there.
    pub fn check_recovery(&self, disk: &FakeDisk, config: &StoreConfig, context: &str) {
        let (store, recovered) = open(disk, config);
        assert!(!recovered.suspect, "{context}: a crash alone is no rot");
        let found = self.settled(read_all(&store));
        if !self.states.iter().any(|state| self.settled(state.clone()) == found) {
            let states = self.states.iter().map(summary).collect::<Vec<_>>().join("\n");
            panic!("{context}: found\n{}\nallowed\n{states}", summary(&found));
        }
    }
}

fn summary(logs: &Logs) -> String {
    let each = logs.iter().map(|(id, log)| {
        format!(
            "{}: {:?} {}..={} hs {} sus {}",
            id.0,
            log.epoch,
            log.start.index,
            log.last_index(),
            log.hard_state.len(),
            log.suspect
        )
    });
    each.collect::<Vec<_>>().join(" | ")
}

/// As an entry that compaction took is compared: how its offsets are dealt out is nobody's business.
fn emptied(entry: &Entry) -> Entry {
    let (base_offset, record_count, kind, timestamp_ms) = (0, 0, 0, -1);
    Entry { base_offset, record_count, kind, timestamp_ms, payload: Bytes::new(), ..entry.clone() }
}

fn bytes_of(random: &mut Random, len_max: u64) -> Bytes {
    let len = random.below(len_max);
    (0..len).map(|_| random.next().to_le_bytes()[0]).collect()
}

fn new_entries(state: &ModelLog, random: &mut Random) -> Vec<Entry> {
    let (mut index, mut offset, mut term) = (state.last_index(), state.next_offset(), state.term());
    let len_max = [40, 300, 5000][random.below(3) as usize];
    (0..1 + random.below(4))
        .map(|_| {
            term += u32::from(random.below(8) == 0);
            index += 1;
            let record_count = random.below(4) as u32;
            let entry = Entry {
                term,
                index,
                base_offset: offset,
                record_count,
                kind: random.below(3) as u8,
                timestamp_ms: random.below(1000) as i64 - 1,
                // Without content is what compaction took.
                payload: [bytes_of(random, len_max), Bytes::from_static(b"!")].concat().into(),
            };
            offset += i64::from(record_count);
            entry
        })
        .collect()
}

fn draw_reset(log: LogId, state: &mut ModelLog, random: &mut Random) -> Write {
    let keep_suffix = random.below(2) == 0 && !state.entries.is_empty();
    let start = if keep_suffix {
        state.start_at(state.start.index + 1 + random.below(state.entries.len() as u64))
    } else {
        LogStart {
            index: random.below(100),
            term: random.below(9) as u32,
            next_offset: random.below(1000) as i64,
        }
    };
    let meta = bytes_of(random, 20);
    let hard_state = bytes_of(random, 20);
    let checkpoint = (start.index, bytes_of(random, 20));
    let entries = match keep_suffix {
        true => state.entries.split_off((start.index - state.start.index) as usize),
        false => Vec::new(),
    };
    *state = ModelLog {
        epoch: state.epoch + 1,
        meta: meta.clone(),
        hard_state: hard_state.clone(),
        start,
        checkpoint: Some(checkpoint.clone()),
        suspect: false,
        entries,
    };
    Write::Reset { log, epoch: state.epoch, meta, hard_state, start, checkpoint, keep_suffix }
}

/// Everything that a store holds.
pub fn read_all(store: &Store<FakeDisk>) -> Logs {
    let each = store.logs().map(|id| {
        let state = store.log(id).expect("listed");
        let mut entries: Vec<Entry> = Vec::new();
        while state.start.index + (entries.len() as u64) < state.last_index {
            let from = ReadFrom::Index(state.start.index + entries.len() as u64 + 1);
            let read = match store.read(id, from, 2000).expect("inside the log") {
                Read::Ready(entries) => entries,
                Read::Disk(job) => job.run().expect("whole"),
            };
            assert!(!read.is_empty());
            entries.extend(read);
        }
        let log = ModelLog {
            epoch: state.epoch,
            meta: state.meta.clone(),
            hard_state: state.hard_state.clone(),
            start: state.start,
            checkpoint: state.checkpoint.map(|(index, bytes)| (index, bytes.clone())),
            suspect: state.suspect,
            entries,
        };
        assert_eq!(log.next_offset(), state.next_offset);
        (id, log)
    });
    each.collect()
}

/// Lookups agree with a walk over the entries.
pub fn check_lookups(store: &Store<FakeDisk>, logs: &Logs) {
    for (id, log) in logs {
        assert_eq!(store.end_offset(*id, log.start.index), Some(log.start.next_offset));
        for entry in &log.entries {
            assert_eq!(store.term_at(*id, entry.index), Some(entry.term));
            if entry.payload.is_empty() {
                continue;
            }
            let end = entry.base_offset + i64::from(entry.record_count);
            assert_eq!(store.end_offset(*id, entry.index), Some(end));
            for offset in entry.base_offset..end {
                assert_eq!(store.index_at(*id, offset), Some(entry.index));
            }
            if entry.record_count > 0 {
                let read = match store.read(*id, ReadFrom::Offset(end - 1), 1).expect("inside") {
                    Read::Ready(entries) => entries,
                    Read::Disk(job) => job.run().expect("whole"),
                };
                assert!(
                    read.first() == Some(entry),
                    "offset {} of log {} reads something else",
                    end - 1,
                    id.0
                );
            }
        }
        for timestamp in [0, 300, 700, 1001] {
            let middle = log.entries.get(log.entries.len() / 2).map_or(0, |entry| entry.index);
            for after in [0, middle, middle + 1] {
                let fits = |entry: &&Entry| entry.index > after && entry.timestamp_ms >= timestamp;
                let expected = log.entries.iter().find(fits).map(|entry| (entry.index, entry.base_offset));
                assert_eq!(store.first_at_or_after(*id, after, timestamp), expected);
            }
        }
        let newest = log.entries.iter().map(|entry| entry.timestamp_ms).max().filter(|newest| *newest >= 0);
        let first = newest.and_then(|newest| log.entries.iter().find(|entry| entry.timestamp_ms == newest));
        assert_eq!(store.max_timestamp(*id), first.map(|entry| (entry.timestamp_ms, entry.base_offset)));
    }
}
