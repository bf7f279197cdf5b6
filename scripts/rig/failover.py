"""See ../failover.sh."""
import argparse
import os
import sys
import time
from statistics import median

import history
import mesh
import workload
from prober import Prober

NODES, TOPIC, PROBED = 3, "failover", 0
# {what: [(name of the figure, how it is made of all rounds', bound in ms)]}
BOUNDS = {
    "kill": [("median", median, 700), ("worst", max, 2000)],
    "pause": [("worst", max, 3000)],
    "restart": [("worst", max, 200)],
}
TOLD = {"kill": "SIGKILL of the leader", "pause": "SIGSTOP of the leader", "restart": "SIGTERM of the leader, started again"}
# A leader that was left alone acknowledges for so long before it is taken.
CALM_S = 1.0


def p99(values):
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def one_round(target, prober, load, what):
    """(node, milliseconds to the next acknowledged write, those that librdkafka's stood still, the longest gap until all is whole again, terms).

    A clean stop acknowledges to its end, so there it is the longest gap that counts.
    """
    mesh.wait_until("a leader that acknowledges", 30, prober.leader)
    mesh.wait_until("a calm mesh", 60, lambda: prober.longest_gap(time.monotonic() - CALM_S, time.monotonic()) < 0.25)
    victim = prober.leader()
    term = target.term(victim, TOPIC, PROBED)
    broken = time.monotonic()
    {"kill": target.kill, "pause": target.pause, "restart": target.stop}[what](victim)
    if what != "restart":
        mesh.wait_until(f"a write after the {what} of node {victim}", 60, lambda: prober.next_after(broken) is not None)
        # A frozen one stays so until its successor is settled.
        time.sleep(0.5)
    target.resume(victim) if what == "pause" else target.start(victim)
    target.whole(120)
    mesh.wait_until("acknowledgements on all partitions", 60, lambda t=time.monotonic(): load.acked_since(t))
    end = time.monotonic()
    gap, stall = prober.longest_gap(broken, end), load.stalled(broken, end, PROBED)[0]
    away = gap if what == "restart" else prober.next_after(broken)
    after = next((target.term(i, TOPIC, PROBED) for i in target.ids() if i == prober.leader()), term)
    return victim, *(round(s * 1000) for s in (away, stall, gap)), after - term


def rounds(target, prober, load, plan):
    """{what: [milliseconds]} as the prober saw it, and as librdkafka did."""
    ours, theirs = {what: [] for what in plan}, {what: [] for what in plan}
    print(f"{'round':>5} {'what':8} {'node':>4} {'next ack ms':>11} {'librdkafka ms':>13} {'longest gap ms':>14} {'terms':>5}", flush=True)
    for what, times in plan.items():
        for n in range(1, times + 1):
            victim, away, stall, gap, terms = one_round(target, prober, load, what)
            ours[what].append(away)
            theirs[what].append(stall)
            print(f"{n:5} {what:8} {victim:>4} {away:11} {stall:13} {gap:14} {terms:5}", flush=True)
    return ours, theirs


def judge(ours, theirs):
    """Prints the table; what is over its bound."""
    over = []
    print(f"\n{'':38} {'rounds':>6} {'median':>7} {'p99':>7} {'worst':>7}   verdict")
    for what, values in ours.items():
        if not values:
            continue
        said = []
        for name, of, bound in BOUNDS[what]:
            found = of(values)
            said.append(f"{name} {found:.0f} of {bound} ms: {'ok' if found < bound else 'OVER'}")
            over += [f"{what} {name} {found:.0f} ms, not below {bound}"] * (found >= bound)
        for who, figures, text in (("", values, "; ".join(said)), ("   librdkafka", theirs[what], "")):
            print(f"{who or TOLD[what]:38} {len(figures):6} {median(figures):7.0f} {p99(figures):7} {max(figures):7}   {text}".rstrip())
    return over


def run(target, options):
    for i in target.ids():
        target.start(i)
    for i in target.ids():
        target.ready(i, 90)
    bootstrap = target.bootstrap()
    workload.create_topic(bootstrap, TOPIC, options.partitions, NODES)
    target.whole()
    load = workload.Load(bootstrap, TOPIC, options.partitions, 1, options.rate, run=1)
    prober = Prober({i: target.address(i) for i in target.ids()}, TOPIC, PROBED, load.history, load.lock)
    load.start()
    prober.start()
    mesh.wait_until("the first acknowledgements", 60, lambda: load.acked_since(0))
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    try:
        ours, theirs = rounds(target, prober, load, {"kill": options.kills, "pause": options.pauses, "restart": options.restarts})
    finally:
        prober.stop()
    load.stop()
    over = judge(ours, theirs)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}; what the probed nodes refused counts as unknown")
    read = workload.read_all(bootstrap, TOPIC, options.partitions)
    problems = workload.report(load, history.check(load.history, read, workload.stored(bootstrap, TOPIC, options.partitions))) + over
    print(f"RESULT failover: {'FAILED: ' + '; '.join(problems) if problems else 'passed'}")
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(prog="failover.sh")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pauses", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--partitions", type=int, default=12, help="of the topic; one of them is probed")
    parser.add_argument("--rate", type=int, default=600, help="records a second of librdkafka's producer, over all partitions")
    options = mesh.parse(parser)
    target = mesh.Rafka(os.environ["RUN_DIR"] + "/mesh", NODES, options.node_argument)
    try:
        return run(target, options)
    finally:
        target.close()


sys.exit(main())
