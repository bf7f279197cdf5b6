//! The node at the other end of the connections.

use super::plan::{Draw, FORBIDDEN};
use super::*;
use crate::core::request::{
    Acks, FetchPartition, FetchResult, MetadataResult, ProducePartition, ProduceResult, TopicId,
};
use crate::kafka::handle::{Call, Inbox};

/// The bounds of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connection_requests: usize,
    pub(super) connection_bytes: u32,
    pub(super) node_calls: usize,
    pub(super) node_bytes: u32,
}

/// A call that the node has not answered yet.
pub(super) struct Held {
    due: Instant,
    order: usize,
    pub(super) call: Call,
    /// Of its frame and of the response promised, as the connection counts them.
    bytes: u32,
    frame_bytes: u32,
}

/// A node that answers late and out of order, and watches what reaches it.
pub(super) struct Node {
    pub(super) draw: Draw,
    pub(super) bounds: Bounds,
    pub(super) world: World,
    pub(super) held: Vec<Held>,
    pub(super) order: usize,
    /// Connections that send what is no frame, and more behind it.
    pub(super) garbage: BTreeSet<u16>,
    /// Frame length of each request that carries its tag.
    pub(super) frames: BTreeMap<u32, u32>,
}

fn tag_of(request: &Request) -> Option<u32> {
    match request {
        Request::Produce { timeout_ms: tag, .. } | Request::Fetch { max_wait_ms: tag, .. } => Some(*tag),
        _ => None,
    }
}

impl Node {
    pub(super) async fn run(mut self, mut inbox: Inbox) -> Vec<Held> {
        loop {
            self.held.sort_by_key(|held| (held.due, held.order));
            let next = self.held.first().map_or(Instant::now() + RUN * 2, |held| held.due);
            tokio::select! {
                biased;
                call = inbox.calls.recv() => match call {
                    Some(call) => self.take(call),
                    None => return self.held,
                },
                () = tokio::time::sleep_until(next), if !self.held.is_empty() => {
                    let held = self.held.remove(0);
                    self.answer(held.call);
                }
            }
        }
    }

    fn take(&mut self, call: Call) {
        let connection = call.client.address.port();
        let tag = tag_of(&call.request);
        let name = format!("{:?}", call.request);
        let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
        self.world.tell(connection, &format!("the node gets {name} {tag:?}"));
        if tag.is_some_and(|tag| tag >= FORBIDDEN) && self.garbage.contains(&connection) {
            self.world.wrong(connection, "a request behind a bad frame reached the node".into());
        }
        // Whatever carries no tag has a frame of at least the header.
        let frame_bytes = tag.and_then(|tag| self.frames.get(&tag).copied()).unwrap_or(12);
        let most = self.bounds.connection_bytes;
        let own = frame_bytes.min(most);
        let promised = match &call.request {
            Request::Fetch { max_bytes, .. } => (*max_bytes).min(most - own),
            _ => 0,
        };
        self.order += 1;
        let due = Instant::now() + self.draw.millis(3_000);
        self.held.push(Held { due, order: self.order, call, bytes: own + promised, frame_bytes });
        self.check_bounds(connection);
    }

    fn check_bounds(&self, connection: u16) {
        let live = |held: &&Held| !held.call.reply.is_closed();
        let of_it = |held: &&Held| held.call.client.address.port() == connection;
        let own: Vec<&Held> = self.held.iter().filter(live).filter(of_it).collect();
        let bytes: u32 = own.iter().map(|held| held.bytes).sum();
        if own.len() > self.bounds.connection_requests || bytes > self.bounds.connection_bytes {
            let what = format!("{} calls with {bytes} bytes in flight, beyond {:?}", own.len(), self.bounds);
            self.world.wrong(connection, what);
        }
        let all = self.held.iter().filter(live).map(|held| held.frame_bytes.min(self.bounds.node_bytes));
        let all: u32 = all.sum();
        if all > self.bounds.node_bytes {
            self.world
                .wrong(connection, format!("frames of {all} bytes at the node, beyond {:?}", self.bounds));
        }
    }

    fn answer(&mut self, call: Call) {
        let connection = call.client.address.port();
        let (gone, ended) = (call.reply.is_closed(), self.world.seen().ended.contains(&connection));
        if ended && !gone {
            self.world.wrong(connection, "a call outlives its connection".into());
        }
        if gone {
            return self.world.tell(connection, "a call was cancelled");
        }
        let fails = self.draw.percent(3);
        let silent = matches!(&call.request, Request::Produce { acks: Acks::None, .. });
        match response(&call.request, fails) {
            Some(response) => {
                if fails && silent {
                    self.world.seen().spoiled.insert(connection);
                }
                let sent = call.reply.send(response);
                self.world.tell(connection, if sent { "the node answers" } else { "nobody waits any more" });
            }
            // Not one of ours, or one to give up: the connection must end.
            None => {
                self.world.seen().spoiled.insert(connection);
                self.world.tell(connection, "the node drops a call");
            }
        }
    }
}

/// The node's answer, or none when it drops the call.
fn response(request: &Request, fails: bool) -> Option<Response> {
    let error = if fails { ErrorCode::NotLeaderOrFollower } else { ErrorCode::None };
    match request {
        Request::Produce { timeout_ms, partitions, .. } => {
            let result = |part: &ProducePartition| ProduceResult {
                topic: part.topic.clone(),
                partition: part.partition,
                error,
                base_offset: i64::from(*timeout_ms),
                log_append_time_ms: -1,
                log_start_offset: 0,
                leader: None,
                message: None,
            };
            Some(Response::Produce { partitions: partitions.iter().map(result).collect() })
        }
        Request::Fetch { max_wait_ms, partitions, .. } => {
            let result = |part: &FetchPartition| FetchResult {
                topic: part.topic.clone(),
                topic_id: TopicId::default(),
                partition: part.partition,
                error,
                high_watermark: i64::from(*max_wait_ms),
                log_start_offset: 0,
                batches: Vec::new(),
                diverging: None,
                preferred_read_replica: None,
                leader: None,
            };
            Some(Response::Fetch { partitions: partitions.iter().map(result).collect() })
        }
        Request::Metadata { .. } if !fails => Some(Response::Metadata(MetadataResult::default())),
        _ => None,
    }
}
