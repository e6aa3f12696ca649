# SPDX-License-Identifier: Apache-2.0
"""Groups and administration by hand: what no client would send, and more groups than one would have.

Stale generations, unknown members, foreign topics, names and metadata beyond all measure, settings of the wrong kind: each ends in the
error that Apache Kafka answers, and changes nothing. Most run against Apache Kafka too, which is how the errors were found; what is
bounded here and not there, or looks at memory, does not.
"""

import struct

from broker import settled_memory
from case import ALONE, Case, equal, expect, until
from group_wire import JOIN_GROUP, GroupWire, array, assignment, subscription
from wire import CLOSED, CREATE_TOPICS, string

MIB = 1 << 20
UNKNOWN_SERVER_ERROR, UNKNOWN_TOPIC_OR_PARTITION, OFFSET_METADATA_TOO_LARGE, INVALID_TOPIC = -1, 3, 12, 17
ILLEGAL_GENERATION, INCONSISTENT_PROTOCOL, INVALID_GROUP_ID, UNKNOWN_MEMBER, INVALID_SESSION_TIMEOUT = 22, 23, 24, 25, 26
REBALANCE_IN_PROGRESS, INVALID_PARTITIONS, INVALID_CONFIG, INVALID_REQUEST, POLICY_VIOLATION = 27, 37, 40, 42, 44
TOPIC, BROKER, GROUP = 2, 4, 32
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3

CASES = []


def by_hand(peer=True):
    def keep(run):
        CASES.append((run, peer))
        return run

    return keep


def names(topics):
    return (("range", subscription(topics)),)


class Member:
    """The one member of a stable group, and what must not change."""

    def __init__(self, wire, topic, group):
        self.wire = wire
        self.topic = topic
        self.group = group
        joined = until(lambda: ready(wire, group, topic), 60, "the group is joined")
        self.name, self.generation = joined.member, joined.generation
        given = {self.name: assignment({topic: [0]})}
        equal(wire.sync(group, self.generation, self.name, given), (0, given[self.name]), "the assignment")
        equal(self.commit(5), 0, "a commit")

    def commit(self, offset, generation=None, name=None):
        answers = self.wire.commit(
            self.group,
            {(self.topic, 0): offset},
            self.generation if generation is None else generation,
            self.name if name is None else name,
        )
        return answers[self.topic, 0]

    def untouched(self):
        equal(self.wire.heartbeat(self.group, self.generation, self.name), 0, "a heartbeat afterwards")
        equal(self.wire.committed(self.group, self.topic, [0]), {0: 5}, "the committed offset afterwards")
        described = self.wire.describe_group(self.group)
        equal((described.state, list(described.members)), ("Stable", [self.name]), "the group afterwards")


def ready(wire, group, topic):
    joined = wire.join(group, protocols=names([topic]))
    return joined if joined.error == 0 else None


@by_hand()
def stale_generations_and_unknown_members(broker):
    with GroupWire(broker.host_port) as wire:
        wire.made("stale")
        member = Member(wire, "stale", "stale.group")
        for generation in (member.generation - 1, member.generation + 1, 2**31 - 1, -(2**31)):
            equal(wire.heartbeat(member.group, generation, member.name), ILLEGAL_GENERATION, "a heartbeat of another generation")
            equal(wire.sync(member.group, generation, member.name)[0], ILLEGAL_GENERATION, "an assignment of another generation")
            equal(member.commit(9, generation=generation), ILLEGAL_GENERATION, f"a commit of generation {generation}")
        for name in ("", "nobody", member.name + "x", "x" * 32_000):
            equal(wire.heartbeat(member.group, member.generation, name), UNKNOWN_MEMBER, f"a heartbeat of {name[:20]!r}")
            equal(wire.sync(member.group, member.generation, name)[0], UNKNOWN_MEMBER, f"an assignment of {name[:20]!r}")
            equal(member.commit(9, name=name), UNKNOWN_MEMBER, f"a commit of {name[:20]!r}")
            equal(wire.leave(member.group, name), UNKNOWN_MEMBER, f"leaving as {name[:20]!r}")
            if name:
                equal(wire.join(member.group, name, names(["stale"])).error, UNKNOWN_MEMBER, f"joining as {name[:20]!r}")
        # Without a generation, an administrator commits: not while there are members.
        equal(member.commit(9, generation=-1, name=""), UNKNOWN_MEMBER, "a commit from outside")
        member.untouched()
        equal(wire.heartbeat("no.such.group", 1, "nobody"), UNKNOWN_MEMBER, "a heartbeat in a group that is not there")
        equal(wire.leave("no.such.group", "nobody"), UNKNOWN_MEMBER, "leaving a group that is not there")
        equal(
            wire.commit("no.such.group", {("stale", 0): 1}, 1, "nobody"), {("stale", 0): ILLEGAL_GENERATION},
            "a commit in a group that is not there",
        )
        expect("no.such.group" not in wire.groups(), "a group was made by asking")


@by_hand()
def foreign_topics(broker):
    with GroupWire(broker.host_port) as wire:
        wire.made("foreign")
        member = Member(wire, "foreign", "foreign.group")
        for place in (("no.such.topic", 0), ("foreign", 5), ("foreign", -1), ("foreign", 2**31 - 1), ("../up", 0), ("", 0)):
            answers = wire.commit(member.group, {place: 1}, member.generation, member.name)
            equal(answers, {place: UNKNOWN_TOPIC_OR_PARTITION}, f"a commit for {place}")
        # What is beside it in the same request is taken.
        answers = wire.commit(member.group, {("foreign", 0): 5, ("no.such.topic", 0): 1}, member.generation, member.name)
        equal(answers[("foreign", 0)], 0, "the commit beside it")
        expect(wire.metadata(["no.such.topic"])["no.such.topic"][0] != 0, "a commit made a topic")
        large = wire.commit(member.group, {("foreign", 0): 5}, member.generation, member.name, metadata="m" * 5000)
        equal(large, {("foreign", 0): OFFSET_METADATA_TOO_LARGE}, "a commit with 5,000 bytes of metadata")
        member.untouched()


@by_hand()
def joins_that_are_none(broker):
    with GroupWire(broker.host_port) as wire:
        wire.made("joins")
        member = Member(wire, "joins", "joins.group")
        good = names(["joins"])
        for what, wanted, settings in (
            ("a group without a name", INVALID_GROUP_ID, {"group": ""}),
            ("a session of no time", INVALID_SESSION_TIMEOUT, {"group": "j1", "session_ms": 0}),
            ("a session of negative time", INVALID_SESSION_TIMEOUT, {"group": "j1", "session_ms": -1}),
            ("a session of 24 days", INVALID_SESSION_TIMEOUT, {"group": "j1", "session_ms": 2**31 - 1}),
            ("no protocol", INCONSISTENT_PROTOCOL, {"group": "j1", "protocols": ()}),
            ("no kind of protocol", INCONSISTENT_PROTOCOL, {"group": "j1", "kind": ""}),
            ("another kind of protocol", INCONSISTENT_PROTOCOL, {"group": member.group, "kind": "connect"}),
            ("no protocol that the others know", INCONSISTENT_PROTOCOL, {"group": member.group, "protocols": (("other", b""),)}),
        ):
            equal(wire.join(**{"protocols": good, **settings}).error, wanted, what)
        # Apache Kafka lists it, without members.
        expect("j1" not in wire.groups() or wire.describe_group("j1").members == {}, "a join that was refused made a group")
        member.untouched()


@by_hand()
def ten_thousand_protocols(broker):
    with GroupWire(broker.host_port, timeout_s=60) as wire:
        wire.made("protocols")
        member = Member(wire, "protocols", "protocols.group")
        many = tuple((f"protocol-{number}", b"") for number in range(10_000))
        equal(wire.join(member.group, protocols=many).error, INCONSISTENT_PROTOCOL, "10,000 protocols, none of them known")
        member.untouched()


@by_hand(peer=False)
def ten_megabytes_of_metadata(broker):
    before = settled_memory(broker)
    with GroupWire(broker.host_port, timeout_s=60) as wire:
        wire.made("metadata")
        member = Member(wire, "metadata", "metadata.group")
        large = (("range", bytes(10 * MIB)),)
        for number in range(20):
            joined = wire.join(f"metadata.{number}", protocols=large)
            expect(joined.error != 0, "10 MB of metadata were taken")
        expect(wire.join(member.group, protocols=large).error != 0, "10 MB of metadata were taken")
        given = {member.name: bytes(10 * MIB)}
        expect(wire.sync(member.group, member.generation, member.name, given)[0] in (0, INVALID_REQUEST), "an assignment of 10 MB")
        expect(not [name for name in wire.groups() if name != member.group], "a join that was refused made a group")
        member.untouched()
        for protocol in range(20):
            many = tuple((f"protocol-{protocol}-{number}", b"") for number in range(10_000))
            wire.join(f"protocols.{protocol}", protocols=many)
    grown = settled_memory(broker) - before
    expect(grown < 128 * MIB, f"the broker grew by {grown / MIB:.1f} MiB")


def compact(text):
    """A string of the newer versions: its length and one, seven bits a byte."""
    length, head = len(text) + 1, bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(head) + bytes([length]) + text.encode()


@by_hand()
def empty_and_enormous_names(broker):
    with GroupWire(broker.host_port) as wire:
        wire.made("names")
        member = Member(wire, "names", "names.group")
        equal(wire.heartbeat("", 1, "nobody"), INVALID_GROUP_ID, "a heartbeat in a group without a name")
        equal(wire.sync("", 1, "nobody")[0], INVALID_GROUP_ID, "an assignment in a group without a name")
        equal(wire.create_topic(""), INVALID_TOPIC, "a topic without a name")
        member.untouched()
        for name in ("g" * 65_536, "g" * 40_000):
            with GroupWire(broker.host_port) as other:
                # JoinGroup 6, the first whose strings may be that long at all. Apache Kafka closes the connection.
                body = compact(name) + struct.pack(">ii", 10_000, 30_000) + b"\1\0" + compact("consumer")
                other.send(JOIN_GROUP, 6, body + b"\2" + compact("range") + b"\1\0\0", flexible=True)
                answer = other.receive()
                if answer != CLOSED:
                    # Header's tagged fields, throttle time, error.
                    expect(struct.unpack(">h", answer[1][5:7])[0] != 0, f"a group with a name of {len(name)} letters was made")
        expect(all(len(name) < 40_000 for name in wire.groups()), "a group with an enormous name is there")
        member.untouched()


@by_hand()
def settings_of_the_wrong_kind(broker):
    with GroupWire(broker.host_port) as wire:
        wire.made("settings")
        wire.change_configs(TOPIC, "settings", [("retention.ms", SET, "3600000")])
        before = wire.describe_configs(TOPIC, "settings")
        equal(before[1]["retention.ms"][0], "3600000", "the setting")
        for key, operation, value in (
            ("no.such.setting", SET, "1"),
            ("", SET, "1"),
            ("retention.ms", SET, "soon"),
            ("retention.ms", SET, ""),
            ("retention.ms", SET, "1.5"),
            ("retention.ms", SET, "-2"),
            ("retention.ms", SET, "9" * 30),
            ("retention.bytes", SET, "many"),
            ("max.message.bytes", SET, "-1"),
            ("max.message.bytes", SET, "2147483648"),
            ("cleanup.policy", SET, "burn"),
            ("cleanup.policy", APPEND, "burn"),
            ("compression.type", SET, "zip"),
            ("message.timestamp.type", SET, "Yesterday"),
            ("min.cleanable.dirty.ratio", SET, "2"),
            ("preallocate", SET, "perhaps"),
            ("min.insync.replicas", SET, "0"),
            ("retention.ms", APPEND, "1"),
            ("retention.ms", SUBTRACT, "1"),
        ):
            error = wire.change_configs(TOPIC, "settings", [(key, operation, value)])
            equal(error, INVALID_CONFIG, f"{key!r}, operation {operation}, to {value!r}")
            error = wire.change_configs(TOPIC, "settings", [(key, operation, value)], validate_only=True)
            equal(error, INVALID_CONFIG, f"{key!r}, operation {operation}, to {value!r}, asking only")
        for operation in (9, -1):
            error = wire.change_configs(TOPIC, "settings", [("retention.ms", operation, "1")])
            expect(error in (INVALID_REQUEST, UNKNOWN_SERVER_ERROR), f"operation {operation}: {error}")
        twice = [("retention.ms", SET, "1"), ("retention.ms", SET, "2")]
        equal(wire.change_configs(TOPIC, "settings", twice), INVALID_REQUEST, "the same key twice")
        # One that is wrong keeps all of a resource's from being set.
        error = wire.change_configs(TOPIC, "settings", [("retention.bytes", SET, "7000000"), ("retention.ms", SET, "soon")])
        equal(error, INVALID_CONFIG, "a good setting beside a wrong one")
        equal(wire.alter_configs(TOPIC, "settings", {"retention.ms": "soon"}), INVALID_CONFIG, "all settings anew, one wrong")
        for name in ("no.such.topic", "../up"):
            equal(
                wire.change_configs(TOPIC, name, [("retention.ms", SET, "1")]), wanted_of(name), f"a setting of {name!r}"
            )
        equal(wire.describe_configs(TOPIC, "settings"), before, "the settings afterwards")


def wanted_of(name):
    return UNKNOWN_TOPIC_OR_PARTITION if name == "no.such.topic" else INVALID_TOPIC


@by_hand()
def a_million_partitions(broker):
    with GroupWire(broker.host_port, timeout_s=60) as wire:
        wire.made("million")
        for count in (1_000_000, 2**31 - 1):
            error = wire.create_topic("a.million", count)
            expect(error in (INVALID_PARTITIONS, POLICY_VIOLATION), f"{count} partitions: {error}")
        for count in (0, -5):
            equal(wire.create_topic("a.million", count), INVALID_PARTITIONS, f"{count} partitions")
            equal(wire.create_partitions("million", count), INVALID_PARTITIONS, f"{count} partitions in all")
        equal(wire.metadata(["million"])["million"], (0, [0]), "the topic that was there")
        expect(wire.metadata(["a.million"])["a.million"][0] != 0, "the topic was made")
        # A hundred topics of a million each, in one request.
        body = array([string(f"million.{number}") + struct.pack(">ihii", 1_000_000, 1, 0, 0) for number in range(100)])
        answer = wire.ask(CREATE_TOPICS, 2, body + struct.pack(">i?", 30_000, False))
        answer.take("i")
        for name, error, _ in answer.each(lambda: (answer.string(), answer.take("h"), answer.string())):
            expect(error in (INVALID_PARTITIONS, POLICY_VIOLATION), f"{name}: {error}")


@by_hand(peer=False)
def a_million_partitions_more(broker):
    """Apache Kafka stumbles over its own bound here: it answers an unknown error, and makes the first ten thousand."""
    with GroupWire(broker.host_port, timeout_s=60) as wire:
        wire.made("million")
        for count in (1_000_000, 2**31 - 1):
            error = wire.create_partitions("million", count)
            expect(error in (INVALID_PARTITIONS, POLICY_VIOLATION), f"{count} partitions more: {error}")
        equal(wire.metadata(["million"])["million"], (0, [0]), "the topic afterwards")


GROUPS = 1000
CONNECTIONS = 20


@by_hand()
def a_thousand_groups_at_once(broker):
    """Each with two members, who join, share, commit and are there at the same time."""
    wires = [GroupWire(broker.host_port, timeout_s=120) for _ in range(2 * CONNECTIONS)]
    try:
        first, second = wires[:CONNECTIONS], wires[CONNECTIONS:]
        first[0].made("thousand", 2)
        groups = [f"thousand.{number}" for number in range(GROUPS)]
        # A coordinator that has just begun is waited for.
        first[0].patient(lambda: first[0].join("thousand.first", protocols=names(["thousand"])).error, "a join")

        def of(some, index):
            return some[index % CONNECTIONS]

        # All first members are in before any second one comes, and those do so all at once: the requests wait at the broker.
        members = []
        for index, group in enumerate(groups):
            joined = of(first, index).join(group, protocols=names(["thousand"]), session_ms=300_000)
            equal(joined.error, 0, f"joining {group}")
            error, _ = of(first, index).sync(group, joined.generation, joined.member, {joined.member: assignment({"thousand": [0, 1]})})
            equal(error, 0, f"the assignment of {group}")
            members.append(joined)
        listed = first[0].groups()
        expect(all(group in listed for group in groups), "not all groups are listed")
        for index, group in enumerate(groups):
            equal(of(first, index).heartbeat(group, members[index].generation, members[index].member), 0, f"a heartbeat in {group}")
            answers = of(first, index).commit(
                group, {("thousand", 0): index, ("thousand", 1): 2 * index}, members[index].generation, members[index].member
            )
            equal(answers, {("thousand", 0): 0, ("thousand", 1): 0}, f"a commit in {group}")
        # One request waits on each connection, and the next of the same connection behind it: round after round.
        for begin in range(0, GROUPS, CONNECTIONS):
            some = range(begin, begin + CONNECTIONS)
            for index in some:
                of(second, index).send_join(groups[index], protocols=names(["thousand"]), session_ms=300_000)
            for index in some:
                wire, group, member = of(first, index), groups[index], members[index]
                until(
                    lambda: wire.heartbeat(group, member.generation, member.member) == REBALANCE_IN_PROGRESS, 60,
                    f"{group} hears of its second member",
                )
                joined = wire.join(group, member.member, names(["thousand"]), session_ms=300_000)
                other = of(second, index).receive_join()
                equal((joined.error, other.error), (0, 0), f"the two members of {group}")
                equal((joined.generation, len(joined.members) + len(other.members)), (other.generation, 2), f"generation of {group}")
                leader, follower = (joined, other) if joined.leader == joined.member else (other, joined)
                mine, theirs = (wire, of(second, index)) if leader is joined else (of(second, index), wire)
                given = {leader.member: assignment({"thousand": [0]}), follower.member: assignment({"thousand": [1]})}
                theirs.send_sync(group, follower.generation, follower.member)
                equal(mine.sync(group, leader.generation, leader.member, given), (0, given[leader.member]), "the leader's share")
                equal(theirs.receive_sync(), (0, given[follower.member]), "the other's share")
                members[index] = joined
        for index, group in enumerate(groups):
            described = of(first, index).describe_group(group)
            equal((described.error, described.state, len(described.members)), (0, "Stable", 2), group)
            equal(of(first, index).committed(group, "thousand", [0, 1]), {0: index, 1: 2 * index}, f"offsets of {group}")
    finally:
        for wire in wires:
            wire.close()


def cases(shared):
    def case(run, peer):
        def go():
            with shared.fresh() as broker:
                run(broker)
                expect(broker.alive(), lambda: f"the broker ended:\n{broker.log()}")

        memory = run is ten_megabytes_of_metadata
        return Case(f"kafka/by hand/{run.__name__}", "", "", "", go, lane=ALONE if memory else "by hand", peer=peer)

    return [case(run, peer) for run, peer in CASES]
