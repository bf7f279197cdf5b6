//! What recovery would find, without doing anything about it: from frames alone, not from the index, and footers only compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::log::Place;
use super::recovery::{OnDisk, choose, list, pack, replay_all};
use super::resolve::{Candidate, resolve};
use super::scan::Scan;
use crate::disk::{Disk, DiskFile};
use crate::format::control::{Control, Listed};
use crate::format::footer::{PackedRun, digest};
use crate::format::frame::Home;
use crate::format::segment;
use crate::inspect::{LogReport, RangeReport, Survey};
use crate::types::{LogId, OpenError, Recovered};

type Candidates = BTreeMap<LogId, Vec<Candidate>>;

pub(crate) fn survey<D: Disk>(disk: &D) -> Result<Survey, OpenError> {
    let mut survey = Survey::default();
    let mut report = Recovered::default();
    let (scanned, older) = choose(list(disk)?, 0, &mut report)?;
    if report.suspect {
        survey.problems.push("rot in the newest segments: a start would mark every log suspect".to_owned());
    }
    let replayed = replay_all(&scanned);
    let mut candidates = Candidates::new();
    for segment in &scanned {
        gather(&mut candidates, segment.on_disk.id, pack(segment.scan.frames.iter()));
    }
    let mut there: BTreeSet<u64> = scanned.iter().map(|segment| segment.on_disk.id).collect();
    for on_disk in &older {
        let listed = replayed.manifest.segments.iter().find(|listed| listed.id == on_disk.id);
        if let Some(listed) = listed {
            there.insert(listed.id);
            gather(&mut candidates, listed.id, check_listed(on_disk, *listed, &mut survey.problems)?);
        }
    }
    for (id, control) in replayed.logs {
        survey.logs.push(log_report(id, control, candidates.remove(&id).unwrap_or_default()));
    }
    // Reclaim removes segments that the newest snapshot still names; what they held is nowhere needed.
    if survey.logs.iter().any(|log| log.missing_from.is_some()) {
        for listed in replayed.manifest.segments.iter().filter(|listed| !there.contains(&listed.id)) {
            let name = segment::name(listed.id);
            survey.problems.push(format!("{name} is missing: the newest snapshot names it"));
        }
    }
    Ok(survey)
}

fn gather(candidates: &mut Candidates, segment: u64, runs: Vec<PackedRun>) {
    for packed in runs {
        let candidate = Candidate { segment, place: Place::Pinned(0), packed };
        candidates.entry(candidate.packed.log()).or_default().push(candidate);
    }
}

/// The runs of a segment that the newest snapshot names, as its frames are now.
fn check_listed<F: DiskFile>(
    on_disk: &OnDisk<F>,
    listed: Listed,
    problems: &mut Vec<String>,
) -> io::Result<Vec<PackedRun>> {
    let name = segment::name(listed.id);
    let Some(header) = on_disk.header else {
        problems.push(format!("{name} has no whole header, and the newest snapshot names it"));
        return Ok(Vec::new());
    };
    let wanted = on_disk.len.min(u64::from(listed.end));
    let len = usize::try_from(wanted).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let bytes = on_disk.file.read_at(0, len)?;
    let scan = Scan::new(&bytes, Home { segment: listed.id, salt: header.salt });
    let runs = pack(scan.frames.iter());
    // What an earlier start found was told then, and is not in the digest any more.
    let known = digest(runs.iter().map(PackedRun::bytes)) == listed.digest;
    // A footer cuts its runs around what reclaim copied and leaves out logs that were deleted by then, which frames do not
    // tell: the digest alone says nothing, here as in recovery.
    if !known && (!scan.bad.is_empty() || scan.end() != listed.end) {
        let places: Vec<String> = scan.bad.iter().map(u32::to_string).collect();
        let places = if places.is_empty() { "its end".to_owned() } else { places.join(", ") };
        problems.push(format!(
            "{name} does not hold what the newest snapshot says: frames are damaged or gone at position {places}"
        ));
    }
    Ok(runs)
}

fn log_report(log: LogId, control: Control, candidates: Vec<Candidate>) -> LogReport {
    let resolved = resolve(&control, candidates);
    let mut ranges: Vec<RangeReport> = Vec::new();
    for run in resolved.runs {
        let last_index = run.end_index() - 1;
        match ranges.last_mut() {
            Some(range) if range.segment == run.segment => {
                range.last_index = last_index;
                range.next_offset = run.next_offset;
                range.bytes += run.bytes;
            }
            _ => ranges.push(RangeReport {
                segment: run.segment,
                first_index: run.first_index,
                last_index,
                first_offset: run.first_offset,
                next_offset: run.next_offset,
                bytes: run.bytes,
            }),
        }
    }
    LogReport {
        log,
        epoch: control.epoch,
        meta: control.meta,
        suspect: control.suspect,
        start: control.start,
        last_index: control.last_index,
        next_offset: control.next_offset,
        terms: control.term_starts,
        checkpoint: control.checkpoint.map(|(index, _)| index),
        ranges,
        missing_from: resolved.hole,
    }
}
