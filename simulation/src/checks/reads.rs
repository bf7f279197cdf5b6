//! A fetch returns committed records only, the same for everybody for ever, and leaves none out.

use super::{Check, Fetched, Group, Ledger, Verdict, violated};
use crate::batch;

const NAME: &str = "reads show what was committed";

/// Compares every served batch with the ledger: dirty reads, inconsistent offsets and skipped records all show there.
pub(super) struct Reads;

impl Check for Reads {
    fn fetched(&mut self, ledger: &Ledger, fact: &Fetched<'_>) -> Verdict {
        let mut next = fact.offset;
        for served in fact.batches {
            let place = ledger.at_offset(fact.group, next);
            let as_told = place.filter(|(_, entry)| {
                entry.base_offset == served.base_offset
                    && entry.is_records()
                    && entry.digest == batch::digest(&served.bytes)
                    && entry.term.leader_epoch() == Ok(served.leader_epoch)
            });
            let Some((_, entry)) = as_told else {
                return violated(
                    NAME,
                    format!(
                        "{}: node {} serves at offset {next} a batch with base {}, epoch {}, {:?}; committed there: {place:?}",
                        ledger.name(fact.group),
                        fact.host + 1,
                        served.base_offset,
                        served.leader_epoch,
                        batch::read(&served.bytes)
                    ),
                );
            };
            next = entry.end_offset();
        }
        Ok(())
    }

    fn full_read(&mut self, ledger: &Ledger, group: Group, log_start: i64, end: i64) -> Verdict {
        // Coordinators go on while the log is read.
        let whole = end == ledger.end_offset(group) || ledger.is_internal(group);
        if whole && log_start <= end && end <= ledger.end_offset(group) {
            return Ok(());
        }
        let (name, committed) = (ledger.name(group), ledger.end_offset(group));
        violated(
            NAME,
            format!(
                "{name}: a full read gives {log_start}..{end}, committed is everything below {committed}"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use node::core::request::StoredBatch;

    use super::super::doctored::{batch, fact, ledger, records};
    use super::*;

    fn served(base_offset: i64, bytes: bytes::Bytes) -> StoredBatch {
        StoredBatch { base_offset, leader_epoch: 1, bytes }
    }

    #[test]
    fn only_the_committed_log_may_be_served() {
        let (mut ledger, group) = ledger();
        let leader = fact(group, 1, 1, true, 2, 2);
        for (index, base) in [(1, 0_i64), (2, 3)] {
            let payload = batch(base.cast_unsigned(), i32::try_from(base).unwrap(), 3);
            ledger.show(&leader, &records(index, 1, base, &payload)).unwrap();
        }
        let (first, second) = (served(0, batch(0, 0, 3)), served(3, batch(3, 3, 3)));
        let check = |offset, batches: &[StoredBatch]| {
            Reads.fetched(&ledger, &Fetched { host: 1, group, offset, batches }).is_ok()
        };
        assert!(check(1, &[first.clone(), second.clone()]));
        assert!(check(6, &[]));
        assert!(!check(0, std::slice::from_ref(&second)), "a skipped batch");
        assert!(!check(0, &[served(0, batch(1, 0, 3))]), "other records");
        assert!(!check(6, &[served(6, batch(6, 6, 1))]), "an uncommitted batch");
        assert!(Reads.full_read(&ledger, group, 0, 6).is_ok());
        assert!(Reads.full_read(&ledger, group, 0, 5).is_err());
    }
}
