//! Replicas that are rebuilt: what they get of this node's bandwidth and of its disk.
//!
//! As the leader of partitions a node sends their logs to learners and to replicas that are far behind. Each append to one waits for a grant
//! (`mesh::raft`'s [`Rebuild`]), and the grants of all partitions come out of one token bucket. The bucket may be overdrawn by one
//! append, or by one entry that is larger than that; then nothing is granted until it has filled up again, so that over time no more
//! than the rate is sent. Whoever waits is served by [`Turn`]: a partition with fewer whole replicas first. Followers that are in sync, and
//! voters that a majority waits for, never ask.
//!
//! Nothing here is remembered: how far a replica is, its leader knows from the replica's own log, so that a rebuild goes on where it was
//! after a restart of either end.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{Input, Rebuild, ReplicaId, Time};
use storage::{Disk, LogId};

use super::metadata::PartitionKey;
use super::node::{Node, Timer};

/// A rate is measured over at least so many microseconds.
const SAMPLE_US: u64 = 500_000;

/// The bucket holds what the rate allows in one part of so many of a second.
const BUCKETS_PER_SECOND: u64 = 8;

/// Who goes first: metadata shards, then partitions with the fewest replicas in sync, then who began first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    topic: bool,
    in_sync: usize,
    began: u64,
    who: Rebuilt,
}

/// A replica, by the local log that it is rebuilt from.
type Rebuilt = (LogId, ReplicaId);

/// One replica that is rebuilt.
#[derive(Debug)]
struct Progress {
    began: u64,
    since: Time,
    bytes: u64,
    /// What its next append took out of the bucket already.
    granted: Option<u64>,
    /// Where it waits.
    waits: Option<Turn>,
    /// When the rate was measured last, and the bytes by then.
    sampled: (Time, u64),
    rate: Option<u64>,
}

/// A token bucket: bytes that may be sent now, below zero when more was.
#[derive(Debug)]
struct Bucket {
    /// Bytes per second; 0 for no limit.
    rate: u64,
    level: i64,
    at: Time,
}

impl Bucket {
    fn new(rate: u64, now: Time) -> Self {
        Self { rate, level: Self::room(rate), at: now }
    }

    fn room(rate: u64) -> i64 {
        (rate / BUCKETS_PER_SECOND).max(1).try_into().unwrap_or(i64::MAX)
    }

    fn fill(&mut self, now: Time) {
        let per_second = u128::from(self.rate);
        let gained = u128::from(now.since(self.at)) * per_second / 1_000_000;
        let gained_by = gained * 1_000_000 / per_second.max(1);
        self.level =
            self.level.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX)).min(Self::room(self.rate));
        // What is left over of a byte counts the next time.
        self.at = self.at.after(u64::try_from(gained_by).unwrap_or(u64::MAX)).min(now);
    }

    /// Whether anything may be sent now.
    fn is_open(&self) -> bool {
        self.rate == 0 || self.level > 0
    }

    fn take(&mut self, bytes: u64) {
        self.level = self.level.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn give_back(&mut self, bytes: u64) {
        self.level = self.level.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// When it opens, if it is closed.
    fn opens_at(&self) -> Time {
        let lacks = u128::from(self.level.min(0).unsigned_abs() + 1);
        let us = (lacks * 1_000_000).div_ceil(u128::from(self.rate.max(1)));
        self.at.after(u64::try_from(us).unwrap_or(u64::MAX))
    }
}

/// What a node sends to replicas that are rebuilt.
#[derive(Debug)]
pub(crate) struct Rebuilds {
    bucket: Bucket,
    of: BTreeMap<Rebuilt, Progress>,
    waiting: BTreeSet<Turn>,
    began: u64,
    timer: Option<Time>,
    bytes: u64,
    finished: u64,
}

/// What rebuilds did since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebuildFigures {
    /// Bytes of entries that were sent to replicas that are rebuilt.
    pub bytes: u64,
    /// Rebuilds that ended with a whole replica.
    pub finished: u64,
    /// Rebuilds under way.
    pub under_way: u64,
    /// Of these, those that wait for their turn.
    pub waiting: u64,
    /// Bytes per second that may be sent; 0 for no limit.
    pub bytes_per_second: u64,
}

/// One replica that is rebuilt from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildView {
    /// Its partition.
    pub key: PartitionKey,
    /// Which replica.
    pub replica: ReplicaId,
    /// It votes already: it was away for long.
    pub voter: bool,
    /// Bytes of the leader's log that it has, about.
    pub done_bytes: u64,
    /// Bytes that it lacks, about.
    pub left_bytes: u64,
    /// Bytes per second, lately; `None` in the first moments.
    pub rate: Option<u64>,
    /// Milliseconds until it is whole at that rate; `None` without one.
    pub left_ms: Option<u64>,
    /// Milliseconds since this leader began.
    pub for_ms: u64,
}

impl Rebuilds {
    pub(crate) fn new(rate: u64, now: Time) -> Self {
        let (of, waiting) = Default::default();
        let bucket = Bucket::new(rate, now);
        Self { bucket, of, waiting, began: 0, timer: None, bytes: 0, finished: 0 }
    }

    fn progress(&mut self, who: Rebuilt, now: Time) -> &mut Progress {
        let began = self.began;
        self.of.entry(who).or_insert_with(|| {
            self.began += 1;
            Progress {
                began,
                since: now,
                bytes: 0,
                granted: None,
                waits: None,
                sampled: (now, 0),
                rate: None,
            }
        })
    }

    fn ask(&mut self, who: Rebuilt, topic: bool, in_sync: usize, now: Time) {
        let progress = self.progress(who, now);
        let turn = Turn { topic, in_sync, began: progress.began, who };
        let before = progress.waits.replace(turn);
        before.into_iter().for_each(|before| _ = self.waiting.remove(&before));
        self.waiting.insert(turn);
    }

    fn sent(&mut self, who: Rebuilt, bytes: usize, now: Time) {
        let bytes = bytes as u64;
        self.bytes += bytes;
        let progress = self.progress(who, now);
        progress.bytes += bytes;
        let granted = progress.granted.take().unwrap_or(0);
        self.bucket.give_back(granted);
        self.bucket.take(bytes);
    }

    /// Who gets the next append of at most `bytes`, when anything may be sent.
    fn next(&mut self, bytes: usize, now: Time) -> Option<Rebuilt> {
        self.bucket.fill(now);
        if !self.bucket.is_open() {
            return None;
        }
        let turn = self.waiting.pop_first()?;
        let progress = self.of.get_mut(&turn.who)?;
        progress.waits = None;
        progress.granted = Some(bytes as u64);
        self.bucket.take(bytes as u64);
        Some(turn.who)
    }

    fn forget(&mut self, who: Rebuilt) {
        let Some(progress) = self.of.remove(&who) else { return };
        progress.waits.into_iter().for_each(|turn| _ = self.waiting.remove(&turn));
        self.bucket.give_back(progress.granted.unwrap_or(0));
    }
}

impl Progress {
    fn sample(&mut self, now: Time) {
        let (at, before) = self.sampled;
        let took = now.since(at);
        if took < SAMPLE_US {
            return;
        }
        let fresh = u128::from(self.bytes - before) * 1_000_000 / u128::from(took);
        let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
        self.rate = Some(self.rate.map_or(fresh, |rate| rate / 4 * 3 + fresh / 4));
        self.sampled = (now, self.bytes);
    }
}

impl<D: Disk> Node<D> {
    /// A replica set's leader here said something about replicas that it rebuilds.
    pub(crate) fn rebuilding(&mut self, log: LogId, said: Vec<Rebuild>) {
        let now = self.now.mono;
        for word in said {
            match word {
                Rebuild::Asks { to } => {
                    let Some(partition) = self.partitions.get(&log) else { return };
                    let in_sync = partition.replica.as_ref().map_or(0, |replica| replica.in_sync().len());
                    let topic = partition.key.as_shard().is_none();
                    self.rebuilds.ask((log, to), topic, in_sync, now);
                }
                Rebuild::Sent { to, bytes } => self.rebuilds.sent((log, to), bytes, now),
            }
        }
    }

    /// Hands out what may be sent now; the rest when the bucket has filled up.
    pub(crate) fn grant_rebuilds(&mut self) {
        let bytes = self.config.raft.append_bytes_max;
        while let Some((log, to)) = self.rebuilds.next(bytes, self.now.mono) {
            if self.partitions.get(&log).is_some_and(|partition| partition.leads()) {
                self.drive(log, Input::Grant { to, bytes });
            } else {
                self.rebuilds.forget((log, to));
            }
        }
        let rebuilds = &mut self.rebuilds;
        let due = (!rebuilds.waiting.is_empty()).then(|| rebuilds.bucket.opens_at());
        if due != rebuilds.timer {
            let before = std::mem::replace(&mut rebuilds.timer, due);
            before.into_iter().for_each(|at| _ = self.timers.remove(&(at, Timer::Rebuilds)));
            due.into_iter().for_each(|at| self.set_timer(at, Timer::Rebuilds));
        }
    }

    /// The timer rang: whatever waits is looked at when the step ends.
    pub(crate) fn rebuilds_due(&mut self) {
        self.rebuilds.timer = None;
    }

    /// The regular look: measures, and forgets what is whole, or led elsewhere.
    pub(crate) fn review_rebuilds(&mut self) {
        let all: Vec<Rebuilt> = self.rebuilds.of.keys().copied().collect();
        for who in all {
            match self.lacks(who) {
                Some(lacks) if lacks > 0 => {
                    self.rebuilds.progress(who, self.now.mono).sample(self.now.mono);
                }
                // Its leader has just begun and does not know yet what is committed.
                Some(_) if self.rebuilds.of.get(&who).is_some_and(|progress| progress.waits.is_some()) => {}
                whole => {
                    self.rebuilds.finished += u64::from(whole.is_some());
                    self.rebuilds.forget(who);
                }
            }
        }
    }

    /// How many committed entries a replica lacks; `None` when it is not rebuilt from here.
    fn lacks(&self, (log, id): Rebuilt) -> Option<u64> {
        let replica = self.partitions.get(&log)?.replica.as_ref()?;
        let peer = replica.progress().into_iter().find(|peer| peer.id == id)?;
        Some(if peer.rebuilt { replica.commit_index().0.saturating_sub(peer.matched.0) } else { 0 })
    }

    /// The replicas that are rebuilt from this node, longest under way first.
    pub fn rebuilds(&self) -> Vec<RebuildView> {
        let mut all: Vec<(u64, RebuildView)> = self
            .rebuilds
            .of
            .iter()
            .filter_map(|(who, progress)| Some((progress.began, self.rebuild_view(*who, progress)?)))
            .collect();
        all.sort_by_key(|(began, _)| *began);
        all.into_iter().map(|(_, view)| view).collect()
    }

    fn rebuild_view(&self, (log, id): Rebuilt, progress: &Progress) -> Option<RebuildView> {
        let partition = self.partitions.get(&log)?;
        let peer = partition.replica.as_ref()?.progress().into_iter().find(|peer| peer.id == id)?;
        let left_bytes = self.workers.of(log).bytes_after(log, peer.matched.0);
        let all = self.workers.log(log).map_or(0, |state| state.bytes);
        let rate = progress.rate;
        let left_ms = rate.filter(|rate| *rate > 0).map(|rate| left_bytes.saturating_mul(1_000) / rate);
        Some(RebuildView {
            key: partition.key,
            replica: id,
            voter: peer.voter,
            done_bytes: all.saturating_sub(left_bytes),
            left_bytes,
            rate,
            left_ms,
            for_ms: self.now.mono.since(progress.since) / 1_000,
        })
    }

    /// What rebuilds did so far.
    pub fn rebuild_figures(&self) -> RebuildFigures {
        RebuildFigures {
            bytes: self.rebuilds.bytes,
            finished: self.rebuilds.finished,
            under_way: self.rebuilds.of.len() as u64,
            waiting: self.rebuilds.waiting.len() as u64,
            bytes_per_second: self.rebuilds.bucket.rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::raft::{Incarnation, NodeId, ReplicaEpoch};

    use super::*;

    fn who(log: u32) -> Rebuilt {
        let id = ReplicaId { node: NodeId(4), incarnation: Incarnation(1), epoch: ReplicaEpoch(2) };
        (LogId(log), id)
    }

    fn at(ms: u64) -> Time {
        Time(ms * 1_000)
    }

    /// Sends appends of `bytes` to one that always asks again, until `end`; what was sent.
    fn sent_until(rebuilds: &mut Rebuilds, end: u64, bytes: usize) -> u64 {
        for ms in 0..end {
            while let Some(who) = rebuilds.next(1_000, at(ms)) {
                rebuilds.sent(who, bytes, at(ms));
                rebuilds.ask(who, true, 2, at(ms));
            }
        }
        rebuilds.bytes
    }

    #[test]
    fn no_more_than_the_rate_is_sent_and_no_less() {
        for bytes in [10, 1_000, 7_000] {
            let mut rebuilds = Rebuilds::new(100_000, at(0));
            rebuilds.ask(who(1), true, 2, at(0));
            let sent = sent_until(&mut rebuilds, 10_000, bytes);
            let (least, most) = (1_000_000, 1_000_000 + 12_500 + bytes as u64);
            assert!((least - 1_000..=most).contains(&sent), "{sent} bytes in 10 s, {bytes} at a time");
        }
    }

    #[test]
    fn an_entry_that_is_larger_than_the_bucket_passes_alone_and_is_paid_for() {
        let mut rebuilds = Rebuilds::new(8_000, at(0));
        rebuilds.ask(who(1), true, 2, at(0));
        assert_eq!(rebuilds.next(100, at(0)), Some(who(1)));
        rebuilds.sent(who(1), 17_000, at(0));
        rebuilds.ask(who(1), true, 2, at(0));
        assert_eq!(rebuilds.next(100, at(1_999)), None);
        assert_eq!(
            rebuilds.bucket.opens_at(),
            at(2_000).after(125),
            "17,000 bytes are two seconds, less a bucket"
        );
        assert_eq!(rebuilds.next(100, at(2_001)), Some(who(1)));
    }

    #[test]
    fn a_partition_with_fewer_whole_replicas_goes_first_and_a_shard_before_all() {
        let mut rebuilds = Rebuilds::new(0, at(0));
        for (log, topic, in_sync) in [(1, true, 3), (2, true, 2), (3, true, 1), (4, false, 3), (5, true, 1)] {
            rebuilds.ask(who(log), topic, in_sync, at(0));
        }
        let order: Vec<u32> = std::iter::from_fn(|| rebuilds.next(1, at(0))).map(|(log, _)| log.0).collect();
        assert_eq!(order, [4, 3, 5, 2, 1]);
        // Who asks again under another count has one place only.
        rebuilds.ask(who(1), true, 3, at(0));
        rebuilds.ask(who(1), true, 1, at(0));
        assert_eq!((rebuilds.waiting.len(), rebuilds.next(1, at(0))), (1, Some(who(1))));
    }

    #[test]
    fn a_grant_that_nobody_uses_is_given_back() {
        let mut rebuilds = Rebuilds::new(8_000, at(0));
        rebuilds.ask(who(1), true, 2, at(0));
        assert_eq!(rebuilds.next(4_000, at(0)), Some(who(1)));
        assert!(!rebuilds.bucket.is_open());
        rebuilds.forget(who(1));
        assert!(rebuilds.bucket.is_open());
        assert!(rebuilds.of.is_empty() && rebuilds.waiting.is_empty());
    }

    #[test]
    fn without_a_limit_everything_goes() {
        let mut rebuilds = Rebuilds::new(0, at(0));
        for _ in 0..1_000 {
            rebuilds.ask(who(1), true, 2, at(0));
            assert_eq!(rebuilds.next(1 << 20, at(0)), Some(who(1)));
            rebuilds.sent(who(1), 1 << 20, at(0));
        }
    }
}
