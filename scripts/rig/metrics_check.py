"""What scripts/metrics_check.sh checks; see there."""
import argparse
import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request

from mesh import Rafka, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(ROOT, "deploy")
RULES = f"{DEPLOY}/prometheus/rafka.rules.yml"
NAME = re.compile(r"\b(?:rafka|process)_[a-z0-9_]+\b")
LABEL_VALUES = re.compile(r'"[^"]*"')


class Failures(list):
    def check(self, what, so, detail=""):
        print(f"  {'ok    ' if so else 'FAILED'} {what}{'' if so or not detail else ': ' + detail}")
        if not so:
            self.append(what)


def promtool(*arguments, text=None):
    ended = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True)
    return ended.returncode == 0, (ended.stdout + ended.stderr).strip()


def panels():
    """(title, expression) of every target of the dashboard."""
    with open(f"{DEPLOY}/grafana/rafka.json") as f:
        dashboard = json.load(f)
    targets = [(p["title"], t["expr"]) for p in dashboard["panels"] for t in p.get("targets", [])]
    assert len(targets) > 50, "the dashboard has lost its panels"
    return targets


def rule_expressions():
    """The lines of the rules without their words for people, which name commands and flags."""
    with open(RULES) as f:
        lines = [line for line in f if not re.match(r"\s*(#|summary:|description:|- alert:|- name:)", line)]
    return "".join(lines)


def named(text):
    return set(NAME.findall(LABEL_VALUES.sub('""', text)))


def families(text):
    """Names of samples, and names of families, of one /metrics."""
    samples = {re.split(r"[{ ]", line, maxsplit=1)[0] for line in text.splitlines() if line and not line.startswith("#")}
    return samples, {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}


class Prometheus:
    """A server that scrapes the mesh every second."""

    def __init__(self, directory, mesh, port):
        self.port = port
        os.makedirs(directory)
        targets = [f"127.0.0.1:{mesh.port + 200 + i}" for i in mesh.ids()]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [RULES],
            "scrape_configs": [{"job_name": "rafka", "static_configs": [{"targets": targets}]}],
        }
        # JSON is YAML.
        with open(f"{directory}/prometheus.yml", "w") as f:
            json.dump(config, f)
        command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        self.log = open(f"{directory}/prometheus.log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def get(self, path, **fields):
        query = "?" + urllib.parse.urlencode(fields) if fields else ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error

    def query(self, expression):
        return self.get("query", query=expression)["result"]

    def up(self):
        try:
            return sum(float(sample["value"][1]) for sample in self.query('up{job="rafka"}'))
        except OSError:
            return 0

    def alerts(self):
        return {alert["labels"]["alertname"]: alert["state"] for alert in self.get("alerts")["alerts"]}

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def rafka(mesh, *arguments, text=None):
    command = [os.environ["RAFKA_BIN"], "--bootstrap", mesh.bootstrap(), *arguments]
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def traffic(mesh):
    rafka(mesh, "topic", "create", "metered", "--partitions", "6", "--replication-factor", "3")
    rafka(mesh, "produce", "metered", text="".join(f"line {i}\n" for i in range(5000)))
    rafka(mesh, "consume", "metered")


def check_files(failures):
    print("deploy/")
    for what, arguments in (
        ("promtool check rules", ("check", "rules", RULES)),
        ("promtool test rules", ("test", "rules", f"{DEPLOY}/prometheus/rafka.rules.test.yml")),
        ("promtool check config", ("check", "config", f"{DEPLOY}/prometheus/prometheus.yml")),
    ):
        failures.check(what, *promtool(*arguments))


def check_names(failures, mesh):
    print("/metrics of each node")
    wanted = named(rule_expressions()) | named("\n".join(expression for _, expression in panels()))
    shown = set()
    for i in mesh.ids():
        # The clocks of the others are known once they told them.
        wait_until("clocks", 30, lambda i=i: "rafka_mesh_clock_offset_seconds{" in mesh.http(i, "/metrics")[1])
        text = mesh.http(i, "/metrics")[1]
        failures.check(f"node {i}: promtool check metrics", *promtool("check", "metrics", text=text))
        samples, kinds = families(text)
        missing = sorted(wanted - samples)
        failures.check(f"node {i}: has the {len(wanted)} figures that rules and dashboard name", not missing, " ".join(missing))
        shown |= kinds
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in wanted} | wanted
    hidden = sorted(shown - names)
    failures.check(f"all {len(shown)} figures are on the dashboard or in a rule", not hidden, " ".join(hidden))


def check_panels(failures, prometheus):
    print("the dashboard, asked of Prometheus")
    targets = panels()
    empty = []
    for title, expression in targets:
        expression = expression.replace("$__rate_interval", "20s").replace("$instance", ".*")
        try:
            if not prometheus.query(expression):
                empty.append(f"{title} ({expression}) is empty")
        except ValueError as error:
            empty.append(f"{title} ({expression}): {error}")
    failures.check(f"all {len(targets)} queries of the panels have an answer", not empty, "; ".join(empty))


def check_rules(failures, mesh, prometheus):
    print("the rules, in Prometheus")
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    bad = [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]
    failures.check(f"{len(rules)} rules are evaluated", rules and not bad, "; ".join(bad))
    alerts = prometheus.alerts()
    failures.check("nothing is pending or firing while all is well", not alerts, str(alerts))
    mesh.kill(mesh.nodes)
    expected = {"RafkaNodeDown", "RafkaNodesUnheard", "RafkaPartitionsUnderReplicated", "RafkaPartitionsWithoutSpare"}
    try:
        wait_until("alerts", 40, lambda: expected <= prometheus.alerts().keys(), 0.5)
    except TimeoutError:
        pass
    missing = sorted(expected - prometheus.alerts().keys())
    failures.check("a killed node is noticed: " + " ".join(sorted(expected)), not missing, "missing: " + " ".join(missing))


def main():
    parser = argparse.ArgumentParser(description="deploy/ against a running mesh")
    parser.add_argument("--seconds", type=float, default=25, help="how long Prometheus scrapes before it is asked")
    seconds = parser.parse_args().seconds
    failures = Failures()
    check_files(failures)
    mesh = Rafka(f"{os.environ['RUN_DIR']}/mesh")
    prometheus = None
    try:
        for i in mesh.ids():
            mesh.start(i)
        for i in mesh.ids():
            mesh.ready(i)
        traffic(mesh)
        check_names(failures, mesh)
        prometheus = Prometheus(f"{os.environ['RUN_DIR']}/prometheus", mesh, mesh.port + 300)
        wait_until("Prometheus scrapes all nodes", 60, lambda: prometheus.up() == mesh.nodes, 0.5)
        scraped = 'min(count_over_time(up{job="rafka"}[1h]))'
        wait_until("enough scrapes", seconds + 60, lambda: float(prometheus.query(scraped)[0]["value"][1]) >= seconds, 0.5)
        check_panels(failures, prometheus)
        check_rules(failures, mesh, prometheus)
    finally:
        mesh.close()
        if prometheus:
            prometheus.close()
    print(f"RESULT metrics check: {'FAILED: ' + '; '.join(failures) if failures else 'passed'}")
    return 1 if failures else 0


sys.exit(main())
