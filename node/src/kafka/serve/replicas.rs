//! DescribeLogDirs 1-4 and ElectLeaders 0-2.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::elect_leaders_request::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_response::{
    ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use uuid::Uuid;

use super::{Body, CloseReason, Echo, EncodeError, Header, Sorter, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::request::{ElectPartition, ElectResult, ElectionType, LogDir, Request, TopicRef};

/// Election types of the protocol (KIP-460).
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) fn decode_log_dirs(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DescribeLogDirsRequest = body.decode()?;
    let partitions = request.topics.map(|topics| {
        let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for topic in topics {
            wanted.entry(topic.topic.to_string()).or_default().extend(topic.partitions);
        }
        wanted
    });
    Ok(Step::Ask(Request::DescribeLogDirs { partitions }, Echo::Nothing))
}

pub(super) fn encode_log_dirs(header: &Header, dir: LogDir) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let mut topics: Vec<DescribeLogDirsTopic> = Vec::new();
    for replica in dir.replicas {
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(replica.partition)
            .with_partition_size(replica.bytes)
            .with_offset_lag(replica.lag);
        match topics.last_mut().filter(|topic| *topic.name.0 == *replica.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                DescribeLogDirsTopic::default()
                    .with_name(TopicName(text(replica.topic)))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(text(dir.path))
        .with_topics(topics)
        .with_total_bytes(-1);
    if version >= 4 {
        result = result.with_usable_bytes(dir.usable_bytes);
    }
    response(header, version, &DescribeLogDirsResponse::default().with_results(vec![result]))
}

pub(super) fn decode_elect(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: ElectLeadersRequest = body.decode()?;
    let election = match request.election_type {
        PREFERRED => ElectionType::Preferred,
        UNCLEAN if body.version() >= 1 => ElectionType::Unclean,
        _ => {
            let code = ErrorCode::InvalidRequest.code();
            let message = ElectLeadersResponse::default().with_error_code(code);
            return Ok(Step::Frame(response(body.header, body.version(), &message)?));
        }
    };
    let mut sorter = Sorter::<ElectPartition, ElectResult>::new();
    let every = request.topic_partitions.is_none();
    for asked in request.topic_partitions.into_iter().flatten() {
        let topic = sorter.topic(&asked.topic, Uuid::nil(), false, asked.partitions.len())?;
        let TopicRef::Name(topic) = topic else { continue };
        for partition in asked.partitions {
            sorter.push(Ok(ElectPartition { topic: topic.clone(), partition }));
        }
    }
    let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
    let partitions = (!every).then_some(sorter.ask);
    Ok(Step::Ask(Request::ElectLeaders { election, partitions, timeout_ms }, Echo::Nothing))
}

pub(super) fn encode_elect(header: &Header, results: Vec<ElectResult>) -> Result<Bytes, EncodeError> {
    let mut topics: Vec<ReplicaElectionResult> = Vec::new();
    for result in results {
        let partition = PartitionResult::default()
            .with_partition_id(result.partition)
            .with_error_code(result.error.code())
            .with_error_message(result.message.map(text));
        match topics.last_mut().filter(|topic| *topic.topic.0 == *result.topic) {
            Some(topic) => topic.partition_result.push(partition),
            None => topics.push(
                ReplicaElectionResult::default()
                    .with_topic(TopicName(text(result.topic)))
                    .with_partition_result(vec![partition]),
            ),
        }
    }
    response(header, header.version, &ElectLeadersResponse::default().with_replica_election_results(topics))
}
