#!/usr/bin/env bash
# Three nodes, each in a network namespace of its own, under idempotent acks=all producers that reach all of them: a leader cut off from both others (once
# for five times as long), a follower cut off, every node for itself, what the leader sends lost and what it is sent lost (blackhole routes), and a router in user space on
# a TUN device that delays, loses and reorders what nodes send each other. Checked: who is in a minority acknowledges nothing and answers with
# the right error, the majority takes writes again within 2 s, everybody catches up after healing, and each acknowledged record is there once and in order.
#
#   scripts/netsplit.sh [--hold 8] [--seed N] [--rate 200] [--only NAME]
#   scripts/netsplit.sh --docs            kept as docs/netsplit.md
#
# The namespaces and all in them end with the script, however it ends. Needs root, or user namespaces; the router also needs /dev/net/tun.
. "$(dirname "$0")/lib.sh"

case " $* " in
  *" --help "* | *" -h "*) sed -n '2,/^\. /s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
own_network
[ -n "${OWN_NETWORK:-}" ] || die "network namespaces cannot be made here: neither root nor user namespaces are allowed, so nothing was tested"
venv
build
run_dir netsplit
export RUN_DIR
if [ "$*" = --docs ]; then
  "${OWN[@]}" "$PYTHON" "$SCRIPTS/rig/netsplit.py" 2>&1 | keep netsplit.md "Splits and bad lines" "scripts/netsplit.sh"
else
  exec "${OWN[@]}" "$PYTHON" "$SCRIPTS/rig/netsplit.py" "$@"
fi
