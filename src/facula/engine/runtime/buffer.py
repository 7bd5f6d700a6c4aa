"""Memory: a caching allocator over NumPy blocks.

Fresh pages cost three to four times the work of a large kernel, so freed blocks are kept and handed out
again, by size class. A block is a uint8 array whose start is aligned to 64 bytes; a `Buffer` owns one
block for as long as somebody holds it.
"""

from __future__ import annotations

import numpy as np

from facula.config import threshold
from facula.dtypes import dtype
from facula.errors import OutOfMemoryError
from facula.undisturbed import undisturbed

ALIGN = 64
CACHE_LIMIT = threshold("free_bytes")  # bytes kept for reuse
IDLE = threshold("idle_bytes")


class Buffer:
    """`nbytes` bytes of memory at address `ptr`, kept alive by `owner`."""

    __slots__ = ("ptr", "nbytes", "owner", "size_class", "__weakref__")

    ptr: int
    nbytes: int
    owner: np.ndarray | None
    size_class: int  # 0: the memory is somebody else's

    def array(self, shape: tuple[int, ...], of: dtype) -> np.ndarray:
        """The elements as a NumPy array that shares this memory (and keeps this Buffer alive)."""
        n = self.nbytes
        flat = np.asarray(self) if n else np.empty(0, np.uint8)
        count = 1
        for s in shape:
            count *= s
        return flat[:count * of.itemsize].view(of.numpy).reshape(shape)

    @property
    def __array_interface__(self) -> dict[str, object]:
        return {"data": (self.ptr, False), "shape": (self.nbytes,), "typestr": "|u1", "version": 3}

    @undisturbed  # what a signal handler raised in here would be lost
    def __del__(self) -> None:
        global _cached
        try:
            size = self.size_class  # 0: not ours, or it never came to have memory
        except AttributeError:  # nor to this
            return
        if size and _cached is not None:  # None: the interpreter is shutting down
            if _cached + size <= CACHE_LIMIT:
                _cached += size
                try:
                    _free[size] += ((self.ptr, self.owner),)
                except KeyError:
                    _free[size] = [(self.ptr, self.owner)]
            else:
                _given_back(size)


_blank = object.__new__
_free: dict[int, list[tuple[int, np.ndarray | None]]] = {}
_cached = 0  # bytes that wait for somebody
_taken = 0  # bytes that the system has given us: those of Buffers, and `_cached`
_most = 0  # of them in Buffers, at most, up to the last time that `_taken` changed
_least = 0  # the least that `_cached` has been since: what is most in Buffers is `_taken - _least`


def class_of(nbytes: int) -> int:
    """Sizes are rounded up to 64 bytes, then (above 4 KB) to an eighth of a power of two: <= 12.5 % waste."""
    if nbytes <= 4096:
        return (nbytes + 63) & ~63 or 64
    step = 1 << ((nbytes - 1).bit_length() - 4)
    return -(-nbytes // step) * step


def allocate(nbytes: int, size: int = 0) -> Buffer:
    """Uninitialised memory. `size`: `class_of(nbytes)`, where the caller knows it."""
    global _cached, _least
    buffer = _blank(Buffer)
    buffer.size_class = 0  # until it has memory
    buffer.nbytes = nbytes
    size = size or class_of(nbytes)
    try:
        buffer.ptr, buffer.owner = _free[size].pop()
        _cached -= size
        if _cached < _least:
            _least = _cached
    except (KeyError, IndexError):
        buffer.ptr, buffer.owner = _fresh(nbytes, size)
    buffer.size_class = size
    return buffer


def allocate_apart(nbytes: int) -> Buffer:
    """Uninitialised memory that no Buffer has had, as far as the system gives any."""
    buffer = _blank(Buffer)
    buffer.size_class = 0  # until it has memory
    buffer.nbytes = nbytes
    size = class_of(nbytes)
    buffer.ptr, buffer.owner = _fresh(nbytes, size)
    buffer.size_class = size
    return buffer


def held() -> int:
    """Bytes in Buffers that somebody holds, rounded up as they are allocated; adopted memory is not counted."""
    return _taken - _cached


def most_held() -> int:
    """The most that `held` has been since `reset_most_held` (or ever)."""
    return max(_most, _taken - _least)


def reset_most_held() -> None:
    """From now on `most_held` looks at what is held from now on."""
    global _most, _least
    _most, _least = 0, _cached


def _given_back(nbytes: int) -> None:
    """So many bytes are the system's again (fewer than none: ours now)."""
    global _taken, _most, _least
    _most = most_held()
    _taken -= nbytes
    _least = _cached


def _fresh(nbytes: int, size: int) -> tuple[int, np.ndarray]:
    if _cached > IDLE and _cached > most_held():
        _return_idle()
    try:
        block = np.empty(size + ALIGN, np.uint8)
    except (MemoryError, ValueError) as error:
        raise OutOfMemoryError(f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {nbytes} "
                               "bytes.") from error
    _given_back(-size)
    start: int = block.__array_interface__["data"][0]
    return (start + ALIGN - 1) & -ALIGN, block


def _return_idle() -> None:
    """Half of the freed memory is the system's again, that of the sizes which came up first. A program whose sizes
    change would keep some of each that it ever had."""
    global _cached
    goal = _cached >> 1
    for size in list(_free):
        gone = size * len(_free.pop(size, ()))
        _cached -= gone
        _given_back(gone)
        if _cached <= goal:
            return


def empty_cache() -> None:
    """Give all memory that is not in use back to the system."""
    global _cached
    _free.clear()
    gone, _cached = _cached, 0
    _given_back(gone)


def adopt(array: np.ndarray) -> Buffer:
    """A Buffer over the memory of a C-contiguous array; the array is kept alive."""
    buffer = Buffer()
    buffer.nbytes = array.nbytes
    buffer.ptr = array.__array_interface__["data"][0]
    buffer.owner = array
    buffer.size_class = 0
    return buffer
