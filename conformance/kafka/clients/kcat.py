# SPDX-License-Identifier: Apache-2.0
"""kcat: an older librdkafka behind a command line. What it prints is parsed by length, so any bytes may come.

It does not tell offsets of what it sent, and it cannot set a record's time.
"""

import os
import re
import select
import signal
import subprocess
import tempfile
import time

from case import Refused, expect
from clients.adapter import HEARTBEAT_MS, SESSION_MS, Client, Member, Producer, Reader
from records import Record

CALL_S_MAX = 60
# Stands between records on standard input, and in no record of ours.
DELIMITER = "\x1e"
KEY_DELIMITER = "\x1f"
FORMAT = "%o %T %K %S\n%k%s\n%h\n"
MEMBER_FORMAT = "%t %p " + FORMAT
ADMINISTRATION = (
    "admin_topic_configs", "admin_config_reset", "admin_broker_configs", "admin_partitions", "admin_delete_records", "admin_groups",
    "admin_delete_group", "admin_offsets", "admin_set_offsets", "admin_cluster",
)
REFUSALS = {
    "Unknown topic or partition": 3,
    "Offset out of range": 1,
    "Message size too large": 10,
}


class Kcat(Client):
    name = "kcat"
    program = None
    says_null_headers = False
    says_empty_apart_from_null = False
    says_neither_key_nor_value = False
    cannot = {
        "topics": "it has no admin commands",
        "topic_settings": "it has no admin commands",
        "create_time": "it cannot set a record's time",
        "max_timestamp": "it asks for times, not for the largest one",
        "assignor_sticky": "the library has only the cooperative one",
        "assignor_cooperative_sticky": "it takes what it is given as all that it has, and loses the rest",
        "group_seek": "its members seek nowhere",
        "group_pause": "its members pause nothing",
        **{name: "it has no admin commands" for name in ADMINISTRATION},
    }
    commits_itself = True

    @classmethod
    def version(cls):
        told = subprocess.run([cls.program, "-V"], capture_output=True, text=True, check=True).stdout
        kcat = re.search(r"Version ([0-9.]+)", told)
        library = re.search(r"librdkafka ([0-9.]+)", told)
        return f"{kcat.group(1)}, librdkafka {library.group(1)}"

    def producer(self, **settings):
        producer = KcatProducer(self.address, **settings)
        return KcatStream(producer.command) if settings.get("idempotent") else producer

    def reader(self, topic, partition, start, *, wait_ms=500, isolation="read_uncommitted"):
        match start:
            case ("earliest",):
                start = "beginning"
            case ("latest",):
                start = str(self.offsets(topic, partition)[1])
            case ("offset", offset):
                start = str(offset)
            case ("time", timestamp_ms):
                start = f"s@{timestamp_ms}"
        command = [Kcat.program, "-C", "-b", self.address, "-t", topic, "-p", str(partition), "-o", start]
        command += ["-X", f"fetch.wait.max.ms={wait_ms}", "-X", f"socket.timeout.ms={max(60_000, wait_ms + 10_000)}"]
        command += ["-X", "auto.offset.reset=error", "-X", f"isolation.level={isolation}", "-u", "-q", "-f", FORMAT]
        return KcatReader(command)

    def query(self, topic, partition, when):
        told = run([Kcat.program, "-b", self.address, "-Q", "-t", f"{topic}:{partition}:{when}"])
        return int(re.search(r"offset (-?\d+)", told).group(1))

    def offsets(self, topic, partition):
        return self.query(topic, partition, -2), self.query(topic, partition, -1)

    def offset_at(self, topic, partition, timestamp_ms):
        found = self.query(topic, partition, timestamp_ms)
        return None if found < 0 or found == self.offsets(topic, partition)[1] else found

    def member(self, group, topics, **settings):
        return KcatMember(self.address, group, topics, **settings)

    def topics(self):
        return set(re.findall(r'topic "([^"]+)"', run([Kcat.program, "-b", self.address, "-L"])))


def run(command, given=None):
    done = subprocess.run(command, input=given, capture_output=True, timeout=CALL_S_MAX, check=False)
    if done.returncode != 0:
        raise refusal(done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace")


def refusal(said):
    for words, code in REFUSALS.items():
        if words in said:
            return Refused(code, said)
    return Refused(-1, said)


class KcatProducer(Producer):
    def __init__(self, address, *, compression="none", idempotent=False, acks=-1, linger_ms=5, record_bytes_max=1_000_000):
        self.command = [Kcat.program, "-P", "-b", address, "-X", f"acks={acks}", "-X", f"linger.ms={linger_ms}"]
        self.command += ["-X", f"message.max.bytes={record_bytes_max + 10_000}"]
        self.command += ["-X", f"enable.idempotence={'true' if idempotent else 'false'}"]
        self.command += ["-X", f"compression.codec={compression}"]
        # Runs that share their arguments go through one process.
        self.runs = []
        self.count = 0

    def send(self, topic, partition, record):
        expect(record.timestamp_ms is None, "kcat cannot set a record's time")
        arguments = ["-t", topic, "-p", str(partition)]
        for name, value in record.headers:
            arguments += ["-H", name if value is None else f"{name}={value.decode()}"]
        value = record.value
        if value is None:
            # Empty values are null ones in this run; an empty line would be no record at all, so the key stands in it.
            arguments += ["-Z", "-K", KEY_DELIMITER]
            value = record.key + KEY_DELIMITER.encode()
        elif record.key is not None:
            arguments += ["-k", record.key.decode()]
        alone = DELIMITER.encode() in value
        self.count += 1
        if not alone and self.runs and self.runs[-1][0] == arguments and not self.runs[-1][2]:
            self.runs[-1][1].append(value)
        else:
            self.runs.append((arguments, [value], alone))

    def finish(self, deadline_s):
        count, self.count = self.count, 0
        runs, self.runs = self.runs, []
        for arguments, values, alone in runs:
            if alone:
                with tempfile.NamedTemporaryFile() as file:
                    file.write(values[0])
                    file.flush()
                    run([*self.command, *arguments, file.name])
            else:
                given = b"".join(value + DELIMITER.encode() for value in values)
                run([*self.command, *arguments, "-D", DELIMITER], given)
        return [None] * count


class KcatStream(Producer):
    """A kcat that lives as long as the producer: what an idempotent producer needs to be one."""

    def __init__(self, command):
        self.command = command
        self.inner = None
        self.count = 0

    def send(self, topic, partition, record):
        if self.inner is None:
            # -E: a broker that is away for a moment is no reason to end.
            command = [*self.command, "-E", "-t", topic, "-p", str(partition), "-D", DELIMITER]
            self.inner = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self.count += 1
        self.inner.stdin.write(record.value + DELIMITER.encode())
        self.inner.stdin.flush()

    def finish(self, deadline_s):
        _, said = self.inner.communicate(timeout=deadline_s)
        if self.inner.returncode != 0:
            raise refusal(said.decode(errors="replace"))
        return [None] * self.count

    def close(self):
        if self.inner is not None and self.inner.poll() is None:
            self.inner.kill()
            self.inner.communicate()


class Printed:
    """What a kcat prints, cut into records."""

    def __init__(self, command):
        self.inner = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.set_blocking(self.inner.stdout.fileno(), False)
        self.buffer = b""

    def take(self, least, most, deadline_s):
        end = time.monotonic() + deadline_s
        records = []
        while True:
            while len(records) < most and (record := self.cut()) is not None:
                records.append(record)
            left = end - time.monotonic()
            if len(records) >= least or left <= 0:
                return records
            if select.select([self.inner.stdout], [], [], left)[0]:
                piece = self.inner.stdout.read()
                if piece:
                    self.buffer += piece
                elif piece == b"":
                    raise self.ended()

    def ended(self):
        return refusal(self.inner.stderr.read().decode(errors="replace"))

    def cut(self):
        """The next whole record out of what was printed."""
        head, found, rest = self.buffer.partition(b"\n")
        if not found:
            return None
        words = head.split()
        topic, partition = (words[0].decode(), int(words[1])) if len(words) > 4 else (None, None)
        offset, timestamp_ms, key_length, value_length = (int(word) for word in words[-4:])
        key_end = max(0, key_length)
        value_end = key_end + max(0, value_length)
        headers, found, after = rest[value_end + 1 :].partition(b"\n")
        if len(rest) < value_end + 1 or not found:
            return None
        self.buffer = after
        return Record(
            None if key_length < 0 else rest[:key_end],
            None if value_length < 0 else rest[key_end:value_end],
            tuple(header(text) for text in headers.decode().split(",") if text),
            timestamp_ms,
            offset,
            topic,
            partition,
        )

    def left_over(self):
        """The records that it printed before it ended."""
        os.set_blocking(self.inner.stdout.fileno(), True)
        self.buffer += self.inner.stdout.read()
        records = []
        while (record := self.cut()) is not None:
            records.append(record)
        return records

    def end(self, how):
        self.inner.send_signal(how)
        records = self.left_over()
        self.inner.wait(CALL_S_MAX)
        self.inner.stdout.close()
        self.inner.stderr.close()
        return records


class KcatReader(Printed, Reader):
    def take(self, count, deadline_s):
        return super().take(count, count, deadline_s)

    def close(self):
        self.end(signal.SIGKILL)


class KcatMember(Printed, Member):
    """It tells of its partitions on standard error, and commits by itself what it printed."""

    def __init__(self, address, group, topics, *, assignor=None, instance=None, session_ms=SESSION_MS):
        command = [Kcat.program, "-b", address, "-G", group, "-u", "-f", MEMBER_FORMAT]
        settings = {"auto.offset.reset": "earliest", "session.timeout.ms": session_ms, "auto.commit.interval.ms": 1000}
        settings |= {"heartbeat.interval.ms": HEARTBEAT_MS, "topic.metadata.refresh.interval.ms": 1000}
        if assignor is not None:
            settings["partition.assignment.strategy"] = assignor
        if instance is not None:
            settings["group.instance.id"] = instance
        for name, value in settings.items():
            command += ["-X", f"{name}={value}"]
        super().__init__([*command, *topics])
        os.set_blocking(self.inner.stderr.fileno(), False)
        self.said = b""
        self.places = set()
        self.count = 0

    def ended(self):
        return Refused(-1, self.said.decode(errors="replace"))

    def take(self, count, deadline_s):
        return super().take(1, count, deadline_s)

    def listen(self):
        """`% Group g rebalanced (memberid m): assigned: t [0], t [1]`, or `revoked: …`."""
        self.said += self.inner.stderr.read() or b""
        lines = self.said.split(b"\n")
        self.said = lines.pop()
        for line in lines:
            what = re.search(r" rebalanced \(memberid [^)]*\): (assigned|revoked): ?(.*)", line.decode())
            if what is None:
                continue
            places = {(topic, int(partition)) for topic, partition in re.findall(r"(\S+) \[(\d+)\]", what.group(2))}
            if what.group(1) == "assigned":
                self.places |= places
                self.count += 1
            else:
                self.places -= places

    def assigned(self):
        self.listen()
        return set(self.places)

    def changes(self):
        self.listen()
        return self.count

    def commit(self, offsets):
        raise NotImplementedError

    def leave(self):
        return self.end(signal.SIGINT)

    def kill(self):
        return self.end(signal.SIGKILL)


def header(text):
    name, _, value = text.partition("=")
    return name, None if value == "NULL" else value.encode()
