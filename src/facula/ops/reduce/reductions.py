"""Sums, products, means and logical reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach, edge_of
from facula.autograd.graph import Rule, grad_node, mode
from facula.dtypes import FLOAT, bool_, dtype, int64, uint8
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import ALL, ANY, PROD, SUM, Formula, Node, Primitive
from facula.ops.arguments import check_tensor, dims_of, numpy_names
from facula.ops.arrange.joining import cat
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.pointwise import apply
from facula.ops.reduce.reduction_nodes import (
    DIVIDED,
    NONZERO,
    count_of,
    formula_node,
    mask,
    narrowed,
    reduce_node,
    spread,
    widened,
)
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.type_rules import POSITIONS, REDUCED, SUMMED, TRUTH_REDUCED

_a, _b, _c = operand(0), operand(1), operand(2)
_and, _eq, _ne = function("and"), function("eq"), function("ne")
_NAN_ZERO = Formula("where", where(_ne(_a, _a), 0.0, _a))
_ONE_WHERE = Formula("where", where(_a, 1.0, _b))
_NOT_NAN = Formula("eq", _eq(_a, _a))


def _sum_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    shape = ctx.shapes[0]
    return (spread(g, shape, ctx.saved[0]).expand(shape),)


_SUM_RULES = Rule("SumBackward0", _sum_back), Rule("SumBackward1", _sum_back)


def summed(input: Tensor, dim: Any, keepdim: bool, of: dtype | None) -> Tensor:
    if of is None:
        of = input.dtype if input.dtype.category >= FLOAT else int64
    x = input if input.dtype is of else to_dtype(input, of)
    shape = x.shape
    dims = dims_of(dim, len(shape))
    out = new(reduce_node(SUM, x._node or read(x), dims, keepdim, of))
    if (x._rg or x._base is not None) and mode.grad and of.category >= FLOAT:
        edge = edge_of(x)  # attach(), written out: most losses end here
        if edge is not None:
            out._grad_fn = grad_node(_SUM_RULES[dim is not None], (edge,), (dims,), (shape,), (of,))
            out._rg = True
    return out


@op(out=True, types=SUMMED, rules=_SUM_RULES)
@numpy_names
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *,
        dtype: dtype | None = None) -> Tensor:
    check_tensor(input, "sum")
    return summed(input, dim, keepdim, dtype)


def _mean_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    shape = ctx.shapes[0]
    dims = ctx.saved[0]
    n = count_of(shape, dims)
    return ((spread(g, shape, dims) / n).expand(shape),)


_MEAN_RULES = Rule("MeanBackward0", _mean_back), Rule("MeanBackward1", _mean_back)


def float_input(input: Tensor, of: dtype | None, what: str) -> Tensor:
    if of is not None:
        if of.category < FLOAT:
            raise RuntimeError(f"{what}(): could not infer output dtype. Optional dtype must be "
                               "either a floating point or complex dtype. Got: "
                               f"{DTYPE_NAMES[of.name]}")
        return to_dtype(input, of)
    if input.dtype.category < FLOAT:
        raise RuntimeError(f"{what}(): could not infer output dtype. Input dtype must be either a "
                           f"floating point or complex dtype. Got: {DTYPE_NAMES[input.dtype.name]}")
    return input


def mean_node(node: Node, dims: tuple[int, ...], keepdim: bool) -> Node:
    n = float(count_of(node.shape, dims))
    total = reduce_node(SUM, node, dims, keepdim, node.dtype)
    return formula_node(DIVIDED, (total,), (complex(n) if node.dtype.is_complex else n,),
                        total.shape, node.dtype)


@op(out=True, types=REDUCED, rules=_MEAN_RULES)
@numpy_names
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *,
         dtype: dtype | None = None) -> Tensor:
    check_tensor(input, "mean")
    x = float_input(input, dtype, "mean")
    dims = dims_of(dim, len(x.shape))
    out = new(narrowed(mean_node(widened(x), dims, keepdim), x.dtype))
    if x._rg or x._base is not None:
        attach(out, _MEAN_RULES[dim is not None], (x,), (dims,))
    return out


def _nansum_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, dims = ctx.saved
    return (mask(apply(_NOT_NAN, (x,), None, bool_), spread(g, x.shape, dims)),)


_NANSUM = Rule("NansumBackward0", _nansum_back)


@op(out=True, types=SUMMED, rules=(_NANSUM, *_SUM_RULES))
@numpy_names
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *,
           dtype: dtype | None = None) -> Tensor:
    check_tensor(input, "nansum")
    if input.dtype.category < FLOAT:
        return summed(input, dim, keepdim, dtype)
    if input.dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    x = input if dtype is None else to_dtype(input, dtype)
    dims = dims_of(dim, len(x.shape))
    node = formula_node(_NAN_ZERO, (read(x),), None, x.shape, x.dtype)
    return attach(new(reduce_node(SUM, node, dims, keepdim, x.dtype)), _NANSUM, (x,), (x, dims))


@op(out=True, types=REDUCED)
@numpy_names
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *,
            dtype: dtype | None = None) -> Tensor:
    check_tensor(input, "nanmean")
    if input.dtype.category < FLOAT:
        raise RuntimeError("nanmean(): expected input to have floating point or complex dtype but "
                           f"got {DTYPE_NAMES[input.dtype.name]}")
    if input.dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    there = apply(_NOT_NAN, (input,), None, bool_)
    total = nansum(input, dim, keepdim, dtype=dtype)
    return total / to_dtype(summed(there, dim, keepdim, None), total.dtype)


def _prod_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, dims = ctx.saved
    if not x.shape:
        return (g,)
    if x.dtype.is_complex:  # g * conj(f'), and f' is made of x
        x = x.conj()
    shape = x.shape
    g = spread(g, shape, dims)
    if mode.grad and x._rg and dims:
        return (g * _product_of_others(x, dims),)
    zero = x == 0
    zeros = summed(zero, dims or None, True, None)
    safe = apply(_ONE_WHERE, (zero, x), None, x.dtype)
    rest = new(reduce_node(PROD, read(safe), dims, True, x.dtype))
    return (apply(_OTHERS, (to_dtype(zeros, x.dtype), zero, rest, safe, g), None, x.dtype),)


_OTHERS = Formula("prod", where(_eq(_a, 0.0), operand(4) * _c / operand(3),
                                where(_and(_eq(_a, 1.0), operand(1)), operand(4) * _c, 0.0)))


def _product_of_others(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """prod over dims of all elements but this one, differentiable and exact with zeros."""
    shape = x.shape
    rest = [k for k in range(len(shape)) if k not in dims]
    order = [*rest, *dims]
    n = count_of(shape, dims)
    flat = x.permute(order).reshape(*[shape[k] for k in rest], n)
    if not flat.numel():
        return x
    d = len(rest)
    one = new(constant(1, (*flat.shape[:-1], 1), x.dtype))
    left = cat([one, flat.narrow(d, 0, n - 1)], d).cumprod(d)
    right = cat([one, flat.flip(d).narrow(d, 0, n - 1)], d).cumprod(d).flip(d)
    others = (left * right).reshape([shape[k] for k in order])
    back = [0] * len(order)
    for i, k in enumerate(order):
        back[k] = i
    return others.permute(back)


_PROD_RULES = Rule("ProdBackward0", _prod_back), Rule("ProdBackward1", _prod_back)


@op(out=True, types=SUMMED, rules=_PROD_RULES)
@numpy_names
def prod(input: Tensor, dim: Any = None, keepdim: bool = False, *,
         dtype: dtype | None = None) -> Tensor:
    check_tensor(input, "prod")
    of = dtype or (input.dtype if input.dtype.category >= FLOAT else int64)
    x = to_dtype(input, of)
    dims = dims_of(dim, len(x.shape))
    out = new(reduce_node(PROD, read(x), dims, keepdim, of))
    return attach(out, _PROD_RULES[dim is not None], (x,), (x, dims))


def _logical(name: str, primitive: Primitive) -> Callable[..., Any]:
    def body(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        check_tensor(input, name)
        node = read(input)
        of = uint8 if input.dtype is uint8 else bool_
        dims = () if isinstance(dim, (tuple, list)) and not dim else dims_of(dim, len(input.shape))
        if node.dtype is not bool_:
            node = formula_node(NONZERO, (node,), None, node.shape, bool_)
        return new(narrowed(reduce_node(primitive, node, dims, keepdim, bool_), of))
    body.__name__ = body.__qualname__ = name
    return op(out=True, types=TRUTH_REDUCED)(numpy_names(body))


any = _logical("any", ANY)
all = _logical("all", ALL)


@op(types=POSITIONS)
@numpy_names
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    check_tensor(input, "count_nonzero")
    there = apply(NONZERO, (input.detach() if input._rg else input,), None, bool_)
    return summed(there, dim, False, None)
