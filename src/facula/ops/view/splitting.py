"""A tensor cut into several parts along a dimension: split, chunk, tensor_split, unbind."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from facula._tensor.handle import Tensor
from facula.autograd.graph import Rule
from facula.ops.arguments import check_tensor, ints, wrap_dim
from facula.ops.registry import alias_of, op
from facula.ops.view.views import part_rule, select_view, slice_rule, slice_view

_blocked = object()
_SPLIT = part_rule("SplitBackward0")
_SPLIT_SIZES = part_rule("SplitWithSizesBackward0")
_UNBIND = part_rule("UnbindBackward0")


def _pieces(t: Tensor, d: int, sizes: Sequence[int], rule: Rule) -> tuple[Tensor, ...]:
    out = []
    at = 0
    for n in sizes:
        out.append(slice_view(t, d, at, at + n, 1, rule))
        at += n
    return tuple(out)


@op
def split(tensor: Tensor, split_size_or_sections: Any = _blocked, dim: int = 0, *,
          split_size: Any = None) -> tuple[Tensor, ...]:
    """Pieces along `dim`, all of one size (the last may be shorter), or of the sizes given."""
    check_tensor(tensor, "split", "tensor")
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
            raise RuntimeError("split_size can only be 0 if dimension size is 0, but got dimension "
                               f"size of {n}")
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
        raise RuntimeError("split_with_sizes expects split_sizes have only non-negative entries, "
                           f"but got split_sizes={list(sizes)}")
    if sum(sizes) != n:
        raise RuntimeError(f"split_with_sizes expects split_sizes to sum exactly to {n} (input "
                           f"tensor's size at dimension {dim}), but got split_sizes={list(sizes)}")
    return _pieces(input, d, sizes, _SPLIT_SIZES)


@op
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of one size along `dim`."""
    check_tensor(input, "chunk")
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


for _body in (chunk, split, split_with_sizes):
    alias_of(_body.__name__, "unsafe_" + _body.__name__)


@op
def tensor_split(input: Tensor, indices_or_sections: Any = _blocked, dim: int = 0, *,
                 indices: Any = None, sections: Any = None) -> tuple[Tensor, ...]:
    """As numpy.array_split: a number of pieces, or the places to cut at."""
    if indices_or_sections is _blocked:
        indices_or_sections = indices if indices is not None else sections
    if not input.shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a "
                           "tensor with 0 dims")
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
    return _pieces(input, d, [small + 1] * larger + [small] * (count - larger), slice_rule)


def _axis_split(name: str, dim: int, least: int) -> None:
    def body(input: Tensor, indices_or_sections: Any = _blocked, *, indices: Any = None,
             sections: Any = None) -> tuple[Tensor, ...]:
        if indices_or_sections is _blocked:
            indices_or_sections = indices if indices is not None else sections
        n = len(input.shape)
        if n < least:
            raise RuntimeError(f"torch.{name} requires a tensor with at least {least} dimension"
                               f"{'s' if least > 1 else ''}, but got a tensor with {n} dimensions!")
        d = 0 if n == 1 else dim
        if isinstance(indices_or_sections, int) and (
                not indices_or_sections or input.shape[d] % indices_or_sections):
            raise RuntimeError(f"torch.{name} attempted to split along dimension {d}, but the size "
                               f"of the dimension {input.shape[d]} is not divisible by the "
                               f"split_size {indices_or_sections}!")
        return tensor_split(input, indices_or_sections, d)
    body.__name__ = body.__qualname__ = name
    op(body)


_axis_split("hsplit", 1, 1)
_axis_split("vsplit", 0, 2)
_axis_split("dsplit", 2, 3)


@op
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Every part along `dim`, the dimension gone."""
    check_tensor(input, "unbind")
    if not input.shape:
        wrap_dim(dim, 0)
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = wrap_dim(dim, len(input.shape))
    return tuple([select_view(input, d, i, _UNBIND) for i in range(input.shape[d])])
