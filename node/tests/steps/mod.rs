//! A mesh of node cores in one thread: virtual time, disks that sync at once, messages that all arrive.

use std::collections::{BTreeMap, VecDeque};

use mesh::life::Life;
use mesh::raft::{NodeId, Time};
use node::core::error::ErrorCode;
use node::core::message::PeerMessage;
use node::core::request::*;
use node::core::{Client, Effect, Input, Node, Now};
use storage::fake::FakeDisk;

use crate::founders;

const STEP_MS: u64 = 5;
const PATIENCE_MS: u64 = 60_000;

pub(crate) struct Mesh {
    nodes: Vec<Option<Node<FakeDisk>>>,
    disks: Vec<FakeDisk>,
    now_ms: u64,
    messages: VecDeque<(usize, usize, Life, PeerMessage)>,
    answers: BTreeMap<RequestId, Response>,
    next: u64,
    starts: u64,
    /// What the latest answer said.
    throttle_ms: u32,
}

impl Mesh {
    /// Nodes 1 to `count`, founded and each known to all.
    pub(crate) fn new(count: i32) -> Self {
        let disks: Vec<FakeDisk> = (0..count).map(|_| FakeDisk::default()).collect();
        let (messages, answers) = (VecDeque::new(), BTreeMap::new());
        let nodes = disks.iter().map(|_| None).collect();
        let mut mesh =
            Self { nodes, disks, now_ms: 0, messages, answers, next: 0, starts: 0, throttle_ms: 0 };
        (1..=count).for_each(|node| mesh.start(node));
        for node in 1..=count {
            mesh.until("all nodes are known", |mesh| {
                let ask = Request::Metadata { topics: MetadataTopics::All, allow_auto_create: false };
                let Response::Metadata(known) = mesh.ask(node, ask) else { panic!("no metadata") };
                known.brokers.len() == mesh.nodes.len()
            });
        }
        mesh
    }

    /// Starts a process on the node's disk.
    pub(crate) fn start(&mut self, node: i32) {
        let at = place(node);
        let founding = founders::founding(i32::try_from(self.disks.len()).expect("small"));
        self.starts += 1;
        let (process, effects) =
            founders::open(node, &self.disks[at], founding, None, self.starts, self.now());
        self.nodes[at] = Some(process);
        self.perform(at, effects);
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.step(at, Input::Connected(number(other)));
            self.step(other, Input::Connected(number(at)));
        }
    }

    /// Ends a process; what it wrote stays.
    pub(crate) fn kill(&mut self, node: i32) {
        let at = place(node);
        self.nodes[at] = None;
        self.disks[at] = self.disks[at].kill();
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.step(other, Input::Disconnected(number(at)));
        }
    }

    /// The node, which runs.
    pub(crate) fn node(&self, node: i32) -> &Node<FakeDisk> {
        self.nodes[place(node)].as_ref().expect("it runs")
    }

    /// Its disk.
    pub(crate) fn disk(&self, node: i32) -> &FakeDisk {
        &self.disks[place(node)]
    }

    fn now(&self) -> Now {
        Now {
            mono: Time(self.now_ms * 1_000),
            wall_ms: 1_700_000_000_000 + i64::try_from(self.now_ms).expect("small"),
            behind: false,
        }
    }

    fn step(&mut self, at: usize, input: Input<FakeDisk>) {
        let now = self.now();
        let Some(node) = self.nodes[at].as_mut() else { return };
        let effects = node.step(now, input);
        self.perform(at, effects);
    }

    fn perform(&mut self, at: usize, effects: Vec<Effect<FakeDisk>>) {
        for effect in effects {
            match effect {
                Effect::Respond { id, response, throttle_ms } => {
                    self.throttle_ms = throttle_ms;
                    self.answers.insert(id, response);
                }
                Effect::Send { to, message, .. } => {
                    let life = self.nodes[at].as_ref().expect("it runs").life();
                    self.messages.push_back((at, place(to.0), life, message));
                }
                Effect::Commit { worker, mut commit } => {
                    commit.run();
                    self.step(at, Input::Committed { worker, commit });
                }
                Effect::Read { token, job } => {
                    let result = job.run();
                    self.step(at, Input::Read { token, result });
                }
                Effect::Failed(reason) => panic!("node {} failed: {reason}", at + 1),
                Effect::Reclaim { .. } | Effect::Publish(_) | Effect::RegistryChanged | Effect::Stopped => {}
            }
        }
    }

    /// For how long the client of the latest answer shall be silent.
    pub(crate) fn throttle_ms(&self) -> u32 {
        self.throttle_ms
    }

    /// Since the beginning.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.now_ms
    }

    /// Lets so much time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms += STEP_MS;
            while let Some((from, to, life, message)) = self.messages.pop_front() {
                self.step(to, Input::Message { from: number(from), life, message });
            }
            for at in 0..self.nodes.len() {
                let deadline = self.nodes[at].as_ref().and_then(Node::next_deadline);
                if deadline.is_some_and(|deadline| deadline <= self.now().mono) {
                    self.step(at, Input::Tick);
                }
            }
        }
    }

    /// Lets time pass until it is so.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let end = self.now_ms + PATIENCE_MS;
        while !holds(self) {
            assert!(self.now_ms < end, "not within a minute: {what}");
            self.run(50);
        }
    }

    /// Asks a node and waits for its answer.
    pub(crate) fn ask(&mut self, node: i32, request: Request) -> Response {
        let what = format!("{request:?}");
        let id = self.send(node, request);
        self.answer(&what, id)
    }

    /// Asks a node.
    pub(crate) fn send(&mut self, node: i32, request: Request) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        self.step(place(node), Input::Request { id, client: Client::default(), request });
        id
    }

    /// Waits for an answer.
    pub(crate) fn answer(&mut self, what: &str, id: RequestId) -> Response {
        self.until(what, |mesh| mesh.answers.contains_key(&id));
        self.answers.remove(&id).expect("answered")
    }

    /// Makes a topic with as many replicas as there are nodes.
    pub(crate) fn create(&mut self, name: &str, partitions: i32) {
        self.create_with(name, partitions, i16::try_from(self.nodes.len()).expect("small"));
    }

    /// Makes a topic.
    pub(crate) fn create_with(&mut self, name: &str, partitions: i32, replication_factor: i16) {
        let (assignment, configs) = (Vec::new(), Vec::new());
        let topic = CreateTopic { name: name.into(), partitions, replication_factor, assignment, configs };
        let request = Request::CreateTopics { topics: vec![topic], validate_only: false, timeout_ms: 30_000 };
        let Response::CreateTopics { topics } = self.ask(1, request) else { panic!("another answer") };
        assert_eq!(topics[0].error, ErrorCode::None, "{topics:?}");
        self.run(3_000);
    }

    /// What a node says of a topic.
    pub(crate) fn topic(&mut self, node: i32, name: &str) -> TopicMetadata {
        let topics = MetadataTopics::Some(vec![TopicRef::Name(name.into())]);
        let request = Request::Metadata { topics, allow_auto_create: false };
        let Response::Metadata(mut metadata) = self.ask(node, request) else { panic!("another answer") };
        metadata.topics.remove(0)
    }

    /// Who leads a partition, by what the first node that is up says.
    pub(crate) fn leader(&mut self, name: &str, partition: usize) -> i32 {
        let up = self.nodes.iter().position(Option::is_some).expect("one is up");
        let mut leader = -1;
        self.until("a leader", |mesh| {
            let topic = mesh.topic(number(up).0, name);
            leader = topic.partitions.get(partition).map_or(-1, |part| part.leader);
            leader > 0 && mesh.nodes[place(leader)].is_some()
        });
        leader
    }

    /// Writes a batch to partition 0 and returns its base offset.
    pub(crate) fn produce(&mut self, name: &str, batch: Batch) -> i64 {
        let leader = self.leader(name, 0);
        let answered = self.ask(leader, produce(name, batch));
        let (error, base_offset) = produced(answered);
        assert_eq!(error, ErrorCode::None);
        base_offset
    }

    /// Reads partition 0 at its leader.
    pub(crate) fn fetch(&mut self, name: &str, offset: i64, last_epoch: i32) -> FetchResult {
        let leader = self.leader(name, 0);
        let topic = TopicRef::Name(name.into());
        let part =
            FetchPartition { topic, partition: 0, offset, leader_epoch: -1, last_epoch, max_bytes: 1 << 20 };
        let request = Request::Fetch {
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 1 << 20,
            partitions: vec![part],
            rack: String::new(),
        };
        let Response::Fetch { mut partitions } = self.ask(leader, request) else { panic!("another answer") };
        partitions.remove(0)
    }

    /// Asks for an offset of partition 0 at its leader.
    pub(crate) fn offset(&mut self, name: &str, timestamp: i64) -> ListOffsetsResult {
        let leader = self.leader(name, 0);
        let topic = TopicRef::Name(name.into());
        let part = ListOffsetsPartition { topic, partition: 0, leader_epoch: -1, timestamp };
        let request = Request::ListOffsets { partitions: vec![part] };
        let Response::ListOffsets { mut partitions } = self.ask(leader, request) else {
            panic!("another answer")
        };
        partitions.remove(0)
    }

    /// Deletes records of partition 0, asking that node.
    pub(crate) fn delete(&mut self, node: i32, name: &str, offset: i64) -> (ErrorCode, i64) {
        let topic = TopicRef::Name(name.into());
        let part = DeleteRecordsPartition { topic, partition: 0, offset };
        // As clients say that wait for nothing.
        let request = Request::DeleteRecords { timeout_ms: 0, partitions: vec![part] };
        let Response::DeleteRecords { partitions } = self.ask(node, request) else {
            panic!("another answer")
        };
        (partitions[0].error, partitions[0].low_watermark)
    }
}

/// A request to write a batch to partition 0.
pub(crate) fn produce(name: &str, batch: Batch) -> Request {
    let part = ProducePartition { topic: TopicRef::Name(name.into()), partition: 0, batch };
    Request::Produce { acks: Acks::All, timeout_ms: 5_000, partitions: vec![part] }
}

/// What became of it.
pub(crate) fn produced(response: Response) -> (ErrorCode, i64) {
    let Response::Produce { partitions } = response else { panic!("another answer") };
    (partitions[0].error, partitions[0].base_offset)
}

fn place(node: i32) -> usize {
    usize::try_from(node - 1).expect("small")
}

fn number(at: usize) -> NodeId {
    NodeId(i32::try_from(at).expect("small") + 1)
}

/// A batch whose records have these timestamps, in the layout of KIP-98. The attributes' lowest byte is `codec`; the records are
/// never packed.
pub(crate) fn batch(codec: u8, timestamps: &[i64]) -> Batch {
    let zigzag = |value: i64| {
        let mut value = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
        out
    };
    let mut bytes = vec![0; 61];
    bytes[22] = codec;
    bytes[27..35].copy_from_slice(&timestamps[0].to_be_bytes());
    bytes[43..57].fill(0xff);
    bytes[57..61].copy_from_slice(&u32::try_from(timestamps.len()).expect("small").to_be_bytes());
    for (delta, timestamp) in (0..).zip(timestamps) {
        let record =
            [vec![0], zigzag(timestamp - timestamps[0]), zigzag(delta), zigzag(-1), zigzag(-1), vec![0]]
                .concat();
        bytes.extend(zigzag(i64::try_from(record.len()).expect("small")));
        bytes.extend(record);
    }
    let record_count = u32::try_from(timestamps.len()).expect("small");
    let max_timestamp_ms = timestamps.iter().copied().max().expect("no empty batch");
    Batch { bytes: bytes.into(), record_count, producer: None, max_timestamp_ms }
}
