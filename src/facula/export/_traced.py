"""The tensors of a capture: in place of a tensor each a description of it, in every case that is tried.

A `Traced` has no elements. It stands for a tensor of the program while this runs once to be written down; `in_cases`
are tensors on "meta", one for each case (`_cases.py`), so that its shape may be asked in all of them. Operations come
to it through their doors alone (`ops/listening.py`): whatever reaches for its memory past them is told so.
"""

from __future__ import annotations

import linecache
import sys
from types import FrameType
from typing import Any

from facula._tensor.handle import Tensor, blank
from facula.ops.listening import disabled
from facula.size import Size

__all__ = ["Traced", "program_line"]

MISSED = ("a part of the program reads a tensor where the capture cannot see it: a function that is no operation of "
          "torch's (autograd.Function, a C extension), or a transform. Write it with torch's operations")


class Missed(RuntimeError):
    """A tensor was read where no capture can see it."""

    def __init__(self, text: str = f"torch.export: {MISSED}") -> None:
        super().__init__(text + program_line())


class _Nowhere:
    """In place of a Traced's memory."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Missed()


NOWHERE: Any = _Nowhere()


class Traced(Tensor):
    """See the module. `fx`: the node of the graph that gives it; `place`: its device; `sizes`: its shape, once it has
    been asked for; `capture`: whose it is."""

    in_cases: tuple[Tensor, ...]
    fx: Any
    place: Any
    sizes: Any
    capture: Any
    __torch_function__ = staticmethod(disabled)

    @property
    def shape(self) -> Any:  # type: ignore[override]
        """The lengths of its dimensions: numbers, and SymInts where they are open."""
        return self.capture.shape_of(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __repr__(self, **options: Any) -> str:
        return f"FakeTensor(..., size=({', '.join(map(str, self.shape))}), dtype={self.dtype})"


def traced(capture: Any, inner: tuple[Tensor, ...], fx: Any, place: Any) -> Traced:
    """A new one."""
    t: Traced = blank(Traced)
    t._node = None
    t._storage = NOWHERE
    t.dtype = inner[0].dtype
    t._rg = inner[0]._rg
    t._grad_fn = t._base = None
    t._seen = 0
    t.capture, t.in_cases, t.fx, t.place, t.sizes = capture, inner, fx, place, None
    return t


def settle(t: Traced) -> None:
    """The capture is over: what is left is a tensor on "meta" with the sizes that it was found to have."""
    like = t.in_cases[0]
    t.sizes = t.capture.shape_of(t)
    t._node, t._storage = like._node, like._storage
    if like._storage is not None:
        t._strides, t._offset, t._cached = like._strides, like._offset, None
        t._seen = -1
    t._rg, t.in_cases = False, (like,)


def described(closed: Any, like: Tensor, sizes: list[Any], fx: Any) -> Traced:
    """A description that was read from a file: `like` on "meta", with sizes that may be open."""
    t = traced(closed, (like,), fx, like.device)
    t.sizes = tuple.__new__(Size, sizes)
    settle(t)
    return t


class Closed:
    """In place of the capture that descriptions from a file belong to."""

    active = False

    def shape_of(self, t: Traced) -> Any:
        """The shape of a described tensor."""
        return t.sizes

    def guard(self, asked: Any) -> bool:
        """The answer of the example."""
        return bool(asked.values[0])

    def specialise(self, number: Any) -> Any:
        """The number of the example."""
        return number.values[0]


def program_frame() -> FrameType | None:
    """The innermost frame of the program's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "facula":
        frame = frame.f_back
    return frame


def place_of(frame: FrameType | None) -> str:
    """A frame's line as a traceback shows it."""
    if frame is None:
        return ""
    name, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(name, line).strip()
    return f'  File "{name}", line {line}, in {frame.f_code.co_name}\n    {text}\n'


def program_line() -> str:
    """What an error says of the program's line."""
    found = place_of(program_frame())
    return f"\n\nThe following call raised this error:\n{found}" if found else ""
