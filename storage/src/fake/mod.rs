//! A faulty disk in memory.
