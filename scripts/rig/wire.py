"""A few Kafka requests by hand: what client libraries hide (producer ids and sequences of stored batches, error codes of one node)."""
import socket
import struct

NOT_LEADER = 6


def _string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


class Reader:
    """Reads big-endian fields in order."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        if self.at > len(self.data):
            raise EOFError("answer is cut short")
        return self.data[self.at - n : self.at]

    def i8(self):
        return struct.unpack(">b", self.take(1))[0]

    def i16(self):
        return struct.unpack(">h", self.take(2))[0]

    def i32(self):
        return struct.unpack(">i", self.take(4))[0]

    def i64(self):
        return struct.unpack(">q", self.take(8))[0]

    def string(self):
        n = self.i16()
        return None if n < 0 else self.take(n).decode()


class Connection:
    """One blocking connection to one node: address is host:port."""

    def __init__(self, address, timeout_s=30):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout_s)
        self.correlation = 0

    def close(self):
        self.socket.close()

    def _exactly(self, n):
        out = bytearray()
        while len(out) < n:
            more = self.socket.recv(min(1 << 20, n - len(out)))
            if not more:
                raise ConnectionError("closed by the node")
            out += more
        return bytes(out)

    def call(self, key, version, body):
        self.correlation += 1
        frame = struct.pack(">hhi", key, version, self.correlation) + _string("rig") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        answer = Reader(self._exactly(struct.unpack(">i", self._exactly(4))[0]))
        assert answer.i32() == self.correlation, "answers out of order"
        return answer

    def metadata(self, topic):
        """({node id: address}, {partition: leader id or -1}, topic error)."""
        r = self.call(3, 1, struct.pack(">i", 1) + _string(topic))
        nodes, leaders, error = {}, {}, 0
        for _ in range(r.i32()):
            node = r.i32()
            nodes[node] = f"{r.string()}:{r.i32()}"
            r.string()
        r.i32()
        for _ in range(r.i32()):
            error = r.i16()
            r.string(), r.i8()
            for _ in range(r.i32()):
                r.i16()
                partition, leader = r.i32(), r.i32()
                for _ in range(2):
                    for _ in range(r.i32()):
                        r.i32()
                leaders[partition] = leader
        return nodes, leaders, error

    def produce(self, topic, partition, batch, acks=-1, timeout_ms=30_000):
        """(error code, base offset) of Produce 7."""
        body = _string(None) + struct.pack(">hii", acks, timeout_ms, 1) + _string(topic)
        r = self.call(0, 7, body + struct.pack(">iii", 1, partition, len(batch)) + batch)
        r.i32(), r.string(), r.i32(), r.i32()
        return r.i16(), r.i64()

    def fetch(self, topic, partition, offset, partition_bytes=1 << 20):
        """(error code, high watermark, log start, record batches) of Fetch 11."""
        body = struct.pack(">iiiibiii", -1, 200, 1, 50 << 20, 0, 0, -1, 1) + _string(topic)
        body += struct.pack(">iiiqqi", 1, partition, -1, offset, -1, partition_bytes) + struct.pack(">i", 0) + _string("")
        r = self.call(1, 11, body)
        r.i32(), r.i16(), r.i32(), r.i32()
        r.string(), r.i32(), r.i32()
        error, high, _, start = r.i16(), r.i64(), r.i64(), r.i64()
        for _ in range(max(0, r.i32())):
            r.i64(), r.i64()
        r.i32()
        return error, high, start, r.take(max(0, r.i32()))


def batches(data):
    """Headers of whole v2 batches: (base offset, last offset delta, producer id, producer epoch, base sequence, codec)."""
    at = 0
    while at + 61 <= len(data):
        base, length = struct.unpack_from(">qi", data, at)
        if at + 12 + length > len(data):
            return
        attributes, last = struct.unpack_from(">hi", data, at + 21)
        pid, epoch, sequence = struct.unpack_from(">qhi", data, at + 43)
        yield base, last, pid, epoch, sequence, attributes & 7
        at += 12 + length


def stored_batches(bootstrap, topic, partition):
    """Headers of all stored batches of a partition, read from its leader."""
    ask = Connection(bootstrap.split(",")[0])
    nodes, leaders, _ = ask.metadata(topic)
    ask.close()
    leader = Connection(nodes[leaders[partition]])
    out, offset = [], None
    _, high, start, _ = leader.fetch(topic, partition, 0)
    offset = start
    while offset < high:
        error, _, _, data = leader.fetch(topic, partition, offset)
        if error:
            raise RuntimeError(f"fetch of {topic}-{partition} at {offset}: error {error}")
        before = offset
        for header in batches(data):
            if header[0] + header[1] >= offset:
                out.append(header)
                offset = header[0] + header[1] + 1
        if offset == before:
            raise RuntimeError(f"{topic}-{partition}: no whole batch at {offset}, watermark {high}")
    leader.close()
    return out
