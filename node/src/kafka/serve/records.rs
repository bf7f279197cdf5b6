//! DeleteRecords 0-2.

use bytes::Bytes;
use kafka_protocol::messages::delete_records_request::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use uuid::Uuid;

use super::{Body, CloseReason, Echo, EncodeError, Header, Sorter, Step, by_topic, name_and_id, response};
use crate::core::request::{DeleteRecordsPartition, DeleteRecordsResult, Request, Response};

pub(super) fn decode(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DeleteRecordsRequest = body.decode()?;
    let mut sorter = Sorter::<DeleteRecordsPartition, DeleteRecordsResult>::new();
    for asked in request.topics {
        let topic = sorter.topic(&asked.name, Uuid::nil(), false, asked.partitions.len())?;
        for part in asked.partitions {
            let (topic, partition) = (topic.clone(), part.partition_index);
            sorter.push(Ok(DeleteRecordsPartition { topic, partition, offset: part.offset }));
        }
    }
    let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
    let echo = Echo::DeleteRecords(sorter.refused);
    Ok(match sorter.ask.is_empty() {
        false => Step::Ask(Request::DeleteRecords { timeout_ms, partitions: sorter.ask }, echo),
        true => Step::Answer(Response::DeleteRecords { partitions: Vec::new() }, echo),
    })
}

pub(super) fn encode(header: &Header, results: Vec<DeleteRecordsResult>) -> Result<Bytes, EncodeError> {
    let topics = by_topic(results, |result| &result.topic).into_iter().map(|(topic, results)| {
        let partitions = results.into_iter().map(|result| {
            DeleteRecordsPartitionResult::default()
                .with_partition_index(result.partition)
                .with_low_watermark(result.low_watermark)
                .with_error_code(result.error.code())
        });
        DeleteRecordsTopicResult::default()
            .with_name(name_and_id(topic).0)
            .with_partitions(partitions.collect())
    });
    response(header, header.version, &DeleteRecordsResponse::default().with_topics(topics.collect()))
}
