"""CUMSUM, CUMPROD, CUMMAX, CUMMIN: the sum, product, extreme so far."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import complex64, complex128, dtype, float32, float64, int64
from facula.engine.graph import node as g
from facula.engine.graph.expr import make, operand, scalar
from facula.engine.graph.node import Formula, Node, Primitive, contiguous_strides, size_of
from facula.engine.graph.primitives.elements import attributes, convert
from facula.engine.graph.primitives.kind import Array, Kind, Recording, dims_move_up, linear, sized
from facula.engine.graph.primitives.pairs import PLACE, part, times

_STEPS: dict[str, np.ufunc] = {
    "cumsum": np.add, "cumprod": np.multiply, "cummax": np.maximum, "cummin": np.minimum}


def carried(op: str, of: dtype) -> dtype:
    """What a scan to `of` goes on in from element to element: sums and products in doubles, as torch has them (in
    float32 one ulp an element is lost, 9% of a sum of 10 million). What is stored is rounded to `of`."""
    if op not in ("cumsum", "cumprod"):
        return of.compute
    return float64 if of is float32 else complex128 if of is complex64 else of.compute


def _wrong(node: Node) -> str:
    dim: int = attributes(node.attrs)[0]
    fits = node.shape == node.inputs[0].shape and 0 <= dim < len(node.shape)
    return "" if fits else f"a scan of {node.inputs[0]!r} along {dim}"


def _meaning(node: Node, inputs: list[Array]) -> Array:
    x = convert(inputs[0], node.inputs[0].dtype, node.dtype)
    if x.ndim == 0 or x.size == 0:
        return x
    goes_on = carried(node.op.name, node.dtype).numpy if node.dtype.compute is node.dtype else x.dtype
    with np.errstate(over="ignore"):
        return np.asarray(_STEPS[node.op.name].accumulate(x, axis=attributes(node.attrs)[0], dtype=goes_on)).astype(
            x.dtype, copy=False)


def _product(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
             out: Node) -> Node:
    """Each place takes in the one before, the ones two before, four before, ..."""
    (given,), (moving,) = primals, tangents
    assert moving is not None
    shape, dim = out.shape, attrs[0]
    n = shape[dim]
    outer, inner = size_of(shape[:dim]), size_of(shape[dim + 1:])
    if not size_of(shape):
        return do.zeros(out)
    x, t = [do.reshaped(node, (outer, n, inner)) for node in (given, moving)]
    step = 1
    while step < n:
        m = n - step
        later = times(do, (part(do, x, step, m), part(do, t, step, m)), (part(do, x, 0, m), part(do, t, 0, m)))
        x, t = [do.record(g.WRITE, (whole, after), ((n * inner, inner, 1),), (step * inner,), whole.shape, whole.dtype)
                for whole, after in zip((x, t), later, strict=True)]
        step *= 2
    return do.reshaped(t, shape)


_flat: dict[tuple[int, int], Formula] = {}


def linear_formula(dim: int, rank: int) -> Formula:
    """Positions in the flat array from the coordinates along `dim`."""
    found = _flat.get((rank, dim))
    if found is None:
        total = operand(0) * scalar(dim)
        for k in range(rank):
            if k != dim:
                total = total + make("index", value=k) * scalar(k)
        found = _flat[rank, dim] = Formula("linear", total)
    return found


def _extremum(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
              out: Node) -> Node:
    """The tangent of the last element that is the extreme so far."""
    (x,), (t,) = primals, tangents
    assert t is not None
    shape, dim = out.shape, attrs[0]
    if not size_of(shape):
        return do.zeros(out)
    along = do.record(g.INDEX, (), (dim,), None, shape, int64)
    at = do.record(g.CUMMAX, (do.formula(PLACE, x, out, along, of=int64),), attrs, None, shape, int64)
    flat = do.record(linear_formula(dim, len(shape)), (at,), None, contiguous_strides(tuple(shape)), shape, int64)
    rows = do.record(g.GATHER, (do.reshaped(t, (size_of(shape), 1)), flat), None, None, sized((*shape, 1)), out.dtype)
    return do.reshaped(rows, shape)


KIND = Kind(inputs=1, wrong=_wrong, meaning=_meaning, batching=dims_move_up,
            tangents={g.CUMSUM: linear, g.CUMPROD: _product, g.CUMMAX: _extremum, g.CUMMIN: _extremum})
