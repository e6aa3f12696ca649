# SPDX-License-Identifier: Apache-2.0
"""Kafka Connect: a standalone worker, unmodified, with its file source and file sink.

Owns: the worker's process and its files, the cases.
Must not know: whose broker it is.

Lines written to a file travel through a topic into another file. The worker commits what it has read and written in a file (source) and
in a group (sink); ended in order it repeats nothing, and after a broker's sudden end it may repeat but not lose.
"""

import os
import signal
import subprocess

from case import Case, Skip, equal, expect, until
from group_wire import GroupWire
from tools import KafkaTools

NAME = "connect"
MAIN = "org.apache.kafka.connect.cli.ConnectStandalone"
# Jetty, Jersey and a scan of the class path take their time beside a busy broker.
MOVED_S_MAX = 60
STOP_S_MAX = 60
STRING = "org.apache.kafka.connect.storage.StringConverter"
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
            (
                "Source",
                {
                    "file": self.source,
                    "topic": name,
                    "batch.size": 100,
                    # The worker makes the topic. One partition: lines have no key, and their order is looked at.
                    "topic.creation.default.partitions": 1,
                    "topic.creation.default.replication.factor": 1,
                },
            ),
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

        def look():
            expect(worker.alive(), lambda: f"the worker ended:\n{worker.log()}")
            return self.written[-1] in self.arrived()

        try:
            until(look, MOVED_S_MAX, "the last line arrives")
        except AssertionError as late:
            raise AssertionError(f"{late}; {len(self.arrived())} of {len(self.written)} are there:\n{worker.log()}") from None


def write_properties(path, properties):
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"{name}={value}\n" for name, value in properties.items())


class Worker:
    def __init__(self, folder, address, pipes):
        self.properties = os.path.join(folder, "worker.properties")
        self.log_path = os.path.join(folder, "worker.log")
        self.pipes = pipes
        write_properties(
            self.properties,
            {
                "bootstrap.servers": address,
                "key.converter": STRING,
                "value.converter": STRING,
                "offset.storage.file.filename": os.path.join(folder, "offsets"),
                "offset.flush.interval.ms": 200,
                "listeners": "http://127.0.0.1:0",
                # Connectors are found by their manifests; looking into each jar takes seconds.
                "plugin.discovery": "service_load",
            },
        )
        self.start()

    def start(self):
        files = [self.properties] + [file for pipe in self.pipes for file in pipe.files]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                KafkaTools.java(MAIN) + files, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def alive(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-4000:]

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


def folder(broker, name):
    path = os.path.join(broker.scratch, f"connect-{os.path.basename(broker.data_dir)}-{name}")
    os.makedirs(path)
    return path


def file_to_file(shared):
    """Two pipes in one worker, records as text and as JSON with a schema."""
    broker = shared.broker()
    place = folder(broker, "file_to_file")
    pipes = [Pipe(place, "connect.text", STRING), Pipe(place, "connect.json", JSON)]
    for pipe in pipes:
        pipe.write(500)
    with Worker(place, broker.address, pipes) as worker, GroupWire(broker.host_port) as wire:
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
        pipe.write(500)
        with Worker(place, broker.address, [pipe]) as worker:
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


TITLES = {
    file_to_file: "Connect standalone: lines from a file through a topic into a file, as text and as JSON",
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
