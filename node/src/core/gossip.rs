//! News in a mesh that is too large for everybody to tell everybody: who leads what, and what changed in the shards.
//!
//! | what | how |
//! |---|---|
//! | news of a leader or of a shard's leader | gathered for [`GATHER_MS`], then passed on along a tree: the sender cuts the list of all nodes into [`BRANCHES`] parts, and the first live node of each part does the same with the rest of it |
//! | what was lost on the way | each look a node shows what it knows to one other, chosen at random: the version of each shard and a sum over the leaders of its partitions |
//! | a shard's version is behind, still at the next look | the shard's leader is asked for what came after it |
//! | the sums differ | the sums of 64 buckets are compared, then what is in those that differ; a node that knows little is told all of the shard |
//! | a process that was not told of a shard yet | asks its leader, with the version that it kept: that says all of what is in it, for a version is a prefix of one log |
//!
//! Everything here is a hint or committed already: a message may be lost, late or repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh::raft::NodeId;
use storage::{Disk, LogId};

use super::leaders::bucket_of;
use super::message::{LeaderInfo, News, PeerMessage, Stream};
use super::metadata::shard::NODES_MAX;
use super::metadata::{EncodedUpdate, PartitionKey, SHARDS, ShardId};
use super::node::{Node, Timer};
use super::partition::Applied;
use super::{Effect, after_ms};

/// News wait so long for more.
const GATHER_MS: u64 = 100;

/// To so many nodes news are passed on by one.
const BRANCHES: usize = 10;

/// Words about leaders in one message.
const LEADERS_AT_ONCE: usize = 4096;

/// Buckets that are compared at once.
const BUCKETS_AT_ONCE: usize = 16;

/// What waits to be told, and what others said that they know.
#[derive(Debug, Default)]
pub(crate) struct Gossip {
    /// Logs of partitions that are led here and were not told of.
    leads: BTreeSet<LogId>,
    /// Shards that are led here and changed.
    shards: BTreeSet<ShardId>,
    /// The timer runs.
    due: bool,
    /// Versions that others know, by the last look.
    heard_of: BTreeMap<ShardId, u64>,
    /// Of the choice whom to show what is known.
    turn: u64,
}

impl<D: Disk> Node<D> {
    /// Whether the mesh is too large for everybody to tell everybody.
    pub(crate) fn is_large(&self) -> bool {
        self.view.node_count() > self.config.direct_nodes_max
    }

    /// This partition is led here: everybody should know, soon.
    pub(crate) fn gather_lead(&mut self, log: LogId) {
        self.gossip.leads.insert(log);
        self.gather();
    }

    /// A shard that is led here changed: everybody should know, soon.
    pub(crate) fn gather_shard(&mut self, shard: ShardId) {
        self.gossip.shards.insert(shard);
        self.gather();
    }

    fn gather(&mut self) {
        if !std::mem::replace(&mut self.gossip.due, true) {
            self.set_timer(after_ms(self.now.mono, GATHER_MS), Timer::News);
        }
    }

    /// Tells what was gathered.
    pub(crate) fn tell_news(&mut self) {
        self.gossip.due = false;
        let leads = std::mem::take(&mut self.gossip.leads);
        let infos: Vec<Arc<LeaderInfo>> =
            leads.into_iter().filter_map(|log| self.leader_info(log)).map(Arc::new).collect();
        for infos in infos.chunks(LEADERS_AT_ONCE) {
            self.pass_on(News::Leaders(infos.to_vec()), self.all_others());
        }
        for shard in std::mem::take(&mut self.gossip.shards) {
            if let Some(update) = self.news_of_shard(shard) {
                self.pass_on(News::Shard(update), self.all_others());
            }
        }
    }

    /// All other nodes, beginning behind this one: so trees differ.
    fn all_others(&self) -> Vec<NodeId> {
        let mut others = self.peers();
        let split = others.partition_point(|node| *node < self.identity.node);
        others.rotate_left(split);
        others
    }

    fn pass_on(&mut self, news: News, to: Vec<NodeId>) {
        for part in to.chunks(to.len().div_ceil(BRANCHES).max(1)) {
            let first = part.iter().position(|node| self.is_live(*node)).unwrap_or(0);
            let mut rest = part.to_vec();
            let to = rest.remove(first);
            let message = PeerMessage::PassOn { news: news.clone(), to: rest };
            self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
        }
    }

    /// News that come with a list of those who shall have them too.
    pub(crate) fn passed_on(&mut self, from: NodeId, news: News, to: Vec<NodeId>) {
        match &news {
            News::Leaders(infos) => infos.iter().for_each(|info| self.learn_leader(info.clone())),
            News::Shard(update) => self.shard_told(from, update),
        }
        if to.len() <= NODES_MAX {
            self.pass_on(news, to);
        }
    }

    /// The regular look: shows what is known here, and asks for what others were found to know.
    pub(crate) fn compare_notes(&mut self) {
        let heard_of = std::mem::take(&mut self.gossip.heard_of);
        for shard in ShardId::all() {
            let leads = self.leading(shard.0.into()).is_some();
            let behind = heard_of.get(&shard).is_some_and(|version| *version > self.view.version(shard));
            if leads || behind {
                self.poll_shard(shard);
            } else if !self.heard.contains(&shard)
                && let Some(to) = self.leader_of(PartitionKey::of_shard(shard))
            {
                let message =
                    PeerMessage::ShardAsk { shard: shard.0.into(), version: self.view.version(shard) };
                self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
            }
        }
        let looks = if self.heard.len() < usize::from(SHARDS) { 2 } else { 1 };
        for _ in 0..looks {
            if let Some(to) = self.somebody() {
                let versions = ShardId::all().map(|shard| self.view.version(shard)).collect();
                let leaders = self.leaders.sums();
                let message = PeerMessage::Notes { versions, leaders };
                self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
            }
        }
    }

    /// A live node, chosen at random.
    fn somebody(&mut self) -> Option<NodeId> {
        let others = self.peers();
        for _ in 0..4 {
            self.gossip.turn = self.gossip.turn.wrapping_add(1);
            let drawn = mixed(self.seed ^ self.gossip.turn.rotate_left(32) ^ self.now.mono.0);
            let at = usize::try_from(drawn % (others.len() as u64).max(1)).unwrap_or(0);
            let chosen = others.get(at).copied();
            if chosen.is_some_and(|node| self.is_live(node)) {
                return chosen;
            }
        }
        None
    }

    /// Another node shows what it knows.
    pub(crate) fn shown_notes(&mut self, from: NodeId, versions: &[u64], leaders: &[(u64, u32)]) {
        let known: Vec<u64> = ShardId::all().map(|shard| self.view.version(shard)).collect();
        if versions.len() != known.len() || leaders.len() != known.len() {
            return;
        }
        for (shard, version) in ShardId::all().zip(versions) {
            if *version > self.view.version(shard) {
                self.gossip.heard_of.insert(shard, *version);
            }
        }
        if known.iter().zip(versions).any(|(mine, theirs)| mine > theirs) {
            self.reply(from, PeerMessage::Known { versions: known });
        }
        let sums = self.leaders.sums();
        let first = usize::try_from(self.now.mono.0 / 500_000 % u64::from(SHARDS)).unwrap_or(0);
        let mut compared = 0;
        for at in (0..sums.len()).map(|at| (at + first) % sums.len()) {
            let (Some(shard), (mine, theirs)) = (ShardId::all().nth(at), (sums[at], leaders[at])) else {
                continue;
            };
            if mine == theirs {
                continue;
            }
            if theirs.1 < mine.1 / 2 {
                let all: Vec<_> = self.leaders.of_shard(shard).cloned().collect();
                for infos in all.chunks(LEADERS_AT_ONCE) {
                    self.reply(from, PeerMessage::Leaders(infos.to_vec()));
                }
            } else if compared < 2 {
                compared += 1;
                let buckets = self.leaders.bucket_sums(shard);
                self.reply(from, PeerMessage::LeaderBuckets { shard: shard.0.into(), buckets });
            }
        }
    }

    /// Another node knows newer versions. Whether they are on their way shows until the next look.
    pub(crate) fn told_versions(&mut self, versions: &[u64]) {
        for (shard, version) in ShardId::all().zip(versions) {
            if *version > self.view.version(shard) {
                self.gossip.heard_of.insert(shard, *version);
            }
        }
    }

    /// The sums of a shard's buckets at another node: what is here of those that differ goes there.
    pub(crate) fn shown_buckets(&mut self, from: NodeId, shard: u32, buckets: &[u64]) {
        let Some(shard) = ShardId::all().find(|id| u32::from(id.0) == shard) else { return };
        let mine = self.leaders.bucket_sums(shard);
        if buckets.len() != mine.len() {
            return;
        }
        let turn = usize::try_from(self.now.mono.0 / 500_000 % 64).unwrap_or(0);
        let turned = (0..mine.len()).map(|at| (at + turn) % mine.len());
        let differ = turned.filter(|at| mine[*at] != buckets[*at]).take(BUCKETS_AT_ONCE);
        let differ = differ.fold(0u64, |bits, at| bits | 1 << at);
        if differ != 0 {
            let known = self.in_buckets(shard, differ);
            self.reply(from, PeerMessage::LeadersOf { shard: shard.0.into(), buckets: differ, known });
        }
    }

    fn in_buckets(&self, shard: ShardId, buckets: u64) -> Vec<Arc<LeaderInfo>> {
        let all = self.leaders.of_shard(shard);
        all.filter(|info| buckets & (1 << bucket_of(info.key)) != 0).take(LEADERS_AT_ONCE).cloned().collect()
    }

    /// Another node says what it knows of some buckets: it is told what is newer here.
    pub(crate) fn told_leaders_of(
        &mut self,
        from: NodeId,
        shard: u32,
        buckets: u64,
        known: Vec<Arc<LeaderInfo>>,
    ) {
        let Some(shard) = ShardId::all().find(|id| u32::from(id.0) == shard) else { return };
        let theirs: BTreeMap<PartitionKey, _> =
            known.iter().map(|info| (info.key, (info.term, info.leader))).collect();
        let newer = |info: &Arc<LeaderInfo>| {
            theirs.get(&info.key).is_none_or(|known| *known < (info.term, info.leader))
        };
        let mut news = self.in_buckets(shard, buckets);
        news.retain(newer);
        self.hearsay(known);
        if !news.is_empty() {
            self.reply(from, PeerMessage::Leaders(news));
        }
    }

    /// What somebody who leads none of it says about leaders: of partitions that are known, and where it is newer. So what is said of
    /// a deleted topic does not go round for ever.
    pub(crate) fn hearsay(&mut self, infos: Vec<Arc<LeaderInfo>>) {
        for info in infos {
            let known = self.leaders.get(&info.key).map(|known| (known.term, known.leader));
            let newer = known.is_none_or(|known| known < (info.term, info.leader));
            if newer && self.view.descriptor(info.key).is_some() {
                self.learn_leader(info);
            }
        }
    }

    /// A node that was not told of a shard yet asks its leader.
    pub(crate) fn shard_asked(&mut self, from: NodeId, shard: u32, version: u64) {
        let Some((_, log)) = self.leading(shard) else { return };
        let Some(Applied::Shard(state)) = self.partitions.get(&log).map(|partition| &partition.state) else {
            return;
        };
        // Version 0 may be that of a node that knows nothing of the shard.
        let message = match state.version() > version || version == 0 {
            true => PeerMessage::ShardUpdate(EncodedUpdate::of(state.update_since(version))),
            false => PeerMessage::ShardCurrent { shard, version: state.version() },
        };
        self.reply(from, message);
    }

    /// The leader of a shard says that nothing is newer than this version.
    pub(crate) fn shard_current(&mut self, from: NodeId, shard: u32, version: u64) {
        let Some(shard) = ShardId::all().find(|id| u32::from(id.0) == shard) else { return };
        let leads = self.leader_of(PartitionKey::of_shard(shard)) == Some(from);
        if leads && self.view.knows(shard) && self.view.version(shard) >= version {
            self.heard.insert(shard);
        }
    }

    fn reply(&mut self, to: NodeId, message: PeerMessage) {
        self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
    }
}

/// One step of splitmix64.
fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
