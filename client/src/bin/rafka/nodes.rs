//! `rafka nodes`: the mesh as one node knows it, or what Kafka's metadata tells when that node's HTTP port is closed.

use crate::error::CliError;
use crate::output::{self, Cell, Look, Table};
use crate::settings::Settings;
use rafka::http::{self, Nodes};
use rafka::kafka;
use rdkafka::consumer::Consumer;
use serde_json::{Value, json};

/// Asks and prints.
pub(crate) fn run(settings: &Settings) -> Result<(), CliError> {
    let mesh = settings.mesh();
    match http::get(&mesh, "/v1/nodes") {
        Ok(answer) if settings.json => output::json(&answer),
        Ok(answer) => print_nodes(settings, &http::typed(&mesh, &answer)?),
        Err(error) => from_metadata(settings, &error.into()),
    }
}

fn print_nodes(settings: &Settings, nodes: &Nodes) -> Result<(), CliError> {
    let mut table =
        Table::new(&["NODE", "STATE", "KAFKA", "MESH", "HTTP", "LEADS", "REPLICAS", "BOOT", "HEARS", "PEER"]);
    for node in &nodes.nodes {
        table.row(vec![
            node.node_id.into(),
            if node.up { Cell::new(Look::Good, "up") } else { Cell::new(Look::Bad, "down") },
            node.kafka.as_str().into(),
            node.mesh.as_str().into(),
            node.http.as_str().into(),
            node.leads.into(),
            node.replicas.into(),
            node.boot.into(),
            output::ids(&node.hears).into(),
            Cell::new(Look::Dim, node.peer_id.clone()),
        ]);
    }
    table.print(settings.paint)?;
    output::note(&format!("cluster {}, as node {} sees it", nodes.cluster_id, nodes.node_id));
    Ok(())
}

/// Kafka's metadata knows addresses and partitions, but neither the mesh's addresses nor who hears whom.
fn from_metadata(settings: &Settings, http_error: &CliError) -> Result<(), CliError> {
    let mesh = settings.mesh();
    let observer = kafka::observer(&mesh)?;
    let metadata = kafka::metadata(&mesh, &observer, None)
        .map_err(CliError::from)
        .map_err(|error| CliError::Unreachable(format!("{error}\nOver HTTP neither: {http_error}")))?;
    let why = http_error.to_string();
    output::note(&format!(
        "{}\nShown instead: Kafka metadata from {}, which lists the nodes that its sender holds for alive.",
        why.lines().next().unwrap_or_default(),
        settings.bootstrap
    ));
    let partitions = || metadata.topics().iter().flat_map(|topic| topic.partitions());
    let mut table = Table::new(&["NODE", "KAFKA", "LEADS", "REPLICAS"]);
    let mut objects: Vec<Value> = Vec::new();
    let mut brokers: Vec<_> = metadata.brokers().iter().collect();
    brokers.sort_by_key(|broker| broker.id());
    for broker in brokers {
        let address = format!("{}:{}", broker.host(), broker.port());
        let leads = partitions().filter(|partition| partition.leader() == broker.id()).count();
        let replicas = partitions().filter(|partition| partition.replicas().contains(&broker.id())).count();
        objects
            .push(json!({ "node_id": broker.id(), "kafka": address, "leads": leads, "replicas": replicas }));
        table.row(vec![broker.id().into(), address.into(), leads.into(), replicas.into()]);
    }
    if settings.json {
        let cluster_id = observer.client().fetch_cluster_id(settings.wait());
        let node_id = metadata.orig_broker_id();
        return output::json(
            &json!({ "cluster_id": cluster_id, "node_id": node_id, "nodes": objects, "source": "kafka" }),
        );
    }
    table.print(settings.paint)
}
