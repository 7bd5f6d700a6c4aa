"""Sums, products, means, extrema, logical reductions, norms and softmax.

A reduction node drops its dimensions; `keepdim` is a VIEW of it. What is a composition (mean, softmax,
logsumexp) is recorded as plain nodes under one hand-written rule, so that the compiler sees one loop nest.
"""

from __future__ import annotations

import functools
import math
from collections import namedtuple
from collections.abc import Callable
from operator import index as as_int
from typing import Any

from facula import defaults
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, bool_, dtype, float32, int64, uint8
from facula.engine.graph.expr import function, operand, scalar, where
from facula.engine.graph.node import (
    ALL,
    ANY,
    ARGMAX,
    ARGMIN,
    INDEX,
    MAX,
    MIN,
    PROD,
    SUM,
    VIEW,
    Formula,
    Node,
    Primitive,
    contiguous_strides,
    size_of,
)
from facula.engine.recorder import record
from facula.ops.pointwise import apply, constant, to_dtype
from facula.ops.registry import DTYPE_NAMES, Result, op
from facula.size import Size
from facula.tensor import Tensor, attach, attach_many, new, read, view_node

# ---- arguments ----------------------------------------------------------------------------------------


def wrap_dim(dim: Any, rank: int) -> int:
    """`dim` counted from the front; IndexError if there is no such dimension. A 0-d tensor counts as 1-d."""
    try:
        k = as_int(dim)
    except TypeError:
        raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}") from None
    n = rank or 1
    if not -n <= k < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {k})")
    return k + n if k < 0 else k


def dims_of(dim: Any, rank: int) -> tuple[int, ...]:
    """The reduced dimensions, sorted; all of them for None or an empty list."""
    if dim is None:
        return tuple(range(rank))
    if type(dim) is int:
        k = wrap_dim(dim, rank)
        return (k,) if rank else ()
    if isinstance(dim, (tuple, list)):
        if not dim:
            return tuple(range(rank))
        found = [wrap_dim(k, rank) for k in dim]
        for k in found:
            if found.count(k) > 1:
                raise RuntimeError(f"dim {k} appears multiple times in the list of dims")
        return tuple(sorted(found)) if rank else ()
    k = wrap_dim(dim, rank)
    return (k,) if rank else ()


@functools.lru_cache(4096)
def kept(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with 1 in the reduced places."""
    return tuple([1 if k in dims else s for k, s in enumerate(shape)])


@functools.lru_cache(4096)
def dropped(shape: tuple[int, ...], dims: tuple[int, ...]) -> Size:
    return Size([s for k, s in enumerate(shape) if k not in dims])


def count_of(shape: tuple[int, ...], dims: tuple[int, ...]) -> int:
    n = 1
    for k in dims:
        n *= shape[k]
    return n


def numpy_names(body: Callable[..., Result]) -> Callable[..., Result]:
    """Accept `axis` and `keepdims` for `dim` and `keepdim`, as torch does."""
    @functools.wraps(body)
    def form(*args: Any, **kwargs: Any) -> Result:
        if kwargs:
            if "axis" in kwargs:
                kwargs["dim"] = kwargs.pop("axis")
            if "keepdims" in kwargs:
                kwargs["keepdim"] = kwargs.pop("keepdims")
        return body(*args, **kwargs)
    return form


def tensor_argument(x: Any, what: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{what}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}")


_result_types: dict[tuple[str, tuple[str, ...]], Any] = {}


def result_type(name: str, *fields: str) -> Any:
    """The named tuple `torch.return_types.<name>`."""
    fields = fields or ("values", "indices")
    found = _result_types.get((name, fields))
    if found is None:
        base = namedtuple(name, fields)  # type: ignore[misc]

        def show(self: Any) -> str:
            inner = ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=False))
            return f"torch.return_types.{name}(\n{inner})"
        found = type(name, (base,), {"__slots__": (), "__module__": "torch.return_types", "__repr__": show})
        _result_types[name, fields] = found
    return found


# ---- nodes --------------------------------------------------------------------------------------------


def reshaped(node: Node, shape: tuple[int, ...]) -> Node:
    """A contiguous node under another shape."""
    if node.shape == shape:
        return node
    return view_node(node, tuple.__new__(Size, shape), contiguous_strides(shape), 0, node.dtype)


def reduce_node(primitive: Primitive, node: Node, dims: tuple[int, ...], keepdim: bool, of: dtype) -> Node:
    if not dims:
        return node
    out = record(primitive, (node,), (dims,), None, dropped(node.shape, dims), of)
    return reshaped(out, kept(node.shape, dims)) if keepdim else out


def reduce_kept(primitive: Primitive, node: Node, dims: tuple[int, ...], of: dtype) -> Node:
    """`reduce_node` with the dimensions kept, for a node that has elements and dims that are not empty."""
    small, wide, strides = _kept_geometry(node.shape, dims)
    return record(VIEW, (record(primitive, (node,), (dims,), None, small, of),), (strides,), (0,), wide, of)


@functools.lru_cache(4096)
def _kept_geometry(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[Size, Size, tuple[int, ...]]:
    wide = Size(kept(shape, dims))
    return dropped(shape, dims), wide, contiguous_strides(wide)


def formula_node(formula: Formula, nodes: tuple[Node, ...], scalars: tuple[Any, ...] | None,
                 shape: tuple[int, ...], of: dtype) -> Node:
    return record(formula, nodes, None, scalars, shape, of)


def coordinate(shape: tuple[int, ...], dim: int) -> Tensor:
    """int64 positions along `dim`."""
    return new(record(INDEX, (), (dim,), None, tuple.__new__(Size, shape), int64))


def widened(t: Tensor) -> Node:
    """The value of `t`, 16-bit floats as float32."""
    node = t._node or read(t)
    of = node.dtype
    if of.compute is not of:
        return formula_node(_TO, (node,), None, node.shape, float32)
    return node


def narrowed(node: Node, of: dtype) -> Node:
    return node if node.dtype is of else formula_node(_TO, (node,), None, node.shape, of)


_a, _b, _c = operand(0), operand(1), operand(2)
_fn = {n: function(n) for n in ("exp", "log", "eq", "ne", "abs", "sqrt", "pow", "isnan", "sign", "or", "and")}
_TO = Formula("toCopy", _a)
_INVERSE = Formula("reciprocal", 1.0 / _a)
_DIV_S = Formula("div", _a / scalar(0))
_SUB = Formula("sub", _a - _b)
_MUL = Formula("mul", _a * _b)
_DIV = Formula("div", _a / _b)
_EXP_SUB = Formula("exp", _fn["exp"](_a - _b))
_SUB_LOG = Formula("sub", _a - _b - _fn["log"](_c))
_FINITE = Formula("where", where(_fn["eq"](_fn["abs"](_a), math.inf), 0.0, _a))
_LOG_ADD = Formula("add", _fn["log"](_a) + _b)
PICK = Formula("where", where(_fn["eq"](_a, _b), _c, 0.0))
_EQUAL = Formula("eq", _fn["or"](_fn["eq"](_a, _b), _fn["and"](_fn["ne"](_a, _a), _fn["ne"](_b, _b))))
_MASK = Formula("where", where(_a, _b, 0.0))
_NAN_ZERO = Formula("where", where(_fn["ne"](_a, _a), 0.0, _a))
_NOT_NAN = Formula("eq", _fn["eq"](_a, _a))
_NONZERO = Formula("ne", _fn["ne"](_a, 0))


def mask(condition: Tensor, value: Tensor) -> Tensor:
    """`value` where the condition holds, else 0."""
    return apply(_MASK, (condition, value), None, value.dtype)


def put_along(g: Tensor, indices: Tensor, dim: int, shape: tuple[int, ...]) -> Tensor:
    """`g` (kept dims) at its index along `dim`, 0 elsewhere."""
    if not shape:
        return g.reshape(())
    return apply(PICK, (coordinate(shape, dim), indices, g), None, g.dtype)


def spread(g: Tensor, shape: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    """The gradient of a reduction with its dimensions back, ready to broadcast."""
    k = kept(shape, dims)
    return g if g.shape == k else g.reshape(k)


# ---- sum, mean, prod ----------------------------------------------------------------------------------


def _sum_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    shape = ctx.shapes[0]
    return (spread(g, shape, ctx.saved[0]).expand(shape),)


_SUM_RULES = Rule("SumBackward0", _sum_back), Rule("SumBackward1", _sum_back)


def summed(input: Tensor, dim: Any, keepdim: bool, of: dtype | None) -> Tensor:
    if of is None:
        of = input.dtype if input.dtype.category >= FLOAT else int64
    x = input if input.dtype is of else to_dtype(input, of)
    dims = dims_of(dim, len(x.shape))
    out = new(reduce_node(SUM, read(x), dims, keepdim, of))
    if x._rg or x._base is not None:
        attach(out, _SUM_RULES[dim is not None], (x,), (dims,))
    return out


@op(out=True)
@numpy_names
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Tensor:
    tensor_argument(input, "sum")
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
            raise RuntimeError(f"{what}(): could not infer output dtype. Optional dtype must be either a floating "
                               f"point or complex dtype. Got: {DTYPE_NAMES[of.name]}")
        return to_dtype(input, of)
    if input.dtype.category < FLOAT:
        raise RuntimeError(f"{what}(): could not infer output dtype. Input dtype must be either a floating point or "
                           f"complex dtype. Got: {DTYPE_NAMES[input.dtype.name]}")
    return input


def mean_node(node: Node, dims: tuple[int, ...], keepdim: bool) -> Node:
    n = float(count_of(node.shape, dims))
    total = reduce_node(SUM, node, dims, keepdim, node.dtype)
    return formula_node(_DIV_S, (total,), (complex(n) if node.dtype.is_complex else n,), total.shape, node.dtype)


@op(out=True)
@numpy_names
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Tensor:
    tensor_argument(input, "mean")
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


@op(out=True)
@numpy_names
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Tensor:
    tensor_argument(input, "nansum")
    if input.dtype.category < FLOAT:
        return summed(input, dim, keepdim, dtype)
    if input.dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    x = input if dtype is None else to_dtype(input, dtype)
    dims = dims_of(dim, len(x.shape))
    node = formula_node(_NAN_ZERO, (read(x),), None, x.shape, x.dtype)
    return attach(new(reduce_node(SUM, node, dims, keepdim, x.dtype)), _NANSUM, (x,), (x, dims))


@op(out=True)
@numpy_names
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Tensor:
    tensor_argument(input, "nanmean")
    if input.dtype.category < FLOAT:
        raise RuntimeError("nanmean(): expected input to have floating point or complex dtype but got "
                           f"{DTYPE_NAMES[input.dtype.name]}")
    if input.dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    there = apply(_NOT_NAN, (input,), None, bool_)
    total = nansum(input, dim, keepdim, dtype=dtype)
    return total / to_dtype(summed(there, dim, keepdim, None), total.dtype)


def _prod_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    from facula.autograd.graph import mode
    x, dims = ctx.saved
    if x.dtype.is_complex:  # g * conj(f'), and f' is made of x
        x = x.conj()
    shape = x.shape
    g = spread(g, shape, dims)
    if mode.grad and x._rg and dims:
        return (g * _product_of_others(x, dims),)
    zero = x == 0
    zeros = summed(zero, dims or None, True, None)
    safe = apply(Formula("where", where(_a, 1.0, _b)), (zero, x), None, x.dtype)
    rest = new(reduce_node(PROD, read(safe), dims, True, x.dtype))
    return (apply(_OTHERS, (to_dtype(zeros, x.dtype), zero, rest, safe, g), None, x.dtype),)


_OTHERS = Formula("prod", where(_fn["eq"](_a, 0.0), operand(4) * _c / operand(3),
                                where(_fn["and"](_fn["eq"](_a, 1.0), operand(1)), operand(4) * _c, 0.0)))


def _product_of_others(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """prod over dims of all elements but this one, differentiable and exact with zeros."""
    from facula.ops.registry import FUNCTIONS
    shape = x.shape
    rest = [k for k in range(len(shape)) if k not in dims]
    order = [*rest, *dims]
    n = count_of(shape, dims)
    flat = x.permute(order).reshape(*[shape[k] for k in rest], n)
    if not flat.numel():
        return x
    d = len(rest)
    one = new(constant(1, (*flat.shape[:-1], 1), x.dtype))
    cat: Callable[..., Tensor] = FUNCTIONS["cat"]
    left = cat([one, flat.narrow(d, 0, n - 1)], d).cumprod(d)
    right = cat([one, flat.flip(d).narrow(d, 0, n - 1)], d).cumprod(d).flip(d)
    others = (left * right).reshape([shape[k] for k in order])
    back = [0] * len(order)
    for i, k in enumerate(order):
        back[k] = i
    return others.permute(back)


_PROD_RULES = Rule("ProdBackward0", _prod_back), Rule("ProdBackward1", _prod_back)


@op(out=True)
@numpy_names
def prod(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtype | None = None) -> Tensor:
    tensor_argument(input, "prod")
    of = dtype or (input.dtype if input.dtype.category >= FLOAT else int64)
    x = to_dtype(input, of)
    dims = dims_of(dim, len(x.shape))
    out = new(reduce_node(PROD, read(x), dims, keepdim, of))
    return attach(out, _PROD_RULES[dim is not None], (x,), (x, dims))


# ---- extrema ------------------------------------------------------------------------------------------


def _even_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, out, dims = ctx.saved
    shape = x.shape
    same = apply(_EQUAL, (x, spread(out, shape, dims)), None, bool_)
    count = to_dtype(summed(same, dims or None, True, None), g.dtype)
    return (mask(same, spread(g, shape, dims) / count),)


def _index_back(ctx: Any, g: Tensor, *rest: Any) -> tuple[Tensor]:
    indices, dim = ctx.saved
    shape = ctx.shapes[0]
    k = kept(shape, (dim,))
    return (put_along(g.reshape(k), indices.reshape(k), dim, shape),)


_EVEN = {n: Rule(n, _even_back) for n in ("MaxBackward1", "MinBackward1", "AmaxBackward0", "AminBackward0",
                                          "MedianBackward0", "NanmedianBackward0")}
_AT = {n: Rule(n, _index_back) for n in ("MaxBackward0", "MinBackward0", "MedianBackward1", "NanmedianBackward1",
                                         "KthvalueBackward0", "ModeBackward0")}
_OF = {"max": (MAX, ARGMAX), "min": (MIN, ARGMIN)}


def no_complex(input: Tensor, what: str) -> None:
    tensor_argument(input, what)
    if input.dtype.is_complex:
        raise NotImplementedError(f'"{what}" not implemented for \'{DTYPE_NAMES[input.dtype.name]}\'')


def nonempty(input: Tensor, dims: tuple[int, ...], full: bool, what: str) -> None:
    if 0 not in input.shape:
        return
    if full:
        if what not in ("max", "min"):
            raise IndexError(f"{what}(): Expected reduction dim to be specified for input.numel() == 0.")
        raise RuntimeError(f"{what}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
                           "reduction dim with the 'dim' argument.")
    for d in dims:
        if input.shape[d] == 0:
            name = what if what == "aminmax" else what + "()"
            raise IndexError(f"{name}: Expected reduction dim {d} to have non-zero size.")


def index_node(primitive: Primitive, node: Node, dims: tuple[int, ...], keepdim: bool) -> Node:
    if not dims:
        return constant(0, node.shape, int64)
    return reduce_node(primitive, node, dims, keepdim, int64)


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
        return attach(out, _EVEN[title + "Backward1"], (input,), (input, out, dims))
    d = wrap_dim(dim, rank)
    dims = (d,) if rank else ()
    nonempty(input, dims, False, name)
    values = new(reduce_node(extreme, node, dims, keepdim, input.dtype))
    indices = new(index_node(arg, node, dims, keepdim))
    if input._rg or input._base is not None:
        attach(values, _AT[title + "Backward0"], (input,), (indices, d))
    return result_type(name)(values, indices)


def _extremum_op(name: str) -> Callable[..., Any]:
    def body(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        if other is None and isinstance(dim, Tensor):
            other = dim
        if other is not None:
            from facula.ops.registry import FUNCTIONS
            return FUNCTIONS[name + "imum"](input, other)
        return _extremum(name, input, dim, keepdim)
    body.__name__ = body.__qualname__ = name
    return op(out=True)(numpy_names(body))


max = _extremum_op("max")
min = _extremum_op("min")


def _am(name: str, primitive: Primitive) -> Callable[..., Any]:
    def body(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
        tensor_argument(input, name)
        dims = dims_of(dim, len(input.shape))
        no_complex(input, f"{name[1:]}_values_cpu")
        if 0 in input.shape:
            if dim is None or dim == ():
                raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
                                   "the reduction dim with the 'dim' argument.")
            nonempty(input, dims, False, name)
        out = new(reduce_node(primitive, read(input), dims, keepdim, input.dtype))
        return attach(out, _EVEN[name.capitalize() + "Backward0"], (input,), (input, out, dims))
    body.__name__ = body.__qualname__ = name
    return op(out=True)(numpy_names(body))


amax = _am("amax", MAX)
amin = _am("amin", MIN)


def _aminmax_back(ctx: Any, low: Any, high: Any) -> tuple[Tensor | None]:
    x, a, b, dims = ctx.saved
    total = None
    for g, r in ((low, a), (high, b)):
        if g is not None:
            same = apply(_EQUAL, (x, spread(r, x.shape, dims)), None, bool_)
            count = to_dtype(summed(same, dims or None, True, None), g.dtype)
            part = mask(same, spread(g, x.shape, dims) / count)
            total = part if total is None else total + part
    return (total,)


_AMINMAX = Rule("AminmaxBackward0", _aminmax_back)


@op(out=True)
@numpy_names
def aminmax(input: Tensor, *, dim: Any = None, keepdim: bool = False) -> Any:
    no_complex(input, "aminmax")
    dims = dims_of(dim, len(input.shape))
    if 0 in input.shape:
        if dim is None:
            raise RuntimeError("aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
                               "identity.")
        nonempty(input, dims, False, "aminmax")
    node = read(input)
    outs = tuple([new(reduce_node(p, node, dims, keepdim, input.dtype)) for p in (MIN, MAX)])
    if input._rg or input._base is not None:
        attach_many(outs, _AMINMAX, (input,), (input, ("out", 0), ("out", 1), dims))
    return result_type("aminmax", "min", "max")(*outs)


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
    return op(out=True)(numpy_names(body))


argmax = _arg("argmax", ARGMAX)
argmin = _arg("argmin", ARGMIN)


# ---- logical ------------------------------------------------------------------------------------------


def _logical(name: str, primitive: Primitive) -> Callable[..., Any]:
    def body(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
        tensor_argument(input, name)
        node = read(input)
        of = uint8 if input.dtype is uint8 else bool_
        dims = () if isinstance(dim, (tuple, list)) and not dim else dims_of(dim, len(input.shape))
        if node.dtype is not bool_:
            node = formula_node(_NONZERO, (node,), None, node.shape, bool_)
        return new(narrowed(reduce_node(primitive, node, dims, keepdim, bool_), of))
    body.__name__ = body.__qualname__ = name
    return op(out=True)(numpy_names(body))


any = _logical("any", ANY)
all = _logical("all", ALL)


@op
@numpy_names
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    tensor_argument(input, "count_nonzero")
    there = apply(_NONZERO, (input.detach() if input._rg else input,), None, bool_)
    return summed(there, dim, False, None)


# ---- logsumexp, softmax -------------------------------------------------------------------------------


def _lse_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    x, out, dims = ctx.saved
    shape = x.shape
    return (apply(_G_EXP, (spread(g, shape, dims), x, spread(out, shape, dims)), None, g.dtype),)


_G_EXP = Formula("mul", _a * _fn["exp"](_b - _c))
_LSE = Rule("LogsumexpBackward0", _lse_back)


@op(out=True)
@numpy_names
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    tensor_argument(input, "logsumexp")
    x = input if input.dtype.category >= FLOAT else to_dtype(input, defaults.get_default_dtype())
    dims = dims_of(dim, len(x.shape))
    if x.dtype.is_complex:
        return _complex_logsumexp(x, dims, keepdim)
    node = widened(x)
    if not dims:
        return attach(out := new(reshaped(read(x), ())), _LSE, (x,), (x, out, dims))
    if count_of(x.shape, dims) == 0:
        return new(constant(-math.inf, kept(x.shape, dims) if keepdim else dropped(x.shape, dims), x.dtype))
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


def _complex_logsumexp(x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """The largest real part is taken out; the imaginary part of the result is an angle in (-pi, pi]."""
    if count_of(x.shape, dims) == 0:
        return new(constant(-math.inf, kept(x.shape, dims) if keepdim else dropped(x.shape, dims), x.dtype))
    real = x.detach().real
    top = amax(real, dims, True) if dims else real
    top = to_dtype(new(formula_node(_FINITE, (read(top),), None, top.shape, top.dtype)), x.dtype)
    total = (x - top).exp()
    out = (summed(total, dims, True, None) if dims else total).log() + top
    return out if keepdim else out.reshape(dropped(x.shape, dims))


def _softmax_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    out, dim = ctx.saved
    if not out.shape:
        return (g * 0,)
    gy = apply(_MUL, (g, out), None, g.dtype)
    return (apply(_SOFTMAX_G, (gy, summed(gy, dim, True, None), out), None, g.dtype),)


def _log_softmax_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    out, dim = ctx.saved
    if not out.shape:
        return (g * 0,)
    return (apply(_LOG_SOFTMAX_G, (g, summed(g, dim, True, None), out), None, g.dtype),)


_SOFTMAX_G = Formula("sub", _a - _b * _c)
_LOG_SOFTMAX_G = Formula("sub", _a - _b * _fn["exp"](_c))
_SOFTMAX = Rule("SoftmaxBackward0", _softmax_back)
_LOG_SOFTMAX = Rule("LogSoftmaxBackward0", _log_softmax_back)


def _soft(input: Tensor, dim: Any, of: dtype | None, log: bool) -> Tensor:
    x = input if of is None else to_dtype(input, of)
    what = "log_softmax" if log else "softmax"
    rank = len(x.shape)
    d = wrap_dim(dim, rank)
    if x.dtype.category < FLOAT or x.dtype.is_complex:
        kernel = "lastdim_kernel" if d == rank - 1 or not rank else "kernel"
        raise NotImplementedError(f'"{what}_{kernel}_impl" not implemented for \'{DTYPE_NAMES[x.dtype.name]}\'')
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
        # one division a row; the products differ from quotients by half a unit in the last place at most
        result = record(_MUL, (e, record(_INVERSE, (total,), None, None, total.shape, w)), None, None, shape, w)
    out = new(result if w is x.dtype else narrowed(result, x.dtype))
    return attach(out, rule, (x,), (out, d)) if x._rg or x._base is not None else out


def _implicit_dim(dim: Any, rank: int, name: str, stacklevel: int) -> int:
    if dim is not None:
        return dim  # type: ignore[no-any-return]
    import warnings
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as "
                  "an argument.", stacklevel=stacklevel + 1)
    return 0 if rank in (0, 1, 3) else 1


@op(out=True)
@numpy_names
def softmax(input: Tensor, dim: Any, dtype: dtype | None = None) -> Tensor:
    tensor_argument(input, "softmax")
    return _soft(input, dim, dtype, False)


@op(out=True)
@numpy_names
def log_softmax(input: Tensor, dim: Any, dtype: dtype | None = None) -> Tensor:
    tensor_argument(input, "log_softmax")
    return _soft(input, dim, dtype, True)


@op(name="softmax", namespace="nn.functional", method=False)
def functional_softmax(input: Tensor, dim: Any = None, _stacklevel: int = 3, dtype: dtype | None = None) -> Tensor:
    return _soft(input, _implicit_dim(dim, len(input.shape), "softmax", _stacklevel), dtype, False)


@op(name="log_softmax", namespace="nn.functional", method=False)
def functional_log_softmax(input: Tensor, dim: Any = None, _stacklevel: int = 3,
                           dtype: dtype | None = None) -> Tensor:
    return _soft(input, _implicit_dim(dim, len(input.shape), "log_softmax", _stacklevel), dtype, True)


@op(name="softmin", namespace="nn.functional", method=False)
def functional_softmin(input: Tensor, dim: Any = None, _stacklevel: int = 3, dtype: dtype | None = None) -> Tensor:
    return _soft(-input, _implicit_dim(dim, len(input.shape), "softmin", _stacklevel), dtype, False)


# ---- norms --------------------------------------------------------------------------------------------


def _norm_back(ctx: Any, g: Tensor) -> tuple[Tensor | None]:
    x, out, p, dims = ctx.saved
    shape = x.shape
    g, r = spread(g, shape, dims), spread(out, shape, dims)
    if p == 0:
        return (None,)
    if x.dtype.is_complex:
        size = x.abs()
        unit = x / to_dtype(mask_zero(size), x.dtype)
    else:
        size, unit = x.abs(), x.sign()
    if p == 1:
        return (g * unit,)
    if p == 2:
        return (apply(_NORM2_G, (x, g, r), None, x.dtype) if not x.dtype.is_complex
                else x * (g / mask_zero(r)),)
    if math.isinf(p):
        same = apply(_EQUAL, (size, r), None, bool_)
        count = to_dtype(summed(same, dims or None, True, None), g.dtype)
        return (unit * mask(same, g / count),)
    power = size.pow(p - 1) if p >= 2 else mask(size != 0, mask_zero(size).pow(p - 1))
    return (unit * power * mask(r != 0, g / mask_zero(r).pow(p - 1)),)


def mask_zero(x: Tensor) -> Tensor:
    """1 instead of 0, to divide by."""
    return apply(_ONE_FOR_ZERO, (x,), None, x.dtype)


_ONE_FOR_ZERO = Formula("where", where(_fn["eq"](_a, 0.0), 1.0, _a))
_NORM2_G = Formula("mul", where(_fn["eq"](_c, 0.0), 0.0, _b * (_a / _c)))
_NORM = Rule("LinalgVectorNormBackward0", _norm_back)
_SQ = Formula("mul", _a * _a)
_SQRT = Formula("sqrt", _fn["sqrt"](_a))
_ABS = Formula("abs", _fn["abs"](_a))
_ABS_POW = Formula("pow", _fn["pow"](_fn["abs"](_a), scalar(0)))
_POW_S = Formula("pow", _fn["pow"](_a, scalar(0)))


@op(namespace="linalg", method=False, out=True)
@numpy_names
def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *,
                dtype: dtype | None = None) -> Tensor:
    tensor_argument(x, "linalg.vector_norm")
    if x.dtype.category < FLOAT:
        raise RuntimeError("linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
                           f"{DTYPE_NAMES[x.dtype.name]}")
    p = float(ord)
    if dtype is not None:
        x = to_dtype(x, dtype)
    dims = dims_of(dim, len(x.shape))
    if count_of(x.shape, dims) == 0 and (p < 0 or math.isinf(p)) and size_of(dropped(x.shape, dims)):
        raise RuntimeError(f"linalg.vector_norm cannot compute the {p:g} norm on an empty tensor because the "
                           "operation does not have an identity")
    if x.dtype.is_complex:
        node = read(x.detach().abs())
    else:
        node = widened(x)
    of = node.dtype
    out_dtype = x.dtype.to_real()
    if not dims:
        node = formula_node(_ABS, (node,), None, node.shape, of)
        if p == 0:
            node = narrowed(formula_node(_NONZERO, (node,), None, node.shape, bool_), of)
        result = node
    elif p == 0:
        there = narrowed(formula_node(_NONZERO, (node,), None, node.shape, bool_), of)
        result = reduce_node(SUM, there, dims, keepdim, of)
    elif p == 1:
        result = reduce_node(SUM, formula_node(_ABS, (node,), None, node.shape, of), dims, keepdim, of)
    elif p == 2:
        result = reduce_node(SUM, formula_node(_SQ, (node,), None, node.shape, of), dims, keepdim, of)
        result = formula_node(_SQRT, (result,), None, result.shape, of)
    elif math.isinf(p):
        size = formula_node(_ABS, (node,), None, node.shape, of)
        result = reduce_node(MAX if p > 0 else MIN, size, dims, keepdim, of)
    else:
        size = formula_node(_ABS_POW, (node,), (p,), node.shape, of)
        result = reduce_node(SUM, size, dims, keepdim, of)
        result = formula_node(_POW_S, (result,), (1.0 / p,), result.shape, of)
    out = new(narrowed(result, out_dtype))
    return attach(out, _NORM, (x,), (x, out, p, dims))


@op(out=False)
@numpy_names
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None,
         dtype: dtype | None = None) -> Tensor:
    tensor_argument(input, "norm")
    if p == "nuc":
        from facula.ops.registry import NAMESPACES
        table = NAMESPACES["linalg"]
        result: Tensor = table["matrix_norm"](input, "nuc", dim if dim is not None else (-2, -1), keepdim, dtype=dtype)
    else:
        if isinstance(p, str) and p != "fro":
            raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
        if input.dtype.category < FLOAT and dtype is None:
            raise RuntimeError("linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
                               f"{DTYPE_NAMES[input.dtype.name]}")
        result = vector_norm(input if dtype is None else to_dtype(input, dtype), 2 if p in ("fro", None) else p,
                             dim, keepdim)
    if out is not None:
        from facula.ops.registry import store_out
        return store_out(out, result, "norm")
    return result


@op
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    return vector_norm(input - other, p)


@op(method=False)
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    if dim == -1:
        return norm(v, pow)
    d = wrap_dim(dim, len(v.shape))
    rest = tuple([k for k in range(len(v.shape)) if k != d])
    return vector_norm(v, pow, rest, True)

