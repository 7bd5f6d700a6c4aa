"""Every primitive in NumPy: the reference, the back end without a compiler, and what runs the host steps.

Inside, a value of type `d` is an array of `d.compute.numpy`: the two 16-bit floats are float32 that hold
only what 16 bits hold. `load` and `store` are the way in and out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import (
    COMPLEX,
    FLOAT,
    UNSIGNED,
    bfloat16,
    bool_,
    dtype,
    float16,
    float64,
    from_numpy_dtype,
    int64,
)
from facula.engine.graph import node as g
from facula.engine.graph.expr import Expr
from facula.engine.graph.node import Formula, Node, offset_of, size_of
from facula.engine.graph.typing import argument_types, natural_types, own_type
from facula.engine.runtime.interpreter_scalar import FUNCTIONS
from facula.engine.runtime.routines import ROUTINES

Array = np.ndarray[Any, Any]


def compute(node: Node, arrays: list[Any]) -> Any:
    """The value of `node`, from those of its inputs: an array as memory holds it, of `node.dtype.numpy` and
    `node.shape`, contiguous. A CALL gives a tuple of arrays, which its PICKs take as `arrays[0]`."""
    with np.errstate(all="ignore"):
        if node.op is g.PICK:
            picked = np.asarray(arrays[0][_attrs(node)[0]])
            if picked.dtype != node.dtype.numpy:
                picked = store(convert(picked, from_numpy_dtype(picked.dtype), node.dtype), node.dtype)
            return _finished(picked, node)
        inputs = [load(np.asarray(a), i.dtype) for a, i in zip(arrays, node.inputs, strict=True)]
        if node.op is g.CALL:
            routine, *args = _attrs(node)
            return ROUTINES[str(routine)](*inputs, *args)
        return _finished(store(np.asarray(_KINDS[node.op.kind](node, inputs)), node.dtype), node)


def _finished(x: Array, node: Node) -> Array:
    return np.ascontiguousarray(np.broadcast_to(x, node.shape)).reshape(node.shape)


def _attrs(node: Node) -> tuple[Any, ...]:
    assert node.attrs is not None
    return node.attrs


def _scalars(node: Node) -> tuple[Any, ...]:
    assert node.scalars is not None
    return node.scalars


# -- element types


def load(x: Array, d: dtype) -> Array:
    """From memory's format to the one computed with."""
    if d is bfloat16:
        return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return x.astype(np.float32) if d is float16 else x


def store(x: Array, d: dtype) -> Array:
    """To memory's format; 16-bit floats are rounded to nearest, ties to even."""
    x = x.astype(d.compute.numpy, copy=False)
    if d is not bfloat16:
        return x.astype(d.numpy, copy=False)
    bits = np.ascontiguousarray(x).reshape(x.shape).view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), near.astype(np.uint16))


def convert(x: Array, source: dtype, to: dtype) -> Array:
    """Between types, with the results of x86: a float out of an integer's range gives the smallest number
    of the type converted through (int32 for the small ones), then its low bits."""
    if source is to:
        return x
    if source.category == COMPLEX and to.category != COMPLEX:
        if to is bool_:
            return np.asarray(x != 0)
        x, source = x.real, source.to_real()
    if to in (float16, bfloat16):
        return load(store(x.astype(np.float32), to), to)
    if source.category != FLOAT or to.category >= FLOAT or to is bool_:
        return x.astype(to.compute.numpy)
    through = np.int64 if to is int64 or to.category == UNSIGNED else np.int32
    limit = 2.0 ** (8 * np.dtype(through).itemsize - 1)
    fine = (x >= -limit) & (x < limit)
    whole = np.where(fine, np.where(fine, x, 0).astype(through), through(np.iinfo(through).min))
    return whole.astype(to.numpy)


def number(value: Any, to: dtype) -> Array:
    """A Python number as an element of `to`."""
    if to.category < FLOAT and to is not bool_ and isinstance(value, (bool, int)):
        bits = int(value) & 0xFFFFFFFFFFFFFFFF
        return np.asarray(np.array(bits, np.uint64).astype(to.numpy))
    if isinstance(value, complex):
        return convert(np.asarray(value, np.complex128), _COMPLEX128, to)
    if to.category >= FLOAT or to is bool_:
        return np.asarray(value).astype(to.compute.numpy)
    return convert(np.asarray(value, np.float64), float64, to)


_COMPLEX128 = from_numpy_dtype(np.complex128)


# -- formulas


class _Evaluation:
    """One formula over the elements of one node's inputs."""

    def __init__(self, node: Node, op: Formula, inputs: list[Array]) -> None:
        self.node = node
        self.inputs = inputs
        self.types = natural_types(op, tuple([i.dtype for i in node.inputs]), node.dtype)
        self.done: dict[tuple[Expr, dtype], Array] = {}

    def value(self, e: Expr, want: dtype) -> Array:
        found = self.done.get((e, want))
        if found is None:
            x, own = self._own(e, want)
            found = self.done[e, want] = convert(x, own, want)
        return found

    def _own(self, e: Expr, want: dtype) -> tuple[Array, dtype]:
        """The value in the type that `e` has by itself, and that type."""
        node, value = self.node, e.value
        if e.fn == "in":
            assert isinstance(value, int)
            return self.inputs[value], node.inputs[value].dtype
        if e.fn == "lit":
            return number(value, want), want
        if e.fn == "scalar":
            assert isinstance(value, int)
            return number(_scalars(node)[value], want), want
        if e.fn == "index":
            assert isinstance(value, int)
            return _coordinate(node.shape, value), int64
        wanted = argument_types(e, want, self.types, node.dtype)
        own = own_type(e, wanted)
        args = [self.value(a, t) for a, t in zip(e.args, wanted, strict=True)]
        if e.fn == "cast":
            return convert(args[0], wanted[0], own), own
        out = np.asarray(FUNCTIONS[e.fn](*args))
        return out.astype(own.compute.numpy, copy=False), own


def _formula(node: Node, inputs: list[Array]) -> Array:
    op = node.op
    assert isinstance(op, Formula)
    evaluation = _Evaluation(node, op, inputs)
    own = evaluation.types[op.expr] or node.dtype
    return convert(evaluation.value(op.expr, own), own, node.dtype)


# -- the other primitives


def _coordinate(shape: tuple[int, ...], dim: int) -> Array:
    along = [1] * len(shape)
    along[dim] = shape[dim]
    return np.arange(shape[dim], dtype=np.int64).reshape(along)


def _const(node: Node, inputs: list[Array]) -> Array:
    return number(_scalars(node)[0], node.dtype)


def _index(node: Node, inputs: list[Array]) -> Array:
    return _coordinate(node.shape, _attrs(node)[0])


def _region(base: Array, node: Node, shape: tuple[int, ...]) -> Array:
    """The elements of contiguous `base` that a VIEW or WRITE means. `shape` has elements."""
    flat = base.reshape(-1)
    steps = [s * flat.itemsize for s in _attrs(node)[0]]
    return np.lib.stride_tricks.as_strided(flat[offset_of(node):], shape, steps)


def _view(node: Node, inputs: list[Array]) -> Array:
    if size_of(node.shape) == 0:
        return np.empty(node.shape, inputs[0].dtype)
    return _region(np.ascontiguousarray(inputs[0]), node, node.shape).copy()


def _write(node: Node, inputs: list[Array]) -> Array:
    out = np.array(inputs[0], order="C")
    if inputs[1].size:
        _region(out, node, inputs[1].shape)[...] = convert(inputs[1], node.inputs[1].dtype, node.dtype)
    return out


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


def _reduce(node: Node, inputs: list[Array]) -> Array:
    name, source = node.op.name, node.inputs[0].dtype
    dims: tuple[int, ...] = tuple(_attrs(node)[0])
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


_SCANS: dict[str, np.ufunc] = {
    "cumsum": np.add, "cumprod": np.multiply, "cummax": np.maximum, "cummin": np.minimum}


def _scan(node: Node, inputs: list[Array]) -> Array:
    x = convert(inputs[0], node.inputs[0].dtype, node.dtype)
    if x.ndim == 0 or x.size == 0:
        return x
    return np.asarray(_SCANS[node.op.name].accumulate(x, axis=_attrs(node)[0], dtype=x.dtype))


def _contract(node: Node, inputs: list[Array]) -> Array:
    a, b = (convert(x, i.dtype, node.dtype) for x, i in zip(inputs, node.inputs, strict=True))
    return np.asarray(np.matmul(a, b))


def _gather(node: Node, inputs: list[Array]) -> Array:
    """An index that is no row reads the last one, as in the kernels: whoever recorded it has it checked."""
    rows, index = inputs[0].shape[0], inputs[1]
    return np.take(inputs[0], np.where(index < 0, rows - 1, index), axis=0, mode="clip")


_SCATTERS: dict[str, np.ufunc] = {"scatter_add": np.add, "scatter_mul": np.multiply,
                                  "scatter_max": np.maximum, "scatter_min": np.minimum}


def _scatter(node: Node, inputs: list[Array]) -> Array:
    out = np.array(convert(inputs[0], node.inputs[0].dtype, node.dtype), order="C")
    rows = inputs[1].reshape(-1)
    values = convert(inputs[2], node.inputs[2].dtype, node.dtype).reshape(rows.size, out.shape[1])
    inside = (rows >= 0) & (rows < out.shape[0])
    if not inside.all():  # no row: nothing is written, as in the kernels
        rows, values = rows[inside], values[inside]
    if node.op is g.SCATTER_SET:
        out[rows] = values
    else:
        _SCATTERS[node.op.name].at(out, rows, values)
    return out


def _sort(node: Node, inputs: list[Array]) -> Array:
    dim, descending = _attrs(node)
    x = inputs[0]
    if x.ndim == 0:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    # sorted backwards and turned round: equal elements keep their order, NaN comes first
    order = np.argsort(np.flip(x, dim), axis=dim, kind="stable")
    return np.flip(x.shape[dim] - 1 - order, dim)


_KINDS = {
    "pointwise": _formula, "const": _const, "index": _index, "view": _view, "write": _write,
    "reduce": _reduce, "scan": _scan, "contract": _contract, "gather": _gather,
    "scatter": _scatter, "sort": _sort,
}
