//! Disks: full, filling, failed, stuck, slow.

use crate::doctor::facts::{Disk, Facts};
use crate::doctor::finding::{Finding, time};
use crate::units::bytes;

/// As long as the node itself waits before it tells the others that its disk is stuck.
const STUCK_MS: u64 = 10_000;
/// Longer than that, and followers begin to doubt their leaders.
const SLOW_MS: u64 = 1_000;

/// Of each node that told its state, and of others what they told last.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    for (id, state) in facts.states() {
        let name = facts.name(id);
        let found = [
            failed(&name, state.node.as_ref().is_some_and(|node| node.disk_failed)),
            space(&name, &state.disk),
            speed(&name, &state.disk, facts.said_of(id).any(|(_, node)| node.disk_stuck)),
        ];
        out.extend(found.into_iter().flatten().map(|finding| finding.of([id])));
    }
}

fn failed(name: &str, failed: bool) -> Option<Finding> {
    failed.then(|| {
        Finding::critical(
            "disk_failed",
            format!("a write or a sync of the disk of {name} failed: it promises nothing any more and ends"),
            "Look at the disk: dmesg, smartctl -a, df -h. What was acknowledged is on the other replicas.",
        )
    })
}

fn space(name: &str, disk: &Disk) -> Option<Finding> {
    let (free, reserve) = (as_text(disk.free_bytes), as_text(disk.reserve_bytes));
    let advice = "Free space, or lower retention.ms or retention.bytes of large topics (rafka topic list).";
    if disk.full_ms.is_some() {
        let what = format!(
            "the disk of {name} is full up to its reserve, so nothing is produced there: {free} free, reserve {reserve}"
        );
        return Some(Finding::critical("disk_full", what, advice).since(disk.full_ms));
    }
    (disk.free_bytes < disk.reserve_bytes.saturating_mul(2)).then(|| {
        let what = format!(
            "the disk of {name} is nearly full: {free} free, and below {reserve} nothing is produced"
        );
        Finding::warning("disk_filling", what, advice)
    })
}

fn speed(name: &str, disk: &Disk, told_stuck: bool) -> Option<Finding> {
    let running = disk.committing_ms.unwrap_or(0);
    let advice = "Look at the disk (iostat -x 1, dmesg, smartctl -a) and at what else uses it.";
    if running >= STUCK_MS || told_stuck {
        let what =
            format!("the disk of {name} is stuck: a write or sync has been under way for {}", time(running));
        return Some(Finding::critical("disk_stuck", what, advice).since(disk.committing_ms));
    }
    let slowest = running.max(disk.commit_slowest_ms);
    (slowest >= SLOW_MS).then(|| {
        let what = format!(
            "the disk of {name} is slow: a write and sync took {} within the last two minutes, and every acknowledgement waits for one",
            time(slowest)
        );
        Finding::warning("disk_slow", what, advice)
    })
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn as_text(number: u64) -> String {
    bytes(number as f64)
}

#[cfg(test)]
mod tests {
    use crate::doctor::finding::Severity;
    use crate::doctor::fixtures::{healthy, only};

    #[test]
    fn a_full_disk_is_told_with_its_numbers() {
        let mut facts = healthy(3);
        let disk = &mut facts.state(2).disk;
        (disk.free_bytes, disk.reserve_bytes, disk.full_ms) = (900_000, 1_000_000, Some(7_000));
        let found = only(&facts, "disk_full");
        assert!(found.what.contains("900.0 kB free, reserve 1.0 MB"), "{}", found.what);
        assert_eq!((found.nodes.as_slice(), found.since_ms), ([2].as_slice(), Some(7_000)));
        let disk = &mut facts.state(2).disk;
        (disk.free_bytes, disk.full_ms) = (1_500_000, None);
        assert_eq!(only(&facts, "disk_filling").severity, Severity::Warning);
        facts.state(2).disk.free_bytes = 2_000_000;
        assert_eq!(super::super::diagnose(&facts), []);
    }

    #[test]
    fn a_commit_that_does_not_end_is_stuck_and_one_that_took_long_is_slow() {
        let mut facts = healthy(3);
        facts.state(1).disk.committing_ms = Some(3_400);
        assert!(only(&facts, "disk_slow").what.contains("3.4 s"));
        facts.state(1).disk.committing_ms = Some(11_000);
        assert_eq!(only(&facts, "disk_stuck").since_ms, Some(11_000));
        facts.state(1).disk.committing_ms = None;
        facts.word(2, 1).disk_stuck = true;
        assert_eq!(only(&facts, "disk_stuck").nodes, [1]);
        facts.word(2, 1).disk_stuck = false;
        facts.state(1).disk.commit_slowest_ms = 999;
        assert_eq!(super::super::diagnose(&facts), []);
    }

    #[test]
    fn a_failed_write_is_critical() {
        let mut facts = healthy(3);
        facts.worker(3).disk_failed = true;
        assert_eq!(only(&facts, "disk_failed").nodes, [3]);
    }
}
