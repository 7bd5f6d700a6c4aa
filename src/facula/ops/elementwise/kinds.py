"""Operations made of formulas: functions of one tensor, and of two arguments that may be numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, bool_
from facula.engine.graph.expr import Expr, operand
from facula.engine.graph.expr import scalar as scalar_expr
from facula.engine.graph.node import Formula
from facula.ops.casting import to_dtype
from facula.ops.elementwise.derivatives import slopes
from facula.ops.elementwise.pointwise import apply1, apply2
from facula.ops.promotion import number_for, result_dtype
from facula.ops.type_rules import FLOATING, PROMOTED, PROMOTED_FLOATING, SAME, TRUTH, TRUTH_OF_ONE, TypeRule


def unary(name: str, expr: Callable[[Expr], Expr], kind: str = "float", result: str = "same") -> Callable[..., Tensor]:
    """A function of one tensor. kind 'float': integers become the default float first; 'any': no conversion.
    result 'same' or 'bool'."""
    formula = Formula(name, expr(operand(0)))

    def body(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        if kind == "float" and input.dtype.category < FLOAT:
            input = to_dtype(input, defaults.get_default_dtype())
        return apply1(formula, input, None, bool_ if result == "bool" else input.dtype)
    body.__name__ = body.__qualname__ = name
    body.formula, body.formulas = formula, (formula,)  # type: ignore[attr-defined]
    body.types = TRUTH_OF_ONE if result == "bool" else FLOATING if kind == "float" else SAME  # type: ignore[attr-defined]
    return body


class Binary:
    """The formulas of a two-argument operation: tensor-tensor, tensor-number, number-tensor.

    `partials`: its slopes where they are not those of the chain rule (derivatives.slopes).
    """

    __slots__ = ("name", "tt", "ts", "st", "kind", "result")

    def __init__(self, name: str, expr: Callable[[Expr, Expr], Expr], kind: str = "any", result: str = "same",
                 partials: Callable[[Expr, Expr], tuple[Expr, Expr]] | None = None) -> None:
        self.name = name
        self.tt = Formula(name, expr(operand(0), operand(1)))
        self.ts = Formula(name, expr(operand(0), scalar_expr(0)))
        self.st = Formula(name, expr(scalar_expr(0), operand(0)))
        self.kind = kind
        self.result = result
        if partials is not None:
            slopes[self.tt] = partials(operand(0), operand(1))
            slopes[self.ts] = partials(operand(0), scalar_expr(0))[:1]
            slopes[self.st] = partials(scalar_expr(0), operand(0))[1:]

    @property
    def types(self) -> TypeRule:
        return TRUTH if self.result == "bool" else PROMOTED_FLOATING if self.kind == "float" else PROMOTED

    @property
    def formulas(self) -> tuple[Formula, ...]:
        return self.tt, self.ts, self.st

    def __call__(self, a: Any, b: Any) -> Tensor:
        ta, tb = isinstance(a, Tensor), isinstance(b, Tensor)
        if ta and tb:
            if a.dtype is b.dtype and (a.dtype.category >= FLOAT or self.kind == "any"):
                return apply2(self.tt, a, b, bool_ if self.result == "bool" else a.dtype)
        elif not ta and not tb:
            raise TypeError(f"{self.name}(): at least one argument must be a Tensor, got {type(a).__name__} and "
                            f"{type(b).__name__}")
        if ta and a.dtype.is_floating_point and (type(b) is float or type(b) is int):
            return apply1(self.ts, a, (float(b),), bool_ if self.result == "bool" else a.dtype)
        of = result_dtype((a, b))
        if self.kind == "float" and of.category < FLOAT:
            of = defaults.get_default_dtype()
        out = bool_ if self.result == "bool" else of
        if not tb:
            return apply1(self.ts, to_dtype(a, of), (number_for(b, of),), out)
        if not ta:
            return apply1(self.st, to_dtype(b, of), (number_for(a, of),), out)
        return apply2(self.tt, to_dtype(a, of), to_dtype(b, of), out)
