//! How much clients write to and read from the partitions that are led here, and what that means for who should lead.
//!
//! A leader counts the bytes, smooths them over most of a minute and tells everybody with the word that it leads. The leader of shard 0 looks
//! now and then whether one node has much more of it than the others, and exchanges preferred leaders between two nodes
//! ([`mesh::balance::Balance::exchange_leads`]), so that each leads as many partitions as before. Against flapping stand the smoothing, a node
//! that is busy enough, a gain that is worth it, and a rest for each partition that was exchanged.

use std::collections::BTreeMap;

use mesh::raft::Time;
use storage::Disk;

use super::after_ms;
use super::metadata::PartitionKey;
use super::metadata::balancing::{Order, traffic_orders};
use super::node::Node;

/// Bytes are counted for at least so many microseconds before they are a rate.
const SAMPLE_US: u64 = 5_000_000;
/// One sample counts one part in so many: a rate follows within about forty seconds.
const SMOOTHING: u64 = 8;
/// How long a partition keeps its preferred leader once that was exchanged, in milliseconds.
const REST_MS: u64 = 600_000;

/// What clients did with a partition.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes: u64,
    since: Time,
    rate: u64,
}

impl Traffic {
    pub(crate) fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// KiB per second, smoothed.
    pub(crate) fn kib_per_second(&self) -> u32 {
        u32::try_from(self.rate >> 10).unwrap_or(u32::MAX)
    }

    fn sample(&mut self, now: Time) {
        let took = now.since(self.since);
        if took < SAMPLE_US {
            return;
        }
        let fresh = u128::from(self.bytes) * 1_000_000 / u128::from(took);
        let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
        self.rate = self.rate - self.rate / SMOOTHING + fresh / SMOOTHING;
        (self.bytes, self.since) = (0, now);
    }

    /// Another node leads: what was counted here says nothing any more.
    fn forget(&mut self, now: Time) {
        *self = Self { since: now, ..Self::default() };
    }
}

/// When the leader of shard 0 looks at the traffic again, and which partitions rest until when.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    at: Time,
    resting: BTreeMap<PartitionKey, Time>,
}

impl<D: Disk> Node<D> {
    /// The regular look.
    pub(crate) fn sample_traffic(&mut self) {
        let now = self.now.mono;
        for partition in self.partitions.values_mut() {
            match partition.leads() {
                true => partition.traffic.sample(now),
                false => partition.traffic.forget(now),
            }
        }
    }

    /// As the leader of shard 0, when nothing else is to move: preferred leaders that are exchanged for traffic.
    pub(crate) fn exchange_leaders(&mut self) -> Vec<Order> {
        let now = self.now.mono;
        if self.config.traffic_ms == 0 || now < self.exchanges.at {
            return Vec::new();
        }
        self.exchanges.at = after_ms(now, self.config.traffic_ms);
        self.exchanges.resting.retain(|_, until| *until > now);
        let traffic = |key| self.leaders.get(&key).map_or(0, |info| u64::from(info.traffic));
        let resting = |key| self.exchanges.resting.contains_key(&key);
        let orders = traffic_orders(&self.view, &self.up(), traffic, resting);
        let exchanged = orders.iter().filter_map(|(_, order)| order.partition());
        self.exchanges.resting.extend(exchanged.map(|key| (key, after_ms(now, REST_MS))));
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_slowly_and_is_forgotten_with_the_lead() {
        let mut traffic = Traffic::default();
        let mut told = Vec::new();
        for second in 1..=120 {
            traffic.count(8 << 20);
            traffic.sample(Time(second * 1_000_000));
            told.push(traffic.kib_per_second());
        }
        assert!(told[4] < 1_100 && told[4] > 900, "after five seconds an eighth: {}", told[4]);
        assert!(told[119] > 7_500 && told[119] <= 8_192, "after two minutes most of it: {}", told[119]);
        assert!(told.is_sorted());
        traffic.forget(Time(121_000_000));
        assert_eq!(traffic.kib_per_second(), 0);
    }
}
