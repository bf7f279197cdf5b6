"""See ../clients.sh; what the programs are given and print is told in ../clients/README.md."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict

import history
import mesh
import workload

NODES, PARTITIONS, COUNT, RATE = 3, 6, 2500, 250
PRODUCE_SECONDS, CONSUME_SECONDS = 150, 90
SIGNALS = ("SIGTERM", "SIGKILL")

# Clients whose producer is idempotent by default: nothing may be there twice. It is seen in the batches that they store.
IDEMPOTENT = {"java", "franz-go", "kafka-python"}
# Clients that keep the order of a partition by default: those, and the ones with one request in flight for each partition.
ORDERED = IDEMPOTENT | {"aiokafka", "rskafka"}
# Clients whose default is acks=1: what only the leader has may be gone with it. That much, a tenth of a second of records, is excused.
ACKS_1, LOST_MAX = {"sarama", "platformatic", "aiokafka"}, RATE // 10
# What clients gave back to the application, by their own defaults, on Apache Kafka under the same restarts: no more than that is
# excused here. Kafka's elections take several seconds after a SIGKILL.
KNOWN = {
    "rdkafka": (r"BrokerTransportFailure", "a broken connection, told and got over"),
    "sarama": (
        r"connect: connection refused$|^kafka: broker not connected$|EOF$|in process of shutting down$",
        "no more than 3 retries, 100 ms apart",
    ),
    "platformatic": (r"(produce|fetch) failed \d times", "no more than 3 retries, 1 s apart"),
}


class Program:
    """A running client program and what it has told so far."""

    def __init__(self, client, what, *arguments):
        self.name = f"{client} {what}"
        self.acked, self.failed, self.records, self.errors, self.result = {}, {}, [], [], None
        self.lock = threading.Lock()
        path = f"{os.environ['RUN_DIR']}/{client}-{what}-{arguments[-3] if what == 'produce' else 0}"
        self.log = f"{path}.err"
        command = [f"{os.environ['CLIENTS_DIR']}/{client}/run", what, *map(str, arguments)]
        with open(self.log, "wb") as err:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True, preexec_fn=mesh._die_with_parent)
        self.thread = threading.Thread(target=self._listen, args=(f"{path}.out",), daemon=True)
        self.thread.start()

    def _listen(self, path):
        with open(path, "w", encoding="utf-8") as out:
            for line in self.process.stdout:
                out.write(f"{time.time():.3f} {line}")
                with self.lock:
                    self._told(line.rstrip("\n"))

    def _told(self, line):
        word, _, rest = line.partition(" ")
        if word == "ack":
            n, partition, offset = map(int, rest.split())
            self.acked[n] = (partition, offset)
        elif word == "failed":
            n, _, why = rest.partition(" ")
            self.failed[int(n)] = why
        elif word == "record":
            partition, offset, key, value = rest.split(" ", 3)
            producer, key_again, n, _ = value.split(":", 3)
            if key != key_again:
                self.errors.append(f"record {producer}:{n} came with key {key}")
            self.records.append((int(partition), int(offset), int(producer), int(n)))
        elif word == "error":
            self.errors.append(rest)
        elif line.startswith('{"client"') or line.startswith('{"sent"'):
            self.result = json.loads(line)

    def done(self):
        return self.process.poll() is not None

    def reach(self, what, number, seconds):
        """Waits until it has told so many acknowledgements or records; an early end is told by finish()."""
        mesh.wait_until(f"{self.name} {number} {what}", seconds, lambda: len(getattr(self, what)) >= number or self.done())

    def finish(self, seconds):
        """Waits for its end; returns what went wrong with the program itself."""
        try:
            self.process.wait(max(0.1, seconds))
        except subprocess.TimeoutExpired:
            self.end()
            return [f"{self.name} is not done {seconds:.0f} s later: {len(self.acked)} acknowledged, {len(self.records)} read"]
        self.thread.join()
        if self.process.returncode or not self.result:
            with open(self.log, errors="replace", encoding="utf-8") as f:
                said = f.read()[-400:]
            return [f"{self.name} ended with {self.process.returncode}: {said.strip()}"]
        return []

    def end(self):
        if not self.done():
            self.process.kill()
            self.process.wait()
        self.thread.join()


def restart(target, bootstrap, topic, partition, name):
    """Restarts the node that leads a partition, once all partitions are led elsewhere; returns its number."""
    admin = workload.AdminClient({"bootstrap.servers": bootstrap, **workload.QUIET})
    leader = workload.leaders(admin, topic, PARTITIONS)[partition]
    number = {target.json(i, "/v1/nodes")["node_id"]: i for i in target.ids()}[leader] if target.name == "rafka" else leader
    if name == "SIGTERM":
        assert target.stop(number), f"node {number} did not stop cleanly"
    else:
        target.kill(number)
    away = {leader, -1}
    mesh.wait_until("other leaders", 60, lambda: not away & set(workload.leaders(admin, topic, PARTITIONS).values()), 0.2)
    target.start(number)
    target.ready(number)
    return number


def run(target, client, signals):
    """One client's run; returns (producers, consumer, problems with the programs, what was done)."""
    bootstrap, topic = target.bootstrap(), f"clients-{client}"
    workload.create_topic(bootstrap, topic, PARTITIONS, NODES)
    programs, problems, did = [], [], []
    try:
        for number, name in enumerate(signals):
            if number == 1:
                consumer = Program(client, "consume", bootstrap, topic, PARTITIONS, 2 * COUNT)
                programs.append(consumer)
            producer = Program(client, "produce", bootstrap, topic, PARTITIONS, number, COUNT, RATE)
            programs.append(producer)
            if number == 1:
                consumer.reach("records", COUNT + COUNT // 4, 60)
            producer.reach("acked", COUNT // 4, 60)
            did.append(f"node {restart(target, bootstrap, topic, number, name)} {name}")
            problems += producer.finish(PRODUCE_SECONDS)
        producers = [p for p in programs if p is not consumer]
        _await_consumer(consumer, producers, workload.ends(bootstrap, topic, PARTITIONS))
        problems += [] if _given_up(producers) and not consumer.done() else consumer.finish(1)
    finally:
        for program in programs:
            program.end()
    return producers, consumer, problems, did


def _given_up(producers):
    return sum(len(p.acked) for p in producers) < 2 * COUNT


def _await_consumer(consumer, producers, ends):
    """Until it has ended by itself, or, where records are missing for which it would wait, has read all there is."""

    def at_end():
        with consumer.lock:
            seen = {p: offset for p, offset, *_ in consumer.records}
        return all(seen.get(p, -1) + 1 >= end for p, end in ends.items())

    try:
        until = time.monotonic() + CONSUME_SECONDS
        mesh.wait_until("consumer", CONSUME_SECONDS, lambda: consumer.done() or (_given_up(producers) and at_end()), 0.1)
        consumer.thread.join(max(0.1, until - time.monotonic()) if consumer.done() else 0)
    except TimeoutError:
        pass  # told by finish()


# ---- the judgement -------------------------------------------------------------------------------------------------


def judge(client, producers, consumer, stored, batches):
    """(faults, notes) by name. stored[partition] = [(offset, producer, number)], batches[partition] = their headers."""
    past = history.History()
    faults, notes = Counter(), Counter()
    for number, producer in enumerate(producers):
        for partition in range(PARTITIONS):
            past.sent[number, partition] = COUNT
        for n, (partition, offset) in producer.acked.items():
            past.acked[number, partition][n] = offset
        _count_told(faults, notes, client, "failed towards the application", producer.failed.values())
        faults["neither acknowledged nor failed"] += COUNT - len(producer.acked.keys() | producer.failed.keys())
    verdict = history.check(past, stored, batches)
    faults.update(verdict.faults)
    ids = {header[2] >= 0 for headers in batches.values() for header in headers}
    if ids != {client in IDEMPOTENT}:
        faults["not as idempotent as expected"] += 1
    few_lost = client in ACKS_1 and faults["lost"] <= LOST_MAX
    for name, excused, why in (
        ("duplicated", client not in IDEMPOTENT, "its producer is not idempotent by default"),
        ("reordered", client not in ORDERED, "it sends on while it tries again"),
        ("lost", few_lost, "acks=1 is its default"),
    ):
        if excused and faults[name]:
            notes[f"{name} ({why})"] += faults.pop(name)
    notes.update({name: count for name, count in verdict.notes.items() if name != "read"})
    _judge_consumer(faults, consumer, stored)
    _count_told(faults, notes, client, "errors told to the consumer", consumer.errors)
    return +faults, +notes


def _count_told(faults, notes, client, name, reasons):
    """Counts what the application was told as a fault, or as a note where the client does so on Apache Kafka."""
    pattern, why = KNOWN.get(client, ("(?!)", ""))
    for reason in reasons:
        if re.search(pattern, reason):
            notes[f"{name} ({why})"] += 1
        else:
            faults[name] += 1


def _judge_consumer(faults, consumer, stored):
    """What a consumer was given must be the start of what is stored, each offset once and in order."""
    given = defaultdict(list)
    for partition, *record in consumer.records:
        given[partition].append(tuple(record))
    for partition, records in stored.items():
        if given[partition] != records[: len(given[partition])]:
            faults["read other than stored"] += 1
    numbers = {record[2:] for record in consumer.records}
    faults["acknowledged but not stored or read"] += sum(
        len({(number, n) for _, number, n in records} - numbers) for records in stored.values()
    )


def self_test():
    """Feeds the judgement doctored runs; returns how many it judged wrongly."""
    wrong = 0
    for name, fault, client, doctor in _doctored():
        producers, consumer, stored, batches = _honest(idempotent=client in IDEMPOTENT)
        doctor(producers, consumer, stored, batches)
        faults, _ = judge(client, producers, consumer, stored, batches)
        right = faults[fault] > 0 if fault else not faults
        wrong += not right
        print(f"{'ok' if right else 'WRONG':6} {name:45} -> {', '.join(f'{k} {v}' for k, v in faults.items()) or 'clean'}")
    return wrong


class _Told:
    def __init__(self):
        self.acked, self.failed, self.records, self.errors = {}, {}, [], []


def _honest(idempotent):
    producers, consumer = [_Told(), _Told()], _Told()
    stored, batches = {p: [] for p in range(PARTITIONS)}, {p: [] for p in range(PARTITIONS)}
    for number, producer in enumerate(producers):
        for n in range(COUNT):
            partition = n % PARTITIONS
            offset = len(stored[partition])
            producer.acked[n] = (partition, offset)
            stored[partition].append((offset, number, n))
            batches[partition].append((offset, 0, number if idempotent else -1, 0, n // PARTITIONS, 0))
            consumer.records.append((partition, offset, number, n))
    return producers, consumer, stored, batches


def _doctored():
    def unread(p, c, s, b):
        c.records.pop()

    def skipped(p, c, s, b):
        del c.records[40]

    def twice(p, c, s, b):
        c.records.insert(41, c.records[40])

    def lost(p, c, s, b):
        record = s[0].pop()
        b[0].pop()
        c.records.remove((0, *record))

    def lost_many(p, c, s, b):
        for _ in range(LOST_MAX + 1):
            lost(p, c, s, b)

    def repeated(p, c, s, b):
        offset = len(s[0])
        s[0].append((offset, 1, 0))
        b[0].append((offset, *b[0][-1][1:]))
        c.records.append((0, offset, 1, 0))

    def swapped(p, c, s, b):
        s[0][3], s[0][4] = (3, *s[0][4][1:]), (4, *s[0][3][1:])

    def refused(p, c, s, b):
        p[0].failed[7] = "unknown topic"
        del p[0].acked[7]

    def known(p, c, s, b):
        p[0].failed[7] = "dial tcp 127.0.0.1:9092: connect: connection refused"
        del p[0].acked[7]

    def silent(p, c, s, b):
        del p[0].acked[7]

    def told(p, c, s, b):
        c.errors.append("not a leader")

    return [
        ("honest, idempotent", None, "java", lambda *_: None),
        ("honest", None, "sarama", lambda *_: None),
        ("not idempotent after all", "not as idempotent as expected", "librdkafka", lambda p, c, s, b: b[0].append((9**9, 0, 1, 0, 0, 0))),
        ("the last record is not read", "acknowledged but not stored or read", "java", unread),
        ("a consumer skips an offset", "read other than stored", "java", skipped),
        ("a consumer is given an offset twice", "read other than stored", "sarama", twice),
        ("an acknowledged record is not stored", "lost", "kafkajs", lost),
        ("many records of acks=1 lost", "lost", "aiokafka", lost_many),
        ("a repeat by a client that may", None, "sarama", repeated),
        ("a repeat by a client that may not", "duplicated", "java", repeated),
        ("another order by a client that may not", "reordered", "rskafka", swapped),
        ("a failure that the client is known for", None, "sarama", known),
        ("a few records of acks=1 lost", None, "aiokafka", lost),
        ("a failed record", "failed towards the application", "kafkajs", refused),
        ("a record of which nothing is told", "neither acknowledged nor failed", "kafkajs", silent),
        ("an error at the consumer", "errors told to the consumer", "kafkajs", told),
    ]


# ---- the table -----------------------------------------------------------------------------------------------------


def check(target, client, signals):
    """Runs and judges a client; returns its line of the table and whether it passed."""
    begin = time.monotonic()
    producers, consumer, problems, did = run(target, client, signals)
    bootstrap, topic = target.bootstrap(), f"clients-{client}"
    stored = workload.read_all(bootstrap, topic, PARTITIONS)
    faults, notes = judge(client, producers, consumer, stored, workload.stored(bootstrap, topic, PARTITIONS))
    problems += [f"{count} {name}" for name, count in faults.items()]
    if exits := target.unexpected_exits():
        problems.append(f"nodes stopped by themselves: {exits}")
    for example in [*list(producers[0].failed.items())[:2], *list(producers[1].failed.items())[:2], *consumer.errors[:3]]:
        print(f"   {client}: {str(example)[:300]}")
    version = next((p.result["version"] for p in (*producers, consumer) if p.result), "?")
    acked = " + ".join(f"{len(p.acked):,}" for p in producers)
    what = f"{acked} of {2 * COUNT:,} acknowledged, {len(consumer.records):,} read; {', '.join(did)}"
    what += "".join(f"; {count} {name}" for name, count in notes.items())
    passed = "no: " + "; ".join(problems) if problems else "yes"
    return (client, version, f"{what}; {time.monotonic() - begin:.0f} s", passed), not problems


def main():
    if sys.argv[1:] == ["--self-test"]:
        return 1 if self_test() else 0
    swap = "--swap" in sys.argv
    lines, failed = [], 0
    target = mesh.make(f"{os.environ['RUN_DIR']}/mesh", NODES)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    try:
        for i in target.ids():
            target.start(i)
        for i in target.ids():
            target.ready(i, 90)
        for client in [argument for argument in sys.argv[1:] if argument != "--swap"]:
            try:
                line, passed = check(target, client, SIGNALS if len(lines) % 2 == swap else SIGNALS[::-1])
            except Exception as error:  # whatever it is, the other clients still run
                where = traceback.extract_tb(error.__traceback__)[-1]
                line, passed = (client, "?", f"line {where.lineno}", f"no: {type(error).__name__}: {error}"), False
            failed += not passed
            lines.append(line)
            print(f"{'ok    ' if passed else 'FAILED'} {' | '.join(line)}", flush=True)
    finally:
        target.close()
    print(f"\n| client | version | what was run on {target.name} | passed |\n|---|---|---|---|")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    print(f"RESULT clients on {target.name}: {len(lines) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
