"""Vectorised math functions as LLVM IR: exp, sin, erf, pow ... for float and double lanes.

`emit_math` puts a function's definition into the module, once, and calls it. The formulas are in vecmath_exp,
_log, _trig, _pow, _special and _exact, written with vecmath_lanes; the polynomials in vecmath_coefficients
come from tools/vecmath_coefficients.py. Errors are at most 2 ulp over the whole range, denormals included,
and special values are those of C99 (tests/engine/compiler/test_vecmath.py measures). A lane's bits depend neither on
the number of lanes nor on the other lanes.

Needs LLVM 20 (llvmlite 0.45) or newer: constants are written with `splat`, and intrinsics are not declared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from facula.engine.compiler.emit import (
    vecmath_exact,
    vecmath_exp,
    vecmath_inverse,
    vecmath_log,
    vecmath_pow,
    vecmath_special,
    vecmath_trig,
)
from facula.engine.compiler.emit.module import Code, Module
from facula.engine.compiler.emit.vecmath_lanes import Kind, Lanes, Value
from facula.engine.compiler.instructions import Instructions

# Small functions are inlined: their constants then stay in registers around the caller's loop. The others
# would cost more time to compile at every use than a call costs to run.
_INLINE: dict[str, Callable[..., Value]] = {
    "exp": vecmath_exp.exp, "exp2": vecmath_exp.exp2, "expm1": vecmath_exp.expm1, "tanh": vecmath_exp.tanh,
    "log": vecmath_log.log, "log2": vecmath_log.log2, "log10": vecmath_log.log10, "log1p": vecmath_log.log1p,
    "sin": vecmath_trig.sin, "cos": vecmath_trig.cos, "erf": vecmath_special.erf,
    "rsqrt": vecmath_exact.rsqrt, "fmod": vecmath_exact.fmod, "remainder": vecmath_exact.remainder,
    "nextafter": vecmath_exact.nextafter, "random_bits": vecmath_exact.random_bits,
}
_CALLED: dict[str, Callable[..., Value]] = {
    "tan": vecmath_trig.tan, "pow": vecmath_pow.pow, "hypot": vecmath_inverse.hypot,
    "asin": vecmath_inverse.asin, "acos": vecmath_inverse.acos, "atan": vecmath_inverse.atan,
    "atan2": vecmath_inverse.atan2, "sinh": vecmath_inverse.sinh, "cosh": vecmath_inverse.cosh,
    "asinh": vecmath_inverse.asinh, "acosh": vecmath_inverse.acosh, "atanh": vecmath_inverse.atanh,
    "erfc": vecmath_special.erfc, "erfinv": vecmath_special.erfinv,
}
# float32 computes these in float64: they are rarely met, and so accurate to half an ulp
_DOUBLE_ONLY: dict[str, Callable[..., Value]] = {
    "lgamma": vecmath_special.lgamma, "digamma": vecmath_special.digamma,
}
# what the others leave to a branch that is seldom taken
_PARTS: dict[str, Callable[..., Value]] = {
    "fmod_steps": vecmath_exact.fmod_steps, "log_special": vecmath_log.log_special,
    "log2_special": vecmath_log.log2_special, "log10_special": vecmath_log.log10_special,
    "log1p_special": vecmath_log.log1p_special, "erfinv_tail": vecmath_special.erfinv_tail,
    "lgamma_positive": vecmath_special.lgamma_positive, "lgamma_reflected": vecmath_special.lgamma_reflected,
    "digamma_positive": vecmath_special.digamma_positive, "digamma_reflected":
    vecmath_special.digamma_reflected,
}
_FORMULAS = _INLINE | _CALLED | _DOUBLE_ONLY | _PARTS
_TWO_ARGUMENTS = frozenset((
    "pow", "fmod", "fmod_steps", "remainder", "nextafter", "hypot", "atan2", "random_bits",
    "lgamma_reflected", "digamma_reflected"))

MATH_FUNCTIONS = frozenset(_INLINE | _CALLED | _DOUBLE_ONLY)


def emit_math(code: Code, fn: str, dtype: str, lanes: int, args: Sequence[str],
              vector_bits: int = 512) -> str:
    """Call the math function `fn` on values of `lanes` elements; returns the name of the result.

    `dtype` is "float" or "double"; for "random_bits" it is not looked at, all is i64. One lane means the
    scalar type. `vector_bits` must be the "min-legal-vector-width" of the calling function: it decides how
    LLVM passes vectors, and two functions that differ in it misunderstand each other without a word. KeyError
    if there is no such function.
    """
    if fn == "random_bits":
        dtype = "double"
    for key, text in _definitions(fn, dtype, lanes, vector_bits, code.module.table).items():
        code.module.declare(key, text)
    t = _element(fn, dtype, lanes)
    return code.op(f"call {t} @{_name(fn, dtype, lanes)}({', '.join(f'{t} {a}' for a in args)})")


def _element(fn: str, dtype: str, lanes: int) -> str:
    element = "i64" if fn == "random_bits" else dtype
    return element if lanes == 1 else f"<{lanes} x {element}>"


def _name(fn: str, dtype: str, lanes: int) -> str:
    return f"vecmath_{fn}_{'f32' if dtype == 'float' else 'f64'}x{lanes}"


@functools.cache
def _definitions(fn: str, dtype: str, lanes: int, vector_bits: int, table: Instructions) -> Mapping[str, str]:
    """The text of the function and of what it calls. Callees come first."""
    module = Module(table)
    code = Code(module)
    b = Lanes(code, dtype, lanes, functools.partial(emit_math, vector_bits=vector_bits))
    kind: Kind = "int" if fn == "random_bits" else "real"
    parameters = ["%x", "%y"][:2 if fn in _TWO_ARGUMENTS else 1]
    arguments = [Value(b, p, kind) for p in parameters]
    if b.single and fn in _DOUBLE_ONLY:
        result = b.narrow(b.double().call(fn, *map(b.widen, arguments)))
    else:
        result = _FORMULAS[fn](b, *arguments)
    t = _element(fn, dtype, lanes)
    attributes = "alwaysinline" if fn in _INLINE else "noinline"
    # without the widths LLVM splits 512-bit vectors in two on some processors
    width = f'"prefer-vector-width"="{vector_bits}" "min-legal-vector-width"="{vector_bits}"'
    name = _name(fn, dtype, lanes)
    signature = ", ".join(f"{t} {p}" for p in parameters)
    module.declare(name, "\n".join([
        f"define internal {t} @{name}({signature}) {attributes} nounwind {width} {{", "entry:",
        *code.lines, f"  ret {t} {result.text}", "}"]))
    return module.definitions
