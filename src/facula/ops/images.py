"""Images (N, C, *S) that lie in memory with their channels innermost, computed in that order: (N, *S, C).

An operation on images opens them, computes with positions from dimension `first` on, and closes the result: nothing is
moved, forward or backward, and the result lies as its input does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from facula._tensor.handle import Tensor, laid, new
from facula._tensor.layout import is_row_major, strides_in
from facula._tensor.reading import read, read_in
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.ops.result_layouts import format_of, line_layout

Ints = tuple[int, ...]


def channels_inside(dims: int) -> Ints:
    """The order of that memory's dimensions."""
    return (0, *range(2, dims), 1)


def lies_last(*tensors: Tensor) -> bool:
    """Has one of the tensors its channels innermost in memory?"""
    for t in tensors:
        if t._storage is not None and not is_row_major(t.shape, t._strides):
            if (line_layout if len(t.shape) == 3 else format_of)(t.shape, [t]) is not None:
                return True
    return False


def opened(x: Tensor) -> tuple[Tensor, int]:
    """(`x`, 2), or if the channels of images are innermost, (x as (N, *S, C), 1): a value of its own, on the tape."""
    if len(x.shape) == 3 or not lies_last(x):
        return x, 2
    return attach(new(read_in(x, channels_inside(len(x.shape)))), _OPEN, (x,)), 1


def closed(t: Tensor, first: int) -> Tensor:
    """The images of `t`, which is as `opened` has said."""
    if first == 2:
        return t
    shape = (t.shape[0], t.shape[-1], *t.shape[1:-1])
    out = laid(read(t), shape, strides_in(shape, channels_inside(len(shape))))
    step = t._grad_fn
    return attach(out, _closing(step.name() if step is not None else "ViewBackward0"), (t,))


def _open_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    return (closed(g, 1),)


def _close_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    return (attach(new(read_in(g, channels_inside(len(g.shape)))), _OPEN, (g,)),)


_OPEN = Rule("PermuteBackward0", _open_backward)


@lru_cache(64)
def _closing(name: str) -> Rule:
    """The step that a user sees is named for the operation."""
    return Rule(name, _close_backward)
