//! A node's HTTP port: `/v1/nodes`, `/v1/partitions`, `/v1/lookup`.

use crate::error::CliError;
use crate::settings::Settings;
use serde::Deserialize;
use serde_json::Value;

/// Answer of `/v1/nodes`. Fields that a node does not send are empty.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub(crate) struct Nodes {
    pub(crate) cluster_id: String,
    /// The node that answered.
    pub(crate) node_id: i64,
    pub(crate) nodes: Vec<Node>,
}

/// One node, as the answering node knows it.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub(crate) struct Node {
    pub(crate) node_id: i64,
    pub(crate) peer_id: String,
    pub(crate) boot: u64,
    pub(crate) kafka: String,
    pub(crate) mesh: String,
    pub(crate) http: String,
    pub(crate) up: bool,
    pub(crate) leads: u64,
    pub(crate) replicas: u64,
    pub(crate) hears: Vec<i64>,
    /// How far its clock is ahead of the answering node's, the way included.
    pub(crate) clock_offset_ms: Option<i64>,
    /// It says that its disk does not end a commit.
    pub(crate) disk_stuck: bool,
    /// When it connected to the answering node, the last time first.
    pub(crate) arrivals_ms_ago: Vec<u64>,
    /// Since when it is not connected.
    pub(crate) left_ms_ago: Option<u64>,
    /// When it last spoke from an old copy of its data directory.
    pub(crate) old_copy_ms_ago: Option<u64>,
}

/// Answer of `/v1/partitions`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Partitions {
    pub(crate) topic_id: String,
    pub(crate) partitions: Vec<Partition>,
}

/// One partition; offsets are exclusive but for the log start.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Partition {
    pub(crate) partition: i32,
    pub(crate) leader: Option<i64>,
    pub(crate) term: Option<i64>,
    pub(crate) replicas: Vec<i64>,
    pub(crate) in_sync: Vec<i64>,
    pub(crate) log_start: Option<i64>,
    pub(crate) high_watermark: Option<i64>,
    pub(crate) log_end: Option<i64>,
}

/// Answer of `/v1/lookup`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Lookup {
    pub(crate) key: String,
    pub(crate) hash: String,
    pub(crate) hops: Vec<Hop>,
    pub(crate) value: Value,
    pub(crate) source: String,
}

/// One node asked on the way.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Hop {
    pub(crate) node_id: Option<i64>,
    pub(crate) peer_id: String,
    pub(crate) ms: f64,
    pub(crate) result: String,
}

/// Asks the node at `--http`. `path` begins with a slash and is already percent-encoded.
///
/// # Errors
///
/// [`CliError::Unreachable`] when nobody speaks HTTP there; [`CliError::Failed`] when the node answers an error or
/// something other than JSON.
pub(crate) fn get(settings: &Settings, path: &str) -> Result<Value, CliError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(settings.wait()))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let url = format!("http://{}{path}", settings.http);
    let mut response = agent.get(&url).call().map_err(|error| unreachable(settings, &error.to_string()))?;
    let status = response.status();
    let text =
        response.body_mut().read_to_string().map_err(|error| unreachable(settings, &error.to_string()))?;
    if !status.is_success() {
        let said = serde_json::from_str::<Value>(&text).ok();
        let said =
            said.as_ref().and_then(|value| value.get("error")).and_then(Value::as_str).unwrap_or(text.trim());
        return Err(CliError::Failed(format!(
            "the node at http://{} answers {status}: {said}",
            settings.http
        )));
    }
    serde_json::from_str(&text).map_err(|error| not_rafka(settings, &error))
}

/// Reads an answer into its type.
pub(crate) fn typed<T: for<'a> Deserialize<'a>>(settings: &Settings, value: &Value) -> Result<T, CliError> {
    T::deserialize(value).map_err(|error| not_rafka(settings, &error))
}

/// Percent-encodes a query value (RFC 3986: all but unreserved characters and the slash, which a query may hold).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn unreachable(settings: &Settings, error: &str) -> CliError {
    CliError::Unreachable(format!(
        "no node answers at http://{} ({error}).\nName another with --http HOST:PORT or RAFKA_HTTP.",
        settings.http
    ))
}

fn not_rafka(settings: &Settings, error: &serde_json::Error) -> CliError {
    CliError::Failed(format!(
        "http://{} does not answer as a rafka node does ({error}).\nIs --http (or RAFKA_HTTP) a node's HTTP address?",
        settings.http
    ))
}

#[cfg(test)]
mod tests {
    use super::{Nodes, Partitions, encode};

    #[test]
    fn a_query_value_is_encoded() {
        assert_eq!(encode("partition/a.b-c_d/7"), "partition/a.b-c_d/7");
        assert_eq!(encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }

    #[test]
    fn answers_with_missing_and_unknown_fields_are_read() {
        let nodes: Nodes =
            serde_json::from_str(r#"{"node_id":1,"nodes":[{"node_id":1,"up":true,"new":1}]}"#).unwrap();
        assert!(nodes.nodes[0].up && nodes.nodes[0].hears.is_empty());
        let text = r#"{"topic":"t","partitions":[{"partition":3,"leader":null,"log_end":10}]}"#;
        let partitions: Partitions = serde_json::from_str(text).unwrap();
        assert_eq!((partitions.partitions[0].leader, partitions.partitions[0].log_end), (None, Some(10)));
    }
}
