"""In which order the elements of a result lie in memory: torch's rules, as functions of shapes and strides alone.

A *layout* is (order, strides): the dimensions from the outermost to the innermost, and the strides, in elements, of a
memory that is dense in that order. None stands for row-major, which is what nearly everything is. A value that is laid
out otherwise is computed over its memory's order: its node has the permuted shape, and the tensor is an alias of
that (`laid`), so nothing is moved. (A node itself is row-major always.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from facula.engine.graph.node import contiguous_strides, size_of
from facula.layouts import channels_last, channels_last_3d, contiguous_format

Ints = tuple[int, ...]
Layout = tuple[Ints, Ints]  # order, strides

CHANNELS_LAST: dict[int, Ints] = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}  # by the number of dimensions


@lru_cache(4096)
def strides_in(shape: Ints, order: Ints) -> Ints:
    """Strides of a dense memory in which the dimensions lie in `order`, outermost first."""
    strides, step = [1] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= shape[d] or 1
    return tuple(strides)


@lru_cache(4096)
def lies_in(shape: Ints, strides: Ints, order: Ints) -> bool:
    """Do the elements lie without gaps in `order`? Strides of dimensions of length 1 do not matter."""
    if 0 in shape:
        return True
    step = 1
    for d in reversed(order):
        if shape[d] != 1:
            if strides[d] != step:
                return False
            step *= shape[d]
    return True


@lru_cache(4096)
def is_row_major(shape: Ints, strides: Ints) -> bool:
    """Do the elements lie row-major, without gaps?"""
    return strides == contiguous_strides(shape) or lies_in(shape, strides, tuple(range(len(shape))))


@lru_cache(4096)
def dense_order(shape: Ints, strides: Ints) -> Ints | None:
    """The order of the dimensions of a memory that has each of its elements once; None if it has gaps or overlaps."""
    order = tuple(sorted(range(len(shape)), key=lambda d: (shape[d] > 1, -strides[d])))
    return order if lies_in(shape, strides, order) else None


def partly_shared(shape: Ints, strides: Ints, start: int, other: Ints, theirs: Ints, begin: int) -> bool:
    """Do two regions of one memory share some elements, and are not the same? Starts count as strides do. Of what has
    gaps or overlaps itself PyTorch does not ask, and neither is it here.

    >>> partly_shared((4,), (1,), 0, (4,), (1,), 2), partly_shared((4,), (1,), 0, (4,), (1,), 4)
    (True, False)
    >>> partly_shared((2, 2), (2, 1), 0, (2, 2), (2, 1), 0), partly_shared((2, 2), (2, 1), 0, (2, 2), (1, 2), 0)
    (False, True)
    """
    if dense_order(shape, strides) is None or dense_order(other, theirs) is None:
        return False
    size, length = size_of(shape), size_of(other)
    if not size or not length:
        return False
    if start == begin and size == length:
        mine = [(n, s) for n, s in zip(shape, strides, strict=True) if n > 1]
        return mine != [(n, s) for n, s in zip(other, theirs, strict=True) if n > 1]
    return start < begin + length and begin < start + size


def shared(shape: Ints, strides: Ints, start: int, other: Ints, theirs: Ints, begin: int) -> bool:
    """As `partly_shared`, or are they the same?

    >>> shared((4,), (1,), 0, (4,), (1,), 0), shared((4,), (1,), 0, (4,), (1,), 4)
    (True, False)
    """
    if dense_order(shape, strides) is None or dense_order(other, theirs) is None:
        return False
    return begin - size_of(shape) < start < begin + size_of(other) and 0 not in shape and 0 not in other


@lru_cache(4096)
def preserved(shape: Ints, strides: Ints) -> Layout | None:
    """The layout of a copy of one tensor (torch.preserve_format): its own if that is dense, else one in the order of
    its strides."""
    if strides == contiguous_strides(shape):
        return None
    order = dense_order(shape, strides)
    if order is not None:
        return order, strides
    return of_order(shape, _sorted(shape, ((shape, strides),)))


@lru_cache(4096)
def pointwise(shape: Ints, operands: tuple[tuple[Ints, Ints], ...], numbers: bool = False) -> Layout | None:
    """The layout of what is computed element by element; `operands` (shape, strides) broadcast to `shape`.

    Operands of one shape and one layout keep it. Otherwise the dimensions are ordered by strides: the first operand
    that tells two dimensions apart decides between them. numbers: there are Python numbers among the operands, which
    count as tensors of another shape.
    """
    n = len(shape)
    if not numbers and all(s == shape for s, _ in operands):
        if all(is_row_major(s, st) for s, st in operands):
            return None
        first = operands[0][1]
        if n == 4 and all(lies_in(s, st, CHANNELS_LAST[4]) for s, st in operands):
            return CHANNELS_LAST[4], strides_in(shape, CHANNELS_LAST[4])
        order = dense_order(shape, first)
        if order is not None and all(st == first for _, st in operands):
            return order, first
    order = _sorted(shape, operands)
    if 0 not in shape or order == tuple(range(n)):
        return of_order(shape, order)
    strides, step = [0] * n, 1
    for d in reversed(order):
        strides[d] = step
        step *= shape[d]  # here a length of 0 does not count as 1
    return order, tuple(strides)


@lru_cache(4096)
def seen_in(shape: Ints, strides: Ints, order: Ints) -> tuple[Ints, Ints]:
    """Shape and strides with the dimensions in `order`, of which a tensor of fewer lacks the first."""
    missing = len(order) - len(shape)
    shape, strides = (1,) * missing + tuple(shape), (0,) * missing + tuple(strides)
    to, steps = tuple([shape[d] for d in order]), tuple([strides[d] for d in order])
    return to, contiguous_strides(to) if is_row_major(to, steps) else steps


@lru_cache(4096)
def seen_from(memory: Ints, order: Ints, dims: int) -> Ints:
    """Strides of the last `dims` dimensions of what lies in `order` in a dense memory of that (permuted) shape."""
    steps = contiguous_strides(memory)
    strides = [0] * len(order)
    for d, step in zip(order, steps, strict=True):
        strides[d] = step
    return tuple(strides[len(order) - dims:])


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


@lru_cache(4096)
def viewed(old: Ints, strides: Ints, shape: Ints) -> Layout | None:
    """The layout of a dense value seen in another shape; row-major if that takes a copy."""
    to = view_strides(old, strides, shape)
    order = None if to is None else dense_order(shape, to)
    return None if order is None or to is None or to == contiguous_strides(shape) else (order, to)


def order_of_format(shape: Ints, memory_format: Any) -> Ints:
    """The order of dimensions that a memory format other than preserve_format means; RuntimeError for other ranks."""
    n = len(shape)
    if memory_format is contiguous_format:
        return tuple(range(n))
    rank = 4 if memory_format is channels_last else 5
    if n != rank:
        raise RuntimeError(f"required rank {rank} tensor to use {str(memory_format)[6:]} format")
    return CHANNELS_LAST[rank]


def in_memory_format(shape: Ints, memory_format: Any) -> Layout | None:
    """The layout that a memory format other than preserve_format means."""
    return None if memory_format is contiguous_format else of_order(shape, order_of_format(shape, memory_format))


@lru_cache(4096)
def suggested(shape: Ints, strides: Ints) -> Any:
    """The memory format that images of these strides look like: torch's convolutions, pools and norms go by it.

    Gaps are allowed. Where the length-1 dimensions leave it open, it is contiguous_format.
    """
    n = len(shape)
    if n not in CHANNELS_LAST or 0 in strides or 0 in shape:
        return contiguous_format
    least = 0
    for d in reversed(CHANNELS_LAST[n]):
        if strides[d] < least or d == 0 and least == strides[1]:
            return contiguous_format
        least = strides[d] * max(shape[d], 1)
    return channels_last if n == 4 else channels_last_3d


@lru_cache(4096)
def of_order(shape: Ints, order: Ints) -> Layout | None:
    """The layout of a dense memory in which the dimensions lie in `order`; None if those are row-major strides."""
    strides = strides_in(shape, order)
    return None if strides == contiguous_strides(shape) else (order, strides)


def _sorted(shape: Ints, operands: tuple[tuple[Ints, Ints], ...]) -> Ints:
    """The dimensions by descending strides. An insertion sort, because "neither" (equal, or broadcast) is an answer."""
    n = len(shape)
    lines = []
    for s, st in operands:
        missing = n - len(s)
        lines.append((0,) * missing + tuple([0 if size == 1 and shape[missing + k] != 1 else stride
                                             for k, (size, stride) in enumerate(zip(s, st, strict=True))]))
    inner = list(range(n - 1, -1, -1))  # innermost first
    for i in range(1, n):
        at = i
        for below in range(i - 1, -1, -1):
            answer = _compare(shape, lines, inner[below], inner[at])
            if answer > 0:
                inner[below], inner[at] = inner[at], inner[below]
                at = below
            elif answer < 0:
                break
    return tuple(reversed(inner))


def _compare(shape: Ints, lines: list[Ints], a: int, b: int) -> int:
    """Does dimension `a` lie further out than `b`? 1: yes, -1: no, 0: nothing tells."""
    for strides in lines:
        x, y = strides[a], strides[b]
        if x == 0 or y == 0:
            continue
        if x != y:
            return 1 if x > y else -1
        if shape[a] > shape[b]:
            return 1
    return 0
