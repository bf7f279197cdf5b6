//! JoinGroup: who becomes a member, and whether the group has to share anew.

use std::collections::BTreeMap;

use super::api::{GroupResponse, JoinGroup, Joined};
use super::config::{GROUP_BYTES_MAX, NAME_BYTES_MAX};
use super::coordinator::{Step, Then};
use super::group::{Gathering, Group, State, fail_join};
use super::member::{Member, ms, protocol_bytes};
use crate::core::after_ms;
use crate::core::error::ErrorCode;
use crate::core::partition::Waiter;

impl Group {
    /// `new_id` is the id of the member, should it become a new one.
    pub(super) fn join(&mut self, step: &mut Step<'_>, from: Waiter, join: &JoinGroup, new_id: String) {
        let judged = match self.state {
            State::Dead => Err(ErrorCode::CoordinatorNotAvailable),
            _ if join.member.is_empty() => self.join_new(step, from, join, new_id),
            _ => self.join_again(step, from, join),
        };
        if let Err(error) = judged {
            fail_join(step, from, &join.member, error);
        }
    }

    fn join_new(
        &mut self,
        step: &mut Step<'_>,
        from: Waiter,
        join: &JoinGroup,
        new_id: String,
    ) -> Result<(), ErrorCode> {
        let current = join.instance.as_ref().and_then(|instance| self.statics.get(instance)).cloned();
        self.check_room(step, join, current.is_none())?;
        self.check_protocols(join)?;
        match current {
            Some(old) => self.replace(step, from, join, &old, new_id),
            None if join.instance.is_none() && join.knows_member_ids => {
                let until = after_ms(step.now, u64::from(ms(join.session_timeout_ms)));
                self.pending.insert(new_id.clone(), until);
                fail_join(step, from, &new_id, ErrorCode::MemberIdRequired);
            }
            None => self.add(step, from, join, new_id),
        }
        Ok(())
    }

    fn join_again(&mut self, step: &mut Step<'_>, from: Waiter, join: &JoinGroup) -> Result<(), ErrorCode> {
        if self.pending.contains_key(&join.member) {
            self.check_protocols(join)?;
            self.pending.remove(&join.member);
            self.add(step, from, join, join.member.clone());
            return Ok(());
        }
        self.check_instance(&join.member, join.instance.as_deref())?;
        let known = self.members.get(&join.member).ok_or(ErrorCode::UnknownMemberId)?;
        self.check_protocols(join)?;
        self.check_room(step, join, false)?;
        let same = known.protocols == join.protocols;
        let shares_anew = match self.state {
            State::PreparingRebalance => true,
            // It did not get the answer and asks again.
            State::CompletingRebalance => !same,
            // A leader that comes back wants to share anew: topics or their partitions have changed.
            State::Stable => !same || self.is_leader(&join.member),
            State::Empty | State::Dead => return Err(ErrorCode::UnknownMemberId),
        };
        let joined = self.joined(&join.member);
        let Some(member) = self.members.get_mut(&join.member) else { return Ok(()) };
        member.heard(step.now);
        if !shares_anew {
            step.answer(from, GroupResponse::Join(joined));
            return Ok(());
        }
        member.update(join);
        if let Some(older) = member.joining.replace(from) {
            fail_join(step, older, &join.member, ErrorCode::RebalanceInProgress);
        }
        self.prepare(step);
        Ok(())
    }

    fn add(&mut self, step: &mut Step<'_>, from: Waiter, join: &JoinGroup, id: String) {
        let mut member = Member::new(id.clone(), join, step.now);
        member.joining = Some(from);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
        if let Some(Gathering::Initial { grown, .. }) = &mut self.gathering {
            *grown = true;
        }
        self.prepare(step);
    }

    /// A static member comes back as another process: it takes the place, the assignment and the lead of the one before, which is fenced
    /// from now on (KIP-345). A stable group goes on without sharing anew, as long as its protocol stays the same.
    fn replace(&mut self, step: &mut Step<'_>, from: Waiter, join: &JoinGroup, old: &str, new_id: String) {
        let Some(mut member) = self.members.remove(old) else { return };
        let before =
            Member { joining: member.joining.take(), syncing: member.syncing.take(), ..member.clone() };
        super::group::fail_member(step, before, ErrorCode::FencedInstanceId);
        member.id.clone_from(&new_id);
        member.update(join);
        member.heard(step.now);
        let leader_before = self.leader.clone().unwrap_or_default();
        if self.is_leader(old) {
            self.leader = Some(new_id.clone());
        }
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), new_id.clone());
        }
        self.members.insert(new_id.clone(), member);
        if self.state == State::Stable && self.select_protocol() == self.protocol {
            let then = Then::Replace {
                group: self.id.clone(),
                from,
                member: new_id,
                leader_before,
                skips_assignment: join.skips_assignment,
            };
            return self.store(step, &BTreeMap::new(), then);
        }
        if let Some(member) = self.members.get_mut(&new_id) {
            member.joining = Some(from);
        }
        self.prepare(step);
    }

    /// The place of a static member is committed under its new id: it hears of the generation as it is. A leader of an older client must
    /// not share anew, for nobody would ask for that share: it is told the id that it had, so that it takes itself for a follower.
    pub(super) fn replaced(
        &mut self,
        step: &mut Step<'_>,
        from: Waiter,
        member: &str,
        leader_before: String,
        skips_assignment: bool,
    ) {
        if !self.members.contains_key(member) {
            return fail_join(step, from, member, ErrorCode::UnknownMemberId);
        }
        if self.state != State::Stable {
            return fail_join(step, from, member, ErrorCode::RebalanceInProgress);
        }
        let mut joined: Joined = self.joined(member);
        if skips_assignment {
            joined.skip_assignment = self.is_leader(member);
        } else {
            (joined.leader, joined.members) = (leader_before, Vec::new());
        }
        step.answer(from, GroupResponse::Join(joined));
    }

    fn check_room(&self, step: &Step<'_>, join: &JoinGroup, grows: bool) -> Result<(), ErrorCode> {
        let full = grows && self.members.len() + self.pending.len() >= step.config.members_max;
        let others = self.members.values().filter(|member| member.id != join.member);
        let own = protocol_bytes(&join.protocols) + join.client_id.len() + 2 * NAME_BYTES_MAX;
        let bytes = others.map(Member::bytes).sum::<usize>() + own;
        if full || bytes > GROUP_BYTES_MAX { Err(ErrorCode::GroupMaxSizeReached) } else { Ok(()) }
    }

    /// Members must be of one type and have a protocol in common.
    fn check_protocols(&self, join: &JoinGroup) -> Result<(), ErrorCode> {
        let fits = if self.members.is_empty() {
            !join.protocol_type.is_empty() && !join.protocols.is_empty()
        } else {
            self.protocol_type.as_deref() == Some(&join.protocol_type)
                && join.protocols.iter().any(|(name, _)| self.all_have(name))
        };
        if fits { Ok(()) } else { Err(ErrorCode::InconsistentGroupProtocol) }
    }
}
