"""Of what shape and dtype a result is, told from an operation's arguments alone: a few named rules.

`Operation.types` is one of them, `Operation.result(...)` asks it. Tensors are looked at for their shape and dtype only;
nothing is computed, and nothing is refused that the operation itself would refuse. tests/sweeps/test_sweep_types.py
compares with what the bodies give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, bool_, complex128, dtype, float64, int32, int64, uint8
from facula.ops.arguments import dims_of
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.promotion import result_dtype

Typed = tuple[tuple[int, ...], dtype]
Given = Mapping[str, Any]  # the arguments by name, defaults filled in


class TypeRule:
    """`rule(given)`: (shape, dtype), or a tuple of such for several results."""

    __slots__ = ("name", "of")

    def __init__(self, name: str, of: Callable[[Given], Any]) -> None:
        self.name, self.of = name, of

    def __call__(self, given: Given) -> Any:
        return self.of(given)

    def __repr__(self) -> str:
        return f"<type rule: {self.name}>"


# ---- element by element ---------------------------------------------------------------------------------

def _first(given: Given) -> Any:
    return next(iter(given.values()))


def floating(of: dtype) -> dtype:
    return of if of.category >= FLOAT else defaults.get_default_dtype()


def _operands(given: Given, count: int) -> list[Any]:
    return [x for x in list(given.values())[:count] if x is not None]


def _meet(operands: list[Any]) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for x in operands:
        if isinstance(x, Tensor):
            shape = broadcast(shape, tuple(x.shape))
    return tuple(shape)


def elementwise(name: str, of: Callable[[list[Any]], dtype], operands: int = 2) -> TypeRule:
    """The first `operands` arguments, tensors or numbers, meet in one shape; `of` gives the dtype."""
    return TypeRule(name, lambda given: (_meet(_operands(given, operands)), of(_operands(given, operands))))


def _promoted(operands: list[Any]) -> dtype:
    return result_dtype(tuple(operands))


def _truth(operands: list[Any]) -> dtype:
    return bool_


SAME = elementwise("the dtype of the first", lambda x: x[0].dtype, 1)
FLOATING = elementwise("that, integers as the default float", lambda x: floating(x[0].dtype), 1)
MODULUS = elementwise("that, complex numbers as real ones", lambda x: x[0].dtype.to_real(), 1)
TRUTH_OF_ONE = elementwise("truth values", _truth, 1)
TRUTH = elementwise("truth values of two", _truth)
PROMOTED = elementwise("the promoted dtype", _promoted)
PROMOTED_FLOATING = elementwise("that, integers as the default float", lambda x: floating(_promoted(x)))
SQUARE = elementwise("promoted with a whole number", lambda x: result_dtype((x[0], 2)), 1)
ANGLE = elementwise("real, integers as the default float", lambda x: floating(x[0].dtype).to_real(), 1)
DOUBLE = elementwise("double precision", lambda x: complex128 if _promoted(x).is_complex else float64)
PROMOTED_OF_THREE = elementwise("the promoted dtype of three", _promoted, 3)


def _quotient(given: Given) -> Typed:
    """Integers give floats, unless the quotient is rounded."""
    shape, of = PROMOTED(given)
    return shape, of if given.get("rounding_mode") else floating(of)


QUOTIENT = TypeRule("a quotient", _quotient)


# ---- reductions and scans -------------------------------------------------------------------------------

def _kept(given: Given) -> tuple[int, ...]:
    """The shape without the reduced dimensions, or with ones for them."""
    shape = tuple(_first(given).shape)
    dims = dims_of(given.get("dim"), len(shape))
    one = bool(given.get("keepdim"))
    return tuple([1 if k in dims else n for k, n in enumerate(shape) if one or k not in dims])


def _asked(given: Given) -> dtype:
    of: dtype = given.get("dtype") or _first(given).dtype
    return of


def _summed(given: Given) -> dtype:
    of: dtype = given.get("dtype") or _first(given).dtype
    return of if given.get("dtype") or of.category >= FLOAT else int64


def reduced(name: str, of: Callable[[Given], dtype]) -> TypeRule:
    """Over `dim`, an int, several or all of them, that `keepdim` keeps as ones."""
    return TypeRule(name, lambda given: (_kept(given), of(given)))


SUMMED = reduced("a sum: integers as int64", _summed)
REDUCED = reduced("reduced, in its dtype or the one that is asked for", _asked)
MAGNITUDE = reduced("reduced, complex numbers to real ones", lambda given: _asked(given).to_real())
TRUTH_REDUCED = reduced("truth of all", lambda given: uint8 if _first(given).dtype is uint8 else bool_)
LOG_SUMMED = reduced("reduced, integers as the default float", lambda given: floating(_asked(given)))
POSITIONS = reduced("positions", lambda given: int64)
SPREADS = TypeRule("spread and mean, reduced", lambda given: ((_kept(given), _asked(given).to_real()),
                                                              (_kept(given), _asked(given))))
BOUNDS = TypeRule("the least and the largest", lambda given: ((_kept(given), _asked(given)),) * 2)


def _chosen(given: Given) -> Any:
    if isinstance(given.get("dim"), Tensor) or given.get("other") is not None:
        two = [_first(given), given.get("other") if given.get("other") is not None else given["dim"]]
        return _meet(two), _promoted(two)
    values = _kept(given), _asked(given)
    return values if given.get("dim") is None else (values, (values[0], int64))


CHOSEN = TypeRule("an element of each line and its position; the element alone without a dim", _chosen)
CHOSEN_WITH_PLACE = TypeRule("an element of each line and its position", lambda given: (
    (_kept(given), _asked(given)), (_kept(given), int64)))
SCANNED = TypeRule("a running sum: integers as int64", lambda given: (tuple(_first(given).shape), _summed(given)))
ALONG = TypeRule("of its own shape, in its dtype or the one that is asked for", lambda given: (
    tuple(_first(given).shape), _asked(given)))
SCANNED_WITH_PLACE = TypeRule("running extremes and their positions", lambda given: (
    (tuple(_first(given).shape), _first(given).dtype), (tuple(_first(given).shape), int64)))
MANTISSA = TypeRule("of its own shape, in its dtype and as int32", lambda given: (
    (tuple(_first(given).shape), _first(given).dtype), (tuple(_first(given).shape), int32)))
COUNTS = TypeRule("as many as there are bins, in its dtype", lambda given: (
    (given.get("bins", 100),), _first(given).dtype))
