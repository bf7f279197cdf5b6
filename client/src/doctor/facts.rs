//! What was seen and heard in one look at a mesh, side by side. Nothing here judges.

use crate::http::{Node, Nodes};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that one look found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The cluster that is looked at: the first that answered.
    pub(crate) cluster_id: String,
    /// The addresses that the user named.
    pub(crate) entries: Vec<Entry>,
    /// Every node that anyone knows.
    pub(crate) nodes: BTreeMap<i64, NodeFacts>,
    /// Offset of the next record of a partition's replica on a node, as that node says: asked of those that lag only.
    pub(crate) log_ends: BTreeMap<(String, i64), i64>,
}

/// An address of `--bootstrap`, or that of `--http`.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) address: String,
    /// What Kafka's metadata tell there; nothing for `--http`.
    pub(crate) kafka: Option<Result<KafkaSaid, String>>,
    /// What the node's HTTP port tells, as far as it could be guessed.
    pub(crate) http: Answer,
    /// Where that was looked for.
    pub(crate) http_address: String,
}

/// What Kafka's metadata tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KafkaSaid {
    pub(crate) cluster_id: String,
    pub(crate) brokers: BTreeMap<i64, String>,
}

/// One node of the mesh.
#[derive(Debug, Clone)]
pub(crate) struct NodeFacts {
    pub(crate) id: i64,
    pub(crate) http: String,
    pub(crate) mesh: String,
    /// Where clients that come the way we came are sent to.
    pub(crate) kafka: String,
    pub(crate) answer: Answer,
    /// What was answered at [`NodeFacts::kafka`].
    pub(crate) kafka_said: Result<KafkaSaid, String>,
}

/// What an HTTP port has to say.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// It is a node of a mesh.
    Full(Box<Said>),
    /// It runs, is not part of a mesh yet, and says why.
    Starting(String),
    /// The process answers, and the thread that owns its replicas does not.
    Stuck,
    /// Somebody else is there.
    Stranger(String),
    /// Nothing.
    Silent(Silence),
}

/// Why nothing was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Silence {
    /// No process listens there.
    Refused,
    /// The connection was taken, and nothing came.
    Hung,
    /// No connection; in words.
    NoWay(String),
}

/// `/v1/nodes` and `/v1/state` of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    pub(crate) nodes: Nodes,
    /// Nothing of a node of an older release.
    pub(crate) state: Option<State>,
}

/// Answer of `/v1/state`.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) version: String,
    pub(crate) uptime_ms: u64,
    pub(crate) node: Option<NodeState>,
    pub(crate) disk: Disk,
    pub(crate) limits: Limits,
}

/// What its worker knows.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub(crate) struct NodeState {
    pub(crate) boot: u64,
    /// Why clients should not be sent there.
    pub(crate) unready: Option<String>,
    pub(crate) topics: u64,
    pub(crate) partitions: u64,
    pub(crate) replicas: u64,
    pub(crate) disk_failed: bool,
    pub(crate) scrub: Scrub,
    /// Partitions that lack something; `listed` has the first of them.
    pub(crate) lacking: u64,
    pub(crate) listed: Vec<Lacking>,
}

/// How the reading back of what is stored goes.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub(crate) struct Scrub {
    /// Replicas with rot that were kept, because too few others were in sync.
    pub(crate) kept: u64,
}

/// A partition that lacks something.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub(crate) struct Lacking {
    /// `TOPIC/NUMBER`.
    pub(crate) partition: String,
    /// One that is up, as the answering node sees it.
    pub(crate) leader: Option<i64>,
    pub(crate) replicas: Vec<i64>,
    /// Told by the leader alone.
    pub(crate) in_sync: Option<Vec<i64>>,
    pub(crate) min_in_sync: Option<usize>,
    /// Of the replica there.
    pub(crate) standing: Option<String>,
    pub(crate) log_end: Option<i64>,
}

/// A node's disk.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub(crate) struct Disk {
    pub(crate) free_bytes: u64,
    pub(crate) reserve_bytes: u64,
    pub(crate) full_ms: Option<u64>,
    pub(crate) committing_ms: Option<u64>,
    pub(crate) commit_slowest_ms: u64,
    pub(crate) damaged_at_start: bool,
}

/// What a node may use, and uses.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) open_files: Option<u64>,
    pub(crate) open_files_max: Option<u64>,
    pub(crate) open_files_wanted: u64,
    pub(crate) connections: u64,
    pub(crate) connections_max: u64,
    pub(crate) request_bytes: u64,
    pub(crate) request_bytes_max: u64,
    pub(crate) calls: u64,
    pub(crate) calls_max: u64,
}

/// The topic whose partitions are the metadata shards.
const METADATA_TOPIC: &str = "__rafka_metadata/";

impl Facts {
    /// The nodes that answered in full.
    pub(crate) fn full(&self) -> impl Iterator<Item = (i64, &Said)> {
        self.nodes.values().filter_map(|node| Some((node.id, node.said()?)))
    }

    /// Of these, those that told their state.
    pub(crate) fn states(&self) -> impl Iterator<Item = (i64, &State)> {
        self.full().filter_map(|(id, said)| Some((id, said.state.as_ref()?)))
    }

    /// Of these, what their workers told.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (i64, &NodeState)> {
        self.states().filter_map(|(id, state)| Some((id, state.node.as_ref()?)))
    }

    /// Whether it answered in full.
    pub(crate) fn answers(&self, id: i64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.said().is_some())
    }

    /// What the nodes that answered say of one, themselves left out.
    pub(crate) fn said_of(&self, id: i64) -> impl Iterator<Item = (i64, &Node)> {
        self.full().filter(move |(from, _)| *from != id).filter_map(move |(from, said)| {
            Some((from, said.nodes.nodes.iter().find(|node| node.node_id == id)?))
        })
    }

    /// Whom a node that answered hears.
    pub(crate) fn hears(&self, id: i64) -> BTreeSet<i64> {
        let said = self.nodes.get(&id).and_then(NodeFacts::said);
        let own = said.and_then(|said| said.nodes.nodes.iter().find(|node| node.node_id == id));
        own.map(|node| node.hears.iter().copied().collect()).unwrap_or_default()
    }

    /// The nodes that answered and hear it.
    pub(crate) fn hearers(&self, id: i64) -> Vec<i64> {
        self.full()
            .map(|(from, _)| from)
            .filter(|from| *from != id && self.hears(*from).contains(&id))
            .collect()
    }

    /// Since when others have no connection with it.
    pub(crate) fn left_ms(&self, id: i64) -> Option<u64> {
        self.said_of(id).filter_map(|(_, node)| node.left_ms_ago).max()
    }

    /// `node 3 (10.0.0.3:9092)`.
    pub(crate) fn name(&self, id: i64) -> String {
        match self.nodes.get(&id).map(|node| node.kafka.as_str()) {
            Some(address) if !address.is_empty() => format!("node {id} ({address})"),
            _ => format!("node {id}"),
        }
    }
}

impl NodeFacts {
    /// The answer, if it is whole.
    pub(crate) fn said(&self) -> Option<&Said> {
        match &self.answer {
            Answer::Full(said) => Some(said),
            _ => None,
        }
    }
}

impl Lacking {
    /// The number of the metadata shard that this is.
    pub(crate) fn shard(&self) -> Option<&str> {
        self.partition.strip_prefix(METADATA_TOPIC)
    }

    /// Replicas that its leader does not count as in sync; none when this is not the leader's word.
    pub(crate) fn missing(&self) -> Vec<i64> {
        let in_sync = self.in_sync.as_ref();
        in_sync.map_or_else(Vec::new, |in_sync| {
            self.replicas.iter().copied().filter(|id| !in_sync.contains(id)).collect()
        })
    }
}
