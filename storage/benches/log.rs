//! Ratios of the segment log to a raw file written beside it.
fn main() {}
