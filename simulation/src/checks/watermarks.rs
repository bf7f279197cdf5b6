//! High watermark and log start never go back as clients see them.
//!
//! Real time says too little here: a leader that does not know yet that it was replaced may answer late. So answers are
//! ordered by (term, time within the term): nothing a later term says lies below what an earlier one said, whoever was asked
//! first. That is stronger than what one client could see.

use std::collections::BTreeMap;

use mesh::raft::Term;

use super::{Bounds, Check, Group, Ledger, Verdict, violated};

const HIGH: &str = "the high watermark never goes back";
const RANGE: &str = "what clients were told exists is in range";
const START: &str = "the log start never goes back";

/// First and latest value told in a term.
type Told = BTreeMap<Term, (i64, i64)>;

/// What clients were told.
#[derive(Default)]
pub(super) struct Watermarks {
    high: BTreeMap<Group, Told>,
    start: BTreeMap<Group, Told>,
}

/// Takes a value told in `term`; `Err` is the (term, value) that it contradicts.
fn tell(told: &mut Told, term: Term, value: i64) -> Result<(), (Term, i64)> {
    if let Some((later, (first, _))) =
        told.range(term.next().unwrap_or(term)..).find(|(later, _)| **later > term)
        && *first < value
    {
        return Err((*later, *first));
    }
    if let Some((earlier, (_, latest))) = told.range(..=term).next_back()
        && *latest > value
    {
        return Err((*earlier, *latest));
    }
    told.entry(term).or_insert((value, value)).1 = value;
    Ok(())
}

impl Check for Watermarks {
    fn bounds(&mut self, ledger: &Ledger, fact: &Bounds) -> Verdict {
        let name = || ledger.name(fact.group);
        let both = [(HIGH, fact.high_watermark, &mut self.high), (START, fact.log_start, &mut self.start)];
        for (check, value, table) in both {
            let Some(value) = value else { continue };
            if let Err((term, other)) = tell(table.entry(fact.group).or_default(), fact.term, value) {
                let (host, at) = (fact.host + 1, fact.term.0);
                let what = format!(
                    "{}: node {host} in term {at} says {value}, term {} said {other}",
                    name(),
                    term.0
                );
                return violated(check, what);
            }
        }
        if let Some(offset) = fact.refused
            && let Some((term, (_, told))) =
                self.high.get(&fact.group).and_then(|told| told.range(..=fact.term).next_back())
            && offset <= *told
        {
            let what =
                format!("{}: {fact:?} refuses an offset below what term {} told: {told}", name(), term.0);
            return violated(RANGE, what);
        }
        if fact.high_watermark.is_some_and(|high| high > ledger.end_offset(fact.group)) {
            let end = ledger.end_offset(fact.group);
            return violated(HIGH, format!("{}: {fact:?} is beyond the committed end {end}", name()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::ledger;
    use super::*;

    #[test]
    fn a_refusal_of_what_was_told_is_found() {
        let (ledger, group) = ledger();
        let mut check = Watermarks::default();
        let mut say = |term, high_watermark, refused| {
            let log_start = Some(0);
            check.bounds(
                &ledger,
                &Bounds { host: 1, group, term: Term(term), high_watermark, log_start, refused },
            )
        };
        assert_eq!(say(2, Some(1), None).unwrap_err().check, HIGH, "nothing is committed");
        assert!(say(2, None, Some(2)).is_ok());
        assert!(say(1, None, Some(1)).is_ok(), "an older leader may know less");
        assert_eq!(say(3, None, Some(1)).unwrap_err().check, RANGE);
    }

    #[test]
    fn order_is_by_term_then_time() {
        let mut told = Told::new();
        assert!(tell(&mut told, Term(1), 5).is_ok());
        assert!(tell(&mut told, Term(3), 9).is_ok());
        assert!(tell(&mut told, Term(1), 7).is_ok(), "a stale leader may answer late");
        assert_eq!(tell(&mut told, Term(1), 6), Err((Term(1), 7)));
        assert_eq!(tell(&mut told, Term(1), 10), Err((Term(3), 9)));
        assert_eq!(tell(&mut told, Term(3), 8), Err((Term(3), 9)));
        assert_eq!(tell(&mut told, Term(2), 6), Err((Term(1), 7)));
        assert!(tell(&mut told, Term(2), 8).is_ok());
    }
}
