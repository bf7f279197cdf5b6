//! Machines that ask to be a node, and numbers that go over from one data directory to another.
//!
//! Any member takes the question and sends it to shard 0 as a command. Whether a life may be given up is judged by the leader of
//! shard 0, before it proposes that: it knows who is up. The life cycle is in `ARCHITECTURE.md`.

use mesh::raft::{Incarnation, NodeId};
use storage::Disk;

use super::after_ms;
use super::error::ErrorCode;
use super::metadata::stranded::stranded;
use super::metadata::{Command, NodeInfo, NodeState, Outcome, PartitionKey, Registration, ShardId, TakeOver};
use super::node::Node;
use super::request::{RequestId, Response};

/// How many partitions a refusal names.
const NAMED: usize = 10;

impl<D: Disk> Node<D> {
    /// A machine asks through this node to be one, or to have a number that is there.
    pub(crate) fn register_other(&mut self, id: RequestId, registration: Registration, gives_up: bool) {
        if !self.heard.contains(&ShardId(0)) {
            let message = Some(
                "the member that was asked has just started and does not know the nodes of the mesh yet"
                    .into(),
            );
            return self
                .respond(id, Response::RegisterNode { error: ErrorCode::NotController, message, node: -1 });
        }
        let command = match self.life_before(&registration) {
            Ok(Some((node, follows))) => {
                let registration = Registration { node: Some(node), ..registration };
                Command::TakeOver(TakeOver { follows, gives_up, registration })
            }
            Ok(None) => Command::RegisterNode(registration),
            Err(message) => {
                let (error, message) = (ErrorCode::BrokerIdNotRegistered, Some(message));
                return self.respond(id, Response::RegisterNode { error, message, node: -1 });
            }
        };
        self.ask_to_register(id, &command);
    }

    /// The number that a machine would take over, and the life it would follow.
    fn life_before(&self, registration: &Registration) -> Result<Option<(NodeId, Incarnation)>, String> {
        if self.view.nodes().any(|info| info.peer_id == registration.peer_id) {
            return Ok(None);
        }
        let of = |info: &NodeInfo| (info.node, info.incarnation);
        match registration.node {
            Some(node) => match self.view.nodes().find(|info| info.node == node) {
                Some(info) => Ok(Some(of(info))),
                None => Err(format!("there is no node {} to replace", node.0)),
            },
            None => Ok(self.view.nodes().find(|info| info.mesh == registration.mesh).map(of)),
        }
    }

    /// As the leader of shard 0: whether the life that is to be followed may be given up now. A refusal with
    /// [`ErrorCode::NotController`] or [`ErrorCode::NotEnoughReplicas`] may pass.
    pub(crate) fn may_take_over(&self, command: &[u8]) -> Result<(), Outcome> {
        if !Command::is_take_over(command) {
            return Ok(());
        }
        let Ok(Command::TakeOver(wish)) = Command::decode(command) else { return Ok(()) };
        let Some(node) = wish.registration.node else { return Ok(()) };
        // What is refused in any case, or done already, the state machine answers.
        let Some(info) = self.view.node(node).filter(|info| info.incarnation == wish.follows) else {
            return Ok(());
        };
        if let Some(reason) = self.is_there(info) {
            return Err(Outcome::Refused { error: ErrorCode::NotController, message: reason });
        }
        if wish.gives_up {
            return Ok(());
        }
        match self.would_be_lost(node) {
            Some(message) => Err(Outcome::Refused { error: ErrorCode::NotEnoughReplicas, message }),
            None => Ok(()),
        }
    }

    /// Why the present life of a node does not count as over yet.
    fn is_there(&self, info: &NodeInfo) -> Option<String> {
        let node = info.node;
        if node == self.identity.node || self.up().contains(&node) {
            return Some(format!(
                "node {0} is up with its own data directory: stop it first, or start this machine as another node",
                node.0
            ));
        }
        let silent_since = self.absences.since(info);
        let waited = silent_since
            .is_some_and(|since| self.now.mono >= after_ms(since, self.config.replace_after_ms))
            || info.state == NodeState::Dead;
        (!waited).then(|| {
            format!(
                "node {} was heard a moment ago; its number goes over once it was silent for {} ms",
                node.0, self.config.replace_after_ms
            )
        })
    }

    /// What would be lost with the present life of a node, for a person; nothing if all of it is elsewhere.
    fn would_be_lost(&self, node: NodeId) -> Option<String> {
        let led_elsewhere = |key: PartitionKey| self.led_by(key).is_some_and(|leader| leader != node);
        if self.shards_unheard() > 0 || !ShardId::all().map(PartitionKey::of_shard).all(led_elsewhere) {
            return Some(format!(
                "not every metadata shard has a leader other than node {}, so nobody can say whether its data is elsewhere",
                node.0
            ));
        }
        let keys = stranded(&self.view, node, &self.up(), led_elsewhere);
        if keys.is_empty() {
            return None;
        }
        let mut names: Vec<String> = keys.iter().take(NAMED).map(|key| self.name_of(*key)).collect();
        if keys.len() > NAMED {
            names.push(format!("{} more", keys.len() - NAMED));
        }
        Some(format!(
            "node {0} may hold the only copy of what was acknowledged in {1}: with its data directory given up no majority of their \
             replicas would be left. Start it with its old data directory, or bring the other nodes that hold them back. If its data is \
             lost for good, start this one with --replace {0} --give-up-majority, and then see rafka recover",
            node.0,
            names.join(", ")
        ))
    }

    /// A partition as people write it.
    pub fn name_of(&self, key: PartitionKey) -> String {
        match (key.as_shard(), self.view.topic(key.topic)) {
            (Some(shard), _) => format!("metadata shard {}", shard.0),
            (None, Some(topic)) => format!("{}-{}", topic.name, key.partition),
            (None, None) => format!("partition {} of an unknown topic", key.partition),
        }
    }
}
