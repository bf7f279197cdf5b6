//! What was ever committed, per replica set: the truth that everything else is compared with.
//!
//! Invariants: a committed entry never changes, whoever shows it; indexes and offsets are dense; terms never fall.

use std::collections::BTreeMap;

use mesh::raft::{EntryKind, Index, Term};
use node::core::groups::is_internal;
use node::core::metadata::{Founding, PartitionKey};

use super::descriptors::Descriptors;
use super::{First, ReplicaFact, Violation};
use crate::batch::{self, BatchId};

const NAME: &str = "committed entries never change";
const DENSE: &str = "offsets are dense";

/// A replica set, by the order in which the run met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group(pub(crate) u32);

impl Group {
    /// Its place in a table.
    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

/// One committed entry without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) term: Term,
    pub(crate) kind: u8,
    pub(crate) base_offset: i64,
    pub(crate) count: u32,
    /// Of the payload; for record batches without what a broker may patch.
    pub(crate) digest: u32,
}

impl Committed {
    fn of(entry: &storage::Entry) -> Self {
        let records = entry.kind == EntryKind::Records.to_u8();
        let digest = if records { batch::digest(&entry.payload) } else { crc32c::crc32c(&entry.payload) };
        Self {
            term: Term(entry.term),
            kind: entry.kind,
            base_offset: entry.base_offset,
            count: entry.record_count,
            digest,
        }
    }

    /// The offset after its last record.
    pub(crate) fn end_offset(&self) -> i64 {
        self.base_offset + i64::from(self.count)
    }

    /// Whether it holds records.
    pub(crate) fn is_records(&self) -> bool {
        self.kind == EntryKind::Records.to_u8()
    }
}

/// Where a batch was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) group: Group,
    pub(crate) index: Index,
    pub(crate) base_offset: i64,
}

struct Log {
    key: PartitionKey,
    entries: Vec<Committed>,
    /// (term of the leader that showed it, highest index shown in it), terms rising.
    by_term: Vec<(Term, Index)>,
}

/// The committed logs of a run.
pub(crate) struct Ledger {
    groups: BTreeMap<PartitionKey, Group>,
    logs: Vec<Log>,
    places: BTreeMap<BatchId, Vec<Place>>,
    /// What the committed entries of the shards say.
    pub(crate) descriptors: Descriptors,
}

impl Ledger {
    /// An empty ledger of a mesh that was founded so.
    pub(crate) fn new(founding: &Founding) -> Self {
        let descriptors = Descriptors::new(founding);
        Self { groups: BTreeMap::new(), logs: Vec::new(), places: BTreeMap::new(), descriptors }
    }

    /// The group of a key, met or new.
    pub(crate) fn group(&mut self, key: PartitionKey) -> Group {
        let next = Group(u32::try_from(self.logs.len()).expect("a run has few groups"));
        let group = *self.groups.entry(key).or_insert(next);
        if group == next {
            self.logs.push(Log { key, entries: Vec::new(), by_term: Vec::new() });
        }
        group
    }

    /// The group of a key that was met.
    pub(crate) fn find(&self, key: PartitionKey) -> Option<Group> {
        self.groups.get(&key).copied()
    }

    /// The key of a group.
    pub(crate) fn key(&self, group: Group) -> PartitionKey {
        self.logs[group.at()].key
    }

    /// Whether a group is a partition that the nodes themselves write to.
    pub(crate) fn is_internal(&self, group: Group) -> bool {
        self.descriptors.topic_name(self.key(group).topic).is_some_and(is_internal)
    }

    /// All groups met so far.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (PartitionKey, Group)> + '_ {
        self.groups.iter().map(|(key, group)| (*key, *group))
    }

    /// The name of a group for people.
    pub(crate) fn name(&self, group: Group) -> String {
        let key = self.key(group);
        match key.as_shard() {
            Some(shard) => format!("shard {}", shard.0),
            None => format!("topic {:02x}{:02x} partition {}", key.topic.0[0], key.topic.0[1], key.partition),
        }
    }

    /// The highest committed index.
    pub(crate) fn committed(&self, group: Group) -> Index {
        Index(self.logs[group.at()].entries.len() as u64)
    }

    /// The entry at `index`, if committed.
    pub(crate) fn entry(&self, group: Group, index: Index) -> Option<&Committed> {
        let at = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.logs[group.at()].entries.get(at)
    }

    /// The offset after the last committed record.
    pub(crate) fn end_offset(&self, group: Group) -> i64 {
        self.logs[group.at()].entries.last().map_or(0, Committed::end_offset)
    }

    /// The committed entry that holds `offset`.
    pub(crate) fn at_offset(&self, group: Group, offset: i64) -> Option<(Index, &Committed)> {
        let entries = &self.logs[group.at()].entries;
        let at = entries.partition_point(|entry| entry.end_offset() <= offset);
        let entry = entries.get(at)?;
        (entry.base_offset <= offset).then_some((Index(at as u64 + 1), entry))
    }

    /// The highest index that was committed by leaders of terms before `term`.
    pub(crate) fn committed_before(&self, group: Group, term: Term) -> Index {
        let by_term = &self.logs[group.at()].by_term;
        by_term
            .iter()
            .rev()
            .find(|(committed_in, _)| *committed_in < term)
            .map_or(Index(0), |(_, index)| *index)
    }

    /// Where a batch was committed. A batch that is sent again by its topic's name finds another topic when that was deleted
    /// and made again, so there may be one place per topic.
    pub(crate) fn places(&self, batch: BatchId) -> &[Place] {
        self.places.get(&batch).map_or(&[], Vec::as_slice)
    }

    /// Notes who shows how much as committed.
    pub(crate) fn shown(&mut self, fact: &ReplicaFact) {
        if !fact.leads {
            return;
        }
        let by_term = &mut self.logs[fact.group.at()].by_term;
        match by_term.binary_search_by_key(&fact.term, |(term, _)| *term) {
            Ok(at) => by_term[at].1 = by_term[at].1.max(fact.commit),
            Err(at) => by_term.insert(at, (fact.term, fact.commit)),
        }
    }

    /// Takes an entry that `fact`'s replica holds as committed; `Some` when nobody showed it before.
    pub(crate) fn show(
        &mut self,
        fact: &ReplicaFact,
        entry: &storage::Entry,
    ) -> Result<Option<First>, Violation> {
        let (group, index) = (fact.group, Index(entry.index));
        let shown = Committed::of(entry);
        if let Some(known) = self.entry(group, index) {
            return if *known == shown { Ok(None) } else { Err(self.changed(fact, index, known, &shown)) };
        }
        self.follows(fact, index, &shown)?;
        let seen = if shown.is_records() && !self.is_internal(group) {
            let broken = |why| Violation {
                check: NAME,
                what: format!(
                    "{}: entry {} of {} holds bytes nobody sent: {why}",
                    self.name(group),
                    index.0,
                    fact.name()
                ),
            };
            Some(batch::read(&entry.payload).map_err(broken)?)
        } else {
            None
        };
        self.logs[group.at()].entries.push(shown);
        if entry.kind == EntryKind::Command.to_u8()
            && let Some(shard) = self.key(group).as_shard()
        {
            self.descriptors.apply(shard, index, &entry.payload)?;
        }
        Ok(Some(First { group, index, entry: shown, seen }))
    }

    /// Files a batch under its place.
    pub(crate) fn file(&mut self, first: &First) {
        let Some(seen) = first.seen else { return };
        let place = Place { group: first.group, index: first.index, base_offset: first.entry.base_offset };
        self.places.entry(seen.id).or_default().push(place);
    }

    fn changed(&self, fact: &ReplicaFact, index: Index, known: &Committed, shown: &Committed) -> Violation {
        Violation {
            check: NAME,
            what: format!(
                "{} entry {}: committed as {known:?}, but {} holds as committed {shown:?}",
                self.name(fact.group),
                index.0,
                fact.name()
            ),
        }
    }

    fn follows(&self, fact: &ReplicaFact, index: Index, shown: &Committed) -> Result<(), Violation> {
        let (last, end) = (self.committed(fact.group), self.end_offset(fact.group));
        let last_term = self.entry(fact.group, last).map_or(Term(0), |entry| entry.term);
        if index == last.next() && shown.base_offset == end && shown.term >= last_term {
            return Ok(());
        }
        Err(Violation {
            check: DENSE,
            what: format!(
                "{}: committed up to entry {} (term {}, next offset {end}), but {} goes on with entry {}: {shown:?}",
                self.name(fact.group),
                last.0,
                last_term.0,
                fact.name(),
                index.0
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::{batch, fact, ledger, records};
    use super::*;

    #[test]
    fn the_same_entry_shown_twice_is_new_once() {
        let (mut ledger, group) = ledger();
        let leader = fact(group, 1, 1, true, 1, 1);
        let entry = records(1, 1, 0, &batch(0, 0, 3));
        assert!(ledger.show(&leader, &entry).unwrap().is_some());
        assert!(ledger.show(&fact(group, 2, 1, false, 1, 1), &entry).unwrap().is_none());
        assert_eq!(ledger.end_offset(group), 3);
        assert_eq!(ledger.at_offset(group, 2).map(|(index, _)| index), Some(Index(1)));
        assert!(ledger.at_offset(group, 3).is_none());
    }

    #[test]
    fn a_changed_entry_is_found() {
        let (mut ledger, group) = ledger();
        let leader = fact(group, 1, 1, true, 1, 1);
        assert!(ledger.show(&leader, &records(1, 1, 0, &batch(0, 0, 3))).is_ok());
        assert_eq!(ledger.show(&leader, &records(1, 1, 0, &batch(9, 0, 3))).unwrap_err().check, NAME);
        assert_eq!(ledger.show(&leader, &records(1, 2, 0, &batch(0, 0, 3))).unwrap_err().check, NAME);
    }

    #[test]
    fn a_gap_in_offsets_or_indexes_is_found() {
        let (mut ledger, group) = ledger();
        let leader = fact(group, 1, 1, true, 1, 1);
        assert!(ledger.show(&leader, &records(1, 1, 0, &batch(0, 0, 3))).is_ok());
        assert_eq!(ledger.show(&leader, &records(2, 1, 4, &batch(3, 3, 1))).unwrap_err().check, DENSE);
        assert_eq!(ledger.show(&leader, &records(3, 1, 3, &batch(3, 3, 1))).unwrap_err().check, DENSE);
    }
}
