# SPDX-License-Identifier: Apache-2.0
"""Prints docs/compat/kafka.md from a results file: one row a feature, one column a client."""

import json
import os
import sys

HEAD = """\
# Kafka clients

Generated from the last run of `cargo xtask conformance --write-page`: unmodified client libraries against the real broker, default
storage and durability. `yes`: the case passed. `no`: it failed. `–`: the client has no way to ask for it.

What each row checks stands in `conformance/kafka/features/`. Consumer groups, transactions and most admin requests are not there
yet, and are not announced; readers assign themselves partitions.
"""


def titles():
    """Names and titles of the features, without their clients being installed."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import features

    return [(each.name, each.title) for each in features.ALL]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        results = [json.loads(line) for line in file]
    versions, cells = {}, {}
    for result in results:
        if result["client"]:
            # kcat is whatever the system has; the others are pinned.
            versions.setdefault(result["client"], "" if result["client"] == "kcat" else result["version"])
            cells[result["client"], result["feature"]] = {"passed": "yes", "failed": "no", "skipped": "not run"}[result["outcome"]]
    names = list(versions)
    print(HEAD)
    print("| | " + " | ".join(f"{name} {versions[name]}".strip() for name in names) + " |")
    print("|---|" + "---|" * len(names))
    for feature, title in titles():
        print(f"| {title} | " + " | ".join(cells.get((name, feature), "–") for name in names) + " |")
    print()
    print("Every compression, headers and nulls, written by the one on the left and read by the one above:")
    print()
    print("| | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for writer in names:
        print(f"| {writer} | " + " | ".join(cells.get((name, f"cross_read {writer}"), "–") for name in names) + " |")
    other = [result for result in results if not result["client"]]
    print()
    print("Against the same broker, by hand-made bytes:")
    print()
    for result in other:
        words = result["case"].removeprefix("kafka/").replace("_", " ")
        print(f"- {words}: {result['outcome']}")


if __name__ == "__main__":
    main()
