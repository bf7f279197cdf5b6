//! Memory for responses that clients have not read yet: one bound for all of them.
//!
//! The node answers without knowing how fast a client reads, so this is where its answer meets the bound: a fetch takes along what
//! there is room for, and the consumer asks again for the rest; any other answer without room ends its connection. While
//! little is left, connections whose clients read nothing are closed early, see [`Room::is_short`].

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::core::request::{ConfigEntry, FetchResult, MetadataResult, Response, TopicMetadata};

/// A fetch may always ask for this much.
const SHARE_BYTES_MIN: u32 = 64 << 10;
/// Answers below this are not counted, or a full room would close those who read: they are as bounded as their requests are.
const SMALL_BYTES: usize = 4 << 10;

/// The memory; cheap to clone.
#[derive(Clone, Debug)]
pub struct Room {
    free: Arc<Semaphore>,
    max: u32,
}

/// Where the answer to a call goes.
#[derive(Debug)]
pub struct Reply {
    answer: oneshot::Sender<Answered>,
    room: Room,
}

/// The node's answer and the memory that it takes, given back when dropped.
#[derive(Debug)]
pub struct Answered {
    /// The answer; `None` when there was no room for it.
    pub response: Option<Response>,
    /// For how many milliseconds nothing more is read from the client.
    pub throttle_ms: u32,
    _room: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For so many bytes.
    pub fn new(max: u32) -> Room {
        Room { free: Arc::new(Semaphore::new(max as usize)), max }
    }

    /// Bytes taken, and as many as may be.
    pub fn load(&self) -> (u32, u32) {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        (self.max.saturating_sub(free), self.max)
    }

    /// Less than a quarter is left.
    pub fn is_short(&self) -> bool {
        self.free.available_permits() < self.max as usize / 4
    }

    /// What one fetch may ask for: an eighth of what is free, so that the next ones find room, too; and a little in any case.
    pub fn share(&self) -> u32 {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        (free / 8).max(SHARE_BYTES_MIN)
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(&self.free).try_acquire_many_owned(bytes).ok()
    }

    /// Takes what a response needs. A fetch leaves out the batches for which there is none.
    fn admit(&self, mut response: Response) -> Answered {
        if let Response::Fetch { partitions } = &mut response {
            fit(partitions, self.free.available_permits());
        }
        let weight = weight(&response);
        let uncounted = weight == 0 || (weight < SMALL_BYTES && !matches!(response, Response::Fetch { .. }));
        let room = if uncounted { None } else { self.take(weight) };
        Answered { response: (uncounted || room.is_some()).then_some(response), throttle_ms: 0, _room: room }
    }
}

impl Reply {
    /// The two ends of an answer.
    pub fn new(room: Room) -> (Reply, oneshot::Receiver<Answered>) {
        let (answer, answered) = oneshot::channel();
        (Reply { answer, room }, answered)
    }

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }

    /// Comes back once the client is gone.
    pub async fn closed(&mut self) {
        self.answer.closed().await;
    }

    /// Gives the answer; false when nobody waits for it any more.
    pub fn send(self, response: Response) -> bool {
        self.send_throttled(response, 0)
    }

    /// The same; the client shall be silent for so many milliseconds then.
    pub fn send_throttled(self, response: Response, throttle_ms: u32) -> bool {
        if self.answer.is_closed() {
            return false;
        }
        let answered = Answered { throttle_ms, ..self.room.admit(response) };
        self.answer.send(answered).is_ok()
    }
}

/// Cuts each partition's batches where the room for all of them ends.
fn fit(partitions: &mut [FetchResult], mut free: usize) {
    for part in partitions {
        let fits = part.batches.iter().position(|batch| match free.checked_sub(batch.bytes.len()) {
            Some(left) => {
                free = left;
                false
            }
            None => true,
        });
        part.batches.truncate(fits.unwrap_or(part.batches.len()));
    }
}

/// About what a response takes.
fn weight(response: &Response) -> usize {
    match response {
        Response::Fetch { partitions } => {
            partitions.iter().flat_map(|part| &part.batches).map(|batch| batch.bytes.len()).sum()
        }
        Response::Metadata(MetadataResult { brokers, topics, .. }) => {
            brokers.len() * 128 + topics.iter().map(topic_weight).sum::<usize>()
        }
        Response::DescribeConfigs { resources } => {
            let of = |entry: &ConfigEntry| {
                64 + entry.name.len() + entry.documentation.len() + 64 * entry.synonyms.len()
            };
            resources.iter().flat_map(|resource| &resource.entries).map(of).sum()
        }
        Response::Group(answer) => answer.weight(),
        Response::DescribeLogDirs(dir) => dir.replicas.len() * 128,
        // No longer than their requests, which are bounded themselves.
        _ => 0,
    }
}

fn topic_weight(topic: &TopicMetadata) -> usize {
    let partitions = topic.partitions.iter();
    let replicas: usize =
        partitions.map(|part| part.replicas.len() + part.in_sync.len() + part.offline.len()).sum();
    64 + topic.name.as_ref().map_or(0, String::len) + topic.partitions.len() * 64 + replicas * 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error::ErrorCode;
    use crate::core::request::{StoredBatch, TopicId, TopicRef};

    fn fetched(batches: &[&[usize]]) -> Response {
        let part = |(partition, lengths): (i32, &&[usize])| FetchResult {
            topic: TopicRef::Name("t".to_owned()),
            topic_id: TopicId::default(),
            partition,
            error: ErrorCode::None,
            high_watermark: 9,
            log_start_offset: 0,
            batches: lengths
                .iter()
                .map(|length| StoredBatch { base_offset: 0, leader_epoch: 1, bytes: vec![0; *length].into() })
                .collect(),
            diverging: None,
            preferred_read_replica: None,
            leader: None,
        };
        Response::Fetch { partitions: (0..).zip(batches).map(part).collect() }
    }

    fn kept(answered: &mut oneshot::Receiver<Answered>) -> (Vec<usize>, Answered) {
        let answered = answered.try_recv().unwrap();
        let Some(Response::Fetch { partitions }) = &answered.response else { panic!("no fetch") };
        (partitions.iter().map(|part| part.batches.len()).collect(), answered)
    }

    #[test]
    fn a_fetch_takes_along_what_fits_and_gives_it_back() {
        let room = Room::new(10_000);
        let (first, mut one) = Reply::new(room.clone());
        assert!(first.send(fetched(&[&[4_000, 1_000], &[1_000]])));
        let (counts, held) = kept(&mut one);
        assert_eq!((counts, room.load().0, room.is_short()), (vec![2, 1], 6_000, false));
        assert_eq!((room.share(), Room::new(8 << 20).share()), (SHARE_BYTES_MIN, 1 << 20));
        let (second, mut two) = Reply::new(room.clone());
        // A batch that does not fit ends its partition, not the others.
        assert!(second.send(fetched(&[&[3_000, 2_000, 10], &[900]])));
        let (counts, also_held) = kept(&mut two);
        assert_eq!((counts, room.is_short()), (vec![1, 1], true));
        drop((held, also_held));
        assert_eq!(room.load(), (0, 10_000));
    }

    #[test]
    fn what_cannot_be_cut_is_refused_without_room() {
        let room = Room::new(10_000);
        let (first, mut one) = Reply::new(room.clone());
        let topic = TopicMetadata {
            error: ErrorCode::None,
            name: Some("x".repeat(6_000)),
            topic_id: TopicId::default(),
            internal: false,
            partitions: Vec::new(),
        };
        let large =
            || Response::Metadata(MetadataResult { topics: vec![topic.clone()], ..Default::default() });
        assert!(first.send(large()));
        let held = one.try_recv().unwrap();
        assert!(held.response.is_some());
        let (second, mut two) = Reply::new(room.clone());
        assert!(second.send(large()));
        assert!(two.try_recv().unwrap().response.is_none());
        let (small, mut small_one) = Reply::new(room.clone());
        assert!(small.send(Response::Metadata(MetadataResult::default())));
        assert!(small_one.try_recv().unwrap().response.is_some(), "what is small always passes");
        drop(held);
        let (third, three) = Reply::new(room.clone());
        drop(three);
        assert!(!third.send(large()), "nobody waits");
        assert_eq!(room.load().0, 0);
    }
}
