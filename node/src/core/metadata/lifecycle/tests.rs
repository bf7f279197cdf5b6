use mesh::raft::ReplicaEpoch;

use super::*;
use crate::core::metadata::descriptor::{Founding, ShardId, first_replica, topic_id};
use crate::core::metadata::shard::Outcome;

const ME: NodeId = NodeId(1);
const LIFE: Incarnation = Incarnation(7);

fn triple(node: i32, epoch: u32) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: LIFE, epoch: ReplicaEpoch(epoch) }
}

fn key() -> PartitionKey {
    PartitionKey { topic: topic_id("t", [5; 16]), partition: 0 }
}

/// A partition of the nodes 1, 2 and 3.
fn descriptor(creating: bool) -> Descriptor {
    let replicas = [1, 2, 3].map(|node| triple(node, 1)).to_vec();
    Descriptor { creating, ..Descriptor::founded(key(), replicas, 40) }
}

/// The same after node 1's replica was replaced by `new`.
fn replaced_by(new: ReplicaId) -> Descriptor {
    let mut descriptor = descriptor(false);
    descriptor.replicas[0] = new;
    descriptor.leaving = vec![triple(1, 1)];
    descriptor.fenced = [(ME, ReplicaEpoch(1))].into();
    descriptor
}

fn finished(mut descriptor: Descriptor) -> Descriptor {
    descriptor.leaving.clear();
    descriptor
}

fn local(epoch: u32, standing: Standing) -> Option<LocalReplica> {
    Some(LocalReplica { id: triple(1, epoch), standing })
}

fn check(row: &str, local: Option<LocalReplica>, descriptor: Option<&Descriptor>, wanted: Action) {
    assert_eq!(decide(local, descriptor, ME, LIFE), wanted, "{row}");
}

/// One check or more for each row of the transitions of `ARCHITECTURE.md`.
#[test]
fn the_life_cycle_table() {
    let mine = triple(1, 1);
    let next = triple(1, 2);
    let elsewhere = triple(4, 2);
    let (new, old) = (descriptor(true), descriptor(false));

    check("no log, not named", None, None, Action::Nothing);
    check("no log, others named", None, Some(&replaced_by(elsewhere)), Action::Nothing);
    let found = Action::Found { id: mine, voters: new.voters(), term_floor: 40 };
    check("no log, creating names us", None, Some(&new), found);
    check("no log, created names us as founding voter", None, Some(&old), Action::ReportLost(mine));
    check("no log, a higher epoch names us", None, Some(&replaced_by(next)), Action::Learn(next));
    let reset = Action::Reset(next);
    for standing in [Standing::Suspect, Standing::Member, Standing::Learner, Standing::Removed] {
        check("a log, a higher epoch names us", local(1, standing), Some(&replaced_by(next)), reset.clone());
    }

    check("creating, not yet created", local(1, Standing::Creating), Some(&new), Action::ReportCreated(mine));
    check("creating, created", local(1, Standing::Creating), Some(&old), Action::BecomeMember);
    check("member, all well", local(1, Standing::Member), Some(&old), Action::Nothing);
    check("learner, all well", local(2, Standing::Learner), Some(&replaced_by(next)), Action::Nothing);
    check("suspect, still named", local(1, Standing::Suspect), Some(&old), Action::ReportSuspect(mine));

    let gone = replaced_by(elsewhere);
    for standing in [Standing::Member, Standing::Suspect, Standing::Removed] {
        check("replaced, the group still holds us", local(1, standing), Some(&gone), Action::Nothing);
    }
    let gone = finished(gone);
    for standing in [Standing::Creating, Standing::Member, Standing::Learner] {
        check("replaced, out of the group", local(1, standing), Some(&gone), Action::Retire);
    }
    for standing in [Standing::Removed, Standing::Suspect] {
        check("removed", local(1, standing), Some(&gone), Action::AskRemoval(mine));
    }
    for standing in [Standing::Creating, Standing::Member, Standing::Suspect, Standing::Removed] {
        check("no descriptor", local(1, standing), None, Action::AskRemoval(mine));
    }
}

#[test]
fn an_old_view_changes_nothing() {
    let old = descriptor(false);
    check("our epoch is newer", local(2, Standing::Learner), Some(&old), Action::Nothing);
    let mut before = descriptor(false);
    before.replicas.remove(0);
    check("we are not fenced in it", local(2, Standing::Member), Some(&before), Action::Nothing);
}

#[test]
fn an_emptied_directory_is_another_life() {
    let life = Incarnation(8);
    let mine = triple(1, 1);
    assert_eq!(decide(None, Some(&descriptor(false)), ME, life), Action::ReportLost(mine));
    assert_eq!(decide(None, Some(&descriptor(true)), ME, life), Action::ReportLost(mine));
    let next = ReplicaId { incarnation: life, ..triple(1, 2) };
    assert_eq!(decide(None, Some(&replaced_by(next)), ME, life), Action::Learn(next));
    // A log of the former life, kept: a head start for the replacement.
    let suspect = local(1, Standing::Suspect);
    assert_eq!(decide(suspect, Some(&descriptor(false)), ME, life), Action::ReportLost(mine));
    assert_eq!(decide(suspect, Some(&replaced_by(next)), ME, life), Action::Reset(next));
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_found_where_nobody_may() {
    let founds = |descriptor: &Descriptor, life| {
        matches!(decide(None, Some(descriptor), ME, life), Action::Found { .. })
    };
    mutant::set(Some(Mutant::EmptyReplicaVotes));
    assert!(founds(&descriptor(false), LIFE) && !founds(&descriptor(false), Incarnation(8)));
    mutant::set(Some(Mutant::WipedDiskKeepsIdentity));
    assert!(founds(&descriptor(false), Incarnation(8)));
    mutant::set(None);
    assert!(!founds(&descriptor(false), LIFE));
}

/// A shard with one topic of one partition.
fn shard() -> (Shard, PartitionKey) {
    let id = topic_id("t", [5; 16]);
    let founding = Founding { cluster_id: "c".into(), founders: Vec::new() };
    let mut shard = Shard::founded(ShardId::of_name("t"), &founding);
    let partitions = vec![[1, 2, 3].map(|node| first_replica(NodeId(node), LIFE)).to_vec()];
    let create = Command::CreateTopic { name: "t".into(), id, partitions, configs: BTreeMap::new() };
    assert_eq!(shard.apply(1, &create.encode()), Outcome::Done);
    (shard, PartitionKey { topic: id, partition: 0 })
}

struct Leader {
    shard: Shard,
    repairs: Repairs,
    index: u64,
}

impl Leader {
    fn report(&mut self, now: u64, from: i32, report: Report) -> Option<Command> {
        let lives = |_| Some(LIFE);
        self.repairs.report(Time(now), NodeId(from), report, &self.shard, lives)
    }

    fn apply(&mut self, command: &Command) {
        self.index += 1;
        assert_eq!(self.shard.apply(self.index, &command.encode()), Outcome::Done);
    }
}

#[test]
fn created_needs_all_or_a_majority_and_patience() {
    let (shard, key) = shard();
    let mut leader = Leader { shard, repairs: Repairs::new(100), index: 1 };
    let created = |node| Report::Created { key, replica: triple(node, 1) };
    assert_eq!(leader.report(0, 1, created(1)), None);
    leader.report(0, 1, created(2));
    assert!(leader.repairs.due(Time(500), &leader.shard).is_empty(), "node 1 does not speak for node 2");
    leader.report(10, 2, created(2));
    assert!(leader.repairs.due(Time(99), &leader.shard).is_empty(), "the third may still come");
    assert_eq!(leader.repairs.next_deadline(), Some(Time(100)));
    let done = leader.repairs.due(Time(100), &leader.shard);
    assert_eq!(done, [Command::MarkCreated { topic: key.topic, partitions: vec![0] }]);
    leader.apply(&done[0]);
    assert!(!leader.shard.descriptor(key).expect("there").creating);
    assert!(leader.repairs.due(Time(101), &leader.shard).is_empty());
    assert_eq!(leader.repairs.next_deadline(), None);

    let (shard, _) = self::shard();
    let mut leader = Leader { shard, repairs: Repairs::new(100), index: 1 };
    for node in 1..=3 {
        leader.report(5, node, created(node));
    }
    assert_eq!(leader.repairs.due(Time(5), &leader.shard).len(), 1, "all are there");
}

#[test]
fn a_topic_that_can_never_be_created_is_abandoned() {
    let (shard, key) = shard();
    let mut leader = Leader { shard, repairs: Repairs::new(100), index: 1 };
    let now = Incarnation(8);
    let lost = |node| Report::Lost { key, replica: triple(node, 1), incarnation: now };
    for node in [1, 2] {
        assert!(leader.repairs.due(Time(500), &leader.shard).is_empty(), "two may still report");
        let command = leader.repairs.report(Time(0), NodeId(node), lost(node), &leader.shard, |_| Some(now));
        assert_eq!(command, None, "nothing is replaced while creating");
    }
    let due = leader.repairs.due(Time(0), &leader.shard);
    assert_eq!(due, [Command::AbandonTopic { topic: key.topic }]);
    // What was created meanwhile stays.
    leader.apply(&Command::MarkCreated { topic: key.topic, partitions: vec![0] });
    assert!(matches!(leader.shard.apply(9, &due[0].encode()), Outcome::Refused { .. }));
    assert!(leader.shard.topic(key.topic).is_some());

    let (mut shard, _) = self::shard();
    assert_eq!(shard.apply(2, &due[0].encode()), Outcome::Done);
    assert!(shard.topic(key.topic).is_none() && shard.descriptor(key).is_none());
}

#[test]
fn lost_and_suspect_replicas_are_replaced_and_finished() {
    let (shard, key) = shard();
    let mut leader = Leader { shard, repairs: Repairs::new(100), index: 1 };
    let lost = |epoch| Report::Lost { key, replica: triple(2, epoch), incarnation: LIFE };
    assert_eq!(leader.report(0, 2, lost(1)), None, "not while creating");
    leader.apply(&Command::MarkCreated { topic: key.topic, partitions: vec![0] });
    assert_eq!(leader.report(0, 1, lost(1)), None, "only the node itself");
    let replace = leader.report(0, 2, lost(1)).expect("replaced");
    assert_eq!(replace, Command::ReplaceReplica { key, old: triple(2, 1), new: triple(2, 2) });
    leader.apply(&replace);
    assert_eq!(leader.report(0, 2, lost(1)), None, "it is");
    let suspect = Report::Suspect { key, replica: triple(2, 2), incarnation: LIFE };
    let replace = leader.report(0, 2, suspect).expect("replaced again");
    assert_eq!(replace, Command::ReplaceReplica { key, old: triple(2, 2), new: triple(2, 3) });
    let unknown = Report::Suspect { key, replica: triple(3, 1), incarnation: Incarnation(8) };
    assert_eq!(leader.report(0, 3, unknown), None, "the registry does not know that life");
    let gone = Report::Replaced { key, replica: triple(2, 1) };
    let finish = leader.report(0, 1, gone).expect("finished");
    leader.apply(&finish);
    assert_eq!(leader.report(0, 1, gone), None);
    let term = Report::Term { topic: key.topic, term: 90_000 };
    let raise = leader.report(0, 1, term).expect("raised");
    leader.apply(&raise);
    assert_eq!(leader.report(0, 1, term), None);
}

fn voters(triples: &[(i32, u32)]) -> BTreeSet<ReplicaId> {
    triples.iter().map(|&(node, epoch)| triple(node, epoch)).collect()
}

/// What Raft makes of a change, once its joint phase is over.
fn change(actual: &Membership, change: &MembershipChange) -> Membership {
    let mut next = actual.clone();
    match change {
        MembershipChange::AddLearner(id) => {
            next.learners.insert(*id);
        }
        MembershipChange::RemoveLearner(id) => {
            next.learners.remove(id);
        }
        MembershipChange::Joint { voters, as_of } => {
            next.as_of = *as_of;
            assert!(voters.iter().all(|id| next.contains(*id)), "each is a voter or a learner before");
            next.learners.retain(|id| !voters.contains(id));
            next.voters = voters.clone();
        }
    }
    next
}

fn walk(mut actual: Membership, desired: &Descriptor) -> (Membership, usize) {
    for steps in 0..20 {
        let Some(step) = next_change(&actual, desired, |_| true) else { return (actual, steps) };
        actual = change(&actual, &step);
    }
    panic!("it does not end: {actual:?}");
}

#[test]
fn a_replacement_learns_and_then_takes_its_predecessors_place() {
    let desired = replaced_by(triple(1, 2));
    let actual = Membership::of(voters(&[(1, 1), (2, 1), (3, 1)]));
    let add = next_change(&actual, &desired, |_| false).expect("a learner");
    assert_eq!(add, MembershipChange::AddLearner(triple(1, 2)));
    let actual = change(&actual, &add);
    assert_eq!(next_change(&actual, &desired, |_| false), None, "not before it caught up");
    assert!(replaced(&actual, &desired).is_empty());
    let joint = next_change(&actual, &desired, |_| true).expect("joint");
    assert_eq!(joint, MembershipChange::Joint { voters: voters(&[(1, 2), (2, 1), (3, 1)]), as_of: 1 });
    let actual = change(&actual, &joint);
    assert_eq!(next_change(&actual, &desired, |_| true), None);
    assert_eq!(replaced(&actual, &desired), [triple(1, 1)]);
}

#[test]
fn joint_memberships_are_left_alone_and_strangers_go() {
    let desired = descriptor(false);
    let actual = Membership { outgoing: voters(&[(1, 1)]), ..Membership::of(voters(&[(2, 1)])) };
    assert_eq!(next_change(&actual, &desired, |_| true), None);
    let mut actual = Membership::of(desired.voters());
    actual.learners.insert(triple(9, 1));
    assert_eq!(next_change(&actual, &desired, |_| true), Some(MembershipChange::RemoveLearner(triple(9, 1))));
}

#[test]
fn one_that_is_ready_does_not_wait_for_one_that_is_not() {
    let mut desired = descriptor(false);
    desired.replicas = vec![triple(1, 2), triple(2, 3), triple(3, 1)];
    let mut actual = Membership::of(voters(&[(1, 1), (2, 1), (3, 1)]));
    actual.learners = voters(&[(1, 2), (2, 3)]);
    let step = next_change(&actual, &desired, |id| id == triple(2, 3)).expect("joint");
    assert_eq!(step, MembershipChange::Joint { voters: voters(&[(1, 1), (2, 3), (3, 1)]), as_of: 1 });
    let (end, steps) = walk(change(&actual, &step), &desired);
    assert_eq!((end.voters, steps), (desired.voters(), 1));
}

#[test]
fn one_voter_never_becomes_two() {
    let mut desired = descriptor(false);
    let actual = Membership::of(voters(&[(1, 1)]));
    let mut learning = actual.clone();
    learning.learners = voters(&[(2, 1), (3, 1)]);
    assert_eq!(next_change(&learning, &desired, |id| id == triple(2, 1)), None);
    assert_eq!(walk(actual, &desired).0.voters, desired.voters(), "but three");
    desired.replicas.truncate(2);
    learning.learners = voters(&[(2, 1)]);
    assert_eq!(next_change(&learning, &desired, |_| true), None);
}

#[test]
fn a_descriptor_that_does_not_know_a_member_moves_nothing() {
    let actual = Membership::of(voters(&[(1, 1), (4, 3), (3, 1)]));
    let mut desired = descriptor(false);
    desired.replicas = vec![triple(1, 1), triple(2, 1), triple(3, 1)];
    assert_eq!(next_change(&actual, &desired, |_| true), None, "it is older than the member on node 4");
    desired.fenced = [(NodeId(4), ReplicaEpoch(3))].into();
    assert!(next_change(&actual, &desired, |_| true).is_some());
}

#[test]
fn a_descriptor_from_before_a_replica_was_taken_away_does_not_bring_it_back() {
    let all = descriptor(false);
    let mut fewer = all.clone();
    fewer.assign(vec![triple(1, 1), triple(2, 1)]);
    let (without, _) = walk(Membership::of(all.voters()), &fewer);
    assert_eq!((without.voters.len(), replaced(&without, &fewer)), (2, vec![triple(3, 1)]));
    assert_eq!(next_change(&without, &all, |_| true), None);
}

#[test]
fn what_is_planned_learns_until_the_shard_carries_it_out() {
    let mut desired = descriptor(false);
    desired.plan(vec![triple(1, 1), triple(4, 2), triple(5, 3)]);
    let (learning, _) = walk(Membership::of(voters(&[(1, 1), (2, 1), (3, 1)])), &desired);
    assert_eq!(learning.voters, voters(&[(1, 1), (2, 1), (3, 1)]), "nobody leaves yet");
    assert_eq!(learning.learners, voters(&[(4, 2), (5, 3)]));
    assert!(is_as_desired(&learning, &desired));
    assert!(!have_arrived(&learning, &desired, |id| id.node == NodeId(4)));
    assert!(have_arrived(&learning, &desired, |_| true));
    let mut done = desired.clone();
    done.assign(done.planned.clone());
    assert_eq!(done.leaving, [triple(2, 1), triple(3, 1)]);
    let (end, steps) = walk(learning.clone(), &done);
    assert_eq!((end.voters, end.learners.len(), steps), (done.voters(), 0, 1));
    // Or it is cancelled: the newcomers go, and their triples never come back.
    desired.plan(Vec::new());
    assert_eq!(
        (desired.leaving.clone(), desired.next_replica_epoch()),
        (vec![triple(4, 2), triple(5, 3)], ReplicaEpoch(4))
    );
    let (end, _) = walk(learning, &desired);
    assert_eq!((end.voters, end.learners.len()), (voters(&[(1, 1), (2, 1), (3, 1)]), 0));
}

#[test]
fn every_walk_ends_at_the_desired_voters() {
    let sets: [&[(i32, u32)]; 6] = [
        &[(1, 1), (2, 1), (3, 1)],
        &[(4, 2), (5, 3), (6, 4)],
        &[(1, 2), (2, 3), (3, 4)],
        &[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)],
        &[(1, 1), (4, 2), (3, 1)],
        &[(7, 1), (1, 1), (2, 1)],
    ];
    for from in sets {
        for to in sets {
            let mut desired = descriptor(false);
            desired.replicas = voters(to).into_iter().collect();
            // It knows of every triple that there ever was.
            desired.fenced = [(NodeId(9), ReplicaEpoch(4))].into();
            let (end, _) = walk(Membership::of(voters(from)), &desired);
            assert_eq!((end.voters, end.learners), (voters(to), BTreeSet::new()), "{from:?} to {to:?}");
        }
    }
}
