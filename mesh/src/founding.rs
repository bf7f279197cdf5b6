//! How a cluster begins, and how a node asks to join one. Pure: messages and completions come in, what to do
//! goes out.
//!
//! In reading order: `record` (what is agreed and kept on disk), `message` (what seeds and joiners say),
//! `founder` (the state machine).
//!
//! A founding set is a list of addresses, the same on every seed. Each seed learns who answers at each of
//! them, then *records, synced,* the set of `(address, peer id, incarnation)` it agrees to, and only then
//! says that it accepts it. The cluster is founded once every seed of the set has accepted the same set;
//! whoever sees that records it, synced, and goes to work. The cluster's id is the BLAKE3 of the set.
//!
//! - A seed records at most one set in the life of its data directory. So two clusters cannot be founded with
//!   one seed in both, and a seed that lost its directory cannot be mistaken for the one that accepted.
//! - Nothing is acknowledged to a client by a seed that has not recorded `Founded`. Most of the seeds must
//!   have it before anything is committed. So when every seed but an emptied one says that it only agreed,
//!   nothing was acknowledged, and starting over loses nothing.
//! - Every message repeats a whole state: loss, repetition and reordering do no harm, and a tick repeats what
//!   is missing.

mod founder;
mod message;
mod record;

pub use founder::{Effect, Founder, Input, Outcome};
pub use message::{JoinAnswer, JoinRequest, Message, Replaced, Stage};
pub use record::{Addresses, FoundingRecord, METADATA_SHARDS, Node, Recorded, Seed, SeedSet};

use thiserror::Error;

/// Why a founding cannot go on. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FoundingError {
    /// The bytes on disk are not a founding record.
    #[error(
        "the founding record in the data directory cannot be read: it is damaged or was written by a newer \
         version. Restore it from a backup, or give this node an empty --data-dir"
    )]
    Damaged,
    /// The record on disk was made by another identity or incarnation than this node's.
    #[error(
        "the data directory was recorded by node {recorded} and this node is {own}: parts of two data \
         directories were mixed. Start with the directory as it was, or with an empty --data-dir"
    )]
    Mixed {
        /// The peer id, as text, that recorded it.
        recorded: String,
        /// This node's.
        own: String,
    },
    /// Two seeds were started with different lists.
    #[error(
        "the seed at {address} was started with --seeds {theirs}, this one with --seeds {ours}: start \
         every seed with the same list"
    )]
    SeedsDiffer {
        /// Whose list differs.
        address: String,
        /// Their list, sorted.
        theirs: String,
        /// This node's list, sorted.
        ours: String,
    },
    /// The list is longer than a founding set may be, or holds an address that is too long.
    #[error(
        "--seeds may hold at most {max} addresses of at most 300 bytes; found the cluster with fewer and \
         --join the others"
    )]
    TooManySeeds {
        /// The bound.
        max: usize,
    },
    /// Two addresses are answered by one identity.
    #[error(
        "the seeds at {first} and {second} have the same identity: a data directory was copied. Give one \
         of them an empty --data-dir"
    )]
    SameIdentity {
        /// One address.
        first: String,
        /// The other.
        second: String,
    },
    /// A seed lost its data directory after the others had recorded it and before the cluster was founded.
    #[error(
        "the seed at {address} was {recorded} when the founding set was agreed and answers as {found} now: \
         its data directory was emptied half-way. The cluster was not founded and nothing was \
         acknowledged: stop the seeds, delete the data directories of those at {delete}, and start \
         all seeds again. (Should one of them say that the cluster is founded, start this one again instead)"
    )]
    SeedReplaced {
        /// Where it answers.
        address: String,
        /// The peer id that was agreed.
        recorded: String,
        /// The peer id that answers now.
        found: String,
        /// Addresses of the seeds that recorded the set that cannot be completed.
        delete: String,
    },
    /// Two seeds recorded different sets: one of them was emptied in between.
    #[error(
        "the seed at {address} recorded another founding set than this one. Neither is founded and nothing \
         was acknowledged: stop the seeds, delete the data directories of all of them, and start them \
         again"
    )]
    SetsDiffer {
        /// The other seed.
        address: String,
    },
    /// The cluster is founded with this very node, whose directory has no record of it.
    #[error(
        "cluster {cluster} was founded with this data directory as node {node_id}, and the directory does not know it: parts of it \
         were deleted. Restore it as it was, or give the node an empty --data-dir"
    )]
    RecordLost {
        /// The cluster's id, shortened.
        cluster: String,
        /// Its number.
        node_id: i32,
    },
    /// This node recorded one cluster and met another at the address of a seed.
    #[error(
        "the node at {address} belongs to cluster {theirs}, this data directory to {ours}; two clusters \
         never merge: correct --seeds, or give the node that should move an empty --data-dir"
    )]
    OtherCluster {
        /// Where it was met.
        address: String,
        /// The cluster there, shortened.
        theirs: String,
        /// This node's, shortened.
        ours: String,
    },
}
