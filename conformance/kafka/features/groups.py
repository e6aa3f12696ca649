# SPDX-License-Identifier: Apache-2.0
"""Groups: members join, share partitions, commit, leave, die, and whoever is left goes on where the others were.

Members run in processes of their own. What they should read is written by hand, so that groups alone are judged; what was committed
is asked by hand, too. Nothing here goes by time: every wait ends when what is meant has happened.
"""

import random

from case import Refused, equal, expect, until
from features.listing import feature
from records import Record
from wire import batch

SETTLED_S_MAX = 90
# Where a case waits for a session to end.
SHORT_SESSION_MS = 3000


class Group:
    """The members of one group under test; whoever is left at the end is killed."""

    def __init__(self, place, *topics):
        self.place = place
        self.name = f"{place.topic}.group"
        self.topics = topics or (place.topic,)
        self.members = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for member in self.members:
            member.kill()

    def join(self, **settings):
        member = self.place.client.member(self.name, self.topics, **settings)
        self.members.append(member)
        return member

    def leave(self, member):
        self.members.remove(member)
        return member.leave() or []

    def kill(self, member):
        self.members.remove(member)
        return member.kill() or []

    def shared_out(self, places, each=None):
        """Waits until each of the places has one member, and no member has none (or each has `each`); what each has, in order."""

        def probe():
            all_have = [member.assigned() for member in self.members]
            fair = all(len(some) == each if each else some for some in all_have)
            whole = sum(map(len, all_have)) == len(places) and set().union(*all_have) == places
            return all_have if fair and whole else None

        def what():
            have = [(sorted(member.assigned()), member.failure()) for member in self.members]
            told = self.place.wire.describe_group(self.name)
            return f"{len(have)} members share {len(places)} partitions; they have {have}, and the group is {told}"

        return until(probe, SETTLED_S_MAX, what)

    def committed(self, topic, partitions):
        return self.place.wire.committed(self.name, topic, range(partitions))


def every(topic, partitions):
    return {(topic, partition) for partition in range(partitions)}


def written(place, topic, partitions, count, start=0):
    """Writes `count` records into each partition; what identifies them: (topic, partition, offset)."""
    wanted = set()
    for partition in range(partitions):
        records = [Record(value=b"%d.%d" % (partition, start + number)) for number in range(count)]
        first = place.wire.produce(topic, batch(records), partition)
        wanted |= {(topic, partition, first + number) for number in range(count)}
    return wanted


def spot(record):
    return record.topic, record.partition, record.offset


def collected(members, wanted, deadline_s=SETTLED_S_MAX):
    """Takes from the members until all that is wanted came; every record that came, in order."""
    came = []
    missing = set(wanted)

    def probe():
        for member in members:
            some = member.take(1000, 0.2 if len(members) == 1 else 0.05)
            came.extend(some)
            missing.difference_update(map(spot, some))
        return not missing

    until(probe, deadline_s, f"{len(wanted)} records come")
    return came


@feature("a group of one reads every record of every partition, in order")
def group_alone(place):
    place.wire.made(place.topic, 4)
    wanted = written(place, place.topic, 4, 50)
    with Group(place) as group:
        came = collected([group.join()], wanted)
        for partition in range(4):
            equal([record.offset for record in came if record.partition == partition], list(range(50)), f"partition {partition}")
            values = [record.value for record in came if record.partition == partition]
            equal(values, [b"%d.%d" % (partition, number) for number in range(50)], f"values of partition {partition}")


@feature("what a group committed is where its next member begins")
def group_resumes(place):
    place.wire.made(place.topic, 4)
    wanted = written(place, place.topic, 4, 10)
    with Group(place) as group:
        one = group.join()
        collected([one], wanted)
        if place.client.commits_itself:
            done = 10
        else:
            done = 6
            one.commit({each: done for each in every(place.topic, 4)})
        until(lambda: set(group.committed(place.topic, 4).values()) == {done}, SETTLED_S_MAX, "offsets are committed")
        group.leave(one)
        wanted |= written(place, place.topic, 4, 5, start=10)
        came = collected([group.join()], {each for each in wanted if each[2] >= done})
        expect(all(record.offset >= done for record in came), "a record before the committed offset came again")


@feature("two members share a topic; one leaves and the other has it all")
def group_shares(place):
    place.wire.made(place.topic, 4)
    with Group(place) as group:
        one, two = group.join(), group.join()
        group.shared_out(every(place.topic, 4))
        collected([one, two], written(place, place.topic, 4, 5))
        group.leave(one)
        group.shared_out(every(place.topic, 4))
        collected([two], written(place, place.topic, 4, 5, start=5))


def assignor(name):
    def run(place):
        topics = [f"{place.topic}.a", f"{place.topic}.b"]
        for topic in topics:
            place.wire.made(topic, 3)
        places = every(topics[0], 3) | every(topics[1], 3)
        with Group(place, *topics) as group:
            for _ in range(3):
                group.join(assignor=name)
            before = group.shared_out(places, each=2)
            # With the cooperative one, who gave something up joins once more.
            until(lambda: place.wire.describe_group(group.name).state == "Stable", SETTLED_S_MAX, "the group is stable")
            told = place.wire.describe_group(group.name)
            equal((told.error, told.protocol, len(told.members)), (0, name, 3), "the group as described")
            for topic in topics:
                collected(group.members, written(place, topic, 3, 2))
            group.leave(group.members[0])
            after = group.shared_out(places)
            if name == "cooperative-sticky":
                for had, has in zip(before[1:], after):
                    expect(had <= has, f"a member that stayed had {had} and now has {has}")

    return run


for each in ("range", "roundrobin", "sticky", "cooperative-sticky"):
    title = f"assignor {each}: three members, two topics; one leaves"
    feature(title, name=f"assignor_{each.replace('-', '_')}")(assignor(each))


@feature("a static member that comes back in time changes nothing for the others")
def group_static(place):
    place.wire.made(place.topic, 4)
    with Group(place) as group:
        one, two = group.join(instance="one"), group.join(instance="two")
        _, had = group.shared_out(every(place.topic, 4))
        until(lambda: place.wire.describe_group(group.name).state == "Stable", SETTLED_S_MAX, "the group is stable")
        changes = one.changes()
        group.kill(two)
        two = group.join(instance="two")
        until(lambda: two.assigned() == had, SETTLED_S_MAX, "it has what it had")
        collected([one, two], written(place, place.topic, 4, 5))
        equal(one.changes(), changes, "assignments that the other member was given")


@feature("a member that dies is missed when its session ends; the other takes over")
def group_killed(place):
    place.wire.made(place.topic, 4)
    with Group(place) as group:
        one, two = group.join(session_ms=SHORT_SESSION_MS), group.join(session_ms=SHORT_SESSION_MS)
        group.shared_out(every(place.topic, 4))
        group.kill(one)
        group.shared_out(every(place.topic, 4))
        collected([two], written(place, place.topic, 4, 5))


@feature("a member of a group seeks back")
def group_seek(place):
    place.wire.made(place.topic, 2)
    wanted = written(place, place.topic, 2, 10)
    with Group(place) as group:
        one = group.join()
        collected([one], wanted)
        one.seek(place.topic, 1, 3)
        again = collected([one], {each for each in wanted if each[1] == 1 and each[2] >= 3})
        equal([(record.partition, record.offset) for record in again], [(1, offset) for offset in range(3, 10)], "what came again")


@feature("a paused partition is not read until it is resumed")
def group_pause(place):
    place.wire.made(place.topic, 2)
    with Group(place) as group:
        one = group.join()
        collected([one], written(place, place.topic, 2, 5))
        one.pause(place.topic, 1)
        later = written(place, place.topic, 2, 5, start=5)
        came = collected([one], {each for each in later if each[1] == 0})
        expect(all(record.partition == 0 for record in came), "a record of the paused partition came")
        one.resume(place.topic, 1)
        collected([one], {each for each in later if each[1] == 1})


# How many members there are after each step of the churn: from 1 to 8. Who goes, and how, is drawn.
CHURN = (1, 2, 4, 3, 6, 8, 5, 7, 2, 1)


@feature("groups of 1 to 8 members that join, leave and die: every record is read, and the end is committed")
def group_churn(place):
    partitions = 8
    rng = random.Random(place.topic)
    place.wire.made(place.topic, partitions)
    wanted = set()
    seen = set()
    # Each member's next offset by partition: what it may commit is what was seen here.
    nexts = {}
    with Group(place) as group:

        def pump():
            for member in group.members:
                mine = nexts.setdefault(member, {})
                for record in member.take(1000, 0.05):
                    seen.add(spot(record))
                    mine[record.topic, record.partition] = record.offset + 1
                if not place.client.commits_itself:
                    offsets = {each: mine[each] for each in member.assigned() if each in mine}
                    try:
                        if offsets:
                            member.commit(offsets)
                    except Refused:
                        pass  # Its group is changing: whoever has the partition next reads again.

        def progress():
            pump()
            return len(seen) > before

        for count in CHURN:
            while len(group.members) < count:
                group.join(session_ms=SHORT_SESSION_MS)
            while len(group.members) > count:
                go = rng.choice((group.leave, group.kill))
                seen |= set(map(spot, go(rng.choice(group.members))))
            wanted |= written(place, place.topic, partitions, 20, start=len(wanted) // partitions)
            before = len(seen)
            until(progress, SETTLED_S_MAX, f"something is read by {count} members")
        ends = {partition: len(wanted) // partitions for partition in range(partitions)}

        def done():
            pump()
            return seen >= wanted and group.committed(place.topic, partitions) == ends

        until(done, SETTLED_S_MAX, "every record is read and the end is committed")
        equal(seen, wanted, "records")
