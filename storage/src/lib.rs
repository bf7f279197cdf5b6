//! Bytes on one node's disk.
