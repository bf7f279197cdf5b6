//! The header and the name of a segment.

use super::{Put, VERSION, u32_at, u64_at};

/// Length of a segment header.
pub(crate) const HEADER_LEN: u32 = 64;
const MAGIC: &[u8; 8] = b"RAFKASEG";

/// Header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: u64,
    pub(crate) salt: u64,
    pub(crate) boot: u32,
    pub(crate) key_id: u64,
    pub(crate) round: u64,
    pub(crate) next_sequence: u64,
}

/// Why a header is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Wrong magic or CRC.
    Bad,
    /// Whole, and of a newer version.
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(0);
        out.put_u64(self.id);
        out.put_u64(self.salt);
        out.put_u32(self.boot);
        out.put_u32(0);
        out.put_u64(self.key_id);
        out.put_u64(self.round);
        out.put_u64(self.next_sequence);
        let crc = header_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes = bytes.get(..64).ok_or(HeaderError::Bad)?;
        if &bytes[..8] != MAGIC || header_crc(bytes) != u32_at(bytes, 12) {
            return Err(HeaderError::Bad);
        }
        match u32_at(bytes, 8) {
            VERSION => Ok(Self {
                id: u64_at(bytes, 16),
                salt: u64_at(bytes, 24),
                boot: u32_at(bytes, 32),
                key_id: u64_at(bytes, 40),
                round: u64_at(bytes, 48),
                next_sequence: u64_at(bytes, 56),
            }),
            newer if newer > VERSION => Err(HeaderError::Newer(newer)),
            _ => Err(HeaderError::Bad),
        }
    }
}

fn header_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..64])
}

/// File name of a segment.
pub(crate) fn name(id: u64) -> String {
    format!("{id:016x}.segment")
}

/// Segment id of a file name, `None` for other files.
pub(crate) fn id_of(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(".segment")?;
    (digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)))
        .then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_a_flipped_bit_does_not() {
        let header = SegmentHeader { id: 7, salt: 9, boot: 3, key_id: 0, round: 4, next_sequence: 11 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..512 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), Err(HeaderError::Bad), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = header_crc(&newer);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderError::Newer(2)));
    }

    #[test]
    fn names_are_ids() {
        assert_eq!(id_of(&name(0xab)), Some(0xab));
        for other in ["lock", "1.segment", "000000000000000G.segment", "00000000000000AB.segment"] {
            assert_eq!(id_of(other), None);
        }
    }
}
