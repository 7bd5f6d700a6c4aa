"""The values of a loop nest: each is computed once a scope, in registers.

What is known once a kernel or a row is computed outside the loops below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from facula.engine.compiler.affine import Affine
from facula.engine.compiler.emit import casts, memory, reductions, scalar
from facula.engine.compiler.emit.kernel_builder import KernelBuilder
from facula.engine.compiler.emit.types import broadcast, element, number, rounded
from facula.engine.compiler.loops import Nest, Store
from facula.engine.compiler.values import Val


class NestValues(KernelBuilder):
    """Writes what is computed at one point of a Nest: values, accumulators and stores."""

    vector_at: str  # where the step's first vector begins, along the vector's dimension

    def __init__(self, nest: Nest, vector_bytes: int) -> None:
        super().__init__(vector_bytes)
        self.nest = nest
        self.lanes = nest.lanes
        self.memo: dict[tuple[Val, int], str] = {}
        self.scopes: list[list[tuple[Val, int]]] = [[]]
        self.bases: dict[tuple[object, Affine], str] = {}
        self.coordinates: dict[int, str] = {}
        self.mask: str | None = None  # of the vector being worked on; None: all lanes
        self.masks: list[str] = []  # one for each vector of the step
        self.phase = 0
        self.accumulators: dict[tuple[Val, int], list[str]] = {}

    def size(self, d: int) -> str:
        return self.argument(self.nest.sizes[d], ("size", d))

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Values made inside are forgotten at the end."""
        self.scopes.append([])
        yield
        for key in self.scopes.pop():
            self.memo.pop(key, None)

    def prepare(self, order: list[Val], level: int, phase: int, unroll: int = 1) -> None:
        """Compute the values of `level` that are known after `phase` reductions."""
        for value in order:
            if value.level == level and value.phase == phase and value.op != "reduce":
                for u in range(unroll):
                    self._lane_block(u)
                    self.value(value, u)
                self.mask = None

    def _kernel_level(self, value: Val) -> None:
        code, self.code = self.code, self.entry
        self.memo[value, 0] = self._make(value, 0)
        self.code = code

    def value(self, value: Val, u: int) -> str:
        """The register (or constant) that holds `value`: a vector if value.vec, else a scalar."""
        key = (value, u if value.vec else 0)
        name = self.memo.get(key)
        if name is None:
            if value.op == "lit":
                return number(value.payload, value.dtype)
            name = self.memo[key] = self._make(value, key[1])
            self.scopes[-1].append(key)
        return name

    def vector_value(self, value: Val, u: int) -> str:
        name = self.value(value, u)
        if value.vec:
            return name
        return broadcast(self.code, name, element(value.dtype), self.lanes)

    def _make(self, value: Val, u: int) -> str:
        code, op = self.code, value.op
        if op == "lit":
            return number(value.payload, value.dtype)
        if op == "num":
            return self.run_time_number(value.payload, value.dtype)  # type: ignore[arg-type]
        if op in ("load", "gather"):
            if value in self.nest.kept_from and self.phase > self.nest.kept_from[value]:
                return memory.load_scratch(self, value, u)
            return memory.load(self, value, u)
        if op == "coord":
            return memory.coordinate(self, value, u)
        if value in self.nest.kept_from and self.phase > self.nest.kept_from[value]:
            return memory.load_scratch(self, value, u)
        lanes = self.lanes if value.vec else 1
        args = [self.vector_value(a, u) if value.vec else self.value(a, u) for a in value.args]
        if op == "cast":
            return casts.cast(code, args[0], value.args[0].dtype, value.dtype, lanes)
        if op == "round16":
            return rounded(code, value.dtype, args[0], lanes)
        kind = value.args[1].dtype if op == "where" else value.args[0].dtype
        return scalar.emit(code, op, kind, lanes, args)

    def _lane_block(self, u: int) -> None:
        """From here on, masked operations are about the u-th vector of the step."""
        self.mask = self.masks[u] if self.masks else None

    # ---- accumulators

    def _start_accumulators(self, phase: int, unroll: int) -> None:
        for value in self.nest.phases[phase]:
            for u in range(unroll):
                self.accumulators[value, u] = reductions.start(self, value)

    def _flush(self) -> None:
        for value in self.nest.phases[self.phase]:
            u = 0
            while (value, u) in self.accumulators:
                reductions.flush(self, value, self.accumulators[value, u])
                u += 1

    def _finish_accumulators(self, phase: int, unroll: int, horizontal: bool) -> None:
        for value in self.nest.phases[phase]:
            slots = [self.accumulators.pop((value, u)) for u in range(unroll)]
            if horizontal:
                self.memo[value, 0] = reductions.finish(self, value, slots)
                self.scopes[-1].append((value, 0))
            else:
                for u in range(unroll):
                    self.memo[value, u] = reductions.result(self, value, slots[u])
                    self.scopes[-1].append((value, u))

    # ---- the body of the innermost loop

    def _element_body(self, unroll: int) -> None:
        nest = self.nest
        reductions_here = nest.phases[self.phase]
        for u in range(unroll):
            self._lane_block(u)
            for value in reductions_here:
                self.vector_value(value.args[0], u)
        for u in range(unroll):
            self._lane_block(u)
            for value in nest.kept:
                if nest.kept_from[value] == self.phase:
                    memory.store_scratch(self, value, u, self.vector_value(value, u))
        self._write(nest.element_stores[self.phase], unroll)
        for u in range(unroll):
            self._lane_block(u)
            for value in reductions_here:
                name = self.vector_value(value.args[0], u)
                reductions.accumulate(self, value, self.accumulators[value, u], name, u)
        self.mask = None

    def _write(self, stores: list[Store], unroll: int) -> None:
        for u in range(unroll):
            self._lane_block(u)
            for store in stores:
                if self._is_vector(store):
                    self.vector_value(store.value, u)
        for u in range(unroll):
            self._lane_block(u)
            for store in stores:
                memory.store(self, store, u, self._is_vector(store))
        self.mask = None

    def _is_vector(self, store: Store) -> bool:
        nest = self.nest
        return bool(nest.sizes) and nest.strides(store.map)[nest.vector_dim] != 0
