//! Whom to dial, and when: each address is `idle` until due, then `busy` while a connection to it is set up
//! or lives.
//!
//! An idle address is dialed while its peer is not connected and it is *kept*, or was *wanted* a moment ago. In a small mesh
//! all of the registry's are kept; in a large one only those that the owner asked for and that the registry does not name.

use super::reach::FULL_MESH_OTHERS_MAX;
use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause after a failure or a loss; each further failure doubles it.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// With the second that a dial into the void takes this is what a network that healed waits for at most.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// The pause after a refusal: trying sooner would not change the answer.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// How long a peer that is not kept is dialed for after it was wanted last.
const WANTED: Duration = Duration::from_secs(3);

enum State {
    Idle { due: Instant },
    Resolving,
    Dialing(ConnectionId),
}

struct Target {
    state: State,
    backoff: Duration,
    /// Who answered there last, or who must according to the registry.
    peer: Option<PeerId>,
    /// The registry says who must answer.
    registered: bool,
    /// The owner asked for it by [`super::Transport::dial`].
    asked: bool,
    failures: usize,
    /// Dialed until then although it is not kept.
    wanted_until: Option<Instant>,
}

/// All addresses that this node wants to be connected to.
#[derive(Default)]
pub(super) struct Targets {
    all: BTreeMap<String, Target>,
    own: BTreeSet<String>,
    large: bool,
    /// When something is due as it was last found, unless something changed since.
    next: Option<Option<Instant>>,
}

impl Targets {
    /// Never dials `address`: it is this node itself.
    pub(super) fn is_self(&mut self, address: &str) {
        self.all.remove(address);
        self.own.insert(address.into());
    }

    /// Whether everyone in the registry is kept connected.
    pub(super) fn is_full_mesh(&self) -> bool {
        !self.large
    }

    fn entry(&mut self, address: String, now: Instant) -> Option<&mut Target> {
        if self.own.contains(&address) {
            return None;
        }
        self.next = None;
        Some(self.all.entry(address).or_insert(Target {
            state: State::Idle { due: now },
            backoff: BACKOFF_MIN,
            peer: None,
            registered: false,
            asked: false,
            failures: 0,
            wanted_until: None,
        }))
    }

    pub(super) fn ask(&mut self, address: String, now: Instant) {
        if let Some(target) = self.entry(address, now) {
            target.asked = true;
        }
    }

    /// The registry's addresses, in place of those of the registry before.
    pub(super) fn register(&mut self, peers: &BTreeMap<PeerId, Vec<String>>, now: Instant) {
        self.next = None;
        self.large = peers.len() > FULL_MESH_OTHERS_MAX;
        for target in self.all.values_mut() {
            target.registered = false;
        }
        for (peer, addresses) in peers {
            for address in addresses {
                if let Some(target) = self.entry(address.clone(), now) {
                    target.peer = Some(*peer);
                    target.registered = true;
                }
            }
        }
        self.all.retain(|_, target| target.asked || target.registered);
    }

    /// Who must answer at `address`, if the registry says so.
    pub(super) fn expected(&self, address: &str) -> Option<PeerId> {
        self.all.get(address).filter(|target| target.registered)?.peer
    }

    fn is_due(&self, target: &Target, connected: impl Fn(&PeerId) -> bool) -> Option<Instant> {
        let State::Idle { due } = target.state else { return None };
        if target.peer.as_ref().is_some_and(connected) {
            return None;
        }
        let kept = !self.large || !target.registered;
        (kept || target.wanted_until.is_some_and(|until| due < until)).then_some(due)
    }

    /// Addresses to resolve and dial now, each of which must be followed by `dialing` or `failed`, and when the next is due.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        connected: impl Fn(&PeerId) -> bool,
    ) -> (Vec<String>, Option<Instant>) {
        if let Some(next) = self.next
            && next.is_none_or(|next| now < next)
        {
            return (Vec::new(), next);
        }
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for (address, target) in &self.all {
            match self.is_due(target, &connected) {
                Some(at) if at <= now => due.push(address.clone()),
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        for address in &due {
            if let Some(target) = self.all.get_mut(address) {
                target.state = State::Resolving;
            }
        }
        self.next = Some(next);
        (due, next)
    }

    /// Dials `peer` for a while although it may not be kept. False when nothing is known of where it is, or when it was not reached
    /// the last time: it is dialed all the same, but not to be waited for.
    pub(super) fn want(&mut self, peer: &PeerId, now: Instant) -> bool {
        let mut hopeful = false;
        for target in self.all.values_mut().filter(|target| target.peer.as_ref() == Some(peer)) {
            target.wanted_until = Some(now + WANTED);
            self.next = None;
            hopeful |= target.failures == 0;
        }
        hopeful
    }

    /// Who is expected at `address`, or answered there last.
    pub(super) fn peer_at(&self, address: &str) -> Option<PeerId> {
        self.all.get(address)?.peer
    }

    /// How often `address` failed in a row: which of several resolved addresses is tried next.
    pub(super) fn failures(&self, address: &str) -> usize {
        self.all.get(address).map_or(0, |target| target.failures)
    }

    pub(super) fn dialing(&mut self, address: &str, connection: ConnectionId) {
        if let Some(target) = self.all.get_mut(address) {
            target.state = State::Dialing(connection);
        }
    }

    /// The address that `connection` was dialed for.
    pub(super) fn of(&self, connection: ConnectionId) -> Option<&str> {
        let found =
            self.all.iter().find(|(_, target)| matches!(target.state, State::Dialing(c) if c == connection));
        found.map(|(address, _)| address.as_str())
    }

    /// `connection` is of use, and `peer` answered: all addresses that are known as its own are as good as new.
    pub(super) fn succeeded(&mut self, connection: ConnectionId, peer: PeerId) {
        self.next = None;
        for target in self.all.values_mut() {
            if matches!(target.state, State::Dialing(dialed) if dialed == connection) {
                target.peer = Some(peer);
            }
            if target.peer == Some(peer) {
                target.backoff = BACKOFF_MIN;
                target.failures = 0;
            }
        }
    }

    /// The attempt failed, was refused, or its connection ended: due again after the pause.
    pub(super) fn failed(&mut self, address: &str, now: Instant) {
        self.next = None;
        if let Some(target) = self.all.get_mut(address) {
            target.state = State::Idle { due: now + target.backoff };
            target.backoff = (target.backoff * 2).min(BACKOFF_MAX);
            target.failures += 1;
        }
    }

    /// As [`Targets::failed`], after a longer pause.
    pub(super) fn refused(&mut self, connection: ConnectionId) {
        self.next = None;
        let address = self.of(connection).map(String::from);
        if let Some(target) = address.and_then(|address| self.all.get_mut(&address)) {
            target.backoff = REFUSED_PAUSE;
        }
    }

    /// `peer` is gone: all its addresses are tried soon, whatever their pause had grown to.
    pub(super) fn lost(&mut self, peer: &PeerId, now: Instant) {
        self.next = None;
        for target in self.all.values_mut().filter(|target| target.peer.as_ref() == Some(peer)) {
            if let State::Idle { due } = &mut target.state {
                target.backoff = BACKOFF_MIN;
                *due = now + BACKOFF_MIN;
            }
        }
    }

    /// The connection ended, and that says nothing against its address: `peer` is there, and may be dialed again at once.
    pub(super) fn parted(&mut self, connection: ConnectionId, peer: PeerId, now: Instant) {
        self.next = None;
        let address = self.of(connection).map(String::from);
        if let Some(target) = address.and_then(|address| self.all.get_mut(&address)) {
            target.state = State::Idle { due: now };
            if !target.registered {
                target.peer = Some(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(others: usize, now: Instant) -> (Targets, Vec<PeerId>) {
        let peers: Vec<PeerId> = (0..others).map(|_| PeerId::random()).collect();
        let registry =
            peers.iter().enumerate().map(|(at, peer)| (*peer, vec![format!("host-{at:03}:1")])).collect();
        let mut targets = Targets::default();
        targets.register(&registry, now);
        (targets, peers)
    }

    fn due(targets: &mut Targets, now: Instant) -> Vec<String> {
        targets.take_due(now, |_| false).0
    }

    #[test]
    fn a_small_mesh_is_full() {
        let now = Instant::now();
        let (mut targets, _) = targets(FULL_MESH_OTHERS_MAX, now);
        assert_eq!(due(&mut targets, now).len(), FULL_MESH_OTHERS_MAX);
        assert!(due(&mut targets, now).is_empty(), "all under way");
        targets.failed("host-007:1", now);
        assert!(due(&mut targets, now).is_empty());
        assert_eq!(due(&mut targets, now + BACKOFF_MAX), ["host-007:1"]);
    }

    #[test]
    fn a_large_mesh_is_dialed_on_demand_and_for_a_while() {
        let now = Instant::now();
        let (mut targets, peers) = targets(FULL_MESH_OTHERS_MAX + 1, now);
        assert!(due(&mut targets, now).is_empty());
        assert!(targets.want(&peers[3], now));
        assert!(!targets.want(&PeerId::random(), now), "nobody knows where it is");
        assert_eq!(due(&mut targets, now), ["host-003:1"]);
        assert!(targets.want(&peers[3], now), "on its way");
        targets.failed("host-003:1", now);
        assert!(!targets.want(&peers[3], now), "it was not reached the last time");
        let later = now + BACKOFF_MIN;
        assert_eq!(due(&mut targets, later), ["host-003:1"], "and is dialed all the same");
        targets.failed("host-003:1", now + WANTED);
        assert!(due(&mut targets, now + WANTED * 2).is_empty(), "nobody wants it any more");
        // What the owner asked for and the registry does not name is dialed until it answers.
        targets.ask("elsewhere:1".into(), now);
        assert_eq!(due(&mut targets, now), ["elsewhere:1"]);
    }
}
