//! Looking hints up. Several lookups run at a time, and each keeps its own trace: what went by names the query that
//! it belongs to ([`super::traced`]).
//!
//! A lookup walks towards the peers that are closest to its key and takes the newest hint that it is shown. It ends
//! when [`ALIKE_ENOUGH`] peers showed the newest one, or when all the closest that can be reached were asked: a peer that
//! missed the latest publication is outvoted, and one that hangs is not waited for.
//!
//! A **round** is one link of the chain of answers that name closer peers: peers of this node's own table are asked in
//! round 1, those that an answer of round n named first in round n + 1.

use super::actor::Actor;
use super::traced::Seen;
use super::{Hop, HopResult, Lookup};
use crate::directory::{Hint, merge};
use libp2p::PeerId;
use libp2p::kad::{GetRecordError, GetRecordOk, GetRecordResult, K_VALUE, KBucketKey, QueryId, RecordKey};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Lookups that run at a time.
const RUNNING_MAX: usize = 16;
/// Lookups that may wait for one of these to end; more are answered with nothing.
const WAITING_MAX: usize = 1024;
/// Peers that must show the same hint, the newest, before no more are asked. One that missed a publication is rare, three of
/// twenty in a row that all did are not met.
const ALIKE_ENOUGH: usize = 3;

struct Running {
    query: QueryId,
    key: [u8; 32],
    answer: oneshot::Sender<Lookup>,
    found: Option<Hint>,
    before: Option<Hint>,
    /// Peers that showed what is found.
    alike: usize,
    began: Instant,
    asked: BTreeMap<PeerId, Instant>,
    hops: Vec<(Instant, Hop)>,
    rounds: BTreeMap<PeerId, u32>,
}

/// The lookups that run and those that wait.
#[derive(Default)]
pub(super) struct Lookups {
    running: Vec<Running>,
    waiting: VecDeque<([u8; 32], oneshot::Sender<Lookup>)>,
}

impl Running {
    fn round(&self, peer: &PeerId) -> u32 {
        self.rounds.get(peer).copied().unwrap_or(1)
    }

    /// `wanted` says since when a peer that was not connected is dialed.
    fn ended(&mut self, peer: PeerId, at: Instant, wanted: Option<Instant>, result: HopResult) {
        let since = self.asked.remove(&peer).or(wanted).map_or(self.began, |since| since.max(self.began));
        // One that was given up with its connection may have been asked on another one, and answer after all.
        if let Some((since, hop)) = self.hops.iter_mut().find(|(_, hop)| hop.peer == peer) {
            if result != HopResult::Timeout {
                (hop.took, hop.result) = (at.saturating_duration_since(*since), result);
            }
            return;
        }
        let round = self.round(&peer);
        self.hops.push((since, Hop { peer, round, took: at.saturating_duration_since(since), result }));
    }

    fn shown(&mut self, hint: Hint, by_peer: bool) {
        let newest = match self.found.take() {
            Some(known) => {
                let newest = merge(known.clone(), hint.clone());
                self.alike = if newest == known { self.alike } else { 0 };
                newest
            }
            None => hint.clone(),
        };
        self.alike += usize::from(by_peer && newest == hint);
        self.found = Some(newest);
    }

    /// The trace, in the order of asking.
    fn done(mut self, in_time: bool) {
        let now = Instant::now();
        let result = if in_time { HopResult::Unawaited } else { HopResult::Timeout };
        for peer in self.asked.keys().copied().collect::<Vec<_>>() {
            self.ended(peer, now, None, result);
        }
        self.hops.sort_by_key(|(since, _)| *since);
        let local = self.before.is_some() && self.before == self.found;
        let hops = self.hops.into_iter().map(|(_, hop)| hop).collect();
        // Whoever asked may have gone.
        let _gone = self.answer.send(Lookup { value: self.found, local, hops });
    }
}

impl Actor {
    pub(super) fn lookup(&mut self, key: [u8; 32], answer: oneshot::Sender<Lookup>) {
        let lookups = &mut self.directory.lookups;
        if lookups.waiting.len() < WAITING_MAX {
            lookups.waiting.push_back((key, answer));
        }
        self.next_lookups();
    }

    fn next_lookups(&mut self) {
        while self.directory.lookups.running.len() < RUNNING_MAX {
            let Some((key, answer)) = self.directory.lookups.waiting.pop_front() else { return };
            if answer.is_closed() {
                continue;
            }
            let before = self.stored(&key);
            let kad = &mut self.swarm.behaviour_mut().directory.kad;
            let target = KBucketKey::new(RecordKey::new(&key));
            let known = kad.get_closest_local_peers(&target).take(K_VALUE.get());
            let rounds = known.map(|peer| (peer.into_preimage(), 1)).collect();
            let query = kad.get_record(RecordKey::new(&key));
            self.directory.lookups.running.push(Running {
                query,
                key,
                answer,
                found: before.clone(),
                before,
                alike: 0,
                began: Instant::now(),
                asked: BTreeMap::new(),
                hops: Vec::new(),
                rounds,
            });
        }
    }

    /// Books what went by since the last event.
    pub(super) fn trace_lookups(&mut self) {
        for (at, seen) in self.swarm.behaviour_mut().directory.take_seen() {
            let query = match &seen {
                Seen::Asked(query, _) | Seen::Answered { query, .. } | Seen::Failed(query, _) => *query,
            };
            let running = &mut self.directory.lookups.running;
            let Some(running) = running.iter_mut().find(|running| running.query == query) else { continue };
            match seen {
                Seen::Asked(_, peer) => _ = running.asked.insert(peer, at),
                Seen::Answered { peer, value, closer, .. } => {
                    let next = running.round(&peer) + 1;
                    for peer in closer {
                        running.rounds.entry(peer).or_insert(next);
                    }
                    let result = if value { HopResult::Value } else { HopResult::Closer };
                    running.ended(peer, at, self.reach.since(&peer), result);
                }
                Seen::Failed(_, peer) => {
                    running.ended(peer, at, self.reach.since(&peer), HopResult::Timeout);
                }
            }
        }
    }

    pub(super) fn on_lookup(&mut self, id: QueryId, result: GetRecordResult, last: bool) {
        self.trace_lookups();
        let in_time = !matches!(result, Err(GetRecordError::Timeout { .. }));
        let running = &self.directory.lookups.running;
        let Some(at) = running.iter().position(|running| running.query == id) else { return };
        if let Ok(GetRecordOk::FoundRecord(found)) = result
            && let Some(hint) = self.verify(&running[at].key, &found.record.value)
        {
            let running = &mut self.directory.lookups.running[at];
            running.shown(hint, found.peer.is_some());
            if running.alike >= ALIKE_ENOUGH
                && let Some(mut query) = self.swarm.behaviour_mut().directory.kad.query_mut(&id)
            {
                query.finish();
            }
        }
        if last {
            self.directory.lookups.running.swap_remove(at).done(in_time);
            self.next_lookups();
        }
    }
}
