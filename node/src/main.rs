//! The broker as a process.
fn main() {}
