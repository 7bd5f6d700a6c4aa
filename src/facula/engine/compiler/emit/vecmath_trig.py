"""sin, cos and tan, right for every argument.

    |x| = n pi + r,  |r| <= pi/2,   sin(x) = (-1)**n sin(r)

One odd polynomial in r serves (cos is sin a quarter turn on: n half-integer), so there is nothing to select.
Up to a limit pi in three parts is enough (Cody & Waite; with fma the first subtraction is exact). Beyond it:
float32 goes through float64; float64 multiplies by 1/pi in 192 bits, only the bits that matter (Payne &
Hanek, Radian reduction for trigonometric functions, 1983), one lane at a time, behind one branch.
"""

from __future__ import annotations

import math

from facula.engine.compiler.emit import vecmath_coefficients as c
from facula.engine.compiler.emit.module import Code, Module
from facula.engine.compiler.emit.vecmath_exp import magic
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value

# the largest |x| of the three-part reduction: n must have so few bits that n * pi is a multiple of an ulp of
# r
_LIMIT_SINGLE = 2.0 ** 17
_LIMIT_DOUBLE = 2.0 ** 28


def _turns(b: Lanes, a: Value, parity: int, quarter: bool) -> tuple[Value, Value]:
    """(n, k): the multiple of pi (pi / 2 with parity 2) nearest to a, and it as an integer in k's low bits.
    """
    factor = (c.INVERSE_PI_F32 if b.single else c.INVERSE_PI_F64)[0] * parity
    if quarter:  # a = (n - 1/2) pi + r
        shifted = b.fma(a, factor, 0.5) + magic(b, 0)
        return shifted - magic(b, 0) - 0.5, b.bits_of(shifted)
    shifted = b.fma(a, factor, magic(b, 0))
    return shifted - magic(b, 0), b.bits_of(shifted)


def _reduce(b: Lanes, a: Value, parity: int, quarter: bool) -> tuple[Value, Value, Value]:
    """(r, low, k) for a = |x|: the remainder in two parts and the number of turns, in k's low bits."""
    n, k = _turns(b, a, parity, quarter)
    high, middle, last = (part / parity for part in (c.PI_F32 if b.single else c.PI_F64))
    first = b.fma(n, -high, a)  # exact
    if b.single and parity == 1:
        return b.fma(n, -last, b.fma(n, -middle, first)), b.real(0.0), k
    product = n * middle
    r = first - product
    # what the roundings of product and r lost, and the third part. (Not fma(n, -middle, first - r): where
    # first and product cancel, first - r does not fit.)
    lost = ((first - r) - product) - b.fma(n, middle, -product)
    low = b.fma(n, -last, lost)
    if b.single:
        return r, low, k
    large, turns = a > _LIMIT_DOUBLE, k

    def rare() -> tuple[Value, Value, Value]:
        return _each_lane_large(b, a, parity, quarter)

    r, low, k = b.rarely(large, (r, low, turns), rare)
    return r, low, k


def sin_polynomial(b: Lanes, r: Value, low: Value) -> Value:
    square = r * r
    q = b.polynomial(square, c.SIN_F32 if b.single else c.SIN_F64)
    rest = square * q
    if b.single:
        return b.fma(rest, r, r)
    # sin(r + low) = sin(r) + low cos(r); a parabola with cosine's top and zeros will do for the cosine
    correction = b.fma(low * square, -4.0 / math.pi ** 2, low)
    return r + b.fma(rest, r, correction)


def _sin_of_turn(b: Lanes, x: Value, quarter: bool) -> Value:
    a = b.abs(x)
    r, low, k = _reduce(b, a, 1, quarter)
    sign = k << (b.bits - 1)
    if not quarter:  # sin is odd; of |x| the sign of zero comes out right, too
        sign = sign ^ (b.bits_of(x) & -(1 << (b.bits - 1)))
    y = b.from_bits(b.bits_of(sin_polynomial(b, r, low)) ^ sign)
    if not b.single:
        return y
    name = "cos" if quarter else "sin"
    return b.rarely(a > _LIMIT_SINGLE, (y,), lambda: (b.narrow(b.double().call(name, b.widen(x))),))[0]


def sin(b: Lanes, x: Value) -> Value:
    return _sin_of_turn(b, x, quarter=False)


def cos(b: Lanes, x: Value) -> Value:
    return _sin_of_turn(b, x, quarter=True)


def tan(b: Lanes, x: Value) -> Value:
    """tan(r), or -1/tan(r) after an odd number of quarter turns. float64: sin / cos, which is one division,
    too.
    """
    a = b.abs(x)
    r, low, k = _reduce(b, a, 2, quarter=False)
    odd = (k & 1).ne(0)
    square = r * r
    if b.single:
        # tan(r + low) = tan(r) + low (1 + r**2 + ...)
        t = r + b.fma(square * r, b.polynomial(square, c.TAN_F32), b.fma(low, square, low))
        above, below = b.select(odd, -1.0, t), b.select(odd, t, b.real(1.0))
    else:
        sine = sin_polynomial(b, r, low)
        # 1 - r**2/2 in two parts (Dekker), so that the cosine is rounded once
        half = square * 0.5
        one = 1.0 - half
        rest = ((1.0 - one) - half) + b.fma(square * square, b.polynomial(square, c.COS_F64), -(r * low))
        cosine = one + rest
        above, below = b.select(odd, -cosine, sine), b.select(odd, sine, cosine)
    y = above / below
    y = b.from_bits(b.bits_of(y) ^ (b.bits_of(x) & -(1 << (b.bits - 1))))
    if not b.single:
        return y
    return b.rarely(a > _LIMIT_SINGLE, (y,), lambda: (b.narrow(b.double().call("tan", b.widen(x))),))[0]


# --- arguments beyond the three-part reduction

def _each_lane_large(b: Lanes, a: Value, parity: int, quarter: bool) -> tuple[Value, Value, Value]:
    """Payne and Hanek's reduction of every lane of a > 1, one after the other."""
    code = b.code
    _define_large(code.module)
    flags = f"i64 {int(parity == 2)}, i64 {int(quarter)}"
    result = "{ double, double, i64 }"
    if b.lanes == 1:
        found = code.op(f"call {result} @vecmath_reduce_large(double {a.text}, {flags})")
        parts = [code.op(f"extractvalue {result} {found}, {i}") for i in range(3)]
    else:
        real, whole = b.type("real"), b.type("int")
        before, loop, done = code.current, code.label("lane"), code.label("lanes_done")
        code.do(f"br label %{loop}")
        code.start(loop)
        names = [code.fresh("next") for _ in range(4)]
        i = code.op(f"phi i64 [0, %{before}], [{names[3]}, %{loop}]")
        vectors = [code.op(f"phi {t} [zeroinitializer, %{before}], [{n}, %{loop}]")
                   for t, n in zip((real, real, whole), names, strict=False)]
        x = code.op(f"extractelement {real} {a.text}, i64 {i}")
        found = code.op(f"call {result} @vecmath_reduce_large(double {x}, {flags})")
        for j, (t, e) in enumerate(((real, "double"), (real, "double"), (whole, "i64"))):
            part = code.op(f"extractvalue {result} {found}, {j}")
            code.do(f"{names[j]} = insertelement {t} {vectors[j]}, {e} {part}, i64 {i}")
        code.do(f"{names[3]} = add i64 {i}, 1")
        more = code.op(f"icmp ult i64 {names[3]}, {b.lanes}")
        code.do(f"br i1 {more}, label %{loop}, label %{done}")
        code.start(done)
        parts = names[:3]
    r, low, k = Value(b, parts[0], "real"), Value(b, parts[1], "real"), Value(b, parts[2], "int")
    return r + (a - a), low, k  # inf - inf = nan: sin(inf) = nan


def _define_large(module: Module) -> None:
    """`{r, low, turns} @vecmath_reduce_large(a, halves, quarter)` for finite a >= 2**27.

    a = M 2**E with an integer M of 53 bits. Bits of 1/pi worth 2**(1 - E) or more only contribute even
    numbers of turns, so the product M * (192 bits of 1/pi from there on) modulo 2**192, in units of 2**-191,
    is a/pi modulo 2. No double is nearer to a multiple of pi/2 than about 2**-61, so 128 bits of the
    fraction keep 66.
    """
    name = "vecmath_reduce_large"
    if name in module.definitions:
        return
    words = c.INVERSE_PI_WORDS
    rows = ", ".join(f"i64 {word - (word >> 63 << 64)}" for word in words)
    module.declare("vecmath_inverse_pi",
                   f"@vecmath_inverse_pi = private unnamed_addr constant [{len(words)} x i64] [{rows}]")
    code = Code(module)

    op = code.op
    bits = op("bitcast double %a to i64")
    exponent = op(f"lshr i64 {bits}, 52")
    fraction = op(f"and i64 {bits}, {(1 << 52) - 1}")
    mantissa = op(f"or i64 {fraction}, {1 << 52}")
    offset = op(f"sub i64 {exponent}, {1075 - 63}")  # E + 63: where the window starts in the table
    index = op(f"lshr i64 {offset}, 6")
    shift = op(f"and i64 {offset}, 63")
    loaded = []
    for j in range(4):
        place = op(f"add i64 {index}, {j}")
        # inf and nan come here, too: don't let them read behind the table
        place = op(f"call i64 @llvm.umin.i64(i64 {place}, i64 {len(words) - 1})")
        pointer = op(f"getelementptr i64, ptr @vecmath_inverse_pi, i64 {place}")
        loaded.append(op(f"load i64, ptr {pointer}"))
    window = []
    for upper, lower in zip(loaded, loaded[1:], strict=False):
        window.append(op(f"call i64 @llvm.fshl.i64(i64 {upper}, i64 {lower}, i64 {shift})"))
    wide_mantissa = op(f"zext i64 {mantissa} to i128")
    carry = "0"
    products = []  # 128 bits each, the lowest word first; what is above 64 of them is carried on
    for word in reversed(window):
        wide = op(f"zext i64 {word} to i128")
        product = op(f"mul i128 {wide_mantissa}, {wide}")
        products.append(op(f"add i128 {product}, {carry}"))
        carry = op(f"lshr i128 {products[-1]}, 64")
    upper = op(f"shl i128 {products[2]}, 64")
    lower = op(f"and i128 {products[1]}, {(1 << 64) - 1}")
    turns = op(f"or i128 {upper}, {lower}")  # a / pi modulo 2, in units of 2**-127
    # half turns of pi for tan; a quarter of the circle on for cos
    double = op("zext i64 %halves to i128")
    turns = op(f"shl i128 {turns}, {double}")
    quarter = op("zext i64 %quarter to i128")
    ahead = op(f"shl i128 {quarter}, 126")
    turns = op(f"add i128 {turns}, {ahead}")
    nearest = op(f"add i128 {turns}, {1 << 126}")
    nearest = op(f"lshr i128 {nearest}, 127")
    parity = op(f"trunc i128 {nearest} to i64")
    fraction = op(f"shl i128 {turns}, 1")  # signed, in units of 2**-128 turns
    size = op(f"call i128 @llvm.abs.i128(i128 {fraction}, i1 false)")
    zeros = op(f"call i128 @llvm.ctlz.i128(i128 {size}, i1 false)")
    zeros = op(f"and i128 {zeros}, 127")
    size = op(f"shl i128 {size}, {zeros}")
    high = op(f"lshr i128 {size}, 75")
    high = op(f"trunc i128 {high} to i64")
    low = op(f"shl i128 {size}, 53")
    low = op(f"lshr i128 {low}, 75")
    low = op(f"trunc i128 {low} to i64")
    # the fraction is (high + low * 2**-53) * 2**(-53 - zeros)
    zeros = op(f"trunc i128 {zeros} to i64")
    power = op(f"sub i64 {1023 - 53}, {zeros}")
    power = op(f"shl i64 {power}, 52")
    unit = op(f"bitcast i64 {power} to double")
    backwards = op(f"icmp slt i128 {fraction}, 0")
    negated = op(f"fneg double {unit}")
    unit = op(f"select i1 {backwards}, double {negated}, double {unit}")
    halved = op(f"fmul double {unit}, 0.5")
    is_half = op("icmp ne i64 %halves, 0")
    unit = op(f"select i1 {is_half}, double {halved}, double {unit}")
    high = op(f"uitofp i64 {high} to double")
    low = op(f"uitofp i64 {low} to double")
    b = Lanes(code, "double", 1, _no_calls)
    h = Value(b, high, "real") * Value(b, unit, "real")
    rest = Value(b, low, "real") * 2.0 ** -53 * Value(b, unit, "real")
    main = h * c.PI_F64[0]
    rest = b.fma(h, c.PI_F64[0], -main) + b.fma(h, c.PI_F64[1], rest * c.PI_F64[0])
    result = "{ double, double, i64 }"
    packed = op(f"insertvalue {result} poison, double {main.text}, 0")
    packed = op(f"insertvalue {result} {packed}, double {rest.text}, 1")
    packed = op(f"insertvalue {result} {packed}, i64 {parity}, 2")
    code.do(f"ret {result} {packed}")
    module.declare(name, "\n".join([
        f"define internal {result} @{name}(double %a, i64 %halves, i64 %quarter) noinline nounwind {{",
        "entry:", *code.lines, "}"]))


def _no_calls(*_: object) -> str:
    raise AssertionError("this body calls no other function")
