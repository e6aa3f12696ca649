# SPDX-License-Identifier: Apache-2.0
"""Runs every case against the real broker and writes the results file. `cargo xtask conformance` sets the clients up and calls this."""

import argparse
import os
import shutil
import sys

import bad_input
import clients
import cross
import disk_full
import features
from broker import Broker
from case import Case, Skip, expect, run_all
from wire import Wire


class Shared:
    """The broker and the clients that most cases use together. A broker that died is replaced, and the case that saw it fails."""

    def __init__(self):
        self.current = None
        self.open = {}

    def broker(self):
        if self.current is None or not self.current.alive():
            self.close()
            self.current = Broker()
        return self.current

    def client(self, kind):
        address = self.broker().address
        if kind.name not in self.open:
            self.open[kind.name] = kind(address)
        return self.open[kind.name]

    def close(self):
        for client in self.open.values():
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
    topic = f"{kind.name}.{feature.name}"

    def run():
        if feature.own_broker:
            with Broker() as broker, Wire(broker.host_port) as wire:
                client = kind(broker.address)
                try:
                    feature.run(features.Place(broker, client, topic, wire))
                finally:
                    client.close()
            return
        broker = shared.broker()
        client = shared.client(kind)
        with Wire(broker.host_port) as wire:
            feature.run(features.Place(broker, client, topic, wire))
        expect(broker.alive(), lambda: f"the broker ended:\n{broker.log()}")

    return Case(name, kind.name, kind.version, feature.name, run)


def cross_cases(shared, kinds):
    for writer in kinds:
        for reader in kinds:

            def read(reader=reader, writer=writer):
                broker = shared.broker()
                topic = f"cross.{writer.name}"
                with Wire(broker.host_port) as wire:
                    # Written by the first case that reads it.
                    if wire.metadata([topic])[topic][0] != 0:
                        cross.write(shared.client(writer), wire, topic)
                cross.read(shared.client(reader), shared.client(writer), topic)

            name = f"kafka/cross/written by {writer.name}/read by {reader.name}"
            yield Case(name, reader.name, reader.version, f"cross_read {writer.name}", read)


def all_cases(shared, absent):
    cases = []
    for kind in clients.ALL:
        for feature in features.ALL:
            if feature.name not in kind.cannot:
                case = feature_case(shared, kind, feature)
                if kind.name in absent:
                    case.run, case.version = skipping(absent[kind.name]), ""
                cases.append(case)
    cases += cross_cases(shared, [kind for kind in clients.ALL if kind.name not in absent])
    for run in bad_input.CASES:
        cases.append(Case(f"kafka/bad input/{run.__name__}", "", "", "", run))
    cases.append(Case("kafka/disk full", "", "", "", disk_full.disk_full))
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
    arguments.add_argument("--list", action="store_true")
    given = arguments.parse_args()
    clients.configure(dict(given.programs))
    Broker.program = os.path.abspath(given.polylog)
    Broker.scratch = os.path.abspath(given.scratch)
    shutil.rmtree(Broker.scratch, ignore_errors=True)
    os.makedirs(Broker.scratch)
    shared = Shared()
    cases = all_cases(shared, dict(given.absent))
    if given.list:
        for case in cases:
            print(case.name)
        return 0
    well = run_all(cases, given.results, given.only)
    shared.close()
    return 0 if well else 1


if __name__ == "__main__":
    # Failed cases are in the results; the exit code says whether the run itself went to its end.
    main()
    sys.exit(0)
