# SPDX-License-Identifier: Apache-2.0
"""Prints what is kept of a run against Apache Kafka: one case a line, with the last line of its reason. See docs/compat/kafka.md."""

import argparse
import json


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("results", help="results file of the run")
    arguments.add_argument("--into", help="what was kept before: the cases of this run replace theirs")
    given = arguments.parse_args()
    kept = {}
    for path in filter(None, (given.into, given.results)):
        with open(path, encoding="utf-8") as file:
            for result in map(json.loads, file):
                reason = result["reason"].strip().splitlines()[-1:]
                kept[result["case"]] = {
                    "case": result["case"],
                    "client": result["client"],
                    "feature": result["feature"],
                    "outcome": result["outcome"],
                    "reason": reason[0] if reason else "",
                    "note": result.get("note"),
                }
    for case in sorted(kept):
        print(json.dumps(kept[case], ensure_ascii=False))


if __name__ == "__main__":
    main()
