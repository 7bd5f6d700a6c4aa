"""SUM, PROD, MAX, MIN, ARGMAX, ARGMIN, ANY, ALL: reductions over dimensions, which are dropped."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import COMPLEX, FLOAT, bool_, dtype, int64
from facula.engine.graph import node as g
from facula.engine.graph.node import Node, Primitive, contiguous_strides, size_of
from facula.engine.graph.primitives.elements import attributes, convert
from facula.engine.graph.primitives.kind import Array, Kind, Recording, dims_move_up, linear, sized
from facula.engine.graph.primitives.pairs import AT_SAME, SAME, SHARE, Pair, part, times


def result_dtype(op: Primitive, source: dtype, asked: dtype) -> dtype:
    """What a reduction of `source` that is recorded with the dtype `asked` has to be: sums and products, any."""
    if op is g.ARGMAX or op is g.ARGMIN:
        return int64
    if op is g.ANY or op is g.ALL:
        return bool_
    return source if op is g.MAX or op is g.MIN else asked


def _wrong(node: Node) -> str:
    source = node.inputs[0]
    dims: tuple[int, ...] = attributes(node.attrs)[0]
    if list(dims) != sorted(set(dims)) or any(not 0 <= d < len(source.shape) for d in dims):
        return f"dimensions {dims} of {source!r}"
    rest = tuple(n for d, n in enumerate(source.shape) if d not in dims)
    if node.shape != rest:
        return f"the shape should be {rest}"
    wanted = result_dtype(node.op, source.dtype, node.dtype)
    return "" if node.dtype is wanted else f"the dtype should be {wanted.name}"


# ---- in NumPy -------------------------------------------------------------------------------------------

def _extreme(d: dtype, largest: bool) -> Any:
    if d.category >= FLOAT:
        return np.inf if largest else -np.inf
    if d is bool_:
        return largest
    info = np.iinfo(d.name)
    return info.max if largest else info.min


def _wide(x: Array, d: dtype) -> Array:
    """For long sums: float64 for the smaller floats."""
    return x.astype({FLOAT: np.float64, COMPLEX: np.complex128}.get(d.category, d.numpy), copy=False)


def _meaning(node: Node, inputs: list[Array]) -> Array:
    name, source = node.op.name, node.inputs[0].dtype
    dims: tuple[int, ...] = tuple(attributes(node.attrs)[0])
    x = inputs[0]
    if name in ("argmax", "argmin"):
        rest = [k for k in range(x.ndim) if k not in dims]
        count = size_of(tuple(x.shape[k] for k in dims))
        moved = np.transpose(x, (*rest, *dims)).reshape(*node.shape, count)
        if moved.size == 0:
            return np.zeros(node.shape, np.int64)
        return np.asarray(np.argmax(moved, axis=-1) if name == "argmax" else np.argmin(moved, axis=-1))
    if name in ("any", "all"):
        x = convert(x, source, bool_)
        found = np.any(x, axis=dims) if name == "any" else np.all(x, axis=dims)
        return convert(np.asarray(found), bool_, node.dtype)
    x = convert(x, source, node.dtype)
    if not dims:
        return x
    if name in ("sum", "prod"):
        f = np.add if name == "sum" else np.multiply
        wide = _wide(x, node.dtype)
        return np.asarray(f.reduce(wide, axis=dims, dtype=wide.dtype))
    if x.size == 0:
        return np.full(node.shape, _extreme(node.dtype, name == "min"), x.dtype)
    return np.asarray(np.max(x, axis=dims) if name == "max" else np.min(x, axis=dims))


# ---- tangents -------------------------------------------------------------------------------------------

def _product(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
             out: Node) -> Node:
    (given,), (moving,) = primals, tangents
    assert moving is not None
    dims, shape = attrs[0], given.shape
    order = [k for k in range(len(shape)) if k not in dims] + list(dims)
    strides = contiguous_strides(tuple(shape))
    m = size_of(out.shape)
    if not size_of(shape):
        return do.zeros(out)
    n = size_of(shape) // m
    x, t = [do.reshaped(do.view(node, sized([shape[k] for k in order]), tuple([strides[k] for k in order])), (m, n, 1))
            for node in (given, moving)]
    left: Pair | None = None  # an odd one
    while n > 1:
        half = n // 2
        if n % 2:
            odd = part(do, x, n - 1, 1), part(do, t, n - 1, 1)
            left = odd if left is None else times(do, left, odd)
        x, t = times(do, (part(do, x, 0, half), part(do, t, 0, half)),
                     (part(do, x, half, half), part(do, t, half, half)))
        n = half
    return do.reshaped(t if left is None else times(do, (x, t), left)[1], out.shape)


def _extremum(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
              out: Node) -> Node:
    (x,), (t,) = primals, tangents
    assert t is not None
    kept = sized([1 if k in attrs[0] else n for k, n in enumerate(x.shape)])
    whole = do.expanded(do.reshaped(out, kept), x.shape)

    def total(node: Node) -> Node:
        return do.record(g.SUM, (node,), attrs, None, out.shape, out.dtype)

    return do.formula(SHARE, total(do.formula(SAME, x, whole)), total(do.formula(AT_SAME, x, whole, t)))


KIND = Kind(inputs=1, wrong=_wrong, meaning=_meaning, batching=dims_move_up,
            tangents={g.SUM: linear, g.PROD: _product, g.MAX: _extremum, g.MIN: _extremum,
                      **dict.fromkeys((g.ARGMAX, g.ARGMIN, g.ANY, g.ALL))})
