//! An administrator: creates the topics, deletes and creates some again under the same name, asks for metadata.

use node::core::error::ErrorCode;
use node::core::request::{CreateTopic, Request, RequestId, Response, TopicRef};

use super::{Actor, Port, Topics, retriable};
use crate::queue::{MS, Micros, SECOND};
use crate::scenario::{STABLE, TopicPlan};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Exists,
    Gone,
}

struct Managed {
    plan: TopicPlan,
    wanted: Wanted,
    done: bool,
    /// What is under way, and what for.
    call: Option<(RequestId, Wanted)>,
    not_before: Micros,
}

/// The client.
pub(crate) struct Admin {
    topics: Topics,
    managed: Vec<Managed>,
    /// Typical time between two changes of mind about a topic.
    churn: Option<Micros>,
    next_churn: Micros,
    next_look: Micros,
    finishing: bool,
}

impl Admin {
    /// An administrator of these topics.
    pub(crate) fn new(plans: Vec<TopicPlan>, churn: Option<Micros>, start: Micros) -> Self {
        let manage = |plan: TopicPlan| {
            let not_before = start.max(plan.after);
            Managed { plan, wanted: Wanted::Exists, done: false, call: None, not_before }
        };
        let managed = plans.into_iter().map(manage).collect();
        let next_churn = start + 10 * SECOND;
        Self { topics: Topics::default(), managed, churn, next_churn, next_look: start, finishing: false }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        self.change_mind(port);
        for at in 0..self.managed.len() {
            self.manage(port, at);
        }
        if !self.finishing && port.now >= self.next_look {
            let typical = if port.hasty { SECOND / 4 } else { SECOND };
            self.next_look = port.now + port.random.within(typical, 3 * typical);
            self.topics.doubt();
        }
        self.topics.refresh(port);
    }

    fn change_mind(&mut self, port: &mut Port<'_>) {
        let Some(churn) = self.churn.or(port.hasty.then_some(SECOND)) else { return };
        let churn = if port.hasty { churn.min(SECOND) } else { churn };
        if port.hasty {
            self.next_churn = self.next_churn.min(port.now + churn);
        }
        if self.finishing || port.now < self.next_churn {
            return;
        }
        self.next_churn = port.now + port.random.within(churn / 2, churn * 3 / 2);
        let at = port.random.position(self.managed.len());
        let managed = &mut self.managed[at];
        // In haste nobody waits for what was asked before.
        let free = managed.done || (port.hasty && port.now >= managed.plan.after);
        if managed.plan.name.starts_with(STABLE) || !free {
            return;
        }
        managed.wanted = if managed.wanted == Wanted::Exists { Wanted::Gone } else { Wanted::Exists };
        managed.done = false;
    }

    fn manage(&mut self, port: &mut Port<'_>, at: usize) {
        let managed = &self.managed[at];
        if managed.done || managed.call.is_some() || port.now < managed.not_before {
            return;
        }
        let timeout_ms = 3_000;
        let request = match managed.wanted {
            Wanted::Exists => {
                let topic = CreateTopic {
                    name: managed.plan.name.clone(),
                    partitions: managed.plan.partitions,
                    replication_factor: managed.plan.replication_factor,
                    assignment: Vec::new(),
                    configs: managed.plan.configs.clone(),
                };
                Request::CreateTopics { topics: vec![topic], validate_only: false, timeout_ms }
            }
            Wanted::Gone => {
                let topics = vec![TopicRef::Name(managed.plan.name.clone())];
                Request::DeleteTopics { topics, timeout_ms }
            }
        };
        let host = port.any_host();
        let wanted = self.managed[at].wanted;
        self.managed[at].call = Some((port.ask(host, request, 4 * SECOND), wanted));
    }

    fn settle(&mut self, port: &Port<'_>, id: RequestId, outcome: Option<ErrorCode>) {
        let ours = |managed: &&mut Managed| managed.call.is_some_and(|(call, _)| call == id);
        let Some(managed) = self.managed.iter_mut().find(ours) else { return };
        let Some((_, wanted)) = managed.call.take() else { return };
        managed.not_before = port.now + 250 * MS;
        if wanted != managed.wanted {
            return;
        }
        managed.done = match (wanted, outcome) {
            (_, Some(ErrorCode::None))
            | (Wanted::Exists, Some(ErrorCode::TopicAlreadyExists))
            | (Wanted::Gone, Some(ErrorCode::UnknownTopicOrPartition)) => true,
            (_, None) => false,
            (_, Some(error)) => {
                debug_assert!(retriable(error) || error == ErrorCode::InvalidReplicationFactor, "{error:?}");
                false
            }
        };
    }
}

impl Actor for Admin {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if !self.topics.answered(id, &response) {
            let outcome = match &response {
                Response::CreateTopics { topics } => topics.first().map(|topic| topic.error),
                Response::DeleteTopics { topics } => topics.first().map(|topic| topic.error),
                _ => None,
            };
            self.settle(port, id, outcome);
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        if !self.topics.broken(id) {
            self.settle(port, id, None);
        }
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        let open = self.managed.iter().filter(|managed| !managed.done && managed.call.is_none());
        let manage = open.map(|managed| managed.not_before).min();
        let look = (!self.finishing).then_some(self.next_look);
        let churn = self.churn.filter(|_| !self.finishing).map(|_| self.next_churn);
        [manage, look, churn, self.topics.due()].into_iter().flatten().min()
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn unfinished(&self) -> Option<String> {
        let open = self.managed.iter().find(|managed| !managed.done)?;
        let wanted = if open.wanted == Wanted::Exists { "created" } else { "deleted" };
        Some(format!("topic {} is not {wanted}", open.plan.name))
    }
}
