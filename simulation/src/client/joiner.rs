//! A machine that is to become a node: it asks members to enter it into the registry until one says that it is, as the
//! shell of a real node does before it opens.

use std::collections::BTreeSet;

use node::core::error::ErrorCode;
use node::core::metadata::Registration;
use node::core::request::{Request, RequestId, Response};

use super::{Actor, Port};
use crate::checks::Violation;
use crate::queue::{MS, Micros, SECOND};

/// Time between two requests; the one before may still be under way.
const AGAIN: Micros = SECOND;

/// Requests under way at the same time.
const CALLS_MAX: usize = 3;

/// The machine.
pub(crate) struct Joiner {
    registration: Registration,
    calls: BTreeSet<RequestId>,
    next: Micros,
    joined: Option<i32>,
}

impl Joiner {
    /// A machine that begins to ask at `start`.
    pub(crate) fn new(registration: Registration, start: Micros) -> Self {
        Self { registration, calls: BTreeSet::new(), next: start, joined: None }
    }

    fn admitted(&mut self, port: &mut Port<'_>, error: ErrorCode, message: Option<&str>, node: i32) {
        let complaint = match (error, self.joined) {
            (ErrorCode::None, Some(before)) if before != node => {
                format!("{} is node {before} and then node {node}", self.registration.mesh)
            }
            (ErrorCode::None, _) => {
                self.joined = Some(node);
                return;
            }
            // Once it is in, its directory may have been lost and drawn anew: what it asked before is old.
            // And a number goes over only once it was silent for a while, and what it held is elsewhere.
            (ErrorCode::RequestTimedOut | ErrorCode::NotController | ErrorCode::NotEnoughReplicas, _)
            | (_, Some(_)) => return,
            _ => format!("{} is refused with {error:?}: {message:?}", self.registration.mesh),
        };
        port.complaint = Some(Violation { check: "a machine joins as one node", what: complaint });
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.joined.is_some() || port.now < self.next || self.calls.len() >= CALLS_MAX {
            return;
        }
        self.next = port.now + port.random.within(AGAIN / 2, AGAIN * 3 / 2);
        let host = port.any_host();
        let timeout = port.random.within(500, 11_000) * MS;
        let request = Request::RegisterNode { registration: self.registration.clone(), gives_up: false };
        self.calls.insert(port.ask(host, request, timeout));
    }
}

impl Actor for Joiner {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if let Response::RegisterNode { error, message, node } = response
            && self.calls.remove(&id)
        {
            self.admitted(port, error, message.as_deref(), node);
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        self.calls.remove(&id);
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        (self.joined.is_none() && self.calls.len() < CALLS_MAX).then_some(self.next)
    }

    fn finish(&mut self) {}

    fn unfinished(&self) -> Option<String> {
        self.joined.is_none().then(|| format!("{} is not admitted", self.registration.mesh))
    }
}

#[cfg(test)]
mod tests {
    use mesh::raft::Incarnation;

    use super::super::doctored::port;
    use super::*;
    use crate::random::Random;

    fn answered(answers: &[(ErrorCode, i32)]) -> (bool, Option<String>) {
        let registration = Registration {
            node: None,
            incarnation: Incarnation(1),
            peer_id: vec![1],
            kafka: String::new(),
            mesh: "host-9:9192".into(),
            http: String::new(),
            zone: String::new(),
            weight: 1,
        };
        let (mut random, mut next) = (Random::new(1), 0);
        let mut port = port(&mut random, &mut next);
        let mut joiner = Joiner::new(registration, 0);
        for (n, (error, node)) in (1..).zip(answers) {
            joiner.calls.insert(RequestId(n));
            let response = Response::RegisterNode { error: *error, message: None, node: *node };
            joiner.answered(&mut port, RequestId(n), response);
        }
        (port.complaint.is_some(), joiner.unfinished())
    }

    #[test]
    fn a_machine_asks_until_it_is_one_node() {
        assert!(matches!(answered(&[(ErrorCode::RequestTimedOut, -1)]), (false, Some(_))));
        assert_eq!(answered(&[(ErrorCode::None, 4), (ErrorCode::None, 4)]), (false, None));
        assert!(answered(&[(ErrorCode::None, 4), (ErrorCode::None, 5)]).0, "two numbers");
        assert!(answered(&[(ErrorCode::PolicyViolation, -1)]).0, "refused");
        assert!(matches!(answered(&[(ErrorCode::NotEnoughReplicas, -1)]), (false, Some(_))), "not yet");
    }
}
