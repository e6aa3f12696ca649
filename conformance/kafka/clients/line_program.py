# SPDX-License-Identifier: Apache-2.0
"""Clients in other languages: a small program around each reads one JSON request a line and answers with one JSON line.

Bytes travel as base64. An answer with "error" is `Refused` ("code": the protocol's number, or -1).
"""

import base64
import json
import os
import select
import subprocess
import sys
import time

from case import Refused, expect
from clients.adapter import SESSION_MS, Client, Member, Producer, Reader
from records import Record

CALL_S_MAX = 60


class Program:
    """One process that answers lines."""

    def __init__(self, command, name):
        self.name = name
        self.inner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def ask(self, do, deadline_s=CALL_S_MAX, **fields):
        try:
            self.inner.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")
            self.inner.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"{self.name} ended before it was asked to {do}") from None
        end = time.monotonic() + deadline_s
        line = b""
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            expect(left > 0, f"{self.name} does not answer {do} within {deadline_s} s")
            if select.select([self.inner.stdout], [], [], left)[0]:
                piece = self.inner.stdout.read1(1 << 20)
                expect(piece, f"{self.name} ended while asked to {do}")
                line += piece
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["code"], answer["error"])
        return answer

    def close(self):
        self.inner.stdin.close()
        try:
            self.inner.wait(CALL_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self.inner.stdout.close()

    def kill(self):
        self.inner.kill()
        self.inner.wait(CALL_S_MAX)


class LineProgram(Client):
    # The command that starts the program.
    command = None

    def __init__(self, address):
        super().__init__(address)
        self.program = Program([*self.command, address], self.name)
        self.ask = self.program.ask
        self.count = 0

    @classmethod
    def version(cls):
        if "told_version" not in cls.__dict__:
            # Asked of the library; no broker is needed for that.
            program = Program([*cls.command, "127.0.0.1:1"], cls.name)
            cls.told_version = program.ask("version")["version"]
            program.close()
        return cls.told_version

    def member(self, group, topics, **settings):
        return LineMember([*self.command, self.address], self.name, group, topics, **settings)

    def handle(self, kind):
        self.count += 1
        return f"{kind}{self.count}"

    def producer(self, **settings):
        return LineProducer(self, **settings)

    def reader(self, topic, partition, start, *, wait_ms=500, isolation="read_uncommitted"):
        handle = self.handle("reader")
        at, number = start[0], start[1] if len(start) > 1 else 0
        self.ask(
            "open_reader", reader=handle, topic=topic, partition=partition, at=at, number=number, wait_ms=wait_ms,
            isolation=isolation,
        )
        return LineReader(self, handle)

    def offsets(self, topic, partition):
        answer = self.ask("offsets", topic=topic, partition=partition)
        return answer["earliest"], answer["latest"]

    def offset_at(self, topic, partition, timestamp_ms):
        return self.ask("offset_at", topic=topic, partition=partition, timestamp_ms=timestamp_ms)["offset"]

    def max_timestamp_offset(self, topic, partition):
        return self.ask("max_timestamp_offset", topic=topic, partition=partition)["offset"]

    def create_topic(self, topic, partitions=1, settings=None):
        self.ask("create_topic", topic=topic, partitions=partitions, settings=settings or {})

    def delete_topic(self, topic):
        self.ask("delete_topic", topic=topic)

    def topics(self):
        return set(self.ask("topics")["topics"])

    def describe_configs(self, kind, name):
        return {key: tuple(told) for key, told in self.ask("describe_configs", kind=kind, name=name)["configs"].items()}

    def alter_configs(self, kind, name, settings):
        self.ask("alter_configs", kind=kind, name=name, settings=settings)

    def create_partitions(self, topic, count):
        self.ask("create_partitions", topic=topic, count=count)

    def delete_records(self, topic, partition, before):
        return self.ask("delete_records", topic=topic, partition=partition, before=before)["low"]

    def groups(self):
        return set(self.ask("groups")["groups"])

    def describe_group(self, group):
        told = self.ask("describe_group", group=group)
        return told["state"], told["members"]

    def delete_group(self, group):
        self.ask("delete_group", group=group)

    def group_offsets(self, group):
        return {(topic, partition): offset for topic, partition, offset in self.ask("group_offsets", group=group)["offsets"]}

    def set_group_offset(self, group, topic, partition, offset):
        self.ask("set_group_offset", group=group, topic=topic, partition=partition, offset=offset)

    def describe_cluster(self):
        told = self.ask("describe_cluster")
        return told["cluster"], told["controller"], [tuple(each) for each in told["brokers"]]

    def close(self):
        self.program.close()


def encoded(piece):
    return None if piece is None else base64.b64encode(piece).decode()


def decoded(text):
    return None if text is None else base64.b64decode(text)


class LineProducer(Producer):
    def __init__(
        self, program, *, compression="none", idempotent=False, acks=-1, linger_ms=5, record_bytes_max=1_000_000
    ):
        self.program = program
        self.handle = program.handle("producer")
        program.ask(
            "open_producer", producer=self.handle, compression=compression, idempotent=idempotent, acks=acks,
            linger_ms=linger_ms, record_bytes_max=record_bytes_max + 10_000,
        )
        self.batch = []
        self.batch_bytes = 0

    def send(self, topic, partition, record):
        self.batch.append(
            {
                "topic": topic,
                "partition": partition,
                "key": encoded(record.key),
                "value": encoded(record.value),
                "headers": [[name, encoded(value)] for name, value in record.headers],
                "timestamp_ms": record.timestamp_ms,
            }
        )
        self.batch_bytes += len(record.value or b"")
        if len(self.batch) >= 100 or self.batch_bytes > 1 << 20:
            self.push()

    def push(self):
        if self.batch:
            self.program.ask("send", producer=self.handle, records=self.batch)
            self.batch, self.batch_bytes = [], 0

    def finish(self, deadline_s):
        self.push()
        answer = self.program.ask("flush", deadline_s + CALL_S_MAX, producer=self.handle, deadline_ms=int(deadline_s * 1000))
        return [
            Refused(each["code"], each["error"]) if "error" in each else each.get("offset") for each in answer["outcomes"]
        ]

    def close(self):
        self.program.ask("close_producer", producer=self.handle)


class LineReader(Reader):
    def __init__(self, program, handle):
        self.program = program
        self.handle = handle

    def take(self, count, deadline_s):
        answer = self.program.ask(
            "take", deadline_s + CALL_S_MAX, reader=self.handle, count=count, deadline_ms=int(deadline_s * 1000)
        )
        return [record(each) for each in answer["records"]]

    def close(self):
        self.program.ask("close_reader", reader=self.handle)


class LineMember(Member):
    """A member in a process of its own. Its program polls all the while, as an application would, and keeps what came until it is
    asked for.

    join {group, topics, assignor, instance, session_ms} -> {}: at once; the group is joined behind it. `assignor` is null (the
        client's own default) or a protocol's name; `instance` null or the name of a static member. From the earliest record where
        nothing was committed. Nothing is committed by itself. A heartbeat every 500 ms, so that a change is noticed soon.
    member_take {count, deadline_ms} -> {records}: what came meanwhile, at most `count`, waiting for the first until the deadline
        (each also has "topic" and "partition").
    assigned {} -> {partitions: [[topic, partition]], changes, failure}: `changes` counts the assignments so far; `failure` is left out
        or tells what went wrong last behind the answers.
    commit {offsets: [[topic, partition, offset]]} -> {}: waits for the answer.
    seek {topic, partition, number} -> {}; pause, resume {topic, partition} -> {}
    leave {} -> {}: tells the group, and is the end.
    """

    def __init__(self, command, name, group, topics, *, assignor=None, instance=None, session_ms=SESSION_MS):
        self.program = Program(command, name)
        self.program.ask(
            "join", group=group, topics=list(topics), assignor=assignor, instance=instance, session_ms=session_ms
        )

    def take(self, count, deadline_s):
        answer = self.program.ask("member_take", deadline_s + CALL_S_MAX, count=count, deadline_ms=int(deadline_s * 1000))
        return [record(each) for each in answer["records"]]

    def assigned(self):
        return {(topic, partition) for topic, partition in self.program.ask("assigned")["partitions"]}

    def changes(self):
        return self.program.ask("assigned")["changes"]

    def failure(self):
        return self.program.ask("assigned").get("failure")

    def commit(self, offsets):
        self.program.ask("commit", offsets=[[topic, partition, offset] for (topic, partition), offset in offsets.items()])

    def seek(self, topic, partition, offset):
        self.program.ask("seek", topic=topic, partition=partition, number=offset)

    def pause(self, topic, partition):
        self.program.ask("pause", topic=topic, partition=partition)

    def resume(self, topic, partition):
        self.program.ask("resume", topic=topic, partition=partition)

    def leave(self):
        self.program.ask("leave")
        self.program.close()

    def kill(self):
        self.program.kill()


def member_command(client):
    """How a member of a Python client gets a process of its own."""
    program = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "member_program.py")
    return [sys.executable, program, client.name, client.address]


def record(told):
    return Record(
        decoded(told["key"]),
        decoded(told["value"]),
        tuple((name, decoded(value)) for name, value in told["headers"]),
        told["timestamp_ms"],
        told["offset"],
        told.get("topic"),
        told.get("partition"),
    )


class Java(LineProgram):
    name = "java"


class FranzGo(LineProgram):
    name = "franz-go"


class Sarama(LineProgram):
    name = "sarama"
    cannot = {
        "max_timestamp": "it asks in a version that cannot say so",
        "group_seek": "a member goes back only by a new session",
    }


class KafkaGo(LineProgram):
    name = "kafka-go"
    says_null_headers = False
    says_empty_apart_from_null = False
    cannot = {
        "idempotent_restarts": "it has no idempotent producer",
        "assignor_sticky": "it has no such assignor",
        "assignor_cooperative_sticky": "it has no such assignor",
        "group_static": "it has no static members",
        "group_pause": "its members pause nothing",
        "admin_delete_records": "it cannot delete records",
        "max_timestamp": "it asks for times, not for the largest one",
    }


class KafkaJs(LineProgram):
    name = "kafkajs"
    says_null_headers = False
    alters_all = True
    cannot = {
        "out_of_range": "it goes to the beginning or the end by itself",
        "max_timestamp": "it asks for times, not for the largest one",
        "assignor_range": "it has only its round-robin",
        "assignor_sticky": "it has only its round-robin",
        "assignor_cooperative_sticky": "it has only its round-robin",
        "assignor_roundrobin": "its round-robin has another name: RoundRobinAssigner",
        "group_static": "it has no static members",
        "admin_config_reset": "it only sets all of a topic's settings at once",
    }
