# SPDX-License-Identifier: Apache-2.0
"""What an administrator asks for: settings, partitions, records, groups and their offsets, the cluster."""

import threading

from case import Refused, equal, expect, refused_with, until
from features.groups import SETTLED_S_MAX, Group, collected, written
from features.listing import feature
from records import contents, numbered

OFFSET_OUT_OF_RANGE, INVALID_PARTITIONS, INVALID_CONFIG, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND = 1, 37, 40, 68, 69
DYNAMIC_TOPIC, DYNAMIC_BROKER, STATIC_BROKER, DEFAULT = 1, 2, 4, 5
# Of a source that is not told.
UNTOLD = None
BROKER_SETTINGS = threading.Lock()


@feature("a topic's settings are described, changed one by one, and refused where they are wrong")
def admin_topic_configs(place):
    place.client.create_topic(place.topic, 1, {"retention.ms": "3600000"})
    place.wire.settled(place.topic)

    def shows(wanted):
        last = {}

        def probe():
            # A broker may answer before what was changed is told everywhere.
            told = place.client.describe_configs("topic", place.topic)
            last.update({key: told[key] for key in wanted})
            return all(told[key][0] == value and told[key][1] in (source, UNTOLD) for key, (value, source) in wanted.items())

        until(probe, SETTLED_S_MAX, lambda: f"{wanted} is described; it is {last}")

    shows({"retention.ms": ("3600000", DYNAMIC_TOPIC), "max.message.bytes": ("1048588", DEFAULT)})
    place.client.alter_configs("topic", place.topic, {"max.message.bytes": "20000"})
    kept = ("604800000", DEFAULT) if place.client.alters_all else ("3600000", DYNAMIC_TOPIC)
    shows({"retention.ms": kept, "max.message.bytes": ("20000", DYNAMIC_TOPIC), "retention.bytes": ("-1", DEFAULT)})
    for wrong in ({"no.such.setting": "1"}, {"retention.ms": "soon"}, {"cleanup.policy": "burn"}):
        refused_with(
            INVALID_CONFIG, lambda wrong=wrong: place.client.alter_configs("topic", place.topic, wrong), f"setting {wrong}"
        )
    shows({"retention.ms": kept, "max.message.bytes": ("20000", DYNAMIC_TOPIC)})


@feature("a topic's setting is taken back to its default")
def admin_config_reset(place):
    place.client.create_topic(place.topic, 1, {"retention.ms": "3600000", "retention.bytes": "5000000"})
    place.wire.settled(place.topic)
    place.client.alter_configs("topic", place.topic, {"retention.ms": None})

    def reset():
        told = place.client.describe_configs("topic", place.topic)
        return (told["retention.ms"][0], told["retention.bytes"][0]) == ("604800000", "5000000")

    until(reset, SETTLED_S_MAX, "one setting is the default, and the other is as it was")


@feature("a broker's settings are described and changed")
def admin_broker_configs(place):
    _, _, ((number, _, _),) = place.client.describe_cluster()
    told = place.client.describe_configs("broker", str(number))
    expect(told["advertised.listeners"][1] in (STATIC_BROKER, UNTOLD), f"advertised.listeners: {told['advertised.listeners']}")
    # The broker is shared with the cases of other clients.
    with BROKER_SETTINGS:
        place.client.alter_configs("broker", str(number), {"background.threads": "12"})
        try:
            told = until(
                lambda: changed(place.client.describe_configs("broker", str(number)), "background.threads", "12"),
                SETTLED_S_MAX,
                "the setting is changed",
            )
            expect(told[1] in (DYNAMIC_BROKER, UNTOLD), f"the source is {told[1]}")
        finally:
            place.wire.change_configs(4, str(number), [("background.threads", 1, None)])


def changed(told, key, value):
    return told[key] if told[key][0] == value else None


@feature("a topic gets more partitions, and never fewer")
def admin_partitions(place):
    place.wire.made(place.topic, 2)
    place.client.create_partitions(place.topic, 5)
    until(
        lambda: sorted(place.wire.metadata([place.topic])[place.topic][1]) == [0, 1, 2, 3, 4], SETTLED_S_MAX, "there are five"
    )
    refused_with(INVALID_PARTITIONS, lambda: place.client.create_partitions(place.topic, 3), "taking two away")
    place.wire.settled(place.topic, 5)
    place.client.write(place.topic, 4, numbered(3))
    equal(contents(place.client.read(place.topic, 4, ("earliest",), 3)), contents(numbered(3)), "records of the last one")


@feature("records before an offset are deleted")
def admin_delete_records(place):
    place.wire.made(place.topic)
    place.client.write(place.topic, 0, numbered(10))
    equal(place.client.delete_records(place.topic, 0, 4), 4, "the first offset that is left")
    equal(place.client.offsets(place.topic, 0), (4, 10), "offsets")
    seen = place.client.read(place.topic, 0, ("earliest",), 6)
    equal([record.offset for record in seen], list(range(4, 10)), "what is left")
    refused_with(OFFSET_OUT_OF_RANGE, lambda: place.client.delete_records(place.topic, 0, 11), "deleting beyond the end")
    equal(place.client.offsets(place.topic, 0), (4, 10), "offsets after the refusal")


@feature("groups are listed and described")
def admin_groups(place):
    place.wire.made(place.topic)
    with Group(place) as group:
        one = group.join()
        until(lambda: described(place, group.name) == ("stable", 1), SETTLED_S_MAX, "the group is stable")
        expect(group.name in place.client.groups(), "the group is not listed")
        # Something is committed, so the group outlives its member.
        equal(place.wire.commit(group.name + "-other", {(place.topic, 0): 0}), {(place.topic, 0): 0}, "a commit")
        expect(group.name + "-other" in place.client.groups(), "a group of offsets alone is not listed")
        equal(place.client.describe_group(group.name + "-other"), ("empty", 0), "a group of offsets alone")
        until(lambda: one.assigned() == {(place.topic, 0)}, SETTLED_S_MAX, "the member has its partition")


def described(place, group):
    """None while there is no such group."""
    try:
        return place.client.describe_group(group)
    except Refused as refused:
        equal(refused.code, GROUP_ID_NOT_FOUND, "describing a group that is not there is refused with")
        return None


@feature("a group is deleted once it is empty, with its offsets")
def admin_delete_group(place):
    place.wire.made(place.topic)
    with Group(place) as group:
        one = group.join()
        group.shared_out({(place.topic, 0)})
        refused_with(NON_EMPTY_GROUP, lambda: place.client.delete_group(group.name), "deleting a group with a member")
        group.leave(one)
        until(lambda: place.wire.describe_group(group.name).state in ("Empty", "Dead"), SETTLED_S_MAX, "the group is empty")
        equal(place.wire.commit(group.name, {(place.topic, 0): 7}), {(place.topic, 0): 0}, "a commit")
        place.client.delete_group(group.name)
        expect(group.name not in place.wire.groups(), "the group is still listed")
        equal(group.committed(place.topic, 1), {0: -1}, "offsets of a group that is gone")
        refused_with(GROUP_ID_NOT_FOUND, lambda: place.client.delete_group(group.name), "deleting it again")


@feature("a group's committed offsets are listed")
def admin_offsets(place):
    place.wire.made(place.topic, 3)
    group = f"{place.topic}.group"
    offsets = {(place.topic, 0): 5, (place.topic, 2): 0}
    equal(place.wire.commit(group, offsets), {each: 0 for each in offsets}, "a commit")
    told = place.client.group_offsets(group)
    equal({each: offset for each, offset in told.items() if offset >= 0}, offsets, "offsets")


@feature("a group's committed offsets are changed, and its next member begins there")
def admin_set_offsets(place):
    place.wire.made(place.topic)
    wanted = written(place, place.topic, 1, 10)
    with Group(place) as group:
        place.client.set_group_offset(group.name, place.topic, 0, 7)
        equal(group.committed(place.topic, 1), {0: 7}, "the committed offset")
        came = collected([group.join()], {each for each in wanted if each[2] >= 7})
        equal([record.offset for record in came], [7, 8, 9], "what came")


@feature("the cluster is described: its id, its controller, its one broker where it can be reached")
def admin_cluster(place):
    cluster, controller, brokers = place.client.describe_cluster()
    expect(isinstance(cluster, str) and len(cluster) == 22, f"the cluster's id is {cluster!r}")
    ((number, host, port),) = brokers
    equal((host, port), place.broker.host_port, "where the broker is")
    equal(controller, number, "the controller")
