//! What a leader knows of one follower.

use std::collections::VecDeque;

use super::config::Config;
use super::types::{Index, ReplicaId, Time};

/// How the leader sends to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// One append at a time, to find where the logs agree.
    Probe,
    /// Many appends on the way.
    Replicate,
    /// A reset is on the way.
    Reset,
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The follower.
    pub id: ReplicaId,
    /// Synced there up to here.
    pub matched: Index,
    /// What is sent next.
    pub next: Index,
    /// How it is sent.
    pub state: PeerState,
    /// Heard lately and not hinted to be down.
    pub live: bool,
    /// Votes in the membership in force, else it learns.
    pub voter: bool,
    /// What it lacks beyond memory waits for grants, see [`Effects::rebuilds`](super::Effects::rebuilds).
    pub rebuilt: bool,
}

#[derive(Debug)]
pub(super) struct Progress {
    pub(super) id: ReplicaId,
    pub(super) matched: Index,
    pub(super) next: Index,
    pub(super) state: PeerState,
    /// While probing: the `prev` of the append that is on the way.
    pub(super) probed: Option<Index>,
    /// Last index and bytes of each append on the way, in order.
    in_flight: VecDeque<(Index, usize)>,
    in_flight_bytes: usize,
    /// How many appends may be on the way: one after a probe, one more with each acknowledgement. Without it, a
    /// refused append that only overtook another would bring a whole window again.
    window: usize,
    /// The owner loads what comes next.
    pub(super) loading: bool,
    /// Hinted to be down, and not heard since.
    pub(super) down: bool,
    /// Said that it is quiet, and nothing happened since.
    pub(super) quiet: bool,
    /// Heard since the last check of the quorum.
    pub(super) recent: bool,
    pub(super) heard_at: Time,
    pub(super) caught_up_at: Option<Time>,
    /// The same, or since when it is known.
    pub(super) near_at: Time,
    /// What it lacks beyond memory waits for grants: set before each round of appends.
    pub(super) rebuilt: bool,
    /// Asked for one since the last heartbeat and did not get it yet.
    pub(super) asked: bool,
    /// Bytes of the next append of a rebuild.
    pub(super) grant: Option<usize>,
    /// The newest heartbeat that it answered.
    pub(super) acked_seq: u64,
    /// The newest commit index that was sent.
    pub(super) commit_sent: Index,
    /// Received there at the last heartbeat; answers in a row without any way made; how many are too many.
    received: Index,
    strikes: u32,
    patience: u32,
}

const PATIENCE_MIN: u32 = 2;
const PATIENCE_MAX: u32 = 64;

impl Progress {
    /// Of a follower nothing is known of; the first append begins at `next`.
    pub(super) fn new(id: ReplicaId, next: Index, now: Time) -> Progress {
        Progress {
            id,
            matched: Index(0),
            next,
            state: PeerState::Probe,
            probed: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            window: 1,
            loading: false,
            down: false,
            quiet: false,
            recent: true,
            heard_at: now,
            caught_up_at: None,
            near_at: now,
            rebuilt: false,
            asked: false,
            grant: None,
            acked_seq: 0,
            commit_sent: Index(0),
            received: Index(0),
            strikes: 0,
            patience: PATIENCE_MIN,
        }
    }

    pub(super) fn heard(&mut self, now: Time) {
        self.down = false;
        self.recent = true;
        self.heard_at = now;
    }

    /// It has all that is committed.
    pub(super) fn caught_up(&mut self, now: Time) {
        self.caught_up_at = Some(now);
        self.near_at = now;
    }

    pub(super) fn is_live(&self, now: Time, config: &Config) -> bool {
        !self.down && (self.quiet || now.since(self.heard_at) <= config.election_max_us)
    }

    /// How many bytes the next append may carry, `None` when none may leave now.
    pub(super) fn budget(&self, config: &Config) -> Option<usize> {
        let idle = self.in_flight.is_empty();
        let free = config.inflight_bytes_max.saturating_sub(self.in_flight_bytes);
        let open = match self.state {
            PeerState::Reset => false,
            PeerState::Probe => self.probed.is_none(),
            PeerState::Replicate => {
                let appends_max = config.inflight_appends_max.min(self.window);
                idle || (free > 0 && self.in_flight.len() < appends_max)
            }
        };
        (open && !self.loading && !self.down).then_some(config.append_bytes_max.min(free))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.state == PeerState::Replicate
    }

    /// An append with entries up to `last` left.
    pub(super) fn sent(&mut self, prev: Index, last: Index, bytes: usize) {
        if self.state == PeerState::Probe {
            self.probed = Some(prev);
        }
        if last >= self.next {
            self.next = last.next();
            self.in_flight.push_back((last, bytes));
            self.in_flight_bytes = self.in_flight_bytes.saturating_add(bytes);
        }
    }

    /// The follower has synced up to `matched`.
    pub(super) fn acknowledge(&mut self, matched: Index) {
        if matched > self.matched {
            self.matched = matched;
            self.strikes = 0;
            self.patience = PATIENCE_MIN;
            self.window = self.window.saturating_add(1);
        }
        self.next = self.next.max(self.matched.next());
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(last, _)| *last <= matched) {
            self.in_flight_bytes -= bytes;
        }
        if self.in_flight.is_empty() && self.in_flight.capacity() > 4 {
            self.in_flight = VecDeque::new();
        }
        let found = match self.state {
            PeerState::Probe => self.probed.is_some_and(|prev| matched >= prev),
            PeerState::Reset => matched.next() >= self.next,
            PeerState::Replicate => false,
        };
        if found {
            self.state = PeerState::Replicate;
            self.probed = None;
        }
    }

    /// Sends again from `next` on, one append at a time.
    pub(super) fn probe(&mut self, next: Index) {
        self.next = next.max(self.matched.next());
        self.state = PeerState::Probe;
        self.probed = None;
        self.loading = false;
        self.in_flight = VecDeque::new();
        self.in_flight_bytes = 0;
        self.window = 1;
    }

    /// A reset to `start` left.
    pub(super) fn reset(&mut self, start: Index) {
        self.probe(start.next());
        self.state = PeerState::Reset;
    }

    /// Whether an append that began after `prev` and was refused is one that is on the way now.
    pub(super) fn awaits(&self, prev: Index) -> bool {
        match self.state {
            PeerState::Probe => self.probed == Some(prev),
            PeerState::Replicate => prev > self.matched && prev < self.next,
            PeerState::Reset => false,
        }
    }

    /// A heartbeat's answer says what was received. Whether what is on the way must count as lost: it made no way
    /// over several answers. Each loss doubles the patience, for a single entry may take longer than that to pass.
    pub(super) fn is_lost(&mut self, received: Index) -> bool {
        let waits = match self.state {
            PeerState::Replicate => self.in_flight.back().is_some_and(|(last, _)| *last > received),
            PeerState::Probe => self.probed.is_some(),
            PeerState::Reset => true,
        };
        let stands = waits && self.received == received;
        self.received = received;
        self.strikes = if stands { self.strikes + 1 } else { 0 };
        if self.strikes < self.patience {
            return false;
        }
        self.strikes = 0;
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
        true
    }
}
