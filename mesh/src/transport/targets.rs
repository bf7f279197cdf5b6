//! Whom to dial, and when: each address is `idle` until due, then `busy` while a connection to it is set up
//! or lives.

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause after a failure or a loss; each further failure doubles it.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

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
}

/// All addresses that this node wants to be connected to.
#[derive(Default)]
pub(super) struct Targets {
    all: BTreeMap<String, Target>,
    own: BTreeSet<String>,
}

impl Targets {
    /// Never dials `address`: it is this node itself.
    pub(super) fn is_self(&mut self, address: &str) {
        self.all.remove(address);
        self.own.insert(address.into());
    }

    fn entry(&mut self, address: String, now: Instant) -> Option<&mut Target> {
        if self.own.contains(&address) {
            return None;
        }
        Some(self.all.entry(address).or_insert(Target {
            state: State::Idle { due: now },
            backoff: BACKOFF_MIN,
            peer: None,
            registered: false,
            asked: false,
            failures: 0,
        }))
    }

    pub(super) fn ask(&mut self, address: String, now: Instant) {
        if let Some(target) = self.entry(address, now) {
            target.asked = true;
        }
    }

    /// The registry's addresses, in place of those of the registry before.
    pub(super) fn register(&mut self, peers: &BTreeMap<PeerId, Vec<String>>, now: Instant) {
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

    fn is_due(target: &Target, connected: impl Fn(&PeerId) -> bool) -> Option<Instant> {
        match target.state {
            State::Idle { due } if !target.peer.as_ref().is_some_and(connected) => Some(due),
            _ => None,
        }
    }

    /// When the next address is due.
    pub(super) fn next_due(&self, connected: impl Fn(&PeerId) -> bool) -> Option<Instant> {
        self.all.values().filter_map(|target| Targets::is_due(target, &connected)).min()
    }

    /// Addresses to resolve and dial now; each must be followed by `dialing` or `failed`.
    pub(super) fn take_due(&mut self, now: Instant, connected: impl Fn(&PeerId) -> bool) -> Vec<String> {
        let mut due = Vec::new();
        for (address, target) in &mut self.all {
            if Targets::is_due(target, &connected).is_some_and(|at| at <= now) {
                target.state = State::Resolving;
                due.push(address.clone());
            }
        }
        due
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

    /// The connection for `address` is of use, and `peer` answered there.
    pub(super) fn succeeded(&mut self, connection: ConnectionId, peer: PeerId) {
        let address = self.of(connection).map(String::from);
        if let Some(target) = address.and_then(|address| self.all.get_mut(&address)) {
            target.peer = Some(peer);
            target.backoff = BACKOFF_MIN;
            target.failures = 0;
        }
    }

    /// The attempt failed, was refused, or its connection ended: due again after the pause.
    pub(super) fn failed(&mut self, address: &str, now: Instant) {
        if let Some(target) = self.all.get_mut(address) {
            target.state = State::Idle { due: now + target.backoff };
            target.backoff = (target.backoff * 2).min(BACKOFF_MAX);
            target.failures += 1;
        }
    }

    /// As [`Targets::failed`], after the longest pause: trying sooner would not change the answer.
    pub(super) fn refused(&mut self, connection: ConnectionId) {
        let address = self.of(connection).map(String::from);
        if let Some(target) = address.and_then(|address| self.all.get_mut(&address)) {
            target.backoff = BACKOFF_MAX;
        }
    }

    /// `peer` is gone: all its addresses are tried soon, whatever their pause had grown to.
    pub(super) fn lost(&mut self, peer: &PeerId, now: Instant) {
        for target in self.all.values_mut().filter(|target| target.peer.as_ref() == Some(peer)) {
            if let State::Idle { due } = &mut target.state {
                target.backoff = BACKOFF_MIN;
                *due = now + BACKOFF_MIN;
            }
        }
    }
}
