# SPDX-License-Identifier: Apache-2.0
"""Polylog's own command line (`polylog topic`, `group`, `produce`, `consume`) as a client: against Polylog, and against Apache Kafka,
which it should work with as well.

Owns: running the commands, the cases. Must not know: whose broker it is. What the commands print for people is the business of the
program's own tests (crates/node/tests/it/cli.rs).
"""

import json
import os
import subprocess

from broker import Broker
from case import Case, equal, expect

NAME = "polylog"
RUN_S_MAX = 60


class Ended:
    """What a command did."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        return json.loads(self.out)

    def lines(self):
        return self.out.splitlines()


class Commands:
    """The program against one broker."""

    def __init__(self, address):
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("POLYLOG_")}
        self.environment["POLYLOG_SERVER"] = address

    def try_run(self, *arguments, text=""):
        command = [Broker.program, *(str(each) for each in arguments)]
        done = subprocess.run(
            command, input=text, capture_output=True, encoding="utf-8", env=self.environment, timeout=RUN_S_MAX, check=False
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments, text=""):
        ended = self.try_run(*arguments, text=text)
        expect(ended.code == 0, lambda: f"polylog {' '.join(map(str, arguments))} ends with {ended.code}: {ended.err}")
        return ended

    def refused(self, code, *arguments, text=""):
        """It must end with exactly this exit code; what it says."""
        ended = self.try_run(*arguments, text=text)
        equal(ended.code, code, f"exit code of {arguments}: {ended.err}")
        return ended.err


def version():
    return subprocess.run([Broker.program, "version"], capture_output=True, encoding="utf-8", check=True).stdout.split()[1]


def topics(commands, topic):
    """Makes, describes, alters and deletes a topic."""
    commands.run("topic", "create", topic, "-p", 2, "-c", "retention.ms=86400000")
    expect("--if-not-exists" in commands.refused(1, "topic", "create", topic), "the way around is told")
    made = commands.run("topic", "create", topic, "--if-not-exists", "--json").json()["topics"][0]
    equal((made["created"], made["partitions"]), (False, 2), "a topic that exists")
    names = [each["name"] for each in commands.run("topic", "list", "--json").json()["topics"]]
    expect(topic in names, "it is listed")
    commands.run("topic", "alter", topic, "-p", 3, "-c", "max.message.bytes=2000", "--delete-config", "retention.ms")
    told = commands.run("topic", "describe", topic, "--json").json()["topics"][0]
    equal(told["settings"], {"max.message.bytes": "2000"}, "settings given for the topic")
    bounds = [(each["start_offset"], each["end_offset"], each["size_bytes"]) for each in told["partitions"]]
    equal(bounds, [(0, 0, 0)] * 3, "start, end and size of each partition")
    commands.refused(1, "topic", "alter", topic, "-p", 2)
    commands.refused(1, "topic", "alter", topic, "-c", "retention.ms=soon")
    said = commands.refused(3, "topic", "describe", topic + "s")
    expect(f'did you mean "{topic}"?' in said, lambda: f"the nearest name is told: {said}")
    commands.run("topic", "delete", topic, "--yes")
    commands.refused(3, "topic", "describe", topic)


def records(commands, topic):
    """Writes and reads every compression, keys, headers, nulls, bytes that are no text."""
    commands.run("topic", "create", topic, "-p", 3, "-c", "retention.ms=-1")
    text = "".join(f"key {number}\tvalue {number}\n" for number in range(5000))
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"]:
        written = commands.run("produce", topic, "-K", "\\t", "-z", compression, "-H", f"z={compression}", "--json", text=text).json()
        equal(written["records"], 5000, f"records written with {compression}")
    read = sorted(commands.run("consume", topic, "-f", "%k\\t%v\\t%h\\n").lines())
    wanted = [f"{line}\tz={each}" for each in ["none", "gzip", "snappy", "lz4", "zstd"] for line in text.splitlines()]
    expect(read == sorted(wanted), "what was written is not what is read")
    strange = {"key_base64": "/wA=", "value": None, "partition": 2, "timestamp_ms": 1700000000000, "headers": [{"name": "h", "value": None}]}
    commands.run("produce", topic, "--input", "json", text=json.dumps(strange) + "\n")
    found = json.loads(commands.run("consume", topic, "-p", 2, "--from", -1, "--json").out)
    equal({key: found[key] for key in strange}, strange, "a record of bytes and nulls")


def places(commands, topic):
    """Reads from and to offsets and times; deletes records before a place."""
    # Old records stay.
    commands.run("topic", "create", topic, "-p", 1, "-c", "retention.ms=-1")
    given = "".join(json.dumps({"value": str(number), "timestamp_ms": 1790000000000 + 1000 * number}) + "\n" for number in range(10))
    commands.run("produce", topic, "--input", "json", text=given)
    for arguments, wanted in [
        (["--from", 3, "--until", 6], "345"),
        (["--from", -3], "789"),
        (["--from", "2026-09-21T14:13:25Z"], "56789"),
        (["--from", 4, "--count", 2], "45"),
        (["--from", "latest"], ""),
    ]:
        equal("".join(commands.run("consume", topic, *arguments).lines()), wanted, f"records {arguments}")
    trimmed = commands.run("topic", "trim", topic, "--before", 4, "--yes", "--json").json()
    equal(trimmed["partitions"], [{"partition": 0, "start_offset": 4, "deleted": 4}], "what is trimmed")
    equal("".join(commands.run("consume", topic).lines()), "456789", "what is left")


def groups(commands, topic):
    """Reads as a member of a group, goes on where it stopped; describes, resets and deletes the group."""
    group = f"{topic}.group"
    commands.run("topic", "create", topic, "-p", 2)
    lines = [str(number) for number in range(100)]
    commands.run("produce", topic, "-p", 0, text="\n".join(lines))
    first = commands.run("consume", topic, "--group", group, "--count", 30).lines()
    second = commands.run("consume", topic, "--group", group).lines()
    equal(first + second, lines, "what the group read in two lives")
    told = commands.run("group", "describe", group, "--json").json()["groups"][0]
    equal((told["state"], told["members"]), ("Empty", []), "the group with nobody in it")
    offsets = [(each["partition"], each["committed_offset"], each["lag"]) for each in told["offsets"]]
    equal(offsets, [(0, 100, 0), (1, 0, 0)], "what it has committed")
    states = {each["group"]: each["state"] for each in commands.run("group", "list", "--json").json()["groups"]}
    equal(states.get(group), "Empty", "its state in the list")
    commands.run("group", "reset", group, "--to-earliest")
    equal(commands.run("consume", topic, "--group", group).out, "", "what comes after a reset that was only shown")
    commands.run("group", "reset", group, "--topic", f"{topic}:0", "--shift-by", -2, "--execute")
    equal(commands.run("consume", topic, "--group", group).lines(), ["98", "99"], "what comes after a reset")
    commands.run("group", "delete", group, "--yes")
    commands.refused(3, "group", "describe", group)


def refusals(commands, topic):
    """Says which line was too large, and writes those before it."""
    commands.run("topic", "create", topic, "-p", 1, "-c", "max.message.bytes=2000")
    text = "short\n" * 500 + "x" * 3000 + "\nafter\n"
    said = commands.refused(1, "produce", topic, text=text)
    expect("line 501 was refused" in said and "MESSAGE_TOO_LARGE" in said, lambda: f"it says {said}")
    equal(commands.run("consume", topic).lines(), ["short"] * 500, "the lines before it")


ALL = [topics, records, places, groups, refusals]


def cases(shared):
    """The cases, for run.py."""
    for run in ALL:

        def one(run=run):
            run(Commands(shared.broker().address), f"command_line.{run.__name__}")

        yield Case(f"kafka/command line/{run.__name__}", NAME, version, run.__doc__.rstrip("."), one)
