# SPDX-License-Identifier: Apache-2.0
"""The real `polylog` program: started, killed, started again, watched from outside. And what any broker under test can be asked.

Owns: the process, its data directory, its ready line.
Must not know: what clients send.
"""

import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time

from case import expect, until

READY_S_MAX = 60


class Served:
    """A broker's process and its data directory, whosever it is. Serves from the moment the object is made until `stop` or `kill`.

    A kind of broker says how to `start`, and where it is reached: `host_port`."""

    # What it is called on the page.
    brand = ""
    # Folder for data directories and logs.
    scratch = None
    stop_s_max = 10
    count = itertools.count(1)

    def __init__(self, settings=None, data_dir=None):
        number = next(Served.count)
        self.settings = dict(settings or {})
        self.own_data = data_dir is None
        self.data_dir = data_dir or os.path.join(Served.scratch, f"data-{os.getpid()}-{number}")
        self.log_path = os.path.join(Served.scratch, f"broker-{os.getpid()}-{number}.log")
        self.process = None

    @property
    def address(self):
        host, port = self.host_port
        return f"{host}:{port}"

    def kill(self):
        """What a power cut looks like to clients: no goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(self.stop_s_max)

    def alive(self):
        return self.process.poll() is None

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("the broker has no memory figure")

    def connection_count(self):
        """Sockets that the broker's process holds."""
        folder = f"/proc/{self.process.pid}/fd"
        count = 0
        for name in os.listdir(folder):
            try:
                count += os.readlink(os.path.join(folder, name)).startswith("socket:")
            except FileNotFoundError:
                pass  # Closed since it was listed.
        return count

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-8000:]

    def stop(self):
        """Asks it to end, as an operator would, and takes its data away."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(self.stop_s_max)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"SIGTERM did not end the broker within {self.stop_s_max} s:\n{self.log()}") from None
        if self.own_data:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            if self.alive():
                self.kill()
            if self.own_data:
                shutil.rmtree(self.data_dir, ignore_errors=True)


class Broker(Served):
    brand = "Polylog"
    program = None

    def __init__(self, settings=None, data_dir=None, arguments=()):
        super().__init__(settings, data_dir)
        self.arguments = list(arguments)
        self.ready = None
        self.start()

    def start(self, settings=None):
        """Starts on the ports of the life before, if there was one, so that clients find it again."""
        self.settings.update(settings or {})
        kafka = self.address if self.ready else "127.0.0.1:0"
        http = self.http_address if self.ready else "127.0.0.1:0"
        read_end, write_end = os.pipe()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("POLYLOG_")}
        for name, value in self.settings.items():
            environment["POLYLOG_" + name.upper().replace(".", "_")] = str(value)
        command = [Broker.program, "serve", "--data-dir", self.data_dir, "--kafka", kafka, "--http", http]
        command += ["--ready-json", str(write_end), *self.arguments]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[write_end], env=environment
            )
        os.close(write_end)
        line = b""
        end = time.monotonic() + READY_S_MAX
        with os.fdopen(read_end, "rb", buffering=0) as pipe:
            while not line.endswith(b"\n"):
                left = end - time.monotonic()
                expect(left > 0, lambda: f"the broker is not ready within {READY_S_MAX} s:\n{self.log()}")
                if select.select([pipe], [], [], left)[0]:
                    piece = pipe.read(4096)
                    expect(piece, lambda: f"the broker ended before it was ready:\n{self.log()}")
                    line += piece
        self.ready = json.loads(line)

    @property
    def host_port(self):
        host, port = self.ready["kafka"][0]["address"].rsplit(":", 1)
        return host, int(port)

    @property
    def http_address(self):
        return self.ready["http"]


def settled_memory(broker):
    """Resident bytes once two looks in a row agree to 1 MiB."""
    last = [0]

    def probe():
        now = broker.resident_bytes()
        near = abs(now - last[0]) < 1 << 20
        last[0] = now
        return now if near else None

    return until(probe, 10, "the broker's memory settles")
