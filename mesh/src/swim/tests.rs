use super::*;

const MS: u64 = 1_000;
const CONFIG: SwimConfig = SwimConfig { interval_us: 200 * MS, timeout_us: 1_200 * MS };
const LIFE: Incarnation = Incarnation(5);

/// Some nodes and what the network carries between them, each message a millisecond later.
struct Mesh {
    now: Time,
    nodes: BTreeMap<NodeId, Swim>,
    on_the_way: Vec<(Time, NodeId, NodeId, Bytes)>,
    /// Whether a message from the first to the second passes.
    passes: fn(i32, i32) -> bool,
    said: Vec<(u64, NodeId, Event)>,
}

impl Mesh {
    fn new(count: i32) -> Self {
        let mut mesh = Self {
            now: Time(0),
            nodes: BTreeMap::new(),
            on_the_way: Vec::new(),
            passes: |_, _| true,
            said: Vec::new(),
        };
        (1..=count).for_each(|node| mesh.start(node, 1, count));
        mesh
    }

    fn start(&mut self, node: i32, boot: u64, count: i32) {
        let (id, seed) = (NodeId(node), boot << 8 | u64::from(node.unsigned_abs()));
        self.nodes.insert(id, Swim::new(id, LIFE, boot, CONFIG, seed, self.now));
        let roster = (1..=count).filter(|&other| other != node).map(|other| (NodeId(other), LIFE)).collect();
        self.input(node, Input::Roster(roster));
    }

    fn input(&mut self, node: i32, input: Input) {
        let Some(swim) = self.nodes.get_mut(&NodeId(node)) else { return };
        for event in swim.step(self.now, input) {
            match event {
                Event::Send(to, bytes) if (self.passes)(node, to.0) => {
                    self.on_the_way.push((self.now.after(MS), NodeId(node), to, bytes));
                }
                Event::Send(..) => {}
                event => self.said.push((self.now.0 / MS, NodeId(node), event)),
            }
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = self.now.after(MS);
            let (due, later) =
                std::mem::take(&mut self.on_the_way).into_iter().partition(|(at, ..)| *at <= self.now);
            self.on_the_way = later;
            let due: Vec<(Time, NodeId, NodeId, Bytes)> = due;
            for (_, from, to, bytes) in due {
                self.input(to.0, Input::Message { from, bytes });
            }
            let ticks: Vec<NodeId> = self
                .nodes
                .iter()
                .filter(|(_, swim)| swim.next_deadline().is_some_and(|at| at <= self.now))
                .map(|(node, _)| *node)
                .collect();
            ticks.into_iter().for_each(|node| self.input(node.0, Input::Tick));
        }
    }

    /// Runs until `done`, for so long at most; how long it took.
    fn until(&mut self, ms: u64, done: impl Fn(&Mesh) -> bool) -> u64 {
        let took = (0..ms).find(|_| {
            self.run(1);
            done(self)
        });
        took.unwrap_or_else(|| panic!("not within {ms} ms: {:?}", self.said))
    }

    fn believed(&self, of: i32) -> usize {
        self.nodes.values().filter(|swim| swim.is_live(NodeId(of))).count()
    }

    fn is_whole(&self) -> bool {
        self.nodes.values().all(|swim| swim.live_count() == self.nodes.len() - 1)
    }
}

#[test]
fn all_find_all_and_say_it_once() {
    for count in [2, 3, 9, 40] {
        let mut mesh = Mesh::new(count);
        let took = mesh.until(20_000, Mesh::is_whole);
        mesh.run(60_000);
        assert!(mesh.is_whole());
        let pairs = usize::try_from(count * (count - 1)).unwrap();
        assert_eq!(mesh.said.len(), pairs, "{count} nodes found each other within {took} ms");
        let sent: Vec<u64> = mesh.nodes.values().map(|swim| swim.figures().sent).collect();
        assert!(sent.iter().all(|&sent| sent < 60 * 10), "however many they are: {sent:?}");
    }
}

#[test]
fn a_death_is_known_to_all_within_seconds_and_a_restart_ends_it() {
    let mut mesh = Mesh::new(9);
    mesh.until(20_000, Mesh::is_whole);
    mesh.nodes.remove(&NodeId(9));
    let took = mesh.until(10_000, |mesh| mesh.believed(9) == 0);
    assert!(took >= 2 * CONFIG.timeout_us / MS, "a suspect may refute: {took}");
    mesh.start(9, 2, 9);
    mesh.until(10_000, Mesh::is_whole);
    assert_eq!(mesh.nodes[&NodeId(1)].active(NodeId(9)).map(|id| id.boot), Some(2));
}

#[test]
fn a_quick_restart_is_down_and_up() {
    let mut mesh = Mesh::new(4);
    mesh.until(20_000, Mesh::is_whole);
    mesh.said.clear();
    mesh.start(4, 2, 4);
    mesh.run(10_000);
    for node in 1..=3 {
        let said: Vec<&Event> =
            mesh.said.iter().filter(|(_, at, _)| at.0 == node).map(|(.., event)| event).collect();
        assert_eq!(said, [&Event::Down(NodeId(4)), &Event::Up(NodeId(4))]);
    }
}

#[test]
fn what_is_told_late_of_an_earlier_process_revives_nobody() {
    let mut mesh = Mesh::new(3);
    mesh.until(20_000, Mesh::is_whole);
    let early = mesh.nodes[&NodeId(3)].id();
    mesh.start(3, 2, 3);
    mesh.until(10_000, Mesh::is_whole);
    mesh.nodes.remove(&NodeId(3));
    mesh.until(10_000, |mesh| mesh.believed(3) == 0);
    let header = foca::Header {
        src: mesh.nodes[&NodeId(2)].id(),
        src_incarnation: 0,
        dst: mesh.nodes[&NodeId(1)].id(),
        message: foca::Message::Gossip,
    };
    let late = Packet { header, updates: vec![Member::new(early, 40, foca::State::Alive)] };
    let bytes = Bytes::from(late.encode().unwrap());
    mesh.input(1, Input::Message { from: NodeId(2), bytes });
    assert_eq!(mesh.believed(3), 0);
    assert_eq!(mesh.nodes[&NodeId(1)].active(NodeId(3)), None);
}

#[test]
fn who_answers_one_of_the_others_is_not_called_down() {
    let mut mesh = Mesh::new(6);
    mesh.until(20_000, Mesh::is_whole);
    mesh.said.clear();
    mesh.passes = |from, to| (from, to) != (1, 2) && (from, to) != (2, 1);
    mesh.run(60_000);
    assert_eq!(mesh.said, [], "the others probe on their behalf");
}

#[test]
fn a_suspicion_is_refuted_and_a_false_death_is_renewed() {
    let mut mesh = Mesh::new(6);
    mesh.until(20_000, Mesh::is_whole);
    mesh.passes = |from, _| from != 2;
    let took =
        mesh.until(20_000, |mesh| mesh.said.iter().any(|(.., event)| *event == Event::Down(NodeId(2))));
    assert!(took > 0);
    mesh.passes = |_, _| true;
    mesh.until(30_000, Mesh::is_whole);
    let told = mesh.nodes[&NodeId(2)].figures();
    assert!(told.refuted > 0 && told.renewed > 0, "{told:?}");
}

#[test]
fn a_split_ends_when_it_heals() {
    let mut mesh = Mesh::new(5);
    mesh.until(20_000, Mesh::is_whole);
    mesh.passes = |from, to| (from <= 1) == (to <= 1);
    mesh.until(20_000, |mesh| mesh.believed(1) == 0 && mesh.nodes[&NodeId(1)].live_count() == 0);
    mesh.passes = |_, _| true;
    mesh.until(30_000, Mesh::is_whole);
}

#[test]
fn a_closed_connection_counts_until_the_node_is_heard_or_judged() {
    let mut mesh = Mesh::new(3);
    mesh.until(20_000, Mesh::is_whole);
    mesh.input(1, Input::Disconnected(NodeId(2)));
    assert!(!mesh.nodes[&NodeId(1)].is_live(NodeId(2)));
    mesh.until(5_000, |mesh| mesh.nodes[&NodeId(1)].is_live(NodeId(2)));
    mesh.input(1, Input::Disconnected(NodeId(2)));
    mesh.input(1, Input::Connected(NodeId(2)));
    assert!(mesh.nodes[&NodeId(1)].is_live(NodeId(2)));
}

#[test]
fn a_stuck_disk_leaves_and_comes_back_renewed() {
    let mut mesh = Mesh::new(5);
    mesh.until(20_000, Mesh::is_whole);
    mesh.input(5, Input::Vouches(false));
    mesh.until(5_000, |mesh| mesh.believed(5) == 0);
    mesh.run(60_000);
    assert_eq!(mesh.believed(5), 0, "though it is there");
    mesh.input(5, Input::Vouches(true));
    mesh.until(10_000, Mesh::is_whole);
}

#[test]
fn who_is_not_in_the_registry_counts_once_it_is() {
    let mut mesh = Mesh::new(3);
    mesh.until(20_000, Mesh::is_whole);
    mesh.start(4, 1, 4);
    mesh.run(10_000);
    assert_eq!(mesh.believed(4), 0);
    for node in 1..=3 {
        let roster = (1..=4).filter(|other| *other != node).map(|other| (NodeId(other), LIFE)).collect();
        mesh.input(node, Input::Roster(roster));
    }
    mesh.until(5_000, Mesh::is_whole);
    for node in 1..=3 {
        let roster = (1..=3).filter(|other| *other != node).map(|other| (NodeId(other), LIFE)).collect();
        mesh.input(node, Input::Roster(roster));
    }
    assert_eq!(mesh.believed(4), 0);
    mesh.nodes.remove(&NodeId(4));
    mesh.run(10_000);
    assert!(mesh.is_whole());
}

#[test]
fn a_number_that_goes_over_to_another_directory_is_down_and_up() {
    const NEXT: Incarnation = Incarnation(6);
    let mut mesh = Mesh::new(4);
    mesh.until(20_000, Mesh::is_whole);
    mesh.said.clear();
    let outlived = mesh.nodes.remove(&NodeId(4)).unwrap();
    // Some of the others hear of the newcomer before they have the registry that names it; the old process is not called down yet.
    mesh.nodes.insert(NodeId(4), Swim::new(NodeId(4), NEXT, 1, CONFIG, 77, mesh.now));
    mesh.input(4, Input::Roster((1..=3).map(|other| (NodeId(other), LIFE)).collect()));
    mesh.run(500);
    for node in 1..=3 {
        let life = |other: i32| if other == 4 { NEXT } else { LIFE };
        let roster =
            (1..=4).filter(|other| *other != node).map(|other| (NodeId(other), life(other))).collect();
        mesh.input(node, Input::Roster(roster));
    }
    mesh.until(10_000, Mesh::is_whole);
    for node in 1..=3 {
        let said: Vec<&Event> =
            mesh.said.iter().filter(|(_, at, _)| at.0 == node).map(|(.., event)| event).collect();
        assert_eq!(said, [&Event::Down(NodeId(4)), &Event::Up(NodeId(4))]);
        assert_eq!(mesh.nodes[&NodeId(node)].active(NodeId(4)).map(|id| id.incarnation), Some(NEXT));
    }
    // The outlived process comes back: nobody takes it in.
    mesh.nodes.insert(NodeId(4), outlived);
    mesh.until(10_000, |mesh| mesh.believed(4) == 0);
    mesh.run(20_000);
    assert_eq!(mesh.believed(4), 0);
}

#[test]
fn its_own_stall_is_not_the_silence_of_others() {
    let mut mesh = Mesh::new(4);
    mesh.until(20_000, Mesh::is_whole);
    mesh.said.clear();
    let stopped = mesh.nodes.remove(&NodeId(1)).unwrap();
    // Too short for the others to call it down.
    mesh.run(2_000);
    mesh.nodes.insert(NodeId(1), stopped);
    mesh.run(10_000);
    let mine: Vec<_> = mesh.said.iter().filter(|(_, at, _)| at.0 == 1).collect();
    assert!(mine.is_empty(), "{mine:?}");
}

#[test]
fn whatever_bytes_come_nobody_unlisted_is_known_or_spoken_to() {
    fn holds(messages: Vec<(u8, Vec<u8>)>) -> bool {
        let mut mesh = Mesh::new(3);
        mesh.run(5_000);
        let ids: Vec<SwimId> = mesh.nodes.values().map(Swim::id).collect();
        for (tag, rest) in messages {
            let mut bytes = Packet {
                header: foca::Header {
                    src: ids[usize::from(tag) % 3],
                    src_incarnation: u16::from(tag),
                    dst: ids[0],
                    message: foca::Message::Ping(tag),
                },
                updates: Vec::new(),
            }
            .encode()
            .unwrap();
            bytes[0] = tag % 11;
            bytes.truncate(bytes.len() - 2);
            bytes.extend(&rest);
            let swim = mesh.nodes.get_mut(&NodeId(1)).unwrap();
            for bytes in [Bytes::from(rest), Bytes::from(bytes)] {
                for from in [2, 3] {
                    let said =
                        swim.step(mesh.now, Input::Message { from: NodeId(from), bytes: bytes.clone() });
                    let known = |event: &Event| match event {
                        Event::Up(node) | Event::Down(node) | Event::Send(node, _) => {
                            (2..=3).contains(&node.0)
                        }
                    };
                    if !said.iter().all(known) {
                        return false;
                    }
                }
            }
        }
        true
    }
    quickcheck::quickcheck(holds as fn(Vec<(u8, Vec<u8>)>) -> bool);
}
