//! Metadata shards from a node's side: commands on their way to a shard's leader, and what the leader of a shard does.
//!
//! A command is kept until it is answered: the leader may move meanwhile, and every command may be repeated.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesh::raft::{EntryKind, Index, Input, NodeId, Proposal, ReplicaId, Time};
use storage::{Disk, LogId};

use super::error::ErrorCode;
use super::message::{ForwardReply, PeerMessage, Stream};
use super::metadata::lifecycle::{Repairs, Report};
use super::metadata::{Command, EncodedUpdate, Merge, Outcome, PartitionKey, ShardId, ShardUpdate};
use super::node::Node;
use super::partition::{Applied, Partition, Pending, Waiter};
use super::request::RequestId;
use super::{Effect, Identity, REFUSED, after_ms};

/// How long a command waits for its answer before it is sent again.
const RESEND_MS: u64 = 1_000;

/// When a command that a client wanted is given up: by then its caller has long been answered.
const EXPIRE_MS: u64 = 30_000;

/// Who waits for a proposed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// This node, under its own correlation.
    Here(u64),
    /// Another node.
    Node(NodeId, u64),
    /// Nobody: the leader's own housekeeping.
    Nobody,
}

/// The commands that this node proposed as a shard's leader and that are not applied yet.
#[derive(Default)]
pub(crate) struct Proposals {
    by_index: BTreeMap<Index, Origin>,
    asked: BTreeSet<Origin>,
}

impl Proposals {
    /// Whether somebody's command is under way. One that is asked again meanwhile is not proposed again: a shard that is slow
    /// would drown in repetitions.
    fn holds(&self, origin: Origin) -> bool {
        self.asked.contains(&origin)
    }

    fn insert(&mut self, index: Index, origin: Origin) {
        if origin != Origin::Nobody {
            self.by_index.insert(index, origin);
            self.asked.insert(origin);
        }
    }

    fn remove(&mut self, index: Index) -> Origin {
        let origin = self.by_index.remove(&index).unwrap_or(Origin::Nobody);
        self.asked.remove(&origin);
        origin
    }
}

/// What a command is for, on the node that wanted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// One topic of a CreateTopics or DeleteTopics call.
    Topic { call: RequestId, at: usize },
    /// A block of producer ids for this node.
    ProducerIds,
    /// This node's own registration, or that of one that joins through it.
    Register(Option<RequestId>),
    /// An operator's decision.
    Decision(RequestId),
    /// A move, or another order of this node as the leader of shard 0.
    Balance,
    /// Nobody waits.
    Housekeeping,
}

/// A command that is not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    shard: ShardId,
    command: Bytes,
    pub(crate) purpose: Purpose,
    resend: Time,
    expires: Time,
}

/// The commands of this node that are not answered yet.
pub(crate) struct Forwarding {
    next: u64,
    pub(crate) waiting: BTreeMap<u64, Forward>,
}

impl Forwarding {
    /// Nothing is under way. An answer to an earlier process of this node must not fit a command of this one, so numbers begin
    /// where no other boot or life of the data directory does.
    pub(crate) fn new(identity: Identity, boot: u64) -> Self {
        let next = identity.incarnation.0.rotate_left(32) ^ (boot << 32);
        Self { next, waiting: BTreeMap::new() }
    }
}

/// What a node keeps while it leads a shard; gone with the leadership.
pub(crate) struct ShardLead {
    pub(crate) repairs: Repairs,
    /// Version up to which every node was told.
    told: u64,
}

impl<D: Disk> Node<D> {
    /// Sends a command on its way to the shard's leader, which may be here.
    pub(crate) fn submit(&mut self, shard: ShardId, command: &Command, purpose: Purpose) {
        self.forwarding.next = self.forwarding.next.wrapping_add(1);
        let correlation = self.forwarding.next;
        let expires = after_ms(self.now.mono, EXPIRE_MS);
        let forward =
            Forward { shard, command: command.encode().into(), purpose, resend: self.now.mono, expires };
        self.forwarding.waiting.insert(correlation, forward);
        self.send_forward(correlation);
    }

    fn send_forward(&mut self, correlation: u64) {
        let Some(forward) = self.forwarding.waiting.get_mut(&correlation) else { return };
        forward.resend = after_ms(self.now.mono, RESEND_MS);
        let (shard, command) = (forward.shard, forward.command.clone());
        let key = PartitionKey::of_shard(shard);
        if let Some(log) = self.by_key.get(&key).copied().filter(|log| self.partitions[log].leads()) {
            if let Err(reply) = self.propose_command(log, command, Origin::Here(correlation)) {
                self.forward_reply(correlation, reply);
            }
        } else if let Some(leader) = self.leader_of(key) {
            let message = PeerMessage::Forward { correlation, shard: shard.0.into(), command };
            self.out.push(Effect::Send { to: leader, stream: Stream::Rpc, message });
        }
    }

    /// A shard has a new leader: what it has not answered goes there now.
    pub(crate) fn resend_to(&mut self, shard: ShardId) {
        let waiting = self.forwarding.waiting.iter().filter(|(_, forward)| forward.shard == shard);
        let waiting: Vec<u64> = waiting.map(|(correlation, _)| *correlation).collect();
        waiting.into_iter().for_each(|correlation| self.send_forward(correlation));
    }

    /// Sends again what was not answered in time.
    pub(crate) fn resend_forwards(&mut self) {
        let now = self.now.mono;
        let kept = |purpose: &Purpose| matches!(purpose, Purpose::ProducerIds | Purpose::Register(None));
        self.forwarding.waiting.retain(|_, forward| kept(&forward.purpose) || forward.expires > now);
        let due: Vec<u64> = self
            .forwarding
            .waiting
            .iter()
            .filter(|(_, forward)| forward.resend <= self.now.mono)
            .map(|(correlation, _)| *correlation)
            .collect();
        due.into_iter().for_each(|correlation| self.send_forward(correlation));
    }

    /// The node that leads a partition as far as this one knows and hears it; not this node itself.
    pub(crate) fn leader_of(&self, key: PartitionKey) -> Option<NodeId> {
        let leader = self.leaders.get(&key)?.leader;
        (leader != self.identity.node && self.is_live(leader)).then_some(leader)
    }

    fn propose_command(&mut self, log: LogId, command: Bytes, origin: Origin) -> Result<(), ForwardReply> {
        let key = self.partitions.get(&log).map(|partition| partition.key);
        if let Err(outcome) = self.may_recover(&command) {
            return Err(ForwardReply::Applied(outcome));
        }
        if key == Some(PartitionKey::of_shard(ShardId(0)))
            && let Err(outcome) = self.may_take_over(&command)
        {
            return Err(ForwardReply::Applied(outcome));
        }
        let proposal =
            Proposal { kind: EntryKind::Command, record_count: 0, timestamp_ms: -1, payload: command };
        let Some(index) =
            self.partitions.get(&log).and_then(|p| p.replica.as_ref()).map(|r| r.last_index().next())
        else {
            return Err(ForwardReply::NotLeader(None));
        };
        // Registered first: a lone voter may apply it within the same step.
        if let Some(partition) = self.partitions.get_mut(&log) {
            if partition.proposals.holds(origin) {
                return Ok(());
            }
            partition.proposals.insert(index, origin);
        }
        if self.propose(log, proposal).is_err() {
            let partition = self.partitions.get_mut(&log);
            let leader = partition.and_then(|partition| {
                partition.proposals.remove(index);
                partition.replica.as_ref()?.leader()
            });
            return Err(ForwardReply::NotLeader(leader.map(|leader| leader.node)));
        }
        Ok(())
    }

    /// Another node's command for a shard that this one should lead.
    pub(crate) fn forwarded(&mut self, from: NodeId, correlation: u64, shard: u32, command: Bytes) {
        let leads = shard_id(shard)
            .and_then(|shard| self.by_key.get(&PartitionKey::of_shard(shard)).copied())
            .filter(|log| self.partitions[log].leads());
        let result = match leads {
            Some(log) => match self.may_call_dead(&command) {
                Ok(()) => self.propose_command(log, command, Origin::Node(from, correlation)),
                Err(outcome) => Err(ForwardReply::Applied(outcome)),
            },
            None => Err(ForwardReply::NotLeader(None)),
        };
        if let Err(reply) = result {
            let message = PeerMessage::Forwarded { correlation, reply };
            self.out.push(Effect::Send { to: from, stream: Stream::Rpc, message });
        }
    }

    /// The answer to a command of this node. Without a verdict it is sent again at the next look.
    pub(crate) fn forward_reply(&mut self, correlation: u64, reply: ForwardReply) {
        match reply {
            ForwardReply::Applied(outcome) => {
                if let Some(forward) = self.forwarding.waiting.remove(&correlation) {
                    self.forward_done(forward.purpose, outcome);
                }
            }
            ForwardReply::NotLeader(_) | ForwardReply::Unknown => {}
        }
    }

    fn forward_done(&mut self, purpose: Purpose, outcome: Outcome) {
        match purpose {
            Purpose::Topic { call, at } => self.topic_answered(call, at, outcome),
            Purpose::ProducerIds => self.producer_ids_granted(&outcome),
            Purpose::Register(Some(call)) => self.registered(call, outcome),
            Purpose::Register(None) => {
                if let Outcome::Refused { message, .. } = outcome {
                    self.fail(format!("{REFUSED}: {message}"));
                }
            }
            Purpose::Decision(call) => self.decided(call, outcome),
            Purpose::Balance | Purpose::Housekeeping => {}
        }
    }

    /// A committed command: the state machine takes it, and whoever asked hears what became of it.
    pub(crate) fn apply_command(&mut self, log: LogId, entry: &Pending) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let Applied::Shard(shard) = &mut partition.state else { return };
        let outcome = shard.apply(entry.index.0, &entry.payload);
        partition.applied = partition.applied.max(entry.index);
        let origin = partition.proposals.remove(entry.index);
        // Views first: who gets the answer may look at once.
        self.merge_own_shard(log);
        let reply = ForwardReply::Applied(outcome);
        match origin {
            Origin::Here(correlation) => self.forward_reply(correlation, reply),
            Origin::Node(to, correlation) => {
                let message = PeerMessage::Forwarded { correlation, reply };
                self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
            }
            Origin::Nobody => {}
        }
    }

    /// What a local replica of a shard applied goes into this node's view.
    pub(crate) fn merge_own_shard(&mut self, log: LogId) {
        let Some(Applied::Shard(shard)) = self.partitions.get(&log).map(|partition| &partition.state) else {
            return;
        };
        let update = shard.update_since(self.view.version(shard.id()));
        self.shard_update(&update);
    }

    /// After a batch of commits: the leader of a shard tells every node what changed.
    pub(crate) fn after_apply(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get(&log) else { return };
        let Applied::Shard(shard) = &partition.state else { return };
        let (id, version) = (shard.id(), shard.version());
        // A shard that never took a command is known from its leader's first commit on.
        self.hear_own_shard(id);
        if self.shard_leads.get(&id).is_none_or(|lead| lead.told >= version) {
            return;
        }
        if self.is_large() {
            return self.gather_shard(id);
        }
        let Some(update) = self.news_of_shard(id) else { return };
        for to in self.peers() {
            let message = PeerMessage::ShardUpdate(update.clone());
            self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
        }
    }

    /// What changed in a shard that is led here since it was told last.
    pub(crate) fn news_of_shard(&mut self, id: ShardId) -> Option<EncodedUpdate> {
        let log = self.by_key.get(&PartitionKey::of_shard(id))?;
        let Applied::Shard(shard) = &self.partitions.get(log)?.state else { return None };
        let lead = self.shard_leads.get_mut(&id).filter(|lead| lead.told < shard.version())?;
        let update = shard.update_since(lead.told);
        lead.told = shard.version();
        Some(EncodedUpdate::of(update))
    }

    /// What a shard that this node leads says to the node itself, once it is known to be current.
    fn hear_own_shard(&mut self, shard: ShardId) {
        let Some((_, log)) = self.leading(shard.0.into()) else { return };
        let Some(Applied::Shard(state)) = self.partitions.get(&log).map(|partition| &partition.state) else {
            return;
        };
        if self.heard.insert(shard) || state.version() > self.view.version(shard) {
            self.merge_own_shard(log);
        }
    }

    /// This node began or ceased to lead a partition; matters here when that is a shard.
    pub(crate) fn shard_led(&mut self, log: LogId, leads: bool) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let Some(shard) = partition.key.as_shard() else { return };
        if leads {
            let Applied::Shard(state) = &partition.state else { return };
            let lead = ShardLead {
                repairs: Repairs::new(self.config.create_grace_ms * 1_000),
                told: state.version(),
            };
            self.shard_leads.insert(shard, lead);
            return;
        }
        self.shard_leads.remove(&shard);
        for origin in std::mem::take(&mut partition.proposals).asked {
            match origin {
                Origin::Node(to, correlation) => {
                    let message = PeerMessage::Forwarded { correlation, reply: ForwardReply::Unknown };
                    self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
                }
                Origin::Here(_) | Origin::Nobody => {}
            }
        }
    }

    /// A node asks what is new in a shard. Whoever knows more may answer, for versions only rise: the shard may be on nodes by now that
    /// the asker has never heard of. A leader is believed to know all there is, and says nothing before it does.
    pub(crate) fn shard_poll(&mut self, from: NodeId, shard: u32, version: u64) {
        let Some(id) = shard_id(shard) else { return };
        let replica = self.by_key.get(&PartitionKey::of_shard(id)).and_then(|log| self.partitions.get(log));
        if replica.is_some_and(Partition::leads) && self.leading(shard).is_none() {
            return;
        }
        let state = replica.and_then(|replica| match &replica.state {
            Applied::Shard(state) if state.version() >= self.view.version(id) => Some(state),
            _ => None,
        });
        // Version 0 may be that of a node that knows nothing of the shard yet.
        let news = |known: u64| known > version || version == 0;
        let update = match state {
            Some(state) => news(state.version()).then(|| state.update_since(version)),
            None => news(self.view.version(id)).then(|| self.view.update_of(id)).flatten(),
        };
        if let Some(update) = update {
            let message = PeerMessage::ShardUpdate(EncodedUpdate::of(update));
            self.out.push(Effect::Send { to: from, stream: Stream::Rpc, message });
        }
    }

    /// News of a shard from another node.
    pub(crate) fn shard_told(&mut self, from: NodeId, update: &EncodedUpdate) {
        let update = match update.decode() {
            Ok(update) => update,
            Err(error) => return tracing::warn!(%error, from = from.0, "a shard update does not decode"),
        };
        let shard = update.shard;
        let by_leader = self.leader_of(PartitionKey::of_shard(shard)) == Some(from);
        if self.shard_update(&update) && by_leader {
            self.heard.insert(shard);
        }
    }

    /// News of a shard, from whoever holds it: only committed state is in it, and older news change nothing. Says whether the view
    /// has all of it now.
    fn shard_update(&mut self, update: &ShardUpdate) -> bool {
        let shard = update.shard;
        let by_key = &self.by_key;
        match self.view.merge_shared(update, |key| by_key.contains_key(&key)) {
            Merge::Changed { partitions, nodes, topics, configs } => {
                self.configs_version += u64::from(configs);
                for topic in topics.into_iter().filter(|topic| self.view.topic(*topic).is_none()) {
                    self.leaders.remove_topic(topic);
                }
                if nodes {
                    self.registry_changed();
                }
                self.reconcile_keys(partitions);
                self.topics_moved();
            }
            Merge::Current => {}
            Merge::Gap => {
                self.poll_shard(shard);
                return false;
            }
        }
        true
    }

    /// Asks the shard's leader, or when none is known each of its replicas and then everybody in turn.
    pub(crate) fn poll_shard(&mut self, shard: ShardId) {
        let key = PartitionKey::of_shard(shard);
        // Unless another one leads it in a later term: a majority that was given up may not have heard of that.
        let leads = self.by_key.get(&key).is_some_and(|log| self.partitions[log].leads());
        if leads && self.leader_of(key).is_none() {
            // A node that leads the shard from an old copy of the view has nobody else to tell it.
            self.hear_own_shard(shard);
            return;
        }
        let to = self.leader_of(key).or_else(|| {
            let replicas = &self.view.descriptor(key)?.replicas;
            let mut others: Vec<NodeId> =
                replicas.iter().map(|r| r.node).filter(|node| *node != self.identity.node).collect();
            others.extend(self.peers().into_iter().filter(|node| !replicas.iter().any(|r| r.node == *node)));
            let turn = usize::try_from(self.now.mono.0 / 500_000).unwrap_or(0);
            others.get(turn % others.len().max(1)).copied()
        });
        if let Some(to) = to {
            // Everything until the leader was heard: it answers that in any case.
            let version = if self.heard.contains(&shard) { self.view.version(shard) } else { 0 };
            let message = PeerMessage::ShardPoll { shard: shard.0.into(), version };
            self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
        }
    }

    /// What nodes say of replicas: each report may become a command at once.
    pub(crate) fn shard_reports(&mut self, from: NodeId, shard: u32, reports: Vec<Report>) {
        let Some((id, log)) = self.leading(shard) else { return };
        let mut commands = Vec::new();
        if let (Some(lead), Some(partition)) = (self.shard_leads.get_mut(&id), self.partitions.get(&log))
            && let Applied::Shard(state) = &partition.state
        {
            let view = &self.view;
            let incarnation_of = |node| view.node(node).map(|info| info.incarnation);
            for report in reports {
                commands.extend(lead.repairs.report(self.now.mono, from, report, state, incarnation_of));
            }
        }
        self.propose_housekeeping(log, commands);
        self.lead_shard(id);
    }

    /// The local log of a shard that this node leads, once its state is known to be current: not before an entry of its own
    /// term is committed.
    pub(crate) fn leading(&self, shard: u32) -> Option<(ShardId, LogId)> {
        let id = shard_id(shard)?;
        let log = *self.by_key.get(&PartitionKey::of_shard(id))?;
        let replica = self.partitions.get(&log).filter(|partition| partition.leads())?.replica.as_ref()?;
        replica.high_watermark()?;
        Some((id, log))
    }

    /// Proposes the creations that are due.
    pub(crate) fn lead_shard(&mut self, shard: ShardId) {
        let Some((_, log)) = self.leading(shard.0.into()) else { return };
        let Some(partition) = self.partitions.get(&log) else { return };
        let (Applied::Shard(state), Some(lead)) = (&partition.state, self.shard_leads.get_mut(&shard)) else {
            return;
        };
        let commands = lead.repairs.due(self.now.mono, state);
        self.propose_housekeeping(log, commands);
    }

    /// Proposes what nobody waits for, unless the same is under way already.
    fn propose_housekeeping(&mut self, log: LogId, commands: Vec<Command>) {
        let Some(partition) = self.partitions.get(&log).filter(|_| !commands.is_empty()) else { return };
        let under_way: BTreeSet<Bytes> =
            partition.pending.iter().map(|pending| pending.payload.clone()).collect();
        for command in commands {
            let command: Bytes = command.encode().into();
            if !under_way.contains(&command) && self.propose_command(log, command, Origin::Nobody).is_err() {
                return;
            }
        }
    }

    /// Tells the leaders of home shards about replicas.
    pub(crate) fn send_reports(&mut self, reports: Vec<Report>) {
        let mut by_shard: BTreeMap<ShardId, Vec<Report>> = BTreeMap::new();
        for report in reports {
            by_shard.entry(report.shard()).or_default().push(report);
        }
        for (shard, reports) in by_shard {
            if self.shard_leads.contains_key(&shard) {
                self.shard_reports(self.identity.node, shard.0.into(), reports);
            } else if let Some(to) = self.leader_of(PartitionKey::of_shard(shard)) {
                let message = PeerMessage::Report { shard: shard.0.into(), reports };
                self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
            }
        }
    }

    /// Asks which replicas of this node are wanted, and which may be deleted.
    pub(crate) fn ask_fate(&mut self, shard: ShardId, replicas: Vec<(PartitionKey, ReplicaId)>) {
        if self.shard_leads.contains_key(&shard) {
            self.fate_asked(self.identity.node, shard.0.into(), replicas);
        } else if let Some(to) = self.leader_of(PartitionKey::of_shard(shard)) {
            let message = PeerMessage::AskFate { shard: shard.0.into(), replicas };
            self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
        }
    }

    /// A node wants to begin or to delete replicas: answered after a linearizable read, for an old leader may not know better.
    pub(crate) fn fate_asked(&mut self, from: NodeId, shard: u32, replicas: Vec<(PartitionKey, ReplicaId)>) {
        let Some((_, log)) = self.leading(shard) else { return };
        self.confirm(log, Confirming::Fate(Question { from, replicas }));
    }

    /// Asks for a linearizable read: once it is confirmed this replica led, with all that was acknowledged, after the question.
    pub(crate) fn confirm(&mut self, log: LogId, what: Confirming) {
        let context = self.token();
        self.confirming.insert(context, (log, what));
        self.drive(log, Input::Read(context));
    }

    /// The Raft replica of a log is gone or built anew, and with it the reads that it was asked for.
    pub(crate) fn fail_reads(&mut self, log: LogId) {
        let lost: Vec<u64> =
            self.confirming.iter().filter(|(_, (of, _))| *of == log).map(|(context, _)| *context).collect();
        lost.into_iter().for_each(|context| self.read_confirmed(context, None));
    }

    /// A linearizable read is confirmed up to `index`, or leadership was lost.
    pub(crate) fn read_confirmed(&mut self, context: u64, index: Option<Index>) {
        let Some((log, what)) = self.confirming.remove(&context) else { return };
        match what {
            Confirming::Fate(question) => self.fate_read(log, question, index),
            Confirming::Refusal { waiter, error } => self.refusal_confirmed(waiter, error, index.is_some()),
            Confirming::Fetch(id) => self.fetch_confirmed(id, index.is_some()),
            Confirming::Deletion(waiter) => self.deletion_confirmed(waiter, index.is_some()),
            Confirming::Group { from, request } => self.group_confirmed(log, from, request, index.is_some()),
        }
    }

    /// A question about replicas: when leadership was lost it is asked again.
    fn fate_read(&mut self, log: LogId, question: Question, index: Option<Index>) {
        let Question { from, replicas } = question;
        let Some(partition) = self.partitions.get(&log) else { return };
        let Applied::Shard(state) = &partition.state else { return };
        if index.is_none_or(|index| partition.applied < index) {
            return;
        }
        let own = replicas.into_iter().filter(|(_, id)| id.node == from);
        let (unwanted, rest): (Vec<_>, Vec<_>) = own.partition(|(key, id)| state.confirms_removal(*key, *id));
        let desired = |key: PartitionKey, id: ReplicaId| {
            state.descriptor(key).is_some_and(|descriptor| descriptor.wanted().any(|wanted| wanted == id))
        };
        let wanted: Vec<_> = rest.into_iter().filter(|(key, id)| desired(*key, *id)).collect();
        if wanted.is_empty() && unwanted.is_empty() {
            return;
        }
        if from == self.identity.node {
            self.fate_told(wanted, unwanted);
        } else {
            let message = PeerMessage::Fate { wanted, unwanted };
            self.out.push(Effect::Send { to: from, stream: Stream::Rpc, message });
        }
    }

    /// The shard's leader said which replicas of this node it wants. What is unwanted is deleted where this node had asked to.
    pub(crate) fn fate_told(
        &mut self,
        wanted: Vec<(PartitionKey, ReplicaId)>,
        unwanted: Vec<(PartitionKey, ReplicaId)>,
    ) {
        self.removal_confirmed(unwanted);
        self.wanted(wanted);
    }
}

/// What waits for a linearizable read.
pub(crate) enum Confirming {
    /// Are these replicas wanted?
    Fate(Question),
    /// A batch is refused for its producer's sequence: a leader that was replaced without knowing would be wrong.
    Refusal {
        /// Part of the produce call.
        waiter: Waiter,
        /// The refusal.
        error: ErrorCode,
    },
    /// A fetch beyond the log's end: the same.
    Fetch(RequestId),
    /// Records shall be deleted beyond the high watermark: the same.
    Deletion(Waiter),
    /// Offsets of a group are asked for: the same.
    Group {
        /// Part of the call.
        from: Waiter,
        /// What is asked.
        request: super::groups::api::GroupRequest,
    },
}

/// A question about replicas that waits for its linearizable read.
pub(crate) struct Question {
    from: NodeId,
    replicas: Vec<(PartitionKey, ReplicaId)>,
}

fn shard_id(shard: u32) -> Option<ShardId> {
    let number = u8::try_from(shard).ok()?;
    ShardId::all().find(|shard| shard.0 == number)
}
