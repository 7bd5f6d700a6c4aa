"""Products of matrices and vectors: `mm`, `bmm`, `mv`, `dot`, and `matmul`, which chooses."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read, view_node
from facula._tensor.tape import attach
from facula.autograd.graph import Rule, mode
from facula.dtypes import bool_
from facula.engine.graph.node import CONTRACT, Node, size_of
from facula.engine.recorder import record
from facula.ops.casting import constant
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.product.contraction import MATMUL, conjugated, live, product, product_backward
from facula.ops.product.product_checks import (
    cannot_multiply,
    check_batch,
    check_mm,
    check_stacks,
    need_tensors,
    type_name,
)
from facula.ops.registry import also, op
from facula.ops.view.value_views import SQUEEZE_RULE, UNSAFE_VIEW_RULE, reshape_value, reshaped


@op(out=True)
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    if not isinstance(input, Tensor) or not isinstance(mat2, Tensor):
        need_tensors("mm", ("input", input), ("mat2", mat2))
    a, b = input.shape, mat2.shape
    if len(a) != 2:
        raise RuntimeError("self must be a matrix")
    if len(b) != 2:
        raise RuntimeError("mat2 must be a matrix")
    (_, k), (rows, _) = a, b  # unpacked: a [] of Size is Python
    if k != rows:
        raise cannot_multiply(*a, *b)
    if input.dtype is not mat2.dtype or input.dtype is bool_:
        check_mm(input, mat2)
    return product(input, mat2)


_BMM = Rule("BmmBackward0", product_backward)


@op(out=True)
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of two stacks of matrices."""
    need_tensors("bmm", ("input", input), ("mat2", mat2))
    check_stacks(input, mat2)
    return product(input, mat2, rule=_BMM)


def _dot_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = ctx.saved
    return (g * conjugated(b) if ctx.needs[0] else None,
            g * conjugated(a) if ctx.needs[1] else None)


def _vdot_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = ctx.saved
    return (conjugated(g) * b if ctx.needs[0] else None, g * a if ctx.needs[1] else None)


_DOT = Rule("DotBackward0", _dot_backward)
_VDOT = Rule("VdotBackward0", _vdot_backward)


def _check_dot(a: Tensor, b: Tensor, name: str) -> None:
    if len(a.shape) != 1 or len(b.shape) != 1:
        raise RuntimeError(f"1D tensors expected, but got {len(a.shape)}D and {len(b.shape)}D "
                           "tensors")
    if a.dtype is not b.dtype:
        raise RuntimeError("dot : expected both vectors to have same dtype, but found "
                           f"{type_name(a.dtype)} and {type_name(b.dtype)}")
    if a.shape != b.shape:
        raise RuntimeError(f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src "
                           f"[{b.shape[0]}] to have the same number of elements, but got "
                           f"{a.shape[0]} and {b.shape[0]} elements respectively")
    if a.dtype is bool_:
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")


def _dotted(x: Node, y: Node) -> Tensor:
    n = x.shape[0]
    if n == 0:
        return new(constant(0, (), x.dtype))
    left, right = reshaped(x, (1, n)), reshaped(y, (n, 1))
    return new(reshaped(record(CONTRACT, (left, right), mode.products, None, (1, 1), x.dtype), ()))


@op(out=True)
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors' elements."""
    need_tensors("dot", ("input", input), ("tensor", tensor))
    _check_dot(input, tensor, "dot")
    return attach(_dotted(read(input), read(tensor)), _DOT, (input, tensor), (input, tensor))


@op(out=True)
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """As `dot`, with the first vector conjugated."""
    need_tensors("vdot", ("input", input), ("other", other))
    _check_dot(input, other, "vdot")
    return attach(_dotted(read(conjugated(input)), read(other)), _VDOT, (input, other),
                  (input, other))


def mv_gradients(g: Tensor, a: Any, v: Any,
                 needs: tuple[bool, ...]) -> tuple[Tensor | None, Tensor | None]:
    da = dv = None
    if needs[0]:
        da = reshape_value(g, (g.shape[0], 1)) * reshape_value(conjugated(v), (1, v.shape[0]))
    if needs[1]:
        dv = reshape_value(product(conjugated(a), reshape_value(g, (g.shape[0], 1)), True),
                           (a.shape[1],))
    return da, dv


def _mv_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, v = ctx.saved
    return mv_gradients(g, a, v, ctx.needs)


_MV = Rule("MvBackward0", _mv_backward)


def mv_node(a: Tensor, v: Tensor) -> Node:
    x, y = read(a), read(v)
    m, k = x.shape
    if m * k == 0:
        return constant(0, (m,), x.dtype)
    column = view_node(y, (k, 1), (1, 1))
    return view_node(record(CONTRACT, (x, column), mode.products, None, (m, 1), x.dtype), (m,), (1,))


def _check_mv(a: Tensor, v: Tensor, out: int | None = None) -> None:
    if len(a.shape) != 2 or len(v.shape) != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {len(a.shape)}, "
                           f"{len(v.shape)}")
    if a.shape[1] != v.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({a.shape[0] if out is None else out}), mat "
                           f"({a.shape[0]}x{a.shape[1]}), vec ({v.shape[0]})")
    if a.dtype is not v.dtype:
        raise RuntimeError("addmv input tensors must have the same dtype, but got "
                           f"{type_name(v.dtype)}, {type_name(a.dtype)}, and {type_name(v.dtype)}")
    if a.dtype is bool_:
        raise NotImplementedError("\"addmv_impl_cpu\" not implemented for 'Bool'")


@op(out=True)
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector."""
    need_tensors("mv", ("input", input), ("vec", vec))
    _check_mv(input, vec)
    return attach(new(mv_node(input, vec)), _MV, (input, vec),
                  (input if live(vec) else Row(input.shape), vec if live(input) else None))


class Row:
    """Stands for a saved matrix of which only the shape matters."""

    __slots__ = ("shape", "dtype")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


_CLONE = Rule("CloneBackward0", product_backward)


@op(out=True)
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The product by torch's rules: vectors are rows or columns, leading dimensions broadcast."""
    if not isinstance(input, Tensor) or not isinstance(other, Tensor):
        need_tensors("matmul", ("input", input), ("other", other))
    a, b = input.shape, other.shape
    p, q = len(a), len(b)
    if p == 2 and q == 2:
        if a[1] != b[0]:
            raise cannot_multiply(*a, *b)
        if input.dtype is not other.dtype or input.dtype is bool_:
            check_mm(input, other)
        return product(input, other)
    if p == 0 or q == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {p}D "
                           f"and {q}D")
    if p == 1 and q == 1:
        return dot(input, other)
    if p == 2 and q == 1:
        return mv(input, other)
    if p == 1:
        row = reshape_value(input, (1, a[0]))
        out = matmul(row, other)
        shape = (*out.shape[:-2], out.shape[-1])
        return reshape_value(out, shape, SQUEEZE_RULE if q == 2 else UNSAFE_VIEW_RULE)
    if q == 1:
        if a[-1] != b[0]:
            m = size_of(a[:-1])
            raise RuntimeError(f"size mismatch, got input ({m}), mat ({m}x{a[-1]}), vec ({b[0]})")
        out = matmul(input, reshape_value(other, (b[0], 1)))
        return reshape_value(out, out.shape[:-1])
    if q == 2:
        if a[-1] != b[0]:
            raise cannot_multiply(size_of(a[:-1]), a[-1], *b)
        check_mm(input, other)
        return product(input, other, rule=MATMUL)
    batch = broadcast(a[:-2], b[:-2])
    if a[-1] != b[-2]:
        n = size_of(batch)
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{n}, "
                           f"{a[-1]}] but got: [{n}, {b[-2]}].")
    check_batch(input, other)
    return product(input, other, rule=_CLONE if p == 2 else MATMUL)


also(matmul, "linalg.matmul")


def _dunder(self: Tensor, other: Any) -> Any:
    return matmul(self, other) if isinstance(other, Tensor) else NotImplemented


def _reflected(self: Tensor, other: Any) -> Any:
    return matmul(other, self) if isinstance(other, Tensor) else NotImplemented


Tensor.__matmul__ = _dunder  # type: ignore[assignment,method-assign]
Tensor.__rmatmul__ = _reflected  # type: ignore[assignment,method-assign]
