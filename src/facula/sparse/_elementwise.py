"""What is done to each value: functions that leave 0 as it is, products, quotients, powers; sums of two tensors."""

from __future__ import annotations

from typing import Any

import facula
from facula import layouts
from facula._tensor.handle import Tensor
from facula.sparse._creating import as_compressed, as_coo
from facula.sparse._tensor import (
    COMPRESSED,
    SparseTensor,
    become,
    coalesced,
    dense,
    implements,
    keys,
    made,
    sparse_sizes,
    values_at,
    with_values,
)

# Functions f with f(0) = 0. Of values at one place the sum counts, so these are added first.
_KEEP_ZERO = """abs absolute asin arcsin asinh arcsinh atan arctan atanh arctanh ceil conj_physical deg2rad erf erfinv
expm1 floor frac isinf isnan isneginf isposinf log1p nan_to_num rad2deg relu round sgn sign signbit sin sinh sqrt square
tan tanh trunc fix angle""".split()
_LINEAR = "neg negative positive conj resolve_conj resolve_neg real imag".split()
_TYPES = "double float half bfloat16 int long short char byte bool cfloat cdouble".split()


def _on_values(name: str, first: bool) -> None:
    @implements(name)
    def function(input: Any, *args: Any, **kwargs: Any) -> SparseTensor:
        if kwargs.pop("inplace", False):
            return become(input, function(input, *args, **kwargs))
        s = coalesced(input) if first and input._layout is layouts.sparse_coo else input
        space = facula if name not in _TYPES and hasattr(facula, name) else Tensor
        return with_values(s, getattr(space, name)(s._v, *args, **kwargs))


for _name in _KEEP_ZERO:
    _on_values(_name, True)
for _name in (*_LINEAR, *_TYPES):
    _on_values(_name, False)


def _alike(a: SparseTensor, b: SparseTensor, what: str) -> tuple[SparseTensor, SparseTensor, Any]:
    """Two tensors by places, and the layout that the result is to have. RuntimeError for shapes that differ."""
    if a.shape != b.shape:
        raise RuntimeError(f"{what}: expected 'self' and 'other' to have same size, but self has size "
                           f"{list(a.shape)} while other has size {list(b.shape)}")
    a_coo, b_coo = as_coo(a), as_coo(b)
    if a_coo._i.shape[0] != b_coo._i.shape[0]:
        raise RuntimeError(f"{what}: expected 'self' and 'other' to have as many sparse dimensions, but they have "
                           f"{a_coo._i.shape[0]} and {b_coo._i.shape[0]}")
    return a_coo, b_coo, a._layout if a._layout is b._layout else layouts.sparse_coo


def _as(s: SparseTensor, layout: Any) -> SparseTensor:
    return as_compressed(s, layout) if layout in COMPRESSED else s


@implements("add")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """A sum: of two sparse ones sparse, with a dense one dense."""
    if not isinstance(input, SparseTensor):
        if not isinstance(input, Tensor):
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        return facula.add(input, dense(other), alpha=alpha)
    if not isinstance(other, SparseTensor):
        raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
    a, b, layout = _alike(input, other, "add")
    kind = facula.promote_types(a.dtype, b.dtype)
    right = b._v.to(kind) if alpha == 1 else b._v.to(kind) * alpha
    if a._i is b._i or a._i.shape == b._i.shape and facula.equal(a._i, b._i):
        return _as(with_values(a, a._v.to(kind) + right), layout)
    both = made(facula.cat([a._i, b._i], 1), facula.cat([a._v.to(kind), right]), a.shape, False)
    return _as(coalesced(both) if a._whole and b._whole else both, layout)


@implements("sub", "subtract")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """A difference: as `add`."""
    return add(input, other, alpha=-alpha)


@implements("add_")
def add_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """A sum in place, of a dense tensor too."""
    if isinstance(self, SparseTensor):
        return become(self, add(self, other, alpha=alpha))
    return self.add_(dense(other), alpha=alpha)


@implements("sub_", "subtract_")
def sub_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """A difference in place, of a dense tensor too."""
    return add_(self, other, alpha=-alpha)


def _number(x: Any) -> bool:
    return not isinstance(x, Tensor) or x.dim() == 0 and not isinstance(x, SparseTensor)


@implements("mul", "multiply")
def mul(input: Any, other: Any) -> Any:
    """A product: 0 where a factor is."""
    if not isinstance(input, SparseTensor):
        input, other = other, input
    if _number(other):
        return with_values(input, input._v * other)
    if isinstance(other, SparseTensor):
        return _product(input, other)
    if facula.broadcast_shapes(tuple(input.shape), tuple(other.shape)) != tuple(input.shape):
        raise NotImplementedError(f"mul: a sparse tensor of size {list(input.shape)} that is to be expanded to that of "
                                  f"a dense one, {list(other.shape)}, is not in Facula yet")
    return with_values(input, input._v * other.expand(tuple(input.shape))[tuple(input._i)])


def _product(input: SparseTensor, other: SparseTensor) -> SparseTensor:
    a, b, layout = _alike(input, other, "mul")
    a, b = coalesced(a), coalesced(b)
    mine, theirs = keys(a._i, sparse_sizes(a)), keys(b._i, sparse_sizes(a))
    if not mine.shape[0] or not theirs.shape[0]:
        kind = facula.promote_types(a.dtype, b.dtype)
        return _as(made(a._i[:, :0], a._v[:0].to(kind), a.shape, True), layout)
    at = facula.searchsorted(theirs, mine).clamp(max=theirs.shape[0] - 1)
    there = (theirs[at] == mine).nonzero().reshape(-1)
    return _as(made(a._i[:, there], a._v[there] * b._v[at[there]], a.shape, True), layout)


@implements("div", "divide", "true_divide")
def div(input: Any, other: Any, *, rounding_mode: Any = None) -> SparseTensor:
    """A quotient by a number."""
    if not isinstance(input, SparseTensor) or not _number(other):
        got = list(other.shape) if isinstance(other, Tensor) else other
        raise RuntimeError("Sparse division requires a scalar or zero-dim dense tensor divisor (got shape "
                           f"{got} for divisor)")
    s = input if rounding_mode is None or input._layout is not layouts.sparse_coo else coalesced(input)
    return with_values(s, facula.div(s._v, other, rounding_mode=rounding_mode))


@implements("floor_divide", "__floordiv__")
def floor_divide(input: Any, other: Any) -> Any:
    """The quotient by a number, rounded down."""
    return div(input, other, rounding_mode="floor")


@implements("pow", "__pow__")
def pow(input: Any, exponent: Any) -> SparseTensor:
    """A power with a number that is not 0."""
    if not isinstance(input, SparseTensor) or not _number(exponent):
        raise NotImplementedError("pow of a sparse tensor takes a number as exponent")
    if exponent == 0:
        raise RuntimeError("pow: cannot raise to zeroth power on sparse tensor; it would make the result tensor dense")
    s = coalesced(input) if input._layout is layouts.sparse_coo else input
    return with_values(s, s._v ** exponent)


@implements("sparse_mask")
def sparse_mask(self: Any, mask: Any) -> Any:
    """The elements at the places of `mask`."""
    if not isinstance(mask, SparseTensor):
        raise RuntimeError("sparse_mask: expected mask to be a sparse tensor")
    if self.shape != mask.shape:
        raise RuntimeError(f"sparse_mask(): operands have incompatible sizes; self has size {list(self.shape)} but "
                           f"mask has size {list(mask.shape)}")
    return with_values(mask, values_at(self, mask))
