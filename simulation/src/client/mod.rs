//! The workload: clients that behave as the Kafka clients in the wild do, one kind per file.
//!
//! An [`Actor`] is woken, answered, or told that a connection broke; it acts through a [`Port`]. One client request is one
//! operation.

mod admin;
mod asker;
mod auditor;
mod caretaker;
mod consumer;
mod joiner;
mod member;
mod mover;
mod oddball;
mod operator;
mod producer;
mod tuner;

use std::collections::BTreeMap;

use node::core::error::ErrorCode;
use node::core::request::{MetadataResult, MetadataTopics, Request, RequestId, Response, TopicId, TopicRef};

use crate::checks::{Sent, Violation};
use crate::queue::{MS, Micros};
use crate::random::Random;

pub(crate) use admin::Admin;
pub(crate) use auditor::{Auditor, FullRead};
pub(crate) use caretaker::Caretaker;
pub(crate) use consumer::{Consumer, ConsumerProfile};
pub(crate) use joiner::Joiner;
pub(crate) use member::{Member, MemberProfile, share};
pub(crate) use mover::Mover;
pub(crate) use oddball::Oddball;
pub(crate) use operator::Operator;
pub(crate) use producer::{Producer, ProducerProfile};
pub(crate) use tuner::Tuner;

/// A request on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: RequestId,
    /// Which host is asked.
    pub(crate) host: usize,
    pub(crate) request: Request,
    /// The client gives up and closes the connection after this long.
    pub(crate) timeout: Micros,
}

/// What an actor may see and do during one turn.
pub(crate) struct Port<'a> {
    pub(crate) now: Micros,
    pub(crate) wall_ms: i64,
    /// Number of hosts that are nodes.
    pub(crate) hosts: usize,
    /// Topics shall come and go as fast as they can.
    pub(crate) hasty: bool,
    pub(crate) random: &'a mut Random,
    pub(crate) next_request: &'a mut u64,
    pub(crate) out: Vec<Outgoing>,
    /// Batches made in this turn.
    pub(crate) sent: Vec<Sent>,
    /// What the client knows to be wrong.
    pub(crate) complaint: Option<Violation>,
}

impl Port<'_> {
    /// Sends a request.
    pub(crate) fn ask(&mut self, host: usize, request: Request, timeout: Micros) -> RequestId {
        *self.next_request += 1;
        let id = RequestId(*self.next_request);
        self.out.push(Outgoing { id, host, request, timeout });
        id
    }

    /// Any host.
    pub(crate) fn any_host(&mut self) -> usize {
        self.random.position(self.hosts)
    }
}

/// One client.
pub(crate) trait Actor {
    /// Its time has come.
    fn wake(&mut self, port: &mut Port<'_>);

    /// A response came.
    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response);

    /// The connection broke, or the client gave up waiting: the outcome of the request is unknown.
    fn broken(&mut self, port: &mut Port<'_>, id: RequestId);

    /// When to wake it.
    fn due(&self) -> Option<Micros>;

    /// From now on it starts nothing new and finishes what it began.
    fn finish(&mut self);

    /// What it still has to do, `None` when nothing.
    fn unfinished(&self) -> Option<String>;

    /// The log that it is reading.
    fn reading(&self) -> Option<node::core::metadata::PartitionKey> {
        None
    }

    /// The log that it is reading is gone: it goes on with the next one.
    fn skip(&mut self) {}

    /// The logs that it read as a whole.
    fn full_reads(&self) -> Vec<FullRead> {
        Vec::new()
    }
}

/// A topic as a client knows it.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    /// Leader of each partition.
    pub(crate) leaders: Vec<Option<usize>>,
}

/// A client's copy of the metadata, refreshed when something proves it old.
#[derive(Default)]
pub(crate) struct Topics {
    known: BTreeMap<String, Topic>,
    asking: Option<RequestId>,
    wanted: bool,
    not_before: Micros,
}

impl Topics {
    /// Something proved the copy old.
    pub(crate) fn doubt(&mut self) {
        self.wanted = true;
    }

    /// Asks for a fresh copy if one is wanted and none is on its way.
    pub(crate) fn refresh(&mut self, port: &mut Port<'_>) {
        if !self.wanted || self.asking.is_some() || port.now < self.not_before {
            return;
        }
        let host = port.any_host();
        let request = Request::Metadata { topics: MetadataTopics::All, allow_auto_create: false };
        self.asking = Some(port.ask(host, request, 2_000 * MS));
        self.not_before = port.now + 100 * MS;
    }

    /// When a wanted refresh may be sent.
    pub(crate) fn due(&self) -> Option<Micros> {
        (self.wanted && self.asking.is_none()).then_some(self.not_before)
    }

    /// Takes the answer if it is one of ours.
    pub(crate) fn answered(&mut self, id: RequestId, response: &Response) -> bool {
        if self.asking != Some(id) {
            return false;
        }
        self.asking = None;
        if let Response::Metadata(result) = response {
            self.learn(result);
        }
        true
    }

    /// Forgets a refresh whose connection broke.
    pub(crate) fn broken(&mut self, id: RequestId) -> bool {
        let ours = self.asking == Some(id);
        if ours {
            self.asking = None;
        }
        ours
    }

    fn learn(&mut self, result: &MetadataResult) {
        self.wanted = false;
        self.known.clear();
        for topic in result.topics.iter().filter(|t| t.error == ErrorCode::None && !t.internal) {
            let Some(name) = topic.name.clone() else { continue };
            let mut leaders = vec![None; topic.partitions.len()];
            for partition in &topic.partitions {
                let at = usize::try_from(partition.partition).unwrap_or(usize::MAX);
                if let Some(leader) = leaders.get_mut(at) {
                    *leader = host_of(partition.leader);
                }
            }
            self.wanted |= leaders.iter().any(Option::is_none);
            self.known.insert(name, Topic { id: topic.topic_id, leaders });
        }
    }

    /// Whether a topic of this name is known.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// The host that leads a partition, as far as known.
    pub(crate) fn leader(&self, name: &str, partition: i32) -> Option<usize> {
        let at = usize::try_from(partition).ok()?;
        self.known.get(name)?.leaders.get(at).copied().flatten()
    }

    /// A hint that came with an error.
    pub(crate) fn hint(&mut self, name: &str, partition: i32, leader: i32) {
        let at = usize::try_from(partition).unwrap_or(usize::MAX);
        if let Some(known) = self.known.get_mut(name).and_then(|topic| topic.leaders.get_mut(at)) {
            *known = host_of(leader);
        }
    }

    /// How to name a topic in a request; `None` when the id is wanted and not known.
    pub(crate) fn reference(&self, name: &str, by_id: bool) -> Option<TopicRef> {
        if by_id {
            Some(TopicRef::Id(self.known.get(name)?.id))
        } else {
            Some(TopicRef::Name(name.to_owned()))
        }
    }

    /// All partitions known.
    pub(crate) fn partitions(&self) -> Vec<(String, i32)> {
        let each = |(name, topic): (&String, &Topic)| -> Vec<(String, i32)> {
            (0..).take(topic.leaders.len()).map(|partition| (name.clone(), partition)).collect()
        };
        self.known.iter().flat_map(each).collect()
    }
}

/// The host of a node id; node ids are positions plus one.
pub(crate) fn host_of(node: i32) -> Option<usize> {
    usize::try_from(node).ok()?.checked_sub(1)
}

/// Whether a client tries again after this error.
pub(crate) fn retriable(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::RequestTimedOut
            | ErrorCode::NetworkException
            | ErrorCode::KafkaStorageError
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::NotController
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::ThrottlingQuotaExceeded
    )
}

#[cfg(test)]
mod doctored {
    //! What a client sees in a test.

    use super::{Port, Random};

    pub(super) fn port<'a>(random: &'a mut Random, next_request: &'a mut u64) -> Port<'a> {
        Port {
            now: 0,
            wall_ms: 0,
            hosts: 3,
            hasty: false,
            random,
            next_request,
            out: Vec::new(),
            sent: Vec::new(),
            complaint: None,
        }
    }
}
