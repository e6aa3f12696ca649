# SPDX-License-Identifier: Apache-2.0
"""A disk that is full: appends fail with the storage code, reads go on, appends resume when there is space.

The disk is a small file with a file system in it; that takes root and a loop device.
"""

import contextlib
import os
import subprocess

from broker import Broker
from case import Refused, Skip, equal, expect, until
from records import Record, noise
from wire import Wire, batch

KAFKA_STORAGE_ERROR = 56
DISK_BYTES = 96 << 20
# Left free at first, for the log's own files to be made; then taken by a file of another program.
SETTINGS = {"wal.slot_bytes": "4MiB", "memory.tail_bytes_max": "16MiB"}


@contextlib.contextmanager
def small_disk(place):
    if os.geteuid() != 0:
        raise Skip("only root may mount a disk")
    image, folder = place + ".image", place
    os.makedirs(folder, exist_ok=True)
    with open(image, "wb") as file:
        file.truncate(DISK_BYTES)
    try:
        for command in (["mkfs.ext4", "-q", "-m", "0", image], ["mount", "-o", "loop", image, folder]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Skip(f"{command[0]}: {done.stderr.strip()}")
    except FileNotFoundError as missing:
        raise Skip(f"{missing.filename} is not installed") from missing
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        os.remove(image)
        os.rmdir(folder)


def disk_full():
    with small_disk(os.path.join(Broker.scratch, f"disk-{os.getpid()}")) as folder:
        with Broker(SETTINGS, data_dir=os.path.join(folder, "data")) as broker, Wire(broker.host_port, timeout_s=60) as wire:
            wire.made("t")
            first = b"the first record"
            wire.produce("t", batch([Record(value=first)]))
            ballast = os.path.join(folder, "ballast")
            with open(ballast, "wb") as file:
                with contextlib.suppress(OSError):
                    while True:
                        file.write(noise(1 << 20))
                        file.flush()
            taken, refused = fill(wire)
            expect(refused.code == KAFKA_STORAGE_ERROR, f"a full disk is answered with error {refused.code}")
            # Reads go on.
            piece, high = wire.fetch("t", 0)
            expect(first in piece, "the first record cannot be read")
            equal(high, taken + 1, "the end of the log")
            expect(broker.alive(), lambda: f"the broker ended:\n{broker.log()}")
            os.remove(ballast)
            until(lambda: appended(wire), 30, "appends resume once there is space")
            # What was acknowledged before, between and after is there after a restart.
            _, high = wire.fetch("t", 0)
            broker.kill()
            broker.start()
            with Wire(broker.host_port) as again:
                piece, high_after = again.fetch("t", 0)
                expect(first in piece, "the first record is lost")
                expect(high_after >= high, f"the log ends at {high_after}, and {high} was acknowledged")


def fill(wire):
    """Appends until refused: (how many were taken, the refusal)."""
    for taken in range(1000):
        try:
            wire.produce("t", batch([Record(value=noise(500_000, seed=taken))]))
        except Refused as refused:
            return taken, refused
    raise AssertionError("500 MB went to a disk of 96 MiB")


def appended(wire):
    try:
        wire.produce("t", batch([Record(value=b"after")]))
        return True
    except Refused:
        return False
