//! A request's parts, each for one partition or topic: some go to the node, some are refused here, and the response has
//! all of them in the client's order again.

use kafka_protocol::messages::TopicName;
use uuid::Uuid;

use super::{Api, CloseReason, EncodeError};
use crate::core::request::{TopicId, TopicRef};

/// Bytes of topic names that one request may spread over its partitions, each of which carries its own copy.
pub(super) const NAME_BYTES_MAX: usize = 64 << 20;

/// The parts of a request that were answered without the node, each with its place among all parts.
#[derive(Debug)]
pub(super) struct Refused<T> {
    /// Parts of the request, or `None` when the node decides how many there are.
    pub(super) asked: Option<usize>,
    pub(super) parts: Vec<(usize, T)>,
}

impl<T> Refused<T> {
    pub(super) fn any(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The places, among all parts, of those that go to the node.
    pub(super) fn open_places(&self, asked: usize) -> Vec<usize> {
        let refused: Vec<usize> = self.parts.iter().map(|(place, _)| *place).collect();
        let all = 0..asked + refused.len();
        all.filter(|place| refused.binary_search(place).is_err()).collect()
    }

    /// Adds refusals to the earlier ones.
    pub(super) fn refuse(&mut self, more: Vec<(usize, T)>) {
        self.parts.extend(more);
        self.parts.sort_by_key(|(place, _)| *place);
    }

    /// Refusals and answers in the client's order.
    pub(super) fn merge(self, api: Api, answers: Vec<T>) -> Result<Vec<T>, EncodeError> {
        if self.asked.is_some_and(|asked| asked != answers.len() + self.parts.len()) {
            return Err(EncodeError::Mismatch { api });
        }
        if self.parts.is_empty() {
            return Ok(answers);
        }
        let mut merged = Vec::with_capacity(answers.len() + self.parts.len());
        let mut answers = answers.into_iter();
        for (place, part) in self.parts {
            merged.extend(answers.by_ref().take(place.saturating_sub(merged.len())));
            merged.push(part);
        }
        merged.extend(answers);
        Ok(merged)
    }
}

/// Sorts the parts of a request into those for the node and those refused.
pub(super) struct Sorter<Q, T> {
    pub(super) ask: Vec<Q>,
    pub(super) refused: Refused<T>,
    name_bytes: usize,
}

impl<Q, T> Sorter<Q, T> {
    pub(super) fn new() -> Self {
        Sorter { ask: Vec::new(), refused: Refused { asked: Some(0), parts: Vec::new() }, name_bytes: 0 }
    }

    pub(super) fn push(&mut self, part: Result<Q, T>) {
        match part {
            Ok(ask) => self.ask.push(ask),
            Err(refusal) => self.refused.parts.push((self.refused.asked.unwrap_or(0), refusal)),
        }
        self.refused.asked = self.refused.asked.map(|asked| asked + 1);
    }

    /// A topic whose name or id is about to be copied into so many parts.
    pub(super) fn topic(
        &mut self,
        name: &TopicName,
        id: Uuid,
        by_id: bool,
        parts: usize,
    ) -> Result<TopicRef, CloseReason> {
        if by_id {
            return Ok(TopicRef::Id(TopicId(*id.as_bytes())));
        }
        self.name_bytes = self.name_bytes.saturating_add(name.len().saturating_mul(parts));
        if self.name_bytes > NAME_BYTES_MAX {
            Err(CloseReason::Names)
        } else {
            Ok(TopicRef::Name(name.to_string()))
        }
    }
}

/// The id of no topic.
pub(super) const NO_TOPIC: TopicRef = TopicRef::Id(TopicId([0; 16]));

/// Runs of parts of one topic, in order.
pub(super) fn by_topic<T>(parts: Vec<T>, topic: impl Fn(&T) -> &TopicRef) -> Vec<(TopicRef, Vec<T>)> {
    let mut runs: Vec<(TopicRef, Vec<T>)> = Vec::new();
    for part in parts {
        match runs.last_mut() {
            Some((last, run)) if last == topic(&part) => run.push(part),
            _ => runs.push((topic(&part).clone(), vec![part])),
        }
    }
    runs
}
