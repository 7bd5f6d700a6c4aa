"""Values of a certain rank: kthvalue, median, mode, quantile."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, bool_, int64
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import ARGMAX, CALL, MAX, PICK, SUM, Formula, Node, size_of
from facula.engine.recorder import record
from facula.engine.runtime.routines import register
from facula.ops.arguments import check_tensor, no_complex, nonempty, numpy_names, wrap_dim
from facula.ops.arrange.sorting import SORT_RULE, order_node, sorted_with
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.comparison import clamp
from facula.ops.index.gathering import node_along, take_along
from facula.ops.index.masking import where as choose
from facula.ops.reduce.extrema import AT, EVEN
from facula.ops.reduce.reduction_nodes import reduce_node
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.requirements import require
from facula.ops.return_types import result_type
from facula.ops.sized_types import QUANTILES
from facula.ops.type_rules import CHOSEN, CHOSEN_WITH_PLACE
from facula.ops.view.value_views import owned, reshaped
from facula.size import Size


def _without(node: Node, d: int, keepdim: bool) -> Node:
    return node if keepdim else reshaped(node, (*node.shape[:d], *node.shape[d + 1:]))


def _chosen(name: str, rule: Rule, input: Tensor, order: Node, d: int, keepdim: bool) -> Any:
    """The named tuple of values and indices, for `order` that keeps dim `d` with size 1."""
    if input.shape:
        indices = new(_without(order, d, keepdim))
        values = new(_without(node_along(read(input), order, d), d, keepdim))
    else:
        indices = new(constant(0, (), int64))
        values = new(reshaped(read(input), ()))
    attach(values, rule, (input,), (indices, d))
    return result_type(name)(values, indices)


@op(out=True, types=CHOSEN_WITH_PLACE, rules=(AT["KthvalueBackward0"],))
@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    check_tensor(input, "kthvalue")
    k = index(k)
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d] if input.shape else 1
    if n == 0:
        nonempty(input, (d,), False, "kthvalue")
    if not 1 <= k <= n:
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(d))
    if input.dtype is bool_ or input.dtype.is_complex:
        raise NotImplementedError("\"kthvalue_cpu\" not implemented for "
                                  f"'{DTYPE_NAMES[input.dtype.name]}'")
    order = read(input)
    if input.shape:
        order = order_node(order, d, False, k - 1, 1, "nth")
    return _chosen("kthvalue", AT["KthvalueBackward0"], input, order, d, keepdim)


# ---- median --------------------------------------------------------------------------------------

_a, _b, _c = operand(0), operand(1), operand(2)
_ne, _eq = function("ne"), function("eq")
_IF_NAN = Formula("where", where(_ne(_a, _a), _b, _c))
_NOT_NAN = Formula("eq", _eq(_a, _a))
_HALF = Formula("half", function("floordiv")(function("maximum")(_a - 1, 0), 2))
_TO_INTEGER = Formula("toCopy", _a)


def _median_order(node: Node, d: int, ignore_nan: bool) -> Node:
    n = node.shape[d]
    shape = Size((*node.shape[:d], 1, *node.shape[d + 1:]))
    if not node.dtype.is_floating_point:
        return order_node(node, d, False, (n - 1) // 2, 1)
    if ignore_nan:
        there = record(_NOT_NAN, (node,), None, None, node.shape, bool_)
        there = record(_TO_INTEGER, (there,), None, None, node.shape, int64)
        count = reduce_node(SUM, there, (d,), True, int64)
        at = record(_HALF, (count,), None, None, shape, int64)
        return node_along(order_node(node, d, False), at, d)
    top = reduce_node(MAX, node, (d,), True, node.dtype)
    first = reduce_node(ARGMAX, node, (d,), True, int64)
    middle = order_node(node, d, False, (n - 1) // 2, 1)
    return record(_IF_NAN, (top, first, middle), None, None, shape, int64)


def _median_op(name: str, ignore_nan: bool) -> Any:
    title = name.capitalize()

    def body(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        check_tensor(input, name)
        if dim is not None:
            wrap_dim(dim, len(input.shape))
        if input.dtype is bool_ or input.dtype.is_complex:
            kernel = "median_cpu" if dim is None else "median_out"
            raise NotImplementedError(f"\"{kernel}\" not implemented for "
                                      f"'{DTYPE_NAMES[input.dtype.name]}'")
        if dim is None:
            node = read(input)
            n = size_of(input.shape)
            if n == 0:
                nothing = float("nan") if input.dtype.category >= FLOAT else 0
                return new(constant(nothing, (), input.dtype))
            flat = reshaped(node, (n,))
            value = reshaped(node_along(flat, _median_order(flat, 0, ignore_nan), 0), ())
            out = new(value)
            saved = (input, out, tuple(range(len(input.shape))))
            return attach(out, EVEN[title + "Backward0"], (input,), saved)
        d = wrap_dim(dim, len(input.shape))
        if input.shape:
            nonempty(input, (d,), False, "median")
        order = _median_order(read(input), d, ignore_nan) if input.shape else read(input)
        return _chosen(name, AT[title + "Backward1"], input, order, d, keepdim)
    body.__name__ = body.__qualname__ = name
    return op(out=True, types=CHOSEN, rules=(EVEN[title + "Backward0"], AT[title + "Backward1"]))(numpy_names(body))


median = _median_op("median", False)
nanmedian = _median_op("nanmedian", True)

# ---- mode ----------------------------------------------------------------------------------------

@register("mode")
def _mode_routine(x: Any, order: Any, dim: int) -> tuple[Any, ...]:
    """Where the smallest of the most frequent values is, with `dim` kept: the last of its equals in `order`."""
    x, order = np.moveaxis(x, dim, -1), np.moveaxis(order, dim, -1)
    ordered = np.take_along_axis(x, order, -1)
    n = x.shape[-1]
    ends = np.ones(x.shape, bool)
    ends[..., :-1] = (ordered[..., :-1] != ordered[..., 1:]) & ~np.isnan(ordered[..., :-1])
    place = np.arange(n)
    before = np.maximum.accumulate(np.where(ends, place, -1), -1)  # the last end so far
    before = np.concatenate([np.full((*x.shape[:-1], 1), -1), before[..., :-1]], -1)
    best = np.argmax(np.where(ends, place - before, 0), -1)[..., None]
    return (np.moveaxis(np.take_along_axis(order, best, -1), -1, dim),)


@op(name="mode", out=True, types=CHOSEN_WITH_PLACE, rules=(AT["ModeBackward0"],))
@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    check_tensor(input, "mode")
    d = wrap_dim(dim, len(input.shape))
    no_complex(input, "mode_cpu")
    order = read(input)
    if input.shape:
        nonempty(input, (d,), False, "mode")
        shape = Size((*input.shape[:d], 1, *input.shape[d + 1:]))
        places = order_node(order, d, False, way="sort")
        call = record(CALL, (order, places), ("mode", d), None, shape, int64)
        order = record(PICK, (call,), (0,), None, shape, int64)
    return _chosen("mode", AT["ModeBackward0"], input, order, d, keepdim)


# ---- quantiles -----------------------------------------------------------------------------------

def _quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, interpolation: str,
              ignore_nan: bool) -> Tensor:
    check_tensor(input, name)
    if size_of(input.shape) == 0:
        raise RuntimeError("quantile() input tensor must be non-empty")
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError("quantile() interpolation must be one of linear, lower, higher, "
                           f"midpoint or nearest, but got {interpolation}")
    of = input.dtype
    if isinstance(q, Tensor):
        if len(q.shape) > 1:
            raise RuntimeError("quantile() q must be a scalar or 1D tensor")
        if q.dtype is not of:
            raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
        require(q, lambda level: (level >= 0) & (level <= 1), RuntimeError,
                "quantile() q values must be in the range [0, 1]")
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
    ordered = sorted_with(x, last, False, SORT_RULE)[0]
    plain = new(read(x))
    n = x.shape[-1]
    valid = to_dtype((plain == plain).sum(-1, keepdim=True), of)
    level = levels.reshape([1] * last + [-1])
    if ignore_nan:
        rank_at = level * (valid - 1)
        rank_at = clamp(rank_at, min=0)
    else:
        rank_at = level * float(n - 1)
        rank_at = choose(valid == n, rank_at, new(constant(float(n - 1), (), of)))
    if interpolation == "lower":
        rank_at = rank_at.floor()
    elif interpolation == "higher":
        rank_at = rank_at.ceil()
    elif interpolation == "nearest":
        rank_at = rank_at.round()
    m = levels.numel()
    rank_at = rank_at.expand((*lanes, m))
    low = rank_at.floor()
    below = take_along(ordered, to_dtype(low, int64), last)
    if interpolation in ("linear", "midpoint"):
        weight = rank_at - low if interpolation == "linear" else new(constant(0.5, (), of))
        above = take_along(ordered, to_dtype(rank_at.ceil(), int64), last)
        below = below + (above - below) * weight
    if keepdim and levels.shape:
        return below.reshape((*full, m)).movedim(-1, 0)
    out = below.movedim(-1, 0) if len(below.shape) > 1 else below
    target = full if keepdim else tuple(lanes)
    if not levels.shape and not keepdim and rank:
        return out.squeeze(0) if out.shape == (1, *target) else out.reshape(target)
    return out.reshape((m, *target) if levels.shape else target)


@op(out=True, types=QUANTILES)
@numpy_names
def quantile(input: Tensor, q: Any, dim: Any = None, keepdim: bool = False, *,
             interpolation: str = "linear") -> Tensor:
    return owned(_quantile("quantile", input, q, dim, keepdim, interpolation, False))


@op(out=True, types=QUANTILES)
@numpy_names
def nanquantile(input: Tensor, q: Any, dim: Any = None, keepdim: bool = False, *,
                interpolation: str = "linear") -> Tensor:
    return owned(_quantile("nanquantile", input, q, dim, keepdim, interpolation, True))
