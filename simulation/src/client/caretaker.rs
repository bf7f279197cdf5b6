//! A caretaker: deletes records that nobody needs any more, and gives topics more partitions.

use std::collections::BTreeMap;

use node::core::error::ErrorCode;
use node::core::request::{
    DeleteRecordsPartition, DeleteRecordsResult, GrowTopic, Request, RequestId, Response,
};

use super::asker::Asker;
use super::{Actor, Port, Topics};
use crate::checks::Violation;
use crate::queue::{MS, Micros};
use crate::scenario::Care;

const CHECK: &str = "deleted records are gone";
/// Topics grow no further than this.
const PARTITIONS_MAX: usize = 5;
/// An offset that no log reaches.
const BEYOND: i64 = 1 << 40;

enum Asked {
    Delete { key: (String, i32), offset: i64 },
    Grow,
}

/// The client.
pub(crate) struct Caretaker {
    asker: Asker<Asked>,
    care: Care,
    /// Where logs began when last told.
    starts: BTreeMap<(String, i32), i64>,
}

impl Caretaker {
    /// Begins at `start`.
    pub(crate) fn new(care: Care, start: Micros) -> Self {
        Self { asker: Asker::new(Topics::default(), start), care, starts: BTreeMap::new() }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.asker.is_due(port.now) {
            self.asker.next =
                port.now + port.random.within(self.care.interval / 2, self.care.interval * 3 / 2);
            let known = self.asker.topics.partitions();
            match (!known.is_empty()).then(|| port.random.pick(&known).clone()) {
                Some(key) if port.random.percent(15) && self.care.grows => self.grow(port, key.0),
                Some(key) => self.delete(port, key),
                None => self.asker.topics.doubt(),
            }
        }
        self.asker.topics.refresh(port);
    }

    fn delete(&mut self, port: &mut Port<'_>, key: (String, i32)) {
        let (Some(leader), Some(topic)) =
            (self.asker.topics.leader(&key.0, key.1), self.asker.topics.reference(&key.0, true))
        else {
            return self.asker.topics.doubt();
        };
        let start = self.starts.get(&key).copied().unwrap_or(0);
        let offset = match port.random.below(20) {
            0 => -1,
            1 => BEYOND,
            _ => start + port.random.below(12).cast_signed(),
        };
        let part = DeleteRecordsPartition { topic, partition: key.1, offset };
        let request = Request::DeleteRecords { timeout_ms: 1_500, partitions: vec![part] };
        // Any node may be asked; the wrong one refuses.
        let host = if port.random.percent(5) { port.any_host() } else { leader };
        self.asker.asked(port.ask(host, request, 2_000 * MS), Asked::Delete { key, offset });
    }

    fn grow(&mut self, port: &mut Port<'_>, name: String) {
        let partitions = self.asker.topics.partitions().iter().filter(|(topic, _)| *topic == name).count();
        if partitions >= PARTITIONS_MAX {
            return;
        }
        let count = i32::try_from(partitions + 1).unwrap_or(i32::MAX);
        let topics = vec![GrowTopic { name, count, assignment: None }];
        let validate_only = port.random.percent(10);
        let request = Request::CreatePartitions { topics, validate_only, timeout_ms: 3_000 };
        let host = port.any_host();
        self.asker.asked(port.ask(host, request, 4_000 * MS), Asked::Grow);
    }

    fn deleted(
        &mut self,
        port: &mut Port<'_>,
        key: &(String, i32),
        offset: i64,
        result: &DeleteRecordsResult,
    ) {
        if result.error != ErrorCode::None {
            self.asker.topics.doubt();
            return;
        }
        self.starts.insert(key.clone(), result.low_watermark);
        if result.low_watermark < offset || offset >= BEYOND {
            let what = format!("{key:?}: deleted up to {offset}, told {}", result.low_watermark);
            port.complaint = Some(Violation { check: CHECK, what });
        }
    }
}

impl Actor for Caretaker {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if let Some(asked) = self.asker.answered(id, &response) {
            match (asked, &response) {
                (Asked::Delete { key, offset }, Response::DeleteRecords { partitions }) => {
                    partitions.iter().for_each(|result| self.deleted(port, &key, offset, result));
                }
                _ => self.asker.topics.doubt(),
            }
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
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
        None
    }
}
