#!/usr/bin/env bash
# What moves when nodes come and go, and what that costs producers. Three nodes, then a fourth joins: it shall take at most 1.3 times its fair
# share of the replicas. Then a node that holds many bytes dies for good while producers with acks=all run: its replicas are made anew at the
# configured rate, and the p99 of the producers grows by no more than 2x. The p99 is taken in phases of one run, with the node dead all
# the while: before it is called dead, while replicas are rebuilt, and after that.
#
#   scripts/rebuild.sh [--mib 400] [--rebuild-mib-s 4] [--partitions 200] [--rate 200] [--seconds 15]
#   scripts/rebuild.sh --docs             kept as docs/rebuild.md
. "$(dirname "$0")/lib.sh"

case " $* " in
  *" --help "* | *" -h "*) sed -n '2,/^\. /s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
need python3
build
run_dir rebuild
export RUN_DIR
if [ "$*" = --docs ]; then
  python3 "$SCRIPTS/rig/rebuild.py" 2>&1 | keep rebuild.md "Replicas rebuilt" "scripts/rebuild.sh"
else
  exec python3 "$SCRIPTS/rig/rebuild.py" "$@"
fi
