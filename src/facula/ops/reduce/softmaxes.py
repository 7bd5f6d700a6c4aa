"""softmax, log_softmax and logsumexp.

Recorded as plain nodes under one hand-written rule, so that the compiler sees one loop nest.
"""

from __future__ import annotations

import math
from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, dtype
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import MAX, SUM, Formula, size_of
from facula.engine.recorder import record
from facula.ops.arguments import check_tensor, dims_of, numpy_names, wrap_dim
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.pointwise import apply
from facula.ops.reduce.extrema import amax
from facula.ops.reduce.reduction_nodes import (
    count_of,
    dropped,
    formula_node,
    kept,
    narrowed,
    reduce_kept,
    reduce_node,
    spread,
    widened,
)
from facula.ops.reduce.reductions import summed
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.severing import severed
from facula.ops.type_rules import ALONG, LOG_SUMMED
from facula.ops.view.value_views import reshaped

_a, _b, _c = operand(0), operand(1), operand(2)
_exp, _log, _eq, _abs = [function(n) for n in ("exp", "log", "eq", "abs")]
_INVERSE = Formula("reciprocal", 1.0 / _a)
_MUL = Formula("mul", _a * _b)
_EXP_SUB = Formula("exp", _exp(_a - _b))
_SUB_LOG = Formula("sub", _a - _b - _log(_c))
_FINITE = Formula("where", where(_eq(_abs(_a), math.inf), 0.0, _a))
_LOG_ADD = Formula("add", _log(_a) + _b)
_G_EXP = Formula("mul", _a * _exp(_b - _c))
_SOFTMAX_G = Formula("sub", _a - _b * _c)
_LOG_SOFTMAX_G = Formula("sub", _a - _b * _exp(_c))


def _lse_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, out, dims = ctx.saved
    shape = x.shape
    return (apply(_G_EXP, (spread(g, shape, dims), x, spread(out, shape, dims)), None, g.dtype),)


_LSE = Rule("LogsumexpBackward0", _lse_back)


@op(out=True, types=LOG_SUMMED, rules=(_LSE,))
@numpy_names
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    check_tensor(input, "logsumexp")
    x = input if input.dtype.category >= FLOAT else to_dtype(input, defaults.get_default_dtype())
    dims = dims_of(dim, len(x.shape))
    if x.dtype.is_complex:
        return _complex_logsumexp(x, dims, keepdim)
    node = widened(x)
    if not dims:
        return attach(out := new(reshaped(read(x), ())), _LSE, (x,), (x, out, dims))
    if count_of(x.shape, dims) == 0:
        return _log_of_nothing(x, dims, keepdim)
    of = node.dtype
    top = reduce_node(MAX, node, dims, True, of)
    top = formula_node(_FINITE, (top,), None, top.shape, of)
    e = formula_node(_EXP_SUB, (node, top), None, node.shape, of)
    total = reduce_node(SUM, e, dims, True, of)
    result = formula_node(_LOG_ADD, (total, top), None, total.shape, of)
    if not keepdim:
        result = reshaped(result, dropped(x.shape, dims))
    out = new(narrowed(result, x.dtype))
    return attach(out, _LSE, (x,), (x, out, dims))


def _log_of_nothing(x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    shape = kept(x.shape, dims) if keepdim else dropped(x.shape, dims)
    return severed(new(constant(-math.inf, shape, x.dtype)), x, name="LogsumexpBackward0")


def _complex_logsumexp(x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """The largest real part is taken out; the result's imaginary part is an angle in (-pi, pi]."""
    if count_of(x.shape, dims) == 0:
        return _log_of_nothing(x, dims, keepdim)
    real = x.detach().real
    top = amax(real, dims, True) if dims else real
    top = to_dtype(new(formula_node(_FINITE, (read(top),), None, top.shape, top.dtype)), x.dtype)
    total = (x - top).exp()
    out = (summed(total, dims, True, None) if dims else total).log() + top
    return out if keepdim else out.reshape(dropped(x.shape, dims))


def _softmax_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    out, dim = ctx.saved
    gy = apply(_MUL, (g, out), None, g.dtype)
    total = summed(gy, dim, True, None) if out.shape else gy
    return (apply(_SOFTMAX_G, (gy, total, out), None, g.dtype),)


def _log_softmax_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    out, dim = ctx.saved
    total = summed(g, dim, True, None) if out.shape else g
    return (apply(_LOG_SOFTMAX_G, (g, total, out), None, g.dtype),)


_SOFTMAX = Rule("SoftmaxBackward0", _softmax_back)
_LOG_SOFTMAX = Rule("LogSoftmaxBackward0", _log_softmax_back)


def _soft(input: Tensor, dim: Any, of: dtype | None, log: bool) -> Tensor:
    x = input if of is None else to_dtype(input, of)
    what = "log_softmax" if log else "softmax"
    rank = len(x.shape)
    d = wrap_dim(dim, rank)
    if x.dtype.category < FLOAT or x.dtype.is_complex:
        kernel = "lastdim_kernel" if d == rank - 1 or not rank else "kernel"
        raise NotImplementedError(f'"{what}_{kernel}_impl" not implemented for '
                                  f'\'{DTYPE_NAMES[x.dtype.name]}\'')
    rule = _LOG_SOFTMAX if log else _SOFTMAX
    if not rank:
        out = new(constant(0.0 if log else 1.0, (), x.dtype))
        return attach(out, rule, (x,), (out, d))
    node = widened(x)
    w = node.dtype
    dims = (d,)
    if size_of(x.shape) == 0:
        out = new(constant(0.0, x.shape, x.dtype))
        return attach(out, rule, (x,), (out, d))
    shape = x.shape
    top = reduce_kept(MAX, node, dims, w)
    e = record(_EXP_SUB, (node, top), None, None, shape, w)
    total = reduce_kept(SUM, e, dims, w)
    if log:
        result = record(_SUB_LOG, (node, top, total), None, None, shape, w)
    else:
        # one division a row: a product differs from the quotient by at most half a unit in the
        # last place
        result = record(_MUL, (e, record(_INVERSE, (total,), None, None, total.shape, w)), None,
                        None, shape, w)
    out = new(result if w is x.dtype else narrowed(result, x.dtype))
    return attach(out, rule, (x,), (out, d)) if x._rg or x._base is not None else out


@op(out=True, types=ALONG, rules=(_SOFTMAX,))
@numpy_names
def softmax(input: Tensor, dim: Any, dtype: dtype | None = None) -> Tensor:
    check_tensor(input, "softmax")
    return _soft(input, dim, dtype, False)


@op(out=True, types=ALONG, rules=(_LOG_SOFTMAX,))
@numpy_names
def log_softmax(input: Tensor, dim: Any, dtype: dtype | None = None) -> Tensor:
    check_tensor(input, "log_softmax")
    return _soft(input, dim, dtype, True)
