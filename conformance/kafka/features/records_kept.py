# SPDX-License-Identifier: Apache-2.0
"""What is sent comes back as it was: bytes, nulls, headers, times, sizes, compression, order."""

import time

from case import equal, expect, refused_with, until
from features.listing import feature
from records import Record, contents, noise, numbered
from wire import compressions

BATCH_BYTES_MAX_DEFAULT = 1024 * 1024 + 12
MESSAGE_TOO_LARGE = 10
# A broker may answer before what was changed is told everywhere.
LISTED_S_MAX = 30


def compression(codec):
    def run(place):
        records = [Record(value=record.value) for record in numbered(200, padding=200)]
        place.wire.made(place.topic)
        place.client.write(place.topic, 0, records, compression=codec, linger_ms=50)
        seen = place.client.read(place.topic, 0, ("earliest",), len(records))
        equal(contents(seen), contents(records), "records")
        at_rest, _ = place.wire.fetch(place.topic, 0)
        equal(set(compressions(at_rest)), {codec}, "the batches at rest are compressed with")

    return run


for each in ("none", "gzip", "snappy", "lz4", "zstd"):
    feature(f"compression {each}", name=f"compression_{each}")(compression(each))


@feature("headers: repeated names, empty and null values, any letters")
def headers(place):
    several = (("trace", b"1"), ("trace", b"2"), ("empty", b""), ("größe", "ü".encode()))
    if place.client.says_null_headers:
        several += (("null", None), ("bytes", bytes(range(256))))
    records = [Record(value=b"with", headers=several), Record(value=b"without")]
    place.wire.made(place.topic)
    place.client.write(place.topic, 0, records)
    equal(contents(place.client.read(place.topic, 0, ("earliest",), 2)), contents(records), "records")


@feature("null and empty keys and values")
def nulls(place):
    records = [Record(b"key", None), Record(None, b"value"), Record(b"key", b"value")]
    if place.client.says_neither_key_nor_value:
        records += [Record(None, None)]
    if place.client.says_empty_apart_from_null:
        records += [Record(b"", b"value"), Record(b"key", b""), Record(b"", b"")]
    place.wire.made(place.topic)
    place.client.write(place.topic, 0, records)
    seen = place.client.read(place.topic, 0, ("earliest",), len(records))
    equal(contents(seen), contents(records), "records")


@feature("records of 1 byte and of 1 MB in one topic")
def sizes(place):
    records = [Record(value=b"x"), Record(value=noise(1_000_000)), Record(value=b"y"), Record(value=noise(1_000_000, 2))]
    place.wire.made(place.topic)
    place.client.write(place.topic, 0, records, record_bytes_max=1_020_000)
    seen = place.client.read(place.topic, 0, ("earliest",), len(records))
    equal([len(record.value) for record in seen], [len(record.value) for record in records], "sizes")
    expect(contents(seen) == contents(records), "a large record came back changed")


@feature("a record over max.message.bytes is refused, those after it are taken")
def too_large(place):
    place.wire.made(place.topic)
    large = Record(value=noise(BATCH_BYTES_MAX_DEFAULT + 1))
    refused_with(
        MESSAGE_TOO_LARGE,
        lambda: place.client.write(place.topic, 0, [large], record_bytes_max=4_000_000),
        "a record of 1 MiB and a little",
    )
    place.client.write(place.topic, 0, [Record(value=b"small")])
    equal(contents(place.client.read(place.topic, 0, ("earliest",), 1)), [(None, b"small", ())], "records")


@feature("the time a record was made at is kept")
def create_time(place):
    # Of an hour ago: older than retention.ms, they may be gone before they are read.
    hour_ago_ms = int(time.time() * 1000) - 3_600_000
    records = [Record(value=b"%d" % number, timestamp_ms=hour_ago_ms + 1000 * number) for number in (3, 1, 2, 0)]
    place.wire.made(place.topic)
    place.client.write(place.topic, 0, records, linger_ms=50)
    seen = place.client.read(place.topic, 0, ("earliest",), len(records))
    equal([record.timestamp_ms for record in seen], [record.timestamp_ms for record in records], "times")


@feature("20,000 records of one producer: order kept, offsets without holes")
def order(place):
    records = [Record(value=record.value) for record in numbered(20_000)]
    place.wire.made(place.topic)
    offsets = place.client.write(place.topic, 0, records)
    expect(all(offset in (None, index) for index, offset in enumerate(offsets)), "an acknowledged offset is not the next")
    seen = place.client.read(place.topic, 0, ("earliest",), len(records), deadline_s=60)
    equal([record.offset for record in seen], list(range(len(records))), "offsets")
    expect(contents(seen) == contents(records), "a record came back in another place")


@feature("four partitions: each record in the one it was sent to")
def partitions(place):
    place.wire.made(place.topic, 4)
    for partition in range(4):
        place.client.write(place.topic, partition, numbered(10, start=100 * partition))
    for partition in range(4):
        seen = place.client.read(place.topic, partition, ("earliest",), 10)
        equal(contents(seen), contents(numbered(10, start=100 * partition)), f"records of partition {partition}")


@feature("acks 0, 1 and all")
def acks(place):
    place.wire.made(place.topic)
    for wanted in (0, 1, -1):
        place.client.write(place.topic, 0, numbered(5, start=10 * (wanted + 1)), acks=wanted)
    # What was sent without an acknowledgement may come after what was sent later on another connection.
    seen = place.client.read(place.topic, 0, ("earliest",), 15)
    wanted = numbered(5, start=0) + numbered(5, start=10) + numbered(5, start=20)
    equal(sorted(contents(seen)), sorted(contents(wanted)), "records")


@feature("read_committed sees what read_uncommitted sees while there are no transactions")
def isolation(place):
    place.wire.made(place.topic)
    place.client.write(place.topic, 0, numbered(10))
    seen = place.client.read(place.topic, 0, ("earliest",), 10, isolation="read_committed")
    equal(contents(seen), contents(numbered(10)), "records")


@feature("writing to a topic that does not exist makes it")
def auto_creation(place):
    place.client.write(place.topic, 0, [Record(value=b"first")])
    expect(place.topic in place.wire.metadata([place.topic]), "the topic is not there")
    equal(contents(place.client.read(place.topic, 0, ("earliest",), 1)), [(None, b"first", ())], "records")


@feature("topics are made, listed, refused twice, removed")
def topics(place):
    place.client.create_topic(place.topic, 3)
    until(lambda: place.topic in place.client.topics(), LISTED_S_MAX, "the topic is listed")
    place.wire.settled(place.topic, 3)
    equal(sorted(place.wire.metadata([place.topic])[place.topic][1]), [0, 1, 2], "partitions")
    refused_with(36, lambda: place.client.create_topic(place.topic, 3), "making it again")
    refused_with(17, lambda: place.client.create_topic("../no/such:place", 1), "a name that is none")
    place.client.delete_topic(place.topic)
    until(lambda: place.topic not in place.client.topics(), LISTED_S_MAX, "the topic is no longer listed")
    until(lambda: place.wire.metadata([place.topic])[place.topic][0] == 3, LISTED_S_MAX, "the topic is gone")
    refused_with(3, lambda: place.client.delete_topic(place.topic), "removing it again")
    # The name is free again, and nothing of the old topic is in the new one.
    place.client.create_topic(place.topic, 1)
    place.wire.settled(place.topic)
    equal(place.client.offsets(place.topic, 0), (0, 0), "offsets of the new topic")


@feature("a topic's own max.message.bytes")
def topic_settings(place):
    place.client.create_topic(place.topic, 1, {"max.message.bytes": "20000", "retention.ms": "3600000"})
    refused_with(
        MESSAGE_TOO_LARGE,
        lambda: place.client.write(place.topic, 0, [Record(value=noise(30_000))]),
        "a record over the topic's own limit",
    )
    place.client.write(place.topic, 0, [Record(value=noise(10_000))])
    refused_with(40, lambda: place.client.create_topic(place.topic + "-2", 1, {"no.such.setting": "1"}), "an unknown setting")
