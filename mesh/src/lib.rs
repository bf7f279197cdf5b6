//! Agreement among nodes.
pub mod directory;
mod fields;
pub mod transport;
pub mod mutant;
pub mod raft;
pub mod placement;
pub mod liveness;
