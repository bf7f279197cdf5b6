//! Kafka's wire protocol: bytes of a connection to [`core::request`](crate::core::request) values and back.
//!
//! In reading order: [`connection`] (the shell that owns a socket), [`handle`] (the queue to the node), [`serve`]
//! (frames to requests, responses to frames), [`room`] (memory for responses), [`bounds`] (every length checked before the codec sees a frame, over
//! `tables`), [`batch`] (record batches read in place), [`listeners`] (whose addresses an answer
//! names), [`metrics`].
//!
//! Invariants: no byte of a client panics; a request costs no more memory than its frame and, at worst, some tens of
//! megabytes besides ([`bounds::ITEMS_MAX`]); record batches are kept as they came, but of topics that
//! want it otherwise ([`repack`]; one may be looked through for a timestamp, see `unpack`); responses leave
//! in the order of their requests; only [`connection`] knows tokio's sockets and clock.

pub mod batch;
pub mod bounds;
pub mod connection;
pub mod handle;
pub mod limits;
pub mod listeners;
pub mod metrics;
pub mod repack;
pub mod room;
pub mod serve;
pub mod sessions;
mod tables;
mod unpack;

/// Target of the spans of requests.
pub const REQUESTS: &str = "rafka::request";

pub use handle::{Call, ClientContext, Inbox, NodeHandle};
pub use room::Reply;
