#!/usr/bin/env bash
# How long a node takes to start, what it needs when idle, and how long it recovers: a single founder and three seeds to /readyz, resident
# memory after ten idle seconds, and a killed node with 1 GiB as a ratio to `cat` of the same files, with its index and without.
# With --docs the table goes into docs/measure.md. Nothing else should run on the machine. About 3 minutes.
#
#   scripts/measure.sh --docs
#   scripts/measure.sh [--times 5] [--recover-mib 1024]
. "$(dirname "$0")/lib.sh"

need python3
build
(cd "$ROOT" && cargo build --release -p load) || die "the load generator does not build"
run_dir measure
cd "$ROOT"
output=()
[ "$*" != --docs ] || { shift; output=(--output docs/measure.md); }
export RUN_DIR RAFKA_BIN LOAD_BIN=$TARGET_DIR/release/load
python3 "$SCRIPTS/rig/measure.py" "$@" "${output[@]}"
rm -rf "$RUN_DIR"
