# SPDX-License-Identifier: Apache-2.0
"""kafka-python's own integration tests, as its source distribution ships them, against the broker under test.

The case passes when exactly the tests of `MISSING` do not: a test that begins to pass must leave the list. Each test's outcome goes
onto the page. None of the tests is ours or kept here: the distribution is fetched when they are run.
"""

import json
import os
import subprocess
import sys

from broker import Broker
from case import Case, Skip, expect

NAME = "kafka/kafka-python's own integration tests"
# Of the broker: the tests leave out what it is too old for.
SPOKEN_VERSION = "4.3.1"
RUN_S_MAX = 900
# A test that fails is run again, so often at most, and says so. kafka-python 3.0.12 loses a subscription that is made while its first
# request for metadata is under way: its log then shows it asleep until the next refresh, five minutes later. The quicker the broker,
# the more often: 8 of 24 on a quiet machine.
TRIES_MAX = 6
TEST_S_MAX = 120
# What this broker does not do yet: test -> why.
MISSING = {
    "test_admin_integration.py::test_create_describe_delete_acls": "ACLs",
    "test_producer_integration.py::test_transactional_producer_messages": "transactions",
    "test_producer_integration.py::test_transactional_producer_offsets": "transactions",
}


def own_tests(shared):
    if "kafka-python-tests" not in shared.programs:
        raise Skip(shared.absent.get("kafka-python-tests", "they were not fetched"))
    folder = shared.programs["kafka-python-tests"]
    ours = shared.kind is Broker
    with shared.fresh({"kafka.default_partitions": 4} if ours else None) as broker:
        outcomes = run(folder, broker, ["test/integration"])
        for _ in range(TRIES_MAX - 1):
            again = [test for test, told in outcomes.items() if told["outcome"] == "failed" and test not in MISSING]
            if not again:
                break
            print(f"once more: {', '.join(again)}", flush=True)
            outcomes.update(run(folder, broker, [f"test/integration/{test}" for test in again]))
    expect(len(outcomes) > 40, f"only {len(outcomes)} tests were run")
    missing = MISSING if ours else {}
    wrong = []
    for test, told in outcomes.items():
        wanted = "failed" if test in missing else told["outcome"] if told["outcome"] == "skipped" else "passed"
        if told["outcome"] != wanted:
            wrong.append(f"{test}: {told['outcome']}, and not {wanted}\n{told['reason']}")
    wrong += [f"{test} was not run" for test in missing if test not in outcomes]
    note = {}
    for test, told in sorted(outcomes.items()):
        why = told["reason"].removeprefix("Skipped: ") if told["outcome"] == "skipped" else missing.get(test, "")
        note[test] = [told["outcome"], why]
    expect(not wrong, lambda: "\n\n".join(wrong))
    return note


def run(folder, broker, tests):
    here = os.path.dirname(os.path.abspath(__file__))
    outcomes = broker.data_dir + ".outcomes"
    if os.path.exists(outcomes):
        os.remove(outcomes)
    environment = {
        **os.environ,
        "PYTHONPATH": here,
        "KAFKA_URI": f"kafka://{broker.address}",
        "KAFKA_VERSION": SPOKEN_VERSION,
        # Where a broker's programs would be; it only has to exist.
        "KAFKA_ROOT": folder,
        "TESTS": folder,
        "OUTCOMES": outcomes,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "kafka_python_plugin", "-p", "no:cacheprovider"]
    command += ["--show-capture=no", f"--timeout={TEST_S_MAX}", *tests]
    # What is in there wants a broker with TLS that it starts itself.
    command += ["--ignore=test/integration/test_ssl_integration.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    # 1: some test failed, which is looked at one by one.
    expect(done.returncode in (0, 1), lambda: f"pytest: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    told = {}
    with open(outcomes, encoding="utf-8") as file:
        for line in map(json.loads, file):
            # The worst of what was told of a test is its outcome.
            if told.get(line["test"], {}).get("outcome") != "failed":
                told[line["test"]] = line
    return told


def cases(shared):
    return [Case(NAME, "", "", "", lambda: own_tests(shared), lane="kafka-python's own")]
