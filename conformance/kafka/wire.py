# SPDX-License-Identifier: Apache-2.0
"""Kafka's bytes by hand: for what a client library would never send, and for looking at what it hides.

Only old, inflexible versions of a few requests, which are the shortest to write. Everything is big-endian.
"""

import socket
import struct
import time

from case import Refused, expect, until

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS = 0, 1, 2, 3, 18, 19, 20
CLOSED = "closed"
# Topic or partition unknown, no leader, not the leader: for a moment, after a topic was made.
NOT_SETTLED = (3, 5, 6)
COMPRESSION_NAMES = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}

CRC_TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    CRC_TABLE.append(byte)


def crc32c(piece):
    crc = 0xFFFFFFFF
    for byte in piece:
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(number):
    """Zigzag, as lengths and deltas inside a batch are written."""
    number = (number << 1) ^ (number >> 63)
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def string(text):
    piece = text.encode()
    return struct.pack(">h", len(piece)) + piece


def nullable(piece):
    return varint(-1) if piece is None else varint(len(piece)) + piece


def record(delta, timestamp_delta, key, value, headers=()):
    body = b"\0" + varint(timestamp_delta) + varint(delta) + nullable(key) + nullable(value) + varint(len(headers))
    for name, piece in headers:
        body += nullable(name.encode()) + nullable(piece)
    return varint(len(body)) + body


def batch(records, *, count=None, last_delta=None, magic=2, attributes=0, crc=None, body=None, producer=(-1, -1, -1)):
    """One record batch. Every lie that a test wants is an argument."""
    # Records without a time are of now: retention goes by it.
    now_ms = int(time.time() * 1000)
    times = [now_ms if each.timestamp_ms is None else each.timestamp_ms for each in records] or [now_ms]
    base = times[0]
    if body is None:
        body = b"".join(
            record(delta, times[delta] - base, each.key, each.value, each.headers) for delta, each in enumerate(records)
        )
    count = len(records) if count is None else count
    last_delta = count - 1 if last_delta is None else last_delta
    covered = struct.pack(">hiqqqhii", attributes, last_delta, base, max(times), *producer, count) + body
    crc = crc32c(covered) if crc is None else crc
    return struct.pack(">qiibI", 0, 9 + len(covered), -1, magic, crc) + covered


def message_set(magic, value):
    """The format before record batches, magic 0 or 1."""
    import zlib

    body = struct.pack(">bb", magic, 0) + (struct.pack(">q", 0) if magic == 1 else b"")
    body += struct.pack(">i", -1) + struct.pack(">i", len(value)) + value
    message = struct.pack(">I", zlib.crc32(body)) + body
    return struct.pack(">qi", 0, len(message)) + message


def request(api_key, version, correlation, body, flexible=False):
    head = struct.pack(">hhi", api_key, version, correlation) + string("conformance")
    if flexible:
        # No tagged fields.
        head += b"\0"
    return struct.pack(">i", len(head) + len(body)) + head + body


class Reading:
    """A cursor over an answer."""

    def __init__(self, piece):
        self.piece = piece
        self.at = 0

    def take(self, layout):
        values = struct.unpack_from(">" + layout, self.piece, self.at)
        self.at += struct.calcsize(">" + layout)
        return values[0] if len(values) == 1 else values

    def bytes(self, length):
        piece = self.piece[self.at : self.at + length]
        expect(len(piece) == length, "the answer ends early")
        self.at += length
        return piece

    def string(self):
        length = self.take("h")
        return None if length < 0 else self.bytes(length).decode()

    def each(self, read):
        return [read() for _ in range(self.take("i"))]


class Wire:
    """One connection."""

    def __init__(self, host_port, timeout_s=30):
        self.socket = socket.create_connection(host_port, timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, api_key, version, body, flexible=False):
        self.correlation += 1
        self.socket.sendall(request(api_key, version, self.correlation, body, flexible))
        return self.correlation

    def receive(self):
        """The next answer's (correlation id, body), or `CLOSED`."""
        head = self.exactly(4)
        if head == CLOSED:
            return CLOSED
        answer = self.exactly(struct.unpack(">i", head)[0])
        if answer == CLOSED:
            return CLOSED
        return struct.unpack(">i", answer[:4])[0], answer[4:]

    def exactly(self, count):
        piece = bytearray()
        while len(piece) < count:
            try:
                more = self.socket.recv(min(1 << 20, count - len(piece)))
            except (ConnectionResetError, BrokenPipeError):
                return CLOSED
            if not more:
                return CLOSED
            piece += more
        return bytes(piece)

    def closed_within(self, deadline_s):
        """True when the broker ends the connection in time, whatever it says before."""
        end = time.monotonic() + deadline_s
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if not self.socket.recv(1 << 16):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False

    def ask(self, api_key, version, body, flexible=False):
        correlation = self.send(api_key, version, body, flexible)
        answer = self.receive()
        expect(answer != CLOSED, f"the connection was closed upon request {api_key} version {version}")
        expect(answer[0] == correlation, "the answer is for another request")
        return Reading(answer[1])

    def metadata(self, topics, auto_create=False):
        """{topic: (error, [partition])}."""
        body = struct.pack(">i", len(topics)) + b"".join(map(string, topics)) + struct.pack(">?", auto_create)
        answer = self.ask(METADATA, 4, body)
        answer.take("i")
        answer.each(lambda: (answer.take("i"), answer.string(), answer.take("i"), answer.string()))
        answer.string()
        answer.take("i")

        def partition():
            _, number, _ = answer.take("hii")
            answer.each(lambda: answer.take("i"))
            answer.each(lambda: answer.take("i"))
            return number

        def topic():
            error, name, _ = answer.take("h"), answer.string(), answer.take("?")
            return name, (error, answer.each(partition))

        return dict(answer.each(topic))

    def create_topic(self, topic, partitions=1):
        """The error code."""
        body = struct.pack(">i", 1) + string(topic) + struct.pack(">ihii", partitions, 1, 0, 0)
        answer = self.ask(CREATE_TOPICS, 2, body + struct.pack(">i?", 30_000, False))
        answer.take("i")
        ((_, error, _),) = answer.each(lambda: (answer.string(), answer.take("h"), answer.string()))
        return error

    def made(self, topic, partitions=1):
        error = self.create_topic(topic, partitions)
        expect(error == 0, f"topic {topic} cannot be made: error {error}")
        self.settled(topic, partitions)
        return topic

    def settled(self, topic, partitions=1):
        """Waits until each partition can be asked: a broker may answer before it is that far."""

        def probe():
            try:
                return [self.list_offset(topic, -1, partition) for partition in range(partitions)]
            except Refused as refused:
                if refused.code in NOT_SETTLED:
                    return None
                raise

        until(probe, 30, f"the partitions of {topic} are there")

    def produce(self, topic, records, partition=0, acks=-1):
        """Offset of the first record, or `Refused`. `records` are the bytes of batches."""
        body = struct.pack(">hhii", -1, acks, 30_000, 1) + string(topic)
        body += struct.pack(">iii", 1, partition, len(records)) + records
        answer = self.ask(PRODUCE, 3, body)
        ((_, ((_, error, offset, _),)),) = answer.each(lambda: (answer.string(), answer.each(lambda: answer.take("ihqq"))))
        if error:
            raise Refused(error)
        return offset

    def fetch(self, topic, offset, partition=0, wait_ms=0, bytes_max=1 << 20):
        """(batches' bytes, high watermark), or `Refused`."""
        answer = self.ask(FETCH, 4, fetch_body(topic, offset, partition, wait_ms, bytes_max))
        answer.take("i")

        def one():
            _, error, high, _ = answer.take("ihqq")
            answer.each(lambda: answer.take("qq"))
            return error, high, answer.bytes(max(0, answer.take("i")))

        ((_, ((error, high, piece),)),) = answer.each(lambda: (answer.string(), answer.each(one)))
        if error:
            raise Refused(error)
        return piece, high

    def list_offset(self, topic, when, partition=0):
        """-1 latest, -2 earliest, else the first at or after a time (-1: none)."""
        body = struct.pack(">ii", -1, 1) + string(topic) + struct.pack(">iiq", 1, partition, when)
        answer = self.ask(LIST_OFFSETS, 1, body)
        ((_, ((_, error, _, offset),)),) = answer.each(lambda: (answer.string(), answer.each(lambda: answer.take("ihqq"))))
        if error:
            raise Refused(error)
        return offset


def fetch_body(topic, offset, partition=0, wait_ms=0, bytes_max=1 << 20):
    body = struct.pack(">iiiibi", -1, wait_ms, 1, bytes_max, 0, 1) + string(topic)
    return body + struct.pack(">iiqi", 1, partition, offset, bytes_max)


def compressions(piece):
    """The compression of each batch in what a fetch brought."""
    names, at = [], 0
    while at + 61 <= len(piece):
        (length,) = struct.unpack_from(">i", piece, at + 8)
        (attributes,) = struct.unpack_from(">h", piece, at + 21)
        names.append(COMPRESSION_NAMES[attributes & 7])
        at += 12 + length
    return names
