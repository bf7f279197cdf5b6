//! Configs from a node's side: what is in force here, DescribeConfigs, and their changes on the way to a shard.

use mesh::raft::NodeId;
use storage::Disk;

use super::admin::{CreateStep, SHARD_WAIT_MS};
use super::after_ms;
use super::error::ErrorCode;
use super::metadata::configs::{
    Configs, Layers, TopicConfig, apply, describe_broker, describe_cluster, describe_topic, plan_broker,
    plan_topic_configs,
};
use super::metadata::plan::Refusal;
use super::metadata::{Command, ShardId, Topic};
use super::node::Node;
use super::request::{
    AlterQuota, AlterQuotaResult, AlterResource, AlterResult, ConfigEntry, ConfigResource, ConfigResult,
    RequestId, Response, TopicId,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
static NOTHING_SET: Configs = Configs::new();

/// One resource of an AlterConfigs in progress.
pub(crate) struct Altering {
    pub(crate) error: ErrorCode,
    pub(crate) message: Option<String>,
    pub(crate) of: Subject,
    pub(crate) step: CreateStep,
    /// What was asked of the shard.
    pub(crate) command: Option<Command>,
}

/// What is altered.
pub(crate) enum Subject {
    Config { resource_type: i8, name: String },
    Quota(Vec<(String, Option<String>)>),
}

impl<D: Disk> Node<D> {
    /// The configs of a topic in force on this node.
    pub(crate) fn topic_config(&self, topic: TopicId) -> TopicConfig {
        let set = self.view.topic(topic).map_or(&NOTHING_SET, |topic| &topic.configs);
        TopicConfig::new(&self.layers(set))
    }

    /// Rises when what is set for topics or nodes changes; 1 at the start.
    pub fn configs_version(&self) -> u64 {
        self.configs_version
    }

    /// Every topic with its configs in force on this node.
    pub fn topic_configs(&self) -> impl Iterator<Item = (&Topic, TopicConfig)> {
        self.view.topics().map(|topic| (topic, TopicConfig::new(&self.layers(&topic.configs))))
    }

    fn layers<'a>(&'a self, topic: &'a Configs) -> Layers<'a> {
        Layers {
            topic,
            node: self.view.node_configs(self.identity.node),
            cluster: self.view.cluster_configs(),
            defaults: &self.config.defaults,
        }
    }

    pub(crate) fn describe_config(&self, resource: ConfigResource) -> ConfigResult {
        match resource {
            ConfigResource::Topic { name, keys } => {
                let topic = self.view.topic_named(&name).ok_or_else(|| self.absent(&name));
                let entries =
                    topic.map(|topic| describe_topic(&self.layers(&topic.configs), keys.as_deref()));
                let entries = entries.map_err(|error| Refusal::new(error, error.text()));
                result_of(TOPIC, name, entries)
            }
            ConfigResource::Broker { name, keys } if name.is_empty() => {
                let entries = describe_cluster(self.view.cluster_configs(), keys.as_deref());
                result_of(BROKER, name, Ok(entries))
            }
            ConfigResource::Broker { name, keys } => {
                let own = self.identity.node.0.to_string();
                let entries = if name == own {
                    let layers = self.layers(&NOTHING_SET);
                    Ok(describe_broker(&self.config.settings, &layers, keys.as_deref()))
                } else {
                    let message =
                        format!("Unexpected broker id, expected {own} or empty string, but received {name}");
                    Err(Refusal::new(ErrorCode::InvalidRequest, message))
                };
                result_of(BROKER, name, entries)
            }
        }
    }

    pub(crate) fn alter_configs(
        &mut self,
        id: RequestId,
        resources: Vec<AlterResource>,
        validate_only: bool,
    ) {
        let deadline = after_ms(self.now.mono, SHARD_WAIT_MS);
        let mut altering = Vec::with_capacity(resources.len());
        let mut commands = Vec::new();
        for (at, resource) in resources.into_iter().enumerate() {
            let plan = self.plan_alteration(&resource);
            let (error, message) = match &plan {
                Ok(_) => (ErrorCode::None, None),
                Err(refusal) => (refusal.error, Some(refusal.message.clone())),
            };
            let AlterResource { resource_type, name, .. } = resource;
            let planned = plan.ok().filter(|_| !validate_only);
            let step = if planned.is_some() { CreateStep::Asked } else { CreateStep::Done };
            let command = planned.as_ref().map(|(_, command)| command.clone());
            commands.extend(planned.map(|(shard, command)| (at, shard, command)));
            let of = Subject::Config { resource_type, name };
            altering.push(Altering { error, message, of, step, command });
        }
        self.begin_alteration(id, deadline, altering, commands);
    }

    pub(crate) fn alter_quotas(&mut self, id: RequestId, entries: Vec<AlterQuota>, validate_only: bool) {
        let mut altering = Vec::with_capacity(entries.len());
        let mut commands = Vec::new();
        for (at, entry) in entries.into_iter().enumerate() {
            let plan = Self::plan_quota(&entry);
            let (error, message) = match &plan {
                Ok(_) => (ErrorCode::None, None),
                Err((error, message)) => (*error, Some(message.clone())),
            };
            let planned = plan.ok().filter(|_| !validate_only);
            let step = if planned.is_some() { CreateStep::Asked } else { CreateStep::Done };
            let command = planned.as_ref().map(|(_, command)| command.clone());
            commands.extend(planned.map(|(shard, command)| (at, shard, command)));
            altering.push(Altering { error, message, of: Subject::Quota(entry.named), step, command });
        }
        self.begin_quotas(id, altering, commands);
    }

    fn plan_alteration(&self, resource: &AlterResource) -> Result<(ShardId, Command), Refusal> {
        let AlterResource { resource_type, name, replace, edits } = resource;
        let replace = *replace;
        // What is replaced does not matter to what is appended to.
        if *resource_type == TOPIC {
            let topic = self.view.topic_named(name).ok_or_else(|| match self.absent(name) {
                ErrorCode::LeaderNotAvailable => {
                    Refusal::new(ErrorCode::NotController, ErrorCode::NotController.text())
                }
                error => Refusal::new(error, format!("The topic '{name}' does not exist.")),
            })?;
            let edits = plan_topic_configs(if replace { &NOTHING_SET } else { &topic.configs }, edits)?;
            let topic = topic.id;
            return Ok((ShardId::of_topic(topic), Command::AlterTopicConfigs { topic, replace, edits }));
        }
        let node = match name.as_str() {
            "" => None,
            name => Some(NodeId(name.parse().map_err(|_not_a_number| {
                let message = format!("Node id must be an integer, but it is: {name}");
                Refusal::new(ErrorCode::InvalidRequest, message)
            })?)),
        };
        if let Some(unknown) = node.filter(|node| self.view.node(*node).is_none()) {
            let message = format!("there is no node {}; rafka nodes lists them", unknown.0);
            return Err(Refusal::new(ErrorCode::BrokerIdNotRegistered, message));
        }
        let now = match node {
            _ if replace => &NOTHING_SET,
            None => self.view.cluster_configs(),
            Some(node) => self.view.node_configs(node),
        };
        let edits = plan_broker(now, edits)?;
        Ok((ShardId(0), Command::AlterNodeConfigs { node, replace, edits }))
    }

    /// Whether this node knows of a change: whoever is told that it is made may look here at once.
    pub(crate) fn is_in_force(&self, command: Option<&Command>) -> bool {
        if let Some(Command::AlterQuota { entity, changes }) = command {
            return self.view.quotas().has(entity, changes);
        }
        let (now, replace, edits) = match command {
            Some(Command::AlterTopicConfigs { topic, replace, edits }) => match self.view.topic(*topic) {
                Some(topic) => (&topic.configs, *replace, edits),
                None => return true,
            },
            Some(Command::AlterNodeConfigs { node: Some(node), replace, edits }) => {
                (self.view.node_configs(*node), *replace, edits)
            }
            Some(Command::AlterNodeConfigs { node: None, replace, edits }) => {
                (self.view.cluster_configs(), *replace, edits)
            }
            _ => return true,
        };
        let mut then = now.clone();
        apply(&mut then, replace, edits);
        then == *now
    }
}

/// The answer to an AlterConfigs.
pub(crate) fn altered(altering: Vec<Altering>) -> Response {
    let result = |one: Altering| match one.of {
        Subject::Config { resource_type, name } => {
            Some(AlterResult { error: one.error, message: one.message, resource_type, name })
        }
        Subject::Quota(_) => None,
    };
    Response::AlterConfigs { resources: altering.into_iter().filter_map(result).collect() }
}

/// The answer to an AlterClientQuotas.
pub(crate) fn quotas_altered(altering: Vec<Altering>) -> Response {
    let result = |one: Altering| match one.of {
        Subject::Quota(named) => Some(AlterQuotaResult { error: one.error, message: one.message, named }),
        Subject::Config { .. } => None,
    };
    Response::AlterQuotas { entries: altering.into_iter().filter_map(result).collect() }
}

fn result_of(resource_type: i8, name: String, entries: Result<Vec<ConfigEntry>, Refusal>) -> ConfigResult {
    let (error, message, entries) = match entries {
        Ok(entries) => (ErrorCode::None, None, entries),
        Err(refusal) => (refusal.error, Some(refusal.message), Vec::new()),
    };
    ConfigResult { error, message, resource_type, name, entries }
}
