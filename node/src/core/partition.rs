//! One replica on this node: its Raft replica, what the log means (`Applied`), and who waits for it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use mesh::raft::{self, EntryKind, Index, LogRead, Message, Replica, ReplicaId, Restored, Role, Term, Time};
use storage::{Disk, LogId, Read, ReadFrom, ReadJob, Store};

use super::batch::producer_stamp;
use super::metadata::lifecycle::Standing;
use super::metadata::{Founding, PartitionKey, Shard};
use super::parked::Parked;
use super::producers::Producers;
use super::request::RequestId;
use super::traffic::Traffic;
use crate::mutant::{self, Mutant};

/// What the committed entries of a topic's partition say.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// Idempotent producers.
    pub(crate) producers: Producers,
    /// Records below this offset are deleted, even where their batch is still stored; see [`super::deletions`].
    pub(crate) first_offset: i64,
}

/// Version of a checkpoint that begins with the first offset.
const FIRST_OFFSET: u8 = 2;

impl TopicState {
    /// The producers, after version 2 and the first offset (i64, little-endian) when that is not 0.
    fn encode(&self) -> Vec<u8> {
        let producers = self.producers.encode();
        if self.first_offset == 0 {
            return producers;
        }
        let mut out = vec![FIRST_OFFSET];
        out.extend(self.first_offset.to_le_bytes());
        out.extend(producers);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let Some((&FIRST_OFFSET, rest)) = bytes.split_first() else {
            return Some(Self { producers: Producers::decode(bytes)?, first_offset: 0 });
        };
        let (first_offset, producers) = rest.split_first_chunk::<8>()?;
        Some(Self {
            producers: Producers::decode(producers)?,
            first_offset: i64::from_le_bytes(*first_offset),
        })
    }
}

/// The state that committed entries build.
#[derive(Debug)]
pub(crate) enum Applied {
    /// A topic's partition.
    Topic(TopicState),
    /// A metadata shard: its state machine.
    Shard(Box<Shard>),
}

impl Applied {
    /// As bytes, for a checkpoint.
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Topic(topic) => topic.encode().into(),
            Self::Shard(shard) => shard.snapshot().into(),
        }
    }

    /// The first offset that clients may read, as far as this state says; 0 for a shard.
    pub(crate) fn first_offset(&self) -> i64 {
        match self {
            Self::Topic(topic) => topic.first_offset,
            Self::Shard(_) => 0,
        }
    }

    /// Reads a checkpoint of a partition; without one the state is empty.
    pub(crate) fn decode(key: PartitionKey, bytes: Option<&[u8]>, founding: &Founding) -> Option<Self> {
        Some(match (key.as_shard(), bytes) {
            (Some(shard), None) => Self::Shard(Box::new(Shard::founded(shard, founding))),
            (Some(_), Some(bytes)) => Self::Shard(Box::new(Shard::restore(bytes).ok()?)),
            (None, None) => Self::Topic(TopicState::default()),
            (None, Some(bytes)) => Self::Topic(TopicState::decode(bytes)?),
        })
    }
}

/// An entry whose payload is needed when it commits.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) index: Index,
    pub(crate) kind: EntryKind,
    pub(crate) payload: Bytes,
}

/// Who waits for an entry: part `part` of a produce or DeleteRecords call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) call: RequestId,
    pub(crate) part: usize,
}

/// One replica on this node.
pub(crate) struct Partition {
    pub(crate) key: PartitionKey,
    pub(crate) log: LogId,
    pub(crate) id: ReplicaId,
    pub(crate) standing: Standing,
    /// `None` while suspect.
    pub(crate) replica: Option<Replica>,
    pub(crate) applied: Index,
    pub(crate) checkpointed: Index,
    /// Bytes of entries since the last checkpoint.
    pub(crate) unsaved_bytes: usize,
    pub(crate) state: Applied,
    pub(crate) pending: VecDeque<Pending>,
    /// acks=all, and duplicates of whatever acks.
    pub(crate) on_commit: BTreeMap<Index, Vec<Waiter>>,
    /// acks=1.
    pub(crate) on_sync: BTreeMap<Index, Vec<Waiter>>,
    /// DeleteRecords that wait for their log-start entry.
    pub(crate) on_start: BTreeMap<Index, Vec<Waiter>>,
    /// Batches that wait for room in the log.
    pub(crate) parked: Parked,
    pub(crate) fetches: BTreeSet<RequestId>,
    /// Entries read from disk for a follower that lags.
    pub(crate) loaded: Vec<raft::Entry>,
    pub(crate) loading: bool,
    /// Its place in the node's timer queue.
    pub(crate) deadline: Option<Time>,
    /// Whether this node was its leader at the last look, and in which term.
    pub(crate) led: Option<Term>,
    /// Proposals of a shard that someone waits for.
    pub(crate) proposals: super::shards::Proposals,
    /// Since when a retention proposal is under way, so that there is one at a time.
    pub(crate) trimming: Option<Index>,
    /// After how many changes of its memberships it was looked at with whom it is shared; `None` before.
    pub(crate) company_as_of: Option<u64>,
    /// When the preferred replica may have the lead back, which it was ready for without a break.
    pub(crate) home_at: Option<Time>,
    /// What clients write and read, while this node leads.
    pub(crate) traffic: Traffic,
}

impl Partition {
    pub(crate) fn new(key: PartitionKey, log: LogId, id: ReplicaId, standing: Standing) -> Self {
        Self {
            key,
            log,
            id,
            standing,
            replica: None,
            applied: Index(0),
            checkpointed: Index(0),
            unsaved_bytes: 0,
            state: Applied::Topic(TopicState::default()),
            pending: VecDeque::new(),
            on_commit: BTreeMap::new(),
            on_sync: BTreeMap::new(),
            on_start: BTreeMap::new(),
            parked: Parked::default(),
            fetches: BTreeSet::new(),
            loaded: Vec::new(),
            loading: false,
            deadline: None,
            led: None,
            proposals: super::shards::Proposals::default(),
            trimming: None,
            company_as_of: None,
            home_at: None,
            traffic: Traffic::default(),
        }
    }

    /// Whether clients may be served: by the leader, and only once the shard committed that the partition is created.
    pub(crate) fn may_serve(&self) -> bool {
        match self.standing {
            Standing::Member => self.leads(),
            Standing::Creating => self.leads() && mutant::active(Mutant::CreatingReplicaServes),
            Standing::Learner => mutant::active(Mutant::LearnerServes),
            Standing::Suspect => mutant::active(Mutant::SuspectReplicaServes),
            Standing::Removed => mutant::active(Mutant::RemovedReplicaServes),
        }
    }

    /// Whether this may be said. What takes no part says nothing at all; the deliberate bugs let it say some of it.
    pub(crate) fn may_say(&self, message: &Message) -> bool {
        let votes = matches!(
            message,
            Message::PreVote { .. }
                | Message::Vote { .. }
                | Message::PreVoteReply { .. }
                | Message::VoteReply { .. }
        );
        match self.standing {
            Standing::Suspect if votes => mutant::active(Mutant::SuspectReplicaVotes),
            Standing::Suspect => mutant::active(Mutant::SuspectReplicaAcknowledges),
            Standing::Removed => mutant::active(Mutant::RemovedReplicaVotes),
            Standing::Creating | Standing::Member | Standing::Learner => true,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.role() == Role::Leader)
    }

    /// Takes note of entries that enter the log. Those at or below `applied` came with a checkpoint already.
    pub(crate) fn appended(&mut self, entries: &[raft::Entry]) {
        for entry in entries.iter().filter(|entry| entry.index > self.applied) {
            self.unsaved_bytes += entry.payload.len();
            match entry.kind {
                EntryKind::Records => {
                    if let (Applied::Topic(topic), Some(stamp)) =
                        (&mut self.state, producer_stamp(&entry.payload))
                    {
                        topic.producers.append(entry.index, stamp, entry.record_count, entry.base_offset);
                    }
                }
                EntryKind::Command | EntryKind::LogStart => self.pending.push_back(Pending {
                    index: entry.index,
                    kind: entry.kind,
                    payload: entry.payload.clone(),
                }),
                EntryKind::Noop | EntryKind::Membership => {}
            }
        }
    }

    /// Takes note that entries from `from` on left the log.
    pub(crate) fn truncated(&mut self, from: Index) {
        // Not all that is applied need be in the log: a reset's checkpoint may be ahead of the suffix that was kept, and of
        // that suffix anything may be stale. The Raft core asserts that nothing committed is truncated.
        while self.pending.back().is_some_and(|last| last.index >= from) {
            self.pending.pop_back();
        }
        if let Applied::Topic(topic) = &mut self.state {
            topic.producers.truncate(from);
        }
    }
}

/// What the Raft core sees of the log during a step.
pub(crate) struct LogView<'a, D: Disk> {
    pub(crate) store: &'a Store<D>,
    pub(crate) log: LogId,
    pub(crate) loaded: &'a [raft::Entry],
    pub(crate) loading: bool,
    pub(crate) state: &'a Applied,
    pub(crate) applied: Index,
    /// A disk read that the step asked for.
    pub(crate) wanted: RefCell<Option<ReadJob<D>>>,
}

impl<D: Disk> raft::Log for LogView<'_, D> {
    fn entries(&self, first: Index, bytes_max: usize) -> LogRead {
        self.read(first, bytes_max, |job| job)
    }

    fn entries_for_rebuild(&self, first: Index, bytes_max: usize) -> LogRead {
        self.read(first, bytes_max, ReadJob::patient)
    }

    fn end_offset(&self, index: Index) -> Option<i64> {
        self.store.end_offset(self.log, index.0)
    }

    fn checkpoint(&self) -> (Index, Bytes) {
        (self.applied, self.state.encode())
    }
}

impl<D: Disk> LogView<'_, D> {
    /// Out of memory, or by a job of which `kind` says how it is run.
    fn read(&self, first: Index, bytes_max: usize, kind: impl Fn(ReadJob<D>) -> ReadJob<D>) -> LogRead {
        if let Some(at) = self.loaded.iter().position(|entry| entry.index == first) {
            return LogRead::Ready(self.loaded[at..].to_vec());
        }
        match self.store.read(self.log, ReadFrom::Index(first.0), bytes_max) {
            Ok(Read::Ready(entries)) => LogRead::Ready(entries.into_iter().filter_map(to_raft).collect()),
            Ok(Read::Disk(job)) => {
                let mut wanted = self.wanted.borrow_mut();
                if !self.loading && wanted.is_none() {
                    *wanted = Some(kind(job));
                }
                LogRead::Loading
            }
            Err(storage::ReadError::BelowStart) => LogRead::Gone,
            // Rot on the leader: the follower waits for another leader or for a repair.
            Err(_) => LogRead::Loading,
        }
    }
}

/// A stored entry as the Raft core knows it; `None` for a kind of a later version.
pub(crate) fn to_raft(entry: storage::Entry) -> Option<raft::Entry> {
    Some(raft::Entry {
        term: Term(entry.term),
        index: Index(entry.index),
        base_offset: entry.base_offset,
        record_count: entry.record_count,
        kind: EntryKind::from_u8(entry.kind)?,
        timestamp_ms: entry.timestamp_ms,
        payload: entry.payload,
    })
}

/// An entry of the Raft core as it is stored.
pub(crate) fn to_stored(entry: raft::Entry) -> storage::Entry {
    storage::Entry {
        term: entry.term.0,
        index: entry.index.0,
        base_offset: entry.base_offset,
        record_count: entry.record_count,
        kind: entry.kind.to_u8(),
        timestamp_ms: entry.timestamp_ms,
        payload: entry.payload,
    }
}

/// The Raft core's log start as it is stored.
pub(crate) fn start_to_stored(start: raft::LogStart) -> storage::LogStart {
    storage::LogStart { index: start.index.0, term: start.term.0, next_offset: start.next_offset }
}

/// A stored log start as the Raft core knows it.
pub(crate) fn start_to_raft(start: storage::LogStart) -> raft::LogStart {
    raft::LogStart { index: Index(start.index), term: Term(start.term), next_offset: start.next_offset }
}

/// What the Raft core needs to go on from a stored log; `None` when the hard state does not decode.
pub(crate) fn restored<D: Disk>(store: &Store<D>, log: LogId) -> Option<Restored> {
    let state = store.log(log)?;
    Some(Restored {
        hard_state: raft::HardState::decode(state.hard_state)?,
        start: start_to_raft(state.start),
        last_index: Index(state.last_index),
        next_offset: state.next_offset,
        term_starts: state.term_starts.iter().map(|(term, first, _)| (Term(*term), Index(*first))).collect(),
        unsynced: store.synced() < store.staged(),
    })
}
