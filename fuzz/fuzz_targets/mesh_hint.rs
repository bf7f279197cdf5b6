//! Hints found in the DHT: anybody may have put them there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh::directory::{Hint, node_key};

fuzz_target!(|input: &[u8]| {
    assert!(Hint::verify(input, &node_key(1), 0, |_| true).is_none(), "nobody signed this");
});
