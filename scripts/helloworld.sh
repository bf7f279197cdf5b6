#!/usr/bin/env bash
# Three nodes on this machine, a file written line by line into a replicated topic, the node that leads most of it killed in the middle,
# and every line read back through another node and compared.
#
#   scripts/helloworld.sh [FILE] [--keep]
#
# FILE: any text; by default 250,000 lines of the Rust sources that this project depends on. --keep leaves the mesh running.
. "$(dirname "$0")/lib.sh"

file='' keep='' lines_a_second=${LINES_A_SECOND:-25000}
for argument in "$@"; do
  case $argument in
    --keep) keep=yes ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) die "unknown option $argument; try --help" ;;
    *) [ -r "$argument" ] || die "cannot read $argument"; file=$(realpath "$argument") ;;
  esac
done

topic=helloworld partitions=6 nodes=3 kafka=${TARGET:-rafka}
began=$(now_ms)
tell() { printf '%s[%7.3f s]%s %s\n' "$DIM" "$(seconds $(($(now_ms) - began)))" "$PLAIN" "$*"; }

# ---- the text ------------------------------------------------------------------------------------------------------

sources() {
  local registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
  [ -d "$registry" ] || (cd "$ROOT" && cargo fetch --locked)
  find "$registry" "$ROOT" -path "$TARGET_DIR" -prune -o -name '*.rs' -type f -print0 2> /dev/null | LC_ALL=C sort -z
}

default_text() {
  file=$TARGET_DIR/helloworld.txt
  if [ ! -s "$file" ]; then
    # head closes the pipe early; that is no failure.
    (set +o pipefail; sources | xargs -0 cat 2> /dev/null | tr -d '\000\r' | head -n 250000) | LC_ALL=C sort > "$file.new"
    [ "$(wc -l < "$file.new")" -ge 200000 ] || die "found only $(wc -l < "$file.new") lines of Rust sources; name a FILE"
    mv "$file.new" "$file"
  fi
}

# ---- what the mesh says --------------------------------------------------------------------------------------------

rafka() { "$RAFKA_BIN" "$@"; }

# One line per partition: partition leader high_watermark log_end, as node I knows it.
partitions_by() { # I
  local answer
  if [ "$kafka" = rafka ]; then
    answer=$(http_body "$(http_at "$1")" "/v1/partitions?topic=$topic")
  else
    answer=$(rafka --bootstrap "$(address "$1")" --timeout 3 --json topic describe "$topic")
  fi
  tr -d ' \n' <<< "$answer" | tr '}' '\n' | awk '
    function field(name) { return match($0, "\"" name "\":[0-9]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : -1 }
    /"high_watermark"/ { print field("partition"), field("leader"), field("high_watermark"), field("log_end") }'
}

address() { if [ "$kafka" = rafka ]; then kafka_at "$1"; else echo "127.0.0.1:$((KAFKA_PORT + $1 - 1))"; fi; }
all_addresses() { local i out=; for i in $(seq $nodes); do out+=${out:+,}$(address "$i"); done; echo "$out"; }

# Process number of each node id: ids are drawn when the mesh is founded.
declare -A number=()
learn_ids() {
  local i id
  for i in $(seq $nodes); do
    id=$i
    [ "$kafka" != rafka ] || id=$(http_body "$(http_at "$i")" /v1/nodes | tr -d ' \n' | sed -n 's/^[^[]*"node_id":\([0-9]*\).*/\1/p')
    [ -n "$id" ] || die "node $i does not tell its id"
    number[$id]=$i
  done
}

# ---- the mesh ------------------------------------------------------------------------------------------------------

start_one() { # I
  if [ "$kafka" = rafka ]; then
    node_start "$1" --seeds "$(seeds $nodes)" --advertise-kafka "$(kafka_at "$1")"
  elif [ ! -e "$RUN_DIR/1.pid" ]; then
    "$SCRIPTS/peers/kafka.sh" start "$RUN_DIR" $nodes > /dev/null
    local i; for i in $(seq $nodes); do PIDS[$i]=$(cat "$RUN_DIR/$i.pid"); done
  elif ! node_alive "$1"; then
    "$SCRIPTS/peers/kafka.sh" restart "$RUN_DIR" "$1"
    PIDS[$1]=$(cat "$RUN_DIR/$1.pid")
  fi
}
await() { [ "$kafka" != rafka ] || node_ready "$1"; }

form() {
  local i
  tell "starting $nodes nodes; each knows only the $nodes addresses"
  for i in $(seq $nodes); do start_one "$i"; done
  for i in $(seq $nodes); do
    await "$i"
    tell "node at $(address "$i") is ready"
  done
  learn_ids
  rafka --bootstrap "$(all_addresses)" --http "$(http_at 1)" nodes
}

# ---- the file, and the kill ----------------------------------------------------------------------------------------

# Line numbers become keys, so that order and completeness can be told for lines that repeat.
numbered() { awk '{ print NR "\t" $0 }' "$file"; }
paced() { awk -v rate="$lines_a_second" '{ print } NR % 1000 == 0 { fflush(); system("sleep " 1000 / rate) }'; }

produce() {
  numbered | paced | rafka --bootstrap "$(all_addresses)" produce $topic --key-separator $'\t' --report "$RUN_DIR/report.jsonl" \
    > "$RUN_DIR/produce.log" 2>&1
}

# Sums up field N of partitions_by.
total() { awk -v n="$1" '{ sum += $n } END { print sum + 0 }'; }

kill_leader() {
  local leader led before survivor deadline
  before=$(partitions_by 1)
  read -r led leader < <(awk '{ print $2 }' <<< "$before" | sort | uniq -c | sort -rn | head -1)
  [ "$leader" != -1 ] || die "partitions without a leader before anything was killed"
  victim=${number[$leader]}
  survivor=$((victim % nodes + 1))
  kill -0 "$producer" 2> /dev/null || die "the producer ended before the kill; give a larger FILE"
  kill -KILL "${PIDS[$victim]}"
  killed_at=$(now_ms)
  wait "${PIDS[$victim]}" 2> /dev/null || true
  tell "${RED}SIGKILL${PLAIN} to node $leader, which leads $led of $partitions partitions, after $(total 3 <<< "$before") lines"
  await_writes "$survivor" "$leader" "$before"
}

# Until each partition that the dead node led has committed more than anything that survivors held when it died.
await_writes() { # SURVIVOR DEAD BEFORE
  local state old='' deadline=$(($(now_ms) + 60000)) p high
  declare -A end=() back=()
  while read -r p _ high end_of; do
    end[$p]=$((end_of > high ? end_of : high))
  done < <(awk -v dead="$2" '$2 == dead' <<< "$3")
  state=$(partitions_by "$1" 2> /dev/null || true)
  while read -r p _ high end_of; do
    if [ -n "${end[$p]:-}" ] && [ "$end_of" -gt "${end[$p]}" ]; then end[$p]=$end_of; fi
  done <<< "$state"
  while [ ${#back[@]} -lt ${#end[@]} ]; do
    [ "$(now_ms)" -lt "$deadline" ] || die "no writes to ${#end[@]} partitions of the dead node after 60 s: $state"
    state=$(partitions_by "$1" 2> /dev/null || true)
    while read -r p leader high _; do
      if [ -n "${end[$p]:-}" ] && [ -z "${back[$p]:-}" ] && [ "$leader" != "$2" ] && [ "$high" -gt "${end[$p]}" ]; then
        back[$p]=$(($(now_ms) - killed_at))
      fi
    done < <(awk 'NF == 4' <<< "$state")
    sleep 0.02
  done
  old=$(printf '%s\n' "${back[@]}" | sort -n)
  flowing=$(tail -1 <<< "$old")
  tell "writes to its partitions flow again: the first after $(seconds "$(head -1 <<< "$old")") s, all after ${BOLD}$(seconds "$flowing") s${PLAIN} (Kafka takes 12 s)"
}

# ---- the comparison ------------------------------------------------------------------------------------------------

compare() {
  local reader=$((victim % nodes + 1)) want got lines
  lines=$(awk 'END { print NR }' "$file")
  rafka --bootstrap "$(address "$reader")" consume $topic --from earliest --format '%p\t%o\t%k\t%v\n' > "$RUN_DIR/read.tsv" 2> "$RUN_DIR/consume.log" \
    || { cat "$RUN_DIR/consume.log" >&2; die "reading back failed"; }
  tell "read back through $(address "$reader")"
  awk -F '\t' -v lines="$lines" '
    { n++; p = $1; offset = $2 + 0; line = $3 + 0
      if ((p in last_offset) && offset <= last_offset[p]) offsets++
      if ((p in last_line) && line <= last_line[p]) order++
      if (line in seen) twice++
      seen[line] = 1; last_offset[p] = offset; last_line[p] = line; count[p]++ }
    END {
      for (line = 1; line <= lines; line++) if (!(line in seen)) lost++
      for (p = 0; p in count; p++) printf "  partition %d: %d lines\n", p, count[p]
      printf "  lines written %d, read %d, lost %d, twice %d, out of order in their partition %d, offsets out of order %d\n",
        lines, n, lost, twice, order, offsets
      exit (n != lines || lost || twice || order || offsets) }' "$RUN_DIR/read.tsv" || bad="counts or order differ"
  want=$(numbered | sha256sum)
  got=$(cut -f 3- "$RUN_DIR/read.tsv" | LC_ALL=C sort -n -k 1,1 -t $'\t' -s | sha256sum)
  echo "  digest of what was written ${want%% *}"
  echo "  digest of what was read    ${got%% *}"
  [ "$want" = "$got" ] || bad="${bad:+$bad; }the digests differ"
}

# ---- the story -----------------------------------------------------------------------------------------------------

say "rafka: three nodes, one dies, nothing is lost"
need_rust
build
[ "$kafka" = rafka ] || { kafka_jars; KAFKA_PORT=${KAFKA_PORT:-19092}; export KAFKA_PORT; }
[ -n "$file" ] || default_text
run_dir helloworld
[ "$kafka" = rafka ] || ln -s "$KAFKA_DIR/libs" "$KAFKA_DIR/log4j2.properties" "$RUN_DIR"
bad='' victim='' flowing='' killed_at=''
began=$(now_ms)

form
rafka --bootstrap "$(all_addresses)" topic create $topic --partitions $partitions --replication-factor $nodes
tell "writing $(awk 'END { print NR }' "$file") lines of $file ($(du -hL "$file" | cut -f 1)), $lines_a_second a second"
background produce
producer=$BACKGROUND
until [ "$(partitions_by 1 2> /dev/null | total 3)" -gt 20000 ]; do
  kill -0 "$producer" 2> /dev/null || break
  sleep 0.1
done
kill_leader
sleep 1
start_one "$victim"
await "$victim"
tell "the killed node is back and ready"
if wait "$producer"; then
  tell "the producer has ended: $(grep -m 1 acknowledged "$RUN_DIR/produce.log")"
else
  bad="the producer failed"
  tail -5 "$RUN_DIR/produce.log"
fi
compare

if [ -n "$keep" ]; then
  trap - EXIT
  echo "The mesh is running. Use it:  export RAFKA_BOOTSTRAP=$(all_addresses) RAFKA_HTTP=$(http_at 1)"
  echo "                              $RAFKA_BIN consume $topic --max 10"
  echo "Stop it:                      kill ${PIDS[*]}"
fi
[ -z "$bad" ] || { echo "RESULT helloworld: ${RED}FAILED${PLAIN}: $bad"; exit 1; }
echo "RESULT helloworld: ${GREEN}every line is there, once and in order${PLAIN}; writes flowed again after $(seconds "$flowing") s"
