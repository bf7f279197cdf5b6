#!/usr/bin/env bash
# Fuzzes every decoder that reads from the network or a disk, one after the other, and keeps what it learned small in fuzz/corpus.
#   scripts/fuzz.sh                      five minutes in all
#   scripts/fuzz.sh --seconds N          N seconds in all; an hour before a release
#   scripts/fuzz.sh --minimize           also make the corpora small again
#   scripts/fuzz.sh TARGET..             only these (fuzz/fuzz_targets)
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

seconds=300 minimize='' targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds N}; shift ;;
    --minimize) minimize=1 ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
need_rust
need c++
command -v cargo-fuzz > /dev/null || cargo install --locked cargo-fuzz@0.13.2
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cd fuzz/fuzz_targets && for f in *.rs; do echo "${f%.rs}"; done)
each=$((seconds / ${#targets[@]}))
# Without a sanitizer the pinned stable compiler does; memory is safe, and overflow is checked.
fuzz() { cargo fuzz "$1" --sanitizer none --target-dir "$TARGET_DIR/fuzz" "${@:2}"; }
failed=0
for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target"
  log=$TARGET_DIR/fuzz-$target.log
  if fuzz run "$target" -- -max_total_time="$each" -max_len=4096 -rss_limit_mb=4096 -timeout=20 -print_final_stats=1 > "$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    echo "$target: clean, $runs runs in $each s"
  else
    failed=$((failed + 1))
    tail -30 "$log"
    echo "$target: FAILED, see $log; the input is kept in fuzz/artifacts/$target"
  fi
  [ -z "$minimize" ] || fuzz cmin "$target" > "$log" 2>&1
done
echo "RESULT fuzz: ${#targets[@]} targets, $failed failed, $seconds s"
[ "$failed" = 0 ]
