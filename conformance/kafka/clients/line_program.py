# SPDX-License-Identifier: Apache-2.0
"""Clients in other languages: a small program around each reads one JSON request a line and answers with one JSON line.

Bytes travel as base64. An answer with "error" is `Refused` ("code": the protocol's number, or -1).
"""

import base64
import json
import select
import subprocess
import time

from case import Refused, expect
from clients.adapter import Client, Producer, Reader
from records import Record

CALL_S_MAX = 60


class LineProgram(Client):
    # The command that starts the program.
    command = None

    def __init__(self, address):
        super().__init__(address)
        self.inner = subprocess.Popen(
            [*self.command, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.count = 0

    @classmethod
    def version(cls):
        if "told_version" not in cls.__dict__:
            # Asked of the library; no broker is needed for that.
            program = cls("127.0.0.1:1")
            cls.told_version = program.ask("version")["version"]
            program.close()
        return cls.told_version

    def ask(self, do, deadline_s=CALL_S_MAX, **fields):
        self.inner.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")
        self.inner.stdin.flush()
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

    def close(self):
        self.inner.stdin.close()
        try:
            self.inner.wait(CALL_S_MAX)
        except subprocess.TimeoutExpired:
            self.inner.kill()
            self.inner.wait(CALL_S_MAX)
        self.inner.stdout.close()


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
        return [
            Record(
                decoded(each["key"]),
                decoded(each["value"]),
                tuple((name, decoded(value)) for name, value in each["headers"]),
                each["timestamp_ms"],
                each["offset"],
            )
            for each in answer["records"]
        ]

    def close(self):
        self.program.ask("close_reader", reader=self.handle)


class Java(LineProgram):
    name = "java"


class FranzGo(LineProgram):
    name = "franz-go"
