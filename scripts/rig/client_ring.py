"""See ../client_ring.sh."""
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import traceback

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka import ElectionType
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, NewPartitions, NewTopic, OffsetSpec)

import groups
import mesh
import wire
import workload

NODES, TOPIC, PARTITIONS = 3, "ring", 3
RECORD_BYTES_MAX = 5_000_000
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
CASES = []


def case(name, only=None):
    """Registers a check; `only` names the target it is for."""

    def register(function):
        CASES.append((name, function, only))
        return function

    return register


class Ring:
    """A running target and the clients' ways to it."""

    def __init__(self, target):
        self.target, self.bootstrap = target, target.bootstrap()
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, **workload.QUIET})
        self.fresh = 0

    def topic(self, partitions=1, config=None):
        self.fresh += 1
        name = f"ring-{self.fresh}"
        workload.create_topic(self.bootstrap, name, partitions, NODES, config)
        return name

    def kcat(self, *arguments, text=None, data=None):
        given = data if data is not None else (text.encode() if text is not None else None)
        stdin = {"input": given} if given is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(["kcat", "-b", self.bootstrap, *map(str, arguments)], capture_output=True, timeout=90, check=False, **stdin)
        assert done.returncode == 0, f"kcat {arguments}: {done.stderr.decode()[-500:]}"
        return done.stdout

    def rafka(self, *arguments):
        command = [os.environ["RAFKA_BIN"], "--bootstrap", self.bootstrap, "--http", self.target.http_address(1), *arguments]
        subprocess.run(command, capture_output=True, timeout=90, check=True)

    def java(self, tool, *arguments, text=None):
        command = [mesh.KAFKA_SH, "tool", os.environ["KAFKA_DIR"], tool, *map(str, arguments)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, f"{tool} {arguments}: {(done.stdout + done.stderr)[-800:]}"
        return done.stdout

    def send(self, topic, records, **config):
        """Writes (partition, key, value, headers) and returns their offsets."""
        settings = {"bootstrap.servers": self.bootstrap, "message.max.bytes": 8_000_000, "linger.ms": 50, **workload.QUIET, **config}
        producer, offsets = Producer(settings), [None] * len(records)

        def told(n):
            def on_delivery(error, message):
                if error:
                    raise KafkaException(error)
                offsets[n] = message.offset()

            return on_delivery

        for n, (partition, key, value, headers) in enumerate(records):
            producer.produce(topic, value, key, partition, on_delivery=told(n), headers=headers)
            producer.poll(0)
        left = producer.flush(60)
        assert left == 0, f"{left} records without an answer after 60 s"
        return offsets

    def read(self, topic, partition, offset, count):
        settings = {"fetch.message.max.bytes": 8_000_000, "fetch.wait.max.ms": 50, "auto.offset.reset": "error"}
        consumer, out = workload.reader(self.bootstrap, **settings), []
        consumer.assign([TopicPartition(topic, partition, offset)])
        until = time.monotonic() + 60
        while len(out) < count:
            assert time.monotonic() < until, f"{topic}-{partition} from {offset}: {len(out)} of {count} records after 60 s"
            for message in consumer.consume(count - len(out), 1.0):
                if message.error():
                    raise KafkaException(message.error())
                out.append(message)
        consumer.close()
        return out

    def leader_of(self, topic, partition):
        ask = wire.Connection(self.bootstrap.split(",")[0])
        nodes, leaders, _ = ask.metadata(topic)
        ask.close()
        return nodes[leaders[partition]], [a for a in nodes.values() if a != nodes[leaders[partition]]]


def expect_error(name, action):
    """The action must fail with this Kafka error."""
    try:
        action()
    except KafkaException as error:
        found = error.args[0].name()
        assert found == name, f"expected {name}, found {found}: {error.args[0].str()}"
        return error.args[0].str()
    raise AssertionError(f"expected {name}, but it succeeded")


def same(what, expected, found):
    if expected == found:
        return
    short = [repr(v) if len(repr(v)) < 200 else f"{repr(v)[:100]}.. {hashlib.sha256(repr(v).encode()).hexdigest()[:8]}" for v in (expected, found)]
    raise AssertionError(f"{what}: expected {short[0]}, found {short[1]}")


# ---- kcat ----------------------------------------------------------------------------------------------------------


@case("kcat lists three brokers and the leaders of a topic")
def _(ring):
    topic = ring.topic(PARTITIONS)
    text = ring.kcat("-L", "-t", topic).decode()
    assert "3 brokers" in text and text.count("leader ") >= PARTITIONS and "leader -1" not in text, text


@case("kcat writes and reads lines, by partition")
def _(ring):
    topic = ring.topic(PARTITIONS)
    for p in range(PARTITIONS):
        lines = "".join(f"partition {p} line {n}\n" for n in range(500))
        ring.kcat("-P", "-t", topic, "-p", p, text=lines)
        same(f"partition {p}", lines, ring.kcat("-C", "-t", topic, "-p", p, "-o", "beginning", "-e", "-q").decode())


@case("kcat keys, null keys and values, headers")
def _(ring):
    topic = ring.topic()
    ring.kcat("-P", "-t", topic, "-p", 0, "-K", ":", "-Z", "-H", "one=1", "-H", "two=zwei", text="key:value\n:null key\nnull value:\n")
    out = ring.kcat("-C", "-t", topic, "-p", 0, "-o", "beginning", "-e", "-q", "-Z", "-f", "%k|%K|%s|%S|%h\n").decode()
    same("records", "key|3|value|5|one=1,two=zwei\nNULL|-1|null key|8|one=1,two=zwei\nnull value|10|NULL|-1|one=1,two=zwei\n", out)


@case("kcat with every codec, read from the middle of a batch")
def _(ring):
    topic = ring.topic(len(CODECS))
    for p, codec in enumerate(CODECS):
        lines = [f"{codec} {n} {'text ' * 20}" for n in range(200)]
        extra = [] if codec == "none" else ["-z", codec]
        ring.kcat("-P", "-t", topic, "-p", p, "-X", "linger.ms=500", *extra, text="\n".join(lines) + "\n")
        out = ring.kcat("-C", "-t", topic, "-p", p, "-o", 137, "-c", 3, "-q").decode().splitlines()
        same(codec, lines[137:140], out)


@case("kcat asks offsets by time")
def _(ring):
    topic = ring.topic()
    ring.kcat("-P", "-t", topic, "-p", 0, text="a\nb\nc\n")
    assert ring.kcat("-Q", "-t", f"{topic}:0:-1").decode().split()[-1] == "3"
    assert ring.kcat("-Q", "-t", f"{topic}:0:-2").decode().split()[-1] == "0"
    assert ring.kcat("-Q", "-t", f"{topic}:0:1000").decode().split()[-1] == "0"


@case("a topic that is not there is created when it is written to")
def _(ring):
    ring.kcat("-P", "-t", "made-by-writing", text="hello\n")
    same("value", "hello\n", ring.kcat("-C", "-t", "made-by-writing", "-p", 0, "-o", "beginning", "-e", "-q").decode())


# ---- confluent-kafka (Python, librdkafka) --------------------------------------------------------------------------


def _sized(bytes_):
    seed = hashlib.sha256(str(bytes_).encode()).digest()
    return (seed * (bytes_ // len(seed) + 1))[:bytes_]


@case("records from 0 bytes to 5 MB, idempotent, acks=all, every codec; batches stored as sent")
def _(ring):
    topic = ring.topic(len(CODECS), {"max.message.bytes": str(6_000_000)})
    sizes = [0, 1, 100, 4096, 65_537, 1_000_000, RECORD_BYTES_MAX]
    for p, (codec, code) in enumerate(CODECS.items()):
        records = [(p, b"k%d" % s, _sized(s), [("size", str(s).encode()), ("null", None)]) for s in sizes]
        offsets = ring.send(topic, records, **{"enable.idempotence": True, "compression.type": codec})
        same(f"{codec} offsets", list(range(len(sizes))), offsets)
        for (_, key, value, headers), message in zip(records, ring.read(topic, p, 0, len(sizes))):
            same(f"{codec} key", key, message.key())
            same(f"{codec} value of {len(value)}", value, message.value() or b"")
            same(f"{codec} headers", headers, message.headers())
        codes = {h[5] for h in wire.stored_batches(ring.bootstrap, topic, p)}
        assert code in codes and codes <= {0, code}, f"{codec} stored as {codes}"


@case("null and empty are different, for keys and for values")
def _(ring):
    topic = ring.topic()
    records = [(0, None, None, None), (0, b"", b"", None), (0, None, b"v", None), (0, b"k", None, None)]
    ring.send(topic, records)
    same("records", [(k, v) for _, k, v, _ in records], [(m.key(), m.value()) for m in ring.read(topic, 0, 0, 4)])


@case("acks 0, 1 and all")
def _(ring):
    topic = ring.topic()
    for n, acks in enumerate(["0", "1", "all"]):
        ring.send(topic, [(0, None, f"{acks} {i}".encode(), None) for i in range(100)], acks=acks)
        same(f"acks {acks}", f"{acks} 99".encode(), ring.read(topic, 0, n * 100 + 99, 1)[0].value())


@case("a fetch from inside a batch begins with that batch, and the client skips to its offset")
def _(ring):
    topic = ring.topic()
    ring.send(topic, [(0, None, b"r%d" % n, None) for n in range(100)], **{"linger.ms": 500})
    leader = wire.Connection(ring.leader_of(topic, 0)[0])
    error, high, start, data = leader.fetch(topic, 0, 37)
    same("error, watermark, start", (0, 100, 0), (error, high, start))
    first = next(wire.batches(data))
    assert first[0] <= 37 <= first[0] + first[1] and first[1] > 50, f"first batch {first[:2]}"
    same("value", b"r37", ring.read(topic, 0, 37, 1)[0].value())


@case("a fetch limit below one record still gives the whole record")
def _(ring):
    topic = ring.topic()
    ring.send(topic, [(0, None, _sized(200_000), None)])
    leader = wire.Connection(ring.leader_of(topic, 0)[0])
    error, _, _, data = leader.fetch(topic, 0, 0, partition_bytes=100)
    assert error == 0 and len(list(wire.batches(data))) == 1, f"error {error}, {len(data)} bytes"


@case("offsets beyond the end are refused, and the end is no error")
def _(ring):
    topic = ring.topic()
    ring.send(topic, [(0, None, b"x", None)])
    leader = wire.Connection(ring.leader_of(topic, 0)[0])
    same("at the end", (0, b""), leader.fetch(topic, 0, 1)[0::3])
    same("beyond", 1, leader.fetch(topic, 0, 2)[0])


@case("offsets by timestamp")
def _(ring):
    topic = ring.topic()
    settings = {"bootstrap.servers": ring.bootstrap, **workload.QUIET}
    producer = Producer(settings)
    for n in range(10):
        producer.produce(topic, b"x", partition=0, timestamp=1_700_000_000_000 + n * 1000)
    producer.flush(30)
    consumer = workload.reader(ring.bootstrap)
    found = consumer.offsets_for_times([TopicPartition(topic, 0, 1_700_000_004_500)], timeout=20)[0].offset
    consumer.close()
    same("offset", 5, found)


@case("errors that Kafka users know: size, replication, names, existing and unknown topics")
def _(ring):
    def create(name, partitions=1, replication=NODES, config=None):
        return lambda: ring.admin.create_topics([NewTopic(name, partitions, replication, config=config or {})])[name].result(30)

    small = ring.topic(1, {"max.message.bytes": "10000"})
    expect_error("MSG_SIZE_TOO_LARGE", lambda: ring.send(small, [(0, None, _sized(20_000), None)]))
    same("after the refusal", [0], ring.send(small, [(0, None, b"small", None)]))
    expect_error("INVALID_REPLICATION_FACTOR", create("too-many", replication=NODES + 1))
    expect_error("INVALID_PARTITIONS", create("no-partitions", partitions=0))
    expect_error("TOPIC_EXCEPTION", create("bad name!"))
    expect_error("TOPIC_ALREADY_EXISTS", create(small))
    expect_error("INVALID_CONFIG", create("bad-config", config={"max.message.bytes": "many"}))
    expect_error("UNKNOWN_TOPIC_OR_PART", lambda: ring.admin.delete_topics(["not-there"])["not-there"].result(30))


@case("a corrupt batch is refused and nothing of it stored")
def _(ring):
    topic = ring.topic()
    ring.send(topic, [(0, None, b"good", None)], **{"enable.idempotence": False})
    leader = wire.Connection(ring.leader_of(topic, 0)[0])
    data = bytearray(leader.fetch(topic, 0, 0)[3])
    data[-1] ^= 1
    same("corrupt", 2, leader.produce(topic, 0, bytes(data))[0])
    data[-1] ^= 1
    same("whole", (0, 1), leader.produce(topic, 0, bytes(data)))
    same("watermark", 2, leader.fetch(topic, 0, 0)[1])


@case("a deleted topic is gone, and one made again under its name is empty")
def _(ring):
    topic = ring.topic(PARTITIONS)
    ring.send(topic, [(p, None, b"old", None) for p in range(PARTITIONS)])
    ring.admin.delete_topics([topic])[topic].result(30)
    mesh.wait_until("gone from the metadata", 30, lambda: topic not in ring.admin.list_topics(timeout=10).topics, 0.2)
    mesh.wait_until("made again", 60, lambda: _create_again(ring, topic), 0.5)
    same("ends", {p: 0 for p in range(PARTITIONS)}, workload.ends(ring.bootstrap, topic, PARTITIONS))
    same("new record", [0], ring.send(topic, [(0, None, b"new", None)]))


def _create_again(ring, topic):
    try:
        workload.create_topic(ring.bootstrap, topic, PARTITIONS, NODES)
        return True
    except KafkaException:  # still being deleted
        return False


@case("topic configs and the cluster are described")
def _(ring):
    topic = ring.topic(1, {"max.message.bytes": "123456"})
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    found = ring.admin.describe_configs([resource])[resource].result(30)
    same("max.message.bytes", "123456", found["max.message.bytes"].value)
    cluster = ring.admin.describe_cluster().result(30)
    same("nodes", NODES, len(cluster.nodes))


@case("topic and broker configs are altered by a client library, and are in force at once")
def _(ring):
    topic = ring.topic()
    entry = lambda name, value, what=AlterConfigOpType.SET: ConfigEntry(name, value, incremental_operation=what)

    def alter(kind, name, *entries):
        resource = ConfigResource(kind, name, incremental_configs=list(entries))
        ring.admin.incremental_alter_configs([resource])[resource].result(30)

    def found(key):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        config = ring.admin.describe_configs([resource])[resource].result(30)[key]
        return config.value, ConfigSource(config.source).name

    of_topic = ConfigResource.Type.TOPIC
    alter(of_topic, topic, entry("max.message.bytes", "2000"), entry("retention.ms", "3600000"))
    mesh.wait_until("the leader knows it", 10, lambda: found("retention.ms") == ("3600000", "DYNAMIC_TOPIC_CONFIG"), 0.1)
    expect_error("MSG_SIZE_TOO_LARGE", lambda: ring.send(topic, [(0, None, os.urandom(3000), None)]))
    alter(of_topic, topic, entry("max.message.bytes", None, AlterConfigOpType.DELETE))
    same("records after that", [0], ring.send(topic, [(0, None, os.urandom(3000), None)]))
    expect_error("INVALID_CONFIG", lambda: alter(of_topic, topic, entry("retention.ms", "soon")))
    alter(of_topic, topic, entry("message.timestamp.type", "LogAppendTime"))
    mesh.wait_until("records get the leader's time", 10, lambda: _append_time(ring, topic), 0.2)
    for kept, codec in (("zstd", 4), ("lz4", 3), ("snappy", 2), ("gzip", 1), ("uncompressed", 0)):
        topic = ring.topic(1, {"compression.type": kept})
        values = [b"%s %d " % (kept.encode(), n) + b"x" * 200 for n in range(300)]
        ring.send(topic, [(0, None, value, None) for value in values], **{"compression.type": "gzip" if kept != "gzip" else "lz4"})
        same(f"values kept as {kept}", values, [m.value() for m in ring.read(topic, 0, 0, len(values))])
        same(f"codecs kept as {kept}", {codec}, {h[5] & 7 for h in wire.stored_batches(ring.bootstrap, topic, 0)})


def _append_time(ring, topic):
    before = int(time.time() * 1000) - 60_000
    producer = Producer({"bootstrap.servers": ring.bootstrap, **workload.QUIET})
    producer.produce(topic, b"old", partition=0, timestamp=1_000_000)
    producer.flush(30)
    end = workload.ends(ring.bootstrap, topic, 1)[0]
    return ring.read(topic, 0, end - 1, 1)[0].timestamp()[1] > before


@case("Kafka's configs tool alters and describes topics, brokers and all brokers")
def _(ring):
    topic, server = ring.topic(), ["--bootstrap-server", ring.bootstrap]
    for entity, key, value in (
        (["--entity-type", "topics", "--entity-name", topic], "retention.ms", "7200000"),
        (["--entity-type", "brokers", "--entity-name", "1"], "log.retention.ms", "8200000"),
        (["--entity-type", "brokers", "--entity-default"], "message.max.bytes", "2100000"),
    ):
        ring.java("configs", *server, *entity, "--alter", "--add-config", f"{key}={value}")
        told = lambda: ring.java("configs", *server, *entity, "--describe")
        mesh.wait_until(f"{key} is told", 20, lambda: f"{key}={value}" in told(), 0.5)
        ring.java("configs", *server, *entity, "--alter", "--delete-config", key)
        mesh.wait_until(f"{key} is taken back", 20, lambda: f"{key}={value}" not in told(), 0.5)
    text = ring.java("configs", *server, "--entity-type", "topics", "--entity-name", topic, "--describe", "--all")
    assert "synonyms={DEFAULT_CONFIG:log.retention.ms=604800000}" in text or "retention.ms=604800000" in text, text[:800]


@case("a topic gets more partitions, which take records; fewer are refused")
def _(ring):
    topic = ring.topic(2)
    ring.send(topic, [(0, None, b"old", None)])
    ring.admin.create_partitions([NewPartitions(topic, 5)])[topic].result(60)
    same("offsets", [0] * 3, ring.send(topic, [(p, None, b"new %d" % p, None) for p in (2, 3, 4)]))
    same("old partition", b"old", ring.read(topic, 0, 0, 1)[0].value())
    expect_error("INVALID_PARTITIONS", lambda: ring.admin.create_partitions([NewPartitions(topic, 4)])[topic].result(60))
    same("partitions", 5, len(ring.admin.list_topics(topic, timeout=20).topics[topic].partitions))


def _offset(ring, topic, spec):
    at = TopicPartition(topic, 0)
    return ring.admin.list_offsets({at: spec})[at].result(30)


@case("records are deleted up to an offset inside of a batch, and up to the end")
def _(ring):
    topic = ring.topic()
    ring.send(topic, [(0, None, b"r%d" % n, None) for n in range(100)], **{"linger.ms": 500, "compression.type": "lz4"})
    at = TopicPartition(topic, 0, 37)
    same("low watermark", 37, ring.admin.delete_records([at])[at].result(60).low_watermark)
    same("earliest", 37, _offset(ring, topic, OffsetSpec.earliest()).offset)
    same("value", b"r37", ring.read(topic, 0, 37, 1)[0].value())
    expect_error("_AUTO_OFFSET_RESET", lambda: ring.read(topic, 0, 36, 1))
    beyond = TopicPartition(topic, 0, 101)
    expect_error("OFFSET_OUT_OF_RANGE", lambda: ring.admin.delete_records([beyond])[beyond].result(60))
    end = TopicPartition(topic, 0, -1)
    same("low watermark", 100, ring.admin.delete_records([end])[end].result(60).low_watermark)
    same("bounds", (100, 100), tuple(_offset(ring, topic, spec).offset for spec in (OffsetSpec.earliest(), OffsetSpec.latest())))
    same("next", [100], ring.send(topic, [(0, None, b"more", None)]))


@case("offsets by timestamp inside of a batch of every codec, and the largest timestamp")
def _(ring):
    for codec in CODECS:
        topic = ring.topic()
        producer = Producer({"bootstrap.servers": ring.bootstrap, "linger.ms": 500, "compression.type": codec, **workload.QUIET})
        for n in range(200):
            producer.produce(topic, b"text %d " % n * 20, partition=0, timestamp=1_700_000_000_000 + n * 1000)
        assert producer.flush(60) == 0
        assert len(list(wire.stored_batches(ring.bootstrap, topic, 0))) < 20, "the records were to lie in few batches"
        consumer = workload.reader(ring.bootstrap)
        for n in (0, 1, 137, 199):
            asked = TopicPartition(topic, 0, 1_700_000_000_000 + n * 1000 - 500)
            same(f"{codec} offset of {n}", n, consumer.offsets_for_times([asked], timeout=20)[0].offset)
        consumer.close()
        newest = _offset(ring, topic, OffsetSpec.max_timestamp())
        same(f"{codec} newest", (199, 1_700_000_199_000), (newest.offset, newest.timestamp))


@case("leaders are elected: nothing to do where the preferred one leads")
def _(ring):
    topic = ring.topic()
    at = TopicPartition(topic, 0)
    found = ring.admin.elect_leaders(ElectionType.PREFERRED, [at]).result(60)[at]
    same("error", "ELECTION_NOT_NEEDED", found.name())


@case("leadership goes back to a preferred replica that was away", "rafka")
def _(ring):
    target, topic = ring.target, ring.topic()
    numbers = {target.json(i, "/v1/nodes")["node_id"]: i for i in target.ids()}

    def partition():
        return ring.admin.list_topics(topic, timeout=20).topics[topic].partitions[0]

    preferred = partition().replicas[0]
    mesh.wait_until("the preferred replica leads", 30, lambda: partition().leader == preferred, 0.2)
    assert target.stop(numbers[preferred]), "no clean stop"
    mesh.wait_until("another one leads", 30, lambda: partition().leader not in (preferred, -1), 0.2)
    target.start(numbers[preferred])
    target.ready(numbers[preferred])
    ring.send(topic, [(0, None, b"x", None)])
    time.sleep(3)
    arguments = ["--bootstrap-server", ring.bootstrap, "--election-type", "PREFERRED", "--topic", topic, "--partition", 0]
    text = ring.java("leader-election", *arguments)
    assert "Successfully completed leader election" in text, text
    same("leader", preferred, partition().leader)
    assert "Valid replica already elected" in ring.java("leader-election", *arguments)


# ---- Kafka's own tools (Java) --------------------------------------------------------------------------------------


@case("Kafka's topic tool creates, lists and describes")
def _(ring):
    ring.java("topics", "--bootstrap-server", ring.bootstrap, "--create", "--topic", "java-made", "--partitions", 3, "--replication-factor", 3)
    assert "java-made" in ring.java("topics", "--bootstrap-server", ring.bootstrap, "--list").split()
    text = ring.java("topics", "--bootstrap-server", ring.bootstrap, "--describe", "--topic", "java-made")
    assert "ReplicationFactor: 3" in text and text.count("Leader: ") == 3 and "Leader: none" not in text, text


@case("Kafka's console producer and consumer, by --partition")
def _(ring):
    topic = ring.topic()
    lines = "".join(f"k{n}\tline {n} ü\n" for n in range(300))
    ring.java("produce", "--bootstrap-server", ring.bootstrap, "--topic", topic, "--reader-property", "parse.key=true", text=lines)
    arguments = ["--bootstrap-server", ring.bootstrap, "--topic", topic, "--partition", 0, "--formatter-property", "print.key=true"]
    out = ring.java("consume", *arguments, "--offset", "earliest", "--max-messages", 300, "--timeout-ms", 60000)
    same("lines", lines, out)
    out = ring.java("consume", *arguments, "--offset", 150, "--max-messages", 2, "--timeout-ms", 60000)
    same("from 150", "k150\tline 150 ü\nk151\tline 151 ü\n", out)


@case("Kafka's producer perf tool, then its offset tool counts what it wrote")
def _(ring):
    topic = ring.topic(PARTITIONS)
    properties = [f"bootstrap.servers={ring.bootstrap}", "acks=all", "compression.type=lz4"]
    perf = ["--topic", topic, "--num-records", 50_000, "--record-size", 500, "--throughput", -1, "--producer-props", *properties]
    text = ring.java("perf-produce", *perf)
    assert "50000 records sent" in text, text[-300:]
    counts = ring.java("offsets", "--bootstrap-server", ring.bootstrap, "--topic", topic).split()
    same("records", 50_000, sum(int(line.rsplit(":", 1)[1]) for line in counts if line.startswith(topic)))


@case("Kafka's tools alter partitions, delete records, tell offsets and log directories")
def _(ring):
    topic, server = ring.topic(), ["--bootstrap-server", ring.bootstrap]
    ring.send(topic, [(0, None, b"r%d" % n, None) for n in range(100)], **{"linger.ms": 500, "compression.type": "gzip"})
    ring.java("topics", *server, "--alter", "--topic", topic, "--partitions", 4)
    text = ring.java("topics", *server, "--describe", "--topic", topic)
    assert "PartitionCount: 4" in text and text.count("Leader: ") == 4 and "Leader: none" not in text, text
    plan = f"{os.environ['RUN_DIR']}/delete-records.json"
    with open(plan, "w", encoding="utf-8") as file:
        json.dump({"partitions": [{"topic": topic, "partition": 0, "offset": 42}], "version": 1}, file)
    text = ring.java("delete-records", *server, "--offset-json-file", plan)
    assert f"partition: {topic}-0\tlow_watermark: 42" in text, text
    for when, offset in (("earliest", 42), ("latest", 100), ("-3", None), ("max-timestamp", None)):
        text = ring.java("offsets", *server, "--topic-partitions", f"{topic}:0", "--time", when)
        found = int(text.strip().rsplit(":", 1)[1])
        # Kafka itself still names a deleted record as the one with the largest timestamp.
        assert found == offset or (offset is None and 0 <= found < 100), f"{when}: {text}"
    text = ring.java("log-dirs", *server, "--describe", "--topic-list", topic)
    found = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    replicas = [p["partition"] for b in found["brokers"] for d in b["logDirs"] for p in d["partitions"]]
    same("replicas", sorted(f"{topic}-{p}" for p in range(4) for _ in range(NODES)), sorted(replicas))


@case("a consumer reads from the replica in its rack, and goes on at the leader when that stops", "rafka")
def _(ring):
    topic = ring.topic(1)
    ring.send(topic, [(0, None, b"r%d" % n, None) for n in range(500)])
    racks = {node.id: node.rack for node in ring.admin.describe_cluster().result(30).nodes}
    leader = ring.admin.list_topics(topic, timeout=20).topics[topic].partitions[0].leader
    rack = next(rack for node, rack in racks.items() if node != leader)
    near = int(rack.removeprefix("rack-"))
    sent = lambda i: float(ring.target.metric(i, "rafka_kafka_sent_bytes_total"))
    before = sent(near)
    consumer = workload.reader(ring.bootstrap, **{"client.rack": rack, "fetch.wait.max.ms": 50})
    consumer.assign([TopicPartition(topic, 0, 0)])
    got, until = [], time.monotonic() + 60
    while len(got) < 500:
        assert time.monotonic() < until, f"{len(got)} of 500 records"
        got += [m.value() for m in consumer.consume(100, 1.0) if not m.error()]
    same("records", [b"r%d" % n for n in range(500)], got)
    ring.send(topic, [(0, None, os.urandom(100_000), None) for _ in range(20)])
    got = []
    while len(got) < 20:
        assert time.monotonic() < until, f"{len(got)} of 20 more"
        got += [m for m in consumer.consume(100, 1.0) if not m.error()]
    assert sent(near) - before > 1_900_000, f"node {near} sent {sent(near) - before:.0f} bytes"
    consumer.close()


@case("Kafka's reassignment tool executes, verifies, lists, and has nothing to cancel", only="rafka")
def _(ring):
    topic, target = ring.topic(), ring.target
    numbers = {target.json(i, "/v1/nodes")["node_id"]: i for i in target.ids()}
    first, second, away = ring.admin.list_topics(topic, timeout=20).topics[topic].partitions[0].replicas
    ring.send(topic, [(0, None, b"r%d" % n, None) for n in range(100)])
    ring.rafka("rebalance", "pause")
    plan = f"{os.environ['RUN_DIR']}/reassign.json"
    arguments = ["--bootstrap-server", target.address(numbers[first]), "--reassignment-json-file", plan, "--preserve-throttles"]

    def execute(*nodes):
        with open(plan, "w", encoding="utf-8") as file:
            json.dump({"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": nodes}]}, file)
        text = ring.java("reassign", *arguments[:4], "--execute")
        assert "Successfully started partition reassignment" in text, text

    def complete():
        return f"Reassignment of partition {topic}-0 is completed" in ring.java("reassign", *arguments, "--verify")

    def listed():
        return ring.java("reassign", *arguments[:2], "--list")

    execute(second, first)
    mesh.wait_until("two replicas, in another order", 60, complete, 1)
    same("replicas", [second, first], list(ring.admin.list_topics(topic, timeout=20).topics[topic].partitions[0].replicas))
    assert "No partition reassignments found" in listed(), listed()
    text = ring.java("reassign", *arguments, "--cancel")
    assert "None of the specified partition moves are active" in text, text
    execute(first, second, away)
    mesh.wait_until("three replicas again", 60, complete, 1)
    ring.rafka("rebalance", "resume")
    same("records", 100, len(ring.kcat("-C", "-t", topic, "-p", 0, "-e", "-q").splitlines()))


@case("Kafka's api-versions tool understands the node")
def _(ring):
    text = ring.java("api-versions", "--bootstrap-server", ring.target.address(1))
    assert "Produce(0)" in text and "Fetch(1)" in text and "ERROR" not in text, text[-500:]


# ---- whoever asks the wrong node, or brings the wrong directory ----------------------------------------------------


@case("a client that asks the wrong node is sent right, and the wrong node stores nothing")
def _(ring):
    topic = ring.topic()
    ring.send(topic, [(0, None, b"one", None)], **{"enable.idempotence": False})
    leader, others = ring.leader_of(topic, 0)
    batch = wire.Connection(leader).fetch(topic, 0, 0)[3]
    for other in others:
        same(f"produce at {other}", wire.NOT_LEADER, wire.Connection(other).produce(topic, 0, batch)[0])
    same("watermark", 1, wire.Connection(leader).fetch(topic, 0, 0)[1])
    for other in others:
        same(f"metadata of {other}", leader, _leader_by(other, topic))
    for i in ring.target.ids():
        ring.send(topic, [(0, None, b"by %d" % i, None)], **{"bootstrap.servers": ring.target.address(i)})
    same("watermark", 4, wire.Connection(leader).fetch(topic, 0, 0)[1])


def _leader_by(address, topic):
    nodes, leaders, _ = wire.Connection(address).metadata(topic)
    return nodes.get(leaders.get(0))


@case("an unknown version of ApiVersions gets the list of those that are known (KIP-511)")
def _(ring):
    frame = struct.pack(">hhi", 18, 99, 7) + struct.pack(">h", 3) + b"rig\x00" + b"\x04rig\x021\x00"
    with socket.create_connection(ring.target.address(1).split(":"), 10) as s:
        s.sendall(struct.pack(">i", len(frame)) + frame)
        answer = wire.Reader(s.recv(65536))
        answer.i32()
        same("correlation, error", (7, 35), (answer.i32(), answer.i16()))


@case("garbage on the Kafka port closes that connection and no other")
def _(ring):
    for garbage in [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, struct.pack(">i", 8) + b"\x00" * 8, struct.pack(">i", 0)]:
        with socket.create_connection(ring.target.address(1).split(":"), 10) as s:
            s.settimeout(5)
            try:
                s.sendall(garbage)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except ConnectionError:
                pass
    same("exits", {}, ring.target.unexpected_exits())
    ring.target.ready(1)


@case("a partition's hints are found from every node, also after its leader stopped", "rafka")
def _(ring):
    topic = ring.topic()
    ring.send(topic, [(0, None, b"kept", None)])
    target = ring.target
    numbers = {target.json(i, "/v1/nodes")["node_id"]: i for i in target.ids()}

    def led_by(i):
        return target.json(i, f"/v1/lookup?key=partition/{topic}/0")["value"]["leader"]

    leader = led_by(1)
    for i in target.ids():
        mesh.wait_until(f"lookup by node {i}", 20, lambda i=i: led_by(i) == leader, 0.2)
    stopped = numbers[leader]
    assert target.stop(stopped), "no clean stop"
    rest = [i for i in target.ids() if i != stopped]
    for i in rest:
        mesh.wait_until(f"node {i} learns the new leader", 20, lambda i=i: led_by(i) in numbers and led_by(i) != leader, 0.2)
    same("record", b"kept", ring.read(topic, 0, 0, 1)[0].value())
    ring.send(topic, [(0, None, b"more", None)])
    target.start(stopped)
    target.ready(stopped)


for name, check in groups.CHECKS.items():
    case(name)(lambda ring, check=check: check(ring, same))


def refused(target, i, words, data_dir, arguments, ports=None):
    """Starts a node that must refuse: it exits by itself with an error that has these words, and says what to do."""
    port = ports or target.port
    command = [target.binary, "--data-dir", data_dir, "--listen-kafka", f"127.0.0.1:{port + i}"]
    command += ["--listen-mesh", f"127.0.0.1:{port + 100 + i}", "--listen-http", f"127.0.0.1:{port + 200 + i}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=mesh._die_with_parent)
    try:
        out, _ = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        raise AssertionError(f"still running after 30 s; it says:\n{out[-1500:]}") from None
    assert process.returncode not in (0, 101, -6), f"exit code {process.returncode}:\n{out[-1500:]}"
    low = out.lower()
    assert all(any(w in low for w in word.split("|")) for word in words), f"no word of {words} in:\n{out[-1500:]}"
    return next((line.strip() for line in reversed(out.splitlines()) if line.strip()), "")


def seeds(target):
    return ["--seeds", ",".join(target.mesh_address(i) for i in target.ids())]


def with_node_stopped(ring, i, action):
    """Runs action while node i is stopped; afterwards the node comes back as it was, and what was written is there."""
    topic = ring.topic()
    ring.send(topic, [(0, None, b"before", None)])
    assert ring.target.stop(i), "no clean stop"
    try:
        told = action()
    finally:
        ring.target.start(i)
        ring.target.ready(i)
    same("record", b"before", ring.read(topic, 0, 0, 1)[0].value())
    ring.send(topic, [(0, None, b"after", None)])
    return told


@case("a data directory of another cluster is refused", "rafka")
def _(ring):
    target, directory = ring.target, f"{ring.target.directory}/other-cluster"
    other = subprocess.Popen(
        [target.binary, "--data-dir", directory, "--listen-kafka", "127.0.0.1:0", "--listen-mesh", target.mesh_address(9), "--listen-http", "127.0.0.1:0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=mesh._die_with_parent,
    )
    mesh.wait_until("the other cluster", 30, lambda: os.path.exists(f"{directory}/ports.json"))
    time.sleep(1)
    other.terminate()
    other.wait(30)
    return with_node_stopped(ring, 3, lambda: refused(target, 3, ["cluster"], directory, seeds(target)))


@case("a second node with the same identity is refused, and the first goes on", "rafka")
def _(ring):
    target, copy = ring.target, f"{ring.target.directory}/same-identity"
    assert target.stop(3), "no clean stop"
    shutil.copytree(target.data_dir(3), copy)
    target.start(3)
    target.ready(3)
    told = refused(target, 8, ["identity|same node|already|peer id"], copy, seeds(target))
    target.ready(3)
    same("exits", {}, target.unexpected_exits())
    return told


@case("a data directory in use is refused", "rafka")
def _(ring):
    return refused(ring.target, 8, ["lock|in use|already"], ring.target.data_dir(3), seeds(ring.target))


@case("an empty directory takes the number of the node that stood there, and the old directory is refused", "rafka")
def _(ring):
    target, topic = ring.target, ring.topic()
    ring.send(topic, [(0, None, b"before", None)])
    assert target.stop(3), "no clean stop"
    old = f"{target.directory}/old"
    os.rename(target.data_dir(3), old)
    target.start(3)
    target.ready(3, 60)
    target.whole(60)
    same("record", b"before", ring.read(topic, 0, 0, 1)[0].value())
    return refused(target, 9, ["lives in another data directory"], old, ["--join", target.mesh_address(1)])


@case("flags that cannot be are refused with what to write instead", "rafka")
def _(ring):
    target, directory = ring.target, f"{ring.target.directory}/flags"
    refused(target, 7, ["--seeds|seeds"], directory, ["--seeds", "not-an-address"])
    refused(target, 7, ["join"], directory, [*seeds(target), "--join", target.mesh_address(1)])
    refused(target, 7, ["unknown|unexpected"], directory, ["--no-such-flag"])
    return refused(target, 7, ["level"], directory, ["--log-level", "shout"])


def main():
    chosen = sys.argv[1:]
    target = mesh.make(os.environ["RUN_DIR"] + "/mesh", NODES)
    target.zones = True
    passed = failed = 0
    try:
        for i in target.ids():
            target.start(i)
        for i in target.ids():
            target.ready(i, 90)
        ring = Ring(target)
        for name, function, only in CASES:
            if only not in (None, target.name) or (chosen and not any(c in name for c in chosen)):
                continue
            begin = time.monotonic()
            try:
                told = function(ring)
                passed += 1
                print(f"ok     {name} ({time.monotonic() - begin:.1f} s)" + (f"\n         it says: {told[:300]}" if told else ""), flush=True)
            except Exception as error:  # whatever it is, the other cases still run
                failed += 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                print(f"FAILED {name}\n         line {where.lineno}: {type(error).__name__}: {error}", flush=True)
        if exits := target.unexpected_exits():
            failed += 1
            print(f"FAILED nodes stopped by themselves: {exits}")
    finally:
        target.close()
    print(f"RESULT client ring on {target.name}: {passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
