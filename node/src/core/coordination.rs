//! Coordinators of groups on this node: one for each partition of `__consumer_offsets` that it leads.
//!
//! ```text
//! leading begins         the coordinator waits for the first entry of its own term to commit, and reads the partition up to there,
//!                        a piece at a time; until then it answers COORDINATOR_LOAD_IN_PROGRESS
//! a request              goes to the coordinator; its acts are carried out: answers, and appends that are proposals like any other
//! an append commits      the coordinator does what depended on it
//! offsets are asked for  answered after a linearizable read, for an older coordinator may not know of newer commits
//! leading ends           all who wait hear NOT_COORDINATOR; nothing is kept
//! ```

use std::collections::BTreeMap;

use mesh::raft::{EntryKind, Index, Proposal, ProposeError, Time};
use storage::{Disk, LogId, Read, ReadError, ReadFrom};

use super::batch::{encode_records, records};
use super::error::ErrorCode;
use super::groups::api::{Coordinating, GroupRequest, GroupResponse};
use super::groups::record::{self, Record};
use super::groups::{Act, Coordinator, OFFSETS_TOPIC, Topics, is_internal, partition_of};
use super::metadata::{PartitionKey, ShardId};
use super::node::{Call, Node, Reading, Timer};
use super::partition::Waiter;
use super::request::{RequestId, Response, TopicId, TopicRef};
use super::shards::{Confirming, Purpose};
use super::{Effect, after_ms};
use crate::mutant::{self, Mutant};

/// What one read of a loading coordinator takes at most.
const LOAD_BYTES: usize = 1 << 20;

/// So many pieces that are in memory are taken in one step; then others have their turn.
const LOADS_PER_STEP: usize = 4;

/// A read that failed is tried again after this, in milliseconds.
const LOAD_AGAIN_MS: u64 = 100;

/// The topic is asked for once in this time at most, in milliseconds.
const CREATE_AGAIN_MS: u64 = 1_000;

/// Largest batch of a coordinator.
const BATCH_BYTES_MAX: usize = 15 << 20;

/// A request about groups in progress: one part for each group that it names.
pub(crate) struct GroupCall {
    answers: Vec<Option<GroupResponse>>,
}

/// How far a coordinator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loading {
    /// What is committed is not known yet.
    Waiting,
    /// Entries from `next` to `until` are still to be read; by a disk read of that token.
    Reading {
        next: u64,
        until: u64,
        token: Option<u64>,
    },
    Loaded,
}

/// A coordinator and its partition.
pub(crate) struct Lead {
    coordinator: Coordinator,
    loading: Loading,
    /// Tickets of the coordinator by the entry that they wait for.
    appends: BTreeMap<Index, u64>,
    /// When to look for what is expired.
    expire_at: Time,
    timer: Option<Time>,
}

/// Topics as this node knows them.
struct Known<'a, D: Disk>(&'a Node<D>);

impl<D: Disk> Topics for Known<'_, D> {
    fn resolve(&self, topic: &TopicRef, partition: i32) -> Result<(String, TopicId), ErrorCode> {
        // A shard that is not heard yet may know the topic; clients try again after this.
        let key = self.0.key_of(topic, partition).map_err(|error| match error {
            ErrorCode::LeaderNotAvailable => ErrorCode::CoordinatorLoadInProgress,
            error => error,
        })?;
        let known = self.0.view.topic(key.topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok((known.name.clone(), known.id))
    }

    fn id_of(&self, name: &str) -> Option<TopicId> {
        self.0.view.topic_named(name).map(|topic| topic.id)
    }

    fn is_gone(&self, name: &str, id: TopicId) -> bool {
        let other = |now: TopicId| id != TopicId::default() && id != now;
        self.0.heard.contains(&ShardId::of_name(name)) && self.id_of(name).is_none_or(other)
    }
}

impl<D: Disk> Node<D> {
    pub(crate) fn groups(&mut self, id: RequestId, request: GroupRequest) {
        match request {
            GroupRequest::FindCoordinator { groups } => {
                let coordinators = groups.into_iter().map(|group| self.find_coordinator(group)).collect();
                self.respond(id, Response::Group(GroupResponse::FindCoordinator { coordinators }));
            }
            GroupRequest::List { states } => {
                let answer = self.list_groups(&states);
                self.respond(id, Response::Group(answer));
            }
            request => {
                let nothing = request.refused(ErrorCode::InvalidRequest);
                let parts = split(request);
                if parts.is_empty() {
                    return self.respond(id, Response::Group(nothing));
                }
                let answers = parts.iter().map(|_| None).collect();
                self.calls.insert(id, Call::Group(GroupCall { answers }));
                for (part, request) in parts.into_iter().enumerate() {
                    self.ask_coordinator(Waiter { call: id, part }, request);
                }
            }
        }
    }

    fn ask_coordinator(&mut self, from: Waiter, request: GroupRequest) {
        let log = match self.coordinator_log(&request) {
            Ok(log) => log,
            Err(error) => return self.group_answered(from, request.refused(error)),
        };
        if matches!(request, GroupRequest::FetchOffsets { .. }) {
            self.confirm(log, Confirming::Group { from, request });
        } else {
            self.hand_over_request(log, from, request);
        }
    }

    fn hand_over_request(&mut self, log: LogId, from: Waiter, request: GroupRequest) {
        let fresh = self.random();
        self.coordinate(log, |coordinator, topics| coordinator.request(from, request, topics, fresh));
    }

    /// This node led the partition, with all that was committed, after the request came; or it did not.
    pub(crate) fn group_confirmed(&mut self, log: LogId, from: Waiter, request: GroupRequest, leads: bool) {
        let loaded = self.coordinators.get(&log).is_some_and(Lead::serves);
        match leads && loaded {
            true => self.hand_over_request(log, from, request),
            false => self.group_answered(from, request.refused(ErrorCode::NotCoordinator)),
        }
    }

    /// The log of the coordinator of a request's group, when that is here and has read its partition.
    fn coordinator_log(&mut self, request: &GroupRequest) -> Result<LogId, ErrorCode> {
        let group = group_of(request);
        // Only offsets may be kept without a name.
        let nameless = matches!(
            request,
            GroupRequest::CommitOffsets(_)
                | GroupRequest::FetchOffsets { .. }
                | GroupRequest::Describe { .. }
                | GroupRequest::Delete { .. }
        );
        if group.is_empty() && !nameless {
            return Err(ErrorCode::InvalidGroupId);
        }
        let key = self.offsets_key(group).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let log = self.led(&TopicRef::Id(key.topic), key.partition).map_err(|error| match error {
            ErrorCode::NotLeaderOrFollower => ErrorCode::NotCoordinator,
            _ => ErrorCode::CoordinatorNotAvailable,
        })?;
        self.groups_led(log);
        let serves = self.coordinators.get(&log).is_some_and(Lead::serves);
        if serves { Ok(log) } else { Err(ErrorCode::CoordinatorLoadInProgress) }
    }

    /// The partition that a group belongs to; `None` while there is no topic for groups.
    fn offsets_key(&self, group: &str) -> Option<PartitionKey> {
        let topic = self.view.topic_named(OFFSETS_TOPIC)?;
        Some(PartitionKey { topic: topic.id, partition: partition_of(group, topic.partitions) })
    }

    fn find_coordinator(&mut self, group: String) -> Coordinating {
        let Some(key) = self.offsets_key(&group) else {
            self.create_offsets_topic();
            return Coordinating { group, error: ErrorCode::CoordinatorNotAvailable, node: -1 };
        };
        let creating = self.view.descriptor(key).is_none_or(|descriptor| descriptor.creating);
        match self.leader_up(key).filter(|_| !creating) {
            Some(known) => Coordinating { group, error: ErrorCode::None, node: known.leader.0 },
            None => Coordinating { group, error: ErrorCode::CoordinatorNotAvailable, node: -1 },
        }
    }

    /// Groups need their topic; whoever is asked for a coordinator first has it created.
    fn create_offsets_topic(&mut self) {
        let unknown = !self.heard.contains(&ShardId::of_name(OFFSETS_TOPIC));
        if unknown || self.now.mono < self.offsets_topic_at {
            return;
        }
        self.offsets_topic_at = after_ms(self.now.mono, CREATE_AGAIN_MS);
        match self.plan_offsets_topic() {
            Ok(plan) => self.submit(plan.shard, &plan.command, Purpose::Housekeeping),
            Err(refusal) => {
                tracing::debug!(reason = refusal.message, "the topic of groups is not created yet")
            }
        }
    }

    fn list_groups(&self, states: &[String]) -> GroupResponse {
        let loading = self.coordinators.values().any(|lead| !lead.serves());
        let error = if loading { ErrorCode::CoordinatorLoadInProgress } else { ErrorCode::None };
        let loaded = self.coordinators.values().filter(|lead| lead.serves());
        let groups = loaded.flat_map(|lead| lead.coordinator.list(states)).collect();
        GroupResponse::List { error, groups }
    }

    /// Lets a coordinator do something and carries out what it wants.
    fn coordinate(&mut self, log: LogId, act: impl FnOnce(&mut Coordinator, &dyn Topics)) {
        // Out of the table meanwhile, so that it can look at what the node knows.
        let Some(mut lead) = self.coordinators.remove(&log) else { return };
        lead.coordinator.at(self.now.mono, self.now.wall_ms);
        act(&mut lead.coordinator, &Known(self));
        self.coordinators.insert(log, lead);
        self.carry_out(log);
        self.retime_groups(log);
    }

    fn carry_out(&mut self, log: LogId) {
        // What a lone voter appends may be committed, and act again, before the proposal returns.
        while let Some(lead) = self.coordinators.get_mut(&log) {
            let acts = lead.coordinator.take_acts();
            if acts.is_empty() {
                return;
            }
            for act in acts {
                match act {
                    Act::Answer(to, response) => self.group_answered(to, response),
                    Act::Append { ticket, records } => self.append_records(log, ticket, &records),
                }
            }
        }
    }

    /// Proposes records of a coordinator; what is refused is told to it at once.
    fn append_records(&mut self, log: LogId, ticket: u64, appended: &[Record]) {
        let pairs = appended.iter().map(|record| (&record.key[..], record.value.as_deref()));
        let (payload, record_count) = encode_records(self.now.wall_ms, pairs);
        if let Err(error) = self.propose_records(log, ticket, payload, record_count)
            && let Some(lead) = self.coordinators.get_mut(&log)
        {
            lead.coordinator.at(self.now.mono, self.now.wall_ms);
            lead.coordinator.refused(ticket, error);
        }
    }

    fn propose_records(
        &mut self,
        log: LogId,
        ticket: u64,
        payload: bytes::Bytes,
        record_count: u32,
    ) -> Result<(), ErrorCode> {
        let partition = self.partitions.get(&log).ok_or(ErrorCode::NotCoordinator)?;
        let key = partition.key;
        let last = partition.replica.as_ref().ok_or(ErrorCode::NotCoordinator)?.last_index();
        let room = partition.has_room_for(payload.len());
        self.led(&TopicRef::Id(key.topic), key.partition).map_err(|_| ErrorCode::NotCoordinator)?;
        if payload.len() > BATCH_BYTES_MAX {
            return Err(ErrorCode::InvalidCommitOffsetSize);
        }
        if !room || !self.workers.accepts_records(log) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        // Registered before the proposal: a lone voter with a quick disk may commit it within the same step.
        let index = last.next();
        let lead = self.coordinators.get_mut(&log).ok_or(ErrorCode::NotCoordinator)?;
        lead.appends.insert(index, ticket);
        let timestamp_ms = self.now.wall_ms;
        let proposal = Proposal { kind: EntryKind::Records, record_count, timestamp_ms, payload };
        self.propose(log, proposal).map(|_| ()).map_err(|rejection| {
            if let Some(lead) = self.coordinators.get_mut(&log) {
                lead.appends.remove(&index);
            }
            match rejection {
                Some(ProposeError::Overloaded) => ErrorCode::CoordinatorNotAvailable,
                _ => ErrorCode::NotCoordinator,
            }
        })
    }

    /// The commit index of a log rose.
    pub(crate) fn groups_committed(&mut self, log: LogId) {
        let Some(applied) = self.partitions.get(&log).map(|partition| partition.applied) else { return };
        while let Some(lead) = self.coordinators.get_mut(&log) {
            let Some(first) = lead.appends.first_entry().filter(|first| *first.key() <= applied) else {
                break;
            };
            let ticket = first.remove();
            self.coordinate(log, |coordinator, _| coordinator.committed(ticket));
        }
        self.begin_loading(log);
    }

    /// This node leads a log from now on, or still does: of groups, if that is what it holds.
    pub(crate) fn groups_led(&mut self, log: LogId) {
        if !self.holds_groups(log) || self.coordinators.contains_key(&log) {
            return;
        }
        let lead = Lead {
            coordinator: Coordinator::new(self.config.groups.clone()),
            loading: Loading::Waiting,
            appends: BTreeMap::new(),
            expire_at: after_ms(self.now.mono, self.config.groups.retention_check_ms),
            timer: None,
        };
        self.coordinators.insert(log, lead);
        self.begin_loading(log);
    }

    /// Whether a log is one of `__consumer_offsets`, to which only coordinators write.
    pub(crate) fn holds_groups(&self, log: LogId) -> bool {
        let topic = self.partitions.get(&log).map(|partition| partition.key.topic);
        topic.and_then(|id| self.view.topic(id)).is_some_and(|topic| is_internal(&topic.name))
    }

    /// This node does not lead a log any more, or not in the same term.
    pub(crate) fn groups_deposed(&mut self, log: LogId) {
        let Some(lead) = self.coordinators.remove(&log) else { return };
        if let Some(at) = lead.timer {
            self.timers.remove(&(at, Timer::Groups(log)));
        }
        for act in lead.coordinator.deposed() {
            if let Act::Answer(to, response) = act {
                self.group_answered(to, response);
            }
        }
    }

    /// All that may have been acknowledged by others is committed once an entry of this term is.
    fn begin_loading(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get(&log) else { return };
        let known = partition.replica.as_ref().is_some_and(|replica| replica.high_watermark().is_some());
        let until = partition.applied.0;
        let start = self.workers.log(log).map_or(0, |state| state.start.index);
        let Some(lead) = self.coordinators.get_mut(&log) else { return };
        if lead.loading == Loading::Waiting && known {
            lead.loading = Loading::Reading { next: start + 1, until, token: None };
            self.load_groups(log);
        }
    }

    /// Reads on: what is in memory at once, the rest off this thread.
    fn load_groups(&mut self, log: LogId) {
        for _ in 0..LOADS_PER_STEP {
            let Some(lead) = self.coordinators.get_mut(&log) else { return };
            let Loading::Reading { next, until, token: None } = lead.loading else { return };
            if next > until {
                return self.groups_loaded(log);
            }
            match self.workers.of(log).read(log, ReadFrom::Index(next), LOAD_BYTES) {
                Ok(Read::Ready(entries)) => self.replay(log, entries),
                Ok(Read::Disk(job)) => {
                    let token = self.token();
                    self.reads.insert(token, Reading::Groups(log));
                    self.out.push(Effect::Read { token, job });
                    if let Some(lead) = self.coordinators.get_mut(&log) {
                        lead.loading = Loading::Reading { next, until, token: Some(token) };
                    }
                    return;
                }
                Err(error) => return self.load_failed(log, &error),
            }
        }
        self.retime_groups(log);
    }

    fn load_failed(&mut self, log: LogId, error: &ReadError) {
        if let ReadError::Corrupt { index, .. } = error {
            return self.rotten(log, *index);
        }
        let start = self.workers.log(log).map_or(0, |state| state.start.index);
        let Some(lead) = self.coordinators.get_mut(&log) else { return };
        let Loading::Reading { next, until, .. } = lead.loading else { return };
        // What went from the log meanwhile is said again later in it.
        lead.loading = Loading::Reading { next: next.max(start + 1), until, token: None };
        let again = after_ms(self.now.mono, LOAD_AGAIN_MS);
        self.set_timer(again, Timer::Groups(log));
    }

    /// A disk read for a loading coordinator has ended.
    pub(crate) fn groups_read(
        &mut self,
        log: LogId,
        token: u64,
        read: Result<Vec<storage::Entry>, ReadError>,
    ) {
        let Some(lead) = self.coordinators.get_mut(&log) else { return };
        let Loading::Reading { next, until, token: Some(waiting) } = lead.loading else { return };
        if waiting != token {
            return;
        }
        lead.loading = Loading::Reading { next, until, token: None };
        match read {
            Ok(entries) => {
                self.replay(log, entries);
                self.load_groups(log);
            }
            Err(error) => self.load_failed(log, &error),
        }
    }

    fn replay(&mut self, log: LogId, entries: Vec<storage::Entry>) {
        let Some(lead) = self.coordinators.get_mut(&log) else { return };
        let Loading::Reading { mut next, until, .. } = lead.loading else { return };
        lead.coordinator.at(self.now.mono, self.now.wall_ms);
        for entry in entries.into_iter().filter(|entry| entry.index <= until) {
            next = entry.index + 1;
            if entry.kind != EntryKind::Records.to_u8() {
                continue;
            }
            for (key, value) in records(&entry.payload) {
                if let Some(fact) = key.and_then(|key| record::read(key, value)) {
                    lead.coordinator.replay(fact);
                }
            }
        }
        lead.loading = Loading::Reading { next, until, token: None };
    }

    fn groups_loaded(&mut self, log: LogId) {
        if let Some(lead) = self.coordinators.get_mut(&log) {
            lead.loading = Loading::Loaded;
        }
        self.coordinate(log, |coordinator, _| coordinator.loaded());
    }

    pub(crate) fn groups_due(&mut self, log: LogId) {
        let Some(lead) = self.coordinators.get_mut(&log) else { return };
        lead.timer = None;
        if let Loading::Reading { token: None, .. } = lead.loading {
            return self.load_groups(log);
        }
        if !lead.serves() {
            return;
        }
        let expires = lead.expire_at <= self.now.mono;
        if expires {
            lead.expire_at = after_ms(self.now.mono, self.config.groups.retention_check_ms);
        }
        self.coordinate(log, |coordinator, topics| {
            coordinator.tick();
            if expires {
                coordinator.expire(topics);
            }
        });
    }

    fn retime_groups(&mut self, log: LogId) {
        let now = self.now.mono;
        let Some(lead) = self.coordinators.get_mut(&log) else { return };
        let next = match lead.loading {
            Loading::Loaded => {
                Some(lead.coordinator.next_deadline().map_or(lead.expire_at, |at| at.min(lead.expire_at)))
            }
            Loading::Reading { token: None, .. } => Some(now),
            Loading::Reading { .. } | Loading::Waiting => None,
        };
        if lead.timer == next {
            return;
        }
        let old = std::mem::replace(&mut lead.timer, next);
        if let Some(old) = old {
            self.timers.remove(&(old, Timer::Groups(log)));
        }
        self.timers.extend(next.map(|at| (at, Timer::Groups(log))));
    }

    /// One part of a request is answered; the last one answers it.
    pub(crate) fn group_answered(&mut self, to: Waiter, response: GroupResponse) {
        let Some(Call::Group(call)) = self.calls.get_mut(&to.call) else { return };
        call.answers[to.part].get_or_insert(response);
        if call.answers.iter().any(Option::is_none) {
            return;
        }
        if let Some(Call::Group(call)) = self.calls.remove(&to.call)
            && let Some(whole) = call.answers.into_iter().flatten().reduce(joined)
        {
            self.respond(to.call, Response::Group(whole));
        }
    }
}

impl Lead {
    fn serves(&self) -> bool {
        self.loading == Loading::Loaded || mutant::active(Mutant::CoordinatorServesUnloaded)
    }
}

/// One request for each group.
fn split(request: GroupRequest) -> Vec<GroupRequest> {
    match request {
        GroupRequest::FetchOffsets { groups } => {
            groups.into_iter().map(|group| GroupRequest::FetchOffsets { groups: vec![group] }).collect()
        }
        GroupRequest::Describe { groups } => {
            groups.into_iter().map(|group| GroupRequest::Describe { groups: vec![group] }).collect()
        }
        GroupRequest::Delete { groups } => {
            groups.into_iter().map(|group| GroupRequest::Delete { groups: vec![group] }).collect()
        }
        one => vec![one],
    }
}

/// The answers to two parts of one request.
fn joined(mut one: GroupResponse, other: GroupResponse) -> GroupResponse {
    match (&mut one, other) {
        (GroupResponse::FetchOffsets { groups }, GroupResponse::FetchOffsets { groups: more }) => {
            groups.extend(more)
        }
        (GroupResponse::Describe { groups }, GroupResponse::Describe { groups: more }) => groups.extend(more),
        (GroupResponse::Delete { groups }, GroupResponse::Delete { groups: more }) => groups.extend(more),
        _ => unreachable!("only these have parts"),
    }
    one
}

/// The group of a request for one.
fn group_of(request: &GroupRequest) -> &str {
    match request {
        GroupRequest::Join(join) => &join.group,
        GroupRequest::Sync(sync) => &sync.of.group,
        GroupRequest::Heartbeat(of) => &of.group,
        GroupRequest::CommitOffsets(commit) => &commit.of.group,
        GroupRequest::Leave { group, .. } | GroupRequest::DeleteOffsets { group, .. } => group,
        GroupRequest::FetchOffsets { groups } => groups.first().map_or("", |asked| &asked.group),
        GroupRequest::Describe { groups }
        | GroupRequest::Delete { groups }
        | GroupRequest::FindCoordinator { groups } => groups.first().map_or("", |group| group),
        GroupRequest::List { .. } => "",
    }
}
