//! `rafka topic`: create, list, describe, alter, delete.

mod alter;

use crate::error::CliError;
use crate::output::{self, Cell, Look, Table, Waiting};
use crate::settings::Settings;
use clap::{Args, Subcommand};
use rafka::http::Partition;
use rafka::topic::{Source, is_missing};
use rafka::{Error, NewTopic, kafka};
use rdkafka::error::RDKafkaErrorCode;
use serde_json::{Value, json};

/// The commands under `rafka topic`.
#[derive(Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic and wait until each partition has a leader
    Create(CreateArgs),
    /// List topics
    List,
    /// Show a topic's partitions: leaders, replicas, offsets
    Describe(DescribeArgs),
    /// Give a topic more partitions, or another number of replicas
    Alter(alter::AlterArgs),
    /// Delete topics and all their records
    Delete(DeleteArgs),
}

/// Arguments of `rafka topic create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka topic create orders --partitions 6 --replication-factor 3
  rafka topic create clicks --config retention.ms=86400000 --config max.message.bytes=5242880

Three replicas survive the loss of one node, five of two. More partitions spread the load; their number can grow later,
but keys then move to other partitions.")]
pub(crate) struct CreateArgs {
    /// Its name: a-z A-Z 0-9 . _ - and at most 249 of them
    name: String,
    /// Number of partitions; the broker's default if not given
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Copies of each partition, at most as many as there are nodes; the broker's default if not given
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..=32_767))]
    replication_factor: Option<i32>,
    /// A topic setting under Kafka's name; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = parse_config)]
    config: Vec<(String, String)>,
    /// A topic of that name is as good, whatever its partitions and settings are
    #[arg(long)]
    if_not_exists: bool,
}

/// Arguments of `rafka topic describe`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka topic describe orders
  rafka topic describe orders --json

Offsets: LOG START is the first one kept, HIGH WATERMARK the first one that is not yet replicated to a majority, so
consumers read up to it exclusively. TERM and LOG END are known only when a node's HTTP port answers (--http).")]
pub(crate) struct DescribeArgs {
    /// The topic
    name: String,
}

/// Arguments of `rafka topic delete`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  rafka topic delete orders clicks

Each topic is deleted or not on its own; the exit code is 1 if any was not, 4 if that is because none of them exists.")]
pub(crate) struct DeleteArgs {
    /// The topics
    #[arg(required = true)]
    names: Vec<String>,
    /// A topic that does not exist is as good as deleted
    #[arg(long)]
    if_exists: bool,
}

/// Runs one of the commands.
pub(crate) fn run(settings: &Settings, command: &TopicCommand) -> Result<(), CliError> {
    match command {
        TopicCommand::Create(args) => create(settings, args),
        TopicCommand::List => list(settings),
        TopicCommand::Describe(args) => describe(settings, args),
        TopicCommand::Alter(args) => alter::run(settings, args),
        TopicCommand::Delete(args) => delete(settings, args),
    }
}

fn create(settings: &Settings, args: &CreateArgs) -> Result<(), CliError> {
    let mesh = settings.mesh();
    let waiting = Waiting::new(settings, format!("creating topic \"{}\"", args.name));
    let existed = match mesh.request_topic(&new_topic(args)) {
        Err(error) if error.is_known_topic() && args.if_not_exists => true,
        Err(Error::NotCreated { topic, code, nodes }) => {
            drop(waiting);
            return Err(not_created(settings, args, &topic, code, nodes));
        }
        answer => {
            answer?;
            false
        }
    };
    waiting.say(format!("waiting for the leaders of topic \"{}\"", args.name));
    let topic = mesh.await_leaders(&args.name)?;
    drop(waiting);
    let (partitions, factor) = (topic.partitions.len(), topic.replication_factor());
    if settings.json {
        return output::json(&json!({
            "topic": args.name, "partitions": partitions, "replication_factor": factor, "created": !existed
        }));
    }
    let name = &args.name;
    let done = if existed { "there is already a" } else { "created" };
    output::line(&format!("{done} topic \"{name}\": {partitions} partition(s), replication factor {factor}"))
}

fn new_topic(args: &CreateArgs) -> NewTopic {
    let mut topic = NewTopic::named(&args.name);
    if let Some(count) = args.partitions {
        topic = topic.partitions(count);
    }
    if let Some(count) = args.replication_factor {
        topic = topic.replicas(count);
    }
    args.config.iter().fold(topic, |topic, (key, value)| topic.config(key, value))
}

fn not_created(
    settings: &Settings,
    args: &CreateArgs,
    name: &str,
    code: RDKafkaErrorCode,
    nodes: usize,
) -> CliError {
    let advice = match code {
        RDKafkaErrorCode::TopicAlreadyExists => {
            format!("See it: rafka topic describe {name}. To take it as it is: --if-not-exists")
        }
        RDKafkaErrorCode::InvalidReplicationFactor => format!(
            "{} replicas need as many live nodes, and {} knows of {nodes}. Start more nodes or lower --replication-factor.",
            args.replication_factor
                .map_or_else(|| "The default number of".to_owned(), |factor| factor.to_string()),
            settings.bootstrap
        ),
        RDKafkaErrorCode::InvalidConfig => {
            "Check the --config names and values: they are Kafka's topic settings, such as retention.ms."
                .to_owned()
        }
        RDKafkaErrorCode::InvalidPartitions => "Ask for another number of --partitions.".to_owned(),
        RDKafkaErrorCode::RequestTimedOut | RDKafkaErrorCode::OperationTimedOut => {
            format!("It may still come: rafka topic describe {name}")
        }
        _ => "See the node's log.".to_owned(),
    };
    let text = format!("topic \"{name}\" was not created: {}.\n{advice}", kafka::describe(code));
    match code {
        RDKafkaErrorCode::RequestTimedOut | RDKafkaErrorCode::OperationTimedOut => CliError::Unknown(text),
        _ => CliError::Failed(text),
    }
}

fn list(settings: &Settings) -> Result<(), CliError> {
    let topics = settings.mesh().topics()?;
    if settings.json {
        let objects = topics.iter().map(|topic| {
            json!({
                "topic": topic.name, "partitions": topic.partitions, "replication_factor": topic.replication_factor
            })
        });
        return output::json(&Value::Array(objects.collect()));
    }
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICATION FACTOR"]);
    for topic in topics {
        table.row(vec![topic.name.into(), topic.partitions.into(), topic.replication_factor.into()]);
    }
    table.print(settings.paint)
}

fn describe(settings: &Settings, args: &DescribeArgs) -> Result<(), CliError> {
    let details = settings.mesh().describe_topic(&args.name)?;
    if settings.json {
        let partitions = details.partitions.iter().map(partition_json);
        let source = match details.source {
            Source::Http => "http",
            Source::Kafka => "kafka",
        };
        return output::json(&json!({
            "topic": args.name, "topic_id": details.id, "source": source,
            "partitions": partitions.collect::<Vec<_>>()
        }));
    }
    let heading =
        ["PARTITION", "LEADER", "TERM", "REPLICAS", "IN SYNC", "LOG START", "HIGH WATERMARK", "LOG END"];
    let mut table = Table::new(&heading);
    for partition in &details.partitions {
        table.row(vec![
            partition.partition.into(),
            partition.leader.map_or_else(|| Cell::new(Look::Bad, "none"), Cell::from),
            output::or_dash(partition.term).into(),
            output::ids(&partition.replicas).into(),
            in_sync(partition),
            output::or_dash(partition.log_start).into(),
            output::or_dash(partition.high_watermark).into(),
            output::or_dash(partition.log_end).into(),
        ]);
    }
    table.print(settings.paint)
}

/// Those that hold all there is, which should be all of them.
fn in_sync(partition: &Partition) -> Cell {
    let ids = output::ids(&partition.in_sync);
    let behind = partition.in_sync.len() < partition.replicas.len();
    Cell::new(if behind { Look::Warning } else { Look::Plain }, ids)
}

fn partition_json(partition: &Partition) -> Value {
    json!({
        "partition": partition.partition, "leader": partition.leader, "term": partition.term,
        "replicas": partition.replicas, "in_sync": partition.in_sync, "log_start": partition.log_start,
        "high_watermark": partition.high_watermark, "log_end": partition.log_end
    })
}

fn delete(settings: &Settings, args: &DeleteArgs) -> Result<(), CliError> {
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let waiting = Waiting::new(settings, format!("deleting {} topic(s)", names.len()));
    let results = settings.mesh().delete_topics(&names);
    drop(waiting);
    let mut failures: Vec<String> = Vec::new();
    let mut missing = 0;
    for (name, refused) in results? {
        if refused.is_some_and(is_missing) && args.if_exists {
            if settings.json {
                output::json(&json!({ "topic": name, "deleted": false }))?;
            }
            continue;
        }
        missing += usize::from(refused.is_some_and(is_missing));
        let error = refused.map(kafka::describe);
        match error {
            None if settings.json => output::json(&json!({ "topic": name, "deleted": true }))?,
            None => output::line(&format!("deleted topic \"{name}\""))?,
            Some(error) => {
                if settings.json {
                    output::json(&json!({ "topic": name, "deleted": false, "error": error }))?;
                }
                failures.push(format!("topic \"{name}\" was not deleted: {error}"));
            }
        }
    }
    let text = || {
        let advice = if missing > 0 { "\nSee what there is: rafka topic list." } else { "" };
        failures.join("\nrafka: ") + advice
    };
    match failures.len() {
        0 => Ok(()),
        all if all == missing => Err(CliError::Missing(text())),
        _ => Err(CliError::Failed(text())),
    }
}

pub(crate) fn parse_config(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !text.contains('\0') => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(format!("\"{text}\" is not KEY=VALUE, such as retention.ms=86400000")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_config;

    #[test]
    fn a_config_is_a_key_and_a_value() {
        assert_eq!(parse_config("a.b=c=d").unwrap(), ("a.b".to_owned(), "c=d".to_owned()));
        assert_eq!(parse_config("a=").unwrap(), ("a".to_owned(), String::new()));
        assert!(parse_config("=b").is_err());
        assert!(parse_config("a").is_err());
    }
}
