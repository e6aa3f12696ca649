# SPDX-License-Identifier: Apache-2.0
"""kafka-python: the protocol in pure Python, with a fetch session and batches of its own making."""

import re
import time

import kafka
from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigSourceType, KafkaAdminClient
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import InvalidConfigurationError, KafkaError

from case import Refused
from clients.adapter import HEARTBEAT_MS, Client, Producer, Reader
from clients.line_program import LineMember, member_command
from records import Record

CALL_S_MAX = 30
JOIN_S = 3


class KafkaPython(Client):
    name = "kafka-python"
    says_null_headers = False
    says_neither_key_nor_value = False
    cannot = {"max_timestamp": "its consumer asks for times, not for the largest one"}

    def __init__(self, address):
        super().__init__(address)
        self.lookup = None

    @classmethod
    def version(cls):
        return kafka.__version__

    def producer(self, **settings):
        return KafkaPythonProducer(self.address, **settings)

    def reader(self, topic, partition, start, *, wait_ms=500, isolation="read_uncommitted"):
        inner = consumer(self.address, wait_ms, isolation)
        place = TopicPartition(topic, partition)
        inner.assign([place])
        match start:
            case ("earliest",):
                inner.seek_to_beginning(place)
            case ("latest",):
                inner.seek_to_end(place)
                refusing(inner.position, place)
            case ("offset", offset):
                inner.seek(place, offset)
            case ("time", timestamp_ms):
                offset = self.offset_at(topic, partition, timestamp_ms)
                inner.seek(place, self.offsets(topic, partition)[1] if offset is None else offset)
        return KafkaPythonReader(inner)

    def looking(self):
        if self.lookup is None:
            self.lookup = consumer(self.address, 500, "read_uncommitted")
        return self.lookup

    def offsets(self, topic, partition):
        place = TopicPartition(topic, partition)
        earliest = refusing(self.looking().beginning_offsets, [place])[place]
        return earliest, refusing(self.looking().end_offsets, [place])[place]

    def offset_at(self, topic, partition, timestamp_ms):
        place = TopicPartition(topic, partition)
        found = refusing(self.looking().offsets_for_times, {place: timestamp_ms})[place]
        return None if found is None else found.offset

    def with_admin(self, call):
        admin = KafkaAdminClient(bootstrap_servers=self.address)
        try:
            return refusing(call, admin)
        finally:
            admin.close()

    def create_topic(self, topic, partitions=1, settings=None):
        wanted = {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": settings or {}}}
        self.with_admin(lambda admin: admin.create_topics(wanted))

    def delete_topic(self, topic):
        self.with_admin(lambda admin: admin.delete_topics([topic]))

    def topics(self):
        return set(self.with_admin(lambda admin: admin.list_topics()))

    def describe_configs(self, kind, name):
        resource = ConfigResource(kind, name)
        told = self.with_admin(lambda admin: admin.describe_configs([resource], config_filter="all"))
        ((_, settings),) = next(iter(told.values())).items()
        return {key: (entry["value"], int(ConfigSourceType[entry["config_source"]])) for key, entry in settings.items()}

    def alter_configs(self, kind, name, settings):
        changes = {key: value for key, value in settings.items() if value is not None}
        resets = {key: None for key, value in settings.items() if value is None}
        for verb, some in ("alter_configs", changes), ("reset_configs", resets):
            if some:
                try:
                    told = self.with_admin(lambda admin, verb=verb, some=some: getattr(admin, verb)([ConfigResource(kind, name, some)]))
                except ValueError as error:
                    # It asks the broker for the keys that there are, and refuses others by itself.
                    raise Refused(InvalidConfigurationError.errno, str(error)) from error
                ((outcome,),) = [each.values() for each in told.values()]
                if outcome != "OK":
                    raise Refused(int(re.search(r"\[Error (\d+)\]", outcome).group(1)), outcome)

    def create_partitions(self, topic, count):
        self.with_admin(lambda admin: admin.create_partitions({topic: count}))

    def delete_records(self, topic, partition, before):
        place = TopicPartition(topic, partition)
        return self.with_admin(lambda admin: admin.delete_records({place: before}))[place]["low_watermark"]

    def groups(self):
        return {group["group_id"] for group in self.with_admin(lambda admin: admin.list_groups())}

    def describe_group(self, group):
        told = self.with_admin(lambda admin: admin.describe_groups([group]))[group]
        return told["group_state"].lower(), len(told["members"])

    def delete_group(self, group):
        told = self.with_admin(lambda admin: admin.delete_groups([group]))[group]
        if told != "OK":
            raise refusal(getattr(kafka.errors, told)())

    def group_offsets(self, group):
        told = self.with_admin(lambda admin: admin.list_group_offsets(group))[group]
        return {(place.topic, place.partition): each.offset for place, each in told.items()}

    def set_group_offset(self, group, topic, partition, offset):
        place = {TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)}
        self.with_admin(lambda admin: admin.alter_group_offsets(group, place))

    def describe_cluster(self):
        told = self.with_admin(lambda admin: admin.describe_cluster())
        brokers = [(broker["broker_id"], broker["host"], broker["port"]) for broker in told["brokers"]]
        return told["cluster_id"], told["controller_id"], brokers

    def member(self, group, topics, **settings):
        return LineMember(member_command(self), self.name, group, topics, **settings)

    def close(self):
        if self.lookup is not None:
            self.lookup.close()


ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}


class KafkaPythonMember(ConsumerRebalanceListener):
    """In a process of its own (member_program.py)."""

    def __init__(self, address, group, topics, assignor, instance, session_ms):
        named = {} if assignor is None else {"partition_assignment_strategy": [ASSIGNORS[assignor]]}
        self.changes = 0
        self.inner = KafkaConsumer(
            bootstrap_servers=address,
            group_id=group,
            group_instance_id=instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=HEARTBEAT_MS,
            **named,
        )
        self.inner.subscribe(topics, listener=self)

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        self.changes += 1

    def poll(self, wait_s):
        # An assignment that comes between two polls is lost to it, and the member stands still for ever (3.0.12: `join_group_async` asks
        # `need_rejoin` before it looks at the join that is done). So a poll that may join lasts until it has.
        wait_s = wait_s if self.inner.assignment() else JOIN_S
        polled = refusing(lambda: self.inner.poll(int(wait_s * 1000)))
        return [read(message) for messages in polled.values() for message in messages]

    def assigned(self):
        return {(place.topic, place.partition) for place in self.inner.assignment()}

    def commit(self, offsets):
        wanted = {TopicPartition(*place): OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()}
        refusing(lambda: self.inner.commit(wanted))

    def seek(self, topic, partition, offset):
        self.inner.seek(TopicPartition(topic, partition), offset)

    def pause(self, topic, partition):
        self.inner.pause(TopicPartition(topic, partition))

    def resume(self, topic, partition):
        self.inner.resume(TopicPartition(topic, partition))

    def leave(self):
        self.inner.close()


def read(message):
    headers = tuple((name, value) for name, value in message.headers or ())
    return Record(
        message.key, message.value, headers, message.timestamp, message.offset, message.topic, message.partition
    )


def consumer(address, wait_ms, isolation):
    return KafkaConsumer(
        bootstrap_servers=address,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=wait_ms,
        request_timeout_ms=max(40_000, wait_ms + 10_000),
        max_partition_fetch_bytes=4 << 20,
        isolation_level=isolation,
    )


def refusing(call, *arguments):
    try:
        return call(*arguments)
    except KafkaError as error:
        raise refusal(error) from error


def refusal(error):
    return Refused(getattr(error, "errno", -1), f"{type(error).__name__}: {error}")


class KafkaPythonProducer(Producer):
    def __init__(self, address, *, compression="none", idempotent=False, acks=-1, linger_ms=5, record_bytes_max=1_000_000):
        self.futures = []
        self.inner = KafkaProducer(
            bootstrap_servers=address,
            compression_type=None if compression == "none" else compression,
            enable_idempotence=idempotent,
            acks="all" if acks == -1 else acks,
            linger_ms=linger_ms,
            max_request_size=record_bytes_max + 10_000,
        )

    def send(self, topic, partition, record):
        try:
            future = self.inner.send(
                topic, record.value, record.key, list(record.headers), partition, record.timestamp_ms
            )
        except KafkaError as error:
            future = refusal(error)
        self.futures.append(future)

    def finish(self, deadline_s):
        self.inner.flush(deadline_s)
        outcomes = []
        for future in self.futures:
            if isinstance(future, Refused):
                outcomes.append(future)
                continue
            try:
                outcomes.append(future.get(deadline_s).offset)
            except KafkaError as error:
                outcomes.append(refusal(error))
        self.futures = []
        return outcomes

    def close(self):
        self.inner.close(timeout=CALL_S_MAX)


class KafkaPythonReader(Reader):
    def __init__(self, inner):
        self.inner = inner

    def take(self, count, deadline_s):
        end = time.monotonic() + deadline_s
        records = []
        while len(records) < count and (left := end - time.monotonic()) > 0:
            polled = refusing(lambda left=left: self.inner.poll(int(left * 1000) + 1, max_records=count - len(records)))
            for messages in polled.values():
                records += map(read, messages)
        return records

    def close(self):
        self.inner.close()
