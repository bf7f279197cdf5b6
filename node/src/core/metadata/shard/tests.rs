use mesh::raft::{Incarnation, ReplicaEpoch};
use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;
use crate::core::metadata::command::TakeOver;
use crate::core::metadata::configs::Operation;
use crate::core::metadata::descriptor::{Founder, first_replica, topic_id};
use crate::core::metadata::quotas::Which;
use crate::core::metadata::view::{Merge, View};

pub(crate) fn founding(nodes: i32) -> Founding {
    let founder = |node: i32| Founder {
        node: NodeId(node),
        incarnation: Incarnation(u64::from(node.unsigned_abs()) * 100),
        peer_id: vec![7, node.to_be_bytes()[3]],
        mesh: format!("n{node}:9192"),
        zone: String::new(),
    };
    Founding { cluster_id: "cluster".into(), founders: (1..=nodes).map(founder).collect() }
}

fn replica(node: i32) -> ReplicaId {
    first_replica(NodeId(node), Incarnation(u64::from(node.unsigned_abs()) * 100))
}

/// A name and an id of the wanted shard.
fn topic_of(shard: ShardId, number: u8) -> (String, TopicId) {
    let name = (0..)
        .map(|salt| format!("t{number}.{salt}"))
        .find(|name| ShardId::of_name(name) == shard)
        .expect("a sixteenth of all names");
    let id = topic_id(&name, [number; 16]);
    (name, id)
}

/// A command drawn from a small world, so that histories collide with themselves.
#[derive(Clone, Debug)]
struct Drawn(Command);

impl Arbitrary for Drawn {
    fn arbitrary(g: &mut Gen) -> Self {
        let draw = |g: &mut Gen, below: u8| u8::arbitrary(g) % below;
        let small = |g: &mut Gen| draw(g, 6);
        let shard = ShardId(draw(g, 2));
        let (name, mut id) = topic_of(shard, draw(g, 3));
        // Some ids are of another life of the topic.
        id.0[0] = draw(g, 2);
        let triple = |g: &mut Gen| ReplicaId {
            node: NodeId(i32::from(draw(g, 4))),
            incarnation: Incarnation(u64::from(draw(g, 3)) * 100),
            epoch: ReplicaEpoch(u32::from(draw(g, 5))),
        };
        let key = match draw(g, 4) {
            0 => PartitionKey::of_shard(ShardId(small(g))),
            _ => PartitionKey { topic: id, partition: i32::from(draw(g, 3)) },
        };
        Self(match draw(g, 34) {
            0 | 1 => Command::RegisterNode(Registration {
                node: bool::arbitrary(g).then(|| NodeId(i32::from(small(g)))),
                incarnation: Incarnation(u64::from(draw(g, 3)) * 100),
                peer_id: vec![7, small(g)],
                kafka: format!("k{}", draw(g, 2)),
                mesh: format!("n{}:9192", small(g)),
                http: String::new(),
                zone: format!("z{}", draw(g, 2)),
                weight: u32::from(draw(g, 4)),
            }),
            2..=4 => Command::CreateTopic {
                name,
                id,
                partitions: (0..=draw(g, 3)).map(|_| vec![replica(1), replica(2), replica(3)]).collect(),
                configs: [("retention.ms".to_owned(), small(g).to_string())].into(),
            },
            5 | 6 => Command::DeleteTopic { id },
            7 => Command::MarkCreated { topic: key.topic, partitions: vec![0, 1] },
            8 | 9 => {
                let old = if bool::arbitrary(g) { replica(1) } else { triple(g) };
                Command::ReplaceReplica { key, old, new: triple(g) }
            }
            10 => Command::FinishReplacement { key, old: triple(g) },
            11 => Command::AllocateProducerIds { node: NodeId(1), count: u32::from(small(g)) },
            13 => Command::AbandonTopic { topic: id },
            16 => Command::SetNodeState {
                node: NodeId(i32::from(draw(g, 4))),
                incarnation: Incarnation(u64::from(draw(g, 3)) * 100),
                state: NodeState::ALL[usize::from(draw(g, 5))],
            },
            17 | 18 => {
                let kept = (1..=i32::from(draw(g, 4))).map(replica);
                let new = (0..draw(g, 2)).map(|_| triple(g)).collect::<Vec<_>>();
                Command::Reassign { key, replicas: kept.chain(new).collect() }
            }
            19 => Command::PauseBalancing(bool::arbitrary(g)),
            20 | 21 => Command::AlterTopicConfigs { topic: id, replace: bool::arbitrary(g), edits: edits(g) },
            24 | 25 => Command::AlterQuota {
                entity: Entity {
                    user: bool::arbitrary(g).then_some(Which::Default),
                    client_id: Some(Which::Named(small(g).to_string())),
                },
                changes: Limit::ALL
                    .into_iter()
                    .map(|limit| (limit, Rate::new(f64::from(draw(g, 3)))))
                    .collect(),
            },
            22 | 23 => Command::AlterNodeConfigs {
                node: bool::arbitrary(g).then(|| NodeId(i32::from(draw(g, 4)))),
                replace: bool::arbitrary(g),
                edits: edits(g),
            },
            26..=28 => {
                let kept = (1..=i32::from(draw(g, 4))).map(replica);
                let new = (0..draw(g, 3)).map(|_| triple(g)).collect::<Vec<_>>();
                Command::PlanReplicas { key, replicas: kept.chain(new).collect() }
            }
            29 => Command::CarryOutPlan { key, epoch: u64::from(draw(g, 5)) },
            30 => Command::CancelPlan { key, epoch: u64::from(draw(g, 5)) },
            31 => Command::TakeOver(TakeOver {
                follows: Incarnation(u64::from(draw(g, 3)) * 100),
                gives_up: bool::arbitrary(g),
                registration: registration(Some(i32::from(small(g))), small(g), u64::from(draw(g, 4)) * 100),
            }),
            32 => {
                let old = if bool::arbitrary(g) { replica(1) } else { triple(g) };
                let new = ReplicaId { epoch: ReplicaEpoch(u32::from(draw(g, 9))), ..old };
                let text = |g: &mut Gen| draw(g, 9).to_string();
                let (by, why, found) = (text(g), text(g), text(g));
                Command::Recover(Recovery { key, old, new, by, why, found, at_ms: i64::arbitrary(g) })
            }
            33 => Command::BeginEra(ReplicaEpoch(u32::from(draw(g, 4)))),
            14 | 15 => Command::AddPartitions {
                topic: id,
                from: i32::from(draw(g, 5)),
                partitions: (0..draw(g, 3)).map(|_| vec![replica(1), triple(g)]).collect(),
            },
            12 => Command::RaiseTermCeiling { topic: id, term: u32::arbitrary(g) >> draw(g, 31) },
            _ => Command::MarkCreated { topic: METADATA_TOPIC, partitions: (0..16).collect() },
        })
    }
}

fn edits(g: &mut Gen) -> Vec<Edit> {
    let edit = |g: &mut Gen| {
        let value = (u8::arbitrary(g) % 3).to_string();
        let operation = match u8::arbitrary(g) % 4 {
            0 => Operation::Set(value),
            1 => Operation::Delete,
            2 => Operation::Append(value),
            _ => Operation::Subtract(value),
        };
        Edit { key: ["retention.ms", "log.retention.ms"][usize::from(bool::arbitrary(g))].into(), operation }
    };
    (0..u8::arbitrary(g) % 3).map(|_| edit(g)).collect()
}

fn apply_all(shard: &mut Shard, commands: &[Drawn]) -> Vec<Outcome> {
    let next = shard.version() + 1;
    // Indexes have gaps, as no-ops and memberships lie between.
    commands.iter().zip(0u64..).map(|(c, at)| shard.apply(next + at * 2, &c.0.encode())).collect()
}

fn view_of(shard: &Shard) -> View {
    let mut view = View::default();
    view.merge(shard.update_since(0));
    view
}

quickcheck! {
    fn commands_survive_their_bytes(command: Drawn) -> bool {
        Command::decode(&command.0.encode()) == Ok(command.0)
    }

    fn hostile_bytes_never_panic(bytes: Vec<u8>, command: Drawn, at: usize, byte: u8) -> bool {
        let mut tagged = vec![1, byte % 29];
        tagged.extend_from_slice(&bytes);
        let mut bent = command.0.encode();
        let at = at % bent.len();
        bent[at] = byte;
        for bytes in [&bytes, &tagged, &bent, &bent[..at].to_vec()] {
            let mut shard = Shard::founded(ShardId(0), &founding(3));
            shard.apply(1, bytes);
            let _ = (ShardUpdate::decode(bytes), Shard::restore(bytes), View::decode(bytes));
        }
        true
    }

    fn bent_snapshots_never_panic(commands: Vec<Drawn>, at: usize, byte: u8, more: Vec<Drawn>) -> bool {
        let mut shard = Shard::founded(ShardId(1), &founding(3));
        apply_all(&mut shard, &commands);
        for bytes in [shard.snapshot(), shard.update_since(0).encode(), view_of(&shard).encode()] {
            let mut bent = bytes;
            let at = at % bent.len();
            bent[at] = byte;
            if let Ok(mut odd) = Shard::restore(&bent) && odd.version() < u64::MAX / 2 {
                apply_all(&mut odd, &more);
            }
            if let Ok(update) = ShardUpdate::decode(&bent) {
                let mut view = view_of(&shard);
                view.merge(update);
            }
            let _ = View::decode(&bent);
        }
        true
    }

    fn two_replicas_end_equal(commands: Vec<Drawn>, cut: usize) -> bool {
        for id in [ShardId(0), ShardId(1)] {
            let mut one = Shard::founded(id, &founding(3));
            let mut two = one.clone();
            let said = apply_all(&mut one, &commands);
            let cut = cut % (commands.len() + 1);
            let mut again = apply_all(&mut two, &commands[..cut]);
            // The second one goes through a snapshot in the middle.
            let mut two = Shard::restore(&two.snapshot()).expect("its own bytes");
            let mut next = 1 + 2 * cut as u64;
            for command in &commands[cut..] {
                again.push(two.apply(next, &command.0.encode()));
                next += 2;
            }
            if one.snapshot() != two.snapshot() || one != two || said != again {
                return false;
            }
        }
        true
    }

    fn full_then_deltas_is_the_full_replay(commands: Vec<Drawn>, steps: Vec<u8>) -> bool {
        for id in [ShardId(0), ShardId(1)] {
            let mut shard = Shard::founded(id, &founding(3));
            let mut view = view_of(&shard);
            let mut rest = &commands[..];
            for step in steps.iter().map(|step| usize::from(step % 7)).chain([commands.len()]) {
                let (now, later) = rest.split_at(step.min(rest.len()));
                rest = later;
                apply_all(&mut shard, now);
                let update = ShardUpdate::decode(&shard.update_since(view.version(id)).encode()).expect("its own");
                if view.merge(update) == Merge::Gap || view != view_of(&shard) {
                    return false;
                }
            }
            let kept = View::decode(&view.encode()).expect("its own bytes");
            if kept != view || view.update_of(id).map(|u| u.version) != Some(shard.version()) {
                return false;
            }
        }
        true
    }

    fn a_refused_command_changes_nothing(commands: Vec<Drawn>) -> bool {
        let mut shard = Shard::founded(ShardId(0), &founding(3));
        commands.iter().zip(1u64..).all(|(command, index)| {
            let version = (u64::from(shard.era) << 32) + index;
            let before = Shard { version, ..shard.clone() };
            let outcome = shard.apply(index, &command.0.encode());
            !matches!(outcome, Outcome::Refused { .. }) || shard == before
        })
    }

    fn epochs_of_replicas_are_never_given_twice(commands: Vec<Drawn>) -> bool {
        let mut shard = Shard::founded(ShardId(0), &founding(3));
        let mut seen: BTreeMap<PartitionKey, BTreeSet<ReplicaId>> = BTreeMap::new();
        commands.iter().zip(1u64..).all(|(command, index)| {
            let before = shard.clone();
            shard.apply(index, &command.0.encode());
            shard.descriptors().all(|descriptor| {
                let old = before.descriptor(descriptor.key);
                let known = seen.entry(descriptor.key).or_default();
                descriptor.replicas.iter().all(|replica| {
                    let kept = old.is_some_and(|old| old.replicas.contains(replica));
                    kept || known.insert(*replica)
                })
            })
        })
    }
}

struct World {
    shard: Shard,
    index: u64,
}

impl World {
    fn new(shard: u8) -> Self {
        Self { shard: Shard::founded(ShardId(shard), &founding(3)), index: 0 }
    }

    fn ask(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        self.shard.apply(self.index, &command.encode())
    }

    fn create(&mut self, number: u8) -> (String, TopicId, Outcome) {
        let (name, id) = topic_of(self.shard.id(), number);
        let partitions = vec![vec![replica(1), replica(2), replica(3)]; 2];
        let configs = BTreeMap::new();
        let outcome = self.ask(&Command::CreateTopic { name: name.clone(), id, partitions, configs });
        (name, id, outcome)
    }

    fn refusal(&mut self, command: &Command) -> (ErrorCode, String) {
        match self.ask(command) {
            Outcome::Refused { error, message } => (error, message),
            outcome => panic!("{command:?} was not refused: {outcome:?}"),
        }
    }
}

fn registration(node: Option<i32>, peer: u8, incarnation: u64) -> Registration {
    Registration {
        node: node.map(NodeId),
        incarnation: Incarnation(incarnation),
        peer_id: vec![7, peer],
        kafka: format!("h{peer}:9092"),
        mesh: format!("n{peer}:9192"),
        http: String::new(),
        zone: String::new(),
        weight: 1,
    }
}

#[test]
fn a_name_is_given_once() {
    let mut world = World::new(3);
    let (name, id, outcome) = world.create(1);
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(world.create(1).2, Outcome::Done, "the same command again");
    let other = topic_id(&name, [9; 16]);
    let again = Command::CreateTopic {
        name: name.clone(),
        id: other,
        partitions: vec![vec![replica(1)]],
        configs: BTreeMap::new(),
    };
    assert_eq!(world.refusal(&again).0, ErrorCode::TopicAlreadyExists);
    assert_eq!(world.shard.topic_named(&name).expect("created").id, id);
    assert_eq!(world.shard.descriptors().count(), 2);
}

#[test]
fn a_topic_created_again_begins_above_the_old_ones_terms() {
    let mut world = World::new(3);
    let (name, id, _) = world.create(1);
    assert_eq!(world.shard.topic(id).expect("created").term_floor, 0);
    world.ask(&Command::RaiseTermCeiling { topic: id, term: 5000 });
    assert_eq!(world.ask(&Command::DeleteTopic { id }), Outcome::Done);
    assert_eq!(world.ask(&Command::DeleteTopic { id }), Outcome::Done, "the same command again");
    let next = topic_id(&name, [9; 16]);
    let partitions = vec![vec![replica(1)]];
    let again = Command::CreateTopic { name, id: next, partitions, configs: BTreeMap::new() };
    assert_eq!(world.ask(&again), Outcome::Done);
    let topic = world.shard.topic(next).expect("created");
    assert!(topic.term_floor > 5000 && topic.term_ceiling > topic.term_floor);
    let key = PartitionKey { topic: next, partition: 0 };
    assert_eq!(world.shard.descriptor(key).expect("created").term_floor, topic.term_floor);
    // An id is not used twice.
    let (_, _, outcome) = world.create(1);
    assert!(matches!(outcome, Outcome::Refused { .. }));
}

#[test]
fn a_topic_of_another_shard_is_refused() {
    let mut world = World::new(3);
    let (name, id) = topic_of(ShardId(4), 1);
    let create =
        Command::CreateTopic { name, id, partitions: vec![vec![replica(1)]], configs: BTreeMap::new() };
    assert_eq!(world.refusal(&create).0, ErrorCode::InvalidRequest);
}

#[test]
fn a_replacement_fences_and_removal_waits_for_the_group() {
    let mut world = World::new(3);
    let (_, topic, _) = world.create(1);
    let key = PartitionKey { topic, partition: 1 };
    let old = replica(2);
    let new = ReplicaId { epoch: ReplicaEpoch(2), ..old };
    let replace = Command::ReplaceReplica { key, old, new };
    assert!(world.refusal(&replace).1.contains("being created"));
    world.ask(&Command::MarkCreated { topic, partitions: vec![0, 1] });
    let skipped = ReplicaId { epoch: ReplicaEpoch(3), ..old };
    world.refusal(&Command::ReplaceReplica { key, old, new: skipped });
    let taken = ReplicaId { epoch: ReplicaEpoch(2), ..replica(1) };
    world.refusal(&Command::ReplaceReplica { key, old, new: taken });
    assert_eq!(world.ask(&replace), Outcome::Done);
    assert_eq!(world.ask(&replace), Outcome::Done, "the same command again");
    let descriptor = world.shard.descriptor(key).expect("created");
    assert_eq!(descriptor.replicas, [replica(1), new, replica(3)]);
    assert_eq!(descriptor.fenced, [(NodeId(2), ReplicaEpoch(1))].into());
    assert!(!world.shard.confirms_removal(key, old), "the group may still hold it");
    world.ask(&Command::FinishReplacement { key, old });
    assert!(world.shard.confirms_removal(key, old));
    assert!(!world.shard.confirms_removal(key, new));
    // Moved to another node and back: the epoch is above all that were.
    let moved = ReplicaId { epoch: ReplicaEpoch(3), ..replica(4) };
    assert_eq!(world.ask(&Command::ReplaceReplica { key, old: new, new: moved }), Outcome::Done);
    let back = ReplicaId { epoch: ReplicaEpoch(4), ..replica(2) };
    assert_eq!(world.ask(&Command::ReplaceReplica { key, old: moved, new: back }), Outcome::Done);
    world.ask(&Command::DeleteTopic { id: topic });
    assert!(world.shard.confirms_removal(key, back));
    let elsewhere = PartitionKey { topic: topic_of(ShardId(4), 1).1, partition: 0 };
    assert!(!world.shard.confirms_removal(elsewhere, back), "not its to say");
}

#[test]
fn a_plan_is_carried_out_or_cancelled_and_hurts_nobody_before() {
    let mut world = World::new(3);
    let (_, topic, _) = world.create(1);
    let key = PartitionKey { topic, partition: 1 };
    let new = |node: i32, epoch: u32| ReplicaId { epoch: ReplicaEpoch(epoch), ..replica(node) };
    let plan = |replicas: &[ReplicaId]| Command::PlanReplicas { key, replicas: replicas.to_vec() };
    let all = [replica(1), replica(2), replica(3)];
    assert!(world.refusal(&plan(&[replica(1), new(4, 2), replica(3)])).1.contains("being created"));
    world.ask(&Command::MarkCreated { topic, partitions: vec![0, 1] });
    let of = |world: &World| world.shard.descriptor(key).expect("created").clone();
    assert_eq!(world.refusal(&plan(&[])).0, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        world.refusal(&plan(&[replica(1), new(4, 3)])).0,
        ErrorCode::InvalidRequest,
        "a skipped epoch"
    );

    assert_eq!(world.ask(&plan(&[new(4, 2), replica(1), new(5, 3)])), Outcome::Done);
    assert_eq!(
        world.ask(&plan(&[new(4, 2), replica(1), new(5, 3)])),
        Outcome::Done,
        "the same command again"
    );
    let planned = of(&world);
    assert_eq!((planned.replicas.as_slice(), planned.leaving.len()), (&all[..], 0));
    assert!(planned.names(new(4, 2)) && planned.names(replica(2)));
    assert!(!world.shard.confirms_removal(key, new(5, 3)));
    assert_eq!(Shard::restore(&world.shard.snapshot()).as_ref(), Ok(&world.shard));
    let view = view_of(&world.shard);
    assert_eq!(View::decode(&view.encode()), Ok(view));
    assert_eq!(
        world.refusal(&Command::Reassign { key, replicas: vec![replica(2), replica(1), replica(3)] }).0,
        ErrorCode::ReassignmentInProgress
    );

    // A newcomer that lost its disk is replaced within the plan.
    assert_eq!(world.ask(&Command::ReplaceReplica { key, old: new(5, 3), new: new(5, 4) }), Outcome::Done);
    assert_eq!(
        (of(&world).planned, of(&world).leaving),
        (vec![new(4, 2), replica(1), new(5, 4)], vec![new(5, 3)])
    );
    // Another plan in its place: who is in both goes on.
    assert_eq!(world.ask(&plan(&[replica(1), new(4, 2), replica(3)])), Outcome::Done);
    assert_eq!(of(&world).leaving, [new(5, 3), new(5, 4)]);

    let epoch = of(&world).epoch;
    assert!(matches!(world.ask(&Command::CarryOutPlan { key, epoch: epoch - 1 }), Outcome::Refused { .. }));
    assert_eq!(world.ask(&Command::CarryOutPlan { key, epoch }), Outcome::Done);
    let done = of(&world);
    assert_eq!((done.replicas, done.planned.len()), (vec![replica(1), new(4, 2), replica(3)], 0));
    assert!(done.leaving.contains(&replica(2)) && done.fenced[&NodeId(2)] == ReplicaEpoch(1));

    let epoch = of(&world).epoch;
    assert_eq!(world.refusal(&Command::CancelPlan { key, epoch }).0, ErrorCode::NoReassignmentInProgress);
    world.ask(&plan(&[replica(1), new(4, 2), replica(3), new(6, 5)]));
    let epoch = of(&world).epoch;
    assert_eq!(world.ask(&Command::CancelPlan { key, epoch }), Outcome::Done);
    assert_eq!((of(&world).replicas.len(), of(&world).planned.len()), (3, 0));
    assert!(of(&world).leaving.contains(&new(6, 5)) && !of(&world).leaving.contains(&new(4, 2)));
    // Fewer replicas need nobody to learn.
    world.ask(&plan(&[replica(1)]));
    assert_eq!((of(&world).replicas, of(&world).planned.len()), (vec![replica(1)], 0));
    assert_eq!(world.refusal(&plan(&[replica(1), new(2, 6)])).0, ErrorCode::InvalidReplicationFactor);
}

#[test]
fn nodes_register_and_impostors_are_told_what_to_do() {
    let mut world = World::new(0);
    let register = |node, peer, incarnation| Command::RegisterNode(registration(node, peer, incarnation));
    assert_eq!(
        world.ask(&register(None, 2, 200)),
        Outcome::Registered { node: NodeId(2) },
        "a founder starts"
    );
    assert_eq!(world.ask(&register(None, 9, 1)), Outcome::Registered { node: NodeId(4) }, "one joins");
    assert_eq!(world.ask(&register(None, 9, 1)), Outcome::Registered { node: NodeId(4) }, "and asks again");
    assert_eq!(world.shard.nodes().count(), 4);

    let mut empty = registration(None, 8, 5);
    empty.mesh = "n2:9192".into();
    let (error, message) = world.refusal(&Command::RegisterNode(empty));
    assert_eq!(
        error,
        ErrorCode::NotController,
        "asked through one that would have asked for its number, had it known"
    );
    assert!(message.contains("node 2"), "{message}");
    let (_, message) = world.refusal(&register(Some(2), 8, 5));
    assert!(message.contains("another identity"), "{message}");
    let (_, message) = world.refusal(&register(Some(77), 8, 5));
    assert!(message.contains("not of this cluster"), "{message}");

    assert_eq!(
        world.ask(&register(Some(2), 2, 201)),
        Outcome::Registered { node: NodeId(2) },
        "another life"
    );
    let (_, message) = world.refusal(&register(Some(2), 2, 200));
    assert!(message.contains("old copy"), "{message}");
    world.refusal(&Command::RegisterNode(Registration { weight: 0, ..registration(None, 11, 1) }));
    assert!(matches!(World::new(1).ask(&register(None, 2, 200)), Outcome::Refused { .. }));
}

#[test]
fn a_number_goes_over_once_and_never_back() {
    let mut world = World::new(0);
    let wish = |follows, peer, incarnation| {
        let registration =
            Registration { mesh: "n2:9192".into(), ..registration(Some(2), peer, incarnation) };
        Command::TakeOver(TakeOver { follows: Incarnation(follows), gives_up: false, registration })
    };
    world.refusal(&wish(199, 40, 1));
    assert_eq!(world.ask(&wish(200, 40, 1)), Outcome::Registered { node: NodeId(2) });
    assert_eq!(world.ask(&wish(200, 40, 1)), Outcome::Registered { node: NodeId(2) }, "asked again");
    let (error, _) = world.refusal(&wish(200, 41, 2));
    assert_eq!(error, ErrorCode::NotController, "another was first");
    let known = world.shard.nodes().find(|info| info.node == NodeId(2)).cloned().expect("a founder");
    assert!(known.is_outlived(&[7, 2], Incarnation(9)) && known.is_outlived(&[9], Incarnation(200)));
    assert_eq!((known.incarnation, known.former.len()), (Incarnation(1), 1));
    // The old directory comes back, as itself and as somebody new.
    for node in [Some(2), None] {
        let (_, message) = world.refusal(&Command::RegisterNode(registration(node, 2, 200)));
        assert!(message.contains("lives in another data directory since"), "{message}");
    }
    let (_, message) = world.refusal(&wish(1, 2, 300));
    assert!(message.contains("lives in another data directory since"), "{message}");
    world.refusal(&wish(1, 3, 300));
    let restored = Shard::restore(&world.shard.snapshot()).expect("its own bytes");
    assert_eq!(restored, world.shard);
}

#[test]
fn a_lost_majority_is_given_up_and_its_triples_are_fenced() {
    let mut world = World::new(3);
    let (_, topic, _) = world.create(1);
    let key = PartitionKey { topic, partition: 0 };
    world.ask(&Command::MarkCreated { topic, partitions: vec![0] });
    let (old, text) = (replica(2), || "x".to_owned());
    let recovery = |epoch| {
        let new = ReplicaId { epoch: ReplicaEpoch(epoch), ..old };
        Recovery { key, old, new, by: text(), why: text(), found: text(), at_ms: 5 }
    };
    world.refusal(&Command::Recover(recovery(1)));
    world.refusal(&Command::Recover(Recovery { old: replica(4), ..recovery(2) }));
    assert_eq!(world.ask(&Command::Recover(recovery(2))), Outcome::Done);
    assert_eq!(world.ask(&Command::Recover(recovery(2))), Outcome::Done, "asked again");
    let descriptor = world.shard.descriptor(key).expect("created");
    let epochs: Vec<(i32, u32)> = descriptor.replicas.iter().map(|id| (id.node.0, id.epoch.0)).collect();
    assert_eq!(epochs, [(2, 2), (1, 3), (3, 4)]);
    assert_eq!(descriptor.alone, Some(recovery(2).new));
    assert!((1..=3).all(|node| descriptor.fenced.get(&NodeId(node)) == Some(&ReplicaEpoch(1))));
    assert_eq!(world.shard.recoveries().count(), 1);
    assert_eq!(Shard::restore(&world.shard.snapshot()).expect("its own bytes"), world.shard);
    assert_eq!(view_of(&world.shard).recoveries().count(), 1);
    // Who begins alone may be replaced like any other; then nobody begins alone any more.
    let moved = ReplicaId { epoch: ReplicaEpoch(5), ..replica(4) };
    world.ask(&Command::ReplaceReplica { key, old: recovery(2).new, new: moved });
    assert_eq!(world.shard.descriptor(key).expect("created").alone, None);
}

#[test]
fn what_a_shard_says_after_it_began_anew_is_newer_than_what_a_lost_majority_said() {
    let (mut survivor, mut lost) = (World::new(3), World::new(3));
    let mut view = view_of(&survivor.shard);
    (0..9).for_each(|number| _ = lost.create(number));
    view.merge(lost.shard.update_since(0));
    survivor.ask(&Command::BeginEra(ReplicaEpoch(2)));
    // Whoever asks for what came after a version of the lost majority gets everything.
    let told = survivor.shard.update_since(view.version(survivor.shard.id()));
    assert!(matches!(view.merge(told), Merge::Changed { .. }));
    assert_eq!(view.topics().count(), 0);
    assert_eq!(view.merge(lost.shard.update_since(0)), Merge::Current);
    let version = view.version(survivor.shard.id());
    survivor.create(1);
    assert_eq!(survivor.shard.update_since(version).from, version, "in one era only what is new is told");
}

#[test]
fn partitions_and_configs_that_only_a_lost_majority_knew_are_forgotten() {
    let (mut survivor, mut lost) = (World::new(0), World::new(0));
    let (_, topic, _) = survivor.create(1);
    lost.create(1);
    let partitions = vec![vec![replica(1), replica(2), replica(3)]; 2];
    lost.ask(&Command::AddPartitions { topic, from: 2, partitions });
    let edits = vec![Edit { key: "log.retention.ms".into(), operation: Operation::Set("60000".into()) }];
    lost.ask(&Command::AlterNodeConfigs { node: Some(NodeId(2)), replace: false, edits });
    let mut view = view_of(&lost.shard);
    assert_eq!(view.partitions(topic).count(), 4);
    assert!(!view.node_configs(NodeId(2)).is_empty());
    survivor.ask(&Command::BeginEra(ReplicaEpoch(2)));
    view.merge(survivor.shard.update_since(view.version(ShardId(0))));
    assert_eq!(view, view_of(&survivor.shard));
    assert_eq!(view.partitions(topic).count(), 2);
}

#[test]
fn producer_ids_are_of_their_shard_and_never_twice() {
    let mut world = World::new(5);
    let take = |count| Command::AllocateProducerIds { node: NodeId(1), count };
    assert_eq!(world.ask(&take(1000)), Outcome::ProducerIds { first: 5 << 48, count: 1000 });
    assert_eq!(world.ask(&take(10)), Outcome::ProducerIds { first: (5 << 48) + 1000, count: 10 });
    world.refusal(&take(0));
    world.refusal(&take(u32::MAX));
}

#[test]
fn shards_are_led_in_turns_and_three_voters_from_the_start() {
    let shard = Shard::founded(ShardId(0), &founding(3));
    let mut led: BTreeMap<NodeId, u32> = BTreeMap::new();
    for id in ShardId::all() {
        let descriptor = shard.descriptor(PartitionKey::of_shard(id)).expect("founded");
        assert!(descriptor.creating && descriptor.replicas.len() == 3);
        *led.entry(descriptor.replicas[0].node).or_default() += 1;
    }
    assert!(led.values().all(|count| (5..=6).contains(count)), "{led:?}");
    assert_eq!(Shard::founded(ShardId(0), &founding(1)).descriptors().count(), 16);
    assert_eq!(Shard::founded(ShardId(1), &founding(3)).descriptors().count(), 0);
}

#[test]
fn a_view_far_behind_gets_everything() {
    let mut world = World::new(3);
    world.create(1);
    let view = view_of(&world.shard);
    for number in 0..=255u8 {
        for life in 0..5u8 {
            let (name, _) = topic_of(ShardId(3), number);
            let id = topic_id(&name, [life + 100; 16]);
            let mut id = id;
            id.0[1] = number;
            let partitions = vec![vec![replica(1)]];
            world.ask(&Command::CreateTopic { name, id, partitions, configs: BTreeMap::new() });
            world.ask(&Command::DeleteTopic { id });
        }
    }
    let update = world.shard.update_since(view.version(ShardId(3)));
    assert_eq!(update.from, 0, "more deletions than are remembered");
    let mut late = view.clone();
    assert!(matches!(late.merge(update), Merge::Changed { .. }));
    assert_eq!(late, view_of(&world.shard));
    let near = world.shard.update_since(world.shard.version() - 10);
    assert_ne!(near.from, 0);
    assert_eq!(view.clone().merge(near), Merge::Gap);
    assert_eq!(late.merge(world.shard.update_since(0)), Merge::Current);
}

#[test]
fn the_state_of_an_earlier_format_is_read() {
    let mut world = World::new(0);
    let set = Edit { key: "log.retention.ms".into(), operation: Operation::Set("5".into()) };
    let edits = vec![set];
    assert_eq!(world.ask(&Command::AlterNodeConfigs { node: None, replace: false, edits }), Outcome::Done);
    let view = view_of(&world.shard);
    assert_eq!(view.cluster_configs()["log.retention.ms"], "5");
    assert_eq!(view_of(&Shard::restore(&world.shard.snapshot()).expect("its own")), view);
    // Format 2 ends where the sections begin.
    world.shard.configs.clear();
    let mut earlier = world.shard.snapshot();
    earlier[0] = 3;
    assert_eq!(Shard::restore(&earlier), Ok(world.shard.clone()));
    assert_eq!(earlier.split_off(earlier.len() - 4), [0; 4]);
    earlier[0] = 2;
    assert_eq!(Shard::restore(&earlier), Ok(world.shard.clone()));
    let mut other = world.shard.snapshot();
    other[0] = 5;
    assert_eq!(Shard::restore(&other), Err(super::super::DecodeError::Unknown(5)));
    assert_eq!(view.clone().merge(world.shard.update_since(0)), Merge::Current);
    let mut empty = View::decode(&view.encode()).expect("its own");
    assert_eq!(empty, view);
    assert_eq!(empty.merge(world.shard.update_since(0)), Merge::Current);
}
