"""What native.py loads, as LLVM IR text."""

from __future__ import annotations

import math
import struct

import numpy as np

from facula.engine.compiler.emit.module import Code, Module
from facula.rng import cephes


def _shuffle_text(attributes: str) -> str:
    module, code = Module(), Code(Module())
    _loop(code, "%count", [
        "%here = getelementptr i64, ptr %order, i64 %i", "%from = getelementptr i64, ptr %targets, i64 %i",
        "%target = load i64, ptr %from", "%there = getelementptr i64, ptr %order, i64 %target",
        "%a = load i64, ptr %here", "%b = load i64, ptr %there",
        "store i64 %b, ptr %here", "store i64 %a, ptr %there"])
    return _function(module, code, "random_shuffle(ptr %order, ptr %targets, i64 %count)", attributes)


def _loop(code: Code, count: str, body: list[str]) -> None:
    """The whole function: `body` for %i from 0 to `count`."""
    code.lines[:0] = [
        "entry:", "  br label %head", "head:", "  %i = phi i64 [ 0, %entry ], [ %next, %body ]",
        f"  %more = icmp slt i64 %i, {count}", "  br i1 %more, label %body, label %done", "body:"]
    for line in body:
        code.do(line)
    code.lines += ["  %next = add i64 %i, 1", "  br label %head", "done:", "  ret void"]


def _function(module: Module, code: Code, signature: str, attributes: str) -> str:
    body = "\n".join(code.lines)
    module.declare(signature, f"define void @{signature} {attributes} {{\n{body}\n}}")
    return module.text()


def _normals_text(attributes: str) -> str:
    module = Module()
    for name, arity in (("fma", 3), ("sqrt", 1)):
        arguments = ", ".join(["<8 x float>"] * arity)
        module.declare(name, f"declare <8 x float> @llvm.{name}.v8f32({arguments})")
    code = _Lanes(module)
    code.block()
    _loop(code, "%blocks", [])
    signature = "random_normals(ptr %words, i64 %blocks, float %mean, float %std)"
    return _function(module, code, signature, attributes)


def _splat(x: float) -> str:
    """A vector constant, given as a float64 with float32's precision, as LLVM writes floats."""
    bits = struct.unpack("<Q", struct.pack("<d", float(np.float32(x))))[0]
    return f"splat (float 0x{bits:016X})"


class _Lanes(Code):
    """Eight float32 (f) or int32 (i) lanes at a time. Comments for each step are in cephes.py."""

    def f(self, instruction: str, a: str, b: str) -> str:
        return self.op(f"{instruction} <8 x float> {a}, {b}")

    def i(self, instruction: str, a: str, b: int | str) -> str:
        return self.op(f"{instruction} <8 x i32> {a}, " + (b if isinstance(b, str) else f"splat (i32 {b})"))

    def fma(self, a: str, b: str, c: str) -> str:
        return self.op(f"call <8 x float> @llvm.fma.v8f32(<8 x float> {a}, <8 x float> {b}, <8 x float> {c})")

    def cast(self, instruction: str, x: str, start: str, end: str) -> str:
        return self.op(f"{instruction} <8 x {start}> {x} to <8 x {end}>")

    def select(self, condition: str, a: str, b: str) -> str:
        return self.op(f"select <8 x i1> {condition}, <8 x float> {a}, <8 x float> {b}")

    def polynomial(self, coefficients: tuple[np.float64, ...], x: str) -> str:
        y = _splat(coefficients[0])
        for c in coefficients[1:]:
            y = self.fma(y, x, _splat(c))
        return y

    def block(self) -> None:
        start = self.op("getelementptr <16 x i32>, ptr %words, i64 %i")
        other = self.op(f"getelementptr i32, ptr {start}, i64 8")
        unit = []
        for place in (start, other):
            words = self.op(f"load <8 x i32>, ptr {place}, align 4")
            unit.append(self.f("fmul", self.cast("sitofp", self.i("and", words, 0xFFFFFF), "i32", "float"),
                               _splat(2.0**-24)))
        square = self.f("fmul", _splat(-2.0), self.log(self.f("fsub", _splat(1.0), unit[0])))
        radius = self.op(f"call <8 x float> @llvm.sqrt.v8f32(<8 x float> {square})")
        sine, cosine = self.sincos(self.f("fmul", unit[1], _splat(2 * math.pi)))
        mean, std = (self.spread(name) for name in ("%mean", "%std"))
        for place, wave in ((start, cosine), (other, sine)):
            value = self.fma(self.f("fmul", radius, wave), std, mean)
            self.do(f"store <8 x float> {value}, ptr {place}, align 4")

    def spread(self, scalar: str) -> str:
        one = self.op(f"insertelement <8 x float> poison, float {scalar}, i64 0")
        return self.op(f"shufflevector <8 x float> {one}, <8 x float> poison, <8 x i32> zeroinitializer")

    def log(self, u: str) -> str:
        bits = self.cast("bitcast", u, "float", "i32")
        e = self.cast("sitofp", self.i("sub", self.i("lshr", bits, 23), 126), "i32", "float")
        fraction = self.i("or", self.i("and", bits, 0x007FFFFF), 0x3F000000)
        fraction = self.cast("bitcast", fraction, "i32", "float")
        small = self.op(f"fcmp olt <8 x float> {fraction}, {_splat(float(cephes.SQRT_HALF))}")
        x = self.f("fsub", fraction, _splat(1.0))
        x = self.f("fadd", x, self.select(small, fraction, "zeroinitializer"))
        e = self.f("fsub", e, self.select(small, _splat(1.0), "zeroinitializer"))
        z = self.f("fmul", x, x)
        y = self.f("fmul", self.polynomial(cephes.LOG, x), x)
        y = self.fma(y, z, self.f("fmul", e, _splat(cephes.LN2_LOW)))
        y = self.fma(z, _splat(-0.5), y)
        return self.fma(e, _splat(cephes.LN2_HIGH), self.f("fadd", x, y))

    def sincos(self, theta: str) -> tuple[str, str]:
        scaled = self.f("fmul", theta, _splat(float(cephes.FOUR_OVER_PI)))
        octant = self.i("and", self.i("add", self.cast("fptosi", scaled, "float", "i32"), 1), -2)
        y, x = self.cast("sitofp", octant, "i32", "float"), theta
        for part in cephes.PI_OVER_4:
            x = self.fma(y, _splat(part), x)
        z = self.f("fmul", x, x)
        c = self.f("fmul", self.polynomial(cephes.COS, z), z)
        c = self.f("fadd", self.fma(c, z, self.f("fmul", z, _splat(-0.5))), _splat(1.0))
        s = self.f("fmul", self.polynomial(cephes.SIN, z), z)
        s = self.fma(s, x, x)
        swapped = self.op(f"icmp ne <8 x i32> {self.i('and', octant, 2)}, zeroinitializer")
        sign = self.i("shl", self.i("and", octant, 4), 29)
        cosine_sign = self.i("and", self.i("xor", self.i("sub", octant, 2), -1), 4)
        return (self.signed(self.select(swapped, c, s), sign),
                self.signed(self.select(swapped, s, c), self.i("shl", cosine_sign, 29)))

    def signed(self, x: str, sign: str) -> str:
        bits = self.i("xor", self.cast("bitcast", x, "float", "i32"), sign)
        return self.cast("bitcast", bits, "i32", "float")


TEXTS = {"random_normals": _normals_text, "random_shuffle": _shuffle_text}
