"""The same bytes as another dtype: view(dtype), and complex numbers as pairs of real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, alias, new
from facula._tensor.reading import read, view_node
from facula._tensor.tape import attach, rules
from facula.autograd.graph import Rule
from facula.dtypes import bfloat16, dtype
from facula.engine.graph.node import contiguous_strides, size_of
from facula.engine.realize import leaf
from facula.ops.casting import constant, to_dtype
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.view.regions import region_add, region_put, region_view
from facula.ops.view.views import geometry, make_view


def view_dtype(t: Tensor, of: dtype) -> Tensor:
    """The bytes of `t` as elements of dtype `of`: `t.view(of)`. Not differentiable, as in torch: it has no history."""
    strides, offset = geometry(t)
    a, b = t.dtype.itemsize, of.itemsize
    shape = tuple(t.shape)
    if a == b:
        return alias(t, t.shape, strides, offset, of)
    names = DTYPE_NAMES[t.dtype.name], DTYPE_NAMES[of.name]
    what = f"to view {names[0]} as {names[1]} (different element sizes)"
    if not shape:
        raise RuntimeError(f"self.dim() cannot be 0 {what}")
    if strides[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {what}, but got {strides[-1]}")
    if b < a:
        k = a // b
        to = (*[s * k for s in strides[:-1]], 1)
        return alias(t, (*shape[:-1], shape[-1] * k), to, offset * k, of)
    k = b // a
    if shape[-1] % k:
        raise RuntimeError(f"self.size(-1) must be divisible by {k} {what}, but got {shape[-1]}")
    if offset % k:
        raise RuntimeError(f"self.storage_offset() must be divisible by {k} {what}, but got "
                           f"{offset}")
    for d, s in enumerate(strides[:-1]):
        if s % k:
            raise RuntimeError(f"self.stride({d}) must be divisible by {k} {what}, but got {s}")
    to = (*[s // k for s in strides[:-1]], 1)
    return alias(t, (*shape[:-1], shape[-1] // k), to, offset // k, of)


@op
def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor as real pairs, in a new last dimension."""
    if not input.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    strides, offset = geometry(input)
    to = (*[2 * s for s in strides], 1)
    return make_view(input, (*input.shape, 2), to, 2 * offset, _AS_REAL, (), input.dtype.to_real())


@op
def view_as_complex(input: Tensor) -> Tensor:
    """Real pairs (the last dimension) as complex numbers."""
    if input.dtype.is_complex or not input.dtype.is_floating_point or input.dtype is bfloat16:
        raise RuntimeError("view_as_complex is only supported for half, float and double tensors, "
                           f"but got a tensor of scalar type: {DTYPE_NAMES[input.dtype.name]}")
    if input.dtype.itemsize == 2:
        raise NotImplementedError("view_as_complex: there are no complex numbers of float16; use input.float()")
    shape = tuple(input.shape)
    if not shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    strides, offset = geometry(input)
    if strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 and n != 1 for s, n in zip(strides[:-1], shape, strict=False)):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    if offset % 2:
        raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    to = tuple([s // 2 for s in strides[:-1]])
    return make_view(input, shape[:-1], to, offset // 2, _AS_COMPLEX, (), input.dtype.to_complex())


_AS_REAL = Rule("ViewAsRealBackward0", lambda ctx, g: (view_as_complex(g.contiguous()),))
_AS_COMPLEX = Rule("ViewAsComplexBackward0", lambda ctx, g: (view_as_real(g),))

# ---- writes through them -------------------------------------------------------------------------


def _retyped(g: Tensor, of: dtype) -> Tensor:
    """The numbers of `g` as a vector of another dtype: complex ones as real pairs, or the other way round."""
    if not of.is_complex:
        return view_as_real(g.contiguous()).reshape(-1)
    if size_of(g.shape) % 2:
        raise NotImplementedError("facula: the gradient of a complex view of an odd number of real elements is not "
                                  "implemented")
    return view_as_complex(g.reshape(-1, 2))


def _write_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    shape, strides, offset, base_shape = ctx.saved
    mine, of = ctx.dtypes
    flat = _retyped(g, of)
    to_base = None
    if ctx.needs[0]:
        left = region_put(flat, new(constant(0, shape, of)), strides, offset)
        to_base = _retyped(left, mine).reshape(base_shape)
    return to_base, region_view(flat, shape, strides, offset) if ctx.needs[1] else None


def _view_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    base_shape, base_strides, base_offset, _, strides, offset = ctx.saved
    base = ctx.dtypes[0]
    if base_strides != contiguous_strides(base_shape):
        raise NotImplementedError("facula: the gradient of a view in another dtype, of a base that is not contiguous "
                                  "and has been written since, is not implemented")
    count = size_of(base_shape) * base.itemsize // g.dtype.itemsize
    flat = region_add(g, (count,), strides, offset - base_offset * base.itemsize // g.dtype.itemsize)
    return (_retyped(flat, base).reshape(base_shape),)


rules.retyped_write = Rule("CopySlices", _write_backward)
rules.retyped_view = Rule("AsStridedBackward0", _view_backward)

# ---- real and imaginary parts --------------------------------------------------------------------

_REAL = Rule("SelectBackward0", lambda ctx, g: (to_dtype(g, ctx.dtypes[0]),))
_IMAG = Rule("SelectBackward0", lambda ctx, g: (to_dtype(g, ctx.dtypes[0]) * 1j,))


def _component(t: Tensor, which: int, rule: Rule) -> Tensor:
    strides, offset = geometry(t)
    to = tuple([2 * s for s in strides])
    return make_view(t, t.shape, to, 2 * offset + which, rule, (), t.dtype.to_real())


@op(method=False)
def real(input: Tensor) -> Tensor:
    """The real parts, as a view; a real tensor itself."""
    return _component(input, 0, _REAL) if input.dtype.is_complex else input


@op(method=False)
def imag(input: Tensor) -> Tensor:
    """The imaginary parts, as a view. RuntimeError for a real tensor."""
    if not input.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _component(input, 1, _IMAG)


def _component_property(get: Callable[[Tensor], Tensor]) -> property:
    def put(self: Tensor, value: Any) -> None:
        get(self).copy_(value if isinstance(value, Tensor) else _lift(value, get(self).dtype))
    return property(get, put)


def _lift(value: Any, of: dtype) -> Tensor:
    return new(constant(value, (), of))


Tensor.real = _component_property(real)  # type: ignore[assignment]
Tensor.imag = _component_property(imag)  # type: ignore[assignment]


@op
def conj(input: Tensor) -> Tensor:
    """The complex conjugate: a fresh tensor; a real tensor itself."""
    if not input.dtype.is_complex:
        return input
    node = read(input)
    pairs = view_node(node, (size_of(input.shape), 2), (2, 1), 0, input.dtype.to_real())
    sign = new(leaf(np.array([1, -1], input.dtype.to_real().numpy), (2,), input.dtype.to_real()))
    flipped = read(new(pairs) * sign)
    out = new(view_node(flipped, input.shape, contiguous_strides(input.shape), 0, input.dtype))
    return attach(out, _CONJ, (input,))


_CONJ = Rule("ConjBackward0", lambda ctx, g: (conj(g),))


@op(out=True)
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate: a fresh tensor; a real tensor itself."""
    return conj(input)
