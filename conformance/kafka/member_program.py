# SPDX-License-Identifier: Apache-2.0
"""One member of a group with a Python client, in a process of its own so that it can be killed: lines in, lines out (clients/line_program.py).

The client is polled by one thread, which also does what the lines ask for, between two polls: not every client may be used by two.
"""

import collections
import json
import queue
import sys
import threading
import time

from case import Refused
from clients.line_program import encoded

POLL_S = 0.3


class Polling:
    def __init__(self, member):
        self.member = member
        self.asked = queue.Queue()
        self.came = collections.deque()
        self.news = threading.Condition()
        self.failure = None
        self.over = False
        self.thread = threading.Thread(target=self.go, daemon=True)
        self.thread.start()

    def go(self):
        while not self.over:
            try:
                call, done = self.asked.get_nowait()
            except queue.Empty:
                self.poll()
                continue
            try:
                done.put((call(), None))
            except Exception as error:  # noqa: BLE001  Told to whoever asked.
                done.put((None, error))

    def poll(self):
        try:
            records = self.member.poll(POLL_S)
        except Refused as refused:
            # What a member sees now and then, such as a coordinator that is away, is not its end.
            self.failure = str(refused)
            time.sleep(POLL_S)
            return
        if records:
            with self.news:
                self.came.extend(records)
                self.news.notify()

    def ask(self, call):
        done = queue.Queue()
        self.asked.put((call, done))
        answer, error = done.get()
        if error is not None:
            raise error
        return answer

    def take(self, count, deadline_s):
        with self.news:
            self.news.wait_for(lambda: self.came, deadline_s)
            return [self.came.popleft() for _ in range(min(count, len(self.came)))]


def shown(record):
    return {
        "topic": record.topic,
        "partition": record.partition,
        "key": encoded(record.key),
        "value": encoded(record.value),
        "headers": [[name, encoded(value)] for name, value in record.headers],
        "timestamp_ms": record.timestamp_ms,
        "offset": record.offset,
    }


class Lines:
    def __init__(self, kind, address):
        self.kind = kind
        self.address = address
        self.member = None
        self.polling = None

    def answer(self, asked):
        match asked["do"]:
            case "join":
                self.member = self.kind(
                    self.address, asked["group"], asked["topics"], asked["assignor"], asked["instance"], asked["session_ms"]
                )
                self.polling = Polling(self.member)
            case "member_take":
                records = self.polling.take(asked["count"], asked["deadline_ms"] / 1000)
                return {"records": [shown(record) for record in records]}
            case "assigned":
                places, changes = self.polling.ask(lambda: (sorted(self.member.assigned()), self.member.changes))
                return {"partitions": places, "changes": changes, "failure": self.polling.failure}
            case "commit":
                offsets = {(topic, partition): offset for topic, partition, offset in asked["offsets"]}
                self.polling.ask(lambda: self.member.commit(offsets))
            case "seek":
                self.polling.ask(lambda: self.member.seek(asked["topic"], asked["partition"], asked["number"]))
            case "pause":
                self.polling.ask(lambda: self.member.pause(asked["topic"], asked["partition"]))
            case "resume":
                self.polling.ask(lambda: self.member.resume(asked["topic"], asked["partition"]))
            case "leave":
                self.polling.ask(self.member.leave)
                self.polling.over = True
            case other:
                raise ValueError(f"cannot do {other!r}")
        return {}


def member_of(name):
    if name == "kafka-python":
        from clients.kafka_python import KafkaPythonMember

        return KafkaPythonMember
    if name == "aiokafka":
        from clients.aiokafka_client import AiokafkaMember

        return AiokafkaMember
    from clients.confluent import ConfluentMember

    return ConfluentMember


def main():
    lines = Lines(member_of(sys.argv[1]), sys.argv[2])
    for line in sys.stdin.buffer:
        try:
            answer = lines.answer(json.loads(line))
        except Refused as refused:
            answer = {"code": refused.code, "error": str(refused)}
        except Exception as error:  # noqa: BLE001  Told to whoever asked.
            answer = {"code": -1, "error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
