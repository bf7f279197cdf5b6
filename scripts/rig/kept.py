"""Judges what a topic holds: lines of `partition TAB offset TAB value`.

  kept.py all READ REPORT LINES     values 1 to LINES, each once and ascending in its partition; every record that the report of
                                    `rafka produce` calls acknowledged is at the partition and offset that it names
  kept.py tail READ START END SIZE MOST    one partition: offsets START to END (exclusive) without a hole; SIZE bytes each come to
                                    at most MOST

Exit code 1 on any difference.
"""
import json
import sys


def read(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            partition, offset, value = line.rstrip("\n").split("\t", 2)
            yield int(partition), int(offset), int(value.split(" ", 1)[0])


def judge_all(path, report, lines):
    at, last, twice, order = {}, {}, 0, 0
    for partition, offset, value in read(path):
        twice += value in at
        order += last.get(partition, (-1, -1)) >= (offset, value) or last.get(partition, (-1, -1))[1] >= value
        at[value], last[partition] = (partition, offset), (offset, value)
    acknowledged = moved = 0
    with open(report, encoding="utf-8") as file:
        for entry in map(json.loads, file):
            if "error" in entry:
                continue
            acknowledged += 1
            found = at.get(entry["line"])
            told = (entry["partition"], entry["offset"])
            # A broker that answers "written already" need not know where.
            moved += found is None or (told[1] is not None and found != told)
    lost = sum(1 for n in range(1, lines + 1) if n not in at)
    print(f"  {lines} lines written, {acknowledged} acknowledged, {len(at)} read; lost {lost}, twice {twice}, out of order {order}, "
          f"acknowledged and not where they were said to be {moved}")
    return acknowledged == lines and not (lost or twice or order or moved)


def judge_tail(path, start, end, size, most):
    offsets = [offset for _, offset, _ in read(path)]
    values = {value - 1 - offset for _, offset, value in read(path)}
    whole = offsets == list(range(start, end)) and len(values) <= 1
    kept = (end - start) * size
    print(f"  offsets {start} to {end - 1} are left, {len(offsets)} read, without a hole: {'yes' if whole else 'NO'}; {kept} bytes of at most {most}")
    return whole and kept <= most


def main():
    command, path = sys.argv[1:3]
    if command == "all":
        return 0 if judge_all(path, sys.argv[3], int(sys.argv[4])) else 1
    return 0 if judge_tail(path, *map(int, sys.argv[3:7])) else 1


if __name__ == "__main__":
    sys.exit(main())
