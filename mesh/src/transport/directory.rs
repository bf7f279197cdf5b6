//! The directory's side of the actor: publishing, accepting and looking up hints. Nothing is stored or
//! believed that [`Hint::verify`] did not accept, and a stored hint is replaced by a newer one only.

use super::actor::Actor;
use super::traced::Seen;
use super::{Hop, HopResult, Lookup};
use crate::directory::{Hint, merge};
use libp2p::PeerId;
use libp2p::kad::{
    self, GetRecordOk, InboundRequest, QueryId, QueryResult, Quorum, Record, RecordKey, store::RecordStore,
};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Lookups that may wait for the one that runs; more are answered with nothing.
const WAITING_MAX: usize = 1024;

struct Running {
    query: QueryId,
    key: [u8; 32],
    answer: oneshot::Sender<Lookup>,
    found: Option<Hint>,
    before: Option<Hint>,
    asked: Vec<(PeerId, Instant)>,
    hops: Vec<Hop>,
}

/// The lookup that runs and those that wait. One at a time, so that each hop belongs to a known lookup.
#[derive(Default)]
pub(super) struct Lookups {
    running: Option<Running>,
    waiting: VecDeque<([u8; 32], oneshot::Sender<Lookup>)>,
}

#[expect(clippy::disallowed_methods, reason = "a shell: hints expire by the wall clock")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Actor {
    fn verify(&self, key: &[u8; 32], bytes: &[u8]) -> Option<Hint> {
        let local = self.swarm.local_peer_id();
        Hint::verify(bytes, key, now_ms(), |signer| {
            signer == local
                || self.connections.registry.contains_key(signer)
                || self.connections.is_connected(signer)
        })
    }

    fn stored(&mut self, key: &[u8; 32]) -> Option<Hint> {
        let record_key = RecordKey::new(key);
        let store = self.swarm.behaviour_mut().directory.kad.store_mut();
        let bytes = store.get(&record_key)?.value.clone();
        self.verify(key, &bytes)
    }

    /// True when the hint is good and not older than what is stored.
    fn is_news(&mut self, key: &[u8; 32], bytes: &[u8]) -> bool {
        let Some(hint) = self.verify(key, bytes) else { return false };
        self.stored(key).is_none_or(|stored| hint.precedence(&stored).is_ge())
    }

    pub(super) fn publish(&mut self, key: [u8; 32], bytes: &[u8]) {
        if !self.is_news(&key, bytes) {
            return;
        }
        let record = Record::new(key.to_vec(), bytes.to_vec());
        if let Err(error) = self.swarm.behaviour_mut().directory.kad.put_record(record, Quorum::One) {
            tracing::warn!(%error, "a hint was not published");
        }
    }

    pub(super) fn lookup(&mut self, key: [u8; 32], answer: oneshot::Sender<Lookup>) {
        if self.lookups.waiting.len() < WAITING_MAX {
            self.lookups.waiting.push_back((key, answer));
        }
        self.next_lookup();
    }

    fn next_lookup(&mut self) {
        while self.lookups.running.is_none() {
            let Some((key, answer)) = self.lookups.waiting.pop_front() else { return };
            if answer.is_closed() {
                continue;
            }
            let before = self.stored(&key);
            let directory = &mut self.swarm.behaviour_mut().directory;
            directory.take_seen();
            let query = directory.kad.get_record(RecordKey::new(&key));
            let found = before.clone();
            let (asked, hops) = (Vec::new(), Vec::new());
            self.lookups.running = Some(Running { query, key, answer, found, before, asked, hops });
        }
    }

    /// Books what went by since the last event.
    pub(super) fn trace_lookup(&mut self) {
        let seen = self.swarm.behaviour_mut().directory.take_seen();
        let Some(running) = &mut self.lookups.running else { return };
        let now = Instant::now();
        for seen in seen {
            let (peer, result) = match seen {
                Seen::Asked(peer) => {
                    running.asked.push((peer, now));
                    continue;
                }
                Seen::AnsweredValue(peer) => (peer, HopResult::Value),
                Seen::AnsweredCloser(peer) => (peer, HopResult::Closer),
                Seen::Failed(peer) => (peer, HopResult::Timeout),
            };
            if let Some(at) = running.asked.iter().position(|(asked, _)| *asked == peer) {
                let (_, since) = running.asked.remove(at);
                running.hops.push(Hop { peer, took: now - since, result });
            }
        }
    }

    pub(super) fn on_directory(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest {
                request: InboundRequest::PutRecord { record: Some(mut record), .. },
            } => {
                let Ok(key) = <[u8; 32]>::try_from(record.key.as_ref()) else { return };
                if self.is_news(&key, &record.value) {
                    // Expiry is the hint's own; the publisher is its signer.
                    (record.expires, record.publisher) = (None, None);
                    let _ = self.swarm.behaviour_mut().directory.kad.store_mut().put(record);
                }
            }
            kad::Event::OutboundQueryProgressed {
                id, result: QueryResult::GetRecord(result), step, ..
            } => {
                self.trace_lookup();
                let Some(running) = &self.lookups.running else { return };
                if running.query != id {
                    return;
                }
                if let Ok(GetRecordOk::FoundRecord(found)) = result {
                    let key = running.key;
                    let hint = self.verify(&key, &found.record.value);
                    if let (Some(running), Some(hint)) = (&mut self.lookups.running, hint) {
                        running.found = Some(match running.found.take() {
                            Some(known) => merge(known, hint),
                            None => hint,
                        });
                    }
                }
                if step.last {
                    self.end_lookup();
                }
            }
            _ => {}
        }
    }

    fn end_lookup(&mut self) {
        let Some(mut running) = self.lookups.running.take() else { return };
        let now = Instant::now();
        let unanswered = running.asked.drain(..);
        running.hops.extend(unanswered.map(|(peer, since)| Hop {
            peer,
            took: now - since,
            result: HopResult::Timeout,
        }));
        let local = running.before.is_some() && running.before == running.found;
        let _ = running.answer.send(Lookup { value: running.found, local, hops: running.hops });
        self.next_lookup();
    }
}
