"""Inference tensors: what is made in inference mode.

Every tensor is made by one of a few functions, which are on the way of every operation. So nothing is asked there:
while some thread is in inference mode these functions have another code, which marks what they have made.
"""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import Any

from facula._tensor import handle
from facula.autograd import graph, modes
from facula.engine.session import session
from facula.ops.elementwise import pointwise

_MAKERS: tuple[Any, ...] = (handle.new, handle.laid, pointwise.apply, pointwise.apply1, pointwise.apply2)
_marked: bool | None = False  # have the makers the code that marks? None: some of them


def _marking(*args: Any) -> Any:
    made = plain(*args)  # type: ignore[name-defined]  # noqa: F821  # each maker's own name for itself: see below
    if mode.inference:  # type: ignore[name-defined]  # noqa: F821  # which belongs to the thread
        made._inference = True
    return made


def _codes(maker: Any) -> tuple[CodeType, CodeType]:
    """The codes of a maker in inference mode and outside."""
    own = f"_plain_{maker.__name__}"
    space = maker.__globals__
    space[own] = FunctionType(maker.__code__, space, maker.__name__)
    space["_mode"] = graph.mode
    names = tuple([{"plain": own, "mode": "_mode"}.get(name, name) for name in _marking.__code__.co_names])
    return _marking.__code__.replace(co_names=names), maker.__code__


_CODES = {maker: _codes(maker) for maker in _MAKERS}


def _making() -> None:
    """Have the makers mark while some thread is in inference mode. After an interrupt it is done by who comes next:
    until then they ask for nothing whether they mark."""
    global _marked
    with session.lock:
        while _marked is not (wanted := modes.inferring.count > 0):
            _marked = None
            for maker, (marking, plain) in _CODES.items():
                maker.__code__ = marking if wanted else plain
            _marked = wanted
        if _marked and None not in handle.inferred:
            handle.inferred.append(None)


modes.making = _making
