//! How far this machine's clock is off from those of the other nodes: each tells the others its time every few seconds.
//!
//! Nothing that is agreed on depends on it, but records carry producers' and nodes' times, and retention by time goes by them. The
//! figure includes the time on the way, which is why only what is far off is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libp2p::PeerId;

/// How often a node tells its time.
pub(super) const EVERY: Duration = Duration::from_secs(3);
/// Further off than that is told.
const FAR_MS: i64 = 2_000;
/// Nearer than that is told as well, once it was far off.
const NEAR_MS: i64 = 1_000;

/// The clocks of connected peers, compared with this machine's.
#[derive(Debug, Default)]
pub(super) struct Clocks(Mutex<BTreeMap<PeerId, Offset>>);

#[derive(Clone, Copy, Debug, Default)]
struct Offset {
    /// Theirs less ours.
    ms: i64,
    far: bool,
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
        let ms = theirs.saturating_sub(ours);
        let was_far = all.get(&peer).is_some_and(|before| before.far);
        let far = ms.saturating_abs() >= if was_far { NEAR_MS } else { FAR_MS };
        all.insert(peer, Offset { ms, far });
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
        all.iter().map(|(peer, offset)| (*peer, offset.ms)).collect()
    }
}

/// When more than half of several peers are off to the same side, the clock that is wrong is this one.
fn own_fault(all: &BTreeMap<PeerId, Offset>, ms: i64) -> Option<i64> {
    let same_side = all.values().filter(|offset| offset.far && (offset.ms > 0) == (ms > 0)).count();
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
        assert_eq!(clocks.heard(peer, 2_000, 10_000), Verdict::Peer(-8_000));
        assert_eq!(clocks.heard(peer, 3_000, 10_000), Verdict::Same);
        assert_eq!(clocks.heard(peer, 8_500, 10_000), Verdict::Same, "not near enough yet");
        assert_eq!(clocks.heard(peer, 9_500, 10_000), Verdict::Agrees);
        assert_eq!(clocks.offsets()[&peer], -500);
        clocks.forget(&peer);
        assert!(clocks.offsets().is_empty());
        assert_eq!(clocks.heard(peer, i64::MAX, i64::MIN), Verdict::Peer(i64::MAX));
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
