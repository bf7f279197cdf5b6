//! CreatePartitions 0-3 and DescribeTopicPartitions 0.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use kafka_protocol::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use kafka_protocol::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use uuid::Uuid;

use super::{Body, CloseReason, Echo, EncodeError, Header, Sorter, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::request::{
    GrowResult, GrowTopic, MetadataResult, MetadataTopics, PartitionMetadata, Request, Response,
    TopicMetadata, TopicRef,
};

/// Partitions in one answer at most (`max.request.partition.size.limit`).
const PAGE_MAX: i32 = 2_000;

pub(super) fn decode(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: CreatePartitionsRequest = body.decode()?;
    let mut times: BTreeMap<TopicName, u32> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut sorter = Sorter::new();
    for topic in request.topics {
        match times.get(&topic.name) {
            Some(1) => sorter.push(Ok(grow_topic(topic))),
            // Named twice, refused once, as Kafka does.
            Some(_) => {
                times.remove(&topic.name);
                sorter.push(Err(GrowResult {
                    name: topic.name.to_string(),
                    error: ErrorCode::InvalidRequest,
                    message: Some("the request names this topic more than once".to_owned()),
                }));
            }
            None => {}
        }
    }
    let echo = Echo::CreatePartitions(sorter.refused);
    let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
    let (topics, validate_only) = (sorter.ask, request.validate_only);
    Ok(match topics.is_empty() {
        true => Step::Answer(Response::CreatePartitions { topics: Vec::new() }, echo),
        false => Step::Ask(Request::CreatePartitions { topics, validate_only, timeout_ms }, echo),
    })
}

fn grow_topic(topic: CreatePartitionsTopic) -> GrowTopic {
    let nodes = |nodes: Vec<BrokerId>| nodes.into_iter().map(|node| node.0).collect();
    let assignment = topic.assignments.map(|all| all.into_iter().map(|one| nodes(one.broker_ids)).collect());
    GrowTopic { name: topic.name.to_string(), count: topic.count, assignment }
}

pub(super) fn encode(header: &Header, results: Vec<GrowResult>) -> Result<Bytes, EncodeError> {
    let results = results.into_iter().map(|result| {
        CreatePartitionsTopicResult::default()
            .with_name(TopicName(text(result.name)))
            .with_error_code(result.error.code())
            .with_error_message(result.message.map(text))
    });
    response(header, header.version, &CreatePartitionsResponse::default().with_results(results.collect()))
}

/// Which part of the topics is wanted.
#[derive(Debug)]
pub(super) struct Page {
    limit: usize,
    /// The first topic and its first partition.
    cursor: Option<(String, i32)>,
    all: bool,
}

pub(super) fn decode_describe(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DescribeTopicPartitionsRequest = body.decode()?;
    let cursor = request.cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
    let names: BTreeSet<String> = request.topics.into_iter().map(|topic| topic.name.to_string()).collect();
    if cursor.as_ref().is_some_and(|(_, partition)| *partition < 0) {
        let topics = names.into_iter().map(|name| {
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(text(name))))
                .with_error_code(ErrorCode::InvalidRequest.code())
        });
        let message = DescribeTopicPartitionsResponse::default().with_topics(topics.collect());
        return Ok(Step::Frame(response(body.header, body.version(), &message)?));
    }
    let limit = usize::try_from(request.response_partition_limit.clamp(1, PAGE_MAX)).unwrap_or(1);
    let all = names.is_empty();
    let from = cursor.as_ref().map_or("", |(topic, _)| topic.as_str());
    let topics = match all {
        true => MetadataTopics::All,
        false => {
            let wanted = names.into_iter().filter(|name| name.as_str() >= from);
            MetadataTopics::Some(wanted.map(TopicRef::Name).collect())
        }
    };
    let echo = Echo::TopicPartitions(Page { limit, cursor, all });
    Ok(Step::Ask(Request::Metadata { topics, allow_auto_create: false }, echo))
}

pub(super) fn encode_describe(
    header: &Header,
    result: MetadataResult,
    page: &Page,
) -> Result<Bytes, EncodeError> {
    let (mut topics, mut left, mut next) = (Vec::new(), page.limit, None);
    for topic in result.topics {
        let name = topic.name.clone().unwrap_or_default();
        let first = match &page.cursor {
            Some((from, _)) if name < *from => continue,
            Some((from, partition)) if name == *from => *partition,
            _ => 0,
        };
        if page.all && topic.error != ErrorCode::None {
            continue;
        }
        if left == 0 {
            next = Some((name, 0));
            break;
        }
        let TopicMetadata { error, topic_id, internal, partitions, .. } = topic;
        let mut wanted = partitions.into_iter().filter(|part| part.partition >= first);
        let shown: Vec<_> = wanted.by_ref().take(left).map(described_partition).collect();
        left -= shown.len();
        let rest = wanted.next().map(|part| part.partition);
        topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_error_code(error.code())
                .with_name(Some(TopicName(text(name.clone()))))
                .with_topic_id(Uuid::from_bytes(topic_id.0))
                .with_is_internal(internal)
                .with_partitions(shown),
        );
        if let Some(partition) = rest {
            next = Some((name, partition));
            break;
        }
    }
    let next = next.map(|(topic, partition)| {
        Cursor::default().with_topic_name(TopicName(text(topic))).with_partition_index(partition)
    });
    let message = DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next);
    response(header, header.version, &message)
}

fn described_partition(part: PartitionMetadata) -> DescribeTopicPartitionsResponsePartition {
    let nodes = |nodes: Vec<i32>| nodes.into_iter().map(BrokerId).collect::<Vec<_>>();
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(part.error.code())
        .with_partition_index(part.partition)
        .with_leader_id(BrokerId(part.leader))
        .with_leader_epoch(part.leader_epoch)
        .with_replica_nodes(nodes(part.replicas))
        .with_isr_nodes(nodes(part.in_sync))
        // A majority always has what was acknowledged: nobody outside of the in-sync ones needs to be named.
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
        .with_offline_replicas(nodes(part.offline))
}
