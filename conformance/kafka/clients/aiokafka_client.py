# SPDX-License-Identifier: Apache-2.0
"""aiokafka: asyncio, with a C codec for batches. A loop in a thread of its own makes it look like the others."""

import asyncio
import concurrent.futures
import logging
import threading
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, for_code

from case import Refused
from clients.adapter import HEARTBEAT_MS, Client, Producer, Reader
from clients.line_program import LineMember, member_command
from records import Record

CALL_S_MAX = 60

# It tells every try to reach a broker that is away.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class Loop:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine, deadline_s=CALL_S_MAX):
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(deadline_s)
        except KafkaError as error:
            raise refusal(error) from error

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(CALL_S_MAX)
        self.loop.close()


def refusal(error):
    return Refused(getattr(error, "errno", -1), f"{type(error).__name__}: {error}")


class Aiokafka(Client):
    name = "aiokafka"
    says_neither_key_nor_value = False
    alters_all = True
    cannot = {
        "max_timestamp": "it asks for times, not for the largest one",
        "assignor_cooperative_sticky": "it has no such assignor",
        "admin_config_reset": "it only sets all of a topic's settings at once",
        "admin_broker_configs": "it only sets all settings at once",
        "admin_delete_group": "its administrator cannot delete groups",
        "admin_set_offsets": "its administrator cannot set offsets",
    }

    def __init__(self, address):
        super().__init__(address)
        self.loop = Loop()

    @classmethod
    def version(cls):
        return aiokafka.__version__

    def producer(self, **settings):
        return AiokafkaProducer(self.loop, self.address, **settings)

    def reader(self, topic, partition, start, *, wait_ms=500, isolation="read_uncommitted"):
        return AiokafkaReader(self.loop, self.loop.run(self.open(topic, partition, start, wait_ms, isolation)))

    async def open(self, topic, partition, start, wait_ms, isolation):
        inner = await self.consumer(wait_ms, isolation)
        place = TopicPartition(topic, partition)
        inner.assign([place])
        match start:
            case ("earliest",):
                await inner.seek_to_beginning(place)
            case ("latest",):
                await inner.seek_to_end(place)
            case ("offset", offset):
                inner.seek(place, offset)
            case ("time", timestamp_ms):
                found = (await inner.offsets_for_times({place: timestamp_ms}))[place]
                inner.seek(place, (await inner.end_offsets([place]))[place] if found is None else found.offset)
        return inner

    async def consumer(self, wait_ms=500, isolation="read_uncommitted"):
        inner = AIOKafkaConsumer(
            bootstrap_servers=self.address,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=wait_ms,
            request_timeout_ms=max(40_000, wait_ms + 10_000),
            max_partition_fetch_bytes=4 << 20,
            isolation_level=isolation,
        )
        await inner.start()
        return inner

    async def with_consumer(self, call):
        inner = await self.consumer()
        try:
            return await call(inner)
        finally:
            await inner.stop()

    def offsets(self, topic, partition):
        place = TopicPartition(topic, partition)

        async def look(inner):
            return (await inner.beginning_offsets([place]))[place], (await inner.end_offsets([place]))[place]

        return self.loop.run(self.with_consumer(look))

    def offset_at(self, topic, partition, timestamp_ms):
        place = TopicPartition(topic, partition)
        found = self.loop.run(self.with_consumer(lambda inner: inner.offsets_for_times({place: timestamp_ms})))[place]
        return None if found is None else found.offset

    async def with_admin(self, call):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            return await call(admin)
        finally:
            await admin.close()

    def create_topic(self, topic, partitions=1, settings=None):
        new = NewTopic(topic, partitions, 1, topic_configs=settings or {})
        answer = self.loop.run(self.with_admin(lambda admin: admin.create_topics([new])))
        for _, code, *_ in answer.topic_errors:
            if code:
                raise Refused(code, for_code(code).__name__)

    def delete_topic(self, topic):
        answer = self.loop.run(self.with_admin(lambda admin: admin.delete_topics([topic])))
        for _, code, *_ in answer.topic_error_codes:
            if code:
                raise Refused(code, for_code(code).__name__)

    def topics(self):
        return set(self.loop.run(self.with_admin(lambda admin: admin.list_topics())))

    def describe_configs(self, kind, name):
        resource = ConfigResource(KINDS[kind], name)
        (answer,) = self.loop.run(self.with_admin(lambda admin: admin.describe_configs([resource])))
        ((code, text, _, _, settings),) = answer.resources
        if code:
            raise Refused(code, text)
        return {entry[0]: (entry[1], entry[3]) for entry in settings}

    def alter_configs(self, kind, name, settings):
        resource = ConfigResource(KINDS[kind], name, settings)
        (answer,) = self.loop.run(self.with_admin(lambda admin: admin.alter_configs([resource])))
        ((code, text, *_),) = answer.resources
        if code:
            raise Refused(code, text)

    def create_partitions(self, topic, count):
        answer = self.loop.run(self.with_admin(lambda admin: admin.create_partitions({topic: NewPartitions(count)})))
        for _, code, text in answer.topic_errors:
            if code:
                raise Refused(code, text)

    def delete_records(self, topic, partition, before):
        place = TopicPartition(topic, partition)
        return self.loop.run(self.with_admin(lambda admin: admin.delete_records({place: RecordsToDelete(before)})))[place]

    def groups(self):
        return {name for name, *_ in self.loop.run(self.with_admin(lambda admin: admin.list_consumer_groups()))}

    def describe_group(self, group):
        (answer,) = self.loop.run(self.with_admin(lambda admin: admin.describe_consumer_groups([group])))
        ((code, _, state, _, _, members, *_),) = answer.groups
        if code:
            raise Refused(code, for_code(code).__name__)
        return state.lower(), len(members)

    def group_offsets(self, group):
        told = self.loop.run(self.with_admin(lambda admin: admin.list_consumer_group_offsets(group)))
        return {(place.topic, place.partition): each.offset for place, each in told.items()}

    def describe_cluster(self):
        told = self.loop.run(self.with_admin(lambda admin: admin.describe_cluster()))
        brokers = [(broker["node_id"], broker["host"], broker["port"]) for broker in told["brokers"]]
        return told["cluster_id"], told["controller_id"], brokers

    def member(self, group, topics, **settings):
        return LineMember(member_command(self), self.name, group, topics, **settings)

    def close(self):
        self.loop.close()


KINDS = {"topic": ConfigResourceType.TOPIC, "broker": ConfigResourceType.BROKER}
ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


class AiokafkaMember(ConsumerRebalanceListener):
    """In a process of its own (member_program.py)."""

    def __init__(self, address, group, topics, assignor, instance, session_ms):
        named = {} if assignor is None else {"partition_assignment_strategy": [ASSIGNORS[assignor]]}
        self.changes = 0
        self.loop = Loop()

        async def start():
            inner = AIOKafkaConsumer(
                bootstrap_servers=address,
                group_id=group,
                group_instance_id=instance,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=session_ms,
                heartbeat_interval_ms=HEARTBEAT_MS,
                **named,
            )
            inner.subscribe(topics, listener=self)
            await inner.start()
            return inner

        self.inner = self.loop.run(start())

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        self.changes += 1

    def poll(self, wait_s):
        polled = self.loop.run(self.inner.getmany(timeout_ms=int(wait_s * 1000), max_records=500))
        return [read(message) for messages in polled.values() for message in messages]

    def assigned(self):
        return {(place.topic, place.partition) for place in self.inner.assignment()}

    def commit(self, offsets):
        self.loop.run(self.inner.commit({TopicPartition(*place): offset for place, offset in offsets.items()}))

    def within(self, call, *arguments):
        """Some of its calls look for the loop that they run in."""

        async def run():
            call(*arguments)

        self.loop.run(run())

    def seek(self, topic, partition, offset):
        self.within(self.inner.seek, TopicPartition(topic, partition), offset)

    def pause(self, topic, partition):
        self.within(self.inner.pause, TopicPartition(topic, partition))

    def resume(self, topic, partition):
        self.within(self.inner.resume, TopicPartition(topic, partition))

    def leave(self):
        self.loop.run(self.inner.stop())


def read(message):
    headers = tuple((name, value) for name, value in message.headers)
    return Record(
        message.key, message.value, headers, message.timestamp, message.offset, message.topic, message.partition
    )


class AiokafkaProducer(Producer):
    def __init__(
        self, loop, address, *, compression="none", idempotent=False, acks=-1, linger_ms=5, record_bytes_max=1_000_000
    ):
        self.loop = loop
        self.sent = []
        self.last = None

        async def start():
            inner = AIOKafkaProducer(
                bootstrap_servers=address,
                compression_type=None if compression == "none" else compression,
                enable_idempotence=idempotent,
                acks="all" if acks == -1 else acks,
                linger_ms=linger_ms,
                max_request_size=record_bytes_max + 10_000,
            )
            await inner.start()
            return inner

        self.inner = loop.run(start())

    def send(self, topic, partition, record):
        before = self.last
        handed_over = concurrent.futures.Future()
        self.last = handed_over

        async def one():
            try:
                # Sends wait for room in the client: the order of the calls must not change while they do.
                if before is not None:
                    await asyncio.wrap_future(before)
                waiting = await self.inner.send(
                    topic, record.value, record.key, partition, record.timestamp_ms, list(record.headers)
                )
            except KafkaError as error:
                return refusal(error)
            finally:
                handed_over.set_result(None)
            try:
                told = await waiting
                return None if told is None else told.offset
            except KafkaError as error:
                return refusal(error)

        self.sent.append(asyncio.run_coroutine_threadsafe(one(), self.loop.loop))

    def finish(self, deadline_s):
        end = time.monotonic() + deadline_s
        outcomes = [each.result(max(0.001, end - time.monotonic())) for each in self.sent]
        self.sent = []
        return outcomes

    def close(self):
        self.loop.run(self.inner.stop())


class AiokafkaReader(Reader):
    def __init__(self, loop, inner):
        self.loop = loop
        self.inner = inner

    def take(self, count, deadline_s):
        async def take():
            end = time.monotonic() + deadline_s
            records = []
            while len(records) < count and (left := end - time.monotonic()) > 0:
                polled = await self.inner.getmany(timeout_ms=int(left * 1000) + 1, max_records=count - len(records))
                for messages in polled.values():
                    records += map(read, messages)
            return records

        return self.loop.run(take(), deadline_s + CALL_S_MAX)

    def close(self):
        self.loop.run(self.inner.stop())
