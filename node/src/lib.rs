//! The broker.

pub mod core;
pub mod exposition;
pub mod kafka;
pub mod mutant;
pub mod shell;
