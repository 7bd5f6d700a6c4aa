"""Writing lane-wise arithmetic as formulas: Python operators that append LLVM IR.

A `Lanes` knows the element type and the number of lanes; a `Value` is one SSA value (or constant) of it:
real, integer of the same width, or mask. With one lane the types are scalars, so one formula serves both.

Nothing here reads across lanes but `any`, and no fast-math flag is ever set: a lane's result is the same bits
whatever the width, since LLVM may neither contract nor reorder what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from facula.engine.compiler.emit import rounding
from facula.engine.compiler.emit.literals import hex_real, to_single
from facula.engine.compiler.emit.module import Code

Kind = Literal["real", "int", "mask"]


class Value:
    """One value of `at`'s lanes. Operators take Values or Python numbers; comparisons are ordered (NaN:
    false).

    `==` is left to Python (identity); use `eq` and `ne`. `>>` of integers keeps the sign; `shr` does not.
    """

    __slots__ = ("at", "text", "kind")

    def __init__(self, at: Lanes, text: str, kind: Kind) -> None:
        self.at, self.text, self.kind = at, text, kind

    def _binary(self, real: str, integer: str, other: Value | float, swap: bool = False) -> Value:
        at = self.at
        b = at.like(self, other)
        x, y = (b, self) if swap else (self, b)
        word = real if self.kind == "real" else integer
        return at.new(f"{word} {at.type(self.kind)} {x.text}, {y.text}", self.kind)

    def __add__(self, other: Value | float) -> Value:
        return self._binary("fadd", "add", other)

    def __radd__(self, other: float) -> Value:
        return self._binary("fadd", "add", other, swap=True)

    def __sub__(self, other: Value | float) -> Value:
        return self._binary("fsub", "sub", other)

    def __rsub__(self, other: float) -> Value:
        return self._binary("fsub", "sub", other, swap=True)

    def __mul__(self, other: Value | float) -> Value:
        return self._binary("fmul", "mul", other)

    def __rmul__(self, other: float) -> Value:
        return self._binary("fmul", "mul", other, swap=True)

    def __truediv__(self, other: Value | float) -> Value:
        return self._binary("fdiv", "", other)

    def __rtruediv__(self, other: float) -> Value:
        return self._binary("fdiv", "", other, swap=True)

    def __neg__(self) -> Value:
        if self.kind == "int":
            return 0 - self
        return self.at.new(f"fneg {self.at.type('real')} {self.text}", "real")

    def __and__(self, other: Value | int) -> Value:
        return self._binary("", "and", other)

    def __or__(self, other: Value | int) -> Value:
        return self._binary("", "or", other)

    def __xor__(self, other: Value | int) -> Value:
        return self._binary("", "xor", other)

    def __invert__(self) -> Value:
        ones = "true" if self.kind == "mask" else "-1"
        at = self.at
        return at.new(f"xor {at.type(self.kind)} {self.text}, {at.splat(self.kind, ones)}", self.kind)

    def __lshift__(self, other: Value | int) -> Value:
        return self._binary("", "shl", other)

    def __rshift__(self, other: Value | int) -> Value:
        return self._binary("", "ashr", other)

    def shr(self, other: Value | int) -> Value:
        """Shift right, filling with zeros."""
        return self._binary("", "lshr", other)

    def _compare(self, real: str, integer: str, other: Value | float) -> Value:
        word = f"fcmp {real}" if self.kind == "real" else f"icmp {integer}"
        b = self.at.like(self, other)
        return self.at.new(f"{word} {self.at.type(self.kind)} {self.text}, {b.text}", "mask")

    def __lt__(self, other: Value | float) -> Value:
        return self._compare("olt", "slt", other)

    def __le__(self, other: Value | float) -> Value:
        return self._compare("ole", "sle", other)

    def __gt__(self, other: Value | float) -> Value:
        return self._compare("ogt", "sgt", other)

    def __ge__(self, other: Value | float) -> Value:
        return self._compare("oge", "sge", other)

    def above(self, other: Value | int) -> Value:
        """Greater, as integers without sign."""
        return self._compare("", "ugt", other)

    def eq(self, other: Value | float) -> Value:
        return self._compare("oeq", "eq", other)

    def ne(self, other: Value | float) -> Value:
        """Not equal; true if either is NaN."""
        return self._compare("une", "ne", other)

    def isnan(self) -> Value:
        return self.at.new(f"fcmp uno {self.at.type('real')} {self.text}, {self.text}", "mask")


class Lanes:
    """A place to write arithmetic on `lanes` elements of `dtype` ("float" or "double")."""

    __slots__ = ("code", "dtype", "lanes", "single", "bits", "mantissa", "bias", "define")

    def __init__(self, code: Code, dtype: str, lanes: int,
                 define: Callable[[Code, str, str, int, Sequence[str]], str]) -> None:
        self.code, self.dtype, self.lanes = code, dtype, lanes
        self.single = dtype == "float"
        self.bits = 32 if self.single else 64
        self.mantissa = 23 if self.single else 52  # stored bits of the significand
        self.bias = 127 if self.single else 1023
        self.define = define

    # --- types and constants

    def type(self, kind: Kind) -> str:
        element = {"real": self.dtype, "int": f"i{self.bits}", "mask": "i1"}[kind]
        return element if self.lanes == 1 else f"<{self.lanes} x {element}>"

    def splat(self, kind: Kind, text: str) -> str:
        if self.lanes == 1:
            return text
        element = {"real": self.dtype, "int": f"i{self.bits}", "mask": "i1"}[kind]
        return f"splat ({element} {text})"

    def real(self, x: float) -> Value:
        """The number nearest to `x`, in every lane."""
        return Value(self, self.splat("real", hex_real(to_single(x) if self.single else x)), "real")

    def int(self, n: int) -> Value:
        half = 1 << (self.bits - 1)
        return Value(self, self.splat("int", str((n + half) % (2 * half) - half)), "int")

    def like(self, a: Value, b: Value | float) -> Value:
        if isinstance(b, Value):
            return b
        return self.real(b) if a.kind == "real" else self.int(int(b))

    def new(self, text: str, kind: Kind) -> Value:
        return Value(self, self.code.op(text), kind)

    def pick(self, single: float, double: float) -> float:
        """The constant for this element type."""
        return single if self.single else double

    # --- operations

    def _intrinsic(self, name: str, *args: Value) -> Value:
        suffix = f"f{self.bits}" if self.lanes == 1 else f"v{self.lanes}f{self.bits}"
        t = self.type("real")
        return self.new(f"call {t} @llvm.{name}.{suffix}({', '.join(f'{t} {a.text}' for a in args)})", "real")

    def fma(self, a: Value, b: Value | float, c: Value | float) -> Value:
        """a * b + c, rounded once."""
        return self._intrinsic("fma", a, self.like(a, b), self.like(a, c))

    def abs(self, a: Value) -> Value:
        return self._intrinsic("fabs", a)

    def copysign(self, magnitude: Value, sign: Value) -> Value:
        return self._intrinsic("copysign", magnitude, sign)

    def sqrt(self, a: Value) -> Value:
        return self._intrinsic("sqrt", a)

    def rint(self, a: Value) -> Value:
        """To the nearest integer, halves to even."""
        return self._rounded("roundeven", a)

    def trunc(self, a: Value) -> Value:
        return self._rounded("trunc", a)

    def floor(self, a: Value) -> Value:
        return self._rounded("floor", a)

    def _rounded(self, name: str, a: Value) -> Value:
        return Value(self, rounding.emit(self.code, name, self.dtype, self.lanes, a.text), "real")

    def select(self, mask: Value, a: Value | float, b: Value | float) -> Value:
        model = a if isinstance(a, Value) else b if isinstance(b, Value) else self.real(0.0)
        x, y = self.like(model, a), self.like(model, b)
        t = self.type(model.kind)
        return self.new(f"select {self.type('mask')} {mask.text}, {t} {x.text}, {t} {y.text}", model.kind)

    def at_most(self, a: Value, limit: float) -> Value:
        """min(a, limit) that keeps NaN. One instruction on x86: its `min` returns the second operand on NaN.
        """
        return self.select(a > limit, limit, a)

    def at_least(self, a: Value, limit: float) -> Value:
        return self.select(a < limit, limit, a)

    def bits_of(self, a: Value) -> Value:
        return self.new(f"bitcast {self.type('real')} {a.text} to {self.type('int')}", "int")

    def from_bits(self, a: Value) -> Value:
        return self.new(f"bitcast {self.type('int')} {a.text} to {self.type('real')}", "real")

    def to_real(self, a: Value) -> Value:
        """The integer `a` as a real number (nearest)."""
        return self.new(f"sitofp {self.type('int')} {a.text} to {self.type('real')}", "real")

    def any(self, mask: Value) -> str:
        """An i1: is `mask` set in some lane?"""
        if self.lanes == 1:
            return mask.text
        name = f"llvm.vector.reduce.or.v{self.lanes}i1"
        return self.code.op(f"call i1 @{name}({self.type('mask')} {mask.text})")

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """sum coefficients[i] * x**i by Horner's rule, in two interleaved halves where the chain would be
        long.

        Other vectors fill the pipeline meanwhile, so a short chain costs nothing; a long one outgrows the
        processor's window.
        """
        if len(coefficients) <= 10:
            return self._horner(x, coefficients)
        square = x * x
        rest = self.fma(x, self._horner(square, coefficients[2::2]), self._horner(square, coefficients[1::2]))
        return self.fma(x, rest, coefficients[0])  # the largest term last: one rounding of its size

    def _horner(self, x: Value, coefficients: Sequence[float]) -> Value:
        sum_: Value = self.real(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            sum_ = self.fma(sum_, x, c)
        return sum_

    # --- powers of two

    @property
    def scales(self) -> bool:
        """Can `times_power` be used?"""
        table = self.code.module.table
        return table.times_power is not None and self.lanes * self.bits == 8 * table.power_bytes

    def times_power(self, a: Value, n: Value) -> Value:
        """a * 2**n for whole numbers n (as reals), rounded once."""
        times_power = self.code.module.table.times_power
        assert times_power is not None
        return Value(self, times_power(self.code, self.dtype, self.lanes, a.text, n.text), "real")

    # --- other functions, other types, branches

    def call(self, fn: str, *args: Value) -> Value:
        """The math function `fn` of these lanes."""
        return Value(self, self.define(self.code, fn, self.dtype, self.lanes, [a.text for a in args]), "real")

    def double(self) -> Lanes:
        """The same lanes in double precision."""
        return Lanes(self.code, "double", self.lanes, self.define)

    def widen(self, a: Value) -> Value:
        """float lanes `a` as double lanes."""
        wide = self.double()
        return wide.new(f"fpext {self.type('real')} {a.text} to {wide.type('real')}", "real")

    def narrow(self, a: Value) -> Value:
        """double lanes `a` as float lanes, rounded."""
        return self.new(f"fptrunc {a.at.type('real')} {a.text} to {self.type('real')}", "real")

    def rarely(self, mask: Value, usual: tuple[Value, ...], rare: Callable[[], tuple[Value, ...]],
               ) -> tuple[Value, ...]:
        """`rare()` in the lanes of `mask`, `usual` elsewhere; `rare` is only run if some lane asks for it."""
        code = self.code
        slow, done = code.label("rare"), code.label("usual")
        wanted = self.any(mask)
        before = code.current
        code.do(f"br i1 {wanted}, label %{slow}, label %{done}, "
                "!prof !{!\"branch_weights\", i32 1, i32 2000}")
        code.start(slow)
        others = [self.select(mask, r, u) for r, u in zip(rare(), usual, strict=True)]
        after = code.current
        code.do(f"br label %{done}")
        code.start(done)
        return tuple(self.new(f"phi {self.type(u.kind)} [{u.text}, %{before}], [{o.text}, %{after}]", u.kind)
                     for u, o in zip(usual, others, strict=True))
