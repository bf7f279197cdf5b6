//! What can go wrong, and what to do about it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedMessage};
use std::time::Duration;

use crate::kafka::{describe, never_written, reason};

/// Why something was not done. The text says what happened, to which topic or node, and on its next line what to do.
///
/// ```
/// let error = rafka::kafka::check_topic_name("no spaces").unwrap_err();
/// assert!(matches!(&error, rafka::Error::TopicName { name } if name == "no spaces"));
/// assert!(error.to_string().contains("1 to 249"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No node answered at the Kafka addresses in time, or all of them refused.
    #[error(
        "no node answers at {addresses} ({reason}).\nIs it running? Name several nodes in Mesh::at, so that one may be down."
    )]
    KafkaUnreachable {
        /// The addresses, as they were given.
        addresses: String,
        /// The last trouble heard of.
        reason: String,
    },
    /// Nobody speaks HTTP at that address.
    #[error(
        "no node answers at http://{address} ({reason}).\nName the HTTP address of a node with Mesh::http."
    )]
    HttpUnreachable {
        /// `HOST:PORT`.
        address: String,
        /// Why.
        reason: String,
    },
    /// Something else than a node of rafka answers at that HTTP address.
    #[error(
        "http://{address} does not answer as a rafka node does ({reason}).\nName the HTTP address of a node with Mesh::http."
    )]
    NotRafka {
        /// `HOST:PORT`.
        address: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A node answered over HTTP that it cannot, or will not.
    #[error("the node at http://{address} answers {status}: {said}")]
    HttpRefused {
        /// `HOST:PORT`.
        address: String,
        /// Code and name of the HTTP status.
        status: String,
        /// What the node says beside.
        said: String,
    },
    /// librdkafka does not take a property.
    #[error("the property {key}={value} is not taken: {reason}.\nCorrect it where Mesh::property sets it.")]
    Property {
        /// Its name.
        key: String,
        /// What it was set to.
        value: String,
        /// Why not.
        reason: String,
    },
    /// librdkafka does not take its properties together.
    #[error("cannot start the Kafka client: {reason}.\nCheck what Mesh::property sets.")]
    Properties {
        /// Why not.
        reason: String,
    },
    /// librdkafka did not start, or did not take an order.
    #[error("cannot start the Kafka client: {0}")]
    Client(KafkaError),
    /// No topic can have that name.
    #[error(
        "\"{name}\" is not a topic name: 1 to 249 of the characters a-z A-Z 0-9 . _ -, and neither . nor .."
    )]
    TopicName {
        /// The name.
        name: String,
    },
    /// There is no such topic.
    #[error("topic \"{topic}\" does not exist at {addresses}.\nMesh::create_topic creates it.")]
    TopicMissing {
        /// Its name.
        topic: String,
        /// Where it was looked for.
        addresses: String,
    },
    /// The topic cannot be used.
    #[error("topic \"{topic}\": {}", describe(*code))]
    TopicRefused {
        /// Its name.
        topic: String,
        /// What the mesh says.
        code: RDKafkaErrorCode,
    },
    /// The topic was not created, or at least not in time when the code says that.
    #[error(
        "topic \"{topic}\" was not created: {}.\nThe mesh has {nodes} node(s): Mesh::describe_topic shows the topic if it is \
         there after all.",
        describe(*code)
    )]
    NotCreated {
        /// Its name.
        topic: String,
        /// What the mesh says.
        code: RDKafkaErrorCode,
        /// The nodes that were alive; a topic cannot have more replicas.
        nodes: usize,
    },
    /// The topic did not get more partitions.
    #[error("topic \"{topic}\" did not get {partitions} partitions: {}.\nMesh::describe_topic shows how many it has.", describe(*code))]
    NotGrown {
        /// Its name.
        topic: String,
        /// How many it was to have.
        partitions: usize,
        /// What the mesh says.
        code: RDKafkaErrorCode,
    },
    /// The topic was not deleted.
    #[error("topic \"{topic}\" was not deleted: {}.\nMesh::topics tells what there is.", describe(*code))]
    NotDeleted {
        /// Its name.
        topic: String,
        /// What the mesh says.
        code: RDKafkaErrorCode,
    },
    /// It may have happened or not: no answer came.
    #[error("the mesh at {addresses} did not {what}: {reason}.\nIt may still happen: see Mesh::topics.")]
    NoAnswer {
        /// Where it was asked.
        addresses: String,
        /// What was asked for.
        what: String,
        /// Why no answer came.
        reason: String,
    },
    /// The topic is there, and some of its partitions have no leader.
    #[error(
        "topic \"{topic}\" was created, but after {} s not every partition has a leader.\nMesh::describe_topic shows which, \
         doctor::examine why.",
        waited.as_secs()
    )]
    Leaderless {
        /// Its name.
        topic: String,
        /// How long leaders were waited for.
        waited: Duration,
    },
    /// The leader of a partition does not say which offsets it holds.
    #[error(
        "partition {partition} of topic \"{topic}\": its leader does not say its offsets within {} s: {reason}.\n\
         Mesh::describe_topic shows the leader, Mesh::nodes whether it is up.",
        waited.as_secs()
    )]
    Offsets {
        /// The topic's name.
        topic: String,
        /// The partition's number, from 0.
        partition: i32,
        /// How long it was asked.
        waited: Duration,
        /// The last answer.
        reason: String,
    },
    /// Reading cannot go on, and trying again would not help.
    #[error("topic \"{topic}\": {reason}: {why}")]
    Reading {
        /// The topic's name.
        topic: String,
        /// What librdkafka says.
        reason: String,
        /// What that means.
        why: &'static str,
    },
    /// Nothing arrives from partitions that hold more.
    #[error(
        "topic \"{topic}\": nothing arrived for {} s from partitions {partitions:?}, which hold more.\nMesh::describe_topic \
         shows their leaders, doctor::examine what is wrong.",
        waited.as_secs()
    )]
    Stalled {
        /// The topic's name.
        topic: String,
        /// Those not read to their end, in order.
        partitions: Vec<i32>,
        /// Since when.
        waited: Duration,
    },
    /// The record is not in the topic and will not be: send another.
    #[error("a record for topic \"{topic}\" was not written: {reason}")]
    NotWritten {
        /// The topic's name.
        topic: String,
        /// What the mesh or librdkafka says.
        reason: String,
    },
    /// The record may be in the topic: no acknowledgement came in time.
    #[error(
        "a record for topic \"{topic}\" is not acknowledged: {reason}.\nIt may be written all the same: read the topic, or \
         send it again if a second one does no harm."
    )]
    Unacknowledged {
        /// The topic's name.
        topic: String,
        /// What the mesh or librdkafka says.
        reason: String,
    },
}

/// What a producer of rdkafka answers for a record that was not acknowledged.
impl From<(KafkaError, OwnedMessage)> for Error {
    fn from((error, record): (KafkaError, OwnedMessage)) -> Error {
        let (topic, reason) = (record.topic().to_owned(), reason(&error));
        match never_written(&error) {
            true => Error::NotWritten { topic, reason },
            false => Error::Unacknowledged { topic, reason },
        }
    }
}
