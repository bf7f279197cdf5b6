//! What `/metrics` says of the node itself: its replicas, partitions, metadata and store. Looked at between two steps.

use std::time::Duration;

use mesh::raft::Role;

use super::ShellNode;
use super::pages::{descriptors, unready};
use crate::core::Standing;
use crate::core::metadata::quotas::Limit;
use crate::core::metadata::{PartitionKey, ShardId};
use crate::exposition::Exposition;

const STANDINGS: [(&str, Standing); 5] = [
    ("creating", Standing::Creating),
    ("member", Standing::Member),
    ("suspect", Standing::Suspect),
    ("learner", Standing::Learner),
    ("removed", Standing::Removed),
];
/// `none` takes no part.
const ROLES: [(&str, Option<Role>); 5] = [
    ("follower", Some(Role::Follower)),
    ("pre_candidate", Some(Role::PreCandidate)),
    ("candidate", Some(Role::Candidate)),
    ("leader", Some(Role::Leader)),
    ("none", None),
];

/// Everything.
pub(super) fn of(node: &ShellNode) -> Exposition {
    let mut out = Exposition::default();
    replicas(node, &mut out);
    partitions(node, &mut out);
    membership(node, &mut out);
    store(node, &mut out);
    swim(node, &mut out);
    scrub(node, &mut out);
    quotas(node, &mut out);
    rebuilds(node, &mut out);
    out
}

fn replicas(node: &ShellNode, out: &mut Exposition) {
    let (mut standings, mut roles) = ([0_u64; STANDINGS.len()], [0_u64; ROLES.len()]);
    let (mut leads, mut behind, mut unsynced, mut unapplied, mut most) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let mut unknown = 0_u64;
    for replica in node.replicas() {
        let uncommitted = replica.last.0.saturating_sub(replica.commit.0);
        leads += u64::from(replica.role == Some(Role::Leader));
        unknown += u64::from(replica.role == Some(Role::Leader) && replica.high_watermark.is_none());
        behind += uncommitted;
        most = most.max(uncommitted);
        unsynced += replica.last.0.saturating_sub(replica.synced.0);
        unapplied += replica.commit.0.saturating_sub(replica.applied.0);
        if let Some(place) = STANDINGS.iter().position(|(_, standing)| *standing == replica.standing) {
            standings[place] += 1;
        }
        if let Some(place) = ROLES.iter().position(|(_, role)| *role == replica.role) {
            roles[place] += 1;
        }
    }
    let mut family = out.gauge("rafka_replicas", "Replicas on this node, by where in their life they are.");
    for ((name, _), count) in STANDINGS.iter().zip(standings) {
        family.of("standing", name, count);
    }
    let mut family = out.gauge("rafka_replica_roles", "Replicas on this node, by role; none takes no part.");
    for ((name, _), count) in ROLES.iter().zip(roles) {
        family.of("role", name, count);
    }
    for (name, help, value) in [
        ("rafka_replica_leads", "Replicas of this node that lead their partition.", leads),
        ("rafka_replica_unknown_watermarks", "Leaders that do not know their high watermark yet.", unknown),
        (
            "rafka_replica_uncommitted_entries",
            "Entries beyond the commit index, over all replicas here.",
            behind,
        ),
        ("rafka_replica_uncommitted_entries_most", "The same of the replica that has the most.", most),
        (
            "rafka_replica_unsynced_entries",
            "Entries that are not synced yet, over all replicas here.",
            unsynced,
        ),
        ("rafka_replica_unapplied_entries", "Committed entries that are not applied yet.", unapplied),
    ] {
        out.gauge(name, help).is(value);
    }
}

fn partitions(node: &ShellNode, out: &mut Exposition) {
    let me = node.identity().node;
    let (mut known, mut leaderless, mut creating) = (0_u64, 0_u64, 0_u64);
    let (mut under, mut edge, mut elsewhere) = (0_u64, 0_u64, 0_u64);
    for descriptor in descriptors(node.view()) {
        known += 1;
        creating += u64::from(descriptor.creating);
        let Some(info) = node.leader_up(descriptor.key) else {
            leaderless += 1;
            continue;
        };
        if info.leader != me {
            continue;
        }
        let (wanted, in_sync) = (descriptor.replicas.len(), info.in_sync.len());
        under += u64::from(in_sync < wanted);
        edge += u64::from(wanted > 1 && in_sync <= wanted / 2 + 1 && in_sync < wanted);
        elsewhere += u64::from(descriptor.replicas.first().is_some_and(|first| first.node != me));
    }
    for (name, help, value) in [
        ("rafka_partitions", "Partitions that this node knows of, metadata shards among them.", known),
        (
            "rafka_partition_leaderless",
            "Of these, those without a leader that is up, as this node sees it.",
            leaderless,
        ),
        ("rafka_partition_creating", "Of these, those that are not created everywhere yet.", creating),
        ("rafka_partition_under_replicated", "Led here, with fewer replicas in sync than there are.", under),
        ("rafka_partition_without_spare", "Of these, those that stop when one more replica does.", edge),
        (
            "rafka_partition_led_for_another",
            "Led here while another node is the preferred leader.",
            elsewhere,
        ),
    ] {
        out.gauge(name, help).is(value);
    }
}

fn membership(node: &ShellNode, out: &mut Exposition) {
    let (view, live, me) = (node.view(), node.up(), node.identity().node);
    let led = |shard: &ShardId| node.leader_up(PartitionKey::of_shard(*shard)).is_some();
    let shards_unknown = node.shards_unheard();
    let shards_leaderless = ShardId::all().filter(|shard| !led(shard)).count();
    let not_live = view.nodes().filter(|info| info.node != me && !live.contains(&info.node)).count();
    for (name, help, value) in [
        (
            "rafka_node_ready",
            "Whether clients may be sent here, as /readyz says.",
            u64::from(unready(node).is_none()),
        ),
        ("rafka_node_registered", "Nodes of the mesh.", view.nodes().count() as u64),
        ("rafka_node_live", "Other nodes that this one holds for live.", live.len() as u64 - 1),
        ("rafka_node_unheard", "Other nodes that this one does not hold for live.", not_live as u64),
        (
            "rafka_node_watched",
            "Nodes that share partitions with this one: it exchanges heartbeats with them.",
            node.watched().count() as u64,
        ),
        ("rafka_swim_live", "Nodes that SWIM holds for live here.", node.swim().live_count() as u64),
        ("rafka_node_boot", "How often this data directory was opened.", node.boot()),
        ("rafka_topics", "Topics that this node knows of.", view.topics().count() as u64),
        (
            "rafka_metadata_shards_unknown",
            "Metadata shards of which this process heard nothing current yet.",
            shards_unknown as u64,
        ),
        (
            "rafka_metadata_shards_leaderless",
            "Metadata shards without a leader that is up.",
            shards_leaderless as u64,
        ),
    ] {
        out.gauge(name, help).is(value);
    }
}

fn swim(node: &ShellNode, out: &mut Exposition) {
    let figures = node.swim().figures();
    for (name, help, value) in [
        ("rafka_swim_messages_total", "Messages of SWIM that this node sent.", figures.sent),
        ("rafka_swim_bytes_total", "Their bytes.", figures.sent_bytes),
        (
            "rafka_swim_refused_total",
            "Messages of SWIM that could not be read, or came from another than who they say.",
            figures.refused,
        ),
        ("rafka_swim_refuted_total", "Suspicions of this node that it refuted.", figures.refuted),
        (
            "rafka_swim_renewed_total",
            "Times that this node came back after it was called down though it lives, or after its disk was stuck.",
            figures.renewed,
        ),
    ] {
        out.counter(name, help).is(value);
    }
}

fn scrub(node: &ShellNode, out: &mut Exposition) {
    let figures = node.scrub_figures();
    for (name, help, value) in [
        (
            "rafka_scrub_bytes_total",
            "Bytes of stored entries that were read back and are whole.",
            figures.bytes,
        ),
        ("rafka_scrub_rounds_total", "Times that everything stored was read back.", figures.rounds),
        ("rafka_scrub_rot_total", "Replicas with an entry that could not be read back.", figures.rot),
    ] {
        out.counter(name, help).is(value);
    }
    for (name, help, value) in [
        (
            "rafka_scrub_round_bytes",
            "Bytes read back in the round under way, 0 between rounds.",
            figures.round_bytes,
        ),
        (
            "rafka_scrub_kept_replicas",
            "Damaged replicas that are not rebuilt, for the others of their partitions are not whole.",
            figures.kept,
        ),
    ] {
        out.gauge(name, help).is(value);
    }
}

fn quotas(node: &ShellNode, out: &mut Exposition) {
    let figures = node.quota_figures();
    out.gauge("rafka_quotas", "Users, client ids and pairs of them with a quota.").is(node
        .quotas()
        .iter()
        .count()
        as u64);
    let mut family =
        out.counter("rafka_quota_throttled_total", "Answers that told a client to be silent for a while.");
    for (limit, count) in Limit::ALL.iter().zip(figures.throttled) {
        family.of("limit", limit.key(), count);
    }
    let mut family =
        out.counter("rafka_quota_throttle_seconds_total", "For how long clients were told to be silent.");
    for (limit, ms) in Limit::ALL.iter().zip(figures.throttled_ms) {
        family.of("limit", limit.key(), Duration::from_millis(ms).as_secs_f64());
    }
}

fn rebuilds(node: &ShellNode, out: &mut Exposition) {
    let figures = node.rebuild_figures();
    let left: u64 = node.rebuilds().iter().map(|one| one.left_bytes).sum();
    for (name, help, value) in [
        (
            "rafka_rebuild_sent_bytes_total",
            "Bytes of entries sent from here to replicas that are rebuilt: learners and voters far behind.",
            figures.bytes,
        ),
        ("rafka_rebuild_finished_total", "Replicas that became whole again from here.", figures.finished),
    ] {
        out.counter(name, help).is(value);
    }
    for (name, help, value) in [
        ("rafka_rebuild_replicas", "Replicas that are rebuilt from here.", figures.under_way),
        ("rafka_rebuild_waiting_replicas", "Of these, those that wait for their turn.", figures.waiting),
        ("rafka_rebuild_left_bytes", "Bytes that these still lack, about.", left),
        (
            "rafka_rebuild_limit_bytes",
            "Bytes per second that this node sends to replicas that are rebuilt at most; 0 for no limit.",
            figures.bytes_per_second,
        ),
    ] {
        out.gauge(name, help).is(value);
    }
}

fn store(node: &ShellNode, out: &mut Exposition) {
    let stats = node.workers().stats();
    for (name, help, value) in [
        (
            "rafka_storage_disk_bytes",
            "Bytes of all segment files, reserved space among them.",
            stats.disk_bytes,
        ),
        ("rafka_storage_live_bytes", "Bytes of entries that are still needed.", stats.live_bytes),
        ("rafka_storage_segments", "Segment files.", stats.segments),
        ("rafka_storage_staged_bytes", "Bytes that wait for the next commit.", stats.staged_bytes),
        (
            "rafka_storage_failed",
            "Whether a write or sync failed: nothing is promised any more.",
            u64::from(node.workers().failed()),
        ),
    ] {
        out.gauge(name, help).is(value);
    }
    for (name, help, value) in [
        ("rafka_storage_commits_total", "Commits.", stats.commits),
        ("rafka_storage_written_bytes_total", "Bytes that commits wrote.", stats.written_bytes),
        (
            "rafka_storage_reclaim_copied_bytes_total",
            "Bytes that reclaim copied forward.",
            stats.copied_bytes,
        ),
        ("rafka_storage_reads_memory_total", "Reads answered from memory.", stats.reads_memory),
        ("rafka_storage_reads_disk_total", "Reads that went to the disk.", stats.reads_disk),
        ("rafka_storage_read_bytes_total", "Bytes that reads asked of the disk.", stats.read_bytes),
    ] {
        out.counter(name, help).is(value);
    }
}
