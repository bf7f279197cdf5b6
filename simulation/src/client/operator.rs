//! An operator: drains nodes, decommissions them and takes them back, and pauses the moves of replicas.

use std::collections::BTreeMap;

use node::core::error::ErrorCode;
use node::core::metadata::NodeState;
use node::core::request::{Decision, Request, RequestId, Response};

use super::{Actor, Port};
use crate::checks::Violation;
use crate::queue::{MS, Micros};

/// What a partition needs: with fewer nodes that keep replicas nobody is decommissioned.
const NODES_MIN: usize = 3;

/// The client.
pub(crate) struct Operator {
    interval: Micros,
    next: Micros,
    call: Option<(RequestId, Decision)>,
    /// What it last decided about nodes, as far as it knows.
    states: BTreeMap<i32, NodeState>,
    paused: bool,
    finishing: bool,
}

impl Operator {
    /// Decides something about every `interval`.
    pub(crate) fn new(interval: Micros, start: Micros) -> Self {
        Self { interval, next: start, call: None, states: BTreeMap::new(), paused: false, finishing: false }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.call.is_some() || port.now < self.next {
            return;
        }
        let decision = if self.finishing { self.amends() } else { Some(self.whim(port)) };
        let Some(decision) = decision else { return };
        self.next = port.now + port.random.within(self.interval / 2, self.interval * 3 / 2);
        let host = port.any_host();
        self.call = Some((port.ask(host, Request::Decide(decision), 4_000 * MS), decision));
    }

    fn whim(&self, port: &mut Port<'_>) -> Decision {
        if port.random.percent(15) {
            return Decision::PauseBalancing(!self.paused);
        }
        let node = i32::try_from(port.any_host() + 1).unwrap_or(1);
        let leaving = self.leaving();
        let state = match self.states.get(&node) {
            Some(NodeState::Draining) if port.random.percent(30) => NodeState::Decommissioning,
            Some(NodeState::Draining | NodeState::Decommissioning) => NodeState::Active,
            _ if port.random.percent(50) => NodeState::Draining,
            _ => NodeState::Decommissioning,
        };
        let few = port.hosts.saturating_sub(leaving) <= NODES_MIN && state == NodeState::Decommissioning;
        Decision::NodeState { node, state: if few { NodeState::Draining } else { state } }
    }

    fn leaving(&self) -> usize {
        self.states.values().filter(|state| **state == NodeState::Decommissioning).count()
    }

    /// At the end all is taken back but one decommissioning, where there is one.
    fn amends(&self) -> Option<Decision> {
        if self.paused {
            return Some(Decision::PauseBalancing(false));
        }
        let kept = self.states.iter().find(|(_, state)| **state == NodeState::Decommissioning);
        let kept = kept.map(|(node, _)| *node);
        let changed =
            |(node, state): &(&i32, &NodeState)| **state != NodeState::Active && Some(**node) != kept;
        let (node, _) = self.states.iter().find(changed)?;
        Some(Decision::NodeState { node: *node, state: NodeState::Active })
    }

    fn judge(&mut self, port: &mut Port<'_>, decision: Decision, error: ErrorCode, message: Option<String>) {
        match (error, decision) {
            (ErrorCode::None, Decision::PauseBalancing(paused)) => self.paused = paused,
            (ErrorCode::None, Decision::NodeState { node, state }) => _ = self.states.insert(node, state),
            // A node that is dead is not drained, and one that lost its disk is another life; and a node may not be known everywhere yet.
            (
                ErrorCode::RequestTimedOut | ErrorCode::InvalidRequest | ErrorCode::BrokerIdNotRegistered,
                _,
            ) => {}
            _ => {
                let what = format!("{decision:?} is refused with {error:?}: {message:?}");
                port.complaint = Some(Violation { check: "an operator is heard", what });
            }
        }
    }

    /// An answer is lost: what became of the decision is unknown, so at the end it is made again.
    fn lost(&mut self) {
        match self.call.take() {
            Some((_, Decision::PauseBalancing(_))) => self.paused = true,
            Some((_, Decision::NodeState { node, .. })) => _ = self.states.insert(node, NodeState::Draining),
            None => {}
        }
    }
}

impl Actor for Operator {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if let Response::Decided { error, message } = response
            && self.call.as_ref().is_some_and(|(call, _)| *call == id)
        {
            match error {
                ErrorCode::RequestTimedOut => self.lost(),
                _ => {
                    if let Some((_, decision)) = self.call.take() {
                        self.judge(port, decision, error, message);
                    }
                }
            }
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        if self.call.as_ref().is_some_and(|(call, _)| *call == id) {
            self.lost();
        }
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        let wanted = !self.finishing || self.amends().is_some();
        (self.call.is_none() && wanted).then_some(self.next)
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn unfinished(&self) -> Option<String> {
        let open = self.call.as_ref().map(|(_, decision)| *decision).or_else(|| self.amends());
        open.map(|decision| format!("{decision:?} is not decided"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::port;
    use super::*;
    use crate::random::Random;

    #[test]
    fn what_is_unknown_is_taken_back() {
        let (mut random, mut next) = (Random::new(1), 0);
        let mut port = port(&mut random, &mut next);
        let mut operator = Operator::new(MS, 0);
        operator.call =
            Some((RequestId(1), Decision::NodeState { node: 2, state: NodeState::Decommissioning }));
        operator.broken(&mut port, RequestId(1));
        operator.call = None;
        operator.finish();
        assert_eq!(operator.amends(), Some(Decision::NodeState { node: 2, state: NodeState::Active }));
        operator.call = Some((RequestId(2), Decision::NodeState { node: 2, state: NodeState::Active }));
        let response = Response::Decided { error: ErrorCode::None, message: None };
        operator.answered(&mut port, RequestId(2), response);
        assert_eq!((operator.unfinished(), port.complaint.is_none()), (None, true));
    }
}
