//! `rafka config`: what is set for topics and nodes.

use crate::error::CliError;
use crate::nodes::operator;
use crate::output::{self, Cell, Look, Table};
use crate::settings::Settings;
use clap::{Args, Subcommand};
use rafka::configs::{Config, Edit, Resource};
use serde_json::{Value, json};

/// The commands under `rafka config`.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the configs of a topic, of a node, or of all nodes, and where each is set
    Get(GetArgs),
    /// Set configs; in force on all nodes within moments, without a restart
    Set(SetArgs),
    /// Take configs back: what is set farther away is in force again, or the default
    Unset(UnsetArgs),
}

/// Arguments of `rafka config get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka config get topic/orders
  rafka config get topic/orders retention.ms max.message.bytes
  rafka config get broker/1 --json
  rafka config get cluster --explain

SET BY says where the value comes from, the nearest first: the topic, the node, the cluster (all nodes), a flag of the node, or the
default. Without --all a topic's and a node's configs that nobody set are left out, unless they are named.")]
pub(crate) struct GetArgs {
    /// topic/NAME, broker/NUMBER or cluster
    #[arg(value_name = "RESOURCE")]
    resource: Resource,
    /// Only these
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Also those that nobody set
    #[arg(long, short)]
    all: bool,
    /// Say what each means
    #[arg(long, short)]
    explain: bool,
}

/// Arguments of `rafka config set`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka config set topic/orders retention.ms=86400000 min.insync.replicas=2
  rafka config set topic/logs compression.type=zstd --dry-run
  rafka config set cluster log.retention.ms=604800000
  rafka config set broker/2 message.max.bytes=2097152

All of them are set or none. For nodes the keys have Kafka's names for nodes: log.retention.ms, not retention.ms.
docs/configuration.md has all keys and what they may be.")]
pub(crate) struct SetArgs {
    /// topic/NAME, broker/NUMBER or cluster
    #[arg(value_name = "RESOURCE")]
    resource: Resource,
    /// What to set
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = crate::topic::parse_config)]
    configs: Vec<(String, String)>,
    /// Only check
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `rafka config unset`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  rafka config unset topic/orders retention.ms

A config that is not set is as good as taken back.")]
pub(crate) struct UnsetArgs {
    /// topic/NAME, broker/NUMBER or cluster
    #[arg(value_name = "RESOURCE")]
    resource: Resource,
    /// What to take back
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// Only check
    #[arg(long)]
    dry_run: bool,
}

/// Runs one of the commands.
pub(crate) fn run(settings: &Settings, command: &ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Get(args) => show(settings, args),
        ConfigCommand::Set(args) => {
            let edit = |(key, value): &(String, String)| Edit::Set(key.clone(), value.clone());
            let edits: Vec<Edit> = args.configs.iter().map(edit).collect();
            alter(settings, &args.resource, &edits, args.dry_run)
        }
        ConfigCommand::Unset(args) => {
            let edits: Vec<Edit> = args.keys.iter().cloned().map(Edit::Unset).collect();
            alter(settings, &args.resource, &edits, args.dry_run)
        }
    }
}

fn alter(settings: &Settings, resource: &Resource, edits: &[Edit], dry_run: bool) -> Result<(), CliError> {
    settings
        .mesh()
        .alter_configs(resource, edits, dry_run, &operator())
        .map_err(|error| refused(error, resource))?;
    if settings.json {
        return output::json(&json!({ "resource": resource.to_string(), "altered": !dry_run }));
    }
    let done = if dry_run { "may be altered so" } else { "is altered" };
    output::line(&format!("{resource} {done}: {} config(s)", edits.len()))
}

fn show(settings: &Settings, args: &GetArgs) -> Result<(), CliError> {
    let configs = settings.mesh().configs(&args.resource).map_err(|error| refused(error, &args.resource))?;
    if let Some(unknown) = args.keys.iter().find(|key| configs.iter().all(|config| config.name != **key)) {
        let what = match args.resource {
            Resource::Cluster => "is not set for the cluster",
            _ => "is no config of it",
        };
        return Err(CliError::Missing(format!(
            "{unknown} {what}.\nSee what there is: rafka config get {} --all",
            args.resource
        )));
    }
    let wanted = |config: &&Config| match args.keys.is_empty() {
        true => args.all || config.source != "default",
        false => args.keys.contains(&config.name),
    };
    let shown: Vec<&Config> = configs.iter().filter(wanted).collect();
    if settings.json {
        let objects = shown.iter().map(|config| as_json(config)).collect();
        return output::json(&Value::Array(objects));
    }
    print(settings, args, &shown)
}

fn print(settings: &Settings, args: &GetArgs, shown: &[&Config]) -> Result<(), CliError> {
    let heading = ["KEY", "VALUE", "SET BY", "MEANING"];
    let mut table = Table::new(if args.explain { &heading } else { &heading[..3] });
    for config in shown {
        let look = if config.source == "default" { Look::Dim } else { Look::Plain };
        let mut row: Vec<Cell> = vec![
            config.name.as_str().into(),
            output::or_dash(config.value.as_ref()).into(),
            Cell::new(look, config.source.clone()),
        ];
        if args.explain {
            row.push(config.documentation.as_str().into());
        }
        table.row(row);
    }
    table.print(settings.paint)?;
    if shown.is_empty() {
        output::note(&format!("nothing is set for {}", args.resource));
    }
    Ok(())
}

fn as_json(config: &Config) -> Value {
    json!({
        "name": config.name, "value": config.value, "set_by": config.source, "read_only": config.read_only,
        "meaning": config.documentation
    })
}

/// A node's refusal, by what it is.
fn refused(error: rafka::Error, resource: &Resource) -> CliError {
    match &error {
        rafka::Error::HttpRefused { status, said, .. } if status.starts_with("404") => {
            let list =
                if matches!(resource, Resource::Topic(_)) { "rafka topic list" } else { "rafka nodes" };
            CliError::Missing(format!("{resource}: {said}\nSee what there is: {list}"))
        }
        rafka::Error::HttpRefused { said, .. } => CliError::Failed(format!("{resource}: {said}")),
        _ => error.into(),
    }
}
