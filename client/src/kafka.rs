//! librdkafka, tuned for a mesh whose leaders move within a second or two.
//!
//! [`Mesh::producer`] and [`Mesh::reader`](crate::Mesh::reader) are enough for most programs. The rest is for those that
//! bring a client of rdkafka of their own: [`config`] is what it is made from, [`Listener`] its context.

use crate::clock;
use crate::error::Error;
use crate::mesh::Mesh;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::FutureProducer;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time given to each try of a request that is repeated until [`Mesh::wait`] has passed.
const TRY: Duration = Duration::from_secs(1);
/// With every known address refusing, waiting longer than this helps nobody.
const ALL_DOWN_WAIT: Duration = Duration::from_secs(2);

/// What a producer may be told otherwise by [`Mesh::property`]: the partitioner of Java's clients, so that a key has the same
/// partition whoever writes it (murmur2 of the key; records without key are spread, a batch at a time), batches of up to
/// 1 MB that wait 5 ms for company, 8 s for an answer, and 120 s until a record that nobody acknowledged is given up.
pub const PRODUCER_DEFAULTS: [(&str, &str); 5] = [
    PARTITIONER,
    ("linger.ms", "5"),
    ("batch.size", "1000000"),
    ("request.timeout.ms", "8000"),
    ("delivery.timeout.ms", "120000"),
];

/// The partitioner of Java's clients.
const PARTITIONER: (&str, &str) = ("partitioner", "murmur2_random");

/// The context of each client made here: keeps the last trouble that librdkafka heard of, for error texts.
pub struct Listener {
    log: Option<fn(&str)>,
    all_down: AtomicBool,
    last: Mutex<Option<String>>,
}

impl Listener {
    /// One that has heard nothing yet, and logs to where the mesh says.
    #[must_use]
    pub fn new(mesh: &Mesh) -> Listener {
        Listener { log: mesh.log(), all_down: AtomicBool::new(false), last: Mutex::new(None) }
    }

    /// The last trouble heard of, such as `10.0.0.1:9092/1: Connection refused`.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.last.lock().ok().and_then(|last| last.clone())
    }

    fn heard(&self, text: &str) {
        // "(after 0ms in state CONNECT, 1 identical error(s) suppressed)" tells a user nothing.
        let text = text.split(" (after ").next().unwrap_or(text);
        let text = text.rsplit("]: ").next().unwrap_or(text);
        if let Ok(mut last) = self.last.lock() {
            *last = Some(text.to_owned());
        }
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if let Some(log) = self.log {
            log(&text());
        }
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.tell(|| format!("librdkafka {level:?} {facility} {text}"));
        if facility == "FAIL" {
            self.heard(text);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.tell(|| format!("librdkafka: {error}: {reason}"));
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.all_down.store(true, Ordering::Relaxed),
            _ => self.heard(reason),
        }
    }
}

impl ConsumerContext for Listener {}

/// A client's configuration: what every client shares, then `defaults`, then what [`Mesh::property`] set, then `fixed`. Of one
/// property the last counts.
#[must_use]
pub fn config(mesh: &Mesh, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
    let mut config = base_config(mesh);
    for (key, value) in defaults.iter().copied().chain(mesh.properties()).chain(fixed.iter().copied()) {
        config.set(key, value);
    }
    config
}

/// Settings that every client shares: find the new leader quickly, and keep trying.
fn base_config(mesh: &Mesh) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", mesh.addresses())
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
        .set_log_level(if mesh.log().is_some() { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    config
}

/// A client for metadata and watermarks only: it has no group id, so it cannot fetch and never looks for a coordinator.
///
/// # Errors
///
/// As [`cannot_start`].
pub fn observer(mesh: &Mesh) -> Result<BaseConsumer<Listener>, Error> {
    config(mesh, &[], &[]).create_with_context(Listener::new(mesh)).map_err(|error| cannot_start(&error))
}

/// A client that reads what it is assigned by hand; [`Mesh::reader`](crate::Mesh::reader) assigns as well.
///
/// librdkafka hands records only to a consumer with a group id, and one that has it looks for the group's coordinator
/// now and then, whether it needs one or not. No group is joined and nothing is committed: the assignment and each
/// position are given by hand, so that reading works whatever the coordinator request is answered.
///
/// # Errors
///
/// As [`cannot_start`].
pub fn consumer(mesh: &Mesh) -> Result<BaseConsumer<Listener>, Error> {
    let defaults = [
        ("group.id", "rafka-consume"),
        ("check.crcs", "true"),
        ("fetch.wait.max.ms", "200"),
        ("fetch.error.backoff.ms", "50"),
        // librdkafka stops fetching for this long, by default a second, whenever its queue is full.
        ("fetch.queue.backoff.ms", "5"),
        ("queued.max.messages.kbytes", "32768"),
    ];
    let fixed = [
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "error"),
        // Whoever reads may pause for as long as it likes.
        ("max.poll.interval.ms", "86400000"),
    ];
    config(mesh, &defaults, &fixed)
        .create_with_context(Listener::new(mesh))
        .map_err(|error| cannot_start(&error))
}

impl Mesh {
    /// A producer whose records are acknowledged only once they cannot get lost (`acks=all`), and are written once however
    /// often they are sent again (`enable.idempotence`). The rest is [`PRODUCER_DEFAULTS`], which [`Mesh::property`] may change.
    ///
    /// One for the whole program will do: it can be shared, keeps connections and batches records. Its `send` is a future
    /// that needs tokio; it answers `(KafkaError, OwnedMessage)` for a record without acknowledgement, which [`Error`]
    /// is made from, and which tells whether the record may be written all the same. A dropped future does not take the
    /// record back.
    ///
    /// ```no_run
    /// use rafka::rdkafka::producer::FutureRecord;
    /// use rafka::rdkafka::util::Timeout;
    ///
    /// # async fn write() -> Result<(), rafka::Error> {
    /// let producer = rafka::Mesh::at("127.0.0.1:9092").producer()?;
    /// let record = FutureRecord::to("greetings").key("ada").payload("hello, mesh");
    /// let written = producer.send(record, Timeout::Never).await?;
    /// println!("partition {}, offset {}", written.partition, written.offset);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`cannot_start`]. Whether anybody is at the addresses shows when records are sent.
    pub fn producer(&self) -> Result<FutureProducer<Listener>, Error> {
        config(self, &PRODUCER_DEFAULTS, &[("acks", "all"), ("enable.idempotence", "true")])
            .create_with_context(Listener::new(self))
            .map_err(|error| cannot_start(&error))
    }
}

/// librdkafka refused its own configuration ([`Error::Property`], [`Error::Properties`]) or could not start its threads
/// ([`Error::Client`]).
#[must_use]
pub fn cannot_start(error: &KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, reason, key, value) if !key.is_empty() => {
            Error::Property { key: key.clone(), value: value.clone(), reason: reason.clone() }
        }
        KafkaError::ClientCreation(reason) => Error::Properties { reason: reason.clone() },
        error => Error::Client(error.clone()),
    }
}

/// Metadata of one topic, or of all.
///
/// # Errors
///
/// [`Error::KafkaUnreachable`] when nobody answers within [`Mesh::wait`], or sooner when every address refuses.
pub fn metadata(
    mesh: &Mesh,
    observer: &BaseConsumer<Listener>,
    topic: Option<&str>,
) -> Result<Metadata, Error> {
    reach(mesh, observer.client(), observer.context(), topic, || drop(observer.poll(Duration::ZERO)))
}

/// As [`metadata`], over any client; `serve` lets that client deliver its events.
///
/// # Errors
///
/// As [`metadata`].
pub fn reach<C: ClientContext>(
    mesh: &Mesh,
    client: &Client<C>,
    listener: &Listener,
    topic: Option<&str>,
    serve: impl Fn(),
) -> Result<Metadata, Error> {
    let began = clock::now();
    loop {
        let error = match client.fetch_metadata(topic, TRY.min(mesh.wait())) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        for _ in 0..16 {
            serve();
        }
        let refused = listener.all_down.load(Ordering::Relaxed) && began.elapsed() >= ALL_DOWN_WAIT;
        if refused || began.elapsed() >= mesh.wait() {
            let reason = listener.trouble().unwrap_or_else(|| reason(&error));
            return Err(Error::KafkaUnreachable { addresses: mesh.addresses().to_owned(), reason });
        }
    }
}

/// Metadata of a topic that must exist and have partitions.
///
/// # Errors
///
/// As [`metadata`], [`Error::TopicName`], [`Error::TopicMissing`], and [`Error::TopicRefused`] for a topic that must not be
/// read, or has no leader within [`Mesh::wait`].
pub fn existing_topic(
    mesh: &Mesh,
    observer: &BaseConsumer<Listener>,
    topic: &str,
) -> Result<Metadata, Error> {
    check_topic_name(topic)?;
    let began = clock::now();
    loop {
        let metadata = metadata(mesh, observer, Some(topic))?;
        let found = metadata.topics().first().filter(|found| !found.partitions().is_empty());
        if found.is_some() {
            return Ok(metadata);
        }
        let code = metadata.topics().first().and_then(|found| found.error()).map(RDKafkaErrorCode::from);
        match code {
            Some(RDKafkaErrorCode::LeaderNotAvailable) if began.elapsed() < mesh.wait() => {
                drop(observer.poll(Duration::from_millis(100)));
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) | None => {
                return Err(Error::TopicMissing {
                    topic: topic.to_owned(),
                    addresses: mesh.addresses().to_owned(),
                });
            }
            Some(code) => return Err(Error::TopicRefused { topic: topic.to_owned(), code }),
        }
    }
}

/// The first offset that a partition keeps and the first that consumers cannot read yet (the high watermark), asked again while
/// its leader is being elected.
///
/// # Errors
///
/// [`Error::Offsets`] when its leader does not answer within [`Mesh::wait`].
pub fn watermarks<C: ConsumerContext>(
    mesh: &Mesh,
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), Error> {
    let began = clock::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, mesh.wait().min(TRY * 5)) {
            Ok(watermarks) => return Ok(watermarks),
            Err(_) if began.elapsed() < mesh.wait() => {
                drop(consumer.poll(Duration::from_millis(50)));
                // What librdkafka took down while there was no leader it keeps for good otherwise.
                drop(consumer.fetch_metadata(Some(topic), TRY));
            }
            Err(error) => {
                return Err(Error::Offsets {
                    topic: topic.to_owned(),
                    partition,
                    waited: mesh.wait(),
                    reason: reason(&error),
                });
            }
        }
    }
}

/// Kafka's rule for topic names, checked here too because librdkafka asks brokers about any name.
///
/// # Errors
///
/// [`Error::TopicName`].
pub fn check_topic_name(name: &str) -> Result<(), Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal) {
        return Err(Error::TopicName { name: name.to_owned() });
    }
    Ok(())
}

/// Whether this error of a producer says that the record is not in the topic and will not be. After any other, a timeout
/// above all, it may be.
#[must_use]
pub fn never_written(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::MessageBatchTooLarge
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::InvalidArgument
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnsupportedCompressionType
                | RDKafkaErrorCode::UnsupportedFeature
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::QueueFull
        )
    )
}

/// The broker's or librdkafka's code in words, without the layers around it.
#[must_use]
pub fn reason(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), describe)
}

/// An error code in words. librdkafka's own codes begin with "Local: ", which means: not said by a broker.
#[must_use]
pub fn describe(code: RDKafkaErrorCode) -> String {
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
