"""Generates src/facula/engine/compiler/emit/vecmath_coefficients.py: `python tools/vecmath_coefficients.py`.

Every polynomial of the vector math functions, as a minimax fit with the weight that makes its error relative
to the function's value (see minimax.py). Give names to see single entries: `... EXP ERF_SMALL`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath
from minimax import identity, minimax, mp, one, rounded

m = mpmath
LN2 = m.log(2)
THIRD = m.mpf(1) / 3
HALF = m.mpf(1) / 2


def square(x: Any) -> Any:
    return x * x


@dataclass
class Entry:
    """One polynomial: what is fitted, where, relative to what; and its length in float32 and float64."""

    text: str  # how a reader would write it
    target: Callable[[Any], Any]
    interval: tuple[Any, Any]
    weight: Callable[[Any], Any] = one
    variable: Callable[[Any], Any] = identity
    single: int = 0  # number of coefficients, 0: not generated
    double: int = 0
    careful: int = 4
    pair: bool = False  # the first coefficient in two parts: its rounding would be half an ulp of the result


def _exp2_rest(r: Any) -> Any:
    return (m.mpf(2) ** r - 1) / r


def _log_rest(r: Any) -> Any:
    return (m.log1p(r) - r + r * r / 2) / r ** 3


def _atanh_rest(s: Any) -> Any:
    return (2 * m.atanh(s) - 2 * s) / s ** 3


def _scaled_erfc(t: Any) -> Any:
    x = (1 + t) / (1 - t) * m.mpf("3.75")
    return (1 + 2 * x) * m.exp(x * x) * m.erfc(x)


def _erfinv_ratio(w: Any) -> Any:
    """erfinv(x) / x where w = -log(1 - x**2), by Newton's steps from a float's worth."""
    x = m.sqrt(-m.expm1(-w))
    if w < 3:
        return m.erfinv(x) / x
    rest = -m.expm1(m.log1p(-m.exp(-w)) / 2)  # 1 - x
    y = m.sqrt(w - m.log(w * m.pi) / 2)
    for _ in range(9):
        y += (m.erfc(y) - rest) / (2 / m.sqrt(m.pi) * m.exp(-y * y))
    return y / x


def _digamma_zero() -> Any:
    return m.findroot(m.digamma, m.mpf("1.4616321449683623"))


HALF_LN2 = LN2 / 2 * m.mpf("1.0001")
S_MAX = (m.sqrt(2) - 1) / (m.sqrt(2) + 1) * m.mpf("1.0001")
HALF_PI = m.pi / 2 * m.mpf("1.0001")

ENTRIES: dict[str, Entry] = {
    "EXP": Entry("(exp(r) - 1 - r) / r**2, |r| <= log(2)/2", lambda r: (m.exp(r) - 1 - r) / r ** 2,
                 (-HALF_LN2, HALF_LN2), lambda r: r ** 2 / m.exp(r), single=5, double=10),
    "EXPM1": Entry("(expm1(r) - r) / r**2, |r| <= log(2)/2, relative to expm1",
                   lambda r: (m.expm1(r) - r) / r ** 2, (-HALF_LN2, HALF_LN2),
                   lambda r: abs(r ** 2 / m.expm1(r)), single=6, double=11),
    "EXP2": Entry("(2**r - 1) / r, |r| <= 1/2", _exp2_rest, (-HALF, HALF),
                  lambda r: abs(r / 2 ** r),
                  single=6, double=11),
    "LOG_SINGLE": Entry("(log(1+r) - r + r**2/2) / r**3, |r| <= 1/3, relative to log(1+r)", _log_rest,
                        (-THIRD, THIRD), lambda r: r ** 3 / m.log1p(r), single=9),
    "LOG_DOUBLE": Entry("(log((1+s)/(1-s)) - 2 s) / s**3 in z = s**2, |s| <= 0.1716", _atanh_rest, (0, S_MAX),
                        lambda s: s ** 3 / (2 * m.atanh(s)), square, double=7),
    # pow in float32 computes through double; these need 36 and 31 bits only
    "POW_LOG2": Entry("log2(1+r) / r, |r| <= 1/3", lambda r: m.log(1 + r, 2) / r, (-THIRD, THIRD),
                      lambda r: r / m.log(1 + r, 2), double=13),
    "POW_EXP2": Entry("2**r, |r| <= 1/2", lambda r: m.mpf(2) ** r, (-m.mpf(1) / 2, m.mpf(1) / 2),
                      lambda r: 1 / m.mpf(2) ** r, double=7),
    # pow in float64: log((1+s)/(1-s)) = 2 s + 2/3 s**3 + s**5 * this, |s| <= 0.1716
    "POW_LOG": Entry("(log((1+s)/(1-s)) - 2 s - 2/3 s**3) / s**5 in z = s**2, |s| <= 0.1716",
                     lambda s: (2 * m.atanh(s) - 2 * s - 2 * s ** 3 / 3) / s ** 5, (0, S_MAX),
                     lambda s: s ** 5 / (2 * m.atanh(s)), square, double=8),
    "SIN": Entry("(sin(r) - r) / r**3 in r**2, |r| <= pi/2", lambda r: (m.sin(r) - r) / r ** 3, (0, HALF_PI),
                 lambda r: r ** 3 / m.sin(r), square, single=4, double=8),
    # tan = sin / cos in float64, |r| <= pi/4; a polynomial of its own in float32
    "COS": Entry("(cos(r) - 1 + r**2/2) / r**4 in r**2, |r| <= pi/4",
                 lambda r: (m.cos(r) - 1 + r * r / 2) / r ** 4, (0, HALF_PI / 2), lambda r: r ** 4 / m.cos(r),
                 square, double=6),
    "TAN": Entry("(tan(r) - r) / r**3 in r**2, |r| <= pi/4", lambda r: (m.tan(r) - r) / r ** 3,
                 (0, HALF_PI / 2), lambda r: r ** 3 / m.tan(r), square, single=7),
    "ASIN": Entry("(asin(x) - x) / x**3 in x**2, |x| <= 1/2", lambda x: (m.asin(x) - x) / x ** 3, (0, 0.5),
                  lambda x: x ** 3 / m.asin(x), square, single=5, double=12),
    "ATAN": Entry("(atan(x) - x) / x**3 in x**2, |x| <= 1", lambda x: (m.atan(x) - x) / x ** 3, (0, 1),
                  lambda x: x ** 3 / m.atan(x), square, single=9, double=20),
    "COSH": Entry("(cosh(r) - 1) / r**2 in r**2, |r| <= log(2)/2", lambda r: (m.cosh(r) - 1) / r ** 2,
                  (0, HALF_LN2), lambda r: r ** 2, square, single=3, double=5),
    "SINH": Entry("(sinh(r) - r) / r**3 in r**2, |r| <= log(2)/2", lambda r: (m.sinh(r) - r) / r ** 3,
                  (0, HALF_LN2), lambda r: r ** 2, square, single=3, double=6),
    "ERFC": Entry("(1 + 2 x) exp(x**2) erfc(x) in t = (x - 3.75) / (x + 3.75), 0 <= x <= 27.3\n# (Shepherd & "
                  "Laframboise, Chebyshev approximation of (1 + 2 x) exp(x^2) erfc x, 1981)",
                  _scaled_erfc, (-1, m.mpf("0.7585")), lambda t: 1 / _scaled_erfc(t),
                  single=12, double=24, pair=True),
    "ERFINV_CENTRE": Entry("erfinv(x) / x in w - 3.125, w = -log(1 - x**2) <= 6.25\n# (variables as in "
                           "Giles, Approximating the erfinv function, 2011)",
                           _erfinv_ratio, (m.mpf("1e-30"), m.mpf("6.26")), lambda w: 1 / _erfinv_ratio(w),
                           lambda w: w - m.mpf("3.125"), single=11, double=24),
    "ERFINV_MIDDLE": Entry("erfinv(x) / x in sqrt(w) - 3.25, 6.25 <= w <= 16", lambda v: _erfinv_ratio(v * v),
                           (m.mpf("2.49"), 4), lambda v: 1 / _erfinv_ratio(v * v),
                           lambda v: v - m.mpf("3.25"), single=9, double=21),
    "ERFINV_TAIL": Entry("erfinv(x) / x in sqrt(w) - 5, 16 <= w <= 37", lambda v: _erfinv_ratio(v * v),
                         (m.mpf("3.99"), m.mpf("6.1")), lambda v: 1 / _erfinv_ratio(v * v), lambda v: v - 5,
                         double=20),
    "LGAMMA": Entry("lgamma(2 + z) / z, -3/4 <= z <= 1/2", lambda z: m.loggamma(2 + z) / z,
                    (-HALF * 3 / 2, HALF),
                    lambda z: z / m.loggamma(2 + z), double=23),
    "STIRLING": Entry("(lgamma(x) - (x - 1/2) (log(x) - 1) - (log(2 pi) - 1)/2) x in "
                      "1/x**2,\n# x >= 8, absolute",
                      lambda u: (m.loggamma(1 / u) - (1 / u - HALF) * (m.log(1 / u) - 1)
                                 - (m.log(2 * m.pi) - 1) / 2) / u, (m.mpf("1e-7"), m.mpf(1) / 8), lambda u: u,
                      square, double=7),
    "DIGAMMA": Entry("digamma(x) / (x - x0) in x - 1.5, 1 <= x <= 2, x0 the zero of digamma",
                     lambda x: m.digamma(x) / (x - _digamma_zero()), (1, 2),
                     lambda x: (x - _digamma_zero()) / m.digamma(x), lambda x: x - m.mpf("1.5"), double=22),
    "DIGAMMA_LARGE": Entry("(log(x) - 1/(2 x) - digamma(x)) x**2 in 1/x**2, x >= 8, absolute",
                           lambda u: (m.log(1 / u) - u / 2 - m.digamma(1 / u)) / u ** 2,
                           (m.mpf("1e-7"), m.mpf(1) / 8), lambda u: u ** 2, square, double=8),
    "ERF_SMALL": Entry("erf(x)/x - 1 in x**2, |x| <= 1", lambda x: m.erf(x) / x - 1, (0, 1),
                       lambda x: x / m.erf(x), square, single=7, double=13),
    "ERF_LARGE": Entry("-log(erfc(x)), 1 <= x <= 6, relative to erf", lambda x: -m.log(m.erfc(x)),
                       (1, m.mpf("5.95")), lambda x: m.erfc(x) / m.erf(x), double=18),
}


def parts(value: Any, *widths: int) -> list[float]:
    """`value` as an unevaluated sum of numbers of so many bits each, the largest first."""
    found = []
    for bits in widths:
        found.append(rounded(value, bits))
        value = value - found[-1]
    return [float(part) for part in found]


def generate(name: str, entry: Entry) -> str:
    lines = []
    for suffix, count, bits in (("F32", entry.single, 24), ("F64", entry.double, 53)):
        if not count:
            continue
        mp.dps = 50
        started = time.perf_counter()
        interval = entry.interval
        coefficients, worst = minimax(entry.target, count, interval, entry.weight, entry.variable, bits,
                                      entry.careful, 106 if entry.pair else bits)
        if entry.pair:
            coefficients[:1] = parts(coefficients[0], bits, bits)
        seconds = time.perf_counter() - started
        print(f"{name}_{suffix}: 2**{math.log2(worst):.1f}  {seconds:.1f} s", file=sys.stderr)
        lines.append(f"# {entry.text}: error 2**{math.log2(worst):.1f}")
        lines.append(f"{name}_{suffix} = (")
        lines.extend(f"    {float(c)!r}," for c in coefficients)
        lines.append(")")
    return "\n".join(lines)


# constants in several parts: (what, value, widths in float32, widths in float64)
CONSTANTS: dict[str, tuple[str, Callable[[], Any], tuple[int, ...], tuple[int, ...]]] = {
    "LN2": ("log(2)", lambda: m.log(2), (24, 24), (53, 53)),
    "INVERSE_LN2": ("1/log(2)", lambda: 1 / m.log(2), (24, 24), (53, 53)),
    "INVERSE_LN10": ("1/log(10)", lambda: 1 / m.log(10), (24, 24), (53, 53)),
    # times an exponent (9 or 11 bits) the first part is exact
    "LOG10_2": ("log10(2)", lambda: m.log10(2), (15, 24), (42, 53)),
    "PI": ("pi", lambda: +m.pi, (24, 24, 24), (53, 53, 53)),
    "HALF_LOG_2PI": ("(log(2 pi) - 1) / 2", lambda: (m.log(2 * m.pi) - 1) / 2, (24, 24), (53, 53)),
    "DIGAMMA_ZERO": ("the positive zero of digamma", _digamma_zero, (24, 24), (53, 53)),
    "INVERSE_PI": ("1/pi", lambda: 1 / m.pi, (24, 24), (53, 53)),
}


def generate_constant(name: str) -> str:
    text, value, single, double = CONSTANTS[name]
    mp.dps = 80
    rows = [f"# {text}"]
    for suffix, widths in (("F32", single), ("F64", double)):
        rows.append(f"{name}_{suffix} = ({', '.join(map(repr, parts(value(), *widths)))})")
    return "\n".join(rows)


def generate_table() -> str:
    """1/pi as 64-bit words, behind one word of zeros, for Payne and Hanek's reduction (vecmath_trig.py)."""
    mp.prec = 1600
    bits = int(m.floor(m.ldexp(1 / m.pi, 64 * 21)))
    words = [0] + [bits >> (64 * (20 - i)) & (2 ** 64 - 1) for i in range(21)]
    rows = [f"# {generate_table.__doc__}", "INVERSE_PI_WORDS = ("]
    return "\n".join(rows + [f"    0x{word:016X}," for word in words] + [")"])


def _exact_point(near: Any, function: Callable[[Any], Any], inverse: Callable[[Any], Any]) -> Any:
    """A float near `near` whose value is a float, too, but for a few bits beyond (Gal & Bachelis, An accurate
    elementary mathematical library for the IEEE floating point standard, 1991)."""
    def miss(x: Any) -> Any:
        return abs(rounded(function(x), 24) / function(x) - 1)

    start = rounded(near, 24)
    ulp = m.ldexp(1, int(m.frexp(start)[1]) - 24)
    candidates = [start + j * ulp for j in range(-2000, 2001)]
    return min([*candidates, rounded(inverse(rounded(function(start), 24)), 24)], key=miss)


PIECES = 16  # entries of a table in one register
ERF_STEPS, ERF_LIMIT = 3.9, 3.95  # pieces to 1; beyond the limit erf is 1


def generate_pieces() -> str:
    """erf in 16 pieces, the k-th about the point c nearest to k / ERF_STEPS: erf(c + t) = erf(c) + t P(t), in the
    first one t + t P(t). Rows: c, erf(c), then the coefficients of P, each for k = 0..15"""
    mp.dps = 50
    rows, worst = [], 0.0
    for k in range(PIECES):
        c = _exact_point(m.mpf(k) / ERF_STEPS, m.erf, m.erfinv) if k else m.mpf(0)
        value = rounded(m.erf(c), 24)
        slope = 0 if k else 1

        def rest(x: Any, c: Any = c, value: Any = value, slope: int = slope) -> Any:
            return (m.erf(x) - value) / (x - c) - slope

        def weight(x: Any, c: Any = c) -> Any:
            return (x - c) / m.erf(x)

        def offset(x: Any, c: Any = c) -> Any:
            return x - c

        interval = max((k - HALF) / ERF_STEPS, m.mpf(0)), min((k + HALF) / ERF_STEPS, m.mpf(ERF_LIMIT))
        coefficients, error = minimax(rest, 6, interval, weight, offset, 24, 4)
        worst = max(worst, error)
        rows.append([float(x) for x in (c, value, *coefficients)])
    lines = [f"# {generate_pieces.__doc__}: error 2**{math.log2(worst):.1f}".replace("\n   ", "\n#"),
             f"ERF_STEPS, ERF_LIMIT = {ERF_STEPS}, {ERF_LIMIT}", "ERF_PIECES_F32 = ("]
    for column in zip(*rows, strict=True):
        values = [f"{x!r}," for x in column]
        lines += ["    (" + " ".join(values[:4])]
        lines += ["     " + " ".join(values[i:i + 4]) for i in range(4, PIECES, 4)]
        lines[-1] = lines[-1].rstrip(",") + "),"
    return "\n".join([*lines, ")"])


HEADER = '''"""Polynomial coefficients of the vector math functions, lowest power first.

Generated by tools/vecmath_coefficients.py (Remez exchange in 50 digits); do not edit. Errors are weighted as
the comment says, relative to the whole function's value unless it says otherwise.
"""
'''


def main(names: list[str]) -> None:
    root = Path(__file__).resolve().parent.parent
    target = root / "src/facula/engine/compiler/emit/vecmath_coefficients.py"
    if names:
        print("\n".join(generate_pieces() if name == "ERF_PIECES" else generate(name, ENTRIES[name])
                        for name in names))
        return
    pieces = [generate_constant(name) for name in CONSTANTS]
    pieces += [generate(*item) for item in ENTRIES.items()] + [generate_table(), generate_pieces()]
    target.write_text(HEADER + "\n" + "\n".join(pieces) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
