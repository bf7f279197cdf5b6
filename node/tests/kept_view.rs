//! A node that starts knows topics from the view that an earlier process kept. What that view lacks may be a newer topic: the node must
//! not call it unknown before the leader of its shard told it.

mod founders;

use founders::{LIFE, TestNode, founding};
use mesh::life::Life;
use mesh::liveness::{Health, Heartbeat};
use mesh::raft::{NodeId, Term, Time};
use node::core::error::ErrorCode;
use node::core::message::{LeaderInfo, PeerMessage};
use node::core::metadata::{PartitionKey, Shard, ShardId, View};
use node::core::request::{CreateTopic, MetadataTopics, Request, RequestId, Response, TopicRef};
use node::core::{Client, Effect, Input, Now};
use storage::fake::FakeDisk;

const TOPIC: &str = "newer-than-the-view";

fn now(ms: u64) -> Now {
    Now { mono: Time(ms * 1_000), wall_ms: 0, behind: false }
}

fn shard(id: ShardId) -> Shard {
    Shard::founded(id, &founding(3))
}

/// Node 1, with a view that has every shard and no topic.
fn start() -> TestNode {
    let mut view = View::founded(&founding(3));
    ShardId::all().for_each(|id| _ = view.merge(shard(id).update_since(0)));
    assert!(view.knows_all());
    founders::open(1, &FakeDisk::default(), founding(3), Some(view.encode().into()), 3, now(0)).0
}

fn hear(node: &mut TestNode, from: i32, message: PeerMessage) -> Vec<Effect<FakeDisk>> {
    let life = Life { incarnation: LIFE, boot: 1, session: 1 };
    node.step(now(10), Input::Message { from: NodeId(from), life, message })
}

/// Node `from` is alive and hears node 1.
fn alive(node: &mut TestNode, from: i32) {
    let beat = Heartbeat {
        incarnation: LIFE,
        boot: 1,
        sequence: 1,
        hears_you: true,
        shares: true,
        health: Health::default(),
        faltered: 0,
    };
    hear(node, from, PeerMessage::Heartbeat(beat));
}

/// What the node says of the topic.
fn told(node: &mut TestNode) -> ErrorCode {
    let topics = MetadataTopics::Some(vec![TopicRef::Name(TOPIC.into())]);
    let request = Request::Metadata { topics, allow_auto_create: false };
    let effects = node.step(now(10), Input::Request { id: RequestId(7), client: Client::default(), request });
    let answer = effects.into_iter().find_map(|effect| match effect {
        Effect::Respond { response: Response::Metadata(found), .. } => Some(found.topics[0].error),
        _ => None,
    });
    answer.expect("metadata is answered at once")
}

fn update(id: ShardId) -> PeerMessage {
    PeerMessage::ShardUpdate(shard(id).update_since(0).encode().into())
}

#[test]
fn a_topic_that_the_kept_view_lacks_is_unknown_only_once_its_shard_was_heard() {
    let mut node = start();
    let home = ShardId::of_name(TOPIC);
    assert_eq!(told(&mut node), ErrorCode::LeaderNotAvailable, "it may be newer than the view");

    (2..=3).for_each(|from| alive(&mut node, from));
    hear(&mut node, 2, update(home));
    assert_eq!(told(&mut node), ErrorCode::LeaderNotAvailable, "nobody is known to lead the shard");

    let key = PartitionKey::of_shard(home);
    let leads = LeaderInfo { key, term: Term(5), leader: NodeId(3), in_sync: vec![NodeId(3)], traffic: 0 };
    let asked = hear(&mut node, 2, PeerMessage::Leaders(vec![leads.into()]));
    let everything = PeerMessage::ShardPoll { shard: home.0.into(), version: 0 };
    let sent = |effect: &Effect<FakeDisk>| matches!(effect, Effect::Send { to: NodeId(3), message, .. } if *message == everything);
    assert!(asked.iter().any(sent), "the leader is asked as soon as it is known");

    hear(&mut node, 2, update(home));
    assert_eq!(told(&mut node), ErrorCode::LeaderNotAvailable, "another replica may not know");
    hear(&mut node, 3, update(home));
    assert_eq!(told(&mut node), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(node.shards_unheard(), ShardId::all().count() - 1);
}

/// The outcome of creating the topic, if it is told at once.
fn created(node: &mut TestNode) -> Option<ErrorCode> {
    let topic = CreateTopic {
        name: TOPIC.into(),
        partitions: 1,
        replication_factor: 1,
        assignment: Vec::new(),
        configs: Vec::new(),
    };
    let request = Request::CreateTopics { topics: vec![topic], validate_only: false, timeout_ms: 1_000 };
    let effects = node.step(now(10), Input::Request { id: RequestId(8), client: Client::default(), request });
    effects.into_iter().find_map(|effect| match effect {
        Effect::Respond { response: Response::CreateTopics { topics }, .. } => Some(topics[0].error),
        _ => None,
    })
}

/// The lives that an old registry names may be over: a topic planned on them has nobody to create it (seed 1223 found one).
#[test]
fn no_topic_is_planned_before_the_registry_was_heard() {
    let mut node = start();
    (2..=3).for_each(|from| alive(&mut node, from));
    assert_eq!(created(&mut node), Some(ErrorCode::NotController));
    let key = PartitionKey::of_shard(ShardId(0));
    let leads = LeaderInfo { key, term: Term(5), leader: NodeId(3), in_sync: vec![NodeId(3)], traffic: 0 };
    hear(&mut node, 2, PeerMessage::Leaders(vec![leads.into()]));
    hear(&mut node, 3, update(ShardId(0)));
    assert_eq!(created(&mut node), None, "its shard is asked");
}
