//! Where replicas and leaders should be, carried out: orders of the leader of shard 0, leaders that go where the descriptors prefer them, and
//! nodes that shall not lead.
//!
//! The decisions are [`metadata::balancing`](super::metadata::balancing)'s.

use std::collections::BTreeSet;

use mesh::raft::{Input, NodeId, ReplicaId};
use storage::{Disk, LogId};

use super::after_ms;
use super::error::ErrorCode;
use super::metadata::balancing::{Order, next_orders};
use super::metadata::{Command, NodeState, Outcome, ShardId};
use super::node::Node;
use super::shards::Purpose;

/// Leaders that may go home for each look: the mesh shall not be without all of them at once.
const HANDOVERS_AT_ONCE: usize = 16;

impl<D: Disk> Node<D> {
    /// As the leader of shard 0: what the mesh as a whole needs next.
    pub(crate) fn tend_mesh(&mut self) {
        if self.leading(0).is_none() {
            self.absences = Default::default();
            // What it ordered it saw as a leader; whoever leads now sees for itself.
            self.forwarding.waiting.retain(|_, forward| forward.purpose != Purpose::Balance);
            return;
        }
        let now = self.now.mono;
        let live = self.up();
        let grace_us = self.config.dead_after_ms.saturating_mul(1_000);
        let dead = self.absences.look(now, &self.view, &live, grace_us);
        let busy = self.forwarding.waiting.values().any(|forward| forward.purpose == Purpose::Balance);
        if busy || now < self.balance_at {
            return;
        }
        self.balance_at = after_ms(now, self.config.balance_ms);
        let orders = match dead.is_empty() {
            true => self.plan_moves(live),
            false => dead,
        };
        let orders = if orders.is_empty() { self.exchange_leaders() } else { orders };
        for (shard, command) in orders {
            tracing::info!(shard = shard.0, ?command, "the mesh is put in order");
            self.submit(shard, &command, Purpose::Balance);
        }
    }

    /// Nobody is called dead by another node's word: it may have led once, cut off with what it saw then.
    pub(crate) fn may_call_dead(&self, command: &[u8]) -> Result<(), Outcome> {
        let dead = Command::is_node_state(command)
            && matches!(Command::decode(command), Ok(Command::SetNodeState { state: NodeState::Dead, .. }));
        match dead {
            false => Ok(()),
            true => Err(Outcome::Refused {
                error: ErrorCode::NotController,
                message: "the leader of shard 0 finds by itself who is dead".to_owned(),
            }),
        }
    }

    /// The next moves; none to be found before something changed.
    fn plan_moves(&mut self, live: BTreeSet<NodeId>) -> Vec<Order> {
        let seen = (ShardId::all().map(|shard| self.view.version(shard)).collect(), live);
        if self.in_order.as_ref() == Some(&seen) {
            return Vec::new();
        }
        let orders = next_orders(&self.view, &seen.1, self.config.moves_at_once);
        self.in_order = orders.is_empty().then_some(seen);
        orders
    }

    /// Leaders that are not where their descriptors prefer them go there, once the preferred replica was in sync for a while; a node that
    /// shall not lead hands over what others can lead. `looks` have gone by since this was done.
    pub(crate) fn send_leaders_home(&mut self, looks: usize) {
        let willing = self.may_lead(self.identity.node);
        let mut left = HANDOVERS_AT_ONCE * looks;
        for log in self.led_logs() {
            let successor = match willing {
                true => self.rightful_leader(log),
                false => self.another_leader(log, |node| self.may_lead(node)),
            };
            if let Some(successor) = successor
                && left > 0
            {
                left -= 1;
                self.drive(log, Input::Transfer(successor));
            }
        }
    }

    fn may_lead(&self, node: NodeId) -> bool {
        self.view.node(node).is_none_or(|info| info.state == NodeState::Active)
    }

    /// The preferred replica of a partition that is led here, if it has been able to lead for long enough.
    fn rightful_leader(&mut self, log: LogId) -> Option<ReplicaId> {
        let since = after_ms(self.now.mono, self.config.prefer_after_ms);
        let partition = self.partitions.get(&log)?;
        let preferred = self.view.descriptor(partition.key)?.replicas.first().copied()?;
        let able = preferred != partition.id
            && self.may_lead(preferred.node)
            && partition.replica.as_ref()?.in_sync().contains(&preferred);
        let partition = self.partitions.get_mut(&log)?;
        let due = partition.home_at.filter(|_| able).unwrap_or(since);
        partition.home_at = able.then_some(due);
        (able && self.now.mono >= due).then_some(preferred)
    }

    /// The logs of the partitions that are led here.
    pub(crate) fn led_logs(&self) -> Vec<LogId> {
        self.partitions
            .values()
            .filter(|partition| partition.leads())
            .map(|partition| partition.log)
            .collect()
    }

    /// Who could take a partition over that is led here: in sync, and on a node that may.
    pub(crate) fn another_leader(&self, log: LogId, may: impl Fn(NodeId) -> bool) -> Option<ReplicaId> {
        let partition = self.partitions.get(&log)?;
        let in_sync = partition.replica.as_ref()?.in_sync();
        in_sync.into_iter().find(|id| *id != partition.id && may(id.node))
    }
}
