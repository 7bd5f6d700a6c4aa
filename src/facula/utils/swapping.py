"""Two tensors that exchange what they are."""

from __future__ import annotations

import weakref
from typing import Any

from facula._tensor.handle import Tensor

_SLOTS = [Tensor.__dict__[name] for name in Tensor.__slots__ if not name.startswith("__")]
_UNSET: Any = object()


def _slots(t: Any) -> list[Any]:
    found = []
    for slot in _SLOTS:
        try:
            found.append(slot.__get__(t))
        except AttributeError:
            found.append(_UNSET)
    return found


def _fill(t: Any, values: list[Any]) -> None:
    for slot, value in zip(_SLOTS, values, strict=True):
        if value is not _UNSET:
            slot.__set__(t, value)


def swap_tensors(t1: Any, t2: Any) -> None:
    """Exchange elements, class, attributes and place in autograd of two tensors: whoever holds one has the other.

    Raises:
        RuntimeError: there is a weak reference to one of them.

    Example:
        >>> import facula
        >>> a, b = facula.ones(1), facula.zeros(2)
        >>> facula.utils.swap_tensors(a, b)
        >>> a, b
        (tensor([0., 0.]), tensor([1.]))
    """
    for name, t in (("t1", t1), ("t2", t2)):
        if weakref.getweakrefs(t):
            raise RuntimeError(f"Cannot swap {name} because it has weakref associated with it")
    first, second = _slots(t1), _slots(t2)
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    t1.__dict__, t2.__dict__ = t2.__dict__, t1.__dict__
    _fill(t1, second)
    _fill(t2, first)
