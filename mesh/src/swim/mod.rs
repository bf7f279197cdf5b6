//! Who is alive in the whole mesh, by SWIM (Das, Gupta, Motivala 2002) with suspicion and gossip, as `foca` implements it: each node
//! probes one other at a time, and what it finds spreads with the probes. So a node says a few hundred bytes a second however many
//! nodes there are, and a death is known to all after a few seconds. Pure: time, messages and randomness come in, events go out.
//!
//! This serves nodes that share no partition. Those that do hear each other directly ([`liveness`](crate::liveness)), in about a
//! second and both ways.
//!
//! - **Who speaks** is a [`SwimId`]: node, life of its data directory, boot, and how often this process was wrongly called down and
//!   renewed itself. Of one life the later process wins; what is told late of an earlier one revives nobody.
//! - **Who is listed** comes from the committed registry ([`Input::Roster`]), by life. Gossip of others is kept, within a bound, until
//!   the registry names them; so nobody grows this table by talking.
//! - **A closed connection** makes a node not live here at once; that lapses when the node is heard, or when SWIM had time to judge.
//! - **A stuck disk** does not vouch: the node leaves, and comes back renewed.
//! - A node that is alone, or lacks some of the roster, announces itself to one of it at a time, so splits that healed end.

mod wire;

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{AccumulatingRuntime, Config, Foca, Member, NoCustomBroadcast, OwnedNotification, PeriodicParams};

use crate::mutant::{self, Mutant};
use crate::raft::{Incarnation, NodeId, Rng, Time};
use wire::{PACKET_BYTES_MAX, Packet, Wire};

/// Gossip of lives that the registry does not name yet, kept at most.
const UNLISTED_MAX: usize = 1024;

/// Nodes that probe on behalf of one whose probe went unanswered, and that one round of gossip goes to.
const FANOUT: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");

/// Between two complete lists that a node asks one other for, in timeouts: what gossip lost is found then.
const LISTS_EVERY: u32 = 25;

/// One process of a node, as SWIM tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SwimId {
    /// The node.
    pub node: NodeId,
    /// The life of its data directory. Lives have no order: the registry says which one counts.
    pub incarnation: Incarnation,
    /// How often that directory was opened: the later process wins.
    pub boot: u64,
    /// How often this process was wrongly called down.
    pub renewal: u32,
}

impl foca::Identity for SwimId {
    type Addr = (NodeId, Incarnation);

    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal.checked_add(1)?, ..*self })
    }

    fn addr(&self) -> Self::Addr {
        (self.node, self.incarnation)
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        if self.boot != other.boot && mutant::active(Mutant::SwimRevivesOldBoot) {
            return false;
        }
        (self.boot, self.renewal) > (other.boot, other.renewal)
    }
}

/// Timing, taken from that of the direct detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwimConfig {
    /// Microseconds between two rounds of gossip, while there is any.
    pub interval_us: u64,
    /// Microseconds between two probes. An answer is waited for a third of it before others are asked to probe. Twice this long a
    /// suspect may refute.
    pub timeout_us: u64,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub enum Input {
    /// A deadline passed.
    Tick,
    /// Bytes of another node.
    Message {
        /// The authenticated sender.
        from: NodeId,
        /// What it said.
        bytes: Bytes,
    },
    /// A connection to a node is open.
    Connected(NodeId),
    /// The last connection to a node closed.
    Disconnected(NodeId),
    /// The nodes of the mesh by the committed registry, without this one, and the life of each that counts.
    Roster(BTreeMap<NodeId, Incarnation>),
    /// Whether this node's disk works.
    Vouches(bool),
}

/// What it says. `Up` and `Down` of one node alternate, beginning with `Up`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node is live; another process than before if it was just down.
    Up(NodeId),
    /// The node is no longer live.
    Down(NodeId),
    /// Send this now; a loss costs nothing.
    Send(NodeId, Bytes),
}

/// What became of it since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Messages that could not be read, or came from another than who they say.
    pub refused: u64,
    /// Suspicions of this node that it refuted.
    pub refuted: u64,
    /// Times that this node was called down, or left for its disk, and came back under a new name.
    pub renewed: u64,
}

/// The randomness of `foca`.
struct Jitter(Rng);

impl rand_core::TryRng for Jitter {
    type Error = rand_core::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|next| u32::try_from(next >> 32).unwrap_or(0))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.next())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in out.chunks_mut(8) {
            let bytes = self.0.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

/// SWIM on one node.
pub struct Swim {
    foca: Foca<SwimId, Wire, Jitter, NoCustomBroadcast>,
    config: SwimConfig,
    rng: Rng,
    out: AccumulatingRuntime<SwimId>,
    timers: BTreeMap<(Time, u64), foca::Timer<SwimId>>,
    next_timer: u64,
    /// When the next one of the roster is picked, to be announced to if it is not active.
    seek_at: Time,
    /// Until when a new connection is no reason to announce.
    hinted_until: Time,
    roster: BTreeMap<NodeId, Incarnation>,
    unlisted: BTreeMap<(NodeId, Incarnation), Member<SwimId>>,
    /// Nodes whose connection closed, and until when that counts.
    doubts: BTreeMap<NodeId, Time>,
    /// Active ones of the roster.
    active: BTreeMap<NodeId, SwimId>,
    /// What was last said, and of which process.
    live: BTreeMap<NodeId, SwimId>,
    vouches: bool,
    /// The counter in this node's own messages.
    own_refuted: u16,
    figures: Figures,
    changes: u64,
}

impl Swim {
    /// A node that knows nobody. `seed` is of all random choices.
    pub fn new(
        node: NodeId,
        incarnation: Incarnation,
        boot: u64,
        config: SwimConfig,
        seed: u64,
        now: Time,
    ) -> Self {
        let id = SwimId { node, incarnation, boot, renewal: 0 };
        let mut rng = Rng(seed);
        let jitter = Jitter(Rng(rng.next()));
        Self {
            foca: Foca::new(id, protocol(config, 0), jitter, Wire),
            config,
            rng,
            out: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
            seek_at: now,
            hinted_until: now,
            roster: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            doubts: BTreeMap::new(),
            active: BTreeMap::new(),
            live: BTreeMap::new(),
            vouches: true,
            own_refuted: 0,
            figures: Figures::default(),
            changes: 0,
        }
    }

    /// Takes one input, then whatever is due by `now`.
    pub fn step(&mut self, now: Time, input: Input) -> Vec<Event> {
        self.forgive_own_stall(now);
        match input {
            Input::Tick => {}
            Input::Message { from, bytes } => self.hear(from, &bytes),
            Input::Connected(node) => self.connected(now, node),
            Input::Disconnected(node) => self.doubt(now, node),
            Input::Roster(roster) => self.list(roster),
            Input::Vouches(vouches) => self.vouch(vouches),
        }
        self.run_timers(now);
        self.seek(now);
        let mut events = self.drain(now);
        self.doubts.retain(|node, until| *until > now && self.active.contains_key(node));
        self.judge(&mut events);
        self.changes += u64::from(events.iter().any(|event| !matches!(event, Event::Send(..))));
        events
    }

    /// When [`Input::Tick`] is due; `None` while nobody else is listed.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.roster.is_empty() || !self.vouches {
            return self.doubts.values().min().copied();
        }
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        let doubt = self.doubts.values().min().copied();
        [timer, doubt, Some(self.seek_at)].into_iter().flatten().min()
    }

    /// Whether a node is live, by what is known here.
    pub fn is_live(&self, node: NodeId) -> bool {
        self.live.contains_key(&node)
    }

    /// The process of a node that is active, whether its connection is closed or not.
    pub fn active(&self, node: NodeId) -> Option<SwimId> {
        self.active.get(&node).copied()
    }

    /// This process, as it calls itself now.
    pub fn id(&self) -> SwimId {
        *self.foca.identity()
    }

    /// How many nodes are live here.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// How often what is known changed: who is live, and as which process each is active.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What became of it.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// When this process stood still, unread answers are no silence: what was due waits as long again.
    fn forgive_own_stall(&mut self, now: Time) {
        let Some(first) = self.timers.first_key_value().map(|((at, _), _)| *at) else { return };
        let late = now.0.saturating_sub(first.0.min(self.seek_at.0));
        if late <= 2 * self.config.interval_us {
            return;
        }
        let later = |at: Time| Time(at.0.saturating_add(late));
        let timers = std::mem::take(&mut self.timers);
        self.timers = timers.into_iter().map(|((at, number), timer)| ((later(at), number), timer)).collect();
        self.seek_at = later(self.seek_at);
        self.doubts.values_mut().for_each(|until| *until = later(*until));
    }

    fn is_listed(&self, id: &SwimId) -> bool {
        self.roster.get(&id.node) == Some(&id.incarnation)
    }

    fn hear(&mut self, from: NodeId, bytes: &[u8]) {
        // What others say while this node is away would make it come back.
        if !self.vouches {
            return;
        }
        let Ok(mut packet) = Packet::decode(bytes) else { return self.figures.refused += 1 };
        let (sender, me) = (packet.header.src, self.id());
        if sender.node != from || from == me.node {
            return self.figures.refused += 1;
        }
        if !self.is_listed(&sender) {
            return self.keep_unlisted(Member::new(
                sender,
                packet.header.src_incarnation,
                foca::State::Alive,
            ));
        }
        let all = std::mem::take(&mut packet.updates);
        let count = all.len();
        let (known, unknown): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|member| self.is_listed(member.id()) || member.id().node == me.node);
        unknown.into_iter().for_each(|member| self.keep_unlisted(member));
        packet.updates = known;
        let spoken = match packet.updates.len() == count {
            true => self.foca.handle_data(bytes, &mut self.out),
            false => match packet.encode() {
                Ok(bytes) => self.foca.handle_data(&bytes, &mut self.out),
                Err(_) => return self.figures.refused += 1,
            },
        };
        if spoken.is_err() {
            return self.figures.refused += 1;
        }
        if self.active.get(&from).is_none_or(|known| *known <= sender) {
            self.doubts.remove(&from);
        }
        self.settle();
    }

    /// `foca` looks whether it has anyone to probe only when it is told something.
    fn settle(&mut self) {
        _ = self.foca.apply_many(std::iter::empty(), false, &mut self.out);
    }

    fn keep_unlisted(&mut self, member: Member<SwimId>) {
        use foca::Identity;
        let key = member.id().addr();
        let newer = |known: &Member<SwimId>| {
            let (known, new) = (known, &member);
            new.id().win_addr_conflict(known.id())
                || new.id() == known.id() && new.incarnation() >= known.incarnation()
        };
        if self.unlisted.get(&key).map_or(self.unlisted.len() < UNLISTED_MAX, newer) {
            self.unlisted.insert(key, member);
        }
    }

    fn connected(&mut self, now: Time, node: NodeId) {
        self.doubts.remove(&node);
        // One that comes back to thousands is asked by a few; the others hear of it.
        if !self.active.contains_key(&node) && now >= self.hinted_until {
            self.hinted_until = now.after(self.config.interval_us);
            self.announce(node);
        }
    }

    fn doubt(&mut self, now: Time, node: NodeId) {
        if self.active.contains_key(&node) {
            self.doubts.insert(node, now.after(4 * self.config.timeout_us));
        }
    }

    fn announce(&mut self, node: NodeId) {
        if let Some(&incarnation) = self.roster.get(&node).filter(|_| self.vouches) {
            // Whatever process it runs as takes this for its own.
            let any = SwimId { node, incarnation, boot: 0, renewal: 0 };
            _ = self.foca.announce(any, &mut self.out);
        }
    }

    /// One of the roster at a time: so few announcements go to each that is away, however many nodes there are.
    fn seek(&mut self, now: Time) {
        if now < self.seek_at || self.roster.is_empty() {
            return;
        }
        self.seek_at = now.after(self.config.timeout_us);
        let at = self.rng.between(0, self.roster.len() as u64);
        let picked = self.roster.keys().nth(usize::try_from(at).unwrap_or(0)).copied();
        if let Some(node) = picked.filter(|node| !self.active.contains_key(node)) {
            self.announce(node);
        }
    }

    fn list(&mut self, roster: BTreeMap<NodeId, Incarnation>) {
        if roster == self.roster {
            return;
        }
        let is_gone = |id: &SwimId| roster.get(&id.node) != Some(&id.incarnation);
        let gone: Vec<SwimId> =
            self.foca.iter_membership_state().map(|member| *member.id()).filter(is_gone).collect();
        _ = self.foca.apply_many(gone.iter().copied().map(Member::down), false, &mut self.out);
        for id in gone {
            _ = self.foca.handle_timer(foca::Timer::RemoveDown(id), &mut self.out);
        }
        self.roster = roster;
        let (listed, unlisted) = std::mem::take(&mut self.unlisted)
            .into_iter()
            .partition(|((node, life), _)| self.roster.get(node) == Some(life));
        self.unlisted = unlisted;
        _ = self.foca.set_config(protocol(self.config, self.roster.len()));
        if self.vouches {
            let listed: BTreeMap<(NodeId, Incarnation), Member<SwimId>> = listed;
            _ = self.foca.apply_many(listed.into_values(), true, &mut self.out);
        }
    }

    fn vouch(&mut self, vouches: bool) {
        if vouches == self.vouches {
            return;
        }
        self.vouches = vouches;
        if !vouches {
            _ = self.foca.leave_cluster(&mut self.out);
        } else if let Some(renewed) = foca::Identity::renew(&self.id()) {
            self.figures.renewed += 1;
            _ = self.foca.change_identity(renewed, &mut self.out);
            self.settle();
        }
    }

    fn run_timers(&mut self, now: Time) {
        self.take_notes(now);
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            _ = self.foca.handle_timer(entry.remove(), &mut self.out);
            self.take_notes(now);
        }
    }

    /// What `foca` wants to be woken for, and who came and went.
    fn take_notes(&mut self, now: Time) {
        while let Some((after, timer)) = self.out.to_schedule() {
            let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX).max(1);
            self.timers.insert((now.after(after), self.next_timer), timer);
            self.next_timer += 1;
        }
        while let Some(note) = self.out.to_notify() {
            self.changes += 1;
            match note {
                OwnedNotification::MemberUp(id) => _ = self.active.insert(id.node, id),
                OwnedNotification::MemberDown(id) => {
                    self.active.retain(|node, known| *node != id.node || known.incarnation != id.incarnation);
                }
                OwnedNotification::Rename(old, new) if self.active.get(&old.node) == Some(&old) => {
                    self.active.insert(new.node, new);
                }
                OwnedNotification::Rejoin(_) => self.figures.renewed += 1,
                _ => {}
            }
        }
    }

    fn drain(&mut self, now: Time) -> Vec<Event> {
        self.take_notes(now);
        let mut events = Vec::new();
        while let Some((to, bytes)) = self.out.to_send() {
            // Whom a message of another asks to reach may be anybody.
            if !self.is_listed(&to) {
                continue;
            }
            self.figures.sent += 1;
            self.figures.sent_bytes += bytes.len() as u64;
            let refuted = wire::refuted_by_sender(&bytes);
            self.figures.refuted += u64::from(refuted > self.own_refuted);
            self.own_refuted = refuted;
            events.push(Event::Send(to.node, bytes));
        }
        events
    }

    /// Compares what is known with what was last said. A process that followed another one of its node, in the same data directory or
    /// in one that took the number over, is another node that comes.
    fn judge(&mut self, events: &mut Vec<Event>) {
        let goes_on = |node: &NodeId, said: &SwimId| {
            let same = |now: &SwimId| (now.incarnation, now.boot) == (said.incarnation, said.boot);
            self.active.get(node).is_some_and(same) && !self.doubts.contains_key(node)
        };
        let lost = |(node, said): (&NodeId, &SwimId)| (!goes_on(node, said)).then_some(*node);
        let down: Vec<NodeId> = self.live.iter().filter_map(lost).collect();
        for node in down {
            self.live.remove(&node);
            events.push(Event::Down(node));
        }
        if self.live.len() + self.doubts.len() < self.active.len() {
            let is_new = |node: &&NodeId| !self.live.contains_key(node) && !self.doubts.contains_key(node);
            let up: Vec<NodeId> = self.active.keys().filter(is_new).copied().collect();
            for node in up {
                self.live.insert(node, self.active[&node]);
                events.push(Event::Up(node));
            }
        }
    }
}

/// How `foca` runs in a mesh of so many other nodes.
fn protocol(config: SwimConfig, others: usize) -> Config {
    let timeout = Duration::from_micros(config.timeout_us.max(4));
    // Each message spreads what it carries to one more; a few times the logarithm reaches all of them with near certainty.
    let transmissions = 3 * (usize::BITS - others.leading_zeros()).clamp(2, 15);
    Config {
        probe_period: timeout,
        probe_rtt: timeout / 3,
        num_indirect_probes: FANOUT,
        max_transmissions: u8::try_from(transmissions)
            .ok()
            .and_then(NonZeroU8::new)
            .unwrap_or(NonZeroU8::MAX),
        suspect_to_down_after: 2 * timeout,
        remove_down_after: None,
        max_packet_size: NonZeroUsize::new(PACKET_BYTES_MAX).expect("a constant above zero"),
        notify_down_members: true,
        periodic_announce: Some(PeriodicParams {
            frequency: timeout * LISTS_EVERY,
            num_members: NonZeroUsize::MIN,
        }),
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(PeriodicParams {
            frequency: Duration::from_micros(config.interval_us.max(1)),
            num_members: FANOUT,
        }),
    }
}

#[cfg(test)]
mod tests;
