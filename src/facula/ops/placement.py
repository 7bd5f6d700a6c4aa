"""What the running operation was given: meta tensors, tensors of the cpu, or both.

The engine makes meta what is recorded over meta (`engine/meta.py`). Two questions are left to the
operations: whether elements that meet meta values are the program's (an error) or the operation's
own (a table of weights, a mask), and whether a constant that is made of shapes alone (zeros where
there is nothing to compute) stands for a meta result. Both are answered by the arguments of the
outermost operation that is running now. They are looked up on Python's stack, which costs nothing
while there is no meta tensor.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from facula._tensor.handle import Tensor, is_meta
from facula.dtypes import FLOAT
from facula.engine import meta
from facula.ops import listening

_OPERATIONS = ("facula.ops.", "facula.nn.functional", "facula._tensor.methods", "facula._tensor.state",
               "facula._tensor.writing", "facula._tensor.tape_methods")
_FACTORIES = frozenset(("facula.ops.create.creation", "facula.ops.create.conversion", "facula.ops.random.sampling"))
# An index, or what is written, may lie on the cpu where the tensor itself is on another device.
_LENIENT = frozenset(("getitem", "index_select", "gather", "take"))
_INTO = frozenset(("setitem", "copy_", "index_put"))


def refuse() -> None:
    """RuntimeError if the running operation was given a meta tensor and elements of the cpu."""
    frames = _running()
    if not frames:
        return
    given = list(_tensors(frames[-1]))
    on_cpu = [t for t in given if not is_meta(t) and t.shape]
    if not on_cpu or len(on_cpu) == len(given):
        return
    names = {frame.f_code.co_name for frame in frames}
    indices = all(t.dtype.category < FLOAT for t in on_cpu)
    if is_meta(given[0]) and (
        not names.isdisjoint(_INTO) or indices and not names.isdisjoint(_LENIENT)
    ):
        return
    if "embedding" in names and indices:  # F.embedding takes the index first
        return
    first = next(t for t in given if is_meta(t) or t.shape).device
    other = "cpu" if first.type == "meta" else "meta"
    raise RuntimeError(
        f"Tensor on device {other} is not on the expected device {first}! Expected all tensors to "
        "be on the same device."
    )


def on_meta() -> bool:
    """Was the running operation given a meta tensor? No, if it is a factory: these are told where
    to put things."""
    frames = _running()
    return (
        bool(frames)
        and any(map(is_meta, _tensors(frames[-1])))
        and all(frame.f_globals["__name__"] not in _FACTORIES for frame in frames[-2:])
    )


def _running() -> list[FrameType]:
    """The frames of the running operation, from the one that asks to the outermost."""
    frame: FrameType | None = sys._getframe(2)
    found: list[FrameType] = []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if frame.f_code.co_filename == listening.__file__:
            pass  # a door: what stands behind it was called with the same
        elif module.startswith(_OPERATIONS):
            found.append(frame)
        elif found or not module.startswith("facula."):
            break
        frame = frame.f_back
    return found


def _tensors(frame: FrameType) -> Iterator[Tensor]:
    """The tensors that a function was called with, but for `out`: registry.py looks at that."""
    code = frame.f_code
    count = (
        code.co_argcount
        + code.co_kwonlyargcount
        + bool(code.co_flags & 4)
        + bool(code.co_flags & 8)
    )
    values = frame.f_locals
    return _inside([values.get(name) for name in code.co_varnames[:count] if name != "out"], 3)


def _inside(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _inside(part, depth - 1)


meta.on_mixture = refuse
