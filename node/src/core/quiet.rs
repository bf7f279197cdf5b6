//! Who vouches for replica sets that are quiet ([`mesh::raft::Replica::is_quiet`]): the failure detector, by node.
//!
//! A replica may be quiet as long as this node hears each node that it counts on. What becomes of that goes to the replicas as
//! `PeerDown`, `PeerUp` and `Wake`; here is what the detector does not say by itself.

use mesh::raft::{Input, Message, NodeId, Replica, Role};
use storage::{Disk, LogId};

use super::node::Node;
use crate::mutant::{self, Mutant};

impl<D: Disk> Node<D> {
    /// A replica went quiet. One that counts on a node that is not live would never hear that it is gone.
    pub(crate) fn went_quiet(&mut self, log: LogId) {
        let Some(replica) = self.partitions.get(&log).and_then(|partition| partition.replica.as_ref()) else {
            return;
        };
        let counts_on: Vec<NodeId> = match replica.role() {
            Role::Leader => {
                replica.progress().iter().filter(|peer| peer.live).map(|peer| peer.id.node).collect()
            }
            _ => replica.leader().map(|leader| leader.node).into_iter().collect(),
        };
        if counts_on.into_iter().any(|node| !self.liveness.is_live(node)) {
            self.drive(log, Input::Wake);
        }
    }

    /// A leader that asks for quiet says how often this node admitted until now that a leader ceased.
    pub(crate) fn vouch(&self, message: &mut Message) {
        if let Message::Heartbeat { quiet: Some(faltered), .. } = message {
            *faltered = self.liveness.faltered();
        }
    }

    /// The wish of a leader that may have ceased since, and whose node admitted it already, is not heard.
    pub(crate) fn doubt(&self, from: NodeId, message: &mut Message) {
        if let Message::Heartbeat { quiet, .. } = message
            && !mutant::active(Mutant::FalteredUnheard)
        {
            *quiet = quiet.filter(|faltered| *faltered >= self.liveness.faltered_at(from));
        }
    }

    /// Leaders do not wait for the confirmation of members that answer nothing and whose node is not live: its return will be told.
    pub(crate) fn give_up_silent_members(&mut self) {
        let silent = |replica: &Replica| -> Vec<NodeId> {
            let progress = replica.progress();
            let silent = progress.iter().filter(|peer| !peer.live && !self.liveness.is_live(peer.id.node));
            silent.map(|peer| peer.id.node).collect()
        };
        let awake = |replica: &&Replica| replica.role() == Role::Leader && !replica.is_quiet();
        let down: Vec<(LogId, NodeId)> = self
            .partitions
            .values()
            .filter_map(|partition| Some((partition.log, partition.replica.as_ref().filter(awake)?)))
            .flat_map(|(log, replica)| silent(replica).into_iter().map(move |node| (log, node)))
            .collect();
        for (log, node) in down {
            self.drive(log, Input::PeerDown { node, wait_us: 0 });
        }
    }
}
