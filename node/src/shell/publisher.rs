//! Hints on their way into the directory: at most one per key waits, and they leave at a bounded rate.
//!
//! A node tells of what it leads, and of itself: at once when it begins to lead, within seconds when what a hint says is no longer so
//! (a replica moved away from a dead node, an address changed), and again long before a hint expires. Nobody tells that it leads
//! no more: who leads next does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mesh::directory::{Hint, node_key, partition_key, shard_key};
use mesh::transport::Transport;
use storage::disk::file::FileDisk;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::clock::wall_ms;
use super::metrics::Metrics;
use super::registry::first_kafka;
use crate::core::Node;
use crate::core::message::LeaderInfo;
use crate::core::metadata::PartitionKey;

/// Between two hints of a burst.
const PAUSE: Duration = Duration::from_millis(5);
/// Hints of a burst: what a mesh of everyday size has to tell is told within a second or two.
const BURST: u32 = 256;
/// Between two hints after that. A hint takes some 1.6 ms of a core, of all nodes together, for it is signed, sent and checked: with one each
/// 5 ms the hints of 10,000 new partitions took half of two cores, and elections failed for want of them. One each 100 ms is 2 % of a core
/// for each node of three, and 6,000 within [`REPUBLISH`], 36,000 before a hint expires.
const PAUSE_LONG: Duration = Duration::from_millis(100);
/// How long a hint is worth something; published again well before.
const HINT_MS: u64 = 3_600_000;
/// When at the latest a hint is published again. Each at a time of its own, up to a quarter sooner.
const REPUBLISH: Duration = Duration::from_secs(600);
/// Hints that may wait; what does not fit is published with the next round of all.
pub(super) const WAITING_MAX: usize = 100_000;

/// A hint and its key.
pub(super) type Keyed = ([u8; 32], Hint);

/// Hints that wait.
#[derive(Default)]
pub(super) struct Hints {
    waiting: Mutex<BTreeMap<[u8; 32], Hint>>,
    changed: Notify,
}

impl Hints {
    /// Puts hints in; a newer one of a key takes the place of an older one.
    pub(super) fn put(&self, hints: Vec<Keyed>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, hint) in hints {
            if waiting.len() < WAITING_MAX || waiting.contains_key(&key) {
                waiting.insert(key, hint);
            }
        }
        drop(waiting);
        self.changed.notify_one();
    }

    fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Option<Keyed> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    /// Publishes what is put in, until dropped.
    pub(super) async fn publish(&self, transport: &Transport, metrics: &Metrics) {
        let mut burst = Burst::full(Instant::now());
        loop {
            while let Some((key, hint)) = self.take() {
                transport.publish_hint(key, &hint).await;
                metrics.hints.fetch_add(1, Relaxed);
                metrics.hints_waiting.store(self.waiting() as u64, Relaxed);
                sleep(burst.pause(Instant::now())).await;
            }
            self.changed.notified().await;
        }
    }
}

/// How many hints may follow each other quickly: less with each, more with each [`PAUSE_LONG`].
struct Burst {
    left: u32,
    counted: Instant,
}

impl Burst {
    fn full(now: Instant) -> Self {
        Self { left: BURST, counted: now }
    }

    /// After a hint: how long the next one waits.
    fn pause(&mut self, now: Instant) -> Duration {
        let more = now.duration_since(self.counted).as_millis() / PAUSE_LONG.as_millis();
        let more = u32::try_from(more).unwrap_or(BURST).min(BURST);
        if more > 0 {
            self.counted = now;
        }
        self.left = (self.left + more).min(BURST);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                PAUSE
            }
            None => {
                self.counted = now + PAUSE_LONG;
                PAUSE_LONG
            }
        }
    }
}

/// What this node told the directory last, and when each is to be told again.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: BTreeMap<[u8; 32], (Hint, Instant)>,
}

impl Ledger {
    /// Takes down that a hint is on its way.
    pub(super) fn note(&mut self, keyed: &Keyed, now: Instant) {
        let (key, hint) = keyed;
        let sooner = REPUBLISH * u32::from(key[0]) / (4 * 256);
        self.told.insert(*key, (hint.clone(), now + REPUBLISH - sooner));
    }

    /// Of all that this node has to tell, what says something else than last time, or was told long ago. What is not in `all` is
    /// forgotten.
    pub(super) fn due(&mut self, all: Vec<Keyed>, now: Instant) -> Vec<Keyed> {
        let is_due = |(key, hint): &Keyed| {
            self.told.get(key).is_none_or(|(told, again)| {
                *again <= now || Hint { expires_ms: told.expires_ms, ..hint.clone() } != *told
            })
        };
        let due: Vec<Keyed> = all.iter().filter(|keyed| is_due(keyed)).cloned().collect();
        let keys: BTreeSet<[u8; 32]> = all.into_iter().map(|(key, _)| key).collect();
        self.told.retain(|key, _| keys.contains(key));
        due.iter().for_each(|keyed| self.note(keyed, now));
        due
    }

    /// Everything is to be told again: somebody new has an empty directory.
    pub(super) fn forget(&mut self) {
        self.told.clear();
    }
}

/// Where the directory keeps a partition or shard.
pub(super) fn key_of(key: PartitionKey) -> [u8; 32] {
    match key.as_shard() {
        Some(shard) => shard_key(shard.0.into()),
        None => partition_key(&key.topic.0, key.partition),
    }
}

/// Until when a hint of now is worth something.
fn expires_ms() -> u64 {
    u64::try_from(wall_ms()).unwrap_or(0).saturating_add(HINT_MS)
}

/// What this node tells of a partition; nothing when it does not know it.
pub(super) fn hint_of(node: &Node<FileDisk>, info: &LeaderInfo) -> Option<Keyed> {
    let descriptor = node.view().descriptor(info.key)?;
    let leader = node.view().node(info.leader);
    let hint = Hint {
        epoch: descriptor.epoch,
        term: info.term.0,
        leader: info.leader.0,
        expires_ms: expires_ms(),
        replicas: descriptor.replicas.iter().map(|replica| replica.node.0).collect(),
        addresses: leader.map(|leader| vec![leader.mesh.clone(), first_kafka(leader)]).unwrap_or_default(),
    };
    Some((key_of(info.key), hint))
}

/// What this node tells of everything it leads, and of itself.
pub(super) fn hints_of(node: &Node<FileDisk>) -> Vec<Keyed> {
    let me = node.identity().node;
    let led = node.replicas().filter_map(|replica| node.leader(replica.key));
    let mut hints: Vec<Keyed> =
        led.filter(|info| info.leader == me).filter_map(|info| hint_of(node, info)).collect();
    if let Some(info) = node.view().node(me) {
        let addresses = vec![info.mesh.clone(), first_kafka(info), info.http.clone()];
        let (epoch, term, expires_ms) = (node.boot(), 0, expires_ms());
        let hint = Hint { epoch, term, leader: me.0, expires_ms, replicas: vec![me.0], addresses };
        hints.push((node_key(me.0), hint));
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(n: u8, term: u32, replicas: &[i32], expires_ms: u64) -> Keyed {
        let (epoch, leader, replicas) = (1, 1, replicas.to_vec());
        ([n; 32], Hint { epoch, term, leader, expires_ms, replicas, addresses: vec!["a:1".into()] })
    }

    #[test]
    fn a_burst_is_quick_and_what_follows_is_slow() {
        let mut now = Instant::now();
        let mut burst = Burst::full(now);
        let mut took = |hints: u32, now: &mut Instant| {
            let began = *now;
            (0..hints).for_each(|_| *now += burst.pause(*now));
            now.duration_since(began)
        };
        assert!(took(BURST, &mut now) < 2 * PAUSE * BURST);
        took(BURST / 8, &mut now);
        assert_eq!(took(100, &mut now), PAUSE_LONG * 100);
        now += 2 * PAUSE_LONG * BURST;
        assert!(took(BURST, &mut now) < 2 * PAUSE * BURST, "after a rest");
    }

    #[test]
    fn what_changed_or_is_old_is_told_and_nothing_else() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let all = |expires_ms| vec![keyed(0, 1, &[1, 2], expires_ms), keyed(255, 1, &[1, 2], expires_ms)];
        assert_eq!(ledger.due(all(1), now), all(1), "all is new");
        assert!(ledger.due(all(2), now).is_empty(), "that it would be good for longer is no news");
        let moved = vec![keyed(0, 1, &[1, 3], 3), keyed(255, 1, &[1, 2], 3)];
        assert_eq!(ledger.due(moved.clone(), now), moved[..1], "a replica moved");
        let before = now + REPUBLISH * 3 / 4;
        assert_eq!(
            ledger.due(moved.clone(), before + REPUBLISH / 100),
            moved[1..],
            "each at a time of its own"
        );
        assert_eq!(ledger.due(moved.clone(), now + REPUBLISH), moved[..1]);
        ledger.note(&keyed(7, 1, &[1], 1), now);
        assert!(ledger.due(moved.clone(), now + REPUBLISH).is_empty());
        assert!(!ledger.told.contains_key(&[7; 32]), "not led any more");
        ledger.forget();
        assert_eq!(ledger.due(moved.clone(), now + REPUBLISH), moved);
    }
}
