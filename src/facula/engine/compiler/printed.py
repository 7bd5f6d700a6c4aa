"""Kernels that have been printed before: equal nests are printed once.

A nest is described by what its kernel follows from: sizes, types, formulas, strides, which of its buffers and run-time
numbers are the same. The layers of a network, the steps of an unrolled loop and next epoch's shapes ask for the same
few again and again, and to print one costs ten times what this description does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from facula.config import threshold
from facula.dtypes import dtype
from facula.engine.compiler.affine import Affine
from facula.engine.compiler.kernel import Kernel, Machine
from facula.engine.compiler.loops import Nest
from facula.engine.compiler.values import Val
from facula.engine.graph.node import Node

KEPT_BYTES = threshold("printed_bytes")  # of texts and descriptions; the oldest go
ENTRY_BYTES = 2000  # of an entry without its text, about


class Printed(NamedTuple):
    """A nest's kernel and launch. In `words`, ("buf", k) and ("num", k) count as the description does."""

    kernel: Kernel
    words: tuple[Any, ...]
    tiles: int
    cost: float
    nbytes: int
    flops: int


class Description:
    """`key` of a nest, and what its numbers stand for: `buffers` (values in memory), `numbers` (of the run)."""

    def __init__(self, nest: Nest, machine: Machine) -> None:
        self.buffers: dict[object, int] = {}
        self.numbers: dict[int, int] = {}
        self._last = nest.last
        place = {v: k for k, v in enumerate(nest.order)}
        parts: list[object] = [machine, nest.sizes, nest.reduced, nest.chunk]
        for v in nest.order:
            parts += (v.op, v.dtype, self._payload(v))
            parts += [place[a] for a in v.args]
        for s in nest.stores:
            parts += (place[s.value], s.dtype, self._buffer(s.node, s.dtype), self._map(s.map))
        self.key = tuple(parts)

    def _payload(self, v: Val) -> object:
        op, payload = v.op, v.payload
        if payload is None:
            return None
        if op == "load":
            return self._buffer(payload[0], v.dtype), self._map(payload[1])  # type: ignore[index]
        if op == "num":
            return self.numbers.setdefault(payload, len(self.numbers))  # type: ignore[arg-type]
        if op == "coord":
            return self._map(payload)  # type: ignore[arg-type]
        if op == "gather":
            source, map, step, rows = payload  # type: ignore[misc]
            return self._buffer(source, v.dtype), self._map(map), step, rows  # type: ignore[has-type]
        return repr(payload)  # 0.0 is not -0.0, nor 1 True

    def _map(self, map: Affine) -> object:
        numbers = self.numbers
        nums = tuple([(numbers.setdefault(at, len(numbers)), f) for at, f in map.nums]) if map.nums else ()
        return tuple([map.strides[k] for k in self._last]), map.const, nums

    def _buffer(self, key: object, of: dtype) -> object:
        number = self.buffers.setdefault(key, len(self.buffers))
        return number, key.dtype if isinstance(key, Node) else of


class _Memo:
    def __init__(self) -> None:
        self.known: dict[tuple[object, ...], Printed] = {}
        self.nbytes = 0

    def keep(self, key: tuple[object, ...], printed: Printed) -> None:
        self.known[key] = printed
        self.nbytes += _weight(printed)
        while self.nbytes > KEPT_BYTES:
            self.nbytes -= _weight(self.known.pop(next(iter(self.known))))


def _weight(printed: Printed) -> int:
    return ENTRY_BYTES + len(printed.kernel.ir)


memo = _Memo()
