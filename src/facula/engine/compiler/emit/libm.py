"""Functions that are calls: our vector math where it has the function, else the C library, lane by lane."""

from __future__ import annotations

from facula.dtypes import dtype
from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.emit.types import element, vector
from facula.engine.compiler.emit.vecmath import MATH_FUNCTIONS, emit_math

_C_NAMES = {
    "exp": "exp",
    "exp2": "exp2",
    "expm1": "expm1",
    "log": "log",
    "log2": "log2",
    "log10": "log10",
    "log1p": "log1p",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
    "atan2": "atan2",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "asinh": "asinh",
    "acosh": "acosh",
    "atanh": "atanh",
    "erf": "erf",
    "erfc": "erfc",
    "lgamma": "lgamma",
    "nextafter": "nextafter",
    "hypot": "hypot",
    "fmod": "fmod",
    "pow": "pow",
}


def can_emit(fn: str) -> bool:
    return fn in _C_NAMES or fn in MATH_FUNCTIONS


def emit(code: Code, fn: str, d: dtype, lanes: int, args: list[str]) -> str:
    """`fn` in float or double."""
    if fn in MATH_FUNCTIONS:
        return emit_math(code, fn, element(d), lanes, args)
    return _by_lane(code, _C_NAMES[fn], element(d), lanes, args)


def _by_lane(code: Code, fn: str, type_: str, lanes: int, args: list[str]) -> str:
    name = fn if type_ == "double" else fn + "f"
    types = ", ".join([type_] * len(args))
    code.module.declare(name, f"declare {type_} @{name}({types}) nounwind willreturn memory(none)")
    if lanes == 1:
        return code.op(f"call {type_} @{name}({', '.join(f'{type_} {a}' for a in args)})")
    t = vector(type_, lanes)
    wrapper = f"each.{name}.{lanes}"
    if wrapper not in code.module.definitions:
        inner = Code(code.module)
        result = "poison"
        for lane in range(lanes):
            parts = [inner.op(f"extractelement {t} %x{k}, i64 {lane}") for k in range(len(args))]
            one = inner.op(f"call {type_} @{name}({', '.join(f'{type_} {p}' for p in parts)})")
            result = inner.op(f"insertelement {t} {result}, {type_} {one}, i64 {lane}")
        head = ", ".join(f"{t} %x{k}" for k in range(len(args)))
        body = "\n".join(inner.lines)
        code.module.declare(
            wrapper,
            f"define internal {t} @{wrapper}({head}) noinline nounwind #0 {{\n{body}\n  ret {t} {result}\n}}",
        )
    return code.op(f"call {t} @{wrapper}({', '.join(f'{t} {a}' for a in args)})")
