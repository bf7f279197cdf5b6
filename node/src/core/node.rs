//! The node itself: its tables, its inputs, its timers, and the way of writes to the disk and back.

use std::collections::{BTreeMap, BTreeSet};

use mesh::life::{Life, Lives};
use mesh::liveness::Liveness;
use mesh::raft::{
    self, Incarnation, Index, LogStart, Membership, NodeId, Replica, ReplicaId, Role, Term, Time, WriteId,
};
use mesh::swim::{Swim, SwimConfig};
use storage::{Commit, Disk, LogId, Recovered, Sequence, Store, Write};

use super::company::Company;
use super::fetch::FetchCall;
use super::gossip::Gossip;
use super::groups::GroupConfig;
use super::leaders::Leaders;
use super::lifecycle::{FOUNDED, log_meta};
use super::message::{LeaderInfo, PeerMessage, Stream};
use super::metadata::configs::{BrokerSettings, Defaults};
use super::metadata::lifecycle::Standing;
use super::metadata::{FIRST_REPLICA_EPOCH, Founding, PartitionKey, Registration, SHARDS, ShardId, View};
use super::partition::{Applied, Partition, restored};
use super::produce::ProduceCall;
use super::rebuilds::Rebuilds;
use super::request::{Request, RequestId, Response};
use super::scrub::{Scrub, ScrubConfig};
use super::shards::{Forwarding, ShardLead};
use super::workers::Workers;
use super::{Effect, Identity, Input, Now, OLD_COPY, after_ms};
use crate::mutant::{self, Mutant};

/// What is due waits at most this long for messages that came in before it, in microseconds: less than half of the shortest election
/// timeout, so that a node that is never done with what it hears beats in time.
const BEHIND_MAX_US: u64 = 400_000;

/// What may differ between nodes, with defaults that suit a small mesh.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Timeouts and windows of each replica set.
    pub raft: raft::Config,
    /// Heartbeats between nodes.
    pub liveness: mesh::liveness::LivenessConfig,
    /// How often a node compares what it has with what the shards say, in milliseconds.
    pub reconcile_ms: u64,
    /// How often retention and reclaim are looked at, in milliseconds (`log.retention.check.interval.ms`).
    pub retention_ms: u64,
    /// A checkpoint of applied state is written after this many entries.
    pub checkpoint_entries: u64,
    /// And after this many bytes of them: what a restart has to read again at most.
    pub checkpoint_bytes: usize,
    /// What topics are when their creator does not say.
    pub defaults: Defaults,
    /// What DescribeConfigs says of this node.
    pub settings: BrokerSettings,
    /// How long a graceful stop waits for leadership to move, in milliseconds.
    pub stop_ms: u64,
    /// Bytes that all fetches of one response may carry at most.
    pub fetch_bytes_max: u32,
    /// How long a shard waits for the last replica of a new partition before a majority will do, in milliseconds.
    pub create_grace_ms: u64,
    /// Workers that new logs are spread over.
    pub workers: usize,
    /// How long a node may be away before its replicas are made anew elsewhere, in milliseconds.
    pub dead_after_ms: u64,
    /// How long a node must have been silent before its number may go over to another data directory, in milliseconds.
    pub replace_after_ms: u64,
    /// How often the leader of shard 0 looks whether replicas should move, in milliseconds.
    pub balance_ms: u64,
    /// Replicas of the whole mesh that may be on the move at a time.
    pub moves_at_once: usize,
    /// How long the preferred replica must have been in sync before it is given the lead back, in milliseconds.
    pub prefer_after_ms: u64,
    /// How fast stored replicas are read back in the background.
    pub scrub: ScrubConfig,
    /// How often the leader of shard 0 looks whether leaders should be exchanged for traffic, in milliseconds; 0 for never.
    pub traffic_ms: u64,
    /// Bounds and delays of consumer groups.
    pub groups: GroupConfig,
    /// In a mesh of up to so many nodes each tells its news to all others itself; in a larger one they are passed on.
    pub direct_nodes_max: usize,
    /// Bytes per second that this node sends to replicas that are rebuilt; 0 for no limit.
    pub rebuild_bytes_per_second: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            raft: raft::Config { quiet_after_us: Some(2_000_000), paced: true, ..raft::Config::default() },
            liveness: mesh::liveness::LivenessConfig::default(),
            reconcile_ms: 500,
            retention_ms: 30_000,
            checkpoint_entries: 4096,
            checkpoint_bytes: 16 << 20,
            defaults: Defaults::default(),
            settings: BrokerSettings::default(),
            stop_ms: 3_000,
            fetch_bytes_max: 64 << 20,
            create_grace_ms: 3_000,
            workers: 1,
            dead_after_ms: 300_000,
            replace_after_ms: 5_000,
            balance_ms: 2_000,
            moves_at_once: 32,
            prefer_after_ms: 30_000,
            scrub: ScrubConfig::default(),
            traffic_ms: 30_000,
            groups: GroupConfig::default(),
            direct_nodes_max: 32,
            rebuild_bytes_per_second: 32 << 20,
        }
    }
}

/// Who a node is and what it knew before.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This life of the data directory.
    pub identity: Identity,
    /// This node as it registers itself: addresses, zone. Its node id and incarnation are those of `identity`.
    pub registration: Registration,
    /// Recorded once.
    pub founding: Founding,
    /// The copy of the metadata view that the shell keeps on disk, if there is one that decodes.
    pub view: Option<View>,
    /// Of all random choices (election jitter).
    pub seed: u64,
}

/// Why a node does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A log's metadata or hard state is of another version, or damaged below its checksum.
    #[error("log {log:?} holds {what} that this version cannot read; start the version that wrote it")]
    Undecodable {
        /// The local log.
        log: LogId,
        /// Which part.
        what: &'static str,
    },
    /// The store refused a write while opening.
    #[error("the store refused a write while opening: {0}")]
    Store(#[from] storage::WriteError),
    /// The log could not be read while rebuilding state.
    #[error("the log could not be read while opening: {0}")]
    Read(#[from] storage::ReadError),
}

/// A timer of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Partition(LogId),
    Call(RequestId),
    Liveness,
    Swim,
    Reconcile,
    News,
    Retention,
    Scrub,
    Groups(LogId),
    Rebuilds,
    Stop,
}

/// What a request in progress is.
pub(crate) enum Call {
    Produce(ProduceCall),
    Fetch(FetchCall),
    Admin(super::admin::AdminCall),
    Deletion(super::deletions::DeletionCall),
    Election(super::elections::ElectionCall),
    Group(super::coordination::GroupCall),
}

/// For whom a disk read is.
pub(crate) enum Reading {
    Replica(LogId),
    Fetch { call: RequestId, part: usize },
    Groups(LogId),
    Scrub,
}

/// One node: see the module's documentation.
pub struct Node<D: Disk> {
    pub(crate) identity: Identity,
    pub(crate) registration: Registration,
    pub(crate) founding: Founding,
    pub(crate) config: NodeConfig,
    pub(crate) workers: Workers<D>,
    pub(crate) now: Now,
    pub(crate) seed: u64,
    pub(crate) partitions: BTreeMap<LogId, Partition>,
    pub(crate) by_key: BTreeMap<PartitionKey, LogId>,
    pub(crate) view: View,
    /// Shards that this process leads or was told of by their leader. Of the others the view may be one that an earlier process
    /// kept: what it lacks may be there.
    pub(crate) heard: BTreeSet<ShardId>,
    /// Of the nodes that share partitions with this one.
    pub(crate) liveness: Liveness,
    /// Of all others.
    pub(crate) swim: Swim,
    /// Who shares what with this node.
    pub(crate) company: Company,
    /// Which processes of other nodes were heard.
    lives: Lives,
    /// Of this process, see [`Life`].
    session: u64,
    /// Who leads what: newest term wins.
    pub(crate) leaders: Leaders,
    pub(crate) gossip: Gossip,
    pub(crate) shard_leads: BTreeMap<ShardId, ShardLead>,
    pub(crate) forwarding: Forwarding,
    pub(crate) calls: BTreeMap<RequestId, Call>,
    pub(crate) reads: BTreeMap<u64, Reading>,
    pub(crate) next_token: u64,
    pub(crate) timers: BTreeSet<(Time, Timer)>,
    pub(crate) producer_ids: super::admin::ProducerIds,
    pub(crate) stopping: Option<Time>,
    pub(crate) stopped: bool,
    pub(crate) failed: bool,
    pub(crate) boot: u64,
    /// The shards that this directory founds were written, once.
    pub(crate) founded: bool,
    /// Number of the next local log.
    pub(crate) next_log: u32,
    /// Why the last proposal was refused.
    pub(crate) last_rejection: Option<raft::ProposeError>,
    pub(crate) said_stopped: bool,
    /// What waits for a linearizable read of a log, by its Raft context.
    pub(crate) confirming: BTreeMap<u64, (LogId, super::shards::Confirming)>,
    /// Logs whose create or reset frame is not synced yet, and the sequence that makes it so.
    pub(crate) creating: BTreeMap<LogId, Sequence>,
    /// Replicas that this step came by, see [`touched`](Self::touched).
    pub(crate) touched: Vec<LogId>,
    /// Where batches wait for room.
    pub(crate) parked: BTreeSet<LogId>,
    /// The versions of the shards and the live nodes with which nothing was to move.
    pub(crate) in_order: Option<(Vec<u64>, BTreeSet<NodeId>)>,
    /// Partitions that are not yet as their shards want them, and the last one that the regular look saw.
    pub(crate) unsettled: BTreeSet<PartitionKey>,
    pub(crate) looked_at: Option<PartitionKey>,
    /// Regular looks so far.
    pub(crate) looks: usize,
    pub(crate) liveness_at: Option<Time>,
    pub(crate) swim_at: Option<Time>,
    /// As the leader of shard 0: who is away.
    pub(crate) absences: super::metadata::balancing::Absences,
    /// And when it looks at the balance of the mesh again.
    pub(crate) balance_at: Time,
    /// And at the traffic.
    pub(crate) exchanges: super::traffic::Exchanges,
    /// CreateTopics, CreatePartitions and ElectLeaders calls that wait until partitions are led.
    pub(crate) creations: BTreeSet<RequestId>,
    /// Of the partitions of groups that this node leads.
    pub(crate) coordinators: BTreeMap<LogId, super::coordination::Lead>,
    /// When the topic of groups may be asked for again.
    pub(crate) offsets_topic_at: Time,
    pub(crate) scrub: Scrub,
    /// Rises when what is set for topics or nodes changes.
    pub(crate) configs_version: u64,
    pub(crate) throttles: super::quotas::Throttles,
    pub(crate) rebuilds: Rebuilds,
    pub(crate) out: Vec<Effect<D>>,
}

impl<D: Disk> Node<D> {
    /// Takes over opened stores, that of the first worker first. The effects start the first commits and say hello.
    ///
    /// # Errors
    /// When a log holds what this version cannot read.
    pub fn open(
        setup: Setup,
        config: NodeConfig,
        opened: Vec<(Store<D>, Recovered)>,
        now: Now,
    ) -> Result<(Self, Vec<Effect<D>>), OpenError> {
        let Identity { node, incarnation } = setup.identity;
        let suspect = opened.iter().any(|(_, recovered)| recovered.suspect);
        let boot = opened.first().map_or(0, |(_, recovered)| recovered.boot);
        let (stores, workers) = (opened.into_iter().map(|(store, _)| store).collect(), config.workers);
        let liveness = Liveness::new(node, incarnation, boot, config.liveness, now.mono);
        let pace =
            SwimConfig { interval_us: config.liveness.interval_us, timeout_us: config.liveness.timeout_us };
        let swim = Swim::new(node, incarnation, boot, pace, setup.seed.rotate_left(16), now.mono);
        let mut view = setup.view.unwrap_or_else(|| View::founded(&setup.founding));
        view.belongs_to(node);
        let workers = Workers::new(stores, workers);
        let next_log = workers.logs().map(|log| log.0 + 1).max().unwrap_or(0);
        let scrub = Scrub::new(now.mono, &config.scrub, setup.seed, next_log);
        let rebuilds = Rebuilds::new(config.rebuild_bytes_per_second, now.mono);
        let mut node = Self {
            identity: setup.identity,
            registration: setup.registration,
            founding: setup.founding,
            config,
            workers,
            now,
            seed: setup.seed,
            partitions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            view,
            heard: BTreeSet::new(),
            liveness,
            swim,
            company: Company::default(),
            lives: Lives::default(),
            session: setup.seed.rotate_left(32),
            leaders: Leaders::default(),
            gossip: Gossip::default(),
            shard_leads: BTreeMap::new(),
            forwarding: Forwarding::new(setup.identity, boot),
            calls: BTreeMap::new(),
            reads: BTreeMap::new(),
            next_token: 0,
            timers: BTreeSet::new(),
            producer_ids: super::admin::ProducerIds::default(),
            stopping: None,
            stopped: false,
            failed: false,
            boot,
            founded: false,
            next_log,
            last_rejection: None,
            said_stopped: false,
            confirming: BTreeMap::new(),
            creating: BTreeMap::new(),
            touched: Vec::new(),
            parked: BTreeSet::new(),
            in_order: None,
            unsettled: BTreeSet::new(),
            looked_at: None,
            looks: 0,
            liveness_at: None,
            swim_at: None,
            absences: Default::default(),
            balance_at: now.mono,
            exchanges: Default::default(),
            creations: BTreeSet::new(),
            coordinators: BTreeMap::new(),
            offsets_topic_at: now.mono,
            scrub,
            configs_version: 1,
            throttles: Default::default(),
            rebuilds,
            out: Vec::new(),
        };
        let logs: Vec<LogId> = node.workers.logs().collect();
        for log in logs {
            node.open_log(log)?;
        }
        if !suspect {
            node.found_shards();
        }
        node.set_timer(now.mono, Timer::Reconcile);
        node.set_timer(after_ms(now.mono, node.config.retention_ms), Timer::Retention);
        if node.config.scrub.bytes_per_second > 0 {
            node.set_timer(node.scrub.begins(), Timer::Scrub);
        }
        let shared: Vec<PartitionKey> = node.by_key.keys().copied().collect();
        let desired: Vec<PartitionKey> = node.view.desired_on(node.identity.node).map(|d| d.key).collect();
        shared.into_iter().chain(desired).for_each(|key| node.note_company(key));
        node.set_peers();
        node.finish_step();
        let effects = std::mem::take(&mut node.out);
        Ok((node, effects))
    }

    fn open_log(&mut self, log: LogId) -> Result<(), OpenError> {
        let meta = self.workers.log(log).and_then(|state| log_meta::decode(state.meta));
        if let Some((FOUNDED, id)) = meta {
            self.founded |= id.incarnation == self.identity.incarnation;
            return Ok(());
        }
        // A power cut may keep the beginning of a commit: a create frame without its hard state never promised anything.
        let Some(state) = self.workers.log(log) else { return Ok(()) };
        if state.hard_state.is_empty() {
            self.workers.write(Write::Delete { log })?;
            return Ok(());
        }
        let (key, id) =
            log_meta::decode(state.meta).ok_or(OpenError::Undecodable { log, what: "metadata" })?;
        // Another worker's log was damaged: that ended the life of the directory, and with it what any replica here promised.
        if !state.suspect && id.incarnation != self.identity.incarnation {
            self.workers.write(Write::Suspect { log })?;
        }
        if self.workers.log(log).is_some_and(|state| state.suspect) {
            self.recall_memberships(log)?;
        }
        let Some(state) = self.workers.log(log) else { return Ok(()) };
        let standing = if state.suspect { Standing::Suspect } else { Standing::Learner };
        let mut partition = Partition::new(key, log, id, standing);
        let bugs =
            [Mutant::SuspectReplicaVotes, Mutant::SuspectReplicaAcknowledges, Mutant::SuspectReplicaServes];
        let silent = state.suspect && !bugs.into_iter().any(mutant::active);
        let loaded = if silent { Ok(()) } else { self.load(&mut partition) };
        if let Err(OpenError::Read(storage::ReadError::Corrupt { index, .. })) = loaded {
            self.by_key.insert(key, log);
            self.partitions.insert(log, partition);
            self.rotten(log, index);
            return Ok(());
        }
        loaded?;
        if standing != Standing::Suspect {
            // A founding voter asks its shard again whether it was created; a replacement's own log says what it is.
            if id.epoch == FIRST_REPLICA_EPOCH {
                partition.standing = Standing::Creating;
            } else if partition.replica.as_ref().is_some_and(Replica::is_voter) {
                partition.standing = Standing::Member;
            }
        }
        self.by_key.insert(key, log);
        self.partitions.insert(log, partition);
        self.retime(log);
        Ok(())
    }

    /// Builds applied state, pending entries and the Raft replica of a partition from its stored log.
    pub(crate) fn load(&mut self, partition: &mut Partition) -> Result<(), OpenError> {
        self.load_state(partition)?;
        let log = partition.log;
        let restored = restored(self.workers.of(log), log)
            .ok_or(OpenError::Undecodable { log, what: "a hard state" })?;
        if restored.unsynced {
            self.workers.note(log, self.workers.staged(log), WriteId::RESTORED);
        }
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let replica = Replica::new(partition.id, self.config.raft, restored, self.now.mono, self.seed);
        partition.replica = Some(replica);
        partition.company_as_of = None;
        Ok(())
    }

    /// Entries from `first` on, from the disk if need be: nothing else happens meanwhile.
    pub(crate) fn read_now(&self, log: LogId, first: u64) -> Result<Vec<storage::Entry>, storage::ReadError> {
        match self.workers.of(log).read(log, storage::ReadFrom::Index(first), 1 << 20)? {
            storage::Read::Ready(entries) => Ok(entries),
            storage::Read::Disk(job) => job.run(),
        }
    }

    /// Builds applied state and pending entries: the checkpoint, and every entry above it.
    pub(crate) fn load_state(&self, partition: &mut Partition) -> Result<(), OpenError> {
        let log = partition.log;
        let undecodable = |what| OpenError::Undecodable { log, what };
        let state = self.workers.log(log).ok_or_else(|| undecodable("no state"))?;
        let checkpoint = state.checkpoint.as_ref();
        partition.applied = raft::Index(checkpoint.map_or(state.start.index, |(index, _)| *index));
        partition.checkpointed = partition.applied;
        let bytes = checkpoint.map(|(_, bytes)| bytes.as_ref());
        partition.state = Applied::decode(partition.key, bytes, &self.founding)
            .ok_or_else(|| undecodable("a checkpoint"))?;
        partition.pending.clear();
        partition.unsaved_bytes = 0;
        let (mut next, last) = (partition.applied.0.max(state.start.index) + 1, state.last_index);
        while next <= last {
            let entries: Vec<_> =
                self.read_now(log, next)?.into_iter().filter_map(super::partition::to_raft).collect();
            let Some(newest) = entries.last() else { return Err(undecodable("entries")) };
            next = newest.index.0 + 1;
            partition.appended(&entries);
        }
        Ok(())
    }

    /// Performs one input. Everything that became durable, committed or due is carried through before it returns.
    pub fn step(&mut self, now: Now, input: Input<D>) -> Vec<Effect<D>> {
        self.now = now;
        self.touched.clear();
        if self.failed {
            return Vec::new();
        }
        match input {
            Input::Tick => {}
            Input::Request { id, client, request } => {
                if let Some(request) = self.charge(id, client, request) {
                    self.request(id, request);
                }
            }
            Input::Cancel(id) => self.cancel(id),
            Input::Message { from, life, message } => self.message(from, life, message),
            Input::Connected(node) => self.connection(node, true),
            Input::Disconnected(node) => self.connection(node, false),
            Input::Committed { worker, commit } => self.committed(worker, commit),
            Input::Read { token, result } => self.read_done(token, result),
            Input::Reclaimed { worker, job } => self.reclaimed(worker, job),
            Input::Stop => self.stop(),
        }
        self.run_timers();
        self.finish_step();
        let mut effects = std::mem::take(&mut self.out);
        if self.failed {
            // Nothing that was said in the same breath counts.
            effects.retain(|effect| matches!(effect, Effect::Failed(_)));
        }
        effects
    }

    /// When [`step`](Self::step) wants an [`Input::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn request(&mut self, id: RequestId, request: Request) {
        match request {
            Request::Produce { acks, timeout_ms, partitions } => {
                self.produce(id, acks, timeout_ms, partitions)
            }
            Request::Fetch { max_wait_ms, min_bytes, max_bytes, partitions, rack } => {
                self.fetch(id, max_wait_ms, min_bytes, max_bytes, partitions, rack);
            }
            Request::ListOffsets { partitions } => {
                let partitions = partitions.into_iter().map(|part| self.list_offsets(part)).collect();
                self.respond(id, Response::ListOffsets { partitions });
            }
            Request::OffsetForLeaderEpoch { partitions } => {
                let partitions = partitions.into_iter().map(|part| self.epoch_end(part)).collect();
                self.respond(id, Response::OffsetForLeaderEpoch { partitions });
            }
            Request::DeleteRecords { timeout_ms, partitions } => {
                self.delete_records(id, timeout_ms, partitions);
            }
            Request::ElectLeaders { election, partitions, timeout_ms } => {
                self.elect_leaders(id, election, partitions, timeout_ms);
            }
            Request::Group(request) => self.groups(id, request),
            admin => self.admin(id, admin),
        }
    }

    fn message(&mut self, from: NodeId, life: Life, message: PeerMessage) {
        // Also from one of the past itself: two old copies must not wait for each other.
        if let PeerMessage::Outlived(by) = message {
            return self.outlived(from, by);
        }
        if let Some(by) = self.lives.hear(from, life) {
            let message = PeerMessage::Outlived(by);
            self.out.push(Effect::Send { to: from, stream: Stream::Control, message });
            return;
        }
        self.liveness.hear_of(self.now.mono, from, life);
        match message {
            PeerMessage::Outlived(_) => {}
            PeerMessage::Raft { key, from, to, mut message } => {
                if let Some(log) = self.by_key.get(&key).copied() {
                    self.doubt(from.node, &mut message);
                    self.drive(log, raft::Input::Message { from, to, message });
                }
            }
            PeerMessage::Heartbeat(heartbeat) => {
                self.liveness_input(mesh::liveness::Input::Heartbeat { from, heartbeat });
            }
            PeerMessage::Swim(bytes) => self.swim_input(mesh::swim::Input::Message { from, bytes }),
            PeerMessage::Leaders(infos) => infos.into_iter().for_each(|info| self.learn_leader(info)),
            PeerMessage::ShardPoll { shard, version } => self.shard_poll(from, shard, version),
            PeerMessage::ShardUpdate(update) => self.shard_told(from, &update),
            PeerMessage::Forward { correlation, shard, command } => {
                self.forwarded(from, correlation, shard, command)
            }
            PeerMessage::Forwarded { correlation, reply } => self.forward_reply(correlation, reply),
            PeerMessage::Report { shard, reports } => self.shard_reports(from, shard, reports),
            PeerMessage::AskFate { shard, replicas } => self.fate_asked(from, shard, replicas),
            PeerMessage::Fate { wanted, unwanted } => self.fate_told(wanted, unwanted),
            PeerMessage::HandOver { key, to } => self.hand_over_to(key, to),
            PeerMessage::PassOn { news, to } => self.passed_on(from, news, to),
            PeerMessage::Notes { versions, leaders } => self.shown_notes(from, &versions, &leaders),
            PeerMessage::Known { versions } => self.told_versions(&versions),
            PeerMessage::LeaderBuckets { shard, buckets } => self.shown_buckets(from, shard, &buckets),
            PeerMessage::LeadersOf { shard, buckets, known } => {
                self.told_leaders_of(from, shard, buckets, known);
            }
            PeerMessage::ShardAsk { shard, version } => self.shard_asked(from, shard, version),
            PeerMessage::ShardCurrent { shard, version } => self.shard_current(from, shard, version),
        }
    }

    /// Another node knows a later process of a directory; if of this one, then what was promised since is not here.
    fn outlived(&mut self, from: NodeId, by: Life) {
        if self.life().is_outlived_by(by) {
            self.fail(format!(
                "{OLD_COPY} of one that ran since (this is boot {}, node {} knows boot {}): promises may be lost. Start \
                 the newest copy; if there is none, start with an empty directory and --join under another mesh address. The \
                 other replicas go on; those of a node that is gone are not rebuilt yet",
                self.boot, from.0, by.boot
            ));
        }
    }

    pub(crate) fn respond(&mut self, id: RequestId, response: Response) {
        let throttle_ms = self.throttle(id, &response);
        self.out.push(Effect::Respond { id, response, throttle_ms });
    }

    pub(crate) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    pub(crate) fn set_timer(&mut self, at: Time, timer: Timer) {
        self.timers.insert((at, timer));
    }

    /// Puts a partition's next deadline into the timer queue.
    pub(crate) fn retime(&mut self, log: LogId) {
        self.touched.push(log);
        self.note_members(log);
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let next = partition.replica.as_ref().and_then(Replica::next_deadline);
        if partition.deadline == next {
            return;
        }
        if let Some(old) = partition.deadline {
            self.timers.remove(&(old, Timer::Partition(log)));
        }
        partition.deadline = next;
        if let Some(at) = next {
            self.timers.insert((at, Timer::Partition(log)));
        }
    }

    fn run_timers(&mut self) {
        let late = |(at, _): &(Time, Timer)| self.now.mono.since(*at) >= BEHIND_MAX_US;
        if self.now.behind && !self.timers.first().is_some_and(late) {
            return;
        }
        // Each timer that is due runs once per step, so that one set in the past cannot keep the step from ending.
        let due: Vec<(Time, Timer)> =
            self.timers.iter().take_while(|(at, _)| *at <= self.now.mono).copied().collect();
        for entry in due {
            if !self.timers.remove(&entry) {
                continue;
            }
            match entry.1 {
                Timer::Partition(log) => {
                    if let Some(partition) = self.partitions.get_mut(&log) {
                        partition.deadline = None;
                    }
                    self.drive(log, raft::Input::Tick);
                    self.retime(log);
                }
                Timer::Call(id) => self.call_due(id),
                Timer::Liveness => self.liveness_input(mesh::liveness::Input::Tick),
                Timer::Swim => self.swim_due(),
                Timer::Reconcile => self.reconcile(),
                Timer::News => self.tell_news(),
                Timer::Retention => self.retention(),
                Timer::Scrub => self.scrub_due(),
                Timer::Groups(log) => self.groups_due(log),
                Timer::Rebuilds => self.rebuilds_due(),
                Timer::Stop => self.stop_due(),
            }
        }
    }

    fn call_due(&mut self, id: RequestId) {
        match self.calls.get(&id) {
            Some(Call::Produce(_)) => self.produce_due(id),
            Some(Call::Fetch(_)) => self.fetch_due(id),
            Some(Call::Admin(_)) => self.admin_due(id),
            Some(Call::Deletion(_)) => self.deletion_due(id),
            Some(Call::Election(_)) => self.finish_election(id),
            // A coordinator has timers of its own.
            Some(Call::Group(_)) | None => {}
        }
    }

    fn cancel(&mut self, id: RequestId) {
        self.forget_client(id);
        match self.calls.remove(&id) {
            Some(Call::Fetch(call)) => self.unwatch(id, &call),
            Some(Call::Produce(call)) => _ = self.timers.remove(&(call.deadline, Timer::Call(id))),
            Some(Call::Admin(call)) => _ = self.timers.remove(&(call.deadline, Timer::Call(id))),
            Some(Call::Deletion(call)) => _ = self.timers.remove(&(call.deadline, Timer::Call(id))),
            Some(Call::Election(call)) => _ = self.timers.remove(&(call.deadline, Timer::Call(id))),
            // A member that does not hear its answer is one all the same, until its session ends.
            Some(Call::Group(_)) | None => {}
        }
    }

    /// Takes what there is room for, and starts the commits of workers that have something to make durable and none under way.
    fn finish_step(&mut self) {
        if self.failed {
            return;
        }
        self.unpark();
        self.meet_company();
        self.grant_rebuilds();
        for (worker, commit) in self.workers.begin_commits(self.now.mono) {
            self.out.push(Effect::Commit { worker, commit });
        }
        self.stop_progress();
    }

    fn committed(&mut self, worker: usize, commit: Commit<D>) {
        let (synced, done) = match self.workers.finish_commit(worker, commit) {
            Ok(synced) => synced,
            Err(error) => return self.fail(format!("the segment log failed: {error}")),
        };
        let is_synced =
            |(log, at): &(&LogId, &Sequence)| **at <= synced && self.workers.worker_of(**log) == Some(worker);
        let created: Vec<LogId> = self.creating.iter().filter(is_synced).map(|(log, _)| *log).collect();
        self.created_durably(created);
        for (log, write) in done {
            self.drive(log, raft::Input::Synced(write));
            self.answer_synced(log);
        }
    }

    /// The disk can promise nothing any more: stop promising, and let the shell end the process.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failed = true;
        self.out.clear();
        self.out.push(Effect::Failed(reason));
    }

    /// The segment logs, for checkers and figures.
    pub fn workers(&self) -> &Workers<D> {
        &self.workers
    }

    /// What this node knows of topics and nodes; its encoding is the copy that the shell keeps on disk, see
    /// [`Effect::RegistryChanged`].
    pub fn view(&self) -> &View {
        &self.view
    }

    /// How many metadata shards this process neither leads nor was told of by their leader. Of those the view may be old, and what
    /// is not in it may be there.
    pub fn shards_unheard(&self) -> usize {
        usize::from(SHARDS) - self.heard.len()
    }

    /// This life of the data directory.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// This process, as it says with every message.
    pub fn life(&self) -> Life {
        Life { incarnation: self.identity.incarnation, boot: self.boot, session: self.session }
    }

    /// The newest process of another node's directory that this one heard.
    pub fn heard_life(&self, node: NodeId, incarnation: Incarnation) -> Option<Life> {
        self.lives.newest(node, incarnation)
    }

    /// How often this data directory was opened.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Who leads a partition as far as this node knows.
    pub fn leader(&self, key: PartitionKey) -> Option<&LeaderInfo> {
        self.leaders.get(&key)
    }

    /// Who leads a partition and is up, as far as this node knows. It leads only what its own replica says that it leads: what it
    /// told the others outlives a leadership that was lost with them.
    pub fn leader_up(&self, key: PartitionKey) -> Option<&LeaderInfo> {
        let leads = || {
            let partition = self.by_key.get(&key).and_then(|log| self.partitions.get(log));
            partition.is_some_and(Partition::leads)
        };
        self.leaders.get(&key).filter(|info| match info.leader == self.identity.node {
            true => leads(),
            false => self.is_live(info.leader),
        })
    }

    /// The replicas on this node, for checkers, metrics and people.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaView<'_>> {
        self.partitions.values().map(|partition| self.replica_view(partition))
    }

    /// The local logs whose replicas may have changed in the last step, or in [`open`](Self::open); some more than once, some gone
    /// since. Checkers need not look at the others.
    pub fn touched(&self) -> &[LogId] {
        &self.touched
    }

    /// The replica of a local log, if it is here.
    pub fn replica_of(&self, log: LogId) -> Option<ReplicaView<'_>> {
        self.partitions.get(&log).map(|partition| self.replica_view(partition))
    }

    /// The replica of one partition, if it is here.
    pub fn replica(&self, key: PartitionKey) -> Option<ReplicaView<'_>> {
        Some(self.replica_view(self.partitions.get(self.by_key.get(&key)?)?))
    }

    fn replica_view<'a>(&'a self, partition: &'a Partition) -> ReplicaView<'a> {
        let replica = partition.replica.as_ref();
        ReplicaView {
            key: partition.key,
            id: partition.id,
            log: partition.log,
            standing: partition.standing,
            role: replica.map(Replica::role),
            quiet: replica.is_some_and(Replica::is_quiet),
            term: replica.map(Replica::term).unwrap_or_default(),
            commit: replica.map(Replica::commit_index).unwrap_or_default(),
            applied: partition.applied,
            last: replica.map(Replica::last_index).unwrap_or_default(),
            synced: replica.map(Replica::synced_index).unwrap_or_default(),
            start: replica.map(Replica::start).unwrap_or_default(),
            log_start: self.log_start_offset(partition.log),
            high_watermark: replica.and_then(Replica::high_watermark),
            log_end: replica.map_or(-1, Replica::next_offset),
            membership: replica.map(Replica::membership),
            committed_membership: replica.map(Replica::committed_membership),
        }
    }
}

/// One replica as others may see it.
#[derive(Clone, Debug)]
pub struct ReplicaView<'a> {
    /// Which partition.
    pub key: PartitionKey,
    /// Its triple.
    pub id: ReplicaId,
    /// Its local log.
    pub log: LogId,
    /// Where in its life it is.
    pub standing: Standing,
    /// `None` while it takes no part.
    pub role: Option<Role>,
    /// It waits for nothing: no heartbeats, no timers.
    pub quiet: bool,
    /// Its term.
    pub term: Term,
    /// Committed up to here, inclusive, as far as it knows.
    pub commit: Index,
    /// Applied up to here, inclusive.
    pub applied: Index,
    /// Its last entry, synced or not.
    pub last: Index,
    /// Its last entry that is synced.
    pub synced: Index,
    /// Where its stored log starts.
    pub start: LogStart,
    /// The first offset that clients may read; not below where the stored log starts.
    pub log_start: i64,
    /// Exclusive; `None` while a leader may not know it.
    pub high_watermark: Option<i64>,
    /// Offset of its next record.
    pub log_end: i64,
    /// In force, committed or not.
    pub membership: Option<&'a Membership>,
    /// The newest committed one.
    pub committed_membership: Option<&'a Membership>,
}
