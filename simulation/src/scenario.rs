//! What a seed is: swarm testing. Each seed draws how many nodes there are, how everything is sized, what clients do and
//! which faults happen when. All of it is data, drawn before the run; only latencies are drawn as it goes.

use mesh::raft::Config as RaftConfig;
use node::core::NodeConfig;
use node::core::request::Acks;
use storage::StoreConfig;

use crate::client::{ConsumerProfile, ProducerProfile};
use crate::fault::{self, Fault, Planned};
use crate::network::LinkProfile;
use crate::queue::{MS, Micros, SECOND};
use crate::random::Random;

/// Topics whose name begins so are never deleted.
pub(crate) const STABLE: &str = "stable";

/// Faults begin after the mesh has had this long to form.
pub(crate) const CALM: Micros = 6 * SECOND;

/// A topic that the administrator creates.
#[derive(Clone, Debug)]
pub(crate) struct TopicPlan {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) configs: Vec<(String, Option<String>)>,
    /// It is not created before.
    pub(crate) after: Micros,
}

/// How the disks of a run behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskProfile {
    /// Typical time of the write of a commit.
    pub(crate) write: Micros,
    /// Typical time of its sync.
    pub(crate) sync: Micros,
    /// Typical time of a read.
    pub(crate) read: Micros,
}

/// How a node's clock differs from true time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockProfile {
    /// Parts per million that the monotonic clock runs fast.
    pub(crate) drift_ppm: i64,
    /// Milliseconds that the wall clock is ahead.
    pub(crate) skew_ms: i64,
}

/// What the directory does to hints about leaders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory {
    /// Percent that are lost.
    pub(crate) lost: u32,
    /// Percent that come seconds late.
    pub(crate) late: u32,
    /// Percent of starts at which a node finds the oldest copy of the metadata that it kept.
    pub(crate) old_views: u32,
    /// Typical milliseconds between two old hints.
    pub(crate) interval: u64,
}

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// How many found the mesh.
    pub(crate) hosts: usize,
    /// When others ask to join it, one each.
    pub(crate) joins: Vec<Micros>,
    /// How long faults go on.
    pub(crate) duration: Micros,
    pub(crate) network: LinkProfile,
    /// Percent of closed connections that nobody is told of.
    pub(crate) silent_disconnects: u32,
    pub(crate) disk: DiskProfile,
    pub(crate) clocks: Vec<ClockProfile>,
    pub(crate) node: NodeConfig,
    pub(crate) store: StoreConfig,
    /// The index forgets everything at each restart.
    pub(crate) forgetful_index: bool,
    pub(crate) topics: Vec<TopicPlan>,
    pub(crate) topic_churn: Option<Micros>,
    pub(crate) producers: Vec<ProducerProfile>,
    pub(crate) consumers: Vec<ConsumerProfile>,
    /// How often somebody asks for what makes no sense.
    pub(crate) odd: Option<Micros>,
    pub(crate) directory: Option<Directory>,
    pub(crate) faults: Vec<Planned>,
    /// Words for people: which sizes are unusual, which classes of faults were drawn.
    pub(crate) traits: Vec<String>,
}

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn draw(seed: u64, minutes: u64) -> Self {
        let random = &mut Random::of(seed, "scenario");
        let hosts = *random.pick(&[1, 3, 3, 3, 3, 3, 3, 4, 5, 5]);
        let mut traits = Vec::new();
        let duration = minutes * 60 * SECOND;
        let joins = joins(&mut Random::of(seed, "joins"), duration, &mut traits);
        let all = hosts + joins.len();
        let sizes = fault::Sizes { hosts: all, founders: hosts };
        let faults = fault::plan(&mut Random::of(seed, "faults"), sizes, duration, &mut traits);
        let damage = faults.iter().any(|planned| planned.fault.is_damage());
        let leaderless = faults.iter().any(|planned| matches!(planned.fault, Fault::Leaderless { .. }));
        let mut clocks = clocks(random, hosts, &mut traits);
        clocks.resize(all, ClockProfile::default());
        let mut node = NodeConfig { raft: raft(random, &mut traits), ..NodeConfig::default() };
        node.checkpoint_entries = *random.pick(&[4, 16, 64, 256, 4096]);
        node.retention_ms = *random.pick(&[300, 1000, 5000]);
        node.create_grace_ms = *random.pick(&[500, 3000]);
        Self {
            hosts,
            duration,
            network: network(random, &mut traits),
            silent_disconnects: *random.pick(&[0, 30, 100]),
            disk: disk(random, &mut traits),
            clocks,
            node,
            store: store(random, &mut traits),
            forgetful_index: random.percent(30),
            topics: topics(random, hosts, Needs { damage, leaderless }, &joins, &mut traits),
            topic_churn: random.percent(35).then(|| random.within(8, 25) * SECOND),
            joins,
            producers: producers(random),
            consumers: consumers(random),
            odd: odd(&mut Random::of(seed, "odd"), &mut traits),
            directory: directory(&mut Random::of(seed, "directory"), &mut traits),
            faults,
            traits,
        }
    }

    /// Names of topics that come and go.
    pub(crate) fn brief_topics(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|topic| topic.name.as_str()).filter(|name| !name.starts_with(STABLE))
    }

    /// One line for people.
    pub(crate) fn summary(&self) -> String {
        let partitions: i32 = self.topics.iter().map(|topic| topic.partitions).sum();
        format!(
            "{} nodes, {} join, {} topics, {partitions} partitions, {} producers, {} faults; {}",
            self.hosts,
            self.joins.len(),
            self.topics.len(),
            self.producers.len(),
            self.faults.len(),
            self.traits.join(", ")
        )
    }
}

fn odd(random: &mut Random, traits: &mut Vec<String>) -> Option<Micros> {
    let interval = *random.pick(&[300, 1_000, 3_000]) * MS;
    random.percent(40).then(|| {
        traits.push("odd requests".into());
        interval
    })
}

fn directory(random: &mut Random, traits: &mut Vec<String>) -> Option<Directory> {
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

fn network(random: &mut Random, traits: &mut Vec<String>) -> LinkProfile {
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

fn disk(random: &mut Random, traits: &mut Vec<String>) -> DiskProfile {
    let sync = *random.pick(&[200, MS, 3 * MS, 3 * MS, 15 * MS, 40 * MS]);
    if sync >= 15 * MS {
        traits.push("slow disks".into());
    }
    DiskProfile { write: sync / 4, sync, read: sync / 4 + 50 }
}

fn clocks(random: &mut Random, hosts: usize, traits: &mut Vec<String>) -> Vec<ClockProfile> {
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

fn raft(random: &mut Random, traits: &mut Vec<String>) -> RaftConfig {
    let mut config = RaftConfig::default();
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

fn store(random: &mut Random, traits: &mut Vec<String>) -> StoreConfig {
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

/// Machines that join while faults happen.
fn joins(random: &mut Random, duration: Micros, traits: &mut Vec<String>) -> Vec<Micros> {
    let count = *random.pick(&[0, 0, 0, 1, 1, 2]);
    if count > 0 {
        traits.push("joining nodes".into());
    }
    (0..count).map(|_| random.within(CALM, duration * 2 / 3)).collect()
}

/// What the faults of a run want of its topics.
#[derive(Clone, Copy)]
struct Needs {
    /// All replicas that there can be.
    damage: bool,
    /// One that comes and goes.
    leaderless: bool,
}

/// Topics of the beginning, and one more after each machine joined: only these may be placed on it.
fn topics(
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

fn producers(random: &mut Random) -> Vec<ProducerProfile> {
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

fn consumers(random: &mut Random) -> Vec<ConsumerProfile> {
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
