"""What a target is: memory of a device, and programs that run there.

A target sees no Tensor and no graph that is still growing. It is handed the live part of what is pending on its device
(arguments first), makes a Program of it, and runs that on Buffers of its own. realize.py keeps what has been seen
before under the graph's signature: a Program is made once for each structure, and run with other leaves and numbers.

Programs are queued: `run` may return before anything is computed. What leaves the device (`Buffer.array`,
`synchronize`) waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from facula.devices import device
from facula.dtypes import dtype
from facula.engine.graph.node import Node, Primitive
from facula.engine.runtime.buffer import ALIGN, Buffer
from facula.engine.targets.usage import Usage
from facula.undisturbed import undisturbed

dropped: list[Memory] = []  # what nobody holds any more


class Memory(Buffer):
    """Memory of a device. `ptr` is an address there: never to be read by the computer's own processor."""

    __slots__ = ("target",)

    target: Target

    @undisturbed  # memory that is half made could not be given back
    def __init__(self, target: Target, ptr: int, nbytes: int) -> None:
        self.target = target
        self.ptr = ptr
        self.nbytes = nbytes
        self.owner = None
        self.size_class = max(nbytes, 1)  # the engine's own: it may be taken over. `release` gets it back, in any case

    def array(self, shape: tuple[int, ...], of: dtype) -> np.ndarray:
        """A copy of the elements, which the device has finished computing; not to be written."""
        count = 1
        for n in shape:
            count *= n
        found = self.target.download(self, count * of.itemsize).view(of.numpy).reshape(shape)
        found.flags.writeable = False
        return found

    @property
    def __array_interface__(self) -> dict[str, object]:
        raise TypeError(f"memory of device {self.target.device} cannot be read in place")

    @undisturbed
    def __del__(self, dropped: list[Memory] = dropped) -> None:
        """For `release_dropped`: what a signal handler raised in a target's own code would be lost in here."""
        dropped += [self]


def release_dropped() -> None:
    """Tell the targets of memory that nobody holds any more. Asked before anything else is asked of a target."""
    while dropped:
        try:
            memory = dropped.pop()
        except IndexError:  # another thread's
            break
        if hasattr(memory, "target"):  # or it was never made: before Python 3.11 a signal may come anywhere
            memory.target.release(memory)


class Pinned(Buffer):
    """Memory of the computer's own that a device reads without a copy: whatever is written goes into it at once."""

    __slots__ = ("target",)

    target: Target

    def __init__(self, target: Target, block: np.ndarray, nbytes: int) -> None:
        start = block.__array_interface__["data"][0]
        self.target = target
        self.ptr = (start + ALIGN - 1) & -ALIGN
        self.nbytes = nbytes
        self.owner = block[:]  # a view: memory that somebody else holds
        self.size_class = 0


class Program:
    """The compiled live part of a graph. What a device cannot do, or has no need of, it inherits from here."""

    aliases: Mapping[int, int] = MappingProxyType({})  # output -> donated leaf: its memory is given for the output
    weight = 4096  # bytes that it keeps, about
    timed = False  # does `run_timed` measure its steps, for FACULA_DEBUG and `facula explain`?

    def run(self, leaves: list[Buffer], numbers: Sequence[Any], outputs: list[Buffer]) -> None:
        """Compute `outputs` from `leaves` and the graph's run-time numbers, or have it queued."""
        raise NotImplementedError

    def start(self, leaves: list[Buffer], numbers: Sequence[Any], outputs: list[Buffer]) -> Callable[[], None]:
        """`run`, to be called. Where memory is given over (`aliases`) and an exception has come in between, it is
        called again: a program that writes there in several steps has to go on where it was."""
        return partial(self.run, leaves, numbers, outputs)

    def direct(self, numbers: Sequence[Any]) -> Callable[[np.ndarray], None] | None:
        """`run` with these numbers again and again, on memory given by its addresses and held by the caller: parts of
        arrays, say. What is called takes a table (times, leaves and outputs) of int64. None: there is no such way."""
        return None

    def recipe(self, reads: Sequence[int], results: Sequence[int], picks: Sequence[int]) -> bytes | None:
        """How `execute` finds leaves, results and numbers in a step's lists. None: nothing is quicker than `run`."""
        return None

    def execute(self, recipe: bytes, nodes: list[Node], leaves: list[Node], numbers: list[Any],
                results: list[Buffer]) -> None:
        """`run`, straight from the lists of a step; `nodes` become leaves. Called where there is a recipe."""
        raise NotImplementedError

    def run_timed(self, leaves: list[Buffer], numbers: list[Any], outputs: list[Buffer]) -> list[int]:
        """As `run`; nanoseconds for each step of its `spec`. Called where `timed`."""
        raise NotImplementedError


class Target:
    """One device. Whatever has a body here works for a device that says nothing of it."""

    device: device

    def allocate(self, nbytes: int, size_class: int = 0) -> Buffer:
        """Uninitialised memory. OutOfMemoryError if there is none, after `release_dropped`. (`size_class` is the
        processor's own affair.)"""
        raise NotImplementedError

    def release(self, memory: Memory) -> None:
        """The memory is not needed any more by anything that will be asked for."""

    def upload(self, array: np.ndarray) -> Buffer:
        """The elements of a C-contiguous array, copied: it may be written as soon as this returns."""
        raise NotImplementedError

    def download(self, memory: Memory, nbytes: int) -> np.ndarray:
        """The first bytes of `memory` as a new uint8 array, once everything before is done."""
        raise NotImplementedError

    def supports(self, op: Primitive, inputs: tuple[Node, ...], shape: tuple[int, ...], of: dtype) -> str:
        """Why the device cannot have such a value; "" if it can. Asked when the operation is called (BUFFER: when
        elements come from elsewhere; CONST: a constant), so that the error names it."""
        return ""

    def compile(self, order: list[Node], leaves: list[Node], outputs: list[Node], numbers_at: dict[Node, int],
                donated: frozenset[Node]) -> Program | None:
        """A program for the nodes `order`, which may overwrite the leaves `donated`. None: it is for `interpret`."""
        raise NotImplementedError

    def interpret(self, order: list[Node], outputs: list[Node]) -> None:
        """Compute `order` node by node and keep the `outputs` among it. Called where `compile` gave no program."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait for everything that was queued. An error of a program that is done comes out here, or at a download."""

    # ---- the computer's memory beside the device ----------------------------------------------------------

    def pin(self, nbytes: int) -> Pinned:
        """Memory of the computer's that `upload_pinned` reads in the device's own time."""
        return Pinned(self, np.empty(nbytes + ALIGN, np.uint8), nbytes)

    def upload_pinned(self, memory: Pinned, array: np.ndarray) -> Buffer:
        """As `upload` of an array in `memory`, but what is written there before the device has read may be what it
        reads. It is kept until then."""
        return self.upload(array)

    # ---- questions ----------------------------------------------------------------------------------------

    usage: Usage | None = None  # what `allocate` and `release` have told of memory; None: nobody counts

    def memory_info(self) -> tuple[int, int]:
        """Bytes that are free, and bytes that there are."""
        raise NotImplementedError(f"device {self.device} does not say how much memory it has")

    def empty_cache(self) -> None:
        """Give back what is kept for reuse."""

    def idle(self) -> bool:
        """Is everything done that was queued? A device that cannot tell waits for it."""
        self.synchronize()
        return True

    def capability(self) -> dict[str, object]:
        """What it says of itself: a name, versions, numbers of processors."""
        return {}
