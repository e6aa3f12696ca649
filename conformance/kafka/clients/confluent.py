# SPDX-License-Identifier: Apache-2.0
"""confluent-kafka for Python: librdkafka at its newest."""

import time

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType,
)

from case import Refused, expect
from clients.adapter import HEARTBEAT_MS, Client, Producer, Reader
from clients.line_program import LineMember, member_command
from records import Record

CALL_S_MAX = 30


class Confluent(Client):
    name = "confluent-kafka"
    cannot = {"assignor_sticky": "the library has only the cooperative one"}

    def __init__(self, address):
        super().__init__(address)
        self.lookup = None
        self.kept_admin = None

    @classmethod
    def version(cls):
        return f"{confluent_kafka.version()}, librdkafka {confluent_kafka.libversion()[0]}".replace("(", "")

    def producer(self, **settings):
        return ConfluentProducer(self.address, **settings)

    def reader(self, topic, partition, start, *, wait_ms=500, isolation="read_uncommitted"):
        offset = self.resolve(topic, partition, start)
        return ConfluentReader(consumer(self.address, wait_ms, isolation), topic, partition, offset)

    def resolve(self, topic, partition, start):
        match start:
            case ("earliest",):
                return confluent_kafka.OFFSET_BEGINNING
            case ("latest",):
                return self.offsets(topic, partition)[1]
            case ("offset", offset):
                return offset
            case ("time", timestamp_ms):
                offset = self.offset_at(topic, partition, timestamp_ms)
                return confluent_kafka.OFFSET_END if offset is None else offset

    def looking(self):
        if self.lookup is None:
            self.lookup = consumer(self.address, 500, "read_uncommitted")
        return self.lookup

    def offsets(self, topic, partition):
        return refusing(self.looking().get_watermark_offsets, TopicPartition(topic, partition), timeout=CALL_S_MAX, cached=False)

    def offset_at(self, topic, partition, timestamp_ms):
        wanted = [TopicPartition(topic, partition, timestamp_ms)]
        (found,) = refusing(self.looking().offsets_for_times, wanted, timeout=CALL_S_MAX)
        if found.error is not None:
            raise Refused(found.error.code(), str(found.error))
        return None if found.offset < 0 else found.offset

    def max_timestamp_offset(self, topic, partition):
        (future,) = self.admin().list_offsets({TopicPartition(topic, partition): OffsetSpec.max_timestamp()}).values()
        return refusing(future.result, CALL_S_MAX).offset

    def admin(self):
        # Kept: its futures end with it.
        if self.kept_admin is None:
            self.kept_admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        return self.kept_admin

    def create_topic(self, topic, partitions=1, settings=None):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=settings or {})
        (future,) = self.admin().create_topics([new]).values()
        refusing(future.result, CALL_S_MAX)

    def delete_topic(self, topic):
        (future,) = self.admin().delete_topics([topic]).values()
        refusing(future.result, CALL_S_MAX)

    def topics(self):
        return set(self.admin().list_topics(timeout=CALL_S_MAX).topics)

    def told(self, futures):
        (future,) = futures.values()
        return refusing(future.result, CALL_S_MAX)

    def describe_configs(self, kind, name):
        told = self.told(self.admin().describe_configs([ConfigResource(KINDS[kind], name)]))
        return {key: (entry.value, entry.source) for key, entry in told.items()}

    def alter_configs(self, kind, name, settings):
        changes = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET)
            for key, value in settings.items()
        ]
        self.told(self.admin().incremental_alter_configs([ConfigResource(KINDS[kind], name, incremental_configs=changes)]))

    def create_partitions(self, topic, count):
        self.told(self.admin().create_partitions([NewPartitions(topic, count)]))

    def delete_records(self, topic, partition, before):
        return self.told(self.admin().delete_records([TopicPartition(topic, partition, before)])).low_watermark

    def groups(self):
        return {group.group_id for group in refusing(self.admin().list_consumer_groups().result, CALL_S_MAX).valid}

    def describe_group(self, group):
        told = self.told(self.admin().describe_consumer_groups([group]))
        return told.state.name.lower().replace("_", ""), len(told.members)

    def delete_group(self, group):
        self.told(self.admin().delete_consumer_groups([group]))

    def group_offsets(self, group):
        told = self.told(self.admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        return {(place.topic, place.partition): place.offset for place in told.topic_partitions}

    def set_group_offset(self, group, topic, partition, offset):
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition, offset)])
        self.told(self.admin().alter_consumer_group_offsets([wanted]))

    def describe_cluster(self):
        told = refusing(self.admin().describe_cluster().result, CALL_S_MAX)
        return told.cluster_id, told.controller.id, [(node.id, node.host, node.port) for node in told.nodes]

    def member(self, group, topics, **settings):
        return LineMember(member_command(self), self.name, group, topics, **settings)

    def close(self):
        if self.lookup is not None:
            self.lookup.close()


KINDS = {"topic": ResourceType.TOPIC, "broker": ResourceType.BROKER}


class ConfluentMember:
    """In a process of its own (member_program.py)."""

    def __init__(self, address, group, topics, assignor, instance, session_ms):
        named = {} if assignor is None else {"partition.assignment.strategy": assignor}
        if instance is not None:
            named["group.instance.id"] = instance
        self.changes = 0
        self.inner = Consumer(
            {
                "bootstrap.servers": address,
                "log_level": 0,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": HEARTBEAT_MS,
                "topic.metadata.refresh.interval.ms": 1000,
                **named,
            }
        )
        refusing(self.inner.subscribe, topics, on_assign=self.on_assign)

    def on_assign(self, inner, places):
        self.changes += 1

    def poll(self, wait_s):
        records = []
        for message in refusing(self.inner.consume, 500, wait_s):
            if message.error() is None:
                records.append(read(message))
            elif message.error().code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise Refused(message.error().code(), str(message.error()))
        return records

    def assigned(self):
        return {(place.topic, place.partition) for place in self.inner.assignment()}

    def commit(self, offsets):
        wanted = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        for place in refusing(self.inner.commit, offsets=wanted, asynchronous=False):
            if place.error is not None:
                raise Refused(place.error.code(), str(place.error))

    def seek(self, topic, partition, offset):
        refusing(self.inner.seek, TopicPartition(topic, partition, offset))

    def pause(self, topic, partition):
        self.inner.pause([TopicPartition(topic, partition)])

    def resume(self, topic, partition):
        self.inner.resume([TopicPartition(topic, partition)])

    def leave(self):
        self.inner.close()


def read(message):
    headers = tuple(message.headers() or ())
    return Record(
        message.key(), message.value(), headers, message.timestamp()[1], message.offset(), message.topic(), message.partition()
    )


def consumer(address, wait_ms, isolation):
    return Consumer(
        {
            "bootstrap.servers": address,
            "log_level": 0,
            # The library wants a name; nothing is joined and nothing committed.
            "group.id": "conformance",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": wait_ms,
            "socket.timeout.ms": max(60_000, wait_ms + 10_000),
            "isolation.level": isolation,
            "fetch.message.max.bytes": 4 << 20,
        }
    )


def refusing(call, *arguments, **named):
    try:
        return call(*arguments, **named)
    except KafkaException as error:
        raise Refused(error.args[0].code(), str(error.args[0])) from error


class ConfluentProducer(Producer):
    def __init__(self, address, *, compression="none", idempotent=False, acks=-1, linger_ms=5, record_bytes_max=1_000_000):
        self.outcomes = []
        settings = {
            "bootstrap.servers": address,
            "log_level": 0,
            "compression.type": compression,
            "enable.idempotence": idempotent,
            "acks": acks,
            "linger.ms": linger_ms,
            "message.max.bytes": record_bytes_max + 10_000,
            "queue.buffering.max.kbytes": 1 << 20,
        }
        self.inner = confluent_kafka.Producer(settings)

    def send(self, topic, partition, record):
        place = len(self.outcomes)
        self.outcomes.append(None)

        def told(error, message):
            self.outcomes[place] = message.offset() if error is None else Refused(error.code(), str(error))

        named = {"timestamp": record.timestamp_ms} if record.timestamp_ms is not None else {}
        try:
            self.inner.produce(
                topic, record.value, record.key, partition, on_delivery=told, headers=list(record.headers) or None, **named
            )
        except KafkaException as error:
            self.outcomes[place] = Refused(error.args[0].code(), str(error.args[0]))
        self.inner.poll(0)

    def finish(self, deadline_s):
        left = self.inner.flush(deadline_s)
        expect(left == 0, f"{left} records are not settled after {deadline_s} s")
        outcomes, self.outcomes = self.outcomes, []
        return outcomes


class ConfluentReader(Reader):
    def __init__(self, inner, topic, partition, offset):
        self.inner = inner
        self.inner.assign([TopicPartition(topic, partition, offset)])

    def take(self, count, deadline_s):
        end = time.monotonic() + deadline_s
        records = []
        while len(records) < count and (left := end - time.monotonic()) > 0:
            message = self.inner.poll(left)
            if message is None:
                continue
            if message.error():
                if message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                    raise Refused(KafkaError.OFFSET_OUT_OF_RANGE, str(message.error()))
                raise Refused(message.error().code(), str(message.error()))
            records.append(read(message))
        return records

    def close(self):
        self.inner.close()
