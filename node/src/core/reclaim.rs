//! Retention and reclaim: deciding that a log starts later, and giving the bytes back.
//!
//! The leader alone decides, by proposing a log-start entry; every replica trims when it commits, so a failover never
//! moves the log start back. Space comes back when the store copies what still lives out of mostly dead segments.

use mesh::raft::{EntryKind, LogStart, Proposal, Term};
use storage::{Disk, LogId, Reclaim};

use super::drive::encode_log_start;
use super::metadata::lifecycle::Standing;
use super::node::{Node, Timer};
use super::partition::{Applied, start_to_raft};
use super::{Effect, after_ms};
use crate::mutant::{self, Mutant};

/// A shard's log is trimmed to its checkpoint when it holds this many times the entries between two checkpoints.
const SHARD_LOG_CHECKPOINTS: u64 = 4;

impl<D: Disk> Node<D> {
    /// Looks at every partition led here, then at segments worth reclaiming.
    pub(crate) fn retention(&mut self) {
        self.set_timer(after_ms(self.now.mono, self.config.retention_ms), Timer::Retention);
        let led: Vec<LogId> = self
            .partitions
            .values()
            .filter(|p| p.leads() && p.trimming.is_none() && p.standing == Standing::Member)
            .map(|p| p.log)
            .collect();
        for log in led {
            if let Some(start) = self.new_start(log) {
                self.propose_start(log, start);
            }
        }
        self.maybe_reclaim();
    }

    fn new_start(&self, log: LogId) -> Option<LogStart> {
        let partition = self.partitions.get(&log)?;
        let state = self.workers.log(log)?;
        match partition.state {
            Applied::Topic(_) => {
                let limits = self.topic_config(partition.key.topic);
                let older_than_ms = limits.retention_ms.map(|ms| self.now.wall_ms.saturating_sub(ms));
                let past = mutant::active(Mutant::RetentionPastHighWatermark);
                let at_most = if past { state.last_index } else { partition.applied.0 };
                self.workers
                    .of(log)
                    .retention_point(log, limits.retention_bytes, older_than_ms, at_most)
                    .map(start_to_raft)
            }
            Applied::Shard(_) => {
                let index = partition.checkpointed;
                let held = index.0.saturating_sub(state.start.index);
                let worth = held >= SHARD_LOG_CHECKPOINTS * self.config.checkpoint_entries;
                let at = state.term_starts.partition_point(|(_, first, _)| *first <= index.0);
                let (term, ..) = at.checked_sub(1).and_then(|at| state.term_starts.get(at))?;
                worth.then_some(LogStart { index, term: Term(*term), next_offset: state.next_offset })
            }
        }
    }

    fn propose_start(&mut self, log: LogId, start: LogStart) {
        if mutant::active(Mutant::LogStartWithoutCommit) || mutant::active(Mutant::RetentionPastHighWatermark)
        {
            return self.trim(log, start);
        }
        let payload = encode_log_start(start, start.next_offset).into();
        let proposal = Proposal { kind: EntryKind::LogStart, record_count: 0, timestamp_ms: -1, payload };
        if let Ok((index, _)) = self.propose(log, proposal)
            && let Some(partition) = self.partitions.get_mut(&log)
            && partition.applied < index
        {
            partition.trimming = Some(index);
        }
    }

    pub(crate) fn maybe_reclaim(&mut self) {
        if self.failed {
            return;
        }
        for (worker, job) in self.workers.begin_reclaims() {
            self.out.push(Effect::Reclaim { worker, job });
        }
    }

    pub(crate) fn reclaimed(&mut self, worker: usize, job: Reclaim<D>) {
        match self.workers.finish_reclaim(worker, job) {
            Ok(report) if report.copied_bytes > 0 => self.maybe_reclaim(),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a segment could not be reclaimed; it stays"),
        }
    }
}
