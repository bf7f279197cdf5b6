#!/usr/bin/env bash
# The Kademlia directory at 10, 50, 100 and 200 nodes: real transports over loopback in one process, with everybody there, with a fifth of the nodes gone and
# with a fifth hung. Each lookup must return the newest hint and end within 2 + ceil(log2(n/20)) rounds. A round is one link of the chain of answers that name
# closer peers; printed are lookups, rounds, peers asked and milliseconds as median, p99 and maximum, and how many connections a node held.
#
#   scripts/directory.sh [--nodes 10,50,100,200] [--lookups 400]
#   scripts/directory.sh --docs           kept as docs/directory.md
. "$(dirname "$0")/lib.sh"

case " $* " in
  *" --help "* | *" -h "*) sed -n '2,/^\. /s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
need_rust
(cd "$ROOT" && cargo build -q --release -p mesh --example directory) || die "the build failed"
# Two sockets for each connection of each two nodes, all of them in one process.
ulimit -n 100000 2> /dev/null || ulimit -n "$(ulimit -Hn)"
if [ "$*" = --docs ]; then
  "$TARGET_DIR/release/examples/directory" 2>&1 | keep directory.md "The directory at scale" "scripts/directory.sh"
else
  exec "$TARGET_DIR/release/examples/directory" "$@"
fi
