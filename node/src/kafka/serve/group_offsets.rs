//! OffsetCommit 2-9, OffsetFetch 1-9, OffsetDelete 0.

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequest;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequest;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequest;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, TopicName};
use uuid::Uuid;

use super::groups::{ask, owned};
use super::{Body, CloseReason, EncodeError, Header, Sorter, Step, by_topic, name_and_id, response, text};
use crate::core::error::ErrorCode;
use crate::core::groups::api::{
    CommitOffsets, CommitPartition, FetchGroup, FetchedGroup, FetchedOffset, GroupRequest, MemberOf,
    PartitionError,
};
use crate::core::request::TopicRef;

/// Counts the bytes of names that one request spreads over its partitions.
type Names = Sorter<(), ()>;

pub(super) fn decode_commit(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: OffsetCommitRequest = body.decode()?;
    let mut names = Names::new();
    let mut partitions = Vec::new();
    for asked in request.topics {
        let topic = names.topic(&asked.name, Uuid::nil(), false, asked.partitions.len())?;
        partitions.extend(asked.partitions.into_iter().map(|part| CommitPartition {
            topic: topic.clone(),
            partition: part.partition_index,
            offset: part.committed_offset,
            leader_epoch: part.committed_leader_epoch,
            metadata: owned(part.committed_metadata).unwrap_or_default(),
        }));
    }
    let of = MemberOf {
        group: request.group_id.to_string(),
        generation: request.generation_id_or_member_epoch,
        member: request.member_id.to_string(),
        instance: owned(request.group_instance_id),
    };
    Ok(ask(GroupRequest::CommitOffsets(CommitOffsets { of, partitions })))
}

pub(super) fn encode_commit(header: &Header, partitions: Vec<PartitionError>) -> Result<Bytes, EncodeError> {
    let topics = by_topic(partitions, |part| &part.topic).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|part| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(part.partition)
                .with_error_code(part.error.code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(name_and_id(topic).0)
            .with_partitions(partitions.collect())
    });
    response(header, header.version, &OffsetCommitResponse::default().with_topics(topics.collect()))
}

/// The partitions of one topic as the node is asked for them.
fn each(topic: &TopicRef, partitions: Vec<i32>) -> impl Iterator<Item = (TopicRef, i32)> {
    partitions.into_iter().map(|partition| (topic.clone(), partition))
}

pub(super) fn decode_fetch(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: OffsetFetchRequest = body.decode()?;
    let mut names = Names::new();
    let mut groups = Vec::new();
    if body.version() >= 8 {
        for asked in request.groups {
            let mut partitions = asked.topics.as_ref().map(|_| Vec::new());
            for part in asked.topics.into_iter().flatten() {
                let topic = names.topic(&part.name, Uuid::nil(), false, part.partition_indexes.len())?;
                partitions.get_or_insert_default().extend(each(&topic, part.partition_indexes));
            }
            groups.push(FetchGroup { group: asked.group_id.to_string(), partitions });
        }
    } else {
        let mut partitions = request.topics.as_ref().map(|_| Vec::new());
        for part in request.topics.into_iter().flatten() {
            let topic = names.topic(&part.name, Uuid::nil(), false, part.partition_indexes.len())?;
            partitions.get_or_insert_default().extend(each(&topic, part.partition_indexes));
        }
        groups.push(FetchGroup { group: request.group_id.to_string(), partitions });
    }
    Ok(ask(GroupRequest::FetchOffsets { groups }))
}

pub(super) fn encode_fetch(header: &Header, mut groups: Vec<FetchedGroup>) -> Result<Bytes, EncodeError> {
    let version = header.version;
    // Version 1 has no word for the whole, later ones say it there alone.
    for group in groups.iter_mut().filter(|group| version >= 2 && group.error != ErrorCode::None) {
        group.partitions.clear();
    }
    let message = match version {
        8.. => OffsetFetchResponse::default().with_groups(groups.into_iter().map(fetched_group).collect()),
        _ => {
            let Some(FetchedGroup { error, partitions, .. }) = groups.pop() else {
                return Err(EncodeError::Mismatch { api: header.api });
            };
            let topics = by_topic(partitions, |part| &part.topic).into_iter().map(|(topic, partitions)| {
                OffsetFetchResponseTopic::default()
                    .with_name(name_and_id(topic).0)
                    .with_partitions(partitions.into_iter().map(|part| fetched(part, version)).collect())
            });
            let error_code = if version >= 2 { error.code() } else { 0 };
            OffsetFetchResponse::default().with_error_code(error_code).with_topics(topics.collect())
        }
    };
    response(header, version, &message)
}

fn fetched(part: FetchedOffset, version: i16) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition::default()
        .with_partition_index(part.partition)
        .with_committed_offset(part.offset)
        .with_committed_leader_epoch(if version >= 5 { part.leader_epoch } else { -1 })
        .with_metadata(Some(text(part.metadata)))
        .with_error_code(part.error.code())
}

fn fetched_group(group: FetchedGroup) -> OffsetFetchResponseGroup {
    let topics = by_topic(group.partitions, |part| &part.topic).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|part| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(part.partition)
                .with_committed_offset(part.offset)
                .with_committed_leader_epoch(part.leader_epoch)
                .with_metadata(Some(text(part.metadata)))
                .with_error_code(part.error.code())
        });
        OffsetFetchResponseTopics::default()
            .with_name(name_and_id(topic).0)
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(GroupId(text(group.group)))
        .with_error_code(group.error.code())
        .with_topics(topics.collect())
}

pub(super) fn decode_delete(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: OffsetDeleteRequest = body.decode()?;
    let mut names = Names::new();
    let mut partitions = Vec::new();
    for asked in request.topics {
        let topic = names.topic(&TopicName(asked.name.0), Uuid::nil(), false, asked.partitions.len())?;
        partitions.extend(asked.partitions.into_iter().map(|part| (topic.clone(), part.partition_index)));
    }
    Ok(ask(GroupRequest::DeleteOffsets { group: request.group_id.to_string(), partitions }))
}

pub(super) fn encode_delete(
    header: &Header,
    error: ErrorCode,
    partitions: Vec<PartitionError>,
) -> Result<Bytes, EncodeError> {
    let topics = by_topic(partitions, |part| &part.topic).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|part| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(part.partition)
                .with_error_code(part.error.code())
        });
        OffsetDeleteResponseTopic::default()
            .with_name(name_and_id(topic).0)
            .with_partitions(partitions.collect())
    });
    let message = OffsetDeleteResponse::default().with_error_code(error.code()).with_topics(topics.collect());
    response(header, header.version, &message)
}
