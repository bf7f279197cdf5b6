"""Consumer groups by real clients, for client_ring.py: each function is a check of its own, on Apache Kafka as well."""
import json
import os
import subprocess
import threading
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition

import mesh
import workload

SETTINGS = {"auto.offset.reset": "earliest", "session.timeout.ms": 10_000, "heartbeat.interval.ms": 1_000, **workload.QUIET}


def member(ring, group, topic, **config):
    """A subscribed member of a group that commits when it is told to."""
    settings = {"bootstrap.servers": ring.bootstrap, "group.id": group, "enable.auto.commit": False, **SETTINGS, **config}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    return consumer


def drain(consumer, count, seconds=60):
    """Values by (partition, offset), until there are so many."""
    read, until = {}, time.monotonic() + seconds
    while len(read) < count:
        assert time.monotonic() < until, f"{len(read)} of {count} records after {seconds} s"
        message = consumer.poll(0.2)
        if message is not None and not message.error():
            read[message.partition(), message.offset()] = message.value()
    return read


def committed(ring, group, topic, partitions):
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in range(partitions)])
    found = ring.admin.list_consumer_group_offsets([asked])[group].result(30)
    return {part.partition: part.offset for part in found.topic_partitions}


def fill(ring, topic, partitions, count, first=0):
    ring.send(topic, [(n % partitions, None, b"%d" % n, None) for n in range(first, first + count)])


def goes_on_where_it_was(ring, same):
    topic, group = ring.topic(3), "group-on"
    fill(ring, topic, 3, 300)
    first = member(ring, group, topic)
    read = drain(first, 300)
    same("values", {b"%d" % n for n in range(300)}, set(read.values()))
    first.commit(asynchronous=False)
    first.close()
    same("committed", {0: 100, 1: 100, 2: 100}, committed(ring, group, topic, 3))
    fill(ring, topic, 3, 30, 300)
    second = member(ring, group, topic)
    same("values since", {b"%d" % n for n in range(300, 330)}, set(drain(second, 30).values()))
    second.close()


def members_share(ring, same):
    topic, group = ring.topic(4), "group-share"
    fill(ring, topic, 4, 4)
    one, two = (member(ring, group, topic, **{"client.id": name}) for name in ("one", "two"))

    def shared():
        one.poll(0.1), two.poll(0.1)
        mine, theirs = ({part.partition for part in consumer.assignment()} for consumer in (one, two))
        return len(mine) == len(theirs) == 2 and mine | theirs == set(range(4))

    mesh.wait_until("two members with two partitions each", 60, shared)
    two.close()
    mesh.wait_until("one member with all", 60, lambda: one.poll(0.1) or len(one.assignment()) == 4)
    one.close()


def cooperative_members_share(ring, same):
    topic, group = ring.topic(4), "group-cooperative"
    config = {"partition.assignment.strategy": "cooperative-sticky"}
    one = member(ring, group, topic, **config)
    mesh.wait_until("one member with all", 60, lambda: one.poll(0.1) or len(one.assignment()) == 4)
    two = member(ring, group, topic, **config)

    def shared():
        one.poll(0.1), two.poll(0.1)
        return len(one.assignment()) == len(two.assignment()) == 2

    mesh.wait_until("two members with two partitions each", 60, shared)
    one.close(), two.close()


def static_member_returns(ring, same):
    topic, group = ring.topic(2), "group-static"
    one = member(ring, group, topic, **{"group.instance.id": "i-1", "session.timeout.ms": 30_000})
    mesh.wait_until("its share", 60, lambda: one.poll(0.1) or len(one.assignment()) == 2)
    one.close()
    again = member(ring, group, topic, **{"group.instance.id": "i-1", "session.timeout.ms": 30_000})
    began = time.monotonic()
    mesh.wait_until("its share again", 20, lambda: again.poll(0.1) or len(again.assignment()) == 2)
    again.close()
    return f"its share came back after {time.monotonic() - began:.1f} s"


def through_restarts(ring, same):
    """Records are written and consumed by two members while each node is restarted, the last one killed."""
    topic, group, target = ring.topic(3), "group-restarts", ring.target
    seen, stop, errors = {}, threading.Event(), []

    def consume():
        consumer = member(ring, group, topic)
        try:
            while not stop.is_set():
                message = consumer.poll(0.2)
                if message is None or message.error():
                    continue
                seen[message.value()] = seen.get(message.value(), 0) + 1
                try:
                    consumer.commit(message, asynchronous=False)
                except Exception as error:  # a rebalance took the partition: somebody else reads it again
                    errors.append(str(error))
        finally:
            consumer.close()

    threads = [threading.Thread(target=consume) for _ in range(2)]
    [thread.start() for thread in threads]
    count = 0
    try:
        for i in target.ids():
            fill(ring, topic, 3, 60, count)
            count += 60
            if i == 3:
                target.kill(i)
            else:
                assert target.stop(i), "no clean stop"
            fill(ring, topic, 3, 60, count)
            count += 60
            target.start(i)
            target.ready(i, 90)
        mesh.wait_until("every record is consumed", 90, lambda: len(seen) == count)
        ends = {0: count // 3, 1: count // 3, 2: count // 3}
        mesh.wait_until("all of it is committed", 60, lambda: committed(ring, group, topic, 3) == ends)
    finally:
        stop.set()
        [thread.join() for thread in threads]
    same("values", {b"%d" % n for n in range(count)}, set(seen))
    return f"{count} records, {sum(seen.values()) - count} of them twice, {len(errors)} commits refused"


def by_kcat(ring, same):
    topic, group = ring.topic(2), "group-kcat"
    fill(ring, topic, 2, 20)
    out = subprocess.run(
        ["kcat", "-b", ring.bootstrap, "-q", "-X", "auto.offset.reset=earliest", "-c", "20", "-G", group, topic],
        capture_output=True, timeout=90, check=False, stdin=subprocess.DEVNULL,
    )
    assert out.returncode == 0, out.stderr.decode()[-500:]
    same("values", {b"%d" % n for n in range(20)}, set(out.stdout.split()))


def by_java_tools(ring, same):
    topic, group = ring.topic(2), "group-java"
    fill(ring, topic, 2, 20)
    at = ["--bootstrap-server", ring.bootstrap]
    out = ring.java("consume", *at, "--topic", topic, "--group", group, "--from-beginning", "--max-messages", 20,
                    "--timeout-ms", 60_000)
    same("values", {str(n) for n in range(20)}, {line for line in out.splitlines() if line.isdigit()})
    assert group in ring.java("groups", *at, "--list").split()
    described = ring.java("groups", *at, "--describe", "--group", group)
    rows = [line.split() for line in described.splitlines() if line.startswith(group)]
    same("partition, committed, end, lag", {("0", "10", "10", "0"), ("1", "10", "10", "0")}, {tuple(row[2:6]) for row in rows})
    state = ring.java("groups", *at, "--describe", "--group", group, "--state")
    assert "Empty" in state, state
    ring.java("groups", *at, "--group", group, "--topic", topic, "--reset-offsets", "--to-offset", 4, "--execute")
    same("offsets after the reset", {0: 4, 1: 4}, committed(ring, group, topic, 2))
    ring.java("groups", *at, "--group", group, "--topic", topic, "--delete-offsets")
    same("offsets after their deletion", {0: -1001, 1: -1001}, committed(ring, group, topic, 2))
    ring.java("groups", *at, "--delete", "--group", group)
    assert group not in ring.java("groups", *at, "--list").split()


def by_verifiable_consumer(ring, same):
    topic, group = ring.topic(3), "group-verifiable"
    fill(ring, topic, 3, 90)
    command = [mesh.KAFKA_SH, "tool", os.environ["KAFKA_DIR"], "verify-consume", "--bootstrap-server", ring.bootstrap,
               "--topic", topic, "--group-id", group, "--max-messages", "90", "--reset-policy", "earliest"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    read = sum(event.get("count", 0) for event in events if event["name"] == "records_consumed")
    assert read >= 90, f"{read} records; {done.stderr[-500:]}"
    assert all(event["success"] for event in events if event["name"] == "offsets_committed"), events
    same("committed", {0: 30, 1: 30, 2: 30}, committed(ring, group, topic, 3))


CHECKS = {
    "a group goes on where it was": goes_on_where_it_was,
    "the members of a group share its partitions": members_share,
    "the members of a group share cooperatively": cooperative_members_share,
    "a static member of a group returns": static_member_returns,
    "a group consumes while every node is restarted": through_restarts,
    "a group of kcat": by_kcat,
    "a group by Kafka's Java tools": by_java_tools,
    "a group of kafka-verifiable-consumer": by_verifiable_consumer,
}
