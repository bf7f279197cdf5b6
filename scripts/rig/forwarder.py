"""A router in user space: a TUN device that gives packets back late, not at all, or out of order. For kernels without netem.

As a program it is given settings as lines of JSON and answers each with what it did since the line before; it ends with its input, and
the device with it. `Forwarder` is the other end.
"""
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CALM = {"delay_ms": 0, "jitter_ms": 0, "loss": 0, "reorder": 0, "late_ms": 0}
COUNTED = ("carried", "lost", "reordered")
# So many packets are read before those that are due are looked at.
AT_ONCE = 64
PACKET_BYTES_MAX = 65536


class Router:
    """What becomes of each packet: drawn from a seed, in order but for those that are held back."""

    def __init__(self, seed):
        self.random, self.queue, self.number, self.last_due = random.Random(seed), [], 0, 0.0
        self.settings, self.counts = dict(CALM), dict.fromkeys(COUNTED, 0)

    def take(self, packet, now):
        set_, draw = self.settings, self.random
        if draw.random() < set_["loss"]:
            self.counts["lost"] += 1
            return
        due = now + (set_["delay_ms"] + draw.uniform(-1, 1) * set_["jitter_ms"]) / 1000
        if draw.random() < set_["reorder"]:
            due += set_["late_ms"] / 1000
            self.counts["reordered"] += 1
        else:
            # One line has one order; only who is held back is overtaken.
            due = self.last_due = max(due, self.last_due)
        self.number += 1
        self.counts["carried"] += 1
        heapq.heappush(self.queue, (due, self.number, packet))

    def due(self, now):
        while self.queue and self.queue[0][0] <= now:
            yield heapq.heappop(self.queue)[2]

    def told(self, settings):
        """Takes new settings; what was done under the old ones."""
        counts, self.counts = self.counts, dict.fromkeys(COUNTED, 0)
        self.settings = {**CALM, **settings}
        return counts


def serve(device, seed):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    router = Router(seed)
    print("{}", flush=True)
    while True:
        wait = max(0.0, router.queue[0][0] - time.monotonic()) if router.queue else None
        readable, _, _ = select.select([tun, sys.stdin], [], [], wait)
        if sys.stdin in readable:
            line = sys.stdin.readline()
            if not line:
                return
            print(json.dumps(router.told(json.loads(line))), flush=True)
        if tun in readable:
            for _ in range(AT_ONCE):
                try:
                    router.take(os.read(tun, PACKET_BYTES_MAX), time.monotonic())
                except BlockingIOError:
                    break
        for packet in router.due(time.monotonic()):
            try:
                os.write(tun, packet)
            except OSError:
                router.counts["lost"] += 1  # the receiver's queue is full, or it is gone: as on any line


class Forwarder:
    """The program, and what it is told."""

    def __init__(self, device, seed):
        command = [sys.executable, os.path.abspath(__file__), device, str(seed)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline():
            raise RuntimeError(f"no TUN device {device}: /dev/net/tun is needed, and the right to use it")

    def set(self, **settings):
        """From now on; what was done until now."""
        self.process.stdin.write(json.dumps(settings) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
