//! Agreement among nodes: who keeps which log, and that all who keep it keep the same.
//!
//! Read in this order:
//!
//! - [`raft`]: the consensus core of one replica. Pure.
//! - [`placement`]: which nodes keep a partition, by hashing over the committed nodes. Pure.
//! - [`copysets`]: which nodes of a large mesh may share partitions. Pure.
//! - [`liveness`]: which nodes that share a partition with this one are up, one heartbeat per pair. Pure.
//! - [`swim`]: which nodes of the whole mesh are up, by gossip. Pure.
//! - [`life`]: which process of a node speaks, and whether it is one of the past. Pure.
//! - [`founding`]: how the first nodes agree that they are a cluster. Pure.
//! - [`directory`]: hints where things are, merged by maximum. Pure.
//! - [`transport`]: the shell over libp2p and tokio that carries frames between nodes.
//! - [`mutant`]: deliberate bugs, for suites that prove that a check can fail.
//!
//! **Invariants.** This crate never sees storage: what must be durable goes out as a value and comes back as "synced". Pure
//! modules hold no clock, socket, task or random source. A hint never decides.

pub mod balance;
pub mod copysets;
pub mod directory;
mod fields;
pub mod founding;
pub mod life;
pub mod liveness;
pub mod mutant;
pub mod placement;
pub mod raft;
pub mod swim;
pub mod transport;

pub use raft::Time;
