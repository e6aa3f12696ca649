# SPDX-License-Identifier: Apache-2.0
"""What one client wrote, every other reads: all compressions, headers, nulls, in one topic."""

from case import equal
from records import Record, contents, numbered

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def written_by(client):
    """What a writer puts into its topic, codec after codec."""
    records = []
    for index in range(len(CODECS)):
        records += [Record(record.key, record.value) for record in numbered(20, start=100 * index, padding=300)]
        records += [Record(b"key", None), Record(None, b"no key"), Record(b"h", b"v", (("name", b"value"), ("name", b"again")))]
    if client.name == "kcat":
        # It needs a process for each key.
        records = [record for record in records if record.key in (None, b"key", b"h")]
    return records


def write(client, wire, topic):
    wire.made(topic)
    records = written_by(client)
    share = len(records) // len(CODECS)
    for index, codec in enumerate(CODECS):
        client.write(topic, 0, records[index * share : (index + 1) * share], compression=codec, linger_ms=50)


def read(reader, writer, topic):
    records = written_by(writer)
    equal(contents(reader.read(topic, 0, ("earliest",), len(records))), contents(records), "records")
