//! The threads that wait for the disk, so that the node does not: one per worker syncs, some read, one keeps the view's copy.
//!
//! What waits here is bounded by what the core has under way: one commit and one reclaim per worker, and the reads of calls that hold
//! their place in the queue of calls.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use storage::disk::file::FileDisk;
use storage::{Commit, Entry, ReadError, ReadJob, Reclaim};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::data_dir::DataDir;
use super::metrics::Metrics;

/// Threads that read.
const READERS: usize = 2;
/// Ended jobs that the worker has not taken yet; the threads wait for room.
pub(super) const DONE_MAX: usize = 1024;

/// A job that ended.
pub(super) enum Done {
    /// Written and synced for a worker, or failed: the commit knows.
    Committed(usize, Commit<FileDisk>),
    /// Read, under the token of its effect.
    Read(u64, Result<Vec<Entry>, ReadError>),
    /// Read for a worker's reclaim.
    Reclaimed(usize, Reclaim<FileDisk>),
}

enum Job {
    Read(u64, ReadJob<FileDisk>),
    Reclaim(usize, Reclaim<FileDisk>),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// The threads. Dropping it lets them finish what they have and end.
pub(super) struct DiskThreads {
    /// Of each worker.
    commits: Vec<SyncSender<Commit<FileDisk>>>,
    views: Option<SyncSender<Vec<u8>>>,
    queue: Arc<(Mutex<Queue>, Condvar)>,
    metrics: Arc<Metrics>,
    threads: Vec<JoinHandle<()>>,
}

impl DiskThreads {
    /// Starts them. `done` takes what ended.
    pub(super) fn start(
        directory: DataDir,
        workers: usize,
        done: mpsc::Sender<Done>,
        metrics: Arc<Metrics>,
    ) -> io::Result<DiskThreads> {
        let queue: Arc<(Mutex<Queue>, Condvar)> = Arc::default();
        let (views, to_keep) = sync_channel::<Vec<u8>>(1);
        let mut threads = Vec::new();
        let mut commits = Vec::new();
        for worker in 0..workers {
            // One commit of a worker is under way at a time, so this never blocks.
            let (commit, to_commit) = sync_channel::<Commit<FileDisk>>(1);
            commits.push(commit);
            let (done, metrics) = (done.clone(), Arc::clone(&metrics));
            let builder = Builder::new().name(format!("sync-{worker}"));
            threads.push(builder.spawn(move || sync(worker, &to_commit, &done, &metrics))?);
        }
        threads.push(Builder::new().name("view".into()).spawn(move || {
            for view in to_keep {
                if let Err(error) = directory.set_view(&view) {
                    tracing::warn!(%error, "the copy of the metadata could not be kept; the old one stays");
                }
            }
        })?);
        for number in 0..READERS {
            let (queue, done, metrics) = (Arc::clone(&queue), done.clone(), Arc::clone(&metrics));
            let builder = Builder::new().name(format!("read-{number}"));
            threads.push(builder.spawn(move || read(&queue, &done, &metrics))?);
        }
        Ok(DiskThreads { commits, views: Some(views), queue, metrics, threads })
    }

    /// Hands a commit to the worker's sync thread.
    pub(super) fn commit(&self, worker: usize, commit: Commit<FileDisk>) {
        self.commits[worker].send(commit).expect("the sync thread ends after this end of its queue");
    }

    /// Hands a read to the readers.
    pub(super) fn read(&self, token: u64, job: ReadJob<FileDisk>) {
        self.push(Job::Read(token, job));
    }

    /// Hands a reclaim to the readers.
    pub(super) fn reclaim(&self, worker: usize, job: Reclaim<FileDisk>) {
        self.push(Job::Reclaim(worker, job));
    }

    /// Keeps a copy of the view; gives it back while an older one is still being written.
    pub(super) fn keep_view(&self, view: Vec<u8>) -> Result<(), Vec<u8>> {
        match self.views.as_ref().map(|views| views.try_send(view)) {
            Some(Err(TrySendError::Full(view) | TrySendError::Disconnected(view))) => Err(view),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn push(&self, job: Job) {
        self.metrics.disk_jobs.fetch_add(1, Relaxed);
        lock(&self.queue).jobs.push_back(job);
        self.queue.1.notify_one();
    }

    /// Lets the threads finish and waits for them.
    pub(super) fn stop(mut self) {
        self.commits.clear();
        self.views = None;
        lock(&self.queue).closed = true;
        self.queue.1.notify_all();
        for thread in self.threads.drain(..) {
            // A panic there has ended the process already.
            let _ended = thread.join();
        }
    }
}

fn lock(queue: &(Mutex<Queue>, Condvar)) -> std::sync::MutexGuard<'_, Queue> {
    queue.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sync(worker: usize, commits: &Receiver<Commit<FileDisk>>, done: &mpsc::Sender<Done>, metrics: &Metrics) {
    for mut commit in commits {
        let began = Instant::now();
        metrics.committing.set_at(worker, true);
        commit.write();
        let written = Instant::now();
        commit.sync();
        metrics.syncs.took(written.elapsed());
        metrics.commits.took(began.elapsed());
        metrics.commit_slowest.took(began.elapsed());
        metrics.committing.set_at(worker, false);
        if done.blocking_send(Done::Committed(worker, commit)).is_err() {
            break;
        }
    }
}

fn read(queue: &(Mutex<Queue>, Condvar), done: &mpsc::Sender<Done>, metrics: &Metrics) {
    loop {
        let mut waiting = lock(queue);
        let job = loop {
            if let Some(job) = waiting.jobs.pop_front() {
                break job;
            }
            if waiting.closed {
                return;
            }
            waiting = queue.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        };
        drop(waiting);
        let began = Instant::now();
        let ended = match job {
            Job::Read(token, job) => {
                let read = job.run();
                metrics.reads.took(began.elapsed());
                Done::Read(token, read)
            }
            Job::Reclaim(worker, mut job) => {
                job.run();
                metrics.reclaims.took(began.elapsed());
                Done::Reclaimed(worker, job)
            }
        };
        metrics.disk_jobs.fetch_sub(1, Relaxed);
        if done.blocking_send(ended).is_err() {
            return;
        }
    }
}
