//! A member of a consumer group: finds the coordinator, joins, shares as the leader, works on its share and commits, and now and then
//! leaves, crashes or is silent for too long, as the members of real groups are.

use std::collections::BTreeMap;

use bytes::Bytes;
use node::core::error::ErrorCode;
use node::core::groups::api::{
    CommitOffsets, CommitPartition, FetchGroup, GroupRequest, GroupResponse, JoinGroup, Joined, Leaving,
    MemberOf, SyncGroup, Synced,
};
use node::core::request::{Request, RequestId, Response, TopicRef};

use super::{Actor, Port, Topics, host_of};
use crate::queue::{MS, Micros};
use crate::scenario::STABLE;

/// How a member behaves.
#[derive(Clone, Debug)]
pub(crate) struct MemberProfile {
    pub(crate) group: String,
    /// Of a static member.
    pub(crate) instance: Option<String>,
    /// Typical time between an answer and the next request.
    pub(crate) interval: Micros,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// How often it does something other than its work, in percent of its requests.
    pub(crate) unsteady_percent: u32,
}

/// What it asked.
enum Asked {
    Coordinator,
    Join,
    Sync,
    Positions,
    Heartbeat,
    Commit,
    Leave,
    /// As the process that it was before.
    Before,
}

/// How far it is.
#[derive(PartialEq, Eq)]
enum Phase {
    Outside,
    Joined,
    Assigned,
    Working,
}

/// The client.
pub(crate) struct Member {
    profile: MemberProfile,
    topics: Topics,
    coordinator: Option<usize>,
    call: Option<(RequestId, Asked)>,
    next: Micros,
    finishing: bool,
    phase: Phase,
    of: MemberOf,
    /// Shares that it, as the leader, gives.
    shares: Vec<(String, Bytes)>,
    /// A static member's process that another one took the place of, and that is still there.
    before: Option<MemberOf>,
    /// The next offset of each partition of its share.
    positions: BTreeMap<(String, i32), i64>,
}

impl Member {
    /// A member that begins at `start`.
    pub(crate) fn new(profile: MemberProfile, start: Micros) -> Self {
        let mut topics = Topics::default();
        topics.doubt();
        let of = outside(&profile);
        Self {
            profile,
            topics,
            coordinator: None,
            call: None,
            next: start,
            finishing: false,
            phase: Phase::Outside,
            of,
            shares: Vec::new(),
            before: None,
            positions: BTreeMap::new(),
        }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.call.is_none() && !self.finishing && port.now >= self.next {
            self.next =
                port.now + port.random.within(self.profile.interval / 2, self.profile.interval * 3 / 2);
            self.act(port);
        }
        self.topics.refresh(port);
    }

    fn act(&mut self, port: &mut Port<'_>) {
        let Some(coordinator) = self.coordinator else {
            let groups = vec![self.profile.group.clone()];
            let host = port.any_host();
            return self.ask(port, host, GroupRequest::FindCoordinator { groups }, Asked::Coordinator);
        };
        // Any node may be asked; the wrong one says so.
        let host = if port.random.percent(2) { port.any_host() } else { coordinator };
        match self.phase {
            Phase::Outside => {
                let join = self.join();
                self.ask(port, host, GroupRequest::Join(join), Asked::Join);
            }
            Phase::Joined => {
                let sync = SyncGroup {
                    of: self.of.clone(),
                    protocol_type: None,
                    protocol: None,
                    assignments: std::mem::take(&mut self.shares),
                };
                self.ask(port, host, GroupRequest::Sync(sync), Asked::Sync);
            }
            Phase::Assigned => {
                let each = |(topic, partition): &(String, i32)| (TopicRef::Name(topic.clone()), *partition);
                let partitions = Some(self.positions.keys().map(each).collect());
                let groups = vec![FetchGroup { group: self.profile.group.clone(), partitions }];
                self.ask(port, host, GroupRequest::FetchOffsets { groups }, Asked::Positions);
            }
            Phase::Working if port.random.percent(self.profile.unsteady_percent) => self.stumble(port, host),
            Phase::Working => self.work(port, host),
        }
    }

    fn work(&mut self, port: &mut Port<'_>, host: usize) {
        if let Some(before) = self.before.take() {
            return self.ask(
                port,
                host,
                GroupRequest::CommitOffsets(outdated(before, &self.positions)),
                Asked::Before,
            );
        }
        if self.positions.is_empty() || port.random.percent(40) {
            return self.ask(port, host, GroupRequest::Heartbeat(self.of.clone()), Asked::Heartbeat);
        }
        let mut partitions = Vec::new();
        for ((topic, partition), next) in &mut self.positions {
            *next += port.random.within(0, 3).cast_signed();
            partitions.push(CommitPartition {
                topic: TopicRef::Name(topic.clone()),
                partition: *partition,
                offset: *next,
                leader_epoch: -1,
                metadata: String::new(),
            });
        }
        let commit = CommitOffsets { of: self.of.clone(), partitions };
        self.ask(port, host, GroupRequest::CommitOffsets(commit), Asked::Commit);
    }

    fn stumble(&mut self, port: &mut Port<'_>, host: usize) {
        let session = u64::from(self.profile.session_timeout_ms.unsigned_abs()) * MS;
        match port.random.below(4) {
            0 => {
                let leaving = Leaving { member: self.of.member.clone(), instance: self.of.instance.clone() };
                let (group, members) = (self.profile.group.clone(), vec![leaving]);
                self.ask(port, host, GroupRequest::Leave { group, members }, Asked::Leave);
            }
            // The process ends, and another one begins that knows nothing of it.
            1 => {
                self.before = self.of.instance.is_some().then(|| self.of.clone());
                self.leave_behind();
                self.of.member.clear();
                self.coordinator = None;
                self.next = port.now + port.random.within(0, session * 2);
            }
            // Too slow: it goes on as if nothing had happened.
            2 => self.next = port.now + port.random.within(session / 2, session * 2),
            // It wants to share anew.
            _ => self.leave_behind(),
        }
    }

    fn ask(&mut self, port: &mut Port<'_>, host: usize, request: GroupRequest, what: Asked) {
        let patience = match what {
            Asked::Join | Asked::Sync => u64::from(self.profile.rebalance_timeout_ms.unsigned_abs()) + 5_000,
            _ => 2_000,
        };
        self.call = Some((port.ask(host, Request::Group(request), patience * MS), what));
    }

    fn join(&self) -> JoinGroup {
        JoinGroup {
            group: self.profile.group.clone(),
            member: self.of.member.clone(),
            instance: self.profile.instance.clone(),
            client_id: "member".into(),
            client_host: "/simulated".into(),
            session_timeout_ms: self.profile.session_timeout_ms,
            rebalance_timeout_ms: self.profile.rebalance_timeout_ms,
            protocol_type: "consumer".into(),
            protocols: vec![("spread".into(), Bytes::from_static(b"all"))],
            knows_member_ids: true,
            skips_assignment: true,
        }
    }

    /// It has no share any more.
    fn leave_behind(&mut self) {
        self.phase = Phase::Outside;
        self.of.generation = -1;
        self.positions.clear();
        self.shares.clear();
    }

    fn joined(&mut self, joined: Joined) {
        match joined.error {
            ErrorCode::None => {
                (self.of.member, self.of.generation) = (joined.member, joined.generation);
                self.phase = Phase::Joined;
                if joined.skip_assignment {
                    return;
                }
                // Partitions are dealt in turn to members in the order of their ids.
                let members: Vec<String> = joined.members.into_iter().map(|member| member.member).collect();
                let all = self.topics.partitions().into_iter().filter(|(name, _)| name.starts_with(STABLE));
                let mut shares: BTreeMap<String, Vec<u8>> = BTreeMap::new();
                for (at, (name, partition)) in all.enumerate().filter(|_| !members.is_empty()) {
                    let share = shares.entry(members[at % members.len()].clone()).or_default();
                    share.extend(format!("{name} {partition}\n").into_bytes());
                }
                self.shares = shares.into_iter().map(|(id, share)| (id, share.into())).collect();
            }
            ErrorCode::MemberIdRequired => self.of.member = joined.member,
            error => self.refused(error),
        }
    }

    fn synced(&mut self, synced: &Synced) {
        if synced.error != ErrorCode::None {
            return self.refused(synced.error);
        }
        self.positions = share(&synced.assignment).map(|key| (key, 0)).collect();
        self.phase = Phase::Assigned;
    }

    fn refused(&mut self, error: ErrorCode) {
        match error {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::RequestTimedOut => {
                self.coordinator = None;
                if self.phase == Phase::Joined {
                    self.leave_behind();
                }
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.leave_behind(),
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.leave_behind();
                self.of.member.clear();
            }
            // Its shares are lost with the request; it joins again.
            _ if self.phase == Phase::Joined => self.leave_behind(),
            _ => {}
        }
    }

    fn told(&mut self, asked: &Asked, response: GroupResponse) {
        match (asked, response) {
            (Asked::Coordinator, GroupResponse::FindCoordinator { coordinators }) => {
                self.coordinator = coordinators.first().and_then(|found| host_of(found.node));
            }
            (Asked::Join, GroupResponse::Join(joined)) => self.joined(joined),
            (Asked::Sync, GroupResponse::Sync(synced)) => self.synced(&synced),
            (Asked::Positions, GroupResponse::FetchOffsets { groups }) => {
                let Some(group) = groups.into_iter().next() else { return };
                if group.error != ErrorCode::None {
                    return self.refused(group.error);
                }
                for part in group.partitions {
                    let TopicRef::Name(topic) = part.topic else { continue };
                    self.positions.insert((topic, part.partition), part.offset.max(0));
                }
                self.phase = Phase::Working;
            }
            (Asked::Heartbeat, GroupResponse::Heartbeat(error)) => self.refused(error),
            (Asked::Commit, GroupResponse::CommitOffsets { partitions }) => {
                if let Some(error) = partitions.iter().map(|part| part.error).find(|e| *e != ErrorCode::None)
                {
                    self.refused(error);
                }
            }
            (Asked::Leave, GroupResponse::Leave { .. }) => {
                self.leave_behind();
                self.of.member.clear();
            }
            _ => {}
        }
    }
}

/// A commit of a process that was replaced, from the beginning of its share.
fn outdated(of: MemberOf, positions: &BTreeMap<(String, i32), i64>) -> CommitOffsets {
    let part = |(topic, partition): &(String, i32)| CommitPartition {
        topic: TopicRef::Name(topic.clone()),
        partition: *partition,
        offset: 0,
        leader_epoch: -1,
        metadata: String::new(),
    };
    CommitOffsets { of, partitions: positions.keys().map(part).collect() }
}

/// The partitions of a share.
pub(crate) fn share(assignment: &[u8]) -> impl Iterator<Item = (String, i32)> + '_ {
    let text = std::str::from_utf8(assignment).unwrap_or_default();
    text.lines().filter_map(|line| {
        let (topic, partition) = line.split_once(' ')?;
        Some((topic.to_owned(), partition.parse().ok()?))
    })
}

fn outside(profile: &MemberProfile) -> MemberOf {
    MemberOf {
        group: profile.group.clone(),
        generation: -1,
        member: String::new(),
        instance: profile.instance.clone(),
    }
}

impl Actor for Member {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if !self.topics.answered(id, &response)
            && let Some((_, asked)) = self.call.take_if(|(call, _)| *call == id)
            && let Response::Group(response) = response
        {
            self.told(&asked, response);
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        if !self.topics.broken(id) && self.call.take_if(|(call, _)| *call == id).is_some() {
            self.coordinator = None;
            self.topics.doubt();
            // Whether its shares came through is unknown, and it does not know them any more.
            if self.phase == Phase::Joined {
                self.leave_behind();
            }
        }
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        let next = (self.call.is_none() && !self.finishing).then_some(self.next);
        [next, self.topics.due()].into_iter().flatten().min()
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn unfinished(&self) -> Option<String> {
        self.call
            .as_ref()
            .map(|(id, _)| format!("request {} of a member of {} is not answered", id.0, self.of.group))
    }
}
