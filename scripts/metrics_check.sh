#!/usr/bin/env bash
# deploy/ against a running mesh: promtool checks the rules and what three nodes say at /metrics; every figure that the rules or the
# dashboard name is there; a Prometheus that scrapes the mesh answers every panel, fires nothing while all is well, and notices a
# killed node. Prometheus is Debian's, unpacked under target/ when the machine has none: nothing is installed, nothing is left running.
#
#   scripts/metrics_check.sh [--seconds 25]
. "$(dirname "$0")/lib.sh"

prometheus() {
  PROMETHEUS_DIR=
  command -v promtool > /dev/null && command -v prometheus > /dev/null && return
  PROMETHEUS_DIR=$TARGET_DIR/prometheus/usr/bin
  [ -x "$PROMETHEUS_DIR/promtool" ] && return
  need apt-get dpkg-deb
  note "fetching Debian's prometheus into $TARGET_DIR/prometheus"
  local into=$TARGET_DIR/prometheus.deb
  rm -rf "$into"
  mkdir -p "$into"
  (cd "$into" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; }) > "$TARGET_DIR/apt.log" 2>&1 \
    || { tail -5 "$TARGET_DIR/apt.log" >&2; die "could not fetch it; run: apt-get install -y prometheus"; }
  dpkg-deb -x "$into"/prometheus_*.deb "$TARGET_DIR/prometheus"
  rm -rf "$into"
}

need python3
prometheus
build
run_dir metrics
export RUN_DIR
PATH=${PROMETHEUS_DIR:+$PROMETHEUS_DIR:}$PATH exec python3 "$SCRIPTS/rig/metrics_check.py" "$@"
