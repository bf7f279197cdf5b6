//! Somebody who says where replicas shall be: reassigns partitions, changes how many replicas they have, and changes their mind.

use node::core::error::ErrorCode;
use node::core::request::{Reassignment, Request, RequestId, Response};

use super::{Actor, Port};
use crate::checks::Violation;
use crate::queue::{MS, Micros};
use crate::scenario::TopicPlan;

/// Most replicas that a partition is given.
const REPLICAS_MAX: usize = 5;

/// The client.
pub(crate) struct Mover {
    topics: Vec<TopicPlan>,
    interval: Micros,
    next: Micros,
    call: Option<RequestId>,
    finishing: bool,
}

impl Mover {
    /// Asks for something about every `interval`.
    pub(crate) fn new(topics: Vec<TopicPlan>, interval: Micros, start: Micros) -> Self {
        Self { topics, interval, next: start, call: None, finishing: false }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.call.is_some() || port.now < self.next || self.finishing || self.topics.is_empty() {
            return;
        }
        self.next = port.now + port.random.within(self.interval / 2, self.interval * 3 / 2);
        let request = self.whim(port);
        let host = port.any_host();
        self.call = Some(port.ask(host, request, 4_000 * MS));
    }

    fn whim(&self, port: &mut Port<'_>) -> Request {
        let topic = &self.topics[port.random.position(self.topics.len())];
        let partitions = usize::try_from(topic.partitions).unwrap_or(1);
        let partition = i32::try_from(port.random.position(partitions)).unwrap_or(0);
        let least = usize::try_from(topic.replication_factor).unwrap_or(1);
        let most = port.hosts.min(REPLICAS_MAX).max(least);
        let factor = least + port.random.position(most - least + 1);
        match port.random.below(10) {
            0 => Request::ListReassignments { partitions: None },
            1 | 2 => Request::ChangeFactor {
                topic: topic.name.clone(),
                factor: i32::try_from(factor).unwrap_or(1),
                timeout_ms: 3_000,
            },
            3 | 4 => alter(topic, partition, None),
            _ => alter(topic, partition, Some(nodes(port, factor))),
        }
    }

    /// What an operator may be told: the rest is wrong.
    fn judge(&self, port: &mut Port<'_>, error: ErrorCode, message: Option<String>) {
        // Topics come and go, nodes lose their disks and are decommissioned, and views are old.
        let known = matches!(
            error,
            ErrorCode::None
                | ErrorCode::RequestTimedOut
                | ErrorCode::NotController
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::InvalidReplicaAssignment
                | ErrorCode::InvalidReplicationFactor
                | ErrorCode::ReassignmentInProgress
                | ErrorCode::NoReassignmentInProgress
                | ErrorCode::InvalidRequest
                | ErrorCode::ThrottlingQuotaExceeded
        );
        if !known {
            let what = format!("a reassignment is refused with {error:?}: {message:?}");
            port.complaint = Some(Violation { check: "reassignments are heard", what });
        }
    }
}

fn alter(topic: &TopicPlan, partition: i32, replicas: Option<Vec<i32>>) -> Request {
    let partitions = vec![Reassignment { topic: topic.name.clone(), partition, replicas }];
    Request::AlterReassignments { partitions, may_change_factor: true, timeout_ms: 3_000 }
}

/// So many nodes, in any order.
fn nodes(port: &mut Port<'_>, count: usize) -> Vec<i32> {
    let mut all: Vec<i32> = (1..).take(port.hosts).collect();
    let mut chosen = Vec::new();
    while chosen.len() < count && !all.is_empty() {
        let at = port.random.position(all.len());
        chosen.push(all.swap_remove(at));
    }
    chosen
}

impl Actor for Mover {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if self.call.take_if(|call| *call == id).is_some()
            && let Response::AlterReassignments { partitions } = response
        {
            partitions.into_iter().for_each(|part| self.judge(port, part.error, part.message));
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        self.call.take_if(|call| *call == id);
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        (self.call.is_none() && !self.finishing && !self.topics.is_empty()).then_some(self.next)
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn unfinished(&self) -> Option<String> {
        self.call.map(|call| format!("reassignment {} is not answered", call.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::port;
    use super::*;
    use crate::random::Random;

    #[test]
    fn what_makes_no_sense_is_complained_about() {
        let (mut random, mut next) = (Random::new(1), 0);
        let mut port = port(&mut random, &mut next);
        let mover = Mover::new(Vec::new(), MS, 0);
        mover.judge(&mut port, ErrorCode::NoReassignmentInProgress, None);
        assert!(port.complaint.is_none());
        mover.judge(&mut port, ErrorCode::UnknownServerError, None);
        assert!(port.complaint.is_some());
    }
}
