//! CreatePartitions, reassignments, DeleteRecords, DescribeLogDirs, ElectLeaders and DescribeTopicPartitions in every version, and fetches through
//! their sessions.

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::delete_records_request::{self, DeleteRecordsTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::fetch_request::{FetchPartition as Part, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;

use super::*;

#[test]
fn create_partitions_in_every_version() {
    for version in versions(Api::CreatePartitions) {
        let assigned = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(2), BrokerId(1)]);
        let topic = CreatePartitionsTopic::default().with_count(6).with_assignments(Some(vec![assigned]));
        let twice =
            || CreatePartitionsTopic::default().with_name(TopicName(StrBytes::from_static_str("twice")));
        let body = CreatePartitionsRequest::default()
            .with_topics(vec![twice(), topic.with_name(name()), twice()])
            .with_timeout_ms(9)
            .with_validate_only(true);
        let (header, request) = asks(version, &body);
        let Request::CreatePartitions { topics, validate_only: true, timeout_ms: 9 } = request else {
            panic!("{request:?}")
        };
        assert_eq!((topics.len(), topics[0].name.as_str(), topics[0].count), (1, TOPIC, 6));
        assert_eq!(topics[0].assignment, Some(vec![vec![2, 1]]));
        let message = Some("no".to_owned());
        let result = GrowResult { name: TOPIC.to_owned(), error: ErrorCode::InvalidPartitions, message };
        let answer = Response::CreatePartitions { topics: vec![result] };
        let response =
            read::<CreatePartitionsRequest>(version, encode_response(header, answer, &[]).unwrap());
        let codes: Vec<_> = response.results.iter().map(|topic| (&**topic.name, topic.error_code)).collect();
        assert_eq!(codes, [("twice", 42), (TOPIC, 37)]);
        assert_eq!(response.results[1].error_message.as_deref(), Some("no"));
    }
}

#[test]
fn delete_records_in_every_version() {
    for version in versions(Api::DeleteRecords) {
        let part = |index: i32, offset| {
            let part = delete_records_request::DeleteRecordsPartition::default();
            part.with_partition_index(index).with_offset(offset)
        };
        let topic =
            DeleteRecordsTopic::default().with_name(name()).with_partitions(vec![part(0, 5), part(1, -1)]);
        let body = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(9);
        let (header, request) = asks(version, &body);
        let Request::DeleteRecords { timeout_ms: 9, partitions } = request else { panic!("{request:?}") };
        let asked: Vec<_> =
            partitions.iter().map(|part| (&part.topic, part.partition, part.offset)).collect();
        assert_eq!(asked, [(&by_name(), 0, 5), (&by_name(), 1, -1)]);
        let result = |partition, low_watermark, error| DeleteRecordsResult {
            topic: by_name(),
            partition,
            low_watermark,
            error,
        };
        let partitions = vec![result(0, 5, ErrorCode::None), result(1, -1, ErrorCode::NotLeaderOrFollower)];
        let answer = Response::DeleteRecords { partitions };
        let response = read::<DeleteRecordsRequest>(version, encode_response(header, answer, &[]).unwrap());
        let parts = &response.topics[0].partitions;
        let told: Vec<_> = parts.iter().map(|p| (p.partition_index, p.low_watermark, p.error_code)).collect();
        assert_eq!((&response.topics[0].name, told), (&name(), vec![(0, 5, 0), (1, -1, 6)]));
    }
}

#[test]
fn describe_log_dirs_in_every_version() {
    for version in versions(Api::DescribeLogDirs) {
        let topic = || DescribableLogDirTopic::default().with_topic(name()).with_partitions(vec![3, 1, 3]);
        let body = DescribeLogDirsRequest::default().with_topics(Some(vec![topic(), topic()]));
        let (header, request) = asks(version, &body);
        let Request::DescribeLogDirs { partitions: Some(wanted) } = request else { panic!("{request:?}") };
        assert_eq!(wanted, [(TOPIC.to_owned(), [1, 3].into())].into());
        let replica =
            |topic: &str, partition| LogDirReplica { topic: topic.into(), partition, bytes: 7, lag: 2 };
        let replicas = vec![replica("a", 0), replica("a", 1), replica("b", 0)];
        let dir = LogDir { path: "/data".to_owned(), usable_bytes: 99, replicas };
        let answer = Response::DescribeLogDirs(dir);
        let response = read::<DescribeLogDirsRequest>(version, encode_response(header, answer, &[]).unwrap());
        let found = &response.results[0];
        assert_eq!((&*found.log_dir, found.topics.len(), found.topics[0].partitions.len()), ("/data", 2, 2));
        let part = &found.topics[0].partitions[1];
        assert_eq!((part.partition_index, part.partition_size, part.offset_lag), (1, 7, 2));
        assert_eq!((found.usable_bytes, found.total_bytes), (if version >= 4 { 99 } else { -1 }, -1));
        let (_, request) = asks(version, &DescribeLogDirsRequest::default().with_topics(None));
        assert!(matches!(request, Request::DescribeLogDirs { partitions: None }));
    }
}

#[test]
fn reassignments_are_altered_in_every_version() {
    for version in versions(Api::AlterPartitionReassignments) {
        let part = |index: i32, nodes: Option<Vec<i32>>| {
            let nodes = nodes.map(|nodes| nodes.into_iter().map(BrokerId).collect());
            ReassignablePartition::default().with_partition_index(index).with_replicas(nodes)
        };
        let parts = vec![part(0, Some(vec![3, 1])), part(1, None)];
        let topic = ReassignableTopic::default().with_name(name()).with_partitions(parts);
        let strict = version >= 1;
        let body = AlterPartitionReassignmentsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(9)
            .with_allow_replication_factor_change(!strict);
        let (header, request) = asks(version, &body);
        let Request::AlterReassignments { partitions, may_change_factor, timeout_ms: 9 } = request else {
            panic!("{request:?}")
        };
        assert_eq!(may_change_factor, !strict);
        let asked: Vec<_> =
            partitions.into_iter().map(|part| (part.topic, part.partition, part.replicas)).collect();
        assert_eq!(asked, [(TOPIC.to_owned(), 0, Some(vec![3, 1])), (TOPIC.to_owned(), 1, None)]);
        let result = |partition, error, message: Option<&str>| ReassignResult {
            topic: TOPIC.to_owned(),
            partition,
            error,
            message: message.map(str::to_owned),
        };
        let none = ErrorCode::NoReassignmentInProgress;
        let answer = Response::AlterReassignments {
            partitions: vec![result(0, ErrorCode::None, None), result(1, none, Some("nothing"))],
        };
        let frame = encode_response(header, answer, &[]).unwrap();
        let response = read::<AlterPartitionReassignmentsRequest>(version, frame);
        let told: Vec<_> =
            response.responses[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
        assert_eq!(
            (response.error_code, &response.responses[0].name, told),
            (0, &name(), vec![(0, 0), (1, 85)])
        );
        assert_eq!(response.responses[0].partitions[1].error_message.as_deref(), Some("nothing"));
    }
}

#[test]
fn reassignments_are_listed_in_every_version() {
    for version in versions(Api::ListPartitionReassignments) {
        let topic = ListPartitionReassignmentsTopics::default()
            .with_name(name())
            .with_partition_indexes(vec![1, 0, 1]);
        let body = ListPartitionReassignmentsRequest::default().with_topics(Some(vec![topic]));
        let (header, request) = asks(version, &body);
        let Request::ListReassignments { partitions: Some(wanted) } = request else { panic!("{request:?}") };
        assert_eq!(wanted, [(TOPIC.to_owned(), [0, 1].into())].into());
        let ongoing = OngoingReassignment {
            topic: TOPIC.to_owned(),
            partition: 1,
            replicas: vec![4, 1, 3],
            adding: vec![4],
            removing: vec![3],
        };
        let answer = Response::ListReassignments { error: ErrorCode::None, partitions: vec![ongoing] };
        let frame = encode_response(header, answer, &[]).unwrap();
        let response = read::<ListPartitionReassignmentsRequest>(version, frame);
        let part = &response.topics[0].partitions[0];
        let ids = |nodes: &[BrokerId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        assert_eq!((response.error_code, part.partition_index, ids(&part.replicas)), (0, 1, vec![4, 1, 3]));
        assert_eq!((ids(&part.adding_replicas), ids(&part.removing_replicas)), (vec![4], vec![3]));
        let (_, request) = asks(version, &ListPartitionReassignmentsRequest::default().with_topics(None));
        assert!(matches!(request, Request::ListReassignments { partitions: None }));
    }
}

#[test]
fn elect_leaders_in_every_version() {
    for version in versions(Api::ElectLeaders) {
        let topic = TopicPartitions::default().with_topic(name()).with_partitions(vec![2, 0]);
        let body = ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic])).with_timeout_ms(9);
        let (header, request) = asks(version, &body);
        let Request::ElectLeaders {
            election: ElectionType::Preferred,
            partitions: Some(asked),
            timeout_ms: 9,
        } = request
        else {
            panic!("{request:?}")
        };
        let one = |partition| ElectPartition { topic: TOPIC.to_owned(), partition };
        assert_eq!(asked, [one(2), one(0)]);
        let result = |partition, error| ElectResult { topic: TOPIC.into(), partition, error, message: None };
        let partitions = vec![result(2, ErrorCode::None), result(0, ErrorCode::ElectionNotNeeded)];
        let answer = Response::ElectLeaders { partitions };
        let response = read::<ElectLeadersRequest>(version, encode_response(header, answer, &[]).unwrap());
        let told = &response.replica_election_results[0];
        let codes: Vec<_> = told.partition_result.iter().map(|p| (p.partition_id, p.error_code)).collect();
        assert_eq!((&told.topic, codes), (&name(), vec![(2, 0), (0, 84)]));
        let every = ElectLeadersRequest::default().with_topic_partitions(None);
        let (_, request) = asks(version, &every);
        assert!(matches!(request, Request::ElectLeaders { partitions: None, .. }));
        if version >= 1 {
            let (_, request) = asks(version, &every.clone().with_election_type(1));
            assert!(matches!(request, Request::ElectLeaders { election: ElectionType::Unclean, .. }));
            assert_eq!(at_once(version, &every.with_election_type(7)).error_code, 42);
        }
    }
}

fn topic_metadata(name: &str, partitions: i32) -> TopicMetadata {
    let part = |partition| PartitionMetadata {
        error: ErrorCode::None,
        partition,
        leader: 2,
        leader_epoch: 6,
        replicas: vec![1, 2],
        in_sync: vec![2],
        offline: vec![1],
    };
    TopicMetadata {
        error: if partitions == 0 { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::None },
        name: Some(name.to_owned()),
        topic_id: ID,
        internal: false,
        partitions: (0..partitions).map(part).collect(),
    }
}

/// Topics and their partitions in one page, and where the next one begins.
type Told = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

/// One page of topics a, b (unknown) and c.
fn page(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Told {
    let topic =
        |name: &&str| TopicRequest::default().with_name(TopicName(StrBytes::from_string((*name).into())));
    let cursor = cursor.map(|(topic, partition)| {
        Cursor::default()
            .with_topic_name(TopicName(StrBytes::from_string(topic.into())))
            .with_partition_index(partition)
    });
    let body = DescribeTopicPartitionsRequest::default()
        .with_topics(names.iter().map(topic).collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor);
    let (header, request) = asks(0, &body);
    let Request::Metadata { topics, allow_auto_create: false } = request else { panic!("{request:?}") };
    let known = [topic_metadata("a", 3), topic_metadata("b", 0), topic_metadata("c", 2)];
    let wanted = |topic: &TopicMetadata| match &topics {
        MetadataTopics::All => topic.error == ErrorCode::None,
        MetadataTopics::Some(names) => names.contains(&TopicRef::Name(topic.name.clone().unwrap())),
    };
    let topics = known.into_iter().filter(wanted).collect();
    let answer = Response::Metadata(MetadataResult { topics, ..MetadataResult::default() });
    let frame = encode_response(header, answer, &[]).unwrap();
    let response = read::<DescribeTopicPartitionsRequest>(0, frame);
    let told = response.topics.iter().map(|topic| {
        let numbers = topic.partitions.iter().map(|part| part.partition_index).collect();
        (topic.name.as_ref().unwrap().to_string(), topic.error_code, numbers)
    });
    let next = response.next_cursor.map(|next| (next.topic_name.to_string(), next.partition_index));
    (told.collect(), next)
}

#[test]
fn topic_partitions_come_in_pages() {
    let a = |numbers: &[i32]| ("a".to_owned(), 0, numbers.to_vec());
    let b = || ("b".to_owned(), 3, Vec::new());
    let c = |numbers: &[i32]| ("c".to_owned(), 0, numbers.to_vec());
    let at = |topic: &str, partition| Some((topic.to_owned(), partition));
    let all = (vec![a(&[0, 1, 2]), b(), c(&[0, 1])], None);
    assert_eq!(page(&["c", "b", "a", "a"], 2_000, None), all);
    assert_eq!(page(&[], 2_000, None), (vec![a(&[0, 1, 2]), c(&[0, 1])], None));
    assert_eq!(page(&["a", "b", "c"], 2, None), (vec![a(&[0, 1])], at("a", 2)));
    assert_eq!(page(&["a", "b", "c"], 2, Some(("a", 2))), (vec![a(&[2]), b(), c(&[0])], at("c", 1)));
    assert_eq!(page(&["a", "b", "c"], 3, None), (vec![a(&[0, 1, 2])], at("b", 0)));
    assert_eq!(page(&["a", "b", "c"], 0, Some(("c", 1))), (vec![c(&[1])], None));
    let wrong = Cursor::default().with_partition_index(-1);
    let asked = vec![TopicRequest::default().with_name(name())];
    let body = DescribeTopicPartitionsRequest::default().with_topics(asked).with_cursor(Some(wrong));
    assert_eq!(at_once(0, &body).topics[0].error_code, ErrorCode::InvalidRequest.code());
}

/// A fetch of the partitions of a session; what reaches the node, and the response to `results`.
fn fetch_in(
    sessions: &Arc<Sessions>,
    (version, id, epoch): (i16, i32, i32),
    parts: &[(i32, i64)],
    forgotten: &[i32],
    results: impl Fn(&FetchPartition) -> FetchResult,
) -> (Vec<(i32, i64)>, FetchResponse) {
    let part =
        |(number, offset): &(i32, i64)| Part::default().with_partition(*number).with_fetch_offset(*offset);
    let topic = FetchTopic::default().with_partitions(parts.iter().map(part).collect());
    let gone = ForgottenTopic::default().with_partitions(forgotten.to_vec());
    let (topic, gone) = match version {
        13.. => (topic.with_topic_id(uuid()), gone.with_topic_id(uuid())),
        _ => (topic.with_topic(name()), gone.with_topic(name())),
    };
    let body = fetch(version)
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_topics(if parts.is_empty() { Vec::new() } else { vec![topic] })
        .with_forgotten_topics_data(if forgotten.is_empty() { Vec::new() } else { vec![gone] });
    match decode_with_sessions(frame(version, &body), &Limits::default(), sessions, Instant::now()) {
        Decoded::Request { header, request: Request::Fetch { partitions, .. } } => {
            let asked = partitions.iter().map(|part| (part.partition, part.offset)).collect();
            let answer = Response::Fetch { partitions: partitions.iter().map(results).collect() };
            (asked, read::<FetchRequest>(version, encode_response(header, answer, &brokers()).unwrap()))
        }
        Decoded::Immediate { frame, .. } => (Vec::new(), read::<FetchRequest>(version, frame)),
        other => panic!("{other:?}"),
    }
}

fn told(response: &FetchResponse) -> Vec<i32> {
    response.responses.iter().flat_map(|topic| &topic.partitions).map(|p| p.partition_index).collect()
}

#[test]
fn fetch_sessions_in_every_version_that_has_them() {
    for version in versions(Api::Fetch).filter(|version| *version >= 7) {
        let sessions = Sessions::new(5);
        let quiet = |part: &FetchPartition| fetched(part.topic.clone(), part.partition, Vec::new());
        let busy = |part: &FetchPartition| {
            let batch = StoredBatch { base_offset: 20, leader_epoch: 6, bytes: Bytes::from(sound(2, 10)) };
            let batches = if part.partition == 1 { vec![batch] } else { Vec::new() };
            fetched(part.topic.clone(), part.partition, batches)
        };
        let all = [(0, 11), (1, 11), (2, 11)];
        let (asked, first) = fetch_in(&sessions, (version, 0, 0), &all, &[], quiet);
        assert_eq!((asked, told(&first)), (all.to_vec(), vec![0, 1, 2]));
        let id = first.session_id;
        assert!(id > 0 && first.error_code == 0);
        let (asked, next) = fetch_in(&sessions, (version, id, 1), &[], &[], quiet);
        assert_eq!((asked, told(&next), next.session_id), (all.to_vec(), vec![], id));
        let (_, next) = fetch_in(&sessions, (version, id, 2), &[], &[], busy);
        assert_eq!(told(&next), [1]);
        let (asked, _) = fetch_in(&sessions, (version, id, 3), &[(1, 22)], &[0], quiet);
        assert_eq!(asked, [(2, 11), (1, 22)]);
        let (_, late) = fetch_in(&sessions, (version, id, 3), &[], &[], quiet);
        assert_eq!(late.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
        let (_, other) = fetch_in(&sessions, (version, id ^ 1, 1), &[], &[], quiet);
        assert_eq!((other.error_code, other.session_id), (ErrorCode::FetchSessionIdNotFound.code(), 0));
        let (asked, last) = fetch_in(&sessions, (version, id, -1), &all, &[], quiet);
        assert_eq!((asked.len(), told(&last).len(), last.session_id, sessions.count()), (3, 3, 0, 0));
    }
}

#[test]
fn a_session_keeps_to_names_or_ids() {
    let sessions = Sessions::new(5);
    let quiet = |part: &FetchPartition| fetched(part.topic.clone(), part.partition, Vec::new());
    let (_, first) = fetch_in(&sessions, (12, 0, 0), &[(0, 0)], &[], quiet);
    let (_, next) = fetch_in(&sessions, (13, first.session_id, 1), &[], &[], quiet);
    assert_eq!(next.error_code, ErrorCode::FetchSessionTopicIdError.code());
}

#[test]
fn a_compressed_batch_is_looked_through_for_the_answer() {
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition as Part, ListOffsetsTopic};
    let part = Part::default().with_partition_index(0).with_timestamp(1_010);
    let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![part]);
    let body = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let (header, request) = asks(7, &body);
    let Request::ListOffsets { partitions } = request else { panic!("{request:?}") };
    // Two records, at 1000 and at 1010 milliseconds, as one raw block of snappy.
    let records = [14, 0, 0, 0, 1, 1, 0, 0, 14, 0, 20, 2, 1, 1, 0, 0];
    let records = [&[16, 60][..], &records[..]].concat();
    let header_bytes = with(with(sound(2, 0)[..61].to_vec(), 21, &[0, 2]), 27, &1_000_i64.to_be_bytes());
    let batch =
        StoredBatch { base_offset: 40, leader_epoch: 1, bytes: [header_bytes, records].concat().into() };
    let result = ListOffsetsResult {
        topic: partitions[0].topic.clone(),
        partition: 0,
        error: ErrorCode::None,
        timestamp: 1_010,
        offset: 40,
        leader_epoch: 1,
        search: Some(Search { at_ms: 1_010, from: 0, batches: vec![batch] }),
    };
    let answer = Response::ListOffsets { partitions: vec![result] };
    let response = read::<ListOffsetsRequest>(7, encode_response(header, answer, &[]).unwrap());
    let part = &response.topics[0].partitions[0];
    assert_eq!((part.offset, part.timestamp), (41, 1_010));
}
