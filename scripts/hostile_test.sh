#!/usr/bin/env bash
# One node within 8 GiB of address space, and people who mean it no good: spoiled frames of every API, lying batches, decompression bombs, idle
# and half-open connections, floods, slow readers and writers, rubbish at both ports. A well-behaved client runs beside them. Prints per kind its
# p99 against being alone, the node's peak memory, and how often the log says why a connection was closed.
#
#   scripts/hostile_test.sh [--seconds 15] [--only NAME] [--memory-mib 512]
#   scripts/hostile_test.sh --docs        ten minutes of each kind, kept as docs/hostile_test.md
. "$(dirname "$0")/lib.sh"

need python3
build
(cd "$ROOT" && cargo build --release -p load) || die "the load generator does not build"
run_dir hostile
export RUN_DIR RAFKA_BIN RAFKA_NODE_BIN=$NODE_BIN LOAD_BIN=$TARGET_DIR/release/load
if [ "$*" = --docs ]; then
  python3 "$SCRIPTS/rig/hostile.py" --seconds 600 2>&1 | keep hostile_test.md "Hostile clients" "scripts/hostile_test.sh --seconds 600"
else
  exec python3 "$SCRIPTS/rig/hostile.py" "$@"
fi
