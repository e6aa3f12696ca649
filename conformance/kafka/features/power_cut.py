# SPDX-License-Identifier: Apache-2.0
"""kill -9 in the middle: what was acknowledged is there, and an idempotent producer's records are there once, in order."""

from case import Refused, equal, expect, until
from features.listing import feature
from records import Record, contents, numbered
from wire import Wire

LATEST = -1


def latest(place):
    """The end of the log, asked on a connection of its own: the broker may have been another a moment ago."""
    with Wire(place.broker.host_port) as wire:
        try:
            return wire.list_offset(place.topic, LATEST)
        except Refused:
            return 0


@feature("an idempotent producer through two kills and restarts: each record once, in order", own_broker=True)
def idempotent_restarts(place):
    records = [Record(value=b"%06d" % number) for number in range(9000)]
    place.wire.made(place.topic)
    producer = place.client.producer(idempotent=True, linger_ms=1)
    try:
        for third in range(3):
            before = latest(place)
            for record in records[third * 3000 : third * 3000 + 3000]:
                producer.send(place.topic, 0, record)
            if third < 2:
                # Some of them are in, others are on their way.
                until(lambda before=before: latest(place) > before, 30, "the log grows")
                place.broker.kill()
                place.broker.start()
        outcomes = producer.finish(120)
    finally:
        producer.close()
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    expect(not failures, lambda: f"{len(failures)} sends failed, the first with {failures[0]}")
    expect(
        all(outcome in (None, -1, index) for index, outcome in enumerate(outcomes)),
        "an acknowledged offset is not that of the record",
    )
    seen = place.client.read(place.topic, 0, ("earliest",), len(records), deadline_s=60)
    equal([record.offset for record in seen], list(range(len(records))), "offsets")
    expect(contents(seen) == contents(records), "a record is lost, repeated or moved")
    equal(latest(place), len(records), "the end of the log")


@feature("what was acknowledged is there after kill -9", own_broker=True)
def kept(place):
    records = numbered(500, padding=100)
    place.wire.made(place.topic)
    place.client.write(place.topic, 0, records, compression="lz4")
    place.broker.kill()
    place.broker.start()
    seen = place.client.read(place.topic, 0, ("earliest",), len(records), deadline_s=30)
    equal(contents(seen), contents(records), "records")
    place.client.write(place.topic, 0, numbered(1, start=500))
    (last,) = place.client.read(place.topic, 0, ("offset", len(records)), 1)
    equal(last.key, b"key-500", "the record written after the restart")
