#!/usr/bin/env python3
"""Writes node/src/kafka/tables.rs from the message schemas that lie in Apache Kafka's client jar.

    scripts/kafka-tables.py [kafka-clients.jar]

Without an argument the jar is taken from Maven Central through `mvn`. Only facts go into the tables: types, versions,
tags and nesting of the requests that rafka serves, and the keys and versions of all that Kafka serves.
"""
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import zipfile

VERSION = "4.3.1"
SERVED = ["Produce", "Fetch", "ListOffsets", "Metadata", "FindCoordinator", "ApiVersions", "CreateTopics", "DeleteTopics",
          "DeleteRecords", "InitProducerId", "OffsetForLeaderEpoch", "DescribeConfigs", "AlterConfigs", "IncrementalAlterConfigs",
          "ListConfigResources", "DescribeClientQuotas", "AlterClientQuotas", "DescribeLogDirs", "CreatePartitions",
          "ElectLeaders", "AlterPartitionReassignments", "ListPartitionReassignments", "DescribeCluster", "DescribeTopicPartitions", "OffsetCommit", "OffsetFetch", "JoinGroup", "Heartbeat",
          "LeaveGroup", "SyncGroup", "DescribeGroups", "ListGroups", "DeleteGroups", "OffsetDelete"]
FIXED = {"bool": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "float64": 8, "uuid": 16}
LAST = 32767


def jar():
    if len(sys.argv) > 1:
        return sys.argv[1]
    artifact = f"org.apache.kafka:kafka-clients:{VERSION}"
    subprocess.run(["mvn", "-q", "dependency:get", f"-Dartifact={artifact}", "-Dtransitive=false"], check=True,
                   stdout=sys.stderr)
    home = pathlib.Path.home() / ".m2/repository/org/apache/kafka/kafka-clients"
    return home / VERSION / f"kafka-clients-{VERSION}.jar"


def schema(archive, name):
    text = archive.read(f"common/message/{name}.json").decode()
    return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))


def versions(text):
    """`3+`, `3-12`, `4` or `none` as (first, last)."""
    if text == "none":
        return (LAST, -1)
    if text.endswith("+"):
        return (int(text[:-1]), LAST)
    first, _, last = text.partition("-")
    return (int(first), int(last or first))


def kind(field, structs):
    name = field["type"]
    if name.startswith("[]"):
        return f"Array(&{kind({**field, 'type': name[2:], 'list': True}, structs)})"
    if name in FIXED:
        return f"Fixed({FIXED[name]})"
    if name == "string":
        return "Text"
    if name in ("bytes", "records"):
        return "Blob"
    inner = field.get("fields") or structs.get(name)
    assert inner, f"unknown type {name}"
    shape = "Struct"
    if "nullableVersions" in field and not field.get("list"):
        assert field["nullableVersions"] == field["versions"] and "tag" not in field, f"sometimes nullable struct {name}"
        shape = "Maybe"
    return f"{shape}(&[{', '.join(row(f, structs) for f in inner)}])"


def row(field, structs):
    first, last = versions(field["versions"])
    if "tag" not in field:
        return f"field({first}, {last}, {kind(field, structs)})"
    assert versions(field["taggedVersions"]) == (first, last), field["name"]
    return f"tagged({field['tag']}, {first}, {last}, {kind(field, structs)})"


def write():
    archive = zipfile.ZipFile(jar())
    print("//! Fields, types and versions of the requests served. Written by `scripts/kafka-tables.py` from the message")
    print(f"//! schemas of Apache Kafka {VERSION}; not edited by hand.")
    print()
    print("use super::bounds::Kind::{Array, Blob, Fixed, Maybe, Struct, Text};")
    print("use super::bounds::{Schema, field, tagged};")
    print()
    print("/// One schema for each API that is served, by rising API key.")
    print("pub(super) const SCHEMAS: &[Schema] = &[")
    for message in sorted((schema(archive, f"{n}Request") for n in SERVED), key=lambda m: m["apiKey"]):
        structs = {s["name"]: s["fields"] for s in message.get("commonStructs", [])}
        flexible, _ = versions(message["flexibleVersions"])
        print(f"    // {message['name']}")
        print(f"    Schema {{ key: {message['apiKey']}, flexible: {flexible}, fields: &[")
        for field in message["fields"]:
            print(f"        {row(field, structs)},")
        print("    ] },")
    print("];")
    print()
    print("/// Responses that begin with the throttle time: API key, and the first version that does.")
    print("pub(super) const THROTTLED: &[(i16, i16)] = &[")
    answers = [re.fullmatch(r"common/message/(\w+)Response\.json", path) for path in archive.namelist()]
    for message in sorted((schema(archive, f"{name[1]}Response") for name in answers if name), key=lambda m: m.get("apiKey", -1)):
        fields = message.get("fields", [])
        if "apiKey" in message and fields and fields[0]["name"] == "ThrottleTimeMs":
            print(f"    ({message['apiKey']}, {versions(fields[0]['versions'])[0]}),")
    print("];")
    print()
    print(f"/// Every API that a broker of Apache Kafka {VERSION} serves to clients: key, name, first and last version.")
    print("pub(super) const KAFKA: &[(i16, &str, i16, i16)] = &[")
    names = [re.fullmatch(r"common/message/(\w+)Request\.json", path) for path in archive.namelist()]
    known = [schema(archive, f"{name[1]}Request") for name in names if name]
    for message in sorted((m for m in known if "broker" in m.get("listeners", [])), key=lambda m: m["apiKey"]):
        first, last = versions(message["validVersions"])
        print(f"    ({message['apiKey']}, \"{message['name'].removesuffix('Request')}\", {first}, {last}),")
    print("];")


target = pathlib.Path(__file__).resolve().parent.parent / "node/src/kafka/tables.rs"
with target.open("w") as out, contextlib.redirect_stdout(out):
    write()
subprocess.run(["rustfmt", "--edition", "2024", "--config-path", target.parents[3], target], check=True)
