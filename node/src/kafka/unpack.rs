//! Unpacking compressed batches: looking for the record that a timestamp asks for, or as a whole for [`repack`](super::repack).
//!
//! To look for a record a batch is unpacked as a stream, of which only record heads are looked at and nothing is kept, by whoever writes the response and not by the node's thread; bounded by [`UNPACKED_BYTES_MAX`] for one response.
//! Where that is used up, or the bytes are no such stream, the answer stays at the beginning of the batch: never too late.
//!
//! | codec | stream |
//! |---|---|
//! | 1 gzip | members of RFC 1952 |
//! | 2 snappy | the framing of xerial's snappy-java, or one raw block as librdkafka may write it |
//! | 3 lz4 | LZ4 frames |
//! | 4 zstd | one frame of RFC 8878 with a window of at most [`ZSTD_WINDOW_MAX`] bytes |

use std::io::{self, BufReader, Read};

use crate::core::batch::{append_time, first_record_at};
use crate::core::request::Search;

/// Bytes that are unpacked for one response, at most.
pub(super) const UNPACKED_BYTES_MAX: u64 = 64 << 20;
/// Windows of zstd that are followed: twice what producers write at their highest ordinary level.
const ZSTD_WINDOW_MAX: u64 = 16 << 20;
/// Beginning of snappy-java's framing; two numbers of four bytes follow.
const XERIAL: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

const ATTRIBUTES: usize = 21;
const BASE_TIMESTAMP: usize = 27;
const RECORD_COUNT: usize = 57;
const RECORDS: usize = 61;

/// Timestamp and offset of the record searched for; `None` when it is not found within `left` bytes, which are used up.
pub(super) fn find(search: &Search, left: &mut u64) -> Option<(i64, i64)> {
    search.batches.iter().find_map(|stored| {
        let least = search.from.saturating_sub(stored.base_offset).max(0);
        let (delta, timestamp) = find_in(&stored.bytes, search.at_ms, least, left)?;
        Some((timestamp, stored.base_offset.checked_add(delta)?))
    })
}

fn find_in(batch: &[u8], at_ms: i64, least: i64, left: &mut u64) -> Option<(i64, i64)> {
    if append_time(batch).is_some() {
        return first_record_at(batch, at_ms, least);
    }
    let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES)?);
    let wanted = Wanted {
        at_ms,
        least,
        base_ms: i64::from_be_bytes(field(batch, BASE_TIMESTAMP)?),
        count: i32::from_be_bytes(field(batch, RECORD_COUNT)?),
    };
    let mut body = batch.get(RECORDS..)?;
    match attributes & 0b111 {
        0 => wanted.scan(body, left),
        1 => wanted.scan(flate2::read::MultiGzDecoder::new(body), left),
        2 => {
            let unpacked = snappy(body, *left)?;
            wanted.scan(unpacked.as_slice(), left)
        }
        3 => wanted.scan(lz4_flex::frame::FrameDecoder::new(body), left),
        4 if zstd_window(body)? <= ZSTD_WINDOW_MAX => {
            wanted.scan(ruzstd::decoding::StreamingDecoder::new(&mut body).ok()?, left)
        }
        _ => None,
    }
}

/// All records of a batch, unpacked; `None` when they take more than `max` bytes then, or are no such stream.
pub(super) fn whole(batch: &[u8], max: u64) -> Option<Vec<u8>> {
    fn read(stream: impl Read, max: u64) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        stream.take(max.saturating_add(1)).read_to_end(&mut out).ok()?;
        (u64::try_from(out.len()).ok()? <= max).then_some(out)
    }
    let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES)?);
    let mut body = batch.get(RECORDS..)?;
    match attributes & 0b111 {
        0 => read(body, max),
        1 => read(flate2::read::MultiGzDecoder::new(body), max),
        2 => snappy(body, max),
        3 => read(lz4_flex::frame::FrameDecoder::new(body), max),
        4 if zstd_window(body)? <= ZSTD_WINDOW_MAX => {
            read(ruzstd::decoding::StreamingDecoder::new(&mut body).ok()?, max)
        }
        _ => None,
    }
}

fn field<const N: usize>(batch: &[u8], at: usize) -> Option<[u8; N]> {
    batch.get(at..)?.first_chunk::<N>().copied()
}

struct Wanted {
    at_ms: i64,
    least: i64,
    base_ms: i64,
    count: i32,
}

impl Wanted {
    fn scan<R: Read>(&self, records: R, left: &mut u64) -> Option<(i64, i64)> {
        let mut stream = Stream::new(records, left);
        (0..self.count).find_map(|_| self.record(&mut stream).transpose())?.ok()
    }

    /// The next record if it is the one, else nothing; the stream is behind it.
    fn record<R: Read>(&self, stream: &mut Stream<'_, R>) -> io::Result<Option<(i64, i64)>> {
        let length = u64::try_from(stream.varint()?).map_err(|_negative| malformed())?;
        let before = *stream.left;
        stream.byte()?;
        let timestamp = self.base_ms.checked_add(stream.varint()?).ok_or_else(malformed)?;
        let delta = stream.varint()?;
        if !(0..i64::from(self.count)).contains(&delta) {
            return Err(malformed());
        }
        if timestamp >= self.at_ms && delta >= self.least {
            return Ok(Some((delta, timestamp)));
        }
        stream.skip(length.checked_sub(before - *stream.left).ok_or_else(malformed)?)?;
        Ok(None)
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// A stream of which so many bytes may be read.
pub(super) struct Stream<'a, R> {
    inner: BufReader<R>,
    left: &'a mut u64,
}

impl<'a, R: Read> Stream<'a, R> {
    /// Of `records`, of which no more than `left` bytes are read.
    pub(super) fn new(records: R, left: &'a mut u64) -> Self {
        Stream { inner: BufReader::new(records), left }
    }

    /// How much later than its batch's base timestamp the next record is, in milliseconds; the stream is behind it then.
    pub(super) fn timestamp_delta(&mut self) -> io::Result<i64> {
        let length = u64::try_from(self.varint()?).map_err(|_negative| malformed())?;
        let before = *self.left;
        self.byte()?;
        let delta = self.varint()?;
        self.skip(length.checked_sub(before - *self.left).ok_or_else(malformed)?)?;
        Ok(delta)
    }

    fn spend(&mut self, bytes: u64) -> io::Result<()> {
        *self.left = self.left.checked_sub(bytes).ok_or_else(malformed)?;
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.spend(1)?;
        let mut byte = [0];
        self.inner.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// A zigzag varint of at most ten bytes.
    fn varint(&mut self) -> io::Result<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        Err(malformed())
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.spend(bytes)?;
        let skipped = io::copy(&mut (&mut self.inner).take(bytes), &mut io::sink())?;
        if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Snappy has no streams of its own: blocks are unpacked one after the other, up to `left` bytes in all.
fn snappy(body: &[u8], left: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    if !body.starts_with(XERIAL) {
        snappy_block(body, left, &mut out)?;
        return Some(out);
    }
    let mut rest = body.get(XERIAL_HEADER_BYTES..)?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (block, after) = after.split_at_checked(length)?;
        snappy_block(block, left, &mut out)?;
        rest = after;
    }
    Some(out)
}

fn snappy_block(block: &[u8], left: u64, out: &mut Vec<u8>) -> Option<()> {
    let bytes = snap::raw::decompress_len(block).ok()?;
    let from = out.len();
    let end = from.checked_add(bytes)?;
    // A copy of 64 bytes takes three: what claims more lies, and is not allocated.
    if u64::try_from(end).ok()? > left || bytes > block.len().saturating_mul(64) {
        return None;
    }
    out.resize(end, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[from..]).ok()?;
    Some(())
}

/// The window that a frame of zstd asks for, in bytes (RFC 8878, 3.1.1.1).
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let (magic, rest) = frame.split_first_chunk::<4>()?;
    let (descriptor, rest) = rest.split_first()?;
    if u32::from_le_bytes(*magic) != 0xfd2f_b528 {
        return None;
    }
    let single_segment = descriptor & 0b10_0000 != 0;
    if !single_segment {
        let window = *rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 0b111));
    }
    // The window is the content; its size comes behind the dictionary's id.
    let rest = rest.get([0, 1, 2, 4][usize::from(descriptor & 0b11)]..)?;
    match descriptor >> 6 {
        0 => rest.first().map(|size| u64::from(*size)),
        1 => rest.first_chunk::<2>().map(|size| u64::from(u16::from_le_bytes(*size)) + 256),
        2 => rest.first_chunk::<4>().map(|size| u64::from(u32::from_le_bytes(*size))),
        _ => rest.first_chunk::<8>().map(|size| u64::from_le_bytes(*size)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use bytes::Bytes;

    use super::*;
    use crate::core::request::StoredBatch;

    const CODECS: [u8; 5] = [0, 1, 2, 3, 4];

    pub(in crate::kafka) fn zigzag(value: i64, out: &mut Vec<u8>) {
        let mut value = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
    }

    /// Records with timestamps 1000, 1010, 1020, .. and values of `value_bytes` bytes.
    fn records(count: u32, value_bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for n in 0..i64::from(count) {
            let mut record = vec![0];
            zigzag(n * 10, &mut record);
            zigzag(n, &mut record);
            zigzag(-1, &mut record);
            zigzag(i64::try_from(value_bytes).unwrap(), &mut record);
            record.extend(std::iter::repeat_n(7, value_bytes));
            record.push(0);
            zigzag(i64::try_from(record.len()).unwrap(), &mut out);
            out.extend(record);
        }
        out
    }

    fn pack(codec: u8, bytes: &[u8]) -> Vec<u8> {
        match codec {
            0 => bytes.to_vec(),
            1 => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            2 => {
                let mut out = [XERIAL, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
                for block in bytes.chunks(32 << 10) {
                    let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
                    out.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
                    out.extend(block);
                }
                out
            }
            3 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            _ => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
        }
    }

    fn batch(codec: u8, count: u32, body: Vec<u8>) -> Bytes {
        let mut out = vec![0; RECORDS];
        out[ATTRIBUTES + 1] = codec;
        out[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].copy_from_slice(&1_000_i64.to_be_bytes());
        out[RECORD_COUNT..RECORD_COUNT + 4].copy_from_slice(&count.to_be_bytes());
        out.extend(body);
        out.into()
    }

    /// A whole batch of such records, as a client sends it.
    pub(in crate::kafka) fn packed_records(codec: u8, count: u32, value_bytes: usize) -> Vec<u8> {
        let mut out = batch(codec, count, pack(codec, &records(count, value_bytes))).to_vec();
        let length = u32::try_from(out.len() - 12).unwrap();
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[16] = 2;
        out[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        out[43..57].fill(0xff);
        let crc = crc32c::crc32c(&out[ATTRIBUTES..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out
    }

    fn search(at_ms: i64, from: i64, bytes: Vec<Bytes>) -> Search {
        let bases = (0..).map(|n| 500 + n * 1_000);
        let stored = |(bytes, base_offset)| StoredBatch { base_offset, leader_epoch: 1, bytes };
        Search { at_ms, from, batches: bytes.into_iter().zip(bases).map(stored).collect() }
    }

    #[test]
    fn every_codec_gives_the_exact_record() {
        for codec in CODECS {
            let packed = batch(codec, 1_000, pack(codec, &records(1_000, 100)));
            let find = |at_ms, from| {
                let mut left = UNPACKED_BYTES_MAX;
                let found = find(&search(at_ms, from, vec![packed.clone()]), &mut left);
                assert!(left > UNPACKED_BYTES_MAX - 200_000, "codec {codec} used {left}");
                found
            };
            assert_eq!(find(0, 0), Some((1_000, 500)), "codec {codec}");
            assert_eq!(find(5_005, 0), Some((5_010, 901)), "codec {codec}");
            assert_eq!(find(10_990, 0), Some((10_990, 1_499)), "codec {codec}");
            assert_eq!(find(1_500, 1_200), Some((8_000, 1_200)), "codec {codec}, below the log start");
            assert_eq!(find(10_991, 0), None, "codec {codec}");
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let body = snap::raw::Encoder::new().compress_vec(&records(50, 10)).unwrap();
        let found = find(&search(1_200, 0, vec![batch(2, 50, body)]), &mut 100_000);
        assert_eq!(found, Some((1_200, 520)));
    }

    #[test]
    fn the_second_batch_is_looked_through_when_the_first_has_nothing() {
        let first = batch(1, 10, pack(1, &records(10, 5)));
        let second = batch(4, 10, pack(4, &records(10, 5)));
        let found = find(&search(1_005, 510, vec![first, second]), &mut 100_000);
        assert_eq!(found, Some((1_010, 1_501)));
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        for codec in CODECS {
            let body = pack(codec, &records(4, 1 << 20));
            let mut left = 2 << 20;
            assert_eq!(find(&search(1_030, 0, vec![batch(codec, 4, body)]), &mut left), None, "{codec}");
        }
        let claims_4_gib = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert_eq!(snappy(&claims_4_gib, u64::MAX), None);
        let window_of_2_gib = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
        assert_eq!(zstd_window(&window_of_2_gib), Some(2 << 30));
        assert_eq!(find(&search(0, 0, vec![batch(4, 1, window_of_2_gib.to_vec())]), &mut 1_000), None);
    }

    quickcheck::quickcheck! {
        fn hostile_batches_never_panic(codec: u8, count: u32, body: Vec<u8>, at: usize, byte: u8) -> bool {
            let codec = codec % 6;
            let mut bent = pack(codec.min(4), &records(20, 50));
            let at = at % bent.len();
            bent[at] = byte;
            for body in [body, bent[..at].to_vec(), bent] {
                let _ = find(&search(1_100, 0, vec![batch(codec, count, body)]), &mut 100_000);
            }
            true
        }
    }
}
