"""See ../doctor_test.sh: runs the situations of doctor_faults.py, each on a fresh mesh, and asks `rafka doctor --json` about each."""
import argparse
import json
import os
import subprocess
import sys
import time

import doctor_faults
from mesh import Rafka, end_on_signals
from network import Network, Networked

NODES, TOPIC = 3, "orders"
PATIENCE_S, PAUSE_S = 60, 0.5
COLOURS = {"passed": "\x1b[32m", "FAILED": "\x1b[31m", "not here": "\x1b[33m"}


def rafka(mesh, *arguments, **named):
    command = [os.environ["RAFKA_BIN"], "--bootstrap", mesh.bootstrap(), "--http", mesh.http_address(1), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **named)


class Stage:
    """A mesh, what may be done to it, and what doctor says of it."""

    def __init__(self, name, network, **options):
        directory = f"{os.environ['RUN_DIR']}/{name}"
        make = (lambda *a, **k: Networked(network, *a, **k)) if network else Rafka
        self.network, self.closing, self.also = network, [], []
        self.mesh = make(directory, NODES, options.get("arguments", ()), options.get("data"))
        for i in self.mesh.ids():
            self.mesh.start(i)
        for i in self.mesh.ids():
            self.mesh.ready(i)
        # The mesh gives out the numbers of its nodes as it is founded.
        self.ids = {i: self.mesh.json(i, "/v1/nodes")["node_id"] for i in self.mesh.ids()}
        self.topic(TOPIC, 3)

    def rafka(self, *arguments, **named):
        done = rafka(self.mesh, *arguments, **named)
        if done.returncode:
            raise RuntimeError(f"rafka {' '.join(map(str, arguments))}: {done.stderr[-600:]}")
        return done.stdout

    def topic(self, name, factor, *more):
        self.rafka("topic", "create", name, "--partitions", 3, "--replication-factor", factor, *more)

    def produce(self, records, size=100, topic=TOPIC):
        value = "x" * size
        self.rafka("produce", topic, input="".join(f"{i} {value}\n" for i in range(records)))

    def leaders(self, topic):
        """Leader by partition, as a number of ours."""
        told = json.loads(self.rafka("topic", "describe", topic, "--json"))
        ours = {node_id: i for i, node_id in self.ids.items()}
        return {partition["partition"]: ours[partition["leader"]] for partition in told["partitions"]}

    def restart(self, i, how="stop", **named):
        """With other arguments, behind another command, or in another environment."""
        getattr(self.mesh, how)(i)
        more = named.pop("arguments", [])
        self.mesh.start(i, self.mesh.seeds() + list(more), **named)
        self.mesh.ready(i)

    def load(self, rate=50):
        """Producers that go on until the stage closes."""
        command = [os.environ["RAFKA_BIN"], "--bootstrap", self.mesh.bootstrap(), "bench", "produce", TOPIC, "--rate", str(rate)]
        process = subprocess.Popen(
            command + ["--seconds", "120", "--warm-up", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.closing += [process.wait, process.kill]
        return process

    def doctor(self, *more, bootstrap=None):
        """(exit code, what it says)."""
        if bootstrap:
            more = (*more, "--bootstrap", bootstrap)
            done = subprocess.run(
                [os.environ["RAFKA_BIN"], "doctor", "--json", "--http", self.mesh.http_address(1), *more],
                capture_output=True, text=True, check=False, timeout=120,
            )
        else:
            done = rafka(self.mesh, "doctor", "--json", *more)
        if not done.stdout.startswith("{"):
            raise RuntimeError(f"rafka doctor: exit code {done.returncode}: {done.stderr[-600:]}")
        return done.returncode, json.loads(done.stdout)

    def close(self):
        while self.closing:
            self.closing.pop()()
        self.mesh.close()


def check_healthy(stage, when):
    """Nothing of warning or above, and the exit code that says so."""
    said, until = None, time.monotonic() + PATIENCE_S
    while not said or time.monotonic() < until:
        code, said = stage.doctor()
        if code == 0 and said["healthy"] and said["looked_at"]["answered"] == NODES:
            return
        time.sleep(PAUSE_S)
    found = "; ".join(f"{one['kind']}: {one['what']}" for one in said["findings"]) or "nothing"
    raise AssertionError(f"{when} doctor does not call the mesh healthy: {found}")


def wrong(stage, finding, expected):
    """In what a finding is not the expected one; nothing when it is."""
    nodes = sorted(stage.ids[i] for i in expected.get("nodes", ()))
    if nodes and sorted(finding["nodes"]) != nodes:
        return f"names nodes {finding['nodes']}, not {nodes}"
    missing = set(expected.get("partitions", ())) - set(finding["partitions"])
    if missing:
        return f"does not name {sorted(missing)}"
    words = [word for word in expected.get("words", ()) if word not in finding["what"]]
    if words:
        return f"does not say {words}: {finding['what']}"
    if not finding["do"]:
        return "does not say what to do"
    return ""


def find(stage, expected):
    """Asks until the finding is there; (finding, tries, other kinds of warning or above)."""
    last, kinds = "doctor does not find it", []
    attempt, until = 0, time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        attempt += 1
        code, said = stage.doctor(*expected.get("arguments", ()), bootstrap=expected.get("bootstrap"))
        serious = [one for one in said["findings"] if one["severity"] != "note"]
        kinds = [one["kind"] for one in serious]
        for one in serious:
            if one["kind"] in expected["kinds"]:
                last = wrong(stage, one, expected)
                if not last:
                    codes = {"critical": 7, "warning": 6}
                    worst = min((one["severity"] for one in serious), key=["critical", "warning"].index)
                    if code != codes[worst]:
                        raise AssertionError(f"exit code {code} with a finding that is {worst}")
                    return one, attempt, sorted(set(kinds) - {one["kind"]})
        time.sleep(PAUSE_S)
    raise AssertionError(f"{last} (found: {', '.join(kinds) or 'nothing'})")


def play(situation, network):
    """(verdict, finding, seconds, remark) of one situation."""
    name, stage_of = situation
    stage, begun = None, time.monotonic()
    try:
        why = doctor_faults.needs(stage_of, network)
        if why:
            return "not here", "", 0, why
        stage = Stage(name.replace(" ", "_"), network, **getattr(stage_of, "options", {}))
        check_healthy(stage, "before")
        acts = stage_of(stage)
        expected = next(acts)
        finding, tries, others = find(stage, expected)
        next(acts, None)
        check_healthy(stage, "after")
        also = f"; beside it {', '.join(others)}" if others else ""
        text = f"{finding['severity']} {finding['kind']}"
        return "passed", text, time.monotonic() - begun, f"try {tries}: {finding['what']}{also}"
    except Exception as error:  # whatever breaks a stage fails its situation, not the run
        return "FAILED", "", time.monotonic() - begun, f"{type(error).__name__}: {error}"
    finally:
        if stage:
            stage.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="situations whose name has this in it")
    parser.add_argument("--list", action="store_true", help="print the situations")
    options = parser.parse_args()
    chosen = [one for one in doctor_faults.SITUATIONS if not options.only or any(word in one[0] for word in options.only)]
    if options.list:
        print("\n".join(f"{name:<34} {stage_of.__doc__}" for name, stage_of in chosen))
        return 0
    end_on_signals()
    network = Network(NODES + 1) if os.environ.get("OWN_NETWORK") else None
    colours = COLOURS if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else {}
    print(f"{'situation':<34} {'finding':<32} {'verdict':<9} {'s':>5}  what doctor said", flush=True)
    verdicts = []
    for situation in chosen:
        verdict, finding, seconds, remark = play(situation, network)
        verdicts.append(verdict)
        end = "\x1b[0m" if colours else ""
        remark = remark if verdict == "FAILED" else remark[:160]
        print(f"{situation[0]:<34} {finding:<32} {colours.get(verdict, '')}{verdict:<9}{end} {seconds:5.1f}  {remark}", flush=True)
    passed, failed = verdicts.count("passed"), verdicts.count("FAILED")
    print(f"{passed} of {len(verdicts)} situations named, {failed} failed, {verdicts.count('not here')} cannot be staged here")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
