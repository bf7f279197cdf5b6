"""A network of nodes that this process owns: each node in a network namespace of its own, joined by a router that can lose what one sends to
another. Needs a namespace that we may administer; see ../lib.sh."""
import os
import subprocess

from mesh import Rafka


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Network:
    """Nodes 1 to n at 10.77.I.2; we are the router at 10.77.I.1."""

    def __init__(self, nodes):
        self.nodes = nodes
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        os.makedirs("/run/netns")
        run("ip", "link", "set", "lo", "up")
        with open("/proc/sys/net/ipv4/ip_forward", "w") as f:
            f.write("1")
        for i in range(1, nodes + 1):
            run("ip", "netns", "add", f"n{i}")
            run("ip", "link", "add", f"h{i}", "type", "veth", "peer", "name", "e0", "netns", f"n{i}")
            run("ip", "addr", "add", f"10.77.{i}.1/24", "dev", f"h{i}")
            run("ip", "link", "set", f"h{i}", "up")
            inside = ["ip", "-n", f"n{i}"]
            run(*inside, "addr", "add", f"{self.host(i)}/24", "dev", "e0")
            run(*inside, "link", "set", "lo", "up")
            run(*inside, "link", "set", "e0", "up")
            run(*inside, "route", "add", "default", "via", f"10.77.{i}.1")

    def host(self, i):
        return f"10.77.{i}.2"

    def enter(self, i):
        return ["nsenter", f"--net=/run/netns/n{i}"]

    def _rule(self, what, a, b):
        run("ip", "rule", what, "pref", "10", "iif", f"h{a}", "to", f"{self.host(b)}/32", "blackhole")

    def lose(self, a, b):
        """From now on nothing that a sends reaches b."""
        self._rule("add", a, b)

    def carry(self, a, b):
        self._rule("del", a, b)

    def route_through(self, device):
        """What the nodes send each other goes through that device from now on, and back from it to whom it is for; lose() comes before."""
        for name in ("all", device):
            with open(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", "w") as f:
                f.write("0")
        run("ip", "link", "set", device, "up")
        run("ip", "route", "add", "default", "dev", device, "table", "77")
        for a in range(1, self.nodes + 1):
            for b in range(1, self.nodes + 1):
                if a != b:
                    run("ip", "rule", "add", "pref", "20", "iif", f"h{a}", "to", f"{self.host(b)}/32", "lookup", "77")

    def unplug(self, i):
        run("ip", "link", "set", f"h{i}", "down")

    def plug(self, i):
        run("ip", "link", "set", f"h{i}", "up")

    def slow(self, i, megabits):
        """What node i is sent comes at that rate."""
        run("tc", "qdisc", "add", "dev", f"h{i}", "root", "tbf", "rate", f"{megabits}mbit", "burst", "64kb", "latency", "50ms")

    def fast(self, i):
        run("tc", "qdisc", "del", "dev", f"h{i}", "root")


class Networked(Rafka):
    """rafka-node processes, each on a machine of its own as far as the network goes."""

    def __init__(self, network, *arguments, **named):
        super().__init__(*arguments, **named)
        self.network = network

    def host(self, i):
        return self.network.host(i)

    def enter(self, i):
        return self.network.enter(i)
