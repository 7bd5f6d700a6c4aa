"""What has come and what is awaited, by source and key: receives and messages meet here, each in its order."""

from __future__ import annotations

from collections import deque
from typing import Any

from facula.distributed.fabric.message import COLLECTIVE, Receipt
from facula.undisturbed import reentrant_lock

Key = tuple[int, int, int, int]


class Mailbox:
    """Receipts that wait for a message, and messages that nobody has asked for yet.

    Everything is done under `lock`, which is never held while anything is awaited.
    """

    def __init__(self) -> None:
        self.lock = reentrant_lock()
        self._awaited: dict[tuple[int, Key], deque[Receipt]] = {}
        self._from_anybody: dict[Key, deque[tuple[frozenset[int] | None, Receipt]]] = {}
        self._arrived: dict[tuple[int, Key], deque[Receipt]] = {}
        self.unclaimed: dict[int, int] = {}  # bytes that have come from a rank and nobody has asked for

    def post(self, source: int, key: Key, view: memoryview | None) -> Receipt:
        """Await a message: what has come already is complete, or will be, and is not in `view` but in its own."""
        with self.lock:
            arrived = self._claimed(source, key)
            if arrived is not None:
                return arrived
            receipt = Receipt(source, view)
            self._awaited.setdefault((source, key), deque()).append(receipt)
            return receipt

    def post_any(self, sources: frozenset[int], key: Key) -> Receipt:
        """Await a message of that key from any of these ranks."""
        with self.lock:
            for source in sorted(sources):
                arrived = self._claimed(source, key)
                if arrived is not None:
                    return arrived
            receipt = Receipt(None, None)
            self._from_anybody.setdefault(key, deque()).append((sources, receipt))
            return receipt

    def _claimed(self, source: int, key: Key) -> Receipt | None:
        """The first message that has come from a rank and nobody has asked for."""
        waiting = self._arrived.get((source, key))
        if not waiting:
            return None
        receipt = waiting.popleft()
        if not waiting:
            del self._arrived[source, key]
        receipt.taken = True
        self.unclaimed[source] = self.unclaimed.get(source, 0) - receipt.length
        return receipt

    def begin(self, source: int, key: Key, length: int, note: str) -> Receipt:
        """A message begins to come: the receipt that its payload goes to."""
        with self.lock:
            waiting = self._awaited.get((source, key))
            if waiting:
                receipt = waiting.popleft()
                if not waiting:
                    del self._awaited[source, key]
            else:
                receipt = self._for_anybody(source, key) or Receipt(source, None)
                if receipt.source is None:
                    receipt.source = source
                else:
                    self._arrived.setdefault((source, key), deque()).append(receipt)
                    self.unclaimed[source] = self.unclaimed.get(source, 0) + length
            receipt.note, receipt.length = note, length
            return receipt

    def _for_anybody(self, source: int, key: Key) -> Receipt | None:
        waiting = self._from_anybody.get(key)
        for place, (sources, receipt) in enumerate(waiting or ()):
            if sources is None or source in sources:
                assert waiting is not None
                del waiting[place]
                if not waiting:
                    del self._from_anybody[key]
                return receipt
        return None

    def withdraw(self, receipt: Receipt) -> None:
        """Nobody waits for this any more; a message that comes goes elsewhere."""
        with self.lock:
            tables: tuple[dict[Any, Any], ...] = (self._awaited, self._from_anybody)
            for table in tables:
                for key, waiting in list(table.items()):
                    left: Any = deque(w for w in waiting if w is not receipt
                                      and not (isinstance(w, tuple) and w[1] is receipt))
                    if len(left) != len(waiting):
                        if left:
                            table[key] = left
                        else:
                            del table[key]

    def awaits(self, source: int) -> bool:
        """Does anybody wait for something from that rank?"""
        with self.lock:
            return any(s == source for s, _ in self._awaited) or bool(self._from_anybody)

    def fail(self, error: BaseException, source: int | None = None, group: int | None = None) -> None:
        """Nothing will come from a rank, or within a group: whoever waits for it is told."""
        failed: list[Receipt] = []
        with self.lock:
            for place, waiting in list(self._awaited.items()):
                if (source is None or place[0] == source) and (group is None or place[1][0] == group):
                    failed += waiting
                    del self._awaited[place]
            for key, anybody in list(self._from_anybody.items()):
                if group is None or key[0] == group:
                    for entry in list(anybody):
                        if source is None or entry[0] == frozenset((source,)):
                            failed.append(entry[1])
                            anybody.remove(entry)
                    if not anybody:
                        del self._from_anybody[key]
        for receipt in failed:
            receipt.complete(error)

    def forget(self, group: int) -> None:
        """A group has ended: what came for it and was never asked for is dropped."""
        with self.lock:
            for place in [p for p in self._arrived if p[1][0] == group]:
                for receipt in self._arrived.pop(place):
                    self.unclaimed[place[0]] -= receipt.length

    def differing(self, group: int, number: int, note: str) -> tuple[int, str] | None:
        """(rank, what it is doing) of one whose message of that collective has come and says something else."""
        with self.lock:
            for (source, key), waiting in self._arrived.items():
                if key[:3] == (group, COLLECTIVE, number) and waiting[0].note != note:
                    return source, waiting[0].note
        return None
