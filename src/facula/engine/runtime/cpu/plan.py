"""A `PlanSpec` made executable: machine code loaded, everything that no run changes packed beforehand.

A run makes two small tables of its own (pointers, numbers), so that one plan may run in several Python
threads at once, and inside itself. Temporaries lie in one block, the arena, which a plan keeps for its
next run if it is small.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Sequence
from math import prod
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from facula import config
from facula.dtypes import float32
from facula.engine.cpython import builtin_code, execute_code, selftest
from facula.engine.cpython.fingerprint import slot_offsets
from facula.engine.graph.node import BUFFER, Node
from facula.engine.runtime.buffer import ALIGN, Buffer, allocate
from facula.engine.runtime.cpu import jit, launch
from facula.engine.runtime.cpu.pool import workers
from facula.errors import VerifyError

if TYPE_CHECKING:  # data only: the runtime does not call the compiler
    from facula.engine.compiler.plan import HostStep, PlanSpec

_address = attrgetter("ptr")
_NOTHING: tuple[Node, ...] = ()
_call: Callable[[Any], Any] = functools.partial.__call__  # Python's own: signals wait
KEEP_ARENA = config.threshold("arena_bytes")  # bytes of temporaries that stay with a plan between runs


class _Arena:
    """The temporaries of one run: their memory, and its addresses as they stand in the pointer table."""

    __slots__ = ("buffer", "table")

    def __init__(self, buffer: Buffer, table: bytes) -> None:
        self.buffer = buffer
        self.table = table


class Plan:
    """The processor's Program (targets/protocol.py). `aliases` is the spec's: the caller passes the leaf's buffer as
    output."""

    timed = True

    def __init__(self, spec: PlanSpec) -> None:
        self.spec = spec
        self.aliases = spec.aliases
        self.number = 0  # that FACULA_DEBUG names it by
        launches = spec.launches()
        self._segments = _segments(launches)
        self._launch = launch.run()
        self._execute = _execute()
        self._pack_pointers = _packer(f"={spec.leaves + spec.outputs}Q")
        # The order of native numbers, and their format: 8x leaves a place that no kernel reads.
        self._native_numbers = [k for k, form in enumerate(spec.formats) if form]
        self._pack_numbers = _packer("=" + "".join([form or "8x" for form in spec.formats]))
        self._all_native = len(self._native_numbers) == len(spec.formats)
        self._offsets: list[int] = []
        self._arena_bytes = 0
        for size in spec.temporaries:
            self._offsets.append(self._arena_bytes)
            self._arena_bytes += -(-(size or 1) // ALIGN) * ALIGN
        if config.VERIFY.value:
            verify_arena(spec.temporaries, self._offsets, self._arena_bytes)
        self._spare: list[_Arena] = []
        self._keeps = False  # from the second run on: of plans that run once the memory would lie about
        self._parallel = any(type(one) is tuple and one[3] >= launch.SHARED and one[2] > 1 for one in launches)
        only = self._segments[0] if len(self._segments) == 1 else None
        self._program = only if isinstance(only, bytes) else None
        if self._execute is not None and self._program is not None and not self._offsets and not self._parallel:
            # `execute` itself, with nothing of Python's in between
            self.execute = functools.partial(self._execute, self._program, b"")  # type: ignore[method-assign]
        self.weight = 2000 + 1500 * len(launches) + (self._arena_bytes if self._arena_bytes <= KEEP_ARENA else 0)

    def run(self, leaves: list[Buffer], numbers: Sequence[Any], outputs: list[Buffer]) -> None:
        """Compute `outputs` from `leaves`. All buffers are at least as large as the plan's shapes ask for."""
        self.start(leaves, numbers, outputs)()

    def start(self, leaves: list[Buffer], numbers: Sequence[Any], outputs: list[Buffer]) -> Callable[[], None]:
        """What computes `outputs` from `leaves`. If an exception came in between, it may be called again: it goes on
        where it was, and does nothing twice that would overwrite what it has read."""
        table = self._pack_pointers(*map(_address, leaves), *map(_address, outputs))
        if self._all_native and len(numbers) == len(self._native_numbers):
            packed = self._pack_numbers(*numbers)
        else:
            packed = self._pack_numbers(*[numbers[k] for k in self._native_numbers])
        arena = None
        if self._offsets:
            arena = self._take_arena()
            table += arena.table
        calls: dict[int, Any] = {}
        done: list[Any] = []
        todo: list[Callable[[], Any]] = []
        for segment in self._segments:
            if isinstance(segment, bytes):
                todo.append(functools.partial(self._launch, segment, table, packed))
            else:
                view = self._view([*leaves, *outputs], arena)
                todo.append(functools.partial(segment.compute, view, numbers, calls))
                todo.append(functools.partial(segment.store, view, calls, done, len(todo) - 1))

        def go_on() -> None:
            if self._parallel and not workers.running:
                workers.start()
            done.extend(map(_call, todo[len(done):]))  # each is done, and noted, without a place for signals between
            if arena is not None:
                self._leave(arena)
        return go_on

    def direct(self, numbers: Sequence[Any]) -> Callable[[np.ndarray], None] | None:
        """`run`, again and again, on memory given by its addresses, which the caller holds: once for each row of a
        table (times, leaves and outputs) of int64. None if there are host steps."""
        program, launch = self._program, self._launch
        if program is None:
            return None
        packed = self._pack_numbers(*[numbers[k] for k in self._native_numbers])
        width = 8 * (self.spec.leaves + self.spec.outputs)

        def run(addresses: np.ndarray) -> None:
            if self._parallel and not workers.running:
                workers.start()
            arena = self._take_arena() if self._offsets else None
            temporaries = b"" if arena is None else arena.table
            tables = addresses.tobytes()
            for at in range(0, len(tables), width):
                launch(program, tables[at:at + width] + temporaries, packed)
            if arena is not None and self._arena_bytes <= KEEP_ARENA:
                self._spare.append(arena)
        return run

    def recipe(self, reads: Sequence[int], results: Sequence[int], picks: Sequence[int]) -> bytes | None:
        """How `execute` finds leaves, results and numbers in lists; None if it cannot serve."""
        if self._execute is None or self._program is None:
            return None
        kinds = {"q": execute_code.INTEGER, "d": execute_code.FLOAT}
        numbers = [place << 2 | kinds.get(form, execute_code.UNUSED)
                   for place, form in zip(picks, self.spec.formats, strict=False)]  # formats end with the last one used
        words = [len(reads), len(results), len(numbers), len(self._offsets), id(BUFFER), id(_NOTHING),
                 *reads, *results, *numbers]
        if len(words) + len(self._offsets) > execute_code.MOST:
            return None
        return struct.pack(f"={len(words)}q", *words)

    def execute(self, recipe: bytes, nodes: list[Node], leaves: list[Node], numbers: list[Any],
                results: list[Buffer]) -> None:
        """`run`, straight from the lists: nodes[k] becomes a leaf whose memory is results[j], as `recipe` says."""
        if self._parallel and not workers.running:
            workers.start()
        if not self._offsets:
            self._execute(self._program, b"", recipe, nodes, leaves, numbers, results)  # type: ignore[misc]
            return
        arena = self._take_arena()
        self._execute(self._program, arena.table, recipe, nodes, leaves, numbers, results)  # type: ignore[misc]
        if self._keeps:
            self._spare.append(arena)
        else:
            self._keeps = self._arena_bytes <= KEEP_ARENA

    def _leave(self, arena: _Arena) -> None:
        if self._keeps:
            self._spare.append(arena)
        else:
            self._keeps = self._arena_bytes <= KEEP_ARENA

    def _take_arena(self) -> _Arena:
        try:
            return self._spare.pop()
        except IndexError:
            block = allocate(self._arena_bytes)
            addresses = [block.ptr + at for at in self._offsets]
            return _Arena(block, struct.pack(f"={len(addresses)}Q", *addresses))

    def _view(self, buffers: list[Buffer], arena: _Arena | None) -> Callable[[int, int], Any]:
        """slot, bytes -> its memory as a uint8 array."""
        def view(slot: int, nbytes: int) -> Any:
            if slot < len(buffers):
                return np.asarray(buffers[slot])[:nbytes] if nbytes else np.empty(0, np.uint8)
            assert arena is not None
            start = self._offsets[slot - len(buffers)]
            return np.asarray(arena.buffer)[start:start + nbytes]
        return view

    def run_timed(self, leaves: list[Buffer], numbers: list[Any], outputs: list[Buffer]) -> list[int]:
        """As `run`; returns the nanoseconds each step of the spec took."""
        import time

        if self._parallel and not workers.running:
            workers.start()
        timed = launch.run_timed()
        table = self._pack_pointers(*[b.ptr for b in leaves], *[b.ptr for b in outputs])
        packed = self._pack_numbers(*[numbers[k] for k in self._native_numbers])
        arena = self._take_arena() if self._offsets else None
        table += arena.table if arena is not None else b""
        calls: dict[int, Any] = {}
        took: list[int] = []
        for segment in self._segments:
            if isinstance(segment, bytes):
                times = (ctypes.c_int64 * int.from_bytes(segment[8:16], "little"))()
                timed(segment, table, packed, ctypes.addressof(times))
                took += times
            else:
                started = time.perf_counter_ns()
                segment.run(self._view([*leaves, *outputs], arena), numbers, calls)
                took.append(time.perf_counter_ns() - started)
        return took

    def __repr__(self) -> str:
        return f"<Plan of {len(self.spec.steps)} steps>\n{self.spec.describe()}"


@functools.cache
def _execute() -> Callable[..., None] | None:
    """The builtin function of execute_code.py; None if this Python takes no builtins."""
    if not launch.can_emit_builtin():
        return None
    node, buffer = slot_offsets(Node, ("buffer", "op", "inputs", "attrs", "scalars")), slot_offsets(Buffer, ("ptr",))
    text = execute_code.execute(node, buffer)
    made = _loaded(text, launch.native()["launch"])
    return selftest.trusted("execute", text, made, lambda: selftest.objects_are_as_known(Node, node)
                            and selftest.objects_are_as_known(Buffer, buffer, allocate(64)) and _executes(text))


def _loaded(text: str, address: int) -> Callable[..., None]:
    imports = launch.python_symbols((*builtin_code.SYMBOLS, "PyErr_NoMemory")) | {"launch": address}
    return launch.builtin("execute", jit.module(text, ["execute"], imports)["execute"])


def _executes(text: str) -> bool:
    """Does it hand over what `Plan.run` would, and make leaves of the results? With a `launch` that only looks."""
    seen: list[tuple[bytes, bytes, bytes]] = []

    def look(program: int, table: int, numbers: int, nothing: int) -> int:
        seen.append((ctypes.string_at(program, 3), ctypes.string_at(table, 6 * 8), ctypes.string_at(numbers, 3 * 8)))
        return 0

    launched = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(look)
    run = _loaded(text, ctypes.cast(launched, ctypes.c_void_p).value or 0)
    nodes, leaves = ([Node(BUFFER, (), (k,), (k,), (), float32) for k in range(3)] for _ in range(2))
    for source in leaves:
        source.buffer = allocate(64)
    results = [allocate(64), allocate(64)]
    numbers = [7, 2.5, -1, -1.0]
    words = [3, 2, 3, 1, id(BUFFER), id(_NOTHING), 2, 0, 1, 2, 0, 1 << 2 | execute_code.FLOAT,
             2 << 2 | execute_code.INTEGER, 3 << 2 | execute_code.FLOAT]
    run(b"abc", struct.pack("=q", 99), struct.pack(f"={len(words)}q", *words), nodes, leaves, numbers, results)
    memory = [leaves[k].buffer.ptr for k in (2, 0, 1)]  # type: ignore[union-attr]
    expected = struct.pack("=6Q", *memory, *map(_address, results), 99), struct.pack("=dqd", 2.5, -1, -1.0)
    leaf = [(n.op, n.inputs, n.attrs, n.scalars, n.buffer) for n in nodes]
    return (seen == [(b"abc", *expected)] and leaf[1] == (BUFFER, (), (1,), (1,), None)
            and all(leaf[k] == (BUFFER, (), None, None, r) for k, r in zip((2, 0), results, strict=True)))


class _Host:
    """A host step with the Nodes that its interpreter call needs made once."""

    __slots__ = ("step", "node", "places")

    def __init__(self, step: HostStep) -> None:
        self.step = step
        inputs = tuple([Node(BUFFER, (), None, None, shape, of) for _, shape, of, _ in step.inputs])
        self.node = Node(step.op, inputs, step.attrs, None, step.shape, step.dtype)
        self.places = [(slot, call, prod(shape) * of.itemsize, of.numpy, shape)
                       for slot, shape, of, call in step.inputs]

    def run(self, view: Callable[[int, int], Any], numbers: Sequence[Any], calls: dict[int, Any]) -> None:
        self.store(view, calls, [self.compute(view, numbers, calls)], 0)

    def compute(self, view: Callable[[int, int], Any], numbers: Sequence[Any], calls: dict[int, Any]) -> Any:
        """The result. Nothing is written."""
        from facula.engine.runtime import interpreter

        step, node = self.step, self.node
        if step.numbers:  # a Node of this run's own: another run may be using ours
            scalars = tuple(numbers[step.number_at:step.number_at + step.numbers])
            node = Node(node.op, node.inputs, node.attrs, scalars, node.shape, node.dtype)
        arrays = [calls[call] if call >= 0 else view(slot, nbytes).view(of).reshape(shape)
                  for slot, call, nbytes, of, shape in self.places]
        result = interpreter.compute(node, arrays)
        if step.call < 0 and result.base is not None and np.may_share_memory(result, self._out(view)):
            result = np.array(result)  # `store` may be called twice
        return result

    def store(self, view: Callable[[int, int], Any], calls: dict[int, Any], done: list[Any], at: int) -> None:
        """Write what `compute` has given, done[at], and forget it."""
        result = done[at]
        if self.step.call >= 0:
            calls[self.step.call] = result
        elif result is not None:  # "no": another type would be the interpreter's mistake
            np.copyto(self._out(view), result, casting="no")
            done[at] = None

    def _out(self, view: Callable[[int, int], Any]) -> Any:
        step = self.step
        return view(step.slot, prod(step.shape) * step.dtype.itemsize).view(step.dtype.numpy).reshape(step.shape)


def _segments(launches: Sequence[tuple[Any, ...] | HostStep]) -> list[bytes | _Host]:
    """Runs of native steps as programs, host steps between them."""
    found: list[bytes | _Host] = []
    native: list[tuple[int, Sequence[int], int, float]] = []
    for one in launches:
        if type(one) is tuple:
            kernel, args, tiles, cost, *_ = one
            native.append((jit.get(kernel), args, tiles, cost))
        else:
            if native:
                found.append(launch.program(native))
                native = []
            found.append(_Host(one))  # type: ignore[arg-type]
    if native or not found:
        found.append(launch.program(native))
    return found


@functools.lru_cache(512)
def _packer(form: str) -> Callable[..., bytes]:
    return struct.Struct(form).pack


def verify_arena(sizes: Sequence[int], offsets: Sequence[int], total: int) -> None:
    """Temporaries lie aligned in the arena, inside it, and beside each other."""
    end = 0
    for start, size in sorted(zip(offsets, sizes, strict=True)):
        if start % ALIGN:
            raise VerifyError(f"a temporary at byte {start} of the arena, which is not a multiple of {ALIGN}")
        if start < end or start + size > total:
            raise VerifyError(f"a temporary of {size} bytes at byte {start} of an arena of {total}: another ends at "
                              f"byte {end}")
        end = start + size
