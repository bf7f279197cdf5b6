//! Linearizable reads without clocks (ReadIndex, Raft dissertation 6.4): the commit index at the time of the question is
//! told once a quorum answered a heartbeat sent after it, and once an entry of the leader's own term is committed.

use std::collections::VecDeque;

use super::effects::NotLeader;
use super::leader::Leader;
use super::replica::{Core, Replica, State, Step};
use super::types::{Index, ReplicaId};
use crate::mutant::{self, Mutant};

/// Reads that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Confirmed by a quorum that answered heartbeat `seq`.
    asked: VecDeque<Pending>,
    seq: u64,
    /// Come while a round was under way: the next round answers them all.
    waiting: VecDeque<Pending>,
}

#[derive(Debug)]
struct Pending {
    context: u64,
    index: Index,
}

impl Reads {
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.waiting.is_empty()
    }

    fn drain(&mut self) -> impl Iterator<Item = Pending> {
        std::mem::take(&mut self.asked).into_iter().chain(std::mem::take(&mut self.waiting))
    }
}

impl Replica {
    pub(super) fn on_read(&mut self, context: u64, step: &mut Step<'_>) {
        let not_leader = self.not_leader();
        let State::Leader(leader) = &mut self.state else {
            return step.effects.reads.push((context, Err(not_leader)));
        };
        leader.reads.waiting.push_back(Pending { context, index: self.core.commit });
        leader.answer_reads(&self.core, step);
    }
}

impl Leader {
    /// Answers what a quorum confirmed and asks for what came since.
    pub(super) fn answer_reads(&mut self, core: &Core, step: &mut Step<'_>) {
        if self.reads.is_empty() || core.commit < self.first_index {
            return;
        }
        self.answer_asked(core, step);
        if self.reads.asked.is_empty() && !self.reads.waiting.is_empty() {
            self.reads.asked = std::mem::take(&mut self.reads.waiting);
            self.broadcast_heartbeat(core, step);
            self.reads.seq = self.seq;
            self.answer_asked(core, step);
        }
    }

    fn answer_asked(&mut self, core: &Core, step: &mut Step<'_>) {
        let seq = self.reads.seq;
        if !self.has_quorum(core, |peer| peer.acked_seq >= seq) && !mutant::active(Mutant::ReadUnconfirmed) {
            return;
        }
        // A read that came before the first own commit must see what that commit made known.
        let answers = std::mem::take(&mut self.reads.asked).into_iter();
        step.effects.reads.extend(answers.map(|read| (read.context, Ok(read.index.max(self.first_index)))));
    }

    pub(super) fn fail_reads(&mut self, leader: Option<ReplicaId>, step: &mut Step<'_>) {
        step.effects.reads.extend(self.reads.drain().map(|read| (read.context, Err(NotLeader { leader }))));
    }
}
