//! One group: what it is, and how a rebalance begins and ends.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mesh::raft::Time;

use super::api::{DescribedGroup, GroupResponse, Joined, JoinedMember, ListedGroup, MemberOf, Synced};
use super::coordinator::{Step, Then};
use super::member::Member;
use super::record::{StoredGroup, StoredOffset, group_record};
use crate::core::after_ms;
use crate::core::error::ErrorCode;
use crate::core::partition::Waiter;
use crate::mutant::{self, Mutant};

/// Where a group is in its life; see the table of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
}

impl State {
    /// Kafka's name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// What a rebalance waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathering {
    /// The first members of an empty group: a fixed time, and once more when others came meanwhile, but not beyond `last`.
    Initial { ends: Time, last: Time, grown: bool },
    /// All members, until the longest of their rebalance timeouts.
    Members { ends: Time },
}

impl Gathering {
    pub(super) fn ends(self) -> Time {
        match self {
            Self::Initial { ends, .. } | Self::Members { ends } => ends,
        }
    }
}

/// An offset: what is committed, and what will be.
#[derive(Clone, Debug, Default)]
pub(super) struct Offset {
    pub(super) committed: Option<StoredOffset>,
    /// What is under way to the log, in its order; `None` is a tombstone.
    pub(super) pending: VecDeque<Option<StoredOffset>>,
}

impl Offset {
    /// Whether there is nothing to know of it any more.
    pub(super) fn is_none(&self) -> bool {
        self.committed.is_none() && self.pending.is_empty()
    }
}

/// By topic and partition.
pub(super) type Offsets = BTreeMap<String, BTreeMap<i32, Offset>>;

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) state: State,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Member ids of static members by their instance.
    pub(super) statics: BTreeMap<String, String>,
    /// Member ids that were handed out and did not join yet, and until when they may (KIP-394).
    pub(super) pending: BTreeMap<String, Time>,
    /// Since when it is in its state.
    pub(super) changed_ms: i64,
    pub(super) gathering: Option<Gathering>,
    /// Who has not asked for its share by then is out.
    pub(super) sync_ends: Option<Time>,
    /// The leader's assignment of this generation is under way to the log.
    pub(super) storing: bool,
    pub(super) offsets: Offsets,
    /// The log holds a record of the group itself.
    pub(super) stored: bool,
    /// Its place in the coordinator's queue of alarms.
    pub(super) alarm: Option<Time>,
}

impl Group {
    pub(super) fn new(id: String, wall_ms: i64) -> Self {
        Self {
            id,
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            changed_ms: wall_ms,
            gathering: None,
            sync_ends: None,
            storing: false,
            offsets: Offsets::new(),
            stored: false,
            alarm: None,
        }
    }

    /// Becomes what a record says. Its members have until their sessions end to be heard.
    pub(super) fn restore(&mut self, stored: StoredGroup, now: Time) {
        let StoredGroup { protocol_type, generation, protocol, leader, changed_ms, members } = stored;
        self.state = if members.is_empty() { State::Empty } else { State::Stable };
        self.generation = generation;
        self.statics = members
            .iter()
            .filter_map(|member| Some((member.instance.clone()?, member.member.clone())))
            .collect();
        self.members = members
            .into_iter()
            .map(|member| (member.member.clone(), Member::restored(member, protocol.as_ref(), now)))
            .collect();
        self.protocol_type = (!protocol_type.is_empty()).then_some(protocol_type);
        (self.protocol, self.leader) = (protocol, leader);
        if changed_ms >= 0 {
            self.changed_ms = changed_ms;
        }
        self.stored = true;
    }

    pub(super) fn becomes(&mut self, state: State, wall_ms: i64) {
        self.state = state;
        self.changed_ms = wall_ms;
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// Nothing is left of it that anybody could ask for.
    pub(super) fn is_void(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty() && self.offsets.is_empty() && !self.stored
    }

    /// What a member of a generation may do: it must be one, and the generation the present one.
    pub(super) fn check(&self, of: &MemberOf) -> Result<(), ErrorCode> {
        self.check_instance(&of.member, of.instance.as_deref())?;
        if !self.members.contains_key(&of.member) {
            return Err(ErrorCode::UnknownMemberId);
        }
        if of.generation != self.generation && !mutant::active(Mutant::GroupFencingSkipped) {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok(())
    }

    /// A static member that another process took the place of must learn so, and end.
    pub(super) fn check_instance(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        let Some(instance) = instance else { return Ok(()) };
        match self.statics.get(instance) {
            None => Err(ErrorCode::UnknownMemberId),
            Some(current) if current != member => Err(ErrorCode::FencedInstanceId),
            Some(_) => Ok(()),
        }
    }

    /// The longest time that a member takes to come to a rebalance.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        u64::from(self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0))
    }

    /// The protocol that most members prefer among those that all have; the alphabet decides a tie.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote =
                member.protocols.iter().map(|(name, _)| name.as_str()).find(|name| self.all_have(name));
            if let Some(vote) = vote {
                *votes.entry(vote).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    pub(super) fn all_have(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.protocols.iter().any(|(name, _)| name == protocol))
    }

    /// Begins a rebalance, or goes on with one.
    pub(super) fn prepare(&mut self, step: &mut Step<'_>) {
        if self.state == State::PreparingRebalance {
            return self.try_complete(step);
        }
        self.fail_syncs(step, ErrorCode::RebalanceInProgress);
        let first = self.state == State::Empty;
        self.becomes(State::PreparingRebalance, step.wall_ms);
        (self.sync_ends, self.storing) = (None, false);
        let (timeout, delay) =
            (self.rebalance_timeout_ms(), u64::from(step.config.initial_rebalance_delay_ms));
        self.gathering = Some(if first {
            let (ends, last) = (after_ms(step.now, delay), after_ms(step.now, timeout.max(delay)));
            Gathering::Initial { ends, last, grown: false }
        } else {
            Gathering::Members { ends: after_ms(step.now, timeout) }
        });
        self.try_complete(step);
    }

    /// Ends a rebalance that waits for nobody any more.
    pub(super) fn try_complete(&mut self, step: &mut Step<'_>) {
        let waits = !self.pending.is_empty() || self.members.values().any(|member| member.joining.is_none());
        if matches!(self.gathering, Some(Gathering::Members { .. })) && !waits {
            self.complete(step);
        }
    }

    /// The time for members to come is over.
    pub(super) fn gathered(&mut self, step: &mut Step<'_>) {
        match self.gathering {
            Some(Gathering::Initial { last, grown: true, .. }) if last > step.now => {
                let delay = u64::from(step.config.initial_rebalance_delay_ms);
                let ends = after_ms(step.now, delay).min(last);
                self.gathering = Some(Gathering::Initial { ends, last, grown: false });
            }
            Some(_) => self.complete(step),
            None => {}
        }
    }

    /// Whoever came is of the next generation. Static members that did not come stay until their sessions end.
    fn complete(&mut self, step: &mut Step<'_>) {
        let absent = |member: &&Member| member.joining.is_none() && member.instance.is_none();
        let absent: Vec<String> = self.members.values().filter(absent).map(|m| m.id.clone()).collect();
        absent.iter().for_each(|id| self.remove(step, id));
        let came = |member: &Member| member.joining.is_some();
        if !self.members.is_empty() && !self.members.values().any(came) {
            let ends = after_ms(step.now, self.rebalance_timeout_ms().max(1));
            self.gathering = Some(Gathering::Members { ends });
            return;
        }
        self.gathering = None;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let led = self.leader.as_ref().and_then(|leader| self.members.get(leader)).is_some_and(came);
        if !led {
            self.leader = self.members.values().find(|member| came(member)).map(|member| member.id.clone());
        }
        self.protocol = self.select_protocol();
        if self.members.is_empty() {
            self.becomes(State::Empty, step.wall_ms);
            self.store(step, &BTreeMap::new(), Then::Nothing);
        } else {
            self.begin_generation(step);
        }
    }

    fn begin_generation(&mut self, step: &mut Step<'_>) {
        self.becomes(State::CompletingRebalance, step.wall_ms);
        self.sync_ends = Some(after_ms(step.now, self.rebalance_timeout_ms().max(1)));
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            (member.synced, member.assignment) = (false, Bytes::new());
            if let Some(waiter) = member.joining.take() {
                member.heard(step.now);
                step.answer(waiter, GroupResponse::Join(joined));
            }
        }
    }

    /// The present generation as a member is told of it; the leader is told of all members.
    pub(super) fn joined(&self, member: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let told = |other: &Member| JoinedMember {
            member: other.id.clone(),
            instance: other.instance.clone(),
            metadata: other.metadata(&protocol),
        };
        let members =
            if self.is_leader(member) { self.members.values().map(told).collect() } else { Vec::new() };
        Joined {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member: member.to_owned(),
            members,
        }
    }

    /// Takes a member out. Whoever waits on its behalf hears that it is none.
    pub(super) fn remove(&mut self, step: &mut Step<'_>, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(instance) = &member.instance
            && self.statics.get(instance).is_some_and(|current| current == id)
        {
            self.statics.remove(instance);
        }
        fail_member(step, member, ErrorCode::UnknownMemberId);
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// After members went: the others share anew.
    pub(super) fn shrunk(&mut self, step: &mut Step<'_>) {
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare(step),
            State::PreparingRebalance => self.try_complete(step),
            State::Empty | State::Dead => {}
        }
    }

    pub(super) fn fail_syncs(&mut self, step: &mut Step<'_>, error: ErrorCode) {
        for member in self.members.values_mut() {
            if let Some(waiter) = member.syncing.take() {
                step.answer(waiter, GroupResponse::Sync(Synced::refused(error)));
            }
        }
    }

    /// Appends the group as it is, with these assignments where they name a member.
    pub(super) fn store(&mut self, step: &mut Step<'_>, assignments: &BTreeMap<String, Bytes>, then: Then) {
        let protocol = self.protocol.clone().unwrap_or_default();
        let member = |member: &Member| {
            let mut stored = member.stored(&protocol);
            if let Some(assignment) = assignments.get(&member.id) {
                stored.assignment = assignment.clone();
            }
            stored
        };
        let stored = StoredGroup {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            changed_ms: self.changed_ms,
            members: self.members.values().map(member).collect(),
        };
        self.stored = true;
        let record = group_record(&self.id, Some(&stored));
        step.append(vec![record], then);
    }

    /// When something is due here by itself.
    pub(super) fn next_alarm(&self) -> Option<Time> {
        let sessions = self
            .members
            .values()
            .filter(|member| member.joining.is_none() && member.syncing.is_none())
            .map(|member| member.session_ends);
        let gathering = self.gathering.map(Gathering::ends);
        sessions.chain(self.pending.values().copied()).chain(gathering).chain(self.sync_ends).min()
    }

    pub(super) fn described(&self) -> DescribedGroup {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        DescribedGroup {
            group: self.id.clone(),
            error: ErrorCode::None,
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: self.members.values().map(|member| member.described(&protocol, stable)).collect(),
            protocol,
        }
    }

    pub(super) fn listed(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state.name(),
        }
    }
}

/// Answers whoever waits on behalf of a member.
pub(super) fn fail_member(step: &mut Step<'_>, member: Member, error: ErrorCode) {
    let Member { id, joining, syncing, .. } = member;
    if let Some(waiter) = joining {
        fail_join(step, waiter, &id, error);
    }
    if let Some(waiter) = syncing {
        step.answer(waiter, GroupResponse::Sync(Synced::refused(error)));
    }
}

pub(super) fn fail_join(step: &mut Step<'_>, waiter: Waiter, member: &str, error: ErrorCode) {
    step.answer(waiter, GroupResponse::Join(Joined::refused(error, member)));
}
