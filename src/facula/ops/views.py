"""Views: tensors that share another's elements, and the gradients of looking at and writing to a region.

A view is an alias: (shape, strides, offset) over the same storage. Its gradient rule speaks of the input as
if it were contiguous, whatever its strides, because gradients are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import index
from typing import Any

import numpy as np

from facula.autograd.graph import Rule, mode
from facula.dtypes import dtype
from facula.dtypes import int64 as INT64
from facula.engine.graph.node import SCATTER_ADD, WRITE, Node, contiguous_strides, size_of
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.ops.pointwise import constant, sum_to, to_dtype
from facula.ops.registry import FUNCTIONS, METHODS, alias_of, op
from facula.size import Size
from facula.tensor import Tensor, alias, attach, new, read, share, view_node

Ints = tuple[int, ...]
_blocked = object()


def wrap_dim(dim: Any, n: int) -> int:
    """`dim` counted from the front; IndexError, in torch's words, if a tensor of `n` dimensions has none such."""
    try:
        d = index(dim)
    except TypeError:
        raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}") from None
    low = -n if n else -1
    high = n - 1 if n else 0
    if not low <= d <= high:
        raise IndexError(f"Dimension out of range (expected to be in range of [{low}, {high}], but got {d})")
    return d + (n or 1) if d < 0 else d


def ints(args: tuple[Any, ...], what: str = "size") -> Ints:
    """The integers of `f(1, 2)`, `f((1, 2))` or `f([1, 2])`."""
    items = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    if len(args) == 1 and items is args and isinstance(args[0], Tensor) and args[0].shape:
        items = args[0].tolist()
    try:
        return tuple([x if type(x) is int else index(x) for x in items])
    except TypeError:
        bad = next(x for x in items if not hasattr(x, "__index__"))
        raise TypeError(f"argument '{what}' must be tuple of ints, but found element of type "
                        f"{type(bad).__name__}") from None


def _tensor(t: Any, what: str, arg: str = "input") -> None:
    if not isinstance(t, Tensor):
        raise TypeError(f"{what}(): argument '{arg}' (position 1) must be Tensor, not {type(t).__name__}")


# ---- regions: fresh values, not aliases ------------------------------------------------------------------

def _overlaps(shape: Ints, strides: Ints) -> bool:
    """May two indices meet the same element?"""
    reach = 0
    for stride, n in sorted((abs(st), n) for n, st in zip(shape, strides, strict=False) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (n - 1)
    return False


def region_view(t: Tensor, shape: Ints, strides: Ints, offset: int, name: str = "") -> Tensor:
    """The region (shape, strides, offset) of the contiguous value of `t`, as a fresh tensor."""
    out = new(view_node(read(t), shape, strides, offset, t.dtype))
    return attach(out, _named(name, _region_view_backward) if name else _REGION_VIEW, (t,), (strides, offset))


def _region_view_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    strides, offset = ctx.saved
    return (region_add(g, ctx.shapes[0], strides, offset),)


def region_add(g: Tensor, shape: Ints, strides: Ints, offset: int) -> Tensor:
    """Zeros of `shape` with `g` added at the region: the transpose of `region_view`."""
    if offset == 0 and size_of(shape) == size_of(g.shape) and strides == contiguous_strides(g.shape):
        return region_view(g, shape, contiguous_strides(shape), 0)
    zero = constant(0, shape, g.dtype)
    if not size_of(g.shape):
        return new(zero)
    if not _overlaps(g.shape, strides):
        node = record(WRITE, (zero, read(g)), (strides,), (offset,), zero.shape, g.dtype)
    else:
        where = np.full(g.shape, offset, np.int64)
        for d, (n, stride) in enumerate(zip(g.shape, strides, strict=False)):
            where += (np.arange(n) * stride).reshape([n if k == d else 1 for k in range(len(g.shape))])
        n = where.size
        total = size_of(shape)
        at = leaf(where.reshape(-1), (n,), INT64)
        value = view_node(read(g), (n, 1), (1, 1), 0, g.dtype)
        flat = record(SCATTER_ADD, (constant(0, (total, 1), g.dtype), at, value), None, None, (total, 1), g.dtype)
        node = view_node(flat, tuple(shape), contiguous_strides(tuple(shape)), 0, g.dtype)
    return attach(new(node), _REGION_ADD, (g,), (strides, offset))


def _region_add_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    strides, offset = ctx.saved
    return (region_view(g, ctx.shapes[0], strides, offset),)


def region_put(base: Tensor, value: Tensor, strides: Ints, offset: int, name: str = "") -> Tensor:
    """A copy of `base` with the region (of contiguous `base`) replaced by `value`, of the same dtype."""
    if not size_of(value.shape):
        out = new(read(base))
    elif offset == 0 and size_of(base.shape) == size_of(value.shape) and strides == contiguous_strides(value.shape):
        out = new(view_node(read(value), base.shape, contiguous_strides(base.shape), 0, value.dtype))
    else:
        out = new(record(WRITE, (read(base), read(value)), (strides,), (offset,), base.shape, base.dtype))
    return attach(out, _named(name, _write_backward) if name else write_rule, (base, value),
                  (value.shape, strides, offset, base.shape))


def _write_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    shape, strides, offset, _base_shape = ctx.saved
    needs = ctx.needs
    to_base = to_value = None
    if needs[0]:
        to_base = region_put(g, new(constant(0, shape, g.dtype)), strides, offset)
    if needs[1]:
        to_value = region_view(g, shape, strides, offset)
    return to_base, to_value


def _as_strided_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    base_shape, base_strides, base_offset, shape, strides, offset = ctx.saved
    if base_strides == contiguous_strides(base_shape):
        return (region_add(g, base_shape, strides, offset - base_offset),)
    low = min(offset, base_offset)
    high = low
    for s, st, o in ((shape, strides, offset), (base_shape, base_strides, base_offset)):
        high = max(high, o + sum((n - 1) * k for n, k in zip(s, st, strict=False) if n))
    flat = region_add(g, (high - low + 1,), strides, offset - low)
    if _overlaps(base_shape, base_strides):
        # several elements of the base are one in memory: each takes its part, so that they sum to the gradient
        ones = new(constant(1, base_shape, g.dtype))
        shares = region_add(ones, (high - low + 1,), base_strides, base_offset - low)
        flat = flat / shares.clamp_min(1)
    return (region_view(flat, base_shape, base_strides, base_offset - low),)


_rules: dict[tuple[str, Any], Rule] = {}


def _named(name: str, backward: Callable[..., Any]) -> Rule:
    found = _rules.get((name, backward))
    if found is None:
        found = _rules[name, backward] = Rule(name, backward)
    return found


_REGION_VIEW = Rule("AsStridedBackward0", _region_view_backward)
_REGION_ADD = Rule("AsStridedScatterBackward0", _region_add_backward)
write_rule = Rule("CopySlices", _write_backward)
as_strided_rule = Rule("AsStridedBackward0", _as_strided_backward)
alias_rule = Rule("AliasBackward0", lambda ctx, g: (g,))


# ---- the aliases -------------------------------------------------------------------------------------------

def _view(t: Tensor, shape: Ints, strides: Ints, offset: int, rule: Rule, saved: tuple[Any, ...] = (),
          of: dtype | None = None) -> Tensor:
    """An alias of `t`, on the tape."""
    out = alias(t, shape, strides, offset, of)
    if t._rg or t._base is not None:
        attach(out, rule, (t,), saved)
    base = t._base
    out._base = t if base is None else base
    out._grad_version = out._storage.version
    return out


def _geometry(t: Tensor) -> tuple[Ints, int]:
    if t._storage is None:
        return contiguous_strides(t.shape), 0
    return t._strides, t._offset


def _region(t: Tensor, shape: Ints, move: Callable[[Ints, int], tuple[Ints, int]], rule: Rule) -> Tensor:
    """A view of part of `t`; `move` maps the geometry of `t` to that of the part."""
    strides, offset = _geometry(t)
    to = move(strides, offset)
    saved: tuple[Any, ...] = ()
    if t._rg or t._base is not None:
        plain = contiguous_strides(t.shape)
        saved = to if offset == 0 and strides == plain else move(plain, 0)
    return _view(t, shape, to[0], to[1], rule, saved)


def _part_rule(name: str) -> Rule:
    return Rule(name, _region_view_backward)


_SELECT, _SLICE, _DIAGONAL, _UNFOLD, _SPLIT, _SPLIT_SIZES, _UNBIND = map(_part_rule, (
    "SelectBackward0", "SliceBackward0", "DiagonalBackward0", "UnfoldBackward0", "SplitBackward0",
    "SplitWithSizesBackward0", "UnbindBackward0"))


def slice_view(t: Tensor, dim: int, start: int, stop: int, step: int = 1, rule: Rule = _SLICE) -> Tensor:
    """`t[start:stop:step]` along `dim` (not negative); the bounds as Python has clipped them, step > 0."""
    n = max(0, -(-(stop - start) // step))
    shape = t.shape

    def move(strides: Ints, offset: int) -> tuple[Ints, int]:
        return (*strides[:dim], strides[dim] * step, *strides[dim + 1:]), offset + start * strides[dim]
    return _region(t, (*shape[:dim], n, *shape[dim + 1:]), move, rule)


def select_view(t: Tensor, dim: int, i: int, rule: Rule = _SELECT) -> Tensor:
    """`t[i]` along `dim`; both in range and not negative."""
    shape = t.shape

    def move(strides: Ints, offset: int) -> tuple[Ints, int]:
        return (*strides[:dim], *strides[dim + 1:]), offset + i * strides[dim]
    return _region(t, tuple(shape[:dim]) + tuple(shape[dim + 1:]), move, rule)


# ---- view, reshape -----------------------------------------------------------------------------------------

def _reshape_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    return (reshape(g, ctx.shapes[0]),)


_VIEW = Rule("ViewBackward0", _reshape_backward)
_UNSAFE_VIEW = Rule("UnsafeViewBackward0", _reshape_backward)
_RESHAPE_ALIAS = _VIEW
_UNSQUEEZE = Rule("UnsqueezeBackward0", _reshape_backward)
_SQUEEZE = [Rule(f"SqueezeBackward{k}", _reshape_backward) for k in range(3)]


@lru_cache(4096)
def infer_shape(shape: Ints, n: int) -> Ints:
    """`shape` with its -1 filled in for `n` elements."""
    known = 1
    free = -1
    for k, s in enumerate(shape):
        if s == -1:
            if free >= 0:
                raise RuntimeError("only one dimension can be inferred")
            free = k
        elif s < 0:
            raise RuntimeError(f"invalid shape dimension {s} at index {k} of shape {list(shape)}")
        else:
            known *= s
    if free < 0:
        if known != n:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
        return shape
    if not known and not n:
        raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified "
                           "dimension size -1 can be any value and is ambiguous")
    if not known or n % known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
    return (*shape[:free], n // known, *shape[free + 1:])


@lru_cache(4096)
def view_strides(old: Ints, strides: Ints, shape: Ints) -> Ints | None:
    """Strides by which a tensor (old, strides) is seen in `shape`; None if there are none."""
    n = size_of(old)
    if not n:
        return tuple(strides) if old == shape else contiguous_strides(shape)
    if strides == contiguous_strides(old):
        return contiguous_strides(shape)
    if not old:
        return (1,) * len(shape)
    out = [0] * len(shape)
    at = len(shape) - 1
    chunk = strides[-1]
    have = seen = 1
    for d in range(len(old) - 1, -1, -1):
        have *= old[d]
        if d == 0 or (old[d - 1] != 1 and strides[d - 1] != have * chunk):
            while at >= 0 and (seen < have or shape[at] == 1):
                out[at] = seen * chunk
                seen *= shape[at]
                at -= 1
            if seen != have:
                return None
            if d > 0:
                chunk = strides[d - 1]
                have = seen = 1
    return tuple(out) if at == -1 else None


def is_contiguous_geometry(t: Tensor) -> bool:
    """Are the elements of `t` row-major without gaps?"""
    if t._storage is None:
        return True
    expected = 1
    for n, st in zip(reversed(t.shape), reversed(t._strides), strict=False):
        if n == 0:
            return True
        if n != 1:
            if st != expected:
                return 0 in t.shape
            expected *= n
    return True


@op(function=False)
def view(input: Tensor, *shape: Any, size: Any = None, dtype: Any = None) -> Tensor:
    """The same elements in another shape, or (`view(dtype)`) the same bytes as another dtype."""
    if size is not None:
        shape = (size,)
    if dtype is not None:
        shape = (dtype,)
    if len(shape) == 1 and type(shape[0]) is _DTYPE:
        return _view_dtype(input, shape[0])
    if not shape:
        raise TypeError("view() received an invalid combination of arguments - got (), but expected one of: "
                        "(torch.dtype dtype) or (tuple of ints size)")
    target = infer_shape(ints(shape, "size"), size_of(input.shape))
    strides, offset = _geometry(input)
    to = view_strides(tuple(input.shape), tuple(strides), target)
    if to is None:
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension "
                           "spans across two contiguous subspaces). Use .reshape(...) instead.")
    return _view(input, target, to, offset, _VIEW)


@op(function=False)
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` viewed in the shape of `other`."""
    return view(input, other.shape)


@op
def reshape(input: Tensor, *shape: Any, **kw: Any) -> Tensor:
    """A view in another shape where strides allow it, otherwise a copy."""
    if kw:
        shape = (kw["shape"],)
    _tensor(input, "reshape")
    if len(shape) == 1 and type(shape[0]) is Size and shape[0] == input.shape and input._storage is None \
            and input._base is None and not input._rg:
        target: Ints = shape[0]
    else:
        target = infer_shape(ints(shape, "shape"), size_of(input.shape))
    strides, offset = _geometry(input)
    to = view_strides(tuple(input.shape), tuple(strides), target)
    if to is not None:
        return _view(input, target, to, offset, _VIEW)
    out = new(view_node(read(input), target, contiguous_strides(target), 0, input.dtype))
    return attach(out, _UNSAFE_VIEW, (input,))


@op(function=False)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` reshaped to the shape of `other`."""
    return reshape(input, other.shape)


@op
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim merged into one."""
    _tensor(input, "flatten")
    n = len(input.shape)
    start, end = wrap_dim(start_dim, n), wrap_dim(end_dim, n)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not n:
        return reshape(input, (1,))
    if start == end:
        return input
    shape = tuple(input.shape)
    return reshape(input, (*shape[:start], size_of(shape[start:end + 1]), *shape[end + 1:]))


@op
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return reshape(input, (size_of(input.shape),))


@op
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension `dim` split into `sizes` (one may be -1)."""
    d = wrap_dim(dim, len(input.shape))
    sizes = ints((sizes,) if isinstance(sizes, (tuple, list)) else tuple(sizes))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    shape = tuple(input.shape)
    try:
        inner = infer_shape(sizes, shape[d])
    except RuntimeError as e:
        if "is invalid for" in str(e):
            raise RuntimeError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} "
                               f"({shape[d]}) in the input tensor") from None
        raise
    return view(input, (*shape[:d], *inner, *shape[d + 1:]))


# ---- expand ------------------------------------------------------------------------------------------------

_EXPAND = Rule("ExpandBackward0", lambda ctx, g: (sum_to(g, ctx.shapes[0]),))


@op(function=False)
def expand(input: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """`input` repeated along dimensions of length 1, without a copy."""
    target = ints((size,) if size is not None else sizes)
    old = tuple(input.shape)
    extra = len(target) - len(old)
    if extra < 0:
        raise RuntimeError(
            f"expand(torch.{_scalar_type(input.dtype)}Tensor{{{list(old)}}}, size={list(target)}): the "
            f"number of sizes provided "
            f"({len(target)}) must be greater or equal to the number of dimensions in the tensor "
            f"({len(old)})"
        )
    strides, offset = _geometry(input)
    shape, to = list(target), [0] * len(target)
    for k, s in enumerate(target):
        if k < extra:
            if s < 0:
                raise RuntimeError(f"The expanded size of the tensor ({s}) isn't allowed in a leading, non-existing "
                                   f"dimension {k}")
            continue
        have = old[k - extra]
        if s == -1:
            shape[k] = s = have
        if s == have:
            to[k] = strides[k - extra]
        elif have != 1 or s < 0:
            raise RuntimeError(f"The expanded size of the tensor ({s}) must match the existing size ({have}) at "
                               f"non-singleton dimension {k}.  Target sizes: {list(target)}.  Tensor sizes: "
                               f"{list(old)}")
    return _view(input, tuple(shape), tuple(to), offset, _EXPAND)


@op(function=False)
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` expanded to the shape of `other`."""
    return expand(input, other.shape)


@op
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """`input` broadcast to `size`."""
    return expand(input, size)


# ---- permutations ------------------------------------------------------------------------------------------

def _permute_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    return (_permuted(g, ctx.saved[0], _PERMUTE),)


_PERMUTE, _TRANSPOSE, _T = (Rule(n, _permute_backward) for n in (
    "PermuteBackward0", "TransposeBackward0", "TBackward0"))


def _permuted(t: Tensor, order: Ints, rule: Rule) -> Tensor:
    strides, offset = _geometry(t)
    shape = t.shape
    inverse = [0] * len(order)
    for k, d in enumerate(order):
        inverse[d] = k
    return _view(t, tuple([shape[d] for d in order]), tuple([strides[d] for d in order]), offset, rule,
                 (tuple(inverse),))


@op
def permute(input: Tensor, *dims: Any, **kw: Any) -> Tensor:
    """Dimensions in another order."""
    _tensor(input, "permute")
    order = ints((kw["dims"],) if kw else dims, "dims")
    n = len(input.shape)
    if len(order) != n:
        raise RuntimeError("permute(sparse_coo): number of dimensions in the tensor input does not match the length "
                           f"of the desired ordering of dimensions i.e. input.dim() = {n} is not equal to len(dims) "
                           f"= {len(order)}")
    order = tuple([wrap_dim(d, n) for d in order])
    if len(set(order)) != n:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permuted(input, order, _PERMUTE)


def _swap(t: Tensor, a: int, b: int, rule: Rule) -> Tensor:
    order = list(range(len(t.shape)))
    if order:
        order[a], order[b] = order[b], order[a]
    return _permuted(t, tuple(order), rule)


@op
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    _tensor(input, "transpose")
    n = len(input.shape)
    return _swap(input, wrap_dim(dim0, n), wrap_dim(dim1, n), _TRANSPOSE)


@op
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """`transpose`, under NumPy's name."""
    return transpose(input, axis0, axis1)


@op
def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """`transpose`, under another name."""
    return transpose(input, dim0, dim1)


@op
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector or number as it is."""
    _tensor(input, "t")
    n = len(input.shape)
    if n > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D")
    return _permuted(input, (1, 0) if n == 2 else tuple(range(n)), _T)


@op
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, and conjugated."""
    if not input.shape:
        return input.conj()
    if len(input.shape) < 2:
        raise RuntimeError(f"tensor.adjoint() is only supported on matrices or batches of matrices. Got "
                           f"{len(input.shape)}-D tensor.")
    out = transpose(input, -2, -1)
    return out.conj() if input.dtype.is_complex else out


@op
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions `source` moved to places `destination`; the others keep their order."""
    n = len(input.shape)
    a = ints((source,) if not isinstance(source, (tuple, list)) else (source,))
    b = ints((destination,) if not isinstance(destination, (tuple, list)) else (destination,))
    if len(a) != len(b):
        raise RuntimeError("movedim: Invalid source or destination dims: source "
                           f"({list(a)} dims) should contain the same number of dims as destination ({list(b)} dims)")
    a, b = tuple([wrap_dim(d, n) for d in a]), tuple([wrap_dim(d, n) for d in b])
    if len(set(a)) != len(a):
        raise RuntimeError(f"movedim: repeated dim in `source` ({list(a)})")
    if len(set(b)) != len(b):
        raise RuntimeError(f"movedim: repeated dim in `destination` ({list(b)})")
    if not n:
        return alias_view(input)
    order = [-1] * n
    for s, d in zip(a, b, strict=False):
        order[d] = s
    rest = iter([d for d in range(n) if d not in a])
    return _permuted(input, tuple([next(rest) if d < 0 else d for d in order]), _PERMUTE)


alias_of("movedim", "moveaxis")


def alias_view(t: Tensor) -> Tensor:
    """A view of the whole."""
    strides, offset = _geometry(t)
    return _view(t, t.shape, strides, offset, alias_rule)


@property  # type: ignore[misc]
def _T_property(self: Tensor) -> Tensor:
    n = len(self.shape)
    return _permuted(self, tuple(range(n - 1, -1, -1)), _PERMUTE)


@property  # type: ignore[misc]
def _mT(self: Tensor) -> Tensor:
    if len(self.shape) < 2:
        raise RuntimeError("tensor.mT is only supported on matrices or batches of matrices. Got "
                           f"{len(self.shape)}-D tensor.")
    return transpose(self, -2, -1)


@property  # type: ignore[misc]
def _H(self: Tensor) -> Tensor:
    n = len(self.shape)
    if n not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {n}-D tensor."
                           + (" For batches of matrices, consider using tensor.mH" if n > 2 else ""))
    out = transpose(self, 0, 1) if n else self
    return out.conj() if self.dtype.is_complex else out


@property  # type: ignore[misc]
def _mH(self: Tensor) -> Tensor:
    if len(self.shape) < 2:
        raise RuntimeError("tensor.mH is only supported on matrices or batches of matrices. Got "
                           f"{len(self.shape)}-D tensor.")
    return adjoint(self)


Tensor.T, Tensor.mT, Tensor.H, Tensor.mH = _T_property, _mT, _H, _mH  # type: ignore[assignment]


# ---- parts -------------------------------------------------------------------------------------------------

@op
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` places of dimension `dim`, from `start`."""
    _tensor(input, "narrow")
    if not input.shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    length = index(length)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    start = index(start)
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    if start < 0:
        start += n
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_view(input, d, start, start + length)


@op
def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """The part of `input` at `index` along `dim`; the dimension is gone."""
    _tensor(input, "select")
    if not input.shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    i = _index(index)
    if not -n <= i < n:
        raise IndexError(f"select(): index {i} out of range for tensor of size {list(input.shape)} at dimension {d}")
    return select_view(input, d, i + n if i < 0 else i)


_index = index


@op
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the storage of `input` with this geometry."""
    _tensor(input, "as_strided")
    shape, strides = ints((size,)), ints((stride,))
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in strides):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: "
                           f"{list(strides)}")
    old, at = _geometry(input)
    offset = at if storage_offset is None else storage_offset
    if size_of(shape):
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=False))
        storage = share(input)
        have = size_of(storage.node.shape) * storage.node.dtype.itemsize // input.dtype.itemsize
        if last >= have:
            step = input.dtype.itemsize
            raise RuntimeError(f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, "
                               f"and itemsize {step} requiring a storage size of {(last + 1) * step} are out of "
                               f"bounds for storage of size {have * step}")
    return _view(input, shape, strides, offset, as_strided_rule, (tuple(input.shape), old, at, shape, strides, offset))


@op(function=False)
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size`, `step` apart, along a dimension; the window is a new last dimension."""
    shape = tuple(input.shape)
    size, step = index(size), index(step)
    d = wrap_dim(dimension, len(shape))
    n = shape[d] if shape else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not shape:
        return _region(input, (size,), lambda strides, offset: ((1,), offset), _UNFOLD)

    def move(strides: Ints, offset: int) -> tuple[Ints, int]:
        return (*strides[:d], strides[d] * step, *strides[d + 1:], strides[d]), offset
    return _region(input, (*shape[:d], (n - size) // step + 1, *shape[d + 1:], size), move, _UNFOLD)


@op
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the planes (dim1, dim2), as the last dimension."""
    _tensor(input, "diagonal")
    shape = tuple(input.shape)
    offset = index(offset)
    a, b = wrap_dim(dim1, len(shape)), wrap_dim(dim2, len(shape))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = max(0, min(shape[a], shape[b] - offset) if offset >= 0 else min(shape[a] + offset, shape[b]))
    rest = [d for d in range(len(shape)) if d not in (a, b)]

    def move(strides: Ints, at: int) -> tuple[Ints, int]:
        if n:
            at += offset * strides[b] if offset >= 0 else -offset * strides[a]
        return (*[strides[d] for d in rest], strides[a] + strides[b]), at
    return _region(input, (*[shape[d] for d in rest], n), move, _DIAGONAL)


@op
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without the dimensions of length 1 (all, or those named)."""
    _tensor(input, "squeeze")
    shape = tuple(input.shape)
    n = len(shape)
    if dim is None:
        drop, rule = set(range(n)), _SQUEEZE[0]
    elif isinstance(dim, (tuple, list)):
        dims = [wrap_dim(d, n) for d in dim]
        drop, rule = set(dims), _SQUEEZE[2]
        if len(drop) != len(dims):
            raise RuntimeError(f"dim {next(d for d in dims if dims.count(d) > 1)} appears multiple times in the list "
                               "of dims")
    else:
        drop, rule = {wrap_dim(dim, n)}, _SQUEEZE[1]
    keep = [d for d in range(n) if shape[d] != 1 or d not in drop]
    strides, offset = _geometry(input)
    return _view(input, tuple([shape[d] for d in keep]), tuple([strides[d] for d in keep]), offset, rule)


@op
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of length 1 at `dim`."""
    _tensor(input, "unsqueeze")
    shape = tuple(input.shape)
    d = wrap_dim(dim, len(shape) + 1)
    strides, offset = _geometry(input)
    stride = strides[d] * shape[d] if d < len(shape) else 1
    return _view(input, (*shape[:d], 1, *shape[d:]), (*strides[:d], stride, *strides[d:]), offset, _UNSQUEEZE)


# ---- several parts -------------------------------------------------------------------------------------------

def _pieces(t: Tensor, d: int, sizes: Sequence[int], rule: Rule) -> tuple[Tensor, ...]:
    out = []
    at = 0
    for n in sizes:
        out.append(slice_view(t, d, at, at + n, 1, rule))
        at += n
    return tuple(out)


@op
def split(tensor: Tensor, split_size_or_sections: Any = _blocked, dim: int = 0, *, split_size: Any = None,
          ) -> tuple[Tensor, ...]:
    """Pieces along `dim`, all of one size (the last may be shorter), or of the sizes given."""
    _tensor(tensor, "split", "tensor")
    if split_size_or_sections is _blocked:
        split_size_or_sections = split_size
    if isinstance(split_size_or_sections, (tuple, list)):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    size = index(split_size_or_sections)
    if not tensor.shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    d = wrap_dim(dim, len(tensor.shape))
    n = tensor.shape[d]
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if not size:
        if n:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
        return (slice_view(tensor, d, 0, 0, 1, _SPLIT),)
    return _pieces(tensor, d, [min(size, n - at) for at in range(0, n, size)] or [0], _SPLIT)


@op
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the given sizes along `dim`."""
    if not input.shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    d = wrap_dim(dim, len(input.shape))
    sizes = ints((tuple(split_sizes),))
    n = input.shape[d]
    if any(s < 0 for s in sizes):
        raise RuntimeError("split_with_sizes expects split_sizes have only non-negative entries, but got "
                           f"split_sizes={list(sizes)}")
    if sum(sizes) != n:
        raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at "
                           f"dimension {dim}), but got split_sizes={list(sizes)}")
    return _pieces(input, d, sizes, _SPLIT_SIZES)


@op
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of one size along `dim`."""
    _tensor(input, "chunk")
    if not input.shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    size = -(-n // chunks)
    if not size:
        return _pieces(input, d, [0] * chunks, _SPLIT_SIZES)
    return split(input, size, d)


FUNCTIONS["unsafe_chunk"] = METHODS["unsafe_chunk"] = Tensor.unsafe_chunk = chunk  # type: ignore[attr-defined]
FUNCTIONS["unsafe_split"] = METHODS["unsafe_split"] = Tensor.unsafe_split = split  # type: ignore[attr-defined]
FUNCTIONS["unsafe_split_with_sizes"] = METHODS["unsafe_split_with_sizes"] = split_with_sizes
Tensor.unsafe_split_with_sizes = split_with_sizes  # type: ignore[attr-defined]


@op
def tensor_split(input: Tensor, indices_or_sections: Any = _blocked, dim: int = 0, *, indices: Any = None,
                 sections: Any = None) -> tuple[Tensor, ...]:
    """As numpy.array_split: a number of pieces, or the places to cut at."""
    if indices_or_sections is _blocked:
        indices_or_sections = indices if indices is not None else sections
    if not input.shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, (tuple, list)):
        out = []
        at = 0
        for cut in [*ints((tuple(indices_or_sections),)), n]:
            a, b, _ = slice(at, cut).indices(n)
            out.append(slice_view(input, d, a, max(a, b)))
            at = cut
        return tuple(out)
    count = index(indices_or_sections)
    if count <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {count}")
    small, larger = divmod(n, count)
    return _pieces(input, d, [small + 1] * larger + [small] * (count - larger), _SLICE)


def _axis_split(name: str, dim: int, least: int) -> None:
    def body(input: Tensor, indices_or_sections: Any = _blocked, *, indices: Any = None, sections: Any = None,
             ) -> tuple[Tensor, ...]:
        if indices_or_sections is _blocked:
            indices_or_sections = indices if indices is not None else sections
        n = len(input.shape)
        if n < least:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {least} dimension"
                               f"{'s' if least > 1 else ''}, but got a tensor with {n} dimensions!")
        d = 0 if n == 1 else dim
        if isinstance(indices_or_sections, int) and (not indices_or_sections or input.shape[d] % indices_or_sections):
            raise RuntimeError(f"torch.{name} attempted to split along dimension {d}, but the size of the dimension "
                               f"{input.shape[d]} is not divisible by the split_size {indices_or_sections}!")
        return tensor_split(input, indices_or_sections, d)
    body.__name__ = body.__qualname__ = name
    op(body)


_axis_split("hsplit", 1, 1)
_axis_split("vsplit", 0, 2)
_axis_split("dsplit", 2, 3)


@op
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Every part along `dim`, the dimension gone."""
    _tensor(input, "unbind")
    if not input.shape:
        wrap_dim(dim, 0)
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = wrap_dim(dim, len(input.shape))
    return tuple([select_view(input, d, i, _UNBIND) for i in range(input.shape[d])])


# ---- detach, other dtypes ------------------------------------------------------------------------------------

@op
def detach(input: Tensor) -> Tensor:
    """The same elements without history."""
    strides, offset = _geometry(input)
    return alias(input, input.shape, strides, offset)


_DTYPE = dtype


def _view_dtype(t: Tensor, of: dtype) -> Tensor:
    strides, offset = _geometry(t)
    a, b = t.dtype.itemsize, of.itemsize
    shape = tuple(t.shape)
    if of is t.dtype:
        return _view(t, shape, strides, offset, alias_rule)
    if a == b:
        return _view(t, shape, strides, offset, alias_rule, (), of)
    if not shape:
        raise RuntimeError(
            f"self.dim() cannot be 0 to view {_scalar_type(t.dtype)} as {_scalar_type(of)} (different element sizes)"
        )
    if strides[-1] != 1:
        raise RuntimeError(
            f"self.stride(-1) must be 1 to view {_scalar_type(t.dtype)} as {_scalar_type(of)} (different "
            f"element sizes), but got "
            f"{strides[-1]}"
        )
    if b < a:
        k = a // b
        return _view(t, (*shape[:-1], shape[-1] * k), (*[s * k for s in strides[:-1]], 1), offset * k, alias_rule, (),
                     of)
    k = b // a
    if shape[-1] % k:
        raise RuntimeError(
            f"self.size(-1) must be divisible by {k} to view {_scalar_type(t.dtype)} as "
            f"{_scalar_type(of)} (different element "
            f"sizes), but got {shape[-1]}"
        )
    if offset % k:
        raise RuntimeError(
            f"self.storage_offset() must be divisible by {k} to view {_scalar_type(t.dtype)} as "
            f"{_scalar_type(of)} (different "
            f"element sizes), but got {offset}"
        )
    for d, s in enumerate(strides[:-1]):
        if s % k:
            raise RuntimeError(
                f"self.stride({d}) must be divisible by {k} to view {_scalar_type(t.dtype)} as "
                f"{_scalar_type(of)} (different "
                f"element sizes), but got {s}"
            )
    return _view(t, (*shape[:-1], shape[-1] // k), (*[s // k for s in strides[:-1]], 1), offset // k, alias_rule, (),
                 of)


_REAL = Rule("SelectBackward0", lambda ctx, g: (to_dtype(g, ctx.dtypes[0]),))
_IMAG = Rule("SelectBackward0", lambda ctx, g: (to_dtype(g, ctx.dtypes[0]) * 1j,))


@op
def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor as real pairs, in a new last dimension."""
    if not input.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    strides, offset = _geometry(input)
    return _view(input, (*input.shape, 2), (*[2 * s for s in strides], 1), 2 * offset, _AS_REAL, (),
                 input.dtype.to_real())


@op
def view_as_complex(input: Tensor) -> Tensor:
    """Real pairs (the last dimension) as complex numbers."""
    if input.dtype.is_complex or not input.dtype.is_floating_point:
        raise RuntimeError("view_as_complex is only supported for half, float and double tensors, but got a tensor "
                           f"of scalar type: {_scalar_type(input.dtype)}")
    shape = tuple(input.shape)
    if not shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    strides, offset = _geometry(input)
    if strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in strides[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    if offset % 2:
        raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    return _view(input, shape[:-1], tuple([s // 2 for s in strides[:-1]]), offset // 2, _AS_COMPLEX, (),
                 input.dtype.to_complex())


_AS_REAL = Rule("ViewAsRealBackward0", lambda ctx, g: (view_as_complex(g.contiguous()),))
_AS_COMPLEX = Rule("ViewAsComplexBackward0", lambda ctx, g: (view_as_real(g),))


def _scalar_type(of: dtype) -> str:
    from facula.ops.registry import DTYPE_NAMES
    return DTYPE_NAMES.get(of.name, of.name)


def _component(t: Tensor, which: int, rule: Rule) -> Tensor:
    strides, offset = _geometry(t)
    return _view(t, t.shape, tuple([2 * s for s in strides]), 2 * offset + which, rule, (), t.dtype.to_real())


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


# ---- in place: the same elements, another shape ----------------------------------------------------------------

def _reshaped(body: Callable[..., Tensor], name: str) -> None:
    def written(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if mode.grad and self._rg and self._grad_fn is None and self._base is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        result = body(self, *args, **kwargs)
        share(self)
        self.shape, self._strides, self._offset = result.shape, result._strides, result._offset
        self._seen = -1
        self._cached = None
        if result._grad_fn is not None:
            self._grad_fn = result._grad_fn
            if self._output_nr:
                self._output_nr = 0
        return self
    written.__name__ = written.__qualname__ = name
    METHODS[name] = written
    setattr(Tensor, name, written)


_body: Callable[..., Any]
for _name, _body in (("squeeze_", squeeze), ("unsqueeze_", unsqueeze), ("transpose_", transpose), ("t_", t),
                     ("swapaxes_", swapaxes), ("swapdims_", swapdims), ("as_strided_", as_strided)):
    _reshaped(_body, _name)
FUNCTIONS["as_strided_"] = METHODS["as_strided_"]


@op
def detach_(input: Tensor) -> Tensor:
    """Cut `input` from its history, in place."""
    if input._base is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel "
            "(DDP) for training, and gradient_as_bucket_view is set as True, gradients are views of DDP "
            "buckets, and hence detach_() cannot be called on these gradients. To fix this error, please "
            "refer to the Optimizer.zero_grad() function in torch/optim/optimizer.py as a solution."
        )
    input._rg = False
    input._grad_fn = None
    return input


# ---- copies, and small relatives -----------------------------------------------------------------------------

def _copying(body: Callable[..., Any], name: str) -> None:
    def copied(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        out = body(input, *args, **kwargs)
        if isinstance(out, tuple):
            return tuple([o.clone() for o in out])
        return out.clone()
    copied.__name__ = copied.__qualname__ = name
    op(copied, method=False)


for _name, _body in (("view_copy", view), ("transpose_copy", transpose), ("t_copy", t), ("permute_copy", permute),
                     ("select_copy", select), ("squeeze_copy", squeeze), ("unsqueeze_copy", unsqueeze),
                     ("expand_copy", expand), ("narrow_copy", narrow), ("diagonal_copy", diagonal),
                     ("as_strided_copy", as_strided), ("detach_copy", detach), ("unbind_copy", unbind),
                     ("split_copy", split), ("split_with_sizes_copy", split_with_sizes), ("unfold_copy", unfold),
                     ("view_as_real_copy", view_as_real), ("view_as_complex_copy", view_as_complex)):
    _copying(_body, _name)


def _at_least(name: str, grow: Callable[[Tensor], Tensor]) -> None:
    def body(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
            return tuple([grow(x) for x in tensors[0]])
        return grow(tensors[0]) if len(tensors) == 1 else tuple([grow(x) for x in tensors])
    body.__name__ = body.__qualname__ = name
    op(body, method=False)


def _grow2(x: Tensor) -> Tensor:
    return reshape(x, (1, 1)) if not x.shape else unsqueeze(x, 0) if len(x.shape) == 1 else x


def _grow3(x: Tensor) -> Tensor:
    n = len(x.shape)
    return reshape(x, (1, 1, 1)) if not n else unsqueeze(unsqueeze(x, 0), -1) if n == 1 else \
        unsqueeze(x, -1) if n == 2 else x


_at_least("atleast_1d", lambda x: x if x.shape else reshape(x, (1,)))
_at_least("atleast_2d", _grow2)
_at_least("atleast_3d", _grow3)


@op
def positive(input: Tensor) -> Tensor:
    """`+input`: the tensor itself."""
    if input.dtype.category == 0:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@op
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as the diagonal of a plane (dim1, dim2) of zeros."""
    shape = tuple(input.shape)
    n = len(shape) + 1
    a, b = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = shape[-1] + abs(offset)
    rest = iter(shape[:-1])
    full = tuple([size if d in (a, b) else next(rest) for d in range(n)])
    strides = contiguous_strides(full)
    at = offset * strides[b] if offset >= 0 else -offset * strides[a]
    to = (*[strides[d] for d in range(n) if d not in (a, b)], strides[a] + strides[b])
    node: Node = constant(0, full, input.dtype)
    if size_of(shape):
        node = record(WRITE, (node, read(input)), (to,), (at,), full, input.dtype)
    return attach(new(node), _DIAG_EMBED, (input,), (to, at))


_DIAG_EMBED = Rule("DiagEmbedBackward0", _region_add_backward)


# ---- conjugation -------------------------------------------------------------------------------------------

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


alias_of("conj", "conj_physical")
