"""Questions about sizes that PyTorch's compiler may not know. Here sizes are numbers, and each has its answer; those
that a capture leaves open (`facula.export`) answer with a guard."""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.symbolic_numbers import SymBool, SymFloat, SymInt, _Symbolic

__all__ = ["GuardOnDataDependentSymNode", "definitely_true", "free_symbols", "guard_bool", "guard_float",
           "guard_int", "guard_or_false",
           "guard_or_true", "guard_scalar", "guard_size_oblivious", "has_free_symbols", "has_hint", "hint_int",
           "is_concrete_bool", "is_concrete_float", "is_concrete_int", "is_symbolic", "statically_known_true",
           "sym_eq", "ShapeEnv"]

ShapeEnv = absent.kind("torch.fx.experimental.symbolic_shapes.ShapeEnv", "sizes are Python's int")


class GuardOnDataDependentSymNode(RuntimeError):
    """What `torch.export` raises where a program decides by elements of a tensor.

    Example:
        >>> from facula.fx.experimental import symbolic_shapes
        >>> issubclass(symbolic_shapes.GuardOnDataDependentSymNode, RuntimeError)
        True
    """


def guard_bool(a: Any) -> bool:
    """`bool(a)`."""
    return bool(a)


guard_size_oblivious = guard_or_false = guard_or_true = statically_known_true = definitely_true = guard_bool


def guard_int(a: Any) -> int:
    """`int(a)`."""
    return int(a)


def hint_int(a: Any, fallback: int | None = None) -> int:
    """`int(a)`: of an open size the example's."""
    return int(a.values[0]) if isinstance(a, SymInt) else int(a)


def guard_float(a: Any) -> float:
    """`float(a)`."""
    return float(a)


def guard_scalar(a: Any) -> Any:
    """The number itself. AssertionError if it is none."""
    if not isinstance(a, (bool, int, float)):
        raise AssertionError(f"unrecognized scalar {a}")
    return a


def has_hint(a: Any) -> bool:
    """True: it is known."""
    return True


def is_concrete_int(a: Any) -> bool:
    """Is it a number that is known? AssertionError if it is none."""
    if isinstance(a, SymInt):
        return False
    if not isinstance(a, int):
        raise AssertionError(f"expected an int, got {type(a)}")
    return True


def is_concrete_float(a: Any) -> bool:
    """The same of a float."""
    if isinstance(a, SymFloat):
        return False
    if not isinstance(a, float):
        raise AssertionError(f"expected a float, got {type(a)}")
    return True


def is_concrete_bool(a: Any) -> bool:
    """The same of a bool."""
    if isinstance(a, SymBool):
        return False
    if not isinstance(a, bool):
        raise AssertionError(f"expected a bool, got {type(a)}")
    return True


def is_symbolic(val: Any) -> bool:
    """Is it a size that a capture leaves open?"""
    return isinstance(val, _Symbolic)


def free_symbols(val: Any) -> set[Any]:
    """The names of the open sizes in it."""
    formula = val.formula if isinstance(val, _Symbolic) else None
    return set() if formula is None else set(formula.symbols)


def has_free_symbols(val: Any) -> bool:
    """Is it open?"""
    return isinstance(val, _Symbolic)


def sym_eq(x: Any, y: Any) -> bool:
    """Are two sizes, or sequences of them, equal?"""
    if isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)):
        return len(x) == len(y) and all(map(sym_eq, x, y))
    return bool(x == y)


def free_unbacked_symbols(x: Any) -> set[Any]:
    """The sizes in `x` that depend on data: none, all are numbers."""
    return set()
