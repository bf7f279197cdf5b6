"""See ../bench.sh."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import mesh

TOPIC = "bench"
# (name, class, broker settings, what an acknowledgement means)
SYSTEMS = {
    "rafka": (mesh.Rafka, (), "synced on a majority"),
    "kafka": (mesh.Kafka, (), "in the page cache of all in-sync replicas (Kafka's default)"),
    "kafka-synced": (mesh.Kafka, ("log.flush.interval.messages=1",), "synced on all in-sync replicas"),
}
# (name, load arguments)
LOADS = {"full speed": [], "at 25 MB/s": ["--rate", "25"]}


def load(*arguments):
    done = subprocess.run([os.environ["LOAD_BIN"], *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"load {arguments}: {done.stderr[-600:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def raw_limit(options):
    return {
        name: load("limit", "--dir", os.environ["RUN_DIR"], "--seconds", options.limit_seconds, "--sync-bytes", bytes_)["mb_s"]
        for name, bytes_ in {"synced per MiB": 1 << 20, "never synced": 0}.items()
    }


def measure(system, nodes, options):
    """Starts a fresh system, warms it up, measures, stops it: {measured: value}."""
    kind, settings, _ = SYSTEMS[system]
    target = kind(f"{os.environ['RUN_DIR']}/{system}", nodes, settings)
    try:
        begin = time.monotonic()
        for i in target.ids():
            target.start(i)
        for i in target.ids():
            target.ready(i, 120)
        out = {"ready s": time.monotonic() - begin}
        create = [os.environ["RAFKA_BIN"], "--bootstrap", target.bootstrap(), "--timeout", "60", "topic", "create", TOPIC]
        create += ["--partitions", str(options.partitions), "--replication-factor", str(nodes)]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
        time.sleep(2)
        out["idle MiB"] = sum(target.resident_mib(i) for i in target.ids())
        pids = ",".join(str(target.pids[i]) for i in target.ids())
        common = ["--bootstrap", target.bootstrap(), "--topic", TOPIC, "--pids", pids, "--conns", options.conns]
        warm = options.warm
        for name, arguments in LOADS.items():
            found = load("produce", *common, "--acks", -1, "--batch", options.batch, "--seconds", options.seconds, "--warm", warm, *arguments)
            if found["failed"]:
                raise RuntimeError(f"{system}, {nodes} nodes, {name}: {found['failed']} failed produces")
            out[name] = found
            warm = 2
        out["consume"] = load("consume", *common, "--bytes", options.consume_bytes)
        return out
    finally:
        target.close()


def median(runs, *path):
    values = []
    for run in runs:
        for key in path:
            run = run[key]
        values.append(run)
    return statistics.median(values)


COLUMNS = [
    ("MB/s", ("full speed", "mb_s"), 1),
    ("p99 ms", ("full speed", "p99_ms"), 1),
    ("p99 ms at 25 MB/s", ("at 25 MB/s", "p99_ms"), 1),
    ("broker CPU-s per GB", ("full speed", "broker_cpu_s_per_gb"), 2),
    ("memory MiB under load", ("full speed", "rss_mib"), 0),
    ("idle MiB", ("idle MiB",), 0),
    ("consume MB/s", ("consume", "mb_s"), 0),
]


def table(results, limits, options):
    lines = []
    for nodes in options.nodes:
        lines += [f"## {nodes} node{'s' * (nodes > 1)}, RF {nodes}", ""]
        lines += ["| | acknowledged when | " + " | ".join(name for name, _, _ in COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
        for system in options.systems:
            runs = results[nodes, system]
            cells = [f"{median(runs, *path):.{digits}f}" for _, path, digits in COLUMNS]
            lines.append(f"| {system} | {SYSTEMS[system][2]} | " + " | ".join(cells) + " |")
        if "rafka" in options.systems:
            for other in [s for s in options.systems if s != "rafka"]:
                ratios = [median(results[nodes, "rafka"], *path) / max(1e-9, median(results[nodes, other], *path)) for _, path, _ in COLUMNS]
                lines.append(f"| **rafka / {other}** | | " + " | ".join(f"**{r:.2f}**" for r in ratios) + " |")
        lines.append("")
    lines += ["Raw limit of this machine, a TCP copy into one file: " + ", ".join(f"{name} {statistics.median(v):.0f} MB/s" for name, v in limits.items()) + "."]
    return lines


def head(options):
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown processor")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return [
        "# rafka beside Apache Kafka",
        "",
        f"`scripts/bench.sh {' '.join(sys.argv[1:])}`".replace(" `", "`") + f" at {commit or 'no commit'}, {os.cpu_count()} cores ({model}), Linux {os.uname().release}.",
        "",
        f"Systems in turns in one run, each started anew; medians of {options.rounds} rounds. {options.batch // 1024} KiB batches of 1 KiB records,"
        f" {options.partitions} partitions, {options.conns} connections per node, acks=all, {options.warm} s of warm-up, {options.seconds} s measured, brokers and the load"
        " generator (`scripts/peers/load`) on the same cores. Memory is resident, summed over nodes. Ratios above 1 are good for MB/s, below 1 for the rest.",
        "",
    ]


def verdict(results, options):
    """Three synced nodes must be ahead of three Kafka brokers at their default."""
    if not {"rafka", "kafka"} <= set(options.systems) or 3 not in options.nodes:
        return []
    problems = []
    ours, theirs = results[3, "rafka"], results[3, "kafka"]
    if median(ours, "full speed", "mb_s") <= median(theirs, "full speed", "mb_s"):
        problems.append("three rafka nodes are behind three Kafka brokers in throughput")
    if median(ours, "full speed", "rss_mib") >= median(theirs, "full speed", "rss_mib"):
        problems.append("three rafka nodes need more memory than three Kafka brokers")
    return problems


def main():
    parser = argparse.ArgumentParser(prog="bench.sh")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--warm", type=int, default=10, help="at least 8, or the JVM is measured cold")
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--batch", type=int, default=65536)
    parser.add_argument("--conns", type=int, default=4)
    parser.add_argument("--limit-seconds", type=int, default=3)
    parser.add_argument("--consume-bytes", type=int, default=500_000_000)
    parser.add_argument("--output", help="file for the table (default: only printed)")
    options = parser.parse_args()
    results, limits = {}, {}
    for n in range(options.rounds):
        for name, value in raw_limit(options).items():
            limits.setdefault(name, []).append(value)
        for nodes in options.nodes:
            order = options.systems if n % 2 == 0 else options.systems[::-1]
            for system in order:
                found = measure(system, nodes, options)
                results.setdefault((nodes, system), []).append(found)
                full, rated = found["full speed"], found["at 25 MB/s"]
                print(
                    f"round {n + 1} {system:13} {nodes} nodes: {full['mb_s']:7.1f} MB/s, p99 {full['p99_ms']:.1f} ms (at 25 MB/s {rated['p99_ms']:.1f}),"
                    f" {full['broker_cpu_s_per_gb']:.2f} CPU-s/GB, {full['rss_mib']} MiB, consume {found['consume']['mb_s']:.0f} MB/s",
                    flush=True,
                )
    text = "\n".join(head(options) + table(results, limits, options)) + "\n"
    print("\n" + text)
    if options.output:
        with open(options.output, "w") as f:
            f.write(text)
    problems = verdict(results, options)
    print(f"RESULT bench: {'FAILED: ' + ', '.join(problems) if problems else 'done'}")
    return 1 if problems else 0


sys.exit(main())
