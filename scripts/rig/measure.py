"""See ../measure.sh."""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import mesh

RUN_DIR = os.environ["RUN_DIR"]


def until_ready(target, arguments=None):
    """Starts all nodes and gives the seconds until the last of them is ready."""
    begin = time.monotonic()
    for i in target.ids():
        target.start(i, arguments)
    for i in target.ids():
        mesh.wait_until(f"node {i} ready", 300, lambda i=i: target.http(i, "/readyz")[0] == 200, 0.002)
    return time.monotonic() - begin


def start_up(nodes, times):
    found, memory = [], []
    for n in range(times):
        target = mesh.Rafka(f"{RUN_DIR}/start-{nodes}-{n}", nodes)
        try:
            found.append(until_ready(target))
            if n == 0:
                time.sleep(10)
                memory = [target.resident_mib(i) for i in target.ids()]
        finally:
            target.close()
    return statistics.median(found), max(found), max(memory)


def fill(directory, bytes_):
    """A node that was killed with this many bytes in its log."""
    target = mesh.Rafka(directory, 1)
    try:
        until_ready(target)
        create = [os.environ["RAFKA_BIN"], "--bootstrap", target.bootstrap(), "topic", "create", "fill", "--partitions", "64", "--replication-factor", "1"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
        written = 0
        while written < bytes_:
            load = [os.environ["LOAD_BIN"], "produce", "--bootstrap", target.bootstrap(), "--topic", "fill", "--batch", "16384", "--warm", "0", "--seconds", "3"]
            written += json.loads(subprocess.run(load, check=True, capture_output=True, text=True).stdout)["mb_s"] * 3_000_000
    finally:
        target.close()


def files(directory):
    return sorted(f for f in glob.glob(f"{directory}/**", recursive=True) if os.path.isfile(f))


def drop_caches():
    """So that recovery and cat both read from the disk; needs root."""
    subprocess.run(["sync"], check=True)
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        return True
    except OSError:
        return False


def timed_cat(paths):
    begin = time.monotonic()
    with open("/dev/null", "wb") as null:
        subprocess.run(["cat", *paths], check=True, stdout=null)
    return time.monotonic() - begin


def index_of(data):
    """Where sled keeps the index: the directories with its `conf` and `db` files."""
    return sorted({os.path.dirname(f) for f in files(data) if os.path.basename(f) == "conf" and os.path.exists(os.path.join(os.path.dirname(f), "db"))})


def recovery(bytes_, times):
    """{case: [(seconds to ready, seconds of cat)]} of a killed node, and the bytes in its files."""
    original = f"{RUN_DIR}/filled"
    fill(original, bytes_)
    data, out = f"{original}/data1", {"with the index": [], "without the index": []}
    indexes = index_of(data)
    segments = [f for f in files(data) if not any(f.startswith(i) for i in indexes)]
    size = sum(os.stat(f).st_blocks * 512 for f in segments)
    if not indexes:
        print("no sled index found in the data directory; only the case without it is measured")
        del out["with the index"]
    for n in range(times):
        for case in out:
            target = mesh.Rafka(f"{RUN_DIR}/recover", 1)
            shutil.copytree(data, target.data_dir(1))
            if case == "without the index":
                for index in indexes:
                    shutil.rmtree(target.data_dir(1) + index[len(data):])
            try:
                cold = drop_caches()
                cat = timed_cat(segments)
                drop_caches()
                out[case].append((until_ready(target), cat))
            finally:
                target.close()
    return out, size, "from the disk" if cold else "from the page cache (dropping it needs root)"


def main():
    parser = argparse.ArgumentParser(prog="measure.sh")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--recover-mib", type=int, default=1024)
    parser.add_argument("--output", help="file for the table (default: only printed)")
    options = parser.parse_args()
    rows = []
    for nodes, name, aim in ((1, "a single founder", "0.5 s"), (3, "three seeds", "3 s")):
        median, worst, memory = start_up(nodes, options.times)
        rows.append((f"{name}: start to `/readyz`", f"{median:.2f} s median, {worst:.2f} s at most of {options.times}", aim))
        rows.append((f"{name}: memory idle, the largest node", f"{memory:.0f} MiB", "60 MiB"))
        print(rows[-2], rows[-1], flush=True)
    found, size, where = recovery(options.recover_mib << 20, options.times)
    for case, runs in found.items():
        ready, cat = (statistics.median(v) for v in zip(*runs))
        text = f"{ready:.2f} s to `/readyz`, `cat` {cat:.2f} s: ratio {ready / cat:.2f}"
        rows.append((f"recovery of {size / (1 << 30):.2f} GiB after a kill, {case}, {where}", text, ""))
        print(rows[-1], flush=True)
    lines = ["# Start, memory, recovery", "", "`scripts/measure.sh`, " + f"{os.cpu_count()} cores, Linux {os.uname().release}.", ""]
    lines += ["| | measured | aim |", "|---|---|---|"] + [f"| {a} | {b} | {c} |" for a, b, c in rows]
    text = "\n".join(lines) + "\n"
    print("\n" + text)
    if options.output:
        with open(options.output, "w") as f:
            f.write(text)


sys.exit(main())
