"""Rounding to whole numbers: by the target's instructions, or by additions that leave no room for fractions."""

from __future__ import annotations

from facula.engine.compiler.emit.literals import hex_real
from facula.engine.compiler.emit.module import Code

ROUNDINGS = ("floor", "ceil", "trunc", "roundeven")


def emit(code: Code, name: str, type: str, lanes: int, x: str) -> str:
    """`x`, of float or double lanes, rounded as `name` says. Zeros keep their sign, as of a fraction below 0."""
    t = type if lanes == 1 else f"<{lanes} x {type}>"
    op = code.op
    short = "f32" if type == "float" else "f64"

    def call(name: str, *args: str) -> str:
        suffix = short if lanes == 1 else f"v{lanes}{short}"
        types = ", ".join([t] * len(args))
        code.module.declare(f"llvm.{name}.{suffix}", f"declare {t} @llvm.{name}.{suffix}({types})")
        return op(f"call {t} @llvm.{name}.{suffix}({', '.join(f'{t} {a}' for a in args)})")

    if code.module.table.rounds:
        return call(name, x)

    def number(value: float) -> str:
        return hex_real(value) if lanes == 1 else f"splat ({type} {hex_real(value)})"

    bits = "i1" if lanes == 1 else f"<{lanes} x i1>"
    whole = number(2.0**23 if type == "float" else 2.0**52)  # from here on there are no fractions
    size = call("fabs", x)
    large = op(f"fcmp uge {t} {size}, {whole}")  # NaN too
    near = op(f"fsub {t} {op(f'fadd {t} {size}, {whole}')}, {whole}")
    if name == "trunc":
        over = op(f"fcmp ogt {t} {near}, {size}")
        near = op(f"select {bits} {over}, {t} {op(f'fsub {t} {near}, {number(1.0)}')}, {t} {near}")
    elif name != "roundeven":
        near, compare, step = call("copysign", near, x), *{"floor": ("ogt", "fsub"), "ceil": ("olt", "fadd")}[name]
        over = op(f"fcmp {compare} {t} {near}, {x}")
        near = op(f"select {bits} {over}, {t} {op(f'{step} {t} {near}, {number(1.0)}')}, {t} {near}")
    return op(f"select {bits} {large}, {t} {x}, {t} {call('copysign', near, x)}")
