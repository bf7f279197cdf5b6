#!/usr/bin/env bash
# A mesh that grows and shrinks under load, with a timeline: one node, then three, then five; one is killed for good, another's data directory is
# wiped, a third is decommissioned, and three are left. Idempotent producers with acks=all run all the while. Checked: traffic never stops for
# more than 2 s at a time, each acknowledged record is there once and in order, each partition (the metadata's too) has three replicas in
# sync again, and a node that was taken out holds no data.
#
#   scripts/elastic.sh [--found 1] [--kill 2] [--wipe 3] [--decommission 1] [--rate 300] [--dead-after-ms 5000] [--settle 5]
#   scripts/elastic.sh --docs             kept as docs/elastic.md
#
# --found 3 founds with three seeds instead of growing from one node. The node that founded alone is the one that is decommissioned.
. "$(dirname "$0")/lib.sh"

case " $* " in
  *" --help "* | *" -h "*) sed -n '2,/^\. /s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
venv
build
run_dir elastic
export RUN_DIR
if [ "$*" = --docs ]; then
  "$PYTHON" "$SCRIPTS/rig/elastic.py" 2>&1 | keep elastic.md "Growing and shrinking" "scripts/elastic.sh"
else
  exec "$PYTHON" "$SCRIPTS/rig/elastic.py" "$@"
fi
