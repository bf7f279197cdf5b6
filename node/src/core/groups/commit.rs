//! OffsetCommit, OffsetFetch and OffsetDelete.

use std::collections::BTreeSet;

use super::api::{
    CommitOffsets, CommitPartition, FetchGroup, FetchedGroup, FetchedOffset, GroupResponse, MemberOf,
    PartitionError,
};
use super::config::NAME_BYTES_MAX;
use super::coordinator::{Coordinator, Step, Then, Topics, with_group};
use super::group::{Group, State};
use super::record::{StoredOffset, offset_record};
use crate::core::error::ErrorCode;
use crate::core::partition::Waiter;
use crate::core::request::{TopicId, TopicRef};
use crate::mutant::{self, Mutant};

impl Group {
    /// Whether offsets may be committed by whoever asks: a member of the present generation, or anybody while there are no members.
    fn check_commit(&self, of: &MemberOf) -> Result<(), ErrorCode> {
        match self.state {
            State::Dead => return Err(ErrorCode::CoordinatorNotAvailable),
            State::Empty if of.generation < 0 => return Ok(()),
            _ => {}
        }
        if of.generation < 0 && of.member.is_empty() && of.instance.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check(of)?;
        match self.state {
            // Its assignment is not even told.
            State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    fn commit(
        &mut self,
        step: &mut Step<'_>,
        from: Waiter,
        of: &MemberOf,
        offsets: Vec<(String, i32, StoredOffset)>,
        answer: Vec<PartitionError>,
    ) {
        if let Some(member) = self.members.get_mut(&of.member) {
            member.heard(step.now);
        }
        let mut records = Vec::with_capacity(offsets.len());
        for (topic, partition, stored) in &offsets {
            records.push(offset_record(&self.id, topic, *partition, Some(stored)));
            self.offset(topic, *partition).pending.push_back(Some(stored.clone()));
        }
        if mutant::active(Mutant::OffsetAckedEarly) {
            step.answer(from, GroupResponse::CommitOffsets { partitions: answer.clone() });
        }
        step.append(records, Then::Commit { group: self.id.clone(), from, offsets, answer });
    }

    pub(super) fn offset(&mut self, topic: &str, partition: i32) -> &mut super::group::Offset {
        if !self.offsets.contains_key(topic) {
            self.offsets.insert(topic.to_owned(), Default::default());
        }
        self.offsets.get_mut(topic).expect("inserted above").entry(partition).or_default()
    }

    pub(super) fn replay_offset(&mut self, topic: String, partition: i32, stored: Option<StoredOffset>) {
        self.offset(&topic, partition).committed = stored;
        self.forget_if_none(&topic, partition);
    }

    /// These values of offsets are committed, in the order of the log.
    pub(super) fn offsets_committed(
        &mut self,
        offsets: impl Iterator<Item = (String, i32, Option<StoredOffset>)>,
    ) {
        for (topic, partition, stored) in offsets {
            let offset = self.offset(&topic, partition);
            offset.committed = stored;
            offset.pending.pop_front();
            self.forget_if_none(&topic, partition);
        }
    }

    /// Records about these offsets did not reach the log, which is known before anything else is appended.
    pub(super) fn offsets_refused(&mut self, offsets: impl Iterator<Item = (String, i32)>) {
        for (topic, partition) in offsets {
            self.offset(&topic, partition).pending.pop_back();
            self.forget_if_none(&topic, partition);
        }
    }

    fn forget_if_none(&mut self, topic: &str, partition: i32) {
        let Some(partitions) = self.offsets.get_mut(topic) else { return };
        if partitions.get(&partition).is_some_and(super::group::Offset::is_none) {
            partitions.remove(&partition);
        }
        if partitions.is_empty() {
            self.offsets.remove(topic);
        }
    }

    fn fetched(&self, name: &str, topic: TopicRef, topic_id: TopicId, partition: i32) -> FetchedOffset {
        let committed =
            self.offsets.get(name).and_then(|partitions| partitions.get(&partition)?.committed.as_ref());
        // An offset in a topic that was deleted says nothing of a later one of that name.
        let none = TopicId::default();
        let current = |stored: &&StoredOffset| {
            stored.topic_id == none || topic_id == none || stored.topic_id == topic_id
        };
        let committed = committed.filter(current);
        FetchedOffset {
            topic,
            topic_id,
            partition,
            error: ErrorCode::None,
            offset: committed.map_or(-1, |stored| stored.offset),
            leader_epoch: committed.map_or(-1, |stored| stored.leader_epoch),
            metadata: committed.map_or_else(String::new, |stored| stored.metadata.clone()),
        }
    }

    /// Topics that the members subscribed to, as far as they speak Kafka's consumer protocol.
    fn subscribed(&self) -> BTreeSet<String> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let topics = self.members.values().filter_map(|member| topics_of(&member.metadata(protocol)));
        topics.flatten().collect()
    }
}

/// The topics of a subscription in Kafka's consumer protocol: i16 version, then an array of strings.
fn topics_of(subscription: &[u8]) -> Option<Vec<String>> {
    let count = i32::from_be_bytes(*subscription.get(2..)?.first_chunk::<4>()?);
    let mut rest = subscription.get(6..)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (name, tail) = tail.split_at_checked(usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
        topics.push(String::from_utf8(name.to_vec()).ok()?);
        rest = tail;
    }
    Some(topics)
}

impl Coordinator {
    pub(super) fn commit_offsets(&mut self, from: Waiter, commit: CommitOffsets, topics: &dyn Topics) {
        let CommitOffsets { of, partitions } = commit;
        let wall_ms = self.wall_ms;
        let judged = match self.groups.get(&of.group) {
            Some(group) => group.check_commit(&of),
            None if of.generation >= 0 => Err(ErrorCode::IllegalGeneration),
            None if of.group.len() > NAME_BYTES_MAX => Err(ErrorCode::InvalidGroupId),
            None if !self.has_room_for_groups() => Err(ErrorCode::CoordinatorNotAvailable),
            None => Ok(()),
        };
        let mut offsets = Vec::with_capacity(partitions.len());
        let mut answer = Vec::with_capacity(partitions.len());
        for part in partitions {
            let taken = judged.and_then(|()| self.offset_of(&part, topics));
            let error = taken.as_ref().err().copied().unwrap_or(ErrorCode::None);
            offsets.extend(taken.ok());
            answer.push(PartitionError { topic: part.topic, partition: part.partition, error });
        }
        if offsets.is_empty() {
            return self.answer(from, GroupResponse::CommitOffsets { partitions: answer });
        }
        let id = of.group.clone();
        self.groups.entry(id.clone()).or_insert_with(|| Group::new(id.clone(), wall_ms));
        with_group!(self, &id, |group, step| group.commit(step, from, &of, offsets, answer));
    }

    fn offset_of(
        &self,
        part: &CommitPartition,
        topics: &dyn Topics,
    ) -> Result<(String, i32, StoredOffset), ErrorCode> {
        if part.metadata.len() > self.config.metadata_bytes_max {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        let (name, topic_id) = topics.resolve(&part.topic, part.partition)?;
        let stored = StoredOffset {
            offset: part.offset,
            leader_epoch: part.leader_epoch,
            metadata: part.metadata.clone(),
            committed_ms: self.wall_ms,
            topic_id,
        };
        Ok((name, part.partition, stored))
    }

    /// What is committed; a group that nobody knows has no offsets, which is no error.
    pub(super) fn fetch_offsets(&self, asked: FetchGroup, topics: &dyn Topics) -> FetchedGroup {
        let nobody = Group::new(asked.group.clone(), 0);
        let group = self.groups.get(&asked.group).unwrap_or(&nobody);
        let partitions = match asked.partitions {
            Some(partitions) => partitions
                .into_iter()
                .map(|(topic, partition)| fetch_one(group, topic, partition, topics))
                .collect(),
            None => fetch_all(group, topics),
        };
        FetchedGroup { group: asked.group, error: ErrorCode::None, partitions }
    }

    pub(super) fn delete_offsets(
        &mut self,
        from: Waiter,
        id: &str,
        partitions: Vec<(TopicRef, i32)>,
        topics: &dyn Topics,
    ) {
        let refuse = |error| GroupResponse::DeleteOffsets { error, partitions: Vec::new() };
        let subscribed = match self.groups.get(id) {
            None => return self.answer(from, refuse(ErrorCode::GroupIdNotFound)),
            Some(group) => match group.state {
                State::Dead => return self.answer(from, refuse(ErrorCode::GroupIdNotFound)),
                State::Empty => BTreeSet::new(),
                _ if group.protocol_type.as_deref() == Some("consumer") => group.subscribed(),
                _ => return self.answer(from, refuse(ErrorCode::NonEmptyGroup)),
            },
        };
        let mut gone = Vec::new();
        let mut answer = Vec::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            let known =
                topics.resolve(&topic, partition).and_then(|(name, _)| match subscribed.contains(&name) {
                    true => Err(ErrorCode::GroupSubscribedToTopic),
                    false => Ok(name),
                });
            let error = known.as_ref().err().copied().unwrap_or(ErrorCode::None);
            gone.extend(known.ok().map(|name| (name, partition)));
            answer.push(PartitionError { topic, partition, error });
        }
        let response = GroupResponse::DeleteOffsets { error: ErrorCode::None, partitions: answer };
        self.remove_offsets(id, gone, false, Some((from, response)));
    }
}

fn fetch_one(group: &Group, topic: TopicRef, partition: i32, topics: &dyn Topics) -> FetchedOffset {
    let (name, topic_id) = match &topic {
        TopicRef::Name(name) => (name.clone(), topics.id_of(name).unwrap_or_default()),
        TopicRef::Id(id) => match topics.resolve(&topic, partition) {
            Ok(found) => found,
            Err(error) => {
                let none = Group::new(String::new(), 0);
                return FetchedOffset { error, ..none.fetched("", topic.clone(), *id, partition) };
            }
        },
    };
    group.fetched(&name, topic, topic_id, partition)
}

fn fetch_all(group: &Group, topics: &dyn Topics) -> Vec<FetchedOffset> {
    let mut all = Vec::new();
    for (name, partitions) in &group.offsets {
        let topic_id = topics.id_of(name).unwrap_or_default();
        let one = |partition: &i32| group.fetched(name, TopicRef::Name(name.clone()), topic_id, *partition);
        all.extend(partitions.keys().map(one).filter(|fetched| fetched.offset >= 0));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn hostile_subscriptions_are_no_panic(bytes: Vec<u8>) -> bool {
            topics_of(&bytes).is_none_or(|topics| topics.len() <= bytes.len())
        }
    }

    #[test]
    fn subscriptions_name_their_topics() {
        let sound = [&[0, 1, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c'][..], &[0xff; 4]].concat();
        assert_eq!(topics_of(&sound), Some(vec!["a".to_owned(), "bc".to_owned()]));
        assert_eq!(topics_of(&sound[..12]), None);
    }
}
