# SPDX-License-Identifier: Apache-2.0
"""What a case is, and how its outcome is written down.

Owns: the list of cases, skips, checks, waiting with a deadline, the results file.
Must not know: any client, any broker.

A case is a function with a name; it passes when it returns. The results file has one JSON object a line:
{"case", "client", "version", "feature", "outcome": passed | failed | skipped, "reason", "took_ms", "note"}, where the note is what a
case returned: what the page shall say beside its outcome.
"""

import concurrent.futures
import json
import select
import threading
import time
import traceback


class Skip(Exception):
    """The case cannot be run here, because of `reason`."""


class Refused(Exception):
    """The broker answered with an error of the protocol, `code` in its numbering."""

    def __init__(self, code, text=""):
        super().__init__(f"error {code} {text}".rstrip())
        self.code = code


def expect(condition, what):
    """Like `assert`, but never compiled away, and always with words."""
    if not condition:
        raise AssertionError(what() if callable(what) else what)


def equal(seen, wanted, what):
    expect(seen == wanted, lambda: f"{what}: {shown(seen)}, and not {shown(wanted)}")


def refused_with(code, call, what):
    """`call` must be refused with exactly this error."""
    try:
        answer = call()
    except Refused as refused:
        equal(refused.code, code, f"{what} is refused with error")
        return
    raise AssertionError(f"{what} is not refused with {code}: {shown(answer)}")


def shown(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"


def until(probe, deadline_s, what):
    """Calls `probe` until it returns something true, and returns that.

    Only for states of the outside world that nothing announces (a file's size, a process's memory)."""
    end = time.monotonic() + deadline_s
    while True:
        answer = probe()
        if answer:
            return answer
        expect(time.monotonic() < end, lambda: f"not within {deadline_s} s: {what() if callable(what) else what}")
        select.select([], [], [], 0.02)


# Cases of this lane have the machine to themselves: they measure memory, or open very many sockets.
ALONE = "alone"


class Case:
    """`lane`: cases of one lane run one after another, lanes beside each other. `peer`: it can be run against Apache Kafka too."""

    def __init__(self, name, client, version, feature, run, lane="", peer=True):
        self.name = name
        self.client = client
        self.version = version
        self.feature = feature
        self.run = run
        self.lane = lane or client
        self.peer = peer

    def outcome(self):
        """Runs it: one line of the results file.

        A case of somebody else's client is run once more when it fails, and says so: some lose their own events on a busy machine
        (kafka-python an assignment between two polls). What only our own bytes ask has no second try."""
        result = self.once()
        if result["outcome"] == "failed" and self.client:
            again = self.once()
            if again["outcome"] == "passed":
                return {**again, "reason": f"at the second try; the first: {result['reason']}"}
        return result

    def once(self):
        began = time.monotonic()
        reason, note = "", None
        try:
            note = self.run()
            outcome = "passed"
        except Skip as skip:
            outcome, reason = "skipped", str(skip)
        except Exception:  # noqa: BLE001  Whatever goes wrong in a case is that case's outcome.
            outcome, reason = "failed", traceback.format_exc()
        return {
            "case": self.name,
            "client": self.client,
            "version": self.version() if callable(self.version) else self.version,
            "feature": self.feature,
            "outcome": outcome,
            "reason": reason,
            "took_ms": round((time.monotonic() - began) * 1000),
            "note": note if isinstance(note, dict) else None,
        }


def run_all(cases, results_path, lanes_max):
    """Runs the cases, `lanes_max` lanes at a time, then those that want to be alone. The results stand in the order of the cases."""
    results = {}
    lock = threading.Lock()

    def run_lane(lane):
        for case in lane:
            result = case.outcome()
            with lock:
                results[case] = result
                with open(results_path, "w", encoding="utf-8") as file:
                    file.writelines(json.dumps(results[each]) + "\n" for each in cases if each in results)
                last = result["reason"].strip().splitlines()[-1:]
                because = "".join(", because " + line for line in last)
                print(f"{result['outcome']:8} {result['took_ms']:6} ms  {case.name}{because}", flush=True)

    lanes = {}
    for case in cases:
        lanes.setdefault(case.lane, []).append(case)
    alone = lanes.pop(ALONE, [])
    with open(results_path, "w", encoding="utf-8"), concurrent.futures.ThreadPoolExecutor(lanes_max) as pool:
        for done in [pool.submit(run_lane, lane) for lane in lanes.values()]:
            done.result()
    run_lane(alone)
