"""Integer arithmetic that must not trap, and the counter-based random generator.

Division by zero gives 0 and INT_MIN / -1 gives INT_MIN: the hardware instruction would end the process.
(torch raises ZeroDivisionError; `ops` has divisors checked.)
"""

from __future__ import annotations

from facula.dtypes import BOOL, UNSIGNED, dtype
from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.emit.types import constant, register, splat, vector


def _select(code: Code, mask: str, d: dtype, lanes: int, a: str, b: str) -> str:
    t = register(d, lanes)
    return code.op(f"select {vector('i1', lanes)} {mask}, {t} {a}, {t} {b}")


def _divide(code: Code, d: dtype, lanes: int, args: list[str]) -> tuple[str, str]:
    """Quotient rounded to zero, and remainder."""
    t = register(d, lanes)
    a, b = args
    zero, one = constant(0, d, lanes), constant(1, d, lanes)
    by_zero = code.op(f"icmp eq {t} {b}, {zero}")
    safe = _select(code, by_zero, d, lanes, one, b)
    if d.category in (UNSIGNED, BOOL):
        q = code.op(f"udiv {t} {a}, {safe}")
    else:
        minus = code.op(f"icmp eq {t} {b}, {constant(-1, d, lanes)}")
        safe = _select(code, minus, d, lanes, one, safe)
        q = code.op(f"sdiv {t} {a}, {safe}")
        q = _select(code, minus, d, lanes, code.op(f"sub {t} {zero}, {a}"), q)
    q = _select(code, by_zero, d, lanes, zero, q)
    r = code.op(f"sub {t} {a}, {code.op(f'mul {t} {q}, {b}')}")
    return q, _select(code, by_zero, d, lanes, zero, r)


def truncdiv(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    return _divide(code, d, lanes, args)[0]


def fmod(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    return _divide(code, d, lanes, args)[1]


def _crosses(code: Code, d: dtype, lanes: int, r: str, b: str) -> str:
    """Remainder and divisor differ in sign, and the remainder is not 0."""
    t, bits, zero = register(d, lanes), vector("i1", lanes), constant(0, d, lanes)
    some = code.op(f"icmp ne {t} {r}, {zero}")
    apart = code.op(f"icmp slt {t} {code.op(f'xor {t} {r}, {b}')}, {zero}")
    return code.op(f"and {bits} {some}, {apart}")


def floordiv(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    q, r = _divide(code, d, lanes, args)
    if d.category in (UNSIGNED, BOOL):
        return q
    cross = _crosses(code, d, lanes, r, args[1])
    return _select(
        code, cross, d, lanes, code.op(f"sub {register(d, lanes)} {q}, {constant(1, d, lanes)}"), q
    )


def remainder(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    r = _divide(code, d, lanes, args)[1]
    if d.category in (UNSIGNED, BOOL):
        return r
    cross = _crosses(code, d, lanes, r, args[1])
    return _select(code, cross, d, lanes, code.op(f"add {register(d, lanes)} {r}, {args[1]}"), r)


def power(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    """By squaring, over all bits of the exponent; a negative exponent gives 1, -1 or 0 as the base allows."""
    t, bits = register(d, lanes), vector("i1", lanes)
    base, exponent = args
    one, zero = constant(1, d, lanes), constant(0, d, lanes)
    if d.category == BOOL:  # b ** e is 1 but for 0 ** 1
        return code.op(f"or {t} {base}, {code.op(f'xor {t} {exponent}, {one}')}")
    signed = d.category != UNSIGNED
    result, square = one, base
    # all bits of the exponent count: products wrap around as torch's do, and 1, 0, -1 have large powers
    for k in range(8 * d.itemsize - signed):
        bit = code.op(f"and {t} {exponent}, {constant(1 << k, d, lanes)}")
        on = code.op(f"icmp ne {t} {bit}, {zero}")
        result = _select(code, on, d, lanes, code.op(f"mul {t} {result}, {square}"), result)
        square = code.op(f"mul {t} {square}, {square}")
    if signed:
        below = code.op(f"icmp slt {t} {exponent}, {zero}")
        is_one = code.op(f"icmp eq {t} {base}, {one}")
        is_minus = code.op(f"icmp eq {t} {base}, {constant(-1, d, lanes)}")
        odd = code.op(f"icmp ne {t} {code.op(f'and {t} {exponent}, {one}')}, {zero}")
        turned = _select(code, odd, d, lanes, constant(-1, d, lanes), one)
        small = _select(code, is_minus, d, lanes, turned, zero)
        small = _select(code, is_one, d, lanes, one, small)
        result = code.op(f"select {bits} {below}, {t} {small}, {t} {result}")
    return result


def lshift(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    """0 when the amount is negative or not below the width (LLVM would give poison)."""
    t = register(d, lanes)
    fine = code.op(f"icmp ult {t} {args[1]}, {constant(8 * d.itemsize, d, lanes)}")
    by = _select(code, fine, d, lanes, args[1], constant(0, d, lanes))
    return _select(code, fine, d, lanes, code.op(f"shl {t} {args[0]}, {by}"), constant(0, d, lanes))


def rshift(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    """Beyond the width: the sign in every bit."""
    t = register(d, lanes)
    fine = code.op(f"icmp ult {t} {args[1]}, {constant(8 * d.itemsize, d, lanes)}")
    if d.category == UNSIGNED:
        by = _select(code, fine, d, lanes, args[1], constant(0, d, lanes))
        return _select(code, fine, d, lanes, code.op(f"lshr {t} {args[0]}, {by}"), constant(0, d, lanes))
    by = _select(code, fine, d, lanes, args[1], constant(8 * d.itemsize - 1, d, lanes))
    return code.op(f"ashr {t} {args[0]}, {by}")


def random_bits(code: Code, d: dtype, lanes: int, args: list[str]) -> str:
    """Word 0 of Philox4x32-10 (Salmon et al., 2011) with a 64-bit counter and a 64-bit key."""
    t = vector("i64", lanes)

    def c(value: int) -> str:
        return splat(str(value), "i64", lanes)

    def op(text: str) -> str:
        return code.op(text)

    low = c(0xFFFFFFFF)
    word = [op(f"and {t} {args[0]}, {low}"), op(f"lshr {t} {args[0]}, {c(32)}"), c(0), c(0)]
    key = [op(f"and {t} {args[1]}, {low}"), op(f"lshr {t} {args[1]}, {c(32)}")]
    for turn in range(10):
        if turn:
            for k, step in enumerate((0x9E3779B9, 0xBB67AE85)):
                key[k] = op(f"and {t} {op(f'add {t} {key[k]}, {c(step)}')}, {low}")
        p0 = op(f"mul {t} {word[0]}, {c(0xD2511F53)}")
        p1 = op(f"mul {t} {word[2]}, {c(0xCD9E8D57)}")
        high0, high1 = op(f"lshr {t} {p0}, {c(32)}"), op(f"lshr {t} {p1}, {c(32)}")
        first = op(f"xor {t} {op(f'xor {t} {high1}, {word[1]}')}, {key[0]}")
        third = op(f"xor {t} {op(f'xor {t} {high0}, {word[3]}')}, {key[1]}")
        word = [first, op(f"and {t} {p1}, {low}"), third, op(f"and {t} {p0}, {low}")]
    return word[0]
