"""The same elements in another shape: view, reshape, flatten, squeeze, unsqueeze."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.layout import is_row_major, view_strides
from facula._tensor.reading import read, view_node
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import dtype
from facula.engine.graph.node import contiguous_strides, size_of
from facula.ops.arguments import check_tensor, distinct_dims, ints, wrap_dim
from facula.ops.registry import op
from facula.ops.view.dtype_views import view_dtype
from facula.ops.view.regions import Ints
from facula.ops.view.value_views import VIEW_RULE, reshape_value
from facula.ops.view.views import geometry, make_view
from facula.size import Size


def _reshape_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    return (reshape(g, ctx.shapes[0]),)


_VIEW = Rule("ViewBackward0", _reshape_backward)
_UNSAFE_VIEW = Rule("UnsafeViewBackward0", _reshape_backward)
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
        raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(shape)} because "
                           "the unspecified dimension size -1 can be any value and is ambiguous")
    if not known or n % known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
    return (*shape[:free], n // known, *shape[free + 1:])


_DTYPE = dtype


@op(function=False)
def view(input: Tensor, *shape: Any, size: Any = None, dtype: Any = None) -> Tensor:
    """The same elements in another shape, or (`view(dtype)`) the same bytes as another dtype."""
    if size is not None:
        shape = (size,)
    if dtype is not None:
        shape = (dtype,)
    if len(shape) == 1 and type(shape[0]) is _DTYPE:
        return view_dtype(input, shape[0])
    if not shape:
        raise TypeError("view() received an invalid combination of arguments - got (), but "
                        "expected one of: (torch.dtype dtype) or (tuple of ints size)")
    target = infer_shape(ints(shape, "size"), size_of(input.shape))
    strides, offset = geometry(input)
    to = view_strides(tuple(input.shape), tuple(strides), target)
    if to is None:
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at "
                           "least one dimension spans across two contiguous subspaces). Use "
                           ".reshape(...) instead.")
    return make_view(input, target, to, offset, _VIEW)


@op(function=False)
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` viewed in the shape of `other`."""
    return view(input, other.shape)


@op
def reshape(input: Tensor, *shape: Any, **kw: Any) -> Tensor:
    """A view in another shape where strides allow it, otherwise a copy."""
    if kw:
        shape = (kw["shape"],)
    check_tensor(input, "reshape")
    if len(shape) == 1 and type(shape[0]) is Size and shape[0] == input.shape \
            and input._storage is None and input._base is None and not input._rg:
        target: Ints = shape[0]
    else:
        target = infer_shape(ints(shape, "shape"), size_of(input.shape))
    strides, offset = geometry(input)
    to = view_strides(tuple(input.shape), tuple(strides), target)
    if to is not None:
        return make_view(input, target, to, offset, _VIEW)
    out = new(view_node(read(input), target, contiguous_strides(target), 0, input.dtype))
    return attach(out, _UNSAFE_VIEW, (input,))


@op(function=False)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` reshaped to the shape of `other`."""
    return reshape(input, other.shape)


@op
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim to end_dim merged into one."""
    check_tensor(input, "flatten")
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
    """All elements in one dimension, row after row: a view if they lie so without gaps."""
    if input._storage is not None and not is_row_major(input.shape, input._strides):
        return reshape_value(input, (size_of(input.shape),), VIEW_RULE)  # not the input itself, were it one repeated
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
            raise RuntimeError(f"unflatten: Provided sizes {list(sizes)} don't multiply up to the "
                               f"size of dim {d} ({shape[d]}) in the input tensor") from None
        raise
    return view(input, (*shape[:d], *inner, *shape[d + 1:]))


@op
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without the dimensions of length 1 (all, or those named)."""
    check_tensor(input, "squeeze")
    shape = tuple(input.shape)
    n = len(shape)
    if dim is None:
        drop, rule = set(range(n)), _SQUEEZE[0]
    elif isinstance(dim, (tuple, list)):
        drop, rule = set(distinct_dims(dim, n)), _SQUEEZE[2]
    else:
        drop, rule = {wrap_dim(dim, n)}, _SQUEEZE[1]
    keep = [d for d in range(n) if shape[d] != 1 or d not in drop]
    strides, offset = geometry(input)
    to = tuple([strides[d] for d in keep])
    return make_view(input, tuple([shape[d] for d in keep]), to, offset, rule)


@op
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a new dimension of length 1 at `dim`."""
    check_tensor(input, "unsqueeze")
    shape = tuple(input.shape)
    d = wrap_dim(dim, len(shape) + 1)
    strides, offset = geometry(input)
    stride = strides[d] * shape[d] if d < len(shape) else 1
    to = (*strides[:d], stride, *strides[d:])
    return make_view(input, (*shape[:d], 1, *shape[d:]), to, offset, _UNSQUEEZE)


def _at_least(name: str, grow: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    def body(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
            return tuple([grow(x) for x in tensors[0]])
        return grow(tensors[0]) if len(tensors) == 1 else tuple([grow(x) for x in tensors])
    body.__name__ = body.__qualname__ = name
    return op(body, method=False)


def at_least_2d(x: Tensor) -> Tensor:
    return reshape(x, (1, 1)) if not x.shape else unsqueeze(x, 0) if len(x.shape) == 1 else x


def _at_least_3d(x: Tensor) -> Tensor:
    n = len(x.shape)
    return reshape(x, (1, 1, 1)) if not n else unsqueeze(unsqueeze(x, 0), -1) if n == 1 else \
        unsqueeze(x, -1) if n == 2 else x


atleast_1d = _at_least("atleast_1d", lambda x: x if x.shape else reshape(x, (1,)))
atleast_2d = _at_least("atleast_2d", at_least_2d)
atleast_3d = _at_least("atleast_3d", _at_least_3d)
