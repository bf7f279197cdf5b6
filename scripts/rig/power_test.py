"""See ../power_test.sh."""
import argparse
import os
import random
import subprocess
import sys
import time

import history
import mesh
import workload

NODES, PARTITIONS, TOPIC = 3, 12, "power"
IMAGE_BYTES = 4 << 30
# What precedes a cut, by weight. "kill": one node was killed and restarted shortly before, so its page cache holds bytes that no
# disk has. "start": the mesh is cut again while it recovers.
KINDS = {"running": 6, "after a kill": 3, "while starting": 2}


class Disks:
    """One image, loop device and file system per node. A cut keeps exactly what the devices were given."""

    def __init__(self, directory):
        self.directory = directory

    def image(self, i):
        return f"{self.directory}/disk{i}.img"

    def mount_point(self, i):
        return f"{self.directory}/mnt{i}"

    def create(self, i):
        with open(self.image(i), "wb") as f:
            f.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-F", self.image(i))
        os.makedirs(self.mount_point(i), exist_ok=True)
        self.mount(i)
        os.makedirs(f"{self.mount_point(i)}/node")
        with open(self._canary(i), "wb") as f:
            f.write(b"synced" * 1000)
            f.flush()
            os.fsync(f.fileno())
        run("sync", "-f", self.mount_point(i))

    def mount(self, i):
        # A commit interval of an hour: the journal is written when a node syncs, and by nothing else.
        run("mount", "-o", "loop,noatime,commit=3600", self.image(i), self.mount_point(i))

    def _canary(self, i):
        return f"{self.mount_point(i)}/canary"

    def write_unsynced(self, i):
        """Overwrites a block in place without a sync: it must not survive, or the cut is no cut."""
        with open(self._canary(i), "r+b") as f:
            f.write(b"UNSYNC" * 100)

    def unsynced_survived(self, i):
        with open(self._canary(i), "rb") as f:
            return f.read(6) != b"synced"

    def copy(self, i):
        run("cp", "--sparse=always", "--reflink=auto", self.image(i), f"{self.image(i)}.cut")

    def swap(self, i):
        """Mounts the copy in place of the image; the processes on it are dead."""
        mesh.wait_until(f"unmount {self.mount_point(i)}", 30, lambda: unmount(self.mount_point(i)), 0.1)
        os.replace(f"{self.image(i)}.cut", self.image(i))
        self.mount(i)

    def close(self):
        for i in range(1, NODES + 1):
            subprocess.run(["umount", self.mount_point(i)], stderr=subprocess.DEVNULL, check=False)


def unmount(point):
    """A killed process may hold its files a moment longer."""
    return subprocess.run(["umount", point], stderr=subprocess.DEVNULL, check=False).returncode == 0


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def cut(target, disks):
    """The power fails for the whole mesh at one moment; (seconds frozen, names of disks whose unsynced bytes survived)."""
    for i in target.ids():
        disks.write_unsynced(i)
    begin = time.monotonic()
    for i in target.ids():
        target.pause(i)
    for i in target.ids():
        mesh.wait_until(f"node {i} frozen", 60, lambda i=i: target.frozen(i), 0.005)
    for i in target.ids():
        disks.copy(i)
    frozen = time.monotonic() - begin
    for i in target.ids():
        target.kill(i)
    for i in target.ids():
        disks.swap(i)
    return frozen, [i for i in target.ids() if disks.unsynced_survived(i)]


def start_all(target):
    for i in target.ids():
        target.start(i)


def all_ready(target):
    begin = time.monotonic()
    for i in target.ids():
        target.ready(i, 120)
    return time.monotonic() - begin


def schedule(seed, rounds):
    """[(kind, node, lead seconds, seconds between the act and the cut)] of the rounds after founding."""
    rng = random.Random(seed)
    kinds = list(KINDS) + rng.choices(list(KINDS), list(KINDS.values()), k=max(0, rounds - 4))
    kinds = kinds[: max(0, rounds - 1)]
    rng.shuffle(kinds)
    founding = round(rng.uniform(0.02, 1.0), 3)
    return founding, [(k, rng.randint(1, NODES), round(rng.uniform(1.0, 4.0), 2), round(rng.uniform(0.05, 1.5), 2)) for k in kinds]


def missing_ends(load, target):
    """Partitions whose end lies below an acknowledged offset."""
    with load.lock:
        want = dict(load.highest)
    ends = workload.ends(target.bootstrap(), TOPIC, PARTITIONS)
    return {p: (ends[p], want[p] + 1) for p in want if ends[p] <= want[p]}


def found(target, disks, after):
    """Founding, cut in the middle; then it must found, or go on, by itself."""
    start_all(target)
    time.sleep(after)
    _, survived = cut(target, disks)
    start_all(target)
    took = all_ready(target)
    clusters = {target.json(i, "/v1/nodes")["cluster_id"] for i in target.ids()}
    if len(clusters) != 1:
        raise RuntimeError(f"after a cut {after} s into founding there are {len(clusters)} clusters: {clusters}")
    return took, survived


def rounds(target, disks, options, seed):
    founding, plan = schedule(seed, options.rounds)
    print(f"{'round':>5} {'cut':15} {'frozen s':>8} {'ready s':>7} {'acked':>9}", flush=True)
    survived = []
    if target.name == "rafka":
        took, survived = found(target, disks, founding)
        print(f"{1:5} {'while founding':15} {'':8} {took:7.2f} {0:9}   (cut {founding} s after the start)", flush=True)
    else:
        # Kafka's format step is not durable (bootstrap.checkpoint comes back empty); its operators format long before.
        start_all(target)
        all_ready(target)
        for i in target.ids():
            run("sync", "-f", disks.mount_point(i))
    workload.create_topic(target.bootstrap(), TOPIC, PARTITIONS, NODES)
    load = workload.Load(target.bootstrap(), TOPIC, PARTITIONS, options.producers, options.rate)
    load.start()
    problems = []
    mesh.wait_until("the first acknowledgements", 60, lambda: load.acked_since(0))
    for n, (kind, node, lead, gap) in enumerate(plan, 2):
        time.sleep(lead)
        if kind == "after a kill":
            target.kill(node)
            target.start(node)
            time.sleep(gap)
        frozen, kept = cut(target, disks)
        survived += kept
        start_all(target)
        if kind == "while starting":
            time.sleep(gap)
            more, kept = cut(target, disks)
            frozen, survived = frozen + more, survived + kept
            start_all(target)
        took = all_ready(target)
        mesh.wait_until("acknowledgements on all partitions", 120, lambda t=time.monotonic(): load.acked_since(t))
        short = missing_ends(load, target)
        print(f"{n:5} {kind:15} {frozen:8.2f} {took:7.2f} {load.history.acknowledged():9}" + (f"   SHORT {short}" if short else ""), flush=True)
        if load.fatal_errors():
            break
    load.stop()
    if survived:
        problems.append(f"{len(survived)} times unsynced bytes survived a cut: the test itself is broken")
    return judge(target, load, options, problems)


def judge(target, load, options, problems):
    past, bootstrap = load.history, target.bootstrap()
    verdict = history.check(past, workload.read_all(bootstrap, TOPIC, PARTITIONS), workload.stored(bootstrap, TOPIC, PARTITIONS))
    problems = problems + workload.report(load, verdict)
    print(f"RESULT power test on {target.name}, {options.rounds} cuts: {'FAILED: ' + ', '.join(problems) if problems else 'passed'}")
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(prog="power_test.sh")
    parser.add_argument("--seed", type=int, help="schedule to run (default: drawn and printed)")
    parser.add_argument("--rounds", type=int, default=25, help="cuts; the first is during founding")
    parser.add_argument("--producers", type=int, default=3)
    parser.add_argument("--rate", type=int, default=3000, help="records a second, all producers together")
    parser.add_argument("--kafka-config", action="append", default=[], metavar="K=V", help="with TARGET=kafka: broker settings")
    options = parser.parse_args()
    if history.self_test():
        return 1
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed} (replay the schedule with --seed {seed} --rounds {options.rounds})", flush=True)
    directory = os.environ["RUN_DIR"]
    disks = Disks(directory)
    target = mesh.make(
        f"{directory}/mesh", NODES, options.kafka_config, {i: f"{disks.mount_point(i)}/node" for i in range(1, NODES + 1)}
    )
    try:
        for i in target.ids():
            disks.create(i)
        return rounds(target, disks, options, seed)
    finally:
        target.close()
        disks.close()


sys.exit(main())
