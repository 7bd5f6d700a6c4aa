"""Largest and smallest elements, and where they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach, attach_many
from facula.autograd.graph import Rule, by_rule
from facula.dtypes import bool_
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import ARGMAX, ARGMIN, MAX, MIN, Formula, Primitive
from facula.ops.arguments import (
    check_tensor,
    dims_of,
    no_complex,
    nonempty,
    numpy_names,
    wrap_dim,
)
from facula.ops.casting import to_dtype
from facula.ops.elementwise.comparison import maximum, minimum
from facula.ops.elementwise.pointwise import apply
from facula.ops.op import own_rules
from facula.ops.reduce.reduction_nodes import EQUAL, index_node, kept, mask, put_along, reduce_node, spread
from facula.ops.reduce.reductions import summed
from facula.ops.registry import op
from facula.ops.return_types import result_type
from facula.ops.type_rules import BOUNDS, CHOSEN, POSITIONS, REDUCED
from facula.ops.view.value_views import reshaped


def shared_evenly(g: Tensor, x: Tensor, extreme: Tensor, dims: tuple[int, ...]) -> Tensor:
    """`g` on the elements of `x` that equal `extreme`, in equal parts; all three broadcast."""
    same = apply(EQUAL, (x, extreme), None, bool_)
    count = to_dtype(summed(same, dims or None, True, None), g.dtype)
    return mask(same, g / count)


def shared_plainly(g: Tensor, x: Tensor, extreme: Tensor, dims: tuple[int, ...]) -> Tensor:
    """As `shared_evenly`, but nothing equals an extreme that is NaN: every element's share is NaN then."""
    same = x == extreme
    share = apply(_SHARE, (g, to_dtype(summed(same, dims or None, True, None), g.dtype)), None, g.dtype)
    return mask(same | (share != share), share)  # type: ignore[operator]


_SHARE = Formula("share", where(function("eq")(operand(1), 0.0), math.nan, operand(0) / operand(1)))


def _plain_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, out, dims = ctx.saved
    shape = x.shape
    return (shared_plainly(spread(g, shape, dims), x, spread(out, shape, dims), dims),)


def _even_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, out, dims = ctx.saved
    shape = x.shape
    return (shared_evenly(spread(g, shape, dims), x, spread(out, shape, dims), dims),)


def _index_back(ctx: Any, g: Tensor, *rest: Any) -> tuple[Tensor]:
    indices, dim = ctx.saved
    shape = ctx.shapes[0]
    k = kept(shape, (dim,))
    return (put_along(g.reshape(k), indices.reshape(k), dim, shape),)


EVEN = {n: Rule(n, _even_back) for n in ("MaxBackward1", "MinBackward1", "MedianBackward0", "NanmedianBackward0")}
_PLAIN = {n: Rule(n, _plain_back) for n in ("AmaxBackward0", "AminBackward0")}
AT = {n: Rule(n, _index_back) for n in ("MaxBackward0", "MinBackward0", "MedianBackward1",
                                         "NanmedianBackward1", "KthvalueBackward0",
                                         "ModeBackward0")}
by_rule.update((AT["MaxBackward0"], AT["MinBackward0"], EVEN["MedianBackward0"], EVEN["NanmedianBackward0"]))
_OF = {"max": (MAX, ARGMAX), "min": (MIN, ARGMIN)}


def _extremum(name: str, input: Tensor, dim: Any, keepdim: bool) -> Any:
    extreme, arg = _OF[name]
    no_complex(input, name)
    node = read(input)
    rank = len(input.shape)
    title = name.capitalize()
    if dim is None:
        dims = tuple(range(rank))
        nonempty(input, dims, True, name)
        out = new(reduce_node(extreme, node, dims, False, input.dtype))
        if out._node is node:
            out = new(reshaped(node, ()))
        return attach(out, EVEN[title + "Backward1"], (input,), (input, out, dims))
    d = wrap_dim(dim, rank)
    dims = (d,) if rank else ()
    nonempty(input, dims, False, name)
    values = new(reduce_node(extreme, node, dims, keepdim, input.dtype))
    indices = new(index_node(arg, node, dims, keepdim))
    if input._rg or input._base is not None or node.op.kind == "traced":
        attach(values, AT[title + "Backward0"], (input,), (indices, d))
    return result_type(name)(values, indices)


def _extremum_op(name: str, of_two: Callable[..., Tensor]) -> Callable[..., Any]:
    def body(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if other is None and isinstance(dim, Tensor):
            other = dim
        if other is not None:
            return of_two(input, other)
        return _extremum(name, input, dim, keepdim)
    body.__name__ = body.__qualname__ = name
    title = name.capitalize()
    rules = EVEN[title + "Backward1"], AT[title + "Backward0"], *own_rules(of_two)
    return op(out=True, types=CHOSEN, rules=rules)(numpy_names(body))


max = _extremum_op("max", maximum)
min = _extremum_op("min", minimum)


def _am(name: str, primitive: Primitive) -> Callable[..., Any]:
    def body(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
        check_tensor(input, name)
        dims = dims_of(dim, len(input.shape))
        no_complex(input, f"{name[1:]}_values_cpu")
        if 0 in input.shape:
            if dim is None or dim == ():
                raise RuntimeError(f"{name}(): Expected reduction dim to be specified for "
                                   "input.numel() == 0. Specify the reduction dim with the 'dim' "
                                   "argument.")
            nonempty(input, dims, False, name)
        out = new(reduce_node(primitive, read(input), dims, keepdim, input.dtype))
        return attach(out, _PLAIN[name.capitalize() + "Backward0"], (input,), (input, out, dims))
    body.__name__ = body.__qualname__ = name
    return op(out=True, types=REDUCED, rules=(_PLAIN[name.capitalize() + "Backward0"],))(numpy_names(body))


amax = _am("amax", MAX)
amin = _am("amin", MIN)


def _aminmax_back(ctx: Any, low: Any, high: Any) -> tuple[Tensor | None]:
    x, a, b, dims = ctx.saved
    total = None
    for g, r in ((low, a), (high, b)):
        if g is not None:
            part = shared_plainly(spread(g, x.shape, dims), x, spread(r, x.shape, dims), dims)
            total = part if total is None else total + part
    return (total,)


_AMINMAX = Rule("AminmaxBackward0", _aminmax_back)


@op(out=True, types=BOUNDS, rules=(_AMINMAX,))
@numpy_names
def aminmax(input: Tensor, *, dim: Any = None, keepdim: bool = False) -> Any:
    no_complex(input, "aminmax")
    dims = dims_of(dim, len(input.shape))
    if 0 in input.shape:
        if dim is None:
            raise RuntimeError("aminmax(): cannot compute aminmax over an empty dimension as the "
                               "operation has no identity.")
        nonempty(input, dims, False, "aminmax")
    node = read(input)
    outs = tuple([new(reduce_node(p, node, dims, keepdim, input.dtype)) for p in (MIN, MAX)])
    if input._rg or input._base is not None:
        attach_many(outs, _AMINMAX, (input,), (input, ("out", 0), ("out", 1), dims))
    return result_type("aminmax")(*outs)


def _arg(name: str, primitive: Primitive) -> Callable[..., Any]:
    def body(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        no_complex(input, name)
        if input.dtype is bool_:
            raise RuntimeError(f"{name}(): does not support bool input")
        dims = dims_of(dim, len(input.shape)) if dim is None else (
            (wrap_dim(dim, len(input.shape)),) if input.shape else (wrap_dim(dim, 0),)[:0])
        nonempty(input, dims, dim is None, name)
        return new(index_node(primitive, read(input), dims, keepdim))
    body.__name__ = body.__qualname__ = name
    return op(out=True, types=POSITIONS)(numpy_names(body))


argmax = _arg("argmax", ARGMAX)
argmin = _arg("argmin", ARGMIN)
