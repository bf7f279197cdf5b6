//! Who leads what, as far as a node knows: hints, of which the newest term wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::LeaderInfo;
use super::metadata::{PartitionKey, ShardId};
use crate::core::request::TopicId;

/// Partitions of a topic are numbered below this; others are not kept, whoever speaks of them.
const NUMBERS_MAX: usize = 10_000;

/// The leaders by topic and partition: a pointer each, shared with whoever told them.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    by_topic: BTreeMap<TopicId, Vec<Option<Arc<LeaderInfo>>>>,
    /// Per shard the exclusive or of what is known of its partitions, and how many those are.
    sums: [(u64, usize); 16],
}

impl Leaders {
    pub(crate) fn get(&self, key: &PartitionKey) -> Option<&LeaderInfo> {
        self.shared(*key).map(|info| &**info)
    }

    fn shared(&self, key: PartitionKey) -> Option<&Arc<LeaderInfo>> {
        self.by_topic.get(&key.topic)?.get(usize::try_from(key.partition).ok()?)?.as_ref()
    }

    /// Takes this in place of what was known.
    pub(crate) fn insert(&mut self, info: Arc<LeaderInfo>) {
        let key = info.key;
        let Some(number) = usize::try_from(key.partition).ok().filter(|number| *number < NUMBERS_MAX) else {
            return;
        };
        let of_topic = self.by_topic.entry(key.topic).or_default();
        if of_topic.len() <= number {
            of_topic.resize(number + 1, None);
        }
        let now = mark(&info);
        let before = of_topic[number].replace(info);
        let (sum, count) = &mut self.sums[usize::from(key.home().0)];
        *sum ^= now ^ before.as_ref().map_or(0, |info| mark(info));
        *count += usize::from(before.is_none());
    }

    pub(crate) fn remove(&mut self, key: &PartitionKey) {
        let Some(of_topic) = self.by_topic.get_mut(&key.topic) else { return };
        let at = usize::try_from(key.partition).ok();
        let Some(before) = at.and_then(|at| of_topic.get_mut(at)?.take()) else { return };
        let (sum, count) = &mut self.sums[usize::from(key.home().0)];
        *sum ^= mark(&before);
        *count -= 1;
    }

    /// The topic is gone.
    pub(crate) fn remove_topic(&mut self, topic: TopicId) {
        for info in self.by_topic.remove(&topic).into_iter().flatten().flatten() {
            let (sum, count) = &mut self.sums[usize::from(info.key.home().0)];
            *sum ^= mark(&info);
            *count -= 1;
        }
    }

    /// A sum per shard, equal where two nodes know the same leaders, and how many those are.
    pub(crate) fn sums(&self) -> Vec<(u64, u32)> {
        self.sums.iter().map(|(sum, count)| (*sum, u32::try_from(*count).unwrap_or(u32::MAX))).collect()
    }

    /// The same over each of the 64 buckets that a shard's partitions are in.
    pub(crate) fn bucket_sums(&self, shard: ShardId) -> Vec<u64> {
        let mut sums = vec![0; 64];
        self.of_shard(shard).for_each(|info| sums[bucket_of(info.key)] ^= mark(info));
        sums
    }

    /// All that is known of the partitions of one shard.
    pub(crate) fn of_shard(&self, shard: ShardId) -> impl Iterator<Item = &Arc<LeaderInfo>> {
        let topics = self.by_topic.iter().filter(move |(topic, _)| ShardId::of_topic(**topic) == shard);
        topics.flat_map(|(_, of_topic)| of_topic).flatten()
    }
}

/// In which of 64 buckets a partition is.
pub(crate) fn bucket_of(key: PartitionKey) -> usize {
    usize::from(key.topic.0[0] ^ key.partition.to_le_bytes()[0]) % 64
}

/// What tells one word about a leader from another: its partition, term and node, well mixed.
fn mark(info: &LeaderInfo) -> u64 {
    let LeaderInfo { key, term, leader, .. } = info;
    let [high, low] = [0, 8].map(|at| {
        let mut half = [0; 8];
        half.copy_from_slice(&key.topic.0[at..at + 8]);
        u64::from_be_bytes(half)
    });
    let of_leader = u64::from(leader.0.cast_unsigned()) << 32 | u64::from(term.0);
    [high, low, u64::from(key.partition.cast_unsigned()), of_leader].into_iter().fold(
        0x9e37_79b9_7f4a_7c15,
        |sum, word| {
            let mixed = (sum ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
            mixed ^ (mixed >> 32)
        },
    )
}
