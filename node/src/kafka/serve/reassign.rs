//! AlterPartitionReassignments 0-1 and ListPartitionReassignments 0.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages::alter_partition_reassignments_request::AlterPartitionReassignmentsRequest;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    AlterPartitionReassignmentsResponse, ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use kafka_protocol::messages::list_partition_reassignments_response::{
    ListPartitionReassignmentsResponse, OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use uuid::Uuid;

use super::{Body, CloseReason, Echo, EncodeError, Header, Sorter, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::request::{OngoingReassignment, ReassignResult, Reassignment, Request, Response};

pub(super) fn decode_alter(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: AlterPartitionReassignmentsRequest = body.decode()?;
    let may_change_factor = body.version() < 1 || request.allow_replication_factor_change;
    let mut sorter: Sorter<Reassignment, ReassignResult> = Sorter::new();
    for topic in request.topics {
        sorter.topic(&topic.name, Uuid::nil(), false, topic.partitions.len())?;
        for part in topic.partitions {
            let replicas = part.replicas.map(|nodes| nodes.into_iter().map(|node| node.0).collect());
            let (topic, partition) = (topic.name.to_string(), part.partition_index);
            sorter.push(Ok(Reassignment { topic, partition, replicas }));
        }
    }
    let (partitions, timeout_ms) = (sorter.ask, u32::try_from(request.timeout_ms).unwrap_or(0));
    Ok(match partitions.is_empty() {
        true => Step::Answer(Response::AlterReassignments { partitions: Vec::new() }, Echo::Nothing),
        false => Step::Ask(
            Request::AlterReassignments { partitions, may_change_factor, timeout_ms },
            Echo::Nothing,
        ),
    })
}

pub(super) fn encode_alter(header: &Header, results: Vec<ReassignResult>) -> Result<Bytes, EncodeError> {
    let mut topics: Vec<ReassignableTopicResponse> = Vec::new();
    for result in results {
        let part = ReassignablePartitionResponse::default()
            .with_partition_index(result.partition)
            .with_error_code(result.error.code())
            .with_error_message(result.message.map(text));
        match topics.last_mut() {
            Some(topic) if *topic.name == *result.topic => topic.partitions.push(part),
            _ => topics.push(
                ReassignableTopicResponse::default()
                    .with_name(TopicName(text(result.topic)))
                    .with_partitions(vec![part]),
            ),
        }
    }
    response(header, header.version, &AlterPartitionReassignmentsResponse::default().with_responses(topics))
}

pub(super) fn decode_list(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: ListPartitionReassignmentsRequest = body.decode()?;
    let partitions = request.topics.map(|topics| {
        let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for topic in topics {
            wanted.entry(topic.name.to_string()).or_default().extend(topic.partition_indexes);
        }
        wanted
    });
    Ok(Step::Ask(Request::ListReassignments { partitions }, Echo::Nothing))
}

pub(super) fn encode_list(
    header: &Header,
    error: ErrorCode,
    ongoing: Vec<OngoingReassignment>,
) -> Result<Bytes, EncodeError> {
    let ids = |nodes: Vec<i32>| nodes.into_iter().map(BrokerId).collect::<Vec<_>>();
    let mut topics: Vec<OngoingTopicReassignment> = Vec::new();
    for one in ongoing {
        let part = OngoingPartitionReassignment::default()
            .with_partition_index(one.partition)
            .with_replicas(ids(one.replicas))
            .with_adding_replicas(ids(one.adding))
            .with_removing_replicas(ids(one.removing));
        match topics.last_mut() {
            Some(topic) if *topic.name == *one.topic => topic.partitions.push(part),
            _ => topics.push(
                OngoingTopicReassignment::default()
                    .with_name(TopicName(text(one.topic)))
                    .with_partitions(vec![part]),
            ),
        }
    }
    let message = (error != ErrorCode::None).then(|| text(error.text().to_owned()));
    let answer = ListPartitionReassignmentsResponse::default()
        .with_error_code(error.code())
        .with_error_message(message)
        .with_topics(topics);
    response(header, header.version, &answer)
}
