//! Consumer groups: in one generation a partition is one member's, committed offsets are kept and never go back, and who belongs to an
//! older generation commits nothing.
//!
//! Only of topics that are never deleted: with a topic its offsets go.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use node::core::error::ErrorCode;
use node::core::groups::api::{GroupRequest, GroupResponse};
use node::core::request::{RequestId, TopicRef};

use super::{Check, Verdict, violated};
use crate::client::share;
use crate::scenario::STABLE;

const ONE: &str = "in a generation a partition is one member's";
const KEPT: &str = "committed offsets are kept and never go back";
const FENCED: &str = "an older generation commits nothing";

/// Of a group.
type Place = (String, String, i32);

/// What was known when a question reached a node.
#[derive(Default)]
struct Before {
    /// Offsets that were acknowledged or shown by then.
    offsets: BTreeMap<Place, i64>,
    /// The newest generation whose shares were told.
    generation: i32,
}

/// What was told to members.
#[derive(Default)]
pub(super) struct Groups {
    asked: BTreeMap<RequestId, Before>,
    offsets: BTreeMap<Place, i64>,
    generations: BTreeMap<String, i32>,
    /// By group and generation: whose is which share. A static member keeps its share under another id.
    shares: BTreeMap<(String, i32), BTreeMap<String, Bytes>>,
}

fn place(group: &str, topic: &TopicRef, partition: i32) -> Option<Place> {
    match topic {
        TopicRef::Name(name) if name.starts_with(STABLE) => Some((group.to_owned(), name.clone(), partition)),
        _ => None,
    }
}

impl Groups {
    fn shared(&mut self, group: &str, generation: i32, member: &str, assignment: &Bytes) -> Verdict {
        let newest = self.generations.entry(group.to_owned()).or_default();
        *newest = generation.max(*newest);
        let shares = self.shares.entry((group.to_owned(), generation)).or_default();
        let mine: BTreeSet<_> = share(assignment).collect();
        for (other, theirs) in shares.iter() {
            let both = share(theirs).find(|key| mine.contains(key));
            let Some((topic, partition)) = both.filter(|_| other != member) else { continue };
            let what = format!(
                "generation {generation} of {group}: {topic}/{partition} is told to {other} and to {member}"
            );
            return violated(ONE, what);
        }
        let told = shares.entry(member.to_owned()).or_insert_with(|| assignment.clone());
        if told != assignment {
            let what =
                format!("generation {generation} of {group}: {member} is told {told:?}, then {assignment:?}");
            return violated(ONE, what);
        }
        Ok(())
    }

    fn shown(&mut self, before: &Before, place: Place, offset: i64) -> Verdict {
        if let Some(known) = before.offsets.get(&place).filter(|known| offset < **known) {
            let (group, topic, partition) = place;
            return violated(
                KEPT,
                format!("{group} had {known} in {topic}/{partition}, and now has {offset}"),
            );
        }
        let known = self.offsets.entry(place).or_insert(offset);
        *known = offset.max(*known);
        Ok(())
    }
}

impl Check for Groups {
    fn group_asked(&mut self, id: RequestId, request: &GroupRequest) {
        let before = match request {
            GroupRequest::CommitOffsets(commit) => Before {
                generation: self.generations.get(&commit.of.group).copied().unwrap_or(0),
                ..Before::default()
            },
            GroupRequest::FetchOffsets { groups } => {
                let named = |(group, ..): &Place| groups.iter().any(|asked| asked.group == *group);
                let offsets = self.offsets.iter().filter(|(place, _)| named(place));
                Before {
                    offsets: offsets.map(|(place, offset)| (place.clone(), *offset)).collect(),
                    generation: 0,
                }
            }
            _ => return,
        };
        self.asked.insert(id, before);
    }

    fn group_answered(&mut self, id: RequestId, request: &GroupRequest, response: &GroupResponse) -> Verdict {
        let before = self.asked.remove(&id).unwrap_or_default();
        match (request, response) {
            (GroupRequest::Sync(sync), GroupResponse::Sync(synced)) if synced.error == ErrorCode::None => {
                let member = sync.of.instance.as_ref().unwrap_or(&sync.of.member);
                self.shared(&sync.of.group, sync.of.generation, member, &synced.assignment)
            }
            (GroupRequest::CommitOffsets(commit), GroupResponse::CommitOffsets { partitions }) => {
                for (asked, answer) in commit.partitions.iter().zip(partitions) {
                    if answer.error != ErrorCode::None {
                        continue;
                    }
                    if commit.of.generation >= 0 && commit.of.generation < before.generation {
                        let (group, old, new) = (&commit.of.group, commit.of.generation, before.generation);
                        let what = format!(
                            "{group} takes a commit of generation {old} after it shared generation {new}"
                        );
                        return violated(FENCED, what);
                    }
                    if let Some(place) = place(&commit.of.group, &asked.topic, asked.partition) {
                        self.shown(&Before::default(), place, asked.offset)?;
                    }
                }
                Ok(())
            }
            (GroupRequest::FetchOffsets { .. }, GroupResponse::FetchOffsets { groups }) => {
                for group in groups.iter().filter(|group| group.error == ErrorCode::None) {
                    for part in group.partitions.iter().filter(|part| part.error == ErrorCode::None) {
                        if let Some(place) = place(&group.group, &part.topic, part.partition) {
                            self.shown(&before, place, part.offset)?;
                        }
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use node::core::groups::api::*;

    use super::*;

    fn of(generation: i32, member: &str) -> MemberOf {
        MemberOf { group: "g".into(), generation, member: member.into(), instance: None }
    }

    fn sync(groups: &mut Groups, generation: i32, member: &str, share: &'static str) -> Verdict {
        let request = SyncGroup {
            of: of(generation, member),
            protocol_type: None,
            protocol: None,
            assignments: Vec::new(),
        };
        let synced = Synced {
            error: ErrorCode::None,
            protocol_type: None,
            protocol: None,
            assignment: Bytes::from_static(share.as_bytes()),
        };
        groups.group_answered(RequestId(0), &GroupRequest::Sync(request), &GroupResponse::Sync(synced))
    }

    fn commit(groups: &mut Groups, generation: i32, offset: i64) -> (GroupRequest, GroupResponse) {
        let topic = TopicRef::Name("stable-0".into());
        let part = CommitPartition {
            topic: topic.clone(),
            partition: 0,
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let request =
            GroupRequest::CommitOffsets(CommitOffsets { of: of(generation, "a"), partitions: vec![part] });
        groups.group_asked(RequestId(1), &request);
        let done = PartitionError { topic, partition: 0, error: ErrorCode::None };
        (request, GroupResponse::CommitOffsets { partitions: vec![done] })
    }

    fn fetched(groups: &mut Groups, offset: i64) -> (GroupRequest, GroupResponse) {
        let topic = TopicRef::Name("stable-0".into());
        let request = GroupRequest::FetchOffsets {
            groups: vec![FetchGroup { group: "g".into(), partitions: Some(vec![(topic.clone(), 0)]) }],
        };
        groups.group_asked(RequestId(2), &request);
        let part = FetchedOffset {
            topic,
            topic_id: Default::default(),
            partition: 0,
            error: ErrorCode::None,
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let group = FetchedGroup { group: "g".into(), error: ErrorCode::None, partitions: vec![part] };
        (request, GroupResponse::FetchOffsets { groups: vec![group] })
    }

    fn answer(groups: &mut Groups, id: u64, told: (GroupRequest, GroupResponse)) -> Option<&'static str> {
        groups.group_answered(RequestId(id), &told.0, &told.1).err().map(|violation| violation.check)
    }

    #[test]
    fn a_partition_is_one_members() {
        let mut groups = Groups::default();
        assert!(sync(&mut groups, 1, "a", "stable-0 0\nstable-0 1\n").is_ok());
        assert!(sync(&mut groups, 1, "a", "stable-0 0\nstable-0 1\n").is_ok(), "told again");
        assert!(sync(&mut groups, 1, "b", "stable-1 0\n").is_ok());
        assert!(sync(&mut groups, 2, "b", "stable-0 0\n").is_ok(), "another generation");
        assert_eq!(sync(&mut groups, 1, "c", "stable-0 1\n").map_err(|v| v.check), Err(ONE));
        assert_eq!(sync(&mut groups, 1, "a", "stable-0 0\n").map_err(|v| v.check), Err(ONE));
    }

    #[test]
    fn offsets_are_kept() {
        let mut groups = Groups::default();
        let unknown = fetched(&mut groups, -1);
        assert_eq!(answer(&mut groups, 2, unknown), None);
        let first = commit(&mut groups, 1, 5);
        assert_eq!(answer(&mut groups, 1, first), None);
        let same = fetched(&mut groups, 5);
        assert_eq!(answer(&mut groups, 2, same), None);
        let less = fetched(&mut groups, 4);
        assert_eq!(answer(&mut groups, 2, less), Some(KEPT));
        let (asked, early) = (fetched(&mut groups, 5), commit(&mut groups, 1, 9));
        assert_eq!(answer(&mut groups, 1, early), None);
        assert_eq!(answer(&mut groups, 2, asked), None, "asked before it was acknowledged");
    }

    #[test]
    fn an_older_generation_is_fenced() {
        let mut groups = Groups::default();
        assert!(sync(&mut groups, 1, "a", "").is_ok());
        let early = commit(&mut groups, 1, 5);
        assert!(sync(&mut groups, 2, "b", "").is_ok());
        assert_eq!(answer(&mut groups, 1, early), None, "it came before");
        let late = commit(&mut groups, 1, 6);
        assert_eq!(answer(&mut groups, 1, late), Some(FENCED));
    }
}
