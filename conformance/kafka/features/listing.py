# SPDX-License-Identifier: Apache-2.0
"""The list that features put themselves into, in the order of the page's rows."""

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Feature:
    # Part of the case's name.
    name: str
    # The row's words on the page.
    title: str
    # Called with a `Place`.
    run: Callable
    # The case kills its broker, so it gets one of its own.
    own_broker: bool = False


@dataclass
class Place:
    """Where a case happens."""

    broker: object
    client: object
    # A topic's name that nothing else uses.
    topic: str
    # A connection by hand.
    wire: object


ALL = []


def feature(title, name=None, own_broker=False):
    def keep(run):
        ALL.append(Feature(name or run.__name__, title, run, own_broker))
        return run

    return keep
