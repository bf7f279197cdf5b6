//! `rafka lookup`: where a key lives, hop by hop.

use crate::error::CliError;
use crate::output::{self, Cell, Look, Table};
use crate::settings::Settings;
use clap::Args;
use rafka::http::{self, Lookup};
use serde_json::Value;

/// Arguments of `rafka lookup`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct LookupArgs {
    /// partition/TOPIC/NUMBER, shard/NUMBER, node/NUMBER or group/ID
    #[arg(value_parser = parse_key)]
    key: String,
}

const HELP: &str = "\
The node at --http walks the mesh's Kademlia table towards the key and tells whom it asked, how long each took and
what came back: \"closer\" peers to ask next, the \"value\", or a \"timeout\".

  rafka lookup partition/orders/7
  rafka lookup shard/3 --http 10.0.0.2:9292
  rafka lookup group/orders-app
  rafka lookup node/2 --json";

/// Asks and prints.
pub(crate) fn run(settings: &Settings, args: &LookupArgs) -> Result<(), CliError> {
    let mesh = settings.mesh();
    let answer = http::get(&mesh, &format!("/v1/lookup?key={}", http::encode(&args.key)))?;
    let lookup: Lookup = http::typed(&mesh, &answer)?;
    if settings.json {
        output::json(&answer)?;
        return found(&lookup);
    }
    output::line(&format!("key\t{}", lookup.key))?;
    output::line(&format!("hash\t{}", lookup.hash))?;
    let mut table = Table::new(&["HOP", "ROUND", "NODE", "PEER", "MS", "RESULT"]);
    for (at, hop) in lookup.hops.iter().enumerate() {
        let node = output::or_dash(hop.node_id);
        table.row(vec![
            (at + 1).into(),
            hop.round.into(),
            node.into(),
            hop.peer_id.as_str().into(),
            format!("{:.1}", hop.ms).into(),
            Cell::new(look(&hop.result), hop.result.clone()),
        ]);
    }
    table.print(settings.paint)?;
    output::line(&format!("rounds\t{}", lookup.rounds))?;
    if lookup.hops.is_empty() {
        output::note(&format!("no hop: answered by the node's own knowledge ({})", lookup.source));
    }
    found(&lookup)?;
    output::line(&format!("value\t{}", words(&lookup.value)))?;
    output::line(&format!("source\t{}", lookup.source))
}

fn look(result: &str) -> Look {
    match result {
        "value" => Look::Good,
        "timeout" => Look::Bad,
        _ => Look::Plain,
    }
}

fn found(lookup: &Lookup) -> Result<(), CliError> {
    if !lookup.value.is_null() {
        return Ok(());
    }
    Err(CliError::Missing(format!(
        "nobody in the mesh knows {}.\nrafka topic list shows the topics and their partition counts, rafka nodes the nodes.",
        lookup.key
    )))
}

/// `{"leader": 2, "replicas": [1, 2]}` as `leader 2, replicas 1 2`.
fn words(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} {}", words(value)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(" "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parse_key(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u32>().is_ok();
    // A group's id may hold anything.
    if text.strip_prefix("group/").is_some_and(|id| !id.is_empty()) {
        return Ok(text.to_owned());
    }
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        ["partition", topic, partition] if !topic.is_empty() && number(partition) => Ok(text.to_owned()),
        ["shard" | "node", id] if number(id) => Ok(text.to_owned()),
        _ => Err("a key is partition/TOPIC/NUMBER, shard/NUMBER, node/NUMBER or group/ID".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_key, words};
    use serde_json::json;

    #[test]
    fn keys_are_partitions_shards_and_nodes() {
        for key in ["partition/orders/7", "shard/3", "node/2", "group/a", "group/a/b 1"] {
            assert_eq!(parse_key(key).unwrap(), key);
        }
        for key in [
            "orders/7",
            "group/",
            "group",
            "partition/orders",
            "partition//1",
            "shard/x",
            "node/-1",
            "",
            "partition/a/1/2",
        ] {
            assert!(parse_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn a_value_is_told_in_words() {
        let value = json!({ "leader": 2, "replicas": [1, 2], "addresses": ["a:1"] });
        assert_eq!(words(&value), "addresses a:1, leader 2, replicas 1 2");
    }
}
