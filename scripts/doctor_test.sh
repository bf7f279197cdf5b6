#!/usr/bin/env bash
# `rafka doctor` against faults that are staged with real processes: nodes killed, frozen, cut off and restarted in a loop, a full disk and a
# stuck one, a clock that is wrong, damaged segments, an old copy of a data directory, limits used up. Each fault has a fresh mesh of three
# nodes: doctor must find nothing, then name the fault with the right node and partition within a bounded number of tries, then find
# nothing again once the fault is mended. Prints a table; exit code 1 when one fault was not named, or when a healthy mesh was not
# called healthy.
#
#   scripts/doctor_test.sh                   all of them
#   scripts/doctor_test.sh --only split      those whose name has that in it; may be repeated
#   scripts/doctor_test.sh --list            what there is, without running it
#
# Networks and mounts are those of namespaces of its own and end with it. It runs as root, or as anybody where user namespaces are
# allowed; the stuck disk alone needs real root and loop devices. What cannot be staged here is named and counted, and is no failure.
# The wrong clock is libfaketime's, of Debian, unpacked under target/ and not installed; where it cannot be had --clock-offset-ms stands in.
. "$(dirname "$0")/lib.sh"

case " $* " in
  *" --help "* | *" -h "*) sed -n '2,/^\. /s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac

faketime() { # sets FAKETIME_LIB to libfaketime, or to nothing
  local into=$TARGET_DIR/faketime
  mkdir -p "$into"
  FAKETIME_LIB=$(find "$into" -name libfaketime.so.1 | head -1)
  [ -z "$FAKETIME_LIB" ] || return 0
  command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null || return 0
  note "fetching Debian's libfaketime into $into"
  rm -rf "$into"
  mkdir -p "$into"
  (cd "$into" && { apt-get download libfaketime || { apt-get update && apt-get download libfaketime; }; }) > "$TARGET_DIR/apt.log" 2>&1 \
    && dpkg-deb -x "$into"/libfaketime_*.deb "$into" || return 0
  FAKETIME_LIB=$(find "$into" -name libfaketime.so.1 | head -1)
}

need python3
case " $* " in
  *" --list "*) ;;
  *) build; faketime ;;
esac
run_dir doctor
export RUN_DIR FAKETIME_LIB=${FAKETIME_LIB:-}

own_network
[ -n "${OWN_NETWORK:-}" ] \
  || note "no namespaces here (neither root nor user namespaces): nodes share the loopback, and what needs a network or a disk of its own is left out"
exec "${OWN[@]}" python3 "$SCRIPTS/rig/doctor.py" "$@"
