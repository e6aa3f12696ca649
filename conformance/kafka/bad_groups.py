# SPDX-License-Identifier: Apache-2.0
"""What no client would send about groups, settings and partitions: the protocol's error, nothing changed, memory bounded.

Like those of `bad_input.py`, each case has a broker of its own and a bystander.
"""

import struct

from bad_input import CLOSE_S_MAX, MIB, Bystander
from broker import Broker, settled_memory
from case import equal, expect
from group_wire import (
    DELETE_GROUPS, DESCRIBE_GROUPS, HEARTBEAT, JOIN_GROUP, LEAVE_GROUP, OFFSET_COMMIT, OFFSET_DELETE, OFFSET_FETCH, SYNC_GROUP,
    GroupWire, array,
)
from wire import CLOSED, string

UNKNOWN_TOPIC, TOO_LARGE, ILLEGAL_GENERATION, INCONSISTENT_PROTOCOL, INVALID_GROUP_ID, UNKNOWN_MEMBER = 3, 10, 22, 23, 24, 25
INVALID_SESSION_TIMEOUT, INVALID_PARTITIONS, INVALID_CONFIG, INVALID_REQUEST = 26, 37, 40, 42
STRING_BYTES_MAX = 32_767
TOPIC, BROKER = 2, 4

CASES = []


def bad(run):
    CASES.append(run)
    return run


def settled(wire, group="g"):
    """A group of one member in generation 1 that has committed; its member's id."""
    wire.made("t", 2)
    joined = wire.join(group, protocols=[("range", b"topics")])
    equal((joined.error, joined.generation), (0, 1), "the join")
    equal(wire.sync(group, 1, joined.member, {joined.member: b"all"}), (0, b"all"), "the assignment")
    equal(wire.commit(group, {("t", 0): 7}, 1, joined.member), {("t", 0): 0}, "the commit")
    return joined.member


def untouched(wire, member, group="g"):
    described = wire.describe_group(group)
    equal((described.error, described.state, described.protocol), (0, "Stable", "range"), "the group")
    equal({each: told[1:] for each, told in described.members.items()}, {member: (b"topics", b"all")}, "its members")
    equal(wire.committed(group, "t", [0, 1]), {0: 7, 1: -1}, "what it committed")
    equal(wire.heartbeat(group, 1, member), 0, "its member's heartbeat")


@bad
def strangers_and_stale_members_change_nothing():
    with Broker() as broker, Bystander(broker), GroupWire(broker.host_port) as wire:
        member = settled(wire)
        place = ("t", 0)
        for generation, who, error in [
            (0, member, ILLEGAL_GENERATION), (2, member, ILLEGAL_GENERATION), (2**31 - 1, member, ILLEGAL_GENERATION),
            (1, "nobody", UNKNOWN_MEMBER), (-1, "", UNKNOWN_MEMBER), (1, "", UNKNOWN_MEMBER),
        ]:
            equal(wire.commit("g", {place: 99}, generation, who), {place: error}, f"a commit as {who!r} of {generation}")
            equal(wire.heartbeat("g", generation, who), error, f"a heartbeat as {who!r} of {generation}")
            equal(wire.sync("g", generation, who, {member: b"stolen"})[0], error, f"a sync as {who!r} of {generation}")
        equal(wire.leave("g", "nobody"), UNKNOWN_MEMBER, "a stranger's leave")
        equal(wire.join("g", "nobody").error, UNKNOWN_MEMBER, "a stranger's join")
        equal(wire.join("g", protocols=[("other", b"")]).error, INCONSISTENT_PROTOCOL, "a join with another protocol")
        equal(wire.join("g", kind="connect").error, INCONSISTENT_PROTOCOL, "a join of another kind")
        foreign = {("none", 0): 1, ("t", 2): 1, ("t", -1): 1}
        told = wire.commit("g", foreign, 1, member)
        equal(told, dict.fromkeys(foreign, UNKNOWN_TOPIC), "commits for what is not there")
        equal(wire.delete_groups(["g"]), {"g": 68}, "the deletion of a group with a member")
        untouched(wire, member)
        equal(wire.heartbeat("none", 1, "m"), UNKNOWN_MEMBER, "a heartbeat to no group")
        equal(wire.commit("none", {place: 1}, 1, "m"), {place: ILLEGAL_GENERATION}, "a commit to no group")
        equal(wire.groups(), {"g": "consumer"}, "the groups")


@bad
def names_that_are_empty_or_have_no_end():
    long = "g" * STRING_BYTES_MAX
    with Broker() as broker, Bystander(broker), GroupWire(broker.host_port) as wire:
        member = settled(wire)
        equal(wire.join("").error, INVALID_GROUP_ID, "a join to no name")
        equal(wire.heartbeat("", 1, "m"), INVALID_GROUP_ID, "a heartbeat to no name")
        equal(wire.sync("", 1, "m")[0], INVALID_GROUP_ID, "a sync with no name")
        equal(wire.leave("", "m"), INVALID_GROUP_ID, "a leave of no name")
        equal(wire.delete_offsets("", "t", [0])[0], INVALID_GROUP_ID, "offsets of no name deleted")
        equal(wire.describe_group("").state, "Dead", "no name described")
        equal(wire.commit("", {("t", 0): 3}), {("t", 0): 0}, "offsets may be kept under no name, as in Apache Kafka")
        equal(wire.committed("", "t", [0]), {0: 3}, "and fetched")
        equal(wire.join(long).error, INVALID_GROUP_ID, "a join to a name without end")
        equal(wire.commit(long, {("t", 0): 1}), {("t", 0): INVALID_GROUP_ID}, "a commit to a name without end")
        equal(wire.heartbeat("g", 1, long), UNKNOWN_MEMBER, "a heartbeat of a name without end")
        equal(wire.join("g", long).error, UNKNOWN_MEMBER, "a join of a name without end")
        untouched(wire, member)
        # In the compact form a length of 65,536 can be said.
        for api_key, version in [
            (JOIN_GROUP, 9), (SYNC_GROUP, 5), (HEARTBEAT, 4), (LEAVE_GROUP, 5), (OFFSET_COMMIT, 9), (OFFSET_FETCH, 7),
        ]:
            with GroupWire(broker.host_port) as other:
                other.send(api_key, version, b"\x81\x80\x04" + b"g" * 65_536 + bytes(64), flexible=True)
                expect(other.closed_within(CLOSE_S_MAX), f"request {api_key} with a name of 65,536 letters is answered")


@bad
def joins_that_are_too_large():
    with Broker() as broker, Bystander(broker), GroupWire(broker.host_port) as wire:
        member = settled(wire)
        before = settled_memory(broker)
        for _ in range(20):
            with GroupWire(broker.host_port) as other:
                equal(other.join("g", protocols=[("range", bytes(10 * MIB))]).error, TOO_LARGE, "10 MiB of metadata")
                equal(other.join("large", protocols=[("range", bytes(10 * MIB))]).error, TOO_LARGE, "the same in a new group")
        for session_ms in (-1, 0, 1, 2**31 - 1):
            equal(wire.join("new", session_ms=session_ms).error, INVALID_SESSION_TIMEOUT, f"a session of {session_ms} ms")
        equal(wire.join("new", protocols=[]).error, INCONSISTENT_PROTOCOL, "a join without a protocol")
        many = [(f"p{number}", b"") for number in range(10_000)]
        joined = wire.join("many", protocols=many)
        equal((joined.error, joined.protocol), (0, "p0"), "10,000 protocols are no more than that, as in Apache Kafka")
        grown = settled_memory(broker) - before
        # What the allocator keeps of large requests; it does not grow with their number.
        expect(grown < 128 * MIB, f"the broker grew by {grown / MIB:.1f} MiB")
        untouched(wire, member)


@bad
def lists_longer_than_anybody_needs():
    indexes = struct.pack(">i", 0) * 5_000_000
    endless = {
        "offsets of 5,000,000 partitions": (OFFSET_FETCH, 1, string("g") + array([string("t") + struct.pack(">i", 5_000_000) + indexes])),
        "offsets of 5,000,000 partitions deleted": (
            OFFSET_DELETE, 0, string("g") + array([string("t") + struct.pack(">i", 5_000_000) + indexes])
        ),
        "1,000,000 groups described": (DESCRIBE_GROUPS, 0, struct.pack(">i", 1_000_000) + string("g") * 1_000_000),
        "1,000,000 groups deleted": (DELETE_GROUPS, 0, struct.pack(">i", 1_000_000) + string("g") * 1_000_000),
    }
    with Broker() as broker, Bystander(broker), GroupWire(broker.host_port) as wire:
        member = settled(wire)
        before = settled_memory(broker)
        for what, (api_key, version, body) in endless.items():
            for _ in range(3):
                with GroupWire(broker.host_port) as other:
                    other.send(api_key, version, body)
                    equal(other.receive(), CLOSED, what)
        grown = settled_memory(broker) - before
        # Each is up to 20 MB on the wire and 32 MiB when its lists are read, and the allocator keeps some of that for the next.
        expect(grown < 256 * MIB, f"the broker grew by {grown / MIB:.1f} MiB")
        untouched(wire, member)


@bad
def settings_and_counts_of_every_wrong_kind():
    wrong = {
        "retention.ms": ["", "soon", "1.5", "-2", "9" * 30], "retention.bytes": ["x", "1e9"], "cleanup.policy": ["burn", "delete,burn"],
        "max.message.bytes": ["-1", "x", "9999999999"], "min.cleanable.dirty.ratio": ["x", "2", "-0.1"],
        "compression.type": ["rar"], "message.timestamp.type": ["never"], "preallocate": ["yes", "1"], "no.such.setting": ["1"],
    }
    with Broker() as broker, Bystander(broker), GroupWire(broker.host_port) as wire:
        wire.made("t")
        told = wire.describe_configs(TOPIC, "t")
        for key, values in wrong.items():
            for value in values:
                what = f"{key}={value[:20]!r}"
                equal(wire.change_configs(TOPIC, "t", [(key, 0, value)]), INVALID_CONFIG, what)
                equal(wire.alter_configs(TOPIC, "t", {key: value}), INVALID_CONFIG, f"{what} among all")
        for key, value in [("log.retention.ms", "soon"), ("background.threads", "many"), ("background.threads", "0")]:
            error = wire.change_configs(BROKER, "0", [(key, 0, value)])
            expect(error in (INVALID_CONFIG, INVALID_REQUEST), f"the broker's {key}={value}: error {error}")
        equal(wire.describe_configs(TOPIC, "t"), told, "the topic's settings")
        for count in (1_000_000, 2**31 - 1, 0, -2):
            equal(wire.create_topic("wide", count), INVALID_PARTITIONS, f"a topic of {count} partitions")
            equal(wire.create_partitions("t", count), INVALID_PARTITIONS, f"{count} partitions for a topic")
        equal(wire.metadata(["wide"], auto_create=False)["wide"][0], UNKNOWN_TOPIC, "the topic that was not made")
