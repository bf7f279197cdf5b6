"""See ../suites.sh: runs the tests of client projects one by one against nobody, Apache Kafka and rafka, and compares.

What passes without any broker is no test of a broker and is left out. SUITE.waits holds lines `test: why`, or `# ..`; a reason that
begins with "at times, " is that of a test which passes often.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import mesh

SUITES_DIR = os.environ.get("SUITES_DIR", "")
WAITS = os.path.join(mesh.HERE, "..", "suites")
KAFKA_VERSION = "4.3.1"
NOBODY, NOBODY_SECONDS, NOBODY_AT_ONCE = "127.0.0.1:1", 12, 6
TEST_SECONDS, AGAIN = 240, 2
PASS, FAIL, SKIP = "passed", "failed", "skipped"
AT_TIMES = "at times, "


# ---- the suites ----------------------------------------------------------------------------------------------------


class Suite:
    """A list of tests, the command and environment of one, and how its output is read."""

    # Brokers of Kafka and the settings, as the suite's own set-up has them. On rafka there are always three nodes.
    brokers, alone, kafka = 3, [], ["min.insync.replicas=1"]
    # Kafka's interval: some tests write records of 1970, which the next check deletes.
    rafka = ["--retention-check-ms", "300000"]
    # Where its tests look for the first broker whatever they are told.
    first_port = None

    def __init__(self, name):
        self.name, self.directory = name, f"{SUITES_DIR}/{name}"
        with open(f"{self.directory}/version") as version, open(f"{self.directory}/programs") as programs:
            self.version = version.read().strip()
            # (program, the directory to run it in)
            self.programs = [tuple(line.rstrip("\n").split("\t")) for line in programs]

    def tests(self):
        """{test: (command, directory)}"""
        raise NotImplementedError

    def environment(self, bootstrap):
        raise NotImplementedError

    def judge(self, code, said):
        raise NotImplementedError

    def settings(self):
        """What Kafka's remembered results hold for."""
        tests = {t: c[-4:] for t, (c, _) in self.tests().items()}
        known = [AGAIN, self.brokers, self.first_port, self.kafka, self.environment("B"), tests]
        return hashlib.sha256(json.dumps([KAFKA_VERSION, *known], sort_keys=True).encode()).hexdigest()[:12]


class Cargo(Suite):
    def __init__(self, name, environment, kafka=(), rafka=()):
        super().__init__(name)
        self.variables = environment
        self.kafka, self.rafka = [*Suite.kafka, *kafka], [*Suite.rafka, *rafka]

    def tests(self):
        tests = {}
        for program, directory in self.programs:
            short = os.path.basename(program).rsplit("-", 1)[0]
            listed = subprocess.run([program, "--list", "--format", "terse"], capture_output=True, text=True, check=True).stdout
            for test in re.findall(r"^(\S+): test$", listed, re.M):
                # Not the tests of a shared module, which every program has.
                if "::" not in test:
                    tests[f"{short}::{test}"] = ([program, "--exact", test, "--nocapture", "--test-threads=1"], directory)
        return tests

    def environment(self, bootstrap):
        return {key: value.replace("BOOTSTRAP", bootstrap) for key, value in self.variables.items()}

    def judge(self, code, said):
        if code or not re.search(r"^test result: ok\. 1 passed", said, re.M):
            return FAIL
        return SKIP if re.search(r"(^|\.\.\. )skipping", said, re.M | re.I) else PASS


class Go(Suite):
    def tests(self):
        tests = {}
        for program, directory in self.programs:
            short = os.path.basename(program)
            listed = subprocess.run([program, "-test.list", ".*"], capture_output=True, text=True, check=True).stdout
            for test in re.findall(r"^(Test\S+)$", listed, re.M):
                tests[f"{short}.{test}"] = ([program, "-test.run", f"^{test}$", "-test.v", "-test.timeout", "1h"], directory)
        return tests

    def environment(self, bootstrap):
        return {"KGO_SEEDS": bootstrap, "KGO_TEST_RF": "3", "KGO_TEST_RECORDS": "20000", "KGO_LOG_LEVEL": "none"}

    def judge(self, code, said):
        if code or not re.search(r"^(PASS|--- (PASS|SKIP))", said, re.M):
            return FAIL
        return SKIP if re.search(r"^--- SKIP", said, re.M) else PASS


class Librdkafka(Suite):
    # As scenarios/default.json has it; with access rules, which every client may change. Only controllers log in.
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="c" password="c" user_c="c";'
    authorizer = [
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found=true",
        "super.users=User:c",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "sasl.mechanism.controller.protocol=PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms=PLAIN",
        f"listener.name.controller.plain.sasl.jaas.config={login}",
    ]
    kafka = [*Suite.kafka, "auto.create.topics.enable=true", "num.partitions=4", *authorizer]
    rafka = [*Suite.rafka, "--default-partitions", "4"]
    # Its quick mode, in which those of its tests that have no quick form do nothing.
    quick = [] if os.environ.get("WHOLE") else ["-Q"]
    # Kafka's own tools, which some of its tests call.
    tools = {
        "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
        "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
        "kafka-run-class.sh": "",
    }

    def __init__(self, name):
        super().__init__(name)
        if jars := os.environ.get("KAFKA_DIR"):
            os.makedirs(f"{self.directory}/kafka/bin", exist_ok=True)
            if not os.path.exists(f"{self.directory}/kafka/libs"):
                os.symlink(f"{os.path.abspath(jars)}/libs", f"{self.directory}/kafka/libs")
            for tool, java in self.tools.items():
                path = f"{self.directory}/kafka/bin/{tool}"
                with open(path, "w", encoding="utf-8") as file:
                    file.write(f'#!/bin/sh\nexec java -cp "$CLASSPATH:$KAFKA_PATH/libs/*" {java} "$@"\n')
                os.chmod(path, 0o755)

    def tests(self):
        program, directory = self.programs[0]
        with open(f"{directory}/test.c", encoding="utf-8") as file:
            found = re.findall(r"^ {4}_TEST\((\d{4})(\w+),\s*([^,;]*?)[,)]", file.read(), re.M | re.S)
        tests = {}
        for number, name, flags in found:
            # It runs what shares a number together; -L leaves out what needs no broker.
            if not re.search("LOCAL|MANUAL", flags) and not any(t.startswith(number) for t in tests):
                tests[number + name] = (["env", f"TESTS={number}", program, "-p1", "-L", "-K", *self.quick], directory)
        return tests

    def environment(self, bootstrap):
        path = f"{self.directory}/test-{bootstrap.rsplit(':', 1)[-1]}.conf"
        with open(path, "w", encoding="utf-8") as file:
            # Its own limits are for an idle machine.
            file.write(f"bootstrap.servers={bootstrap}\ntest.topic.random=true\ntest.timeout.multiplier=3\n")
        # The library that was built with the tests, not one of the machine.
        built = ":".join(f"{self.directory}/src/{part}" for part in ("src", "src-cpp"))
        variables = {"RDKAFKA_TEST_CONF": path, "TEST_KAFKA_VERSION": KAFKA_VERSION, "TEST_MODE": "bare", "TEST_LEVEL": "1"}
        return {"LD_LIBRARY_PATH": built, "KAFKA_PATH": f"{self.directory}/kafka", "BROKERS": bootstrap, **variables}

    def judge(self, code, said):
        states = re.findall(r"^\|\S* (\d{4}_\S+) +\| +(\S+) \|", said, re.M)
        if code:
            return FAIL
        return PASS if any(state == "PASSED" for _, state in states) else SKIP


def make(name):
    if name == "rskafka":
        java = {"TEST_JAVA_INTEROPT": "1"}
        variables = {"TEST_INTEGRATION": "1", "TEST_BROKER_IMPL": "kafka", "KAFKA_CONNECT": "BOOTSTRAP", **java}
        return Cargo(name, variables, ["auto.create.topics.enable=false"], ["--auto-create-topics", "false"])
    if name == "rdkafka":
        suite = Cargo(name, {"KAFKA_HOST": "BOOTSTRAP"}, ["num.partitions=3"], ["--default-partitions", "3"])
        # One broker of the id 0, which it asks for its configuration, and at the port that is meant when none is named.
        suite.first_port = 9092
        controller = suite.first_port + 100
        suite.brokers, suite.alone = 1, ["node.id=0", f"controller.quorum.voters=0@127.0.0.1:{controller}"]
        return suite
    return {"franz-go": Go, "librdkafka": Librdkafka}[name](name)


# ---- running -------------------------------------------------------------------------------------------------------


def run(suite, test, bootstrap, seconds, log):
    """Runs one test in a process group of its own; returns {state, seconds, said}."""
    command, directory = suite.tests_found[test]
    begin = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, cwd=directory, stdout=out, stderr=out, stdin=subprocess.DEVNULL, process_group=0,
            env=dict(os.environ, **suite.environment(bootstrap)), preexec_fn=mesh._die_with_parent,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    with open(log, errors="replace", encoding="utf-8") as file:
        said = re.sub(r"\x1b\[[0-9;]*m", "", file.read())
    state = FAIL if code is None else suite.judge(code, said)
    told = f"not done after {seconds:.0f} s" if code is None else complaint(said) if state == FAIL else ""
    return {"state": state, "seconds": round(time.monotonic() - begin, 1), "said": told}


def complaint(said):
    """The line that tells best why a test failed."""
    said = said.replace(f"{SUITES_DIR}/", "")
    for pattern in (
        r"(Invalid value \S+ for configuration .+)",
        r"panicked at .*\n(.+)",
        r"^\s+\w+_test\.go:\d+: (.+)",
        r'^### Test "\d{4}_.*\n(.+)',
        r"^\| *\d{4}_\S+ +\| +FAILED \|[^|]*\| *(.+)",
        r"(?i)^.*\berror\b.*",
    ):
        if found := re.search(pattern, said, re.M):
            return " ".join((found[1] if found.groups() else found[0]).split())[:200]
    return " ".join(said.split())[-200:]


def run_nobody(suite, tests, found):
    with concurrent.futures.ThreadPoolExecutor(NOBODY_AT_ONCE) as pool:
        logs = {test: f"{os.environ['RUN_DIR']}/{suite.name}-nobody-{test.replace('/', '_')}.log" for test in tests}
        runs = {test: pool.submit(run, suite, test, NOBODY, NOBODY_SECONDS, logs[test]) for test in tests}
        try:
            for test, result in runs.items():
                found(test, result.result())
        finally:
            # When a signal ends this program, what has not begun is not to be waited for.
            pool.shutdown(wait=False, cancel_futures=True)


def run_on(kind, suite, tests, limits, found):
    """Runs tests one after the other on a fresh mesh or cluster; a failed one again, since others' tests may be timed."""
    directory = f"{os.environ['RUN_DIR']}/{suite.name}-{kind}"
    if kind == "kafka":
        target = mesh.Kafka(directory, suite.brokers, suite.kafka + suite.alone)
    else:
        target = mesh.Rafka(directory, 3, suite.rafka)
    if suite.first_port:
        target.port += suite.first_port - int(target.address(1).rsplit(":", 1)[1])
    try:
        for i in target.ids():
            target.start(i)
        for i in target.ids():
            target.ready(i, 120)
        for test in tests:
            for attempt in range(1, AGAIN + 1):
                log = f"{os.environ['RUN_DIR']}/{suite.name}-{kind}-{test}-{attempt}.log"
                result = run(suite, test, target.bootstrap(), limits.get(test, TEST_SECONDS), log)
                if result["state"] != FAIL or test in limits:
                    break
            found(test, dict(result, attempts=attempt))
            again = f", attempt {attempt}" if attempt > 1 else ""
            print(f"{suite.name} on {kind}: {result['state']:7} {test} ({result['seconds']} s{again}) {result['said']}", flush=True)
            if exits := target.unexpected_exits():
                raise RuntimeError(f"{kind} nodes stopped by themselves during {test}: {exits}")
    finally:
        target.close()


def remembered(suite, kind, tests, produce, anew):
    """What an earlier run with the same version and settings found, and what is new."""
    path = f"{SUITES_DIR}/results/{suite.name}-{suite.version}-{kind}-{suite.settings()}.json"
    known = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
    os.makedirs(os.path.dirname(path), exist_ok=True)

    def found(test, result):
        known[test] = result
        with open(path, "w", encoding="utf-8") as file:
            json.dump(known, file, indent=1, sort_keys=True)

    # What failed on Kafka may have been too slow for its own limits: it is excused only while it fails each time.
    missing = [t for t in tests if anew or t not in known or (kind == "kafka" and known[t]["state"] == FAIL)]
    if missing:
        produce(missing, found)
    return {test: known[test] for test in tests}


# ---- the verdict ---------------------------------------------------------------------------------------------------


def read_waits(name):
    """{test: why} of what is known not to pass on rafka yet."""
    waits = {}
    try:
        with open(f"{WAITS}/{name}.waits", encoding="utf-8") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    test, _, why = line.strip().partition(": ")
                    waits[test] = why
    except FileNotFoundError:
        pass
    return waits


def verdicts(nobody, kafka, rafka, waits):
    """{verdict: [test]}; each test that asks for a broker is in one of them, apart from `stale`."""
    out = {key: [] for key in ("both", "kafka", "skipped", "waits", "FAILED", "stale")}
    for test, result in kafka.items():
        if nobody[test]["state"] == PASS:
            continue
        if result["state"] != PASS:
            out["kafka" if result["state"] == FAIL else "skipped"].append(test)
        elif rafka[test]["state"] == PASS:
            out["both"].append(test)
        else:
            out["waits" if test in waits else "FAILED"].append(test)
    often = [test for test in out["both"] if waits.get(test, "").startswith(AT_TIMES)]
    out["stale"] = [test for test in waits if test not in out["waits"] + often]
    return out


def report(suite, nobody, kafka, rafka, waits):
    """Lines of text about a suite, and whether nothing failed that is not excused."""
    out = verdicts(nobody, kafka, rafka, waits)
    asked = sum(len(tests) for verdict, tests in out.items() if verdict != "stale")
    passed = asked - len(out["kafka"]) - len(out["skipped"])
    lines = [
        f"{suite.name} {suite.version}: {asked} tests ask for a broker ({len(nobody) - asked} do not)",
        f"  passed on Kafka {KAFKA_VERSION}: {passed}; of these passed on rafka: {len(out['both'])}, "
        f"waiting: {len(out['waits'])}, FAILED: {len(out['FAILED'])}",
    ]
    again = [test for test in out["both"] if rafka[test].get("attempts", 1) > 1]
    lines += [f"  passed at the second attempt only: {', '.join(again)}"] if again else []
    for test in out["FAILED"]:
        lines.append(f"  FAILED on rafka only: {test}: {rafka[test]['said'] or rafka[test]['state']}")
    for why in dict.fromkeys(waits[test] for test in out["waits"]):
        names = [test for test in out["waits"] if waits[test] == why]
        lines.append(f"  waits, {len(names)} for {why}:")
        lines += wrapped(names)
    if out["kafka"]:
        lines.append("  fails on Kafka too, and is left out:")
        lines += [f"      {test}: {kafka[test]['said']}" for test in out["kafka"]]
    if out["skipped"]:
        lines.append("  skips itself on Kafka too (it wants TLS, SASL, other brokers or another version):")
        lines += wrapped(out["skipped"])
    if out["stale"]:
        lines.append(f"  in {suite.name}.waits, but not so any more (it passes, fails on Kafka too, or is gone): {', '.join(out['stale'])}")
    return lines, out


def wrapped(names, width=130):
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > width:
            lines.append("")
        lines[-1] += f", {name}" if lines[-1] else name
    return [f"      {line}" for line in lines]


def table(rows):
    heads = ("suite", "version", "tests", "passed on Kafka", "passed on rafka", "waiting", "FAILED")
    rows = [heads, *[tuple(map(str, row)) for row in rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def check(name, options):
    suite = make(name)
    if suite.first_port and mesh.port_open(suite.first_port):
        sys.exit(f"port {suite.first_port} is taken, where the tests of {name} look for a broker")
    suite.tests_found = suite.tests()
    tests = [test for test in suite.tests_found if re.search(options.only or "", test)]
    waits = {test: why for test, why in read_waits(name).items() if re.search(options.only or "", test)}
    nobody = remembered(suite, "nobody", tests, lambda *missing: run_nobody(suite, *missing), options.kafka_again)
    asking = [test for test in tests if nobody[test]["state"] != PASS]
    print(f"{name}: {len(asking)} of {len(tests)} tests ask for a broker", flush=True)
    again = options.kafka_again or bool(options.only)
    kafka = remembered(suite, "kafka", asking, lambda missing, found: run_on("kafka", suite, missing, {}, found), again)
    passing = [test for test in asking if kafka[test]["state"] == PASS]
    # What is not expected to pass need not be waited for as long.
    waiting = [test for test in passing if test in waits and not waits[test].startswith(AT_TIMES)]
    limits = {test: 10 + 1.5 * kafka[test]["seconds"] for test in waiting}
    rafka = {}
    if passing:
        run_on("rafka", suite, passing, limits, rafka.__setitem__)
    lines, out = report(suite, nobody, kafka, rafka, waits)
    tested = len(out["both"]) + len(out["waits"]) + len(out["FAILED"])
    row = (name, suite.version, len(asking), tested, len(out["both"]), len(out["waits"]), len(out["FAILED"]))
    if not options.only:
        with open(last(name), "w", encoding="utf-8") as file:
            json.dump((lines, row, not out["FAILED"]), file)
    return lines, row, not out["FAILED"]


def last(name):
    """Where the report of a suite's last whole run is kept."""
    return f"{SUITES_DIR}/results/{name}.json"


def self_test():
    """The verdict over doctored results; returns how many came out wrong."""
    cases = [
        # nobody, Kafka, rafka, why it is listed -> verdict
        (FAIL, PASS, PASS, "", ["both"]), (FAIL, PASS, FAIL, "", ["FAILED"]), (FAIL, PASS, SKIP, "", ["FAILED"]),
        (FAIL, PASS, FAIL, "why", ["waits"]), (FAIL, PASS, PASS, "why", ["both", "stale"]), (FAIL, FAIL, None, "", ["kafka"]),
        (FAIL, FAIL, None, "why", ["kafka", "stale"]), (SKIP, SKIP, None, "", ["skipped"]), (PASS, None, None, "", []),
        (FAIL, PASS, FAIL, "at times, why", ["waits"]), (FAIL, PASS, PASS, "at times, why", ["both"]),
    ]
    wrong = 0
    for nobody, kafka, rafka, listed, want in cases:
        results = [{"test": {"state": state}} if state else {} for state in (nobody, kafka, rafka)]
        found = [verdict for verdict, tests in verdicts(*results, {"test": listed} if listed else {}).items() if tests]
        wrong += found != want
        print(f"{'ok' if found == want else 'WRONG':6} nobody {nobody}, Kafka {kafka}, rafka {rafka}, listed {listed!r}: {found}")
    return wrong


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    parser = argparse.ArgumentParser()
    parser.add_argument("--only")
    parser.add_argument("--kafka-again", action="store_true")
    parser.add_argument("--report", action="store_true", help="what the last runs found, without running anything")
    parser.add_argument("suites", nargs="+")
    options = parser.parse_args()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    lines, rows, good = [], [], True
    for name in options.suites:
        if options.report:
            with open(last(name), encoding="utf-8") as file:
                more, row, passed = json.load(file)
        else:
            more, row, passed = check(name, options)
        lines += ["", *more]
        rows.append(row)
        good &= passed
    text = "\n".join([*table(rows), *lines, ""])
    with open(f"{os.environ['RUN_DIR']}/report.md", "w", encoding="utf-8") as file:
        file.write(text)
    print(f"\n{text}\nRESULT suites: {'passed' if good else 'FAILED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
