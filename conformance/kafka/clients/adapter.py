# SPDX-License-Identifier: Apache-2.0
"""What every client under test is asked to do, in one vocabulary. One file beside this for each client.

An adapter translates and does nothing else: no retry, no check, no default of its own that changes what the client would send.
"""

from abc import ABC, abstractmethod


class Client(ABC):
    """One client library at one broker address."""

    name = ""
    # What a client cannot do by its nature, and why: feature name -> reason. Shown as "cannot" on the page, not counted as a skip.
    cannot = {}
    # What its surface cannot express although the protocol can.
    says_null_headers = True
    says_empty_apart_from_null = True
    says_neither_key_nor_value = True

    def __init__(self, address):
        self.address = address

    @classmethod
    @abstractmethod
    def version(cls):
        """The library's version."""

    @abstractmethod
    def producer(self, *, compression="none", idempotent=False, acks=-1, linger_ms=5, record_bytes_max=1_000_000):
        """A `Producer`."""

    @abstractmethod
    def reader(self, topic, partition, start, *, wait_ms=500, isolation="read_uncommitted"):
        """A `Reader`. `start` is ("earliest",), ("latest",), ("offset", n) or ("time", ms), fixed when this returns."""

    @abstractmethod
    def offsets(self, topic, partition):
        """(earliest, latest) as the broker lists them."""

    @abstractmethod
    def offset_at(self, topic, partition, timestamp_ms):
        """The first offset at or after a time; None when there is none."""

    def max_timestamp_offset(self, topic, partition):
        """The offset of the record with the largest time."""
        raise NotImplementedError

    def create_topic(self, topic, partitions=1, settings=None):
        raise NotImplementedError

    def delete_topic(self, topic):
        raise NotImplementedError

    @abstractmethod
    def topics(self):
        """Names of all topics."""

    def close(self):
        """Lets go of what the client holds."""

    def read(self, topic, partition, start, count, deadline_s=20, **settings):
        """`count` records, or fewer at the deadline."""
        reader = self.reader(topic, partition, start, **settings)
        try:
            return reader.take(count, deadline_s)
        finally:
            reader.close()

    def write(self, topic, partition, records, deadline_s=60, **settings):
        """Sends and waits; the offsets in order (None where the client does not tell). Raises the first refusal."""
        producer = self.producer(**settings)
        try:
            for record in records:
                producer.send(topic, partition, record)
            outcomes = producer.finish(deadline_s)
        finally:
            producer.close()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes


class Producer(ABC):
    @abstractmethod
    def send(self, topic, partition, record):
        """Hands a record to the client; does not wait for its outcome."""

    @abstractmethod
    def finish(self, deadline_s):
        """Waits for all outcomes so far, in the order of `send`: offsets, None (not told) or `Refused`. Forgets them."""

    def close(self):
        """Lets go of what the producer holds."""


class Reader(ABC):
    @abstractmethod
    def take(self, count, deadline_s):
        """The next `count` records, or fewer at the deadline. Raises `Refused`."""

    def close(self):
        """Lets go of what the reader holds."""
