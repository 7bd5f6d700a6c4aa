"""The values of a loop program: each is computed once a scope, in registers.

What is known once a kernel or a row is computed outside the loops below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from facula.engine.compiler.emit import casts, memory, reductions, scalar
from facula.engine.compiler.emit.kernel_builder import KernelBuilder
from facula.engine.compiler.emit.types import broadcast, element, number, rounded
from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.program.formulas import (
    POINT,
    Apply,
    Axis,
    Coordinate,
    Gather,
    Index,
    Kept,
    Literal,
    Load,
    Number,
    Total,
    Value,
)
from facula.engine.compiler.program.statements import Accumulator, LoopProgram


class NestValues(KernelBuilder):
    """Writes what is computed at one point of a LoopProgram: values, accumulators and stores."""

    vector: Axis  # that the lanes run along here
    lane = "0"  # the first one of what is being computed, where they go one by one
    vector_at: str  # where the step's first vector begins, along `vector`

    def __init__(self, program: LoopProgram, machine: Machine) -> None:
        super().__init__(machine)
        self.program = program
        self.lanes = program.lanes
        self.vector = POINT
        self.memo: dict[tuple[object, int], str] = {}
        self.scopes: list[list[tuple[object, int]]] = [[]]
        self.row_depth = 0  # number of scopes inside of a row, and of no loop below it
        self.bases: dict[tuple[object, Index], str] = {}  # positions as far as the row alone says
        self.coordinates: dict[Axis, str] = {}
        self.intervals: dict[Axis, tuple[str, str]] = {}  # what is left of an axis for the loops inside
        self.rests: dict[Axis, tuple[str, str]] = {}  # what the loop over whole units left over
        self.ends: dict[Axis, str] = {}  # of an axis, where masks reach beyond the interval
        self.mask: str | None = None  # of the vector being worked on; None: all lanes
        self.masks: list[str] = []  # one for each vector of the step
        self.accumulators: dict[tuple[Accumulator, int], list[str]] = {}

    def size(self, axis: Axis) -> str:
        return "1" if axis.fixed else self.argument(axis.extent, ("size", axis))

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Values made inside are forgotten at the end."""
        self.scopes.append([])
        yield
        for key in self.scopes.pop():
            self.memo.pop(key, None)

    def prelude(self, value: Value) -> None:
        code, self.code = self.code, self.entry
        self.memo[value, 0] = self._make(value, 0)
        self.code = code

    def value(self, value: Value, u: int) -> str:
        """The register (or constant) that holds `value`: a vector if value.vector, else a scalar."""
        key = (value, u if value.vector else 0)
        name = self.memo.get(key)
        if name is None:
            if isinstance(value, Literal):
                return number(value.value, value.dtype)
            name = self.memo[key] = self._make(value, key[1])
            self.scopes[-1].append(key)
        return name

    def vector_value(self, value: Value, u: int) -> str:
        name = self.value(value, u)
        if value.vector:
            return name
        return broadcast(self.code, name, element(value.dtype), self.lanes)

    def _make(self, value: Value, u: int) -> str:
        match value:
            case Apply():
                return self._apply(value, u)
            case Load():
                return memory.load(self, value, u)
            case Gather():
                return memory.gather(self, value, u)
            case Coordinate():
                return memory.coordinate(self, value, u)
            case Kept():
                return memory.load_scratch(self, value, u)
            case Number():
                return self.run_time_number(value.at, value.dtype)
            case Total():
                return self.memo[value.of, u]
            case Literal():
                return number(value.value, value.dtype)
        raise AssertionError(f"{value!r} is asked for before it is known")

    def _apply(self, value: Apply, u: int) -> str:
        code, fn = self.code, value.fn
        lanes = self.lanes if value.vector else 1
        args = [self.vector_value(a, u) if value.vector else self.value(a, u) for a in value.args]
        if fn == "cast":
            return casts.cast(code, args[0], value.args[0].dtype, value.dtype, lanes)
        if fn == "round16":
            return rounded(code, value.dtype, args[0], lanes)
        kind = value.args[1].dtype if fn == "where" else value.args[0].dtype
        return scalar.emit(code, fn, kind, lanes, args)

    def lane_block(self, u: int) -> None:
        """From here on, masked operations are about the u-th vector of the step."""
        self.mask = self.masks[u] if self.masks else None

    def start(self, accumulators: Sequence[Accumulator], vectors: int) -> None:
        for a in accumulators:
            for u in range(vectors):
                self.accumulators[a, u] = reductions.start(self, a)

    def flush(self, accumulators: Sequence[Accumulator], vectors: int) -> None:
        for a in accumulators:
            for u in range(vectors):
                reductions.flush(self, a, self.accumulators[a, u])

    def finish(self, accumulators: Sequence[Accumulator], vectors: int) -> None:
        for a in accumulators:
            slots = [self.accumulators.pop((a, u)) for u in range(vectors)]
            if a.across:
                results = [reductions.finish(self, a, slots)]
            else:
                results = [reductions.result(self, a, one) for one in slots]
            for u, name in enumerate(results):
                self.memo[a, u] = name
                self.scopes[-1].append((a, u))
