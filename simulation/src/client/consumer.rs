//! A consumer: reads on from where it is, long-polls at the end, sometimes seeks to a random offset.

use std::collections::BTreeMap;

use node::core::error::ErrorCode;
use node::core::request::{
    FetchPartition, FetchResult, ListOffsetsPartition, ListOffsetsResult, Request, RequestId, Response,
};

use super::asker::Asker;
use super::{Actor, Port, Topics, host_of};
use crate::queue::{MS, Micros};

/// How a consumer behaves.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerProfile {
    pub(crate) by_id: bool,
    /// Typical time between an answer and the next request.
    pub(crate) interval: Micros,
    /// Longest long poll.
    pub(crate) wait_ms_max: u64,
    /// Largest fetch.
    pub(crate) bytes_max: u64,
    /// How often it seeks, in percent of its requests.
    pub(crate) seek_percent: u32,
}

#[derive(Clone, Copy, Default)]
struct Position {
    next: Option<i64>,
    start: i64,
    end: i64,
    /// A replica nearer than the leader, until it errs.
    near: Option<usize>,
}

/// The client.
pub(crate) struct Consumer {
    profile: ConsumerProfile,
    /// Where it is; empty when it does not say.
    rack: String,
    asker: Asker<(String, i32)>,
    /// Whom it asked last.
    asked: Option<usize>,
    positions: BTreeMap<(String, i32), Position>,
}

impl Consumer {
    /// A consumer that starts at `start`.
    pub(crate) fn new(profile: ConsumerProfile, rack: String, start: Micros) -> Self {
        let mut topics = Topics::default();
        topics.doubt();
        let asker = Asker::new(topics, start);
        Self { profile, rack, asker, asked: None, positions: BTreeMap::new() }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.asker.is_due(port.now) {
            self.ask(port);
        }
        self.asker.topics.refresh(port);
    }

    fn ask(&mut self, port: &mut Port<'_>) {
        self.asker.next =
            port.now + port.random.within(self.profile.interval / 2, self.profile.interval * 3 / 2);
        let known = self.asker.topics.partitions();
        let Some(key) = (!known.is_empty()).then(|| port.random.pick(&known).clone()) else {
            return self.asker.topics.doubt();
        };
        let leader = self.asker.topics.leader(&key.0, key.1);
        let (Some(leader), Some(topic)) = (leader, self.asker.topics.reference(&key.0, self.profile.by_id))
        else {
            return self.asker.topics.doubt();
        };
        let position = self.positions.entry(key.clone()).or_default();
        let (rack, near) = (self.rack.clone(), position.near);
        let seeks = port.random.percent(self.profile.seek_percent);
        if seeks && port.random.percent(50) && position.end > position.start {
            let span = position.end.saturating_sub(position.start).cast_unsigned();
            position.next = Some(position.start + port.random.below(span).cast_signed());
        } else if seeks {
            position.next = None;
        }
        let (request, timeout) = match position.next {
            Some(offset) => {
                let max_bytes =
                    u32::try_from(port.random.within(1, self.profile.bytes_max)).unwrap_or(u32::MAX);
                let max_wait_ms = u32::try_from(port.random.below(self.profile.wait_ms_max + 1)).unwrap_or(0);
                let part = FetchPartition {
                    topic,
                    partition: key.1,
                    offset,
                    leader_epoch: -1,
                    last_epoch: -1,
                    max_bytes,
                };
                let request =
                    Request::Fetch { max_wait_ms, min_bytes: 1, max_bytes, partitions: vec![part], rack };
                (request, (u64::from(max_wait_ms) + 2_000) * MS)
            }
            None => {
                let timestamp = match port.random.below(6) {
                    0 => -1,
                    1 => -3,
                    2 => port.wall_ms - port.random.below(30_000).cast_signed(),
                    _ => -2,
                };
                let part = ListOffsetsPartition { topic, partition: key.1, leader_epoch: -1, timestamp };
                (Request::ListOffsets { partitions: vec![part] }, 2_000 * MS)
            }
        };
        // Any node may be asked; the wrong one says who leads.
        let fetches = matches!(request, Request::Fetch { .. });
        let nearest = near.filter(|_| fetches).unwrap_or(leader);
        let host = if port.random.percent(2) { port.any_host() } else { nearest };
        self.asked = Some(host);
        self.asker.asked(port.ask(host, request, timeout), key);
    }

    fn fetched(&mut self, key: &(String, i32), result: &FetchResult) {
        let position = self.positions.entry(key.clone()).or_default();
        match result.error {
            ErrorCode::None if result.preferred_read_replica.is_some() => {
                position.near = result.preferred_read_replica.and_then(host_of);
            }
            ErrorCode::None => {
                position.start = result.log_start_offset;
                position.end = result.high_watermark;
                if let Some(last) = result.batches.last() {
                    let count = crate::batch::count(&last.bytes);
                    position.next = Some(last.base_offset + i64::from(count));
                }
            }
            // Only the leader resets a consumer: a replica that lags behind may not know the offset.
            ErrorCode::OffsetOutOfRange if position.near.is_none() => position.next = None,
            _ => {
                position.near = None;
                self.asker.topics.doubt();
            }
        }
    }

    fn listed(&mut self, key: &(String, i32), result: &ListOffsetsResult) {
        let position = self.positions.entry(key.clone()).or_default();
        match result.error {
            ErrorCode::None if result.offset >= 0 => position.next = Some(result.offset),
            ErrorCode::None => {}
            _ => self.asker.topics.doubt(),
        }
    }
}

impl Actor for Consumer {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if let Some(key) = self.asker.answered(id, &response) {
            match response {
                Response::Fetch { partitions } => partitions.iter().for_each(|part| self.fetched(&key, part)),
                Response::ListOffsets { partitions } => {
                    partitions.iter().for_each(|part| self.listed(&key, part))
                }
                _ => {}
            }
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        for position in self.positions.values_mut().filter(|position| position.near == self.asked) {
            position.near = None;
        }
        self.asker.broken(id);
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        self.asker.due()
    }

    fn finish(&mut self) {
        self.asker.finish();
    }

    fn unfinished(&self) -> Option<String> {
        self.asker
            .waiting()
            .map(|(id, key)| format!("request {} on {}/{} is not answered", id.0, key.0, key.1))
    }
}
