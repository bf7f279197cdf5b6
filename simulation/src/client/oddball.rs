//! A client that asks for what is not there and for what makes no sense, and knows which of Kafka's errors it must get.
//!
//! A mesh in trouble may always say that it cannot tell yet (`not_now`); beyond that only the error that Kafka users know
//! is right, and success is wrong unless the question has an answer.

use node::core::error::ErrorCode;
use node::core::metadata::METADATA_TOPIC;
use node::core::request::{
    ConfigResource, CreateTopic, EpochPartition, FetchPartition, ListOffsetsPartition, MetadataTopics,
    Request, RequestId, Response, TopicId, TopicRef,
};

use super::{Actor, Port, Topics};
use crate::checks::Violation;
use crate::queue::{Micros, SECOND};

const NAME: &str = "odd requests get Kafka's errors";

/// The topic that this client creates and deletes, by name and without waiting.
const ODD: &str = "odd";

/// A topic of this name is only ever validated.
const NEVER: &str = "never";

/// A question, its name for people, and what may be answered.
struct Question {
    text: &'static str,
    request: Request,
    right: &'static [ErrorCode],
}

fn question(text: &'static str, right: &'static [ErrorCode], request: Request) -> Question {
    Question { text, request, right }
}

/// The client.
pub(crate) struct Oddball {
    topics: Topics,
    asked: Option<(RequestId, &'static str, &'static [ErrorCode])>,
    interval: Micros,
    next: Micros,
    finishing: bool,
}

impl Oddball {
    /// A client that asks about every `interval` from `start` on.
    pub(crate) fn new(interval: Micros, start: Micros) -> Self {
        let mut topics = Topics::default();
        topics.doubt();
        Self { topics, asked: None, interval, next: start, finishing: false }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.asked.is_none() && !self.finishing && port.now >= self.next {
            self.next = port.now + port.random.within(self.interval / 2, self.interval * 3 / 2);
            self.ask(port);
        }
        self.topics.refresh(port);
    }

    fn ask(&mut self, port: &mut Port<'_>) {
        let known = self.topics.partitions();
        let key = (!known.is_empty()).then(|| port.random.pick(&known).clone());
        let leader = key.as_ref().and_then(|(name, partition)| self.topics.leader(name, *partition));
        let Question { text, request, right } = match (port.random.below(4), key) {
            (0, _) => self.create(port),
            (1, _) => delete(port),
            (2, Some((name, partition))) => offsets(port, &TopicRef::Name(name), partition),
            (3, Some((name, partition))) => fetch(port, TopicRef::Name(name), partition),
            _ => nothing(port),
        };
        if port.random.percent(10) {
            self.topics.doubt();
        }
        let host = leader.filter(|_| port.random.percent(90)).unwrap_or_else(|| port.any_host());
        self.asked = Some((port.ask(host, request, 4 * SECOND), text, right));
    }

    fn create(&self, port: &mut Port<'_>) -> Question {
        use ErrorCode::{
            InvalidConfig, InvalidPartitions, InvalidReplicaAssignment, InvalidReplicationFactor,
            InvalidTopic, None, TopicAlreadyExists,
        };
        let mut topic = CreateTopic {
            name: NEVER.to_owned(),
            partitions: 1,
            replication_factor: 1,
            assignment: Vec::new(),
            configs: Vec::new(),
        };
        let mut validate_only = port.random.percent(50);
        let (text, right): (_, &[ErrorCode]) = match port.random.below(9) {
            0 => {
                topic.replication_factor = *port.random.pick(&[0, -2, 12, i16::MAX]);
                ("a replication factor that cannot be", &[InvalidReplicationFactor])
            }
            1 => {
                topic.partitions = *port.random.pick(&[0, -2, 10_001, i32::MAX]);
                ("a number of partitions that cannot be", &[InvalidPartitions])
            }
            2 => {
                let long = "x".repeat(250);
                let names = ["", ".", "..", "a/b", "a b", "__consumer_offsets", &long];
                topic.name = (*port.random.pick(&names)).to_owned();
                ("a name that cannot be", &[InvalidTopic])
            }
            3 => {
                let unknown = ("retention.weeks".to_owned(), Some("1".to_owned()));
                let wrong = ("retention.ms".to_owned(), Some("a while".to_owned()));
                topic.configs.push(port.random.pick(&[unknown, wrong]).clone());
                ("a config that cannot be", &[InvalidConfig])
            }
            4 => {
                (topic.partitions, topic.replication_factor) = (-1, -1);
                topic.assignment.push((0, vec![1, 77]));
                ("replicas on a node that nobody knows", &[InvalidReplicaAssignment])
            }
            5 if self.topics.knows(STABLE_FIRST) => {
                topic.name = STABLE_FIRST.to_owned();
                // Nothing is asked of the shard for a dry run: a node that just came back may not know the topic yet.
                let right: &[ErrorCode] =
                    if validate_only { &[TopicAlreadyExists, None] } else { &[TopicAlreadyExists] };
                ("a topic that exists", right)
            }
            6 | 7 => {
                (topic.name, validate_only) = (ODD.to_owned(), false);
                (topic.partitions, topic.replication_factor) = (-1, -1);
                ("an odd topic", &[None, TopicAlreadyExists, InvalidReplicationFactor])
            }
            _ => {
                validate_only = true;
                // A node that is to be emptied and hears nobody else knows no place for it (seed 17953094140509).
                ("to validate a topic", &[None, InvalidReplicationFactor])
            }
        };
        let timeout_ms = *port.random.pick(&[0, 100, 3_000]);
        question(text, right, Request::CreateTopics { topics: vec![topic], validate_only, timeout_ms })
    }

    fn judge(&mut self, port: &mut Port<'_>, response: &Response) {
        let Some((call, text, right)) = self.asked.take() else { return };
        let errors = errors(response);
        let wrong = errors.iter().find(|error| !right.contains(error) && !not_now(**error));
        if let Some(wrong) = wrong {
            let what =
                format!("request {} for {text} is answered with {wrong:?}, right is {right:?}", call.0);
            port.complaint = Some(Violation { check: NAME, what });
        }
    }
}

/// A topic that is never deleted.
const STABLE_FIRST: &str = "stable-0";

fn anything(port: &mut Port<'_>) -> TopicId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&port.random.next().to_le_bytes());
    id[8..].copy_from_slice(&port.random.next().to_le_bytes());
    TopicId(id)
}

fn delete(port: &mut Port<'_>) -> Question {
    use ErrorCode::{InvalidTopic, None, UnknownTopicId, UnknownTopicOrPartition};
    let name = |name: &str| TopicRef::Name(name.to_owned());
    let (text, right, topic): (_, &[ErrorCode], _) = match port.random.below(4) {
        0 => ("a topic id that nobody has, to delete it", &[UnknownTopicId], TopicRef::Id(anything(port))),
        1 => ("a name that nobody has, to delete it", &[UnknownTopicOrPartition], name(NEVER)),
        2 => ("a name that cannot be, to delete it", &[InvalidTopic, UnknownTopicOrPartition], name("a/b")),
        _ => ("an odd topic, to delete it", &[None, UnknownTopicOrPartition, UnknownTopicId], name(ODD)),
    };
    let timeout_ms = *port.random.pick(&[0, 100, 3_000]);
    question(text, right, Request::DeleteTopics { topics: vec![topic], timeout_ms })
}

/// About a topic that does not exist.
fn nothing(port: &mut Port<'_>) -> Question {
    use ErrorCode::{InvalidRequest, None, UnknownTopicId, UnknownTopicOrPartition};
    let by_name = port.random.percent(50);
    let id = if port.random.percent(30) { METADATA_TOPIC } else { anything(port) };
    let topic = if by_name { TopicRef::Name(NEVER.to_owned()) } else { TopicRef::Id(id) };
    let unknown: &[ErrorCode] = if by_name { &[UnknownTopicOrPartition] } else { &[UnknownTopicId] };
    match port.random.below(7) {
        0 => question("a fetch of nothing", unknown, fetch_of(topic, 0, 0, -1, 1)),
        1 => question("offsets of nothing", unknown, list_of(topic, 0, -1, -1)),
        2 => question("the end of an epoch of nothing", unknown, epoch_of(topic, 0, 0)),
        3 => {
            let resource = ConfigResource::Topic { name: NEVER.to_owned(), keys: Option::None };
            let request = Request::DescribeConfigs { resources: vec![resource] };
            question("the configs of nothing", &[UnknownTopicOrPartition], request)
        }
        4 => {
            let resource = ConfigResource::Broker { name: "77".to_owned(), keys: Option::None };
            let request = Request::DescribeConfigs { resources: vec![resource] };
            question("the configs of another broker", &[InvalidRequest], request)
        }
        5 => {
            let request = Request::InitProducerId { producer_id: 5, producer_epoch: 3 };
            question("a new epoch of a producer that nobody knows", &[None], request)
        }
        _ => {
            let topics = MetadataTopics::Some(vec![topic]);
            question(
                "the metadata of nothing",
                unknown,
                Request::Metadata { topics, allow_auto_create: false },
            )
        }
    }
}

fn fetch(port: &mut Port<'_>, topic: TopicRef, partition: i32) -> Question {
    use ErrorCode::{FencedLeaderEpoch, None, OffsetOutOfRange, UnknownLeaderEpoch, UnknownTopicOrPartition};
    match port.random.below(6) {
        0 => {
            let partition = *port.random.pick(&[-1, 1_000_000, i32::MIN, i32::MAX]);
            let right = &[UnknownTopicOrPartition];
            question("a fetch of a partition that is not there", right, fetch_of(topic, partition, 0, -1, 1))
        }
        1 => {
            let offset = *port.random.pick(&[-1, -5, i64::MIN]);
            let right = &[OffsetOutOfRange, UnknownTopicOrPartition];
            question("a fetch before everything", right, fetch_of(topic, partition, offset, -1, 1))
        }
        2 => {
            // Without an error while leadership could not be confirmed, and then without records.
            let offset = *port.random.pick(&[1 << 40, i64::MAX]);
            let right = &[None, OffsetOutOfRange, UnknownTopicOrPartition];
            question("a fetch beyond everything", right, fetch_of(topic, partition, offset, -1, 1))
        }
        3 => {
            let right = &[None, OffsetOutOfRange, UnknownTopicOrPartition];
            question("a fetch of no bytes", right, fetch_of(topic, partition, 0, -1, 0))
        }
        4 => {
            let right = &[UnknownLeaderEpoch, UnknownTopicOrPartition];
            question("a fetch in a later epoch", right, fetch_of(topic, partition, 0, i32::MAX, 1))
        }
        _ => {
            let right = &[FencedLeaderEpoch, UnknownTopicOrPartition];
            question("a fetch in epoch 0", right, fetch_of(topic, partition, 0, 0, 1))
        }
    }
}

fn offsets(port: &mut Port<'_>, topic: &TopicRef, partition: i32) -> Question {
    use ErrorCode::{None, UnknownLeaderEpoch, UnknownTopicOrPartition, UnsupportedVersion};
    let list = |partition, epoch, timestamp| list_of(topic.clone(), partition, epoch, timestamp);
    let found = &[None, UnknownTopicOrPartition];
    match port.random.below(6) {
        0 => {
            question("offsets of a partition that is not there", &[UnknownTopicOrPartition], list(-1, -1, -1))
        }
        1 => question("offsets at the beginning of time", found, list(partition, -1, 0)),
        2 => question("offsets in the future", found, list(partition, -1, port.wall_ms + 7_200_000)),
        3 => {
            let right = &[UnsupportedVersion, UnknownTopicOrPartition];
            question("offsets at a time that means nothing", right, list(partition, -1, -77))
        }
        4 => {
            let right = &[UnknownLeaderEpoch, UnknownTopicOrPartition];
            question("offsets in a later epoch", right, list(partition, i32::MAX, -1))
        }
        _ => {
            let epoch = *port.random.pick(&[i32::MIN, -1, 0, 1, i32::MAX]);
            question("the end of an epoch", found, epoch_of(topic.clone(), partition, epoch))
        }
    }
}

fn fetch_of(topic: TopicRef, partition: i32, offset: i64, leader_epoch: i32, max_bytes: u32) -> Request {
    let part = FetchPartition { topic, partition, offset, leader_epoch, last_epoch: -1, max_bytes };
    Request::Fetch { max_wait_ms: 50, min_bytes: 0, max_bytes, partitions: vec![part], rack: String::new() }
}

fn list_of(topic: TopicRef, partition: i32, leader_epoch: i32, timestamp: i64) -> Request {
    let part = ListOffsetsPartition { topic, partition, leader_epoch, timestamp };
    Request::ListOffsets { partitions: vec![part] }
}

fn epoch_of(topic: TopicRef, partition: i32, leader_epoch: i32) -> Request {
    let part = EpochPartition { topic, partition, current_leader_epoch: -1, leader_epoch };
    Request::OffsetForLeaderEpoch { partitions: vec![part] }
}

fn errors(response: &Response) -> Vec<ErrorCode> {
    match response {
        Response::Produce { partitions } => partitions.iter().map(|part| part.error).collect(),
        Response::Fetch { partitions } => partitions.iter().map(|part| part.error).collect(),
        Response::ListOffsets { partitions } => partitions.iter().map(|part| part.error).collect(),
        Response::OffsetForLeaderEpoch { partitions } => partitions.iter().map(|part| part.error).collect(),
        Response::InitProducerId { error, .. }
        | Response::RegisterNode { error, .. }
        | Response::Decided { error, .. } => vec![*error],
        Response::Metadata(result) => result.topics.iter().map(|topic| topic.error).collect(),
        Response::CreateTopics { topics } => topics.iter().map(|topic| topic.error).collect(),
        Response::DeleteTopics { topics } => topics.iter().map(|topic| topic.error).collect(),
        Response::DescribeConfigs { resources } => resources.iter().map(|part| part.error).collect(),
        Response::CreatePartitions { topics } => topics.iter().map(|topic| topic.error).collect(),
        Response::DeleteRecords { partitions } => partitions.iter().map(|part| part.error).collect(),
        Response::ElectLeaders { partitions } => partitions.iter().map(|part| part.error).collect(),
        Response::AlterReassignments { partitions } => partitions.iter().map(|part| part.error).collect(),
        Response::ListReassignments { error, .. } => vec![*error],
        Response::Group(answer) => answer.errors(),
        Response::AlterConfigs { resources } => resources.iter().map(|part| part.error).collect(),
        Response::AlterQuotas { entries } => entries.iter().map(|part| part.error).collect(),
        Response::DescribeLogDirs(_) | Response::DescribeQuotas { .. } => Vec::new(),
    }
}

/// Whether an error says nothing about the question.
fn not_now(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::RequestTimedOut
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::NotController
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::KafkaStorageError
    )
}

impl Actor for Oddball {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if self.topics.answered(id, &response) {
            if self.topics.knows(NEVER) {
                let what = format!("topic {NEVER} exists although its creation was only ever validated");
                port.complaint = Some(Violation { check: NAME, what });
            }
        } else if self.asked.as_ref().is_some_and(|(call, ..)| *call == id) {
            self.judge(port, &response);
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        if !self.topics.broken(id) {
            self.asked.take_if(|(call, ..)| *call == id);
        }
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        let next = (self.asked.is_none() && !self.finishing).then_some(self.next);
        [next, self.topics.due()].into_iter().flatten().min()
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn unfinished(&self) -> Option<String> {
        self.asked.as_ref().map(|(id, text, _)| format!("request {} for {text} is not answered", id.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::port;
    use super::*;
    use crate::random::Random;

    fn judged(right: &'static [ErrorCode], error: ErrorCode) -> bool {
        let (mut random, mut next) = (Random::new(1), 0);
        let mut port = port(&mut random, &mut next);
        let mut client = Oddball::new(SECOND, 0);
        client.asked = Some((RequestId(1), "something odd", right));
        let response = Response::InitProducerId { error, producer_id: -1, producer_epoch: -1 };
        client.answered(&mut port, RequestId(1), response);
        port.complaint.is_none()
    }

    #[test]
    fn another_error_than_kafkas_is_a_violation_and_not_now_never_is() {
        assert!(judged(&[ErrorCode::UnknownTopicId], ErrorCode::UnknownTopicId));
        assert!(judged(&[ErrorCode::UnknownTopicId], ErrorCode::RequestTimedOut));
        assert!(!judged(&[ErrorCode::UnknownTopicId], ErrorCode::None));
        assert!(!judged(&[ErrorCode::None], ErrorCode::UnknownServerError));
    }

    #[test]
    fn every_question_can_be_asked() {
        let (mut random, mut next) = (Random::new(1), 0);
        let mut port = port(&mut random, &mut next);
        let mut client = Oddball::new(SECOND, 0);
        for _ in 0..500 {
            client.ask(&mut port);
            let name = TopicRef::Name("t".to_owned());
            for Question { right, .. } in [fetch(&mut port, name.clone(), 0), offsets(&mut port, &name, 0)] {
                assert!(!right.is_empty());
            }
        }
        assert_eq!(port.out.len(), 500);
    }
}
