#!/usr/bin/env bash
# rafka and Apache Kafka in turns in one run: one node and three, acks=all, the same load generator, the raw limit of the machine beside
# them. Prints throughput, p99, CPU-seconds per GB and memory, and rafka's ratios; with --docs the table goes into docs/bench.md.
# Nothing else should run on the machine. About 20 minutes.
#
#   scripts/bench.sh --docs
#   scripts/bench.sh [--rounds 3] [--nodes 1 3] [--systems rafka kafka kafka-synced] [--seconds 10] [--warm 10]
. "$(dirname "$0")/lib.sh"

need python3
kafka_jars
build
(cd "$ROOT" && cargo build --release -p load) || die "the load generator does not build"
run_dir bench
cd "$ROOT"
output=()
[ "$*" != --docs ] || { shift; output=(--output docs/bench.md); }
export RUN_DIR RAFKA_BIN KAFKA_HEAP=${KAFKA_HEAP:-1g} LOAD_BIN=$TARGET_DIR/release/load
exec python3 "$SCRIPTS/rig/bench.py" "$@" "${output[@]}"
