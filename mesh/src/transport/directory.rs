//! The directory's side of the actor: publishing, accepting and keeping hints. Nothing is stored or
//! believed that [`Hint::verify`] did not accept, and a stored hint is replaced by a newer one only. Looking them up
//! is in `lookups`.
//!
//! Bounds: [`HINTS_MAX`] hints of [`HINT_BYTES_MAX`] and [`STORED_BYTES_MAX`] in all; each is dropped when it
//! expires, by the wall clock of its signer, and after [`KEPT_MAX`] at the latest.

use super::actor::Actor;
use super::lookups::Lookups;
use crate::directory::Hint;
use bytes::Bytes;
use libp2p::kad::{
    self, InboundRequest, PutRecordError, QueryId, QueryResult, Quorum, Record, RecordKey, store::RecordStore,
};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) const HINTS_MAX: usize = 1 << 18;
pub(super) const HINT_BYTES_MAX: usize = 4 << 10;
/// Bytes of all hints together: 100,000 of three replicas and two addresses take some 30 MiB.
const STORED_BYTES_MAX: usize = 128 << 20;
/// A hint that claims to be good for longer is kept for this long.
const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often what expired is dropped.
const SWEEP: Duration = Duration::from_secs(60);
/// Publications under way: each asks some 20 peers who is closest, and tells some 20.
const PUBLISHING_MAX: usize = 16;
/// Publications that wait for one of these to end; more are dropped, to be published again later.
const PUBLICATIONS_WAITING_MAX: usize = 4096;
/// A hint that fewer peers took is published again soon, a few times: the network was not there yet.
const COPIES_MIN: usize = 3;
const ATTEMPTS_MAX: u32 = 3;

/// What this node keeps, publishes and looks up.
pub(super) struct Directory {
    pub(super) lookups: Lookups,
    publishing: Vec<(QueryId, Publication)>,
    waiting: VecDeque<Publication>,
    /// Those that too few took, until the next look.
    again: Vec<Publication>,
    settling: Vec<oneshot::Sender<()>>,
    /// Of what was stored, at least: what was replaced since the last sweep still counts.
    stored_bytes: usize,
    swept: Instant,
}

struct Publication {
    key: [u8; 32],
    hint: Bytes,
    started: Option<oneshot::Sender<()>>,
    attempts: u32,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory {
            lookups: Lookups::default(),
            publishing: Vec::new(),
            waiting: VecDeque::new(),
            again: Vec::new(),
            settling: Vec::new(),
            stored_bytes: 0,
            swept: Instant::now(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell: hints expire by the wall clock")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Actor {
    pub(super) fn verify(&self, key: &[u8; 32], bytes: &[u8]) -> Option<Hint> {
        let local = self.swarm.local_peer_id();
        Hint::verify(bytes, key, now_ms(), |signer| {
            signer == local
                || self.connections.registry.contains_key(signer)
                || self.connections.is_connected(signer)
        })
    }

    pub(super) fn stored(&mut self, key: &[u8; 32]) -> Option<Hint> {
        let record_key = RecordKey::new(key);
        let store = self.swarm.behaviour_mut().directory.kad.store_mut();
        let bytes = store.get(&record_key)?.value.clone();
        self.verify(key, &bytes)
    }

    /// The hint as it is to be kept, when it is good, not older than what is stored, and there is room for it.
    fn news(&mut self, key: &[u8; 32], bytes: &[u8]) -> Option<Record> {
        let hint = self.verify(key, bytes)?;
        if self.stored(key).is_some_and(|stored| hint.precedence(&stored).is_lt()) {
            return None;
        }
        let now = Instant::now();
        if now - self.directory.swept > SWEEP {
            self.sweep_hints(now);
        }
        if self.directory.stored_bytes + bytes.len() > STORED_BYTES_MAX {
            return None;
        }
        let mut record = Record::new(key.to_vec(), bytes.to_vec());
        let good = Duration::from_millis(hint.expires_ms.saturating_sub(now_ms()));
        record.expires = Some((now + good.min(KEPT_MAX)).into_std());
        Some(record)
    }

    fn sweep_hints(&mut self, now: Instant) {
        let store = self.swarm.behaviour_mut().directory.kad.store_mut();
        let mut bytes = 0;
        store.retain(|_, record| {
            let lives = !record.is_expired(now.into_std());
            bytes += if lives { record.value.len() } else { 0 };
            lives
        });
        (self.directory.stored_bytes, self.directory.swept) = (bytes, now);
    }

    pub(super) fn publish(&mut self, key: [u8; 32], hint: Bytes, started: oneshot::Sender<()>) {
        if self.directory.waiting.len() < PUBLICATIONS_WAITING_MAX {
            let publication = Publication { key, hint, started: Some(started), attempts: 0 };
            self.directory.waiting.push_back(publication);
        }
        self.next_publications();
    }

    /// Answers once nothing is being published any more.
    pub(super) fn settle(&mut self, settled: oneshot::Sender<()>) {
        self.directory.settling.push(settled);
        self.next_publications();
    }

    fn next_publications(&mut self) {
        self.start_publications();
        let Directory { publishing, waiting, again, settling, .. } = &mut self.directory;
        if publishing.is_empty() && waiting.is_empty() && again.is_empty() {
            // Whoever waited for it may have gone.
            settling.drain(..).for_each(|settled| _ = settled.send(()));
        }
    }

    fn start_publications(&mut self) {
        while self.directory.publishing.len() < PUBLISHING_MAX {
            let Some(mut publication) = self.directory.waiting.pop_front() else { return };
            if let Some(started) = publication.started.take() {
                // Whoever waited for it may have gone.
                let _gone = started.send(());
            }
            let Some(record) = self.news(&publication.key, &publication.hint) else { continue };
            let bytes = record.value.len();
            // All of them, not the first that is told: a query that ends forgets those that are still dialed.
            match self.swarm.behaviour_mut().directory.kad.put_record(record, Quorum::All) {
                Ok(query) => {
                    self.directory.publishing.push((query, publication));
                    self.directory.stored_bytes += bytes;
                }
                Err(error) => tracing::warn!(%error, "a hint was not published"),
            }
        }
    }

    fn on_published(&mut self, id: QueryId, copies: Option<usize>) {
        let publishing = &mut self.directory.publishing;
        let Some(at) = publishing.iter().position(|(query, _)| *query == id) else { return };
        let (_, mut publication) = publishing.swap_remove(at);
        publication.attempts += 1;
        let others = self.connections.registry.len().saturating_sub(1);
        let too_few = copies.is_some_and(|copies| copies < COPIES_MIN.min(others));
        if too_few && publication.attempts < ATTEMPTS_MAX {
            self.directory.again.push(publication);
        }
        self.next_publications();
    }

    /// Publishes what too few took.
    pub(super) fn publish_again(&mut self) {
        let again = std::mem::take(&mut self.directory.again);
        self.directory.waiting.extend(again);
        self.next_publications();
    }

    pub(super) fn on_directory(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest {
                request: InboundRequest::PutRecord { record: Some(record), .. },
            } => {
                let Ok(key) = <[u8; 32]>::try_from(record.key.as_ref()) else { return };
                if let Some(record) = self.news(&key, &record.value) {
                    let bytes = record.value.len();
                    let store = self.swarm.behaviour_mut().directory.kad.store_mut();
                    if store.put(record).is_ok() {
                        self.directory.stored_bytes += bytes;
                    }
                }
            }
            kad::Event::OutboundQueryProgressed { id, result: QueryResult::PutRecord(result), .. } => {
                let copies = match result {
                    Ok(_) => None,
                    Err(
                        PutRecordError::QuorumFailed { success, .. }
                        | PutRecordError::Timeout { success, .. },
                    ) => Some(success.len()),
                };
                self.on_published(id, copies);
            }
            kad::Event::OutboundQueryProgressed {
                id, result: QueryResult::GetRecord(result), step, ..
            } => self.on_lookup(id, result, step.last),
            _ => {}
        }
    }
}
