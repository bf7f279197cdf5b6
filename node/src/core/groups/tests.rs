//! A coordinator against its rules: what it answers, when, and what is left of it after another one took over.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mesh::raft::Time;

use super::api::*;
use super::coordinator::Topics;
use super::record::{self, Record};
use super::{Act, Coordinator, GroupConfig};
use crate::core::error::ErrorCode;
use crate::core::partition::Waiter;
use crate::core::request::{RequestId, TopicId, TopicRef};

const TOPIC: TopicId = TopicId([7; 16]);

/// The topic `t` with four partitions, of an id that may change.
struct OneTopic(TopicId);

impl Topics for OneTopic {
    fn resolve(&self, topic: &TopicRef, partition: i32) -> Result<(String, TopicId), ErrorCode> {
        let known = *topic == TopicRef::Name("t".into()) && (0..4).contains(&partition);
        if known { Ok(("t".into(), self.0)) } else { Err(ErrorCode::UnknownTopicOrPartition) }
    }

    fn id_of(&self, name: &str) -> Option<TopicId> {
        (name == "t").then_some(self.0)
    }

    fn is_gone(&self, name: &str, id: TopicId) -> bool {
        name != "t" || id != self.0
    }
}

/// A coordinator, a log that commits when told, and the answers so far.
struct Rig {
    coordinator: Coordinator,
    topics: OneTopic,
    ms: u64,
    asked: u64,
    answers: BTreeMap<u64, GroupResponse>,
    under_way: VecDeque<(u64, Vec<Record>)>,
    log: Vec<Record>,
}

impl Rig {
    fn new() -> Self {
        Self::with(GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() })
    }

    fn with(config: GroupConfig) -> Self {
        Self {
            coordinator: Coordinator::new(config),
            topics: OneTopic(TOPIC),
            ms: 1_000,
            asked: 0,
            answers: BTreeMap::new(),
            under_way: VecDeque::new(),
            log: Vec::new(),
        }
    }

    fn carry_out(&mut self) {
        for act in self.coordinator.take_acts() {
            match act {
                Act::Answer(to, response) => {
                    assert!(self.answers.insert(to.call.0, response).is_none(), "answered twice");
                }
                Act::Append { ticket, records } => self.under_way.push_back((ticket, records)),
            }
        }
    }

    fn at(&mut self) {
        self.coordinator.at(Time(self.ms * 1_000), i64::try_from(self.ms).unwrap());
    }

    /// Asks, and says under which number the answer will be.
    fn ask(&mut self, request: GroupRequest) -> u64 {
        self.asked += 1;
        let mut fresh = [0; 16];
        fresh[..8].copy_from_slice(&self.asked.to_be_bytes());
        self.at();
        let from = Waiter { call: RequestId(self.asked), part: 0 };
        self.coordinator.request(from, request, &self.topics, fresh);
        self.carry_out();
        self.tick();
        self.asked
    }

    fn tick(&mut self) {
        self.at();
        self.coordinator.tick();
        self.carry_out();
    }

    fn wait(&mut self, ms: u64) {
        let until = self.ms + ms;
        while let Some(next) = self.coordinator.next_deadline().filter(|next| next.0 <= until * 1_000) {
            self.ms = next.0.div_ceil(1_000).max(self.ms);
            self.tick();
        }
        self.ms = until;
        self.tick();
    }

    fn commit(&mut self) {
        while let Some((ticket, records)) = self.under_way.pop_front() {
            self.log.extend(records);
            self.at();
            self.coordinator.committed(ticket);
            self.carry_out();
        }
    }

    /// Another node leads: what was committed is all that it knows.
    fn fail_over(&mut self) {
        let config = self.coordinator.config.clone();
        let old = std::mem::replace(&mut self.coordinator, Coordinator::new(config));
        for act in old.deposed() {
            if let Act::Answer(to, response) = act {
                assert!(self.answers.insert(to.call.0, response).is_none(), "answered twice");
            }
        }
        self.under_way.clear();
        self.at();
        for record in &self.log {
            self.coordinator.replay(record::read(&record.key, record.value.as_deref()).expect("our own"));
        }
        self.coordinator.loaded();
        self.carry_out();
    }

    fn join(&mut self, member: &str, instance: Option<&str>) -> u64 {
        self.ask(GroupRequest::Join(join(member, instance)))
    }

    fn joined(&mut self, asked: u64) -> Joined {
        match self.answers.remove(&asked) {
            Some(GroupResponse::Join(joined)) => joined,
            other => panic!("{other:?}"),
        }
    }

    fn sync(&mut self, of: &MemberOf, shares: &[(&str, &str)]) -> u64 {
        let assignments =
            shares.iter().map(|(id, share)| ((*id).to_owned(), Bytes::from((*share).to_owned()))).collect();
        self.ask(GroupRequest::Sync(SyncGroup {
            of: of.clone(),
            protocol_type: None,
            protocol: None,
            assignments,
        }))
    }

    fn synced(&mut self, asked: u64) -> (ErrorCode, Bytes) {
        match self.answers.remove(&asked) {
            Some(GroupResponse::Sync(synced)) => (synced.error, synced.assignment),
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&mut self, of: &MemberOf) -> ErrorCode {
        let asked = self.ask(GroupRequest::Heartbeat(of.clone()));
        match self.answers.remove(&asked) {
            Some(GroupResponse::Heartbeat(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> ErrorCode {
        let leaving = Leaving { member: member.into(), instance: instance.map(Into::into) };
        let asked = self.ask(GroupRequest::Leave { group: "g".into(), members: vec![leaving] });
        match self.answers.remove(&asked) {
            Some(GroupResponse::Leave { members, .. }) => members[0].1,
            other => panic!("{other:?}"),
        }
    }

    fn commit_offset(&mut self, of: &MemberOf, offset: i64) -> u64 {
        let part = CommitPartition {
            topic: TopicRef::Name("t".into()),
            partition: 0,
            offset,
            leader_epoch: 1,
            metadata: "m".into(),
        };
        self.ask(GroupRequest::CommitOffsets(CommitOffsets { of: of.clone(), partitions: vec![part] }))
    }

    fn commit_error(&mut self, asked: u64) -> Option<ErrorCode> {
        match self.answers.remove(&asked) {
            Some(GroupResponse::CommitOffsets { partitions }) => Some(partitions[0].error),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    fn offset(&mut self) -> i64 {
        let partitions = Some(vec![(TopicRef::Name("t".into()), 0)]);
        let asked = self
            .ask(GroupRequest::FetchOffsets { groups: vec![FetchGroup { group: "g".into(), partitions }] });
        match self.answers.remove(&asked) {
            Some(GroupResponse::FetchOffsets { groups }) => groups[0].partitions[0].offset,
            other => panic!("{other:?}"),
        }
    }

    fn described(&mut self) -> DescribedGroup {
        let asked = self.ask(GroupRequest::Describe { groups: vec!["g".into()] });
        match self.answers.remove(&asked) {
            Some(GroupResponse::Describe { mut groups }) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// A stable group of `count` dynamic members, the leader first.
    fn stable(&mut self, count: usize) -> Vec<MemberOf> {
        let asked: Vec<u64> = (0..count)
            .map(|_| {
                let first = self.join("", None);
                let first = self.joined(first);
                assert_eq!(first.error, ErrorCode::MemberIdRequired);
                self.join(&first.member, None)
            })
            .collect();
        // Whoever was answered before the last one came has to come again.
        let mut members = Vec::new();
        let mut waiting = asked;
        while !waiting.is_empty() {
            let mut again = Vec::new();
            for asked in std::mem::take(&mut waiting) {
                if !self.answers.contains_key(&asked) {
                    again.push(asked);
                    continue;
                }
                let joined = self.joined(asked);
                members.push(member_of(&joined));
            }
            let generation = members.iter().map(|member| member.generation).max().unwrap_or(0);
            let (old, new): (Vec<_>, Vec<_>) =
                members.drain(..).partition(|member| member.generation < generation || !again.is_empty());
            members = new;
            waiting = again;
            waiting.extend(old.iter().map(|member| self.join(&member.member, None)));
        }
        let leader = self.described_leader(&members);
        members.sort_by_key(|member| member.member != leader);
        let shares: Vec<(&str, &str)> =
            members.iter().map(|m| (m.member.as_str(), m.member.as_str())).collect();
        let asked: Vec<u64> = members.iter().rev().map(|member| self.sync(member, &shares)).collect();
        self.commit();
        for (member, asked) in members.iter().rev().zip(asked) {
            assert_eq!(self.synced(asked), (ErrorCode::None, Bytes::from(member.member.clone())));
        }
        members
    }

    fn described_leader(&self, members: &[MemberOf]) -> String {
        let leader = self.coordinator.groups["g"].leader.clone().unwrap();
        assert!(members.iter().any(|member| member.member == leader));
        leader
    }
}

fn join(member: &str, instance: Option<&str>) -> JoinGroup {
    JoinGroup {
        group: "g".into(),
        member: member.into(),
        instance: instance.map(Into::into),
        client_id: "c".into(),
        client_host: "/h".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"sub"))],
        knows_member_ids: true,
        skips_assignment: true,
    }
}

fn member_of(joined: &Joined) -> MemberOf {
    assert_eq!(joined.error, ErrorCode::None);
    MemberOf {
        group: "g".into(),
        generation: joined.generation,
        member: joined.member.clone(),
        instance: None,
    }
}

fn nobody() -> MemberOf {
    MemberOf { group: "g".into(), generation: -1, member: String::new(), instance: None }
}

#[test]
fn a_group_shares_once_its_shares_are_committed() {
    let mut rig = Rig::new();
    let first = rig.join("", None);
    let id = rig.joined(first);
    assert_eq!(id.error, ErrorCode::MemberIdRequired);
    let asked = rig.join(&id.member, None);
    let joined = rig.joined(asked);
    assert_eq!((joined.generation, joined.leader.as_str()), (1, joined.member.as_str()));
    assert_eq!((joined.members.len(), joined.protocol.as_deref()), (1, Some("range")));
    let of = member_of(&joined);
    let refused = rig.commit_offset(&of, 5);
    assert_eq!(rig.commit_error(refused), Some(ErrorCode::RebalanceInProgress), "its share is not told");
    let asked = rig.sync(&of, &[(&of.member, "all"), ("stranger", "x")]);
    assert!(!rig.answers.contains_key(&asked), "answered before it is committed");
    rig.commit();
    assert_eq!(rig.synced(asked), (ErrorCode::None, Bytes::from_static(b"all")));
    assert_eq!(rig.heartbeat(&of), ErrorCode::None);
    let described = rig.described();
    assert_eq!((described.state, described.members[0].assignment.as_ref()), ("Stable", &b"all"[..]));
}

#[test]
fn the_first_members_wait_for_others() {
    let mut rig = Rig::with(GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() });
    let one = rig.ask(GroupRequest::Join(JoinGroup { knows_member_ids: false, ..join("", None) }));
    rig.wait(2_000);
    let two = rig.ask(GroupRequest::Join(JoinGroup { knows_member_ids: false, ..join("", None) }));
    rig.wait(1_500);
    assert!(!rig.answers.contains_key(&one), "one more delay, for another one came");
    rig.wait(3_000);
    let (one, two) = (rig.joined(one), rig.joined(two));
    assert_eq!((one.generation, two.generation), (1, 1));
    assert_eq!(one.members.len() + two.members.len(), 2, "the leader alone is told of all");
}

#[test]
fn a_newcomer_makes_all_come_again_and_fences_the_generation_before() {
    let mut rig = Rig::new();
    let old = rig.stable(1).remove(0);
    let id = rig.join("", None);
    let id = rig.joined(id).member;
    let asked = rig.join(&id, None);
    assert!(!rig.answers.contains_key(&asked));
    assert_eq!(rig.heartbeat(&old), ErrorCode::RebalanceInProgress);
    // Until then it may finish what it has.
    let last = rig.commit_offset(&old, 7);
    rig.commit();
    assert_eq!(rig.commit_error(last), Some(ErrorCode::None));
    let again = rig.join(&old.member, None);
    let (again, newcomer) = (rig.joined(again), rig.joined(asked));
    assert_eq!((again.generation, newcomer.generation), (2, 2));
    assert_eq!(rig.heartbeat(&old), ErrorCode::IllegalGeneration);
    let fenced = rig.commit_offset(&old, 8);
    assert_eq!(rig.commit_error(fenced), Some(ErrorCode::IllegalGeneration));
    let fenced = rig.sync(&old, &[]);
    assert_eq!(rig.synced(fenced).0, ErrorCode::IllegalGeneration);
    rig.commit();
    assert_eq!(rig.offset(), 7);
}

#[test]
fn who_is_silent_is_out() {
    let mut rig = Rig::new();
    let members = rig.stable(3);
    rig.wait(9_000);
    assert_eq!(rig.heartbeat(&members[0]), ErrorCode::None);
    assert_eq!(rig.heartbeat(&members[1]), ErrorCode::None);
    rig.wait(2_000);
    assert_eq!(rig.heartbeat(&members[2]), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&members[0]), ErrorCode::RebalanceInProgress);
    let one = rig.join(&members[0].member, None);
    assert!(!rig.answers.contains_key(&one), "the other one has its rebalance timeout");
    // It does not come: the session ends before the rebalance does.
    rig.wait(10_000);
    assert_eq!(rig.joined(one).members.len(), 1);
}

#[test]
fn who_leaves_is_out_at_once_and_the_last_one_leaves_an_empty_group() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    assert_eq!(rig.leave(&members[0].member, None), ErrorCode::None);
    assert_eq!(rig.leave(&members[0].member, None), ErrorCode::UnknownMemberId);
    let again = rig.join(&members[1].member, None);
    let joined = rig.joined(again);
    assert_eq!((joined.members.len(), joined.leader), (1, members[1].member.clone()));
    assert_eq!(rig.leave(&members[1].member, None), ErrorCode::None);
    rig.commit();
    assert_eq!(rig.described().state, "Empty");
    let commit = rig.commit_offset(&nobody(), 3);
    rig.commit();
    assert_eq!(rig.commit_error(commit), Some(ErrorCode::None));
    assert_eq!(rig.offset(), 3);
}

#[test]
fn offsets_are_shown_and_acknowledged_once_committed() {
    let mut rig = Rig::new();
    let of = rig.stable(1).remove(0);
    let asked = rig.commit_offset(&of, 10);
    assert_eq!((rig.commit_error(asked), rig.offset()), (None, -1));
    rig.commit();
    assert_eq!(rig.offset(), 10);
    let stranger = rig.commit_offset(&nobody(), 1);
    assert_eq!(rig.commit_error(stranger), Some(ErrorCode::UnknownMemberId), "the group has members");
    let lost = rig.commit_offset(&of, 11);
    rig.fail_over();
    assert_eq!(rig.commit_error(lost), Some(ErrorCode::NotCoordinator));
    assert_eq!(rig.offset(), 10);
}

#[test]
fn a_refused_append_leaves_what_was() {
    let mut rig = Rig::new();
    let of = rig.stable(1).remove(0);
    let (first, second) = (rig.commit_offset(&of, 10), rig.commit_offset(&of, 11));
    let (ticket, records) = rig.under_way.pop_front().unwrap();
    let (refused, _) = rig.under_way.pop_front().unwrap();
    rig.coordinator.refused(refused, ErrorCode::CoordinatorNotAvailable);
    rig.carry_out();
    assert_eq!(rig.commit_error(second), Some(ErrorCode::CoordinatorNotAvailable));
    rig.under_way.push_back((ticket, records));
    rig.commit();
    assert_eq!((rig.commit_error(first), rig.offset()), (Some(ErrorCode::None), 10));
    // Shares that the log did not take: the members come again.
    let again = rig.join(&of.member, None);
    let of = member_of(&rig.joined(again));
    let asked = rig.sync(&of, &[]);
    let (ticket, _) = rig.under_way.pop_front().unwrap();
    rig.coordinator.refused(ticket, ErrorCode::CoordinatorNotAvailable);
    rig.carry_out();
    assert_eq!(rig.synced(asked).0, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(rig.heartbeat(&of), ErrorCode::RebalanceInProgress);
}

#[test]
fn another_coordinator_knows_what_was_committed_and_nothing_else() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let commit = rig.commit_offset(&members[0], 4);
    rig.commit();
    rig.commit_error(commit);
    rig.fail_over();
    assert!(members.iter().all(|member| rig.heartbeat(member) == ErrorCode::None));
    assert_eq!(rig.described().members.len(), 2);
    assert_eq!(rig.offset(), 4);
    // A generation whose shares were not committed never was.
    let (one, two) = (rig.join(&members[0].member, None), rig.join(&members[1].member, None));
    let (one, _) = (rig.joined(one), rig.joined(two));
    let of = member_of(&one);
    let asked = rig.sync(&of, &[]);
    rig.fail_over();
    assert_eq!(rig.synced(asked).0, ErrorCode::NotCoordinator);
    assert_eq!(rig.heartbeat(&of), ErrorCode::IllegalGeneration);
    // Members that are gone since then are found so by the new one as well.
    rig.wait(11_000);
    assert_eq!(rig.heartbeat(&members[0]), ErrorCode::UnknownMemberId);
    rig.commit();
    assert_eq!(rig.described().state, "Empty");
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_the_one_before() {
    let mut rig = Rig::new();
    let asked = rig.join("", Some("i"));
    let first = member_of(&rig.joined(asked));
    let asked = rig.sync(&first, &[(&first.member, "all")]);
    rig.commit();
    rig.synced(asked);
    let asked = rig.join("", Some("i"));
    assert!(!rig.answers.contains_key(&asked), "its id is not committed");
    rig.commit();
    let again = rig.joined(asked);
    assert_eq!((again.generation, again.skip_assignment), (1, true));
    assert_ne!(again.member, first.member);
    let old = MemberOf { instance: Some("i".into()), ..first };
    assert_eq!(rig.heartbeat(&old), ErrorCode::FencedInstanceId);
    let asked = rig.sync(&MemberOf { instance: Some("i".into()), ..member_of(&again) }, &[]);
    assert_eq!(rig.synced(asked), (ErrorCode::None, Bytes::from_static(b"all")), "it keeps its share");
    rig.fail_over();
    assert_eq!(rig.heartbeat(&old), ErrorCode::FencedInstanceId);
    assert_eq!(rig.leave("", Some("i")), ErrorCode::None);
}

#[test]
fn members_must_fit_their_group() {
    let mut rig =
        Rig::with(GroupConfig { initial_rebalance_delay_ms: 0, members_max: 2, ..GroupConfig::default() });
    let members = rig.stable(2);
    let third = rig.join("", None);
    assert_eq!(rig.joined(third).error, ErrorCode::GroupMaxSizeReached);
    let error = |rig: &mut Rig, join: JoinGroup| {
        let asked = rig.ask(GroupRequest::Join(join));
        rig.joined(asked).error
    };
    let other = vec![("roundrobin".to_owned(), Bytes::new())];
    let known = join(&members[0].member, None);
    let changed = JoinGroup { protocols: other, ..known.clone() };
    assert_eq!(error(&mut rig, changed), ErrorCode::InconsistentGroupProtocol);
    let other_type = JoinGroup { protocol_type: "connect".into(), ..known.clone() };
    assert_eq!(error(&mut rig, other_type), ErrorCode::InconsistentGroupProtocol);
    let hasty = JoinGroup { session_timeout_ms: 5_999, ..known.clone() };
    assert_eq!(error(&mut rig, hasty), ErrorCode::InvalidSessionTimeout);
    let huge = vec![("range".to_owned(), Bytes::from(vec![0; 9 << 20]))];
    assert_eq!(error(&mut rig, JoinGroup { protocols: huge, ..known }), ErrorCode::GroupMaxSizeReached);
    assert_eq!(error(&mut rig, join("stranger", None)), ErrorCode::UnknownMemberId);
    assert_eq!(error(&mut rig, join(&members[0].member, Some("i"))), ErrorCode::UnknownMemberId);
    let commit = rig.commit_offset(&MemberOf { generation: 0, ..nobody() }, 1);
    assert_eq!(rig.commit_error(commit), Some(ErrorCode::UnknownMemberId));
}

#[test]
fn who_does_not_ask_for_its_share_is_out() {
    let mut rig = Rig::new();
    let members = rig.stable(2);
    let asked: Vec<u64> = members.iter().map(|member| rig.join(&member.member, None)).collect();
    let joined: Vec<Joined> = asked.into_iter().map(|asked| rig.joined(asked)).collect();
    let leader = joined.iter().position(|joined| !joined.members.is_empty()).unwrap();
    let of = member_of(&joined[leader]);
    let asked = rig.sync(&of, &[]);
    rig.commit();
    assert_eq!(rig.synced(asked).0, ErrorCode::None);
    let lazy = member_of(&joined[1 - leader]);
    for _ in 0..8 {
        rig.wait(8_000);
        let _ = (rig.heartbeat(&of), rig.heartbeat(&lazy));
    }
    assert_eq!(rig.heartbeat(&lazy), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&of), ErrorCode::RebalanceInProgress);
}

#[test]
fn offsets_and_groups_end() {
    let week = 7 * 24 * 60 * 60 * 1_000;
    let mut rig = Rig::new();
    let of = rig.stable(1).remove(0);
    rig.commit_offset(&of, 5);
    rig.commit();
    let expire = |rig: &mut Rig| {
        rig.at();
        let Rig { coordinator, topics, .. } = rig;
        coordinator.expire(topics);
        rig.carry_out();
        rig.commit();
    };
    expire(&mut rig);
    assert_eq!(rig.offset(), 5);
    rig.leave(&of.member, None);
    rig.commit();
    rig.wait(week - 1);
    expire(&mut rig);
    assert_eq!(rig.offset(), 5);
    rig.wait(1);
    expire(&mut rig);
    assert_eq!((rig.offset(), rig.described().error), (-1, ErrorCode::GroupIdNotFound));
    rig.fail_over();
    assert_eq!((rig.offset(), rig.described().error), (-1, ErrorCode::GroupIdNotFound));
    // A topic that is deleted takes its offsets along, at once in the eyes of clients.
    rig.commit_offset(&nobody(), 6);
    rig.commit();
    assert_eq!(rig.offset(), 6);
    rig.topics = OneTopic(TopicId([8; 16]));
    assert_eq!(rig.offset(), -1);
    expire(&mut rig);
    assert_eq!(rig.described().error, ErrorCode::GroupIdNotFound);
}

#[test]
fn groups_are_deleted_when_they_are_empty() {
    let mut rig = Rig::new();
    let delete = |rig: &mut Rig| {
        let asked = rig.ask(GroupRequest::Delete { groups: vec!["g".into()] });
        rig.commit();
        match rig.answers.remove(&asked) {
            Some(GroupResponse::Delete { groups }) => groups[0].1,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut rig), ErrorCode::GroupIdNotFound);
    let of = rig.stable(1).remove(0);
    rig.commit_offset(&of, 5);
    rig.commit();
    assert_eq!(delete(&mut rig), ErrorCode::NonEmptyGroup);
    let partitions = vec![(TopicRef::Name("t".into()), 0)];
    let delete_offsets = GroupRequest::DeleteOffsets { group: "g".into(), partitions };
    rig.leave(&of.member, None);
    rig.commit();
    let asked = rig.ask(delete_offsets);
    rig.commit();
    let Some(GroupResponse::DeleteOffsets { error, partitions }) = rig.answers.remove(&asked) else {
        panic!()
    };
    assert_eq!((error, partitions[0].error, rig.offset()), (ErrorCode::None, ErrorCode::None, -1));
    assert_eq!(rig.coordinator.list(&["empty".into()]).len(), 1);
    assert_eq!(delete(&mut rig), ErrorCode::None);
    assert!(rig.coordinator.list(&[]).is_empty());
    rig.fail_over();
    assert!(rig.coordinator.list(&[]).is_empty());
}

/// Whatever is asked, in whatever order: nothing panics, every question that is not held back is answered once, and another coordinator
/// that reads the log agrees about offsets and generation.
#[test]
fn any_history_is_told_by_its_log() {
    fn any(steps: Vec<(u8, u8, u16)>) -> bool {
        let mut rig = Rig::new();
        let mut known = vec![nobody()];
        for (what, who, number) in steps {
            let of = known[usize::from(who) % known.len()].clone();
            match what % 8 {
                0 => _ = rig.join("", None),
                1 => _ = rig.join(&of.member, None),
                2 => _ = rig.join("", Some(if who % 2 == 0 { "i" } else { "k" })),
                3 => _ = rig.sync(&of, &[(&of.member, "x")]),
                4 => _ = rig.commit_offset(&of, i64::from(number)),
                5 => _ = rig.leave(&of.member, None),
                6 => rig.wait(u64::from(number) / 4),
                _ => rig.commit(),
            }
            let joins = rig.answers.values().filter_map(|answer| match answer {
                GroupResponse::Join(joined) if !joined.member.is_empty() => Some(joined),
                _ => None,
            });
            let more: Vec<MemberOf> = joins
                .map(|joined| MemberOf {
                    group: "g".into(),
                    generation: joined.generation,
                    member: joined.member.clone(),
                    instance: None,
                })
                .collect();
            known.extend(more);
            rig.answers.clear();
        }
        rig.commit();
        rig.answers.clear();
        let before = (rig.offset(), rig.coordinator.groups.get("g").map_or(0, |group| group.generation));
        rig.fail_over();
        rig.answers.clear();
        let after = (rig.offset(), rig.coordinator.groups.get("g").map_or(0, |group| group.generation));
        // A generation that was begun and not shared is not in the log.
        before.0 == after.0 && after.1 <= before.1
    }
    quickcheck::QuickCheck::new().tests(500).quickcheck(any as fn(Vec<(u8, u8, u16)>) -> bool);
}
