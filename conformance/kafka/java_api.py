# SPDX-License-Identifier: Apache-2.0
"""What only the Java client can ask for or says more of: its consumer in groups, its Admin. The cases are in `java/ApiCases.java`, one
method each; here are their names and what they are called on the page.
"""

from case import Case, Refused, Skip, equal, expect, until
from clients import Java
from clients.line_program import LineProgram
from group_wire import GroupWire
from records import numbered
from wire import batch

# Some wait for a session to end.
CASE_S_MAX = 120
NAME = "java-api"
LEADER_NOT_AVAILABLE, NOT_LEADER = 5, 6

TITLES = {
    "commits": "KafkaConsumer: commitSync, commitAsync, committed, text of a commit, what the next member reads",
    "auto_commit": "KafkaConsumer: enable.auto.commit",
    "places": "KafkaConsumer: position, seek, offsetsForTimes, beginningOffsets, endOffsets, pause, resume, auto.offset.reset",
    "listeners": "KafkaConsumer: rebalance listeners: assigned, revoked, lost",
    "assignors": "KafkaConsumer: range, roundrobin, sticky, cooperative-sticky with up to three members",
    "static_members": "KafkaConsumer: static members: back without a rebalance, fenced by a twin, removed",
    "pattern": "KafkaConsumer: topics by pattern, made and removed meanwhile",
    "leaving": "KafkaConsumer: unsubscribe, close, close and remain in the group until the session ends",
    "admin_topics": "Admin: createTopics, validateOnly, describeTopics, listTopics, deleteTopics, by name and id",
    "admin_topics_refused": "Admin: topics that cannot be made, found or deleted",
    "admin_partitions": "Admin: createPartitions",
    "admin_topic_configs": "Admin: describeConfigs and incrementalAlterConfigs of topics",
    "admin_other_configs": "Admin: describeConfigs and incrementalAlterConfigs of brokers and groups",
    "admin_records": "Admin: listOffsets, deleteRecords",
    "admin_cluster": "Admin: describeCluster, describeMetadataQuorum, describeFeatures",
    "admin_log_dirs": "Admin: describeLogDirs, describeReplicaLogDirs, alterReplicaLogDirs",
    "admin_producers": "Admin: describeProducers",
    "admin_elections": "Admin: electLeaders, listPartitionReassignments, alterPartitionReassignments",
    "admin_groups": "Admin: listGroups, describeConsumerGroups, describeClassicGroups, deleteConsumerGroups",
    "admin_group_offsets": "Admin: listConsumerGroupOffsets, alterConsumerGroupOffsets, deleteConsumerGroupOffsets",
    "admin_group_members": "Admin: removeMembersFromConsumerGroup",
    "not_there": "What is not spoken fails at once: group.protocol=consumer, transactions, share groups, ACLs",
}


class JavaApi(LineProgram):
    name = NAME

    def __init__(self, address):
        self.command = [*Java.command[:-1], "ApiCases"]
        super().__init__(address)


def restart(shared):
    """Both members stay, with what they had, and read on.

    The client may ask for a rebalance all the same: when it reaches no broker at all, it forgets what it knew of topics, and takes
    learning it again for a change."""
    topic = group = f"{NAME}.restart"
    with shared.fresh() as broker:
        with GroupWire(broker.host_port) as wire:
            wire.made(topic, 4)
        client = Java(broker.address)
        members = [client.member(group, [topic]) for _ in range(2)]
        try:
            until(lambda: sorted(len(member.assigned()) for member in members) == [2, 2], 60, "two members share")
            before = [member.assigned() for member in members]
            broker.kill()
            broker.start()
            with GroupWire(broker.host_port) as wire:
                for partition in range(4):
                    until(lambda partition=partition: produced(wire, topic, partition), 60, "the partition is led")
            for member in members:
                came = {}
                until(lambda member=member, came=came: all_of_two(member, came), 60, "records written after the restart")
            until(lambda: [member.assigned() for member in members] == before, 60, "the members have what they had")
            with GroupWire(broker.host_port) as wire:
                equal(len(wire.describe_group(group).members), 2, "members")
        finally:
            for member in members:
                member.kill()
            client.close()


def produced(wire, topic, partition):
    """False while the partition has no leader: elsewhere that takes a moment after a start."""
    try:
        wire.produce(topic, batch(numbered(5)), partition=partition)
    except Refused as refused:
        expect(refused.code in (LEADER_NOT_AVAILABLE, NOT_LEADER), f"error {refused.code}")
        return False
    return True


def all_of_two(member, came):
    for record in member.take(10, 1):
        came.setdefault(record.partition, []).append(record.key)
    return [len(keys) for keys in came.values()] == [5, 5]


def cases(shared):
    """The cases, for run.py."""
    missing = shared.absent.get("java")
    for name, title in TITLES.items():

        def run(name=name):
            if missing:
                raise Skip(missing)
            broker = shared.broker()
            try:
                shared.client(JavaApi).ask(name, CASE_S_MAX, name=f"{NAME}.{name}")
            except Refused as failed:
                raise AssertionError(str(failed)) from None
            expect(broker.alive(), lambda: f"the broker ended:\n{broker.log()}")

        version = "" if missing else Java.version
        # Apache Kafka speaks what the last one wants to be refused.
        yield Case(f"kafka/{NAME}/{name}", NAME, version, title, run, peer=name != "not_there")

    def restarting():
        if missing:
            raise Skip(missing)
        restart(shared)

    title = "KafkaConsumer: after kill -9 and a restart of the broker, members go on with what they had"
    yield Case(f"kafka/{NAME}/restart", NAME, "" if missing else Java.version, title, restarting)
