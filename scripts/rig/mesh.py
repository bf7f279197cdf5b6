"""Real processes to test against: a mesh of rafka nodes, or Apache Kafka brokers to prove a harness before it judges rafka.

Both have the same face: start(i), ready(i), kill(i), pause(i), resume(i), stop(i), close(), bootstrap(), and nodes are
numbered from 1. Processes die with this one, however it ends.
"""
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
KAFKA_SH = os.path.join(HERE, "..", "peers", "kafka.sh")
PR_SET_PDEATHSIG = 1


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(what, seconds, condition, pause_s=0.02):
    """Polls until condition() is true; exits with a message that names what was waited for."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not after {seconds} s")
        time.sleep(pause_s)


def port_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


class Processes:
    """What both targets do the same way: signals by process id."""

    name = ""

    def __init__(self, directory, nodes):
        self.directory, self.nodes = directory, nodes
        self.pids = {}

    def ids(self):
        return range(1, self.nodes + 1)

    def bootstrap(self):
        return ",".join(self.address(i) for i in self.ids())

    def pause(self, i):
        os.kill(self.pids[i], signal.SIGSTOP)

    def resume(self, i):
        os.kill(self.pids[i], signal.SIGCONT)

    def frozen(self, i):
        """Whether every thread of a paused node has stopped: one inside a sync goes on until the sync is done."""
        tasks = f"/proc/{self.pids[i]}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] not in "Tt":
                    return False
        return True

    def tail(self, i, lines=15):
        with open(self.log_path(i), errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def resident_mib(self, i):
        with open(f"/proc/{self.pids[i]}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


class Rafka(Processes):
    """rafka-node processes: kafka, mesh and HTTP ports are PORT+i, PORT+100+i and PORT+200+i."""

    name = "rafka"

    def __init__(self, directory, nodes=3, arguments=(), data=None):
        super().__init__(directory, nodes)
        self.port = int(os.environ.get("PORT", "29090"))
        self.binary = os.environ["RAFKA_NODE_BIN"]
        self.arguments, self.data = list(arguments), data or {}
        self.processes = {}
        # Each node is in a zone of its own.
        self.zones = False
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)

    def host(self, i):
        return "127.0.0.1"

    def enter(self, i):
        """The command that a node's is put behind."""
        return []

    def address(self, i):
        return f"{self.host(i)}:{self.port + i}"

    def mesh_address(self, i):
        return f"{self.host(i)}:{self.port + 100 + i}"

    def http_address(self, i):
        return f"{self.host(i)}:{self.port + 200 + i}"

    def seeds(self):
        return ["--seeds", ",".join(self.mesh_address(j) for j in self.ids())]

    def data_dir(self, i):
        return self.data.get(i, f"{self.directory}/data{i}")

    def log_path(self, i):
        return f"{self.directory}/node{i}.log"

    def start(self, i, arguments=None, behind=(), environment=None):
        """`behind` is a command that the node's is put behind, such as prlimit with its options."""
        if self.nodes > 1 and arguments is None:
            arguments = self.seeds()
        command = [*self.enter(i), *behind, self.binary, "--data-dir", self.data_dir(i), "--listen-kafka", self.address(i)]
        command += ["--listen-mesh", self.mesh_address(i), "--listen-http", self.http_address(i)]
        command += self.arguments + (arguments or [])
        if self.zones:
            command += ["--zone", f"rack-{i}"]
        environment = dict(os.environ, **(environment or {}))
        with open(self.log_path(i), "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, preexec_fn=_die_with_parent)
        self.processes[i], self.pids[i] = process, process.pid

    def http(self, i, path):
        """(status, body) of the node's HTTP port; (0, reason) when it does not answer."""
        connection = http.client.HTTPConnection(self.host(i), self.port + 200 + i, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def json(self, i, path):
        return json.loads(self.http(i, path)[1])

    def metric(self, i, name):
        """The sum of a figure of /metrics over its labels; 0 when the node does not answer."""
        lines = (line for line in self.http(i, "/metrics")[1].splitlines() if line.startswith((name + " ", name + "{")))
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def term(self, i, topic, partition):
        """The partition's term as node i knows it."""
        told = self.json(i, f"/v1/partitions?topic={topic}")["partitions"]
        return next(one["term"] for one in told if one["partition"] == partition)

    def lacking(self, i):
        """Partitions that lack a leader, replicas in sync or a whole replica there, as node i sees it; None when it does not say."""
        status, body = self.http(i, "/v1/state")
        node = json.loads(body)["node"] if status == 200 else None
        return node and [one["partition"] for one in node["listed"]]

    def whole(self, seconds=60, ids=None):
        """Waits until these nodes (all, unless told) are ready and no partition lacks a leader or a replica in sync."""
        ids = list(ids or self.ids())
        for i in ids:
            self.ready(i, seconds)

        wait_until("all replicas in sync", seconds, lambda: all(self.lacking(i) == [] for i in ids))

    def ready(self, i, seconds=60):
        def check():
            if self.processes[i].poll() is not None:
                raise RuntimeError(f"node {i} stopped by itself ({self.processes[i].returncode}):\n{self.tail(i)}")
            return self.http(i, "/readyz")[0] == 200

        try:
            wait_until(f"node {i} ready", seconds, check)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it says: {self.http(i, '/readyz')[1]}\n{self.tail(i)}") from error

    def kill(self, i):
        self.processes[i].kill()
        self.processes[i].wait()

    def stop(self, i, seconds=30):
        """A clean stop; says whether the node stopped by itself with exit code 0."""
        self.processes[i].terminate()
        try:
            return self.processes[i].wait(seconds) == 0
        except subprocess.TimeoutExpired:
            self.kill(i)
            return False

    def unexpected_exits(self):
        return {i: p.returncode for i, p in self.processes.items() if p.poll() is not None}

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


class Kafka(Processes):
    """Apache Kafka brokers by peers/kafka.sh."""

    name = "Kafka"

    def __init__(self, directory, nodes=3, arguments=(), data=None):
        super().__init__(directory, nodes)
        self.port = int(os.environ.get("KAFKA_PORT", "19092"))
        self.jars = os.environ["KAFKA_DIR"]
        self.arguments = list(arguments)
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        for name in ("libs", "log4j2.properties"):
            os.symlink(f"{os.path.abspath(self.jars)}/{name}", f"{directory}/{name}")
        for i, path in (data or {}).items():
            os.symlink(path, f"{directory}/data{i}")
        self.started = False

    def _environment(self):
        return dict(os.environ, KAFKA_PORT=str(self.port), KAFKA_HEAP=os.environ.get("KAFKA_HEAP", "512m"))

    def _script(self, *arguments):
        subprocess.run([KAFKA_SH, *map(str, arguments)], check=True, env=self._environment(), stdout=subprocess.DEVNULL)

    def _restart(self, i):
        command = [KAFKA_SH, "restart", self.directory, str(i)]
        subprocess.Popen(command, env=self._environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def address(self, i):
        return f"127.0.0.1:{self.port + i - 1}"

    def start(self, i):
        """Kafka formats its brokers together: the first call starts all of them."""
        if not self.started:
            self.started = True
            self._script("start", self.directory, self.nodes, *self.arguments)
            for j in self.ids():
                self._remember(j)
        elif not self._alive(i):
            # Not waited for: after all were killed the first opens its port only once the second is up.
            os.remove(f"{self.directory}/{i}.pid")
            self._restart(i)
            wait_until(f"broker {i} spawned", 20, lambda: os.path.exists(f"{self.directory}/{i}.pid"))
            time.sleep(0.1)
            self._remember(i)

    def _remember(self, i):
        with open(f"{self.directory}/{i}.pid") as f:
            self.pids[i] = int(f.read())

    def _alive(self, i):
        try:
            with open(f"/proc/{self.pids[i]}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def ready(self, i, seconds=60):
        def check():
            if not self._alive(i):
                raise RuntimeError(f"broker {i} stopped by itself:\n{self.tail(i)}")
            return port_open(self.port + i - 1)

        wait_until(f"broker {i} ready", seconds, check)

    def log_path(self, i):
        return f"{self.directory}/{i}.log"

    def kill(self, i):
        os.kill(self.pids[i], signal.SIGKILL)
        wait_until(f"broker {i} gone", 30, lambda: not self._alive(i))

    def stop(self, i, seconds=60):
        os.kill(self.pids[i], signal.SIGTERM)
        try:
            wait_until(f"broker {i} stopped", seconds, lambda: not self._alive(i))
            return True
        except TimeoutError:
            self.kill(i)
            return False

    def unexpected_exits(self):
        return {i: "?" for i in self.pids if not self._alive(i)}

    def close(self):
        if self.started:
            self._script("stop", self.directory)


def end_on_signals():
    """Signals end the program the same way as errors do."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def parse(parser):
    """The options of a program that starts nodes."""
    parser.add_argument("--node-argument", action="append", default=[], metavar="ARG", help="for each node, as --node-argument=--log-level=debug")
    options = parser.parse_args()
    end_on_signals()
    return options


def make(directory, nodes=3, arguments=(), data=None):
    """The target that TARGET names: rafka (the default) or kafka."""
    end_on_signals()
    kind = {"rafka": Rafka, "kafka": Kafka}[os.environ.get("TARGET", "rafka")]
    return kind(directory, nodes, arguments, data)
