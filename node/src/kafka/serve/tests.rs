//! Requests as clients write them and responses as clients read them, for every version that is served.

use std::fmt::Debug;

use bytes::Buf;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{HeaderVersion, Request as ClientRequest};

use super::*;
use crate::core::error::ErrorCode;
use crate::core::request::*;
use crate::kafka::batch::tests::{sound, with};

#[path = "configs_tests.rs"]
mod configs_tests;
#[path = "everyday.rs"]
mod everyday;
#[path = "group_tests.rs"]
mod groups_in_every_version;
#[path = "hostile.rs"]
mod hostile;
#[path = "quotas_tests.rs"]
mod quotas_tests;

const TOPIC: &str = "words";
const ID: TopicId = TopicId([7; 16]);

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

fn by_name() -> TopicRef {
    TopicRef::Name(TOPIC.to_owned())
}

fn uuid() -> Uuid {
    Uuid::from_bytes(ID.0)
}

fn versions(api: Api) -> std::ops::RangeInclusive<i16> {
    api.versions().0..=api.versions().1
}

/// The frame of a request, as a client writes it.
fn frame<T: ClientRequest>(version: i16, body: &T) -> Bytes {
    let mut out = BytesMut::new();
    let codec = Api::of(T::KEY).unwrap().codec_version(version);
    RequestHeader::default()
        .with_request_api_key(T::KEY)
        .with_request_api_version(version)
        .with_correlation_id(42)
        .with_client_id(Some(StrBytes::from_static_str("tester")))
        .encode(&mut out, T::header_version(codec))
        .unwrap();
    body.encode(&mut out, codec).unwrap_or_else(|error| panic!("version {version}: {error}"));
    out.freeze()
}

fn decode_it<T: ClientRequest>(version: i16, body: &T) -> Decoded {
    decode_request(frame(version, body), &Limits::default())
}

/// What reaches the node.
fn asks<T: ClientRequest>(version: i16, body: &T) -> (Header, Request) {
    match decode_it(version, body) {
        Decoded::Request { header, request } => {
            assert_eq!(
                (header.correlation_id, header.client_id.as_str(), header.version),
                (42, "tester", version)
            );
            (header, request)
        }
        other => panic!("version {version}: {other:?}"),
    }
}

/// A response as a client reads it, which must read all of it.
fn read<T: ClientRequest>(version: i16, mut frame: Bytes) -> T::Response
where
    T::Response: HeaderVersion + Debug,
{
    let codec = Api::of(T::KEY).unwrap().codec_version(version);
    assert_eq!(usize::try_from(frame.get_i32()).unwrap(), frame.len());
    let header = ResponseHeader::decode(&mut frame, T::Response::header_version(codec)).unwrap();
    assert_eq!(header.correlation_id, 42);
    let response = T::Response::decode(&mut frame, codec).unwrap();
    assert!(frame.is_empty(), "version {version} leaves {frame:?} after {response:?}");
    response
}

fn at_once<T: ClientRequest>(version: i16, body: &T) -> T::Response
where
    T::Response: HeaderVersion + Debug,
{
    match decode_it(version, body) {
        Decoded::Immediate { frame, .. } => read::<T>(version, frame),
        other => panic!("version {version}: {other:?}"),
    }
}

fn brokers() -> Vec<Broker> {
    let broker =
        |node: i32| Broker { node, host: format!("host{node}"), port: 9000, rack: Some("r".to_owned()) };
    vec![broker(1), Broker { rack: None, ..broker(2) }]
}

fn produce(version: i16, acks: i16, batches: Vec<Option<Bytes>>) -> ProduceRequest {
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    let parts = batches
        .into_iter()
        .zip(0..)
        .map(|(records, index)| PartitionProduceData::default().with_index(index).with_records(records));
    let topic = TopicProduceData::default().with_partition_data(parts.collect());
    let topic = if version >= 13 { topic.with_topic_id(uuid()) } else { topic.with_name(name()) };
    ProduceRequest::default().with_acks(acks).with_timeout_ms(500).with_topic_data(vec![topic])
}

fn topic_of(version: i16, first_by_id: i16) -> TopicRef {
    if version >= first_by_id { TopicRef::Id(ID) } else { by_name() }
}

#[test]
fn produce_in_every_version() {
    for version in versions(Api::Produce) {
        let batch = Bytes::from(sound(2, 8));
        let broken = Bytes::from(with(sound(1, 0), 21, &[0, 1 << 5]));
        let body = produce(version, -1, vec![Some(broken), Some(batch.clone()), None]);
        let (header, request) = asks(version, &body);
        let Request::Produce { acks: Acks::All, timeout_ms: 500, partitions } = request else {
            panic!("{request:?}")
        };
        assert_eq!(partitions.len(), 1);
        let part = &partitions[0];
        assert_eq!((&part.topic, part.partition), (&topic_of(version, 13), 1));
        assert_eq!((&part.batch.bytes, part.batch.record_count), (&batch, 2));
        let result = ProduceResult {
            topic: part.topic.clone(),
            partition: 1,
            error: ErrorCode::NotLeaderOrFollower,
            base_offset: 10,
            log_append_time_ms: -1,
            log_start_offset: 5,
            leader: Some(LeaderHint { node: 2, leader_epoch: 3 }),
            message: Some("elsewhere".to_owned()),
        };
        let answer = Response::Produce { partitions: vec![result] };
        let response = read::<ProduceRequest>(version, encode_response(header, answer, &brokers()).unwrap());
        assert_eq!(response.responses.len(), 1);
        let topic = &response.responses[0];
        assert!(if version >= 13 { topic.topic_id == uuid() } else { topic.name == name() });
        let codes: Vec<_> =
            topic.partition_responses.iter().map(|part| (part.index, part.error_code)).collect();
        assert_eq!(codes, [(0, 87), (1, 6), (2, 87)]);
        let part = &topic.partition_responses[1];
        assert_eq!((part.base_offset, part.log_append_time_ms), (10, -1));
        assert_eq!(part.log_start_offset, if version >= 5 { 5 } else { -1 });
        assert_eq!(part.error_message.as_deref(), (version >= 8).then_some("elsewhere"));
        let leader = (part.current_leader.leader_id.0, part.current_leader.leader_epoch);
        assert_eq!(leader, if version >= 10 { (2, 3) } else { (-1, -1) });
        let endpoints: Vec<_> =
            response.node_endpoints.iter().map(|node| (node.node_id.0, node.port)).collect();
        assert_eq!(endpoints, if version >= 10 { vec![(2, 9000)] } else { vec![] });
    }
}

#[test]
fn produce_refused_as_a_whole() {
    let one = || vec![Some(Bytes::from(sound(1, 0)))];
    let code = |response: ProduceResponse| response.responses[0].partition_responses[0].error_code;
    assert_eq!(code(at_once(9, &produce(9, 2, one()))), ErrorCode::InvalidRequiredAcks.code());
    let transactional =
        produce(9, -1, one()).with_transactional_id(Some(StrBytes::from_static_str("t").into()));
    assert_eq!(code(at_once(9, &transactional)), ErrorCode::InvalidRequest.code());
    let mut nameless = produce(13, -1, one());
    nameless.topic_data[0].topic_id = Uuid::nil();
    assert_eq!(code(at_once(13, &nameless)), ErrorCode::UnknownTopicId.code());
    let limits = Limits { message_bytes_max: 60, ..Limits::default() };
    let Decoded::Immediate { frame, .. } = decode_request(frame(9, &produce(9, 1, one())), &limits) else {
        panic!("taken above the limit")
    };
    assert_eq!(code(read::<ProduceRequest>(9, frame)), ErrorCode::MessageTooLarge.code());
}

#[test]
fn acks_0_is_silent_and_its_errors_close() {
    let sound_batch = Some(Bytes::from(sound(1, 0)));
    let ok = |error| Response::Produce {
        partitions: vec![ProduceResult {
            topic: by_name(),
            partition: 0,
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            leader: None,
            message: None,
        }],
    };
    let (header, _) = asks(7, &produce(7, 0, vec![sound_batch.clone()]));
    assert!(header.is_silent());
    assert!(!header.silent_failure(&ok(ErrorCode::None)));
    assert!(header.silent_failure(&ok(ErrorCode::NotLeaderOrFollower)));
    let (header, _) = asks(7, &produce(7, 0, vec![sound_batch, None]));
    assert!(header.silent_failure(&ok(ErrorCode::None)));
    let refused = decode_it(7, &produce(7, 0, vec![None]));
    assert!(matches!(refused, Decoded::Close(CloseReason::SilentProduce)));
    let (header, _) = asks(7, &produce(7, 1, vec![Some(Bytes::from(sound(1, 0)))]));
    assert!(!header.is_silent());
}

fn fetch(version: i16) -> FetchRequest {
    use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
    let part = |partition: i32| {
        let part = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(11)
            .with_partition_max_bytes(1 << 20);
        if version >= 9 { part.with_current_leader_epoch(4) } else { part }
    };
    let topic = FetchTopic::default().with_partitions(vec![part(0), part(1)]);
    let topic = if version >= 13 { topic.with_topic_id(uuid()) } else { topic.with_topic(name()) };
    let request = FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(i32::MAX)
        .with_topics(vec![topic]);
    let request = match version {
        11.. => request.with_rack_id(StrBytes::from_static_str("here")),
        _ => request,
    };
    match version {
        15.. => request.with_replica_state(ReplicaState::default()),
        _ => request.with_replica_id(BrokerId(-1)),
    }
}

fn fetched(topic: TopicRef, partition: i32, batches: Vec<StoredBatch>) -> FetchResult {
    FetchResult {
        topic,
        topic_id: ID,
        partition,
        error: ErrorCode::None,
        high_watermark: 90,
        log_start_offset: 3,
        batches,
        diverging: None,
        preferred_read_replica: None,
        leader: None,
    }
}

#[test]
fn fetch_in_every_version() {
    for version in versions(Api::Fetch) {
        for committed in [false, true] {
            let body = fetch(version).with_isolation_level(i8::from(committed));
            let (header, request) = asks(version, &body);
            let Request::Fetch { max_wait_ms: 500, min_bytes: 1, max_bytes, partitions, rack } = request
            else {
                panic!("{request:?}")
            };
            assert_eq!(max_bytes, Limits::default().fetch_bytes_max);
            assert_eq!(rack, if version >= 11 { "here" } else { "" });
            let topic = topic_of(version, 13);
            assert_eq!((partitions.len(), &partitions[0].topic, partitions[1].partition), (2, &topic, 1));
            assert_eq!((partitions[0].offset, partitions[0].max_bytes), (11, 1 << 20));
            assert_eq!(partitions[0].leader_epoch, if version >= 9 { 4 } else { -1 });
            let stored =
                |base_offset| StoredBatch { base_offset, leader_epoch: 6, bytes: Bytes::from(sound(2, 100)) };
            let mut lost = fetched(topic.clone(), 1, Vec::new());
            lost.error = ErrorCode::NotLeaderOrFollower;
            lost.leader = Some(LeaderHint { node: 1, leader_epoch: 8 });
            lost.diverging = Some((5, 70));
            let parts = vec![fetched(topic, 0, vec![stored(20), stored(22)]), lost];
            let answer = Response::Fetch { partitions: parts };
            let frame = encode_response(header, answer, &brokers()).unwrap();
            check_fetched(version, committed, read::<FetchRequest>(version, frame));
        }
    }
}

fn check_fetched(version: i16, committed: bool, response: FetchResponse) {
    assert_eq!((response.error_code, response.session_id, response.throttle_time_ms), (0, 0, 0));
    let topic = &response.responses[0];
    assert!(if version >= 13 { topic.topic_id == uuid() } else { topic.topic == name() });
    let [first, second] = topic.partitions.as_slice() else { panic!("{topic:?}") };
    assert_eq!((first.high_watermark, first.last_stable_offset, first.error_code), (90, 90, 0));
    assert_eq!(first.log_start_offset, if version >= 5 { 3 } else { -1 });
    assert_eq!(first.aborted_transactions.as_ref().map(Vec::len), committed.then_some(0));
    let mut batches = [sound(2, 100), sound(2, 100)];
    crate::kafka::batch::patch(&mut batches[0], 20, 6);
    crate::kafka::batch::patch(&mut batches[1], 22, 6);
    assert_eq!(first.records.as_deref(), Some(batches.concat().as_slice()));
    assert_eq!((second.error_code, second.records.as_deref()), (6, Some([].as_slice())));
    let leader = (second.current_leader.leader_id.0, second.current_leader.leader_epoch);
    assert_eq!(leader, if version >= 12 { (1, 8) } else { (-1, -1) });
    let diverging = (second.diverging_epoch.epoch, second.diverging_epoch.end_offset);
    assert_eq!(diverging, if version >= 12 { (5, 70) } else { (-1, -1) });
    let endpoints: Vec<_> =
        response.node_endpoints.iter().map(|node| (node.node_id.0, &*node.host)).collect();
    assert_eq!(endpoints, if version >= 16 { vec![(1, "host1")] } else { vec![] });
}

#[test]
fn fetch_is_written_as_the_codec_writes_it() {
    for version in versions(Api::Fetch) {
        let (header, _) = asks(version, &fetch(version));
        let topic = topic_of(version, 13);
        let parts = vec![fetched(topic.clone(), 0, Vec::new()), fetched(topic, 1, Vec::new())];
        let frame = encode_response(header, Response::Fetch { partitions: parts }, &[]).unwrap();
        let message = read::<FetchRequest>(version, frame.clone());
        let (header, _) = asks(version, &fetch(version));
        assert_eq!(frame, response(&header, version, &message).unwrap(), "version {version}");
    }
}

#[test]
fn fetch_refuses_sessions_followers_and_the_empty_id() {
    let codes = |response: FetchResponse| -> Vec<i16> {
        response.responses.iter().flat_map(|t| &t.partitions).map(|part| part.error_code).collect()
    };
    let invalid = ErrorCode::InvalidRequest.code();
    let session = at_once(12, &fetch(12).with_session_id(5).with_session_epoch(3));
    assert_eq!((session.error_code, session.session_id), (ErrorCode::FetchSessionIdNotFound.code(), 0));
    assert_eq!(codes(at_once(12, &fetch(12).with_replica_id(BrokerId(3)))), [invalid; 2]);
    let mut nameless = fetch(17);
    nameless.topics[0].topic_id = Uuid::nil();
    assert_eq!(codes(at_once(17, &nameless)), [ErrorCode::UnknownTopicId.code(); 2]);
    assert_eq!(codes(at_once(12, &fetch(12).with_topics(Vec::new()))), [0_i16; 0]);
}

/// Kafka keeps zstd from Fetch below 10 only where the topic's own `compression.type` is zstd: rskafka reads it with Fetch 4.
#[test]
fn zstd_goes_to_every_version_as_it_was_stored() {
    for version in versions(Api::Fetch) {
        let (header, _) = asks(version, &fetch(version));
        let bytes = Bytes::from(with(sound(1, 0), 21, &[0, 4]));
        let batch = StoredBatch { base_offset: 0, leader_epoch: 0, bytes: bytes.clone() };
        let topic = topic_of(version, 13);
        let parts = vec![fetched(topic.clone(), 0, vec![batch]), fetched(topic, 1, Vec::new())];
        let frame = encode_response(header, Response::Fetch { partitions: parts }, &[]).unwrap();
        let part = &read::<FetchRequest>(version, frame).responses[0].partitions[0];
        assert_eq!(
            (part.error_code, part.records.as_ref().unwrap().len()),
            (0, bytes.len()),
            "version {version}"
        );
    }
}

#[test]
fn list_offsets_in_every_version() {
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition as Part, ListOffsetsTopic};
    for version in versions(Api::ListOffsets) {
        let part =
            |index: i32, timestamp| Part::default().with_partition_index(index).with_timestamp(timestamp);
        let parts = vec![part(0, -1), part(1, -9), part(2, 1_000), part(3, -5), part(4, -3)];
        let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(parts);
        let body = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let (header, request) = asks(version, &body);
        let Request::ListOffsets { partitions } = request else { panic!("{request:?}") };
        let asked: Vec<_> = partitions.iter().map(|part| (part.partition, part.timestamp)).collect();
        let wanted = [(0, -1), (2, 1_000), (4, -3)];
        assert_eq!(asked, wanted[..if version >= 7 { 3 } else { 2 }]);
        let answer = partitions.into_iter().map(|part| ListOffsetsResult {
            topic: part.topic,
            partition: part.partition,
            error: ErrorCode::None,
            timestamp: 1,
            offset: 7,
            leader_epoch: 2,
            search: None,
        });
        let answer = Response::ListOffsets { partitions: answer.collect() };
        let response = read::<ListOffsetsRequest>(version, encode_response(header, answer, &[]).unwrap());
        let parts = &response.topics[0].partitions;
        let indexes: Vec<_> = parts.iter().map(|part| part.partition_index).collect();
        assert_eq!((indexes, &response.topics[0].name), (vec![0, 1, 2, 3, 4], &name()));
        assert_eq!((parts[0].offset, parts[0].timestamp, parts[1].error_code), (7, 1, 35));
        assert_eq!(parts[0].leader_epoch, if version >= 4 { 2 } else { -1 });
        assert_eq!((parts[3].error_code, parts[3].offset), (if version >= 9 { 0 } else { 35 }, -1));
    }
}

#[test]
fn epochs_in_every_version() {
    use kafka_protocol::messages::offset_for_leader_epoch_request::{
        OffsetForLeaderPartition, OffsetForLeaderTopic,
    };
    for version in versions(Api::OffsetForLeaderEpoch) {
        let part = OffsetForLeaderPartition::default().with_partition(3).with_leader_epoch(5);
        let topic = OffsetForLeaderTopic::default().with_topic(name()).with_partitions(vec![part]);
        let (header, request) =
            asks(version, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic]));
        let Request::OffsetForLeaderEpoch { partitions } = request else { panic!("{request:?}") };
        assert_eq!((partitions[0].leader_epoch, partitions[0].current_leader_epoch), (5, -1));
        let result = EpochResult {
            topic: by_name(),
            partition: 3,
            error: ErrorCode::None,
            leader_epoch: 4,
            end_offset: 99,
        };
        let answer = Response::OffsetForLeaderEpoch { partitions: vec![result] };
        let response =
            read::<OffsetForLeaderEpochRequest>(version, encode_response(header, answer, &[]).unwrap());
        let part = &response.topics[0].partitions[0];
        assert_eq!((part.partition, part.leader_epoch, part.end_offset), (3, 4, 99));
    }
}

fn metadata_result() -> MetadataResult {
    let part = PartitionMetadata {
        error: ErrorCode::None,
        partition: 0,
        leader: 2,
        leader_epoch: 6,
        replicas: vec![1, 2],
        in_sync: vec![2],
        offline: vec![1],
    };
    let topic = TopicMetadata {
        error: ErrorCode::None,
        name: Some(TOPIC.to_owned()),
        topic_id: ID,
        internal: false,
        partitions: vec![part],
    };
    MetadataResult { cluster_id: "mesh".to_owned(), controller: 1, brokers: brokers(), topics: vec![topic] }
}

#[test]
fn metadata_in_every_version() {
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic as Topic;
    for version in versions(Api::Metadata) {
        let mut topics = vec![Topic::default().with_name(Some(name()))];
        if version >= 12 {
            topics.insert(0, Topic::default().with_name(None));
        }
        let body = MetadataRequest::default().with_topics(Some(topics));
        let body = if version >= 4 { body.with_allow_auto_topic_creation(false) } else { body };
        let (header, request) = asks(version, &body);
        let Request::Metadata { topics: MetadataTopics::Some(topics), allow_auto_create } = request else {
            panic!("{request:?}")
        };
        assert_eq!((topics, allow_auto_create), (vec![by_name()], version < 4));
        let answer = Response::Metadata(metadata_result());
        let response = read::<MetadataRequest>(version, encode_response(header, answer, &[]).unwrap());
        assert_eq!((response.brokers.len(), response.brokers[0].port), (2, 9000));
        assert_eq!(response.cluster_id.as_deref(), (version >= 2).then_some("mesh"));
        let topic = response.topics.last().unwrap();
        assert_eq!(
            (response.topics.len(), topic.name.as_ref()),
            (if version >= 12 { 2 } else { 1 }, Some(&name()))
        );
        assert_eq!(topic.topic_id, if version >= 10 { uuid() } else { Uuid::nil() });
        let part = &topic.partitions[0];
        assert_eq!((part.leader_id.0, part.replica_nodes.len(), part.isr_nodes.len()), (2, 2, 1));
        assert_eq!(part.leader_epoch, if version >= 7 { 6 } else { -1 });
    }
}

#[test]
fn metadata_of_all_topics() {
    for version in versions(Api::Metadata) {
        let none = MetadataRequest::default().with_topics(if version == 0 { Some(Vec::new()) } else { None });
        let (header, request) = asks(version, &none);
        assert!(matches!(request, Request::Metadata { topics: MetadataTopics::All, .. }));
        encode_response(header, Response::Metadata(metadata_result()), &[]).unwrap();
    }
    let (_, request) = asks(1, &MetadataRequest::default().with_topics(Some(Vec::new())));
    assert!(
        matches!(request, Request::Metadata { topics: MetadataTopics::Some(topics), .. } if topics.is_empty())
    );
}

#[test]
fn create_topics_in_every_version() {
    use kafka_protocol::messages::create_topics_request::{
        CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
    };
    for version in versions(Api::CreateTopics) {
        let config = CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str("retention.ms"))
            .with_value(Some(StrBytes::from_static_str("5")));
        let twice = CreatableTopic::default().with_name(TopicName(StrBytes::from_static_str("twice")));
        let assigned =
            CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(vec![BrokerId(2)]);
        let topic = CreatableTopic::default()
            .with_name(name())
            .with_num_partitions(6)
            .with_replication_factor(3)
            .with_assignments(vec![assigned])
            .with_configs(vec![config]);
        let body = CreateTopicsRequest::default()
            .with_topics(vec![twice.clone(), topic, twice])
            .with_timeout_ms(9)
            .with_validate_only(true);
        let (header, request) = asks(version, &body);
        let Request::CreateTopics { topics, validate_only: true, timeout_ms: 9 } = request else {
            panic!("{request:?}")
        };
        assert_eq!((topics.len(), topics[0].partitions, topics[0].replication_factor), (1, 6, 3));
        assert_eq!(topics[0].assignment, [(0, vec![2])]);
        assert_eq!(topics[0].configs, [("retention.ms".to_owned(), Some("5".to_owned()))]);
        let result = CreateTopicResult {
            name: TOPIC.to_owned(),
            topic_id: ID,
            error: ErrorCode::None,
            message: None,
            partitions: 6,
            replication_factor: 3,
            configs: vec![entry()],
        };
        let answer = Response::CreateTopics { topics: vec![result] };
        let response = read::<CreateTopicsRequest>(version, encode_response(header, answer, &[]).unwrap());
        let codes: Vec<_> = response.topics.iter().map(|topic| (&**topic.name, topic.error_code)).collect();
        assert_eq!(codes, [("twice", 42), (TOPIC, 0)]);
        let topic = &response.topics[1];
        assert_eq!(topic.num_partitions, if version >= 5 { 6 } else { -1 });
        assert_eq!(topic.topic_id, if version >= 7 { uuid() } else { Uuid::nil() });
        let sources = topic.configs.iter().flatten().map(|config| config.config_source).collect::<Vec<_>>();
        assert_eq!(sources, if version >= 5 { vec![1] } else { vec![] });
    }
}

fn entry() -> ConfigEntry {
    ConfigEntry {
        name: "retention.ms".to_owned(),
        value: Some("5".to_owned()),
        source: ConfigSource::Topic,
        read_only: false,
        kind: 5,
        documentation: "How long.".to_owned(),
        synonyms: vec![ConfigSynonym {
            name: "log.retention.ms".to_owned(),
            value: "6".to_owned(),
            source: ConfigSource::Cluster,
        }],
    }
}

#[test]
fn delete_topics_in_every_version() {
    use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
    for version in versions(Api::DeleteTopics) {
        let body = DeleteTopicsRequest::default().with_timeout_ms(3);
        let body = match version {
            6.. => body.with_topics(vec![
                DeleteTopicState::default().with_name(None).with_topic_id(uuid()),
                DeleteTopicState::default().with_name(Some(name())).with_topic_id(uuid()),
            ]),
            _ => body.with_topic_names(vec![name()]),
        };
        let (header, request) = asks(version, &body);
        let Request::DeleteTopics { topics, timeout_ms: 3 } = request else { panic!("{request:?}") };
        assert_eq!(topics, [topic_of(version, 6)]);
        let result = DeleteTopicResult {
            name: Some(TOPIC.to_owned()),
            topic_id: ID,
            error: ErrorCode::UnknownTopicOrPartition,
            message: Some("gone".to_owned()),
        };
        let answer = Response::DeleteTopics { topics: vec![result] };
        let response = read::<DeleteTopicsRequest>(version, encode_response(header, answer, &[]).unwrap());
        assert_eq!(
            (response.responses[0].error_code, response.responses[0].name.as_ref()),
            (3, Some(&name()))
        );
        let second = response.responses.get(1).map(|topic| topic.error_code);
        assert_eq!(second, (version >= 6).then_some(ErrorCode::InvalidRequest.code()));
    }
}

#[test]
fn describe_configs_in_every_version() {
    use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource as Resource;
    for version in versions(Api::DescribeConfigs) {
        let resource = |kind| {
            let name = StrBytes::from_static_str("1");
            Resource::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_configuration_keys(None)
        };
        let body =
            DescribeConfigsRequest::default().with_resources(vec![resource(16), resource(4), resource(2)]);
        let body = body.with_include_synonyms(true);
        let body = if version >= 3 { body.with_include_documentation(true) } else { body };
        let (header, request) = asks(version, &body);
        let Request::DescribeConfigs { resources } = request else { panic!("{request:?}") };
        assert!(matches!(
            &resources[..],
            [ConfigResource::Broker { .. }, ConfigResource::Topic { keys: None, .. }]
        ));
        let result = |resource_type| ConfigResult {
            error: ErrorCode::None,
            message: None,
            resource_type,
            name: "1".to_owned(),
            entries: vec![entry()],
        };
        let answer = Response::DescribeConfigs { resources: vec![result(4), result(2)] };
        let response = read::<DescribeConfigsRequest>(version, encode_response(header, answer, &[]).unwrap());
        let kinds: Vec<_> = response.results.iter().map(|r| (r.resource_type, r.error_code)).collect();
        assert_eq!(kinds, [(16, 42), (4, 0), (2, 0)]);
        let (broker, topic) = (&response.results[1].configs[0], &response.results[2].configs[0]);
        assert_eq!((broker.config_source, topic.config_source), (1, 1));
        assert_eq!((broker.read_only, topic.read_only), (false, false));
        let synonym = &topic.synonyms[0];
        assert_eq!(
            (&*synonym.name, synonym.value.as_deref(), synonym.source),
            ("log.retention.ms", Some("6"), 3)
        );
        assert_eq!(topic.documentation.as_deref().is_some_and(|text| text == "How long."), version >= 3);
    }
}

#[test]
fn init_producer_id_in_every_version() {
    for version in versions(Api::InitProducerId) {
        let plain = InitProducerIdRequest::default().with_transactional_id(None);
        let body = match version {
            3.. => plain.clone().with_producer_id(ProducerId(7)).with_producer_epoch(2),
            _ => plain.clone(),
        };
        let (header, request) = asks(version, &body);
        let Request::InitProducerId { producer_id, producer_epoch } = request else { panic!("{request:?}") };
        assert_eq!((producer_id, producer_epoch), if version >= 3 { (7, 2) } else { (-1, -1) });
        let answer = Response::InitProducerId { error: ErrorCode::None, producer_id: 9, producer_epoch: 1 };
        let response = read::<InitProducerIdRequest>(version, encode_response(header, answer, &[]).unwrap());
        assert_eq!((response.producer_id.0, response.producer_epoch, response.error_code), (9, 1, 0));
        let transactional = plain.with_transactional_id(Some(StrBytes::from_static_str("t").into()));
        assert_eq!(at_once(version, &transactional).error_code, ErrorCode::InvalidRequest.code());
    }
}

#[test]
fn describe_cluster_in_every_version() {
    for version in versions(Api::DescribeCluster) {
        let (header, request) = asks(version, &DescribeClusterRequest::default());
        assert!(
            matches!(request, Request::Metadata { topics: MetadataTopics::Some(t), allow_auto_create: false } if t.is_empty())
        );
        let answer = Response::Metadata(metadata_result());
        let response = read::<DescribeClusterRequest>(version, encode_response(header, answer, &[]).unwrap());
        assert_eq!((&*response.cluster_id, response.controller_id.0, response.brokers.len()), ("mesh", 1, 2));
        if version >= 1 {
            let controllers = at_once(version, &DescribeClusterRequest::default().with_endpoint_type(2));
            assert_eq!(controllers.error_code, ErrorCode::UnsupportedEndpointType.code());
        }
    }
}

#[test]
fn api_versions_are_the_truth() {
    for version in versions(Api::ApiVersions) {
        let response = at_once(version, &ApiVersionsRequest::default());
        let keys: Vec<_> = response.api_keys.iter().map(|api| api.api_key).collect();
        assert_eq!((keys, response.error_code), (Api::ALL.map(Api::key).to_vec(), 0));
        for advertised in &response.api_keys {
            let api = Api::of(advertised.api_key).unwrap();
            let (first, last) = api.versions();
            assert_eq!(advertised.max_version, last);
            assert_eq!(advertised.min_version, if api == Api::Produce { 0 } else { first });
        }
    }
}

/// A request of any version with nothing behind its header.
fn bare(key: i16, version: i16) -> Bytes {
    Bytes::from([key.to_be_bytes().as_slice(), &version.to_be_bytes(), &[0, 0, 0, 42, 0xff, 0xff]].concat())
}

#[test]
fn versions_that_are_not_served() {
    let limits = Limits::default();
    for version in [-1, 5, 99] {
        let Decoded::Immediate { frame, .. } = decode_request(bare(18, version), &limits) else {
            panic!("ApiVersions {version} is not answered")
        };
        let response = read::<ApiVersionsRequest>(0, frame);
        assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
        assert_eq!((response.api_keys.len(), response.api_keys[0].max_version), (1, 4));
    }
    for api in Api::ALL.into_iter().filter(|api| *api != Api::ApiVersions) {
        let (first, last) = api.versions();
        for version in [first - 1, last + 1] {
            let decoded = decode_request(bare(api.key(), version), &limits);
            assert!(matches!(decoded, Decoded::Close(CloseReason::Version { .. })), "{api:?} {version}");
        }
    }
    for key in [-1, 68, 9_999] {
        let decoded = decode_request(bare(key, 0), &limits);
        assert!(matches!(decoded, Decoded::Close(CloseReason::UnknownApi { .. })), "{key}");
    }
}

#[test]
fn names_may_not_multiply_without_bound() {
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let long = TopicName(StrBytes::from_string("x".repeat(1 << 20)));
    let parts = vec![ListOffsetsPartition::default().with_timestamp(-1); 100];
    let topic = ListOffsetsTopic::default().with_name(long).with_partitions(parts);
    let decoded = decode_it(7, &ListOffsetsRequest::default().with_topics(vec![topic]));
    assert!(matches!(decoded, Decoded::Close(CloseReason::Names)));
}

#[test]
fn an_answer_that_does_not_fit_is_not_sent() {
    let body = produce(9, -1, vec![Some(Bytes::from(sound(1, 0)))]);
    for answer in [Response::Produce { partitions: Vec::new() }, Response::Fetch { partitions: Vec::new() }] {
        let (header, _) = asks(9, &body);
        assert!(matches!(encode_response(header, answer, &[]), Err(EncodeError::Mismatch { .. })));
    }
}

#[test]
fn records_are_slices_of_the_frame() {
    let sent = frame(9, &produce(9, -1, vec![Some(Bytes::from(sound(10, 1_000)))]));
    let Decoded::Request { request: Request::Produce { partitions, .. }, .. } =
        decode_request(sent.clone(), &Limits::default())
    else {
        panic!("refused")
    };
    let within = sent.as_ptr_range();
    let records = partitions[0].batch.bytes.as_ptr_range();
    assert!(within.start <= records.start && records.end <= within.end, "the records were copied");
}
