//! Offline look at a data directory.
