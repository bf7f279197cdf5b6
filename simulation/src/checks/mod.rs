//! What must always hold, one checker per file. Each sees facts as they happen and keeps only what it needs to judge the
//! next one; none looks at a whole node. A new checker is one file and one line in [`all`].
//!
//! Facts come from outside a node: what it holds, what it sends, what it answers. No checker knows a mutant.

mod changes;
mod created;
mod deletions;
mod descriptors;
mod groups;
mod hearing;
mod leaders;
mod ledger;
mod lives;
mod majority;
mod membership;
mod placed;
mod producers;
mod promises;
mod reads;
mod silence;
mod watermarks;

use std::sync::Arc;

use mesh::raft::{Index, LogStart, Membership, NodeId, ReplicaId, Term};
use mesh::swim::SwimId;
use node::core::Standing;
use node::core::groups::api::{GroupRequest, GroupResponse};
use node::core::message::PeerMessage;
use node::core::request::{Acks, RequestId, StoredBatch};

use crate::batch::{BatchId, Seen};

pub(crate) use ledger::{Committed, Group, Ledger};

/// An invariant that does not hold, and the two facts that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The checker that found it.
    pub(crate) check: &'static str,
    /// What must hold and what was seen.
    pub(crate) what: String,
}

/// What a checker says of a fact.
pub(crate) type Verdict = Result<(), Violation>;

/// A replica after a step that changed it.
#[derive(Debug)]
pub(crate) struct ReplicaFact {
    pub(crate) host: usize,
    pub(crate) group: Group,
    pub(crate) id: ReplicaId,
    /// Where in its life its node takes it to be.
    pub(crate) standing: Standing,
    pub(crate) term: Term,
    pub(crate) leads: bool,
    /// It waits for nothing.
    pub(crate) quiet: bool,
    pub(crate) commit: Index,
    pub(crate) last: Index,
    pub(crate) start: LogStart,
    /// The newest index that the disk has synced.
    pub(crate) synced: Index,
    /// (term, first index) of the entries that are held, oldest first.
    pub(crate) terms: Arc<[(Term, Index)]>,
    pub(crate) membership: Arc<Membership>,
    /// A node that holds a member and that its own node exchanges no heartbeats with.
    pub(crate) unwatched: Option<NodeId>,
    /// The same replica before the step; `None` when this process shows it for the first time.
    pub(crate) before: Option<Arc<ReplicaFact>>,
}

impl ReplicaFact {
    /// The term of the entry at `index`, as far as this replica holds it.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        term_at(&self.terms, self.start, self.last, index)
    }

    /// Whether this fact shows a leader that the one before did not.
    pub(crate) fn became_leader(&self) -> bool {
        self.leads && self.before.as_ref().is_none_or(|before| !before.leads || before.term != self.term)
    }

    /// Its name for people.
    pub(crate) fn name(&self) -> String {
        format!("replica {} in term {}", self.id, self.term.0)
    }
}

/// The term of `index` in a log that starts at `start`, ends at `last` and changes terms at `terms`.
pub(crate) fn term_at(terms: &[(Term, Index)], start: LogStart, last: Index, index: Index) -> Option<Term> {
    if index == start.index {
        return Some(start.term);
    }
    if index > last || index < start.index {
        return None;
    }
    terms.iter().rev().find(|(_, first)| *first <= index).map(|(term, _)| *term)
}

/// A batch that a client is about to send for the first time.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) seen: Seen,
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

/// A node says that a batch is in.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) host: usize,
    /// In which it leads.
    pub(crate) term: Term,
    pub(crate) batch: BatchId,
    pub(crate) acks: Acks,
    pub(crate) base_offset: i64,
}

/// A node answers a fetch without an error.
#[derive(Debug)]
pub(crate) struct Fetched<'a> {
    pub(crate) host: usize,
    pub(crate) group: Group,
    pub(crate) offset: i64,
    pub(crate) batches: &'a [StoredBatch],
}

/// A node tells a client where a log ends or starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) host: usize,
    pub(crate) group: Group,
    /// Of the replica that answered.
    pub(crate) term: Term,
    pub(crate) high_watermark: Option<i64>,
    pub(crate) log_start: Option<i64>,
    /// An offset that it refused as out of range although its log starts no later.
    pub(crate) refused: Option<i64>,
}

/// What SWIM tells a node of another one's process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) host: usize,
    /// Of the same life of its data directory, to the same process as now.
    pub(crate) before: Option<SwimId>,
    pub(crate) now: SwimId,
}

/// A committed entry, the first time anyone shows it.
#[derive(Debug)]
pub(crate) struct First {
    pub(crate) group: Group,
    pub(crate) index: Index,
    pub(crate) entry: Committed,
    /// What a record batch says of itself.
    pub(crate) seen: Option<Seen>,
}

/// One invariant. Every method has an empty default: a checker takes the facts it is about.
pub(crate) trait Check {
    /// A replica changed.
    fn replica(&mut self, _ledger: &Ledger, _fact: &ReplicaFact) -> Verdict {
        Ok(())
    }

    /// SWIM tells a node something else of another one.
    fn known(&mut self, _fact: &Known) -> Verdict {
        Ok(())
    }

    /// A replica is no longer shown by its node; `crashed` when the whole process is gone.
    fn gone(&mut self, _fact: &ReplicaFact, _crashed: bool) {}

    /// A replica that voted or acknowledged is no longer on its node's disk.
    fn deleted(&mut self, _ledger: &Ledger, _fact: &ReplicaFact) -> Verdict {
        Ok(())
    }

    /// The data of a host is damaged: its promises may be lost from here on.
    fn damaged(&mut self, _host: usize) {}

    /// An entry is committed for the first time.
    fn first(&mut self, _ledger: &Ledger, _first: &First) -> Verdict {
        Ok(())
    }

    /// A node sends a message.
    fn message(&mut self, _ledger: &Ledger, _host: usize, _message: &PeerMessage) -> Verdict {
        Ok(())
    }

    /// A client makes a batch.
    fn sent(&mut self, _sent: &Sent) {}

    /// A node acknowledges a batch.
    fn acknowledged(&mut self, _ledger: &Ledger, _fact: &Acknowledged) -> Verdict {
        Ok(())
    }

    /// A node serves records.
    fn fetched(&mut self, _ledger: &Ledger, _fact: &Fetched<'_>) -> Verdict {
        Ok(())
    }

    /// A node tells the bounds of a log.
    fn bounds(&mut self, _ledger: &Ledger, _fact: &Bounds) -> Verdict {
        Ok(())
    }

    /// A request about consumer groups reaches a node.
    fn group_asked(&mut self, _id: RequestId, _request: &GroupRequest) {}

    /// A node answers it.
    fn group_answered(
        &mut self,
        _id: RequestId,
        _request: &GroupRequest,
        _response: &GroupResponse,
    ) -> Verdict {
        Ok(())
    }

    /// A log was read from its start to its end after everything healed: `read` in order, from `log_start` to `end`.
    fn full_read(&mut self, _ledger: &Ledger, _group: Group, _log_start: i64, _end: i64) -> Verdict {
        Ok(())
    }
}

/// Every checker.
pub(crate) fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(changes::Changes::default()),
        Box::new(created::Created),
        Box::new(deletions::Deletions),
        Box::new(groups::Groups::default()),
        Box::new(hearing::Hearing),
        Box::new(leaders::Leaders::default()),
        Box::new(lives::Lives),
        Box::new(majority::Majority::default()),
        Box::new(membership::MembershipOfLog::default()),
        Box::new(placed::Placed),
        Box::new(producers::Producers::default()),
        Box::new(promises::Promises::default()),
        Box::new(reads::Reads),
        Box::new(silence::Silence::default()),
        Box::new(watermarks::Watermarks::default()),
    ]
}

/// Builds a violation.
pub(crate) fn violated(check: &'static str, what: String) -> Verdict {
    Err(Violation { check, what })
}

#[cfg(test)]
pub(crate) mod doctored {
    //! Facts for tests of the checkers.

    use mesh::raft::{Incarnation, ReplicaEpoch};
    use node::core::metadata::{Founder, Founding, PartitionKey};
    use node::core::request::{ProducerStamp, TopicId};

    use super::*;

    pub(crate) fn id(node: i32) -> ReplicaId {
        ReplicaId { node: NodeId(node), incarnation: Incarnation(9), epoch: ReplicaEpoch(1) }
    }

    pub(crate) fn founding() -> Founding {
        let founder = |node| Founder {
            node: NodeId(node),
            incarnation: Incarnation(9),
            peer_id: Vec::new(),
            mesh: String::new(),
            zone: String::new(),
        };
        Founding { cluster_id: "doctored".into(), founders: [1, 2, 3].map(founder).into() }
    }

    pub(crate) fn ledger() -> (Ledger, Group) {
        let mut ledger = Ledger::new(&founding());
        let group = ledger.group(PartitionKey { topic: TopicId([7; 16]), partition: 0 });
        (ledger, group)
    }

    /// A replica whose entries are all of one term and all synced.
    pub(crate) fn fact(
        group: Group,
        node: i32,
        term: u32,
        leads: bool,
        commit: u64,
        last: u64,
    ) -> ReplicaFact {
        ReplicaFact {
            host: usize::try_from(node).unwrap(),
            group,
            id: id(node),
            standing: Standing::Member,
            term: Term(term),
            leads,
            quiet: false,
            commit: Index(commit),
            last: Index(last),
            start: LogStart::default(),
            synced: Index(last),
            terms: Arc::from([(Term(term), Index(1))]),
            membership: Arc::new(Membership::of([id(1), id(2), id(3)])),
            unwatched: None,
            before: None,
        }
    }

    pub(crate) fn stamp(sequence: i32) -> Option<ProducerStamp> {
        Some(ProducerStamp { id: 5, epoch: 0, base_sequence: sequence })
    }

    pub(crate) fn batch(record: u64, sequence: i32, count: u32) -> bytes::Bytes {
        crate::batch::build(BatchId { client: 1, record }, stamp(sequence), count, 20, 0).bytes
    }

    /// A committed records entry.
    pub(crate) fn records(index: u64, term: u32, base_offset: i64, payload: &bytes::Bytes) -> storage::Entry {
        let record_count = crate::batch::read(payload).unwrap().count;
        storage::Entry {
            term,
            index,
            base_offset,
            record_count,
            kind: mesh::raft::EntryKind::Records.to_u8(),
            timestamp_ms: 0,
            payload: payload.clone(),
        }
    }
}
