//! What an operator sees of a partition that lost its majority, and what is asked for it: `/v1/replica`, `/v1/recover`, `/v1/recoveries`.

use mesh::raft::{Incarnation, NodeId, ReplicaEpoch, ReplicaId, Role};
use serde_json::{Value, json};

use super::ShellNode;
use super::http::{Answer, field};
use super::pages::{Wanted, partition_name};
use super::worker::WorkerHandle;
use crate::core::metadata::stranded::has_majority;
use crate::core::metadata::{Descriptor, PartitionKey, RECOVERY_TEXT_MAX, Recovery};
use crate::core::request::Recover;

/// What the answering node has of a partition, and what it knows of the others.
pub(super) async fn replica(worker: &WorkerHandle, query: &str) -> Result<Value, Answer> {
    let wanted = wanted(query)?;
    let found = worker.inspect(move |node| Some(told(node, wanted.partition(node)?))).await?;
    found.ok_or_else(|| Answer::error(404, "no such partition is known here"))
}

fn wanted(query: &str) -> Result<Wanted, Answer> {
    let wanted = field(query, "key").as_deref().and_then(Wanted::parse);
    wanted
        .ok_or_else(|| Answer::error(400, "name a partition: key=partition/TOPIC/NUMBER or key=shard/NUMBER"))
}

fn told(node: &ShellNode, key: PartitionKey) -> Value {
    let descriptor = node.view().descriptor(key);
    let triples = |of: fn(&Descriptor) -> &Vec<ReplicaId>| -> Vec<String> {
        descriptor.into_iter().flat_map(of).map(ReplicaId::to_string).collect()
    };
    let here = node.replica(key).map(|here| {
        let state = node.workers().log(here.log);
        let state = state.as_ref();
        let last_term = state.and_then(|state| state.term_starts.last().map(|(term, ..)| *term));
        json!({
            "replica": here.id.to_string(),
            "standing": format!("{:?}", here.standing).to_lowercase(),
            "leads": here.role == Some(Role::Leader),
            "term": here.term.0,
            "last_term": last_term,
            "last_index": state.map(|state| state.last_index),
            "synced_index": state.map(|state| state.synced_index),
            "commit_index": here.commit.0,
            "high_watermark": here.high_watermark,
            "log_start": here.log_start,
            "log_end": state.map(|state| state.next_offset),
        })
    });
    json!({
        "node_id": node.identity().node.0,
        "partition": partition_name(node.view(), key),
        "leader": node.led_by(key).map(|leader| leader.0),
        "replicas": triples(|descriptor| &descriptor.replicas),
        "leaving": triples(|descriptor| &descriptor.leaving),
        "majority_up": descriptor.map(|one| has_majority(node.view(), one, &node.up())),
        "needs_none": node.needs_none(key),
        "here": here,
    })
}

/// Every recovery that is remembered.
pub(super) async fn recoveries(worker: &WorkerHandle) -> Result<Value, Answer> {
    let one = |node: &ShellNode, recovery: &Recovery| {
        json!({
            "partition": partition_name(node.view(), recovery.key),
            "at_ms": recovery.at_ms,
            "by": recovery.by,
            "why": recovery.why,
            "survivor": recovery.old.to_string(),
            "as": recovery.new.to_string(),
            "found": recovery.found,
        })
    };
    let all = move |node: &ShellNode| -> Vec<Value> {
        node.view().recoveries().map(|recovery| one(node, recovery)).collect()
    };
    Ok(json!({ "recoveries": worker.inspect(all).await? }))
}

/// What an operator wants of a partition.
pub(super) async fn wish(worker: &WorkerHandle, query: &str, operator: &str) -> Result<Recover, Answer> {
    let known = "POST /v1/recover?key=partition/TOPIC/NUMBER|shard/NUMBER&survivor=NODE.INCARNATION.EPOCH&why=TEXT&found=TEXT";
    let survivor = field(query, "survivor").as_deref().and_then(triple);
    let survivor = survivor.ok_or_else(|| Answer::error(400, known))?;
    let why = field(query, "why").filter(|why| !why.trim().is_empty() && why.len() <= RECOVERY_TEXT_MAX);
    let why = why.ok_or_else(|| Answer::error(400, known))?;
    let found = field(query, "found").unwrap_or_default();
    if found.len() > RECOVERY_TEXT_MAX {
        return Err(Answer::error(400, known));
    }
    let wanted = wanted(query)?;
    let key = worker.inspect(move |node| wanted.partition(node)).await?;
    let key = key.ok_or_else(|| Answer::error(404, "no such partition is known here"))?;
    Ok(Recover { key, survivor, by: operator.to_owned(), why, found })
}

/// A triple as people write it.
fn triple(text: &str) -> Option<ReplicaId> {
    let mut parts = text.split('.');
    let node = NodeId(parts.next()?.parse().ok()?);
    let incarnation = Incarnation(parts.next()?.parse().ok()?);
    let epoch = ReplicaEpoch(parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(ReplicaId { node, incarnation, epoch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triple_reads_back() {
        let id = ReplicaId { node: NodeId(3), incarnation: Incarnation(u64::MAX), epoch: ReplicaEpoch(7) };
        assert_eq!(triple(&id.to_string()), Some(id));
        for wrong in ["", "1.2", "1.2.3.4", "a.2.3", "1.2.-3"] {
            assert_eq!(triple(wrong), None, "{wrong}");
        }
    }
}
