"""See ../kill_test.sh."""
import argparse
import os
import random
import sys
import time

import history
import mesh
import workload

NODES, PARTITIONS, TOPIC = 3, 12, "kill"
# What each round does, by weight; rounds that kill all nodes at once are dealt apart.
KINDS = {"kill": 15, "pause": 6, "stop": 6}


def schedule(seed, rounds):
    """[(kind, who, hold seconds, lead seconds)]: who = rank by partitions led, 0 leads most."""
    rng = random.Random(seed)
    all_rounds = max(1, rounds // 10)
    weight = sum(KINDS.values())
    kinds = [kind for kind, share in KINDS.items() for _ in range(round((rounds - all_rounds) * share / weight))]
    kinds = (kinds + ["kill"] * rounds)[: rounds - all_rounds] + ["kill all"] * all_rounds
    rng.shuffle(kinds)
    # A pause may be shorter or longer than what it takes to be suspected.
    longest = {"pause": 8.0}
    return [(k, rng.choice([0, 0, 0, 1, 2]), round(rng.uniform(0.3, longest.get(k, 4.0)), 2), round(rng.uniform(0.5, 2.5), 2)) for k in kinds]


def who_leads(admin):
    """Node ids by partitions led, most first; and {node: its partitions}."""
    by_node = {i: [] for i in range(1, NODES + 1)}
    for partition, leader in workload.leaders(admin, TOPIC, PARTITIONS).items():
        if leader in by_node:
            by_node[leader].append(partition)
    return sorted(by_node, key=lambda i: (-len(by_node[i]), i)), by_node


def node_numbers(target):
    """{node id as clients see it: number of the process}: ids are drawn at founding."""
    if target.name != "rafka":
        return {i: i for i in target.ids()}
    return {target.json(i, "/v1/nodes")["node_id"]: i for i in target.ids()}


def one_round(target, admin, load, numbers, kind, who, hold):
    """Breaks and mends; (victim, partitions led, in flight then, seconds until each partition acknowledged again)."""
    ranks, led = who_leads(admin)
    node = ranks[who]
    victim, hit = numbers[node], led[node]
    if kind == "kill all":
        hit = list(range(PARTITIONS))
    flying = load.in_flight(hit)
    broken = time.monotonic()
    if kind == "kill all":
        for i in target.ids():
            target.kill(i)
        time.sleep(hold / 4)
        for i in target.ids():
            target.start(i)
    elif kind == "kill":
        target.kill(victim)
    elif kind == "pause":
        target.pause(victim)
    else:
        if not target.stop(victim):
            raise RuntimeError(f"node {victim} did not stop cleanly")
    if kind != "kill all":
        # Writes must flow again while the victim is away; a short absence may end sooner.
        until, flowing = broken + hold, None
        while time.monotonic() < until:
            if flowing is None and load.acked_since(broken):
                flowing = time.monotonic() - broken
            time.sleep(0.01)
        target.resume(victim) if kind == "pause" else target.start(victim)
    else:
        flowing = None
    if flowing is None:
        mesh.wait_until(f"acknowledgements on all partitions after {kind} of {victim}", 120, lambda: load.acked_since(broken), 0.01)
        flowing = time.monotonic() - broken
    for i in target.ids():
        target.ready(i, 90)
    mesh.wait_until("acknowledgements on all partitions", 90, lambda t=time.monotonic(): load.acked_since(t))
    return ("all" if kind == "kill all" else victim), hit, flying, flowing


def run(options):
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    plan = schedule(seed, options.rounds)
    print(f"seed {seed} (replay the schedule with --seed {seed} --rounds {options.rounds})", flush=True)
    target = mesh.make(os.environ["RUN_DIR"] + "/mesh", NODES)
    try:
        return rounds(target, plan, options)
    finally:
        target.close()


def rounds(target, plan, options):
    for i in target.ids():
        target.start(i)
    for i in target.ids():
        target.ready(i, 90)
    admin = workload.create_topic(target.bootstrap(), TOPIC, PARTITIONS, NODES)
    numbers = node_numbers(target)
    load = workload.Load(target.bootstrap(), TOPIC, PARTITIONS, options.producers, options.rate)
    load.start()
    mesh.wait_until("the first acknowledgements", 60, lambda: load.acked_since(0))
    leader_kills, outages = 0, {}
    print(f"{'round':>5} {'what':9} {'node':>4} {'leads':>5} {'in flight':>9} {'away s':>6} {'all ack again s':>15} {'acked':>9}", flush=True)
    for n, (kind, who, hold, lead) in enumerate(plan, 1):
        time.sleep(lead)
        victim, led, flying, flowing = one_round(target, admin, load, numbers, kind, who, hold)
        if "kill" in kind and led and flying:
            leader_kills += 1
        outages.setdefault(kind, []).append(flowing)
        print(f"{n:5} {kind:9} {victim:>4} {len(led):5} {flying:9} {hold:6.2f} {flowing:15.2f} {load.history.acknowledged():9}", flush=True)
        if load.fatal_errors():
            break
    want = options.records
    mesh.wait_until(f"{want} acknowledged records", 300, lambda: load.history.acknowledged() >= want or load.fatal_errors(), 0.2)
    load.stop()
    return judge(target, load, options, leader_kills, outages)


def judge(target, load, options, leader_kills, outages):
    bootstrap, past = target.bootstrap(), load.history
    read = workload.read_all(bootstrap, TOPIC, PARTITIONS)
    verdict = history.check(past, read, workload.stored(bootstrap, TOPIC, PARTITIONS))
    problems = workload.report(load, verdict)
    print(f"kills of a leader with produces in flight: {leader_kills}")
    for kind, values in sorted(outages.items()):
        values.sort()
        median = values[len(values) // 2]
        print(f"{kind:9} x{len(values)}: all partitions acknowledged again after {median:.2f} s median, {values[-1]:.2f} s at most")
    need_kills = 10 if options.rounds >= 30 else 1
    problems += [f"only {leader_kills} kills of a busy leader"] * (leader_kills < need_kills)
    problems += [f"only {past.acknowledged()} acknowledged"] * (past.acknowledged() < options.records)
    print(f"RESULT kill test on {target.name}: {'FAILED: ' + ', '.join(problems) if problems else 'passed'}")
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(prog="kill_test.sh")
    parser.add_argument("--seed", type=int, help="schedule to run (default: drawn and printed)")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--records", type=int, help="acknowledged records at least (default 10,000 a round)")
    parser.add_argument("--producers", type=int, default=4)
    parser.add_argument("--rate", type=int, default=4000, help="records a second, all producers together")
    parser.add_argument("--self-test", action="store_true", help="feed the checker doctored histories, start nothing")
    options = parser.parse_args()
    options.records = options.records if options.records is not None else 10_000 * options.rounds
    wrong = history.self_test()
    if wrong or options.self_test:
        print(f"RESULT checker: {wrong} doctored histories judged wrongly")
        return 1 if wrong else 0
    return run(options)


sys.exit(main())
