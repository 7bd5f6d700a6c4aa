"""Sorting and what stands on it; sets; searching."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from facula import defaults
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, bool_, dtype, float32, int32, int64
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import (
    ARGMAX,
    ARGSORT,
    CALL,
    GATHER,
    MAX,
    PICK,
    SCATTER_ADD,
    SUM,
    Formula,
    Node,
    contiguous_strides,
    size_of,
)
from facula.engine.realize import leaf, value_of
from facula.engine.recorder import record
from facula.engine.runtime.routines import register
from facula.ops.arguments import no_complex, nonempty, numpy_names, tensor_argument, wrap_dim
from facula.ops.extrema import _AT, _EVEN
from facula.ops.gathering import linear_index
from facula.ops.pointwise import constant, to_dtype
from facula.ops.reduction_nodes import reduce_node
from facula.ops.registry import DTYPE_NAMES, FUNCTIONS, op
from facula.ops.return_types import result_type
from facula.ops.value_views import reshaped
from facula.size import Size
from facula.tensor import Tensor, attach, new, read, view_node

# ---- elements by their index along a dimension ------------------------------------------------------------


def take_node(node: Node, indices: Node, dim: int) -> Node:
    if size_of(indices.shape) == 0:
        return constant(0, indices.shape, node.dtype)
    n = size_of(node.shape)
    at = linear_index(indices, dim, node.shape)
    out = record(GATHER, (reshaped(node, (n, 1)), at), None, None, Size((*indices.shape, 1)), node.dtype)
    return reshaped(out, indices.shape)


def take(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """x[..., indices, ...] along `dim`; the indices of one lane are distinct or few."""
    if not x.shape:
        return x
    out = new(take_node(read(x), read(indices), dim))
    return attach(out, _TAKE, (x,), (indices, dim))


def put(g: Tensor, indices: Tensor, dim: int, shape: tuple[int, ...]) -> Tensor:
    """Zeros of `shape`, with `g` added at its indices along `dim`."""
    if not shape:
        return g.reshape(())
    n = size_of(shape)
    if size_of(g.shape) == 0:
        return new(constant(0, shape, g.dtype))
    at = linear_index(read(indices), dim, shape)
    source = reshaped(read(g), (*g.shape, 1))
    zeros = constant(0, (n, 1), g.dtype)
    out = new(reshaped(record(SCATTER_ADD, (zeros, at, source), None, None, Size((n, 1)), g.dtype), shape))
    return attach(out, _PUT, (g,), (indices, dim))


_TAKE = Rule("GatherBackward0", lambda ctx, g: (put(g, ctx.saved[0], ctx.saved[1], ctx.shapes[0]),))
_PUT = Rule("ScatterAddBackward0", lambda ctx, g: (take(g, ctx.saved[0], ctx.saved[1]),))


def _selected_back(ctx: Any, g: Tensor, *rest: Any) -> tuple[Tensor]:
    indices, dim = ctx.saved
    return (put(g, indices, dim, ctx.shapes[0]),)


_SORT = Rule("SortBackward0", _selected_back)
_SORT_STABLE = Rule("SortBackward1", _selected_back)
_TOPK = Rule("TopkBackward0", _selected_back)


# ---- sort -------------------------------------------------------------------------------------------------


def order_node(node: Node, dim: int, descending: bool) -> Node:
    if not node.shape:
        return constant(0, (), int64)
    return record(ARGSORT, (node,), (dim, descending), None, node.shape, int64)


def _sorted(input: Tensor, d: int, descending: bool, rule: Rule) -> tuple[Tensor, Tensor]:
    node = read(input)
    order = order_node(node, d, descending)
    indices = new(order)
    if not input.shape:
        return attach(new(node), Rule(rule.name, lambda ctx, g, *r: (g,)), (input,)), indices
    values = new(take_node(node, order, d))
    return attach(values, rule, (input,), (indices, d)), indices


def _orderly(input: Tensor, what: str) -> None:
    if input.dtype.is_complex:
        raise RuntimeError(f"{what} does not support complex dtypes on CPU")


@op(out=True)
@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: Any = None) -> Any:
    tensor_argument(input, "sort")
    d = wrap_dim(dim, len(input.shape))
    _orderly(input, " Sort")
    values, indices = _sorted(input, d, bool(descending), _SORT if stable is None else _SORT_STABLE)
    return result_type("sort")(values, indices)


@op
@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: Any = None) -> Tensor:
    tensor_argument(input, "argsort")
    _orderly(input, " Sort")
    return new(order_node(read(input), wrap_dim(dim, len(input.shape)), bool(descending)))


@op(out=True)
def msort(input: Tensor) -> Tensor:
    tensor_argument(input, "msort")
    _orderly(input, " Sort")
    return _sorted(input, 0, False, _SORT)[0]


def narrow_node(node: Node, dim: int, start: int, length: int) -> Node:
    strides = contiguous_strides(node.shape)
    shape = Size((*node.shape[:dim], length, *node.shape[dim + 1:]))
    if size_of(shape) == 0:
        return constant(0, shape, node.dtype)
    return view_node(node, shape, strides, start * strides[dim], node.dtype)


@op(out=True)
@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    tensor_argument(input, "topk")
    d = wrap_dim(dim, len(input.shape))
    if k < 0 or k > (input.shape[d] if input.shape else 1):
        raise RuntimeError("selected index k out of range")
    _orderly(input, " topk")
    if input.dtype is bool_:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    node = read(input)
    if not input.shape:
        values, indices = _sorted(input, 0, False, _TOPK)
        return result_type("topk")(values, indices)
    order = narrow_node(order_node(node, d, bool(largest)), d, 0, int(k))
    indices = new(order)
    values = attach(new(take_node(node, order, d)), _TOPK, (input,), (indices, d))
    return result_type("topk")(values, indices)


def _without(node: Node, d: int, keepdim: bool) -> Node:
    return node if keepdim else reshaped(node, (*node.shape[:d], *node.shape[d + 1:]))


def _chosen(name: str, rule: Rule, input: Tensor, order: Node, d: int, keepdim: bool) -> Any:
    """The named tuple of values and indices, for `order` that keeps dim `d` with size 1."""
    if not input.shape:
        values = new(reshaped(read(input), ()))
        if input._rg:
            attach(values, Rule(rule.name, lambda ctx, g, *r: (g,)), (input,))
        return result_type(name)(values, new(constant(0, (), int64)))
    indices = new(_without(order, d, keepdim))
    values = new(_without(take_node(read(input), order, d), d, keepdim))
    attach(values, rule, (input,), (indices, d))
    return result_type(name)(values, indices)


@op(out=True)
@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    tensor_argument(input, "kthvalue")
    k = index(k)
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d] if input.shape else 1
    if n == 0:
        nonempty(input, (d,), False, "kthvalue")
    if not 1 <= k <= n:
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(d))
    if input.dtype is bool_ or input.dtype.is_complex:
        raise NotImplementedError(f'"kthvalue_cpu" not implemented for \'{DTYPE_NAMES[input.dtype.name]}\'')
    order = read(input)
    if input.shape:
        order = narrow_node(order_node(order, d, False), d, k - 1, 1)
    return _chosen("kthvalue", _AT["KthvalueBackward0"], input, order, d, keepdim)


_a, _b, _c = operand(0), operand(1), operand(2)
_ne, _eq = function("ne"), function("eq")
_IF_NAN = Formula("where", where(_ne(_a, _a), _b, _c))
_NOT_NAN = Formula("eq", _eq(_a, _a))
_HALF = Formula("half", function("floordiv")(function("maximum")(_a - 1, 0), 2))


def _median_order(node: Node, d: int, ignore_nan: bool) -> Node:
    n = node.shape[d]
    order = order_node(node, d, False)
    shape = Size((*node.shape[:d], 1, *node.shape[d + 1:]))
    if not node.dtype.is_floating_point:
        return narrow_node(order, d, (n - 1) // 2, 1)
    if ignore_nan:
        there = record(_NOT_NAN, (node,), None, None, node.shape, bool_)
        there = record(Formula_TO, (there,), None, None, node.shape, int64)
        count = reduce_node(SUM, there, (d,), True, int64)
        at = record(_HALF, (count,), None, None, shape, int64)
        return take_node(order, at, d)
    top = reduce_node(MAX, node, (d,), True, node.dtype)
    first = reduce_node(ARGMAX, node, (d,), True, int64)
    return record(_IF_NAN, (top, first, narrow_node(order, d, (n - 1) // 2, 1)), None, None, shape, int64)


Formula_TO = Formula("toCopy", _a)


def _median_op(name: str, ignore_nan: bool) -> Any:
    title = name.capitalize()

    def body(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        tensor_argument(input, name)
        if dim is not None:
            wrap_dim(dim, len(input.shape))
        if input.dtype is bool_ or input.dtype.is_complex:
            raise NotImplementedError(f'"median_{"cpu" if dim is None else "out"}" not implemented for '
                                      f"'{DTYPE_NAMES[input.dtype.name]}'")
        if dim is None:
            node = read(input)
            n = size_of(input.shape)
            if n == 0:
                return new(constant(float("nan") if input.dtype.category >= FLOAT else 0, (), input.dtype))
            flat = reshaped(node, (n,))
            value = reshaped(take_node(flat, _median_order(flat, 0, ignore_nan), 0), ())
            out = new(value)
            return attach(out, _EVEN[title + "Backward0"], (input,), (input, out, tuple(range(len(input.shape)))))
        d = wrap_dim(dim, len(input.shape))
        if input.shape:
            nonempty(input, (d,), False, "median")
        order = _median_order(read(input), d, ignore_nan) if input.shape else read(input)
        return _chosen(name, _AT[title + "Backward1"], input, order, d, keepdim)
    body.__name__ = body.__qualname__ = name
    return op(out=True)(numpy_names(body))


median = _median_op("median", False)
nanmedian = _median_op("nanmedian", True)


@register("mode")
def _mode_routine(x: Any, dim: int) -> tuple[Any, ...]:
    """The position (the last) of the smallest most frequent value, with `dim` kept."""
    moved = np.moveaxis(x, dim, -1)
    lanes = moved.reshape(-1, moved.shape[-1])
    out = np.zeros(len(lanes), np.int64)
    for i, lane in enumerate(lanes):
        values, counts = np.unique(lane, return_counts=True)
        if len(values):
            best = values[np.argmax(counts)]
            same = np.isnan(lane) if best != best else lane == best
            out[i] = np.flatnonzero(same)[-1]
    return (np.expand_dims(out.reshape(moved.shape[:-1]), dim),)


@op(name="mode", out=True)
@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    tensor_argument(input, "mode")
    d = wrap_dim(dim, len(input.shape))
    no_complex(input, "mode_cpu")
    order = read(input)
    if input.shape:
        nonempty(input, (d,), False, "mode")
        shape = Size((*input.shape[:d], 1, *input.shape[d + 1:]))
        call = record(CALL, (order,), ("mode", d), None, shape, int64)
        order = record(PICK, (call,), (0,), None, shape, int64)
    return _chosen("mode", _AT["ModeBackward0"], input, order, d, keepdim)


# ---- quantiles --------------------------------------------------------------------------------------------


def _quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str,
              ignore_nan: bool) -> Tensor:
    tensor_argument(input, name)
    if size_of(input.shape) == 0:
        raise RuntimeError("quantile() input tensor must be non-empty")
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(f"quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, but "
                           f"got {interpolation}")
    of = input.dtype
    if isinstance(q, Tensor):
        if len(q.shape) > 1:
            raise RuntimeError("quantile() q must be a scalar or 1D tensor")
        if q.dtype is not of:
            raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
        levels = q
    else:
        if not 0 <= q <= 1:
            raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q}")
        levels = new(constant(float(q), (), of))
    rank = len(input.shape)
    if dim is None:
        x = input.reshape(-1)
        d, full = 0, tuple([1] * rank)
    else:
        d = wrap_dim(dim, rank)
        x = input if rank else input.reshape(1)
        full = tuple([1 if k == d else s for k, s in enumerate(input.shape)])
    x = x.movedim(d, -1) if d != len(x.shape) - 1 else x
    last = len(x.shape) - 1
    lanes = x.shape[:-1]
    ordered = _sorted(x, last, False, _SORT)[0]
    plain = new(read(x))
    n = x.shape[-1]
    valid = to_dtype((plain == plain).sum(-1, keepdim=True), of)
    level = levels.reshape([1] * last + [-1])
    if ignore_nan:
        rank_at = level * (valid - 1)
        rank_at = FUNCTIONS["clamp"](rank_at, min=0)
    else:
        rank_at = level * float(n - 1)
        rank_at = FUNCTIONS["where"](valid == n, rank_at, new(constant(float(n - 1), (), of)))
    if interpolation == "lower":
        rank_at = rank_at.floor()
    elif interpolation == "higher":
        rank_at = rank_at.ceil()
    elif interpolation == "nearest":
        rank_at = rank_at.round()
    m = levels.numel()
    rank_at = rank_at.expand((*lanes, m))
    low = rank_at.floor()
    below = take(ordered, to_dtype(low, int64), last)
    if interpolation in ("linear", "midpoint"):
        weight = rank_at - low if interpolation == "linear" else new(constant(0.5, (), of))
        above = take(ordered, to_dtype(rank_at.ceil(), int64), last)
        below = below + (above - below) * weight
    out = below.movedim(-1, 0) if len(below.shape) > 1 else below
    target = full if keepdim else tuple(lanes)
    if not levels.shape and not keepdim and rank:
        return out.squeeze(0) if out.shape == (1, *target) else out.reshape(target)
    return out.reshape((m, *target) if levels.shape else target)


@op(out=True)
@numpy_names
def quantile(input: Tensor, q: Any, dim: Any = None, keepdim: bool = False, *,
             interpolation: str = "linear") -> Tensor:
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@op(out=True)
@numpy_names
def nanquantile(input: Tensor, q: Any, dim: Any = None, keepdim: bool = False, *,
                interpolation: str = "linear") -> Tensor:
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


# ---- sets: their sizes depend on the values, so the host does them now --------------------------------------


def host(t: Tensor) -> Any:
    """The elements as a NumPy array that computes (16-bit floats widened)."""
    node = read(t)
    if node.dtype.compute is not node.dtype:
        node = record(Formula_TO, (node,), None, None, node.shape, float32)
    return value_of(node)


def from_host(array: Any, of: dtype) -> Tensor:
    from facula.dtypes import from_numpy_dtype
    array = np.array(array, order="C", copy=True)
    if of.compute is not of:
        t = from_host(array.astype(np.float32), float32)
        return to_dtype(t, of)
    array = array.astype(of.numpy, copy=False)
    assert from_numpy_dtype(array.dtype) is of
    return new(leaf(array, Size(array.shape), of))


def _parts(shape: tuple[int, ...], dim: int) -> int:
    """The dimension whose parts are to be told apart: parts without elements are neither equal nor different.

    That there are no parts at all is fine.
    """
    if not shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    d = wrap_dim(dim, len(shape))
    empty = [k for k, n in enumerate(shape) if n == 0]
    if shape[d] == 0:
        if len(empty) > 1:
            raise RuntimeError("Number of zero sized dimensions is more than one, so unique cannot be applied ")
    elif empty:
        raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique cannot be applied")
    return d


@op
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
           dim: int | None = None) -> Any:
    tensor_argument(input, "unique")
    array = host(input)
    d = None if dim is None else _parts(input.shape, dim)
    if d is not None and input.shape[d] == 0 and size_of(input.shape) == 0:
        values, inverse, counts = array, np.zeros(0, np.int64), np.zeros(0, np.int64)
    else:
        values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=d, equal_nan=False)
    inverse = np.asarray(inverse).reshape(input.shape if d is None else (-1,))
    out = [from_host(values, input.dtype)]
    if return_inverse:
        out.append(from_host(inverse, int64))
    if return_counts:
        out.append(from_host(counts, int64))
    return out[0] if len(out) == 1 else tuple(out)


@op
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:
    tensor_argument(input, "unique_consecutive")
    array = host(input)
    if dim is None:
        flat = array.reshape(-1)
        moved = flat
        changed = flat[1:] != flat[:-1]
    else:
        d = _parts(input.shape, dim)
        moved = np.moveaxis(array, d, 0)
        rows = moved.reshape(len(moved), size_of(moved.shape[1:]))
        changed = (rows[1:] != rows[:-1]).any(axis=1)
    n = moved.shape[0]
    starts = np.concatenate([[True], changed]) if n else np.zeros(0, bool)
    values = moved[starts]
    if dim is not None:
        values = np.moveaxis(values, 0, d)
    out = [from_host(values, input.dtype)]
    if return_inverse:
        inverse = np.cumsum(starts) - 1
        out.append(from_host(inverse.reshape(input.shape) if dim is None else inverse, int64))
    if return_counts:
        at = np.flatnonzero(starts)
        out.append(from_host(np.diff(np.append(at, n)), int64))
    return out[0] if len(out) == 1 else tuple(out)


# ---- searching --------------------------------------------------------------------------------------------


@register("searchsorted")
def _searchsorted(edges: Any, values: Any, right: bool, lanes: bool) -> tuple[Any, ...]:
    side: Any = "right" if right else "left"
    if not lanes:
        return (np.asarray(np.searchsorted(edges, values, side=side)).reshape(values.shape),)
    if not values.size or not edges.size:
        return (np.zeros(values.shape, np.int64),)
    rows = edges.reshape(-1, edges.shape[-1])
    wanted = values.reshape(len(rows), -1)
    out = np.empty(wanted.shape, np.int64)
    for i, row in enumerate(rows):
        out[i] = np.searchsorted(row, wanted[i], side=side)
    return (out.reshape(values.shape),)


def _search(edges: Tensor, values: Any, out_int32: bool, right: bool) -> Tensor:
    for x in (edges, values):
        if isinstance(x, complex) or isinstance(x, Tensor) and x.dtype.is_complex:
            raise NotImplementedError('"searchsorted_out_cpu" not implemented for \'ComplexFloat\'')
    if not isinstance(values, Tensor):
        of = edges.dtype if isinstance(values, int) else (
            edges.dtype if edges.dtype.category >= FLOAT else defaults.get_default_dtype())
        values = new(constant(values, (), of))
    of = int32 if out_int32 else int64
    lanes = len(edges.shape) != 1
    call = record(CALL, (read(edges), read(values)), ("searchsorted", right, lanes), None, values.shape, int64)
    return new(record(PICK, (call,), (0,), None, values.shape, of))


@op(method=False, out=True)
def searchsorted(sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False,
                 side: str | None = None, sorter: Any = None) -> Tensor:
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
        if right and side == "left":
            raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites, got side of left "
                               "while right was True")
    if not sorted_sequence.shape:
        raise RuntimeError("torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 "
                           "dimension")
    edges = new(read(sorted_sequence))
    if len(edges.shape) != 1:
        if not isinstance(input, Tensor) or len(input.shape) == 0:
            raise RuntimeError("torch.searchsorted(): input value can be a scalar only when boundaries tensor "
                               f"dimension is 1, but we got boundaries tensor dim({len(edges.shape)}) and input "
                               "value's dim(0) numel(1)")
        if edges.shape[:-1] != input.shape[:-1]:
            raise RuntimeError("torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
                               "dimensions of boundaries tensor and input value tensor must match, but we got "
                               f"boundaries tensor {list(edges.shape)} and input value tensor {list(input.shape)}")
    if sorter is not None:
        edges = take(edges, sorter, len(edges.shape) - 1)
    return _search(edges, input, out_int32, right or side == "right")


@op(method=False, out=True)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    if len(boundaries.shape) != 1:
        raise RuntimeError("boundaries tensor must be 1 dimension, but got dim(" f"{len(boundaries.shape)})")
    return _search(new(read(boundaries)), input, out_int32, right)
