//! ListOffsets 1-11 and OffsetForLeaderEpoch 2-4.

use bytes::Bytes;
use kafka_protocol::messages::list_offsets_request::ListOffsetsRequest;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderEpochRequest;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use uuid::Uuid;

use super::{Body, CloseReason, Echo, EncodeError, Header, Sorter, Step, by_topic, name_and_id, response};
use crate::core::error::ErrorCode;
use crate::core::request::{
    EpochPartition, EpochResult, ListOffsetsPartition, ListOffsetsResult, Request, Response,
};
use crate::kafka::unpack::{self, UNPACKED_BYTES_MAX};

pub(super) fn decode_list(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: ListOffsetsRequest = body.decode()?;
    let mut sorter = Sorter::new();
    for asked in request.topics {
        let topic = sorter.topic(&asked.name, Uuid::nil(), false, asked.partitions.len())?;
        for part in asked.partitions {
            let topic = topic.clone();
            let partition = part.partition_index;
            sorter.push(match answer_without_node(part.timestamp, body.version()) {
                None => Ok(ListOffsetsPartition {
                    topic,
                    partition,
                    leader_epoch: part.current_leader_epoch,
                    timestamp: part.timestamp,
                }),
                Some(error) => Err(ListOffsetsResult {
                    topic,
                    partition,
                    error,
                    timestamp: -1,
                    offset: -1,
                    leader_epoch: -1,
                    search: None,
                }),
            });
        }
    }
    let echo = Echo::ListOffsets(sorter.refused);
    Ok(match sorter.ask.is_empty() {
        false => Step::Ask(Request::ListOffsets { partitions: sorter.ask }, echo),
        true => Step::Answer(Response::ListOffsets { partitions: Vec::new() }, echo),
    })
}

/// What a timestamp that the node need not see is answered with: the places of tiered storage hold nothing here, which
/// is no error and no offset, and a timestamp from a later version is not understood.
fn answer_without_node(timestamp: i64, version: i16) -> Option<ErrorCode> {
    let since = match timestamp {
        -2.. => return None,
        -3 => 7,
        -4 => 8,
        -5 => 9,
        -6 => 11,
        _ => return Some(ErrorCode::UnsupportedVersion),
    };
    match timestamp {
        _ if version < since => Some(ErrorCode::UnsupportedVersion),
        -6 | -5 => Some(ErrorCode::None),
        _ => None,
    }
}

pub(super) fn encode_list(
    header: &Header,
    mut results: Vec<ListOffsetsResult>,
) -> Result<Bytes, EncodeError> {
    let mut left = UNPACKED_BYTES_MAX;
    for result in &mut results {
        let found = result.search.take().and_then(|search| unpack::find(&search, &mut left));
        if let Some((timestamp, offset)) = found {
            (result.timestamp, result.offset) = (timestamp, offset);
        }
    }
    let topics = by_topic(results, |result| &result.topic).into_iter().map(|(topic, results)| {
        let partitions = results.into_iter().map(|result| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(result.partition)
                .with_error_code(result.error.code())
                .with_timestamp(result.timestamp)
                .with_offset(result.offset)
                .with_leader_epoch(if header.version >= 4 { result.leader_epoch } else { -1 })
        });
        ListOffsetsTopicResponse::default()
            .with_name(name_and_id(topic).0)
            .with_partitions(partitions.collect())
    });
    response(header, header.version, &ListOffsetsResponse::default().with_topics(topics.collect()))
}

pub(super) fn decode_epochs(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: OffsetForLeaderEpochRequest = body.decode()?;
    let mut sorter = Sorter::<EpochPartition, EpochResult>::new();
    for asked in request.topics {
        let topic = sorter.topic(&asked.topic, Uuid::nil(), false, asked.partitions.len())?;
        for part in asked.partitions {
            sorter.push(Ok(EpochPartition {
                topic: topic.clone(),
                partition: part.partition,
                current_leader_epoch: part.current_leader_epoch,
                leader_epoch: part.leader_epoch,
            }));
        }
    }
    let echo = Echo::Epochs(sorter.refused);
    Ok(match sorter.ask.is_empty() {
        false => Step::Ask(Request::OffsetForLeaderEpoch { partitions: sorter.ask }, echo),
        true => Step::Answer(Response::OffsetForLeaderEpoch { partitions: Vec::new() }, echo),
    })
}

pub(super) fn encode_epochs(header: &Header, results: Vec<EpochResult>) -> Result<Bytes, EncodeError> {
    let topics = by_topic(results, |result| &result.topic).into_iter().map(|(topic, results)| {
        let partitions = results.into_iter().map(|result| {
            EpochEndOffset::default()
                .with_error_code(result.error.code())
                .with_partition(result.partition)
                .with_leader_epoch(result.leader_epoch)
                .with_end_offset(result.end_offset)
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(name_and_id(topic).0)
            .with_partitions(partitions.collect())
    });
    response(header, header.version, &OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
}
