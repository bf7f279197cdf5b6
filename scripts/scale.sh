#!/usr/bin/env bash
# Many partitions with three replicas on three nodes of this machine: how long their creation takes, what an idle node needs of a core and of
# memory, how soon they are led again after a node is killed and how many elections that takes, and how soon that node is ready again.
# Prints each figure beside its bound.
#
#   scripts/scale.sh [--partitions 10000] [--topics 10] [--idle 60]
#   scripts/scale.sh --docs               kept as docs/scale.md
. "$(dirname "$0")/lib.sh"

case " $* " in
  *" --help "* | *" -h "*) sed -n '2,/^\. /s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
need python3
build
run_dir scale
export RUN_DIR
if [ "$*" = --docs ]; then
  python3 "$SCRIPTS/rig/scale.py" 2>&1 | keep scale.md "Ten thousand partitions" "scripts/scale.sh"
else
  exec python3 "$SCRIPTS/rig/scale.py" "$@"
fi
