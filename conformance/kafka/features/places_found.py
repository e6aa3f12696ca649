# SPDX-License-Identifier: Apache-2.0
"""Where reading begins: by offset, by time, at the ends; and how the end is waited at."""

import time

from case import equal, expect, refused_with
from features.listing import feature
from records import Record, contents, numbered
from wire import batch

OFFSET_OUT_OF_RANGE = 1
HOUR_MS = 3_600_000


def timed(place):
    """Ten batches of ten records, an hour between batches. Written by hand, so that the reader alone is judged."""
    start_ms = int(time.time() * 1000) - 24 * HOUR_MS
    place.wire.made(place.topic)
    records = []
    for hour in range(10):
        some = [
            Record(value=b"%d" % number, timestamp_ms=start_ms + hour * HOUR_MS + number % 10)
            for number in range(hour * 10, hour * 10 + 10)
        ]
        place.wire.produce(place.topic, batch(some))
        records += some
    return records


@feature("seek by offset, into the middle of a batch too")
def seek_offset(place):
    records = timed(place)
    for offset in (0, 1, 10, 57, 99):
        seen = place.client.read(place.topic, 0, ("offset", offset), 100 - offset, deadline_s=20)
        equal([record.offset for record in seen], list(range(offset, 100)), f"offsets from {offset}")
        equal(contents(seen), contents(records[offset:]), f"records from {offset}")


@feature("an offset beyond the end is refused")
def out_of_range(place):
    timed(place)
    refused_with(
        OFFSET_OUT_OF_RANGE, lambda: place.client.read(place.topic, 0, ("offset", 5000), 1, deadline_s=10), "reading there"
    )


@feature("seek by time")
def seek_time(place):
    records = timed(place)
    for index, timestamp_ms in [
        (0, records[0].timestamp_ms - 5),
        (30, records[30].timestamp_ms),
        (35, records[35].timestamp_ms),
        (40, records[39].timestamp_ms + 1),
    ]:
        equal(place.client.offset_at(place.topic, 0, timestamp_ms), index, "the offset at a time")
        (seen,) = place.client.read(place.topic, 0, ("time", timestamp_ms), 1)
        equal(seen.offset, index, "the first offset read from a time")
    equal(place.client.offset_at(place.topic, 0, records[-1].timestamp_ms + 1), None, "the offset after all times")


@feature("earliest and latest offsets")
def list_offsets(place):
    place.wire.made(place.topic)
    equal(place.client.offsets(place.topic, 0), (0, 0), "offsets of an empty partition")
    place.client.write(place.topic, 0, numbered(7))
    equal(place.client.offsets(place.topic, 0), (0, 7), "offsets after seven records")


@feature("the offset of the largest time")
def max_timestamp(place):
    place.wire.made(place.topic)
    now_ms = int(time.time() * 1000)
    for number, ago_ms in enumerate((5000, 1000, 9000)):
        place.wire.produce(place.topic, batch([Record(value=b"%d" % number, timestamp_ms=now_ms - ago_ms)]))
    equal(place.client.max_timestamp_offset(place.topic, 0), 1, "the offset")


@feature("a reader waiting at the end is woken by the next record")
def tail(place):
    place.wire.made(place.topic)
    place.client.write(place.topic, 0, numbered(3))
    # A wait far longer than the deadline: what arrives in time was pushed by a wake, not found by the next poll.
    reader = place.client.reader(place.topic, 0, ("latest",), wait_ms=30_000)
    try:
        equal(reader.take(1, 0.7), [], "records before anything was sent")
        for number in range(3):
            place.wire.produce(place.topic, batch([Record(value=b"new %d" % number)]))
            seen = reader.take(1, 10)
            equal([record.value for record in seen], [b"new %d" % number], "the record that woke the reader")
    finally:
        reader.close()
    expect(place.broker.alive(), "the broker ended")
