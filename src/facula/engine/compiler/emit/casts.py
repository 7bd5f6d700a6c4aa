"""Conversions between element types, with the results PyTorch gives on x86."""

from __future__ import annotations

from facula.dtypes import BOOL, FLOAT, UNSIGNED, bool_, dtype, float64, int32, int64
from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.emit.types import constant, element, register, rounded, vector


def cast(code: Code, name: str, source: dtype, to: dtype, lanes: int) -> str:
    """`name`, a register value of type `source`, as a register value of type `to`."""
    if source is to:
        return name
    if to.category == FLOAT:
        if source.category == FLOAT:
            wide, narrow = source is float64, to is float64
            if wide and not narrow:
                name = code.op(f"fptrunc {register(source, lanes)} {name} to {register(to, lanes)}")
            elif narrow and not wide:
                name = code.op(f"fpext {register(source, lanes)} {name} to {register(to, lanes)}")
        else:
            kind = "uitofp" if source.category in (BOOL, UNSIGNED) else "sitofp"
            name = code.op(f"{kind} {register(source, lanes)} {name} to {register(to, lanes)}")
        return rounded(code, to, name, lanes)
    if to is bool_:
        t, zero = register(source, lanes), constant(0, source, lanes)
        return code.op(f"{'fcmp une' if source.category == FLOAT else 'icmp ne'} {t} {name}, {zero}")
    if source.category == FLOAT:
        return _from_float(code, name, source, to, lanes)
    have, need = 1 if source is bool_ else 8 * source.itemsize, 8 * to.itemsize
    if have == need:
        return name
    kind = "trunc" if have > need else "zext" if source.category in (BOOL, UNSIGNED) else "sext"
    return code.op(f"{kind} {register(source, lanes)} {name} to {register(to, lanes)}")


def _from_float(code: Code, name: str, source: dtype, to: dtype, lanes: int) -> str:
    """Truncation. Out of range (and NaN): what the x86 instruction gives, the most negative number of the
    type converted through (int32 for the small ones, as C compilers do), then the low bits."""
    through = int64 if to is int64 or to.category == UNSIGNED else int32
    t, bits = register(source, lanes), 8 * through.itemsize
    limit = constant(float(1 << (bits - 1)), source, lanes)
    low = constant(-float(1 << (bits - 1)), source, lanes)
    mask = vector("i1", lanes)
    below = code.op(f"fcmp olt {t} {name}, {limit}")
    above = code.op(f"fcmp oge {t} {name}, {low}")
    fine = code.op(f"and {mask} {below}, {above}")
    raw = code.op(f"fptosi {t} {name} to {register(through, lanes)}")
    frozen = code.op(f"freeze {register(through, lanes)} {raw}")
    whole = vector(element(through), lanes)
    least = constant(-(1 << (bits - 1)), through, lanes)
    out = code.op(f"select {mask} {fine}, {whole} {frozen}, {whole} {least}")
    if to is through or to.itemsize == through.itemsize:
        return out
    return code.op(f"trunc {whole} {out} to {register(to, lanes)}")
