//! The coordinator of one partition: its groups, what is under way to the log, and what is due when.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesh::raft::Time;

use super::api::{DescribedGroup, GroupRequest, GroupResponse, Joined, ListedGroup, PartitionError, Synced};
use super::config::{GroupConfig, NAME_BYTES_MAX};
use super::group::{Group, fail_member};
use super::member::ms;
use super::record::{Fact, Record, StoredOffset};
use crate::core::error::ErrorCode;
use crate::core::partition::Waiter;
use crate::core::request::{TopicId, TopicRef};

/// Groups of one partition: what hostile clients may make a coordinator remember.
const GROUPS_MAX: usize = 100_000;

/// What a coordinator wants done, in this order.
#[derive(Debug)]
pub(crate) enum Act {
    /// Answer a client.
    Answer(Waiter, GroupResponse),
    /// Append these records in one batch; [`Coordinator::committed`] or [`Coordinator::refused`] takes the ticket.
    Append { ticket: u64, records: Vec<Record> },
}

/// What happens once an append is committed.
#[derive(Debug)]
pub(super) enum Then {
    Nothing,
    /// The shares of a generation are told.
    Assign {
        group: String,
        generation: i32,
        assignments: BTreeMap<String, Bytes>,
    },
    /// A static member has its new id.
    Replace {
        group: String,
        from: Waiter,
        member: String,
        leader_before: String,
        skips_assignment: bool,
    },
    /// Offsets are shown and acknowledged.
    Commit {
        group: String,
        from: Waiter,
        offsets: Vec<(String, i32, StoredOffset)>,
        answer: Vec<PartitionError>,
    },
    /// Offsets are gone, and the group with them when `whole`.
    Remove {
        group: String,
        offsets: Vec<(String, i32)>,
        whole: bool,
        answer: Option<(Waiter, GroupResponse)>,
    },
}

/// What a group may use of its coordinator.
pub(super) struct Step<'a> {
    pub(super) now: Time,
    pub(super) wall_ms: i64,
    pub(super) config: &'a GroupConfig,
    pub(super) acts: &'a mut Vec<Act>,
    pub(super) tickets: &'a mut BTreeMap<u64, Then>,
    pub(super) next_ticket: &'a mut u64,
}

impl Step<'_> {
    pub(super) fn answer(&mut self, to: Waiter, response: GroupResponse) {
        self.acts.push(Act::Answer(to, response));
    }

    pub(super) fn append(&mut self, records: Vec<Record>, then: Then) {
        *self.next_ticket += 1;
        self.tickets.insert(*self.next_ticket, then);
        self.acts.push(Act::Append { ticket: *self.next_ticket, records });
    }
}

/// What a coordinator must know of topics: names and ids, and whether a partition exists.
pub(crate) trait Topics {
    /// A partition as a client names it, by the topic's name and its present id.
    fn resolve(&self, topic: &TopicRef, partition: i32) -> Result<(String, TopicId), ErrorCode>;
    /// The present id of a topic; `None` when there is none, or it is not known here for sure.
    fn id_of(&self, name: &str) -> Option<TopicId>;
    /// There is no topic of that name and id, for sure.
    fn is_gone(&self, name: &str, id: TopicId) -> bool;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(super) config: GroupConfig,
    pub(super) now: Time,
    pub(super) wall_ms: i64,
    pub(super) groups: BTreeMap<String, Group>,
    alarms: BTreeSet<(Time, String)>,
    pub(super) tickets: BTreeMap<u64, Then>,
    pub(super) next_ticket: u64,
    pub(super) acts: Vec<Act>,
}

/// A group and what it may use, borrowed apart from each other.
macro_rules! with_group {
    ($self:ident, $id:expr, |$group:ident, $step:ident| $body:expr) => {{
        let mut $step = $crate::core::groups::coordinator::Step {
            now: $self.now,
            wall_ms: $self.wall_ms,
            config: &$self.config,
            acts: &mut $self.acts,
            tickets: &mut $self.tickets,
            next_ticket: &mut $self.next_ticket,
        };
        let $step = &mut $step;
        $self.groups.get_mut($id).map(|$group| $body)
    }};
}
pub(super) use with_group;

impl Coordinator {
    pub(crate) fn new(config: GroupConfig) -> Self {
        Self {
            config,
            now: Time(0),
            wall_ms: 0,
            groups: BTreeMap::new(),
            alarms: BTreeSet::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            acts: Vec::new(),
        }
    }

    /// The time of what follows.
    pub(crate) fn at(&mut self, now: Time, wall_ms: i64) {
        (self.now, self.wall_ms) = (now, wall_ms);
    }

    /// What is to be done since the last call.
    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Takes what a committed record says, before anything is served. Later records overrule earlier ones.
    pub(crate) fn replay(&mut self, fact: Fact) {
        let (now, wall_ms) = (self.now, self.wall_ms);
        match fact {
            Fact::Offset { group, topic, partition, offset } => {
                let known = self.groups.entry(group.clone()).or_insert_with(|| Group::new(group, wall_ms));
                known.replay_offset(topic, partition, offset);
            }
            Fact::Group { group, stored: Some(stored) } => {
                let known = self.groups.entry(group.clone()).or_insert_with(|| Group::new(group, wall_ms));
                known.restore(stored, now);
            }
            Fact::Group { group, stored: None } => {
                if let Some(known) = self.groups.get_mut(&group) {
                    let offsets = std::mem::take(&mut known.offsets);
                    *known = Group { offsets, ..Group::new(group, wall_ms) };
                }
            }
        }
    }

    /// All of the log was replayed: from now on requests are served.
    pub(crate) fn loaded(&mut self) {
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        ids.iter().for_each(|id| self.settle(id));
    }

    /// A request about one group. `fresh` are 16 bytes that were never used before, for a new member's id.
    pub(crate) fn request(
        &mut self,
        from: Waiter,
        request: GroupRequest,
        topics: &dyn Topics,
        fresh: [u8; 16],
    ) {
        match request {
            GroupRequest::Join(join) => {
                if let Err(error) = self.check_join(&join) {
                    return self.answer(from, GroupResponse::Join(Joined::refused(error, &join.member)));
                }
                let group = join.group.clone();
                let wall_ms = self.wall_ms;
                self.groups.entry(group.clone()).or_insert_with(|| Group::new(group.clone(), wall_ms));
                let prefix = join.instance.as_deref().unwrap_or(&join.client_id);
                let new_id = format!("{}-{}", cut(prefix), uuid::Uuid::from_bytes(fresh));
                with_group!(self, &group, |group, step| group.join(step, from, &join, new_id));
                self.settle(&group);
            }
            GroupRequest::Sync(sync) => {
                let group = sync.of.group.clone();
                match with_group!(self, &group, |group, step| group.sync(step, from, sync)) {
                    Some(()) => self.settle(&group),
                    None => {
                        let refused = Synced::refused(ErrorCode::UnknownMemberId);
                        self.answer(from, GroupResponse::Sync(refused));
                    }
                }
            }
            // Its alarm may be early by then, which costs a look.
            GroupRequest::Heartbeat(of) => {
                let error = with_group!(self, &of.group, |group, step| group.heartbeat(step, &of));
                self.answer(from, GroupResponse::Heartbeat(error.unwrap_or(ErrorCode::UnknownMemberId)));
            }
            GroupRequest::Leave { group, members } => {
                let left = with_group!(self, &group, |group, step| group.leave(step, members.clone()));
                let unknown = || members.into_iter().map(|m| (m, ErrorCode::UnknownMemberId)).collect();
                let members = left.unwrap_or_else(unknown);
                self.answer(from, GroupResponse::Leave { error: ErrorCode::None, members });
                self.settle(&group);
            }
            GroupRequest::CommitOffsets(commit) => self.commit_offsets(from, commit, topics),
            GroupRequest::FetchOffsets { groups } => {
                let groups = groups.into_iter().map(|asked| self.fetch_offsets(asked, topics)).collect();
                self.answer(from, GroupResponse::FetchOffsets { groups });
            }
            GroupRequest::DeleteOffsets { group, partitions } => {
                self.delete_offsets(from, &group, partitions, topics);
            }
            GroupRequest::Describe { groups } => {
                let groups = groups.iter().map(|group| self.describe(group)).collect();
                self.answer(from, GroupResponse::Describe { groups });
            }
            GroupRequest::Delete { groups } => {
                groups.iter().for_each(|group| self.delete(from, group));
            }
            request @ (GroupRequest::FindCoordinator { .. } | GroupRequest::List { .. }) => {
                self.answer(from, request.refused(ErrorCode::UnknownServerError));
            }
        }
    }

    fn check_join(&self, join: &super::api::JoinGroup) -> Result<(), ErrorCode> {
        let GroupConfig { session_timeout_min_ms: min, session_timeout_max_ms: max, .. } = self.config;
        let longest = [&join.group, &join.member, &join.client_id, &join.protocol_type].map(String::len);
        let names = join.protocols.iter().map(|(name, _)| name.len());
        let instance = join.instance.iter().map(String::len);
        if names.chain(instance).chain(longest).any(|bytes| bytes > NAME_BYTES_MAX) {
            return Err(ErrorCode::InvalidRequest);
        }
        if !(min..=max).contains(&ms(join.session_timeout_ms)) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        match self.groups.contains_key(&join.group) {
            true => Ok(()),
            false if !join.member.is_empty() => Err(ErrorCode::UnknownMemberId),
            false if self.groups.len() >= GROUPS_MAX => Err(ErrorCode::CoordinatorNotAvailable),
            false => Ok(()),
        }
    }

    pub(super) fn has_room_for_groups(&self) -> bool {
        self.groups.len() < GROUPS_MAX
    }

    pub(super) fn answer(&mut self, to: Waiter, response: GroupResponse) {
        self.acts.push(Act::Answer(to, response));
    }

    /// After anything happened to a group: when it is due next, or that nothing is left of it.
    pub(super) fn settle(&mut self, id: &str) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let next = group.next_alarm();
        if group.alarm != next {
            if let Some(old) = group.alarm {
                self.alarms.remove(&(old, id.to_owned()));
            }
            group.alarm = next;
            self.alarms.extend(next.map(|at| (at, id.to_owned())));
        }
        if next.is_none() && group.is_void() {
            self.groups.remove(id);
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self) {
        let now = self.now;
        let due: Vec<(Time, String)> = self.alarms.iter().take_while(|(at, _)| *at <= now).cloned().collect();
        for (at, id) in due {
            self.alarms.remove(&(at, id.clone()));
            with_group!(self, &id, |group, step| {
                group.alarm = None;
                group.due(step);
            });
            self.settle(&id);
        }
    }

    /// An append is committed: what depended on it is done.
    pub(crate) fn committed(&mut self, ticket: u64) {
        match self.tickets.remove(&ticket) {
            Some(Then::Assign { group, generation, assignments }) => {
                with_group!(self, &group, |group, step| group.assigned(step, generation, assignments));
                self.settle(&group);
            }
            Some(Then::Replace { group, from, member, leader_before, skips_assignment }) => {
                let told = with_group!(self, &group, |group, step| {
                    group.replaced(step, from, &member, leader_before, skips_assignment);
                });
                if told.is_none() {
                    let refused = Joined::refused(ErrorCode::UnknownMemberId, &member);
                    self.answer(from, GroupResponse::Join(refused));
                }
            }
            Some(Then::Commit { group, from, offsets, answer }) => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.offsets_committed(offsets.into_iter().map(|(t, p, offset)| (t, p, Some(offset))));
                }
                self.answer(from, GroupResponse::CommitOffsets { partitions: answer });
            }
            Some(Then::Remove { group: id, offsets, whole, answer }) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.offsets_committed(offsets.into_iter().map(|(t, p)| (t, p, None)));
                    group.stored &= !whole;
                    if whole && group.state == super::group::State::Dead {
                        group.becomes(super::group::State::Empty, self.wall_ms);
                    }
                }
                self.settle(&id);
                if let Some((from, response)) = answer {
                    self.answer(from, response);
                }
            }
            Some(Then::Nothing) | None => {}
        }
    }

    /// The log does not take an append at the moment, or does not any more.
    pub(crate) fn refused(&mut self, ticket: u64, error: ErrorCode) {
        match self.tickets.remove(&ticket) {
            Some(Then::Assign { group, generation, .. }) => {
                with_group!(self, &group, |group, step| group.unassigned(step, generation, error));
                self.settle(&group);
            }
            Some(Then::Replace { from, member, .. }) => {
                self.answer(from, GroupResponse::Join(Joined::refused(error, &member)));
            }
            Some(Then::Commit { group: id, from, offsets, mut answer }) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.offsets_refused(offsets.into_iter().map(|(topic, part, _)| (topic, part)));
                }
                answer
                    .iter_mut()
                    .filter(|part| part.error == ErrorCode::None)
                    .for_each(|part| part.error = error);
                self.answer(from, GroupResponse::CommitOffsets { partitions: answer });
                self.settle(&id);
            }
            Some(Then::Remove { group: id, offsets, whole, answer }) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.offsets_refused(offsets.into_iter());
                    if whole && group.state == super::group::State::Dead {
                        group.state = super::group::State::Empty;
                    }
                }
                if let Some((from, response)) = answer {
                    self.answer(from, super::expire::with_error(response, error));
                }
            }
            Some(Then::Nothing) | None => {}
        }
    }

    /// Another node leads the partition from now on: all who wait here must ask there. What was under way may still be committed.
    pub(crate) fn deposed(mut self) -> Vec<Act> {
        let error = ErrorCode::NotCoordinator;
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for id in ids {
            with_group!(self, &id, |group, step| {
                for member in std::mem::take(&mut group.members).into_values() {
                    fail_member(step, member, error);
                }
            });
        }
        for then in std::mem::take(&mut self.tickets).into_values() {
            match then {
                Then::Replace { from, member, .. } => {
                    self.acts.push(Act::Answer(from, GroupResponse::Join(Joined::refused(error, &member))));
                }
                Then::Commit { from, mut answer, .. } => {
                    answer.iter_mut().for_each(|part| part.error = error);
                    self.acts.push(Act::Answer(from, GroupResponse::CommitOffsets { partitions: answer }));
                }
                Then::Remove { answer: Some((from, response)), .. } => {
                    self.acts.push(Act::Answer(from, super::expire::with_error(response, error)));
                }
                Then::Remove { answer: None, .. } | Then::Assign { .. } | Then::Nothing => {}
            }
        }
        self.acts
    }

    fn describe(&self, group: &str) -> DescribedGroup {
        self.groups.get(group).map_or_else(
            || DescribedGroup { state: "Dead", ..DescribedGroup::refused(group, ErrorCode::GroupIdNotFound) },
            Group::described,
        )
    }

    /// The groups here, of these states; any when empty.
    pub(crate) fn list(&self, states: &[String]) -> Vec<ListedGroup> {
        let wanted = |group: &ListedGroup| {
            states.is_empty() || states.iter().any(|state| state.eq_ignore_ascii_case(group.state))
        };
        self.groups.values().map(Group::listed).filter(wanted).collect()
    }
}

/// The beginning of a client's name, for a member's id: ids end up in every record of the group.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(255);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}
