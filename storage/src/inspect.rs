//! Offline look at a data directory: what is in each segment and what is wrong with it. Changes nothing.

use std::io;

use crate::disk::{Disk, DiskFile};
use crate::format::footer::{TRAILER_LEN, Trailer, digest};
use crate::format::frame::{Home, kind};
use crate::format::segment::{self, HeaderError, SegmentHeader};
use crate::store::scan::Scan;

/// What one segment file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentReport {
    /// File name.
    pub file: String,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Boot that wrote it.
    pub boot: u32,
    /// Lowest and highest round.
    pub rounds: (u64, u64),
    /// Lowest and highest write sequence of its entries.
    pub sequences: (u64, u64),
    /// Whole frames.
    pub frames: u64,
    /// Of these, entries.
    pub entries: u64,
    /// Payload bytes of the entries.
    pub payload_bytes: u64,
    /// Whether the snapshot at its head is whole.
    pub snapshot: bool,
    /// Whether it ends with a whole footer.
    pub footer: bool,
    /// What a torn last write looks like: expected after a crash, cut by recovery.
    pub torn_bytes: u64,
    /// What must not be.
    pub problems: Vec<String>,
}

/// Walks all segments, oldest first, checking every frame.
///
/// # Errors
/// When the disk fails; damage is reported, not returned as an error.
pub fn inspect<D: Disk>(disk: &D) -> io::Result<Vec<SegmentReport>> {
    let mut names: Vec<(u64, String)> =
        disk.list()?.into_iter().filter_map(|name| Some((segment::id_of(&name)?, name))).collect();
    names.sort_unstable();
    names.into_iter().map(|(id, name)| inspect_segment(disk, id, name)).collect()
}

fn inspect_segment<D: Disk>(disk: &D, id: u64, name: String) -> io::Result<SegmentReport> {
    let file = disk.open(&name)?;
    let len = file.len()?;
    let bytes = file.read_at(0, usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?)?;
    let mut report = SegmentReport { file: name, file_bytes: len, ..SegmentReport::default() };
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) => header,
        Err(HeaderError::Bad) => {
            report.problems.push("the segment header is damaged or was never written".to_owned());
            return Ok(report);
        }
        Err(HeaderError::Newer(version)) => {
            report.problems.push(format!("format version {version} is newer than this release"));
            return Ok(report);
        }
    };
    report.boot = header.boot;
    if header.id != id {
        report.problems.push(format!("the header says segment {:016x}", header.id));
    }
    let mut scan = Scan::new(&bytes, Home { segment: id, salt: header.salt });
    if let Some(position) = scan.rot() {
        report.problems.push(format!("rot: no frame at position {position}, and later rounds follow"));
    }
    report.snapshot = scan.head().is_some();
    report.torn_bytes = scan.cut_tail();
    summarize(&mut report, &scan);
    let trailer = bytes.len().checked_sub(TRAILER_LEN).and_then(|at| Trailer::decode(&bytes[at..]));
    if let Some(trailer) = trailer {
        let runs =
            usize::try_from(trailer.position).ok().and_then(|at| bytes.get(at..bytes.len() - TRAILER_LEN));
        report.footer =
            runs.is_some_and(|runs| digest(std::iter::once(&bytes.slice_ref(runs))) == trailer.digest);
        if !report.footer {
            report.problems.push("the footer does not match its digest".to_owned());
        }
    }
    Ok(report)
}

fn summarize(report: &mut SegmentReport, scan: &Scan) {
    let range = |old: (u64, u64), value: u64| match old {
        (0, 0) => (value, value),
        (low, high) => (low.min(value), high.max(value)),
    };
    for found in &scan.frames {
        let header = &found.frame.header;
        report.frames += 1;
        report.rounds = range(report.rounds, header.round);
        if header.kind == kind::ENTRY {
            report.entries += 1;
            report.payload_bytes += u64::from(header.body_len);
            report.sequences = range(report.sequences, header.sequence);
        }
    }
}
