"""What producers sent and were told, what was read back, and whether the two agree.

A record's value is `producer:partition:sequence:filler`; sequences count from 0 per producer and partition. A client library may
send a record again under a new producer epoch (librdkafka bumps its epoch after a timeout or an out-of-order answer and then repeats
what was in flight, its issue 4953). No broker can tell such a repeat from a new record, so repeats are counted apart when, and only when, the stored
batches show that the copies carry different epochs. Two copies under one epoch are the broker's fault, whatever the client did.
"""
from collections import Counter, defaultdict


class History:
    """Outcomes of produces, filled by delivery callbacks: acked[(producer, partition)][sequence] = offset or -1."""

    def __init__(self):
        self.sent = Counter()
        self.acked = defaultdict(dict)
        self.unknown = defaultdict(set)

    def acknowledged(self):
        return sum(len(v) for v in self.acked.values())

    def unresolved(self):
        return sum(self.sent.values()) - self.acknowledged() - sum(len(v) for v in self.unknown.values())


class Verdict:
    """Counts by name; `faults` must all be zero, `notes` are told."""

    def __init__(self):
        self.faults, self.notes, self.examples = Counter(), Counter(), []

    def fault(self, name, example):
        self.faults[name] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{name}: {example}")

    def ok(self):
        return not self.faults


FAULTS = ["lost", "duplicated", "reordered", "moved", "never sent", "offsets not ascending", "sequence gap", "sequence repeated"]


def check(history, read, batches):
    """Compares a history with what was read back.

    read[partition] = [(offset, producer, sequence)] in the order delivered; batches[partition] = stored batch headers
    (base offset, last delta, producer id, producer epoch, base sequence, codec) in offset order.
    """
    verdict = Verdict()
    epoch_at = {p: _epochs(headers) for p, headers in batches.items()}
    for partition, headers in batches.items():
        _check_sequences(verdict, partition, headers)
    seen = defaultdict(list)
    for partition, records in read.items():
        last_offset = -1
        for offset, producer, sequence in records:
            if offset <= last_offset:
                verdict.fault("offsets not ascending", f"partition {partition}: {offset} after {last_offset}")
            last_offset = offset
            seen[producer, partition].append((sequence, offset))
    for key, records in seen.items():
        _check_stream(verdict, history, key, records, epoch_at.get(key[1]))
    for key, acked in history.acked.items():
        present = {sequence for sequence, _ in seen.get(key, ())}
        for sequence in acked.keys() - present:
            verdict.fault("lost", f"producer {key[0]} partition {key[1]} sequence {sequence}, acknowledged at {acked[sequence]}")
    verdict.notes["read"] = sum(len(r) for r in read.values())
    return verdict


def _epochs(headers):
    bases = [(h[0], h[2], h[3]) for h in headers]
    index = {}
    for (base, pid, epoch), header in zip(bases, headers):
        for offset in range(base, base + header[1] + 1):
            index[offset] = (pid, epoch)
    return index


def _check_sequences(verdict, partition, headers):
    """Within one producer id and epoch the stored sequences are 0, 1, 2.. with neither gap nor repeat (KIP-98)."""
    expected = {}
    for base, last, pid, epoch, sequence, _ in headers:
        if pid < 0:
            continue
        want = expected.get((pid, epoch), 0)
        where = f"partition {partition} offset {base} producer id {pid} epoch {epoch}: sequence {sequence}, expected {want}"
        if sequence < want:
            verdict.fault("sequence repeated", where)
        elif sequence > want:
            verdict.fault("sequence gap", where)
        expected[pid, epoch] = max(want, sequence + last + 1)


def _check_stream(verdict, history, key, records, epochs):
    """Order and repeats of one producer on one partition."""
    producer, partition = key
    acked, sent = history.acked.get(key, {}), history.sent[key]
    first, highest, highest_epoch = {}, -1, None
    for sequence, offset in records:
        where = f"producer {producer} partition {partition} sequence {sequence} at {offset}"
        epoch = epochs.get(offset) if epochs else None
        if sequence >= sent:
            verdict.fault("never sent", where)
        elif sequence in first:
            _count(verdict, "duplicated", f"{where}, first at {first[sequence]}", epochs and epochs.get(first[sequence]), epoch)
        elif sequence < highest:
            _count(verdict, "reordered", f"{where}, after {highest}", highest_epoch, epoch)
        first.setdefault(sequence, offset)
        if sequence > highest:
            highest, highest_epoch = sequence, epoch
    at = set(records)
    for sequence, offset in acked.items():
        if offset >= 0 and sequence in first and (sequence, offset) not in at:
            where = f"producer {producer} partition {partition} sequence {sequence}"
            verdict.fault("moved", f"{where}: acknowledged at {offset}, read at {first[sequence]}")


def _count(verdict, name, where, one, other):
    if one and other and one != other:
        verdict.notes[f"{name} by the client under a new epoch"] += 1
    else:
        verdict.fault(name, where)


# ---- the checker can fail ------------------------------------------------------------------------------------------


def _honest():
    history, read, batches = History(), {}, {}
    for partition in range(2):
        records, headers = [], []
        for n in range(100):
            producer = n % 2
            sequence = n // 2
            history.sent[producer, partition] += 1
            history.acked[producer, partition][sequence] = n
            records.append((n, producer, sequence))
            headers.append((n, 0, producer, 0, sequence, 0))
        read[partition], batches[partition] = records, headers
    return history, read, batches


def _doctored():
    """(name, fault expected or None, doctor) of each deliberate damage."""

    def lose(h, r, b):
        del r[0][40]

    def lose_tail(h, r, b):
        del r[1][-1]

    def lose_partition(h, r, b):
        del r[1]

    def duplicate(h, r, b):
        r[0].append((100, 0, 7))
        b[0].append((100, 0, 0, 0, 50, 0))

    def repeat_batch(h, r, b):
        b[0].append((100, 0, 0, 0, 7, 0))

    def reorder(h, r, b):
        r[0][10], r[0][12] = (10, 0, 6), (12, 0, 5)
        h.acked[0, 0][5], h.acked[0, 0][6] = 12, 10

    def move(h, r, b):
        h.acked[0, 0][5] = 77

    def swap_offsets(h, r, b):
        r[0][3], r[0][4] = r[0][4], r[0][3]

    def invent(h, r, b):
        r[0].append((100, 0, 50))

    def gap(h, r, b):
        b[0][60:62] = []

    def unknown_once(h, r, b):
        h.sent[0, 0] += 1
        h.unknown[0, 0].add(50)
        r[0].append((100, 0, 50))
        b[0].append((100, 0, 0, 0, 50, 0))

    def unknown_never(h, r, b):
        h.sent[0, 0] += 1
        h.unknown[0, 0].add(50)

    def unknown_twice(h, r, b):
        unknown_once(h, r, b)
        r[0].append((101, 0, 50))
        b[0].append((101, 0, 0, 0, 51, 0))

    def client_repeats(h, r, b):
        r[0].append((100, 0, 49))
        b[0].append((100, 0, 0, 1, 0, 0))

    return [
        ("honest", None, lambda h, r, b: None),
        ("an acknowledged record is missing", "lost", lose),
        ("the last acknowledged record is missing", "lost", lose_tail),
        ("a whole partition is missing", "lost", lose_partition),
        ("a record is there twice", "duplicated", duplicate),
        ("a batch is stored twice", "sequence repeated", repeat_batch),
        ("two records changed places", "reordered", reorder),
        ("a record is not where it was acknowledged", "moved", move),
        ("offsets go back", "offsets not ascending", swap_offsets),
        ("a record that nobody sent", "never sent", invent),
        ("sequences with a hole", "sequence gap", gap),
        ("an unknown outcome is there once", None, unknown_once),
        ("an unknown outcome is not there", None, unknown_never),
        ("an unknown outcome is there twice", "duplicated", unknown_twice),
        ("the client repeats under a new epoch", None, client_repeats),
    ]


def self_test():
    """Feeds the checker doctored histories; returns how many it judged wrongly."""
    wrong = 0
    for name, fault, doctor in _doctored():
        history, read, batches = _honest()
        doctor(history, read, batches)
        verdict = check(history, read, batches)
        right = verdict.ok() if fault is None else verdict.faults[fault] > 0
        wrong += not right
        found = ", ".join(f"{k} {v}" for k, v in verdict.faults.items()) or "clean"
        print(f"{'ok' if right else 'WRONG':6} {name:45} -> {found}")
    return wrong
