//! Frames of other nodes: Raft, metadata, founding, joining.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    _ = node::shell::wire::decode(input);
});
