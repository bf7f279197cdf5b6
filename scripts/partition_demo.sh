#!/usr/bin/env bash
# Where records land: keyed ones by Java's hash, so that clients in Java and others may share a topic, and the rest in turns. Three nodes on this
# machine, real records read back, each compared with where Java's DefaultPartitioner puts it, and with where Kafka's own Java producer did.
#
#   scripts/partition_demo.sh [--partitions N] [--no-java]
#
# --no-java leaves Kafka's Java producer out; without it, its jars are fetched from Maven Central once (a JRE and maven are needed).
. "$(dirname "$0")/lib.sh"

partitions=12 java=yes nodes=3 keys=10000 each=20 loose=240000
while [ $# -gt 0 ]; do
  case $1 in
    --partitions) partitions=${2:?--partitions N}; shift ;;
    --no-java) java='' ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown argument $1; try --help" ;;
  esac
  shift
done
[[ $partitions =~ ^[1-9][0-9]?$ ]] || die "--partitions is 1 to 99, not $partitions"

began=$(now_ms)
tell() { printf '%s[%7.3f s]%s %s\n' "$DIM" "$(seconds $(($(now_ms) - began)))" "$PLAIN" "$*"; }
rafka() { "$RAFKA_BIN" --bootstrap "$(bootstrap $nodes)" --http "$(http_at 1)" "$@"; }
bad=''
judge() { python3 "$SCRIPTS/rig/spread.py" "$@" || bad="${bad:+$bad; }$*"; }

# keys x each records: key-17 TAB number of the record, ascending within each key.
keyed() { awk -v keys=$keys -v each="${1:-$each}" 'BEGIN { for (n = 0; n < each; n++) for (k = 0; k < keys; k++) printf "key-%d\t%d\n", k, n }'; }
numbers() { seq "$loose"; }
create() { rafka topic create "$1" --partitions "$partitions" --replication-factor $nodes > /dev/null; }
read_back() { # TOPIC RECORDS
  rafka consume "$1" --format '%p\t%o\t%k\t%v\n' > "$RUN_DIR/$1.tsv" 2> "$RUN_DIR/$1.log" || { cat "$RUN_DIR/$1.log" >&2; die "reading $1 back failed"; }
  local read; read=$(wc -l < "$RUN_DIR/$1.tsv")
  [ "$read" = "$2" ] || bad="${bad:+$bad; }$1: $read of $2 records read back"
}
produce() { # TOPIC ARGS..: standard input, line by line
  local topic=$1; shift
  rafka produce "$topic" "$@" > "$RUN_DIR/$topic.produce" 2>&1 || { tail -5 "$RUN_DIR/$topic.produce" >&2; die "writing $topic failed"; }
}

say "rafka: where records land"
need python3
need_rust
build
[ -z "$java" ] || kafka_jars
run_dir partition_demo
began=$(now_ms)

tell "Java's key hash, in Python, against the values in Kafka's own tests"
judge vectors

tell "starting $nodes nodes"
for i in $(seq $nodes); do node_start "$i" --seeds "$(seeds $nodes)"; done
for i in $(seq $nodes); do node_ready "$i"; done
tell "the mesh is ready"

create keyed
tell "${BOLD}keyed${PLAIN}: $((keys * each)) records of $keys keys into $partitions partitions, with the client's defaults"
keyed | produce keyed --key-separator $'\t'
read_back keyed $((keys * each))
tell "read back; each partition by the hash of its keys:"
judge keyed "$partitions" "$RUN_DIR/keyed.tsv"

if [ -n "$java" ]; then
  create java
  tell "${BOLD}the same keys from Kafka's own Java producer${PLAIN} into a second topic"
  keyed 1 | "$SCRIPTS/peers/kafka.sh" tool "$KAFKA_DIR" produce --bootstrap-server "$(bootstrap $nodes)" --topic java \
    --reader-property parse.key=true > "$RUN_DIR/java.produce" 2>&1 || { tail -5 "$RUN_DIR/java.produce" >&2; die "Kafka's producer failed"; }
  read_back java $keys
  tell "read back; is each key where the client put it?"
  judge same "$RUN_DIR/keyed.tsv" "$RUN_DIR/java.tsv"
fi

create turns
tell "${BOLD}round-robin${PLAIN}: $loose records without key, rafka produce --round-robin"
numbers | produce turns --round-robin
read_back turns "$loose"
judge turns "$partitions" "$RUN_DIR/turns.tsv"

create loose
tell "${BOLD}without key, each for itself${PLAIN}: $loose records, -X sticky.partitioning.linger.ms=0"
numbers | produce loose -X sticky.partitioning.linger.ms=0
read_back loose "$loose"
# Six standard deviations of a fair draw, in per cent of a partition's share.
judge even "$partitions" "$RUN_DIR/loose.tsv" "$(awk -v n="$loose" -v p="$partitions" 'BEGIN { print 600 * sqrt((p - 1) / n) + 0.01 }')"

tell "what adding partitions does to keys: they are hashed over the new number"
judge moved "$partitions" $((partitions + 4)) "$RUN_DIR/keyed.tsv"

for i in $(seq $nodes); do node_stop "$i"; done
tell "all nodes stopped"
[ -z "$bad" ] || { echo "RESULT partition demo: ${RED}FAILED${PLAIN}: $bad"; exit 1; }
echo "RESULT partition demo: ${GREEN}every key is where Java's DefaultPartitioner puts it${PLAIN}${java:+, and where the producer of Kafka itself put it}; turns are exact"
