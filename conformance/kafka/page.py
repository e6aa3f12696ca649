# SPDX-License-Identifier: Apache-2.0
"""Prints docs/compat/kafka.md from a results file: one row a feature, one column a client, Apache Kafka's own outcome beside ours."""

import json
import os
import sys

HEAD = """\
# Kafka clients

Generated from the last run of `cargo xtask conformance --write-page`: unmodified client libraries against the real broker, default
storage and durability. `yes`: the case passed. `no`: it failed. `–`: the client has no way to ask for it. Behind the stroke stands
what the same case gave against Apache Kafka 4.3.1 (`cargo xtask conformance --peer`, kept in `apache-kafka.jsonl`); `?`: it was not
run there.

What each row checks stands in `conformance/kafka/features/`. Transactions, share groups, the group protocol of KIP-848, ACLs and SASL
are not there yet, and are not announced.
"""
# What is run for its own sake, and not for features that clients share.
PROGRAMS = {
    "java-api": "The Java client's consumer in groups, and its Admin",
    "kafka-tools": "Apache Kafka's own command-line tools, unmodified",
    "polylog": "Polylog's own command line",
    "connect": "Kafka Connect and MirrorMaker, unmodified",
    "compacted": "Topics that keep the last record of each key, through clients",
}
OUTCOMES = {"passed": "yes", "failed": "no", "skipped": "not run"}


def titles():
    """Names and titles of the features, without their clients being installed."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import features

    return [(each.name, each.title) for each in features.ALL]


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Page:
    def __init__(self, results, peer):
        self.results = results
        self.ours = {(result["client"], result["feature"]): OUTCOMES[result["outcome"]] for result in results if result["client"]}
        self.theirs = {(result["client"], result["feature"]): OUTCOMES[result["outcome"]] for result in peer if result["client"]}
        # Programs that are run for what they do, not for features that clients share.
        shared = {feature for feature, _ in titles()}
        self.programs = {result["client"]: result["version"] for result in results if result["client"]}
        for result in results:
            if result["feature"] in shared:
                self.programs.pop(result["client"], None)
        self.peer = {result["case"]: result for result in peer}
        # kcat is whatever the system has; the others are pinned.
        self.versions = {}
        for result in results:
            if result["client"] and result["client"] not in self.programs:
                self.versions.setdefault(result["client"], "" if result["client"] == "kcat" else result["version"])

    def cell(self, client, feature):
        if (client, feature) not in self.ours:
            return "–"
        return f"{self.ours[client, feature]} / {self.theirs.get((client, feature), '?')}"

    def table(self, heads, rows):
        names = list(self.versions)
        print("| | " + " | ".join(heads) + " |")
        print("|---|" + "---|" * len(names))
        for feature, title in rows:
            print(f"| {title} | " + " | ".join(self.cell(name, feature) for name in names) + " |")
        print()

    def print(self):
        names = list(self.versions)
        print(HEAD)
        self.table([f"{name} {self.versions[name]}".strip() for name in names], titles())
        print("Every compression, headers and nulls, written by the one on the left and read by the one above:")
        print()
        self.table(names, [(f"cross_read {name}", name) for name in names])
        for program, version in self.programs.items():
            print(f"{PROGRAMS.get(program, program)} ({version}):")
            print()
            print("| | Polylog / Apache Kafka |")
            print("|---|---|")
            for result in self.results:
                if result["client"] == program:
                    print(f"| {result['feature']} | {self.cell(program, result['feature'])} |")
            print()
        self.print_own_tests()
        print("By hand-made bytes and by other programs:")
        print()
        for result in self.results:
            if not result["client"]:
                words = result["case"].removeprefix("kafka/").replace("_", " ")
                beside = self.peer.get(result["case"])
                told = f"; Apache Kafka: {beside['outcome']}" if beside else ""
                print(f"- {words}: {result['outcome']}{told}")

    def print_own_tests(self):
        """kafka-python's: how many passed on either side, and each that did not, with its reason."""
        from kafka_python_tests import NAME

        ours = next((result["note"] for result in self.results if result["case"] == NAME), None)
        theirs = self.peer.get(NAME, {}).get("note")
        if ours is None:
            return
        print("kafka-python's own integration tests, as its source distribution ships them (`test_ssl_integration.py` is not run: it")
        print(f"wants a broker with TLS that it starts itself). Polylog: {counted(ours)}. Apache Kafka: {counted(theirs or {})}.")
        print()
        print("| not passed | Polylog / Apache Kafka | because |")
        print("|---|---|---|")
        for test, (outcome, why) in ours.items():
            if outcome != "passed":
                beside = (theirs or {}).get(test, ["?"])[0]
                print(f"| `{test}` | {outcome} / {beside} | {why} |")
        print()


def counted(note):
    outcomes = [outcome for outcome, _ in note.values()]
    return f"{outcomes.count('passed')} passed, {outcomes.count('failed')} failed, {outcomes.count('skipped')} left out by themselves"


if __name__ == "__main__":
    Page(read(sys.argv[1]), read(sys.argv[2]) if os.path.exists(sys.argv[2]) else []).print()
