"""LLVM types and constants of Facula's dtypes.

A value has two forms: in memory (`stored`; a bool is a byte, a bfloat16 sixteen bits) and in a register
(`register`; a bool is an i1, both 16-bit floats are float). Vectors have `lanes` elements; one is a scalar.
"""

from __future__ import annotations

from facula.dtypes import FLOAT, bfloat16, bool_, dtype, float16, float32, float64
from facula.engine.compiler.emit import halves
from facula.engine.compiler.emit.literals import hex_real, to_single
from facula.engine.compiler.emit.module import Code


def register(d: dtype, lanes: int) -> str:
    return vector(element(d), lanes)


def element(d: dtype) -> str:
    if d.category == FLOAT:
        return "double" if d is float64 else "float"
    return "i1" if d is bool_ else f"i{8 * d.itemsize}"


def stored(d: dtype) -> str:
    if d is float16:
        return "half"
    if d is float32 or d is float64:
        return "float" if d is float32 else "double"
    return f"i{8 * d.itemsize}"


def vector(type_: str, lanes: int) -> str:
    return type_ if lanes == 1 else f"<{lanes} x {type_}>"


def suffix(type_: str, lanes: int) -> str:
    """The mangled type in an intrinsic's name: v16f32."""
    short = {"float": "f32", "double": "f64", "half": "f16"}.get(type_, type_)
    return short if lanes == 1 else f"v{lanes}{short}"


def number(value: object, d: dtype) -> str:
    """The text of a scalar constant of type `d`."""
    if d.category == FLOAT:
        x = float(value)  # type: ignore[arg-type]
        if d is not float64:
            x = to_single(x)
        return hex_real(x)
    if d is bool_:
        return "true" if value else "false"
    bits = 8 * d.itemsize
    n = int(value) & ((1 << bits) - 1)  # type: ignore[call-overload]
    return str(n - (1 << bits) if n >> (bits - 1) else n)


def splat(text: str, type_: str, lanes: int) -> str:
    """A constant in every lane."""
    if lanes == 1:
        return text
    if text in ("0", "false", "0x0000000000000000"):
        return "zeroinitializer"
    return "<" + ", ".join([f"{type_} {text}"] * lanes) + ">"


def constant(value: object, d: dtype, lanes: int) -> str:
    return splat(number(value, d), element(d), lanes)


def broadcast(code: Code, name: str, type_: str, lanes: int) -> str:
    """The scalar `name` in every lane."""
    if lanes == 1:
        return name
    if name[0] != "%":
        return splat(name, type_, lanes)
    t = vector(type_, lanes)
    one = code.op(f"insertelement {t} poison, {type_} {name}, i64 0")
    return code.op(f"shufflevector {t} {one}, {t} poison, <{lanes} x i32> zeroinitializer")


def call(code: Code, name: str, result: str, arguments: list[tuple[str, str]]) -> str:
    """Call an intrinsic or a library function, declaring it."""
    types = ", ".join(t for t, _ in arguments)
    code.module.declare(name, f"declare {result} @{name}({types})")
    text = f"call {result} @{name}({', '.join(f'{t} {v}' for t, v in arguments)})"
    if result == "void":
        code.do(text)
        return ""
    return code.op(text)


def widen(code: Code, d: dtype, name: str, lanes: int) -> str:
    """From the form in memory to the form in a register."""
    if d is float16:
        if not code.module.table.halves:
            return halves.widen(code, name, lanes)
        return code.op(f"fpext {vector('half', lanes)} {name} to {vector('float', lanes)}")
    if d is bfloat16:
        wide = vector("i32", lanes)
        z = code.op(f"zext {vector('i16', lanes)} {name} to {wide}")
        s = code.op(f"shl {wide} {z}, {splat('16', 'i32', lanes)}")
        return code.op(f"bitcast {wide} {s} to {vector('float', lanes)}")
    if d is bool_:
        return code.op(f"icmp ne {vector('i8', lanes)} {name}, {splat('0', 'i8', lanes)}")
    return name


def narrow(code: Code, d: dtype, name: str, lanes: int) -> str:
    """From the form in a register to the form in memory, rounding to nearest even."""
    if d is float16:
        if not code.module.table.halves:
            return halves.narrow(code, name, lanes)
        return code.op(f"fptrunc {vector('float', lanes)} {name} to {vector('half', lanes)}")
    if d is bfloat16:  # by hand: the AVX-512 instruction flushes denormals to zero
        i32, f32 = vector("i32", lanes), vector("float", lanes)
        bits = code.op(f"bitcast {f32} {name} to {i32}")
        high = code.op(f"lshr {i32} {bits}, {splat('16', 'i32', lanes)}")
        odd = code.op(f"and {i32} {high}, {splat('1', 'i32', lanes)}")
        bias = code.op(f"add {i32} {odd}, {splat('32767', 'i32', lanes)}")
        up = code.op(f"add {i32} {bits}, {bias}")
        top = code.op(f"lshr {i32} {up}, {splat('16', 'i32', lanes)}")
        nan = code.op(f"fcmp uno {f32} {name}, {name}")
        out = code.op(
            f"select {vector('i1', lanes)} {nan}, {i32} {splat('32704', 'i32', lanes)}, {i32} {top}"
        )
        return code.op(f"trunc {i32} {out} to {vector('i16', lanes)}")
    if d is bool_:
        return code.op(f"zext {vector('i1', lanes)} {name} to {vector('i8', lanes)}")
    return name


def rounded(code: Code, d: dtype, name: str, lanes: int) -> str:
    """A register value rounded to what `d` can hold in memory."""
    if d is float16 or d is bfloat16:
        return widen(code, d, narrow(code, d, name, lanes), lanes)
    return name
