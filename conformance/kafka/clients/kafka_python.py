# SPDX-License-Identifier: Apache-2.0
"""kafka-python: the protocol in pure Python, with a fetch session and batches of its own making."""

import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from case import Refused
from clients.adapter import Client, Producer, Reader
from records import Record

CALL_S_MAX = 30


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

    def close(self):
        if self.lookup is not None:
            self.lookup.close()


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
                for message in messages:
                    headers = tuple((name, value) for name, value in message.headers or ())
                    records.append(Record(message.key, message.value, headers, message.timestamp, message.offset))
        return records

    def close(self):
        self.inner.close()
