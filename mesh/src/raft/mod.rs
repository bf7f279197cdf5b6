//! Agreement on one log: the Raft core of one replica, pure.
//!
//! A [`Replica`] is stepped with an [`Input`] and answers with [`Effects`]. It owns no clock, disk, socket or random
//! source. Read in this order: [`types`](self), `entry`, `membership`, `hard_state`, `message`, `effects`, then `replica`
//! (the step), `election`, `follower`, `leader`, `change`, `reads`, over `log_view`, `memberships`, `durable`, `progress`.
//!
//! # The order that everything rests on
//!
//! 1. The owner stages [`Effects::write`] before it looks at the rest, and syncs it when it likes.
//! 2. It sends [`Effects::send`] at once. A promise is not among them before its write is synced: a vote's answer and
//!    request wait for the synced hard state, an acknowledgement tells only what is synced under a synced term.
//! 3. [`Input::Synced`] releases what waited.
//!
//! The leader sends entries before its own sync and counts itself only after. A follower's commit index covers only
//! what it has synced; the leader's may run ahead of its own disk, when others keep the entries.
//!
//! # Invariants
//!
//! - One leader per term; equal index and term mean equal logs up to there; what is committed never changes.
//! - Only an entry of the leader's own term is committed by counting (Raft 5.4.2).
//! - Base offsets are dense: each entry begins where the one before it ends.
//! - A message that cannot be right is dropped with a [`DropReason`]; it never panics. The owner's inputs and disk are trusted.
//!
//! # Roles
//!
//! | from | event | to |
//! |---|---|---|
//! | follower, pre-candidate, candidate | deadline, [`Input::Campaign`] | pre-candidate |
//! | follower | `TimeoutNow` of the leader | candidate |
//! | pre-candidate | a quorum would vote | candidate, one term up; asks once its own vote is synced |
//! | candidate | a quorum voted | leader; appends a no-op |
//! | any | a higher term, but for votes asked under a leader's lease | follower |
//! | pre-candidate, candidate | a leader of the same term | follower |
//! | leader | no quorum heard for an election timeout, [`Input::StepDown`], its own removal committed | follower |

mod change;
mod config;
mod durable;
mod effects;
mod election;
mod entry;
mod follower;
mod hard_state;
mod leader;
mod log_view;
mod membership;
mod memberships;
mod message;
mod progress;
mod quiet;
mod reads;
mod replica;
mod rng;
mod types;

pub use config::Config;
pub use effects::{
    DropReason, Effects, Input, InvalidChange, Log, LogRead, MembershipChange, NotLeader, ProposeError,
    Rebuild, Reset, Role, RoleChange, WriteBatch,
};
pub use entry::{Entry, EntryKind, LogStart, Proposal};
pub use hard_state::HardState;
pub use membership::{MEMBERS_MAX, Membership};
pub use message::{Envelope, Message, Reject};
pub use progress::{PeerProgress, PeerState};
pub use replica::{Replica, Restored};
pub(crate) use rng::Rng;
pub use types::{Incarnation, Index, NodeId, ReplicaEpoch, ReplicaId, Term, Time, WriteId};
