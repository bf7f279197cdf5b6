//! Big-endian fields of what lives on disk, written to and read from byte slices. Reading never panics.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{Incarnation, NodeId, ReplicaEpoch, ReplicaId};

use super::descriptor::DecodeError;

/// Appends fields.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A count or length. What is in memory has fewer than 2^32 elements by the bounds of its makers.
    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("metadata is bounded far below 2^32 elements"));
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    pub(super) fn node(&mut self, node: NodeId) {
        self.i32(node.0);
    }

    pub(super) fn replica(&mut self, replica: ReplicaId) {
        self.node(replica.node);
        self.u64(replica.incarnation.0);
        self.u32(replica.epoch.0);
    }

    pub(super) fn replicas(&mut self, replicas: &[ReplicaId]) {
        self.count(replicas.len());
        for &replica in replicas {
            self.replica(replica);
        }
    }

    pub(super) fn texts(&mut self, texts: &BTreeMap<String, String>) {
        self.count(texts.len());
        for (key, value) in texts {
            self.text(key);
            self.text(value);
        }
    }
}

/// Takes fields off the front.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn raw(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A count of elements of at least `least` bytes each; what cannot be there is refused before memory is
    /// taken.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u32()?).map_err(|_| DecodeError::Short)?;
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.0.len() => Ok(count),
            _ => Err(DecodeError::Short),
        }
    }

    pub(super) fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let count = self.count(1)?;
        self.raw(count)
    }

    pub(super) fn text(&mut self) -> Result<String, DecodeError> {
        let bytes = self.blob()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Invalid)
    }

    pub(super) fn node(&mut self) -> Result<NodeId, DecodeError> {
        Ok(NodeId(self.i32()?))
    }

    pub(super) fn replica(&mut self) -> Result<ReplicaId, DecodeError> {
        let node = self.node()?;
        let incarnation = Incarnation(self.u64()?);
        Ok(ReplicaId { node, incarnation, epoch: ReplicaEpoch(self.u32()?) })
    }

    pub(super) fn replicas(&mut self) -> Result<Vec<ReplicaId>, DecodeError> {
        self.list(16, Self::replica)
    }

    pub(super) fn list<T>(
        &mut self,
        least: usize,
        mut one: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(least)?;
        (0..count).map(|_| one(self)).collect()
    }

    /// A map whose keys rise strictly, so that equal maps have equal bytes.
    pub(super) fn texts(&mut self) -> Result<BTreeMap<String, String>, DecodeError> {
        let pairs = self.list(8, |r| Ok((r.text()?, r.text()?)))?;
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(DecodeError::Invalid);
        }
        Ok(pairs.into_iter().collect())
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// Whether a list names no element twice.
pub(super) fn all_distinct<T: Ord>(items: &[T]) -> bool {
    items.iter().collect::<BTreeSet<_>>().len() == items.len()
}
