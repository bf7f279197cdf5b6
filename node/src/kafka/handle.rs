//! The way from a connection to the node: a bounded queue of calls, each answered once.
//!
//! Connections hold a cloned [`NodeHandle`]; the worker's shell holds the [`Inbox`]. Bounded twice: by calls, through the
//! channel, and by bytes, through a semaphore whose permit lives until the answer was written to the client.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::listeners::Brokers;
use super::repack::Rules;
use super::room::{Answered, Reply, Room};
use super::sessions::Sessions;
use crate::core::request::Request;

/// Who asks: part of every request, so that quotas and access rules need no new path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientContext {
    /// Name of the listener the client came through.
    pub listener: Arc<str>,
    /// The client's address.
    pub address: SocketAddr,
    /// What the client calls itself (`client.id`), empty when it does not say.
    pub client_id: Arc<str>,
    /// Who it is, in Kafka's notation; `User:ANONYMOUS` while there is no authentication.
    pub principal: Arc<str>,
}

impl ClientContext {
    /// The name of a user's principal, as quotas know it.
    pub fn user(&self) -> &str {
        self.principal.strip_prefix("User:").unwrap_or(&self.principal)
    }
}

/// One request on its way to the node.
#[derive(Debug)]
pub struct Call {
    /// What is asked, already checked and bounded.
    pub request: Request,
    /// Who asks.
    pub client: ClientContext,
    /// Where the answer goes. Closed once the client is gone: whoever holds a long poll watches it.
    pub reply: Reply,
}

/// The node does not take calls any more: it is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

/// A connection's end of the queue; cheap to clone.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    calls: mpsc::Sender<Call>,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
    room: Room,
    brokers: watch::Receiver<Arc<Brokers>>,
    rules: watch::Receiver<Arc<Rules>>,
    repacking: Arc<Semaphore>,
    sessions: Arc<Sessions>,
}

/// How full the way to the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Calls that wait to be taken.
    pub calls: usize,
    /// As many may.
    pub calls_max: usize,
    /// Bytes of requests that are being read or worked on.
    pub bytes: u32,
    /// As many may be.
    pub bytes_max: u32,
    /// Bytes of responses that clients have not read, and as many as may be.
    pub unread: (u32, u32),
}

/// The worker shell's end of the queue.
#[derive(Debug)]
pub struct Inbox {
    /// The calls, in the order in which they came.
    pub calls: mpsc::Receiver<Call>,
    /// The nodes as clients reach them, kept up to date by the shell: a redirect names the new leader's address (KIP-951).
    pub brokers: watch::Sender<Arc<Brokers>>,
    /// The topics whose batches are looked into before they come here, kept up to date by the shell.
    pub rules: watch::Sender<Arc<Rules>>,
}

/// Requests whose batches are unpacked at a time: each takes up to three times [`UNPACKED_BYTES_MAX`](super::repack) of memory.
const REPACKING_MAX: usize = 2;

impl NodeHandle {
    /// A queue of at most `calls_max` calls whose requests hold at most `bytes_max` bytes together, and their responses at most
    /// `responses_max`.
    pub fn new(calls_max: usize, bytes_max: u32, responses_max: u32) -> (NodeHandle, Inbox) {
        let (sender, calls) = mpsc::channel(calls_max.max(1));
        let (brokers, watched) = watch::channel(Arc::default());
        let (rules, ruled) = watch::channel(Arc::default());
        let repacking = Arc::new(Semaphore::new(REPACKING_MAX));
        let bytes_max = bytes_max.max(1);
        // usize is at least 32 bits wide wherever tokio runs.
        let bytes = Arc::new(Semaphore::new(bytes_max as usize));
        let sessions = Sessions::new(RandomState::new().hash_one(0));
        let room = Room::new(responses_max);
        let handle = NodeHandle {
            calls: sender,
            bytes,
            bytes_max,
            room,
            brokers: watched,
            rules: ruled,
            repacking,
            sessions,
        };
        (handle, Inbox { calls, brokers, rules })
    }

    /// Waits until a request that holds `held` bytes may hold `bytes` more; the permit gives them back when dropped. One request larger
    /// than the whole bound passes alone. Cancellation safe.
    ///
    /// # Errors
    /// [`Stopped`] when the node takes no more calls.
    pub async fn reserve(&self, held: u32, bytes: u32) -> Result<OwnedSemaphorePermit, Stopped> {
        let bytes = bytes.min(self.bytes_max.saturating_sub(held));
        Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(|_closed| Stopped)
    }

    /// Hands `request` to the node, waiting for a place in the queue; the receiver yields the answer, or an error when
    /// the node drops the call. Dropping the receiver cancels a long poll.
    ///
    /// # Errors
    /// [`Stopped`] when the node takes no more calls.
    pub async fn send(
        &self,
        request: Request,
        client: ClientContext,
    ) -> Result<oneshot::Receiver<Answered>, Stopped> {
        let (reply, answer) = Reply::new(self.room.clone());
        self.calls.send(Call { request, client, reply }).await.map_err(|_closed| Stopped)?;
        Ok(answer)
    }

    /// The topics whose batches are looked into, as last told by the shell.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.borrow())
    }

    /// Waits until a request's batches may be unpacked.
    ///
    /// # Errors
    /// [`Stopped`], which does not happen while the node takes calls.
    pub async fn repacking(&self) -> Result<OwnedSemaphorePermit, Stopped> {
        Arc::clone(&self.repacking).acquire_owned().await.map_err(|_closed| Stopped)
    }

    /// The memory for responses that clients have not read.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// The fetch sessions of all clients.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// How full the queue is.
    pub fn load(&self) -> Load {
        let free = u32::try_from(self.bytes.available_permits()).unwrap_or(u32::MAX);
        Load {
            calls: self.calls.max_capacity() - self.calls.capacity(),
            calls_max: self.calls.max_capacity(),
            bytes: self.bytes_max.saturating_sub(free),
            bytes_max: self.bytes_max,
            unread: self.room.load(),
        }
    }

    /// The nodes as last told by the shell.
    pub fn brokers(&self) -> Arc<Brokers> {
        Arc::clone(&self.brokers.borrow())
    }
}
