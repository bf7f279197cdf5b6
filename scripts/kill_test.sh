#!/usr/bin/env bash
# Three nodes, RF 3, idempotent producers with acks=all; nodes are killed (SIGKILL), frozen (SIGSTOP), restarted cleanly and killed
# all at once. Afterwards each acknowledged record must be there exactly once and in order, one of unknown outcome at most once.
#
#   scripts/kill_test.sh [--seed N] [--rounds 30] [--records N] [--producers 4] [--rate 4000]
#   scripts/kill_test.sh --docs           the full form, kept as docs/kill_test.md
#   scripts/kill_test.sh --self-test      the checker against doctored histories, without nodes
#   TARGET=kafka scripts/kill_test.sh     the same against Apache Kafka (needs Java; KAFKA_DIR names jars that are there)
. "$(dirname "$0")/lib.sh"

venv
case " $* " in
  *" --self-test "* | *" --help "* | *" -h "*) ;;
  *) target_binaries ;;
esac
run_dir kill
export RUN_DIR
if [ "$*" = --docs ]; then
  "$PYTHON" "$SCRIPTS/rig/kill_test.py" 2>&1 | keep kill_test.md "Kill test" "scripts/kill_test.sh"
else
  exec "$PYTHON" "$SCRIPTS/rig/kill_test.py" "$@"
fi
