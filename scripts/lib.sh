# shellcheck shell=bash disable=SC1091,SC2034
# Shared by the scripts: sourced, not run. Finds or installs what a fresh Debian machine lacks, builds the release binaries once,
# starts nodes as processes of our own on loopback, and leaves none behind.
#
#   need kcat make ..      programs; installed by apt-get when we are root, else named with the command that helps
#   build                  cargo build --release of rafka-node and rafka; sets NODE_BIN and RAFKA_BIN
#   venv                   a Python with confluent-kafka in target/venv; sets PYTHON
#   kafka_jars             Apache Kafka's jars in target/kafka; sets KAFKA_DIR
#   own_network            namespaces of our own; sets OWN
#   run_dir NAME           an empty target/run/NAME; sets RUN_DIR
#   node_start I ARGS..    start node I (1..) of this run; node_ready I, node_kill I SIGNAL, node_stop I, ports below
set -euo pipefail

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$SCRIPTS")
TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}
# Ports of node I: kafka, mesh and HTTP are PORT+I, PORT+100+I, PORT+200+I.
PORT=${PORT:-29090}

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
else
  BOLD='' DIM='' RED='' GREEN='' YELLOW='' PLAIN=''
fi

die() { echo "${RED}$(basename "$0"): $*${PLAIN}" >&2; exit 1; }
say() { echo "${BOLD}$*${PLAIN}"; }
note() { echo "${DIM}$*${PLAIN}"; }
now_ms() { local us=${EPOCHREALTIME/[.,]/}; echo $((us / 1000)); }
seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# Copies standard input to standard output and into a page of docs/: keep PAGE TITLE COMMAND.
keep() {
  {
    printf '# %s\n\n`%s` at %s, %s cores, Linux %s.\n\n```\n' "$2" "$3" \
      "$(git -C "$ROOT" rev-parse --short HEAD 2> /dev/null || echo 'no commit')" "$(nproc)" "$(uname -r)"
    cat
    printf '```\n'
  } | tee "$ROOT/docs/$1" | sed -n '5,$p'
}

# ---- what a fresh machine lacks ------------------------------------------------------------------------------------

apt_name() {
  case $1 in
    java) echo default-jre-headless ;;
    javac) echo default-jdk-headless ;;
    go) echo golang-go ;;
    node) echo nodejs ;;
    mvn) echo maven ;;
    cc) echo gcc libc6-dev ;;
    c++) echo g++ ;;
    python3) echo python3 python3-venv ;;
    ip) echo iproute2 ;;
    unshare | nsenter | fsfreeze | prlimit) echo util-linux ;;
    losetup | mount) echo mount ;;
    mkfs.ext4) echo e2fsprogs ;;
    *) echo "$1" ;;
  esac
}

apt_updated=
apt_install() { # PACKAGES..
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    die "missing on this machine; install it with: sudo apt-get install -y $*"
  fi
  note "installing $*"
  if [ -z "$apt_updated" ]; then
    apt-get update > /dev/null 2>&1 || note "apt-get update failed; trying with the lists that are there"
    apt_updated=yes
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" > "$TARGET_DIR/apt.log" 2>&1 \
    || { tail -5 "$TARGET_DIR/apt.log" >&2; die "could not install; run: apt-get install -y $*"; }
}

need() { # PROGRAMS..
  local program missing=()
  mkdir -p "$TARGET_DIR"
  for program in "$@"; do
    # shellcheck disable=SC2207
    command -v "$program" > /dev/null || missing+=($(apt_name "$program"))
  done
  [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

need_rust() {
  command -v cargo > /dev/null || { [ ! -r "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"; }
  command -v cargo > /dev/null || die "no cargo; install Rust with: curl https://sh.rustup.rs -sSf | sh"
  need cc make
}

venv() {
  need python3
  PYTHON=$TARGET_DIR/venv/bin/python
  if ! "$PYTHON" -c 'import confluent_kafka' 2> /dev/null; then
    note "installing confluent-kafka in $TARGET_DIR/venv"
    if ! python3 -m venv "$TARGET_DIR/venv" > /dev/null 2>&1; then
      rm -rf "$TARGET_DIR/venv"
      apt_install python3-venv
      python3 -m venv "$TARGET_DIR/venv"
    fi
    "$PYTHON" -m pip install -q --disable-pip-version-check 'confluent-kafka>=2.6' \
      || die "pip could not install confluent-kafka into $TARGET_DIR/venv"
  fi
  export PYTHON
}

kafka_jars() {
  need java mvn
  KAFKA_DIR=${KAFKA_DIR:-$TARGET_DIR/kafka}
  "$SCRIPTS/peers/kafka.sh" fetch "$KAFKA_DIR" || die "Kafka's jars could not be fetched from Maven Central"
  export KAFKA_DIR
}

# Namespaces that a rig may administer and that end with it: sets OWN, a command to put it behind, and exports OWN_NETWORK, and REAL_ROOT where
# we are root outside too. Both stay empty where there are none.
own_network() {
  need ip unshare nsenter
  OWN=(unshare --net --mount --propagation private)
  [ "$(id -u)" = 0 ] || OWN=(unshare --user --map-root-user --net --mount --propagation private)
  [ "$(id -u)" = 0 ] && export REAL_ROOT=1
  if "${OWN[@]}" sh -c 'mount -t tmpfs tmpfs /run && ip link add try type veth peer name other' 2> /dev/null; then
    export OWN_NETWORK=1
  else
    OWN=()
  fi
}

# ---- our binaries --------------------------------------------------------------------------------------------------

# RAFKA_NODE_BIN and RAFKA_BIN name binaries that are built already.
build() { # the release binaries
  if [ -n "${RAFKA_NODE_BIN:-}" ] && [ -n "${RAFKA_BIN:-}" ]; then
    NODE_BIN=$RAFKA_NODE_BIN
    return
  fi
  need_rust
  local begin; begin=$(now_ms)
  (cd "$ROOT" && cargo build --release -p node -p client) || die "the build failed"
  NODE_BIN=$TARGET_DIR/release/rafka-node RAFKA_BIN=$TARGET_DIR/release/rafka
  export RAFKA_NODE_BIN=$NODE_BIN RAFKA_BIN
  note "built in $(seconds $(($(now_ms) - begin))) s"
}

# What TARGET names: our binaries, or Kafka's jars.
target_binaries() {
  case ${TARGET:-rafka} in
    rafka) build ;;
    kafka) kafka_jars ;;
    *) die "TARGET is rafka or kafka, not $TARGET" ;;
  esac
}

# ---- nodes as processes --------------------------------------------------------------------------------------------

declare -A PIDS=()

run_dir() { # NAME
  RUN_DIR=$TARGET_DIR/run/$1
  rm -rf "$RUN_DIR"
  mkdir -p "$RUN_DIR"
}

kafka_at() { echo "127.0.0.1:$((PORT + $1))"; }
mesh_at() { echo "127.0.0.1:$((PORT + 100 + $1))"; }
http_at() { echo "127.0.0.1:$((PORT + 200 + $1))"; }
bootstrap() { local i out=; for i in $(seq "$1"); do out+=${out:+,}$(kafka_at "$i"); done; echo "$out"; }
seeds() { local i out=; for i in $(seq "$1"); do out+=${out:+,}$(mesh_at "$i"); done; echo "$out"; }

node_start() { # I ARGS..
  local i=$1; shift
  (exec 3<> "/dev/tcp/127.0.0.1/$((PORT + i))") 2> /dev/null && die "port $((PORT + i)) is taken; set PORT to a free range"
  "$NODE_BIN" --data-dir "$RUN_DIR/data$i" --listen-kafka "$(kafka_at "$i")" --listen-mesh "$(mesh_at "$i")" \
    --listen-http "$(http_at "$i")" "$@" >> "$RUN_DIR/node$i.log" 2>&1 &
  PIDS[$i]=$!
  echo "${PIDS[$i]}" > "$RUN_DIR/node$i.pid"
}

node_alive() { [ -n "${PIDS[$1]:-}" ] && kill -0 "${PIDS[$1]}" 2> /dev/null; }

http_status() { # HOST:PORT PATH
  local line=
  exec 9<> "/dev/tcp/${1%:*}/${1#*:}" || return 1
  printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$1" >&9
  read -r -t 2 line <&9 || true
  exec 9>&-
  line=${line#* }
  echo "${line%% *}"
} 2> /dev/null

http_body() { # HOST:PORT PATH
  exec 9<> "/dev/tcp/${1%:*}/${1#*:}" || return 1
  printf 'GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$1" >&9
  timeout 5 sed '1,/^\r$/d' <&9
  exec 9>&-
} 2> /dev/null

node_ready() { # I [SECONDS]
  local i=$1 until=$(($(now_ms) + ${2:-60} * 1000))
  while [ "$(http_status "$(http_at "$i")" /readyz)" != 200 ]; do
    node_alive "$i" || { tail -20 "$RUN_DIR/node$i.log" >&2; die "node $i stopped; its log is $RUN_DIR/node$i.log"; }
    [ "$(now_ms)" -lt "$until" ] || { tail -20 "$RUN_DIR/node$i.log" >&2; die "node $i is not ready after ${2:-60} s"; }
    sleep 0.02
  done
}

node_kill() { kill -"$2" "${PIDS[$1]}"; }

node_stop() { # I [SECONDS]: SIGTERM, and SIGKILL to what does not stop
  node_alive "$1" || { unset "PIDS[$1]"; return 0; }
  local pid=${PIDS[$1]} until=$(($(now_ms) + ${2:-15} * 1000))
  kill -CONT "$pid" 2> /dev/null || true
  kill -TERM "$pid" 2> /dev/null || true
  while kill -0 "$pid" 2> /dev/null; do
    [ "$(now_ms)" -lt "$until" ] || { kill -KILL "$pid" 2> /dev/null || true; break; }
    sleep 0.05
  done
  wait "$pid" 2> /dev/null || true
  unset "PIDS[$1]"
}

# Pipelines of ours that are no nodes: background COMMAND.. starts one as a process group of its own, so that all of it can be ended;
# sets BACKGROUND to its process id.
OTHERS=()
background() {
  set -m
  "$@" &
  BACKGROUND=$!
  set +m
  OTHERS+=("$BACKGROUND")
}

stop_all() {
  local pid i
  trap - EXIT
  for pid in "${OTHERS[@]}"; do kill -KILL -- "-$pid" 2> /dev/null || true; done
  for pid in "${PIDS[@]}"; do kill -CONT "$pid" 2> /dev/null || true; kill -TERM "$pid" 2> /dev/null || true; done
  for i in "${!PIDS[@]}"; do node_stop "$i" 5; done
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
