//! `/v1/configs`: what is set for a topic, a node, or all nodes, and its changes, for `rafka config`.
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/configs?resource=topic/NAME` | lists every key with its value in force and where that is set |
//! | `POST /v1/configs?resource=cluster&set=KEY=VALUE&delete=KEY` | changes keys; also `append` and `subtract`, each as often as wanted |
//!
//! A resource is `topic/NAME`, `broker/NUMBER` or `cluster`. With `validate=true` nothing is changed. A node tells the configs of itself
//! only, and alters those of any.

use serde_json::{Value, json};

use super::http::{Answer, field, fields};
use crate::core::error::ErrorCode;
use crate::core::metadata::configs::{Edit, Operation};
use crate::core::request::{AlterResource, ConfigEntry, ConfigResource, ConfigSynonym, Request, Response};

const USAGE: &str = "name what is meant: /v1/configs?resource=topic/NAME, broker/NUMBER or cluster";
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Whose configs are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    kind: i8,
    name: String,
}

impl Resource {
    fn of(query: &str) -> Result<Resource, Answer> {
        let text = field(query, "resource").unwrap_or_default();
        let (kind, name) = match text.split_once('/') {
            Some(("topic", name)) if !name.is_empty() => (TOPIC, name),
            Some(("broker", name)) if name.parse::<i32>().is_ok() => (BROKER, name),
            None if text == "cluster" => (BROKER, ""),
            _ => return Err(Answer::error(400, USAGE)),
        };
        Ok(Resource { kind, name: name.to_owned() })
    }
}

/// The question that a query asks.
pub(super) fn question(query: &str) -> Result<Request, Answer> {
    let Resource { kind, name } = Resource::of(query)?;
    let resource = match kind {
        TOPIC => ConfigResource::Topic { name, keys: None },
        _ => ConfigResource::Broker { name, keys: None },
    };
    Ok(Request::DescribeConfigs { resources: vec![resource] })
}

/// The change that a query asks for.
pub(super) fn change(query: &str) -> Result<Request, Answer> {
    let Resource { kind: resource_type, name } = Resource::of(query)?;
    let mut edits = Vec::new();
    for word in ["set", "append", "subtract", "delete"] {
        for value in fields(query, word) {
            edits.push(value.as_deref().and_then(|value| edit(word, value)).ok_or_else(|| {
                Answer::error(400, format!("{word} takes KEY=VALUE, and delete takes KEY, percent-encoded"))
            })?);
        }
    }
    if edits.is_empty() {
        return Err(Answer::error(400, "say what to change: set, append or subtract KEY=VALUE, delete KEY"));
    }
    let validate_only = field(query, "validate").as_deref() == Some("true");
    let resource = AlterResource { resource_type, name, replace: false, edits };
    Ok(Request::AlterConfigs { resources: vec![resource], validate_only })
}

fn edit(word: &str, text: &str) -> Option<Edit> {
    if word == "delete" {
        let key = Some(text.to_owned()).filter(|key| !key.is_empty())?;
        return Some(Edit { key, operation: Operation::Delete });
    }
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty())?;
    let value = value.to_owned();
    let operation = match word {
        "set" => Operation::Set(value),
        "append" => Operation::Append(value),
        _ => Operation::Subtract(value),
    };
    Some(Edit { key: key.to_owned(), operation })
}

/// What the node says, as JSON.
pub(super) fn told(response: Option<Response>) -> Result<Value, Answer> {
    let (error, message, value) = match response {
        Some(Response::DescribeConfigs { mut resources }) if !resources.is_empty() => {
            let first = resources.swap_remove(0);
            let configs: Vec<Value> = first.entries.iter().map(entry).collect();
            (first.error, first.message, json!({ "configs": configs }))
        }
        Some(Response::AlterConfigs { mut resources }) if !resources.is_empty() => {
            let first = resources.swap_remove(0);
            (first.error, first.message, json!({ "done": true }))
        }
        _ => return Err(Answer::error(503, "the node is stopping")),
    };
    let status = match error {
        ErrorCode::None => return Ok(value),
        ErrorCode::UnknownTopicOrPartition | ErrorCode::BrokerIdNotRegistered => 404,
        ErrorCode::InvalidConfig | ErrorCode::InvalidRequest => 400,
        ErrorCode::RequestTimedOut | ErrorCode::NotController | ErrorCode::LeaderNotAvailable => 503,
        _ => 409,
    };
    Err(Answer::error(status, message.unwrap_or_else(|| error.text().to_owned())))
}

fn entry(entry: &ConfigEntry) -> Value {
    let synonym =
        |one: &ConfigSynonym| json!({ "name": one.name, "value": one.value, "source": one.source.name() });
    let synonyms: Vec<Value> = entry.synonyms.iter().map(synonym).collect();
    json!({
        "name": entry.name, "value": entry.value, "source": entry.source.name(), "read_only": entry.read_only,
        "documentation": entry.documentation, "synonyms": synonyms
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_resource_and_its_changes() {
        let Ok(Request::AlterConfigs { resources, validate_only: true }) = change(
            "resource=topic/a%2Fb&set=retention.ms=5&delete=flush.ms&append=cleanup.policy=x,y&validate=true",
        ) else {
            panic!("a change")
        };
        let [AlterResource { resource_type: TOPIC, name, replace: false, edits }] = &resources[..] else {
            panic!("{resources:?}")
        };
        let operations: Vec<_> = edits.iter().map(|edit| (edit.key.as_str(), &edit.operation)).collect();
        let wanted = [
            ("retention.ms", &Operation::Set("5".into())),
            ("cleanup.policy", &Operation::Append("x,y".into())),
            ("flush.ms", &Operation::Delete),
        ];
        assert_eq!((name.as_str(), &operations[..]), ("a/b", &wanted[..]));
        assert!(question("resource=cluster").is_ok() && question("resource=broker/1").is_ok());
        for wrong in ["", "resource=topic/", "resource=broker/x", "resource=clusters", "resource=topic"] {
            assert_eq!(question(wrong).expect_err(wrong).status, 400);
        }
        for wrong in ["resource=cluster", "resource=cluster&set=a", "resource=cluster&delete=%"] {
            assert_eq!(change(wrong).expect_err(wrong).status, 400);
        }
    }
}
