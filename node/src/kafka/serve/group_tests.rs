//! Everything about groups in every version.

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;

use super::*;
use crate::core::groups::api::*;

fn word(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn group() -> GroupId {
    GroupId(word("g"))
}

/// What the node is asked about groups.
fn asked<T: ClientRequest>(version: i16, body: &T) -> (Header, GroupRequest) {
    match asks(version, body) {
        (header, Request::Group(request)) => (header, request),
        (_, other) => panic!("{other:?}"),
    }
}

fn answered<T: ClientRequest>(version: i16, header: Header, answer: GroupResponse) -> T::Response
where
    T::Response: HeaderVersion + Debug,
{
    read::<T>(version, encode_response(header, Response::Group(answer), &brokers()).unwrap())
}

#[test]
fn find_coordinator_in_every_version() {
    for version in versions(Api::FindCoordinator) {
        let body = match version {
            4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![word("g"), word("h")]),
            _ => FindCoordinatorRequest::default().with_key(word("g")),
        };
        let (header, GroupRequest::FindCoordinator { groups }) = asked(version, &body) else { panic!() };
        assert_eq!(groups, if version >= 4 { vec!["g", "h"] } else { vec!["g"] });
        let of = |group: &str, error, node| Coordinating { group: group.into(), error, node };
        let mut coordinators = vec![of("g", ErrorCode::None, 2)];
        if version >= 4 {
            coordinators.push(of("h", ErrorCode::CoordinatorNotAvailable, -1));
        }
        let answer = GroupResponse::FindCoordinator { coordinators };
        let response = answered::<FindCoordinatorRequest>(version, header, answer);
        let found = match version {
            4.. => (response.coordinators[0].node_id.0, response.coordinators[0].host.to_string()),
            _ => (response.node_id.0, response.host.to_string()),
        };
        assert_eq!(found, (2, "host2".to_owned()));
        if version >= 4 {
            assert_eq!(response.coordinators[1].error_code, ErrorCode::CoordinatorNotAvailable.code());
            assert!(response.coordinators[1].error_message.is_some());
        }
        if version >= 1 {
            let response = at_once(version, &body.with_key_type(1));
            let (code, message) = match version {
                4.. => (response.coordinators[0].error_code, response.coordinators[0].error_message.clone()),
                _ => (response.error_code, response.error_message),
            };
            assert_eq!(code, ErrorCode::CoordinatorNotAvailable.code());
            assert!(message.is_some_and(|text| text.contains("transactions are not served yet")));
        }
    }
}

#[test]
fn join_in_every_version() {
    for version in versions(Api::JoinGroup) {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(word("range"))
            .with_metadata(Bytes::from_static(b"sub"));
        let mut body = JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(10_000)
            .with_member_id(word("m"))
            .with_protocol_type(word("consumer"))
            .with_protocols(vec![protocol]);
        if version >= 1 {
            body = body.with_rebalance_timeout_ms(60_000);
        }
        if version >= 5 {
            body = body.with_group_instance_id(Some(word("i")));
        }
        let (header, GroupRequest::Join(join)) = asked(version, &body) else { panic!() };
        assert_eq!(join.rebalance_timeout_ms, if version >= 1 { 60_000 } else { 10_000 });
        assert_eq!((join.knows_member_ids, join.skips_assignment), (version >= 4, version >= 9));
        assert_eq!((join.instance.is_some(), join.client_id.as_str()), (version >= 5, "tester"));
        assert_eq!(join.protocols, [("range".to_owned(), Bytes::from_static(b"sub"))]);
        let member = JoinedMember { member: "m".into(), instance: Some("i".into()), metadata: Bytes::new() };
        let joined = Joined {
            error: ErrorCode::None,
            generation: 3,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            leader: "m".into(),
            skip_assignment: true,
            member: "m".into(),
            members: vec![member],
        };
        let response = answered::<JoinGroupRequest>(version, header, GroupResponse::Join(joined));
        assert_eq!((response.generation_id, response.members.len()), (3, 1));
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
        assert_eq!(
            (response.skip_assignment, response.protocol_type.is_some()),
            (version >= 9, version >= 7)
        );
        assert_eq!(response.members[0].group_instance_id.is_some(), version >= 5);
        let (header, _) = asked(version, &body);
        let refused = GroupResponse::Join(Joined::refused(ErrorCode::MemberIdRequired, "m-1"));
        let response = answered::<JoinGroupRequest>(version, header, refused);
        assert_eq!((response.error_code, &*response.member_id, response.generation_id), (79, "m-1", -1));
    }
}

#[test]
fn sync_heartbeat_and_leave_in_every_version() {
    for version in versions(Api::SyncGroup) {
        let share = SyncGroupRequestAssignment::default()
            .with_member_id(word("m"))
            .with_assignment(Bytes::from_static(b"s"));
        let mut body = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(3)
            .with_member_id(word("m"))
            .with_assignments(vec![share]);
        if version >= 5 {
            body = body.with_protocol_name(Some(word("range"))).with_protocol_type(Some(word("consumer")));
        }
        let (header, GroupRequest::Sync(sync)) = asked(version, &body) else { panic!() };
        assert_eq!((sync.of.generation, sync.assignments.len()), (3, 1));
        assert_eq!(sync.protocol.is_some(), version >= 5);
        let synced = Synced {
            error: ErrorCode::None,
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            assignment: Bytes::from_static(b"s"),
        };
        let response = answered::<SyncGroupRequest>(version, header, GroupResponse::Sync(synced));
        assert_eq!((response.assignment.as_ref(), response.error_code), (&b"s"[..], 0));
    }
    for version in versions(Api::Heartbeat) {
        let body = HeartbeatRequest::default().with_group_id(group()).with_member_id(word("m"));
        let (header, GroupRequest::Heartbeat(of)) = asked(version, &body) else { panic!() };
        assert_eq!((of.group.as_str(), of.member.as_str()), ("g", "m"));
        let answer = GroupResponse::Heartbeat(ErrorCode::RebalanceInProgress);
        assert_eq!(answered::<HeartbeatRequest>(version, header, answer).error_code, 27);
    }
    for version in versions(Api::LeaveGroup) {
        let body = LeaveGroupRequest::default().with_group_id(group());
        let body = match version {
            3.. => body.with_members(vec![MemberIdentity::default().with_member_id(word("m"))]),
            _ => body.with_member_id(word("m")),
        };
        let (header, GroupRequest::Leave { members, .. }) = asked(version, &body) else { panic!() };
        assert_eq!(members[0].member, "m");
        let members = vec![(members[0].clone(), ErrorCode::UnknownMemberId)];
        let answer = GroupResponse::Leave { error: ErrorCode::None, members };
        let response = answered::<LeaveGroupRequest>(version, header, answer);
        let code = if version >= 3 { response.members[0].error_code } else { response.error_code };
        assert_eq!(code, 25);
    }
}

#[test]
fn offsets_in_every_version() {
    let failed = || PartitionError { topic: by_name(), partition: 2, error: ErrorCode::IllegalGeneration };
    for version in versions(Api::OffsetCommit) {
        let mut part =
            OffsetCommitRequestPartition::default().with_partition_index(2).with_committed_offset(77);
        if version >= 6 {
            part = part.with_committed_leader_epoch(4);
        }
        let topic = OffsetCommitRequestTopic::default().with_name(name()).with_partitions(vec![part]);
        let body = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(5)
            .with_member_id(word("m"))
            .with_topics(vec![topic]);
        let (header, GroupRequest::CommitOffsets(commit)) = asked(version, &body) else { panic!() };
        let part = &commit.partitions[0];
        assert_eq!((commit.of.generation, part.partition, part.offset), (5, 2, 77));
        assert_eq!((part.leader_epoch, &part.topic), (if version >= 6 { 4 } else { -1 }, &by_name()));
        let answer = GroupResponse::CommitOffsets { partitions: vec![failed()] };
        let response = answered::<OffsetCommitRequest>(version, header, answer);
        assert_eq!(response.topics[0].partitions[0].error_code, 22);
    }
    for version in versions(Api::OffsetFetch) {
        let body = match version {
            8.. => {
                let topic =
                    OffsetFetchRequestTopics::default().with_name(name()).with_partition_indexes(vec![2]);
                let one =
                    OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
                let all =
                    OffsetFetchRequestGroup::default().with_group_id(GroupId(word("h"))).with_topics(None);
                OffsetFetchRequest::default().with_groups(vec![one, all])
            }
            _ => {
                let topic =
                    OffsetFetchRequestTopic::default().with_name(name()).with_partition_indexes(vec![2]);
                OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]))
            }
        };
        let (header, GroupRequest::FetchOffsets { groups }) = asked(version, &body) else { panic!() };
        assert_eq!(groups[0].partitions, Some(vec![(by_name(), 2)]));
        let whole = groups.iter().map(|asked| FetchedGroup {
            group: asked.group.clone(),
            error: if asked.partitions.is_none() { ErrorCode::NotCoordinator } else { ErrorCode::None },
            partitions: vec![FetchedOffset {
                topic: by_name(),
                topic_id: ID,
                partition: 2,
                error: ErrorCode::None,
                offset: 77,
                leader_epoch: 4,
                metadata: "x".into(),
            }],
        });
        let answer = GroupResponse::FetchOffsets { groups: whole.collect() };
        let response = answered::<OffsetFetchRequest>(version, header, answer);
        if version >= 8 {
            assert!(groups[1].partitions.is_none());
            let part = &response.groups[0].topics[0].partitions[0];
            assert_eq!((part.committed_offset, part.committed_leader_epoch), (77, 4));
            assert_eq!((response.groups[1].error_code, response.groups[1].topics.len()), (16, 0));
        } else {
            let part = &response.topics[0].partitions[0];
            let epoch = if version >= 5 { 4 } else { -1 };
            assert_eq!((part.committed_offset, part.committed_leader_epoch), (77, epoch));
            assert_eq!(part.metadata.as_deref(), Some("x"));
        }
    }
    let part = OffsetDeleteRequestPartition::default().with_partition_index(2);
    let topic = OffsetDeleteRequestTopic::default().with_name(name()).with_partitions(vec![part]);
    let body = OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topic]);
    let (header, GroupRequest::DeleteOffsets { partitions, .. }) = asked(0, &body) else { panic!() };
    assert_eq!(partitions, [(by_name(), 2)]);
    let answer = GroupResponse::DeleteOffsets { error: ErrorCode::None, partitions: vec![failed()] };
    let response = answered::<OffsetDeleteRequest>(0, header, answer);
    assert_eq!(response.topics[0].partitions[0].error_code, 22);
}

#[test]
fn groups_are_described_listed_and_deleted_in_every_version() {
    for version in versions(Api::DescribeGroups) {
        let body = DescribeGroupsRequest::default().with_groups(vec![group(), GroupId(word("no"))]);
        let (header, GroupRequest::Describe { groups }) = asked(version, &body) else { panic!() };
        assert_eq!(groups, ["g", "no"]);
        let member = DescribedMember {
            member: "m".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            metadata: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"share"),
        };
        let known = DescribedGroup {
            group: "g".into(),
            error: ErrorCode::None,
            state: "Stable",
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            members: vec![member],
        };
        let gone =
            DescribedGroup { state: "Dead", ..DescribedGroup::refused("no", ErrorCode::GroupIdNotFound) };
        let answer = GroupResponse::Describe { groups: vec![known, gone] };
        let response = answered::<DescribeGroupsRequest>(version, header, answer);
        let member = &response.groups[0].members[0];
        assert_eq!(
            (member.member_assignment.as_ref(), member.group_instance_id.is_some()),
            (&b"share"[..], version >= 4)
        );
        let code = if version >= 6 { 69 } else { 0 };
        assert_eq!((response.groups[1].error_code, &*response.groups[1].group_state), (code, "Dead"));
    }
    for version in versions(Api::ListGroups) {
        let mut body = ListGroupsRequest::default();
        if version >= 4 {
            body = body.with_states_filter(vec![word("Stable")]);
        }
        let (header, GroupRequest::List { states }) = asked(version, &body) else { panic!() };
        assert_eq!(states.len(), usize::from(version >= 4));
        let listed = ListedGroup { group: "g".into(), protocol_type: "consumer".into(), state: "Stable" };
        let answer = GroupResponse::List { error: ErrorCode::None, groups: vec![listed] };
        let response = answered::<ListGroupsRequest>(version, header, answer);
        assert_eq!(&*response.groups[0].group_state, if version >= 4 { "Stable" } else { "" });
        if version >= 5 {
            assert_eq!(&*response.groups[0].group_type, "classic");
            let others = at_once(version, &body.with_types_filter(vec![word("consumer")]));
            assert!(others.groups.is_empty());
        }
    }
    for version in versions(Api::DeleteGroups) {
        let body = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
        let (header, GroupRequest::Delete { groups }) = asked(version, &body) else { panic!() };
        assert_eq!(groups, ["g"]);
        let answer = GroupResponse::Delete { groups: vec![("g".into(), ErrorCode::NonEmptyGroup)] };
        let response = answered::<DeleteGroupsRequest>(version, header, answer);
        assert_eq!(response.results[0].error_code, 68);
    }
}
