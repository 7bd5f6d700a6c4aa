"""Elementary functions beside the arithmetic ones: angles, powers of two, common divisors, numerical slopes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import lay, read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import BOOL, COMPLEX, FLOAT, bool_, complex128, float64, int32, int64
from facula.engine.graph.node import CALL, PICK
from facula.engine.placing import meta_node
from facula.engine.realize import leaf, value_of
from facula.engine.recorder import record
from facula.engine.runtime.routines import register
from facula.engine.threads import turn
from facula.layouts import contiguous_format
from facula.ops.arguments import distinct_dims
from facula.ops.arrange.joining import cat, stack
from facula.ops.arrange.padding import constant_pad_nd
from facula.ops.casting import constant, to_dtype
from facula.ops.create.conversion import complex_
from facula.ops.elementwise.arithmetic import pow as power
from facula.ops.elementwise.comparison import clamp, isnan
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.elementwise.transcendental import atan2
from facula.ops.index.gathering import nonzero
from facula.ops.index.masking import where
from facula.ops.promotion import result_dtype
from facula.ops.registry import DTYPE_NAMES, op, write_back
from facula.ops.return_types import result_type
from facula.ops.severing import severed
from facula.ops.sized_types import COORDINATES, PLACES, POWERS, SLOPES
from facula.ops.type_rules import ANGLE, DOUBLE, MANTISSA, PROMOTED, PROMOTED_FLOATING, SAME, TRUTH_OF_ONE
from facula.ops.view import (
    copying,  # noqa: F401  (forms of theirs are replaced here)
    dtype_views,  # noqa: F401  (forms of theirs are replaced here)
)
from facula.ops.view.dtype_views import imag

# ---- parts of a number ------------------------------------------------------------------------------------


def _angle_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x = ctx.saved[0]
    size = x.real * x.real + x.imag * x.imag
    safe = size.masked_fill(size == 0, 1)
    return (complex_(g * -x.imag / safe, g * x.real / safe),)


_ANGLE = Rule("AngleBackward0", _angle_backward)


@op(out=True, types=ANGLE)
def angle(input: Tensor) -> Tensor:
    """The angle of each number: of real ones 0, or pi if negative."""
    if not input.dtype.is_complex:
        x = input if input.dtype.category >= FLOAT else to_dtype(input, defaults.get_default_dtype())
        plain = x.detach()
        pi = new(constant(math.pi, (), x.dtype))
        out = where(isnan(plain), plain, where(plain < 0, pi, 0.0))
        return severed(to_dtype(out, x.dtype), x, name="AngleBackward0")
    plain = input.detach()
    return attach(lay(atan2(plain.imag, plain.real), None), _ANGLE, (input,), (input,))


@op(types=TRUTH_OF_ONE)
def isreal(input: Tensor) -> Tensor:
    """Which elements have no imaginary part."""
    if input.dtype.is_complex:
        return imag(input) == 0
    return new(constant(True, input.shape, bool_))


@register("frexp")
def _frexp(x: Any) -> tuple[Any, ...]:
    mantissa, exponent = np.frexp(x)
    return np.asarray(mantissa), np.asarray(np.where(np.isfinite(x), exponent, 0))


def _frexp_backward(ctx: Any, g: Tensor | None) -> tuple[Tensor | None]:
    return (None if g is None else ldexp(g, -ctx.saved[0]),)


_FREXP = Rule("FrexpBackward0", _frexp_backward)


@op(out=True, types=MANTISSA)
def frexp(input: Tensor) -> Any:
    """x as mantissa * 2 ** exponent, with 0.5 <= |mantissa| < 1."""
    if not input.dtype.is_floating_point:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    call = record(CALL, (read(input),), ("frexp",), None, (), input.dtype)
    mantissa = new(record(PICK, (call,), (0,), None, input.shape, input.dtype))
    exponent = new(record(PICK, (call,), (1,), None, input.shape, int32))
    attach(mantissa, _FREXP, (input,), (exponent,))
    return result_type("frexp")(mantissa, exponent)


@op(inplace=True, out=True, types=PROMOTED_FLOATING)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other."""
    if input.dtype.category >= FLOAT and other.dtype.category < FLOAT:
        other = to_dtype(other, input.dtype)
    elif other.dtype.category < FLOAT:
        other = to_dtype(other, defaults.get_default_dtype())
    of = result_dtype((input, other))
    if not of.is_floating_point:
        return input * power(2.0, other)
    # In three steps: powers of two beyond the dtype's range lead from its smallest numbers to its largest.
    limit = _LARGEST_EXPONENT.get(of.name, 126)
    other = clamp(to_dtype(other, of), -3 * limit, 3 * limit)
    third = (other.detach() / 3).trunc()
    step = power(2.0, third)
    return input * step * step * power(2.0, other - third * 2)  # type: ignore[no-any-return]


_LARGEST_EXPONENT = {"float64": 1022, "float16": 14}  # whose power of two has a reciprocal that is no less exact


@op(out=True, types=DOUBLE)
def float_power(input: Any, exponent: Any) -> Tensor:
    """A power computed in double precision."""
    of = complex128 if result_dtype((input, exponent)).category == COMPLEX else float64
    a, b = [to_dtype(x, of) if isinstance(x, Tensor) else (complex(x) if of is complex128 else float(x))
            for x in (input, exponent)]
    return power(a, b)


@op(function=False, types=SAME)
def float_power_(self: Tensor, exponent: Any) -> Tensor:
    """`float_power` into a tensor that is in double precision already."""
    with turn():
        result = float_power(self, exponent)
        if result.dtype is not self.dtype:
            raise RuntimeError(f"the base given to float_power_ has dtype {DTYPE_NAMES[self.dtype.name]} but the "
                               f"operation's result requires dtype {DTYPE_NAMES[result.dtype.name]}")
        return write_back(self, result, "float_power_")


def _whole(name: str, fn: Any) -> Any:
    @register(name)
    def routine(a: Any, b: Any) -> tuple[Any, ...]:
        return (np.asarray(fn(a, b)),)

    def body(input: Tensor, other: Tensor) -> Tensor:
        of = result_dtype((input, other))
        if of.category >= FLOAT or of is bool_:
            raise NotImplementedError(f'"{name}_cpu" not implemented for \'{DTYPE_NAMES[of.name]}\'')
        a, b = to_dtype(input, of), to_dtype(other, of)
        call = record(CALL, (read(a), read(b)), (name,), None, (), of)
        return new(record(PICK, (call,), (0,), None, broadcast(a.shape, b.shape), of))
    body.__name__ = body.__qualname__ = name
    return op(body, inplace=True, out=True, types=PROMOTED)


gcd, lcm = _whole("gcd", np.gcd), _whole("lcm", np.lcm)


# ---- numerical slopes -------------------------------------------------------------------------------------

def _slope(x: Tensor, dim: int, spacing: Any, edge: int) -> Tensor:
    """Second-order differences inside, differences of order `edge` at both ends."""
    n = x.shape[dim]
    if n < edge + 1:
        raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")

    def part(start: int, count: int) -> Tensor:
        return x.narrow(dim, start, count)

    if not isinstance(spacing, Tensor):
        h: Any = spacing
        inside = (part(2, n - 2) - part(0, n - 2)) / (2 * h)
        if edge == 1:
            first, last = (part(1, 1) - part(0, 1)) / h, (part(n - 1, 1) - part(n - 2, 1)) / h
        else:
            first = (part(0, 1) * -1.5 + part(1, 1) * 2 - part(2, 1) * 0.5) / h
            last = (part(n - 1, 1) * 1.5 - part(n - 2, 1) * 2 + part(n - 3, 1) * 0.5) / h
        return cat([first, inside, last], dim)
    shape = [1] * len(x.shape)
    shape[dim] = -1
    gaps = (spacing[1:] - spacing[:-1]).reshape(shape)
    low, high = gaps.narrow(dim, 0, n - 2), gaps.narrow(dim, 1, n - 2)
    inside = (part(0, n - 2) * (-high / (low * (low + high))) + part(1, n - 2) * ((high - low) / (low * high))
              + part(2, n - 2) * (low / (high * (low + high))))

    def gap(k: int) -> Tensor:
        return gaps.narrow(dim, k, 1)

    if edge == 1:
        first, last = (part(1, 1) - part(0, 1)) / gap(0), (part(n - 1, 1) - part(n - 2, 1)) / gap(n - 2)
    else:
        a, b = gap(0), gap(1)
        first = (part(0, 1) * (-(2 * a + b) / (a * (a + b))) + part(1, 1) * ((a + b) / (a * b))
                 + part(2, 1) * (-a / (b * (a + b))))
        a, b = gap(n - 3), gap(n - 2)
        last = (part(n - 3, 1) * (b / (a * (a + b))) + part(n - 2, 1) * (-(a + b) / (a * b))
                + part(n - 1, 1) * ((2 * b + a) / (b * (a + b))))
    return cat([first, inside, last], dim)


@op(method=False, types=SLOPES)
def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """The slope along each of the dimensions, from differences; `spacing` in numbers or coordinates."""
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    rank = len(input.shape)
    dims = range(rank) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = distinct_dims(dims, rank)
    many = isinstance(spacing, (tuple, list))
    if many and len(spacing) != len(dims):
        raise RuntimeError(f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
                           f"{len(dims)}, but got a list of length {len(spacing)}")
    if spacing is None:
        spacing = 1
    if isinstance(spacing, Tensor):
        spacing, many = [spacing] * len(dims), True
    x = input if input.dtype.category >= FLOAT else to_dtype(input, defaults.get_default_dtype())
    return tuple([_slope(x, d, spacing[k] if many else spacing, edge_order) for k, d in enumerate(dims)])


# ---- others -----------------------------------------------------------------------------------------------

@op(method=False, types=POWERS)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Powers of each element of a vector, the highest first unless `increasing`."""
    if len(x.shape) != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    if x.dtype.category < FLOAT:
        x = to_dtype(x, int64)
    n = x.shape[0] if N is None else N
    powers = range(n) if increasing else range(n - 1, -1, -1)
    if not n:
        return new(constant(0, (x.shape[0], 0), x.dtype))
    return stack([x ** k for k in powers], -1)


@op(method=False, types=COORDINATES)
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates, in a tensor of `shape`, of elements counted through it row by row."""
    if not BOOL < indices.dtype.category < FLOAT:
        raise TypeError(f"expected 'indices' to be integer dtype, but got torch.{indices.dtype.name}")
    sizes = (shape,) if isinstance(shape, int) else tuple(int(s) for s in shape)
    if is_meta(indices):
        return tuple([new(meta_node(indices.shape, int64)) for _ in sizes])
    array = value_of(read(indices))
    total = math.prod(sizes)
    if array.size and (array.max() >= total or array.min() < -total):
        raise ValueError(f"indices are out of bounds for shape {sizes}")
    array = array.astype(np.int64)  # the product of the sizes need not fit into the type of the indices
    found = np.unravel_index(np.where(array < 0, array + total, array), sizes)
    return tuple([new(leaf(np.array(a, np.int64), a.shape, int64)) for a in found])


@op(out=True, types=PLACES)
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """`nonzero` cut off, or continued with `fill_value`, to `size` rows."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    if is_meta(input):
        return new(meta_node((size, len(input.shape)), int64))
    found = nonzero(input).clone(memory_format=contiguous_format)
    if found.shape[0] >= size:
        return found[:size].clone()  # type: ignore[no-any-return]
    return constant_pad_nd(
        found, [0, 0, 0, size - found.shape[0]], fill_value)


@op(function=False, types=SAME)
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write `fill_value` on the main diagonal."""
    shape = tuple(self.shape)
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    flat = np.zeros(shape, bool)
    step = sum(math.prod(shape[k + 1:]) for k in range(len(shape)))
    stop = flat.size if wrap or len(shape) > 2 else min(flat.size, shape[1] * shape[1])
    flat.reshape(-1)[:stop:step] = True
    return self.masked_fill_(new(leaf(flat, shape, bool_)), fill_value)


@op(method=False, out=True, types=SAME)
def alias_copy(input: Tensor) -> Tensor:
    """A copy."""
    return input.clone()


@op(function=False, types=PROMOTED_FLOATING)
def __rdiv__(self: Tensor, other: Any) -> Tensor:
    """other / self, under its old name."""
    return self.reciprocal() * other  # type: ignore[no-any-return]


@op(types=SAME)
def conj_physical_(self: Tensor) -> Tensor:
    """The complex conjugate, in place."""
    return self.copy_(self.conj()) if self.dtype.is_complex else self
