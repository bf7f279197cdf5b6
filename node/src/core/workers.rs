//! The segment logs of a node, one per worker, each with its own commits.
//!
//! A log stays with the worker that wrote it. How many workers there are may change from start to start: new logs go to the
//! first so many; a worker beyond them keeps the logs that it has, and ends at the first start that finds it without any. All
//! metadata shards live with the first worker, for they are founded in one commit.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mesh::raft::{Time, WriteId};
use storage::{
    Commit, CommitError, Disk, LogId, LogState, ReadError, Reclaim, ReclaimReport, Recovered, Sequence,
    Stats, Store, Write, WriteError,
};

use super::metadata::PartitionKey;

struct Worker<D: Disk> {
    store: Store<D>,
    /// Writes of replicas in the order in which they become durable.
    syncs: VecDeque<(Sequence, LogId, WriteId)>,
    /// When the commit that is under way began.
    commit_since: Option<Time>,
    reclaiming: bool,
}

/// All segment logs of a node.
pub struct Workers<D: Disk> {
    all: Vec<Worker<D>>,
    homes: BTreeMap<LogId, usize>,
    /// Those that take new logs.
    wanted: usize,
}

/// How many of these stores are of use when `wanted` workers shall take new logs: the last ones without logs are not.
pub fn needed<D: Disk>(opened: &[(Store<D>, Recovered)], wanted: usize) -> usize {
    let holding = opened.iter().rposition(|(store, _)| store.logs().next().is_some());
    wanted.max(1).max(holding.map_or(0, |last| last + 1)).min(opened.len())
}

impl<D: Disk> Workers<D> {
    /// Takes over opened stores, at least one.
    pub(crate) fn new(stores: Vec<Store<D>>, wanted: usize) -> Self {
        let homes = stores.iter().enumerate().flat_map(|(at, store)| store.logs().map(move |log| (log, at)));
        let homes = homes.collect();
        let wanted = wanted.clamp(1, stores.len());
        let worker = |store| Worker { store, syncs: VecDeque::new(), commit_since: None, reclaiming: false };
        Self { all: stores.into_iter().map(worker).collect(), homes, wanted }
    }

    fn home(&self, log: LogId) -> usize {
        if self.all.len() == 1 { 0 } else { self.homes.get(&log).copied().unwrap_or(0) }
    }

    /// The store of a log; for a log that is nowhere, one that does not have it.
    pub fn of(&self, log: LogId) -> &Store<D> {
        &self.all[self.home(log)].store
    }

    /// State of a log; staged writes count at once.
    pub fn log(&self, log: LogId) -> Option<LogState<'_>> {
        self.of(log).log(log)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Which worker a log is with.
    pub fn worker_of(&self, log: LogId) -> Option<usize> {
        self.homes.get(&log).copied()
    }

    /// All logs in order.
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        self.homes.keys().copied()
    }

    /// The first log from that number on.
    pub(crate) fn next_log(&self, from: LogId) -> Option<LogId> {
        self.homes.range(from..).next().map(|(log, _)| *log)
    }

    /// Figures of all together; of the free bytes, those of the fullest disk.
    pub fn stats(&self) -> Stats {
        let all = self.all.iter().map(|worker| worker.store.stats());
        all.reduce(|sum, one| sum.with(&one)).unwrap_or_default()
    }

    /// Whether a write or sync of any failed.
    pub fn failed(&self) -> bool {
        self.all.iter().any(|worker| worker.store.failed())
    }

    /// Whether records may be added to a log.
    pub(crate) fn accepts_records(&mut self, log: LogId) -> bool {
        let home = self.home(log);
        self.all[home].store.accepts_records()
    }

    /// Stages a write to a log that exists.
    pub(crate) fn write(&mut self, write: Write) -> Result<Sequence, WriteError> {
        let (log, deletes) = (write.log(), matches!(write, Write::Delete { .. }));
        let home = self.home(log);
        let sequence = self.all[home].store.write(write)?;
        if deletes {
            self.homes.remove(&log);
        }
        Ok(sequence)
    }

    /// Stages the creation of a log, with the worker that it will stay with.
    pub(crate) fn create(
        &mut self,
        key: PartitionKey,
        log: LogId,
        epoch: u32,
        meta: Bytes,
    ) -> Result<Sequence, WriteError> {
        let home = if key.as_shard().is_some() { 0 } else { log.0 as usize % self.wanted };
        let sequence = self.all[home].store.write(Write::Create { log, epoch, meta })?;
        self.homes.insert(log, home);
        Ok(sequence)
    }

    /// The last write staged with the worker of a log.
    pub(crate) fn staged(&self, log: LogId) -> Sequence {
        self.of(log).staged()
    }

    /// `write` of a replica is durable once the worker of its log synced up to `sequence`.
    pub(crate) fn note(&mut self, log: LogId, sequence: Sequence, write: WriteId) {
        let home = self.home(log);
        self.all[home].syncs.push_back((sequence, log, write));
    }

    /// Nobody waits any more for the writes of a log.
    pub(crate) fn forget(&mut self, log: LogId) {
        self.all.iter_mut().for_each(|worker| worker.syncs.retain(|(_, of, _)| *of != log));
    }

    /// Starts the commits of all workers that have something to make durable and no commit under way.
    pub(crate) fn begin_commits(&mut self, now: Time) -> Vec<(usize, Commit<D>)> {
        let mut begun = Vec::new();
        for (at, worker) in self.all.iter_mut().enumerate() {
            if let Some(commit) = worker.store.begin_commit() {
                worker.commit_since = Some(now);
                begun.push((at, commit));
            }
        }
        begun
    }

    /// A commit ended: up to where its worker is synced, and the newest write of each replica that this made durable.
    pub(crate) fn finish_commit(
        &mut self,
        at: usize,
        commit: Commit<D>,
    ) -> Result<(Sequence, BTreeMap<LogId, WriteId>), CommitError> {
        let worker = &mut self.all[at];
        worker.commit_since = None;
        let synced = worker.store.finish_commit(commit)?;
        let mut done = BTreeMap::new();
        while let Some((_, log, write)) = worker.syncs.pop_front_if(|(upto, ..)| *upto <= synced) {
            done.insert(log, write);
        }
        Ok((synced, done))
    }

    /// Whether a commit is under way anywhere.
    pub(crate) fn committing(&self) -> bool {
        self.all.iter().any(|worker| worker.commit_since.is_some())
    }

    /// For how many microseconds the oldest commit under way has taken.
    pub(crate) fn oldest_commit_us(&self, now: Time) -> u64 {
        let waits = self.all.iter().filter_map(|worker| worker.commit_since);
        waits.map(|since| now.since(since)).max().unwrap_or(0)
    }

    /// Starts what is worth reclaiming, one job per worker at a time.
    pub(crate) fn begin_reclaims(&mut self) -> Vec<(usize, Reclaim<D>)> {
        let mut begun = Vec::new();
        for (at, worker) in self.all.iter_mut().enumerate().filter(|(_, worker)| !worker.reclaiming) {
            if let Some(job) = worker.store.begin_reclaim() {
                worker.reclaiming = true;
                begun.push((at, job));
            }
        }
        begun
    }

    /// A reclaim job ended.
    pub(crate) fn finish_reclaim(&mut self, at: usize, job: Reclaim<D>) -> Result<ReclaimReport, ReadError> {
        self.all[at].reclaiming = false;
        self.all[at].store.finish_reclaim(job)
    }
}
