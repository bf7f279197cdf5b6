//! A replica's hard state and memberships on disk. What is read is written the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh::raft::{HardState, Membership};

fuzz_target!(|input: &[u8]| {
    if let Some(state) = HardState::decode(input) {
        assert_eq!(HardState::decode(&state.encode()), Some(state));
    }
    if let Some(membership) = Membership::decode(input) {
        assert_eq!(Membership::decode(&membership.encode()), Some(membership));
    }
});
