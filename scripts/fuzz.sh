#!/usr/bin/env bash
# Fuzzes every decoder that reads from the network or a disk, one after the other, from the inputs in fuzz/corpus; what it learns is kept below
# target/corpus.
#   scripts/fuzz.sh                      five minutes in all
#   scripts/fuzz.sh --seconds N          N seconds in all; an hour before a release
#   scripts/fuzz.sh --keep               also put a few of the inputs that find most into fuzz/corpus
#   scripts/fuzz.sh TARGET..             only these (fuzz/fuzz_targets)
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

seconds=300 keep='' targets=()
KEPT=64 # of each target
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds N}; shift ;;
    --keep) keep=1 ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
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
  learned=$TARGET_DIR/corpus/$target
  mkdir -p "fuzz/corpus/$target" "$learned"
  log=$TARGET_DIR/fuzz-$target.log
  if fuzz run "$target" "$learned" "fuzz/corpus/$target" -- -max_total_time="$each" -max_len=4096 -rss_limit_mb=4096 -timeout=20 -print_final_stats=1 > "$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    echo "$target: clean, $runs runs in $each s"
  else
    failed=$((failed + 1))
    tail -30 "$log"
    echo "$target: FAILED, see $log; the input is kept in fuzz/artifacts/$target"
  fi
  if [ -n "$keep" ]; then
    best=$(mktemp -d)
    fuzz run "$target" "$best" "$learned" "fuzz/corpus/$target" -- -set_cover_merge=1 > "$log" 2>&1
    rm -rf "fuzz/corpus/$target" && mkdir -p "fuzz/corpus/$target"
    # Of all sizes some.
    count=$(find "$best" -type f | wc -l)
    find "$best" -type f -size -5k -printf '%s %p\n' | sort -n | awk -v every=$(((count + KEPT - 1) / KEPT)) 'NR % every == 0 { print $2 }' |
      xargs -r cp -t "fuzz/corpus/$target"
    rm -rf "$best"
  fi
done
echo "RESULT fuzz: ${#targets[@]} targets, $failed failed, $seconds s"
[ "$failed" = 0 ]
