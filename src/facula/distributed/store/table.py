"""What a store holds: bytes by key, and queues. Nothing here waits; who has to, asks again."""

from __future__ import annotations

from collections import deque


class Table:
    """Keys with values, and queues, of one process; the caller holds a lock."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.queues: dict[bytes, deque[bytes]] = {}

    def add(self, key: bytes, amount: int) -> int:
        """Add to the number under a key, 0 if there is none. ValueError if there is something else."""
        found = int(self.values.get(key, b"0")) + amount
        self.values[key] = str(found).encode()
        return found

    def compare_set(self, key: bytes, expected: bytes, desired: bytes) -> bytes:
        """Put `desired` where `expected` stands (or nothing does, and nothing is expected); what stands then."""
        found = self.values.get(key)
        if found is None and expected:
            return expected
        if found is None or found == expected:
            self.values[key] = desired
            return desired
        return found

    def append(self, key: bytes, value: bytes) -> None:
        """Put `value` behind what stands there."""
        self.values[key] = self.values.get(key, b"") + value

    def has(self, keys: list[bytes]) -> bool:
        """Are they all there?"""
        return all(key in self.values for key in keys)

    def delete(self, key: bytes) -> bool:
        """Remove a key; was it there?"""
        return self.values.pop(key, None) is not None

    def push(self, key: bytes, value: bytes) -> None:
        """Put a value at the end of a queue."""
        self.queues.setdefault(key, deque()).append(value)

    def pop(self, key: bytes) -> bytes | None:
        """The first value of a queue, None if it is empty."""
        queue = self.queues.get(key)
        if not queue:
            return None
        value = queue.popleft()
        if not queue:
            del self.queues[key]
        return value

    def length(self, key: bytes) -> int:
        """How many values a queue has."""
        return len(self.queues.get(key, ()))
