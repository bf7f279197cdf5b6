#!/usr/bin/env bash
# One node's disk: it is killed while it writes, recovers, loses its index, is asked to find one wrong byte, and gives space back when
# retention says so. Every record is read back and compared each time.
#
#   scripts/storage_demo.sh
#
# One node on purpose, so that nobody else can help it; scripts/helloworld.sh shows three. A kill leaves what the kernel had taken; what a
# power cut leaves is shown by scripts/power_test.sh.
. "$(dirname "$0")/lib.sh"

case ${1:-} in
  '') ;;
  -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) die "unknown argument $1; try --help" ;;
esac

lines=${LINES_WRITTEN:-300000} lines_a_second=60000 record=1000 many=40000
began=$(now_ms)
tell() { printf '%s[%7.3f s]%s %s\n' "$DIM" "$(seconds $(($(now_ms) - began)))" "$PLAIN" "$*"; }
rafka() { "$RAFKA_BIN" --bootstrap "$(kafka_at 1)" --http "$(http_at 1)" "$@"; }
bad=''
wrong() { bad="${bad:+$bad; }$*"; echo "  ${RED}$*${PLAIN}"; }
judge() { python3 "$SCRIPTS/rig/kept.py" "$@" || wrong "$*"; }

start() { node_start 1 --advertise-kafka "$(kafka_at 1)" --segment-bytes 4194304 --retention-check-ms 250; }
# Starts the node and says how long it took until it served.
started_in() {
  local at; at=$(now_ms)
  start
  node_ready 1
  took=$(seconds $(($(now_ms) - at)))
}
killed() {
  node_kill 1 KILL
  wait "${PIDS[1]}" 2> /dev/null || true
  unset 'PIDS[1]'
}
disk() { du -sm --apparent-size "$RUN_DIR/data1" | cut -f 1; }
segments() { find "$RUN_DIR/data1" -name '*.segment' | wc -l; }
field() { # TOPIC NAME: of partition 0
  http_body "$(http_at 1)" "/v1/partitions?topic=$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["partitions"][0][sys.argv[1]])' "$2"
}
committed() { http_body "$(http_at 1)" "/v1/partitions?topic=$1" | python3 -c 'import json, sys; print(sum(p["high_watermark"] or 0 for p in json.load(sys.stdin)["partitions"]))'; }
read_back() { # TOPIC
  rafka consume "$1" --format '%p\t%o\t%v\n' > "$RUN_DIR/$1.tsv" 2> "$RUN_DIR/$1.log" || { cat "$RUN_DIR/$1.log" >&2; die "reading $1 back failed"; }
}
digest() { LC_ALL=C sort "$RUN_DIR/$1.tsv" | sha256sum | cut -c 1-16; }
paced() { awk -v rate=$lines_a_second '{ print } NR % 1000 == 0 { fflush(); system("sleep " 1000 / rate) }'; }
produce_kept() { seq "$lines" | paced | rafka produce kept --report "$RUN_DIR/report.jsonl" > "$RUN_DIR/produce.log" 2>&1; }
padded() { awk -v n=$many -v size=$record 'BEGIN { pad = sprintf("%" size "s", ""); for (i = 1; i <= n; i++) print substr(i " " pad, 1, size) }'; }
# Until CONDITION (a command) holds; dies after SECONDS.
until_true() { # SECONDS WHAT COMMAND..
  local until=$(($(now_ms) + $1 * 1000)) what=$2; shift 2
  until "$@"; do
    [ "$(now_ms)" -lt "$until" ] || die "$what: not in time"
    sleep 0.05
  done
}

say "rafka: one node's disk"
need python3
need_rust
build
run_dir storage_demo
began=$(now_ms)

# ---- kill and recover ----------------------------------------------------------------------------------------------

started_in
tell "a node alone, on an empty directory: ready after $took s"
rafka topic create kept --partitions 3 --replication-factor 1 > /dev/null
tell "writing $lines lines, $lines_a_second a second, every acknowledgement noted"
background produce_kept
producer=$BACKGROUND
enough() { [ "$(committed kept)" -ge $((lines / 3)) ]; }
until_true 60 "a third of the lines written" enough
kill -0 "$producer" 2> /dev/null || die "the producer ended before the kill"
before=$(committed kept)
killed
tell "${RED}SIGKILL${PLAIN} after $before lines; what it left:"
"$NODE_BIN" storage inspect "$RUN_DIR/data1" > "$RUN_DIR/inspect.txt" 2>&1 || wrong "inspect failed"
tail -n 1 "$RUN_DIR/inspect.txt" | sed 's/^/  /'
"$NODE_BIN" storage verify "$RUN_DIR/data1" > "$RUN_DIR/verify.txt" 2>&1 || wrong "verify finds damage after a kill: $(head -1 "$RUN_DIR/verify.txt")"
started_in
tell "started again, log recovered, ready after ${BOLD}$took s${PLAIN}; the producer goes on by itself"
wait "$producer" || wrong "the producer failed: $(tail -1 "$RUN_DIR/produce.log")"
tell "the producer has ended: $(grep -m 1 acknowledged "$RUN_DIR/produce.log")"
read_back kept
judge all "$RUN_DIR/kept.tsv" "$RUN_DIR/report.jsonl" "$lines"
whole=$(digest kept)

# ---- without the index ---------------------------------------------------------------------------------------------

killed
rm -rf "$RUN_DIR/data1/index"
tell "${RED}SIGKILL${PLAIN} again, and its index is deleted: it is only a mirror of what the segments hold"
started_in
read_back kept
tell "ready after $took s; read back: digest $(digest kept)"
[ "$(digest kept)" = "$whole" ] || wrong "the records differ without the index"

# ---- one wrong byte ------------------------------------------------------------------------------------------------

node_stop 1
cp -r "$RUN_DIR/data1" "$RUN_DIR/damaged"
victim=$(find "$RUN_DIR/damaged" -name '*.segment' | LC_ALL=C sort | head -1)
at=$(($(stat -c %s "$victim") / 2))
byte=$(od -An -tu1 -j $at -N 1 "$victim" | tr -d ' ')
# shellcheck disable=SC2059
printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$victim" bs=1 seek=$at conv=notrunc status=none
tell "stopped; in a copy of the directory one bit of byte $at of $(basename "$victim") is turned. storage verify says:"
if "$NODE_BIN" storage verify "$RUN_DIR/damaged" > "$RUN_DIR/damaged.txt" 2>&1; then
  wrong "the wrong byte was not found"
fi
head -n 1 "$RUN_DIR/damaged.txt" | sed 's/^/  /'
grep -q "$(basename "$victim")" "$RUN_DIR/damaged.txt" || wrong "the damaged file is not named"
"$NODE_BIN" storage verify "$RUN_DIR/data1" > "$RUN_DIR/verify.txt" 2>&1 || wrong "the original does not verify: $(head -1 "$RUN_DIR/verify.txt")"
tell "and of the original: $(tail -1 "$RUN_DIR/verify.txt")"
rm -rf "$RUN_DIR/damaged"

# ---- retention -----------------------------------------------------------------------------------------------------

started_in
# Batches go whole, so up to one batch above the bound stays, as in Kafka; the client sends at most 1,000,000 bytes in one.
small=4000000 most_left=5000000
rafka topic create bounded --partitions 1 --replication-factor 1 --config retention.bytes=$small > /dev/null
tell "${BOLD}retention by size${PLAIN}: $many records of $record bytes into a topic that may keep $small bytes"
padded | rafka produce bounded > "$RUN_DIR/bounded.produce" 2>&1 || wrong "writing failed: $(tail -1 "$RUN_DIR/bounded.produce")"
under() { [ $((($(field bounded high_watermark) - $(field bounded log_start)) * record)) -le $most_left ]; }
until_true 30 "old records deleted" under
start_offset=$(field bounded log_start)
read_back bounded
judge tail "$RUN_DIR/bounded.tsv" "$start_offset" $many $record $most_left

rafka topic create brief --partitions 1 --replication-factor 1 --config retention.ms=2000 > /dev/null
tell "${BOLD}retention by time${PLAIN}: $many more into a topic that keeps them for 2 s"
padded | rafka produce brief > "$RUN_DIR/brief.produce" 2>&1 || wrong "writing failed: $(tail -1 "$RUN_DIR/brief.produce")"
gone() { [ "$(field brief log_start)" = $many ]; }
until_true 30 "all of it deleted" gone
read_back brief
[ ! -s "$RUN_DIR/brief.tsv" ] || wrong "records are read that were deleted"
echo next | rafka produce brief --report "$RUN_DIR/brief.jsonl" > /dev/null 2>&1 || wrong "writing to the emptied topic failed"
tell "nothing of it is left, and the next record got offset $(sed 's/.*"offset":\([0-9]*\).*/\1/' "$RUN_DIR/brief.jsonl"): offsets are never used twice"
grep -q "\"offset\":$many," "$RUN_DIR/brief.jsonl" || wrong "the next offset is not $many: $(cat "$RUN_DIR/brief.jsonl")"

written=$((2 * many * record / 1000000))
freed() { [ "$(disk)" -le $((written / 3)) ]; }
until_true 60 "space given back" freed
tell "of $written MB written to these two topics the directory, at $(disk) MB in $(segments) segments, holds what is left"
read_back kept
[ "$(digest kept)" = "$whole" ] || wrong "retention of other topics changed records of this one"
tell "the first topic, whose records shared segments with those that went, still has digest $(digest kept)"

node_stop 1
"$NODE_BIN" storage verify "$RUN_DIR/data1" > "$RUN_DIR/verify.txt" 2>&1 || wrong "verify finds damage: $(head -1 "$RUN_DIR/verify.txt")"
tell "stopped; $(tail -1 "$RUN_DIR/verify.txt")"
[ -z "$bad" ] || { echo "RESULT storage demo: ${RED}FAILED${PLAIN}: $bad"; exit 1; }
echo "RESULT storage demo: ${GREEN}every acknowledged record survived, and only what retention names is gone${PLAIN}"
