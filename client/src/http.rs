//! What nodes tell over HTTP: [`Mesh::nodes`], [`Mesh::partitions`], [`Mesh::lookup`], and any other page with [`get`].
//!
//! A field that a node does not send is empty or none, and one that is not known here is ignored: nodes and programs may be of
//! different releases.

use crate::error::Error;
use crate::mesh::Mesh;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use ureq::Body;
use ureq::http::Response;

/// The mesh as one node knows it (`/v1/nodes`).
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Nodes {
    /// The cluster's id, made when the mesh was founded.
    pub cluster_id: String,
    /// The node that answered.
    pub node_id: i64,
    /// Every node that it knows, itself included.
    pub nodes: Vec<Node>,
    /// Processes that hold the mesh's secret and that it did not let in within the last minute.
    pub turned_away: Vec<TurnedAway>,
}

/// A process that a node does not let in, or not yet.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct TurnedAway {
    /// libp2p's identity, in base 58.
    pub peer_id: String,
    /// When it came last, in milliseconds before the answer.
    pub ms_ago: u64,
    /// Why it was not let in.
    pub reason: String,
}

/// One node, as the answering node knows it.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Node {
    /// Kafka's broker id.
    pub node_id: i64,
    /// libp2p's identity, in base 58.
    pub peer_id: String,
    /// How often it has started with its data directory.
    pub boot: u64,
    /// Where it sends Kafka clients to, `HOST:PORT`.
    pub kafka: String,
    /// Where other nodes reach it, `HOST:PORT`.
    pub mesh: String,
    /// Its HTTP port, `HOST:PORT`.
    pub http: String,
    /// What the mesh has decided about it: `active`, `draining`, `decommissioning`, `dead`.
    pub state: String,
    /// Whether the answering node holds it for alive.
    pub up: bool,
    /// Partitions that it leads, metadata shards included.
    pub leads: u64,
    /// Replicas that it has, of metadata shards as well.
    pub replicas: u64,
    /// The nodes that it hears itself, by heartbeats or by gossip. Only the answering node says that, and of itself: empty for others.
    pub hears: Vec<i64>,
    /// How far its clock is ahead of the answering node's, the way included; negative when it is behind.
    pub clock_offset_ms: Option<i64>,
    /// It says that its disk does not end a commit.
    pub disk_stuck: bool,
    /// When it connected to the answering node, in milliseconds before the answer, the last time first.
    pub arrivals_ms_ago: Vec<u64>,
    /// Since when it is not connected, in milliseconds before the answer; none while it is.
    pub left_ms_ago: Option<u64>,
    /// When it last spoke from an old copy of its data directory, in milliseconds before the answer.
    pub old_copy_ms_ago: Option<u64>,
}

/// What becomes of a node, see [`Mesh::set_node_state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It holds replicas and leads.
    Active,
    /// It keeps its replicas, gets no new ones, and leads nothing that others can lead.
    Draining,
    /// The same, and its replicas move to other nodes.
    Decommissioning,
    /// It is out of the mesh for good. Only for a node that is dead or was decommissioned.
    Removed,
}

impl NodeState {
    fn name(self) -> &'static str {
        match self {
            NodeState::Active => "active",
            NodeState::Draining => "draining",
            NodeState::Decommissioning => "decommissioning",
            NodeState::Removed => "removed",
        }
    }
}

/// Which replicas move (`/v1/balance`).
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Balance {
    /// Whether moves for evenness are paused. Nodes that are dead or decommissioned are emptied all the same.
    pub paused: bool,
    /// Partitions with a replica on its way.
    pub moving: Vec<Moving>,
    /// Moves that are to be begun next.
    pub waiting: u64,
    /// Replicas that the answering node rebuilds, as the leader of their partitions; [`Mesh::rebuilds`] asks all nodes.
    pub rebuilding: Vec<Rebuild>,
    /// Bytes per second that the answering node sends to replicas that are rebuilt at most; 0 for no limit.
    pub rebuild_limit_bytes: u64,
}

/// A replica that gets what it lacks: a new one, one that moved, or one that was away for long.
#[derive(Deserialize, Serialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Rebuild {
    /// `TOPIC/NUMBER`.
    pub partition: String,
    /// The node that it is on.
    pub node: i64,
    /// The node that leads the partition and sends.
    pub from: i64,
    /// Whether it votes: then it was away for long.
    pub voter: bool,
    /// Bytes that it has, about.
    pub done_bytes: u64,
    /// Bytes that it lacks, about.
    pub left_bytes: u64,
    /// How fast it got them lately; none in the first moments.
    pub bytes_per_second: Option<u64>,
    /// How long it takes at that rate, in milliseconds; none while nothing comes.
    pub left_ms: Option<u64>,
    /// For how long it has been rebuilt by this leader, in milliseconds.
    pub for_ms: u64,
}

/// A partition with a replica on its way.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Moving {
    /// `TOPIC/NUMBER`.
    pub partition: String,
    /// The nodes that shall have it.
    pub replicas: Vec<i64>,
    /// The nodes of these that do not have it yet.
    pub coming: Vec<i64>,
    /// The nodes that had it and have not let go yet.
    pub leaving: Vec<i64>,
}

/// A topic's partitions as one node knows them (`/v1/partitions`).
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Partitions {
    /// The topic's id, made when it was created.
    pub topic_id: String,
    /// In no particular order; empty when the node does not know the topic.
    pub partitions: Vec<Partition>,
}

/// One partition. Offsets are Kafka's, from 0.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Partition {
    /// Its number, from 0.
    pub partition: i32,
    /// The node that takes its records; none while one is elected.
    pub leader: Option<i64>,
    /// How often a leader was elected, which is Kafka's leader epoch; told over HTTP only.
    pub term: Option<i64>,
    /// The nodes that keep copies.
    pub replicas: Vec<i64>,
    /// Those of them that hold all there is.
    pub in_sync: Vec<i64>,
    /// The first offset that is kept.
    pub log_start: Option<i64>,
    /// The first offset that consumers cannot read yet.
    pub high_watermark: Option<i64>,
    /// The offset that the next record gets; told over HTTP only.
    pub log_end: Option<i64>,
}

/// Where a key lives, and how that was found (`/v1/lookup`).
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Lookup {
    /// The key, as it was asked for.
    pub key: String,
    /// Its place in the Kademlia table: 32 bytes in hexadecimal.
    pub hash: String,
    /// How long the chain of answers was that named closer nodes; 0 when nobody was asked.
    pub rounds: u32,
    /// The nodes asked, in turn; none when the node knew by itself.
    pub hops: Vec<Hop>,
    /// What the mesh knows: an object with the leader and the replicas of a partition, say. Null when nobody knows the key.
    pub value: Value,
    /// `dht` when other nodes said so, `local` when the answering node knew.
    pub source: String,
}

/// One node asked on the way.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
#[non_exhaustive]
pub struct Hop {
    /// Kafka's broker id, if the answering node knows it.
    pub node_id: Option<i64>,
    /// libp2p's identity, in base 58.
    pub peer_id: String,
    /// 1 for a node that the asking one knew of; one more than that of the answer which first named it.
    pub round: u32,
    /// How long its answer took, in milliseconds.
    pub ms: f64,
    /// `closer`: it named nodes closer to the key; `value`: it knew; `timeout`: it did not answer; `unawaited`: others had said
    /// enough by then.
    pub result: String,
}

/// What [`Mesh::lookup`] can look for.
///
/// ```
/// use rafka::http::Key;
///
/// assert_eq!(Key::Partition("orders", 7).to_string(), "partition/orders/7");
/// assert_eq!(Key::Node(2).to_string(), "node/2");
/// assert_eq!(Key::Group("orders-app").to_string(), "group/orders-app");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A topic's partition, by its number from 0.
    Partition(&'a str, u32),
    /// A metadata shard, by its number from 0.
    Shard(u32),
    /// A node, by Kafka's broker id.
    Node(u32),
    /// A consumer group, by its id.
    Group(&'a str),
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Partition(topic, number) => write!(f, "partition/{topic}/{number}"),
            Key::Shard(number) => write!(f, "shard/{number}"),
            Key::Node(number) => write!(f, "node/{number}"),
            Key::Group(id) => write!(f, "group/{id}"),
        }
    }
}

impl Lookup {
    /// The node that leads the partition or shard; none when nobody knows it, or it has no leader.
    #[must_use]
    pub fn leader(&self) -> Option<i64> {
        self.value.get("leader")?.as_i64()
    }
}

impl Mesh {
    /// The nodes, as the one at [`Mesh::http_address`] knows them.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), rafka::Error> {
    /// for node in rafka::Mesh::at("127.0.0.1:9092").nodes()?.nodes {
    ///     println!("node {} at {}: {}", node.node_id, node.kafka, if node.up { "up" } else { "down" });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`].
    pub fn nodes(&self) -> Result<Nodes, Error> {
        typed(self, &get(self, "/v1/nodes")?)
    }

    /// Decides what becomes of a node. `operator` is who decides, for the log of the node at [`Mesh::http_address`].
    ///
    /// # Errors
    ///
    /// As [`get`]; [`Error::HttpRefused`] also when the mesh says no, with the reason.
    pub fn set_node_state(&self, node: u32, state: NodeState, operator: &str) -> Result<(), Error> {
        post(self, &format!("/v1/nodes?node={node}&state={}", state.name()), operator)
    }

    /// Gives each partition of a topic so many replicas: the mesh chooses the nodes. It is done when the plan is committed; the new replicas
    /// get the log after that, and [`Mesh::balance`] tells how far that is. One replica never becomes two. With an even number a partition
    /// stops with the loss of as few nodes as with one replica less.
    ///
    /// # Errors
    ///
    /// As [`Mesh::set_node_state`].
    pub fn set_replication_factor(&self, topic: &str, factor: i32, operator: &str) -> Result<(), Error> {
        post(self, &format!("/v1/topics?topic={}&replication_factor={factor}", encode(topic)), operator)
    }

    /// Which replicas move.
    ///
    /// # Errors
    ///
    /// As [`get`].
    pub fn balance(&self) -> Result<Balance, Error> {
        typed(self, &get(self, "/v1/balance")?)
    }

    /// The replicas that are rebuilt anywhere, most to do first: every node that is up is asked what it sends. One that does not answer
    /// is left out.
    ///
    /// # Errors
    ///
    /// As [`get`], of the node at [`Mesh::http_address`] alone.
    pub fn rebuilds(&self) -> Result<Vec<Rebuild>, Error> {
        let nodes = self.nodes()?.nodes;
        let told = |node: Node| self.clone().http(node.http).balance().ok();
        let up = nodes.into_iter().filter(|node| node.up && !node.http.is_empty());
        let mut all: Vec<Rebuild> = up.filter_map(told).flat_map(|balance| balance.rebuilding).collect();
        all.sort_by(|a, b| (b.left_bytes, &a.partition, a.node).cmp(&(a.left_bytes, &b.partition, b.node)));
        Ok(all)
    }

    /// Pauses the moves of replicas for evenness, or lets them go on.
    ///
    /// # Errors
    ///
    /// As [`Mesh::set_node_state`].
    pub fn pause_balancing(&self, paused: bool, operator: &str) -> Result<(), Error> {
        post(self, &format!("/v1/balance?paused={paused}"), operator)
    }

    /// Has a partition go on from one survivor of a lost majority; what only the others had is lost. `survivor` is its triple as
    /// `/v1/replica` tells it. The survivor's own node has to be asked.
    ///
    /// # Errors
    ///
    /// As [`Mesh::set_node_state`].
    pub fn recover(
        &self,
        key: Key<'_>,
        survivor: &str,
        why: &str,
        found: &str,
        operator: &str,
    ) -> Result<(), Error> {
        let (key, survivor) = (encode(&key.to_string()), encode(survivor));
        let path =
            format!("/v1/recover?key={key}&survivor={survivor}&why={}&found={}", encode(why), encode(found));
        post(self, &path, operator)
    }

    /// A topic's partitions, as the node at [`Mesh::http_address`] knows them; [`Mesh::describe_topic`] is for when HTTP may
    /// be closed.
    ///
    /// # Errors
    ///
    /// As [`get`].
    pub fn partitions(&self, topic: &str) -> Result<Partitions, Error> {
        typed(self, &get(self, &format!("/v1/partitions?topic={}", encode(topic)))?)
    }

    /// Has the node at [`Mesh::http_address`] walk the mesh's Kademlia table towards a key.
    ///
    /// ```no_run
    /// use rafka::http::Key;
    ///
    /// # fn main() -> Result<(), rafka::Error> {
    /// let found = rafka::Mesh::at("127.0.0.1:9092").lookup(Key::Partition("orders", 7))?;
    /// println!("led by {:?}, known after {} round(s)", found.leader(), found.rounds);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`]. That nobody knows the key is none: [`Lookup::value`] is null then.
    pub fn lookup(&self, key: Key<'_>) -> Result<Lookup, Error> {
        typed(self, &get(self, &format!("/v1/lookup?key={}", encode(&key.to_string())))?)
    }
}

/// Asks the node at [`Mesh::http_address`] for a page. `path` begins with a slash and is already percent-encoded.
///
/// # Errors
///
/// [`Error::HttpUnreachable`] when nobody speaks HTTP there within [`Mesh::wait`]; [`Error::HttpRefused`] when the node answers
/// an error, and [`Error::NotRafka`] when it answers something other than JSON.
pub fn get(mesh: &Mesh, path: &str) -> Result<Value, Error> {
    read(mesh, agent(mesh).get(format!("http://{}{path}", mesh.http_address())).call())
}

/// Asks for something to be done; nodes want to know who asks.
pub(crate) fn post(mesh: &Mesh, path: &str, operator: &str) -> Result<(), Error> {
    let request = agent(mesh).post(format!("http://{}{path}", mesh.http_address()));
    read(mesh, request.header("X-Rafka-Operator", operator).send_empty()).map(|_done| ())
}

fn agent(mesh: &Mesh) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(mesh.wait()));
    config.http_status_as_error(false).proxy(None).build().into()
}

fn read(mesh: &Mesh, response: Result<Response<Body>, ureq::Error>) -> Result<Value, Error> {
    let address = mesh.http_address();
    let unreachable = |error: ureq::Error| Error::HttpUnreachable {
        address: address.to_owned(),
        reason: error.to_string(),
    };
    let mut response = response.map_err(unreachable)?;
    let status = response.status();
    let text = response.body_mut().read_to_string().map_err(unreachable)?;
    if !status.is_success() {
        let said = serde_json::from_str::<Value>(&text).ok();
        let said =
            said.as_ref().and_then(|value| value.get("error")).and_then(Value::as_str).unwrap_or(text.trim());
        let (address, said) = (address.to_owned(), said.to_owned());
        return Err(Error::HttpRefused { address, status: status.to_string(), said });
    }
    serde_json::from_str(&text).map_err(|error| not_rafka(mesh, &error))
}

/// Reads an answer into its type.
///
/// # Errors
///
/// [`Error::NotRafka`].
pub fn typed<T: for<'a> Deserialize<'a>>(mesh: &Mesh, value: &Value) -> Result<T, Error> {
    T::deserialize(value).map_err(|error| not_rafka(mesh, &error))
}

/// Percent-encodes a query value (RFC 3986: all but unreserved characters and the slash, which a query may hold).
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn not_rafka(mesh: &Mesh, error: &serde_json::Error) -> Error {
    Error::NotRafka { address: mesh.http_address().to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::{Nodes, Partitions, encode};

    #[test]
    fn a_query_value_is_encoded() {
        assert_eq!(encode("partition/a.b-c_d/7"), "partition/a.b-c_d/7");
        assert_eq!(encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }

    #[test]
    fn answers_with_missing_and_unknown_fields_are_read() {
        let nodes: Nodes =
            serde_json::from_str(r#"{"node_id":1,"nodes":[{"node_id":1,"up":true,"new":1}]}"#).unwrap();
        assert!(nodes.nodes[0].up && nodes.nodes[0].hears.is_empty());
        let text = r#"{"topic":"t","partitions":[{"partition":3,"leader":null,"log_end":10}]}"#;
        let partitions: Partitions = serde_json::from_str(text).unwrap();
        assert_eq!((partitions.partitions[0].leader, partitions.partitions[0].log_end), (None, Some(10)));
    }
}
