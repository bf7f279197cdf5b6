"""Where keys land: judges lines of `partition TAB offset TAB key TAB value` against Kafka's own rule.

  spread.py vectors                       the hash against values that Kafka's own tests hold
  spread.py keyed PARTITIONS FILE         every key in the partition that Java's DefaultPartitioner gives it, in order
  spread.py same FILE FILE                the same key in the same partition in both
  spread.py even PARTITIONS FILE MOST     no partition further from its share than MOST per cent
  spread.py turns PARTITIONS FILE         record N in partition N modulo PARTITIONS
  spread.py moved FROM TO FILE            how many keys would move if partitions were added

Exit code 1 on any difference.
"""
import collections
import sys

# org.apache.kafka.common.utils.UtilsTest.testMurmur2.
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def murmur2(data):
    """MurmurHash2 by Austin Appleby, 32 bits, seed 0x9747b28c, as an int32: what Java's clients hash keys with."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return h - (1 << 32) if h >> 31 else h


def java_partition(key, partitions):
    """BuiltInPartitioner.partitionForKey: toPositive(murmur2(key)) % partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def lines(path):
    with open(path, "rb") as file:
        for line in file:
            partition, offset, key, value = line.rstrip(b"\n").split(b"\t", 3)
            yield int(partition), int(offset), key, value


def bars(counts, partitions):
    total = sum(counts.values())
    most = max(counts.values(), default=1)
    for p in range(partitions):
        share = counts[p] * 100 / max(total, 1)
        print(f"  partition {p:2}  {counts[p]:7}  {share:5.2f}%  {'#' * round(counts[p] * 40 / most)}")
    expected = total / partitions
    worst = max(abs(counts[p] - expected) for p in range(partitions)) * 100 / max(expected, 1)
    print(f"  {total} records, {expected:.1f} a partition if even; furthest from it {worst:.2f}%")
    return worst


def vectors():
    wrong = {key: (want, murmur2(key)) for key, want in VECTORS.items() if murmur2(key) != want}
    print(f"  {len(VECTORS) - len(wrong)} of {len(VECTORS)} hashes are those of Kafka's own tests, such as murmur2(foobar) = {murmur2(b'foobar')}")
    return not wrong


def keyed(partitions, path):
    counts, seen, keys, last = collections.Counter(), {}, collections.Counter(), {}
    elsewhere = split = order = 0
    for partition, offset, key, value in lines(path):
        counts[partition] += 1
        split += seen.setdefault(key, partition) != partition
        elsewhere += java_partition(key, partitions) != partition
        order += key in last and last[key] >= int(value)
        last[key] = int(value)
    for partition in seen.values():
        keys[partition] += 1
    bars(counts, partitions)
    for key in sorted(seen)[:4]:
        hashed = murmur2(key)
        print(f"  {key.decode()}: murmur2 {hashed}, without its sign bit modulo {partitions} is {java_partition(key, partitions)}, found in {seen[key]}")
    print(f"  {len(seen)} keys, {min(keys[p] for p in range(partitions))} to {max(keys.values())} a partition; "
          f"records elsewhere than Java puts them {elsewhere}, in a second partition {split}, out of order within their key {order}")
    return bool(seen) and not (elsewhere or split or order)


def same(left, right):
    found = [{}, {}]
    for n, path in enumerate((left, right)):
        for partition, _, key, _ in lines(path):
            found[n].setdefault(key, set()).add(partition)
    differ = [key for key in found[0].keys() | found[1].keys() if found[0].get(key) != found[1].get(key)]
    print(f"  {len(found[0])} and {len(found[1])} keys; in different partitions: {len(differ)} {differ[:3] if differ else ''}")
    return bool(found[0]) and not differ


def even(partitions, path, most):
    counts = collections.Counter(line[0] for line in lines(path))
    return bars(counts, partitions) <= float(most)


def turns(partitions, path):
    counts, wrong = collections.Counter(), 0
    for partition, _, _, value in lines(path):
        counts[partition] += 1
        wrong += (int(value) - 1) % partitions != partition
    bars(counts, partitions)
    print(f"  records out of turn {wrong}")
    return bool(counts) and not wrong and max(counts.values()) - min(counts[p] for p in range(partitions)) <= 1


def moved(before, after, path):
    keys = {line[2] for line in lines(path)}
    count = sum(java_partition(key, before) != java_partition(key, after) for key in keys)
    print(f"  of {len(keys)} keys, {count} ({count * 100 / len(keys):.1f}%) belong elsewhere once {before} partitions are {after}")
    return True


def main():
    command, arguments = sys.argv[1], [int(word) if word.isdigit() else word for word in sys.argv[2:]]
    judge = {"vectors": vectors, "keyed": keyed, "same": same, "even": even, "turns": turns, "moved": moved}[command]
    return 0 if judge(*arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
