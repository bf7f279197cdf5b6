//! Frames: what a segment is made of.

use bytes::Bytes;

use super::{Put, i64_at, u32_at, u64_at};

/// Length of a frame header.
pub(crate) const FRAME_LEN: usize = 88;
/// First bytes of a frame.
pub(crate) const FRAME_MAGIC: &[u8; 4] = b"RKF1";

/// Frame kinds.
pub(crate) mod kind {
    pub(crate) const ENTRY: u8 = 1;
    pub(crate) const CREATE: u8 = 2;
    pub(crate) const HARD_STATE: u8 = 3;
    pub(crate) const TRUNCATE: u8 = 4;
    pub(crate) const TRIM: u8 = 5;
    pub(crate) const CHECKPOINT: u8 = 6;
    pub(crate) const SUSPECT: u8 = 7;
    pub(crate) const RESET: u8 = 8;
    pub(crate) const DELETE: u8 = 9;
    pub(crate) const GAP: u8 = 10;
    pub(crate) const SNAPSHOT_BEGIN: u8 = 16;
    pub(crate) const SNAPSHOT_LOG: u8 = 17;
    pub(crate) const SNAPSHOT_END: u8 = 18;
}

/// Which segment a frame belongs to; goes into its CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) segment: u64,
    pub(crate) salt: u64,
}

/// Header of a frame. What a kind does not use is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) body_crc: u32,
    pub(crate) body_len: u32,
    pub(crate) sequence: u64,
    pub(crate) round: u64,
    pub(crate) round_start: u32,
    pub(crate) boot: u32,
    pub(crate) log: u32,
    pub(crate) epoch: u32,
    pub(crate) kind: u8,
    pub(crate) entry_kind: u8,
    pub(crate) term: u32,
    pub(crate) index: u64,
    pub(crate) base_offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) record_count: u32,
}

/// A header and its body.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) body: Bytes,
}

impl Frame {
    /// A frame with its body's length; the CRC is made when it is written.
    pub(crate) fn new(mut header: FrameHeader, body: Bytes) -> Self {
        header.body_len = u32::try_from(body.len()).expect("bodies are bounded when staged");
        Self { header, body }
    }

    /// Bytes in the segment, padding included.
    pub(crate) fn len(&self) -> u32 {
        frame_len(self.header.body_len)
    }
}

/// Bytes in the segment of a frame with this body, padding included.
pub(crate) fn frame_len(body_len: u32) -> u32 {
    const HEADER_AND_PADDING: u32 = 88 + 7;
    body_len.saturating_add(HEADER_AND_PADDING) & !7
}

fn header_crc(home: Home, position: u32, rest: &[u8]) -> u32 {
    let mut prefix = [0; 20];
    prefix[..8].copy_from_slice(&home.segment.to_le_bytes());
    prefix[8..16].copy_from_slice(&home.salt.to_le_bytes());
    prefix[16..].copy_from_slice(&position.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&prefix), rest)
}

impl FrameHeader {
    /// Appends the header for a frame at `position`.
    pub(crate) fn encode(&self, home: Home, position: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(FRAME_MAGIC);
        out.put_u32(0);
        out.put_u32(self.body_crc);
        out.put_u32(self.body_len);
        out.put_u64(self.sequence);
        out.put_u64(self.round);
        out.put_u32(self.round_start);
        out.put_u32(self.boot);
        out.put_u32(self.log);
        out.put_u32(self.epoch);
        out.extend_from_slice(&[self.kind, self.entry_kind, 0, 0]);
        out.put_u32(self.term);
        out.put_u64(self.index);
        out.put_i64(self.base_offset);
        out.put_i64(self.timestamp_ms);
        out.put_u32(self.record_count);
        out.put_u32(0);
        let crc = header_crc(home, position, &out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header of the frame at `position`; `None` if there is none.
    pub(crate) fn decode(bytes: &[u8], home: Home, position: u32) -> Option<Self> {
        let bytes = bytes.get(..FRAME_LEN)?;
        if &bytes[..4] != FRAME_MAGIC || header_crc(home, position, &bytes[8..]) != u32_at(bytes, 4) {
            return None;
        }
        Some(Self {
            body_crc: u32_at(bytes, 8),
            body_len: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            round: u64_at(bytes, 24),
            round_start: u32_at(bytes, 32),
            boot: u32_at(bytes, 36),
            log: u32_at(bytes, 40),
            epoch: u32_at(bytes, 44),
            kind: bytes[48],
            entry_kind: bytes[49],
            term: u32_at(bytes, 52),
            index: u64_at(bytes, 56),
            base_offset: i64_at(bytes, 64),
            timestamp_ms: i64_at(bytes, 72),
            record_count: u32_at(bytes, 80),
        })
    }
}

/// Reads the whole frame at the start of `bytes`, checking both CRCs.
pub(crate) fn decode_frame(bytes: &Bytes, home: Home, position: u32) -> Option<Frame> {
    let header = FrameHeader::decode(bytes, home, position)?;
    let end = FRAME_LEN.checked_add(usize::try_from(header.body_len).ok()?)?;
    let body = bytes.get(FRAME_LEN..end)?;
    (crc32c::crc32c(body) == header.body_crc).then(|| Frame { header, body: bytes.slice(FRAME_LEN..end) })
}

/// What a round stamps on its frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) home: Home,
    pub(crate) round: u64,
    pub(crate) round_start: u32,
    pub(crate) boot: u32,
}

/// Appends a frame for `position`: the one copy of a payload on its way to the disk.
pub(crate) fn encode_frame(frame: &Frame, stamp: Stamp, position: u32, out: &mut Vec<u8>) {
    let mut header = frame.header;
    header.round = stamp.round;
    header.round_start = stamp.round_start;
    header.boot = stamp.boot;
    header.body_crc = crc32c::crc32c(&frame.body);
    header.encode(stamp.home, position, out);
    out.extend_from_slice(&frame.body);
    out.resize(out.len().next_multiple_of(8), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_bound_to_its_place() {
        let home = Home { segment: 5, salt: 6 };
        let header = FrameHeader {
            sequence: 1,
            log: 2,
            epoch: 3,
            kind: kind::ENTRY,
            entry_kind: 9,
            term: 4,
            index: 5,
            base_offset: -6,
            timestamp_ms: 7,
            record_count: 8,
            ..FrameHeader::default()
        };
        let frame = Frame::new(header, Bytes::from_static(b"payload"));
        let mut out = Vec::new();
        encode_frame(&frame, Stamp { home, round: 3, round_start: 64, boot: 2 }, 128, &mut out);
        assert_eq!(out.len(), frame.len() as usize);
        let bytes = Bytes::from(out);
        let read = decode_frame(&bytes, home, 128).expect("whole");
        assert_eq!(read.body, frame.body);
        assert_eq!((read.header.round, read.header.round_start, read.header.boot), (3, 64, 2));
        assert_eq!(read.header.base_offset, -6);
        assert!(decode_frame(&bytes, home, 136).is_none());
        assert!(decode_frame(&bytes, Home { segment: 6, salt: 6 }, 128).is_none());
        assert!(decode_frame(&bytes, Home { segment: 5, salt: 7 }, 128).is_none());
        for bit in 0..(FRAME_LEN + 7) * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_frame(&flipped.into(), home, 128).is_none(), "bit {bit}");
        }
    }
}
