#!/usr/bin/env bash
# The test command: every crate's tests and properties, then a batch of simulated meshes under faults. Installs what it needs.
#   scripts/test.sh            SEEDS=N for another number of seeds than 200, FROM=N for certain ones instead of fresh ones
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

need_rust
cargo test --release --workspace
cargo run --release -p simulation -- --seeds "${SEEDS:-200}" ${FROM:+--from "$FROM"}
