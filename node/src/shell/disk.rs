//! The threads that wait for the disk, so that the node does not: one per worker syncs, some read, one keeps the view's copy.
//!
//! What waits here is bounded by what the core has under way: one commit and one reclaim per worker, the reads of calls that hold
//! their place in the queue of calls, one read of each partition for a replica that lags, one of the scrubber; and the few of people who
//! compare replicas. Those of the scrubber, of people and of replicas that are rebuilt are patient: they wait until nothing else does, but not
//! for longer than a few turns, or readers that never rest would keep a partition from ever being whole again.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use storage::disk::file::FileDisk;
use storage::{Commit, Entry, ReadError, ReadJob, Reclaim};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::data_dir::DataDir;
use super::metrics::Metrics;

/// Threads that read.
const READERS: usize = 2;
/// So many other jobs go before a patient one that waits.
const TURNS: usize = 16;
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
    /// For somebody else than the node.
    Aside(ReadJob<FileDisk>, oneshot::Sender<Result<Vec<Entry>, ReadError>>),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Taken when there are no others, by one thread at a time.
    patient: VecDeque<Job>,
    /// A thread is at one of these.
    patient_under_way: bool,
    /// Jobs that went before the patient ones in a row.
    before: usize,
    closed: bool,
}

impl Queue {
    /// What is to be done next, and whether it was patient.
    fn next(&mut self) -> Option<(Job, bool)> {
        let its_turn = !self.patient_under_way && !self.patient.is_empty();
        if !(its_turn && self.before >= TURNS)
            && let Some(job) = self.jobs.pop_front()
        {
            self.before = if its_turn { self.before + 1 } else { 0 };
            return Some((job, false));
        }
        if self.patient_under_way {
            return None;
        }
        let job = self.patient.pop_front()?;
        (self.patient_under_way, self.before) = (true, 0);
        Some((job, true))
    }
}

/// Reads beside the node, behind everything that it has to read itself.
#[derive(Clone)]
pub(super) struct Aside {
    queue: Arc<(Mutex<Queue>, Condvar)>,
    metrics: Arc<Metrics>,
}

impl Aside {
    /// Runs a read on one of the threads that do; `None` when they are gone.
    pub(super) async fn read(&self, job: ReadJob<FileDisk>) -> Option<Result<Vec<Entry>, ReadError>> {
        let (answer, answered) = oneshot::channel();
        push(&self.queue, &self.metrics, Job::Aside(job, answer));
        answered.await.ok()
    }
}

fn push(queue: &(Mutex<Queue>, Condvar), metrics: &Metrics, job: Job) {
    let mut waiting = lock(queue);
    if waiting.closed {
        return;
    }
    metrics.disk_jobs.fetch_add(1, Relaxed);
    let patient = match &job {
        Job::Read(_, job) | Job::Aside(job, _) => job.is_patient(),
        Job::Reclaim(..) => false,
    };
    if patient {
        waiting.patient.push_back(job)
    } else {
        waiting.jobs.push_back(job)
    }
    drop(waiting);
    queue.1.notify_one();
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

    /// For reads of others than the node.
    pub(super) fn aside(&self) -> Aside {
        Aside { queue: Arc::clone(&self.queue), metrics: Arc::clone(&self.metrics) }
    }

    fn push(&self, job: Job) {
        push(&self.queue, &self.metrics, job);
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
    while let Some((job, patient)) = take(queue) {
        let began = Instant::now();
        let ended = match job {
            Job::Read(token, job) => {
                let read = job.run();
                if !patient {
                    metrics.reads.took(began.elapsed());
                }
                Some(Done::Read(token, read))
            }
            Job::Reclaim(worker, mut job) => {
                job.run();
                metrics.reclaims.took(began.elapsed());
                Some(Done::Reclaimed(worker, job))
            }
            Job::Aside(job, answer) => {
                let _gone = answer.send(job.run());
                None
            }
        };
        metrics.disk_jobs.fetch_sub(1, Relaxed);
        if patient {
            lock(queue).patient_under_way = false;
            queue.1.notify_one();
        }
        if ended.is_some_and(|ended| done.blocking_send(ended).is_err()) {
            return;
        }
    }
}

/// Waits for the next job; `None` at the end.
fn take(queue: &(Mutex<Queue>, Condvar)) -> Option<(Job, bool)> {
    let mut waiting = lock(queue);
    loop {
        if let Some(job) = waiting.next() {
            return Some(job);
        }
        if waiting.closed {
            return None;
        }
        waiting = queue.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
    }
}
