//! The directory as an adversary plays it. What nodes say about leaders is a hint: it may be lost, come seconds late, and come
//! again when it has long been untrue, from whoever and to whomever. Only what a node really said once is said again: nobody
//! makes hints up. A node that starts may find the oldest copy of the metadata that it ever saved.

use mesh::life::Life;
use mesh::raft::{Incarnation, NodeId};
use node::core::Input;
use node::core::message::{LeaderInfo, PeerMessage};

use super::{Event, Phase, World};
use crate::checks::Verdict;
use crate::queue::MS;

/// Hints that are kept to be said again.
const KEPT: usize = 256;

/// A node that nobody founded and nobody admitted.
const STRANGER: NodeId = NodeId(7_700);

impl World {
    /// A node published who leads a partition: some of it is remembered for long.
    pub(super) fn hinted(&mut self, info: LeaderInfo) {
        if self.scenario.directory.is_none() {
            return;
        }
        if self.hints.len() < KEPT {
            self.hints.push(info);
        } else if self.hint_chance.percent(20) {
            let at = self.hint_chance.position(KEPT);
            self.hints[at] = info;
        }
    }

    /// A hint leaves a node; true when the directory swallowed it or brings it later.
    pub(super) fn intercept(&mut self, from: usize, to: usize, message: &(Life, PeerMessage)) -> bool {
        let Some(directory) = self.scenario.directory.filter(|_| self.phase == Phase::Faults) else {
            return false;
        };
        if !matches!(message.1, PeerMessage::Leaders(_)) {
            return false;
        }
        if self.hint_chance.percent(directory.lost) {
            return true;
        }
        if self.hint_chance.percent(directory.late) {
            let at = self.now + self.hint_chance.within(500, 15_000) * MS;
            let message = Box::new(message.clone());
            self.queue.push(at, Event::Message { from, to, process: None, bytes: 0, message });
            return true;
        }
        false
    }

    /// Says something again, to anyone, as if anyone said it.
    pub(super) fn lie(&mut self) -> Verdict {
        let Some(directory) = self.scenario.directory.filter(|_| self.phase == Phase::Faults) else {
            return Ok(());
        };
        let next = self.now + self.hint_chance.within(1, directory.interval * 2) * MS;
        self.queue.push(next, Event::Lie);
        let to = self.hint_chance.position(self.hosts.len());
        if self.hint_chance.percent(5) {
            return self.stranger(to);
        }
        let count = self.hint_chance.within(1, 5);
        let mut said = Vec::new();
        for _ in 0..count {
            if !self.hints.is_empty() {
                said.push(self.hint_chance.pick(&self.hints).clone().into());
            }
        }
        let from = self.hint_chance.position(self.hosts.len());
        let Some(life) = self.hosts[from].node.as_ref().map(|node| node.life()).filter(|_| from != to) else {
            return Ok(());
        };
        let message = Box::new((life, PeerMessage::Leaders(said)));
        self.queue.push(self.now, Event::Message { from, to, process: None, bytes: 0, message });
        Ok(())
    }

    /// A message of a host that nobody founded gets past the shell.
    fn stranger(&mut self, to: usize) -> Verdict {
        let shard = u32::try_from(self.hint_chance.below(20)).unwrap_or(0);
        let noise = self.hint_chance.next().to_le_bytes().to_vec();
        let message = match self.hint_chance.below(5) {
            0 => PeerMessage::ShardPoll { shard, version: self.hint_chance.below(3) },
            1 => PeerMessage::ShardUpdate(noise.into()),
            2 => PeerMessage::Forwarded {
                correlation: self.hint_chance.below(100),
                reply: node::core::message::ForwardReply::Unknown,
            },
            3 => PeerMessage::Report { shard, reports: Vec::new() },
            _ => PeerMessage::AskFate { shard, replicas: Vec::new() },
        };
        let life = Life { incarnation: Incarnation(1), boot: 1, session: 1 };
        self.step(to, Input::Message { from: STRANGER, life, message })
    }
}
