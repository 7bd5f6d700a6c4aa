"""A pretend accelerator: what the rules about devices are tested on, and the smallest example of a target.

Its memory is in an address space of its own, in which no address means anything to the processor; it works through a
queue in a thread of its own, so that whatever forgets to wait for it reads what is not there yet. It runs the plans
that the compiler makes, by what their loop programs mean (engine/evaluator/). PyTorch's name for a device of one's own
is `privateuseone`.
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
from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.pipeline import compile_plan
from facula.engine.compiler.plan import PlanSpec
from facula.engine.evaluator import plan as evaluator
from facula.engine.graph.node import Node
from facula.engine.realize import flush
from facula.engine.runtime.buffer import Buffer
from facula.engine.targets.protocol import Memory, Pinned, Program, Target, release_dropped
from facula.engine.targets.usage import Usage
from facula.errors import OutOfMemoryError

KIND = "privateuseone"
MACHINE = Machine()
_addresses = itertools.count(1 << 56, 1 << 32)  # no processor has an address there; no two devices have the same


class PretendAccelerator(Target):
    """The target of one device `privateuseone:k`, with `capacity` bytes of memory."""

    usage: Usage

    def __init__(self, place: device, capacity: int = 1 << 32) -> None:
        self.device = place
        self.capacity = capacity
        self.usage = Usage()
        self.memory: dict[int, np.ndarray] = {}  # belongs to the thread
        self.queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._failed: list[Exception] = []
        self._busy = False
        threading.Thread(target=self._work, name=str(place), daemon=True).start()

    def _work(self) -> None:
        while True:
            job = self.queue.get()
            self._busy = True
            try:
                job()
            except Exception as error:  # comes out where somebody waits
                self._failed.append(error)
            del job
            self._busy = False

    def allocate(self, nbytes: int, size_class: int = 0) -> Buffer:
        if nbytes > self.memory_info()[0]:
            raise OutOfMemoryError(f"{self.device}: {nbytes} bytes are asked for, {self.memory_info()[0]} of "
                                   f"{self.capacity} are free")
        self.usage.add(nbytes)
        address = next(_addresses)
        # garbage: what is read before it is written must show
        self.queue.put(lambda: self.memory.__setitem__(address, np.full(nbytes, 0xA5, np.uint8)))
        return Memory(self, address, nbytes)

    def release(self, memory: Memory) -> None:
        self.usage.remove(memory.nbytes)
        address = memory.ptr
        self.queue.put(lambda: self._forget(address))

    def upload(self, array: np.ndarray) -> Buffer:
        held = array.reshape(-1).view(np.uint8).copy()
        memory = self.allocate(held.nbytes)
        address = memory.ptr
        self.queue.put(lambda: self._put(address, held))
        return memory

    def upload_pinned(self, memory: Pinned, array: np.ndarray) -> Buffer:
        source = array.reshape(-1).view(np.uint8)  # no copy
        found = self.allocate(source.nbytes)
        address = found.ptr
        self.queue.put(lambda: self._put(address, source))
        return found

    def download(self, memory: Memory, nbytes: int) -> np.ndarray:
        found: list[np.ndarray] = []
        address = memory.ptr
        self.queue.put(lambda: found.append(self.memory[address][:nbytes].copy()))
        self.synchronize()
        return found[0]

    def synchronize(self) -> None:
        done = threading.Event()
        self.queue.put(done.set)
        done.wait()
        if self._failed:
            raise self._failed.pop(0)

    @property
    def used(self) -> int:
        """Bytes that are allocated."""
        release_dropped()
        return self.usage.bytes

    def memory_info(self) -> tuple[int, int]:
        release_dropped()
        return self.capacity - self.usage.bytes, self.capacity

    def idle(self) -> bool:
        return self.queue.empty() and not self._busy

    def compile(self, order: list[Node], leaves: list[Node], outputs: list[Node],
                numbers_at: dict[Node, int], donated: frozenset[Node]) -> Program:
        return _Evaluated(self, compile_plan(order, leaves, outputs, numbers_at, donated, MACHINE))

    def _forget(self, address: int) -> None:
        del self.memory[address]

    def _put(self, address: int, data: np.ndarray) -> None:
        self.memory[address][:data.nbytes] = data


class _Evaluated(Program):
    """A compiled plan that runs in the device's thread, by what its steps mean."""

    def __init__(self, target: PretendAccelerator, spec: PlanSpec) -> None:
        self._target = target
        self._spec = spec
        self.aliases = spec.aliases

    def run(self, leaves: list[Buffer], numbers: Sequence[Any], outputs: list[Buffer]) -> None:
        for buffer in leaves:
            if not isinstance(buffer, Memory) or buffer.target is not self._target:
                raise RuntimeError(f"{self._target.device}: a value is in the memory of another device, or of one that "
                                   "this machine has no more")
        sources, results, values = [b.ptr for b in leaves], [b.ptr for b in outputs], list(numbers)
        self._target.queue.put(lambda: self._compute(sources, values, results))

    def _compute(self, sources: list[int], numbers: list[Any], results: list[int]) -> None:
        memory = self._target.memory
        evaluator.run(self._spec, [memory[ptr] for ptr in sources], numbers, [memory[ptr] for ptr in results])


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
