"""aiokafka; what a client program does is told in ../README.md."""
import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, __version__

ABOUT = {"client": "aiokafka", "version": __version__}


async def produce(bootstrap, topic, _partitions, producer_number, count, rate):
    told = {"acknowledged": 0, "failed": 0}

    def answered(n, future):
        if error := future.exception():
            told["failed"] += 1
            print(f"failed {n} {error!r}", flush=True)
        else:
            told["acknowledged"] += 1
            print(f"ack {n} {future.result().partition} {future.result().offset}", flush=True)

    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    clock = asyncio.get_running_loop().time
    begin = clock()
    for n in range(count):
        await asyncio.sleep(begin + n / rate - clock())
        key = n % 24
        future = await producer.send(topic, f"{producer_number}:{key}:{n}:{'x' * 100}".encode(), key=str(key).encode())
        future.add_done_callback(lambda future, n=n: answered(n, future))
    await producer.flush()
    await producer.stop()
    print(json.dumps({**ABOUT, "sent": count, **told}))


async def consume(bootstrap, topic, partitions, count):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    consumer.assign([TopicPartition(topic, p) for p in range(partitions)])
    await consumer.seek_to_beginning()
    seen, consumed = set(), 0
    while len(seen) < count:
        record = await consumer.getone()
        value = record.value.decode()
        print(f"record {record.partition} {record.offset} {record.key.decode()} {value}", flush=True)
        seen.add(value)
        consumed += 1
    await consumer.stop()
    print(json.dumps({**ABOUT, "consumed": consumed}))


what, bootstrap, topic, *numbers = sys.argv[1:]
asyncio.run({"produce": produce, "consume": consume}[what](bootstrap, topic, *map(int, numbers)))
