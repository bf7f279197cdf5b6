//! The store (interface first).
#![allow(missing_docs, unused_variables, clippy::todo)]

use std::marker::PhantomData;

use crate::config::StoreConfig;
use crate::disk::Disk;
use crate::index::SegmentIndex;
use crate::types::*;

pub struct Store<D: Disk>(PhantomData<D>);
pub struct Commit<D: Disk>(PhantomData<D>);
pub struct ReadJob<D: Disk>(PhantomData<D>);
pub struct Reclaim<D: Disk>(PhantomData<D>);
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReclaimReport {
    pub copied_bytes: u64,
}
pub enum Read<D: Disk> {
    Ready(Vec<Entry>),
    Disk(ReadJob<D>),
}
impl<D: Disk> ReadJob<D> {
    pub fn run(self) -> Result<Vec<Entry>, ReadError> {
        todo!()
    }
}
impl<D: Disk> Commit<D> {
    pub fn write(&mut self) {}
    pub fn sync(&mut self) {}
    pub fn run(&mut self) {
        self.write();
        self.sync();
    }
}
impl<D: Disk> Reclaim<D> {
    pub fn run(&mut self) {}
}
impl<D: Disk> Store<D> {
    pub fn open(disk: D, config: StoreConfig, index: Box<dyn SegmentIndex>) -> Result<(Self, Recovered), OpenError> {
        todo!()
    }
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        std::iter::empty()
    }
    pub fn log(&self, log: LogId) -> Option<LogState<'_>> {
        todo!()
    }
    pub fn write(&mut self, write: Write) -> Result<Sequence, WriteError> {
        todo!()
    }
    pub fn begin_commit(&mut self) -> Option<Commit<D>> {
        todo!()
    }
    pub fn finish_commit(&mut self, commit: Commit<D>) -> Result<Sequence, CommitError> {
        todo!()
    }
    pub fn synced(&self) -> Sequence {
        todo!()
    }
    pub fn failed(&self) -> bool {
        todo!()
    }
    pub fn read(&self, log: LogId, from: ReadFrom, bytes_max: usize) -> Result<Read<D>, ReadError> {
        todo!()
    }
    pub fn end_offset(&self, log: LogId, index: u64) -> Option<i64> {
        todo!()
    }
    pub fn index_at(&self, log: LogId, offset: i64) -> Option<u64> {
        todo!()
    }
    pub fn first_at_or_after(&self, log: LogId, timestamp_ms: i64) -> Option<(u64, i64)> {
        todo!()
    }
    pub fn max_timestamp(&self, log: LogId) -> Option<(i64, i64)> {
        todo!()
    }
    pub fn retention_point(
        &self,
        log: LogId,
        bytes_max: Option<u64>,
        older_than_ms: Option<i64>,
        at_most: u64,
    ) -> Option<LogStart> {
        todo!()
    }
    pub fn begin_reclaim(&mut self) -> Option<Reclaim<D>> {
        todo!()
    }
    pub fn finish_reclaim(&mut self, job: Reclaim<D>) -> Result<ReclaimReport, ReadError> {
        todo!()
    }
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
