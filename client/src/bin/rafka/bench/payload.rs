//! Bytes to send: random ones, which no codec makes smaller, or words, which every codec does.

use clap::ValueEnum;

/// What records hold.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Does not compress
    Random,
    /// Words; compresses to about a fifth
    Text,
}

const WORDS: [&str; 16] = [
    "order",
    "client",
    "shipped",
    "amount",
    "status",
    "warehouse",
    "pending",
    "invoice",
    "region",
    "courier",
    "refund",
    "basket",
    "delivered",
    "customer",
    "discount",
    "payment",
];
const POOL_BYTES: usize = 1 << 20;

/// A pool of bytes that records are cut out of.
pub(super) struct Payload {
    pool: Vec<u8>,
    size: usize,
}

impl Payload {
    /// Records of `size` bytes.
    pub(super) fn new(fill: Fill, size: usize) -> Payload {
        let mut pool = Vec::with_capacity(POOL_BYTES + size);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        while pool.len() < POOL_BYTES + size {
            // xorshift64 (Marsaglia 2003): the same bytes in every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match fill {
                Fill::Random => pool.extend_from_slice(&state.to_le_bytes()),
                Fill::Text => {
                    pool.extend_from_slice(
                        WORDS[usize::from(state.to_le_bytes()[3]) % WORDS.len()].as_bytes(),
                    );
                    pool.push(b' ');
                }
            }
        }
        Payload { pool, size }
    }

    /// The bytes of record `n`.
    pub(super) fn record(&self, n: u64) -> &[u8] {
        // Steps by a prime, so that neighbours in a batch differ.
        let at = usize::try_from(n.wrapping_mul(7919) % POOL_BYTES as u64).unwrap_or(0);
        &self.pool[at..at + self.size]
    }
}

#[cfg(test)]
mod tests {
    use super::{Fill, POOL_BYTES, Payload};

    #[test]
    fn every_record_has_its_size_and_neighbours_differ() {
        for (fill, size) in
            [(Fill::Random, 100), (Fill::Text, 100), (Fill::Random, 0), (Fill::Text, 2 * POOL_BYTES)]
        {
            let payload = Payload::new(fill, size);
            assert!((0..2000).all(|n| payload.record(n * 1009).len() == size));
            assert!(size == 0 || payload.record(1) != payload.record(2));
        }
    }
}
