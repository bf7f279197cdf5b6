//! Whom this node hears: its two failure detectors, and what becomes of their word.
//!
//! | of a node that | answers | and tells the replicas |
//! |---|---|---|
//! | shares a partition with this one ([`Company`](super::company::Company)) | [`mesh::liveness`], heartbeats both ways | yes: elections and quiet replica sets live by it |
//! | shares nothing | [`mesh::swim`], gossip of the whole mesh | there is nothing to tell |
//! | began to share, and was not heard yet | SWIM, for one timeout at most | from its first heartbeat on |

use std::collections::BTreeSet;

use mesh::liveness;
use mesh::raft::{self, Input, Membership, NodeId, Replica, ReplicaId};
use mesh::swim::{self, Swim};
use storage::{Disk, LogId};

use super::lifecycle::{CAMPAIGN_EVERY_US, HEIR_US, REMOVED, STUCK_DISK_US};
use super::message::{PeerMessage, Stream};
use super::metadata::shard::outlived;
use super::metadata::{NodeState, PartitionKey};
use super::node::{Node, Timer};
use super::partition::Partition;
use super::{Effect, REFUSED};
use crate::mutant::{self, Mutant};

impl<D: Disk> Node<D> {
    /// All registered nodes but this one.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.view.nodes().map(|info| info.node).filter(|node| *node != self.identity.node).collect()
    }

    pub(crate) fn registry_changed(&mut self) {
        if let Some(info) = self.view.node(self.identity.node) {
            if info.state == NodeState::Removed {
                return self.fail(format!("{REFUSED}: {REMOVED}"));
            }
            let is_outlived = info.is_outlived(&self.registration.peer_id, self.identity.incarnation);
            if is_outlived {
                return self.fail(format!("{REFUSED}: {}", outlived(info.node)));
            }
        }
        self.set_peers();
        self.out.push(Effect::RegistryChanged);
    }

    /// Tells the detectors whom they are for.
    pub(crate) fn set_peers(&mut self) {
        let me = self.identity.node;
        let roster =
            self.view.nodes().filter(|info| info.node != me).map(|info| (info.node, info.incarnation));
        self.swim_input(swim::Input::Roster(roster.collect()));
        // Also one that this copy of the registry does not know yet: a replica set may count on it.
        let removed =
            |node: &NodeId| self.view.node(*node).is_some_and(|info| info.state == NodeState::Removed);
        let shared = self.company.nodes().into_iter().filter(|node| !removed(node)).collect();
        self.liveness_input(liveness::Input::Peers(shared));
    }

    /// Looks again with whom a partition is shared: by its descriptor and by its replica here.
    pub(crate) fn note_company(&mut self, key: PartitionKey) {
        let me = self.identity.node;
        let replica = self.by_key.get(&key).and_then(|log| self.partitions.get(log)?.replica.as_ref());
        let here = self.by_key.contains_key(&key);
        let desired = self.view.descriptor(key).filter(|descriptor| here || descriptor.names_node(me));
        let mut nodes = Vec::new();
        if let Some(descriptor) = desired.filter(|_| !mutant::active(Mutant::NewcomerNotWatched)) {
            nodes.extend(descriptor.named().map(|id| id.node));
        }
        if let Some(replica) = replica {
            let newcomers = !mutant::active(Mutant::NewcomerNotWatched);
            let voters = |membership: &Membership| -> Vec<NodeId> {
                let counts = |id: &ReplicaId| newcomers || membership.voters.contains(id);
                membership.members().filter(counts).map(|id| id.node).collect()
            };
            nodes.extend(voters(replica.membership()));
            nodes.extend(voters(replica.committed_membership()));
        }
        nodes.retain(|node| *node != me);
        self.company.note(key, nodes);
    }

    /// The membership of a replica changed, or may have.
    pub(crate) fn note_members(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let key = partition.key;
        let now = partition.replica.as_ref().map(Replica::membership_changes);
        if std::mem::replace(&mut partition.company_as_of, now) != now {
            self.note_company(key);
        }
    }

    /// Nodes that came to share something, or share nothing any more, are watched or not from this step on.
    pub(crate) fn meet_company(&mut self) {
        if self.company.take_changed() {
            self.set_peers();
        }
    }

    /// Whether a node is live: by the direct heartbeats of one that shares a partition with this node, once it was heard or had the
    /// time to be; by SWIM otherwise. Everything asks here but replica sets that are quiet, which count on the heartbeats alone.
    pub fn is_live(&self, node: NodeId) -> bool {
        node == self.identity.node
            || self
                .liveness
                .verdict(self.now.mono, node)
                .unwrap_or_else(|| self.swim.is_live(node) || !self.is_registered())
    }

    /// Whether the registry, as this node knows it, has this life of its directory. Before that nobody's SWIM takes the node in, so that its own
    /// knows of nobody: it must ask those it was told of, or it would never come to be registered (seed 9032).
    pub(crate) fn is_registered(&self) -> bool {
        self.view.node(self.identity.node).is_some_and(|info| info.incarnation == self.identity.incarnation)
    }

    /// The nodes of the mesh that are live by that, this one included.
    pub fn up(&self) -> BTreeSet<NodeId> {
        let known = self.view.nodes().map(|info| info.node).filter(|node| self.is_live(*node));
        known.chain([self.identity.node]).collect()
    }

    /// The nodes that this one hears now: those that it watches by their heartbeats, whether they hear it or not, and of the others
    /// those that SWIM holds for live.
    pub fn hears(&self) -> BTreeSet<NodeId> {
        let mut heard = self.liveness.hears();
        let others =
            self.view.nodes().map(|info| info.node).filter(|node| {
                self.liveness.verdict(self.now.mono, *node).is_none() && self.swim.is_live(*node)
            });
        heard.extend(others);
        heard
    }

    /// The nodes that this one exchanges heartbeats with.
    pub fn watched(&self) -> impl Iterator<Item = NodeId> {
        self.liveness.watched()
    }

    /// Whether this node exchanges heartbeats with another.
    pub fn watches(&self, node: NodeId) -> bool {
        self.liveness.watches(node)
    }

    /// Counts changes of whom this node watches and of what SWIM knows: an observer need not look when it stands still.
    pub fn hearing_changes(&self) -> u64 {
        self.company.changes() + self.swim.changes()
    }

    /// What SWIM knows.
    pub fn swim(&self) -> &Swim {
        &self.swim
    }

    /// The boot number that a peer told last, and its health as far as it is told: by its heartbeats.
    pub fn told(&self, node: NodeId) -> Option<(u64, liveness::Health)> {
        let by_swim = || Some((self.swim.active(node)?.boot, liveness::Health::default()));
        self.liveness.told(node).or_else(by_swim)
    }

    /// A connection came or went: a hint for both detectors.
    pub(crate) fn connection(&mut self, node: NodeId, open: bool) {
        let (swim, direct) = match open {
            true => (swim::Input::Connected(node), liveness::Input::Connected(node)),
            false => (swim::Input::Disconnected(node), liveness::Input::Disconnected(node)),
        };
        self.swim_input(swim);
        self.liveness_input(direct);
    }

    /// One step of SWIM. What it finds of nodes that share nothing is told to nobody but whoever asks.
    pub(crate) fn swim_input(&mut self, input: swim::Input) {
        for event in self.swim.step(self.now.mono, input) {
            match event {
                swim::Event::Send(to, bytes) => {
                    let message = PeerMessage::Swim(bytes);
                    self.out.push(Effect::Send { to, stream: Stream::Control, message });
                }
                swim::Event::Up(node) if self.liveness.verdict(self.now.mono, node).is_none() => {
                    self.announce_all_to(node);
                }
                swim::Event::Up(_) | swim::Event::Down(_) => {}
            }
        }
        let next = self.swim.next_deadline();
        if next != self.swim_at {
            if let Some(at) = std::mem::replace(&mut self.swim_at, next) {
                self.timers.remove(&(at, Timer::Swim));
            }
            next.into_iter().for_each(|at| self.set_timer(at, Timer::Swim));
        }
    }

    /// SWIM's deadline passed.
    pub(crate) fn swim_due(&mut self) {
        self.swim_at = None;
        self.swim_input(swim::Input::Tick);
    }

    /// One step of the failure detector; what it finds goes to the replicas as hints.
    pub(crate) fn liveness_input(&mut self, input: liveness::Input) {
        let mut events = Vec::new();
        if matches!(input, liveness::Input::Tick) {
            self.liveness_at = None;
            let health = self.health();
            self.swim_input(swim::Input::Vouches(!health.disk_stuck));
            events = self.liveness.step(self.now.mono, liveness::Input::Health(health));
        }
        events.extend(self.liveness.step(self.now.mono, input));
        for event in events {
            match event {
                liveness::Event::Send(to, heartbeat) => {
                    let message = PeerMessage::Heartbeat(heartbeat);
                    self.out.push(Effect::Send { to, stream: Stream::Control, message });
                }
                liveness::Event::Up(node) => {
                    self.announce_all_to(node);
                    self.tell_replicas(node, Input::PeerUp(node));
                    self.campaign_where_leaderless(node);
                }
                liveness::Event::Down(node) => self.replace_leaders_on(node),
                liveness::Event::Faltered(_) if mutant::active(Mutant::FalteredUnheard) => {}
                liveness::Event::Faltered(node) => self.tell_replicas(node, Input::Wake),
                liveness::Event::Restarted(_) => {}
            }
        }
        let next = self.liveness.next_deadline();
        if next != self.liveness_at {
            if let Some(at) = std::mem::replace(&mut self.liveness_at, next) {
                self.timers.remove(&(at, Timer::Liveness));
            }
            next.into_iter().for_each(|at| self.set_timer(at, Timer::Liveness));
        }
    }

    /// A peer came: groups that never had a leader need not wait for their timeouts.
    fn campaign_where_leaderless(&mut self, node: NodeId) {
        let preferred = |partition: &Partition| {
            let first = self.view.descriptor(partition.key).and_then(|d| d.replicas.first().copied());
            first == Some(partition.id)
        };
        let waiting: Vec<LogId> = self
            .partitions
            .values()
            .filter(|p| {
                p.replica.as_ref().is_some_and(|replica| {
                    replica.leader().is_none() && replica.membership().members().any(|id| id.node == node)
                }) && preferred(p)
            })
            .map(|p| p.log)
            .collect();
        waiting.into_iter().for_each(|log| self.drive(log, Input::Campaign));
    }

    fn tell_replicas(&mut self, node: NodeId, input: Input) {
        self.shared_with(node).into_iter().for_each(|log| self.drive(log, input.clone()));
    }

    fn shared_with(&self, node: NodeId) -> Vec<LogId> {
        // A newcomer reads memberships of the past in its log, which need not hold the one that sends it that log.
        let minds = |r: &Replica| {
            r.membership().members().any(|id| id.node == node)
                || r.leader().is_some_and(|leader| leader.node == node)
                || r.distrusts(node)
        };
        let minded = |p: &&Partition| p.replica.as_ref().is_some_and(minds);
        self.partitions.values().filter(minded).map(|p| p.log).collect()
    }

    /// A node is down. Those who follow it campaign one after the other, and of each replica set first the replica that is preferred
    /// among the live: thousands at once, each with a rival, would only be in each other's way.
    fn replace_leaders_on(&mut self, node: NodeId) {
        let mut turn = 0;
        for log in self.shared_with(node) {
            let Some(partition) = self.partitions.get(&log) else { continue };
            let leader = partition.replica.as_ref().and_then(raft::Replica::leader);
            let follows = leader.is_some_and(|leader| leader.node == node);
            let heirs =
                self.view.descriptor(partition.key).map(|d| d.replicas.as_slice()).unwrap_or_default();
            let live = heirs.iter().filter(|id| id.node != node && self.is_live(id.node));
            let rank = live.take_while(|id| **id != partition.id).count();
            let wait_us = turn * CAMPAIGN_EVERY_US + u64::try_from(rank).unwrap_or(0) * HEIR_US;
            turn += u64::from(follows);
            self.drive(log, Input::PeerDown { node, wait_us });
        }
    }

    fn health(&self) -> liveness::Health {
        let waited = self.workers.oldest_commit_us(self.now.mono);
        liveness::Health {
            progress: self.workers.stats().commits,
            sync_latency_us: u32::try_from(waited).unwrap_or(u32::MAX),
            disk_stuck: waited > STUCK_DISK_US,
        }
    }
}
