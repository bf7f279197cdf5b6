//! Reads every log from its start to its end, after everything healed.

use mesh::raft::NodeId;
use node::core::error::ErrorCode;
use node::core::metadata::PartitionKey;
use node::core::request::{FetchPartition, ListOffsetsPartition, Request, RequestId, Response, TopicRef};

use super::{Actor, Port, host_of};
use crate::queue::{MS, Micros};

/// One log, read as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FullRead {
    pub(crate) key: PartitionKey,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

struct Task {
    key: PartitionKey,
    leader: usize,
    start: Option<i64>,
    end: Option<i64>,
    next: i64,
}

/// The client.
pub(crate) struct Auditor {
    tasks: Vec<Task>,
    at: usize,
    call: Option<RequestId>,
    not_before: Micros,
}

impl Auditor {
    /// Reads these partitions; each comes with its likely leader.
    pub(crate) fn new(partitions: Vec<(PartitionKey, NodeId)>, start: Micros) -> Self {
        let task = |(key, leader): (PartitionKey, NodeId)| Task {
            key,
            leader: host_of(leader.0).unwrap_or(0),
            start: None,
            end: None,
            next: 0,
        };
        Self { tasks: partitions.into_iter().map(task).collect(), at: 0, call: None, not_before: start }
    }

    fn ask(&mut self, port: &mut Port<'_>) {
        if self.call.is_some() || port.now < self.not_before {
            return;
        }
        let Some(task) = self.tasks.get(self.at) else { return };
        let (topic, partition) = (TopicRef::Id(task.key.topic), task.key.partition);
        let list = |timestamp| {
            let part = ListOffsetsPartition { topic: topic.clone(), partition, leader_epoch: -1, timestamp };
            Request::ListOffsets { partitions: vec![part] }
        };
        let request = match (task.start, task.end) {
            (None, _) => list(-2),
            (_, None) => list(-1),
            _ => {
                let part = FetchPartition {
                    topic: topic.clone(),
                    partition,
                    offset: task.next,
                    leader_epoch: -1,
                    last_epoch: -1,
                    max_bytes: 1 << 20,
                };
                Request::Fetch {
                    max_wait_ms: 100,
                    min_bytes: 1,
                    max_bytes: 1 << 20,
                    partitions: vec![part],
                    rack: String::new(),
                }
            }
        };
        self.call = Some(port.ask(task.leader % port.hosts, request, 2_000 * MS));
    }

    fn try_next_host(&mut self, port: &Port<'_>) {
        self.not_before = port.now + 50 * MS;
        if let Some(task) = self.tasks.get_mut(self.at) {
            task.leader += 1;
        }
    }

    fn learn(&mut self, port: &Port<'_>, response: &Response) {
        let Some(task) = self.tasks.get_mut(self.at) else { return };
        match response {
            Response::ListOffsets { partitions } => match partitions.first() {
                Some(part) if part.error == ErrorCode::None => {
                    if task.start.is_none() {
                        (task.start, task.next) = (Some(part.offset), part.offset);
                    } else {
                        task.end = Some(part.offset);
                    }
                }
                _ => self.try_next_host(port),
            },
            Response::Fetch { partitions } => match partitions.first() {
                Some(part) if part.error == ErrorCode::None => {
                    if let Some(last) = part.batches.last() {
                        let count = crate::batch::count(&last.bytes);
                        task.next = last.base_offset + i64::from(count);
                    }
                }
                // Retention went on meanwhile.
                Some(part) if part.error == ErrorCode::OffsetOutOfRange => task.start = None,
                _ => self.try_next_host(port),
            },
            _ => {}
        }
        while self.tasks.get(self.at).is_some_and(|task| task.end.is_some_and(|end| task.next >= end)) {
            self.at += 1;
        }
    }
}

impl Actor for Auditor {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.ask(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if self.call.take_if(|call| *call == id).is_some() {
            self.learn(port, &response);
        }
        self.ask(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        if self.call.take_if(|call| *call == id).is_some() {
            self.try_next_host(port);
        }
        self.ask(port);
    }

    fn due(&self) -> Option<Micros> {
        (self.call.is_none() && self.at < self.tasks.len()).then_some(self.not_before)
    }

    fn finish(&mut self) {}

    fn unfinished(&self) -> Option<String> {
        let task = self.tasks.get(self.at)?;
        Some(format!("{:?} is read up to {} of {:?}", task.key, task.next, task.end))
    }

    fn reading(&self) -> Option<PartitionKey> {
        self.tasks.get(self.at).map(|task| task.key)
    }

    fn skip(&mut self) {
        self.tasks[self.at].start = None;
        (self.at, self.call) = (self.at + 1, None);
    }

    fn full_reads(&self) -> Vec<FullRead> {
        let done = |task: &Task| Some(FullRead { key: task.key, start: task.start?, end: task.end? });
        self.tasks.iter().filter_map(done).collect()
    }
}
