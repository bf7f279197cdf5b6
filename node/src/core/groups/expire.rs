//! What goes: offsets that outlived their group or their topic, groups that nobody needs, and what clients delete.

use super::api::GroupResponse;
use super::coordinator::{Coordinator, Then, Topics, with_group};
use super::group::{Group, Offset, State};
use super::record::{group_record, offset_record};
use crate::core::error::ErrorCode;
use crate::core::partition::Waiter;

/// Tombstones in one append at most.
const TOMBSTONES_MAX: usize = 1_000;

impl Group {
    /// Offsets whose time is over: those of topics that are gone, and those of a group without members, `retention_ms` after the last
    /// member left it or, where it never had any, after they were committed.
    fn expired(&self, wall_ms: i64, retention_ms: i64, topics: &dyn Topics) -> Vec<(String, i32)> {
        let since = match (self.state, &self.protocol_type) {
            (State::Empty, Some(_)) => Some(self.changed_ms),
            (State::Empty, None) => Some(i64::MIN),
            _ => None,
        };
        let over = |topic: &str, offset: &Offset| {
            let Some(stored) = offset.committed.as_ref().filter(|_| offset.pending.is_empty()) else {
                return false;
            };
            let old = since.map(|since| since.max(stored.committed_ms).saturating_add(retention_ms));
            old.is_some_and(|ends| ends <= wall_ms) || topics.is_gone(topic, stored.topic_id)
        };
        let mut expired = Vec::new();
        for (topic, partitions) in &self.offsets {
            let gone = partitions.iter().filter(|(_, offset)| over(topic, offset));
            expired.extend(gone.map(|(partition, _)| (topic.clone(), *partition)));
        }
        expired
    }
}

impl Coordinator {
    /// Looks for what is over. To be called every `offsets.retention.check.interval.ms`.
    pub(crate) fn expire(&mut self, topics: &dyn Topics) {
        let (wall_ms, retention_ms) = (self.wall_ms, self.config.retention_ms);
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(group) = self.groups.get(&id) else { continue };
            let expired = group.expired(wall_ms, retention_ms, topics);
            let kept: usize = group.offsets.values().map(|partitions| partitions.len()).sum();
            let unused = group.state == State::Empty && group.pending.is_empty();
            let whole = unused && kept == expired.len() && expired.len() <= TOMBSTONES_MAX;
            if whole || !expired.is_empty() {
                self.remove_offsets(&id, expired, whole, None);
            }
        }
    }

    /// DeleteGroups: a group without members, with all its offsets.
    pub(super) fn delete(&mut self, from: Waiter, id: &str) {
        let deleted = |error| GroupResponse::Delete { groups: vec![(id.to_owned(), error)] };
        let error = match self.groups.get(id).map(|group| group.state) {
            None | Some(State::Dead) => ErrorCode::GroupIdNotFound,
            Some(State::Empty) => ErrorCode::None,
            Some(_) => ErrorCode::NonEmptyGroup,
        };
        if error != ErrorCode::None {
            return self.answer(from, deleted(error));
        }
        let offsets = self.groups[id].offsets.iter();
        let all =
            offsets.flat_map(|(topic, parts)| parts.keys().map(|part| (topic.clone(), *part))).collect();
        self.remove_offsets(id, all, true, Some((from, deleted(ErrorCode::None))));
    }

    /// Appends tombstones for these offsets, and for the group when all of it goes. The answer is given when the last of them is committed.
    pub(super) fn remove_offsets(
        &mut self,
        id: &str,
        offsets: Vec<(String, i32)>,
        whole: bool,
        mut answer: Option<(Waiter, GroupResponse)>,
    ) {
        with_group!(self, id, |group, step| {
            for (topic, partition) in &offsets {
                group.offset(topic, *partition).pending.push_back(None);
            }
            if whole {
                group.becomes(State::Dead, step.wall_ms);
            }
            let mut pieces: Vec<&[(String, i32)]> = offsets.chunks(TOMBSTONES_MAX).collect();
            if pieces.is_empty() {
                pieces.push(&[]);
            }
            let count = pieces.len();
            for (at, piece) in pieces.into_iter().enumerate() {
                let last = at + 1 == count;
                let tombstone = |(topic, part): &(String, i32)| offset_record(&group.id, topic, *part, None);
                let mut records: Vec<_> = piece.iter().map(tombstone).collect();
                if whole && last {
                    records.push(group_record(&group.id, None));
                }
                let answer = if last { answer.take() } else { None };
                let then = Then::Remove {
                    group: group.id.clone(),
                    offsets: piece.to_vec(),
                    whole: whole && last,
                    answer,
                };
                match (records.is_empty(), then) {
                    // Nothing was there to delete.
                    (true, Then::Remove { answer: Some((from, response)), .. }) => {
                        step.answer(from, response)
                    }
                    (true, _) => {}
                    (false, then) => step.append(records, then),
                }
            }
        });
    }
}

/// An answer that says otherwise.
pub(super) fn with_error(response: GroupResponse, error: ErrorCode) -> GroupResponse {
    match response {
        GroupResponse::Delete { groups } => {
            GroupResponse::Delete { groups: groups.into_iter().map(|(group, _)| (group, error)).collect() }
        }
        GroupResponse::DeleteOffsets { mut partitions, .. } => {
            partitions.iter_mut().for_each(|part| part.error = error);
            GroupResponse::DeleteOffsets { error, partitions }
        }
        other => other,
    }
}
