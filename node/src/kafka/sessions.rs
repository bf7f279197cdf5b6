//! Fetch sessions (KIP-227): a client that fetches many partitions names only what changed, and is told only what changed.
//!
//! ```text
//! session id, epoch   the client                                    the answer
//! 0, -1               wants no session                              everything, session 0
//! 0, 0                wants one; all its partitions                 everything, and the session's id if there is room
//! n, 0                gives up n and wants a new one                the same
//! n, -1               gives up n                                    everything, session 0
//! n, e > 0            goes on: what is new, changed or forgotten    what has records, an error or other watermarks
//! ```
//!
//! Epochs rise by one with each request, 1 after the last i32, so that a lost or repeated one is noticed. The cache is bounded by
//! sessions and by bytes. A new session takes the place of one that was not used for [`IDLE`]; or of one that is older than that and
//! holds fewer partitions. Otherwise the client fetches without, as before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::error::ErrorCode;
use crate::core::request::{FetchPartition, FetchResult, TopicRef};

/// How long a session is safe from others (`min.incremental.fetch.session.eviction.ms`).
const IDLE: Duration = Duration::from_secs(120);
/// Sessions at once (`max.incremental.fetch.session.cache.slots`).
const SESSIONS_MAX: usize = 1_000;
/// Bytes of all sessions, as counted by [`weight`].
const BYTES_MAX: usize = 32 << 20;
/// Epoch of a request that begins a session.
const INITIAL: i32 = 0;
/// Epoch of a request that wants none.
const FINAL: i32 = -1;

type Key = (TopicRef, i32);

/// The sessions of a node's clients.
#[derive(Debug)]
pub struct Sessions {
    table: Mutex<Table>,
    sessions_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Table {
    sessions: BTreeMap<i32, Session>,
    /// By last use.
    used: BTreeSet<(Instant, i32)>,
    bytes: usize,
    seed: u64,
}

#[derive(Debug)]
struct Session {
    /// Of the request that comes next.
    epoch: i32,
    by_id: bool,
    made: Instant,
    used: Instant,
    parts: BTreeMap<u64, Cached>,
    /// Where a partition is in `parts`: whoever had records goes to the end, so that all get their turn.
    turns: BTreeMap<Key, u64>,
    next_turn: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Cached {
    wanted: FetchPartition,
    high_watermark: i64,
    log_start_offset: i64,
}

/// What of a fetch concerns sessions.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: i32,
    pub(super) epoch: i32,
    /// Topics are given by id, not by name.
    pub(super) by_id: bool,
    pub(super) forgotten: Vec<Key>,
}

/// The way of a fetch's results through its session.
#[derive(Debug, Default)]
pub(super) struct Ticket(Option<(Arc<Sessions>, Kind, Instant)>);

#[derive(Debug)]
enum Kind {
    /// To be begun with these partitions.
    Begin { by_id: bool, wanted: Vec<FetchPartition> },
    /// Goes on; this is the epoch that it is at.
    Next { id: i32, epoch: i32 },
}

impl Sessions {
    /// No sessions yet. Ids are drawn from `seed`, which differs from process to process: a session of an earlier one must not fit
    /// one of this.
    pub fn new(seed: u64) -> Arc<Self> {
        Self::bounded(seed, SESSIONS_MAX, BYTES_MAX)
    }

    fn bounded(seed: u64, sessions_max: usize, bytes_max: usize) -> Arc<Self> {
        let (sessions, used) = (BTreeMap::new(), BTreeSet::new());
        let table = Mutex::new(Table { sessions, used, bytes: 0, seed });
        Arc::new(Self { table, sessions_max, bytes_max })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table().sessions.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request: what is to be fetched, and what its results go through.
    ///
    /// # Errors
    /// The error of the whole response when the session is unknown, at another epoch, or full.
    pub(super) fn open(
        self: &Arc<Self>,
        opening: Opening,
        parts: Vec<FetchPartition>,
        now: Instant,
    ) -> Result<(Vec<FetchPartition>, Ticket), ErrorCode> {
        let Opening { id, epoch, by_id, forgotten } = opening;
        let mut table = self.table();
        match epoch {
            FINAL | INITIAL => {
                table.remove(id);
                let begin = Kind::Begin { by_id, wanted: parts.clone() };
                let ticket = (epoch == INITIAL).then(|| (Arc::clone(self), begin, now));
                Ok((parts, Ticket(ticket)))
            }
            _ => {
                let session = table.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
                if session.epoch != epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                if session.by_id != by_id {
                    return Err(ErrorCode::FetchSessionTopicIdError);
                }
                session.epoch = following(epoch);
                let epoch = session.epoch;
                let before = session.bytes;
                parts.into_iter().for_each(|part| session.put(part, -1, -1));
                forgotten.iter().for_each(|key| session.forget(key));
                let (after, empty) = (session.bytes, session.parts.is_empty());
                let wanted = session.parts.values().map(|cached| cached.wanted.clone()).collect();
                table.bytes = table.bytes - before + after;
                if empty || table.bytes > self.bytes_max {
                    table.remove(id);
                }
                if empty {
                    return Ok((Vec::new(), Ticket::default()));
                }
                if !table.sessions.contains_key(&id) {
                    return Err(ErrorCode::FetchSessionIdNotFound);
                }
                table.touch(id, now);
                Ok((wanted, Ticket(Some((Arc::clone(self), Kind::Next { id, epoch }, now)))))
            }
        }
    }

    fn begin(&self, by_id: bool, wanted: Vec<FetchPartition>, results: &[FetchResult], now: Instant) -> i32 {
        let mut session = Session::new(by_id, now);
        for part in wanted {
            session.put(part, -1, -1);
        }
        for result in results {
            session.learn(result);
        }
        if session.parts.is_empty() {
            return 0;
        }
        let mut table = self.table();
        while table.sessions.len() >= self.sessions_max || table.bytes + session.bytes > self.bytes_max {
            let Some(victim) = table.victim(session.parts.len(), now) else { return 0 };
            table.remove(victim);
        }
        let id = table.draw();
        table.bytes += session.bytes;
        table.used.insert((now, id));
        table.sessions.insert(id, session);
        id
    }

    /// Leaves of the results what is news to the client.
    fn go_on(&self, id: i32, epoch: i32, results: &mut Vec<FetchResult>) -> Result<i32, ErrorCode> {
        let mut table = self.table();
        // Evicted since: this answer still stands, and the next request is told.
        let Some(session) = table.sessions.get_mut(&id) else { return Ok(id) };
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        results.retain(|result| session.learn(result));
        Ok(id)
    }
}

impl Ticket {
    /// Passes the results of a fetch: what stays is to be told. Returns the session's id, 0 for none.
    ///
    /// # Errors
    /// The error of the whole response when the session went on without this request.
    pub(super) fn pass(self, results: &mut Vec<FetchResult>) -> Result<i32, ErrorCode> {
        match self.0 {
            None => Ok(0),
            Some((sessions, Kind::Begin { by_id, wanted }, now)) => {
                Ok(sessions.begin(by_id, wanted, results, now))
            }
            Some((sessions, Kind::Next { id, epoch }, _)) => sessions.go_on(id, epoch, results),
        }
    }
}

impl Table {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.bytes -= session.bytes;
            self.used.remove(&(session.used, id));
        }
    }

    fn touch(&mut self, id: i32, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&id) {
            self.used.remove(&(session.used, id));
            session.used = now;
            self.used.insert((now, id));
        }
    }

    /// Who may go for a new session of so many partitions.
    fn victim(&self, parts: usize, now: Instant) -> Option<i32> {
        let old = |at: Instant| now.saturating_duration_since(at) > IDLE;
        let idle = self.used.first().filter(|(used, _)| old(*used)).map(|(_, id)| *id);
        idle.or_else(|| {
            let smaller =
                self.sessions.iter().filter(|(_, session)| old(session.made) && session.parts.len() < parts);
            smaller.min_by_key(|(id, session)| (session.parts.len(), **id)).map(|(id, _)| *id)
        })
    }

    /// A positive number that no session has.
    fn draw(&mut self) -> i32 {
        loop {
            // splitmix64, whose outputs do not repeat before all were there.
            self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let id = i32::try_from(mixed >> 33).unwrap_or(0);
            if id > 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Session {
    fn new(by_id: bool, now: Instant) -> Self {
        let (parts, turns) = (BTreeMap::new(), BTreeMap::new());
        Self { epoch: following(INITIAL), by_id, made: now, used: now, parts, turns, next_turn: 0, bytes: 0 }
    }

    /// A partition that is new, or asked for from elsewhere; what was told of a known one stays.
    fn put(&mut self, wanted: FetchPartition, high_watermark: i64, log_start_offset: i64) {
        let key = (wanted.topic.clone(), wanted.partition);
        if let Some(cached) = self.turns.get(&key).and_then(|turn| self.parts.get_mut(turn)) {
            cached.wanted = wanted;
            return;
        }
        self.bytes += weight(&key);
        self.turns.insert(key, self.next_turn);
        self.parts.insert(self.next_turn, Cached { wanted, high_watermark, log_start_offset });
        self.next_turn += 1;
    }

    fn forget(&mut self, key: &Key) {
        if let Some(turn) = self.turns.remove(key) {
            self.parts.remove(&turn);
            self.bytes -= weight(key);
        }
    }

    /// Notes what a client is told of a partition; whether that is news.
    fn learn(&mut self, result: &FetchResult) -> bool {
        let key = (result.topic.clone(), result.partition);
        let Some(turn) = self.turns.get_mut(&key) else { return true };
        let Some(cached) = self.parts.get_mut(turn) else { return true };
        let moved = cached.high_watermark != result.high_watermark
            || cached.log_start_offset != result.log_start_offset;
        (cached.high_watermark, cached.log_start_offset) = (result.high_watermark, result.log_start_offset);
        if result.error != ErrorCode::None {
            // So that the first answer after the error is news.
            cached.high_watermark = -1;
            return true;
        }
        if result.batches.is_empty() {
            return moved || result.diverging.is_some() || result.preferred_read_replica.is_some();
        }
        if let Some(cached) = self.parts.remove(turn) {
            *turn = self.next_turn;
            self.parts.insert(self.next_turn, cached);
            self.next_turn += 1;
        }
        true
    }
}

/// Bytes that a partition takes in a session, more or less.
fn weight(key: &Key) -> usize {
    let name = if let TopicRef::Name(name) = &key.0 { name.len() } else { 0 };
    256 + 2 * name
}

fn following(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::request::{StoredBatch, TopicId};

    fn part(partition: i32, offset: i64) -> FetchPartition {
        let topic = TopicRef::Name("t".into());
        FetchPartition { topic, partition, offset, leader_epoch: -1, last_epoch: -1, max_bytes: 1 }
    }

    fn result(partition: i32, high_watermark: i64, records: bool) -> FetchResult {
        let batch = StoredBatch { base_offset: 0, leader_epoch: 0, bytes: Bytes::from_static(b"x") };
        FetchResult {
            topic: TopicRef::Name("t".into()),
            topic_id: TopicId::default(),
            partition,
            error: ErrorCode::None,
            high_watermark,
            log_start_offset: 0,
            batches: if records { vec![batch] } else { Vec::new() },
            diverging: None,
            preferred_read_replica: None,
            leader: None,
        }
    }

    fn opening(id: i32, epoch: i32) -> Opening {
        Opening { id, epoch, by_id: false, forgotten: Vec::new() }
    }

    fn numbers(parts: &[FetchPartition]) -> Vec<i32> {
        parts.iter().map(|part| part.partition).collect()
    }

    /// Begins a session of these partitions, all at high watermark 5.
    fn begin(sessions: &Arc<Sessions>, parts: &[i32], now: Instant) -> i32 {
        let wanted = parts.iter().map(|number| part(*number, 0)).collect();
        let (asked, ticket) = sessions.open(opening(0, INITIAL), wanted, now).unwrap();
        assert_eq!(numbers(&asked), parts);
        let mut results: Vec<_> = parts.iter().map(|number| result(*number, 5, false)).collect();
        let id = ticket.pass(&mut results).unwrap();
        assert_eq!(results.len(), parts.len(), "a full answer has everything");
        id
    }

    /// One request of a session: what is asked of the node, and what of `results` is told.
    fn go_on(
        sessions: &Arc<Sessions>,
        opening: Opening,
        parts: Vec<FetchPartition>,
        mut results: Vec<FetchResult>,
    ) -> (Vec<i32>, Vec<i32>) {
        let id = opening.id;
        let (asked, ticket) = sessions.open(opening, parts, Instant::now()).unwrap();
        assert_eq!(ticket.pass(&mut results), Ok(id));
        (numbers(&asked), results.iter().map(|result| result.partition).collect())
    }

    #[test]
    fn only_news_are_told_and_partitions_take_turns() {
        let sessions = Sessions::new(1);
        let id = begin(&sessions, &[0, 1, 2], Instant::now());
        assert!(id > 0);
        let quiet = || (0..3).map(|number| result(number, 5, false)).collect::<Vec<_>>();
        assert_eq!(go_on(&sessions, opening(id, 1), Vec::new(), quiet()), (vec![0, 1, 2], vec![]));
        let mut moved = quiet();
        moved[0].batches = result(0, 5, true).batches;
        moved[2].high_watermark = 6;
        assert_eq!(go_on(&sessions, opening(id, 2), Vec::new(), moved), (vec![0, 1, 2], vec![0, 2]));
        let mut failed = quiet();
        failed[1].error = ErrorCode::NotLeaderOrFollower;
        failed[2].high_watermark = 6;
        assert_eq!(go_on(&sessions, opening(id, 3), vec![part(1, 9)], failed), (vec![1, 2, 0], vec![1]));
        let mut again = quiet();
        again[2].high_watermark = 6;
        assert_eq!(
            go_on(&sessions, opening(id, 4), Vec::new(), again),
            (vec![1, 2, 0], vec![1]),
            "it is back"
        );
    }

    #[test]
    fn partitions_come_change_and_go() {
        let sessions = Sessions::new(1);
        let id = begin(&sessions, &[0, 1], Instant::now());
        let forgotten = vec![(TopicRef::Name("t".into()), 0)];
        let request = Opening { forgotten, ..opening(id, 1) };
        let (asked, _) = sessions.open(request, vec![part(1, 7), part(2, 3)], Instant::now()).unwrap();
        let asked: Vec<_> = asked.iter().map(|part| (part.partition, part.offset)).collect();
        assert_eq!(asked, [(1, 7), (2, 3)]);
        let forgotten = [1, 2].map(|number| (TopicRef::Name("t".into()), number)).to_vec();
        let (asked, ticket) =
            sessions.open(Opening { forgotten, ..opening(id, 2) }, Vec::new(), Instant::now()).unwrap();
        assert_eq!((asked.len(), ticket.pass(&mut Vec::new())), (0, Ok(0)), "an empty session ends");
        assert_eq!((sessions.count(), sessions.table().bytes), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let sessions = Sessions::new(1);
        let id = begin(&sessions, &[0], Instant::now());
        let open = |request| sessions.open(request, Vec::new(), Instant::now()).map(|_| ()).unwrap_err();
        assert_eq!(open(opening(id + 1, 1)), ErrorCode::FetchSessionIdNotFound);
        assert_eq!(open(opening(0, 1)), ErrorCode::FetchSessionIdNotFound);
        assert_eq!(open(opening(id, 2)), ErrorCode::InvalidFetchSessionEpoch);
        assert_eq!(open(Opening { by_id: true, ..opening(id, 1) }), ErrorCode::FetchSessionTopicIdError);
        let (_, first) = sessions.open(opening(id, 1), Vec::new(), Instant::now()).unwrap();
        let (_, second) = sessions.open(opening(id, 2), Vec::new(), Instant::now()).unwrap();
        assert_eq!(first.pass(&mut Vec::new()), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(second.pass(&mut Vec::new()), Ok(id));
        sessions.open(opening(id, FINAL), Vec::new(), Instant::now()).unwrap();
        assert_eq!(open(opening(id, 3)), ErrorCode::FetchSessionIdNotFound, "given up");
    }

    #[test]
    fn the_cache_is_bounded_and_idle_sessions_go_first() {
        let sessions = Sessions::bounded(1, 2, 1 << 20);
        let start = Instant::now();
        let later = start + IDLE + Duration::from_secs(1);
        let (first, second) = (begin(&sessions, &[0, 1], start), begin(&sessions, &[0], start));
        assert_eq!(begin(&sessions, &[0, 1, 2], start), 0, "nobody is old enough to go");
        sessions.open(opening(second, 1), Vec::new(), later).unwrap();
        let third = begin(&sessions, &[0], later);
        assert!(third > 0 && sessions.count() == 2);
        let gone = sessions.open(opening(first, 1), Vec::new(), later).map(|_| ()).unwrap_err();
        assert_eq!(gone, ErrorCode::FetchSessionIdNotFound, "it was idle");
        assert_eq!(begin(&sessions, &[0], later), 0, "no larger than what is there");
        assert!(begin(&sessions, &[0, 1], later) > 0, "larger than the old one");
        let gone = sessions.open(opening(second, 2), Vec::new(), later).map(|_| ()).unwrap_err();
        assert_eq!(gone, ErrorCode::FetchSessionIdNotFound);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let sessions = Sessions::bounded(1, 10, 2_000);
        let now = Instant::now();
        assert_eq!(begin(&sessions, &(0..50).collect::<Vec<_>>(), now), 0);
        let id = begin(&sessions, &[0, 1], now);
        let many = (0..50).map(|number| part(number, 0)).collect();
        let refused = sessions.open(opening(id, 1), many, now).map(|_| ()).unwrap_err();
        assert_eq!(refused, ErrorCode::FetchSessionIdNotFound);
        assert_eq!((sessions.count(), sessions.table().bytes), (0, 0));
    }

    #[test]
    fn epochs_wrap_to_one() {
        assert_eq!((following(INITIAL), following(i32::MAX)), (1, 1));
    }
}
