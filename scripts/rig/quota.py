"""See ../quota.sh."""
import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition

import mesh
import workload

TOLERANCE = 0.10
RECORD = 1_000
RESULTS = []


def tool(name, *arguments, seconds=240):
    command = [mesh.KAFKA_SH, "tool", os.environ["KAFKA_DIR"], name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{name} {arguments}: {(done.stdout + done.stderr)[-800:]}"
    return done.stdout + done.stderr


class Quotas:
    """Set and taken back by Kafka's own tool."""

    def __init__(self, bootstrap):
        self.server = ["--bootstrap-server", bootstrap]

    def alter(self, entity, add=None, delete=None):
        change = ["--add-config", add] if add else ["--delete-config", delete]
        tool("configs", *self.server, "--alter", *entity, *change)

    def described(self, entity):
        return tool("configs", *self.server, "--describe", *entity)


def told(what, bytes_per_s, rate, errors, throttle_ms, limited=True):
    off = bytes_per_s / rate - 1
    good = abs(off) <= TOLERANCE if limited else bytes_per_s > 3 * rate
    verdict = "ok" if good and not errors else "FAILED"
    bound = f"quota {rate / 1e6:.2f} MB/s, {off:+.1%}" if limited else "no quota"
    print(f"RESULT {what}: {bytes_per_s / 1e6:.3f} MB/s, {bound}, longest throttle {throttle_ms} ms, {errors} error(s): {verdict}", flush=True)
    RESULTS.append(verdict == "ok")


def java_produce(bootstrap, topic, client, seconds, rate, limited=True):
    """Kafka's own producer, told to send as fast as it can; it says itself what it was throttled."""
    count = int(rate * seconds * (1 if limited else 6) / RECORD)
    began = time.monotonic()
    text = tool("perf-produce", "--topic", topic, "--num-records", count, "--record-size", RECORD, "--throughput", -1, "--print-metrics",
                "--command-property" if "--command-property" in HELP else "--producer-props", f"bootstrap.servers={bootstrap}", f"client.id={client}",
                "acks=all", seconds=seconds * 6)
    took = time.monotonic() - began
    errors = len(re.findall(r"(?i)exception|error", text))
    throttled = re.search(r"produce-throttle-time-max[^:]*: *([0-9.]+)", text)
    # What the tool sums up excludes the start of its virtual machine.
    rates = re.findall(r"\(([0-9.]+) MB/sec\)", text)
    bytes_per_s = float(rates[-1]) * (1 << 20) if rates else count * RECORD / took
    told(f"Java producer, {client}", bytes_per_s, rate, errors, int(float(throttled[1])) if throttled else "?", limited)


HELP = "--producer-props"


class Told:
    """What librdkafka says of itself."""

    def __init__(self):
        self.errors, self.throttle_ms = 0, 0

    def settings(self):
        return {"statistics.interval.ms": 500, "stats_cb": self._stats, "error_cb": self._error, **workload.QUIET}

    def _stats(self, text):
        for broker in json.loads(text)["brokers"].values():
            self.throttle_ms = max(self.throttle_ms, broker.get("throttle", {}).get("max", 0))

    def _error(self, _error):
        self.errors += 1


def python_produce(bootstrap, topic, client, seconds, rate, limited=True):
    """librdkafka, acknowledged bytes over the time."""
    heard, acked = Told(), [0]

    def delivered(error, message):
        if error:
            heard.errors += 1
        else:
            acked[0] += len(message.value())

    producer = Producer({"bootstrap.servers": bootstrap, "client.id": client, "linger.ms": 20, "queue.buffering.max.kbytes": 8_192,
                         "message.timeout.ms": 120_000, **heard.settings()})
    value, began = os.urandom(RECORD), time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            producer.produce(topic, value, partition=0, on_delivery=delivered)
            producer.poll(0)
        except BufferError:
            producer.poll(0.05)
    got, took = acked[0], time.monotonic() - began
    left = producer.flush(120)
    heard.errors += left
    told(f"librdkafka producer, {client}", got / took, rate, heard.errors, heard.throttle_ms, limited)


def fill(bootstrap, topic, size):
    producer = Producer({"bootstrap.servers": bootstrap, "client.id": "filler", "linger.ms": 50, **workload.QUIET})
    value = os.urandom(RECORD)
    for _ in range(size // RECORD):
        while True:
            try:
                producer.produce(topic, value, partition=0)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0


def python_consume(bootstrap, topic, client, seconds, rate, limited=True):
    heard = Told()
    consumer = Consumer({"bootstrap.servers": bootstrap, "client.id": client, "group.id": "unused", "enable.auto.commit": False,
                         "fetch.message.max.bytes": 262_144, "queued.max.messages.kbytes": 1024, **heard.settings()})
    consumer.assign([TopicPartition(topic, 0, 0)])
    got, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        for message in consumer.consume(500, 0.2):
            if message.error():
                heard.errors += 1
            else:
                got += len(message.value())
                if message.offset() % 10_000 == 0 and not limited:
                    consumer.seek(TopicPartition(topic, 0, message.offset() + 1))
    took = time.monotonic() - began
    consumer.close()
    told(f"librdkafka consumer, {client}", got / took, rate, heard.errors, heard.throttle_ms, limited)


def java_consume(bootstrap, topic, client, seconds, rate):
    """Kafka's console consumer by partition; its output is counted over the time."""
    command = [mesh.KAFKA_SH, "tool", os.environ["KAFKA_DIR"], "consume", "--bootstrap-server", bootstrap, "--topic", topic, "--partition", "0",
               "--offset", "0", "--consumer-property", f"client.id={client}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    complaints = []
    threading.Thread(target=lambda: complaints.extend(process.stderr), daemon=True).start()
    first = process.stdout.read1(1 << 16)
    got, began = len(first), time.monotonic()
    while time.monotonic() - began < seconds:
        got += len(process.stdout.read1(1 << 16))
    took = time.monotonic() - began
    process.kill()
    process.wait()
    errors = sum(b"ERROR" in line or b"xception" in line for line in complaints)
    told(f"Java consumer, {client}", got / took, rate, errors, "?")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=1_000_000)
    options = mesh.parse(parser)
    target = mesh.make(f"{os.environ['RUN_DIR']}/nodes", 3)
    seconds, rate = options.seconds, options.rate
    try:
        for i in target.ids():
            target.start(i)
        for i in target.ids():
            target.ready(i)
        bootstrap = target.bootstrap()
        print(f"{target.name or 'rafka'}, {target.nodes} nodes, one partition with three replicas, {seconds} s each", flush=True)
        for topic in ("written", "read"):
            workload.create_topic(bootstrap, topic, 1, 3)
        fill(bootstrap, "read", int(rate * seconds * 1.6))
        quotas = Quotas(bootstrap)
        of_client, of_others = ["--entity-type", "clients", "--entity-name", "by-name"], ["--entity-type", "clients", "--entity-default"]
        of_user = ["--entity-type", "users", "--entity-name", "ANONYMOUS"]
        both = f"producer_byte_rate={rate},consumer_byte_rate={rate}"
        java_produce(bootstrap, "written", "by-name", seconds, rate, limited=False)
        quotas.alter(of_client, add=both)
        text = quotas.described(of_client)
        assert "producer_byte_rate" in text and str(rate) in text, text
        java_produce(bootstrap, "written", "by-name", seconds, rate)
        python_produce(bootstrap, "written", "by-name", seconds, rate)
        java_consume(bootstrap, "read", "by-name", seconds, rate)
        python_consume(bootstrap, "read", "by-name", seconds, rate)
        quotas.alter(of_client, delete="producer_byte_rate,consumer_byte_rate")
        quotas.alter(of_others, add=both)
        python_produce(bootstrap, "written", "by-default", seconds, rate)
        quotas.alter(of_user, add=f"producer_byte_rate={2 * rate}")
        python_produce(bootstrap, "written", "by-user", seconds, 2 * rate)
        quotas.alter(of_user, delete="producer_byte_rate")
        quotas.alter(of_others, delete="producer_byte_rate,consumer_byte_rate")
        python_produce(bootstrap, "written", "by-default", 10, rate, limited=False)
        assert not target.unexpected_exits(), target.unexpected_exits()
    finally:
        target.close()
    good = all(RESULTS) and RESULTS
    print(f"{sum(RESULTS)} of {len(RESULTS)} as they should be", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
