# SPDX-License-Identifier: Apache-2.0
"""What no client would send. Each case ends in the protocol's error or a closed connection, and another client never notices.

Each has a broker of its own, because memory is measured.
"""

import os
import random
import resource
import socket
import struct
import threading
import time

from broker import Broker, settled_memory
from case import Refused, Skip, equal, expect, refused_with, until
from records import Record, noise
from wire import (
    API_VERSIONS, CLOSED, FETCH, METADATA, PRODUCE, Reading, Wire, batch, fetch_body, message_set, request, string, varint,
)

MIB = 1 << 20
CORRUPT_MESSAGE, INVALID_TOPIC, UNSUPPORTED_VERSION, INVALID_RECORD = 2, 17, 35, 87
CLOSE_S_MAX = 10

CASES = []


def bad_input(run):
    CASES.append(run)
    return run


class Bystander:
    """Another client: writes and reads all the while, and must see nothing of it."""

    def __init__(self, broker):
        self.broker = broker
        self.failure = None
        self.done = 0
        self.over = threading.Event()
        with Wire(broker.host_port) as wire:
            wire.made("bystander")
        self.thread = threading.Thread(target=self.go, daemon=True)

    def go(self):
        try:
            with Wire(self.broker.host_port, timeout_s=10) as wire:
                while not self.over.is_set():
                    value = b"%d" % self.done
                    offset = wire.produce("bystander", batch([Record(value=value)]))
                    piece, _ = wire.fetch("bystander", offset)
                    expect(value in piece, "what was written is not read")
                    self.done += 1
        except Exception as error:  # noqa: BLE001  Told by the main thread.
            self.failure = error

    def __enter__(self):
        self.thread.start()
        until(lambda: self.done or self.failure, 10, "the other client works")
        return self

    def __exit__(self, kind, value, trace):
        before = self.done
        if kind is None:
            until(lambda: self.done > before or self.failure, 10, "the other client still works")
        self.over.set()
        self.thread.join(20)
        if kind is None:
            expect(self.failure is None, lambda: f"the other client: {self.failure!r}")
            expect(self.broker.alive(), lambda: f"the broker ended:\n{self.broker.log()}")


def files_allowed(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        raise Skip(f"this system allows {hard} open files, and the case needs {count}")
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def closed_or_refused(wire, codes, api_key, version, body):
    """Sends a request that must end with one of the codes in front of its body, or with the connection closed."""
    wire.send(api_key, version, body)
    answer = wire.receive()
    if answer != CLOSED:
        expect(Reading(answer[1]).take("h") in codes, f"an answer that is no error: {answer[1][:40]!r}")


@bad_input
def announced_100_mb_on_500_connections():
    files_allowed(2000)
    with Broker() as broker, Bystander(broker):
        before = settled_memory(broker)
        begun = request(PRODUCE, 3, 1, b"")[4:30]
        sockets = []
        for _ in range(500):
            each = socket.create_connection(broker.host_port)
            each.sendall(struct.pack(">i", 100_000_000) + begun)
            sockets.append(each)
        until(lambda: broker.connection_count() > 500, 20, "all connections are taken")
        grown = settled_memory(broker) - before
        expect(grown < 64 * MIB, f"the broker grew by {grown / MIB:.1f} MiB")
        for each in sockets:
            each.close()


@bad_input
def ten_thousand_half_open_connections():
    count = 10_000
    files_allowed(count + 500)
    with Broker() as broker, Bystander(broker):
        before = settled_memory(broker)
        sockets = []
        for _ in range(count):
            each = socket.create_connection(broker.host_port, timeout=20)
            each.sendall(b"\0\0")
            sockets.append(each)
        # From one address the broker keeps a bounded number, and lets the oldest that never asked anything go.
        until(lambda: broker.connection_count() > 2000, 60, "connections are taken")
        grown = settled_memory(broker) - before
        expect(grown < 256 * MIB, f"the broker grew by {grown / MIB:.1f} MiB")
        for each in sockets:
            each.close()
        until(lambda: broker.connection_count() < 500, 60, "the broker lets go of closed connections")


@bad_input
def length_over_the_bound_or_negative():
    with Broker() as broker, Bystander(broker):
        for length in (2**31 - 1, 1 << 30, -1, -(2**31), 0, 3):
            with Wire(broker.host_port) as wire:
                wire.socket.sendall(struct.pack(">i", length) + b"\0" * 64)
                expect(wire.closed_within(CLOSE_S_MAX), f"a length of {length} does not close the connection")


@bad_input
def bytes_of_other_protocols():
    openings = {
        "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "AMQP": b"AMQP\0\0\x09\x01",
        "MQTT": b"\x10\x10\0\4MQTT\4\2\0<\0\4test",
        "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + noise(80),
        "noise": b"\xff" + noise(4096),
    }
    with Broker() as broker, Bystander(broker):
        for name, opening in openings.items():
            with Wire(broker.host_port) as wire:
                wire.socket.sendall(opening)
                # Some openings read as a plausible length: they are ended by the peer going away.
                wire.socket.shutdown(socket.SHUT_WR)
                expect(wire.closed_within(CLOSE_S_MAX), f"{name} does not close the connection")


@bad_input
def unknown_request_or_version():
    with Broker() as broker, Bystander(broker):
        for api_key, version in [(9999, 0), (-1, 0), (PRODUCE, 99), (PRODUCE, -1), (FETCH, 3), (METADATA, 99), (7, 0)]:
            with Wire(broker.host_port) as wire:
                closed_or_refused(wire, {UNSUPPORTED_VERSION}, api_key, version, b"")


@bad_input
def api_versions_above_the_top_is_answered_in_the_oldest_layout():
    with Broker() as broker, Wire(broker.host_port) as wire:
        # As a newer client sends it: with a header of tagged fields, and a body that nobody here knows.
        answer = wire.ask(API_VERSIONS, 99, noise(20), flexible=True)
        error = answer.take("h")
        ranges = dict((key, (low, high)) for key, low, high in answer.each(lambda: answer.take("hhh")))
        equal(error, UNSUPPORTED_VERSION, "error")
        expect(API_VERSIONS in ranges, "the answer does not tell which versions of the question are known")
        # The connection goes on with a version that is known.
        answer = wire.ask(API_VERSIONS, 0, b"")
        equal(answer.take("h"), 0, "error of the second try")
        ranges = dict((key, (low, high)) for key, low, high in answer.each(lambda: answer.take("hhh")))
        equal(ranges[PRODUCE][0], 0, "the lowest version of Produce that is announced")


@bad_input
def produce_versions_that_are_announced_and_refused():
    with Broker() as broker, Bystander(broker):
        for version in (0, 1, 2):
            with Wire(broker.host_port) as wire:
                wire.made("old") if version == 0 else None
                body = struct.pack(">hii", -1, 30_000, 1) + string("old")
                body += struct.pack(">ii", 1, 0) + struct.pack(">i", 0)
                wire.send(PRODUCE, version, body)
                answer = wire.receive()
                if answer != CLOSED:
                    told = Reading(answer[1])
                    ((_, ((_, error, _),)),) = told.each(lambda told=told: (told.string(), told.each(lambda: told.take("ihq"))))
                    expect(error != 0, f"Produce {version} was taken")


@bad_input
def wrong_checksum():
    with Broker() as broker, Bystander(broker), Wire(broker.host_port) as wire:
        wire.made("t")
        refused_with(CORRUPT_MESSAGE, lambda: wire.produce("t", batch([Record(value=b"a")], crc=1)), "a wrong checksum")
        damaged = bytearray(batch([Record(value=b"abcdef")]))
        damaged[-3] ^= 1
        refused_with(CORRUPT_MESSAGE, lambda: wire.produce("t", bytes(damaged)), "a flipped bit")
        equal(wire.produce("t", batch([Record(value=b"good")])), 0, "the offset of the first good batch")


@bad_input
def counts_and_lengths_that_lie():
    one = [Record(value=b"a")]
    lies = {
        "more records than there are": batch(one, count=1000),
        "fewer records than there are": batch(one * 3, count=1),
        "no records": batch([], body=b""),
        "a negative count": batch(one, count=-1),
        "a last offset that does not fit": batch(one, last_delta=7),
        "a record longer than the batch": batch(one, body=varint(2**31 - 1) + b"\0\0\0\1\1\0"),
        "a record of negative length": batch(one, body=varint(-5) + b"\0\0\0\1\1\0"),
        "a varint without an end": batch(one, body=b"\xff" * 32),
        "a key longer than its record": batch(one, body=varint(8) + b"\0\0\0" + varint(2**30) + b"\1\0"),
        "a million headers": batch(one, body=varint(9) + b"\0\0\0\1\1" + varint(1_000_000) + b"\0"),
        "bytes after the last record": batch(one, body=batch(one)[61:] + b"left over"),
        "a batch cut short": batch(one)[:-1],
        "half a header": batch(one)[:30],
        "compressed bytes that are none": batch(one, attributes=1, body=b"not gzip")[:40],
        "attributes that a client may not set": batch(one, attributes=1 << 5),
        "a compression that does not exist": batch(one, attributes=7),
    }
    with Broker() as broker, Bystander(broker), Wire(broker.host_port) as wire:
        wire.made("t")
        for what, lie in lies.items():
            try:
                wire.produce("t", lie)
            except Refused as refused:
                expect(refused.code in (CORRUPT_MESSAGE, INVALID_RECORD, 76), f"{what}: refused with {refused.code}")
            else:
                raise AssertionError(f"{what}: taken")
        equal(wire.list_offset("t", -1), 0, "the end of the log")
        equal(wire.produce("t", batch(one)), 0, "the offset of the first good batch")


@bad_input
def arrays_that_announce_more_than_the_request_holds():
    bodies = [
        (METADATA, 4, struct.pack(">i", 2**31 - 1)),
        (METADATA, 4, struct.pack(">ih", 1, 32767) + b"abc"),
        (METADATA, 4, struct.pack(">i", -5)),
        (PRODUCE, 3, struct.pack(">hhii", -1, -1, 1000, 2**31 - 1)),
        (PRODUCE, 3, struct.pack(">hhii", -1, -1, 1000, 1) + string("t") + struct.pack(">iii", 1, 0, 2**31 - 1)),
        (FETCH, 4, struct.pack(">iiiibi", -1, 0, 1, 1 << 20, 0, 2**31 - 1)),
        (FETCH, 4, struct.pack(">iiiibi", -1, 0, 1, 1 << 20, 0, 1) + string("t") + struct.pack(">i", 2**30)),
    ]
    with Broker() as broker, Bystander(broker):
        before = settled_memory(broker)
        for api_key, version, body in bodies * 20:
            with Wire(broker.host_port) as wire:
                wire.send(api_key, version, body)
                expect(wire.closed_within(CLOSE_S_MAX), f"request {api_key} with {body!r} does not close the connection")
        grown = settled_memory(broker) - before
        expect(grown < 32 * MIB, f"the broker grew by {grown / MIB:.1f} MiB")


@bad_input
def message_sets_of_old_formats():
    with Broker() as broker, Bystander(broker), Wire(broker.host_port) as wire:
        wire.made("t")
        for magic in (0, 1):
            # What Apache Kafka 4.3 answers to a Produce request of version 3 or later that holds anything but magic 2.
            refused_with(INVALID_RECORD, lambda magic=magic: wire.produce("t", message_set(magic, b"old")), f"magic {magic}")
        equal(wire.list_offset("t", -1), 0, "the end of the log")


@bad_input
def one_byte_at_a_time_works():
    with Broker() as broker, Wire(broker.host_port) as wire:
        wire.made("t")
        body = struct.pack(">hhii", -1, -1, 30_000, 1) + string("t") + struct.pack(">ii", 1, 0)
        records = batch([Record(value=b"slowly")])
        whole = request(PRODUCE, 3, 77, body + struct.pack(">i", len(records)) + records)
        for index in range(len(whole)):
            wire.socket.sendall(whole[index : index + 1])
        correlation, _ = wire.receive()
        equal(correlation, 77, "the answer's number")
        piece, _ = wire.fetch("t", 0)
        expect(b"slowly" in piece, "the record is not there")


@bad_input
def a_request_that_does_not_arrive_is_given_up():
    with Broker({"kafka.request_grace_ms": "500ms", "kafka.request_bytes_per_s_min": "1KiB"}) as broker, Bystander(broker):
        with Wire(broker.host_port) as wire:
            wire.socket.sendall(struct.pack(">i", 1000) + b"\0\3")
            expect(wire.closed_within(CLOSE_S_MAX), "a request that stops arriving does not close the connection")
        with Wire(broker.host_port) as wire:
            # A byte now and then is not a pace.
            wire.socket.sendall(struct.pack(">i", 100_000))
            wire.socket.settimeout(0.1)
            end = time.monotonic() + CLOSE_S_MAX
            closed = False
            while not closed and time.monotonic() < end:
                try:
                    wire.socket.sendall(b"\0")
                    closed = wire.socket.recv(1) == b""
                except TimeoutError:
                    pass
                except OSError:
                    closed = True
            expect(closed, "a byte at a time keeps a request open")


@bad_input
def a_connection_without_requests_is_given_up():
    with Broker({"kafka.idle_ms_max": "1s"}) as broker, Wire(broker.host_port) as wire:
        expect(wire.closed_within(CLOSE_S_MAX), "an idle connection stays open")


@bad_input
def a_client_that_vanishes_in_the_middle():
    with Broker() as broker, Bystander(broker):
        with Wire(broker.host_port) as wire:
            wire.made("t")
        records = batch([Record(value=noise(100_000))])
        body = struct.pack(">hhii", -1, -1, 30_000, 1) + string("t") + struct.pack(">iii", 1, 0, len(records)) + records
        whole = request(PRODUCE, 3, 1, body)
        rng = random.Random(7)
        for _ in range(50):
            each = socket.create_connection(broker.host_port)
            each.sendall(whole[: rng.randrange(1, len(whole) - 1)])
            # Gone without a goodbye.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
        with Wire(broker.host_port) as wire:
            equal(wire.list_offset("t", -1), 0, "the end of the log")


@bad_input
def a_client_that_never_reads_its_answers():
    # What is read again from segments is not shared between connections, so the budget bounds it, with one answer and what is read ahead.
    budgets = {"memory.fetch_bytes_max": "32MiB", "memory.read_ahead_bytes_max": "8MiB"}
    with Broker(budgets) as broker, Bystander(broker):
        with Wire(broker.host_port) as wire:
            wire.made("big")
            large = batch([Record(value=noise(900_000))])
            for _ in range(40):
                wire.produce("big", large)
        before = settled_memory(broker)
        sockets = []
        for _ in range(20):
            each = socket.create_connection(broker.host_port)
            each.setblocking(False)
            try:
                for number in range(2000):
                    each.send(request(FETCH, 4, number, fetch_body("big", 0, bytes_max=50 << 20)))
            except BlockingIOError:
                pass  # The broker reads no more from this connection: as it should be.
            sockets.append(each)
        grown = settled_memory(broker) - before
        expect(grown < 128 * MIB, f"the broker grew by {grown / MIB:.1f} MiB")
        for each in sockets:
            each.close()


@bad_input
def topic_names_never_become_paths():
    names = ["", ".", "..", "../up", "a/b", "/etc/passwd", "a\\b", "a\0b", "ü", " ", "a" * 250, "a:b", "\n"]
    with Broker() as broker, Bystander(broker), Wire(broker.host_port) as wire:
        for name in names:
            equal(wire.create_topic(name), INVALID_TOPIC, f"making {name!r}")
            told = wire.metadata([name], auto_create=True)
            expect(told.get(name, (INVALID_TOPIC,))[0] != 0, f"asking for {name!r} made it")
        good = "a.b_c-" + "d" * 243
        wire.made(good)
        wire.produce(good, batch([Record(value=b"x")]))
        for folder, folders, files in os.walk(broker.data_dir):
            for each in [*folders, *files]:
                expect("a.b_c" not in each, f"{folder}/{each} is named by a client")


@bad_input
def unknown_topics_and_partitions():
    with Broker() as broker, Wire(broker.host_port) as wire:
        wire.made("t")
        some = batch([Record(value=b"x")])
        for call in (
            lambda: wire.produce("none", some),
            lambda: wire.produce("t", some, partition=5),
            lambda: wire.produce("t", some, partition=-1),
            lambda: wire.fetch("none", 0),
            lambda: wire.fetch("t", 0, partition=5),
            lambda: wire.list_offset("t", -1, partition=5),
        ):
            refused_with(3, call, "a place that is not there")
        refused_with(1, lambda: wire.fetch("t", 5), "an offset beyond the end")
        refused_with(21, lambda: wire.produce("t", some, acks=7), "acks of 7")
