# SPDX-License-Identifier: Apache-2.0
"""Committed offsets through kill -9, round after round: never back, and the members of a group are still its members.

Groups with a member and groups of offsets alone commit ever larger offsets, each from a connection of its own and one request after
another, until the broker dies under them. What it says afterwards lies between what it acknowledged and what it was sent.
`cargo xtask conformance --rounds 200 --only "committed offsets"` is the long look; a line is printed for every round.
"""

import random
import threading

from case import Case, equal, expect, until
from group_wire import GroupWire, assignment, subscription

GROUPS = 8
TOPIC = "committed"
SESSION_MS = 600_000
ROUND_S_MAX = 120
ACKNOWLEDGED_MAX = 400


class Committer:
    """One group and its connection. Every second one has a member."""

    def __init__(self, broker, number):
        self.broker = broker
        self.group = f"{TOPIC}.{number}"
        self.partition = number % 4
        self.acknowledged = 0
        self.sent = 0
        self.refused = None
        self.member, self.generation = "", -1
        if number % 2:
            self.join()

    def join(self):
        with GroupWire(self.broker.host_port) as wire:
            joined = until(lambda: self.joined(wire), ROUND_S_MAX, f"{self.group} is joined")
            self.member, self.generation = joined.member, joined.generation
            given = {self.member: assignment({TOPIC: [self.partition]})}
            equal(wire.sync(self.group, self.generation, self.member, given)[0], 0, f"the assignment of {self.group}")

    def joined(self, wire):
        joined = wire.join(self.group, protocols=(("range", subscription([TOPIC])),), session_ms=SESSION_MS)
        return joined if joined.error == 0 else None

    def go(self):
        """Commits until the connection ends."""
        try:
            with GroupWire(self.broker.host_port, timeout_s=ROUND_S_MAX) as wire:
                while True:
                    self.sent += 1
                    answers = wire.commit(self.group, {(TOPIC, self.partition): self.sent}, self.generation, self.member)
                    if answers != {(TOPIC, self.partition): 0}:
                        self.refused = answers
                        return
                    self.acknowledged = self.sent
        except (OSError, AssertionError):
            pass  # The broker died, as it should.

    def look(self, wire):
        """What is committed is between the two; from there it goes on."""
        found = wire.committed(self.group, TOPIC, [self.partition])[self.partition]
        first, last = self.acknowledged, self.sent
        expect(first <= max(found, 0) <= last, f"{self.group}: {found} is committed; {first} was acknowledged, {last} sent")
        self.acknowledged = self.sent = max(found, 0)
        if self.member:
            error = wire.patient(lambda: wire.heartbeat(self.group, self.generation, self.member), "a heartbeat")
            equal(error, 0, f"a heartbeat of the member of {self.group}")
        return found


def committed_offsets(shared):
    rng = random.Random(4)
    with shared.fresh() as broker:
        with GroupWire(broker.host_port) as wire:
            wire.made(TOPIC, 4)
            wire.patient(lambda: wire.find_coordinator(TOPIC), "the first question")
        committers = [Committer(broker, number) for number in range(GROUPS)]
        for number in range(shared.rounds):
            threads = [threading.Thread(target=each.go, daemon=True) for each in committers]
            before = sum(each.acknowledged for each in committers)
            for thread in threads:
                thread.start()
            wanted = before + rng.randrange(1, ACKNOWLEDGED_MAX)

            def enough(wanted=wanted):
                refused = [each.refused for each in committers if each.refused]
                expect(not refused, lambda: f"a commit is refused: {refused}")
                return sum(each.acknowledged for each in committers) >= wanted

            until(enough, ROUND_S_MAX, "commits are acknowledged")
            broker.kill()
            for thread in threads:
                thread.join(ROUND_S_MAX)
                expect(not thread.is_alive(), "a connection outlives its broker")
            broker.start()
            with GroupWire(broker.host_port) as wire:
                found = [each.look(wire) for each in committers]
            print(f"committed offsets: round {number + 1} of {shared.rounds}: {found}", flush=True)


def cases(shared):
    return [Case("kafka/committed offsets through kill -9", "", "", "", lambda: committed_offsets(shared), lane="committed offsets")]
