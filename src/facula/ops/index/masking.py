"""What masks decide: where, masked_fill; the number or tensor that is written."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, new
from facula.dtypes import FLOAT, bool_, uint8
from facula.engine.graph.expr import operand, scalar
from facula.engine.graph.expr import where as where_expr
from facula.engine.graph.node import Formula
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.pointwise import FormulaRule, apply
from facula.ops.index.gathering import nonzero
from facula.ops.index.index_nodes import want_tensor
from facula.ops.promotion import c_number, number_for, result_dtype, scalar_value
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.requirements import require

_in, _num = operand, scalar
_WHERE = {(True, True): Formula("where", where_expr(_in(0), _in(1), _in(2))),
          (True, False): Formula("where", where_expr(_in(0), _in(1), _num(0))),
          (False, True): Formula("where", where_expr(_in(0), _num(0), _in(1))),
          (False, False): Formula("where", where_expr(_in(0), _num(0), _num(1)))}
_FILL = Formula("maskedFill", where_expr(_in(0), _num(0), _in(1)))
_FILL_TENSOR = Formula("maskedFill", where_expr(_in(0), _in(2), _in(1)))
_PUT_MASK = Formula("indexPut", where_expr(_in(0), _num(0), _in(1)))
_PUT_MASK_TENSOR = Formula("indexPut", where_expr(_in(0), _in(2), _in(1)))
_FILL_TENSOR.rule = FormulaRule("MaskedFillBackward1", _FILL_TENSOR)


def _condition(condition: Any) -> Tensor:
    want_tensor(condition, "where", "condition")
    if condition.dtype is uint8:
        return to_dtype(condition, bool_)
    if condition.dtype is not bool_:
        raise RuntimeError("where expected condition to be a boolean tensor, but got a tensor with "
                           "dtype " + DTYPE_NAMES[condition.dtype.name])
    return condition  # type: ignore[no-any-return]


@op(method=False, out=True)
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` is True, else `other`. A condition alone: where it is not zero."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    condition = _condition(condition)
    of = result_dtype((input, other))
    a, b = isinstance(input, Tensor), isinstance(other, Tensor)
    tensors = [to_dtype(x, of) for x in (input, other) if isinstance(x, Tensor)]
    number = scalar_value if of.category < FLOAT else number_for  # integers refuse what they cannot hold
    numbers = [number(x, of) for x in (input, other) if not isinstance(x, Tensor)]
    if not tensors:
        last = new(constant(numbers[1], (), of))
        return apply(_WHERE[False, True], (condition, last), (numbers[0],), of)
    return apply(_WHERE[a, b], (condition, *tensors), tuple(numbers), of)


@op(name="where", function=False)
def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    return where(condition, self, other)  # type: ignore[no-any-return]


@op(inplace=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value` where `mask` is True."""
    want_tensor(mask, "masked_fill", "mask")
    if mask.dtype is uint8:
        mask = to_dtype(mask, bool_)
    elif mask.dtype is not bool_:
        raise RuntimeError("masked_fill_ only supports boolean masks, but got mask with dtype "
                           + _C_NAMES.get(mask.dtype.name, mask.dtype.name))
    if isinstance(value, Tensor):
        if value.shape:
            raise RuntimeError("masked_fill_ only supports a 0-dimensional value tensor, but got "
                               f"tensor with {len(value.shape)} dimension(s).")
        if value.dtype.is_complex and not input.dtype.is_complex and input.dtype is not bool_:
            require(value.detach().imag, lambda x: x == 0, RuntimeError,
                    f"value cannot be converted to type {c_number(input.dtype)} without overflow")
        return apply(_FILL_TENSOR, (mask, input, to_dtype(value, input.dtype)), None, input.dtype)
    return apply(_FILL, (mask, input), (scalar_value(value, input.dtype),), input.dtype)


_C_NAMES = {"int64": "long int", "int32": "int", "int16": "short int", "int8": "signed char",
            "float32": "float", "float64": "double", "float16": "c10::Half",
            "bfloat16": "c10::BFloat16"}


def put_mask(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input[mask] = value` for one number: `mask` covers the leading dimensions."""
    if len(mask.shape) < len(input.shape):
        mask = mask.reshape((*mask.shape, *[1] * (len(input.shape) - len(mask.shape))))
    if isinstance(value, Tensor):
        if value.shape:
            value = value.reshape(())
        value = to_dtype(value, input.dtype)
        return apply(_PUT_MASK_TENSOR, (mask, input, value), None, input.dtype)
    return apply(_PUT_MASK, (mask, input), (scalar_value(value, input.dtype),), input.dtype)
