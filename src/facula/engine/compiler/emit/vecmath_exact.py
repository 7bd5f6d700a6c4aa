"""Functions with exact or correctly composed results: fmod, remainder, rsqrt, nextafter, hypot, random bits.
"""

from __future__ import annotations

from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value

INF = float("inf")


def rsqrt(b: Lanes, x: Value) -> Value:
    return 1.0 / b.sqrt(x)


def fmod(b: Lanes, x: Value, y: Value) -> Value:
    """C's fmod, exact: x - trunc(x/y) y with x's sign.

    With q the rounded quotient's whole part the fma x - q y is exact (the difference needs no more bits than
    y has). A q that is one too large shows as a negative difference. Larger quotients take several steps, in
    a loop that vectors of ordinary numbers never enter.
    """
    a, d = b.abs(x), b.abs(y)
    q = b.trunc(a / d)
    r = b.select(q.eq(0.0), a, b.fma(-q, d, a))  # q = 0 apart, for infinite d
    # `not (q < limit)` is also true of 0/0, inf/d, NaN
    r = b.rarely(~(q < 2.0 ** b.mantissa), (r,), lambda: (b.call("fmod_steps", a, d),))[0]
    return b.copysign(b.select(r < 0.0, r + d, r), x)


def fmod_steps(b: Lanes, a: Value, d: Value) -> Value:
    """a modulo d, between -d and d, for any a, d >= 0: long division with digits of a whole significand.

    Each step takes q, the quotient rounded to the format, off: at most half an ulp of q times d is left,
    which is a number of the format again. d is scaled up where the quotient would overflow. 13 steps at most
    in float32, 42 in float64.
    """
    code = b.code
    # the largest quotient is 2**277 (2**2098); two scales keep it below 2**97 (2**700)
    scale = 2.0 ** (90 if b.single else 700)
    d1 = d * scale
    d2 = d1 * scale
    before, loop, done = code.current, code.label("step"), code.label("divided")
    code.do(f"br label %{loop}")
    code.start(loop)
    r = b.new("", "real")  # a phi of what is not written yet
    slot = len(code.lines) - 1
    size = b.abs(r)
    divisor = b.select(size >= d2, d2, b.select(size >= d1, d1, d))
    q = b.trunc(r / divisor)
    rest = b.select(q.eq(0.0), r, b.fma(-q, divisor, r))
    code.lines[slot] = f"  {r.text} = phi {b.type('real')} [{a.text}, %{before}], [{rest.text}, %{loop}]"
    more = b.any(b.abs(rest) >= d)  # NaN (of d = 0, a = inf) ends it, too
    code.do(f"br i1 {more}, label %{loop}, label %{done}")
    code.start(done)
    return rest


def remainder(b: Lanes, x: Value, y: Value) -> Value:
    """Python's %: fmod moved to the divisor's sign. As in torch the sum may round: -1e-20 % 1 = 1."""
    r = b.call("fmod", x, y)
    other_sign = (b.bits_of(r) ^ b.bits_of(y)) < 0
    return b.select(other_sign & r.ne(0.0), r + y, r)


def nextafter(b: Lanes, x: Value, y: Value) -> Value:
    """Floats of one sign are ordered as their bits are."""
    bits = b.bits_of(x)
    away = (y > x) ^ (bits < 0)  # from zero
    step = b.from_bits(b.select(away, bits + 1, bits - 1))
    smallest = b.copysign(b.from_bits(b.int(1)), y)
    result = b.select(x.eq(0.0), smallest, step)
    result = b.select(x.eq(y), y, result)
    return b.select(x.isnan() | y.isnan(), x + y, result)


def random_bits(b: Lanes, counter: Value, key: Value) -> Value:
    """Word 0 of Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011).

    The block's counter is (counter's low, high word, 0, 0), its key (key's low, high word). Values are int64
    lanes holding 32 bits, which LLVM turns into the 32 x 32 -> 64 bit multiplication.
    """
    mask = 0xFFFFFFFF
    x0, x1 = counter & mask, counter.shr(32)
    x2, x3 = b.int(0), b.int(0)
    k0, k1 = key & mask, key.shr(32)
    for round_ in range(10):
        if round_:
            k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
        p0, p1 = x0 * 0xD2511F53, x2 * 0xCD9E8D57
        x0, x1, x2, x3 = p1.shr(32) ^ x1 ^ k0, p1 & mask, p0.shr(32) ^ x3 ^ k1, p0 & mask
    return x0
