"""Writes one record at a time to each node every 20 ms (unless told otherwise), by hand and with acks=all, and keeps when which node acknowledged one.

No client library stands between: each node is asked, whoever leads, so what is seen is how long nobody took writes, and not how long somebody
needed to find out who does. What was acknowledged goes into a history, for the reading back.
"""
import threading
import time
from collections import Counter

import frames
import wire

# Producers of a load have lower numbers.
FIRST_KEY = 1000
# Of names that tests compare; the rest is told by number.
ERRORS = {6: "NOT_LEADER_OR_FOLLOWER", 7: "REQUEST_TIMED_OUT", 19: "NOT_ENOUGH_REPLICAS", 3: "UNKNOWN_TOPIC_OR_PARTITION", 5: "LEADER_NOT_AVAILABLE"}


class Prober:
    """One thread for each of addresses = {node: host:port}; writes to one partition until stopped."""

    def __init__(self, addresses, topic, partition, history, lock, patience_s=5.0, every_s=0.02):
        self.topic, self.partition, self.history, self.lock = topic, partition, history, lock
        self.patience_s, self.every_s = patience_s, every_s
        self.acks, self.answers, self.stopping = [], [], threading.Event()
        self.connections = 0
        self.threads = [threading.Thread(target=self._probe, args=one, daemon=True) for one in addresses.items()]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _probe(self, node, address):
        connection, key, due = None, None, time.monotonic()
        while not self.stopping.is_set():
            due = max(due + self.every_s, time.monotonic())
            try:
                if connection is None:
                    connection = wire.Connection(address, self.patience_s)
                    key = self._new_key()
                self._write(node, connection, key)
            except (OSError, EOFError) as error:
                self._answered(node, type(error).__name__)
                if connection:
                    connection.close()
                connection = None
            self.stopping.wait(max(0.0, due - time.monotonic()))
        if connection:
            connection.close()

    def _new_key(self):
        """Each connection is a producer of its own in the history: nothing orders what two of them send."""
        with self.lock:
            self.connections += 1
            return FIRST_KEY + self.connections, self.partition

    def _write(self, node, connection, key):
        with self.lock:
            sequence = self.history.sent[key]
            self.history.sent[key] += 1
            self.history.unknown[key].add(sequence)
        data = frames.batch(frames.record(b"%d:%d:%d:" % (*key, sequence)), time_ms=time.time_ns() // 1_000_000)
        sent = time.monotonic()
        error, offset = connection.produce(self.topic, self.partition, data, timeout_ms=int(self.patience_s * 1000))
        answered = time.monotonic()
        if error:
            self._answered(node, ERRORS.get(error, str(error)))
            return
        with self.lock:
            self.history.unknown[key].discard(sequence)
            self.history.acked[key][sequence] = offset
            self.acks.append((sent, answered, node))
        self._answered(node, "acknowledged")

    def _answered(self, node, what):
        with self.lock:
            self.answers.append((time.monotonic(), node, what))

    def leader(self):
        """Who acknowledged last; None unless that was just now."""
        with self.lock:
            _, answered, node = self.acks[-1] if self.acks else (0, 0, None)
        return node if time.monotonic() - answered < 5 * self.every_s else None

    def next_after(self, when):
        """Seconds until a write that was sent after that moment was acknowledged; None as long as there is none."""
        with self.lock:
            return next((answered - when for sent, answered, _ in reversed(self._since(when)) if sent >= when), None)

    def since(self, when):
        """[(sent, answered, node)] of the acknowledgements since then, the newest first."""
        with self.lock:
            return self._since(when)

    def _since(self, when):
        out = []
        for ack in reversed(self.acks):
            if ack[1] < when:
                break
            out.append(ack)
        return out

    def longest_gap(self, begin, end):
        """The longest time between two acknowledgements, of which the second came in that time."""
        with self.lock:
            at = [answered for _, answered, _ in self._since(begin - 10 * self.every_s) if answered <= end]
        return max((later - earlier for later, earlier in zip(at, at[1:]) if later > begin), default=end - begin)

    def answered(self, node, begin, end):
        """How often the node answered what in that time."""
        with self.lock:
            return Counter(what for at, who, what in self.answers if who == node and begin <= at <= end)
