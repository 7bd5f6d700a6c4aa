"""Writing elements by index tensors: scatter, index_add and their kin, and everything that masks do.

The primitives SCATTER_SET and SCATTER_ADD write rows of a (V, D) matrix; reductions by product, maximum and
minimum have their own. Each function says where its rows lie with the helpers of gathering.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.autograd.graph import Rule
from facula.dtypes import BOOL, COMPLEX, FLOAT, bool_, dtype, float32, int64, uint8
from facula.engine.graph.expr import operand, scalar
from facula.engine.graph.expr import where as where_expr
from facula.engine.graph.node import (
    SCATTER_ADD,
    SCATTER_MAX,
    SCATTER_MIN,
    SCATTER_MUL,
    SCATTER_SET,
    Formula,
    Node,
    Primitive,
    size_of,
)
from facula.engine.meta import meta_node
from facula.engine.realize import value_of
from facula.engine.recorder import record
from facula.ops import gathering
from facula.ops.arithmetic import _scaled
from facula.ops.gathering import checked, index_leaf, rows, shaped, truth, vector_index, want_tensor
from facula.ops.pointwise import (
    FormulaRule,
    apply,
    broadcast,
    constant,
    number_for,
    result_dtype,
    to_dtype,
)
from facula.ops.registry import DTYPE_NAMES, op
from facula.size import Size
from facula.tensor import Tensor, attach, is_meta, new, read

# ---- the primitives -------------------------------------------------------------------------------------


def _write(kind: Primitive, base: Tensor, index: Node, src: Tensor, v: int, d: int) -> Tensor:
    if size_of(index.shape) * d == 0:
        return new(read(base))
    inputs = (shaped(read(base), (v, d)), index, shaped(read(src), (*index.shape, d)))
    return new(shaped(record(kind, inputs, None, None, (v, d), base.dtype), base.shape))


def _add_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    index, v, d, alpha = ctx.saved
    src = None
    if ctx.needs[1]:
        src = rows(g, index, v, d, ctx.shapes[1])
        if alpha != 1:
            src = src * alpha
    return g if ctx.needs[0] else None, src


def _set_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    index, v, d = ctx.saved
    base = src = None
    if ctx.needs[0]:
        base = set_rows(g, index, new(constant(0, ctx.shapes[1], g.dtype)), v, d)
    if ctx.needs[1]:
        src = rows(g, index, v, d, ctx.shapes[1])
    return base, src


def adding(name: str) -> Rule:
    return Rule(name, _add_backward)


def setting(name: str) -> Rule:
    return Rule(name, _set_backward)


_SET = setting("ScatterBackward0")
_SET_VALUE = setting("ScatterBackward1")
_ADD = adding("ScatterAddBackward0")
INDEX_PUT_SET = setting("IndexPutBackward0")
INDEX_PUT_ADD = adding("IndexPutBackward0")
_PUT_SET, _PUT_ADD = setting("PutBackward0"), adding("PutBackward0")
_INDEX_ADD = adding("IndexAddBackward0")
_INDEX_COPY = setting("IndexCopyBackward0")
_INDEX_FILL = (setting("IndexFillBackward0"), setting("IndexFillBackward1"))
_MASKED_SCATTER = setting("MaskedScatterBackward0")


def add_rows(base: Tensor, index: Node, src: Tensor, v: int, d: int, rule: Rule = _ADD, alpha: Any = 1) -> Tensor:
    """`base` (v, d) with `alpha * src` added to the rows `index`."""
    scaled = _scaled(src, alpha, base, src) if alpha != 1 else src
    # with grad mode on, `scaled` may be on the tape; only its node is used
    return attach(_write(SCATTER_ADD, base, index, scaled, v, d), rule, (base, src), (index, v, d, alpha))


def set_rows(base: Tensor, index: Node, src: Tensor, v: int, d: int, rule: Rule = _SET) -> Tensor:
    """`base` (v, d) with `src` in the rows `index`; the last of equal ones wins."""
    return attach(_write(SCATTER_SET, base, index, src, v, d), rule, (base, src), (index, v, d))


def _product_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    base, src, result, index, v, d = ctx.saved
    no_zero = base.masked_fill(base == 0, 1)
    grad_base = grad_src = None
    if ctx.needs[0]:
        grad_base = g * multiply_rows(no_zero, index, src, v, d) / no_zero
    if ctx.needs[1]:
        zero = src == 0
        count = add_rows(new(constant(0, base.shape, int64)), index, to_dtype(zero, int64), v, d)
        alone = zero & (rows(count, index, v, d, src.shape) == 1)
        others = multiply_rows(base, index, src.masked_fill(alone, 1), v, d)
        grad_src = where(alone, rows(g * others, index, v, d, src.shape),
                         rows(g * result, index, v, d, src.shape) / src.masked_fill(zero, 1))
    return grad_base, grad_src


def _extremum_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    base, src, result, index, v, d = ctx.saved
    at_base = to_dtype(base == result, g.dtype)
    at_src = to_dtype(src == rows(result, index, v, d, src.shape), g.dtype)
    count = add_rows(at_base, index, at_src, v, d)
    share = g / count.masked_fill(count == 0, 1)
    return at_base * share, at_src * rows(share, index, v, d, src.shape)


_PRODUCT = Rule("ScatterReduceBackward0", _product_backward)
_EXTREMUM = Rule("ScatterReduceBackward0", _extremum_backward)
_SUM = adding("ScatterReduceBackward0")


def multiply_rows(base: Tensor, index: Node, src: Tensor, v: int, d: int) -> Tensor:
    """`base` (v, d) with the rows `index` multiplied by `src`."""
    out = _write(SCATTER_MUL, base, index, src, v, d)
    return attach(out, _PRODUCT, (base, src), (base, src, out, index, v, d))


def reduce_rows(base: Tensor, index: Node, src: Tensor, v: int, d: int, reduce: str, include_self: bool) -> Tensor:
    """The rows of `src` reduced into `base`: sum, prod, mean, amax, amin."""
    of = base.dtype
    if not include_self:
        identity: Any = {"sum": 0, "mean": 0, "prod": 1}.get(reduce)
        if identity is None:
            identity = _lowest(of) if reduce == "amax" else _highest(of)
        base = set_rows(base, index, new(constant(identity, src.shape, of)), v, d)
    if reduce == "sum":
        return add_rows(base, index, src, v, d, _SUM)
    if reduce == "prod":
        return multiply_rows(base, index, src, v, d)
    if reduce == "mean":
        total = add_rows(base, index, src, v, d)
        ones = new(constant(1, src.shape, of))
        start = new(constant(1 if include_self else 0, base.shape, of))
        count = add_rows(start, index, ones, v, d)
        if not include_self:
            count = count.masked_fill(count == 0, 1)
        if of.category >= FLOAT:
            return total / count
        return total // count
    if reduce not in ("amax", "amin"):
        raise RuntimeError("reduce argument must be either sum, prod, mean, amax or amin, got " + str(reduce))
    out = _write(SCATTER_MAX if reduce == "amax" else SCATTER_MIN, base, index, src, v, d)
    return attach(out, _EXTREMUM, (base, src), (base, src, out, index, v, d))


def _lowest(of: dtype) -> Any:
    if of.category >= FLOAT:
        return -math.inf
    return False if of.category == BOOL else int(np.iinfo(of.numpy).min)


def _highest(of: dtype) -> Any:
    if of.category >= FLOAT:
        return math.inf
    return True if of.category == BOOL else int(np.iinfo(of.numpy).max)


# ---- where and masked_fill ------------------------------------------------------------------------------

_in, _num = operand, scalar
_WHERE = {(True, True): Formula("where", where_expr(_in(0), _in(1), _in(2))),
          (True, False): Formula("where", where_expr(_in(0), _in(1), _num(0))),
          (False, True): Formula("where", where_expr(_in(0), _num(0), _in(1))),
          (False, False): Formula("where", where_expr(_in(0), _num(0), _num(1)))}
_FILL = Formula("maskedFill", where_expr(_in(0), _num(0), _in(1)))
_FILL_TENSOR = Formula("maskedFill", where_expr(_in(0), _in(2), _in(1)))
_PUT_MASK = Formula("indexPut", where_expr(_in(0), _num(0), _in(1)))
_PUT_MASK_TENSOR = Formula("indexPut", where_expr(_in(0), _in(2), _in(1)))
_FILL_TENSOR.rule = FormulaRule("MaskedFillBackward1", _FILL_TENSOR)


def _condition(condition: Any) -> Tensor:
    want_tensor(condition, "where", "condition")
    if condition.dtype is uint8:
        return to_dtype(condition, bool_)
    if condition.dtype is not bool_:
        raise RuntimeError("where expected condition to be a boolean tensor, but got a tensor with dtype "
                           + DTYPE_NAMES[condition.dtype.name])
    return condition  # type: ignore[no-any-return]


@op(method=False, out=True)
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` is True, `other` elsewhere. With a condition alone: where it is not zero."""
    if input is None and other is None:
        return gathering.nonzero(condition, as_tuple=True)
    condition = _condition(condition)
    of = result_dtype((input, other))
    a, b = isinstance(input, Tensor), isinstance(other, Tensor)
    tensors = [to_dtype(x, of) for x in (input, other) if isinstance(x, Tensor)]
    numbers = [number_for(x, of) for x in (input, other) if not isinstance(x, Tensor)]
    if not tensors:
        return apply(_WHERE[False, True], (condition, new(constant(numbers[1], (), of))), (numbers[0],), of)
    return apply(_WHERE[a, b], (condition, *tensors), tuple(numbers), of)


@op(name="where", function=False)
def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    return where(condition, self, other)  # type: ignore[no-any-return]


def scalar_value(x: Any, of: dtype) -> Any:
    """A number to be written into a tensor of dtype `of`."""
    if isinstance(x, int) and not -1 << 63 <= x < 1 << 64:
        raise OverflowError("int too big to convert")
    if of.category == COMPLEX or of.category == BOOL:
        return number_for(x, of)
    if isinstance(x, complex):
        fits = not x.imag
        x = x.real if fits else x
    else:
        fits = True
    if fits and of.category == FLOAT:  # half types become infinite, as torch's own assignment makes them
        fits = of is not float32 or not math.isfinite(x) or -_FLOAT32_MAX <= x <= _FLOAT32_MAX
    elif fits:
        info = np.iinfo(of.numpy)
        least = -info.max if info.min == 0 and isinstance(x, int) else info.min  # -1 is 255, as in C
        fits = math.isfinite(x) and least <= x <= info.max
    if not fits:
        raise RuntimeError(f"value cannot be converted to type {_C_NUMBERS.get(of.name, of.name + '_t')} without "
                           "overflow")
    return number_for(x, of)


_FLOAT32_MAX = float(np.finfo(np.float32).max)
_C_NUMBERS = {"float32": "float", "float64": "double", "int32": "int", "float16": "c10::Half",
              "bfloat16": "c10::BFloat16"}


@op(inplace=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value` where `mask` is True."""
    want_tensor(mask, "masked_fill", "mask")
    if mask.dtype is uint8:
        mask = to_dtype(mask, bool_)
    elif mask.dtype is not bool_:
        raise RuntimeError("masked_fill_ only supports boolean masks, but got mask with dtype "
                           + _C_NAMES.get(mask.dtype.name, mask.dtype.name))
    if isinstance(value, Tensor):
        if value.shape:
            raise RuntimeError("masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                               f"{len(value.shape)} dimension(s).")
        return apply(_FILL_TENSOR, (mask, input, to_dtype(value, input.dtype)), None, input.dtype)
    return apply(_FILL, (mask, input), (scalar_value(value, input.dtype),), input.dtype)


_C_NAMES = {"int64": "long int", "int32": "int", "int16": "short int", "int8": "signed char", "float32": "float",
            "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"}


def put_mask(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input[mask] = value` for one number: `mask` covers the leading dimensions."""
    if len(mask.shape) < len(input.shape):
        mask = mask.reshape((*mask.shape, *[1] * (len(input.shape) - len(mask.shape))))
    if isinstance(value, Tensor):
        if value.shape:
            value = value.reshape(())
        return apply(_PUT_MASK_TENSOR, (mask, input, to_dtype(value, input.dtype)), None, input.dtype)
    return apply(_PUT_MASK, (mask, input), (scalar_value(value, input.dtype),), input.dtype)


@op(inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, in order, where `mask` is True."""
    want_tensor(mask, "masked_scatter", "mask")
    want_tensor(source, "masked_scatter", "source")
    if mask.dtype is not bool_ and mask.dtype is not uint8:
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype "
                           + DTYPE_NAMES[mask.dtype.name])
    if source.dtype is not input.dtype:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes but got "
                           f"{DTYPE_NAMES[input.dtype.name]} and {DTYPE_NAMES[source.dtype.name]}")
    shape = broadcast(input.shape, mask.shape)
    if input.shape != shape:
        input = input.expand(shape)
    if is_meta(mask):  # which of the elements of `source` are taken is not known: as many as there are
        index = meta_node((size_of(source.shape),), int64)
    else:
        index = index_leaf(np.flatnonzero(np.broadcast_to(truth(mask), shape)))
    count = index.shape[0]
    source = source.reshape(-1)
    if source.shape[0] < count:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    if source.shape[0] != count:
        source = source[:count]
    return set_rows(input, index, source, size_of(shape), 1, _MASKED_SCATTER)


# ---- scatter --------------------------------------------------------------------------------------------


def _place(what: str, input: Tensor, dim: int, index: Tensor, src: Tensor | None) -> tuple[Node, int, Tensor | None]:
    """The flat index of a scatter, V, and the part of `src` that is read."""
    shape, dim, index = gathering.gather_checks(what, input, dim, index)
    if src is not None:
        if src.dtype is not input.dtype:
            raise RuntimeError(f"{what}(): Expected self.dtype to be equal to src.dtype")
        if (len(src.shape) or 1) != (len(index.shape) or 1):
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
        if src.shape != index.shape:
            if any(i > s for i, s in zip(index.shape or (1,), src.shape or (1,), strict=False)):
                raise RuntimeError(
                    f"Expected index {list(index.shape)} to be no larger than self {list(input.shape)} apart from "
                    f"dimension {dim} and to be no larger than src {list(src.shape)}")
            if src.shape:
                src = src[tuple(slice(0, s) for s in index.shape or (1,))]
    node = checked(index, shape[dim], dim, RuntimeError, False)
    flat, v = gathering.along(shape, dim, gathering.shaped_index(node))
    return flat, v, src


_REDUCE = {"add": "sum", "multiply": "prod"}


@op(inplace=True, out=True)
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
            reduce: str | None = None) -> Tensor:
    """`input` with the elements of `src` (or one `value`) at `index` along `dim`."""
    if src is None:
        src = value
    want_tensor(index, "scatter", "index")
    if size_of(index.shape) == 0:
        return new(read(input)) if not input._rg else input.clone()
    rule = _SET
    tensor = isinstance(src, Tensor)
    flat, v, part = _place("scatter", input, dim, index, src if tensor else None)
    if part is None:
        part = new(constant(scalar_value(src, input.dtype), index.shape, input.dtype))
        rule = _SET_VALUE
    if reduce is None:
        return set_rows(input, flat, part, v, 1, rule)
    if reduce not in _REDUCE:
        raise RuntimeError("reduce argument must be either add or multiply.")
    return reduce_rows(input, flat, part, v, 1, _REDUCE[reduce], True)


@op(inplace=True, out=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with the elements of `src` added at `index` along `dim`."""
    want_tensor(src, "scatter_add", "src")
    want_tensor(index, "scatter_add", "index")
    if size_of(index.shape) == 0:
        return input.clone()
    flat, v, part = _place("scatter_add", input, dim, index, src)
    assert part is not None
    return add_rows(input, flat, part, v, 1)


@op(inplace=True, out=True)
def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *,
                   include_self: bool = True) -> Tensor:
    """The elements of `src` reduced into `input` at `index` along `dim`: sum, prod, mean, amax or amin."""
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError("reduce argument must be either sum, prod, mean, amax or amin, got " + str(reduce))
    want_tensor(index, "scatter_reduce", "index")
    if size_of(index.shape) == 0:
        return input.clone()
    flat, v, part = _place("scatter", input, dim, index, src)
    assert part is not None
    return reduce_rows(input, flat, part, v, 1, reduce, include_self)


# ---- along one dimension --------------------------------------------------------------------------------


def _source(what: str, input: Tensor, source: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    """`source`, if it has the shape of the rows it is for."""
    want_tensor(source, what, "source")
    if source.dtype is not input.dtype:
        raise RuntimeError(f"{what}(): self ({DTYPE_NAMES[input.dtype.name]}) and source "
                           f"({DTYPE_NAMES[source.dtype.name]}) must have the same scalar type")
    if (source.shape or (1,)) == tuple(shape):
        return source
    count = (source.shape or (1,))[dim] if dim < (len(source.shape) or 1) else 1
    if count != shape[dim]:
        raise (IndexError if what == "index_copy_" else RuntimeError)(
            f"{what}(): Number of indices ({shape[dim]}) should be equal to source.size(dim): "
            + (f"({count})" if what == "index_copy_" else f"({list(source.shape)[dim] if source.shape else 1})")
            + f", for dim: {dim}")
    if not source.shape:
        return source
    raise (IndexError if what == "index_copy_" else RuntimeError)(
        f"{what}(): Source/destination tensor must have same slice shapes. Destination slice shape: "
        f"{[s for k, s in enumerate(shape) if k != dim]} at dimension {dim} and source slice shape: "
        f"{[s for k, s in enumerate(source.shape) if k != dim]} at dimension 0.")


@op(inplace=True, out=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """`input` with the slices of `source` added to those that `index` names."""
    flat, v, d, shape, dim = vector_index("index_add_", input, dim, index)
    return add_rows(input, flat, _source("index_add_", input, source, shape, dim), v, d, _INDEX_ADD, alpha)


@op(inplace=True, out=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices of `source` in place of those that `index` names."""
    flat, v, d, shape, dim = vector_index("index_copy_", input, dim, index,
                                          message="index_copy_(): index {i} is out of bounds for dimension {dim} "
                                                  "with size {size}")
    return set_rows(input, flat, _source("index_copy_", input, source, shape, dim), v, d, _INDEX_COPY)


@op(inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`input` with `value` in the slices that `index` names."""
    want_tensor(index, "index_fill_", "index")
    if isinstance(value, Tensor) and value._rg and len(index.shape) == 1 and not is_meta(index):
        index = new(index_leaf(np.unique(value_of(read(index)))))  # `value` counts once for each slice
    flat, v, d, shape, dim = vector_index("index_fill_", input, dim, index, negative=True,
                                          message="index {i} is out of bounds for dimension {dim} with size {size}")
    if isinstance(value, Tensor):
        if value.shape:
            raise RuntimeError("index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                               f"{len(value.shape)} dimension(s).")
        return set_rows(input, flat, to_dtype(value, input.dtype).expand(shape), v, d, _INDEX_FILL[1])
    source = new(constant(scalar_value(value, input.dtype), shape, input.dtype))
    return set_rows(input, flat, source, v, d, _INDEX_FILL[0])


@op(inplace=True, out=True)
def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
                 include_self: bool = True) -> Tensor:
    """The slices of `source` reduced into those that `index` names: prod, mean, amax or amin."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError("reduce argument must be either prod, mean, amax or amin, got " + str(reduce) + ".")
    flat, v, d, shape, dim = vector_index("index_reduce_", input, dim, index)
    source = _source("index_reduce_", input, source, shape, dim)
    return reduce_rows(input, flat, source, v, d, reduce, include_self)


@op(inplace=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with the elements of `source` at `index`, counted through it row by row."""
    want_tensor(index, "put", "index")
    if index.dtype is not int64:
        raise RuntimeError("put_(): Expected a long tensor for index, but got " + DTYPE_NAMES[index.dtype.name])
    if source.dtype is not input.dtype:
        raise RuntimeError("put_(): self and source expected to have the same dtype, but got self.dtype = "
                           f"{DTYPE_NAMES[input.dtype.name]} and source.dtype = {DTYPE_NAMES[source.dtype.name]}")
    if size_of(source.shape) != size_of(index.shape):
        raise RuntimeError("put_(): Expected source and index to have the same number of elements, but got "
                           f"source.numel() = {size_of(source.shape)}, index.numel() = {size_of(index.shape)}")
    v = size_of(input.shape)
    node = checked(index, v, 0, IndexError, True,
                   "out of range: tried to access index {i} on a tensor of {size} elements.")
    if gathering.bounds(node)[0] < 0:
        node = gathering.nonnegative(node, v)
    if accumulate:
        return add_rows(input, node, source, v, 1, _PUT_ADD)
    return set_rows(input, node, source, v, 1, _PUT_SET)


# ---- what __setitem__ stands on -------------------------------------------------------------------------


def fit(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`value` broadcast to what an index expression means; leading dimensions of size 1 may be too many."""
    if value.shape == shape:
        return value
    extra = len(value.shape) - len(shape)
    if extra > 0 and all(s == 1 for s in value.shape[:extra]):
        value = value.reshape(value.shape[extra:])
    n = len(value.shape)
    if n > len(shape) or any(s != 1 and s != t for s, t in zip(value.shape, shape[len(shape) - n:], strict=False)):
        raise RuntimeError(f"shape mismatch: value tensor of shape {list(value.shape)} cannot be broadcast to "
                           f"indexing result of shape {list(shape)}")
    if value.shape == shape:
        return value
    return value.expand(shape)


def put_rows(base: Tensor, index: Node, v: int, d: int, shape: tuple[int, ...], value: Any,
             accumulate: bool = False) -> Tensor:
    """`base[...] = value` with the flat index of gathering.flat_index."""
    shape = tuple.__new__(Size, shape)
    if not isinstance(value, Tensor):
        value = new(constant(scalar_value(value, base.dtype), shape, base.dtype))
    else:
        if value.dtype is not base.dtype:
            raise RuntimeError("Index put requires the source and destination dtypes match, got "
                               f"{DTYPE_NAMES[base.dtype.name]} for the destination and "
                               f"{DTYPE_NAMES[value.dtype.name]} for the source.")
        value = fit(value, shape)
    if accumulate:
        return add_rows(base, index, value, v, d, INDEX_PUT_ADD)
    return set_rows(base, index, value, v, d, INDEX_PUT_SET)


