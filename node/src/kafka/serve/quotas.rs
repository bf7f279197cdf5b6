//! DescribeClientQuotas 0-1, AlterClientQuotas 0-1 (KIP-546).

use bytes::Bytes;
use kafka_protocol::messages::alter_client_quotas_request::AlterClientQuotasRequest;
use kafka_protocol::messages::alter_client_quotas_response::{
    AlterClientQuotasResponse, EntityData as AlteredEntity, EntryData as AlteredEntry,
};
use kafka_protocol::messages::describe_client_quotas_request::DescribeClientQuotasRequest;
use kafka_protocol::messages::describe_client_quotas_response::{
    DescribeClientQuotasResponse, EntityData, EntryData, ValueData,
};

use super::{Body, CloseReason, Echo, EncodeError, Header, Sorter, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::metadata::quotas::{Entity, Which};
use crate::core::request::{
    AlterQuota, AlterQuotaResult, QuotaEntry, QuotaFilter, QuotaMatch, Request, Response,
};

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

fn unknown_type(entity_type: &str) -> String {
    format!("quotas of the entity type {entity_type} are not served: there are user and client-id")
}

pub(super) fn decode_describe(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DescribeClientQuotasRequest = body.decode()?;
    let mut filter = QuotaFilter { strict: request.strict, ..QuotaFilter::default() };
    for component in request.components {
        let wanted = match (component.match_type, component._match) {
            (EXACT, Some(name)) => QuotaMatch::Named(name.to_string()),
            (DEFAULT, None) => QuotaMatch::Default,
            (ANY, None) => QuotaMatch::Any,
            _ => return refuse_filter(body.header, "a component's match does not fit its match type"),
        };
        let part = match &*component.entity_type {
            USER => &mut filter.user,
            CLIENT_ID => &mut filter.client_id,
            other => return refuse_filter(body.header, &unknown_type(other)),
        };
        if part.replace(wanted).is_some() {
            return refuse_filter(body.header, "an entity type is named twice");
        }
    }
    Ok(Step::Ask(Request::DescribeQuotas(filter), Echo::Nothing))
}

fn refuse_filter(header: &Header, message: &str) -> Result<Step, CloseReason> {
    let message = DescribeClientQuotasResponse::default()
        .with_error_code(ErrorCode::InvalidRequest.code())
        .with_error_message(Some(text(message.to_owned())))
        .with_entries(None);
    Ok(Step::Frame(response(header, header.version, &message)?))
}

pub(super) fn encode_describe(header: &Header, entries: Vec<QuotaEntry>) -> Result<Bytes, EncodeError> {
    let entries = entries.into_iter().map(|entry| {
        let values = entry.limits.into_iter();
        let values = values.map(|(limit, value)| {
            ValueData::default().with_key(text(limit.key().to_owned())).with_value(value)
        });
        let entity = named(&entry.entity).into_iter().map(|(kind, name)| {
            EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
        });
        EntryData::default().with_entity(entity.collect()).with_values(values.collect())
    });
    let message = DescribeClientQuotasResponse::default().with_entries(Some(entries.collect()));
    response(header, header.version, &message)
}

/// An entity as the protocol names it; a name is null for the default.
fn named(entity: &Entity) -> Vec<(String, Option<String>)> {
    let part = |kind: &str, which: &Option<Which>| {
        let name = match which.as_ref()? {
            Which::Default => None,
            Which::Named(name) => Some(name.clone()),
        };
        Some((kind.to_owned(), name))
    };
    [part(USER, &entity.user), part(CLIENT_ID, &entity.client_id)].into_iter().flatten().collect()
}

pub(super) fn decode_alter(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: AlterClientQuotasRequest = body.decode()?;
    let mut sorter = Sorter::new();
    for entry in request.entries {
        let named = entry.entity.into_iter();
        let named: Vec<(String, Option<String>)> = named
            .map(|part| (part.entity_type.to_string(), part.entity_name.map(|name| name.to_string())))
            .collect();
        let ops = entry.ops.into_iter();
        let changes = ops.map(|op| (op.key.to_string(), (!op.remove).then_some(op.value))).collect();
        sorter.push(match entity(&named) {
            Ok(entity) => Ok(AlterQuota { named, entity, changes }),
            Err(message) => {
                Err(AlterQuotaResult { error: ErrorCode::InvalidRequest, message: Some(message), named })
            }
        });
    }
    let echo = Echo::AlterQuotas(sorter.refused);
    let validate_only = request.validate_only;
    Ok(match sorter.ask.is_empty() {
        true => Step::Answer(Response::AlterQuotas { entries: Vec::new() }, echo),
        false => Step::Ask(Request::AlterQuotas { entries: sorter.ask, validate_only }, echo),
    })
}

fn entity(named: &[(String, Option<String>)]) -> Result<Entity, String> {
    let mut entity = Entity { user: None, client_id: None };
    for (kind, name) in named {
        let which = name.clone().map_or(Which::Default, Which::Named);
        let part = match kind.as_str() {
            USER => &mut entity.user,
            CLIENT_ID => &mut entity.client_id,
            other => return Err(unknown_type(other)),
        };
        if part.replace(which).is_some() {
            return Err(format!("the entity type {kind} is named twice"));
        }
    }
    Ok(entity)
}

pub(super) fn encode_alter(header: &Header, results: Vec<AlterQuotaResult>) -> Result<Bytes, EncodeError> {
    let entries = results.into_iter().map(|result| {
        let entity = result.named.into_iter().map(|(kind, name)| {
            AlteredEntity::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
        });
        AlteredEntry::default()
            .with_error_code(result.error.code())
            .with_error_message(result.message.map(text))
            .with_entity(entity.collect())
    });
    let message = AlterClientQuotasResponse::default().with_entries(entries.collect());
    response(header, header.version, &message)
}
