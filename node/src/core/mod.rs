//! The pure core of a node.

pub mod error;
pub mod request;
