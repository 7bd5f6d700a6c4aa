"""Outer, inner and Kronecker products, and contractions over several dimensions."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.engine.graph.node import size_of
from facula.ops.arguments import wrap_dim
from facula.ops.autocast_rules import LOWERED
from facula.ops.autocasting import autocast_operands
from facula.ops.product.contraction import product
from facula.ops.product.matrix_products import dot
from facula.ops.product.product_checks import check_mm, need_tensors
from facula.ops.registry import alias_of, op
from facula.ops.view.reshaping import reshape
from facula.ops.view.value_views import VIEW_RULE, permute_value, reshape_value


@op(out=True)
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The matrix of the products of two vectors' elements."""
    need_tensors("outer", ("input", input), ("vec2", vec2))
    for name, v in (("self", input), ("vec2", vec2)):
        if len(v.shape) != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {len(v.shape)}-D")
    return reshape_value(input, (input.shape[0], 1)) * reshape_value(vec2, (1, vec2.shape[0]))


alias_of("outer", "ger")


@op(out=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The products over the last dimension of both."""
    need_tensors("inner", ("input", input), ("other", other))
    a, b = input.shape, other.shape
    if not a or not b:
        return input * other
    if a[-1] != b[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got "
                           f"shapes {list(a)} and {list(b)}")
    if len(a) == 1 and len(b) == 1:
        return dot(input, other)
    check_mm(input, other)
    input, other = autocast_operands(LOWERED, input, other)
    k = a[-1]
    flat = product(reshape_value(input, (size_of(a[:-1]), k)),
                   reshape_value(other, (size_of(b[:-1]), k)), False, True)
    return reshape_value(flat, (*a[:-1], *b[:-1]), VIEW_RULE)


@op(out=True, method=False)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The product over several dimensions: `dims` of them, or a list of a's and a list of b's."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(len(a.shape), len(b.shape)):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = list(range(-dims, 0)), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have the same length")
    for p, q in zip(left, right, strict=False):
        if a.shape[p] != b.shape[q] and a.shape[p] != 1 and b.shape[q] != 1:
            raise RuntimeError("contracted dimensions need to match, but first has size "
                               f"{a.shape[p]} in dim {p} and second has size {b.shape[q]} in dim "
                               f"{q}")
    left = [wrap_dim(d, len(a.shape)) for d in left]
    right = [wrap_dim(d, len(b.shape)) for d in right]
    for p, q in zip(left, right, strict=False):  # a size of 1 on one side: the other side is summed
        if a.shape[p] != b.shape[q]:
            if a.shape[p] == 1:
                b = b.sum(q, keepdim=True, dtype=b.dtype)
            else:
                a = a.sum(p, keepdim=True, dtype=a.dtype)
    rest_a = [d for d in range(len(a.shape)) if d not in left]
    rest_b = [d for d in range(len(b.shape)) if d not in right]
    k = size_of(tuple(a.shape[d] for d in left))
    rows = tuple(a.shape[d] for d in rest_a)
    columns = tuple(b.shape[d] for d in rest_b)
    check_mm(a, b)
    if size_of(rows) * size_of(columns) != 1:  # else it is no product of matrices in PyTorch
        a, b = autocast_operands(LOWERED, a, b)
    x = reshape_value(permute_value(a, (*rest_a, *left)), (size_of(rows), k))
    y = reshape_value(permute_value(b, (*right, *rest_b)), (k, size_of(columns)))
    return reshape_value(product(x, y), (*rows, *columns), VIEW_RULE)


@op(out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product."""
    need_tensors("kron", ("input", input), ("other", other))
    rank = max(len(input.shape), len(other.shape))
    a = (1,) * (rank - len(input.shape)) + tuple(input.shape)
    b = (1,) * (rank - len(other.shape)) + tuple(other.shape)
    x = reshape(input, tuple([s for n in a for s in (n, 1)]))
    y = reshape(other, tuple([s for n in b for s in (1, n)]))
    return reshape_value(x * y, tuple([p * q for p, q in zip(a, b, strict=False)]))
