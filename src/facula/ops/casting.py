"""From one dtype to another, and constants of one."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, laid, new
from facula._tensor.reading import layout_of, read, read_in
from facula._tensor.tape import edge_of
from facula.autograd.graph import grad_node, mode
from facula.devices import CPU
from facula.dtypes import BOOL, COMPLEX, FLOAT, bool_, dtype
from facula.engine.graph.expr import operand
from facula.engine.graph.node import CONST, Formula, Node, elsewhere
from facula.engine.placing import constant_node, running
from facula.engine.recorder import record
from facula.size import Size

_CAST = Formula("toCopy", operand(0))


class CastRule:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def backward(self, ctx: Any, g: Tensor) -> tuple[Tensor]:
        if g.dtype.is_complex and not ctx.dtypes[0].is_complex:
            g = g.real
        return (to_dtype(g, ctx.dtypes[0]),)


_CAST_RULE = CastRule("ToCopyBackward0")


def to_dtype(t: Tensor, of: dtype) -> Tensor:
    """`t` converted; `t` itself if it has that dtype already."""
    if t.dtype is of:
        return t
    category = of.category  # asked first: of a type that is lacking it refuses
    layout = layout_of(t)
    node = read(t) if layout is None else read_in(t, layout[0])
    value = node.scalars[0] if node.op is CONST and node.scalars else None
    if t.dtype.category >= FLOAT and value is not None:
        value = held(value, t.dtype)
        if isinstance(value, complex) and of.category != COMPLEX:
            value = value != 0 if of is bool_ else value.real
    # What a float that no integer can hold becomes is for the machine to say, as in tensors that are no constants.
    if value is not None and (category >= FLOAT or type(value) is not float or of is bool_ or abs(value) < 1 << 31):
        node = constant(value, node.shape, of)
    else:
        node = record(_CAST, (node,), None, None, node.shape, of)
    result = new(node) if layout is None else laid(node, t.shape, layout[1])
    if (t._rg or t._base is not None) and mode.grad and category >= FLOAT:
        edge = edge_of(t)
        if edge is not None:
            result._grad_fn = grad_node(_CAST_RULE, (edge,), (), (t.shape,), (t.dtype,))
            result._rg = True
    return result


def cast_node(node: Node, of: dtype) -> Node:
    """A value converted, without history."""
    return node if node.dtype is of else read(to_dtype(new(node), of))


def held(number: Any, of: dtype) -> Any:
    """A Python number as an element of type `of` holds it: rounded."""
    if isinstance(number, complex):
        return complex(held(number.real, of.to_real()), held(number.imag, of.to_real()))
    if of.itemsize == 8 or of.category != FLOAT:
        return number
    from facula.rng.rounding import round_number
    return round_number(number, of)


def constant(value: Any, shape: tuple[int, ...], of: dtype) -> Node:
    """A node with `value` everywhere; wraps integers as a C cast does."""
    if of.category == BOOL:
        value = bool(value)
    elif of.category == COMPLEX:
        value = complex(value)
    elif of.category == FLOAT:
        value = float(value)
    else:
        value = int(value)
        bits = 8 * of.itemsize
        value &= (1 << bits) - 1
        if of.is_signed and value >> (bits - 1):
            value -= 1 << bits
    if elsewhere and (place := running.device) is not CPU:
        return constant_node(place, value, shape, of)
    return Node(CONST, (), None, (value,), shape if type(shape) is Size else tuple.__new__(Size, shape), of)
