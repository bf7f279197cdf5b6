//! Fetch from followers (KIP-392): a consumer that says in which zone it is reads from a replica there.
//!
//! The leader names the replica: one in the consumer's zone that is in sync, hears the leader and has what is asked for. A follower serves what
//! it knows to be committed, which is never taken back, and never more. What it does not have yet may well be there, so it answers
//! OFFSET_NOT_AVAILABLE above that, and the consumer asks the leader again; only below the log start, which is committed as well, is an offset
//! out of range. A follower that does not hear its leader answers as any other node: it does not lead.

use mesh::raft::{NodeId, Role};
use storage::{Disk, LogId};

use super::error::ErrorCode;
use super::fetch::check_epoch;
use super::metadata::lifecycle::Standing;
use super::node::Node;
use super::request::{FetchPartition, FetchResult, TopicRef};

impl<D: Disk> Node<D> {
    /// Whether a partition may be read here from that offset, led or followed; fills in what every answer carries.
    pub(crate) fn readable_from(
        &self,
        rack: &str,
        wanted: &FetchPartition,
        result: &mut FetchResult,
    ) -> Result<(LogId, i64), ErrorCode> {
        match self.readable(wanted, result) {
            // A consumer that says nothing of its zone means the leader.
            Err(ErrorCode::NotLeaderOrFollower) if !rack.is_empty() => {
                let log = self.followed(&wanted.topic, wanted.partition);
                self.follows(log.ok_or(ErrorCode::NotLeaderOrFollower)?, wanted, result)
            }
            other => other,
        }
    }

    /// The local log of a partition that this node follows and may read from.
    pub(crate) fn followed(&self, topic: &TopicRef, partition: i32) -> Option<LogId> {
        let key = self.key_of(topic, partition).ok()?;
        let found = self.by_key.get(&key).and_then(|log| self.partitions.get(log))?;
        let replica = found.replica.as_ref()?;
        let leader = replica.leader().filter(|leader| self.liveness.is_live(leader.node))?;
        let follows = replica.role() == Role::Follower && leader.node != self.identity.node;
        let serving = follows && found.standing == Standing::Member && !self.stopped;
        (serving && replica.high_watermark().is_some()).then_some(found.log)
    }

    fn follows(
        &self,
        log: LogId,
        wanted: &FetchPartition,
        result: &mut FetchResult,
    ) -> Result<(LogId, i64), ErrorCode> {
        let partition = self.partitions.get(&log).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let replica = partition.replica.as_ref().ok_or(ErrorCode::NotLeaderOrFollower)?;
        result.topic_id = partition.key.topic;
        check_epoch(wanted.leader_epoch, replica.term().0)?;
        let committed = replica.high_watermark().ok_or(ErrorCode::NotLeaderOrFollower)?;
        result.log_start_offset = self.log_start_offset(log);
        result.high_watermark = committed;
        match wanted.offset {
            offset if offset < result.log_start_offset => Err(ErrorCode::OffsetOutOfRange),
            offset if offset > committed => Err(ErrorCode::OffsetNotAvailable),
            _ => Ok((log, committed)),
        }
    }

    /// Of a partition led here: a replica in the consumer's zone that has the offset, where this node is not in that zone itself.
    pub(crate) fn nearer(&self, log: LogId, rack: &str, offset: i64) -> Option<i32> {
        let zone = |node: NodeId| self.view.node(node).map(|info| info.zone.as_str());
        if rack.is_empty() || zone(self.identity.node) == Some(rack) {
            return None;
        }
        let replica = self.partitions.get(&log)?.replica.as_ref().filter(|r| r.role() == Role::Leader)?;
        replica.high_watermark()?;
        let in_sync = replica.in_sync();
        let peers = replica.progress();
        let near = peers.iter().filter(|peer| {
            let node = peer.id.node;
            peer.voter
                && in_sync.contains(&peer.id)
                && zone(node) == Some(rack)
                && self.liveness.is_live(node)
        });
        let has = |index: u64| self.workers.of(log).end_offset(log, index).is_some_and(|end| end >= offset);
        let best =
            near.filter(|peer| has(peer.matched.0)).max_by_key(|peer| (peer.matched, -peer.id.node.0))?;
        Some(best.id.node.0)
    }
}
