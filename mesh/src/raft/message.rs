//! What replicas say to each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, LogStart};
use super::membership::Membership;
use super::types::{Index, ReplicaId, Term};

/// A message with both ends. Nothing is assumed of the way: it may be lost, doubled, late and out of order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The sender.
    pub from: ReplicaId,
    /// The addressee; anyone else drops it.
    pub to: ReplicaId,
    /// The content.
    pub message: Message,
}

/// What one replica tells another. Every kind carries the sender's term, but for the two of the pre-vote, which carry
/// the term that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me in `term`? Nothing changes by it (Raft dissertation 9.6).
    PreVote {
        /// One above the sender's term.
        term: Term,
        /// The sender's last index and its term.
        last: (Index, Term),
        /// Whether the sender's membership holds the receiver as a voter.
        receiver_is_voter: bool,
    },
    /// The answer.
    PreVoteReply {
        /// The asked term when granted, else the sender's own.
        term: Term,
        /// Yes or no.
        granted: bool,
    },
    /// Vote for me.
    Vote {
        /// The sender's term.
        term: Term,
        /// The sender's last index and its term.
        last: (Index, Term),
        /// Whether the sender's membership holds the receiver as a voter.
        receiver_is_voter: bool,
        /// The leader asked for this election: its lease does not stand against it.
        transfer: bool,
    },
    /// The answer, given once the vote is synced.
    VoteReply {
        /// The sender's term.
        term: Term,
        /// Yes or no.
        granted: bool,
    },
    /// Entries, or a question about `prev` when there are none.
    Append {
        /// The leader's term.
        term: Term,
        /// The index before the first entry, and its term.
        prev: (Index, Term),
        /// Dense, in order.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// The answer.
    AppendReply {
        /// The sender's term.
        term: Term,
        /// Up to here, inclusive, the sender's log is the leader's and synced.
        matched: Index,
        /// When `prev` did not match.
        reject: Option<Reject>,
    },
    /// I lead; sent at intervals, for a read, and when the commit index rose.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// Rises within the term; the answer carries it back.
        seq: u64,
        /// The leader's commit index.
        commit: Index,
        /// Nothing is to do, see [`quiet`](super::quiet): this index is the leader's last. The number is the owner's: how often its
        /// node admitted until now that replicas ceased.
        quiet: Option<u64>,
    },
    /// The answer.
    HeartbeatReply {
        /// The sender's term.
        term: Term,
        /// As in the heartbeat.
        seq: u64,
        /// Up to here, inclusive, the sender's log is the leader's and synced.
        matched: Index,
        /// Up to here, inclusive, the sender's log is the leader's, synced or not. No promise.
        received: Index,
        /// The sender has no timer any more: it waits for the leader or its own node to wake it.
        quiet: bool,
    },
    /// What you need next is gone: start from here.
    Reset {
        /// The leader's term.
        term: Term,
        /// The leader's log start.
        start: LogStart,
        /// The membership there.
        membership: Membership,
        /// The owner's applied state, as of an index that is not below the log start.
        checkpoint: (Index, Bytes),
    },
    /// The answer, given once the reset is synced.
    ResetReply {
        /// The sender's term.
        term: Term,
        /// Up to here, inclusive, the sender's log is the leader's and synced.
        matched: Index,
    },
    /// Campaign at once: the leader hands over.
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
}

/// Why an append was not taken, and where to look next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The index of the append's `prev`.
    pub prev: Index,
    /// The sender's last index that may match, and its term: at most `prev`, its term at most `prev`'s.
    pub hint: (Index, Term),
    /// The sender is new and knows no membership, not even the one at its log start: it needs a reset first, also
    /// when the log starts at 0, because the founding membership is not an entry.
    pub blank: bool,
}

impl Message {
    /// The term it carries.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Message::PreVote { term, .. }
            | Message::PreVoteReply { term, .. }
            | Message::Vote { term, .. }
            | Message::VoteReply { term, .. }
            | Message::Append { term, .. }
            | Message::AppendReply { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::Reset { term, .. }
            | Message::ResetReply { term, .. }
            | Message::TimeoutNow { term } => *term,
        }
    }
}
