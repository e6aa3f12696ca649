# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest that lets kafka-python's own integration tests run as its source distribution ships them.

They find a broker by KAFKA_URI themselves. What the distribution leaves out, and what hides them, is made up for here: the module that
starts brokers (an external one needs nothing of it), and the package `test`, which Python has one of its own of.
Writes each test's outcome to the file OUTCOMES, one JSON object a line.
"""

import json
import os
import sys
import types

TESTS = os.environ["TESTS"]


class ExternalService:
    def __init__(self, host, port):
        self.host = host
        self.port = port

    def open(self):
        """It is open."""

    def stop(self):
        """It is not ours to stop."""


class SpawnedService:
    """A test that wants a broker of its own making cannot be run."""

    def __init__(self, *_arguments, **_named):
        raise RuntimeError("there is no broker to be started here")


package = types.ModuleType("test")
package.__path__ = [os.path.join(TESTS, "test")]
sys.modules["test"] = package
service = types.ModuleType("test.service")
service.ExternalService = ExternalService
service.SpawnedService = SpawnedService
sys.modules["test.service"] = service


def pytest_runtest_logreport(report):
    # A test that fails before or after its call has failed, too.
    if report.when == "call" or report.outcome != "passed":
        # That of a test that was left out is the last of three.
        reason = "" if report.passed else report.longrepr[2] if report.skipped else str(report.longrepr)
        told = {"test": report.nodeid.split("/")[-1], "outcome": report.outcome, "reason": reason}
        with open(os.environ["OUTCOMES"], "a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
