//! What a seed is: swarm testing. Each seed draws how many nodes there are, how everything is sized, what clients do and
//! which faults happen when. All of it is data, drawn before the run; only latencies are drawn as it goes.
//!
//! A named scenario ([`Kind`]) is this draw with a stress of its own. Each is one file here and a line in [`KINDS`].

use std::fmt;
use std::str::FromStr;

use node::core::NodeConfig;
use storage::StoreConfig;

use crate::client::{ConsumerProfile, MemberProfile, ProducerProfile};
use crate::fault::{self, Class, Fault, Planned};
use crate::network::LinkProfile;
use crate::queue::{Micros, SECOND};
use crate::random::Random;

mod churn;
mod damage;
mod elastic;
mod gossip;
mod groups;
mod mixed;
mod outages;
mod pieces;
mod splits;
mod steady;
mod wide;

use pieces::Needs;

/// The scenarios by name. The first is the default, and the one in which mutants must be caught.
pub const KINDS: [Kind; 10] = [
    mixed::KIND,
    steady::KIND,
    elastic::KIND,
    churn::KIND,
    groups::KIND,
    outages::KIND,
    splits::KIND,
    damage::KIND,
    gossip::KIND,
    wide::KIND,
];

/// A named scenario: what the general draw chooses from, and what is changed after it.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// How many nodes found the mesh: one of these.
    hosts: &'static [usize],
    /// How many machines join later: one of these.
    joins: &'static [usize],
    /// The classes of faults; empty: each by its own chance.
    classes: &'static [Class],
    /// Everything else.
    bend: fn(&mut Scenario, &mut Random),
}

impl Default for Kind {
    fn default() -> Self {
        mixed::KIND
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kind {}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lines = KINDS.map(|kind| format!("  {:<8} {}", kind.name, kind.about)).join("\n");
        KINDS.into_iter().find(|kind| kind.name == text).ok_or_else(|| format!("the scenarios are\n{lines}"))
    }
}

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

/// Who deletes records and gives topics more partitions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Care {
    /// Typical time between two requests.
    pub(crate) interval: Micros,
    /// Whether topics grow. Not where nodes lose their disks: a partition that was planned on lives most of which are over has nobody
    /// to create it, and stays without a leader for as long as its topic lives.
    pub(crate) grows: bool,
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
    /// Most workers that a node has: it may have another number after each start.
    pub(crate) workers: usize,
    /// The index forgets everything at each restart.
    pub(crate) forgetful_index: bool,
    pub(crate) topics: Vec<TopicPlan>,
    pub(crate) topic_churn: Option<Micros>,
    pub(crate) producers: Vec<ProducerProfile>,
    pub(crate) consumers: Vec<ConsumerProfile>,
    /// Of consumer groups.
    pub(crate) members: Vec<MemberProfile>,
    /// How often somebody asks for what makes no sense.
    pub(crate) odd: Option<Micros>,
    /// Whether somebody deletes records and gives topics more partitions.
    pub(crate) care: Option<Care>,
    /// How often an operator decides something about a node.
    pub(crate) operator: Option<Micros>,
    /// How often somebody reassigns replicas.
    pub(crate) mover: Option<Micros>,
    /// Machines are in two zones, and consumers read from replicas in theirs.
    pub(crate) zones: bool,
    /// How often somebody alters configs.
    pub(crate) tuner: Option<Micros>,
    pub(crate) directory: Option<Directory>,
    pub(crate) faults: Vec<Planned>,
    /// Words for people: which sizes are unusual, which classes of faults were drawn.
    pub(crate) traits: Vec<String>,
}

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn draw(kind: Kind, seed: u64, minutes: u64) -> Self {
        let random = &mut Random::of(seed, "scenario");
        let hosts = *random.pick(kind.hosts);
        let mut traits = Vec::new();
        let duration = minutes * 60 * SECOND;
        let joins = pieces::joins(&mut Random::of(seed, "joins"), kind.joins, duration, &mut traits);
        let all = hosts + joins.len();
        let sizes = fault::Sizes { hosts: all, founders: hosts };
        let faults = fault::plan(&mut Random::of(seed, "faults"), kind.classes, sizes, duration, &mut traits);
        let damage = faults.iter().any(|planned| planned.fault.is_damage());
        let leaderless = faults.iter().any(|planned| matches!(planned.fault, Fault::Leaderless { .. }));
        let mut clocks = pieces::clocks(random, hosts, &mut traits);
        clocks.resize(all, ClockProfile::default());
        let mut node = NodeConfig { raft: pieces::raft(random, &mut traits), ..NodeConfig::default() };
        pieces::quiet(&mut Random::of(seed, "quiet"), &mut node.raft, &mut traits);
        node.checkpoint_entries = *random.pick(&[4, 16, 64, 256, 4096]);
        node.retention_ms = *random.pick(&[300, 1000, 5000]);
        node.create_grace_ms = *random.pick(&[500, 3000]);
        pieces::moves(&mut Random::of(seed, "moves"), &mut node, &mut traits);
        pieces::scrub(&mut Random::of(seed, "scrub"), &mut node, &mut traits);
        pieces::rebuilds(&mut Random::of(seed, "rebuilds"), &mut node, &mut traits);
        let mut scenario = Self {
            hosts,
            duration,
            network: pieces::network(random, &mut traits),
            silent_disconnects: *random.pick(&[0, 30, 100]),
            disk: pieces::disk(random, &mut traits),
            clocks,
            node,
            store: pieces::store(random, &mut traits),
            workers: pieces::workers(&mut Random::of(seed, "most workers"), &mut traits),
            forgetful_index: random.percent(30),
            topics: pieces::topics(random, hosts, Needs { damage, leaderless }, &joins, &mut traits),
            topic_churn: random.percent(35).then(|| random.within(8, 25) * SECOND),
            joins,
            producers: pieces::producers(random),
            consumers: pieces::consumers(random),
            members: Vec::new(),
            odd: pieces::odd(&mut Random::of(seed, "odd"), &mut traits),
            care: pieces::care(&mut Random::of(seed, "care"), damage, &mut traits),
            operator: pieces::operator(&mut Random::of(seed, "operator"), &mut traits),
            mover: pieces::mover(&mut Random::of(seed, "mover"), &mut traits),
            zones: pieces::zones(&mut Random::of(seed, "zones"), &mut traits),
            tuner: pieces::tuner(&mut Random::of(seed, "tuner"), &mut traits),
            directory: pieces::directory(&mut Random::of(seed, "directory"), &mut traits),
            faults,
            traits,
        };
        let groups = &mut Random::of(seed, "groups");
        if groups.percent(30) {
            scenario.members = pieces::members(groups);
            pieces::groups(groups, &mut scenario.node);
            scenario.traits.push(format!("{} members of groups", scenario.members.len()));
        }
        (kind.bend)(&mut scenario, &mut Random::of(seed, kind.name));
        scenario
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
