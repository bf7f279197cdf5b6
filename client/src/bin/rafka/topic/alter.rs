//! `rafka topic alter`: more partitions, another number of replicas.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::CliError;
use crate::nodes::operator;
use crate::output::{self, Waiting};
use crate::settings::Settings;
use clap::{ArgGroup, Args};
use rafka::topic::Source;
use rafka::{Mesh, kafka};
use serde_json::json;

/// Arguments of `rafka topic alter`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).multiple(true)), after_help = "\
Examples:
  rafka topic alter orders --partitions 12
  rafka topic alter orders --replication-factor 3 --wait

More partitions are there when the command ends; the keys of records written from then on go to other partitions. A topic cannot have fewer.

New replicas get the log at the rate that --rebuild-mib-s of the nodes allows, and count once they have it: --wait waits for that, and rafka
rebalance status shows it. The mesh chooses the nodes; kafka-reassign-partitions.sh of Apache Kafka does what you name, and cancels. The
mesh goes on to move replicas and leaders where they are uneven, wherever they came from: rafka rebalance pause keeps them where you put them.
From one replica to two is refused: with two a partition stops while either is down.")]
pub(crate) struct AlterArgs {
    /// The topic
    name: String,
    /// Number of partitions in all, more than now
    #[arg(long, short, group = "what", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: Option<i32>,
    /// Copies of each partition, at most as many as there are nodes
    #[arg(long, short, group = "what", value_parser = clap::value_parser!(i32).range(1..=15))]
    replication_factor: Option<i32>,
    /// Wait until all replicas have the log and nothing of the topic moves any more
    #[arg(long)]
    wait: bool,
}

/// How often a topic that changes is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(settings: &Settings, args: &AlterArgs) -> Result<(), CliError> {
    let mesh = settings.mesh();
    let now = mesh.describe_topic(&args.name)?;
    let partitions = usize::try_from(args.partitions.unwrap_or(0)).unwrap_or(0);
    let has = now.partitions.len();
    if (1..has).contains(&partitions) {
        return Err(CliError::Failed(format!(
            "topic \"{}\" has {has} partitions and cannot have {partitions}: that would lose records.\nMake another topic with fewer, and copy.",
            args.name
        )));
    }
    if let Some(factor) = args.replication_factor {
        warn(factor);
    }
    if partitions > has {
        let _waiting =
            Waiting::new(settings, format!("giving topic \"{}\" {partitions} partitions", args.name));
        mesh.grow_topic(&args.name, partitions).map_err(|error| grown(&error, args))?;
    }
    if let Some(factor) = args.replication_factor {
        mesh.set_replication_factor(&args.name, factor, &operator())?;
    }
    let done = if args.wait { settled(settings, &mesh, args)? } else { args.replication_factor.is_none() };
    let partitions = partitions.max(has);
    let factor = args.replication_factor.and_then(|factor| usize::try_from(factor).ok());
    let factor = factor.unwrap_or_else(|| now.replication_factor());
    if settings.json {
        return output::json(&json!({
            "topic": args.name, "partitions": partitions, "replication_factor": factor, "done": done
        }));
    }
    let name = &args.name;
    let then = if done { "has" } else { "is going to have" };
    output::line(&format!("topic \"{name}\" {then} {partitions} partition(s), replication factor {factor}"))?;
    if !done {
        output::note("See how far it is: rafka rebalance status --watch");
    }
    Ok(())
}

fn warn(factor: i32) {
    match factor {
        1 => output::note("With 1 replica a partition is gone with its node, and stops while that is down."),
        2 => output::note(
            "With 2 replicas a partition stops while either node is down: 3 survive the loss of one.",
        ),
        _ => {}
    }
}

fn grown(error: &rafka::Error, args: &AlterArgs) -> CliError {
    match error {
        rafka::Error::NotGrown { code, .. } => CliError::Failed(format!(
            "topic \"{}\" did not get its partitions: {}.\nSee it: rafka topic describe {0}",
            args.name,
            kafka::describe(*code)
        )),
        error => CliError::Unknown(error.to_string()),
    }
}

/// Waits until everything is as it shall be. Says whether it is, as far as can be told.
fn settled(settings: &Settings, mesh: &Mesh, args: &AlterArgs) -> Result<bool, CliError> {
    let name = &args.name;
    let waiting = Waiting::new(settings, format!("waiting for the replicas of topic \"{name}\""));
    let prefix = format!("{name}/");
    loop {
        let topic = mesh.describe_topic(name)?;
        if topic.source == Source::Kafka {
            return Err(CliError::Unreachable(
                "the change is under way, but how far it is only the HTTP port of a node tells (--http)"
                    .to_owned(),
            ));
        }
        let moving: BTreeSet<String> = mesh
            .balance()?
            .moving
            .into_iter()
            .map(|one| one.partition)
            .filter(|partition| partition.starts_with(&prefix))
            .collect();
        let whole = topic.partitions.iter().all(|partition| {
            let wanted = args.replication_factor.and_then(|factor| usize::try_from(factor).ok());
            let enough = wanted.is_none_or(|wanted| partition.replicas.len() == wanted);
            enough && partition.in_sync.len() == partition.replicas.len()
        });
        if whole && moving.is_empty() {
            return Ok(true);
        }
        let rebuilds = mesh.rebuilds()?;
        let of_topic = rebuilds.iter().filter(|one| one.partition.starts_with(&prefix));
        let left: u64 = of_topic.map(|one| one.left_bytes).sum();
        waiting.say(format!(
            "waiting for the replicas of topic \"{name}\": {} partition(s) on their way, {} to go",
            moving.len(),
            crate::rebalance::bytes(left)
        ));
        crate::clock::pause(LOOK);
    }
}
