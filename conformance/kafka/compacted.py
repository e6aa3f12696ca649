# SPDX-License-Identifier: Apache-2.0
"""Topics that keep the last record of each key: what a client may send there, and what a reader finds once the rest is gone.

Owns: waiting until it is gone. When a broker compacts is its own affair: the settings ask for it as soon as possible, and a record now and
then gives a broker that only looks at what is no longer written to something to go on with.
"""

import time

from case import Case, Skip, equal, expect, refused_with, until
from clients import Confluent, Java
from group_wire import GroupWire
from records import Record

NAME = "compacted"
CLIENTS = (Confluent, Java)
INVALID_RECORD = 87
# Apache Kafka looks every 15 seconds, and twice for a tombstone.
COMPACTED_S_MAX = 120
POKE_S = 2
SOON = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "200",
    "delete.retention.ms": "300",
}


def read_all(client, topic):
    """What is there, from the earliest record to the end. Offsets may leave gaps, so the end is found by its offset."""
    _, end = client.offsets(topic, 0)
    reader = client.reader(topic, 0, ("earliest",))
    try:
        seen = []
        while not seen or seen[-1].offset < end - 1:
            more = reader.take(1, 20)
            expect(more, lambda: f"nothing comes after {seen[-1:]} though the end is {end}")
            seen += more
        return seen
    finally:
        reader.close()


def keyless(client, wire, topic):
    """A record without a key is refused, one with a key is taken, and so is one without a value."""
    client.create_topic(topic, 1, {"cleanup.policy": "compact"})
    wire.settled(topic)
    for compression in ("none", "gzip"):
        refused_with(
            INVALID_RECORD,
            lambda compression=compression: client.write(topic, 0, [Record(None, b"no key" * 50)], compression=compression),
            f"a record without a key, compression {compression}",
        )
    client.write(topic, 0, [Record(b"key", b"value"), Record(b"key", None)])
    seen = client.read(topic, 0, ("earliest",), 2)
    equal([(record.key, record.value) for record in seen], [(b"key", b"value"), (b"key", None)], "records")


def kept(client, wire, topic):
    """The last record of each key is kept where it was, with its headers and time; what it replaces goes, and at last what says
    that a key is gone."""
    client.create_topic(topic, 1, SOON)
    wire.settled(topic)
    now_ms = int(time.time() * 1000) - 60_000
    records = []
    for number in range(200):
        key = b"key-%d" % (number % 7)
        records.append(Record(key, b"value-%d" % number, (("number", b"%d" % number),), now_ms + number))
    records.append(Record(b"key-3", None, (), now_ms + 200))
    for begin in range(0, len(records), 50):
        client.write(topic, 0, records[begin : begin + 50], compression="gzip", linger_ms=50)
    wanted = {}
    for offset, record in enumerate(records):
        wanted[record.key] = (offset, record)
    del wanted[b"key-3"]
    wanted = sorted((offset, record.key, record.value, record.headers, record.timestamp_ms) for offset, record in wanted.values())
    poked_s = 0
    seen = []

    def compacted():
        nonlocal poked_s, seen
        if time.monotonic() - poked_s > POKE_S:
            client.write(topic, 0, [Record(b"poke", b"x")])
            poked_s = time.monotonic()
        seen = [
            (record.offset, record.key, record.value, record.headers, record.timestamp_ms)
            for record in read_all(client, topic)
            if record.offset < len(records)
        ]
        missing = [each for each in wanted if each not in seen]
        expect(not missing, lambda: f"the last of a key is not there: {missing}")
        return seen == wanted

    until(compacted, COMPACTED_S_MAX, lambda: f"only {wanted} are left; there are {len(seen)}: {seen[:20]}")
    equal(client.offsets(topic, 0)[0], 0, "the earliest offset, which compaction leaves alone")
    # A reader may begin where nothing is any more, and is given what comes next.
    (first, *_) = client.read(topic, 0, ("offset", 1), 1)
    equal(first.offset, wanted[0][0], "the first record from offset 1 on")
    equal(client.offset_at(topic, 0, now_ms), wanted[0][0], "the first offset at the time of the first record, which is gone")


CASES = {
    "keyless": ("a compacted topic takes no record without a key", keyless),
    "kept": ("a compacted topic keeps the last record of each key, at its offset; tombstones go", kept),
}


def cases(shared):
    """The cases, for run.py."""
    for kind in CLIENTS:
        missing = shared.absent.get(kind.name)
        for name, (title, work) in CASES.items():

            def run(kind=kind, name=name, work=work, missing=missing):
                if missing:
                    raise Skip(missing)
                broker = shared.broker()
                # Anew at a second try.
                topic = f"compacted.{kind.name}.{name}.{time.monotonic_ns()}"
                with GroupWire(broker.host_port) as wire:
                    work(shared.client(kind), wire, topic)
                expect(broker.alive(), lambda: f"the broker ended:\n{broker.log()}")

            with_whom = ", ".join(each.name for each in CLIENTS)
            yield Case(f"kafka/{NAME}/{kind.name}/{name}", NAME, with_whom, f"{kind.name}: {title}", run, lane=kind.name)
