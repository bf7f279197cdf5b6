//! What goes into a replica and what comes out.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::entry::{Entry, LogStart, Proposal};
use super::hard_state::HardState;
use super::membership::Membership;
use super::message::{Envelope, Message};
use super::types::{Index, NodeId, ReplicaId, Term, WriteId};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A deadline passed, see [`Replica::next_deadline`](super::Replica::next_deadline).
    Tick,
    /// A message arrived.
    Message {
        /// The sender.
        from: ReplicaId,
        /// The addressee.
        to: ReplicaId,
        /// The content.
        message: Message,
    },
    /// Append this, all or nothing.
    Propose(Vec<Proposal>),
    /// Change the membership.
    Change(MembershipChange),
    /// Every write up to this one, inclusive, is durable.
    Synced(WriteId),
    /// What [`LogRead::Loading`] announced can be read now.
    Loaded,
    /// A node is suspected to be down. Who follows a leader there campaigns, but not for `wait_us`: others go first.
    PeerDown {
        /// The node.
        node: NodeId,
        /// Microseconds.
        wait_us: u64,
    },
    /// A node is heard again.
    PeerUp(NodeId),
    /// Whoever vouched for the quiet of the replica set does so no longer, see [`quiet`](super::quiet).
    Wake,
    /// The owner applied a committed log start and trimmed its log.
    SetLogStart(LogStart),
    /// Hand the leadership to this voter.
    Transfer(ReplicaId),
    /// Stop leading, at once and without a successor.
    StepDown,
    /// Ask for votes now instead of at the next deadline; the pre-vote still comes first.
    Campaign,
    /// One append to a replica that is rebuilt and asked for it, see [`Effects::rebuilds`]. It may wait for the owner to load it.
    Grant {
        /// The replica.
        to: ReplicaId,
        /// Its entries, unless one alone is larger.
        bytes: usize,
    },
    /// Tell an index at which a read, begun now, is linearizable; the number comes back with the answer.
    Read(u64),
}

/// A change of membership that the owner asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Send the log to this triple too.
    AddLearner(ReplicaId),
    /// Stop sending the log to this learner.
    RemoveLearner(ReplicaId),
    /// Make these the voters, by joint consensus; the leave follows by itself. Each is a voter or a learner now.
    Joint {
        /// The new set.
        voters: BTreeSet<ReplicaId>,
        /// The owner's number of the decision that this follows. One below that of the membership in force is refused: it would bring
        /// back who left.
        as_of: u64,
    },
}

/// What one step asks of the owner. Empty when nothing happened, and then nothing was allocated.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be staged before anything else here is looked at; [`Input::Synced`] follows once it is durable.
    pub write: Option<WriteBatch>,
    /// To be sent now: what must wait for a sync is not in here before that.
    pub send: Vec<Envelope>,
    /// The commit index rose to this.
    pub commit: Option<Index>,
    /// Nothing of the proposal, change or transfer was taken.
    pub rejected: Option<ProposeError>,
    /// Role, term or known leader changed.
    pub role: Option<RoleChange>,
    /// Answers to reads: the index that must be applied first.
    pub reads: Vec<(u64, Result<Index, NotLeader>)>,
    /// What became of replicas that are rebuilt, in order. Only where [`Config::paced`](super::Config::paced).
    ///
    /// A replica is rebuilt while it lacks entries that are no longer in memory and is a learner, or a voter that was not caught up
    /// for longer than `in_sync_lag_us` and that no majority waits for. Nothing else ever waits for a grant.
    pub rebuilds: Vec<Rebuild>,
    /// A message or input was dropped because it cannot be right. Counted by the owner.
    pub dropped: Option<DropReason>,
}

/// A word about a replica that is rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// It waits for [`Input::Grant`]; said at most once between two heartbeats until that comes.
    Asks {
        /// The replica.
        to: ReplicaId,
    },
    /// A grant was used.
    Sent {
        /// The replica.
        to: ReplicaId,
        /// The bytes of the append's entries, by [`Entry::weight`].
        bytes: usize,
    },
}

/// What must become durable, as one, in this order: reset, hard state, truncation, entries.
#[derive(Debug, PartialEq, Eq)]
pub struct WriteBatch {
    /// Named by [`Input::Synced`].
    pub id: WriteId,
    /// Replaces the former. Always there with a reset, and then part of its one atomic write.
    pub hard_state: Option<HardState>,
    /// Remove this index and everything above.
    pub truncate_from: Option<Index>,
    /// Append after what is then the last index.
    pub append: Vec<Entry>,
    /// Start from elsewhere. Never together with a truncation or entries.
    pub reset: Option<Reset>,
}

/// A replica's log starts from elsewhere, in one atomic write.
#[derive(Debug, PartialEq, Eq)]
pub struct Reset {
    /// The new log start.
    pub start: LogStart,
    /// The membership there.
    pub membership: Membership,
    /// The applied state and its index, which is not below the log start.
    pub checkpoint: (Index, Bytes),
    /// The log holds `start` and what follows it stays; else the log is empty after `start`.
    pub keep_suffix: bool,
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Appends what it is told; every learner is one.
    Follower,
    /// Asks whether an election would succeed.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Tells the others.
    Leader,
}

/// Role, term or known leader after a step that changed one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The role now.
    pub role: Role,
    /// The term now.
    pub term: Term,
    /// The leader of that term, if known.
    pub leader: Option<ReplicaId>,
}

/// The replica does not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not lead")]
pub struct NotLeader {
    /// Who does, as far as known.
    pub leader: Option<ReplicaId>,
}

/// Why nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another replica leads, or this one is handing over.
    #[error("this replica does not lead")]
    NotLeader {
        /// Who does, as far as known.
        leader: Option<ReplicaId>,
    },
    /// Too many bytes wait to be committed.
    #[error("too many bytes wait to be committed")]
    Overloaded,
    /// A membership is not committed yet, is joint, or the leader has not committed in its term yet.
    #[error("the former membership change is not finished")]
    ChangeInProgress,
    /// The change makes no sense.
    #[error("invalid membership change: {0}")]
    InvalidChange(InvalidChange),
    /// A proposal of a kind that is the core's own, or offsets that would overflow.
    #[error("invalid proposal")]
    InvalidProposal,
    /// The target is no other voter of the membership.
    #[error("the target of the transfer is not another voter")]
    InvalidTransfer,
}

/// Why a membership change makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// Already a voter or learner.
    #[error("already a member")]
    AlreadyMember,
    /// Not a learner.
    #[error("not a learner")]
    NotLearner,
    /// A new voter must have been a learner.
    #[error("a new voter is not a learner yet")]
    VoterNotLearner,
    /// No voters at all.
    #[error("no voters")]
    NoVoters,
    /// Two voters are worse than one: either one's loss stops them. Add two learners and go to three.
    #[error("from one voter to two")]
    OneToTwo,
    /// It follows an older decision than the membership in force.
    #[error("an older decision than the one in force")]
    Outdated,
    /// The voters are these already.
    #[error("nothing changes")]
    NoChange,
    /// More than [`MEMBERS_MAX`](super::MEMBERS_MAX) triples.
    #[error("too many members")]
    TooMany,
}

/// Why a message or input was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Addressed to another triple.
    WrongAddressee,
    /// A reply of a triple that the membership does not hold.
    NotMember,
    /// A term above [`Term::MAX`](super::Term::MAX).
    TermOutOfRange,
    /// Entries with holes, overflowing indexes or falling terms.
    BadEntries,
    /// Offsets that are not dense, or that disagree with the log.
    BadOffsets,
    /// A membership entry that cannot be read.
    BadMembership,
    /// Entries that contradict committed ones.
    ConflictBelowCommit,
    /// A second leader of this term.
    SecondLeader,
    /// An acknowledgement beyond the leader's log.
    BadAck,
    /// A reset that contradicts itself.
    BadReset,
    /// A log start that is not committed here or goes back.
    BadLogStart,
    /// A sync of a write that was never asked for.
    BadSync,
}

/// What the core may ask its owner during a step. It reflects staged writes of earlier steps.
pub trait Log {
    /// Entries from `first` on, dense, at least one, about `bytes_max` bytes.
    fn entries(&self, first: Index, bytes_max: usize) -> LogRead;

    /// The same for a replica that is rebuilt: whoever else waits for the disk may go first.
    fn entries_for_rebuild(&self, first: Index, bytes_max: usize) -> LogRead {
        self.entries(first, bytes_max)
    }

    /// The offset after the entry at `index`, or at the log start when `index` is it; `None` when not held.
    fn end_offset(&self, index: Index) -> Option<i64>;

    /// The applied state for a follower behind the log start: its index, not below the log start and not above
    /// the commit index, and its bytes.
    fn checkpoint(&self) -> (Index, Bytes);
}

/// The answer of [`Log::entries`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRead {
    /// Here they are.
    Ready(Vec<Entry>),
    /// They come from the disk; [`Input::Loaded`] follows.
    Loading,
    /// Below the log start.
    Gone,
}
