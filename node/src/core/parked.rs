//! Batches that wait in order for room in the log: its leader has as much under way to the followers as it may.
//!
//! Kafka takes one request of a connection after the other, so TCP holds up a client that sends faster than its batches are
//! replicated. To refuse a batch would be worse than to let it wait: the client would repeat it behind what it sent meanwhile, and
//! without idempotence the order of its records would be lost.
//!
//! A batch leaves the queue when there is room, when nobody waits for it any more (its time-out, its connection), or with an
//! error when this node does not lead any more.

use std::collections::VecDeque;

use storage::{Disk, LogId};

use super::error::ErrorCode;
use super::node::{Call, Node};
use super::partition::{Partition, Waiter};
use super::request::{Acks, ProducePartition};

/// What may wait for one partition: as many batches of the usual `max.message.bytes` as one connection may have under way.
const PARKED_BYTES_MAX: usize = 64 << 20;
const INTERNAL: &str = "only coordinators of groups write to this topic";
pub(crate) const TOO_MUCH_WAITS: &str = "too many bytes wait for followers";

struct Batch {
    waiter: Waiter,
    acks: Acks,
    part: ProducePartition,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.part.batch.bytes.len()
    }
}

/// The batches that wait for one partition.
#[derive(Default)]
pub(crate) struct Parked {
    batches: VecDeque<Batch>,
    bytes: usize,
}

impl Parked {
    fn pop(&mut self) -> Option<Batch> {
        let first = self.batches.pop_front()?;
        self.bytes -= first.bytes();
        Some(first)
    }
}

impl Partition {
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.has_room_for(bytes))
    }
}

impl<D: Disk> Node<D> {
    /// Takes a batch, or lets it wait behind those that do.
    pub(crate) fn admit(
        &mut self,
        waiter: Waiter,
        acks: Acks,
        part: ProducePartition,
    ) -> Result<(), (ErrorCode, Option<String>)> {
        let log = self.led(&part.topic, part.partition).map_err(|error| (error, None))?;
        let batch = Batch { waiter, acks, part };
        if self.holds_groups(log) {
            return Err((ErrorCode::InvalidTopic, Some(INTERNAL.into())));
        }
        let Some(partition) = self.partitions.get_mut(&log) else {
            return Err((ErrorCode::NotLeaderOrFollower, None));
        };
        if partition.parked.batches.is_empty() && partition.has_room_for(batch.bytes()) {
            return self.produce_part(log, waiter, acks, batch.part);
        }
        let parked = &mut partition.parked;
        if parked.bytes.saturating_add(batch.bytes()) > PARKED_BYTES_MAX {
            return Err((ErrorCode::NotEnoughReplicas, Some(TOO_MUCH_WAITS.into())));
        }
        parked.bytes += batch.bytes();
        parked.batches.push_back(batch);
        self.parked.insert(log);
        Ok(())
    }

    /// Takes all batches that there is room for now. At the end of a step, and not where the commit index rises: a lone voter's rises
    /// as it takes one.
    pub(crate) fn unpark(&mut self) {
        for log in self.parked.clone() {
            while let Some(Batch { waiter, acks, part }) = self.next_parked(log) {
                let led = self.led(&part.topic, part.partition).map_err(|error| (error, None));
                let taken = led.and_then(|log| self.produce_part(log, waiter, acks, part));
                if let Err((error, message)) = taken {
                    self.decide(waiter, error, -1, message);
                }
            }
            if self.partitions.get(&log).is_none_or(|partition| partition.parked.batches.is_empty()) {
                self.parked.remove(&log);
            }
        }
    }

    /// The first batch of a partition, when there is room for it and somebody waits for it.
    fn next_parked(&mut self, log: LogId) -> Option<Batch> {
        loop {
            let partition = self.partitions.get_mut(&log)?;
            let first = partition.parked.batches.front()?;
            let open = matches!(self.calls.get(&first.waiter.call), Some(Call::Produce(call)) if call.open[first.waiter.part]);
            if open && !partition.has_room_for(first.bytes()) {
                return None;
            }
            let first = partition.parked.pop()?;
            if open {
                return Some(first);
            }
        }
    }

    /// Leadership is lost: none of these was written.
    pub(crate) fn fail_parked(&mut self, mut parked: Parked) {
        while let Some(batch) = parked.pop() {
            self.decide(batch.waiter, ErrorCode::NotLeaderOrFollower, -1, None);
        }
    }
}
