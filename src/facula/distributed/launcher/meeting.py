"""Rounds: which nodes take part in an attempt, and which ranks each of them has. All nodes look at one store.

In a round each node takes a place (by the order of arrival, or its node rank); the one at place 0 closes the round when
all that may come have come, or enough have and nobody came for a while. A failure, a node that beats no more, or one
that comes late, ends the round for all; the next one begins with whoever is there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from facula.distributed.constants import DistError
from facula.distributed.store import Store

BEAT, LOST = 2.0, 20.0  # seconds between signs of life, and after which a node is taken for lost


class Share(NamedTuple):
    """What a node has to run in a round."""

    place: int  # its number among the nodes
    nodes: int
    first_rank: int
    world_size: int


class Late(Exception):
    """The round is closed: the next one has room."""


class Meeting:
    """A node's view of the rounds.

    Args:
        store: all nodes' store.
        workers: how many this node runs.
        least, most: how many nodes there have to be, and may be.
        place: this node's number; None: by arrival.
        patience: seconds for enough to come; `last_call`: for more, when enough have.
    """

    def __init__(self, store: Store, workers: int, least: int, most: int, place: int | None, patience: float,
                 last_call: float) -> None:
        self.store, self.workers, self.least, self.most = store, workers, least, most
        self._fixed, self.patience, self.last_call = place, patience, last_call
        self.round = 0
        self._share: Share | None = None
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._over = threading.Event()
        self._beats = store.clone()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _key(self, name: str) -> str:
        return f"round/{self.round}/{name}"

    def join(self) -> Share:
        """Take part in the present round, when it is closed. DistError if too few come in time."""
        newest = self.store.add("round/newest", 0)
        self.round = max(self.round, newest)
        while True:
            try:
                self._share = self._joined()
                return self._share
            except Late:
                self.store.set(self._key("late"), b"1")
                before = self.round
                until = time.monotonic() + self.patience
                while self.store.add("round/newest", 0) <= before:
                    if time.monotonic() > until or self.store.check([self._key("over")]):
                        raise DistError("the job has all the nodes it takes, or has ended") from None
                    time.sleep(0.2)
                self.round = self.store.add("round/newest", 0)

    def _joined(self) -> Share:
        place = self.store.add(self._key("arrived"), 1) - 1 if self._fixed is None else self._fixed
        if place >= self.most or (self._fixed is None and self.store.check([self._key("nodes")])):
            raise Late
        self.store.set(self._key(f"node/{place}"), str(self.workers))
        if self._fixed is not None:
            self.store.add(self._key("arrived"), 1)
        if place == 0:
            self._close()
        try:
            self.store.wait([self._key("nodes")], timedelta(seconds=self.patience + self.last_call))
        except DistError:
            raise DistError(f"round {self.round}: only {self.store.add(self._key('arrived'), 0)} of at least "
                            f"{self.least} nodes have come within {self.patience:g} s") from None
        counts: list[int] = json.loads(self.store.get(self._key("nodes")))
        if place >= len(counts):
            raise Late
        self._seen = {}
        return Share(place, len(counts), sum(counts[:place]), sum(counts))

    def _close(self) -> None:
        until, came, since = time.monotonic() + self.patience, 0, time.monotonic()
        while True:
            now = self.store.add(self._key("arrived"), 0)
            if now != came:
                came, since = now, time.monotonic()
            if came >= self.most or (came >= self.least and time.monotonic() - since >= self.last_call):
                break
            if time.monotonic() > until:
                return  # whoever waits runs out of time, and says so
            time.sleep(0.05)
        present = min(came, self.most)
        counts = [int(self.store.get(self._key(f"node/{place}"))) for place in range(present)]
        self.store.set(self._key("nodes"), json.dumps(counts))

    # ---- while it runs ---------------------------------------------------------------------------------------

    def _beat(self) -> None:
        number = 0
        while not self._over.wait(BEAT):
            share = self._share
            if share is None:
                continue
            number += 1
            try:
                self._beats.set(f"round/{self.round}/beat/{share.place}", str(number))
            except DistError:
                return

    def lost(self) -> int | None:
        """A node that has given no sign of life for too long."""
        assert self._share is not None
        for place in range(self._share.nodes):
            if place == self._share.place:
                continue
            key = self._key(f"beat/{place}")
            found = self.store.get(key) if self.store.check([key]) else b""
            value, since = self._seen.get(place, (None, 0.0))
            if found != value:
                self._seen[place] = (found, time.monotonic())
            elif time.monotonic() - since > LOST:
                return place
        return None

    def fail(self, why: str) -> None:
        """End the round for all nodes."""
        self.store.compare_set(self._key("failed"), "", why)

    def failed(self) -> str | None:
        """Why the round has ended, if it has."""
        key = self._key("failed")
        return self.store.get(key).decode() if self.store.check([key]) else None

    def wanted(self) -> bool:
        """Has a node come late, and is there room for it?"""
        assert self._share is not None
        return self._share.nodes < self.most and self.store.check([self._key("late")])

    def next(self) -> None:
        """Go on to the next round."""
        self._share = None
        self.round += 1
        self.store.compare_set("round/newest", str(self.round - 1) if self.round > 1 else "", str(self.round))
        if self.store.add("round/newest", 0) < self.round:
            self.store.set("round/newest", str(self.round))

    def done(self) -> None:
        """This node's workers have come to their end."""
        self.store.add(self._key("done"), 1)

    def all_done(self) -> bool:
        """Have all nodes' workers?"""
        assert self._share is not None
        return self.store.add(self._key("done"), 0) >= self._share.nodes

    def leave(self, places: Sequence[int] = ()) -> None:
        """No more signs of life."""
        self._over.set()
