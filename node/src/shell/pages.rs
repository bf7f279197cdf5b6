//! What the HTTP port says. Everything that needs the node is looked at between two of its steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use libp2p::PeerId;
use mesh::directory::{Hint, group_key, node_key, shard_key};
use mesh::raft::NodeId;
use mesh::transport::{HopResult, Transport};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::ShellNode;
use super::configs;
use super::digest;
use super::figures;
use super::http::{Answer, field};
use super::metrics::{self, Metrics};
use super::otlp::Dropped;
use super::process;
use super::publisher::key_of;
use super::recent::Told;
use super::recover;
use super::registry::{first_kafka, shown};
use super::skew::Clocks;
use super::state;
use super::worker::{NoAnswer, WorkerHandle};
use crate::core::RebuildView;
use crate::core::error::ErrorCode;
use crate::core::metadata::balancing::next_orders;
use crate::core::metadata::endpoint::endpoints;
use crate::core::metadata::{
    Command, Descriptor, METADATA_TOPIC_NAME, MovingNodes, NodeInfo, NodeState, PartitionKey, ShardId, View,
};
use crate::core::request::{Decision, Request, Response};
use crate::exposition::Exposition;
use crate::kafka::ClientContext;
use crate::kafka::metrics::Metrics as KafkaMetrics;

/// How long a lookup in the directory may take.
const LOOKUP: Duration = Duration::from_secs(10);
/// How long the shards may take to commit a reassignment, in milliseconds.
const REASSIGN_MS: u32 = 10_000;
/// Replicas that are named when a node is not ready.
const NAMED_MAX: usize = 3;

/// How far the process is.
#[derive(Clone)]
pub(super) enum Phase {
    /// No node yet, for this reason.
    Starting(String),
    /// The node works.
    Running(WorkerHandle),
    /// It hands over and ends.
    Stopping,
}

/// Everything that is served.
pub(super) struct Pages {
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) transport: Transport,
    pub(super) metrics: Arc<Metrics>,
    pub(super) kafka: Arc<KafkaMetrics>,
    pub(super) clocks: Arc<Clocks>,
    pub(super) spans_dropped: Dropped,
    pub(super) digests: digest::Turns,
    /// When this process came so far.
    pub(super) began: Instant,
}

impl From<NoAnswer> for Answer {
    fn from(error: NoAnswer) -> Answer {
        Answer::error(503, error.to_string())
    }
}

impl Pages {
    /// The page of a request's target.
    pub(super) async fn get(&self, target: &str) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let answer = match path {
            "/healthz" => return self.health().await,
            "/readyz" => return self.ready().await,
            "/metrics" => return self.figures().await,
            "/v1/nodes" => self.nodes().await,
            "/v1/state" => self.state().await,
            "/v1/partitions" => self.partitions(query).await,
            "/v1/lookup" => self.lookup(query).await,
            "/v1/balance" => self.balance().await,
            "/v1/digest" => self.digest(query).await,
            "/v1/configs" => self.configs(configs::question(query), "reader").await,
            "/v1/replica" => self.replica(query).await,
            "/v1/recoveries" => self.recoveries().await,
            _ => Err(Answer::error(
                404,
                "served are /healthz /readyz /metrics /v1/nodes /v1/state /v1/partitions /v1/lookup /v1/balance /v1/digest /v1/configs /v1/replica /v1/recoveries",
            )),
        };
        answer.map_or_else(|answer| answer, |value| Answer::json(200, &value))
    }

    /// Carries out what an operator decides.
    pub(super) async fn post(&self, target: &str, operator: &str) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/v1/configs" {
            tracing::info!(operator, query, "an operator alters configs");
            let answer = self.configs(configs::change(query), operator).await;
            return answer.map_or_else(|answer| answer, |value| Answer::json(200, &value));
        }
        if path == "/v1/topics" {
            return self.change_factor(query, operator).await.unwrap_or_else(|answer| answer);
        }
        if path == "/v1/recover" {
            return self.recover(query, operator).await.unwrap_or_else(|answer| answer);
        }
        let decision = match decision(path, query) {
            Ok(decision) => decision,
            Err(answer) => return answer,
        };
        tracing::info!(operator, ?decision, "an operator decides");
        match self.decide(Request::Decide(decision), operator).await {
            Ok(()) => Answer::json(200, &json!({ "done": true })),
            Err(answer) => answer,
        }
    }

    /// Another number of replicas for a topic.
    async fn change_factor(&self, query: &str, operator: &str) -> Result<Answer, Answer> {
        let wrong = || Answer::error(400, "POST /v1/topics?topic=NAME&replication_factor=NUMBER");
        let topic = field(query, "topic").ok_or_else(wrong)?;
        let factor =
            field(query, "replication_factor").and_then(|factor| factor.parse().ok()).ok_or_else(wrong)?;
        tracing::info!(operator, topic, factor, "an operator changes a replication factor");
        let request = Request::ChangeFactor { topic, factor, timeout_ms: REASSIGN_MS };
        let answer = self.worker()?.ask(request, self.operator(operator)).await;
        let Some(Response::AlterReassignments { partitions }) = answer else {
            return Err(Answer::error(503, "the node is stopping"));
        };
        match partitions.iter().find(|part| part.error != ErrorCode::None) {
            None => Ok(Answer::json(200, &json!({ "done": true, "reassigned": partitions.len() }))),
            Some(refused) => Err(refusal(refused.error, refused.message.as_deref())),
        }
    }

    fn operator(&self, name: &str) -> ClientContext {
        ClientContext {
            listener: Arc::from("http"),
            address: self.transport.listening(),
            client_id: Arc::from(name),
            principal: Arc::from("User:operator"),
        }
    }

    /// Has the node answer a question about configs, or change them.
    async fn configs(&self, wanted: Result<Request, Answer>, operator: &str) -> Result<Value, Answer> {
        let (request, worker) = (wanted?, self.worker()?);
        configs::told(worker.ask(request, self.operator(operator)).await)
    }

    async fn replica(&self, query: &str) -> Result<Value, Answer> {
        recover::replica(&self.worker()?, query).await
    }

    async fn recoveries(&self) -> Result<Value, Answer> {
        recover::recoveries(&self.worker()?).await
    }

    async fn recover(&self, query: &str, operator: &str) -> Result<Answer, Answer> {
        let wish = recover::wish(&self.worker()?, query, operator).await?;
        tracing::warn!(operator, ?wish, "an operator recovers a partition");
        self.decide(Request::Recover(wish), operator).await?;
        Ok(Answer::json(200, &json!({ "done": true })))
    }

    async fn decide(&self, request: Request, operator: &str) -> Result<(), Answer> {
        let answer = self.worker()?.ask(request, self.operator(operator)).await;
        let Some(Response::Decided { error, message }) = answer else {
            return Err(Answer::error(503, "the node is stopping"));
        };
        match error {
            ErrorCode::None => Ok(()),
            error => Err(refusal(error, message.as_deref())),
        }
    }

    fn worker(&self) -> Result<WorkerHandle, Answer> {
        match &*self.phase.borrow() {
            Phase::Running(worker) => Ok(worker.clone()),
            Phase::Starting(reason) => Err(Answer::error(503, reason.clone())),
            Phase::Stopping => Err(Answer::error(503, "the node is stopping")),
        }
    }

    async fn health(&self) -> Answer {
        let phase = self.phase.borrow().clone();
        match phase {
            Phase::Running(worker) => match worker.inspect(|_| ()).await {
                Ok(()) => Answer::text(200, "ok"),
                Err(error) => Answer::text(503, error.to_string()),
            },
            Phase::Starting(reason) => Answer::text(200, reason),
            Phase::Stopping => Answer::text(200, "stopping"),
        }
    }

    async fn ready(&self) -> Answer {
        let phase = self.phase.borrow().clone();
        match phase {
            Phase::Running(worker) => match worker.inspect(unready).await {
                Ok(None) => Answer::text(200, "ready"),
                Ok(Some(reason)) => Answer::text(503, reason),
                Err(error) => Answer::text(503, error.to_string()),
            },
            Phase::Starting(reason) => Answer::text(503, reason),
            Phase::Stopping => Answer::text(503, "stopping"),
        }
    }

    async fn figures(&self) -> Answer {
        let mut out = Exposition::default();
        out.gauge("rafka_node_info", "The release of this node.").of("version", env!("CARGO_PKG_VERSION"), 1);
        process::render(&mut out);
        self.kafka.render(&mut out);
        self.metrics.render(&mut out);
        out.counter(
            "rafka_trace_spans_dropped_total",
            "Spans that the collector of --otlp-endpoint did not get.",
        )
        .is(self.spans_dropped.load(Relaxed));
        let (bytes, peers) = self.transport.unsent_bytes();
        metrics::unsent(&mut out, bytes, peers);
        let worker = self.worker().ok();
        if let Some(worker) = &worker {
            worker.render_queues(&self.metrics, &mut out);
        }
        let clocks = self.clocks.offsets();
        if let Some(worker) = worker
            && let Ok(figures) = worker.inspect(move |node| with_clocks(node, &clocks)).await
        {
            out.append(figures);
        }
        Answer { status: 200, content_type: "text/plain; version=0.0.4; charset=utf-8", body: out.finish() }
    }

    async fn nodes(&self) -> Result<Value, Answer> {
        let clocks = self.clocks.offsets();
        let clocks: BTreeMap<Vec<u8>, i64> =
            clocks.into_iter().map(|(peer, ms)| (peer.to_bytes(), ms)).collect();
        let visits = self.metrics.visits.told();
        let mut answer = self.worker()?.inspect(move |node| nodes(node, &clocks, &visits)).await?;
        let away = self.metrics.visits.turned_away_lately().into_iter();
        let away =
            away.map(|(peer, (ms, reason))| json!({ "peer_id": peer, "ms_ago": ms, "reason": reason }));
        answer["turned_away"] = away.collect();
        Ok(answer)
    }

    async fn state(&self) -> Result<Value, Answer> {
        Ok(state::of(self, &self.worker()?).await)
    }

    async fn digest(&self, query: &str) -> Result<Value, Answer> {
        digest::of(&self.digests, &self.worker()?, query).await
    }

    async fn balance(&self) -> Result<Value, Answer> {
        Ok(self.worker()?.inspect(balance).await?)
    }

    async fn partitions(&self, query: &str) -> Result<Value, Answer> {
        let topic = field(query, "topic")
            .ok_or_else(|| Answer::error(400, "name a topic: /v1/partitions?topic=NAME"))?;
        let name = topic.clone();
        let found = self.worker()?.inspect(move |node| partitions(node, &name)).await?;
        found.ok_or_else(|| Answer::error(404, format!("no topic {topic:?}")))
    }

    async fn lookup(&self, query: &str) -> Result<Value, Answer> {
        let text = field(query, "key").unwrap_or_default();
        let wanted = Wanted::parse(&text).ok_or_else(|| {
            Answer::error(
                400,
                "a key is partition/TOPIC/NUMBER, shard/NUMBER, node/NUMBER or group/ID: /v1/lookup?key=shard/3",
            )
        })?;
        let worker = self.worker()?;
        let (key, own) = worker
            .inspect(move |node| wanted.resolve(node))
            .await?
            .ok_or_else(|| Answer::error(404, format!("no topic of that name: {text}")))?;
        let lookup = timeout(LOOKUP, self.transport.lookup(key)).await.unwrap_or_default();
        let peers: BTreeMap<PeerId, i32> = worker.inspect(|node| peers(node.view())).await?;
        let hops: Vec<Value> = lookup
            .hops
            .iter()
            .map(|hop| {
                let result = match hop.result {
                    HopResult::Closer => "closer",
                    HopResult::Value => "value",
                    HopResult::Timeout => "timeout",
                    HopResult::Unawaited => "unawaited",
                };
                let ms = (hop.took.as_secs_f64() * 10_000.0).round() / 10.0;
                json!({ "node_id": peers.get(&hop.peer), "peer_id": hop.peer.to_string(), "round": hop.round, "ms": ms, "result": result })
            })
            .collect();
        let rounds = lookup.rounds();
        let (value, source) = match (lookup.value, own) {
            (Some(hint), _) => (hint_value(&hint), if lookup.local { "local" } else { "dht" }),
            (None, own) => (own, "local"),
        };
        let hash: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(
            json!({ "key": text, "hash": hash, "rounds": rounds, "hops": hops, "value": value, "source": source }),
        )
    }
}

/// Why something is not done.
fn refusal(error: ErrorCode, message: Option<&str>) -> Answer {
    let status = match error {
        ErrorCode::BrokerIdNotRegistered | ErrorCode::UnknownTopicOrPartition => 404,
        ErrorCode::RequestTimedOut | ErrorCode::NotController => 503,
        _ => 409,
    };
    Answer::error(status, message.unwrap_or(error.text()).to_owned())
}

/// What an operator wants.
fn decision(path: &str, query: &str) -> Result<Decision, Answer> {
    let known = "POST /v1/nodes?node=NUMBER&state=active|draining|decommissioning|removed, /v1/balance?paused=true|false, /v1/configs, /v1/topics, or /v1/recover";
    let wrong = || Answer::error(400, known);
    match path {
        "/v1/nodes" => {
            let node = field(query, "node").and_then(|node| node.parse().ok()).ok_or_else(wrong)?;
            let name = field(query, "state").ok_or_else(wrong)?;
            let state = NodeState::ALL.into_iter().find(|state| state.name() == name).ok_or_else(wrong)?;
            Ok(Decision::NodeState { node, state })
        }
        "/v1/balance" => {
            let paused = field(query, "paused").and_then(|paused| paused.parse().ok()).ok_or_else(wrong)?;
            Ok(Decision::PauseBalancing(paused))
        }
        _ => Err(Answer::error(404, known)),
    }
}

/// Whether replicas are moved, which are on their way, how far those are that this node sends to, and how many moves wait.
fn balance(node: &ShellNode) -> Value {
    let view = node.view();
    let moving: Vec<Value> = descriptors(view)
        .filter(|descriptor| descriptor.is_moving())
        .map(|descriptor| {
            let MovingNodes { target, coming, leaving, .. } = descriptor.moving_nodes();
            let name = partition_name(view, descriptor.key);
            json!({ "partition": name, "replicas": target, "coming": coming, "leaving": leaving })
        })
        .collect();
    let rebuilding: Vec<Value> = node.rebuilds().iter().map(|one| rebuild(node, one)).collect();
    let limit = node.rebuild_figures().bytes_per_second;
    let waiting = next_orders(view, &node.up(), usize::MAX);
    let moves = waiting.iter().filter(|(_, order)| matches!(order, Command::PlanReplicas { .. })).count();
    json!({
        "paused": view.balancing_paused(),
        "moving": moving,
        "waiting": moves,
        "rebuilding": rebuilding,
        "rebuild_limit_bytes": limit,
    })
}

/// How far a replica is that is rebuilt from here.
fn rebuild(node: &ShellNode, one: &RebuildView) -> Value {
    json!({
        "partition": partition_name(node.view(), one.key),
        "node": one.replica.node.0,
        "from": node.identity().node.0,
        "voter": one.voter,
        "done_bytes": one.done_bytes,
        "left_bytes": one.left_bytes,
        "bytes_per_second": one.rate,
        "left_ms": one.left_ms,
        "for_ms": one.for_ms,
    })
}

fn hint_value(hint: &Hint) -> Value {
    json!({ "leader": hint.leader, "term": hint.term, "replicas": hint.replicas, "addresses": hint.addresses })
}

/// What a lookup asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Partition(String, i32),
    Shard(ShardId),
    Node(i32),
    Group(String),
}

impl Wanted {
    pub(super) fn parse(text: &str) -> Option<Wanted> {
        // A group's id may hold anything.
        if let Some(group) = text.strip_prefix("group/") {
            return (!group.is_empty()).then(|| Wanted::Group(group.to_owned()));
        }
        match text.split('/').collect::<Vec<_>>().as_slice() {
            ["partition", topic, partition] if !topic.is_empty() => Some(Wanted::Partition(
                (*topic).to_owned(),
                partition.parse().ok().filter(|number| *number >= 0)?,
            )),
            ["shard", number] => {
                let number: u8 = number.parse().ok()?;
                ShardId::all().find(|shard| shard.0 == number).map(Wanted::Shard)
            }
            ["node", number] => Some(Wanted::Node(number.parse().ok()?)),
            _ => None,
        }
    }

    /// The partition that it is, if it is one and its topic is known.
    pub(super) fn partition(self, node: &ShellNode) -> Option<PartitionKey> {
        match self {
            Wanted::Node(_) | Wanted::Group(_) => None,
            Wanted::Shard(shard) => Some(PartitionKey::of_shard(shard)),
            Wanted::Partition(topic, partition) => {
                Some(PartitionKey { topic: node.view().topic_named(&topic)?.id, partition })
            }
        }
    }

    /// Its place in the directory, and what this node knows itself; nothing when it does not know the topic.
    fn resolve(self, node: &ShellNode) -> Option<([u8; 32], Value)> {
        let key = match self {
            Wanted::Node(number) => {
                let info = node.view().node(NodeId(number));
                let value = info.map(|info| {
                    json!({ "leader": number, "term": 0, "replicas": [number], "addresses": [info.mesh, info.kafka, info.http] })
                });
                return Some((node_key(number), value.unwrap_or(Value::Null)));
            }
            Wanted::Group(group) => return Some((group_key(&group), Value::Null)),
            other => other.partition(node)?,
        };
        Some((
            key.as_shard().map_or_else(|| key_of(key), |shard| shard_key(shard.0.into())),
            known(node, key),
        ))
    }
}

/// Where a partition is as far as this node knows.
fn known(node: &ShellNode, key: PartitionKey) -> Value {
    let (Some(descriptor), Some(info)) = (node.view().descriptor(key), node.leader(key)) else {
        return Value::Null;
    };
    let addresses =
        node.view().node(info.leader).map(|leader| vec![leader.mesh.clone(), first_kafka(leader)]);
    json!({
        "leader": info.leader.0,
        "term": info.term.0,
        "replicas": ids(descriptor),
        "addresses": addresses.unwrap_or_default(),
    })
}

pub(super) fn ids(descriptor: &Descriptor) -> Vec<i32> {
    descriptor.replicas.iter().map(|replica| replica.node.0).collect()
}

fn peers(view: &View) -> BTreeMap<PeerId, i32> {
    view.nodes().filter_map(|info| Some((PeerId::from_bytes(&info.peer_id).ok()?, info.node.0))).collect()
}

/// All partitions that this node knows of, shards included.
pub(super) fn descriptors(view: &View) -> impl Iterator<Item = &Descriptor> {
    let shards = ShardId::all().filter_map(|shard| view.shard(shard));
    shards.chain(view.topics().flat_map(|topic| view.partitions(topic.id)))
}

/// Why clients should not be sent here yet.
pub(super) fn unready(node: &ShellNode) -> Option<String> {
    let (view, me) = (node.view(), node.identity());
    let registered =
        view.node(me.node).is_some_and(|info| info.incarnation == me.incarnation && !info.kafka.is_empty());
    if !registered {
        return Some(format!("node {} is not registered with shard 0 yet", me.node.0));
    }
    let missing = node.shards_unheard();
    if missing > 0 {
        return Some(format!("{missing} metadata shards are not known yet"));
    }
    let led = |shard: &ShardId| node.leader_up(PartitionKey::of_shard(*shard)).is_some();
    let leaderless: Vec<String> =
        ShardId::all().filter(|shard| !led(shard)).map(|shard| shard.0.to_string()).collect();
    if !leaderless.is_empty() {
        return Some(format!("metadata shards without a known leader: {}", leaderless.join(" ")));
    }
    let loading: Vec<String> = view
        .desired_on(me.node)
        .filter(|descriptor| node.replica(descriptor.key).is_none_or(|replica| replica.role.is_none()))
        .map(|descriptor| partition_name(view, descriptor.key))
        .collect();
    let named = loading.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(" ");
    (!loading.is_empty()).then(|| format!("{} replicas are not loaded yet: {named}", loading.len()))
}

/// `TOPIC/NUMBER`.
pub(super) fn partition_name(view: &View, key: PartitionKey) -> String {
    let topic = match key.as_shard() {
        Some(_) => METADATA_TOPIC_NAME,
        None => view.topic(key.topic).map_or("?", |topic| &topic.name),
    };
    format!("{topic}/{}", key.partition)
}

fn nodes(node: &ShellNode, clocks: &BTreeMap<Vec<u8>, i64>, visits: &BTreeMap<Vec<u8>, Told>) -> Value {
    let (view, me, live) = (node.view(), node.identity().node, node.up());
    let heard: Vec<i32> = node.hears().iter().map(|peer| peer.0).collect();
    let (mut leads, mut replicas) = (BTreeMap::new(), BTreeMap::new());
    for descriptor in descriptors(view) {
        if let Some(info) = node.leader(descriptor.key) {
            *leads.entry(info.leader).or_insert(0_u64) += 1;
        }
        for replica in &descriptor.replicas {
            *replicas.entry(replica.node).or_insert(0_u64) += 1;
        }
    }
    let count = |of: &BTreeMap<NodeId, u64>, node| of.get(&node).copied().unwrap_or(0);
    let listed: Vec<Value> = view
        .nodes()
        .map(|info| {
            let id = info.node;
            let visit = visits.get(&info.peer_id).cloned().unwrap_or_default();
            let health = node.told(id).map(|(_, health)| health);
            json!({
                "node_id": id.0,
                "peer_id": PeerId::from_bytes(&info.peer_id).map(|peer| peer.to_string()).unwrap_or_default(),
                "incarnation": format!("{:016x}", info.incarnation.0),
                "boot": if id == me { node.boot() } else { node.told(id).map_or(0, |(boot, _)| boot) },
                "kafka": first_kafka(info),
                "listeners": listeners(info),
                "clock_offset_ms": clocks.get(&info.peer_id),
                "mesh": info.mesh,
                "http": info.http,
                "zone": info.zone,
                "state": info.state.name(),
                "up": live.contains(&id),
                "leads": count(&leads, id),
                "replicas": count(&replicas, id),
                "hears": if id == me { heard.clone() } else { Vec::new() },
                "disk_stuck": health.is_some_and(|health| health.disk_stuck),
                "arrivals_ms_ago": visit.arrivals_ms_ago,
                "left_ms_ago": visit.left_ms_ago,
                "old_copy_ms_ago": visit.old_copy_ms_ago,
            })
        })
        .collect();
    json!({ "cluster_id": view.cluster_id(), "node_id": me.0, "nodes": listed })
}

fn with_clocks(node: &ShellNode, clocks: &BTreeMap<PeerId, i64>) -> Exposition {
    let mut out = figures::of(node);
    let ids = peers(node.view());
    let mut family = out.gauge(
        "rafka_mesh_clock_offset_seconds",
        "How far the clock of another node is ahead of this one's, the time on the way included.",
    );
    for (id, ms) in clocks.iter().filter_map(|(peer, ms)| Some((ids.get(peer)?, ms))) {
        let sign = if *ms < 0 { "-" } else { "" };
        let ms = ms.unsigned_abs();
        family.of("node", id, format_args!("{sign}{}.{:03}", ms / 1000, ms % 1000));
    }
    out
}

/// Where a node's clients reach it, by listener.
fn listeners(info: &NodeInfo) -> Value {
    endpoints(&info.kafka).map(|end| (end.listener.to_owned(), Value::from(shown(&end)))).collect()
}

fn partitions(node: &ShellNode, name: &str) -> Option<Value> {
    let view = node.view();
    let topic = view.topic_named(name)?;
    let listed: Vec<Value> = view
        .partitions(topic.id)
        .map(|descriptor| {
            let info = node.leader(descriptor.key);
            let here = node.replica(descriptor.key);
            let in_sync: Vec<i32> =
                info.map(|info| info.in_sync.iter().map(|node| node.0).collect()).unwrap_or_default();
            json!({
                "partition": descriptor.key.partition,
                "leader": info.map(|info| info.leader.0),
                "term": info.map(|info| info.term.0),
                "replicas": ids(descriptor),
                "in_sync": in_sync,
                "creating": descriptor.creating,
                "log_start": here.as_ref().map(|replica| replica.start.next_offset),
                "high_watermark": here.as_ref().and_then(|replica| replica.high_watermark),
                "log_end": here.as_ref().map(|replica| replica.log_end),
            })
        })
        .collect();
    let id = Uuid::from_bytes(topic.id.0).to_string();
    Some(json!({ "topic": name, "topic_id": id, "partitions": listed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_partitions_shards_and_nodes() {
        assert_eq!(Wanted::parse("partition/orders/7"), Some(Wanted::Partition("orders".into(), 7)));
        assert_eq!(Wanted::parse("shard/15"), Some(Wanted::Shard(ShardId(15))));
        assert_eq!(Wanted::parse("node/2"), Some(Wanted::Node(2)));
        for wrong in
            ["", "shard/16", "shard/-1", "partition/a", "partition//1", "partition/a/-1", "node/x", "a/b"]
        {
            assert_eq!(Wanted::parse(wrong), None, "{wrong}");
        }
    }
}
