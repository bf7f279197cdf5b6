//! Opens the segment logs of a data directory, one per worker, as many as there are and as are wanted.

use std::fs;
use std::io;
use std::path::Path;

use storage::disk::file::FileDisk;
use storage::{OpenError, Recovered, Store, StoreConfig};

use super::advice;
use super::data_dir::{self, DataDir};
use super::index::LazyIndex;
use crate::core::workers::needed;

/// A data directory with everything in it open.
pub(super) struct Logs {
    pub(super) directory: DataDir,
    /// Where the first worker writes.
    pub(super) disk: FileDisk,
    /// The first worker's first.
    pub(super) opened: Vec<(Store<FileDisk>, Recovered)>,
}

/// Takes the locks and recovers the logs. New ones will go to the first `workers` of them.
pub(super) fn open(path: &Path, config: &StoreConfig, workers: usize) -> anyhow::Result<Logs> {
    let shown = path.display();
    DataDir::check_format(path)?;
    let disk = FileDisk::new(path).map_err(|error| {
        anyhow::anyhow!("the data directory {shown} cannot be used: {}", advice::disk(path, &error))
    })?;
    let before = data_dir::workers(path)?;
    let count = before.max(workers);
    let config = StoreConfig { cache_bytes: config.cache_bytes / count as u64, ..config.clone() };
    let mut opened = vec![open_one(path, path, disk.clone(), &config)?];
    for number in 1..count {
        let own = data_dir::worker_path(path, number);
        if number < before && !holds_segments(&own)? {
            tracing::error!(
                directory = %own.display(),
                "the log of a worker is gone: the replicas of this node take no part until they are rebuilt from others"
            );
            data_dir::begin_life(path)?;
        }
        let made = || FileDisk::new(&own);
        let disk = made().map_err(|error| {
            anyhow::anyhow!("the directory {} cannot be used: {}", own.display(), advice::disk(&own, &error))
        })?;
        opened.push(open_one(path, &own, disk, &config)?);
    }
    let directory = DataDir::open(path, opened.iter().any(|(_, recovered)| !recovered.logs.is_empty()))?;
    let keep = needed(&opened, workers);
    // A worker's number is recorded once its log is there, and a log goes once its number is not recorded any more: so one that
    // is recorded and not there was lost.
    directory.set_workers(keep)?;
    for number in (keep..opened.len()).rev() {
        drop(opened.pop());
        let own = data_dir::worker_path(path, number);
        match fs::remove_dir_all(&own) {
            Ok(()) => {
                tracing::info!(worker = number, "a worker without logs is not wanted any more and gone")
            }
            Err(error) => tracing::warn!(%error, directory = %own.display(), "an empty directory stays"),
        }
    }
    if keep > workers {
        tracing::info!(
            workers,
            kept = keep,
            "more workers than wanted hold logs; they keep them and get no new ones"
        );
    }
    Ok(Logs { directory, disk, opened })
}

fn open_one(
    data_dir: &Path,
    own: &Path,
    disk: FileDisk,
    config: &StoreConfig,
) -> anyhow::Result<(Store<FileDisk>, Recovered)> {
    let shown = own.display();
    let note = || data_dir::begin_life(data_dir);
    let index = Box::new(LazyIndex::new(own));
    Store::open_noting_damage(disk, config.clone(), index, note).map_err(|error| match error {
        OpenError::Locked => anyhow::anyhow!(
            "another rafka-node runs on this data directory, {shown} is in use (locked): stop that one, or name another --data-dir"
        ),
        error => anyhow::anyhow!("the data directory {shown} does not open: {}", advice::opening(own, &error)),
    })
}

fn holds_segments(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(entries
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|extension| extension == "segment"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
