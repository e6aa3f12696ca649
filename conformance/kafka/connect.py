# SPDX-License-Identifier: Apache-2.0
"""Kafka Connect, unmodified: a standalone worker with its file source and file sink, and MirrorMaker between two brokers.

Owns: the workers' processes and their files, the cases.
Must not know: whose brokers they are.

Lines written to a file travel through a topic into another file. The worker commits what it has read and written in a file (source) and
in a group (sink); ended in order it repeats nothing, and after a broker's sudden end it may repeat but not lose. MirrorMaker runs as a
distributed worker: it keeps its own state in topics of the target, and is a member of a group of Connect's own protocol there.
"""

import os
import signal
import subprocess

from case import Case, Refused, Skip, equal, expect, until
from group_wire import GroupWire
from records import numbered
from tools import KafkaTools
from wire import batch

NAME = "connect"
STANDALONE = "org.apache.kafka.connect.cli.ConnectStandalone"
MIRROR = "org.apache.kafka.connect.mirror.MirrorMaker"
# A kind of thing that has settings.
TOPIC = 2
# Jetty, Jersey and a scan of the class path take their time beside a busy broker.
MOVED_S_MAX = 120
STOP_S_MAX = 60
STRING = "org.apache.kafka.connect.storage.StringConverter"
# Connectors are found by their manifests; looking into each jar takes seconds.
QUICK = {"plugin.discovery": "service_load"}
JSON = "org.apache.kafka.connect.json.JsonConverter"


class Pipe:
    """A source connector and a sink connector with a topic between them."""

    def __init__(self, folder, name, converter):
        self.name = name
        self.source = os.path.join(folder, f"{name}.source")
        self.sink = os.path.join(folder, f"{name}.sink")
        self.written = []
        self.files = []
        for kind, properties in [
            ("Source", {"file": self.source, "topic": name, "batch.size": 100}),
            ("Sink", {"file": self.sink, "topics": name}),
        ]:
            path = os.path.join(folder, f"{name}-{kind}.properties")
            write_properties(
                path,
                {
                    "name": f"{name}-{kind.lower()}",
                    "connector.class": f"org.apache.kafka.connect.file.FileStream{kind}Connector",
                    "tasks.max": 1,
                    "value.converter": converter,
                    **properties,
                },
            )
            self.files.append(path)

    @property
    def group(self):
        return f"connect-{self.name}-sink"

    def made(self, wire):
        """Makes the topic, with one partition: lines have no key, and their order is looked at."""
        wire.made(self.name)

    def write(self, count):
        """Appends as many new lines to the source's file."""
        lines = [f"line {number}" for number in range(len(self.written), len(self.written) + count)]
        with open(self.source, "a", encoding="ascii") as file:
            file.writelines(line + "\n" for line in lines)
        self.written += lines

    def arrived(self):
        try:
            with open(self.sink, encoding="ascii") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def all_arrived(self, worker):
        """Waits for the last line written: lines keep their order."""
        worker.until(lambda: self.written[-1] in self.arrived(), f"line {len(self.written)} of {self.name} arrives")


def write_properties(path, properties):
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"{name}={value}\n" for name, value in properties.items())


class Worker:
    """A process of Connect's."""

    def __init__(self, folder, main, files):
        self.log_path = os.path.join(folder, "worker.log")
        self.command = KafkaTools.java(main) + files
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def alive(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-4000:]

    def until(self, probe, what):
        def look():
            expect(self.alive(), lambda: f"the worker ended:\n{self.log()}")
            return probe()

        try:
            until(look, MOVED_S_MAX, what)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.log()}") from None

    def stop(self):
        """In order: what was read and written is committed."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_S_MAX)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.alive():
            self.process.kill()
            self.process.wait(STOP_S_MAX)


def standalone(folder, address, pipes):
    properties = os.path.join(folder, "worker.properties")
    write_properties(
        properties,
        {
            "bootstrap.servers": address,
            "key.converter": STRING,
            "value.converter": STRING,
            "offset.storage.file.filename": os.path.join(folder, "offsets"),
            "offset.flush.interval.ms": 200,
            "listeners": "http://127.0.0.1:0",
            **QUICK,
        },
    )
    return Worker(folder, STANDALONE, [properties] + [file for pipe in pipes for file in pipe.files])


def folder(broker, name):
    path = os.path.join(broker.scratch, f"connect-{os.path.basename(broker.data_dir)}-{name}")
    os.makedirs(path)
    return path


def file_to_file(shared):
    """Two pipes in one worker, records as text and as JSON with a schema."""
    broker = shared.broker()
    place = folder(broker, "file_to_file")
    pipes = [Pipe(place, "connect.text", STRING), Pipe(place, "connect.json", JSON)]
    with GroupWire(broker.host_port) as wire:
        for pipe in pipes:
            pipe.made(wire)
            pipe.write(500)
    with standalone(place, broker.address, pipes) as worker, GroupWire(broker.host_port) as wire:
        for pipe in pipes:
            pipe.all_arrived(worker)
            pipe.write(700)
        for pipe in pipes:
            pipe.all_arrived(worker)
            equal(pipe.arrived(), pipe.written, f"lines of {pipe.name}")
            equal(wire.list_offset(pipe.name, -1), 1200, f"records of {pipe.name}")
        worker.stop()
        for pipe in pipes:
            equal(committed(wire, pipe), 1200, f"the offset that the sink of {pipe.name} committed")
    expect(broker.alive(), lambda: f"the broker ended:\n{broker.log()}")


def committed(wire, pipe):
    return wire.committed(pipe.group, pipe.name, [0])[0]


def restarts(shared):
    """The worker ends in order and goes on where it was; then the broker is killed while lines are moving."""
    with shared.fresh() as broker:
        place = folder(broker, "restarts")
        pipe = Pipe(place, "connect.restarts", STRING)
        with GroupWire(broker.host_port) as wire:
            pipe.made(wire)
        pipe.write(500)
        with standalone(place, broker.address, [pipe]) as worker:
            pipe.all_arrived(worker)
            worker.stop()
            pipe.write(500)
            worker.start()
            pipe.all_arrived(worker)
            equal(pipe.arrived(), pipe.written, "lines after the worker was started again")
            with GroupWire(broker.host_port) as wire:
                until(lambda: committed(wire, pipe) == 1000, 20, "the sink commits")
            pipe.write(2000)
            broker.kill()
            broker.start()
            pipe.all_arrived(worker)
            pipe.write(500)
            pipe.all_arrived(worker)
            # Once each and in order, when what came again is left out.
            equal(list(dict.fromkeys(pipe.arrived())), pipe.written, "lines after the broker was killed")
            equal(pipe.arrived()[:1000], pipe.written[:1000], "lines that were committed before")
            worker.stop()


def mirror(shared):
    """Topics, their settings and records, and where groups stand, from one broker to another; both go on meanwhile."""
    topic = group = "connect.mirror"
    target = shared.broker()
    with shared.fresh() as source, GroupWire(source.host_port) as from_wire, GroupWire(target.host_port) as to_wire:
        place = folder(source, "mirror")
        from_wire.made(topic, 2)
        equal(from_wire.alter_configs(TOPIC, topic, {"retention.ms": "7200000"}), 0, "the source's setting: error")
        for partition in (0, 1):
            from_wire.produce(topic, batch(numbered(50)), partition=partition)
        # One partition read to its end, one half.
        equal(set(from_wire.commit(group, {(topic, 0): 50, (topic, 1): 25}).values()), {0}, "errors of the commit")
        properties = os.path.join(place, "mirror.properties")
        write_properties(properties, mirror_properties(source.address, target.address, topic))
        with Worker(place, MIRROR, [properties]) as worker:
            worker.until(lambda: ends(to_wire, topic) == [50, 50], "the records arrive")
            for partition in (0, 1):
                piece, _ = to_wire.fetch(topic, 0, partition)
                expect(all(record.value in piece for record in numbered(50)), f"a record of partition {partition} is not there")
            worker.until(lambda: to_wire.committed(group, topic, [0])[0] == 50, "the group stands at the end")
            # In the middle it may be put a little earlier, never later: MirrorMaker remembers some pairs of offsets, not all.
            worker.until(lambda: 0 < to_wire.committed(group, topic, [1])[1] <= 25, "the group stands in the middle")
            worker.until(lambda: retention(to_wire, topic) == retention(from_wire, topic), "the setting arrives")
            from_wire.produce(topic, batch(numbered(10)), partition=1)
            worker.until(lambda: ends(to_wire, topic) == [50, 60], "later records arrive")
            worker.stop()
    expect(target.alive(), lambda: f"the target ended:\n{target.log()}")


def retention(wire, topic):
    return wire.describe_configs(TOPIC, topic, ["retention.ms"])[1]["retention.ms"]


def ends(wire, topic):
    try:
        return [wire.list_offset(topic, -1, partition) for partition in (0, 1)]
    except Refused:
        # Not made yet.
        return None


def mirror_properties(source, target, topics):
    one = ("", "checkpoints.topic.", "heartbeats.topic.", "offset-syncs.topic.", "offset.storage.", "status.storage.", "config.storage.")
    return {
        "clusters": "source, target",
        "source.bootstrap.servers": source,
        "target.bootstrap.servers": target,
        "source->target.enabled": "true",
        "source->target.topics": topics,
        "source->target.groups": topics,
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "sync.group.offsets.enabled": "true",
        "sync.group.offsets.interval.seconds": 1,
        "emit.checkpoints.interval.seconds": 1,
        "refresh.topics.interval.seconds": 2,
        "refresh.groups.interval.seconds": 2,
        "offset.lag.max": 0,
        # There are no ACLs to take along.
        "sync.topic.acls.enabled": "false",
        **{f"{each}replication.factor": 1 for each in one},
        **QUICK,
    }


TITLES = {
    file_to_file: "Connect standalone: lines from a file through a topic into a file, as text and as JSON",
    mirror: "MirrorMaker 2: topics, settings, records and the offsets of groups from one broker to another",
    restarts: "Connect standalone: goes on after a restart of the worker and after kill -9 of the broker",
}


def cases(shared):
    """The cases, for run.py."""
    missing = shared.absent.get("apache-kafka")
    KafkaTools.folder = shared.programs.get("apache-kafka")
    for run, title in TITLES.items():

        def one(run=run):
            if missing:
                raise Skip(missing)
            run(shared)

        version = "" if missing else KafkaTools.version
        yield Case(f"kafka/{NAME}/{run.__name__}", NAME, version, title, one)
