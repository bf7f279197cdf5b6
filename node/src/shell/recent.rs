//! What happened lately, for `/v1/state` and `/v1/nodes`: written by whoever sees it happen, read when somebody asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::PeerId;
use tokio::time::Instant;

/// What is looked back on at least, and at most twice that.
const WINDOW: Duration = Duration::from_secs(60);
/// Arrivals of one peer that are remembered.
const ARRIVALS_MAX: usize = 8;
/// Peers that are remembered; they proved the mesh's secret.
const PEERS_MAX: usize = 1_024;
/// Of why one was turned away.
const REASON_CHARS_MAX: usize = 1_024;

/// Since when something is the case, if it is: at one place, or at the first of several.
#[derive(Debug, Default)]
pub(super) struct Since(Mutex<BTreeMap<usize, Instant>>);

impl Since {
    /// It is, or is not; saying the same again changes nothing.
    pub(super) fn set(&self, is: bool) {
        self.set_at(0, is);
    }

    /// The same of one place.
    pub(super) fn set_at(&self, place: usize, is: bool) {
        let mut since = lock(&self.0);
        if is {
            since.entry(place).or_insert_with(Instant::now);
        } else {
            since.remove(&place);
        }
    }

    /// Milliseconds.
    pub(super) fn ms(&self) -> Option<u64> {
        lock(&self.0).values().min().map(|since| millis(since.elapsed()))
    }
}

/// The longest of some durations within the last minute or two.
#[derive(Debug, Default)]
pub(super) struct Slowest(Mutex<Option<Window>>);

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    now: Duration,
    before: Duration,
}

impl Slowest {
    /// Counts one.
    pub(super) fn took(&self, took: Duration) {
        let mut window = lock(&self.0);
        let mut turned = turned(*window);
        turned.now = turned.now.max(took);
        *window = Some(turned);
    }

    /// Milliseconds.
    pub(super) fn ms(&self) -> u64 {
        let window = turned(*lock(&self.0));
        millis(window.now.max(window.before))
    }
}

fn turned(window: Option<Window>) -> Window {
    let now = Instant::now();
    let empty = Window { began: now, now: Duration::ZERO, before: Duration::ZERO };
    match window {
        Some(window) if window.began.elapsed() < WINDOW => window,
        Some(window) if window.began.elapsed() < WINDOW * 2 => Window { before: window.now, ..empty },
        _ => empty,
    }
}

/// The comings and goings of other nodes since this process began.
#[derive(Debug, Default)]
pub(super) struct Visits(Mutex<BTreeMap<PeerId, Visit>>);

#[derive(Clone, Debug, Default)]
struct Visit {
    arrivals: VecDeque<Instant>,
    left: Option<Instant>,
    outlived: Option<Instant>,
    turned_away: Option<(Instant, String)>,
}

/// One node's, each in milliseconds before now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The latest connects, the last one first.
    pub(super) arrivals_ms_ago: Vec<u64>,
    /// Since when it is gone; nothing while it is connected.
    pub(super) left_ms_ago: Option<u64>,
    /// When it last spoke from an old copy of its data directory.
    pub(super) old_copy_ms_ago: Option<u64>,
}

impl Visits {
    /// A peer connected.
    pub(super) fn came(&self, peer: PeerId) {
        self.note(peer, |visit| {
            visit.left = None;
            visit.arrivals.push_front(Instant::now());
            visit.arrivals.truncate(ARRIVALS_MAX);
        });
    }

    /// Its last connection ended.
    pub(super) fn left(&self, peer: PeerId) {
        self.note(peer, |visit| visit.left = Some(Instant::now()));
    }

    /// It was told that its data directory went on without it.
    pub(super) fn outlived(&self, peer: PeerId) {
        self.note(peer, |visit| visit.outlived = Some(Instant::now()));
    }

    /// It is not let in, or asks to be and has to wait: why.
    pub(super) fn turned_away(&self, peer: PeerId, reason: &str) {
        let reason = reason.chars().take(REASON_CHARS_MAX).collect();
        self.note(peer, |visit| visit.turned_away = Some((Instant::now(), reason)));
    }

    /// Who was, within the last minute, by the peer id as text.
    pub(super) fn turned_away_lately(&self) -> BTreeMap<String, (u64, String)> {
        let lately = |(peer, visit): (&PeerId, &Visit)| {
            let (at, reason) = visit.turned_away.as_ref().filter(|(at, _)| at.elapsed() < WINDOW)?;
            Some((peer.to_string(), (millis(at.elapsed()), reason.clone())))
        };
        lock(&self.0).iter().filter_map(lately).collect()
    }

    fn note(&self, peer: PeerId, change: impl FnOnce(&mut Visit)) {
        let mut all = lock(&self.0);
        if all.len() < PEERS_MAX || all.contains_key(&peer) {
            change(all.entry(peer).or_default());
        }
    }

    /// What is known, by the bytes of the peer id.
    pub(super) fn told(&self) -> BTreeMap<Vec<u8>, Told> {
        let ago = |at: &Instant| millis(at.elapsed());
        let one = |(peer, visit): (&PeerId, &Visit)| {
            let told = Told {
                arrivals_ms_ago: visit.arrivals.iter().map(ago).collect(),
                left_ms_ago: visit.left.as_ref().map(ago),
                old_copy_ms_ago: visit.outlived.as_ref().map(ago),
            };
            (peer.to_bytes(), told)
        };
        lock(&self.0).iter().map(one).collect()
    }
}

/// Milliseconds of a duration.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_told_from_its_begin() {
        let since = Since::default();
        assert_eq!(since.ms(), None);
        since.set(true);
        advance(Duration::from_millis(70)).await;
        since.set(true);
        assert_eq!(since.ms(), Some(70));
        since.set(false);
        assert_eq!(since.ms(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_is_forgotten_after_two_windows() {
        let slowest = Slowest::default();
        assert_eq!(slowest.ms(), 0);
        slowest.took(Duration::from_millis(900));
        slowest.took(Duration::from_millis(3));
        assert_eq!(slowest.ms(), 900);
        advance(WINDOW).await;
        slowest.took(Duration::from_millis(5));
        assert_eq!(slowest.ms(), 900);
        advance(WINDOW).await;
        assert_eq!(slowest.ms(), 5);
        advance(WINDOW * 2).await;
        assert_eq!(slowest.ms(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_comes_and_goes_leaves_a_bounded_trace() {
        let (visits, peer) = (Visits::default(), PeerId::random());
        for _ in 0..20 {
            visits.came(peer);
            advance(Duration::from_millis(10)).await;
        }
        visits.left(peer);
        visits.outlived(peer);
        advance(Duration::from_millis(5)).await;
        let told = visits.told()[&peer.to_bytes()].clone();
        assert_eq!((told.arrivals_ms_ago.len(), told.arrivals_ms_ago[1]), (ARRIVALS_MAX, 25));
        assert_eq!((told.left_ms_ago, told.old_copy_ms_ago), (Some(5), Some(5)));
        visits.came(peer);
        assert_eq!(visits.told()[&peer.to_bytes()].left_ms_ago, None);
    }
}
