"""The situations of ../doctor_test.sh. Each is a generator: it does the damage, yields what doctor is to find, and mends it afterwards."""
import glob
import json
import os
import random
import shutil
import socket
import subprocess

from mesh import wait_until

TOPIC = "orders"
CLOCK_OFF_S = 90


def needs(situation, network):
    """Why it cannot be staged here; nothing when it can."""
    if getattr(situation, "network", False) and not network:
        return "needs namespaces of its own: root, or user namespaces"
    if getattr(situation, "root", False) and not (os.environ.get("REAL_ROOT") and os.path.exists("/dev/loop-control")):
        return "needs root and loop devices"
    return ""


def expect(*kinds, **more):
    return dict(more, kinds=kinds)


def needing(**needed):
    """What a situation cannot do without, and options of its mesh."""

    def mark(situation):
        for name, value in needed.items():
            setattr(situation, name, value)
        return situation

    return mark


def node_down(stage):
    """SIGKILL"""
    stage.mesh.kill(3)
    yield expect("node_down", nodes=[3], words=[stage.mesh.http_address(3)])
    stage.mesh.start(3)


def node_hung(stage):
    """SIGSTOP"""
    stage.mesh.pause(3)
    yield expect("node_hung", nodes=[3])
    stage.mesh.resume(3)


@needing(network=True)
def node_unreachable(stage):
    """its network cable is pulled"""
    stage.network.unplug(3)
    yield expect("node_unreachable", nodes=[3])
    stage.network.plug(3)


@needing(network=True)
def split(stage):
    """nothing goes between nodes 1 and 2, both ways; both reach node 3 and us"""
    stage.network.lose(1, 2)
    stage.network.lose(2, 1)
    yield expect("split", nodes=[1, 2])
    stage.network.carry(1, 2)
    stage.network.carry(2, 1)


@needing(network=True)
def split_one_way(stage):
    """what node 1 sends to node 2 is lost, and nothing else; over TCP both soon hear nothing"""
    stage.network.lose(1, 2)
    yield expect("split_one_way", "split", nodes=[1, 2])
    stage.network.carry(1, 2)


@needing(network=True)
def part_split_off(stage):
    """node 3 is cut off from 1 and 2, and answers us"""
    for a, b in [(1, 3), (3, 1), (2, 3), (3, 2)]:
        stage.network.lose(a, b)
    yield expect("split", nodes=[1, 2, 3], words=[" | ", f"node {stage.ids[3]}"])
    for a, b in [(1, 3), (3, 1), (2, 3), (3, 2)]:
        stage.network.carry(a, b)


@needing(network=True)
def replica_behind(stage):
    """a node missed 100 MB and copies it over a slow link"""
    stage.mesh.kill(3)
    stage.produce(100, 1_000_000)
    stage.network.slow(3, 50)
    stage.mesh.start(3)
    yield expect("replica_behind", nodes=[3], words=["records in all"])
    stage.network.fast(3)


def partition_leaderless(stage):
    """the node with a partition's only replica is killed"""
    stage.topic("single", 1)
    partition, leader = next((p, n) for p, n in stage.leaders("single").items() if n != 1)
    stage.mesh.kill(leader)
    yield expect("partition_leaderless", nodes=[leader], partitions=[f"single/{partition}"])
    stage.mesh.start(leader)


def shard_leaderless(stage):
    """two of three nodes are killed"""
    stage.mesh.kill(2)
    stage.mesh.kill(3)
    shards = [f"shard/{shard}" for shard in range(16)]
    first, second = sorted((stage.ids[2], stage.ids[3]))
    yield expect("shard_leaderless", nodes=[1, 2, 3], partitions=shards, words=[f"nodes {first} and {second}"])
    stage.mesh.start(2)
    stage.mesh.start(3)


def under_replicated(stage):
    """a node is killed, and topics have a replica there"""
    stage.mesh.kill(2)
    yield expect("under_replicated", nodes=[2], partitions=[f"{TOPIC}/{partition}" for partition in range(3)])
    stage.mesh.start(2)


def below_min_insync(stage):
    """a node of a topic with min.insync.replicas=3 is killed"""
    stage.topic("strict", 3, "--config", "min.insync.replicas=3")
    stage.mesh.kill(3)
    yield expect("below_min_insync", nodes=[3], partitions=[f"strict/{partition}" for partition in range(3)])
    stage.mesh.start(3)


class Mount:
    """A file system of a node's own, gone with the namespace that we run in."""

    def __init__(self, name):
        self.point = f"{os.environ['RUN_DIR']}/{name}"
        os.makedirs(self.point, exist_ok=True)

    def data(self):
        return f"{self.point}/data"

    def tmpfs(self, mib):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", self.point], check=True)

    def ext4(self, mib):
        image = f"{self.point}.img"
        with open(image, "wb") as f:
            f.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, self.point], check=True)


@needing(network=True)
def disk_full(stage):
    """a file takes what a disk of 512 MiB has above the reserve"""
    mount = Mount("full")
    mount.tmpfs(512)
    move(stage, 3, mount.data(), ["--reserve-bytes", str(64 << 20)])
    free = os.statvfs(mount.point).f_bavail * os.statvfs(mount.point).f_bsize
    with open(f"{mount.point}/filler", "wb") as f:
        os.posix_fallocate(f.fileno(), 0, free - (60 << 20))
    yield expect("disk_full", nodes=[3])
    os.remove(f"{mount.point}/filler")


@needing(root=True, network=True)
def disk_stuck(stage):
    """a node's file system is frozen (fsfreeze) under load"""
    mount = Mount("stuck")
    mount.ext4(512)
    move(stage, 2, mount.data(), ["--reserve-bytes", str(64 << 20)])
    stage.load()
    thaw = ["fsfreeze", "-u", mount.point]
    # However we end: a process that waits for a frozen disk cannot be killed.
    guard = subprocess.Popen(["sh", "-c", f"sleep 60; fsfreeze -u {mount.point} 2> /dev/null"])
    stage.closing += [guard.wait, guard.kill, lambda: subprocess.run(thaw, stderr=subprocess.DEVNULL, check=False)]
    subprocess.run(["fsfreeze", "-f", mount.point], check=True)
    yield expect("disk_stuck", nodes=[2])
    subprocess.run(thaw, check=True)
    # That it was slow is told for two minutes; a new process does not know.
    stage.restart(2, arguments=["--reserve-bytes", str(64 << 20)])


def move(stage, i, path, arguments):
    """Lets a node go on in another directory."""
    stage.mesh.stop(i)
    shutil.copytree(stage.mesh.data_dir(i), path)
    stage.mesh.data[i] = path
    stage.mesh.start(i, stage.mesh.seeds() + arguments)
    stage.mesh.ready(i)


def damage_found(stage):
    """bytes of a killed node's segments are overwritten where they were synced long ago"""
    stage.produce(2_000)
    stage.mesh.kill(2)
    rng = random.Random(7)
    for path in glob.glob(f"{stage.mesh.data_dir(2)}/*.segment"):
        written = sum(1 for _ in iter_blocks(path)) * 4096
        with open(path, "r+b") as f:
            for _ in range(20):
                f.seek(rng.randrange(4096, max(8192, written // 2)))
                f.write(rng.randbytes(16))
    stage.mesh.start(2)
    yield expect("damage_found", nodes=[2])
    # Rebuilt from the others; a start that finds no damage ends it.
    stage.mesh.ready(2)
    wait_until("replicas rebuilt", 60, lambda: lacking(stage.mesh, 2) == 0)
    stage.restart(2)


def lacking(mesh, i):
    """Partitions that lack something as node i sees it; nothing when it does not say."""
    status, body = mesh.http(i, "/v1/state")
    node = json.loads(body)["node"] if status == 200 else None
    return node and node["lacking"]


def iter_blocks(path):
    """Blocks from the begin of a file to the first that holds nothing."""
    with open(path, "rb") as f:
        while any(block := f.read(4096)):
            yield block


def old_copy(stage):
    """a node's directory is put back to what it was two starts before"""
    mesh = stage.mesh
    mesh.stop(3)
    saved = f"{mesh.data_dir(3)}.saved"
    shutil.copytree(mesh.data_dir(3), saved)
    mesh.start(3)
    mesh.ready(3)
    stage.restart(3)
    mesh.stop(3)
    kept = f"{mesh.data_dir(3)}.kept"
    os.rename(mesh.data_dir(3), kept)
    os.rename(saved, mesh.data_dir(3))
    mesh.start(3)
    wait_until("the old copy ends", 30, lambda: mesh.processes[3].poll() is not None)
    yield expect("old_copy", nodes=[3])
    os.rename(mesh.data_dir(3), saved)
    os.rename(kept, mesh.data_dir(3))
    mesh.start(3)
    mesh.ready(3)
    forget(stage)


def comes_and_goes(stage):
    """a node is killed and started again and again"""
    for _ in range(4):
        stage.mesh.kill(3)
        stage.mesh.start(3)
        stage.mesh.ready(3)
    yield expect("comes_and_goes", nodes=[3])
    forget(stage)


def forget(stage):
    """The others remember for five minutes; new processes do not."""
    stage.restart(1)
    stage.restart(2)


def clock_off(stage):
    """a node's clock is 90 s ahead (libfaketime)"""
    library = os.environ.get("FAKETIME_LIB")
    if library:
        faked = {"LD_PRELOAD": library, "FAKETIME": f"+{CLOCK_OFF_S}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        stage.restart(3, environment=faked)
    else:
        stage.restart(3, arguments=["--clock-offset-ms", str(CLOCK_OFF_S * 1000)])
    yield expect("clock_off", nodes=[3], words=["ahead of"])
    stage.restart(3)


def connect(stage, i, number):
    """Clients of a node that say nothing."""
    address = (stage.mesh.host(i), stage.mesh.port + i)
    held = [socket.create_connection(address, 5) for _ in range(number)]
    stage.closing += [one.close for one in held]
    return held


def connections(stage):
    """as many clients as a node may have"""
    stage.restart(2, arguments=["--max-connections", "50"])
    held = connect(stage, 2, 50)
    yield expect("connections", nodes=[2], words=["of 50 that it may"])
    for one in held:
        one.close()
    stage.restart(2)


def open_files(stage):
    """clients take most of the files that a node may open"""
    stage.restart(2, behind=["prlimit", "--nofile=128:128"])
    held = connect(stage, 2, 90)
    yield expect("open_files", nodes=[2], words=["of 128 that it may"])
    for one in held:
        one.close()
    stage.restart(2)


def open_files_low(stage):
    """a node may open fewer files than --max-connections takes"""
    stage.restart(2, behind=["prlimit", "--nofile=1024:1024"])
    yield expect("open_files_low", nodes=[2], words=["may open 1024 files"])
    stage.restart(2)


def request_memory(stage):
    """requests that are sent by halves hold the memory for requests"""
    stage.restart(2, arguments=["--queued-max-bytes", "4000000", "--socket-request-max-bytes", "4000000"])
    (one,) = connect(stage, 2, 1)
    one.sendall((3_900_000).to_bytes(4, "big") + b"\0\0\0\7" + b"x" * 3_400_000)
    yield expect("request_memory", nodes=[2])
    one.close()
    stage.restart(2)


def advertised_unreachable(stage):
    """a node sends clients to a port at which nobody listens"""
    stage.restart(2, arguments=["--advertise-kafka", f"{stage.mesh.host(2)}:1"])
    yield expect("advertised_unreachable", nodes=[2], words=[f"{stage.mesh.host(2)}:1"])
    stage.restart(2)


def advertised_twice(stage):
    """two nodes send clients to the same address"""
    stage.restart(2, arguments=["--advertise-kafka", stage.mesh.address(1)])
    yield expect("advertised_twice", nodes=[1, 2], words=[stage.mesh.address(1)])
    stage.restart(2)


def another(stage, arguments):
    """A node that is none of the mesh's three."""
    other = type(stage.mesh)(*([stage.network] if stage.network else []), f"{stage.mesh.directory}/other", 1)
    stage.closing.append(other.close)
    other.ids = lambda: [4]
    other.start(4, arguments)
    return other


def clusters_mixed(stage):
    """a node of another cluster in the list of addresses"""
    other = another(stage, [])
    other.ready(4)
    yield expect("clusters_mixed", bootstrap=f"{stage.mesh.address(1)},{other.address(4)}", words=[other.address(4)])
    other.stop(4)


def node_not_ready(stage):
    """a node that waits for a seed which is not there"""
    host = stage.network.host(4) if stage.network else "127.0.0.1"
    port = stage.mesh.port + 104
    other = another(stage, ["--seeds", f"{host}:{port},{host}:1"])
    wait_until("it waits", 30, lambda: "waiting for seeds" in other.http(4, "/readyz")[1])
    yield expect("node_not_ready", bootstrap=f"{stage.mesh.address(1)},{other.address(4)}", words=[f"{host}:1"])
    other.stop(4)


SITUATIONS = [
    ("a node down", node_down),
    ("a node hung", node_hung),
    ("a machine out of reach", node_unreachable),
    ("a split of two nodes", split),
    ("a split in one direction", split_one_way),
    ("a part split off", part_split_off),
    ("a replica behind", replica_behind),
    ("a partition without leader", partition_leaderless),
    ("metadata without leader", shard_leaderless),
    ("replicas missing", under_replicated),
    ("fewer than min.insync.replicas", below_min_insync),
    ("a full disk", disk_full),
    ("a stuck disk", disk_stuck),
    ("damaged segments", damage_found),
    ("an old copy of a directory", old_copy),
    ("a node in a restart loop", comes_and_goes),
    ("a clock off", clock_off),
    ("clients at their limit", connections),
    ("open files nearly used up", open_files),
    ("too low a limit of open files", open_files_low),
    ("memory for requests used up", request_memory),
    ("a wrong advertised address", advertised_unreachable),
    ("an address advertised twice", advertised_twice),
    ("two clusters in one list", clusters_mixed),
    ("a node that waits for others", node_not_ready),
]
