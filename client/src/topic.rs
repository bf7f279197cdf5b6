//! `rafka topic`: create, list, describe, delete.

use crate::clock;
use crate::error::CliError;
use crate::http::{self, Nodes, Partition, Partitions};
use crate::kafka::{self, Listener};
use crate::output::{self, Cell, Look, Table, Waiting};
use crate::settings::Settings;
use clap::{Args, Subcommand};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{Metadata, MetadataTopic};
use serde_json::{Value, json};
use std::time::Duration;

/// The commands under `rafka topic`.
#[derive(Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic and wait until each partition has a leader
    Create(CreateArgs),
    /// List topics
    List,
    /// Show a topic's partitions: leaders, replicas, offsets
    Describe(DescribeArgs),
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
        TopicCommand::Delete(args) => delete(settings, args),
    }
}

fn create(settings: &Settings, args: &CreateArgs) -> Result<(), CliError> {
    kafka::check_topic_name(&args.name)?;
    let observer = kafka::observer(settings)?;
    let cluster = kafka::metadata(settings, &observer, None)?;
    let replication = TopicReplication::Fixed(args.replication_factor.unwrap_or(-1));
    let mut topic = NewTopic::new(&args.name, args.partitions.unwrap_or(-1), replication);
    for (key, value) in &args.config {
        topic = topic.set(key, value);
    }
    let admin = admin(settings)?;
    let waiting = Waiting::new(settings, format!("creating topic \"{}\"", args.name));
    let answer = futures::executor::block_on(admin.create_topics([&topic], &options(settings)));
    let results =
        answer.map_err(|error| asked(settings, &format!("create topic \"{}\"", args.name), &error))?;
    let exists = |result: &TopicResult| matches!(result, Err((_, RDKafkaErrorCode::TopicAlreadyExists)));
    let existed = args.if_not_exists && results.iter().any(exists);
    for result in results.into_iter().filter(|result| !(args.if_not_exists && exists(result))) {
        created(settings, args, &cluster, result)?;
    }
    waiting.say(format!("waiting for the leaders of topic \"{}\"", args.name));
    let metadata = wait_for_leaders(settings, &observer, &args.name)?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let factor = metadata.topics().first().map_or(0, replication_factor);
    drop(waiting);
    if settings.json {
        return output::json(&json!({
            "topic": args.name, "partitions": partitions, "replication_factor": factor, "created": !existed
        }));
    }
    let name = &args.name;
    let done = if existed { "there is already a" } else { "created" };
    output::line(&format!("{done} topic \"{name}\": {partitions} partition(s), replication factor {factor}"))
}

fn created(
    settings: &Settings,
    args: &CreateArgs,
    cluster: &Metadata,
    result: TopicResult,
) -> Result<(), CliError> {
    let Err((name, code)) = result else { return Ok(()) };
    let nodes = cluster.brokers().len();
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
    Err(match code {
        RDKafkaErrorCode::RequestTimedOut | RDKafkaErrorCode::OperationTimedOut => CliError::Unknown(text),
        _ => CliError::Failed(text),
    })
}

/// A topic that was just created is usable once its leaders are elected.
fn wait_for_leaders(
    settings: &Settings,
    observer: &BaseConsumer<Listener>,
    topic: &str,
) -> Result<Metadata, CliError> {
    let began = clock::now();
    loop {
        let metadata = kafka::metadata(settings, observer, Some(topic))?;
        let led = metadata.topics().first().is_some_and(|found| {
            !found.partitions().is_empty()
                && found.partitions().iter().all(|partition| partition.leader() >= 0)
        });
        if led {
            return Ok(metadata);
        }
        if began.elapsed() >= settings.wait() {
            return Err(CliError::Unknown(format!(
                "topic \"{topic}\" was created, but after {} s not every partition has a leader.\nrafka topic describe \
                 {topic} shows which, rafka nodes who is up.",
                settings.timeout
            )));
        }
        drop(observer.poll(Duration::from_millis(50)));
    }
}

fn list(settings: &Settings) -> Result<(), CliError> {
    let observer = kafka::observer(settings)?;
    let metadata = kafka::metadata(settings, &observer, None)?;
    let mut topics: Vec<&MetadataTopic> = metadata.topics().iter().collect();
    topics.sort_by_key(|topic| topic.name());
    if settings.json {
        let objects = topics.iter().map(|topic| {
            json!({
                "topic": topic.name(), "partitions": topic.partitions().len(),
                "replication_factor": replication_factor(topic)
            })
        });
        return output::json(&Value::Array(objects.collect()));
    }
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICATION FACTOR"]);
    for topic in topics {
        table.row(vec![
            topic.name().into(),
            topic.partitions().len().into(),
            replication_factor(topic).into(),
        ]);
    }
    table.print(settings.paint)
}

fn replication_factor(topic: &MetadataTopic) -> usize {
    topic.partitions().iter().map(|partition| partition.replicas().len()).max().unwrap_or(0)
}

fn describe(settings: &Settings, args: &DescribeArgs) -> Result<(), CliError> {
    let observer = kafka::observer(settings)?;
    let metadata = kafka::existing_topic(settings, &observer, &args.name)?;
    let (details, source) = match over_http(settings, &observer, &args.name) {
        Some(details) => (details, "http"),
        None => (over_kafka(settings, &observer, &args.name, &metadata), "kafka"),
    };
    if settings.json {
        let partitions = details.partitions.iter().map(partition_json);
        return output::json(&json!({
            "topic": args.name, "topic_id": details.topic_id, "source": source,
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

/// The node's own answer, when its HTTP port is reachable and it belongs to the cluster that --bootstrap reached: the
/// default HTTP address may be another mesh's.
fn over_http(settings: &Settings, observer: &BaseConsumer<Listener>, topic: &str) -> Option<Partitions> {
    let quick = Settings { timeout: settings.timeout.min(2), ..settings.clone() };
    let nodes: Nodes = http::typed(&quick, &http::get(&quick, "/v1/nodes").ok()?).ok()?;
    let cluster_id = observer.client().fetch_cluster_id(settings.wait())?;
    if nodes.cluster_id != cluster_id {
        return None;
    }
    let answer = http::get(&quick, &format!("/v1/partitions?topic={}", http::encode(topic))).ok()?;
    let mut details: Partitions = http::typed(&quick, &answer).ok()?;
    details.partitions.sort_by_key(|partition| partition.partition);
    (!details.partitions.is_empty()).then_some(details)
}

/// The same from metadata and a watermark query per partition; offsets of a partition without leader stay unknown.
fn over_kafka(
    settings: &Settings,
    observer: &BaseConsumer<Listener>,
    name: &str,
    metadata: &Metadata,
) -> Partitions {
    let ids = |ids: &[i32]| ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
    let mut partitions: Vec<Partition> = Vec::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let leader = (partition.leader() >= 0).then(|| i64::from(partition.leader()));
        let offsets = leader.and_then(|_| kafka::watermarks(settings, observer, name, partition.id()).ok());
        partitions.push(Partition {
            partition: partition.id(),
            leader,
            term: None,
            replicas: ids(partition.replicas()),
            in_sync: ids(partition.isr()),
            log_start: offsets.map(|(low, _)| low),
            high_watermark: offsets.map(|(_, high)| high),
            log_end: None,
        });
    }
    partitions.sort_by_key(|partition| partition.partition);
    Partitions { topic_id: String::new(), partitions }
}

fn delete(settings: &Settings, args: &DeleteArgs) -> Result<(), CliError> {
    for name in &args.names {
        kafka::check_topic_name(name)?;
    }
    let observer = kafka::observer(settings)?;
    kafka::metadata(settings, &observer, None)?;
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let admin = admin(settings)?;
    let waiting = Waiting::new(settings, format!("deleting {} topic(s)", names.len()));
    let answer = futures::executor::block_on(admin.delete_topics(&names, &options(settings)));
    drop(waiting);
    let results = answer.map_err(|error| asked(settings, &format!("delete {}", names.join(", ")), &error))?;
    let mut failures: Vec<String> = Vec::new();
    let mut missing = 0;
    for result in results {
        let (name, error) = match result {
            Ok(name) => (name, None),
            Err((name, code)) if is_unknown(code) && args.if_exists => {
                if settings.json {
                    output::json(&json!({ "topic": name, "deleted": false }))?;
                }
                continue;
            }
            Err((name, code)) => {
                missing += usize::from(is_unknown(code));
                (name, Some(kafka::describe(code)))
            }
        };
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

fn is_unknown(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
}

fn admin(settings: &Settings) -> Result<AdminClient<Listener>, CliError> {
    kafka::config(settings, &[], &[])
        .create_with_context(Listener::new(settings))
        .map_err(|error| kafka::cannot_start(&error))
}

fn options(settings: &Settings) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(settings.wait())).operation_timeout(Some(settings.wait()))
}

fn asked(settings: &Settings, what: &str, error: &rdkafka::error::KafkaError) -> CliError {
    CliError::Unknown(format!(
        "the mesh at {} did not {what}: {}.\nIt may still happen: see rafka topic list.",
        settings.bootstrap,
        kafka::reason(error)
    ))
}

fn parse_config(text: &str) -> Result<(String, String), String> {
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
