//! Histories of idempotent producers: no loss, no duplicate, no reordering, and nothing that nobody sent.
//!
//! An outcome that the client does not know is never taken as absent: such a batch may be committed now, later or never,
//! but once at most.

use std::collections::BTreeMap;

use node::core::request::Acks;

use super::ledger::Place;
use super::{Acknowledged, Check, First, Group, Ledger, Sent, Verdict, violated};
use crate::batch::BatchId;

const ONCE: &str = "each batch is committed once";
const ORDER: &str = "sequences are committed in order";
const SENT: &str = "only what was sent is committed";
const KEPT: &str = "acknowledged batches are committed";

/// The newest batch of a producer in a partition.
#[derive(Clone, Copy, Debug)]
struct Newest {
    epoch: i16,
    last_sequence: i32,
    record: u64,
}

/// What was sent, and what each log holds of each producer.
#[derive(Default)]
pub(super) struct Producers {
    sent: BTreeMap<BatchId, Sent>,
    newest: BTreeMap<(Group, i64), Newest>,
}

impl Check for Producers {
    fn sent(&mut self, sent: &Sent) {
        self.sent.insert(sent.seen.id, sent.clone());
    }

    fn first(&mut self, ledger: &Ledger, first: &First) -> Verdict {
        let Some(seen) = first.seen else { return Ok(()) };
        let (name, base) = (ledger.name(first.group), first.entry.base_offset);
        let key = ledger.key(first.group);
        let topic = ledger.descriptors.topic_name(key.topic);
        let as_sent = |sent: &&Sent| {
            sent.seen == seen
                && sent.partition == key.partition
                && topic.is_none_or(|name| name == sent.topic)
        };
        let Some(sent) = self.sent.get(&seen.id).filter(as_sent) else {
            let sent = self.sent.get(&seen.id);
            return violated(SENT, format!("{name}: offset {base} holds {seen:?}; its client sent {sent:?}"));
        };
        if first.entry.count != sent.seen.count {
            return violated(SENT, format!("{name}: {seen:?} takes {} offsets", first.entry.count));
        }
        if let Some(other) = ledger.places(seen.id).iter().find(|place| place.group == first.group) {
            return violated(
                ONCE,
                format!("{name}: {seen:?} at offset {base}, and at {}", other.base_offset),
            );
        }
        let Some(stamp) = seen.stamp else { return Ok(()) };
        let last_sequence = advance(stamp.base_sequence, seen.count - 1);
        let newest = Newest { epoch: stamp.epoch, last_sequence, record: seen.id.record };
        let before = self.newest.insert((first.group, stamp.id), newest);
        let in_order = match before {
            Some(before) if before.epoch == stamp.epoch => {
                stamp.base_sequence == advance(before.last_sequence, 1) && seen.id.record > before.record
            }
            Some(before) => stamp.epoch > before.epoch && stamp.base_sequence == 0,
            None => stamp.base_sequence == 0,
        };
        if in_order {
            return Ok(());
        }
        violated(ORDER, format!("{name}: {seen:?} at offset {base} comes after {before:?}"))
    }

    fn acknowledged(&mut self, ledger: &Ledger, fact: &Acknowledged) -> Verdict {
        // acks=1 promises a sync on the leader only, so the batch may yet be lost. It may not turn up elsewhere, but under a later leader,
        // to which it was sent again, or in a deleted topic of the same name, to which it was sent before.
        let places = ledger.places(fact.batch);
        let exists = |group| ledger.descriptors.of(ledger.key(group)).is_some();
        let told = places.iter().any(|place| place.base_offset == fact.base_offset);
        let later = |place: &Place| {
            ledger.entry(place.group, place.index).is_some_and(|entry| entry.term > fact.term)
        };
        let gone = |place: &Place| !exists(place.group) || later(place);
        let may_be_lost = fact.acks == Acks::Leader && places.iter().all(gone);
        if told || may_be_lost {
            return Ok(());
        }
        violated(
            KEPT,
            format!(
                "node {} acknowledges {:?} ({:?}) at offset {}; committed at {places:?}",
                fact.host + 1,
                fact.batch,
                fact.acks,
                fact.base_offset
            ),
        )
    }
}

fn advance(sequence: i32, by: u32) -> i32 {
    let sum = (i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX);
    i32::try_from(sum).expect("masked to 31 bits")
}

#[cfg(test)]
mod tests {
    use mesh::raft::Term;
    use node::core::metadata::{PartitionKey, ShardId};

    use super::super::doctored::{batch, fact, ledger, records};
    use super::*;

    struct History {
        ledger: Ledger,
        group: Group,
        check: Producers,
        index: u64,
    }

    impl History {
        fn new() -> Self {
            let (ledger, group) = ledger();
            Self { ledger, group, check: Producers::default(), index: 0 }
        }

        fn send(&mut self, record: u64, sequence: i32) {
            let seen = crate::batch::read(&batch(record, sequence, 2)).unwrap();
            self.check.sent(&Sent { seen, topic: String::new(), partition: 0 });
        }

        fn commit(&mut self, record: u64, sequence: i32) -> Verdict {
            self.index += 1;
            let leader = fact(self.group, 1, 1, true, self.index, self.index);
            let base = self.ledger.end_offset(self.group);
            let entry = records(self.index, 1, base, &batch(record, sequence, 2));
            let first = self.ledger.show(&leader, &entry).unwrap().unwrap();
            let verdict = self.check.first(&self.ledger, &first);
            self.ledger.file(&first);
            verdict
        }

        fn acknowledge(&mut self, record: u64, acks: Acks, base_offset: i64) -> Verdict {
            self.acknowledge_in(1, record, acks, base_offset)
        }

        fn acknowledge_in(&mut self, term: u32, record: u64, acks: Acks, base_offset: i64) -> Verdict {
            let (term, batch) = (Term(term), BatchId { client: 1, record });
            self.check.acknowledged(&self.ledger, &Acknowledged { host: 1, term, batch, acks, base_offset })
        }
    }

    #[test]
    fn a_clean_history_passes() {
        let mut history = History::new();
        for n in 0..3 {
            history.send(n * 2, i32::try_from(n * 2).unwrap());
            history.commit(n * 2, i32::try_from(n * 2).unwrap()).unwrap();
            history.acknowledge(n * 2, Acks::All, i64::try_from(n * 2).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_duplicate_is_found() {
        let mut history = History::new();
        history.send(0, 0);
        history.commit(0, 0).unwrap();
        assert_eq!(history.commit(0, 0).unwrap_err().check, ONCE);
    }

    #[test]
    fn a_lost_or_swapped_batch_is_found() {
        let mut history = History::new();
        for n in 0..3 {
            history.send(n * 2, i32::try_from(n * 2).unwrap());
        }
        history.commit(0, 0).unwrap();
        assert_eq!(history.commit(4, 4).unwrap_err().check, ORDER);
    }

    #[test]
    fn a_batch_that_nobody_sent_is_found() {
        let mut history = History::new();
        assert_eq!(history.commit(0, 0).unwrap_err().check, SENT);
    }

    #[test]
    fn one_leader_may_acknowledge_late_what_the_next_has_elsewhere() {
        let mut history = History::new();
        // A partition that certainly exists, though nobody sends there.
        history.group = history.ledger.group(PartitionKey::of_shard(ShardId(3)));
        history.send(0, 0);
        assert_eq!(history.commit(0, 0).unwrap_err().check, SENT);
        assert_eq!(history.acknowledge_in(1, 0, Acks::Leader, 5).unwrap_err().check, KEPT);
        assert!(history.acknowledge_in(0, 0, Acks::Leader, 5).is_ok(), "committed in term 1");
        assert_eq!(history.acknowledge_in(0, 0, Acks::All, 5).unwrap_err().check, KEPT);
    }

    #[test]
    fn an_acknowledgement_of_what_is_not_committed_is_found() {
        let mut history = History::new();
        history.send(0, 0);
        assert_eq!(history.acknowledge(0, Acks::All, 0).unwrap_err().check, KEPT);
        assert!(history.acknowledge(0, Acks::Leader, 0).is_ok());
        history.commit(0, 0).unwrap();
        assert!(history.acknowledge(0, Acks::All, 0).is_ok());
        assert_eq!(history.acknowledge(0, Acks::All, 2).unwrap_err().check, KEPT);
    }
}
