//! What clients have in common that ask for one thing at a time, now and then, of partitions that they learn about by asking.

use node::core::request::{RequestId, Response};

use super::Topics;
use crate::queue::Micros;

/// The state of such a client; `T` is what it asked for.
pub(crate) struct Asker<T> {
    pub(crate) topics: Topics,
    call: Option<(RequestId, T)>,
    /// It asks no earlier.
    pub(crate) next: Micros,
    finishing: bool,
}

impl<T> Asker<T> {
    /// It begins at `start`.
    pub(crate) fn new(topics: Topics, start: Micros) -> Self {
        Self { topics, call: None, next: start, finishing: false }
    }

    fn is_free(&self) -> bool {
        self.call.is_none() && !self.finishing
    }

    /// Whether it shall ask now.
    pub(crate) fn is_due(&self, now: Micros) -> bool {
        self.is_free() && now >= self.next
    }

    /// It asked.
    pub(crate) fn asked(&mut self, id: RequestId, what: T) {
        self.call = Some((id, what));
    }

    /// What the answer is to, unless it is about topics.
    pub(crate) fn answered(&mut self, id: RequestId, response: &Response) -> Option<T> {
        if self.topics.answered(id, response) {
            return None;
        }
        Some(self.call.take_if(|(call, _)| *call == id)?.1)
    }

    /// No answer will come.
    pub(crate) fn broken(&mut self, id: RequestId) {
        if !self.topics.broken(id) && self.call.take_if(|(call, _)| *call == id).is_some() {
            self.topics.doubt();
        }
    }

    /// When it wants to be woken.
    pub(crate) fn due(&self) -> Option<Micros> {
        let next = self.is_free().then_some(self.next);
        [next, self.topics.due()].into_iter().flatten().min()
    }

    /// It asks for nothing more.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }

    /// The request that waits, and what it is for.
    pub(crate) fn waiting(&self) -> Option<&(RequestId, T)> {
        self.call.as_ref()
    }
}
