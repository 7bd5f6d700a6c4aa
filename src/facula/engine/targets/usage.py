"""How much memory of a device is in use: what `Target.usage` counts, in PyTorch's words."""

from __future__ import annotations

from facula.undisturbed import reentrant_lock


class Usage:
    """Bytes and pieces of memory: now, at most, and in all."""

    def __init__(self) -> None:
        self.bytes = self.most = self.came = self.went = 0
        self.pieces = self.most_pieces = 0
        self._lock = reentrant_lock()  # memory is released wherever Python lets go of it, in here as well

    def add(self, nbytes: int) -> None:
        with self._lock:
            self.bytes += nbytes
            self.came += nbytes
            self.pieces += 1
            self.most, self.most_pieces = max(self.most, self.bytes), max(self.most_pieces, self.pieces)

    def remove(self, nbytes: int) -> None:
        with self._lock:
            self.bytes -= nbytes
            self.went += nbytes
            self.pieces -= 1

    def forget_most(self) -> None:
        with self._lock:
            self.most, self.most_pieces = self.bytes, self.pieces

    def forget_all(self) -> None:
        with self._lock:
            self.came, self.went = self.bytes, 0

    def stats(self) -> dict[str, int]:
        """By PyTorch's names. What is reserved is what is allocated, as far as this knows."""
        with self._lock:
            found = {"allocation.all.current": self.pieces, "allocation.all.peak": self.most_pieces}
            for what in ("allocated", "reserved"):
                found |= {f"{what}_bytes.all.current": self.bytes, f"{what}_bytes.all.peak": self.most,
                          f"{what}_bytes.all.allocated": self.came, f"{what}_bytes.all.freed": self.went}
            return found
