//! From a client's CreateTopic to the command that creates it, or to the error that Kafka users know.

use std::collections::{BTreeMap, BTreeSet};

use mesh::copysets::Copysets;
use mesh::placement::{self, Burden, PlacementNode};
use mesh::raft::{NodeId, ReplicaId};

use super::bytes::all_distinct;
use super::command::Command;
use super::configs::{self, Configs, Defaults, Layers};
use super::descriptor::{METADATA_TOPIC_NAME, ShardId, TOPIC_PARTITIONS_MAX, first_replica, topic_id};
use super::shard::REPLICAS_MAX;
use super::view::View;
use super::{NodeInfo, NodeState};
use crate::core::error::ErrorCode;
use crate::core::request::{CreateTopic, CreateTopicResult, TopicId};

/// Names that clients cannot create: the broker's own, now or later.
const RESERVED: [&str; 4] =
    [METADATA_TOPIC_NAME, "__cluster_metadata", "__consumer_offsets", "__transaction_state"];

/// A creation that can be sent to its shard.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which shard decides.
    pub shard: ShardId,
    /// What it is asked.
    pub command: Command,
    /// The client's answer once the shard said done; also the whole answer to `validate_only`.
    pub result: CreateTopicResult,
    /// For the log and the answer: nothing wrong, but better known.
    pub warning: Option<String>,
}

/// Why a topic cannot be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub error: ErrorCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }

    /// The client's answer.
    pub fn result(self, name: &str) -> CreateTopicResult {
        CreateTopicResult {
            name: name.to_owned(),
            topic_id: TopicId::default(),
            error: self.error,
            message: Some(self.message),
            partitions: -1,
            replication_factor: -1,
            configs: Vec::new(),
        }
    }
}

/// Checks a creation and places its replicas. `live` are the nodes that are up now, `random` 16 random bytes
/// for the topic's id. The shard checks again what may have changed by then.
///
/// An explicit replication factor needs that many live nodes, as in Kafka. The default one is less where the
/// mesh has fewer nodes, but not because some are down: then they are named all the same, as long as a
/// majority is live.
///
/// # Errors
///
/// [`Refusal`], with Kafka's error code.
pub fn plan_topic(
    request: &CreateTopic,
    view: &View,
    live: &BTreeSet<NodeId>,
    defaults: &Defaults,
    random: [u8; 16],
) -> Result<Plan, Refusal> {
    check_name(&request.name)?;
    plan_named(request, view, live, defaults, random)
}

/// The same for a topic of the broker's own, whose old records go by compaction and never by age.
///
/// # Errors
///
/// [`Refusal`], with Kafka's error code.
pub fn plan_internal(
    name: &str,
    partitions: i32,
    view: &View,
    live: &BTreeSet<NodeId>,
    defaults: &Defaults,
    random: [u8; 16],
) -> Result<Plan, Refusal> {
    let configs = [("retention.ms", "-1"), ("segment.bytes", "104857600")];
    let request = CreateTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: -1,
        assignment: Vec::new(),
        configs: configs.map(|(key, value)| (key.to_owned(), Some(value.to_owned()))).to_vec(),
    };
    let mut plan = plan_named(&request, view, live, defaults, random)?;
    if let Command::CreateTopic { configs, .. } = &mut plan.command {
        configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
    }
    Ok(plan)
}

fn plan_named(
    request: &CreateTopic,
    view: &View,
    live: &BTreeSet<NodeId>,
    defaults: &Defaults,
    random: [u8; 16],
) -> Result<Plan, Refusal> {
    check_collision(&request.name, view)?;
    let set = configs::check_topic(&request.configs)
        .map_err(|message| Refusal::new(ErrorCode::InvalidConfig, message))?;
    let id = topic_id(&request.name, random);
    let nodes = if request.assignment.is_empty() {
        let partitions = partition_count(request.partitions, defaults)?;
        place(request, partitions, id, view, live, defaults)?
    } else {
        check_assignment(request, view)?
    };
    let replication_factor = i16::try_from(nodes[0].len()).unwrap_or(i16::MAX);
    let partitions = i32::try_from(nodes.len()).unwrap_or(i32::MAX);
    let replicas: Vec<Vec<ReplicaId>> = nodes
        .iter()
        .map(|nodes| {
            nodes.iter().filter_map(|&node| view.node(node)).map(|n| first_replica(n.node, n.incarnation))
        })
        .map(Iterator::collect)
        .collect();
    let warning = (replication_factor == 2).then(|| {
        format!(
            "Topic '{}' has 2 replicas, and a majority of 2 is 2: it stops while one is down. 3 survive that.",
            request.name
        )
    });
    let nothing = Configs::new();
    let layers = Layers { topic: &set, node: &nothing, cluster: view.cluster_configs(), defaults };
    let result = CreateTopicResult {
        name: request.name.clone(),
        topic_id: id,
        error: ErrorCode::None,
        message: warning.clone(),
        partitions,
        replication_factor,
        configs: configs::describe_topic(&layers, None),
    };
    let command = Command::CreateTopic { name: request.name.clone(), id, partitions: replicas, configs: set };
    Ok(Plan { shard: ShardId::of_name(&request.name), command, result, warning })
}

/// Kafka's rules for topic names.
///
/// # Errors
///
/// INVALID_TOPIC with what is wrong.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidTopic, why));
    if name.is_empty() {
        return refuse("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return refuse(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > 249 {
        return refuse(format!("Topic name is invalid: its length {} is more than 249", name.len()));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return refuse(format!(
            "Topic name is invalid: '{}' contains one or more characters other than ASCII alphanumerics, '.', '_' and \
             '-'",
            name.escape_default()
        ));
    }
    if RESERVED.contains(&name) {
        return refuse(format!("Topic name is invalid: '{name}' is reserved for the broker"));
    }
    Ok(())
}

fn check_collision(name: &str, view: &View) -> Result<(), Refusal> {
    if view.topic_named(name).is_some() {
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    if !name.contains(['.', '_']) {
        return Ok(());
    }
    let same = |other: &str| other.len() == name.len() && other.replace('.', "_") == name.replace('.', "_");
    match view.topics().find(|topic| same(&topic.name)) {
        Some(other) => Err(Refusal::new(
            ErrorCode::InvalidTopic,
            format!("Topic '{name}' collides with existing topic: {}", other.name),
        )),
        None => Ok(()),
    }
}

fn partition_count(asked: i32, defaults: &Defaults) -> Result<u32, Refusal> {
    let count = if asked == -1 { defaults.partitions } else { asked };
    match u32::try_from(count) {
        Ok(count) if count >= 1 && asked <= TOPIC_PARTITIONS_MAX => Ok(count),
        Ok(count) if count >= 1 => Err(Refusal::new(
            ErrorCode::InvalidPartitions,
            format!("Number of partitions must be at most {TOPIC_PARTITIONS_MAX}, not {asked}."),
        )),
        _ => Err(Refusal::new(
            ErrorCode::InvalidPartitions,
            "Number of partitions must be larger than 0, or -1 to use the default value.",
        )),
    }
}

fn place(
    request: &CreateTopic,
    partitions: u32,
    id: TopicId,
    view: &View,
    live: &BTreeSet<NodeId>,
    defaults: &Defaults,
) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    let candidates = Candidates::new(view, live);
    let Candidates { all, up, .. } = &candidates;
    let asked = request.replication_factor;
    let default = usize::try_from(defaults.replication_factor).unwrap_or(1).clamp(1, REPLICAS_MAX);
    let factor = match asked {
        -1 => default.min(all.len()),
        _ => usize::try_from(asked).unwrap_or(0),
    };
    if factor == 0 && asked != -1 {
        return refuse("Replication factor must be larger than 0, or -1 to use the default value.".into());
    }
    if factor > REPLICAS_MAX {
        return refuse(format!("Replication factor {asked} is larger than {REPLICAS_MAX}."));
    }
    let short = asked != -1 && factor > up.len();
    if factor == 0 || short || up.len() < factor / 2 + 1 {
        return refuse(format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot \
             be reached because only {} of {} node(s) are up.",
            up.len(),
            all.len()
        ));
    }
    Ok(candidates.place(view, id, partitions, factor, live))
}

/// Where new replicas may go.
pub(super) struct Candidates {
    /// All but those that are to be emptied.
    pub(super) all: Vec<PlacementNode>,
    /// Of these, who is up.
    pub(super) up: Vec<PlacementNode>,
    /// Of these, who is not being drained.
    pub(super) willing: Vec<PlacementNode>,
}

impl Candidates {
    pub(super) fn new(view: &View, live: &BTreeSet<NodeId>) -> Self {
        let all = || view.nodes().filter(|info| info.weight > 0 && info.state != NodeState::Decommissioning);
        let up = || all().filter(|info| live.contains(&info.node));
        Self {
            all: all().map(NodeInfo::placement).collect(),
            up: up().map(NodeInfo::placement).collect(),
            willing: up().filter(|info| info.is_active()).map(NodeInfo::placement).collect(),
        }
    }

    /// The replicas of all partitions of a topic, on the best nodes of which there are enough.
    pub(super) fn place(
        self,
        view: &View,
        topic: TopicId,
        partitions: u32,
        factor: usize,
        live: &BTreeSet<NodeId>,
    ) -> Vec<Vec<NodeId>> {
        let by_rank = [self.willing, self.up, self.all];
        let nodes = by_rank.into_iter().find(|nodes| nodes.len() >= factor).unwrap_or_default();
        let mut placed = match Copysets::new(&nodes, factor) {
            Some(copysets) => {
                placement::place_topic_within(&topic.0, partitions, &nodes, &copysets, burden_of(view))
            }
            None => placement::place_topic(&topic.0, partitions, &nodes, factor),
        };
        for replicas in &mut placed {
            // A node that is down does not become the preferred leader.
            replicas.sort_by_key(|node| !live.contains(node));
        }
        placed
    }
}

/// What nodes hold and lead by now.
fn burden_of(view: &View) -> Burden {
    let mut burden = Burden::default();
    let mut nodes = Vec::new();
    for descriptor in view.descriptors() {
        nodes.clear();
        nodes.extend(descriptor.replicas.iter().map(|replica| replica.node));
        burden.add(&nodes);
    }
    burden
}

fn check_assignment(request: &CreateTopic, view: &View) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if request.partitions != -1 || request.replication_factor != -1 {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but partitions or replication factor were not -1.",
        ));
    }
    let mut by_partition: BTreeMap<i32, Vec<NodeId>> = BTreeMap::new();
    for (partition, nodes) in &request.assignment {
        let nodes: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
        if nodes.is_empty() || nodes.len() > REPLICAS_MAX {
            return refuse(format!(
                "The manual assignment of partition {partition} needs 1 to {REPLICAS_MAX} replicas."
            ));
        }
        if !all_distinct(&nodes) {
            return refuse(format!(
                "The manual assignment of partition {partition} includes a broker twice."
            ));
        }
        if let Some(unknown) = nodes.iter().find(|node| view.node(**node).is_none()) {
            return refuse(format!(
                "The manual assignment includes broker {}, but no such broker is registered.",
                unknown.0
            ));
        }
        if by_partition.insert(*partition, nodes).is_some() {
            return refuse(format!("Found multiple manual assignments for partition {partition}."));
        }
    }
    let consecutive = by_partition.keys().copied().zip(0..).all(|(partition, at)| partition == at);
    if !consecutive || by_partition.len() > usize::try_from(TOPIC_PARTITIONS_MAX).unwrap_or(0) {
        return refuse(format!(
            "Partitions must be numbered 0 to at most {}, each once.",
            TOPIC_PARTITIONS_MAX - 1
        ));
    }
    let lists: Vec<Vec<NodeId>> = by_partition.into_values().collect();
    if lists.iter().any(|nodes| nodes.len() != lists[0].len()) {
        return refuse("The manual assignment gives its partitions different replication factors.".into());
    }
    Ok(lists)
}

#[cfg(test)]
mod tests;
