"""confluent-kafka (librdkafka in Python); what a client program does is told in ../README.md."""
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition, __version__, libversion

ABOUT = {"client": "confluent-kafka", "version": f"{__version__} (librdkafka {libversion()[0]})"}


def produce(bootstrap, topic, _partitions, producer_number, count, rate):
    told = {"acknowledged": 0, "failed": 0}

    def delivered(n):
        def on_delivery(error, message):
            told["failed" if error else "acknowledged"] += 1
            print(f"failed {n} {error}" if error else f"ack {n} {message.partition()} {message.offset()}", flush=True)

        return on_delivery

    producer, begin = Producer({"bootstrap.servers": bootstrap}), time.monotonic()
    for n in range(count):
        while (wait := begin + n / rate - time.monotonic()) > 0:
            producer.poll(wait)
        key = n % 24
        producer.produce(topic, f"{producer_number}:{key}:{n}:{'x' * 100}", str(key), on_delivery=delivered(n))
    producer.flush()
    print(json.dumps({**ABOUT, "sent": count, **told}))


def consume(bootstrap, topic, partitions, count):
    # librdkafka insists on a group's name, which nothing uses here, and would commit to it.
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    seen, consumed = set(), 0
    while len(seen) < count:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            print(f"error {message.error()}", flush=True)
            continue
        value = message.value().decode()
        print(f"record {message.partition()} {message.offset()} {message.key().decode()} {value}", flush=True)
        seen.add(value)
        consumed += 1
    consumer.close()
    print(json.dumps({**ABOUT, "consumed": consumed}))


what, bootstrap, topic, *numbers = sys.argv[1:]
{"produce": produce, "consume": consume}[what](bootstrap, topic, *map(int, numbers))
