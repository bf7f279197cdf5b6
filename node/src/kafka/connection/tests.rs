//! A connection over an in-memory pipe, with a node that answers what and when the test says.

use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::*;
use crate::core::metadata::quotas::{Entity, Limit, Quotas, Rate, Which};
use crate::core::request::{MetadataResult, ProduceResult, StoredBatch, TopicId, TopicRef};
use crate::kafka::batch::tests::{sound, with};
use crate::kafka::handle::{Call, Inbox};
use crate::kafka::repack::Rules;
use crate::kafka::room::Reply;
use crate::kafka::unpack::tests::packed_records;

struct Rig {
    client: DuplexStream,
    inbox: Inbox,
    served: JoinHandle<End>,
    shared: Shared,
}

/// What the connections of a listener share.
pub(super) fn shared(handle: NodeHandle, limits: Limits) -> Shared {
    let metrics = Arc::default();
    Shared {
        listener: Arc::from("PLAINTEXT"),
        handle,
        admission: Admission::new(
            Arc::clone(&metrics),
            limits.connections_max,
            limits.connections_of_address_max,
        ),
        limits: Arc::new(limits),
        metrics,
        stop: CancellationToken::new(),
    }
}

fn rig(limits: Limits) -> Rig {
    let (handle, inbox) = NodeHandle::new(64, 1 << 30, 1 << 30);
    let shared = shared(handle, limits);
    let (client, stream) = tokio::io::duplex(1 << 16);
    let address = SocketAddr::from(([127, 0, 0, 1], 5));
    let for_task = shared.clone();
    let served = tokio::spawn(async move { serve_connection(stream, address, &for_task).await });
    Rig { client, inbox, served, shared }
}

impl Rig {
    async fn send(&mut self, frame: Vec<u8>) {
        self.client.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
        self.client.write_all(&frame).await.unwrap();
    }

    async fn call(&mut self) -> Call {
        self.inbox.calls.recv().await.unwrap()
    }

    /// Correlation id of the next response, whose body is dropped.
    async fn response(&mut self) -> i32 {
        let length = self.client.read_u32().await.unwrap();
        let mut frame = vec![0; length as usize];
        self.client.read_exact(&mut frame).await.unwrap();
        i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]])
    }

    async fn is_closed(&mut self) -> bool {
        matches!(self.client.read(&mut [0; 8]).await, Ok(0) | Err(_))
    }
}

pub(super) fn header(key: i16, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut out = key.to_be_bytes().to_vec();
    out.extend(version.to_be_bytes());
    out.extend(correlation_id.to_be_bytes());
    out.extend([0, 2, b'm', b'e']);
    out
}

pub(super) fn metadata(correlation_id: i32) -> Vec<u8> {
    [header(3, 1, correlation_id), vec![0; 4]].concat()
}

/// One array element that is a topic "t" with one array element in it.
const TOPIC: [u8; 11] = [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1];

pub(super) fn produce(correlation_id: i32, acks: i16, batch: &[u8]) -> Vec<u8> {
    let mut out = header(0, 7, correlation_id);
    out.extend([0xff, 0xff]);
    out.extend(acks.to_be_bytes());
    out.extend([0; 4]);
    out.extend(TOPIC);
    out.extend([0; 4]);
    out.extend(u32::try_from(batch.len()).unwrap().to_be_bytes());
    out.extend(batch);
    out
}

pub(super) fn fetch(correlation_id: i32, max_bytes: u32) -> Vec<u8> {
    let mut out = header(1, 4, correlation_id);
    out.extend([0xff; 4]);
    out.extend([0, 0, 1, 0, 0, 0, 0, 1]);
    out.extend(max_bytes.to_be_bytes());
    out.push(0);
    out.extend(TOPIC);
    out.extend([0; 12]);
    out.extend(max_bytes.to_be_bytes());
    out
}

fn produced(error: ErrorCode) -> Response {
    let topic = TopicRef::Name("t".to_owned());
    let (base_offset, log_start_offset) = (1, 0);
    let (leader, message) = (None, None);
    Response::Produce {
        partitions: vec![ProduceResult {
            topic,
            partition: 0,
            error,
            base_offset,
            log_append_time_ms: -1,
            log_start_offset,
            leader,
            message,
        }],
    }
}

fn fetched() -> Response {
    Response::Fetch {
        partitions: vec![crate::core::request::FetchResult {
            topic: TopicRef::Name("t".to_owned()),
            topic_id: crate::core::request::TopicId::default(),
            partition: 0,
            error: ErrorCode::None,
            high_watermark: 0,
            log_start_offset: 0,
            batches: Vec::new(),
            diverging: None,
            preferred_read_replica: None,
            leader: None,
        }],
    }
}

/// With a batch of so many bytes.
fn fetched_bytes(bytes: usize) -> Response {
    let Response::Fetch { mut partitions } = fetched() else { panic!("no fetch") };
    partitions[0].batches =
        vec![StoredBatch { base_offset: 0, leader_epoch: 1, bytes: vec![0; bytes].into() }];
    Response::Fetch { partitions }
}

fn described() -> Response {
    Response::Metadata(MetadataResult::default())
}

#[tokio::test]
async fn responses_keep_the_order_of_requests() {
    let mut rig = rig(Limits::default());
    for id in 1..=4 {
        rig.send(metadata(id)).await;
    }
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(rig.call().await);
    }
    assert_eq!((&*calls[0].client.client_id, &*calls[0].client.principal), ("me", ANONYMOUS));
    while let Some(call) = calls.pop() {
        assert!(call.reply.send(described()));
    }
    for id in 1..=4 {
        assert_eq!(rig.response().await, id);
    }
    assert_eq!(rig.shared.metrics.requests(Api::Metadata), 4);
    drop(rig.client);
    assert!(matches!(rig.served.await.unwrap(), End::Closed));
    assert_eq!(rig.shared.metrics.connections.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_over_its_quota_is_answered_first_and_then_not_read() {
    let mut rig = rig(Limits::default());
    let mut quotas = Quotas::default();
    let of_all = Entity { user: None, client_id: Some(Which::Default) };
    assert!(quotas.alter(of_all, &[(Limit::Produce, Rate::new(5.0))]));
    rig.inbox.rules.send_replace(Arc::new(Rules::new(|| 0).with_quotas(quotas)));
    rig.send(metadata(1)).await;
    rig.send(metadata(2)).await;
    let first = rig.call().await;
    let early = timeout(Duration::from_secs(1), rig.inbox.calls.recv()).await;
    assert!(early.is_err(), "one request at a time");
    let began = Instant::now();
    assert!(first.reply.send_throttled(described(), 5_000));
    assert_eq!((rig.response().await, began.elapsed() < Duration::from_secs(1)), (1, true));
    let second = rig.call().await;
    assert!(began.elapsed() >= Duration::from_secs(5), "silent for {:?}", began.elapsed());
    assert!(second.reply.send(described()));
    assert_eq!(rig.response().await, 2);
}

#[tokio::test]
async fn batches_are_packed_anew_before_they_reach_the_node_and_bad_ones_never_do() {
    use crate::core::metadata::configs::{Configs, Defaults, Layers, TopicConfig};
    let mut rig = rig(Limits::default());
    let set = Configs::from([("compression.type".to_owned(), "lz4".to_owned())]);
    let (nothing, defaults) = (Configs::new(), Defaults::default());
    let layers = Layers { topic: &set, node: &nothing, cluster: &nothing, defaults: &defaults };
    let rule = repack::Rule::of(&TopicConfig::new(&layers)).unwrap();
    let mut rules = Rules::new(|| 0);
    rules.add(TopicId([1; 16]), "t".to_owned(), rule);
    rig.inbox.rules.send_replace(Arc::new(rules));
    let sent = packed_records(1, 50, 100);
    rig.send(produce(1, 1, &sent)).await;
    let call = rig.call().await;
    let Request::Produce { partitions, .. } = &call.request else { panic!("{call:?}") };
    let [part] = &partitions[..] else { panic!("{partitions:?}") };
    assert_eq!((part.batch.bytes[22] & 7, part.batch.record_count), (3, 50));
    assert!(call.reply.send(produced(ErrorCode::None)));
    assert_eq!(rig.response().await, 1);
    // Sound outside, no records inside.
    rig.send(produce(2, 1, &with(packed_records(1, 50, 100)[..80].to_vec(), 8, &68_u32.to_be_bytes()))).await;
    rig.send(metadata(3)).await;
    assert_eq!(rig.response().await, 2);
    assert!(matches!(rig.call().await.request, Request::Metadata { .. }));
}

#[tokio::test]
async fn acks_0_has_no_response_until_it_fails() {
    let mut rig = rig(Limits::default());
    rig.send(produce(1, 0, &sound(1, 0))).await;
    rig.send(metadata(2)).await;
    assert!(rig.call().await.reply.send(produced(ErrorCode::None)));
    assert!(rig.call().await.reply.send(described()));
    assert_eq!(rig.response().await, 2);
    rig.send(produce(3, 0, &sound(1, 0))).await;
    assert!(rig.call().await.reply.send(produced(ErrorCode::NotLeaderOrFollower)));
    assert!(rig.is_closed().await);
    assert!(matches!(rig.served.await.unwrap(), End::Request(CloseReason::SilentProduce)));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_long_poll() {
    let mut rig = rig(Limits::default());
    rig.send(fetch(1, 1_000)).await;
    rig.send(fetch(2, 1_000)).await;
    let (mut first, mut second) = (rig.call().await, rig.call().await);
    drop(rig.client);
    first.reply.closed().await;
    second.reply.closed().await;
    assert!(matches!(rig.served.await.unwrap(), End::Closed));
}

#[tokio::test]
async fn a_bad_request_closes_after_the_good_ones_are_answered() {
    let mut rig = rig(Limits::default());
    rig.send(metadata(1)).await;
    rig.send(header(0, 2, 2)).await;
    let call = rig.call().await;
    assert!(call.reply.send(described()));
    assert_eq!(rig.response().await, 1);
    assert!(rig.is_closed().await);
    assert!(matches!(rig.served.await.unwrap(), End::Request(CloseReason::Version { .. })));
}

#[tokio::test]
async fn frames_out_of_size_close() {
    for bytes in [0, 7, 101, u32::MAX] {
        let mut rig = rig(Limits { request_bytes_max: 100, ..Limits::default() });
        rig.client.write_u32(bytes).await.unwrap();
        assert!(rig.is_closed().await);
        assert!(matches!(rig.served.await.unwrap(), End::FrameSize { bytes: b, .. } if b == bytes));
    }
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let mut rig = rig(Limits { connection_requests_max: 3, ..Limits::default() });
    for id in 1..=5 {
        rig.send(metadata(id)).await;
    }
    let mut held = std::collections::VecDeque::new();
    for _ in 0..3 {
        held.push_back(rig.call().await);
    }
    for id in 1..=5 {
        // All that can run has run once the runtime is idle: nothing more came.
        tokio::task::yield_now().await;
        assert!(rig.inbox.calls.try_recv().is_err(), "more than three in flight");
        assert!(held.pop_front().unwrap().reply.send(described()));
        assert_eq!(rig.response().await, id);
        if id <= 2 {
            held.push_back(rig.call().await);
        }
    }
}

#[tokio::test]
async fn promised_fetch_bytes_are_bounded() {
    let mut rig = rig(Limits { connection_bytes_max: 1_000, ..Limits::default() });
    rig.send(fetch(1, 900)).await;
    rig.send(fetch(2, 900)).await;
    let first = rig.call().await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(rig.inbox.calls.try_recv().is_err(), "both were promised at once");
    assert!(first.reply.send(fetched()));
    assert_eq!(rig.response().await, 1);
    assert!(rig.call().await.reply.send(fetched()));
    assert_eq!(rig.response().await, 2);
}

#[tokio::test]
async fn one_request_above_the_bound_passes_alone() {
    let mut rig = rig(Limits { connection_bytes_max: 10, ..Limits::default() });
    rig.send(produce(1, 1, &sound(10, 1_000))).await;
    assert!(rig.call().await.reply.send(produced(ErrorCode::None)));
    assert_eq!(rig.response().await, 1);
    rig.send(fetch(2, 5_000)).await;
    assert!(rig.call().await.reply.send(fetched()));
    assert_eq!(rig.response().await, 2);
}

#[tokio::test]
async fn a_frame_larger_than_what_is_allocated_ahead_arrives_whole() {
    let mut rig = rig(Limits { message_bytes_max: 8 << 20, ..Limits::default() });
    let batch = sound(5, 1 << 20);
    let frame = produce(1, 1, &batch);
    let (sent, call) = {
        let Rig { client, inbox, .. } = &mut rig;
        let send = async {
            client.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
            client.write_all(&frame).await
        };
        tokio::join!(send, inbox.calls.recv())
    };
    sent.unwrap();
    let Request::Produce { partitions, .. } = call.unwrap().request else { panic!("no produce") };
    assert_eq!(partitions[0].batch.bytes, batch);
}

#[tokio::test(start_paused = true)]
async fn silence_is_ended() {
    let rig_silent = rig(Limits::default());
    assert!(matches!(rig_silent.served.await.unwrap(), End::Silent));
    let mut rig_idle = rig(Limits::default());
    rig_idle.send(metadata(1)).await;
    assert!(rig_idle.call().await.reply.send(described()));
    let began = Instant::now();
    assert!(matches!(rig_idle.served.await.unwrap(), End::Idle));
    assert_eq!(began.elapsed(), rig_idle.shared.limits.idle_timeout);
    let mut rig_stalled = rig(Limits::default());
    rig_stalled.client.write_all(&[0, 0, 1, 0, 0, 3]).await.unwrap();
    assert!(matches!(rig_stalled.served.await.unwrap(), End::Stalled));
}

#[tokio::test(start_paused = true)]
async fn large_frames_a_byte_at_a_time_keep_nobody_waiting_and_end() {
    let mut slow = rig(Limits::default());
    slow.client.write_u32(90 << 20).await.unwrap();
    tokio::task::yield_now().await;
    let all_but_a_little = (1 << 30) - (1 << 20);
    let others = slow.shared.handle.reserve(0, all_but_a_little);
    assert!(timeout(Duration::from_secs(1), others).await.is_ok(), "what is promised is not taken");
    let trickle = async {
        while slow.client.write_u8(0).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let (end, ()) = tokio::join!(slow.served, trickle);
    assert!(matches!(end.unwrap(), End::Stalled));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_finds_no_room_is_given_up() {
    let mut rig = rig(Limits::default());
    let held = rig.shared.handle.reserve(0, (1 << 30) - FRAME_BYTES_AHEAD).await;
    rig.client.write_u32(1 << 20).await.unwrap();
    rig.client.write_all(&[0; 64 << 10]).await.unwrap();
    assert!(matches!(rig.served.await.unwrap(), End::Crowded));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_left() {
    let Rig { mut client, mut inbox, served, .. } =
        rig(Limits { connection_requests_max: 1_000, ..Limits::default() });
    let answer = async {
        while let Some(call) = inbox.calls.recv().await {
            let result = MetadataResult { cluster_id: "x".repeat(30_000), ..MetadataResult::default() };
            let _closed = call.reply.send(Response::Metadata(result));
        }
    };
    let flood = async {
        for id in 0..100 {
            let mut frame = metadata(id);
            // Version 2 carries the cluster id.
            frame[3] = 2;
            client.write_u32(u32::try_from(frame.len()).unwrap()).await?;
            client.write_all(&frame).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        end = served => assert!(matches!(end.unwrap(), End::Stalled)),
        _ = async { tokio::join!(answer, flood, std::future::pending::<()>()) } => {}
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_while_memory_is_short_is_left_at_once() {
    let mut rig = rig(Limits::default());
    let (reply, _held) = Reply::new(rig.shared.handle.room().clone());
    assert!(reply.send(fetched_bytes(900 << 20)), "another client's, never read");
    rig.send(fetch(1, 1 << 20)).await;
    let began = Instant::now();
    assert!(rig.call().await.reply.send(fetched_bytes(300_000)));
    let end = rig.served.await.unwrap();
    assert!(matches!(end, End::Unread), "{end}");
    assert_eq!(began.elapsed(), UNREAD);
}

#[tokio::test]
async fn stopping_answers_what_is_in_flight() {
    let mut rig = rig(Limits::default());
    rig.send(metadata(1)).await;
    let call = rig.call().await;
    rig.shared.stop.cancel();
    assert!(call.reply.send(described()));
    assert_eq!(rig.response().await, 1);
    assert!(rig.is_closed().await);
    assert!(matches!(rig.served.await.unwrap(), End::Stopping));
}

#[tokio::test]
async fn a_call_that_the_node_drops_closes() {
    let mut rig = rig(Limits::default());
    rig.send(metadata(1)).await;
    drop(rig.call().await);
    assert!(matches!(rig.served.await.unwrap(), End::Dropped));
}

#[tokio::test]
async fn a_listener_serves_and_stops() {
    let mut rig = rig(Limits::default());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listening = tokio::spawn(serve_listener(socket, rig.shared.clone()));
    rig.client = tokio::io::duplex(1).0;
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let frame = metadata(9);
    client.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
    client.write_all(&frame).await.unwrap();
    assert!(rig.call().await.reply.send(described()));
    let mut answer = [0; 8];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[4..], 9_i32.to_be_bytes());
    rig.shared.stop.cancel();
    listening.await.unwrap();
}
