//! `/v1/state`: what a node says of itself, so that somebody can put it beside what the others say. Facts only: what is too much
//! or too long is for the reader to say.
//!
//! Bounded: of the partitions only those are listed that lack something, and at most [`LACKING_MAX`] of them.

use std::sync::atomic::Ordering::Relaxed;

use mesh::raft::Role;
use serde_json::{Value, json};

use super::ShellNode;
use super::open_files;
use super::pages::{Pages, descriptors, ids, partition_name, unready};
use super::process;
use super::recent::millis;
use super::worker::WorkerHandle;
use crate::core::Standing;
use crate::core::message::LeaderInfo;
use crate::core::metadata::{Descriptor, PartitionKey};

/// Partitions that are listed.
const LACKING_MAX: usize = 256;

/// The whole page. What only the worker knows is null when it does not answer.
pub(super) async fn of(pages: &Pages, worker: &WorkerHandle) -> Value {
    let node = worker.inspect(node).await.ok();
    let metrics = &pages.metrics;
    let load = worker.load();
    let connections_max = metrics.connections_max.load(Relaxed);
    let (open, open_max) = process::open_files();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": millis(pages.began.elapsed()),
        "node": node,
        "disk": {
            "free_bytes": metrics.disk_free_bytes.load(Relaxed),
            "reserve_bytes": metrics.reserve_bytes.load(Relaxed),
            "full_ms": metrics.disk_full.ms(),
            "committing_ms": metrics.committing.ms(),
            "commit_slowest_ms": metrics.commit_slowest.ms(),
            "damaged_at_start": metrics.damaged_at_start.load(Relaxed),
        },
        "limits": {
            "open_files": open,
            "open_files_max": open_max,
            "open_files_wanted": open_files::needed(connections_max),
            "connections": pages.kafka.connections.load(Relaxed),
            "connections_max": connections_max,
            "request_bytes": load.bytes,
            "request_bytes_max": load.bytes_max,
            "calls": load.calls,
            "calls_max": load.calls_max,
        },
    })
}

/// What is looked at between two of the node's steps.
fn node(node: &ShellNode) -> Value {
    let identity = node.identity();
    let (mut known, mut led, mut lacking, mut listed) = (0_u64, 0_u64, 0_u64, Vec::new());
    for descriptor in descriptors(node.view()) {
        known += 1;
        let leader = node.leader_up(descriptor.key);
        led += u64::from(leader.is_some_and(|info| info.leader == identity.node));
        let Some(partition) = lacking_of(node, descriptor, leader) else { continue };
        lacking += 1;
        if listed.len() < LACKING_MAX {
            listed.push(partition);
        }
    }
    json!({
        "node_id": identity.node.0,
        "cluster_id": node.view().cluster_id(),
        "boot": node.boot(),
        "unready": unready(node),
        "topics": node.view().topics().count(),
        "partitions": known,
        "leads": led,
        "replicas": node.replicas().count(),
        "disk_failed": node.workers().failed(),
        "scrub": scrub(node),
        "lacking": lacking,
        "listed": listed,
    })
}

/// How far the reading back of what is stored has come.
fn scrub(node: &ShellNode) -> Value {
    let figures = node.scrub_figures();
    json!({
        "under_way": figures.under_way,
        "round_bytes": figures.round_bytes,
        "stored_bytes": node.workers().stats().live_bytes,
        "rounds": figures.rounds,
        "bytes": figures.bytes,
        "rot": figures.rot,
        "kept": figures.kept,
    })
}

/// A partition that has no leader, is led here and misses replicas, or whose replica here is not whole.
fn lacking_of(node: &ShellNode, descriptor: &Descriptor, leader: Option<&LeaderInfo>) -> Option<Value> {
    let (key, me) = (descriptor.key, node.identity().node);
    let here = node.replica(key);
    let standing = here.as_ref().map(|replica| replica.standing);
    let spoiled = matches!(standing, Some(Standing::Suspect | Standing::Learner));
    let info = leader.filter(|info| info.leader == me);
    let misses = info.is_some_and(|info| info.in_sync.len() < descriptor.replicas.len());
    if leader.is_some() && !misses && !spoiled {
        return None;
    }
    let in_sync: Option<Vec<i32>> = info.map(|info| info.in_sync.iter().map(|node| node.0).collect());
    Some(json!({
        "partition": partition_name(node.view(), key),
        "leader": leader.map(|info| info.leader.0),
        "replicas": ids(descriptor),
        "in_sync": in_sync,
        "min_in_sync": min_in_sync(node, key),
        "standing": standing.map(|standing| format!("{standing:?}").to_lowercase()),
        "role": here.as_ref().and_then(|replica| replica.role).map(role_name),
        "log_end": here.as_ref().map(|replica| replica.log_end),
        "creating": descriptor.creating,
    }))
}

/// Of shards the smallest majority is what counts, and no topic's setting.
fn min_in_sync(node: &ShellNode, key: PartitionKey) -> Option<u32> {
    key.as_shard().is_none().then(|| node.topic_config(key.topic).min_insync_replicas)
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre_candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}
