//! Who is alive, as a property of nodes: one coalesced heartbeat per pair of nodes that share a partition, for all
//! that they share. Pure: time comes in, events go out. Of all other nodes [`swim`](crate::swim) tells.
//!
//! Both ends of a pair must watch each other, and one may know first that they share. So who is watched by a node
//! that says that they share watches back, as a *guest*: for as long as the other says so.
//!
//! A peer is **live** while all of this holds: a heartbeat of its current boot came within the timeout, that
//! heartbeat said that the peer hears us, and it did not call its own disk stuck. So a one-way split is seen
//! by both ends, and a node whose disk hangs does not vouch for the replicas it leads.
//!
//! ```text
//! silent --heartbeat that hears us--> live             Up
//! live   --no heartbeat for the timeout--> silent      Down
//! live   --connection closed--> silent                 Down at once, a hint that a heartbeat refutes
//! live   --heartbeat without us, or disk stuck--> deaf Down
//! any    --heartbeat of another boot--> as new         Down if it was live, then Restarted
//! live   --heartbeat that admits more than before--> live  Faltered
//! ```
//!
//! Liveness only ever makes replicas campaign or wait; safety never rests on it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::life::Life;
use crate::raft::{Incarnation, NodeId, Time};

/// Nodes that are watched back, at most: more than a mesh has.
const GUESTS_MAX: usize = 4096;

/// Timing of the detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessConfig {
    /// Microseconds between two heartbeats to one peer.
    pub interval_us: u64,
    /// Microseconds of silence after which a peer is suspected. Should be several intervals.
    pub timeout_us: u64,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self { interval_us: 200_000, timeout_us: 1_200_000 }
    }
}

/// How a node's workers fare, as the node itself sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Commit rounds synced since boot. For people and metrics.
    pub progress: u64,
    /// Duration of the latest sync in microseconds.
    pub sync_latency_us: u32,
    /// A sync has been running for longer than the node thinks a working disk takes.
    pub disk_stuck: bool,
}

/// What one node tells a peer, some five times a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The life of the sender's data directory; boot numbers begin again with a new one.
    pub incarnation: Incarnation,
    /// Boot number of the sender's data directory; rises with each start.
    pub boot: u64,
    /// Rises with each heartbeat within one boot; old and repeated ones are dropped.
    pub sequence: u64,
    /// Whether the sender had a heartbeat of the receiver within its timeout.
    pub hears_you: bool,
    /// Whether the sender knows of a partition that it shares with the receiver; if not it only answers.
    pub shares: bool,
    /// State of the sender's workers.
    pub health: Health,
    /// How many replicas that led ceased at the sender since its boot without telling their replica sets.
    pub faltered: u64,
}

/// What happens to the detector.
#[derive(Clone, Debug)]
pub enum Input {
    /// A deadline passed.
    Tick,
    /// A peer's heartbeat arrived.
    Heartbeat {
        /// The authenticated sender.
        from: NodeId,
        /// What it said.
        heartbeat: Heartbeat,
    },
    /// The last connection to a peer closed.
    Disconnected(NodeId),
    /// A connection to a peer is open.
    Connected(NodeId),
    /// The nodes that share a partition with this one: to watch from now on.
    Peers(BTreeSet<NodeId>),
    /// A replica that led here is no longer, and its replica set does not know: told to all at once.
    Faltered,
    /// This node's own health, sent with the next heartbeats. At once when the disk became stuck or free.
    Health(Health),
}

/// What the detector says. `Up` and `Down` of one peer alternate, beginning with `Up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer is live.
    Up(NodeId),
    /// The peer is no longer live.
    Down(NodeId),
    /// The peer runs as another process than before. Follows `Down` if it was live; `Up` comes when it hears
    /// us.
    Restarted(NodeId),
    /// The peer is live, but replicas of it that led ceased: it vouches for none of those that were quiet.
    Faltered(NodeId),
    /// Send this now; a loss costs nothing.
    Send(NodeId, Heartbeat),
}

/// What is known of one peer.
#[derive(Debug, Default)]
struct Peer {
    /// When it began to be watched.
    since: Time,
    /// When the last fresh heartbeat came; `None` after the timeout or a closed connection.
    heard: Option<Time>,
    /// Life, boot and sequence of the newest heartbeat.
    latest: Option<(Incarnation, u64, u64)>,
    /// Lives that another one followed, each with the boot and sequence of its newest heartbeat.
    past: BTreeMap<Incarnation, (u64, u64)>,
    hears_us: bool,
    /// It says that it shares a partition with this node, which knows of none.
    guest: bool,
    /// What it said last of whether they share.
    shares: bool,
    health: Health,
    faltered: u64,
    live: bool,
}

/// The failure detector of one node.
#[derive(Debug)]
pub struct Liveness {
    me: NodeId,
    incarnation: Incarnation,
    boot: u64,
    config: LivenessConfig,
    health: Health,
    faltered: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// Heartbeats sent to all peers. The number goes on when a peer is no longer watched and watched again, or what it is told
    /// then would seem old to it.
    sent: u64,
    next_send: Time,
}

impl Liveness {
    /// A detector without peers. `incarnation` and `boot` tell this process from every other of this node.
    pub fn new(me: NodeId, incarnation: Incarnation, boot: u64, config: LivenessConfig, now: Time) -> Self {
        Self {
            me,
            incarnation,
            boot,
            config,
            health: Health::default(),
            faltered: 0,
            peers: BTreeMap::new(),
            sent: 0,
            next_send: now,
        }
    }

    /// Something else came from a peer that is heard: as good as a heartbeat for saying that it is there. Heartbeats wait among all else that
    /// a busy node has to say, and to hear.
    pub fn hear_of(&mut self, now: Time, from: NodeId, life: Life) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let of_process = |(incarnation, boot, _)| (incarnation, boot) == (life.incarnation, life.boot);
        if peer.latest.is_some_and(of_process) {
            peer.heard = peer.heard.map(|_| now);
        }
    }

    /// Takes one input. Deadlines that passed by `now` are served first, whatever the input is.
    pub fn step(&mut self, now: Time, input: Input) -> Vec<Event> {
        let mut events = Vec::new();
        self.forgive_own_stall(now);
        match input {
            Input::Tick => {}
            Input::Heartbeat { from, heartbeat } => self.hear(now, from, heartbeat, &mut events),
            Input::Disconnected(node) => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.heard = None;
                }
                self.judge(node, &mut events);
            }
            Input::Connected(node) => self.send(node, &mut events),
            Input::Peers(nodes) => self.watch(now, nodes, &mut events),
            Input::Faltered => {
                self.faltered += 1;
                self.send_all(now, &mut events);
            }
            Input::Health(health) => {
                let turned = health.disk_stuck != self.health.disk_stuck;
                self.health = health;
                if turned {
                    self.send_all(now, &mut events);
                }
            }
        }
        self.expire(now, &mut events);
        if now >= self.next_send {
            self.send_all(now, &mut events);
        }
        events
    }

    /// When [`Input::Tick`] is due; `None` without peers.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.peers.is_empty() {
            return None;
        }
        let expiry = self.peers.values().filter_map(|peer| peer.heard).map(|heard| self.expiry(heard)).min();
        Some(expiry.map_or(self.next_send, |expiry| expiry.min(self.next_send)))
    }

    /// Whether a peer is live. This node is always live to itself.
    pub fn is_live(&self, node: NodeId) -> bool {
        node == self.me || self.peers.get(&node).is_some_and(|peer| peer.live)
    }

    /// The live nodes, this one included.
    pub fn live(&self) -> BTreeSet<NodeId> {
        let peers = self.peers.iter().filter(|(_, peer)| peer.live).map(|(&node, _)| node);
        peers.chain([self.me]).collect()
    }

    /// The peers this node had a heartbeat of within the timeout, whether they hear it or not.
    pub fn hears(&self) -> BTreeSet<NodeId> {
        self.peers.iter().filter(|(_, peer)| peer.heard.is_some()).map(|(&node, _)| node).collect()
    }

    /// The peers that are watched, guests among them.
    pub fn watched(&self) -> impl Iterator<Item = NodeId> {
        self.peers.keys().copied()
    }

    /// Whether a peer is watched.
    pub fn watches(&self, node: NodeId) -> bool {
        self.peers.contains_key(&node)
    }

    /// Whether a peer is live, if this detector can say: not of nodes that it does not watch, and not of one that it began to
    /// watch within the timeout and has not heard of yet.
    pub fn verdict(&self, now: Time, node: NodeId) -> Option<bool> {
        let peer = self.peers.get(&node)?;
        let told = peer.latest.is_some() || now.since(peer.since) >= self.config.timeout_us;
        told.then_some(peer.live)
    }

    /// Boot number and health a peer told last.
    pub fn told(&self, node: NodeId) -> Option<(u64, Health)> {
        let peer = self.peers.get(&node)?;
        peer.latest.map(|(_, boot, _)| (boot, peer.health))
    }

    /// How often this node admitted that replicas ceased.
    pub fn faltered(&self) -> u64 {
        self.faltered
    }

    /// How often a peer admitted it, as it told last.
    pub fn faltered_at(&self, node: NodeId) -> u64 {
        self.peers.get(&node).map_or(0, |peer| peer.faltered)
    }

    fn expiry(&self, heard: Time) -> Time {
        Time(heard.0.saturating_add(self.config.timeout_us))
    }

    /// When this process itself stood still (stopped, or starved of CPU), the silence says nothing about the
    /// peers, whose heartbeats may be waiting to be read: everyone heard of before gets one more interval.
    fn forgive_own_stall(&mut self, now: Time) {
        let late = now.0.saturating_sub(self.next_send.0);
        if late <= 2 * self.config.interval_us {
            return;
        }
        let floor = now.0.saturating_sub(self.config.timeout_us) + self.config.interval_us;
        for heard in self.peers.values_mut().filter_map(|peer| peer.heard.as_mut()) {
            heard.0 = heard.0.max(floor);
        }
    }

    fn hear(&mut self, now: Time, from: NodeId, heartbeat: Heartbeat, events: &mut Vec<Event>) {
        let watched = self.peers.contains_key(&from);
        if !watched {
            let guests = self.peers.values().filter(|peer| peer.guest).count();
            if !heartbeat.shares || from == self.me || guests >= GUESTS_MAX {
                return;
            }
            self.peers.insert(from, Peer { since: now, guest: true, ..Peer::default() });
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        // Lives have no order. One that is over says nothing new: what comes late of it may win once, but not again.
        if peer
            .past
            .get(&heartbeat.incarnation)
            .is_some_and(|seen| (heartbeat.boot, heartbeat.sequence) <= *seen)
        {
            return;
        }
        let mut restarted = false;
        match peer.latest {
            Some((life, boot, sequence)) if life != heartbeat.incarnation => {
                peer.past.insert(life, (boot, sequence));
                restarted = true;
            }
            Some((_, boot, sequence)) if (heartbeat.boot, heartbeat.sequence) <= (boot, sequence) => return,
            Some((_, boot, _)) => restarted = heartbeat.boot != boot,
            None => {}
        }
        if peer.guest && !heartbeat.shares {
            return self.dismiss(from, events);
        }
        let news = peer.heard.is_none() || restarted;
        if restarted {
            peer.heard = None;
            self.judge(from, events);
            events.push(Event::Restarted(from));
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.heard = Some(now);
        peer.latest = Some((heartbeat.incarnation, heartbeat.boot, heartbeat.sequence));
        peer.hears_us = heartbeat.hears_you;
        peer.shares = heartbeat.shares;
        peer.health = heartbeat.health;
        let faltered = std::mem::replace(&mut peer.faltered, heartbeat.faltered) != heartbeat.faltered;
        self.judge(from, events);
        if faltered && !restarted {
            events.push(Event::Faltered(from));
        }
        if news {
            // It learns at once that it is heard, not an interval later.
            self.send(from, events);
        }
    }

    fn watch(&mut self, now: Time, nodes: BTreeSet<NodeId>, events: &mut Vec<Event>) {
        let gone: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(node, peer)| !peer.guest && !nodes.contains(node))
            .map(|(&node, _)| node)
            .collect();
        for node in gone {
            let Some(peer) = self.peers.get_mut(&node) else { continue };
            // The other may not know yet that they share nothing any more: answered as long as it asks.
            peer.guest = true;
            let asks = peer.heard.is_some() && peer.shares;
            self.send(node, events);
            if !asks {
                self.dismiss(node, events);
            }
        }
        for node in nodes {
            if node == self.me || self.peers.get(&node).is_some_and(|peer| !peer.guest) {
                continue;
            }
            self.peers.entry(node).or_insert_with(|| Peer { since: now, ..Peer::default() }).guest = false;
            self.send(node, events);
        }
    }

    fn dismiss(&mut self, node: NodeId, events: &mut Vec<Event>) {
        if self.peers.remove(&node).is_some_and(|peer| peer.live) {
            events.push(Event::Down(node));
        }
    }

    fn expire(&mut self, now: Time, events: &mut Vec<Event>) {
        let timeout = self.config.timeout_us;
        let silent: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.heard.is_some_and(|heard| heard.0.saturating_add(timeout) <= now.0))
            .map(|(&node, _)| node)
            .collect();
        for node in silent {
            match self.peers.get_mut(&node) {
                Some(peer) if peer.guest => self.dismiss(node, events),
                Some(peer) => {
                    peer.heard = None;
                    self.judge(node, events);
                    // It may hear this node still: then it learns at once that it is not heard.
                    self.send(node, events);
                }
                None => {}
            }
        }
    }

    /// Compares what is known of a peer with what was last said of it.
    fn judge(&mut self, node: NodeId, events: &mut Vec<Event>) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let live = peer.heard.is_some() && peer.hears_us && !peer.health.disk_stuck;
        if live != peer.live {
            peer.live = live;
            events.push(if live { Event::Up(node) } else { Event::Down(node) });
        }
    }

    fn send_all(&mut self, now: Time, events: &mut Vec<Event>) {
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            self.send(node, events);
        }
        self.next_send = Time(now.0.saturating_add(self.config.interval_us));
    }

    fn send(&mut self, to: NodeId, events: &mut Vec<Event>) {
        let (incarnation, boot, health, faltered) = (self.incarnation, self.boot, self.health, self.faltered);
        let Some(peer) = self.peers.get_mut(&to) else { return };
        self.sent += 1;
        let (hears_you, shares) = (peer.heard.is_some(), !peer.guest);
        let sequence = self.sent;
        events.push(Event::Send(
            to,
            Heartbeat { incarnation, boot, sequence, hears_you, shares, health, faltered },
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    /// Two nodes and what the network carries between them.
    struct Pair {
        now: Time,
        nodes: [Liveness; 2],
        /// Whether heartbeats from the first to the second pass, and back.
        passes: [bool; 2],
        said: Vec<(u64, usize, Event)>,
    }

    impl Pair {
        fn new() -> Self {
            let node = |me, boot| {
                Liveness::new(NodeId(me), Incarnation(1), boot, LivenessConfig::default(), Time(0))
            };
            let mut pair = Self {
                now: Time(0),
                nodes: [node(1, 1), node(2, 1)],
                passes: [true, true],
                said: Vec::new(),
            };
            pair.input(0, Input::Peers([NodeId(2)].into()));
            pair.input(1, Input::Peers([NodeId(1)].into()));
            pair
        }

        fn input(&mut self, at: usize, input: Input) {
            let mut queue = vec![(at, input)];
            while let Some((at, input)) = queue.pop() {
                for event in self.nodes[at].step(self.now, input.clone()) {
                    if let Event::Send(_, heartbeat) = event {
                        if self.passes[at] {
                            let from = NodeId(i32::try_from(at).expect("small") + 1);
                            queue.push((1 - at, Input::Heartbeat { from, heartbeat }));
                        }
                    } else {
                        self.said.push((self.now.0 / MS, at, event));
                    }
                }
            }
        }

        fn run(&mut self, ms: u64) {
            let end = self.now.0 + ms * MS;
            loop {
                let due = [0, 1].map(|at| self.nodes[at].next_deadline().map_or(u64::MAX, |at| at.0));
                let at = usize::from(due[1] < due[0]);
                if due[at] > end {
                    self.now = Time(end);
                    return;
                }
                self.now = Time(due[at].max(self.now.0));
                self.input(at, Input::Tick);
            }
        }

        fn take(&mut self) -> Vec<(u64, usize, Event)> {
            std::mem::take(&mut self.said)
        }
    }

    #[test]
    fn two_nodes_find_each_other_at_once() {
        let mut pair = Pair::new();
        pair.run(10);
        let mut said = pair.take();
        said.sort_by_key(|(_, at, _)| *at);
        assert_eq!(said, [(0, 0, Event::Up(NodeId(2))), (0, 1, Event::Up(NodeId(1)))]);
        pair.run(60_000);
        assert!(pair.take().is_empty(), "quiet while all is well");
    }

    #[test]
    fn silence_is_suspected_after_the_timeout_and_forgiven_at_once() {
        let mut pair = Pair::new();
        pair.run(1000);
        pair.take();
        pair.passes = [false, false];
        pair.run(5000);
        let said = pair.take();
        assert_eq!(said.len(), 2);
        for (ms, at, event) in said {
            assert!((2000..=2200).contains(&ms), "suspected at {ms} ms");
            assert_eq!(event, Event::Down(NodeId(if at == 0 { 2 } else { 1 })));
        }
        pair.passes = [true, true];
        pair.run(201);
        assert_eq!(pair.take().len(), 2, "both are up again within an interval");
    }

    #[test]
    fn a_one_way_split_is_seen_by_both_ends() {
        let mut pair = Pair::new();
        pair.run(1000);
        pair.take();
        pair.passes = [true, false];
        pair.run(3000);
        let downs: BTreeSet<usize> = pair.take().into_iter().map(|(_, at, _)| at).collect();
        assert_eq!(downs, [0, 1].into(), "the one that still hears is told that it is not heard");
        assert!(pair.nodes[1].hears().contains(&NodeId(1)));
        assert!(!pair.nodes[1].is_live(NodeId(1)));
    }

    #[test]
    fn a_closed_connection_is_down_at_once() {
        let mut pair = Pair::new();
        pair.run(1000);
        pair.take();
        pair.input(0, Input::Disconnected(NodeId(2)));
        assert_eq!(pair.take(), [(1000, 0, Event::Down(NodeId(2)))]);
        pair.run(250);
        let mine: Vec<Event> =
            pair.take().into_iter().filter(|said| said.1 == 0).map(|said| said.2).collect();
        assert_eq!(mine, [Event::Up(NodeId(2))], "a heartbeat refutes the hint");
        assert!(pair.nodes[1].is_live(NodeId(1)));
    }

    #[test]
    fn another_boot_is_down_then_restarted_then_up() {
        let mut pair = Pair::new();
        pair.run(1000);
        pair.take();
        pair.nodes[1] = Liveness::new(NodeId(2), Incarnation(1), 2, LivenessConfig::default(), pair.now);
        pair.input(1, Input::Peers([NodeId(1)].into()));
        let first: Vec<Event> =
            pair.take().into_iter().filter(|said| said.1 == 0).map(|said| said.2).collect();
        assert_eq!(first, [Event::Down(NodeId(2)), Event::Restarted(NodeId(2)), Event::Up(NodeId(2))]);
    }

    #[test]
    fn old_and_repeated_heartbeats_are_dropped() {
        let mut node = Liveness::new(NodeId(1), Incarnation(1), 1, LivenessConfig::default(), Time(0));
        node.step(Time(0), Input::Peers([NodeId(2)].into()));
        let life = |incarnation, boot, sequence| Input::Heartbeat {
            from: NodeId(2),
            heartbeat: Heartbeat {
                incarnation: Incarnation(incarnation),
                boot,
                sequence,
                hears_you: true,
                shares: true,
                health: Health::default(),
                faltered: 0,
            },
        };
        let beat = |boot, sequence| life(7, boot, sequence);
        assert!(node.step(Time(1), beat(5, 9)).contains(&Event::Up(NodeId(2))));
        assert!(node.step(Time(2), beat(5, 8)).is_empty());
        assert!(node.step(Time(3), beat(4, 99)).is_empty(), "of the process before");
        assert!(
            node.step(Time(4), life(3, 1, 1)).contains(&Event::Restarted(NodeId(2))),
            "a wiped directory"
        );
        assert!(node.step(Time(5), beat(5, 9)).is_empty(), "of the life before");
        let back = |events: Vec<Event>| events.contains(&Event::Restarted(NodeId(2)));
        assert!(back(node.step(Time(6), beat(5, 10))), "late, and newer than all that was heard of it");
        assert!(back(node.step(Time(7), life(3, 1, 2))), "the living one goes on");
        assert!(node.step(Time(8), beat(5, 10)).is_empty(), "late again");
        let down = node.step(Time(1_200_004), Input::Tick);
        assert!(!down.contains(&Event::Down(NodeId(2))), "its own stall is not the peer's silence");
        assert!(node.step(Time(1_400_004), Input::Tick).contains(&Event::Down(NodeId(2))));
    }

    #[test]
    fn a_stuck_disk_does_not_vouch() {
        let mut pair = Pair::new();
        pair.run(1000);
        pair.take();
        pair.input(1, Input::Health(Health { disk_stuck: true, ..Health::default() }));
        assert_eq!(pair.take(), [(1000, 0, Event::Down(NodeId(2)))]);
        pair.input(1, Input::Health(Health::default()));
        assert_eq!(pair.take(), [(1000, 0, Event::Up(NodeId(2)))]);
    }

    #[test]
    fn peers_that_are_no_longer_watched_go_down() {
        let mut pair = Pair::new();
        pair.run(1000);
        pair.take();
        pair.input(0, Input::Peers(BTreeSet::new()));
        pair.run(3000);
        assert_eq!(pair.take(), [], "the other still counts on it");
        pair.input(1, Input::Peers(BTreeSet::new()));
        let mut downs = pair.take();
        downs.sort_by_key(|(_, at, _)| *at);
        assert_eq!(downs, [(4000, 0, Event::Down(NodeId(2))), (4000, 1, Event::Down(NodeId(1)))]);
        assert!(pair.nodes.iter().all(|node| node.next_deadline().is_none()));
    }

    #[test]
    fn who_shares_is_watched_back_at_once() {
        let mut pair = Pair::new();
        pair.nodes =
            [1, 2].map(|me| Liveness::new(NodeId(me), Incarnation(1), 1, LivenessConfig::default(), Time(0)));
        pair.input(0, Input::Peers([NodeId(2)].into()));
        let ups: BTreeSet<usize> = pair.take().into_iter().map(|(_, at, _)| at).collect();
        assert_eq!(ups, [0, 1].into(), "before the other knows that they share");
        pair.run(3000);
        pair.input(1, Input::Peers([NodeId(1)].into()));
        pair.run(3000);
        assert_eq!(pair.take(), []);
    }

    #[test]
    fn a_guest_that_falls_silent_is_forgotten() {
        let mut pair = Pair::new();
        pair.run(1000);
        pair.input(1, Input::Peers(BTreeSet::new()));
        pair.take();
        pair.passes = [false, true];
        pair.run(1200);
        assert!(pair.take().contains(&(2200, 1, Event::Down(NodeId(1)))));
        assert_eq!(pair.nodes[1].verdict(pair.now, NodeId(1)), None);
    }

    #[test]
    fn whatever_else_a_process_sends_says_that_it_is_there() {
        let mut pair = Pair::new();
        pair.run(1000);
        pair.take();
        pair.passes = [true, false];
        let life = |boot| Life { incarnation: Incarnation(1), boot, session: 0 };
        pair.run(1000);
        let (now, node) = (pair.now, &mut pair.nodes[0]);
        node.hear_of(now, NodeId(2), life(1));
        pair.run(1000);
        assert!(!pair.take().iter().any(|(_, at, _)| *at == 0), "no heartbeat came for two seconds");
        pair.nodes[0].hear_of(pair.now, NodeId(2), life(2));
        pair.run(400);
        assert!(pair.take().iter().any(|(_, at, event)| *at == 0 && *event == Event::Down(NodeId(2))));
        pair.nodes[0].hear_of(pair.now, NodeId(2), life(1));
        assert!(!pair.nodes[0].is_live(NodeId(2)), "whom it does not hear it waits for a heartbeat of");
    }

    #[test]
    fn of_a_peer_that_was_not_heard_yet_others_are_asked_for_a_while() {
        let mut node = Liveness::new(NodeId(1), Incarnation(1), 1, LivenessConfig::default(), Time(0));
        node.step(Time(5), Input::Peers([NodeId(2)].into()));
        assert_eq!(node.verdict(Time(1_200_004), NodeId(2)), None);
        assert_eq!(node.verdict(Time(1_200_005), NodeId(2)), Some(false));
        assert_eq!(node.verdict(Time(5), NodeId(3)), None);
    }
}
