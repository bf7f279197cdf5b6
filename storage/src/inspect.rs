//! Offline look at a data directory: what is in each segment and what is wrong with it. Changes nothing.

use std::io;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile};
use crate::format::footer::{TRAILER_LEN, Trailer, digest};
use crate::format::frame::{Home, kind};
use crate::format::segment::{self, HeaderError, SegmentHeader};
use crate::store::scan::Scan;
use crate::store::survey;
use crate::types::{LogId, LogStart, OpenError, TermStart};

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

/// What one log holds, as recovery would find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    /// Which log.
    pub log: LogId,
    /// Replica epoch.
    pub epoch: u32,
    /// Opaque meta of create or reset.
    pub meta: Bytes,
    /// Whether it is marked suspect.
    pub suspect: bool,
    /// Log start.
    pub start: LogStart,
    /// Last index, inclusive.
    pub last_index: u64,
    /// Offset of the next record.
    pub next_offset: i64,
    /// Where each term begins: term, first index, first offset.
    pub terms: Vec<TermStart>,
    /// Index that the checkpoint covers.
    pub checkpoint: Option<u64>,
    /// Where its live entries lie, in order of index.
    pub ranges: Vec<RangeReport>,
    /// First index and offset that should be there and are not.
    pub missing_from: Option<(u64, i64)>,
}

/// Live entries of one log that lie in one segment, next to each other by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeReport {
    /// Segment id.
    pub segment: u64,
    /// First index.
    pub first_index: u64,
    /// Last index, inclusive.
    pub last_index: u64,
    /// Offset of the first record.
    pub first_offset: i64,
    /// Offset after the last record.
    pub next_offset: i64,
    /// Bytes of the frames.
    pub bytes: u64,
}

/// What the whole directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// All logs.
    pub logs: Vec<LogReport>,
    /// What must not be, beyond what single segments show.
    pub problems: Vec<String>,
}

/// Finds out what recovery would find, and what it would miss. Reads every frame; changes nothing.
///
/// # Errors
/// What [`Store::open`](crate::Store::open) would refuse, and errors of the disk; damage is reported, not returned as an error.
pub fn survey<D: Disk>(disk: &D) -> Result<Survey, OpenError> {
    survey::survey(disk)
}

/// Walks all segments, oldest first, checking every frame.
///
/// # Errors
/// When the disk fails; damage is reported, not returned as an error.
pub fn inspect<D: Disk>(disk: &D) -> io::Result<Vec<SegmentReport>> {
    inspect_telling(disk, |_, _| ())
}

/// As [`inspect`]; `tell` hears, before each segment, how many are done and how many there are.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_telling<D: Disk>(
    disk: &D,
    mut tell: impl FnMut(usize, usize),
) -> io::Result<Vec<SegmentReport>> {
    let mut names: Vec<(u64, String)> =
        disk.list()?.into_iter().filter_map(|name| Some((segment::id_of(&name)?, name))).collect();
    names.sort_unstable();
    let all = names.len();
    let one = |(done, (id, name))| {
        tell(done, all);
        inspect_segment(disk, id, name)
    };
    names.into_iter().enumerate().map(one).collect()
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
