"""A pretend accelerator: what the rules about devices are tested on, and the smallest example of a target.

Its memory is in an address space of its own, in which no address means anything to the processor; it works through a
queue in a thread of its own, so that whatever forgets to wait for it reads what is not there yet. It computes by
evaluating the graph in NumPy. PyTorch's name for a device of one's own is `privateuseone`.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from facula.devices import device
from facula.engine import targets
from facula.engine.graph.node import CONST, Node
from facula.engine.realize import flush
from facula.engine.runtime import interpreter
from facula.engine.runtime.buffer import Buffer
from facula.engine.targets.protocol import Memory, Program
from facula.errors import OutOfMemoryError

KIND = "privateuseone"
_addresses = itertools.count(1 << 56, 1 << 32)  # no processor has an address there; no two devices have the same


class PretendAccelerator:
    """The target of one device `privateuseone:k`, with `capacity` bytes of memory."""

    def __init__(self, place: device, capacity: int = 1 << 32) -> None:
        self.device = place
        self.capacity = capacity
        self.used = 0
        self._memory: dict[int, np.ndarray] = {}  # belongs to the thread
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._failed: list[Exception] = []
        threading.Thread(target=self._work, name=str(place), daemon=True).start()

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            try:
                job()
            except Exception as error:  # comes out where somebody waits
                self._failed.append(error)
            del job

    def allocate(self, nbytes: int) -> Buffer:
        if self.used + nbytes > self.capacity:
            raise OutOfMemoryError(f"{self.device}: {nbytes} bytes are asked for, {self.capacity - self.used} of "
                                   f"{self.capacity} are free")
        self.used += nbytes
        address = next(_addresses)
        # garbage: what is read before it is written must show
        self._queue.put(lambda: self._memory.__setitem__(address, np.full(nbytes, 0xA5, np.uint8)))
        return Memory(self, address, nbytes)

    def release(self, memory: Memory) -> None:
        self.used -= memory.nbytes
        address = memory.ptr
        self._queue.put(lambda: self._forget(address))

    def upload(self, array: np.ndarray) -> Buffer:
        held = array.reshape(-1).view(np.uint8).copy()
        memory = self.allocate(held.nbytes)
        address = memory.ptr
        self._queue.put(lambda: self._put(address, held))
        return memory

    def download(self, memory: Memory, nbytes: int) -> np.ndarray:
        found: list[np.ndarray] = []
        address = memory.ptr
        self._queue.put(lambda: found.append(self._memory[address][:nbytes].copy()))
        self.synchronize()
        return found[0]

    def synchronize(self) -> None:
        done = threading.Event()
        self._queue.put(done.set)
        done.wait()
        if self._failed:
            raise self._failed.pop(0)

    def compile(self, order: list[Node], leaves: list[Node], outputs: list[Node],
                numbers_at: dict[Node, int]) -> Program:
        return _Evaluated(self, order, leaves, outputs, numbers_at)

    def _forget(self, address: int) -> None:
        del self._memory[address]

    def _put(self, address: int, data: np.ndarray) -> None:
        self._memory[address][:data.nbytes] = data

    def _get(self, address: int, node: Node) -> np.ndarray:
        count = int(np.prod(node.shape, dtype=np.int64)) * node.dtype.itemsize
        return self._memory[address][:count].view(node.dtype.numpy).reshape(node.shape)


class _Evaluated:
    """A graph's live part, without the nodes themselves: these change once they have been computed."""

    def __init__(self, target: PretendAccelerator, order: list[Node], leaves: list[Node], outputs: list[Node],
                 numbers_at: dict[Node, int]) -> None:
        self._target = target
        self._steps: list[tuple[Node, list[int], int | None]] = []  # (node, its inputs by place, where its numbers are)
        self._constants: list[tuple[int, Node, int]] = []
        places = {id(node): k for k, node in enumerate(leaves)}
        self._leaves = [_bare(node) for node in leaves]
        self._outputs: list[int] = []
        for node in order:
            for source in node.inputs:
                if source.op is CONST and id(source) not in places:
                    places[id(source)] = len(places)
                    self._constants.append((places[id(source)], _bare(source), numbers_at[source]))
        for node in order:
            self._steps.append((_bare(node), [places[id(source)] for source in node.inputs], numbers_at.get(node)))
            places[id(node)] = len(places)
        self._outputs = [places[id(node)] for node in outputs]
        self._first = len(self._leaves) + len(self._constants)

    def run(self, leaves: list[Buffer], numbers: Sequence[Any], outputs: list[Buffer]) -> None:
        for buffer in leaves:
            if not isinstance(buffer, Memory) or buffer.target is not self._target:
                raise RuntimeError(f"{self._target.device}: a value is in the memory of another device, or of one that "
                                   "this machine has no more")
        sources, results, values = [b.ptr for b in leaves], [b.ptr for b in outputs], list(numbers)
        self._target._queue.put(lambda: self._compute(sources, values, results))

    def _compute(self, sources: list[int], numbers: list[Any], results: list[int]) -> None:
        target = self._target
        values: list[Any] = [target._get(ptr, node) for ptr, node in zip(sources, self._leaves, strict=True)]
        for _, node, at in self._constants:
            values.append(interpreter.compute(_with(node, numbers, at), []))
        for node, inputs, start in self._steps:
            values.append(interpreter.compute(_with(node, numbers, start), [values[k] for k in inputs]))
        for place, ptr in zip(self._outputs, results, strict=True):
            target._put(ptr, np.ascontiguousarray(values[place]).reshape(-1).view(np.uint8))


def _bare(node: Node) -> Node:
    """What a node says of itself, with inputs that have a shape and a dtype only."""
    inputs = tuple([Node(CONST, (), None, None, i.shape, i.dtype) for i in node.inputs])
    return Node(node.op, inputs, node.attrs, node.scalars, node.shape, node.dtype)


def _with(node: Node, numbers: list[Any], at: int | None) -> Node:
    if at is None or not node.scalars:
        return node
    scalars = tuple(numbers[at:at + len(node.scalars)])
    return Node(node.op, node.inputs, node.attrs, scalars, node.shape, node.dtype)


@contextmanager
def pretend_accelerator(count: int = 1, capacity: int = 1 << 32) -> Iterator[device]:
    """Inside, this machine has `count` devices `privateuseone`. Gives the first.

    Example:
        >>> import facula
        >>> from facula.testing.accelerator import pretend_accelerator
        >>> with pretend_accelerator() as there:
        ...     x = facula.arange(3.0, device=there)
        ...     print((x * 2).tolist(), x.device)
        [0.0, 2.0, 4.0] privateuseone:0
    """
    targets.register(KIND, count, lambda place: PretendAccelerator(place, capacity))
    try:
        yield device(KIND, 0)
    finally:
        try:
            flush()
        finally:
            targets.unregister(KIND)
