//! Scanning a segment frame by frame, telling a torn tail from rot.

use bytes::Bytes;

use crate::format::footer::{TRAILER_LEN, Trailer};
use crate::format::frame::{FRAME_LEN, FRAME_MAGIC, Frame, FrameHeader, Home, decode_frame, kind};
use crate::format::segment::HEADER_LEN;

/// A whole frame and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) position: u32,
    pub(crate) frame: Frame,
}

impl Found {
    fn end(&self) -> u32 {
        self.position.saturating_add(self.frame.len())
    }
}

/// All whole frames of a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    pub(crate) frames: Vec<Found>,
    /// Positions where a frame should have been and was not; each is followed by a whole frame, but for the last.
    pub(crate) bad: Vec<u32>,
    /// Bytes of rubbish behind the last bad place; a footer is none.
    pub(crate) rubbish: u64,
}

impl Scan {
    /// Scans `bytes` of a segment from its header on.
    pub(crate) fn new(bytes: &Bytes, home: Home) -> Self {
        let mut scan = Self::default();
        let mut position = HEADER_LEN;
        while (position as usize) < bytes.len() {
            let rest = bytes.slice(position as usize..);
            if let Some(frame) = decode_frame(&rest, home, position) {
                let found = Found { position, frame };
                position = found.end();
                scan.frames.push(found);
                continue;
            }
            scan.bad.push(position);
            match next_frame(bytes, home, position) {
                Some(next) => position = next,
                None => {
                    scan.rubbish = rubbish(&rest, position);
                    break;
                }
            }
        }
        scan
    }

    /// Start of the last round.
    pub(crate) fn last_round_start(&self) -> u32 {
        self.frames.iter().map(|found| found.frame.header.round_start).max().unwrap_or(0)
    }

    /// The first bad place that was synced once: a round starts after it.
    pub(crate) fn rot(&self) -> Option<u32> {
        let last = self.last_round_start();
        self.bad.first().copied().filter(|bad| last > *bad)
    }

    /// Cuts the torn tail: what follows the first bad place of the last round. Returns the bytes cut.
    pub(crate) fn cut_tail(&mut self) -> u64 {
        let last = self.last_round_start();
        let Some(torn) = self.bad.iter().copied().find(|bad| *bad >= last) else { return 0 };
        let end = self.frames.last().map_or(torn, Found::end).max(torn);
        self.frames.retain(|found| found.position < torn);
        self.bad.retain(|bad| *bad < torn);
        u64::from(end - torn) + self.rubbish
    }

    /// Position after the last frame.
    pub(crate) fn end(&self) -> u32 {
        self.frames.last().map_or(HEADER_LEN, Found::end)
    }

    /// How many of the first frames are the snapshot; `None` if it is not whole.
    pub(crate) fn head(&self) -> Option<usize> {
        let first = self.frames.first()?;
        if first.position != HEADER_LEN || first.frame.header.kind != kind::SNAPSHOT_BEGIN {
            return None;
        }
        let end = self.frames.iter().position(|found| found.frame.header.kind == kind::SNAPSHOT_END)?;
        let whole = self.bad.first().is_none_or(|bad| *bad > self.frames[end].position);
        let logs =
            self.frames[..end].iter().filter(|found| found.frame.header.kind == kind::SNAPSHOT_LOG).count();
        (whole && self.frames[end].frame.header.index == logs as u64).then_some(end + 1)
    }
}

/// Bytes that are neither zero nor a footer.
fn rubbish(rest: &[u8], position: u32) -> u64 {
    let trailer = rest.len().checked_sub(TRAILER_LEN).and_then(|at| Trailer::decode(&rest[at..]));
    if trailer.is_some_and(|trailer| trailer.position == position) {
        return 0;
    }
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// The next position at which a whole frame starts.
fn next_frame(bytes: &Bytes, home: Home, after: u32) -> Option<u32> {
    let mut position = after as usize;
    // A whole header with a bad body says where the next frame is.
    if let Some(header) = FrameHeader::decode(&bytes[position..], home, after) {
        let end = position + crate::format::frame::frame_len(header.body_len) as usize;
        if end <= bytes.len() {
            position = end.saturating_sub(8);
        }
    }
    loop {
        position += 8;
        if position + FRAME_LEN > bytes.len() {
            return None;
        }
        let candidate = &bytes[position..];
        let at = u32::try_from(position).ok()?;
        if &candidate[..4] == FRAME_MAGIC && decode_frame(&bytes.slice(position..), home, at).is_some() {
            return Some(at);
        }
    }
}
