//! The shell that owns a client's socket: frames in, calls to the node, responses out in the order of the requests.
//!
//! Two futures share a connection. The reader takes a frame once there is room for it, decodes it, hands the request to the
//! node and queues a slot; the writer takes the slots in order, waits for each answer and writes it. So requests are worked on at
//! the same time and answered in order, as Kafka demands. Both end together, and with them, by dropping, whatever the
//! client was still waiting for.
//!
//! | bound | by |
//! |---|---|
//! | one frame | [`Limits::request_bytes_max`], allocated as it arrives |
//! | a client with a quota | one request at a time, none while it is to be silent |
//! | one connection | [`Limits::connection_requests_max`] slots, [`Limits::connection_bytes_max`] of frames and of fetch responses promised |
//! | all connections | [`NodeHandle::reserve`] for requests, [`Room`](super::room::Room) for responses; [`Admission`] for their number |
//! | a client that stops | [`Limits::first_timeout`] before its first request, [`Limits::idle_timeout`] between requests, [`Limits::stall_timeout`] within a frame or a response |

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::Empty;
use tracing::{Span, debug_span};

use super::REQUESTS;
use super::handle::{ClientContext, NodeHandle, Stopped};
use super::limits::Limits;
use super::listeners::localize;
use super::metrics::{Closed, Flight, Metrics};
use super::repack;
use super::room::Answered;
use super::serve::{Api, CloseReason, Decoded, EncodeError, Header, decode_with_sessions, encode_response};
use crate::core::error::ErrorCode;
use crate::core::groups::api::GroupRequest;
use crate::core::request::{Request, Response};

mod admission;

pub use admission::Admission;
use admission::Open;

/// Who a client is that has not said so: nobody authenticates yet.
pub const ANONYMOUS: &str = "User:ANONYMOUS";

/// A frame holds at least API key, version and correlation id.
const FRAME_BYTES_MIN: u32 = 8;
/// What is allocated for a frame before its bytes arrive; a larger one grows with them.
const FRAME_BYTES_AHEAD: u32 = 16 << 10;
/// After [`Limits::stall_timeout`] a larger frame must have come at no less than a KiB in this time.
const FRAME_KIB_TIME: Duration = Duration::from_millis(250);
/// Small requests are read together; a large one goes past this buffer.
const READ_BUFFER_BYTES: usize = 4096;
/// How long a response may wait for its client to read on while memory for responses is short, and how often that is looked at.
const UNREAD: Duration = Duration::from_secs(1);
/// How long what is in flight may take to be answered once no more is read.
const DRAIN: Duration = Duration::from_secs(2);
/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of one listener have in common.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The way to the node.
    pub handle: NodeHandle,
    /// What clients may take.
    pub limits: Arc<Limits>,
    /// How many clients there may be; of all listeners.
    pub admission: Arc<Admission>,
    /// Where is counted.
    pub metrics: Arc<Metrics>,
    /// Ends the listener and its connections, which answer first what is in flight.
    pub stop: CancellationToken,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The client closed it, between two requests.
    #[error("closed by the client")]
    Closed,
    /// This node stops.
    #[error("the node is stopping")]
    Stopping,
    /// Nothing came for [`Limits::idle_timeout`].
    #[error("no request for too long")]
    Idle,
    /// Nothing came for [`Limits::first_timeout`] after it was opened.
    #[error("no request since it was opened")]
    Silent,
    /// A request half sent or a response half read, and no progress for [`Limits::stall_timeout`], or hardly any.
    #[error("the client stopped in the middle of a frame")]
    Stalled,
    /// No room for the rest of a frame came free for [`Limits::stall_timeout`].
    #[error("the requests of all clients fill this node's memory for them (queued-max-bytes)")]
    Crowded,
    /// There was no memory for its response, or it read none of it while memory was short.
    #[error("responses that clients do not read fill this node's memory for them (responses-max-bytes)")]
    Unread,
    /// No frame can be this long or short.
    #[error(
        "a frame of {bytes} bytes: allowed are {FRAME_BYTES_MIN} to {bytes_max} (socket.request.max.bytes)"
    )]
    FrameSize {
        /// As sent.
        bytes: u32,
        /// The limit.
        bytes_max: u32,
    },
    /// A request that cannot be answered.
    #[error(transparent)]
    Request(#[from] CloseReason),
    /// The node's answer cannot be said in Kafka's words: a fault of this node.
    #[error(transparent)]
    Response(#[from] EncodeError),
    /// The node dropped a request.
    #[error("the node gave up a request")]
    Dropped,
    /// The socket.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> End {
        End::Stopping
    }
}

impl End {
    /// Whether the client is still there to read what was asked before.
    fn drains(&self) -> bool {
        matches!(self, End::Stopping | End::FrameSize { .. } | End::Request(_))
    }

    fn counted(&self) -> Closed {
        match self {
            End::Closed => Closed::Client,
            End::Stopping => Closed::Stopping,
            End::Idle => Closed::Idle,
            End::Silent => Closed::Silent,
            End::Stalled => Closed::Stalled,
            End::Crowded => Closed::Crowded,
            End::Unread => Closed::Unread,
            End::FrameSize { .. } => Closed::FrameSize,
            End::Request(_) => Closed::Request,
            End::Response(_) | End::Dropped => Closed::Response,
            End::Socket(_) => Closed::Socket,
        }
    }

    fn log(&self, address: SocketAddr, metrics: &Metrics) {
        metrics.closed(self.counted());
        match self {
            End::Closed | End::Stopping | End::Idle | End::Silent | End::Socket(_) => {
                tracing::debug!(%address, reason = %self, "connection closed");
            }
            End::Stalled
            | End::Crowded
            | End::Unread
            | End::FrameSize { .. }
            | End::Request(_)
            | End::Dropped => {
                metrics.connections_refused_total.fetch_add(1, Relaxed);
                tracing::warn!(%address, reason = %self, "connection closed by this node");
            }
            End::Response(_) => tracing::error!(%address, reason = %self, "response not written"),
        }
    }
}

/// Accepts connections until [`Shared::stop`], then waits until the last one ended.
pub async fn serve_listener(socket: TcpListener, shared: Shared) {
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = shared.stop.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match shared.admission.admit(address.ip()) {
            Ok(open) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%address, %error, "no TCP_NODELAY");
                }
                let shared = shared.clone();
                tracker.spawn(async move {
                    serve_admitted(stream, address, &shared, open).await.log(address, &shared.metrics);
                });
            }
            Err(why) => {
                shared.metrics.connections_refused_total.fetch_add(1, Relaxed);
                shared.metrics.closed(why);
                let (max, what) = match why {
                    Closed::TooMany => (shared.limits.connections_max, "too many connections"),
                    _ => (shared.limits.connections_of_address_max, "too many connections of one address"),
                };
                tracing::warn!(%address, max, "{what}");
            }
        }
    }
    tracker.close();
    tracker.wait().await;
}

/// Serves one client until it leaves, errs, or [`Shared::stop`]. Dropping the future closes the connection.
pub async fn serve_connection<S>(stream: S, address: SocketAddr, shared: &Shared) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let Ok(open) = shared.admission.admit(address.ip()) else { return End::Closed };
    serve_admitted(stream, address, shared, open).await
}

async fn serve_admitted<S>(stream: S, address: SocketAddr, shared: &Shared, _open: Open) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let (read, write) = tokio::io::split(stream);
    // To be dropped last.
    let _turn;
    // One more is in the writer's hands.
    let (slots, queued) = mpsc::channel(shared.limits.connection_requests_max.max(2) - 1);
    let bytes_max = shared.limits.connection_bytes_max.max(1);
    let (muted, silenced) = watch::channel(None);
    let reader = Reader {
        stream: BufReader::with_capacity(READ_BUFFER_BYTES, read),
        client: ClientContext {
            listener: Arc::clone(&shared.listener),
            address,
            client_id: Arc::from(""),
            principal: Arc::from(ANONYMOUS),
        },
        silent: true,
        bytes: Arc::new(Semaphore::new(bytes_max as usize)),
        bytes_max,
        slots,
        muted: silenced,
        shared,
    };
    let reading = reader.run();
    let writing = Writer { stream: write, queued, muted, shared }.run();
    tokio::pin!(reading, writing);
    // In a fixed order: the same bytes at the same times have the same end.
    let end = tokio::select! {
        biased;
        end = &mut reading => {
            if end.drains() {
                // What still fails here fails because of the same end.
                let _cut_off = timeout(DRAIN, writing.as_mut()).await;
            }
            end
        }
        end = &mut writing => end.err().unwrap_or(End::Closed),
    };
    _turn = shared.admission.turn().await;
    end
}

/// A request's place in the order of responses. The permits are given back once its response is written. Boxed in the queue, which has room for
/// 32 of them also while a connection is idle.
struct Slot {
    api: Api,
    started: Instant,
    answer: Answer,
    span: Span,
    _flight: Flight,
    _permits: Permits,
}

enum Answer {
    Ready(Bytes),
    /// The span lasts until the node has answered.
    Pending(Header, oneshot::Receiver<Answered>, Span),
}

struct Permits {
    _connection: OwnedSemaphorePermit,
    _node: OwnedSemaphorePermit,
}

struct Reader<'a, R> {
    stream: BufReader<R>,
    client: ClientContext,
    /// It has not sent a request yet.
    silent: bool,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
    slots: mpsc::Sender<Box<Slot>>,
    muted: watch::Receiver<Option<Instant>>,
    shared: &'a Shared,
}

impl<R: AsyncRead + Unpin> Reader<'_, R> {
    /// Reads until something ends it; by then the queue of slots is closed.
    async fn run(mut self) -> End {
        let stop = &self.shared.stop;
        tokio::select! {
            biased;
            () = stop.cancelled() => End::Stopping,
            end = async {
                loop {
                    if let Err(end) = self.request().await {
                        break end;
                    }
                }
            } => end,
        }
    }

    async fn request(&mut self) -> Result<(), End> {
        let Limits { request_bytes_max: bytes_max, idle_timeout, first_timeout, .. } = *self.shared.limits;
        let (patience, end) = match self.silent {
            true => (first_timeout, End::Silent),
            false => (idle_timeout, End::Idle),
        };
        let bytes = match timeout(patience, self.stream.read_u32()).await {
            Err(_elapsed) => return Err(end),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(End::Closed),
            Ok(bytes) => bytes?,
        };
        if !(FRAME_BYTES_MIN..=bytes_max).contains(&bytes) {
            return Err(End::FrameSize { bytes, bytes_max });
        }
        self.silent = false;
        let held = bytes.min(self.bytes_max);
        let connection = reserve(&self.bytes, held).await?;
        let (frame, node) = self.frame(bytes).await?;
        self.shared.metrics.received_bytes_total.fetch_add(u64::from(bytes) + 4, Relaxed);
        let permits = Permits { _connection: connection, _node: node };
        let sessions = self.shared.handle.sessions();
        let decoded = decode_with_sessions(frame, &self.shared.limits, sessions, Instant::now());
        self.decoded(decoded, permits, held).await
    }

    /// Reads a frame. The node's memory is taken for what came and as much again, not for what is promised: a few clients that send large
    /// frames a byte at a time would keep everybody else waiting.
    async fn frame(&mut self, bytes: u32) -> Result<(Bytes, OwnedSemaphorePermit), End> {
        let (handle, stall_timeout) = (&self.shared.handle, self.shared.limits.stall_timeout);
        let began = Instant::now();
        let mut held = bytes.min(FRAME_BYTES_AHEAD);
        let mut permit = handle.reserve(0, held).await?;
        let mut frame = BytesMut::with_capacity(held as usize);
        while frame.len() < bytes as usize {
            if frame.len() == held as usize {
                let more = (bytes - held).min(held);
                let wait = timeout(stall_timeout, handle.reserve(held, more)).await;
                permit.merge(wait.map_err(|_elapsed| End::Crowded)??);
                held += more;
                frame.reserve(more as usize);
            }
            let mut rest = (&mut self.stream).take(u64::from(held) - frame.len() as u64);
            match timeout(stall_timeout, rest.read_buf(&mut frame)).await {
                Err(_elapsed) => return Err(End::Stalled),
                Ok(Ok(0)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => read?,
            };
            let allowed = stall_timeout + FRAME_KIB_TIME * (frame.len() >> 10).try_into().unwrap_or(u32::MAX);
            if bytes > FRAME_BYTES_AHEAD && frame.len() < bytes as usize && began.elapsed() > allowed {
                return Err(End::Stalled);
            }
        }
        Ok((frame.freeze(), permit))
    }

    async fn decoded(&mut self, decoded: Decoded, mut permits: Permits, held: u32) -> Result<(), End> {
        let started = Instant::now();
        // A place in the order comes first: what reaches the node is bounded by it.
        let place = self.slots.reserve().await.map_err(|_writer_ended| End::Closed)?;
        let span;
        let (api, flight, answer) = match decoded {
            Decoded::Close(reason) => return Err(reason.into()),
            Decoded::Immediate { header, frame } => {
                span = self.span(&header, held);
                (header.api, self.shared.metrics.requested(header.api), Answer::Ready(frame))
            }
            Decoded::Request { header, request } => {
                let (header, mut request) = self.prepared(header, request).await?;
                let flight = self.shared.metrics.requested(header.api);
                span = self.span(&header, held);
                if let Request::Fetch { max_bytes, .. } = &mut request {
                    // What there will be no room for is better not read at all.
                    *max_bytes = (*max_bytes).min(self.shared.handle.room().share());
                    let response = reserve(&self.bytes, (*max_bytes).min(self.bytes_max - held)).await?;
                    permits._connection.merge(response);
                }
                if let Request::Group(GroupRequest::Join(join)) = &mut request {
                    // As Kafka writes it.
                    join.client_host = format!("/{}", self.client.address.ip());
                }
                if *header.client_id != *self.client.client_id {
                    self.client.client_id = Arc::from(header.client_id.as_str());
                }
                let waiting = debug_span!(target: REQUESTS, parent: &span, "answer");
                let api = header.api;
                let answer = match request {
                    Request::Produce { partitions, .. } if partitions.is_empty() => refused(header)?,
                    request => {
                        let reply = self.shared.handle.send(request, self.client.clone()).await?;
                        Answer::Pending(header, reply, waiting)
                    }
                };
                (api, flight, answer)
            }
        };
        place.send(Box::new(Slot { api, started, answer, span, _flight: flight, _permits: permits }));
        if self.shared.handle.rules().limits(&self.client) {
            // As Kafka does with every client: the next request is read when this one is answered, and the silence that the answer
            // asked for is over.
            drop(reserve(&self.bytes, self.bytes_max).await?);
            let until = *self.muted.borrow();
            if let Some(until) = until {
                sleep_until(until).await;
            }
        }
        Ok(())
    }

    /// Has the batches of topics that want it looked into, on a thread that may take its time. What was sent behind them waits, so that
    /// batches keep their order.
    async fn prepared(&self, mut header: Header, request: Request) -> Result<(Header, Request), End> {
        let rules = self.shared.handle.rules();
        let wanted = match &request {
            Request::Produce { partitions, .. } if !rules.is_empty() => {
                partitions.iter().any(|part| rules.find(&part.topic).is_some())
            }
            _ => false,
        };
        if !wanted {
            return Ok((header, request));
        }
        let permit = self.shared.handle.repacking().await?;
        let prepared = spawn_blocking(move || {
            let now_ms = rules.wall_ms();
            let request = header.prepare(request, |topic, batch| match rules.find(topic) {
                Some(rule) => repack::prepare(batch, rule, now_ms),
                None => Ok(batch),
            });
            drop(permit);
            (header, request)
        });
        prepared.await.map_err(|_panicked_or_stopped| End::Dropped)
    }

    /// Of a request until its response is written; for `shell::otlp`.
    fn span(&self, header: &Header, bytes: u32) -> Span {
        debug_span!(
            target: REQUESTS,
            "request",
            messaging.system = "kafka",
            rafka.api = header.api.name(),
            rafka.api.version = i64::from(header.version),
            rafka.correlation_id = i64::from(header.correlation_id),
            rafka.listener = &*self.shared.listener,
            rafka.request.bytes = u64::from(bytes),
            rafka.response.bytes = Empty,
            rafka.errors = Empty,
            messaging.client.id = header.client_id,
            client.address = %self.client.address,
        )
    }
}

/// The answer to a produce request all of whose batches are refused.
fn refused(header: Header) -> Result<Answer, End> {
    if header.is_silent() {
        return Err(CloseReason::SilentProduce.into());
    }
    let response = Response::Produce { partitions: Vec::new() };
    Ok(Answer::Ready(encode_response(header, response, &[])?))
}

/// Waits until a connection may hold `bytes` more.
async fn reserve(budget: &Arc<Semaphore>, bytes: u32) -> Result<OwnedSemaphorePermit, End> {
    Arc::clone(budget).acquire_many_owned(bytes).await.map_err(|_closed| End::Stopping)
}

struct Writer<'a, W> {
    stream: W,
    queued: mpsc::Receiver<Box<Slot>>,
    /// Until when nothing more is read.
    muted: watch::Sender<Option<Instant>>,
    shared: &'a Shared,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    /// Answers slot by slot, until the reader ended and all are answered.
    async fn run(mut self) -> Result<(), End> {
        while let Some(slot) = self.queued.recv().await {
            let mut throttle_ms = 0;
            let (frame, errors, _room) = match slot.answer {
                Answer::Ready(frame) => (Some(frame), 0, None),
                Answer::Pending(mut header, reply, waiting) => {
                    let mut answered = reply.await.map_err(|_dropped| End::Dropped)?;
                    drop(waiting);
                    let response = answered.response.take().ok_or(End::Unread)?;
                    let errors = errors(&response);
                    header.throttle_ms = answered.throttle_ms;
                    throttle_ms = answered.throttle_ms;
                    (self.encoded(header, response)?, errors, Some(answered))
                }
            };
            slot.span.record("rafka.errors", errors);
            if let Some(frame) = frame {
                slot.span.record("rafka.response.bytes", frame.len() as u64);
                let _writing = debug_span!(target: REQUESTS, parent: &slot.span, "write");
                self.write(&frame).await?;
            }
            self.shared.metrics.answered(slot.api, errors, slot.started.elapsed());
            if throttle_ms > 0 {
                // The answer first, then silence (KIP-219).
                let until = Instant::now() + Duration::from_millis(throttle_ms.into());
                self.muted.send_replace(Some(until));
            }
        }
        Ok(())
    }

    /// The response's frame, or nothing for a client that wants none.
    fn encoded(&self, header: Header, mut response: Response) -> Result<Option<Bytes>, End> {
        if header.is_silent() {
            let failed = header.silent_failure(&response);
            return if failed { Err(CloseReason::SilentProduce.into()) } else { Ok(None) };
        }
        let brokers = self.shared.handle.brokers();
        let here = brokers.of(&self.shared.listener);
        if !brokers.is_empty() {
            localize(&mut response, &here, header.version);
        }
        Ok(Some(encode_response(header, response, &here)?))
    }

    async fn write(&mut self, frame: &[u8]) -> Result<(), End> {
        let mut left = frame;
        let mut read_at = Instant::now();
        while !left.is_empty() {
            match timeout(UNREAD, self.stream.write(left)).await {
                Err(_elapsed) if read_at.elapsed() >= self.shared.limits.stall_timeout => {
                    return Err(End::Stalled);
                }
                Err(_elapsed) if self.shared.handle.room().is_short() => return Err(End::Unread),
                Err(_elapsed) => {}
                Ok(Ok(0)) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => {
                    left = &left[written?..];
                    read_at = Instant::now();
                }
            }
        }
        self.shared.metrics.sent_bytes_total.fetch_add(frame.len() as u64, Relaxed);
        Ok(())
    }
}

/// Parts of a response that carry an error.
fn errors(response: &Response) -> u64 {
    fn count<T>(parts: &[T], error: impl Fn(&T) -> ErrorCode) -> u64 {
        parts.iter().filter(|part| error(part) != ErrorCode::None).count() as u64
    }
    match response {
        Response::Produce { partitions } => count(partitions, |part| part.error),
        Response::Fetch { partitions } => count(partitions, |part| part.error),
        Response::ListOffsets { partitions } => count(partitions, |part| part.error),
        Response::OffsetForLeaderEpoch { partitions } => count(partitions, |part| part.error),
        Response::InitProducerId { error, .. }
        | Response::RegisterNode { error, .. }
        | Response::Decided { error, .. } => u64::from(*error != ErrorCode::None),
        Response::Metadata(result) => count(&result.topics, |topic| topic.error),
        Response::CreateTopics { topics } => count(topics, |topic| topic.error),
        Response::DeleteTopics { topics } => count(topics, |topic| topic.error),
        Response::DescribeConfigs { resources } => count(resources, |resource| resource.error),
        Response::AlterConfigs { resources } => count(resources, |resource| resource.error),
        Response::AlterQuotas { entries } => count(entries, |entry| entry.error),
        Response::CreatePartitions { topics } => count(topics, |topic| topic.error),
        Response::DeleteRecords { partitions } => count(partitions, |part| part.error),
        Response::ElectLeaders { partitions } => count(partitions, |part| part.error),
        Response::AlterReassignments { partitions } => count(partitions, |part| part.error),
        Response::ListReassignments { error, .. } => u64::from(*error != ErrorCode::None),
        Response::Group(answer) => count(&answer.errors(), |error| *error),
        Response::DescribeLogDirs(_) | Response::DescribeQuotas { .. } => 0,
    }
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
