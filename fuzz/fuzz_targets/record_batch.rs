//! Record batches of producers, with the CRC that they would need to be looked into.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use node::kafka::batch::{HEADER_BYTES, check};

fuzz_target!(|input: &[u8]| {
    let Some((version, batch)) = input.split_first() else { return };
    let version = 3 + i16::from(version % 9);
    _ = check(Some(Bytes::copy_from_slice(batch)), version, 1 << 20);
    if batch.len() >= HEADER_BYTES {
        let mut batch = batch.to_vec();
        let length = u32::try_from(batch.len() - 12).expect("inputs are small");
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        _ = check(Some(Bytes::from(batch)), version, 1 << 20);
    }
});
