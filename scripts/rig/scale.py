"""See ../scale.sh."""
import argparse
import os
import subprocess
import sys
import time
from collections import Counter

import mesh

NODES, FACTOR, SHARDS = 3, 3, 16
# After the killed node's partitions are led again: so long is looked whether elections go on.
AFTERWARDS_S = 15
# What takes longer is given up.
PATIENCE_S = 300
ELECTIONS = ("stood", "won", "lost")


class Scale:
    """Three nodes, what is asked of them, and which figures are over their bounds."""

    def __init__(self, target, partitions):
        self.target, self.partitions, self.over = target, partitions, []

    def figure(self, name, value, unit, bound):
        """Prints a figure beside its bound: below it is right."""
        right = value < bound
        self.over += [] if right else [f"{name} {value:.1f} {unit}, not below {bound}"]
        print(f"{name:56} {value:8.1f} {unit:4} of {bound:>5}   {'ok' if right else 'OVER'}", flush=True)

    def note(self, name, value):
        print(f"{name:56} {value}", flush=True)

    def total(self, name, ids=None):
        return sum(self.target.metric(i, name) for i in ids or self.target.ids())

    def led(self, ids):
        """Partitions whose leader is one of these and committed something of its own term: what it says it serves."""
        return self.total("rafka_replica_leads", ids) - self.total("rafka_replica_unknown_watermarks", ids)

    def elections(self, ids):
        return Counter({what: int(self.total(f"rafka_election_{what}_total", ids)) for what in ELECTIONS})

    # ---- figures -----------------------------------------------------------------------------------------------------

    def create(self, topics):
        """Creates them all at once, and waits until each partition is created and led, whatever the client was answered."""
        rafka = [os.environ["RAFKA_BIN"], "--bootstrap", self.target.bootstrap(), "--timeout", "600", "topic", "create"]
        shares = [self.partitions // topics + (n < self.partitions % topics) for n in range(topics)]
        begin, silent = time.monotonic(), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running = [
            subprocess.Popen([*rafka, f"t{n}", "--partitions", str(share), "--replication-factor", str(FACTOR)], **silent)
            for n, share in enumerate(shares)
        ]
        answered, ids = {}, list(self.target.ids())

        def all_led():
            for process in running:
                if process.poll() is not None:
                    answered.setdefault(process, time.monotonic() - begin)
            return self.led(ids) >= self.partitions + SHARDS and not self.total("rafka_partition_creating")

        try:
            mesh.wait_until("all partitions created and led", PATIENCE_S, all_led, 0.1)
        except TimeoutError:
            self.note("   not created or not led then", f"{self.partitions + SHARDS - self.led(ids):8.0f}")
        self.figure(f"{self.partitions} partitions created and led after", time.monotonic() - begin, "s", 60)
        dropped = self.total("rafka_mesh_dropped_frames_total")
        self.note("   elections until then", f"{self.told(self.elections(ids), Counter())}; {dropped:.0f} frames between nodes dropped")
        for process in running:
            process.wait(PATIENCE_S)
            answered.setdefault(process, time.monotonic() - begin)
        codes = Counter(process.returncode for process in running)
        told = ", ".join(f"{count} with exit code {code}" for code, count in codes.items())
        self.note("   rafka topic create answered after", f"{max(answered.values()):8.1f} s, {told}")
        self.target.whole(PATIENCE_S)
        self.note("   all replicas in sync after", f"{time.monotonic() - begin:8.1f} s")

    def idle(self, seconds):
        """Of a core and of memory, each node's, while nobody asks anything."""
        time.sleep(10)
        before = {i: self.cpu_seconds(i) for i in self.target.ids()}
        elections, begin = self.elections(self.target.ids()), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begin
        for i in self.target.ids():
            self.figure(f"node {i}: of a core, idle for {seconds} s", (self.cpu_seconds(i) - before[i]) / took * 100, "%", 10)
        for i in self.target.ids():
            self.figure(f"node {i}: resident memory", self.target.resident_mib(i), "MiB", 500)
        self.note("   elections while idle", self.told(self.elections(self.target.ids()), elections))

    def cpu_seconds(self, i):
        with open(f"/proc/{self.target.pids[i]}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def told(self, after, before):
        return ", ".join(f"{after[what] - before[what]} {what}" for what in ELECTIONS)

    def kill(self, victim):
        """How soon all but one in a hundred of its partitions are led again, and by how many elections."""
        begin = time.monotonic()
        at_home = lambda: not self.total("rafka_partition_led_for_another")
        mesh.wait_until("all leaders are preferred ones", PATIENCE_S, at_home)
        self.note("   all leaders preferred ones", f"{time.monotonic() - begin:8.1f} s later")
        left = [i for i in self.target.ids() if i != victim]
        lost, before = self.led([victim]), self.elections(left)
        want = self.partitions + SHARDS - lost // 100
        self.target.kill(victim)
        begin = time.monotonic()
        try:
            mesh.wait_until("led again", 120, lambda: self.led(left) >= want, 0.1)
        except TimeoutError:
            self.note("   partitions without a leader after 120 s", int(self.partitions + SHARDS - self.led(left)))
        self.figure(f"node {victim} killed: 99 % of its {lost:.0f} led again after", time.monotonic() - begin, "s", 5)
        first = self.elections(left)
        self.note("   elections until then", self.told(first, before))
        time.sleep(AFTERWARDS_S)
        later = self.elections(left)
        self.note(f"   in the {AFTERWARDS_S} s after", self.told(later, first))
        bound = max(1, lost // 100) + 1
        self.figure("   leaders of the others that were lost", later["lost"] - before["lost"], "", bound)
        self.figure("   elections afterwards: a second wave", later["stood"] - first["stood"], "", bound)

    def restart(self, victim):
        begin = time.monotonic()
        self.target.start(victim)
        try:
            mesh.wait_until(f"node {victim} ready", 300, lambda: self.target.http(victim, "/readyz")[0] == 200)
        except TimeoutError:
            self.note("   it says", self.target.http(victim, "/readyz")[1].strip())
        self.figure(f"node {victim} started again: ready after", time.monotonic() - begin, "s", 10)
        self.target.whole(PATIENCE_S)
        self.note("   all replicas in sync after", f"{time.monotonic() - begin:8.1f} s")


def run(target, options):
    scale = Scale(target, options.partitions)
    print(f"{options.partitions} partitions in {options.topics} topics, {FACTOR} replicas, {NODES} nodes; load average {os.getloadavg()[0]:.1f}", flush=True)
    for i in target.ids():
        target.start(i)
    for i in target.ids():
        target.ready(i)
    for act in (lambda: scale.create(options.topics), lambda: scale.idle(options.idle), lambda: scale.kill(2), lambda: scale.restart(2)):
        try:
            act()
        except (RuntimeError, TimeoutError) as error:
            scale.over.append(str(error))
            print(f"WRONG: {error}", flush=True)
            if target.unexpected_exits():
                break
    print(f"load average {os.getloadavg()[0]:.1f} at the end")
    print(f"RESULT scale, {options.partitions} partitions: {'FAILED: ' + '; '.join(scale.over) if scale.over else 'passed'}")
    return 1 if scale.over else 0


def main():
    parser = argparse.ArgumentParser(prog="scale.sh")
    parser.add_argument("--partitions", type=int, default=10_000)
    parser.add_argument("--topics", type=int, default=10)
    parser.add_argument("--idle", type=int, default=60, help="seconds over which an idle node is looked at")
    options = mesh.parse(parser)
    target = mesh.Rafka(os.environ["RUN_DIR"] + "/mesh", NODES, options.node_argument)
    try:
        return run(target, options)
    finally:
        target.close()


sys.exit(main())
