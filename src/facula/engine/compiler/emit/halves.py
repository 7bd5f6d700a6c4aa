"""float16 for targets without an instruction that converts it: by integers, with the instructions' bits."""

from __future__ import annotations

from facula.engine.compiler.emit.module import Code


class _Words:
    """Lanes of i32, and formulas on them."""

    def __init__(self, code: Code, lanes: int) -> None:
        self.code, self.lanes = code, lanes
        self.i32, self.f32, self.bits = (self.type(t) for t in ("i32", "float", "i1"))

    def type(self, element: str) -> str:
        return element if self.lanes == 1 else f"<{self.lanes} x {element}>"

    def every(self, n: int) -> str:
        return str(n) if self.lanes == 1 else f"splat (i32 {n})"

    def op(self, word: str, a: str, b: str | int) -> str:
        return self.code.op(f"{word} {self.i32} {a}, {b if isinstance(b, str) else self.every(b)}")

    def select(self, mask: str, a: str, b: str) -> str:
        return self.code.op(f"select {self.bits} {mask}, {self.i32} {a}, {self.i32} {b}")

    def cast(self, word: str, x: str, source: str, to: str) -> str:
        return self.code.op(f"{word} {source} {x} to {to}")


def widen(code: Code, name: str, lanes: int) -> str:
    """half lanes as float lanes: exact."""
    w = _Words(code, lanes)
    half = w.cast("zext", w.cast("bitcast", name, w.type("half"), w.type("i16")), w.type("i16"), w.i32)
    size = w.op("and", half, 0x7FFF)
    moved = w.op("shl", size, 13)
    # the exponent's bias differs by 112; a multiplication normalises denormals as well
    scale = "0x46F0000000000000" if lanes == 1 else "splat (float 0x46F0000000000000)"
    product = code.op(f"fmul {w.f32} {w.cast('bitcast', moved, w.i32, w.f32)}, {scale}")
    finite = w.cast("bitcast", product, w.f32, w.i32)
    special = w.op("or", moved, 0x7F800000)
    quiet = w.select(w.op("icmp ugt", size, 0x7C00), w.op("or", special, 0x400000), special)
    found = w.select(w.op("icmp uge", size, 0x7C00), quiet, finite)
    sign = w.op("shl", w.op("and", half, 0x8000), 16)
    return w.cast("bitcast", w.op("or", found, sign), w.i32, w.f32)


def narrow(code: Code, name: str, lanes: int) -> str:
    """float lanes as half lanes, to nearest, halves to even."""
    w = _Words(code, lanes)
    bits = w.cast("bitcast", name, w.f32, w.i32)
    sign = w.op("and", bits, -0x80000000)
    size = w.op("xor", bits, sign)
    # normal: what is cut off rounds up from a half on, of an odd number at a half
    odd = w.op("and", w.op("lshr", size, 13), 1)
    normal = w.op("lshr", w.op("add", w.op("add", size, odd), 0xFFF - (112 << 23)), 13)
    # below 2**-14 an addition rounds to multiples of 2**-24
    half = "5.000000e-01" if lanes == 1 else "splat (float 5.000000e-01)"
    total = code.op(f"fadd {w.f32} {w.cast('bitcast', size, w.i32, w.f32)}, {half}")
    small = w.op("sub", w.cast("bitcast", total, w.f32, w.i32), 0x3F000000)
    finite = w.select(w.op("icmp ult", size, 113 << 23), small, normal)
    payload = w.op("or", w.op("and", w.op("lshr", size, 13), 0x3FF), 0x7E00)
    special = w.select(w.op("icmp ugt", size, 0x7F800000), payload, w.every(0x7C00))
    found = w.select(w.op("icmp uge", size, 0x477FF000), special, finite)  # from 65520 on
    both = w.op("or", found, w.op("lshr", sign, 16))
    return w.cast("bitcast", w.cast("trunc", both, w.i32, w.type("i16")), w.type("i16"), w.type("half"))
