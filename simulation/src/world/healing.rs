//! The end of a run: all faults stop, and within bounded virtual time everything is as it should be.

use std::collections::BTreeSet;

use mesh::raft::NodeId;
use node::core::metadata::balancing::next_orders;
use node::core::metadata::{Descriptor, NodeInfo, NodeState, PartitionKey};

use super::clients::Client;
use super::faults::DAMAGE;
use super::{Event, Process, World, broken};
use crate::checks::Verdict;
use crate::client::Auditor;
use crate::queue::{MS, Micros, SECOND};
use crate::random::Random;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Faults happen.
    Faults,
    /// They stopped then.
    Settling { since: Micros },
    /// Every log is read as a whole by this client.
    Reading { since: Micros, auditor: usize },
    /// It is over.
    Done,
}

/// Clients go on this long after all faults stopped.
const AFTERGLOW: Micros = 2 * SECOND;

/// From the end of faults to everything being well. Most of it is for a replica that is rebuilt by appends of one entry, one at a
/// time, over slow disks: 700 entries at 0.1 s each in seed 50971.
const SETTLE_MAX: Micros = 180 * SECOND;

/// To read every log.
const READ_MAX: Micros = 120 * SECOND;

impl World {
    pub(super) fn watch(&mut self) -> Verdict {
        let next = match self.phase {
            Phase::Faults => SECOND,
            _ => 250 * MS,
        };
        self.queue.push(self.now + next, Event::Watch);
        self.nothing_is_missed()?;
        if let Some(host) = self.damaged
            && self.hosts[host].doomed.is_none()
            && self.restored.is_none()
            && self.outlived.is_none()
            && self.not_whole(Some(host)).is_none()
        {
            self.tell(Some(host), || "is healed".into());
            self.damaged = None;
            // A sync that is yet to fail, or a full disk, is another matter.
            let excuse = &mut self.hosts[host].excuse;
            *excuse = excuse.filter(|reason| *reason != DAMAGE);
        }
        match self.phase {
            Phase::Faults if self.now >= self.scenario.duration => self.heal(),
            Phase::Settling { since } => self.settle(since),
            Phase::Reading { since, auditor } => self.read_on(since, auditor),
            Phase::Faults | Phase::Done => Ok(()),
        }
    }

    fn settle(&mut self, since: Micros) -> Verdict {
        if self.now < since + AFTERGLOW {
            return Ok(());
        }
        for client in 0..self.clients.len() {
            self.clients[client].actor.finish();
            self.wake_when_due(client);
        }
        if let Some(why) = self.unsettled() {
            if self.unsettled_for != why {
                self.tell(None, || format!("not well yet: {why}"));
                self.unsettled_for.clone_from(&why);
            }
            if self.now > since + SETTLE_MAX {
                let seconds = SETTLE_MAX / SECOND;
                return broken("the mesh heals", format!("{seconds} s after all faults stopped, {why}"));
            }
            return Ok(());
        }
        self.tell(None, || "everything is well".into());
        let partitions = self.ledger.descriptors.all().filter(|d| d.key.as_shard().is_none());
        let leader = |key: PartitionKey| self.leader_of(key).map_or(NodeId(1), |fact| fact.id.node);
        let partitions = partitions.map(|descriptor| (descriptor.key, leader(descriptor.key))).collect();
        let auditor = self.clients.len();
        let actor = Box::new(Auditor::new(partitions, self.now));
        self.clients.push(Client::new(actor, Random::of(self.seed, "auditor")));
        self.connections.resize((auditor + 1) * self.hosts.len(), (0, 0));
        self.wake_when_due(auditor);
        self.phase = Phase::Reading { since: self.now, auditor };
        Ok(())
    }

    fn read_on(&mut self, since: Micros, auditor: usize) -> Verdict {
        // A deletion that a client gave up on may be committed as late as now.
        if self.clients[auditor].actor.reading().is_some_and(|key| self.is_deleted(key)) {
            self.clients[auditor].actor.skip();
            self.wake_when_due(auditor);
        }
        if let Some(why) = self.clients[auditor].actor.unfinished() {
            if self.now > since + READ_MAX {
                return broken("every log can be read", why);
            }
            return Ok(());
        }
        for read in self.clients[auditor].actor.full_reads() {
            let group = self.ledger.group(read.key);
            for check in &mut self.checks {
                check.full_read(&self.ledger, group, read.start, read.end)?;
            }
        }
        self.phase = Phase::Done;
        Ok(())
    }

    /// What is not finished or not as it should be.
    fn unsettled(&self) -> Option<String> {
        if let Some(why) = self.clients.iter().find_map(|client| client.actor.unfinished()) {
            return Some(why);
        }
        if let Some(host) = self.restored {
            return Some(format!("the old copy of its data directory runs on as node {}", host + 1));
        }
        if let Some(host) = self.outlived {
            return Some(format!("a directory that another one followed runs on as node {}", host + 1));
        }
        if let Some(why) = self.not_whole(None) {
            return Some(why);
        }
        if let Some(id) = self.waiting_request() {
            return Some(format!("request {} is not answered", id.0));
        }
        self.ledger
            .descriptors
            .all()
            .find_map(|descriptor| self.behind(descriptor))
            .or_else(|| self.left_over())
            .or_else(|| self.out_of_order())
    }

    /// A node that is called dead and runs, a replica or a preferred leader that should be elsewhere, a leader that is not the preferred one.
    fn out_of_order(&self) -> Option<String> {
        let view = self.ledger.descriptors.view();
        let up: BTreeSet<NodeId> =
            self.hosts.iter().filter(|host| host.is_node()).map(|host| host.id()).collect();
        if let Some(dead) = view.nodes().find(|info| info.state == NodeState::Dead) {
            return Some(format!("node {} is called dead", dead.node.0));
        }
        if let Some((shard, order)) = next_orders(&view, &up, usize::MAX).first() {
            return Some(format!("shard {} should be ordered {order:?}", shard.0));
        }
        let descriptors: Vec<&Descriptor> = self.ledger.descriptors.all().collect();
        descriptors.into_iter().find_map(|descriptor| {
            let (preferred, leader) = (descriptor.replicas.first()?, self.leader_of(descriptor.key)?);
            let may_lead = view.node(preferred.node).is_some_and(NodeInfo::is_active);
            (may_lead && leader.id != *preferred)
                .then(|| format!("{:?} is led by {} and not by {preferred}", descriptor.key, leader.id))
        })
    }

    /// The first partition whose actual replicas are not the desired ones; with `host`, of those it should have. Until the registry
    /// has each node's present life, topics may be planned on lives that are over.
    pub(super) fn not_whole(&self, host: Option<usize>) -> Option<String> {
        let node = host.map(|host| self.hosts[host].id());
        let concerned = |descriptor: &&Descriptor| node.is_none_or(|node| descriptor.names_node(node));
        let descriptors = &self.ledger.descriptors;
        let unregistered = self.hosts.iter().find(|one| {
            one.is_node()
                && host.is_none_or(|host| host == one.at)
                && descriptors.life_of(one.id()) != Some(one.incarnation)
        });
        if let Some(one) = unregistered {
            return Some(format!("the registry does not know the present life of node {}", one.id().0));
        }
        descriptors.all().filter(concerned).find_map(|descriptor| self.incomplete(descriptor))
    }

    fn incomplete(&self, descriptor: &Descriptor) -> Option<String> {
        let name = || match descriptor.key.as_shard() {
            Some(shard) => format!("shard {}", shard.0),
            None => format!("{:?}", descriptor.key),
        };
        if descriptor.creating || descriptor.is_moving() {
            return Some(format!("the descriptor of {} is {descriptor:?}", name()));
        }
        let Some(leader) = self.leader_of(descriptor.key) else {
            return Some(format!("{} has no leader", name()));
        };
        if !leader.membership.outgoing.is_empty() || leader.membership.voters != descriptor.voters() {
            return Some(format!(
                "the membership of {} at its leader {} is {:?}, desired is {:?}",
                name(),
                leader.id,
                leader.membership,
                descriptor.replicas
            ));
        }
        let missing = descriptor.replicas.iter().find(|id| {
            let host = self.host_of(id.node).map(|host| &self.hosts[host]);
            !host.is_some_and(|host| {
                host.incarnation == id.incarnation
                    && host.shown.get(&descriptor.key).is_some_and(|fact| fact.id == **id)
            })
        });
        missing.map(|id| format!("replica {id} of {} is not there", name()))
    }

    /// A replica that does not hold everything, or a second leader.
    fn behind(&self, descriptor: &Descriptor) -> Option<String> {
        let group = self.ledger.find(descriptor.key)?;
        let committed = self.ledger.committed(group);
        let shown = self.hosts.iter().filter_map(|host| host.shown.get(&descriptor.key));
        let leaders = shown.clone().filter(|fact| fact.leads).count();
        if leaders != 1 {
            return Some(format!("{} has {leaders} leaders", self.ledger.name(group)));
        }
        let mut members = shown.filter(|fact| descriptor.replicas.contains(&fact.id));
        let behind = members.find(|fact| fact.commit != committed || fact.synced != committed)?;
        let (name, who) = (self.ledger.name(group), behind.name());
        let (commit, synced, last) = (behind.commit.0, behind.synced.0, behind.last.0);
        Some(format!(
            "{name}: {who} has commit {commit}, synced {synced}, last {last}; committed is {}",
            committed.0
        ))
    }

    /// A replica that no descriptor wants, or a host that is not running.
    fn left_over(&self) -> Option<String> {
        for host in &self.hosts {
            if host.process != Process::Running {
                return Some(format!("node {} is not running", host.at + 1));
            }
            for (key, fact) in &host.shown {
                let wanted = self.ledger.descriptors.of(*key).is_some_and(|d| d.replicas.contains(&fact.id));
                if !wanted {
                    return Some(format!("replica {} of {key:?} is still there", fact.id));
                }
            }
        }
        None
    }
}
