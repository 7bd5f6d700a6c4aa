"""Storage: the cell that tensors which alias each other share, and whether somebody outside holds its memory."""

from __future__ import annotations

import numpy as np

from facula.dtypes import float32
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import BUFFER, Node
from facula.engine.realize import realize, value_of
from facula.engine.runtime.buffer import Buffer
from facula.engine.threads import turn

# Counts up to which what is looked at is held by nobody else. Measured at the end of this page.
_LONE_MEMORY = _LONE_OWNER = liveness.UNKNOWN
FOR_GOOD = 2  # as `Storage.shared`: there is an address of the memory about, which counts no references
# What `Storage.version` grows by when somebody outside may have written: no write that a program can count.
OUTSIDE = 1 << 40


class Storage:
    """A mutable cell: `node` is the newest value of all its elements, `version` counts the writes (modulo OUTSIDE)."""

    __slots__ = ("node", "version", "shared", "__weakref__")

    def __init__(self, node: Node, version: int, shared: int) -> None:
        self.node = node
        self.version = version
        self.shared = shared  # its memory has been handed to NumPy, or came from there

    def pinned(self) -> bool:
        """Does somebody outside hold the memory? Then it may change at any time: it is read and written at calls."""
        if not self.shared:
            return False
        if self.shared is FOR_GOOD or self.held():
            return True
        with turn():  # another thread may be writing, or taking another array at this moment
            if self.shared is FOR_GOOD or self.shared and self.held():
                return True
            if self.shared:
                self.shared = False  # the array is gone: an ordinary storage again
                self.forget()
        return False

    def held(self) -> bool:
        """Of a storage whose memory was handed out, or came from outside: does somebody hold it?"""
        buffer = self.node.buffer
        if buffer is None:
            return False
        if getrefcount(buffer) > _LONE_MEMORY:
            return True
        owner = buffer.owner
        return not buffer.size_class and owner is not None and (
            owner.base is not None or getrefcount(owner) > _LONE_OWNER)

    def forget(self) -> None:
        """Nothing that has been remembered of the memory counts any more: neither values seen through it, by any of
        the tensors that share it, nor what the node knows of its elements (`Node.range`)."""
        old = self.node
        node = Node(BUFFER, (), None, None, old.shape, old.dtype)
        node.buffer = old.buffer
        self.node = node
        self.version += OUTSIDE

    def memory(self) -> np.ndarray:
        """All elements, as a 1-D array over the memory itself."""
        node = self.node
        realize(node)
        return value_of(node).reshape(-1)


def _memory_is_free(held: bool) -> bool:
    node = Node(BUFFER, (), None, None, (), float32)
    node.buffer = _adopted(None)
    other = node.buffer if held else None
    seen = Storage(node, 0, True).pinned()
    del other
    return not seen


def _owner_is_free(held: bool) -> bool:
    node = Node(BUFFER, (), None, None, (), float32)
    owner = np.empty(1, np.uint8)
    node.buffer = _adopted(owner)
    other = owner if held else None
    del owner
    seen = Storage(node, 0, True).pinned()
    del other
    return not seen


def _adopted(owner: np.ndarray | None) -> Buffer:
    buffer = Buffer()
    buffer.size_class = 0
    buffer.owner = owner
    return buffer


liveness.calibrate(globals(), "_LONE_MEMORY", _memory_is_free)
liveness.calibrate(globals(), "_LONE_OWNER", _owner_is_free)
