//! Coverage of situations: how often a run came through each interesting thing, found from outside the nodes.
//!
//! A [`Watch`] is one file: it names its [`Situation`]s, sees [`Fact`]s and the [`Scene`] before each, and counts. A new situation is
//! a constant and a line in such a file; a new file needs its line in [`all`]. Nothing here judges, and nothing here may change what
//! happens: no randomness is drawn, nothing is written to the trace.

mod clients;
mod crashes;
mod elections;
mod groups;
mod hearing;
mod logs;
mod membership;
mod moves;
mod quiet;
mod rebuilds;
mod scrub;
mod topics;
mod workers;

use std::collections::BTreeMap;

use mesh::raft::{Config, Index, ReplicaId, Term};
use mesh::swim::Figures;
use node::core::message::PeerMessage;
use node::core::metadata::PartitionKey;
use node::core::request::{Request, RequestId, Response};
use node::core::{RebuildFigures, ScrubFigures};
use storage::Recovered;

pub(crate) use workers::WorkerCounts;

use crate::checks::ReplicaFact;
use crate::queue::Micros;

/// How often each situation occurred, by its name.
pub type Counts = BTreeMap<&'static str, u64>;

/// The name of something worth having come through, in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situation(pub(crate) &'static str);

/// Something that anybody outside the nodes can see.
pub(crate) enum Fact<'a> {
    /// A replica changed.
    Replica { key: PartitionKey, fact: &'a ReplicaFact },
    /// A running node no longer has a replica.
    Gone { key: PartitionKey, host: usize },
    /// An entry is committed for the first time.
    Committed { key: PartitionKey, entry: &'a storage::Entry },
    /// A node sends a message; `split` while any link is cut.
    Sent { host: usize, message: &'a PeerMessage, split: bool },
    /// A node sends entries because a read of its disk ended.
    ServedFromDisk,
    /// A node hears a message.
    Heard { host: usize, message: &'a PeerMessage },
    /// A client's request reaches a node.
    Asked { id: RequestId, request: &'a Request },
    /// A node answers it.
    Answered { id: RequestId, response: &'a Response },
    /// A client is told to be silent.
    Throttled,
    /// A batch is acknowledged by a leader of term `leads`; it was committed as one of term `written`.
    Acknowledged { written: Term, leads: Term },
    /// A process is there.
    Up { host: usize, recovered: &'a [Recovered], workers: WorkerCounts },
    /// A process is gone, or the power of a machine without one.
    Down { host: usize, power: bool, newest_segments: Vec<Option<String>> },
    /// A process is stopped by a signal.
    Paused { host: usize },
    /// It goes on.
    Resumed { host: usize },
    /// A commit begins.
    CommitBegins { host: usize, worker: usize, newest_segment: Option<String> },
    /// A commit was synced.
    CommitEnds { host: usize, worker: usize, newest_segment: Option<String> },
    /// A reclaim job begins.
    ReclaimBegins { host: usize },
    /// It ended.
    ReclaimEnds { host: usize },
    /// What a node's scrubber did, before a step and after it.
    Scrubbed { before: ScrubFigures, after: ScrubFigures },
    /// A node hears of another one, `of`, in another way than before.
    Hearing { of: usize, before: Heard, now: Heard },
    /// A node refuted a suspicion of it, or came back after it was called down.
    Refuted { before: Figures, after: Figures },
    /// What a node sent to replicas that are rebuilt, before a step and after it.
    Rebuilt { before: RebuildFigures, after: RebuildFigures },
    /// A node ends itself, for its disk failed.
    Failed,
    /// A node handed over and ended.
    Stopped,
    /// An empty directory got the number of the one that was there before.
    TookOver,
    /// The process of a directory whose number another one has was refused.
    Outlived,
}

/// How a node hears of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// By heartbeats of its own.
    pub(crate) watched: bool,
    /// SWIM holds it for live.
    pub(crate) live: bool,
}

/// Where a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Life {
    /// It never was.
    #[default]
    Unborn,
    Running,
    Paused,
    Killed,
    /// The machine lost power, with the process or after it.
    Dark,
}

/// A replica when it was last seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) id: ReplicaId,
    pub(crate) term: Term,
    pub(crate) leads: bool,
    pub(crate) quiet: bool,
    pub(crate) joint: bool,
    pub(crate) last: Index,
}

/// The world as far as situations need it.
pub(crate) struct Scene {
    pub(crate) now: Micros,
    pub(crate) raft: Config,
    pub(crate) lives: Vec<Life>,
    /// Of running processes.
    pub(crate) replicas: BTreeMap<(PartitionKey, usize), Shown>,
    /// What those that are gone held when they went.
    pub(crate) held: BTreeMap<(PartitionKey, usize), Shown>,
}

impl Scene {
    /// Replicas of a partition on running nodes, by host.
    pub(crate) fn of(&self, key: PartitionKey) -> impl Iterator<Item = (usize, &Shown)> + '_ {
        self.replicas.range((key, 0)..=(key, usize::MAX)).map(|((_, host), shown)| (*host, shown))
    }

    /// A process is gone, or the power of a machine that had none.
    fn down(&mut self, host: usize, life: Life) {
        let before = std::mem::replace(&mut self.lives[host], life);
        if !matches!(before, Life::Killed | Life::Dark) {
            self.held.retain(|(_, at), _| *at != host);
            let (gone, here): (BTreeMap<_, _>, _) =
                std::mem::take(&mut self.replicas).into_iter().partition(|((_, at), _)| *at == host);
            self.replicas = here;
            self.held.extend(gone);
        }
    }

    fn note(&mut self, fact: &Fact<'_>) {
        match fact {
            Fact::Replica { key, fact } => {
                let shown = Shown {
                    id: fact.id,
                    term: fact.term,
                    leads: fact.leads,
                    quiet: fact.quiet,
                    joint: fact.membership.is_joint(),
                    last: fact.last,
                };
                self.held.remove(&(*key, fact.host));
                self.replicas.insert((*key, fact.host), shown);
            }
            Fact::Gone { key, host } => _ = self.replicas.remove(&(*key, *host)),
            Fact::Up { host, .. } => self.lives[*host] = Life::Running,
            Fact::Down { host, power, .. } => {
                self.down(*host, if *power { Life::Dark } else { Life::Killed });
            }
            Fact::Paused { host } => self.lives[*host] = Life::Paused,
            Fact::Resumed { host } => self.lives[*host] = Life::Running,
            _ => {}
        }
    }
}

/// Counts situations.
#[derive(Default)]
pub(crate) struct Tally(Counts);

impl Tally {
    /// One more.
    pub(crate) fn count(&mut self, situation: Situation) {
        *self.0.entry(situation.0).or_default() += 1;
    }

    /// One more if so.
    pub(crate) fn count_if(&mut self, so: bool, situation: Situation) {
        if so {
            self.count(situation);
        }
    }
}

/// Finds situations of one kind.
pub(crate) trait Watch {
    /// Those that it can find.
    fn situations(&self) -> &'static [Situation];

    /// A fact, and the scene before it.
    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally);
}

/// Every watch.
fn all() -> Vec<Box<dyn Watch>> {
    vec![
        Box::new(elections::Elections::default()),
        Box::new(hearing::Hearing),
        Box::new(logs::Logs),
        Box::new(membership::Memberships),
        Box::new(moves::Moves::default()),
        Box::new(quiet::Quiet::default()),
        Box::new(rebuilds::Rebuilds),
        Box::new(scrub::Scrub),
        Box::new(crashes::Crashes::default()),
        Box::new(topics::Topics::default()),
        Box::new(workers::Workers),
        Box::new(clients::Clients::default()),
        Box::new(groups::Groups::default()),
    ]
}

/// Every situation in the order of the table.
pub fn situations() -> Vec<&'static str> {
    all().iter().flat_map(|watch| watch.situations()).map(|situation| situation.0).collect()
}

/// The situations of one run.
pub(crate) struct Coverage {
    scene: Scene,
    watches: Vec<Box<dyn Watch>>,
    tally: Tally,
}

impl Coverage {
    /// Of a run of so many hosts.
    pub(crate) fn new(hosts: usize, raft: Config) -> Self {
        let lives = vec![Life::default(); hosts];
        let scene = Scene { now: 0, raft, lives, replicas: BTreeMap::new(), held: BTreeMap::new() };
        Self { scene, watches: all(), tally: Tally::default() }
    }

    /// Takes a fact.
    pub(crate) fn see(&mut self, now: Micros, fact: &Fact<'_>) {
        self.scene.now = now;
        for watch in &mut self.watches {
            watch.see(&self.scene, fact, &mut self.tally);
        }
        self.scene.note(fact);
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> Counts {
        self.tally.0.clone()
    }
}

#[cfg(test)]
pub(crate) mod doctored {
    //! A coverage that tests feed by hand.

    use super::*;
    use crate::checks::doctored::{fact, ledger};

    pub(crate) const KEY: PartitionKey =
        PartitionKey { topic: node::core::request::TopicId([7; 16]), partition: 0 };

    /// What three hosts came through with these facts.
    pub(crate) fn seen(facts: &[Fact<'_>]) -> Counts {
        let mut coverage = Coverage::new(4, Config::default());
        facts.iter().zip(1..).for_each(|(fact, now)| coverage.see(now, fact));
        coverage.counts()
    }

    /// A replica as `checks::doctored::fact` makes it, after the one that it is given.
    pub(crate) fn after(
        before: Option<&ReplicaFact>,
        node: i32,
        term: u32,
        leads: bool,
        last: u64,
    ) -> ReplicaFact {
        let (_, group) = ledger();
        let copy = |b: &ReplicaFact| {
            let mut copy = fact(group, node, b.term.0, b.leads, b.commit.0, b.last.0);
            (copy.membership, copy.terms, copy.start) = (b.membership.clone(), b.terms.clone(), b.start);
            std::sync::Arc::new(copy)
        };
        ReplicaFact { before: before.map(copy), ..fact(group, node, term, leads, 0, last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_short_enough_for_a_table() {
        let mut seen = std::collections::BTreeSet::new();
        assert!(situations().into_iter().all(|name| seen.insert(name)), "{:?}", situations());
        assert!(situations().len() >= 25);
        assert!(situations().iter().all(|name| name.len() <= 72), "{:?}", situations());
    }
}
