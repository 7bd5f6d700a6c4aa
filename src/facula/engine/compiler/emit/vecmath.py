"""Vectorised math functions as LLVM IR: exp, sin, erf, pow ... for float and double lanes.

`emit_math` puts a function's definition into the module, once, and calls it. The formulas are in vecmath_exp,
_log, _trig, _pow, _special and _exact, written with vecmath_lanes; the polynomials in vecmath_coefficients come
from tools/vecmath_coefficients.py. Errors are at most 2 ulp over the whole range, denormals included, and special
values are those of C99 (tests/test_vecmath.py measures). A lane's bits depend neither on the number of lanes nor
on the other lanes.

Needs LLVM 20 (llvmlite 0.45) or newer: constants are written with `splat`, and intrinsics are not declared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from facula.engine.compiler.emit import (
    vecmath_exact, vecmath_exp, vecmath_log, vecmath_pow, vecmath_special, vecmath_trig,
)
from facula.engine.compiler.emit.module import Code, Module
from facula.engine.compiler.emit.vecmath_lanes import Kind, Lanes, Value

# Small functions are inlined: their constants then stay in registers around the caller's loop. The others would
# cost more time to compile at every use than a call costs to run.
_INLINE: dict[str, Callable[..., Value]] = {
    "exp": vecmath_exp.exp, "exp2": vecmath_exp.exp2, "expm1": vecmath_exp.expm1, "tanh": vecmath_exp.tanh,
    "log": vecmath_log.log, "log2": vecmath_log.log2, "log10": vecmath_log.log10, "log1p": vecmath_log.log1p,
    "sin": vecmath_trig.sin, "cos": vecmath_trig.cos, "erf": vecmath_special.erf,
    "rsqrt": vecmath_exact.rsqrt, "fmod": vecmath_exact.fmod, "remainder": vecmath_exact.remainder,
    "nextafter": vecmath_exact.nextafter, "random_bits": vecmath_exact.random_bits,
}
_CALLED: dict[str, Callable[..., Value]] = {
    "pow": vecmath_pow.pow, "fmod_steps": vecmath_exact.fmod_steps,
}
_FORMULAS = _INLINE | _CALLED
_TWO_ARGUMENTS = frozenset(("pow", "fmod", "fmod_steps", "remainder", "nextafter", "hypot", "atan2", "random_bits"))

MATH_FUNCTIONS = frozenset(_FORMULAS) - {"fmod_steps"}


def emit_math(code: Code, fn: str, dtype: str, lanes: int, args: Sequence[str]) -> str:
    """Call the math function `fn` on values of `lanes` elements; returns the name of the result.

    `dtype` is "float" or "double"; for "random_bits" it is not looked at, all is i64. One lane means the scalar
    type. KeyError if there is no such function.
    """
    if fn == "random_bits":
        dtype = "double"
    for key, text in _definitions(fn, dtype, lanes).items():
        code.module.declare(key, text)
    t = _element(fn, dtype, lanes)
    return code.op(f"call {t} @{_name(fn, dtype, lanes)}({', '.join(f'{t} {a}' for a in args)})")


def _element(fn: str, dtype: str, lanes: int) -> str:
    element = "i64" if fn == "random_bits" else dtype
    return element if lanes == 1 else f"<{lanes} x {element}>"


def _name(fn: str, dtype: str, lanes: int) -> str:
    return f"vecmath_{fn}_{'f32' if dtype == 'float' else 'f64'}x{lanes}"


@functools.cache
def _definitions(fn: str, dtype: str, lanes: int) -> Mapping[str, str]:
    """The text of the function and of what it calls. Callees come first."""
    module = Module()
    code = Code(module)
    b = Lanes(code, dtype, lanes, emit_math)
    kind: Kind = "int" if fn == "random_bits" else "real"
    parameters = ["%x", "%y"][:2 if fn in _TWO_ARGUMENTS else 1]
    result = _FORMULAS[fn](b, *(Value(b, p, kind) for p in parameters))
    t = _element(fn, dtype, lanes)
    bits = min(512, max(128, lanes * b.bits))
    attributes = "alwaysinline" if fn in _INLINE else "noinline"
    # without the widths LLVM splits 512-bit vectors in two on some processors
    attributes += f' nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'
    name = _name(fn, dtype, lanes)
    signature = ", ".join(f"{t} {p}" for p in parameters)
    module.declare(name, "\n".join([
        f"define internal {t} @{name}({signature}) {attributes} {{", "entry:",
        *code.lines, f"  ret {t} {result.text}", "}"]))
    return module.definitions
