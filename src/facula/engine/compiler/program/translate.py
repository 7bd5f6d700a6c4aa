"""The values of a nest as the typed formulas of its loop program."""

from __future__ import annotations

from facula.dtypes import dtype
from facula.engine.compiler.affine import Affine
from facula.engine.compiler.loops import ELEMENT, Nest
from facula.engine.compiler.program.formulas import (
    Apply,
    Axis,
    Buffer,
    Coordinate,
    Gather,
    Index,
    Kept,
    Literal,
    Load,
    Number,
    Slot,
    Total,
    Value,
)
from facula.engine.compiler.program.statements import Accumulator
from facula.engine.compiler.values import Val
from facula.engine.graph.node import Node, contiguous_strides, size_of


class Translation:
    """`value(val, phase)`: what a Val is in the loops of that phase. There is one axis for each dimension."""

    def __init__(self, nest: Nest, order: list[Val], axes: list[Axis]) -> None:
        self.nest = nest
        self.axes = axes
        self.keys: list[object] = []  # what each buffer is, by its number
        self.buffers: dict[object, Buffer] = {}
        self.accumulators: dict[Val, Accumulator] = {}
        self.slots = {v: self._slot(k) for k, v in enumerate(nest.kept)}
        lanes = [nest.vector_dim] if nest.sizes else []
        self._terms = [d for d in (*nest.outer, *nest.inner) if d not in lanes] + lanes
        interned: dict[tuple[object, ...], Value] = {}
        self._done: list[dict[Val, Value]] = []
        for phase in range(len(nest.phases) + 1 if nest.kept else 1):
            done: dict[Val, Value] = dict(self._done[-1]) if phase else {}
            self._done.append(done)
            for v in order:  # arguments first
                if nest.kept and (v.phase > phase or v.level != ELEMENT and v in done):
                    continue
                done[v] = self._total(v) if v.op == "reduce" else self._translate(v, phase, done, interned)

    def value(self, val: Val, phase: int = 0) -> Value:
        return self._done[min(phase, len(self._done) - 1)][val]

    def _total(self, v: Val) -> Value:
        """The reduction's element is what the phase that ends with it computes."""
        element = self.value(v.args[0], v.phase - 1)
        made = Accumulator(str(v.payload), element, self._over_reduced(), not self.nest.columns)
        self.accumulators[v] = made
        return Total(v.dtype, v.vec, made)

    def buffer(self, key: object, of: dtype | None = None) -> Buffer:
        found = self.buffers.get(key)
        if found is None:
            if isinstance(key, Node):
                of, size = key.dtype, size_of(key.shape)
            else:
                assert of is not None
                size = key.nbytes // of.itemsize  # type: ignore[attr-defined]
            found = self.buffers[key] = Buffer(len(self.keys), of, size)
            self.keys.append(key)
        return found

    def index(self, map: Affine) -> Index:
        strides = self.nest.strides(map)
        return Index(map.const, map.nums, tuple((self.axes[d], strides[d]) for d in self._terms if strides[d]))

    def _over_reduced(self) -> Index:
        """The flat number of a point among the reduced ones."""
        inner = self.nest.inner
        # not the function that remembers: sizes may say where they come from (printed.py), and equal ones do not
        strides = contiguous_strides.__wrapped__(tuple([self.nest.sizes[d] for d in inner]))
        return Index(0, (), tuple((self.axes[d], s) for d, s in zip(inner, strides, strict=True)))

    def _slot(self, number: int) -> Slot:
        nest = self.nest
        total = size_of(tuple(nest.sizes[d] for d in nest.inner)) * (nest.lanes if nest.columns else 1)
        return Slot(number, -(-(total * 8) // 64) * 64 * number, self._over_reduced(), nest.columns)

    def _translate(self, v: Val, phase: int, done: dict[Val, Value],
                   interned: dict[tuple[object, ...], Value]) -> Value:
        nest = self.nest
        if v in nest.kept_from and phase > nest.kept_from[v]:
            return Kept(v.dtype, v.vec, self._done[nest.kept_from[v]][v], self.slots[v])
        args = tuple([done[a] for a in v.args])
        if phase:
            key = (v, *map(id, args))
            found = interned.get(key)
            if found is None:
                found = interned[key] = self._make(v, args)
            return found
        made = self._make(v, args)
        if nest.kept:
            interned[(v, *map(id, args))] = made
        return made

    def _make(self, v: Val, args: tuple[Value, ...]) -> Value:
        op, payload = v.op, v.payload
        if op == "lit":
            return Literal(v.dtype, v.vec, payload)
        if op == "num":
            return Number(v.dtype, v.vec, payload)  # type: ignore[arg-type]
        if op == "coord":
            return Coordinate(v.dtype, v.vec, self.index(payload))  # type: ignore[arg-type]
        if op == "load":
            source, map = payload  # type: ignore[misc]
            return Load(v.dtype, v.vec, self.buffer(source, v.dtype), self.index(map))  # type: ignore[has-type]
        if op == "gather":
            source, map, step, rows = payload  # type: ignore[misc]
            buffer = self.buffer(source, v.dtype)  # type: ignore[has-type]
            return Gather(v.dtype, v.vec, buffer, self.index(map), args[0], step, rows)  # type: ignore[has-type]
        return Apply(v.dtype, v.vec, op, args)

