use super::super::record::Addresses;
use super::*;
use quickcheck::quickcheck;
use std::collections::VecDeque;

/// Founders, their disks and the messages between them. A write is synced when its event is taken, in order.
struct World {
    seeds: Vec<String>,
    nodes: Vec<Machine>,
    network: VecDeque<(usize, usize, Message)>,
    founded: BTreeSet<[u8; 32]>,
}

struct Machine {
    own: Seed,
    disk: Option<Vec<u8>>,
    writing: VecDeque<Vec<u8>>,
    founder: Option<Founder>,
    outcome: Option<Outcome>,
    failed: Option<FoundingError>,
}

fn seed(n: usize, life: u8) -> Seed {
    let n = u8::try_from(n).unwrap();
    // Ranks of peer ids run against the order of addresses.
    let peer_id = [vec![0; 30], vec![100 - n, life, 0, 0, 0, 0]].concat();
    let addresses =
        Addresses { mesh: format!("host-{n}:9192"), kafka: format!("k{n}:1"), http: String::new() };
    Seed { peer_id, incarnation: 1000 + u64::from(n) * 10 + u64::from(life), addresses, zone: String::new() }
}

impl World {
    fn new(count: usize) -> World {
        let own: Vec<Seed> = (0..count).map(|n| seed(n, 0)).collect();
        let seeds = own.iter().map(|seed| seed.addresses.mesh.clone()).collect();
        let nodes = own.into_iter().map(Machine::new).collect();
        let mut world = World { seeds, nodes, network: VecDeque::new(), founded: BTreeSet::new() };
        (0..count).for_each(|n| world.start(n));
        world
    }

    fn index(&self, peer_id: &[u8]) -> Option<usize> {
        self.nodes.iter().position(|node| node.founder.is_some() && node.own.peer_id == peer_id)
    }

    fn start(&mut self, n: usize) {
        self.start_with(n, &self.seeds.clone());
    }

    fn start_with(&mut self, n: usize, seeds: &[String]) {
        let node = &mut self.nodes[n];
        let (founder, effects) = Founder::new(node.own.clone(), seeds, node.disk.as_deref()).unwrap();
        node.founder = Some(founder);
        node.outcome = None;
        self.take(n, effects);
        for other in (0..self.nodes.len()).filter(|other| *other != n) {
            if self.nodes[other].founder.is_some() {
                let peer_id = self.nodes[other].own.peer_id.clone();
                self.step(n, Input::Connected { peer_id });
                let peer_id = self.nodes[n].own.peer_id.clone();
                self.step(other, Input::Connected { peer_id });
            }
        }
    }

    /// Ends a process. What it was writing is on the disk or is not.
    fn crash(&mut self, n: usize, written: bool) {
        let node = &mut self.nodes[n];
        if let Some(last) = node.writing.drain(..).next_back()
            && written
        {
            node.disk = Some(last);
        }
        node.founder = None;
        self.network.retain(|(from, to, _)| *from != n && *to != n);
        let peer_id = self.nodes[n].own.peer_id.clone();
        for other in (0..self.nodes.len()).filter(|other| *other != n) {
            self.step(other, Input::Disconnected { peer_id: peer_id.clone() });
        }
    }

    /// Ends a process and empties its directory.
    fn wipe(&mut self, n: usize, life: u8) {
        self.crash(n, false);
        self.nodes[n] = Machine::new(seed(n, life));
        self.start(n);
    }

    fn step(&mut self, n: usize, input: Input) {
        if let Some(founder) = &mut self.nodes[n].founder {
            let effects = founder.step(input);
            self.take(n, effects);
        }
    }

    fn take(&mut self, n: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Record(bytes) => self.nodes[n].writing.push_back(bytes),
                Effect::Send { to, message } => {
                    let message = Message::decode(&message.encode()).unwrap();
                    if let Some(to) = self.index(&to) {
                        self.network.push_back((n, to, message));
                    }
                }
                Effect::Outcome(outcome) => {
                    if let Outcome::Founded(record) = &outcome {
                        self.check_founded(n, record);
                    }
                    self.nodes[n].outcome = Some(outcome);
                }
                Effect::Failed(error) => self.nodes[n].failed = Some(error),
            }
        }
    }

    /// Whoever is founded has it on disk, and every seed of the set that still has its directory holds that
    /// set.
    fn check_founded(&mut self, n: usize, record: &FoundingRecord) {
        let own = Recorded::decode(self.nodes[n].disk.as_ref().unwrap()).unwrap();
        assert!(own.founded && own.record.cluster_id == record.cluster_id);
        for node in &self.nodes {
            if record.node_of(&node.own.peer_id).is_some() {
                let theirs = Recorded::decode(node.disk.as_ref().expect("accepted, so recorded")).unwrap();
                assert_eq!(theirs.record.cluster_id, record.cluster_id);
            }
        }
        self.founded.insert(record.cluster_id);
        assert_eq!(self.founded.len(), 1, "one founding set, one cluster");
    }

    fn sync(&mut self, n: usize) -> bool {
        let Some(bytes) = self.nodes[n].writing.pop_front() else { return false };
        self.nodes[n].disk = Some(bytes);
        self.step(n, Input::Recorded);
        true
    }

    fn deliver(&mut self, at: usize) -> bool {
        let Some((from, to, message)) = self.network.remove(at) else { return false };
        let from = self.nodes[from].own.peer_id.clone();
        self.step(to, Input::Message { from, message });
        true
    }

    /// One event, in a fixed order: a delivery, or else a sync. False when nothing is left.
    fn turn(&mut self) -> bool {
        self.deliver(0) || (0..self.nodes.len()).any(|n| self.sync(n))
    }

    /// Runs without further faults.
    fn settle(&mut self) {
        for _ in 0..6 {
            (0..self.nodes.len()).for_each(|n| self.step(n, Input::Tick));
            while self.turn() {}
        }
    }

    fn assert_founded(&self) {
        for node in &self.nodes {
            assert_eq!(node.failed, None);
            assert!(matches!(node.outcome, Some(Outcome::Founded(_))), "{:?}", node.founder);
        }
    }

    fn failure(&self, n: usize) -> String {
        self.nodes[n].failed.as_ref().expect("failed").to_string()
    }
}

impl Machine {
    fn new(own: Seed) -> Machine {
        Machine { own, disk: None, writing: VecDeque::new(), founder: None, outcome: None, failed: None }
    }
}

#[test]
fn three_seeds_found_one_cluster() {
    let mut world = World::new(3);
    world.settle();
    world.assert_founded();
    let Some(Outcome::Founded(record)) = &world.nodes[0].outcome else { panic!("founded") };
    assert_eq!(record.node_of(&world.nodes[2].own.peer_id).unwrap().node_id, 1);
    assert_eq!(record.node_of(&world.nodes[0].own.peer_id).unwrap().node_id, 3);
    assert_eq!(record.shards, METADATA_SHARDS);
}

#[test]
fn a_lone_node_founds_itself_with_one_write() {
    let mut world = World::new(1);
    assert_eq!(world.nodes[0].writing.len(), 1);
    assert_eq!(world.nodes[0].outcome, None, "nothing is founded before it is synced");
    world.settle();
    world.assert_founded();
    let (founder, _) = Founder::new(seed(4, 0), &[], None).unwrap();
    assert_eq!(founder.missing().count(), 0);
}

/// Every crash point of a run, alone and followed by each later one of any node, with the write done or not.
#[test]
fn founding_survives_every_pair_of_crashes() {
    let mut turns = 0;
    let mut world = World::new(3);
    while world.turn() {
        turns += 1;
    }
    for first in 0..turns {
        for choice in 0..6 {
            for second in (0..turns).step_by(2) {
                for other in 0..6 {
                    let mut world = World::new(3);
                    for (after, choice) in [(first, choice), (second, other)] {
                        (0..after).for_each(|_| {
                            world.turn();
                        });
                        world.crash(choice % 3, choice >= 3);
                        world.start(choice % 3);
                    }
                    world.settle();
                    world.assert_founded();
                }
            }
        }
    }
}

quickcheck! {
    /// Messages lost, repeated and out of order, crashes of any node at any time, some down for long.
    fn founding_survives_any_schedule(choices: Vec<(u8, u8)>, count: u8) -> bool {
        let count = 2 + usize::from(count % 3);
        let mut world = World::new(count);
        for (what, which) in choices {
            let (n, at) = (usize::from(which) % count, usize::from(which) % world.network.len().max(1));
            match what % 16 {
                0..=5 => drop(world.deliver(at)),
                6 => drop(world.network.remove(at)),
                7 => if let Some(copy) = world.network.get(at).cloned() { world.network.push_back(copy) },
                8..=11 => drop(world.sync(n)),
                12 => world.step(n, Input::Tick),
                13 | 14 => world.crash(n, which >= 128),
                _ => if world.nodes[n].founder.is_none() { world.start(n) },
            }
        }
        for n in 0..count {
            if world.nodes[n].founder.is_none() {
                world.start(n);
            }
        }
        world.settle();
        world.assert_founded();
        true
    }

    /// A seed emptied at any time: never two clusters, and never silence. Everyone is founded, or told what
    /// to do.
    fn an_emptied_seed_is_named(turns: u8, victim: u8) -> bool {
        let victim = usize::from(victim % 3);
        let mut world = World::new(3);
        for _ in 0..turns % 64 {
            world.turn();
        }
        world.wipe(victim, 1);
        world.settle();
        world.nodes.iter().all(|node| match (&node.failed, &node.outcome) {
            (Some(FoundingError::SeedReplaced { .. } | FoundingError::SetsDiffer { .. }), _) => true,
            // It asks for the number of its address.
            (None, Some(Outcome::Join { .. })) => !world.founded.is_empty(),
            (None, Some(Outcome::Founded(_))) => true,
            _ => false,
        })
    }
}

/// Runs until node 0 has recorded the set, while nobody else has.
fn half_way() -> World {
    let mut world = World::new(3);
    while world.deliver(0) {}
    assert!(world.sync(0));
    world
}

#[test]
fn a_seed_emptied_half_way_says_which_directories_to_delete() {
    let mut world = half_way();
    world.wipe(2, 1);
    world.settle();
    for n in [0, 2] {
        let failure = world.failure(n);
        assert!(failure.contains("host-2:9192") && failure.contains("those at host-0:9192"), "{failure}");
    }
    // Doing what it says helps.
    for n in 0..3 {
        world.crash(n, true);
        world.nodes[n].failed = None;
    }
    for n in [0, 1] {
        world.nodes[n] = Machine::new(seed(n, 2));
    }
    (0..3).for_each(|n| world.start(n));
    world.settle();
    world.assert_founded();
}

#[test]
fn an_empty_directory_at_a_known_address_asks_for_its_number_once_founded() {
    let mut world = World::new(3);
    world.settle();
    world.wipe(1, 1);
    world.settle();
    assert!(matches!(&world.nodes[1].outcome, Some(Outcome::Join { address }) if address != "host-1:9192"));
    // The same identity has lost parts of its directory.
    let mut world = World::new(3);
    world.settle();
    world.crash(1, false);
    world.nodes[1] = Machine::new(Seed { incarnation: 5, ..seed(1, 0) });
    world.start(1);
    world.settle();
    assert!(matches!(world.nodes[1].failed, Some(FoundingError::RecordLost { node_id: 2, .. })));
}

#[test]
fn others_join_what_is_founded() {
    let mut world = World::new(2);
    world.settle();
    let with_itself = vec!["host-0:9192".to_string(), "host-1:9192".into(), "host-2:9192".into()];
    for (n, seeds) in [(2, with_itself.clone()), (3, with_itself)] {
        world.nodes.push(Machine::new(seed(n, 0)));
        world.start_with(n, &seeds);
        world.settle();
        let Some(Outcome::Join { address }) = &world.nodes[n].outcome else { panic!("joins") };
        assert!(["host-0:9192", "host-1:9192"].contains(&address.as_str()));
    }
}

#[test]
fn wrong_lists_and_copies_are_named() {
    let mut world = World::new(3);
    world.crash(1, false);
    world.start_with(1, &["host-0:9192".into(), "host-1:9192".into()]);
    world.settle();
    assert!(world.failure(0).contains("host-0:9192,host-1:9192,host-2:9192"), "{}", world.failure(0));
    assert!(matches!(world.nodes[1].failed, Some(FoundingError::SeedsDiffer { .. })));

    let mut world = World::new(3);
    world.crash(2, false);
    let copied = Seed { addresses: seed(2, 0).addresses, ..seed(1, 0) };
    let Some(founder) = &mut world.nodes[0].founder else { panic!("runs") };
    let from = copied.peer_id.clone();
    let seeds = world.seeds.clone();
    founder.step(Input::Message {
        from: from.clone(),
        message: Message { seed: seed(1, 0), seeds: seeds.clone(), stage: Stage::Gathering },
    });
    let message = Message { seed: copied, seeds, stage: Stage::Gathering };
    let effects = founder.step(Input::Message { from, message });
    assert!(
        matches!(effects.last(), Some(Effect::Failed(FoundingError::SameIdentity { .. }))),
        "{effects:?}"
    );
}

#[test]
fn a_record_of_another_directory_is_refused() {
    let mut world = World::new(3);
    world.settle();
    let disk = world.nodes[0].disk.clone();
    let mixed =
        |own: Seed| matches!(Founder::new(own, &[], disk.as_deref()), Err(FoundingError::Mixed { .. }));
    assert!(mixed(seed(1, 0)));
    assert!(mixed(Seed { incarnation: 1, ..seed(0, 0) }));
    assert!(!mixed(seed(0, 0)));
    assert_eq!(Founder::new(seed(0, 0), &[], Some(b"x")).unwrap_err(), FoundingError::Damaged);
}
