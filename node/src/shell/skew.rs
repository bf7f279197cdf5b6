//! How far this machine's clock is off from those of the other nodes: each tells the others its time every few seconds.
//!
//! Nothing that is agreed on depends on it, but records carry producers' and nodes' times, and retention by time goes by them.
//!
//! What is heard is late by the time on the way, which a machine that is overloaded makes long, and never early: so of the last few
//! times that a peer told, the one that came quickest says most (as NTP's clock filter has it, RFC 5905 section 10), and that is the one
//! by which its clock is least behind. Only what is far off is told, and that a clock is behind only after several times.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libp2p::PeerId;

/// How often a node tells its time.
pub(super) const EVERY: Duration = Duration::from_secs(3);
/// So many of the last times that a peer told are kept.
const KEPT: usize = 4;
/// Further off than that is told.
const FAR_MS: i64 = 2_000;
/// Nearer than that is told as well, once it was far off.
const NEAR_MS: i64 = 1_000;

/// The clocks of connected peers, compared with this machine's.
#[derive(Debug, Default)]
pub(super) struct Clocks(Mutex<BTreeMap<PeerId, Offset>>);

#[derive(Clone, Debug, Default)]
struct Offset {
    /// Theirs less ours, the last times; never empty.
    heard: VecDeque<i64>,
    far: bool,
}

impl Offset {
    /// By the one that was least on the way.
    fn ms(&self) -> i64 {
        self.heard.iter().copied().max().unwrap_or_default()
    }

    /// Takes another one.
    fn hear(&mut self, ms: i64) {
        if self.heard.len() == KEPT {
            self.heard.pop_front();
        }
        self.heard.push_back(ms);
        let off = self.ms();
        let bound = if self.far { NEAR_MS } else { FAR_MS };
        let sure = off > 0 || self.far || self.heard.len() == KEPT;
        self.far = sure && off.saturating_abs() >= bound;
    }
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Same,
    /// The peer's clock is off by that much, ahead when positive.
    Peer(i64),
    /// This machine's is, from most others; ahead when positive.
    Own(i64),
    /// The two agree again.
    Agrees,
}

impl Clocks {
    /// A peer told its time; both in milliseconds since 1970.
    pub(super) fn heard(&self, peer: PeerId, theirs: i64, ours: i64) -> Verdict {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = all.entry(peer).or_default();
        let was_far = offset.far;
        offset.hear(theirs.saturating_sub(ours));
        let (ms, far) = (offset.ms(), offset.far);
        match (was_far, far) {
            (false, true) => own_fault(&all, ms).map_or(Verdict::Peer(ms), Verdict::Own),
            (true, false) => Verdict::Agrees,
            _ => Verdict::Same,
        }
    }

    /// The peer is gone, and its clock with it.
    pub(super) fn forget(&self, peer: &PeerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(peer);
    }

    /// Milliseconds that each connected peer's clock is ahead of this one.
    pub(super) fn offsets(&self) -> BTreeMap<PeerId, i64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(peer, offset)| (*peer, offset.ms())).collect()
    }
}

/// When more than half of several peers are off to the same side, the clock that is wrong is this one.
fn own_fault(all: &BTreeMap<PeerId, Offset>, ms: i64) -> Option<i64> {
    let same_side = all.values().filter(|offset| offset.far && (offset.ms() > 0) == (ms > 0)).count();
    (same_side >= 2 && same_side * 2 > all.len()).then(|| ms.saturating_neg())
}

/// Says it.
pub(super) fn tell(verdict: Verdict, peer_address: &str) {
    let side = |ms: i64| if ms > 0 { "ahead of" } else { "behind" };
    let seconds = |ms: i64| format!("{}.{} s", ms.saturating_abs() / 1000, ms.saturating_abs() % 1000 / 100);
    match verdict {
        Verdict::Same => {}
        Verdict::Peer(ms) => tracing::warn!(
            "the clock of the node at {peer_address} is {} {} this one's: timestamps and retention by time go wrong. Check the time \
             service of both machines (timedatectl, chronyc tracking)",
            seconds(ms),
            side(ms)
        ),
        Verdict::Own(ms) => tracing::error!(
            "the clock of this machine is {} {} those of most other nodes: timestamps and retention by time go wrong. Check its time \
             service (timedatectl, chronyc tracking)",
            seconds(ms),
            side(ms)
        ),
        Verdict::Agrees => {
            tracing::info!("the clocks of this node and of the one at {peer_address} agree again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_clock_is_told_once_and_once_more_when_it_is_right() {
        let (clocks, peer) = (Clocks::default(), PeerId::random());
        assert_eq!(clocks.heard(peer, 10_500, 10_000), Verdict::Same);
        for _ in 1..KEPT {
            assert_eq!(clocks.heard(peer, 2_000, 10_000), Verdict::Same, "late, or behind");
        }
        assert_eq!(clocks.heard(peer, 2_000, 10_000), Verdict::Peer(-8_000));
        assert_eq!(clocks.heard(peer, 3_000, 10_000), Verdict::Same);
        assert_eq!(clocks.heard(peer, 8_500, 10_000), Verdict::Same, "not near enough yet");
        assert_eq!(clocks.heard(peer, 9_500, 10_000), Verdict::Agrees);
        assert_eq!(clocks.offsets()[&peer], -500);
        clocks.forget(&peer);
        assert!(clocks.offsets().is_empty());
        assert_eq!(clocks.heard(peer, i64::MAX, i64::MIN), Verdict::Peer(i64::MAX), "nothing is early");
    }

    #[test]
    fn what_comes_late_is_no_clock_that_is_wrong() {
        let (clocks, peer) = (Clocks::default(), PeerId::random());
        for late in [4_000, 6_000, 3_000, 20, 5_000, 9_000, 2_500, 40, 8_000] {
            assert_eq!(clocks.heard(peer, 10_000 - late, 10_000), Verdict::Same, "{late} ms on the way");
        }
        assert_eq!(clocks.offsets()[&peer], -40);
    }

    #[test]
    fn when_most_others_differ_this_clock_is_the_wrong_one() {
        let (clocks, now) = (Clocks::default(), 100_000);
        let peers = [PeerId::random(), PeerId::random(), PeerId::random()];
        assert_eq!(clocks.heard(peers[0], now, now), Verdict::Same);
        assert_eq!(clocks.heard(peers[1], now + 9_000, now), Verdict::Peer(9_000));
        assert_eq!(clocks.heard(peers[2], now + 9_100, now), Verdict::Own(-9_100));
    }
}
