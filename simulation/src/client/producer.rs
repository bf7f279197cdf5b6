//! An idempotent producer: up to five batches in flight per partition, each sent again under the same sequence until its
//! outcome is known, in order, as librdkafka does.
//!
//! When the broker says that its sequences make no sense, everything in flight has an unknown outcome, is never sent again,
//! and the producer goes on under a new id or a bumped epoch (KIP-360). That must have a cause: see `unexplained`.

use std::collections::{BTreeMap, VecDeque};

use node::core::error::ErrorCode;
use node::core::request::{
    Acks, Batch, ProducePartition, ProduceResult, ProducerStamp, Request, RequestId, Response,
};

use super::{Actor, Port, Topics, retriable};
use crate::batch::{self, BatchId};
use crate::checks::{Sent, Violation};
use crate::queue::{MS, Micros, SECOND};
use crate::scenario::STABLE;

/// Batches in flight per partition (KIP-98).
const IN_FLIGHT_MAX: usize = 5;

/// A batch older than this is given up: its outcome stays unknown.
const DELIVERY_TIMEOUT: Micros = 40 * SECOND;

/// How a producer behaves.
#[derive(Clone, Debug)]
pub(crate) struct ProducerProfile {
    pub(crate) client: u32,
    pub(crate) acks: Acks,
    pub(crate) by_id: bool,
    /// Typical time between two batches.
    pub(crate) interval: Micros,
    pub(crate) records_max: u32,
    pub(crate) value_bytes_max: u64,
    pub(crate) request_timeout: Micros,
    /// Whether it goes on with a bumped epoch rather than a new id.
    pub(crate) bumps: bool,
}

struct Waiting {
    id: BatchId,
    sequence: i32,
    batch: Batch,
    born: Micros,
    call: Option<RequestId>,
    tried: bool,
    /// Its outcome is known. It stays behind older ones whose outcome is not: the broker remembers five batches, so
    /// nothing may be sent that is more than five after the oldest that may have to be sent again.
    done: bool,
}

impl Waiting {
    fn is_held(&self) -> bool {
        self.call.is_none() && !self.done
    }
}

#[derive(Default)]
struct Lane {
    next_sequence: i32,
    waiting: VecDeque<Waiting>,
    /// Something failed: nothing is sent until all answers are in, so that order holds.
    draining: bool,
    not_before: Micros,
}

enum Producing {
    Needs { not_before: Micros },
    Asking { call: RequestId },
    As { id: i64, epoch: i16 },
}

/// The client.
pub(crate) struct Producer {
    profile: ProducerProfile,
    topics: Topics,
    state: Producing,
    lanes: BTreeMap<(String, i32), Lane>,
    calls: BTreeMap<RequestId, (String, i32)>,
    records: u64,
    next_batch: Micros,
    /// A batch of an identity that was given up, which still finds its way to a leader: it must be fenced by then.
    late: Option<(Micros, (String, i32), Batch)>,
    finishing: bool,
}

impl Producer {
    /// A producer that starts at `start`.
    pub(crate) fn new(profile: ProducerProfile, start: Micros) -> Self {
        let mut topics = Topics::default();
        topics.doubt();
        Self {
            profile,
            topics,
            state: Producing::Needs { not_before: start },
            lanes: BTreeMap::new(),
            calls: BTreeMap::new(),
            records: 0,
            next_batch: start,
            late: None,
            finishing: false,
        }
    }

    fn identify(&mut self, port: &mut Port<'_>) {
        let Producing::Needs { not_before } = self.state else { return };
        if port.now < not_before
            || (self.finishing && self.lanes.values().all(|lane| lane.waiting.is_empty()))
        {
            return;
        }
        let host = port.any_host();
        let request = Request::InitProducerId { producer_id: -1, producer_epoch: -1 };
        let call = port.ask(host, request, 3 * SECOND);
        self.state = Producing::Asking { call };
    }

    fn make(&mut self, port: &mut Port<'_>) {
        let Producing::As { id: producer, epoch } = self.state else { return };
        if self.finishing || port.now < self.next_batch {
            return;
        }
        self.next_batch =
            port.now + port.random.within(self.profile.interval / 4, self.profile.interval * 7 / 4);
        let known = self.topics.partitions();
        if known.is_empty() {
            self.topics.doubt();
            return;
        }
        let key = port.random.pick(&known).clone();
        let lane = self.lanes.entry(key.clone()).or_default();
        if lane.waiting.len() >= IN_FLIGHT_MAX {
            return;
        }
        let count = u32::try_from(port.random.within(1, u64::from(self.profile.records_max))).unwrap_or(1);
        let value_bytes = usize::try_from(port.random.within(12, self.profile.value_bytes_max)).unwrap_or(12);
        let id = BatchId { client: self.profile.client, record: self.records };
        self.records += u64::from(count);
        let stamp = ProducerStamp { id: producer, epoch, base_sequence: lane.next_sequence };
        let batch = batch::build(id, Some(stamp), count, value_bytes, port.wall_ms);
        let seen = batch::read(&batch.bytes).expect("just built");
        port.sent.push(Sent { seen, topic: key.0.clone(), partition: key.1 });
        let sequence = lane.next_sequence;
        lane.next_sequence += i32::try_from(count).expect("small");
        lane.waiting.push_back(Waiting {
            id,
            sequence,
            batch,
            born: port.now,
            call: None,
            tried: false,
            done: false,
        });
    }

    fn pump(&mut self, port: &mut Port<'_>) {
        let expired = |lane: &Lane| {
            lane.waiting.front().is_some_and(|w| w.is_held() && port.now > w.born + DELIVERY_TIMEOUT)
        };
        if self.lanes.values().any(expired) {
            self.abandon(port);
            return;
        }
        for (key, lane) in &mut self.lanes {
            if lane.draining && lane.waiting.iter().any(|w| w.call.is_some()) || port.now < lane.not_before {
                continue;
            }
            lane.draining = false;
            if !lane.waiting.iter().any(Waiting::is_held) {
                continue;
            }
            let leader = self.topics.leader(&key.0, key.1);
            let (Some(host), Some(topic)) = (leader, self.topics.reference(&key.0, self.profile.by_id))
            else {
                self.topics.doubt();
                continue;
            };
            for waiting in lane.waiting.iter_mut().filter(|w| w.is_held()) {
                let part =
                    ProducePartition { topic: topic.clone(), partition: key.1, batch: waiting.batch.clone() };
                let timeout_ms = u32::try_from(self.profile.request_timeout / MS).unwrap_or(u32::MAX);
                let request =
                    Request::Produce { acks: self.profile.acks, timeout_ms, partitions: vec![part] };
                let call = port.ask(host, request, self.profile.request_timeout + 500 * MS);
                waiting.call = Some(call);
                waiting.tried = true;
                self.calls.insert(call, key.clone());
            }
        }
    }

    /// Goes on under another identity, whatever is in flight stays unknown: under the next epoch of the same id, as Java's producer does
    /// by itself (KIP-360), or under a new id, as librdkafka does.
    fn abandon(&mut self, port: &mut Port<'_>) {
        let Producing::As { id, epoch } = self.state else { return };
        let bumped = epoch.checked_add(1).filter(|_| self.profile.bumps);
        self.state = match bumped {
            Some(epoch) => Producing::As { id, epoch },
            None => Producing::Needs { not_before: port.now + 20 * MS },
        };
        // Of a topic that stays, if there is one: nobody is fenced where the topic is gone.
        let given_up = self.lanes.iter().rev().find_map(|(key, lane)| Some((key, lane.waiting.front()?)));
        if let (Some((key, waiting)), Some(_)) = (given_up, bumped) {
            let at = port.now + port.random.within(100, 3000) * MS;
            self.late = Some((at, key.clone(), waiting.batch.clone()));
        }
        self.calls.clear();
        self.lanes.clear();
    }

    fn send_late(&mut self, port: &mut Port<'_>) {
        let Some((_, key, batch)) = self.late.take_if(|(at, ..)| *at <= port.now) else { return };
        let topic = self.topics.reference(&key.0, self.profile.by_id);
        if let (Some(host), Some(topic)) = (self.topics.leader(&key.0, key.1), topic) {
            let part = ProducePartition { topic, partition: key.1, batch };
            let request =
                Request::Produce { acks: self.profile.acks, timeout_ms: 1_000, partitions: vec![part] };
            port.ask(host, request, 1_500 * MS);
        }
    }

    fn failed(&mut self, port: &mut Port<'_>, call: RequestId) {
        let Some(key) = self.calls.remove(&call) else { return };
        self.topics.doubt();
        let backoff = port.random.within(20, 200) * MS;
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.draining = true;
        lane.not_before = port.now + backoff;
        for waiting in lane.waiting.iter_mut().filter(|w| w.call == Some(call)) {
            waiting.call = None;
        }
    }

    fn result(&mut self, port: &mut Port<'_>, call: RequestId, result: &ProduceResult) {
        let Some(key) = self.calls.get(&call).cloned() else { return };
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let Some(at) = lane.waiting.iter().position(|w| w.call == Some(call)) else { return };
        match result.error {
            ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                self.calls.remove(&call);
                (lane.waiting[at].done, lane.waiting[at].call) = (true, None);
                while lane.waiting.pop_front_if(|first| first.done).is_some() {}
            }
            // A deleted topic: a producer cannot know what became of its batches there, nor go on with its sequences.
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId if !key.0.starts_with(STABLE) => {
                self.topics.doubt();
                self.abandon(port);
            }
            error if retriable(error) => {
                if let Some(hint) = result.leader {
                    self.topics.hint(&key.0, key.1, hint.node);
                }
                self.failed(port, call);
            }
            // A batch behind one that failed has a gap before it; it goes again after that one.
            ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId if at > 0 => {
                self.failed(port, call)
            }
            error => {
                let waiting = &lane.waiting[at];
                if self.profile.acks == Acks::All && key.0.starts_with(STABLE) {
                    port.complaint = Some(unexplained(&key, waiting, error));
                }
                self.abandon(port);
            }
        }
    }

    fn identified(&mut self, port: &mut Port<'_>, error: ErrorCode, id: i64, epoch: i16) {
        let Producing::Asking { .. } = self.state else { return };
        self.state = match error {
            ErrorCode::None => Producing::As { id, epoch },
            _ => Producing::Needs { not_before: port.now + 100 * MS },
        };
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        self.identify(port);
        self.make(port);
        self.pump(port);
        self.send_late(port);
        self.topics.refresh(port);
    }
}

/// Every batch before this one in its partition was acknowledged with acks=all under this very id and epoch, and the
/// topic was never deleted, so a broker that lost nothing knows its sequence.
fn unexplained(key: &(String, i32), waiting: &Waiting, error: ErrorCode) -> Violation {
    Violation {
        check: "producer state survives",
        what: format!(
            "{}/{}: {:?} with sequence {} is refused with {error:?}, all before it were acknowledged{}",
            key.0,
            key.1,
            waiting.id,
            waiting.sequence,
            if waiting.tried { "; it was sent before" } else { "" }
        ),
    }
}

impl Actor for Producer {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if self.topics.answered(id, &response) {
            return self.turn(port);
        }
        match response {
            Response::Produce { partitions } => {
                for result in &partitions {
                    self.result(port, id, result);
                }
            }
            Response::InitProducerId { error, producer_id, producer_epoch } => {
                if matches!(self.state, Producing::Asking { call, .. } if call == id) {
                    self.identified(port, error, producer_id, producer_epoch);
                }
            }
            _ => {}
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        if self.topics.broken(id) {
            return self.turn(port);
        }
        if let Producing::Asking { call } = self.state
            && call == id
        {
            self.state = Producing::Needs { not_before: port.now + 100 * MS };
        }
        self.failed(port, id);
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        let identity = match self.state {
            Producing::Needs { not_before, .. } if !self.finishing => Some(not_before),
            Producing::As { .. } if !self.finishing => Some(self.next_batch),
            _ => None,
        };
        let held = self.lanes.values().filter(|lane| lane.waiting.iter().any(Waiting::is_held));
        let held = held.filter(|lane| !(lane.draining && lane.waiting.iter().any(|w| w.call.is_some())));
        let lanes = held.map(|lane| lane.not_before).min();
        let late = self.late.as_ref().map(|(at, ..)| *at);
        [identity, lanes, late, self.topics.due()].into_iter().flatten().min()
    }

    fn finish(&mut self) {
        self.late = None;
        self.finishing = true;
    }

    fn unfinished(&self) -> Option<String> {
        let (key, waiting) = self.lanes.iter().find_map(|(key, lane)| Some((key, lane.waiting.front()?)))?;
        Some(format!("{:?} for {}/{} is not answered", waiting.id, key.0, key.1))
    }
}
