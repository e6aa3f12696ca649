# SPDX-License-Identifier: Apache-2.0
"""Requests of groups and of administration by hand, in their shortest versions: to look at what a client did, and to do what none would.

Answers are error codes or values; where one comes with an error that must not be, `Refused`.
"""

import struct
from dataclasses import dataclass

from case import Refused, equal, expect, until
from wire import CLOSED, Reading, Wire, string

OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 8, 9, 10, 11, 12, 13, 14
DESCRIBE_GROUPS, LIST_GROUPS, DELETE_RECORDS, DESCRIBE_CONFIGS, ALTER_CONFIGS = 15, 16, 21, 32, 33
CREATE_PARTITIONS, DELETE_GROUPS, INCREMENTAL_ALTER_CONFIGS, OFFSET_DELETE = 37, 42, 44, 47
# The coordinator is on its way: what every client waits for.
NOT_YET = (14, 15, 16)
NOT_YET_S_MAX = 60


@dataclass
class Described:
    error: int
    state: str
    protocol: str
    # Member id -> (client id, metadata, assignment).
    members: dict


@dataclass
class Joined:
    error: int
    generation: int
    protocol: str
    leader: str
    member: str
    # Member id -> metadata; the leader alone is told.
    members: dict


def piece(value):
    return struct.pack(">i", len(value)) + value


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def subscription(topics):
    """What a consumer tells of itself when it joins, version 0."""
    return struct.pack(">h", 0) + array([string(topic) for topic in topics]) + piece(b"")


def assignment(partitions):
    """{topic: [partition]} as the leader gives it to a member, version 0."""
    places = [string(topic) + array([struct.pack(">i", each) for each in some]) for topic, some in partitions.items()]
    return struct.pack(">h", 0) + array(places) + piece(b"")


class GroupWire(Wire):
    def patient(self, ask, what):
        """The answer's error once the coordinator is there."""
        last = [0]

        def probe():
            last[0] = ask()
            return last[0] not in NOT_YET

        until(probe, NOT_YET_S_MAX, f"the coordinator takes {what}")
        return last[0]

    def find_coordinator(self, group):
        answer = self.ask(FIND_COORDINATOR, 0, string(group))
        return answer.take("h")

    def join(self, group, member="", protocols=(("range", b""),), session_ms=10_000, rebalance_ms=30_000, kind="consumer"):
        """Answered when the generation is made."""
        self.send_join(group, member, protocols, session_ms, rebalance_ms, kind)
        return self.receive_join()

    def send_join(self, group, member="", protocols=(("range", b""),), session_ms=10_000, rebalance_ms=30_000, kind="consumer"):
        body = string(group) + struct.pack(">ii", session_ms, rebalance_ms) + string(member) + string(kind)
        self.send(JOIN_GROUP, 2, body + array([string(name) + piece(metadata) for name, metadata in protocols]))

    def receive_join(self):
        answer = self.reading()
        _, error, generation = answer.take("ihi")
        protocol, leader, member = answer.string(), answer.string(), answer.string()
        members = dict(answer.each(lambda: (answer.string(), answer.bytes(answer.take("i")))))
        return Joined(error, generation, protocol, leader, member, members)

    def sync(self, group, generation, member, assignments=()):
        """(error, assignment)."""
        self.send_sync(group, generation, member, assignments)
        return self.receive_sync()

    def send_sync(self, group, generation, member, assignments=()):
        body = string(group) + struct.pack(">i", generation) + string(member)
        self.send(SYNC_GROUP, 0, body + array([string(each) + piece(some) for each, some in dict(assignments).items()]))

    def receive_sync(self):
        answer = self.reading()
        return answer.take("h"), answer.bytes(max(0, answer.take("i")))

    def heartbeat(self, group, generation, member):
        return self.ask(HEARTBEAT, 0, string(group) + struct.pack(">i", generation) + string(member)).take("h")

    def leave(self, group, member):
        return self.ask(LEAVE_GROUP, 0, string(group) + string(member)).take("h")

    def commit(self, group, offsets, generation=-1, member="", metadata=""):
        """{(topic, partition): offset} -> {(topic, partition): error}."""
        self.send_commit(group, offsets, generation, member, metadata)
        return self.receive_commit()

    def send_commit(self, group, offsets, generation=-1, member="", metadata=""):
        body = string(group) + struct.pack(">i", generation) + string(member) + struct.pack(">q", -1)
        topics = [
            string(topic) + array([struct.pack(">iq", partition, offset) + string(metadata)])
            for (topic, partition), offset in offsets.items()
        ]
        self.send(OFFSET_COMMIT, 2, body + array(topics))

    def receive_commit(self):
        answer = self.reading()

        def topic():
            name = answer.string()
            return [((name, partition), error) for partition, error in answer.each(lambda: answer.take("ih"))]

        return dict(each for some in answer.each(topic) for each in some)

    def committed(self, group, topic, partitions):
        """{partition: offset}, -1 where nothing was committed."""
        found = {}

        def ask():
            body = string(group) + array([string(topic) + array([struct.pack(">i", each) for each in partitions])])
            answer = self.ask(OFFSET_FETCH, 1, body)

            def one():
                partition, offset = answer.take("iq")
                answer.string()
                error = answer.take("h")
                found[partition] = offset
                return error

            ((_, errors),) = answer.each(lambda: (answer.string(), answer.each(one)))
            return next((error for error in errors if error), 0)

        error = self.patient(ask, "a question for offsets")
        if error:
            raise Refused(error)
        return found

    def delete_offsets(self, group, topic, partitions):
        """(error of the whole, {partition: error})."""
        body = string(group) + array([string(topic) + array([struct.pack(">i", each) for each in partitions])])
        answer = self.ask(OFFSET_DELETE, 0, body)
        error, _ = answer.take("hi")
        topics = answer.each(lambda: (answer.string(), answer.each(lambda: answer.take("ih"))))
        return error, dict(each for _, some in topics for each in some)

    def describe_group(self, group):
        answer = self.ask(DESCRIBE_GROUPS, 0, array([string(group)]))

        def member():
            name, client, _ = answer.string(), answer.string(), answer.string()
            return name, (client, answer.bytes(answer.take("i")), answer.bytes(answer.take("i")))

        def one():
            error, name, state = answer.take("h"), answer.string(), answer.string()
            equal(name, group, "the group described")
            _, protocol = answer.string(), answer.string()
            return Described(error, state, protocol, dict(answer.each(member)))

        (described,) = answer.each(one)
        return described

    def groups(self):
        """Group -> its kind of protocol."""
        answer = self.ask(LIST_GROUPS, 0, b"")
        error = answer.take("h")
        if error:
            raise Refused(error)
        return dict(answer.each(lambda: (answer.string(), answer.string())))

    def delete_groups(self, groups):
        """Group -> error."""
        answer = self.ask(DELETE_GROUPS, 0, array([string(group) for group in groups]))
        answer.take("i")
        return dict(answer.each(lambda: (answer.string(), answer.take("h"))))

    def create_partitions(self, topic, count, validate_only=False):
        body = array([string(topic) + struct.pack(">ii", count, -1)]) + struct.pack(">i?", 30_000, validate_only)
        answer = self.ask(CREATE_PARTITIONS, 0, body)
        answer.take("i")
        ((_, error, _),) = answer.each(lambda: (answer.string(), answer.take("h"), answer.string()))
        return error

    def delete_records(self, topic, partition, before):
        """(error, low watermark)."""
        body = array([string(topic) + array([struct.pack(">iq", partition, before)])]) + struct.pack(">i", 30_000)
        answer = self.ask(DELETE_RECORDS, 0, body)
        answer.take("i")
        ((_, ((_, low, error),)),) = answer.each(lambda: (answer.string(), answer.each(lambda: answer.take("iqh"))))
        return error, low

    def describe_configs(self, kind, name, keys=None):
        """(error, {key: (value, read only, source, sensitive)}). Kinds: 2 topic, 4 broker, 32 group."""
        wanted = struct.pack(">i", -1) if keys is None else array([string(key) for key in keys])
        answer = self.ask(DESCRIBE_CONFIGS, 1, array([struct.pack(">b", kind) + string(name) + wanted]) + b"\0")
        answer.take("i")

        def entry():
            key, value, (read_only, source, sensitive) = answer.string(), answer.string(), answer.take("?b?")
            answer.each(lambda: (answer.string(), answer.string(), answer.take("b")))
            return key, (value, read_only, source, sensitive)

        def one():
            error, _, _, _ = answer.take("h"), answer.string(), answer.take("b"), answer.string()
            return error, dict(answer.each(entry))

        (told,) = answer.each(one)
        return told

    def alter_configs(self, kind, name, settings, validate_only=False):
        """All of them anew; the error."""
        entries = array([string(key) + nullable_string(value) for key, value in settings.items()])
        body = array([struct.pack(">b", kind) + string(name) + entries]) + struct.pack(">?", validate_only)
        return self.config_errors(ALTER_CONFIGS, body)

    def change_configs(self, kind, name, changes, validate_only=False):
        """`changes`: (key, operation, value); operations 0 set, 1 delete, 2 append, 3 subtract. The error."""
        entries = array([string(key) + struct.pack(">b", what) + nullable_string(value) for key, what, value in changes])
        body = array([struct.pack(">b", kind) + string(name) + entries]) + struct.pack(">?", validate_only)
        return self.config_errors(INCREMENTAL_ALTER_CONFIGS, body)

    def config_errors(self, api_key, body):
        answer = self.ask(api_key, 0, body)
        answer.take("i")
        ((error, _, _, _),) = answer.each(lambda: (answer.take("h"), answer.string(), answer.take("b"), answer.string()))
        return error

    def reading(self):
        """The answer to what was sent last but not yet read."""
        answer = self.receive()
        expect(answer != CLOSED, "the connection was closed")
        return Reading(answer[1])


def nullable_string(text):
    return struct.pack(">h", -1) if text is None else string(text)
