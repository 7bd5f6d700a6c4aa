"""The instructions of processors, as tables for the compiler's printer (compiler/instructions.py), and which of them a
machine has.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from facula.engine.compiler.emit.literals import hex_real
from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.instructions import Instructions, Lookup, Masks
from facula.engine.compiler.kernel import Machine
from facula.engine.runtime.cpu.target import Target


def floats(table: Sequence[float]) -> str:
    return f"<{len(table)} x float> <{', '.join(f'float {hex_real(x)}' for x in table)}>"


def _permvar(code: Code, table: Sequence[float], places: str) -> str:
    """AVX-512 has room for 16 floats in a register."""
    return code.op(f"call <16 x float> @llvm.x86.avx512.permvar.sf.512({floats(table)}, <16 x i32> {places})")


def _permps(code: Code, table: Sequence[float], places: str) -> str:
    """AVX2 has room for 8; its instruction looks at three bits of a place, and the fourth says which register."""
    low, high = (code.op(f"call <8 x float> @llvm.x86.avx2.permps({floats(half)}, <8 x i32> {places})")
                 for half in (table[:8], table[8:]))
    fourth = code.op(f"shl <8 x i32> {places}, splat (i32 28)")
    upper = code.op(f"icmp slt <8 x i32> {fourth}, zeroinitializer")
    return code.op(f"select <8 x i1> {upper}, <8 x float> {high}, <8 x float> {low}")


def _scalef(code: Code, type: str, lanes: int, x: str, n: str) -> str:
    t, letter = f"<{lanes} x {type}>", "s" if type == "float" else "d"
    return code.op(f"call {t} @llvm.x86.avx512.mask.scalef.p{letter}.512({t} {x}, {t} {n}, {t} poison, "
                   f"i{lanes} -1, i32 4)")


AVX512 = Instructions("AVX-512", 64, 32, masks=Masks.FREE, lookup=Lookup(16, _permvar), times_power=_scalef,
                      power_bytes=64)
AVX2 = Instructions("AVX2", 32, 16, scatters=False, lookup=Lookup(8, _permps))
AVX = Instructions("AVX", 16, 16, gathers=False, scatters=False)
SSE = replace(AVX, name="SSE2", fma=False, halves=False, rounds=False)
NEON = Instructions("NEON", 16, 32, gathers=False, scatters=False)


@functools.cache
def instructions(target: Target) -> Instructions:
    """Those of the processor, with vectors as wide as `target` has them."""
    if not target.triple.startswith(("x86", "i686", "i386")):
        return replace(NEON, vector_bytes=target.vector_bytes)
    if target.vector_bytes == 64:
        return AVX512
    if target.vector_bytes == 32:
        return replace(AVX2, halves=target.has("f16c"))
    return replace(SSE, name="AVX" if target.has("avx") else "SSE4.1" if target.has("sse4.1") else "SSE2",
                   fma=target.has("fma"), halves=target.has("f16c"), rounds=target.has("sse4.1"))


@functools.cache
def machine(target: Target) -> Machine:
    """What the compiler is told of `target`."""
    first, second, third = (told or usual for told, usual in zip(target.caches, Machine().caches, strict=True))
    return Machine(instructions(target), (first, second, third), programs=False)
