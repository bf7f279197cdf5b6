//! `/v1/digest`: what a replica here holds, as a digest, so that somebody can compare it with what the others hold.
//!
//! Read from the medium, by the threads that read, behind everything that the node has to read itself, [`READ_BYTES`] at a time. A piece
//! ends where the entries say so and nowhere else, so that replicas that hold the same give the same pieces: it goes from one Raft index
//! to another, and ends early with the entry that fills its bytes.

use std::time::Duration;

use blake3::Hasher;
use mesh::raft::{ReplicaId, Role};
use serde_json::{Value, json};
use storage::disk::file::FileDisk;
use storage::{Entry, ReadError, ReadJob};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::ShellNode;
use super::http::{Answer, field};
use super::state::role_name;
use super::worker::WorkerHandle;
use crate::core::metadata::PartitionKey;

/// Bytes read at once, though at least one entry.
const READ_BYTES: usize = 1 << 20;
/// Bytes of a piece unless fewer are asked for, and at most: it is done before the one who asks gives up.
const PIECE_BYTES_MAX: u64 = 16 << 20;
/// Pieces at a time; others wait, as long as an answer may take.
const AT_ONCE: usize = 2;
const TURN: Duration = Duration::from_secs(10);
/// Bytes that an entry counts beside its payload.
const ENTRY_BYTES: u64 = 88;

/// Lets a few be read at a time.
pub(super) struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    topic: String,
    partition: i32,
    /// From this Raft index to that one, exclusive, and at most so many bytes; nothing when only the range is wanted.
    piece: Option<(u64, u64, u64)>,
}

impl Asked {
    fn parse(query: &str) -> Option<Asked> {
        let number = |name: &str| match field(query, name) {
            None => Some(None),
            Some(text) => text.parse::<u64>().ok().map(Some),
        };
        let topic = field(query, "topic")?;
        let partition = field(query, "partition")?.parse().ok().filter(|number: &i32| *number >= 0)?;
        let bytes = number("bytes")?.unwrap_or(PIECE_BYTES_MAX).clamp(1, PIECE_BYTES_MAX);
        let piece = match (number("from")?, number("to")?) {
            (Some(from), Some(to)) if 0 < from && from < to => Some((from, to, bytes)),
            (None, None) => None,
            _ => return None,
        };
        Some(Asked { topic, partition, piece })
    }
}

/// The page.
pub(super) async fn of(turns: &Turns, worker: &WorkerHandle, query: &str) -> Result<Value, Answer> {
    let asked = Asked::parse(query).ok_or_else(|| {
        Answer::error(
            400,
            "name a replica and a piece of its log: /v1/digest?topic=NAME&partition=NUMBER[&from=INDEX&to=INDEX[&bytes=BYTES]]",
        )
    })?;
    let Some((from, to, bytes)) = asked.piece else {
        let seen = look(worker, &asked, None).await?;
        return Ok(seen.value(&asked, Value::Null));
    };
    let busy = |_late| Answer::error(503, "others are reading; ask again");
    let _turn = timeout(TURN, turns.0.acquire()).await.map_err(busy)?;
    let mut piece = Piece::new(from, to, bytes);
    let mut first: Option<ReplicaId> = None;
    loop {
        let mut seen = look(worker, &asked, Some(piece.next)).await?;
        let same = first.is_none_or(|first| Some(first) == seen.id);
        first = first.or(seen.id);
        let job = seen.job.take().filter(|_| same && seen.holds(piece.next, to));
        let Some(job) = job else { return Ok(seen.value(&asked, Value::Null)) };
        match worker.read_aside(job).await? {
            Ok(entries) if entries.is_empty() => return Ok(seen.value(&asked, Value::Null)),
            Ok(entries) => {
                if piece.take(&entries) {
                    return Ok(seen.value(&asked, piece.value()));
                }
            }
            Err(error) => return Ok(seen.value(&asked, piece.unreadable(&error))),
        }
    }
}

/// A replica between two steps of its node.
struct Seen {
    id: Option<ReplicaId>,
    node: i32,
    standing: Option<String>,
    role: Option<Role>,
    /// What can be compared: the first index, and the one after the last that is committed and synced here.
    first_index: u64,
    end_index: u64,
    log_start: i64,
    high_watermark: Option<i64>,
    job: Option<ReadJob<FileDisk>>,
}

impl Seen {
    /// Whether the replica has these entries for good.
    fn holds(&self, from: u64, to: u64) -> bool {
        self.first_index <= from && to <= self.end_index
    }

    fn value(&self, asked: &Asked, piece: Value) -> Value {
        json!({
            "topic": asked.topic,
            "partition": asked.partition,
            "node_id": self.node,
            "replica": self.id.map(|id| id.to_string()),
            "standing": self.standing,
            "role": self.role.map(role_name),
            "first_index": self.first_index,
            "end_index": self.end_index,
            "log_start": self.log_start,
            "high_watermark": self.high_watermark,
            "piece": piece,
        })
    }
}

async fn look(worker: &WorkerHandle, asked: &Asked, from: Option<u64>) -> Result<Seen, Answer> {
    let (topic, partition) = (asked.topic.clone(), asked.partition);
    let seen = worker.inspect(move |node| see(node, &topic, partition, from)).await?;
    seen.ok_or_else(|| Answer::error(404, format!("no partition {}/{}", asked.topic, asked.partition)))
}

/// `None` when there is no such partition. One without a replica here has nothing to compare.
fn see(node: &ShellNode, topic: &str, partition: i32, from: Option<u64>) -> Option<Seen> {
    let key = PartitionKey { topic: node.view().topic_named(topic)?.id, partition };
    node.view().descriptor(key)?;
    let view = node.replica(key);
    let view = view.as_ref();
    // What takes no part says nothing of what is committed.
    let range = view.filter(|view| view.role.is_some()).map(|view| {
        (view.start.index.0 + 1, view.commit.min(view.synced).0.saturating_add(1).max(view.start.index.0 + 1))
    });
    let (first_index, end_index) = range.unwrap_or((0, 0));
    let medium = |index: u64| {
        let log = view?.log;
        node.workers().of(log).read_medium(log, index, READ_BYTES).ok()?
    };
    Some(Seen {
        id: view.map(|view| view.id),
        node: node.identity().node.0,
        standing: view.map(|view| format!("{:?}", view.standing).to_lowercase()),
        role: view.and_then(|view| view.role),
        first_index,
        end_index,
        log_start: view.map_or(-1, |view| view.log_start),
        high_watermark: view.and_then(|view| view.high_watermark),
        job: from.and_then(medium),
    })
}

/// The digest of a piece as it grows.
struct Piece {
    from: u64,
    to: u64,
    bytes_max: u64,
    next: u64,
    bytes: u64,
    records: u64,
    /// Of the first entry, and after the last one.
    offsets: Option<(i64, i64)>,
    hasher: Hasher,
}

impl Piece {
    fn new(from: u64, to: u64, bytes_max: u64) -> Self {
        Self { from, to, bytes_max, next: from, bytes: 0, records: 0, offsets: None, hasher: Hasher::new() }
    }

    /// Takes entries; true once it is whole.
    fn take(&mut self, entries: &[Entry]) -> bool {
        for entry in entries {
            if !self.is_whole() && entry.index >= self.next {
                self.add(entry);
            }
        }
        self.is_whole()
    }

    fn is_whole(&self) -> bool {
        self.next >= self.to || self.bytes >= self.bytes_max
    }

    fn add(&mut self, entry: &Entry) {
        self.hasher.update(&entry.index.to_le_bytes());
        self.hasher.update(&entry.term.to_le_bytes());
        self.hasher.update(&entry.base_offset.to_le_bytes());
        self.hasher.update(&entry.record_count.to_le_bytes());
        self.hasher.update(&[entry.kind]);
        self.hasher.update(&entry.timestamp_ms.to_le_bytes());
        self.hasher.update(&(entry.payload.len() as u64).to_le_bytes());
        self.hasher.update(&entry.payload);
        self.bytes += entry.payload.len() as u64 + ENTRY_BYTES;
        self.records += u64::from(entry.record_count);
        let first = self.offsets.map_or(entry.base_offset, |(first, _)| first);
        self.offsets = Some((first, entry.base_offset + i64::from(entry.record_count)));
        self.next = entry.index + 1;
    }

    fn value(&self) -> Value {
        let (offset, next_offset) = self.offsets.unzip();
        json!({
            "from": self.from,
            "to": self.next,
            "offset": offset,
            "next_offset": next_offset,
            "records": self.records,
            "bytes": self.bytes,
            "digest": self.hasher.finalize().to_hex().as_str(),
        })
    }

    /// The first entry that cannot be read, as far as it is known.
    fn unreadable(&self, error: &ReadError) -> Value {
        let index = match error {
            ReadError::Corrupt { index, .. } => (*index).max(self.next),
            _ => self.next,
        };
        json!({ "from": self.from, "to": self.next, "damaged": { "index": index, "why": error.to_string() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, payload: &'static [u8]) -> Entry {
        let base_offset = index.cast_signed() * 10;
        let payload = payload.into();
        Entry { term: 3, index, base_offset, record_count: 10, kind: 0, timestamp_ms: 7, payload }
    }

    fn digest(entries: &[Entry], to: u64, bytes: u64) -> Value {
        let mut piece = Piece::new(1, to, bytes);
        // However the reads are cut.
        let whole: Vec<bool> = entries.chunks(2).map(|some| piece.take(some)).collect();
        assert_eq!(whole.last(), Some(&true));
        piece.value()
    }

    #[test]
    fn a_query_is_a_replica_or_a_piece_of_it() {
        let of = |query: &str| Asked::parse(query);
        let asked = |piece| Some(Asked { topic: "a b".into(), partition: 3, piece });
        assert_eq!(of("topic=a%20b&partition=3"), asked(None));
        assert_eq!(of("partition=3&topic=a+b&from=1&to=9"), asked(Some((1, 9, PIECE_BYTES_MAX))));
        assert_eq!(of("topic=a+b&partition=3&from=1&to=9&bytes=5"), asked(Some((1, 9, 5))));
        assert_eq!(
            of("topic=a+b&partition=3&from=1&to=9&bytes=99999999999"),
            asked(Some((1, 9, PIECE_BYTES_MAX)))
        );
        for wrong in [
            "",
            "topic=a",
            "partition=1",
            "topic=a&partition=-1",
            "topic=a&partition=1&from=1",
            "topic=a&partition=1&from=2&to=2",
            "topic=a&partition=1&from=0&to=2",
            "topic=a&partition=1&from=x&to=2",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_piece_ends_where_its_entries_say() {
        let entries = [entry(1, b"aaaa"), entry(2, b"bb"), entry(3, b"c"), entry(4, b"d"), entry(5, b"e")];
        let all = digest(&entries, 6, 1 << 20);
        assert_eq!((&all["to"], &all["offset"], &all["next_offset"]), (&6.into(), &10.into(), &60.into()));
        assert_eq!((&all["records"], &all["bytes"]), (&50.into(), &(5 * ENTRY_BYTES + 9).into()));
        let short = digest(&entries, 6, ENTRY_BYTES + 5);
        assert_eq!((&short["from"], &short["to"], &short["records"]), (&1.into(), &3.into(), &20.into()));
        assert_eq!(digest(&entries, 3, 1 << 20), short, "however it came to its end");
    }

    #[test]
    fn whatever_differs_is_seen() {
        let entries = [entry(1, b"aaaa"), entry(2, b"bb")];
        let same = digest(&entries, 3, 1 << 20);
        let changes: [fn(&mut Entry); 6] = [
            |entry| entry.term += 1,
            |entry| entry.base_offset += 1,
            |entry| entry.record_count += 1,
            |entry| entry.kind += 1,
            |entry| entry.timestamp_ms += 1,
            |entry| entry.payload = (&b"bc"[..]).into(),
        ];
        for change in changes {
            let mut changed = entries.clone();
            change(&mut changed[1]);
            assert_ne!(digest(&changed, 3, 1 << 20)["digest"], same["digest"]);
        }
    }
}
