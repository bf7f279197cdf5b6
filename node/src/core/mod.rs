//! The pure core of a node: everything that decides, and nothing that waits.
//!
//! [`Node::step`] takes the time and one input and returns effects. The shell (or the simulator) performs them and feeds the
//! completions back. No clock, socket, thread or random source is in here; the disk is reached through [`storage::Store`].
//!
//! Reading order: [`request`] and [`message`] (what comes in), [`partition`] (one replica), [`producers`] (idempotence),
//! `produce`, `stamp` and `fetch` (the data path), `configs` (what is set), [`metadata`] (the shards' state machines), `shards` (leading a shard),
//! `lifecycle` (which replicas a node has), `rebuilds` (how fast they get what they lack), `succession` (which data directory has a
//! number), `recovery` (lost majorities), [`groups`] and `coordination` (consumer groups), `scrub` (whether what is stored can still be read).

mod admin;
mod balance;
pub(crate) mod batch;
mod company;
mod configs;
mod coordination;
mod deletions;
mod drive;
mod elections;
pub mod error;
mod fetch;
mod followers;
mod gossip;
pub mod groups;
mod leaders;
mod lifecycle;
pub mod message;
pub mod metadata;
mod node;
mod offsets;
mod parked;
mod partition;
mod peers;
mod produce;
mod producers;
mod quiet;
mod quotas;
mod reassign;
mod rebuilds;
mod reclaim;
mod recovery;
pub mod request;
mod scrub;
mod shards;
mod stamp;
mod stop;
mod succession;
mod traffic;
pub mod workers;

pub(crate) use lifecycle::{FOUNDED, log_meta};
pub use metadata::lifecycle::Standing;
pub use node::ReplicaView;
pub use node::{Node, NodeConfig, OpenError, Setup};
pub use quotas::{Client, QuotaFigures};
pub use rebuilds::{RebuildFigures, RebuildView};
pub use scrub::{ScrubConfig, ScrubFigures};

use mesh::life::Life;
use mesh::raft::{Incarnation, NodeId, Time};
use storage::{Commit, Disk, ReadJob, Reclaim};

use message::{LeaderInfo, PeerMessage, Stream};
use request::{Request, RequestId, Response};

/// The two clocks of a step, and whether it is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; all timers run on it.
    pub mono: Time,
    /// Milliseconds since 1970, for record timestamps and retention only; it may jump.
    pub wall_ms: i64,
    /// Messages that came in before this moment wait to be stepped. What is due waits for them, up to a bound: they may say that
    /// somebody is there whose silence it was to end.
    pub behind: bool,
}

/// What happens to a node.
pub enum Input<D: Disk> {
    /// A deadline passed.
    Tick,
    /// A client asks.
    Request {
        /// Chosen by the shell.
        id: RequestId,
        /// Who it is.
        client: Client,
        /// What it asks.
        request: Request,
    },
    /// The client of this request went away; no response is wanted.
    Cancel(RequestId),
    /// Another node speaks.
    Message {
        /// Who, as authenticated by the transport.
        from: NodeId,
        /// Which process of it, as it says itself.
        life: Life,
        /// What.
        message: PeerMessage,
    },
    /// A connection to that node stands.
    Connected(NodeId),
    /// The last connection to that node closed: a hint that it is gone.
    Disconnected(NodeId),
    /// The commit that an [`Effect::Commit`] started has ended, well or not.
    Committed {
        /// Of the effect.
        worker: usize,
        /// The same commit.
        commit: Commit<D>,
    },
    /// The read that an [`Effect::Read`] started has ended.
    Read {
        /// Of the effect.
        token: u64,
        /// What the job returned.
        result: Result<Vec<storage::Entry>, storage::ReadError>,
    },
    /// The reclaim job that an [`Effect::Reclaim`] started has ended.
    Reclaimed {
        /// Of the effect.
        worker: usize,
        /// The same job.
        job: Reclaim<D>,
    },
    /// Hand all leadership over, then say [`Effect::Stopped`].
    Stop,
}

/// What a node wants done. Order matters within one step: effects are performed front to back.
pub enum Effect<D: Disk> {
    /// Answer a client.
    Respond {
        /// Of the request.
        id: RequestId,
        /// The answer.
        response: Response,
        /// For how many milliseconds nothing more shall be read from this client (KIP-219).
        throttle_ms: u32,
    },
    /// Say something to another node, with this process's [`Node::life`]; may be lost, delayed or repeated.
    Send {
        /// To whom.
        to: NodeId,
        /// On which stream.
        stream: Stream,
        /// What.
        message: PeerMessage,
    },
    /// Write and sync this off the stepping thread, then come back with [`Input::Committed`]. One of each worker is in flight at a
    /// time.
    Commit {
        /// Whose: comes back with it.
        worker: usize,
        /// To write and sync.
        commit: Commit<D>,
    },
    /// Read this off the stepping thread, then come back with [`Input::Read`].
    Read {
        /// Comes back with the result.
        token: u64,
        /// `run` it.
        job: ReadJob<D>,
    },
    /// Run this off the stepping thread, then come back with [`Input::Reclaimed`].
    Reclaim {
        /// Whose: comes back with it.
        worker: usize,
        /// `run` it.
        job: Reclaim<D>,
    },
    /// Put into the directory who leads a partition. A hint.
    Publish(LeaderInfo),
    /// The disk failed: nothing can be promised any more and the process must end, saying why.
    Failed(String),
    /// The registry of nodes changed: connect, allow and keep the copy on disk. See [`Node::registry`].
    RegistryChanged,
    /// Leadership is handed over and everything is synced; the process may end.
    Stopped,
}

/// Who this node is: one life of one data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Kafka's broker id.
    pub node: NodeId,
    /// Drawn when the data directory was made.
    pub incarnation: Incarnation,
}

/// How [`Effect::Failed`] begins when the mesh will not have this node: its disk is not to blame.
pub const REFUSED: &str = "the mesh refuses this node";

/// How [`Effect::Failed`] begins when other nodes know a later process of this data directory.
pub const OLD_COPY: &str = "this data directory is an older copy";

/// `time` plus that many milliseconds.
pub(crate) fn after_ms(time: Time, ms: u64) -> Time {
    time.after(ms.saturating_mul(1_000))
}
