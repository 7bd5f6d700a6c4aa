"""Python's operators on tensors: `x + y`, `2 - x`, `x += y`, `x == y`, ..."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, bool_, from_numpy_dtype
from facula.engine.threads import others
from facula.ops.create.conversion import from_array
from facula.ops.elementwise.arithmetic import (
    FLOAT_FORMULAS,
    SMALL_POWERS,
    add,
    div,
    floor_divide,
    mul,
    neg,
    pow,
    reciprocal,
    remainder,
    sub,
)
from facula.ops.elementwise.comparison import COMPARISONS
from facula.ops.elementwise.kinds import Binary
from facula.ops.elementwise.logic import bitwise_not
from facula.ops.elementwise.pointwise import apply1, apply2
from facula.ops.elementwise.rounding import abs
from facula.ops.listening import noticed
from facula.ops.registry import write_back


def _operator(fn: Any, swap: bool = False, plain: Binary | None = None, arrays: Any = None) -> Any:
    """The dunder of `fn`. `arrays`: what to do of the tensor and a NumPy array, if they are taken. `plain`: what `fn`
    comes to for floats of one dtype and Python numbers, which is recorded straight away: most operators that a program
    runs are of this kind."""
    tensors = plain.tt if plain else None
    number: Any = (plain.st if swap else plain.ts) if plain else None
    powers = SMALL_POWERS if fn is pow and not swap else {}

    def forward(self: Tensor, other: Any) -> Any:
        try:
            of = self.dtype
        except AttributeError:  # called of the class
            raise TypeError(f"__{'r' if swap else ''}{fn.__name__}__(): 'self' must be Tensor, not "
                            f"{type(self).__name__}") from None
        if tensors is not None and of.is_floating_point:
            if isinstance(other, Tensor):
                if other.dtype is of and not swap:
                    return apply2(tensors, self, other, of)
            elif type(other) is float or type(other) is int:
                return apply1(number, self, (float(other),), of)
        elif powers and of.is_floating_point and type(other) is int and other in powers:
            return powers[other](self)
        if not isinstance(other, Tensor) and type(other) not in (int, float, bool, complex):
            if noticed((other,)):
                return forward(self, other)
            if arrays is not None and isinstance(other, np.ndarray):
                return arrays(self, other)
            other = _coerce(other)
            if other is NotImplemented:
                return NotImplemented
        return fn(other, self) if swap else fn(self, other)
    return forward


def _put(name: str, form: Any) -> None:
    form.__name__ = form.__qualname__ = f"__{name}__"
    setattr(Tensor, form.__name__, form)


def _coerce(other: Any) -> Any:
    """A NumPy number as Python's. An array is left to NumPy, which computes `tensor + array` and has the result made a
    tensor; `array + tensor` nobody takes, as in PyTorch."""
    return other.item() if isinstance(other, np.generic) else NotImplemented


def _invert(self: Tensor) -> Tensor:
    if self.dtype.category >= FLOAT:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type "
                        "tensors")
    return bitwise_not(self)


_OPERATORS = {"add": add, "sub": sub, "mul": mul, "truediv": div, "floordiv": floor_divide,
              "mod": remainder, "pow": pow}
for _name, _public_fn in _OPERATORS.items():
    _binary = FLOAT_FORMULAS.get(_name)
    _put(_name, _operator(_public_fn, plain=_binary))
    # PyTorch's array / tensor is that, and so NumPy is asked again
    _over = (lambda x, array: reciprocal(x) * array) if _public_fn is div else None
    _put("r" + _name, _operator(_public_fn, swap=True, plain=_binary, arrays=_over))
_METHODS = {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
            "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift"}
for _name, _method in _METHODS.items():
    _fn = getattr(Tensor, _method)
    _put(_name, _operator(_fn))
    _put("r" + _name, _operator(_fn, swap=True))


def _comparison(fn: Any, plain: Binary, equal: bool) -> Any:
    """`_operator` for truth values. 16-bit floats round the number first: that is for `fn`."""
    tensors, number = plain.tt, plain.ts
    # of arrays (in)equality only: what has an order NumPy is asked, and does not know either
    general = _operator(fn, arrays=(lambda x, array: fn(x, from_array(array, from_numpy_dtype(array.dtype)))) if equal
                        else None)

    def forward(self: Tensor, other: Any) -> Any:
        of = self.dtype
        if of.is_floating_point and of.itemsize != 2:
            if isinstance(other, Tensor):
                if other.dtype is of:
                    return apply2(tensors, self, other, bool_)
            elif type(other) is float or type(other) is int:
                return apply1(number, self, (float(other),), bool_)
        return general(self, other)
    return forward


for _name, _plain in COMPARISONS.items():
    _put(_name, _comparison(getattr(Tensor, _name), _plain, _name in ("eq", "ne")))
Tensor.__hash__ = object.__hash__  # type: ignore[assignment,method-assign]


def _in_place_operator(fn: Any, name: str, plain: Binary | None) -> Any:
    """`_operator` for `x += y`."""
    def forward(self: Tensor, other: Any) -> Any:
        of = self.dtype
        if plain is not None and of.is_floating_point and not others:
            if isinstance(other, Tensor):
                if other.dtype is of:
                    return write_back(self, apply2(plain.tt, self, other, of), name)
            elif type(other) is float or type(other) is int:
                return write_back(self, apply1(plain.ts, self, (float(other),), of), name)
        if not isinstance(other, Tensor) and type(other) not in (int, float, bool, complex):
            other = _coerce(other)
            if other is NotImplemented:
                return NotImplemented
        return fn(self, other)
    return forward


_IN_PLACE = {"add": "add_", "sub": "sub_", "mul": "mul_", "truediv": "div_",
             "floordiv": "floor_divide_", "mod": "remainder_", "pow": "pow_",
             **{name: method + "_" for name, method in _METHODS.items()}}
for _name, _method in _IN_PLACE.items():
    _put("i" + _name, _in_place_operator(getattr(Tensor, _method), _method, FLOAT_FORMULAS.get(_name)))
Tensor.__neg__ = neg  # type: ignore[method-assign]
Tensor.__pos__ = lambda self: self  # type: ignore[assignment,method-assign,return-value]
Tensor.__abs__ = abs  # type: ignore[method-assign]
Tensor.__invert__ = _invert  # type: ignore[assignment,method-assign]
