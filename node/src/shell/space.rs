//! The free space of the disk, asked for now and then: a disk that is full up to its reserve is told once, and so is its end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use storage::Disk;
use storage::disk::file::FileDisk;
use tokio::time::{MissedTickBehavior, interval};

use super::metrics::Metrics;

const EVERY: Duration = Duration::from_secs(2);

/// Watches until dropped.
pub(super) async fn watch(disk: FileDisk, reserve_bytes: u64, metrics: Arc<Metrics>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut full = false;
    loop {
        tick.tick().await;
        let asked = disk.clone();
        let Ok(Ok(free)) = tokio::task::spawn_blocking(move || asked.free_bytes()).await else { continue };
        metrics.disk_free_bytes.store(free, Relaxed);
        let now = free < reserve_bytes;
        metrics.disk_full.set(now);
        if now != full {
            full = now;
            tell(&disk, now, free, reserve_bytes);
        }
    }
}

fn tell(disk: &FileDisk, full: bool, free_bytes: u64, reserve_bytes: u64) {
    let data_dir = disk.root().display();
    match full {
        true => tracing::error!(
            %data_dir,
            free_bytes,
            reserve_bytes,
            "the disk is full up to the reserve (--reserve-bytes): produce requests are refused until space returns. Free some, \
             or lower retention.ms or retention.bytes of large topics"
        ),
        false => {
            tracing::info!(%data_dir, free_bytes, "the disk has space again: produce requests are taken")
        }
    }
}
