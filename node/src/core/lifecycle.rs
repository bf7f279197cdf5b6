//! Which replicas this node has: comparing what is here with what the shards want, again and again.
//!
//! The decisions are [`metadata::lifecycle`](super::metadata::lifecycle)'s; this carries them out. Each action writes its
//! frame first and speaks of it once the frame is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use mesh::liveness;
use mesh::raft::{EntryKind, HardState, Index, Input, Membership, NodeId, ReplicaEpoch, ReplicaId, Term};
use storage::{Disk, LogId, ReadError, Sequence, Write, WriteError};

use super::message::{LeaderInfo, PeerMessage, Stream};
use super::metadata::lifecycle::{
    Action, LocalReplica, Report, Standing, decide, have_arrived, is_as_desired, next_change, replaced,
};
use super::metadata::{Command, FIRST_REPLICA_EPOCH, METADATA_TOPIC, NodeState, PartitionKey, ShardId};
use super::node::{Node, OpenError, Timer};
use super::partition::{Applied, Partition};
use super::shards::Purpose;
use super::{Effect, Identity, after_ms};
use crate::mutant::{self, Mutant};

/// In so many looks a node sees all its partitions, and says again which of them it leads, in case that was lost.
const LOOKS_PER_ROUND: usize = 16;

/// For each so many partitions one look more goes by before all of them are seen at once.
const SEEN_AT_ONCE: usize = 2048;

/// A look sees so many partitions at least.
const SHARE_MIN: usize = 64;

/// Leaders of a node that is down are replaced one after the other, microseconds apart.
pub(crate) const CAMPAIGN_EVERY_US: u64 = 300;

/// How long each replica lets the one that is preferred to it campaign alone.
pub(crate) const HEIR_US: u64 = 300_000;

/// A commit that takes longer than this is called a stuck disk: the node no longer vouches for its replicas.
pub(crate) const STUCK_DISK_US: u64 = 10_000_000;

/// Why a node ends that was taken out of the mesh.
pub(crate) const REMOVED: &str =
    "it was removed from the mesh for good; to come back as a new node start with an empty directory";

/// Names the log that marks the founding of shards as done; no partition has this number.
pub(crate) const FOUNDED: PartitionKey = PartitionKey { topic: METADATA_TOPIC, partition: -1 };

impl<D: Disk> Node<D> {
    /// On the first start of a founder: the shards it holds, all in one commit. A log of its own, the last that is created, tells later
    /// starts that all of them were written, so that one missing then is lost or has moved away, and not new.
    pub(crate) fn found_shards(&mut self) {
        let mine: Vec<PartitionKey> = self
            .founding
            .shards()
            .iter()
            .filter(|d| self.named(d.replicas.as_slice()))
            .map(|d| d.key)
            .collect();
        if self.founded || mine.is_empty() {
            return;
        }
        // Directories from before shards could move have no mark.
        let complete = mine.last().is_some_and(|last| self.by_key.contains_key(last));
        for descriptor in self.founding.shards().iter().filter(|d| mine.contains(&d.key)) {
            if !complete && !self.by_key.contains_key(&descriptor.key) {
                let id = descriptor.replica_on(self.identity.node).expect("it names this node");
                self.create_log(
                    descriptor.key,
                    id,
                    descriptor.voters(),
                    descriptor.term_floor,
                    Standing::Creating,
                );
            }
        }
        if complete || mine.iter().all(|key| self.by_key.contains_key(key)) {
            self.mark_founded();
        }
    }

    /// Creates the log that says that the shards were founded here.
    fn mark_founded(&mut self) {
        let Identity { node, incarnation } = self.identity;
        let meta = log_meta::encode(FOUNDED, ReplicaId { node, incarnation, epoch: ReplicaEpoch(0) });
        match self.write_new_log(FOUNDED, 0, &meta, &HardState::default()) {
            Ok(_) => self.founded = true,
            Err(error) => tracing::warn!(%error, "that the shards are founded could not be noted"),
        }
    }

    fn named(&self, replicas: &[ReplicaId]) -> bool {
        replicas.iter().any(|r| r.node == self.identity.node && r.incarnation == self.identity.incarnation)
    }

    /// The regular look, for what was lost on the way or never told: at whatever is not yet as it should be, and at a share of the rest.
    pub(crate) fn reconcile(&mut self) {
        self.set_timer(after_ms(self.now.mono, self.config.reconcile_ms), Timer::Reconcile);
        match self.is_large() {
            true => self.compare_notes(),
            false => ShardId::all().for_each(|shard| self.poll_shard(shard)),
        }
        let mut keys = self.unsettled.clone();
        keys.extend(self.next_share());
        self.reconcile_keys(keys);
        self.register_self();
        self.looks = self.looks.wrapping_add(1);
        let every = 1 + self.by_key.len() / SEEN_AT_ONCE;
        let sees_all = self.looks.is_multiple_of(every);
        if self.stopping.is_some() {
            self.hand_over();
        } else if sees_all {
            self.send_leaders_home(every);
        }
        if sees_all {
            self.give_up_silent_members();
            self.sample_traffic();
        }
        self.review_rebuilds();
        self.tend_mesh();
        self.resend_forwards();
        self.urge_elections();
        self.expire_producer_ids();
        let leads: Vec<ShardId> = self.shard_leads.keys().copied().collect();
        leads.into_iter().for_each(|shard| self.lead_shard(shard));
    }

    /// The next of all partitions that are here, or should be. Who leads the replicas among them is told again.
    fn next_share(&mut self) -> BTreeSet<PartitionKey> {
        let most = (self.by_key.len() / LOOKS_PER_ROUND).max(SHARE_MIN);
        let from = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let here = self.by_key.range((from, Bound::Unbounded)).map(|(key, _)| *key).take(most);
        let wanted = self.view.mine_after(self.looked_at).take(most);
        let mut share: BTreeSet<PartitionKey> = here.chain(wanted).collect();
        while share.len() > most {
            share.pop_last();
        }
        self.looked_at = share.last().copied().filter(|_| share.len() == most);
        self.announce_again(&share);
        share
    }

    /// Brings these partitions closer to what their descriptors say.
    pub(crate) fn reconcile_keys(&mut self, keys: BTreeSet<PartitionKey>) {
        let mut reports = Vec::new();
        let mut asked: BTreeMap<ShardId, Vec<(PartitionKey, ReplicaId)>> = BTreeMap::new();
        for key in keys {
            let local = self.by_key.get(&key).and_then(|log| self.partitions.get(log));
            let local = local.map(|p| LocalReplica { id: p.id, standing: p.standing });
            let Identity { node, incarnation } = self.identity;
            let action = decide(local, self.view.descriptor(key), node, incarnation);
            let idle = action == Action::Nothing;
            match action {
                Action::AskRemoval(id) if mutant::active(Mutant::DataDeletedUnconfirmed) => {
                    self.removal_confirmed(vec![(key, id)]);
                }
                // This view may be an old one: of a triple that was here since, made promises, and was deleted.
                Action::Found { id, .. } | Action::Learn(id)
                    if key.as_shard().is_none() || id.epoch > FIRST_REPLICA_EPOCH =>
                {
                    if mutant::active(Mutant::BegunUnconfirmed) {
                        self.wanted(vec![(key, id)]);
                    }
                    asked.entry(key.home()).or_default().push((key, id));
                }
                Action::AskRemoval(id) | Action::BeginAlone(id) => {
                    asked.entry(key.home()).or_default().push((key, id));
                }
                action => self.act(key, action, &mut reports),
            }
            self.note_company(key);
            let settled = self.lead_membership(key, &mut reports);
            match idle && settled {
                true => self.unsettled.remove(&key),
                false => self.unsettled.insert(key),
            };
        }
        self.send_reports(reports);
        for (shard, replicas) in asked {
            self.ask_fate(shard, replicas);
        }
    }

    /// The shard confirmed that it wants these triples of this node: what is not here may be begun.
    pub(crate) fn wanted(&mut self, replicas: Vec<(PartitionKey, ReplicaId)>) {
        let Identity { node, incarnation } = self.identity;
        for (key, wanted) in replicas {
            let missing = !self.by_key.contains_key(&key);
            let local = self.by_key.get(&key).and_then(|log| self.partitions.get(log));
            let local = local.map(|p| LocalReplica { id: p.id, standing: p.standing });
            let descriptor = self.view.descriptor(key);
            if local.is_some() && decide(local, descriptor, node, incarnation) == Action::BeginAlone(wanted) {
                self.begin_alone(key, wanted);
                continue;
            }
            match decide(None, self.view.descriptor(key), node, incarnation) {
                Action::Found { id, voters, term_floor } if missing && id == wanted => {
                    self.create_log(key, id, voters, term_floor, Standing::Creating);
                }
                Action::Learn(id) if missing && id == wanted => {
                    self.create_log(key, id, BTreeSet::new(), 0, Standing::Learner);
                }
                _ => {}
            }
        }
    }

    fn act(&mut self, key: PartitionKey, action: Action, reports: &mut Vec<Report>) {
        let incarnation = self.identity.incarnation;
        let log = self.by_key.get(&key).copied();
        match action {
            Action::Nothing | Action::AskRemoval(_) | Action::Learn(_) | Action::BeginAlone(_) => {}
            // A shard is founded by `found_shards` or not at all: the founding record alone does not say that it is new.
            Action::Found { .. } => {
                if self.view.version(ShardId(0)) > 0
                    && let Some(replica) =
                        self.view.descriptor(key).and_then(|d| d.replica_on(self.identity.node))
                {
                    reports.push(Report::Lost { key, replica, incarnation });
                }
            }
            Action::Reset(id) => self.reset_log(key, id),
            Action::ReportCreated(replica) => {
                if log.is_some_and(|log| !self.creating.contains_key(&log)) {
                    reports.push(Report::Created { key, replica });
                }
            }
            Action::BecomeMember => self.become_member(key),
            Action::ReportLost(replica) => reports.push(Report::Lost { key, replica, incarnation }),
            Action::ReportSuspect(replica) => reports.push(Report::Suspect { key, replica, incarnation }),
            Action::Retire => {
                if let Some(partition) = log.and_then(|log| self.partitions.get_mut(&log)) {
                    partition.standing = Standing::Removed;
                }
                if mutant::active(Mutant::RemovedReplicaVotes) || mutant::active(Mutant::RemovedReplicaServes)
                {
                    return self.touched.extend(log);
                }
                log.into_iter().for_each(|log| self.silence(log));
            }
        }
    }

    fn create_log(
        &mut self,
        key: PartitionKey,
        id: ReplicaId,
        voters: BTreeSet<ReplicaId>,
        term_floor: u32,
        standing: Standing,
    ) {
        let meta = log_meta::encode(key, id);
        let start_membership = Membership { voters, ..Membership::default() };
        let state = HardState { term: Term(term_floor), start_membership, ..HardState::default() };
        let (log, sequence) = match self.write_new_log(key, id.epoch.0, &meta, &state) {
            Ok(written) => written,
            Err(error) => return tracing::warn!(%error, ?key, "a replica could not be created; tried again"),
        };
        let mut partition = Partition::new(key, log, id, standing);
        if let Err(error) = self.load(&mut partition) {
            return self.fail(format!("a new replica does not load: {error}"));
        }
        self.creating.insert(log, sequence);
        self.unsettled.insert(key);
        self.by_key.insert(key, log);
        self.partitions.insert(log, partition);
        self.retime(log);
        if mutant::active(Mutant::CreatedBeforeSync) {
            self.created_durably(vec![log]);
        }
    }

    /// The store refuses a log number that was ever used here, also by a log that is deleted since.
    fn write_new_log(
        &mut self,
        key: PartitionKey,
        epoch: u32,
        meta: &Bytes,
        state: &HardState,
    ) -> Result<(LogId, Sequence), WriteError> {
        loop {
            let log = LogId(self.next_log);
            self.next_log += 1;
            match self.workers.create(key, log, epoch, meta.clone()) {
                Ok(_) => {}
                Err(WriteError::Invalid { .. }) => continue,
                Err(error) => return Err(error),
            }
            let sequence = self.workers.write(Write::HardState { log, state: state.encode().into() })?;
            return Ok((log, sequence));
        }
    }

    /// A damaged or replaced replica goes on under its new triple: its log bytes stay as a head start, its term and vote
    /// do not, for they were given under another name.
    fn reset_log(&mut self, key: PartitionKey, id: ReplicaId) {
        let Some(log) = self.by_key.get(&key).copied() else { return };
        self.silence(log);
        let Some(state) = self.workers.log(log) else { return };
        let Some(mut hard_state) = HardState::decode(state.hard_state) else {
            return self.fail(format!("the hard state of {key:?} cannot be read"));
        };
        (hard_state.term, hard_state.vote) = (Term(0), None);
        let start = state.start;
        let checkpoint = match state.checkpoint {
            Some((index, bytes)) => (index, bytes.clone()),
            None => match Applied::decode(key, None, &self.founding) {
                Some(empty) => (start.index, empty.encode()),
                None => return,
            },
        };
        let meta = log_meta::encode(key, id);
        let hard_state = hard_state.encode().into();
        let write =
            Write::Reset { log, epoch: id.epoch.0, meta, hard_state, start, checkpoint, keep_suffix: true };
        match self.workers.write(write) {
            Ok(sequence) => _ = self.creating.insert(log, sequence),
            Err(error) => return tracing::warn!(%error, ?key, "a replica could not be reset; tried again"),
        }
        let mut partition = Partition::new(key, log, id, Standing::Learner);
        if self.load(&mut partition).is_ok() {
            self.partitions.insert(log, partition);
            self.retime(log);
        } else {
            // What is left cannot be read: nothing of it is worth keeping.
            self.delete_log(log);
            self.create_log(key, id, BTreeSet::new(), 0, Standing::Learner);
        }
    }

    /// The shard committed "created": clients may be served from now on.
    fn become_member(&mut self, key: PartitionKey) {
        let Some(log) = self.by_key.get(&key).copied() else { return };
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        partition.standing = Standing::Member;
        let leaderless = partition.replica.as_ref().is_some_and(|replica| replica.leader().is_none());
        let preferred =
            self.view.descriptor(key).and_then(|d| d.replicas.first().copied()) == Some(partition.id);
        if leaderless && preferred {
            self.drive(log, Input::Campaign);
        }
        self.announce(log);
        self.wake_fetches(log);
    }

    /// The replica takes part in nothing any more; its data stays.
    pub(crate) fn silence(&mut self, log: LogId) {
        self.touched.push(log);
        let Some(mut partition) = self.partitions.remove(&log) else { return };
        let led = partition.led.is_some();
        self.fail_waiters(&mut partition);
        partition.replica = None;
        partition.led = None;
        if let Some(at) = partition.deadline.take() {
            self.timers.remove(&(at, Timer::Partition(log)));
        }
        self.workers.forget(log);
        self.partitions.insert(log, partition);
        self.unsettled.extend(self.partitions.get(&log).map(|partition| partition.key));
        self.fail_reads(log);
        self.shard_led(log, false);
        self.wake_fetches(log);
        if led {
            self.liveness_input(liveness::Input::Faltered);
        }
    }

    /// A stored entry cannot be read: what this replica promised is no longer whole, so it becomes suspect and is replaced.
    /// What lies before `index` stays as a head start for its successor.
    pub(crate) fn rotten(&mut self, log: LogId, index: u64) {
        // Trimmed or truncated while it was read, or found before.
        let holds = |state: storage::LogState<'_>| state.start.index < index && index <= state.last_index;
        if !self.workers.log(log).is_some_and(holds) {
            return;
        }
        tracing::error!(log = log.0, index, "the stored log is damaged; its replica will be replaced");
        self.silence(log);
        if let Some(partition) = self.partitions.get_mut(&log) {
            partition.standing = Standing::Suspect;
        }
        // In this order: a power cut may keep the first of the two alone.
        let marked = self.workers.write(Write::Suspect { log });
        if let Err(error) = marked.and_then(|_| self.workers.write(Write::Truncate { log, from: index })) {
            self.fail(format!("a damaged log could not be marked: {error}"));
        }
    }

    /// Rot may have taken the newest hard state of a suspect log, and with it the word of which entries are memberships, or the
    /// frame that began a term. Its successor keeps the entries as a head start and must know both: so the whole log is read for the
    /// memberships in it, and cut where its terms are not those that are known.
    pub(crate) fn recall_memberships(&mut self, log: LogId) -> Result<(), OpenError> {
        let Some(state) = self.workers.log(log) else { return Ok(()) };
        let undecodable = OpenError::Undecodable { log, what: "a hard state" };
        let mut hard_state = HardState::decode(state.hard_state).ok_or(undecodable)?;
        let (mut next, mut last) = (state.start.index + 1, state.last_index);
        let terms = state.term_starts.to_vec();
        let known_term =
            |index: u64| terms.iter().rev().find(|(_, first, _)| *first <= index).map(|(term, ..)| *term);
        let below = |(index, _, _): &&(Index, Term, Membership)| index.0 < next;
        let mut found: Vec<_> = hard_state.memberships.iter().filter(below).cloned().collect();
        while next <= last {
            let read = self.read_now(log, next);
            let bad = match &read {
                Ok(entries) => entries.iter().find(|e| known_term(e.index) != Some(e.term)).map(|e| e.index),
                Err(ReadError::Corrupt { index, .. }) => Some(*index),
                Err(_) => None,
            };
            if let Some(from) = bad {
                // What lies before it is read again.
                self.workers.write(Write::Truncate { log, from })?;
                last = from.saturating_sub(1).min(last - 1);
                continue;
            }
            let entries = read?;
            let Some(newest) = entries.last() else { break };
            next = newest.index + 1;
            let memberships = entries.iter().filter(|entry| entry.kind == EntryKind::Membership.to_u8());
            found.extend(memberships.filter_map(|entry| {
                Some((Index(entry.index), Term(entry.term), Membership::decode(&entry.payload)?))
            }));
        }
        if hard_state.memberships != found {
            hard_state.memberships = found;
            self.workers.write(Write::HardState { log, state: hard_state.encode().into() })?;
        }
        Ok(())
    }

    /// The shard confirmed that nobody needs this data.
    pub(crate) fn removal_confirmed(&mut self, replicas: Vec<(PartitionKey, ReplicaId)>) {
        for (key, id) in replicas {
            let Some(log) = self.by_key.get(&key).copied() else { continue };
            if self.partitions.get(&log).is_some_and(|partition| partition.id == id) {
                self.silence(log);
                self.delete_log(log);
            }
        }
    }

    fn delete_log(&mut self, log: LogId) {
        if let Err(error) = self.workers.write(Write::Delete { log }) {
            return tracing::warn!(%error, log = log.0, "a log could not be deleted; tried again");
        }
        self.creating.remove(&log);
        self.touched.push(log);
        if let Some(partition) = self.partitions.remove(&log) {
            self.by_key.remove(&partition.key);
            self.leaders.remove(&partition.key);
            self.note_company(partition.key);
        }
    }

    /// As the leader of a partition: one step of its membership towards the descriptor, and what the shard should know. Says whether
    /// nothing is left to do.
    fn lead_membership(&mut self, key: PartitionKey, reports: &mut Vec<Report>) -> bool {
        let Some(log) = self.by_key.get(&key).copied() else { return true };
        let Some(partition) = self.partitions.get(&log).filter(|partition| partition.leads()) else {
            return true;
        };
        let (Some(replica), Some(descriptor)) = (partition.replica.as_ref(), self.view.descriptor(key))
        else {
            return true;
        };
        let said = reports.len();
        if let Some(topic) = self.view.topic(key.topic)
            && replica.term().0 > topic.term_ceiling
        {
            reports.push(Report::Term { topic: key.topic, term: replica.term().0 });
        }
        // Before that, what it takes for the committed membership may be one of long ago, without a voter that came since.
        // And the view of a process that was not told yet may want members that left (seed 17953102270114).
        let current = replica.high_watermark().is_some() || mutant::active(Mutant::LeftToldEarly);
        let heard = self.heard.contains(&key.home()) || mutant::active(Mutant::ChangesUnheard);
        if !current || !heard {
            return false;
        }
        let replica_left = replaced(replica.committed_membership(), descriptor);
        reports.extend(replica_left.into_iter().map(|replica| Report::Replaced { key, replica }));
        let actual = replica.membership();
        let settled = actual == replica.committed_membership() && is_as_desired(actual, descriptor);
        if settled && descriptor.planned.is_empty() {
            return reports.len() == said;
        }
        let progress = replica.progress();
        let commit = replica.commit_index();
        let caught_up = |id| progress.iter().any(|peer| peer.id == id && peer.live && peer.matched >= commit);
        if settled && have_arrived(actual, descriptor, caught_up) {
            reports.push(Report::Arrived { key, epoch: descriptor.epoch });
        }
        let may_change = actual == replica.committed_membership()
            || mesh::mutant::active(mesh::mutant::Mutant::ChangeBeforeCommit);
        if may_change && let Some(change) = next_change(actual, descriptor, caught_up) {
            self.drive(log, Input::Change(change));
        }
        false
    }

    /// Enters this node into the registry, or corrects what it says.
    fn register_self(&mut self) {
        let wanted = &self.registration;
        let known = self.view.node(self.identity.node).is_some_and(|info| {
            info.incarnation == wanted.incarnation
                && (&info.kafka, &info.mesh, &info.http) == (&wanted.kafka, &wanted.mesh, &wanted.http)
                && (&info.zone, info.weight) == (&wanted.zone, wanted.weight)
                && info.state != NodeState::Dead
        });
        let asked =
            self.forwarding.waiting.values().any(|forward| forward.purpose == Purpose::Register(None));
        if !known && !asked {
            let command = Command::RegisterNode(self.registration.clone());
            self.submit(ShardId(0), &command, Purpose::Register(None));
        }
    }

    fn announce_again(&mut self, keys: &BTreeSet<PartitionKey>) {
        let infos = keys.iter().filter_map(|key| self.leader_info(*self.by_key.get(key)?)).map(Arc::new);
        let infos: Vec<Arc<LeaderInfo>> = infos.collect();
        if self.is_large() {
            // What was lost is found by comparing; here is only what changed without a word.
            let changed = |info: &Arc<LeaderInfo>| {
                self.leaders.get(&info.key).is_none_or(|known| info.is_news_after(known))
            };
            for info in infos.into_iter().filter(changed).collect::<Vec<_>>() {
                self.by_key.get(&info.key).copied().into_iter().for_each(|log| self.gather_lead(log));
                self.learn_leader(info);
            }
            return;
        }
        if infos.is_empty() {
            return;
        }
        for to in self.peers() {
            let message = PeerMessage::Leaders(infos.clone());
            self.out.push(Effect::Send { to, stream: Stream::Rpc, message });
        }
        infos.into_iter().for_each(|info| self.learn_leader(info));
    }

    /// A peer is live: it may be new, and know nothing yet.
    pub(crate) fn announce_all_to(&mut self, to: NodeId) {
        if self.is_large() {
            return;
        }
        let infos = self.partitions.keys().filter_map(|log| self.leader_info(*log)).map(Arc::new);
        let infos: Vec<Arc<LeaderInfo>> = infos.collect();
        if !infos.is_empty() {
            self.out.push(Effect::Send { to, stream: Stream::Rpc, message: PeerMessage::Leaders(infos) });
        }
    }

    /// Create or reset frames are synced: the shards may hear of the replicas.
    pub(crate) fn created_durably(&mut self, logs: Vec<LogId>) {
        let mut keys = BTreeSet::new();
        for log in logs {
            self.creating.remove(&log);
            let Some(partition) = self.partitions.get(&log) else { continue };
            let (key, id) = (partition.key, partition.id);
            let leaderless = partition.replica.as_ref().is_some_and(|replica| replica.leader().is_none());
            let first = self.view.descriptor(key).and_then(|descriptor| descriptor.replicas.first().copied());
            // Before the timeout of another makes that one lead.
            if leaderless && first == Some(id) {
                self.drive(log, Input::Campaign);
            }
            keys.insert(key);
        }
        if !keys.is_empty() {
            self.reconcile_keys(keys);
        }
    }
}

/// What the store keeps opaquely about a log: which replica it is.
///
/// | bytes | what |
/// |---|---|
/// | 1 | version, 1 |
/// | 16, 4 | topic id, partition |
/// | 4, 8, 4 | node, incarnation, replica epoch; little-endian |
pub(crate) mod log_meta {
    use mesh::raft::{Incarnation, ReplicaEpoch};

    use super::{Bytes, NodeId, PartitionKey, ReplicaId};
    use crate::core::request::TopicId;

    const VERSION: u8 = 1;

    pub(crate) fn encode(key: PartitionKey, id: ReplicaId) -> Bytes {
        let mut out = vec![VERSION];
        out.extend(key.topic.0);
        out.extend(key.partition.to_le_bytes());
        out.extend(id.node.0.to_le_bytes());
        out.extend(id.incarnation.0.to_le_bytes());
        out.extend(id.epoch.0.to_le_bytes());
        out.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<(PartitionKey, ReplicaId)> {
        let (version, rest) = bytes.split_first()?;
        let (topic, rest) = rest.split_first_chunk::<16>()?;
        let (partition, rest) = rest.split_first_chunk::<4>()?;
        let (node, rest) = rest.split_first_chunk::<4>()?;
        let (incarnation, rest) = rest.split_first_chunk::<8>()?;
        let epoch: &[u8; 4] = rest.try_into().ok()?;
        let key = PartitionKey { topic: TopicId(*topic), partition: i32::from_le_bytes(*partition) };
        let id = ReplicaId {
            node: NodeId(i32::from_le_bytes(*node)),
            incarnation: Incarnation(u64::from_le_bytes(*incarnation)),
            epoch: ReplicaEpoch(u32::from_le_bytes(*epoch)),
        };
        (*version == VERSION).then_some((key, id))
    }
}
