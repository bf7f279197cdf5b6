//! Topics: created, listed, described and deleted, in the words of whoever uses them.

use crate::clock;
use crate::error::Error;
use crate::http::{self, Partition};
use crate::kafka::{self, Listener, check_topic_name};
use crate::mesh::Mesh;
use rdkafka::admin::{self, AdminClient, AdminOptions, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use std::time::Duration;

/// How long details are waited for over HTTP before Kafka is asked instead.
const HTTP_WAIT: Duration = Duration::from_secs(2);

/// A topic to be created. What is not said is as the nodes have it by default.
///
/// ```
/// let topic = rafka::NewTopic::named("clicks").partitions(6).replicas(3).config("retention.ms", "86400000");
/// assert_eq!(topic.name(), "clicks");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    name: String,
    partitions: Option<i32>,
    replicas: Option<i32>,
    config: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic of that name: 1 to 249 of the characters `a-z A-Z 0-9 . _ -`.
    #[must_use]
    pub fn named(name: impl Into<String>) -> NewTopic {
        NewTopic { name: name.into(), partitions: None, replicas: None, config: Vec::new() }
    }

    /// How many partitions, at least 1. More of them spread the load; their number can grow later, but keys then move to other
    /// partitions.
    #[must_use]
    pub fn partitions(mut self, count: i32) -> NewTopic {
        self.partitions = Some(count);
        self
    }

    /// Copies of each partition, from 1 to the number of live nodes. Three survive the loss of one node, five of two.
    #[must_use]
    pub fn replicas(mut self, count: i32) -> NewTopic {
        self.replicas = Some(count);
        self
    }

    /// A topic setting under Kafka's name, such as `retention.ms`.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.config.push((key.into(), value.into()));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A topic with its partitions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, made when it was created; empty when only Kafka's metadata told of it.
    pub id: String,
    /// Who told.
    pub source: Source,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// The copies of each partition.
    #[must_use]
    pub fn replication_factor(&self) -> usize {
        self.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
    }
}

/// Who told of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A node's HTTP port, which knows everything.
    Http,
    /// Kafka's metadata, which know neither terms nor log ends.
    Kafka,
}

/// A line in the list of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The topic's name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: usize,
    /// Copies of each partition.
    pub replication_factor: usize,
}

impl Mesh {
    /// Creates a topic and waits until each partition has a leader, so that it can be written to. [`Error::is_known_topic`] tells
    /// that there is one of that name already.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), rafka::Error> {
    /// let mesh = rafka::Mesh::at("127.0.0.1:9092");
    /// let topic = mesh.create_topic(&rafka::NewTopic::named("greetings").partitions(3))?;
    /// assert!(topic.partitions.iter().all(|partition| partition.leader.is_some()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Mesh::request_topic`], and [`Error::Leaderless`] for a topic that is there and cannot be used yet.
    pub fn create_topic(&self, topic: &NewTopic) -> Result<Topic, Error> {
        self.request_topic(topic)?;
        self.await_leaders(&topic.name)
    }

    /// Creates a topic and does not wait for its leaders.
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`], [`Error::KafkaUnreachable`], [`Error::NotCreated`], and [`Error::NoAnswer`] when it may come yet.
    pub fn request_topic(&self, topic: &NewTopic) -> Result<(), Error> {
        check_topic_name(&topic.name)?;
        let observer = kafka::observer(self)?;
        let nodes = kafka::metadata(self, &observer, None)?.brokers().len();
        let (partitions, replicas) = (topic.partitions.unwrap_or(-1), topic.replicas.unwrap_or(-1));
        let mut new = admin::NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in &topic.config {
            new = new.set(key, value);
        }
        let admin = admin_client(self)?;
        let answer = futures::executor::block_on(admin.create_topics([&new], &options(self)));
        let results =
            answer.map_err(|error| no_answer(self, format!("create topic \"{}\"", topic.name), &error))?;
        let refused = results.into_iter().find_map(Result::err);
        refused.map_or(Ok(()), |(topic, code)| Err(Error::NotCreated { topic, code, nodes }))
    }

    /// Waits until each partition of a topic that was just created has a leader.
    ///
    /// # Errors
    ///
    /// [`Error::KafkaUnreachable`], and [`Error::Leaderless`] after [`Mesh::wait`].
    pub fn await_leaders(&self, topic: &str) -> Result<Topic, Error> {
        let observer = kafka::observer(self)?;
        let began = clock::now();
        loop {
            let metadata = kafka::metadata(self, &observer, Some(topic))?;
            let led = metadata.topics().first().is_some_and(|found| {
                !found.partitions().is_empty()
                    && found.partitions().iter().all(|partition| partition.leader() >= 0)
            });
            if led {
                return Ok(from_metadata(topic, &metadata, |_| None));
            }
            if began.elapsed() >= self.wait() {
                return Err(Error::Leaderless { topic: topic.to_owned(), waited: self.wait() });
            }
            drop(observer.poll(Duration::from_millis(50)));
        }
    }

    /// The topics that there are, by name.
    ///
    /// # Errors
    ///
    /// [`Error::KafkaUnreachable`].
    pub fn topics(&self) -> Result<Vec<Summary>, Error> {
        let observer = kafka::observer(self)?;
        let metadata = kafka::metadata(self, &observer, None)?;
        let mut topics: Vec<Summary> = metadata.topics().iter().map(summary).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    /// A topic's partitions: leaders, replicas, offsets. The node at [`Mesh::http_address`] is asked first, as it knows most; if it
    /// does not answer within 2 s, or belongs to another cluster than the Kafka addresses, Kafka's metadata tell. Offsets
    /// of a partition without leader stay unknown then.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), rafka::Error> {
    /// for partition in rafka::Mesh::at("127.0.0.1:9092").describe_topic("orders")?.partitions {
    ///     println!("{}: leader {:?}, in sync {:?}", partition.partition, partition.leader, partition.in_sync);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`kafka::existing_topic`].
    pub fn describe_topic(&self, name: &str) -> Result<Topic, Error> {
        let observer = kafka::observer(self)?;
        let metadata = kafka::existing_topic(self, &observer, name)?;
        if let Some(topic) = over_http(self, &observer, name) {
            return Ok(topic);
        }
        Ok(from_metadata(name, &metadata, |partition| {
            kafka::watermarks(self, &observer, name, partition).ok()
        }))
    }

    /// Gives a topic more partitions, as many as that in all, and waits until they are led. Keys go to other partitions from then on.
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`], [`Error::KafkaUnreachable`], [`Error::NotGrown`], and [`Error::NoAnswer`] when it may happen yet.
    pub fn grow_topic(&self, name: &str, partitions: usize) -> Result<(), Error> {
        check_topic_name(name)?;
        let observer = kafka::observer(self)?;
        kafka::metadata(self, &observer, None)?;
        let admin = admin_client(self)?;
        let more = admin::NewPartitions::new(name, partitions);
        let answer = futures::executor::block_on(admin.create_partitions([&more], &options(self)));
        let results =
            answer.map_err(|error| no_answer(self, format!("give topic \"{name}\" partitions"), &error))?;
        let refused = results.into_iter().find_map(Result::err);
        refused.map_or(Ok(()), |(topic, code)| Err(Error::NotGrown { topic, partitions, code }))
    }

    /// Deletes a topic and all its records.
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`], [`Error::KafkaUnreachable`], [`Error::TopicMissing`], [`Error::NotDeleted`], and
    /// [`Error::NoAnswer`] when it may be deleted yet.
    pub fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let refused = self.delete_topics(&[name])?.into_iter().find_map(|(_, refused)| refused);
        match refused {
            None => Ok(()),
            Some(code) if is_missing(code) => {
                Err(Error::TopicMissing { topic: name.to_owned(), addresses: self.addresses().to_owned() })
            }
            Some(code) => Err(Error::NotDeleted { topic: name.to_owned(), code }),
        }
    }

    /// Deletes several topics with one request; each is deleted or not on its own, and told with the reason why not.
    ///
    /// # Errors
    ///
    /// [`Error::TopicName`] and [`Error::KafkaUnreachable`], with nothing deleted; [`Error::NoAnswer`] when some may be deleted
    /// yet.
    pub fn delete_topics(&self, names: &[&str]) -> Result<Vec<(String, Option<RDKafkaErrorCode>)>, Error> {
        names.iter().try_for_each(|name| check_topic_name(name))?;
        let observer = kafka::observer(self)?;
        kafka::metadata(self, &observer, None)?;
        let admin = admin_client(self)?;
        let answer = futures::executor::block_on(admin.delete_topics(names, &options(self)));
        let results =
            answer.map_err(|error| no_answer(self, format!("delete {}", names.join(", ")), &error))?;
        let told = results.into_iter().map(|result| match result {
            Ok(name) => (name, None),
            Err((name, code)) => (name, Some(code)),
        });
        Ok(told.collect())
    }
}

impl Error {
    /// Whether a topic was not created because there is one of that name.
    #[must_use]
    pub fn is_known_topic(&self) -> bool {
        matches!(self, Error::NotCreated { code: RDKafkaErrorCode::TopicAlreadyExists, .. })
    }
}

/// Whether a code says that there is no such topic.
#[must_use]
pub fn is_missing(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
}

fn summary(topic: &MetadataTopic) -> Summary {
    let copies = topic.partitions().iter().map(|partition| partition.replicas().len());
    Summary {
        name: topic.name().to_owned(),
        partitions: topic.partitions().len(),
        replication_factor: copies.max().unwrap_or(0),
    }
}

/// The node's own answer, when its HTTP port is reachable and it belongs to the cluster that the Kafka addresses reached: a
/// guessed HTTP address may be another mesh's.
fn over_http(mesh: &Mesh, observer: &BaseConsumer<Listener>, topic: &str) -> Option<Topic> {
    let quick = mesh.hurried(HTTP_WAIT);
    let nodes = quick.nodes().ok()?;
    let cluster_id = observer.client().fetch_cluster_id(mesh.wait())?;
    if nodes.cluster_id != cluster_id {
        return None;
    }
    let http::Partitions { topic_id, mut partitions } = quick.partitions(topic).ok()?;
    partitions.sort_by_key(|partition| partition.partition);
    let found = Topic { name: topic.to_owned(), id: topic_id, source: Source::Http, partitions };
    (!found.partitions.is_empty()).then_some(found)
}

/// The same from metadata; `offsets` gives the first offset and the high watermark of a partition with a leader.
fn from_metadata(name: &str, metadata: &Metadata, offsets: impl Fn(i32) -> Option<(i64, i64)>) -> Topic {
    let ids = |ids: &[i32]| ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
    let mut partitions: Vec<Partition> = Vec::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let leader = (partition.leader() >= 0).then(|| i64::from(partition.leader()));
        let offsets = leader.and_then(|_| offsets(partition.id()));
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
    Topic { name: name.to_owned(), id: String::new(), source: Source::Kafka, partitions }
}

fn admin_client(mesh: &Mesh) -> Result<AdminClient<Listener>, Error> {
    kafka::config(mesh, &[], &[])
        .create_with_context(Listener::new(mesh))
        .map_err(|error| kafka::cannot_start(&error))
}

fn options(mesh: &Mesh) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(mesh.wait())).operation_timeout(Some(mesh.wait()))
}

fn no_answer(mesh: &Mesh, what: String, error: &KafkaError) -> Error {
    Error::NoAnswer { addresses: mesh.addresses().to_owned(), what, reason: kafka::reason(error) }
}
