#!/usr/bin/env bash
# Three nodes, RF 3: how long nobody takes a write with acks=all after the leader was killed (SIGKILL), frozen (SIGSTOP) or stopped cleanly
# (SIGTERM) and started again. A prober without a client library tries every 20 ms at each node; beside it stands what librdkafka sees of the
# same. Prints each round, median, p99 and the worst, a verdict for each bound, and whether each acknowledged record is there.
#
#   scripts/failover.sh [--kills 50] [--pauses 10] [--restarts 10] [--partitions 12] [--rate 600]
#   scripts/failover.sh --docs            the full form, kept as docs/failover.md
#
# Bounds: kills 700 ms median and 2 s at most, freezes 3 s, clean restarts 200 ms. They want a machine that does nothing else. About 8 minutes.
. "$(dirname "$0")/lib.sh"

case " $* " in
  *" --help "* | *" -h "*) sed -n '2,/^\. /s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
venv
build
run_dir failover
export RUN_DIR
if [ "$*" = --docs ]; then
  "$PYTHON" "$SCRIPTS/rig/failover.py" 2>&1 | keep failover.md "Failover" "scripts/failover.sh"
else
  exec "$PYTHON" "$SCRIPTS/rig/failover.py" "$@"
fi
