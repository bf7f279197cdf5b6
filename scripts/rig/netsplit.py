"""See ../netsplit.sh."""
import argparse
import os
import random
import sys
import time
from itertools import permutations

import history
import mesh
import wire
import workload
from forwarder import Forwarder
from network import Network, Networked
from prober import Prober

NODES, TOPIC, PARTITIONS, PROBED = 3, "split", 12, 0
DEVICE = "line0"
STALL_S = 2.0
LONG, LONG_HOLDS = "the leader cut off for long", 5
# What a node that has no majority may answer to acks=all; docs/troubleshooting.md says so. Silence is an answer too.
REFUSALS = {"NOT_LEADER_OR_FOLLOWER", "REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS", "TimeoutError"}


def splits(leader, others):
    """{name: (pairs whose packets are lost, nodes in a minority, whether a majority is left)}."""
    first, second = others
    cut = lambda one: [pair for other in (leader, first, second) if other != one for pair in ((one, other), (other, one))]
    return {
        "the leader cut off": (cut(leader), [leader], True),
        "a follower cut off": (cut(first), [first], True),
        "each for itself": (list(permutations((leader, first, second), 2)), [leader, first, second], False),
        "what the leader sends is lost": ([(leader, first), (leader, second)], [leader], True),
        "what the leader is sent is lost": ([(first, leader), (second, leader)], [leader], True),
        # TCP tries again ever more rarely, so what heals late may be slow to be noticed.
        LONG: (cut(leader), [leader], True),
        "the leader does not reach one": ([(leader, first)], [], True),
        "leader and one do not reach each other": ([(leader, first), (first, leader)], [], True),
    }


LINES = {
    "20 ms late": {"delay_ms": 20},
    "20 ms late, give or take 15": {"delay_ms": 20, "jitter_ms": 15},
    "1 in 20 lost": {"loss": 0.05},
    "1 in 4 overtaken": {"delay_ms": 2, "reorder": 0.25, "late_ms": 10},
    "all of it": {"delay_ms": 20, "jitter_ms": 15, "loss": 0.03, "reorder": 0.1, "late_ms": 20},
}


class Run:
    """The mesh, its lines, what runs against it, and what is wrong."""

    def __init__(self, target, network, forwarder, options):
        self.target, self.network, self.forwarder, self.options = target, network, forwarder, options
        self.problems = []
        bootstrap = target.bootstrap()
        workload.create_topic(bootstrap, TOPIC, PARTITIONS, NODES)
        target.whole()
        self.load = workload.Load(bootstrap, TOPIC, PARTITIONS, 2, options.rate, run=1)
        addresses = {i: target.address(i) for i in target.ids()}
        probe = lambda partition, **more: Prober(addresses, TOPIC, partition, self.load.history, self.load.lock, **more)
        self.prober = probe(PROBED)
        # The others are looked at less closely, for each prober costs.
        self.probers = [self.prober, *(probe(p, every_s=0.2) for p in range(PARTITIONS) if p != PROBED)]

    def wrong(self, what):
        self.problems.append(what)
        print(f"   WRONG: {what}", flush=True)

    def changed_leaders(self):
        """Also those that were handed back to a preferred replica, 30 s after what came before."""
        return sum(self.target.metric(i, "rafka_election_lost_total") for i in self.target.ids())

    def stalled(self, begin, name, most):
        """The longest time since then without a write of a partition, as the probers saw it, and as librdkafka did."""
        end = time.monotonic()
        gap, where = max((prober.longest_gap(begin, end), prober.partition) for prober in self.probers)
        stall, partition, _ = self.load.stalled(begin, end)
        if gap > most:
            self.wrong(f"{name}: partition {where} took no write for {gap:.2f} s")
        return f"longest gap {gap:5.2f} s, librdkafka {stall:5.2f} s" + (f" on partition {partition}" if stall > most else "")

    def told_leaders(self, begin):
        """Of a partition on which librdkafka has stood still for long: whom each node tells clients to go to, and who takes writes."""
        now = time.monotonic()
        stall, partition, until = self.load.stalled(begin, now)
        if stall < STALL_S:
            return ""
        told = []
        for i in self.target.ids():
            connection = wire.Connection(self.target.address(i), 5)
            nodes, leaders, _ = connection.metadata(TOPIC)
            connection.close()
            told.append(f"node {i} names {nodes.get(leaders[partition], 'nobody')}")
        takes = self.probers[partition].leader()
        return f"partition {partition} until {now - until:.1f} s ago: {', '.join(told)}; {self.target.address(takes) if takes else 'nobody'} takes writes"

    def healed(self, name):
        """All nodes ready, all replicas in sync and all partitions acknowledging."""
        healing = time.monotonic()
        try:
            self.target.whole(60)
            mesh.wait_until("acknowledgements on all partitions", 60, lambda: self.load.acked_since(healing))
        except TimeoutError as error:
            self.wrong(f"{name}: not whole again: {error}")
        return f"whole again {time.monotonic() - healing:5.2f} s after healing"

    def calm(self):
        mesh.wait_until("a leader that acknowledges", 60, self.prober.leader)
        mesh.wait_until("calm", 60, lambda: self.prober.longest_gap(time.monotonic() - 1, time.monotonic()) < 0.25)
        return self.prober.leader()

    def split(self, name):
        leader = self.calm()
        lost, minority, majority = splits(leader, [i for i in self.target.ids() if i != leader])[name]
        begin = time.monotonic()
        for a, b in lost:
            self.network.lose(a, b)
        cut = time.monotonic()
        time.sleep(self.options.hold * (LONG_HOLDS if name == LONG else 1))
        end = time.monotonic()
        told = {i: self.prober.answered(i, cut, end) for i in minority}
        late = [node for sent, _, node in self.prober.since(cut) if node in minority and sent > cut]
        seen = self.told_leaders(begin) if majority else ""
        again = self.stalled(begin, name, STALL_S) if majority else f"{'nobody takes writes':41}"
        for a, b in lost:
            self.network.carry(a, b)
        print(f"{name:40} {again}   {self.healed(name)}", flush=True)
        if seen:
            print(f"   {seen}", flush=True)
        for i, counts in told.items():
            print(f"   node {i}, in a minority, answered: {', '.join(f'{count} {what}' for what, count in counts.most_common()) or 'silent'}", flush=True)
            wrong = set(counts) - REFUSALS - {"acknowledged"}
            if wrong:
                self.wrong(f"{name}: node {i} in a minority answered {', '.join(sorted(wrong))}")
        if late:
            self.wrong(f"{name}: {len(late)} writes acknowledged by a minority")

    def line(self, name):
        self.calm()
        lost, begin = self.changed_leaders(), time.monotonic()
        self.forwarder.set(**LINES[name])
        time.sleep(self.options.hold)
        again = self.stalled(begin, name, STALL_S)
        lost = self.changed_leaders() - lost
        counts = self.forwarder.set()
        what = ", ".join(f"{count} {word}" for word, count in counts.items())
        print(f"{name:40} {again}   {self.healed(name)}\n   packets: {what}; leaders that changed: {lost:.0f}", flush=True)

    def judge(self):
        for prober in self.probers:
            prober.stop()
        self.load.stop()
        bootstrap = self.target.bootstrap()
        read = workload.read_all(bootstrap, TOPIC, PARTITIONS)
        verdict = history.check(self.load.history, read, workload.stored(bootstrap, TOPIC, PARTITIONS))
        self.problems += workload.report(self.load, verdict)


def run(options, target, network, forwarder):
    for i in target.ids():
        target.start(i)
    for i in target.ids():
        target.ready(i)
    one = Run(target, network, forwarder, options)
    one.load.start()
    for prober in one.probers:
        prober.start()
    mesh.wait_until("the first acknowledgements", 60, lambda: one.load.acked_since(0))
    situations = [(one.split, name) for name in splits(1, [2, 3])] + [(one.line, name) for name in LINES]
    for act, name in situations:
        if not options.only or any(word in name for word in options.only):
            act(name)
    one.judge()
    print(f"RESULT netsplit: {'FAILED: ' + '; '.join(one.problems) if one.problems else 'passed'}")
    return 1 if one.problems else 0


def main():
    parser = argparse.ArgumentParser(prog="netsplit.sh")
    parser.add_argument("--hold", type=float, default=8, help="seconds that each situation lasts")
    parser.add_argument("--seed", type=int, help="of what the router does (default: drawn and printed)")
    parser.add_argument("--rate", type=int, default=200, help="records a second, all producers together")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="situations whose name has this in it")
    options = mesh.parse(parser)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed} of the router", flush=True)
    network = Network(NODES)
    try:
        forwarder = Forwarder(DEVICE, seed)
    except RuntimeError as error:
        print(f"RESULT netsplit: FAILED: {error}")
        return 1
    network.route_through(DEVICE)
    target = Networked(network, os.environ["RUN_DIR"] + "/mesh", NODES, options.node_argument)
    try:
        return run(options, target, network, forwarder)
    finally:
        target.close()
        forwarder.close()


sys.exit(main())
