#!/usr/bin/env bash
# The test command: every crate's unit tests and properties. Installs what it needs.
#   scripts/test.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

need_rust
cargo test --release --workspace
