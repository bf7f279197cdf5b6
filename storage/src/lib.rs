//! Bytes on one node's disk: one segment log for many logs, its index, cache, recovery and reclaim.
//!
//! Read in this order: [`types`] (what goes in and out), [`disk`] (what a disk is), `format` (bytes), `store` (state, commit,
//! recovery, reads, reclaim), [`index`] (the rebuildable mirror), [`fake`] (the disk that breaks), [`inspect`].
//! The bytes on disk are defined in `ARCHITECTURE.md`, "On disk".
//!
//! Invariants, absences included:
//! - Everything is synchronous. No clock, no randomness, no thread but in `disk/file.rs` and `index/sled.rs`.
//! - Nothing is promised before `fdatasync` covers it: what a commit holds is promised by [`Store::finish_commit`] alone.
//! - The index and the caches hold nothing that the segments do not hold.
//! - Bytes from the disk never panic.

pub mod config;
pub mod disk;
pub mod fake;
mod format;
pub mod index;
pub mod inspect;
pub mod mutant;
mod store;
pub mod types;

pub use config::StoreConfig;
pub use disk::{Disk, DiskFile};
pub use index::{RunKey, RunSource, SegmentIndex};
pub use store::{Commit, Fate, Read, ReadJob, Reclaim, ReclaimReport, Rewrite, Store, Turn};
pub use types::*;
