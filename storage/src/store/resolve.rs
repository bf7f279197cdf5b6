//! Which stored entries live: write sequence decides, not where or when a frame was stored.

use std::collections::BTreeMap;

use super::log::{Place, Run};
use crate::format::control::Control;
use crate::format::footer::PackedRun;

/// A stored run of one log.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) segment: u64,
    pub(crate) place: Place,
    pub(crate) packed: PackedRun,
}

/// Live runs in index order.
pub(crate) struct Resolved {
    pub(crate) runs: Vec<Run>,
    /// First index that should be there and is not, with the offset that it should have.
    pub(crate) hole: Option<(u64, i64)>,
}

/// Finds the live entries of a log: above its start, up to its last, not cut, and not older than one at a lower or equal index.
pub(crate) fn resolve(control: &Control, mut candidates: Vec<Candidate>) -> Resolved {
    let (start, last) = (control.start.index, control.last_index);
    candidates.retain(|candidate| {
        let packed = &candidate.packed;
        packed.first_index() <= last && packed.first_index() + u64::from(packed.count()) > start + 1
    });
    candidates.sort_by_key(|candidate| (candidate.packed.first_sequence(), candidate.segment));
    let runs = chain(control, &candidates).unwrap_or_else(|| replay(control, &candidates));
    let mut expected = after_gap(control, (start + 1, control.start.next_offset));
    let mut dense = Vec::with_capacity(runs.len());
    for run in runs {
        if (run.first_index, run.first_offset) != expected {
            break;
        }
        expected = after_gap(control, (run.end_index(), run.next_offset));
        dense.push(run);
    }
    let hole = (expected != (last + 1, control.next_offset)).then_some(expected);
    Resolved { runs: dense, hole }
}

/// What follows an entry is at this index and offset, or where the gap there ends.
fn after_gap(control: &Control, at: (u64, i64)) -> (u64, i64) {
    control.gap_at(at.0).map_or(at, |gap| (gap.end, gap.next_offset))
}

/// The common case: runs follow each other and nothing is dead. `None` if that is not so.
fn chain(control: &Control, candidates: &[Candidate]) -> Option<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::with_capacity(candidates.len());
    let beyond = |index| after_gap(control, (index, 0)).0;
    let mut expected = beyond(control.start.index + 1);
    let mut sequence = 0;
    for Candidate { segment, place, packed } in candidates {
        let end = packed.first_index() + u64::from(packed.count());
        let first = if runs.is_empty() { packed.first_index().max(expected) } else { packed.first_index() };
        let fits = first == expected
            && end <= control.last_index + 1
            && packed.first_sequence() > sequence
            && !control.kills(end - 1, packed.first_sequence())
            && !control.has_gap(first, end);
        if !fits {
            return None;
        }
        runs.push(Run::slice(packed, *segment, *place, first, u32::try_from(end - first).ok()?)?);
        sequence = packed.last_sequence();
        expected = beyond(end);
    }
    Some(runs)
}

/// One stored entry: which candidate, and its ordinal there.
#[derive(Clone, Copy)]
struct Stored {
    candidate: usize,
    ordinal: u32,
}

/// The general case: entries in order of write sequence, each one replacing what is at and above its index.
fn replay(control: &Control, candidates: &[Candidate]) -> Vec<Run> {
    // Of equal write sequences the one in the newest segment wins: the older may be about to go.
    let mut by_sequence: BTreeMap<u64, (u64, Stored)> = BTreeMap::new();
    for (number, candidate) in candidates.iter().enumerate() {
        for ordinal in 0..candidate.packed.count() {
            let Some(slot) = candidate.packed.slot(ordinal) else { continue };
            let index = candidate.packed.first_index() + u64::from(ordinal);
            let wanted = index > control.start.index && index <= control.last_index;
            if !wanted || control.kills(index, slot.sequence) || control.gap_at(index).is_some() {
                continue;
            }
            let stored = Stored { candidate: number, ordinal };
            let newer = by_sequence
                .get(&slot.sequence)
                .is_none_or(|(_, old)| candidates[old.candidate].segment < candidate.segment);
            if newer {
                by_sequence.insert(slot.sequence, (index, stored));
            }
        }
    }
    let mut live: Vec<(u64, Stored)> = Vec::new();
    for (index, stored) in by_sequence.into_values() {
        while live.last().is_some_and(|(above, _)| *above >= index) {
            live.pop();
        }
        live.push((index, stored));
    }
    group(candidates, &live)
}

fn group(candidates: &[Candidate], live: &[(u64, Stored)]) -> Vec<Run> {
    let follows = |a: &(u64, Stored), b: &(u64, Stored)| {
        a.1.candidate == b.1.candidate && a.1.ordinal + 1 == b.1.ordinal && a.0 + 1 == b.0
    };
    live.chunk_by(follows)
        .filter_map(|chunk| {
            let (index, stored) = chunk.first()?;
            let candidate = &candidates[stored.candidate];
            let count = u32::try_from(chunk.len()).ok()?;
            Run::slice(&candidate.packed, candidate.segment, candidate.place, *index, count)
        })
        .collect()
}
