//! Bytes on disk, as `ARCHITECTURE.md` defines them. Nothing here does input or output.

pub(crate) mod control;
pub(crate) mod footer;
pub(crate) mod frame;
pub(crate) mod segment;

use bytes::Bytes;

/// The newest format version known.
pub(crate) const VERSION: u32 = 1;

/// Takes fixed-width fields off the front; `None` when the bytes end early.
pub(crate) struct Input(pub(crate) Bytes);

impl Input {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes(N)?;
        taken.as_ref().try_into().ok()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<Bytes> {
        (self.0.len() >= len).then(|| self.0.split_to(len))
    }

    /// A copy of bytes after their u32 length, so that small state does not pin the buffer it was read with.
    pub(crate) fn sized(&mut self) -> Option<Bytes> {
        let len = self.u32()?;
        self.bytes(usize::try_from(len).ok()?).map(|bytes| Bytes::copy_from_slice(&bytes))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A count of items of at least `size` bytes each, refused when the rest cannot hold them.
    pub(crate) fn count(&mut self, size: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count.checked_mul(size)? <= self.0.len()).then_some(count)
    }
}

/// Appends fixed-width fields.
pub(crate) trait Put {
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_i64(&mut self, value: i64);
    fn put_count(&mut self, count: usize);
    fn put_sized(&mut self, bytes: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_i64(&mut self, value: i64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_count(&mut self, count: usize) {
        self.put_u32(u32::try_from(count).expect("counts and lengths are bounded when staged"));
    }

    fn put_sized(&mut self, bytes: &[u8]) {
        self.put_count(bytes.len());
        self.extend_from_slice(bytes);
    }
}

/// Four little-endian bytes at a place known to exist.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Eight little-endian bytes at a place known to exist.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Eight little-endian bytes at a place known to exist, signed.
pub(crate) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at).cast_signed()
}
