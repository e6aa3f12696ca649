# SPDX-License-Identifier: Apache-2.0
"""What every client under test is asked to do, in one vocabulary. One file beside this for each client.

An adapter translates and does nothing else: no retry, no check, no default of its own that changes what the client would send.
"""

from abc import ABC, abstractmethod


# Long: only a case that waits for its end makes it short.
SESSION_MS = 30_000
# Short, so that a member hears soon that its group changes.
HEARTBEAT_MS = 500


class Client(ABC):
    """One client library at one broker address."""

    name = ""
    # What a client cannot do by its nature, and why: feature name -> reason. Shown as "cannot" on the page, not counted as a skip.
    cannot = {}
    # What its surface cannot express although the protocol can.
    says_null_headers = True
    says_empty_apart_from_null = True
    says_neither_key_nor_value = True
    # Its administrator can only set all of a topic's settings at once: what is not named goes back to its default.
    alters_all = False
    # Its members commit by themselves, soon and when they leave, and cannot be told to.
    commits_itself = False

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

    def describe_configs(self, kind, name):
        """{key: (value, source)} of a "topic" or "broker"; the source by its number in the protocol, or None where it is not told."""
        raise NotImplementedError

    def alter_configs(self, kind, name, settings):
        """Sets some keys, and leaves the others as they are; None takes a key back to its default."""
        raise NotImplementedError

    def create_partitions(self, topic, count):
        raise NotImplementedError

    def delete_records(self, topic, partition, before):
        """The first offset that is left."""
        raise NotImplementedError

    def groups(self):
        """Names of all groups."""
        raise NotImplementedError

    def describe_group(self, group):
        """(state in lower case, how many members)."""
        raise NotImplementedError

    def delete_group(self, group):
        raise NotImplementedError

    def group_offsets(self, group):
        """{(topic, partition): offset} of what a group committed."""
        raise NotImplementedError

    def set_group_offset(self, group, topic, partition, offset):
        """As an administrator, for a group without members."""
        raise NotImplementedError

    def describe_cluster(self):
        """(cluster id, id of the controller, [(id, host, port)])."""
        raise NotImplementedError

    def member(self, group, topics, *, assignor=None, instance=None, session_ms=SESSION_MS):
        """A `Member` that joins at once. `assignor`: the protocol's name, or the client's default."""
        raise NotImplementedError

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


class Member(ABC):
    """One member of a group, in a process of its own, reading from the earliest record where its group committed nothing.

    It polls all the while. Nothing is committed but what `commit` says (see `commits_itself`)."""

    @abstractmethod
    def take(self, count, deadline_s):
        """At most `count` records that came since it was asked last; waits for the first of them until the deadline."""

    @abstractmethod
    def assigned(self):
        """{(topic, partition)} as it knows it."""

    def changes(self):
        """How many assignments it was given so far."""
        raise NotImplementedError

    def failure(self):
        """What went wrong last behind the answers, where that is known."""
        return None

    @abstractmethod
    def commit(self, offsets):
        """{(topic, partition): offset of the next record to read}; waits, and raises `Refused`."""

    def seek(self, topic, partition, offset):
        raise NotImplementedError

    def pause(self, topic, partition):
        raise NotImplementedError

    def resume(self, topic, partition):
        raise NotImplementedError

    @abstractmethod
    def leave(self):
        """Tells its group, and ends; the records that came before, if it commits by itself."""

    @abstractmethod
    def kill(self):
        """Ends without a word; the records that came before, if it commits by itself."""
