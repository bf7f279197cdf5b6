"""kafka-python; what a client program does is told in ../README.md."""
import json
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition, __version__

ABOUT = {"client": "kafka-python", "version": __version__}


def produce(bootstrap, topic, _partitions, producer_number, count, rate):
    told = {"acknowledged": 0, "failed": 0}

    def acknowledged(n):
        def callback(metadata):
            told["acknowledged"] += 1
            print(f"ack {n} {metadata.partition} {metadata.offset}", flush=True)

        return callback

    def failed(n):
        def errback(error):
            told["failed"] += 1
            print(f"failed {n} {error!r}", flush=True)

        return errback

    producer, begin = KafkaProducer(bootstrap_servers=bootstrap), time.monotonic()
    for n in range(count):
        time.sleep(max(0.0, begin + n / rate - time.monotonic()))
        key = n % 24
        future = producer.send(topic, f"{producer_number}:{key}:{n}:{'x' * 100}".encode(), key=str(key).encode())
        future.add_callback(acknowledged(n)).add_errback(failed(n))
    producer.flush()
    producer.close()
    print(json.dumps({**ABOUT, "sent": count, **told}))


def consume(bootstrap, topic, partitions, count):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    consumer.assign([TopicPartition(topic, p) for p in range(partitions)])
    consumer.seek_to_beginning()
    seen, consumed = set(), 0
    while len(seen) < count:
        for records in consumer.poll(timeout_ms=1000).values():
            for record in records:
                value = record.value.decode()
                print(f"record {record.partition} {record.offset} {record.key.decode()} {value}", flush=True)
                seen.add(value)
                consumed += 1
    consumer.close()
    print(json.dumps({**ABOUT, "consumed": consumed}))


what, bootstrap, topic, *numbers = sys.argv[1:]
{"produce": produce, "consume": consume}[what](bootstrap.split(","), topic, *map(int, numbers))
