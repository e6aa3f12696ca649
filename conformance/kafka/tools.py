# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka's own command-line tools, unmodified, one case a tool or verb: what they print and the code they exit with.

Owns: the JVM that the tools run in (`java/apache/Tools.java`), the cases.
Must not know: whose broker it is.

The two verifiable tools end their JVM themselves and get one each. What only a case of several brokers has (throttles, moves between
brokers) is not asked for.
"""

import json
import os
import re
import subprocess
import time
from typing import NamedTuple

from case import Case, Refused, Skip, equal, expect, until
from clients.line_program import LineProgram
from group_wire import GroupWire
from records import Record, numbered
from wire import batch

RUN_S_MAX = 60
HOUR_MS = 3_600_000

PACKAGE = "org.apache.kafka.tools."
TOPICS = PACKAGE + "TopicCommand"
GROUPS = PACKAGE + "consumer.group.ConsumerGroupCommand"
ALL_GROUPS = PACKAGE + "GroupsCommand"
CONSOLE_PRODUCER = PACKAGE + "ConsoleProducer"
CONSOLE_CONSUMER = PACKAGE + "consumer.ConsoleConsumer"
PRODUCER_PERF = PACKAGE + "ProducerPerformance"
CONSUMER_PERF = PACKAGE + "ConsumerPerformance"
END_TO_END = PACKAGE + "EndToEndLatency"
GET_OFFSETS = PACKAGE + "GetOffsetShell"
CONFIGS = "kafka.admin.ConfigCommand"
DELETE_RECORDS = PACKAGE + "DeleteRecordsCommand"
LOG_DIRS = PACKAGE + "LogDirsCommand"
API_VERSIONS = PACKAGE + "BrokerApiVersionsCommand"
ELECTION = PACKAGE + "LeaderElectionCommand"
REASSIGN = PACKAGE + "reassign.ReassignPartitionsCommand"
QUORUM = PACKAGE + "MetadataQuorumCommand"
CLUSTER = PACKAGE + "ClusterTool"
FEATURES = PACKAGE + "FeatureCommand"
TRANSACTIONS = PACKAGE + "TransactionsCommand"
VERIFIABLE_PRODUCER = PACKAGE + "VerifiableProducer"
VERIFIABLE_CONSUMER = PACKAGE + "VerifiableConsumer"


class Ended(NamedTuple):
    # None: it has not ended.
    exit: int
    out: str
    err: str

    def lines(self):
        """What was printed, without empty lines and space at the ends."""
        return [line.strip() for line in self.out.splitlines() if line.strip()]

    def rows(self):
        """The lines as words, sorted: tools print what maps give them, in any order."""
        return sorted(line.split() for line in self.lines())


class KafkaTools(LineProgram):
    """The tools against one broker."""

    name = "kafka-tools"
    # Made by `cargo xtask conformance`: jars/ and classes/.
    folder = None

    @classmethod
    def version(cls):
        jars = os.listdir(os.path.join(cls.folder, "jars"))
        return next(name for name in jars if name.startswith("kafka-tools-4")).removeprefix("kafka-tools-").removesuffix(".jar")

    @classmethod
    def java(cls, main, *options):
        path = os.pathsep.join([os.path.join(cls.folder, "classes"), os.path.join(cls.folder, "jars", "*")])
        flags = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return ["java", *flags, *options, "-cp", path, main]

    def __init__(self, address):
        self.command = self.java("Tools")
        super().__init__(address)

    def start(self, main, *arguments, input=""):
        """Starts a tool and does not wait for it."""
        run = self.handle("run")
        where = ("--bootstrap-server", self.address)
        # One tool wants its verb first, one wants the address first.
        arguments = (arguments[0], *where, *arguments[1:]) if main == CLUSTER else (*where, *arguments)
        self.ask("start", run=run, main=main, arguments=[str(each) for each in arguments], input=input)
        return run

    def until_said(self, run, text, deadline_s=RUN_S_MAX):
        """Waits for `text` in what a started tool prints."""
        ended = self.awaited(run, deadline_s, text)
        expect(text in ended.out, lambda: f"it did not say {text!r}: {ended}")
        return ended

    def end(self, run, deadline_s=RUN_S_MAX):
        """Waits for a started tool's end."""
        ended = self.awaited(run, deadline_s)
        expect(ended.exit is not None, lambda: f"it did not end within {deadline_s} s: {ended}")
        self.ask("forget", run=run)
        return ended

    def awaited(self, run, deadline_s, text=""):
        answer = self.ask("await", deadline_s + RUN_S_MAX, run=run, text=text, deadline_ms=int(deadline_s * 1000))
        return Ended(answer["exit"], answer["out"], answer["err"])

    def interrupt(self, run):
        """What Ctrl-C does."""
        self.ask("interrupt", run=run)

    def run(self, main, *arguments, input="", deadline_s=RUN_S_MAX):
        return self.end(self.start(main, *arguments, input=input), deadline_s)

    def well(self, main, *arguments, input="", deadline_s=RUN_S_MAX):
        """Runs a tool that must exit with 0."""
        ended = self.run(main, *arguments, input=input, deadline_s=deadline_s)
        expect(ended.exit == 0, lambda: f"it exited with {ended.exit}: {ended.out}{ended.err}")
        return ended

    def fails(self, text, main, *arguments, input=""):
        """Runs a tool that must exit with 1 and say why."""
        ended = self.run(main, *arguments, input=input)
        expect(ended.exit == 1, lambda: f"it exited with {ended.exit}, and not 1: {ended}")
        says(ended, text)
        return ended


class Place(NamedTuple):
    """Where a case happens."""

    broker: object
    tools: KafkaTools
    wire: GroupWire
    # A name that no other case uses, for topics and groups.
    name: str

    def file(self, ending, text):
        path = os.path.join(self.broker.scratch, f"{self.name}.{ending}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


def made(place, partitions=1):
    """Makes the case's topic and waits until it is served: elsewhere that is a moment later."""
    place.wire.made(place.name, partitions)
    for partition in range(partitions):
        until(lambda partition=partition: served(place, partition), RUN_S_MAX, f"partition {partition} is served")


def served(place, partition):
    try:
        return place.wire.list_offset(place.name, -1, partition) == 0
    except Refused:
        return False


def says(ended, *texts):
    for text in texts:
        expect(text in ended.out or text in ended.err, lambda text=text: f"it does not say {text!r}: {ended.out}{ended.err}")


ALL = []


def tool(title):
    def keep(run):
        ALL.append((title, run))
        return run

    return keep


def cases(shared):
    """The cases, for run.py."""
    missing = shared.absent.get("apache-kafka")
    KafkaTools.folder = shared.programs.get("apache-kafka")
    for title, run in ALL:

        def one(run=run):
            if missing:
                raise Skip(missing)
            broker = shared.broker()
            with GroupWire(broker.host_port) as wire:
                run(Place(broker, shared.client(KafkaTools), wire, f"tools.{run.__name__}"))
            expect(broker.alive(), lambda: f"the broker ended:\n{broker.log()}")

        version = "" if missing else KafkaTools.version
        yield Case(f"kafka/kafka-tools/{run.__name__}", KafkaTools.name, version, title, one)


# Topics.


def topic_words(ended):
    """{field: value} of the first line of `kafka-topics --describe`."""
    return dict(re.findall(r"(\w+): (\S*)", ended.out.splitlines()[0]))


@tool("kafka-topics --create: partitions, settings, twice, --if-not-exists, wrong settings")
def topics_create(place):
    create = ("--create", "--topic", place.name)
    made = place.tools.well(TOPICS, *create, "--partitions", 3, "--config", "retention.ms=7200000", "--replication-factor", 1)
    says(made, f"Created topic {place.name}.")
    equal(sorted(place.wire.metadata([place.name])[place.name][1]), [0, 1, 2], "partitions")
    place.tools.fails("already exists", TOPICS, *create)
    place.tools.well(TOPICS, *create, "--if-not-exists")
    other = place.name + ".other"
    place.tools.fails("no.such.setting", TOPICS, "--create", "--topic", other, "--config", "no.such.setting=1")
    place.tools.fails("retention.ms", TOPICS, "--create", "--topic", other, "--config", "retention.ms=soon")
    place.tools.fails("replication", TOPICS, "--create", "--topic", other, "--replication-factor", 3)
    place.tools.fails("partitions", TOPICS, "--create", "--topic", other, "--partitions", 0)
    place.tools.well(TOPICS, "--create", "--topic", other, "--replica-assignment", "0,0")
    equal(sorted(place.wire.metadata([other])[other][1]), [0, 1], "partitions of an assignment by hand")


@tool("kafka-topics --list, --describe")
def topics_describe(place):
    place.tools.well(TOPICS, "--create", "--topic", place.name, "--partitions", 2, "--config", "max.message.bytes=20000")
    expect(place.name in place.tools.well(TOPICS, "--list").lines(), "the topic is not listed")
    described = place.tools.well(TOPICS, "--describe", "--topic", place.name)
    words = topic_words(described)
    equal((words["Topic"], words["PartitionCount"], words["ReplicationFactor"]), (place.name, "2", "1"), "the first line")
    expect("max.message.bytes=20000" in words["Configs"], lambda: f"settings: {words['Configs']}")
    equal(len(words["TopicId"]), 22, "letters of the id")
    partitions = [line.split() for line in described.lines()[1:]]
    equal([line[3] for line in partitions], ["0", "1"], "partitions")
    expect(all(line[5] == line[7] == line[9] for line in partitions), lambda: f"leader, replicas and in sync: {described.out}")
    by_id = place.tools.well(TOPICS, "--describe", "--topic-id", words["TopicId"])
    equal(by_id.lines()[0], described.lines()[0], "the first line when described by id")
    none = place.tools.well(TOPICS, "--describe", "--topic", place.name, "--under-replicated-partitions")
    equal(none.lines(), [], "partitions without all replicas")
    place.tools.fails("does not exist", TOPICS, "--describe", "--topic", place.name + ".nope")


@tool("kafka-topics --alter: more partitions, not fewer")
def topics_alter(place):
    made(place, 2)
    place.tools.well(TOPICS, "--alter", "--topic", place.name, "--partitions", 5)
    equal(sorted(place.wire.metadata([place.name])[place.name][1]), [0, 1, 2, 3, 4], "partitions")
    place.tools.fails("5", TOPICS, "--alter", "--topic", place.name, "--partitions", 2)
    place.tools.fails("5", TOPICS, "--alter", "--topic", place.name, "--partitions", 5)
    equal(len(place.wire.metadata([place.name])[place.name][1]), 5, "partitions after the refusals")
    place.wire.produce(place.name, batch(numbered(1)), partition=4)


@tool("kafka-topics --delete")
def topics_delete(place):
    made(place)
    place.tools.well(TOPICS, "--delete", "--topic", place.name)
    expect(place.name not in place.tools.well(TOPICS, "--list").lines(), "the topic is still listed")
    place.tools.fails("does not exist", TOPICS, "--delete", "--topic", place.name)
    place.tools.well(TOPICS, "--delete", "--topic", place.name, "--if-exists")


# Records.


@tool("kafka-console-producer, -consumer: lines in, lines out")
def console(place):
    lines = "".join(f"line {number}\n" for number in range(1000))
    made(place)
    place.tools.well(CONSOLE_PRODUCER, "--topic", place.name, input=lines)
    read = place.tools.well(CONSOLE_CONSUMER, "--topic", place.name, "--from-beginning", "--max-messages", 1000)
    equal(read.out, lines, "lines")
    says(read, "Processed a total of 1000 messages")


@tool("kafka-console-producer, -consumer: keys, headers, nulls, compression")
def console_parts(place):
    properties = ("parse.key=true", "parse.headers=true", "null.marker=NULL")
    given = [word for each in properties for word in ("--reader-property", each)]
    lines = "h1:v1,h2:v2\tkey\tvalue\nNULL\tkey\tNULL\nh:x\tNULL\tvalue\n"
    made(place)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        place.tools.well(CONSOLE_PRODUCER, "--topic", place.name, "--compression-codec", codec, *given, input=lines)
    shown = ("print.key=true", "print.headers=true", "print.offset=true", "print.partition=true", "null.literal=NULL")
    wanted = [word for each in shown for word in ("--formatter-property", each)]
    read = place.tools.well(CONSOLE_CONSUMER, "--topic", place.name, "--from-beginning", "--max-messages", 15, *wanted)
    start = ["h1:v1,h2:v2\tkey\tvalue", "NO_HEADERS\tkey\tNULL", "h:x\tNULL\tvalue"]
    equal(read.lines(), [f"Partition:0\tOffset:{n}\t{start[n % 3]}" for n in range(15)], "records")


@tool("kafka-console-consumer: from an offset, until nothing comes, by pattern, in a group that goes on")
def console_places(place):
    made(place)
    place.wire.produce(place.name, batch([Record(value=b"%d" % number) for number in range(10)]))
    read = place.tools.well(CONSOLE_CONSUMER, "--topic", place.name, "--partition", 0, "--offset", 7, "--max-messages", 3)
    equal(read.lines(), ["7", "8", "9"], "records from offset 7")
    # No record within the time given is an end without error.
    read = place.tools.well(CONSOLE_CONSUMER, "--topic", place.name, "--partition", 0, "--offset", 8, "--timeout-ms", 3000)
    equal(read.lines(), ["8", "9"], "records until nothing comes")
    group = ("--group", place.name, "--from-beginning", "--max-messages")
    equal(place.tools.well(CONSOLE_CONSUMER, "--topic", place.name, *group, 4).lines(), list("0123"), "the group's first")
    pattern = place.name.replace(".", "[.]") + "$"
    read = place.tools.well(CONSOLE_CONSUMER, "--include", pattern, *group, 6, "--isolation-level", "read_committed")
    equal(read.lines(), list("456789"), "what the group reads next")


@tool("kafka-producer-perf-test, kafka-consumer-perf-test")
def perf(place):
    made(place, 2)
    sent = place.tools.well(
        PRODUCER_PERF, "--topic", place.name, "--num-records", 20_000, "--record-size", 200, "--throughput", -1,
        "--command-property", "acks=all",
    )
    says(sent, "20000 records sent")
    read = place.tools.well(CONSUMER_PERF, "--topic", place.name, "--num-records", 20_000, "--timeout", 20_000)
    equal(read.lines()[-1].split(", ")[4], "20000", "records read")


@tool("kafka-e2e-latency")
def latency(place):
    made(place)
    measured = place.tools.well(
        END_TO_END, "--topic", place.name, "--num-records", 200, "--producer-acks", "all", "--record-size", 100
    )
    says(measured, "Avg latency:", "Percentiles: 50th")


@tool("kafka-get-offsets: latest, earliest, largest time, by time")
def get_offsets(place):
    now_ms = int(time.time() * 1000)
    made(place, 2)
    for ago in (3, 1, 2):
        place.wire.produce(place.name, batch([Record(value=b"x", timestamp_ms=now_ms - ago * HOUR_MS)]))
    for when, wanted in [
        ("latest", [3, 0]),
        ("earliest", [0, 0]),
        (-1, [3, 0]),
        ("max-timestamp", [1, -1]),
        (now_ms - 3 * HOUR_MS + 1, [1, -1]),
        (now_ms, [-1, -1]),
    ]:
        seen = place.tools.well(GET_OFFSETS, "--topic", place.name, "--time", when)
        # A partition without an answer is left out or is named without offset.
        answers = {line.rsplit(":", 1)[0]: line.rsplit(":", 1)[1] for line in seen.lines()}
        offsets = [int(answers.get(f"{place.name}:{partition}") or -1) for partition in (0, 1)]
        equal(offsets, wanted, f"offsets at {when}")
    equal(
        place.tools.well(GET_OFFSETS, "--topic-partitions", f"{place.name}:1").lines(), [f"{place.name}:1:0"], "one partition"
    )
    place.tools.fails("Could not match any", GET_OFFSETS, "--topic", place.name + ".nope")


@tool("kafka-delete-records")
def delete_records(place):
    made(place, 2)
    for partition in (0, 1):
        place.wire.produce(place.name, batch(numbered(10)), partition=partition)
    cut = [{"topic": place.name, "partition": 0, "offset": 4}, {"topic": place.name, "partition": 1, "offset": -1}]
    plan = place.file("json", json.dumps({"partitions": cut, "version": 1}))
    done = place.tools.well(DELETE_RECORDS, "--offset-json-file", plan)
    says(done, f"partition: {place.name}-0\tlow_watermark: 4", f"partition: {place.name}-1\tlow_watermark: 10")
    starts = place.tools.well(GET_OFFSETS, "--topic", place.name, "--time", "earliest")
    equal(starts.lines(), [f"{place.name}:0:4", f"{place.name}:1:10"], "where the partitions start")
    beyond = [{"topic": place.name, "partition": 0, "offset": 11}]
    plan = place.file("json", json.dumps({"partitions": beyond, "version": 1}))
    says(place.tools.well(DELETE_RECORDS, "--offset-json-file", plan), "OffsetOutOfRangeException")


# Groups.


def stand(place, partitions=1, records=10):
    """A topic, and a group of the same name that stands at its start without members."""
    made(place, partitions)
    for partition in range(partitions):
        place.wire.produce(place.name, batch(numbered(records)), partition=partition)
    reset(place, "--to-earliest")


def reset(place, *how, topic=None):
    """Resets, and gives {partition: offset} as the tool prints them."""
    told = place.tools.well(
        GROUPS, "--group", place.name, "--reset-offsets", "--topic", topic or place.name, *how, "--execute"
    )
    return {int(row[2]): int(row[3]) for row in told.rows() if row[:2] == [place.name, place.name]}


def standing(place):
    """{partition: (offset, end, lag)} of the group as it is described."""
    told = place.tools.well(GROUPS, "--describe", "--group", place.name)
    return {int(row[2]): tuple(row[3:6]) for row in told.rows() if row[:2] == [place.name, place.name]}


def member(place):
    """Starts a console consumer in the group and waits until it has read all of ten records."""
    run = place.tools.start(
        CONSOLE_CONSUMER, "--topic", place.name, "--group", place.name, "--from-beginning", "--command-property",
        "client.id=one", "--command-property", "auto.commit.interval.ms=100",
    )
    place.tools.until_said(run, "value-9\n")
    return run


def leave(place, run):
    place.tools.interrupt(run)
    place.tools.end(run)


@tool("kafka-consumer-groups --list, by state and type; kafka-groups --list")
def groups_list(place):
    stand(place)
    expect(place.name in place.tools.well(GROUPS, "--list").lines(), "the group is not listed")
    expect([place.name, "Empty"] in place.tools.well(GROUPS, "--list", "--state").rows(), "it is not listed as empty")
    expect(place.name in place.tools.well(GROUPS, "--list", "--state", "empty").out, "it is not among the empty ones")
    expect(place.name not in place.tools.well(GROUPS, "--list", "--state", "stable").out, "it is among the stable ones")
    expect(place.name in place.tools.well(GROUPS, "--list", "--type", "classic").out, "it is not among the classic ones")
    rows = place.tools.well(ALL_GROUPS, "--list").rows()
    expect([place.name, "Classic"] in [row[:2] for row in rows], lambda: f"kafka-groups lists {rows}")


@tool("kafka-consumer-groups --describe: offsets, members, state, an unknown group")
def groups_describe(place):
    stand(place, partitions=1)
    equal(standing(place), {0: ("0", "10", "10")}, "the group before it reads")
    run = member(place)
    rows = until(lambda: described_as_read(place), 20, "the offsets are committed")
    equal(rows[0][7:], ["/127.0.0.1", "one"], "the member's place and client id")
    members = place.tools.well(GROUPS, "--describe", "--group", place.name, "--members", "--verbose")
    (row,) = [row for row in members.rows() if row[0] == place.name]
    equal((row[2:5], f"{place.name}:0" in row), (["/127.0.0.1", "one", "1"], True), "the member's row")
    state = place.tools.well(GROUPS, "--describe", "--group", place.name, "--state")
    (row,) = [row for row in state.rows() if row[0] == place.name]
    equal((row[1], row[-3:]), (place.broker.address, ["range", "Stable", "1"]), "the state's row")
    leave(place, run)
    state = place.tools.well(GROUPS, "--describe", "--group", place.name, "--state")
    (row,) = [row for row in state.rows() if row[0] == place.name]
    equal(row[-2:], ["Empty", "0"], "the state after it left")
    equal(standing(place), {0: ("10", "10", "0")}, "the group after it left")
    # Groups of other cases come and go between the tool's two questions, and it then ends with such a one's error.
    until(lambda: place.name in place.tools.well(GROUPS, "--describe", "--all-groups").out, 60, "all groups are described")
    says(place.tools.well(GROUPS, "--describe", "--group", place.name + ".nope"), "GroupIdNotFoundException")


def described_as_read(place):
    told = place.tools.well(GROUPS, "--describe", "--group", place.name)
    rows = [row for row in told.rows() if row[:2] == [place.name, place.name]]
    return rows if rows and all(row[3] == row[4] for row in rows) else None


@tool("kafka-consumer-groups --reset-offsets: to ends, offset, time, age, by a step, from a file; refused while members are there")
def groups_reset(place):
    now_ms = int(time.time() * 1000)
    made(place, 2)
    for partition in (0, 1):
        for hour in range(10):
            ago_ms = (9 - hour) * HOUR_MS + HOUR_MS // 2
            place.wire.produce(
                place.name, batch([Record(value=b"value-%d" % hour, timestamp_ms=now_ms - ago_ms)]), partition=partition
            )

    def both(offset):
        return {0: offset, 1: offset}

    equal(reset(place, "--to-earliest"), both(0), "to the start")
    equal(reset(place, "--to-latest"), both(10), "to the end")
    equal(reset(place, "--to-offset", 4), both(4), "to an offset")
    equal(reset(place, "--shift-by", 3), both(7), "on by three")
    equal(reset(place, "--shift-by", -100), both(0), "back by more than there is")
    equal(reset(place, "--to-offset", 1000), both(10), "to an offset beyond the end")
    equal(reset(place, "--by-duration", "PT3H"), both(7), "three hours back")
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000", time.gmtime((now_ms - 5 * HOUR_MS) / 1000))
    equal(reset(place, "--to-datetime", moment), both(5), "to a time")
    equal(reset(place, "--to-current"), both(5), "to where it stands")
    equal(reset(place, "--to-offset", 2, topic=f"{place.name}:1"), {1: 2}, "one partition")
    equal({number: row[0] for number, row in standing(place).items()}, {0: "5", 1: "2"}, "where the group stands")
    only_said = ("--group", place.name, "--reset-offsets", "--to-latest", "--all-topics", "--dry-run")
    exported = place.tools.well(GROUPS, *only_said, "--export").out.strip()
    equal(sorted(exported.splitlines()), [f"{place.name},{n},10" for n in (0, 1)], "what a dry run exports")
    equal({number: row[0] for number, row in standing(place).items()}, {0: "5", 1: "2"}, "the group after a dry run")
    plan = place.file("csv", f"{place.name},0,3\n{place.name},1,4\n")
    place.tools.well(GROUPS, "--group", place.name, "--reset-offsets", "--from-file", plan, "--execute")
    equal({number: row[0] for number, row in standing(place).items()}, {0: "3", 1: "4"}, "the group after a plan from a file")
    run = member(place)
    refused = place.tools.run(
        GROUPS, "--group", place.name, "--reset-offsets", "--topic", place.name, "--to-earliest", "--execute"
    )
    says(refused, "the current state is Stable")
    leave(place, run)


@tool("kafka-consumer-groups --delete, --delete-offsets; refused while members are there")
def groups_delete(place):
    stand(place)
    run = member(place)
    says(place.tools.run(GROUPS, "--delete", "--group", place.name), "GroupNotEmptyException")
    says(
        place.tools.run(GROUPS, "--delete-offsets", "--group", place.name, "--topic", place.name),
        "GroupSubscribedToTopicException",
    )
    leave(place, run)
    done = place.tools.well(GROUPS, "--delete-offsets", "--group", place.name, "--topic", place.name)
    says(done, "Request succeeded for deleting offsets")
    equal(standing(place), {}, "offsets after they were deleted")
    reset(place, "--to-latest")
    says(place.tools.well(GROUPS, "--delete", "--group", place.name), "was successful")
    expect(place.name not in place.tools.well(GROUPS, "--list").lines(), "the group is still listed")
    says(place.tools.run(GROUPS, "--delete", "--group", place.name), "GroupIdNotFoundException")


# Settings and the broker.


def settings(place, *what):
    """{name: (value, the rest of the line)} as kafka-configs prints them."""
    told = place.tools.well(CONFIGS, *what, "--describe")
    found = re.findall(r"^  ([\w.-]+)=(.*?) sensitive=\w+ (synonyms=.*)$", told.out, re.MULTILINE)
    return {name: (value, rest) for name, value, rest in found}


@tool("kafka-configs for topics: describe, --all, alter, delete; wrong names and values refused")
def configs_topics(place):
    topic = ("--entity-type", "topics", "--entity-name", place.name)
    made(place)
    equal(settings(place, *topic), {}, "settings of a new topic")
    change = "retention.ms=7200000,cleanup.policy=[compact,delete]"
    says(place.tools.well(CONFIGS, *topic, "--alter", "--add-config", change), f"Completed updating config for topic {place.name}.")
    seen = settings(place, *topic)
    equal(
        {name: value for name, (value, _) in seen.items()},
        {"retention.ms": "7200000", "cleanup.policy": "compact,delete"},
        "settings after the change",
    )
    expect(
        seen["cleanup.policy"][1]
        == "synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, DEFAULT_CONFIG:log.cleanup.policy=delete}",
        lambda: f"where it comes from: {seen['cleanup.policy']}",
    )
    whole = {name: value for name, (value, _) in settings(place, *topic, "--all").items()}
    for name, value in [
        ("retention.ms", "7200000"),
        ("retention.bytes", "-1"),
        ("segment.bytes", "1073741824"),
        ("compression.type", "producer"),
        ("message.timestamp.type", "CreateTime"),
        ("min.insync.replicas", "1"),
    ]:
        equal(whole.get(name), value, name)
    place.tools.well(CONFIGS, *topic, "--alter", "--delete-config", "cleanup.policy")
    equal(list(settings(place, *topic)), ["retention.ms"], "settings after one was taken back")
    place.tools.fails("no.such", CONFIGS, *topic, "--alter", "--add-config", "no.such=1")
    place.tools.fails("retention.ms", CONFIGS, *topic, "--alter", "--add-config", "retention.ms=soon")
    equal(list(settings(place, *topic)), ["retention.ms"], "settings after the refusals")
    says(place.tools.run(CONFIGS, "--entity-type", "topics", "--entity-name", place.name + ".nope", "--describe"), "doesn't exist")


def broker_id(place):
    return re.search(r"\(id: (\d+)", place.tools.well(API_VERSIONS).out).group(1)


@tool("kafka-configs for brokers: describe, --all, alter, delete; one broker and the default of all")
def configs_brokers(place):
    one = ("--entity-type", "brokers", "--entity-name", broker_id(place))
    every = ("--entity-type", "brokers", "--entity-default")
    place.tools.well(CONFIGS, *one, "--alter", "--add-config", "background.threads=8")
    equal(settings(place, *one)["background.threads"][0], "8", "a broker's own setting")
    expect("DYNAMIC_BROKER_CONFIG" in settings(place, *one)["background.threads"][1], "its source")
    place.tools.well(CONFIGS, *one, "--alter", "--delete-config", "background.threads")
    expect("background.threads" not in settings(place, *one), "the setting was not taken back")
    place.tools.well(CONFIGS, *every, "--alter", "--add-config", "background.threads=9")
    equal(settings(place, *every)["background.threads"][0], "9", "the default of all brokers")
    place.tools.well(CONFIGS, *every, "--alter", "--delete-config", "background.threads")
    expect("background.threads" not in settings(place, *every), "the default was not taken back")
    expect(len(settings(place, *one, "--all")) > 10, "all settings are few")


@tool("kafka-configs for groups: describe, alter, delete")
def configs_groups(place):
    group = ("--entity-type", "groups", "--entity-name", place.name)
    place.tools.well(CONFIGS, *group, "--alter", "--add-config", "consumer.session.timeout.ms=50000")
    equal(settings(place, *group)["consumer.session.timeout.ms"][0], "50000", "a group's setting")
    place.tools.well(CONFIGS, *group, "--alter", "--delete-config", "consumer.session.timeout.ms")
    expect("consumer.session.timeout.ms" not in settings(place, *group), "the setting was not taken back")
    place.tools.fails("no.such", CONFIGS, *group, "--alter", "--add-config", "no.such=1")


@tool("kafka-log-dirs --describe")
def log_dirs(place):
    made(place, 2)
    place.wire.produce(place.name, batch(numbered(1000)))
    told = place.tools.well(LOG_DIRS, "--describe", "--topic-list", place.name)
    (broker,) = json.loads(told.lines()[-1])["brokers"]
    (folder,) = broker["logDirs"]
    equal(folder["error"], None, "the folder's error")
    sizes = {each["partition"]: each["size"] for each in folder["partitions"]}
    equal(sorted(sizes), [f"{place.name}-0", f"{place.name}-1"], "partitions")
    expect(sizes[f"{place.name}-0"] > 10_000, lambda: f"bytes of the written partition: {sizes}")


@tool("kafka-broker-api-versions")
def api_versions(place):
    told = place.tools.well(API_VERSIONS)
    expect(told.out.startswith(f"{place.broker.address} (id: "), lambda: f"its first line: {told.out[:100]}")
    says(told, "Produce(0): 0 to 13 [usable: 13]", "Fetch(1): 4 to 18 [usable: 18]", "JoinGroup(11): 0 to 9 [usable: 9]")


@tool("kafka-cluster cluster-id, list-endpoints")
def cluster(place):
    told = place.tools.well(CLUSTER, "cluster-id")
    expect(re.fullmatch(r"Cluster ID: [\w-]{22}", told.lines()[0]), lambda: f"the id: {told.out}")
    rows = place.tools.well(CLUSTER, "list-endpoints").rows()
    host, port = place.broker.address.rsplit(":", 1)
    expect([host, port] in [row[1:3] for row in rows], lambda: f"where the brokers are: {rows}")


@tool("kafka-metadata-quorum describe --status, --replication")
def quorum(place):
    status = place.tools.well(QUORUM, "describe", "--status")
    words = {line.split(":")[0]: line.split(":", 1)[1].strip() for line in status.lines()}
    expect(int(words["LeaderId"]) >= 0 and int(words["HighWatermark"]) >= 0, lambda: f"the status: {status.out}")
    expect(words["CurrentVoters"] != "[]", "there is no voter")
    rows = place.tools.well(QUORUM, "describe", "--replication").rows()
    expect(any(row[0] == words["LeaderId"] and row[-1] == "Leader" for row in rows), lambda: f"the leader is not in {rows}")


@tool("kafka-features describe")
def features(place):
    place.tools.well(FEATURES, "describe")


@tool("kafka-transactions describe-producers")
def producers(place):
    made(place)
    place.tools.well(PRODUCER_PERF, "--topic", place.name, "--num-records", 3, "--record-size", 10, "--throughput", -1)
    rows = place.tools.well(TRANSACTIONS, "describe-producers", "--topic", place.name, "--partition", 0).rows()
    (row,) = [row for row in rows if row[0] != "ProducerId"]
    equal((row[1], row[3], row[-1]), ("0", "2", "None"), "epoch, last sequence and transaction of the one producer")


@tool("kafka-leader-election: the leader is the right one already")
def leader_election(place):
    made(place)
    told = place.tools.well(ELECTION, "--election-type", "preferred", "--topic", place.name, "--partition", 0)
    says(told, f"Valid replica already elected for partitions {place.name}-0")


@tool("kafka-reassign-partitions --list, --verify")
def reassign(place):
    made(place)
    says(place.tools.well(REASSIGN, "--list"), "No partition reassignments found.")
    where = [{"topic": place.name, "partition": 0, "replicas": [int(broker_id(place))]}]
    plan = place.file("json", json.dumps({"partitions": where, "version": 1}))
    told = place.tools.well(REASSIGN, "--verify", "--reassignment-json-file", plan)
    says(told, f"Reassignment of partition {place.name}-0 is completed.")


# The verifiable tools, in JVMs of their own.


def verifiable(place, main, *arguments):
    """Runs it to its end; the events it tells, each one a JSON line."""
    command = KafkaTools.java(main) + ["--bootstrap-server", place.broker.address, "--topic", place.name]
    done = subprocess.run(
        command + [str(each) for each in arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=2 * RUN_S_MAX, check=False
    )
    expect(done.returncode == 0, lambda: f"it exited with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]


@tool("kafka-verifiable-producer, -consumer: each record sent once and acknowledged, read once, committed")
def verifiable_pair(place):
    made(place, 3)
    sent = verifiable(place, VERIFIABLE_PRODUCER, "--max-messages", 3000, "--acks", -1)
    told = sent[-1]
    equal((told["name"], told["sent"], told["acked"]), ("tool_data", 3000, 3000), "what the producer tells")
    read = verifiable(
        place, VERIFIABLE_CONSUMER, "--group-id", place.name, "--max-messages", 3000, "--reset-policy", "earliest", "--verbose",
        "--session-timeout", 10_000,
    )
    names = [event["name"] for event in read]
    expect(names[0] == "startup_complete" and "shutdown_complete" in names, lambda: f"the consumer's events: {names[:3]}, {names[-3:]}")
    values = sorted(int(event["value"]) for event in read if event["name"] == "record_data")
    equal(values, list(range(3000)), "values")
    commits = [event for event in read if event["name"] == "offsets_committed"]
    expect(commits and all(event["success"] for event in commits), lambda: f"commits: {commits}")
    equal(sum(int(row[0]) for row in standing(place).values()), 3000, "offsets committed together")
