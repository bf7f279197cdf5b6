//! Membership changes: learners one by one, voters by joint consensus with an automatic leave
//! (Raft dissertation 4.3, 4.2.2).

use std::collections::BTreeSet;

use bytes::Bytes;

use super::effects::{InvalidChange, MembershipChange, ProposeError};
use super::entry::{EntryKind, Proposal};
use super::membership::Membership;
use super::message::Message;
use super::replica::{Replica, State, Step};
use super::types::ReplicaId;
use crate::mutant::{self, Mutant};

impl Replica {
    pub(super) fn on_change(&mut self, change: MembershipChange, step: &mut Step<'_>) {
        match self.check_change(change) {
            Ok(membership) => self.append_membership(&membership, step),
            Err(error) => step.effects.rejected = Some(error),
        }
    }

    fn check_change(&self, change: MembershipChange) -> Result<Membership, ProposeError> {
        let leader = match &self.state {
            State::Leader(leader) if leader.transfer.is_none() => leader,
            _ => return Err(ProposeError::NotLeader { leader: self.not_leader().leader }),
        };
        let active = self.core.memberships.active();
        let settled = self.core.commit >= leader.first_index.max(self.core.memberships.active_index());
        let settled = settled || mutant::active(Mutant::ChangeBeforeCommit);
        if !settled || active.is_joint() {
            return Err(ProposeError::ChangeInProgress);
        }
        let membership = changed(active, change).map_err(ProposeError::InvalidChange)?;
        if !membership.is_valid() {
            return Err(ProposeError::InvalidChange(InvalidChange::TooMany));
        }
        Ok(membership)
    }

    fn append_membership(&mut self, membership: &Membership, step: &mut Step<'_>) {
        let payload = Bytes::from(membership.encode());
        let proposal = Proposal { kind: EntryKind::Membership, record_count: 0, timestamp_ms: -1, payload };
        self.core.append_own(proposal, step);
        self.regroup();
        self.replicate_to_all(step);
    }

    /// Once the membership in force is committed: a joint one is left, and a leader that it does not count goes.
    pub(super) fn settle_membership(&mut self, step: &mut Step<'_>) {
        let State::Leader(leader) = &self.state else {
            return;
        };
        let core = &self.core;
        let active = core.memberships.active();
        if core.commit < leader.first_index.max(core.memberships.active_index()) {
            return;
        }
        if active.is_joint() {
            let left = Membership { outgoing: BTreeSet::new(), ..active.clone() };
            self.append_membership(&left, step);
        } else if !active.is_voter(core.id) {
            self.leave(step);
        }
    }

    /// Tells the others that the leave is committed, asks the voter that has most to campaign, and follows.
    fn leave(&mut self, step: &mut Step<'_>) {
        let core = &self.core;
        if let State::Leader(leader) = &mut self.state {
            leader.broadcast_heartbeat(core, step);
            let voters = leader.peers.iter().filter(|peer| core.memberships.active().is_voter(peer.id));
            let live = voters.filter(|peer| peer.is_live(core.now, &core.config));
            if let Some(heir) = live.max_by_key(|peer| peer.matched) {
                core.send(heir.id, Message::TimeoutNow { term: core.term }, step);
            }
        }
        self.become_follower(self.core.term, None, step);
    }
}

fn changed(active: &Membership, change: MembershipChange) -> Result<Membership, InvalidChange> {
    let mut membership = active.clone();
    match change {
        MembershipChange::AddLearner(id) if active.contains(id) => return Err(InvalidChange::AlreadyMember),
        MembershipChange::AddLearner(id) => {
            membership.learners.insert(id);
        }
        MembershipChange::RemoveLearner(id) => {
            if !membership.learners.remove(&id) {
                return Err(InvalidChange::NotLearner);
            }
        }
        MembershipChange::Joint { as_of, .. } if as_of < active.as_of => return Err(InvalidChange::Outdated),
        MembershipChange::Joint { voters, as_of } => {
            check_voters(active, &voters)?;
            membership.as_of = as_of;
            membership.learners.retain(|id| !voters.contains(id));
            membership.outgoing = std::mem::replace(&mut membership.voters, voters);
        }
    }
    Ok(membership)
}

fn check_voters(active: &Membership, voters: &BTreeSet<ReplicaId>) -> Result<(), InvalidChange> {
    if voters.is_empty() {
        return Err(InvalidChange::NoVoters);
    }
    if *voters == active.voters {
        return Err(InvalidChange::NoChange);
    }
    if active.voters.len() == 1 && voters.len() == 2 && !mutant::active(Mutant::OneToTwo) {
        return Err(InvalidChange::OneToTwo);
    }
    if voters.iter().any(|id| !active.contains(*id)) {
        return Err(InvalidChange::VoterNotLearner);
    }
    Ok(())
}
