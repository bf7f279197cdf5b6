//! One live connection: a queue and a writer task, and a reader task, for each of its streams.

use super::actor::Command;
use super::frame::{FRAME_BYTES_MAX, Frame, FrameReader, Kind, write_all};
use super::{Event, StreamClass};
use bytes::Bytes;
use futures::io::{AsyncReadExt, ReadHalf};
use libp2p::PeerId;
use libp2p::swarm::{ConnectionId, Stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Frames that may wait in one stream's queue; the bound that matters is the one in bytes.
const QUEUE_FRAMES: usize = 16 << 10;

/// The streams of a connection whose handshake succeeded, before anything runs on them.
pub(super) type Streams = Vec<(StreamClass, u8, Stream)>;

struct Class {
    /// Bytes queued or being written, all lanes together.
    in_flight: Arc<AtomicUsize>,
    in_flight_max: usize,
    lanes: Vec<mpsc::Sender<Frame>>,
}

/// The sending side of a connection. Once dropped, its writers finish what is queued and close their streams.
pub(super) struct Link {
    classes: [Class; 3],
    /// Frames in both directions.
    uses: Arc<AtomicU64>,
}

impl Link {
    /// Queues a frame; false when it is too long or the class already holds its bound of unsent bytes. A
    /// frame longer than the bound passes while nothing else waits.
    pub(super) fn send(&self, class: StreamClass, lane: usize, kind: Kind, body: Bytes) -> bool {
        let class = &self.classes[class.index()];
        let cost = body.len();
        if cost > FRAME_BYTES_MAX || class.lanes.is_empty() {
            return false;
        }
        let before = class.in_flight.fetch_add(cost, Ordering::Relaxed);
        let frame = Frame { kind, correlation: 0, body };
        let fits = before == 0 || before.saturating_add(cost) <= class.in_flight_max;
        self.uses.fetch_add(1, Ordering::Relaxed);
        if fits && class.lanes[lane % class.lanes.len()].try_send(frame).is_ok() {
            return true;
        }
        class.in_flight.fetch_sub(cost, Ordering::Relaxed);
        false
    }
}

impl Link {
    /// Bytes queued or being written, by class.
    pub(super) fn unsent_bytes(&self) -> [usize; 3] {
        self.classes.each_ref().map(|class| class.in_flight.load(Ordering::Relaxed))
    }

    /// Frames that were sent or came so far.
    pub(super) fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }
}

/// Reading sides that wait until their peer was announced.
pub(super) struct Readers {
    halves: Vec<(StreamClass, ReadHalf<Stream>)>,
    uses: Arc<AtomicU64>,
}

/// Where a link's tasks report, and what ends them.
#[derive(Clone)]
pub(super) struct Owner {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) stopped: CancellationToken,
}

/// Starts the writers of a connection. Its readers are returned, to be started once `Connected` was
/// delivered.
pub(super) fn start(
    owner: &Owner,
    streams: Streams,
    in_flight_max: [usize; 3],
    tasks: &TaskTracker,
) -> (Link, Readers) {
    let mut classes = in_flight_max.map(|in_flight_max| Class {
        in_flight: Arc::default(),
        in_flight_max,
        lanes: Vec::new(),
    });
    let mut halves = Vec::new();
    for (class, _, stream) in streams {
        let (reader, mut writer) = stream.split();
        halves.push((class, reader));
        let (sender, mut queue) = mpsc::channel(QUEUE_FRAMES);
        let Class { in_flight, lanes, .. } = &mut classes[class.index()];
        lanes.push(sender);
        let (in_flight, owner) = (in_flight.clone(), owner.clone());
        tasks.spawn(async move {
            let written = |bytes: usize| {
                in_flight.fetch_sub(bytes, Ordering::Relaxed);
            };
            let end = write_all(&mut writer, &mut queue, written);
            let failed = tokio::select! {
                ended = end => ended.is_err(),
                () = owner.stopped.cancelled() => false,
            };
            if failed {
                let _ = owner.commands.send(Command::Close(owner.connection)).await;
            }
        });
    }
    let uses = Arc::<AtomicU64>::default();
    (Link { classes, uses: uses.clone() }, Readers { halves, uses })
}

impl Readers {
    /// Starts to deliver frames. A reader that finds the event queue full stops reading, and the peer's
    /// writers stop in turn. A stream that merely ends leaves the connection as it is: the peer may have
    /// moved to a better one, and what is queued here must still leave.
    pub(super) fn start(self, owner: &Owner, events: &mpsc::Sender<Event>) {
        for (class, half) in self.halves {
            let (owner, events, uses) = (owner.clone(), events.clone(), self.uses.clone());
            tokio::spawn(async move {
                let clean = tokio::select! {
                    clean = read(&owner, class, half, &events, &uses) => clean,
                    () = owner.stopped.cancelled() => return,
                };
                if !clean {
                    let _ = owner.commands.send(Command::Close(owner.connection)).await;
                }
            });
        }
    }
}

/// True when the stream ended between two frames.
async fn read(
    owner: &Owner,
    class: StreamClass,
    half: ReadHalf<Stream>,
    events: &mpsc::Sender<Event>,
    uses: &AtomicU64,
) -> bool {
    let mut reader = FrameReader::new(half);
    loop {
        match reader.next().await {
            Ok(Some(Frame { kind: Kind::Message, body, .. })) => {
                uses.fetch_add(1, Ordering::Relaxed);
                if events.send(Event::Frame { peer: owner.peer, class, frame: body }).await.is_err() {
                    return false;
                }
            }
            Ok(Some(Frame { kind: Kind::Refused, body, .. })) => {
                let reason = String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned();
                let _ = owner.commands.send(Command::RefusedByPeer(owner.connection, reason)).await;
                return false;
            }
            Ok(Some(Frame { kind: Kind::Parting, .. })) => {
                let _ = owner.commands.send(Command::Parting(owner.connection)).await;
                return true;
            }
            Ok(None) => return true,
            Err(error) => {
                tracing::debug!(peer = %owner.peer, %error, "a stream of the mesh ended");
                return false;
            }
        }
    }
}
