//! DescribeConfigs 1-4, AlterConfigs 0-2, IncrementalAlterConfigs 0-1, ListConfigResources 0-1.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::alter_configs_request::AlterConfigsRequest;
use kafka_protocol::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse as IncrementalResponse, IncrementalAlterConfigsResponse,
};
use kafka_protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use kafka_protocol::messages::list_config_resources_response::{
    ConfigResource as ListedResource, ListConfigResourcesResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Api, Body, CloseReason, Echo, EncodeError, Header, Sorter, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::metadata::configs::{Edit, Operation};
use crate::core::request::{
    AlterResource, AlterResult, ConfigEntry, ConfigResource, ConfigResult, MetadataResult, MetadataTopics,
    Request, Response,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What a DescribeConfigs asks for besides values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    synonyms: bool,
    documentation: bool,
}

pub(super) fn decode_describe(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DescribeConfigsRequest = body.decode()?;
    let mut sorter = Sorter::new();
    for resource in request.resources {
        sorter.push(config_resource(resource));
    }
    let wants = Wants { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let echo = Echo::Configs { refused: sorter.refused, wants };
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
        TOPIC => Ok(ConfigResource::Topic { name, keys }),
        BROKER => Ok(ConfigResource::Broker { name, keys }),
        resource_type => Err(ConfigResult {
            error: ErrorCode::InvalidRequest,
            message: Some(no_such_type(resource_type)),
            resource_type,
            name,
            entries: Vec::new(),
        }),
    }
}

fn no_such_type(resource_type: i8) -> String {
    format!("resource type {resource_type} has no configs here: only topics (2) and brokers (4) do")
}

pub(super) fn encode_describe(
    header: &Header,
    results: Vec<ConfigResult>,
    wants: Wants,
) -> Result<Bytes, EncodeError> {
    let results = results.into_iter().map(|result| {
        let configs = result.entries.into_iter().map(|entry| config_entry(entry, header.version, wants));
        DescribeConfigsResult::default()
            .with_error_code(result.error.code())
            .with_error_message(result.message.map(text))
            .with_resource_type(result.resource_type)
            .with_resource_name(text(result.name))
            .with_configs(configs.collect())
    });
    response(header, header.version, &DescribeConfigsResponse::default().with_results(results.collect()))
}

fn config_entry(entry: ConfigEntry, version: i16, wants: Wants) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.into_iter().filter(|_| wants.synonyms).map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(synonym.name))
            .with_value(Some(text(synonym.value)))
            .with_source(synonym.source.code())
    });
    let out = DescribeConfigsResourceResult::default()
        .with_name(text(entry.name))
        .with_value(entry.value.map(text))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source.code())
        .with_synonyms(synonyms.collect());
    if version < 3 {
        return out;
    }
    let words = Some(text(entry.documentation)).filter(|_| wants.documentation);
    out.with_config_type(entry.kind).with_documentation(words)
}

/// A resource as both requests name it, with its edits or what is wrong with them.
type Wished = (i8, String, Result<Vec<Edit>, String>);

pub(super) fn decode_alter(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: AlterConfigsRequest = body.decode()?;
    let wished = request.resources.into_iter().map(|resource| {
        let edits = resource.configs.into_iter().map(|config| edit(config.name, 0, config.value));
        (resource.resource_type, resource.resource_name.to_string(), edits.collect())
    });
    Ok(alter(wished.collect(), true, request.validate_only))
}

pub(super) fn decode_incremental(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: IncrementalAlterConfigsRequest = body.decode()?;
    let wished = request.resources.into_iter().map(|resource| {
        let edits = resource.configs.into_iter();
        let edits = edits.map(|config| edit(config.name, config.config_operation, config.value));
        (resource.resource_type, resource.resource_name.to_string(), edits.collect())
    });
    Ok(alter(wished.collect(), false, request.validate_only))
}

fn edit(name: StrBytes, operation: i8, value: Option<StrBytes>) -> Result<Edit, String> {
    let key = name.to_string();
    if key.trim().is_empty() {
        return Err("Configuration keys must not be empty".to_owned());
    }
    let operation = match (operation, value) {
        (1, _) => Operation::Delete,
        (0 | 2 | 3, None) => return Err(format!("Null value not supported for : {key}")),
        (0, Some(value)) => Operation::Set(value.to_string()),
        (2, Some(value)) => Operation::Append(value.to_string()),
        (3, Some(value)) => Operation::Subtract(value.to_string()),
        (unknown, _) => return Err(format!("Unknown operation type {unknown} for : {key}")),
    };
    Ok(Edit { key, operation })
}

fn alter(wished: Vec<Wished>, replace: bool, validate_only: bool) -> Step {
    let mut times: BTreeMap<(i8, String), u32> = BTreeMap::new();
    for (resource_type, name, _) in &wished {
        *times.entry((*resource_type, name.clone())).or_default() += 1;
    }
    let mut sorter = Sorter::new();
    for (resource_type, name, edits) in wished {
        let once = times.get(&(resource_type, name.clone())) == Some(&1);
        let edits = match () {
            () if !once => Err("Each resource must appear at most once.".to_owned()),
            () if resource_type != TOPIC && resource_type != BROKER => Err(no_such_type(resource_type)),
            () => edits,
        };
        sorter.push(match edits {
            Ok(edits) => Ok(AlterResource { resource_type, name, replace, edits }),
            Err(message) => {
                let error = ErrorCode::InvalidRequest;
                Err(AlterResult { error, message: Some(message), resource_type, name })
            }
        });
    }
    let echo = Echo::AlterConfigs(sorter.refused);
    match sorter.ask.is_empty() {
        true => Step::Answer(Response::AlterConfigs { resources: Vec::new() }, echo),
        false => Step::Ask(Request::AlterConfigs { resources: sorter.ask, validate_only }, echo),
    }
}

pub(super) fn encode_alter(header: &Header, results: Vec<AlterResult>) -> Result<Bytes, EncodeError> {
    if header.api == Api::AlterConfigs {
        let responses = results.into_iter().map(|result| {
            AlterConfigsResourceResponse::default()
                .with_error_code(result.error.code())
                .with_error_message(result.message.map(text))
                .with_resource_type(result.resource_type)
                .with_resource_name(text(result.name))
        });
        let message = AlterConfigsResponse::default().with_responses(responses.collect());
        return response(header, header.version, &message);
    }
    let responses = results.into_iter().map(|result| {
        IncrementalResponse::default()
            .with_error_code(result.error.code())
            .with_error_message(result.message.map(text))
            .with_resource_type(result.resource_type)
            .with_resource_name(text(result.name))
    });
    let message = IncrementalAlterConfigsResponse::default().with_responses(responses.collect());
    response(header, header.version, &message)
}

/// Which kinds of resources a ListConfigResources wants to know of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    topics: bool,
    brokers: bool,
}

/// Version 0 asks for client metrics, of which there are none.
pub(super) fn decode_list(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: ListConfigResourcesRequest = body.decode()?;
    let asks = |resource_type| {
        body.version() >= 1
            && (request.resource_types.is_empty() || request.resource_types.contains(&resource_type))
    };
    let listed = Listed { topics: asks(TOPIC), brokers: asks(BROKER) };
    let topics = if listed.topics { MetadataTopics::All } else { MetadataTopics::Some(Vec::new()) };
    Ok(Step::Ask(Request::Metadata { topics, allow_auto_create: false }, Echo::ConfigResources(listed)))
}

pub(super) fn encode_list(
    header: &Header,
    result: MetadataResult,
    listed: Listed,
) -> Result<Bytes, EncodeError> {
    let topics = result.topics.into_iter().filter_map(|topic| topic.name).map(|name| (TOPIC, name));
    let brokers = result.brokers.iter().map(|broker| (BROKER, broker.node.to_string()));
    let resources = topics.chain(brokers.filter(|_| listed.brokers)).map(|(resource_type, name)| {
        let out = ListedResource::default().with_resource_name(text(name));
        if header.version >= 1 { out.with_resource_type(resource_type) } else { out }
    });
    let message = ListConfigResourcesResponse::default().with_config_resources(resources.collect());
    response(header, header.version, &message)
}
