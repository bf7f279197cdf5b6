"""Idempotent producers that run while nodes die, and the reading back of what they wrote. Over confluent-kafka (librdkafka)."""
import logging
import re
import threading
import time
from collections import Counter

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import history
import wire
from history import History

# librdkafka retries by itself until this; only then is an outcome unknown.
MESSAGE_TIMEOUT_MS = 240_000

# A line of librdkafka's debug=eos that says why it will raise its epoch.
DRAIN = re.compile(r"Beginning partition drain for .*?epoch bump .*?: (.*)$")
BUMPED = re.compile(r"bumped epoch to|epoch bump")
TIMEOUT = re.compile(r"timed ?out", re.I)
OUT_OF_ORDER = re.compile(r"out.of.order|sequence desynchroni|OUT_OF_ORDER_SEQUENCE", re.I)
UNKNOWN_PRODUCER = re.compile(r"unknown.producer|UNKNOWN_PRODUCER_ID", re.I)


# Refused connections are what these tests are about; librdkafka would print each.
QUIET = {"log_level": 2}


def create_topic(bootstrap, topic, partitions, replication, config=None, seconds=60):
    """Creates a topic and waits until each partition is led."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    new = NewTopic(topic, num_partitions=partitions, replication_factor=replication, config=config or {})
    admin.create_topics([new], operation_timeout=30)[topic].result(60)
    until = time.monotonic() + seconds
    while -1 in leaders(admin, topic, partitions).values():
        if time.monotonic() > until:
            raise TimeoutError(f"topic {topic} has partitions without leader after {seconds} s")
        time.sleep(0.1)
    return admin


def leaders(admin, topic, partitions):
    """{partition: leader id}, -1 where there is none or nobody answers."""
    out = {p: -1 for p in range(partitions)}
    try:
        found = admin.list_topics(topic, timeout=5).topics[topic]
    except Exception:  # nobody answers: no leader is known
        return out
    out.update({p.id: p.leader for p in found.partitions.values()})
    return out


class EosLog(logging.Handler):
    """Keeps the lines by which a producer explains its epoch bumps, and those that say that it is fatal."""

    def __init__(self):
        super().__init__()
        self.reasons, self.fatal = [], []

    def emit(self, record):
        line = record.getMessage()
        drain = DRAIN.search(line)
        if drain:
            self.reasons.append(drain.group(1))
        if "FATAL" in line:
            self.fatal.append(line)


def explain(reason):
    """Why a client raised its epoch, in our words; None when we do not know."""
    if TIMEOUT.search(reason):
        return "a produce timed out in flight, so its outcome is unknown to the client"
    if OUT_OF_ORDER.search(reason):
        return "an earlier request of the window failed and later ones came out of order (librdkafka issue 4953)"
    if UNKNOWN_PRODUCER.search(reason):
        return "the broker no longer knew the producer id"
    return None


class Load:
    """Several producers, each a thread, that write to all partitions at a rate until stopped; `run` records to one before the next one's turn."""

    def __init__(self, bootstrap, topic, partitions, producers=4, rate=4000, filler_bytes=80, run=10):
        self.history, self.lock = History(), threading.Lock()
        self.bootstrap, self.topic, self.partitions = bootstrap, topic, partitions
        self.rate, self.filler, self.run = rate / producers, b"x" * filler_bytes, run
        # (until, partition, seconds) of each time that a partition had something to acknowledge and acknowledged nothing.
        self.stalls = []
        # What has no outcome this long after stop() has none.
        self.flush_s = MESSAGE_TIMEOUT_MS / 1000 + 10
        self.highest = {p: -1 for p in range(partitions)}
        self.last_ack = {p: 0.0 for p in range(partitions)}
        self.outstanding = {p: 0 for p in range(partitions)}
        self.fatal, self.errors, self.logs = [], {}, []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._guard, args=(n,), daemon=True) for n in range(producers)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def _guard(self, number):
        try:
            self._produce(number)
        except Exception as error:  # a dead producer thread must fail the test, not shorten it
            self.fatal.append(f"producer {number}: {error!r}")

    def _client(self, number):
        log = EosLog()
        self.logs.append(log)
        logger = logging.getLogger(f"producer-{number}-{id(self)}")
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        logger.addHandler(log)

        def on_error(error):
            self.errors[error.name()] = self.errors.get(error.name(), 0) + 1
            if error.fatal():
                self.fatal.append(f"producer {number}: {error}")

        return Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "batch.num.messages": 50,
                "message.timeout.ms": MESSAGE_TIMEOUT_MS,
                "socket.timeout.ms": 30_000,
                "reconnect.backoff.max.ms": 1000,
                "queue.buffering.max.messages": 10_000,
                "debug": "eos",
                "error_cb": on_error,
                "logger": logger,
            }
        )

    def _produce(self, number):
        client, begin, count = self._client(number), time.monotonic(), 0
        while not self.stopping.is_set():
            due = (time.monotonic() - begin) * self.rate
            if count >= due:
                client.poll(0.005)
                continue
            partition = (count // self.run) % self.partitions
            if self._send(client, number, partition):
                count += 1
            else:
                # A full queue, while nobody leads: what is not sent is not owed later either.
                client.poll(0.05)
                begin = time.monotonic() - count / self.rate
            if count % 100 == 0:
                client.poll(0)
        client.flush(self.flush_s)

    def _send(self, client, number, partition):
        history, key = self.history, (number, partition)
        sequence = history.sent[key]
        value, sent = b"%d:%d:%d:" % (number, partition, sequence) + self.filler, time.monotonic()

        def delivered(error, message):
            with self.lock:
                self.outstanding[partition] -= 1
                if error is None:
                    offset = message.offset() if message.offset() is not None else -1
                    history.acked[key][sequence] = offset
                    self.highest[partition] = max(self.highest[partition], offset)
                    now = time.monotonic()
                    self.stalls.append((now, partition, now - max(sent, self.last_ack[partition])))
                    self.last_ack[partition] = now
                else:
                    history.unknown[key].add(sequence)
                    self.errors[f"delivery {error.name()}"] = self.errors.get(f"delivery {error.name()}", 0) + 1

        try:
            client.produce(self.topic, value, key=b"p%d" % number, partition=partition, on_delivery=delivered)
        except BufferError:
            return False
        with self.lock:
            history.sent[key] += 1
            self.outstanding[partition] += 1
        return True

    def in_flight(self, partitions):
        """Produces without an answer on these partitions, now."""
        with self.lock:
            return sum(self.outstanding[p] for p in partitions)

    def acked_since(self, when):
        """Seconds from `when` to the last of the partitions' first acknowledgement known since; None if one has none."""
        with self.lock:
            return min(self.last_ack.values()) > when

    def stalled(self, begin, end, partition=None):
        """(seconds, partition, until when) of the longest stall that ended in that time or goes on, of one partition or of any."""
        with self.lock:
            found = [(s, p, at) for at, p, s in self.stalls if begin <= at <= end]
            found += [(end - max(begin, self.last_ack[p]), p, end) for p, waiting in self.outstanding.items() if waiting]
        return max((one for one in found if partition in (None, one[1])), default=(0.0, -1, end))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def bumps(self):
        """[(reason, explanation or None)] of all producers' epoch bumps."""
        return [(reason, explain(reason)) for log in self.logs for reason in log.reasons]

    def fatal_errors(self):
        return self.fatal + [line for log in self.logs for line in log.fatal]


def report(load, verdict):
    """Prints the checks of a finished run; returns what is wrong with it."""
    past, bumps, fatal = load.history, load.bumps(), load.fatal_errors()
    unexplained = [reason for reason, why in bumps if why is None]
    unknown = sum(len(v) for v in past.unknown.values())
    read = verdict.notes.pop("read")
    print(f"\nacknowledged {past.acknowledged()}, unknown {unknown}, without outcome {past.unresolved()}, read back {read}")
    for name in history.FAULTS:
        print(f"{name:24} {verdict.faults[name]}")
    for name, count in verdict.notes.items():
        print(f"{name:24} {count} (not the broker's: the copies carry different producer epochs)")
    print(f"{'client epoch bumps':24} {len(bumps)}, unexplained {len(unexplained)}")
    for why, count in Counter(why or f"UNEXPLAINED: {reason}" for reason, why in bumps).items():
        print(f"   {count} x {why}")
    print(f"{'fatal producer errors':24} {len(fatal)}")
    for line in verdict.examples + fatal:
        print(f"   {line}")
    if load.errors:
        print(f"client errors on the way: {dict(sorted(load.errors.items()))}")
    problems = [name for name, count in verdict.faults.items() if count]
    problems += ["fatal producer errors"] * bool(fatal) + ["unexplained epoch bumps"] * bool(unexplained)
    return problems + ["produces without outcome"] * bool(past.unresolved())


def reader(bootstrap, **more):
    """A consumer for assigned partitions; librdkafka demands a group id, which nothing uses."""
    return Consumer({"bootstrap.servers": bootstrap, "group.id": "rig-unused", "enable.auto.commit": False, **QUIET, **more})


def ends(bootstrap, topic, partitions):
    """{partition: high watermark}."""
    consumer = reader(bootstrap)
    out = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in range(partitions)}
    consumer.close()
    return out


def read_all(bootstrap, topic, partitions, seconds=300):
    """{partition: [(offset, producer, sequence)]} from the start of each partition to its end, without a group."""
    settings = {"enable.partition.eof": True, "auto.offset.reset": "error", "fetch.wait.max.ms": 50}
    consumer = reader(bootstrap, **settings)
    end, start = {}, []
    for p in range(partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)
        end[p] = high
        start.append(TopicPartition(topic, p, low))
    consumer.assign(start)
    out = {p: [] for p in range(partitions)}
    done = {p for p in range(partitions) if start[p].offset >= end[p]}
    until = time.monotonic() + seconds
    while len(done) < partitions:
        if time.monotonic() > until:
            missing = {p: (len(out[p]), end[p]) for p in range(partitions) if p not in done}
            raise TimeoutError(f"reading back {topic}: partitions not whole after {seconds} s (read, end): {missing}")
        for message in consumer.consume(2000, timeout=1.0):
            error = message.error()
            if error:
                if error.code() == KafkaError._PARTITION_EOF:
                    if message.offset() >= end[message.partition()]:
                        done.add(message.partition())
                    continue
                if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise RuntimeError(f"reading back {topic}: {error}")
                continue
            producer, _, sequence, _ = message.value().split(b":", 3)
            out[message.partition()].append((message.offset(), int(producer), int(sequence)))
    consumer.close()
    return out


def stored(bootstrap, topic, partitions):
    """{partition: stored batch headers}."""
    return {p: wire.stored_batches(bootstrap, topic, p) for p in range(partitions)}
