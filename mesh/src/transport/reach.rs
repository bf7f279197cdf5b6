//! Connections on demand: in a mesh of more than [`FULL_MESH_OTHERS_MAX`] other nodes a connection is made when there is
//! something to say, and given up when nothing was said on it for a while.
//!
//! | in a large mesh | what happens |
//! |---|---|
//! | a frame for a registered peer that is not connected | it is held, the peer is dialed, the frame leaves once the peer proved itself |
//! | Kademlia wants to ask such a peer | it is dialed; not reached in [`WANTED_PATIENCE`], the query goes on without it |
//! | neither frames nor Kademlia used a connection for `idle_max` | one side says so and hangs up; both report `Parted` |
//! | more than [`LIVE_MANY`] connections live | the most idle are given up after [`IDLE_MIN`] |
//!
//! A peer whose last dial failed a moment ago is not waited for. In a small mesh everyone is dialed and kept, and only the
//! second row holds.

use super::actor::{Actor, Outgoing};
use super::frame::Kind;
use super::{Event, StreamClass};
use bytes::Bytes;
use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Up to so many other nodes in the registry everyone is connected with everyone. Each connection costs a ping a second, three
/// streams and some 100 KiB at either end.
pub const FULL_MESH_OTHERS_MAX: usize = 32;
/// What a peer that cannot be reached costs a lookup.
const WANTED_PATIENCE: Duration = Duration::from_millis(1500);
/// How long it is remembered since when a peer was wanted: longer than any query takes.
const WANTED_KEPT: Duration = Duration::from_secs(15);
/// A connection that nothing used for this long is given up while more than [`LIVE_MANY`] live.
const IDLE_MIN: Duration = Duration::from_secs(5);
const LIVE_MANY: usize = 64;
/// How often connections are looked through.
pub(super) const IDLE_SWEEP: Duration = Duration::from_secs(2);
/// Bytes that may wait for one peer to be reached, and for all of them.
const HELD_BYTES_MAX: usize = 256 << 10;
const HELD_BYTES_IN_ALL_MAX: usize = 8 << 20;
/// A frame that waited longer is not sent any more: whoever sent it has long tried again.
const HELD_MAX: Duration = Duration::from_secs(3);

struct Wanted {
    since: Instant,
    /// Until when queries wait for it; none once it is connected.
    until: Option<Instant>,
}

/// Whom Kademlia wanted to ask lately, and when idle connections are looked for.
pub(super) struct Reach {
    wanted: BTreeMap<PeerId, Wanted>,
    pub(super) sweep_at: Instant,
}

impl Default for Reach {
    fn default() -> Reach {
        Reach { wanted: BTreeMap::new(), sweep_at: Instant::now() + IDLE_SWEEP }
    }
}

impl Reach {
    /// Since when a peer was dialed for a query, if it was lately.
    pub(super) fn since(&self, peer: &PeerId) -> Option<Instant> {
        self.wanted.get(peer).map(|wanted| wanted.since)
    }

    /// When [`Actor::give_up_wanted`] is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.wanted.values().filter_map(|wanted| wanted.until).min()
    }

    pub(super) fn reached(&mut self, peer: &PeerId) {
        if let Some(wanted) = self.wanted.get_mut(peer) {
            wanted.until = None;
        }
    }
}

/// A frame on its way to a peer that is being dialed.
struct HeldFrame {
    class: StreamClass,
    lane: usize,
    body: Bytes,
    since: Instant,
}

/// Frames that wait for their peer to be reached.
#[derive(Default)]
pub(super) struct Held {
    frames: Mutex<(BTreeMap<PeerId, Vec<HeldFrame>>, usize)>,
}

impl Held {
    /// Keeps a frame, unless too many wait already.
    pub(super) fn keep(&self, peer: PeerId, class: StreamClass, lane: usize, body: Bytes) -> bool {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, in_all) = &mut *frames;
        let own = held.entry(peer).or_default();
        let waiting: usize = own.iter().map(|frame| frame.body.len()).sum();
        let fits = waiting + body.len() <= HELD_BYTES_MAX && *in_all + body.len() <= HELD_BYTES_IN_ALL_MAX;
        if fits {
            *in_all += body.len();
            own.push(HeldFrame { class, lane, body, since: Instant::now() });
        }
        fits
    }

    /// Hands over what waits for a peer and is still fresh, in the order of coming.
    pub(super) fn release(&self, peer: &PeerId, mut send: impl FnMut(StreamClass, usize, Bytes)) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = frames.0.remove(peer) else { return };
        frames.1 -= own.iter().map(|frame| frame.body.len()).sum::<usize>();
        for frame in own.into_iter().filter(|frame| frame.since.elapsed() <= HELD_MAX) {
            send(frame.class, frame.lane, frame.body);
        }
    }

    fn drop_old(&self) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, in_all) = &mut *frames;
        for own in held.values_mut() {
            own.retain(|frame| frame.since.elapsed() <= HELD_MAX);
        }
        held.retain(|_, own| !own.is_empty());
        *in_all = held.values().flatten().map(|frame| frame.body.len()).sum();
    }
}

impl Actor {
    /// A query wants to ask a peer that is not connected.
    pub(super) fn on_wanted(&mut self, peer: PeerId) {
        // Connected meanwhile, it was asked by that.
        if self.swarm.is_connected(&peer) {
            return;
        }
        let now = Instant::now();
        let hopeful = self.targets.want(&peer, now);
        let until = hopeful.then(|| now + WANTED_PATIENCE);
        self.reach.wanted.entry(peer).or_insert(Wanted { since: now, until: None }).until = until;
        if !hopeful {
            self.swarm.behaviour_mut().directory.fail(peer);
        }
    }

    /// Queries go on without peers that could not be reached.
    pub(super) fn give_up_wanted(&mut self, now: Instant) {
        let late: Vec<PeerId> = self
            .reach
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.until.is_some_and(|until| until <= now))
            .map(|(peer, _)| *peer)
            .collect();
        late.iter().for_each(|peer| self.unreached(peer));
    }

    /// A dial of `peer` came to nothing.
    pub(super) fn unreached(&mut self, peer: &PeerId) {
        let waited = self.reach.wanted.get_mut(peer).and_then(|wanted| wanted.until.take());
        if waited.is_some() {
            self.swarm.behaviour_mut().directory.fail(*peer);
        }
    }

    /// Gives idle connections of a large mesh up, and forgets what is old.
    pub(super) fn sweep_idle(&mut self, now: Instant) {
        self.reach.sweep_at = now + IDLE_SWEEP;
        self.reach.wanted.retain(|_, wanted| wanted.until.is_some() || now - wanted.since < WANTED_KEPT);
        self.shared.held.drop_old();
        self.publish_again();
        let used = self.swarm.behaviour_mut().directory.take_used();
        let mut idle = self.connections.idle(&used, now);
        if self.targets.is_full_mesh() {
            return;
        }
        idle.sort_by_key(|(_, since)| *since);
        let many = idle.len().saturating_sub(LIVE_MANY);
        for (nth, (id, since)) in idle.into_iter().enumerate() {
            let patience = if nth < many { IDLE_MIN } else { self.config.idle_max };
            if now - since >= patience {
                self.part(id, true);
            }
        }
    }

    /// Gives a live connection up that nobody used; `tells` the peer so.
    pub(super) fn part(&mut self, id: ConnectionId, tells: bool) {
        let Some((peer, link)) = self.connections.take_live(id) else { return };
        self.targets.parted(id, peer, Instant::now());
        self.shared.set_link(peer, None);
        self.outbox.push_back(Outgoing { event: Some(Event::Parted { peer }), readers: None });
        if tells {
            if let Some(link) = link {
                link.send(StreamClass::Control, 0, Kind::Parting, Bytes::new());
            }
            self.drain(id, None);
        } else {
            self.swarm.close_connection(id);
        }
        self.promote_newest(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_frames_are_bounded_and_leave_in_order() {
        let (held, peer, other) = (Held::default(), PeerId::random(), PeerId::random());
        let body = |n: u8| Bytes::from(vec![n; HELD_BYTES_MAX / 2]);
        assert!(held.keep(peer, StreamClass::Rpc, 0, body(1)));
        assert!(held.keep(peer, StreamClass::Rpc, 0, body(2)));
        assert!(!held.keep(peer, StreamClass::Rpc, 0, body(3)), "the peer's bound");
        assert!(held.keep(other, StreamClass::Control, 1, body(4)));
        let mut sent = Vec::new();
        held.release(&peer, |class, lane, body| sent.push((class, lane, body[0])));
        assert_eq!(sent, [(StreamClass::Rpc, 0, 1), (StreamClass::Rpc, 0, 2)]);
        held.release(&peer, |_, _, _| panic!("released once"));
        for _ in 0..HELD_BYTES_IN_ALL_MAX / HELD_BYTES_MAX {
            held.keep(PeerId::random(), StreamClass::Rpc, 0, Bytes::from(vec![0; HELD_BYTES_MAX]));
        }
        assert!(held.keep(PeerId::random(), StreamClass::Rpc, 0, body(5)), "the last that fits");
        assert!(!held.keep(PeerId::random(), StreamClass::Rpc, 0, body(6)), "the bound of all");
        held.release(&other, |_, _, _| {});
        assert!(held.keep(PeerId::random(), StreamClass::Rpc, 0, body(6)));
    }
}
