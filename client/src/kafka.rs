//! librdkafka, tuned for a mesh whose leaders move within a second or two.

use crate::clock;
use crate::error::CliError;
use crate::output;
use crate::settings::Settings;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time given to each try of a request that is repeated until `--timeout` has passed.
const TRY: Duration = Duration::from_secs(1);
/// With every known address refusing, waiting longer than this helps nobody.
const ALL_DOWN_WAIT: Duration = Duration::from_secs(2);

/// Receives what librdkafka has to say. It is kept for the error message, and shown only with `--verbose`.
pub(crate) struct Listener {
    verbose: bool,
    all_down: AtomicBool,
    last: Mutex<Option<String>>,
}

impl Listener {
    pub(crate) fn new(settings: &Settings) -> Listener {
        Listener { verbose: settings.verbose, all_down: AtomicBool::new(false), last: Mutex::new(None) }
    }

    /// The last trouble heard of, as ` (text)`, or nothing.
    pub(crate) fn trouble(&self) -> String {
        match self.last.lock() {
            Ok(last) => last.as_ref().map_or_else(String::new, |text| format!(" ({text})")),
            Err(_) => String::new(),
        }
    }

    fn heard(&self, text: &str) {
        // "(after 0ms in state CONNECT, 1 identical error(s) suppressed)" tells a user nothing.
        let text = text.split(" (after ").next().unwrap_or(text);
        let text = text.rsplit("]: ").next().unwrap_or(text);
        if let Ok(mut last) = self.last.lock() {
            *last = Some(text.to_owned());
        }
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if self.verbose {
            output::note(&format!("librdkafka {level:?} {facility} {text}"));
        }
        if facility == "FAIL" {
            self.heard(text);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if self.verbose {
            output::note(&format!("librdkafka: {error}: {reason}"));
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.all_down.store(true, Ordering::Relaxed),
            _ => self.heard(reason),
        }
    }
}

impl ConsumerContext for Listener {}

/// A client's configuration: what every client shares, then the command's `defaults`, then what the user set by profile or
/// `--property`, then what the command cannot do without, or was told by a flag of its own (`fixed`).
pub(crate) fn config(settings: &Settings, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
    let mut config = base_config(settings);
    let user = settings.properties.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    for (key, value) in defaults.iter().copied().chain(user).chain(fixed.iter().copied()) {
        config.set(key, value);
    }
    config
}

/// Settings that every client shares: find the new leader quickly, and keep trying.
fn base_config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.bootstrap)
        .set("client.id", "rafka")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        // A frozen leader keeps its connections open: this is how long it may stay silent before another way is tried.
        .set("socket.timeout.ms", "10000")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "500")
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .set_log_level(if settings.verbose { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    config
}

/// A client for metadata and watermarks only: it has no group id, so it cannot fetch and never looks for a coordinator.
pub(crate) fn observer(settings: &Settings) -> Result<BaseConsumer<Listener>, CliError> {
    config(settings, &[], &[])
        .create_with_context(Listener::new(settings))
        .map_err(|error| cannot_start(&error))
}

/// librdkafka refused its own configuration or could not start its threads.
pub(crate) fn cannot_start(error: &KafkaError) -> CliError {
    match error {
        KafkaError::ClientConfig(_, reason, key, value) if !key.is_empty() => CliError::Usage(format!(
            "the property {key}={value} is not taken: {reason}.\nSee --property (-X), and the profile that rafka profiles shows."
        )),
        KafkaError::ClientCreation(reason) => CliError::Usage(format!(
            "cannot start the Kafka client: {reason}.\nCheck --property (-X), and the profile that rafka profiles shows."
        )),
        error => CliError::Failed(format!("cannot start the Kafka client: {error}")),
    }
}

/// No address of `--bootstrap` answered.
pub(crate) fn unreachable(settings: &Settings, trouble: &str) -> CliError {
    CliError::Unreachable(format!(
        "no node answers at {}{trouble}.\nIs it running? Name another with --bootstrap HOST:PORT or RAFKA_BOOTSTRAP; \
         --verbose shows each attempt.",
        settings.bootstrap
    ))
}

/// Metadata of one topic, or of all.
///
/// # Errors
///
/// [`CliError::Unreachable`] when nobody answers within `--timeout`, or sooner when every address refuses.
pub(crate) fn metadata(
    settings: &Settings,
    observer: &BaseConsumer<Listener>,
    topic: Option<&str>,
) -> Result<Metadata, CliError> {
    reach(settings, observer.client(), observer.context(), topic, || drop(observer.poll(Duration::ZERO)))
}

/// As [`metadata`], over any client; `serve` lets that client deliver its events.
pub(crate) fn reach<C: ClientContext>(
    settings: &Settings,
    client: &Client<C>,
    listener: &Listener,
    topic: Option<&str>,
    serve: impl Fn(),
) -> Result<Metadata, CliError> {
    let began = clock::now();
    loop {
        let error = match client.fetch_metadata(topic, TRY.min(settings.wait())) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        for _ in 0..16 {
            serve();
        }
        let refused = listener.all_down.load(Ordering::Relaxed) && began.elapsed() >= ALL_DOWN_WAIT;
        if refused || began.elapsed() >= settings.wait() {
            let trouble = match listener.trouble() {
                trouble if trouble.is_empty() => format!(" ({})", reason(&error)),
                trouble => trouble,
            };
            return Err(unreachable(settings, &trouble));
        }
    }
}

/// Metadata of a topic that must exist and have partitions.
///
/// # Errors
///
/// As [`metadata`], and [`CliError::Failed`] for a topic that does not exist or must not be read.
pub(crate) fn existing_topic(
    settings: &Settings,
    observer: &BaseConsumer<Listener>,
    topic: &str,
) -> Result<Metadata, CliError> {
    check_topic_name(topic)?;
    let began = clock::now();
    loop {
        let metadata = metadata(settings, observer, Some(topic))?;
        let found = metadata.topics().first().filter(|found| !found.partitions().is_empty());
        if found.is_some() {
            return Ok(metadata);
        }
        let code = metadata.topics().first().and_then(|found| found.error()).map(RDKafkaErrorCode::from);
        match code {
            Some(RDKafkaErrorCode::LeaderNotAvailable) if began.elapsed() < settings.wait() => {
                drop(observer.poll(Duration::from_millis(100)));
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) | None => {
                return Err(CliError::Missing(format!(
                    "topic \"{topic}\" does not exist at {}.\nSee what there is: rafka topic list. Create it: rafka topic \
                     create {topic}",
                    settings.bootstrap
                )));
            }
            Some(code) => return Err(CliError::Failed(format!("topic \"{topic}\": {}", describe(code)))),
        }
    }
}

/// Low and high watermark of a partition, the high one exclusive; repeated while its leader is being elected.
pub(crate) fn watermarks<C: ConsumerContext>(
    settings: &Settings,
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), CliError> {
    let began = clock::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, settings.wait().min(TRY * 5)) {
            Ok(watermarks) => return Ok(watermarks),
            Err(_) if began.elapsed() < settings.wait() => {
                drop(consumer.poll(Duration::from_millis(50)));
            }
            Err(error) => {
                return Err(CliError::Failed(format!(
                    "partition {partition} of topic \"{topic}\": its leader does not say its offsets within {} s: {}.\n\
                     rafka topic describe {topic} shows the leader, rafka nodes whether it is up.",
                    settings.timeout,
                    reason(&error)
                )));
            }
        }
    }
}

/// Kafka's rule for topic names, checked here too because librdkafka asks brokers about any name.
pub(crate) fn check_topic_name(name: &str) -> Result<(), CliError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal) {
        return Err(CliError::Usage(format!(
            "\"{name}\" is not a topic name: 1 to 249 of the characters a-z A-Z 0-9 . _ -, and neither . nor .."
        )));
    }
    Ok(())
}

/// The broker's or librdkafka's code in words, without the layers around it.
pub(crate) fn reason(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), describe)
}

/// An error code in words. librdkafka's own codes begin with "Local: ", which means: not said by a broker.
pub(crate) fn describe(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    let words = text.split_once('(').map_or(text.as_str(), |(_, words)| words.trim_end_matches(')'));
    let words = words.trim_start_matches("Broker: ").trim_start_matches("Local: ");
    format!("{words} [{code:?}]")
}

#[cfg(test)]
mod tests {
    use super::{check_topic_name, describe};
    use rdkafka::error::RDKafkaErrorCode;

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for name in ["a", "orders.v1_x-9", &"x".repeat(249)] {
            assert!(check_topic_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "grün", "a/b", &"x".repeat(250)] {
            assert!(check_topic_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn codes_are_told_in_words_and_by_name() {
        let text = describe(RDKafkaErrorCode::InvalidReplicationFactor);
        assert!(
            text.contains("nvalid replication factor") && text.ends_with("[InvalidReplicationFactor]"),
            "{text}"
        );
    }
}
