//! ApiVersions 0-4, InitProducerId 0-5, DescribeConfigs 1-4, DescribeCluster 0-2.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_request::ApiVersionsRequest;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::describe_cluster_request::DescribeClusterRequest;
use kafka_protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use kafka_protocol::messages::init_producer_id_request::InitProducerIdRequest;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use kafka_protocol::messages::{BrokerId, ProducerId};
use kafka_protocol::protocol::StrBytes;

use super::{Api, Body, CloseReason, Echo, EncodeError, Header, Sorter, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::request::{
    Broker, ConfigEntry, ConfigResource, ConfigResult, MetadataResult, MetadataTopics, Request, Response,
};

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
const SOURCE_TOPIC: i8 = 1;
const SOURCE_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;
/// DescribeCluster's endpoint type of brokers; the other is controllers, of which there are none.
const ENDPOINT_BROKERS: i8 = 1;

pub(super) fn api_versions(body: Body<'_>) -> Result<Step, CloseReason> {
    let _: ApiVersionsRequest = body.decode()?;
    let message =
        ApiVersionsResponse::default().with_api_keys(Api::ALL.into_iter().map(api_version).collect());
    Ok(Step::Frame(response(body.header, body.version(), &message)?))
}

/// The answer to an ApiVersions of a version that is not served: in version 0, which every client reads, with the range
/// that is (KIP-511).
pub(super) fn unknown_api_versions(header: &Header) -> Result<Bytes, EncodeError> {
    let message = ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(vec![api_version(Api::ApiVersions)]);
    response(header, 0, &message)
}

fn api_version(api: Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key())
        .with_min_version(api.first_advertised())
        .with_max_version(api.versions().1)
}

pub(super) fn decode_init_producer_id(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: InitProducerIdRequest = body.decode()?;
    let (producer_id, producer_epoch) = match body.version() {
        3.. => (request.producer_id.0, request.producer_epoch),
        _ => (-1, -1),
    };
    let whole = (producer_id, producer_epoch) == (-1, -1) || (producer_id >= 0 && producer_epoch >= 0);
    Ok(if request.transactional_id.is_some() || !whole {
        let error = ErrorCode::InvalidRequest;
        Step::Answer(Response::InitProducerId { error, producer_id: -1, producer_epoch: -1 }, Echo::Nothing)
    } else {
        Step::Ask(Request::InitProducerId { producer_id, producer_epoch }, Echo::Nothing)
    })
}

pub(super) fn encode_init_producer_id(
    header: &Header,
    error: ErrorCode,
    producer_id: i64,
    producer_epoch: i16,
) -> Result<Bytes, EncodeError> {
    let message = InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(ProducerId(producer_id))
        .with_producer_epoch(producer_epoch);
    response(header, header.version, &message)
}

pub(super) fn decode_describe_configs(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DescribeConfigsRequest = body.decode()?;
    let mut sorter = Sorter::new();
    for resource in request.resources {
        sorter.push(config_resource(resource));
    }
    let echo = Echo::Configs { refused: sorter.refused, documentation: request.include_documentation };
    Ok(match sorter.ask.is_empty() {
        true => Step::Answer(Response::DescribeConfigs { resources: Vec::new() }, echo),
        false => Step::Ask(Request::DescribeConfigs { resources: sorter.ask }, echo),
    })
}

fn config_resource(resource: DescribeConfigsResource) -> Result<ConfigResource, ConfigResult> {
    let name = resource.resource_name.to_string();
    let keys = |keys: Vec<StrBytes>| keys.into_iter().map(|key| key.to_string()).collect();
    let keys = resource.configuration_keys.map(keys);
    match resource.resource_type {
        RESOURCE_TOPIC => Ok(ConfigResource::Topic { name, keys }),
        RESOURCE_BROKER => Ok(ConfigResource::Broker { name, keys }),
        resource_type => Err(ConfigResult {
            error: ErrorCode::InvalidRequest,
            message: Some(format!(
                "resource type {resource_type} has no configs here: only topics (2) and brokers (4) do"
            )),
            resource_type,
            name,
            entries: Vec::new(),
        }),
    }
}

pub(super) fn encode_describe_configs(
    header: &Header,
    results: Vec<ConfigResult>,
    documentation: bool,
) -> Result<Bytes, EncodeError> {
    let results = results.into_iter().map(|result| {
        let resource_type = result.resource_type;
        let configs = result.entries.into_iter();
        let configs = configs.map(|entry| config_entry(entry, resource_type, header.version, documentation));
        DescribeConfigsResult::default()
            .with_error_code(result.error.code())
            .with_error_message(result.message.map(text))
            .with_resource_type(resource_type)
            .with_resource_name(text(result.name))
            .with_configs(configs.collect())
    });
    response(header, header.version, &DescribeConfigsResponse::default().with_results(results.collect()))
}

fn config_entry(
    entry: ConfigEntry,
    resource_type: i8,
    version: i16,
    documentation: bool,
) -> DescribeConfigsResourceResult {
    let source = match (entry.is_default, resource_type) {
        (true, _) => SOURCE_DEFAULT,
        (false, RESOURCE_BROKER) => SOURCE_BROKER,
        (false, _) => SOURCE_TOPIC,
    };
    let out = DescribeConfigsResourceResult::default()
        .with_name(text(entry.name))
        .with_value(entry.value.map(text))
        .with_read_only(resource_type == RESOURCE_BROKER)
        .with_config_source(source);
    if version < 3 {
        return out;
    }
    let words = Some(text(entry.documentation)).filter(|_| documentation);
    out.with_config_type(entry.kind).with_documentation(words)
}

pub(super) fn decode_describe_cluster(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DescribeClusterRequest = body.decode()?;
    if body.version() >= 1 && request.endpoint_type != ENDPOINT_BROKERS {
        let message = DescribeClusterResponse::default()
            .with_error_code(ErrorCode::UnsupportedEndpointType.code())
            .with_error_message(Some(StrBytes::from_static_str(
                "there are no controllers: ask for brokers (endpoint type 1)",
            )))
            .with_endpoint_type(request.endpoint_type);
        return Ok(Step::Frame(response(body.header, body.version(), &message)?));
    }
    // Which nodes there are is what Metadata says besides topics.
    let topics = MetadataTopics::Some(Vec::new());
    Ok(Step::Ask(Request::Metadata { topics, allow_auto_create: false }, Echo::Nothing))
}

pub(super) fn encode_describe_cluster(header: &Header, result: MetadataResult) -> Result<Bytes, EncodeError> {
    let message = DescribeClusterResponse::default()
        .with_cluster_id(text(result.cluster_id))
        .with_controller_id(BrokerId(result.controller))
        .with_brokers(result.brokers.into_iter().map(described_broker).collect());
    response(header, header.version, &message)
}

fn described_broker(broker: Broker) -> DescribeClusterBroker {
    DescribeClusterBroker::default()
        .with_broker_id(BrokerId(broker.node))
        .with_host(text(broker.host))
        .with_port(i32::from(broker.port))
        .with_rack(broker.rack.map(text))
}
