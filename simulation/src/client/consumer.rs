//! A consumer: reads on from where it is, long-polls at the end, sometimes seeks to a random offset.

use std::collections::BTreeMap;

use node::core::error::ErrorCode;
use node::core::request::{
    FetchPartition, FetchResult, ListOffsetsPartition, ListOffsetsResult, Request, RequestId, Response,
};

use super::{Actor, Port, Topics};
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
}

/// The client.
pub(crate) struct Consumer {
    profile: ConsumerProfile,
    topics: Topics,
    positions: BTreeMap<(String, i32), Position>,
    call: Option<(RequestId, (String, i32))>,
    next: Micros,
    finishing: bool,
}

impl Consumer {
    /// A consumer that starts at `start`.
    pub(crate) fn new(profile: ConsumerProfile, start: Micros) -> Self {
        let mut topics = Topics::default();
        topics.doubt();
        Self { profile, topics, positions: BTreeMap::new(), call: None, next: start, finishing: false }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.call.is_none() && !self.finishing && port.now >= self.next {
            self.ask(port);
        }
        self.topics.refresh(port);
    }

    fn ask(&mut self, port: &mut Port<'_>) {
        self.next = port.now + port.random.within(self.profile.interval / 2, self.profile.interval * 3 / 2);
        let known = self.topics.partitions();
        let Some(key) = (!known.is_empty()).then(|| port.random.pick(&known).clone()) else {
            return self.topics.doubt();
        };
        let leader = self.topics.leader(&key.0, key.1);
        let (Some(leader), Some(topic)) = (leader, self.topics.reference(&key.0, self.profile.by_id)) else {
            return self.topics.doubt();
        };
        let position = self.positions.entry(key.clone()).or_default();
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
                let request = Request::Fetch { max_wait_ms, min_bytes: 1, max_bytes, partitions: vec![part] };
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
        let host = if port.random.percent(2) { port.any_host() } else { leader };
        self.call = Some((port.ask(host, request, timeout), key));
    }

    fn fetched(&mut self, key: &(String, i32), result: &FetchResult) {
        let position = self.positions.entry(key.clone()).or_default();
        match result.error {
            ErrorCode::None => {
                position.start = result.log_start_offset;
                position.end = result.high_watermark;
                if let Some(last) = result.batches.last() {
                    let count = crate::batch::read(&last.bytes).map_or(1, |seen| seen.count);
                    position.next = Some(last.base_offset + i64::from(count));
                }
            }
            ErrorCode::OffsetOutOfRange => position.next = None,
            _ => self.topics.doubt(),
        }
    }

    fn listed(&mut self, key: &(String, i32), result: &ListOffsetsResult) {
        let position = self.positions.entry(key.clone()).or_default();
        match result.error {
            ErrorCode::None if result.offset >= 0 => position.next = Some(result.offset),
            ErrorCode::None => {}
            _ => self.topics.doubt(),
        }
    }
}

impl Actor for Consumer {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if !self.topics.answered(id, &response)
            && let Some((_, key)) = self.call.take_if(|(call, _)| *call == id)
        {
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
        if !self.topics.broken(id) && self.call.take_if(|(call, _)| *call == id).is_some() {
            self.topics.doubt();
        }
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        let next = (self.call.is_none() && !self.finishing).then_some(self.next);
        [next, self.topics.due()].into_iter().flatten().min()
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn unfinished(&self) -> Option<String> {
        self.call.as_ref().map(|(id, key)| format!("request {} on {}/{} is not answered", id.0, key.0, key.1))
    }
}
