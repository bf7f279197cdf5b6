//! The replica life cycle of `ARCHITECTURE.md` as decisions: what a node does about one replica, what a
//! shard's leader does about reports, what a partition's leader does about its membership. All pure; the
//! callers persist, send and propose.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{Incarnation, Membership, MembershipChange, NodeId, ReplicaId, Time};
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::descriptor::{Descriptor, FIRST_REPLICA_EPOCH, PartitionKey};
use super::shard::Shard;
use crate::core::request::TopicId;
use crate::mutant::{self, Mutant};

/// Where in its life a local replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Founded, and not known to be created: votes, even with an empty log, and acknowledges nothing to
    /// clients.
    Creating,
    /// A voter whose promises are whole.
    Member,
    /// Under a replacement's epoch, not yet a voter. Has promised nothing.
    Learner,
    /// Its promises may be lost: neither votes nor acknowledges.
    Suspect,
    /// Out of the group and out of the descriptor; waits for the shard's word to delete.
    Removed,
}

/// A replica that has a log on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalReplica {
    /// The triple in its create or reset frame.
    pub id: ReplicaId,
    /// Where in its life it is.
    pub standing: Standing,
}

/// What a node has to do about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// All is as it should be, or the view is older than the replica.
    Nothing,
    /// Write a create frame for this founding voter, and start it as `Creating` with these voters at this
    /// term.
    Found {
        /// The triple.
        id: ReplicaId,
        /// All founding voters.
        voters: BTreeSet<ReplicaId>,
        /// The hard state's first term, see [`Topic::term_floor`](super::Topic::term_floor).
        term_floor: u32,
    },
    /// Its create frame is synced: tell the shard so with [`Report::Created`], again until it is created.
    ReportCreated(ReplicaId),
    /// The shard committed "created": from now on it is a member.
    BecomeMember,
    /// Tell the shard that this triple has no log here, with [`Report::Lost`].
    ReportLost(ReplicaId),
    /// Tell the shard that this triple may have lost promises, with [`Report::Suspect`].
    ReportSuspect(ReplicaId),
    /// Write a create frame for this replacement, empty, and start it as `Learner`.
    Learn(ReplicaId),
    /// Write a reset frame to this triple: log bytes are kept, term and vote dropped; go on as `Learner`.
    Reset(ReplicaId),
    /// The majority is lost and this triple shall go on alone: write a reset frame to it that keeps everything, and a membership of it
    /// alone; go on as `Member`.
    BeginAlone(ReplicaId),
    /// No longer wanted: stop voting and serving, keep the data, stand as `Removed`.
    Retire,
    /// Ask the shard's leader for its word ([`Shard::confirms_removal`]); on yes write the delete frame.
    AskRemoval(ReplicaId),
}

/// Compares what is here with what should be.
///
/// A descriptor that is missing from the view proves nothing (a restarted node's view may be older than its
/// replica), so the shard is asked and the replica goes on meanwhile. A present one that is older than the
/// replica changes nothing.
pub fn decide(
    local: Option<LocalReplica>,
    descriptor: Option<&Descriptor>,
    my_node: NodeId,
    my_incarnation: Incarnation,
) -> Action {
    let desired = descriptor.and_then(|descriptor| Some((descriptor, descriptor.wanted_on(my_node)?)));
    match (local, desired) {
        (None, None) => Action::Nothing,
        (None, Some((descriptor, id))) => begin(descriptor, id, my_incarnation),
        (Some(local), Some((descriptor, id))) => follow(local, descriptor, id, my_incarnation),
        (Some(local), None) => leave(local, descriptor),
    }
}

/// There is no log here, and the descriptor names this node.
fn begin(descriptor: &Descriptor, id: ReplicaId, my_incarnation: Incarnation) -> Action {
    let found = Action::Found { id, voters: descriptor.voters(), term_floor: descriptor.term_floor };
    let another_life = id.incarnation != my_incarnation && !mutant::active(Mutant::WipedDiskKeepsIdentity);
    let forgetful =
        mutant::active(Mutant::EmptyReplicaVotes) || mutant::active(Mutant::WipedDiskKeepsIdentity);
    match () {
        () if another_life => Action::ReportLost(id),
        () if descriptor.creating => found,
        () if id.epoch > FIRST_REPLICA_EPOCH => Action::Learn(id),
        () if forgetful => found,
        () => Action::ReportLost(id),
    }
}

/// There is a log here, and the descriptor names this node.
fn follow(
    local: LocalReplica,
    descriptor: &Descriptor,
    id: ReplicaId,
    my_incarnation: Incarnation,
) -> Action {
    if id.epoch < local.id.epoch && !mutant::active(Mutant::EpochCheckLost) {
        return Action::Nothing;
    }
    if id.incarnation != my_incarnation {
        return Action::ReportLost(id);
    }
    // A crash may have kept the reset without the membership: then it is no voter yet.
    let alone = descriptor.alone == Some(id);
    if alone && (id != local.id || local.standing == Standing::Learner) {
        return Action::BeginAlone(id);
    }
    if id != local.id {
        return Action::Reset(id);
    }
    match local.standing {
        Standing::Creating if descriptor.creating => Action::ReportCreated(id),
        Standing::Creating => Action::BecomeMember,
        Standing::Suspect => Action::ReportSuspect(id),
        Standing::Member | Standing::Learner | Standing::Removed => Action::Nothing,
    }
}

/// There is a log here, and no descriptor, or one that does not name this node.
fn leave(local: LocalReplica, descriptor: Option<&Descriptor>) -> Action {
    let Some(descriptor) = descriptor else { return Action::AskRemoval(local.id) };
    // The group may still need it; its own log will say when it does not.
    let wanted = descriptor.leaving.contains(&local.id);
    let fenced = descriptor.fenced.get(&local.id.node).is_some_and(|&epoch| epoch >= local.id.epoch);
    match local.standing {
        _ if wanted || !fenced => Action::Nothing,
        Standing::Creating | Standing::Member | Standing::Learner => Action::Retire,
        Standing::Suspect | Standing::Removed => Action::AskRemoval(local.id),
    }
}

/// What nodes tell the leader of a partition's [home shard](PartitionKey::home), and repeat while it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// A founding voter's create frame is synced.
    Created {
        /// Of which partition.
        key: PartitionKey,
        /// Which triple.
        replica: ReplicaId,
    },
    /// The triple has no log on its node.
    Lost {
        /// Of which partition.
        key: PartitionKey,
        /// Which triple.
        replica: ReplicaId,
        /// The node's life now; the replacement is made for it.
        incarnation: Incarnation,
    },
    /// The triple's promises may be lost.
    Suspect {
        /// Of which partition.
        key: PartitionKey,
        /// Which triple.
        replica: ReplicaId,
        /// The node's life now; the replacement is made for it.
        incarnation: Incarnation,
    },
    /// By the partition's leader: the committed membership no longer holds this replaced triple.
    Replaced {
        /// Of which partition.
        key: PartitionKey,
        /// Which triple.
        replica: ReplicaId,
    },
    /// By the partition's leader: the newcomers of the plan have what is committed.
    Arrived {
        /// Of which partition.
        key: PartitionKey,
        /// Of the descriptor that plans them.
        epoch: u64,
    },
    /// By a partition's leader whose term is above the topic's ceiling; it serves nobody before that rose.
    Term {
        /// Which topic.
        topic: TopicId,
        /// The leader's term.
        term: u32,
    },
}

impl Report {
    /// The shard to which it goes.
    pub fn shard(&self) -> super::ShardId {
        match self {
            Self::Created { key, .. }
            | Self::Lost { key, .. }
            | Self::Suspect { key, .. }
            | Self::Replaced { key, .. }
            | Self::Arrived { key, .. } => key.home(),
            Self::Term { topic, .. } => super::ShardId::of_topic(*topic),
        }
    }

    /// Whether `node` may say so. What a node says of others' replicas is not believed.
    pub fn is_from(&self, node: NodeId) -> bool {
        match self {
            Self::Created { replica, .. } | Self::Lost { replica, .. } | Self::Suspect { replica, .. } => {
                replica.node == node
            }
            Self::Replaced { .. } | Self::Arrived { .. } | Self::Term { .. } => true,
        }
    }
}

/// How reports become commands, at the leader of a shard. Begins empty with each leadership: reports are
/// repeated.
#[derive(Debug, Default)]
pub struct Repairs {
    grace_us: u64,
    creations: BTreeMap<PartitionKey, Creation>,
}

#[derive(Debug)]
struct Creation {
    since: Time,
    by: BTreeSet<ReplicaId>,
    /// Whose life is over: these will never report.
    lost: BTreeSet<ReplicaId>,
}

impl Creation {
    fn new(since: Time) -> Self {
        Self { since, by: BTreeSet::new(), lost: BTreeSet::new() }
    }
}

impl Repairs {
    /// `grace_us`: how long a creation waits for the last replicas once a majority is there.
    pub fn new(grace_us: u64) -> Self {
        Self { grace_us, creations: BTreeMap::new() }
    }

    /// Takes one report from `from`; returns what to propose at once. A repeated report may return it again:
    /// the shard answers a repeated command as done.
    ///
    /// `incarnation_of` is the registry's word; a node that is not registered in the life it speaks of waits.
    pub fn report(
        &mut self,
        now: Time,
        from: NodeId,
        report: Report,
        shard: &Shard,
        incarnation_of: impl Fn(NodeId) -> Option<Incarnation>,
    ) -> Option<Command> {
        if !report.is_from(from) || report.shard() != shard.id() {
            return None;
        }
        match report {
            Report::Created { key, replica } => {
                let descriptor = shard.descriptor(key)?;
                if !descriptor.creating || !descriptor.replicas.contains(&replica) {
                    return None;
                }
                self.creations.entry(key).or_insert_with(|| Creation::new(now)).by.insert(replica);
                None
            }
            Report::Lost { key, replica, incarnation } | Report::Suspect { key, replica, incarnation } => {
                let descriptor = shard.descriptor(key)?;
                let known = incarnation_of(replica.node) == Some(incarnation);
                if !descriptor.wanted().any(|wanted| wanted == replica) || !known {
                    return None;
                }
                if descriptor.creating {
                    if replica.incarnation != incarnation {
                        let creation = self.creations.entry(key).or_insert_with(|| Creation::new(now));
                        creation.lost.insert(replica);
                    }
                    return None;
                }
                let new =
                    ReplicaId { node: replica.node, incarnation, epoch: descriptor.next_replica_epoch() };
                Some(Command::ReplaceReplica { key, old: replica, new })
            }
            Report::Replaced { key, replica } => {
                let leaving = &shard.descriptor(key)?.leaving;
                leaving.contains(&replica).then_some(Command::FinishReplacement { key, old: replica })
            }
            Report::Arrived { key, epoch } => {
                let descriptor = shard.descriptor(key)?;
                let due = descriptor.epoch == epoch && !descriptor.planned.is_empty();
                due.then_some(Command::CarryOutPlan { key, epoch })
            }
            Report::Term { topic, term } => {
                let known = shard.topic(topic)?;
                (term > known.term_ceiling).then_some(Command::RaiseTermCeiling { topic, term })
            }
        }
    }

    /// The creations that are due: all replicas reported, or a majority did and the grace time passed. One
    /// command per topic. A topic of which so many replicas lost their lives that no majority can report is abandoned. Call it
    /// after reports and at [`next_deadline`](Self::next_deadline).
    pub fn due(&mut self, now: Time, shard: &Shard) -> Vec<Command> {
        self.creations.retain(|key, _| shard.descriptor(*key).is_some_and(|descriptor| descriptor.creating));
        let mut done: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        let mut hopeless: BTreeSet<TopicId> = BTreeSet::new();
        // A topic that is served is not given up for a partition that was added to it.
        let served = |topic: TopicId| {
            let created = |key| shard.descriptor(key).is_some_and(|descriptor| !descriptor.creating);
            shard.topic(topic).is_some_and(|topic| topic.keys().any(created))
        };
        for (key, creation) in &mut self.creations {
            let Some(descriptor) = shard.descriptor(*key) else { continue };
            let all = descriptor.replicas.len();
            if all - creation.lost.len().min(all) <= all / 2 && key.as_shard().is_none() {
                if !served(key.topic) {
                    hopeless.insert(key.topic);
                }
                continue;
            }
            let reported = descriptor.replicas.iter().filter(|replica| creation.by.contains(replica)).count();
            let waited = now >= creation.since.after(self.grace_us);
            if reported == all || (waited && reported > all / 2) {
                done.entry(key.topic).or_default().push(key.partition);
                // Proposed: if that is lost, reports come again.
                creation.since = now;
                creation.by.clear();
            }
        }
        done.retain(|topic, _| !hopeless.contains(topic));
        let abandoned = hopeless.into_iter().map(|topic| Command::AbandonTopic { topic });
        let created = done.into_iter().map(|(topic, partitions)| Command::MarkCreated { topic, partitions });
        abandoned.chain(created).collect()
    }

    /// When [`due`](Self::due) may have something to say although no report came.
    pub fn next_deadline(&self) -> Option<Time> {
        let waiting = self.creations.values().filter(|creation| !creation.by.is_empty());
        waiting.map(|creation| creation.since.after(self.grace_us)).min()
    }
}

/// The next step from the actual membership towards the desired one, at a partition's leader: strangers among
/// the learners go, missing replicas come as learners, and once any of them caught up it takes its
/// predecessor's place by joint consensus (which leaves by itself). The newcomers of a plan only learn. One change at a time; ask
/// again after each.
///
/// `caught_up` says whether a learner is close enough to the log's end to vote without stalling commits.
///
/// A descriptor that is older than the one which the membership follows, or does not know a member, moves nothing: it would bring back who
/// left.
///
/// It never goes from one voter to two: there, the loss of either would stop the partition, so that a change
/// that meant to make it safer would first make it weaker. It waits until two learners caught up.
pub fn next_change(
    actual: &Membership,
    desired: &Descriptor,
    caught_up: impl Fn(ReplicaId) -> bool,
) -> Option<MembershipChange> {
    let newer = |id: ReplicaId| id.epoch >= desired.next_replica_epoch();
    let old = actual.members().any(newer) || desired.epoch < actual.as_of;
    if actual.is_joint() || (old && !mutant::active(Mutant::OldDescriptorMoves)) {
        return None;
    }
    let target = desired.voters();
    let planned: BTreeSet<ReplicaId> = desired.newcomers().collect();
    let known = |learner: &&ReplicaId| target.contains(learner) || planned.contains(learner);
    if let Some(&stranger) = actual.learners.iter().find(|learner| !known(learner)) {
        return Some(MembershipChange::RemoveLearner(stranger));
    }
    let missing: Vec<ReplicaId> = target.difference(&actual.voters).copied().collect();
    if let Some(&newcomer) = missing.iter().chain(&planned).find(|id| !actual.contains(**id)) {
        return Some(MembershipChange::AddLearner(newcomer));
    }
    let ready: BTreeSet<ReplicaId> = missing.iter().copied().filter(|&id| caught_up(id)).collect();
    let mut stale: BTreeSet<ReplicaId> = actual.voters.difference(&target).copied().collect();
    if ready.len() < missing.len() {
        // Those that are not ready yet keep their predecessors in place.
        for id in &ready {
            let predecessor =
                stale.iter().copied().find(|old| old.node == id.node).or(stale.first().copied());
            if let Some(predecessor) = predecessor {
                stale.remove(&predecessor);
            }
        }
    } else {
        stale.clear();
    }
    let kept = actual.voters.intersection(&target).copied();
    let voters: BTreeSet<ReplicaId> = kept.chain(ready).chain(stale).collect();
    let weaker = actual.voters.len() == 1
        && voters.len() == 2
        && !mesh::mutant::active(mesh::mutant::Mutant::OneToTwo);
    let as_of = desired.epoch.max(actual.as_of);
    (voters != actual.voters && !voters.is_empty() && !weaker)
        .then_some(MembershipChange::Joint { voters, as_of })
}

/// Whether a partition's membership has exactly the replicas that the shard wants.
pub fn is_as_desired(actual: &Membership, desired: &Descriptor) -> bool {
    let learners: BTreeSet<ReplicaId> = desired.newcomers().collect();
    !actual.is_joint() && actual.learners == learners && actual.voters == desired.voters()
}

/// Whether all newcomers of the plan are members that caught up: the shard is to hear of it with [`Report::Arrived`].
pub fn have_arrived(
    committed: &Membership,
    desired: &Descriptor,
    caught_up: impl Fn(ReplicaId) -> bool,
) -> bool {
    !desired.planned.is_empty() && desired.newcomers().all(|id| committed.contains(id) && caught_up(id))
}

/// The replaced triples that the committed membership no longer holds; each is to be reported with
/// [`Report::Replaced`].
pub fn replaced(committed: &Membership, desired: &Descriptor) -> Vec<ReplicaId> {
    desired.leaving.iter().copied().filter(|&id| !committed.contains(id)).collect()
}

#[cfg(test)]
mod tests;
