# SPDX-License-Identifier: Apache-2.0
"""A record as every client can say it, and records to send."""

import random
from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class Record:
    key: Optional[bytes] = None
    value: Optional[bytes] = None
    # A name may come twice, and a header's value may be null.
    headers: tuple = field(default_factory=tuple)
    # None in a record to send: the client's own clock.
    timestamp_ms: Optional[int] = None
    # Known of a record that was read.
    offset: Optional[int] = None
    # Known of a record that a member of a group read.
    topic: Optional[str] = None
    partition: Optional[int] = None

    def content(self):
        """What must come back as it was sent."""
        return (self.key, self.value, self.headers)


def contents(records):
    return [record.content() for record in records]


def numbered(count, start=0, padding=0):
    """Records that say which one they are; compressible."""
    return [
        Record(key=b"key-%d" % number, value=b"value-%d" % number + b"." * padding)
        for number in range(start, start + count)
    ]


def noise(byte_count, seed=1):
    """Bytes that no codec makes smaller."""
    return random.Random(seed).randbytes(byte_count)
