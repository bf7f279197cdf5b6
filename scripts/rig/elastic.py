"""See ../elastic.sh."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

import history
import mesh
import workload
from prober import Prober

NODES, FACTOR, SHARDS = 5, 3, 16
TOPICS = {"orders": 8, "payments": 4}
# Made while there was one node, so with one replica.
EARLY, EARLY_PARTITIONS = "early", 4
STALL_S = 2.0
# Each partition by each node: twelve probers that write so often cost little.
PROBE_EVERY_S = 0.2
# A log without records in the directory of each founder.
FOUNDING_MARK = "the mark of the founding"
# A wiped node whose address is not given back to it starts as this one, on ports of its own.
SPARE = NODES + 1


class Elastic:
    """The mesh, who is in it, what runs against it, and what was found wrong."""

    def __init__(self, directory, options):
        self.options, self.problems, self.by_hand, self.loads, self.probers = options, [], [], {}, {}
        arguments = ["--dead-after-ms", str(options.dead_after_ms), "--leader-return-ms", "2000", *options.node_argument]
        self.target = mesh.Rafka(directory, SPARE, arguments)
        self.members, self.ids, self.begin, self.since = [], {}, time.monotonic(), time.monotonic()

    # ---- what is told ------------------------------------------------------------------------------------------------

    def tell(self, text):
        print(f"[{time.monotonic() - self.begin:8.3f} s] {text}", flush=True)

    def wrong(self, text):
        self.problems.append(text)
        self.tell(f"WRONG: {text}")

    def stalls(self, step):
        """Tells the longest stall since the last step; more than STALL_S is wrong."""
        begin, self.since = self.since, time.monotonic()
        found = {name: load.stalled(begin, self.since) for name, load in self.loads.items()}
        if not found:
            return
        name = max(found, key=lambda one: found[one][0])
        seconds, partition, until = found[name]
        gap, probed = max(((one.longest_gap(begin, self.since), name) for name, one in self.probers.items()), default=(0, ""))
        until -= self.begin
        self.tell(f"   traffic: {name}/{partition} stood still longest, {seconds:.2f} s until [{until:.3f} s]; without a client library {probed}, {gap:.2f} s")
        if seconds > STALL_S:
            self.wrong(f"{name}/{partition} stood still for {seconds:.2f} s: {step}")

    # ---- asking and ordering -----------------------------------------------------------------------------------------

    def bootstrap(self):
        return ",".join(self.target.address(i) for i in self.target.ids())

    def rafka(self, *arguments, may_fail=False):
        command = [os.environ["RAFKA_BIN"], "--bootstrap", self.bootstrap(), "--http", self.target.http_address(self.members[-1])]
        done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)
        if done.returncode and not may_fail:
            raise RuntimeError(f"rafka {' '.join(map(str, arguments))}: {(done.stderr or done.stdout).strip()}")
        return done

    def nodes(self):
        """{node id: what a member says of it}."""
        return {node["node_id"]: node for node in self.target.json(self.members[-1], "/v1/nodes")["nodes"]}

    def unrestored(self):
        """Where replicas are missing, or are on nodes that are no members: of the topics by name, of all with the metadata's by number."""
        member, wanted, allowed = self.members[-1], min(FACTOR, len(self.members)), {self.ids[i] for i in self.members}
        off = []
        for topic in self.loads:
            for one in self.target.json(member, f"/v1/partitions?topic={topic}")["partitions"]:
                if len(one["replicas"]) != wanted or not set(one["replicas"]) <= allowed:
                    off.append(f"{topic}/{one['partition']} is on {one['replicas']}")
        held = {node_id: node["replicas"] for node_id, node in self.nodes().items()}
        off += [f"node {node_id} has {count} replicas and is no member" for node_id, count in held.items() if count and node_id not in allowed]
        metadata = sum(held.values()) - wanted * sum(load.partitions for load in self.loads.values())
        if not off and metadata != wanted * SHARDS:
            off.append(f"the metadata has {metadata} replicas and not {wanted * SHARDS}")
        return off

    def unsettled(self):
        """Why the mesh is not at rest; nothing when it is."""
        for i in self.members:
            status, body = self.target.http(i, "/readyz")
            if status != 200:
                return f"node {i} is not ready: {body.strip()}"
            lacking = self.target.lacking(i)
            if lacking or lacking is None:
                return f"node {i} says that something lacks leader or replicas: {', '.join(lacking[:4]) if lacking else 'it does not say what'}"
        balance = self.target.json(self.members[-1], "/v1/balance")
        if balance["moving"] or balance["waiting"]:
            return f"{len(balance['moving'])} replicas on their way, {balance['waiting']} waiting"
        off = self.unrestored()
        return "; ".join(off[:4])

    def settle(self, step):
        """Waits until the mesh is at rest; what it still is not is told as wrong, and the run goes on."""
        begin = time.monotonic()
        try:
            mesh.wait_until("settled", self.options.patience, lambda: not self.unsettled(), 0.1)
            self.tell(f"   all replicas in place and in sync after {time.monotonic() - begin:.1f} s, on " + self.spread())
        except TimeoutError:
            self.wrong(f"{step}: not at rest after {self.options.patience} s: {self.unsettled()}")
        time.sleep(self.options.settle)
        self.stalls(step)

    def spread(self):
        return ", ".join(f"node {node_id}: {node['replicas']}" for node_id, node in sorted(self.nodes().items()))

    # ---- steps -------------------------------------------------------------------------------------------------------

    def start(self, i, arguments):
        begin = time.monotonic()
        self.target.start(i, arguments)
        self.target.ready(i, 60)
        self.ids[i] = self.target.json(i, "/v1/nodes")["node_id"]
        self.members.append(i)
        self.tell(f"node {i} is ready after {time.monotonic() - begin:.2f} s, as number {self.ids[i]}")

    def join(self, i):
        self.start(i, ["--join", self.target.mesh_address(self.members[0])])

    def found(self):
        if self.options.found == 1:
            self.start(1, [])
            self.rafka("topic", "create", EARLY, "--partitions", EARLY_PARTITIONS, "--replication-factor", 1)
            self.tell(f"topic {EARLY} with one replica, for there is one node")
            self.join(2)
            self.join(3)
        else:
            seeds = ["--seeds", ",".join(self.target.mesh_address(i) for i in (1, 2, 3))]
            for i in (1, 2, 3):
                self.target.start(i, seeds)
            for i in (1, 2, 3):
                self.target.ready(i)
                self.ids[i] = self.target.json(i, "/v1/nodes")["node_id"]
                self.members.append(i)
            self.tell("three seeds founded the mesh")

    def widen(self):
        """The early topic gets three replicas where the product can do that; else it goes, for it would die with its node."""
        if self.options.found != 1:
            return
        done = self.rafka("topic", "alter", EARLY, "--replication-factor", FACTOR, may_fail=True)
        if done.returncode == 0:
            self.tell(f"topic {EARLY} altered to {FACTOR} replicas")
            self.load(EARLY, EARLY_PARTITIONS)
        else:
            self.rafka("topic", "delete", EARLY)
            self.tell(f"topic {EARLY} deleted: rafka topic alter is not there yet, and one replica does not outlive its node")

    def load(self, topic, partitions):
        load = workload.Load(self.bootstrap(), topic, partitions, 2, self.options.rate / len(TOPICS), run=1)
        load.flush_s = 30
        load.start()
        self.loads[topic] = load
        addresses = {i: self.target.address(i) for i in self.target.ids()}
        for partition in range(partitions):
            prober = Prober(addresses, topic, partition, load.history, load.lock, every_s=PROBE_EVERY_S)
            prober.start()
            self.probers[f"{topic}/{partition}"] = prober
        mesh.wait_until(f"{topic} acknowledged on all partitions", 60, lambda: load.acked_since(0))

    def traffic(self):
        for topic, partitions in TOPICS.items():
            self.rafka("topic", "create", topic, "--partitions", partitions, "--replication-factor", FACTOR)
            self.load(topic, partitions)
        self.since = time.monotonic()
        self.tell(f"{', '.join(TOPICS)} with {FACTOR} replicas; producers with acks=all run, {self.options.rate} records/s")

    def kill(self, i):
        node = self.ids[i]
        self.members.remove(i)
        self.tell(f"node {i} (number {node}) is killed, for good")
        self.target.kill(i)
        begin = time.monotonic()
        mesh.wait_until(f"node {i} called dead", 60, lambda: self.nodes()[node]["state"] == "dead", 0.1)
        self.tell(f"   called dead after {time.monotonic() - begin:.1f} s")
        self.settle(f"node {i} was killed for good")
        self.remove(node)

    def remove(self, node):
        done = self.rafka("nodes", "remove", node, may_fail=True)
        if done.returncode:
            return self.wrong(f"rafka nodes remove {node}: {(done.stderr or done.stdout).strip()}")
        self.tell(f"   rafka nodes remove {node}: done")

    def wipe(self, i):
        """Wiped and started again: it has its number and its replicas again, and nobody did anything."""
        node = self.ids[i]
        self.members.remove(i)
        self.tell(f"node {i} (number {node}) is killed, its data directory wiped, and it is started again with --join")
        self.target.kill(i)
        shutil.rmtree(self.target.data_dir(i))
        begin = time.monotonic()
        if not self.back(i):
            return self.wrong(f"node {i} was wiped and is refused: {self.last_error(i)}")
        self.tell(f"   back after {time.monotonic() - begin:.1f} s as node {i}, number {self.ids[i]}")
        if self.ids[i] != node:
            self.wrong(f"node {i} was number {node} before its disk was wiped and is {self.ids[i]} now")
        self.settle(f"node {i} was wiped")

    def back(self, i):
        """Starts an emptied node; whether it is taken in."""
        self.target.start(i, ["--join", self.target.mesh_address(self.members[0])])
        process = self.target.processes[i]
        mesh.wait_until(f"node {i} ready, or refused", 60, lambda: process.poll() is not None or self.target.http(i, "/readyz")[0] == 200)
        if process.poll() is not None:
            return False
        self.ids[i] = self.target.json(i, "/v1/nodes")["node_id"]
        self.members.append(i)
        return True

    def last_error(self, i):
        lines = [line for line in self.target.tail(i, 30).splitlines() if " ERROR " in line]
        return lines[-1].split(" ERROR ", 1)[1] if lines else self.target.tail(i, 1).strip()

    def decommission(self, i):
        node = self.ids[i]
        self.tell(f"rafka nodes decommission {node} --wait (node {i})")
        self.members.remove(i)
        begin = time.monotonic()
        done = self.rafka("nodes", "decommission", node, "--wait", may_fail=True)
        if done.returncode:
            return self.wrong(f"rafka nodes decommission {node} --wait: {(done.stderr or done.stdout).strip()}")
        self.tell(f"   it says that it is done after {time.monotonic() - begin:.1f} s")
        try:
            mesh.wait_until("no replica there", 30, lambda: self.target.metric(i, "rafka_replicas") == 0, 0.1)
        except TimeoutError:
            self.wrong(f"node {i} was decommissioned and has {self.target.metric(i, 'rafka_replicas'):.0f} replicas still")
        self.settle(f"node {i} was decommissioned")
        if not self.target.stop(i):
            self.wrong(f"node {i} did not stop cleanly")
        self.remove(node)
        self.empty(i)

    def empty(self, i):
        """A node that was taken out holds no logs, by its own offline inspection."""
        command = [self.target.binary, "storage", "inspect", "--json", self.target.data_dir(i)]
        logs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["logs"]
        names = [log["partition"] for log in logs if log["partition"] != FOUNDING_MARK]
        if names:
            return self.wrong(f"the directory of node {i} holds {len(names)} replicas still, {names[0]} among them")
        self.tell(f"   the data directory of node {i} holds no replica (rafka-node storage inspect)")

    # ---- the end -----------------------------------------------------------------------------------------------------

    def judge(self):
        for prober in self.probers.values():
            prober.stop()
        for load in self.loads.values():
            load.stop()
        self.tell(f"the producers stopped; members are {self.spread()}")
        self.stalls("the end")
        for topic, load in self.loads.items():
            print(f"\n{topic}:", end="")
            members = ",".join(self.target.address(i) for i in self.members)
            read = workload.read_all(members, topic, load.partitions)
            found = workload.report(load, history.check(load.history, read, workload.stored(members, topic, load.partitions)))
            self.problems += [f"{topic}: {one}" for one in found]


def verdict(elastic):
    for text in elastic.by_hand:
        print(f"by hand: {text}")
    print(f"RESULT elastic: {'FAILED: ' + '; '.join(elastic.problems) if elastic.problems else 'passed'}")
    return 1 if elastic.problems else 0


def run(elastic, options):
    elastic.found()
    elastic.widen()
    elastic.traffic()
    elastic.settle("three nodes")
    elastic.join(4)
    elastic.join(5)
    elastic.settle("grown to five")
    elastic.kill(options.kill)
    elastic.wipe(options.wipe)
    elastic.decommission(options.decommission)


def main():
    parser = argparse.ArgumentParser(prog="elastic.sh")
    parser.add_argument("--found", type=int, choices=(1, 3), default=1, help="nodes that found the mesh")
    parser.add_argument("--kill", type=int, default=2, help="node that is killed for good")
    parser.add_argument("--wipe", type=int, default=3)
    parser.add_argument("--decommission", type=int, default=1)
    parser.add_argument("--rate", type=int, default=300, help="records a second, all topics together")
    parser.add_argument("--dead-after-ms", type=int, default=5000)
    parser.add_argument("--settle", type=float, default=5, help="seconds of traffic after each step")
    parser.add_argument("--patience", type=float, default=60, help="seconds until the mesh must be at rest after a step")
    options = mesh.parse(parser)
    elastic = Elastic(os.environ["RUN_DIR"] + "/mesh", options)
    try:
        for act in (lambda: run(elastic, options), elastic.judge):
            try:
                act()
            except Exception as error:  # whatever breaks the run fails it, and what was found until then is told
                elastic.wrong(f"{type(error).__name__}: {error}")
        return verdict(elastic)
    finally:
        elastic.target.close()


sys.exit(main())
