"""Views: tensors that share another's elements. What they are made with.

A view is an alias: (shape, strides, offset) over the same storage. Its gradient rule speaks of the
input as if it were contiguous, whatever its strides, because gradients are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, alias
from facula._tensor.tape import attach, off_tape, rules
from facula.autograd.graph import Rule, mode
from facula.dtypes import dtype
from facula.engine.graph.node import contiguous_strides
from facula.ops.view.regions import Ints, region_view_backward

# ---- aliases -------------------------------------------------------------------------------------

def make_view(t: Tensor, shape: Ints, strides: Ints, offset: int, rule: Rule,
              saved: tuple[Any, ...] = (), of: dtype | None = None) -> Tensor:
    """An alias of `t`, on the tape."""
    out = alias(t, shape, strides, offset, of)
    base = t._base
    out._base = t if base is None else base
    out._grad_version = out._storage.version
    if t._rg or base is not None:
        if not mode.grad or base is not None and t._grad_version < -1:
            out._grad_version = off_tape(out._grad_version)
        attach(out, rule, (t,), saved)
    return out


def geometry(t: Tensor) -> tuple[Ints, int]:
    """Strides, and offset in the storage."""
    if t._storage is None:
        return contiguous_strides(t.shape), 0
    return t._strides, t._offset


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


alias_rule = rules.alias = Rule("AliasBackward0", lambda ctx, g: (g,))


def alias_view(t: Tensor) -> Tensor:
    """A view of the whole."""
    strides, offset = geometry(t)
    return make_view(t, t.shape, strides, offset, alias_rule)


# ---- parts ---------------------------------------------------------------------------------------

def part_view(t: Tensor, shape: Ints, move: Callable[[Ints, int], tuple[Ints, int]],
              rule: Rule) -> Tensor:
    """A view of part of `t`; `move` maps the geometry of `t` to that of the part."""
    strides, offset = geometry(t)
    to = move(strides, offset)
    saved: tuple[Any, ...] = ()
    if t._rg or t._base is not None:
        plain = contiguous_strides(t.shape)
        saved = to if offset == 0 and strides == plain else move(plain, 0)
    return make_view(t, shape, to[0], to[1], rule, saved)


def part_rule(name: str) -> Rule:
    return Rule(name, region_view_backward)


_SELECT, slice_rule = part_rule("SelectBackward0"), part_rule("SliceBackward0")


def slice_view(t: Tensor, dim: int, start: int, stop: int, step: int = 1,
               rule: Rule = slice_rule) -> Tensor:
    """`t[start:stop:step]` along `dim` (not negative); bounds as Python clips them, step > 0."""
    n = max(0, -(-(stop - start) // step))
    sizes = (*t.shape,)

    def move(strides: Ints, offset: int) -> tuple[Ints, int]:
        stride = strides[dim]
        return (*strides[:dim], stride * step, *strides[dim + 1:]), offset + start * stride
    return part_view(t, (*sizes[:dim], n, *sizes[dim + 1:]), move, rule)


def select_view(t: Tensor, dim: int, i: int, rule: Rule = _SELECT) -> Tensor:
    """`t[i]` along `dim`; both in range and not negative."""
    sizes = (*t.shape,)  # a tuple: parts of a Size are made in Python

    def move(strides: Ints, offset: int) -> tuple[Ints, int]:
        return strides[:dim] + strides[dim + 1:], offset + i * strides[dim]
    return part_view(t, sizes[:dim] + sizes[dim + 1:], move, rule)
