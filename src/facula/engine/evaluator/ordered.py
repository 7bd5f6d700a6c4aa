"""Scans, scatters and matrix products by NumPy, for who runs steps without machine code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.engine.compiler.program.ordered import GROUP, Matrix, Product, Scan, Scatter
from facula.engine.evaluator.products import ordered_product
from facula.engine.graph.primitives.elements import convert, load, store
from facula.engine.graph.primitives.scan import carried
from facula.engine.runtime.interpreter_scalar import FUNCTIONS

Array = np.ndarray[Any, Any]
_STEP = {"cumsum": "add", "cumprod": "mul", "cummax": "maximum", "cummin": "minimum", "add": "add", "mul": "mul",
         "max": "maximum", "min": "minimum"}


def scan(s: Scan, buffers: Sequence[Array]) -> None:
    """In the type computed with: what is stored is rounded, what goes on is not."""
    count = s.outer * s.n * s.inner
    x = convert(load(buffers[0][:count], s.source), s.source, s.dtype).reshape(s.outer, s.n, s.inner)
    step, out = FUNCTIONS[_STEP[s.op]], np.empty(x.shape, x.dtype)
    goes_on = carried(s.op, s.dtype).numpy if s.dtype.compute is s.dtype else x.dtype
    if s.grouped:
        out[:, :, 0] = _grouped(x[:, :, 0].astype(goes_on), step)
        buffers[1][:count] = store(out, s.dtype).reshape(-1)
        return
    so_far = x[:, :1].astype(goes_on, copy=False)
    for k in range(s.n):
        if k:
            so_far = np.asarray(step(so_far, x[:, k:k + 1].astype(goes_on, copy=False))).astype(goes_on, copy=False)
        out[:, k:k + 1] = so_far
    buffers[1][:count] = store(out, s.dtype).reshape(-1)


def _grouped(x: Array, step: Any) -> Array:
    """The scan of each line of x, four elements at a time."""
    lines, n = x.shape
    whole = n - n % GROUP
    four = x[:, :whole].reshape(lines, -1, GROUP).copy()
    for away in (1, 2):
        four[:, :, away:] = step(four[:, :, away:], four[:, :, :-away])
    out = x.copy()
    out[:, :whole] = four.reshape(lines, whole)
    for k in range(GROUP, n, GROUP):
        out[:, k:k + GROUP] = step(out[:, k - 1:k], out[:, k:k + GROUP]) if k < whole else out[:, k:k + GROUP]
    for k in range(max(whole, 1), n):
        out[:, k] = step(out[:, k - 1], out[:, k])
    return out


def scatter(s: Scatter, buffers: Sequence[Array]) -> None:
    rows = buffers[1][:s.count]
    inside = (rows >= 0) & (rows < s.rows)  # what is no row writes nothing
    out = buffers[0][:s.rows * s.columns].reshape(s.rows, s.columns)
    source = buffers[2][:s.count * s.columns].reshape(s.count, s.columns)[inside]
    rows = rows[inside]
    count = len(rows)
    turn = np.zeros(count, np.int64)  # how many times a row has been met before: no row twice in one turn
    order = np.argsort(rows, kind="stable")
    new = np.diff(rows[order], prepend=-1) != 0
    starts = np.maximum.accumulate(np.where(new, np.arange(count), 0))
    turn[order] = np.arange(count) - starts
    for k in range(int(turn.max(initial=-1)) + 1):
        here = turn == k
        value = load(source[here], s.dtype)
        if s.op != "set":
            value = np.asarray(FUNCTIONS[_STEP[s.op]](load(out[rows[here]], s.dtype), value))
        out[rows[here]] = store(value, s.dtype)


def product(s: Product, buffers: Sequence[Array], numbers: Sequence[Any]) -> None:
    a = _matrix(s.a, buffers[0], (s.batch, s.m, s.k), numbers)
    b = _matrix(s.b, buffers[1], (s.batch, s.k, s.n), numbers)
    buffers[2][:s.batch * s.m * s.n] = ordered_product(a, b, s.order, s.fused).reshape(-1)


def _matrix(x: Matrix, memory: Array, shape: tuple[int, int, int], numbers: Sequence[Any]) -> Array:
    sums: list[Array] = []  # of the position, then of each bounded coordinate
    for word, start in enumerate((x.const, *(start for start, _ in x.bounds)), 1):
        found: Array = np.asarray(start)
        for axis in x.axes:
            along: Array = np.zeros((), np.int64)
            for dim in axis:  # the innermost first: it varies fastest
                along = (np.arange(dim[0])[:, None] * dim[word] + along.reshape(1, -1)).reshape(-1)
            found = found[..., None] + along.reshape(-1)
        sums.append(found)
    position, *coordinates = sums
    if x.at is not None:
        position = position + int(numbers[x.at])
    inside = np.ones(position.shape, bool)
    for c, (_, size) in zip(coordinates, x.bounds, strict=True):
        inside &= (c >= 0) & (c < size)
    elements = memory[np.where(inside, position, 0)]
    if x.fill_at >= 0:
        elements = np.where(inside, elements, np.asarray(numbers[x.fill_at], memory.dtype))
    return np.broadcast_to(elements, shape)
