//! `rafka nodes`: the mesh as one node knows it, or what Kafka's metadata tells when that node's HTTP port is closed; and what becomes
//! of a node.

use crate::error::CliError;
use crate::output::{self, Cell, Look, Table, Waiting};
use crate::settings::Settings;
use clap::{Args, Subcommand};
use rafka::Mesh;
use rafka::http::{self, Node, NodeState, Nodes};
use rafka::kafka;
use rdkafka::consumer::Consumer;
use serde_json::{Value, json};
use std::time::Duration;

/// The commands under `rafka nodes`; without one it lists them.
#[derive(Subcommand)]
pub(crate) enum NodesCommand {
    /// Hand over what it leads and give it no new replicas: before a restart or work on the machine
    Drain(NodeArgs),
    /// Move all its replicas to other nodes, so that it can be taken away
    Decommission(DecommissionArgs),
    /// Take it back: it holds replicas and leads again
    Activate(NodeArgs),
    /// Take a node out of the mesh for good that is dead, or decommissioned and empty
    #[command(visible_alias = "forget")]
    Remove(NodeArgs),
}

/// Which node.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// Its number, as in rafka nodes
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2_147_483_647))]
    node: u32,
}

/// Arguments of `rafka nodes decommission`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  rafka nodes decommission 3 --wait && ssh node3 systemctl stop rafka-node && rafka nodes remove 3

Each partition needs as many other nodes as it has replicas; what finds none stays where it is. rafka nodes activate takes it back.")]
pub(crate) struct DecommissionArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Wait until it holds nothing any more
    #[arg(long)]
    wait: bool,
}

/// How long each of the others is waited for when it is asked whom it hears.
const HEARS_WAIT: Duration = Duration::from_millis(500);

/// How often a node that is emptied is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Runs one of the commands.
pub(crate) fn decide(settings: &Settings, command: &NodesCommand) -> Result<(), CliError> {
    let (node, state, done) = match command {
        NodesCommand::Drain(args) => {
            (args.node, NodeState::Draining, "is drained: it hands over what it leads")
        }
        NodesCommand::Decommission(args) => {
            (args.node.node, NodeState::Decommissioning, "is decommissioned: its replicas move away")
        }
        NodesCommand::Activate(args) => (args.node, NodeState::Active, "is active again"),
        NodesCommand::Remove(args) => {
            let held = held(settings, args.node)?;
            if held > 0 {
                return Err(CliError::Failed(format!(
                    "node {} is still to hold {held} replica(s).\nDecommission it first: rafka nodes decommission {0} --wait",
                    args.node
                )));
            }
            (args.node, NodeState::Removed, "is removed for good")
        }
    };
    settings.mesh().set_node_state(node, state, &operator())?;
    if let NodesCommand::Decommission(DecommissionArgs { wait: true, .. }) = command {
        await_empty(settings, node)?;
    }
    if settings.json {
        return output::json(&json!({ "node_id": node, "done": true }));
    }
    output::line(&format!("node {node} {done}"))
}

/// Who decides, for the node's log.
pub(crate) fn operator() -> String {
    let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    of("USER").or_else(|| of("LOGNAME")).unwrap_or_else(|| "rafka".to_owned())
}

fn held(settings: &Settings, node: u32) -> Result<u64, CliError> {
    let nodes = settings.mesh().nodes()?.nodes;
    let found = nodes.into_iter().find(|known| known.node_id == i64::from(node));
    found
        .map(|known| known.replicas)
        .ok_or_else(|| CliError::Missing(format!("there is no node {node}.\nrafka nodes lists them.")))
}

fn await_empty(settings: &Settings, node: u32) -> Result<(), CliError> {
    let waiting = Waiting::new(settings, format!("emptying node {node}"));
    let most = held(settings, node)?;
    loop {
        let left = held(settings, node)?;
        let letting_go =
            settings.mesh().balance()?.moving.iter().any(|one| one.leaving.contains(&i64::from(node)));
        if left == 0 && !letting_go {
            return Ok(());
        }
        waiting.say(format!("emptying node {node}: {left} of {most} replica(s) left"));
        crate::clock::pause(LOOK);
    }
}

/// Asks and prints.
pub(crate) fn run(settings: &Settings) -> Result<(), CliError> {
    let mesh = settings.mesh();
    match http::get(&mesh, "/v1/nodes") {
        Ok(answer) if settings.json => output::json(&answer),
        Ok(answer) => print_nodes(settings, with_hears(&mesh, http::typed(&mesh, &answer)?)),
        Err(error) => from_metadata(settings, &error.into()),
    }
}

/// Whom the others hear, which each says of itself. One that does not answer in time is left out.
fn with_hears(mesh: &Mesh, mut nodes: Nodes) -> Nodes {
    for node in nodes.nodes.iter_mut().filter(|node| node.up && node.node_id != nodes.node_id) {
        let asked = mesh.clone().http(node.http.clone()).timeout(mesh.wait().min(HEARS_WAIT)).nodes();
        let own = asked.ok().and_then(|said| said.nodes.into_iter().find(|own| own.node_id == node.node_id));
        node.hears = own.map(|own| own.hears).unwrap_or_default();
    }
    nodes
}

fn print_nodes(settings: &Settings, nodes: Nodes) -> Result<(), CliError> {
    let mut table =
        Table::new(&["NODE", "STATE", "KAFKA", "MESH", "HTTP", "LEADS", "REPLICAS", "BOOT", "HEARS", "PEER"]);
    for node in &nodes.nodes {
        table.row(vec![
            node.node_id.into(),
            state(node),
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

fn state(node: &Node) -> Cell {
    let decided = match node.state.as_str() {
        "" | "active" => {
            return if node.up { Cell::new(Look::Good, "up") } else { Cell::new(Look::Bad, "down") };
        }
        decided => decided,
    };
    let look = if node.up { Look::Dim } else { Look::Bad };
    Cell::new(look, if node.up { decided.to_owned() } else { format!("down, {decided}") })
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
