"""Scalar functions as LLVM instructions: one row for each of SCALAR_FUNCTIONS.

`emit(code, fn, d, lanes, args)` appends `fn` computed in type `d` (the type of its arguments; for `cast`
see casts.py) on vectors of `lanes` elements and returns the name of the result. Nothing here has fast-math
flags: a result must not depend on what was fused. Nothing calls the C library, whose results differ from
system to system.
"""

from __future__ import annotations

from collections.abc import Callable

from facula.dtypes import BOOL, FLOAT, UNSIGNED, bool_, dtype, float64
from facula.engine.compiler.emit import integers, rounding
from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.emit.types import call, constant, element, register, suffix, vector
from facula.engine.compiler.emit.vecmath import MATH_FUNCTIONS, emit_math

Row = Callable[[Code, dtype, int, list[str]], str]


def emit(code: Code, fn: str, d: dtype, lanes: int, args: list[str]) -> str:
    row = _rows.get(fn)
    if row is not None:
        return row(code, d, lanes, args)
    return emit_math(code, fn, element(d), lanes, args)


def can_emit(fn: str) -> bool:
    return fn in _rows or fn == "cast" or fn in MATH_FUNCTIONS


def unsigned(d: dtype) -> bool:
    return d.category in (UNSIGNED, BOOL)


def _binary(for_float: str, for_int: str, for_bool: str) -> Row:
    def row(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
        name = for_float if d.category == FLOAT else for_bool if d.category == BOOL else for_int
        return code.op(f"{name} {register(d, lanes)} {args[0]}, {args[1]}")

    return row


def _intrinsic(name: str) -> Row:
    """Of floats; integers are their own rounding."""

    def row(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
        if d.category != FLOAT:
            return args[0]
        t = register(d, lanes)
        return call(code, f"llvm.{name}.{suffix(element(d), lanes)}", t, [(t, a) for a in args])

    return row


def _rounding(name: str) -> Row:
    def row(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
        return args[0] if d.category != FLOAT else rounding.emit(code, name, element(d), lanes, args[0])

    return row


def _compare(for_float: str, for_int: str) -> Row:
    def row(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
        if d.category == FLOAT:
            return code.op(f"fcmp {for_float} {register(d, lanes)} {args[0]}, {args[1]}")
        sign = "" if for_int in ("eq", "ne") else "u" if unsigned(d) else "s"
        return code.op(f"icmp {sign}{for_int} {register(d, lanes)} {args[0]}, {args[1]}")

    return row


def select(code: Code, mask: str, d: dtype, lanes: int, a: str, b: str) -> str:
    t = register(d, lanes)
    return code.op(f"select {vector('i1', lanes)} {mask}, {t} {a}, {t} {b}")


def _extreme(compare: str) -> Row:
    """maximum / minimum. For floats NaN wins: a if a is NaN, else a > b ? a : b, which is b if b is NaN."""

    def row(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
        a, b = args
        t = register(d, lanes)
        if d.category != FLOAT:
            better = code.op(f"icmp {'u' if unsigned(d) else 's'}{compare} {t} {a}, {b}")
            return select(code, better, d, lanes, a, b)
        better = code.op(f"fcmp o{compare} {t} {a}, {b}")
        best = select(code, better, d, lanes, a, b)
        nan = code.op(f"fcmp uno {t} {a}, {a}")
        return select(code, nan, d, lanes, a, best)

    return row


def _neg(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    t = register(d, lanes)
    if d.category == FLOAT:
        return code.op(f"fneg {t} {args[0]}")
    return code.op(f"sub {t} {constant(0, d, lanes)}, {args[0]}")


def _abs(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    t = register(d, lanes)
    if d.category == FLOAT:
        return call(code, f"llvm.fabs.{suffix(element(d), lanes)}", t, [(t, args[0])])
    if unsigned(d):
        return args[0]
    negative = code.op(f"icmp slt {t} {args[0]}, {constant(0, d, lanes)}")
    return select(code, negative, d, lanes, _neg(code, d, lanes, args), args[0])


def _sign(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    """0 for 0; for NaN 0 as well, as torch has it."""
    if d.category == BOOL:
        return args[0]
    t, zero = register(d, lanes), constant(0, d, lanes)
    greater = "fcmp ogt" if d.category == FLOAT else "icmp ugt" if unsigned(d) else "icmp sgt"
    positive = code.op(f"{greater} {t} {args[0]}, {zero}")
    up = select(code, positive, d, lanes, constant(1, d, lanes), zero)
    if unsigned(d):
        return up
    negative = code.op(f"{'fcmp olt' if d.category == FLOAT else 'icmp slt'} {t} {args[0]}, {zero}")
    return select(code, negative, d, lanes, constant(-1, d, lanes), up)


def _floordiv(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    if d.category != FLOAT:
        return integers.floordiv(code, d, lanes, args)
    # Python's: from the remainder, so that the result is exact where a / b would round up to an integer
    t = register(d, lanes)
    a, b = args
    mod = _remainder_toward_zero(code, d, lanes, args)
    div = code.op(f"fdiv {t} {code.op(f'fsub {t} {a}, {mod}')}, {b}")
    zero = constant(0.0, d, lanes)
    uneven = code.op(f"fcmp une {t} {mod}, {zero}")
    b_below = code.op(f"fcmp olt {t} {b}, {zero}")
    m_below = code.op(f"fcmp olt {t} {mod}, {zero}")
    bits = vector("i1", lanes)
    apart = code.op(f"xor {bits} {b_below}, {m_below}")
    lower = code.op(f"and {bits} {uneven}, {apart}")
    div = select(code, lower, d, lanes, code.op(f"fsub {t} {div}, {constant(1.0, d, lanes)}"), div)
    down = _rows["floor"](code, d, lanes, [div])
    off = code.op(f"fcmp ogt {t} {code.op(f'fsub {t} {div}, {down}')}, {constant(0.5, d, lanes)}")
    result = select(code, off, d, lanes, code.op(f"fadd {t} {down}, {constant(1.0, d, lanes)}"), down)
    quotient = code.op(f"fdiv {t} {a}, {b}")
    nothing = code.op(f"fcmp oeq {t} {div}, {zero}")  # the zero has the sign of the true quotient
    signed = _rows["copysign"](code, d, lanes, [zero, quotient])
    result = select(code, nothing, d, lanes, signed, result)
    by_zero = code.op(f"fcmp oeq {t} {b}, {zero}")
    return select(code, by_zero, d, lanes, quotient, result)


def _truncdiv(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    if d.category != FLOAT:
        return integers.truncdiv(code, d, lanes, args)
    return _rows["trunc"](code, d, lanes, [code.op(f"fdiv {register(d, lanes)} {args[0]}, {args[1]}")])


def _remainder_toward_zero(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    return emit_math(code, "fmod", element(d), lanes, args)


def _remainder(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    if d.category != FLOAT:
        return integers.remainder(code, d, lanes, args)
    t, zero, bits = register(d, lanes), constant(0.0, d, lanes), vector("i1", lanes)
    mod = _remainder_toward_zero(code, d, lanes, args)
    uneven = code.op(f"fcmp une {t} {mod}, {zero}")
    b_below = code.op(f"fcmp olt {t} {args[1]}, {zero}")
    m_below = code.op(f"fcmp olt {t} {mod}, {zero}")
    wrong = code.op(f"and {bits} {uneven}, {code.op(f'xor {bits} {b_below}, {m_below}')}")
    return select(code, wrong, d, lanes, code.op(f"fadd {t} {mod}, {args[1]}"), mod)


def _fmod(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    if d.category != FLOAT:
        return integers.fmod(code, d, lanes, args)
    return _remainder_toward_zero(code, d, lanes, args)


def _pow(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    if d.category != FLOAT:
        return integers.power(code, d, lanes, args)
    return emit_math(code, "pow", element(d), lanes, args)


def _rsqrt(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    root = _rows["sqrt"](code, d, lanes, args)
    return code.op(f"fdiv {register(d, lanes)} {constant(1.0, d, lanes)}, {root}")


def _where(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    return select(code, args[0], d, lanes, args[1], args[2])


def _isnan(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    if d.category != FLOAT:
        return constant(False, bool_, lanes)
    return code.op(f"fcmp uno {register(d, lanes)} {args[0]}, {args[0]}")


def _isinf(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    if d.category != FLOAT:
        return constant(False, bool_, lanes)
    size = _abs(code, d, lanes, args)
    return code.op(f"fcmp oeq {register(d, lanes)} {size}, {constant(float('inf'), d, lanes)}")


def _signbit(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    if unsigned(d):
        return constant(False, bool_, lanes)
    t, name = register(d, lanes), args[0]
    if d.category == FLOAT:
        bits = "i64" if d is float64 else "i32"
        name = code.op(f"bitcast {t} {name} to {vector(bits, lanes)}")
        t = vector(bits, lanes)
    return code.op(f"icmp slt {t} {name}, {'0' if lanes == 1 else 'zeroinitializer'}")


def _not(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    ones = constant(True if d.category == BOOL else -1, d, lanes)
    return code.op(f"xor {register(d, lanes)} {args[0]}, {ones}")


_rows: dict[str, Row] = {
    "add": _binary("fadd", "add", "or"),
    "sub": _binary("fsub", "sub", "xor"),
    "mul": _binary("fmul", "mul", "and"),
    "div": _binary("fdiv", "fdiv", "fdiv"),
    "neg": _neg,
    "abs": _abs,
    "sign": _sign,
    "floordiv": _floordiv,
    "truncdiv": _truncdiv,
    "remainder": _remainder,
    "fmod": _fmod,
    "maximum": _extreme("gt"),
    "minimum": _extreme("lt"),
    "floor": _rounding("floor"),
    "ceil": _rounding("ceil"),
    "trunc": _rounding("trunc"),
    "round": _rounding("roundeven"),
    "sqrt": _intrinsic("sqrt"),
    "copysign": _intrinsic("copysign"),
    "rsqrt": _rsqrt,
    "pow": _pow,
    "eq": _compare("oeq", "eq"),
    "ne": _compare("une", "ne"),
    "lt": _compare("olt", "lt"),
    "le": _compare("ole", "le"),
    "gt": _compare("ogt", "gt"),
    "ge": _compare("oge", "ge"),
    "where": _where,
    "isnan": _isnan,
    "isinf": _isinf,
    "signbit": _signbit,
    "and": _binary("and", "and", "and"),
    "or": _binary("or", "or", "or"),
    "xor": _binary("xor", "xor", "xor"),
    "not": _not,
    "lshift": integers.lshift,
    "rshift": integers.rshift,
    "random_bits": integers.random_bits,
}
