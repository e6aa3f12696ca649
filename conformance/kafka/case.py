# SPDX-License-Identifier: Apache-2.0
"""What a case is, and how its outcome is written down.

Owns: the list of cases, skips, checks, waiting with a deadline, the results file.
Must not know: any client, any broker.

A case is a function with a name; it passes when it returns. The results file has one JSON object a line:
{"case", "client", "version", "feature", "outcome": passed | failed | skipped, "reason", "took_ms"}.
"""

import json
import select
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
        expect(time.monotonic() < end, f"not within {deadline_s} s: {what}")
        select.select([], [], [], 0.02)


class Case:
    def __init__(self, name, client, version, feature, run):
        self.name = name
        self.client = client
        self.version = version
        self.feature = feature
        self.run = run


def run_all(cases, results_path, only):
    """Runs the cases whose name contains `only`. True when none failed."""
    well = True
    with open(results_path, "w", encoding="utf-8") as results:
        for case in cases:
            if only and only not in case.name:
                continue
            began = time.monotonic()
            reason = ""
            try:
                case.run()
                outcome = "passed"
            except Skip as skip:
                outcome, reason = "skipped", str(skip)
            except Exception:  # noqa: BLE001  Whatever goes wrong in a case is that case's outcome.
                outcome, reason = "failed", traceback.format_exc()
                well = False
            took_ms = round((time.monotonic() - began) * 1000)
            result = {
                "case": case.name,
                "client": case.client,
                "version": case.version() if callable(case.version) else case.version,
                "feature": case.feature,
                "outcome": outcome,
                "reason": reason,
                "took_ms": took_ms,
            }
            results.write(json.dumps(result) + "\n")
            results.flush()
            last = reason.strip().splitlines()[-1:] if reason else []
            print(f"{outcome:8} {took_ms:6} ms  {case.name}{''.join(', because ' + line for line in last)}", flush=True)
    return well
