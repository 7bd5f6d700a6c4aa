"""`SymInt`, `SymFloat`, `SymBool`: the numbers that PyTorch's compiler traces with. In Facula there are none.

Sizes are Python's numbers here. The classes are there to be asked of (`isinstance(n, (int, torch.SymInt))`), and the
functions `sym_...` do with plain numbers what they do in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from facula import absent

SymInt = absent.kind("torch.SymInt", "sizes are Python's int")
SymFloat = absent.kind("torch.SymFloat", "numbers are Python's float")
SymBool = absent.kind("torch.SymBool", "conditions are Python's bool")


def sym_int(a: Any) -> int:
    """`int(a)`: rounded towards zero.

    Example:
        >>> import facula
        >>> facula.sym_int(-2.5)
        -2
    """
    return int(math.trunc(a))


def sym_float(a: Any) -> float:
    """`float(a)`."""
    return float(a)


def sym_not(a: Any) -> bool:
    """`not a`."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The greater of two numbers, a float if one of them is.

    Example:
        >>> import facula
        >>> facula.sym_max(1, 2), facula.sym_max(3, 1.0)
        (2, 3.0)
    """
    return float(max(a, b)) if isinstance(a, float) or isinstance(b, float) else max(a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The lesser of two numbers, a float if one of them is."""
    return float(min(a, b)) if isinstance(a, float) or isinstance(b, float) else min(a, b)


def sym_ite(b: bool, t: Any, f: Any) -> Any:
    """`t` if `b`, else `f`."""
    return t if b else f


def sym_sum(args: Iterable[Any]) -> Any:
    """The sum of numbers."""
    return sum(args)


def sym_fresh_size(expr: Any) -> Any:
    """Not in Facula: there are no symbolic sizes."""
    raise absent.refusal("torch.sym_fresh_size", "sizes are Python's int")


def _root(name: str) -> Callable[[Any], float]:
    function: Callable[[Any], float] = getattr(math, name)

    def of(a: Any) -> float:
        return function(a)
    of.__name__, of.__doc__ = f"_sym_{name}", f"`math.{name}(a)`."
    return of


_sym_sqrt = sym_sqrt = _root("sqrt")
