"""See ../rebuild.sh."""
import argparse
import json
import os
import subprocess
import sys
import threading
import time

import mesh

# What takes longer is given up.
PATIENCE_S = 300
MIB = 1 << 20
SENT, LEFT = "rafka_rebuild_sent_bytes_total", "rafka_rebuild_left_bytes"
TOPICS = ("many", "bulk", "load")


class Rebuild:
    """A mesh of four, what is asked of it, and which figures are over their bounds."""

    def __init__(self, target, options):
        self.target, self.options, self.over = target, options, []

    def figure(self, name, value, unit, bound):
        """Prints a figure beside its bound: up to it is right."""
        right = value <= bound
        self.over += [] if right else [f"{name} {value:.2f} {unit}, above {bound:.2f}"]
        print(f"RESULT {name:58} {value:8.2f} {unit:5} of {bound:7.2f}   {'ok' if right else 'OVER'}", flush=True)

    def note(self, name, value):
        print(f"       {name:58} {value}", flush=True)

    def rafka(self, *arguments, ids=None):
        bootstrap = ",".join(self.target.address(i) for i in ids or self.up())
        command = [os.environ["RAFKA_BIN"], "--bootstrap", bootstrap, "--timeout", "60", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def up(self):
        return [i for i in self.target.ids() if i in self.target.processes and self.target.processes[i].poll() is None]

    def create(self):
        for name, partitions in (("many", self.options.partitions), ("bulk", 24), ("load", 12)):
            self.rafka("topic", "create", name, "--partitions", str(partitions), "--replication-factor", "3")

    def placed(self):
        """The nodes of each partition of a topic."""
        told = {name: self.target.json(self.up()[0], f"/v1/partitions?topic={name}")["partitions"] for name in TOPICS}
        return {(name, one["partition"]): set(one["replicas"]) for name, all in told.items() for one in all}

    def settled(self):
        """Nothing moves and nothing is to move."""
        def look():
            told = self.target.json(self.up()[0], "/v1/balance")
            return not told["moving"] and told["waiting"] == 0

        mesh.wait_until("nothing moves any more", PATIENCE_S, look, 0.2)

    # ---- a join --------------------------------------------------------------------------------------------------------

    def join(self):
        """How many replicas move when a fourth node comes."""
        before = self.placed()
        begin = time.monotonic()
        self.target.start(4, ["--join", self.target.mesh_address(1)])
        self.target.ready(4)
        mesh.wait_until("the joined node gets replicas", 60, lambda: any(4 in nodes for nodes in self.placed().values()), 0.1)
        self.settled()
        after = self.placed()
        moved = sum(len(after[key] - before[key]) for key in before)
        replicas = sum(len(nodes) for nodes in after.values())
        held = sum(4 in nodes for nodes in after.values())
        self.note("a fourth node joined; settled after", f"{time.monotonic() - begin:8.1f} s")
        self.note("   replicas in all, and on the new node", f"{replicas:6} {held:6}")
        self.figure("replicas moved by the join, of its fair share", moved / (replicas / 4), "times", 1.3)
        self.figure("   the new node's share against the mean", held / (replicas / 4), "times", 1.1)

    # ---- a death -------------------------------------------------------------------------------------------------------

    def fill(self):
        records = self.options.mib * MIB // 16384
        self.rafka("bench", "produce", "bulk", "--records", str(records), "--size", "16384")
        self.target.whole(PATIENCE_S, self.up())
        # What was written by now is on the disks before anything is measured.
        os.sync()

    def p99(self, phase):
        """Of acknowledgements, in milliseconds, at a rate that the mesh bears easily."""
        arguments = ["bench", "latency", "load", "--rate", str(self.options.rate), "--size", "1024"]
        told = json.loads(self.rafka(*arguments, "--seconds", str(self.options.seconds), "--warm-up", "2", "--json"))
        value = told["latency_ms"]["acknowledged"]["p99"]
        self.note(f"p99 of producers {phase}", f"{value:8.2f} ms")
        return value

    def death(self):
        options, victim = self.options, 2
        held = self.target.metric(victim, "rafka_storage_live_bytes")
        self.target.kill(victim)
        begin = time.monotonic()
        left = self.up()
        self.note("a node is killed that held", f"{held / MIB:8.0f} MiB")
        before = self.p99("while it is away")
        watch = Watch(self.target, left)
        mesh.wait_until("its replicas are rebuilt", options.dead_after_s + 60, lambda: self.target_sum(left, SENT) > watch.first, 0.1)
        began = time.monotonic()
        self.note("rebuilding began after", f"{began - begin:8.1f} s, with --dead-after-ms {options.dead_after_s * 1000}")
        during = self.p99("while its replicas are rebuilt")
        busy = self.target_sum(left, LEFT) > 0
        self.note("   still rebuilding when that phase ended", "yes" if busy else "no")
        if not busy:
            self.over.append("rebuilding ended within the phase that it was to be measured in: give it more --mib")
        self.settled()
        mesh.wait_until("all replicas in sync", PATIENCE_S, lambda: all(self.target.lacking(i) == [] for i in left), 0.2)
        took = time.monotonic() - began
        samples = watch.stop()
        sent = self.target_sum(left, SENT) - watch.first
        self.note("rebuilt", f"{sent / MIB:8.0f} MiB in {took:.1f} s, replicas in sync everywhere")
        after = self.p99("afterwards")
        self.rates(samples)
        self.figure("p99 with rebuild against without", during / max(before, after), "times", 2.0)

    def rates(self, samples):
        """The rate of each node while it had something to send, against the configured one."""
        limit = self.options.rebuild_mib_s
        for i in self.up():
            mine = [(at, sent[i], left[i]) for at, sent, left in samples if i in sent]
            spans = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(mine, mine[1:]) if a[2] > 0 and b[2] > 0]
            seconds, sent = sum(span for span, _ in spans), sum(count for _, count in spans)
            if seconds < 3:
                self.note(f"node {i} had little to send", f"{sent / MIB:8.2f} MiB")
                continue
            rate = sent / seconds / MIB
            self.note(f"node {i} sent", f"{sent / MIB:8.1f} MiB in {seconds:.1f} s: {rate:.2f} MiB/s")
            self.figure(f"   node {i}: rate against the configured {limit} MiB/s", rate / limit, "times", 1.1)
            self.figure(f"   node {i}: the configured rate against its rate", limit / max(rate, 0.001), "times", 1.4)

    def target_sum(self, ids, name):
        return sum(self.target.metric(i, name) for i in ids)


class Watch(threading.Thread):
    """Samples what each node sent to replicas that are rebuilt, and what they lack."""

    def __init__(self, target, ids):
        super().__init__(daemon=True)
        self.target, self.ids, self.samples, self.ended = target, ids, [], threading.Event()
        self.first = sum(target.metric(i, SENT) for i in ids)
        self.start()

    def run(self):
        while not self.ended.wait(0.5):
            self.sample()

    def sample(self):
        sent = {i: self.target.metric(i, SENT) for i in self.ids}
        self.samples.append((time.monotonic(), sent, {i: self.target.metric(i, LEFT) for i in self.ids}))

    def stop(self):
        self.ended.set()
        self.join()
        return self.samples


def main():
    parser = argparse.ArgumentParser(description="what moves, and what that costs")
    parser.add_argument("--mib", type=int, default=400, help="stored in the topic whose replicas are rebuilt, once")
    parser.add_argument("--rebuild-mib-s", type=int, default=4)
    parser.add_argument("--partitions", type=int, default=200, help="of the topic that only counts")
    parser.add_argument("--rate", type=int, default=200, help="records a second while latency is measured")
    parser.add_argument("--seconds", type=int, default=15, help="of each phase")
    options = parser.parse_args()
    options.dead_after_s = options.seconds + 8
    flags = ["--rebuild-mib-s", str(options.rebuild_mib_s), "--dead-after-ms", str(options.dead_after_s * 1000), "--leader-return-ms", "500"]
    target = mesh.Rafka(f"{os.environ['RUN_DIR']}/mesh", 3, flags)
    rebuild = Rebuild(target, options)
    try:
        for i in target.ids():
            target.start(i)
        for i in target.ids():
            target.ready(i)
        rebuild.create()
        target.nodes = 4
        rebuild.join()
        rebuild.fill()
        rebuild.death()
    finally:
        target.close()
    print(f"RESULT rebuild: {'FAILED: ' + '; '.join(rebuild.over) if rebuild.over else 'passed'}")
    return 1 if rebuild.over else 0


sys.exit(main())
