//! The parts of a scenario, each drawn from its own stream.

use mesh::raft::Config as RaftConfig;
use node::core::NodeConfig;
use node::core::request::Acks;
use storage::StoreConfig;

use super::{CALM, Care, ClockProfile, Directory, DiskProfile, STABLE, TopicPlan};
use crate::client::{ConsumerProfile, MemberProfile, ProducerProfile};
use crate::network::LinkProfile;
use crate::queue::{MS, Micros, SECOND};
use crate::random::Random;

pub(super) fn odd(random: &mut Random, traits: &mut Vec<String>) -> Option<Micros> {
    let interval = *random.pick(&[300, 1_000, 3_000]) * MS;
    random.percent(40).then(|| {
        traits.push("odd requests".into());
        interval
    })
}

pub(super) fn care(random: &mut Random, damage: bool, traits: &mut Vec<String>) -> Option<Care> {
    let interval = *random.pick(&[500, 2_000, 5_000]) * MS;
    let grows = !damage;
    random.percent(30).then(|| {
        traits.push(if grows { "deleted records, more partitions" } else { "deleted records" }.into());
        Care { interval, grows }
    })
}

pub(super) fn operator(random: &mut Random, traits: &mut Vec<String>) -> Option<Micros> {
    let interval = *random.pick(&[3, 8, 20]) * SECOND;
    random.percent(30).then(|| {
        traits.push("an operator".into());
        interval
    })
}

pub(super) fn zones(random: &mut Random, traits: &mut Vec<String>) -> bool {
    let zones = random.percent(35);
    if zones {
        traits.push("two zones".into());
    }
    zones
}

pub(super) fn tuner(random: &mut Random, traits: &mut Vec<String>) -> Option<Micros> {
    let interval = *random.pick(&[400, 2_000, 6_000]) * MS;
    random.percent(35).then(|| {
        traits.push("altered configs".into());
        interval
    })
}

pub(super) fn mover(random: &mut Random, traits: &mut Vec<String>) -> Option<Micros> {
    let interval = *random.pick(&[400, 2_000, 8_000]) * MS;
    random.percent(25).then(|| {
        traits.push("reassigned replicas".into());
        interval
    })
}

/// After how little a replica set goes quiet.
pub(super) fn quiet(random: &mut Random, config: &mut RaftConfig, traits: &mut Vec<String>) {
    if random.percent(60) {
        config.quiet_after_us = Some(*random.pick(&[0, 50 * MS, 400 * MS]));
        traits.push("soon quiet".into());
    }
}

/// When and how replicas move.
pub(super) fn moves(random: &mut Random, node: &mut NodeConfig, traits: &mut Vec<String>) {
    node.dead_after_ms = *random.pick(&[300_000, 300_000, 4_000, 12_000]);
    node.replace_after_ms = 1_000;
    node.balance_ms = *random.pick(&[500, 2_000]);
    node.moves_at_once = *random.pick(&[3, 8, 32]);
    node.prefer_after_ms = *random.pick(&[500, 3_000, 10_000]);
    node.traffic_ms = 3 * node.balance_ms;
    if node.dead_after_ms < 300_000 {
        traits.push("nodes soon called dead".into());
    }
}

/// How fast replicas are rebuilt: slow enough for many to wait, but a run must come to its end.
pub(super) fn rebuilds(random: &mut Random, node: &mut NodeConfig, traits: &mut Vec<String>) {
    node.rebuild_bytes_per_second = *random.pick(&[0, 100 << 10, 400 << 10, 32 << 20]);
    if (1..1 << 20).contains(&node.rebuild_bytes_per_second) {
        traits.push("slow rebuilds".into());
    }
}

/// How fast stored replicas are read back. Slowest, one entry after the other, a run is too short for a round.
pub(super) fn scrub(random: &mut Random, node: &mut NodeConfig, traits: &mut Vec<String>) {
    node.scrub.bytes_per_second = *random.pick(&[0, 512 << 10, 4 << 20]);
    node.scrub.every_ms = *random.pick(&[1_000, 5_000, 20_000]);
    node.scrub.read_bytes = *random.pick(&[1, 4 << 10, 256 << 10]);
    if node.scrub.bytes_per_second > 0 {
        traits.push("scrubbed".into());
    }
}

pub(super) fn directory(random: &mut Random, traits: &mut Vec<String>) -> Option<Directory> {
    let drawn = Directory {
        lost: *random.pick(&[0, 30, 90]),
        late: *random.pick(&[0, 30, 60]),
        old_views: *random.pick(&[0, 50, 100]),
        interval: *random.pick(&[20, 100, 1_000]),
    };
    random.percent(40).then(|| {
        traits.push("a lying directory".into());
        drawn
    })
}

pub(super) fn network(random: &mut Random, traits: &mut Vec<String>) -> LinkProfile {
    let mut profile =
        LinkProfile { delay: *random.pick(&[100, 300, MS, 5 * MS, 30 * MS]), ..LinkProfile::healthy() };
    if profile.delay >= 30 * MS {
        traits.push("long ways".into());
    }
    if random.percent(40) {
        profile.loss_ppm = *random.pick(&[1_000, 10_000, 50_000]);
        traits.push("loss".into());
    }
    if random.percent(40) {
        profile.duplicate_ppm = *random.pick(&[1_000, 20_000]);
        traits.push("duplicates".into());
    }
    if random.percent(40) {
        profile.reorder_ppm = *random.pick(&[10_000, 200_000]);
        traits.push("reordering".into());
    }
    profile
}

pub(super) fn disk(random: &mut Random, traits: &mut Vec<String>) -> DiskProfile {
    let sync = *random.pick(&[200, MS, 3 * MS, 3 * MS, 15 * MS, 40 * MS]);
    if sync >= 15 * MS {
        traits.push("slow disks".into());
    }
    DiskProfile { write: sync / 4, sync, read: sync / 4 + 50 }
}

pub(super) fn clocks(random: &mut Random, hosts: usize, traits: &mut Vec<String>) -> Vec<ClockProfile> {
    if !random.percent(40) {
        return vec![ClockProfile::default(); hosts];
    }
    traits.push("skewed clocks".into());
    let mut one = || ClockProfile {
        drift_ppm: random.below(100_000).cast_signed() - 50_000,
        skew_ms: random.below(120_000).cast_signed() - 60_000,
    };
    (0..hosts).map(|_| one()).collect()
}

pub(super) fn raft(random: &mut Random, traits: &mut Vec<String>) -> RaftConfig {
    let mut config = NodeConfig::default().raft;
    if random.percent(35) {
        config.append_bytes_max = 1;
        traits.push("1-entry appends".into());
        if random.percent(50) {
            config.inflight_appends_max = 1;
        }
    }
    if random.percent(25) {
        config.inflight_bytes_max = 1024;
        traits.push("tiny windows".into());
    }
    if random.percent(25) {
        config.window_bytes_max = *random.pick(&[1, 2048]);
    }
    if random.percent(20) {
        config.uncommitted_bytes_max = 4096;
        traits.push("few uncommitted bytes".into());
    }
    if random.percent(30) {
        config.heartbeat_us = 60 * MS;
        config.election_min_us = 250 * MS;
        config.election_max_us = 500 * MS;
        traits.push("hasty elections".into());
    }
    if random.percent(30) {
        config.election_max_us = config.election_min_us + *random.pick(&[1, 20 * MS]);
        config.peer_down_jitter_us = *random.pick(&[1, 20 * MS]);
        traits.push("contended elections".into());
    }
    config
}

pub(super) fn store(random: &mut Random, traits: &mut Vec<String>) -> StoreConfig {
    let segment_bytes = *random.pick(&[16 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20]);
    if segment_bytes <= 64 << 10 {
        traits.push(format!("{} KiB segments", segment_bytes >> 10));
    }
    StoreConfig {
        segment_bytes,
        preallocate: random.percent(50),
        reserve_bytes: 1 << 20,
        // All or nothing: what moka evicts, and when, follows the wall clock.
        cache_bytes: *random.pick(&[0, 1 << 40]),
        run_cache_bytes: *random.pick(&[0, 4096, 1 << 20]),
        reclaim_live_percent: *random.pick(&[50, 75, 95]),
        reclaim_job_bytes: *random.pick(&[1, 8 << 10, 1 << 20]),
        salt: random.next(),
    }
}

/// The most workers that a node may have.
pub(super) fn workers(random: &mut Random, traits: &mut Vec<String>) -> usize {
    let most = *random.pick(&[1, 1, 2, 3]);
    if most > 1 {
        traits.push(format!("up to {most} workers"));
    }
    most
}

/// Machines that join while faults happen.
pub(super) fn joins(
    random: &mut Random,
    counts: &[usize],
    duration: Micros,
    traits: &mut Vec<String>,
) -> Vec<Micros> {
    let count = *random.pick(counts);
    if count > 0 {
        traits.push("joining nodes".into());
    }
    (0..count).map(|_| random.within(CALM, duration * 2 / 3)).collect()
}

/// What the faults of a run want of its topics.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    /// All replicas that there can be.
    pub(super) damage: bool,
    /// One that comes and goes.
    pub(super) leaderless: bool,
}

/// Topics of the beginning, and one more after each machine joined: only these may be placed on it.
pub(super) fn topics(
    random: &mut Random,
    hosts: usize,
    needs: Needs,
    joins: &[Micros],
    traits: &mut Vec<String>,
) -> Vec<TopicPlan> {
    let count = random.within(if needs.leaderless { 3 } else { 2 }, 4);
    let retention = random.percent(50);
    if retention {
        traits.push("short retention".into());
    }
    let mut one = |n: u64, after: Micros, hosts: usize| {
        let name = if n < 2 { format!("{STABLE}-{n}") } else { format!("brief-{n}") };
        let most = hosts.min(3);
        let drawn = if random.percent(80) { 3 } else { random.within(1, 3) };
        let factor = if needs.damage { most } else { most.min(usize::try_from(drawn).unwrap_or(1)) };
        let mut configs = Vec::new();
        if retention {
            let bytes = random.pick(&["2000", "20000"]);
            configs.push(("retention.bytes".to_owned(), Some((*bytes).to_owned())));
        }
        TopicPlan {
            name,
            partitions: i32::try_from(random.within(1, 3)).unwrap_or(1),
            replication_factor: i16::try_from(factor).unwrap_or(1),
            configs,
            after,
        }
    };
    let mut plans: Vec<TopicPlan> = (0..count).map(|n| one(n, 0, hosts)).collect();
    for ((n, hosts), join) in (count..).zip(hosts + 1..).zip(joins) {
        plans.push(one(n, *join + 5 * SECOND, hosts));
    }
    plans
}

pub(super) fn producers(random: &mut Random) -> Vec<ProducerProfile> {
    let count = u32::try_from(random.within(2, 4)).unwrap_or(2);
    let one = |client| ProducerProfile {
        client,
        acks: if random.percent(85) { Acks::All } else { Acks::Leader },
        by_id: random.percent(40),
        interval: u64::from(count) * *random.pick(&[40, 60, 80]) * MS,
        records_max: *random.pick(&[1, 3, 10]),
        value_bytes_max: *random.pick(&[12, 100, 100, 1000]),
        request_timeout: *random.pick(&[500, 1500, 3000]) * MS,
        bumps: random.percent(50),
    };
    (1..=count).map(one).collect()
}

pub(super) fn consumers(random: &mut Random) -> Vec<ConsumerProfile> {
    let count = random.within(1, 3);
    let mut one = || ConsumerProfile {
        by_id: random.percent(40),
        interval: count * *random.pick(&[60, 100, 150]) * MS,
        wait_ms_max: *random.pick(&[0, 100, 500]),
        bytes_max: *random.pick(&[100, 4096, 100_000]),
        seek_percent: *random.pick(&[2, 10, 30]),
    };
    (0..count).map(|_| one()).collect()
}

/// Members of one or two groups, some of them static.
pub(super) fn members(random: &mut Random) -> Vec<MemberProfile> {
    let (groups, count) = (random.within(1, 2), random.within(2, 6));
    let unsteady_percent = *random.pick(&[1, 4, 10]);
    let one = |n: u64| MemberProfile {
        group: format!("group-{}", n % groups),
        instance: random.percent(30).then(|| format!("instance-{n}")),
        interval: count * *random.pick(&[40, 80, 200]) * MS,
        session_timeout_ms: *random.pick(&[1_000, 3_000, 6_000]),
        rebalance_timeout_ms: *random.pick(&[1_000, 4_000]),
        unsteady_percent,
    };
    (0..count).map(one).collect()
}

/// How their coordinators are set.
pub(super) fn groups(random: &mut Random, node: &mut NodeConfig) {
    node.groups.offsets_partitions = *random.pick(&[1, 2, 3]);
    node.groups.initial_rebalance_delay_ms = *random.pick(&[0, 100, 1_000]);
    node.groups.session_timeout_min_ms = 100;
}
