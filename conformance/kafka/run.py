# SPDX-License-Identifier: Apache-2.0
"""Runs every case against the real broker and writes the results file. `cargo xtask conformance` sets the clients up and calls this."""

import argparse
import itertools
import os
import shutil
import sys
import threading

import bad_groups
import bad_input
import clients
import command_line
import committed_offsets
import compacted
import connect
import cross
import disk_full
import features
import group_input
import java_api
import kafka_python_tests
import tools
from apache_kafka import ApacheKafka
from broker import Broker, Served
from case import ALONE, Case, Skip, expect, run_all
from group_wire import GroupWire


# Modules beside this one that make cases of their own: `cases(shared)` lists them.
MORE = [group_input, committed_offsets, compacted, kafka_python_tests, java_api, tools, connect, command_line]
# Lanes at a time. Most cases wait for something; more would only slow each other down where there are two cores.
LANES_MAX = 3


class Shared:
    """The broker and the clients that most cases use together. A broker that died is replaced, and the case that saw it fails."""

    def __init__(self, kind, programs, absent, rounds):
        # The kind of broker under test: `fresh` makes another one of it.
        self.kind = kind
        # Programs that were set up, name -> path, and those that are not here, name -> reason.
        self.programs = programs
        self.absent = absent
        self.rounds = rounds
        self.current = None
        self.open = {}
        self.lock = threading.Lock()

    def fresh(self, settings=None):
        """A broker of a case's own."""
        return self.kind(settings)

    def broker(self):
        with self.lock:
            if self.current is None or not self.current.alive():
                self.current = self.kind()
            return self.current

    def client(self, kind):
        """The client that the cases of its lane share."""
        broker = self.broker()
        kept, where = self.open.get(kind.name, (None, None))
        if where is not broker:
            if kept is not None:
                kept.close()
            kept = kind(broker.address)
            self.open[kind.name] = kept, broker
        return kept

    def forget(self, kind):
        """The next case gets a client of its own: this one may hang in the middle of something."""
        client, _ = self.open.pop(kind.name, (None, None))
        if client is not None:
            client.close()

    def close(self):
        for client, _ in self.open.values():
            client.close()
        self.open = {}
        if self.current is not None and self.current.alive():
            self.current.stop()
        self.current = None


def skipping(reason):
    def run():
        raise Skip(reason)

    return run


def feature_case(shared, kind, feature):
    name = f"kafka/{kind.name}/{feature.name}"
    tries = itertools.count(1)

    def run():
        number = next(tries)
        topic = f"{kind.name}.{feature.name}" + (f".{number}" if number > 1 else "")
        if feature.own_broker:
            with shared.fresh() as broker, GroupWire(broker.host_port) as wire:
                client = kind(broker.address)
                try:
                    feature.run(features.Place(broker, client, topic, wire))
                finally:
                    client.close()
            return
        broker = shared.broker()
        if number > 1:
            shared.forget(kind)
        client = shared.client(kind)
        with GroupWire(broker.host_port) as wire:
            feature.run(features.Place(broker, client, topic, wire))
        expect(broker.alive(), lambda: f"the broker ended:\n{broker.log()}")

    return Case(name, kind.name, kind.version, feature.name, run)


def cross_cases(shared, kinds):
    for writer in kinds:
        for reader in kinds:

            def read(reader=reader, writer=writer):
                broker = shared.broker()
                topic = f"cross.{writer.name}"
                with GroupWire(broker.host_port) as wire:
                    # Written by the first case that reads it.
                    if wire.metadata([topic])[topic][0] != 0:
                        cross.write(shared.client(writer), wire, topic)
                cross.read(shared.client(reader), shared.client(writer), topic)

            name = f"kafka/cross/written by {writer.name}/read by {reader.name}"
            yield Case(name, reader.name, reader.version, f"cross_read {writer.name}", read, lane=ALONE)


def all_cases(shared):
    cases = []
    for kind in clients.ALL:
        for feature in features.ALL:
            if feature.name not in kind.cannot:
                case = feature_case(shared, kind, feature)
                if kind.name in shared.absent:
                    case.run, case.version = skipping(shared.absent[kind.name]), ""
                cases.append(case)
    cases += cross_cases(shared, [kind for kind in clients.ALL if kind.name not in shared.absent])
    for module in MORE:
        cases += module.cases(shared)
    for run in bad_input.CASES + bad_groups.CASES:
        cases.append(Case(f"kafka/bad input/{run.__name__}", "", "", "", run, lane=ALONE, peer=False))
    cases.append(Case("kafka/disk full", "", "", "", disk_full.disk_full, lane=ALONE, peer=False))
    return cases


def pair(text):
    name, _, value = text.partition("=")
    return name, value


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--polylog", required=True, help="the broker's program")
    arguments.add_argument("--results", required=True, help="file to be written, one JSON object a case")
    arguments.add_argument("--scratch", required=True, help="folder for data directories and logs")
    arguments.add_argument("--with", dest="programs", type=pair, action="append", default=[], help="client=program")
    arguments.add_argument("--without", dest="absent", type=pair, action="append", default=[], help="client=reason")
    arguments.add_argument("--only", help="part of the names of the cases to run")
    arguments.add_argument("--rounds", type=int, default=5, help="of kill -9, where a case has rounds")
    arguments.add_argument("--peer", action="store_true", help="against Apache Kafka instead")
    arguments.add_argument("--list", action="store_true")
    given = arguments.parse_args()
    programs = dict(given.programs)
    clients.configure(programs)
    Broker.program = os.path.abspath(given.polylog)
    if given.peer and "apache-kafka" not in programs:
        sys.exit(f"Apache Kafka is not here, because {dict(given.absent).get('apache-kafka')}")
    if "apache-kafka" in programs:
        ApacheKafka.jars = os.path.join(programs["apache-kafka"], "jars")
    Served.scratch = os.path.abspath(given.scratch)
    shutil.rmtree(Served.scratch, ignore_errors=True)
    os.makedirs(Served.scratch)
    shared = Shared(ApacheKafka if given.peer else Broker, programs, dict(given.absent), given.rounds)
    cases = [case for case in all_cases(shared) if (given.only or "") in case.name and (case.peer or not given.peer)]
    if given.list:
        for case in cases:
            print(case.name)
        return
    run_all(cases, given.results, LANES_MAX)
    shared.close()


if __name__ == "__main__":
    # Failed cases are in the results; the exit code says whether the run itself went to its end.
    main()
