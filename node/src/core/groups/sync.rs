//! SyncGroup and Heartbeat: the members' shares, and that they are there.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::api::{GroupResponse, MemberOf, SyncGroup, Synced};
use super::config::GROUP_BYTES_MAX;
use super::coordinator::{Step, Then};
use super::group::{Group, State};
use super::member::Member;
use crate::core::error::ErrorCode;
use crate::core::partition::Waiter;

impl Group {
    pub(super) fn sync(&mut self, step: &mut Step<'_>, from: Waiter, sync: SyncGroup) {
        if let Err(error) = self.check_sync(&sync) {
            return step.answer(from, GroupResponse::Sync(Synced::refused(error)));
        }
        let id = sync.of.member.clone();
        let stable = self.state == State::Stable;
        let share = self.share_of(&id);
        let Some(member) = self.members.get_mut(&id) else { return };
        member.heard(step.now);
        member.synced = true;
        if stable {
            step.answer(from, GroupResponse::Sync(share));
        } else if let Some(older) = member.syncing.replace(from) {
            step.answer(older, GroupResponse::Sync(Synced::refused(ErrorCode::RebalanceInProgress)));
        }
        if self.members.values().all(|member| member.synced) {
            self.sync_ends = None;
        }
        if self.state == State::CompletingRebalance && self.is_leader(&id) && !self.storing {
            self.take_assignments(step, sync.assignments);
        }
    }

    fn check_sync(&self, sync: &SyncGroup) -> Result<(), ErrorCode> {
        if self.state == State::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.check(&sync.of)?;
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// The leader's word is what all members will be told, once it is committed.
    fn take_assignments(&mut self, step: &mut Step<'_>, assignments: Vec<(String, Bytes)>) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        assignments.retain(|id, _| self.members.contains_key(id));
        let taken: usize = assignments.values().map(Bytes::len).sum();
        let kept: usize = self.members.values().map(Member::bytes).sum();
        if taken.saturating_add(kept) > GROUP_BYTES_MAX {
            self.fail_syncs(step, ErrorCode::UnknownServerError);
            return self.prepare(step);
        }
        self.storing = true;
        let then = Then::Assign {
            group: self.id.clone(),
            generation: self.generation,
            assignments: assignments.clone(),
        };
        self.store(step, &assignments, then);
    }

    /// The shares of a generation are committed.
    pub(super) fn assigned(
        &mut self,
        step: &mut Step<'_>,
        generation: i32,
        mut assignments: BTreeMap<String, Bytes>,
    ) {
        if self.state != State::CompletingRebalance || self.generation != generation {
            return;
        }
        self.storing = false;
        self.becomes(State::Stable, step.wall_ms);
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
        }
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let share = self.share_of(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            if let Some(waiter) = member.syncing.take() {
                member.heard(step.now);
                step.answer(waiter, GroupResponse::Sync(share));
            }
        }
    }

    /// The log did not take the shares of a generation: the members come again.
    pub(super) fn unassigned(&mut self, step: &mut Step<'_>, generation: i32, error: ErrorCode) {
        if self.state == State::CompletingRebalance && self.generation == generation {
            self.storing = false;
            self.fail_syncs(step, error);
            self.prepare(step);
        }
    }

    fn share_of(&self, member: &str) -> Synced {
        Synced {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(member).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn heartbeat(&mut self, step: &Step<'_>, of: &MemberOf) -> ErrorCode {
        if self.state == State::Dead {
            return ErrorCode::CoordinatorNotAvailable;
        }
        if let Err(error) = self.check(of) {
            return error;
        }
        if let Some(member) = self.members.get_mut(&of.member) {
            member.heard(step.now);
        }
        match self.state {
            State::PreparingRebalance => ErrorCode::RebalanceInProgress,
            _ => ErrorCode::None,
        }
    }
}
