//! What the metadata shards commit.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{EntryKind, ReplicaId};
use node::core::message::PeerMessage;
use node::core::metadata::{Command, PartitionKey};
use node::core::request::TopicId;

use super::{Fact, Life, Scene, Situation, Tally, Watch};

const RECREATED: Situation = Situation("topic created again under the same name");
const RECREATED_DOWN: Situation = Situation("topic created again while an old replica is down");
const GRACE: Situation = Situation("topic created by a majority and the grace time");
const CONFIRMED: Situation = Situation("deletion of data confirmed by the shard");
const LOST_REPLACED: Situation = Situation("replica of a wiped node replaced");
const SUSPECT_REPLACED: Situation = Situation("suspect replica replaced");

struct Topic {
    id: TopicId,
    deleted: bool,
}

/// Watches metadata.
#[derive(Default)]
pub(super) struct Topics {
    by_name: BTreeMap<String, Topic>,
    /// The desired replicas of partitions that are not marked as created.
    creating: BTreeMap<PartitionKey, Vec<ReplicaId>>,
    /// Who was ever there.
    shown: BTreeSet<(PartitionKey, ReplicaId)>,
    /// Replacements that are not finished.
    replacing: BTreeMap<(PartitionKey, ReplicaId), Situation>,
}

impl Topics {
    fn created(&mut self, scene: &Scene, name: &str, id: TopicId, tally: &mut Tally) {
        let before = self.by_name.get(name);
        if before.is_some_and(|topic| !topic.deleted) {
            return;
        }
        if let Some(old) = before {
            tally.count(RECREATED);
            let down = |host: usize| matches!(scene.lives[host], Life::Killed | Life::Dark);
            let held = scene.held.keys().any(|(key, host)| key.topic == old.id && down(*host));
            tally.count_if(held, RECREATED_DOWN);
        }
        self.by_name.insert(name.to_owned(), Topic { id, deleted: false });
    }

    fn committed(&mut self, scene: &Scene, command: Command, tally: &mut Tally) {
        match command {
            Command::CreateTopic { name, id, partitions, .. } => {
                self.created(scene, &name, id, tally);
                let key = |partition| PartitionKey { topic: id, partition };
                self.creating.extend((0..).map(key).zip(partitions));
            }
            Command::DeleteTopic { id } => {
                self.by_name
                    .values_mut()
                    .filter(|topic| topic.id == id)
                    .for_each(|topic| topic.deleted = true);
            }
            Command::MarkCreated { topic, partitions } => {
                for partition in partitions {
                    let key = PartitionKey { topic, partition };
                    let replicas = self.creating.remove(&key).unwrap_or_default();
                    tally.count_if(replicas.iter().any(|id| !self.shown.contains(&(key, *id))), GRACE);
                }
            }
            Command::ReplaceReplica { key, old, new } if old.node == new.node => {
                let wiped = old.incarnation != new.incarnation;
                self.replacing.insert((key, old), if wiped { LOST_REPLACED } else { SUSPECT_REPLACED });
            }
            Command::FinishReplacement { key, old } => {
                if let Some(situation) = self.replacing.remove(&(key, old)) {
                    tally.count(situation);
                }
            }
            _ => {}
        }
    }
}

impl Watch for Topics {
    fn situations(&self) -> &'static [Situation] {
        &[RECREATED, RECREATED_DOWN, GRACE, CONFIRMED, LOST_REPLACED, SUSPECT_REPLACED]
    }

    fn see(&mut self, scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Replica { key, fact } if fact.before.is_none() => _ = self.shown.insert((*key, fact.id)),
            Fact::Committed { key, entry } if key.as_shard().is_some() => {
                if entry.kind == EntryKind::Command.to_u8()
                    && let Ok(command) = Command::decode(&entry.payload)
                {
                    self.committed(scene, command, tally);
                }
            }
            Fact::Sent { message: PeerMessage::Fate { unwanted: replicas, .. }, .. } => {
                tally.count_if(!replicas.is_empty(), CONFIRMED);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use node::core::metadata::ShardId;

    use super::super::doctored::{KEY, after, seen};
    use super::*;

    fn entry(command: &Command) -> storage::Entry {
        storage::Entry {
            term: 1,
            index: 1,
            base_offset: 0,
            record_count: 0,
            kind: EntryKind::Command.to_u8(),
            timestamp_ms: -1,
            payload: command.encode().into(),
        }
    }

    fn create(id: u8) -> storage::Entry {
        let (name, partitions) = ("brief".to_owned(), Vec::new());
        entry(&Command::CreateTopic { name, id: TopicId([id; 16]), partitions, configs: BTreeMap::new() })
    }

    #[test]
    fn a_topic_is_recreated_only_after_it_was_deleted() {
        let shard = ShardId::all().map(PartitionKey::of_shard).next().unwrap();
        let committed = |entry| Fact::Committed { key: shard, entry };
        let (first, second) = (create(7), create(8));
        let deleted = entry(&Command::DeleteTopic { id: TopicId([7; 16]) });
        assert!(seen(&[committed(&first), committed(&second)]).is_empty());
        let replica = after(None, 1, 5, true, 9);
        let held = || {
            [
                Fact::Replica { key: KEY, fact: &replica },
                Fact::Down { host: 1, power: false, newest_segments: vec![None] },
            ]
        };
        let story = [committed(&first), committed(&deleted), committed(&second)];
        let counts = seen(&held().into_iter().chain(story).collect::<Vec<_>>());
        assert_eq!((counts.get(RECREATED.0), counts.get(RECREATED_DOWN.0)), (Some(&1), Some(&1)));
    }
}
