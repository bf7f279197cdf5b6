//! `rafka recover`: a partition whose majority is lost goes on from one survivor, at an operator's word and no other.

use crate::error::CliError;
use crate::nodes::operator;
use crate::output::{self, Table};
use crate::settings::Settings;
use clap::{Args, Subcommand};
use rafka::http::{self, Key};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// How often the partition is looked at until it is led.
const LOOK: Duration = Duration::from_millis(200);
/// Longest list of what was found that is kept with the record, in bytes.
const FOUND_MAX: usize = 1800;

/// The commands under `rafka recover`.
#[derive(Subcommand)]
pub(crate) enum RecoverCommand {
    /// Show what is left of a partition of a topic, and with --confirm let it go on from one survivor
    Partition(PartitionArgs),
    /// The same for a metadata shard; begin with shard 0, which says where the others are
    Shard(ShardArgs),
    /// Show what was recovered: when, by whom, why, and what was found then
    List,
}

const CAUTION: &str = "\
Without --confirm nothing is done. What the nodes that do not answer had acknowledged beyond the survivor's end is lost with --confirm, so bring them
back first if you can, and make sure that those that stay away are down: a majority that goes on among itself cannot be told.

Example, with two of three nodes gone for good:
  rafka recover shard 0 --confirm --why 'nodes 2 and 3 burnt'   # then shards 1 to 15, then what rafka doctor names
  rafka recover partition orders 7";

/// Arguments of `rafka recover partition`.
#[derive(Args, Debug)]
#[command(after_help = CAUTION)]
pub(crate) struct PartitionArgs {
    /// Name of the topic
    topic: String,
    /// Number of the partition
    partition: u32,
    #[command(flatten)]
    how: How,
}

/// Arguments of `rafka recover shard`.
#[derive(Args, Debug)]
#[command(after_help = CAUTION)]
pub(crate) struct ShardArgs {
    /// Number of the metadata shard
    #[arg(value_parser = clap::value_parser!(u8).range(0..16))]
    shard: u8,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
struct How {
    /// Node whose replica goes on, in place of the one with the most complete log
    #[arg(long, value_name = "NODE")]
    from: Option<u32>,
    /// Do it
    #[arg(long, requires = "why")]
    confirm: bool,
    /// Why, for the record that rafka recover list shows
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// What a node tells of a partition (`/v1/replica`).
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
struct Told {
    node_id: i64,
    leader: Option<i64>,
    replicas: Vec<String>,
    leaving: Vec<String>,
    needs_none: Option<String>,
    here: Option<Replica>,
}

#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
struct Replica {
    replica: String,
    standing: String,
    term: u64,
    last_term: Option<u64>,
    last_index: Option<u64>,
    synced_index: Option<u64>,
    commit_index: u64,
    log_end: Option<i64>,
}

impl Replica {
    /// The more complete of two logs has the higher: Raft's own order (5.4.1).
    fn rank(&self) -> (bool, Option<u64>, Option<u64>) {
        (self.standing != "suspect", self.last_term, self.last_index)
    }
}

/// Runs one of the commands.
pub(crate) fn run(settings: &Settings, command: &RecoverCommand) -> Result<(), CliError> {
    match command {
        RecoverCommand::Partition(args) => {
            recover(settings, Key::Partition(&args.topic, args.partition), &args.how)
        }
        RecoverCommand::Shard(args) => recover(settings, Key::Shard(args.shard.into()), &args.how),
        RecoverCommand::List => list(settings),
    }
}

/// What each node tells that answers, with its HTTP address, and the numbers of those that do not answer.
type Answers = (Vec<(Told, String)>, Vec<i64>);

/// What each node tells that answers, and the numbers of those that do not.
fn ask_all(settings: &Settings, path: &str) -> Result<Answers, CliError> {
    let mesh = settings.mesh();
    let (mut told, mut silent) = (Vec::new(), Vec::new());
    for node in mesh.nodes()?.nodes {
        let at = settings.mesh().http(node.http.clone()).timeout(settings.wait().min(Duration::from_secs(3)));
        match http::get(&at, path).map_err(CliError::from).and_then(|answer| Ok(http::typed(&at, &answer)?)) {
            Ok(answer) => told.push((answer, node.http)),
            Err(_) => silent.push(node.node_id),
        }
    }
    Ok((told, silent))
}

fn recover(settings: &Settings, key: Key<'_>, how: &How) -> Result<(), CliError> {
    let path = format!("/v1/replica?key={}", http::encode(&key.to_string()));
    let (told, silent) = ask_all(settings, &path)?;
    if told.is_empty() {
        return Err(CliError::Missing(format!(
            "no node that answers knows {key}.\nrafka nodes shows who is up."
        )));
    }
    if let Some(leader) = leader(&told) {
        return Err(CliError::Failed(format!("{key} is led by node {leader}: nothing is to be recovered.")));
    }
    let (survivor, http) = choose(&told, key, how)?;
    let known = told.iter().find(|(one, _)| one.node_id == survivor.0);
    if let Some(reason) = known.and_then(|(one, _)| one.needs_none.clone()) {
        return Err(CliError::Failed(format!("{reason}.")));
    }
    let found = summary(&told, &silent);
    if !settings.json {
        show(settings, &told, &silent, &survivor)?;
    }
    if !how.confirm {
        return nothing_done(settings, &told, &silent, &survivor);
    }
    let (why, replica) = (how.why.clone().unwrap_or_default(), &survivor.1.replica);
    settings.mesh().http(http.clone()).recover(key, replica, &why, &found, &operator())?;
    await_leader(settings, &http, &path, survivor.0)?;
    if settings.json {
        return output::json(&json!({ "recovered": true, "from": survivor.0, "found": found }));
    }
    output::line(&format!("{key} goes on from node {}; its other replicas are made anew from it", survivor.0))
}

/// Who leads by what was told: of a node that answers, its own word counts.
fn leader(told: &[(Told, String)]) -> Option<i64> {
    let answers = |node: i64| told.iter().any(|(one, _)| one.node_id == node);
    told.iter().find_map(|(one, _)| one.leader.filter(|leader| *leader == one.node_id || !answers(*leader)))
}

fn choose(told: &[(Told, String)], key: Key<'_>, how: &How) -> Result<((i64, Replica), String), CliError> {
    let wanted = |one: &&(Told, String)| how.from.is_none_or(|from| one.0.node_id == i64::from(from));
    let named = |one: &Told, replica: &Replica| {
        one.replicas.iter().chain(&one.leaving).any(|triple| *triple == replica.replica)
    };
    let with = told.iter().filter(wanted).filter_map(|(one, http)| {
        let replica = one.here.clone().filter(|replica| named(one, replica))?;
        Some(((one.node_id, replica), http.clone()))
    });
    with.max_by_key(|((_, replica), _)| replica.rank()).ok_or_else(|| {
        CliError::Failed(match how.from {
            Some(from) => format!("node {from} does not answer or has no replica of {key} that its shard knows."),
            None => format!("no node that answers has a replica of {key} that its shard knows: there is nothing to go on from."),
        })
    })
}

/// What was found, for the record.
fn summary(told: &[(Told, String)], silent: &[i64]) -> String {
    let mut parts: Vec<String> = told
        .iter()
        .filter_map(|(one, _)| {
            let here = one.here.as_ref()?;
            let (index, term) = (here.last_index.unwrap_or(0), here.last_term.unwrap_or(0));
            let synced = here.synced_index.unwrap_or(0);
            let end = here.log_end.unwrap_or(0);
            Some(format!(
                "{} {}: last {index} in term {term}, synced {synced}, committed {}, end {end}",
                here.replica, here.standing, here.commit_index
            ))
        })
        .collect();
    if !silent.is_empty() {
        parts.push(format!("no answer of nodes {silent:?}"));
    }
    let mut text = parts.join("; ");
    while text.len() > FOUND_MAX {
        text.pop();
    }
    text
}

fn show(
    settings: &Settings,
    told: &[(Told, String)],
    silent: &[i64],
    survivor: &(i64, Replica),
) -> Result<(), CliError> {
    let mut table = Table::new(&[
        "NODE",
        "REPLICA",
        "STANDING",
        "TERM",
        "LAST TERM",
        "LAST",
        "SYNCED",
        "COMMITTED",
        "END",
    ]);
    for (one, _) in told {
        let Some(here) = &one.here else { continue };
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        table.row(vec![
            one.node_id.to_string().into(),
            here.replica.as_str().into(),
            here.standing.as_str().into(),
            here.term.into(),
            number(here.last_term).into(),
            number(here.last_index).into(),
            number(here.synced_index).into(),
            here.commit_index.into(),
            here.log_end.map_or_else(|| "-".to_owned(), |end| end.to_string()).into(),
        ]);
    }
    table.print(settings.paint)?;
    let end = survivor.1.log_end.unwrap_or(0);
    output::line(&format!(
        "the most complete log that may be chosen is that of node {}, which ends before offset {end}",
        survivor.0
    ))?;
    if silent.is_empty() {
        return output::line(
            "every node answers; what is lost is what the replicas lost that are not in this table",
        );
    }
    output::line(&format!(
        "what nodes {silent:?}, which do not answer, acknowledged from offset {end} on would be lost"
    ))
}

fn nothing_done(
    settings: &Settings,
    told: &[(Told, String)],
    silent: &[i64],
    survivor: &(i64, Replica),
) -> Result<(), CliError> {
    if settings.json {
        let found = summary(told, silent);
        return output::json(
            &json!({ "recovered": false, "from": survivor.0, "found": found, "silent": silent }),
        );
    }
    output::line("nothing was done; do it with --confirm --why TEXT")
}

fn await_leader(settings: &Settings, http: &str, path: &str, node: i64) -> Result<(), CliError> {
    let mesh = settings.mesh().http(http.to_owned());
    let looks = settings.wait().as_millis() / LOOK.as_millis() + 1;
    for _ in 0..looks {
        let answer: Told = http::typed(&mesh, &http::get(&mesh, path)?)?;
        if answer.leader == Some(node) {
            return Ok(());
        }
        crate::clock::pause(LOOK);
    }
    let text = format!(
        "it is decided, and node {node} does not lead yet.\nIts log says why; rafka recover list has the record."
    );
    Err(CliError::Failed(text))
}

fn list(settings: &Settings) -> Result<(), CliError> {
    let answer = http::get(&settings.mesh(), "/v1/recoveries")?;
    if settings.json {
        return output::json(&answer);
    }
    let all = answer.get("recoveries").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut table = Table::new(&["AT", "PARTITION", "BY", "SURVIVOR", "AS", "WHY"]);
    let text =
        |one: &Value, field: &str| one.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    for one in &all {
        let at = one.get("at_ms").and_then(Value::as_i64).unwrap_or(0);
        let mut row = vec![at.to_string().into()];
        row.extend(["partition", "by", "survivor", "as", "why"].map(|field| text(one, field).into()));
        table.row(row);
    }
    if all.is_empty() {
        return output::line("nothing was ever recovered");
    }
    table.print(settings.paint)
}
