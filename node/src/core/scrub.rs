//! The scrubber: every stored entry of every replica is read back from the medium, round after round, at a bounded rate, so that rot is
//! found while the other replicas still have what it took.
//!
//! One read at a time, log by log. A read that fails is repeated closer, down to the single entry that cannot be read: what passes by
//! itself is no rot, and an error of the disk tells no index. A replica that is found rotten is given up at once
//! ([`Node::rotten`]) and rebuilt like any other that lost its promises, but only while a majority of its group is whole without it: else
//! that would take the partition from its clients, and with it what may be left of the data. Such a replica is kept in mind until the
//! others are back.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{NodeId, ReplicaId, Time};
use storage::{Disk, Entry, LogId, ReadError, ReadJob};

use super::metadata::lifecycle::Standing;
use super::node::{Node, Reading, Timer};
use super::{Effect, after_ms};

/// A process reads nothing in its first moments, when everybody waits for it.
const CALM_MS: u64 = 30_000;
/// How often a rotten replica is looked at that the others cannot do without.
const KEPT_MS: u64 = 5_000;
/// What a read costs at least, in bytes of the rate: a small one takes a disk as long.
const READ_COST_MIN: u64 = 64 << 10;
/// Bytes of an entry beside its payload: its frame header.
const HEADER_BYTES: u64 = 88;
/// A read that failed for no known index is repeated with so much less.
const CLOSER: usize = 16;

/// How fast stored replicas are read back.
#[derive(Clone, Copy, Debug)]
pub struct ScrubConfig {
    /// Bytes per second at most; 0 reads nothing.
    pub bytes_per_second: u64,
    /// A round begins at least so many milliseconds after the last one began.
    pub every_ms: u64,
    /// Bytes of one read, though at least one entry.
    pub read_bytes: usize,
}

impl Default for ScrubConfig {
    fn default() -> Self {
        Self { bytes_per_second: 2 << 20, every_ms: 86_400_000, read_bytes: 256 << 10 }
    }
}

/// What the scrubber did since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubFigures {
    /// Rounds that ended.
    pub rounds: u64,
    /// Bytes of entries that were read and are whole.
    pub bytes: u64,
    /// Of these, in the round under way; 0 between rounds.
    pub round_bytes: u64,
    /// Whether a round is under way.
    pub under_way: bool,
    /// Replicas that were found to have an entry that cannot be read.
    pub rot: u64,
    /// Replicas here that are rotten and that the others cannot do without now.
    pub kept: u64,
}

/// A read under way.
#[derive(Clone, Copy, Debug)]
struct Look {
    log: LogId,
    replica: ReplicaId,
    index: u64,
    room: usize,
    since: Time,
}

/// Where the scrubber is.
#[derive(Debug)]
pub(crate) struct Scrub {
    /// The log at which the round began; it ends there.
    first: LogId,
    /// The round went on at the first log.
    wrapped: bool,
    /// What is read next.
    at: (LogId, u64),
    /// How much at a time: less than usual while a failed read is repeated.
    room: usize,
    look: Option<Look>,
    /// When the next round may begin.
    next_round: Time,
    /// Rotten replicas that the others cannot do without, and their first bad index.
    kept: BTreeMap<LogId, (ReplicaId, u64)>,
    figures: ScrubFigures,
}

impl Scrub {
    /// Begins anywhere: a process that is started often would never come to its last logs.
    pub(crate) fn new(now: Time, config: &ScrubConfig, seed: u64, logs: u32) -> Self {
        let first = u32::try_from(seed % u64::from(logs.max(1))).map_or(LogId(0), LogId);
        Self {
            first,
            wrapped: false,
            at: (first, 0),
            room: config.read_bytes,
            look: None,
            next_round: after_ms(now, CALM_MS.min(config.every_ms)),
            kept: BTreeMap::new(),
            figures: ScrubFigures::default(),
        }
    }

    /// When the first round begins.
    pub(crate) fn begins(&self) -> Time {
        self.next_round
    }

    /// The next log is another one.
    fn pass(&mut self, log: LogId, room: usize) {
        self.at = (LogId(log.0.saturating_add(1)), 0);
        self.room = room;
    }
}

impl<D: Disk> Node<D> {
    /// What the scrubber did so far.
    pub fn scrub_figures(&self) -> ScrubFigures {
        ScrubFigures { kept: self.scrub.kept.len() as u64, ..self.scrub.figures }
    }

    /// The next read is due.
    pub(crate) fn scrub_due(&mut self) {
        if self.stopping.is_some() || self.scrub.look.is_some() {
            return;
        }
        self.give_up_kept();
        if !self.scrub.figures.under_way {
            if self.now.mono < self.scrub.next_round {
                return self.scrub_later();
            }
            self.scrub.figures.under_way = true;
            self.scrub.next_round = after_ms(self.now.mono, self.config.scrub.every_ms);
        }
        let Some((look, job)) = self.next_look() else {
            return self.end_round();
        };
        self.scrub.look = Some(look);
        let token = self.token();
        self.reads.insert(token, Reading::Scrub);
        self.out.push(Effect::Read { token, job });
    }

    fn end_round(&mut self) {
        let scrub = &mut self.scrub;
        (scrub.first, scrub.wrapped, scrub.at) = (LogId(0), false, (LogId(0), 0));
        scrub.figures.rounds += 1;
        (scrub.figures.under_way, scrub.figures.round_bytes) = (false, 0);
        self.scrub_later();
    }

    /// Between rounds.
    fn scrub_later(&mut self) {
        let kept = after_ms(self.now.mono, KEPT_MS);
        let next = self.scrub.next_round;
        let at = if self.scrub.kept.is_empty() { next } else { next.min(kept) };
        self.set_timer(at, Timer::Scrub);
    }

    /// The next part of the round; nothing at its end.
    fn next_look(&mut self) -> Option<(Look, ReadJob<D>)> {
        let room = self.config.scrub.read_bytes;
        loop {
            let (log, index) = self.scrub.at;
            let next = match self.workers.next_log(log) {
                Some(next) if self.scrub.wrapped && next >= self.scrub.first => return None,
                None if self.scrub.wrapped || self.scrub.first == LogId(0) => return None,
                Some(next) => next,
                None => {
                    (self.scrub.wrapped, self.scrub.at) = (true, (LogId(0), 0));
                    continue;
                }
            };
            if next != log {
                (self.scrub.at, self.scrub.room) = ((next, 0), room);
                continue;
            }
            match self.look_at(log, index) {
                Some(look) => return Some(look),
                None => self.scrub.pass(log, room),
            }
        }
    }

    fn look_at(&self, log: LogId, index: u64) -> Option<(Look, ReadJob<D>)> {
        let partition = self.partitions.get(&log)?;
        let whole = !matches!(partition.standing, Standing::Suspect | Standing::Removed);
        let state = self.workers.log(log).filter(|_| whole)?;
        let index = index.max(state.start.index + 1);
        let room = self.scrub.room;
        let job = self.workers.of(log).read_medium(log, index, room).ok()??;
        Some((Look { log, replica: partition.id, index, room, since: self.now.mono }, job))
    }

    /// A read ended.
    pub(crate) fn scrubbed(&mut self, result: Result<Vec<Entry>, ReadError>) {
        let Some(look) = self.scrub.look.take() else { return };
        let room = self.config.scrub.read_bytes;
        let mut bytes = 0;
        match result {
            Ok(entries) => {
                bytes = entries.iter().map(|entry| entry.payload.len() as u64 + HEADER_BYTES).sum();
                match entries.last() {
                    Some(last) => (self.scrub.at, self.scrub.room) = ((look.log, last.index + 1), room),
                    None => self.scrub.pass(look.log, room),
                }
            }
            Err(ReadError::Corrupt { index, .. }) if look.room > 1 => {
                (self.scrub.at, self.scrub.room) = ((look.log, index.max(look.index)), 1);
            }
            Err(ReadError::Io(error)) if look.room > 1 => {
                tracing::warn!(%error, log = look.log.0, index = look.index, "a stored log could not be read; tried again");
                self.scrub.room = (look.room / CLOSER).max(1);
            }
            Err(error) => {
                (self.scrub.at, self.scrub.room) = ((look.log, look.index + 1), room);
                self.found_rot(&look, &error);
            }
        }
        self.scrub.figures.bytes += bytes;
        self.scrub.figures.round_bytes += bytes;
        let cost =
            bytes.max(READ_COST_MIN).saturating_mul(1_000_000) / self.config.scrub.bytes_per_second.max(1);
        self.set_timer(look.since.after(cost).max(self.now.mono), Timer::Scrub);
    }

    fn found_rot(&mut self, look: &Look, error: &ReadError) {
        let log = look.log;
        let known = self.scrub.kept.get(&log).is_some_and(|(replica, _)| *replica == look.replica);
        if known || !self.still_holds(log, look.replica, look.index) {
            return;
        }
        self.scrub.figures.rot += 1;
        if self.can_do_without(log) {
            tracing::error!(%error, log = log.0, "the scrubber found a stored log damaged");
            return self.rotten(log, look.index);
        }
        tracing::error!(
            %error,
            log = log.0,
            "the scrubber found a stored log damaged; the replica is kept until a majority of the others is in sync"
        );
        self.scrub.kept.insert(log, (look.replica, look.index));
    }

    /// Whether this is still that replica, and has that entry.
    fn still_holds(&self, log: LogId, replica: ReplicaId, index: u64) -> bool {
        let same = |standing| !matches!(standing, Standing::Suspect | Standing::Removed);
        let there = self.partitions.get(&log).is_some_and(|p| p.id == replica && same(p.standing));
        let holds = self
            .workers
            .log(log)
            .is_some_and(|state| (state.start.index + 1..=state.last_index).contains(&index));
        there && holds
    }

    /// Gives up the rotten replicas that the others can do without by now.
    fn give_up_kept(&mut self) {
        let kept: Vec<(LogId, (ReplicaId, u64))> =
            self.scrub.kept.iter().map(|(log, at)| (*log, *at)).collect();
        for (log, (replica, index)) in kept {
            let there = self.still_holds(log, replica, index);
            if there && !self.can_do_without(log) {
                continue;
            }
            self.scrub.kept.remove(&log);
            if there {
                self.rotten(log, index);
            }
        }
    }

    /// Whether a majority of the replica's group is up and in sync without it, as far as this node knows.
    fn can_do_without(&self, log: LogId) -> bool {
        let Some(partition) = self.partitions.get(&log) else { return false };
        let Some(membership) = partition.replica.as_ref().map(|replica| replica.membership()) else {
            return false;
        };
        let up = self.up();
        let leader = self.leaders.get(&partition.key).filter(|info| up.contains(&info.leader));
        let mut whole: BTreeSet<NodeId> = match (partition.replica.as_ref(), leader) {
            (Some(replica), _) if partition.leads() => replica.in_sync().iter().map(|id| id.node).collect(),
            (_, Some(info)) => info.in_sync.iter().copied().collect(),
            (_, None) => BTreeSet::new(),
        };
        whole.retain(|node| up.contains(node) && *node != self.identity.node);
        let enough = |voters: &BTreeSet<ReplicaId>| {
            let others = voters.iter().filter(|id| whole.contains(&id.node)).count();
            !voters.contains(&partition.id) || others > voters.len() / 2
        };
        enough(&membership.voters) && enough(&membership.outgoing)
    }
}
