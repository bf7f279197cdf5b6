//! The few fields of a v2 record batch that the core reads in place (KIP-98 layout, big-endian).

use bytes::Bytes;

use super::request::ProducerStamp;

const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;

/// The producer stamp of a stored batch; `None` for a batch without an idempotent producer.
pub(crate) fn producer_stamp(batch: &Bytes) -> Option<ProducerStamp> {
    let id = i64::from_be_bytes(field(batch, PRODUCER_ID)?);
    let epoch = i16::from_be_bytes(field(batch, PRODUCER_EPOCH)?);
    let base_sequence = i32::from_be_bytes(field(batch, BASE_SEQUENCE)?);
    (id >= 0 && epoch >= 0 && base_sequence >= 0).then_some(ProducerStamp { id, epoch, base_sequence })
}

fn field<const N: usize>(batch: &Bytes, at: usize) -> Option<[u8; N]> {
    batch.get(at..at + N)?.try_into().ok()
}
