//! What clients ask of a coordinator and what they get, without Kafka's encoding.

use bytes::Bytes;

use crate::core::error::ErrorCode;
use crate::core::request::{TopicId, TopicRef};

/// A request about groups. All but [`FindCoordinator`](Self::FindCoordinator) and [`List`](Self::List) are for the coordinator of the
/// groups they name; [`Describe`](Self::Describe), [`Delete`](Self::Delete) and [`FetchOffsets`](Self::FetchOffsets) may name several, each
/// answered for itself.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are Kafka's own")]
pub enum GroupRequest {
    /// Where the coordinators of these groups are.
    FindCoordinator {
        groups: Vec<String>,
    },
    Join(JoinGroup),
    Sync(SyncGroup),
    Heartbeat(MemberOf),
    Leave {
        group: String,
        members: Vec<Leaving>,
    },
    CommitOffsets(CommitOffsets),
    FetchOffsets {
        groups: Vec<FetchGroup>,
    },
    /// OffsetDelete.
    DeleteOffsets {
        group: String,
        partitions: Vec<(TopicRef, i32)>,
    },
    Describe {
        groups: Vec<String>,
    },
    /// Groups whose coordinator is the node asked; of these states, any when empty.
    List {
        states: Vec<String>,
    },
    Delete {
        groups: Vec<String>,
    },
}

/// Who asks, as a member of a generation. `generation` is below 0 and `member` empty for a client that is no member.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct MemberOf {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
}

/// A JoinGroup. Protocols are in the member's order of preference.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct JoinGroup {
    pub group: String,
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    pub protocols: Vec<(String, Bytes)>,
    /// The client comes back with the member id that it is given (version 4, KIP-394).
    pub knows_member_ids: bool,
    /// The client can be told to leave the assignment as it is (version 9, KIP-814).
    pub skips_assignment: bool,
}

/// A SyncGroup; only the leader brings assignments.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct SyncGroup {
    pub of: MemberOf,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignments: Vec<(String, Bytes)>,
}

/// One member that leaves; by its id, or by its instance alone.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct Leaving {
    pub member: String,
    pub instance: Option<String>,
}

/// An OffsetCommit.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct CommitOffsets {
    pub of: MemberOf,
    pub partitions: Vec<CommitPartition>,
}

/// One partition of an OffsetCommit.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct CommitPartition {
    pub topic: TopicRef,
    pub partition: i32,
    pub offset: i64,
    /// -1 when the client does not say.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// One group of an OffsetFetch. `partitions` is `None` for all that have an offset.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct FetchGroup {
    pub group: String,
    pub partitions: Option<Vec<(TopicRef, i32)>>,
}

/// The answer to a [`GroupRequest`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are Kafka's own")]
pub enum GroupResponse {
    FindCoordinator { coordinators: Vec<Coordinating> },
    Join(Joined),
    Sync(Synced),
    Heartbeat(ErrorCode),
    Leave { error: ErrorCode, members: Vec<(Leaving, ErrorCode)> },
    CommitOffsets { partitions: Vec<PartitionError> },
    FetchOffsets { groups: Vec<FetchedGroup> },
    DeleteOffsets { error: ErrorCode, partitions: Vec<PartitionError> },
    Describe { groups: Vec<DescribedGroup> },
    List { error: ErrorCode, groups: Vec<ListedGroup> },
    Delete { groups: Vec<(String, ErrorCode)> },
}

/// Where a group's coordinator is. `node` is -1 with an error.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "obvious")]
pub struct Coordinating {
    pub group: String,
    pub error: ErrorCode,
    pub node: i32,
}

/// The answer to a JoinGroup. `members` is empty but for the leader.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct Joined {
    pub error: ErrorCode,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    pub member: String,
    pub members: Vec<JoinedMember>,
}

impl Joined {
    /// A refusal.
    pub fn refused(error: ErrorCode, member: &str) -> Self {
        Self {
            error,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member: member.to_owned(),
            members: Vec::new(),
        }
    }
}

/// A member as its group's leader sees it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct JoinedMember {
    pub member: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

/// The answer to a SyncGroup.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct Synced {
    pub error: ErrorCode,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

impl Synced {
    /// A refusal.
    pub fn refused(error: ErrorCode) -> Self {
        Self { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// What became of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "obvious")]
pub struct PartitionError {
    pub topic: TopicRef,
    pub partition: i32,
    pub error: ErrorCode,
}

/// The offsets of one group.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct FetchedGroup {
    pub group: String,
    pub error: ErrorCode,
    pub partitions: Vec<FetchedOffset>,
}

/// One committed offset; -1 when there is none.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct FetchedOffset {
    pub topic: TopicRef,
    /// Of the topic's present incarnation; zero when it is not known here.
    pub topic_id: TopicId,
    pub partition: i32,
    pub error: ErrorCode,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// A group as DescribeGroups tells it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct DescribedGroup {
    pub group: String,
    pub error: ErrorCode,
    pub state: &'static str,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups tells it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct DescribedMember {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A group as ListGroups tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct ListedGroup {
    pub group: String,
    pub protocol_type: String,
    pub state: &'static str,
}

impl GroupRequest {
    /// The whole request refused for one reason.
    pub(crate) fn refused(&self, error: ErrorCode) -> GroupResponse {
        let failed = |(topic, partition): &(TopicRef, i32)| PartitionError {
            topic: topic.clone(),
            partition: *partition,
            error,
        };
        match self {
            Self::FindCoordinator { groups } => {
                let refuse = |group: &String| Coordinating { group: group.clone(), error, node: -1 };
                GroupResponse::FindCoordinator { coordinators: groups.iter().map(refuse).collect() }
            }
            Self::Join(join) => GroupResponse::Join(Joined::refused(error, &join.member)),
            Self::Sync(_) => GroupResponse::Sync(Synced::refused(error)),
            Self::Heartbeat(_) => GroupResponse::Heartbeat(error),
            Self::Leave { .. } => GroupResponse::Leave { error, members: Vec::new() },
            Self::CommitOffsets(commit) => {
                let partitions = commit.partitions.iter();
                let refuse = |part: &CommitPartition| failed(&(part.topic.clone(), part.partition));
                GroupResponse::CommitOffsets { partitions: partitions.map(refuse).collect() }
            }
            Self::FetchOffsets { groups } => {
                let refuse = |asked: &FetchGroup| FetchedGroup {
                    group: asked.group.clone(),
                    error,
                    partitions: Vec::new(),
                };
                GroupResponse::FetchOffsets { groups: groups.iter().map(refuse).collect() }
            }
            Self::DeleteOffsets { partitions, .. } => {
                GroupResponse::DeleteOffsets { error, partitions: partitions.iter().map(failed).collect() }
            }
            Self::Describe { groups } => {
                let refuse = |group: &String| DescribedGroup::refused(group, error);
                GroupResponse::Describe { groups: groups.iter().map(refuse).collect() }
            }
            Self::List { .. } => GroupResponse::List { error, groups: Vec::new() },
            Self::Delete { groups } => {
                GroupResponse::Delete { groups: groups.iter().map(|group| (group.clone(), error)).collect() }
            }
        }
    }
}

impl DescribedGroup {
    /// A group of which nothing is told.
    pub(crate) fn refused(group: &str, error: ErrorCode) -> Self {
        Self {
            group: group.to_owned(),
            error,
            state: "",
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}

impl GroupResponse {
    /// Every error in it, for figures.
    pub fn errors(&self) -> Vec<ErrorCode> {
        match self {
            Self::FindCoordinator { coordinators } => coordinators.iter().map(|found| found.error).collect(),
            Self::Join(joined) => vec![joined.error],
            Self::Sync(synced) => vec![synced.error],
            Self::Heartbeat(error) | Self::List { error, .. } => vec![*error],
            Self::Leave { error, members } => {
                members.iter().map(|(_, error)| *error).chain([*error]).collect()
            }
            Self::CommitOffsets { partitions } => partitions.iter().map(|part| part.error).collect(),
            Self::FetchOffsets { groups } => groups.iter().map(|group| group.error).collect(),
            Self::DeleteOffsets { error, partitions } => {
                partitions.iter().map(|part| part.error).chain([*error]).collect()
            }
            Self::Describe { groups } => groups.iter().map(|group| group.error).collect(),
            Self::Delete { groups } => groups.iter().map(|(_, error)| *error).collect(),
        }
    }

    /// About how many bytes it takes in memory, for the bound on unread responses.
    pub fn weight(&self) -> usize {
        match self {
            Self::Join(joined) => joined.members.iter().map(|m| 64 + m.member.len() + m.metadata.len()).sum(),
            Self::Sync(synced) => synced.assignment.len(),
            Self::FetchOffsets { groups } => {
                groups.iter().flat_map(|group| &group.partitions).map(|part| 96 + part.metadata.len()).sum()
            }
            Self::Describe { groups } => {
                let of = |m: &DescribedMember| 128 + m.member.len() + m.metadata.len() + m.assignment.len();
                groups.iter().flat_map(|group| &group.members).map(of).sum()
            }
            Self::List { groups, .. } => groups.iter().map(|group| 64 + group.group.len()).sum(),
            _ => 0,
        }
    }
}
