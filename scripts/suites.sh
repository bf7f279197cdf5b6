#!/usr/bin/env bash
# The integration tests of client projects, as their authors wrote them: first against Apache Kafka, then against three nodes of rafka,
# with the same settings. Only what fails on Kafka too is excused. What fails on rafka and waits for something that is not there yet
# stands by name, with the reason, in scripts/suites/SUITE.waits; anything else that fails is a bug, and the exit code is 1.
#
#   scripts/suites.sh [SUITE..]         rskafka rdkafka franz-go librdkafka; all of them when none is named
#   scripts/suites.sh --only REGEX ..   only the tests whose name matches; on Kafka anew
#   scripts/suites.sh --kafka-again ..  Kafka's results anew; otherwise those of an earlier run with the same version and settings hold
#   scripts/suites.sh --fetch [SUITE..] only fetch and build the tests, below target/suites
#   scripts/suites.sh --docs            all of them, kept as docs/suites.md
#   scripts/suites.sh --report [SUITE..]  what the last runs of these suites found, without running anything; with --docs, as docs/suites.md
#   WHOLE=1 scripts/suites.sh ..        librdkafka's tests at full length; otherwise in its quick mode, in which some of them do nothing
. "$(dirname "$0")/lib.sh"

SUITES=(rskafka rdkafka franz-go librdkafka)
SUITES_DIR=$TARGET_DIR/suites
JOBS=${JOBS:-$(nproc)}

version_of() { # SUITE: what is fetched from its registry
  case $1 in
    rskafka) echo 0.6.0 ;;
    rdkafka) echo 0.39.0 ;;
    franz-go) echo 1.22.2 ;;
    librdkafka) echo 4.10.0+2.12.1 ;; # of rdkafka-sys, which bundles librdkafka 2.12.1 with its tests
  esac
}
KADM=1.18.0 # a module of its own in franz-go's repository

# ---- fetch and build: in $SUITES_DIR/SUITE; `programs` lists test programs and where to run them ------------

crate() { # NAME VERSION: a copy of the crate's sources as src
  mkdir -p fetch/src
  printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n[workspace]\n' "$1" "$2" > fetch/Cargo.toml
  : > fetch/src/lib.rs
  local manifest
  manifest=$(cargo metadata --manifest-path fetch/Cargo.toml --format-version 1 | python3 -c '
import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == sys.argv[1]))' "$1")
  rm -rf src
  cp -r "$(dirname "$manifest")" src
}

with_cargo() { # CRATE VERSION [PACKAGE VERSION]: one that the crate's lock file names too old for our compiler
  crate "$1" "$2"
  # Our toolchain, not one that the crate names: that would be fetched from elsewhere.
  local toolchain; toolchain=$(cd "$ROOT" && rustup show active-toolchain 2> /dev/null | cut -d' ' -f1)
  export CARGO_PROFILE_DEV_DEBUG=0 RUSTUP_TOOLCHAIN=$toolchain CARGO_TARGET_DIR=$PWD/build
  [ -z "${3:-}" ] || (cd src && cargo update --quiet -p "$3" --precise "$4")
  (cd src && cargo test --locked --tests --no-run --jobs "$JOBS" --message-format json) > messages.json
  python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["kind"] == ["test"]:
        print(message["executable"], sys.argv[1], sep="\t")' "$PWD/src" < messages.json > programs
}

go_module() { # MODULE VERSION PACKAGE NAME: the tests of one package of it
  local from
  from=$(go mod download -json "$1@v$2" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  (cd "$from" && go test -c -p "$JOBS" -o "$OLDPWD/$4" "./$3")
  printf '%s\t%s\n' "$PWD/$4" "$from/$3" >> programs
}

with_go() { # VERSION
  export GOPATH=$SUITES_DIR/cache/go GOFLAGS="-mod=readonly -modcacherw" GOWORK=off
  : > programs
  go_module github.com/twmb/franz-go "$1" pkg/kgo kgo
  go_module github.com/twmb/franz-go/pkg/kadm "$KADM" . kadm
}

with_make() { # VERSION
  crate rdkafka-sys "$1"
  mv src whole
  mv whole/librdkafka src
  rm -rf whole
  (cd src && ./configure --disable-ssl --disable-gssapi --disable-curl && make -j"$JOBS" libs && make -j"$JOBS" -C tests build)
  printf '%s\t%s\n' "$PWD/src/tests/test-runner" "$PWD/src/tests" > programs
}

prepare() { # SUITE: builds it, unless that was done already
  local suite=$1 at=$SUITES_DIR/$1 version want begin; begin=$(now_ms)
  version=$(version_of "$suite")
  case $suite in
    rskafka) need_rust; need c++ java python3; set -- with_cargo "$suite" "$version" rsasl 2.3.1 ;;
    rdkafka) need_rust; need c++ python3; set -- with_cargo "$suite" "$version" ;;
    franz-go) need go python3; set -- with_go "$version" ;;
    librdkafka) need_rust; need c++ make python3; set -- with_make "$version" ;;
  esac
  want="$version $KADM $(declare -f crate go_module "$1" | sha256sum)"
  [ "$(cat "$at/built" 2> /dev/null)" != "$want" ] || return 0
  mkdir -p "$at"
  # Not with ||, under which a failing command would not end the rest.
  local status
  set +e
  (set -e; cd "$at"; "$@") > "$SUITES_DIR/$suite.log" 2>&1
  status=$?
  set -e
  [ "$status" = 0 ] || { tail -20 "$SUITES_DIR/$suite.log" >&2; die "$suite could not be had; see $SUITES_DIR/$suite.log"; }
  echo "${version#*+}" > "$at/version"
  echo "$want" > "$at/built"
  note "$suite $version fetched and built in $(seconds $(($(now_ms) - begin))) s"
}

# ---- the run -------------------------------------------------------------------------------------------------------

only_fetch='' docs='' options=()
while [[ ${1:-} == -* ]]; do
  case $1 in
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit ;;
    --self-test) need python3; exec python3 "$SCRIPTS/rig/suites.py" --self-test ;;
    --fetch) only_fetch=yes ;;
    --docs) docs=yes ;;
    --kafka-again | --report) options+=("$1") ;;
    --only) options+=("$1" "${2:?REGEX}"); shift ;;
    *) die "no option $1; see $0 --help" ;;
  esac
  shift
done
for suite in "$@"; do
  case " ${SUITES[*]} " in *" $suite "*) ;; *) die "no suite $suite; there are: ${SUITES[*]}" ;; esac
done
[ $# -gt 0 ] || set -- "${SUITES[@]}"

mkdir -p "$SUITES_DIR"
for suite in "$@"; do prepare "$suite"; done
[ -z "$only_fetch" ] || exit 0
case " ${options[*]} " in *" --report "*) ;; *) kafka_jars; build ;; esac
run_dir suites
export RUN_DIR SUITES_DIR
status=0
python3 "$SCRIPTS/rig/suites.py" "${options[@]}" "$@" || status=$?
[ -z "$docs" ] || [ ! -e "$RUN_DIR/report.md" ] || keep suites.md "Test suites of clients" "scripts/suites.sh" < "$RUN_DIR/report.md"
exit "$status"
