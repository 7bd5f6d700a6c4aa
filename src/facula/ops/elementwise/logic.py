"""Logic of truth values and of bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT
from facula.engine.graph.expr import Expr, function
from facula.ops.elementwise.kinds import Binary, unary
from facula.ops.elementwise.refusals import dtype_word, of_tensors, result_word
from facula.ops.promotion import result_dtype
from facula.ops.registry import op
from facula.ops.type_rules import PROMOTED, SAME, TRUTH

_eq, _ne, _exclusive = map(function, ("eq", "ne", "xor"))
op(unary("logical_not", lambda x: _eq(x, 0), "any", "bool"), inplace=True, out=True)


def _truth(x: Expr) -> Expr:
    return _ne(x, 0)


def truth_values(name: str, body: Callable[..., Tensor], tensors: int) -> None:
    """Register `body`, an operation that gives truth values for operands of any dtype; the first `tensors` of them
    are no numbers."""
    op(of_tensors(name, body, tensors), inplace=True, out=True, types=TRUTH)


for _name, _expr in (("logical_and", lambda a, b: _truth(a) & _truth(b)),
                     ("logical_or", lambda a, b: _truth(a) | _truth(b)),
                     ("logical_xor", lambda a, b: _exclusive(_truth(a), _truth(b)))):
    truth_values(_name, Binary(_name, _expr, "any", "bool"), 2)


# ---- bits ----------------------------------------------------------------------------------------

either = Binary("bitwise_or", function("or"))
both = Binary("bitwise_and", function("and"))


def _bitwise(name: str, body: Callable[..., Tensor], word: Callable[..., str]) -> None:
    """`word`: the dtype that torch's refusal names, of the result or of the first operand."""
    def bitwise(input: Any, other: Any) -> Tensor:
        if result_dtype((input, other)).category >= FLOAT:
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{word(input, other)}'")
        return body(input, other)
    bitwise.__name__ = name
    op(bitwise, inplace=True, out=True, types=PROMOTED)


_bitwise("bitwise_and", both, result_word)
_bitwise("bitwise_or", either, result_word)
_bitwise("bitwise_xor", Binary("bitwise_xor", _exclusive), result_word)
for _name, _fn in (("bitwise_left_shift", "lshift"), ("bitwise_right_shift", "rshift")):
    _bitwise(_name, Binary(_name, function(_fn)), lambda input, other: dtype_word(input))


@op(inplace=True, out=True, types=SAME)
def bitwise_not(input: Tensor) -> Tensor:
    """~x: bitwise for integers, logical for bool."""
    if input.dtype.category >= FLOAT:
        raise NotImplementedError(f"\"bitwise_not_cpu\" not implemented for '{dtype_word(input)}'")
    return _not(input)


_not = unary("bitwise_not", function("not"), "any")
