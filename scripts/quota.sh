#!/usr/bin/env bash
# Client quotas with real clients: Kafka's Java producer and consumer (its perf tools) and librdkafka (Python) write and read against a quota of
# 1 MB/s for 30 s each. A RESULT line for each: what they got over that time, whether it is within 10 % of the quota, the throttle time that they were
# told, and their errors. The quota is set by Kafka's kafka-configs tool, for a client id, by default and for a user; then taken back, and the
# same clients must be several times as fast.
#
#   scripts/quota.sh [--seconds 30] [--rate 1000000]
#   TARGET=kafka scripts/quota.sh     the same against Apache Kafka
#   scripts/quota.sh --docs           kept as docs/quota.md
. "$(dirname "$0")/lib.sh"

case " $* " in
  *" --help "* | *" -h "*) sed -n '2,/^\. /s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
venv
kafka_jars
target_binaries
run_dir quota
export RUN_DIR
if [ "$*" = --docs ]; then
  "$PYTHON" "$SCRIPTS/rig/quota.py" 2>&1 | keep quota.md "Client quotas" "scripts/quota.sh"
else
  exec "$PYTHON" "$SCRIPTS/rig/quota.py" "$@"
fi
