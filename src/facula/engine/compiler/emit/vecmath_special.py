"""The error function (and, in time, its relatives)."""

from __future__ import annotations

from facula.engine.compiler.emit import vecmath_coefficients as c
from facula.engine.compiler.emit.vecmath_exp import reduce
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value


def erf(b: Lanes, x: Value) -> Value:
    """x + x P(x**2) below 1; above, 1 - exp(-Q(x)) with Q fitted to -log(erfc)."""
    a = b.at_most(b.abs(x), b.pick(3.95, 5.95))  # 1 to the last bit from there on
    square = a * a
    small = b.fma(a, b.polynomial(square, c.ERF_SMALL_F32 if b.single else c.ERF_SMALL_F64), a)
    q = b.polynomial(a, c.ERF_LARGE_F32 if b.single else c.ERF_LARGE_F64)
    r, k = reduce(b, -q, b.bias)
    power = b.from_bits(k << b.mantissa)
    e = b.fma(r * r, b.polynomial(r, c.EXP_F32 if b.single else c.EXP_F64), r) + 1.0
    large = b.fma(-e, power, 1.0)
    return b.copysign(b.select(a < 1.0, small, b.select(a.isnan(), a, large)), x)
