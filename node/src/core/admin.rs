//! Requests about topics, nodes and producer ids: what needs no partition of one's own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mesh::raft::{NodeId, Time};
use storage::Disk;

use super::after_ms;
use super::configs::{Altering, altered, quotas_altered};
use super::error::ErrorCode;
use super::groups::{OFFSETS_TOPIC, is_internal};
use super::metadata::growth::plan_growth;
use super::metadata::plan::{self, Plan, Refusal};
use super::metadata::{Command, NodeInfo, NodeState, Outcome, PartitionKey, ShardId, endpoints};
use super::node::{Call, Node, Timer};
use super::request::{
    Broker, CreateTopic, CreateTopicResult, Decision, DeleteTopicResult, GrowResult, GrowTopic, LogDir,
    LogDirReplica, MetadataResult, MetadataTopics, PartitionMetadata, ReassignResult, Request, RequestId,
    Response, TopicId, TopicMetadata, TopicRef,
};
use super::shards::Purpose;
use crate::mutant::{self, Mutant};

/// Producer ids that a node asks a shard for at once.
const PRODUCER_ID_BLOCK: u32 = 1_000;

/// How long an InitProducerId or a registration waits for a shard, in milliseconds.
pub(crate) const SHARD_WAIT_MS: u64 = 10_000;

/// A request about topics or nodes that waits for a shard.
pub(crate) struct AdminCall {
    pub(crate) deadline: Time,
    kind: Waiting,
}

enum Waiting {
    Create(Vec<Creating>),
    Grow(Vec<Growing>),
    Delete(Vec<(DeleteTopicResult, bool)>),
    Alter(Vec<Altering>),
    AlterQuotas(Vec<Altering>),
    Reassign(Vec<(ReassignResult, bool)>),
    Register,
    Decide,
}

struct Creating {
    result: CreateTopicResult,
    step: CreateStep,
}

struct Growing {
    result: GrowResult,
    topic: TopicId,
    count: i32,
    step: CreateStep,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreateStep {
    /// The shard has not answered.
    Asked,
    /// The shard created it; its partitions are not led yet.
    Created,
    Done,
}

/// The producer ids that this node may hand out, and who waits for more.
#[derive(Default)]
pub(crate) struct ProducerIds {
    free: std::ops::Range<i64>,
    asked: bool,
    waiting: VecDeque<(RequestId, Time)>,
}

impl<D: Disk> Node<D> {
    pub(crate) fn admin(&mut self, id: RequestId, request: Request) {
        match request {
            Request::InitProducerId { .. } => self.init_producer_id(id),
            Request::Metadata { topics, allow_auto_create } => {
                let metadata = self.metadata(topics, allow_auto_create);
                self.respond(id, Response::Metadata(metadata));
            }
            Request::CreateTopics { topics, validate_only, timeout_ms } => {
                self.create_topics(id, topics, validate_only, timeout_ms);
            }
            Request::DeleteTopics { topics, timeout_ms } => self.delete_topics(id, topics, timeout_ms),
            Request::DescribeConfigs { resources } => {
                let resources =
                    resources.into_iter().map(|resource| self.describe_config(resource)).collect();
                self.respond(id, Response::DescribeConfigs { resources });
            }
            Request::DescribeQuotas(filter) => {
                let entries = self.describe_quotas(&filter);
                self.respond(id, Response::DescribeQuotas { entries });
            }
            Request::AlterQuotas { entries, validate_only } => self.alter_quotas(id, entries, validate_only),
            Request::AlterConfigs { resources, validate_only } => {
                self.alter_configs(id, resources, validate_only);
            }
            Request::CreatePartitions { topics, validate_only, timeout_ms } => {
                self.create_partitions(id, topics, validate_only, timeout_ms);
            }
            Request::AlterReassignments { partitions, may_change_factor, timeout_ms } => {
                self.alter_reassignments(id, partitions, may_change_factor, timeout_ms);
            }
            Request::ChangeFactor { topic, factor, timeout_ms } => {
                self.change_factor(id, &topic, factor, timeout_ms);
            }
            Request::ListReassignments { partitions } => {
                let response = self.list_reassignments(partitions);
                self.respond(id, response);
            }
            Request::DescribeLogDirs { partitions } => {
                let dir = self.describe_log_dir(partitions);
                self.respond(id, Response::DescribeLogDirs(dir));
            }
            Request::RegisterNode { registration, gives_up } => {
                self.register_other(id, registration, gives_up);
            }
            Request::Decide(decision) => self.ask_decision(id, decision),
            Request::Recover(wish) => self.recover(id, wish),
            Request::Produce { .. }
            | Request::Fetch { .. }
            | Request::ListOffsets { .. }
            | Request::DeleteRecords { .. }
            | Request::ElectLeaders { .. }
            | Request::Group(_)
            | Request::OffsetForLeaderEpoch { .. } => unreachable!("Node::request serves these itself"),
        }
    }

    fn metadata(&mut self, wanted: MetadataTopics, allow_auto_create: bool) -> MetadataResult {
        let topics = match wanted {
            MetadataTopics::All => {
                let names: Vec<String> = self.view.topics().map(|topic| topic.name.clone()).collect();
                names.into_iter().map(|name| self.topic_metadata(TopicRef::Name(name), false)).collect()
            }
            MetadataTopics::Some(topics) => {
                topics.into_iter().map(|topic| self.topic_metadata(topic, allow_auto_create)).collect()
            }
        };
        let registered: Vec<&NodeInfo> = self
            .view
            .nodes()
            .filter(|info| info.state != NodeState::Dead || self.is_live(info.node))
            .collect();
        let live = registered.iter().filter(|info| self.is_live(info.node)).count();
        // Without most of the mesh this node may be the one that is cut off. Clients forget who is not listed, and would stay with it.
        let cut_off = live * 2 <= registered.len();
        let listed = registered.into_iter().filter(|info| cut_off || self.is_live(info.node));
        let brokers = listed
            .filter_map(|info| {
                let first = endpoints(&info.kafka).next()?;
                let rack = (!info.zone.is_empty()).then(|| info.zone.clone());
                Some(Broker { node: info.node.0, host: first.host.to_string(), port: first.port, rack })
            })
            .collect();
        let cluster_id = self.view.cluster_id().to_string();
        MetadataResult { cluster_id, controller: self.identity.node.0, brokers, topics }
    }

    fn topic_metadata(&mut self, wanted: TopicRef, allow_auto_create: bool) -> TopicMetadata {
        if let Some(topic) = self.view.topic_ref(&wanted) {
            let (name, topic_id) = (topic.name.clone(), topic.id);
            let partitions = self.view.partitions(topic_id).map(|d| self.partition_metadata(d)).collect();
            let (error, internal) = (ErrorCode::None, is_internal(&name));
            return TopicMetadata { error, name: Some(name), topic_id, internal, partitions };
        }
        let (error, name, topic_id) = match wanted {
            TopicRef::Id(id) => (self.unknown_id(id), None, id),
            TopicRef::Name(name) => {
                let error = self.unknown_name(&name, allow_auto_create);
                (error, Some(name), TopicId::default())
            }
        };
        TopicMetadata { error, name, topic_id, internal: false, partitions: Vec::new() }
    }

    /// A topic that is not known here may be because its shard is not, or not as it is by now: that must not read as deleted.
    fn unknown_id(&self, id: TopicId) -> ErrorCode {
        if self.heard.contains(&ShardId::of_topic(id)) {
            ErrorCode::UnknownTopicId
        } else {
            ErrorCode::LeaderNotAvailable
        }
    }

    fn unknown_name(&mut self, name: &str, allow_auto_create: bool) -> ErrorCode {
        if !self.heard.contains(&ShardId::of_name(name)) {
            return ErrorCode::LeaderNotAvailable;
        }
        if let Err(refusal) = plan::check_name(name) {
            return refusal.error;
        }
        if !(allow_auto_create && self.config.defaults.auto_create_topics) {
            return ErrorCode::UnknownTopicOrPartition;
        }
        let request = CreateTopic {
            name: name.to_string(),
            partitions: -1,
            replication_factor: -1,
            assignment: Vec::new(),
            configs: Vec::new(),
        };
        match self.plan(&request) {
            Ok(planned) => {
                self.submit(planned.shard, &planned.command, Purpose::Housekeeping);
                ErrorCode::LeaderNotAvailable
            }
            Err(refusal) if refusal.error == ErrorCode::NotController => ErrorCode::LeaderNotAvailable,
            Err(refusal) => refusal.error,
        }
    }

    fn partition_metadata(&self, descriptor: &super::metadata::Descriptor) -> PartitionMetadata {
        // While some come and others go, all of them, as Kafka does.
        let replicas: Vec<i32> = descriptor.moving_nodes().all;
        let live = |node: i32| self.is_live(NodeId(node));
        let known = self
            .leader_up(descriptor.key)
            .filter(|_| !descriptor.creating || mutant::active(Mutant::CreatingReplicaServes));
        let in_sync = match known {
            Some(info) if !info.in_sync.is_empty() => info.in_sync.iter().map(|node| node.0).collect(),
            Some(info) => vec![info.leader.0],
            None => Vec::new(),
        };
        PartitionMetadata {
            error: if known.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
            partition: descriptor.key.partition,
            leader: known.map_or(-1, |info| info.leader.0),
            leader_epoch: known.and_then(|info| info.term.leader_epoch().ok()).unwrap_or(-1),
            in_sync,
            offline: replicas.iter().copied().filter(|node| !live(*node)).collect(),
            replicas,
        }
    }

    fn create_topics(
        &mut self,
        id: RequestId,
        topics: Vec<CreateTopic>,
        validate_only: bool,
        timeout_ms: u32,
    ) {
        let deadline = after_ms(self.now.mono, u64::from(timeout_ms));
        let mut creating = Vec::with_capacity(topics.len());
        let mut commands = Vec::new();
        for (at, topic) in topics.into_iter().enumerate() {
            let (result, command) = self.plan_result(&topic);
            let step = if command.is_some() && !validate_only { CreateStep::Asked } else { CreateStep::Done };
            if let Some((shard, command)) = command.filter(|_| !validate_only) {
                commands.push((at, shard, command));
            }
            creating.push(Creating { result, step });
        }
        self.begin_creation(id, AdminCall { deadline, kind: Waiting::Create(creating) }, commands);
    }

    /// Keeps a call until what it wants is there, and asks the shards for that: each command is for the topic of that place.
    fn begin_creation(&mut self, id: RequestId, call: AdminCall, commands: Vec<(usize, ShardId, Command)>) {
        self.set_timer(call.deadline, Timer::Call(id));
        self.calls.insert(id, Call::Admin(call));
        self.creations.insert(id);
        for (at, shard, command) in commands {
            self.submit(shard, &command, Purpose::Topic { call: id, at });
        }
        self.finish_admin(id);
    }

    pub(crate) fn begin_alteration(
        &mut self,
        id: RequestId,
        deadline: Time,
        altering: Vec<Altering>,
        commands: Vec<(usize, ShardId, Command)>,
    ) {
        self.begin_creation(id, AdminCall { deadline, kind: Waiting::Alter(altering) }, commands);
    }

    pub(crate) fn begin_quotas(
        &mut self,
        id: RequestId,
        altering: Vec<Altering>,
        commands: Vec<(usize, ShardId, Command)>,
    ) {
        let deadline = after_ms(self.now.mono, SHARD_WAIT_MS);
        self.begin_creation(id, AdminCall { deadline, kind: Waiting::AlterQuotas(altering) }, commands);
    }

    /// Keeps a call until the shards answered what each part of it asks.
    pub(crate) fn begin_reassignment(
        &mut self,
        id: RequestId,
        deadline: Time,
        parts: Vec<(ReassignResult, bool)>,
        commands: Vec<(usize, ShardId, Command)>,
    ) {
        self.begin_creation(id, AdminCall { deadline, kind: Waiting::Reassign(parts) }, commands);
    }

    fn create_partitions(
        &mut self,
        id: RequestId,
        topics: Vec<GrowTopic>,
        validate_only: bool,
        timeout_ms: u32,
    ) {
        let deadline = after_ms(self.now.mono, u64::from(timeout_ms));
        let live = self.up();
        let mut growing = Vec::with_capacity(topics.len());
        let mut commands = Vec::new();
        for (at, topic) in topics.into_iter().enumerate() {
            let GrowTopic { name, count, .. } = topic.clone();
            let plan = match self.absent(&name) {
                ErrorCode::LeaderNotAvailable if self.view.topic_named(&name).is_none() => {
                    Err(Refusal::new(ErrorCode::NotController, ErrorCode::NotController.text()))
                }
                _ => self.knows_lives().and_then(|()| plan_growth(&topic, &self.view, &live)),
            };
            let (error, message, step) = match &plan {
                Ok(_) if validate_only => (ErrorCode::None, None, CreateStep::Done),
                Ok(_) => (ErrorCode::None, None, CreateStep::Asked),
                Err(refusal) => (refusal.error, Some(refusal.message.clone()), CreateStep::Done),
            };
            let mut known = TopicId::default();
            if let Ok(Command::AddPartitions { topic, .. }) = &plan {
                known = *topic;
            }
            growing.push(Growing { result: GrowResult { name, error, message }, topic: known, count, step });
            let command = plan.ok().filter(|_| !validate_only);
            commands.extend(command.map(|command| (at, ShardId::of_topic(known), command)));
        }
        self.begin_creation(id, AdminCall { deadline, kind: Waiting::Grow(growing) }, commands);
    }

    fn plan_result(&mut self, topic: &CreateTopic) -> (CreateTopicResult, Option<(ShardId, Command)>) {
        match self.plan(topic) {
            Ok(plan) => (plan.result, Some((plan.shard, plan.command))),
            Err(refusal) => (refusal.result(&topic.name), None),
        }
    }

    fn plan(&mut self, topic: &CreateTopic) -> Result<Plan, Refusal> {
        self.knows_lives()?;
        let live = self.up();
        let random = self.random();
        plan::plan_topic(topic, &self.view, &live, &self.config.defaults, random)
    }

    /// The topic of consumer groups. Old records of it go by compaction, never by age.
    pub(crate) fn plan_offsets_topic(&mut self) -> Result<Plan, Refusal> {
        self.knows_lives()?;
        let (live, random) = (self.up(), self.random());
        let partitions = self.config.groups.offsets_partitions;
        plan::plan_internal(OFFSETS_TOPIC, partitions, &self.view, &live, &self.config.defaults, random)
    }

    /// Replicas are planned for lives of data directories. Planned from an old registry, most of them may be over, and nobody would
    /// ever create the partition (seed 1223: a node whose disk was wiped planned itself by its old life).
    pub(crate) fn knows_lives(&self) -> Result<(), Refusal> {
        if self.heard.contains(&ShardId(0)) && self.is_registered() {
            return Ok(());
        }
        let message = "This node has just started and does not know the nodes of the mesh yet; try again.";
        Err(Refusal::new(ErrorCode::NotController, message))
    }

    /// 16 bytes from the node's seed: unique, not secret.
    pub(crate) fn random(&mut self) -> [u8; 16] {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&self.identity.incarnation.0.to_le_bytes());
        hasher.update(&self.boot.to_le_bytes());
        let mut random = [0; 16];
        random.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        random
    }

    fn delete_topics(&mut self, id: RequestId, topics: Vec<TopicRef>, timeout_ms: u32) {
        let deadline = after_ms(self.now.mono, u64::from(timeout_ms));
        let mut results = Vec::with_capacity(topics.len());
        let mut commands = Vec::new();
        for (at, wanted) in topics.into_iter().enumerate() {
            let found = self.view.topic_ref(&wanted).map(|topic| (topic.name.clone(), topic.id));
            let mut result = DeleteTopicResult {
                name: None,
                topic_id: TopicId::default(),
                error: ErrorCode::None,
                message: None,
            };
            let open = found.is_some();
            match (found, wanted) {
                (Some((name, topic)), _) => {
                    (result.name, result.topic_id) = (Some(name), topic);
                    commands.push((at, ShardId::of_topic(topic), Command::DeleteTopic { id: topic }));
                }
                (None, TopicRef::Id(topic)) => {
                    (result.topic_id, result.error) = (topic, self.unknown_id(topic))
                }
                (None, TopicRef::Name(name)) => {
                    result.error = match self.unknown_name(&name, false) {
                        ErrorCode::LeaderNotAvailable => ErrorCode::RequestTimedOut,
                        error => error,
                    };
                    result.name = Some(name);
                }
            }
            results.push((result, open));
        }
        self.calls.insert(id, Call::Admin(AdminCall { deadline, kind: Waiting::Delete(results) }));
        self.set_timer(deadline, Timer::Call(id));
        for (at, shard, command) in commands {
            self.submit(shard, &command, Purpose::Topic { call: id, at });
        }
        self.finish_admin(id);
    }

    /// A shard answered one topic of a call.
    pub(crate) fn topic_answered(&mut self, id: RequestId, at: usize, outcome: Outcome) {
        let (error, message) = refusal_of(outcome);
        let Some(Call::Admin(call)) = self.calls.get_mut(&id) else { return };
        match &mut call.kind {
            Waiting::Create(topics) => {
                let topic = &mut topics[at];
                topic.step = if error == ErrorCode::None { CreateStep::Created } else { CreateStep::Done };
                topic.result.error = error;
                if message.is_some() {
                    topic.result.message = message;
                }
            }
            Waiting::Grow(topics) => {
                let topic = &mut topics[at];
                topic.step = if error == ErrorCode::None { CreateStep::Created } else { CreateStep::Done };
                (topic.result.error, topic.result.message) = (error, message);
            }
            Waiting::Alter(resources) | Waiting::AlterQuotas(resources) => {
                let one = &mut resources[at];
                one.step = if error == ErrorCode::None { CreateStep::Created } else { CreateStep::Done };
                (one.error, one.message) = (error, message);
            }
            Waiting::Delete(topics) => {
                topics[at].0.error = error;
                topics[at].0.message = message;
                topics[at].1 = false;
            }
            Waiting::Reassign(parts) => {
                (parts[at].0.error, parts[at].0.message, parts[at].1) = (error, message, false);
            }
            Waiting::Register | Waiting::Decide => {}
        }
        self.finish_admin(id);
    }

    /// Views or leaders moved: calls that wait for a topic to be served look again.
    pub(crate) fn topics_moved(&mut self) {
        for id in self.creations.clone() {
            match self.calls.get(&id) {
                Some(Call::Election(_)) => self.finish_election(id),
                _ => self.finish_admin(id),
            }
        }
    }

    /// Answers a call once nothing in it is open.
    fn finish_admin(&mut self, id: RequestId) {
        let mut call = match self.calls.remove(&id) {
            Some(Call::Admin(call)) => call,
            other => {
                self.creations.remove(&id);
                other.into_iter().for_each(|other| _ = self.calls.insert(id, other));
                return;
            }
        };
        let open = match &mut call.kind {
            Waiting::Create(topics) => {
                for topic in topics.iter_mut().filter(|topic| topic.step == CreateStep::Created) {
                    if self.is_served(topic.result.topic_id, &topic.result.name) {
                        topic.step = CreateStep::Done;
                    }
                }
                topics.iter().any(|topic| topic.step != CreateStep::Done)
            }
            Waiting::Grow(topics) => {
                for topic in topics.iter_mut().filter(|topic| topic.step == CreateStep::Created) {
                    if self.has_partitions(topic.topic, topic.count) {
                        topic.step = CreateStep::Done;
                    }
                }
                topics.iter().any(|topic| topic.step != CreateStep::Done)
            }
            Waiting::Alter(resources) | Waiting::AlterQuotas(resources) => {
                for one in resources.iter_mut().filter(|one| one.step == CreateStep::Created) {
                    if self.is_in_force(one.command.as_ref()) {
                        one.step = CreateStep::Done;
                    }
                }
                resources.iter().any(|one| one.step != CreateStep::Done)
            }
            Waiting::Delete(topics) => topics.iter().any(|(_, open)| *open),
            Waiting::Reassign(parts) => parts.iter().any(|(_, open)| *open),
            Waiting::Register | Waiting::Decide => true,
        };
        if open {
            self.calls.insert(id, Call::Admin(call));
        } else {
            self.answer_admin(id, call);
        }
    }

    fn answer_admin(&mut self, id: RequestId, call: AdminCall) {
        self.creations.remove(&id);
        self.timers.remove(&(call.deadline, Timer::Call(id)));
        let response = match call.kind {
            Waiting::Create(topics) => {
                Response::CreateTopics { topics: topics.into_iter().map(|topic| topic.result).collect() }
            }
            Waiting::Grow(topics) => {
                let topics = topics.into_iter().map(|topic| topic.result).collect();
                Response::CreatePartitions { topics }
            }
            Waiting::Delete(topics) => {
                Response::DeleteTopics { topics: topics.into_iter().map(|(result, _)| result).collect() }
            }
            Waiting::Alter(resources) => altered(resources),
            Waiting::AlterQuotas(entries) => quotas_altered(entries),
            Waiting::Reassign(parts) => Response::AlterReassignments {
                partitions: parts.into_iter().map(|(result, _)| result).collect(),
            },
            Waiting::Decide => {
                let message =
                    "the metadata shard did not answer in time; what became of it is unknown".to_string();
                Response::Decided { error: ErrorCode::RequestTimedOut, message: Some(message) }
            }
            Waiting::Register => {
                let message = "shard 0 did not answer in time; try again".to_string();
                Response::RegisterNode { error: ErrorCode::RequestTimedOut, message: Some(message), node: -1 }
            }
        };
        self.respond(id, response);
    }

    pub(crate) fn admin_due(&mut self, id: RequestId) {
        let Some(Call::Admin(mut call)) = self.calls.remove(&id) else { return };
        match &mut call.kind {
            Waiting::Create(topics) => {
                for topic in topics.iter_mut().filter(|topic| topic.step == CreateStep::Asked) {
                    topic.result.error = ErrorCode::RequestTimedOut;
                }
            }
            Waiting::Grow(topics) => {
                for topic in topics.iter_mut().filter(|topic| topic.step == CreateStep::Asked) {
                    topic.result.error = ErrorCode::RequestTimedOut;
                }
            }
            Waiting::Alter(resources) | Waiting::AlterQuotas(resources) => {
                for one in resources.iter_mut().filter(|one| one.step == CreateStep::Asked) {
                    one.error = ErrorCode::RequestTimedOut;
                    one.message = Some("its metadata shard did not answer in time; try again".to_owned());
                }
            }
            Waiting::Delete(topics) => {
                for (result, _) in topics.iter_mut().filter(|(_, open)| *open) {
                    result.error = ErrorCode::RequestTimedOut;
                }
            }
            Waiting::Reassign(parts) => {
                for (result, _) in parts.iter_mut().filter(|(_, open)| *open) {
                    result.error = ErrorCode::RequestTimedOut;
                    let message = "its metadata shard did not answer in time; rafka rebalance status shows whether it is done all the same";
                    result.message = Some(message.to_owned());
                }
            }
            Waiting::Register | Waiting::Decide => {}
        }
        self.answer_admin(id, call);
    }

    /// The key of a partition as a client names it, or the error Kafka has for it.
    pub(crate) fn key_of(&self, topic: &TopicRef, partition: i32) -> Result<PartitionKey, ErrorCode> {
        let known = match (self.view.topic_ref(topic), topic) {
            (Some(known), _) => known,
            (None, TopicRef::Id(id)) => return Err(self.unknown_id(*id)),
            (None, TopicRef::Name(name)) => return Err(self.absent(name)),
        };
        let exists = (0..known.partitions).contains(&partition);
        let key = PartitionKey { topic: known.id, partition };
        if exists { Ok(key) } else { Err(ErrorCode::UnknownTopicOrPartition) }
    }

    /// Whether every partition of a topic is created and led as far as this node knows.
    fn is_served(&self, topic: TopicId, name: &str) -> bool {
        let Some(known) = self.view.topic(topic) else {
            // Applied but gone again, or another topic took the name first.
            return self.view.topic_named(name).is_some();
        };
        known.partitions > 0 && self.view.partitions(topic).next().is_some() && self.all_served(topic)
    }

    fn all_served(&self, topic: TopicId) -> bool {
        self.view.partitions(topic).all(|part| self.partition_metadata(part).error == ErrorCode::None)
    }

    /// Whether a topic has that many partitions, all created and led as far as this node knows; a topic that is gone has them too,
    /// for nobody need wait for it.
    fn has_partitions(&self, topic: TopicId, count: i32) -> bool {
        let Some(known) = self.view.topic(topic) else { return true };
        known.partitions >= count && self.all_served(topic)
    }

    /// Idempotent producers without a transactional id get a new id each time, as Kafka does.
    fn init_producer_id(&mut self, id: RequestId) {
        let deadline = after_ms(self.now.mono, SHARD_WAIT_MS);
        self.producer_ids.waiting.push_back((id, deadline));
        self.grant_producer_ids();
    }

    fn grant_producer_ids(&mut self) {
        while let Some((id, _)) = self.producer_ids.waiting.front().copied() {
            let Some(producer_id) = self.producer_ids.free.next() else { break };
            self.producer_ids.waiting.pop_front();
            let error = ErrorCode::None;
            self.respond(id, Response::InitProducerId { error, producer_id, producer_epoch: 0 });
        }
        if !self.producer_ids.waiting.is_empty() && !self.producer_ids.asked {
            self.producer_ids.asked = true;
            let node = self.identity.node;
            let command = Command::AllocateProducerIds { node, count: PRODUCER_ID_BLOCK };
            self.submit(self.some_shard(), &command, Purpose::ProducerIds);
        }
    }

    /// A shard with a leader, nearest first: any may hand out producer ids.
    fn some_shard(&self) -> ShardId {
        let led_here = self.shard_leads.keys().next().copied();
        let led =
            || ShardId::all().find(|s| self.leader_of(super::metadata::PartitionKey::of_shard(*s)).is_some());
        led_here.or_else(led).unwrap_or(ShardId(0))
    }

    pub(crate) fn producer_ids_granted(&mut self, outcome: &Outcome) {
        self.producer_ids.asked = false;
        if let Outcome::ProducerIds { first, count } = *outcome {
            self.producer_ids.free = first..first + i64::from(count);
        }
        self.grant_producer_ids();
    }

    /// Requests for producer ids that no shard answered are answered so that clients try another node.
    pub(crate) fn expire_producer_ids(&mut self) {
        let now = self.now.mono;
        while let Some((id, _)) = self.producer_ids.waiting.front().copied().filter(|(_, at)| *at <= now) {
            self.producer_ids.waiting.pop_front();
            let error = ErrorCode::CoordinatorNotAvailable;
            self.respond(id, Response::InitProducerId { error, producer_id: -1, producer_epoch: -1 });
        }
    }

    /// What of users' partitions is stored here. Partitions that are not here are left out, as Kafka does.
    fn describe_log_dir(&self, wanted: Option<BTreeMap<String, BTreeSet<i32>>>) -> LogDir {
        let asked = |name: &str, partition: i32| {
            let of_topic = |wanted: &BTreeMap<String, BTreeSet<i32>>| {
                wanted.get(name).is_some_and(|partitions| partitions.contains(&partition))
            };
            wanted.as_ref().is_none_or(of_topic)
        };
        let mut replicas = Vec::new();
        for partition in self.partitions.values() {
            let PartitionKey { topic, partition: number } = partition.key;
            let (Some(topic), Some(state)) = (self.view.topic(topic), self.workers.log(partition.log)) else {
                continue;
            };
            if !asked(&topic.name, number) {
                continue;
            }
            let committed = partition.replica.as_ref().and_then(|replica| {
                replica.high_watermark().or_else(|| {
                    self.workers.of(partition.log).end_offset(partition.log, replica.commit_index().0)
                })
            });
            let lag = committed.map_or(0, |committed| (state.next_offset - committed).max(0));
            let bytes = i64::try_from(state.bytes).unwrap_or(i64::MAX);
            replicas.push(LogDirReplica { topic: topic.name.clone(), partition: number, bytes, lag });
        }
        replicas.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let usable_bytes = i64::try_from(self.workers.stats().free_bytes).unwrap_or(i64::MAX);
        LogDir { path: self.config.settings.data_dir.clone(), usable_bytes, replicas }
    }

    pub(crate) fn absent(&self, name: &str) -> ErrorCode {
        let known = self.heard.contains(&ShardId::of_name(name));
        if known { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::LeaderNotAvailable }
    }

    /// Keeps the call of a machine that asks to be a node until shard 0 answered.
    pub(crate) fn ask_to_register(&mut self, id: RequestId, command: &Command) {
        self.ask_registry(id, Waiting::Register, command, Purpose::Register(Some(id)));
    }

    /// An operator's word, for shard 0.
    fn ask_decision(&mut self, id: RequestId, decision: Decision) {
        let command = match decision {
            Decision::PauseBalancing(paused) => Command::PauseBalancing(paused),
            Decision::NodeState { node, state } => match self.view.node(NodeId(node)) {
                Some(NodeInfo { node, incarnation, .. }) => {
                    Command::SetNodeState { node: *node, incarnation: *incarnation, state }
                }
                None => {
                    let (error, message) =
                        (ErrorCode::BrokerIdNotRegistered, format!("there is no node {node}"));
                    return self.respond(id, Response::Decided { error, message: Some(message) });
                }
            },
        };
        self.ask_registry(id, Waiting::Decide, &command, Purpose::Decision(id));
    }

    /// Keeps an operator's call until a shard answered its command.
    pub(crate) fn ask_decided(&mut self, id: RequestId, shard: ShardId, command: &Command, purpose: Purpose) {
        self.ask_shard(id, shard, Waiting::Decide, (command, purpose));
    }

    /// Keeps a call until shard 0 answered its command.
    fn ask_registry(&mut self, id: RequestId, kind: Waiting, command: &Command, purpose: Purpose) {
        self.ask_shard(id, ShardId(0), kind, (command, purpose));
    }

    fn ask_shard(
        &mut self,
        id: RequestId,
        shard: ShardId,
        kind: Waiting,
        (command, purpose): (&Command, Purpose),
    ) {
        let deadline = after_ms(self.now.mono, SHARD_WAIT_MS);
        self.calls.insert(id, Call::Admin(AdminCall { deadline, kind }));
        self.set_timer(deadline, Timer::Call(id));
        self.submit(shard, command, purpose);
    }

    /// Shard 0 answered: whether somebody still waits for that.
    fn registry_answered(&mut self, id: RequestId) -> bool {
        let Some(Call::Admin(call)) = self.calls.remove(&id) else { return false };
        self.timers.remove(&(call.deadline, Timer::Call(id)));
        true
    }

    pub(crate) fn decided(&mut self, id: RequestId, outcome: Outcome) {
        if !self.registry_answered(id) {
            return;
        }
        let (error, message) = refusal_of(outcome);
        self.respond(id, Response::Decided { error, message });
    }

    pub(crate) fn registered(&mut self, id: RequestId, outcome: Outcome) {
        if !self.registry_answered(id) {
            return;
        }
        let node = if let Outcome::Registered { node } = outcome { node.0 } else { -1 };
        let (error, message) = refusal_of(outcome);
        self.respond(id, Response::RegisterNode { error, message, node });
    }
}

fn refusal_of(outcome: Outcome) -> (ErrorCode, Option<String>) {
    match outcome {
        Outcome::Refused { error, message } => (error, Some(message)),
        Outcome::Done | Outcome::Registered { .. } | Outcome::ProducerIds { .. } => (ErrorCode::None, None),
    }
}
