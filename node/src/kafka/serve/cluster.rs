//! ApiVersions 0-4, InitProducerId 0-5, DescribeCluster 0-2.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_request::ApiVersionsRequest;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::describe_cluster_request::DescribeClusterRequest;
use kafka_protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use kafka_protocol::messages::init_producer_id_request::InitProducerIdRequest;
use kafka_protocol::messages::init_producer_id_response::InitProducerIdResponse;
use kafka_protocol::messages::{BrokerId, ProducerId};
use kafka_protocol::protocol::StrBytes;

use super::{Api, Body, CloseReason, Echo, EncodeError, Header, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::request::{Broker, MetadataResult, MetadataTopics, Request, Response};

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
