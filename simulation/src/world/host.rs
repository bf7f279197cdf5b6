//! One machine: its disk, its clocks, and at most one process on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use mesh::raft::{Incarnation, NodeId, Time};
use mesh::swim::{Figures, SwimId};
use node::core::metadata::{Founder, Founding, PartitionKey, Registration, View};
use node::core::request::RequestId;
use node::core::workers::needed;
use node::core::{Effect, Identity, Now};
use node::core::{Node, NodeConfig, Setup};
use storage::fake::FakeDisk;
use storage::index::memory::MemoryIndex;
use storage::{Commit, Disk, Recovered, Store, StoreConfig};

use super::Event;
use crate::checks::ReplicaFact;
use crate::coverage::Heard;
use crate::queue::Micros;
use crate::random::Random;
use crate::scenario::ClockProfile;

/// Milliseconds since 1970 when the world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Bytes a disk holds unless it is full.
const CAPACITY: u64 = 1 << 30;

/// Where the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// There is none.
    Down,
    /// It runs.
    Running,
    /// It is stopped by a signal; this many signals hold it.
    Paused(u32),
}

/// The segment log of a worker.
pub(super) struct Drive {
    pub(super) disk: FakeDisk,
    pub(super) index: MemoryIndex,
    /// The commit under way.
    pub(super) commit: Option<Commit<FakeDisk>>,
    /// Commits that ended well in this life.
    pub(super) commits: u64,
}

impl Drive {
    fn new() -> Self {
        Self { disk: FakeDisk::new(CAPACITY), index: MemoryIndex::new(), commit: None, commits: 0 }
    }

    /// The segment file that was opened last.
    pub(super) fn newest_segment(&self) -> Option<String> {
        let files = self.disk.list().ok()?;
        files.into_iter().filter(|name| name.ends_with(".segment")).max()
    }
}

/// A whole data directory that was taken out of its machine.
pub(super) struct Directory {
    drives: Vec<Drive>,
    incarnation: Incarnation,
    disk: u32,
    machine: Option<usize>,
    view: Option<Bytes>,
    oldest_view: Option<Bytes>,
}

/// A data directory as it was when its process was down: its logs, and the shell's copy of the metadata.
pub(super) struct Copy {
    disks: Vec<FakeDisk>,
    view: Option<Bytes>,
}

/// What a process hears of others.
#[derive(Default)]
pub(super) struct Hearing {
    /// The node's own counter of changes, when this was filled.
    pub(super) as_of: u64,
    /// The newest process that SWIM told of each life.
    pub(super) known: BTreeMap<(NodeId, Incarnation), SwimId>,
    pub(super) heard: BTreeMap<NodeId, Heard>,
    pub(super) figures: Figures,
}

/// One machine.
pub(super) struct Host {
    pub(super) at: usize,
    pub(super) process: Process,
    /// Counts processes: events of an earlier one are void.
    pub(super) life: u64,
    pub(super) node: Option<Box<Node<FakeDisk>>>,
    /// Of each worker, the first one's first; never empty.
    pub(super) drives: Vec<Drive>,
    /// How many workers shall take new logs.
    pub(super) workers: usize,
    pub(super) incarnation: Incarnation,
    /// Counts the identities that were drawn here: each empty directory draws one.
    disk: u32,
    /// Its directory is empty: it has no number before the mesh gave it that of the lost one.
    pub(super) applies: bool,
    /// The client that asks for its number.
    pub(super) joiner: Option<usize>,
    /// The directory that was taken for lost, until it was put back once.
    pub(super) aside: Option<Directory>,
    /// Whose data directory it has: the founder of this rank, or the machine that was admitted under this host's number.
    /// `None` until then.
    pub(super) machine: Option<usize>,
    /// What the process found when it opened, by worker.
    pub(super) recovered: Vec<Recovered>,
    /// What came while paused.
    pub(super) deferred: VecDeque<Event>,
    /// Requests of it that are given to the process now, and until when.
    pub(super) backlog: (BTreeSet<RequestId>, Micros),
    /// A copy of the data directory from an earlier boot.
    pub(super) copy: Option<Copy>,
    /// The tick that is queued.
    pub(super) tick: Option<Micros>,
    /// The copy of the metadata that the shell keeps.
    pub(super) view: Option<Bytes>,
    pub(super) view_changed: bool,
    /// The first copy that was ever kept.
    oldest_view: Option<Bytes>,
    /// Nothing of the disk ends before.
    pub(super) stalled_until: Micros,
    /// Why the node may say that its disk failed.
    pub(super) excuse: Option<&'static str>,
    /// A misdirected write of a worker is under way: leave the process alone until this many of its commits ended. The one in flight may be written already,
    /// the next one goes astray, and a round after it tells that from a torn tail.
    pub(super) doomed: Option<(usize, u64)>,
    /// Splits that keep clients away.
    pub(super) clients_cut: u32,
    /// Machines are in two zones.
    zones: bool,
    /// What its replicas were when last looked at.
    pub(super) shown: BTreeMap<PartitionKey, Arc<ReplicaFact>>,
    /// What SWIM told its process of others when last looked at.
    pub(super) hearing: Hearing,
    clock: ClockProfile,
    mono_base: u64,
    mono_since: Micros,
}

impl Host {
    pub(super) fn new(at: usize, clock: ClockProfile, zones: bool, random: &mut Random) -> Self {
        Self {
            at,
            process: Process::Down,
            life: 0,
            node: None,
            drives: vec![Drive::new()],
            workers: 1,
            incarnation: Incarnation(random.within(1, 1 << 40)),
            disk: 0,
            applies: false,
            joiner: None,
            aside: None,
            machine: None,
            recovered: Vec::new(),
            deferred: VecDeque::new(),
            backlog: (BTreeSet::new(), 0),
            copy: None,
            tick: None,
            view: None,
            view_changed: false,
            oldest_view: None,
            stalled_until: 0,
            excuse: None,
            doomed: None,
            clients_cut: 0,
            zones,
            shown: BTreeMap::new(),
            hearing: Hearing::default(),
            clock,
            mono_base: random.within(1, 1 << 40),
            mono_since: 0,
        }
    }

    /// Its committed number.
    pub(super) fn id(&self) -> NodeId {
        NodeId(i32::try_from(self.at + 1).expect("few hosts"))
    }

    /// It is one of the founders.
    pub(super) fn found(&mut self) -> Founder {
        self.machine = Some(self.at);
        Founder {
            node: self.id(),
            incarnation: self.incarnation,
            peer_id: peer_id(self.at, 0),
            mesh: address(self.at, 9192),
            zone: zone(self.at, self.zones),
        }
    }

    /// A machine was admitted as this node and keeps what it was told of the mesh, as a shell does before it opens.
    pub(super) fn admit(&mut self, machine: usize, incarnation: Incarnation, view: Bytes) {
        self.machine = Some(machine);
        self.incarnation = incarnation;
        self.applies = false;
        self.oldest_view = Some(view.clone());
        self.view = Some(view);
    }

    /// Whether it is part of the mesh.
    pub(super) fn is_node(&self) -> bool {
        self.machine.is_some()
    }

    /// What its clocks say at `now`.
    pub(super) fn clocks(&self, now: Micros) -> Now {
        let elapsed = i128::from(now - self.mono_since);
        let mono = elapsed * i128::from(1_000_000 + self.clock.drift_ppm) / 1_000_000;
        let mono = self.mono_base + u64::try_from(mono).expect("clocks run forward");
        let wall_ms = EPOCH_MS + (now / 1000).cast_signed() + self.clock.skew_ms;
        Now { mono: Time(mono), wall_ms, behind: false }
    }

    /// True time at which its monotonic clock has reached `deadline`.
    pub(super) fn when(&self, deadline: Time) -> Micros {
        let mono = i128::from(deadline.0.saturating_sub(self.mono_base));
        let elapsed = mono * 1_000_000 / i128::from(1_000_000 + self.clock.drift_ppm) + 1;
        self.mono_since.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// The wall clock jumps.
    pub(super) fn jump(&mut self, ms: i64) {
        self.clock.skew_ms += ms;
    }

    /// The machine starts: its monotonic clock begins anew.
    pub(super) fn boot(&mut self, now: Micros, random: &mut Random) {
        self.mono_base = random.within(1, 1 << 40);
        self.mono_since = now;
    }

    /// Opens what the disk holds.
    pub(super) fn open(
        &mut self,
        now: Micros,
        config: &NodeConfig,
        store: &StoreConfig,
        founding: &Founding,
        seed: u64,
    ) -> Result<Vec<Effect<FakeDisk>>, String> {
        let count = self.drives.len().max(self.workers);
        self.drives.resize_with(count, Drive::new);
        let mut opened = Vec::new();
        for drive in &self.drives {
            let index = Box::new(drive.index.clone());
            let incarnation = &mut self.incarnation.0;
            let note = || {
                *incarnation += u64::from(!node::mutant::active(node::mutant::Mutant::RotKeepsLife));
                Ok(())
            };
            let one = Store::open_noting_damage(drive.disk.clone(), store.clone(), index, note);
            opened.push(one.map_err(|error| error.to_string())?);
        }
        self.recovered = opened.iter().map(|(_, recovered)| recovered.clone()).collect();
        if self.is_suspect() {
            // Another life began: a copy from before would be of the one that is over.
            self.copy = None;
        }
        let keep = needed(&opened, self.workers);
        opened.truncate(keep);
        self.drives.truncate(keep);
        let id = self.id();
        let registration = self.registration(Some(id));
        let setup = Setup {
            identity: Identity { node: id, incarnation: self.incarnation },
            registration,
            founding: founding.clone(),
            view: self.view.as_deref().and_then(|bytes| View::decode(bytes).ok()),
            seed,
        };
        let config = NodeConfig { workers: self.workers, ..config.clone() };
        let (node, effects) =
            Node::open(setup, config, opened, self.clocks(now)).map_err(|error| error.to_string())?;
        self.node = Some(Box::new(node));
        self.process = Process::Running;
        self.hearing = Hearing::default();
        self.life += 1;
        self.drives.iter_mut().for_each(|drive| drive.commits = 0);
        Ok(effects)
    }

    /// The process found damage when it opened.
    pub(super) fn is_suspect(&self) -> bool {
        self.recovered.iter().any(|recovered| recovered.suspect)
    }

    /// The worker that commits most.
    pub(super) fn busiest(&self) -> usize {
        let drives = self.drives.iter().enumerate();
        drives.rev().max_by_key(|(_, drive)| drive.commits).map_or(0, |(at, _)| at)
    }

    /// The process is gone. What the shell kept of the metadata may be the last copy or one before.
    pub(super) fn end(&mut self, keeps_view: bool) {
        if let Some(node) = self.node.take()
            && keeps_view
            && self.view_changed
        {
            self.view = Some(node.view().encode().into());
            if self.oldest_view.is_none() {
                self.oldest_view.clone_from(&self.view);
            }
        }
        self.view_changed = false;
        self.process = Process::Down;
        self.life += 1;
        self.drives.iter_mut().for_each(|drive| drive.commit = None);
        self.deferred.clear();
        self.backlog.0.clear();
        self.tick = None;
        if let Some((worker, _)) = self.doomed.take() {
            // What was not hit by now is spared: later writes belong to another time, when another host may be damaged.
            self.drives[worker].disk.misdirect_next_write(0);
        }
    }

    /// Copies the data directory of a process that is down; with `synced`, only what no power cut takes.
    pub(super) fn save_copy(&mut self, synced: bool) {
        let forks = self.drives.iter().map(|drive| drive.disk.fork());
        let disks = forks.map(|disk| if synced { disk.power_cut(|_| 0) } else { disk }).collect();
        self.copy = Some(Copy { disks, view: self.view.clone() });
    }

    /// Puts the copy back, if there is one.
    pub(super) fn restore_copy(&mut self) {
        if let Some(copy) = &self.copy {
            self.drives.resize_with(copy.disks.len(), Drive::new);
            for (drive, old) in self.drives.iter().zip(&copy.disks) {
                drive.disk.restore(old);
            }
            self.view = copy.view.clone();
        }
    }

    /// The directory is empty from now on: another life begins, which has no number yet. What was there is put aside when `kept`.
    pub(super) fn wipe(&mut self, kept: bool, random: &mut Random) {
        let directory = Directory {
            drives: std::mem::replace(&mut self.drives, vec![Drive::new()]),
            incarnation: self.incarnation,
            disk: self.disk,
            machine: self.machine,
            view: self.view.take(),
            oldest_view: self.oldest_view.take(),
        };
        self.copy = None;
        if node::mutant::active(node::mutant::Mutant::WipedDiskKeepsIdentity) {
            return;
        }
        self.aside = kept.then_some(directory);
        self.incarnation.0 += random.within(1, 1000);
        self.disk += 1;
        self.applies = true;
    }

    /// The directory that is there and the one that was put aside change places.
    pub(super) fn swap_aside(&mut self) {
        let Some(mut other) = self.aside.take() else { return };
        std::mem::swap(&mut self.drives, &mut other.drives);
        std::mem::swap(&mut self.incarnation, &mut other.incarnation);
        std::mem::swap(&mut self.disk, &mut other.disk);
        std::mem::swap(&mut self.machine, &mut other.machine);
        std::mem::swap(&mut self.view, &mut other.view);
        std::mem::swap(&mut self.oldest_view, &mut other.oldest_view);
        self.copy = None;
        self.aside = Some(other);
    }

    /// What this machine says of itself: with its number, or without one to get one.
    pub(super) fn registration(&self, node: Option<NodeId>) -> Registration {
        let machine = self.machine.unwrap_or(self.at);
        registration((machine, self.disk), node, self.incarnation, self.zones)
    }

    /// libp2p's identity of its data directory.
    pub(super) fn peer_id(&self) -> Vec<u8> {
        peer_id(self.machine.unwrap_or(self.at), self.disk)
    }

    /// The shell finds the oldest copy of the metadata that it ever kept.
    pub(super) fn recall_oldest_view(&mut self) {
        self.view.clone_from(&self.oldest_view);
    }

    /// Room is gone, or back.
    pub(super) fn fill(&mut self, full: bool) {
        for Drive { disk, .. } in &self.drives {
            disk.set_capacity(if full { disk.used_bytes() } else { CAPACITY });
        }
    }

    /// Flips bits in a part of the log that later rounds follow, so that recovery can tell rot from a torn tail; false
    /// when there is no such part yet.
    pub(super) fn rot(&self, random: &mut Random) -> bool {
        let disk = match &self.drives[..] {
            [only] => &only.disk,
            several => &several[random.position(several.len())].disk,
        };
        let Ok(mut files) = disk.list() else { return false };
        files.retain(|name| {
            disk.open(name).is_ok_and(|file| storage::DiskFile::len(&file).is_ok_and(|len| len > 4096))
        });
        files.sort();
        files.pop();
        if files.is_empty() {
            return false;
        }
        let name = random.pick(&files).clone();
        let position = random.within(0, 8000);
        let bits = random.within(1, 12);
        let mut hit = false;
        for n in 0..bits {
            let bit = u8::try_from(random.below(8)).expect("below 8");
            hit |= disk.flip_bit(&name, position + n * random.within(1, 40), bit);
        }
        hit
    }
}

fn peer_id(machine: usize, disk: u32) -> Vec<u8> {
    format!("peer-{}.{disk}", machine + 1).into_bytes()
}

fn address(machine: usize, port: u16) -> String {
    format!("host-{}:{port}", machine + 1)
}

/// The zone of a machine, where there are any.
fn zone(machine: usize, zones: bool) -> String {
    if zones { format!("zone-{}", machine % 2) } else { String::new() }
}

/// What a machine says of itself: with its number, or without one to get one.
pub(super) fn registration(
    (machine, disk): (usize, u32),
    node: Option<NodeId>,
    incarnation: Incarnation,
    zones: bool,
) -> Registration {
    Registration {
        node,
        incarnation,
        peer_id: peer_id(machine, disk),
        kafka: address(machine, 9092),
        mesh: address(machine, 9192),
        http: address(machine, 9292),
        zone: zone(machine, zones),
        weight: 1,
    }
}

/// Which machine it is that says so of itself.
pub(super) fn machine_of(registration: &Registration) -> Option<usize> {
    let number = registration.mesh.strip_prefix("host-")?.split(':').next()?;
    number.parse::<usize>().ok()?.checked_sub(1)
}
