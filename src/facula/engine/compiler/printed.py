"""Kernels that have been printed before: nests that differ in sizes alone are printed once.

A kernel's text follows from a nest's structure: types, formulas, which strides are 0 or 1, which of its buffers,
run-time numbers and maps are the same. Sizes, strides and offsets are its arguments. The `Description` of a nest is
that structure as a key, and the arguments' sources as a list of integers. When a nest is printed its integers are
`Symbol`s (symbols.py), which remember how they came about: so what each word of the launch is made of is known, and a
nest described before gets its words by arithmetic alone. The layers of a network, the steps of an unrolled loop and the
next batch's sizes ask for the same few kernels again and again; to print one costs ten times what a description does.

How the loops of sums go depends on sizes (program/walks.py, build.py): what was decided by comparing them is kept with
the kernel, and a nest for which it would be decided alike would be printed alike. A description has as many kernels
as there are ways to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from facula.config import threshold
from facula.dtypes import dtype
from facula.engine.compiler.affine import Affine
from facula.engine.compiler.kernel import Kernel, Machine
from facula.engine.compiler.loops import NOWHERE, Nest
from facula.engine.compiler.symbols import Constants, Trace, numbers_of, text_of, tracing
from facula.engine.compiler.values import Val
from facula.engine.graph.node import Node

KEPT_BYTES = threshold("printed_bytes")  # of texts and descriptions; the oldest go
ENTRY_BYTES = 4000  # of an entry without its text, about
MOST = 32  # kernels of one description, which are tried one after the other


class Printed(NamedTuple):
    """The kernel of some nests with one description: words(q) are its words, None where it is not for these integers.
    ("buf", k) and ("num", k) count as the description does."""

    kernel: Kernel
    words: Callable[[Sequence[int]], tuple[Any, ...] | None]


class Description:
    """What a nest's kernel follows from (`key`), what its words are made of (`integers`), and what its buffers (values
    in memory) and run-time numbers are."""

    def __init__(self, nest: Nest, machine: Machine, tiles: Sequence[int]) -> None:
        self.buffers: dict[object, int] = {}
        self.numbers: dict[int, int] = {}
        self._last = [k for k in nest.last if k != NOWHERE]
        self._maps: dict[object, int] = {}
        self._kinds: list[object] = []
        self.integers: list[int] = [*tiles, nest.chunk, *nest.sizes]
        place = {v: k for k, v in enumerate(nest.order)}
        parts: list[object] = [machine, nest.reduced, nest.chunk > 0]
        for v in nest.order:
            parts += (v.op, v.dtype, self._payload(v))
            parts += [place[a] for a in v.args]
        for s in nest.stores:
            buffer = self._buffer(s.node, s.dtype)
            parts += (place[s.value], s.dtype, buffer, self._map(s.map, buffer))
        parts += (tuple([(place[v], nest.kept_from[v]) for v in nest.kept]), tuple(nest.runs))
        self.key = (*parts, *self._kinds)

    def _payload(self, v: Val) -> object:
        op, payload = v.op, v.payload
        if payload is None:
            return None
        if op == "load":
            buffer = self._buffer(payload[0], v.dtype)  # type: ignore[index]
            return buffer, self._map(payload[1], buffer)  # type: ignore[index]
        if op == "num":
            return self.numbers.setdefault(payload, len(self.numbers))  # type: ignore[arg-type]
        if op == "coord":
            return self._map(payload, None)  # type: ignore[arg-type]
        if op == "gather":
            source, map, step, rows = payload  # type: ignore[misc]
            buffer = self._buffer(source, v.dtype)  # type: ignore[has-type]
            return buffer, self._map(map, buffer), self._pair(buffer, step, rows)  # type: ignore[has-type]
        return repr(payload)  # 0.0 is not -0.0, nor 1 True

    def _map(self, map: Affine, buffer: object) -> int:
        """The number of the map among those that are different for this buffer: they share arguments."""
        strides = tuple([map.strides[k] for k in self._last])
        key = buffer, strides, map.const, map.nums
        found = self._maps.get(key)
        if found is None:
            found = self._maps[key] = len(self._maps)
            numbers, integers = self.numbers, self.integers
            self._kinds += [s if s == 0 or s == 1 else 2 if s > 0 else -2 for s in strides]
            self._kinds.append((map.const > 0) - (map.const < 0))
            for at, factor in map.nums:
                self._kinds.append((numbers.setdefault(at, len(numbers)), factor == 1))
            integers += strides
            integers.append(map.const)
            integers += [factor for _, factor in map.nums]
        return found

    def _pair(self, buffer: object, step: int, rows: int) -> int:
        key = "rows", buffer, step, rows
        found = self._maps.get(key)
        if found is None:
            found = self._maps[key] = len(self._maps)
            self.integers += (step, rows)
        return found

    def _buffer(self, key: object, of: dtype) -> object:
        number = self.buffers.setdefault(key, len(self.buffers))
        return number, key.dtype if isinstance(key, Node) else of


class Traced:
    """While it is entered, the nest's integers are Symbols, in the order of its Description, but for those that its key
    says."""

    def __init__(self, nest: Nest, tiles: Sequence[int]) -> None:
        self.nest = nest
        self._trace = Trace()
        self._count = 0
        self.tiles = self._named(tiles)
        self._maps: dict[object, Affine | tuple[int, int]] = {}
        self._buffers: dict[object, int] = {}
        self._before: list[tuple[Any, str, object]] = []

    def _named(self, values: Sequence[int], plain: tuple[int, ...] = (), least: int = 0) -> list[int]:
        """`plain`: numbers that the key says (Description._map). Others are `least` at least or -`least` at most, and
        it says which."""
        start = self._count
        self._count += len(values)
        return [n if n in plain else self._trace.symbol(start + k, n, least)  # type: ignore[misc]
                for k, n in enumerate(values)]

    def printed(self, kernel: Kernel, words: Sequence[object]) -> Printed:
        """`kernel` has been printed, with these words."""
        return Printed(kernel, self._trace.finished(self._count, text_of(tuple(words), Constants())))

    def _set(self, thing: Any, name: str, value: object) -> None:
        self._before.append((thing, name, getattr(thing, name)))
        setattr(thing, name, value)

    def __enter__(self) -> Traced:
        nest = self.nest
        chunk, *sizes = self._named([nest.chunk, *nest.sizes])
        if nest.chunk:
            self._set(nest, "chunk", chunk)
        self._set(nest, "sizes", tuple(sizes))
        for v in nest.order:
            if v.op == "load":
                source, map = v.payload  # type: ignore[misc]
                self._set(v, "payload", (source, self._map(map, source)))  # type: ignore[has-type]
            elif v.op == "coord":
                self._set(v, "payload", self._map(v.payload, None))  # type: ignore[arg-type]
            elif v.op == "gather":
                source, map, step, rows = v.payload  # type: ignore[misc]
                there = self._map(map, source)  # type: ignore[has-type]
                self._set(v, "payload", (source, there, *self._pair(source, step, rows)))  # type: ignore[has-type]
        for s in nest.stores:
            self._set(s, "map", self._map(s.map, s.node))
        return self

    def __exit__(self, *error: object) -> None:
        for thing, name, value in reversed(self._before):
            setattr(thing, name, value)

    def _map(self, map: Affine, source: object) -> Affine:
        last = [k for k in self.nest.last if k != NOWHERE]
        key = source, tuple([map.strides[k] for k in last]), map.const, map.nums
        found = self._maps.get(key)
        if found is None:
            strides: list[int] = list(map.strides)
            for k, name in zip(last, self._named([strides[k] for k in last], (0, 1), 2), strict=True):
                strides[k] = name
            const, = self._named([map.const], (0,), 1)
            factors = self._named([factor for _, factor in map.nums], (1,))
            nums = tuple([(at, f) for (at, _), f in zip(map.nums, factors, strict=True)])
            found = self._maps[key] = Affine(map.dims, tuple(strides), const, nums)
        return found  # type: ignore[return-value]

    def _pair(self, source: object, step: int, rows: int) -> tuple[int, int]:
        key = "rows", source, step, rows
        found = self._maps.get(key)
        if found is None:
            a, b = self._named([step, rows])
            found = self._maps[key] = a, b
        return found  # type: ignore[return-value]


class _Memo:
    """By description its kernels, the one that served last first. The descriptions that came first go first."""

    def __init__(self) -> None:
        self.known: dict[tuple[object, ...], list[Printed]] = {}
        self.nbytes = 0
        self.printings = 0  # for tests: how many kernels have been printed

    def find(self, description: Description) -> tuple[Kernel, tuple[Any, ...]] | None:
        """A kernel for it, and its words."""
        found = self.known.get(description.key, [])
        plain = numbers_of(description.integers) if tracing else None
        for k, printed in enumerate(found):
            if plain is not None and printed.words(plain) is None:
                continue  # that another one does not serve is no condition for the one that does
            words = printed.words(description.integers)
            if words is not None:
                if k:
                    found.insert(0, found.pop(k))
                return printed.kernel, words
        return None

    def keep(self, description: Description, printed: Printed) -> None:
        found = self.known.setdefault(description.key, [])
        found.insert(0, printed)
        self.printings += 1
        self.nbytes += _weight(printed)
        if len(found) > MOST:
            self.nbytes -= _weight(found.pop())
        while self.nbytes > KEPT_BYTES:
            self.nbytes -= sum(map(_weight, self.known.pop(next(iter(self.known)))))


def _weight(printed: Printed) -> int:
    return ENTRY_BYTES + len(printed.kernel.ir)


memo = _Memo()
