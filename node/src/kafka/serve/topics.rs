//! Metadata 0-13, CreateTopics 2-7, DeleteTopics 1-6.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use kafka_protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use kafka_protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use uuid::Uuid;

use super::{Body, CloseReason, Echo, EncodeError, Header, NO_TOPIC, Refused, Sorter, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::request::{
    Broker, ConfigEntry, CreateTopic, CreateTopicResult, DeleteTopicResult, MetadataResult, MetadataTopics,
    PartitionMetadata, Request, Response, TopicId, TopicMetadata, TopicRef,
};

pub(super) fn decode_metadata(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: MetadataRequest = body.decode()?;
    let allow_auto_create = body.version() < 4 || request.allow_auto_topic_creation;
    // Version 0 has no null: no topics at all means all of them.
    let topics = request.topics.filter(|topics| body.version() > 0 || !topics.is_empty());
    let Some(topics) = topics else {
        let echo = Echo::Metadata(Refused { asked: None, parts: Vec::new() });
        return Ok(Step::Ask(Request::Metadata { topics: MetadataTopics::All, allow_auto_create }, echo));
    };
    let mut sorter = Sorter::new();
    for topic in topics {
        sorter.push(metadata_topic(topic));
    }
    let topics = MetadataTopics::Some(sorter.ask);
    Ok(Step::Ask(Request::Metadata { topics, allow_auto_create }, Echo::Metadata(sorter.refused)))
}

fn metadata_topic(topic: MetadataRequestTopic) -> Result<TopicRef, TopicMetadata> {
    let id = TopicId(*topic.topic_id.as_bytes());
    match topic.name {
        Some(name) => Ok(TopicRef::Name(name.to_string())),
        None if TopicRef::Id(id) == NO_TOPIC => Err(TopicMetadata {
            error: ErrorCode::UnknownTopicId,
            name: None,
            topic_id: id,
            internal: false,
            partitions: Vec::new(),
        }),
        None => Ok(TopicRef::Id(id)),
    }
}

pub(super) fn encode_metadata(header: &Header, result: MetadataResult) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let brokers = result.brokers.into_iter().map(metadata_broker).collect();
    let topics = result.topics.into_iter().map(|topic| metadata_response_topic(topic, version)).collect();
    let message = MetadataResponse::default()
        .with_brokers(brokers)
        .with_cluster_id(Some(text(result.cluster_id)).filter(|_| version >= 2))
        .with_controller_id(BrokerId(result.controller))
        .with_topics(topics);
    response(header, version, &message)
}

fn metadata_broker(broker: Broker) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(BrokerId(broker.node))
        .with_host(text(broker.host))
        .with_port(i32::from(broker.port))
        .with_rack(broker.rack.map(text))
}

fn metadata_response_topic(topic: TopicMetadata, version: i16) -> MetadataResponseTopic {
    // A name is null only from version 12 on.
    let name = topic.name.or_else(|| (version < 12).then(String::new));
    MetadataResponseTopic::default()
        .with_error_code(topic.error.code())
        .with_name(name.map(|name| TopicName(text(name))))
        .with_topic_id(Uuid::from_bytes(topic.topic_id.0))
        .with_is_internal(topic.internal)
        .with_partitions(topic.partitions.into_iter().map(|part| metadata_partition(part, version)).collect())
}

fn metadata_partition(part: PartitionMetadata, version: i16) -> MetadataResponsePartition {
    let nodes = |nodes: Vec<i32>| nodes.into_iter().map(BrokerId).collect::<Vec<_>>();
    MetadataResponsePartition::default()
        .with_error_code(part.error.code())
        .with_partition_index(part.partition)
        .with_leader_id(BrokerId(part.leader))
        .with_leader_epoch(if version >= 7 { part.leader_epoch } else { -1 })
        .with_replica_nodes(nodes(part.replicas))
        .with_isr_nodes(nodes(part.in_sync))
        .with_offline_replicas(if version >= 5 { nodes(part.offline) } else { Vec::new() })
}

pub(super) fn decode_create(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: CreateTopicsRequest = body.decode()?;
    let mut times: BTreeMap<TopicName, u32> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut sorter = Sorter::new();
    for topic in request.topics {
        match times.get(&topic.name) {
            Some(1) => sorter.push(Ok(create_topic(topic))),
            // Named twice, refused once, as Kafka does.
            Some(_) => {
                times.remove(&topic.name);
                sorter.push(Err(refused_create(topic.name.to_string())));
            }
            None => {}
        }
    }
    let echo = Echo::CreateTopics(sorter.refused);
    let (topics, timeout_ms) = (sorter.ask, u32::try_from(request.timeout_ms).unwrap_or(0));
    Ok(match topics.is_empty() {
        true => Step::Answer(Response::CreateTopics { topics: Vec::new() }, echo),
        false => Step::Ask(
            Request::CreateTopics { topics, validate_only: request.validate_only, timeout_ms },
            echo,
        ),
    })
}

fn create_topic(topic: CreatableTopic) -> CreateTopic {
    let nodes = |nodes: Vec<BrokerId>| nodes.into_iter().map(|node| node.0).collect();
    let assignment = topic.assignments.into_iter().map(|part| (part.partition_index, nodes(part.broker_ids)));
    let configs = topic.configs.into_iter();
    CreateTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignment: assignment.collect(),
        configs: configs.map(|entry| (entry.name.to_string(), entry.value.map(|v| v.to_string()))).collect(),
    }
}

fn refused_create(name: String) -> CreateTopicResult {
    CreateTopicResult {
        name,
        topic_id: TopicId::default(),
        error: ErrorCode::InvalidRequest,
        message: Some("the request names this topic more than once".to_owned()),
        partitions: -1,
        replication_factor: -1,
        configs: Vec::new(),
    }
}

pub(super) fn encode_create(header: &Header, results: Vec<CreateTopicResult>) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let topics = results.into_iter().map(|result| {
        let out = CreatableTopicResult::default()
            .with_name(TopicName(text(result.name)))
            .with_error_code(result.error.code())
            .with_error_message(result.message.map(text));
        if version < 5 {
            return out;
        }
        out.with_topic_id(Uuid::from_bytes(result.topic_id.0))
            .with_num_partitions(result.partitions)
            .with_replication_factor(result.replication_factor)
            .with_configs(Some(result.configs.into_iter().map(created_config).collect()))
    });
    response(header, version, &CreateTopicsResponse::default().with_topics(topics.collect()))
}

fn created_config(entry: ConfigEntry) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(text(entry.name))
        .with_value(entry.value.map(text))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source.code())
}

pub(super) fn decode_delete(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DeleteTopicsRequest = body.decode()?;
    let mut sorter = Sorter::new();
    for topic in request.topics {
        sorter.push(deleted_topic(topic));
    }
    for name in request.topic_names {
        sorter.push(Ok(TopicRef::Name(name.to_string())));
    }
    let echo = Echo::DeleteTopics(sorter.refused);
    let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
    Ok(match sorter.ask.is_empty() {
        true => Step::Answer(Response::DeleteTopics { topics: Vec::new() }, echo),
        false => Step::Ask(Request::DeleteTopics { topics: sorter.ask, timeout_ms }, echo),
    })
}

fn deleted_topic(topic: DeleteTopicState) -> Result<TopicRef, DeleteTopicResult> {
    let id = TopicId(*topic.topic_id.as_bytes());
    match (topic.name, TopicRef::Id(id) == NO_TOPIC) {
        (Some(name), true) => Ok(TopicRef::Name(name.to_string())),
        (None, false) => Ok(TopicRef::Id(id)),
        (name, _) => Err(DeleteTopicResult {
            name: name.map(|name| name.to_string()),
            topic_id: id,
            error: ErrorCode::InvalidRequest,
            message: Some("a topic to delete is given either by name or by id".to_owned()),
        }),
    }
}

pub(super) fn encode_delete(header: &Header, results: Vec<DeleteTopicResult>) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let topics = results.into_iter().map(|result| {
        let name = result.name.or_else(|| (version < 6).then(String::new));
        let out = DeletableTopicResult::default()
            .with_name(name.map(|name| TopicName(text(name))))
            .with_topic_id(Uuid::from_bytes(result.topic_id.0))
            .with_error_code(result.error.code());
        if version >= 5 { out.with_error_message(result.message.map(text)) } else { out }
    });
    response(header, version, &DeleteTopicsResponse::default().with_responses(topics.collect()))
}
