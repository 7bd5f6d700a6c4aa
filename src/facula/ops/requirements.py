"""What the elements of an argument have to be like. Indices have checks of their own: index/index_nodes.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, is_meta
from facula._tensor.reading import read
from facula.dtypes import bfloat16, bool_
from facula.engine.graph.node import ALL, size_of
from facula.engine.realize import at_hand, expect
from facula.engine.recorder import record
from facula.size import Size

_NO_DIMS = Size()


def require(x: Tensor, holds: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    """Raise `error(message)` unless `holds` for every element of `x`: now if they are in memory, else where a value is
    read. `holds` takes a tensor or a NumPy array and gives bools."""
    if is_meta(x) or not size_of(x.shape):
        return
    array = None if x.dtype is bfloat16 else at_hand(read(x))  # NumPy has no such type
    if array is not None:
        if not holds(array).all():
            raise error(message)
        return
    node = read(holds(x))
    if node.shape:
        node = record(ALL, (node,), (tuple(range(len(node.shape))),), None, _NO_DIMS, bool_)
    expect(node, _broken, error, message)


def _broken(kept: int, error: type[Exception], message: str) -> Exception | None:
    return None if kept else error(message)
