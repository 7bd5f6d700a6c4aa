"""What a target is: memory of a device, and programs that run there.

A target sees no Tensor and no graph that is still growing. It is handed the live part of what is pending on its device
(arguments first), makes a Program of it, and runs that on Buffers of its own. realize.py keeps what has been seen
before under the graph's signature: a Program is made once for each structure, and run with other leaves and numbers.

Programs are queued: `run` may return before anything is computed. What leaves the device (`Buffer.array`,
`synchronize`) waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from facula.devices import device
from facula.dtypes import dtype
from facula.engine.graph.node import Node
from facula.engine.runtime.buffer import Buffer


class Memory(Buffer):
    """Memory of a device. `ptr` is an address there: never to be read by the computer's own processor."""

    __slots__ = ("target",)

    target: Target

    def __init__(self, target: Target, ptr: int, nbytes: int) -> None:
        self.target = target
        self.ptr = ptr
        self.nbytes = nbytes
        self.owner = None
        self.size_class = 0  # the processor's allocator does not get it back

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

    def __del__(self) -> None:
        self.target.release(self)


class Program(Protocol):
    """The compiled live part of a graph."""

    def run(self, leaves: list[Buffer], numbers: Sequence[Any], outputs: list[Buffer]) -> None:
        """Compute `outputs` from `leaves` and the graph's run-time numbers, or have it queued."""


class Target(Protocol):
    """One device."""

    device: device

    def allocate(self, nbytes: int) -> Buffer:
        """Uninitialised memory. OutOfMemoryError if there is none."""

    def release(self, memory: Memory) -> None:
        """The memory is not needed any more by anything that will be asked for."""

    def upload(self, array: np.ndarray) -> Buffer:
        """The elements of a C-contiguous array, copied: it may be written as soon as this returns."""

    def download(self, memory: Memory, nbytes: int) -> np.ndarray:
        """The first bytes of `memory` as a new uint8 array, once everything before is done."""

    def compile(self, order: list[Node], leaves: list[Node], outputs: list[Node],
                numbers_at: dict[Node, int]) -> Program:
        """A program for the nodes `order`. NotImplementedError names what the device cannot do."""

    def synchronize(self) -> None:
        """Wait for everything that was queued. An error of a program that is done comes out here, or at a download."""
