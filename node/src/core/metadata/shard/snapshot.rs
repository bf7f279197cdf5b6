//! A shard's whole state as bytes.
//!
//! Numbers are big-endian, `text` and lists as in [`command`](super::super::command); keys rise within each
//! list.
//!
//! | field | bytes |
//! |---|---|
//! | format | u8, 4; format 3 has fewer sections, format 2 ends before the sections, format 1 before the nodes that are not active |
//! | shard | u8 |
//! | version | u64 |
//! | cluster id | text |
//! | next node id | i32 |
//! | deletions may be missing up to version | u64 |
//! | term floor of forgotten names | u32 |
//! | next producer id | u64 |
//! | topics, descriptors, nodes | three lists of u64 version and the thing |
//! | deletions | list of u64 version, id 16 bytes |
//! | term floors | list of name text, u32 |
//! | nodes that are not active | list of node i32, state u8 |
//! | balancing | u64 version, paused bool |
//! | sections | list of u8 tag, blob; tags rise, and one without content is left out |
//!
//! | section | content |
//! |---|---|
//! | 1 configs of nodes | list of u64 version, node i32 (-1 for all), list of text pairs |
//! | 2 quotas | u64 version, list of entity and its limits: list of limit u8, rate f64 bits |
//! | 3 plans of partitions | list of key, list of triples |
//! | 4 former identities of nodes that have any | list of node i32, list of peer id blobs |
//! | 5 triples that begin alone | list of key, triple |
//! | 6 recoveries | list of u64 version and the body of command 18 |
//! | 7 era | u32 |

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::raft::ReplicaId;

use super::super::bytes::{Reader, Writer};
use super::super::command::Recovery;
use super::super::descriptor::{
    DecodeError, Descriptor, NodeInfo, NodeState, PartitionKey, SHARDS, ShardId, TERM_MAX, Topic,
};
use super::super::quotas::Quotas;
use super::{Shard, Versioned};
use crate::core::request::TopicId;

const FORMAT: u8 = 4;
const FORMAT_WITHOUT_SECTIONS: u8 = 2;
const FORMAT_WITHOUT_STATES: u8 = 1;

impl Shard {
    /// The whole state, for checkpoints and for followers behind the log start. Equal states have equal
    /// bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(FORMAT);
        w.u8(self.id.0);
        w.u64(self.version);
        w.text(&self.cluster_id);
        w.i32(self.next_node);
        w.u64(self.deleted_from);
        w.u32(self.floor_of_rest);
        w.u64(self.next_producer);
        w.count(self.topics.len());
        for topic in self.topics.values() {
            w.u64(topic.changed);
            topic.value.write(&mut w);
        }
        w.count(self.descriptors.len());
        for descriptor in self.descriptors.values() {
            w.u64(descriptor.changed);
            descriptor.value.write(&mut w);
        }
        w.count(self.nodes.len());
        for node in self.nodes.values() {
            w.u64(node.changed);
            node.value.write(&mut w);
        }
        w.count(self.deleted.len());
        for (version, id) in &self.deleted {
            w.u64(*version);
            w.raw(&id.0);
        }
        w.count(self.floors.len());
        for (name, &floor) in &self.floors {
            w.text(name);
            w.u32(floor);
        }
        let others: Vec<&NodeInfo> =
            self.nodes.values().map(|node| &*node.value).filter(|node| !node.is_active()).collect();
        w.count(others.len());
        for node in others {
            w.node(node.node);
            w.u8(node.state.byte());
        }
        w.u64(self.paused.changed);
        w.bool(self.paused.value);
        let sections = self.sections();
        w.count(sections.len());
        for (tag, content) in sections {
            w.u8(tag);
            w.blob(&content);
        }
        w.0
    }

    /// Reads what [`snapshot`](Self::snapshot) wrote.
    ///
    /// # Errors
    ///
    /// Whatever the bytes are, an error and never a panic.
    pub fn restore(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let format = r.u8()?;
        if !(FORMAT_WITHOUT_STATES..=FORMAT).contains(&format) {
            return Err(DecodeError::Unknown(format));
        }
        let id = ShardId(r.u8()?);
        if id.0 >= SHARDS {
            return Err(DecodeError::Invalid);
        }
        let mut shard = Self::empty(id);
        shard.version = r.u64()?;
        shard.cluster_id = r.text()?;
        shard.next_node = r.i32()?;
        shard.deleted_from = r.u64()?;
        shard.floor_of_rest = r.u32()?;
        shard.next_producer = r.u64()?;
        if shard.next_node < 1 || shard.next_producer > 1 << 48 || shard.floor_of_rest > TERM_MAX {
            return Err(DecodeError::Invalid);
        }
        shard.topics = by_key(&mut r, Topic::read, |topic| topic.id)?;
        shard.descriptors = by_key(&mut r, Descriptor::read, |descriptor| descriptor.key)?;
        shard.nodes = by_key(&mut r, NodeInfo::read, |node| node.node)?;
        shard.deleted = r.list(24, |r| Ok((r.u64()?, TopicId(r.array()?))))?.into();
        shard.floors = r.list(8, |r| Ok((r.text()?, r.u32()?)))?.into_iter().collect();
        if format != FORMAT_WITHOUT_STATES {
            for (node, state) in r.list(5, |r| Ok((r.node()?, NodeState::of_byte(r.u8()?)?)))? {
                let node = shard.nodes.get_mut(&node).ok_or(DecodeError::Invalid)?;
                Arc::make_mut(&mut node.value).state = state;
            }
            shard.paused = Versioned { changed: r.u64()?, value: r.bool()? };
        }
        if format > FORMAT_WITHOUT_SECTIONS {
            let sections = r.list(5, |r| Ok((r.u8()?, r.blob()?)))?;
            if !sections.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(DecodeError::Invalid);
            }
            for (tag, content) in sections {
                shard.restore_section(tag, content)?;
            }
        }
        r.end()?;
        let topics = shard.topics.values().map(|topic| &topic.value);
        shard.names = topics.map(|topic| (topic.name.clone(), topic.id)).collect();
        Ok(shard)
    }
}

const CONFIGS: u8 = 1;
const QUOTAS: u8 = 2;
const PLANS: u8 = 3;
const FORMER: u8 = 4;
const ALONE: u8 = 5;
const RECOVERIES: u8 = 6;
const ERA: u8 = 7;

impl Shard {
    fn sections(&self) -> Vec<(u8, Vec<u8>)> {
        let mut sections = Vec::new();
        if !self.configs.is_empty() {
            let mut w = Writer::default();
            w.count(self.configs.len());
            for (&node, set) in &self.configs {
                w.u64(set.changed);
                w.node(node);
                w.texts(&set.value);
            }
            sections.push((CONFIGS, w.0));
        }
        if self.quotas.changed > 0 {
            let mut w = Writer::default();
            w.u64(self.quotas.changed);
            self.quotas.value.write(&mut w);
            sections.push((QUOTAS, w.0));
        }
        let planned: Vec<&Descriptor> = self.descriptors().filter(|d| !d.planned.is_empty()).collect();
        if !planned.is_empty() {
            let mut w = Writer::default();
            w.count(planned.len());
            for descriptor in planned {
                descriptor.key.write(&mut w);
                w.replicas(&descriptor.planned);
            }
            sections.push((PLANS, w.0));
        }
        let followed: Vec<&NodeInfo> =
            self.nodes.values().map(|node| &*node.value).filter(|node| !node.former.is_empty()).collect();
        if !followed.is_empty() {
            let mut w = Writer::default();
            w.count(followed.len());
            for node in followed {
                w.node(node.node);
                node.write_former(&mut w);
            }
            sections.push((FORMER, w.0));
        }
        let alone: Vec<(PartitionKey, ReplicaId)> =
            self.descriptors().filter_map(|one| Some((one.key, one.alone?))).collect();
        if !alone.is_empty() {
            let mut w = Writer::default();
            w.count(alone.len());
            for (key, replica) in alone {
                key.write(&mut w);
                w.replica(replica);
            }
            sections.push((ALONE, w.0));
        }
        if !self.recoveries.is_empty() {
            let mut w = Writer::default();
            w.count(self.recoveries.len());
            for recovery in &self.recoveries {
                w.u64(recovery.changed);
                recovery.value.write(&mut w);
            }
            sections.push((RECOVERIES, w.0));
        }
        if self.era > 0 {
            let mut w = Writer::default();
            w.u32(self.era);
            sections.push((ERA, w.0));
        }
        sections
    }

    fn restore_section(&mut self, tag: u8, content: &[u8]) -> Result<(), DecodeError> {
        let mut r = Reader::new(content);
        match tag {
            CONFIGS => {
                let all = r.list(16, |r| Ok((r.u64()?, r.node()?, r.texts()?)))?;
                if !all.is_sorted_by(|a, b| a.1 < b.1) {
                    return Err(DecodeError::Invalid);
                }
                let set = |(changed, node, value)| (node, Versioned { changed, value });
                self.configs = all.into_iter().map(set).collect();
            }
            QUOTAS => {
                self.quotas = Versioned { changed: r.u64()?, value: Quotas::read(&mut r)? };
            }
            PLANS => {
                let all = r.list(24, |r| Ok((PartitionKey::read(r)?, r.replicas()?)))?;
                if !all.is_sorted_by(|a, b| a.0 < b.0) {
                    return Err(DecodeError::Invalid);
                }
                for (key, planned) in all {
                    let descriptor = self.descriptors.get_mut(&key).ok_or(DecodeError::Invalid)?;
                    Arc::make_mut(&mut descriptor.value).planned = planned;
                }
            }
            FORMER => {
                for (node, former) in r.list(8, |r| Ok((r.node()?, NodeInfo::read_former(r)?)))? {
                    let node = self.nodes.get_mut(&node).ok_or(DecodeError::Invalid)?;
                    Arc::make_mut(&mut node.value).former = former;
                }
            }
            ALONE => {
                for (key, replica) in r.list(36, |r| Ok((PartitionKey::read(r)?, r.replica()?)))? {
                    let descriptor = self.descriptors.get_mut(&key).ok_or(DecodeError::Invalid)?;
                    Arc::make_mut(&mut descriptor.value).alone = Some(replica);
                }
            }
            RECOVERIES => {
                let read =
                    |r: &mut Reader<'_>| Ok(Versioned { changed: r.u64()?, value: Recovery::read(r)? });
                self.recoveries = r.list(8, read)?.into();
            }
            ERA => self.era = r.u32()?,
            unknown => return Err(DecodeError::Unknown(unknown)),
        }
        r.end()
    }
}

fn by_key<K: Ord, T>(
    r: &mut Reader<'_>,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
    key: impl Fn(&T) -> K,
) -> Result<BTreeMap<K, Versioned<Arc<T>>>, DecodeError> {
    let items = r.list(8, |r| Ok(Versioned { changed: r.u64()?, value: Arc::new(read(r)?) }))?;
    if !items.is_sorted_by(|a, b| key(&a.value) < key(&b.value)) {
        return Err(DecodeError::Invalid);
    }
    Ok(items.into_iter().map(|item| (key(&item.value), item)).collect())
}
