"""Running sums, products and extrema along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read, view_node
from facula._tensor.tape import attach, edge_of
from facula.autograd.graph import Rule, mode
from facula.dtypes import FLOAT, bool_, dtype, int64
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import (
    CALL,
    CUMMAX,
    CUMMIN,
    CUMPROD,
    CUMSUM,
    PICK,
    Formula,
    Primitive,
    contiguous_strides,
)
from facula.engine.recorder import record
from facula.engine.runtime.routines import register
from facula.ops.arguments import check_tensor, no_complex, numpy_names, wrap_dim
from facula.ops.arrange.joining import cat
from facula.ops.casting import to_dtype
from facula.ops.create.creation import zeros
from facula.ops.elementwise.pointwise import apply
from facula.ops.index.gathering import along_rule
from facula.ops.reduce.reduction_nodes import coordinate, mask, mask_zero
from facula.ops.registry import DTYPE_NAMES, alias_of, op
from facula.ops.return_types import result_type
from facula.ops.sized_types import DIFFERENCES, RUNNING_TRAPEZOID, TRAPEZOID
from facula.ops.type_rules import ALONG, SCANNED, SCANNED_WITH_PLACE


def scanned(primitive: Primitive, x: Tensor, d: int) -> Tensor:
    if not x.shape:
        return new(read(x))
    return new(record(primitive, (read(x),), (d,), None, x.shape, x.dtype))


def flipped(x: Tensor, d: int) -> Tensor:
    if not x.shape:
        return x
    strides = list(contiguous_strides(x.shape))
    start = (x.shape[d] - 1) * strides[d]
    strides[d] = -strides[d]
    if not x.numel():
        return x
    return attach(new(view_node(read(x), x.shape, tuple(strides), start, x.dtype)), _FLIP, (x,), (d,))


_FLIP = Rule("FlipBackward0", lambda ctx, g: (flipped(g, ctx.saved[0]),))


def reversed_sum(x: Tensor, d: int) -> Tensor:
    """sum over j >= i along `d`."""
    return flipped(cumsum(flipped(x, d), d), d)


def _accumulated(input: Tensor, dim: Any, of: dtype | None, what: str) -> tuple[Tensor, int]:
    if of is bool_:
        raise NotImplementedError(f"\"{what}_out_cpu\" not implemented for 'Bool'")
    check_tensor(input, what)
    x = to_dtype(input, of or (input.dtype if input.dtype.category >= FLOAT else int64))
    return x, wrap_dim(dim, len(x.shape))


_CUMSUM = Rule("CumsumBackward0", lambda ctx, g: (reversed_sum(g, ctx.saved[0]),))


@op(inplace=True, out=True, types=SCANNED, rules=(_CUMSUM,))
@numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: dtype | None = None) -> Tensor:
    x, d = _accumulated(input, dim, dtype, "cumsum")
    return attach(scanned(CUMSUM, x, d), _CUMSUM, (x,), (d,))


def _cumprod_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, out, d = ctx.saved
    if not x.shape:
        return (g,)
    if x.dtype.is_complex:  # g * conj(f'), and f' is made of these two
        x, out = x.conj(), out.conj()
    if mode.grad and edge_of(x) is not None:
        return (_differentiable_slopes(x, g, d),)
    # before the first zero: the quotient; at it: the products without it; behind it: nothing
    zeros = cumsum(x == 0, d)
    first = apply(_FIRST, (zeros, x), None, bool_)
    without = apply(_ONE_AT, (first, x), None, x.dtype)
    at = reversed_sum(g * cumprod(without, d), d)
    before = reversed_sum(g * out, d) / mask_zero(x)
    return (mask(zeros == 0, before) + mask(first, at),)


def _ahead(x: Tensor, d: int, step: int) -> Tensor:
    """What stands `step` places on along `d`; zeros where there is nothing."""
    n = x.shape[d]
    gap = [min(step, n) if k == d else s for k, s in enumerate(x.shape)]
    return cat([x.narrow(d, min(step, n), n - min(step, n)), zeros(gap, dtype=x.dtype, device=x.device)], d)


def _differentiable_slopes(x: Tensor, g: Tensor, d: int) -> Tensor:
    """The gradient of cumprod without quotients and cases, so that its own derivatives are exact where x is 0.

    It is (the product before i) * r(i) with r(i) = g(i) + x(i+1) * r(i+1). The steps of this recurrence are put
    together in twos, fours, ...: log2(n) rounds.
    """
    n = x.shape[d]
    if not x.numel():
        return g
    first = zeros([1 if k == d else s for k, s in enumerate(x.shape)], dtype=x.dtype, device=x.device) + 1
    before = cumprod(cat([first, x.narrow(d, 0, n - 1)], d), d)
    total, factor = g, _ahead(x, d, 1)
    step = 1
    while step < n:
        total = total + factor * _ahead(total, d, step)
        factor = factor * _ahead(factor, d, step)
        step *= 2
    return before * total


_a, _b, _c = operand(0), operand(1), operand(2)
_and, _or, _eq, _ne, _exp, _log = [function(n) for n in ("and", "or", "eq", "ne", "exp", "log")]
_FIRST = Formula("first", _and(_eq(_a, 1), _eq(_b, 0)))
_ONE_AT = Formula("where", where(_a, 1.0, _b))
_CUMPROD = Rule("CumprodBackward0", _cumprod_back)


@op(inplace=True, out=True, types=SCANNED, rules=(_CUMPROD,))
@numpy_names
def cumprod(input: Tensor, dim: int, *, dtype: dtype | None = None) -> Tensor:
    x, d = _accumulated(input, dim, dtype, "cumprod")
    out = scanned(CUMPROD, x, d)
    return attach(out, _CUMPROD, (x,), (x, out, d))


_AT = Formula("at", where(_or(_ne(_a, _a), _eq(_a, _b)), _c, 0))


def _cumulative(name: str, primitive: Primitive) -> Any:
    rule = along_rule(name.capitalize() + "Backward0")

    def body(input: Tensor, dim: int) -> Any:
        check_tensor(input, name)
        if not input.shape and dim not in (0, -1):
            raise IndexError(f"{name}(): Expected reduction dim -1 or 0 for scalar but got {dim}")
        d = wrap_dim(dim, len(input.shape))
        no_complex(input, f"{name}_cpu")
        values = scanned(primitive, input, d)
        if not input.shape:
            from facula.ops.casting import constant
            indices = new(constant(0, (), int64))
        else:
            # the last position that equals the running extreme
            plain = new(read(input))
            at = new(record(_AT, (read(plain), read(values), read(coordinate(input.shape, d))), None, None,
                            input.shape, int64))
            indices = scanned(CUMMAX, at, d)
        attach(values, rule, (input,), (indices, d))
        return result_type(name)(values, indices)
    body.__name__ = body.__qualname__ = name
    return op(out=True, types=SCANNED_WITH_PLACE, rules=(rule,))(numpy_names(body))


cummax = _cumulative("cummax", CUMMAX)
cummin = _cumulative("cummin", CUMMIN)


@register("logcumsumexp")
def _logcumsumexp(x: Any, dim: int) -> tuple[Any, ...]:
    with np.errstate(all="ignore"):
        if not (x.ndim and x.size):
            return (x,)
        wide = np.logaddexp.accumulate(x, axis=dim, dtype=np.float64)  # as torch's: in float32 every step loses an ulp
        return (wide.astype(x.dtype, copy=False),)


def _logcumsumexp_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, out, d = ctx.saved
    if not x.shape:
        return (g,)
    up = apply(_LOG_POSITIVE, (g, out), None, g.dtype)
    down = apply(_LOG_NEGATIVE, (g, out), None, g.dtype)
    total = None
    for part in (up, down):
        back = apply(_EXP_ADD, (flipped(logcumsumexp(flipped(part, d), d), d), x), None, g.dtype)
        total = back if total is None else total - back
    return (total,)  # type: ignore[return-value]


_INF = float("inf")
_LOG_POSITIVE = Formula("log", where(_a > 0.0, _log(_a) - _b, -_INF))
_LOG_NEGATIVE = Formula("log", where(_a < 0.0, _log(-_a) - _b, -_INF))
_EXP_ADD = Formula("exp", _exp(_a + _b))
_LCSE = Rule("LogcumsumexpBackward0", _logcumsumexp_back)


@op(out=True, types=ALONG, rules=(_LCSE,))
@numpy_names
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    check_tensor(input, "logcumsumexp")
    x = input
    d = wrap_dim(dim, len(x.shape))
    if x.dtype.category < FLOAT:
        raise NotImplementedError(f'"logcumsumexp_out_cpu" not implemented for \'{DTYPE_NAMES[x.dtype.name]}\'')
    if x.dtype.is_complex:
        raise NotImplementedError("logcumsumexp of complex tensors is not implemented")
    if not x.shape:
        return attach(out := new(read(x)), _LCSE, (x,), (x, out, d))
    call = record(CALL, (read(x),), ("logcumsumexp", d), None, x.shape, x.dtype)
    out = new(record(PICK, (call,), (0,), None, x.shape, x.dtype))
    return attach(out, _LCSE, (x,), (x, out, d))


@op(out=True, types=DIFFERENCES)
@numpy_names
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    check_tensor(input, "diff")
    if not input.shape:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    d = wrap_dim(dim, len(input.shape))
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    parts = [p for p in (prepend, input, append) if p is not None]
    x = cat(parts, d) if len(parts) > 1 else input
    if n == 0:
        return input.clone()  # without what is put before and after it
    for _ in range(min(n, x.shape[d])):
        m = x.shape[d] - 1
        high, low = x.narrow(d, 1, m), x.narrow(d, 0, m)
        x = high.logical_xor(low) if x.dtype is bool_ else high - low
    return x


def _steps(y: Tensor, x: Any, dx: Any, dim: int) -> tuple[Tensor, Tensor | float, int]:
    """The sums of neighbours, half of the distances between them, the dimension along which they are."""
    d = wrap_dim(dim, len(y.shape))
    if y.dtype.category < FLOAT:
        y = to_dtype(y, int64)  # where sums of small integers have room
    m = max(y.shape[d] - 1, 0)
    pair = y.narrow(d, min(1, y.shape[d]), m) + y.narrow(d, 0, m)
    if x is None:
        return pair, 0.5 if dx is None else dx * 0.5, d
    if len(x.shape) == 1 and len(y.shape) > 1:
        if x.shape[0] != y.shape[d]:
            raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
        x = x.reshape([-1 if k == d else 1 for k in range(len(y.shape))])
    e = d - len(y.shape) + len(x.shape)
    k = max(x.shape[e] - 1, 0)
    return pair, (x.narrow(e, min(1, x.shape[e]), k) - x.narrow(e, 0, k)) * 0.5, d


@op(method=False, types=TRAPEZOID)
def trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    if y.dtype is bool_:
        raise RuntimeError("trapezoid: received a bool input for `y`, but bool is not supported")
    if y.shape[wrap_dim(dim, len(y.shape))] == 0:
        empty: Tensor = zeros(
            [s for k, s in enumerate(y.shape) if k != wrap_dim(dim, len(y.shape))], dtype=y.dtype,
            device=y.device)
        return empty
    pair, step, d = _steps(y, x, dx, dim)
    return (pair * step).sum(d)


@op(method=False, types=RUNNING_TRAPEZOID)
def cumulative_trapezoid(y: Tensor, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    if y.dtype is bool_:
        raise RuntimeError("cumulative_trapezoid: received a bool input for `y`, but bool is not supported")
    pair, step, d = _steps(y, x, dx, dim)
    return (pair * step).cumsum(d)


alias_of("trapezoid", "trapz")
