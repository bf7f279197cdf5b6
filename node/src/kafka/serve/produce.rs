//! Produce 3-13.

use bytes::Bytes;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::produce_request::ProduceRequest;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};

use super::{
    Body, CloseReason, Echo, EncodeError, Header, NO_TOPIC, Refused, Sorter, Step, by_topic, endpoints,
    name_and_id, response, text,
};
use crate::core::error::ErrorCode;
use crate::core::request::{
    Acks, Batch, Broker, ProducePartition, ProduceResult, Request, Response, TopicRef,
};
use crate::kafka::batch;

const TRANSACTIONS: &str = "transactions are not served yet: produce without a transactional.id";

pub(super) fn decode(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: ProduceRequest = body.decode()?;
    let version = body.version();
    let acks = match request.acks {
        -1 => Ok(Acks::All),
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        _ => Err((ErrorCode::InvalidRequiredAcks, ErrorCode::InvalidRequiredAcks.text().to_owned())),
    };
    let acks = match request.transactional_id {
        Some(_) => Err((ErrorCode::InvalidRequest, TRANSACTIONS.to_owned())),
        None => acks,
    };
    let mut sorter = Sorter::new();
    for data in request.topic_data {
        let topic = sorter.topic(&data.name, data.topic_id, version >= 13, data.partition_data.len())?;
        for part in data.partition_data {
            let batch = match &acks {
                Err(refusal) => Err(refusal.clone()),
                Ok(_) if topic == NO_TOPIC => Err((ErrorCode::UnknownTopicId, String::new())),
                Ok(_) => batch::check(part.records, version, body.limits.message_bytes_max)
                    .map_err(|error| (error.code(), error.to_string())),
            };
            sorter.push(match batch {
                Ok(batch) => Ok(ProducePartition { topic: topic.clone(), partition: part.index, batch }),
                Err((error, message)) => Err(refusal(topic.clone(), part.index, error, message)),
            });
        }
    }
    let echo = Echo::Produce { refused: sorter.refused, silent: request.acks == 0 };
    let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
    Ok(match acks {
        Ok(acks) if !sorter.ask.is_empty() => {
            Step::Ask(Request::Produce { acks, timeout_ms, partitions: sorter.ask }, echo)
        }
        _ => Step::Answer(Response::Produce { partitions: Vec::new() }, echo),
    })
}

/// Looks into the batches of a produce request: those that do not pass are refused, the others go on.
pub(super) fn prepare(
    refused: &mut Refused<ProduceResult>,
    partitions: Vec<ProducePartition>,
    mut pass: impl FnMut(&TopicRef, Batch) -> Result<Batch, (ErrorCode, String)>,
) -> Vec<ProducePartition> {
    let places = refused.open_places(partitions.len());
    let (mut passed, mut more) = (Vec::with_capacity(partitions.len()), Vec::new());
    for (place, part) in places.into_iter().zip(partitions) {
        let ProducePartition { topic, partition, batch } = part;
        match pass(&topic, batch) {
            Ok(batch) => passed.push(ProducePartition { topic, partition, batch }),
            Err((error, message)) => more.push((place, refusal(topic, partition, error, message))),
        }
    }
    refused.refuse(more);
    passed
}

fn refusal(topic: TopicRef, partition: i32, error: ErrorCode, message: String) -> ProduceResult {
    ProduceResult {
        topic,
        partition,
        error,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        leader: None,
        message: Some(message).filter(|message| !message.is_empty()),
    }
}

pub(super) fn encode(
    header: &Header,
    results: Vec<ProduceResult>,
    brokers: &[Broker],
) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let node_endpoints = match version {
        10.. => endpoints(results.iter().filter_map(|result| result.leader), brokers),
        _ => Vec::new(),
    };
    let node_endpoints = node_endpoints.into_iter().map(endpoint).collect();
    let topics = by_topic(results, |result| &result.topic).into_iter().map(|(topic, results)| {
        let (name, topic_id) = name_and_id(topic);
        let partitions = results.into_iter().map(|result| partition(result, version)).collect();
        TopicProduceResponse::default()
            .with_name(name)
            .with_topic_id(topic_id)
            .with_partition_responses(partitions)
    });
    let message = ProduceResponse::default()
        .with_responses(topics.collect())
        .with_throttle_time_ms(i32::try_from(header.throttle_ms).unwrap_or(i32::MAX))
        .with_node_endpoints(node_endpoints);
    response(header, version, &message)
}

fn partition(result: ProduceResult, version: i16) -> PartitionProduceResponse {
    let mut out = PartitionProduceResponse::default()
        .with_index(result.partition)
        .with_error_code(result.error.code())
        .with_base_offset(result.base_offset)
        .with_log_append_time_ms(result.log_append_time_ms)
        .with_log_start_offset(result.log_start_offset);
    if version >= 8 {
        out = out.with_error_message(result.message.map(text));
    }
    if let Some(leader) = result.leader.filter(|_| version >= 10) {
        let leader = LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(leader.node))
            .with_leader_epoch(leader.leader_epoch);
        out = out.with_current_leader(leader);
    }
    out
}

fn endpoint(broker: &Broker) -> NodeEndpoint {
    NodeEndpoint::default()
        .with_node_id(BrokerId(broker.node))
        .with_host(text(broker.host.clone()))
        .with_port(i32::from(broker.port))
        .with_rack(broker.rack.clone().map(text))
}
