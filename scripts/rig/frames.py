"""Kafka requests by hand, well-formed, for those who then spoil them: the oldest plain version of each API that rafka serves."""
import gzip
import random
import struct


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def frame(key, version, body, correlation=7):
    header = struct.pack(">hhi", key, version, correlation) + text("hostile")
    return struct.pack(">i", len(header) + len(body)) + header + body


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _table():
    out = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ 0x82F63B78 if n & 1 else n >> 1
        out.append(n)
    return out


CRC_TABLE = _table()


def batch(records=b"", count=1, attributes=0, last_delta=None, producer=(-1, -1, -1), time_ms=0):
    """A record batch of magic 2 with a right CRC, whatever it says of its records. Of 1970 unless told: retention takes those."""
    last_delta = count - 1 if last_delta is None else last_delta
    body = struct.pack(">hiqqqhii", attributes, last_delta, time_ms, time_ms, *producer, count) + records
    return struct.pack(">qiib", 0, len(body) + 9, -1, 2) + struct.pack(">I", crc32c(body)) + body


def record(value=b"x" * 20):
    body = bytes([0, 0, 0, 1]) + bytes([len(value) * 2]) + value + b"\0"
    return bytes([len(body) * 2]) + body


def produce(topic, data, acks=-1, partition=0):
    part = struct.pack(">ii", partition, len(data)) + data
    return frame(0, 3, struct.pack(">hhi", -1, acks, 1000) + array([text(topic) + array([part])]))


def fetch(topic, max_bytes, offset=0):
    part = array([text(topic) + array([struct.pack(">iqi", 0, offset, max_bytes)])])
    return frame(1, 4, struct.pack(">iiiib", -1, 0, 1, max_bytes, 0) + part)


def bomb():
    """16 MiB of zeros in 16 KiB of gzip, as one batch."""
    return batch(gzip.compress(bytes(16 << 20)), count=1000, attributes=1)


def well_formed(topic):
    partition = lambda layout, *values: array([text(topic) + array([struct.pack(layout, *values)])])
    return [
        frame(18, 0, b""),
        frame(3, 1, array([text(topic)])),
        frame(3, 1, struct.pack(">i", -1)),
        produce(topic, batch(record())),
        produce(topic, batch(record(), producer=(1, 0, 0))),
        fetch(topic, 1 << 20),
        frame(2, 1, struct.pack(">i", -1) + partition(">iq", 0, -1)),
        frame(19, 2, array([text("made-by-the-hostile") + struct.pack(">ih", 1, 9) + array([]) + array([])]) + struct.pack(">ib", 100, 1)),
        frame(20, 1, array([text("there is none")]) + struct.pack(">i", 100)),
        frame(22, 0, struct.pack(">hi", -1, 1000)),
        frame(23, 2, partition(">iii", 0, -1, 0)),
        frame(32, 1, array([b"\2" + text(topic) + struct.pack(">i", -1)]) + b"\0"),
        frame(10, 1, text("group") + b"\0"),
    ]


def batches_that_lie(topic):
    return [
        produce(topic, batch(record(), count=1000)),
        produce(topic, batch(record(), count=2**31 - 1)),
        produce(topic, batch(record(), count=-5)),
        produce(topic, batch(record(), last_delta=2**31 - 1)),
        produce(topic, batch(record(), attributes=1 << 5)),
        produce(topic, batch(record(), attributes=(1 << 5) | (1 << 4))),
        produce(topic, batch(record(), attributes=7)),
        produce(topic, batch(b"", count=0)),
        produce(topic, batch(record())[:-3]),
        produce(topic, bytes(61)),
        produce(topic, bomb()),
    ]


def spoil(source, rng: random.Random):
    """One frame made wrong: bits flipped, cut short, a length inflated, or all of it random."""
    data = bytearray(rng.choice(source))
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(4, len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data = data[: rng.randrange(5, len(data) + 1)]
        data[:4] = struct.pack(">i", len(data) - 4)
    elif kind == 2:
        at = rng.randrange(12, max(13, len(data) - 4))
        data[at : at + 4] = struct.pack(">i", rng.choice([2**31 - 1, 2**30, 1 << 24, len(data), -2]))
        data[:4] = struct.pack(">i", len(data) - 4)
    else:
        data[4:] = rng.randbytes(len(data) - 4)
        if rng.random() < 0.3:
            data[:4] = rng.randbytes(4)
    return bytes(data)
