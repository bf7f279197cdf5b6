//! Consumer groups: the coordinator of one partition of `__consumer_offsets`, as a pure state machine.
//!
//! A group belongs to the partition that Java's hash of its name gives; whoever leads that partition is its coordinator. Requests, the
//! clock and "this was committed" come in, answers and records to append go out ([`Act`]). Nothing here knows of Raft, disks or nodes:
//! [`coordination`](super::coordination) joins it to them.
//!
//! A classic group (KIP-62, KIP-345, KIP-394):
//!
//! | from | event | to |
//! |---|---|---|
//! | Empty, Stable, CompletingRebalance | a member joins, leaves, is not heard for its session timeout, or comes with other protocols | PreparingRebalance; whoever waits for an assignment hears REBALANCE_IN_PROGRESS |
//! | PreparingRebalance | all members joined, or the rebalance timeout passed (the others are out, but for static ones), and, from Empty, the initial delay passed | CompletingRebalance of the next generation, or Empty when nobody is left |
//! | CompletingRebalance | the leader's assignment is **committed** | Stable; all who asked get their share |
//! | CompletingRebalance | a member did not ask for its share within the rebalance timeout | PreparingRebalance without it |
//! | Stable | a static member comes back under a new id and nothing else changes, **committed** | Stable, the same generation |
//! | Empty | no offset is left, or a client deletes it | Dead: a tombstone, and the group is forgotten |
//!
//! What always holds:
//!
//! - Members of a generation learn their assignments only once the record that holds all of them is committed, so no coordinator that comes
//!   later can have another one for that generation.
//! - An offset is acknowledged, and shown, only once it is committed. A commit of a member of an older generation is refused.
//! - A coordinator serves nothing before it has read its partition up to the first entry of its own term, for all before that may have been
//!   acknowledged by others.
//! - Who is no longer the leader can commit nothing; all who wait there hear NOT_COORDINATOR.

pub mod api;
mod commit;
mod config;
mod coordinator;
mod expire;
mod group;
mod join;
mod leave;
mod member;
mod name;
pub mod record;
mod sync;

pub use config::GroupConfig;
pub(crate) use coordinator::{Act, Coordinator, Topics};
pub use name::{OFFSETS_TOPIC, is_internal, partition_of};

#[cfg(test)]
mod tests;
