"""A node under people who mean it no good, and a well-behaved client beside them. Each kind of trouble lasts a while; meanwhile and afterwards
the node must live, stay within its memory, serve the client about as fast as before, and say in its log why it closed connections."""
import argparse
import json
import multiprocessing
import os
import random
import re
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time

import frames
from mesh import Rafka

TOPIC = "hostile"
BULK = "bulk"
IDLE = 10_000
IDLE_MIB = 100
BOUT = 60
LINE_BYTES = 400
SPACE = 8 << 30


def attacker(work):
    """A thread that opens connections and lets `work(socket, rng)` misuse them until told to stop."""

    def run(address, stop, number, counts):
        rng = random.Random(number)
        while not stop.is_set():
            try:
                with socket.create_connection(address, 5) as s:
                    s.settimeout(1)
                    with counts.get_lock():
                        counts[0] += 1
                    work(s, rng, stop)
            except OSError:
                with counts.get_lock():
                    counts[1] += 1
                stop.wait(0.002)

    return run


def attack(work, threads, address, stop, counts):
    """A process of attackers. Elsewhere they would have machines of their own; here they get what the node and its client leave."""
    os.nice(19)
    # Where the kernel shares the processor among sessions first, a process's own niceness counts for nothing outside of its session.
    os.setsid()
    if os.path.exists("/proc/self/autogroup"):
        with open("/proc/self/autogroup", "w") as group:
            group.write("19")
    hostile = [threading.Thread(target=attacker(work), args=(address, stop, n, counts), daemon=True) for n in range(threads)]
    for thread in hostile:
        thread.start()
    stop.wait()
    for thread in hostile:
        thread.join(10)


def drain(s):
    try:
        while s.recv(65536):
            pass
    except OSError:
        pass


def spoiled(s, rng, stop):
    """Random, truncated, bit-flipped and inflated frames of every API."""
    source = frames.well_formed(TOPIC)
    for _ in range(20):
        s.sendall(frames.spoil(source, rng))
        time.sleep(0.001)
    s.shutdown(socket.SHUT_WR)
    s.settimeout(0.05)
    drain(s)


def lies(s, rng, stop):
    """Batches whose counts disagree with their bytes, control batches, decompression bombs, array lengths of gigabytes."""
    for frame in rng.sample(LIES, 4):
        s.sendall(frame)
    s.sendall(frames.frame(3, 1, b"\x7f\xff\xff\xff"))
    s.settimeout(0.2)
    drain(s)


def idle(s, rng, stop):
    """Connections that say nothing, or half a frame and then nothing."""
    held = [s]
    while len(held) < 500 and not stop.is_set():
        try:
            another = socket.create_connection(s.getpeername(), 2)
            another.sendall(b"\0\0\1\0" if rng.random() < 0.5 else b"")
            held.append(another)
        except OSError:
            break
        time.sleep(0.001)
    stop.wait(5)
    for one in held[1:]:
        one.close()


def flood(s, rng, stop):
    """Connections opened and reset as fast as one can."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    time.sleep(0.001)


def slow_reader(s, rng, stop):
    """Asks for hundreds of megabytes, again and again, and reads nothing."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    fetch = frames.fetch(BULK, 50 << 20)
    for _ in range(2000):
        s.sendall(fetch)
        if stop.is_set():
            return
    stop.wait(30)


def slow_writer(s, rng, stop):
    """A large frame, a byte at a time."""
    s.sendall(b"\5\0\0\0")
    while not stop.is_set():
        s.sendall(b"x")
        stop.wait(0.05)


def rubbish(s, rng, stop):
    """Random bytes and half handshakes, at the mesh port as well."""
    if rng.random() < 0.5:
        s.sendall(b"\x13/multistream/1.0.0\n")
        time.sleep(0.01)
    if rng.random() < 0.5:
        s.sendall(b"\x07/noise\n" + rng.randbytes(40))
    s.sendall(rng.randbytes(rng.choice([1, 100, 10000])))
    s.settimeout(0.05)
    drain(s)


LIES = frames.batches_that_lie(TOPIC)
# name, work, threads, port
KINDS = [
    ("spoiled frames", spoiled, 4, "kafka"),
    ("lying batches", lies, 4, "kafka"),
    ("idle and half sent", idle, 8, "kafka"),
    ("connection flood", flood, 4, "kafka"),
    ("slow readers", slow_reader, 50, "kafka"),
    ("slow writers", slow_writer, 50, "kafka"),
    ("rubbish", rubbish, 4, "kafka"),
    ("rubbish at the mesh port", rubbish, 4, "mesh"),
    ("idle at the mesh port", idle, 2, "mesh"),
    ("flood at the mesh port", flood, 2, "mesh"),
]


def load(target, topic, rate, seconds):
    """What the load generator saw: so many MB/s with acks=all."""
    command = [os.environ["LOAD_BIN"], "produce", "--bootstrap", target.bootstrap(), "--topic", topic, "--rate", str(rate)]
    size = ["--batch", str(4096 if rate < 10 else 262144), "--seconds", str(seconds), "--warm", "1"]
    done = subprocess.run(command + size, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the well-behaved client failed: {done.stderr[-600:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} requests of the well-behaved client failed")
    return found


def p99(target, seconds):
    return load(target, TOPIC, 2, seconds)["p99_ms"]


def hurt(target, kind, seconds):
    """One bout of a kind of trouble: the client's p99 beside it, the node's largest memory, connections opened and broken."""
    _name, work, threads, port = kind
    address = ("127.0.0.1", target.port + 1 if port == "kafka" else target.port + 101)
    stop, counts = multiprocessing.Event(), multiprocessing.Array("q", 2)
    hostile = multiprocessing.Process(target=attack, args=(work, threads, address, stop, counts), daemon=True)
    hostile.start()
    time.sleep(0.5)
    peak = [target.resident_mib(1)]

    def watch():
        while not stop.wait(0.2):
            peak.append(target.resident_mib(1))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        during = p99(target, seconds)
    finally:
        stop.set()
    watcher.join(10)
    hostile.join(20)
    if hostile.is_alive():
        hostile.kill()
    return during, max(peak), list(counts)


def bouts(target, kind, seconds):
    """Trouble for so long, in bouts of a minute, the client measured alone before each. Disks have moods that last for minutes, so what is
    compared is measured next to each other, and of the bouts the median counts."""
    count = max(1, seconds // BOUT)
    alone, during, peaks, opened, broken = [], [], [], 0, 0
    for _ in range(count):
        alone.append(p99(target, 10))
        one, peak, counts = hurt(target, kind, seconds // count)
        during.append(one)
        peaks.append(peak)
        opened, broken = opened + counts[0], broken + counts[1]
        if target.unexpected_exits():
            break
    return statistics.median(alone), statistics.median(during), max(peaks), opened, broken


def idle_cost(target):
    """MiB that the node takes for thousands of clients that said hello once, from many addresses, and then nothing."""
    hello = frames.well_formed(TOPIC)[0]
    before = target.resident_mib(1)
    held = []
    try:
        for n in range(IDLE):
            s = socket.socket()
            s.bind((f"127.0.1.{1 + n % 200}", 0))
            s.connect(("127.0.0.1", target.port + 1))
            s.sendall(hello)
            held.append(s)
        for s in held:
            s.settimeout(30)
            if not s.recv(65536):
                raise RuntimeError("an idle connection was closed")
        return target.resident_mib(1) - before
    finally:
        for s in held:
            s.close()


def reasons(target, begin):
    with open(target.log_path(1), errors="replace") as log:
        log.seek(begin)
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read())
    return len(re.findall(r"closed by this node|too many connections|connection closed|refused", text)), len(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=15, help="of each kind; 600 is the full form")
    parser.add_argument("--memory-mib", type=int, default=512, help="the node's bound: queued requests, caches and a base")
    parser.add_argument("--only", default="", help="kinds whose names contain this")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    # One slow client may hold a frame for this long; the default would outlast a short run.
    arguments = ["--queued-max-bytes", str(128 << 20), "--responses-max-bytes", str(128 << 20), "--max-connections", str(IDLE + 1000)]
    target = Rafka(f"{os.environ['RUN_DIR']}/rafka", 1, arguments)
    failures = []
    try:
        target.start(1)
        resource.prlimit(target.pids[1], resource.RLIMIT_AS, (SPACE, SPACE))
        target.ready(1)
        for topic in [TOPIC, BULK]:
            create = [os.environ["RAFKA_BIN"], "--bootstrap", target.bootstrap(), "topic", "create", topic, "--partitions", "1", "--replication-factor", "1"]
            subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
        # Something to read for those who ask for everything.
        load(target, BULK, 100, 4)
        p99(target, 3)
        print(f"the node: {target.resident_mib(1):.0f} MiB; address space bound 8 GiB; p99 of a well-behaved client, alone and beside each kind")
        if options.only in "idle connections":
            # On a young heap: what earlier trouble left free would hide the cost.
            cost = idle_cost(target)
            print(f"{IDLE} idle connections: {cost:.0f} MiB")
            if cost > IDLE_MIB:
                failures.append(f"{IDLE} idle connections take {cost:.0f} MiB, more than {IDLE_MIB}")
        print(f"{'kind':26} {'alone ms':>8} {'p99 ms':>7} {'times':>6} {'peak MiB':>9} {'connections':>12} {'closed':>8} {'log lines why':>14}")
        for kind in [kind for kind in KINDS if options.only in kind[0]]:
            begin = os.path.getsize(target.log_path(1))
            alone, during, peak, opened, broken = bouts(target, kind, options.seconds)
            why, size = reasons(target, begin)
            print(f"{kind[0]:26} {alone:8.1f} {during:7.1f} {during / alone:6.1f} {peak:9.0f} {opened:12} {broken:8} {why:14}")
            sys.stdout.flush()
            if target.unexpected_exits():
                failures.append(f"{kind[0]}: the node ended: {target.unexpected_exits()}\n{target.tail(1)}")
                break
            if peak > options.memory_mib:
                failures.append(f"{kind[0]}: {peak:.0f} MiB are more than {options.memory_mib}")
            if during > 3 * alone:
                failures.append(f"{kind[0]}: p99 {during:.1f} ms beside {alone:.1f} ms alone")
            if size > opened * LINE_BYTES + (1 << 20):
                failures.append(f"{kind[0]}: {size >> 20} MiB of log for {opened} connections")
        if not target.unexpected_exits() and not target.stop(1):
            failures.append("the node did not stop cleanly afterwards")
    finally:
        target.close()
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"RESULT hostile test: {'failed' if failures else 'passed'}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
