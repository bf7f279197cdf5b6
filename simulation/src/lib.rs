//! The deterministic simulator: whole nodes in virtual time on one thread, with a faulty disk, a faulty network, clocks that
//! lie and clients that never stop. Nothing else is played: the nodes are the real ones.
//!
//! In reading order: [`scenario`] (what a seed is), [`fault`] (the vocabulary), [`client`] (the workload), `world` (the event
//! loop, its machines and links), [`checks`] (what must always hold), [`run`], [`coverage`] (what a run came through), [`case`]
//! and [`shrink`] (a failing seed made small), `mutation` (the checks can fail), [`report`]. Beside them [`large`]: many nodes and many
//! partitions, without faults.
//!
//! Invariants, absences included:
//! - Everything is a function of the seed: no clock, no thread, no hash-ordered map, no randomness but [`random`]'s streams.
//! - Two runs of one seed give the same digest over every event, message and fact.
//! - Checkers see nodes from outside and look only at what a step changed. None knows a deliberate bug.
//! - Damage (promises lost) hits one node at a time, while everything else is well; crashes know no such limit.

mod batch;
pub mod case;
mod checks;
mod client;
pub mod coverage;
mod fault;
pub mod jobs;
pub mod large;
pub mod mutation;
mod network;
mod queue;
mod random;
pub mod report;
mod run;
mod scenario;
pub mod shrink;
mod trace;
mod world;

pub use run::{Failure, Options, Outcome, run, run_case};
pub use scenario::{KINDS, Kind};
pub use trace::Telling;
pub use world::Stats;
