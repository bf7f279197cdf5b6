//! What clients are told when it is not just "done".

use std::collections::{BTreeMap, BTreeSet};

use node::core::error::ErrorCode;
use node::core::request::{FetchResult, ProducerStamp, Request, RequestId, Response};

use super::{Fact, Scene, Situation, Tally, Watch};
use crate::queue::Micros;

const DUPLICATE: Situation = Situation("repeated batch acknowledged by a newer leader than committed it");
const OUT_OF_ORDER: Situation = Situation("out-of-order sequence refused");
const BUMPED: Situation = Situation("producer goes on with a bumped epoch");
const FENCED: Situation = Situation("old producer epoch refused");
const FULL: Situation = Situation("write refused for a full or failed disk");
const FEW: Situation = Situation("acks=all refused: too few replicas in sync, or too much waits");
const UNDECIDED: Situation = Situation("produce timed out at the leader, outcome unknown");
const WAITED: Situation = Situation("fetch waited across a leader change");
const TRIMMED: Situation = Situation("offset out of range after a trim");
const BEYOND: Situation = Situation("offset out of range beyond the end");
const NO_WATERMARK: Situation = Situation("new leader does not know its high watermark yet");
const DELETED: Situation = Situation("records deleted by a client");
const WRONG_DELETION: Situation = Situation("a deletion beyond the end refused");
const GREW: Situation = Situation("a topic got more partitions");
const ALTERED: Situation = Situation("configs altered");
const NEAR: Situation = Situation("a consumer sent to a replica in its zone");
const NOT_THERE: Situation = Situation("a follower does not have an offset yet");
const THROTTLED: Situation = Situation("a client told to be silent by its quota");
const NO_SHARD: Situation = Situation("admin request timed out: its shard did not answer");

struct Fetching {
    since: Micros,
    offsets: Vec<i64>,
}

/// Watches answers.
#[derive(Default)]
pub(super) struct Clients {
    fetches: BTreeMap<RequestId, Fetching>,
    bumps: BTreeSet<RequestId>,
}

impl Clients {
    fn asked(&mut self, now: Micros, id: RequestId, request: &Request) {
        match request {
            Request::Fetch { partitions, .. } => {
                let offsets = partitions.iter().map(|part| part.offset).collect();
                self.fetches.insert(id, Fetching { since: now, offsets });
            }
            Request::Produce { partitions, .. } => {
                let bumped = |stamp: ProducerStamp| stamp.epoch > 0 && stamp.base_sequence == 0;
                if partitions.iter().filter_map(|part| part.batch.producer).any(bumped) {
                    self.bumps.insert(id);
                }
            }
            _ => {}
        }
    }

    fn answered(&mut self, now: Micros, id: RequestId, response: &Response, tally: &mut Tally) {
        match response {
            Response::Produce { partitions } => {
                partitions.iter().for_each(|part| produced(part.error, tally));
                let written = partitions.iter().any(|part| part.error == ErrorCode::None);
                tally.count_if(self.bumps.remove(&id) && written, BUMPED);
            }
            Response::Fetch { partitions } => {
                let Some(fetching) = self.fetches.remove(&id) else { return };
                for (offset, part) in fetching.offsets.iter().zip(partitions) {
                    fetched(now > fetching.since, *offset, part, tally);
                }
            }
            Response::CreateTopics { topics } => {
                topics
                    .iter()
                    .for_each(|topic| tally.count_if(topic.error == ErrorCode::RequestTimedOut, NO_SHARD));
            }
            Response::DeleteTopics { topics } => {
                topics
                    .iter()
                    .for_each(|topic| tally.count_if(topic.error == ErrorCode::RequestTimedOut, NO_SHARD));
            }
            Response::DeleteRecords { partitions } => {
                for part in partitions {
                    tally.count_if(part.error == ErrorCode::None && part.low_watermark > 0, DELETED);
                    tally.count_if(part.error == ErrorCode::OffsetOutOfRange, WRONG_DELETION);
                }
            }
            Response::AlterConfigs { resources } => {
                resources.iter().for_each(|one| tally.count_if(one.error == ErrorCode::None, ALTERED));
            }
            Response::CreatePartitions { topics } => {
                topics.iter().for_each(|topic| tally.count_if(topic.error == ErrorCode::None, GREW));
            }
            _ => {}
        }
    }
}

fn produced(error: ErrorCode, tally: &mut Tally) {
    match error {
        ErrorCode::OutOfOrderSequenceNumber => tally.count(OUT_OF_ORDER),
        ErrorCode::InvalidProducerEpoch => tally.count(FENCED),
        ErrorCode::KafkaStorageError => tally.count(FULL),
        ErrorCode::NotEnoughReplicas => tally.count(FEW),
        ErrorCode::RequestTimedOut => tally.count(UNDECIDED),
        _ => {}
    }
}

fn fetched(waited: bool, offset: i64, part: &FetchResult, tally: &mut Tally) {
    match part.error {
        ErrorCode::None => {
            tally.count_if(part.high_watermark < 0, NO_WATERMARK);
            tally.count_if(part.preferred_read_replica.is_some(), NEAR);
        }
        ErrorCode::OffsetNotAvailable => tally.count(NOT_THERE),
        ErrorCode::NotLeaderOrFollower => tally.count_if(waited, WAITED),
        ErrorCode::OffsetOutOfRange => {
            tally.count_if(offset < part.log_start_offset, TRIMMED);
            tally.count_if(part.high_watermark >= 0 && offset > part.high_watermark, BEYOND);
        }
        _ => {}
    }
}

impl Watch for Clients {
    fn situations(&self) -> &'static [Situation] {
        &[
            DUPLICATE,
            OUT_OF_ORDER,
            BUMPED,
            FENCED,
            FULL,
            FEW,
            UNDECIDED,
            WAITED,
            TRIMMED,
            BEYOND,
            NO_WATERMARK,
            DELETED,
            WRONG_DELETION,
            GREW,
            ALTERED,
            THROTTLED,
            NEAR,
            NOT_THERE,
            NO_SHARD,
        ]
    }

    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Asked { id, request } => self.asked(scene.now, *id, request),
            Fact::Answered { id, response } => self.answered(scene.now, *id, response, tally),
            Fact::Throttled => tally.count(THROTTLED),
            Fact::Acknowledged { written, leads } => tally.count_if(written < leads, DUPLICATE),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use node::core::request::{FetchPartition, TopicRef};

    use super::super::doctored::seen;
    use super::*;

    fn ask(offset: i64) -> Request {
        let topic = TopicRef::Name("stable-0".into());
        let part =
            FetchPartition { topic, partition: 0, offset, leader_epoch: -1, last_epoch: -1, max_bytes: 1 };
        Request::Fetch {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 1,
            partitions: vec![part],
            rack: String::new(),
        }
    }

    fn answer(error: ErrorCode, start: i64, high: i64) -> Response {
        let part = FetchResult {
            topic: TopicRef::Name("stable-0".into()),
            topic_id: node::core::request::TopicId([7; 16]),
            partition: 0,
            error,
            high_watermark: high,
            log_start_offset: start,
            batches: Vec::new(),
            diverging: None,
            preferred_read_replica: None,
            leader: None,
        };
        Response::Fetch { partitions: vec![part] }
    }

    #[test]
    fn an_offset_is_refused_below_the_start_or_beyond_the_end() {
        let (request, id) = (ask(5), RequestId(1));
        let asked = || Fact::Asked { id, request: &request };
        let (trimmed, beyond) =
            (answer(ErrorCode::OffsetOutOfRange, 8, 20), answer(ErrorCode::OffsetOutOfRange, 0, 4));
        assert_eq!(seen(&[asked(), Fact::Answered { id, response: &trimmed }]).get(TRIMMED.0), Some(&1));
        assert_eq!(seen(&[asked(), Fact::Answered { id, response: &beyond }]).get(BEYOND.0), Some(&1));
    }

    #[test]
    fn only_a_fetch_that_waited_crossed_a_leader_change() {
        let (request, id) = (ask(5), RequestId(1));
        let response = answer(ErrorCode::NotLeaderOrFollower, -1, -1);
        let mut clients = Clients::default();
        let mut tally = Tally::default();
        clients.asked(7, id, &request);
        clients.answered(7, id, &response, &mut tally);
        assert!(tally.0.is_empty(), "answered at once");
        clients.asked(7, id, &request);
        clients.answered(9, id, &response, &mut tally);
        assert_eq!(tally.0.get(WAITED.0), Some(&1));
    }
}
